//! Step 1: containers of bytes: TRIX, the sealing sigil and SMSG, and JSON as Go spells and reads it.

pub mod gojson;
pub mod reading;
pub mod sigil;
pub mod smsg;
pub mod tim;
pub mod trix;
