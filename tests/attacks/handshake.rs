//! The handshake, changed by somebody on the line or begun by somebody who is not who it says.

use super::*;
use rigmesh::base::{Error, Refusal, Rng, Timestamp, base64_decode_strict, base64_encode};
use rigmesh::identity::{Identity, Role, SecretKey};
use rigmesh::session::secure::{Bound, CHALLENGE_ENDING, Start, Statement, hash_of};
use rigmesh::sim::Manners;
use serde_json::json;

/// Dials through the tap that was set; there must be no link, and afterwards all is well.
fn refused(world: &mut World) -> Error {
    let told = world.connect("owner", "rig").unwrap_err();
    world.untap();
    assert!(world.links("rig").iter().all(|link| !link.active), "the rig has a link");
    served(world);
    told
}

/// Why the newest handshake was refused, in clear.
fn reason(world: &World) -> String {
    let mut acks = world.captured().iter().filter(|c| c.from == "rig" && matches!(c.wire, Wire::Text(_)));
    let Some(Wire::Text(text)) = acks.next_back().map(|c| c.wire.clone()) else { panic!("no ack") };
    let ack: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(ack["payload"]["accepted"], false);
    ack["payload"]["reason"].as_str().unwrap().to_owned()
}

#[test]
fn cutting_the_offer_out_is_noticed_by_the_rig() {
    let mut world = farm(30);
    change_text(&mut world, "handshake", |text| without(text, "secure"));
    assert!(world.connect("owner", "rig").is_err());
    world.untap();
    assert_eq!(reason(&world), "secure offer was removed");
    served(&mut world);
}

#[test]
fn cutting_the_offer_out_and_its_trace_in_the_challenge_fails_at_the_owner() {
    let mut world = farm(31);
    change_text(&mut world, "handshake", |text| {
        edited(&without(text, "secure"), |payload| payload["challenge"] = json!(base64_encode(&[7; 32])))
    });
    let told = refused(&mut world);
    assert!(told.to_string().contains("challenge response"), "{told}");
}

#[test]
fn cutting_the_answer_out_fails_because_the_rig_signed_no_challenge() {
    let mut world = farm(32);
    change_text(&mut world, "handshake_ack", |text| without(text, "secure"));
    let told = refused(&mut world);
    assert!(told.to_string().contains("challenge response"), "{told}");
}

#[test]
fn cutting_both_out_in_both_directions_leaves_no_link_either() {
    let mut world = farm(33);
    world.tap(|sent| match &sent.wire {
        Wire::Text(text) => {
            let mut json: serde_json::Value = serde_json::from_slice(text).unwrap();
            json["payload"].as_object_mut().unwrap().remove("secure");
            vec![Wire::Text(json.to_string().into_bytes())]
        }
        wire => vec![wire.clone()],
    });
    assert!(world.connect("owner", "rig").is_err());
    world.untap();
    served(&mut world);
}

#[test]
fn another_list_of_versions_is_no_way_down() {
    for (seed, versions) in [(34, json!([2])), (35, json!([]))] {
        let mut world = farm(seed);
        change_text(&mut world, "handshake", move |text| {
            let versions = versions.clone();
            edited(text, |payload| payload["secure"]["v"] = versions)
        });
        assert!(world.connect("owner", "rig").is_err());
        world.untap();
        assert_eq!(reason(&world), "no common secure version, supported: [1]");
        served(&mut world);
    }
}

#[test]
fn an_offer_that_is_none_is_refused_and_nothing_less_is_tried() {
    let broken = [
        json!(null),
        json!({}),
        json!(1),
        json!([]),
        json!({"v": [1]}),
        json!({"v": 1, "m": ""}),
        json!({"v": [1], "m": "AA"}),
    ];
    for (i, broken) in broken.into_iter().enumerate() {
        let mut world = farm(40 + i as u64);
        change_text(&mut world, "handshake", move |text| {
            let broken = broken.clone();
            edited(text, |payload| payload["secure"] = broken)
        });
        assert!(world.connect("owner", "rig").is_err());
        world.untap();
        assert_eq!(reason(&world), "bad secure offer");
        let hellos = world.captured().iter().filter(|c| c.from == "owner" && matches!(c.wire, Wire::Text(_))).count();
        assert_eq!(hellos, 1, "the owner tried again by itself");
        served(&mut world);
    }
}

