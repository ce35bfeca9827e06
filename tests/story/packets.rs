//! UEPS packets over links: who may send what, what is forged, what is repeated, and what a rig does with them.

use super::*;
use rigmesh::ThreatInfo;
use rigmesh::base::Error;
use rigmesh::identity::sign_challenge;
use rigmesh::message::UepsFrame;
use rigmesh::sim::{ConnId, Wire};
use rigmesh::wire::ueps::{Header, Key, encode_to, intent};
use serde_json::{Value, json};

/// A controller and a rig that know each other and are connected.
fn connected(seed: u64, grants: Grants) -> World {
    let mut world = World::new(seed);
    world.node("ctl", Setup::controller());
    world.node("rig", Setup::rig());
    world.add_peer("ctl", "rig");
    world.allow("rig", "ctl", grants);
    world.connect("ctl", "rig").unwrap();
    world.elapse(seconds(1)); // the first pings say what each side speaks
    world
}

fn frame(key: &Key, header: Header, payload: &[u8]) -> Payload {
    let mut frame = Vec::new();
    encode_to(&header, payload, key, &mut frame).unwrap();
    Payload::Ueps(UepsFrame { frame })
}

/// What a stranger with the peer's key hears for its packet.
fn say(world: &mut World, conn: ConnId, payload: &Payload) -> (i64, String) {
    let reply = world.ask("go", conn, payload).unwrap();
    match reply.kind {
        MessageType::Error => {
            let error: ErrorPayload = reply.parse().unwrap();
            (error.code, error.message)
        }
        kind => (0, kind.to_string()),
    }
}

fn remote(result: Result<Value, Error>) -> (i64, String) {
    match result {
        Err(Error::Remote { code, message }) => (code, message),
        other => panic!("{other:?}"),
    }
}

