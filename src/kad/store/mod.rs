//! The records this node keeps for the network (dht.md §9).
//!
//! A record is verified once, when it comes; from then on only its time is looked at. It leaves when its time is over as
//! the monotonic clock has it, so that a wall clock that jumps hides records but loses none. Under
//! [`Policy::reference`] all is as in the Go node: what is over stays until its key is written, a full store drops what
//! nobody asked for longest, a full key its oldest record, even if that is the newcomer.

mod shelf;
mod usage;

use super::record::unix_seconds;
use super::{Category, Distance, Fault, Id, Policy, SavedRecord, SignedRecord, Subnet, rec_type};
use crate::base::{Now, Time, Timestamp};
use shelf::{Held, Shelf};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use usage::Usage;

/// Records that leave in one call of [`Store::handle_timeout`], so that it never takes long.
const EXPIRED_AT_ONCE: usize = 1000;

/// Who may keep what where.
#[derive(Default)]
pub enum Authority {
    /// [`SignedRecord::check_authority`]: what every deployed node asks for.
    #[default]
    BuiltIn,
    /// Nothing is asked. For tests.
    Anyone,
    /// One's own rule, asked after signature, time and key were found right (dht-api.md, `RecordAuthFunc`).
    Custom(Box<dyn Fn(&Id, &SignedRecord, Timestamp) -> Result<(), Fault> + Send>),
}

impl Authority {
    /// Whether the record may be kept at `key`.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, key: &Id, record: &SignedRecord, now: Timestamp, policy: &Policy) -> Result<(), Fault> {
        match self {
            Authority::BuiltIn => record.check_authority(key, now, &policy.rules),
            Authority::Anyone => Ok(()),
            Authority::Custom(rule) => rule(key, record, now),
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Authority::BuiltIn => "BuiltIn",
            Authority::Anyone => "Anyone",
            Authority::Custom(_) => "Custom",
        })
    }
}

/// Where a record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This node publishes it, or its user put it there. No quota, and it is never dropped for others.
    Own,
    /// A node at this address sent it.
    Peer(IpAddr),
}

/// Why a record is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutError {
    /// It is not valid.
    Record(Fault),
    /// It belongs to the id of its address only.
    SovereignKey,
    /// Its signer may not speak for the address, or [`Authority::Custom`] says no.
    NotAllowed(Fault),
    /// It, or a newer one, is there.
    Stale,
    /// There is no room for it; what there is.
    Full(&'static str),
}

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PutError::Record(fault) | PutError::NotAllowed(fault) => fault.fmt(f),
            PutError::SovereignKey => f.write_str("dht: sovereign key mismatch"),
            PutError::Stale => f.write_str("dht: stale record"),
            PutError::Full(why) => write!(f, "no room: {why}"),
        }
    }
}

impl std::error::Error for PutError {}

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

/// See the head of the module.
#[derive(Debug)]
pub struct Store {
    own: Id,
    policy: Arc<Policy>,
    authority: Authority,
    keys_max: usize,
    /// By distance from this node, so that the furthest is the last.
    shelves: BTreeMap<Distance, Shelf>,
    /// When records leave, by serial number, and where they are.
    ends: BTreeMap<(Time, u64), Distance>,
    /// Keys by when they were dealt with; only for a policy that needs it.
    accesses: BTreeSet<((u64, u64), Distance)>,
    usage: Usage,
    serials: u64,
}

impl Store {
    /// An empty store of the node `own`.
    pub fn new(own: Id, policy: Arc<Policy>, authority: Authority) -> Store {
        let keys_max = policy.keys_max;
        Store {
            own,
            policy,
            authority,
            keys_max,
            shelves: BTreeMap::new(),
            ends: BTreeMap::new(),
            accesses: BTreeSet::new(),
            usage: Usage::default(),
            serials: 0,
        }
    }

    /// Who may keep what where.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Keys held. Under the Go node's policy those count whose records are all over.
    pub fn len(&self) -> usize {
        self.shelves.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.shelves.is_empty()
    }

    /// Bytes held; at most [`Policy::store_bytes_max`] of others' records.
    pub fn bytes(&self) -> usize {
        self.usage.bytes()
    }

    /// Another limit of keys, from the next new one on.
    pub fn set_keys_max(&mut self, keys_max: usize) {
        self.keys_max = keys_max;
    }

    fn key(&self, at: &Distance) -> Id {
        // Twice the same distance leads back.
        Id::from_bytes(*self.own.distance(&Id::from_bytes(*at.as_bytes())).as_bytes())
    }

