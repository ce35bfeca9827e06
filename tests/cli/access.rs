//! Who may do what: with an end, and changed on rigs from where the owner sits.

use super::user::{Folder, Pair};
use serde_json::{Value, json};

fn row<'a>(rows: &'a [Value], key: &str) -> &'a Value {
    rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("no {key} in {rows:?}"))
}

#[test]
fn a_stolen_controller_key_is_shut_out_of_every_rig_without_visiting_one() {
    let pair = Pair::new();
    let hand = Folder::init("controller", "hand");
    let (key, address) = (hand.key(), pair.daemon.address());
    hand.run(&["peers", "add", &address, "--key", &pair.rig.key(), "--name", "rig-1"]).ok();

    // Without `manage` nothing is changed from afar.
    let refused = pair.controller.run(&["peers", "grant", &key, "controller", "--on", "rig-1"]);
    assert!(refused.code == 5 && refused.err.contains("manage"), "{refused:?}");
    pair.rig.run(&["peers", "grant", "boss", "controller,manage", "--note", "the owner"]).ok();

    let given = pair.controller.rows(&["peers", "grant", &key, "observe,operate", "--days", "30", "--on-all"]);
    assert_eq!((&given[0]["rig"], &given[0]["grants"]), (&json!("rig-1"), &json!(["observe", "operate"])));
    let rows = pair.rig.rows(&["peers", "list"]);
    assert_eq!(row(&rows, &key)["grants"], json!(["observe", "operate"]));
    assert!(row(&rows, &key)["until"].as_str().unwrap() > "2026");
    assert_eq!(row(&rows, &pair.controller.key())["until"], Value::Null);
    hand.run(&["pause", "rig-1"]).ok();
    hand.run(&["resume", "rig-1"]).ok();

    // It is stolen.
    let text = pair.controller.run(&["peers", "revoke", &key, "--on", "rig-1"]).ok();
    assert_eq!(text.out.trim(), "revoked on rig-1");
    let refused = hand.run(&["pause", "rig-1"]);
    assert!(refused.code == 5 && refused.err.contains("not authorized"), "{refused:?}");
    assert_eq!(row(&pair.rig.rows(&["peers", "list"]), &key)["admitted"], "revoked");
    let again = pair.controller.run(&["peers", "grant", &key, "observe", "--on", "rig-1"]);
    assert!(again.code != 0 && again.err.contains("not authorized"), "{again:?}");
    // Also after a power cut; only at the rig itself it is let in again.
    let pair = pair.restarted(|daemon| daemon.kill());
    assert_ne!(hand.run(&["pause", "rig-1"]).code, 0);
    pair.rig.run(&["peers", "grant", &key, "operate"]).ok();
    hand.run(&["pause", "rig-1"]).ok();

    // All of it is in the rig's log, and in the controller's.
    let log = pair.rig.run(&["audit", "show"]).ok().out;
    for word in ["grant", "revoke", "allow"] {
        assert!(log.contains(word), "{word} is not in {log}");
    }
    pair.controller.run(&["audit", "verify"]).ok();
}

#[test]
fn a_grant_is_typed_wrong_and_nothing_changes() {
    let pair = Pair::new();
    let before = pair.rig.rows(&["peers", "list"]);
    pair.rig.run(&["peers", "grant", "boss", "fly"]).fails(3, &["unknown grant"]);
    pair.rig.run(&["peers", "grant", "boss", "observe", "--until", "tomorrow"]).fails(2, &["2027-01-31T18:00:00Z"]);
    pair.rig.run(&["peers", "grant", "boss", "observe", "--until", "2001-01-01T00:00:00Z"]).fails(3, &["over already"]);
    pair.rig
        .run(&["peers", "grant", "boss", "observe", "--days", "1", "--until", "2099-01-01T00:00:00Z"])
        .fails(2, &["not both"]);
    pair.rig.run(&["peers", "grant", "nobody", "observe"]).fails(1, &["nobody"]);
    pair.rig.run(&["peers", "grant", "boss", "observe", "--note", "a\nb"]).fails(3, &["note"]);
    let of = |rows: &[Value]| rows.iter().map(|row| row["grants"].clone()).collect::<Vec<_>>();
    assert_eq!(of(&pair.rig.rows(&["peers", "list"])), of(&before));
}
