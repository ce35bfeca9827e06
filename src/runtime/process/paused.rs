//! A miner that was told to pause: its process has ended, and it is remembered as wanted.

use crate::base::{Error, Result};
use crate::miners::{LogSlice, MinerInstance, MinerState, MinerStats, StartRequest};
use std::sync::Arc;

/// What stands in its place until it is resumed.
pub(super) struct Paused {
    name: String,
    miner_type: String,
    /// How it is started again; after a restart of the daemon its profile may be gone.
    request: Result<StartRequest>,
    /// What ran before, for its last lines; none after a restart of the daemon.
    before: Option<Arc<dyn MinerInstance>>,
}

impl Paused {
    pub(super) fn new(
        name: &str,
        miner_type: &str,
        request: Result<StartRequest>,
        before: Option<Arc<dyn MinerInstance>>,
    ) -> Arc<Paused> {
        Arc::new(Paused { name: name.to_owned(), miner_type: miner_type.to_owned(), request, before })
    }

    /// How it is started again.
    pub(super) fn request(&self) -> Result<StartRequest> {
        self.request.clone().map_err(|e| Error::Failed(format!("{} cannot be resumed: {e}", self.name)))
    }
}

impl MinerInstance for Paused {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn miner_type(&self) -> String {
        self.miner_type.clone()
    }

    fn stats(&self) -> Result<MinerStats> {
        let mut stats = MinerStats::new(&self.name, &self.miner_type, MinerState::Paused);
        stats.note = match &self.request {
            Ok(_) => Some("paused by command: resume starts it again".to_owned()),
            Err(e) => Some(format!("paused by command; {e}")),
        };
        Ok(stats)
    }

    fn console_history(&self, lines: usize, since_ms: Option<i64>) -> LogSlice {
        self.before.as_ref().map(|before| before.console_history(lines, since_ms)).unwrap_or_default()
    }
}
