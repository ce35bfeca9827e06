//! The reader's half: limits what comes in before any work is done on it, opens frames in place
//! and decodes them. Owned by the connection's reader; the dispatcher changes its numbers through
//! [`InboundLimits`].

use super::limit::Bucket;
use super::secure::{CHUNK1, Fault, FrameOpener, Kind, UEPS1};
use crate::base::{Error, Refusal, Time};
use crate::formats::smsg::{LinkKey, open_link};
use crate::message::{Chunk, Message};
use crate::wire::ueps::{Reading, decode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The message limit in force on one connection, shared by the reader's half and the dispatcher:
/// it rises when the peer turns out to be a RigMesh node (mesh.md §3).
#[derive(Debug)]
pub struct InboundLimits {
    burst: AtomicU32,
    rate_per_s: AtomicU32,
    /// Frames dropped before or at opening, for the status.
    dropped: AtomicU64,
    /// Data that nobody had asked for: it counts as messages after all.
    unasked: AtomicU32,
}

impl InboundLimits {
    /// Messages: `burst` at once and `rate_per_s` a second.
    pub fn new(burst: u32, rate_per_s: u32) -> Arc<InboundLimits> {
        Arc::new(InboundLimits {
            burst: AtomicU32::new(burst),
            rate_per_s: AtomicU32::new(rate_per_s),
            dropped: AtomicU64::new(0),
            unasked: AtomicU32::new(0),
        })
    }

    /// Raises or lowers the limit.
    pub fn set(&self, burst: u32, rate_per_s: u32) {
        self.burst.store(burst, Ordering::Relaxed);
        self.rate_per_s.store(rate_per_s, Ordering::Relaxed);
    }

    /// Frames dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Data came that nobody had asked for: it is counted, and slows its sender down like a message.
    pub fn handle_unasked(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.unasked.fetch_add(1, Ordering::Relaxed);
    }

    fn numbers(&self) -> (u64, u64) {
        (u64::from(self.burst.load(Ordering::Relaxed)), u64::from(self.rate_per_s.load(Ordering::Relaxed)))
    }
}

/// Before opening, this many times the message limit may arrive on a 1.0 link.
const BEFORE_OPENING: u64 = 4;

/// What a node takes in a secure session besides messages: what it announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// File data.
    pub data: bool,
    /// UEPS packets.
    pub packets: bool,
}

impl Takes {
    /// Of a node that announced these extensions.
    pub fn announced(caps: &[String]) -> Takes {
        let has = |cap| caps.iter().any(|c| c == cap);
        Takes { data: has(CHUNK1), packets: has(UEPS1) }
    }
}

/// What became of a frame. A duration: the next one is to be read after this time, because the peer is over its limit, and
/// TCP tells it.
#[derive(Debug)]
pub enum Opened {
    /// It opened and is a message.
    Message(Message, Duration),
    /// It is a UEPS packet, well-formed and nothing else, not verified yet.
    Packet(Vec<u8>, Duration),
    /// It is a chunk and its place ([`Chunk::encode_frame`]). Whether anybody asked for it is for others to know.
    Data(Vec<u8>, Duration),
    /// It was a part of a message, or told of a new key.
    Part,
    /// It was dropped; the link stays. Over the limit, not sealed with this link's key, or not what its kind must be.
    Dropped(Error, Duration),
    /// The secure session is over.
    Over(Fault),
}

/// The reader's half of a session.
#[derive(Debug)]
pub struct Inbound {
    open: Open,
    limits: Arc<InboundLimits>,
    numbers: (u64, u64),
}

/// How a frame becomes a message.
#[derive(Debug)]
enum Open {
    /// Protocol 1.0: limited before anything is opened.
    Plain { key: LinkKey, message_bytes_max: u64, frames: Bucket, bytes: Bucket, body: Vec<u8> },
    /// A secure session: every frame is opened first, because each is bound to its place.
    Secure { frames: FrameOpener, messages: Bucket, takes: Takes },
}

/// A body buffer larger than this is given back after use: an idle link keeps little memory.
const BODY_KEEP: usize = 2048;

