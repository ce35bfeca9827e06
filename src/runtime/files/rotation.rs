//! A node's own keys being replaced (secure-session.md §6): a folder `rotation` beside the private key, in two steps.
//!
//! | step | what lies there |
//! |---|---|
//! | announced | `statement.json`, signed by both keys, and the new identity in `next/`; the node runs under the old one and says what is to come |
//! | finished | the old identity in `replaced/`, for those who have not heard; the node runs under the new one |
//!
//! What decides is `replaced/private.key`: once it is there whole, the new files take the place of the node's own, and
//! whoever reads them next completes that if a crash cut it short.

use super::atomic;
use super::disk::{Disk, Folder};
use super::identity::IdentityFiles;
use crate::base::{Error, Result, check_json};
use crate::formats::gojson;
use crate::identity::{Identity, KeyKind, Passphrase, PublicKey, Rotation, SealedKey};
use crate::runtime::clock;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The statements of rotations that are over.
const FORMER: &str = "former.json";
/// How many are kept: the audit log does not reach back further.
const FORMER_MAX: usize = 32;
/// The largest file here, bytes.
const FILE_BYTES_MAX: usize = 64 << 10;

/// How far a node's own rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationPhase {
    /// Peers are told what is to come; the old keys are in force.
    Announced,
    /// The new keys are in force; the old ones are kept for those who have not heard.
    Finished,
}

impl RotationPhase {
    /// `announced` or `finished`.
    pub fn as_str(self) -> &'static str {
        match self {
            RotationPhase::Announced => "announced",
            RotationPhase::Finished => "finished",
        }
    }
}

impl IdentityFiles {
    fn rotation_folder(&self) -> PathBuf {
        self.private_key.with_file_name("rotation")
    }

    fn rotated(&self, which: &str) -> IdentityFiles {
        IdentityFiles::in_folder(&self.rotation_folder().join(which))
    }

    /// The statement by which this node's keys are replaced, and how far that is; `None` when none is under way.
    ///
    /// # Errors
    /// [`Error::Config`] for a statement that cannot be read or is about other keys, [`Error::Io`].
    pub fn rotation(&self) -> Result<Option<(Rotation, RotationPhase)>> {
        let path = self.rotation_folder().join("statement.json");
        let Some(bytes) = atomic::read(&path, FILE_BYTES_MAX)? else { return Ok(None) };
        let wrong =
            |why: String| Error::Config(format!("{} is corrupt ({why}): restore it from a backup", path.display()));
        let text = check_json("rotation", &bytes).map_err(|e| wrong(e.to_string()))?;
        let said: Rotation = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        said.verify().map_err(|e| wrong(e.to_string()))?;
        let Some(own) = self.read()?.and_then(|stored| stored.info.checked_key().ok()) else { return Ok(None) };
        match own {
            own if own == said.old => Ok(Some((said, RotationPhase::Announced))),
            own if own == said.new => Ok(Some((said, RotationPhase::Finished))),
            _ => Err(wrong("it is about other keys than this node's".to_owned())),
        }
    }

    /// Makes new keys and the statement that they replace this node's, with the same name and role, and under the same
    /// pass-phrase when its keys are under one. Nothing else changes: the node runs under its old keys, and says what is
    /// to come, until [`IdentityFiles::finish_rotation`].
    ///
    /// # Errors
    /// [`Error::Config`] when a rotation is under way or there is no identity; as [`IdentityFiles::load_with`].
    pub fn begin_rotation(&self, ask: &mut dyn FnMut(&Path) -> Result<Passphrase>) -> Result<Rotation> {
        self.begin_rotation_on(&Disk::real(), ask)
    }

