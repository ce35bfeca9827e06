//! The DHT over real UDP on this machine: a network of 64 nodes in one process, what strangers send it, floods, restarts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation, unreachable_pub)]

mod support;

use rigmesh::base::{Error, Refusal, Rng};
use rigmesh::dht::{
    BootstrapSeed, Config, EndpointPayload, Files, Id, NO_ENDPOINT, NO_MATCHING_RECORDS, Node, NodeInfo, OnObserved,
    PeerHealthState, Query, SignedRecord, Stamp, Threads, TopicPayload, rec_type,
};
use rigmesh::identity::{Address, SignKey};
use rigmesh::kad::{Header, Message, TxId, encode_datagram};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};
use support::eventually;

const WITHIN: Duration = Duration::from_secs(20);

fn here() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn key(n: u64) -> SignKey {
    SignKey::from_seed(&Rng::from_number(n).array())
}

fn config(n: u64) -> Config {
    Config { bind: here(), ..Config::new(key(n)) }
}

/// Nodes that all joined by the first, eight at a time.
fn network(first: u64, count: usize) -> Vec<Node> {
    let nodes: Vec<Node> = (0..count as u64).map(|n| Node::start(config(first + n)).unwrap()).collect();
    let seed = nodes[0].local_addr();
    for some in nodes[1..].chunks(8) {
        thread::scope(|scope| {
            for node in some {
                scope.spawn(move || node.bootstrap_addrs(&[seed], WITHIN).unwrap());
            }
        });
    }
    nodes
}

fn place(node: &Node, owner: &SignKey, seq: u64, url: &str) -> SignedRecord {
    let payload = EndpointPayload { endpoints: Some(vec![url.to_owned()]), ..EndpointPayload::default() };
    let stamp = Stamp { seq, timestamp: node.unix_time() - 5, ttl_s: 3600 };
    SignedRecord::sign(owner, rec_type::ENDPOINT, payload.encode().unwrap(), stamp).unwrap()
}

fn found(node: &Node, key: Id) -> String {
    let endpoint = Query::new(node).resolve(key, WITHIN).unwrap();
    endpoint.payload.endpoints.unwrap().remove(0)
}

#[test]
fn sixty_four_nodes_join_by_one_and_each_finds_what_another_published() {
    let nodes = network(1000, 64);
    for (i, node) in nodes.iter().enumerate() {
        assert!(node.debug_stats().unwrap().total_peers >= 8, "node {i} knows too few");
    }
    let owners: Vec<SignKey> = (0..16).map(|n| key(5000 + n)).collect();
    for (i, owner) in owners.iter().enumerate() {
        let node = &nodes[i * 4];
        let copies = node.publish_and_wait(Id::ZERO, place(node, owner, 1, &format!("ws://192.0.2.{i}:9/ws")), WITHIN);
        assert_eq!(copies, Ok(8), "record {i}");
    }
    for (i, owner) in owners.iter().enumerate() {
        let at = Id::of_address(&Address::of_ed25519(&owner.public()));
        for (n, node) in nodes.iter().enumerate() {
            assert_eq!(found(node, at), format!("ws://192.0.2.{i}:9/ws"), "record {i} from node {n}");
        }
    }
    // A newer version replaces the older one wherever it is.
    let (publisher, at) = (&nodes[0], Id::of_address(&Address::of_ed25519(&owners[0].public())));
    publisher.publish_and_wait(Id::ZERO, place(publisher, &owners[0], 2, "ws://192.0.2.99:9/ws"), WITHIN).unwrap();
    assert!(nodes.iter().all(|node| found(node, at) == "ws://192.0.2.99:9/ws"));
    let stale = publisher.publish_endpoint_record(place(publisher, &owners[0], 1, "ws://192.0.2.1:9/ws"));
    assert!(matches!(stale, Err(Error::Rejected(Refusal::Stale(_)))), "{stale:?}");
    let nobody = Query::new(&nodes[9]).resolve(Id::of_topic("nobody"), WITHIN);
    assert_eq!(nobody.unwrap_err(), Error::NotFound(NO_ENDPOINT.to_owned()));
    let nothing = Query::new(&nodes[9]).aggregate_records(Id::of_topic("nothing"), 0, WITHIN);
    assert_eq!(nothing.unwrap_err(), Error::NotFound(NO_MATCHING_RECORDS.to_owned()));
    // Sixty rigs under one topic are found, though no answer holds more than a few.
    let topic = Id::of_topic("rigs");
    for (n, node) in nodes[..60].iter().enumerate() {
        let entry = TopicPayload { topic: "rigs".into(), name: format!("rig {n}"), ..TopicPayload::default() };
        let stamp = Stamp { seq: 1, timestamp: node.unix_time() - 5, ttl_s: 3600 };
        let record =
            SignedRecord::sign(&key(7000 + n as u64), rec_type::TOPIC, entry.encode().unwrap(), stamp).unwrap();
        assert!(node.publish_mailbox_record(topic, record.clone()).is_err());
        node.publish_topic_record(topic, record).unwrap();
    }
    eventually("sixty rigs under a topic", 30, || {
        Query::new(&nodes[63]).aggregate_records(topic, rec_type::TOPIC, WITHIN).map_or(0, |found| found.len()) == 60
    });
    let nearest = Query::new(&nodes[5]).find_node(topic, WITHIN).unwrap();
    let mut all: Vec<Id> = nodes.iter().map(Node::id).filter(|id| *id != nodes[5].id()).collect();
    all.sort_by_key(|id| topic.distance(id));
    assert_eq!(nearest.iter().map(|node| node.node_id).collect::<Vec<_>>(), all[..16]);
}

