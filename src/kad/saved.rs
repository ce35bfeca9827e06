//! A node of the table and a record of the store as a snapshot has them.

use super::endpoint::{ip_bytes, ip_of_bytes};
use super::{Fault, Id, NodeInfo, SignedRecord};
use crate::wire::cbor::{MapWriter, Reader};
use std::net::IpAddr;

/// A node of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedNode {
    /// Who and where.
    pub info: NodeInfo,
    /// The Unix second in which it answered last; none if it never did.
    pub verified_at: Option<u64>,
}

/// A record of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedRecord {
    /// Its key.
    pub key: Id,
    /// The record, not verified again when it is read.
    pub record: SignedRecord,
    /// The first address of the neighbourhood that sent it; none if this node did.
    pub source: Option<IpAddr>,
}

impl SavedNode {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut map = MapWriter::new();
        map.encoded(1, &self.info.encode());
        if let Some(at) = self.verified_at {
            map.uint(2, at);
        }
        map.finish()
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<SavedNode, Fault> {
        let (mut info, mut verified_at) = (None, None);
        reader.map(|key, r| -> Result<bool, Fault> {
            match key {
                1 => info = Some(NodeInfo::read(r)?),
                2 => verified_at = Some(r.u64()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(SavedNode { info: info.ok_or(Fault::Malformed("a saved node that is none"))?, verified_at })
    }
}

impl SavedRecord {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut map = MapWriter::new();
        map.bytes(1, self.key.as_bytes()).encoded(2, &self.record.encode());
        if let Some(ip) = &self.source {
            map.bytes(3, &ip_bytes(ip));
        }
        map.finish()
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<SavedRecord, Fault> {
        let (mut key, mut record, mut source) = (None, None, None);
        reader.map(|field, r| -> Result<bool, Fault> {
            match field {
                1 => key = Some(Id::from_bytes(r.array_of()?)),
                2 => record = Some(SignedRecord::read(r)?),
                3 => {
                    let ip = ip_of_bytes(r.bytes()?);
                    source = Some(ip.ok_or(Fault::Malformed("a saved source that is no address"))?);
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let missing = Fault::Malformed("a saved record that is none");
        Ok(SavedRecord { key: key.ok_or(missing)?, record: record.ok_or(missing)?, source })
    }
}
