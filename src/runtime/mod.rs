//! Step 7: the only room that blocks: sockets, files, processes, clocks, threads.

pub(crate) mod clock;
pub(crate) mod files;
pub(crate) mod hasher;
pub mod hidden;
pub(crate) mod process;
