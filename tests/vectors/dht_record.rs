//! dht/records.json, dht/records_negative.json, dht/record_order.json, dht/delegation.json, dht/topics.json: records.
//!
//! Verdicts are compared twice: under the rules of the version that made the file, and under ours, "by default".

use crate::dht_place::{address, id};
use crate::support::{Outcome, Run, all, array, bytes, same, text, verdict};
use rigmesh::base::Timestamp;
use rigmesh::identity::{Address, SignKey};
use rigmesh::kad::{
    Delegation, EndpointPayload, Fault, Id, Rules, Seal, SignedRecord, Stamp, TopicPayload, newest, rec_type,
};
use rigmesh::wire::cbor::{MapWriter, Value as Cbor};
use serde_json::Value;

fn number(case: &Value, key: &str) -> u64 {
    case[key].as_u64().unwrap_or_else(|| panic!("no number {key}"))
}

fn now(case: &Value) -> Timestamp {
    Timestamp::from_unix(case["now"].as_i64().unwrap(), 0)
}

/// The rules a case is judged by, with what is added to its name.
const BOTH: [(&str, Rules); 2] = [
    ("", Rules::pinned()),
    ("; by default", Rules { ahead_s: 60, grace_s: 60, delegation_first: true, weak_keys: false }),
];

/// The CBOR of a record of a file, whatever its fields hold.
pub(crate) fn record_bytes(record: &Value, payload_is_null: bool) -> Vec<u8> {
    let payload = bytes(record, "payload");
    let mut map = MapWriter::new();
    map.bytes(1, &bytes(record, "address")).uint(2, number(record, "rec_type"));
    map.optional_bytes(3, Some(&payload[..]).filter(|_| !payload_is_null));
    map.uint(4, number(record, "seq")).uint(5, number(record, "timestamp")).uint(6, number(record, "ttl"));
    map.bytes(7, &bytes(record, "pubkey")).bytes(8, &bytes(record, "signature"));
    if !text(record, "delegation").is_empty() {
        map.bytes(9, &bytes(record, "delegation"));
    }
    map.finish()
}

pub(crate) fn record(record: &Value) -> SignedRecord {
    SignedRecord::decode(&record_bytes(record, false)).unwrap()
}

fn stamp(record: &Value) -> Stamp {
    let ttl_s = number(record, "ttl") as u32;
    Stamp { seq: number(record, "seq"), timestamp: number(record, "timestamp"), ttl_s }
}

fn class(fault: &Fault) -> &'static str {
    match fault {
        Fault::Malformed(_) => "invalid_message",
        Fault::Expired => "expired",
        _ => "invalid_record",
    }
}

/// Compares a verdict by its class; accepted and refused may differ only by decision.
fn compare(theirs: &str, ours: Result<(), Fault>) -> Outcome {
    match ours {
        Err(fault) if theirs != "ok" => same("verdict", class(&fault), theirs),
        ours => verdict(theirs == "ok", ours, |()| Outcome::Same),
    }
}

pub(crate) fn records(run: &mut Run<'_>) {
    for case in run.value().as_array().unwrap() {
        let (theirs, name) = (&case["record"], text(case, "note"));
        let ours = record(theirs);
        run.case(name, || signed(case, &ours));
        for at in case["verify"].as_array().unwrap() {
            let delta = at["now"].as_i64().unwrap() - ours.timestamp as i64;
            let near = if delta < 100 { format!("at {delta} s") } else { "near its end".to_owned() };
            for (rules_name, rules) in BOTH {
                run.case(&format!("{near}{rules_name}"), || compare(text(at, "verdict"), ours.verify(now(at), &rules)));
            }
        }
    }
}

