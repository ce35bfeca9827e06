//! The ten messages and their bodies (dht.md §4).

use super::endpoint::{decode_observed, encode_observed};
use super::{DATAGRAM_BYTES_MAX, Fault, Id, NodeInfo, SignedRecord};
use crate::identity::Address;
use crate::wire::cbor::{MapWriter, Reader};
use std::net::SocketAddr;

/// Bytes of body that an answer may have, so that every datagram fits: nodes, then records are left out until it does.
pub const BODY_BYTES_MAX: usize = 1050;

/// A message. Lists that are `None` are sent as null, as nodes do that have nothing to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Who are you?
    Ping {
        /// The sender's own address.
        address: Address,
    },
    /// The answer to [`Message::Ping`].
    Pong {
        /// The answering node's own address.
        address: Address,
        /// Where the ping came from.
        observed: SocketAddr,
    },
    /// Which nodes are near?
    FindNode {
        /// The point in question.
        target: Id,
    },
    /// The answer to [`Message::FindNode`].
    FindNodeResp {
        /// The nearest first.
        nodes: Option<Vec<NodeInfo>>,
        /// Where the question came from.
        observed: SocketAddr,
    },
    /// Which records are there, and which nodes are near?
    FindValue {
        /// The key.
        target: Id,
        /// The type of record; 0 for all.
        rec_type: u8,
    },
    /// The answer to [`Message::FindValue`].
    FindValueResp {
        /// The nearest first.
        nodes: Option<Vec<NodeInfo>>,
        /// The newest endpoint record, for readers that know no list. To be read only if `records` is empty.
        record: Option<Box<SignedRecord>>,
        /// Where the question came from.
        observed: SocketAddr,
        /// The records.
        records: Vec<SignedRecord>,
    },
    /// Keep this.
    Store {
        /// What to keep.
        record: Box<SignedRecord>,
        /// Where; without it at the id of the record's address.
        key: Option<Id>,
    },
    /// The answer to [`Message::Store`].
    StoreResp {
        /// Whether it was taken. Nodes of version 0.1.7 answer false as well if they have it, or a newer one.
        stored: bool,
        /// Whether it, or a newer one, was there. Only later versions say it; never set it in answers to others, whose
        /// signature check would fail.
        already_had: bool,
    },
    /// Can you reach me there?
    NatProbeReq {
        /// Comes back in the echo.
        token: [u8; 8],
        /// The public address that the sender believes it has.
        claimed: SocketAddr,
    },
    /// What is sent to the claimed address.
    NatProbeEcho {
        /// From the request.
        token: [u8; 8],
    },
}

/// The type numbers on the wire.
pub(super) mod kind {
    pub(in super::super) const PING: u8 = 1;
    pub(in super::super) const PONG: u8 = 2;
    pub(in super::super) const FIND_NODE: u8 = 3;
    pub(in super::super) const FIND_NODE_RESP: u8 = 4;
    pub(in super::super) const FIND_VALUE: u8 = 5;
    pub(in super::super) const FIND_VALUE_RESP: u8 = 6;
    pub(in super::super) const STORE: u8 = 7;
    pub(in super::super) const STORE_RESP: u8 = 8;
    pub(in super::super) const NAT_PROBE_REQ: u8 = 9;
    pub(in super::super) const NAT_PROBE_ECHO: u8 = 10;
}

impl Message {
    /// The type number.
    pub fn kind(&self) -> u8 {
        match self {
            Message::Ping { .. } => kind::PING,
            Message::Pong { .. } => kind::PONG,
            Message::FindNode { .. } => kind::FIND_NODE,
            Message::FindNodeResp { .. } => kind::FIND_NODE_RESP,
            Message::FindValue { .. } => kind::FIND_VALUE,
            Message::FindValueResp { .. } => kind::FIND_VALUE_RESP,
            Message::Store { .. } => kind::STORE,
            Message::StoreResp { .. } => kind::STORE_RESP,
            Message::NatProbeReq { .. } => kind::NAT_PROBE_REQ,
            Message::NatProbeEcho { .. } => kind::NAT_PROBE_ECHO,
        }
    }

