//! dht/addresses.json, dht/xor.json, dht/wireaddr.json and dht/files.json: who and where somebody is.

use crate::support::{Outcome, Run, all, array, bytes, same, text, verdict};
use rigmesh::base::{Rng, Timestamp};
use rigmesh::identity::{Address, SignKey};
use rigmesh::kad::{self, Id};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};

pub(crate) fn address(case: &Value) -> Address {
    Address::from_bytes(array(case, "address"))
}

pub(crate) fn id(case: &Value, key: &str) -> Id {
    Id::from_bytes(array(case, key))
}

/// An address that was derived, beside the bytes, the text and the id of the file.
fn derived(case: &Value, ours: Address) -> Outcome {
    all([
        same("address", ours, address(case)),
        same("text", ours.to_string().as_str(), text(case, "text")),
        same("text read", text(case, "text").parse().unwrap(), ours),
        same("node id", Id::of_address(&ours), id(case, "node_id")),
    ])
}

pub(crate) fn ed25519(run: &mut Run<'_>) {
    run.each(|case| {
        let key = SignKey::from_seed(&array(case, "seed"));
        all([
            same("public key", key.public(), array(case, "pubkey")),
            derived(case, Address::of_ed25519(&key.public())),
        ])
    });
}

fn secp256k1_key(case: &Value) -> secp256k1::PublicKey {
    let secret = secp256k1::SecretKey::from_secret_bytes(array(case, "secp256k1_priv")).unwrap();
    secp256k1::PublicKey::from_secret_key(&secret)
}

pub(crate) fn ethereum(run: &mut Run<'_>) {
    run.each(|case| {
        let point: [u8; 65] = array(case, "pubkey_uncompressed");
        assert_eq!(point, secp256k1_key(case).serialize_uncompressed());
        derived(case, Address::of_ethereum(&point[1..].try_into().unwrap()))
    });
}

pub(crate) fn paralism(run: &mut Run<'_>) {
    run.each(|case| {
        let key = secp256k1_key(case);
        assert_eq!(key.serialize(), array(case, "pubkey_compressed"));
        let compressed = Address::of_paralism(&key.serialize());
        let long = Address::of_paralism(&key.serialize_uncompressed());
        all([
            derived(case, compressed),
            same("hash", *compressed.hash(), array(case, "hash160_compressed")),
            same("hash of the long form", *long.hash(), array(case, "hash160_uncompressed")),
            same("Base58", text(case, "text_p2pkh").parse().unwrap(), compressed),
            same("prefix pr", text(case, "text_pr").parse().unwrap(), compressed),
        ])
    });
}

pub(crate) fn parse(run: &mut Run<'_>) {
    run.each(|case| {
        verdict(case["ok"].as_bool().unwrap(), text(case, "input").parse::<Address>(), |ours| {
            all([
                same("address", ours, address(case)),
                same("canonical text", ours.to_string().as_str(), text(case, "canonical_text")),
            ])
        })
    });
}

pub(crate) fn xor_pairs(run: &mut Run<'_>) {
    run.each(|case| {
        let (a, b, target) = (id(case, "a"), id(case, "b"), id(case, "target"));
        let closer = |x: Id, y: Id| x.distance(&target) < y.distance(&target);
        let bucket = a.bucket_of(&b).map_or(-1, |bucket| bucket as i64);
        all([
            same("distance", *a.distance(&b).as_bytes(), array(case, "distance")),
            same("common bits", a.common_bits(&b) as u64, case["cpl"].as_u64().unwrap()),
            same("bucket", bucket, case["bucket"].as_i64().unwrap()),
            same("a closer", closer(a, b), case["a_closer"].as_bool().unwrap()),
            same("b closer", closer(b, a), case["b_closer"].as_bool().unwrap()),
        ])
    });
}

pub(crate) fn random_in_bucket(run: &mut Run<'_>) {
    let mut rng = Rng::from_number(1);
    for (i, case) in run.value().as_array().unwrap().iter().enumerate() {
        let (own, bucket) = (id(case, "self"), case["bucket"].as_u64().unwrap() as usize);
        let ours = own.random_in_bucket(bucket, &mut rng);
        run.case(&format!("random_in_bucket[{i}]"), || {
            all([
                same("our bucket", own.bucket_of(&ours), Some(bucket)),
                same("bucket", own.bucket_of(&id(case, "sample")), Some(bucket)),
                same("stated bucket", case["sample_bucket"].as_u64(), Some(bucket as u64)),
            ])
        });
    }
}

fn port(case: &Value) -> u16 {
    u16::try_from(case["port"].as_u64().unwrap()).unwrap()
}

pub(crate) fn encode_observed(run: &mut Run<'_>) {
    run.each(|case| {
        assert_eq!(case["ok"], true);
        let ip: IpAddr = text(case, "ip").parse().unwrap();
        same("bytes", kad::encode_observed(SocketAddr::new(ip, port(case))), bytes(case, "wire"))
    });
}

pub(crate) fn decode_observed(run: &mut Run<'_>) {
    run.each(|case| {
        verdict(case["ok"].as_bool().unwrap(), kad::decode_observed(&bytes(case, "wire")), |ours| {
            all([same("host", ours.ip(), text(case, "host").parse().unwrap()), same("port", ours.port(), port(case))])
        })
    });
}

pub(crate) fn is_public_ip(run: &mut Run<'_>) {
    run.each(|case| {
        let ours = kad::is_public_ip(text(case, "ip").parse().unwrap());
        same("public", ours, case["public"].as_bool().unwrap())
    });
}

pub(crate) fn seen_peers(run: &mut Run<'_>) {
    let (root, now) = (run.root, Timestamp::from_unix(run.root["now"].as_i64().unwrap(), 0));
    run.case("seen_peers_text", || {
        let seen = kad::decode_seen_peers(text(root, "seen_peers_text"), now, 1000);
        let mut theirs: Vec<_> =
            root["accepted"].as_array().unwrap().iter().map(|line| format!("{}\n", line.as_str().unwrap())).collect();
        theirs.sort();
        same("entries", kad::encode_seen_peers(&seen, now), theirs.concat())
    });
}

pub(crate) fn peers_cache(run: &mut Run<'_>) {
    let value = run.value();
    run.case("peers_cache_json", || {
        let ours = kad::decode_peers_cache(value.to_string().as_bytes()).unwrap();
        let again: Value = serde_json::from_str(&kad::encode_peers_cache(&ours).unwrap()).unwrap();
        same("file", &again, value)
    });
}
