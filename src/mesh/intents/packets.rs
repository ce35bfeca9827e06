//! Packets over links: verified with the link's key before anything else is done for them, each once, and within the
//! sender's grants. Who sends forgeries is disconnected and refused for a while. Over a 1.0 link they come and go as
//! messages, in a secure session as frames of their own (see [`super`]).

use super::{IntentAnswer, IntentContext, IntentSource, UEPS1, grant_for_intent};
use crate::base::{Error, Now, Refusal, Result, Time, Timestamp};
use crate::identity::PublicKey;
use crate::mesh::audit::Origin;
use crate::mesh::io::{Answer, CallId, IntentJob, LinkId, Output, Permit, ThreatInfo, Work};
use crate::mesh::requests::STRANGER;
use crate::mesh::rpc::Pending;
use crate::mesh::worker::{AskedPacket, Request, error};
use crate::mesh::{Mesh, not_connected};
use crate::message::{DisconnectCode, ErrorCode, Message, Payload, UepsFrame};
use crate::peers::{Admission, Grants};
use crate::session::Lane;
use crate::wire::ueps::{Defect, Frame, Header, Key, PacketBuf, Reading, Standing, decode, encode_to};

/// Packets of a link that are remembered. The envelopes they come in are never accepted twice anyway.
pub(crate) const REPLAYS_MAX: usize = 1024;

/// What a link hears whose key is refused.
pub(crate) fn threat_error() -> Error {
    Refusal::Limit("too many packets with a wrong HMAC: refused for ten minutes".to_owned()).into()
}

impl Mesh {
    /// A packet from a listed peer, in a message of a 1.0 link.
    pub(in crate::mesh) fn handle_packet(
        &mut self,
        now: Now,
        id: LinkId,
        key: PublicKey,
        grants: Grants,
        message: Message,
    ) {
        let packet = match self.open_packet(id, &message) {
            Ok(packet) => packet,
            Err(PacketError::Payload(e)) => {
                return self.refuse(now, id, &message, ErrorCode::INVALID_MESSAGE, &e.to_string());
            }
            Err(PacketError::Defect(Defect::HmacMismatch)) => {
                let why = Error::from(Defect::HmacMismatch).to_string();
                self.refuse(now, id, &message, ErrorCode::INVALID_MESSAGE, &why);
                return self.handle_forgery(now, id, key);
            }
            Err(PacketError::Defect(defect)) => {
                log::warn!(target: "dispatcher", peer = message.from.as_str(); "packet refused: {defect}");
                return self.refuse(now, id, &message, ErrorCode::INVALID_MESSAGE, &Error::from(defect).to_string());
            }
        };
        let origin = self.origin(id, &message);
        self.begin_packet(now, id, (key, grants), packet, Request::Message(message), origin);
    }

    /// A packet in a frame of its own: one that asks, or the answer to one of ours.
    pub(in crate::mesh) fn handle_framed_packet(&mut self, now: Now, id: LinkId, bytes: &[u8]) {
        let Some(link) = self.links.link_mut(id).filter(|link| !link.closing) else { return };
        link.dialogue.handle_heard(now.mono);
        let key = link.key;
        // The reader has seen that it is a packet and nothing behind it.
        let Ok((frame, _)) = decode(bytes, Reading::Strict) else { return link.dialogue.count_dropped() };
        let Ok(packet_key) = link.packet_key(&self.identity) else { return link.dialogue.count_dropped() };
        let packet = match frame.verify(packet_key) {
            Ok(packet) => packet,
            Err(_) => {
                let answers_key = packet_key.for_answers();
                return self.handle_framed_answer(now, id, (key, &answers_key), &frame);
            }
        };
        let asked = AskedPacket { intent: packet.header().intent, hmac: *packet.hmac() };
        let replayed = link.packets.handle_packet(&packet);
        let packet = PacketBuf::from(packet);
        let (admission, grants) = self.standing(now, &key);
        let refused = match replayed {
            _ if admission != Admission::Listed && !self.config.trust_all => {
                Some((ErrorCode::UNAUTHORIZED, STRANGER.to_owned()))
            }
            Err(defect) => Some((ErrorCode::INVALID_MESSAGE, Error::from(defect).to_string())),
            Ok(()) => None,
        };
        let request = Request::Packet(asked);
        if let Some((code, why)) = refused {
            log::warn!(target: "dispatcher", peer:% = key.node_id(), intent = asked.intent; "packet refused: {why}");
            return self.refuse_asked(now, id, &request, code, &why);
        }
        let origin = Origin { id: hex::encode(asked.hmac), ts: Timestamp::ZERO, session: self.session_of(id) };
        self.begin_packet(now, id, (key, grants), packet, request, origin);
    }