#[test]
fn every_call_about_one_peer_does_what_it_says() {
    let (told, observed) = channel();
    let tell: OnObserved = Box::new(move |id, at| told.send((id, at)).unwrap());
    let on_observed = Some(tell);
    let one = Node::start(Config { on_observed, ..config(1) }).unwrap();
    let two = Node::start(config(2)).unwrap();
    let at = two.local_addr();
    let pong = one.ping(at, WITHIN).unwrap();
    assert_eq!((pong.peer.address, pong.peer.node_id, pong.peer.observed), (two.address(), two.id(), one.local_addr()));
    assert_eq!(observed.recv_timeout(WITHIN).unwrap(), (two.id(), one.local_addr()));
    assert_eq!(one.peer_health(two.id()).unwrap(), PeerHealthState::Good);
    assert!(one.peer_allows_contact(two.id()).unwrap());
    assert!(one.peer_rtt(at).unwrap().is_some_and(|rtt| rtt < WITHIN));
    assert_eq!(one.bootstrap_candidates(9).unwrap(), [at]);
    let (record, far) = (place(&one, &key(3), 1, "ws://192.0.2.1:9/ws"), Id::of_topic("x"));
    assert!(one.store_at(at, Id::ZERO, record.clone(), WITHIN).unwrap());
    assert_eq!(one.find_value(at, record.default_key(), WITHIN).unwrap(), Some(record.clone()));
    assert_eq!(one.find_value(at, far, WITHIN).unwrap(), None);
    let one_record = std::slice::from_ref(&record);
    assert_eq!(one.find_value_with_nodes(at, record.default_key(), 0, WITHIN).unwrap().0, one_record);
    assert_eq!(two.local_store_get(record.default_key(), 0).unwrap(), one_record);
    assert_eq!(two.local_store_get_by_address(record.address, 0).unwrap(), one_record);
    assert_eq!((two.local_store_len().unwrap(), two.debug_records().unwrap().len()), (1, 1));
    two.local_store_invalidate(record.default_key(), 0).unwrap();
    assert_eq!(two.local_store_len().unwrap(), 0);
    two.local_store_put(Id::ZERO, record.clone()).unwrap();
    assert!(matches!(two.local_store_put(Id::ZERO, record.clone()), Err(Error::Rejected(Refusal::Stale(_)))));
    assert!(matches!(two.local_store_put(far, record.clone()), Err(Error::Malformed { .. })));
    one.publish_and_wait(Id::ZERO, record.clone(), WITHIN).unwrap();
    assert_eq!(one.copies(record.default_key(), record.clone()).unwrap(), Some(1));
    one.forget_publisher(record.default_key()).unwrap();
    assert_eq!(one.copies(record.default_key(), record).unwrap(), None);
    // Nobody is told of himself.
    assert_eq!(two.find_node(one.local_addr(), far, WITHIN).unwrap(), []);
    let ip = Some("192.0.2.9".parse().unwrap());
    assert_eq!(one.external_ip().unwrap(), None);
    one.set_external_ip(ip).unwrap();
    assert_eq!(one.external_ip().unwrap(), ip);
    one.set_passive(true).unwrap();
    one.set_keys_max(5).unwrap();
    // The network does not exist behind a port where nobody is.
    let nobody = UdpSocket::bind(here()).unwrap().local_addr().unwrap();
    assert!(matches!(one.ping(nobody, Duration::from_millis(300)), Err(Error::TimedOut(_))));
    assert_eq!(one.bootstrap_addrs(&[], WITHIN), Ok(1));
    let three = Node::start(config(3)).unwrap();
    let seed = BootstrapSeed { addr: at, info: NodeInfo::new(two.address(), at) };
    assert!(three.bootstrap(&[seed], WITHIN).unwrap() >= 1);
    assert!(three.estimated_network_size().unwrap() >= 1);
    assert!(three.estimated_network_size_within(WITHIN).unwrap().nodes >= 1);
    assert!(!three.send_nat_probe(at, three.local_addr(), Duration::from_millis(100)).unwrap());
    two.close();
    two.close();
    assert_eq!(two.ping(one.local_addr(), WITHIN), Err(Error::ShuttingDown));
    let lost = Node::start_with_bootstrap(config(4), &[nobody], WITHIN);
    assert!(matches!(lost, Err(Error::Unreachable(_))), "{lost:?}");
}

