//! UEPS packets (ueps.md): a header of TLVs, an HMAC-SHA256, a payload; and what a receiver does with them.
//!
//! A [`Header`] and a payload become bytes with [`encode`]. Bytes become a [`Frame`], which proves nothing, and a
//! frame becomes a [`Packet`] only through its key ([`Frame::verify`]). A [`Deframer`] takes a stream in pieces of any
//! size, a [`ReplayWindow`] knows a packet that came before, a [`Dispatcher`] hands packets to the handlers of their
//! intents, and [`Threats`] remembers who sent forgeries.
//!
//! ```
//! use rigmesh::wire::ueps::{self, Header, Key, Reading, intent};
//!
//! let key = Key::from_bytes(b"a key that both sides know");
//! let mut buffer = [0; 128];
//! let length = ueps::encode(&Header::new(intent::COMPUTE), b"job 7", &key, &mut buffer)?;
//!
//! let (frame, rest) = ueps::decode(&buffer[..length], Reading::Strict)?;
//! let packet = frame.verify(&key)?;
//! assert_eq!((packet.header().intent, packet.payload(), rest.len()), (intent::COMPUTE, &b"job 7"[..], 0));
//! # Ok::<(), rigmesh::base::Error>(())
//! ```
//!
//! # Two readings
//!
//! The HMAC does not say where the header ends and the payload begins. The original's reader, which takes TLVs in any
//! number and order, can therefore be shown a signed packet cut in another place: its threat score moved into the
//! payload, or payload bytes turned into an intent. [`Reading::Strict`] knows one form only, so a packet has one
//! reading. [`Reading::Lenient`] is for packets of senders that add TLVs of their own; what it cannot see stands there.

mod dispatch;
mod packet;
mod read;
mod replay;
mod stream;
mod threat;

pub use dispatch::{DispatchError, Dispatcher, IntentCounts, IntentHandler, THREAT_SCORE_THRESHOLD};
pub use packet::{
    Header, INTENTS, Key, OVERHEAD_BYTES, PAYLOAD_BYTES_MAX, encode, encode_to, encoded_len, intent, intent_name,
};
pub use read::{Defect, Frame, HEADER_BYTES_MAX, HEADER_TLVS_MAX, Packet, PacketBuf, Reading, decode};
pub use replay::{REPLAYS_DEFAULT, ReplayWindow};
pub use stream::Deframer;
pub use threat::{Standing, THREAT_PER_MISMATCH, ThreatLimits, Threats};
