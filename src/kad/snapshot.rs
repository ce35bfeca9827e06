//! Table and store as bytes, so that a node that starts again serves at once. A file of this node's own; not the
//! network's, and no other node's.

use super::endpoint::{ip_bytes, ip_of_bytes};
use super::record::unix_seconds;
use super::{Added, Fault, Id, NodeInfo, SignedRecord, Store, Table};
use crate::base::{Now, Timestamp};
use crate::wire::cbor::{MapWriter, Reader};
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;

/// The longest snapshot that is written or read.
pub const SNAPSHOT_BYTES_MAX: usize = 96 << 20;

const VERSION: u64 = 1;

/// What a record costs beside its bytes: heads, key, source.
const RECORD_EXTRA: usize = 80;

/// A node of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedNode {
    /// Who and where.
    pub info: NodeInfo,
    /// The Unix second in which it answered last; none if it never did.
    pub verified_at: Option<u64>,
}

/// A record of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedRecord {
    /// Its key.
    pub key: Id,
    /// The record, not verified again when it is read.
    pub record: SignedRecord,
    /// The first address of the neighbourhood that sent it; none if this node did.
    pub source: Option<IpAddr>,
}

/// See the head of the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Whose it is.
    pub own: Id,
    /// The nodes of the table.
    pub nodes: Vec<SavedNode>,
    /// The records, those nearest to the node first.
    pub records: Vec<SavedRecord>,
}

impl Snapshot {
    /// What table and store hold; of records as many as fit [`SNAPSHOT_BYTES_MAX`].
    pub fn take(now: Now, table: &Table, store: &Store) -> Snapshot {
        let wall = unix_seconds(now.wall);
        let nodes = table.iter().map(|(_, entry)| {
            let ago = entry.verified_ago(now.mono);
            SavedNode { info: entry.info.clone(), verified_at: ago.map(|ago| wall.saturating_sub(ago.as_secs())) }
        });
        let mut room = SNAPSHOT_BYTES_MAX / 8 * 7;
        let fits = |saved: &SavedRecord| {
            let content = saved.record.payload().len() + saved.record.delegation.len();
            room = room.saturating_sub(155 + content + RECORD_EXTRA);
            room > 0
        };
        let records = store.saved().take_while(fits).collect();
        Snapshot { own: table.own(), nodes: nodes.collect(), records }
    }

    /// Puts nodes and records back, as far as they are of this time and there is room. Gives the numbers of nodes and
    /// records that came in; nothing does of another node's snapshot.
    pub fn restore(self, now: Now, table: &mut Table, store: &mut Store) -> (usize, usize) {
        if self.own != table.own() {
            return (0, 0);
        }
        let (mut nodes, mut records) = (0, 0);
        for node in self.nodes {
            // A time to come is the work of a clock that was wrong, then or now.
            let at = node.verified_at.and_then(|at| i64::try_from(at).ok()).map(|at| Timestamp::from_unix(at, 0));
            let ago = at.filter(|at| at.unix_nanos() <= now.wall.unix_nanos()).map(|at| now.wall.since(at));
            nodes += usize::from(table.restore(now.mono, node.info, ago) == Added::Inserted);
        }
        for record in self.records {
            records += usize::from(store.restore(now, record).is_ok());
        }
        (nodes, records)
    }

    /// The bytes: version, content, and a hash over the content, which shows a file that was cut or damaged.
    pub fn encode(&self) -> Vec<u8> {
        let nodes: Vec<_> = self.nodes.iter().map(SavedNode::encode).collect();
        let records: Vec<_> = self.records.iter().map(SavedRecord::encode).collect();
        let mut map = MapWriter::new();
        map.bytes(1, self.own.as_bytes()).optional_list(2, Some(&nodes)).optional_list(3, Some(&records));
        let content = map.finish();
        map.uint(1, VERSION).bytes(2, &content).bytes(3, &Sha256::digest(&content)).finish()
    }

