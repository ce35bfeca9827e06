//! A node's identity on disk, in the files and the form of a Go node (mesh.md §1): `private.key` (32 raw
//! bytes, 0600), `node.json` beside the configuration, and RigMesh's `sign.key` beside the private key. Either key may
//! be protected by a pass-phrase (`protect.rs`).
//!
//! What is there is never overwritten: a file that is corrupt, too open, or does not belong to the
//! others is an error that names the next step.

use super::atomic;
use super::disk::Disk;
use super::paths::Paths;
use super::protect::{Asked, StoredKey, passphrase_for};
use crate::base::{Error, Result, Timestamp, check_json, sanitise_name};
use crate::formats::gojson;
use crate::identity::{
    self, Identity, KeyCost, KeyKind, NodeIdentity, Passphrase, Role, SEALED_KEY_BYTES, SealedKey, SecretKey,
    SharedSecret, SignKey,
};
use crate::runtime::clock;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The name of a node whose host has none that can be used.
const DEFAULT_NAME: &str = "lethean-node";
/// The largest node.json that is read, bytes.
const NODE_JSON_BYTES_MAX: usize = 64 << 10;

/// Where the three files of an identity lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The X25519 private key, 32 raw bytes or a [`SealedKey`], 0600.
    pub private_key: PathBuf,
    /// The Ed25519 seed, 32 raw bytes or a [`SealedKey`], 0600. Made when it is missing.
    pub sign_key: PathBuf,
    /// The public description, JSON.
    pub node_json: PathBuf,
}

impl IdentityFiles {
    /// The places of a Go node: `$XDG_DATA_HOME/lethean-desktop/node/private.key` and
    /// `$XDG_CONFIG_HOME/lethean-desktop/node.json`, with `~/.local/share` and `~/.config` as fallbacks.
    ///
    /// # Errors
    /// [`Error::Config`] when neither the variables nor a home folder say where that is.
    pub fn xdg() -> Result<IdentityFiles> {
        Ok(IdentityFiles::from(&Paths::xdg()?))
    }

    /// `private.key` and `node.json` at the given places, `sign.key` beside the private key.
    pub fn from_paths(private_key: &Path, node_json: &Path) -> IdentityFiles {
        IdentityFiles {
            private_key: private_key.to_owned(),
            sign_key: private_key.with_file_name("sign.key"),
            node_json: node_json.to_owned(),
        }
    }

    /// All three in one folder (`--data-dir`).
    pub fn in_folder(folder: &Path) -> IdentityFiles {
        IdentityFiles::from(&Paths::in_folder(folder))
    }

    /// Loads the identity; `None` when there is none. Makes `sign.key` when only that is missing. Protected keys are opened
    /// with the pass-phrase in the file that [`PASSPHRASE_FILE_VARIABLE`](super::protect::PASSPHRASE_FILE_VARIABLE) names.
    ///
    /// # Errors
    /// [`Error::Config`] for what a person has to put right (the text says how), [`Error::Passphrase`] when the
    /// pass-phrase is missing or another one, [`Error::Io`] for what the system refuses. No file is changed then.
    pub fn load(&self) -> Result<Option<Identity>> {
        self.load_with(&mut passphrase_for)
    }

    /// [`IdentityFiles::load`] with a way to ask for the pass-phrase. It is asked only when a key is protected, once,
    /// and given the path of that key.
    ///
    /// # Errors
    /// As there, and what `ask` fails with.
    pub fn load_with(&self, ask: &mut dyn FnMut(&Path) -> Result<Passphrase>) -> Result<Option<Identity>> {
        let Some(stored) = self.read()? else { return Ok(None) };
        let mut asked = Asked::new(ask);
        let secret = stored.key.open(KeyKind::X25519, &self.private_key, &mut asked)?;
        let sign = match &stored.sign {
            Some(sign) => SignKey::from_seed(&*sign.open(KeyKind::Ed25519, &self.sign_key, &mut asked)?),
            // Protected as the private key is.
            None => self.make_sign_key(asked.known().zip(stored.key.cost()))?,
        };
        Identity::from_parts(SecretKey::from_bytes(*secret), sign, stored.info).map(Some)
    }

