//! How peers fare (dht.md §11.1–11.3, §11.7): answers and failures, round-trip times and how long to wait for an answer,
//! where each is reached and whether it has shown that, and when it was met. A bounded memory: of peers that never answered
//! the one heard of longest ago is forgotten first, then of the others.

use super::met::Met;
use super::peers::{Peer, Peers, Rtt};
use super::proven::Proven;
use super::{Id, Policy, Proof, SEEN_PEERS_MAX};
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

impl PeerHealthState {
    /// Who is turned to first: the good ones, then those nobody knows.
    pub(super) fn rank(self) -> u8 {
        match self {
            PeerHealthState::Good => 0,
            PeerHealthState::Unknown => 1,
            PeerHealthState::Bad => 2,
        }
    }
}

/// Places whose nodes have answered, beside those where peers are reached; and for how long all of them count.
const PROVEN_MAX: usize = 4096;
const PROVEN_FOR: Duration = Duration::from_secs(30 * 60);

/// See the head of the module.
#[derive(Clone, Debug)]
pub struct Health {
    policy: Arc<Policy>,
    peers: Peers,
    /// Where peers have answered that are reached elsewhere now, or forgotten.
    elsewhere: Proven,
    /// When those were met that are forgotten.
    met: Met,
}

impl Health {
    /// Nothing is known of anybody.
    pub fn new(policy: Arc<Policy>) -> Health {
        let elsewhere = Proven::new(PROVEN_MAX, PROVEN_FOR);
        Health { policy, peers: Peers::new(), elsewhere, met: Met::default() }
    }

