//! Rigs that were found: what a record may make a node do, what makes it more than a claim, what neighbours tell
//! (secure-session.md §8).

use super::*;
use rigmesh::FoundBy;
use rigmesh::base::{Error, Refusal};
use rigmesh::identity::SignKey;

const HOME: &str = "ws://203.0.113.7:9091/ws";

/// A rig at 203.0.113.7 that lets the controller in; the controller does not know it.
fn world(seed: u64) -> World {
    let mut world = World::new(seed);
    world.node("ctl", Setup::controller());
    world.node("rig", Setup::rig());
    world.allow("rig", "ctl", Grants::NONE);
    world.settle_at("rig", "203.0.113.7");
    world
}

fn key_of_thief() -> SignKey {
    SignKey::from_seed(&[66; 32])
}

// "Until then the record is a claim; afterwards confirmed"; "never put a found key on any list"; strangers are not commanded.
#[test]
fn a_record_is_a_claim_until_its_mesh_key_agrees_and_makes_nobody_trusted() {
    let mut world = world(500);
    let record = world.own_sighting("rig", HOME, 7);
    world.sight("ctl", &record);
    let [claim] = &world.found("ctl")[..] else { panic!("not found") };
    assert_eq!((claim.confirmed, claim.known, claim.by, claim.seq), (None, false, FoundBy::Lan, 7));
    assert_eq!(claim.key, world.key("rig"));

    let address = world.dht_address("rig");
    let link = world.hunt("ctl", address, &[], false).unwrap();
    assert_eq!((link.key, link.dht_address), (world.key("rig"), Some(address)));
    let [rig] = &world.found("ctl")[..] else { panic!("lost") };
    assert!(rig.confirmed.is_some() && !rig.known);
    world.settle();
    assert!(world.links("ctl").is_empty(), "it was only asked who it is");
    let id = world.id("rig").to_string();
    world.registry("ctl", |r| assert!(r.peer(&id).is_none() && r.allowed_public_keys().next().is_none()));
    let refused = world.call("ctl", "rig", Payload::GetStats);
    assert!(matches!(refused, Err(Error::NotFound(_))), "{refused:?}");
}

// "A finder dials with X as the expected key; another key at the address … discards the record".
#[test]
fn a_record_of_a_place_where_another_key_answers_is_discarded() {
    let mut world = world(501);
    world.node("other", Setup::rig().open());
    world.settle_at("other", "203.0.113.8");
    let record = world.own_sighting("rig", "ws://203.0.113.8:9091/ws", 7);
    world.sight("ctl", &record);
    let address = world.dht_address("rig");
    assert!(matches!(world.hunt("ctl", address, &[], true), Err(Error::WrongKey { .. })));
    assert!(world.found("ctl").is_empty());
}

// "or a bind with another S, discards the record"; "name somebody's X (dials go to its addresses … show another S)".
#[test]
fn a_record_that_names_somebody_elses_key_is_found_out() {
    let mut world = world(502);
    let record = world.sighting(&key_of_thief(), world.key("rig"), HOME, 7);
    world.sight("ctl", &record);
    assert!(matches!(world.hunt("ctl", record.address(), &[], true), Err(Error::WrongKey { .. })));
    assert!(world.found("ctl").is_empty());
    world.settle();
    assert!(world.links("ctl").is_empty());
    // Nor does it hide the rig's own.
    world.elapse(seconds(61));
    let (address, own) = (world.dht_address("rig"), world.own_sighting("rig", HOME, 7));
    world.sight("ctl", &record);
    world.sight("ctl", &own);
    assert!(world.hunt("ctl", address, &[], true).is_ok());
    assert_eq!(world.found("ctl").len(), 1, "what lied about a key that is now pinned is gone");
}

// "1.0 without the extra keys cannot confirm."
#[test]
fn a_go_node_cannot_confirm_a_record() {
    let mut world = world(503);
    world.stranger("go", Manners::Answers);
    world.settle_at("go", "203.0.113.9");
    let record = world.sighting(&key_of_thief(), world.key("go"), "ws://203.0.113.9:9091/ws", 1);
    world.sight("ctl", &record);
    let result = world.hunt("ctl", record.address(), &[], true);
    assert!(matches!(result, Err(Error::Rejected(Refusal::Unconfirmed(_)))), "{result:?}");
    assert!(world.found("ctl")[0].confirmed.is_none());
}

// "Remember the highest seq per S and refuse lower ones"; for a pinned X only records of its S count, and the reverse.
#[test]
fn old_records_and_those_that_contradict_a_session_are_not_taken_over() {
    let mut world = world(504);
    world.add_peer("ctl", "rig");
    world.connect("ctl", "rig").unwrap();
    world.elapse(seconds(1)); // the signing key is shown, and pinned
    let (new, old) = (world.own_sighting("rig", HOME, 9), world.own_sighting("rig", "ws://198.51.100.1:1/ws", 8));
    world.sight("ctl", &new);
    world.sight("ctl", &old);
    let theft = world.sighting(&key_of_thief(), world.key("rig"), HOME, 10);
    world.sight("ctl", &theft);
    let elsewhere = world.sighting(&world.sign_key("rig"), world.key("ctl"), HOME, 11);
    world.sight("ctl", &elsewhere);
    let found = world.found("ctl");
    assert_eq!(found.iter().map(|rig| (rig.address, rig.seq)).collect::<Vec<_>>(), [(world.dht_address("rig"), 9)]);
    assert!(found[0].confirmed.is_some() && found[0].known, "it has shown itself before");
    // The number of a known rig's record outlives the process.
    world.power_cut("ctl");
    world.sight("ctl", &old);
    assert!(world.found("ctl").is_empty());
    world.sight("ctl", &new);
    assert_eq!(world.found("ctl").len(), 1);
}

