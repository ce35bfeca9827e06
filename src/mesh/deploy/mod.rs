//! Chunked deployment (chunked-deploy.md) in the node's machine: [`feed`] is the controller's table of what rigs
//! are owed, [`pull`] the rig's of what it asks for. This file carries their messages and the depot's
//! results in and out.
//!
//! One transfer: the controller offers (`deploy_offer`, a command like any other); the rig's depot says what lies
//! on its disk (`deploy_state`); the rig asks (`chunk_get`), each chunk is read, sent (`chunk`), checked and
//! written by the depot; then it installs and says so (`deploy_done`).

mod feed;
mod pull;

pub(crate) use feed::{Feed, Feeds};
pub(crate) use pull::{CHUNK_BYTES, Pulls};

use super::io::{
    Answer, CallId, DepotEvent, DepotTask, FeedId, FeedObject, LinkId, Offered, Output, Owed, Permit, PullId, Stored,
};
use super::{MARKS_EVERY, Mesh, not_connected, worker};
use crate::base::{Error, Now, Result};
use crate::message::{
    ChunkGet, DeployCancel, DeployDone, DeployOffer, DeployState, ErrorCode, Message, MessageType, OfferState, Payload,
    RawPayload,
};
use crate::peers::Grants;
use crate::session::Lane;
use pull::{Arrival, Due, Pull, Stage};
use std::sync::Arc;
use std::time::Duration;

/// The capability that a node announces when it speaks this.
pub(crate) const CHUNK1: &str = "chunk1";
/// The capability of a worker whose miners have versions: `get_versions` and `rollback`.
pub(crate) const SLOTS1: &str = "slots1";
/// What a rig says to a key that may not deploy.
pub(crate) const NO_PERMISSION: &str = "no permission";
/// Transfers that a rig takes at once.
const PULLS_MAX: usize = 2;
/// Deployments a controller may owe, all rigs together.
const FEEDS_MAX: usize = 16_384;
/// What is owed is written this long after it changed: many changes, one write.
const OWED_AFTER: Duration = Duration::from_millis(200);
/// Largest object over a 1.0 link, bytes.
const OBJECT_BYTES_MAX: u64 = 512 << 20;

// --- the controller's side ---

impl Mesh {
    /// A handle wants a rig to have an object.
    #[allow(clippy::too_many_arguments)] // a command's fields, taken apart once
    pub(super) fn deploy(
        &mut self,
        now: Now,
        call: Option<CallId>,
        peer: String,
        object: Arc<FeedObject>,
        profile: RawPayload,
        activate: bool,
        keep: bool,
    ) {
        let refused = match (self.stopping, self.feeds.len() >= FEEDS_MAX) {
            (true, _) => Some(Error::ShuttingDown),
            (_, true) => Some(Error::Busy),
            _ => None,
        };
        if let Some(why) = refused {
            if let Some(call) = call {
                self.answer(call, Err(why));
            }
            return;
        }
        let mut feed = Feed::new(now.mono, call, peer, object);
        (feed.profile, feed.activate, feed.keep) = (profile, activate, keep);
        if let Some(replaced) = self.feeds.insert(feed) {
            self.answer(replaced, Err(Error::Failed("replaced by the same deployment, asked for again".to_owned())));
        }
        self.owed_changed(now);
        self.drive_feeds(now);
    }

    /// A handle wants a rig's deployments forgotten; how many there were.
    pub(super) fn cancel_feeds(&mut self, now: Now, peer: &str) -> usize {
        let ids = self.feeds.by_peer(peer);
        self.outputs.push_back(Output::Depot(DepotTask::ForgetOwed { peer: peer.to_owned(), t: None }));
        for id in &ids {
            self.cancel_feed(now, *id, "cancelled", Error::Failed("the deployment was cancelled".to_owned()));
        }
        ids.len()
    }

    fn cancel_feed(&mut self, now: Now, id: FeedId, reason: &str, why: Error) {
        if let Some(feed) = self.feeds.feed_mut(id)
            && let (Some(link), h) = (feed.link(), feed.h)
        {
            let cancel = DeployCancel { h, reason: reason.to_owned() };
            self.send_request(now, link, &Payload::DeployCancel(cancel));
        }
        self.finish_feed(now, id, Err(why));
    }

