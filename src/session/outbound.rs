//! The sender's half: bounded lanes of what is to be sent, a pacer, and the seal. Owned by the
//! connection, behind its lock: whoever sends seals, in the order of the wire.
//!
//! In a secure session messages are cut into frames here, and there is no pacer: the receiver waits, and so does TCP.
//! Over a 1.0 link, towards a peer that is not known to be RigMesh the pacer runs the Go node's own limiter with
//! 90 and 45 instead of its 100 and 50, because a Go node silently drops what exceeds it
//! (mesh.md §3), and for every phase that its clock may have. A message that must wait stays in its lane; [`Outbound::poll_timeout`] says how long.

use super::handshake::LinkKeys;
use super::inbound::{Inbound, InboundLimits, Takes};
use super::limit::{AnyPhase, Bucket};
use super::secure::{CONTROL_BYTES_MAX, DATA_BYTES_MAX, FrameOpener, FrameSealer, Kind, PACKET_BYTES_MAX};
use crate::base::{Error, Result, Rng, Time};
use crate::formats::smsg::{LinkKey, seal_v1};
use std::collections::VecDeque;
use std::sync::Arc;

/// Which queue something waits in. The first goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Messages: pings, commands, replies, disconnects.
    Control,
    /// UEPS packets, as their own bytes: only in secure sessions. Over a 1.0 link they travel as messages.
    Packet,
    /// Messages that are large and patient: logs.
    Bulk,
    /// Chunks of a deployment, which the peer asked for: they go when nothing else waits, and no pacer holds
    /// them back. Messages over a 1.0 link, bodies of data in a secure session ([`crate::message::Chunk::encode_frame`]).
    Data,
}

/// How each lane travels in a secure session.
const KINDS: [Kind; LANES] = [Kind::Control, Kind::Ueps, Kind::Large, Kind::Data];
const LANES: usize = 4;

/// Bounds of one connection's outgoing queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboundLimits {
    /// Plain messages waiting, all lanes together.
    pub messages_max: usize,
    /// Plain bytes waiting, all lanes together.
    pub bytes_max: usize,
    /// A sealed message larger than this would be refused by the peer, so it is refused here.
    pub frame_bytes_max: usize,
}

impl Default for OutboundLimits {
    fn default() -> Self {
        OutboundLimits { messages_max: 4096, bytes_max: 16 << 20, frame_bytes_max: 1 << 20 }
    }
}

/// Go's numbers are 100 and 50; below them by a tenth, because its clock and ours see the same
/// messages at slightly different times.
const GO_BURST: u64 = 90;
const GO_RATE_PER_S: u64 = 45;

#[derive(Debug)]
enum Pacer {
    Go(AnyPhase),
    Announced(Bucket),
}

/// How a message becomes a frame.
#[derive(Debug)]
enum Seal {
    /// Protocol 1.0: one message a frame.
    Plain { key: LinkKey, rng: Box<Rng>, pacer: Pacer },
    /// A secure session, and how much of each lane's first message has gone.
    Secure { frames: FrameSealer, gone: [usize; LANES] },
}

/// The sender's half of a session.
#[derive(Debug)]
pub struct Outbound {
    seal: Seal,
    lanes: [VecDeque<Vec<u8>>; LANES],
    bytes: usize,
    limits: OutboundLimits,
}

/// Both halves of a new link. Messages of at most `message_bytes_max` bytes are taken, and in a secure session what `takes`
/// says; `rng` gives the nonces of a 1.0 link and belongs to this link alone.
pub fn halves(
    keys: LinkKeys,
    rng: Rng,
    limits: OutboundLimits,
    inbound: Arc<InboundLimits>,
    message_bytes_max: usize,
    takes: Takes,
    now: Time,
) -> (Outbound, Inbound) {
    match keys {
        LinkKeys::Plain(key) => {
            let opener = Inbound::new(key.clone(), inbound, message_bytes_max, now);
            (Outbound::new(key, rng, limits, now), opener)
        }
        LinkKeys::Secure { send, receive, peer_max } => {
            let seal = Seal::Secure { frames: FrameSealer::new(send, now), gone: [0; LANES] };
            let limits = OutboundLimits { frame_bytes_max: peer_max, ..limits };
            let opener = Inbound::secure(FrameOpener::new(receive, message_bytes_max), takes, inbound, now);
            (Outbound { seal, lanes: Default::default(), bytes: 0, limits }, opener)
        }
    }
}

