//! A peer of another make: it holds its own keys and says what a test tells it to, or behaves as
//! the Go node does.

use super::node::wall;
use super::{Actor, ConnId, Wire, World};
use crate::base::{Rng, Time};
use crate::formats::smsg::{LinkKey, open_link, seal_v1};
use crate::identity::{Identity, PublicKey, Role, sign_challenge};
use crate::message::{Handshake, HandshakeAck, Message, MessageType, Payload, Ping, Pong, Stats};
use std::collections::BTreeMap;

/// What a stranger does of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// Nothing: a Go controller, which never answers a ping, or an attacker.
    Silent,
    /// A Go worker: answers ping and get_stats, swapping `from` and `to` of the request as they came.
    Answers,
}

pub(super) struct Stranger {
    pub(super) identity: Identity,
    manners: Manners,
    rng: Rng,
    heard: BTreeMap<ConnId, Vec<Wire>>,
    peers: BTreeMap<ConnId, PublicKey>,
}

impl World {
    /// Adds a stranger.
    pub fn stranger(&mut self, name: &str, manners: Manners) {
        let mut rng = self.rng.fork();
        let role = if manners == Manners::Answers { Role::Worker } else { Role::Controller };
        let identity =
            Identity::generate(name, role, wall(self.now, 0).wall, &mut rng).unwrap_or_else(|e| panic!("{e}"));
        self.put_stranger(name, identity, manners, rng);
    }

    /// Adds a stranger that holds the key of another inhabitant: a copied disk, or a node written in Go.
    pub fn copy_of(&mut self, name: &str, of: &str, manners: Manners) {
        let original = match &self.actors[of] {
            Actor::Node(node) => &node.identity,
            Actor::Stranger(stranger) => &stranger.identity,
        };
        let secret = crate::identity::SecretKey::from_bytes(*original.secret().to_bytes());
        let sign = crate::identity::SignKey::from_seed(&original.sign_key().seed());
        let identity = Identity::from_parts(secret, sign, original.info().clone()).unwrap_or_else(|e| panic!("{e}"));
        let rng = self.rng.fork();
        self.put_stranger(name, identity, manners, rng);
    }

    /// Adds a stranger whose keys the test has, to say with them what no honest node would.
    pub fn newcomer(&mut self, name: &str, identity: Identity) {
        let rng = self.rng.fork();
        self.put_stranger(name, identity, Manners::Silent, rng);
    }

    fn put_stranger(&mut self, name: &str, identity: Identity, manners: Manners, rng: Rng) {
        let stranger = Stranger { identity, manners, rng, heard: BTreeMap::new(), peers: BTreeMap::new() };
        self.actors.insert(name.to_owned(), Actor::Stranger(Box::new(stranger)));
    }

    /// Opens a connection without a word.
    pub fn open(&mut self, from: &str, to: &str) -> ConnId {
        let conn = self.open_conn(from, to);
        let key = self.key(to);
        self.stranger_mut(from).peers.insert(conn, key);
        conn
    }

    /// The first message of an honest Go node: a placeholder in `to`, 32 bytes of challenge.
    pub fn hello(&mut self, from: &str) -> (Message, Handshake) {
        let now = wall(self.now, 0);
        let stranger = self.stranger_mut(from);
        let challenge = stranger.rng.array::<32>().to_vec();
        let offer = Handshake {
            identity: stranger.identity.info().clone(),
            challenge,
            version: "1.0".to_owned(),
            secure: None,
        };
        let id = stranger.identity.id().to_string();
        (Message::new(now, &mut stranger.rng, &id, "pending", &Payload::Handshake(offer.clone())), offer)
    }

    /// Opens a connection and sends this first message; gives the connection and the ack, if one came.
    pub fn shake_with(&mut self, from: &str, to: &str, text: &[u8]) -> (ConnId, Option<HandshakeAck>) {
        let conn = self.open(from, to);
        self.say(from, conn, Wire::Text(text.to_vec()));
        self.elapse(std::time::Duration::from_millis(20));
        let ack = self.heard(from, conn).iter().find_map(|wire| match wire {
            Wire::Text(text) => Message::decode(text).ok()?.parse().ok(),
            Wire::Frame(_) => None,
        });
        (conn, ack)
    }

    /// Connects as an honest Go node does.
    pub fn go_connect(&mut self, from: &str, to: &str) -> ConnId {
        let (hello, _) = self.hello(from);
        let (conn, ack) = self.shake_with(from, to, hello.encode().as_bytes());
        assert!(ack.is_some_and(|a| a.accepted), "{from} was not accepted");
        conn
    }

    /// Puts anything on a wire.
    pub fn say(&mut self, from: &str, conn: ConnId, wire: Wire) {
        self.transmit(conn, from, wire);
    }

    /// A request as a Go node would send it now.
    pub fn compose(&mut self, from: &str, conn: ConnId, payload: &Payload) -> Message {
        let now = wall(self.now, 0);
        let stranger = self.stranger_mut(from);
        let to = stranger.peers.get(&conn).map(|key| key.node_id().to_string()).unwrap_or_default();
        let id = stranger.identity.id().to_string();
        Message::new(now, &mut stranger.rng, &id, &to, payload)
    }

    /// Seals a body with the pair's key.
    pub fn seal(&mut self, from: &str, conn: ConnId, body: &str) -> Vec<u8> {
        let stranger = self.stranger_mut(from);
        let (nonce, mut frame) = (stranger.rng.array(), Vec::new());
        if let Some(key) = stranger.link_key(conn) {
            let _ = seal_v1(&key, nonce, 1, body, &mut frame);
        }
        frame
    }