    /// Gives turns, and sees to what is late.
    pub(super) fn drive_feeds(&mut self, now: Now) {
        if self.stopping {
            return;
        }
        for id in self.feeds.overdue(now.mono) {
            self.feed_is_late(now, id);
        }
        for id in self.feeds.take_turns(now.mono, self.config.feeding_max) {
            self.begin_feed(now, id);
        }
        if self.owed_due.is_some_and(|at| at <= now.mono) {
            self.save_owed();
        }
    }

    fn begin_feed(&mut self, now: Now, id: FeedId) {
        let Some(feed) = self.feeds.feed_mut(id) else { return };
        let peer = feed.peer.clone();
        let Some(link) = self.links.active_by_peer(&peer) else {
            feed.link_up_by(now.mono, true);
            if let Err(e) = self.dial_peer(&peer) {
                self.feed_failed(now, id, &e);
            }
            return;
        };
        let Some((introduced, takes)) = self.links.link(link).map(|l| (l.dialogue.is_introduced(), l.speaks(CHUNK1)))
        else {
            return;
        };
        if takes {
            self.offer(now, id, link);
        } else if introduced {
            self.finish_feed(now, id, Ok(Answer::Plain));
        } else {
            feed.link_up_by(now.mono, false);
        }
    }

    fn offer(&mut self, now: Now, id: FeedId, link: LinkId) {
        let h = u32::try_from(self.rng.below(1 << 32)).unwrap_or(0);
        let Some(feed) = self.feeds.feed_mut(id) else { return };
        let offer = DeployOffer {
            t: feed.object.t.clone(),
            h,
            manifest: feed.object.manifest.to_string(),
            profile: feed.profile.clone(),
            activate: feed.activate,
        };
        let peer = feed.peer.clone();
        match self.send_request(now, link, &Payload::DeployOffer(offer)) {
            Some(request) => {
                if let Some(feed) = self.feeds.feed_mut(id) {
                    feed.offered(now.mono, link, request, h);
                }
            }
            None => self.feed_failed(now, id, &not_connected(&peer)),
        }
    }

    fn feed_is_late(&mut self, now: Now, id: FeedId) {
        let Some(feed) = self.feeds.feed_mut(id) else { return };
        let peer = feed.peer.clone();
        match (feed.link(), self.links.active_by_peer(&peer)) {
            // It said nothing for long: the same offer asks how far it is.
            (Some(_), Some(link)) => self.offer(now, id, link),
            // A link, and no announcement: the peer is no RigMesh node.
            (None, Some(link)) if self.links.link(link).is_some_and(|l| !l.speaks(CHUNK1)) => {
                self.finish_feed(now, id, Ok(Answer::Plain));
            }
            (None, Some(link)) => self.offer(now, id, link),
            (_, None) => {
                let why = Error::TimedOut(format!("no link to {peer}"));
                self.feed_failed(now, id, &why);
            }
        }
    }

    /// It is tried again, or its caller is told.
    fn feed_failed(&mut self, now: Now, id: FeedId, why: &Error) {
        let Some(feed) = self.feeds.feed_mut(id) else { return };
        let Some(told) = feed.fail(now.mono, why) else { return };
        if feed.keep {
            if let Some(call) = feed.call.take() {
                self.answer(call, Err(told));
            }
        } else {
            self.finish_feed(now, id, Err(told));
        }
    }

    fn finish_feed(&mut self, now: Now, id: FeedId, result: Result<Answer>) {
        let Some(feed) = self.feeds.remove(id) else { return };
        match &result {
            Ok(_) => log::info!(target: "deploy", peer = feed.peer.as_str(), object = feed.object.t.as_str(); "done"),
            Err(e) => {
                log::warn!(target: "deploy", peer = feed.peer.as_str(), object = feed.object.t.as_str(); "failed: {e}")
            }
        }
        if let Some(call) = feed.call {
            self.answer(call, result);
        }
        self.owed_changed(now);
    }

