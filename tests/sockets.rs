//! What only real sockets can show: limits before the upgrade, slow and stuck peers, floods in
//! both directions, TLS, and that nothing is left behind.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use rigmesh::base::{Error, Now, Rng, Time, Timestamp};
use rigmesh::message::{Message, MessageType, Payload, RawPayload};
use rigmesh::peers::Grants;
use rigmesh::{Config, Node, NodeBuilder, TlsPair};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Long enough for any machine; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

struct TestNode {
    node: Option<Node>,
    folder: tempfile::TempDir,
}

impl std::ops::Deref for TestNode {
    type Target = Node;
    fn deref(&self) -> &Node {
        self.node.as_ref().unwrap()
    }
}

fn start(name: &str, config: Config, build: impl FnOnce(NodeBuilder) -> NodeBuilder) -> TestNode {
    let folder = tempfile::tempdir().unwrap();
    let node = build(Node::builder().data_dir(folder.path()).name(name).config(config)).start().unwrap();
    TestNode { node: Some(node), folder }
}

fn listening(name: &str, config: Config) -> TestNode {
    start(name, config, |b| b.listen("127.0.0.1:0"))
}

fn introduce(a: &Node, b: &Node) {
    a.peers().allow(&b.identity().public_key(), Grants::CONTROLLER, "test").unwrap();
    b.peers().allow(&a.identity().public_key(), Grants::CONTROLLER, "test").unwrap();
}

/// No limiter in the way of a flood.
fn unlimited() -> Config {
    let many = 100_000_000;
    Config { burst: many, rate_per_s: many, plain_burst: many, plain_rate_per_s: many, ..Config::default() }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn links(node: &Node) -> usize {
    node.transport().connected_count().unwrap()
}

fn blob(rng: &mut Rng, text: &str) -> Message {
    // Unknown types may change something, so each must be newer than the floor: real time it is.
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = Now { mono: Time::ZERO, wall: Timestamp::from_unix(since.as_secs() as i64, since.subsec_nanos()) };
    let payload =
        Payload::Other { kind: MessageType::Other("blob".into()), raw: RawPayload::from_value(text).unwrap() };
    Message::new(now, rng, "", "", &payload)
}

/// Sends an upgrade request as text and gives the status line.
fn upgrade(address: &str, path: &str, headers: &str) -> (TcpStream, String) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
    .unwrap();
    let status = status_line(&mut socket);
    (socket, status)
}

fn status_line(socket: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while socket.read(&mut byte).unwrap_or(0) == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap().trim().to_owned()
}

