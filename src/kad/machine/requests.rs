//! What others ask of this node (dht.md §5). Whoever has not shown that it is where its datagrams say gets short answers, and
//! is asked back first when it wants something kept.

use super::sources::Source;
use super::{Machine, Patience, Purpose};
use crate::base::{Now, Time};
use crate::kad::{
    self, BODY_BYTES_MAX, Id, Message, NodeInfo, Proof, Received, SignedRecord, TxId, is_public_ip, rec_type,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Requesters that are asked back at once, and of them from one source.
const RETURN_PATHS_MAX: usize = 128;
/// Records that wait for their sender to be asked back, and of them from one source.
const HELD_MAX: usize = 256;
const HELD_PER_SOURCE_MAX: usize = 8;
/// IP addresses whose NAT echoes are counted.
const ECHOES_MAX: usize = 1024;
/// A datagram's bytes beside its body.
const ENVELOPE_BYTES: usize = 134;
/// What an answer without nodes and records has for a body, about.
const BARE_BYTES: usize = 28;
/// Nodes that stay in an answer whose records would fill it.
const NODES_MIN: usize = 2;

/// What waits for a return path to be shown, and what was counted by address.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    held: BTreeMap<SocketAddr, Vec<Held>>,
    paths: BTreeMap<SocketAddr, Time>,
    echoes: BTreeMap<IpAddr, (Time, u32)>,
}

/// A record that is kept once its sender has answered.
#[derive(Debug)]
struct Held {
    transaction: TxId,
    source: Source,
    id: Id,
    key: Id,
    record: SignedRecord,
}

impl Waiting {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.held.values().map(Vec::len).sum::<usize>() + self.paths.len()
    }

    /// Nobody answered there.
    pub(super) fn forget(&mut self, at: SocketAddr) {
        self.held.remove(&at);
        self.paths.remove(&at);
        if self.paths.is_empty() {
            // An empty map keeps room for several values until it is dropped. Nothing is held without a path.
            (self.held, self.paths) = (BTreeMap::new(), BTreeMap::new());
        }
    }

    /// Forgets what nobody will answer for any more.
    pub(super) fn expire(&mut self, now: Time) {
        self.paths.retain(|_, until| *until > now);
        self.held.retain(|at, _| self.paths.contains_key(at));
    }

    /// Keeps a record until its sender has answered; only while one is asked back, and never many.
    fn hold(&mut self, now: Time, at: SocketAddr, held: Held) {
        if self.paths.get(&at).is_none_or(|until| *until <= now) {
            return;
        }
        let all: usize = self.held.values().map(Vec::len).sum();
        let here = self.held.values().flatten().filter(|other| other.source == held.source).count();
        if all < HELD_MAX && here < HELD_PER_SOURCE_MAX {
            self.held.entry(at).or_default().push(held);
        }
    }
}

