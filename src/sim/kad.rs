//! A virtual network of DHT nodes: the real machines, datagrams with latency, loss, copies and reordering, cuts and
//! partitions, and liars. One seed repeats a whole run.

use crate::base::{Now, Result, Rng, Time, Timestamp};
use crate::identity::{Address, SignKey};
use crate::kad::{
    Authority, DATAGRAM_BYTES_MAX, Done, EndpointPayload, Envelope, Header, Id, Machine, Message, NodeInfo, Output,
    Policy, Rules, SignedRecord, Stamp, TxId, encode_datagram, rec_type,
};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// When the world begins: after every build of this program.
const BEGIN_S: i64 = 1_800_000_000;
/// The port of every node.
const PORT: u16 = 4121;

/// How the network treats datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// The least and the greatest latency one way; each pair has its own, and each datagram a quarter more or less.
    pub latency: (Duration, Duration),
    /// Of a thousand datagrams so many are lost.
    pub lost: u64,
    /// And so many come twice.
    pub doubled: u64,
}

impl Default for Weather {
    fn default() -> Weather {
        Weather { latency: (Duration::from_millis(5), Duration::from_millis(120)), lost: 0, doubled: 0 }
    }
}

/// What a liar does.
#[derive(Debug)]
struct Liar {
    key: SignKey,
    heard: Vec<Vec<u8>>,
}

#[derive(Debug)]
enum Actor {
    Node(Box<Machine>),
    Liar(Box<Liar>),
    Dead,
}

#[derive(Debug)]
struct Place {
    at: SocketAddr,
    actor: Actor,
    /// Seconds that its wall clock is ahead.
    skew_s: i64,
    side: u8,
}

/// What happened to an order.
pub type Outcome = Result<Done>;

/// The network.
#[derive(Debug)]
pub struct KadWorld {
    rng: Rng,
    now: Time,
    weather: Weather,
    places: Vec<Place>,
    at: BTreeMap<SocketAddr, usize>,
    events: BTreeMap<(Time, u64), (usize, SocketAddr, Vec<u8>)>,
    wakes: BTreeSet<(Time, usize)>,
    wake_of: Vec<Option<Time>>,
    sequence: u64,
    orders: u64,
    begun: BTreeMap<u64, Time>,
    outcomes: BTreeMap<u64, (Outcome, Duration)>,
    /// Datagrams sent, and their bytes.
    pub sent: (u64, u64),
}

impl KadWorld {
    /// An empty one.
    pub fn new(seed: u64, weather: Weather) -> KadWorld {
        KadWorld {
            rng: Rng::from_number(seed),
            now: Time::from_millis(1000),
            weather,
            places: Vec::new(),
            at: BTreeMap::new(),
            events: BTreeMap::new(),
            wakes: BTreeSet::new(),
            wake_of: Vec::new(),
            sequence: 0,
            orders: 0,
            begun: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            sent: (0, 0),
        }
    }

    /// Another weather from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Virtual time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Both clocks of a node.
    pub fn now_of(&self, i: usize) -> Now {
        let wall = Timestamp::from_unix(BEGIN_S + self.places[i].skew_s, 0).plus(self.now.since(Time::ZERO));
        Now { mono: self.now, wall }
    }

    /// Where a node of the world lives: each in a neighbourhood of its own.
    fn address(&self, i: usize) -> SocketAddr {
        let [_, a, b, c] = u32::try_from(i).unwrap_or(0).to_be_bytes();
        SocketAddr::new(Ipv4Addr::new(20 + a, b, c, 1).into(), PORT)
    }

    fn place(&mut self, actor: Actor) -> usize {
        let i = self.places.len();
        let at = self.address(i);
        self.at.insert(at, i);
        self.places.push(Place { at, actor, skew_s: 0, side: 0 });
        self.wake_of.push(None);
        i
    }

    /// Adds a node that knows nobody.
    pub fn node(&mut self, policy: Policy) -> usize {
        let key = SignKey::generate(&mut self.rng);
        self.node_with(key, policy)
    }

    /// Adds a node with a key of the test's choice.
    pub fn node_with(&mut self, key: SignKey, policy: Policy) -> usize {
        let (i, rng) = (self.place(Actor::Dead), self.rng.fork());
        let machine = Machine::new(key, policy, Authority::BuiltIn, self.now_of(i), rng);
        self.places[i].actor = Actor::Node(Box::new(machine));
        self.settle(i);
        i
    }

