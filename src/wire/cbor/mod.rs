//! Deterministic CBOR (RFC 8949 within dht.md §2): structures are maps with small unsigned keys, lengths are definite,
//! integers and floats as short as they go, keys in order of their encoding, the shorter ones first.
//!
//! Writing gives that one form. Reading is a little wider, as nodes in the field are: keys in any order, integers of any
//! width and keys nobody knows are taken. Indefinite lengths, tags, text keys in structures, keys that stand twice and
//! bytes after the end are refused; no sender uses them.
//!
//! ```
//! use rigmesh::wire::cbor::{CborError, MapWriter, Reader};
//!
//! let mut map = MapWriter::new();
//! map.uint(1, 500u16).text(2, "rig");
//! let bytes = map.finish();
//! assert_eq!(bytes, [0xa2, 1, 0x19, 1, 0xf4, 2, 0x63, b'r', b'i', b'g']);
//!
//! let (mut number, mut name) = (0, "");
//! Reader::whole(&bytes, |r| {
//!     r.map(|key, r| -> Result<bool, CborError> {
//!         match key {
//!             1 => number = r.u16()?,
//!             2 => name = r.text()?,
//!             _ => return Ok(false), // skipped
//!         }
//!         Ok(true)
//!     })
//! })
//! .unwrap();
//! assert_eq!((number, name), (500, "rig"));
//! ```
//!
//! # Bounds
//!
//! | what | bound |
//! |---|---|
//! | containers inside each other | [`DEPTH_MAX`], counted for what is skipped as well |
//! | counts of maps and arrays | nothing is allocated by a stated count |
//! | memory of a [`Value`] | 128 bytes for each byte of input at most |

mod float;
mod read;
mod value;
mod write;

pub use read::{CborError, DEPTH_MAX, Reader};
pub use value::Value;
pub use write::MapWriter;
