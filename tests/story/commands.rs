//! What is carried out, how often, and for whom.

use super::*;
use rigmesh::sim::{ConnId, Wire};

fn replay_as(world: &mut World, thief: &str, from: usize) -> ConnId {
    let recorded: Vec<Wire> =
        world.captured()[from..].iter().filter(|c| c.from == "go").map(|c| c.wire.clone()).collect();
    let conn = world.open(thief, "rig");
    for wire in recorded {
        world.say(thief, conn, wire);
    }
    world.elapse(seconds(1));
    conn
}

// mesh.md §8 rows 6 and 8; items 5, 9: REPLAY.
#[test]
fn a_recorded_connection_played_back_runs_nothing_now_later_or_after_a_power_cut() {
    let mut world = rig_and_go(20);
    world.stranger("thief", Manners::Silent);
    let conn = world.go_connect("go", "rig");
    let reply = world.ask("go", conn, &start("xmrig")).unwrap();
    assert_eq!(reply.kind, MessageType::MinerAck);
    assert_eq!(world.rig("rig").started, ["xmrig"]);
    world.hang_up("go", conn);
    for pause in [1, 400, 90_000] {
        world.elapse(seconds(pause));
        let conn = replay_as(&mut world, "thief", 0);
        assert_eq!(world.rig("rig").started.len(), 1, "after {pause} s");
        assert!(world.links("rig").iter().all(|l| !l.proven && !l.active));
        world.elapse(seconds(41));
        assert!(!world.is_open(conn), "never proven, so closed");
        if pause == 400 {
            world.power_cut("rig");
        }
    }
    let conn = world.go_connect("go", "rig");
    assert_eq!(world.ask("go", conn, &start("again")).unwrap().kind, MessageType::MinerAck, "the Go node still works");
    assert_eq!(world.rig("rig").started, ["xmrig", "again"]);
}

// mesh.md §8 row 8: no disk, no command.
#[test]
fn a_command_that_cannot_be_recorded_is_not_carried_out() {
    let mut world = rig_and_go(21);
    let conn = world.go_connect("go", "rig");
    world.rig("rig").disk_full = true;
    let reply = world.ask("go", conn, &start("xmrig")).unwrap();
    assert!(!reply.parse::<rigmesh::message::MinerAck>().unwrap().success);
    assert!(world.rig("rig").started.is_empty());
}

// mesh.md §8 row 8: clocks.
#[test]
fn a_clock_that_fell_back_is_told_so_and_reset_clock_forgives_it() {
    let mut world = World::new(22);
    world.node("ctl", Setup::controller());
    world.node("rig", Setup::rig());
    world.pair("ctl", "rig");
    world.call("ctl", "rig", start("one")).unwrap();
    world.set_clock("ctl", -3600);
    let reply = world.call("ctl", "rig", start("two")).unwrap();
    assert_eq!(code(&reply), 1001);
    assert!(reply.parse::<ErrorPayload>().unwrap().message.contains("clock"));
    assert_eq!(world.call("ctl", "rig", Payload::GetStats).unwrap().kind, MessageType::Stats, "queries go on");
    world.reset_clock("rig", Some("ctl"));
    assert_eq!(world.call("ctl", "rig", start("three")).unwrap().kind, MessageType::MinerAck);
    assert_eq!(world.rig("rig").started, ["one", "three"]);
}

// mesh.md §8 row 8: a rig without a clock battery, a controller from the future.
#[test]
fn a_rig_in_1970_takes_commands_and_a_clock_that_jumped_ahead_heals_in_ten_minutes() {
    let mut world = World::new(23);
    world.node("ctl", Setup::controller());
    world.node("rig", Setup::rig());
    world.pair("ctl", "rig");
    world.set_clock("rig", -1_800_000_000);
    assert_eq!(world.call("ctl", "rig", start("one")).unwrap().kind, MessageType::MinerAck);
    world.set_clock("rig", 0);
    world.set_clock("ctl", 10 * 365 * 86_400);
    assert_eq!(world.call("ctl", "rig", start("two")).unwrap().kind, MessageType::MinerAck);
    world.set_clock("ctl", 0);
    assert_eq!(code(&world.call("ctl", "rig", start("three")).unwrap()), 1001);
    world.elapse(seconds(601));
    assert_eq!(world.call("ctl", "rig", start("four")).unwrap().kind, MessageType::MinerAck);
}

