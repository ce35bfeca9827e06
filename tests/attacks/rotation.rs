//! Somebody who has a key, and wants another one in its place; or who wants to keep its owner from replacing it
//! (secure-session.md §6).

use super::member::{Shake, member, now, stolen};
use super::*;
use rigmesh::base::{Rng, Timestamp};
use rigmesh::identity::{Identity, Role, Rotation, SignKey};
use rigmesh::message::{KeepKey, RotateState, Rotated};
use rigmesh::peers::Admission;

const HOUR: u64 = 3600;

fn node(n: u64) -> Identity {
    Identity::generate("next", Role::Controller, Timestamp::ZERO, &mut Rng::from_number(1_000_000 + n)).unwrap()
}

fn says(said: &Rotation) -> Payload {
    Payload::Rotate(Box::new(said.clone()))
}

/// What the rig thinks of a key.
fn standing(world: &World, who: &Identity) -> (Admission, Grants) {
    let (key, wall) = (who.public_key(), now().wall);
    world.registry("rig", |registry| (registry.admission(&key), registry.grants(&key, wall)))
}

fn told(reply: Option<Message>) -> Rotated {
    reply.expect("no answer").parse().unwrap()
}

/// Dials the rig under new keys, and says the least that proves them.
fn proves(world: &mut World, name: &str, own: Identity, seed: u64) -> ConnId {
    let shake = Shake::new(&own, own.info().clone(), &world.key("rig"), seed);
    world.newcomer(name, own);
    shake.run(world, name, "rig")
}

#[test]
fn a_thief_of_a_key_gets_nothing_for_a_day_in_which_its_owner_can_stop_him() {
    let mut one = member(400, Grants::CONTROLLER);
    let (old, thiefs) = (stolen(&one.world, "member"), node(400));
    one.world.grant("rig", "owner", "controller,manage".parse().unwrap());
    let answer = told(one.ask(&says(&Rotation::new(&old, &thiefs, 1))));
    assert_eq!(answer.state, RotateState::Pending);
    proves(&mut one.world, "thief", node(400), 1);
    one.world.elapse(seconds(23 * HOUR));
    assert_eq!(standing(&one.world, &thiefs), (Admission::Open, Grants::NONE), "not yet");
    assert_eq!(standing(&one.world, &old).1, Grants::CONTROLLER, "the old key works meanwhile");
    // Its owner sees it in the status and keeps the key, from afar.
    let keep = Payload::KeepKey(KeepKey { key: old.public_key() });
    one.world.connect("owner", "rig").unwrap();
    assert_eq!(one.world.call("owner", "rig", keep).unwrap().kind, MessageType::Access);
    one.world.elapse(seconds(48 * HOUR));
    assert_eq!(standing(&one.world, &thiefs).0, Admission::Refused);
    assert_eq!(standing(&one.world, &old).1, Grants::CONTROLLER);
    served(&mut one.world);
    // Said again, it is refused.
    let shake = Shake::new(&old, old.info().clone(), &one.world.key("rig"), 9);
    let mut again = one.anew(shake);
    let reply = again.ask(&says(&Rotation::new(&old, &thiefs, 2))).unwrap();
    assert!(reply.payload.as_str().contains("owner keeps"), "{reply:?}");
}

#[test]
fn statements_without_end_fill_no_log_and_cost_little() {
    let mut one = member(410, Grants::NONE);
    let old = stolen(&one.world, "member");
    let said = Rotation::new(&old, &node(410), 1);
    for n in 0..20 {
        let reply = one.ask(&says(&said)).unwrap();
        assert_eq!(reply.kind == MessageType::Rotated, n < 8, "{n}: {reply:?}");
    }
    assert_eq!(one.world.audit_of("rig").iter().filter(|line| line["what"] == "rotate").count(), 1);
    served(&mut one.world);
}

#[test]
fn a_successor_that_nobody_stops_takes_its_place_after_a_day_and_the_old_key_is_out() {
    let mut one = member(401, Grants::OPERATE);
    let (old, new) = (stolen(&one.world, "member"), node(401));
    told(one.ask(&says(&Rotation::new(&old, &new, 1))));
    proves(&mut one.world, "next", node(401), 2);
    one.world.elapse(seconds(25 * HOUR));
    assert_eq!(standing(&one.world, &new), (Admission::Listed, Grants::OPERATE));
    assert_eq!(standing(&one.world, &old).0, Admission::Revoked);
    assert!(!one.world.is_open(one.conn), "the old key's session is closed");
    let audit = one.world.audit_of("rig");
    assert!(audit.iter().any(|line| line["what"] == "rotate"), "{audit:?}");
    served(&mut one.world);
}

