//! What handshake, timed sync, ping and support flags carry, as structs. Fields that are absent are read as 0, as
//! CryptoNote nodes do; numbers may come in any width that fits.

use super::value::Array;
use super::{LevinError, NetworkId, Section, Value};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Most peers in one list; monerod sends 250 and drops who sends more.
pub const PEERS_MAX: usize = 1000;

/// The longest name of a hidden host, and the longest status, bytes.
const TEXT_BYTES_MAX: usize = 255;

const KIND_IPV4: u8 = 1;
const KIND_IPV6: u8 = 2;

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeData {
    /// The network it belongs to.
    pub network_id: NetworkId,
    /// The port on which it can be dialled; 0 for none.
    pub my_port: u32,
    /// The port of its RPC; 0 for none.
    pub rpc_port: u16,
    /// What its RPC costs.
    pub rpc_credits_per_hash: u32,
    /// A random number that tells nodes apart.
    pub peer_id: u64,
    /// What it can do, bit by bit.
    pub support_flags: u32,
}

impl NodeData {
    /// As the section `node_data`.
    pub fn to_section(&self) -> Section {
        Section::new()
            .with("network_id", self.network_id.0.to_vec())
            .with("my_port", self.my_port)
            .with("rpc_port", self.rpc_port)
            .with("rpc_credits_per_hash", self.rpc_credits_per_hash)
            .with("peer_id", self.peer_id)
            .with("support_flags", self.support_flags)
    }

    /// From the section `node_data`.
    ///
    /// # Errors
    /// A field of another type; a network id that is not there or not of 16 bytes.
    pub fn from_section(section: &Section) -> Result<NodeData, LevinError> {
        Ok(NodeData {
            network_id: NetworkId(
                exactly(section, "network_id")?.ok_or(LevinError::Value { name: "network_id", why: "is not there" })?,
            ),
            my_port: section.unsigned("my_port")?,
            rpc_port: section.unsigned("rpc_port")?,
            rpc_credits_per_hash: section.unsigned("rpc_credits_per_hash")?,
            peer_id: section.unsigned("peer_id")?,
            support_flags: section.unsigned("support_flags")?,
        })
    }
}

/// What a node has of the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncData {
    /// Blocks it has.
    pub current_height: u64,
    /// The work in them, low 64 bits.
    pub cumulative_difficulty: u64,
    /// High 64 bits of it.
    pub cumulative_difficulty_top64: u64,
    /// The hash of the newest block.
    pub top_id: [u8; 32],
    /// The major version of the newest block.
    pub top_version: u8,
    /// Which part of the chain it keeps; 0 for all of it.
    pub pruning_seed: u32,
}

impl SyncData {
    /// As the section `payload_data`.
    pub fn to_section(&self) -> Section {
        Section::new()
            .with("current_height", self.current_height)
            .with("cumulative_difficulty", self.cumulative_difficulty)
            .with("cumulative_difficulty_top64", self.cumulative_difficulty_top64)
            .with("top_id", self.top_id.to_vec())
            .with("top_version", self.top_version)
            .with("pruning_seed", self.pruning_seed)
    }

    /// From the section `payload_data`.
    ///
    /// # Errors
    /// A field of another type, a hash that is not of 32 bytes.
    pub fn from_section(section: &Section) -> Result<SyncData, LevinError> {
        Ok(SyncData {
            current_height: section.unsigned("current_height")?,
            cumulative_difficulty: section.unsigned("cumulative_difficulty")?,
            cumulative_difficulty_top64: section.unsigned("cumulative_difficulty_top64")?,
            top_id: exactly(section, "top_id")?.unwrap_or_default(),
            top_version: section.unsigned("top_version")?,
            pruning_seed: section.unsigned("pruning_seed")?,
        })
    }

    /// The work in the chain.
    pub fn difficulty(&self) -> u128 {
        u128::from(self.cumulative_difficulty_top64) << 64 | u128::from(self.cumulative_difficulty)
    }
}

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// An IPv4 or IPv6 address and port.
    Ip(SocketAddr),
    /// A host of a hidden network (kind 3: I2P, 4: Tor), and its port.
    Host {
        /// The kind on the wire.
        kind: u8,
        /// Its name.
        host: String,
        /// Its port.
        port: u16,
    },
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddress::Ip(address) => address.fmt(f),
            PeerAddress::Host { host, port, .. } => write!(f, "{host}:{port}"),
        }
    }
}

