//! Frames of a session, recorded, changed, moved and invented by somebody on the line.

use super::*;

/// Sends this to the rig as if the owner had; the session must end at once and without an answer.
fn ends_with(world: &mut World, wire: Wire) {
    let conn = line(world);
    let (started, answers) = (world.rig("rig").started.len(), frames(world, "rig", "owner").len());
    world.say("owner", conn, wire);
    world.elapse(Duration::from_millis(50));
    assert!(!world.is_open(conn), "the session goes on");
    assert_eq!(world.rig("rig").started.len(), started);
    let words = frames(world, "rig", "owner").into_iter().skip(answers).filter(|(c, _)| *c == conn).count();
    assert_eq!(words, 0, "a forger was answered");
    served(world);
}

fn last_frame(world: &World, from: &str, to: &str) -> Vec<u8> {
    frames(world, from, to).pop().unwrap().1
}

#[test]
fn a_frame_replayed_at_once_ends_the_session_and_is_not_carried_out_again() {
    let mut world = joined(1);
    served(&mut world);
    let again = last_frame(&world, "owner", "rig");
    ends_with(&mut world, Wire::Frame(again));
}

#[test]
fn a_frame_replayed_much_later_is_no_better() {
    let mut world = joined(2);
    served(&mut world);
    let again = last_frame(&world, "owner", "rig");
    world.elapse(seconds(3600));
    ends_with(&mut world, Wire::Frame(again));
}

#[test]
fn a_frame_thrown_back_at_its_sender_is_not_taken_for_the_peers() {
    let mut world = joined(3);
    served(&mut world);
    let own = last_frame(&world, "rig", "owner");
    ends_with(&mut world, Wire::Frame(own));
}

#[test]
fn frames_that_change_places_open_neither() {
    let mut world = joined(4);
    let mut held: Option<Wire> = None;
    world.tap(move |sent| match (&sent.wire, sent.from.as_str()) {
        (Wire::Frame(_), "owner") => match held.take() {
            None => {
                held = Some(sent.wire.clone());
                Vec::new()
            }
            Some(first) => vec![sent.wire.clone(), first],
        },
        _ => vec![sent.wire.clone()],
    });
    let calls = [start("one"), start("two")].map(|what| world.begin_call("owner", "rig", what, seconds(5)));
    world.elapse(seconds(10));
    world.untap();
    assert!(world.rig("rig").started.is_empty());
    for call in calls {
        assert!(world.reply(call).is_err());
    }
    served(&mut world);
}

#[test]
fn a_frame_that_is_kept_back_ends_the_session_at_the_next_one() {
    let mut world = joined(5);
    let mut kept = false;
    world.tap(move |sent| match (&sent.wire, sent.from.as_str()) {
        (Wire::Frame(_), "owner") if !kept => {
            kept = true;
            Vec::new()
        }
        _ => vec![sent.wire.clone()],
    });
    let stop = world.begin_call("owner", "rig", start("kept back"), seconds(5));
    let next = world.begin_call("owner", "rig", start("next"), seconds(5));
    world.elapse(seconds(10));
    world.untap();
    assert!(world.rig("rig").started.is_empty(), "what came after a gap was carried out");
    assert!(world.reply(stop).is_err() && world.reply(next).is_err());
    served(&mut world);
}

#[test]
fn a_frame_cut_short_or_made_longer_does_not_open() {
    for (seed, change) in [(6, -1), (7, -16), (8, 1)] {
        let mut world = joined(seed);
        world.tap(move |sent| match (&sent.wire, sent.from.as_str()) {
            (Wire::Frame(frame), "owner") => {
                let mut frame = frame.clone();
                frame.resize(frame.len().saturating_add_signed(change), 0);
                vec![Wire::Frame(frame)]
            }
            _ => vec![sent.wire.clone()],
        });
        assert!(world.call("owner", "rig", start("cut")).is_err());
        world.untap();
        assert!(world.rig("rig").started.is_empty());
        served(&mut world);
    }
}

