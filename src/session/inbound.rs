//! The reader's half: limits what comes in before any work is done on it, opens frames in place
//! and decodes them. Owned by the connection's reader; the dispatcher changes its numbers through
//! [`InboundLimits`].

use super::limit::Bucket;
use super::secure::{Fault, FrameOpener, Kind};
use crate::base::{Error, Refusal, Time};
use crate::formats::smsg::{LinkKey, open_link};
use crate::message::{Message, MessageType};
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
}

impl InboundLimits {
    /// Messages: `burst` at once and `rate_per_s` a second.
    pub fn new(burst: u32, rate_per_s: u32) -> Arc<InboundLimits> {
        Arc::new(InboundLimits {
            burst: AtomicU32::new(burst),
            rate_per_s: AtomicU32::new(rate_per_s),
            dropped: AtomicU64::new(0),
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

    fn numbers(&self) -> (u64, u64) {
        (u64::from(self.burst.load(Ordering::Relaxed)), u64::from(self.rate_per_s.load(Ordering::Relaxed)))
    }
}

/// Before opening, this many times the message limit may arrive on a 1.0 link.
const BEFORE_OPENING: u64 = 4;

/// What became of a frame.
#[derive(Debug)]
pub enum Opened {
    /// It opened and is a message. The next one is to be read after this time: the peer is over its limit, and TCP tells it.
    Message(Message, Duration),
    /// It was a part of a message, or told of a new key.
    Part,
    /// It was dropped; the link stays. Over the limit, not sealed with this link's key, or no message.
    Dropped(Error),
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
    Secure { frames: FrameOpener, messages: Bucket },
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

    /// For a secure session.
    pub fn secure(frames: FrameOpener, limits: Arc<InboundLimits>, now: Time) -> Inbound {
        let numbers = limits.numbers();
        let messages = Bucket::new(now, numbers.0, numbers.1);
        Inbound { open: Open::Secure { frames, messages }, limits, numbers }
    }

    /// Takes one WebSocket message's payload; it is decrypted in place. `binary`: a secure session takes no texts.
    pub fn handle_frame(&mut self, now: Time, binary: bool, frame: &mut [u8]) -> Opened {
        self.follow_limits(now);
        let opened = match &mut self.open {
            Open::Secure { .. } if !binary => Opened::Over(Fault::Forged),
            Open::Secure { frames, messages } => match frames.handle_frame(now, frame) {
                Err(fault) => Opened::Over(fault),
                Ok(None) => Opened::Part,
                Ok(Some((Kind::Control | Kind::Large, body))) => match Message::decode(&body) {
                    // What was asked for does not count: whoever asked has counted it.
                    Ok(message) if message.kind == MessageType::Chunk => Opened::Message(message, Duration::ZERO),
                    Ok(message) => Opened::Message(message, messages.take_late(now, 1)),
                    Err(why) => Opened::Dropped(why),
                },
                Ok(Some(_)) => Opened::Over(Fault::Broken("a frame of a kind that was not agreed on")),
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
                opened.map_or_else(Opened::Dropped, |message| Opened::Message(message, Duration::ZERO))
            }
        };
        if matches!(opened, Opened::Dropped(_)) {
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