// mesh.md §8 row 8; item 16.
#[test]
fn a_command_without_an_id_is_refused_and_a_duplicate_is_dropped() {
    let mut world = rig_and_go(24);
    let conn = world.go_connect("go", "rig");
    assert!(world.ask("go", conn, &ping()).is_some());
    let mut message = world.compose("go", conn, &start("xmrig"));
    let id = std::mem::take(&mut message.id);
    world.send("go", conn, &message);
    world.settle();
    assert_eq!(code(world.inbox("go", conn).last().unwrap()), 1001);
    message.id = id;
    assert_eq!(world.ask_message("go", conn, &message).unwrap().kind, MessageType::MinerAck);
    assert!(world.ask_message("go", conn, &message).is_none(), "the second copy is dropped");
    assert_eq!(world.rig("rig").started.len(), 1);
}

// mesh.md §8 row 10; item 39.
#[test]
fn an_admitted_key_without_the_permission_gets_1002_for_every_command() {
    let mut world = rig_and_go(25);
    world.stranger("peer", Manners::Silent);
    world.allow("rig", "peer", Grants::NONE);
    let conn = world.go_connect("peer", "rig");
    assert_eq!(world.ask("peer", conn, &Payload::GetStats).unwrap().kind, MessageType::Stats);
    let stop = Payload::StopMiner(rigmesh::message::StopMiner { miner_name: "x".into() });
    let logs = Payload::GetLogs(rigmesh::message::GetLogs { miner_name: "x".into(), lines: 5, since: 0 });
    let deploy = Payload::Deploy(rigmesh::message::Deploy { name: "../../x".into(), ..Default::default() });
    for command in [start("xmrig"), stop, logs.clone(), deploy] {
        assert_eq!(code(&world.ask("peer", conn, &command).unwrap()), 1002, "{:?}", command.kind());
    }
    assert!(world.rig("rig").started.is_empty() && world.rig("rig").stopped.is_empty());
    world.allow("rig", "peer", Grants::OBSERVE);
    assert_eq!(world.ask("peer", conn, &logs).unwrap().kind, MessageType::Logs);
}

// mesh.md §8 row 9; items 9, 18: REFLECTED, FORGERY.
#[test]
fn a_reflected_or_misaddressed_message_is_dropped_and_the_link_stays() {
    let mut world = rig_and_go(26);
    let conn = world.go_connect("go", "rig");
    assert!(world.ask("go", conn, &ping()).is_some());
    let own = world.heard("go", conn).into_iter().filter(|w| matches!(w, Wire::Frame(_))).collect::<Vec<_>>();
    for frame in own {
        world.say("go", conn, frame);
    }
    let mut message = world.compose("go", conn, &start("xmrig"));
    (message.from, message.to) = ("forged-from".into(), "forged-to".into());
    assert!(world.ask_message("go", conn, &message).is_none());
    assert!(world.rig("rig").started.is_empty());
    assert!(world.links("rig")[0].dropped >= 3);
    let mut message = world.compose("go", conn, &Payload::GetStats);
    message.to.clear();
    let reply = world.ask_message("go", conn, &message).unwrap();
    assert_eq!(reply.from, world.id("rig").to_string(), "an empty `to` is a broadcast, and we say who we are");
}

