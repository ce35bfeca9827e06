//! Step 1: containers of bytes: TRIX, the sealing sigil and SMSG.

pub mod gojson;
pub mod reading;
