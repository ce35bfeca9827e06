//! Ten minutes of a rig under mixed traffic: 500 connections, of which some die all the time, and ten controllers that ask, start,
//! stop and are killed. What is looked at is the rig's process: memory, threads and descriptors must not grow. It is the real binary.
//! `cargo bench --bench soak`; SOAK_SECONDS says how long.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use rigmesh::base::{Rng, Timestamp};
use rigmesh::hidden::{IdleManner, IdlePeer};
use rigmesh::identity::{Identity, PublicKey, Role};
use rigmesh::message::Payload;
use rigmesh::{IdentityFiles, Node};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::{Serving, binary};

#[path = "support/process.rs"]
mod support;

const CONNECTIONS: usize = 500;
const CONTROLLERS: usize = 10;

fn main() {
    if std::env::args().any(|a| a == "--test" || a == "--list") {
        return;
    }
    let seconds: u64 = std::env::var("SOAK_SECONDS").ok().and_then(|n| n.parse().ok()).unwrap_or(600);
    let seed = u64::from(std::process::id());
    println!("seed {seed}, {seconds} s");
    let mut rng = Rng::from_number(seed);
    let folder = tempfile::tempdir().unwrap();
    let rig_folder = folder.path().join("rig");
    let rigmesh = |args: &[&str]| {
        let mut command = support::rigmesh(&binary(), &rig_folder, args);
        command.stderr(Stdio::null());
        command
    };
    assert!(rigmesh(&["init", "--role", "worker", "--name", "rig"]).stdout(Stdio::null()).status().unwrap().success());
    let key = IdentityFiles::in_folder(&rig_folder).load().unwrap().unwrap().public_key();
    let bosses: Vec<PathBuf> = (0..CONTROLLERS).map(|i| folder.path().join(format!("boss-{i}"))).collect();
    for boss in &bosses {
        let made = IdentityFiles::in_folder(boss).create("boss", Role::Controller).unwrap();
        let allowed = rigmesh(&["peers", "allow", &made.public_key().to_base64(), "--grant", "controller"])
            .stdout(Stdio::null())
            .status();
        assert!(allowed.unwrap().success());
    }
    let limits =
        r#"{"connections_max":2000,"unproven_max":2000,"unproven_per_address_max":2000,"handshakes_per_s":1000}"#;
    std::fs::write(rig_folder.join("config.json"), limits).unwrap();
    let serve = ["serve", "--open", "--listen", "127.0.0.1:0"];
    // As the services of `bin/service` start it.
    let serving = Serving::start(rigmesh(&serve).env("MALLOC_ARENA_MAX", "2"));
    let at = serving.at;

    let (ends, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let traffic: Vec<_> = bosses
        .into_iter()
        .enumerate()
        .map(|(i, boss)| {
            let (ends, calls, mut rng) = (ends.clone(), calls.clone(), rng.fork());
            std::thread::spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    command(&boss, at, &key, i == 0, &mut rng, &ends, &calls);
                }
            })
        })
        .collect();

    let peers: Vec<Identity> = (0..CONNECTIONS)
        .map(|_| Identity::generate("idle", Role::Controller, Timestamp::ZERO, &mut rng).unwrap())
        .collect();
    let mut held: Vec<Option<IdlePeer>> = (0..CONNECTIONS).map(|_| None).collect();
    let (begun, mut next, mut died) = (Instant::now(), Duration::ZERO, 0u64);
    while begun.elapsed() < Duration::from_secs(seconds) {
        // One in fifty of those that stand dies, and all that are missing come back, some in 1.0.
        for (slot, peer) in held.iter_mut().zip(&peers) {
            if slot.is_some() && rng.below(50) == 0 {
                *slot = None;
                died += 1;
            }
            if slot.is_none() {
                // A key that had a session gets nothing less again, but only when it is a known one; these are strangers.
                let manner = IdleManner { plain: rng.below(4) == 0, tls: false };
                *slot = IdlePeer::connect_as(at, manner, peer, &mut rng).ok();
            }
        }
        if begun.elapsed() >= next {
            let line = figures(&serving);
            println!(
                "{:>4} s: {line}, {} calls, {died} connections died",
                begun.elapsed().as_secs(),
                calls.load(Ordering::Relaxed)
            );
            next += Duration::from_secs(30);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    ends.store(true, Ordering::Relaxed);
    traffic.into_iter().for_each(|thread| thread.join().unwrap());
    println!("end: {}", figures(&serving));
}

/// A controller that lives for some seconds, asks what controllers ask, and is gone without a word.
fn command(
    boss: &Path,
    at: SocketAddr,
    key: &PublicKey,
    starts: bool,
    rng: &mut Rng,
    ends: &AtomicBool,
    calls: &AtomicU64,
) {
    let Ok(node) = Node::builder().data_dir(boss).start() else { return };
    let Ok(id) = node.connect(&at.to_string(), key) else { return std::thread::sleep(Duration::from_millis(200)) };
    let (rig, controller) = (id.to_string(), node.controller());
    let until = Instant::now() + Duration::from_millis(2000 + rng.below(8000));
    while Instant::now() < until && !ends.load(Ordering::Relaxed) {
        match rng.below(20) {
            0 if starts => drop(controller.start_miner(&rig, "sha256d", None, None)),
            1 if starts => drop(controller.stats(&rig).map(|stats| {
                for miner in stats.miners.unwrap_or_default() {
                    let _ = controller.stop_miner(&rig, &miner.name);
                }
            })),
            2 => drop(controller.logs(&rig, "nobody", 100, None)),
            3 => drop(controller.exchange(&rig, Payload::GetStats, Duration::from_millis(1))),
            4..=9 => drop(controller.ping(&rig)),
            _ => drop(controller.stats(&rig)),
        }
        calls.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(rng.below(20)));
    }
}

fn figures(rig: &Serving) -> String {
    let (all, own, threads) = (rig.status("VmRSS"), rig.status("RssAnon"), rig.status("Threads"));
    format!("{all} KiB resident ({own} its own), {threads} threads, {} descriptors", rig.descriptors())
}
