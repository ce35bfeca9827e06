//! The registry's files, and the registry as programs hold it: shared, and saved by itself.
//!
//! Who may do what is on disk before a call returns. Measurements are saved five seconds after the
//! first change, by the thread `store`, and when the registry is closed.

use super::disk::Disk;
use super::registry_store::{AccessTexts, RegistryStore};
use crate::base::{Error, Result};
use crate::identity::{NodeId, PublicKey};
use crate::message::AccessReply;
use crate::peers::{
    AccessChange, Admission, Gift, Grants, Measurement, Merged, Origin, Peer, PeerAuthMode, PeerExtra, PeerRegistry,
    RegistryExport,
};
use crate::runtime::clock::{Clock, wall};
use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use parking_lot::{Mutex, RwLock};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long after the first change peers are saved.
const DEBOUNCE: Duration = Duration::from_secs(5);

/// What the thread `store` and the handles share.
struct Core {
    registry: Arc<RwLock<PeerRegistry>>,
    store: RegistryStore,
    /// Held from taking the texts until they are written, so that no older text overtakes a newer
    /// one. Always taken before the registry's lock, which is never held across a write.
    writing: Mutex<()>,
}

impl Core {
    /// Writes what has changed.
    fn flush(&self) -> Result<()> {
        let _writing = self.writing.lock();
        self.flush_held()
    }

    fn flush_held(&self) -> Result<()> {
        let files = self.registry.write().take_dirty()?;
        let Some(files) = files else { return Ok(()) };
        self.store.save_peers(&files).inspect_err(|_| self.registry.write().mark_dirty())
    }

    fn save_access(&self) -> Result<()> {
        let texts = AccessTexts::of(self.registry.read().access())?;
        self.store.save_access(&texts)
    }
}

/// The body of the thread `store`: one write, [`DEBOUNCE`] after the first change. `stop` ends it.
fn run_store(core: &Core, dirty: &Receiver<()>, stop: &Receiver<()>) {
    loop {
        select! {
            recv(stop) -> _ => return,
            recv(dirty) -> _ => {}
        }
        select! {
            recv(stop) -> _ => return,
            recv(never::<()>()) -> _ => {}
            default(DEBOUNCE) => {}
        }
        if let Err(e) = core.flush() {
            log::error!(target: "peers", "the registry could not be saved, will try again: {e}");
        }
    }
}

/// The thread and what ends it.
struct StoreThread {
    stop: Sender<()>,
    handle: JoinHandle<()>,
}

struct Owner {
    core: Arc<Core>,
    clock: Clock,
    thread: Mutex<Option<StoreThread>>,
}

impl Owner {
    fn close(&self) -> Result<()> {
        if let Some(StoreThread { stop, handle }) = self.thread.lock().take() {
            drop(stop);
            if handle.join().is_err() {
                log::error!(target: "peers", thread = "store"; "a thread panicked");
            }
        }
        self.core.flush()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Err(e) = self.close() {
            log::error!(target: "peers", "the registry could not be saved: {e}");
        }
    }
}

/// The peer registry of a node: may be cloned and used from any thread, and saves itself.
///
/// Changes of who may connect or command are on disk before the call returns; when that fails,
/// nothing new is admitted, while a revocation stays in force until the node ends.
#[derive(Clone)]
pub struct SharedRegistry {
    owner: Arc<Owner>,
}

impl std::fmt::Debug for SharedRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedRegistry").field("peers", &self.owner.core.store.path()).finish_non_exhaustive()
    }
}

impl SharedRegistry {
    /// Loads `peers.json` at `peers` and its companions, and starts the thread `store`. Second:
    /// warnings for people. At most one process may do so for a path at a time.
    ///
    /// # Errors
    /// [`Error::Config`] when a file is corrupt: it names the file, which stays as it is.
    /// [`Error::Io`] when one cannot be read.
    pub fn load(peers: &Path, mode: PeerAuthMode) -> Result<(SharedRegistry, Vec<String>)> {
        SharedRegistry::load_on(Disk::real(), peers, mode)
    }

