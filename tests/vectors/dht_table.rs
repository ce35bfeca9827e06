//! dht/routing.json, dht/network_size.json and the list `nearest` of dht/xor.json: who is in the table, and whom it names.

use crate::dht_place::id;
use crate::support::{Outcome, Run, all, same, text};
use rigmesh::base::Time;
use rigmesh::identity::Address;
use rigmesh::kad::{Added, Entry, Id, NodeInfo, Policy, Proof, Table, size_estimate, size_estimate_any};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// Nodes of these files have ids without an address to them.
fn info(node_id: Id, ip: u32, port: u16) -> NodeInfo {
    let address = Address::from_bytes([0xa0; 21]);
    NodeInfo { address, node_id, ip: Ipv4Addr::from(ip).into(), port }
}

fn seconds(case: &Value, key: &str) -> Time {
    Time::from_millis(case[key].as_u64().unwrap() * 1000)
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn ids<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<String> {
    entries.into_iter().map(|entry| entry.info.node_id.to_string()).collect()
}

fn table(case: &Value) -> Table {
    Table::new(id(case, "self"), Arc::new(Policy::reference()))
}

/// Ours; the ids of these files have no addresses, so they are not compared.
fn our_table(case: &Value) -> Table {
    Table::new(id(case, "self"), Arc::new(Policy { check_ids: false, ..Policy::default() }))
}

pub(crate) fn routing(run: &mut Run<'_>) {
    for (i, case) in run.value().as_array().unwrap().iter().enumerate() {
        let (mut table, mut ours, mut alive) = (table(case), our_table(case), BTreeMap::new());
        for (j, op) in case["ops"].as_array().unwrap().iter().enumerate() {
            run.case(&format!("cases[{i}] op {j}"), || operation(&mut table, op, &mut alive));
            run.case(&format!("cases[{i}] op {j}; by default"), || match operation(&mut ours, op, &mut alive) {
                Outcome::Wrong(how) => Outcome::Other(how),
                same => same,
            });
        }
        run.case(&format!("cases[{i}] state"), || state(&table, case));
        for (j, query) in case["queries"].as_array().unwrap().iter().enumerate() {
            run.case(&format!("cases[{i}] query {j}"), || self::query(&table, seconds(case, "final_t"), query));
        }
        run.case(&format!("cases[{i}] maintenance"), || {
            let (now, theirs) = (seconds(case, "final_t"), &case["maintenance_at_final_t"]);
            let hex = |ids: Vec<Id>| ids.iter().map(Id::to_string).collect::<Vec<_>>();
            let mut refills: Vec<u64> = table.refills(now, usize::MAX).into_iter().map(u64::from).collect();
            refills.reverse();
            let expected: Vec<_> = theirs["buckets_to_refill"].as_array().unwrap().iter().map(Value::as_u64).collect();
            all([
                same("pending", hex(table.pending_to_probe(now, usize::MAX)), texts(&theirs["pending_to_probe"])),
                same("stale", hex(table.stale_to_probe(now, usize::MAX)), texts(&theirs["stale_to_probe"])),
                same("refills", refills.into_iter().map(Some).collect::<Vec<_>>(), expected),
            ])
        });
    }
}

fn operation(table: &mut Table, op: &Value, alive: &mut BTreeMap<Id, bool>) -> Outcome {
    let (node, now) = (id(op, "id"), seconds(op, "t"));
    match text(op, "op") {
        "add" => {
            alive.entry(node).or_insert(op["alive"].as_bool().unwrap());
            let ip = u32::from_str_radix(text(op, "ip"), 16).unwrap();
            let info = info(node, ip, u16::try_from(op["port"].as_u64().unwrap()).unwrap());
            let proof = if op["verified"] == true { Proof::Answered } else { Proof::Heard };
            let was = table.handle_node(now, info, proof);
            let mut pinged = Vec::new();
            while let Some(asked) = table.poll_probe() {
                pinged.push(asked.to_string());
                table.handle_probe(now, &asked, alive[&asked]);
            }
            let added = matches!(was, Added::Inserted | Added::Known) || table.entry(&node).is_some();
            let theirs = if op["pinged"].is_null() { Vec::new() } else { texts(&op["pinged"]) };
            all([same("result", Some(added), op["result"].as_bool()), same("pinged", pinged, theirs)])
        }
        "promote_pending" => same("promoted", Some(table.promote(now, &node)), op["result"].as_bool()),
        "update_verified" => {
            table.handle_answer(now, &node);
            Outcome::Same
        }
        "remove" => {
            table.remove(&node);
            Outcome::Same
        }
        other => Outcome::Wrong(format!("unknown operation {other}")),
    }
}

fn state(table: &Table, case: &Value) -> Outcome {
    let mut buckets = BTreeMap::<u64, (Vec<String>, Vec<String>)>::new();
    for (index, entry) in table.iter() {
        buckets.entry(index.into()).or_default().0.push(entry.info.node_id.to_string());
    }
    for (index, entry) in table.pending() {
        buckets.entry(index.into()).or_default().1.push(entry.info.node_id.to_string());
    }
    let theirs = case["state"].as_array().unwrap().iter().map(|bucket| {
        let lists = (texts(&bucket["main_lru_first"]), texts(&bucket["pending_oldest_first"]));
        (bucket["bucket"].as_u64().unwrap(), lists)
    });
    same("buckets", buckets, theirs.collect())
}

fn query(table: &Table, now: Time, query: &Value) -> Outcome {
    let target = id(query, "target");
    let named = |entry: &&Entry| {
        let std::net::IpAddr::V4(ip) = entry.info.ip else { panic!() };
        format!("{}@{}:{}", entry.info.node_id, hex::encode(ip.octets()), entry.info.port)
    };
    all([
        same("nearest", table.nearest(&target, 16).iter().map(named).collect(), texts(&query["nearest"])),
        same("verified", ids(table.nearest_verified(now, &target, 16)), texts(&query["nearest_verified"])),
    ])
}

pub(crate) fn nearest(run: &mut Run<'_>) {
    run.each(|case| {
        let mut table = table(case);
        for node in texts(&case["ids"]) {
            table.handle_node(Time::ZERO, info(node.parse().unwrap(), 1, 1), Proof::Heard);
        }
        same("nearest", ids(table.nearest(&id(case, "target"), 16)), texts(&case["nearest16"]))
    });
}

pub(crate) fn network_size(run: &mut Run<'_>) {
    let now = Time::from_millis(1_000_000_000);
    run.each(|case| {
        let mut table = table(case);
        for entry in case["entries"].as_array().unwrap() {
            let info = info(id(entry, "node_id"), 1, 1);
            let (node, admitted) = (info.node_id, entry["admitted"].as_bool().unwrap());
            match entry["verified_age_s"].as_i64().unwrap() {
                ..0 => table.handle_node(now, info, Proof::Heard),
                age => {
                    let before = Time::from_millis(1_000_000_000 - age as u64 * 1000);
                    table.handle_node(before, info, Proof::Asked)
                }
            };
            while let Some(asked) = table.poll_probe() {
                table.handle_probe(now, &asked, true);
            }
            assert_eq!(table.entry(&node).is_some(), admitted);
            let bucket = table.own().bucket_of(&node).map(|bucket| bucket as u64);
            assert_eq!(bucket, entry["bucket"].as_u64());
        }
        let (all_time, lately) =
            (size_estimate(&table, now, None), size_estimate(&table, now, Some(Duration::from_secs(1800))));
        let outcome = all([
            same("len", Some(table.len() as u64), case["len"].as_u64()),
            same("confidence", Some(all_time.confidence), case["confidence_all"].as_f64()),
            same("confidence lately", Some(lately.confidence), case["confidence_30m"].as_f64()),
        ]);
        // The Go node's numbers wrap there.
        if case["reference_overflow"] == true {
            return outcome;
        }
        all([
            outcome,
            same("estimate", Some(size_estimate_any(&table, now)), case["estimate"].as_u64()),
            same("filtered", Some(all_time.nodes), case["filtered_all"].as_u64()),
            same("filtered lately", Some(lately.nodes), case["filtered_30m"].as_u64()),
        ])
    });
}
