//! What the owner of the node asks of it. Every order has a number of the owner's and ends with one [`Output::Done`].

use super::calls::Call;
use super::lookup::{Goal, Lookup};
use super::run::After;
use super::{Machine, Output, Purpose};
use crate::base::{Error, Now, Result, Time};
use crate::identity::Address;
use crate::kad::{EndpointPayload, Id, Message, NodeInfo, Proof, Received, SignedRecord, rec_type};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The text of the [`Error::NotFound`] when an address has no endpoint record.
pub const NO_ENDPOINT: &str = "dht: no endpoint record";
/// The text of the [`Error::NotFound`] when nothing is found at a key.
pub const NO_MATCHING_RECORDS: &str = "dht: no matching records";

/// What an order gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// A peer answered a PING.
    Pong {
        /// Who, and where it sees us.
        peer: PeerIdentity,
        /// How long it took.
        round_trip: Duration,
    },
    /// Nodes, nearest first; of one peer's answer as it sent them.
    Nodes(Vec<NodeInfo>),
    /// One peer's answer to FIND_VALUE: nothing in it is verified.
    Values {
        /// Records.
        records: Vec<SignedRecord>,
        /// Nodes.
        nodes: Vec<NodeInfo>,
    },
    /// Whether one peer kept a record.
    Stored(bool),
    /// Records, verified and allowed where they were.
    Records(Vec<SignedRecord>),
    /// The newest endpoint record.
    Endpoint(Box<Endpoint>),
    /// This node has joined: peers in its table.
    Joined(usize),
    /// Whether the NAT echo came.
    Echo(bool),
    /// Nodes that have a copy of a published record.
    Published(usize),
}

/// Who answered a PING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Its address.
    pub address: Address,
    /// Its id.
    pub node_id: Id,
    /// Where it sees us.
    pub observed: SocketAddr,
}

/// Where an address is reached, as its newest record says.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Whose.
    pub address: Address,
    /// What the record says.
    pub payload: EndpointPayload,
    /// When it was made, Unix seconds.
    pub timestamp: u64,
    /// Its number.
    pub seq: u64,
    /// Its lifetime, seconds.
    pub ttl_s: u32,
    /// The whole record.
    pub record: SignedRecord,
}

/// Orders under way that are more than one request.
#[derive(Debug, Default)]
pub(super) struct Orders {
    joins: BTreeMap<u64, Join>,
    echoes: BTreeMap<[u8; 8], (u64, Time)>,
    lookups: BTreeMap<u64, Want>,
}

#[derive(Debug)]
struct Join {
    /// Seeds that may still answer.
    left: usize,
    answered: usize,
    looking: bool,
}

#[derive(Clone, Debug)]
enum Want {
    Nodes,
    /// Records, those of this node's own store among them.
    Records(Vec<SignedRecord>),
    Endpoint,
}

impl Machine {
    /// Asks who is there.
    pub fn ping(&mut self, now: Now, order: u64, to: SocketAddr, budget: Duration) {
        let ping = Message::Ping { address: self.address };
        self.order(now, order, to, ping, budget);
    }

    /// One FIND_NODE to one peer; its answer is given as it comes and changes nothing here.
    pub fn find_node_at(&mut self, now: Now, order: u64, to: SocketAddr, target: Id, budget: Duration) {
        self.order(now, order, to, Message::FindNode { target }, budget);
    }

    /// One FIND_VALUE to one peer; its answer is given as it comes.
    pub fn find_value_at(&mut self, now: Now, order: u64, to: SocketAddr, key: Id, rec_type: u8, budget: Duration) {
        self.order(now, order, to, Message::FindValue { target: key, rec_type }, budget);
    }

    /// One STORE to one peer; the zero key stands for the record's own.
    pub fn store_at(&mut self, now: Now, order: u64, to: SocketAddr, key: Id, record: SignedRecord, budget: Duration) {
        let key = Some(key).filter(|key| *key != Id::ZERO);
        self.order(now, order, to, Message::Store { record: Box::new(record), key }, budget);
    }

