//! Stories: a few named nodes in a virtual world, one story for each thing that protocol 1.0 gets
//! wrong (mesh.md §8, mesh-weaknesses.md) and for each stretch of a rig's life. In every one the
//! attack or fault does nothing, and the honest Go node beside it still works.
//!
//! | item of mesh-weaknesses.md | shown in |
//! |---|---|
//! | 1, 2, 3 (path, 503, Origin, opcodes, silence of a bare close) | tests/sockets.rs |
//! | 10 (read limit on the ack), 20, 21, 22, 44 (sockets, threads, TLS) | tests/sockets.rs |
//! | 15 (one handler per transport) | not shown here: no story has a dual node yet |
//! | 42, 43 (registry rules, corrupt identity) | tests/vectors.rs (peer, identity), tests/cli.rs |
//! | 18 (an empty `from` in a reply to a broadcast) | the unit tests of src/session/dialogue.rs |
//! | the rest of 4–19, 23, 33 | here, named by each story's comment |

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

#[path = "story/audit.rs"]
mod audit;
#[path = "story/commands.rs"]
mod commands;
#[path = "story/deploy.rs"]
mod deploy;
#[path = "story/found.rs"]
mod found;
#[path = "story/handshake.rs"]
mod handshake;
#[path = "story/lifecycle.rs"]
mod lifecycle;
#[path = "story/links.rs"]
mod links;
#[path = "story/packets.rs"]
mod packets;
#[path = "support/shorthand.rs"]
mod shorthand;

use rigmesh::message::{ErrorPayload, Gossip, Message, MessageType, Payload, Ping};
use rigmesh::peers::Grants;
use rigmesh::sim::{Manners, Secure, Setup, World};
use shorthand::{code, seconds, start};
use std::time::Duration;

fn ping() -> Payload {
    Payload::Ping(Ping { sent_at: 7, rigmesh: None })
}

/// A rig and a Go controller that may command it.
fn rig_and_go(seed: u64) -> World {
    let mut world = World::new(seed);
    world.node("rig", Setup::rig());
    world.stranger("go", Manners::Silent);
    world.allow("rig", "go", Grants::CONTROLLER);
    world
}

/// A controller and a rig in a secure session.
fn in_session(seed: u64, grants: Grants) -> World {
    let mut world = World::new(seed);
    world.node("ctl", Setup::controller().secure(Secure::On));
    world.node("rig", Setup::rig().secure(Secure::On));
    world.add_peer("ctl", "rig");
    world.allow("rig", "ctl", grants);
    assert!(world.connect("ctl", "rig").unwrap().secure);
    world
}