// "private ranges only when we have an interface in that range or S is pinned"; nothing of this machine or its link.
#[test]
fn a_record_sends_a_finder_to_no_place_where_it_has_no_business() {
    let mut world = world(505);
    world.settle_at("rig", "10.0.0.7");
    world.settle_at("rig", "127.0.0.1");
    let address = world.dht_address("rig");
    let bad = world.own_sighting("rig", "ws://127.0.0.1:9091/ws ws://169.254.169.254:80/ws ws://10.0.0.7:9091/ws", 7);
    world.sight("ctl", &bad);
    let result = world.hunt("ctl", address, &["192.168.1.2"], true);
    assert!(matches!(&result, Err(Error::Unreachable(why)) if why.contains("no place")), "{result:?}");
    assert!(world.captured().is_empty(), "nothing was sent");
    assert!(world.hunt("ctl", address, &["10.99.0.1"], true).is_ok(), "its own range");
}

// "at most 4 dials a record, 2 at once, one a minute per IP and port, back-off per S".
#[test]
fn a_record_costs_few_dials_and_fewer_each_time() {
    let mut world = world(506);
    let nowhere = (1..=4).map(|n| format!("ws://198.51.100.{n}:9091/ws")).collect::<Vec<_>>().join(" ");
    let record = world.own_sighting("rig", &nowhere, 7);
    world.sight("ctl", &record);
    let address = world.dht_address("rig");
    let limited = |result: &Result<_, Error>| matches!(result, Err(Error::Rejected(Refusal::Limit(_))));
    assert!(matches!(world.hunt("ctl", address, &[], true), Err(Error::Unreachable(_))));
    let again = world.hunt("ctl", address, &[], true);
    assert!(limited(&again), "{again:?}");
    // Another record of the same places is another rig, but the same machines behind them.
    let other = world.sighting(&key_of_thief(), world.key("rig"), &nowhere, 1);
    world.sight("ctl", &other);
    let again = world.hunt("ctl", other.address(), &[], true);
    assert!(limited(&again), "{again:?}");
    for (pause, left_alone) in [(61, 120), (121, 240), (241, 480)] {
        world.elapse(seconds(pause));
        assert!(matches!(world.hunt("ctl", address, &[], true), Err(Error::Unreachable(_))), "after {pause} s");
        world.elapse(seconds(left_alone / 2));
        assert!(limited(&world.hunt("ctl", address, &[], true)), "after {left_alone} s");
        world.elapse(seconds(left_alone / 2).saturating_sub(seconds(pause - 1)));
    }
    // A newer record deserves a try of its own.
    let home = world.own_sighting("rig", HOME, 8);
    world.sight("ctl", &home);
    assert!(world.hunt("ctl", address, &[], true).is_ok());
}

// "Withdrawal: the same with only the `rigmesh:` text".
#[test]
fn a_rig_that_has_taken_its_record_back_is_not_dialled() {
    let mut world = world(507);
    let (here, gone) = (world.own_sighting("rig", HOME, 7), world.own_sighting("rig", "", 8));
    world.sight("ctl", &here);
    world.sight("ctl", &gone);
    world.sight("ctl", &here);
    let address = world.dht_address("rig");
    let result = world.hunt("ctl", address, &[], true);
    assert!(matches!(&result, Err(Error::Unreachable(why)) if why.contains("taken its record back")), "{result:?}");
    world.elapse(seconds(120));
    assert!(world.found("ctl").is_empty(), "it ends by itself");
}

// "Known rigs are always found through their S, which nobody can flood."
#[test]
fn a_known_rig_that_has_moved_is_found_again_while_its_caller_waits() {
    let mut world = world(508);
    world.add_peer("ctl", "rig");
    world.connect("ctl", "rig").unwrap();
    world.elapse(seconds(1));
    world.cut("ctl", "rig");
    world.settle();
    world.settle_at("nobody", "rig"); // its old address leads nowhere
    let moved = world.own_sighting("rig", HOME, 9);
    world.publish(&moved);
    let stats = world.call("ctl", "rig", Payload::GetStats).unwrap();
    assert_eq!(stats.kind, MessageType::Stats);
    assert_eq!(world.searches(), [("ctl".to_owned(), world.dht_address("rig"))]);
    let id = world.id("rig").to_string();
    world.registry("ctl", |r| assert_eq!(r.peer(&id).unwrap().address, "203.0.113.7:9091"));
    // Gone for good: the callers are told, and the DHT is asked once a minute.
    world.cut("ctl", "rig");
    world.settle();
    world.leave("203.0.113.7");
    for _ in 0..3 {
        assert!(matches!(world.call("ctl", "rig", Payload::GetStats), Err(Error::Unreachable(_))));
    }
    assert!(world.searches().len() <= 2, "{:?}", world.searches());
}

