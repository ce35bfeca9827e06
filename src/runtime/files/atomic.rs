//! Atomic, durable, private writes.

use super::disk::Disk;
use crate::base::{Error, Result};
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Replaces the file at `path` by `bytes` as a whole, with this mode: a temporary file beside it, private from its first
/// byte, gets the name when it is on disk. A folder that is missing is made, 0700.
///
/// # Errors
/// [`Error::Io`] for what the system refuses; then the old or the new content stands there whole, and nothing beside it.
/// [`Error::Config`] when `path` names no file.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    Disk::real().write(path, bytes, mode)
}

/// Reads a whole file of at most `max` bytes; `None` when there is none.
pub(crate) fn read(path: &Path, max: usize) -> Result<Option<Vec<u8>>> {
    let io = |e: &std::io::Error| Error::io(format!("cannot read {}", path.display()), e);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(&e)),
    };
    let mut bytes = Vec::new();
    file.take(max as u64 + 1).read_to_end(&mut bytes).map_err(|e| io(&e))?;
    if bytes.len() > max {
        return Err(Error::malformed("file", format!("{} is larger than {max} bytes", path.display())));
    }
    Ok(Some(bytes))
}

/// Removes a file durably; a missing one is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(folder_of(path)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io(format!("cannot remove {}", path.display()), &e)),
    }
}

/// Creates a folder and its parents, 0700.
pub(crate) fn create_folder(folder: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| Error::io(format!("cannot create the folder {}", folder.display()), &e))
}

/// Makes renames and removals in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(|e| Error::io(format!("cannot sync {}", folder.display()), &e))
}

/// The folder of a file.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_write_replaces_keeps_its_mode_and_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/key");
        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o600).unwrap();
        assert_eq!(read(&path, 3).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(read(&path, 2).is_err());
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(read(&path, 9).unwrap(), None);
    }

    #[test]
    fn a_failed_write_says_the_path_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        fs::create_dir(&path).unwrap();
        let error = write(&path, b"x", 0o600).unwrap_err().to_string();
        assert!(error.contains("folder"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
