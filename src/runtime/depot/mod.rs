//! What a rig is sent and what it runs: incoming objects, installed versions, the switch between them.
//!
//! * [`incoming`]: objects on their way in, chunk by chunk, that survive any interruption (chunked-deploy.md).
//! * [`slots`]: every miner's versions beside each other, which of them is current, and the way back.
//! * [`record`]: the small files that say so.
//!
//! ```text
//! <data>/incoming/<t>/{manifest,from,data}      t: the object's id; data: room for all bytes, chunks at their places
//! <data>/slots/<name>/<n>/…                     the files of version n, and .slot.json, which says what they are
//! <data>/slots/<name>/current                   which version runs, the one before, how its trial stands
//! ```
//! Everything else found there is what a crash left, and is removed at the next start. Each change goes through
//! [`crate::runtime::files::disk`], so that the tests can stop at any of them.

#[cfg(test)]
mod crash_tests;
mod incoming;
mod record;
mod slots;
#[cfg(test)]
mod tests;

pub(crate) use incoming::{Depot, Offer, Stored};
pub(crate) use slots::SlotProgram;
pub use slots::{SlotFile, SlotVersion, Slots, VersionState};

use std::time::Duration;

/// How much is kept. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepotLimits {
    /// Most bytes of objects on their way in; the oldest leave first. Default 2 GiB.
    pub incoming_bytes_max: u64,
    /// How long an object that is not complete is kept after it was last offered. Default 7 days.
    pub keep: Duration,
    /// Bytes of the file system that a deploy leaves free. Default 64 MiB.
    pub reserve_bytes: u64,
    /// Most bytes of installed versions, all slots together. The current version of a slot and the one before are
    /// never removed for it. Default 4 GiB.
    pub slots_bytes_max: u64,
    /// How many of the newest versions of a slot are kept, besides the current one and the one before. Default 3.
    pub versions_kept: usize,
}

impl Default for DepotLimits {
    fn default() -> DepotLimits {
        DepotLimits {
            incoming_bytes_max: 2 << 30,
            keep: Duration::from_secs(7 * 24 * 3600),
            reserve_bytes: 64 << 20,
            slots_bytes_max: 4 << 30,
            versions_kept: 3,
        }
    }
}
