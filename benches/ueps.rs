//! UEPS packets: written into a buffer, read and verified, at 0 B, 256 B and 8 KiB of payload.
//!
//! `cargo bench --bench ueps`

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rigmesh::wire::ueps::{self, Deframer, Header, Key, Reading, decode, intent};
use std::hint::black_box;

fn packets(c: &mut Criterion) {
    let (key, header) = (Key::for_link(&[7; 32]), Header::new(intent::COMPUTE));
    let mut group = c.benchmark_group("ueps");
    for (name, bytes) in [("0 B", 0), ("256 B", 256), ("8 KiB", 8 << 10)] {
        let (payload, mut out) = (vec![0xAB; bytes], vec![0; ueps::encoded_len(bytes).unwrap()]);
        group.throughput(Throughput::Bytes(out.len() as u64));
        group.bench_function(BenchmarkId::new("build", name), |b| {
            b.iter(|| ueps::encode(black_box(&header), black_box(&payload), &key, &mut out).unwrap());
        });
        for reading in [Reading::Strict, Reading::Lenient] {
            group.bench_function(BenchmarkId::new(format!("read {reading:?}"), name), |b| {
                b.iter(|| {
                    let (frame, _) = decode(black_box(&out), reading).unwrap();
                    frame.verify(&key).unwrap().payload().len()
                });
            });
        }
        let mut deframer = Deframer::new(Reading::Strict);
        group.bench_function(BenchmarkId::new("read in two pieces of a stream", name), |b| {
            b.iter(|| {
                let (mut first, mut second) = black_box(&out[..]).split_at(40);
                assert!(deframer.handle_bytes(&mut first).unwrap().is_none());
                let frame = deframer.handle_bytes(&mut second).unwrap().unwrap();
                frame.verify(&key).unwrap().payload().len()
            });
        });
        group.bench_function(BenchmarkId::new("round trip", name), |b| {
            b.iter(|| {
                ueps::encode(black_box(&header), black_box(&payload), &key, &mut out).unwrap();
                decode(black_box(&out), Reading::Strict).unwrap().0.verify(&key).unwrap().payload().len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, packets);
criterion_main!(benches);