#[test]
fn path_room_and_origin_are_checked_before_the_upgrade() {
    // Many attempts at once, all from this address.
    let many = || Config { handshakes_per_s: 100, half_open_per_address_max: 100, ..Config::default() };
    let rig = listening("rig", many());
    let at = rig.loopback_address().unwrap();
    assert!(upgrade(&at, "/", "").1.contains("404"));
    assert!(upgrade(&at, "/ws/", "").1.contains("404"));
    assert!(upgrade(&at, "/ws?x=1", "").1.contains("101"));
    assert!(upgrade(&at, "/ws", "Origin: http://evil.example\r\n").1.contains("403"));
    assert!(upgrade(&at, "/ws", "Origin: null\r\n").1.contains("403"));
    assert!(upgrade(&at, "/ws", "Origin: http://localhost:3000\r\n").1.contains("101"));
    let mut plain = TcpStream::connect(&at).unwrap();
    write!(plain, "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(status_line(&mut plain).contains("400"));

    let small = listening("small", Config { unproven_per_address_max: 3, ..many() });
    let at = small.loopback_address().unwrap();
    let held: Vec<_> = (0..3).map(|_| upgrade(&at, "/ws", "")).collect();
    assert!(held.iter().all(|(_, status)| status.contains("101")));
    assert!(upgrade(&at, "/ws", "").1.contains("503"), "a fourth half-open socket from one address");
}

#[test]
fn an_oversize_first_message_is_closed_with_1009() {
    let rig = listening("rig", Config::default());
    let (mut socket, status) = upgrade(&rig.loopback_address().unwrap(), "/ws", "");
    assert!(status.contains("101"));
    while !status_line(&mut socket).is_empty() {}
    let size = 100_000u64;
    let mut frame = vec![0x81, 0x80 | 127];
    frame.extend(size.to_be_bytes());
    frame.extend([0; 4]);
    frame.resize(frame.len() + size as usize, b' ');
    socket.write_all(&frame).unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    assert_eq!(answer.get(..4), Some(&[0x88, 2, 0x03, 0xf1][..]), "a close frame with code 1009, got {answer:02x?}");
}

#[test]
fn a_socket_that_says_nothing_is_closed_at_the_deadline_and_holds_up_nobody() {
    let limits = Config { handshakes_per_s: 100, half_open_per_address_max: 100, ..Config::default() };
    let rig = listening("rig", Config { handshake_timeout_ms: 300, ..limits });
    let at = rig.loopback_address().unwrap();
    let mut silent: Vec<_> = (0..8).map(|_| TcpStream::connect(&at).unwrap()).collect();
    let (mut half, _) = upgrade(&at, "/ws", "");
    let controller = start("controller", Config::default(), |b| b);
    introduce(&rig, &controller);
    controller.connect(&at, &rig.identity().public_key()).unwrap();
    for socket in silent.iter_mut().chain([&mut half]) {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        assert!(socket.read_to_end(&mut rest).is_ok() || !rest.is_empty(), "closed by the node, not by our patience");
    }
}

#[test]
fn two_hundred_connections_are_held_and_drained() {
    let hub = listening("hub", Config { unproven_per_address_max: 1000, unproven_max: 1000, ..Config::default() });
    let at = hub.loopback_address().unwrap();
    let rigs: Vec<TestNode> =
        (0..200).map(|i| start(&format!("rig-{i}"), Config { low_power: true, ..Config::default() }, |b| b)).collect();
    for rig in &rigs {
        introduce(&hub, rig);
        rig.add_uplink(&format!("{}@{at}", hub.identity().public_key())).unwrap();
    }
    wait_until("200 links", || links(&hub) == 200);
    let ids: Vec<String> = rigs.iter().map(|r| r.id().to_string()).collect();
    let pings = hub.controller().sweep_ping(&ids, PATIENCE);
    assert_eq!(pings.iter().filter(|(_, p)| p.is_ok()).count(), 200);
    let mut hub = hub;
    let drained = hub.node.take().unwrap().shutdown().unwrap();
    assert_eq!((drained.closed, drained.cut), (200, 0));
    wait_until("every rig noticed", || rigs.iter().all(|rig| links(rig) == 0));
}

#[test]
fn a_peer_that_stops_reading_costs_only_its_own_queue() {
    let hub = listening("hub", Config { queue_bytes_max: 4 << 20, ..unlimited() });
    let at = hub.loopback_address().unwrap();
    let good = start("good", unlimited(), |b| b);
    introduce(&hub, &good);
    good.connect(&at, &hub.identity().public_key()).unwrap();

    let stuck = stuck::Peer::new(&hub, &at);
    wait_until("both proven", || links(&hub) == 2);
    let payload = Payload::Other {
        kind: MessageType::Other("blob".into()),
        raw: RawPayload::from_value(&"x".repeat(60_000)).unwrap(),
    };
    for _ in 0..200 {
        // Far more than the stuck peer's queue holds: what does not fit there is dropped there.
        while let Err(Error::Busy) = hub.transport().broadcast(payload.clone(), None) {
            std::thread::yield_now();
        }
    }
    let good_id = good.id().to_string();
    for _ in 0..200 {
        hub.controller().ping(&good_id).unwrap();
    }
    drop(stuck);
}

#[test]
fn both_sides_push_a_hundred_megabytes_at_once() {
    push_both_ways(false);
}

#[test]
fn both_sides_push_a_hundred_megabytes_at_once_over_tls() {
    push_both_ways(true);
}

fn push_both_ways(tls: bool) {
    const MESSAGES: usize = 1600;
    let text = "x".repeat(65_000);
    let mut server_config = unlimited();
    let pair = tempfile::tempdir().unwrap();
    let mut scheme = String::new();
    let mut pin = String::new();
    if tls {
        let made = TlsPair::self_signed(&["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let (cert, key) = (pair.path().join("cert.pem"), pair.path().join("key.pem"));
        std::fs::write(&cert, &made.cert_pem).unwrap();
        std::fs::write(&key, &made.key_pem).unwrap();
        pin = format!("#{}", made.fingerprint_hex());
        scheme = "wss://".to_owned();
        (server_config.tls_cert, server_config.tls_key) = (Some(cert), Some(key));
    }
    let (to_a, at_a) = crossbeam_channel::unbounded();
    let (to_b, at_b) = crossbeam_channel::unbounded();
    let a = start("a", server_config, |b| b.listen("127.0.0.1:0").message_handler(to_a));
    let b = start("b", unlimited(), |b| b.message_handler(to_b));
    introduce(&a, &b);
    b.connect(&format!("{scheme}{}{pin}", a.loopback_address().unwrap()), &a.identity().public_key()).unwrap();
    wait_until("both are proven to each other", || links(&a) == 1 && links(&b) == 1);
    let push = |from: &Node, to: String, seed| {
        let mut rng = Rng::from_number(seed);
        for _ in 0..MESSAGES {
            let message = blob(&mut rng, &text);
            loop {
                match from.transport().send(&to, message.clone()) {
                    Ok(()) => break,
                    Err(Error::Busy) => std::thread::sleep(Duration::from_millis(1)),
                    Err(e) => panic!("{e}"),
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let (a, b) = (&*a, &*b);
        scope.spawn(move || push(a, b.id().to_string(), 1));
        scope.spawn(move || push(b, a.id().to_string(), 2));
        for at in [&at_a, &at_b] {
            for i in 0..MESSAGES {
                let (_, message) =
                    at.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("message {i} of {MESSAGES} never came"));
                assert_eq!(message.payload.as_str().len(), text.len() + 2);
            }
        }
    });
}

#[test]
fn nothing_is_left_after_two_thousand_connects() {
    let rig = listening("rig", Config::default());
    let at = rig.loopback_address().unwrap();
    let controller = start("controller", Config::default(), |b| b);
    introduce(&rig, &controller);
    let rig_id = rig.id().to_string();
    let connect = |n: usize| {
        for _ in 0..n {
            controller.connect(&at, &rig.identity().public_key()).unwrap();
            controller.controller().disconnect(&rig_id).unwrap();
        }
        wait_until("all closed", || links(&rig) == 0 && rig.transport().connections().unwrap().is_empty());
    };
    connect(20);
    let (threads, descriptors) = (count("/proc/self/task"), count("/proc/self/fd"));
    connect(1990);
    // Other tests of this file run in the same process: what they hold comes and goes, what leaks stays.
    wait_until("threads and descriptors are back", || {
        count("/proc/self/task") <= threads + 20 && count("/proc/self/fd") <= descriptors + 20
    });
}

fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn tls_is_trusted_by_pin_or_ca_file_and_nothing_else() {
    let pair = tempfile::tempdir().unwrap();
    let made = TlsPair::self_signed(&["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (pair.path().join("cert.pem"), pair.path().join("key.pem"));
    std::fs::write(&cert, &made.cert_pem).unwrap();
    std::fs::write(&key, &made.key_pem).unwrap();
    let rig = listening("rig", Config { tls_cert: Some(cert.clone()), tls_key: Some(key), ..Config::default() });
    let at = rig.loopback_address().unwrap();
    let rig_key = rig.identity().public_key();
    let with_ca = start("with-ca", Config { tls_ca: Some(cert), ..Config::default() }, |b| b);
    introduce(&rig, &with_ca);
    with_ca.connect(&format!("wss://{at}"), &rig_key).unwrap();
    let other = start("other", Config::default(), |b| b);
    introduce(&rig, &other);
    let wrong_pin = format!("wss://{at}#{}", "ab".repeat(32));
    let error = other.connect(&wrong_pin, &rig_key).unwrap_err().to_string();
    assert!(error.contains("fingerprint") && error.contains("abab"), "{error}");
    let error = other.connect(&at, &rig_key).unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "plain to a TLS port: {error}");
    other.connect(&format!("wss://{at}#{}", made.fingerprint_hex()), &rig_key).unwrap();
    wait_until("both are proven to the rig too", || links(&rig) == 2);
}

#[test]
fn an_uplink_comes_back_when_its_controller_does() {
    let hub = listening("hub", Config::default());
    let at = hub.listen_address().unwrap();
    let rig = start("rig", Config::default(), |b| b);
    introduce(&hub, &rig);
    rig.add_uplink(&format!("{}@{at}", hub.identity().public_key())).unwrap();
    wait_until("the rig is there", || links(&hub) == 1);
    let mut hub = hub;
    hub.node.take().unwrap().shutdown().unwrap();
    wait_until("the rig noticed", || links(&rig) == 0);
    let again = Node::builder().data_dir(hub.folder.path()).listen(at.to_string()).start().unwrap();
    wait_until("the rig is back", || links(&again) == 1);
}

#[test]
fn the_wrong_key_at_an_address_gets_nothing() {
    let rig = listening("rig", Config::default());
    let controller = start("controller", Config::default(), |b| b);
    introduce(&rig, &controller);
    let other = start("other", Config::default(), |b| b);
    let error = controller.connect(&rig.loopback_address().unwrap(), &other.identity().public_key()).unwrap_err();
    assert_eq!(error, Error::WrongKey { expected: other.id().to_string(), got: rig.id().to_string() });
    assert_eq!(links(&controller), 0);
}

#[test]
fn a_websocket_ping_is_answered_and_an_oversize_frame_closes_with_1009() {
    let hub = listening("hub", Config::default());
    let mut peer = stuck::Peer::new(&hub, &hub.loopback_address().unwrap());
    peer.ws.send(tungstenite::Message::Ping("hi".into())).unwrap();
    let pong = std::iter::from_fn(|| peer.ws.read().ok()).find(tungstenite::Message::is_pong).unwrap();
    assert_eq!(pong.into_data().as_ref(), b"hi");
    peer.ws.send(tungstenite::Message::binary(vec![0; (1 << 20) + 1])).unwrap();
    let close = std::iter::from_fn(|| peer.ws.read().ok()).find(tungstenite::Message::is_close).unwrap();
    let tungstenite::Message::Close(Some(frame)) = close else { panic!("{close:?}") };
    assert_eq!(u16::from(frame.code), 1009);
}

#[test]
fn an_endless_answer_to_a_dial_is_cut_off_at_64_kib() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let liar = std::thread::spawn(move || {
        let mut ws = tungstenite::accept(listener.accept().unwrap().0).unwrap();
        let _ = ws.read();
        let _ = ws.send(tungstenite::Message::text(" ".repeat(1 << 20)));
    });
    let controller = start("controller", Config::default(), |b| b);
    let other = start("other", Config::default(), |b| b);
    let error = controller.connect(&at, &other.identity().public_key()).unwrap_err().to_string();
    assert!(error.contains("at most 65536"), "{error}");
    liar.join().unwrap();
}

#[test]
fn a_node_without_miners_says_so_by_error_1004() {
    let rig = listening("rig", Config::default());
    let controller = start("controller", Config::default(), |b| b);
    introduce(&rig, &controller);
    controller.connect(&rig.loopback_address().unwrap(), &rig.identity().public_key()).unwrap();
    let error = controller.controller().start_miner(&rig.id().to_string(), "xmrig", Some("main"), None).unwrap_err();
    assert!(matches!(&error, Error::Remote { code: 1004, message } if message.contains("runs no miners")), "{error}");
}

/// A peer that proves its key and then never reads again.
mod stuck {
    use super::*;
    use rigmesh::identity::{Identity, Role};
    use rigmesh::session::{Challenges, Expect, Initiator, Known, Lane, LinkKeys, Outbound, OutboundLimits, Security};
    use tungstenite::{Message as WsMessage, WebSocket};

    pub(crate) struct Peer {
        pub(crate) ws: WebSocket<TcpStream>,
    }

    impl Peer {
        pub(crate) fn new(hub: &Node, at: &str) -> Peer {
            let mut rng = Rng::from_number(7);
            let now = Now { mono: Time::ZERO, wall: Timestamp::from_unix(1_800_000_000, 0) };
            let identity = Identity::generate("stuck", Role::Worker, now.wall, &mut rng).unwrap();
            hub.peers().allow(&identity.public_key(), Grants::NONE, "test").unwrap();
            let (mut ws, _) =
                tungstenite::client::client(format!("ws://{at}/ws"), TcpStream::connect(at).unwrap()).unwrap();
            let (initiator, text) = Initiator::start(
                &identity,
                Expect::Key(hub.identity().public_key()),
                &Security::Off,
                now,
                &mut rng,
                &mut Challenges::new(),
            )
            .unwrap();
            ws.send(WsMessage::text(String::from_utf8(text).unwrap())).unwrap();
            let ack = ws.read().unwrap().into_data();
            let dialled = initiator.handle_ack(&identity, &Security::Off, &ack, |_| Known::default()).unwrap();
            let LinkKeys::Plain(link_key) = dialled.keys else { panic!("nothing was offered") };
            // One ping of ours proves us.
            let ping = Payload::Ping(rigmesh::message::Ping { sent_at: 1, rigmesh: None });
            let message = Message::new(now, &mut rng, &identity.id().to_string(), &hub.id().to_string(), &ping);
            let mut outbound = Outbound::new(link_key, rng.fork(), OutboundLimits::default(), now.mono);
            outbound.handle_send(Lane::Control, message.encode().into_bytes()).unwrap();
            let mut frame = Vec::new();
            assert!(outbound.poll_frame(now.mono, 1_800_000_000, &mut frame).unwrap());
            ws.send(WsMessage::binary(frame)).unwrap();
            Peer { ws }
        }
    }

    impl Drop for Peer {
        fn drop(&mut self) {
            let _ = self.ws.get_mut().shutdown(Shutdown::Both);
        }
    }
}
