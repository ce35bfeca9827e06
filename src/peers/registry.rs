//! The registry itself: peers, their scores, who is best. Knows no lock, file or clock.

use super::selection::Selection;
use super::{
    Access, Admission, Grants, Lifecycle, LifecycleConfig, LifecycleOutput, Measurement, Origin, Peer, PeerAuthMode,
    PeerExtra, ROTATION_DELAY, SCORE_DEFAULT, SCORE_MAXIMUM, SCORE_MINIMUM, Stage,
};
use crate::base::{Error, Now, Refusal, Result, Rng, Time, Timestamp};
use crate::identity::PublicKey;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

/// What a success adds to a score.
pub const SCORE_SUCCESS_INCREMENT: f64 = 1.0;
/// What a failure takes off a score.
pub const SCORE_FAILURE_DECREMENT: f64 = 5.0;
/// What a time-out takes off a score.
pub const SCORE_TIMEOUT_DECREMENT: f64 = 3.0;
/// Default bound on the number of peers.
pub const PEERS_MAX: usize = 10_000;
/// Stored for peers at the same place: 0 km means unknown.
const SAME_PLACE_KM: f64 = 0.001;

/// One entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) peer: Peer,
    pub(super) extra: PeerExtra,
    /// The peer's key, when its text is a canonical one.
    pub(super) key: Option<PublicKey>,
}

/// Every peer this node knows, with scores, selection, allowlist and permissions.
///
/// A plain value: the caller brings time, holds the lock and saves what [`PeerRegistry::take_dirty`]
/// and [`PeerRegistry::access`] give. Everything about who may do what goes by the whole key.
#[derive(Debug)]
pub struct PeerRegistry {
    mode: PeerAuthMode,
    peers_max: usize,
    pub(super) access: Access,
    /// See [`PeerRegistry::set_time_floor`].
    time_floor: Option<Timestamp>,
    /// See [`PeerRegistry::set_rotation_delay`].
    pub(super) rotation_delay: Duration,
    pub(super) peers: BTreeMap<String, Entry>,
    /// Keys and the ids of their entries: nearly always one.
    by_key: BTreeSet<(PublicKey, String)>,
    selection: OnceLock<Selection>,
    pub(super) lifecycle: Lifecycle,
    pub(super) dirty: bool,
    waker: Option<Waker>,
}

/// Called when the registry turns dirty.
struct Waker(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}

/// One entry as it was, to put back when saving failed.
#[derive(Clone, Debug)]
pub struct PeerSnapshot {
    id: String,
    entry: Option<Entry>,
}

impl Default for PeerRegistry {
    fn default() -> Self {
        PeerRegistry::new()
    }
}

impl PeerRegistry {
    /// An empty registry in open mode, as on the API page: any key that proves itself may connect
    /// and ping. See [`PeerRegistry::with_mode`] for the safe one.
    pub fn new() -> PeerRegistry {
        PeerRegistry::with_mode(PeerAuthMode::Open)
    }

    /// An empty registry.
    pub fn with_mode(mode: PeerAuthMode) -> PeerRegistry {
        PeerRegistry {
            mode,
            peers_max: PEERS_MAX,
            access: Access::default(),
            time_floor: None,
            rotation_delay: ROTATION_DELAY,
            peers: BTreeMap::new(),
            by_key: BTreeSet::new(),
            selection: OnceLock::new(),
            lifecycle: Lifecycle::default(),
            dirty: false,
            waker: None,
        }
    }

    /// Has `wake` called whenever there is something new to save ([`PeerRegistry::is_dirty`] turns
    /// true), by whoever made the change: it must return at once.
    pub fn set_waker(&mut self, wake: impl Fn() + Send + Sync + 'static) {
        self.waker = Some(Waker(Box::new(wake)));
    }

    /// At most so many peers; entries that made themselves leave first, the longest unseen ahead.
    pub fn set_peers_max(&mut self, peers_max: usize) {
        self.peers_max = peers_max;
    }

