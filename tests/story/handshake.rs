//! Who gets in.

use super::*;
use rigmesh::base::Error;
use rigmesh::message::Handshake;
use rigmesh::session::Expect;
use rigmesh::sim::stranger::Manners;

/// Sends a changed hello; the reason of the refusal, `None` when it was a bare close.
fn refused(world: &mut World, change: impl FnOnce(&mut Handshake)) -> Option<String> {
    let (mut hello, mut offer) = world.hello("go");
    change(&mut offer);
    hello.payload = Payload::Handshake(offer).encode();
    let (conn, ack) = world.shake_with("go", "rig", hello.encode().as_bytes());
    world.elapse(seconds(1));
    assert!(!world.is_open(conn) && world.links("rig").is_empty());
    ack.map(|ack| {
        assert!(!ack.accepted && ack.challenge_response.is_empty());
        ack.reason
    })
}

// mesh.md §8 row 1; items 6, 8.
#[test]
fn an_id_that_is_not_the_hash_of_the_key_is_refused_and_a_placeholder_to_is_not() {
    let mut world = rig_and_go(1);
    let reason = "node id does not belong to the key".to_owned();
    assert_eq!(
        refused(&mut world, |o| o.identity.id = "0123456789abcdef0123456789abcdef".into()),
        Some(reason.clone())
    );
    assert_eq!(refused(&mut world, |o| o.identity.id.clear()), Some(reason));
    let conn = world.go_connect("go", "rig"); // its `to` is "pending"
    assert_eq!(world.ask("go", conn, &Payload::GetStats).unwrap().kind, MessageType::Stats);
}

// mesh.md §8 row 2; item 33.
#[test]
fn another_spelling_of_an_admitted_key_gets_no_further() {
    let mut world = rig_and_go(2);
    assert_eq!(refused(&mut world, |o| o.identity.public_key.insert(4, '\n')), None);
    let mut high = *world.key("go").as_bytes();
    high[31] |= 0x80;
    assert_eq!(refused(&mut world, |o| o.identity.public_key = rigmesh::base::base64_encode(&high)), None);
    assert_eq!(refused(&mut world, |o| o.identity.public_key = rigmesh::base::base64_encode(&[0; 32])), None);
    world.revoke("rig", "go");
    assert_eq!(refused(&mut world, |_| {}), Some("peer not authorized".into()));
}

// mesh.md §8 row 3; item 7.
#[test]
fn a_registered_id_shown_with_another_key_admits_nobody() {
    let mut world = rig_and_go(3);
    world.stranger("thief", Manners::Silent);
    let (mut hello, mut offer) = world.hello("thief");
    offer.identity.id = world.id("go").to_string();
    hello.payload = Payload::Handshake(offer).encode();
    let (_, ack) = world.shake_with("thief", "rig", hello.encode().as_bytes());
    assert!(!ack.unwrap().accepted);
    let (hello, _) = world.hello("thief");
    let (_, ack) = world.shake_with("thief", "rig", hello.encode().as_bytes());
    assert_eq!(ack.unwrap().reason, "peer not authorized");
    world.go_connect("go", "rig");
}

// mesh.md §8 row 3, second half: who registered itself in open mode stays out of allowlist mode.
#[test]
fn an_entry_that_made_itself_in_open_mode_admits_nobody_later() {
    let mut world = World::new(4);
    world.node("rig", Setup::rig().open());
    world.stranger("guest", Manners::Silent);
    let conn = world.go_connect("guest", "rig");
    assert_eq!(world.ask("guest", conn, &ping()).unwrap().kind, MessageType::Pong);
    let id = world.id("guest").to_string();
    world.registry("rig", |r| {
        assert!(r.peer(&id).is_some());
        assert!(!r.is_public_key_allowed(&r.peer(&id).unwrap().public_key));
    });
    assert_eq!(code(&world.ask("guest", conn, &start("xmrig")).unwrap()), 1002);
    assert!(world.rig("rig").started.is_empty());
}

