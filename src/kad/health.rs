//! How peers fare (dht.md §11.1–11.3, §11.7): answers and failures, round-trip times and how long to wait for an answer,
//! and where each is reached. A bounded memory: of peers that never answered the one heard of longest ago is forgotten
//! first, then of the others.

use super::{Id, Policy, Proof};
use crate::base::Time;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What to expect of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerHealthState {
    /// It was never asked, or failed once and never answered.
    #[default]
    Unknown = 0,
    /// It has answered, and not failed twice since.
    Good = 1,
    /// It failed [`Policy::bad_after`] times in a row.
    Bad = 2,
}

/// What is remembered of one peer.
#[derive(Clone, Debug, Default)]
struct Peer {
    addr: Option<SocketAddr>,
    last_success: Option<Time>,
    last_failure: Option<Time>,
    /// Failures in a row.
    fails: u32,
    attempts: u32,
    next_retry: Option<Time>,
    rtt: Option<Rtt>,
    /// Its place in the order of forgetting.
    tick: u64,
}

/// Round-trip times of a peer, in microseconds (RFC 6298).
#[derive(Clone, Copy, Debug)]
struct Rtt {
    last_us: u32,
    smoothed_us: u32,
    variation_us: u32,
}

/// See the head of the module.
#[derive(Clone, Debug)]
pub struct Health {
    policy: Arc<Policy>,
    peers: BTreeMap<Id, Peer>,
    /// Whether it ever answered, and when it was dealt with: the first is forgotten first.
    order: BTreeMap<(bool, u64), Id>,
    /// Who answered from an address, or was bound to it, last.
    owners: BTreeMap<SocketAddr, Id>,
    ticks: u64,
}

impl Health {
    /// Nothing is known of anybody.
    pub fn new(policy: Arc<Policy>) -> Health {
        Health { policy, peers: BTreeMap::new(), order: BTreeMap::new(), owners: BTreeMap::new(), ticks: 0 }
    }

    /// How many peers are remembered: at most [`Policy::peers_max`].
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// What to expect of a peer.
    pub fn state(&self, id: &Id) -> PeerHealthState {
        match self.peers.get(id) {
            Some(peer) if peer.fails >= self.policy.bad_after => PeerHealthState::Bad,
            Some(peer) if peer.last_success.is_some() => PeerHealthState::Good,
            _ => PeerHealthState::Unknown,
        }
    }

    /// Whether the pause after a peer's failures is over.
    pub fn allows_contact(&self, now: Time, id: &Id) -> bool {
        self.peers.get(id).and_then(|peer| peer.next_retry).is_none_or(|at| now >= at)
    }

    /// When a peer failed last, and how often it was asked: what bad peers are ordered by (dht.md §12).
    pub fn failures(&self, id: &Id) -> (Option<Time>, u32) {
        self.peers.get(id).map_or((None, 0), |peer| (peer.last_failure, peer.attempts))
    }

    /// When it answered last.
    pub fn last_success(&self, id: &Id) -> Option<Time> {
        self.peers.get(id)?.last_success
    }

    /// The round-trip time measured last.
    pub fn rtt(&self, id: &Id) -> Option<Duration> {
        let rtt = self.peers.get(id)?.rtt?;
        Some(Duration::from_micros(rtt.last_us.into()))
    }

    /// The smoothed round-trip time.
    pub fn smoothed_rtt(&self, id: &Id) -> Option<Duration> {
        let rtt = self.peers.get(id)?.rtt?;
        Some(Duration::from_micros(rtt.smoothed_us.into()))
    }

    /// How long to wait for a peer's answer (RFC 6298: smoothed time and four variations, doubled with each failure),
    /// between [`Policy::rto_min`] and [`Policy::rto_max`].
    pub fn rto(&self, id: &Id) -> Duration {
        let policy = &self.policy;
        let (rtt, fails) = self.peers.get(id).map_or((None, 0), |peer| (peer.rtt, peer.fails));
        let measured = rtt.map(|rtt| u64::from(rtt.smoothed_us) + u64::from(rtt.variation_us).saturating_mul(4));
        let once = measured.map_or(policy.rto_initial, Duration::from_micros).max(policy.rto_min);
        once.saturating_mul(1 << fails.min(8)).clamp(policy.rto_min, policy.rto_max.max(policy.rto_min))
    }

    /// Where a peer is reached.
    pub fn addr(&self, id: &Id) -> Option<SocketAddr> {
        self.peers.get(id)?.addr
    }

    /// Who is reached there. Only what peers did themselves, or the user said, counts.
    pub fn id_at(&self, addr: &SocketAddr) -> Option<Id> {
        self.owners.get(addr).copied()
    }