    /// How many peers are remembered: at most [`Policy::peers_max`].
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.peers.len() == 0
    }

    /// What to expect of a peer.
    pub fn state(&self, id: &Id) -> PeerHealthState {
        match self.peers.get(id) {
            Some(peer) if peer.fails() >= self.policy.bad_after => PeerHealthState::Bad,
            Some(peer) if peer.answered.is_some() => PeerHealthState::Good,
            _ => PeerHealthState::Unknown,
        }
    }

    /// Whether the pause after a peer's failures is over.
    pub fn allows_contact(&self, now: Time, id: &Id) -> bool {
        let trouble = self.peers.get(id).and_then(|peer| peer.trouble.as_ref());
        trouble.and_then(|trouble| trouble.next_retry).is_none_or(|at| now >= at)
    }

    /// When a peer failed last, and how often it was asked: what bad peers are ordered by (dht.md §12).
    pub fn failures(&self, id: &Id) -> (Option<Time>, u32) {
        self.peers
            .get(id)
            .map_or((None, 0), |peer| (peer.trouble.as_ref().and_then(|trouble| trouble.last), peer.attempts))
    }

    /// When it answered last.
    pub fn last_success(&self, id: &Id) -> Option<Time> {
        self.peers.get(id)?.answered
    }

    /// The round-trip time measured last.
    pub fn rtt(&self, id: &Id) -> Option<Duration> {
        self.rtt_of(id).map(|rtt| Duration::from_micros(rtt.last_us.into()))
    }

    /// The smoothed round-trip time.
    pub fn smoothed_rtt(&self, id: &Id) -> Option<Duration> {
        self.rtt_of(id).map(|rtt| Duration::from_micros(rtt.smoothed_us.into()))
    }

    fn rtt_of(&self, id: &Id) -> Option<Rtt> {
        self.peers.get(id).filter(|peer| peer.measured).map(|peer| peer.rtt)
    }

    /// How long to wait for a peer's answer (RFC 6298: smoothed time and four variations, doubled with each failure),
    /// between [`Policy::rto_min`] and [`Policy::rto_max`].
    pub fn rto(&self, id: &Id) -> Duration {
        let policy = &self.policy;
        let (rtt, fails) = (self.rtt_of(id), self.peers.get(id).map_or(0, Peer::fails));
        let measured = rtt.map(|rtt| u64::from(rtt.smoothed_us) + u64::from(rtt.variation_us).saturating_mul(4));
        let once = measured.map_or(policy.rto_initial, Duration::from_micros).max(policy.rto_min);
        once.saturating_mul(1 << fails.min(8)).clamp(policy.rto_min, policy.rto_max.max(policy.rto_min))
    }

    /// Where a peer is reached.
    pub fn addr(&self, id: &Id) -> Option<SocketAddr> {
        self.peers.get(id)?.addr()
    }

    /// Who is reached there. Only what peers did themselves, or the user said, counts.
    pub fn id_at(&self, addr: &SocketAddr) -> Option<Id> {
        self.peers.owner(addr).map(|peer| peer.id)
    }

    /// A peer answered from `from`, `rtt` after it was asked. Give no time for an answer that may be to an earlier attempt
    /// under the same transaction.
    pub fn handle_answer(&mut self, now: Time, id: Id, from: SocketAddr, rtt: Option<Duration>) {
        self.touch(id, true);
        self.set_addr(id, from, true);
        self.elsewhere.forget(&from);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        (peer.answered, peer.answered_here) = (Some(now), true);
        peer.attempts = peer.attempts.saturating_add(1);
        if let Some(trouble) = &mut peer.trouble {
            (trouble.fails, trouble.next_retry) = (0, None);
        }
        if let Some(rtt) = rtt {
            let us = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX / 8).min(u32::MAX / 8);
            let old = peer.rtt;
            peer.rtt = match std::mem::replace(&mut peer.measured, true) {
                false => Rtt { last_us: us, smoothed_us: us, variation_us: us / 2 },
                true => Rtt {
                    last_us: us,
                    smoothed_us: old.smoothed_us - old.smoothed_us / 8 + us / 8,
                    variation_us: old.variation_us - old.variation_us / 4 + old.smoothed_us.abs_diff(us) / 4,
                },
            };
        }
    }

    /// A peer did not answer, or could not be sent to.
    pub fn handle_failure(&mut self, now: Time, id: Id) {
        self.touch(id, false);
        let (pause, doublings) = (self.policy.backoff, self.policy.backoff_doublings_max.min(16));
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.attempts = peer.attempts.saturating_add(1);
        let trouble = peer.trouble.get_or_insert_default();
        trouble.next_retry = Some(now + pause.saturating_mul(1 << trouble.fails.min(doublings)));
        trouble.fails = trouble.fails.saturating_add(1);
        trouble.last = Some(now);
    }

    /// The failure that was just told was of a mere question whether the peer is alive: it counts half (dht.md §11.2).
    pub fn handle_probe_failure(&mut self, now: Time, id: &Id) {
        let Some(trouble) = self.peers.get_mut(id).and_then(|peer| peer.trouble.as_mut()) else { return };
        trouble.fails = trouble.fails.saturating_sub(1);
        trouble.next_retry = trouble.next_retry.map(|at| now + at.since(now) / 2);
    }

    /// A peer is said to be reached at `addr`. What it did not prove itself never changes where a peer is reached that
    /// has answered. Says whether it is reached there now.
    pub fn bind(&mut self, id: Id, addr: SocketAddr, proof: Proof) -> bool {
        let loose = self.policy.hearsay_rebinds;
        let own_word = proof == Proof::Answered || proof == Proof::Asked && self.policy.trust_sources;
        let fixed = self.peers.get(&id).is_some_and(|peer| peer.answered.is_some() && peer.addr().is_some());
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

    /// Forgets a peer, but not that it was met, and where it answered.
    pub fn remove(&mut self, id: &Id) {
        self.note_elsewhere(id);
        let met_s = self.peers.remove(id).map_or(0, |peer| peer.met_s);
        if met_s > 0 {
            self.note_met(*id, met_s);
        }
    }

    /// Whether this node answered there not long ago: what it sends from there is no other's.
    pub fn is_proven(&self, now: Time, place: SocketAddr, id: &Id) -> bool {
        match self.answered_at(&place) {
            Some(peer) => peer.id == *id && lasts(now, peer),
            None => self.elsewhere.is_proven(now, place, id),
        }
    }

    /// Whether anybody answered there not long ago.
    pub fn is_known(&self, now: Time, place: SocketAddr) -> bool {
        match self.answered_at(&place) {
            Some(peer) => lasts(now, peer),
            None => self.elsewhere.is_known(now, place),
        }
    }

    /// Who is reached there and answered from there last.
    fn answered_at(&self, place: &SocketAddr) -> Option<&Peer> {
        self.peers.owner(place).filter(|peer| peer.answered_here)
    }

    /// A peer was in direct contact, at this Unix second. Whether it was for the first time.
    pub fn note_contact(&mut self, id: Id, unix_s: u64) -> bool {
        let at = u32::try_from(unix_s).unwrap_or(u32::MAX).max(1);
        let before = self.met.take(&id);
        match self.peers.get_mut(&id) {
            Some(peer) => std::mem::replace(&mut peer.met_s, at) == 0 && before.is_none(),
            None => {
                self.note_met(id, at);
                before.is_none()
            }
        }
    }

    fn note_met(&mut self, id: Id, at: u32) {
        self.met.note(id, at);
        self.met.shrink_to(SEEN_PEERS_MAX.saturating_sub(self.peers.len()));
    }

    /// All that were in direct contact, and when: Unix seconds. At most [`SEEN_PEERS_MAX`], unless
    /// [`Policy::peers_max`] is more.
    pub fn seen(&self) -> BTreeMap<Id, u64> {
        let known = self.peers.iter().filter(|peer| peer.met_s > 0).map(|peer| (peer.id, peer.met_s));
        known.chain(self.met.iter()).map(|(id, at)| (id, at.into())).collect()
    }

    /// Takes over what an earlier run knew of that.
    pub fn restore_seen(&mut self, seen: impl IntoIterator<Item = (Id, u64)>) {
        for (id, at) in seen {
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            match self.peers.get_mut(&id) {
                Some(peer) => peer.met_s = at,
                None => self.note_met(id, at),
            }
        }
    }

    /// Forgets proofs that no longer count, and who was met before this Unix second.
    pub fn expire(&mut self, now: Time, oldest_s: u64) {
        self.elsewhere.expire(now);
        let oldest = u32::try_from(oldest_s).unwrap_or(u32::MAX);
        self.peers.iter_mut().filter(|peer| peer.met_s < oldest).for_each(|peer| peer.met_s = 0);
        self.met.expire(oldest);
    }

    fn set_addr(&mut self, id: Id, addr: SocketAddr, is_owner: bool) {
        let other = self.peers.owner(&addr).map(|other| other.id);
        if let Some(other) = other.filter(|other| is_owner && *other != id) {
            self.note_elsewhere(&other);
        }
        if self.addr(&id) != Some(addr) {
            self.note_elsewhere(&id);
        }
        self.peers.set_addr(&id, addr, is_owner);
    }

    /// A peer will not be found any more where it answered; that it did counts for a while.
    fn note_elsewhere(&mut self, id: &Id) {
        if let Some(peer) = self.peers.get(id)
            && let (Some(at), Some(place), true) = (peer.answered, peer.addr(), peer.answered_here)
            && self.id_at(&place) == Some(*id)
        {
            self.elsewhere.note(at, place, *id);
        }
    }

    /// Makes a peer known and the last to be forgotten, and makes room for it. To be called before the peer is changed.
    fn touch(&mut self, id: Id, answers: bool) {
        self.peers.touch(id, answers);
        while self.peers.len() > self.policy.peers_max.max(1) {
            // Not the one that just came.
            let Some(first) = self.peers.first_but(&id) else { return };
            self.remove(&first);
        }
    }
}

