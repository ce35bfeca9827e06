//! Chunked deployment (chunked-deploy.md) between nodes of a virtual world: the machines of both sides, with
//! cuts, power cuts, full disks and lost permissions.

use super::*;
use rigmesh::base::{Error, Rng};
use rigmesh::message::{Chunk, ChunkGet, DeployDone, DeployOffer, DeployState, GetVersions, Rollback};
use rigmesh::sim::{Object, Secure};

fn fleet(seed: u64, rigs: &[&str]) -> World {
    fleet_over(seed, rigs, Secure::Off)
}

fn fleet_over(seed: u64, rigs: &[&str], secure: Secure) -> World {
    let mut world = World::new(seed);
    world.node("ctl", Setup::controller().secure(secure));
    for rig in rigs {
        world.node(rig, Setup::rig().secure(secure));
        world.pair("ctl", rig);
    }
    world
}

fn installed(world: &mut World, rig: &str) -> Vec<Vec<u8>> {
    world.rig(rig).depot.installed().map(<[u8]>::to_vec).collect()
}

fn deploy(world: &mut World, rig: &str, object: &Object) -> Result<Option<(Option<u32>, bool)>, Error> {
    let call = world.begin_deploy("ctl", rig, object, false);
    world.deployed(call)
}

#[test]
fn a_miner_arrives_byte_for_byte_and_is_never_sent_twice() {
    for secure in [Secure::Off, Secure::On] {
        arrives_once(fleet_over(60, &["rig"], secure));
    }
}

fn arrives_once(mut world: World) {
    for size in [1, 65_535, 65_536, 65_537, 3_000_000] {
        let object = world.object(size);
        let (slot, already) = deploy(&mut world, "rig", &object).unwrap().unwrap();
        assert!(slot.is_some() && !already, "{size}");
        assert_eq!(installed(&mut world, "rig").last().unwrap(), object.bytes(), "{size}");
        let written = world.rig("rig").depot.written;
        assert_eq!(deploy(&mut world, "rig", &object).unwrap().unwrap(), (slot, true));
        assert_eq!(world.rig("rig").depot.written, written, "nothing is sent that the rig already has");
    }
    world.elapse(seconds(1));
    assert!(world.rig("ctl").depot.owed.is_empty() && world.deploys("ctl").is_empty());
}

#[test]
fn a_link_cut_a_hundred_times_at_random_moments_costs_no_byte_and_little_work() {
    for (seed, secure) in [(61, Secure::Off), (62, Secure::Off), (161, Secure::On), (162, Secure::On)] {
        let mut world = fleet_over(seed, &["rig"], secure);
        let mut rng = Rng::from_number(seed);
        let object = world.object(60_000_000);
        let call = world.begin_deploy("ctl", "rig", &object, false);
        let mut cuts = 0;
        while cuts < 100 && !world.is_over(call) {
            if world.deploys("ctl").iter().all(|i| i.state != "sending") {
                world.elapse(Duration::from_millis(50));
                continue;
            }
            world.elapse(Duration::from_millis(rng.below(20)));
            world.cut("ctl", "rig");
            cuts += 1;
            if cuts % 10 == 0 {
                world.power_cut("rig"); // its memory too
            }
        }
        assert_eq!(cuts, 100, "seed {seed}: the transfer was too short to be cut so often");
        world.deployed(call).unwrap().unwrap();
        assert_eq!(installed(&mut world, "rig"), [object.bytes()], "seed {seed}");
        let written = world.rig("rig").depot.written;
        let chunks = 60_000_000usize.div_ceil(65_536);
        assert!(written <= chunks + 16 * cuts, "seed {seed}: {written} chunks were written for {chunks}");
    }
}

#[test]
fn a_rig_that_dies_before_it_answers_the_offer_is_offered_again() {
    let mut world = fleet(76, &["rig"]);
    world.connect("ctl", "rig").unwrap();
    world.settle();
    let object = world.object(500_000);
    let call = world.begin_deploy("ctl", "rig", &object, false);
    world.elapse(Duration::from_millis(1));
    assert_eq!(world.deploys("ctl")[0].state, "offered");
    world.power_cut("rig");
    world.deployed(call).unwrap().unwrap();
    assert_eq!(installed(&mut world, "rig"), [object.bytes()]);
}

#[test]
fn statistics_are_answered_at_once_while_data_flows() {
    for secure in [Secure::Off, Secure::On] {
        answers_at_once(fleet_over(63, &["rig"], secure));
    }
}

fn answers_at_once(mut world: World) {
    let object = world.object(20_000_000);
    let call = world.begin_deploy("ctl", "rig", &object, false);
    world.elapse(Duration::from_millis(100));
    let mut asked = 0;
    while !world.is_over(call) {
        let before = world.now();
        world.call("ctl", "rig", Payload::GetStats).unwrap();
        assert!(world.now().since(before) <= Duration::from_millis(11), "one round trip on this wire");
        asked += 1;
    }
    assert!(asked > 20, "{asked}");
    world.deployed(call).unwrap();
}