#[test]
fn a_refusal_that_somebody_made_up_changes_no_mark_and_no_list() {
    let mut world = joined(50);
    world.cut("owner", "rig");
    world.settle();
    change_text(&mut world, "handshake_ack", |text| {
        edited(text, |payload| (payload["accepted"], payload["reason"]) = (json!(false), json!("speak 1.0 to me")))
    });
    let told = world.connect("owner", "rig").unwrap_err();
    assert!(told.to_string().contains("speak 1.0 to me"), "{told}");
    let rig = world.key("rig");
    world.registry("owner", |r| assert!(r.access().is_secure(&rig)));
    world.untap();
    served(&mut world);
}

#[test]
fn whatever_is_changed_in_the_clear_messages_is_noticed() {
    type Change = fn(&mut serde_json::Value);
    let changes: [(&str, Change); 6] = [
        ("handshake", |p| p["identity"]["name"] = json!("mallory")),
        ("handshake", |p| p["identity"]["role"] = json!("dual")),
        ("handshake", |p| p["identity"]["createdAt"] = json!("2001-01-01T00:00:00Z")),
        ("handshake_ack", |p| p["identity"]["name"] = json!("mallory")),
        ("handshake_ack", |p| p["reason"] = json!("welcome")),
        ("handshake_ack", |p| p["challengeResponse"] = json!(base64_encode(&[1; 32]))),
    ];
    for (i, (kind, change)) in changes.into_iter().enumerate() {
        let mut world = farm(60 + i as u64);
        change_text(&mut world, kind, move |text| edited(text, change));
        let outcome = world.connect("owner", "rig");
        world.elapse(seconds(1));
        world.untap();
        // Who is deceived about step 2 shows it in step 3: the owner may believe in a link for one round trip.
        assert!(outcome.is_err() || world.links("owner").iter().all(|link| !link.active), "{kind} {i}");
        assert!(world.links("rig").iter().all(|link| !link.active));
        served(&mut world);
    }
}

#[test]
fn an_ephemeral_key_of_somebody_in_between_is_noticed() {
    let mut world = farm(70);
    let other = SecretKey::generate(&mut Rng::from_number(9)).public();
    change_text(&mut world, "handshake", move |text| {
        edited(text, |payload| payload["secure"]["m"] = json!(base64_encode(&other)))
    });
    assert_eq!(refused(&mut world), Error::Rejected(Refusal::BadProof));
}

#[test]
fn keys_of_small_order_and_other_spellings_of_keys_as_ephemerals_end_it() {
    let (mut top_bit, mut above) = (SecretKey::generate(&mut Rng::from_number(9)).public(), [0xff; 32]);
    top_bit[31] |= 0x80;
    (above[0], above[31]) = (0xf6, 0x7f);
    let mut one = [0; 32];
    one[0] = 1;
    for (i, bad) in [[0; 32], one, above, top_bit].into_iter().enumerate() {
        let mut world = farm(71 + i as u64);
        change_text(&mut world, "handshake", move |text| {
            edited(text, |payload| payload["secure"]["m"] = json!(base64_encode(&bad)))
        });
        refused(&mut world);
    }
}

#[test]
fn a_static_key_in_another_spelling_is_nobodys() {
    let mut world = farm(75);
    let mut spelled = *world.key("owner").as_bytes();
    spelled[31] |= 0x80;
    change_text(&mut world, "handshake", move |text| {
        edited(text, |payload| payload["identity"]["publicKey"] = json!(base64_encode(&spelled)))
    });
    refused(&mut world);
}

