//! The audit log of a simulated node: the same chain as on a disk, in memory. It survives a power cut.

use super::World;
use crate::base::{Error, Result, Timestamp};
use crate::mesh::AuditSink;
use crate::peers::{AuditChain, AuditEntry, AuditMark};
use parking_lot::Mutex;
use serde_json::Value;

#[derive(Debug, Default)]
pub(super) struct Audit {
    chain: Mutex<(AuditChain, Vec<Value>)>,
    /// No line can be written.
    pub(super) full: bool,
}

impl AuditSink for Audit {
    fn append(&self, t: Timestamp, entry: &AuditEntry<'_>) -> Result<AuditMark> {
        if self.full {
            return Err(Error::Failed("the disk is full".to_owned()));
        }
        let (chain, lines) = &mut *self.chain.lock();
        let (line, mark) = chain.encode(t, entry)?;
        chain.follow(mark);
        let json = line.get(65..).unwrap_or_default();
        let mut value: Value = serde_json::from_slice(json).unwrap_or_else(|e| panic!("{e}"));
        value["h"] = mark.h.to_string().into();
        lines.push(value);
        Ok(mark)
    }
}

impl World {
    /// The lines of a node's audit log, each with its hash under `h`.
    pub fn audit_of(&self, name: &str) -> Vec<Value> {
        self.node_ref(name).audit.chain.lock().1.clone()
    }

    /// From now on a node's audit log can, or cannot, be written.
    pub fn fill_audit(&mut self, name: &str, full: bool) {
        self.node_mut(name).audit.full = full;
    }
}
