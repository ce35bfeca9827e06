//! Where requests come from: how many each source may send before anybody looks at their signatures.

use crate::base::Time;
use crate::kad::is_public_ip;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// How much of something a source may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    /// At once.
    pub(super) burst: u32,
    /// And a second, from then on.
    pub(super) per_s: u32,
}

/// One source: an IPv4 address, an IPv6 network of 64 bits; in private networks and on this machine, where many nodes share
/// an address and nobody is from outside, address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source(IpAddr, u16);

impl Source {
    /// Everybody.
    pub(super) const ANY: Source = Source(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

    pub(super) fn of(from: SocketAddr) -> Source {
        let ip = from.ip().to_canonical();
        match ip {
            _ if !is_public_ip(ip) => Source(ip, from.port()),
            IpAddr::V6(ip) => Source(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(), 0),
            IpAddr::V4(_) => Source(ip, 0),
        }
    }
}

/// A bounded set of token buckets, one time each: the moment at which a bucket is full again.
#[derive(Debug)]
pub(super) struct Buckets {
    allowance: Allowance,
    full_at: BTreeMap<Source, Time>,
    /// What those share for whom there is no room.
    others: Time,
    max: usize,
    /// When there are more, those that are full again are looked for and forgotten: a bucket nobody knows is full.
    look_at: usize,
}

/// So few buckets are never looked through.
const LOOK_MIN: usize = 8;

impl Buckets {
    pub(super) fn new(allowance: Allowance, max: usize) -> Buckets {
        Buckets { allowance, full_at: BTreeMap::new(), others: Time::ZERO, max: max.max(1), look_at: LOOK_MIN }
    }

    /// Takes one; false when there is none.
    pub(super) fn take(&mut self, now: Time, source: Source) -> bool {
        let many = self.full_at.len() >= self.look_at.min(self.max);
        if many && !self.full_at.contains_key(&source) {
            self.full_at.retain(|_, at| *at > now);
            self.look_at = (self.full_at.len() * 2).max(LOOK_MIN);
        }
        let room = self.full_at.len() < self.max;
        let full_at = match self.full_at.get_mut(&source) {
            Some(full_at) => full_at,
            None if room => self.full_at.entry(source).or_insert(Time::ZERO),
            None => &mut self.others,
        };
        let one = Duration::from_secs(1) / self.allowance.per_s.max(1);
        let next = (*full_at).max(now) + one;
        let allowed = next.since(now) <= one * self.allowance.burst.max(1);
        if allowed {
            *full_at = next;
        }
        allowed
    }

    /// Forgets the buckets that are full again.
    pub(super) fn expire(&mut self, now: Time) {
        self.full_at.retain(|_, at| *at > now);
        self.look_at = (self.full_at.len() * 2).max(LOOK_MIN);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.full_at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_is_a_network_outside_and_a_socket_at_home() {
        let same = |a, b| Source::of(at(a)) == Source::of(at(b));
        assert!(same("198.51.100.7:1", "198.51.100.7:2") && !same("198.51.100.7:1", "198.51.100.8:1"));
        assert!(
            same("[2001:db8:0:1::1]:1", "[2001:db8:0:1:ffff::]:2") && !same("[2001:db8:0:1::1]:1", "[2001:db8::1]:1")
        );
        assert!(!same("127.0.0.1:1", "127.0.0.1:2") && !same("10.0.0.1:1", "10.0.0.1:2"));
        assert!(same("[::ffff:198.51.100.7]:5", "198.51.100.7:9"));
    }

    #[test]
    fn a_flood_from_one_source_takes_nothing_from_the_others() {
        let mut buckets = Buckets::new(Allowance { burst: 10, per_s: 5 }, 100);
        let (loud, quiet) = (Source::of(at("198.51.100.7:1")), Source::of(at("198.51.100.8:1")));
        let taken = |buckets: &mut Buckets, ms, source| {
            (0..1000).filter(|_| buckets.take(Time::from_millis(ms), source)).count()
        };
        assert_eq!(taken(&mut buckets, 0, loud), 10);
        assert_eq!(taken(&mut buckets, 1000, loud), 5);
        assert_eq!(taken(&mut buckets, 1000, quiet), 10);
        assert_eq!(taken(&mut buckets, 60_000, loud), 10);
    }

    #[test]
    fn a_flood_of_sources_is_one_source_in_the_end() {
        let mut buckets = Buckets::new(Allowance { burst: 10, per_s: 10 }, 50);
        let source = |i: u32| Source(IpAddr::from((0xc633_0000 + i).to_be_bytes()), 0);
        let taken = (0..10_000).filter(|i| buckets.take(Time::from_millis(1), source(*i))).count();
        assert_eq!((taken, buckets.len()), (60, 50));
        // A second later those that are full again make room.
        assert!(buckets.take(Time::from_millis(3000), source(20_000)));
        assert_eq!(buckets.len(), 1);
    }
}