impl Inbound {
    /// For a 1.0 link sealed with `key` whose WebSocket messages have at most `message_bytes_max` bytes.
    pub fn new(key: LinkKey, limits: Arc<InboundLimits>, message_bytes_max: usize, now: Time) -> Inbound {
        let numbers = limits.numbers();
        let message_bytes_max = message_bytes_max as u64;
        let frames = Bucket::new(now, numbers.0 * BEFORE_OPENING, numbers.1 * BEFORE_OPENING);
        // Never stricter than 1.0, which counts messages and lets each have the full size.
        let size = |n: u64| n.saturating_mul(message_bytes_max);
        let bytes = Bucket::new(now, size(numbers.0), size(numbers.1));
        Inbound { open: Open::Plain { key, message_bytes_max, frames, bytes, body: Vec::new() }, limits, numbers }
    }

    /// For a secure session in which this is taken besides messages.
    pub fn secure(frames: FrameOpener, takes: Takes, limits: Arc<InboundLimits>, now: Time) -> Inbound {
        let numbers = limits.numbers();
        let messages = Bucket::new(now, numbers.0, numbers.1);
        Inbound { open: Open::Secure { frames, messages, takes }, limits, numbers }
    }

    /// Takes one WebSocket message's payload; it is decrypted in place. `binary`: a secure session takes no texts.
    pub fn handle_frame(&mut self, now: Time, binary: bool, frame: &mut [u8]) -> Opened {
        self.follow_limits(now);
        let opened = match &mut self.open {
            Open::Secure { .. } if !binary => Opened::Over(Fault::Forged),
            Open::Secure { frames, messages, takes } => match frames.handle_frame(now, frame) {
                Err(fault) => Opened::Over(fault),
                Ok(None) => Opened::Part,
                Ok(Some((kind, body))) => {
                    // What was asked for does not count: whoever asked has counted it.
                    let counts =
                        u64::from(kind != Kind::Data) + u64::from(self.limits.unasked.swap(0, Ordering::Relaxed));
                    let wait = messages.take_late(now, counts);
                    match kind {
                        Kind::Control | Kind::Large => match Message::decode(&body) {
                            Ok(message) => Opened::Message(message, wait),
                            Err(why) => Opened::Dropped(why, wait),
                        },
                        Kind::Data if takes.data => match Chunk::decode_frame(&body) {
                            Ok(_) => Opened::Data(body.into_owned(), wait),
                            Err(why) => Opened::Dropped(why, wait),
                        },
                        Kind::Ueps if takes.packets => match decode(&body, Reading::Strict) {
                            Ok((_, [])) => Opened::Packet(body.into_owned(), wait),
                            Ok((_, rest)) => {
                                let why = format!("{} bytes behind it", rest.len());
                                Opened::Dropped(Error::malformed("UEPS packet", why), wait)
                            }
                            Err(defect) => Opened::Dropped(defect.into(), wait),
                        },
                        Kind::Data | Kind::Ueps | Kind::Rekey => {
                            Opened::Over(Fault::Broken("a frame of a kind that was not agreed on"))
                        }
                    }
                }
            },
            Open::Plain { key, frames, bytes, body, .. } => {
                let wait = frames.take(now, 1).and_then(|()| bytes.take(now, frame.len() as u64));
                let opened = wait
                    .map_err(|d| Refusal::RateLimit {
                        retry_after_ms: u64::try_from(d.as_millis()).unwrap_or(u64::MAX),
                    })
                    .map_err(Error::from)
                    .and_then(|()| open_link(key, frame, body))
                    .and_then(|()| Message::decode(body));
                if body.capacity() > BODY_KEEP {
                    *body = Vec::new();
                }
                let no_wait = Duration::ZERO;
                opened.map_or_else(|why| Opened::Dropped(why, no_wait), |message| Opened::Message(message, no_wait))
            }
        };
        if matches!(opened, Opened::Dropped(..)) {
            self.limits.dropped.fetch_add(1, Ordering::Relaxed);
        }
        opened
    }

