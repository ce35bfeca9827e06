//! Real miner processes.
//!
//! [`manager`] is what a worker sees; one thread `miner/<name>` ([`driver`]) per miner owns its child process
//! ([`child`]), its output and its API probe ([`http`]), and does what the machine in
//! [`crate::miners::supervise`] says. The thread sleeps in one `poll` call until something happens.
//! Children are started through `rigmesh __launch` ([`launch`]), which ties their life to that thread
//! and writes the pid file by which [`pidfile`] finds what a kill of this process left behind.
//!
//! [`versions`]: miners that run from slots, and the trial of a version that was just switched to.
//!
//! Files, all 0600, in the data folder: `desired.json` (what is to run, [`desired`]), `run/<name>.pid`, and
//! `run/<name>.config.json` while the miner runs.

pub(crate) mod child;
mod desired;
mod driver;
mod http;
pub(crate) mod launch;
mod manager;
mod paused;
mod pidfile;
mod plan;
mod versions;

pub use manager::ProcessMinerManager;
pub use plan::{DeclaredCommand, MinerSettings};
