//! Step 1: binary protocols as bytes and machines, each usable without a node.
//!
//! * [`ueps`]: signed packets with an intent, read strictly, and their dispatcher.

pub mod ueps;
