//! The reader's half: limits what comes in before any work is done on it, opens frames in place
//! and decodes them. Owned by the connection's reader; the dispatcher changes its numbers through
//! [`InboundLimits`].

use super::limit::Bucket;
use crate::base::{Error, Time};
use crate::formats::smsg::{LinkKey, open_link};
use crate::message::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

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

/// Before opening, this many times the message limit may arrive.
const BEFORE_OPENING: u64 = 4;

/// What became of a frame.
#[derive(Debug)]
pub enum Opened {
    /// It opened and is a message.
    Message(Message),
    /// It was dropped; the link stays. Over the limit, not sealed with this link's key, or no message.
    Dropped(Error),
}

/// The reader's half of a session.
#[derive(Debug)]
pub struct Inbound {
    key: LinkKey,
    limits: Arc<InboundLimits>,
    numbers: (u64, u64),
    message_bytes_max: u64,
    frames: Bucket,
    bytes: Bucket,
    body: Vec<u8>,
}

/// A body buffer larger than this is given back after use: an idle link keeps little memory.
const BODY_KEEP: usize = 2048;

impl Inbound {
    /// For a link sealed with `key` whose WebSocket messages have at most `message_bytes_max` bytes.
    pub fn new(key: LinkKey, limits: Arc<InboundLimits>, message_bytes_max: usize, now: Time) -> Inbound {
        let numbers = limits.numbers();
        let message_bytes_max = message_bytes_max as u64;
        Inbound {
            key,
            limits,
            numbers,
            message_bytes_max,
            frames: Bucket::new(now, numbers.0 * BEFORE_OPENING, numbers.1 * BEFORE_OPENING),
            // Never stricter than 1.0, which counts messages and lets each have the full size.
            bytes: Bucket::new(
                now,
                numbers.0.saturating_mul(message_bytes_max),
                numbers.1.saturating_mul(message_bytes_max),
            ),
            body: Vec::new(),
        }
    }

    /// Takes one WebSocket message's payload; it is decrypted in place.
    pub fn handle_frame(&mut self, now: Time, frame: &mut [u8]) -> Opened {
        let opened = self.open(now, frame);
        if self.body.capacity() > BODY_KEEP {
            self.body = Vec::new();
        }
        match opened {
            Ok(message) => Opened::Message(message),
            Err(why) => {
                self.limits.dropped.fetch_add(1, Ordering::Relaxed);
                Opened::Dropped(why)
            }
        }
    }

    fn open(&mut self, now: Time, frame: &mut [u8]) -> Result<Message, Error> {
        self.follow_limits(now);
        let wait = self.frames.take(now, 1).and_then(|()| self.bytes.take(now, frame.len() as u64));
        wait.map_err(|d| crate::base::Refusal::RateLimit {
            retry_after_ms: u64::try_from(d.as_millis()).unwrap_or(u64::MAX),
        })?;
        open_link(&self.key, frame, &mut self.body)?;
        Message::decode(&self.body)
    }

    fn follow_limits(&mut self, now: Time) {
        let numbers = self.limits.numbers();
        if numbers != self.numbers {
            self.numbers = numbers;
            self.frames.set(now, numbers.0 * BEFORE_OPENING, numbers.1 * BEFORE_OPENING);
            self.bytes.set(
                now,
                numbers.0.saturating_mul(self.message_bytes_max),
                numbers.1.saturating_mul(self.message_bytes_max),
            );
        }
    }
}
