//! What a slot writes down: the record in each version, and the pointer to the current one.

use crate::base::{Error, Result, Timestamp, check_json};
use crate::bundle::ObjectManifest;
use crate::miners::trial::TrialRecord;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The record's name in a version's folder. No file of an object begins with a dot.
pub(super) const RECORD: &str = ".slot.json";
/// The largest record that is read, in bytes.
pub(super) const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The pointer's name in a slot's folder.
pub(super) const POINTER: &str = "current";
/// The largest pointer that is read, in bytes.
pub(super) const POINTER_BYTES_MAX: usize = 256 * 1024;

/// What an installed version is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The object's id; none for what came in a bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) object: Option<String>,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) main: String,
    pub(super) size: u64,
    pub(super) installed: Timestamp,
    pub(super) files: Vec<FileRecord>,
}

/// One of its files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FileRecord {
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) exec: bool,
    pub(super) sha256: Hash,
}

/// A SHA-256, as hex in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hash(pub(super) [u8; 32]);

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Hash, D::Error> {
        let (text, mut bytes) = (String::deserialize(d)?, [0; 32]);
        hex::decode_to_slice(text, &mut bytes).map_err(serde::de::Error::custom)?;
        Ok(Hash(bytes))
    }
}

impl Record {
    pub(super) fn of_object(manifest: &ObjectManifest, installed: Timestamp) -> Record {
        let files = manifest.files().iter().map(|file| FileRecord {
            path: file.path.clone(),
            size: file.size,
            exec: file.executable,
            sha256: Hash(file.sha256),
        });
        Record {
            object: Some(manifest.id().to_string()),
            name: manifest.name().to_owned(),
            version: manifest.version().to_owned(),
            main: manifest.main().to_owned(),
            size: manifest.size(),
            installed,
            files: files.collect(),
        }
    }

    /// Reads the record of a version of the slot `name`.
    pub(super) fn decode(bytes: &[u8], name: &str) -> Result<Record> {
        let text = check_json("slot record", bytes)?;
        let record: Record = serde_json::from_str(text).map_err(|e| Error::malformed("slot record", e.to_string()))?;
        if record.name != name {
            return Err(Error::malformed("slot record", "names another slot"));
        }
        if record.files.iter().all(|file| file.path != record.main) {
            return Err(Error::malformed("slot record", "the main file is not one of the files"));
        }
        Ok(record)
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|e| Error::Failed(format!("cannot encode a slot record: {e}")))
    }
}

/// Which version of a slot runs. Version 0 is none of the slot's: the program of the rig's own configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Pointer {
    pub(super) current: u32,
    /// What ran before and is gone back to; 0 when there is none.
    pub(super) previous: u32,
    /// While the current version has to prove itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trial: Option<TrialRecord>,
    /// Versions that did not prove themselves, with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) failed: BTreeMap<u32, String>,
    /// What the rig did by itself since the last switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<Note>,
}

/// The rig went back by itself, or would have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) from: u32,
    /// `None`: there was nothing to go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<u32>,
    pub(super) why: String,
}

impl Pointer {
    pub(super) fn decode(bytes: &[u8]) -> Result<Pointer> {
        let text = check_json("slot pointer", bytes)?;
        // An array would be read as the fields in order.
        if !text.trim_start().starts_with('{') {
            return Err(Error::malformed("slot pointer", "not an object"));
        }
        serde_json::from_str(text).map_err(|e| Error::malformed("slot pointer", e.to_string()))
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|e| Error::Failed(format!("cannot encode a slot pointer: {e}")))
    }

    /// The highest number it mentions.
    pub(super) fn highest(&self) -> u32 {
        let failed = self.failed.keys().copied().max().unwrap_or(0);
        let note = self.note.as_ref().map_or(0, |note| note.from.max(note.to.unwrap_or(0)));
        self.current.max(self.previous).max(failed).max(note)
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.to {
            None => write!(f, "version {} failed and there is no earlier one to go back to: {}", self.from, self.why),
            Some(0) => write!(f, "version {} rolled back to the rig's own program: {}", self.from, self.why),
            Some(to) => write!(f, "version {} rolled back to {to}: {}", self.from, self.why),
        }
    }
}
