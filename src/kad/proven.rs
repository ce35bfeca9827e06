//! Which sources have shown that they are reached where they say they are. [`super::Health`] knows that of the place at which
//! it reaches a peer; here are the others: nodes with two addresses, or that moved, or are forgotten.

use super::Id;
use crate::base::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// Which node answered at which place, and when: a request from there has a proven source.
#[derive(Clone, Debug)]
pub(super) struct Proven {
    places: BTreeMap<SocketAddr, (Id, Time)>,
    order: BTreeSet<(Time, SocketAddr)>,
    max: usize,
    lasts: Duration,
}

impl Proven {
    pub(super) fn new(max: usize, lasts: Duration) -> Proven {
        Proven { places: BTreeMap::new(), order: BTreeSet::new(), max: max.max(1), lasts }
    }

    /// A node answered there.
    pub(super) fn note(&mut self, now: Time, place: SocketAddr, id: Id) {
        if let Some((_, at)) = self.places.insert(place, (id, now)) {
            self.order.remove(&(at, place));
        }
        self.order.insert((now, place));
        if self.places.len() > self.max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.places.remove(&oldest);
        }
    }

    /// Forgets a place.
    pub(super) fn forget(&mut self, place: &SocketAddr) {
        if let Some((_, at)) = self.places.remove(place) {
            self.order.remove(&(at, *place));
        }
    }

    /// Whether this node answered there not long ago.
    pub(super) fn is_proven(&self, now: Time, place: SocketAddr, id: &Id) -> bool {
        self.places.get(&place).is_some_and(|(there, at)| there == id && now.since(*at) <= self.lasts)
    }

    /// Whether anybody answered there not long ago.
    pub(super) fn is_known(&self, now: Time, place: SocketAddr) -> bool {
        self.places.get(&place).is_some_and(|(_, at)| now.since(*at) <= self.lasts)
    }

    /// Forgets what is too old to count.
    pub(super) fn expire(&mut self, now: Time) {
        while let Some((at, place)) = self.order.first().copied().filter(|(at, _)| now.since(*at) > self.lasts) {
            self.order.remove(&(at, place));
            self.places.remove(&place);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_is_proven_for_one_node_and_for_a_while() {
        let mut proven = Proven::new(2, Duration::from_secs(60));
        let (a, b) = (Id::from_bytes([1; 32]), Id::from_bytes([2; 32]));
        proven.note(Time::ZERO, at("10.0.0.1:1"), a);
        assert!(proven.is_proven(Time::from_millis(60_000), at("10.0.0.1:1"), &a));
        assert!(!proven.is_proven(Time::ZERO, at("10.0.0.1:1"), &b));
        assert!(!proven.is_proven(Time::ZERO, at("10.0.0.1:2"), &a));
        assert!(!proven.is_proven(Time::from_millis(60_001), at("10.0.0.1:1"), &a));
        for port in 1..=9 {
            proven.note(Time::from_millis(port), SocketAddr::from(([10, 0, 0, 9], port as u16)), b);
        }
        assert_eq!(proven.len(), 2);
        proven.expire(Time::from_millis(70_000));
        assert_eq!((proven.len(), proven.order.len()), (0, 0));
    }
}
