//! One process owns a data folder (an OS file lock says which), so that no two ever write its files
//! or show its key at once.

use super::{atomic, paths::Paths};
use crate::base::{Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

/// Held as long as the process owns the folder; given up by the system however the process ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the folder.
    ///
    /// # Errors
    /// [`Error::Config`] naming the process that has it; [`Error::Io`] when the folder cannot be written.
    pub fn take(paths: &Paths) -> Result<FolderLock> {
        atomic::create_folder(&paths.data)?;
        let path = paths.lock();
        let io = |e: &std::io::Error| Error::io(format!("cannot lock {}", path.display()), e);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| io(&e))?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(|e| io(&e))?;
                Ok(FolderLock { _file: file })
            }
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = file.take(16).read_to_string(&mut pid);
                let who = pid
                    .trim()
                    .parse::<u32>()
                    .map_or_else(|_| "another process".to_owned(), |pid| format!("process {pid}"));
                Err(Error::Config(format!(
                    "the folder {} is in use by {who}; stop it, or use another --data-dir",
                    paths.data.display()
                )))
            }
            Err(TryLockError::Error(e)) => Err(io(&e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_and_the_error_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::in_folder(dir.path());
        let first = FolderLock::take(&paths).unwrap();
        let error = FolderLock::take(&paths).unwrap_err().to_string();
        assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
        drop(first);
        FolderLock::take(&paths).unwrap();
    }
}