// mesh.md §8 row 4; item 10.
#[test]
fn whoever_answers_at_a_rigs_address_with_another_key_gets_nothing() {
    let mut world = World::new(5);
    world.node("ctl", Setup::controller());
    world.stranger("rig", Manners::Answers);
    world.add_peer("ctl", "rig");
    let expected = world.key("rig");
    world.stranger("rig", Manners::Answers); // another machine took the address
    let error = world.dial("ctl", "rig:9091", Expect::Key(expected)).unwrap_err();
    assert!(matches!(error, Error::WrongKey { .. }), "{error}");
    let conn = world.accepted("rig")[0];
    assert_eq!(world.heard("rig", conn).len(), 1, "the handshake and not a frame more");
    world.registry("ctl", |r| {
        assert_eq!(r.count(), 1);
        assert_eq!(r.list_peers().next().unwrap().public_key, expected.to_base64());
    });
}

// mesh.md §8 row 4, the dial by bare address.
#[test]
fn a_bare_address_teaches_a_key_and_takes_no_command_before_peers_add() {
    let mut world = World::new(6);
    world.node("ctl", Setup::controller());
    world.stranger("rig", Manners::Answers);
    let info = world.dial("ctl", "rig:9091", Expect::Anyone).unwrap();
    assert_eq!(info.key, world.key("rig"));
    assert!(matches!(world.call("ctl", "rig", start("xmrig")), Err(Error::Config(_))));
    world.registry("ctl", |r| assert_eq!(r.count(), 0));
    world.add_peer("ctl", "rig");
    assert_eq!(world.call("ctl", "rig", Payload::GetStats).unwrap().kind, MessageType::Stats);
}

// mesh.md §8 row 5; items 4, 8.
#[test]
fn challenges_of_other_lengths_our_own_challenge_and_our_own_key_are_never_signed() {
    let mut world = rig_and_go(7);
    for length in [1, 11, 31, 33, 1000] {
        let reason = refused(&mut world, |o| o.challenge = vec![7; length]).unwrap();
        assert!(reason.contains("32 bytes"), "{length}: {reason}");
    }
    let (mut hello, mut offer) = world.hello("go");
    offer.challenge.clear();
    hello.payload = Payload::Handshake(offer).encode();
    let (_, ack) = world.shake_with("go", "rig", hello.encode().as_bytes());
    assert!(ack.unwrap().accepted, "no challenge is allowed");

    // The rig dials the thief, who gives the rig's own challenge back to the rig's listener.
    let mut world = rig_and_go(8);
    world.add_peer("rig", "go");
    let _ = world.begin_call("rig", "go", ping(), seconds(5));
    world.elapse(Duration::from_millis(3));
    let challenge = world
        .captured()
        .iter()
        .find_map(|c| match &c.wire {
            rigmesh::sim::Wire::Text(text) if c.from == "rig" => {
                Some(Message::decode(text).unwrap().parse::<Handshake>().unwrap().challenge)
            }
            _ => None,
        })
        .unwrap();
    assert_eq!(challenge.len(), 32);
    let (mut hello, mut offer) = world.hello("go");
    offer.challenge = challenge;
    hello.payload = Payload::Handshake(offer).encode();
    let (_, ack) = world.shake_with("go", "rig", hello.encode().as_bytes());
    assert!(ack.is_none(), "a reflected challenge is not signed");

    let mut world = rig_and_go(9);
    world.copy_of("mirror", "rig", Manners::Silent);
    let (hello, _) = world.hello("mirror");
    let (_, ack) = world.shake_with("mirror", "rig", hello.encode().as_bytes());
    let ack = ack.unwrap();
    assert!(!ack.accepted && ack.challenge_response.is_empty());
}

// items 8, 11, 12: names and roles.
#[test]
fn an_invalid_name_and_an_unknown_role_connect_and_the_entry_follows_the_peer() {
    let mut world = rig_and_go(10);
    let id = world.id("go").to_string();
    for (name, stored) in [("../etc/rig.lan", ""), ("new name", "new name")] {
        let (mut hello, mut offer) = world.hello("go");
        offer.identity.name = name.to_owned();
        offer.identity.role = rigmesh::identity::Role::Other("overlord".into());
        hello.payload = Payload::Handshake(offer).encode();
        let (conn, ack) = world.shake_with("go", "rig", hello.encode().as_bytes());
        assert!(ack.unwrap().accepted);
        assert!(world.ask("go", conn, &ping()).is_some());
        world.registry("rig", |r| assert_eq!(r.peer(&id).unwrap().name, stored));
        world.hang_up("go", conn);
        world.settle();
    }
}
