//! The controller's side of deployments: turns, offers, chunks that are asked for, and what is owed.

use super::super::audit::mark_in;
use super::super::io::{Answer, CallId, DepotTask, FeedId, FeedObject, LinkId, Output, Owed, Parcel};
use super::super::{Mesh, not_connected};
use super::feed::{Feed, Stage};
use super::pull::CHUNK_BYTES;
use super::{CHUNK1, refused_because};
use crate::base::{Error, Now, Result};
use crate::bundle::OBJECT_BYTES_MAX_V1;
use crate::message::{
    ChunkGet, DeployCancel, DeployDone, DeployOffer, ErrorCode, Message, MessageType, OfferState, Payload, RawPayload,
};
use crate::peers::AuditMark;
use crate::session::Lane;
use std::sync::Arc;
use std::time::Duration;

/// Deployments a controller may owe, all rigs together.
const FEEDS_MAX: usize = 16_384;
/// What is owed is written this long after it changed: many changes, one write.
const OWED_AFTER: Duration = Duration::from_millis(200);

impl Mesh {
    /// A handle wants a rig to have an object.
    #[allow(clippy::too_many_arguments)] // a command's fields, taken apart once
    pub(in crate::mesh) fn deploy(
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
    pub(in crate::mesh) fn cancel_feeds(&mut self, now: Now, peer: &str) -> usize {
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
    pub(in crate::mesh) fn drive_feeds(&mut self, now: Now) {
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
        let secure = self.links.link(link).is_some_and(|link| link.dialogue.is_secure());
        let Some(feed) = self.feeds.feed_mut(id) else { return };
        if !secure && feed.object.size > OBJECT_BYTES_MAX_V1 {
            let (size, max) = (feed.object.size, OBJECT_BYTES_MAX_V1);
            let why =
                format!("{size} bytes are too large for a 1.0 link, which takes {max}; a secure session takes more");
            return self.finish_feed(now, id, Err(Error::Config(why)));
        }
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

    pub(in crate::mesh) fn finish_feed(&mut self, now: Now, id: FeedId, result: Result<Answer>) {
        let Some(feed) = self.feeds.remove(id) else { return };
        match &result {
            Err(e) | Ok(Answer::NotDeployed { why: e, .. }) => {
                log::warn!(target: "deploy", peer = feed.peer.as_str(), object = feed.object.t.as_str(); "failed: {e}")
            }
            Ok(_) => log::info!(target: "deploy", peer = feed.peer.as_str(), object = feed.object.t.as_str(); "done"),
        }
        match feed.call {
            Some(call) => self.answer(call, result),
            None => self.note_unattended(&feed, &result),
        }
        self.owed_changed(now);
    }

    /// Whoever asked for it was told that the rig is away, or lived in an earlier process: what the rig did in the end is
    /// recorded all the same.
    fn note_unattended(&mut self, feed: &Feed, result: &Result<Answer>) {
        let Some(rig) = feed.link().and_then(|link| self.links.link(link)).map(|link| link.key) else { return };
        let (failed, mark) = match result {
            Ok(Answer::Deployed { mark, .. }) => (None, *mark),
            Ok(Answer::NotDeployed { why, mark }) => (Some(why.to_string()), Some(*mark)),
            Ok(_) => return,
            Err(e) => (Some(e.to_string()), None),
        };
        let task = DepotTask::Unattended { rig, t: feed.object.t.clone(), failed, mark };
        self.outputs.push_back(Output::Depot(task));
    }

    /// A link was proven, or its peer showed whether it announces itself.
    pub(in crate::mesh) fn feeds_link_up(&mut self, now: Now, link: LinkId) {
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
                Stage::Linking { .. } if introduced => self.begin_feed(now, id),
                Stage::Linking { .. } => feed.link_up_by(now.mono, false),
                Stage::Parked => feed.stage = Stage::Queued { not_before: now.mono },
                _ => {}
            }
        }
    }

    /// A link is gone, or could not be made.
    pub(in crate::mesh) fn feeds_link_down(&mut self, now: Now, link: LinkId, why: &Error) {
        for id in self.feeds.by_link(link) {
            self.feed_failed(now, id, why);
        }
    }

    /// A rig's session was renewed: what it pulls goes on over the newer one. The same offer again says so.
    pub(in crate::mesh) fn feeds_move(&mut self, now: Now, old: LinkId, new: LinkId) {
        for id in self.feeds.by_link(old) {
            self.offer(now, id, new);
        }
    }

    /// A dial to a rig failed.
    pub(in crate::mesh) fn feeds_unreachable(&mut self, now: Now, peer: &str, why: &Error) {
        for id in self.feeds.by_peer(peer) {
            if self.feeds.feed_mut(id).is_some_and(|f| matches!(f.stage, Stage::Linking { .. })) {
                self.feed_failed(now, id, why);
            }
        }
    }

    /// A request could not be queued. An offer that never went is no offer.
    pub(in crate::mesh) fn handle_offer_not_sent(&mut self, now: Now, request: &str, why: &Error) {
        if let Some(id) = self.feeds.by_request(request) {
            self.feed_failed(now, id, why);
        }
    }

    /// The reply to an offer. `false` when it is the reply to something else.
    pub(in crate::mesh) fn handle_offer_reply(&mut self, now: Now, request: &str, message: &Message) -> bool {
        let Some(id) = self.feeds.by_request(request) else { return false };
        let mark = mark_in(&message.payload);
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
                    self.finish_feed(now, id, Ok(Answer::Deployed { slot: state.slot, already: true, mark }));
                }
                OfferState::Busy => self.feeds.postpone(now.mono, id),
                OfferState::Refused | OfferState::Unknown => {
                    self.finish_feed(now, id, Err(refused_because(state.reason)));
                }
            },
            Ok(Payload::Error(e)) => {
                let why = Error::Remote { code: e.code, message: e.message };
                self.finish_feed(now, id, not_deployed(why, mark));
            }
            Ok(_) => self.finish_feed(now, id, Err(Error::malformed("deploy_state", "another type came"))),
            Err(e) => self.finish_feed(now, id, Err(e)),
        }
        true
    }

    pub(in crate::mesh) fn handle_chunk_get(&mut self, now: Now, link: LinkId, get: &ChunkGet) {
        let Some(id) = self.feeds.by_number(link, get.h) else { return };
        if let Some(feed) = self.feeds.feed_mut(id) {
            feed.want(now.mono, &get.want);
        }
        self.read_next(id);
    }

    fn read_next(&mut self, id: FeedId) {
        let Some(feed) = self.feeds.feed_mut(id) else { return };
        let Some(index) = feed.next_wanted() else { return };
        let framed = feed.link().and_then(|link| self.links.link(link)).is_some_and(|link| link.dialogue.is_secure());
        let task = DepotTask::Read { feed: id, h: feed.h, object: feed.object.clone(), index, framed };
        self.outputs.push_back(Output::Depot(task));
    }

    pub(in crate::mesh) fn handle_read(&mut self, now: Now, id: FeedId, h: u32, index: u32, chunk: Result<Parcel>) {
        let Some(feed) = self.feeds.feed_mut(id).filter(|f| f.h == h) else { return };
        let Some(link) = feed.link() else { return };
        let parcel = match chunk {
            Ok(parcel) => parcel,
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
        let lane = Lane::Data;
        self.outputs.push_back(match parcel {
            Parcel::Framed(body) => Output::SendRaw { link, lane, body, request: None },
            Parcel::Payload(raw) => {
                let payload = Payload::Other { kind: MessageType::Chunk, raw };
                let message = Message::new(now, &mut self.rng, &self.id, &peer, &payload);
                Output::Send { link, lane, message, call: None }
            }
        });
        self.read_next(id);
    }

    pub(in crate::mesh) fn handle_deploy_done(
        &mut self,
        now: Now,
        link: LinkId,
        done: &DeployDone,
        mark: Option<AuditMark>,
    ) {
        let Some(id) = self.feeds.by_number(link, done.h) else { return };
        if self.feeds.feed_mut(id).is_none_or(|f| f.object.t != done.t) {
            return;
        }
        let result = match (done.ok, done.code) {
            (true, _) => Ok(Answer::Deployed { slot: done.slot, already: false, mark }),
            (false, code) => {
                let code = code.unwrap_or(ErrorCode::OPERATION_FAILED);
                not_deployed(Error::Remote { code, message: done.error.clone() }, mark)
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
    pub(in crate::mesh) fn feeds_shutdown(&mut self) {
        if self.owed_due.is_some() {
            self.save_owed();
        }
        let calls: Vec<CallId> = self.feeds.iter().filter_map(|(_, f)| f.call).collect();
        for call in calls {
            self.answer(call, Err(Error::ShuttingDown));
        }
    }
}

/// The rig tried and failed: with the place of its audit chain, when it names one.
fn not_deployed(why: Error, mark: Option<AuditMark>) -> Result<Answer> {
    match mark {
        Some(mark) => Ok(Answer::NotDeployed { why, mark }),
        None => Err(why),
    }
}
