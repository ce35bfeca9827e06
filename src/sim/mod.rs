//! Step 7, beside the runtime: a world without sockets, threads and clocks. Nodes are the real
//! mesh machine with the real session halves; the network is a table of connections with latency,
//! cuts and partitions; time moves only when a test says so. One seed repeats a whole run.
//!
//! A [`World`] is spoken to by the names of its inhabitants. [`stranger`] adds peers of other
//! makes: whatever a test wants to say on a wire, and the manners of the Go node.

mod audit;
mod depot;
mod found;
pub mod kad;
mod node;
mod packets;
pub mod stranger;

pub use depot::{Depot, Object};
pub use node::{Rig, Secure, Setup};
use node::{SimNode, wall};
pub use packets::Packets;
pub use stranger::Manners;
use stranger::Stranger;

use crate::base::{Error, Result, Rng, Time};
use crate::identity::{Address, NodeId, NodeIdentity, PublicKey};
use crate::kad::Sighting;
use crate::mesh::{Answer, CallId, Command, ConnectTo, DialId, FeedInfo, Input, LinkInfo, Target};
use crate::message::{Message, Payload, RawPayload};
use crate::peers::{Gift, Grants, Peer, PeerRegistry};
use crate::session::Expect;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One WebSocket message on a virtual wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wire {
    /// A handshake's text.
    Text(Vec<u8>),
    /// A sealed frame.
    Frame(Vec<u8>),
}

/// A connection of the virtual network, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(pub(crate) usize);

/// What went over a wire: a recording for replays.
#[derive(Clone, Debug)]
pub struct Captured {
    /// The connection.
    pub conn: ConnId,
    /// Who sent it.
    pub from: String,
    /// Whom it was for.
    pub to: String,
    /// What it was.
    pub wire: Wire,
}

/// Somebody on the line: what goes over it in place of what was sent.
pub type Tap = Box<dyn FnMut(&Captured) -> Vec<Wire>>;

/// What happens at a moment.
enum Event {
    Data { conn: ConnId, to: String, wire: Wire },
    Down { conn: ConnId, to: String },
    DialFailed { node: String, dial: DialId, why: Error },
}

struct Conn {
    /// The dialler first.
    names: [String; 2],
    open: bool,
}

enum Actor {
    Node(Box<SimNode>),
    Stranger(Box<Stranger>),
}

/// Everything there is.
pub struct World {
    seed: u64,
    rng: Rng,
    now: Time,
    latency: Duration,
    sequence: u64,
    events: BTreeMap<(Time, u64), Event>,
    actors: BTreeMap<String, Actor>,
    conns: Vec<Conn>,
    severed: BTreeSet<(String, String)>,
    captured: Vec<Captured>,
    tap: Option<Tap>,
    answers: BTreeMap<u64, Result<Answer>>,
    calls: u64,
    /// Who lives at an IP address.
    places: BTreeMap<String, String>,
    /// What the DHT has, by the address of who signed it, and who asked it.
    dht: BTreeMap<Address, Sighting>,
    searches: Vec<(String, Address)>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the world's seed was {}", self.seed);
        }
    }
}

impl World {
    /// An empty world. A panicking test shows `seed`.
    pub fn new(seed: u64) -> World {
        World {
            seed,
            rng: Rng::from_number(seed),
            now: Time::ZERO,
            latency: Duration::from_millis(5),
            sequence: 0,
            events: BTreeMap::new(),
            actors: BTreeMap::new(),
            conns: Vec::new(),
            severed: BTreeSet::new(),
            captured: Vec::new(),
            tap: None,
            answers: BTreeMap::new(),
            calls: 0,
            places: BTreeMap::new(),
            dht: BTreeMap::new(),
            searches: Vec::new(),
        }
    }

    /// Adds a node that is real down to the frame.
    pub fn node(&mut self, name: &str, setup: Setup) {
        let node = SimNode::new(name, setup, self.now, &mut self.rng);
        self.actors.insert(name.to_owned(), Actor::Node(Box::new(node)));
    }

