//! Step 5: what runs on a rig, as pure states and parsers (miners.md).
//!
//! * [`MinerManager`], [`MinerInstance`], [`ProfileManager`]: what a worker asks of a rig. An
//!   embedder brings its own; the real ones are [`crate::ProcessMinerManager`] and
//!   [`crate::FileProfileManager`].
//! * [`supervise`]: one child process as a machine: grace, back-off, crash loop, stop.
//! * [`trial`]: whether a version that was switched to proves itself.
//! * [`config`]: the only keys that a profile or a controller may set, by miner type.
//! * [`xmrig`]: XMRig's statistics as it really writes them.
//! * [`console`]: the last lines a miner wrote, bounded, with secrets masked.
//!
//! No process, socket, file or clock here.

pub mod config;
pub mod console;
mod profile;
mod secrets;
mod stats;
pub mod supervise;
pub mod trial;
pub mod xmrig;

pub use console::LogSlice;
pub use profile::{PROFILE_BYTES_MAX, Profile, check_profile_id};
pub use secrets::{MASK, secrets_of, without_userinfo};
pub use stats::{MinerState, MinerStats};

use crate::base::{Error, Result};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// What a controller asks for when it starts a miner. At least one of `profile` and `config` is needed.
#[derive(Clone, PartialEq)]
pub struct StartRequest {
    /// The kind of miner: `xmrig`, `command`, `sha256d`, or one of the embedder's.
    pub miner_type: String,
    /// The stored profile to run, already looked up.
    pub profile: Option<Profile>,
    /// The controller's own settings, laid over the profile's. Never trusted: see [`config::check`].
    pub config: Option<Value>,
}

impl std::fmt::Debug for StartRequest {
    /// Without the settings: they may hold a wallet.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StartRequest")
            .field("miner_type", &self.miner_type)
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

/// One miner that was started.
pub trait MinerInstance: Send + Sync {
    /// The name it is stopped and asked by; unique on this rig.
    fn name(&self) -> String;

    /// The kind of miner.
    fn miner_type(&self) -> String;

    /// What it does now. Does not block: the numbers are those of the last probe.
    fn stats(&self) -> Result<MinerStats>;

    /// The newest lines it wrote, oldest first: at most `lines`, none older than `since_ms` (Unix milliseconds).
    fn console_history(&self, lines: usize, since_ms: Option<i64>) -> LogSlice;
}

/// Starts and stops the miners of a rig.
pub trait MinerManager: Send + Sync {
    /// Starts a miner. May block until it is seen to run or to fail (the real manager: half a second).
    fn start_miner(&self, request: &StartRequest) -> Result<Arc<dyn MinerInstance>>;

    /// Stops a miner and returns when it is gone (the real manager: at most 15 s).
    fn stop_miner(&self, name: &str) -> Result<()>;

    /// Ends a miner's work until [`MinerManager::resume_miner`], also across restarts; on `Ok` that is on disk. One that is
    /// paused already stays so.
    fn pause_miner(&self, name: &str) -> Result<()> {
        Err(Error::Failed(format!("{name} cannot be paused on this rig")))
    }

    /// Starts a paused miner again. One that runs goes on.
    fn resume_miner(&self, name: &str) -> Result<()> {
        Err(Error::Failed(format!("{name} cannot be resumed on this rig")))
    }

    /// The rig as a whole is to rest, for this reason, or no longer (`None`). While it does, nothing is started or resumed, also
    /// after a restart; on `Ok` that is on disk. Whoever asks for it pauses and resumes the miners one by one as well. A manager
    /// that keeps no such state does nothing.
    fn hold(&self, why: Option<&str>) -> Result<()> {
        let _ = why;
        Ok(())
    }

    /// Why the rig rests, when it does.
    fn held(&self) -> Option<String> {
        None
    }

    /// All miners that were started and not stopped, by name. A crashed one is among them.
    fn list_miners(&self) -> Vec<Arc<dyn MinerInstance>>;

    /// One of them.
    fn miner(&self, name: &str) -> Result<Arc<dyn MinerInstance>>;

    /// Another version of the slot is current: its running miners go on with that one. Returns at once; what is
    /// restarted so has not crashed.
    fn version_switched(&self, slot: &str) {
        let _ = slot;
    }

    /// The node is stopping: end what runs within `deadline`, but remember that it is wanted.
    fn shutdown(&self, deadline: Duration) {
        let _ = deadline;
    }
}

/// Stores the profiles of a rig.
pub trait ProfileManager: Send + Sync {
    /// One profile. [`Error::NotFound`] when there is none, [`Error::Malformed`] when its file is broken.
    fn profile(&self, id: &str) -> Result<Profile>;

    /// Adds or replaces a profile; on `Ok` it survives a power cut.
    fn save_profile(&self, profile: &Profile) -> Result<()>;

    /// The profiles that can be read, by id.
    fn list_profiles(&self) -> Result<Vec<Profile>>;

    /// Removes a profile. [`Error::NotFound`] when there is none.
    fn remove_profile(&self, id: &str) -> Result<()>;

    /// The profiles that are there and cannot be read, with the reason.
    fn broken_profiles(&self) -> Vec<(String, Error)> {
        Vec::new()
    }
}