    pub(in crate::runtime) fn load_on(
        disk: Disk,
        peers: &Path,
        mode: PeerAuthMode,
    ) -> Result<(SharedRegistry, Vec<String>)> {
        let store = RegistryStore::new(peers, disk);
        let (mut registry, warnings) = store.load(mode)?;
        let (wake, dirty) = bounded(1);
        registry.set_waker(move || {
            // A signal that is already waiting says the same.
            let _ = wake.try_send(());
        });
        let registry = Arc::new(RwLock::new(registry));
        let core = Arc::new(Core { registry, store, writing: Mutex::new(()) });
        core.flush()?;
        let (stop, stopped) = bounded(0);
        let shared = core.clone();
        let handle = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || run_store(&shared, &dirty, &stopped))
            .map_err(|e| Error::io("cannot start the thread store", &e))?;
        let thread = Mutex::new(Some(StoreThread { stop, handle }));
        Ok((SharedRegistry { owner: Arc::new(Owner { core, clock: Clock::start(), thread }) }, warnings))
    }

    /// The registry itself, for the node's own threads. What they change is saved after a while.
    pub(crate) fn inner(&self) -> &Arc<RwLock<PeerRegistry>> {
        &self.owner.core.registry
    }

    /// Saves what is not yet saved.
    ///
    /// # Errors
    /// [`Error::Io`]; it is tried again later.
    pub fn flush(&self) -> Result<()> {
        self.owner.core.flush()
    }

    /// Ends the thread and saves what is not yet saved. The registry stays usable; measurements
    /// that change after this are saved by [`SharedRegistry::flush`] only.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn close(&self) -> Result<()> {
        self.owner.close()
    }

    // --- who may connect, who may do what: on disk before the call returns ---

    /// Whether unknown keys are let in.
    pub fn auth_mode(&self) -> PeerAuthMode {
        self.inner().read().auth_mode()
    }

    /// Changes it. Not stored: the mode is configuration.
    pub fn set_auth_mode(&self, mode: PeerAuthMode) {
        self.inner().write().set_auth_mode(mode);
    }

    /// Lets a key in and gives it exactly these grants (which may be none); a revocation is lifted.
    ///
    /// # Errors
    /// [`Error::Config`] when the permissions file cannot be read; [`Error::Io`] when saving failed.
    /// Nothing has changed then.
    pub fn allow(&self, key: &PublicKey, grants: Grants, by: &str) -> Result<()> {
        self.admit(key, |registry| registry.access_mut().allow(key, grants, by, wall()))
    }

    /// Puts a text on the allowlist. `Ok(false)`: it is no canonical key and admits nobody.
    ///
    /// # Errors
    /// As [`SharedRegistry::allow`].
    pub fn allow_public_key(&self, public_key: &str) -> Result<bool> {
        let now = self.owner.clock.now();
        match PublicKey::from_base64(public_key) {
            Ok(key) => self.admit(&key, |registry| registry.allow_public_key(now, public_key)),
            Err(_) => {
                let core = &self.owner.core;
                let _writing = core.writing.lock();
                let known = core.registry.write().access_mut().allow_text(public_key);
                core.save_access().map(|()| known)
            }
        }
    }

    /// The key had a secure session: from now on it gets nothing less. Only keys that this node knows are marked.
    ///
    /// # Errors
    /// [`Error::Io`] when saving failed: the mark holds until the node ends.
    pub(crate) fn mark_secure(&self, key: &PublicKey) -> Result<()> {
        let core = &self.owner.core;
        // Most have it, and strangers get none: neither waits for a write under way.
        if !core.registry.read().lacks_secure_mark(key) {
            return Ok(());
        }
        let _writing = core.writing.lock();
        let marked = core.registry.write().mark_secure(key);
        if marked { core.save_access() } else { Ok(()) }
    }

    /// Accepts protocol 1.0 from this key again, after it had a secure session.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it had none; [`Error::Io`] when saving failed. Nothing has changed then.
    pub fn allow_plain(&self, key: &PublicKey) -> Result<()> {
        self.admit(key, |registry| registry.access_mut().allow_plain(key))
    }

    /// Carries out a change that the holder of `by` asks for; see [`PeerRegistry::change_from_afar`].
    ///
    /// # Errors
    /// As there; [`Error::Io`] when saving failed: nothing has changed then, but a revocation holds until the node ends.
    pub(crate) fn change_from_afar(
        &self,
        by: &PublicKey,
        key: &PublicKey,
        change: &AccessChange,
    ) -> Result<AccessReply> {
        let apply = |registry: &mut PeerRegistry| registry.change_from_afar(by, key, change, wall());
        match change {
            AccessChange::Grant { .. } | AccessChange::Keep => self.admit(key, apply)?,
            AccessChange::Revoke => {
                let core = &self.owner.core;
                let _writing = core.writing.lock();
                let result = apply(&mut core.registry.write());
                // Who may not has changed nothing.
                if core.registry.read().access().is_revoked(key) {
                    core.save_access()?;
                }
                result?;
            }
        }
        Ok(self.inner().read().access().reply(key))
    }

    /// Gives a key exactly this; a revocation is lifted.
    ///
    /// # Errors
    /// As [`SharedRegistry::allow`].
    pub fn grant(&self, key: &PublicKey, gift: Gift) -> Result<()> {
        self.admit(key, |registry| registry.access_mut().grant(key, gift, wall()))
    }

    /// Saves a key that was paired with; see [`crate::peers::Access::pair`].
    ///
    /// # Errors
    /// As there; [`Error::Io`] when saving failed. Nothing has changed then.
    pub(crate) fn pair(&self, key: &PublicKey, grants: Option<Grants>, sign: &[u8; 32]) -> Result<()> {
        self.admit(key, |registry| registry.access_mut().pair(key, grants, sign, wall()))
    }

    fn admit<T>(&self, key: &PublicKey, change: impl FnOnce(&mut PeerRegistry) -> Result<T>) -> Result<T> {
        let core = &self.owner.core;
        let _writing = core.writing.lock();
        let (before, result) = {
            let mut registry = core.registry.write();
            (registry.access().snapshot(key), change(&mut registry))
        };
        let result = result?;
        match core.save_access() {
            Ok(()) => Ok(result),
            Err(e) => {
                core.registry.write().access_mut().restore(before);
                Err(e)
            }
        }
    }

    /// Shuts a key out, in every mode: off the allowlist, no grants, marked as revoked.
    ///
    /// # Errors
    /// [`Error::Config`] when the permissions file cannot be read, [`Error::Io`] when saving failed:
    /// the key stays out until the node ends, but perhaps not afterwards.
    pub fn revoke(&self, key: &PublicKey) -> Result<()> {
        self.revoke_public_key(&key.to_base64())
    }

    /// Takes a text off the allowlist; a key is revoked thereby.
    ///
    /// # Errors
    /// As [`SharedRegistry::revoke`].
    pub fn revoke_public_key(&self, public_key: &str) -> Result<()> {
        let core = &self.owner.core;
        let _writing = core.writing.lock();
        let result = core.registry.write().revoke_public_key(self.owner.clock.now(), public_key);
        core.save_access().and(result)
    }

    /// Reads allowlist and permissions anew, as somebody else has written them. Gives warnings for people.
    ///
    /// # Errors
    /// As [`SharedRegistry::load`]; what was in force stays in force.
    pub fn reload_access(&self) -> Result<Vec<String>> {
        let core = &self.owner.core;
        let _writing = core.writing.lock();
        let (access, warnings) = core.store.load_access()?;
        core.registry.write().set_access(access);
        Ok(warnings)
    }

    /// Whether the text is a canonical key on the allowlist.
    pub fn is_public_key_allowed(&self, public_key: &str) -> bool {
        self.inner().read().is_public_key_allowed(public_key)
    }

    /// See [`PeerRegistry::is_peer_allowed`].
    pub fn is_peer_allowed(&self, peer_id: &str, public_key: &str) -> bool {
        self.inner().read().is_peer_allowed(peer_id, public_key)
    }

    /// The allowlist's texts, sorted.
    pub fn allowed_public_keys(&self) -> Vec<String> {
        self.inner().read().allowed_public_keys().map(str::to_owned).collect()
    }

    /// What the key is to us.
    pub fn admission(&self, key: &PublicKey) -> Admission {
        self.inner().read().admission(key)
    }

    /// What the key may do now.
    pub fn grants(&self, key: &PublicKey) -> Grants {
        self.inner().read().grants(key, wall())
    }

    // --- peers: by hand, on disk before the call returns ---

    /// Adds a peer by hand: its key, if it has one, is admitted from now on.
    ///
    /// # Errors
    /// See [`PeerRegistry::add_peer`]; [`Error::Io`] when saving failed. Nothing has changed then.
    pub fn add_peer(&self, peer: Peer) -> Result<()> {
        self.add_peer_with(peer, |_| {})
    }

    /// The same, with a say in how it is dialled and trusted.
    ///
    /// # Errors
    /// As [`SharedRegistry::add_peer`].
    pub fn add_peer_with(&self, peer: Peer, configure: impl FnOnce(&mut PeerExtra)) -> Result<()> {
        let (id, now) = (peer.id.clone(), self.owner.clock.now());
        self.saved(&id, |registry| {
            registry.add_peer(now, peer)?;
            let mut extra = registry.extra(&id).cloned().unwrap_or_default();
            configure(&mut extra);
            registry.set_extra(&id, extra)
        })
    }

    /// Adds a peer by hand, or says anew of one that was added so where it is (and what it is called, with a name).
    ///
    /// # Errors
    /// As [`SharedRegistry::add_peer`].
    pub(crate) fn adopt_peer(&self, peer: Peer, configure: impl FnOnce(&mut PeerExtra)) -> Result<()> {
        let (id, now) = (peer.id.clone(), self.owner.clock.now());
        self.saved(&id, |registry| {
            match (registry.extra(&id).map(|extra| extra.origin), registry.peer(&id).cloned()) {
                (Some(Origin::Hand), Some(old)) => {
                    let name = if peer.name.is_empty() { old.name } else { peer.name };
                    registry.update_peer(Peer { address: peer.address, name, ..old })?;
                }
                _ => registry.add_peer(now, peer)?,
            }
            let mut extra = registry.extra(&id).cloned().unwrap_or_default();
            configure(&mut extra);
            registry.set_extra(&id, extra)
        })
    }

    /// Replaces a peer's values.
    ///
    /// # Errors
    /// See [`PeerRegistry::update_peer`]; [`Error::Io`] when saving failed. Nothing has changed then.
    pub fn update_peer(&self, peer: Peer) -> Result<()> {
        let id = peer.id.clone();
        self.saved(&id, |registry| registry.update_peer(peer))
    }

    /// Replaces what RigMesh knows beside the Go node's file.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Io`] when saving failed. Nothing has changed then.
    pub fn set_extra(&self, id: &str, extra: PeerExtra) -> Result<()> {
        self.saved(id, |registry| registry.set_extra(id, extra))
    }

    /// Removes a peer; the allowlist stays.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Io`] when saving failed: the peer is gone until the node ends.
    pub fn remove_peer(&self, id: &str) -> Result<Peer> {
        let core = &self.owner.core;
        let _writing = core.writing.lock();
        let peer = core.registry.write().remove_peer(id)?;
        core.flush_held().map(|()| peer)
    }

    /// Takes over what an export has and this registry does not: see [`PeerRegistry::merge`].
    ///
    /// # Errors
    /// [`Error::Io`] when saving failed. Nothing new is admitted then.
    pub fn merge(&self, own: NodeId, export: &RegistryExport, with_access: bool) -> Result<Vec<Merged>> {
        let core = &self.owner.core;
        let _writing = core.writing.lock();
        let (peers, access, rows) = {
            let mut registry = core.registry.write();
            let peers: Vec<_> = export.peers.iter().map(|(p, _)| registry.snapshot_peer(&p.id)).collect();
            let access = registry.access().clone();
            (peers, access, registry.merge(self.owner.clock.now(), own, export, with_access))
        };
        let saved = if with_access { core.save_access() } else { Ok(()) };
        saved.and_then(|()| core.flush_held()).map(|()| rows).inspect_err(|_| {
            let mut registry = core.registry.write();
            registry.set_access(access);
            peers.into_iter().for_each(|before| registry.restore_peer(before));
        })
    }

    fn saved(&self, id: &str, change: impl FnOnce(&mut PeerRegistry) -> Result<()>) -> Result<()> {
        let core = &self.owner.core;
        let _writing = core.writing.lock();
        let before = {
            let mut registry = core.registry.write();
            let before = registry.snapshot_peer(id);
            change(&mut registry)?;
            before
        };
        core.flush_held().inspect_err(|_| core.registry.write().restore_peer(before))
    }

    // --- measurements: saved after a while ---

    /// See [`PeerRegistry::update_metrics`].
    ///
    /// # Errors
    /// As there.
    pub fn update_metrics(&self, id: &str, ping_ms: f64, geo_km: f64, hops: i64) -> Result<()> {
        self.inner().write().update_metrics(self.owner.clock.now(), id, ping_ms, geo_km, hops)
    }

    /// See [`PeerRegistry::update_measurement`].
    ///
    /// # Errors
    /// As there.
    pub fn update_measurement(&self, id: &str, measured: &Measurement) -> Result<()> {
        self.inner().write().update_measurement(self.owner.clock.now(), id, measured)
    }

    /// See [`PeerRegistry::update_score`].
    ///
    /// # Errors
    /// As there.
    pub fn update_score(&self, id: &str, score: f64) -> Result<()> {
        self.inner().write().update_score(id, score)
    }

    /// See [`PeerRegistry::set_connected`].
    pub fn set_connected(&self, id: &str, connected: bool) {
        self.inner().write().set_connected(self.owner.clock.now(), id, connected);
    }

    /// See [`PeerRegistry::record_success`].
    pub fn record_success(&self, id: &str) -> Option<f64> {
        self.inner().write().record_success(self.owner.clock.now(), id)
    }

    /// See [`PeerRegistry::record_failure`].
    pub fn record_failure(&self, id: &str) -> Option<f64> {
        self.inner().write().record_failure(id)
    }

    /// See [`PeerRegistry::record_timeout`].
    pub fn record_timeout(&self, id: &str) -> Option<f64> {
        self.inner().write().record_timeout(id)
    }

    // --- looking ---

    /// The peer of this id.
    pub fn peer(&self, id: &str) -> Option<Peer> {
        self.inner().read().peer(id).cloned()
    }

    /// What RigMesh knows of it beside the Go node's file.
    pub fn extra(&self, id: &str) -> Option<PeerExtra> {
        self.inner().read().extra(id).cloned()
    }

    /// Where in its life it is: `discovered`, `authenticated`, `active`, `stale`.
    pub fn stage(&self, id: &str) -> Option<&'static str> {
        self.inner().read().stage(id).map(crate::peers::Stage::word)
    }

    /// The id of the peer somebody means, see [`PeerRegistry::resolve`].
    ///
    /// # Errors
    /// [`Error::NotFound`], naming what exists or what could be meant.
    pub fn resolve(&self, selector: &str) -> Result<String> {
        self.inner().read().resolve(selector)
    }

    /// All peers, by id.
    pub fn list_peers(&self) -> Vec<Peer> {
        self.inner().read().list_peers().cloned().collect()
    }

    /// Peers with a link, by id.
    pub fn connected_peers(&self) -> Vec<Peer> {
        self.inner().read().connected_peers().cloned().collect()
    }

    /// How many peers.
    pub fn count(&self) -> usize {
        self.inner().read().count()
    }

    /// All peers, best score first.
    pub fn peers_by_score(&self) -> Vec<Peer> {
        self.inner().read().peers_by_score().into_iter().cloned().collect()
    }

    /// See [`PeerRegistry::select_optimal_peer`].
    pub fn select_optimal_peer(&self) -> Option<Peer> {
        self.inner().read().select_optimal_peer().cloned()
    }

    /// See [`PeerRegistry::select_nearest_peers`].
    pub fn select_nearest_peers(&self, n: usize) -> Vec<Peer> {
        self.inner().read().select_nearest_peers(n).into_iter().cloned().collect()
    }
}

