//! The DHT node as one machine: datagrams and orders in, datagrams and results out. It never sees a socket, a file or a
//! clock.
//!
//! This file routes; the parts are [`calls`] (requests under way), [`sources`] (limits of requests), [`lookup`]
//! with [`run`] (iterative queries), [`requests`] (what others ask), [`orders`] (what the owner asks), [`replicate`]
//! (copies of published records) and [`upkeep`] (what is done every few seconds).
//!
//! A datagram's way: it is read; an answer must fit a request under way, a request must fit its source's allowance; only
//! then is the signature looked at. Nothing waits: a node that must be asked first is asked, and the rest goes on.

mod calls;
mod lookup;
mod orders;
mod replicate;
mod requests;
mod run;
mod sources;
mod upkeep;

pub use orders::{Done, Endpoint, NO_ENDPOINT, NO_MATCHING_RECORDS, PeerIdentity};

use super::subnet::FewOfEach;
use super::{
    Authority, Envelope, Health, Id, Message, NodeInfo, PeerHealthState, Policy, Proof, Received, SignedRecord, Store,
    Table, TxId, encode_datagram, is_public_ip,
};
use crate::base::{Now, Result, Rng, Time};
use crate::identity::{Address, SignKey};
use calls::{Call, Calls, Due, Patience};
use orders::Orders;
use replicate::Replicas;
use requests::Waiting;
use run::Run;
use sources::{Allowance, Buckets, Source};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Sources whose allowance is remembered.
const SOURCES_MAX: usize = 8192;
/// Outputs for which there is room at once. An idle machine keeps none.
const OUTPUTS: usize = 16;
/// All strangers together may ask for this many times what one source may.
const STRANGERS: u32 = 20;
/// What the machine wants done.
#[derive(Debug)]
pub enum Output {
    /// Send this datagram.
    Send {
        /// Where.
        to: SocketAddr,
        /// At most [`super::DATAGRAM_BYTES_MAX`] bytes.
        datagram: Vec<u8>,
    },
    /// An order is done.
    Done {
        /// Its number.
        order: u64,
        /// What came of it.
        result: Result<Done>,
    },
    /// A peer that we asked says where it sees us.
    Observed {
        /// Who.
        reporter: Id,
        /// Where we come from, as it sees it.
        at: SocketAddr,
    },
}

/// Counters (dht-api.md, `DebugStats`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams whose signature was right.
    pub received: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Requests of ours that were answered.
    pub answered: u64,
    /// Datagrams that were none, or not signed.
    pub malformed: u64,
    /// Requests over their source's allowance, dropped unread.
    pub limited: u64,
    /// Answers to nothing that was asked, dropped unread.
    pub unasked: u64,
    /// Lookups that have ended,
    pub lookups: u64,
    /// and how many nodes led to the nearest one that answered, that one included, of all of them together.
    pub hops: u64,
}

/// Why a request was sent.
#[derive(Clone, Debug)]
enum Purpose {
    /// One of the owner's.
    Order(u64),
    /// A lookup's next step, and whether it is a further page of the same node.
    Lookup { run: u64, page: bool },
    /// The table wants to know whether the node is alive.
    Probe,
    /// Whether a requester is where it says.
    ReturnPath,
    /// Whether somebody is back who fell silent.
    Feeler,
    /// A copy of a published record.
    Copy(u64),
    /// Whether a node that took no copy has it already.
    Confirm(u64),
    /// Whether a copy's holder is alive.
    Replica(u64),
}

/// One DHT node.
#[derive(Debug)]
pub struct Machine {
    policy: Arc<Policy>,
    key: SignKey,
    address: Address,
    id: Id,
    rng: Rng,
    table: Table,
    health: Health,
    store: Store,
    calls: Calls<Purpose>,
    // In boxes: a map has room for several values as soon as it has one.
    runs: BTreeMap<u64, Box<Run>>,
    next_run: u64,
    orders: Orders,
    replicas: Replicas,
    waiting: Waiting,
    requests: Buckets,
    strangers: Buckets,
    probes: Buckets,
    contacts: u64,
    /// Nodes that fell silent, and seeds: asked now and then, so that a network in parts becomes one again.
    lost: VecDeque<SocketAddr>,
    /// When this node looked around for the last time because a lost one came back.
    healed_at: Option<Time>,
    external_ip: Option<IpAddr>,
    local_port: u16,
    passive: bool,
    upkeep_at: Time,
    counters: Counters,
    outputs: VecDeque<Output>,
}

