//! An identity at rest: its two keys under a pass-phrase or plain, and where the pass-phrase comes from.
//!
//! Each key's file stands for itself and is replaced as a whole, so a crash between the two leaves an identity that
//! opens, half of it protected; doing the same again completes it. Changing a pass-phrase goes through the plain form
//! for the same reason: two files under two pass-phrases would open with neither.

use super::atomic;
use super::disk::Disk;
use super::identity::{IdentityFiles, refuse_open_file};
use crate::base::{Error, Result};
use crate::identity::{KeyCost, KeyKind, NodeIdentity, PASSPHRASE_BYTES_MAX, Passphrase, SealedKey};
use crate::runtime::clock;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The environment variable that names the file with the pass-phrase, for services.
pub const PASSPHRASE_FILE_VARIABLE: &str = "RIGMESH_PASSPHRASE_FILE";

/// The largest file of a pass-phrase, bytes: more than its first line may stand there.
const FILE_BYTES_MAX: usize = 64 << 10;

/// How the keys lie on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Plain: whoever reads the files has the keys.
    Plain,
    /// One of the two is protected. Protecting or unprotecting was cut short; the same again completes it.
    Half,
    /// Both are under a pass-phrase.
    Protected,
}

impl Protection {
    /// `plain`, `half` or `protected`.
    pub fn as_str(self) -> &'static str {
        match self {
            Protection::Plain => "plain",
            Protection::Half => "half",
            Protection::Protected => "protected",
        }
    }
}

/// What can be told about an identity without opening its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityCard {
    /// The public description.
    pub info: NodeIdentity,
    /// The public signing key, as its file states it; `None` when there is none yet.
    pub sign_key: Option<[u8; 32]>,
    /// How the keys lie there.
    pub protection: Protection,
}

/// What a key's file will hold.
type Content = Zeroizing<Vec<u8>>;

/// A key as its file has it.
pub(super) enum StoredKey {
    Plain(Zeroizing<[u8; 32]>),
    Sealed(Box<SealedKey>),
}

impl StoredKey {
    pub(super) fn public(&self, kind: KeyKind) -> [u8; 32] {
        match self {
            StoredKey::Plain(secret) => kind.public_of(secret),
            StoredKey::Sealed(key) => *key.stated_public(),
        }
    }

    /// What opening it costs, if it is sealed.
    pub(super) fn cost(&self) -> Option<KeyCost> {
        match self {
            StoredKey::Plain(_) => None,
            StoredKey::Sealed(key) => Some(key.cost()),
        }
    }

    pub(super) fn open(&self, kind: KeyKind, path: &Path, asked: &mut Asked<'_>) -> Result<Zeroizing<[u8; 32]>> {
        match self {
            StoredKey::Plain(secret) => Ok(secret.clone()),
            StoredKey::Sealed(key) => key.open(kind, asked.passphrase(path)?).map_err(|e| match e {
                Error::Passphrase(_) => {
                    let path = path.display();
                    Error::Passphrase(format!("the pass-phrase does not open {path} (or the file was changed)"))
                }
                other => other,
            }),
        }
    }
}

/// A pass-phrase that is asked for at first need, and once.
pub(super) struct Asked<'a> {
    ask: &'a mut dyn FnMut(&Path) -> Result<Passphrase>,
    known: Option<Passphrase>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(ask: &'a mut dyn FnMut(&Path) -> Result<Passphrase>) -> Asked<'a> {
        Asked { ask, known: None }
    }

    fn passphrase(&mut self, path: &Path) -> Result<&Passphrase> {
        match &mut self.known {
            Some(known) => Ok(known),
            none => Ok(none.insert((self.ask)(path)?)),
        }
    }

    /// What was answered, if it was asked.
    pub(super) fn known(&self) -> Option<&Passphrase> {
        self.known.as_ref()
    }
}

/// The pass-phrase in the file that [`PASSPHRASE_FILE_VARIABLE`] names: its first line, without the line's end. `None`
/// when the variable is not set, or empty.
///
/// # Errors
/// [`Error::Config`] when the file is open to others; [`Error::Passphrase`] when there is none or it holds none;
/// [`Error::Io`] when it cannot be read.
pub fn passphrase_from_environment() -> Result<Option<Passphrase>> {
    let path = std::env::var_os(PASSPHRASE_FILE_VARIABLE).filter(|value| !value.is_empty());
    path.map(|path| read_passphrase(&PathBuf::from(path))).transpose()
}