    /// The type number of the answer this waits for, if it is a request that is answered.
    pub fn answer_kind(&self) -> Option<u8> {
        match self {
            Message::Ping { .. } | Message::FindNode { .. } | Message::FindValue { .. } | Message::Store { .. } => {
                Some(self.kind() + 1)
            }
            _ => None,
        }
    }

    /// The type's name, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Message::Ping { .. } => "PING",
            Message::Pong { .. } => "PONG",
            Message::FindNode { .. } => "FIND_NODE",
            Message::FindNodeResp { .. } => "FIND_NODE_RESP",
            Message::FindValue { .. } => "FIND_VALUE",
            Message::FindValueResp { .. } => "FIND_VALUE_RESP",
            Message::Store { .. } => "STORE",
            Message::StoreResp { .. } => "STORE_RESP",
            Message::NatProbeReq { .. } => "NAT_PROBE_REQ",
            Message::NatProbeEcho { .. } => "NAT_PROBE_ECHO",
        }
    }

    /// The body's canonical CBOR.
    pub fn encode_body(&self) -> Vec<u8> {
        let mut map = MapWriter::with_room(DATAGRAM_BYTES_MAX);
        match self {
            Message::Ping { address } => map.bytes(1, address.as_bytes()),
            Message::Pong { address, observed } => {
                map.bytes(1, address.as_bytes()).bytes(2, &encode_observed(*observed))
            }
            Message::FindNode { target } => map.bytes(1, target.as_bytes()),
            Message::FindNodeResp { nodes, observed } => {
                map.optional_maps(1, nodes.as_deref(), NodeInfo::write).bytes(2, &encode_observed(*observed))
            }
            Message::FindValue { target, rec_type } => {
                map.bytes(1, target.as_bytes());
                if *rec_type != 0 {
                    map.uint(2, *rec_type);
                }
                &mut map
            }
            Message::FindValueResp { nodes, record, observed, records } => {
                map.optional_maps(1, nodes.as_deref(), NodeInfo::write);
                if let Some(record) = record {
                    map.encoded(2, &record.encode());
                }
                map.bytes(3, &encode_observed(*observed));
                if !records.is_empty() {
                    map.optional_maps(4, Some(records), SignedRecord::write);
                }
                &mut map
            }
            Message::Store { record, key } => {
                map.encoded(1, &record.encode());
                if let Some(key) = key {
                    map.bytes(2, key.as_bytes());
                }
                &mut map
            }
            Message::StoreResp { stored, already_had } => {
                map.bool(1, *stored);
                if *already_had {
                    map.bool(2, true);
                }
                &mut map
            }
            Message::NatProbeReq { token, claimed } => map.bytes(1, token).bytes(2, &encode_observed(*claimed)),
            Message::NatProbeEcho { token } => map.bytes(1, token),
        }
        .finish()
    }

    /// Reads a body of a type. Keys nobody knows are left out; fields that are missing are empty, if they can be.
    ///
    /// # Errors
    /// [`Fault::UnknownType`], or what is wrong with the body.
    pub fn decode_body(kind: u8, body: &[u8]) -> Result<Message, Fault> {
        if !(kind::PING..=kind::NAT_PROBE_ECHO).contains(&kind) {
            return Err(Fault::UnknownType(kind));
        }
        let mut fields = Fields::default();
        Reader::whole(body, |r| r.map(|key, r| fields.read(kind, key, r)))?;
        fields.message(kind)
    }
}

/// Nodes for which there is room at once when an answer is read.
const NODES_ROOM: usize = 16;

fn read_records(reader: &mut Reader<'_>) -> Result<Vec<SignedRecord>, Fault> {
    let mut records = Vec::new();
    reader.array(|r| SignedRecord::read(r).map(|record| records.push(record)))?;
    Ok(records)
}