    /// Keeps a record at `key`; without one, or at the key of zeros, at the id of its address.
    ///
    /// # Errors
    /// See [`PutError`]; the key is as it was then. Under the Go node's policy a record may be dropped at once and the
    /// answer be that it is kept.
    pub fn put(&mut self, now: Now, key: Option<Id>, record: SignedRecord, source: Source) -> Result<(), PutError> {
        let key = key.filter(|key| *key != Id::ZERO).unwrap_or_else(|| record.default_key());
        if self.policy.expire && self.has(now, &key, &record) {
            return Err(PutError::Stale);
        }
        record.verify(now.wall, &self.policy.rules).map_err(PutError::Record)?;
        let anywhere = matches!(record.category(), Category::Topic | Category::Mailbox);
        if !anywhere && key != record.default_key() {
            return Err(PutError::SovereignKey);
        }
        self.authority.check(&key, &record, now.wall, &self.policy).map_err(PutError::NotAllowed)?;
        let source = match source {
            Source::Own => None,
            Source::Peer(ip) => Some(Subnet::of(ip)),
        };
        // What a file said does not keep out what is signed.
        self.prove(now, &self.own.distance(&key));
        self.admit(now, &key, record, source, true)
    }

    /// Takes in what an earlier run held. Signatures are checked when the record is first asked for.
    ///
    /// # Errors
    /// As [`Store::put`], but for signatures.
    pub fn restore(&mut self, now: Now, saved: SavedRecord) -> Result<(), PutError> {
        let SavedRecord { key, record, source } = saved;
        record.check_time(now.wall, &self.policy.rules).map_err(PutError::Record)?;
        self.admit(now, &key, record, source.map(Subnet::of), false)
    }

    /// What is held, to be saved: the nearest to this node first.
    pub fn saved(&self) -> impl Iterator<Item = SavedRecord> {
        self.shelves.iter().flat_map(|(at, shelf)| {
            let key = self.key(at);
            shelf.held.iter().map(move |held| {
                let (record, source) = (held.record.clone(), held.source.map(|source| source.ip()));
                SavedRecord { key, record, source }
            })
        })
    }

    /// Whether exactly this record is there, was verified, and is of this time.
    fn has(&self, now: Now, key: &Id, record: &SignedRecord) -> bool {
        let held = self.shelves.get(&self.own.distance(key)).and_then(|shelf| shelf.version_of(record));
        let held = held.filter(|held| held.verified && held.record == *record);
        held.is_some_and(|held| held.record.check_time(now.wall, &self.policy.rules).is_ok())
    }

    fn admit(
        &mut self,
        now: Now,
        key: &Id,
        record: SignedRecord,
        source: Option<Subnet>,
        verified: bool,
    ) -> Result<(), PutError> {
        let (policy, at) = (self.policy.clone(), self.own.distance(key));
        if !policy.expire {
            let expired = self.shelves.get_mut(&at).map(|shelf| shelf.take_expired(now.wall, &policy));
            expired.into_iter().flatten().for_each(|held| self.forget(&held));
        }
        let version = self.shelves.get(&at).and_then(|shelf| shelf.version_of(&record));
        if let Some(held) = version {
            let valid = held.record.check_time(now.wall, &policy.rules).is_ok();
            if valid && !record.is_newer_than(&held.record, &policy.rules) {
                return Err(PutError::Stale);
            }
        }
        let left = record.expires_at().saturating_add(1).saturating_sub(unix_seconds(now.wall));
        let lifetime = Duration::from_secs(left).min(policy.lifetime_max.unwrap_or(Duration::MAX));
        let held = Held { record, serial: self.serials, source, ends: now.mono + lifetime, verified };
        if let Some(why) = self.usage.breaks(&held, version, &policy) {
            return Err(PutError::Full(why));
        }
        let (replaced, freed) = version.map_or((None, 0), |held| (Some(held.serial), held.bytes()));
        if policy.fair_eviction {
            self.make_room(&at, &held, freed)?;
        }
        self.serials += 1;
        let is_new = !self.shelves.contains_key(&at);
        if let Some(serial) = replaced {
            self.take(&at, serial);
        }
        let serial = held.serial;
        self.usage.count(&held);
        if policy.expire {
            self.ends.insert((held.ends, serial), at);
        }
        self.shelves.entry(at).or_default().push(held);
        let surplus = |shelves: &BTreeMap<_, Shelf>| shelves.get(&at).and_then(|shelf| shelf.surplus(serial, &policy));
        let mut dropped = false;
        while let Some(surplus) = surplus(&self.shelves) {
            self.take(&at, surplus);
            dropped |= surplus == serial;
        }
        self.touch(now, &at);
        if !policy.fair_eviction && is_new {
            self.drop_unused();
        }
        match dropped && policy.fair_eviction {
            true => Err(PutError::Full("the key has its most, and all of them are newer")),
            false => Ok(()),
        }
    }

