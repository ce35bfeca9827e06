//! What one node says about another: address, id, IP address and port (dht.md §3).

use super::endpoint::{ip_bytes, ip_of_bytes};
use super::{Fault, Id};
use crate::identity::Address;
use crate::wire::cbor::{MapWriter, Reader};
use std::net::{IpAddr, SocketAddr};

/// A node as answers name it. Hearsay: only lengths are checked on reading, [`NodeInfo::is_bound`] is the first thing to
/// ask, and the node's own answer the only proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// The node's address.
    pub address: Address,
    /// Its id, which should be that of the address.
    pub node_id: Id,
    /// Its IP address, in 4 or 16 bytes as it stands here.
    pub ip: IpAddr,
    /// Its UDP port. Some nodes send 0.
    pub port: u16,
}

impl NodeInfo {
    /// A node by its address and where it is reached; the id follows.
    pub fn new(address: Address, at: SocketAddr) -> NodeInfo {
        NodeInfo { address, node_id: Id::of_address(&address), ip: at.ip().to_canonical(), port: at.port() }
    }

    /// Whether the id is the address's. Nodes of version 0.1.7 do not check it; an entry that fails is to be dropped.
    pub fn is_bound(&self) -> bool {
        Id::of_address(&self.address) == self.node_id
    }

    /// Where it is reached, IPv4 inside IPv6 as IPv4.
    pub fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip.to_canonical(), self.port)
    }

    /// The canonical CBOR: 69 bytes for IPv4 and a port of two bytes, 81 for IPv6.
    pub fn encode(&self) -> Vec<u8> {
        let mut map = MapWriter::new();
        self.write(&mut map);
        map.finish()
    }

    /// How long [`NodeInfo::encode`] is, without writing it.
    pub(super) fn encoded_len(&self) -> usize {
        let ip = if self.ip.is_ipv4() { 4 } else { 16 };
        let port = match self.port {
            ..=23 => 1,
            24..=0xff => 2,
            _ => 3,
        };
        // The map's head; address, id and IP address with their keys and heads; the port's key.
        1 + (2 + 21) + (3 + 32) + (2 + ip) + 1 + port
    }

    pub(super) fn write(&self, map: &mut MapWriter) {
        map.bytes(1, self.address.as_bytes()).bytes(2, self.node_id.as_bytes()).bytes(3, &ip_bytes(&self.ip));
        map.uint(4, self.port);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<NodeInfo, Fault> {
        let (mut address, mut node_id, mut ip, mut port) = (None, None, None, 0);
        reader.map(|key, r| -> Result<bool, Fault> {
            match key {
                1 => address = Some(r.array_of()?),
                2 => node_id = Some(r.array_of()?),
                3 => ip = ip_of_bytes(r.bytes()?),
                4 => port = r.u16()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(NodeInfo {
            address: Address::from_bytes(address.ok_or(Fault::Malformed("a node without an address"))?),
            node_id: Id::from_bytes(node_id.ok_or(Fault::Malformed("a node without an id"))?),
            ip: ip.ok_or(Fault::Malformed("a node without an IP address of 4 or 16 bytes"))?,
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_known_before_it_is_written() {
        for ip in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"] {
            for port in [0, 23, 24, 255, 256, u16::MAX] {
                let at = SocketAddr::new(ip.parse().unwrap(), port);
                let node = NodeInfo { ip: at.ip(), ..NodeInfo::new(Address::from_bytes([0xa0; 21]), at) };
                assert_eq!(node.encode().len(), node.encoded_len(), "{at}");
            }
        }
    }
}
