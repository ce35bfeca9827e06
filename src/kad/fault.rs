//! Why a datagram, a record, a delegation or a mailbox message is refused.

use crate::base::{Error, Refusal};
use crate::wire::cbor::CborError;
use std::fmt;

/// A refusal, sorted by what a node does about it. Nothing is allocated: floods are made of these.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The bytes do not have the form they must have.
    Malformed(&'static str),
    /// The bytes are not CBOR as dht.md §2 has it.
    Cbor(CborError),
    /// A datagram or payload is longer than fits.
    TooLarge {
        /// Bytes.
        bytes: usize,
        /// Bytes that fit.
        max: usize,
    },
    /// A message type nobody defined, or only a later version of the network.
    UnknownType(u8),
    /// The signature is not the key's over these bytes.
    Signature,
    /// A message names an address that is not its signer's.
    NotTheSender,
    /// The content of a record breaks the rules of its type.
    Payload(&'static str),
    /// A record from the future.
    Future,
    /// A record or delegation whose time is over.
    Expired,
    /// The signer may not speak for the address.
    NotAllowed(&'static str),
    /// A delegation that does not hold.
    Delegation(&'static str),
    /// A mailbox message that cannot be opened.
    Mailbox(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Malformed(what) => f.write_str(what),
            Fault::Cbor(error) => error.fmt(f),
            Fault::TooLarge { bytes, max } => write!(f, "{bytes} bytes, and {max} fit"),
            Fault::UnknownType(kind) => write!(f, "unknown message type {kind:#04x}"),
            Fault::Signature => f.write_str("wrong signature"),
            Fault::NotTheSender => f.write_str("the address is not the signer's"),
            Fault::Payload(what) => write!(f, "invalid payload: {what}"),
            Fault::Future => f.write_str("timestamp in the future"),
            Fault::Expired => f.write_str("expired"),
            Fault::NotAllowed(why) => write!(f, "not allowed: {why}"),
            Fault::Delegation(why) => write!(f, "invalid delegation: {why}"),
            Fault::Mailbox(why) => write!(f, "not opened: {why}"),
        }
    }
}

impl std::error::Error for Fault {}

impl From<CborError> for Fault {
    fn from(error: CborError) -> Fault {
        Fault::Cbor(error)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        match fault {
            Fault::Future | Fault::Expired => Refusal::Stale(fault.to_string()).into(),
            _ => Error::malformed("DHT message", fault.to_string()),
        }
    }
}
