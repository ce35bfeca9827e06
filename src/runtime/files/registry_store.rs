//! The registry's four files: read together, written in an order that a crash may cut anywhere.

use super::atomic;
use super::disk::Disk;
use crate::base::{Error, Result};
use crate::peers::{Access, PeerAuthMode, PeerRegistry, RegistryFiles, RegistryTexts};
use std::path::{Path, PathBuf};

/// Largest file that is read, bytes.
const FILE_MAX: usize = 64 << 20;
/// Mode of every file: who commands whom is nobody else's business.
const MODE: u32 = 0o600;

/// Where the four files lie: `peers.json` and its companions, whose names start with its path.
#[derive(Clone)]
pub(crate) struct RegistryStore {
    peers: PathBuf,
    disk: Disk,
}

impl RegistryStore {
    pub(crate) fn new(peers: &Path, disk: Disk) -> RegistryStore {
        RegistryStore { peers: peers.to_owned(), disk }
    }

    /// Where `peers.json` lies.
    pub(crate) fn path(&self) -> &Path {
        &self.peers
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.peers.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    fn extras(&self) -> PathBuf {
        self.beside(".rigmesh.json")
    }

    fn allowlist(&self) -> PathBuf {
        self.beside(".allowlist.json")
    }

    fn permissions(&self) -> PathBuf {
        self.beside(".permissions.json")
    }

    /// Reads all files; missing ones are empty. Second: warnings for people.
    ///
    /// # Errors
    /// [`Error::Config`] when a file is corrupt: it names the file, which stays as it is.
    /// [`Error::Io`] when one cannot be read.
    pub(crate) fn load(&self, mode: PeerAuthMode) -> Result<(PeerRegistry, Vec<String>)> {
        let (peers, extras) = (read(&self.peers)?, read(&self.extras())?);
        let (allowlist, permissions) = (read(&self.allowlist())?, read(&self.permissions())?);
        let texts = RegistryTexts {
            peers: peers.as_deref(),
            extras: extras.as_deref(),
            allowlist: allowlist.as_deref(),
            permissions: permissions.as_deref(),
        };
        let (registry, warnings) = PeerRegistry::load(mode, texts).map_err(|e| self.corrupt(e))?;
        Ok((registry, self.named(warnings)))
    }

    /// Reads allowlist and permissions anew.
    ///
    /// # Errors
    /// As [`RegistryStore::load`].
    pub(crate) fn load_access(&self) -> Result<(Access, Vec<String>)> {
        let (allowlist, permissions) = (read(&self.allowlist())?, read(&self.permissions())?);
        let (access, warnings) =
            Access::load(allowlist.as_deref(), permissions.as_deref()).map_err(|e| self.corrupt(e))?;
        Ok((access, self.named(warnings)))
    }

    /// Writes the peers, durably. A crash between the two files leaves a peer that admits nobody.
    pub(crate) fn save_peers(&self, files: &RegistryFiles) -> Result<()> {
        self.disk.write(&self.peers, files.peers.as_bytes(), MODE)?;
        self.disk.write(&self.extras(), files.extras.as_bytes(), MODE)
    }

    /// Writes permissions and allowlist, durably and in this order: a key is revoked before it is
    /// taken off the list, and has no more than its grants before it is put there. An unreadable
    /// permissions file is left alone.
    pub(crate) fn save_access(&self, texts: &AccessTexts) -> Result<()> {
        if let Some(permissions) = &texts.permissions {
            self.disk.write(&self.permissions(), permissions.as_bytes(), MODE)?;
        }
        self.disk.write(&self.allowlist(), texts.allowlist.as_bytes(), MODE)
    }

    fn path_of(&self, what: &str) -> PathBuf {
        match what {
            "extras" => self.extras(),
            "allowlist" => self.allowlist(),
            "permissions" => self.permissions(),
            _ => self.peers.clone(),
        }
    }

    fn corrupt(&self, error: Error) -> Error {
        match error {
            Error::Malformed { what, detail } => Error::Config(format!(
                "the file {} is corrupt ({detail}); it was left as it is: correct it or move it away",
                self.path_of(what).display()
            )),
            other => other,
        }
    }

    /// Warnings start with the word of the file they are about; people want its path.
    fn named(&self, warnings: Vec<String>) -> Vec<String> {
        let name = |warning: String| match warning.split_once(": ") {
            Some((what, rest)) => format!("{}: {rest}", self.path_of(what).display()),
            None => warning,
        };
        warnings.into_iter().map(name).collect()
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    atomic::read(path, FILE_MAX)
}

/// The texts of the files about who may do what.
#[derive(Clone, Debug)]
pub(crate) struct AccessTexts {
    allowlist: String,
    permissions: Option<String>,
}

impl AccessTexts {
    pub(super) fn of(access: &Access) -> Result<AccessTexts> {
        Ok(AccessTexts { allowlist: access.allowlist_text()?, permissions: access.permissions_text()? })
    }
}
