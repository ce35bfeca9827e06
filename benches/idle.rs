//! Resident memory of a serving node, empty and with idle proven connections: plain, in secure sessions, and those over TLS. A
//! whole-process measurement: the node is the real binary, this process plays its peers.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use rigmesh::base::Rng;
use rigmesh::hidden::{IdleManner, IdlePeer};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const COUNTS: [usize; 3] = [100, 500, 1000];

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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
        let rigmesh = |args: &[&str]| {
            // Another binary than this build's: the static one that is shipped.
            let binary = std::env::var("RIGMESH_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_rigmesh").to_owned());
            let mut command = Command::new(binary);
            command.arg("--data-dir").arg(folder.path()).args(args);
            command
        };
        let init: &[&str] = if manner.tls { &["--tls"] } else { &[] };
        let made = rigmesh(&[&["init", "--role", "worker", "--name", "hub"], init].concat()).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let limits = r#"{"connections_max":2000,"unproven_max":2000,"unproven_per_address_max":2000}"#;
        std::fs::write(folder.path().join("config.json"), limits).unwrap();
        let serve = ["serve", "--open", "--listen", "127.0.0.1:0"];
        let mut serving = Killed(rigmesh(&serve).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        let at = address(&mut serving.0);
        std::thread::sleep(Duration::from_millis(500));
        let pid = serving.0.id();
        let empty = resident_kib(pid);
        println!("{what}, empty: {:.1} MiB", empty as f64 / 1024.0);
        let mut held = Vec::new();
        for count in COUNTS {
            while held.len() < count {
                held.push(IdlePeer::connect(at, manner, &mut rng).unwrap());
            }
            std::thread::sleep(Duration::from_millis(1500)); // writers and handshake threads have retired
            let all = resident_kib(pid);
            let each = all.saturating_sub(empty) as f64 / count as f64;
            println!("{what}, {count} idle: {:.1} MiB, {each:.1} KiB each", all as f64 / 1024.0);
        }
    }
}

/// `serve` says in one line where it listens.
fn address(child: &mut Child) -> SocketAddr {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let found = lines.find_map(|line| {
        let at = line.find("127.0.0.1:")?;
        line[at..].chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect::<String>().parse().ok()
    });
    // Whatever it says later is read by nobody, and must not end it.
    std::thread::spawn(move || lines.for_each(drop));
    found.unwrap()
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
