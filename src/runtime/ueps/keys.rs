//! Pre-shared keys: a file each, and what their holders may do.

use crate::base::{Error, Result, key_of_file};
use crate::peers::Grants;
use crate::runtime::files::atomic;
use crate::wire::ueps::Key;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The longest file of a key, bytes.
const KEY_FILE_BYTES_MAX: usize = 4096;
/// Keys of a node: a packet of an unknown sender is tried against each.
const KEYS_MAX: usize = 16;

/// A key and what it is good for.
pub(crate) struct NamedKey {
    pub(crate) name: String,
    pub(crate) key: Key,
    pub(crate) grants: Grants,
}

/// Reads a key's file: 32 bytes, or their hex or base64 with white space around it.
///
/// # Errors
/// [`Error::Config`] when it is not there or holds no key, [`Error::Io`] when it cannot be read.
pub(crate) fn read_ueps_key(path: &Path) -> Result<Key> {
    let shown = path.display();
    let bytes = atomic::read(path, KEY_FILE_BYTES_MAX)?.map(Zeroizing::new);
    let bytes = bytes.ok_or_else(|| Error::Config(format!("{shown}: there is no such file")))?;
    let none = |_| Error::Config(format!("{shown} holds no key: 32 bytes, or their hex or base64"));
    key_of_file(&bytes).map(|key| Key::from_bytes(&*key)).map_err(none)
}

/// Reads the keys of a configuration: name, file, grants.
///
/// # Errors
/// [`Error::Config`] naming the key.
pub(crate) fn load_keys<'a>(keys: impl Iterator<Item = (&'a String, &'a PathBuf, &'a str)>) -> Result<Vec<NamedKey>> {
    let mut loaded = Vec::new();
    for (name, file, grants) in keys {
        if loaded.len() >= KEYS_MAX {
            return Err(Error::Config(format!("configuration: ueps_keys names more than {KEYS_MAX} keys")));
        }
        let of_key = |e: Error| Error::Config(format!("configuration: ueps_keys: {name}: {e}"));
        let grants: Grants = grants.parse().map_err(of_key)?;
        let key = read_ueps_key(file).map_err(of_key)?;
        let mode = std::fs::metadata(file).map_or(0, |m| m.permissions().mode());
        if mode & 0o077 != 0 {
            log::warn!(target: "dispatcher", key = name.as_str(); "others on this machine may read {}: chmod 600 it", file.display());
        }
        loaded.push(NamedKey { name: name.clone(), key, grants });
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_missing_or_of_unknown_grants_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (file, name) = (dir.path().join("k"), "panel".to_owned());
        let load = |grants| load_keys([(&name, &file, grants)].into_iter()).map(|keys| keys.len());
        assert!(load("operate").unwrap_err().to_string().contains("panel"));
        std::fs::write(&file, [1; 32]).unwrap();
        assert_eq!(load("operate").unwrap(), 1);
        assert!(load("everything").unwrap_err().to_string().contains("panel"));
    }
}
