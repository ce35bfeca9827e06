//! A peer that holds a listed key and breaks the rules inside its session.

use super::*;
use rigmesh::base::{Now, Rng, Time, Timestamp};
use rigmesh::identity::{Identity, NodeIdentity, PublicKey, Role, SecretKey, SignKey};
use rigmesh::message::{Ping, StopMiner};
use rigmesh::session::secure::{CipherHalf, FrameOpener, FrameSealer, Kind, Statement};
use rigmesh::session::{Challenges, Dialled, Expect, Initiator, Known, LinkKeys, Security};

pub(crate) fn now() -> Now {
    Now { mono: Time::ZERO, wall: Timestamp::from_unix(1_800_000_000, 0) }
}

/// The keys of an inhabitant, read off its disk.
pub(crate) fn stolen(world: &World, of: &str) -> Identity {
    let (secret, sign, info) = world.disk_of(of);
    Identity::from_parts(SecretKey::from_bytes(secret), SignKey::from_seed(&sign), info).unwrap()
}

/// A handshake done by hand.
pub(crate) struct Shake {
    initiator: Initiator,
    security: Security,
    first: Vec<u8>,
    identity: Identity,
}

impl Shake {
    /// With the keys of `own`, stating `info`, to the holder of `rig`.
    pub(crate) fn new(own: &Identity, info: NodeIdentity, rig: &PublicKey, seed: u64) -> Shake {
        let copy = || {
            let secret = SecretKey::from_bytes(*own.secret().to_bytes());
            Identity::from_parts(secret, SignKey::from_seed(&own.sign_key().seed()), own.info().clone()).unwrap()
        };
        let statement = Box::new(Statement::new(own, Vec::new(), 1 << 20));
        let security = Security::On { statement, required: true };
        let mut rng = Rng::from_number(seed);
        let (initiator, first) =
            Initiator::start(own, Expect::Key(*rig), &security, None, now(), &mut rng, &mut Challenges::new()).unwrap();
        let mut hello: serde_json::Value = serde_json::from_slice(&first).unwrap();
        hello["from"] = info.id.clone().into();
        hello["payload"]["identity"] = serde_json::to_value(&info).unwrap();
        let honest = info == *own.info();
        let first = if honest { first } else { hello.to_string().into_bytes() };
        Shake { initiator, security, first, identity: copy() }
    }

    /// Goes as far as it can; gives the connection.
    pub(crate) fn run(self, world: &mut World, from: &str, to: &str) -> ConnId {
        self.finish(world, from, to).0
    }

    fn finish(self, world: &mut World, from: &str, to: &str) -> (ConnId, Option<LinkKeys>) {
        let conn = self.begin(world, from, to);
        (conn, self.prove(world, from, conn))
    }

    /// Sends the first message and waits for the second.
    fn begin(&self, world: &mut World, from: &str, to: &str) -> ConnId {
        let conn = world.open(from, to);
        world.say(from, conn, Wire::Text(self.first.clone()));
        world.elapse(Duration::from_millis(20));
        conn
    }

    /// Reads the second and sends the third.
    fn prove(self, world: &mut World, from: &str, conn: ConnId) -> Option<LinkKeys> {
        let Some(Wire::Text(ack)) = world.heard(from, conn).first().cloned() else { return None };
        let dialled = self.initiator.handle_ack(&self.identity, &self.security, &ack, |_| Known::default());
        let Ok(Dialled { keys, proof: Some(proof), .. }) = dialled else {
            world.elapse(seconds(1));
            return None;
        };
        world.say(from, conn, Wire::Frame(proof));
        world.elapse(Duration::from_millis(20));
        Some(keys)
    }
}

/// A member with a session.
pub(crate) struct Member {
    pub(crate) world: World,
    pub(crate) conn: ConnId,
    me: String,
    rig: String,
    half: CipherHalf,
    opener: FrameOpener,
    read: usize,
    rng: Rng,
}

/// A member whose key the rig lists with these grants.
pub(crate) fn member(seed: u64, grants: Grants) -> Member {
    let mut world = farm(seed);
    let mut rng = Rng::from_number(seed);
    let own = Identity::generate("member", Role::Controller, Timestamp::ZERO, &mut rng).unwrap();
    let rig = world.key("rig");
    let shake = Shake::new(&own, own.info().clone(), &rig, seed);
    let me = own.id().to_string();
    world.newcomer("member", own);
    world.allow("rig", "member", grants);
    let (conn, keys) = shake.finish(&mut world, "member", "rig");
    let Some(LinkKeys::Secure { send, receive, .. }) = keys else { panic!("no session") };
    let opener = FrameOpener::new(receive, 1 << 20);
    Member { world, conn, me, rig: rig.node_id().to_string(), half: send, opener, read: 1, rng }
}

