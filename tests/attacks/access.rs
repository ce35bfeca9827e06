//! Keys that ask for more than they were given, and keys that were taken away (secure-session.md §5).

use super::*;
use rigmesh::base::Timestamp;
use rigmesh::message::{
    AccessReply, Deploy, DeployOffer, GetAudit, GetLogs, GetVersions, Grant, KeepKey, RawPayload, Revoke, Rollback,
    StopMiner,
};
use rigmesh::peers::{Gift, Grants};
use rigmesh::sim::Manners;

const MANAGER: &str = "observe,operate,manage";

fn grants(text: &str) -> Grants {
    text.parse().unwrap()
}

fn give(world: &World, who: &str, names: &[&str]) -> Payload {
    let grants = names.iter().map(|name| (*name).to_owned()).collect();
    Payload::Grant(Grant { key: world.key(who), grants, until: None, note: String::new() })
}

/// A farm with a second controller, `hand`, in sessions with the rig as the owner is.
fn staffed(seed: u64, owner: &str, hand: &str) -> World {
    let mut world = farm(seed);
    world.node("hand", Setup::controller().secure(Secure::On));
    world.pair("hand", "rig");
    world.allow("rig", "owner", grants(owner));
    world.allow("rig", "hand", grants(hand));
    for from in ["owner", "hand"] {
        world.connect(from, "rig").unwrap();
    }
    world.settle();
    world
}

#[test]
fn every_command_needs_its_grant_and_says_which() {
    let mut world = staffed(300, "controller", "peer");
    let stop = || StopMiner { miner_name: "x".to_owned() };
    let offer =
        DeployOffer { h: 1, t: "00".repeat(32), manifest: "{}".to_owned(), activate: true, ..DeployOffer::default() };
    let commands = [
        (start("x"), "operate"),
        (Payload::StopMiner(stop()), "operate"),
        (Payload::PauseMiner(stop()), "operate"),
        (Payload::ResumeMiner(stop()), "operate"),
        (Payload::Rollback(Rollback { name: "x".to_owned(), slot: None }), "operate"),
        (Payload::Deploy(Deploy::default()), "deploy"),
        (Payload::DeployOffer(offer), "deploy"),
        (Payload::GetLogs(GetLogs::default()), "observe"),
        (Payload::GetVersions(GetVersions::default()), "observe"),
        (give(&world, "hand", &["operate"]), "manage"),
        (Payload::Revoke(Revoke { key: world.key("owner") }), "manage"),
        (Payload::KeepKey(KeepKey { key: world.key("owner") }), "manage"),
        (Payload::GetAudit(GetAudit { lines: 9 }), "observe"),
    ];
    for (payload, needed) in commands {
        let kind = payload.kind();
        // All that it might have but the one that it needs.
        let rest = ["observe", "operate", "deploy", "manage"].into_iter().filter(|name| *name != needed);
        world.grant("rig", "hand", grants(&rest.collect::<Vec<_>>().join(",")));
        let reply = world.call("hand", "rig", payload).unwrap();
        if kind == MessageType::DeployOffer {
            assert!(reply.payload.as_str().contains("no permission"), "{reply:?}");
        } else {
            assert_eq!(code(&reply), 1002, "{kind:?}: {reply:?}");
            assert!(reply.payload.as_str().contains(needed), "{kind:?}: {reply:?}");
        }
    }
    let rig = world.rig("rig");
    assert!(rig.started.is_empty() && rig.stopped.is_empty());
    assert!(world.audit_of("rig").is_empty(), "what was refused is no command");
    served(&mut world);
}

#[test]
fn a_manager_shuts_a_stolen_key_out_while_it_is_connected() {
    let mut world = staffed(310, "controller,manage", "controller");
    let stolen = world.key("hand");
    let reply = world.call("owner", "rig", Payload::Revoke(Revoke { key: stolen })).unwrap();
    let answer: AccessReply = reply.parse().unwrap();
    assert!(answer.revoked && answer.key == stolen && answer.grants.is_empty(), "{answer:?}");
    world.settle();
    assert!(world.links("rig").iter().all(|link| link.name != "hand"), "its link is still there");
    assert!(world.call("hand", "rig", start("stolen")).is_err());
    assert!(world.rig("rig").started.is_empty());
    // Also as another kind of link, and also when it asks politely.
    assert!(world.connect("hand", "rig").is_err());
    served(&mut world);
    // From afar nobody lets it in again.
    let reply = world.call("owner", "rig", give(&world, "hand", &["observe"])).unwrap();
    assert_eq!(code(&reply), 1004);
    assert!(world.connect("hand", "rig").is_err());
}

#[test]
fn what_waits_in_a_revoked_keys_name_is_not_done() {
    let mut world = staffed(311, "controller,manage", "controller");
    // The command of the stolen key and its revocation arrive together.
    let call = world.begin_call("hand", "rig", start("late"), seconds(5));
    world.revoke("rig", "hand");
    world.settle();
    assert!(world.is_over(call) && world.reply(call).is_err());
    assert!(world.rig("rig").started.is_empty());
    served(&mut world);
}

