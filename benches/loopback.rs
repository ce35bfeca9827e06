//! Whole nodes over loopback sockets, in secure sessions: connecting, round trips, one-way throughput.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rigmesh::base::{Error, Now, Rng, Time, Timestamp};
use rigmesh::message::{Message, MessageType, Payload, RawPayload};
use rigmesh::peers::Grants;
use rigmesh::{Config, Node};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

struct Pair {
    rig: Node,
    controller: Node,
    received: crossbeam_channel::Receiver<(String, Message)>,
    rig_id: String,
    _folders: [tempfile::TempDir; 2],
}

/// Two nodes that know each other, limiters raised.
fn pair() -> Pair {
    let many = 100_000_000;
    let config =
        Config { burst: many, rate_per_s: many, plain_burst: many, plain_rate_per_s: many, ..Config::default() };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (handler, received) = crossbeam_channel::unbounded();
    let rig = Node::builder()
        .data_dir(folders[0].path())
        .name("rig")
        .listen("127.0.0.1:0")
        .config(config.clone())
        .message_handler(handler)
        .start()
        .unwrap();
    let controller = Node::builder().data_dir(folders[1].path()).name("controller").config(config).start().unwrap();
    rig.peers().allow(&controller.identity().public_key(), Grants::CONTROLLER, "bench").unwrap();
    controller.peers().allow(&rig.identity().public_key(), Grants::NONE, "bench").unwrap();
    let rig_id = rig.id().to_string();
    Pair { rig, controller, received, rig_id, _folders: folders }
}

impl Pair {
    fn connect(&self) {
        let address = self.rig.loopback_address().unwrap();
        self.controller.connect(&address, &self.rig.identity().public_key()).unwrap();
    }

    fn disconnect(&self) {
        self.controller.controller().disconnect(&self.rig_id).unwrap();
    }
}

fn connecting(c: &mut Criterion) {
    let pair = pair();
    c.bench_function("connect, handshake and proof", |b| {
        b.iter_custom(|rounds| {
            let mut total = Duration::ZERO;
            for _ in 0..rounds {
                let begin = Instant::now();
                pair.connect();
                total += begin.elapsed();
                pair.disconnect();
            }
            total
        });
    });
}

fn round_trip(c: &mut Criterion) {
    let pair = pair();
    pair.connect();
    let controller = pair.controller.controller();
    c.bench_function("ping round trip", |b| b.iter(|| controller.ping(&pair.rig_id).unwrap()));
}

fn throughput(c: &mut Criterion) {
    let pair = pair();
    pair.connect();
    let mut group = c.benchmark_group("one-way");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for (size, batch) in [(64usize, 4000u64), (256, 4000), (1024, 2000), (64 * 1024 - 512, 100)] {
        let mut rng = Rng::from_number(size as u64);
        let payload = Payload::Other {
            kind: MessageType::Other("blob".into()),
            raw: RawPayload::from_value(&"x".repeat(size)).unwrap(),
        };
        group.throughput(Throughput::Elements(batch));
        group.bench_function(format!("{size} B"), |b| {
            b.iter_custom(|rounds| {
                let begin = Instant::now();
                for _ in 0..rounds {
                    send_all(&pair, batch, &payload, &mut rng);
                }
                begin.elapsed()
            });
        });
    }
}

/// Sends `count` messages and waits until the other side has them all.
fn send_all(pair: &Pair, count: u64, payload: &Payload, rng: &mut Rng) {
    let transport = pair.controller.transport();
    let mut got = 0;
    for _ in 0..count {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let wall = Timestamp::from_unix(since.as_secs().try_into().unwrap(), since.subsec_nanos());
        let message = Message::new(Now { mono: Time::ZERO, wall }, rng, "", "", payload);
        while let Err(Error::Busy) = transport.post(&pair.rig_id, message.clone()) {
            got += pair.received.try_iter().count() as u64;
            std::thread::yield_now();
        }
    }
    while got < count {
        pair.received.recv_timeout(Duration::from_secs(30)).expect("a message was lost");
        got += 1;
    }
}

criterion_group!(benches, connecting, round_trip, throughput);
criterion_main!(benches);