    /// Bounds of the life of a peer. Only before the first peer is there.
    pub fn set_lifecycle_config(&mut self, config: LifecycleConfig) {
        if self.peers.is_empty() {
            self.lifecycle = Lifecycle::new(config);
        }
    }

    /// The newest time that this node has saved, below which no clock is believed; `None`: it has forgotten.
    pub fn set_time_floor(&mut self, floor: Option<Timestamp>) {
        self.time_floor = floor;
    }

    // --- who may connect, who may do what ---

    /// Gives a key that this node knows the secure mark. `false` when nothing changed; see [`Access::mark_secure`].
    pub fn mark_secure(&mut self, key: &PublicKey) -> bool {
        self.lacks_secure_mark(key) && self.access.mark_secure(key)
    }

    /// Whether this node knows the key, and it has no secure mark.
    pub fn lacks_secure_mark(&self, key: &PublicKey) -> bool {
        self.admission(key) == Admission::Listed && !self.access.is_secure(key)
    }

    /// Whether unknown keys are let in.
    pub fn auth_mode(&self) -> PeerAuthMode {
        self.mode
    }

    /// Changes it. Not stored: the mode is configuration.
    pub fn set_auth_mode(&mut self, mode: PeerAuthMode) {
        self.mode = mode;
    }

    /// Allowlist and permissions.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Allowlist and permissions, to change them. What is changed must be saved before it is acknowledged.
    pub fn access_mut(&mut self) -> &mut Access {
        &mut self.access
    }

    /// Puts a key's text on the allowlist; its grants stay, a revocation is lifted. `Ok(false)` when
    /// the text is no canonical key: it is kept and admits nobody.
    ///
    /// # Errors
    /// See [`Access::allow`].
    pub fn allow_public_key(&mut self, now: Now, public_key: &str) -> Result<bool> {
        match PublicKey::from_base64(public_key) {
            Ok(key) if self.access.is_revoked(&key) => {
                self.access.allow(&key, Grants::NONE, "cli", now.wall).map(|()| true)
            }
            _ => Ok(self.access.allow_text(public_key)),
        }
    }

    /// Takes a text off the allowlist. A key is revoked thereby: it stays out in every mode, also
    /// when it is that of a peer added by hand.
    ///
    /// # Errors
    /// See [`Access::revoke`].
    pub fn revoke_public_key(&mut self, now: Now, public_key: &str) -> Result<()> {
        match PublicKey::from_base64(public_key) {
            Ok(key) => self.access.revoke(&key, now.wall),
            Err(_) => {
                self.access.unlist_text(public_key);
                Ok(())
            }
        }
    }

    /// Whether the text is a canonical key on the allowlist.
    pub fn is_public_key_allowed(&self, public_key: &str) -> bool {
        PublicKey::from_base64(public_key).is_ok_and(|key| self.access.is_listed(&key))
    }

    /// Whether a peer that shows this id and key may connect. A registered id alone admits nobody,
    /// and never with another key than the registered one.
    pub fn is_peer_allowed(&self, peer_id: &str, public_key: &str) -> bool {
        let Ok(key) = PublicKey::from_base64(public_key) else { return false };
        let other = self.peers.get(peer_id).and_then(|e| e.key).is_some_and(|registered| registered != key);
        !other && matches!(self.admission(&key), Admission::Listed | Admission::Open)
    }

    /// The allowlist's texts, sorted.
    pub fn allowed_public_keys(&self) -> impl Iterator<Item = &str> {
        self.access.allowlist()
    }

    /// What the key is to us. Cheap: no curve work.
    pub fn admission(&self, key: &PublicKey) -> Admission {
        if self.access.is_revoked(key) {
            Admission::Revoked
        } else if self.is_trusted(key) {
            Admission::Listed
        } else if self.mode == PeerAuthMode::Open || self.access.predecessor_of(key).is_some() {
            Admission::Open
        } else {
            Admission::Refused
        }
    }

