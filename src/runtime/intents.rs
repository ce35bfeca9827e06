//! What the built-in intents do on this machine.

use super::clock::Clock;
use super::jobs::pause_or_resume;
use crate::base::{Error, Result};
use crate::identity::Identity;
use crate::mesh::IntentHost;
use crate::message::SUPPORTED_PROTOCOL_VERSIONS;
use crate::miners::{MinerManager, ProfileManager, StartRequest};
use serde_json::{Value, json};
use std::sync::Arc;

/// A command on a plain stream is taken this long after, or before, the time that it carries.
pub(crate) const ORDER_AGE_MAX_MS: i64 = 120_000;

/// The node behind the handlers.
pub(crate) struct Host {
    pub(crate) identity: Arc<Identity>,
    pub(crate) miners: Option<Arc<dyn MinerManager>>,
    pub(crate) profiles: Option<Arc<dyn ProfileManager>>,
    pub(crate) clock: Clock,
    /// When this process began to listen, Unix ms: what was sent before it may have been carried out by the one before.
    pub(crate) since_ms: i64,
}

impl Host {
    fn miners(&self) -> Result<&Arc<dyn MinerManager>> {
        self.miners.as_ref().ok_or_else(|| Error::Failed("this node runs no miners".to_owned()))
    }
}

impl IntentHost for Host {
    fn hello(&self) -> Value {
        let info = self.identity.info();
        json!({
            "node": info.id,
            "name": info.name,
            "role": info.role.as_str(),
            "protocols": SUPPORTED_PROTOCOL_VERSIONS,
            "ueps": crate::wire::ueps::Header::new(0).version,
            "software": concat!("rigmesh/", env!("CARGO_PKG_VERSION")),
            "time": self.clock.now().wall.unix_millis(),
        })
    }

    fn check_time(&self, at_ms: Option<i64>) -> Result<()> {
        let now_ms = self.clock.now().wall.unix_millis();
        let refused = |detail: String| Err(Error::malformed("UEPS payload", detail));
        match at_ms {
            None => {
                refused("over TCP it must carry its time, so that nobody can repeat it: {\"at\":UNIX_MS}".to_owned())
            }
            Some(at) if at < self.since_ms => {
                refused("its time is before the start of this node: it may have been carried out already".to_owned())
            }
            Some(at) if (now_ms.saturating_sub(at)).saturating_abs() > ORDER_AGE_MAX_MS => {
                let off_s = now_ms.saturating_sub(at) / 1000;
                refused(format!("its time is {off_s} s before the clock of this node: is one of the clocks wrong?"))
            }
            Some(_) => Ok(()),
        }
    }

    fn start_profile(&self, profile: &str) -> Result<String> {
        let profiles = self.profiles.as_ref().ok_or_else(|| Error::Failed("this node has no profiles".to_owned()))?;
        let profile = profiles.profile(profile)?;
        let miner_type = profile.miner_type.clone();
        Ok(self.miners()?.start_miner(&StartRequest { miner_type, profile: Some(profile), config: None })?.name())
    }

    fn pause_rig(&self, reason: &str) -> Result<String> {
        let plain: String = reason.chars().filter(|c| !c.is_control()).collect();
        let why = if plain.is_empty() { "rehab".to_owned() } else { format!("rehab: {plain}") };
        pause_or_resume(self.miners()?.as_ref(), None, Some(&why))
    }
}
