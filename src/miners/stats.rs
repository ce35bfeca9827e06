//! What a miner is known to do at one moment.

use serde::{Serialize, Serializer};
use std::fmt;

/// How far a miner has got. Each of the alive states says more than the one before it:
/// starting, running (the process lives), hashing (it computes), earning (a pool takes its shares).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinerState {
    /// The process was started and is within its grace period (RandomX needs half a minute for its dataset).
    Starting,
    /// The process lives; its hashrate is zero, unknown, or its API silent. The best a miner without an API shows.
    Running,
    /// The hashrate is above zero.
    Hashing,
    /// Hashing, and a share was accepted lately, or the pool is connected and has accepted shares.
    Earning,
    /// The miner says that it is paused.
    Paused,
    /// The process ended by itself and is started again after a pause.
    BackingOff {
        /// Milliseconds until the next start.
        retry_in_ms: u64,
    },
    /// It crashed too often, or cannot be executed, and is not started again. The note says why.
    Crashed,
    /// It was told to end and has not ended yet.
    Stopping,
    /// It ended as asked.
    Stopped,
}

impl MinerState {
    /// Whether the process is there.
    pub fn is_alive(self) -> bool {
        use MinerState::*;
        matches!(self, Starting | Running | Hashing | Earning | Paused | Stopping)
    }

    /// The state in one snake_case word, without its data.
    pub fn word(self) -> &'static str {
        match self {
            MinerState::Starting => "starting",
            MinerState::Running => "running",
            MinerState::Hashing => "hashing",
            MinerState::Earning => "earning",
            MinerState::Paused => "paused",
            MinerState::BackingOff { .. } => "backing_off",
            MinerState::Crashed => "crashed",
            MinerState::Stopping => "stopping",
            MinerState::Stopped => "stopped",
        }
    }
}

impl fmt::Display for MinerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Serialize for MinerState {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// The statistics of one miner. Holds no secret: no wallet, no token, no address with a password in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MinerStats {
    /// The instance's name on this rig.
    pub name: String,
    /// The kind of miner.
    #[serde(rename = "type")]
    pub miner_type: String,
    /// Hashes a second; `None` when not known. Never a zero that was not measured.
    pub hashrate_hs: Option<f64>,
    /// Accepted shares of this process.
    pub shares: u64,
    /// Rejected shares of this process.
    pub rejected: u64,
    /// Seconds since the process started; 0 when there is none.
    pub uptime_s: u64,
    /// The pool, without user or password; empty when not known.
    pub pool: String,
    /// The algorithm; empty when not known.
    pub algorithm: String,
    /// CPU threads at work; 0 when not known, or for a GPU miner.
    pub cpu_threads: u32,
    /// How far it has got.
    pub state: MinerState,
    /// Why a number is missing or the miner is not at work, in a few words.
    pub note: Option<String>,
    /// Its process, while there is one.
    pub pid: Option<u32>,
    /// How often it was started again after it ended by itself.
    pub restarts: u32,
}

impl MinerStats {
    /// Statistics of a miner of which only its name, kind and state are known.
    pub fn new(name: impl Into<String>, miner_type: impl Into<String>, state: MinerState) -> MinerStats {
        MinerStats {
            name: name.into(),
            miner_type: miner_type.into(),
            hashrate_hs: None,
            shares: 0,
            rejected: 0,
            uptime_s: 0,
            pool: String::new(),
            algorithm: String::new(),
            cpu_threads: 0,
            state,
            note: None,
            pid: None,
            restarts: 0,
        }
    }
}
