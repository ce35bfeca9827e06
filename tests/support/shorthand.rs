//! Shorthand of the stories in the simulated world.

use rigmesh::message::{ErrorPayload, Message, MessageType, Payload, StartMiner};
use std::time::Duration;

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn start(miner: &str) -> Payload {
    Payload::StartMiner(StartMiner {
        miner_type: miner.to_owned(),
        profile_id: "p".to_owned(),
        ..StartMiner::default()
    })
}

/// The code of an `error` reply, 0 for anything else.
pub(crate) fn code(reply: &Message) -> i64 {
    if reply.kind == MessageType::Error { reply.parse::<ErrorPayload>().unwrap().code } else { 0 }
}