    fn follow_limits(&mut self, now: Time) {
        let numbers = self.limits.numbers();
        if numbers == self.numbers {
            return;
        }
        self.numbers = numbers;
        match &mut self.open {
            Open::Plain { message_bytes_max, frames, bytes, .. } => {
                frames.set(now, numbers.0 * BEFORE_OPENING, numbers.1 * BEFORE_OPENING);
                let size = |n: u64| n.saturating_mul(*message_bytes_max);
                bytes.set(now, size(numbers.0), size(numbers.1));
            }
            Open::Secure { messages, .. } => messages.set(now, numbers.0, numbers.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::secure::{CipherHalf, FrameSealer};
    use crate::wire::ueps::{Header, Key, encode_to};

    fn pair(takes: Takes) -> (FrameSealer, Inbound, Arc<InboundLimits>) {
        let half = || CipherHalf::new(&[5; 32]);
        let limits = InboundLimits::new(10, 1);
        let inbound = Inbound::secure(FrameOpener::new(half(), 1 << 16), takes, limits.clone(), Time::ZERO);
        (FrameSealer::new(half(), Time::ZERO), inbound, limits)
    }

    /// All parts of a message; what came of the last.
    fn send(sealer: &mut FrameSealer, inbound: &mut Inbound, kind: Kind, body: &[u8]) -> Opened {
        let mut done = 0;
        loop {
            let mut frame = Vec::new();
            done = sealer.seal(Time::ZERO, kind, body, done, &mut frame).unwrap();
            match inbound.handle_frame(Time::ZERO, true, &mut frame) {
                Opened::Part if done < body.len() => {}
                opened => return opened,
            }
        }
    }

    #[test]
    fn what_was_not_announced_ends_the_session_and_what_was_is_taken() {
        let mut packet = Vec::new();
        encode_to(&Header::new(1), &[7; 65_535], &Key::from_bytes(b"k"), &mut packet).unwrap();
        let chunk = Chunk::encode_frame(1, 2, &[3; 65_536]);
        for (caps, data, packets) in
            [(&[][..], false, false), (&[CHUNK1][..], true, false), (&[UEPS1, "other"], false, true)]
        {
            let takes = Takes::announced(&caps.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>());
            let (mut sealer, mut inbound, _) = pair(takes);
            match send(&mut sealer, &mut inbound, Kind::Data, &chunk) {
                Opened::Data(body, _) => assert!(data && body == chunk),
                opened => assert!(!data && matches!(opened, Opened::Over(Fault::Broken(_))), "{opened:?}"),
            }
            let (mut sealer, mut inbound, _) = pair(takes);
            match send(&mut sealer, &mut inbound, Kind::Ueps, &packet) {
                Opened::Packet(body, _) => assert!(packets && body == packet),
                opened => assert!(!packets && matches!(opened, Opened::Over(Fault::Broken(_))), "{opened:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_packet_and_no_chunk_is_dropped_counted_and_limited() {
        let (mut sealer, mut inbound, limits) = pair(Takes { data: true, packets: true });
        let mut packet = Vec::new();
        encode_to(&Header::new(1), b"abc", &Key::from_bytes(b"k"), &mut packet).unwrap();
        let longer = [packet.as_slice(), b"x"].concat();
        for body in [&[][..], b"x", &packet[..packet.len() - 1], &longer, b"{\"type\":\"ueps\"}"] {
            let opened = send(&mut sealer, &mut inbound, Kind::Ueps, body);
            assert!(matches!(opened, Opened::Dropped(..)), "{opened:?}");
        }
        for body in [&[][..], &[0; 8]] {
            let opened = send(&mut sealer, &mut inbound, Kind::Data, body);
            assert!(matches!(opened, Opened::Dropped(..)), "{opened:?}");
        }
        assert_eq!(limits.dropped(), 7);
        for _ in 0..5 {
            let opened = send(&mut sealer, &mut inbound, Kind::Ueps, &packet);
            assert!(matches!(opened, Opened::Packet(_, Duration::ZERO)), "{opened:?}");
        }
        let opened = send(&mut sealer, &mut inbound, Kind::Ueps, b"nonsense");
        assert!(matches!(opened, Opened::Dropped(_, wait) if wait >= Duration::from_secs(1)), "{opened:?}");
    }

    #[test]
    fn data_that_was_asked_for_never_waits_and_other_data_does() {
        let (mut sealer, mut inbound, limits) = pair(Takes { data: true, packets: true });
        let chunk = Chunk::encode_frame(1, 2, b"abc");
        for _ in 0..100 {
            let opened = send(&mut sealer, &mut inbound, Kind::Data, &chunk);
            assert!(matches!(opened, Opened::Data(_, Duration::ZERO)), "{opened:?}");
        }
        (0..12).for_each(|_| limits.handle_unasked());
        let opened = send(&mut sealer, &mut inbound, Kind::Data, &chunk);
        assert!(matches!(opened, Opened::Data(_, wait) if wait == Duration::from_secs(2)), "{opened:?}");
        assert_eq!(limits.dropped(), 12);
    }
}
