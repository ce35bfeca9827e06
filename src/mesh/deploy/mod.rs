//! Chunked deployment (chunked-deploy.md) in the node's machine. [`feeding`] is the controller's side, with [`feed`] its
//! table of what rigs are owed; [`pulling`] the rig's, with [`pull`] its table of what it asks for. This file tells their
//! messages and the depot's results apart.
//!
//! One transfer: the controller offers (`deploy_offer`, a command like any other); the rig's depot says what lies
//! on its disk (`deploy_state`); the rig asks (`chunk_get`), each chunk is read, sent, checked and
//! written by the depot; then it installs and says so (`deploy_done`). A chunk is a `chunk` message on a 1.0 link and a
//! body of frames of kind 3 in a secure session: there, a `chunk` message is nothing that anybody asked for.

mod feed;
mod feeding;
mod pull;
mod pulling;

pub(crate) use feed::Feeds;
pub(crate) use pull::{CHUNK_BYTES, Pulls};

use super::audit::mark_in;
use super::io::{DepotEvent, DepotTask, LinkId, Output};
use super::{MARKS_EVERY, Mesh};
use crate::base::{Error, Now};
use crate::message::{DeployCancel, ErrorCode, Message, MessageType, Payload};

/// The capability that a node announces when it speaks this.
pub(crate) const CHUNK1: &str = crate::session::secure::CHUNK1;
/// The capability of a worker whose miners have versions: `get_versions` and `rollback`.
pub(crate) const SLOTS1: &str = "slots1";
/// The capability of a worker whose miners can be paused: `pause_miner` and `resume_miner`.
pub(crate) const PAUSE1: &str = "pause1";
/// The capability of a worker whose permissions can be changed from afar: `grant` and `revoke`.
pub(crate) const MANAGE1: &str = "manage1";
/// What a rig says to a key that may not deploy.
pub(crate) const NO_PERMISSION: &str = "no permission";

impl Mesh {
    /// Messages of transfers under way, which are known by their number: no permission is looked at here, because
    /// an unknown number does nothing. Any other message is given back.
    pub(in crate::mesh) fn handle_transfer(&mut self, now: Now, link: LinkId, message: Message) -> Option<Message> {
        if message.kind == MessageType::Chunk {
            self.handle_chunk(now, link, message);
            return None;
        }
        if !matches!(message.kind, MessageType::ChunkGet | MessageType::DeployDone | MessageType::DeployCancel) {
            return Some(message);
        }
        match message.payload() {
            Ok(Payload::ChunkGet(get)) => self.handle_chunk_get(now, link, &get),
            Ok(Payload::DeployDone(done)) => self.handle_deploy_done(now, link, &done, mark_in(&message.payload)),
            Ok(Payload::DeployCancel(cancel)) => self.handle_deploy_cancel(now, link, &cancel),
            _ => log::debug!(target: "deploy", link = link.0, kind = message.kind.as_str(); "dropped: malformed"),
        }
        None
    }

    fn handle_deploy_cancel(&mut self, now: Now, link: LinkId, cancel: &DeployCancel) {
        let reason = crate::base::quote_value(&cancel.reason).into_owned();
        if let Some(id) = self.feeds.by_number(link, cancel.h) {
            return self.finish_feed(now, id, Err(refused_because(reason)));
        }
        // A rig that installs already goes on: half an installation helps nobody.
        if let Some(id) = self.pulls.by_number(link, cancel.h)
            && self.pulls.pull_mut(id).is_some_and(|p| p.stage != pull::Stage::Installing)
            && let Some(pull) = self.pulls.remove(id)
        {
            log::info!(target: "deploy", object = pull.t.as_str(); "cancelled by the controller: {reason}");
            self.outputs.push_back(Output::Depot(DepotTask::Forget { t: pull.t }));
        }
    }

    /// What the depot did.
    pub(in crate::mesh) fn handle_depot(&mut self, now: Now, event: DepotEvent) {
        match event {
            DepotEvent::Offered { pull, result, mark } => self.handle_offered(now, pull, result, mark),
            DepotEvent::Stored { pull, index, result } => self.handle_stored(now, pull, index, result),
            DepotEvent::Installed { pull, result, mark } => self.end_pull(now, pull, result, mark),
            DepotEvent::Read { feed, h, index, chunk } => self.handle_read(now, feed, h, index, chunk),
            DepotEvent::MarksFailed => {
                self.marks.touch();
                self.marks_due.get_or_insert(now.mono + MARKS_EVERY);
            }
        }
    }
}

/// A rig's own words for a refusal, with the code that belongs to them.
fn refused_because(reason: String) -> Error {
    let code = if reason == NO_PERMISSION { ErrorCode::UNAUTHORIZED } else { ErrorCode::OPERATION_FAILED };
    Error::Remote { code, message: reason }
}
