//! Resident memory of a serving node, empty and with idle proven connections. A whole-process
//! measurement: the node is the real binary, this process plays its peers.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use rigmesh::base::{Now, Rng, Time, Timestamp};
use rigmesh::identity::{Identity, PublicKey, Role};
use rigmesh::message::{Message, Payload, Ping};
use rigmesh::session::secure::Statement;
use rigmesh::session::{Challenges, Expect, InboundLimits, Initiator, Known, Lane, OutboundLimits, Security, halves};
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tungstenite::{Message as WsMessage, WebSocket};

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
    let folder = tempfile::tempdir().unwrap();
    let mut rng = Rng::from_number(1);
    let peers: Vec<Identity> = (0..1000)
        .map(|i| Identity::generate(&format!("peer-{i}"), Role::Worker, now().wall, &mut rng).unwrap())
        .collect();
    let rigmesh = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rigmesh"));
        command.arg("--data-dir").arg(folder.path()).args(args);
        command
    };
    let made = rigmesh(&["init", "--role", "controller", "--name", "hub", "--json"]).output().unwrap();
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let key = PublicKey::from_base64(made["publicKey"].as_str().or(made["key"].as_str()).unwrap()).unwrap();
    let mut keys: Vec<String> = peers.iter().map(|p| p.public_key().to_base64()).collect();
    keys.sort();
    std::fs::write(folder.path().join("peers.json.allowlist.json"), serde_json::to_string_pretty(&keys).unwrap())
        .unwrap();
    let limits = r#"{"connections_max":2000,"unproven_max":2000,"unproven_per_address_max":2000}"#;
    std::fs::write(folder.path().join("config.json"), limits).unwrap();
    let mut serving = Killed(
        rigmesh(&["serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(),
    );
    let address = address(&mut serving.0);
    std::thread::sleep(Duration::from_millis(500));
    let pid = serving.0.id();
    let empty = resident_kib(pid);
    println!("empty: {:.1} MiB", empty as f64 / 1024.0);
    let mut held = Vec::new();
    for count in COUNTS {
        while held.len() < count {
            held.push(connect(&address, &peers[held.len()], &key, &mut rng));
        }
        std::thread::sleep(Duration::from_millis(1500)); // writers and handshake threads have retired
        let all = resident_kib(pid);
        println!("{count} idle: {:.1} MiB, {:.1} KiB each", all as f64 / 1024.0, (all - empty) as f64 / count as f64);
    }
}

fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Now { mono: Time::ZERO, wall: Timestamp::from_unix(since.as_secs().try_into().unwrap(), since.subsec_nanos()) }
}

/// `serve` says in one line where it listens.
fn address(child: &mut Child) -> String {
    let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (found, line) = std::sync::mpsc::channel();
    for stream in [Box::new(out) as Box<dyn std::io::Read + Send>, Box::new(err)] {
        let found = found.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if let Some(at) = line.find("127.0.0.1:") {
                    let address: String =
                        line[at..].chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
                    let _ = found.send(address);
                }
            }
        });
    }
    line.recv_timeout(Duration::from_secs(10)).unwrap()
}

/// A peer that shakes hands, proves itself by one ping, and then keeps quiet.
fn connect(address: &str, peer: &Identity, key: &PublicKey, rng: &mut Rng) -> WebSocket<TcpStream> {
    let (mut ws, _) =
        tungstenite::client::client(format!("ws://{address}/ws"), TcpStream::connect(address).unwrap()).unwrap();
    let security = Security::On { statement: Box::new(Statement::new(peer, Vec::new(), 1 << 20)), required: true };
    let (initiator, text) =
        Initiator::start(peer, Expect::Key(*key), &security, None, now(), rng, &mut Challenges::new()).unwrap();
    ws.send(WsMessage::text(String::from_utf8(text).unwrap())).unwrap();
    let ack = ws.read().unwrap().into_data();
    let dialled = initiator.handle_ack(peer, &security, &ack, |_| Known::default()).unwrap();
    ws.send(WsMessage::binary(dialled.proof.unwrap())).unwrap();
    let ping = Payload::Ping(Ping { sent_at: 1, rigmesh: None });
    let message = Message::new(now(), rng, &peer.id().to_string(), &key.node_id().to_string(), &ping);
    let limits = InboundLimits::new(100, 50);
    let (mut outbound, _) =
        halves(dialled.keys, rng.fork(), OutboundLimits::default(), limits, 1 << 20, security.takes(), Time::ZERO);
    outbound.handle_send(Lane::Control, message.encode().into_bytes()).unwrap();
    let mut frame = Vec::new();
    assert!(outbound.poll_frame(Time::ZERO, now().wall.unix_seconds(), &mut frame).unwrap());
    ws.send(WsMessage::binary(frame)).unwrap();
    for _ in 0..2 {
        ws.read().unwrap(); // its ping and its pong
    }
    ws
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
