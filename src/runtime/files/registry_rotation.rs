//! Keys that are replaced: on disk before anybody acts on it. The permissions are written first and decide; allowlist and
//! peers follow them, now or when they are read again.

use super::SharedRegistry;
use crate::base::Result;
use crate::identity::{PublicKey, Rotation};
use crate::message::Rotated;
use crate::peers::{PeerRegistry, Succession};
use crate::runtime::clock::wall;

impl SharedRegistry {
    /// See [`PeerRegistry::handle_rotation`].
    ///
    /// # Errors
    /// As there; [`crate::base::Error::Io`] when saving failed. Nothing has changed then.
    pub(crate) fn handle_rotation(&self, said: &Rotation, via: &PublicKey, sign: &[u8; 32]) -> Result<Rotated> {
        self.succeed(|registry| registry.handle_rotation(said, via, sign, wall()))
    }

    /// See [`PeerRegistry::note_successor_proven`].
    ///
    /// # Errors
    /// As [`SharedRegistry::handle_rotation`].
    pub(crate) fn note_successor_proven(&self, key: &PublicKey, sign: &[u8; 32]) -> Result<bool> {
        self.succeed(|registry| Ok(registry.note_successor_proven(key, sign, wall())))
    }

    /// See [`PeerRegistry::follow_due`].
    ///
    /// # Errors
    /// As [`SharedRegistry::handle_rotation`].
    pub(crate) fn follow_due(&self) -> Result<bool> {
        self.succeed(|registry| Ok(registry.follow_due(wall())))
    }

    /// Drops what is pending that would replace a key.
    ///
    /// # Errors
    /// [`crate::base::Error::NotFound`] when nothing is; as [`SharedRegistry::allow`].
    pub fn keep_key(&self, key: &PublicKey) -> Result<()> {
        self.admit(key, |registry| registry.access_mut().keep_key(key))
    }

    /// Every statement about a key that is not followed yet.
    pub fn successions(&self) -> Vec<Succession> {
        self.inner().read().successions().collect()
    }

    fn succeed<T>(&self, change: impl FnOnce(&mut PeerRegistry) -> Result<T>) -> Result<T> {
        let core = &self.owner.core;
        let _writing = core.writing.lock();
        let (before, result) = {
            let mut registry = core.registry.write();
            (registry.access().clone(), change(&mut registry))
        };
        let result = result?;
        if let Err(e) = core.save_access() {
            core.registry.write().set_access(before);
            return Err(e);
        }
        core.registry.write().settle_peers(self.owner.clock.now());
        if let Err(e) = core.flush_held() {
            log::error!(target: "peers", "the registry could not be saved, will try again: {e}");
        }
        Ok(result)
    }
}
