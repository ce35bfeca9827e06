//! Several sessions of one pair, copies of a disk, and rights that end.

use super::*;
use rigmesh::base::Time;
use rigmesh::sim::Manners;

#[test]
fn two_that_dial_each_other_at_once_keep_the_same_one_session() {
    for seed in 310..318 {
        let mut world = World::new(seed);
        world.node("owner", Setup::controller().secure(Secure::On));
        world.node("rig", Setup::rig().secure(Secure::On));
        world.pair("owner", "rig");
        world.pair("rig", "owner");
        world.uplink("owner", "rig");
        world.uplink("rig", "owner");
        world.elapse(seconds(3));
        let (ours, theirs) = (world.links("owner"), world.links("rig"));
        assert_eq!((ours.len(), theirs.len()), (1, 1), "seed {seed}");
        assert_ne!(ours[0].dialled, theirs[0].dialled);
        served(&mut world);
        world.elapse(seconds(600));
        assert_eq!(world.links("owner").len(), 1, "one that was given up is not dialled for ever");
    }
}

#[test]
fn a_copied_disk_cannot_take_turns_for_ever() {
    let mut world = joined(320);
    let rig = world.key("rig");
    let mut refused = 0;
    for turn in 0..8 {
        let stolen = member::stolen(&world, "owner");
        let name = format!("copy-{turn}");
        let info = rigmesh::identity::NodeIdentity::clone(stolen.info());
        let shake = member::Shake::new(&stolen, info, &rig, turn);
        world.newcomer(&name, stolen);
        let conn = shake.run(&mut world, &name, "rig");
        world.elapse(seconds(1));
        refused += u64::from(!world.is_open(conn));
        let _ = world.connect("owner", "rig");
        world.elapse(seconds(1));
    }
    assert!(refused >= 3, "{refused}");
    let notes: Vec<_> = world.links("rig").into_iter().filter_map(|link| link.note).collect();
    assert!(notes.iter().any(|note| note.contains("copied disk")), "{notes:?}");
}

#[test]
fn revoking_a_key_closes_its_live_session_at_once_and_for_good() {
    let mut world = joined(330);
    let conn = line(&world);
    world.revoke("rig", "owner");
    world.elapse(Duration::from_millis(50));
    assert!(!world.is_open(conn));
    assert!(world.links("rig").is_empty());
    let call = world.begin_call("owner", "rig", start("late"), seconds(5));
    world.elapse(seconds(6));
    assert!(world.reply(call).is_err());
    assert!(world.rig("rig").started.is_empty());
}

#[test]
fn a_grant_that_is_taken_away_counts_from_the_next_command_on() {
    let mut world = joined(331);
    served(&mut world);
    world.grant("rig", "owner", Grants::OBSERVE);
    let reply = world.call("owner", "rig", start("late")).unwrap();
    assert_eq!(code(&reply), 1002);
    assert!(reply.payload.as_str().contains("operate"));
}

#[test]
fn a_session_survives_hours_of_silence_with_its_keepalive_and_changes_its_keys() {
    let mut world = joined(332);
    let conn = line(&world);
    world.elapse(seconds(6 * 3600));
    assert!(world.is_open(conn));
    let rekeys = frames(&world, "owner", "rig").iter().filter(|(_, frame)| frame.len() == 18).count();
    assert!(rekeys > 150, "{rekeys} changes of key in six hours");
    served(&mut world);
}

/// How often the owner has dialled.
fn dials(world: &World) -> usize {
    world.captured().iter().filter(|c| c.from == "owner" && matches!(c.wire, Wire::Text(_))).count()
}

/// The world of this seed, at most a second before its session is renewed.
fn soon_renewed(seed: u64) -> World {
    let mut once = joined(seed);
    once.elapse(seconds(21 * 3600));
    assert_eq!(dials(&once), 1, "much too early");
    while dials(&once) == 1 {
        assert!(once.now() < Time::ZERO + seconds(24 * 3600), "more than a day old");
        once.elapse(seconds(1));
    }
    let mut again = joined(seed);
    again.elapse(once.now().since(again.now()) - seconds(1));
    assert_eq!(dials(&again), 1);
    again
}