/// The pass-phrase of the environment, for the key at `path`.
///
/// # Errors
/// As [`passphrase_from_environment`], and [`Error::Passphrase`] when the variable is not set.
pub fn passphrase_for(path: &Path) -> Result<Passphrase> {
    passphrase_from_environment()?.ok_or_else(|| {
        Error::Passphrase(format!(
            "{} is protected by a pass-phrase: run this in a terminal, or put the pass-phrase into a file of mode 0600 and set {PASSPHRASE_FILE_VARIABLE} to its path",
            path.display()
        ))
    })
}

fn read_passphrase(path: &Path) -> Result<Passphrase> {
    let bad = |why: &str| Error::Passphrase(format!("the pass-phrase file {} {why}", path.display()));
    refuse_open_file(path)?;
    let bytes = match atomic::read(path, FILE_BYTES_MAX) {
        Ok(bytes) => Zeroizing::new(bytes.ok_or_else(|| bad("is missing"))?),
        Err(Error::Malformed { .. }) => return Err(bad("is larger than 64 KiB")),
        Err(e) => return Err(e),
    };
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.len() {
        0 => Err(bad("has an empty first line")),
        1..=PASSPHRASE_BYTES_MAX => Passphrase::from_bytes(line),
        _ => Err(bad(&format!("has a first line of more than {PASSPHRASE_BYTES_MAX} bytes"))),
    }
}

impl IdentityFiles {
    /// What can be told without opening a key; `None` when there is no identity. Writes nothing, unless a rotation was cut
    /// short, which it completes.
    ///
    /// # Errors
    /// As [`IdentityFiles::load`], but never [`Error::Passphrase`].
    pub fn inspect(&self) -> Result<Option<IdentityCard>> {
        let Some(stored) = self.read()? else { return Ok(None) };
        let sealed = |key: &StoredKey| matches!(key, StoredKey::Sealed(_));
        let protection = match (sealed(&stored.key), stored.sign.as_ref().map(sealed)) {
            (false, Some(false) | None) => Protection::Plain,
            (true, Some(true) | None) => Protection::Protected,
            _ => Protection::Half,
        };
        let sign_key = stored.sign.map(|sign| sign.public(KeyKind::Ed25519));
        Ok(Some(IdentityCard { info: stored.info, sign_key, protection }))
    }

    /// Puts the keys under a pass-phrase. The caller has the folder's lock. Copies of the plain files made before
    /// (backups, blocks of the disk that are free now) are as readable as they were.
    ///
    /// # Errors
    /// [`Error::Config`] when both are protected already, and as [`IdentityFiles::load`]: [`Error::Passphrase`] when one is,
    /// under another pass-phrase. After an error each file is the old or the new one, whole, and the identity opens.
    pub fn protect(&self, passphrase: &Passphrase, cost: KeyCost) -> Result<()> {
        self.protect_on(&Disk::real(), passphrase, cost)
    }

    /// Takes the pass-phrase away: the keys lie there plain, 0600. The caller has the folder's lock.
    ///
    /// # Errors
    /// [`Error::Config`] when neither is protected; [`Error::Passphrase`] for another pass-phrase; as
    /// [`IdentityFiles::load`]. After an error as for [`IdentityFiles::protect`].
    pub fn unprotect(&self, passphrase: &Passphrase) -> Result<()> {
        self.unprotect_on(&Disk::real(), passphrase)
    }

    fn protect_on(&self, disk: &Disk, passphrase: &Passphrase, cost: KeyCost) -> Result<()> {
        if self.inspect()?.is_some_and(|card| card.protection == Protection::Protected) {
            return Err(Error::Config("the keys are protected already: unprotect them first".to_owned()));
        }
        let mut rng = clock::system_rng()?;
        self.replace(disk, passphrase, &mut |kind, stored| match stored {
            StoredKey::Sealed(_) => Ok(None),
            StoredKey::Plain(secret) => {
                let sealed = SealedKey::seal(kind, secret, passphrase, cost, &mut rng)?;
                // What does not open again must not replace a key, whatever went wrong.
                sealed.open(kind, passphrase)?;
                Ok(Some(Zeroizing::new(sealed.encode())))
            }
        })
    }

    fn unprotect_on(&self, disk: &Disk, passphrase: &Passphrase) -> Result<()> {
        if self.inspect()?.is_some_and(|card| card.protection == Protection::Plain) {
            return Err(Error::Config("the keys are not protected".to_owned()));
        }
        self.replace(disk, passphrase, &mut |kind, stored| match stored {
            StoredKey::Plain(_) => Ok(None),
            StoredKey::Sealed(key) => Ok(Some(Zeroizing::new(key.open(kind, passphrase)?.to_vec()))),
        })
    }

