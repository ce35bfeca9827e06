//! What more connections and a stuck one cost the others. With 10, 100, 1,000 and 2,000 idle connections: the time a rig's process
//! computes for a request and for a connection, which should not grow. Then a hub with 10 MiB queued for a peer that never reads:
//! round trips to another peer before, while it is queued, and while it waits. `cargo bench --bench scale`; SCALE_ROUNDS says how
//! often the stuck peer is tried.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use rigmesh::base::{Error, Now, Rng, Time, Timestamp};
use rigmesh::hidden::{IdleManner, IdlePeer};
use rigmesh::identity::{Identity, Role};
use rigmesh::message::{Message, MessageType, Payload, RawPayload};
use rigmesh::peers::Grants;
use rigmesh::{Config, IdentityFiles, Node};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Serving, binary};

#[path = "support/process.rs"]
mod support;

const COUNTS: [usize; 4] = [10, 100, 1000, 2000];
/// Blocks of requests, of which the median counts.
const BLOCKS: usize = 5;
const REQUESTS: u32 = 20_000;
const CONNECTS: usize = 300;
/// What is queued for the peer that does not read: so many messages of so many bytes.
const STUCK: (usize, usize) = (160, 64 * 1024);
const SECURE: IdleManner = IdleManner { plain: false, tls: false };

fn main() {
    if std::env::args().any(|a| a == "--test" || a == "--list") {
        return;
    }
    growth();
    let rounds: usize = std::env::var("SCALE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    for _ in 0..rounds {
        stuck();
    }
}

/// No limits but the largest numbers of connections.
fn config() -> Config {
    let many = 100_000_000;
    Config { burst: many, rate_per_s: many, ..Config::default() }
}

/// A rig that obeys `boss`, and takes in anybody.
fn rig(folder: &Path, boss: &str) -> Serving {
    let rigmesh = |args: &[&str]| support::rigmesh(&binary(), folder, args);
    assert!(rigmesh(&["init", "--role", "worker", "--name", "rig"]).output().unwrap().status.success());
    assert!(rigmesh(&["peers", "allow", boss, "--grant", "controller"]).output().unwrap().status.success());
    let limits = r#"{"connections_max":5000,"unproven_max":5000,"unproven_per_address_max":5000,"handshakes_per_s":5000,
        "burst":100000000,"rate_per_s":100000000,"low_power":true}"#;
    // With low power it does not compute while it waits.
    std::fs::write(folder.join("config.json"), limits).unwrap();
    Serving::start(&mut rigmesh(&["serve", "--open", "--listen", "127.0.0.1:0"]))
}

fn growth() {
    let (folder, mut rng) = (tempfile::tempdir().unwrap(), Rng::from_number(1));
    let boss = Node::builder().data_dir(folder.path().join("boss")).config(config()).start().unwrap();
    let rig_folder = folder.path().join("rig");
    let serving = rig(&rig_folder, &boss.identity().public_key().to_base64());
    let key = IdentityFiles::in_folder(&rig_folder).load().unwrap().unwrap().public_key();
    let id = boss.connect(&serving.at.to_string(), &key).unwrap().to_string();
    let controller = boss.controller();
    let mut held: Vec<IdlePeer> = Vec::new();
    println!(
        "{:>11} {:>22} {:>22} {:>14}",
        "connections", "computing, a request", "computing, a connect", "round trip"
    );
    for count in COUNTS {
        while held.len() < count {
            held.push(IdlePeer::connect(serving.at, SECURE, &mut rng).unwrap());
        }
        std::thread::sleep(Duration::from_millis(1500)); // writers and handshake threads have retired
        let mut times = Vec::new();
        let mut requests: Vec<Duration> = (0..BLOCKS)
            .map(|_| {
                let before = serving.computed();
                times.extend((0..REQUESTS).map(|_| controller.ping(&id).unwrap()));
                (serving.computed() - before) / REQUESTS
            })
            .collect();
        requests.sort();
        let request = requests[BLOCKS / 2];
        let before = serving.computed();
        // Known keys that come and go: a registry that grows is another matter.
        let guest = Identity::generate("guest", Role::Controller, Timestamp::ZERO, &mut rng).unwrap();
        for _ in 0..CONNECTS {
            drop(IdlePeer::connect_as(serving.at, SECURE, &guest, &mut rng).unwrap());
        }
        std::thread::sleep(Duration::from_millis(500));
        let connect = (serving.computed() - before) / u32::try_from(CONNECTS).unwrap();
        times.sort();
        println!("{count:>11} {request:>22.1?} {connect:>22.1?} {:>14.1?}", times[times.len() / 2]);
    }
}

fn stuck() {
    let (folder, mut rng) = (tempfile::tempdir().unwrap(), Rng::from_number(2));
    let hub =
        Node::builder().data_dir(folder.path().join("hub")).config(config()).listen("127.0.0.1:0").start().unwrap();
    let rig_folder = folder.path().join("rig");
    let serving = rig(&rig_folder, &hub.identity().public_key().to_base64());
    let key = IdentityFiles::in_folder(&rig_folder).load().unwrap().unwrap().public_key();
    let id = hub.connect(&serving.at.to_string(), &key).unwrap().to_string();
    let guest = Identity::generate("stuck", Role::Controller, Timestamp::ZERO, &mut rng).unwrap();
    hub.peers().allow(&guest.public_key(), Grants::NONE, "stuck").unwrap();
    let at = hub.loopback_address().unwrap().parse().unwrap();
    let held = IdlePeer::connect_as(at, SECURE, &guest, &mut rng).unwrap();

    let controller = hub.controller();
    let trips = |ends: &dyn Fn() -> bool| {
        let mut times = Vec::new();
        while !ends() {
            times.push(controller.ping(&id).unwrap());
        }
        times
    };
    let for_a_second = || {
        let begun = Instant::now();
        move || begun.elapsed() > Duration::from_secs(1)
    };
    let before = trips(&for_a_second());
    let queued = AtomicBool::new(false);
    let (transport, to) = (hub.transport(), guest.id().to_string());
    let (while_queued, took) = std::thread::scope(|scope| {
        let queueing = scope.spawn(|| {
            let begun = Instant::now();
            let text = RawPayload::from_value(&"x".repeat(STUCK.1)).unwrap();
            let payload = Payload::Other { kind: MessageType::Other("blob".into()), raw: text };
            for _ in 0..STUCK.0 {
                let wall = Timestamp::from_unix(1_795_227_036, 0);
                let message = Message::new(Now { mono: Time::ZERO, wall }, &mut rng, "", "", &payload);
                while let Err(Error::Busy) = transport.post(&to, message.clone()) {
                    std::thread::yield_now();
                }
            }
            queued.store(true, Ordering::Relaxed);
            begun.elapsed()
        });
        (trips(&|| queued.load(Ordering::Relaxed)), queueing.join().unwrap())
    });
    let after = trips(&for_a_second());
    println!("10 MiB queued for a peer that does not read, in {took:.1?}:");
    for (what, mut times) in [("before", before), ("while it is queued", while_queued), ("while it waits", after)] {
        times.sort();
        let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        println!(
            "  round trips {what:18}: median {:>9.1?}, 99 % {:>9.1?}, longest {:>9.1?} of {}",
            at(50),
            at(99),
            at(100),
            times.len()
        );
    }
    drop(held);
}