#[test]
fn calls_that_wait_end_when_the_node_is_closed() {
    let node = Arc::new(Node::start(config(1)).unwrap());
    let nobody = UdpSocket::bind(here()).unwrap();
    let waiting = {
        let (node, at) = (node.clone(), nobody.local_addr().unwrap());
        thread::spawn(move || node.ping(at, WITHIN))
    };
    thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    node.close();
    assert_eq!(waiting.join().unwrap(), Err(Error::ShuttingDown));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn bad_datagrams_do_no_harm() {
    let seed = 20_261_121;
    let mut rng = Rng::from_number(seed);
    println!("seed {seed}");
    let nodes = network(2000, 3);
    let at = nodes[0].local_addr();
    let socket = UdpSocket::bind(here()).unwrap();
    let ping = Message::Ping { address: nodes[1].address() };
    let stranger = key(9);
    for i in 0..3000 {
        let good = encode_datagram(&Header::new(TxId::random(&mut rng)), &ping, &stranger).unwrap();
        let bad = match i % 5 {
            0 => {
                let mut noise = vec![0; rng.below(1300) as usize];
                rng.fill(&mut noise);
                noise
            }
            1 => good[..rng.below(good.len() as u64) as usize].to_vec(),
            2 => [good, vec![0; 60_000]].concat(),
            3 => {
                let mut changed = good;
                let place = rng.below(changed.len() as u64) as usize;
                changed[place] ^= 1 << rng.below(8);
                changed
            }
            _ => Vec::new(),
        };
        let _ = socket.send_to(&bad, at);
        if i % 50 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    let mut answer = [0; 2000];
    nodes[1].ping(at, WITHIN).unwrap();
    assert_eq!(nodes[0].debug_stats().unwrap().total_peers, 2, "seed {seed}");
    assert!(nodes[0].debug_stats().unwrap().malformed > 100);
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv_from(&mut answer).is_err(), "something wrong was answered, seed {seed}");
}

#[test]
fn a_flood_from_one_source_delays_nobody_else() {
    let nodes = network(3000, 8);
    let victim = nodes[0].local_addr();
    let owner = key(1);
    nodes[0].publish_and_wait(Id::ZERO, place(&nodes[0], &owner, 1, "ws://192.0.2.1:9/ws"), WITHIN).unwrap();
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut slowest = Duration::ZERO;
    thread::scope(|scope| {
        scope.spawn(|| {
            let socket = UdpSocket::bind(here()).unwrap();
            let mut rng = Rng::from_number(7);
            let flooder = key(99);
            // Every kind of request, well signed, over and over.
            let requests: Vec<Vec<u8>> = (0..64)
                .map(|i| {
                    let target = Id::of_topic(&i.to_string());
                    let request = match i % 3 {
                        0 => Message::Ping { address: Address::of_ed25519(&flooder.public()) },
                        1 => Message::FindNode { target },
                        _ => Message::FindValue { target, rec_type: 0 },
                    };
                    encode_datagram(&Header::new(TxId::random(&mut rng)), &request, &flooder).unwrap()
                })
                .collect();
            for i in 0..100_000 {
                let _ = socket.send_to(&requests[i % 64], victim);
                // A flood that lasts: the calls are to be made during it.
                if i % 100 == 99 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            sent.store(100_000, Ordering::Relaxed);
            over.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            let mut calls = 0;
            while !over.load(Ordering::Acquire) || calls < 20 {
                let node = &nodes[1 + calls % 7];
                let begun = Instant::now();
                node.ping(victim, WITHIN).unwrap();
                let asked = Query::new(node).resolve(Id::of_address(&Address::of_ed25519(&owner.public())), WITHIN);
                asked.unwrap();
                node.store_at(
                    victim,
                    Id::ZERO,
                    place(node, &key(calls as u64 + 100), 1, "ws://192.0.2.1:9/ws"),
                    WITHIN,
                )
                .unwrap();
                slowest = slowest.max(begun.elapsed());
                calls += 1;
            }
            println!("{calls} rounds of three calls during the flood, the slowest {slowest:?}");
        });
    });
    let stats = nodes[0].debug_stats().unwrap();
    println!("{stats:?}");
    assert!(stats.limited > 1000, "{stats:?}");
    assert_eq!(sent.load(Ordering::Relaxed), 100_000);
}

#[test]
fn a_node_that_is_started_again_serves_at_once_what_it_had() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::in_folder(&dir.path().join("dht"));
    let peer = Node::start(config(1)).unwrap();
    let saved = Config { files: files.clone(), save_every: Duration::from_secs(1), ..config(2) };
    let node = Node::start_with_bootstrap(saved, &[peer.local_addr()], WITHIN).unwrap();
    let record = place(&peer, &key(3), 1, "ws://192.0.2.1:9/ws");
    assert!(peer.store_at(node.local_addr(), Id::ZERO, record.clone(), WITHIN).unwrap());
    let snapshot = files.snapshot.clone().unwrap();
    eventually("the periodic snapshot", 20, || {
        std::fs::read(&snapshot).is_ok_and(|bytes| {
            rigmesh::kad::Snapshot::decode(&bytes).is_ok_and(|saved| saved.records.len() == 1 && saved.nodes.len() == 1)
        })
    });
    // As after a kill: what is on disk now is all there is, whatever the end would still write.
    let killed = dir.path().join("killed");
    std::fs::create_dir(&killed).unwrap();
    for name in ["dht.snapshot", "peers.cache"] {
        std::fs::copy(dir.path().join("dht").join(name), killed.join(name)).unwrap();
    }
    drop(node);
    let again = Node::start(Config { files: Files::in_folder(&killed), ..config(2) }).unwrap();
    assert_eq!(again.cached_peers(), [peer.local_addr()]);
    assert_eq!(again.debug_stats().unwrap().total_peers, 1);
    assert_eq!(peer.find_value(again.local_addr(), record.default_key(), WITHIN).unwrap(), Some(record));
    // And after a good end.
    let last = Node::start(Config { files: Files { peers_cache: None, ..files.clone() }, ..config(2) }).unwrap();
    assert_eq!((last.local_store_len().unwrap(), last.debug_stats().unwrap().reach_1h), (1, 1));
    let seen = std::fs::read_to_string(files.seen_peers.unwrap()).unwrap();
    assert!(seen.starts_with(&peer.id().to_string()), "{seen}");
}

fn page(at: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: {at}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn the_debug_pages_say_what_the_node_knows() {
    let nodes = network(4000, 2);
    let pages = nodes[0].start_debug_http(here()).unwrap();
    let at = pages.local_addr();
    let json = |path: &str| {
        let (head, body) = page(at, &format!("GET {path}"));
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("Content-Type: application/json; charset=utf-8"), "{head}");
        serde_json::from_str::<serde_json::Value>(&body).unwrap()
    };
    let (me, other) = (&nodes[0], &nodes[1]);
    let identity = json("/debug/identity");
    assert_eq!(identity["address"], me.address().to_string());
    assert_eq!(identity["node_id_hex"], me.id().to_string());
    assert_eq!(identity["local_addr"], me.local_addr().to_string());
    let routing = json("/debug/routing");
    assert_eq!((&routing["total_peers"], &routing["self_node_id_hex"]), (&1.into(), &me.id().to_string().into()));
    let row = &routing["peers"][0];
    assert_eq!(row["node_id_hex"], other.id().to_string());
    assert_eq!((&row["ip"], &row["port"]), (&"127.0.0.1".into(), &other.local_addr().port().into()));
    assert_eq!(row["bucket"], me.id().bucket_of(&other.id()).unwrap());
    assert!(row["verified_ago"].as_str().unwrap().ends_with('s'));
    assert!(json("/debug/store").is_null());
    let record = place(me, &key(3), 4, "ws://192.0.2.1:9/ws");
    me.local_store_put(Id::ZERO, record.clone()).unwrap();
    let store = json("/debug/store");
    assert_eq!(store[0]["key_node_id_hex"], record.default_key().to_string());
    assert_eq!((&store[0]["seq"], &store[0]["ttl_seconds"]), (&4.into(), &3600.into()));
    let stats = json("/debug/stats");
    assert_eq!(
        (&stats["total_peers"], &stats["reach_1h"], &stats["verified_peers_1h"]),
        (&1.into(), &1.into(), &1.into())
    );
    assert!(stats["rpc_completed"].as_u64().is_some() && stats["tx_packets"].as_u64().unwrap() > 0);
    let (head, body) = page(at, "POST /debug/stats");
    assert!(head.starts_with("HTTP/1.1 405 ") && body.trim() == "method not allowed", "{head}");
    assert!(page(at, "GET /debug/other").0.starts_with("HTTP/1.1 404 "));
    assert_eq!(nodes[0].debug_page("/debug/nothing").unwrap(), None);
    pages.stop();
    pages.stop();
    assert!(TcpStream::connect(at).is_err());
}

#[test]
fn nodes_that_share_threads_are_as_good_as_others_and_end_one_by_one() {
    let threads = Threads::start(2).unwrap();
    let nodes: Vec<Node> =
        (400..412).map(|n| Node::start(Config { threads: Some(threads.clone()), ..config(n) }).unwrap()).collect();
    for node in &nodes[1..] {
        node.bootstrap_addrs(&[nodes[0].local_addr()], WITHIN).unwrap();
    }
    let owner = key(499);
    let record = place(&nodes[3], &owner, 1, "ws://192.0.2.7:9091/ws");
    assert_eq!(nodes[3].publish_and_wait(Id::ZERO, record, WITHIN).unwrap(), 8);
    let id = Id::of_address(&Address::of_ed25519(&owner.public()));
    // Whoever ends, in whatever order, takes nobody along.
    for (i, node) in nodes.iter().enumerate().filter(|(i, _)| i % 3 == 0) {
        node.close();
        assert!(node.ping(nodes[1].local_addr(), WITHIN).is_err());
        assert_eq!(found(&nodes[(i + 1) % 12], id), "ws://192.0.2.7:9091/ws");
    }
    drop(threads);
    assert!(
        nodes[1].ping(nodes[2].local_addr(), WITHIN).is_ok(),
        "the last clone gone, the threads stay for their nodes"
    );
    drop(nodes);
}

#[test]
fn a_callback_that_panics_ends_its_node_and_no_other() {
    let threads = Threads::start(1).unwrap();
    let shared = |n: u64| Config { threads: Some(threads.clone()), ..config(n) };
    let bad = Config { on_observed: Some(Box::new(|_, _| panic!("a fault of the embedder's"))), ..shared(500) };
    let (bad, good, other) =
        (Node::start(bad).unwrap(), Node::start(shared(501)).unwrap(), Node::start(shared(502)).unwrap());
    assert!(bad.ping(good.local_addr(), WITHIN).is_err());
    assert!(good.ping(other.local_addr(), WITHIN).is_ok());
    bad.close();
}