    /// A link was proven, or its peer showed whether it announces itself.
    pub(super) fn feeds_link_up(&mut self, now: Now, link: LinkId) {
        let Some((peer, introduced)) = self.links.link(link).map(|l| (l.peer.clone(), l.dialogue.is_introduced()))
        else {
            return;
        };
        if !self.links.is_active(link) {
            return;
        }
        for id in self.feeds.by_peer(&peer) {
            let Some(feed) = self.feeds.feed_mut(id) else { continue };
            match &feed.stage {
                feed::Stage::Linking { .. } if introduced => self.begin_feed(now, id),
                feed::Stage::Linking { .. } => feed.link_up_by(now.mono, false),
                feed::Stage::Parked => feed.stage = feed::Stage::Queued { not_before: now.mono },
                _ => {}
            }
        }
    }

    /// A link is gone, or could not be made.
    pub(super) fn feeds_link_down(&mut self, now: Now, link: LinkId, why: &Error) {
        for id in self.feeds.by_link(link) {
            self.feed_failed(now, id, why);
        }
    }

    /// A dial to a rig failed.
    pub(super) fn feeds_unreachable(&mut self, now: Now, peer: &str, why: &Error) {
        for id in self.feeds.by_peer(peer) {
            if self.feeds.feed_mut(id).is_some_and(|f| matches!(f.stage, feed::Stage::Linking { .. })) {
                self.feed_failed(now, id, why);
            }
        }
    }

    /// The reply to an offer. `false` when it is the reply to something else.
    pub(super) fn handle_offer_reply(&mut self, now: Now, request: &str, message: &Message) -> bool {
        let Some(id) = self.feeds.by_request(request) else { return false };
        let refused = |code, message: String| Error::Remote { code, message };
        match message.payload() {
            Ok(Payload::DeployState(state)) => match state.state {
                OfferState::Need | OfferState::Have => {
                    if let Some(feed) = self.feeds.feed_mut(id)
                        && let Some(link) = feed.link()
                    {
                        feed.accepted(now.mono, link, state.missing);
                    }
                }
                OfferState::Installed => {
                    self.finish_feed(now, id, Ok(Answer::Deployed { slot: state.slot, already: true }));
                }
                OfferState::Busy => self.feeds.postpone(now.mono, id),
                OfferState::Refused | OfferState::Unknown => {
                    self.finish_feed(now, id, Err(refused_because(state.reason)));
                }
            },
            Ok(Payload::Error(e)) => self.finish_feed(now, id, Err(refused(e.code, e.message))),
            Ok(_) => self.finish_feed(now, id, Err(Error::malformed("deploy_state", "another type came"))),
            Err(e) => self.finish_feed(now, id, Err(e)),
        }
        true
    }

    fn handle_chunk_get(&mut self, now: Now, link: LinkId, get: &ChunkGet) {
        let Some(id) = self.feeds.by_number(link, get.h) else { return };
        if let Some(feed) = self.feeds.feed_mut(id) {
            feed.want(now.mono, &get.want);
        }
        self.read_next(id);
    }

    fn read_next(&mut self, id: FeedId) {
        let Some(feed) = self.feeds.feed_mut(id) else { return };
        let Some(index) = feed.next_wanted() else { return };
        let task = DepotTask::Read { feed: id, h: feed.h, object: feed.object.clone(), index };
        self.outputs.push_back(Output::Depot(task));
    }

    fn handle_read(&mut self, now: Now, id: FeedId, h: u32, index: u32, chunk: Result<RawPayload>) {
        let Some(feed) = self.feeds.feed_mut(id).filter(|f| f.h == h) else { return };
        let Some(link) = feed.link() else { return };
        let raw = match chunk {
            Ok(raw) => raw,
            Err(Error::Busy) => {
                feed.reading = false; // the rig will ask again
                return;
            }
            Err(e) => return self.cancel_feed(now, id, &e.to_string(), e),
        };
        let bytes =
            (feed.object.size - CHUNK_BYTES.saturating_mul(index.into()).min(feed.object.size)).min(CHUNK_BYTES);
        feed.sent(now.mono, bytes);
        let Some(peer) = self.links.link(link).filter(|l| !l.closing).map(|l| l.peer.clone()) else { return };
        let payload = Payload::Other { kind: MessageType::Chunk, raw };
        let message = Message::new(now, &mut self.rng, &self.id, &peer, &payload);
        self.outputs.push_back(Output::Send { link, lane: Lane::Data, message, call: None });
        self.read_next(id);
    }

