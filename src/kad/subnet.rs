//! Neighbourhoods of IP addresses: who has one address there easily has them all.

use super::is_public_ip;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 /24 or an IPv6 /48; of private ranges the address alone (there, neighbours are one's own rigs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet(IpAddr);

impl Subnet {
    /// The neighbourhood of an address.
    pub fn of(ip: IpAddr) -> Subnet {
        Subnet::shared(ip).unwrap_or(Subnet(ip.to_canonical()))
    }

    /// The neighbourhood of a public address; none for the others.
    pub fn shared(ip: IpAddr) -> Option<Subnet> {
        let ip = ip.to_canonical();
        is_public_ip(ip).then(|| match ip {
            IpAddr::V4(ip) => Subnet(IpAddr::V4(Ipv4Addr::from(u32::from(ip) & !0xff))),
            IpAddr::V6(ip) => Subnet(IpAddr::V6(Ipv6Addr::from(u128::from(ip) & !(u128::MAX >> 48)))),
        })
    }

    /// Its first address.
    pub fn ip(&self) -> IpAddr {
        self.0
    }
}

/// Counts neighbourhoods, so that few nodes of each are taken.
#[derive(Debug)]
pub(super) struct FewOfEach {
    limit: Option<usize>,
    taken: BTreeMap<Subnet, usize>,
}

impl FewOfEach {
    /// At most `limit` of each public neighbourhood; without it any number.
    pub(super) fn new(limit: Option<usize>) -> FewOfEach {
        FewOfEach { limit, taken: BTreeMap::new() }
    }

    /// Whether one more there may be taken; it counts at once.
    pub(super) fn take(&mut self, ip: IpAddr) -> bool {
        let (Some(limit), Some(subnet)) = (self.limit, Subnet::shared(ip)) else { return true };
        let count = self.taken.entry(subnet).or_default();
        *count += 1;
        *count <= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_subnet_and_rigs_of_a_farm_do_not() {
        let of = |text: &str| Subnet::of(text.parse().unwrap());
        assert_eq!(of("8.8.8.8"), of("8.8.8.200"));
        assert_eq!(of("8.8.8.8"), of("::ffff:8.8.8.9"));
        assert_ne!(of("8.8.8.8"), of("8.8.9.8"));
        assert_eq!(of("2001:db8:1::1"), of("2001:db8:1:ffff::1"));
        assert_ne!(of("2001:db8:1::1"), of("2001:db8:2::1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(Subnet::shared("127.0.0.1".parse().unwrap()), None);
        assert_eq!(of("8.8.8.8").ip(), "8.8.8.0".parse::<IpAddr>().unwrap());
    }
}