    /// On the allowlist, or the key of a peer added by hand.
    pub(super) fn is_trusted(&self, key: &PublicKey) -> bool {
        let by_hand = |id: &String| self.peers.get(id).is_some_and(|e| e.extra.origin == Origin::Hand);
        self.access.is_listed(key) || self.ids_of(key).any(by_hand)
    }

    /// What the key may do at the moment `wall`, or at the newest time that is known to have been, if that is later: a clock
    /// that fell back makes no permission last longer.
    pub fn grants(&self, key: &PublicKey, wall: Timestamp) -> Grants {
        self.access.grants(key, self.judged(wall))
    }

    /// The moment by which times are judged: `wall`, or the newest that is known to have been, if that is later.
    pub(super) fn judged(&self, wall: Timestamp) -> Timestamp {
        self.time_floor.filter(|floor| floor.unix_nanos() > wall.unix_nanos()).unwrap_or(wall)
    }

    // --- peers ---

    /// Adds a peer by hand: its key, if it has one, is admitted from now on, and it is never evicted.
    /// `added_at` becomes now when zero, a score of 0 becomes 50, others are clamped to 0..100.
    /// An entry that was not made by hand is taken over; what is left empty keeps its value.
    ///
    /// # Errors
    /// [`Error::Config`]: no id, a name that breaks the rule, metrics that are no finite numbers, or
    /// the peer was added by hand before. [`Error::Rejected`]: the registry is full.
    pub fn add_peer(&mut self, now: Now, peer: Peer) -> Result<()> {
        self.add(now, peer, Origin::Hand)
    }

    /// Adds a peer that was found (gossip, announcements) or that made itself: it admits nobody.
    ///
    /// # Errors
    /// As [`PeerRegistry::add_peer`]; a known peer is an error too.
    pub fn add_found(&mut self, now: Now, peer: Peer) -> Result<()> {
        self.add(now, peer, Origin::Found)
    }

    fn add(&mut self, now: Now, mut peer: Peer, origin: Origin) -> Result<()> {
        peer.check()?;
        let mut extra = PeerExtra { origin, ..PeerExtra::default() };
        peer.connected = false;
        match self.peers.get(&peer.id) {
            Some(old) if origin != Origin::Hand || old.extra.origin == Origin::Hand => {
                return Err(Error::Config(format!("peer {} already exists", peer.id)));
            }
            Some(old) => {
                extra = PeerExtra { origin, ..old.extra.clone() };
                // The owner's word replaces what the peer said of itself, where there is one.
                let (given, old) = (peer, old.peer.clone());
                let text = |given: String, old: String| if given.is_empty() { old } else { given };
                peer = Peer {
                    name: text(given.name, old.name),
                    public_key: text(given.public_key, old.public_key),
                    address: text(given.address, old.address),
                    score: if given.score == 0.0 { old.score } else { given.score },
                    ..old
                };
            }
            None => self.make_room(&peer.id)?,
        }
        if peer.added_at.is_zero() {
            peer.added_at = now.wall;
        }
        peer.score = if peer.score == 0.0 { SCORE_DEFAULT } else { clamp_score(peer.score) };
        self.lifecycle.handle_discovered(now.mono, &peer.id);
        self.put(Entry { key: peer.key(), peer, extra });
        Ok(())
    }

    /// Replaces a peer's values; how it came to be, and whether it is connected, stay.
    ///
    /// # Errors
    /// [`Error::NotFound`]; otherwise as [`PeerRegistry::add_peer`].
    pub fn update_peer(&mut self, mut peer: Peer) -> Result<()> {
        peer.check()?;
        let old = self.entry(&peer.id)?;
        let extra = old.extra.clone();
        peer.connected = old.peer.connected;
        peer.score = clamp_score(peer.score);
        self.put(Entry { key: peer.key(), peer, extra });
        Ok(())
    }