    fn handle_deploy_done(&mut self, now: Now, link: LinkId, done: &DeployDone) {
        let Some(id) = self.feeds.by_number(link, done.h) else { return };
        if self.feeds.feed_mut(id).is_none_or(|f| f.object.t != done.t) {
            return;
        }
        let result = match (done.ok, done.code) {
            (true, _) => Ok(Answer::Deployed { slot: done.slot, already: false }),
            (false, code) => {
                Err(Error::Remote { code: code.unwrap_or(ErrorCode::OPERATION_FAILED), message: done.error.clone() })
            }
        };
        self.finish_feed(now, id, result);
    }

    fn owed_changed(&mut self, now: Now) {
        self.owed_due.get_or_insert(now.mono + OWED_AFTER);
    }

    fn save_owed(&mut self) {
        self.owed_due = None;
        let owed = self.feeds.iter().map(|(_, f)| Owed {
            peer: f.peer.clone(),
            object: f.object.clone(),
            profile: f.profile.clone(),
            activate: f.activate,
        });
        let task = DepotTask::SaveOwed(owed.collect());
        self.outputs.push_back(Output::Depot(task));
    }

    /// The node stops: callers are told; what is owed stays in its file.
    pub(super) fn feeds_shutdown(&mut self) {
        if self.owed_due.is_some() {
            self.save_owed();
        }
        let calls: Vec<CallId> = self.feeds.iter().filter_map(|(_, f)| f.call).collect();
        for call in calls {
            self.answer(call, Err(Error::ShuttingDown));
        }
    }
}

// --- the rig's side ---

impl Mesh {
    /// Messages of transfers under way, which are known by their number: no permission is looked at here, because
    /// an unknown number does nothing. `false` for any other message.
    pub(super) fn handle_transfer(&mut self, now: Now, link: LinkId, message: &Message) -> bool {
        if message.kind == MessageType::Chunk {
            self.handle_chunk(now, link, message);
            return true;
        }
        if !matches!(message.kind, MessageType::ChunkGet | MessageType::DeployDone | MessageType::DeployCancel) {
            return false;
        }
        match message.payload() {
            Ok(Payload::ChunkGet(get)) => self.handle_chunk_get(now, link, &get),
            Ok(Payload::DeployDone(done)) => self.handle_deploy_done(now, link, &done),
            Ok(Payload::DeployCancel(cancel)) => self.handle_deploy_cancel(now, link, &cancel),
            _ => log::debug!(target: "deploy", link = link.0, kind = message.kind.as_str(); "dropped: malformed"),
        }
        true
    }

    fn handle_deploy_cancel(&mut self, now: Now, link: LinkId, cancel: &DeployCancel) {
        let reason = crate::base::quote_value(&cancel.reason).into_owned();
        if let Some(id) = self.feeds.by_number(link, cancel.h) {
            return self.finish_feed(now, id, Err(refused_because(reason)));
        }
        // A rig that installs already goes on: half an installation helps nobody.
        if let Some(id) = self.pulls.by_number(link, cancel.h)
            && self.pulls.pull_mut(id).is_some_and(|p| p.stage != Stage::Installing)
            && let Some(pull) = self.pulls.remove(id)
        {
            log::info!(target: "deploy", object = pull.t.as_str(); "cancelled by the controller: {reason}");
            self.outputs.push_back(Output::Depot(DepotTask::Forget { t: pull.t }));
        }
    }

