//! The law of the snapshot of a DHT node's table and store.

use rigmesh::base::{Now, Time, Timestamp};
use rigmesh::kad::{Authority, Policy, Snapshot, Store, Table};
use rigmesh::wire::cbor::MapWriter;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// A file with this content, undamaged.
fn whole(content: &[u8]) -> Vec<u8> {
    MapWriter::new().uint(1, 1u8).bytes(2, content).bytes(3, &Sha256::digest(content)).finish()
}

/// A snapshot, or the content of one, that is read is written and read again as itself; what comes of it into a table and
/// a store is bounded, and no record that is not signed is given out.
pub fn snapshot(bytes: &[u8]) -> bool {
    let Ok(read) = Snapshot::decode(bytes).or_else(|_| Snapshot::decode(&whole(bytes))) else { return false };
    assert_eq!(Snapshot::decode(&read.encode()).unwrap(), read);
    let (own, policy) = (read.own, Arc::new(Policy::default()));
    let mut table = Table::new(own, policy.clone());
    let mut store = Store::new(own, policy.clone(), Authority::BuiltIn);
    let now = Now { mono: Time::from_millis(7), wall: Timestamp::from_unix(1_750_000_010, 0) };
    let keys: Vec<_> = read.records.iter().map(|saved| saved.key).collect();
    let (nodes, records) = read.restore(now, &mut table, &mut store);
    assert_eq!((table.len(), records <= keys.len()), (nodes, true));
    assert!(table.iter().all(
        |(_, entry)| entry.info.is_bound() && entry.verified_ago(now.mono) <= Some(now.wall.since(Timestamp::ZERO))
    ));
    for key in keys {
        for record in store.get_all(now, &key, 0) {
            record.verify(now.wall, &policy.rules).unwrap();
        }
    }
    Snapshot::take(now, &table, &store).encode();
    store.handle_timeout(Now { mono: Time::from_micros(u64::MAX), ..now });
    assert!(store.is_empty() && store.bytes() == 0);
    true
}

/// Content with a field nobody knows.
pub fn deep_snapshot(levels: usize) -> Vec<u8> {
    let bytes = super::corpus("kad_snapshot").swap_remove(0);
    let lists = [&vec![0x81; levels - 2][..], &[0x80]].concat();
    [&[bytes[0] + 1], &bytes[1..], b"\x09", &lists].concat()
}