fn signed(case: &Value, ours: &SignedRecord) -> Outcome {
    let (theirs, key) = (&case["record"], SignKey::from_seed(&array(case, "seed")));
    let (payload, kind, fields) = (bytes(theirs, "payload"), ours.rec_type, &case["payload_fields"]);
    let again = match ours.delegation.as_slice() {
        [] => SignedRecord::sign(&key, kind, payload, stamp(theirs)).unwrap(),
        delegation => {
            let delegation = Delegation::decode(delegation).unwrap();
            SignedRecord::sign_delegated(&key, &delegation, kind, payload, stamp(theirs)).unwrap()
        }
    };
    let content = match (ours.rec_type, fields["payload_cbor"].as_str(), fields["topic"].as_str()) {
        (rec_type::ENDPOINT, Some(cbor), _) => {
            let read = EndpointPayload::decode(ours.payload()).unwrap();
            let list = |key: &str| texts(&fields[key]).unwrap_or_default();
            all([
                same("payload", hex::encode(read.encode().unwrap()).as_str(), cbor),
                same("endpoints", &read.endpoints, &texts(&fields["endpoints"])),
                same("nat_type", read.nat_type as u64, number(fields, "nat_type")),
                same("signal", read.signal.as_str(), text(fields, "signal")),
                same("turns", &read.turns, &list("turns")),
                same("signals", &read.signals, &list("signals")),
            ])
        }
        (rec_type::TOPIC, _, Some(topic)) => {
            let (read, written) = (TopicPayload::decode(ours.payload()).unwrap(), entry(fields).encode().unwrap());
            all([
                same("payload", hex::encode(written).as_str(), text(theirs, "payload")),
                same("payload again", read.encode().unwrap(), ours.payload().to_vec()),
                same("topic", read.topic.as_str(), topic),
                same("topic key", Id::of_topic(topic), id(fields, "topic_key")),
            ])
        }
        _ => Outcome::Same,
    };
    all([
        content,
        same("record", &again, ours),
        same("record's bytes", ours.encode(), bytes(theirs, "record_cbor")),
        same("record read", SignedRecord::decode(&bytes(theirs, "record_cbor")).as_ref(), Ok(ours)),
        same("signed bytes", ours.signed_bytes(), bytes(theirs, "sign_bytes")),
        same("key", ours.default_key(), id(case, "default_key")),
    ])
}

pub(crate) fn negative(run: &mut Run<'_>) {
    for case in run.value().as_array().unwrap() {
        let bytes = record_bytes(&case["record"], case["payload_is_null"] == true);
        for (rules_name, rules) in BOTH {
            run.case(&format!("{}{rules_name}", text(case, "note")), || {
                let ours = match SignedRecord::decode(&bytes) {
                    Ok(record) => record.verify(now(case), &rules),
                    Err(_) => Err(Fault::Malformed("a record that cannot be read")),
                };
                compare(text(case, "verdict"), ours)
            });
        }
    }
}

/// A record of nothing but numbers.
fn bare(case: &Value) -> SignedRecord {
    SignedRecord {
        address: Address::from_bytes([0xa0; 21]),
        rec_type: 1,
        payload: None,
        seq: number(case, "seq"),
        timestamp: number(case, "timestamp"),
        ttl_s: 1,
        pubkey: [0; 32],
        signature: [0; 64],
        delegation: Vec::new(),
    }
}

pub(crate) fn order(run: &mut Run<'_>) {
    run.each(|case| {
        let (a, b) = (bare(&case["a"]), bare(&case["b"]));
        all(BOTH.iter().flat_map(|(_, rules)| {
            [
                same("a newer", a.is_newer_than(&b, rules), case["a_newer_than_b"].as_bool().unwrap()),
                same("b newer", b.is_newer_than(&a, rules), case["b_newer_than_a"].as_bool().unwrap()),
            ]
        }))
    });
}

pub(crate) fn merges(run: &mut Run<'_>) {
    run.each(|case| {
        let input = case["input"].as_array().unwrap().iter().map(|input| SignedRecord {
            address: address(input),
            rec_type: number(input, "rec_type") as u8,
            payload: Some(bytes(input, "payload")),
            pubkey: array(input, "pubkey"),
            ..bare(input)
        });
        let input: Vec<_> = input.collect();
        let kept = newest(&input, &Rules::pinned());
        let theirs = case["kept_indices"].as_array().unwrap().iter().map(|i| i.as_u64().unwrap() as usize).collect();
        same("kept", kept, theirs)
    });
}

pub(crate) fn proofs(run: &mut Run<'_>) {
    for case in run.value().as_array().unwrap() {
        let (name, cbor) = (text(case, "note"), bytes(case, "cbor"));
        run.case(name, || {
            verdict(case["parse_ok"].as_bool().unwrap(), Delegation::decode(&cbor), |ours| {
                all([fields(case, &ours), same("bytes", ours.encode(), cbor.clone())])
            })
        });
        for at in case["verify"].as_array().into_iter().flatten() {
            let delta = at["now"].as_i64().unwrap() - case["proof"]["issued_at"].as_i64().unwrap();
            for (rules_name, rules) in BOTH {
                run.case(&format!("{name} at {delta} s{rules_name}"), || {
                    let ours = Delegation::decode(&cbor).unwrap().verify(now(at), &rules);
                    let expired = at["error"].as_str().is_some_and(|error| error.ends_with("expired"));
                    if expired && !matches!(ours, Ok(()) | Err(Fault::Expired)) {
                        return Outcome::Wrong(format!("{ours:?} instead of expired"));
                    }
                    verdict(at["ok"].as_bool().unwrap(), ours, |()| Outcome::Same)
                });
            }
        }
    }
}