    /// What the three files hold, with no key opened; `None` when there is no identity. The private key fits
    /// node.json, as far as can be told from outside.
    pub(super) fn read(&self) -> Result<Option<Stored>> {
        self.settle_rotation(&Disk::real())?;
        let (key, json) = (self.read_key(&self.private_key)?, self.read_json()?);
        let (key, info) = match (key, json) {
            (None, None) => return Ok(None),
            (Some(key), Some(info)) => (key, info),
            (Some(_), None) => return Err(half(&self.private_key, &self.node_json)),
            (None, Some(_)) => return Err(half(&self.node_json, &self.private_key)),
        };
        // Before the signing key is made: nothing is written beside files that do not fit together.
        if info.checked_key().ok().map(|key| *key.as_bytes()) != Some(key.public(KeyKind::X25519)) {
            let why = info.checked_key().err().map_or_else(
                || "its publicKey belongs to another private key".to_owned(),
                |e| match e {
                    Error::Malformed { what, detail } => format!("{what}: {detail}"),
                    other => other.to_string(),
                },
            );
            return Err(Error::Config(format!(
                "{} does not belong to {} ({why}): restore the two from one backup, or move both away to begin anew",
                self.node_json.display(),
                self.private_key.display()
            )));
        }
        Ok(Some(Stored { key, sign: self.read_key(&self.sign_key)?, info }))
    }

    /// Makes a new identity and stores it.
    ///
    /// # Errors
    /// [`Error::Config`] when one exists, or name or role cannot be used; [`Error::Io`].
    pub fn create(&self, name: &str, role: Role) -> Result<Identity> {
        for path in [&self.private_key, &self.node_json] {
            if path.symlink_metadata().is_ok() {
                return Err(Error::Config(format!(
                    "an identity exists already: {}; delete it first, or use another data folder",
                    path.display()
                )));
            }
        }
        let fresh = Identity::generate(name, role, clock::wall(), &mut clock::system_rng()?)?;
        // A signing key that is already there is kept. The private key comes last: whoever sees it
        // finds the rest complete.
        let sign = match self.read_key(&self.sign_key)? {
            Some(StoredKey::Plain(seed)) => SignKey::from_seed(&seed),
            Some(StoredKey::Sealed(_)) => return Err(half(&self.sign_key, &self.private_key)),
            None => self.make_sign_key(None)?,
        };
        let json = gojson::to_string_pretty_html(fresh.info())?;
        atomic::write(&self.node_json, json.as_bytes(), 0o644)?;
        atomic::write(&self.private_key, &*fresh.secret().to_bytes(), 0o600)?;
        Identity::from_parts(SecretKey::from_bytes(*fresh.secret().to_bytes()), sign, fresh.info().clone())
    }

    /// The identity that is there, or a new one: with the given name, else the host's, else
    /// `lethean-node`.
    ///
    /// # Errors
    /// As [`IdentityFiles::load`] and [`IdentityFiles::create`].
    pub fn load_or_create(&self, name: Option<&str>, role: Role) -> Result<Identity> {
        match self.load()? {
            Some(identity) => Ok(identity),
            None => self.create(&name.map_or_else(host_name, str::to_owned), role),
        }
    }