impl PeerAddress {
    fn to_section(&self) -> Section {
        let (kind, inner) = match self {
            PeerAddress::Ip(SocketAddr::V4(at)) => (
                KIND_IPV4,
                // The octets in the order of the network, as a little-endian number.
                Section::new().with("m_ip", u32::from_le_bytes(at.ip().octets())).with("m_port", at.port()),
            ),
            PeerAddress::Ip(SocketAddr::V6(at)) => {
                (KIND_IPV6, Section::new().with("addr", at.ip().octets().to_vec()).with("m_port", at.port()))
            }
            PeerAddress::Host { kind, host, port } => {
                (*kind, Section::new().with("host", host.as_str()).with("port", *port))
            }
        };
        Section::new().with("type", kind).with("addr", inner)
    }

    fn from_section(section: &Section) -> Result<PeerAddress, LevinError> {
        let inner = object(section, "addr")?;
        match section.unsigned::<u8>("type")? {
            KIND_IPV4 => {
                let ip = Ipv4Addr::from(inner.unsigned::<u32>("m_ip")?.to_le_bytes());
                Ok(PeerAddress::Ip((ip, inner.unsigned("m_port")?).into()))
            }
            KIND_IPV6 => {
                let ip = Ipv6Addr::from(exactly::<16>(inner, "addr")?.unwrap_or_default());
                Ok(PeerAddress::Ip((ip, inner.unsigned("m_port")?).into()))
            }
            kind => Ok(PeerAddress::Host { kind, host: text(inner, "host")?, port: inner.unsigned("port")? }),
        }
    }
}

/// A peer that a node tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerEntry {
    /// Where it is.
    pub address: PeerAddress,
    /// Its `peer_id`.
    pub id: u64,
    /// When it was seen last, seconds since 1970; 0 when that is not told.
    pub last_seen: i64,
    /// Which part of the chain it keeps.
    pub pruning_seed: u32,
    /// The port of its RPC; 0 for none.
    pub rpc_port: u16,
}

impl PeerEntry {
    /// As an element of `local_peerlist_new`.
    pub fn to_section(&self) -> Section {
        Section::new()
            .with("adr", self.address.to_section())
            .with("id", self.id)
            .with("last_seen", self.last_seen)
            .with("pruning_seed", self.pruning_seed)
            .with("rpc_port", self.rpc_port)
    }

    /// From an element of `local_peerlist_new`.
    ///
    /// # Errors
    /// A field of another type, an address that makes no sense.
    pub fn from_section(section: &Section) -> Result<PeerEntry, LevinError> {
        Ok(PeerEntry {
            address: PeerAddress::from_section(object(section, "adr")?)?,
            id: section.unsigned("id")?,
            last_seen: section.read("last_seen")?.unwrap_or_default(),
            pruning_seed: section.unsigned("pruning_seed")?,
            rpc_port: section.unsigned("rpc_port")?,
        })
    }
}

/// Makes a payload of a struct's own section.
macro_rules! payloads {
    ($($payload:ident),*) => { $(
        impl $payload {
            /// The payload's bytes.
            ///
            /// # Errors
            /// A list that is too long for a varint, which memory does not hold.
            pub fn encode(&self) -> Result<Vec<u8>, LevinError> {
                self.to_section().encode()
            }

            /// Reads the payload.
            ///
            /// # Errors
            /// What is wrong with it.
            pub fn decode(bytes: &[u8]) -> Result<Self, LevinError> {
                Self::from_section(&Section::decode(bytes)?)
            }
        }
    )* };
}

payloads!(HandshakeRequest, HandshakeResponse, TimedSyncRequest, TimedSyncResponse, PingResponse, SupportFlags);

/// The payload of a handshake's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeRequest {
    /// Who asks.
    pub node: NodeData,
    /// What it has.
    pub sync: SyncData,
}

impl HandshakeRequest {
    /// As a section.
    pub fn to_section(&self) -> Section {
        Section::new().with("node_data", self.node.to_section()).with("payload_data", self.sync.to_section())
    }

    /// From a section.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn from_section(section: &Section) -> Result<HandshakeRequest, LevinError> {
        let node = NodeData::from_section(object(section, "node_data")?)?;
        Ok(HandshakeRequest { node, sync: SyncData::from_section(object(section, "payload_data")?)? })
    }
}