#[test]
fn of_two_statements_none_is_followed_and_both_are_kept() {
    let mut one = member(402, Grants::CONTROLLER);
    let (old, owners, thiefs) = (stolen(&one.world, "member"), node(402), node(403));
    assert_eq!(told(one.ask(&says(&Rotation::new(&old, &thiefs, 1)))).state, RotateState::Pending);
    assert_eq!(told(one.ask(&says(&Rotation::new(&old, &owners, 2)))).state, RotateState::Contested);
    for (name, own, seed) in [("thief", node(403), 3), ("next", node(402), 4)] {
        proves(&mut one.world, name, own, seed);
    }
    one.world.elapse(seconds(72 * HOUR));
    for named in [&owners, &thiefs] {
        assert_eq!(standing(&one.world, named), (Admission::Refused, Grants::NONE));
    }
    assert_eq!(standing(&one.world, &old).1, Grants::CONTROLLER, "until the owner decides");
    let kept =
        one.world.registry("rig", |r| r.access().permission(&old.public_key()).unwrap().rotation.clone()).unwrap();
    assert_eq!((kept.statement.new, kept.contradicted.unwrap().new), (thiefs.public_key(), owners.public_key()));
}

#[test]
fn a_key_without_its_signing_key_names_nobody() {
    let mut one = member(404, Grants::CONTROLLER);
    let (old, thiefs) = (stolen(&one.world, "member"), node(404));
    let secret = rigmesh::identity::SecretKey::from_bytes(*old.secret().to_bytes());
    let half = Identity::from_parts(secret, SignKey::from_seed(&[7; 32]), old.info().clone()).unwrap();
    let reply = one.ask(&says(&Rotation::new(&half, &thiefs, 1))).unwrap();
    assert!(reply.kind == MessageType::Error && reply.payload.as_str().contains("signing key"), "{reply:?}");
    assert_eq!(standing(&one.world, &thiefs).0, Admission::Refused);
    served(&mut one.world);
}

#[test]
fn nobody_speaks_for_another_key_and_what_was_changed_is_no_statement() {
    let mut one = member(405, Grants::CONTROLLER);
    let (own, owner, thiefs) = (stolen(&one.world, "member"), stolen(&one.world, "owner"), node(405));
    // The owner's key, in a statement that the thief signed himself; and one about the owner that is true, said by another.
    let true_one = Rotation::new(&owner, &node(406), 1);
    let mut forged = Rotation::new(&own, &thiefs, 1);
    (forged.old, forged.old_sign) = (owner.public_key(), owner.sign_key().public());
    let mut postdated = Rotation::new(&own, &thiefs, 1);
    postdated.issued = 9;
    let into_the_owner = Rotation::new(&own, &owner, 1);
    for said in [&true_one, &forged, &postdated, &into_the_owner] {
        let reply = one.ask(&says(said)).unwrap();
        assert_eq!(reply.kind, MessageType::Error, "{reply:?}");
    }
    assert!(one.world.registry("rig", |registry| registry.successions().next().is_none()));
    assert_eq!(standing(&one.world, &owner).1, Grants::CONTROLLER);
    served(&mut one.world);
}

#[test]
fn a_revoked_key_comes_back_by_no_statement() {
    let mut one = member(407, Grants::CONTROLLER);
    let (old, new) = (stolen(&one.world, "member"), node(407));
    told(one.ask(&says(&Rotation::new(&old, &new, 1))));
    proves(&mut one.world, "next", node(407), 5);
    one.world.revoke("rig", "member");
    one.world.elapse(seconds(48 * HOUR));
    assert_eq!(standing(&one.world, &old), (Admission::Revoked, Grants::NONE));
    assert_eq!(standing(&one.world, &new), (Admission::Refused, Grants::NONE));
    served(&mut one.world);
}

#[test]
fn the_named_key_must_show_the_signing_key_that_was_named() {
    let mut one = member(408, Grants::OPERATE);
    let (old, new) = (stolen(&one.world, "member"), node(408));
    told(one.ask(&says(&Rotation::new(&old, &new, 1))));
    let secret = rigmesh::identity::SecretKey::from_bytes(*new.secret().to_bytes());
    let half = Identity::from_parts(secret, SignKey::from_seed(&[8; 32]), new.info().clone()).unwrap();
    proves(&mut one.world, "next", half, 6);
    one.world.elapse(seconds(48 * HOUR));
    assert_eq!(standing(&one.world, &new), (Admission::Open, Grants::NONE), "it has still to prove itself");
    assert_eq!(standing(&one.world, &old).1, Grants::OPERATE);
}

#[test]
fn over_protocol_1_0_no_key_is_replaced() {
    let mut world = World::new(409);
    world.node("owner", Setup::controller());
    world.node("rig", Setup::rig());
    world.pair("owner", "rig");
    world.connect("owner", "rig").unwrap();
    world.settle();
    let old = stolen(&world, "owner");
    let reply = world.call("owner", "rig", says(&Rotation::new(&old, &node(409), 1))).unwrap();
    assert_eq!(code(&reply), 1002, "{reply:?}");
    assert!(world.registry("rig", |registry| registry.successions().next().is_none()));
}
