//! Step 1: binary protocols as bytes and machines, each usable without a node. No socket is touched here.
//!
//! * [`ueps`]: signed packets with an intent, read strictly, and their dispatcher.
//! * [`cbor`]: the deterministic CBOR that the DHT speaks.
//! * [`levin`]: what CryptoNote nodes speak among themselves.

pub mod cbor;
pub mod levin;
pub mod ueps;