    /// It is no request: an answer, when its key says so, and then to a packet that went over this link.
    fn handle_framed_answer(&mut self, now: Now, id: LinkId, (key, answers_key): (PublicKey, &Key), frame: &Frame<'_>) {
        let Some(link) = self.links.link_mut(id) else { return };
        let Ok(packet) = frame.verify(answers_key) else {
            link.dialogue.count_dropped();
            return self.handle_forgery(now, id, key);
        };
        let answer = IntentAnswer::decode(packet.payload());
        let awaited = answer.ok().filter(|answer| self.rpc.awaits(id, answer.of()));
        let Some((answer, pending)) = awaited.and_then(|a| self.rpc.complete(a.of()).map(|pending| (a, pending)))
        else {
            return link.dialogue.count_dropped();
        };
        self.registry.write().record_success(now, &pending.peer);
        self.answer(pending.call, Ok(Answer::Intent(answer)));
    }

    /// A verified packet: it is carried out, if its sender may.
    fn begin_packet(
        &mut self,
        now: Now,
        id: LinkId,
        (key, grants): (PublicKey, Grants),
        packet: PacketBuf,
        request: Request,
        origin: Origin,
    ) {
        let grants = if self.config.trust_all { Grants::CONTROLLER } else { grants };
        let intent = packet.packet().header().intent;
        let grant = grant_for_intent(intent);
        if let Some(Err(why)) = grant.map(|grant| grants.require(grant)) {
            let why = why.to_string();
            log::warn!(target: "dispatcher", peer:% = key.node_id(), intent; "packet refused: {why}");
            return self.refuse_asked(now, id, &request, ErrorCode::UNAUTHORIZED, &why);
        }
        let permit = Permit { key, grant: grant.filter(|_| !self.config.trust_all), origin };
        let context = IntentContext::new(IntentSource::Peer(key), grants);
        // Whatever its intent, a handler may change something: nobody may repeat the message after a crash. In a session
        // nobody can.
        let message = matches!(request, Request::Message(_));
        let marks = (message && self.marks.is_dirty()).then(|| self.snapshot_marks(now));
        match self.worker.begin(now.mono, id, request.clone()) {
            Ok(job) => {
                let work = Work::Intent(Box::new(IntentJob { context, packet }));
                self.outputs.push_back(Output::Job { job, permit, marks, work });
            }
            Err(e) => {
                self.outputs.extend(marks.map(Output::SaveMarks));
                self.refuse_asked(now, id, &request, ErrorCode::OPERATION_FAILED, &e.to_string());
            }
        }
    }

    fn open_packet(&mut self, id: LinkId, message: &Message) -> std::result::Result<PacketBuf, PacketError> {
        let frame: UepsFrame = message.parse().map_err(PacketError::Payload)?;
        let link = self.links.link_mut(id).ok_or_else(|| PacketError::Payload(not_connected(&message.from)))?;
        let (frame, rest) = decode(&frame.frame, Reading::Strict)?;
        let packet = frame.verify(link.packet_key(&self.identity).map_err(PacketError::Payload)?)?;
        if !rest.is_empty() {
            let detail = format!("{} bytes behind it", rest.len());
            return Err(PacketError::Payload(Error::malformed("UEPS packet", detail)));
        }
        link.packets.handle_packet(&packet)?;
        Ok(packet.into())
    }

