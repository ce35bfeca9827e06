//! `levin`: a small CryptoNote node, written here from the protocol's description, is probed over a real socket; and
//! ones that are silent, lie or leave.

use super::user::{Answer, Folder};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const MAINNET: &str = "1230f171610441611731008216a1a110";

/// A message: signature, size, expects a response, command, return code, flags, version, payload.
fn message(command: u32, expects: u8, code: i32, flags: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = 0x0101_0101_0101_2101_u64.to_le_bytes().to_vec();
    out.extend((payload.len() as u64).to_le_bytes());
    out.push(expects);
    out.extend(command.to_le_bytes());
    out.extend(code.to_le_bytes());
    out.extend(flags.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    out.extend(payload);
    out
}

fn response(command: u32, payload: &[u8]) -> Vec<u8> {
    message(command, 0, 1, 2, payload)
}

fn section(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![(entries.len() as u8) << 2];
    for (name, value) in entries {
        out.push(name.len() as u8);
        out.extend(name.as_bytes());
        out.extend(value);
    }
    out
}

fn typed(tag: u8, bytes: &[u8]) -> Vec<u8> {
    [&[tag][..], bytes].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&[10, (bytes.len() as u8) << 2][..], bytes].concat()
}

fn storage(root: &[u8]) -> Vec<u8> {
    [&[1, 0x11, 1, 1, 1, 1, 2, 1, 1][..], root].concat()
}

fn chain(height: u64) -> Vec<u8> {
    // Not in the order of the names: a reader must not mind.
    let entries = [
        ("top_version", typed(8, &[16])),
        ("current_height", typed(5, &height.to_le_bytes())),
        ("cumulative_difficulty", typed(5, &12_345u64.to_le_bytes())),
        ("cumulative_difficulty_top64", typed(5, &1u64.to_le_bytes())),
        ("top_id", string(&[0xAB; 32])),
    ];
    typed(12, &section(&entries))
}

fn peer(last: u8) -> Vec<u8> {
    let ip = section(&[("m_ip", typed(6, &[10, 1, 2, last])), ("m_port", typed(7, &18_080u16.to_le_bytes()))]);
    let address = section(&[("type", typed(8, &[1])), ("addr", typed(12, &ip))]);
    section(&[("adr", typed(12, &address)), ("id", typed(5, &u64::from(last).to_le_bytes()))])
}

fn handshake() -> Vec<u8> {
    let node = section(&[
        ("network_id", string(&hex::decode(MAINNET).unwrap())),
        ("my_port", typed(6, &18_080u32.to_le_bytes())),
        ("peer_id", typed(5, &0x1122_3344u64.to_le_bytes())),
        ("support_flags", typed(6, &1u32.to_le_bytes())),
    ]);
    let peers = [&[0x8C, 3 << 2][..], &peer(1), &peer(2), &peer(3)].concat();
    storage(&section(&[("node_data", typed(12, &node)), ("payload_data", chain(1_000)), ("local_peerlist_new", peers)]))
}

fn pong() -> Vec<u8> {
    storage(&section(&[("status", string(b"OK")), ("peer_id", typed(5, &7u64.to_le_bytes()))]))
}

/// Reads one message: its command and payload.
fn read(socket: &mut TcpStream) -> Option<(u32, Vec<u8>)> {
    let mut header = [0; 33];
    socket.read_exact(&mut header).ok()?;
    let size = u64::from_le_bytes(header[8..16].try_into().unwrap());
    let mut payload = vec![0; size as usize];
    socket.read_exact(&mut payload).ok()?;
    Some((u32::from_le_bytes(header[17..21].try_into().unwrap()), payload))
}

/// A node that does this with the first connection. Gives its address.
fn node(serve: impl FnOnce(TcpStream) + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (address, thread::spawn(move || serve(listener.accept().unwrap().0)))
}

fn probe(args: &[&str], serve: impl FnOnce(TcpStream) + Send + 'static) -> Answer {
    let (address, node) = node(serve);
    let answer = Folder::new().run(&[&["levin", "probe", &address], args].concat());
    node.join().unwrap();
    answer
}