    fn order(&mut self, now: Now, order: u64, to: SocketAddr, request: Message, budget: Duration) {
        let patience = self.owner_patience(now, to, budget);
        if !self.call(now, to, None, request, patience, Purpose::Order(order)) {
            self.done(order, Err(Error::Busy));
        }
    }

    pub(super) fn finish_order(&mut self, now: Now, order: u64, call: &Call<Purpose>, id: Id, received: Received) {
        let result = match received.message {
            Message::Pong { .. } if self.orders.joins.contains_key(&order) => {
                return self.handle_seed(now, order, true);
            }
            Message::Pong { observed, .. } => {
                let peer = PeerIdentity { address: received.sender, node_id: id, observed };
                Done::Pong { peer, round_trip: now.mono.since(call.begun) }
            }
            Message::FindNodeResp { nodes, .. } => Done::Nodes(nodes.unwrap_or_default()),
            Message::FindValueResp { nodes, record, records, .. } => {
                let records = if records.is_empty() { record.map(|r| *r).into_iter().collect() } else { records };
                Done::Values { records, nodes: nodes.unwrap_or_default() }
            }
            Message::StoreResp { stored, .. } => Done::Stored(stored),
            _ => return,
        };
        self.done(order, Ok(result));
    }

    pub(super) fn fail_order(&mut self, now: Now, order: u64, to: SocketAddr) {
        if self.orders.joins.contains_key(&order) {
            return self.handle_seed(now, order, false);
        }
        self.done(order, Err(Error::TimedOut(format!("no answer from {to}"))));
    }

    /// The nodes nearest to a point.
    pub fn find_node(&mut self, now: Now, order: u64, target: Id, budget: Duration) {
        self.look_up(now, order, target, Goal::Nodes, Want::Nodes, budget);
    }

    /// Records at a key: those held here at once, else those of the first answers.
    pub fn find_records(&mut self, now: Now, order: u64, key: Id, rec_type: u8, budget: Duration) {
        let own = self.own_records(now, &key, rec_type);
        if !own.is_empty() {
            return self.done(order, Ok(Done::Records(own)));
        }
        let goal = self.records_goal(rec_type, false);
        self.look_up(now, order, key, goal, Want::Records(Vec::new()), budget);
    }

    /// All records at a key, from everybody who is near it.
    pub fn aggregate_records(&mut self, now: Now, order: u64, key: Id, rec_type: u8, budget: Duration) {
        let own = self.own_records(now, &key, rec_type);
        let goal = self.records_goal(rec_type, true);
        self.look_up(now, order, key, goal, Want::Records(own), budget);
    }

    /// Where an address is reached: the newest of several copies.
    pub fn resolve(&mut self, now: Now, order: u64, key: Id, budget: Duration) {
        let own = self.own_records(now, &key, rec_type::ENDPOINT);
        if !self.policy.newest_wins
            && let Some(endpoint) = self.endpoint_of(&own)
        {
            return self.done(order, Ok(Done::Endpoint(Box::new(endpoint))));
        }
        let goal = self.records_goal(rec_type::ENDPOINT, false);
        self.look_up(now, order, key, goal, Want::Endpoint, budget);
    }

    fn own_records(&mut self, now: Now, key: &Id, rec_type: u8) -> Vec<SignedRecord> {
        let allowed = self.store.get_all(now, key, rec_type);
        allowed.into_iter().cloned().collect()
    }

    fn look_up(&mut self, now: Now, order: u64, target: Id, goal: Goal, want: Want, budget: Duration) {
        self.orders.lookups.insert(order, want);
        if !self.begin(now, target, goal, After::Order(order), budget) {
            self.orders.lookups.remove(&order);
            self.done(order, Err(Error::Busy));
        }
    }

