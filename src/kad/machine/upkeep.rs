//! What is done every few seconds (dht.md §10.7): candidates and silent nodes are asked, thin buckets refilled.

use super::lookup::Goal;
use super::run::After;
use super::{Machine, PROVEN_FOR};
use crate::base::Now;
use crate::kad::{Id, files::SEEN_S_MAX};
use std::collections::BTreeMap;

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
        debug_assert!(PROVEN_FOR > self.policy.maintenance_every);
        self.proven.expire(now.mono);
        self.probe_replicas(now);
        let oldest = crate::kad::record::unix_seconds(now.wall).saturating_sub(SEEN_S_MAX);
        self.seen.retain(|_, at| *at >= oldest);
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

    /// Nodes that were in direct contact, and when: Unix seconds. For the file of dht.md §14.3.
    pub fn seen(&self) -> &BTreeMap<Id, u64> {
        &self.seen
    }

    /// Takes over what an earlier run had seen.
    pub fn restore_seen(&mut self, seen: BTreeMap<Id, u64>) {
        self.seen.extend(seen.into_iter().take(super::SEEN_MAX));
    }
}