    /// The public key of an inhabitant.
    pub fn key(&self, name: &str) -> PublicKey {
        match &self.actors[name] {
            Actor::Node(node) => node.identity.public_key(),
            Actor::Stranger(stranger) => stranger.identity.public_key(),
        }
    }

    /// The node id of an inhabitant.
    pub fn id(&self, name: &str) -> NodeId {
        self.key(name).node_id()
    }

    /// Time since the world began.
    pub fn now(&self) -> Time {
        self.now
    }

    /// `at` puts `who` on its allowlist with these grants.
    pub fn allow(&mut self, at: &str, who: &str, grants: Grants) {
        self.give(at, who, Gift { grants, by: "test".to_owned(), ..Gift::default() });
    }

    /// `at` gives `who` exactly this.
    pub fn give(&mut self, at: &str, who: &str, gift: Gift) {
        let (key, wall) = (self.key(who), self.wall(at));
        let _ = self.node_mut(at).registry.write().access_mut().grant(&key, gift, wall);
    }

    /// `at` revokes `who`, and its mesh is told.
    pub fn revoke(&mut self, at: &str, who: &str) {
        let (key, wall) = (self.key(who), self.wall(at));
        let _ = self.node_mut(at).registry.write().access_mut().revoke(&key, wall);
        self.command(at, |_| Command::AccessChanged);
    }

    /// `at` adds `who` by hand, with key and address.
    pub fn add_peer(&mut self, at: &str, who: &str) {
        let key = self.key(who);
        let now = wall(self.now, self.node_mut(at).skew_s);
        let peer = Peer {
            id: key.node_id().to_string(),
            name: who.to_owned(),
            public_key: key.to_base64(),
            address: format!("{who}:9091"),
            ..Peer::default()
        };
        let _ = self.node_mut(at).registry.write().add_peer(now, peer);
    }

    /// Both know each other by hand, and `controller` may do everything at `rig`.
    pub fn pair(&mut self, controller: &str, rig: &str) {
        self.add_peer(controller, rig);
        self.allow(rig, controller, Grants::CONTROLLER);
    }

    /// Looks into a node's registry.
    pub fn registry<T>(&self, name: &str, look: impl FnOnce(&PeerRegistry) -> T) -> T {
        look(&self.node_ref(name).registry.read())
    }

    /// The scripted miners of a node.
    pub fn rig(&mut self, name: &str) -> &mut Rig {
        &mut self.node_mut(name).rig
    }

    /// Connects to a registered inhabitant and runs until that worked or failed.
    pub fn connect(&mut self, from: &str, to: &str) -> Result<LinkInfo> {
        let peer = self.id(to).to_string();
        let timeout = Duration::from_secs(20);
        let call = self.command(from, |call| Command::Connect { call, target: ConnectTo::Peer(peer), timeout });
        self.connected(call)
    }

    /// Dials a bare address, where whoever answers is learned.
    pub fn dial(&mut self, from: &str, address: &str, expect: Expect) -> Result<LinkInfo> {
        let target =
            Target { address: address.to_owned(), expect, tls: false, tls_pin: None, found: false, pairing: None };
        let timeout = Duration::from_secs(20);
        let call = self.command(from, |call| Command::Connect { call, target: ConnectTo::Address(target), timeout });
        self.connected(call)
    }

    /// Keeps a connection to an inhabitant up for ever.
    pub fn uplink(&mut self, from: &str, to: &str) {
        let expect = Expect::Key(self.key(to));
        let target =
            Target { address: format!("{to}:9091"), expect, tls: false, tls_pin: None, found: false, pairing: None };
        self.command(from, |_| Command::AddUplink { target });
    }

    fn connected(&mut self, call: u64) -> Result<LinkInfo> {
        match self.finish(call)? {
            Answer::Connected(info) => Ok(info),
            other => Err(Error::Failed(format!("unexpected {other:?}"))),
        }
    }

