//! One bucket of the routing table: its nodes, its candidates, and what is being done about them.

use super::entry::{Entry, Moment};
use crate::kad::Id;
use std::collections::VecDeque;

/// The nodes that share a number of first bits with this one.
#[derive(Clone, Debug, Default)]
pub(super) struct Bucket {
    /// Least recently heard of first.
    pub(super) main: Vec<Entry>,
    /// Oldest first.
    pub(super) pending: VecDeque<Entry>,
    pub(super) probe: Option<Box<Probe>>,
    pub(super) refill: Refill,
}

/// A question to an entry of a full bucket.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub(super) id: Id,
    pub(super) since: Moment,
    /// Who takes its place at once if it is silent; otherwise one of the candidates does.
    pub(super) newcomer: Option<Box<Entry>>,
}

/// What is known of the refills of a bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct Refill {
    pub(super) last: Option<Moment>,
    /// How many in a row found nobody new.
    pub(super) futile: u8,
    /// Whether the bucket had enough fresh entries when it was looked at last.
    pub(super) healthy: bool,
    /// Entries and candidates when the last one began.
    pub(super) size: u16,
}

impl Bucket {
    /// Entries and candidates, at most 65,535.
    pub(super) fn size(&self) -> u16 {
        u16::try_from(self.main.len() + self.pending.len()).unwrap_or(u16::MAX)
    }

    pub(super) fn place(&self, id: &Id) -> Option<usize> {
        self.main.iter().position(|entry| entry.info.node_id == *id)
    }

    pub(super) fn waiting(&self, id: &Id) -> Option<usize> {
        self.pending.iter().position(|entry| entry.info.node_id == *id)
    }
}