/// An honest node, with monerod's manners: asks for support flags before it answers, tells of transactions in fragments.
fn honest(mut socket: TcpStream) {
    while let Some((command, payload)) = read(&mut socket) {
        let answer = match command {
            1001 => {
                assert!(payload.windows(16).any(|w| w == hex::decode(MAINNET).unwrap()), "the network is asked for");
                socket.write_all(&message(1007, 1, 0, 1, &storage(&[0]))).unwrap();
                assert_eq!(read(&mut socket).unwrap().0, 1007, "what is asked meanwhile is answered");
                handshake()
            }
            1002 => {
                let inner = message(2002, 0, 0, 1, &[9; 50]);
                socket.write_all(&message(0, 0, 0, 4 | 8, &[0; 30])).unwrap();
                socket.write_all(&message(0, 0, 0, 4, &inner[..40])).unwrap();
                socket.write_all(&message(0, 0, 0, 8, &[&inner[40..], &[0; 9]].concat())).unwrap();
                storage(&section(&[("payload_data", chain(1_001))]))
            }
            1003 => pong(),
            other => panic!("{other} was not expected"),
        };
        // In two writes, so that a message comes in pieces.
        let bytes = response(command, &answer);
        socket.write_all(&bytes[..20]).unwrap();
        thread::sleep(Duration::from_millis(20));
        socket.write_all(&bytes[20..]).unwrap();
    }
}