    /// Adds a liar: it answers everything, with nodes that do not exist, places of others under wrong names, and
    /// datagrams that it has heard.
    pub fn liar(&mut self) -> usize {
        let key = SignKey::generate(&mut self.rng);
        self.liar_with(key)
    }

    /// The same with a key of the test's choice.
    pub fn liar_with(&mut self, key: SignKey) -> usize {
        self.place(Actor::Liar(Box::new(Liar { key, heard: Vec::new() })))
    }

    /// How many there are, dead ones included.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// A node's machine.
    pub fn machine(&self, i: usize) -> &Machine {
        match &self.places[i].actor {
            Actor::Node(machine) => machine,
            other => panic!("{i} is no node: {other:?}"),
        }
    }

    /// The same, to give it orders.
    pub fn machine_mut(&mut self, i: usize) -> &mut Machine {
        match &mut self.places[i].actor {
            Actor::Node(machine) => machine,
            other => panic!("{i} is no node: {other:?}"),
        }
    }

    /// Where somebody lives.
    pub fn at(&self, i: usize) -> SocketAddr {
        self.places[i].at
    }

    /// Ends a node without a word.
    pub fn kill(&mut self, i: usize) {
        self.places[i].actor = Actor::Dead;
        if let Some(at) = self.wake_of[i].take() {
            self.wakes.remove(&(at, i));
        }
    }

    /// Whether a node lives.
    pub fn is_alive(&self, i: usize) -> bool {
        matches!(self.places[i].actor, Actor::Node(_))
    }

    /// Sets a node's wall clock this far off.
    pub fn set_clock(&mut self, i: usize, skew_s: i64) {
        self.places[i].skew_s = skew_s;
    }

    /// Puts a node on a side: nothing passes between different sides.
    pub fn set_side(&mut self, i: usize, side: u8) {
        self.places[i].side = side;
    }

    /// Gives a node an order; its number.
    pub fn order(&mut self, i: usize, give: impl FnOnce(&mut Machine, Now, u64)) -> u64 {
        self.orders += 1;
        let (order, now) = (self.orders, self.now_of(i));
        self.begun.insert(order, self.now);
        give(self.machine_mut(i), now, order);
        self.settle(i);
        order
    }

    /// Runs until an order is done: what came of it, and how long it took.
    pub fn outcome(&mut self, order: u64) -> (Outcome, Duration) {
        loop {
            if let Some(outcome) = self.outcomes.remove(&order) {
                return outcome;
            }
            assert!(self.step(), "nothing will ever happen again");
        }
    }

    /// Runs until all of some orders are done.
    pub fn outcomes(&mut self, orders: &[u64]) -> Vec<(Outcome, Duration)> {
        orders.iter().map(|order| self.outcome(*order)).collect()
    }

    /// Lets time pass.
    pub fn elapse(&mut self, time: Duration) {
        let until = self.now + time;
        while self.next_at().is_some_and(|at| at <= until) {
            self.step();
        }
        self.now = until;
    }

    /// A network of `n` nodes in which everybody has joined by one of three seeds, `together` at a time.
    pub fn joined(seed: u64, weather: Weather, n: usize, together: usize, policy: &Policy) -> KadWorld {
        let mut world = KadWorld::new(seed, weather);
        let nodes: Vec<usize> = (0..n).map(|_| world.node(policy.clone())).collect();
        let seeds: Vec<SocketAddr> = nodes.iter().take(3).map(|i| world.at(*i)).collect();
        for group in nodes.chunks(together.max(1)) {
            let orders: Vec<u64> = group
                .iter()
                .map(|i| {
                    let own = world.at(*i);
                    let seeds: Vec<SocketAddr> = seeds.iter().copied().filter(|at| *at != own).collect();
                    world.order(*i, |machine, now, order| machine.join(now, order, &seeds))
                })
                .collect();
            for (outcome, _) in world.outcomes(&orders) {
                outcome.unwrap_or_else(|e| panic!("a node could not join: {e}"));
            }
        }
        world
    }

    /// A record that says where a node is, made by its own key.
    pub fn endpoint(&mut self, key: &SignKey, seq: u64, ttl_s: u32) -> SignedRecord {
        let wall = Timestamp::from_unix(BEGIN_S, 0).plus(self.now.since(Time::ZERO));
        let timestamp = u64::try_from(wall.unix_seconds()).unwrap_or(0) - 5;
        let payload =
            EndpointPayload { endpoints: Some(vec![format!("ws://192.0.2.1:{seq}/ws")]), ..EndpointPayload::default() };
        let payload = payload.encode().unwrap_or_else(|e| panic!("{e}"));
        SignedRecord::sign(key, rec_type::ENDPOINT, payload, Stamp { seq, timestamp, ttl_s })
            .unwrap_or_else(|e| panic!("{e}"))
    }