/// Somebody with a key of its own says it is the owner, and does everything else right.
fn impostor(world: &mut World, own: &Identity) {
    world.stranger("thief", Manners::Silent);
    let (owner, rig) = (world.key("owner"), world.key("rig"));
    let (mut rng, statement) = (Rng::from_number(3), Statement::new(own, Vec::new(), 1 << 20));
    let mut challenge: [u8; 32] = rng.array();
    challenge[24..].copy_from_slice(&CHALLENGE_ENDING);
    let bound = Bound { initiator: &owner, challenge: &challenge, psk: None };
    let (begun, first) = Start::new(own, &bound, &mut rng).unwrap();
    let hello = json!({"id": "1", "type": "handshake", "from": owner.node_id().to_string(), "to": "",
        "ts": "2027-01-15T08:00:00Z", "payload": {
            "identity": {"id": owner.node_id().to_string(), "name": "owner", "publicKey": owner.to_base64(),
                "createdAt": "2027-01-15T08:00:00Z", "role": "controller"},
            "challenge": base64_encode(&challenge), "version": "1.0",
            "secure": {"v": [1], "m": base64_encode(&first)}}})
    .to_string();
    let conn = world.open("thief", "rig");
    world.say("thief", conn, Wire::Text(hello.clone().into_bytes()));
    world.elapse(Duration::from_millis(20));
    let Wire::Text(ack) = world.heard("thief", conn)[0].clone() else { panic!("no ack") };
    let answer: serde_json::Value = serde_json::from_slice(&ack).unwrap();
    let second = base64_decode_strict("m", answer["payload"]["secure"]["m"].as_str().unwrap()).unwrap();
    // As far as anybody can come who is not the owner: the rig has proven itself and waits.
    let (_, third) = begun.finish(&second, &hash_of(hello.as_bytes()), &ack, &rig, &statement).unwrap();
    world.say("thief", conn, Wire::Frame(third));
    world.elapse(Duration::from_millis(50));
    assert!(!world.is_open(conn), "the impostor was let in");
    assert!(world.links("rig").is_empty() && world.rig("rig").started.is_empty());
    served(world);
}

#[test]
fn somebody_with_another_key_cannot_pass_for_the_owner() {
    let mut world = farm(76);
    let own = Identity::generate("thief", Role::Controller, Timestamp::ZERO, &mut Rng::from_number(5)).unwrap();
    impostor(&mut world, &own);
}

#[test]
fn the_rigs_own_key_does_not_help_to_pass_for_the_owner() {
    // Key-compromise impersonation: whoever read the rig's disk still is not the owner.
    let mut world = farm(77);
    let stolen = member::stolen(&world, "rig");
    impostor(&mut world, &stolen);
}

#[test]
fn with_the_rigs_key_protocol_1_0_would_be_fooled_and_the_secure_mark_prevents_it() {
    let mut world = joined(78);
    // The shared secret of 1.0 is the same from either end: with the rig's key anybody can compute the owner's frames.
    world.copy_of("thief", "owner", Manners::Silent);
    let (hello, _) = world.hello("thief");
    let (_, ack) = world.shake_with("thief", "rig", hello.encode().as_bytes());
    let ack = ack.unwrap();
    assert_eq!((ack.accepted, ack.reason.as_str()), (false, "secure session required"));
    assert!(ack.challenge_response.is_empty(), "nothing was signed for it");
    served(&mut world);
}

#[test]
fn a_rig_that_only_speaks_1_0_any_more_is_not_the_rig() {
    let mut world = joined(79);
    world.copy_of("fake", "rig", Manners::Answers);
    world.cut("owner", "rig");
    world.settle();
    let told = world.dial("owner", "fake:9091", rigmesh::session::Expect::Key(world.key("rig"))).unwrap_err();
    assert!(matches!(told, Error::Rejected(Refusal::Downgrade(_))), "{told}");
    served(&mut world);
}

#[test]
fn the_key_that_was_meant_is_the_key_that_is_got() {
    // Unknown key share: the owner dials the rig and somebody leads it to another node.
    let mut world = farm(80);
    world.node("mallory", Setup::rig().secure(Secure::On).open());
    let expect = rigmesh::session::Expect::Key(world.key("rig"));
    let told = world.dial("owner", "mallory:9091", expect).unwrap_err();
    assert!(matches!(told, Error::WrongKey { .. }), "{told}");
    world.settle();
    assert!(world.links("mallory").iter().all(|link| !link.active));
    served(&mut world);
}

