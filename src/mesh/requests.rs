//! What peers ask of us: the one place where permission is looked at, the way to a job and back, and
//! the messages that wait until they can no longer be repeated.

use super::audit::{Origin, with_mark};
use super::codes::code_of;
use super::deploy::NO_PERMISSION;
use super::intents::IntentAnswer;
use super::io::{JobId, JobResult, LinkId, MarksSnapshot, Output, Permit, Work};
use super::worker::{self, Asked, Me, Request};
use super::{MARKS_EVERY, Mesh};
use crate::base::{Now, Result};
use crate::identity::PublicKey;
use crate::message::{ErrorCode, Message, MessageType, Payload};
use crate::peers::{Admission, AuditMark, Grants};
use std::time::Duration;

/// Messages that wait for their marks to be saved; the limiters keep honest peers far below it.
const HELD_MAX: usize = 16_384;
/// How old the time on disk may be while a key is used whose permission ends.
const TIME_EVERY: Duration = Duration::from_secs(600);
/// What a key hears that open mode let in.
pub(super) const STRANGER: &str = "not permitted: this key is not on the allowlist and may only ping";
/// What a change of permissions hears over a link of protocol 1.0, whose key is the same for ever.
const NO_SESSION: &str = "not permitted: permissions are changed in secure sessions only";
/// What a packet hears that comes as a message in a secure session.
const NOT_HERE: &str = "in a secure session packets travel in frames of their own";
/// What a request hears at a node that runs nothing.
const NO_MINERS: &str = "this node is a controller and runs no miners";

impl Mesh {
    /// The one place where a request's permission is looked at (and once more when its job starts).
    pub(super) fn handle_request(&mut self, now: Now, id: LinkId, message: Message) {
        let Some(key) = self.links.link(id).map(|link| link.key) else { return };
        let Some(message) = self.handle_transfer(now, id, message) else { return };
        if message.kind == MessageType::Rotate {
            return self.handle_rotate(now, id, message);
        }
        let (admission, grants) = self.standing(now, &key);
        // In open mode unknown keys may ping, nothing else.
        if admission != Admission::Listed && !self.config.trust_all {
            if matches!(message.kind, MessageType::Other(_)) {
                return; // unknown types are ignored, as the Go node does
            }
            return self.refuse(now, id, &message, ErrorCode::UNAUTHORIZED, STRANGER);
        }
        if message.kind == MessageType::Gossip {
            return self.handle_gossip(now, id, &message);
        }
        if message.kind == MessageType::Ueps {
            if self.links.link(id).is_some_and(|link| link.dialogue.is_secure()) {
                return self.refuse(now, id, &message, ErrorCode::INVALID_MESSAGE, NOT_HERE);
            }
            return self.handle_packet(now, id, key, grants, message);
        }
        let needed = worker::grant_needed(&message);
        let manages = needed == Some(Grants::MANAGE);
        if manages && !self.links.link(id).is_some_and(|link| link.dialogue.is_secure()) {
            return self.refuse(now, id, &message, ErrorCode::UNAUTHORIZED, NO_SESSION);
        }
        // That every peer may command does not mean that every peer may say who may.
        let grant = needed.filter(|_| manages || !self.config.trust_all);
        if let Some(Err(why)) = grant.map(|grant| grants.require(grant)) {
            let why = why.to_string();
            log::warn!(target: "worker", peer = message.from.as_str(), kind = message.kind.as_str(); "request refused: {why}");
            if message.kind == MessageType::DeployOffer {
                return self.refuse_offer(now, id, &message, NO_PERMISSION);
            }
            return self.refuse(now, id, &message, ErrorCode::UNAUTHORIZED, &why);
        }
        if message.kind == MessageType::DeployOffer && self.config.works {
            if !self.config.takes_deploys {
                return self.refuse_offer(now, id, &message, worker::DEPLOYS_OFF);
            }
            let origin = self.origin(id, &message);
            return self.handle_offer(now, id, Permit { key, grant, origin }, message);
        }
        let work = match worker::read(&message, self.config.takes_deploys) {
            Asked::Work(work) => work,
            Asked::Refuse(text) => return self.refuse(now, id, &message, ErrorCode::OPERATION_FAILED, &text),
            // In a session nobody can repeat it.
            Asked::Ignore if self.links.link(id).is_some_and(|link| link.dialogue.is_secure()) => {
                return self.outputs.push_back(Output::Inbound { peer: message.from.clone(), message });
            }
            Asked::Ignore => return self.hold(now, message),
        };
        if !self.config.works && !manages {
            return self.refuse(now, id, &message, ErrorCode::OPERATION_FAILED, NO_MINERS);
        }
        let marks = (needed.is_some() && self.marks.is_dirty()).then(|| self.snapshot_marks(now));
        self.begin_job(now, id, message, grant, marks, work);
    }

