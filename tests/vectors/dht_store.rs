//! dht/store.json: what is kept, refused and dropped. Under the Go node's policy all is the same; under ours the verdicts.

use crate::dht_place::id;
use crate::dht_record::record;
use crate::support::{Outcome, Run, all, same, text};
use rigmesh::base::{Now, Time, Timestamp};
use rigmesh::identity::SignKey;
use rigmesh::kad::{Authority, Fault, Id, Policy, PutError, SignedRecord, Source, Stamp, Store};
use serde_json::Value;
use std::sync::Arc;

const T0: u64 = 1_750_000_000;

fn now(case: &Value, key: &str) -> Now {
    let seconds = case[key].as_u64().unwrap();
    Now { mono: Time::from_millis((seconds - T0) * 1000), wall: Timestamp::from_unix(seconds as i64, 0) }
}

fn store(policy: Policy, case: &Value) -> Store {
    let authority = match text(case, "auth") {
        "none" => Authority::Anyone,
        "host_policy" => Authority::BuiltIn,
        other => panic!("unknown authority {other}"),
    };
    let mut store = Store::new(Id::ZERO, Arc::new(policy), authority);
    match case["max_keys"].as_u64().unwrap() {
        0 => {}
        max => store.set_keys_max(max as usize),
    }
    store
}

fn class(verdict: Result<(), PutError>) -> (&'static str, Option<String>) {
    let name = match verdict {
        Ok(()) => return ("ok", None),
        Err(PutError::Stale) => "stale",
        Err(PutError::Record(Fault::Expired)) => "expired",
        Err(PutError::Record(Fault::Malformed(_))) => "invalid_message",
        Err(PutError::Record(_)) => "invalid_record",
        Err(_) => "error",
    };
    (name, verdict.err().map(|error| error.to_string()))
}

pub(crate) fn cases(run: &mut Run<'_>) {
    for (i, case) in run.value().as_array().unwrap().iter().enumerate() {
        let is_bounded = case["max_keys"].as_u64() != Some(0);
        let [mut store, mut ours] = [Policy::reference(), Policy::default()].map(|policy| store(policy, case));
        for (j, op) in case["ops"].as_array().unwrap().iter().enumerate() {
            assert_eq!(text(op, "op"), "put");
            let put =
                |store: &mut Store| store.put(now(op, "now"), Some(id(op, "key")), record(&op["record"]), Source::Own);
            run.case(&format!("cases[{i}] op {j}"), || {
                let (verdict, said) = class(put(&mut store));
                let theirs = op["error"].as_str().filter(|text| text.starts_with("dht: "));
                all([
                    same("verdict", verdict, text(op, "verdict")),
                    same("text", said.as_deref().filter(|text| text.starts_with("dht: ")), theirs),
                    same("keys", Some(store.len() as u64), op["len_after"].as_u64()),
                ])
            });
            run.case(&format!("cases[{i}] op {j}; by default"), || {
                let theirs = text(op, "verdict");
                match class(put(&mut ours)).0 {
                    ours if ours == theirs || is_bounded && theirs == "ok" => Outcome::Same,
                    ours => Outcome::Other(format!("{ours} instead of {theirs}")),
                }
            });
        }
        let at = now(case, "final_now");
        for (j, get) in case["gets"].as_array().unwrap().iter().enumerate().filter(|_| !is_bounded) {
            run.case(&format!("cases[{i}] get {j}"), || contents(&mut store, at, get));
            run.case(&format!("cases[{i}] get {j}; by default"), || match contents(&mut ours, at, get) {
                Outcome::Wrong(how) => Outcome::Other(how),
                same => same,
            });
        }
        run.case(&format!("cases[{i}] keys"), || same("keys", Some(store.len() as u64), case["len"].as_u64()));
    }
}

fn contents(store: &mut Store, now: Now, get: &Value) -> Outcome {
    let key = id(get, "key");
    let hex = |record: &SignedRecord| hex::encode(record.signature);
    let held: Vec<_> = store.get_all(now, &key, 0).into_iter().map(hex).collect();
    let theirs: Vec<_> =
        get["all_signatures_in_order"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    all([
        same("records", held.iter().map(String::as_str).collect(), theirs),
        same("endpoint", store.get(now, &key).map(hex).as_deref(), get["endpoint_signature"].as_str()),
    ])
}

pub(crate) fn limits(run: &mut Run<'_>) {
    run.each(|case| {
        let count = case["inserted"].as_u64().unwrap();
        let kind = case["rec_type_rule"].as_u64().unwrap();
        let policies = [Policy::reference(), Policy::default()];
        all(policies.map(|policy| {
            let mut store = Store::new(Id::ZERO, Arc::new(policy), Authority::BuiltIn);
            let at = now(&serde_json::json!({"now": T0 + count}), "now");
            let (mut key, mut signatures) = (None, Vec::new());
            for i in 0..count {
                let signer = SignKey::from_seed(&[if case["same_pubkey"] == true { 1 } else { i as u8 + 1 }; 32]);
                let rec_type = if kind == 1 { 1 + i % 15 } else { kind } as u8;
                let payload = match rec_type {
                    1 => vec![0xa0],
                    16 => b"\xa1\x02\x61t".to_vec(),
                    _ => vec![i as u8],
                };
                let stamp = Stamp { seq: 1, timestamp: T0 + 7 * i % count, ttl_s: 3600 };
                let record = SignedRecord::sign(&signer, rec_type, payload, stamp).unwrap();
                signatures.push(record.signature);
                let at_key = *key.get_or_insert(record.default_key());
                // A newcomer that is the oldest is refused by ours, and forgotten by the Go node's.
                let _ = store.put(at, Some(at_key), record, Source::Peer([192, 0, 2, 1].into()));
            }
            let kept = store.get_all(at, &key.unwrap(), 0).into_iter();
            let kept: Vec<_> = kept.map(|r| signatures.iter().position(|s| *s == r.signature)).collect();
            let theirs = case["kept_indices_in_order"].as_array().unwrap().iter();
            same("kept", kept, theirs.map(|i| i.as_u64().map(|i| i as usize)).collect())
        }))
    });
}
