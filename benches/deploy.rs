//! A deployment from process to process over loopback: how fast, and how much memory both daemons need
//! while it runs. A whole-process measurement: both nodes are the real binary.
//!
//! `cargo bench --bench deploy`
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use rigmesh::base::Rng;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{Serving, binary, key, rigmesh, run};

#[path = "support/process.rs"]
mod support;

const RUNS: usize = 3;
const MEGABYTES: usize = 200;

fn main() {
    if std::env::args().any(|a| a == "--test" || a == "--list") {
        return;
    }
    let binary = binary();
    let folder = tempfile::tempdir().unwrap();
    let (rig, owner) = (folder.path().join("r"), folder.path().join("o"));
    for (data, role, name) in [(&rig, "worker", "rig"), (&owner, "controller", "owner")] {
        run(&binary, data, &["init", "--role", role, "--name", name]);
    }
    let serve = |data: &Path| Serving::start(&mut rigmesh(&binary, data, &["serve", "--listen", "127.0.0.1:0"]));
    run(&binary, &rig, &["peers", "allow", &key(&binary, &owner), "--grant", "controller"]);
    let serving = serve(&rig);
    run(&binary, &owner, &["peers", "add", &serving.at.to_string(), "--key", &key(&binary, &rig), "--name", "rig"]);
    let feeding = serve(&owner);
    run(&binary, &owner, &["ping", "rig"]);
    std::thread::sleep(Duration::from_secs(1));
    let nodes = [("rig", serving), ("controller", feeding)];
    let idle = nodes.each_ref().map(|(_, node)| node.status("VmRSS"));
    let mut rng = Rng::from_number(1);
    for n in 0..RUNS {
        let mut bytes = vec![0; MEGABYTES << 20];
        rng.fill(&mut bytes);
        let miner = folder.path().join(format!("miner{n}"));
        std::fs::write(&miner, &bytes).unwrap();
        drop(bytes);
        let begin = Instant::now();
        let miner_path = miner.to_str().unwrap();
        run(&binary, &owner, &["deploy", "rig", "--miner", miner_path, "--name", "miner", "--no-activate"]);
        let took = begin.elapsed().as_secs_f64();
        println!(
            "{MEGABYTES} MiB in {took:.2} s: {:.0} MiB/s, hashing and installing included",
            MEGABYTES as f64 / took
        );
        std::fs::remove_file(miner).unwrap();
    }
    for ((name, node), idle) in nodes.iter().zip(idle) {
        let most = node.status("VmHWM");
        println!("{name}: idle {:.1} MiB, at most {:.1} MiB more", mib(idle), mib(most - idle));
    }
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
