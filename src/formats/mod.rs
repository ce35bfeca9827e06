//! Step 1: the ciphers; containers of bytes: TRIX with its named transforms and encrypted payloads, the sealing sigil, SMSG,
//! STMF, TIM and STIM; and JSON as Go spells and reads it.

pub mod ciphers;
pub mod gojson;
pub mod reading;
pub mod sigil;
pub mod smsg;
pub mod squeeze;
pub mod stmf;
pub mod tim;
pub mod transform;
pub mod trix;
pub mod trix_crypt;
