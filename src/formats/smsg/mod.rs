//! SMSG (smsg.md §1–5): messages sealed under a password. [`seal_v1`] and [`open_link`] are the quick
//! path of links, which take plain v1 only; [`seal`] and [`open`] are for files: v1 and v2, with gzip or
//! zstd, attachments, hint and manifest.
//!
//! Left out: v3 (rolling licence keys: nothing in a mesh rents out files; it is recognised and refused as
//! such), and adaptive-bitrate lists (they describe videos).
//!
//! The header is not authenticated: hint and manifest are anybody's words, and nothing in it loosens what
//! a reader does.

mod file;
mod link;
mod manifest;
mod message;

pub use file::{
    Compression, FILE_HEADER_BYTES_MAX, Format, SealOptions, SmsgInfo, decode_text, encode_text, open, peek,
    quick_open, quick_seal, seal, seal_with_nonce, validate,
};
pub use link::{LINK_HEADER_BYTES_MAX, LinkKey, OVERHEAD_BYTES, open_link, seal_v1};
pub use manifest::{Manifest, Track};
pub use message::{ATTACHMENTS_MAX, Attachment, META_MAX, ReplyKey, SmsgMessage};

use super::sigil;
use crate::base::{Error, Result};

/// Magic of the container.
pub const MAGIC: &[u8; 4] = b"SMSG";

fn open_payload<'a>(key: &LinkKey, sealed: &'a mut [u8]) -> Result<&'a mut [u8]> {
    match sigil::open_in_place(key.as_bytes(), sealed) {
        Ok(plain) => Ok(plain),
        Err(_) => Err(Error::malformed("SMSG container", "decryption failed (wrong password?)")),
    }
}

fn bad_inner() -> Error {
    Error::malformed("SMSG payload", "invalid message format")
}
