//! The life of rigs: calls, deadlines, scores, revocation, shutdown.

use super::*;
use rigmesh::base::Error;

fn fleet(seed: u64, rigs: usize) -> World {
    let mut world = World::new(seed);
    world.node("ctl", Setup::controller());
    for i in 0..rigs {
        let rig = format!("rig{i}");
        world.node(&rig, Setup::rig());
        world.pair("ctl", &rig);
    }
    world
}

#[test]
fn a_peer_is_discovered_authenticated_active_stale_and_active_again() {
    let mut world = fleet(60, 1);
    let id = world.id("rig0").to_string();
    let stage = |world: &World| world.registry("ctl", |r| r.stage(&id).map(|s| s.word()));
    assert_eq!(stage(&world), Some("discovered"));
    world.connect("ctl", "rig0").unwrap();
    world.settle();
    assert_eq!(stage(&world), Some("active"));
    world.registry("ctl", |r| assert!(r.peer(&id).unwrap().ping_ms > 5.0));
    world.sever("ctl", "rig0");
    world.cut("ctl", "rig0");
    world.settle();
    assert_eq!(stage(&world), Some("stale"));
    world.mend("ctl", "rig0");
    world.elapse(seconds(700));
    assert_eq!(stage(&world), Some("active"), "it was retried by itself");
}

#[test]
fn a_visitor_that_made_its_own_entry_is_evicted_after_a_day_and_a_peer_added_by_hand_is_not() {
    let mut world = World::new(66);
    world.node("rig", Setup::rig().open());
    world.stranger("visitor", Manners::Silent);
    world.stranger("friend", Manners::Silent);
    world.allow("rig", "friend", Grants::NONE);
    world.add_peer("rig", "friend");
    for who in ["visitor", "friend"] {
        let conn = world.go_connect(who, "rig");
        world.ask(who, conn, &ping()).expect("a pong");
        world.hang_up(who, conn);
    }
    let known = |world: &World, who: &str| {
        let id = world.id(who).to_string();
        world.registry("rig", |r| r.peer(&id).is_some())
    };
    assert!(known(&world, "visitor") && known(&world, "friend"), "both were proven");
    world.elapse(seconds(25 * 3600));
    assert!(!known(&world, "visitor") && known(&world, "friend"));
}

// Item 15: on the Go node controller and worker overwrite each other's handler.
#[test]
fn two_dual_nodes_command_each_other_over_one_link() {
    let mut world = World::new(67);
    for name in ["a", "b"] {
        world.node(name, Setup::rig());
    }
    world.pair("a", "b");
    world.pair("b", "a");
    world.connect("a", "b").unwrap();
    world.settle();
    for (from, to) in [("a", "b"), ("b", "a")] {
        assert_eq!(world.call(from, to, start("xmrig")).unwrap().kind, MessageType::MinerAck);
        assert_eq!(world.rig(to).started.len(), 1);
        assert_eq!(world.call(from, to, Payload::GetStats).unwrap().kind, MessageType::Stats);
    }
    assert_eq!(world.links("a").len(), 1, "the second one needed no link of its own");
}

#[test]
fn one_hung_rig_never_stalls_a_sweep_and_scores_move_with_results() {
    let mut world = fleet(61, 4);
    for i in 0..4 {
        world.connect("ctl", &format!("rig{i}")).unwrap();
    }
    world.rig("rig2").hung = true;
    let before: Vec<f64> = (0..4).map(|i| score(&world, i)).collect();
    let calls: Vec<u64> =
        (0..4).map(|i| world.begin_call("ctl", &format!("rig{i}"), Payload::GetStats, seconds(5))).collect();
    world.settle();
    assert_eq!(calls.iter().map(|c| world.is_over(*c)).collect::<Vec<_>>(), [true, true, false, true]);
    assert!(matches!(world.reply(calls[2]), Err(Error::TimedOut(_))));
    assert!(score(&world, 0) > before[0] && score(&world, 2) < before[2]);
}

