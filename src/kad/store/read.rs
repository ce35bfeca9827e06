//! What the store gives out.

use super::Store;
use super::shelf::Shelf;
use crate::base::Now;
use crate::identity::Address;
use crate::kad::{Distance, Fault, Id, SignedRecord, rec_type};

/// A row of `/debug/store` (dht.md §14.7).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StoreRecordDebug {
    /// The key.
    pub key_node_id_hex: String,
    /// Whose record it is.
    pub address_hex: String,
    /// Its type.
    pub rec_type: u8,
    /// Its number.
    pub seq: u64,
    /// When it was made, in Unix seconds.
    pub timestamp: u64,
    /// How long it lives.
    pub ttl_seconds: u32,
    /// Bytes of content.
    pub payload_cbor_len: usize,
}

impl Store {
    /// Checks what was restored and not yet asked for.
    pub(super) fn prove(&mut self, now: Now, at: &Distance) {
        let key = self.key(at);
        let Some(shelf) = self.shelves.get_mut(at) else { return };
        let mut wrong = Vec::new();
        for held in shelf.held.iter_mut().filter(|held| !held.verified) {
            let verdict = held.record.verify(now.wall, &self.policy.rules);
            match verdict.and_then(|()| self.authority.check(&key, &held.record, now.wall, &self.policy)) {
                Ok(()) => held.verified = true,
                // Asked about again when the clock is right.
                Err(Fault::Future | Fault::Expired) => {}
                Err(_) => wrong.push(held.serial),
            }
        }
        for serial in wrong {
            self.take(at, serial);
        }
    }

    /// The valid records of a key, in the order they are held; of one type, or of all for 0.
    pub fn get_all(&mut self, now: Now, key: &Id, rec_type: u8) -> Vec<&SignedRecord> {
        let at = self.own.distance(key);
        self.touch(now, &at);
        self.prove(now, &at);
        let rules = self.policy.rules;
        let held = self.shelves.get(&at).map(|shelf| shelf.held.as_slice()).unwrap_or_default();
        let valid = held.iter().filter(|held| held.verified && held.record.check_time(now.wall, &rules).is_ok());
        valid.map(|held| &held.record).filter(|record| rec_type == 0 || record.rec_type == rec_type).collect()
    }

    /// [`Store::get_all`] in the order for an answer, of which as many are sent as fit, from the end. The last `turn`
    /// (modulo their number) stand first: a node that asks again with the number of records it has so far gets others, one
    /// that asks with a random number sooner or later all. What `turn` is: the first eight bytes of the request's
    /// transaction id, as a number. The Go node's answers do not turn.
    pub fn get_page(&mut self, now: Now, key: &Id, rec_type: u8, turn: u64) -> Vec<&SignedRecord> {
        let turns = self.policy.fair_eviction;
        let mut records = self.get_all(now, key, rec_type);
        let count = records.len();
        if turns && count > 0 {
            records.rotate_right(usize::try_from(turn % count as u64).unwrap_or(0));
        }
        records
    }

    /// The newest valid endpoint record of a key.
    pub fn get(&mut self, now: Now, key: &Id) -> Option<&SignedRecord> {
        let rules = self.policy.rules;
        let records = self.get_all(now, key, rec_type::ENDPOINT);
        records.into_iter().reduce(|best, other| if other.is_newer_than(best, &rules) { other } else { best })
    }

    /// The valid records of an address, whatever their key; of one type, or of all for 0.
    pub fn get_all_by_address(&mut self, now: Now, address: &Address, rec_type: u8) -> Vec<&SignedRecord> {
        let has = |shelf: &Shelf| shelf.held.iter().any(|held| held.record.address == *address && !held.verified);
        let unproven: Vec<_> = self.shelves.iter().filter(|(_, shelf)| has(shelf)).map(|(at, _)| *at).collect();
        for at in unproven {
            self.prove(now, &at);
        }
        let rules = self.policy.rules;
        let held = self.shelves.values().flat_map(|shelf| &shelf.held);
        let valid = held.filter(|held| held.verified && held.record.check_time(now.wall, &rules).is_ok());
        let records = valid.map(|held| &held.record).filter(|record| record.address == *address);
        records.filter(|record| rec_type == 0 || record.rec_type == rec_type).collect()
    }

    /// Rows of all records of this time, for looking at.
    pub fn debug_records(&self, now: Now) -> Vec<StoreRecordDebug> {
        let mut rows = Vec::new();
        for (at, shelf) in &self.shelves {
            let key = self.key(at);
            for record in shelf.held.iter().map(|held| &held.record) {
                if record.check_time(now.wall, &self.policy.rules).is_ok() {
                    rows.push(StoreRecordDebug {
                        key_node_id_hex: key.to_string(),
                        address_hex: hex::encode(record.address.as_bytes()),
                        rec_type: record.rec_type,
                        seq: record.seq,
                        timestamp: record.timestamp,
                        ttl_seconds: record.ttl_s,
                        payload_cbor_len: record.payload().len(),
                    });
                }
            }
        }
        rows
    }
}
