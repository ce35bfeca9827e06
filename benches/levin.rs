//! Levin: the response to a handshake with 250 peers, written, read as a tree, and read as structs.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rigmesh::wire::levin::{HandshakeResponse, NetworkId, NodeData, PeerAddress, PeerEntry, Section, SyncData};
use std::hint::black_box;
use std::net::Ipv4Addr;

fn response() -> HandshakeResponse {
    let peer = |i: u8| PeerEntry {
        address: PeerAddress::Ip((Ipv4Addr::new(10, 1, 2, i), 18_080).into()),
        id: u64::from(i) << 40,
        last_seen: 1_700_000_000,
        pruning_seed: 0,
        rpc_port: 18_089,
    };
    let network_id = NetworkId::MAINNET;
    HandshakeResponse {
        node: NodeData {
            network_id,
            my_port: 18_080,
            rpc_port: 0,
            rpc_credits_per_hash: 0,
            peer_id: 7,
            support_flags: 1,
        },
        sync: SyncData { current_height: 3_000_000, top_id: [7; 32], top_version: 16, ..SyncData::default() },
        peers: (0..250).map(peer).collect(),
    }
}

fn levin(c: &mut Criterion) {
    let response = response();
    let Ok(bytes) = response.encode() else { return };
    let Ok(section) = Section::decode(&bytes) else { return };
    let mut group = c.benchmark_group("levin handshake with 250 peers");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("encode storage", |b| b.iter(|| black_box(&section).encode()));
    group.bench_function("decode storage", |b| b.iter(|| Section::decode(black_box(&bytes))));
    group.bench_function("encode structs", |b| b.iter(|| black_box(&response).encode()));
    group.bench_function("decode structs", |b| b.iter(|| HandshakeResponse::decode(black_box(&bytes))));
    group.finish();
}

criterion_group!(benches, levin);
criterion_main!(benches);