#[test]
fn a_session_is_renewed_before_it_is_a_day_old_and_nothing_under_way_is_lost() {
    for seed in [333, 334] {
        let mut world = soon_renewed(seed);
        let old = line(&world);
        // Whoever asks now hears in 28 seconds that the rig is slow: over the session on which it asked.
        world.rig("rig").hung = true;
        let mut calls = Vec::new();
        for _ in 0..200 {
            calls.push(world.begin_call("owner", "rig", start("slow"), seconds(60)));
            world.elapse(Duration::from_millis(6));
        }
        assert_eq!(dials(&world), 2);
        assert!(world.is_open(old), "seed {seed}: something waits for its answer there");
        let links = world.links("owner");
        assert_eq!(links.iter().filter(|link| link.active && link.dialled).count(), 1);
        world.elapse(seconds(40));
        assert!(!world.is_open(old));
        for name in ["owner", "rig"] {
            assert_eq!(world.links(name).len(), 1, "seed {seed}: {name}");
        }
        for call in calls {
            let reply = world.reply(call).unwrap();
            assert_eq!(code(&reply), 1005, "seed {seed}: {reply:?}");
        }
        world.rig("rig").hung = false;
        served(&mut world);
    }
}

#[test]
fn days_pass_and_every_call_is_answered() {
    let mut world = farm(335);
    world.uplink("owner", "rig");
    world.elapse(seconds(1));
    let mut sessions = std::collections::BTreeSet::new();
    for _ in 0..(75 * 60) {
        world.elapse(seconds(60));
        assert_eq!(world.call("owner", "rig", Payload::GetStats).unwrap().kind, MessageType::Stats);
        sessions.insert(line(&world));
        let (links, active) = (world.links("owner"), world.links("rig"));
        assert!(links.len() <= 2 && active.iter().filter(|link| link.active).count() == 1);
    }
    assert_eq!(sessions.len(), 4, "three days and a little, a session a day");
    served(&mut world);
}

#[test]
fn a_deployment_goes_on_over_the_fresh_session() {
    let mut world = soon_renewed(336);
    let old = line(&world);
    let object = world.object(40_000_000);
    let call = world.begin_deploy("owner", "rig", &object, false);
    while dials(&world) == 1 {
        assert!(!world.is_over(call));
        world.elapse(Duration::from_millis(10));
    }
    assert!(!world.is_over(call));
    world.deployed(call).unwrap().unwrap();
    world.elapse(seconds(40));
    assert!(!world.is_open(old));
    let depot = &world.rig("rig").depot;
    assert_eq!(depot.installed().last().unwrap(), object.bytes());
    let chunks = object.bytes().len().div_ceil(65_536);
    assert!(depot.written <= chunks + 16, "{} chunks were written for {chunks}", depot.written);
    served(&mut world);
}

#[test]
fn a_renewal_that_fails_is_tried_again_and_the_session_stays() {
    let mut world = joined(337);
    let old = line(&world);
    // Somebody answers every new handshake with nonsense.
    world.tap(|sent| match (&sent.wire, sent.from.as_str()) {
        (Wire::Text(_), "rig") => vec![Wire::Text(b"no".to_vec())],
        (wire, _) => vec![wire.clone()],
    });
    world.elapse(seconds(25 * 3600));
    assert!(world.is_open(old), "an old session is better than none");
    assert_eq!(world.call("owner", "rig", Payload::GetStats).unwrap().kind, MessageType::Stats);
    world.untap();
    world.elapse(seconds(1800));
    assert!(!world.is_open(old));
    served(&mut world);
}

#[test]
fn every_pairing_of_nodes_meets_in_the_best_way_both_have() {
    use Secure::{Off, On, Required};
    for (i, (from, to, meets)) in [
        (Off, Off, Some(false)),
        (Off, On, Some(false)),
        (On, Off, Some(false)),
        (On, On, Some(true)),
        (On, Required, Some(true)),
        (Required, On, Some(true)),
        (Required, Required, Some(true)),
        (Off, Required, None),
        (Required, Off, None),
    ]
    .into_iter()
    .enumerate()
    {
        let mut world = World::new(340 + i as u64);
        world.node("owner", Setup::controller().secure(from));
        world.node("rig", Setup::rig().secure(to));
        world.pair("owner", "rig");
        let met = world.connect("owner", "rig").ok().map(|link| link.secure);
        assert_eq!(met, meets, "{from:?} to {to:?}");
        if meets.is_some() {
            assert_eq!(world.call("owner", "rig", start("x")).unwrap().kind, MessageType::MinerAck);
        }
    }
}

#[test]
fn a_go_node_is_served_beside_a_secure_one_both_ways() {
    let mut world = joined(350);
    world.stranger("go", Manners::Silent);
    world.allow("rig", "go", Grants::CONTROLLER);
    let conn = world.go_connect("go", "rig");
    assert_eq!(world.ask("go", conn, &start("from go")).unwrap().kind, MessageType::MinerAck);
    world.stranger("go-rig", Manners::Answers);
    world.add_peer("owner", "go-rig");
    let link = world.connect("owner", "go-rig").unwrap();
    assert!(!link.secure);
    served(&mut world);
}