    /// Seals and sends a message as it is.
    pub fn send(&mut self, from: &str, conn: ConnId, message: &Message) {
        let frame = self.seal(from, conn, &message.encode());
        self.say(from, conn, Wire::Frame(frame));
    }

    /// Sends a request, lets it travel, and gives what came back for it.
    pub fn ask(&mut self, from: &str, conn: ConnId, payload: &Payload) -> Option<Message> {
        let message = self.compose(from, conn, payload);
        self.ask_message(from, conn, &message)
    }

    /// The same with a message of the test's own making.
    pub fn ask_message(&mut self, from: &str, conn: ConnId, message: &Message) -> Option<Message> {
        let before = self.heard(from, conn).len();
        self.send(from, conn, message);
        self.elapse(std::time::Duration::from_millis(20));
        let all = self.inbox_from(from, conn, before);
        all.into_iter().find(|m| m.reply_to.as_deref() == Some(message.id.as_str()))
    }

    /// Everything that came over a connection, as it came.
    pub fn heard(&self, name: &str, conn: ConnId) -> Vec<Wire> {
        match &self.actors[name] {
            Actor::Stranger(stranger) => stranger.heard.get(&conn).cloned().unwrap_or_default(),
            Actor::Node(_) => Vec::new(),
        }
    }

    /// The messages that came over a connection.
    pub fn inbox(&self, name: &str, conn: ConnId) -> Vec<Message> {
        self.inbox_from(name, conn, 0)
    }

    fn inbox_from(&self, name: &str, conn: ConnId, skip: usize) -> Vec<Message> {
        let Actor::Stranger(stranger) = &self.actors[name] else { return Vec::new() };
        let heard = stranger.heard.get(&conn).into_iter().flatten().skip(skip);
        heard.filter_map(|wire| stranger.opened(conn, wire)).collect()
    }

    /// Whether a connection still stands.
    pub fn is_open(&self, conn: ConnId) -> bool {
        self.conns.get(conn.0).is_some_and(|c| c.open)
    }

    /// A stranger hangs up.
    pub fn hang_up(&mut self, name: &str, conn: ConnId) {
        self.close_conn(conn, name);
    }

    /// The connections that were opened to a stranger.
    pub fn accepted(&self, name: &str) -> Vec<ConnId> {
        (0..self.conns.len()).filter(|i| self.conns[*i].names[1] == name).map(ConnId).collect()
    }

    pub(super) fn stranger_hears(&mut self, conn: ConnId, name: &str, wire: Wire) {
        let now = self.now;
        let accepting = self.conns[conn.0].names[1] == name;
        let stranger = self.stranger_mut(name);
        stranger.heard.entry(conn).or_default().push(wire.clone());
        let answer = match &wire {
            Wire::Text(text) if accepting => stranger.ack(now, conn, text).map(|text| Wire::Text(text.into_bytes())),
            Wire::Text(_) => None,
            Wire::Frame(_) if stranger.manners == Manners::Silent => None,
            Wire::Frame(_) => {
                stranger.opened(conn, &wire).and_then(|m| stranger.answer(now, conn, &m)).map(Wire::Frame)
            }
        };
        if let Some(answer) = answer {
            self.transmit(conn, name, answer);
        }
    }

    fn stranger_mut(&mut self, name: &str) -> &mut Stranger {
        match self.actors.get_mut(name) {
            Some(Actor::Stranger(stranger)) => stranger,
            _ => panic!("no stranger {name}"),
        }
    }
}

impl Stranger {
    fn link_key(&self, conn: ConnId) -> Option<LinkKey> {
        let secret = self.identity.secret().shared_secret(self.peers.get(&conn)?).ok()?;
        Some(LinkKey::from_secret(secret.as_bytes()))
    }

    fn opened(&self, conn: ConnId, wire: &Wire) -> Option<Message> {
        let Wire::Frame(frame) = wire else { return None };
        let (mut frame, mut body) = (frame.clone(), Vec::new());
        open_link(&self.link_key(conn)?, &mut frame, &mut body).ok()?;
        Message::decode(&body).ok()
    }

    /// The Go node as responder: it signs what it is given.
    fn ack(&mut self, now: Time, conn: ConnId, text: &[u8]) -> Option<String> {
        let message = Message::decode(text).ok()?;
        let offer: Handshake = message.parse().ok()?;
        let key = PublicKey::from_base64(&offer.identity.public_key).ok()?;
        self.peers.insert(conn, key);
        let secret = self.identity.secret().shared_secret(&key).ok()?;
        let ack = HandshakeAck {
            identity: self.identity.info().clone(),
            challenge_response: sign_challenge(&offer.challenge, &secret).to_vec(),
            accepted: true,
            ..HandshakeAck::default()
        };
        let id = self.identity.id().to_string();
        Some(Message::new(wall(now, 0), &mut self.rng, &id, &offer.identity.id, &Payload::HandshakeAck(ack)).encode())
    }

    fn answer(&mut self, now: Time, conn: ConnId, message: &Message) -> Option<Vec<u8>> {
        let now = wall(now, 0);
        let payload = match message.kind {
            MessageType::Ping => {
                let ping: Ping = message.parse().ok()?;
                Payload::Pong(Pong { sent_at: ping.sent_at, received_at: now.wall.unix_millis(), rigmesh: None })
            }
            MessageType::GetStats => Payload::Stats(Stats::default()),
            _ => return None,
        };
        let reply = message.reply(now, &mut self.rng, &payload).encode();
        let mut frame = Vec::new();
        seal_v1(&self.link_key(conn)?, self.rng.array(), 1, &reply, &mut frame).ok()?;
        Some(frame)
    }
}