    /// Replaces each key's file for which there is a new content, when the whole identity has been opened.
    fn replace(
        &self,
        disk: &Disk,
        passphrase: &Passphrase,
        content: &mut dyn FnMut(KeyKind, &StoredKey) -> Result<Option<Content>>,
    ) -> Result<()> {
        if self.rotation()?.is_some() {
            let why = "the keys are being replaced (rigmesh id rotate): finish that, and forget the old ones, first";
            return Err(Error::Config(why.to_owned()));
        }
        let none = || Error::Config(format!("there is no identity ({} is missing)", self.private_key.display()));
        self.load_with(&mut |_| Ok(passphrase.clone()))?.ok_or_else(none)?;
        let stored = self.read()?.ok_or_else(none)?;
        let mut changed = Vec::new();
        for (kind, path, key) in [
            (KeyKind::Ed25519, &self.sign_key, stored.sign.as_ref()),
            (KeyKind::X25519, &self.private_key, Some(&stored.key)),
        ] {
            if let Some(bytes) = key.map(|key| content(kind, key)).transpose()?.flatten() {
                changed.push((path, bytes));
            }
        }
        for (path, bytes) in changed {
            let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
                return Err(Error::Config(format!("{} is no path of a key", path.display())));
            };
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            disk.folder(folder)?.replace(name, &bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Role;
    use crate::runtime::files::faulty::{Fault, FaultyDisk, snapshot};
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::PermissionsExt as _;

    fn cheap() -> KeyCost {
        KeyCost::new(16, 1, 1).unwrap()
    }

    fn phrase(text: &str) -> Passphrase {
        Passphrase::from_bytes(text.as_bytes()).unwrap()
    }

    fn made() -> (tempfile::TempDir, IdentityFiles) {
        let dir = tempfile::tempdir().unwrap();
        let files = IdentityFiles::in_folder(dir.path());
        files.create("rig", Role::Dual).unwrap();
        (dir, files)
    }

    /// Who opens with the pass-phrase: both public keys.
    fn who(files: &IdentityFiles, text: &str) -> Result<([u8; 32], [u8; 32])> {
        let identity = files.load_with(&mut |_| Ok(phrase(text)))?.unwrap();
        Ok((*identity.public_key().as_bytes(), identity.sign_key().public()))
    }

    #[test]
    fn protected_keys_open_with_the_pass_phrase_only_and_come_back_as_they_were() {
        let (dir, files) = made();
        let (before, plain) = (who(&files, "x").unwrap(), snapshot(dir.path()));
        files.protect(&phrase("horse"), KeyCost::default()).unwrap();
        let sealed = snapshot(dir.path());
        for (name, mode, bytes) in &sealed {
            assert!(!name.ends_with(".key") || (*mode == 0o600 && SealedKey::is_begun(bytes)), "{name}");
        }
        assert_eq!(who(&files, "horse").unwrap(), before);
        let mut asked = 0;
        files
            .load_with(&mut |_| {
                asked += 1;
                Ok(phrase("horse"))
            })
            .unwrap();
        assert_eq!(asked, 1, "one question for both keys");
        let card = files.inspect().unwrap().unwrap();
        assert_eq!((card.protection, card.sign_key), (Protection::Protected, Some(before.1)));
        for error in [
            who(&files, "cow").unwrap_err(),
            files.unprotect(&phrase("cow")).unwrap_err(),
            files.load_with(&mut passphrase_for).unwrap_err(),
        ] {
            assert!(matches!(&error, Error::Passphrase(why) if why.contains("private.key")), "{error}");
        }
        assert!(matches!(files.protect(&phrase("horse"), cheap()), Err(Error::Config(_))));
        assert!(matches!(files.create("x", Role::Dual), Err(Error::Config(_))));
        assert_eq!(snapshot(dir.path()), sealed, "nothing was written");
        files.unprotect(&phrase("horse")).unwrap();
        assert_eq!(snapshot(dir.path()), plain);
        assert!(matches!(files.unprotect(&phrase("horse")), Err(Error::Config(_))));
    }

    #[test]
    fn a_missing_signing_key_is_made_protected_beside_a_protected_key() {
        let (_dir, files) = made();
        files.protect(&phrase("horse"), cheap()).unwrap();
        fs::remove_file(&files.sign_key).unwrap();
        assert_eq!(files.inspect().unwrap().unwrap().sign_key, None);
        let new = who(&files, "horse").unwrap();
        assert_eq!(files.inspect().unwrap().unwrap().protection, Protection::Protected);
        assert_eq!(who(&files, "horse").unwrap(), new);
        // A protected signing key without its private key is no beginning of a new identity.
        fs::remove_file(&files.private_key).unwrap();
        fs::remove_file(&files.node_json).unwrap();
        assert!(matches!(files.create("x", Role::Dual), Err(Error::Config(why)) if why.contains("sign.key")));
    }

    #[test]
    fn files_that_were_exchanged_or_changed_do_not_open() {
        let (_dir, files) = made();
        files.protect(&phrase("horse"), cheap()).unwrap();
        let (key, sign) = (fs::read(&files.private_key).unwrap(), fs::read(&files.sign_key).unwrap());
        fs::write(&files.sign_key, &key).unwrap();
        assert!(matches!(who(&files, "horse"), Err(Error::Passphrase(_))));
        fs::write(&files.sign_key, &sign[..sign.len() - 1]).unwrap();
        assert!(matches!(who(&files, "horse"), Err(Error::Config(why)) if why.contains("corrupt")));
        fs::write(&files.sign_key, &sign).unwrap();
        fs::write(&files.private_key, &sign).unwrap();
        assert!(matches!(files.inspect(), Err(Error::Config(why)) if why.contains("does not belong")));
    }

    #[test]
    fn after_a_crash_at_any_point_the_identity_opens_and_the_same_again_completes_it() {
        /// Protects, or takes it away.
        fn turn(files: &IdentityFiles, disk: &Disk, protecting: bool) -> Result<()> {
            match protecting {
                true => files.protect_on(disk, &phrase("horse"), cheap()),
                false => files.unprotect_on(disk, &phrase("horse")),
            }
        }
        for protecting in [true, false] {
            let mut halves = 0;
            for fault in [Fault::Fails(ErrorKind::StorageFull), Fault::Stops, Fault::PowerCut] {
                for n in 0.. {
                    let (dir, files) = made();
                    if !protecting {
                        files.protect(&phrase("horse"), cheap()).unwrap();
                    }
                    let before = who(&files, "horse").unwrap();
                    let faulty = FaultyDisk::with_fault(n, fault);
                    let done = turn(&files, &faulty.disk(), protecting);
                    if !faulty.has_struck() {
                        done.unwrap();
                        break;
                    }
                    if fault == Fault::PowerCut {
                        faulty.cut_power();
                    }
                    assert_eq!(who(&files, "horse").unwrap(), before, "{fault:?} at {n}");
                    let goal = if protecting { Protection::Protected } else { Protection::Plain };
                    let left = files.inspect().unwrap().unwrap().protection;
                    halves += u32::from(left == Protection::Half);
                    if left != goal {
                        assert!(done.is_err(), "{fault:?} at {n}");
                        turn(&files, &Disk::real(), protecting).unwrap();
                    }
                    assert_eq!(files.inspect().unwrap().unwrap().protection, goal);
                    assert_eq!(who(&files, "horse").unwrap(), before);
                    let names: Vec<_> = snapshot(dir.path()).into_iter().map(|(name, ..)| name).collect();
                    assert!(left == goal || names.len() == 3, "nothing else is left: {names:?}");
                }
            }
            assert!(halves > 0, "some crash falls between the two files");
        }
    }

    #[test]
    fn a_half_protected_identity_is_completed_under_its_own_pass_phrase_only() {
        let (_dir, files) = made();
        let plain = fs::read(&files.private_key).unwrap();
        files.protect(&phrase("horse"), cheap()).unwrap();
        atomic::write(&files.private_key, &plain, 0o600).unwrap();
        assert_eq!(files.inspect().unwrap().unwrap().protection, Protection::Half);
        assert!(matches!(files.protect(&phrase("cow"), cheap()), Err(Error::Passphrase(_))));
        assert_eq!(fs::read(&files.private_key).unwrap(), plain);
        files.protect(&phrase("horse"), cheap()).unwrap();
        who(&files, "horse").unwrap();
    }

    #[test]
    fn a_pass_phrase_is_the_first_line_of_a_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pass");
        assert!(matches!(read_passphrase(&path), Err(Error::Passphrase(why)) if why.contains("missing")));
        for (text, want) in
            [("a b \nrest", Some("a b ")), ("x\r\n", Some("x")), ("x", Some("x")), ("", None), ("\nx", None)]
        {
            atomic::write(&path, text.as_bytes(), 0o600).unwrap();
            assert_eq!(read_passphrase(&path).ok(), want.map(phrase), "{text:?}");
        }
        atomic::write(&path, &[b'x'; PASSPHRASE_BYTES_MAX + 1], 0o600).unwrap();
        assert!(matches!(read_passphrase(&path), Err(Error::Passphrase(_))));
        atomic::write(&path, b"x", 0o600).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_passphrase(&path), Err(Error::Config(why)) if why.contains("chmod 600")));
    }
}