#[test]
fn one_changed_bit_anywhere_in_a_frame_is_noticed() {
    for seed in 0..24 {
        let mut world = joined(100 + seed);
        world.tap(move |sent| match (&sent.wire, sent.from.as_str()) {
            (Wire::Frame(frame), "owner") => {
                let (mut frame, at) = (frame.clone(), seed as usize * frame.len() / 24);
                frame[at] ^= 1 << (seed % 8);
                vec![Wire::Frame(frame)]
            }
            _ => vec![sent.wire.clone()],
        });
        assert!(world.call("owner", "rig", start("bent")).is_err());
        world.untap();
        assert!(world.rig("rig").started.is_empty());
    }
}

#[test]
fn a_text_message_inside_a_session_ends_it() {
    let mut world = joined(9);
    ends_with(&mut world, Wire::Text(b"{\"id\":\"1\",\"type\":\"start_miner\"}".to_vec()));
}

#[test]
fn an_empty_frame_ends_the_session() {
    ends_with(&mut joined(10), Wire::Frame(Vec::new()));
}

#[test]
fn a_frame_longer_than_any_may_be_ends_the_session() {
    ends_with(&mut joined(11), Wire::Frame(vec![0; 65_536]));
}

#[test]
fn noise_of_every_length_ends_the_session() {
    for (seed, length) in [(12, 1), (13, 17), (14, 18), (15, 65_535)] {
        ends_with(&mut joined(seed), Wire::Frame(vec![0xa5; length]));
    }
}

#[test]
fn a_frame_of_an_earlier_session_of_the_same_pair_does_not_open_in_this_one() {
    let mut world = joined(16);
    served(&mut world);
    let old = frames(&world, "owner", "rig");
    world.cut("owner", "rig");
    world.settle();
    world.connect("owner", "rig").unwrap();
    world.settle();
    for (_, frame) in old.into_iter().rev().take(3) {
        ends_with(&mut world, Wire::Frame(frame));
    }
}

#[test]
fn a_frame_sealed_with_the_static_key_of_protocol_1_0_does_not_open() {
    let mut world = joined(17);
    // Whoever stole the owner's key can make such frames.
    world.copy_of("thief", "owner", rigmesh::sim::Manners::Silent);
    let conn = world.open("thief", "rig");
    let start = world.compose("thief", conn, &start("stolen"));
    let frame = world.seal("thief", conn, &start.encode());
    world.connect("owner", "rig").unwrap();
    let conn = frames(&world, "owner", "rig").pop().unwrap().0;
    world.say("owner", conn, Wire::Frame(frame));
    world.elapse(seconds(1));
    assert!(!world.is_open(conn) && world.rig("rig").started.is_empty());
    served(&mut world);
}

#[test]
fn a_line_cut_after_a_command_is_no_success() {
    let mut world = joined(18);
    world.tap(|sent| if sent.from == "rig" { Vec::new() } else { vec![sent.wire.clone()] });
    let call = world.begin_call("owner", "rig", start("one"), seconds(20));
    world.elapse(seconds(1));
    world.cut("owner", "rig");
    world.elapse(seconds(1));
    world.untap();
    let told = world.reply(call).unwrap_err();
    assert!(matches!(told, rigmesh::base::Error::Unreachable(_)), "{told}");
    served(&mut world);
}

#[test]
fn a_recorded_connection_played_again_from_the_first_message_on_starts_nothing() {
    let mut world = farm(19);
    world.connect("owner", "rig").unwrap();
    served(&mut world);
    let first = world.captured()[0].conn;
    let tape: Vec<Wire> =
        world.captured().iter().filter(|c| c.conn == first && c.from == "owner").map(|c| c.wire.clone()).collect();
    let started = world.rig("rig").started.len();
    world.stranger("thief", rigmesh::sim::Manners::Silent);
    for _ in 0..3 {
        let conn = world.open("thief", "rig");
        for wire in &tape {
            world.say("thief", conn, wire.clone());
            world.elapse(Duration::from_millis(10));
        }
        world.elapse(seconds(1));
        assert!(!world.is_open(conn));
    }
    assert_eq!(world.rig("rig").started.len(), started);
    served(&mut world);
}