    /// An offer from a key that may deploy; its marks, if any, are on disk before the depot acts.
    pub(super) fn handle_offer(&mut self, now: Now, link: LinkId, permit: Permit, message: Message) {
        let offer = match message.parse::<DeployOffer>() {
            Ok(offer) => offer,
            Err(e) => return self.refuse(now, link, &message, ErrorCode::OPERATION_FAILED, &e.to_string()),
        };
        if let Some(id) = self.pulls.by_object(&offer.t)
            && let Some(pull) = self.pulls.pull_mut(id)
        {
            if pull.key != permit.key {
                return self.say_state(now, link, &message, &offer, OfferState::Busy, 0, None, "");
            }
            // The same key asks how far we are, perhaps over a new link and under a new number.
            (pull.link, pull.h) = (link, offer.h);
            match pull.stage {
                Stage::Opening => pull.offer = message,
                Stage::Pulling => {
                    let missing = pull.outstanding().saturating_mul(CHUNK_BYTES);
                    pull.ask_anew(now.mono);
                    self.say_state(now, link, &message, &offer, OfferState::Need, missing, None, "");
                    self.drive_pull(now, id);
                }
                Stage::Installing => self.say_state(now, link, &message, &offer, OfferState::Have, 0, None, ""),
            }
            return;
        }
        if self.pulls.len() >= PULLS_MAX {
            return self.say_state(now, link, &message, &offer, OfferState::Busy, 0, None, "");
        }
        let marks = self.marks.is_dirty().then(|| self.snapshot_marks(now));
        let mut pull = Pull::new(now, offer.t.clone(), offer.h, link, permit.key, message);
        (pull.profile, pull.activate) = (offer.profile.clone(), offer.activate);
        let id = self.pulls.insert(pull);
        let size_max = OBJECT_BYTES_MAX;
        let task = DepotTask::Offer { pull: id, permit, marks, offer: Box::new(offer), size_max };
        self.outputs.push_back(Output::Depot(task));
    }

    /// An offer that is not even looked at.
    pub(super) fn refuse_offer(&mut self, now: Now, link: LinkId, message: &Message, reason: &str) {
        match message.parse::<DeployOffer>() {
            Ok(offer) => self.say_state(now, link, message, &offer, OfferState::Refused, 0, None, reason),
            Err(e) => self.refuse(now, link, message, ErrorCode::OPERATION_FAILED, &e.to_string()),
        }
    }

    #[allow(clippy::too_many_arguments)] // the fields of one message
    fn say_state(
        &mut self,
        now: Now,
        link: LinkId,
        request: &Message,
        offer: &DeployOffer,
        state: OfferState,
        missing: u64,
        slot: Option<u32>,
        reason: &str,
    ) {
        let state = DeployState { t: offer.t.clone(), h: offer.h, state, missing, slot, reason: reason.to_owned() };
        self.reply(now, link, request, &Payload::DeployState(state));
    }

    /// What the depot did.
    pub(super) fn handle_depot(&mut self, now: Now, event: DepotEvent) {
        match event {
            DepotEvent::Offered { pull, result } => self.handle_offered(now, pull, result),
            DepotEvent::Stored { pull, index, result } => self.handle_stored(now, pull, index, result),
            DepotEvent::Installed { pull, result } => self.handle_installed(now, pull, result),
            DepotEvent::Read { feed, h, index, chunk } => self.handle_read(now, feed, h, index, chunk),
            DepotEvent::MarksFailed => {
                self.marks.touch();
                self.marks_due.get_or_insert(now.mono + MARKS_EVERY);
            }
        }
    }

