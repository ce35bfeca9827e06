//! Data and packets in frames of their own kinds (secure-session.md §2), from a member that breaks the rules: what nobody
//! asked for, what is forged, what is no packet, what is too long, what comes again.

use super::member::{Member, member};
use super::*;
use rigmesh::message::{Chunk, UepsFrame};
use rigmesh::session::secure::{DATA_BYTES_MAX, Kind, PACKET_BYTES_MAX};
use rigmesh::wire::ueps::{Header, Key, Reading, decode, encode_to, intent};
use rigmesh::{IntentAnswer, ThreatInfo};

/// The key of packets between the member and the rig.
fn link_key(one: &Member) -> Key {
    Key::for_link(&one.world.shared_secret("member", "rig"))
}

fn packet(key: &Key, header: Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_to(&header, payload, key, &mut bytes).unwrap();
    bytes
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 0], body].concat()
}

/// The answers in packets that came since.
fn answers(one: &mut Member) -> Vec<IntentAnswer> {
    let key = link_key(one).for_answers();
    let read = |body: &[u8]| {
        let (frame, rest) = decode(body, Reading::Strict).unwrap();
        assert!(rest.is_empty());
        IntentAnswer::decode(frame.verify(&key).unwrap().payload()).unwrap()
    };
    one.bodies().iter().filter(|(kind, _)| *kind == Kind::Ueps).map(|(_, body)| read(body)).collect()
}

fn dropped(one: &mut Member) -> u64 {
    one.world.links("rig").iter().find(|link| link.name == "member").unwrap().dropped
}

/// The session goes on, and so does everybody else's.
fn goes_on(mut one: Member) {
    assert!(one.ask(&Payload::GetStats).is_some_and(|reply| reply.kind == MessageType::Stats));
    served(&mut one.world);
}

#[test]
fn data_that_nobody_asked_for_is_dropped_and_counted() {
    let mut one = member(400, Grants::CONTROLLER);
    for (h, index) in [(0, 0), (1, 0), (0, u32::MAX), (u32::MAX, 7)] {
        one.raw(&framed(3, &Chunk::encode_frame(h, index, b"bytes")));
    }
    assert_eq!(dropped(&mut one), 4);
    // A whole chunk in parts, as the owner would send it.
    let chunk = Chunk::encode_frame(1, 1, &[7; 65_536]);
    let (last, parts) =
        chunk.rchunks(16_384).rev().collect::<Vec<_>>().split_last().map(|(l, p)| (*l, p.to_vec())).unwrap();
    for part in parts {
        one.raw(&[&[3, 1], part].concat());
    }
    one.raw(&framed(3, last));
    assert_eq!(dropped(&mut one), 5);
    assert_eq!(one.world.rig("rig").depot.written, 0);
    assert!(one.bodies().iter().all(|(kind, _)| *kind != Kind::Ueps && *kind != Kind::Data));
    goes_on(one);
}

#[test]
fn data_without_its_place_is_dropped_and_too_much_of_it_ends_the_session() {
    let mut one = member(401, Grants::CONTROLLER);
    for length in 0..=8 {
        one.raw(&framed(3, &vec![0; length]));
    }
    assert_eq!(dropped(&mut one), 9);
    goes_on(one);
    for (seed, kind, max) in [(402, 3, DATA_BYTES_MAX), (403, 4, PACKET_BYTES_MAX)] {
        let mut one = member(seed, Grants::CONTROLLER);
        one.raw(&[&[kind, 1][..], &vec![0; 60_000]].concat());
        assert!(one.world.is_open(one.conn));
        one.raw(&[&[kind, 1][..], &vec![0; max - 60_000 + 1]].concat());
        one.expect_told_off();
    }
}