/// The payload of a handshake's response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeResponse {
    /// Who answers.
    pub node: NodeData,
    /// What it has.
    pub sync: SyncData,
    /// Whom it knows, at most [`PEERS_MAX`].
    pub peers: Vec<PeerEntry>,
}

impl HandshakeResponse {
    /// As a section.
    pub fn to_section(&self) -> Section {
        let section =
            Section::new().with("node_data", self.node.to_section()).with("payload_data", self.sync.to_section());
        with_peers(section, &self.peers)
    }

    /// From a section.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn from_section(section: &Section) -> Result<HandshakeResponse, LevinError> {
        let HandshakeRequest { node, sync } = HandshakeRequest::from_section(section)?;
        Ok(HandshakeResponse { node, sync, peers: peers(section)? })
    }
}

/// The payload of a timed sync's request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimedSyncRequest {
    /// What the asking node has.
    pub sync: SyncData,
}

impl TimedSyncRequest {
    /// As a section.
    pub fn to_section(&self) -> Section {
        Section::new().with("payload_data", self.sync.to_section())
    }

    /// From a section.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn from_section(section: &Section) -> Result<TimedSyncRequest, LevinError> {
        Ok(TimedSyncRequest { sync: SyncData::from_section(object(section, "payload_data")?)? })
    }
}

/// The payload of a timed sync's response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimedSyncResponse {
    /// What the answering node has.
    pub sync: SyncData,
    /// Whom it knows, at most [`PEERS_MAX`].
    pub peers: Vec<PeerEntry>,
}

impl TimedSyncResponse {
    /// As a section.
    pub fn to_section(&self) -> Section {
        with_peers(Section::new().with("payload_data", self.sync.to_section()), &self.peers)
    }

    /// From a section.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn from_section(section: &Section) -> Result<TimedSyncResponse, LevinError> {
        let TimedSyncRequest { sync } = TimedSyncRequest::from_section(section)?;
        Ok(TimedSyncResponse { sync, peers: peers(section)? })
    }
}

/// The payload of a ping's response. That of its request is an empty section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PingResponse {
    /// `OK`.
    pub status: String,
    /// The answering node's number.
    pub peer_id: u64,
}

impl PingResponse {
    /// As a section.
    pub fn to_section(&self) -> Section {
        Section::new().with("status", self.status.as_str()).with("peer_id", self.peer_id)
    }

    /// From a section.
    ///
    /// # Errors
    /// What is wrong.
    pub fn from_section(section: &Section) -> Result<PingResponse, LevinError> {
        Ok(PingResponse { status: text(section, "status")?, peer_id: section.unsigned("peer_id")? })
    }
}

/// The payload of the response that tells support flags. That of its request is an empty section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SupportFlags {
    /// What the node can do, bit by bit.
    pub support_flags: u32,
}

impl SupportFlags {
    /// As a section.
    pub fn to_section(&self) -> Section {
        Section::new().with("support_flags", self.support_flags)
    }

    /// From a section.
    ///
    /// # Errors
    /// What is wrong.
    pub fn from_section(section: &Section) -> Result<SupportFlags, LevinError> {
        Ok(SupportFlags { support_flags: section.unsigned("support_flags")? })
    }
}

/// A section that must be there.
fn object<'a>(section: &'a Section, name: &'static str) -> Result<&'a Section, LevinError> {
    section.read(name)?.ok_or(LevinError::Value { name, why: "is not there" })
}

/// A string of exactly `N` bytes.
fn exactly<const N: usize>(section: &Section, name: &'static str) -> Result<Option<[u8; N]>, LevinError> {
    let Some(bytes) = section.string(name)? else { return Ok(None) };
    bytes.try_into().map(Some).map_err(|_| LevinError::Value { name, why: "has the wrong length" })
}

/// A short text.
fn text(section: &Section, name: &'static str) -> Result<String, LevinError> {
    let bytes = section.string(name)?.unwrap_or_default();
    let wrong = LevinError::Value { name, why: "is no short text" };
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.len() <= TEXT_BYTES_MAX => Ok(text.to_owned()),
        _ => Err(wrong),
    }
}

const PEERS: &str = "local_peerlist_new";

