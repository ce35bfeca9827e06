//! The audit log of a rig (secure-session.md §7): what stands in it, in which order, and what happens without it.

use super::*;
use rigmesh::message::{GetLogs, Rollback, StopMiner};
use rigmesh::wire::ueps::{Header, intent};
use serde_json::{Value, json};

/// The two in a session, with nothing under way.
fn joined(seed: u64, grants: Grants) -> World {
    let mut world = in_session(seed, grants);
    world.settle();
    world
}

fn mark(reply: &Message) -> Value {
    reply.parse::<Value>().unwrap()["audit"].clone()
}

/// The place of a line, as a reply names it.
fn place(line: &Value) -> Value {
    json!({ "n": line["n"], "h": line["h"] })
}

#[test]
fn a_command_stands_between_two_lines_and_its_reply_names_the_second() {
    let mut world = joined(600, Grants::CONTROLLER);
    let reply = world.call("ctl", "rig", start("xmrig")).unwrap();
    let lines = world.audit_of("rig");
    assert_eq!(lines.len(), 2);
    let begin = &lines[0];
    assert_eq!((&begin["n"], &begin["what"]), (&json!(0), &json!("start_miner")));
    assert_eq!(begin["who"], world.key("ctl").to_base64());
    assert_eq!(begin["args"], json!({ "type": "xmrig", "profile": "p" }));
    assert_eq!(begin["id"].as_str(), reply.reply_to.as_deref());
    assert!(begin["ts"].is_string() && begin["sid"].as_str().unwrap().len() == 16, "{begin}");
    let end = &lines[1];
    assert_eq!((&end["end"], &end["ok"], end.get("err")), (&json!(0), &json!(true), None));
    assert_eq!(mark(&reply), place(end));

    // What fails is recorded with its reason, and its reply has its place as well.
    let back = Payload::Rollback(Rollback { name: "xmrig".into(), slot: Some(2) });
    let reply = world.call("ctl", "rig", back).unwrap();
    let lines = world.audit_of("rig");
    assert_eq!(lines[2]["args"], json!({ "miner": "xmrig", "slot": 2 }));
    assert_eq!((&lines[3]["end"], &lines[3]["ok"]), (&json!(2), &json!(false)));
    assert!(lines[3]["err"].as_str().unwrap().contains("no versions"));
    assert_eq!(mark(&reply), place(&lines[3]));

    // The next session has another id, and the chain goes on after a power cut.
    world.power_cut("rig");
    world.settle();
    world.call("ctl", "rig", Payload::StopMiner(StopMiner { miner_name: "x".into() })).unwrap();
    let lines = world.audit_of("rig");
    assert_eq!((lines.len(), &lines[4]["n"]), (6, &json!(4)));
    assert_ne!(lines[4]["sid"], lines[0]["sid"]);
}

#[test]
fn a_go_node_gets_the_same_lines_without_a_session() {
    let mut world = rig_and_go(601);
    let conn = world.go_connect("go", "rig");
    let reply = world.ask("go", conn, &start("xmrig")).unwrap();
    let lines = world.audit_of("rig");
    assert_eq!((lines.len(), &lines[0]["who"]), (2, &json!(world.key("go").to_base64())));
    assert_eq!(lines[0].get("sid"), None);
    assert_eq!(mark(&reply), place(&lines[1]));
    assert!(reply.parse::<rigmesh::message::MinerAck>().unwrap().success);
}

#[test]
fn what_only_reads_and_what_is_refused_writes_nothing() {
    let mut world = joined(602, Grants::CONTROLLER);
    let logs = || Payload::GetLogs(GetLogs { miner_name: "x".into(), lines: 5, since: 0 });
    for reads in [Payload::GetStats, logs(), Payload::GetVersions(Default::default()), ping()] {
        let reply = world.call("ctl", "rig", reads).unwrap();
        assert_eq!(mark(&reply), Value::Null, "{reply:?}");
    }
    world.packet("ctl", "rig", Header::new(intent::HANDSHAKE), b"hello").unwrap();
    world.grant("rig", "ctl", Grants::OBSERVE);
    let object = world.object(70_000);
    assert_eq!(code(&world.call("ctl", "rig", start("xmrig")).unwrap()), 1002);
    world.packet("ctl", "rig", Header::new(intent::REHAB), b"").unwrap_err();
    let call = world.begin_deploy("ctl", "rig", &object, false);
    world.deployed(call).unwrap_err();
    assert_eq!(world.audit_of("rig"), [] as [Value; 0]);
    assert!(world.rig("rig").started.is_empty());
}

