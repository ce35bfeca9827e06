//! When nodes were met that [`super::Health`] has forgotten otherwise: for the statistics and the file of dht.md §14.3.

use super::Id;
use std::collections::{BTreeMap, BTreeSet};

/// Nodes by id, with the Unix second of the last contact; found by age, too.
#[derive(Clone, Debug, Default)]
pub(super) struct Met {
    nodes: BTreeMap<Id, u32>,
    order: BTreeSet<(u32, Id)>,
}

impl Met {
    /// A node was met then.
    pub(super) fn note(&mut self, id: Id, at: u32) {
        self.take(&id);
        self.nodes.insert(id, at);
        self.order.insert((at, id));
    }

    /// Forgets a node: when it was met.
    pub(super) fn take(&mut self, id: &Id) -> Option<u32> {
        let at = self.nodes.remove(id)?;
        self.order.remove(&(at, *id));
        Some(at)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Id, u32)> {
        self.nodes.iter().map(|(id, at)| (*id, *at))
    }

    /// Forgets who was met before everybody else until there are no more than `max`.
    pub(super) fn shrink_to(&mut self, max: usize) {
        while self.nodes.len() > max
            && let Some((_, id)) = self.order.pop_first()
        {
            self.nodes.remove(&id);
        }
    }

    /// Forgets who was met before.
    pub(super) fn expire(&mut self, oldest: u32) {
        while let Some((_, id)) = self.order.first().copied().filter(|(at, _)| *at < oldest) {
            self.take(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_met_before_everybody_else_is_forgotten_first() {
        let mut met = Met::default();
        let id = |n: u8| Id::from_bytes([n; 32]);
        for n in 0..9 {
            met.note(id(n), 100 - u32::from(n));
        }
        met.note(id(8), 200);
        met.shrink_to(3);
        assert_eq!(met.iter().map(|(id, _)| id).collect::<Vec<_>>(), [id(0), id(1), id(8)]);
        met.expire(100);
        assert_eq!((met.take(&id(1)), met.take(&id(0)), met.take(&id(8))), (None, Some(100), Some(200)));
        assert!(met.nodes.is_empty() && met.order.is_empty());
    }
}
