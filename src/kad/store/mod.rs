//! The records this node keeps for the network (dht.md §9).
//!
//! A record is verified once, when it comes; from then on only its time is looked at. It leaves when its time is over as
//! the monotonic clock has it, so that a wall clock that jumps hides records but loses none. Under
//! [`Policy::reference`] all is as in the Go node: what is over stays until its key is written, a full store drops what
//! nobody asked for longest, a full key its oldest record, even if that is the newcomer.

mod read;
mod shelf;
mod usage;

use super::record::unix_seconds;
pub use read::StoreRecordDebug;

use super::{Category, Distance, Fault, Id, Policy, SavedRecord, SignedRecord, Subnet};
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

/// A rule of one's own about what is kept (dht-api.md, `RecordAuthFunc`): key, record, time.
pub type AuthorityRule = Box<dyn Fn(&Id, &SignedRecord, Timestamp) -> Result<(), Fault> + Send>;

/// Who may keep what where.
#[derive(Default)]
pub enum Authority {
    /// [`SignedRecord::check_authority`]: what every deployed node asks for.
    #[default]
    BuiltIn,
    /// Nothing is asked. For tests.
    Anyone,
    /// One's own rule, asked after signature, time and key were found right.
    Custom(AuthorityRule),
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

/// The text of [`PutError::Stale`].
pub const STALE_RECORD: &str = "dht: stale record";

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
            PutError::Stale => f.write_str(STALE_RECORD),
            PutError::Full(why) => write!(f, "no room: {why}"),
        }
    }
}