impl Member {
    /// The same key in a new session.
    pub(crate) fn anew(mut self, shake: Shake) -> Member {
        let (conn, keys) = shake.finish(&mut self.world, "member", "rig");
        let Some(LinkKeys::Secure { send, receive, .. }) = keys else { panic!("no session") };
        Member { conn, half: send, opener: FrameOpener::new(receive, 1 << 20), read: 1, ..self }
    }

    /// Seals and sends any plain frame.
    pub(crate) fn raw(&mut self, plain: &[u8]) {
        let mut frame = plain.to_vec();
        self.half.seal(&mut frame, 0).unwrap();
        self.world.say("member", self.conn, Wire::Frame(frame));
        self.world.elapse(Duration::from_millis(20));
    }

    pub(crate) fn message(&mut self, payload: &Payload) -> Message {
        Message::new(now(), &mut self.rng, &self.me, &self.rig, payload)
    }

    pub(crate) fn say(&mut self, message: &Message) {
        let plain = [&[1, 0], message.encode().as_bytes()].concat();
        self.raw(&plain);
    }

    /// What the rig has sent since.
    pub(crate) fn bodies(&mut self) -> Vec<(Kind, Vec<u8>)> {
        let all = self.world.heard("member", self.conn);
        let new = all.into_iter().skip(std::mem::take(&mut self.read));
        let mut said = Vec::new();
        for wire in new {
            let Wire::Frame(mut frame) = wire else { continue };
            if let Some((kind, body)) = self.opener.handle_frame(Time::ZERO, &mut frame).unwrap() {
                said.push((kind, body.into_owned()));
            }
        }
        self.read = self.world.heard("member", self.conn).len();
        said
    }

    /// What the rig has said since.
    pub(crate) fn heard(&mut self) -> Vec<Message> {
        let messages = |(kind, _): &(Kind, Vec<u8>)| matches!(kind, Kind::Control | Kind::Large);
        self.bodies().into_iter().filter(messages).map(|(_, body)| Message::decode(&body).unwrap()).collect()
    }

    pub(crate) fn ask(&mut self, payload: &Payload) -> Option<Message> {
        let message = self.message(payload);
        self.heard();
        self.say(&message);
        self.heard().into_iter().find(|m| m.reply_to.as_deref() == Some(message.id.as_str()))
    }

    /// It was told 1002 and cut off, and nobody else noticed.
    pub(crate) fn expect_told_off(mut self) {
        let said = self.heard();
        let last = said.last().expect("the peer was told nothing");
        assert_eq!(last.kind, MessageType::Disconnect);
        assert!(last.payload.as_str().contains("1002"), "{}", last.payload.as_str());
        self.world.elapse(seconds(1));
        assert!(!self.world.is_open(self.conn));
        assert!(self.world.rig("rig").started.is_empty());
        served(&mut self.world);
    }
}

#[test]
fn an_honest_member_is_served_and_one_without_a_grant_is_told_which_is_missing() {
    let mut one = member(200, Grants::CONTROLLER);
    assert_eq!(one.ask(&start("ok")).unwrap().kind, MessageType::MinerAck);
    for (i, grants) in [Grants::NONE, Grants::OBSERVE, Grants::DEPLOY].into_iter().enumerate() {
        let mut one = member(201 + i as u64, grants);
        assert!(one.ask(&Payload::GetStats).is_some_and(|reply| reply.kind == MessageType::Stats));
        for payload in [start("no"), Payload::StopMiner(StopMiner { miner_name: "x".to_owned() })] {
            let reply = one.ask(&payload).unwrap();
            assert_eq!(code(&reply), 1002);
            assert!(reply.payload.as_str().contains("operate"));
        }
        assert!(one.world.rig("rig").started.is_empty());
    }
}