/// No peer takes less than this (secure-session.md §2).
const FRAME_BYTES_MIN: usize = 64 * 1024;

/// What sealing adds to a body in the worst case that is checked up front: container, nonce, tag
/// and the inner JSON. Escaping may add more; [`Outbound::poll_frame`] checks the result.
const SEAL_OVERHEAD: usize = 160;

impl Outbound {
    /// For a 1.0 link sealed with `key`; `rng` gives the nonces and belongs to this link alone.
    pub fn new(key: LinkKey, rng: Rng, limits: OutboundLimits, now: Time) -> Outbound {
        let pacer = Pacer::Go(AnyPhase::new(now, GO_BURST, GO_RATE_PER_S));
        let seal = Seal::Plain { key, rng: Box::new(rng), pacer };
        Outbound { seal, lanes: Default::default(), bytes: 0, limits }
    }

    /// The peer announced its own limits (it is a RigMesh node): pace by nine tenths of them from now on, and send
    /// nothing larger than it takes.
    pub fn handle_announced(&mut self, now: Time, burst: u32, rate_per_s: u32, message_bytes_max: usize) {
        self.limits.frame_bytes_max = self.limits.frame_bytes_max.min(message_bytes_max.max(FRAME_BYTES_MIN));
        let tenths = |n: u32| (u64::from(n) * 9 / 10).max(1);
        if let Seal::Plain { pacer, .. } = &mut self.seal {
            *pacer = Pacer::Announced(Bucket::new(now, tenths(burst), tenths(rate_per_s)));
        }
    }

    /// Queues something plain. `Busy` when the queue is full, `Malformed` when it can never fit.
    pub fn handle_send(&mut self, lane: Lane, body: Vec<u8>) -> Result<()> {
        let secure = matches!(self.seal, Seal::Secure { .. });
        let max = match lane {
            Lane::Packet if secure => PACKET_BYTES_MAX,
            Lane::Packet => 0,
            Lane::Data if secure => DATA_BYTES_MAX,
            Lane::Control | Lane::Bulk | Lane::Data => self.limits.frame_bytes_max.saturating_sub(SEAL_OVERHEAD),
        };
        if body.len() > max {
            return Err(Error::malformed("message", format!("{} bytes, at most {max} can be sent", body.len())));
        }
        let waiting = self.lanes.iter().map(VecDeque::len).sum::<usize>();
        if waiting >= self.limits.messages_max || self.bytes + body.len() > self.limits.bytes_max {
            return Err(Error::Busy);
        }
        self.bytes += body.len();
        let [control, packets, bulk, data] = &mut self.lanes;
        match lane {
            // Larger ones are cut small, so that others may go in between.
            Lane::Control if secure && body.len() > CONTROL_BYTES_MAX => bulk.push_back(body),
            Lane::Control => control.push_back(body),
            Lane::Packet => packets.push_back(body),
            Lane::Bulk => bulk.push_back(body),
            Lane::Data => data.push_back(body),
        }
        Ok(())
    }

