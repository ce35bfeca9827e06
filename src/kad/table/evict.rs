//! Who gets into a full bucket of the routing table, and who leaves for it (dht.md §10.1–10.3).

use super::bucket::Probe;
use super::entry::{Entry, Moment};
use super::{Added, Table};
use crate::base::Time;
use crate::kad::{Id, Subnet};

impl Table {
    /// A candidate for a full bucket.
    pub(super) fn wait(&mut self, index: u8, entry: Entry) -> Added {
        let (limits, strict, max) = (self.policy.subnets, !self.policy.strangers_evict, self.policy.pending_max);
        let Some(bucket) = self.buckets.get_mut(&index) else { return Added::Refused("no such bucket") };
        if let Some(known) = bucket.waiting(&entry.info.node_id) {
            if entry.is_verified() {
                bucket.pending.remove(known);
            } else {
                return Added::Waiting;
            }
        }
        let subnet = Subnet::shared(entry.info.ip);
        let alike = bucket.pending.iter().filter(|other| Subnet::shared(other.info.ip) == subnet).count();
        if subnet.is_some() && limits.is_some_and(|limits| alike >= limits.per_bucket) {
            return Added::Refused("too many of its neighbourhood wait");
        }
        if bucket.pending.len() >= max {
            // Who answered goes before who did not.
            let unproven = bucket.pending.iter().position(|other| strict && !other.is_verified());
            match unproven {
                Some(place) => bucket.pending.remove(place),
                None if strict && !entry.is_verified() => return Added::Refused("others wait already"),
                None => bucket.pending.pop_front(),
            };
        }
        bucket.pending.reserve_exact(max.saturating_sub(bucket.pending.len()).clamp(1, 8));
        bucket.pending.push_back(entry);
        Added::Waiting
    }

    /// The Go node's way into a full bucket: the oldest entry is asked, and the newcomer forgotten if it answers.
    pub(super) fn ask_oldest(&mut self, now: Time, index: u8, entry: Entry) -> Added {
        let life = self.policy.probe_life;
        let Some(bucket) = self.buckets.get_mut(&index) else { return Added::Refused("no such bucket") };
        if bucket.probe.as_ref().is_some_and(|probe| probe.since.ago(now) < life) {
            return Added::Refused("another is being decided on");
        }
        let Some(oldest) = bucket.main.first() else { return Added::Refused("no room") };
        let id = oldest.info.node_id;
        self.ask(now, index, id, Some(Box::new(entry)));
        Added::Waiting
    }

    /// Our way: an entry that never answered makes way, and becomes a candidate; otherwise the newcomer waits while the
    /// questionable entries are asked, one after another.
    pub(super) fn displace(&mut self, now: Time, index: u8, entry: Entry) -> Added {
        let Some(bucket) = self.buckets.get_mut(&index) else { return Added::Refused("no such bucket") };
        let unproven = bucket.main.iter().position(|other| !other.is_verified());
        let Some(place) = unproven else {
            let added = self.wait(index, entry);
            self.ask_questionable(now, index);
            return added;
        };
        let other = bucket.main.remove(place);
        if !self.make_way(index, &entry) {
            // Others of its neighbourhood fill its share, and all of them answered.
            if let Some(bucket) = self.buckets.get_mut(&index) {
                bucket.main.insert(place.min(bucket.main.len()), other);
            }
            return Added::Refused("too many of its neighbourhood");
        }
        self.insert(index, entry);
        self.wait(index, other);
        Added::Inserted
    }

    /// Names the entry of a bucket that is to be asked next, if a proven candidate waits for a place.
    fn ask_questionable(&mut self, now: Time, index: u8) {
        let policy = self.policy.clone();
        let running = |probe: &Option<Box<Probe>>| probe.as_ref().is_some_and(|p| p.since.ago(now) < policy.probe_life);
        if self.buckets.values().filter(|bucket| running(&bucket.probe)).count() >= policy.probes_max {
            return;
        }
        let Some(bucket) = self.buckets.get_mut(&index) else { return };
        if running(&bucket.probe) || !bucket.pending.iter().any(Entry::is_verified) {
            return;
        }
        let silent = bucket.main.iter().filter(|entry| !entry.answered_within(now, policy.questionable));
        let Some(entry) = silent.min_by_key(|entry| entry.verified) else { return };
        let id = entry.info.node_id;
        self.ask(now, index, id, None);
    }

    fn ask(&mut self, now: Time, index: u8, id: Id, newcomer: Option<Box<Entry>>) {
        let bucket = self.buckets.entry(index).or_default();
        bucket.probe = Some(Box::new(Probe { id, since: Moment::of(now), newcomer }));
        let mut probes = std::mem::take(&mut self.probes);
        probes.retain(|other| *other != id && self.is_asked(other));
        probes.push_back(id);
        self.probes = probes;
    }

    /// Whether the outcome of a question to a node is still waited for.
    fn is_asked(&self, id: &Id) -> bool {
        let bucket = self.index(id).and_then(|index| self.buckets.get(&index));
        bucket.and_then(|bucket| bucket.probe.as_ref()).is_some_and(|probe| probe.id == *id)
    }

    /// The next node whose bucket wants to know whether it is alive. Send it a PING, and call [`Table::handle_probe`].
    pub fn poll_probe(&mut self) -> Option<Id> {
        while let Some(id) = self.probes.pop_front() {
            if self.is_asked(&id) {
                return Some(id);
            }
        }
        None
    }

    /// What came of asking a node whether it is alive, for whatever reason it was asked ([`Table::poll_probe`],
    /// [`Table::pending_to_probe`], [`Table::stale_to_probe`]). Of an answer tell [`Table::handle_node`], too, which learns
    /// from it where the node is.
    pub fn handle_probe(&mut self, now: Time, id: &Id, answered: bool) {
        let Some(index) = self.index(id) else { return };
        let probe = self.buckets.get_mut(&index).and_then(|bucket| bucket.probe.take_if(|probe| probe.id == *id));
        match answered {
            true => {
                self.last_answer = Some(Moment::of(now));
                if !self.policy.strangers_evict {
                    self.handle_answer(now, id);
                }
                self.promote(now, id);
            }
            false => {
                let evicted = self.handle_silence(now, index, id, probe.is_some());
                let newcomer = probe.and_then(|probe| probe.newcomer).filter(|_| evicted);
                if let Some(newcomer) = newcomer.filter(|newcomer| self.entry(&newcomer.info.node_id).is_none()) {
                    self.insert(index, *newcomer);
                }
            }
        }
        self.fill(index);
        if !self.policy.strangers_evict {
            self.ask_questionable(now, index);
        }
    }

    /// A question went unanswered. Says whether the node left the table.
    fn handle_silence(&mut self, now: Time, index: u8, id: &Id, probed: bool) -> bool {
        let policy = &self.policy;
        let online = self.last_answer.is_some_and(|at| at.ago(now) <= policy.offline_after);
        let Some(bucket) = self.buckets.get_mut(&index) else { return false };
        if let Some(place) = bucket.waiting(id)
            && !(probed && policy.strangers_evict)
        {
            bucket.pending.remove(place);
        }
        let replaced = bucket.pending.iter().any(Entry::is_verified);
        let Some(place) = bucket.place(id) else { return false };
        let Some(entry) = bucket.main.get_mut(place) else { return false };
        entry.misses = entry.misses.saturating_add(1);
        let gone = match policy.strangers_evict {
            true => true,
            false => (online || replaced) && (!entry.is_verified() || entry.misses >= policy.misses_max),
        };
        if gone {
            bucket.main.remove(place);
        }
        gone
    }
}