    /// Removes all three files, and what a rotation keeps beside them. What is missing is fine.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn delete(&self) -> Result<()> {
        self.remove_rotation()?;
        [&self.private_key, &self.sign_key, &self.node_json].into_iter().try_for_each(|path| atomic::remove(path))
    }

    fn read_key(&self, path: &Path) -> Result<Option<StoredKey>> {
        refuse_open_file(path)?;
        // Read one byte more than a sealed key has, so that a longer file is noticed.
        let bytes = match atomic::read(path, SEALED_KEY_BYTES + 1) {
            Ok(Some(bytes)) => Zeroizing::new(bytes),
            Ok(None) => return Ok(None),
            Err(Error::Malformed { .. }) => return Err(corrupt(path, "more than 32 bytes")),
            Err(e) => return Err(e),
        };
        if SealedKey::is_begun(&bytes) {
            return match SealedKey::decode(&bytes) {
                Ok(key) => Ok(Some(StoredKey::Sealed(Box::new(key)))),
                Err(e) => Err(corrupt(path, &e.to_string())),
            };
        }
        match <[u8; 32]>::try_from(&bytes[..]) {
            Ok(key) => Ok(Some(StoredKey::Plain(Zeroizing::new(key)))),
            Err(_) if bytes.len() > 32 => Err(corrupt(path, "more than 32 bytes")),
            Err(_) => Err(corrupt(path, &format!("{} bytes instead of 32", bytes.len()))),
        }
    }

    fn read_json(&self) -> Result<Option<NodeIdentity>> {
        let path = &self.node_json;
        let bytes = match atomic::read(path, NODE_JSON_BYTES_MAX) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(Error::Malformed { detail, .. }) => return Err(corrupt(path, &detail)),
            Err(e) => return Err(e),
        };
        decode_node_json(&bytes).map(Some).map_err(|e| match e {
            Error::Malformed { detail, .. } => corrupt(path, &detail),
            other => Error::Config(format!("{}: {other}", path.display())),
        })
    }

    /// A new signing key, under a pass-phrase or plain.
    fn make_sign_key(&self, under: Option<(&Passphrase, KeyCost)>) -> Result<SignKey> {
        let mut rng = clock::system_rng()?;
        let sign = SignKey::generate(&mut rng);
        let seed = sign.seed();
        match under {
            Some((passphrase, cost)) => {
                let sealed = SealedKey::seal(KeyKind::Ed25519, &seed, passphrase, cost, &mut rng)?;
                atomic::write(&self.sign_key, &sealed.encode(), 0o600)?;
            }
            None => atomic::write(&self.sign_key, &*seed, 0o600)?,
        }
        Ok(sign)
    }
}

/// The files of an identity, read and not opened.
pub(super) struct Stored {
    pub(super) key: StoredKey,
    pub(super) sign: Option<StoredKey>,
    pub(super) info: NodeIdentity,
}

impl From<&Paths> for IdentityFiles {
    fn from(paths: &Paths) -> IdentityFiles {
        IdentityFiles::from_paths(&paths.private_key, &paths.node_json)
    }
}

/// Reads the text of node.json as this node's own: known role required.
///
/// # Errors
/// [`Error::Malformed`] for what is no node.json, [`Error::Config`] for an unknown role.
fn decode_node_json(bytes: &[u8]) -> Result<NodeIdentity> {
    let text = check_json("node.json", bytes)?;
    let info: NodeIdentity = serde_json::from_str(text).map_err(|e| Error::malformed("node.json", e.to_string()))?;
    info.role.as_str().parse::<Role>()?;
    Ok(info)
}

/// The host's name as a name of a node.
fn host_name() -> String {
    let name = sanitise_name(&rustix::system::uname().nodename().to_string_lossy());
    if name.is_empty() { DEFAULT_NAME.to_owned() } else { name }
}

/// A key or a pass-phrase that group or others can read may have been copied: the owner decides, not we.
pub(super) fn refuse_open_file(path: &Path) -> Result<()> {
    let mode = match std::fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode() & 0o777,
        // Missing and unreadable files are told apart by the read that follows.
        Err(_) => return Ok(()),
    };
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(Error::Config(format!("{path} is open to other users (mode {mode:04o}): run: chmod 600 '{path}'")))
}

fn corrupt(path: &Path, why: &str) -> Error {
    Error::Config(format!(
        "{} is corrupt ({why}) and was left as it is: restore it from a backup, or move it away to begin anew",
        path.display()
    ))
}

fn half(there: &Path, missing: &Path) -> Error {
    Error::Config(format!(
        "{} is there but {} is missing: restore it from a backup, or move the other away to begin anew",
        there.display(),
        missing.display()
    ))
}