    /// Seals the next frame that may go now and appends it to `out`. `Ok(false)`: nothing to
    /// send, or the pacer says wait. An `Err` is about that one message, which is gone.
    pub fn poll_frame(&mut self, now: Time, timestamp_s: i64, out: &mut Vec<u8>) -> Result<bool> {
        if matches!(self.seal, Seal::Secure { .. }) {
            return self.poll_part(now, out);
        }
        let Some(body) = self.next_body(now) else { return Ok(false) };
        self.forget(&body);
        let text = std::str::from_utf8(&body).map_err(|_| Error::malformed("message", "not UTF-8"))?;
        let start = out.len();
        if let Seal::Plain { key, rng, .. } = &mut self.seal {
            seal_v1(key, rng.array(), timestamp_s, text, out)?;
        }
        if out.len() - start > self.limits.frame_bytes_max {
            let size = out.len() - start;
            out.truncate(start);
            return Err(Error::malformed(
                "message",
                format!("{size} sealed bytes do not fit into one frame of {}", self.limits.frame_bytes_max),
            ));
        }
        Ok(true)
    }

    /// A message has left its lane.
    fn forget(&mut self, body: &[u8]) {
        for lane in &mut self.lanes {
            if lane.is_empty() && lane.capacity() > 16 {
                *lane = VecDeque::new(); // an idle link keeps no queue
            }
        }
        self.bytes -= body.len();
    }

