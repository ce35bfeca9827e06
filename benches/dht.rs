//! The DHT over loopback: time to publish and to resolve at 64 nodes, memory a node, datagrams verified.
//! A whole-process measurement: the 64 nodes live in this process and share its cores' threads; with `-- --own-threads` each
//! has its own.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use rigmesh::base::{Now, Rng, Time, Timestamp};
use rigmesh::dht::{
    Authority, Config, EndpointPayload, Id, Node, Policy, Query, SignedRecord, Stamp, Threads, rec_type,
};
use rigmesh::identity::{Address, SignKey};
use rigmesh::kad::{Header, Machine, Message, TxId, encode_datagram};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const NODES: usize = 64;
const RECORDS: usize = 256;
const LOOKUPS: usize = 4096;
const DATAGRAMS: usize = 20_000;
const FLOOD: usize = 100_000;
const WITHIN: Duration = Duration::from_secs(20);

fn main() {
    if std::env::args().any(|a| a == "--test" || a == "--list") {
        return;
    }
    let mut rng = Rng::from_number(1);
    let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let own_threads = std::env::args().any(|a| a == "--own-threads");
    let threads = (!own_threads).then(|| Threads::start(cores).unwrap());
    println!("threads: {}", if own_threads { "each its own".to_owned() } else { format!("{cores} for all") });
    let start = |rng: &mut Rng| {
        let config = Config { bind: here, threads: threads.clone(), ..Config::new(SignKey::generate(rng)) };
        Node::start(config).unwrap()
    };
    // The program's own pages are no node's: two nodes have spoken before anything is counted.
    let (one, other) = (start(&mut rng), start(&mut rng));
    other.bootstrap_addrs(&[one.local_addr()], WITHIN).unwrap();
    drop((one, other));
    let before = resident_kib();
    let nodes: Vec<Node> = (0..NODES).map(|_| start(&mut rng)).collect();
    let begun = Instant::now();
    for node in &nodes[1..] {
        node.bootstrap_addrs(&[nodes[0].local_addr()], WITHIN).unwrap();
    }
    println!("{NODES} nodes joined one after the other: {:.0?}", begun.elapsed());
    std::thread::sleep(Duration::from_secs(1));
    show_memory("memory a node", before);
    let keys: Vec<SignKey> = (0..RECORDS).map(|_| SignKey::generate(&mut rng)).collect();
    let mut puts = Vec::new();
    for (i, key) in keys.iter().enumerate() {
        let node = &nodes[i % NODES];
        let place = EndpointPayload { endpoints: Some(vec!["ws://192.0.2.7:9091/ws".into()]), ..Default::default() };
        let stamp = Stamp { seq: 1, timestamp: node.unix_time() - 5, ttl_s: 3600 };
        let record = SignedRecord::sign(key, rec_type::ENDPOINT, place.encode().unwrap(), stamp).unwrap();
        let begun = Instant::now();
        node.publish_and_wait(Id::ZERO, record, WITHIN).unwrap();
        puts.push(begun.elapsed());
    }
    let (mut gets, mut failed) = (Vec::new(), 0);
    for _ in 0..LOOKUPS {
        let key = Id::of_address(&Address::of_ed25519(&keys[pick(&mut rng, RECORDS)].public()));
        let query = Query::new(&nodes[pick(&mut rng, NODES)]);
        let begun = Instant::now();
        match query.resolve(key, WITHIN) {
            Ok(_) => gets.push(begun.elapsed()),
            Err(_) => failed += 1,
        }
    }
    let mut pings = Vec::new();
    for _ in 0..LOOKUPS {
        let (from, to) = (&nodes[pick(&mut rng, NODES)], &nodes[pick(&mut rng, NODES)]);
        if from.id() != to.id() {
            pings.push(from.ping(to.local_addr(), WITHIN).unwrap().round_trip);
        }
    }
    show("publish with 8 copies", &mut puts);
    show("resolve", &mut gets);
    show("ping", &mut pings);
    println!("{failed} of {LOOKUPS} lookups failed");
    flood(&nodes);
    show_memory("memory a node at the end", before);
    drop(nodes);
    datagrams(&mut rng);
}

/// Round trips to a node that is flooded by one source with well-signed requests, of everybody else.
fn flood(nodes: &[Node]) {
    let (victim, over) = (nodes[0].local_addr(), AtomicBool::new(false));
    let mut pings = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let flooder = SignKey::from_seed(&[99; 32]);
            let request = Message::Ping { address: Address::of_ed25519(&flooder.public()) };
            let header = Header::new(TxId::random(&mut Rng::from_number(7)));
            let datagram = encode_datagram(&header, &request, &flooder).unwrap();
            for i in 0..FLOOD {
                let _ = socket.send_to(&datagram, victim);
                // A flood that lasts: the pings are to be made during it.
                if i % 100 == 99 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            over.store(true, Ordering::Release);
        });
        while !over.load(Ordering::Acquire) {
            let from = &nodes[1 + pings.len() % (NODES - 1)];
            pings.push(from.ping(victim, WITHIN).unwrap().round_trip);
        }
    });
    show(&format!("ping during a flood of {FLOOD} datagrams ({} calls, none failed)", pings.len()), &mut pings);
}

/// What one thread's machine reads, verifies and answers.
fn datagrams(rng: &mut Rng) {
    let now = |ms: u64| Now { mono: Time::from_millis(ms), wall: Timestamp::from_unix(1_750_000_000, 0) };
    let open = Policy { source_rate_per_s: u32::MAX, source_burst: u32::MAX, ..Policy::default() };
    let mut machine = Machine::new(SignKey::generate(rng), open, Authority::BuiltIn, now(0), rng.fork());
    let stranger = SignKey::generate(rng);
    let ping = Message::Ping { address: Address::of_ed25519(&stranger.public()) };
    let datagrams: Vec<Vec<u8>> =
        (0..DATAGRAMS).map(|_| encode_datagram(&Header::new(TxId::random(rng)), &ping, &stranger).unwrap()).collect();
    let from: SocketAddr = "192.0.2.1:4121".parse().unwrap();
    let begun = Instant::now();
    for datagram in &datagrams {
        machine.handle_datagram(now(1), from, datagram);
        while machine.poll_output().is_some() {}
    }
    let each = begun.elapsed() / u32::try_from(DATAGRAMS).unwrap();
    let verified = machine.counters().received;
    println!("pings verified and answered: {:.0} a second and core ({verified})", 1.0 / each.as_secs_f64());
}

fn pick(rng: &mut Rng, n: usize) -> usize {
    usize::try_from(rng.below(n as u64)).unwrap()
}

fn show(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let part = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{what}: p50 {:.2?}, p90 {:.2?}, p99 {:.2?}, max {:.2?}", part(50), part(90), part(99), part(100));
}

/// All that is resident, and of it what is not the program itself.
fn resident_kib() -> [u64; 2] {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    ["VmRSS", "RssAnon"].map(|name| {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    })
}

fn show_memory(what: &str, before: [u64; 2]) {
    let now = resident_kib();
    let [all, own] = [0, 1].map(|i| now[i].saturating_sub(before[i]) as f64 / NODES as f64);
    println!("{what}: {all:.1} KiB, without pages of the program {own:.1} KiB");
}
