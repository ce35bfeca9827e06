//! What a message costs before it meets a socket: sealing, opening, JSON, the shared secret; and a whole handshake.
//!
//! `cargo bench --bench crypto`

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rigmesh::Cores;
use rigmesh::base::{Alone, Crew, Now, Rng, Time, Timestamp};
use rigmesh::formats::sigil;
use rigmesh::formats::smsg::{LinkKey, open_link, seal_v1};
use rigmesh::identity::{Identity, Role, SecretKey, sign_challenge};
use rigmesh::message::{Logs, Message, Payload};
use rigmesh::session::secure::{CipherHalf, FrameOpener, FrameSealer, Kind, Statement};
use rigmesh::session::{Challenges, Expect, Initiator, Known, Responded, Security, respond};
use std::hint::black_box;

/// A message whose text is about `size` bytes: log lines above the bare envelope.
fn message(size: usize) -> Message {
    let now = Now { mono: Time::ZERO, wall: Timestamp::from_unix(1_795_227_036, 123_456_789) };
    let mut rng = Rng::from_number(1);
    let line = "speed 10s/60s/15m 8123.4 8120.1 n/a H/s max 8200.0 H/s";
    let lines = vec![line.to_owned(); size / (line.len() + 3)];
    let logs = Logs { miner_name: "xmrig-1".to_owned(), lines: Some(lines), has_more: false };
    let (from, to) = ("8741bb4874cb9bd3cc485abad52053dc", "a5b261f84fa392c36b101b02cb34bf72");
    Message::new(now, &mut rng, from, to, &Payload::Logs(logs))
}

fn sealing(c: &mut Criterion) {
    let key = LinkKey::from_secret(&[7; 32]);
    for (name, text) in [
        ("64 B", "x".repeat(64)),
        ("1 KiB", message(600).encode()),
        ("64 KiB", message(64 << 10).encode()),
        ("64 KiB plain", "x".repeat(64 << 10)),
    ] {
        let mut group = c.benchmark_group("smsg");
        group.throughput(Throughput::Bytes(text.len() as u64));
        let (mut out, mut rng) = (Vec::new(), Rng::from_number(1));
        group.bench_function(BenchmarkId::new("seal", name), |b| {
            b.iter(|| {
                out.clear();
                seal_v1(&key, rng.array(), 1_795_227_036, black_box(&text), &mut out).unwrap();
                out.len()
            });
        });
        out.clear();
        seal_v1(&key, [1; 24], 1_795_227_036, &text, &mut out).unwrap();
        let (mut frame, mut body) = (out.clone(), Vec::new());
        group.bench_function(BenchmarkId::new("open (and copy the frame)", name), |b| {
            b.iter(|| {
                frame.copy_from_slice(&out);
                open_link(&key, black_box(&mut frame), &mut body).unwrap();
                body.len()
            });
        });
        group.finish();
    }
}

fn messages(c: &mut Criterion) {
    for size in [0, 600, 64 << 10] {
        let (message, mut out) = (message(size), Vec::new());
        let text = message.encode();
        let mut group = c.benchmark_group("message");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("encode", text.len()), |b| {
            b.iter(|| {
                out.clear();
                black_box(&message).encode_into(&mut out);
                out.len()
            });
        });
        group.bench_function(BenchmarkId::new("decode", text.len()), |b| {
            b.iter(|| Message::decode(black_box(text.as_bytes())).unwrap());
        });
        group.bench_function(BenchmarkId::new("decode and read the payload", text.len()), |b| {
            b.iter(|| Message::decode(black_box(text.as_bytes())).unwrap().payload().unwrap());
        });
        group.finish();
    }
}

fn secrets(c: &mut Criterion) {
    let mut rng = Rng::from_number(1);
    let (own, peer) = (SecretKey::generate(&mut rng), SecretKey::generate(&mut rng).public_key());
    c.bench_function("shared secret", |b| b.iter(|| own.shared_secret(black_box(&peer)).unwrap()));
    let secret = own.shared_secret(&peer).unwrap();
    c.bench_function("challenge response", |b| b.iter(|| sign_challenge(black_box(&[1; 32]), &secret)));
    c.bench_function("new key pair", |b| {
        b.iter_batched(|| rng.fork(), |mut rng| SecretKey::generate(&mut rng).public_key(), BatchSize::SmallInput);
    });
}