    /// A wrong HMAC: only the peer itself can have written it, since what it came in was sealed.
    fn handle_forgery(&mut self, now: Now, id: LinkId, key: PublicKey) {
        log::warn!(target: "dispatcher", peer:% = key.node_id(), link = id.0; "{}", Defect::HmacMismatch);
        let Standing::RefusedUntil(_) = self.threats.handle_mismatch(now.mono, &key) else { return };
        let links: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.key == key).map(|(id, _)| id).collect();
        for link in links {
            self.worker.forget_link(link);
            self.say_goodbye(now, link, "threat score exceeded", DisconnectCode::GOING_AWAY, &threat_error());
        }
    }

    /// Says no to whatever asked.
    pub(in crate::mesh) fn refuse_asked(&mut self, now: Now, id: LinkId, request: &Request, code: i64, text: &str) {
        match request {
            Request::Message(message) => self.reply(now, id, message, &error(code, text)),
            Request::Packet(asked) => {
                let answer = IntentAnswer::refused(&asked.hmac, code, text.to_owned());
                self.answer_packet(id, asked.intent, &answer);
            }
        }
    }

    /// Answers a message's packet with a packet.
    pub(in crate::mesh) fn reply_packet(
        &mut self,
        now: Now,
        id: LinkId,
        request: &Message,
        intent: u8,
        answer: &IntentAnswer,
    ) {
        let Some(link) = self.links.link(id) else { return };
        match link.packet_key(&self.identity).and_then(|key| answer.encode(intent, key)) {
            Ok(frame) => self.reply(now, id, request, &Payload::UepsReply(UepsFrame { frame })),
            Err(e) => self.refuse(now, id, request, ErrorCode::OPERATION_FAILED, &e.to_string()),
        }
    }

    /// Answers a packet that came in a frame of its own.
    pub(in crate::mesh) fn answer_packet(&mut self, id: LinkId, intent: u8, answer: &IntentAnswer) {
        let Some(link) = self.links.link(id).filter(|link| !link.closing) else { return };
        match link.packet_key(&self.identity).and_then(|key| answer.encode(intent, &key.for_answers())) {
            Ok(body) => {
                self.outputs.push_back(Output::SendRaw { link: id, lane: Lane::Packet, body, request: None });
            }
            Err(e) => log::warn!(target: "dispatcher", link = id.0, intent; "a packet is not answered: {e}"),
        }
    }

    pub(in crate::mesh) fn send_packet(
        &mut self,
        now: Now,
        call: CallId,
        peer: &str,
        header: &Header,
        payload: &[u8],
        deadline: Time,
    ) -> Result<()> {
        let link = self.links.active_by_peer(peer).ok_or_else(|| not_connected(peer))?;
        let active = self.links.link(link).ok_or_else(|| not_connected(peer))?;
        if !active.speaks(UEPS1) {
            return Err(Error::Config(format!("{peer} takes no UEPS packets over its link")));
        }
        let mut frame = Vec::new();
        encode_to(header, payload, active.packet_key(&self.identity)?, &mut frame)?;
        if !active.dialogue.is_secure() {
            return self.call_over(now, call, link, peer, &Payload::Ueps(UepsFrame { frame }), deadline);
        }
        self.may_begin()?;
        self.check_listed(link, peer)?;
        let request = hex::encode(decode(&frame, Reading::Strict)?.0.stated_hmac());
        if self.rpc.awaits(link, &request) {
            let why = "the same packet is under way already: put a number or a time into the payload";
            return Err(Error::Failed(why.to_owned()));
        }
        self.rpc.take_name(call); // a packet's name is its HMAC
        self.rpc.sent(request.clone(), Pending { call, link, peer: peer.to_owned(), sent: now.mono, deadline });
        self.outputs.push_back(Output::SendRaw { link, lane: Lane::Packet, body: frame, request: Some(request) });
        Ok(())
    }

    /// The answer in a `ueps_reply`, which came over a sealed link to a packet of ours.
    pub(in crate::mesh) fn read_packet_reply(&self, id: LinkId, message: &Message) -> Result<IntentAnswer> {
        let frame: UepsFrame = message.parse()?;
        let link = self.links.link(id).ok_or_else(|| not_connected(&message.from))?;
        let (frame, _) = decode(&frame.frame, Reading::Strict)?;
        IntentAnswer::decode(frame.verify(link.packet_key(&self.identity)?)?.payload())
    }

    pub(in crate::mesh) fn threat_infos(&self, now: Time) -> Vec<(PublicKey, ThreatInfo)> {
        self.threats.list(now).map(|(key, standing)| (*key, ThreatInfo::of(standing, now))).collect()
    }
}

/// Why a packet did not open.
enum PacketError {
    Payload(Error),
    Defect(Defect),
}

impl From<Defect> for PacketError {
    fn from(defect: Defect) -> PacketError {
        PacketError::Defect(defect)
    }
}
