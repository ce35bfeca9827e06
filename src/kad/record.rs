//! Signed records: what the DHT keeps (dht.md §6): form, signing, verification, order.

use super::{Delegation, EndpointPayload, Fault, Id, Rules, TopicPayload};
use crate::base::Timestamp;
use crate::identity::{Address, SignKey};
use crate::wire::cbor::{MapWriter, Reader};

const LABEL: &[u8] = b"a2al-rec\0";

/// Bytes of payload that a topic or mailbox record may have.
pub const SHARED_PAYLOAD_BYTES_MAX: usize = 512;

/// Types of records that have a meaning.
pub mod rec_type {
    /// Where a node or an owner is reached: an [`super::EndpointPayload`].
    pub const ENDPOINT: u8 = 0x01;
    /// That a publisher offers something under a topic: a [`super::TopicPayload`].
    pub const TOPIC: u8 = 0x10;
    /// A sealed message to an address.
    pub const MAILBOX: u8 = 0x80;
}

/// What kind of record a type is, which says where it may be kept and what it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// 0x01 to 0x0f: an owner's own, kept at the id of its address only.
    Sovereign,
    /// 0x10 to 0x1f: of many publishers, at any key.
    Topic,
    /// 0x80 to 0x8f: from anyone, at any key.
    Mailbox,
    /// Every other type; treated like [`Category::Sovereign`].
    Unknown,
}

impl Category {
    /// The category of a type.
    pub const fn of(rec_type: u8) -> Category {
        match rec_type {
            0x01..=0x0f => Category::Sovereign,
            0x10..=0x1f => Category::Topic,
            0x80..=0x8f => Category::Mailbox,
            _ => Category::Unknown,
        }
    }
}

/// The numbers of a record that say how new it is and how long it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Strictly increasing for one publisher.
    pub seq: u64,
    /// When it was made: Unix seconds. Nodes of version 0.1.7 refuse one that is a second ahead of their clock.
    pub timestamp: u64,
    /// How many seconds it lives from then on.
    pub ttl_s: u32,
}

/// A record with its signature. The signature covers the first six fields; neither the key nor the delegation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SignedRecord {
    /// Whose record it is.
    pub address: Address,
    /// Its type, see [`rec_type`] and [`Category`].
    pub rec_type: u8,
    /// Its content; `None` is written as null, and some nodes do.
    pub payload: Option<Vec<u8>>,
    /// See [`Stamp`].
    pub seq: u64,
    /// See [`Stamp`]: Unix seconds.
    pub timestamp: u64,
    /// See [`Stamp`]: seconds.
    pub ttl_s: u32,
    /// The Ed25519 key that signed: the owner's, or one it has delegated to.
    pub pubkey: [u8; 32],
    /// The signature.
    pub signature: [u8; 64],
    /// The bytes of a [`Delegation`]; empty for none.
    pub delegation: Vec<u8>,
}