impl Machine {
    /// A node with this key; it knows nobody.
    pub fn new(key: SignKey, policy: Policy, authority: Authority, now: Now, mut rng: Rng) -> Machine {
        let policy = Arc::new(policy);
        let address = Address::of_ed25519(&key.public());
        let id = Id::of_address(&address);
        let allowance = Allowance { burst: policy.source_burst, per_s: policy.source_rate_per_s };
        // Of everybody together who has never answered from where it asks.
        let many = |n: u32| n.saturating_mul(STRANGERS);
        let all = Allowance { burst: many(allowance.burst), per_s: many(allowance.per_s) };
        let few = Allowance { burst: 3, per_s: 1 };
        // Nodes that do not start together shall not do their upkeep together.
        let first = policy.maintenance_every * u32::try_from(rng.below(1000)).unwrap_or(0) / 1000;
        Machine {
            table: Table::new(id, policy.clone()),
            health: Health::new(policy.clone()),
            store: Store::new(id, policy.clone(), authority),
            calls: Calls::default(),
            runs: BTreeMap::new(),
            next_run: 0,
            orders: Orders::default(),
            replicas: Replicas::default(),
            waiting: Waiting::default(),
            requests: Buckets::new(allowance, SOURCES_MAX),
            strangers: Buckets::new(all, 1),
            probes: Buckets::new(few, SOURCES_MAX),
            contacts: 0,
            lost: VecDeque::new(),
            healed_at: None,
            external_ip: None,
            local_port: 0,
            passive: false,
            upkeep_at: now.mono + first,
            counters: Counters::default(),
            outputs: VecDeque::new(),
            policy,
            key,
            address,
            id,
            rng,
        }
    }

    /// This node's address.
    pub fn address(&self) -> Address {
        self.address
    }

    /// This node's id.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Its routing table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The records it holds.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What it knows of peers' health.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Nodes that were in direct contact since the start.
    pub fn contacts(&self) -> u64 {
        self.contacts
    }

