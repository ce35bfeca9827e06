//! Deployments as a user sees them: a real miner shipped, switched, taken back; a rig and a controller killed in
//! the middle; wrong input.

use super::support::{eventually, fake_xmrig};
use super::user::{Folder, Pair};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Quick probes and restarts, and the shortest grace that a slow machine allows.
const QUICK: &str = r#"{"miners": {"probe_interval_ms": 200, "backoff_min_ms": 100}}"#;
const PROFILE: &str = r#"{"id":"main","name":"Main","minerType":"xmrig","config":{"pools":[{"url":"pool.example:3333","user":"4Wallet.earning"}]}}"#;

/// The stand-in for XMRig with something behind its end: another version of it, that runs as well.
fn version_of_xmrig(folder: &Folder, label: &str) -> PathBuf {
    let mut bytes = std::fs::read(fake_xmrig()).unwrap();
    bytes.extend_from_slice(label.as_bytes());
    program(folder, label, &bytes)
}

fn program(folder: &Folder, label: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path(&format!("{label}/xmrig"));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The program that a miner's process runs, by the system's own word.
/// The program of a process; one that was just made is the daemon's for a moment.
fn runs(pid: u32) -> PathBuf {
    let program = || std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    eventually("the miner's own program", 20, || !program().ends_with("rigmesh"));
    program()
}

fn last(rows: &[Value]) -> &Value {
    rows.last().unwrap()
}

#[test]
fn a_miner_is_shipped_run_replaced_and_taken_back_by_hand_and_by_the_rig_itself() {
    let pair = Pair::with_config(QUICK);
    let (one, two) = (version_of_xmrig(&pair.controller, "v1"), version_of_xmrig(&pair.controller, "v2"));
    let profile = pair.controller.write("main.json", PROFILE);
    // Nothing is installed: the rig says so.
    let nothing = pair.controller.run(&["start", "rig-1", "--type", "xmrig", "--config", text(&profile)]);
    assert_eq!(nothing.code, 1, "{nothing:?}");
    let dry = pair.controller.rows(&["deploy", "rig-1", "--miner", text(&one), "--dry-run"]);
    assert_eq!(dry[0]["event"], "would send", "{dry:?}");
    assert!(pair.controller.run(&["versions", "rig-1"]).ok().out.contains("nothing was deployed"));
    // Output is no terminal: one JSON object a line, also without --json.
    let args = ["deploy", "rig-1", "--miner", text(&one), "--as-version", "6.1", "--profile", text(&profile)];
    let rows = pair.controller.run(&args).ok().rows();
    assert_eq!((&last(&rows)["event"], &last(&rows)["slot"]), (&"installed".into(), &1.into()), "{rows:?}");
    pair.controller.run(&["start", "rig-1", "--type", "xmrig", "--profile", "main"]).ok();
    pair.await_state(&["hashing", "earning"]);
    let first = pair.rig.await_miner("main", None);
    assert!(runs(first).ends_with("slots/xmrig/1/xmrig"), "{:?}", runs(first));

    // A second version: the miner switches to it by itself.
    pair.controller.run(&["deploy", "--all", "--miner", text(&two), "--as-version", "6.2"]).ok();
    let second = pair.rig.await_miner("main", Some(first));
    assert!(runs(second).ends_with("slots/xmrig/2/xmrig"), "{:?}", runs(second));
    pair.await_state(&["hashing", "earning"]);
    // It hashes and is on trial until it has lasted; a power cut changes nothing of that.
    let versions = pair.controller.rows(&["versions", "rig-1"]);
    assert_eq!(versions[0]["versions"][0]["state"], "trial", "{versions:?}");
    let pair = pair.restarted(|daemon| daemon.kill());
    let again = pair.rig.await_miner("main", Some(second));
    assert!(runs(again).ends_with("slots/xmrig/2/xmrig"));
    pair.await_state(&["hashing", "earning"]);

    // Back by hand, and forth.
    let back = pair.controller.run(&["rollback", "rig-1", "xmrig"]).ok();
    assert_eq!(back.out, "rig-1: now xmrig version 1\n");
    let third = pair.rig.await_miner("main", Some(again));
    assert!(runs(third).ends_with("slots/xmrig/1/xmrig"));
    pair.controller.run(&["rollback", "rig-1", "xmrig", "--to", "2"]).ok();
    let fourth = pair.rig.await_miner("main", Some(third));
    pair.await_state(&["hashing", "earning"]);

    // A version that crashes at once: the rig takes it back, and nobody has to be there.
    let broken = program(&pair.controller, "v3", b"#!/bin/sh\necho cannot mine\nexit 3\n");
    pair.controller.run(&["deploy", "rig-1", "--miner", text(&broken), "--as-version", "6.3"]).ok();
    let mut fifth = 0;
    eventually("the rig to go back to version 2", 60, || {
        fifth = pair.rig.miner_pid("main").filter(|pid| *pid != fourth).unwrap_or(0);
        fifth != 0 && std::fs::read_link(format!("/proc/{fifth}/exe")).is_ok_and(|p| p.ends_with("slots/xmrig/2/xmrig"))
    });
    let row = pair.await_state(&["hashing", "earning"]);
    assert!(row["note"].as_str().unwrap().contains("rolled back"), "{row}");
    let versions = pair.controller.run(&["versions", "rig-1"]).ok().out;
    assert!(versions.contains("xmrig 3 (6.3") && versions.contains("rolled back"), "{versions}");
    assert!(versions.lines().any(|line| line.contains("xmrig 2 (6.2") && line.contains("current")), "{versions}");

    pair.controller.run(&["rollback", "rig-1", "nothing"]).fails(1, &["nothing"]);
    pair.controller.run(&["rollback", "rig-1", "xmrig", "--to", "99"]).fails(1, &["99"]);
    // Every deployment and every way back stands in both logs, with nothing of the profile in it.
    let theirs = pair.controller.path("audit");
    let against = ["audit", "verify", "--against", text(&theirs)];
    let answer = pair.rig.run(&against).ok();
    // Three deployments, a start that failed and one that did not, four ways back.
    assert!(answer.out.contains("9 places lie on it"), "{answer:?}");
    let shown = pair.rig.rows(&["audit", "show", "--lines", "100"]);
    let arrived: Vec<&Value> = shown.iter().filter(|row| row["what"] == "deploy_offer").collect();
    assert_eq!(arrived.len(), 3, "{shown:?}");
    assert_eq!((&arrived[0]["args"]["version"], &arrived[0]["args"]["profile"]), (&"6.1".into(), &"main".into()));
    assert!(shown.iter().all(|row| !row.to_string().contains("4Wallet")));
    // The owner at the rig itself sees and does the same.
    assert!(pair.rig.run(&["versions", "self"]).ok().out.contains("xmrig 2"));
    pair.rig.run(&["rollback", "self", "xmrig", "--to", "1"]).ok();
    assert!(
        pair.rig.run(&["versions", "self"]).ok().out.lines().any(|l| l.contains("xmrig 1 ") && l.contains("current"))
    );
}

/// Random bytes that look like a miner.
fn large(folder: &Folder, megabytes: usize) -> PathBuf {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let bytes: Vec<u8> = words.take(megabytes << 17).flatten().collect();
    program(folder, "large", &bytes)
}

/// Whether something of a deployment lies on the rig's disk.
fn arriving(rig: &Folder) -> bool {
    let incoming = std::fs::read_dir(rig.path("incoming"));
    incoming.is_ok_and(|entries| entries.flatten().any(|e| e.path().join("data").exists()))
}

#[test]
fn a_rig_killed_in_the_middle_goes_on_where_it_was() {
    let pair = Pair::with_config("{}");
    let miner = large(&pair.controller, 96);
    let command = pair.controller.spawn(&["deploy", "rig-1", "--miner", text(&miner), "--json"]);
    eventually("data to arrive", 20, || arriving(&pair.rig));
    let pair = pair.restarted(|daemon| daemon.kill());
    let answer = command.wait().ok();
    let rows = answer.rows();
    assert_eq!(last(&rows)["event"], "installed", "{:?}", last(&rows));
    let there = std::fs::read(pair.rig.path("slots/xmrig/1/xmrig")).unwrap();
    assert!(there == std::fs::read(&miner).unwrap());
    assert!(!arriving(&pair.rig));
}

#[test]
fn a_controller_killed_in_the_middle_goes_on_when_it_is_back() {
    let pair = Pair::with_config("{}");
    let miner = large(&pair.controller, 96);
    let command = pair.controller.spawn(&["deploy", "rig-1", "--miner", text(&miner), "--json"]);
    eventually("data to arrive", 20, || arriving(&pair.rig));
    eventually("what is owed to be written down", 20, || pair.controller.path("deploys.json").exists());
    command.signal("KILL");
    drop(command);
    // Another deployment, to nobody in particular, does not forget the first.
    let profile = pair.controller.write("main.json", PROFILE);
    pair.controller.run(&["deploy", "rig-1", "--profile", text(&profile)]).ok();
    let small = program(&pair.controller, "small", b"#!/bin/sh\n");
    pair.controller.run(&["deploy", "rig-1", "--miner", text(&small), "--name", "small"]).ok();
    let pending = pair.controller.run(&["deploy", "--pending"]).ok().out;
    assert!(pending.contains("rig-1: left by an earlier run"), "{pending}");
    let mode = std::fs::metadata(pair.controller.path("deploys.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let daemon = pair.controller.serve_with(&["--listen", "none"]);
    eventually("the daemon to bring what was owed", 60, || pair.rig.path("slots/xmrig/1/xmrig").exists());
    eventually("the debt to be forgotten", 20, || !pair.controller.path("deploys.json").exists());
    let there = std::fs::read(pair.rig.path("slots/xmrig/1/xmrig")).unwrap();
    assert!(there == std::fs::read(&miner).unwrap());
    drop(daemon);
    assert_eq!(pair.controller.rows(&["deploy", "--pending"]).len(), 0);
}

#[test]
fn a_daemon_keeps_what_it_owes_to_a_rig_that_is_away_and_can_be_told_to_forget() {
    let pair = Pair::with_config("{}");
    let miner = program(&pair.controller, "small", b"#!/bin/sh\n");
    let daemon = pair.controller.serve_with(&["--listen", "none"]);
    let address = pair.daemon.address();
    let Pair { rig, controller, daemon: rigs } = pair;
    rigs.kill();
    let away = controller.run(&["deploy", "rig-1", "--miner", text(&miner)]);
    assert_eq!(away.code, 4, "{away:?}");
    assert!(away.out.contains("goes on when the rig is back"), "{away:?}");
    assert!(controller.run(&["deploy", "--pending"]).ok().out.contains("rig-1: away"));
    controller.run(&["deploy", "rig-1", "--cancel"]).ok();
    assert_eq!(controller.rows(&["deploy", "--pending"]).len(), 0);
    assert_eq!(controller.run(&["deploy", "rig-1", "--miner", text(&miner)]).code, 4);
    let _rigs = rig.serve_with(&["--listen", &address]);
    controller.run(&["ping", "rig-1"]).ok(); // it is met again
    eventually("the rig to get what it is owed", 30, || rig.path("slots/xmrig/1/xmrig").exists());
    // Nobody waited for it any more; where the rig's log says so is noted all the same.
    let owed = |row: &Value| row["args"]["owed"] == true && row.get("open").is_none();
    eventually("the end to be recorded", 20, || controller.rows(&["audit", "show"]).iter().any(owed));
    let theirs = controller.path("audit");
    let answer = rig.run(&["audit", "verify", "--against", text(&theirs)]).ok();
    assert!(answer.out.contains("1 places lie on it"), "{answer:?}");
    drop(daemon);
}

#[test]
fn a_profile_alone_is_deployed_to_rig_and_self() {
    let pair = Pair::with_config("{}");
    let profile = pair.controller.write("main.json", PROFILE);
    let rows = pair.controller.run(&["deploy", "rig-1", "--profile", text(&profile)]).ok().rows();
    assert_eq!((&rows[0]["event"], &rows[0]["profile"]), (&"stored".into(), &"main".into()));
    assert_eq!(pair.rig.rows(&["profiles", "list"])[0]["id"], "main");
    pair.rig.run(&["profiles", "remove", "main"]).ok();
    pair.rig.run(&["deploy", "self", "--profile", text(&profile)]).ok();
    assert_eq!(pair.rig.rows(&["profiles", "list"])[0]["id"], "main");
    let miner = program(&pair.rig, "own", b"#!/bin/sh\n");
    pair.rig.run(&["deploy", "self", "--miner", text(&miner), "--as-version", "1"]).ok();
    assert!(pair.rig.run(&["versions", "self"]).ok().out.contains("xmrig 1 (1"));
}

#[test]
fn what_makes_no_sense_is_said_in_one_line_and_nothing_is_sent() {
    let pair = Pair::with_config("{}");
    let run = |args: &[&str]| pair.controller.run(args);
    run(&["deploy", "rig-1"]).fails(2, &["--miner", "--profile"]);
    run(&["deploy", "--miner", "x"]).fails(2, &["--all"]);
    run(&["deploy", "rig-1", "--miner", "/no/such/file"]).fails(3, &["/no/such/file"]);
    run(&["deploy", "rig-1", "--profile", "/no/such/file"]).fails(3, &["/no/such/file"]);
    let bad = pair.controller.write("bad.json", r#"{"id":"../x","name":"n","minerType":"xmrig","config":{}}"#);
    run(&["deploy", "rig-1", "--profile", text(&bad)]).fails(3, &["profile id", "nothing was deployed"]);
    let miner = program(&pair.controller, "m", b"x");
    run(&["deploy", "rig-1", "--miner", text(&miner), "--name", "../x"]).fails(3, &["name"]);
    run(&["deploy", "rig-1", "--miner", text(&miner), "--as-version", "a b"]).fails(3, &["version"]);
    run(&["deploy", "rig-1", "--miner", text(&miner), "--main", "other"]).fails(3, &["main"]);
    run(&["deploy", "nobody", "--miner", text(&miner)]).fails(1, &["nobody"]);
    let folder = pair.controller.path("many");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["a", "b"] {
        std::fs::write(folder.join(name), name).unwrap();
    }
    run(&["deploy", "rig-1", "--miner", text(&folder)]).fails(3, &["--main", "a, b"]);
    // A key without the grant is refused, and hears which.
    pair.rig.run(&["peers", "allow", &pair.controller.key(), "--grant", "operate"]).ok();
    let refused = run(&["deploy", "rig-1", "--miner", text(&miner)]);
    assert!(refused.code == 5 && refused.out.contains("no permission"), "{refused:?}");
    assert!(refused.out.contains("--grant controller"), "the next step: {refused:?}");
    assert!(!pair.rig.path("slots/xmrig").exists());
}