    fn handle_offered(&mut self, now: Now, id: PullId, result: Result<Offered>) {
        let Some(pull) = self.pulls.pull_mut(id) else { return };
        let (link, request) = (pull.link, pull.offer.clone());
        let asked = DeployOffer { t: pull.t.clone(), h: pull.h, ..DeployOffer::default() };
        match result {
            Ok(Offered::Need { missing, bytes }) => {
                pull.begin(now.mono, missing);
                self.say_state(now, link, &request, &asked, OfferState::Need, bytes, None, "");
                self.drive_pull(now, id);
            }
            Ok(Offered::Have) => {
                self.say_state(now, link, &request, &asked, OfferState::Have, 0, None, "");
                self.install(id);
            }
            Ok(Offered::Installed { slot }) => {
                self.pulls.remove(id);
                self.say_state(now, link, &request, &asked, OfferState::Installed, 0, Some(slot), "");
            }
            Ok(Offered::Refused(reason)) => {
                self.pulls.remove(id);
                log::warn!(target: "deploy", peer = request.from.as_str(), object = asked.t.as_str(); "refused: {reason}");
                self.say_state(now, link, &request, &asked, OfferState::Refused, 0, None, &reason);
            }
            Err(e) => {
                self.pulls.remove(id);
                let Payload::Error(error) = worker::failure(&e) else { return };
                self.refuse(now, link, &request, error.code, &error.message);
            }
        }
    }

    /// Asks for more, or installs when everything is there.
    fn drive_pull(&mut self, now: Now, id: PullId) {
        let Some(pull) = self.pulls.pull_mut(id) else { return };
        if pull.is_complete() {
            return self.install(id);
        }
        let want = pull.want(now.mono);
        if !want.is_empty() {
            let (link, get) = (pull.link, ChunkGet { h: pull.h, want });
            self.send_request(now, link, &Payload::ChunkGet(get));
        }
    }

    fn install(&mut self, id: PullId) {
        let trust_all = self.config.trust_all;
        let Some(pull) = self.pulls.pull_mut(id) else { return };
        pull.stage = Stage::Installing;
        let grant = (!trust_all).then_some(Grants::DEPLOY);
        let task = DepotTask::Install {
            pull: id,
            permit: Permit { key: pull.key, grant },
            t: pull.t.clone(),
            profile: pull.profile.clone(),
            activate: pull.activate,
        };
        self.outputs.push_back(Output::Depot(task));
    }

    fn handle_chunk(&mut self, now: Now, link: LinkId, message: &Message) {
        let Some((h, index)) = chunk_head(message.payload.as_str()) else { return };
        let wanted = self
            .pulls
            .by_number(link, h)
            .filter(|id| self.pulls.pull_mut(*id).is_some_and(|p| p.handle_chunk(now.mono, index) == Arrival::Wanted));
        let Some(id) = wanted else {
            if let Some(link) = self.links.link_mut(link) {
                link.dialogue.count_dropped();
            }
            return;
        };
        let Some(t) = self.pulls.pull_mut(id).map(|p| p.t.clone()) else { return };
        let task = DepotTask::Store { pull: id, t, index, chunk: message.payload.clone() };
        self.outputs.push_back(Output::Depot(task));
    }

    fn handle_stored(&mut self, now: Now, id: PullId, index: u32, result: Result<Stored>) {
        let Some(pull) = self.pulls.pull_mut(id) else { return };
        let fault = match result {
            Ok(Stored::Kept) => {
                pull.handle_stored(index);
                None
            }
            Ok(Stored::Wrong) => (!pull.handle_wrong(index)).then(|| "bad data".to_owned()),
            Err(e) => Some(e.to_string()),
        };
        match fault {
            None => self.drive_pull(now, id),
            Some(why) => self.end_pull(now, id, Err(Error::Failed(why))),
        }
    }

    fn handle_installed(&mut self, now: Now, id: PullId, result: Result<u32>) {
        self.end_pull(now, id, result);
    }

    /// Tells the controller how it ended.
    fn end_pull(&mut self, now: Now, id: PullId, result: Result<u32>) {
        let Some(pull) = self.pulls.remove(id) else { return };
        let done = match &result {
            Ok(slot) => DeployDone { ok: true, slot: Some(*slot), ..DeployDone::default() },
            Err(e) => {
                let code = match worker::failure(e) {
                    Payload::Error(error) => error.code,
                    _ => ErrorCode::OPERATION_FAILED,
                };
                DeployDone { code: Some(code), error: e.to_string(), ..DeployDone::default() }
            }
        };
        match &result {
            Ok(slot) => log::info!(target: "deploy", object = pull.t.as_str(), slot = *slot; "installed"),
            Err(e) => {
                log::warn!(target: "deploy", object = pull.t.as_str(); "failed: {e}");
                self.outputs.push_back(Output::Depot(DepotTask::LetGo { t: pull.t.clone() }));
            }
        }
        let done = DeployDone { t: pull.t, h: pull.h, ..done };
        self.send_request(now, pull.link, &Payload::DeployDone(done));
    }