    /// Makes room for a record by dropping keys further away than its own.
    fn make_room(&mut self, at: &Distance, held: &Held, freed: usize) -> Result<(), PutError> {
        loop {
            let more_keys = usize::from(!self.shelves.contains_key(at));
            let bytes = (self.usage.bytes() + held.bytes()).saturating_sub(freed);
            if self.shelves.len() + more_keys <= self.keys_max.max(1) && bytes <= self.policy.store_bytes_max {
                return Ok(());
            }
            let others = self.shelves.iter().rev().filter(|(_, shelf)| shelf.held.iter().all(|h| h.source.is_some()));
            let furthest = others.map(|(other, _)| *other).find(|other| other != at);
            match furthest.filter(|other| other > at || held.source.is_none()) {
                Some(other) => self.drop_key(&other),
                None if held.source.is_none() => return Ok(()),
                None => return Err(PutError::Full("the store is, and with what is nearer")),
            }
        }
    }

    /// The Go node's way to make room: keys nobody asked for longest leave.
    fn drop_unused(&mut self) {
        while self.shelves.len() > self.keys_max {
            let Some((_, at)) = self.accesses.first().copied() else { return };
            self.drop_key(&at);
        }
    }

    fn drop_key(&mut self, at: &Distance) {
        let Some(shelf) = self.shelves.remove(at) else { return };
        self.accesses.remove(&(shelf.access, *at));
        for held in &shelf.held {
            self.forget(held);
        }
    }

    /// Takes a record out; its key too, if nothing else is there.
    fn take(&mut self, at: &Distance, serial: u64) {
        let Some(shelf) = self.shelves.get_mut(at) else { return };
        let Some(held) = shelf.take(serial) else { return };
        if shelf.held.is_empty() {
            let access = shelf.access;
            self.accesses.remove(&(access, *at));
            self.shelves.remove(at);
        }
        self.forget(&held);
    }

    /// A record is gone from its shelf.
    fn forget(&mut self, held: &Held) {
        self.usage.discount(held);
        self.ends.remove(&(held.ends, held.serial));
    }

    fn touch(&mut self, now: Now, at: &Distance) {
        if self.policy.fair_eviction {
            return;
        }
        let Some(shelf) = self.shelves.get_mut(at) else { return };
        self.accesses.remove(&(shelf.access, *at));
        self.serials += 1;
        shelf.access = (unix_seconds(now.wall), self.serials);
        self.accesses.insert((shelf.access, *at));
    }

    /// Checks what was restored and not yet asked for.
    fn prove(&mut self, now: Now, at: &Distance) {
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
    pub fn get_all_by_address(
        &mut self,
        now: Now,
        address: &crate::identity::Address,
        rec_type: u8,
    ) -> Vec<&SignedRecord> {
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

    /// Drops a key's records of one type, or the whole key for 0.
    pub fn invalidate(&mut self, key: &Id, rec_type: u8) {
        let at = self.own.distance(key);
        let Some(shelf) = self.shelves.get(&at) else { return };
        let chosen = shelf.held.iter().filter(|held| rec_type == 0 || held.record.rec_type == rec_type);
        let chosen: Vec<_> = chosen.map(|held| held.serial).collect();
        for serial in chosen {
            self.take(&at, serial);
        }
        if rec_type == 0 {
            self.drop_key(&at);
        }
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

    /// When the next record leaves.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.ends.first_key_value().map(|((ends, _), _)| *ends)
    }

    /// Drops records whose time is over, a thousand at most; if there are more, [`Store::poll_timeout`] is still now.
    pub fn handle_timeout(&mut self, now: Now) {
        for _ in 0..EXPIRED_AT_ONCE {
            let Some(((ends, serial), at)) = self.ends.first_key_value().map(|(end, at)| (*end, *at)) else { return };
            if ends > now.mono {
                return;
            }
            self.ends.remove(&(ends, serial));
            self.take(&at, serial);
        }
    }
}