#[test]
fn chunks_and_packets_as_messages_are_nothing_in_a_session() {
    let mut one = member(404, Grants::CONTROLLER);
    let chunk = one.message(&Payload::Chunk(Chunk { h: 0, i: 0, data: vec![1; 100] }));
    one.say(&chunk);
    assert_eq!(dropped(&mut one), 1);
    let frame = packet(&link_key(&one), Header::new(intent::COMPUTE), br#"{"profile":"p"}"#);
    let reply = one.ask(&Payload::Ueps(UepsFrame { frame })).unwrap();
    assert_eq!(code(&reply), 1001);
    assert!(one.world.rig("rig").packets.started().is_empty());
    goes_on(one);
}

#[test]
fn a_packet_is_carried_out_once_and_answered_by_a_packet_with_the_key_of_answers() {
    let mut one = member(405, Grants::CONTROLLER);
    let key = link_key(&one);
    one.bodies();
    let order = packet(&key, Header::new(intent::COMPUTE), br#"{"profile":"monero"}"#);
    one.raw(&framed(4, &order));
    let [answer] = &answers(&mut one)[..] else { panic!("one answer") };
    assert_eq!(answer.clone().into_result().unwrap()["miner"], "monero");
    let (asked, _) = decode(&order, Reading::Strict).unwrap();
    assert!(answer.answers(asked.stated_hmac()));
    // In another frame it is the same packet.
    one.raw(&framed(4, &order));
    let [answer] = &answers(&mut one)[..] else { panic!("one answer") };
    assert!(answer.failure().unwrap().contains("seen before"), "{answer:?}");
    assert_eq!(one.world.rig("rig").packets.started(), ["monero"]);
    // The largest one takes two parts.
    let large = packet(&key, Header::new(intent::HANDSHAKE), &[b'x'; 65_535]);
    assert_eq!(large.len(), PACKET_BYTES_MAX);
    one.raw(&[&[4, 1], &large[..65_517]].concat());
    one.raw(&framed(4, &large[65_517..]));
    assert_eq!(answers(&mut one).len(), 1);
    goes_on(one);
}

#[test]
fn a_packet_beyond_its_senders_grants_is_refused_in_a_packet() {
    for (seed, grants) in [(410, Grants::NONE), (411, Grants::OBSERVE), (412, Grants::DEPLOY)] {
        let mut one = member(seed, grants);
        let key = link_key(&one);
        one.bodies();
        for (intent, payload) in [(intent::COMPUTE, &br#"{"profile":"p"}"#[..]), (intent::REHAB, b"")] {
            one.raw(&framed(4, &packet(&key, Header::new(intent), payload)));
            let [answer] = &answers(&mut one)[..] else { panic!("one answer") };
            assert!(answer.failure().unwrap().contains("operate"), "{answer:?}");
        }
        let rig = &one.world.rig("rig").packets;
        assert_eq!((rig.held(), rig.started().len()), (None, 0));
        goes_on(one);
    }
}

#[test]
fn what_is_no_packet_is_dropped_and_counted_and_never_answered() {
    let mut one = member(420, Grants::CONTROLLER);
    one.bodies();
    let good = packet(&link_key(&one), Header::new(intent::REHAB), b"{}");
    let mut sent = 0;
    for short in 0..good.len() {
        one.raw(&framed(4, &good[..short]));
        sent += 1;
    }
    for nonsense in [&b"{\"frame\":\"\"}"[..], &[0xff; 1000], &[good.as_slice(), b"x"].concat(), &good.repeat(2)] {
        one.raw(&framed(4, nonsense));
        sent += 1;
    }
    assert_eq!(dropped(&mut one), sent);
    assert!(answers(&mut one).is_empty() && one.world.threats("rig").is_empty(), "broken is not forged");
    assert_eq!(one.world.rig("rig").packets.held(), None);
    goes_on(one);
}

#[test]
fn forged_packets_are_counted_never_answered_and_end_in_ten_minutes_outside() {
    let mut one = member(421, Grants::CONTROLLER);
    one.bodies();
    let bare = Key::forgeable_from_shared_secret(&one.world.shared_secret("member", "rig"));
    one.raw(&framed(4, &packet(&bare, Header::new(intent::REHAB), b"")));
    assert!(matches!(one.world.threats("rig")[..], [(_, ThreatInfo::Score(100))]));
    let mut forgeries = 1;
    while one.world.is_open(one.conn) {
        one.raw(&framed(4, &packet(&bare, Header::new(intent::REHAB), &[forgeries as u8, (forgeries >> 8) as u8])));
        forgeries += 1;
        assert!(forgeries < 600, "never refused");
    }
    assert!(forgeries > 490 && one.world.rig("rig").packets.held().is_none());
    assert!(matches!(one.world.threats("rig")[..], [(_, ThreatInfo::RefusedFor(_))]));
    served(&mut one.world);
}

#[test]
fn an_answer_to_nothing_and_a_packet_with_the_key_of_answers_are_no_request() {
    let mut one = member(422, Grants::CONTROLLER);
    let key = link_key(&one).for_answers();
    one.bodies();
    for payload in [&br#"{"profile":"p"}"#[..], br#"{"re":"00","ok":true}"#, b""] {
        one.raw(&framed(4, &packet(&key, Header::new(intent::COMPUTE), payload)));
    }
    assert_eq!(dropped(&mut one), 3);
    assert!(answers(&mut one).is_empty() && one.world.threats("rig").is_empty());
    assert!(one.world.rig("rig").packets.started().is_empty());
    goes_on(one);
}
