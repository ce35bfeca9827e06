//! What the routing table wants done every quarter of a minute (dht.md §10.7): whom to ask, which buckets to refill.

use super::{Entry, Moment, Table};
use crate::base::{Rng, Time};
use crate::kad::Id;

impl Table {
    /// At most `max` candidates to be asked whether they are alive. Those that wait for too long are forgotten.
    pub fn pending_to_probe(&mut self, now: Time, max: usize) -> Vec<Id> {
        let (life, again) = (self.policy.pending_life, self.policy.questionable);
        let mut chosen = Vec::new();
        for bucket in self.buckets.values_mut() {
            bucket.pending.retain(|entry| entry.added.ago(now) <= life);
            let asked = bucket.pending.iter().filter(|entry| !entry.answered_within(now, again));
            chosen.extend(asked.map(|entry| entry.info.node_id));
        }
        chosen.truncate(max);
        chosen
    }

    /// At most `max` nodes of the table to be asked whether they are alive: those that never answered, and, unless the
    /// policy is the Go node's, those that have not for long; who left fewest questions unanswered first, then who has
    /// been silent longest.
    pub fn stale_to_probe(&self, now: Time, max: usize) -> Vec<Id> {
        let (policy, reference) = (&self.policy, self.policy.strangers_evict);
        let due = |entry: &&Entry| match entry.verified_ago(now) {
            None => entry.added.ago(now) > policy.hearsay_life,
            Some(ago) => !reference && ago > policy.questionable,
        };
        let mut chosen: Vec<_> = self.iter().map(|(_, entry)| entry).filter(due).collect();
        if !reference {
            chosen.sort_by_key(|entry| (entry.misses, entry.verified));
        }
        chosen.into_iter().take(max).map(|entry| entry.info.node_id).collect()
    }

    /// At most `max` buckets to be refilled, the highest first: look for [`Table::random_in`] each, and then call
    /// [`Table::handle_refilled`].
    pub fn refills(&mut self, now: Time, max: usize) -> Vec<u8> {
        let policy = self.policy.clone();
        let last = self.buckets.iter().rev().find(|(_, bucket)| !bucket.main.is_empty()).map(|(index, _)| *index);
        let Some(last) = last else { return Vec::new() };
        if policy.refill_gaps {
            for index in 0..last {
                self.buckets.entry(index).or_default();
            }
        }
        let (mut served, fresh) = (Vec::new(), policy.fresh);
        for (index, bucket) in self.buckets.range_mut(..=last).rev() {
            let healthy = bucket.main.iter().filter(|e| e.answered_within(now, fresh)).count() >= policy.refill_below;
            let before = std::mem::replace(&mut bucket.refill.healthy, healthy);
            if healthy || bucket.main.is_empty() && !policy.refill_gaps {
                continue;
            }
            if before {
                bucket.refill.futile = 0;
            }
            let pauses = policy.refill_cooldowns;
            let pause =
                pauses.get(usize::from(bucket.refill.futile).min(pauses.len() - 1)).copied().unwrap_or_default();
            if bucket.refill.last.is_some_and(|last| last.ago(now) < pause) {
                continue;
            }
            let is_served = served.len() < max;
            if is_served {
                served.push(*index);
                bucket.refill.size = bucket.size();
            }
            // The Go node counts those that were due and had no turn as served.
            if is_served || !policy.refill_gaps {
                bucket.refill.last = Some(Moment::of(now));
            }
        }
        served
    }

    /// A refill is over: whether it found anybody decides when the next one is due.
    pub fn handle_refilled(&mut self, index: u8) {
        let Some(bucket) = self.buckets.get_mut(&index) else { return };
        bucket.refill.futile = match bucket.size() > bucket.refill.size {
            true => 0,
            false => bucket.refill.futile.saturating_add(1),
        };
    }

    /// A random id that belongs into a bucket.
    pub fn random_in(&self, index: u8, rng: &mut Rng) -> Id {
        self.own().random_in_bucket(index.into(), rng)
    }
}