    /// The next thing to be done outside.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            self.outputs = VecDeque::new();
        }
        output
    }

    fn put(&mut self, output: Output) {
        if self.outputs.is_empty() {
            self.outputs.reserve_exact(OUTPUTS);
        }
        self.outputs.push_back(output);
    }

    /// When [`Machine::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        let runs = self.runs.values().map(|run| run.until).min();
        let store = self.store.poll_timeout();
        let echoes = self.echo_timeout();
        [self.calls.poll_timeout(), runs, store, echoes, self.replicas.poll_timeout(), Some(self.upkeep_at)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whatever is due.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(due) = self.calls.pop_due(now.mono, &mut self.rng) {
            match due {
                Due::Again { key, to, request, transaction } => self.handle_slow(now, key, to, &request, transaction),
                Due::Failed(call) => self.handle_failure(now, call),
            }
        }
        self.expire_runs(now);
        self.expire_echoes(now.mono);
        self.drive_replicas(now);
        if self.upkeep_at <= now.mono {
            self.upkeep_at = now.mono + self.policy.maintenance_every;
            self.keep_up(now);
        }
        self.store.handle_timeout(now);
        self.ask_for_table(now);
    }

    /// A datagram came.
    pub fn handle_datagram(&mut self, now: Now, from: SocketAddr, bytes: &[u8]) {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let Ok(envelope) = Envelope::decode(bytes) else {
            self.counters.malformed += 1;
            return;
        };
        let (message, transaction) = (envelope.message(), envelope.header().tx_id);
        if is_answer(message) {
            let Some(call) = self.calls.matching(&transaction, message.kind(), from) else {
                self.counters.unasked += 1;
                return;
            };
            return match envelope.verify(&self.policy.rules) {
                Ok(received) => self.handle_answer(now, from, call, received),
                Err(_) => self.counters.malformed += 1,
            };
        }
        let source = Source::of(from);
        let stranger = !self.health.is_known(now.mono, from);
        if !self.requests.take(now.mono, source) || stranger && !self.strangers.take(now.mono, Source::ANY) {
            self.counters.limited += 1;
            return;
        }
        match envelope.verify(&self.policy.rules) {
            Ok(received) => {
                self.counters.received += 1;
                self.handle_request(now, from, source, received, bytes.len());
                self.ask_for_table(now);
            }
            Err(_) => self.counters.malformed += 1,
        }
    }

    /// An answer to a request of ours, from where it went, rightly signed.
    // Not inlined: what it has on the stack would lie below the verification of signatures, which goes deepest.
    #[inline(never)]
    fn handle_answer(&mut self, now: Now, from: SocketAddr, key: u64, received: Received) {
        self.counters.received += 1;
        let id = Id::of_address(&received.sender);
        let Some(call) = self.calls.finish(key) else { return };
        if call.expect.is_some_and(|expected| expected != id) {
            // Somebody else lives there now. Who was asked has not answered, and who answered was not asked.
            return self.handle_failure(now, call);
        }
        self.counters.answered += 1;
        let round_trip = (call.sent == 1).then(|| now.mono.since(call.begun));
        self.health.handle_answer(now.mono, id, from, round_trip);
        self.table.handle_node(now.mono, NodeInfo::new(received.sender, from), Proof::Answered);
        self.note_contact(now, id);
        if let Message::Pong { observed, .. }
        | Message::FindNodeResp { observed, .. }
        | Message::FindValueResp { observed, .. } = &received.message
        {
            self.put(Output::Observed { reporter: id, at: *observed });
        }
        match call.purpose.clone() {
            Purpose::Order(order) => self.finish_order(now, order, &call, id, received),
            Purpose::Lookup { run, page } => self.handle_step(now, run, page, from, received),
            Purpose::Probe => self.table.handle_probe(now.mono, &id, true),
            Purpose::ReturnPath => self.handle_return_path(now, from, id),
            Purpose::Feeler => self.handle_back(now),
            Purpose::Copy(set) => self.handle_copied(now, set, id, from, &received.message),
            Purpose::Confirm(set) => self.handle_confirmed(now, set, id, &received.message),
            Purpose::Replica(set) => self.replicas.handle_alive(now.mono, set, &id, true, &self.policy),
        }
        self.ask_for_table(now);
    }

    /// A request takes longer than it usually does: it is sent again.
    fn handle_slow(&mut self, now: Now, key: u64, to: SocketAddr, request: &Message, transaction: TxId) {
        let purpose = self.calls.purpose(key).cloned();
        self.transmit(to, request, transaction);
        if let (Some(Purpose::Lookup { run, .. }), Some(id)) = (purpose, self.calls.expected(key)) {
            self.handle_slow_step(now, run, &id);
        }
    }

    /// A request was not answered at all.
    fn handle_failure(&mut self, now: Now, call: Call<Purpose>) {
        let id = call.expect.or_else(|| self.health.id_at(&call.to));
        // Who only claimed to be somewhere may never have been there.
        if let Some(id) = id.filter(|_| !matches!(call.purpose, Purpose::ReturnPath | Purpose::Feeler)) {
            self.health.handle_failure(now.mono, id);
            let known = self.table.entry(&id).is_some_and(super::Entry::is_verified);
            match call.purpose {
                Purpose::Probe => {
                    self.health.handle_probe_failure(now.mono, &id);
                    self.table.handle_probe(now.mono, &id, false);
                }
                _ if !self.policy.strangers_evict => self.table.handle_probe(now.mono, &id, false),
                _ => {}
            }
            if known && self.table.entry(&id).is_none() {
                self.note_lost(call.to);
            }
        }
        match (call.purpose, id) {
            (Purpose::Order(order), _) => self.fail_order(now, order, call.to),
            (Purpose::Lookup { run, page }, Some(id)) => self.handle_failed_step(now, run, page, &id),
            (Purpose::Copy(set) | Purpose::Confirm(set), Some(id)) => self.handle_copy_failed(now, set, &id),
            (Purpose::Replica(set), Some(id)) => self.replicas.handle_alive(now.mono, set, &id, false, &self.policy),
            (Purpose::ReturnPath, _) => self.waiting.forget(call.to),
            _ => {}
        }
    }

    /// Sends a request and notes it. False when too many are under way.
    fn call(
        &mut self,
        now: Now,
        to: SocketAddr,
        expect: Option<Id>,
        request: Message,
        patience: Patience,
        purpose: Purpose,
    ) -> bool {
        if self.calls.is_full() {
            return false;
        }
        let transaction = self.calls.start(now.mono, to, expect, request.clone(), patience, purpose, &mut self.rng);
        self.transmit(to, &request, transaction);
        true
    }

    fn transmit(&mut self, to: SocketAddr, message: &Message, transaction: TxId) {
        // What is too long for a datagram is not sent; everything that may be was checked before.
        if let Ok(datagram) = encode_datagram(&super::Header::new(transaction), message, &self.key) {
            self.counters.sent += 1;
            self.put(Output::Send { to, datagram });
        }
    }

    /// How long to wait for a node before it is asked again, within a budget.
    fn patience(&self, now: Now, id: Option<&Id>, budget: Duration) -> Patience {
        let first = id.map_or(self.policy.rto_initial, |id| self.health.rto(id));
        Patience { first, attempts: self.policy.rpc_attempts, until: now.mono + budget }
    }

    /// Sends what the table wants to know about its nodes.
    fn ask_for_table(&mut self, now: Now) {
        while let Some(id) = self.table.poll_probe() {
            self.probe(now, id);
        }
    }

    fn probe(&mut self, now: Now, id: Id) {
        let known = self.table.entry(&id).map(|entry| entry.info.socket_addr());
        let waits = || self.table.pending().find(|(_, e)| e.info.node_id == id).map(|(_, e)| e.info.socket_addr());
        let Some(to) = self.health.addr(&id).or(known).or_else(waits) else {
            return self.table.handle_probe(now.mono, &id, false);
        };
        let patience = self.patience(now, Some(&id), self.policy.probe_timeout);
        let ping = Message::Ping { address: self.address };
        if !self.call(now, to, Some(id), ping, patience, Purpose::Probe) {
            self.table.handle_probe(now.mono, &id, true);
        }
    }

    /// Nodes that an answer names, as far as they can be: bound to their address, reachable from where they were named,
    /// not too many of one neighbourhood, not ourselves.
    fn plausible(&self, from: SocketAddr, nodes: Option<Vec<NodeInfo>>) -> Vec<NodeInfo> {
        let mut few = FewOfEach::new(self.policy.subnets.map(|limits| limits.per_answer));
        let fits = |node: &NodeInfo| {
            let at = node.socket_addr();
            let reachable = is_public_ip(at.ip()) || !is_public_ip(from.ip());
            let hairpin = self.external_ip == Some(at.ip()) && at.port() != self.local_port;
            let dialable = at.port() != 0 && !at.ip().is_unspecified() && !at.ip().is_multicast();
            node.is_bound() && node.node_id != self.id && dialable && reachable && !hairpin
        };
        let nodes = nodes.unwrap_or_default().into_iter().take(self.policy.k.max(20));
        nodes.filter(|node| fits(node) && few.take(node.ip)).collect()
    }

    /// Records of an answer that may be believed at `key`.
    fn believable(
        &self,
        now: Now,
        key: &Id,
        rec_type: u8,
        records: Vec<SignedRecord>,
        known: &[SignedRecord],
    ) -> Vec<SignedRecord> {
        let rules = &self.policy.rules;
        let good = |record: &SignedRecord| {
            (rec_type == 0 || record.rec_type == rec_type)
                && (known.contains(record)
                    || self.store.authority().check(key, record, now.wall, &self.policy).is_ok()
                        && record.verify(now.wall, rules).is_ok())
        };
        records.into_iter().filter(good).collect()
    }

    fn note_contact(&mut self, now: Now, id: Id) {
        self.contacts += u64::from(self.health.note_contact(id, super::record::unix_seconds(now.wall)));
    }

    fn state_of(&self) -> impl Fn(&Id) -> PeerHealthState + '_ {
        |id| self.health.state(id)
    }

    fn done(&mut self, order: u64, result: Result<Done>) {
        self.put(Output::Done { order, result });
    }
}

fn is_answer(message: &Message) -> bool {
    matches!(
        message,
        Message::Pong { .. } | Message::FindNodeResp { .. } | Message::FindValueResp { .. } | Message::StoreResp { .. }
    )
}

#[cfg(test)]
mod tests;