    /// Calls a peer and runs until the reply or the end of the time.
    pub fn call(&mut self, from: &str, to: &str, payload: Payload) -> Result<Message> {
        let call = self.begin_call(from, to, payload, Duration::from_secs(10));
        self.reply(call)
    }

    /// Begins a call without letting time pass.
    pub fn begin_call(&mut self, from: &str, to: &str, payload: Payload, timeout: Duration) -> u64 {
        let peer = self.id(to).to_string();
        self.command(from, |call| Command::Call { call, peer, payload, id: None, timeout })
    }

    /// Runs until a call that was begun is over.
    pub fn reply(&mut self, call: u64) -> Result<Message> {
        match self.finish(call)? {
            Answer::Reply { message, .. } => Ok(message),
            other => Err(Error::Failed(format!("unexpected {other:?}"))),
        }
    }

    /// Whether a call is over already.
    pub fn is_over(&self, call: u64) -> bool {
        self.answers.contains_key(&call)
    }

    /// Random bytes to deploy.
    pub fn object(&mut self, size: usize) -> Object {
        Object::random(size, &mut self.rng)
    }

    /// Begins to deploy an object without letting time pass. `keep`: it goes on when the caller was told that the
    /// rig is away.
    pub fn begin_deploy(&mut self, from: &str, to: &str, object: &Object, keep: bool) -> u64 {
        let (peer, object) = (self.id(to).to_string(), object.feed.clone());
        self.command(from, |call| Command::Deploy {
            call: Some(call),
            peer,
            object,
            profile: RawPayload::NULL,
            activate: true,
            keep,
        })
    }

    /// Runs until a deployment is over: the number it is installed as, and whether the rig had it before. `None`:
    /// the peer takes no chunked deployments.
    pub fn deployed(&mut self, call: u64) -> Result<Option<(Option<u32>, bool)>> {
        match self.finish(call)? {
            Answer::Deployed { slot, already, .. } => Ok(Some((slot, already))),
            Answer::NotDeployed { why, .. } => Err(why),
            Answer::Plain => Ok(None),
            other => Err(Error::Failed(format!("unexpected {other:?}"))),
        }
    }

    /// A node forgets what a rig is owed; how many deployments that were.
    pub fn cancel_deploys(&mut self, from: &str, to: &str) -> usize {
        let peer = self.id(to).to_string();
        let call = self.command(from, |call| Command::CancelDeploys { call, peer });
        match self.finish(call) {
            Ok(Answer::Count(count)) => count,
            _ => 0,
        }
    }

    /// How far a node's deployments are.
    pub fn deploys(&mut self, name: &str) -> Vec<FeedInfo> {
        let call = self.command(name, |call| Command::Deploys { call });
        match self.finish(call) {
            Ok(Answer::Deploys(infos)) => infos,
            _ => Vec::new(),
        }
    }

    /// `at` changes the grants of `who`, and its mesh is told.
    pub fn grant(&mut self, at: &str, who: &str, grants: Grants) {
        self.allow(at, who, grants);
        self.command(at, |_| Command::AccessChanged);
    }

    /// Sends a payload to every connected peer; how many.
    pub fn broadcast(&mut self, from: &str, payload: Payload) -> usize {
        let call = self.command(from, |call| Command::Broadcast { call, payload, except: None });
        match self.finish(call) {
            Ok(Answer::Count(n)) => n,
            _ => 0,
        }
    }

    /// A node's links as they stand.
    pub fn links(&mut self, name: &str) -> Vec<LinkInfo> {
        let call = self.command(name, |call| Command::Links { call });
        match self.finish(call) {
            Ok(Answer::Links(links)) => links,
            _ => Vec::new(),
        }
    }

    /// `peers reset-clock` for one inhabitant's key, or for all.
    pub fn reset_clock(&mut self, at: &str, who: Option<&str>) {
        let key = who.map(|who| self.key(who));
        self.command(at, |call| Command::ResetClock { call, key });
    }

