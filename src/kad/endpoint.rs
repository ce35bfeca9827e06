//! Where a node is reached: an IP address and a port, as they stand in messages (dht.md §3, §14.5).

use super::Fault;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// An address as messages carry it (`observed_addr`, `claimed_addr`): the 4 or 16 bytes of the IP address, then the port
/// with its high byte first: 6 or 18 bytes. IPv4 addresses inside IPv6 become IPv4.
pub fn encode_observed(addr: SocketAddr) -> Vec<u8> {
    let port = addr.port().to_be_bytes();
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => [&ip.octets()[..], &port].concat(),
        IpAddr::V6(ip) => [&ip.octets()[..], &port].concat(),
    }
}

/// Reads what [`encode_observed`] writes; 18 bytes that hold an IPv4 address give IPv4.
///
/// # Errors
/// [`Fault::Malformed`] for any other length than 6 and 18.
pub fn decode_observed(bytes: &[u8]) -> Result<SocketAddr, Fault> {
    let (ip, port) = bytes.split_last_chunk::<2>().ok_or(LENGTH)?;
    Ok(SocketAddr::new(ip_of_bytes(ip).ok_or(LENGTH)?.to_canonical(), u16::from_be_bytes(*port)))
}

const LENGTH: Fault = Fault::Malformed("an observed address is neither 6 nor 18 bytes long");

/// The IP address of 4 or 16 bytes, as it stands there.
pub(super) fn ip_of_bytes(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

/// The 4 or 16 bytes of an IP address, as it stands there.
pub(super) fn ip_bytes(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// Whether the NAT probe may be sent there (dht.md §14.5): not unspecified, loopback, multicast, link-local, private or
/// shared by a carrier (100.64/10). Wider than "reachable": documentation and reserved ranges pass.
pub fn is_public_ip(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = matches!(ip.octets(), [100, 64..=127, ..]);
            !(ip == Ipv4Addr::UNSPECIFIED
                || ip.is_loopback()
                || ip.is_multicast()
                || ip.is_link_local()
                || ip.is_private()
                || shared)
        }
        IpAddr::V6(ip) => {
            !(ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_multicast()
                || ip.is_unicast_link_local()
                || ip.is_unique_local())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observed_address_comes_back_as_itself() {
        for text in ["192.0.2.7:4121", "[2001:db8::1]:65535", "0.0.0.0:0"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(decode_observed(&encode_observed(addr)), Ok(addr));
        }
        let mapped: SocketAddr = "[::ffff:192.0.2.7]:9".parse().unwrap();
        assert_eq!(encode_observed(mapped).len(), 6);
        assert!(decode_observed(&[0; 7]).is_err() && decode_observed(&[0]).is_err() && decode_observed(&[]).is_err());
    }
}