impl Machine {
    // Not inlined, as `handle_answer` is not.
    #[inline(never)]
    pub(super) fn handle_request(
        &mut self,
        now: Now,
        from: SocketAddr,
        source: Source,
        received: Received,
        bytes: usize,
    ) {
        let (sender, id) = (received.sender, Id::of_address(&received.sender));
        if id == self.id {
            return;
        }
        let proven = self.policy.trust_sources || self.health.is_proven(now.mono, from, &id);
        let transaction = received.header.tx_id;
        if proven {
            self.health.bind(id, from, Proof::Asked);
            self.table.handle_node(now.mono, NodeInfo::new(sender, from), Proof::Asked);
            self.note_contact(now, id);
        } else {
            self.ask_back(now, from, source, id);
        }
        let limit = match (proven, self.policy.unproven_factor) {
            (false, Some(factor)) => (bytes * factor).saturating_sub(ENVELOPE_BYTES).min(BODY_BYTES_MAX),
            _ => BODY_BYTES_MAX,
        };
        match received.message {
            Message::Ping { .. } => {
                self.transmit(from, &Message::Pong { address: self.address, observed: from }, transaction);
            }
            Message::FindNode { target } => {
                let nodes = self.nodes_for(now, &target, &id);
                let answer = self.nodes_answer(nodes, from, limit);
                self.transmit(from, &answer, transaction);
            }
            Message::FindValue { target, rec_type } => {
                let nodes = self.nodes_for(now, &target, &id);
                let [a, b, ..] = transaction.as_bytes();
                let turn = u64::from(u16::from_be_bytes([*a, *b]));
                let records: Vec<SignedRecord> =
                    self.store.get_page(now, &target, rec_type, turn).into_iter().cloned().collect();
                let answer = self.values_answer(nodes, records, rec_type, from, limit);
                self.transmit(from, &answer, transaction);
            }
            Message::Store { record, key } => {
                let key = key.filter(|key| *key != Id::ZERO).unwrap_or_else(|| record.default_key());
                if proven {
                    self.keep(now, from, key, *record, transaction);
                } else {
                    // Its sender waits two seconds for an answer, and needs less for a pong.
                    self.waiting.hold(now.mono, from, Held { transaction, source, id, key, record: *record });
                }
            }
            Message::NatProbeReq { token, claimed } => self.echo(now, from, claimed, token),
            Message::NatProbeEcho { token } => self.handle_echo(token),
            _ => {}
        }
    }

    /// Asks a requester whether it is where it says, unless that is under way.
    fn ask_back(&mut self, now: Now, from: SocketAddr, source: Source, id: Id) {
        if self.waiting.paths.len() >= RETURN_PATHS_MAX {
            self.waiting.expire(now.mono);
        }
        let under_way = self.waiting.paths.get(&from).is_some_and(|until| *until > now.mono);
        if under_way || self.waiting.paths.len() >= RETURN_PATHS_MAX || !self.probes.take(now.mono, source) {
            return;
        }
        let until = now.mono + self.policy.store_timeout;
        self.waiting.paths.insert(from, until);
        let patience = Patience { first: self.policy.rto_initial, attempts: 2, until };
        let ping = Message::Ping { address: self.address };
        self.call(now, from, Some(id), ping, patience, Purpose::ReturnPath);
    }

    /// A requester has answered from where it asked: what it wanted kept is kept now.
    pub(super) fn handle_return_path(&mut self, now: Now, from: SocketAddr, id: Id) {
        let held = self.waiting.held.remove(&from).unwrap_or_default();
        self.waiting.forget(from);
        for held in held {
            if held.id == id {
                self.keep(now, from, held.key, held.record, held.transaction);
            }
        }
    }

    fn keep(&mut self, now: Now, from: SocketAddr, key: Id, record: SignedRecord, transaction: TxId) {
        let stored = self.store.put(now, Some(key), record, kad::Source::Peer(from.ip())).is_ok();
        self.transmit(from, &Message::StoreResp { stored, already_had: false }, transaction);
    }

    /// Nodes to name, without the one that asks.
    fn nodes_for(&self, now: Now, target: &Id, asker: &Id) -> Vec<NodeInfo> {
        let mut nodes = self.table.answer(now.mono, target, self.state_of());
        if self.policy.check_ids {
            nodes.retain(|node| node.node_id != *asker);
        }
        nodes
    }

    fn nodes_answer(&self, mut nodes: Vec<NodeInfo>, from: SocketAddr, limit: usize) -> Message {
        let bare = Message::FindNodeResp { nodes: None, observed: from }.encode_body().len();
        nodes.truncate(fitting(&nodes, limit.saturating_sub(bare)).max(1));
        Message::FindNodeResp { nodes: listed(nodes), observed: from }
    }

