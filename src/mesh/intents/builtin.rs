//! What packets mean for a node by themselves: `handshake` says who it is; on a rig `compute` starts a profile that it
//! has, and `rehab` pauses all its miners until somebody resumes them.

use super::{IntentContext, IntentSource, Intents};
use crate::base::{Error, Result, check_json};
use crate::wire::ueps::{Packet, intent};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// What the handlers work on.
pub(crate) trait IntentHost: Send + Sync {
    /// Who this node is and what it speaks.
    fn hello(&self) -> Value;
    /// Whether a command that carries this time (Unix ms) is of now: for streams, which have no other protection
    /// against repetition that outlives this process.
    fn check_time(&self, at_ms: Option<i64>) -> Result<()>;
    /// Starts a profile of the rig; the miner's name.
    fn start_profile(&self, profile: &str) -> Result<String>;
    /// Pauses the rig; the names of its miners.
    fn pause_rig(&self, reason: &str) -> Result<String>;
}

/// What `compute` and `rehab` carry; other keys are the sender's own.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Order {
    at: Option<i64>,
    profile: String,
    reason: String,
}

/// Registers the handlers; those of a rig only where there are miners.
pub(crate) fn register_builtin(intents: &Intents, host: Arc<dyn IntentHost>, works: bool) {
    let me = Arc::clone(&host);
    intents.register_handler(intent::HANDSHAKE, move |context, _| {
        context.answer(me.hello());
        Ok(())
    });
    if !works {
        return;
    }
    let rig = Arc::clone(&host);
    intents.register_handler(intent::COMPUTE, move |context, packet| {
        let order = read_order(context, packet, &*rig)?;
        if order.profile.is_empty() {
            let detail = "the payload of compute names no profile: {\"profile\":\"ID\"}";
            return Err(Error::malformed("UEPS packet", detail));
        }
        let miner = rig.start_profile(&order.profile)?;
        context.answer(json!({ "miner": miner }));
        Ok(())
    });
    let rig = host;
    intents.register_handler(intent::REHAB, move |context, packet| {
        let order = read_order(context, packet, &*rig)?;
        let miners = rig.pause_rig(&order.reason)?;
        context.answer(json!({ "paused": miners }));
        Ok(())
    });
}

fn read_order(context: &IntentContext, packet: &Packet<'_>, host: &dyn IntentHost) -> Result<Order> {
    let order: Order = match packet.payload() {
        b"" => Order::default(),
        payload => {
            let text = check_json("UEPS payload", payload)?;
            serde_json::from_str(text).map_err(|e| Error::malformed("UEPS payload", e.to_string()))?
        }
    };
    if let IntentSource::Tcp { .. } = context.source() {
        host.check_time(order.at)?;
    }
    Ok(order)
}