/// What a record replaces: two records of one slot are versions of each other (dht.md §12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot<'a> {
    /// One record of each type for an address.
    Own(&'a Address, u8),
    /// One for each publisher under a topic.
    Topic(&'a [u8; 32]),
    /// One for each text of a sender.
    Mailbox(&'a [u8; 32], &'a [u8]),
}

impl SignedRecord {
    /// A record of the key's own address.
    ///
    /// # Errors
    /// [`Fault::Payload`] for a type that is not sovereign, topic or mailbox, a lifetime of zero, or content that
    /// [`SignedRecord::verify`] would refuse.
    pub fn sign(key: &SignKey, rec_type: u8, payload: Vec<u8>, stamp: Stamp) -> Result<SignedRecord, Fault> {
        SignedRecord::signed(key, Address::of_ed25519(&key.public()), rec_type, payload, stamp, Vec::new())
    }

    /// A record of another address, for which the delegation lets the key speak.
    ///
    /// # Errors
    /// As [`SignedRecord::sign`]; [`Fault::NotAllowed`] for a delegation to another key.
    pub fn sign_delegated(
        key: &SignKey,
        delegation: &Delegation,
        rec_type: u8,
        payload: Vec<u8>,
        stamp: Stamp,
    ) -> Result<SignedRecord, Fault> {
        if delegation.op_pub != key.public() {
            return Err(Fault::NotAllowed("the delegation is to another key"));
        }
        SignedRecord::signed(key, delegation.agent, rec_type, payload, stamp, delegation.encode())
    }

    fn signed(
        key: &SignKey,
        address: Address,
        rec_type: u8,
        payload: Vec<u8>,
        stamp: Stamp,
        delegation: Vec<u8>,
    ) -> Result<SignedRecord, Fault> {
        if Category::of(rec_type) == Category::Unknown {
            return Err(Fault::Payload("nobody signs records of this type"));
        }
        if stamp.ttl_s == 0 {
            return Err(Fault::Payload("a record that lives for no time"));
        }
        let Stamp { seq, timestamp, ttl_s } = stamp;
        let (pubkey, signature, payload) = (key.public(), [0; 64], Some(payload));
        let mut record =
            SignedRecord { address, rec_type, payload, seq, timestamp, ttl_s, pubkey, signature, delegation };
        record.check_payload()?;
        record.signature = key.sign(&record.signed_bytes());
        Ok(record)
    }

    /// The content; nothing for null.
    pub fn payload(&self) -> &[u8] {
        self.payload.as_deref().unwrap_or_default()
    }

    /// What kind of record it is.
    pub fn category(&self) -> Category {
        Category::of(self.rec_type)
    }

    /// Where it is kept if nothing else is said: the id of its address.
    pub fn default_key(&self) -> Id {
        Id::of_address(&self.address)
    }

    /// What it replaces.
    pub fn slot(&self) -> Slot<'_> {
        match self.category() {
            Category::Topic => Slot::Topic(&self.pubkey),
            Category::Mailbox => Slot::Mailbox(&self.pubkey, self.payload()),
            Category::Sovereign | Category::Unknown => Slot::Own(&self.address, self.rec_type),
        }
    }

    /// The first six fields, which are signed.
    fn write_signed(&self, map: &mut MapWriter) {
        map.bytes(1, self.address.as_bytes()).uint(2, self.rec_type).optional_bytes(3, self.payload.as_deref());
        map.uint(4, self.seq).uint(5, self.timestamp).uint(6, self.ttl_s);
    }

    pub(super) fn write(&self, map: &mut MapWriter) {
        self.write_signed(map);
        map.bytes(7, &self.pubkey).bytes(8, &self.signature);
        if !self.delegation.is_empty() {
            map.bytes(9, &self.delegation);
        }
    }

    fn writer(&self) -> MapWriter {
        MapWriter::with_room(160 + self.payload().len() + self.delegation.len())
    }

    /// The bytes under the signature.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut map = self.writer();
        self.write_signed(&mut map);
        [LABEL, &map.finish()].concat()
    }

    /// The canonical CBOR: 145 to 155 bytes and the payload, and a delegation.
    pub fn encode(&self) -> Vec<u8> {
        let mut map = self.writer();
        self.write(&mut map);
        map.finish()
    }

    /// Reads a record; nothing but its form is checked.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<SignedRecord, Fault> {
        Reader::whole(bytes, SignedRecord::read)
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<SignedRecord, Fault> {
        let (mut address, mut rec_type, mut payload, mut pubkey, mut signature) = (None, 0, None, None, None);
        let (mut seq, mut timestamp, mut ttl_s, mut delegation) = (0, 0, 0, Vec::new());
        reader.map(|key, r| -> Result<bool, Fault> {
            match key {
                1 => address = Some(r.array_of()?),
                2 => rec_type = r.u8()?,
                3 => payload = r.optional(Reader::bytes)?.map(<[u8]>::to_vec),
                4 => seq = r.u64()?,
                5 => timestamp = r.u64()?,
                6 => ttl_s = r.u32()?,
                7 => pubkey = Some(r.array_of()?),
                8 => signature = Some(r.array_of()?),
                9 => delegation = r.optional(Reader::bytes)?.unwrap_or_default().to_vec(),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(SignedRecord {
            address: Address::from_bytes(address.ok_or(Fault::Malformed("a record without an address"))?),
            rec_type,
            payload,
            seq,
            timestamp,
            ttl_s,
            pubkey: pubkey.ok_or(Fault::Malformed("a record without a key"))?,
            signature: signature.ok_or(Fault::Malformed("a record without a signature"))?,
            delegation,
        })
    }

    /// Whether the record is what it says: signed, of a content that fits its type, and of this time. Who may sign for
    /// the address is another question: [`SignedRecord::check_authority`].
    ///
    /// # Errors
    /// [`Fault::Signature`], [`Fault::Payload`] or [`Fault::Cbor`], [`Fault::Future`], [`Fault::Expired`]; the first that
    /// applies, in this order.
    pub fn verify(&self, now: Timestamp, rules: &Rules) -> Result<(), Fault> {
        if !rules.signed(&self.pubkey, &self.signed_bytes(), &self.signature) {
            return Err(Fault::Signature);
        }
        self.check_payload()?;
        self.check_time(now, rules)
    }

    /// Whether the record is of this time: the part of [`SignedRecord::verify`] that changes.
    ///
    /// # Errors
    /// [`Fault::Future`] or [`Fault::Expired`].
    pub fn check_time(&self, now: Timestamp, rules: &Rules) -> Result<(), Fault> {
        let now = unix_seconds(now);
        if now.saturating_add(rules.ahead_s) < self.timestamp {
            Err(Fault::Future)
        } else if self.expires_at() < now {
            Err(Fault::Expired)
        } else {
            Ok(())
        }
    }

    /// The last Unix second in which the record is valid.
    pub fn expires_at(&self) -> u64 {
        self.timestamp.saturating_add(self.ttl_s.into())
    }

    fn check_payload(&self) -> Result<(), Fault> {
        let too_long = self.payload().len() > SHARED_PAYLOAD_BYTES_MAX;
        match (self.rec_type, self.category()) {
            (rec_type::ENDPOINT, _) => EndpointPayload::decode(self.payload()).map(|_| ()),
            (rec_type::TOPIC, _) => TopicPayload::decode(self.payload()).map(|_| ()),
            (_, Category::Mailbox) if too_long => Err(Fault::Payload("more than 512 bytes")),
            _ => Ok(()),
        }
    }

    /// Whether the signer may speak for the address, and the record be kept at `key` (dht.md §8.3): it is signed by the
    /// address's key or by one that has been delegated to; and, but for topic and mailbox records, kept at the id of the
    /// address.
    ///
    /// # Errors
    /// [`Fault::NotAllowed`], or what is wrong with the delegation.
    pub fn check_authority(&self, key: &Id, now: Timestamp, rules: &Rules) -> Result<(), Fault> {
        let anywhere = matches!(self.category(), Category::Topic | Category::Mailbox);
        if !anywhere && *key != self.default_key() {
            return Err(Fault::NotAllowed("an owner's record at another key than its own"));
        }
        if Address::of_ed25519(&self.pubkey) == self.address {
            return Ok(());
        }
        if self.delegation.is_empty() {
            return Err(Fault::NotAllowed("signed by another key, without a delegation"));
        }
        let delegation = Delegation::decode(&self.delegation)?;
        if delegation.op_pub != self.pubkey {
            return Err(Fault::NotAllowed("the delegation is to another key"));
        }
        if delegation.agent != self.address {
            return Err(Fault::NotAllowed("the delegation is of another address"));
        }
        delegation.verify(now, rules)
    }

    /// Whether this record is newer than another of its [`Slot`]: by `seq`, then by timestamp; before both, if the
    /// [`Rules`] say so, by when its delegation was issued (0 for none). Equal ones are not newer.
    pub fn is_newer_than(&self, other: &SignedRecord, rules: &Rules) -> bool {
        let order = |record: &SignedRecord| {
            let issued = match rules.delegation_first && !record.delegation.is_empty() {
                true => Delegation::decode(&record.delegation).map_or(0, |delegation| delegation.issued_at),
                false => 0,
            };
            (issued, record.seq, record.timestamp)
        };
        order(self) > order(other)
    }
}

/// Of records from many nodes the newest of each [`Slot`]: their places, ascending.
pub fn newest(records: &[SignedRecord], rules: &Rules) -> Vec<usize> {
    let mut best = std::collections::BTreeMap::<Slot<'_>, (usize, &SignedRecord)>::new();
    for (i, record) in records.iter().enumerate() {
        let entry = best.entry(record.slot()).or_insert((i, record));
        if record.is_newer_than(entry.1, rules) {
            *entry = (i, record);
        }
    }
    let mut kept: Vec<_> = best.into_values().map(|(i, _)| i).collect();
    kept.sort_unstable();
    kept
}

/// A time as records count it; before 1970 it is 0.
pub(super) fn unix_seconds(now: Timestamp) -> u64 {
    u64::try_from(now.unix_seconds()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { seq: 1, timestamp: 1_750_000_000, ttl_s: 60 };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_750_000_000 + seconds, 0)
    }

    fn record(rec_type: u8, payload: &[u8], stamp: Stamp) -> Result<SignedRecord, Fault> {
        SignedRecord::sign(&SignKey::from_seed(&[1; 32]), rec_type, payload.to_vec(), stamp)
    }

    #[test]
    fn a_record_lives_from_its_time_to_its_end() {
        let record = record(2, b"x", STAMP).unwrap();
        let verdict = |seconds, rules: Rules| record.verify(at(seconds), &rules);
        assert_eq!(verdict(-1, Rules::pinned()), Err(Fault::Future));
        assert_eq!(verdict(-60, Rules::default()), Ok(()));
        assert_eq!(verdict(-61, Rules::default()), Err(Fault::Future));
        for rules in [Rules::pinned(), Rules::default()] {
            assert_eq!(verdict(0, rules), Ok(()));
            assert_eq!(verdict(60, rules), Ok(()));
            assert_eq!(verdict(61, rules), Err(Fault::Expired));
        }
        let forever = Stamp { timestamp: u64::MAX, ..STAMP };
        assert_eq!(self::record(2, b"", forever).unwrap().expires_at(), u64::MAX);
    }

    #[test]
    fn only_what_others_would_take_is_signed() {
        for (rec_type, payload) in [(0, &b""[..]), (0x20, b""), (0x90, b""), (1, b"\xff"), (0x10, b"\xa0")] {
            assert!(record(rec_type, payload, STAMP).is_err(), "{rec_type:#x}");
        }
        assert!(record(0x81, &[0; 513], STAMP).is_err());
        assert!(record(2, b"", Stamp { ttl_s: 0, ..STAMP }).is_err());
        assert!(record(1, b"\xa0", STAMP).is_ok());
    }

    #[test]
    fn nil_and_empty_are_two_contents() {
        let mut empty = record(2, b"", STAMP).unwrap();
        assert_eq!(SignedRecord::decode(&empty.encode()).unwrap(), empty);
        empty.payload = None;
        assert_eq!(SignedRecord::decode(&empty.encode()).unwrap(), empty);
        assert_eq!(empty.verify(at(0), &Rules::default()), Err(Fault::Signature));
    }

    #[test]
    fn a_newer_delegation_outranks_a_higher_seq_only_under_the_later_rules() {
        let (owner, op) = (SignKey::from_seed(&[2; 32]), SignKey::from_seed(&[3; 32]));
        let signed = |issued_at, seq| {
            let delegation = Delegation::issue(&owner, op.public(), issued_at, 0);
            SignedRecord::sign_delegated(&op, &delegation, 2, b"x".to_vec(), Stamp { seq, ..STAMP }).unwrap()
        };
        let (renewed, higher) = (signed(20, 1), signed(10, 9));
        assert!(
            renewed.is_newer_than(&higher, &Rules::default()) && !higher.is_newer_than(&renewed, &Rules::default())
        );
        assert!(higher.is_newer_than(&renewed, &Rules::pinned()));
        assert!(!higher.is_newer_than(&higher, &Rules::pinned()));
        assert_eq!(newest(&[higher.clone(), renewed.clone(), higher.clone()], &Rules::default()), [1]);
        assert_eq!(higher.check_authority(&higher.default_key(), at(0), &Rules::default()), Ok(()));
        assert!(
            SignedRecord::sign_delegated(&owner, &Delegation::issue(&owner, op.public(), 1, 0), 2, vec![], STAMP)
                .is_err()
        );
    }
}