/// Whether a peer answered so lately that it still counts.
fn lasts(now: Time, peer: &Peer) -> bool {
    peer.answered.is_some_and(|at| now.since(at) <= PROVEN_FOR)
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
        assert_eq!(health.len(), 50);
        assert!(friends.iter().all(|id| health.state(id) == PeerHealthState::Good));
    }

    #[test]
    fn a_place_counts_as_proven_also_when_its_node_is_reached_elsewhere_or_forgotten() {
        let ([id, other], mut health) = (ids(), Health::new(Arc::new(Policy { peers_max: 1, ..Policy::default() })));
        health.handle_answer(at(1), id, addr(1), None);
        health.handle_answer(at(2), id, addr(2), None);
        let proven = |health: &Health, seconds, port, id| health.is_proven(at(seconds), addr(port), id);
        assert!(proven(&health, 3, 1, &id) && proven(&health, 3, 2, &id) && health.is_known(at(3), addr(1)));
        assert!(!proven(&health, 3, 1, &other) && !proven(&health, 3, 3, &id) && !health.is_known(at(3), addr(3)));
        assert!(proven(&health, 1801, 1, &id) && !proven(&health, 1802, 1, &id) && proven(&health, 1802, 2, &id));
        // Another one answers at the first place, and there is memory for one only.
        health.handle_answer(at(4), other, addr(1), None);
        assert!(proven(&health, 5, 1, &other) && !proven(&health, 5, 1, &id) && proven(&health, 5, 2, &id));
        // A place by hand proves nothing, and takes nothing from whoever answered there.
        health.bind_by_hand(id, addr(1));
        assert!(proven(&health, 6, 1, &other) && !proven(&health, 6, 1, &id));
        health.handle_answer(at(7), id, addr(1), None);
        assert!(proven(&health, 8, 1, &id) && !proven(&health, 8, 1, &other));
        health.expire(at(7 + 1801), 0);
        assert!(!health.is_known(at(7), addr(2)) && proven(&health, 7, 1, &id));
    }

    #[test]
    fn whom_a_node_met_it_knows_after_it_forgot_the_rest() {
        let ([id, other], mut health) = (ids(), Health::new(Arc::new(Policy { peers_max: 1, ..Policy::default() })));
        health.restore_seen([(other, 90)]);
        health.handle_answer(at(1), id, addr(1), None);
        assert!(health.note_contact(id, 100) && !health.note_contact(id, 101));
        health.handle_answer(at(2), other, addr(2), None);
        assert!(!health.note_contact(other, 102) && !health.note_contact(id, 103));
        assert_eq!(health.seen(), BTreeMap::from([(id, 103), (other, 102)]));
        health.expire(at(3), 103);
        assert_eq!(health.seen(), BTreeMap::from([(id, 103)]));
        assert!(health.note_contact(other, 104));
    }
}