    pub(super) fn finish_lookup(&mut self, now: Now, order: u64, nodes: Vec<NodeInfo>, lookup: Lookup) {
        let target = lookup.target();
        let none = |what: &str| Err(Error::NotFound(what.to_owned()));
        let result = match self.orders.lookups.remove(&order) {
            None => return,
            Some(Want::Nodes) => Ok(Done::Nodes(nodes)),
            Some(Want::Records(own)) => {
                let mut records = lookup.take();
                records.extend(own);
                let kept = crate::kad::newest(&records, &self.policy.rules);
                let kept: Vec<SignedRecord> = kept.into_iter().filter_map(|i| records.get(i).cloned()).collect();
                if kept.is_empty() { none(NO_MATCHING_RECORDS) } else { Ok(Done::Records(kept)) }
            }
            Some(Want::Endpoint) => {
                let mut records = lookup.take();
                records.extend(self.own_records(now, &target, rec_type::ENDPOINT));
                match self.endpoint_of(&records) {
                    Some(endpoint) => Ok(Done::Endpoint(Box::new(endpoint))),
                    None => none(NO_ENDPOINT),
                }
            }
        };
        self.done(order, result);
    }

    fn endpoint_of(&self, records: &[SignedRecord]) -> Option<Endpoint> {
        let record = self.newest_endpoint(records)?.clone();
        let payload = EndpointPayload::decode(record.payload()).ok()?;
        let (address, timestamp) = (record.address, record.timestamp);
        Some(Endpoint { address, payload, timestamp, seq: record.seq, ttl_s: record.ttl_s, record })
    }

    /// Joins by seeds: all are asked who they are, then nodes near this one are looked for. Without seeds it is done at once.
    pub fn join(&mut self, now: Now, order: u64, seeds: &[SocketAddr]) {
        if seeds.is_empty() {
            return self.done(order, Ok(Done::Joined(self.table.len())));
        }
        seeds.iter().for_each(|seed| self.note_lost(*seed));
        self.orders.joins.insert(order, Join { left: seeds.len(), answered: 0, looking: false });
        for seed in seeds {
            let patience = self.owner_patience(now, *seed, self.policy.bootstrap_timeout);
            let ping = Message::Ping { address: self.address };
            if !self.call(now, *seed, None, ping, patience, Purpose::Order(order)) {
                self.handle_seed(now, order, false);
            }
        }
    }

    /// Looks for nodes near this one, beginning with those it knows.
    pub fn look_for_neighbours(&mut self, now: Now, order: u64) {
        self.orders.joins.insert(order, Join { left: 0, answered: 1, looking: true });
        self.begin_joining(now, order);
    }

    fn handle_seed(&mut self, now: Now, order: u64, answered: bool) {
        let Some(join) = self.orders.joins.get_mut(&order) else { return };
        join.left = join.left.saturating_sub(1);
        join.answered += usize::from(answered);
        if answered && !join.looking {
            // The first that answers is enough to begin with; the others are in the table when they are needed.
            join.looking = true;
            return self.begin_joining(now, order);
        }
        if join.left == 0 && join.answered == 0 {
            self.orders.joins.remove(&order);
            self.done(order, Err(Error::Unreachable("dht: all bootstrap seeds unreachable".to_owned())));
        }
    }

    fn begin_joining(&mut self, now: Now, order: u64) {
        if !self.begin(now, self.id, Goal::Nodes, After::Joined(order), self.policy.refill_budget) {
            self.finish_join(now, order);
        }
    }

    pub(super) fn finish_join(&mut self, now: Now, order: u64) {
        self.fill_all(now);
        if self.orders.joins.remove(&order).is_some() {
            self.done(order, Ok(Done::Joined(self.table.len())));
        }
    }

    /// Asks a peer to send an echo to an address that this node believes to have (dht.md §14.5).
    pub fn nat_probe(&mut self, now: Now, order: u64, to: SocketAddr, claimed: SocketAddr, budget: Duration) {
        let token = self.rng.array();
        self.orders.echoes.insert(token, (order, now.mono + budget));
        let transaction = crate::kad::TxId::random(&mut self.rng);
        self.transmit(to, &Message::NatProbeReq { token, claimed }, transaction);
    }

