//! Load tests from the command line, and a node in a bound of memory under them.

use super::user::{Folder, Pair};
use serde_json::json;

#[test]
fn a_node_is_measured_from_outside_and_the_limits_stand_beside_the_figures() {
    let pair = Pair::new();
    for (kind, count) in [("connect", 5), ("rtt", 50), ("throughput", 200)] {
        let row = pair.controller.rows(&["bench", kind, "rig-1", "--count", &count.to_string()]).remove(0);
        assert_eq!((&row["bench"], &row["count"], &row["secure"]), (&json!(kind), &json!(count), &json!(true)));
        let at = |key: &str| row[key].as_f64().unwrap();
        assert!(at("p50_us") > 0.0 && at("p50_us") <= at("p99_us") && at("p99_us") <= at("max_us"), "{row}");
        assert_eq!(row["limits"]["rate_per_s"], 2000);
    }
    let row = pair.controller.rows(&["bench", "sweep", "--all", "--count", "3"]).remove(0);
    assert_eq!((&row["rigs"], &row["answered"], &row["count"]), (&json!(1), &json!(1), &json!(3)));
    let text = pair.controller.run(&["bench", "rtt", "rig-1", "--count", "10"]).ok().out;
    assert!(text.starts_with("rtt: 10 in "), "{text}");
}

#[test]
fn load_is_bounded_and_stays_on_this_machine() {
    let boss = Folder::init("controller", "boss");
    let far = Folder::init("worker", "far");
    boss.run(&["peers", "add", "198.51.100.7:9091", "--key", &far.key(), "--name", "far"]).ok();
    boss.run(&["bench", "rtt", "far"]).fails(3, &["not on this machine", "--anywhere"]);
    boss.run(&["bench", "rtt", "far", "--count", "0"]).fails(3, &["1 to 1000000"]);
    boss.run(&["bench", "rtt", "self"]).fails(3, &["itself"]);
    boss.run(&["bench", "idle", "198.51.100.7:9091"]).fails(2, &["--anywhere"]);
    boss.run(&["bench", "idle", "127.0.0.1:1", "--connections", "9999"]).fails(2, &["5000"]);
}

#[test]
fn with_sixteen_mib_a_node_serves_a_hundred_connections_and_refuses_what_does_not_fit() {
    let rig = Folder::init("worker", "rig-1");
    rig.write("config.json", r#"{"unproven_per_address_max": 1000}"#);
    let daemon = rig.serve_with(&["--listen", "127.0.0.1:0", "--open", "--memory-budget", "16"]);
    let (at, idle) =
        (daemon.address(), |n: &str| ["bench", "idle", "--seconds", "1", "--connections", n].map(str::to_owned));
    let run = |n: &str, more: &[&str]| {
        let args = idle(n);
        let args: Vec<&str> =
            args.iter().map(String::as_str).chain([at.as_str()]).chain(more.iter().copied()).collect();
        rig.run(&args)
    };
    run("100", &[]).ok();
    let full = run("120", &["--json"]);
    assert_eq!(full.code, 1, "{full:?}");
    let row = full.rows().remove(0);
    assert_eq!(row["connections"], 102, "{row}");
    assert!(row["refused"].as_str().unwrap().contains("503"), "{row}");
    // What the others left is free again.
    run("50", &["--plain"]).ok();
    Folder::init("worker", "x").run(&["serve", "--memory-budget", "4"]).fails(3, &["memory_budget_mib", "12"]);
}
