//! Whom the routing table names: the nearest nodes, by what is known of them (dht.md §10.4–10.6).

use super::{Entry, Table};
use crate::base::Time;
use crate::kad::subnet::FewOfEach;
use crate::kad::{Id, NodeInfo, PeerHealthState};

/// How many entries are looked at before those that fail are left out.
const LOOKED_AT: usize = 64;

/// Entries for which a list has room, at least: more than a kilobyte.
const ROOM: usize = 160;

impl Table {
    /// The `n` nodes nearest to `target`.
    pub fn nearest(&self, target: &Id, n: usize) -> Vec<&Entry> {
        let mut all = self.list(|_| true);
        all.sort_unstable_by_key(|entry| target.distance(&entry.info.node_id));
        all.truncate(n);
        all
    }

    /// The `n` nearest of those that ever answered; first all that answered within [`super::super::Policy::fresh`], then
    /// the others.
    pub fn nearest_verified(&self, now: Time, target: &Id, n: usize) -> Vec<&Entry> {
        let mut all = self.list(Entry::is_verified);
        let fresh = self.policy.fresh;
        all.sort_unstable_by_key(|entry| (!entry.answered_within(now, fresh), target.distance(&entry.info.node_id)));
        all.truncate(n);
        all
    }

    /// Some entries. A list of one length, whatever there is: those of many lengths are many blocks that an allocator keeps.
    fn list(&self, which: impl Fn(&Entry) -> bool) -> Vec<&Entry> {
        let mut all = Vec::with_capacity(self.len().max(ROOM));
        all.extend(self.iter().map(|(_, entry)| entry).filter(|entry| which(entry)));
        all
    }

    /// Of the 64 nearest nodes `n`: those that are good, then those nobody asked, then those that failed.
    pub fn nearest_healthy(&self, target: &Id, n: usize, state: impl Fn(&Id) -> PeerHealthState) -> Vec<&Entry> {
        let mut all = self.nearest(target, LOOKED_AT);
        all.sort_unstable_by_key(|entry| (state(&entry.info.node_id).rank(), target.distance(&entry.info.node_id)));
        all.truncate(n);
        all
    }

    /// The nodes to name in an answer (dht.md §10.5): verified ones that did not fail lately. The Go node fills up with
    /// others if they are fewer than half; we do not, and name few of one neighbourhood.
    pub fn answer(&self, now: Time, target: &Id, state: impl Fn(&Id) -> PeerHealthState) -> Vec<NodeInfo> {
        let k = self.policy.k;
        let mut few = FewOfEach::new(self.policy.subnets.map(|limits| limits.per_answer));
        let mut fits = |entry: &&Entry| few.take(entry.info.ip);
        let verified = self.nearest_verified(now, target, LOOKED_AT).into_iter();
        let alive = verified.filter(|entry| state(&entry.info.node_id) != PeerHealthState::Bad);
        let mut nodes = Vec::with_capacity(k.min(LOOKED_AT));
        nodes.extend(alive.filter(&mut fits).take(k).map(|entry| entry.info.clone()));
        if self.policy.answer_hearsay && nodes.len() < k / 2 {
            for entry in self.nearest_healthy(target, k, state) {
                if nodes.len() < k && !nodes.iter().any(|node| node.node_id == entry.info.node_id) {
                    nodes.push(entry.info.clone());
                }
            }
        }
        nodes
    }
}