#[test]
fn frames_of_unknown_kinds_and_flags_end_the_session_with_1002() {
    for (i, plain) in [&[0, 0, 1][..], &[6, 0, 1], &[255, 0, 1], &[1, 2, b'{', b'}'], &[1, 0xff], &[5, 0, 1], &[5, 1]]
        .into_iter()
        .enumerate()
    {
        let mut one = member(210 + i as u64, Grants::CONTROLLER);
        one.raw(plain);
        one.expect_told_off();
    }
}

#[test]
fn a_message_in_parts_that_grows_too_large_ends_the_session() {
    let mut one = member(220, Grants::CONTROLLER);
    for _ in 0..17 {
        one.raw(&[&[2, 1][..], &[b' '; 65_517]].concat());
    }
    one.expect_told_off();
}

#[test]
fn a_message_that_is_never_finished_ends_the_session() {
    let mut one = member(221, Grants::CONTROLLER);
    one.raw(&[1, 1, b'{']);
    one.world.elapse(seconds(29));
    one.raw(&[2, 1, b'{']);
    assert!(one.world.is_open(one.conn));
    one.world.elapse(seconds(2));
    one.raw(&[2, 1, b'{']);
    one.expect_told_off();
}

#[test]
fn parts_of_four_messages_at_once_are_held_within_their_bound() {
    let mut one = member(222, Grants::CONTROLLER);
    for kind in [1, 2] {
        for _ in 0..15 {
            one.raw(&[&[kind, 1][..], &[b' '; 65_517]].concat());
        }
    }
    assert!(one.world.is_open(one.conn), "within the bound");
    one.raw(&[&[1, 1][..], &[b' '; 65_517]].concat());
    one.raw(&[&[1, 1][..], &[b' '; 65_517]].concat());
    one.expect_told_off();
}

#[test]
fn messages_in_the_name_of_others_are_dropped() {
    let mut one = member(223, Grants::CONTROLLER);
    let owner = one.world.id("owner").to_string();
    let forged = Message { from: owner.clone(), ..one.message(&start("forged")) };
    one.say(&forged);
    let astray = Message { to: owner, ..one.message(&start("astray")) };
    one.say(&astray);
    assert!(one.world.rig("rig").started.is_empty());
    assert!(one.ask(&start("own")).is_some(), "the session goes on");
    served(&mut one.world);
}

#[test]
fn a_second_handshake_inside_a_session_changes_nothing() {
    let mut one = member(224, Grants::CONTROLLER);
    let hello = one.message(&Payload::Handshake(rigmesh::message::Handshake::default()));
    one.say(&hello);
    let ack =
        one.message(&Payload::HandshakeAck(rigmesh::message::HandshakeAck { accepted: true, ..Default::default() }));
    one.say(&ack);
    assert!(one.ask(&start("still")).is_some_and(|reply| reply.kind == MessageType::MinerAck));
}

#[test]
fn no_message_at_all_inside_a_frame_is_dropped_and_counted() {
    let mut one = member(225, Grants::CONTROLLER);
    for nonsense in [&b""[..], b"{", b"[]", b"\xff\xfe", &[b'['; 60_000]] {
        one.raw(&[&[1, 0], nonsense].concat());
    }
    assert!(one.ask(&start("still")).is_some_and(|reply| reply.kind == MessageType::MinerAck));
    let dropped = one.world.links("rig").iter().find(|link| link.name == "member").unwrap().dropped;
    assert!(dropped >= 5, "{dropped}");
}

#[test]
fn replies_to_nothing_are_dropped() {
    let mut one = member(226, Grants::CONTROLLER);
    let asked = Message::new(now(), &mut one.rng, &one.rig.clone(), &one.me.clone(), &Payload::GetStats);
    let reply = asked.reply(now(), &mut one.rng, &Payload::Stats(rigmesh::message::Stats::default()));
    one.say(&reply);
    assert!(one.ask(&Payload::Ping(Ping { sent_at: 1, rigmesh: None })).is_some());
}

#[test]
fn a_member_that_sends_without_end_is_served_and_others_too() {
    let mut one = member(227, Grants::CONTROLLER);
    for _ in 0..500 {
        let ping = one.message(&Payload::Ping(Ping { sent_at: 1, rigmesh: None }));
        one.say(&ping);
    }
    assert!(one.world.is_open(one.conn));
    served(&mut one.world);
}