/// The identity of one node with its files: generate, load, derive, delete.
///
/// ```no_run
/// # fn main() -> rigmesh::base::Result<()> {
/// let mut node = rigmesh::NodeManager::new()?;
/// if !node.has_identity() {
///     node.generate_identity("rig-7", rigmesh::identity::Role::Worker)?;
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct NodeManager {
    files: IdentityFiles,
    identity: Option<Identity>,
}

impl NodeManager {
    /// At the XDG places; loads the identity that is there.
    ///
    /// # Errors
    /// As [`IdentityFiles::xdg`] and [`IdentityFiles::load`].
    pub fn new() -> Result<NodeManager> {
        NodeManager::open(IdentityFiles::xdg()?)
    }

    /// At the given places of `private.key` and `node.json`.
    ///
    /// # Errors
    /// As [`IdentityFiles::load`].
    pub fn from_paths(key_path: impl AsRef<Path>, config_path: impl AsRef<Path>) -> Result<NodeManager> {
        NodeManager::open(IdentityFiles::from_paths(key_path.as_ref(), config_path.as_ref()))
    }

    /// At the given places; loads the identity that is there.
    ///
    /// # Errors
    /// As [`IdentityFiles::load`].
    pub fn open(files: IdentityFiles) -> Result<NodeManager> {
        let identity = files.load()?;
        Ok(NodeManager { files, identity })
    }

    /// Whether an identity is loaded.
    pub fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// The public description of the node.
    pub fn identity(&self) -> Option<&NodeIdentity> {
        self.identity.as_ref().map(Identity::info)
    }

    /// When the identity was made.
    pub fn created_at(&self) -> Option<Timestamp> {
        self.identity().map(|info| info.created_at)
    }

    /// Where the files lie.
    pub fn files(&self) -> &IdentityFiles {
        &self.files
    }

    /// Makes a new identity and stores it. Unlike the Go node, never over one that exists.
    ///
    /// # Errors
    /// As [`IdentityFiles::create`].
    pub fn generate_identity(&mut self, name: &str, role: Role) -> Result<()> {
        self.identity = Some(self.files.create(name, role)?);
        Ok(())
    }

    /// The secret shared with the owner of a key, with the Go node's tolerance for spellings of the key
    /// ([`identity::derive_shared_secret`]).
    ///
    /// # Errors
    /// [`Error::Config`] without an identity; [`Error::Malformed`] when the key cannot be used.
    pub fn derive_shared_secret(&self, peer_public_key_base64: &str) -> Result<SharedSecret> {
        let own = self.identity.as_ref().ok_or_else(|| {
            Error::Config("node identity not initialized: generate one first (rigmesh init)".to_owned())
        })?;
        identity::derive_shared_secret(own.secret(), peer_public_key_base64)
    }

    /// Removes the files and forgets the keys.
    ///
    /// # Errors
    /// [`Error::Io`]; the identity in memory is gone all the same.
    pub fn delete(&mut self) -> Result<()> {
        self.identity = None;
        self.files.delete()
    }

