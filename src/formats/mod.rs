//! Step 1: containers of bytes: TRIX, the sealing sigil and SMSG, and JSON as Go spells and reads it.

pub mod gojson;
pub mod reading;
pub mod sigil;
pub mod smsg;
pub mod squeeze;
pub mod transform;
pub mod trix;
pub mod trix_crypt;
