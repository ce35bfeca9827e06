//! Step 1: binary protocols between programs, as bytes. No socket is touched here.

pub mod levin;
