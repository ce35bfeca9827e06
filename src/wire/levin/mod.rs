//! Levin, the P2P protocol of CryptoNote nodes (monerod and its kin), as bytes (levin.md): a 33-byte header, then a
//! payload in *portable storage*, a tree of named values.
//!
//! ```
//! use rigmesh::wire::levin::{Deframer, Message, Section, command, PingResponse};
//!
//! let sent = Message::response(command::PING, 0, PingResponse { status: "OK".into(), peer_id: 7 }.encode().unwrap());
//! let bytes = sent.encode().unwrap();
//! let (mut deframer, mut rest) = (Deframer::new(1 << 16), &bytes[..]);
//! let got = deframer.handle_bytes(&mut rest).unwrap().unwrap();
//! assert_eq!(Section::decode(&got.payload).unwrap().read::<u64>("peer_id").unwrap(), Some(7));
//! ```
//!
//! # Bounds
//!
//! | what | bound |
//! |---|---|
//! | payload of one message | [`PAYLOAD_BYTES_MAX`], and what the [`Deframer`] is told; taken as it arrives, never from the stated size |
//! | sections inside each other | [`DEPTH_MAX`], the root counted; read with a stack of its own, so that no input recurses |
//! | counts (entries, elements) | never more than the bytes that are left can hold, checked before anything is allocated |
//! | values in one storage | [`VALUES_MAX`] entries, strings and objects of arrays together |
//! | memory of a decoded tree | [`BYTES_PER_INPUT_BYTE`] bytes for each byte of input at most, whatever it says |
//! | name of an entry | 255 bytes (its length is one byte) |
//! | peers in one peer list | [`PEERS_MAX`] |
//!
//! The order of entries and the width of varints are free on reading, as CryptoNote nodes have it; names that stand
//! twice and bytes after the root are refused, unless [`Reading::lenient`] is asked for. Writing gives one canonical form.

mod answer;
mod deframe;
mod error;
mod header;
mod network;
mod payload;
mod storage;
mod storage_read;
mod value;
mod varint;

pub use answer::LocalNode;
pub use deframe::{Deframer, Message};
pub use error::LevinError;
pub use header::{HEADER_BYTES, Header, PAYLOAD_BYTES_MAX, SIGNATURE, command, flag, return_code};
pub use network::NetworkId;
pub use payload::{
    HandshakeRequest, HandshakeResponse, NodeData, PEERS_MAX, PeerAddress, PeerEntry, PingResponse, SupportFlags,
    SyncData, TimedSyncRequest, TimedSyncResponse,
};
pub use storage::{DEPTH_MAX, STORAGE_HEADER, Section};
pub use storage_read::{BYTES_PER_INPUT_BYTE, Reading, VALUES_MAX};
pub use value::{Array, FromValue, Kind, Value};
pub use varint::{VARINT_MAX, decode_varint, encode_varint};