    fn begin_rotation_on(&self, disk: &Disk, ask: &mut dyn FnMut(&Path) -> Result<Passphrase>) -> Result<Rotation> {
        if let Some((_, phase)) = self.rotation()? {
            return Err(Error::Config(match phase {
                RotationPhase::Announced => "new keys are announced already: finish that first".to_owned(),
                RotationPhase::Finished => "the keys before these are kept still: forget them first".to_owned(),
            }));
        }
        let stored = self.read()?.ok_or_else(|| self.nobody())?;
        let mut known = None;
        let old = self.load_with(&mut |path| {
            let passphrase = ask(path)?;
            known = Some(passphrase.clone());
            Ok(passphrase)
        })?;
        let old = old.ok_or_else(|| self.nobody())?;
        let mut rng = clock::system_rng()?;
        let wall = clock::wall();
        let info = old.info();
        let new = Identity::generate(&info.name, info.role.clone(), wall, &mut rng)?;
        let mut content = |kind, key: Zeroizing<[u8; 32]>| match (&known, stored.key.cost()) {
            (Some(passphrase), Some(cost)) => {
                Ok(Zeroizing::new(SealedKey::seal(kind, &key, passphrase, cost, &mut rng)?.encode()))
            }
            _ => Ok::<_, Error>(Zeroizing::new(key.to_vec())),
        };
        let sign = content(KeyKind::Ed25519, new.sign_key().seed())?;
        let secret = content(KeyKind::X25519, new.secret().to_bytes())?;
        let statement = Rotation::new(&old, &new, u64::try_from(wall.unix_seconds()).unwrap_or(0));
        let rotation = self.open_rotation(disk)?;
        rotation.remove_tree("next")?;
        let next = rotation.open_or_create("next")?;
        next.replace("node.json", gojson::to_string_pretty_html(new.info())?.as_bytes())?;
        next.replace("sign.key", &sign)?;
        next.replace("private.key", &secret)?;
        rotation.replace("statement.json", gojson::to_string_pretty_html(&statement)?.as_bytes())?;
        Ok(statement)
    }

    /// Puts the announced keys in the place of this node's, and keeps the old ones for those who have not heard. The
    /// caller has the folder's lock.
    ///
    /// # Errors
    /// [`Error::Config`] when none are announced; [`Error::Io`]: doing the same again, or reading the identity, completes
    /// what was begun.
    pub fn finish_rotation(&self) -> Result<()> {
        self.finish_rotation_on(&Disk::real())
    }

    fn finish_rotation_on(&self, disk: &Disk) -> Result<()> {
        self.settle_rotation(disk)?;
        match self.rotation()? {
            Some((_, RotationPhase::Announced)) => {}
            Some((_, RotationPhase::Finished)) => return Err(Error::Config("that is done already".to_owned())),
            None => return Err(Error::Config("no new keys are announced: begin with rigmesh id rotate".to_owned())),
        }
        // Files that do not belong together must not take the place of others that do.
        if self.rotated("next").inspect()?.is_none() {
            return Err(Error::Config(format!("{} is empty", self.rotated("next").private_key.display())));
        }
        let rotation = self.open_rotation(disk)?;
        rotation.remove_tree("replaced")?;
        let replaced = rotation.open_or_create("replaced")?;
        replaced.replace("node.json", &content(&self.node_json)?)?;
        replaced.replace("sign.key", &content(&self.sign_key)?)?;
        replaced.replace("private.key", &content(&self.private_key)?)?;
        self.settle_rotation(disk)
    }

    /// Completes a rotation that was finished and cut short.
    pub(super) fn settle_rotation(&self, disk: &Disk) -> Result<()> {
        let (next, replaced) = (self.rotated("next"), self.rotated("replaced"));
        if !replaced.private_key.is_file() || !next.private_key.is_file() {
            return Ok(());
        }
        let secret = content(&next.private_key)?;
        disk.write(&self.sign_key, &content(&next.sign_key)?, 0o600)?;
        disk.write(&self.node_json, &content(&next.node_json)?, 0o644)?;
        disk.write(&self.private_key, &secret, 0o600)?;
        let next = self.open_rotation(disk)?.open_or_create("next")?;
        next.remove_file("private.key")?;
        next.sync()?;
        self.open_rotation(disk)?.remove_tree("next")
    }

    /// The identity that this node had before, while it is kept. Protected keys are opened as those of
    /// [`IdentityFiles::load_with`].
    ///
    /// # Errors
    /// As there.
    pub fn load_replaced(&self, ask: &mut dyn FnMut(&Path) -> Result<Passphrase>) -> Result<Option<Identity>> {
        match self.rotation()? {
            Some((_, RotationPhase::Finished)) => self.rotated("replaced").load_with(ask),
            _ => Ok(None),
        }
    }

