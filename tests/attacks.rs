//! The attack catalogue: each test does what an attacker would do, in the simulated world or over a real socket, against
//! secure sessions (secure-session.md §1 and §2) and the audit log (§7). In every one the attack does nothing, and the honest peers are served.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

#[path = "attacks/access.rs"]
mod access;
#[path = "attacks/audit.rs"]
mod audit;
#[path = "attacks/frames.rs"]
mod frames;
#[path = "attacks/handshake.rs"]
mod handshake;
#[path = "attacks/kinds.rs"]
mod kinds;
#[path = "attacks/member.rs"]
mod member;
#[path = "attacks/pairing.rs"]
mod pairing;
#[path = "attacks/real.rs"]
mod real;
#[path = "attacks/rotation.rs"]
mod rotation;
#[path = "attacks/sessions.rs"]
mod sessions;
#[path = "support/shorthand.rs"]
mod shorthand;

use rigmesh::message::{Message, MessageType, Payload};
use rigmesh::peers::Grants;
use rigmesh::sim::{Captured, ConnId, Secure, Setup, Wire, World};
use shorthand::{code, seconds, start};
use std::time::Duration;

/// An owner and a rig that know each other, both with secure sessions.
fn farm(seed: u64) -> World {
    let mut world = World::new(seed);
    world.node("owner", Setup::controller().secure(Secure::On));
    world.node("rig", Setup::rig().secure(Secure::On));
    world.pair("owner", "rig");
    world
}

/// The same, in a session.
fn joined(seed: u64) -> World {
    let mut world = farm(seed);
    assert!(world.connect("owner", "rig").unwrap().secure);
    world.settle();
    world
}

/// The owner can still command the rig, over a new connection if need be, in a secure session.
fn served(world: &mut World) {
    let before = world.rig("rig").started.len();
    let reply = world.call("owner", "rig", start("honest")).unwrap();
    assert_eq!(reply.kind, MessageType::MinerAck, "{reply:?}");
    assert_eq!(world.rig("rig").started[before..], ["honest"]);
    assert!(world.links("rig").iter().any(|link| link.active && link.secure));
}

/// Frames that went from one to the other, in order.
fn frames(world: &World, from: &str, to: &str) -> Vec<(ConnId, Vec<u8>)> {
    let frame = |c: &Captured| match &c.wire {
        Wire::Frame(frame) if c.from == from && c.to == to => Some((c.conn, frame.clone())),
        _ => None,
    };
    world.captured().iter().filter_map(frame).collect()
}

/// The connection that both have.
fn line(world: &World) -> ConnId {
    world.captured().last().unwrap().conn
}

/// Changes the first clear message of a type on the line, once; everything else goes as it is.
fn change_text(world: &mut World, kind: &'static str, change: impl Fn(&str) -> String + 'static) {
    let mut done = false;
    world.tap(move |sent| match &sent.wire {
        Wire::Text(text) if !done && std::str::from_utf8(text).unwrap().contains(&format!("\"type\":\"{kind}\"")) => {
            done = true;
            let changed = change(std::str::from_utf8(text).unwrap());
            assert_ne!(changed.as_bytes(), text, "the attack changed nothing");
            vec![Wire::Text(changed.into_bytes())]
        }
        wire => vec![wire.clone()],
    });
}

/// A JSON member by its name, with the comma before it.
fn without(text: &str, member: &str) -> String {
    let mut json: serde_json::Value = serde_json::from_str(text).unwrap();
    json["payload"].as_object_mut().unwrap().remove(member).unwrap();
    json.to_string()
}

fn edited(text: &str, edit: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut json: serde_json::Value = serde_json::from_str(text).unwrap();
    edit(&mut json["payload"]);
    json.to_string()
}
