//! Who fills how much of the store.

use super::shelf::Held;
use crate::kad::{Policy, Subnet};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    records: usize,
    bytes: usize,
}

/// What others' records amount to, by key that signed and by neighbourhood that sent. This node's own are not counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    bytes: usize,
    publishers: BTreeMap<[u8; 32], Amount>,
    sources: BTreeMap<Subnet, Amount>,
}

impl Usage {
    /// Bytes of all records, one's own included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn count(&mut self, held: &Held) {
        let bytes = held.bytes();
        self.bytes += bytes;
        let Some(source) = held.source else { return };
        for amount in [self.publishers.entry(held.record.pubkey).or_default(), self.sources.entry(source).or_default()]
        {
            amount.records += 1;
            amount.bytes += bytes;
        }
    }

    pub(super) fn discount(&mut self, held: &Held) {
        let bytes = held.bytes();
        self.bytes = self.bytes.saturating_sub(bytes);
        let Some(source) = held.source else { return };
        discount(&mut self.publishers, &held.record.pubkey, bytes);
        discount(&mut self.sources, &source, bytes);
    }

    /// What limit a record would break that takes the place of another, or of none.
    pub(super) fn breaks(&self, held: &Held, replaced: Option<&Held>, policy: &Policy) -> Option<&'static str> {
        let (quotas, source) = (policy.quotas?, held.source?);
        let freed = |same: bool| match replaced.filter(|other| same && other.source.is_some()) {
            Some(other) => Amount { records: 1, bytes: other.bytes() },
            None => Amount::default(),
        };
        let over = |amount: Option<&Amount>, freed: Amount, records: usize, bytes: usize| {
            let amount = amount.copied().unwrap_or_default();
            amount.records + 1 > records + freed.records || amount.bytes + held.bytes() > bytes + freed.bytes
        };
        let same_key = replaced.is_some_and(|other| other.record.pubkey == held.record.pubkey);
        let publisher = self.publishers.get(&held.record.pubkey);
        if over(publisher, freed(same_key), quotas.publisher_records, quotas.publisher_bytes) {
            return Some("the publisher has as much here as it may");
        }
        let same_source = replaced.is_some_and(|other| other.source == Some(source));
        let amount = self.sources.get(&source);
        if over(amount, freed(same_source), quotas.source_records, quotas.source_bytes) {
            return Some("this much is kept of what comes from there");
        }
        None
    }

    #[cfg(test)]
    pub(super) fn is_nothing(&self) -> bool {
        self.bytes == 0 && self.publishers.is_empty() && self.sources.is_empty()
    }
}

fn discount<K: Ord>(amounts: &mut BTreeMap<K, Amount>, key: &K, bytes: usize) {
    let Some(amount) = amounts.get_mut(key) else { return };
    amount.records = amount.records.saturating_sub(1);
    amount.bytes = amount.bytes.saturating_sub(bytes);
    if amount.records == 0 {
        amounts.remove(key);
    }
}
