//! Step 7: the only room that blocks: sockets, files, processes, clocks, threads.

pub(crate) mod clock;
pub(crate) mod control;
pub(crate) mod crew;
pub(crate) mod dispatcher;
pub(crate) mod files;
pub(crate) mod hasher;
pub mod hidden;
pub(crate) mod jobs;
pub(crate) mod log_sink;
pub(crate) mod net;
pub(crate) mod process;
pub(crate) mod queues;
pub(crate) mod threads;
