//! Floods and slow attackers over real sockets.

use super::member::now;
use rigmesh::base::{Rng, Timestamp};
use rigmesh::identity::{Identity, Role};
use rigmesh::peers::Grants;
use rigmesh::session::secure::Statement;
use rigmesh::session::{Challenges, Expect, Initiator, Security};
use rigmesh::{Config, Node};
use socket2::{Domain, Socket, Type};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tungstenite::Message as WsMessage;

/// A rig and an owner whose keys know each other; the folder goes with the nodes.
struct Farm {
    rig: Node,
    owner: Node,
    at: String,
    _folder: tempfile::TempDir,
}

fn farm(config: Config) -> Farm {
    let folder = tempfile::tempdir().unwrap();
    let rig = Node::builder().data_dir(folder.path().join("rig")).config(config).listen("127.0.0.1:0").start().unwrap();
    let owner = Node::builder().data_dir(folder.path().join("owner")).start().unwrap();
    rig.peers().allow(&owner.identity().public_key(), Grants::CONTROLLER, "test").unwrap();
    owner.peers().allow(&rig.identity().public_key(), Grants::NONE, "test").unwrap();
    let at = rig.loopback_address().unwrap();
    Farm { rig, owner, at, _folder: folder }
}

impl Farm {
    /// The owner connects anew, is answered, and leaves again.
    fn serves(&self) {
        assert!(self.owner.transport().connections().unwrap().iter().all(|link| !link.active));
        let rig = self.owner.connect(&self.at, &self.rig.identity().public_key()).unwrap().to_string();
        self.owner.controller().ping(&rig).unwrap();
        assert!(self.owner.transport().connection(&rig).unwrap().unwrap().secure);
        self.owner.controller().disconnect(&rig).unwrap();
    }
}

/// A connection from another address of this machine.
pub(crate) fn from(last: u8, at: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into()).unwrap();
    socket.connect(&at.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.into()
}

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: rig\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

#[test]
fn a_thousand_half_open_sockets_keep_nobody_out() {
    let farm = farm(Config::default());
    farm.serves();
    let (mut held, mut refused) = (Vec::new(), 0);
    for i in 0..1000 {
        let mut socket = from(2 + (i % 50) as u8, &farm.at);
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let _ = socket.write_all(UPGRADE.as_bytes());
        // Those that were refused are given up, so that this process has enough files.
        if i % 10 == 0 {
            held.push(socket)
        } else {
            refused += 1
        }
        if i % 250 == 249 {
            farm.serves();
        }
    }
    assert!(refused > 0 && held.len() == 100);
    farm.serves();
}

#[test]
fn whoever_is_slow_at_any_step_is_gone_at_its_deadline() {
    let farm = farm(Config { handshake_timeout_ms: 600, ..Config::default() });
    let steps: [&dyn Fn(&mut TcpStream); 3] =
        [&|_| {}, &|socket| socket.write_all(b"GET /ws HT").unwrap(), &|socket| {
            socket.write_all(UPGRADE.as_bytes()).unwrap();
            // A frame's head that promises much, and a byte of it now and then.
            socket.write_all(&[0x81, 0xfe, 0x40, 0x00, 0, 0, 0, 0]).unwrap();
        }];
    for (i, step) in steps.iter().enumerate() {
        let mut socket = from(2 + i as u8, &farm.at);
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let begun = Instant::now();
        step(&mut socket);
        let closed = loop {
            let mut some = [0; 512];
            match socket.read(&mut some) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                Err(_) => break true,
            }
            if begun.elapsed() > Duration::from_secs(20) {
                break false;
            }
            let _ = socket.write_all(b"x");
        };
        assert!(closed, "step {i}: a slow one stays for ever");
        farm.serves();
    }
}

#[test]
fn a_flood_of_handshakes_does_not_stop_an_open_session_from_being_answered() {
    let config = Config { half_open_per_address_max: 64, unproven_per_address_max: 64, ..Config::default() };
    let farm = farm(Config { handshakes_per_s: 100_000, ..config });
    // A member, so that the rig computes its whole answer each time; it never proves itself.
    let member = Identity::generate("member", Role::Controller, Timestamp::ZERO, &mut Rng::from_number(7)).unwrap();
    farm.rig.peers().allow(&member.public_key(), Grants::NONE, "test").unwrap();
    let security = Security::On { statement: Box::new(Statement::new(&member, Vec::new(), 1 << 20)), required: true };
    let expect = Expect::Key(farm.rig.identity().public_key());
    let mut rng = Rng::from_number(8);
    // One message for all: what is drawn anew and computed is the rig's part.
    let (_, hello) =
        Initiator::start(&member, expect, &security, None, now(), &mut rng, &mut Challenges::new()).unwrap();
    let hello = String::from_utf8(hello).unwrap();
    let rig = farm.owner.connect(&farm.at, &farm.rig.identity().public_key()).unwrap().to_string();
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let flood = |last: u8| {
        while !over.load(Ordering::Relaxed) {
            let socket = from(last, &farm.at);
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let Ok((mut ws, _)) = tungstenite::client(format!("ws://{}/ws", farm.at), socket) else { continue };
            if ws.send(WsMessage::text(hello.clone())).is_ok()
                && ws.read().is_ok_and(|ack| ack.to_text().is_ok_and(|text| text.contains("\"accepted\":true")))
            {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        for last in 0..24 {
            let flood = &flood;
            scope.spawn(move || flood(10 + last));
        }
        let end = Instant::now() + Duration::from_secs(3);
        let mut times = Vec::new();
        while Instant::now() < end {
            let begun = Instant::now();
            farm.owner.controller().ping(&rig).unwrap();
            times.push(begun.elapsed());
        }
        over.store(true, Ordering::Relaxed);
        times
    });
    times.sort();
    let (median, longest, answered) = (times[times.len() / 2], times[times.len() - 1], answered.into_inner());
    println!("{answered} handshakes were answered; {} pings: median {median:?}, longest {longest:?}", times.len());
    assert!(answered > 100, "no flood: {answered}");
    assert!(times.len() > 20 && longest < Duration::from_secs(2), "{median:?}, {longest:?}");
    assert!(farm.owner.transport().connection(&rig).unwrap().unwrap().secure);
}
