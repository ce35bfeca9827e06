//! The records of one key, in the order they came, and how many of each kind it may have (dht.md §9.1).

use super::super::{Category, Fault, Policy, SignedRecord, Subnet, rec_type};
use crate::base::{Time, Timestamp};
use std::collections::BTreeMap;

/// A record in the store.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) record: SignedRecord,
    /// Its number, never used again.
    pub(super) serial: u64,
    /// The neighbourhood it came from; none if it is this node's own doing.
    pub(super) source: Option<Subnet>,
    /// When it leaves, if it does by itself.
    pub(super) ends: Time,
    /// Whether its signature and authority were checked. Not yet of one that was restored.
    pub(super) verified: bool,
}

/// What each record costs beside its own bytes: places in maps.
const UPKEEP_BYTES: usize = 256;

impl Held {
    /// What it counts for: its encoded form (of which 155 bytes are not content, at most), and its upkeep.
    pub(super) fn bytes(&self) -> usize {
        155 + self.record.payload().len() + self.record.delegation.len() + UPKEEP_BYTES
    }
}

/// The records of one key.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    /// In the order they came.
    pub(super) held: Vec<Held>,
    /// The second it was asked or written last, and a number for order within it.
    pub(super) access: (u64, u64),
}

impl Shelf {
    /// The record that another of the same slot would replace.
    pub(super) fn version_of(&self, record: &SignedRecord) -> Option<&Held> {
        let slot = record.slot();
        self.held.iter().find(|held| held.record.slot() == slot)
    }

    pub(super) fn take(&mut self, serial: u64) -> Option<Held> {
        let place = self.held.iter().position(|held| held.serial == serial)?;
        Some(self.held.remove(place))
    }

    /// Takes out what is over at `now`.
    pub(super) fn take_expired(&mut self, now: Timestamp, policy: &Policy) -> Vec<Held> {
        let over = |held: &mut Held| held.record.check_time(now, &policy.rules) == Err(Fault::Expired);
        self.held.extract_if(.., over).collect()
    }

    /// Puts a record last, with the others of its kind in front of it and those of other kinds in front of them.
    pub(super) fn push(&mut self, held: Held) {
        let kind = kind(&held.record);
        self.held.push(held);
        // Stable: the others first.
        self.held.sort_by_key(|held| self::kind(&held.record) == kind);
    }

    /// A record that is one too many of its kind, if there is one; `newest` is the one that came last.
    pub(super) fn surplus(&self, newest: u64, policy: &Policy) -> Option<u64> {
        let newest = self.held.iter().find(|held| held.serial == newest)?;
        let kind = kind(&newest.record);
        let alike = || self.held.iter().filter(|held| self::kind(&held.record) == kind);
        let count = alike().count();
        match kind {
            Category::Topic if count > policy.topic_per_key => self.greediest(alike(), policy),
            Category::Topic => None,
            Category::Mailbox => {
                let by_sender = || alike().filter(|held| held.record.pubkey == newest.record.pubkey);
                if by_sender().count() > policy.mailbox_per_sender {
                    oldest(by_sender())
                } else if count > policy.mailbox_per_key {
                    self.greediest(alike(), policy)
                } else {
                    None
                }
            }
            Category::Sovereign | Category::Unknown if count > policy.own_per_key => {
                let other = alike().find(|held| held.record.rec_type != rec_type::ENDPOINT);
                other.map(|held| held.serial).or_else(|| oldest(alike()))
            }
            Category::Sovereign | Category::Unknown => None,
        }
    }

    /// The oldest record; under a fair policy of the neighbourhood that has most.
    fn greediest<'a>(&self, alike: impl Iterator<Item = &'a Held> + Clone, policy: &Policy) -> Option<u64> {
        if !policy.fair_eviction {
            return oldest(alike);
        }
        let mut counts = BTreeMap::<Subnet, usize>::new();
        for source in alike.clone().filter_map(|held| held.source) {
            *counts.entry(source).or_default() += 1;
        }
        let most = counts.values().max().copied().unwrap_or(0);
        let greedy = |held: &&Held| held.source.is_some_and(|source| counts.get(&source) == Some(&most));
        oldest(alike.clone().filter(greedy)).or_else(|| oldest(alike))
    }
}

/// The kinds that are counted together.
fn kind(record: &SignedRecord) -> Category {
    match record.category() {
        Category::Unknown => Category::Sovereign,
        other => other,
    }
}

/// That of the lowest timestamp, the first of several.
fn oldest<'a>(records: impl Iterator<Item = &'a Held>) -> Option<u64> {
    records.min_by_key(|held| held.record.timestamp).map(|held| held.serial)
}
