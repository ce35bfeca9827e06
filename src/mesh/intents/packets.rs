//! Packets over links: verified with the link's key before anything else is done for them, each once, and within the
//! sender's grants. Who sends forgeries is disconnected and refused for a while.

use super::{IntentAnswer, IntentContext, IntentSource, UEPS1, grant_for_intent};
use crate::base::{Error, Now, Refusal, Result, Time};
use crate::identity::PublicKey;
use crate::mesh::io::{CallId, IntentJob, LinkId, Output, Permit, ThreatInfo, Work};
use crate::mesh::{Mesh, not_connected};
use crate::message::{DisconnectCode, ErrorCode, Message, Payload, UepsFrame};
use crate::peers::Grants;
use crate::wire::ueps::{Defect, Header, PacketBuf, Reading, Standing, decode, encode_to};

/// Packets of a link that are remembered. The envelopes they come in are never accepted twice anyway.
pub(crate) const REPLAYS_MAX: usize = 1024;

/// What a link hears whose key is refused.
pub(crate) fn threat_error() -> Error {
    Refusal::Limit("too many packets with a wrong HMAC: refused for ten minutes".to_owned()).into()
}

impl Mesh {
    /// A packet from a listed peer.
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
            Err(PacketError::Defect(Defect::HmacMismatch)) => return self.handle_forgery(now, id, key, &message),
            Err(PacketError::Defect(defect)) => {
                log::warn!(target: "dispatcher", peer = message.from.as_str(); "packet refused: {defect}");
                return self.refuse(now, id, &message, ErrorCode::INVALID_MESSAGE, &Error::from(defect).to_string());
            }
        };
        let grants = if self.config.trust_all { Grants::CONTROLLER } else { grants };
        let grant = grant_for_intent(packet.packet().header().intent);
        if let Some(Err(why)) = grant.map(|grant| grants.require(grant)) {
            let why = why.to_string();
            log::warn!(target: "dispatcher", peer = message.from.as_str(), intent = packet.packet().header().intent; "packet refused: {why}");
            return self.refuse(now, id, &message, ErrorCode::UNAUTHORIZED, &why);
        }
        let origin = self.origin(id, &message);
        let permit = Permit { key, grant: grant.filter(|_| !self.config.trust_all), origin };
        let context = IntentContext::new(IntentSource::Peer(key), grants);
        // Whatever its intent, a handler may change something: nobody may repeat the message after a crash.
        let marks = self.marks.is_dirty().then(|| self.snapshot_marks(now));
        match self.worker.begin(now.mono, id, message.clone()) {
            Ok(job) => {
                let work = Work::Intent(Box::new(IntentJob { context, packet }));
                self.outputs.push_back(Output::Job { job, permit, marks, work });
            }
            Err(e) => {
                self.outputs.extend(marks.map(Output::SaveMarks));
                self.refuse(now, id, &message, ErrorCode::OPERATION_FAILED, &e.to_string());
            }
        }
    }

    fn open_packet(&mut self, id: LinkId, message: &Message) -> std::result::Result<PacketBuf, PacketError> {
        let frame: UepsFrame = message.parse().map_err(PacketError::Payload)?;
        let link = self.links.link_mut(id).ok_or_else(|| PacketError::Payload(not_connected(&message.from)))?;
        let (frame, rest) = decode(&frame.frame, Reading::Strict)?;
        let packet = frame.verify(&link.ueps_key)?;
        if !rest.is_empty() {
            let detail = format!("{} bytes behind it", rest.len());
            return Err(PacketError::Payload(Error::malformed("UEPS packet", detail)));
        }
        link.packets.handle_packet(&packet)?;
        Ok(packet.into())
    }

    /// A wrong HMAC: only the peer itself can have written it, since its envelope was sealed.
    fn handle_forgery(&mut self, now: Now, id: LinkId, key: PublicKey, message: &Message) {
        let why = Error::from(Defect::HmacMismatch).to_string();
        log::warn!(target: "dispatcher", peer = message.from.as_str(); "{why}");
        self.refuse(now, id, message, ErrorCode::INVALID_MESSAGE, &why);
        let Standing::RefusedUntil(_) = self.threats.handle_mismatch(now.mono, &key) else { return };
        let links: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.key == key).map(|(id, _)| id).collect();
        for link in links {
            self.worker.forget_link(link);
            self.say_goodbye(now, link, "threat score exceeded", DisconnectCode::GOING_AWAY, &threat_error());
        }
    }

    /// Answers a packet with a packet.
    pub(in crate::mesh) fn reply_packet(
        &mut self,
        now: Now,
        id: LinkId,
        request: &Message,
        intent: u8,
        answer: &IntentAnswer,
    ) {
        let Some(link) = self.links.link(id) else { return };
        match answer.encode(intent, &link.ueps_key) {
            Ok(frame) => self.reply(now, id, request, &Payload::UepsReply(UepsFrame { frame })),
            Err(e) => self.refuse(now, id, request, ErrorCode::OPERATION_FAILED, &e.to_string()),
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
        encode_to(header, payload, &active.ueps_key, &mut frame)?;
        self.call_over(now, call, link, peer, &Payload::Ueps(UepsFrame { frame }), deadline)
    }

    /// The answer in a `ueps_reply`, which came over a sealed link to a packet of ours.
    pub(in crate::mesh) fn read_packet_reply(&self, id: LinkId, message: &Message) -> Result<IntentAnswer> {
        let frame: UepsFrame = message.parse()?;
        let link = self.links.link(id).ok_or_else(|| not_connected(&message.from))?;
        let (frame, _) = decode(&frame.frame, Reading::Strict)?;
        IntentAnswer::decode(frame.verify(&link.ueps_key)?.payload())
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
