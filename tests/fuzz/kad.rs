//! Laws of the DHT's decoders: CBOR, datagrams, records and what is in them, small texts.

use rigmesh::base::Timestamp;
use rigmesh::identity::{Address, SignKey};
use rigmesh::kad::{
    Delegation, EndpointPayload, Envelope, Fault, Mail, RigRecord, Rules, Sighting, SignedRecord, TopicPayload,
    decode_peers_cache, decode_seen_peers, encode_datagram, encode_peers_cache, encode_seen_peers,
};
use rigmesh::wire::cbor::{MapWriter, Reader, Value};

fn key() -> SignKey {
    SignKey::from_seed(&[7; 32])
}

fn now() -> Timestamp {
    Timestamp::from_unix(1_750_000_010, 0)
}

/// Lists in each other.
fn nested(levels: usize) -> Vec<u8> {
    [&vec![0x81; levels - 1][..], &[0x80]].concat()
}

/// What is read is written in one form, never longer, and read again as itself; what is read can be skipped.
pub fn cbor(bytes: &[u8]) -> bool {
    let Ok(value) = Reader::whole(bytes, Value::read) else { return false };
    let canonical = value.encode();
    assert!(canonical.len() <= bytes.len());
    assert_eq!(Reader::whole(&canonical, Value::read).unwrap().encode(), canonical);
    Reader::whole(bytes, |r| r.skip().map(|all| assert_eq!(all, bytes))).unwrap();
    true
}

/// Lists in lists.
pub fn deep_cbor(levels: usize) -> Vec<u8> {
    nested(levels)
}

/// A datagram that is read is written anew, signed by us, and read again with the same message; whose signature holds
/// under our rules, holds under the pinned ones.
pub fn datagram(bytes: &[u8]) -> bool {
    let Ok(envelope) = Envelope::decode(bytes) else { return false };
    let (header, message) = (*envelope.header(), envelope.message().clone());
    assert!(message.encode_body().len() <= 2 * bytes.len() + 64);
    if let Ok(datagram) = encode_datagram(&header, &message, &key()) {
        let read = Envelope::decode(&datagram).unwrap();
        assert_eq!((read.header(), read.message()), (&header, &message));
        match read.verify(&Rules::default()) {
            Ok(received) => assert_eq!(received.message, message),
            Err(fault) => assert_eq!(fault, Fault::NotTheSender),
        }
    }
    match (envelope.clone().verify(&Rules::default()), envelope.verify(&Rules::pinned())) {
        (Ok(ours), Ok(pinned)) => assert_eq!(ours, pinned),
        (Ok(_), Err(fault)) => panic!("accepted by us alone: {fault}"),
        _ => {}
    }
    true
}

/// A datagram with a key nobody knows, beside the four known ones.
pub fn deep_datagram(levels: usize) -> Vec<u8> {
    let bytes = super::corpus("kad_datagram").swap_remove(0);
    [b"\xa5", &bytes[1..], b"\x05", &nested(levels - 1)].concat()
}

/// A record that is read is written in one form and read again as itself; a verdict under our rules that is good is so
/// under the pinned ones but for the tolerance of clocks.
pub fn record(bytes: &[u8]) -> bool {
    let Ok(record) = SignedRecord::decode(bytes) else { return false };
    let canonical = record.encode();
    assert_eq!(SignedRecord::decode(&canonical).unwrap(), record);
    assert!(canonical.len() <= bytes.len() + 16);
    let (ours, pinned) = (record.verify(now(), &Rules::default()), record.verify(now(), &Rules::pinned()));
    assert!(ours.is_err() || matches!(pinned, Ok(()) | Err(Fault::Future)), "{pinned:?}");
    assert!(!record.is_newer_than(&record, &Rules::default()));
    let _ = record.check_authority(&record.default_key(), now(), &Rules::default());
    if let Ok(seen) = Sighting::read(bytes, now()) {
        assert!(ours.is_ok() && seen.record() == &record && RigRecord::read(&record).as_ref() == Ok(seen.rig()));
    }
    payloads(record.payload());
    true
}

/// A record with a key nobody knows.
pub fn deep_record(levels: usize) -> Vec<u8> {
    let bytes = super::corpus("kad_record").swap_remove(0);
    [&[bytes[0] + 1], &bytes[1..], b"\x0a", &nested(levels - 1)].concat()
}

fn payloads(bytes: &[u8]) -> bool {
    let endpoint = EndpointPayload::decode(bytes);
    if let Ok(read) = &endpoint {
        assert_eq!(&EndpointPayload::decode(&read.encode().unwrap()).unwrap(), read);
    }
    let topic = TopicPayload::decode(bytes);
    if let Ok(read) = &topic {
        // A missing field is written, so a full payload may outgrow its bound.
        if let Ok(written) = read.encode() {
            assert_eq!(TopicPayload::decode(&written).unwrap().encode().unwrap(), written);
        }
    }
    let delegation = Delegation::decode(bytes);
    if let Ok(read) = &delegation {
        assert_eq!(&Delegation::decode(&read.encode()).unwrap(), read);
        let (ours, pinned) = (read.verify(now(), &Rules::default()), read.verify(now(), &Rules::pinned()));
        assert!(ours.is_err() || matches!(pinned, Ok(()) | Err(Fault::Expired)), "{pinned:?}");
    }
    endpoint.is_ok() || topic.is_ok() || delegation.is_ok()
}

/// The contents of records, and a sealed message to us of these bytes, which opens only if it was sealed.
pub fn payload(bytes: &[u8]) -> bool {
    let address = Address::of_ed25519(&key().public());
    let mut mail = MapWriter::new();
    mail.bytes(1, address.as_bytes()).uint(2, 0x80u8).bytes(3, bytes).uint(4, 1u8).uint(5, 1u8).uint(6, 1u8);
    let record = SignedRecord::decode(&mail.bytes(7, &key().public()).bytes(8, &[0; 64]).finish()).unwrap();
    let _ = Mail::open(&record, &address, &key());
    payloads(bytes)
}

/// An endpoint with a key nobody knows.
pub fn deep_payload(levels: usize) -> Vec<u8> {
    [b"\xa1\x09", &nested(levels - 1)[..]].concat()
}

/// The texts: addresses (`a`), nodes that were met (`s`), addresses for the next start (`p`).
pub fn text(bytes: &[u8]) -> bool {
    let (Some(kind), Ok(text)) = (bytes.first(), std::str::from_utf8(bytes.get(1..).unwrap_or_default())) else {
        return false;
    };
    match kind {
        b'a' => {
            let Ok(address) = text.parse::<Address>() else { return false };
            assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
            true
        }
        b's' => {
            let seen = decode_seen_peers(text, now(), 8);
            assert!(seen.len() <= 8);
            assert_eq!(decode_seen_peers(&encode_seen_peers(&seen, now()), now(), 8), seen);
            true
        }
        b'p' => {
            let Ok(peers) = decode_peers_cache(text.as_bytes()) else { return false };
            assert_eq!(decode_peers_cache(encode_peers_cache(&peers).unwrap().as_bytes()).unwrap(), peers);
            true
        }
        _ => false,
    }
}

/// A file of addresses with more in it.
pub fn deep_text(levels: usize) -> Vec<u8> {
    format!("p{{\"peers\":[],\"x\":{}}}", super::nested(levels - 1)).into_bytes()
}