impl std::error::Error for PutError {}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use crate::identity::SignKey;
    use crate::kad::{Delegation, Quotas, Stamp, rec_type};

    const T0: u64 = 1_750_000_000;

    fn now(seconds: u64) -> Now {
        Now { mono: Time::from_millis(seconds * 1000), wall: Timestamp::from_unix((T0 + seconds) as i64, 0) }
    }

    fn store(policy: Policy) -> Store {
        Store::new(Id::of_topic("own"), Arc::new(policy), Authority::BuiltIn)
    }

    fn peer(last: u8) -> Source {
        Source::Peer([192, 0, last, 1].into())
    }

    fn signer(number: u64) -> SignKey {
        SignKey::generate(&mut Rng::from_number(number))
    }

    fn topic(number: u64, seq: u64, timestamp: u64) -> SignedRecord {
        let stamp = Stamp { seq, timestamp: T0 + timestamp, ttl_s: 3600 };
        SignedRecord::sign(&signer(number), rec_type::TOPIC, b"\xa1\x02\x61t".to_vec(), stamp).unwrap()
    }

    fn own(number: u64, seq: u64, ttl_s: u32) -> SignedRecord {
        let stamp = Stamp { seq, timestamp: T0, ttl_s };
        SignedRecord::sign(&signer(number), rec_type::ENDPOINT, b"\xa0".to_vec(), stamp).unwrap()
    }

    fn check(store: &Store) {
        let held: Vec<_> = store.shelves.values().flat_map(|shelf| &shelf.held).collect();
        assert_eq!(store.usage.bytes(), held.iter().map(|held| held.bytes()).sum::<usize>());
        let mut usage = Usage::default();
        held.iter().for_each(|held| usage.count(held));
        let mut left = store.usage.clone();
        held.iter().for_each(|held| left.discount(held));
        assert!(left.is_nothing());
        assert_eq!(store.ends.len(), if store.policy.expire { held.len() } else { 0 });
        assert_eq!(store.accesses.len(), if store.policy.fair_eviction { 0 } else { store.shelves.len() });
        assert!(store.shelves.values().all(|shelf| !store.policy.expire || !shelf.held.is_empty()));
    }

    #[test]
    fn an_owners_word_is_kept_where_it_belongs_and_only_if_it_is_newer() {
        let mut store = store(Policy::default());
        let (first, second) = (own(1, 1, 600), own(1, 2, 600));
        let key = first.default_key();
        assert_eq!(store.put(now(0), Some(Id::of_topic("x")), first.clone(), peer(1)), Err(PutError::SovereignKey));
        assert_eq!(store.put(now(0), Some(Id::ZERO), first.clone(), peer(1)), Ok(()));
        assert_eq!(store.put(now(0), None, first.clone(), peer(1)), Err(PutError::Stale));
        assert_eq!(store.put(now(0), Some(key), second.clone(), peer(2)), Ok(()));
        assert_eq!(store.put(now(0), None, first.clone(), peer(1)), Err(PutError::Stale));
        assert_eq!(store.get(now(600), &key), Some(&second));
        assert_eq!(store.get_all_by_address(now(600), &second.address, 0), [&second]);
        assert!(store.get_all_by_address(now(600), &second.address, 2).is_empty());
        assert_eq!(store.get(now(601), &key), None);
        let mut forged = own(1, 3, 600);
        forged.seq = 4;
        assert_eq!(store.put(now(0), None, forged, peer(1)), Err(PutError::Record(Fault::Signature)));
        assert_eq!((store.len(), PutError::Stale.to_string().as_str()), (1, "dht: stale record"));
        assert_eq!(PutError::SovereignKey.to_string(), "dht: sovereign key mismatch");
        check(&store);
        store.invalidate(&key, 16);
        assert_eq!(store.len(), 1);
        store.invalidate(&key, 1);
        assert!(store.is_empty());
        check(&store);
    }

    #[test]
    fn nobody_speaks_for_another_without_a_delegation() {
        let mut store = store(Policy::default());
        let (owner, op) = (signer(1), signer(2));
        let delegation = Delegation::issue(&owner, op.public(), T0, T0 + 100);
        let stamp = Stamp { seq: 1, timestamp: T0, ttl_s: 600 };
        let mut record = SignedRecord::sign_delegated(&op, &delegation, 2, vec![1], stamp).unwrap();
        assert_eq!(store.put(now(0), None, record.clone(), peer(1)), Ok(()));
        record.delegation.clear();
        assert!(matches!(store.put(now(0), None, record, peer(1)), Err(PutError::NotAllowed(_))));
        // Under a topic, too, and in a mailbox.
        for (rec_type, payload) in [(rec_type::TOPIC, &b"\xa1\x02\x61t"[..]), (rec_type::MAILBOX, b"x")] {
            let mut record = SignedRecord::sign_delegated(&op, &delegation, rec_type, payload.to_vec(), stamp).unwrap();
            let key = Some(Id::of_topic("rigs"));
            assert_eq!(store.put(now(0), key, record.clone(), peer(1)), Ok(()));
            record.delegation.clear();
            assert!(matches!(store.put(now(0), key, record, peer(1)), Err(PutError::NotAllowed(_))));
        }
        let late = SignedRecord::sign_delegated(&op, &delegation, 2, vec![2], Stamp { seq: 2, ..stamp }).unwrap();
        assert!(matches!(store.put(now(200), None, late.clone(), peer(1)), Err(PutError::NotAllowed(_))));
        let own_rule = Authority::Custom(Box::new(|_, record, _| match record.seq {
            2 => Ok(()),
            _ => Err(Fault::NotAllowed("only twos")),
        }));
        let mut mine = Store::new(Id::ZERO, Arc::new(Policy::default()), own_rule);
        assert_eq!(mine.put(now(200), None, late, peer(1)), Ok(()));
        assert!(matches!(mine.put(now(0), None, own(3, 1, 60), peer(1)), Err(PutError::NotAllowed(_))));
    }

    #[test]
    fn records_leave_when_their_time_is_over_and_a_clock_that_jumps_loses_none() {
        let mut store = store(Policy::default());
        assert_eq!(store.poll_timeout(), None);
        for number in 1..=50 {
            store.put(now(0), None, own(number, 1, 60 * number as u32), peer(1)).unwrap();
        }
        let key = own(50, 1, 3000).default_key();
        let jumped = Now { wall: Timestamp::from_unix(2_000_000_000, 0), ..now(59) };
        assert!(store.get(jumped, &key).is_none());
        store.handle_timeout(jumped);
        assert_eq!((store.len(), store.poll_timeout()), (50, Some(Time::from_millis(61_000))));
        assert!(store.get(now(60), &key).is_some());
        store.handle_timeout(now(61 + 60 * 9));
        assert_eq!(store.len(), 40);
        check(&store);
        // No record lives longer than a day without being sent again.
        store.put(now(0), None, own(99, 1, u32::MAX), peer(1)).unwrap();
        store.handle_timeout(now(24 * 3600 - 1));
        assert_eq!(store.len(), 1);
        store.handle_timeout(now(24 * 3600));
        assert!(store.is_empty());
        check(&store);
    }

    #[test]
    fn one_source_pushes_nobody_out_of_a_topic() {
        let (mut store, key) = (store(Policy::default()), Id::of_topic("rigs"));
        for number in 0..10 {
            store.put(now(0), Some(key), topic(number, 1, 0), peer(number as u8)).unwrap();
        }
        for number in 100..400 {
            store.put(now(9), Some(key), topic(number, 1, number % 9), peer(200)).ok();
        }
        let held = store.get_all(now(9), &key, 0);
        assert_eq!(held.len(), 100);
        assert!((0..10).all(|number| held.iter().any(|record| record.pubkey == signer(number).public())));
        // Its own oldest make way; one older than all of them is refused.
        assert!(matches!(store.put(now(9), Some(key), topic(999, 1, 0), peer(200)), Err(PutError::Full(_))));
        assert_eq!(store.put(now(9), Some(key), topic(998, 1, 9), peer(201)), Ok(()));
        check(&store);
        let mut reference = self::store(Policy::reference());
        for number in 0..150 {
            reference.put(now(9), Some(key), topic(number, 1, number % 9), peer(200)).unwrap();
        }
        assert_eq!(reference.get_all(now(9), &key, 0).len(), 100);
        check(&reference);
    }

    #[test]
    fn a_full_store_keeps_what_is_near_and_its_own() {
        let mut store = store(Policy { keys_max: 50, ..Policy::default() });
        let mine = own(7000, 1, 600);
        store.put(now(0), None, mine.clone(), Source::Own).unwrap();
        let mut near: Vec<_> = (0..400).map(|number| own(number, 1, 600)).collect();
        for record in &near {
            let verdict = store.put(now(0), None, record.clone(), peer((record.pubkey[0] % 100) + 1));
            assert!(matches!(verdict, Ok(()) | Err(PutError::Full(_))));
            assert!(store.len() <= 50);
        }
        near.sort_by_key(|record| store.own.distance(&record.default_key()));
        for record in &near[..49] {
            assert_eq!(store.get_all(now(0), &record.default_key(), 0), [record]);
        }
        assert!(store.get(now(0), &mine.default_key()).is_some());
        check(&store);
        let mut small = self::store(Policy { store_bytes_max: 10_000, ..Policy::default() });
        for record in &near {
            small.put(now(0), None, record.clone(), peer(1)).ok();
            assert!(small.bytes() <= 10_000);
        }
        assert!(small.get(now(0), &near[0].default_key()).is_some() && small.len() >= 24);
        check(&small);
    }

    #[test]
    fn publishers_and_sources_have_quotas_and_renewals_are_free() {
        let quotas =
            Quotas { publisher_records: 3, publisher_bytes: 1 << 20, source_records: 5, source_bytes: 1 << 20 };
        let mut store = store(Policy { quotas: Some(quotas), ..Policy::default() });
        let mut put =
            |signer, seq, key: &str, source| store.put(now(0), Some(Id::of_topic(key)), topic(signer, seq, 0), source);
        for key in ["a", "b", "c"] {
            assert_eq!(put(1, 1, key, peer(1)), Ok(()));
        }
        assert!(matches!(put(1, 1, "d", peer(2)), Err(PutError::Full(_))));
        assert_eq!(put(1, 2, "a", peer(1)), Ok(()));
        for signer in 2..4 {
            assert_eq!(put(signer, 1, "a", peer(1)), Ok(()));
        }
        assert!(matches!(put(4, 1, "a", peer(1)), Err(PutError::Full(_))));
        assert_eq!(put(3, 2, "a", peer(1)), Ok(()));
        assert_eq!(put(4, 1, "a", peer(2)), Ok(()));
        assert_eq!(put(4, 1, "b", Source::Own), Ok(()));
        check(&store);
        assert_eq!(store.debug_records(now(0)).len(), 7);
    }

    #[test]
    fn asking_again_gives_the_records_that_did_not_fit() {
        let (mut store, key) = (store(Policy::default()), Id::of_topic("rigs"));
        for number in 0..40 {
            store.put(now(0), Some(key), topic(number, 1, 0), peer(number as u8)).unwrap();
        }
        let all: Vec<_> = store.get_all(now(0), &key, 0).into_iter().cloned().collect();
        let mut seen = BTreeSet::new();
        let mut asked = 0;
        loop {
            let page = store.get_page(now(0), &key, 16, seen.len() as u64);
            let before = seen.len();
            seen.extend(page.iter().rev().take(3).map(|record| record.pubkey));
            asked += 1;
            if seen.len() == before {
                break;
            }
        }
        assert_eq!((seen.len(), asked), (40, 15));
        assert_eq!(store.get_page(now(0), &key, 16, 40), all.iter().collect::<Vec<_>>());
        assert!(store.get_page(now(0), &Id::ZERO, 0, u64::MAX).is_empty());
        let mut rng = Rng::from_number(8);
        let mut random = BTreeSet::new();
        for _ in 0..150 {
            random.extend(store.get_page(now(0), &key, 0, rng.number()).iter().rev().take(3).map(|r| r.pubkey));
        }
        assert_eq!(random.len(), 40);
    }

    #[test]
    fn whatever_is_put_the_sums_stay_right() {
        let seed = std::env::var("FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(55);
        println!("seed {seed}");
        let keys: Vec<_> = (0..8).map(signer).collect();
        for policy in [Policy::default(), Policy::reference()] {
            let mut rng = Rng::from_number(seed);
            let quotas = policy.quotas.map(|quotas| Quotas { publisher_records: 40, source_records: 60, ..quotas });
            let mut store = store(Policy { keys_max: 6, topic_per_key: 4, mailbox_per_key: 5, quotas, ..policy });
            let mut seconds = 0;
            for _ in 0..1500 {
                seconds += rng.below(20);
                let key = &keys[rng.below(8) as usize];
                let rec_type = [1, 2, 3, 16, 17, 128][rng.below(6) as usize];
                let payload = match rec_type {
                    1 => vec![0xa0],
                    16 => b"\xa1\x02\x61t".to_vec(),
                    _ => vec![rng.below(4) as u8],
                };
                let stamp = Stamp { seq: rng.below(9), timestamp: T0 + seconds - rng.below(9).min(seconds), ttl_s: 30 };
                let record = SignedRecord::sign(key, rec_type, payload, stamp).unwrap();
                let at = Some(Id::of_topic(["a", "b", "c"][rng.below(3) as usize])).filter(|_| rec_type >= 16);
                let source = if rng.below(9) == 0 { Source::Own } else { peer(rng.below(3) as u8) };
                let _ = store.put(now(seconds), at, record.clone(), source);
                store.handle_timeout(now(seconds));
                match rng.below(10) {
                    0 => store.invalidate(&record.default_key(), rec_type),
                    1 => drop(store.get(now(seconds), &record.default_key())),
                    _ => {}
                }
                check(&store);
            }
            assert!(!store.is_empty());
        }
    }
}
