//! Where this machine can be reached: what its owner says, else the addresses of its interfaces.

use crate::kad::{NatType, RIG_PLACES_MAX, RigPlace};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Interfaces that lead nowhere else: containers and virtual machines of this machine.
const INNER: [&str; 5] = ["docker", "veth", "virbr", "br-", "cni"];
/// Peers whose view of this node counts.
const VIEWS_MAX: usize = 16;

/// The addresses of this machine's interfaces, those of containers left out.
pub(crate) fn own_addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|e| {
        log::warn!(target: "dht", "the addresses of this machine cannot be read: {e}");
        Vec::new()
    });
    let outer = interfaces.iter().filter(|i| !INNER.iter().any(|inner| i.name.starts_with(inner)));
    outer.map(|interface| interface.ip().to_canonical()).collect()
}

/// What a node says of where it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Advertised {
    /// Where it listens.
    pub(crate) listen: Option<SocketAddr>,
    /// What its owner says instead; empty to look for oneself.
    pub(crate) stated: Vec<SocketAddr>,
    pub(crate) tls: bool,
    /// This machine's own loopback address, too.
    pub(crate) loopback: bool,
}

impl Advertised {
    /// The places, the most reachable first.
    pub(crate) fn places(&self, own: &[IpAddr]) -> Vec<RigPlace> {
        let place = |at| RigPlace { tls: self.tls, at };
        if !self.stated.is_empty() {
            return self.stated.iter().copied().take(RIG_PLACES_MAX).map(place).collect();
        }
        let Some(listen) = self.listen else { return Vec::new() };
        let bound = [listen.ip().to_canonical()];
        let candidates = if listen.ip().is_unspecified() { own } else { &bound[..] };
        let fits = |ip: &&IpAddr| match ip {
            IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_unspecified() && (!ip.is_loopback() || self.loopback),
            // A socket that is bound to every IPv4 address hears no IPv6.
            IpAddr::V6(ip) => listen.is_ipv6() && !ip.is_unicast_link_local() && (!ip.is_loopback() || self.loopback),
        };
        let mut found: Vec<IpAddr> = candidates.iter().filter(fits).copied().collect();
        found.sort_by_key(|ip| (ip.is_loopback(), !crate::kad::is_public_ip(*ip), ip.is_ipv6(), *ip));
        found.dedup();
        found.into_iter().take(RIG_PLACES_MAX).map(|ip| place(SocketAddr::new(ip, listen.port()))).collect()
    }
}

/// Where peers of the DHT see this node: what stands between it and them.
#[derive(Debug, Default)]
pub(crate) struct Views {
    seen: BTreeMap<[u8; 32], SocketAddr>,
}

impl Views {
    pub(crate) fn note(&mut self, reporter: [u8; 32], at: SocketAddr) {
        if self.seen.len() < VIEWS_MAX || self.seen.contains_key(&reporter) {
            self.seen.insert(reporter, at);
        }
    }

    /// What two peers or more agree on: nothing is in between, or something that gives every peer another port. Anything
    /// finer takes a peer's help.
    pub(crate) fn nat_type(&self, own: &[IpAddr]) -> NatType {
        let public: Vec<&SocketAddr> = self.seen.values().filter(|at| crate::kad::is_public_ip(at.ip())).collect();
        let Some((first, others)) = public.split_first() else { return NatType::Unknown };
        if own.contains(&first.ip().to_canonical()) {
            return NatType::FullCone;
        }
        let same_host = others.iter().filter(|at| at.ip() == first.ip());
        if same_host.clone().any(|at| at.port() != first.port()) { NatType::Symmetric } else { NatType::Unknown }
    }

    /// The public address that every peer sees, if there are two at least and none sees another.
    pub(crate) fn agreed(&self) -> Option<SocketAddr> {
        let mut seen = self.seen.values().filter(|at| crate::kad::is_public_ip(at.ip()));
        let first = seen.next()?;
        let mut others = 0;
        seen.all(|at| {
            others += 1;
            at == first
        })
        .then_some(*first)
        .filter(|_| others > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(text: &str) -> Vec<IpAddr> {
        text.split_whitespace().map(|ip| ip.parse().unwrap()).collect()
    }

    fn shown(advertised: &Advertised, own: &str) -> String {
        let places: Vec<String> = advertised.places(&ips(own)).iter().map(RigPlace::to_string).collect();
        places.join(" ")
    }

    #[test]
    fn a_rig_names_the_addresses_it_can_be_reached_at_the_best_first() {
        let own = "127.0.0.1 ::1 fe80::1 169.254.3.4 10.0.0.7 192.168.1.7 2001:db8::7 203.0.113.7 172.16.0.1";
        let v4 = Advertised { listen: Some("0.0.0.0:9091".parse().unwrap()), ..Advertised::default() };
        let four = "ws://203.0.113.7:9091/ws ws://10.0.0.7:9091/ws ws://172.16.0.1:9091/ws ws://192.168.1.7:9091/ws";
        assert_eq!(shown(&v4, own), four);
        let both = Advertised { listen: Some("[::]:9091".parse().unwrap()), tls: true, ..v4.clone() };
        assert!(shown(&both, own).starts_with("wss://203.0.113.7:9091/ws wss://[2001:db8::7]:9091/ws"));
        let one = Advertised { listen: Some("10.0.0.7:9000".parse().unwrap()), ..v4.clone() };
        assert_eq!(shown(&one, own), "ws://10.0.0.7:9000/ws");
        let inside = Advertised { listen: Some("127.0.0.1:9000".parse().unwrap()), ..v4.clone() };
        assert_eq!(shown(&inside, own), "");
        assert_eq!(shown(&Advertised { loopback: true, ..inside }, own), "ws://127.0.0.1:9000/ws");
        let stated = Advertised { stated: vec!["198.51.100.1:80".parse().unwrap()], ..v4 };
        assert_eq!(shown(&stated, own), "ws://198.51.100.1:80/ws");
        assert_eq!(shown(&Advertised::default(), own), "", "it listens nowhere");
    }

    #[test]
    fn what_peers_see_tells_what_is_in_between() {
        let (mut views, own) = (Views::default(), ips("192.168.1.7"));
        assert_eq!(views.nat_type(&own), NatType::Unknown);
        views.note([1; 32], "192.168.1.7:4121".parse().unwrap());
        assert_eq!((views.nat_type(&own), views.agreed()), (NatType::Unknown, None), "a neighbour's view says nothing");
        views.note([2; 32], "203.0.113.7:4121".parse().unwrap());
        assert_eq!(views.agreed(), None, "one peer may lie");
        views.note([3; 32], "203.0.113.7:4121".parse().unwrap());
        assert_eq!(views.agreed(), Some("203.0.113.7:4121".parse().unwrap()));
        assert_eq!(views.nat_type(&own), NatType::Unknown);
        assert_eq!(views.nat_type(&ips("203.0.113.7")), NatType::FullCone);
        views.note([4; 32], "203.0.113.7:9".parse().unwrap());
        assert_eq!((views.nat_type(&own), views.agreed()), (NatType::Symmetric, None));
        (0..100).for_each(|n| views.note([n; 32], "203.0.113.7:9".parse().unwrap()));
        assert_eq!(views.seen.len(), VIEWS_MAX);
    }
}