/// CryptoNote nodes leave an empty list out.
fn with_peers(section: Section, peers: &[PeerEntry]) -> Section {
    match peers {
        [] => section,
        peers => section.with(PEERS, Array::Object(peers.iter().map(PeerEntry::to_section).collect())),
    }
}

fn peers(section: &Section) -> Result<Vec<PeerEntry>, LevinError> {
    match section.value(PEERS) {
        None => Ok(Vec::new()),
        // An empty array need not tell what it is empty of.
        Some(Value::Array(array)) if array.is_empty() => Ok(Vec::new()),
        Some(Value::Array(Array::Object(peers))) if peers.len() > PEERS_MAX => {
            Err(LevinError::Value { name: PEERS, why: "is too long" })
        }
        Some(Value::Array(Array::Object(peers))) => peers.iter().map(PeerEntry::from_section).collect(),
        Some(other) => Err(other.mismatch(PEERS.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeData {
        let network_id = NetworkId::STAGENET;
        NodeData {
            network_id,
            my_port: 38_080,
            rpc_port: 0,
            rpc_credits_per_hash: 0,
            peer_id: u64::MAX,
            support_flags: 1,
        }
    }

    fn sync() -> SyncData {
        SyncData {
            current_height: 9,
            cumulative_difficulty: 5,
            top_id: [7; 32],
            top_version: 16,
            ..SyncData::default()
        }
    }

    fn entry(address: PeerAddress) -> PeerEntry {
        PeerEntry { address, id: 3, last_seen: 1_700_000_000, pruning_seed: 0, rpc_port: 18_089 }
    }

    #[test]
    fn every_payload_comes_back() {
        let peers = vec![
            entry(PeerAddress::Ip("10.1.2.3:18080".parse().unwrap())),
            entry(PeerAddress::Ip("[2001:db8::7]:18080".parse().unwrap())),
            entry(PeerAddress::Host { kind: 3, host: "x.onion".into(), port: 9 }),
        ];
        let request = HandshakeRequest { node: node(), sync: sync() };
        assert_eq!(HandshakeRequest::decode(&request.encode().unwrap()), Ok(request));
        for peers in [peers, vec![]] {
            let response = HandshakeResponse { node: node(), sync: sync(), peers: peers.clone() };
            assert_eq!(HandshakeResponse::decode(&response.encode().unwrap()), Ok(response));
            let response = TimedSyncResponse { sync: sync(), peers };
            assert_eq!(TimedSyncResponse::decode(&response.encode().unwrap()), Ok(response));
        }
        let pong = PingResponse { status: "OK".into(), peer_id: 5 };
        assert_eq!(PingResponse::decode(&pong.encode().unwrap()), Ok(pong));
        let flags = SupportFlags { support_flags: 1 };
        assert_eq!(SupportFlags::decode(&flags.encode().unwrap()), Ok(flags));
    }

    #[test]
    fn an_ipv4_address_stands_in_the_order_of_the_network() {
        let section = entry(PeerAddress::Ip("1.2.3.4:5".parse().unwrap())).to_section();
        let inner = section.read::<&Section>("adr").unwrap().unwrap().read::<&Section>("addr").unwrap().unwrap();
        assert_eq!(inner.read::<u32>("m_ip"), Ok(Some(0x0403_0201)));
    }

    #[test]
    fn absent_fields_are_zero_and_wrong_ones_are_named() {
        let sparse = Section::new().with("network_id", vec![1; 16]);
        let section = Section::new().with("node_data", sparse).with("payload_data", Section::new());
        let request = HandshakeRequest::from_section(&section).unwrap();
        assert_eq!((request.node.peer_id, request.sync), (0, SyncData::default()));
        for (wrong, words) in [
            (Section::new(), "node_data"),
            (section.clone().with("payload_data", 1u8), "payload_data"),
            (section.clone().with("node_data", Section::new()), "network_id: is not there"),
            (section.clone().with("node_data", Section::new().with("network_id", "short")), "wrong length"),
            (section.clone().with("payload_data", Section::new().with("top_version", 256u64)), "top_version"),
        ] {
            let error = HandshakeRequest::from_section(&wrong).unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
        let many = Array::Object(vec![Section::new(); PEERS_MAX + 1]);
        let error = TimedSyncResponse::from_section(&section.with(PEERS, many)).unwrap_err().to_string();
        assert!(error.contains("too long"), "{error}");
    }
}