// A peer that has shown no signing key is looked for nowhere.
#[test]
fn a_peer_without_a_pinned_signing_key_is_not_searched_for() {
    let mut world = world(509);
    world.add_peer("ctl", "rig");
    world.sever("ctl", "rig");
    assert!(world.call("ctl", "rig", Payload::GetStats).is_err());
    assert!(world.searches().is_empty());
}

/// Three nodes: `hub` knows both others, who do not know each other.
fn neighbours(seed: u64) -> World {
    let mut world = World::new(seed);
    world.node("hub", Setup::controller());
    for (name, ip) in [("rig", "203.0.113.7"), ("ctl", "203.0.113.8")] {
        world.node(name, Setup::rig());
        world.settle_at(name, ip);
        world.add_peer("hub", name);
        world.allow(name, "hub", Grants::NONE);
    }
    world
}

// Issue: "neighbours that announced gossip1 exchange signed records of peers that agreed to be shared".
#[test]
fn neighbours_tell_of_those_who_agreed_and_what_they_tell_is_hearsay() {
    for (share, told) in [(true, 1), (false, 0)] {
        let mut world = neighbours(510);
        let record = world.own_sighting("rig", HOME, 7);
        world.own_record("rig", &record, share);
        world.connect("hub", "rig").unwrap();
        world.elapse(seconds(1));
        let [rig] = &world.found("hub")[..] else { panic!("the hub has not heard of it") };
        assert!(rig.confirmed.is_some() && rig.by == FoundBy::Peer(world.id("rig")), "it came from the rig itself");
        world.connect("hub", "ctl").unwrap();
        world.elapse(seconds(1));
        let heard = world.found("ctl");
        assert_eq!(heard.len(), told, "agreed: {share}");
        let Some(rig) = heard.first() else { continue };
        assert_eq!((rig.confirmed, rig.known, rig.by), (None, false, FoundBy::Peer(world.id("hub"))));
        let id = world.id("rig").to_string();
        world.registry("ctl", |r| assert!(r.peer(&id).is_none(), "hearsay enters no list"));
        // It becomes more than that when the rig shows itself.
        world.allow("rig", "ctl", Grants::NONE);
        let address = world.dht_address("rig");
        world.hunt("ctl", address, &[], true).unwrap();
        assert!(world.found("ctl")[0].confirmed.is_some());
    }
}

// Hearsay goes no further; and who leaves is told of no more.
#[test]
fn what_is_heard_of_others_is_not_passed_on() {
    let mut world = neighbours(511);
    let record = world.own_sighting("rig", HOME, 7);
    world.own_record("rig", &record, true);
    world.connect("hub", "rig").unwrap();
    world.connect("hub", "ctl").unwrap();
    world.elapse(seconds(1801)); // the next round: the hub hears of the rig after it has told the other
    assert_eq!(world.found("ctl").len(), 1);
    world.node("far", Setup::rig());
    world.allow("far", "ctl", Grants::NONE);
    world.add_peer("ctl", "far");
    world.connect("ctl", "far").unwrap();
    world.elapse(seconds(1801));
    assert!(world.found("far").is_empty(), "it did not hear it from the rig");
}

// The new message goes to nobody who has not asked for it.
#[test]
fn a_go_node_hears_no_gossip_and_a_flood_of_it_is_not_read() {
    let mut world = World::new(512);
    world.node("rig", Setup::rig());
    world.stranger("go", Manners::Silent);
    world.allow("rig", "go", Grants::NONE);
    let record = world.own_sighting("rig", HOME, 7);
    world.own_record("rig", &record, true);
    let conn = world.go_connect("go", "rig");
    world.ask("go", conn, &ping());
    world.elapse(seconds(1801));
    assert!(world.inbox("go", conn).iter().all(|m| m.kind != MessageType::Gossip));
    // It may tell, though: three messages at once are read.
    let conn = world.go_connect("go", "rig");
    world.ask("go", conn, &ping());
    for n in 0..20 {
        let other = world.sighting(&SignKey::from_seed(&[n; 32]), world.key("go"), HOME, 1);
        let gossip = Gossip { others: vec![other.record().encode()], ..Gossip::default() };
        let message = world.compose("go", conn, &Payload::Gossip(gossip));
        world.send("go", conn, &message);
    }
    world.settle();
    assert_eq!(world.found("rig").len(), 3);
}

// A peer that tells of itself must tell the truth, which the session shows.
#[test]
fn a_peer_cannot_pass_another_record_off_as_its_own() {
    let mut world = neighbours(513);
    let theft = world.sighting(&key_of_thief(), world.key("rig"), HOME, 7);
    world.own_record("rig", &theft, true);
    world.connect("hub", "rig").unwrap();
    world.elapse(seconds(1));
    assert!(world.found("hub").is_empty());
}
