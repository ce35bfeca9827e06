//! The registry at 1,000 and 10,000 peers: insert, select, select after a change.
#![allow(missing_docs)]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rigmesh::base::{Now, Rng, Time, Timestamp};
use rigmesh::peers::{Peer, PeerRegistry};
use std::hint::black_box;

const NOW: Now = Now { mono: Time::ZERO, wall: Timestamp::ZERO };

fn peers(count: usize) -> Vec<Peer> {
    let mut rng = Rng::from_number(1);
    (0..count)
        .map(|_| Peer {
            id: format!("{:016x}{:016x}", rng.number(), rng.number()),
            name: "rig".to_owned(),
            address: "10.0.0.1:9091".to_owned(),
            ping_ms: 1.0 + rng.below(300_000) as f64 / 1000.0,
            hops: i64::try_from(rng.below(20)).unwrap_or(0),
            geo_km: 1.0 + rng.below(20_000) as f64,
            score: 1.0 + rng.below(99) as f64,
            ..Peer::default()
        })
        .collect()
}

fn filled(peers: &[Peer]) -> PeerRegistry {
    let mut registry = PeerRegistry::new();
    for peer in peers {
        let _ = registry.add_peer(NOW, peer.clone());
    }
    registry
}

fn registry(c: &mut Criterion) {
    let mut group = c.benchmark_group("registry");
    for count in [1_000, 10_000] {
        let peers = peers(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(BenchmarkId::new("insert all", count), &peers, |b, peers| {
            b.iter_batched(|| peers.clone(), |peers| filled(black_box(&peers)), BatchSize::LargeInput);
        });
        group.throughput(Throughput::Elements(1));
        let mut registry = filled(&peers);
        group.bench_function(BenchmarkId::new("select best", count), |b| {
            b.iter(|| black_box(registry.select_optimal_peer()).is_some());
        });
        group.bench_function(BenchmarkId::new("select 10", count), |b| {
            b.iter(|| black_box(registry.select_nearest_peers(10)).len());
        });
        let id = peers.first().map(|p| p.id.clone()).unwrap_or_default();
        let mut up = false;
        group.bench_function(BenchmarkId::new("change a score and select", count), |b| {
            b.iter(|| {
                up = !up;
                if up {
                    registry.record_success(NOW, &id)
                } else {
                    registry.record_failure(&id)
                };
                black_box(registry.select_optimal_peer()).is_some()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = registry
}
criterion_main!(benches);
