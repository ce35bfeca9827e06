//! What the routing table knows of one node, and when it learned it.

use super::super::NodeInfo;
use crate::base::Time;
use std::num::NonZeroU64;
use std::time::Duration;

/// A moment of monotonic time that may lie before its start: before a restart, that is. Microseconds since [`ORIGIN`], and
/// never zero, so that one that may be missing takes no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(NonZeroU64);

/// The start of the clock: further back than anything that is remembered.
const ORIGIN: u64 = 1 << 62;

impl Moment {
    pub(super) fn of(now: Time) -> Moment {
        Moment(NonZeroU64::MIN.saturating_add(ORIGIN.saturating_add(now.as_micros())))
    }

    pub(super) fn before(now: Time, age: Duration) -> Moment {
        let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        Moment(NonZeroU64::new(Moment::of(now).0.get().saturating_sub(age)).unwrap_or(NonZeroU64::MIN))
    }

    /// How long ago it was; zero if it is to come.
    pub(super) fn ago(self, now: Time) -> Duration {
        Duration::from_micros(Moment::of(now).0.get().saturating_sub(self.0.get()))
    }
}

/// A table of 64 nodes is most of what a node has in memory.
const _: () = assert!(size_of::<Entry>() <= 96);

/// How a node became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It answered a request of ours: it is there, and has that key.
    Answered,
    /// It sent a signed request, from an address that anyone could have put on it.
    Asked,
    /// Somebody named it.
    Heard,
}

/// One node of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Who and where.
    pub info: NodeInfo,
    /// When it answered last.
    pub(super) verified: Option<Moment>,
    /// When it came.
    pub(super) added: Moment,
    /// Questions it left unanswered since.
    pub(super) misses: u8,
}

impl Entry {
    pub(super) fn new(info: NodeInfo, now: Time, verified: bool) -> Entry {
        let now = Moment::of(now);
        Entry { info, verified: verified.then_some(now), added: now, misses: 0 }
    }

    /// How long ago it answered last; none if it never did.
    pub fn verified_ago(&self, now: Time) -> Option<Duration> {
        self.verified.map(|at| at.ago(now))
    }

    /// Whether it ever answered.
    pub fn is_verified(&self) -> bool {
        self.verified.is_some()
    }

    pub(super) fn answered_within(&self, now: Time, span: Duration) -> bool {
        self.verified_ago(now).is_some_and(|ago| ago < span)
    }
}