    /// Removes a peer. A peer added by hand no longer admits its key; the allowlist stays.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn remove_peer(&mut self, id: &str) -> Result<Peer> {
        self.lifecycle.forget(id);
        self.take(id).map(|e| e.peer).ok_or_else(|| not_found(id))
    }

    /// The peer of this id.
    pub fn peer(&self, id: &str) -> Option<&Peer> {
        self.peers.get(id).map(|e| &e.peer)
    }

    /// What RigMesh knows beside the Go node's file.
    pub fn extra(&self, id: &str) -> Option<&PeerExtra> {
        self.peers.get(id).map(|e| &e.extra)
    }

    /// Replaces it. [`Origin::Hand`] admits the peer's key.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn set_extra(&mut self, id: &str, extra: PeerExtra) -> Result<()> {
        self.change(id, |entry| entry.extra = extra)
    }

    /// All peers, by id.
    pub fn list_peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values().map(|e| &e.peer)
    }

    /// Peers with a link, by id.
    pub fn connected_peers(&self) -> impl Iterator<Item = &Peer> {
        self.list_peers().filter(|p| p.connected)
    }

    /// How many peers.
    pub fn count(&self) -> usize {
        self.peers.len()
    }

    /// Stores measured values as they are; 0 or less of ping and distance means unknown, 0 hops is direct.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Config`] for what is no finite number or a negative hop count.
    pub fn update_metrics(&mut self, now: Now, id: &str, ping_ms: f64, geo_km: f64, hops: i64) -> Result<()> {
        if !ping_ms.is_finite() || !geo_km.is_finite() || hops < 0 {
            return Err(Error::Config(format!("metrics of peer {id} must be finite, hops not negative")));
        }
        self.change(id, |entry| {
            (entry.peer.ping_ms, entry.peer.geo_km, entry.peer.hops) = (ping_ms, geo_km, hops);
            (entry.peer.last_seen, entry.extra.hops_known) = (now.wall, true);
        })
    }

    /// Stores what a [`super::measure()`] found out; unknown axes keep their value, each time-out
    /// counts against the score.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn update_measurement(&mut self, now: Now, id: &str, measured: &Measurement) -> Result<()> {
        self.change(id, |entry| {
            let peer = &mut entry.peer;
            if let Some(ms) = measured.ping_ms {
                (peer.ping_ms, peer.last_seen) = (ms, now.wall);
            }
            if let Some(hops) = measured.hops {
                (peer.hops, entry.extra.hops_known) = (i64::from(hops), true);
            }
            if let Some(km) = measured.geo_km {
                peer.geo_km = km.max(SAME_PLACE_KM);
            }
            peer.score = clamp_score(peer.score - SCORE_TIMEOUT_DECREMENT * f64::from(measured.timeouts));
        })
    }

    /// Sets a score, clamped to 0..100.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Config`] for NaN.
    pub fn update_score(&mut self, id: &str, score: f64) -> Result<()> {
        if score.is_nan() {
            return Err(Error::Config(format!("the score of peer {id} must be a number")));
        }
        self.change(id, |entry| entry.peer.score = clamp_score(score))
    }

    /// Notes whether a link is up; `last_seen` becomes now when it is.
    pub fn set_connected(&mut self, now: Now, id: &str, connected: bool) {
        let Some(entry) = self.peers.get_mut(id) else { return };
        entry.peer.connected = connected;
        if connected {
            entry.peer.last_seen = now.wall;
            // The one thing here that selection looks at.
            if !std::mem::replace(&mut entry.extra.hops_known, true) {
                self.selection.take();
            }
            self.touch();
        } else {
            self.lifecycle.handle_disconnected(now.mono, id);
        }
    }

    /// A request was answered: score +1, heard now. Gives the new score; `None` for an unknown peer.
    pub fn record_success(&mut self, now: Now, id: &str) -> Option<f64> {
        self.score_by(id, SCORE_SUCCESS_INCREMENT, Some(now.wall))
    }

    /// A request failed: score −5. Gives the new score; `None` for an unknown peer.
    pub fn record_failure(&mut self, id: &str) -> Option<f64> {
        self.score_by(id, -SCORE_FAILURE_DECREMENT, None)
    }

    /// A request was not answered in time: score −3. Gives the new score; `None` for an unknown peer.
    pub fn record_timeout(&mut self, id: &str) -> Option<f64> {
        self.score_by(id, -SCORE_TIMEOUT_DECREMENT, None)
    }

    fn score_by(&mut self, id: &str, change: f64, seen: Option<Timestamp>) -> Option<f64> {
        let peer = &mut self.peers.get_mut(id)?.peer;
        let (old, new) = (peer.score, clamp_score(peer.score + change));
        peer.score = new;
        peer.last_seen = seen.unwrap_or(peer.last_seen);
        if old != new {
            self.selection.take();
        }
        self.touch();
        Some(new)
    }

    /// All peers, best score first; equal scores by id.
    pub fn peers_by_score(&self) -> Vec<&Peer> {
        let mut peers: Vec<&Peer> = self.list_peers().collect();
        peers.sort_by(|a, b| b.score.total_cmp(&a.score));
        peers
    }

    /// The peer nearest to the ideal one (selection.md §1): lowest ping, fewest hops, nearest, best score.
    pub fn select_optimal_peer(&self) -> Option<&Peer> {
        self.select_nearest_peers(1).pop()
    }

    /// The `n` best peers, best first; equals by id.
    pub fn select_nearest_peers(&self, n: usize) -> Vec<&Peer> {
        let selection =
            self.selection.get_or_init(|| Selection::build(self.peers.values().map(|e| (&e.peer, &e.extra))));
        selection.best(n).filter_map(|id| self.peer(id)).collect()
    }

    // --- the life of a peer ---

    /// Where in its life the peer is.
    pub fn stage(&self, id: &str) -> Option<&Stage> {
        self.lifecycle.stage(id)
    }

    /// A ping came back after so many milliseconds (score +1), or timed out (`None`: score −3).
    /// `ping_ms` becomes the median of the last five; it is given back, if there is one.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn handle_ping_result(&mut self, now: Now, id: &str, round_trip_ms: Option<f64>) -> Result<Option<f64>> {
        self.entry(id)?;
        let median = self.lifecycle.handle_ping_result(now.mono, id, round_trip_ms);
        match (round_trip_ms, median) {
            (Some(_), median) => {
                self.record_success(now, id);
                if let Some(ms) = median {
                    self.change(id, |entry| entry.peer.ping_ms = ms)?;
                }
            }
            (None, _) => {
                self.record_timeout(id);
            }
        }
        Ok(median)
    }

    /// Time has passed: stale peers are retried, and evicted when they made themselves and stay away.
    pub fn handle_timeout(&mut self, now: Now, rng: &mut Rng) {
        let mut lifecycle = std::mem::take(&mut self.lifecycle);
        let evicted = lifecycle.handle_timeout(now, rng, |id| self.is_evictable(id));
        self.lifecycle = lifecycle;
        for id in evicted {
            self.take(&id);
        }
    }

    /// What the lives of the peers ask for, oldest first.
    pub fn poll_output(&mut self) -> Option<LifecycleOutput> {
        self.lifecycle.poll_output()
    }

    /// When [`PeerRegistry::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.lifecycle.poll_timeout()
    }

    // --- inside ---

    /// Only what made itself, is not connected, and whose key nobody put on the allowlist.
    fn is_evictable(&self, id: &str) -> bool {
        self.peers.get(id).is_some_and(|e| {
            e.extra.origin == Origin::Found
                && !e.peer.connected
                && !e.key.is_some_and(|key| self.access.is_listed(&key))
        })
    }

    /// Makes room for one more peer.
    pub(super) fn make_room(&mut self, newcomer: &str) -> Result<()> {
        if self.peers.len() < self.peers_max {
            return Ok(());
        }
        let longest_unseen = self
            .peers
            .values()
            .filter(|e| self.is_evictable(&e.peer.id))
            .min_by_key(|e| (e.peer.last_seen.unix_nanos(), e.peer.added_at.unix_nanos()))
            .map(|e| e.peer.id.clone());
        let Some(id) = longest_unseen else {
            let why = format!("{} peers in the registry, no room for {newcomer}", self.peers.len());
            return Err(Refusal::Limit(why).into());
        };
        self.take(&id);
        self.lifecycle.forget(&id);
        self.lifecycle.note_evicted(&id);
        Ok(())
    }

    pub(super) fn entry(&self, id: &str) -> Result<&Entry> {
        self.peers.get(id).ok_or_else(|| not_found(id))
    }

    pub(super) fn change(&mut self, id: &str, change: impl FnOnce(&mut Entry)) -> Result<()> {
        change(self.peers.get_mut(id).ok_or_else(|| not_found(id))?);
        self.changed();
        Ok(())
    }

    /// The ids of the entries that have this key.
    pub(super) fn ids_of<'a>(&'a self, key: &'a PublicKey) -> impl Iterator<Item = &'a String> {
        self.by_key.range((*key, String::new())..).take_while(move |(of, _)| of == key).map(|(_, id)| id)
    }

    pub(super) fn put(&mut self, entry: Entry) {
        self.take(&entry.peer.id);
        if let Some(key) = entry.key {
            self.by_key.insert((key, entry.peer.id.clone()));
        }
        self.peers.insert(entry.peer.id.clone(), entry);
        self.changed();
    }

    pub(super) fn take(&mut self, id: &str) -> Option<Entry> {
        let entry = self.peers.remove(id)?;
        if let Some(key) = entry.key {
            self.by_key.remove(&(key, id.to_owned()));
        }
        self.changed();
        Some(entry)
    }

    fn changed(&mut self) {
        self.selection.take();
        self.touch();
    }

    /// Something is to be saved.
    pub(super) fn touch(&mut self) {
        if !std::mem::replace(&mut self.dirty, true)
            && let Some(Waker(wake)) = &self.waker
        {
            wake();
        }
    }

    /// What to hand to [`PeerRegistry::restore_peer`] when a change could not be saved.
    pub fn snapshot_peer(&self, id: &str) -> PeerSnapshot {
        PeerSnapshot { id: id.to_owned(), entry: self.peers.get(id).cloned() }
    }

    /// Puts one entry back as it was, or removes it if it was not there.
    pub fn restore_peer(&mut self, before: PeerSnapshot) {
        match before.entry {
            Some(entry) => self.put(entry),
            None => {
                self.lifecycle.forget(&before.id);
                self.take(&before.id);
            }
        }
    }
}