// Issue: "handshake answers hello", "compute carries a job request to the miners".
#[test]
fn a_packet_finds_its_handler_and_is_answered_by_one() {
    let mut world = connected(400, Grants::CONTROLLER);
    let hello = world.packet("ctl", "rig", Header::new(intent::HANDSHAKE), b"hello").unwrap();
    assert_eq!(hello, json!({ "node": "simulated" }));
    let started = world.packet("ctl", "rig", Header::new(intent::COMPUTE), br#"{"profile":"monero"}"#).unwrap();
    assert_eq!(started, json!({ "miner": "monero" }));
    assert_eq!(world.rig("rig").packets.started(), ["monero"]);
    for (payload, word) in
        [(&b""[..], "names no profile"), (b"not json", "malformed UEPS payload"), (b"[]", "names no")]
    {
        let (_, why) = remote(world.packet("ctl", "rig", Header::new(intent::COMPUTE), payload));
        assert!(why.contains(word), "{why}");
    }
    // The controller has no miners, and no handlers for them; the rig may not command it anyway.
    let (code, _) = remote(world.packet("rig", "ctl", Header::new(intent::REHAB), b""));
    assert_eq!(code, 1002);
}

// ueps.md, "Dispatcher": the embedder's own intent, any of the 256, with who asks.
#[test]
fn an_embedder_gets_custom_packets_with_who_sent_them_and_answers_what_it_likes() {
    let mut world = connected(401, Grants::OBSERVE);
    let ctl = world.key("ctl");
    world.intents("rig").register_handler(intent::CUSTOM, move |context, packet| {
        assert_eq!(*context.source(), rigmesh::IntentSource::Peer(ctl));
        context.grants().require(Grants::OBSERVE)?;
        context.answer(json!({ "heard": String::from_utf8_lossy(packet.payload()) }));
        Ok(())
    });
    let heard = world.packet("ctl", "rig", Header::new(intent::CUSTOM), b"fan 80 %").unwrap();
    assert_eq!(heard["heard"], "fan 80 %");
    let (_, why) = remote(world.packet("ctl", "rig", Header::new(0x77), b"?"));
    assert_eq!(why, "unknown intent: 0x77");
}

// ueps.md, "Dispatcher": 50,000 itself passes.
#[test]
fn fifty_thousand_pass_and_one_more_does_not() {
    let mut world = connected(402, Grants::CONTROLLER);
    let score = |threat_score| Header { threat_score, ..Header::new(intent::HANDSHAKE) };
    assert!(world.packet("ctl", "rig", score(50_000), b"1").is_ok());
    let (_, why) = remote(world.packet("ctl", "rig", score(50_001), b"2"));
    assert!(why.contains("threat score exceeded"), "{why}");
    assert!(world.packet("ctl", "rig", score(0), b"3").is_ok(), "the peer is not to blame");
    assert!(world.threats("rig").is_empty());
    let counts: Vec<_> = world.intents("rig").counts();
    assert_eq!((counts[0].1.handled, counts[0].1.threat_score_exceeded), (2, 1));
}

// secure-session.md §5: rehab needs `operate`; mesh-weaknesses.md 7.
#[test]
fn rehab_from_a_peer_without_the_permission_pauses_nothing() {
    let mut world = connected(403, Grants::OBSERVE);
    for intent in [intent::REHAB, intent::COMPUTE] {
        let (code, why) = remote(world.packet("ctl", "rig", Header::new(intent), br#"{"profile":"p"}"#));
        assert_eq!(code, 1002, "{why}");
    }
    assert_eq!((world.rig("rig").packets.held(), world.rig("rig").packets.started().len()), (None, 0));
    world.grant("rig", "ctl", Grants::OPERATE);
    world.packet("ctl", "rig", Header::new(intent::REHAB), br#"{"reason":"too hot"}"#).unwrap();
    assert_eq!(world.rig("rig").packets.held().as_deref(), Some("too hot"));
}

// Issue: "pauses all miners until resumed; the state survives a restart and is shown in the status".
#[test]
fn a_rig_in_rehab_says_so_stays_so_over_a_restart_and_goes_on_when_resumed() {
    let mut world = connected(404, Grants::CONTROLLER);
    world.packet("ctl", "rig", Header::new(intent::REHAB), br#"{"reason":"too hot"}"#).unwrap();
    let (_, why) = remote(world.packet("ctl", "rig", Header::new(intent::COMPUTE), br#"{"profile":"p"}"#));
    assert!(why.contains("paused"), "{why}");
    world.power_cut("rig");
    world.elapse(seconds(5));
    let held = |world: &mut World| {
        let stats = world.call("ctl", "rig", Payload::GetStats).unwrap();
        stats.parse::<rigmesh::message::Stats>().unwrap().held
    };
    assert_eq!(held(&mut world).as_deref(), Some("too hot"));
    world.call("ctl", "rig", Payload::ResumeMiner(Default::default())).unwrap();
    assert_eq!(held(&mut world), None);
    world.packet("ctl", "rig", Header::new(intent::COMPUTE), br#"{"profile":"p"}"#).unwrap();
    assert_eq!(world.rig("rig").packets.started(), ["p"]);
}

// ueps.md, "Reading": no replay protection in the frame itself.
#[test]
fn a_packet_that_comes_again_is_refused_in_an_envelope_of_its_own_too() {
    let mut world = rig_and_go(405);
    let conn = world.go_connect("go", "rig");
    let key = Key::for_link(&world.shared_secret("go", "rig"));
    let packet = frame(&key, Header::new(intent::COMPUTE), br#"{"profile":"p"}"#);
    assert_eq!(say(&mut world, conn, &packet), (0, "ueps_reply".to_owned()));
    let (code, why) = say(&mut world, conn, &packet);
    assert!(code == 1001 && why.contains("seen before"), "{why}");
    assert_eq!(world.rig("rig").packets.started(), ["p"]);
}

// mesh-weaknesses.md 30: the HMAC does not cover where the payload begins.
#[test]
fn a_packet_cut_in_another_place_is_no_packet() {
    let mut world = rig_and_go(406);
    let conn = world.go_connect("go", "rig");
    let key = Key::for_link(&world.shared_secret("go", "rig"));
    let danger = Header { threat_score: 65_535, ..Header::new(intent::COMPUTE) };
    let mut signed = Vec::new();
    encode_to(&danger, b"", &key, &mut signed).unwrap();
    // Version, layers and intent, then the HMAC; the threat's TLV has become the payload: its score is gone.
    let mut cut = signed[..16].to_vec();
    cut.extend_from_slice(&signed[21..56]);
    cut.extend_from_slice(&[0xff, 0, 5]);
    cut.extend_from_slice(&signed[16..21]);
    let (code, why) = say(&mut world, conn, &Payload::Ueps(UepsFrame { frame: cut }));
    assert_eq!(code, 1001, "{why}");
    for short in 0..signed.len() {
        let (code, _) = say(&mut world, conn, &Payload::Ueps(UepsFrame { frame: signed[..short].to_vec() }));
        assert_eq!(code, 1001, "{short}");
    }
    assert!(world.rig("rig").packets.started().is_empty());
    assert!(world.threats("rig").is_empty(), "broken is not forged");
}

// ueps.md, "Which key": the handshake signs 32 bytes for any stranger, and a packet with 11 bytes of payload has just that.
#[test]
fn a_packet_signed_by_the_handshake_is_not_believed() {
    let mut world = rig_and_go(407);
    let secret = world.shared_secret("go", "rig");
    // What the oracle gives: HMAC(shared secret, challenge), here for the signed bytes of a rehab packet.
    let bare = Key::forgeable_from_shared_secret(&secret);
    let Payload::Ueps(packet) = frame(&bare, Header::new(intent::REHAB), b"{\"id\":1234}") else { unreachable!() };
    let challenge: Vec<u8> = [&packet.frame[..21], &packet.frame[packet.frame.len() - 11..]].concat();
    assert_eq!(challenge.len(), 32);
    let (mut hello, mut offer) = world.hello("go");
    offer.challenge.clone_from(&challenge);
    hello.payload = Payload::Handshake(offer).encode();
    let (conn, ack) = world.shake_with("go", "rig", hello.encode().as_bytes());
    let oracle = ack.unwrap().challenge_response;
    assert_eq!(oracle[..], packet.frame[24..56], "the forged packet is byte-equal to a genuine one with the bare key");
    let shared = rigmesh::identity::SharedSecret::from_bytes(secret);
    assert_eq!(oracle, sign_challenge(&challenge, &shared));
    let (code, why) = say(&mut world, conn, &Payload::Ueps(packet));
    assert!(code == 1001 && why.contains("HMAC mismatch (ThreatScore +100)"), "{why}");
    assert_eq!(world.rig("rig").packets.held(), None);
}

// Issue: "+100 for a wrong HMAC, decays by 100 a minute, above the threshold disconnected and refused for ten minutes".
#[test]
fn who_goes_on_forging_is_disconnected_and_refused_for_ten_minutes() {
    let mut world = rig_and_go(408);
    let key = world.key("go");
    let conn = world.go_connect("go", "rig");
    let forged = frame(&Key::from_bytes(b"guess"), Header::new(intent::REHAB), b"");
    assert_eq!(say(&mut world, conn, &forged).0, 1001);
    assert_eq!(world.threats("rig"), [(key, ThreatInfo::Score(100))]);
    // 50,000 and a little: what decays in the minutes between is made up for.
    let mut forgeries = 1;
    while world.is_open(conn) {
        world.ask("go", conn, &forged);
        forgeries += 1;
        assert!(forgeries < 520, "never refused");
    }
    assert!(forgeries > 500, "{forgeries}");
    let [(refused, ThreatInfo::RefusedFor(time))] = world.threats("rig")[..] else { panic!("not refused") };
    assert!(refused == key && time <= seconds(600) && time > seconds(590), "{time:?}");
    let conn = world.go_connect("go", "rig");
    assert!(world.ask("go", conn, &Payload::GetStats).is_none() && !world.is_open(conn), "refused");
    world.elapse(seconds(600));
    assert!(world.threats("rig").is_empty());
    let conn = world.go_connect("go", "rig");
    assert_eq!(world.ask("go", conn, &Payload::GetStats).unwrap().kind, MessageType::Stats, "forgiven");
}

// ueps.md: "never to a Go node".
#[test]
fn a_go_node_is_sent_no_packet() {
    let mut world = World::new(409);
    world.node("ctl", Setup::controller());
    world.stranger("go", Manners::Answers);
    world.add_peer("ctl", "go");
    world.connect("ctl", "go").unwrap();
    world.elapse(seconds(1));
    let before = world.captured().len();
    let refused = world.packet("ctl", "go", Header::new(intent::HANDSHAKE), b"hello").unwrap_err();
    assert!(matches!(refused, Error::Config(_)), "{refused}");
    assert_eq!(world.captured().len(), before);
}

// secure-session.md §2, kind 4.
#[test]
fn in_a_session_packets_go_both_ways_and_their_answers_come_back() {
    let mut world = in_session(410, Grants::CONTROLLER);
    let hello = world.packet("ctl", "rig", Header::new(intent::HANDSHAKE), b"hello").unwrap();
    assert_eq!(hello, json!({ "node": "simulated" }));
    assert_eq!(world.packet("rig", "ctl", Header::new(intent::HANDSHAKE), b"hello").unwrap(), hello);
    let started = world.packet("ctl", "rig", Header::new(intent::COMPUTE), br#"{"profile":"monero"}"#).unwrap();
    assert_eq!(
        (started, world.rig("rig").packets.started()),
        (json!({ "miner": "monero" }), vec!["monero".to_owned()])
    );
    let (code, _) = remote(world.packet("rig", "ctl", Header::new(intent::REHAB), b""));
    assert_eq!(code, 1002, "a rig commands nobody");
    let (code, why) = remote(world.packet("ctl", "rig", Header::new(intent::HANDSHAKE), b"hello"));
    assert!(code == 1001 && why.contains("seen before"), "{why}");
    let payload = vec![b'x'; 65_535];
    world.packet("ctl", "rig", Header::new(intent::HANDSHAKE), &payload).unwrap();
    let score = |threat_score| Header { threat_score, ..Header::new(intent::HANDSHAKE) };
    assert!(world.packet("ctl", "rig", score(50_000), b"1").is_ok());
    let (_, why) = remote(world.packet("ctl", "rig", score(50_001), b"2"));
    assert!(why.contains("threat score exceeded"), "{why}");
    let base64 = b"AQABCQ"; // how every packet begins in base64
    let frames = |c: &rigmesh::sim::Captured| match &c.wire {
        Wire::Frame(frame) | Wire::Text(frame) => frame.windows(base64.len()).any(|w| w == base64),
    };
    assert!(!world.captured().iter().any(frames));
}

#[test]
fn the_audit_log_knows_a_packet_of_a_session_by_its_hmac() {
    let mut world = in_session(411, Grants::CONTROLLER);
    world.packet("ctl", "rig", Header::new(intent::REHAB), br#"{"reason":"too hot"}"#).unwrap();
    let lines = world.audit_of("rig");
    let [begin, end] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&begin["what"], &begin["args"]), (&json!("ueps"), &json!({ "intent": "rehab" })));
    assert!(begin["id"].as_str().unwrap().len() == 64 && begin["sid"].is_string(), "{begin}");
    assert_eq!(end["ok"], true);
}

#[test]
fn a_packet_on_a_line_that_is_cut_is_no_success_and_the_same_packet_goes_once_at_a_time() {
    let mut world = in_session(412, Grants::CONTROLLER);
    world.rig("rig").hung = true;
    let first = world.begin_packet("ctl", "rig", Header::new(intent::COMPUTE), br#"{"profile":"p"}"#);
    let same = world.packet("ctl", "rig", Header::new(intent::COMPUTE), br#"{"profile":"p"}"#).unwrap_err();
    assert!(same.to_string().contains("under way already"), "{same}");
    world.elapse(seconds(1));
    world.cut("ctl", "rig");
    let told = world.packet_answer(first).unwrap_err();
    assert!(matches!(told, Error::Unreachable(_)), "{told}");
    world.connect("ctl", "rig").unwrap();
    let late = world.begin_packet("ctl", "rig", Header::new(intent::COMPUTE), br#"{"profile":"q"}"#);
    let (_, why) = remote(world.packet_answer(late));
    assert!(why.contains("too long"), "{why}");
}