#[test]
fn nobody_rises_above_himself_by_manage() {
    let mut world = staffed(320, "controller,manage", MANAGER);
    let refused = |world: &mut World, payload: Payload, missing: &str| {
        let reply = world.call("hand", "rig", payload).unwrap();
        assert_eq!(code(&reply), 1002, "{reply:?}");
        assert!(reply.payload.as_str().contains(missing), "{reply:?}");
    };
    let more = give(&world, "hand", &["observe", "operate", "deploy", "manage"]);
    refused(&mut world, more, "deploy");
    world.stranger("friend", Manners::Silent);
    let friend = give(&world, "friend", &["deploy"]);
    refused(&mut world, friend, "deploy");
    // Nor does anybody take down somebody above.
    let owner = world.key("owner");
    refused(&mut world, Payload::Revoke(Revoke { key: owner }), "deploy");
    let less = give(&world, "owner", &[]);
    refused(&mut world, less, "deploy");
    // Within its own it may.
    let friend = give(&world, "friend", &["observe", "manage"]);
    let reply: AccessReply = world.call("hand", "rig", friend).unwrap().parse().unwrap();
    assert_eq!(reply.grants, ["observe", "manage"]);
    let lines = world.audit_of("rig");
    let begun: Vec<&str> = lines.iter().filter_map(|line| line["what"].as_str()).collect();
    assert_eq!(begun, ["grant", "grant", "revoke", "grant", "grant"]);
    served(&mut world);
}

#[test]
fn a_permission_that_ends_gives_nothing_that_lasts_longer() {
    let mut world = staffed(321, "controller", "peer");
    let friend = world.key("owner");
    let end = Timestamp::from_unix(1_800_000_000 + 3600, 0);
    world.give("rig", "hand", Gift { grants: grants("controller,manage"), until: Some(end), ..Gift::default() });
    let longer = Payload::Grant(Grant {
        key: friend,
        grants: vec!["operate".to_owned()],
        until: Some(Timestamp::from_unix(1_900_000_000, 0)),
        note: String::new(),
    });
    let reply: AccessReply = world.call("hand", "rig", longer).unwrap().parse().unwrap();
    assert_eq!(reply.until, Some(end));
    assert_eq!(world.call("hand", "rig", start("in time")).unwrap().kind, MessageType::MinerAck);
    world.elapse(seconds(3600));
    for from in ["hand", "owner"] {
        assert_eq!(code(&world.call(from, "rig", start("too late")).unwrap()), 1002);
    }
    // A clock that is put back, and even a restart, do not bring it back: that it was later is on disk by now.
    world.elapse(seconds(60));
    world.set_clock("rig", -7200);
    assert_eq!(code(&world.call("hand", "rig", start("again")).unwrap()), 1002);
    world.power_cut("rig");
    world.settle();
    assert_eq!(code(&world.call("hand", "rig", start("again")).unwrap()), 1002);
    assert_eq!(world.rig("rig").started, ["in time"]);
}

#[test]
fn over_protocol_1_0_nobody_changes_permissions_whatever_its_key_may() {
    let mut world = World::new(330);
    world.node("owner", Setup::controller());
    world.node("rig", Setup::rig());
    world.pair("owner", "rig");
    world.allow("rig", "owner", grants("controller,manage"));
    let (ask, key) = (give(&world, "owner", &["observe"]), world.key("owner"));
    for payload in [ask, Payload::Revoke(Revoke { key })] {
        let reply = world.call("owner", "rig", payload).unwrap();
        assert_eq!(code(&reply), 1002);
        assert!(reply.payload.as_str().contains("secure sessions only"), "{reply:?}");
    }
    assert_eq!(world.call("owner", "rig", start("as ever")).unwrap().kind, MessageType::MinerAck);
}

#[test]
fn words_that_are_no_grants_and_keys_that_are_none_change_nothing() {
    let mut world = staffed(340, "controller,manage", "peer");
    let all = give(&world, "hand", &["everything"]);
    assert_eq!(code(&world.call("owner", "rig", all).unwrap()), 1004);
    let key = world.key("hand").to_base64();
    for (kind, payload) in [
        ("grant", "{}".to_owned()),
        ("grant", format!(r#"{{"key":"{key}"}}"#)),
        ("grant", format!(r#"{{"key":"{key}","grants":["observe"],"until":"soon"}}"#)),
        ("revoke", r#"{"key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}"#.to_owned()),
        ("revoke", format!(r#"["{key}"]"#)),
    ] {
        let raw = RawPayload::from_text(&payload).unwrap();
        let reply = world.call("owner", "rig", Payload::Other { kind: kind.into(), raw }).unwrap();
        assert_eq!(code(&reply), 1004, "{payload}: {reply:?}");
    }
    world.registry("rig", |r| assert!(r.access().permission(&key.parse().unwrap()).unwrap().grants.is_empty()));
    served(&mut world);
}