/// A secure session from nothing to both sides proven: both ends' work, one thread, no sockets.
fn handshakes(c: &mut Criterion) {
    let now = Now { mono: Time::ZERO, wall: Timestamp::from_unix(1_795_227_036, 0) };
    let mut rng = Rng::from_number(1);
    let mut side = |name: &str, role| {
        let identity = Identity::generate(name, role, now.wall, &mut rng).unwrap();
        let caps = ["chunk1", "ueps1", "gossip1"].map(str::to_owned).to_vec();
        let statement = Box::new(Statement::new(&identity, caps, 1 << 20));
        (identity, Security::On { statement, required: true }, Challenges::new())
    };
    let (owner, owner_security, mut owner_challenges) = side("owner", Role::Controller);
    let (rig, rig_security, mut rig_challenges) = side("rig", Role::Worker);
    let expect = Expect::Key(rig.public_key());
    let mut group = c.benchmark_group("secure session");
    group.throughput(Throughput::Elements(1));
    group.bench_function("handshake, both ends", |b| {
        b.iter(|| {
            owner_challenges = Challenges::new(); // as after ten seconds: none is out
            let (initiator, hello) =
                Initiator::start(&owner, expect, &owner_security, None, now, &mut rng, &mut owner_challenges).unwrap();
            let admit = |_: &_, _| Ok(Known::default());
            let (identity, security) = (&rig, &rig_security);
            let Responded::Await { ack, half_open } =
                respond(identity, security, &hello, admit, now, &mut rng, &mut rig_challenges)
            else {
                panic!("refused")
            };
            let dialled = initiator.handle_ack(&owner, &owner_security, &ack, |_| Known::default()).unwrap();
            half_open.handle_proof(&dialled.proof.unwrap()).unwrap().0
        });
    });
    group.finish();
    let body = message(100).encode().into_bytes();
    let mut group = c.benchmark_group("secure session");
    group.throughput(Throughput::Elements(1));
    let half = || CipherHalf::new(&[5; 32]);
    let (mut sealer, mut opener) = (FrameSealer::new(half(), Time::ZERO), FrameOpener::new(half(), 1 << 20));
    let mut frame = Vec::new();
    group.bench_function(format!("seal and open a frame of {} B", body.len()), |b| {
        b.iter(|| {
            frame.clear();
            let done = sealer.seal(Time::ZERO, Kind::Control, black_box(&body), 0, &mut frame).unwrap();
            (opener.handle_frame(Time::ZERO, &mut frame).unwrap().is_some(), done)
        });
    });
    group.finish();
}

/// Files: what a bundle or a STIM costs, on one core and on two.
fn files(c: &mut Criterion) {
    let (mut nonce, mut rng) = ([0; 24], Rng::from_number(1));
    let two = Cores::new(2);
    let crews: [(&str, &dyn Crew); 2] = [("one core", &Alone), ("two cores", &two)];
    for mib in [4, 64] {
        let mut data = vec![7; mib << 20];
        let mut group = c.benchmark_group("sigil");
        group.throughput(Throughput::Bytes(data.len() as u64)).sample_size(10);
        for (name, crew) in crews {
            group.bench_function(BenchmarkId::new(format!("obfuscate, {name}"), format!("{mib} MiB")), |b| {
                b.iter(|| sigil::obfuscate_with(crew, &nonce, black_box(&mut data)));
            });
            group.bench_function(BenchmarkId::new(format!("seal, {name}"), format!("{mib} MiB")), |b| {
                b.iter(|| {
                    rng.fill(&mut nonce);
                    sigil::seal_in_place_with(crew, &[7; 32], &nonce, black_box(&mut data)).unwrap()
                });
            });
            let sealed = sigil::seal_with(crew, &[7; 32], &nonce, &data).unwrap();
            let mut copy = sealed.clone();
            group.bench_function(BenchmarkId::new(format!("open (and copy), {name}"), format!("{mib} MiB")), |b| {
                b.iter(|| {
                    copy.copy_from_slice(&sealed);
                    sigil::open_in_place_with(crew, &[7; 32], black_box(&mut copy)).unwrap().len()
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, sealing, files, messages, secrets, handshakes);
criterion_main!(benches);
