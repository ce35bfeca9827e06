//! Proof, second connections, silence.

use super::*;
use rigmesh::sim::Wire;

// mesh.md §8 row 6; items 5, 13: a Go controller that never answers ping and first speaks after 30 s.
#[test]
fn an_idle_go_controller_first_speaks_after_30_seconds_and_is_served() {
    let mut world = rig_and_go(40);
    let conn = world.go_connect("go", "rig");
    world.elapse(seconds(30));
    assert!(!world.links("rig")[0].proven);
    assert!(world.inbox("go", conn).iter().all(|m| m.kind == MessageType::Ping), "until then nothing but pings");
    assert!(world.ask("go", conn, &ping()).is_some());
    assert!(world.links("rig")[0].proven);
    for _ in 0..5 {
        world.elapse(seconds(30));
        assert!(world.ask("go", conn, &ping()).is_some());
    }
    assert_eq!(world.ask("go", conn, &start("xmrig")).unwrap().kind, MessageType::MinerAck);
}

// mesh.md §8 row 6; items 5, 13.
#[test]
fn an_initiator_that_never_proves_its_key_is_closed_after_40_seconds_whatever_it_sends() {
    let mut world = rig_and_go(41);
    let (hello, _) = world.hello("go"); // recorded; the thief has no key
    world.stranger("thief", Manners::Silent);
    let (conn, ack) = world.shake_with("thief", "rig", hello.encode().as_bytes());
    assert!(ack.unwrap().accepted);
    for _ in 0..39 {
        world.say("thief", conn, Wire::Frame(vec![1; 300]));
        world.elapse(seconds(1));
    }
    assert!(world.is_open(conn));
    let id = world.id("go").to_string();
    world.registry("rig", |r| assert!(r.peer(&id).is_none_or(|p| !p.connected)));
    world.elapse(seconds(2));
    assert!(!world.is_open(conn), "garbage refreshes nothing");
}

// mesh.md §8 row 6: a stale first request.
#[test]
fn a_stale_first_request_is_told_1001_once_a_second_and_proves_nothing() {
    let mut world = rig_and_go(42);
    let conn = world.go_connect("go", "rig");
    assert!(world.ask("go", conn, &start("one")).is_some());
    let conn = world.go_connect("go", "rig");
    let mut old = world.compose("go", conn, &Payload::GetStats);
    old.ts = rigmesh::base::Timestamp::from_unix(1000, 0);
    assert_eq!(code(&world.ask_message("go", conn, &old).unwrap()), 1001);
    let mut again = world.compose("go", conn, &Payload::GetStats);
    again.ts = old.ts;
    assert!(world.ask_message("go", conn, &again).is_none());
    assert_eq!(world.links("rig").iter().filter(|l| l.proven).count(), 1);
}

// mesh.md §8 row 7; item 19.
#[test]
fn two_connections_of_one_go_controller_live_and_closing_the_old_one_hurts_nothing() {
    let mut world = rig_and_go(43);
    let old = world.go_connect("go", "rig");
    assert!(world.ask("go", old, &ping()).is_some());
    let new = world.go_connect("go", "rig");
    assert!(world.links("rig").iter().filter(|l| l.active).count() == 1);
    assert!(world.ask("go", new, &ping()).is_some());
    assert!(world.ask("go", old, &Payload::GetStats).is_some(), "the old one is still answered, on itself");
    world.hang_up("go", old);
    world.settle();
    assert!(world.ask("go", new, &Payload::GetStats).is_some());
    let links = world.links("rig");
    assert!(links.len() == 1 && links[0].active);
    let id = world.id("go").to_string();
    world.registry("rig", |r| assert!(r.peer(&id).unwrap().connected));
    world.hang_up("go", new);
    world.settle();
    world.registry("rig", |r| assert!(!r.peer(&id).unwrap().connected));
}

// mesh.md §8 row 7: at most eight older connections.
#[test]
fn a_key_keeps_at_most_eight_older_connections() {
    let mut world = rig_and_go(44);
    for _ in 0..12 {
        let conn = world.go_connect("go", "rig");
        assert!(world.ask("go", conn, &ping()).is_some());
    }
    world.settle();
    assert_eq!(world.links("rig").len(), 9);
}

// mesh.md §8 row 7: a copied disk image.
#[test]
fn a_copied_disk_is_noticed_and_the_newcomer_refused() {
    let mut world = rig_and_go(45);
    world.copy_of("copy", "go", Manners::Silent);
    for _ in 0..6 {
        for name in ["go", "copy"] {
            let (hello, _) = world.hello(name);
            let (conn, _) = world.shake_with(name, "rig", hello.encode().as_bytes());
            let _ = world.ask(name, conn, &ping());
        }
    }
    world.settle();
    assert!(world.links("rig").iter().any(|l| l.note.as_deref().is_some_and(|n| n.contains("copied disk"))));
}

// mesh.md §3; item 13.
#[test]
fn silence_of_40_seconds_closes_and_a_go_node_with_longer_intervals_is_allowed() {
    let mut world = rig_and_go(46);
    let conn = world.go_connect("go", "rig");
    assert!(world.ask("go", conn, &ping()).is_some());
    world.elapse(seconds(39));
    assert!(world.is_open(conn));
    world.elapse(seconds(2));
    assert!(!world.is_open(conn));
    let conn = world.go_connect("go", "rig");
    for _ in 0..3 {
        assert!(world.ask("go", conn, &ping()).is_some());
        world.elapse(seconds(38));
    }
    assert!(world.ask("go", conn, &ping()).is_some());
    world.elapse(seconds(60));
    assert!(world.is_open(conn), "2.5 times the longest interval seen");
}

// mesh.md §8, last lines; item 14.
#[test]
fn a_disconnect_ends_its_own_connection_only() {
    let mut world = rig_and_go(47);
    let one = world.go_connect("go", "rig");
    assert!(world.ask("go", one, &ping()).is_some());
    let two = world.go_connect("go", "rig");
    assert!(world.ask("go", two, &ping()).is_some());
    let bye = world.compose(
        "go",
        two,
        &Payload::Disconnect(rigmesh::message::Disconnect { reason: "bye".into(), code: 1000 }),
    );
    world.send("go", two, &bye);
    world.settle();
    assert!(!world.is_open(two) && world.is_open(one));
    assert!(world.ask("go", one, &ping()).is_some());
}