    /// Records and nodes that fit. The Go node leaves out nodes first, then the oldest records, and sends the newest endpoint
    /// record twice. Ours begins with another record each time, so that whoever asks again sees them all.
    fn values_answer(
        &self,
        mut nodes: Vec<NodeInfo>,
        mut records: Vec<SignedRecord>,
        wanted: u8,
        from: SocketAddr,
        limit: usize,
    ) -> Message {
        let fair = self.policy.fair_eviction;
        let endpoint = matches!(wanted, 0 | rec_type::ENDPOINT).then(|| self.newest_endpoint(&records).cloned());
        let mut record = endpoint.flatten().filter(|_| !fair).map(Box::new);
        if fair && !records.is_empty() {
            let mut left = limit
                .saturating_sub(BARE_BYTES + nodes.iter().take(NODES_MIN).map(NodeInfo::encoded_len).sum::<usize>());
            let mut fits = |record: &SignedRecord| {
                let bytes = record.encode().len();
                let fits = bytes <= left;
                left = left.saturating_sub(if fits { bytes } else { 0 });
                fits
            };
            let first = records.first().cloned();
            records.retain(&mut fits);
            // One that is larger than all that is left goes alone.
            if records.is_empty() && limit == BODY_BYTES_MAX {
                records.extend(first);
            }
        }
        // Nodes are left out first, then records.
        let least = if fair { 0 } else { 1 };
        loop {
            let bare = Message::FindValueResp { nodes: None, record, observed: from, records };
            let bytes = bare.encode_body().len();
            // Taken apart again: nothing is copied to see whether it fits.
            let Message::FindValueResp { record: endpoint, records: held, .. } = bare else { return bare };
            (record, records) = (endpoint, held);
            let fit = fitting(&nodes, limit.saturating_sub(bytes));
            let fits = bytes <= limit && fit >= nodes.len().min(least);
            if fits || records.len() <= least {
                nodes.truncate(fit.max(least));
                return Message::FindValueResp { nodes: listed(nodes), record, observed: from, records };
            }
            nodes.truncate(least);
            if fair { drop(records.pop()) } else { drop(records.remove(0)) }
        }
    }

    /// Answers a NAT probe at the claimed address, if that is public and of the asker (dht.md §5).
    fn echo(&mut self, now: Now, from: SocketAddr, claimed: SocketAddr, token: [u8; 8]) {
        let (ip, claimed) = (from.ip(), SocketAddr::new(claimed.ip().to_canonical(), claimed.port()));
        if !is_public_ip(claimed.ip()) || claimed.ip() != ip || claimed.port() == 0 {
            return;
        }
        let window = self.policy.nat_window;
        if self.waiting.echoes.len() >= ECHOES_MAX {
            self.waiting.echoes.retain(|_, (since, _)| now.mono.since(*since) < window);
            if self.waiting.echoes.len() >= ECHOES_MAX {
                return;
            }
        }
        let (since, count) = self.waiting.echoes.entry(ip).or_insert((now.mono, 0));
        if now.mono.since(*since) >= window {
            (*since, *count) = (now.mono, 0);
        }
        if *count >= self.policy.nat_echoes_max {
            return;
        }
        *count += 1;
        let transaction = TxId::random(&mut self.rng);
        self.transmit(claimed, &Message::NatProbeEcho { token }, transaction);
    }
}

/// How many of these, from the first on, have room in so many bytes.
fn fitting(nodes: &[NodeInfo], room: usize) -> usize {
    // More than 23 have a longer head.
    let mut left = room.saturating_sub(usize::from(nodes.len() > 23));
    let fits = |node: &&NodeInfo| {
        let bytes = node.encoded_len();
        let fits = bytes <= left;
        left = left.saturating_sub(bytes);
        fits
    };
    nodes.iter().take_while(fits).count()
}

/// A list of nodes as answers have it: none for nobody.
fn listed(nodes: Vec<NodeInfo>) -> Option<Vec<NodeInfo>> {
    (!nodes.is_empty()).then_some(nodes)
}
