//! The rig's side of deployments: offers, chunks that arrive, the install, and permissions that change meanwhile.

use super::super::Mesh;
use super::super::audit::with_mark;
use super::super::codes::code_of;
use super::super::io::{DepotTask, LinkId, Offered, Output, Parcel, Permit, PullId, Stored};
use super::super::worker;
use super::NO_PERMISSION;
use super::pull::{Arrival, CHUNK_BYTES, Due, Pull, Stage};
use crate::base::{Error, Now, Result};
use crate::bundle::{OBJECT_BYTES_MAX, OBJECT_BYTES_MAX_V1};
use crate::message::{
    Chunk, ChunkGet, DeployCancel, DeployDone, DeployOffer, DeployState, ErrorCode, Message, OfferState, Payload,
};
use crate::peers::{AuditMark, Grants};
use crate::session::Lane;
use std::time::Duration;

/// Transfers that a rig takes at once.
const PULLS_MAX: usize = 2;

impl Mesh {
    /// An offer from a key that may deploy; its marks, if any, are on disk before the depot acts.
    pub(in crate::mesh) fn handle_offer(&mut self, now: Now, link: LinkId, permit: Permit, message: Message) {
        let offer = match message.parse::<DeployOffer>() {
            Ok(offer) => offer,
            Err(e) => return self.refuse(now, link, &message, ErrorCode::OPERATION_FAILED, &e.to_string()),
        };
        let secure = self.links.link(link).is_some_and(|link| link.dialogue.is_secure());
        if let Some(id) = self.pulls.by_object(&offer.t)
            && let Some(pull) = self.pulls.pull_mut(id)
        {
            if pull.key != permit.key {
                return self.say_state(now, link, &message, &offer, OfferState::Busy, 0, None, "");
            }
            // The same key asks how far we are, perhaps over a new link and under a new number.
            (pull.link, pull.h, pull.offer) = (link, offer.h, message.clone());
            pull.link_is(secure);
            match pull.stage {
                Stage::Opening => {}
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
        pull.link_is(secure);
        let size_max = if secure { OBJECT_BYTES_MAX } else { OBJECT_BYTES_MAX_V1 };
        let id = self.pulls.insert(pull);
        let task = DepotTask::Offer { pull: id, permit, marks, offer: Box::new(offer), size_max };
        self.outputs.push_back(Output::Depot(task));
    }

    /// An offer that is not even looked at.
    pub(in crate::mesh) fn refuse_offer(&mut self, now: Now, link: LinkId, message: &Message, reason: &str) {
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

    pub(in crate::mesh) fn handle_offered(
        &mut self,
        now: Now,
        id: PullId,
        result: Result<Offered>,
        mark: Option<AuditMark>,
    ) {
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
                let state = DeployState {
                    t: asked.t,
                    h: asked.h,
                    state: OfferState::Installed,
                    slot: Some(slot),
                    ..Default::default()
                };
                self.reply_marked(now, link, &request, Payload::DeployState(state), mark);
            }
            Ok(Offered::Refused(reason)) => {
                self.pulls.remove(id);
                log::warn!(target: "deploy", peer = request.from.as_str(), object = asked.t.as_str(); "refused: {reason}");
                self.say_state(now, link, &request, &asked, OfferState::Refused, 0, None, &reason);
            }
            Err(e) => {
                self.pulls.remove(id);
                self.reply_marked(now, link, &request, worker::error(code_of(&e), &e.to_string()), mark);
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
        let (key, link, offer) = (pull.key, pull.link, pull.offer.clone());
        let origin = self.origin(link, &offer);
        let Some(pull) = self.pulls.pull_mut(id) else { return };
        let grant = (!trust_all).then_some(Grants::DEPLOY);
        let task = DepotTask::Install {
            pull: id,
            permit: Permit { key, grant, origin },
            t: pull.t.clone(),
            profile: pull.profile.clone(),
            activate: pull.activate,
        };
        self.outputs.push_back(Output::Depot(task));
    }

    /// A `chunk` message. In a secure session data does not travel as messages.
    pub(in crate::mesh) fn handle_chunk(&mut self, now: Now, link: LinkId, message: Message) {
        let secure = self.links.link(link).is_none_or(|link| link.dialogue.is_secure());
        match chunk_head(message.payload.as_str()).filter(|_| !secure) {
            Some((h, index)) => self.handle_parcel(now, link, h, index, Parcel::Payload(message.payload)),
            None => self.drop_unasked(link),
        }
    }

    /// A chunk in frames of data.
    pub(in crate::mesh) fn handle_data(&mut self, now: Now, id: LinkId, body: Vec<u8>) {
        let Some(link) = self.links.link_mut(id).filter(|link| !link.closing) else { return };
        link.dialogue.handle_heard(now.mono);
        match Chunk::decode_frame(&body).map(|(h, index, _)| (h, index)) {
            Ok((h, index)) => self.handle_parcel(now, id, h, index, Parcel::Framed(body)),
            Err(_) => self.drop_unasked(id),
        }
    }

    fn handle_parcel(&mut self, now: Now, link: LinkId, h: u32, index: u32, chunk: Parcel) {
        let Some(id) = self.pulls.by_number(link, h) else { return self.drop_unasked(link) };
        let Some(pull) = self.pulls.pull_mut(id) else { return };
        if pull.handle_chunk(now.mono, index) != Arrival::Wanted {
            return self.drop_unasked(link);
        }
        let task = DepotTask::Store { pull: id, t: pull.t.clone(), index, chunk };
        self.outputs.push_back(Output::Depot(task));
    }

    fn drop_unasked(&self, link: LinkId) {
        if let Some(link) = self.links.link(link) {
            link.limits.handle_unasked();
        }
    }

    pub(in crate::mesh) fn handle_stored(&mut self, now: Now, id: PullId, index: u32, result: Result<Stored>) {
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
            Some(why) => self.end_pull(now, id, Err(Error::Failed(why)), None),
        }
    }

    /// Tells the controller how it ended.
    pub(in crate::mesh) fn end_pull(&mut self, now: Now, id: PullId, result: Result<u32>, mark: Option<AuditMark>) {
        let Some(pull) = self.pulls.remove(id) else { return };
        let done = match &result {
            Ok(slot) => DeployDone { ok: true, slot: Some(*slot), ..DeployDone::default() },
            Err(e) => DeployDone { code: Some(code_of(e)), error: e.to_string(), ..DeployDone::default() },
        };
        match &result {
            Ok(slot) => log::info!(target: "deploy", object = pull.t.as_str(), slot = *slot; "installed"),
            Err(e) => {
                log::warn!(target: "deploy", object = pull.t.as_str(); "failed: {e}");
                self.outputs.push_back(Output::Depot(DepotTask::LetGo { t: pull.t.clone() }));
            }
        }
        let done = DeployDone { t: pull.t, h: pull.h, ..done };
        let done = Payload::DeployDone(done);
        self.send_request(now, pull.link, &with_mark(&done, mark).unwrap_or(done));
    }

    /// Pings, asking again, letting go.
    pub(in crate::mesh) fn drive_pulls(&mut self, now: Now) {
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
    pub(in crate::mesh) fn pulls_round_trip(&mut self, now: Now, link: LinkId, round_trip: Duration) {
        let ids: Vec<PullId> = self.pulls.iter().filter(|(_, p)| p.link == link).map(|(id, _)| id).collect();
        for id in ids {
            if let Some(pull) = self.pulls.pull_mut(id) {
                pull.handle_round_trip(now.mono, round_trip);
            }
            self.drive_pull(now, id);
        }
    }

    /// A link is gone: what was pulled over it stays on disk for the next offer. An install goes on.
    pub(in crate::mesh) fn pulls_link_down(&mut self, link: LinkId) {
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
    pub(in crate::mesh) fn pulls_access_changed(&mut self, now: Now) {
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