fn score(world: &World, rig: usize) -> f64 {
    let id = world.id(&format!("rig{rig}")).to_string();
    world.registry("ctl", |r| r.peer(&id).unwrap().score)
}

#[test]
fn calls_end_with_typed_errors() {
    let mut world = fleet(62, 1);
    world.node("nobody", Setup::rig());
    assert!(matches!(world.call("ctl", "nobody", Payload::GetStats), Err(Error::NotFound(_))));
    world.sever("ctl", "rig0");
    assert!(matches!(world.call("ctl", "rig0", Payload::GetStats), Err(Error::Unreachable(_))));
    world.mend("ctl", "rig0");
    world.add_peer("ctl", "nobody");
    assert!(matches!(world.connect("ctl", "nobody"), Err(Error::Rejected(_))), "it does not know the controller");
}

// item 23.
#[test]
fn a_shutdown_answers_what_is_pending_and_says_goodbye() {
    let mut world = fleet(63, 1);
    world.connect("ctl", "rig0").unwrap();
    world.rig("rig0").hung = true;
    let call = world.begin_call("ctl", "rig0", Payload::GetStats, seconds(30));
    world.settle();
    world.shut_down("ctl");
    assert!(matches!(world.reply(call), Err(Error::ShuttingDown)));
    world.settle();
    assert!(world.links("rig0").is_empty());
    assert!(matches!(world.call("ctl", "rig0", Payload::GetStats), Err(Error::ShuttingDown)));
}

#[test]
fn a_revoked_key_loses_its_links_at_once() {
    let mut world = rig_and_go(64);
    let conn = world.go_connect("go", "rig");
    assert!(world.ask("go", conn, &ping()).is_some());
    world.revoke("rig", "go");
    world.settle();
    assert!(!world.is_open(conn) && world.links("rig").is_empty());
}

#[test]
fn an_uplink_comes_back_after_a_power_cut_and_a_partition() {
    let mut world = fleet(65, 1);
    world.add_peer("rig0", "ctl");
    world.allow("ctl", "rig0", Grants::NONE);
    world.uplink("rig0", "ctl");
    world.settle();
    assert_eq!(world.links("ctl").len(), 1);
    world.power_cut("ctl");
    world.elapse(seconds(100));
    assert_eq!(world.call("ctl", "rig0", Payload::GetStats).unwrap().kind, MessageType::Stats);
    world.sever("ctl", "rig0");
    world.elapse(seconds(600));
    world.mend("ctl", "rig0");
    world.elapse(seconds(100));
    assert!(world.links("ctl").iter().any(|l| l.active));
}

// item 17, the other way round: what we send never exceeds the limiter of a Go node, which begins its
// count when we begin ours (both are made when the link stands, and every frame travels equally long).
#[test]
fn the_pacer_never_exceeds_gos_limiter_whatever_the_schedule() {
    use rigmesh::base::{Rng, Time};
    use rigmesh::formats::smsg::LinkKey;
    use rigmesh::session::{Lane, Outbound, OutboundLimits, PeerRateLimiter};
    for seed in 0..200 {
        let mut rng = Rng::from_number(seed);
        let begin = Time::from_millis(1000);
        let mut out = Outbound::new(LinkKey::from_secret(&[1; 32]), rng.fork(), OutboundLimits::default(), begin);
        // When the other side began to count is its own affair.
        let mut go = PeerRateLimiter::new(Time::from_millis(1000 - rng.below(1000)), 100, 50);
        let mut now = begin;
        for _ in 0..400 {
            for _ in 0..rng.below(40) {
                let _ = out.handle_send(Lane::Control, b"{}".to_vec());
            }
            let mut frame = Vec::new();
            while out.poll_frame(now, 1, &mut frame).unwrap() {
                assert!(go.allow(now), "seed {seed} at {now:?}");
                frame.clear();
            }
            now = now + Duration::from_millis(rng.below(700));
        }
    }
}
