//! The binary as a user drives it: folders, commands, a daemon, real miner processes. Nothing here
//! knows the library; what it looks at is output, exit codes, files and processes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation, unreachable_pub)]

#[path = "cli/access.rs"]
mod access;
#[path = "cli/audit.rs"]
mod audit;
#[path = "cli/bad_input.rs"]
mod bad_input;
#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/bundle.rs"]
mod bundle;
#[path = "cli/cycle.rs"]
mod cycle;
#[path = "cli/deploy.rs"]
mod deploy;
#[path = "cli/dht.rs"]
mod dht;
#[path = "cli/discover.rs"]
mod discover;
#[path = "cli/levin.rs"]
mod levin;
#[path = "cli/log.rs"]
mod log;
#[path = "cli/packets.rs"]
mod packets;
#[path = "cli/pair.rs"]
mod pair;
#[path = "cli/peers.rs"]
mod peers;
#[path = "cli/protect.rs"]
mod protect;
#[path = "cli/rotate.rs"]
mod rotate;
#[path = "cli/seal.rs"]
mod seal;
#[path = "cli/secure.rs"]
mod secure;
#[path = "cli/service.rs"]
mod service;
#[path = "cli/ueps.rs"]
mod ueps;
#[path = "cli/user.rs"]
mod user;

mod support;