#[path = "registry_rotation.rs"]
mod rotation;

#[cfg(test)]
#[path = "registry_crash_tests.rs"]
mod crash_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use crate::identity::SecretKey;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn key(n: u64) -> PublicKey {
        SecretKey::generate(&mut Rng::from_number(n)).public_key()
    }

    fn open(path: &Path) -> SharedRegistry {
        let (registry, warnings) = SharedRegistry::load(path, PeerAuthMode::Allowlist).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        registry
    }

    fn peer(id: &str) -> Peer {
        Peer { id: id.into(), public_key: key(9).to_base64(), ..Peer::default() }
    }

    #[test]
    fn what_was_acknowledged_is_on_disk_without_closing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/peers.json");
        let first = open(&path);
        first.allow(&key(1), Grants::CONTROLLER, "cli").unwrap();
        first.allow(&key(2), Grants::NONE, "cli").unwrap();
        first.add_peer_with(peer("hand"), |extra| extra.tls = true).unwrap();
        first.revoke(&key(2)).unwrap();
        // As after kill -9: nothing of the first is flushed before the second reads.
        let second = open(&path);
        assert_eq!(second.grants(&key(1)), Grants::CONTROLLER);
        assert_eq!(second.admission(&key(2)), Admission::Revoked);
        assert_eq!(second.admission(&key(9)), Admission::Listed);
        assert!(second.extra("hand").unwrap().tls);
        second.remove_peer("hand").unwrap();
        assert_eq!(open(&path).admission(&key(9)), Admission::Refused);
        for file in fs::read_dir(path.parent().unwrap()).unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn closing_saves_what_was_measured_and_ends_the_thread() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.json");
        let registry = open(&path);
        registry.add_peer(peer("a")).unwrap();
        let before = fs::read(&path).unwrap();
        registry.inner().write().record_failure("a");
        assert_eq!(fs::read(&path).unwrap(), before, "measurements are saved after a while");
        registry.close().unwrap();
        registry.close().unwrap();
        assert_eq!(open(&path).peer("a").unwrap().score, 45.0);
        registry.record_failure("a");
        drop(registry);
        assert_eq!(open(&path).peer("a").unwrap().score, 40.0);
    }

    #[test]
    fn measurements_are_saved_by_the_thread() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.json");
        let registry = open(&path);
        registry.inner().write().add_peer(registry.owner.clock.now(), peer("a")).unwrap();
        let deadline = std::time::Instant::now() + DEBOUNCE * 4;
        while !path.exists() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(path.exists());
    }

    #[test]
    fn a_corrupt_file_is_named_and_left_alone() {
        for name in ["peers.json", "peers.json.rigmesh.json", "peers.json.allowlist.json"] {
            let dir = tempfile::tempdir().unwrap();
            let (path, bad) = (dir.path().join("peers.json"), dir.path().join(name));
            fs::write(&bad, "[{").unwrap();
            let error = SharedRegistry::load(&path, PeerAuthMode::Open).unwrap_err();
            assert!(matches!(&error, Error::Config(why) if why.contains(bad.to_str().unwrap())), "{error}");
            assert_eq!(fs::read(&bad).unwrap(), b"[{");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn an_unreadable_permissions_file_is_never_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.json");
        open(&path).allow(&key(1), Grants::CONTROLLER, "cli").unwrap();
        let permissions = dir.path().join("peers.json.permissions.json");
        fs::write(&permissions, "broken").unwrap();
        let (registry, warnings) = SharedRegistry::load(&path, PeerAuthMode::Allowlist).unwrap();
        assert!(warnings[0].contains(permissions.to_str().unwrap()), "{warnings:?}");
        assert!(registry.grants(&key(1)).is_empty());
        assert!(registry.allow(&key(2), Grants::OPERATE, "cli").is_err());
        assert_eq!(registry.admission(&key(2)), Admission::Refused);
        registry.allow(&key(3), Grants::NONE, "cli").unwrap();
        assert!(registry.revoke(&key(3)).is_err());
        assert_eq!(registry.admission(&key(3)), Admission::Revoked);
        assert_eq!(fs::read(&permissions).unwrap(), b"broken");
        assert!(
            !fs::read_to_string(dir.path().join("peers.json.allowlist.json")).unwrap().contains(&key(3).to_base64())
        );
    }

    #[test]
    fn what_could_not_be_saved_admits_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.json");
        let registry = open(&path);
        // A folder where the file should be: root may write anywhere, so take what even root cannot do.
        for name in ["peers.json", "peers.json.permissions.json"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert!(registry.allow(&key(1), Grants::OPERATE, "cli").is_err());
        assert_eq!(registry.admission(&key(1)), Admission::Refused);
        assert!(registry.add_peer(peer("a")).is_err());
        assert_eq!((registry.count(), registry.admission(&key(9))), (0, Admission::Refused));
        assert!(registry.revoke(&key(1)).is_err());
        assert_eq!(registry.admission(&key(1)), Admission::Revoked, "a revocation holds at once");
        fs::remove_dir(&path).unwrap();
    }

    #[test]
    fn access_is_read_anew_when_somebody_else_has_written_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.json");
        let registry = open(&path);
        let list = dir.path().join("peers.json.allowlist.json");
        fs::write(&list, serde_json::to_string(&[key(1)]).unwrap()).unwrap();
        registry.reload_access().unwrap();
        assert_eq!(registry.admission(&key(1)), Admission::Listed);
        fs::write(&list, "{").unwrap();
        assert!(registry.reload_access().is_err());
        assert_eq!(registry.admission(&key(1)), Admission::Listed);
    }
}
