//! Files a command reads and writes: bounded, private, and never over something without a word.

use crate::args::STDIN;
use crate::exit::{self, Exit};
use rigmesh::base::key_of_file;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// The longest password file, bytes.
const PASSWORD_BYTES_MAX: usize = 4096;
/// The longest file of a key, bytes.
const KEY_BYTES_MAX: usize = 4096;

/// Reads a file, or standard input for `-`, of at most `max` bytes.
pub(crate) fn read(path: &Path, max: usize) -> Result<Vec<u8>, Exit> {
    let wrong = |e: &std::io::Error| Exit::new(exit::CONFIG, format!("cannot read {}: {e}", path.display()));
    // One byte more than is allowed shows that it is too much.
    let most = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    if path == Path::new(STDIN) {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes).map_err(|e| wrong(&e))?;
    } else {
        let file = File::open(path).map_err(|e| wrong(&e))?;
        let info = file.metadata().map_err(|e| wrong(&e))?;
        bytes.reserve(usize::try_from(info.len()).unwrap_or(max).min(max).saturating_add(1));
        file.take(most).read_to_end(&mut bytes).map_err(|e| wrong(&e))?;
    }
    match bytes.len() > max {
        true => Err(Exit::new(exit::CONFIG, format!("{} is larger than {max} bytes", path.display()))),
        false => Ok(bytes),
    }
}

/// A key's file: 32 bytes, or their hex or base64 with white space around it.
pub(crate) fn key(path: &Path) -> Result<Zeroizing<[u8; 32]>, Exit> {
    let bytes = Zeroizing::new(read(path, KEY_BYTES_MAX)?);
    let none =
        |_| Exit::new(exit::CONFIG, format!("{} holds no key: 32 bytes, or their hex or base64", path.display()));
    key_of_file(&bytes).map_err(none)
}

/// A password is the first line of a file (or of standard input), never an argument, which everybody can see.
pub(crate) fn password(path: &Path) -> Result<Zeroizing<String>, Exit> {
    let bad = |why: &str| Exit::new(exit::CONFIG, format!("the password file {} {why}", path.display()));
    let bytes = Zeroizing::new(read(path, PASSWORD_BYTES_MAX)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| bad("is not UTF-8"))?;
    match text.lines().next() {
        None | Some("") => Err(bad("is empty")),
        Some(line) => Ok(Zeroizing::new(line.to_owned())),
    }
}

/// Writes a new file, 0600. One that is there is replaced with `force` only, as a whole.
pub(crate) fn write_private(
    path: &Path,
    force: bool,
    write: impl FnOnce(&mut File) -> Result<(), Exit>,
) -> Result<(), Exit> {
    let wrong = |e: &std::io::Error| match e.kind() {
        ErrorKind::AlreadyExists => {
            Exit::new(exit::CONFIG, format!("{} is there already; --force replaces it", path.display()))
        }
        _ => Exit::new(exit::FAILED, format!("cannot write {}: {e}", path.display())),
    };
    let name = path.file_name().ok_or_else(|| Exit::usage(format!("{} is no file name", path.display())))?;
    // In force, the old file stays until the new one is whole.
    let target = match force {
        true => path.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id())),
        false => path.to_owned(),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target).map_err(|e| wrong(&e))?;
    let written = write(&mut file).and_then(|()| {
        file.flush().and_then(|()| file.sync_all()).map_err(|e| wrong(&e))?;
        if force { std::fs::rename(&target, path).map_err(|e| wrong(&e)) } else { Ok(()) }
    });
    written.inspect_err(|_| drop(std::fs::remove_file(&target)))
}

/// The whole of a file's content at once, for [`write_private`].
pub(crate) fn all(bytes: &[u8]) -> impl FnOnce(&mut File) -> Result<(), Exit> + use<'_> {
    move |file| file.write_all(bytes).map_err(|e| Exit::new(exit::FAILED, format!("cannot write: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_private_file_is_new_or_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        write_private(&path, false, all(b"one")).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_private(&path, false, all(b"two")).unwrap_err().message.contains("--force"));
        assert!(write_private(&path, true, |_| Err(Exit::usage("no"))).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        write_private(&path, true, all(b"two")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert!(write_private(&dir.path().join("x"), false, |_| Err(Exit::usage("no"))).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_password_is_the_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pw");
        for (text, want) in [("a b \r\nrest", Some("a b ")), ("x", Some("x")), ("", None), ("\nx", None)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(password(&path).ok().as_ref().map(|p| p.as_str()), want, "{text:?}");
        }
        std::fs::write(&path, [b'x'; 5000]).unwrap();
        assert!(password(&path).is_err());
    }
}
