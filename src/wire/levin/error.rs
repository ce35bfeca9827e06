//! Why Levin bytes, or a value that should become some, were refused.

use crate::base::Error;
use std::fmt;

/// Why bytes were refused, or a tree cannot be written. After an error a stream cannot be read on: its frames are lost.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LevinError {
    /// A message does not begin with [`SIGNATURE`](super::SIGNATURE).
    Signature,
    /// A message says, or a fragmented one grew to, more than is allowed.
    PayloadTooLarge {
        /// Bytes stated or reached.
        size: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// Fragments do not make a message; the text says why.
    Fragment(&'static str),
    /// The bytes end inside this thing, or it states more than the bytes left can hold.
    Truncated(&'static str),
    /// A number above 2^62 − 1 cannot be written as a varint.
    VarintOverflow(u64),
    /// A storage does not begin with its two signatures.
    StorageSignature,
    /// A storage of another version than 1.
    StorageVersion(u8),
    /// A name longer than 255 bytes cannot be written. Its length.
    NameTooLong(usize),
    /// A type tag that is not known.
    UnknownType(u8),
    /// Sections inside each other, too many.
    TooDeep,
    /// More values than [`VALUES_MAX`](super::VALUES_MAX), or than were allowed.
    TooManyValues,
    /// A name stands twice in one section.
    DuplicateName(String),
    /// Bytes follow the root section. How many.
    TrailingBytes(usize),
    /// An entry has another type than the one asked for.
    TypeMismatch {
        /// The entry's name; empty for a value without one.
        name: String,
        /// The type it has.
        has: String,
    },
    /// An entry has the right type and a value that makes no sense; the text says why.
    Value {
        /// The entry's name.
        name: &'static str,
        /// What is wrong.
        why: &'static str,
    },
}

impl fmt::Display for LevinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LevinError::Signature => f.write_str("bad signature"),
            LevinError::PayloadTooLarge { size, max } => {
                write!(f, "payload exceeds maximum size: {size} bytes, allowed are {max}")
            }
            LevinError::Fragment(why) => write!(f, "fragmented message: {why}"),
            LevinError::Truncated(what) => write!(f, "truncated: {what}"),
            LevinError::VarintOverflow(value) => write!(f, "varint overflow: {value} is above 2^62-1"),
            LevinError::StorageSignature => f.write_str("bad storage signature"),
            LevinError::StorageVersion(version) => write!(f, "unsupported storage version {version}"),
            LevinError::NameTooLong(length) => write!(f, "entry name exceeds 255 bytes: {length}"),
            LevinError::UnknownType(tag) => write!(f, "unknown type tag 0x{tag:02x}"),
            LevinError::TooDeep => write!(f, "more than {} sections inside each other", super::DEPTH_MAX),
            LevinError::TooManyValues => f.write_str("too many values in one storage"),
            LevinError::DuplicateName(name) => write!(f, "the name {name:?} stands twice"),
            LevinError::TrailingBytes(count) => write!(f, "{count} bytes follow the root section"),
            LevinError::TypeMismatch { name, has } => write!(f, "value type mismatch: {name:?} is {has}"),
            LevinError::Value { name, why } => write!(f, "{name}: {why}"),
        }
    }
}

impl std::error::Error for LevinError {}

impl From<LevinError> for Error {
    fn from(error: LevinError) -> Error {
        Error::malformed("Levin message", error.to_string())
    }
}
