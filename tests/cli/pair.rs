//! Pairing and enrolment between real processes, as two people (or one with many cards) would do it.

use super::user::{Daemon, Folder};
use crate::support::eventually;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;

/// A rig that shows a code, and the command that waits at its screen.
fn showing(rig: &Folder, args: &[&str]) -> (Daemon, Value) {
    let screen = rig.daemon(&[&["pair", "--json"], args].concat());
    let shown = serde_json::from_str(&screen.line).unwrap();
    (screen, shown)
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_else(|| panic!("no {key} in {row}"))
}

#[test]
fn a_rig_and_its_controller_are_paired_by_a_link_and_stay_so_after_a_power_cut() {
    let (rig, boss) = (Folder::init("worker", "rig-1"), Folder::init("controller", "boss"));
    let daemon = rig.serve();
    let (screen, shown) = showing(&rig, &[]);
    assert_eq!(text(&shown, "id"), rig.id());
    assert!(text(&shown, "link").ends_with(&format!("&a={}", daemon.address())));

    let paired = boss.rows(&["pair", text(&shown, "link")]).remove(0);
    assert_eq!((text(&paired, "peer"), text(&paired, "name")), (rig.id().as_str(), "rig-1"));
    assert_eq!(paired["granted"], serde_json::json!(["observe", "operate", "deploy"]));
    let (code, said) = screen.finish();
    let said: Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!((code, text(&said, "state"), text(&said, "peer")), (0, "used", boss.id().as_str()));

    // Both logs say with whom, and with which grants.
    for (folder, with) in [(&rig, &boss), (&boss, &rig)] {
        let lines = folder.rows(&["audit", "show"]);
        let line = lines.iter().find(|line| line["what"] == "pair").unwrap_or_else(|| panic!("{lines:?}"));
        assert_eq!(line["args"]["key"], with.key());
    }
    // Neither side has written the code anywhere, and both have each other on disk.
    let (address, code) = (daemon.address(), text(&shown, "code").replace('-', ""));
    daemon.kill();
    for folder in [&rig, &boss] {
        for file in std::fs::read_dir(folder.data()).unwrap().flatten().filter(|f| f.path().is_file()) {
            let bytes = std::fs::read(file.path()).unwrap();
            assert!(!bytes.windows(20).any(|window| window == code.as_bytes()), "the code lies in {:?}", file.path());
        }
        assert!(!folder.log().contains(&code));
    }
    let _daemon = rig.serve_with(&["--listen", &address]);
    let status = boss.rows(&["status", "rig-1"]).remove(0);
    assert_eq!((text(&status, "link"), &status["secure"]), ("up", &true.into()));
    assert_eq!(boss.rows(&["peers", "list"])[0]["grants"], serde_json::json!([]), "the rig may command nobody");
}

#[test]
fn a_code_that_was_read_off_the_screen_is_typed_in_any_spelling_and_mistakes_are_named() {
    let (rig, boss, other) =
        (Folder::init("worker", "rig-1"), Folder::init("controller", "boss"), Folder::init("controller", "other"));
    let daemon = rig.serve();
    let (screen, shown) = showing(&rig, &["--grant", "observe"]);
    let (code, at) = (text(&shown, "code").to_owned(), daemon.address());
    let typed = |code: &str| format!("{code}@{at}");

    boss.run(&["pair", &typed(&code.replacen(|_: char| true, "U", 1))]).fails(3, &["character 1", "'U'"]);
    boss.run(&["pair", &typed(code.get(..10).unwrap())]).fails(3, &["should have 20"]);
    boss.run(&["pair", &code]).fails(3, &["CODE@HOST:PORT"]);
    let wrong = if code.starts_with('0') { code.replacen('0', "1", 1) } else { code.replacen(|_: char| true, "0", 1) };
    boss.run(&["pair", &typed(&wrong)]).fails(5, &["the code was not accepted"]);
    assert!(boss.rows(&["peers", "list"]).is_empty(), "nothing is kept of a pairing that failed");

    // The wrong ones did not use it up; small letters and spaces do.
    let paired = boss.rows(&["pair", &typed(&code.to_lowercase().replace('-', " ")), "--name", "cellar"]).remove(0);
    assert_eq!((text(&paired, "name"), &paired["granted"]), ("cellar", &serde_json::json!(["observe"])));
    assert_eq!(screen.finish().0, 0);
    assert_eq!(boss.rows(&["status", "cellar"]).len(), 1);
    // Once is once; but the same controller may come again, as when its answer was lost.
    other.run(&["pair", &typed(&code)]).fails(5, &["code already used"]);
    boss.run(&["pair", &typed(&code)]).ok();
}

#[test]
fn a_code_is_withdrawn_by_ctrl_c_by_command_and_by_a_new_one() {
    let (rig, boss) = (Folder::init("worker", "rig-1"), Folder::init("controller", "boss"));
    rig.run(&["pair"]).fails(1, &["no daemon runs here", "rigmesh serve"]);
    let _daemon = rig.serve();
    let (screen, shown) = showing(&rig, &[]);
    screen.signal("INT");
    assert_eq!(screen.finish().0, 1);
    let refused = |shown: &Value| boss.run(&["pair", text(shown, "link")]).fails(5, &["not pairing"]);
    refused(&shown);

    let shown = rig.rows(&["pair", "--no-wait"]).remove(0);
    rig.run(&["pair", "--cancel"]).ok();
    refused(&shown);

    let (screen, old) = showing(&rig, &[]);
    let new = rig.rows(&["pair", "--no-wait"]).remove(0);
    boss.run(&["pair", text(&old, "link")]).fails(5, &["the code was not accepted"]);
    boss.run(&["pair", text(&new, "link")]).ok();
    drop(screen);
    let seen = rig.run(&["pair", "--no-wait", "--grant", "everything"]);
    assert!(seen.code == 3 && seen.err.contains("unknown grant"), "{seen:?}");
    rig.run(&["pair", "--minutes", "0", "--no-wait"]).fails(3, &["1 to 1440 minutes"]);
    boss.run(&["pair", "rigmesh://pair/1?c=1", "--grant", "observe"]).fails(2, &["--name"]);
    boss.run(&["pair", "rigmesh://pair/1?c=1"]).fails(3, &["1 characters"]);
}