#[test]
fn a_node_is_asked_for_network_height_top_hash_peers_and_round_trip() {
    let row = probe(&["--json"], honest).ok().rows().remove(0);
    assert_eq!((row["network"].as_str(), row["network_id"].as_str()), (Some("mainnet"), Some(MAINNET)));
    assert_eq!((row["height"].as_u64(), row["top_version"].as_u64()), (Some(1_001), Some(16)));
    assert_eq!(row["top_hash"].as_str(), Some("ab".repeat(32).as_str()));
    assert_eq!(row["difficulty"].as_str(), Some("18446744073709563961"));
    assert_eq!((row["peer_id"].as_str(), row["support_flags"].as_u64()), (Some("0000000011223344"), Some(1)));
    let peers: Vec<_> = row["peers"].as_array().unwrap().iter().map(|p| p["address"].as_str().unwrap()).collect();
    assert_eq!(peers, ["10.1.2.1:18080", "10.1.2.2:18080", "10.1.2.3:18080"]);
    assert!(row["round_trip_ms"].as_f64().unwrap() > 0.0);

    let text = probe(&[], honest).ok().out;
    for words in ["mainnet", "height         1001", "top hash       abab", "10.1.2.3:18080", "round trip"] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn a_silent_node_and_one_that_takes_no_connection_are_given_up_in_time() {
    let start = Instant::now();
    let answer = probe(&["--timeout", "1"], |mut socket| while read(&mut socket).is_some() {});
    answer.fails(6, &["timed out", "no whole message"]);
    assert!(start.elapsed() < Duration::from_secs(20));
    Folder::new().run(&["levin", "probe", "127.0.0.1:9"]).fails(4, &["127.0.0.1:9"]);
}

#[test]
fn a_node_that_lies_about_sizes_is_refused_at_once() {
    for (size, words) in [(u64::MAX, "exceeds maximum"), (17 << 20, "exceeds maximum")] {
        let answer = probe(&[], move |mut socket| {
            read(&mut socket).unwrap();
            let mut header = response(1001, b"");
            header[8..16].copy_from_slice(&size.to_le_bytes());
            socket.write_all(&header).unwrap();
            assert!(read(&mut socket).is_none());
        });
        answer.fails(1, &[words]);
    }
    // A size that is allowed, and never comes; counts larger than what is there.
    let answer = probe(&["--timeout", "1"], |mut socket| {
        read(&mut socket).unwrap();
        let mut header = response(1001, b"");
        header[8..16].copy_from_slice(&(9u64 << 20).to_le_bytes());
        socket.write_all(&header).unwrap();
        assert!(read(&mut socket).is_none());
    });
    answer.fails(6, &["no whole message"]);
    for root in [&b"\x02\x84\xd7\x17"[..], b"\x04\x01a\x85\xff\xff\xff\xff\xff\xff\xff\xff"] {
        let answer = probe(&[], move |mut socket| {
            read(&mut socket).unwrap();
            socket.write_all(&response(1001, &storage(root))).unwrap();
            assert!(read(&mut socket).is_none());
        });
        answer.fails(1, &["malformed", "truncated"]);
    }
}

#[test]
fn a_node_that_closes_refuses_or_speaks_another_protocol_is_named_as_such() {
    let closes = |mut socket: TcpStream| drop(read(&mut socket).unwrap());
    probe(&["--network", "stagenet"], closes).fails(4, &["closed the connection", "network stagenet"]);
    let inside = |mut socket: TcpStream| {
        read(&mut socket).unwrap();
        socket.write_all(&response(1001, &handshake())[..50]).unwrap();
    };
    probe(&[], inside).fails(4, &["inside a message"]);
    let refuses = |mut socket: TcpStream| {
        read(&mut socket).unwrap();
        socket.write_all(&message(1001, 0, -7, 2, b"")).unwrap();
        assert!(read(&mut socket).is_none());
    };
    probe(&[], refuses).fails(5, &["-7", "handshake failed"]);
    let http = |mut socket: TcpStream| {
        read(&mut socket).unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        assert!(read(&mut socket).is_none());
    };
    probe(&[], http).fails(1, &["bad signature"]);
}

#[test]
fn what_makes_no_sense_is_told_before_anything_is_dialled() {
    let folder = Folder::new();
    folder.run(&["levin", "probe", "127.0.0.1:9", "--network", "moonnet"]).fails(2, &["moonnet", "stagenet"]);
    folder.run(&["levin", "probe", "nowhere"]).fails(2, &["nowhere", "HOST:PORT"]);
    folder.run(&["levin", "probe", "127.0.0.1:9", "--timeout", "0"]).fails(2, &["--timeout"]);
}

#[test]
fn a_recorded_stream_and_a_storage_are_shown() {
    let folder = Folder::new();
    let stream =
        [message(1003, 1, 0, 1, &storage(&[0])), response(1003, &pong()), response(1001, &handshake())].concat();
    let write = |name: &str, bytes: &[u8]| {
        folder.write(name, "");
        std::fs::write(folder.path(name), bytes).unwrap();
        folder.path(name).to_str().unwrap().to_owned()
    };
    let rows = folder.rows(&["levin", "decode", &write("stream", &stream)]);
    let kinds: Vec<_> =
        rows.iter().map(|row| (row["command"].as_u64().unwrap(), row["kind"].as_str().unwrap())).collect();
    assert_eq!(kinds, [(1003, "request"), (1003, "response"), (1001, "response")]);
    assert_eq!(rows[1]["storage"][1]["value"].as_str(), Some("OK"));

    let text = folder.run(&["levin", "decode", &write("storage", &handshake())]).ok().out;
    for words in ["network_id: string = 1230f1", "local_peerlist_new: array of object (3)", "m_port: u16 = 18080"] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let cut = write("cut", &stream[..stream.len() - 1]);
    let answer = folder.run(&["levin", "decode", &cut]);
    assert!(answer.out.contains("\"OK\""), "what was whole is shown: {answer:?}");
    answer.fails(3, &["inside a message", "after 2 whole"]);
    folder.run(&["levin", "decode", &write("junk", b"junk")]).fails(3, &["bad signature"]);
    let escape = storage(&section(&[("a\x1b[2J", string(b"\x1b]0;x\x07"))]));
    let answer = folder.run(&["levin", "decode", &write("escape", &escape)]).ok();
    assert!(!answer.out.contains('\x1b'), "{answer:?}");
}