#[test]
fn a_command_whose_line_cannot_be_written_gets_1004_and_does_not_run() {
    let mut world = joined(603, Grants::CONTROLLER);
    world.fill_audit("rig", true);
    let reply = world.call("ctl", "rig", start("xmrig")).unwrap();
    assert_eq!((code(&reply), mark(&reply)), (1004, Value::Null), "an error, and no miner_ack");
    assert!(reply.parse::<ErrorPayload>().unwrap().message.contains("could not be recorded"));
    let refused = world.packet("ctl", "rig", Header::new(intent::REHAB), b"").unwrap_err();
    assert!(matches!(refused, rigmesh::base::Error::Remote { code: 1004, .. }), "{refused:?}");
    let object = world.object(70_000);
    let call = world.begin_deploy("ctl", "rig", &object, false);
    let refused = world.deployed(call).unwrap_err();
    assert!(matches!(refused, rigmesh::base::Error::Remote { code: 1004, .. }), "{refused:?}");
    assert_eq!(world.rig("rig").depot.installed().count(), 0);
    assert!(world.rig("rig").started.is_empty());
    assert_eq!(world.call("ctl", "rig", Payload::GetStats).unwrap().kind, MessageType::Stats, "queries go on");
    world.fill_audit("rig", false);
    assert_eq!(world.call("ctl", "rig", start("xmrig")).unwrap().kind, MessageType::MinerAck);
    assert_eq!((world.rig("rig").started.len(), world.audit_of("rig").len()), (1, 2));
}

#[test]
fn a_line_that_would_be_too_long_is_not_written_and_its_command_does_not_run() {
    let mut world = joined(604, Grants::CONTROLLER);
    let reply = world.call("ctl", "rig", start(&"x".repeat(20_000))).unwrap();
    assert_eq!(code(&reply), 1004);
    assert!(world.audit_of("rig").is_empty() && world.rig("rig").started.is_empty());
}

#[test]
fn a_deployment_is_one_command_however_often_its_link_is_cut() {
    let mut world = joined(605, Grants::CONTROLLER);
    let object = world.object(3_000_000);
    let call = world.begin_deploy("ctl", "rig", &object, false);
    for _ in 0..3 {
        while world.deploys("ctl").iter().all(|info| info.state != "sending") {
            world.elapse(Duration::from_millis(20));
        }
        world.elapse(Duration::from_millis(30));
        assert!(world.audit_of("rig").is_empty(), "chunks that only lie there are no command");
        world.cut("ctl", "rig");
    }
    world.deployed(call).unwrap().unwrap();
    let lines = world.audit_of("rig");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["what"], "deploy_offer");
    assert_eq!(lines[0]["args"]["object"].as_str().unwrap().len(), 64);
    assert!(lines[0]["sid"].is_string() && lines[0]["id"].is_string() && lines[1]["ok"] == true);
}

#[test]
fn packets_that_change_something_are_commands_like_any_other() {
    let mut world = joined(606, Grants::CONTROLLER);
    world.packet("ctl", "rig", Header::new(intent::COMPUTE), br#"{"profile":"monero","wallet":"4W"}"#).unwrap();
    world.packet("ctl", "rig", Header::new(intent::REHAB), br#"{"reason":"too hot"}"#).unwrap();
    world.packet("ctl", "rig", Header::new(intent::COMPUTE), br#"{"profile":"monero"}"#).unwrap_err();
    let lines = world.audit_of("rig");
    assert_eq!(lines.len(), 6);
    assert_eq!(
        (&lines[0]["what"], &lines[0]["args"]),
        (&json!("ueps"), &json!({"intent": "compute", "profile": "monero"}))
    );
    assert_eq!(lines[2]["args"], json!({"intent": "rehab"}));
    assert_eq!((&lines[1]["ok"], &lines[5]["ok"]), (&json!(true), &json!(false)));
    assert!(lines[5]["err"].as_str().unwrap().contains("paused"));
}
