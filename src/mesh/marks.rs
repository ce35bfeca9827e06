//! The freshness marks of all keys, and their file. A rig that accepted a command remembers so
//! across restarts (mesh.md §8).

use super::io::MarksSnapshot;
use crate::base::{Error, Result, Timestamp};
use crate::identity::PublicKey;
use crate::session::Marks;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// No honest clock shows less: this version of the program did not exist before.
pub(crate) const BUILT_AFTER: i64 = 1_793_491_200; // 2026-11-01

/// Keys remembered; beyond it the one whose newest time is oldest goes, never one that `keep` names.
const KEYS_MAX: usize = 4096;

/// Marks by key, and the newest own time ever saved.
#[derive(Debug, Default)]
pub(crate) struct MarksTable {
    keys: BTreeMap<PublicKey, Marks>,
    own_saved: Option<Timestamp>,
    version: u64,
    dirty: bool,
}

impl MarksTable {
    /// Reads the file's text; a text that cannot be read is an error, because guessing would let old
    /// commands in again.
    pub(crate) fn decode(text: &str) -> Result<MarksTable> {
        let bad = || {
            Error::Config(
                "the freshness file is corrupt; `rigmesh peers reset-clock` starts it anew and forgives every clock"
                    .to_owned(),
            )
        };
        crate::base::check_json("freshness file", text.as_bytes())?;
        let value: serde_json::Value = serde_json::from_str(text).map_err(|_| bad())?;
        let mut table = MarksTable::default();
        if let Some(own) = value.get("own").and_then(|v| v.as_str()) {
            table.own_saved = Some(Timestamp::parse(own).map_err(|_| bad())?);
        }
        for (key, marks) in value.get("keys").and_then(|v| v.as_object()).ok_or_else(bad)? {
            table.keys.insert(PublicKey::from_base64(key)?, Marks::decode(marks).ok_or_else(bad)?);
        }
        Ok(table)
    }

    /// The clock to judge by: the largest of the wall clock, the build time and the newest own time saved.
    pub(crate) fn own(&self, wall: Timestamp) -> Timestamp {
        let built = Timestamp::from_unix(BUILT_AFTER, 0);
        [Some(wall), Some(built), self.own_saved].into_iter().flatten().max_by_key(|t| t.unix_nanos()).unwrap_or(wall)
    }

    /// The newest own time saved.
    pub(crate) fn saved(&self) -> Option<Timestamp> {
        self.own_saved
    }

    /// Whether the wall clock runs behind what was saved: shown as a clock warning.
    pub(crate) fn clock_behind(&self, wall: Timestamp) -> Option<std::time::Duration> {
        let behind = self.own(wall).since(wall);
        (behind.as_secs() > 60).then_some(behind)
    }

    /// The marks of a key, made when there are none. `keep` protects keys from making room.
    pub(crate) fn entry(&mut self, key: &PublicKey, keep: impl Fn(&PublicKey) -> bool) -> &mut Marks {
        if !self.keys.contains_key(key) && self.keys.len() >= KEYS_MAX {
            let stranger = self
                .keys
                .iter()
                .filter(|(k, _)| !keep(k))
                .min_by_key(|(_, m)| m.newest().map(Timestamp::unix_nanos))
                .map(|(k, _)| *k);
            if let Some(stranger) = stranger {
                self.keys.remove(&stranger);
            }
        }
        self.keys.entry(*key).or_default()
    }

    /// The version of the newest snapshot taken.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Something changed: a snapshot must be saved.
    pub(crate) fn touch(&mut self) {
        self.dirty = true;
    }

    /// Whether a snapshot is due.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// The state to save, newer than every one before.
    pub(crate) fn snapshot(&mut self, wall: Timestamp) -> MarksSnapshot {
        self.dirty = false;
        self.version += 1;
        let own = self.own(wall);
        self.own_saved = Some(own);
        let mut text = format!(r#"{{"own":"{own}","keys":{{"#);
        let mut comma = "";
        for (key, marks) in self.keys.iter().filter(|(_, m)| !m.is_empty()) {
            let _ = write!(text, r#"{comma}"{}":"#, key.to_base64());
            marks.encode_into(&mut text);
            comma = ",";
        }
        text.push_str("}}");
        MarksSnapshot { version: self.version, text }
    }

    /// Forgives one key's clock, or every clock and our own.
    pub(crate) fn reset(&mut self, key: Option<&PublicKey>) {
        match key {
            Some(key) => drop(self.keys.remove(key)),
            None => {
                self.keys.clear();
                self.own_saved = None;
            }
        }
        self.dirty = true;
    }
}