/// What a body may hold, of whatever type.
#[derive(Default)]
struct Fields {
    address: Option<[u8; 21]>,
    id: Option<[u8; 32]>,
    token: Option<[u8; 8]>,
    place: Option<SocketAddr>,
    nodes: Option<Vec<NodeInfo>>,
    record: Option<SignedRecord>,
    records: Vec<SignedRecord>,
    rec_type: u8,
    stored: bool,
    already_had: bool,
}

impl Fields {
    /// Reads the value of one key; false if the type has no such key.
    fn read(&mut self, of: u8, key: u64, r: &mut Reader<'_>) -> Result<bool, Fault> {
        match (of, key) {
            (kind::PING | kind::PONG, 1) => self.address = Some(r.array_of()?),
            (kind::PONG | kind::FIND_NODE_RESP | kind::NAT_PROBE_REQ, 2) | (kind::FIND_VALUE_RESP, 3) => {
                self.place = Some(decode_observed(r.bytes()?)?);
            }
            (kind::FIND_NODE | kind::FIND_VALUE, 1) => self.id = Some(r.array_of()?),
            (kind::FIND_NODE_RESP | kind::FIND_VALUE_RESP, 1) => {
                self.nodes = r.optional(|r| {
                    let mut nodes = Vec::new();
                    r.array(|r| {
                        let node = NodeInfo::read(r)?;
                        if nodes.is_empty() {
                            // A whole answer's, whatever is said there; nothing grows then.
                            nodes.reserve_exact(NODES_ROOM);
                        }
                        nodes.push(node);
                        Ok::<_, Fault>(())
                    })?;
                    Ok::<_, Fault>(nodes)
                })?;
            }
            (kind::FIND_VALUE, 2) => self.rec_type = r.u8()?,
            (kind::STORE, 1) | (kind::FIND_VALUE_RESP, 2) => self.record = r.optional(SignedRecord::read)?,
            (kind::FIND_VALUE_RESP, 4) => self.records = r.optional(read_records)?.unwrap_or_default(),
            (kind::STORE, 2) => {
                self.id = match r.optional(Reader::bytes)?.unwrap_or_default() {
                    [] => None,
                    key => Some(key.try_into().map_err(|_| Fault::Malformed("a key is not 32 bytes long"))?),
                }
            }
            (kind::STORE_RESP, 1) => self.stored = r.bool()?,
            (kind::STORE_RESP, 2) => self.already_had = r.bool()?,
            (kind::NAT_PROBE_REQ | kind::NAT_PROBE_ECHO, 1) => self.token = Some(r.array_of()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn message(self, of: u8) -> Result<Message, Fault> {
        let address = || self.address.map(Address::from_bytes).ok_or(Fault::Malformed("no address"));
        let target = || self.id.map(Id::from_bytes).ok_or(Fault::Malformed("no target"));
        let token = || self.token.ok_or(Fault::Malformed("no token"));
        let place = || self.place.ok_or(Fault::Malformed("no observed or claimed address"));
        Ok(match of {
            kind::PING => Message::Ping { address: address()? },
            kind::PONG => Message::Pong { address: address()?, observed: place()? },
            kind::FIND_NODE => Message::FindNode { target: target()? },
            kind::FIND_NODE_RESP => Message::FindNodeResp { observed: place()?, nodes: self.nodes },
            kind::FIND_VALUE => Message::FindValue { target: target()?, rec_type: self.rec_type },
            kind::FIND_VALUE_RESP => Message::FindValueResp {
                observed: place()?,
                nodes: self.nodes,
                record: self.record.map(Box::new),
                records: self.records,
            },
            kind::STORE => Message::Store {
                key: self.id.map(Id::from_bytes),
                record: Box::new(self.record.ok_or(Fault::Malformed("no record"))?),
            },
            kind::STORE_RESP => Message::StoreResp { stored: self.stored, already_had: self.already_had },
            kind::NAT_PROBE_REQ => Message::NatProbeReq { token: token()?, claimed: place()? },
            kind::NAT_PROBE_ECHO => Message::NatProbeEcho { token: token()? },
            other => return Err(Fault::UnknownType(other)),
        })
    }
}