    /// Reads a snapshot.
    ///
    /// # Errors
    /// [`Fault::TooLarge`], [`Fault::Malformed`] for another version or damaged bytes, [`Fault::Cbor`].
    pub fn decode(bytes: &[u8]) -> Result<Snapshot, Fault> {
        if bytes.len() > SNAPSHOT_BYTES_MAX {
            return Err(Fault::TooLarge { bytes: bytes.len(), max: SNAPSHOT_BYTES_MAX });
        }
        let (mut version, mut content, mut hash) = (0, &b""[..], [0; 32]);
        Reader::whole(bytes, |r| {
            r.map(|key, r| -> Result<bool, Fault> {
                match key {
                    1 => version = r.u64()?,
                    2 => content = r.bytes()?,
                    3 => hash = r.array_of()?,
                    _ => return Ok(false),
                }
                Ok(true)
            })
        })?;
        if version != VERSION {
            return Err(Fault::Malformed("a snapshot of another version"));
        }
        if hash != <[u8; 32]>::from(Sha256::digest(content)) {
            return Err(Fault::Malformed("a damaged snapshot"));
        }
        let (mut own, mut nodes, mut records) = (None, Vec::new(), Vec::new());
        Reader::whole(content, |r| {
            r.map(|key, r| -> Result<bool, Fault> {
                match key {
                    1 => own = Some(Id::from_bytes(r.array_of()?)),
                    2 => r.array(|r| SavedNode::read(r).map(|node| nodes.push(node)))?,
                    3 => r.array(|r| SavedRecord::read(r).map(|record| records.push(record)))?,
                    _ => return Ok(false),
                }
                Ok(true)
            })
        })?;
        Ok(Snapshot { own: own.ok_or(Fault::Malformed("a snapshot of nobody"))?, nodes, records })
    }
}

impl SavedNode {
    fn encode(&self) -> Vec<u8> {
        let mut map = MapWriter::new();
        map.encoded(1, &self.info.encode());
        if let Some(at) = self.verified_at {
            map.uint(2, at);
        }
        map.finish()
    }