    /// The node stops in good order.
    pub fn shut_down(&mut self, name: &str) {
        self.command(name, |_| Command::Shutdown);
    }

    /// The node's process ends without a word and starts again: what was not saved is gone.
    pub fn power_cut(&mut self, name: &str) {
        for conn in 0..self.conns.len() {
            if self.conns[conn].open && self.conns[conn].names.iter().any(|n| n == name) {
                self.close_conn(ConnId(conn), name);
            }
        }
        let now = self.now;
        let rng = self.rng.fork();
        self.node_mut(name).power_on(now, rng);
    }

    /// Sets a node's wall clock this many seconds off the true one.
    pub fn set_clock(&mut self, name: &str, skew_s: i64) {
        self.node_mut(name).skew_s = skew_s;
    }

    /// Frames between the two vanish and dials fail, until [`World::mend`].
    pub fn sever(&mut self, a: &str, b: &str) {
        self.severed.insert((a.to_owned(), b.to_owned()));
        self.severed.insert((b.to_owned(), a.to_owned()));
    }

    /// The opposite of [`World::sever`].
    pub fn mend(&mut self, a: &str, b: &str) {
        self.severed.remove(&(a.to_owned(), b.to_owned()));
        self.severed.remove(&(b.to_owned(), a.to_owned()));
    }

    /// Cuts every connection between the two; both ends notice.
    pub fn cut(&mut self, a: &str, b: &str) {
        for conn in 0..self.conns.len() {
            let names = &self.conns[conn].names;
            if self.conns[conn].open && names.contains(&a.to_owned()) && names.contains(&b.to_owned()) {
                self.close_conn(ConnId(conn), "");
            }
        }
    }

    /// Everything that was put on a wire so far, in order.
    pub fn captured(&self) -> &[Captured] {
        &self.captured
    }

    /// What a thief reads off a node's disk: both private keys and the public description.
    pub fn disk_of(&self, name: &str) -> ([u8; 32], [u8; 32], NodeIdentity) {
        let identity = match &self.actors[name] {
            Actor::Node(node) => &node.identity,
            Actor::Stranger(stranger) => &stranger.identity,
        };
        (*identity.secret().to_bytes(), *identity.sign_key().seed(), identity.info().clone())
    }

    /// Somebody sits on the line from now on, between all.
    pub fn tap(&mut self, tap: impl FnMut(&Captured) -> Vec<Wire> + 'static) {
        self.tap = Some(Box::new(tap));
    }

    /// Nobody does any more.
    pub fn untap(&mut self) {
        self.tap = None;
    }