#[test]
fn a_rig_without_room_says_so_and_goes_on() {
    let mut world = fleet(64, &["rig"]);
    world.rig("rig").depot.full = true;
    let object = world.object(1000);
    let error = deploy(&mut world, "rig", &object).unwrap_err();
    assert!(matches!(&error, Error::Remote { message, .. } if message.contains("no space")), "{error:?}");
    assert_eq!(world.call("ctl", "rig", Payload::GetStats).unwrap().kind, MessageType::Stats);
    world.rig("rig").depot.full = false;
    deploy(&mut world, "rig", &object).unwrap();
}

#[test]
fn without_the_permission_nothing_begins_and_losing_it_ends_what_began() {
    let mut world = fleet(65, &["rig"]);
    let object = world.object(30_000_000);
    world.grant("rig", "ctl", Grants::OPERATE);
    let error = deploy(&mut world, "rig", &object).unwrap_err();
    assert!(matches!(error, Error::Remote { code: 1002, .. }), "{error:?}");
    world.grant("rig", "ctl", Grants::CONTROLLER);
    let call = world.begin_deploy("ctl", "rig", &object, false);
    world.elapse(Duration::from_millis(300));
    assert!(!world.is_over(call) && world.rig("rig").depot.written > 0);
    world.grant("rig", "ctl", Grants::OPERATE);
    let error = world.deployed(call).unwrap_err();
    assert!(error.to_string().contains("no permission"), "{error}");
    assert!(installed(&mut world, "rig").is_empty());
    let written = world.rig("rig").depot.written;
    world.elapse(seconds(10));
    assert_eq!(world.rig("rig").depot.written, written, "nothing more is taken");
    assert_eq!(world.call("ctl", "rig", Payload::GetStats).unwrap().kind, MessageType::Stats, "the link stays");
}

#[test]
fn each_message_of_a_deployment_needs_its_grant() {
    let mut world = fleet(75, &["rig"]);
    let back = Payload::Rollback(Rollback { name: "xmrig".into(), slot: None });
    let versions = Payload::GetVersions(GetVersions::default());
    let offer = Payload::DeployOffer(DeployOffer { t: "x".into(), ..DeployOffer::default() });
    for (grants, may_see, may_go_back, may_deploy) in [
        (Grants::NONE, false, false, false),
        (Grants::OBSERVE, true, false, false),
        (Grants::OPERATE, false, true, false),
        (Grants::DEPLOY, false, false, true),
        (Grants::CONTROLLER, true, true, true),
    ] {
        world.grant("rig", "ctl", grants);
        assert_eq!(code(&world.call("ctl", "rig", versions.clone()).unwrap()) != 1002, may_see, "{grants:?}");
        assert_eq!(code(&world.call("ctl", "rig", back.clone()).unwrap()) != 1002, may_go_back, "{grants:?}");
        let state: DeployState = world.call("ctl", "rig", offer.clone()).unwrap().parse().unwrap();
        assert_eq!(state.reason != "no permission", may_deploy, "{grants:?}");
    }
}

#[test]
fn a_revoked_key_is_cut_off_in_mid_transfer_and_its_data_goes() {
    let mut world = fleet(66, &["rig"]);
    let object = world.object(30_000_000);
    let call = world.begin_deploy("ctl", "rig", &object, false);
    world.elapse(Duration::from_millis(300));
    world.revoke("rig", "ctl");
    let error = world.deployed(call).unwrap_err();
    assert!(matches!(error, Error::Unreachable(_) | Error::TimedOut(_) | Error::Rejected(_)), "{error:?}");
    assert!(installed(&mut world, "rig").is_empty());
}

#[test]
fn what_a_revoked_key_sent_before_goes_at_once() {
    let mut world = fleet(74, &["rig"]);
    let object = world.object(6_000_000);
    let chunks = 6_000_000usize.div_ceil(65_536);
    let call = world.begin_deploy("ctl", "rig", &object, false);
    world.elapse(Duration::from_millis(150));
    world.cancel_deploys("ctl", "rig");
    assert!(world.deployed(call).is_err());
    // What was cancelled is gone; what was only interrupted stays, until the key is revoked.
    let call = world.begin_deploy("ctl", "rig", &object, false);
    world.elapse(Duration::from_millis(150));
    world.sever("ctl", "rig");
    world.cut("ctl", "rig");
    world.elapse(seconds(1));
    let there = world.rig("rig").depot.written;
    assert!(there > 0 && !world.is_over(call));
    world.revoke("rig", "ctl");
    world.allow("rig", "ctl", Grants::CONTROLLER);
    world.mend("ctl", "rig");
    world.deployed(call).unwrap().unwrap();
    assert_eq!(installed(&mut world, "rig"), [object.bytes()]);
    assert_eq!(world.rig("rig").depot.written, there + chunks, "every chunk came once more");
}

