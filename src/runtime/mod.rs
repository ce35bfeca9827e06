//! Step 7: the only room that blocks: sockets, files, processes, clocks, threads.

pub(crate) mod audit;
pub(crate) mod clock;
pub(crate) mod control;
pub(crate) mod crew;
pub(crate) mod deploy;
pub(crate) mod depot;
pub(crate) mod dispatcher;
pub(crate) mod files;
pub(crate) mod hasher;
pub mod hidden;
pub(crate) mod install;
pub(crate) mod intents;
pub(crate) mod jobs;
pub(crate) mod kad;
pub(crate) mod levin;
pub(crate) mod log_filter;
mod log_repeats;
pub(crate) mod log_sink;
pub(crate) mod net;
pub(crate) mod outgoing;
pub(crate) mod pairing;
pub(crate) mod process;
pub(crate) mod queues;
pub(crate) mod service;
pub(crate) mod threads;
pub(crate) mod ueps;
pub(crate) mod whereabouts;