/// Into 0..100.
pub(super) fn clamp_score(score: f64) -> f64 {
    score.clamp(SCORE_MINIMUM, SCORE_MAXIMUM)
}

pub(super) fn not_found(id: &str) -> Error {
    Error::NotFound(format!("peer {id} not found"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Now = Now { mono: Time::ZERO, wall: Timestamp::ZERO };

    fn with(peers: &[(&str, f64, i64, f64, f64)]) -> PeerRegistry {
        let mut registry = PeerRegistry::new();
        for (id, ping_ms, hops, geo_km, score) in peers {
            let (ping_ms, hops, geo_km, score) = (*ping_ms, *hops, *geo_km, *score);
            let peer = Peer { id: (*id).into(), ping_ms, hops, geo_km, score, ..Peer::default() };
            registry.add_peer(NOW, peer).unwrap();
        }
        registry
    }

    fn best(registry: &PeerRegistry) -> &str {
        &registry.select_optimal_peer().unwrap().id
    }

    #[test]
    fn selection_follows_every_change_of_a_score() {
        let mut registry = with(&[("a", 10.0, 1, 10.0, 90.0), ("b", 20.0, 1, 10.0, 90.0)]);
        assert_eq!(best(&registry), "a");
        registry.record_failure("a");
        registry.record_failure("a");
        assert_eq!(best(&registry), "b");
        registry.update_score("b", -3.0).unwrap();
        assert_eq!(best(&registry), "a");
        registry.remove_peer("a").unwrap();
        assert_eq!(best(&registry), "b");
        registry.remove_peer("b").unwrap();
        assert!(registry.select_optimal_peer().is_none() && registry.select_nearest_peers(3).is_empty());
    }

    #[test]
    fn a_peer_that_reports_nothing_never_looks_ideal() {
        let mut registry = with(&[("a", 10.0, 1, 0.0, 90.0), ("b", 30.0, 3, 0.0, 90.0), ("new", 0.0, 0, 0.0, 90.0)]);
        let ids: Vec<_> = registry.select_nearest_peers(9).iter().map(|p| p.id.clone()).collect();
        assert_eq!(ids, ["a", "new", "b"], "an unknown axis counts as the median");
        registry.update_metrics(NOW, "new", 40.0, 0.0, 0).unwrap();
        assert_eq!(registry.select_nearest_peers(9).last().unwrap().id, "new");
        let registry = with(&[("b", 0.0, 0, 0.0, 50.0), ("a", 0.0, 0, 0.0, 50.0)]);
        assert_eq!(best(&registry), "a", "equals go by id");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let mut registry = with(&[("a", 1.0, 1, 1.0, 90.0)]);
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(registry.update_metrics(NOW, "a", bad, 1.0, 1).is_err());
            assert!(registry.update_metrics(NOW, "a", 1.0, bad, 1).is_err());
            let peer = Peer { id: "x".into(), ping_ms: bad, ..Peer::default() };
            assert!(registry.add_peer(NOW, peer).is_err());
        }
        assert!(registry.update_metrics(NOW, "a", 1.0, 1.0, -1).is_err());
        assert!(registry.update_score("a", f64::NAN).is_err());
        registry.update_score("a", f64::INFINITY).unwrap();
        assert_eq!(registry.peer("a").unwrap().score, 100.0);
        for id in ["", "a\u{1b}[2J", &"x".repeat(257)] {
            assert!(registry.add_peer(NOW, Peer { id: id.into(), ..Peer::default() }).is_err());
        }
    }

    #[test]
    fn pings_move_score_and_latency_and_silence_makes_stale() {
        let mut registry = with(&[("a", 0.0, 0, 0.0, 50.0)]);
        registry.lifecycle.handle_authenticated("a");
        for ms in [10.0, 20.0, 12.0] {
            registry.handle_ping_result(NOW, "a", Some(ms)).unwrap();
        }
        assert_eq!((registry.peer("a").unwrap().ping_ms, registry.peer("a").unwrap().score), (12.0, 53.0));
        for _ in 0..3 {
            registry.handle_ping_result(NOW, "a", None).unwrap();
        }
        assert_eq!(registry.peer("a").unwrap().score, 44.0);
        assert_eq!(registry.poll_output(), Some(LifecycleOutput::Stale { id: "a".into() }));
        assert!(registry.handle_ping_result(NOW, "zz", Some(1.0)).is_err());
    }

    #[test]
    fn only_what_made_itself_is_evicted_when_it_stays_away() {
        let mut registry = with(&[("hand", 0.0, 0, 0.0, 50.0)]);
        registry.add_found(NOW, Peer { id: "found".into(), ..Peer::default() }).unwrap();
        registry.handle_timeout(NOW.after(Duration::from_secs(25 * 3600)), &mut Rng::from_number(1));
        assert_eq!(registry.list_peers().map(|p| p.id.as_str()).collect::<Vec<_>>(), ["hand"]);
        assert_eq!(registry.poll_output(), Some(LifecycleOutput::Evicted { id: "found".into() }));
    }

    #[test]
    fn a_measurement_keeps_what_it_does_not_know() {
        let mut registry = with(&[("a", 7.0, 4, 9.0, 50.0)]);
        let measured = crate::peers::measure(&[None, Some(5.0), None], None, Some(0.0));
        registry.update_measurement(NOW, "a", &measured).unwrap();
        let peer = registry.peer("a").unwrap();
        assert_eq!((peer.ping_ms, peer.hops, peer.score), (5.0, 4, 44.0));
        assert!(peer.geo_km > 0.0, "the same place is known, not unknown");
    }
}