#[test]
fn the_screen_shows_a_picture_and_the_commands_to_type() {
    let (rig, boss) = (Folder::init("worker", "rig-1"), Folder::init("controller", "boss"));
    let _daemon = rig.serve();
    let shown = rig.run(&["pair", "--no-wait"]).ok();
    assert!(shown.out.lines().filter(|line| line.contains('█')).count() > 10, "{}", shown.out);
    let lines: Vec<&str> = shown.out.lines().map(str::trim).filter(|line| line.starts_with("rigmesh pair")).collect();
    assert_eq!(lines.len(), 2, "{}", shown.out);
    boss.run_line(lines[0]).ok();
    let again = rig.run(&["pair", "--no-wait"]).ok();
    let link = again.out.lines().map(str::trim).filter(|line| line.starts_with("rigmesh pair")).nth(1).unwrap();
    boss.run_line(link).ok();
}

#[test]
fn a_link_leads_to_its_rig_and_to_no_other() {
    let (rig, other, boss) =
        (Folder::init("worker", "rig-1"), Folder::init("worker", "rig-2"), Folder::init("controller", "boss"));
    let (daemon, others) = (rig.serve(), other.serve());
    let shown = rig.rows(&["pair", "--no-wait"]).remove(0);
    other.rows(&["pair", "--no-wait"]);
    // The code of one, and the address of another that shows one too.
    let astray = text(&shown, "link").replace(&daemon.address(), &others.address());
    let refused = boss.run(&["pair", &astray]);
    assert!(refused.code == 5 && refused.err.contains("wrong key"), "{refused:?}");
    // Behind an address that is dead stands the right one.
    let second = text(&shown, "link").replace("&a=", "&a=127.0.0.1:1&a=");
    boss.run(&["pair", &second]).ok();
}

#[test]
fn rigs_of_one_image_come_by_themselves_and_as_many_as_were_meant() {
    let boss = Folder::init("controller", "boss");
    boss.run(&["enrol"]).fails(1, &["no daemon runs here"]);
    let daemon = boss.serve();
    let begun = boss.rows(&["enrol", "--uses", "2", "--days", "1"]).remove(0);
    let link = text(&begun, "link").to_owned();
    boss.run(&["pair", &link]).fails(3, &["own key"]);

    let rigs: Vec<Folder> = (1..=3)
        .map(|i| {
            let rig = Folder::init("worker", &format!("rig-{i}"));
            rig.write("enrol.link", &format!("{link}\n"));
            rig
        })
        .collect();
    let mut daemons = vec![rigs[0].serve()];
    eventually("the first rig to be enrolled", 20, || !rigs[0].path("enrol.link").exists());
    // The controller is restarted in between: what was counted is on disk.
    let address = daemon.address();
    daemon.kill();
    let _daemon = boss.serve_with(&["--listen", &address]);
    daemons.push(rigs[1].serve());
    eventually("the second rig to be enrolled", 20, || !rigs[1].path("enrol.link").exists());
    daemons.push(rigs[2].serve());
    eventually("the third rig to be refused", 20, || rigs[2].log().contains("code already used"));
    assert!(rigs[2].path("enrol.link").exists());

    let state = boss.rows(&["enrol", "--show"]).remove(0);
    let came: Vec<&str> = state["rigs"].as_array().unwrap().iter().map(|rig| text(rig, "name")).collect();
    assert_eq!((text(&state, "state"), came), ("used", vec!["rig-1", "rig-2"]));
    let grants = &rigs[0].rows(&["peers", "list"])[0];
    assert_eq!((text(grants, "name"), grants["grants"].as_array().unwrap().len()), ("boss", 3));
    let up = || boss.rows(&["status"]).iter().filter(|row| row["link"] == "up").count();
    eventually("both rigs to be there", 20, || up() == 2);
    assert!(!std::fs::read_to_string(boss.path("enrol.json")).unwrap().contains(&link));
    let mode = std::fs::metadata(boss.path("enrol.json")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "whoever reads it can add rigs");

    boss.run(&["enrol", "--end"]).ok();
    boss.run(&["enrol", "--end"]).fails(1, &["no enrolment"]);
    eventually("the third rig to be told so", 70, || rigs[2].log().contains("not pairing"));
}

#[test]
fn a_file_that_is_no_link_of_an_enrolment_stops_the_rig_with_a_reason() {
    let rig = Folder::init("worker", "rig-1");
    for (wrong, why) in [("", "no pairing link"), ("rigmesh://pair/1?c=1", "characters"), ("\u{0}", "no pairing link")]
    {
        rig.write("enrol.link", wrong);
        rig.run(&["serve", "--listen", "127.0.0.1:0"]).fails(3, &["enrol.link", why]);
        assert!(rig.path("enrol.link").exists());
    }
    let boss = Folder::init("controller", "boss");
    boss.write("enrol.json", "{");
    boss.run(&["serve", "--listen", "127.0.0.1:0"]).fails(3, &["enrol.json", "it was left as it is"]);
}
