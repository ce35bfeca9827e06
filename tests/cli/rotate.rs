//! Keys that are replaced, between real processes, as an owner would do it.

use super::user::{Folder, Pair};
use crate::support::eventually;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;

fn of<'a>(rows: &'a [Value], key: &str) -> &'a Value {
    rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("no {key} in {rows:?}"))
}

/// The keys of a folder, announced and put in force at once.
fn rotated(folder: &Folder) -> (String, String) {
    let old = folder.key();
    folder.run(&["id", "rotate"]).ok();
    folder.run(&["id", "rotate", "--finish", "--now"]).ok();
    (old, folder.key())
}

#[test]
fn a_controller_replaces_its_keys_and_commands_its_rigs_as_before() {
    let pair = Pair::with_config(r#"{"rotation_delay_s": 0}"#);
    let (boss, rig) = (&pair.controller, &pair.rig);
    let before = boss.rows(&["id"])[0].clone();
    let announced = boss.rows(&["id", "rotate"]).remove(0);
    assert_eq!((&announced["phase"], &announced["old"]), (&json!("announced"), &before["key"]));
    assert_eq!(boss.key(), before["key"], "the old keys are in force");
    // Whatever it does meanwhile tells its rigs.
    boss.run(&["pause", "rig-1"]).ok();
    let status = rig.rows(&["status", "self"]).remove(0);
    assert!(status["warning"].as_str().unwrap().contains("keep-key"), "{status}");

    boss.run(&["id", "rotate", "--finish"]).fails(3, &["less than a day", "--now"]);
    boss.run(&["id", "rotate", "--forget"]).fails(3, &["not in force"]);
    boss.run(&["id", "rotate", "--finish", "--now"]).ok();
    let new = boss.key();
    assert_ne!(new, before["key"]);
    assert_eq!(boss.rows(&["id"])[0]["name"], before["name"]);
    boss.run(&["resume", "rig-1"]).ok();

    let rows = rig.rows(&["peers", "list"]);
    assert!(rows.iter().all(|row| row["key"] != before["key"]), "its place is taken");
    let now = of(&rows, &new);
    assert_eq!(now["name"], "boss");
    assert_eq!(now["grants"], json!(["observe", "operate", "deploy"]));
    let log = rig.run(&["audit", "show"]).ok().out;
    assert!(log.contains("rotate") && log.contains("follow"), "{log}");
    rig.run(&["audit", "verify"]).ok();
    // What was signed under both keys is the controller's own, also when the old ones are forgotten.
    boss.run(&["audit", "verify"]).ok();
    boss.run(&["id", "rotate", "--forget"]).ok();
    boss.run(&["audit", "verify"]).ok();
    boss.run(&["pause", "rig-1"]).ok();
    // And after a power cut at the rig.
    let pair = pair.restarted(|daemon| daemon.kill());
    pair.controller.run(&["resume", "rig-1"]).ok();
}

#[test]
fn a_successor_waits_a_day_and_the_rigs_owner_may_keep_the_key() {
    let pair = Pair::new();
    let (boss, rig) = (&pair.controller, &pair.rig);
    boss.run(&["id", "rotate"]).ok();
    boss.run(&["pause", "rig-1"]).ok();
    boss.run(&["id", "rotate", "--finish", "--now"]).ok();
    let refused = boss.run(&["resume", "rig-1"]);
    assert!(refused.code == 5, "the new key may do nothing yet: {refused:?}");
    let status = rig.rows(&["status", "self"]).remove(0);
    let warning = status["warning"].as_str().unwrap();
    assert!(warning.contains("boss gets a new key at") && !warning.contains("proven"), "{status}");

    rig.run(&["peers", "keep-key", "boss"]).ok();
    rig.run(&["peers", "keep-key", "boss"]).fails(1, &["no successor"]);
    let status = rig.rows(&["status", "self"]).remove(0);
    assert!(!status["warning"].as_str().is_some_and(|warning| warning.contains("keep-key")), "{status}");
    assert!(rig.run(&["audit", "show"]).ok().out.contains("keep_key"));
}

#[test]
fn a_rig_that_replaces_its_keys_is_followed_by_a_controller_that_never_heard_of_it() {
    let pair = Pair::new();
    let Pair { rig, controller, daemon, .. } = pair;
    let at = daemon.address();
    assert_eq!(daemon.stop(), 0);
    let (old, new) = rotated(&rig);
    let _daemon = rig.serve_with(&["--listen", &at]);
    // It expects the old key, is answered under it, and hears of the new one; from then on it means that.
    let first = controller.run(&["ping", "rig-1"]);
    assert!(first.code == 0 || first.err.contains("new key"), "{first:?}");
    controller.run(&["ping", "rig-1"]).ok();
    let rows = controller.rows(&["peers", "list"]);
    assert_eq!(of(&rows, &new)["name"], "rig-1");
    assert!(rows.iter().all(|row| row["key"] != old));
    controller.run(&["pause", "rig-1"]).ok();
}

#[test]
fn a_controller_whose_rigs_never_heard_tells_them_under_its_old_keys() {
    let pair = Pair::with_config(r#"{"rotation_delay_s": 0}"#);
    let (old, new) = rotated(&pair.controller);
    pair.controller.run(&["pause", "rig-1"]).ok();
    let rows = pair.rig.rows(&["peers", "list"]);
    assert!(rows.iter().all(|row| row["key"] != old));
    assert_eq!(of(&rows, &new)["grants"], json!(["observe", "operate", "deploy"]));
}

#[test]
fn protected_keys_are_replaced_by_protected_ones() {
    let rig = Folder::init("worker", "rig-1");
    let phrase = rig.write("phrase", "horse\n");
    std::fs::set_permissions(&phrase, std::fs::Permissions::from_mode(0o600)).unwrap();
    rig.name_passphrase_file(Some(&phrase));
    rig.run(&["id", "protect"]).ok();
    let (old, new) = rotated(&rig);
    assert_ne!(old, new);
    assert_eq!(rig.rows(&["id"])[0]["keys"], "protected");
    rig.run(&["id", "unprotect"]).fails(3, &["being replaced"]);
    rig.run(&["id", "rotate", "--forget"]).ok();
    rig.run(&["id", "unprotect"]).ok();
}

#[test]
fn the_end_of_a_rigs_log_is_read_from_afar_with_the_grant_for_it() {
    let pair = Pair::new();
    pair.controller.run(&["pause", "rig-1"]).ok();
    let shown = pair.controller.run(&["audit", "tail", "rig-1"]).ok().out;
    assert!(shown.contains("pause_miner") && shown.contains("rig-1"), "{shown}");
    let rows = pair.controller.rows(&["audit", "tail", "rig-1", "--lines", "1"]);
    assert_eq!((rows[0]["lines"].as_array().unwrap().len(), &rows[0]["has_more"]), (1, &json!(true)));
    pair.rig.run(&["peers", "grant", "boss", "operate"]).ok();
    pair.controller.run(&["audit", "tail", "rig-1"]).fails(5, &["observe"]);
    pair.controller.run(&["audit", "tail", "rig-1", "--lines", "0"]).fails(2, &["1 to 500"]);
}

#[test]
fn a_rig_that_dials_its_controller_follows_it_told_before_or_after() {
    let (rig, boss) = (Folder::init("worker", "rig-1"), Folder::init("controller", "boss"));
    rig.write("config.json", r#"{"rotation_delay_s": 0}"#);
    rig.run(&["peers", "allow", &boss.key(), "--grant", "controller", "--name", "boss"]).ok();
    boss.run(&["peers", "allow", &rig.key(), "--name", "rig-1"]).ok();
    let mut daemon = boss.serve();
    let at = daemon.address();
    let uplink = format!("{}@{at}", boss.key());
    let _rig = rig.daemon(&["serve", "--listen", "none", "--uplink", &uplink]);
    let served = |words: &str| eventually(words, 30, || boss.run(&["pause", "rig-1"]).code == 0);
    served("the uplink");

    // Nobody told the rig: it asks for the old key, is told under it, and comes back.
    assert_eq!(daemon.stop(), 0);
    rotated(&boss);
    daemon = boss.serve_with(&["--listen", &at]);
    served("the rig that had not heard");
    boss.run(&["id", "rotate", "--forget"]).ok();

    // Now it is told while the old key is in force; and the uplink still names the first of the three.
    boss.run(&["id", "rotate"]).ok();
    let state = |want: &str| {
        eventually(want, 30, || boss.rows(&["id", "rotate"]).get(1).is_some_and(|row| row["state"] == want));
    };
    state("pending");
    assert_eq!(daemon.stop(), 0);
    boss.run(&["id", "rotate", "--finish", "--now"]).ok();
    let _daemon = boss.serve_with(&["--listen", &at]);
    served("the rig that had heard");
    state("followed");
}
