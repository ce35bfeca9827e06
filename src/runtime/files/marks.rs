//! `freshness.json`: the marks of commands accepted, on disk before the command runs.

use super::atomic;
use super::disk::Disk;
use crate::base::Result;
use crate::mesh::{MarksSnapshot, MarksTable};
use parking_lot::Mutex;
use std::path::PathBuf;

/// A table of 4,096 keys with full sets stays below this.
const BYTES_MAX: usize = 512 << 20;

/// The file and the version it holds.
pub(crate) struct MarksFile {
    path: PathBuf,
    disk: Disk,
    saved: Mutex<u64>,
}

impl MarksFile {
    pub(crate) fn new(path: PathBuf, disk: Disk) -> MarksFile {
        MarksFile { path, disk, saved: Mutex::new(0) }
    }

    /// The table, empty when there is no file. A corrupt file is an error that names the way out.
    pub(crate) fn load(&self) -> Result<MarksTable> {
        match atomic::read(&self.path, BYTES_MAX)? {
            Some(bytes) => MarksTable::decode(&String::from_utf8_lossy(&bytes)),
            None => Ok(MarksTable::default()),
        }
    }

    /// Saves a snapshot, durably, unless a newer one is on disk already.
    pub(crate) fn save(&self, snapshot: &MarksSnapshot) -> Result<()> {
        let mut saved = self.saved.lock();
        if *saved < snapshot.version {
            self.disk.write(&self.path, snapshot.text.as_bytes(), 0o600)?;
            *saved = snapshot.version;
        }
        Ok(())
    }

    /// Forgets everything, whatever the file holds.
    pub(crate) fn reset(&self) -> Result<MarksTable> {
        atomic::remove(&self.path)?;
        Ok(MarksTable::default())
    }
}