#[test]
fn a_damaged_chunk_is_asked_for_once_more_and_a_second_damage_ends_it() {
    let mut world = fleet(67, &["rig"]);
    let object = world.object(1_000_000);
    world.rig("rig").depot.damage = 1;
    deploy(&mut world, "rig", &object).unwrap();
    let object = world.object(1_000_000);
    world.rig("rig").depot.damage = 1000;
    let error = deploy(&mut world, "rig", &object).unwrap_err();
    assert!(error.to_string().contains("bad data"), "{error}");
}

#[test]
fn a_rig_that_is_away_gets_it_when_it_is_back_if_that_was_asked() {
    let mut world = fleet(68, &["rig", "other"]);
    let object = world.object(100_000);
    world.sever("ctl", "rig");
    assert!(deploy(&mut world, "rig", &object).is_err());
    world.elapse(seconds(1));
    assert!(world.rig("ctl").depot.owed.is_empty(), "forgotten, as it was told to");
    let call = world.begin_deploy("ctl", "rig", &object, true);
    let error = world.deployed(call).unwrap_err();
    assert!(error.to_string().contains("goes on when the rig is back"), "{error}");
    world.elapse(seconds(1));
    assert_eq!(world.rig("ctl").depot.owed.len(), 1, "written down");
    deploy(&mut world, "other", &object).unwrap();
    world.mend("ctl", "rig");
    world.uplink("rig", "ctl");
    world.allow("ctl", "rig", Grants::NONE);
    world.elapse(seconds(60));
    assert_eq!(installed(&mut world, "rig"), [object.bytes()]);
    assert!(world.rig("ctl").depot.owed.is_empty());
}

#[test]
fn many_rigs_take_turns_and_all_get_it() {
    let names: Vec<String> = (0..40).map(|i| format!("rig{i}")).collect();
    let rigs: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = fleet(69, &rigs);
    let object = world.object(500_000);
    let calls: Vec<u64> = rigs.iter().map(|rig| world.begin_deploy("ctl", rig, &object, false)).collect();
    world.elapse(Duration::from_millis(40));
    let infos = world.deploys("ctl");
    assert_eq!(infos.iter().filter(|i| i.state == "waiting").count(), 24, "sixteen at once");
    for call in calls {
        world.deployed(call).unwrap().unwrap();
    }
    for rig in rigs {
        assert_eq!(installed(&mut world, rig), [object.bytes()]);
    }
}

#[test]
fn a_rig_takes_two_transfers_at_once_and_the_third_waits_its_turn() {
    let mut world = fleet(70, &["rig"]);
    let objects: Vec<Object> = (0..4).map(|_| world.object(2_000_000)).collect();
    let calls: Vec<u64> = objects.iter().map(|o| world.begin_deploy("ctl", "rig", o, false)).collect();
    for call in calls {
        world.deployed(call).unwrap().unwrap();
    }
    let mut there = installed(&mut world, "rig");
    let mut sent: Vec<Vec<u8>> = objects.iter().map(|o| o.bytes().to_vec()).collect();
    there.sort();
    sent.sort();
    assert_eq!(there, sent);
}

#[test]
fn a_go_node_is_never_sent_any_of_this() {
    let mut world = World::new(71);
    world.node("ctl", Setup::controller());
    world.stranger("go", Manners::Answers);
    world.add_peer("ctl", "go");
    let object = world.object(1000);
    let call = world.begin_deploy("ctl", "go", &object, false);
    assert_eq!(world.deployed(call).unwrap(), None, "told to the caller, who may send one message");
}

#[test]
fn chunks_and_words_that_nobody_asked_for_do_nothing() {
    let mut world = rig_and_go(72);
    let conn = world.go_connect("go", "rig");
    world.ask("go", conn, &Payload::GetStats).unwrap();
    let data = vec![0; 65_536];
    for payload in [
        Payload::Chunk(Chunk { h: 0, i: 0, data }),
        Payload::ChunkGet(ChunkGet { h: 1, want: vec![(0, u32::MAX)] }),
        Payload::DeployDone(DeployDone { ok: true, ..DeployDone::default() }),
    ] {
        assert!(world.ask("go", conn, &payload).is_none(), "{payload:?}");
    }
    assert_eq!(world.rig("rig").depot.written, 0);
    let state = world.ask("go", conn, &Payload::DeployOffer(DeployOffer { t: "x".into(), ..DeployOffer::default() }));
    assert!(state.is_some(), "an offer is a command like any other and is answered");
    assert_eq!(world.ask("go", conn, &Payload::GetStats).unwrap().kind, MessageType::Stats);
}

#[test]
fn a_cancelled_deployment_is_forgotten_on_both_sides() {
    let mut world = fleet(73, &["rig"]);
    let object = world.object(30_000_000);
    let call = world.begin_deploy("ctl", "rig", &object, true);
    world.elapse(Duration::from_millis(300));
    assert_eq!(world.cancel_deploys("ctl", "rig"), 1);
    assert!(world.deployed(call).is_err());
    world.elapse(seconds(2));
    let written = world.rig("rig").depot.written;
    world.elapse(seconds(30));
    assert_eq!(world.rig("rig").depot.written, written);
    assert!(world.rig("ctl").depot.owed.is_empty() && world.deploys("ctl").is_empty());
}