    /// Pings, asking again, letting go.
    pub(super) fn drive_pulls(&mut self, now: Now) {
        for id in self.pulls.ids() {
            while let Some(pull) = self.pulls.pull_mut(id) {
                let link = pull.link;
                match pull.handle_timeout(now.mono) {
                    Some(Due::Ping) => self.ping_link(now, link),
                    Some(Due::AskAgain) => self.drive_pull(now, id),
                    Some(Due::LetGo) => {
                        log::warn!(target: "deploy", object = pull.t.as_str(); "no data for two minutes: waiting for the next offer");
                        self.let_go(id);
                    }
                    None => break,
                }
            }
        }
    }

    fn ping_link(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.links.link_mut(id).filter(|l| !l.closing) else { return };
        let message = link.dialogue.ping(now, &mut self.rng);
        self.outputs.push_back(Output::Send { link: id, lane: Lane::Control, message, call: None });
        self.links.refresh_timer(id);
    }

    /// A round trip was measured on a link.
    pub(super) fn pulls_round_trip(&mut self, now: Now, link: LinkId, round_trip: Duration) {
        let ids: Vec<PullId> = self.pulls.iter().filter(|(_, p)| p.link == link).map(|(id, _)| id).collect();
        for id in ids {
            if let Some(pull) = self.pulls.pull_mut(id) {
                pull.handle_round_trip(now.mono, round_trip);
            }
            self.drive_pull(now, id);
        }
    }

    /// A link is gone: what was pulled over it stays on disk for the next offer. An install goes on.
    pub(super) fn pulls_link_down(&mut self, link: LinkId) {
        let gone: Vec<PullId> = self
            .pulls
            .iter()
            .filter(|(_, p)| p.link == link && p.stage != Stage::Installing)
            .map(|(id, _)| id)
            .collect();
        for id in gone {
            self.let_go(id);
        }
    }

    /// The transfer ends here; what is on disk stays for the next offer.
    fn let_go(&mut self, id: PullId) {
        if let Some(pull) = self.pulls.remove(id) {
            self.outputs.push_back(Output::Depot(DepotTask::LetGo { t: pull.t }));
        }
    }

    /// Permissions changed: transfers of keys that may no longer deploy end, and their data goes.
    pub(super) fn pulls_access_changed(&mut self, now: Now) {
        if self.config.trust_all {
            return;
        }
        // Also what such keys sent earlier, and is waiting for its rest.
        self.outputs.push_back(Output::Depot(DepotTask::CheckKeys));
        let own = self.marks.own(now.wall);
        let lost: Vec<PullId> = {
            let registry = self.registry.read();
            let may = |pull: &Pull| registry.grants(&pull.key, own).require(Grants::DEPLOY).is_ok();
            self.pulls.iter().filter(|(_, p)| !may(p)).map(|(id, _)| id).collect()
        };
        for id in lost {
            let Some(pull) = self.pulls.remove(id) else { continue };
            let cancel = DeployCancel { h: pull.h, reason: NO_PERMISSION.to_owned() };
            self.send_request(now, pull.link, &Payload::DeployCancel(cancel));
        }
    }
}

/// A rig's own words for a refusal, with the code that belongs to them.
fn refused_because(reason: String) -> Error {
    let code = if reason == NO_PERMISSION { ErrorCode::UNAUTHORIZED } else { ErrorCode::OPERATION_FAILED };
    Error::Remote { code, message: reason }
}

/// Number and index of a chunk's payload, without its bytes being decoded here: that is the depot's work.
fn chunk_head(text: &str) -> Option<(u32, u32)> {
    #[derive(serde::Deserialize)]
    struct Head {
        h: u32,
        i: u32,
    }
    let head: Head = serde_json::from_str(text).ok()?;
    Some((head.h, head.i))
}