    /// Begins slow work for a message; refused when too much is under way.
    pub(super) fn begin_job(
        &mut self,
        now: Now,
        id: LinkId,
        message: Message,
        grant: Option<Grants>,
        marks: Option<MarksSnapshot>,
        work: Work,
    ) {
        let Some(key) = self.links.link(id).map(|link| link.key) else { return };
        let origin = self.origin(id, &message);
        match self.worker.begin(now.mono, id, Request::Message(message.clone())) {
            Ok(job) => self.outputs.push_back(Output::Job { job, permit: Permit { key, grant, origin }, marks, work }),
            Err(e) => {
                self.outputs.extend(marks.map(Output::SaveMarks));
                self.refuse(now, id, &message, ErrorCode::OPERATION_FAILED, &e.to_string());
            }
        }
    }

    /// What a key is to us, and what it may do now.
    pub(super) fn standing(&mut self, now: Now, key: &PublicKey) -> (Admission, Grants) {
        let (admission, grants, ends) = {
            let registry = self.registry.read();
            let ends = registry.access().until(key).is_some();
            (registry.admission(key), registry.grants(key, self.marks.own(now.wall)), ends)
        };
        // What ends must not begin again when the clock is put back: the time is written down while such a key is used.
        if ends && self.marks.saved().is_none_or(|saved| now.wall.since(saved) >= TIME_EVERY) {
            self.marks_due.get_or_insert(now.mono + MARKS_EVERY);
        }
        (admission, grants)
    }

    /// A reply that says where the audit log says how the command ended.
    pub(super) fn reply_marked(
        &mut self,
        now: Now,
        id: LinkId,
        request: &Message,
        payload: Payload,
        mark: Option<AuditMark>,
    ) {
        let payload = with_mark(&payload, mark).unwrap_or(payload);
        self.reply(now, id, request, &payload);
    }

    /// What the audit log says of where a message came from.
    pub(super) fn origin(&self, link: LinkId, message: &Message) -> Origin {
        Origin { id: message.id.clone(), ts: message.ts, session: self.session_of(link) }
    }

    pub(super) fn session_of(&self, link: LinkId) -> Option<[u8; 8]> {
        self.links.link(link).and_then(|link| link.session)
    }

    /// A message of a type we do not know may be a command of the embedder's: it is handed over when it can
    /// no longer be repeated. Many wait for one write.
    fn hold(&mut self, now: Now, message: Message) {
        if self.held.len() >= HELD_MAX {
            log::warn!(target: "mesh", peer = message.from.as_str(); "the disk is behind: a message was dropped");
            return;
        }
        // The snapshot under way, if any, was taken before this message: the next one has it.
        let version = self.marks.version() + 1;
        self.held.push_back((version, message));
        if self.saving.is_none() {
            self.saving = Some(self.save_marks(now));
        }
    }

    pub(super) fn release(&mut self, now: Now, version: u64, result: &Result<()>) {
        while let Some((_, message)) = self.held.pop_front_if(|(needs, _)| *needs <= version) {
            match result {
                Ok(()) => self.outputs.push_back(Output::Inbound { peer: message.from.clone(), message }),
                Err(e) => {
                    log::error!(target: "mesh", peer = message.from.as_str(); "a message was dropped, because it could not be recorded: {e}")
                }
            }
        }
        if result.is_err() {
            // What could not be written is still to be written.
            self.marks.touch();
            self.marks_due.get_or_insert(now.mono + MARKS_EVERY);
        }
        if self.saving.is_some_and(|saving| saving <= version) {
            self.saving = None;
            if !self.held.is_empty() {
                self.saving = Some(self.save_marks(now));
            }
        }
    }

    pub(super) fn handle_job_done(&mut self, now: Now, job: JobId, result: Result<JobResult>, mark: Option<AuditMark>) {
        let Some(done) = self.worker.finish(job) else { return };
        let result = match result {
            Ok(JobResult::Intent { intent, mut answer }) => {
                answer.mark(mark);
                return match &done.request {
                    Request::Message(request) => self.reply_packet(now, done.link, request, intent, &answer),
                    Request::Packet(_) => self.answer_packet(done.link, intent, &answer),
                };
            }
            other => other,
        };
        let request = match done.request {
            Request::Message(request) => request,
            Request::Packet(asked) => {
                let (code, why) = match result {
                    Err(e) => (code_of(&e), e.to_string()),
                    Ok(JobResult::NotRecorded(why)) => (ErrorCode::OPERATION_FAILED, why),
                    Ok(_) => (ErrorCode::UNKNOWN, "no answer".to_owned()),
                };
                let mut answer = IntentAnswer::refused(&asked.hmac, code, why);
                answer.mark(mark);
                return self.answer_packet(done.link, asked.intent, &answer);
            }
        };
        let me = Me {
            id: &self.id,
            name: &self.identity.info().name,
            started: self.started,
            frame_bytes_max: self.config.frame_bytes_max,
        };
        let payload = worker::reply_payload(&me, now, &request, result);
        self.reply_marked(now, done.link, &request, payload, mark);
        if request.kind == MessageType::Rotate || worker::grant_needed(&request) == Some(Grants::MANAGE) {
            // Also when it failed: a revocation that could not be saved holds until this node ends.
            self.handle_access_changed(now);
        }
    }
}
