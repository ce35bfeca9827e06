//! Where a record may send us (secure-session.md §8): it is a stranger's word, and a dial is a packet to whomever it names.

use std::net::IpAddr;

/// What may be dialled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach<'a> {
    /// The addresses of this machine's own interfaces.
    pub(super) own: &'a [IpAddr],
    /// The record is of a signing key that is pinned.
    pub(super) pinned: bool,
    /// This machine itself, too: where several nodes live on one.
    pub(super) loopback: bool,
}

impl Reach<'_> {
    /// Whether a place may be dialled: never unspecified, link-local, multicast or broadcast ones, this machine only if it was
    /// asked for, private ranges only with an interface in the same range or for a pinned key.
    pub(super) fn allows(&self, ip: IpAddr, port: u16) -> bool {
        let ip = ip.to_canonical();
        let never = match ip {
            IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast() || ip.octets()[0] == 0,
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        if port == 0 || never || ip.is_unspecified() || ip.is_multicast() {
            return false;
        }
        if ip.is_loopback() {
            return self.loopback;
        }
        let range = private_range(ip);
        range.is_none() || self.pinned || self.own.iter().any(|own| private_range(own.to_canonical()) == range)
    }
}

/// Which private range an address lies in, the carriers' shared one among them.
fn private_range(ip: IpAddr) -> Option<u8> {
    match ip {
        IpAddr::V4(ip) => match ip.octets() {
            [10, ..] => Some(1),
            [172, 16..=31, ..] => Some(2),
            [192, 168, ..] => Some(3),
            [100, 64..=127, ..] => Some(4),
            _ => None,
        },
        IpAddr::V6(ip) => ip.is_unique_local().then_some(5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_sends_nobody_where_it_should_not() {
        let own: Vec<IpAddr> = ["192.168.1.5", "127.0.0.1", "2001:db8::1"].map(|ip| ip.parse().unwrap()).to_vec();
        let reach = Reach { own: &own, pinned: false, loopback: false };
        let pinned = Reach { pinned: true, ..reach };
        for (ip, stranger, known) in [
            ("203.0.113.7", true, true),
            ("2001:db8::7", true, true),
            ("192.168.200.7", true, true), // an interface in the range
            ("::ffff:192.168.200.7", true, true),
            ("10.0.0.7", false, true),
            ("172.20.0.7", false, true),
            ("::ffff:10.0.0.7", false, true),
            ("100.64.0.7", false, true),
            ("fd00::7", false, true),
            ("172.32.0.7", true, true),
            ("127.0.0.1", false, false),
            ("::1", false, false),
            ("::ffff:127.0.0.1", false, false),
            ("0.0.0.0", false, false),
            ("0.1.2.3", false, false),
            ("::", false, false),
            ("169.254.169.254", false, false),
            ("fe80::1", false, false),
            ("224.0.0.1", false, false),
            ("ff02::1", false, false),
            ("255.255.255.255", false, false),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!((reach.allows(ip, 9091), pinned.allows(ip, 9091)), (stranger, known), "{ip}");
            assert!(!pinned.allows(ip, 0));
        }
        assert!(Reach { loopback: true, ..reach }.allows("127.0.0.1".parse().unwrap(), 1));
        let inside = ["10.9.9.9".parse().unwrap()];
        assert!(Reach { own: &inside, ..reach }.allows("10.0.0.7".parse().unwrap(), 1));
    }
}