    /// Publishes an owner's record at a node and waits for its copies; how many there are.
    pub fn publish(&mut self, i: usize, record: SignedRecord) -> usize {
        self.publish_at(i, Id::ZERO, record)
    }

    /// The same for a record of any kind, at a key.
    pub fn publish_at(&mut self, i: usize, key: Id, record: SignedRecord) -> usize {
        let order = self.order(i, |machine, now, order| {
            machine.publish(now, Some(order), key, record).unwrap_or_else(|e| panic!("{e}"));
        });
        match self.outcome(order).0 {
            Ok(Done::Published(copies)) => copies,
            other => panic!("{other:?}"),
        }
    }

    /// Resolves a key at a node: the number of the record that came, and how long it took.
    pub fn resolve(&mut self, i: usize, key: Id) -> (Option<u64>, Duration) {
        let order = self.order(i, |machine, now, order| machine.resolve(now, order, key, Duration::from_secs(10)));
        match self.outcome(order) {
            (Ok(Done::Endpoint(endpoint)), time) => (Some(endpoint.seq), time),
            (Err(_), time) => (None, time),
            other => panic!("{other:?}"),
        }
    }

    /// A hash over everything that the nodes know.
    pub fn state_hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for (i, place) in self.places.iter().enumerate() {
            let Actor::Node(machine) = &place.actor else { continue };
            hash.update(format!("{i} {:?} {}", machine.counters(), machine.contacts()));
            for (bucket, entry) in machine.table().iter() {
                hash.update(format!("{bucket} {} {:?}", entry.info.node_id, entry.verified_ago(self.now)));
            }
            for row in machine.store().debug_records(self.now_of(i)) {
                hash.update(format!("{row:?}"));
            }
        }
        hash.finalize().into()
    }

    /// Sends any bytes to a node, as if from anywhere.
    pub fn inject(&mut self, from: SocketAddr, to: usize, bytes: Vec<u8>) {
        self.schedule(self.now + Duration::from_millis(1), to, from, bytes);
    }

    fn next_at(&self) -> Option<Time> {
        let event = self.events.keys().next().map(|(at, _)| *at);
        let wake = self.wakes.first().map(|(at, _)| *at);
        event.into_iter().chain(wake).min()
    }

    /// The next thing happens. False when nothing will.
    fn step(&mut self) -> bool {
        let Some(at) = self.next_at() else { return false };
        self.now = self.now.max(at);
        if let Some((wake, i)) = self.wakes.first().copied()
            && wake <= at
        {
            self.wakes.remove(&(wake, i));
            self.wake_of[i] = None;
            let now = self.now_of(i);
            if let Actor::Node(machine) = &mut self.places[i].actor {
                machine.handle_timeout(now);
            }
            self.settle(i);
            return true;
        }
        if let Some((_, (to, from, bytes))) = self.events.pop_first() {
            let now = self.now_of(to);
            match &mut self.places[to].actor {
                Actor::Node(machine) => machine.handle_datagram(now, from, &bytes),
                Actor::Liar(_) => self.lie(to, from, bytes),
                Actor::Dead => {}
            }
            self.settle(to);
        }
        true
    }

    /// Carries out what a node wants, and notes when it wakes next.
    fn settle(&mut self, i: usize) {
        let from = self.places[i].at;
        while let Actor::Node(machine) = &mut self.places[i].actor {
            match machine.poll_output() {
                None => break,
                Some(Output::Send { to, datagram }) => self.transmit(i, from, to, datagram),
                Some(Output::Done { order, result }) => {
                    let time = self.begun.remove(&order).map_or(Duration::ZERO, |begun| self.now.since(begun));
                    self.outcomes.insert(order, (result, time));
                }
                Some(Output::Observed { .. }) => {}
            }
        }
        let Actor::Node(machine) = &self.places[i].actor else { return };
        let wake = machine.poll_timeout().map(|at| at.max(self.now + Duration::from_micros(1)));
        if wake != self.wake_of[i] {
            if let Some(old) = std::mem::replace(&mut self.wake_of[i], wake) {
                self.wakes.remove(&(old, i));
            }
            self.wakes.extend(wake.map(|at| (at, i)));
        }
    }

    fn transmit(&mut self, sender: usize, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        assert!(bytes.len() <= DATAGRAM_BYTES_MAX);
        self.sent = (self.sent.0 + 1, self.sent.1 + bytes.len() as u64);
        let Some(receiver) = self.at.get(&to).copied() else { return };
        if self.places[sender].side != self.places[receiver].side || self.rng.below(1000) < self.weather.lost {
            return;
        }
        let copies = 1 + u64::from(self.rng.below(1000) < self.weather.doubled);
        for _ in 0..copies {
            let latency = self.latency(sender, receiver);
            self.schedule(self.now + latency, receiver, from, bytes.clone());
        }
    }

    fn latency(&mut self, a: usize, b: usize) -> Duration {
        let (least, most) = self.weather.latency;
        let span = u64::try_from((most.saturating_sub(least)).as_micros()).unwrap_or(0);
        let pair = (a.min(b) as u64) << 32 | a.max(b) as u64;
        let base = least + Duration::from_micros(pair.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (span + 1));
        let quarter = u64::try_from(base.as_micros() / 4).unwrap_or(0);
        base + Duration::from_micros(self.rng.below(quarter + 1))
    }

    fn schedule(&mut self, at: Time, to: usize, from: SocketAddr, bytes: Vec<u8>) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), (to, from, bytes));
    }

    fn lie(&mut self, i: usize, from: SocketAddr, bytes: Vec<u8>) {
        let Ok(received) = Envelope::decode(&bytes).and_then(|e| e.verify(&Rules::default())) else { return };
        let victim = |rng: &mut Rng, places: &[Place]| {
            let other = rng.below(places.len() as u64);
            places[usize::try_from(other).unwrap_or(0)].at
        };
        let mut nodes = Vec::new();
        for _ in 0..12 {
            let mut hash = [0xa0; 21];
            self.rng.fill(&mut hash[1..]);
            let at = victim(&mut self.rng, &self.places);
            let mut node = NodeInfo::new(Address::from_bytes(hash), at);
            match self.rng.below(3) {
                // Nodes that do not exist, in others' places; honest nodes in the wrong place; ids that are nobody's.
                0 => {}
                1 => {
                    let other = usize::try_from(self.rng.below(self.places.len() as u64)).unwrap_or(0);
                    if let Actor::Node(machine) = &self.places[other].actor {
                        node = NodeInfo::new(machine.address(), at);
                    }
                }
                _ => node.node_id = Id::from_bytes(self.rng.array()),
            }
            nodes.push(node);
        }
        let answer = match &received.message {
            Message::Ping { .. } => {
                let Actor::Liar(liar) = &self.places[i].actor else { return };
                Message::Pong { address: Address::of_ed25519(&liar.key.public()), observed: from }
            }
            Message::FindNode { .. } => Message::FindNodeResp { nodes: Some(nodes), observed: from },
            Message::FindValue { .. } => {
                Message::FindValueResp { nodes: Some(nodes), record: None, observed: from, records: Vec::new() }
            }
            Message::Store { .. } => Message::StoreResp { stored: true, already_had: false },
            _ => return,
        };
        let transaction = received.header.tx_id;
        let spoofed = victim(&mut self.rng, &self.places);
        let (replay, keys) = {
            let n = self.rng.below(4);
            let Actor::Liar(liar) = &mut self.places[i].actor else { return };
            liar.heard.push(bytes);
            let keep = liar.heard.len().saturating_sub(16);
            liar.heard.drain(..keep);
            let replay = liar.heard.first().cloned().filter(|_| n == 0);
            (replay, n == 1)
        };
        let own = self.places[i].at;
        let target = self.at.get(&from).copied();
        if let (Some(replay), Some(target)) = (replay, target) {
            self.inject(spoofed, target, replay);
        }
        if keys && let Some(target) = target {
            // A new identity each time, with a record of its own to keep, from a place that is another's.
            let key = SignKey::generate(&mut self.rng);
            let record = self.endpoint(&key, 1, 3600);
            let store = Message::Store { record: Box::new(record), key: None };
            let transaction = TxId::random(&mut self.rng);
            if let Ok(datagram) = encode_datagram(&Header::new(transaction), &store, &key) {
                self.inject(spoofed, target, datagram);
            }
        }
        let Actor::Liar(liar) = &self.places[i].actor else { return };
        if let Ok(datagram) = encode_datagram(&Header::new(transaction), &answer, &liar.key) {
            self.transmit(i, own, from, datagram);
        }
    }
}