    /// A peer answered from `from`, `rtt` after it was asked. Give no time for an answer that may be to an earlier attempt
    /// under the same transaction.
    pub fn handle_answer(&mut self, now: Time, id: Id, from: SocketAddr, rtt: Option<Duration>) {
        self.touch(id, true);
        self.set_addr(id, from, true);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.last_success = Some(now);
        peer.fails = 0;
        peer.attempts = peer.attempts.saturating_add(1);
        peer.next_retry = None;
        if let Some(rtt) = rtt {
            let us = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX / 8).min(u32::MAX / 8);
            peer.rtt = Some(match peer.rtt {
                None => Rtt { last_us: us, smoothed_us: us, variation_us: us / 2 },
                Some(old) => Rtt {
                    last_us: us,
                    smoothed_us: old.smoothed_us - old.smoothed_us / 8 + us / 8,
                    variation_us: old.variation_us - old.variation_us / 4 + old.smoothed_us.abs_diff(us) / 4,
                },
            });
        }
    }

    /// A peer did not answer, or could not be sent to.
    pub fn handle_failure(&mut self, now: Time, id: Id) {
        self.touch(id, false);
        let (pause, doublings) = (self.policy.backoff, self.policy.backoff_doublings_max.min(16));
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.next_retry = Some(now + pause.saturating_mul(1 << peer.fails.min(doublings)));
        peer.fails = peer.fails.saturating_add(1);
        peer.attempts = peer.attempts.saturating_add(1);
        peer.last_failure = Some(now);
    }

    /// The failure that was just told was of a mere question whether the peer is alive: it counts half (dht.md §11.2).
    pub fn handle_probe_failure(&mut self, now: Time, id: &Id) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.fails = peer.fails.saturating_sub(1);
        peer.next_retry = peer.next_retry.map(|at| now + at.since(now) / 2);
    }

    /// A peer is said to be reached at `addr`. What it did not prove itself never changes where a peer is reached that
    /// has answered. Says whether it is reached there now.
    pub fn bind(&mut self, id: Id, addr: SocketAddr, proof: Proof) -> bool {
        let loose = self.policy.hearsay_rebinds;
        let own_word = proof == Proof::Answered || proof == Proof::Asked && self.policy.trust_sources;
        let fixed = self.peers.get(&id).is_some_and(|peer| peer.last_success.is_some() && peer.addr.is_some());
        if fixed && !own_word && !loose {
            return self.addr(&id) == Some(addr);
        }
        self.touch(id, false);
        self.set_addr(id, addr, own_word);
        true
    }

    /// The user, or a file of ours, says where a peer is reached (dht-api.md, `BindPeerAddr`).
    pub fn bind_by_hand(&mut self, id: Id, addr: SocketAddr) {
        self.touch(id, false);
        self.set_addr(id, addr, true);
    }

    /// Forgets a peer.
    pub fn remove(&mut self, id: &Id) {
        let Some(peer) = self.peers.remove(id) else { return };
        self.order.remove(&(peer.last_success.is_some(), peer.tick));
        if let Some(addr) = peer.addr.filter(|addr| self.owners.get(addr) == Some(id)) {
            self.owners.remove(&addr);
        }
    }

    fn set_addr(&mut self, id: Id, addr: SocketAddr, is_owner: bool) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let before = peer.addr.replace(addr);
        if let Some(before) = before.filter(|before| *before != addr && self.owners.get(before) == Some(&id)) {
            self.owners.remove(&before);
        }
        if is_owner {
            self.owners.insert(addr, id);
        }
    }

    /// Makes a peer known and the last to be forgotten, and makes room for it. To be called before the peer is changed.
    fn touch(&mut self, id: Id, answers: bool) {
        self.ticks += 1;
        let peer = self.peers.entry(id).or_default();
        let before = peer.last_success.is_some();
        self.order.remove(&(before, peer.tick));
        peer.tick = self.ticks;
        self.order.insert((before || answers, self.ticks), id);
        while self.peers.len() > self.policy.peers_max.max(1) {
            // Not the one that just came.
            let Some(first) = self.order.values().find(|other| **other != id).copied() else { return };
            self.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn ids<const N: usize>() -> [Id; N] {
        let mut rng = Rng::from_number(5);
        std::array::from_fn(|_| Id::from_bytes(rng.array()))
    }

    #[test]
    fn two_failures_make_a_peer_bad_and_one_answer_good() {
        let ([id], mut health) = (ids(), Health::new(Arc::new(Policy::default())));
        assert_eq!(health.state(&id), PeerHealthState::Unknown);
        health.handle_failure(at(1), id);
        assert_eq!((health.state(&id), health.allows_contact(at(30), &id)), (PeerHealthState::Unknown, false));
        assert!(health.allows_contact(at(31), &id));
        health.handle_failure(at(31), id);
        assert_eq!((health.state(&id), health.allows_contact(at(90), &id)), (PeerHealthState::Bad, false));
        assert!(health.allows_contact(at(91), &id));
        health.handle_answer(at(91), id, addr(1), Some(Duration::from_millis(3)));
        assert_eq!((health.state(&id), health.allows_contact(at(91), &id)), (PeerHealthState::Good, true));
        assert_eq!(health.failures(&id), (Some(at(31)), 3));
        health.handle_failure(at(100), id);
        health.handle_probe_failure(at(100), &id);
        assert_eq!((health.state(&id), health.allows_contact(at(115), &id)), (PeerHealthState::Good, true));
        assert!(!health.allows_contact(at(114), &id));
        for _ in 0..100 {
            health.handle_failure(at(200), id);
        }
        assert!(health.allows_contact(at(200 + 30 * 1024), &id) && !health.allows_contact(at(199 + 30 * 1024), &id));
    }

    #[test]
    fn the_time_for_an_answer_follows_what_is_measured() {
        let ([id], mut health) = (ids(), Health::new(Arc::new(Policy::default())));
        assert_eq!(health.rto(&id), Policy::default().rto_initial);
        health.handle_answer(at(1), id, addr(1), Some(Duration::from_millis(80)));
        assert_eq!(health.rto(&id), Duration::from_millis(240));
        for _ in 0..50 {
            health.handle_answer(at(1), id, addr(1), Some(Duration::from_millis(80)));
        }
        assert_eq!(health.rto(&id), Duration::from_millis(100), "not below the least");
        assert_eq!(health.rtt(&id), Some(Duration::from_millis(80)));
        health.handle_failure(at(2), id);
        health.handle_failure(at(2), id);
        assert!(health.rto(&id) >= Duration::from_millis(380));
        for _ in 0..9 {
            health.handle_failure(at(2), id);
        }
        assert_eq!(health.rto(&id), Duration::from_secs(2));
        health.handle_answer(at(3), id, addr(1), Some(Duration::MAX));
        assert_eq!(health.rto(&id), Duration::from_secs(2));
        let mut reference = Health::new(Arc::new(Policy::reference()));
        reference.handle_answer(at(1), id, addr(1), Some(Duration::from_millis(80)));
        assert_eq!(reference.rto(&id), Duration::from_secs(2));
    }

    #[test]
    fn hearsay_never_moves_a_peer_that_answered() {
        let ([id, other], mut health) = (ids(), Health::new(Arc::new(Policy::default())));
        assert!(health.bind(id, addr(1), Proof::Heard) && health.bind(id, addr(2), Proof::Heard));
        assert_eq!((health.addr(&id), health.id_at(&addr(2))), (Some(addr(2)), None));
        health.handle_answer(at(1), id, addr(3), None);
        assert!(!health.bind(id, addr(4), Proof::Heard) && !health.bind(id, addr(4), Proof::Asked));
        assert_eq!((health.addr(&id), health.id_at(&addr(3))), (Some(addr(3)), Some(id)));
        assert!(health.bind(other, addr(3), Proof::Heard));
        assert_eq!(health.id_at(&addr(3)), Some(id));
        health.handle_answer(at(2), id, addr(5), None);
        assert_eq!((health.id_at(&addr(3)), health.id_at(&addr(5))), (None, Some(id)));
        let mut reference = Health::new(Arc::new(Policy::reference()));
        reference.handle_answer(at(1), id, addr(3), None);
        assert!(reference.bind(id, addr(4), Proof::Heard));
        assert_eq!(reference.addr(&id), Some(addr(4)));
    }

    #[test]
    fn a_flood_of_strangers_pushes_out_no_peer_that_answered() {
        let mut health = Health::new(Arc::new(Policy { peers_max: 50, ..Policy::default() }));
        let friends = ids::<20>();
        for id in friends {
            health.handle_answer(at(1), id, addr(1), None);
        }
        let mut rng = Rng::from_number(6);
        for port in 0..2000 {
            let id = Id::from_bytes(rng.array());
            match port % 2 {
                0 => drop(health.bind(id, addr(port), Proof::Heard)),
                _ => health.handle_failure(at(2), id),
            }
        }
        assert_eq!((health.len(), health.order.len()), (50, 50));
        assert!(friends.iter().all(|id| health.state(id) == PeerHealthState::Good));
        assert!(health.owners.len() <= 50);
    }
}