    pub(super) fn handle_echo(&mut self, token: [u8; 8]) {
        if let Some((order, _)) = self.orders.echoes.remove(&token) {
            self.done(order, Ok(Done::Echo(true)));
        }
    }

    /// Echoes that did not come in time.
    pub(super) fn expire_echoes(&mut self, now: Time) {
        let late: Vec<u64> =
            self.orders.echoes.extract_if(.., |_, (_, until)| *until <= now).map(|(_, (order, _))| order).collect();
        late.into_iter().for_each(|order| self.done(order, Ok(Done::Echo(false))));
    }

    pub(super) fn echo_timeout(&self) -> Option<Time> {
        self.orders.echoes.values().map(|(_, until)| *until).min()
    }

    /// A peer that is known by other means counts as one that answered (dht-api.md, `AddContact`).
    pub fn add_contact(&mut self, now: Now, info: NodeInfo) {
        self.health.bind_by_hand(info.node_id, info.socket_addr());
        self.table.handle_node(now.mono, info, Proof::Answered);
        self.ask_for_table(now);
    }

    /// Where a peer is reached, without the table.
    pub fn bind_peer_addr(&mut self, id: Id, at: SocketAddr) {
        self.health.bind_by_hand(id, at);
    }

    /// This node's own public address, when it is known: peers behind the same one are not asked (dht.md §11.8).
    pub fn set_external_ip(&mut self, ip: Option<IpAddr>, local_port: u16) {
        (self.external_ip, self.local_port) = (ip.map(|ip| ip.to_canonical()), local_port);
    }

    /// That address.
    pub fn external_ip(&self) -> Option<IpAddr> {
        self.external_ip
    }

    /// A passive node looks for nobody of its own accord, except for what its owner asks.
    pub fn set_passive(&mut self, passive: bool) {
        self.passive = passive;
    }

    /// The store, for what its owner does with it.
    pub fn store_mut(&mut self) -> &mut crate::kad::Store {
        &mut self.store
    }

    /// Peers to begin with next time: good ones first (dht.md §14.2).
    pub fn bootstrap_candidates(&self, max: usize) -> Vec<SocketAddr> {
        let mut known: Vec<_> = self.table.iter().map(|(_, entry)| &entry.info).collect();
        known.sort_unstable_by_key(|info| (self.health.state(&info.node_id).rank(), info.node_id));
        let at = known.iter().map(|info| self.health.addr(&info.node_id).unwrap_or_else(|| info.socket_addr()));
        let mut found: Vec<SocketAddr> = Vec::new();
        for at in at {
            if !found.contains(&at) && found.len() < max {
                found.push(at);
            }
        }
        found
    }

    /// Ends every order that is under way.
    pub fn abort(&mut self, why: &Error) {
        let joins: Vec<u64> = std::mem::take(&mut self.orders.joins).into_keys().collect();
        let lookups: Vec<u64> = std::mem::take(&mut self.orders.lookups).into_keys().collect();
        let echoes: Vec<u64> = std::mem::take(&mut self.orders.echoes).into_values().map(|(order, _)| order).collect();
        let mut orders: Vec<u64> = joins.into_iter().chain(lookups).chain(echoes).collect();
        for key in self.calls.keys_where(|purpose| matches!(purpose, Purpose::Order(_))) {
            if let Some(Call { purpose: Purpose::Order(order), .. }) = self.calls.finish(key) {
                orders.push(order);
            }
        }
        orders.sort_unstable();
        orders.dedup();
        orders.into_iter().for_each(|order| self.put(Output::Done { order, result: Result::Err(why.clone()) }));
    }

    /// Takes over table and store of an earlier run; see [`crate::kad::Snapshot::restore`].
    pub fn restore(&mut self, now: Now, snapshot: crate::kad::Snapshot) -> (usize, usize) {
        snapshot.restore(now, &mut self.table, &mut self.store)
    }

    /// The rules this node goes by.
    pub fn policy(&self) -> &crate::kad::Policy {
        &self.policy
    }
}