    /// Every pair of keys (X, S) that this node had before: what they have signed is still its own.
    ///
    /// # Errors
    /// As [`IdentityFiles::rotation`].
    pub fn former_keys(&self) -> Result<Vec<(PublicKey, [u8; 32])>> {
        let mut former = self.former()?;
        former.extend(self.rotation()?.filter(|(_, phase)| *phase == RotationPhase::Finished).map(|(said, _)| said));
        Ok(former.into_iter().map(|said| (said.old, said.old_sign)).collect())
    }

    fn former(&self) -> Result<Vec<Rotation>> {
        let path = self.rotation_folder().join(FORMER);
        let Some(bytes) = atomic::read(&path, FILE_BYTES_MAX)? else { return Ok(Vec::new()) };
        let read = check_json("former keys", &bytes)
            .and_then(|text| serde_json::from_str(text).map_err(|e| Error::malformed("former keys", e.to_string())));
        read.map_err(|e| Error::Config(format!("{}: {e}; restore it from a backup, or remove it", path.display())))
    }

    /// Forgets the private keys that were replaced, and says no more that they were. Who has not heard it by now knows this
    /// node no more. The statement is kept, because the audit log is signed with the former keys too.
    ///
    /// # Errors
    /// [`Error::Config`] when nothing was replaced, [`Error::Io`].
    pub fn forget_replaced(&self) -> Result<()> {
        match self.rotation()? {
            Some((said, RotationPhase::Finished)) => {
                let mut former = self.former()?;
                // Nothing is lost by a crash between the steps: a statement may stand there twice.
                former.retain(|known| known.old != said.old);
                former.push(said);
                former.drain(..former.len().saturating_sub(FORMER_MAX));
                let rotation = self.open_rotation(&Disk::real())?;
                rotation.replace(FORMER, gojson::to_string_pretty_html(&former)?.as_bytes())?;
                rotation.remove_tree("replaced")?;
                rotation.remove_file("statement.json")?;
                rotation.sync()
            }
            Some((_, RotationPhase::Announced)) => {
                Err(Error::Config("the new keys are not in force yet: finish that first".to_owned()))
            }
            None => Err(Error::Config("no keys were replaced".to_owned())),
        }
    }

    /// Removes everything of a rotation.
    pub(super) fn remove_rotation(&self) -> Result<()> {
        let folder = self.rotation_folder();
        if !folder.is_dir() {
            return Ok(());
        }
        let parent = Disk::real().folder(atomic::folder_of(&folder))?;
        parent.remove_tree("rotation")
    }

    fn open_rotation(&self, disk: &Disk) -> Result<Folder> {
        disk.folder(atomic::folder_of(&self.private_key))?.open_or_create("rotation")
    }

    fn nobody(&self) -> Error {
        Error::Config(format!("there is no identity ({} is missing)", self.private_key.display()))
    }
}