    /// The next part of the first message of the first lane that has one.
    fn poll_part(&mut self, now: Time, out: &mut Vec<u8>) -> Result<bool> {
        let Seal::Secure { frames, gone } = &mut self.seal else { return Ok(false) };
        for ((lane, gone), kind) in self.lanes.iter_mut().zip(gone).zip(KINDS) {
            let Some(body) = lane.front() else { continue };
            // A key that is replaced first leaves it as it was.
            let before = out.len();
            *gone = frames.seal(now, kind, body, *gone, out)?;
            debug_assert!(out.len() > before);
            if *gone >= body.len() {
                *gone = 0;
                if let Some(body) = lane.pop_front() {
                    self.forget(&body);
                }
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Data goes only when the other lanes are empty: while the pacer holds those back, it waits too.
    fn next_body(&mut self, now: Time) -> Option<Vec<u8>> {
        let [control, _, bulk, _] = &self.lanes;
        if !control.is_empty() || !bulk.is_empty() {
            if !self.may_send(now) {
                return None;
            }
            let [control, _, bulk, _] = &mut self.lanes;
            return control.pop_front().or_else(|| bulk.pop_front());
        }
        let [_, _, _, data] = &mut self.lanes;
        data.pop_front()
    }

    /// When to call [`Outbound::poll_frame`] again because the pacer held something back.
    pub fn poll_timeout(&self, now: Time) -> Option<Time> {
        if self.is_empty() {
            return None;
        }
        match &self.seal {
            Seal::Plain { pacer: Pacer::Go(limiter), .. } => Some(limiter.ready_at(now)),
            // A bucket is asked again soon; it is only empty under sustained overload.
            Seal::Plain { pacer: Pacer::Announced(_), .. } => Some(now + std::time::Duration::from_millis(5)),
            Seal::Secure { .. } => None,
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(VecDeque::is_empty)
    }

    /// Forgets all lanes but the first: the link is closing and only goodbyes are worth sending.
    pub fn handle_close(&mut self) {
        for lane in self.lanes.iter_mut().skip(1) {
            self.bytes -= lane.iter().map(Vec::len).sum::<usize>();
            lane.clear();
        }
        if let Seal::Secure { gone: [_, others @ ..], .. } = &mut self.seal {
            *others = [0; LANES - 1];
        }
    }

    fn may_send(&mut self, now: Time) -> bool {
        match &mut self.seal {
            Seal::Plain { pacer: Pacer::Go(limiter), .. } => limiter.allow(now),
            Seal::Plain { pacer: Pacer::Announced(bucket), .. } => bucket.take(now, 1).is_ok(),
            Seal::Secure { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::smsg::open_link;

    fn opened(key: &LinkKey, frame: &mut [u8]) -> String {
        let mut body = Vec::new();
        open_link(key, frame, &mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn data_goes_when_nothing_else_waits_and_no_pacer_holds_it() {
        let (key, now) = (LinkKey::from_secret(&[1; 32]), Time::ZERO);
        let mut out = Outbound::new(key.clone(), Rng::from_number(1), OutboundLimits::default(), now);
        for i in 0..500 {
            out.handle_send(Lane::Data, format!("data {i}").into_bytes()).unwrap();
        }
        out.handle_send(Lane::Bulk, b"logs".to_vec()).unwrap();
        out.handle_send(Lane::Control, b"ping".to_vec()).unwrap();
        let next = |out: &mut Outbound| {
            let mut frame = Vec::new();
            out.poll_frame(now, 1, &mut frame).unwrap().then(|| opened(&key, &mut frame))
        };
        assert_eq!(next(&mut out).unwrap(), "ping");
        assert_eq!(next(&mut out).unwrap(), "logs");
        // More than a Go node's limit at one moment: the rig asked for each of them.
        for i in 0..499 {
            assert_eq!(next(&mut out).unwrap(), format!("data {i}"));
        }
        out.handle_send(Lane::Control, b"status".to_vec()).unwrap();
        assert_eq!(next(&mut out).unwrap(), "status", "it overtakes what waits");
        assert_eq!(next(&mut out).unwrap(), "data 499");
        assert!(next(&mut out).is_none() && out.is_empty());
        assert!(out.handle_send(Lane::Packet, vec![1]).is_err(), "1.0 knows no packets");
    }

    #[test]
    fn in_a_session_packets_go_behind_messages_and_data_last_in_small_parts() {
        use crate::session::secure::CipherHalf;
        let half = || CipherHalf::new(&[5; 32]);
        let keys = LinkKeys::Secure { send: half(), receive: half(), peer_max: 1 << 16 };
        let (limits, now) = (InboundLimits::new(100, 50), Time::ZERO);
        let (mut out, _) =
            halves(keys, Rng::from_number(1), OutboundLimits::default(), limits, 1 << 16, Takes::default(), now);
        let mut opener = FrameOpener::new(half(), 1 << 16);
        let mut next = |out: &mut Outbound| {
            let mut frame = Vec::new();
            assert!(out.poll_frame(now, 1, &mut frame).unwrap());
            assert!(frame.len() <= 16_384 + 18, "somebody in a hurry waits for one part at most");
            opener.handle_frame(now, &mut frame).unwrap().map(|(kind, body)| (kind, body.len()))
        };
        out.handle_send(Lane::Data, vec![3; DATA_BYTES_MAX]).unwrap();
        assert_eq!(next(&mut out), None);
        out.handle_send(Lane::Bulk, vec![b' '; 20_000]).unwrap();
        out.handle_send(Lane::Packet, vec![4; 100]).unwrap();
        out.handle_send(Lane::Control, b"ping".to_vec()).unwrap();
        assert_eq!(next(&mut out), Some((Kind::Control, 4)));
        assert_eq!(next(&mut out), Some((Kind::Ueps, 100)));
        assert_eq!(next(&mut out), None);
        assert_eq!(next(&mut out), Some((Kind::Large, 20_000)));
        let rest: Vec<_> = (0..4).map(|_| next(&mut out)).collect();
        assert_eq!(rest, [None, None, None, Some((Kind::Data, DATA_BYTES_MAX))]);
        assert!(out.is_empty());
        assert!(out.handle_send(Lane::Packet, vec![4; PACKET_BYTES_MAX + 1]).is_err());
        assert!(out.handle_send(Lane::Data, vec![4; DATA_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn a_closing_link_forgets_what_is_patient() {
        let mut out = Outbound::new(
            LinkKey::from_secret(&[1; 32]),
            Rng::from_number(1),
            OutboundLimits { bytes_max: 100, ..OutboundLimits::default() },
            Time::ZERO,
        );
        out.handle_send(Lane::Data, vec![b'x'; 60]).unwrap();
        assert_eq!(out.handle_send(Lane::Bulk, vec![b'x'; 60]), Err(Error::Busy), "all lanes share the bound");
        out.handle_close();
        assert!(out.is_empty());
        out.handle_send(Lane::Control, vec![b'x'; 90]).unwrap();
    }
}
