//! Step 5: one connection as machines that never see a socket.
//!
//! A connection's life: [`handshake`] (both roles, clear text) gives an [`Established`]; from it
//! come three parts that different threads own. [`Inbound`] (the reader's thread) limits, opens
//! and decodes frames. [`Outbound`] (behind the connection's lock) queues, paces and seals.
//! [`Dialogue`] (the dispatcher's thread) knows what was said: who is proven, which ids were
//! sent and seen, when to ping, when to hang up. [`Marks`] is a key's memory across connections
//! and restarts, so that a command is accepted at most once, ever.

pub(crate) mod alone;
mod challenges;
mod dialogue;
mod freshness;
pub mod handshake;
mod inbound;
mod limit;
mod outbound;
pub mod pairing;
pub mod secure;

pub use challenges::Challenges;
pub use dialogue::{Dialogue, DialogueConfig, Dropped, Hangup, Opening, Verdict};
pub use freshness::{Freshness, IDS_MAX, Marks};
pub use handshake::{
    Asked, Dialled, Established, Expect, HalfOpen, Initiator, Known, LinkKeys, Responded, Security, SessionInfo, Side,
    respond,
};
pub use inbound::{Inbound, InboundLimits, Opened, Takes};
pub use limit::{Bucket, MessageDeduplicator, PeerRateLimiter, SeenIds};
pub use outbound::{Lane, Outbound, OutboundLimits, halves};