/// What a file holds that must be there.
fn content(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    atomic::read(path, FILE_BYTES_MAX)?
        .map(Zeroizing::new)
        .ok_or_else(|| Error::Config(format!("{} is missing: restore it from a backup", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{KeyCost, Role};
    use crate::runtime::files::faulty::{Fault, FaultyDisk};
    use std::io::ErrorKind;

    fn made() -> (tempfile::TempDir, IdentityFiles, PublicKey) {
        let dir = tempfile::tempdir().unwrap();
        let files = IdentityFiles::in_folder(dir.path());
        let key = files.create("rig", Role::Dual).unwrap().public_key();
        (dir, files, key)
    }

    fn plain(_: &Path) -> Result<Passphrase> {
        panic!("nothing is protected")
    }

    #[test]
    fn new_keys_are_announced_put_in_force_and_the_old_ones_forgotten() {
        let (dir, files, old) = made();
        assert_eq!(files.rotation().unwrap(), None);
        assert!(files.finish_rotation().is_err() && files.forget_replaced().is_err());
        let said = files.begin_rotation(&mut plain).unwrap();
        assert_eq!((said.old, files.load().unwrap().unwrap().public_key()), (old, old));
        assert_eq!(files.rotation().unwrap(), Some((said.clone(), RotationPhase::Announced)));
        assert!(files.begin_rotation(&mut plain).is_err() && files.forget_replaced().is_err());
        assert!(files.load_replaced(&mut plain).unwrap().is_none());
        files.finish_rotation().unwrap();
        let now = files.load().unwrap().unwrap();
        assert_eq!((now.public_key(), now.sign_key().public()), (said.new, said.new_sign));
        assert_eq!((now.info().name.as_str(), &now.info().role), ("rig", &Role::Dual));
        assert_eq!(files.rotation().unwrap(), Some((said.clone(), RotationPhase::Finished)));
        let before = files.load_replaced(&mut plain).unwrap().unwrap();
        assert_eq!((before.public_key(), before.sign_key().public()), (said.old, said.old_sign));
        assert!(files.finish_rotation().is_err() && files.begin_rotation(&mut plain).is_err());
        files.forget_replaced().unwrap();
        assert!(files.rotation().unwrap().is_none() && !dir.path().join("rotation/replaced").exists());
        assert_eq!(files.former_keys().unwrap(), [(said.old, said.old_sign)]);
        assert_eq!(files.load().unwrap().unwrap().public_key(), said.new);
        assert_eq!(files.begin_rotation(&mut plain).unwrap().old, said.new, "and again");
    }

    #[test]
    fn protected_keys_are_replaced_by_keys_under_the_same_pass_phrase() {
        let (_dir, files, old) = made();
        let phrase = || Passphrase::from_bytes(b"horse").unwrap();
        files.protect(&phrase(), KeyCost::new(16, 1, 1).unwrap()).unwrap();
        let said = files.begin_rotation(&mut |_| Ok(phrase())).unwrap();
        assert!(files.unprotect(&phrase()).is_err(), "the new keys would stay as they are");
        files.finish_rotation().unwrap();
        assert!(files.load_with(&mut |_| Passphrase::from_bytes(b"other")).is_err());
        assert_eq!(files.load_with(&mut |_| Ok(phrase())).unwrap().unwrap().public_key(), said.new);
        assert_eq!(files.load_replaced(&mut |_| Ok(phrase())).unwrap().unwrap().public_key(), old);
    }

    #[test]
    fn after_a_crash_at_any_point_one_identity_opens_and_the_same_again_completes_it() {
        for (step, finishing) in [("begin", false), ("finish", true)] {
            for n in 0..200 {
                let mut struck = false;
                for fault in [Fault::Fails(ErrorKind::StorageFull), Fault::Stops, Fault::PowerCut] {
                    let (_dir, files, old) = made();
                    let mut said = None;
                    if finishing {
                        said = Some(files.begin_rotation(&mut plain).unwrap());
                    }
                    let faulty = FaultyDisk::with_fault(n, fault);
                    let done = match finishing {
                        true => files.finish_rotation_on(&faulty.disk()),
                        false => files.begin_rotation_on(&faulty.disk(), &mut plain).map(|new| said = Some(new)),
                    };
                    struck |= faulty.has_struck();
                    if fault == Fault::PowerCut {
                        faulty.cut_power();
                    }
                    let case = format!("{step}: {fault:?} at {n}");
                    let opened = files.load().unwrap_or_else(|e| panic!("{case}: {e}")).unwrap().public_key();
                    let state = files.rotation().unwrap_or_else(|e| panic!("{case}: {e}"));
                    match (finishing, &state) {
                        (false, None) => assert!(done.is_err(), "{case}: what was announced is lost"),
                        (_, Some((_, RotationPhase::Announced))) => {
                            assert!(opened == old && (done.is_err() || !finishing))
                        }
                        (true, Some((said, RotationPhase::Finished))) => assert_eq!(opened, said.new, "{case}"),
                        other => panic!("{case}: {other:?}"),
                    }
                    // The same again.
                    if state.is_none() {
                        said = Some(files.begin_rotation(&mut plain).unwrap());
                    }
                    if files.rotation().unwrap().unwrap().1 == RotationPhase::Announced {
                        files.finish_rotation().unwrap();
                    }
                    let new = said.map_or_else(|| files.rotation().unwrap().unwrap().0.new, |said| said.new);
                    assert_eq!(files.load().unwrap().unwrap().public_key(), new, "{case}");
                    assert_eq!(files.load_replaced(&mut plain).unwrap().unwrap().public_key(), old, "{case}");
                }
                if !struck {
                    assert!(n > 8, "the disk was hardly used");
                    break;
                }
            }
        }
    }
}