#[test]
fn an_offer_gets_no_signature_that_could_be_used_elsewhere() {
    let mut world = farm(81);
    world.connect("owner", "rig").unwrap();
    for captured in world.captured() {
        if let Wire::Text(text) = &captured.wire {
            let json: serde_json::Value = serde_json::from_slice(text).unwrap();
            assert!(json["payload"].get("challengeResponse").is_none(), "{json}");
        }
    }
}

#[test]
fn a_stranger_with_an_offer_learns_nothing_but_that_it_is_one() {
    let mut world = farm(82);
    let own = Identity::generate("nobody", Role::Controller, Timestamp::ZERO, &mut Rng::from_number(5)).unwrap();
    world.stranger("nobody", Manners::Silent);
    let shake = member::Shake::new(&own, own.info().clone(), &world.key("rig"), 3);
    let conn = shake.run(&mut world, "nobody", "rig");
    assert_eq!(reason(&world), "peer not authorized");
    assert!(!world.is_open(conn));
    let Wire::Text(ack) = world.heard("nobody", conn)[0].clone() else { panic!() };
    assert!(!String::from_utf8(ack).unwrap().contains("\"secure\""), "curve work was done for a stranger");
    served(&mut world);
}

#[test]
fn a_revoked_key_gets_no_session_in_any_mode() {
    let mut world = World::new(83);
    world.node("owner", Setup::controller().secure(Secure::On));
    world.node("rig", Setup::rig().secure(Secure::On).open());
    world.pair("owner", "rig");
    world.connect("owner", "rig").unwrap();
    world.revoke("rig", "owner");
    world.settle();
    assert!(world.links("rig").is_empty());
    assert!(world.connect("owner", "rig").is_err());
    assert_eq!(reason(&world), "peer not authorized");
}

#[test]
fn before_the_third_message_the_rig_says_nothing_and_takes_nothing() {
    let mut world = farm(84);
    world.tap(|sent| match (&sent.wire, sent.from.as_str()) {
        (Wire::Frame(_), "owner") => Vec::new(),
        _ => vec![sent.wire.clone()],
    });
    let _ = world.connect("owner", "rig");
    world.elapse(seconds(20));
    assert!(frames(&world, "rig", "owner").is_empty(), "a frame before the peer was proven");
    assert!(world.links("rig").is_empty());
    world.untap();
    world.cut("owner", "rig");
    world.settle();
    served(&mut world);
}

/// The owner dials, and its third message arrives as something else: the rig has no link by it.
fn third_message_becomes(world: &mut World, other: impl Fn(&[u8]) -> Wire + 'static) {
    let mut done = false;
    world.tap(move |sent| match (&sent.wire, sent.from.as_str()) {
        (Wire::Frame(third), "owner") if !done => {
            done = true;
            vec![other(third)]
        }
        _ => vec![sent.wire.clone()],
    });
    let _ = world.connect("owner", "rig");
    world.elapse(seconds(1));
    world.untap();
    assert!(world.links("rig").is_empty());
    served(world);
}

#[test]
fn a_third_message_of_another_handshake_proves_nothing() {
    let mut world = farm(85);
    world.connect("owner", "rig").unwrap();
    let third = frames(&world, "owner", "rig")[0].1.clone();
    world.cut("owner", "rig");
    world.settle();
    third_message_becomes(&mut world, move |_| Wire::Frame(third.clone()));
}

#[test]
fn a_third_message_as_text_proves_nothing() {
    third_message_becomes(&mut farm(86), |third| Wire::Text(third.to_vec()));
}

#[test]
fn a_node_that_requires_sessions_takes_and_makes_nothing_less() {
    let mut world = World::new(87);
    world.node("owner", Setup::controller().secure(Secure::Required));
    world.node("rig", Setup::rig().secure(Secure::Required));
    world.node("plain", Setup::rig());
    world.stranger("go", Manners::Silent);
    world.allow("rig", "go", Grants::CONTROLLER);
    world.pair("owner", "rig");
    world.pair("owner", "plain");
    let (hello, _) = world.hello("go");
    let (_, ack) = world.shake_with("go", "rig", hello.encode().as_bytes());
    assert_eq!(ack.unwrap().reason, "secure session required");
    let told = world.connect("owner", "plain").unwrap_err();
    assert!(matches!(told, Error::Rejected(Refusal::Downgrade(_))), "{told}");
    served(&mut world);
}