#[test]
fn a_sender_that_never_changes_its_key_is_cut_off_and_one_that_does_is_not() {
    // A million frames are for the unit tests of frames.rs; here a key is changed many times, right and wrong.
    let mut one = member(228, Grants::CONTROLLER);
    for _ in 0..10 {
        one.raw(&[5, 0]);
        one.half.rekey().unwrap();
    }
    assert!(one.ask(&start("fresh keys")).is_some());
    one.raw(&[5, 0]);
    // It goes on under the old key.
    one.raw(&[1, 0, b'{', b'}']);
    one.world.elapse(seconds(1));
    assert!(!one.world.is_open(one.conn), "the old key was still taken");
    served(&mut one.world);
}

#[test]
fn a_frame_sealer_that_is_honest_passes_all_of_these() {
    let mut one = member(229, Grants::CONTROLLER);
    let half = std::mem::replace(&mut one.half, CipherHalf::new(&[0; 32]));
    let mut sealer = FrameSealer::new(half, Time::ZERO);
    let message = one.message(&start("large")).encode();
    let (mut done, mut frames) = (0, 0);
    while done < message.len() {
        let mut frame = Vec::new();
        done = sealer.seal(Time::ZERO, Kind::Large, message.as_bytes(), done, &mut frame).unwrap();
        one.world.say("member", one.conn, Wire::Frame(frame));
        frames += 1;
    }
    one.world.elapse(seconds(1));
    assert!(frames >= 1);
    assert_eq!(one.world.rig("rig").started, ["large"]);
}

#[test]
fn the_newer_session_of_a_pair_wins_and_the_older_is_told_so() {
    let mut one = member(240, Grants::CONTROLLER);
    one.world.elapse(seconds(20));
    let own = stolen(&one.world, "member");
    let shake = Shake::new(&own, own.info().clone(), &one.world.key("rig"), 9);
    let (newer, keys) = shake.finish(&mut one.world, "member", "rig");
    assert!(keys.is_some() && one.world.is_open(newer));
    let last = one.heard().pop().unwrap();
    assert_eq!(last.kind, MessageType::Disconnect);
    assert!(last.payload.as_str().contains("replaced") && last.payload.as_str().contains("1001"));
    one.world.elapse(seconds(1));
    assert!(!one.world.is_open(one.conn));
    let links = one.world.links("rig");
    assert_eq!(links.iter().filter(|link| link.name == "member").count(), 1);
}

#[test]
fn a_session_that_was_accepted_earlier_and_proven_later_replaces_none() {
    let mut world = farm(241);
    let own = Identity::generate("member", Role::Controller, Timestamp::ZERO, &mut Rng::from_number(241)).unwrap();
    let rig = world.key("rig");
    let (slow, fast) = (Shake::new(&own, own.info().clone(), &rig, 1), Shake::new(&own, own.info().clone(), &rig, 2));
    world.newcomer("member", own);
    world.allow("rig", "member", Grants::CONTROLLER);
    let earlier = slow.begin(&mut world, "member", "rig");
    let (newer, keys) = fast.finish(&mut world, "member", "rig");
    assert!(keys.is_some());
    slow.prove(&mut world, "member", earlier);
    world.elapse(seconds(1));
    assert!(world.is_open(newer), "the newer one was left for one that is older");
    assert!(!world.is_open(earlier));
    served(&mut world);
}

#[test]
fn names_full_of_tricks_are_names_and_nothing_else() {
    for (i, name) in ["../../../etc/passwd", "rig\n\u{1b}[2J", "C:\\x\0y", "<script>", "a".repeat(256).as_str()]
        .into_iter()
        .enumerate()
    {
        let mut world = farm(230 + i as u64);
        let mut rng = Rng::from_number(i as u64);
        let plain = Identity::generate("member", Role::Controller, Timestamp::ZERO, &mut rng).unwrap();
        let info = NodeIdentity { name: name.to_owned(), ..plain.info().clone() };
        let own = Identity::from_parts(
            SecretKey::from_bytes(*plain.secret().to_bytes()),
            SignKey::from_seed(&plain.sign_key().seed()),
            info.clone(),
        );
        let own = own.unwrap();
        let shake = Shake::new(&own, info, &world.key("rig"), 4);
        world.newcomer("member", own);
        world.allow("rig", "member", Grants::CONTROLLER);
        let (conn, keys) = shake.finish(&mut world, "member", "rig");
        if keys.is_some() && world.is_open(conn) {
            let links = world.links("rig");
            assert!(links.iter().all(|link| link.key.node_id() == link.peer), "{name:?}");
        }
        served(&mut world);
    }
}