    /// Lets time pass.
    pub fn elapse(&mut self, d: Duration) {
        let end = self.now + d;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until nothing is on a wire any more, at most a second.
    pub fn settle(&mut self) {
        self.elapse(Duration::from_millis(200));
    }

    fn finish(&mut self, call: u64) -> Result<Answer> {
        let end = self.now + Duration::from_secs(120);
        while !self.answers.contains_key(&call) {
            assert!(self.step(end), "seed {}: call {call} was never answered", self.seed);
        }
        self.answers.remove(&call).unwrap_or(Err(Error::Busy))
    }

    fn command(&mut self, name: &str, make: impl FnOnce(CallId) -> Command) -> u64 {
        self.calls += 1;
        let (call, now) = (self.calls, self.now);
        let node = self.node_mut(name);
        let now = wall(now, node.skew_s);
        node.mesh.handle_command(now, make(CallId(call)));
        self.pump(name);
        call
    }

    /// Does the next thing that is due before `end`.
    fn step(&mut self, end: Time) -> bool {
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        let timers = self.actors.values().filter_map(|a| match a {
            Actor::Node(node) => node.poll_timeout(),
            Actor::Stranger(_) => None,
        });
        let Some(at) = timers.chain(event).min().filter(|at| *at <= end) else { return false };
        self.now = self.now.max(at);
        if event == Some(at) {
            if let Some((_, event)) = self.events.pop_first() {
                self.happen(event);
            }
            return true;
        }
        let names: Vec<String> = self.actors.keys().cloned().collect();
        for name in names {
            let now = self.now;
            if let Some(Actor::Node(node)) = self.actors.get_mut(&name)
                && node.poll_timeout().is_some_and(|at| at <= now)
            {
                node.handle_timeout(now);
                self.pump(&name);
            }
        }
        true
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Data { conn, to, wire } => {
                if !self.conns[conn.0].open || self.is_severed(conn) {
                    return;
                }
                match self.actors.get_mut(&to) {
                    Some(Actor::Node(node)) => match wire {
                        Wire::Text(text) => self.shake(conn, &to, &text),
                        Wire::Frame(frame) => {
                            if !node.handle_frame(now, conn, true, frame) {
                                self.close_conn(conn, &to);
                            }
                            self.pump(&to);
                        }
                    },
                    Some(Actor::Stranger(_)) => self.stranger_hears(conn, &to, wire),
                    None => {}
                }
            }
            Event::Down { conn, to } => {
                self.conns[conn.0].open = false;
                if let Some(Actor::Node(node)) = self.actors.get_mut(&to) {
                    node.handle_down(now, conn);
                    self.pump(&to);
                }
            }
            Event::DialFailed { node: name, dial, why } => {
                let node = self.node_mut(&name);
                let now = wall(now, node.skew_s);
                node.mesh.handle_input(now, Input::DialFailed { dial, why });
                self.pump(&name);
            }
        }
    }

    fn is_severed(&self, conn: ConnId) -> bool {
        let [a, b] = &self.conns[conn.0].names;
        self.severed.contains(&(a.clone(), b.clone()))
    }

    fn schedule(&mut self, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + self.latency, self.sequence), event);
    }

    /// Puts something on a wire.
    fn transmit(&mut self, conn: ConnId, from: &str, wire: Wire) {
        let Some(c) = self.conns.get(conn.0).filter(|c| c.open) else { return };
        let to = c.names.iter().find(|n| *n != from).cloned().unwrap_or_default();
        let sent = Captured { conn, from: from.to_owned(), to: to.clone(), wire };
        let arrives = self.tap.as_mut().map_or_else(|| vec![sent.wire.clone()], |tap| tap(&sent));
        self.captured.push(sent);
        for wire in arrives {
            self.schedule(Event::Data { conn, to: to.clone(), wire });
        }
    }

    fn open_conn(&mut self, from: &str, to: &str) -> ConnId {
        self.conns.push(Conn { names: [from.to_owned(), to.to_owned()], open: true });
        let conn = ConnId(self.conns.len() - 1);
        if let Some(Actor::Node(node)) = self.actors.get_mut(to) {
            node.handle_accepted(conn, format!("{from}:{}", 40_000 + conn.0));
        }
        conn
    }

    /// Closes a connection; the end that did it is named, the other notices later.
    fn close_conn(&mut self, conn: ConnId, by: &str) {
        if !std::mem::take(&mut self.conns[conn.0].open) {
            return;
        }
        for name in self.conns[conn.0].names.clone() {
            if name == by {
                let now = self.now;
                if let Some(Actor::Node(node)) = self.actors.get_mut(&name) {
                    node.handle_down(now, conn);
                }
            } else {
                self.schedule(Event::Down { conn, to: name });
            }
        }
    }

    fn node_mut(&mut self, name: &str) -> &mut SimNode {
        match self.actors.get_mut(name) {
            Some(Actor::Node(node)) => node,
            _ => panic!("no node {name}"),
        }
    }

    fn node_ref(&self, name: &str) -> &SimNode {
        match self.actors.get(name) {
            Some(Actor::Node(node)) => node,
            _ => panic!("no node {name}"),
        }
    }

    fn wall(&self, name: &str) -> crate::base::Timestamp {
        wall(self.now, self.node_ref(name).skew_s).wall
    }
}
