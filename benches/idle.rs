//! Resident memory of a serving node, empty and with idle proven connections: plain, in secure sessions, and those over TLS. A
//! whole-process measurement: the node is the real binary, this process plays its peers.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use rigmesh::base::Rng;
use rigmesh::hidden::{IdleManner, IdlePeer};
use std::time::Duration;
use support::{Serving, binary};

#[path = "support/process.rs"]
mod support;

const COUNTS: [usize; 3] = [100, 500, 1000];

fn main() {
    if std::env::args().any(|a| a == "--test" || a == "--list") {
        return;
    }
    let mut rng = Rng::from_number(1);
    for (what, manner) in [
        ("plain", IdleManner { plain: true, tls: false }),
        ("secure", IdleManner { plain: false, tls: false }),
        ("secure over TLS", IdleManner { plain: false, tls: true }),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let rigmesh = |args: &[&str]| support::rigmesh(&binary(), folder.path(), args);
        let init: &[&str] = if manner.tls { &["--tls"] } else { &[] };
        let made = rigmesh(&[&["init", "--role", "worker", "--name", "hub"], init].concat()).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let limits = r#"{"connections_max":2000,"unproven_max":2000,"unproven_per_address_max":2000}"#;
        std::fs::write(folder.path().join("config.json"), limits).unwrap();
        let serve = ["serve", "--open", "--listen", "127.0.0.1:0"];
        let serving = Serving::start(&mut rigmesh(&serve));
        std::thread::sleep(Duration::from_millis(500));
        let empty = serving.status("VmRSS");
        println!("{what}, empty: {:.1} MiB", empty as f64 / 1024.0);
        let (mut held, mut last) = (Vec::new(), (0, empty));
        for count in COUNTS {
            while held.len() < count {
                held.push(IdlePeer::connect(serving.at, manner, &mut rng).unwrap());
            }
            std::thread::sleep(Duration::from_millis(1500)); // writers and handshake threads have retired
            let all = serving.status("VmRSS");
            let each = all.saturating_sub(empty) as f64 / count as f64;
            // The first ones also bring in pages of the program that serve all.
            let further = all.saturating_sub(last.1) as f64 / (count - last.0) as f64;
            println!(
                "{what}, {count} idle: {:.1} MiB, {each:.1} KiB each, each further {further:.1}",
                all as f64 / 1024.0
            );
            last = (count, all);
        }
    }
}