// mesh.md §8 row 11; items 24, 26.
#[test]
fn compressed_frames_attachments_and_garbage_are_dropped_and_the_link_stays() {
    let mut world = rig_and_go(27);
    let conn = world.go_connect("go", "rig");
    assert!(world.ask("go", conn, &ping()).is_some());
    let body = world.compose("go", conn, &start("xmrig")).encode();
    let frame = world.seal("go", conn, &body);
    for key in ["format\":\"v2", "compression\":\"gzip", "compression\":\"zstd"] {
        let header = format!("{{\"algorithm\":\"chacha20poly1305\",\"version\":\"1.0\",\"{key}\"}}");
        let mut hostile = b"SMSG\x02".to_vec();
        hostile.extend_from_slice(&(header.len() as u32).to_be_bytes());
        hostile.extend_from_slice(header.as_bytes());
        hostile.extend_from_slice(&frame[57..]);
        world.say("go", conn, Wire::Frame(hostile));
    }
    for length in [0, 1, 8, 100] {
        world.say("go", conn, Wire::Frame(vec![0x53; length]));
    }
    let (second, _) = world.hello("go");
    world.say("go", conn, Wire::Text(second.encode().into_bytes()));
    world.settle();
    assert!(world.rig("rig").started.is_empty());
    assert_eq!(world.ask("go", conn, &start("xmrig")).unwrap().kind, MessageType::MinerAck);
}

// mesh.md §8 row 14; item 17.
#[test]
fn what_exceeds_the_limit_is_answered_at_most_five_times_a_second_and_counts_as_seen() {
    let mut world = rig_and_go(28);
    let conn = world.go_connect("go", "rig");
    assert!(world.ask("go", conn, &ping()).is_some());
    world.elapse(seconds(5));
    let sent: Vec<Message> = (0..150).map(|_| world.compose("go", conn, &Payload::GetStats)).collect();
    for message in &sent {
        world.send("go", conn, message);
    }
    world.elapse(seconds(4)); // our replies are paced: 90 at once, 45 a second
    let replies = world.inbox("go", conn);
    let refusals: Vec<&Message> = replies.iter().filter(|m| code(m) == 1004).collect();
    assert_eq!(refusals.len(), 5);
    assert!(refusals[0].parse::<ErrorPayload>().unwrap().message.starts_with("rate limited, retry after "));
    let refused = sent.iter().find(|m| Some(&m.id) == refusals[0].reply_to.as_ref()).unwrap();
    world.elapse(seconds(5));
    assert!(world.ask_message("go", conn, refused).is_none(), "a refused id counts as seen");
    assert!(world.ask("go", conn, &Payload::GetStats).is_some(), "and a new one is answered");
}

// items 14, 16; the probes "unknown message type" and "ping with a bad payload".
#[test]
fn an_unknown_type_and_a_bad_payload_harm_nothing() {
    let mut world = rig_and_go(29);
    let conn = world.go_connect("go", "rig");
    assert!(world.ask("go", conn, &ping()).is_some());
    let mut odd = world.compose("go", conn, &ping());
    odd.kind = "teleport".into();
    assert!(world.ask_message("go", conn, &odd).is_none());
    assert_eq!(world.embedder("rig").len(), 1, "an embedder may make something of it");
    let mut bad =
        Message::decode(world.compose("go", conn, &ping()).encode().replace("{\"sentAt\":7}", "7").as_bytes());
    let reply = world.ask_message("go", conn, bad.as_mut().unwrap()).unwrap();
    assert_eq!(code(&reply), 1004);
    assert!(world.ask("go", conn, &ping()).is_some());
}

// mesh.md §8 row 9: the reply of a Go worker to a request whose `to` was empty has an empty `from`.
#[test]
fn a_go_worker_is_commanded_and_a_broadcast_names_every_receiver() {
    let mut world = World::new(30);
    world.node("ctl", Setup::controller());
    world.stranger("worker", Manners::Answers);
    world.add_peer("ctl", "worker");
    assert_eq!(world.call("ctl", "worker", Payload::GetStats).unwrap().kind, MessageType::Stats);
    assert_eq!(world.broadcast("ctl", Payload::GetStats), 1);
    world.settle();
    let conn = world.accepted("worker")[0];
    let id = world.id("worker").to_string();
    assert!(world.inbox("worker", conn).iter().all(|m| m.to == id), "we always fill `to`");
    assert!(world.inbox("worker", conn).iter().filter(|m| m.kind == MessageType::Ping).count() >= 1);
}
