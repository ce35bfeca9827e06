//! Secure sessions between RigMesh nodes (secure-session.md §1 and §2): forward secret, proven on both sides by the third
//! message, every frame in its place. A Go node sees two JSON keys and eight challenge bytes of it, and ignores them.
//!
//! [`Start`] and [`Answer`] are the two sides of the handshake, inside the messages of the 1.0 one. They end in a
//! [`Session`]: what the peer says of itself, and one [`CipherHalf`] per direction. [`FrameSealer`] and [`FrameOpener`]
//! cut messages into frames and put them together again.
//!
//! | bound | value |
//! |---|---|
//! | a handshake payload | [`PAYLOAD_BYTES_MAX`] |
//! | a frame, tag included | [`FRAME_BYTES_MAX`] |
//! | a message put together | what the receiver announced, [`MESSAGE_BYTES_MIN`] to [`MESSAGE_BYTES_MAX`] |
//! | data, a packet | [`DATA_BYTES_MAX`], [`PACKET_BYTES_MAX`] |
//! | an unfinished message | [`UNFINISHED_MAX`] |
//! | frames under one key | [`REKEY_FRAMES`] |

mod cipher;
mod frames;
mod handshake;
mod noise;
mod statement;

pub use cipher::{CipherHalf, KEY_BYTES, TAG_BYTES};
pub use frames::{
    CONTROL_BYTES_MAX, DATA_BYTES_MAX, FRAME_BYTES_MAX, Fault, FrameOpener, FrameSealer, Kind, PACKET_BYTES_MAX,
    REKEY_AFTER, REKEY_FRAMES, UNFINISHED_MAX, Whole,
};
pub use handshake::{Answer, Bound, Psk, Session, Start, hash_of};
pub use statement::{MESSAGE_BYTES_MAX, MESSAGE_BYTES_MIN, Statement};

/// A handshake payload has at most so many bytes of JSON.
pub const PAYLOAD_BYTES_MAX: usize = 4096;

/// What the challenge of a first message ends in when it holds an offer: cut the offer out, and this stays behind.
pub const CHALLENGE_ENDING: [u8; 8] = *b"RMsecure";

/// The extension by which a node takes file data that it asked for, in frames of [`Kind::Data`] (chunked-deploy.md).
pub const CHUNK1: &str = "chunk1";

/// The extension by which a node takes UEPS packets, in frames of [`Kind::Ueps`].
pub const UEPS1: &str = "ueps1";

/// The version of sessions that is spoken here.
pub const VERSION: u32 = 1;