    /// The identity itself, for a node to run under.
    pub fn into_identity(self) -> Option<Identity> {
        self.identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder() -> (tempfile::TempDir, IdentityFiles) {
        let dir = tempfile::tempdir().unwrap();
        let files = IdentityFiles::in_folder(&dir.path().join("data"));
        (dir, files)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_identity_loads_again_and_its_keys_are_private() {
        let (_dir, files) = folder();
        assert!(files.load().unwrap().is_none());
        let made = files.create("rig-7", Role::Worker).unwrap();
        assert_eq!((mode(&files.private_key), mode(&files.sign_key)), (0o600, 0o600));
        let loaded = files.load_or_create(Some("other"), Role::Dual).unwrap();
        assert_eq!(loaded.info(), made.info());
        assert_eq!(loaded.sign_key().public(), made.sign_key().public());
        assert!(matches!(files.create("x", Role::Dual), Err(Error::Config(_))));
        files.delete().unwrap();
        assert_eq!(fs::read_dir(files.node_json.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn a_go_nodes_files_are_taken_over_and_get_a_signing_key() {
        let (dir, _) = folder();
        let files =
            IdentityFiles::from_paths(&dir.path().join("share/node/private.key"), &dir.path().join("config/node.json"));
        let made = files.create("go", Role::Dual).unwrap();
        fs::remove_file(&files.sign_key).unwrap();
        // The host name as a Go node writes it, which our own rule of names would refuse.
        let json = fs::read_to_string(&files.node_json).unwrap().replace("\"go\"", "\"rig.lan\"");
        fs::write(&files.node_json, &json).unwrap();
        let loaded = files.load().unwrap().unwrap();
        assert_eq!((loaded.id(), loaded.info().name.as_str()), (made.id(), "rig.lan"));
        assert_eq!(mode(&files.sign_key), 0o600);
        assert_eq!(fs::read_to_string(&files.node_json).unwrap(), json);
    }

    #[test]
    fn what_is_wrong_is_refused_with_the_next_step_and_never_overwritten() {
        let (dir, files) = folder();
        files.create("rig", Role::Dual).unwrap();
        let key = fs::read(&files.private_key).unwrap();
        let json = fs::read_to_string(&files.node_json).unwrap();
        type Damage<'a> = &'a dyn Fn();
        let cases: [(&str, Damage); 8] = [
            ("31 bytes instead of 32", &|| fs::write(&files.private_key, &key[..31]).unwrap()),
            ("more than 32 bytes", &|| fs::write(&files.private_key, [&key[..], b"x"].concat()).unwrap()),
            ("does not belong to", &|| fs::write(&files.private_key, [7; 32]).unwrap()),
            ("is corrupt", &|| fs::write(&files.node_json, "{").unwrap()),
            ("is corrupt", &|| fs::write(&files.node_json, json.replace("20", "x")).unwrap()),
            ("unknown role emperor", &|| fs::write(&files.node_json, json.replace("dual", "emperor")).unwrap()),
            ("is missing", &|| fs::remove_file(&files.node_json).unwrap()),
            ("is missing", &|| fs::remove_file(&files.private_key).unwrap()),
        ];
        for (want, damage) in cases {
            damage();
            let state = || [fs::read(&files.private_key).ok(), fs::read(&files.node_json).ok()];
            let before = state();
            let error = files.load_or_create(None, Role::Dual).unwrap_err();
            assert!(matches!(error, Error::Config(_)) && error.to_string().contains(want), "{error}");
            assert_eq!(state(), before, "{want}: nothing was overwritten");
            fs::write(&files.node_json, &json).unwrap();
            atomic::write(&files.private_key, &key, 0o600).unwrap();
        }
        fs::set_permissions(&files.private_key, fs::Permissions::from_mode(0o640)).unwrap();
        let error = files.load().unwrap_err().to_string();
        assert!(
            error.ends_with(&format!("run: chmod 600 '{}'", dir.path().join("data/private.key").display())),
            "{error}"
        );
    }

    #[test]
    fn a_manager_does_what_its_page_says() {
        let (dir, _) = folder();
        let paths = [dir.path().join("private.key"), dir.path().join("node.json")];
        let mut node = NodeManager::from_paths(&paths[0], &paths[1]).unwrap();
        assert!(!node.has_identity() && node.identity().is_none());
        assert!(node.derive_shared_secret("x").unwrap_err().to_string().contains("not initialized"));
        node.generate_identity("a", Role::Controller).unwrap();
        assert!(node.generate_identity("b", Role::Controller).is_err());
        let again = NodeManager::from_paths(&paths[0], &paths[1]).unwrap();
        assert_eq!(again.identity(), node.identity());
        let peer = SecretKey::from_bytes([5; 32]);
        let secret = node.derive_shared_secret(&peer.public_key().to_base64()).unwrap();
        assert_eq!(secret, identity::derive_shared_secret(&peer, &node.identity().unwrap().public_key).unwrap());
        node.delete().unwrap();
        assert!(!node.has_identity() && !paths[0].exists() && !paths[1].exists());
    }
}