    fn read(reader: &mut Reader<'_>) -> Result<SavedNode, Fault> {
        let (mut info, mut verified_at) = (None, None);
        reader.map(|key, r| -> Result<bool, Fault> {
            match key {
                1 => info = Some(NodeInfo::read(r)?),
                2 => verified_at = Some(r.u64()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(SavedNode { info: info.ok_or(Fault::Malformed("a saved node that is none"))?, verified_at })
    }
}

impl SavedRecord {
    fn encode(&self) -> Vec<u8> {
        let mut map = MapWriter::new();
        map.bytes(1, self.key.as_bytes()).encoded(2, &self.record.encode());
        if let Some(ip) = &self.source {
            map.bytes(3, &ip_bytes(ip));
        }
        map.finish()
    }

    fn read(reader: &mut Reader<'_>) -> Result<SavedRecord, Fault> {
        let (mut key, mut record, mut source) = (None, None, None);
        reader.map(|field, r| -> Result<bool, Fault> {
            match field {
                1 => key = Some(Id::from_bytes(r.array_of()?)),
                2 => record = Some(SignedRecord::read(r)?),
                3 => {
                    let ip = ip_of_bytes(r.bytes()?);
                    source = Some(ip.ok_or(Fault::Malformed("a saved source that is no address"))?);
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let missing = Fault::Malformed("a saved record that is none");
        Ok(SavedRecord { key: key.ok_or(missing)?, record: record.ok_or(missing)?, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Rng, Time};
    use crate::identity::{Address, SignKey};
    use crate::kad::{Authority, Policy, Proof, PutError, Source, Stamp, rec_type};
    use std::sync::Arc;
    use std::time::Duration;

    fn now(seconds: i64) -> Now {
        let mono = Time::from_millis(u64::try_from(seconds).unwrap() * 1000);
        Now { mono, wall: Timestamp::from_unix(1_750_000_000 + seconds, 0) }
    }

    fn node(seed: u8) -> (Table, Store) {
        let (own, policy) = (Id::of_address(&Address::from_bytes([seed; 21])), Arc::new(Policy::default()));
        (Table::new(own, policy.clone()), Store::new(own, policy, Authority::BuiltIn))
    }

    fn record(key: u8, ttl_s: u32) -> SignedRecord {
        let stamp = Stamp { seq: 1, timestamp: 1_750_000_000, ttl_s };
        SignedRecord::sign(&SignKey::from_seed(&[key; 32]), 2, vec![key], stamp).unwrap()
    }

    #[test]
    fn a_node_that_starts_again_knows_what_it_knew() {
        let (mut table, mut store) = node(1);
        let mut rng = Rng::from_number(31);
        for i in 0..40u8 {
            let info = NodeInfo::new(Address::from_bytes(rng.array()), ([10, 0, 0, i], 4121).into());
            table.handle_node(now(0).mono, info, if i % 4 == 0 { Proof::Heard } else { Proof::Answered });
        }
        let peer = Source::Peer([192, 0, 2, 9].into());
        for i in 0..10 {
            store
                .put(now(0), None, record(i, 60 * u32::from(i + 1)), if i % 2 == 0 { peer } else { Source::Own })
                .unwrap();
        }
        let saved = Snapshot::take(now(30), &table, &store);
        let read = Snapshot::decode(&saved.encode()).unwrap();
        assert_eq!(read, saved);
        let (mut table_again, mut store_again) = node(1);
        // Half an hour went by; the new process counts from zero.
        let later = Now { mono: Time::ZERO, ..now(330) };
        let count = table.len();
        assert_eq!(read.clone().restore(later, &mut table_again, &mut store_again), (count, 5));
        for (_, entry) in table.iter() {
            let again = table_again.entry(&entry.info.node_id).unwrap();
            assert_eq!((&again.info, again.is_verified()), (&entry.info, entry.is_verified()));
            assert_eq!(again.verified_ago(Time::ZERO), again.is_verified().then_some(Duration::from_secs(330)));
        }
        let held = record(9, 600);
        assert_eq!(store_again.get_all(later, &held.default_key(), 0), [&held]);
        assert_eq!(store_again.put(later, None, held, peer), Err(PutError::Stale));
        assert_eq!(store_again.poll_timeout(), Some(Time::from_millis(31_000)));
        let (mut other_table, mut other_store) = node(2);
        assert_eq!(read.restore(later, &mut other_table, &mut other_store), (0, 0));
    }

    #[test]
    fn a_damaged_snapshot_is_refused_and_a_forged_record_is_not_served() {
        let (table, mut store) = node(1);
        store.put(now(0), None, record(1, 600), Source::Own).unwrap();
        let mut saved = Snapshot::take(now(1), &table, &store);
        let bytes = saved.encode();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Snapshot::decode(&damaged).is_err(), "byte {at}");
            assert!(Snapshot::decode(&bytes[..at]).is_err());
        }
        saved.records[0].record.seq = 9;
        let key = saved.records[0].key;
        let (mut table, mut store) = node(1);
        assert_eq!(Snapshot::decode(&saved.encode()).unwrap().restore(now(2), &mut table, &mut store), (0, 1));
        let mut asked = node(1).1;
        saved.restore(now(2), &mut table, &mut asked);
        assert!(asked.get_all(now(2), &key, 0).is_empty() && asked.is_empty());
        assert_eq!(store.put(now(2), None, record(1, 600), Source::Own), Ok(()));
        assert!(store.get(now(2), &key).is_none());
        assert_eq!(store.get_all(now(2), &key, 2).len(), 1);
        assert_eq!(store.debug_records(now(2)).len(), 1);
        assert_ne!(rec_type::ENDPOINT, 2);
    }
}
