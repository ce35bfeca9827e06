//! What a bundle costs: sealing and opening STIM containers of 4 and 64 MiB, on one core.
//!
//! `cargo bench --bench stim`

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rigmesh::base::Rng;
use rigmesh::formats::tim::{DataNode, Limits, Tim, open, seal};
use std::hint::black_box;

const MIB: usize = 1 << 20;

fn stim(c: &mut Criterion) {
    let mut group = c.benchmark_group("stim");
    group.sample_size(10);
    for size in [4 * MIB, 64 * MIB] {
        let (mut rng, mut data) = (Rng::from_number(1), vec![0; size]);
        rng.fill(&mut data);
        let mut root = DataNode::new();
        root.add("xmrig", &data[..]).unwrap();
        let tim = Tim { config: b"{}".into(), root };
        group.throughput(Throughput::Bytes(size as u64));
        let name = format!("{} MiB", size / MIB);
        group.bench_function(BenchmarkId::new("seal", &name), |b| {
            b.iter(|| seal("password", black_box(&tim), &mut rng).unwrap().len());
        });
        let sealed = seal("password", &tim, &mut rng).unwrap();
        group.bench_function(BenchmarkId::new("open", &name), |b| {
            b.iter_batched_ref(
                || sealed.clone(),
                |copy| open("password", black_box(copy), Limits::default()).unwrap().root.len(),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, stim);
criterion_main!(benches);
