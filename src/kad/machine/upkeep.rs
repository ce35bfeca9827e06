//! What is done every few seconds (dht.md §10.7): candidates and silent nodes are asked, thin buckets refilled.

use super::lookup::Goal;
use super::run::After;
use super::{Machine, Purpose};
use crate::base::Now;
use crate::kad::{Id, Message, SEEN_PEERS_MAX, files::SEEN_S_MAX};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Places of lost nodes that are remembered: the latest.
const LOST_MAX: usize = 64;
/// After a lost node came back, the next look around is not before this.
const HEAL_EVERY: Duration = Duration::from_secs(60);
/// Buckets that are filled at once after joining.
const FIRST_REFILLS: usize = 24;

impl Machine {
    pub(super) fn keep_up(&mut self, now: Now) {
        let (pending, stale) = (self.policy.pending_probes_max, self.policy.stale_probes_max);
        let mut asked = self.table.pending_to_probe(now.mono, pending);
        asked.extend(self.table.stale_to_probe(now.mono, stale));
        asked.into_iter().for_each(|id| self.probe(now, id));
        if !self.passive {
            self.refill(now, self.policy.refills_max);
        }
        self.look_for_lost(now);
        self.waiting.expire(now.mono);
        self.requests.expire(now.mono);
        self.probes.expire(now.mono);
        self.probe_replicas(now);
        let oldest = crate::kad::record::unix_seconds(now.wall).saturating_sub(SEEN_S_MAX);
        self.health.expire(now.mono, oldest);
    }

    fn refill(&mut self, now: Now, max: usize) {
        for bucket in self.table.refills(now.mono, max) {
            let target = self.table.random_in(bucket, &mut self.rng);
            if !self.begin(now, target, Goal::Nodes, After::Refill(bucket), self.policy.refill_budget) {
                self.table.handle_refilled(bucket);
            }
        }
    }

    /// After joining all buckets are looked for at once, so that the first lookups find their way.
    pub(super) fn fill_all(&mut self, now: Now) {
        if !self.passive && self.policy.refill_gaps {
            self.refill(now, FIRST_REFILLS);
        }
    }

    /// Somebody who answered before has left the table.
    pub(super) fn note_lost(&mut self, at: SocketAddr) {
        if !self.policy.strangers_evict && !self.lost.contains(&at) {
            self.lost.push_back(at);
            if self.lost.len() > LOST_MAX {
                self.lost.pop_front();
            }
        }
    }

    /// Asks one of the lost each time, in turn.
    fn look_for_lost(&mut self, now: Now) {
        let Some(at) = self.lost.pop_front() else { return };
        if self.health.id_at(&at).is_some_and(|id| self.table.entry(&id).is_some()) {
            return; // it is back already
        }
        self.lost.push_back(at);
        let patience = self.owner_patience(now, at, self.policy.probe_timeout);
        self.call(now, at, None, Message::Ping { address: self.address }, patience, Purpose::Feeler);
    }

    /// A lost node is back: perhaps so are many, with all whom they know.
    pub(super) fn handle_back(&mut self, now: Now) {
        if self.passive || self.healed_at.is_some_and(|at| now.mono.since(at) < HEAL_EVERY) {
            return;
        }
        self.healed_at = Some(now.mono);
        self.begin(now, self.id, Goal::Nodes, After::Joined(0), self.policy.refill_budget);
    }

    /// Nodes that were in direct contact, and when: Unix seconds. For the file of dht.md §14.3.
    pub fn seen(&self) -> BTreeMap<Id, u64> {
        self.health.seen()
    }

    /// Takes over what an earlier run had seen, at most [`SEEN_PEERS_MAX`].
    pub fn restore_seen(&mut self, seen: BTreeMap<Id, u64>) {
        self.health.restore_seen(seen.into_iter().take(SEEN_PEERS_MAX));
    }
}
