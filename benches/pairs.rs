//! Two binaries against each other, as whole processes and in turns: RIGMESH_BINARY against RIGMESH_OTHER, or one against itself,
//! which shows how noisy the machine is. Of every figure the medians and the median of the ratios of turns that followed each
//! other. `cargo bench --bench pairs`; PAIRS says how many turns.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use rigmesh::base::Rng;
use rigmesh::hidden::{IdleManner, IdlePeer};
use std::collections::BTreeMap;
use std::time::Duration;
use support::{Serving, binary, key, rigmesh, run};

#[path = "support/process.rs"]
mod support;

/// Connections that are idle, and so many more, while the rig's memory is looked at.
const IDLE: usize = 500;

type Figures = BTreeMap<&'static str, f64>;

fn main() {
    if std::env::args().any(|a| a == "--test" || a == "--list") {
        return;
    }
    let turns: usize = std::env::var("PAIRS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let first = binary();
    let second = std::env::var("RIGMESH_OTHER").unwrap_or_else(|_| first.clone());
    let pairs: Vec<(Figures, Figures)> = (0..turns)
        .map(|turn| {
            // Who begins changes: what the machine does meanwhile must not meet the same one always.
            if turn % 2 == 0 {
                let a = figures(&first);
                (a, figures(&second))
            } else {
                let b = figures(&second);
                (figures(&first), b)
            }
        })
        .collect();
    println!("{turns} turns each; first: {first}, second: {second}");
    println!("{:44} {:>12} {:>12} {:>8}", "", "first", "second", "ratio");
    for name in pairs[0].0.keys() {
        let column = |of: &dyn Fn(&(Figures, Figures)) -> f64| median(pairs.iter().map(of).collect());
        let (a, b) = (column(&|pair| pair.0[name]), column(&|pair| pair.1[name]));
        println!("{name:44} {a:>12.1} {b:>12.1} {:>8.3}", column(&|pair| pair.0[name] / pair.1[name]));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Everything about one binary, once.
fn figures(binary: &str) -> Figures {
    let mut figures = Figures::new();
    figures.insert("binary, KiB", std::fs::metadata(binary).unwrap().len() as f64 / 1024.0);
    for (secure, connect, p50, p99, many) in [
        (
            false,
            "connect, 1.0, \u{b5}s",
            "round trip, 1.0, \u{b5}s",
            "round trip, 1.0, 99 %, \u{b5}s",
            "requests/s, 64 under way, 1.0",
        ),
        (
            true,
            "connect, secure, \u{b5}s",
            "round trip, secure, \u{b5}s",
            "round trip, secure, 99 %, \u{b5}s",
            "requests/s, 64 under way, secure",
        ),
    ] {
        let pair = Pair::new(binary, secure, false);
        figures.insert("resident, empty, KiB", pair.rig.status("VmRSS") as f64);
        let connects = pair.bench("connect", 300);
        figures.insert(connect, connects["p50_us"].as_f64().unwrap());
        let round_trips = pair.bench("rtt", 3000);
        figures.insert(p50, round_trips["p50_us"].as_f64().unwrap());
        figures.insert(p99, round_trips["p99_us"].as_f64().unwrap());
        figures.insert(many, pair.bench("throughput", 50_000)["per_s"].as_f64().unwrap());
    }
    let plain = IdleManner { plain: true, tls: false };
    for (what, manner) in [
        ("each further idle connection, 1.0, KiB", plain),
        ("each further idle connection, secure, KiB", IdleManner { plain: false, ..plain }),
        ("each further idle connection, secure over TLS, KiB", IdleManner { plain: false, tls: true }),
    ] {
        figures.insert(what, idle(binary, manner));
    }
    figures
}

fn idle(binary: &str, manner: IdleManner) -> f64 {
    let (pair, mut rng) = (Pair::new(binary, true, manner.tls), Rng::from_number(1));
    let mut held: Vec<IdlePeer> = Vec::new();
    let mut resident = || {
        held.extend((0..IDLE).map(|_| IdlePeer::connect(pair.rig.at, manner, &mut rng).unwrap()));
        std::thread::sleep(Duration::from_millis(1500)); // writers and handshake threads have retired
        pair.rig.status("VmRSS")
    };
    // The first ones also bring in pages of the program that serve all.
    let (first, second) = (resident(), resident());
    second.saturating_sub(first) as f64 / IDLE as f64
}

/// A serving rig and the folder of its controller.
struct Pair {
    binary: String,
    folder: tempfile::TempDir,
    rig: Serving,
}

impl Pair {
    fn new(binary: &str, secure: bool, tls: bool) -> Pair {
        let folder = tempfile::tempdir().unwrap();
        let (rig, boss) = (folder.path().join("rig"), folder.path().join("boss"));
        let init: &[&str] = if tls { &["--tls"] } else { &[] };
        run(binary, &rig, &[&["init", "--role", "worker", "--name", "rig"], init].concat());
        run(binary, &boss, &["init", "--role", "controller", "--name", "boss"]);
        let many = 100_000_000;
        let config = serde_json::json!({
            "secure": secure, "burst": many, "rate_per_s": many, "plain_burst": many, "plain_rate_per_s": many,
            "connections_max": 2000, "unproven_max": 2000, "unproven_per_address_max": 2000, "handshakes_per_s": 2000,
        });
        for folder in [&rig, &boss] {
            std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        }
        run(binary, &rig, &["peers", "allow", &key(binary, &boss), "--grant", "controller", "--name", "boss"]);
        let serve = ["serve", "--open", "--listen", "127.0.0.1:0"];
        let serving = Serving::start(&mut rigmesh(binary, &rig, &serve));
        run(binary, &boss, &["peers", "add", &serving.at.to_string(), "--key", &key(binary, &rig), "--name", "rig"]);
        std::thread::sleep(Duration::from_millis(500));
        Pair { binary: binary.to_owned(), folder, rig: serving }
    }

    /// One run of `rigmesh bench`, in a process of its own.
    fn bench(&self, what: &str, count: u32) -> serde_json::Value {
        let args = ["bench", what, "rig", "--count", &count.to_string(), "--json"];
        serde_json::from_slice(&run(&self.binary, &self.folder.path().join("boss"), &args).stdout).unwrap()
    }
}