fn fields(case: &Value, ours: &Delegation) -> Outcome {
    let (theirs, keys) = (&case["proof"], &case["keys"]);
    let (seal, name) = (&ours.seal, text(case, "note"));
    let (master, signature, message) = match seal {
        Seal::Ed25519 { master_pub, signature } => (&master_pub[..], &signature[..], ""),
        Seal::Wallet { signature, message } => (&b""[..], &signature[..], message.as_str()),
    };
    // The signer's own work: the same bytes from the same keys, the same text for the same fields.
    let made = match seal {
        Seal::Ed25519 { .. } if name == "ed25519" => {
            let master = SignKey::from_seed(&array(keys, "master_seed"));
            let again = Delegation::issue(&master, ours.op_pub, ours.issued_at, ours.expires_at);
            all([same("issued", &again, ours), same("signed", ours.signed_bytes(), bytes(case, "sign_bytes"))])
        }
        Seal::Wallet { .. }
            if matches!(name, "ethereum" | "paralism compressed" | "paralism uncompressed-key address") =>
        {
            let text = Delegation::wallet_text(&ours.agent, &ours.op_pub, ours.issued_at, ours.expires_at).unwrap();
            same("text", text.as_str(), message)
        }
        _ => Outcome::Same,
    };
    all([
        made,
        same("op_pub", ours.op_pub, array(theirs, "op_pub")),
        same("agent", *ours.agent.as_bytes(), array(theirs, "agent_addr")),
        same("issued_at", ours.issued_at, number(theirs, "issued_at")),
        same("expires_at", ours.expires_at, number(theirs, "expires_at")),
        same("scope", u64::from(ours.scope), number(theirs, "scope")),
        same("master", master, &bytes(theirs, "master_pub")),
        same("signature", signature, &bytes(theirs, "signature")),
        same("message", message, text(theirs, "message")),
    ])
}

pub(crate) fn record_auth(run: &mut Run<'_>) {
    for case in run.value().as_array().unwrap() {
        let (ours, key) = (record(&case["record"]), id(case, "key"));
        for (rules_name, rules) in BOTH {
            run.case(&format!("{}{rules_name}", text(case, "note")), || {
                assert_eq!(ours.verify(now(case), &rules), Ok(()));
                verdict(case["ok"].as_bool().unwrap(), ours.check_authority(&key, now(case), &rules), |()| {
                    Outcome::Same
                })
            });
        }
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    Some(value.as_array()?.iter().map(|text| text.as_str().unwrap().to_owned()).collect())
}

/// What a value of a topic's `meta` is in CBOR.
fn cbor(value: &Value) -> Cbor {
    match value {
        Value::Null => Cbor::Null,
        Value::Bool(value) => Cbor::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Cbor::integer(number),
            (_, Some(number)) => Cbor::Unsigned(number),
            _ => Cbor::Float(number.as_f64().unwrap()),
        },
        Value::String(text) => Cbor::Text(text.clone()),
        Value::Array(items) => Cbor::Array(items.iter().map(cbor).collect()),
        Value::Object(pairs) => Cbor::Map(pairs.iter().map(|(key, v)| (Cbor::Text(key.clone()), cbor(v))).collect()),
    }
}

fn entry(case: &Value) -> TopicPayload {
    let owned = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
    let meta = case["meta"].as_object().into_iter().flatten();
    TopicPayload {
        version: case["version"].as_u64().unwrap_or(1) as u8,
        topic: owned("topic"),
        name: owned("name"),
        protocols: texts(&case["protocols"]),
        tags: texts(&case["tags"]),
        brief: owned("brief"),
        meta: meta.map(|(key, value)| (key.clone(), cbor(value))).collect(),
    }
}

pub(crate) fn topic_keys(run: &mut Run<'_>) {
    run.each(|case| same("key", Id::of_topic(text(case, "topic")), id(case, "key")));
}

pub(crate) fn topic_payloads(run: &mut Run<'_>) {
    run.each(|case| {
        verdict(case["ok"].as_bool().unwrap(), entry(case).encode(), |ours| {
            let read = TopicPayload::decode(&ours).unwrap();
            all([
                same("bytes", &ours, &bytes(case, "cbor")),
                same("bytes again", read.encode().unwrap(), ours.clone()),
                same("tags", &read.tags, &texts(&case["tags"])),
            ])
        })
    });
}

pub(crate) fn filters(run: &mut Run<'_>) {
    let entries = run.root["filter_entries"].as_array().unwrap();
    run.each(|case| {
        let list = |key: &str| texts(&case[key]).unwrap_or_default();
        let kept = entries.iter().map(entry).filter(|entry| entry.matches(&list("protocols"), &list("tags")));
        same("kept", kept.map(|entry| entry.name).collect(), list("kept"))
    });
}
