//! `audit`: the log as its files have it, made here byte by byte without the library, and as real nodes write it.

use super::support::{eventually, fake_xmrig};
use super::user::{Folder, Pair};
use serde_json::Value;
use std::fs;

const FAILED: i32 = 1;
const USAGE: i32 = 2;
const CONFIG: i32 = 3;

/// Six lines, the third one a head that another node signed, the last one noting a place on that node's chain.
const OTHERS: &str = include_str!("../corpus/audit/chain.log");
/// The first line's JSON, and its hash.
const FIRST: &str = include_str!("../corpus/audit/begin.json");
const FIRST_HASH: &str = "86dd84452b12d913418ca53dc7568bcc3f81936798f6ff2ac7415b10c43b5fed";

fn log(folder: &Folder, text: &str) {
    fs::create_dir_all(folder.path("audit")).unwrap();
    fs::write(folder.path("audit/audit-000000000000.log"), text).unwrap();
}

/// Two lines without a head.
fn two() -> String {
    OTHERS.split_inclusive('\n').take(2).collect()
}

#[test]
fn a_log_is_shown_and_holds() {
    let folder = Folder::init("worker", "rig-1");
    assert!(folder.run(&["audit", "verify"]).ok().out.contains("no audit log yet"));
    assert!(folder.run(&["audit", "show"]).ok().err.contains("no audit log yet"));
    log(&folder, &two());
    let shown = folder.run(&["audit", "show"]).ok().out;
    assert!(shown.contains("start_miner") && shown.contains("end of 0") && shown.contains("no \"xmrig\""), "{shown}");
    let rows = folder.rows(&["audit", "show", "--lines", "1"]);
    assert!(rows.len() == 1 && rows[0]["n"] == 1 && rows[0]["end"] == 0 && rows[0]["h"].as_str().unwrap().len() == 64);
    let checked = folder.run(&["audit", "verify"]).ok().out;
    assert!(checked.contains("up to line 1\n") && checked.contains("checked from line  0\n"), "{checked}");
    let row = folder.rows(&["audit", "verify"]).swap_remove(0);
    assert!(row["ok"] == true && row["lines"] == 2 && row["signed_to"].is_null(), "{row}");
    folder.run(&["audit", "show", "--lines", "0"]).fails(USAGE, &["--lines"]);
    // The daemon is no hindrance.
    let daemon = folder.serve();
    folder.run(&["audit", "verify"]).ok();
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn tampering_is_told_with_its_line() {
    let folder = Folder::init("worker", "rig-1");
    log(&folder, &two().replace("xmrig\",\"profile", "other\",\"profile"));
    folder.run(&["audit", "verify"]).fails(FAILED, &["line 0 (audit-000000000000.log:1)", "changed"]);
    assert!(folder.run(&["audit", "show"]).ok().err.contains("rigmesh audit verify"));
    let answer = folder.run(&["audit", "verify", "--json"]);
    assert!(answer.code == FAILED && answer.rows()[0]["faults"][0]["n"] == 0, "{answer:?}");
    // Somebody else's signature is none of ours.
    log(&folder, OTHERS);
    folder.run(&["audit", "verify"]).fails(FAILED, &["line 2", "signature"]);
    // A line in the middle is gone; a file is gone.
    log(&folder, &OTHERS.split_inclusive('\n').filter(|line| !line.contains("\"n\":1,")).collect::<String>());
    folder.run(&["audit", "verify"]).fails(FAILED, &["line 1 ", "missing"]);
    fs::rename(folder.path("audit/audit-000000000000.log"), folder.path("audit/audit-000000000002.log")).unwrap();
    folder.run(&["audit", "verify"]).fails(FAILED, &["line 1: the files before"]);
    // What is being written is no fault.
    log(&folder, &two()[..two().len() - 3]);
    fs::remove_file(folder.path("audit/audit-000000000002.log")).unwrap();
    assert!(folder.run(&["audit", "verify"]).ok().out.contains("not whole"));
}

#[test]
fn a_cut_end_is_found_against_the_other_side() {
    use sha2::{Digest as _, Sha256};
    let folder = Folder::init("worker", "rig-1");
    log(&folder, &two());
    assert_eq!(OTHERS.lines().next().unwrap(), format!("{FIRST_HASH} {FIRST}"));
    let hash_1 = &OTHERS.lines().nth(1).unwrap()[..64];
    let theirs = |n: u64, hash: &str, whose: &str| {
        let json =
            format!("{{\"n\":0,\"end\":0,\"ok\":true,\"peer\":\"{whose}\",\"peer_n\":{n},\"peer_h\":\"{hash}\"}}");
        let mut text = b"rigmesh-audit-1\0".to_vec();
        text.extend([0; 32]);
        text.extend(json.as_bytes());
        let path = folder.write("theirs.log", &format!("{:x} {json}\n", Hex(Sha256::digest(text).into())));
        path.to_str().unwrap().to_owned()
    };
    let (ours, other) = (folder.key(), Folder::init("worker", "rig-2").key());
    let path = theirs(1, hash_1, &ours);
    let answer = folder.run(&["audit", "verify", "--against", &path]).ok();
    assert!(answer.out.contains("1 places lie on it"), "{answer:?}");
    log(&folder, OTHERS.split_inclusive('\n').next().unwrap());
    folder.run(&["audit", "verify"]).ok();
    folder.run(&["audit", "verify", "--against", &path]).fails(FAILED, &["line 1 is missing", "cut off"]);
    let path = theirs(0, &"ab".repeat(32), &ours);
    folder.run(&["audit", "verify", "--against", &path]).fails(FAILED, &["line 0", "written anew"]);
    // What it notes about another rig is no matter of this one.
    let path = theirs(7, hash_1, &other);
    assert!(folder.run(&["audit", "verify", "--against", &path]).ok().err.contains("notes nothing"));
    fs::write(&path, "nonsense\n\n").unwrap();
    folder.run(&["audit", "verify", "--against", &path]).fails(FAILED, &["other side's log", "line 0"]);
    folder.run(&["audit", "verify", "--against", "/nowhere/x"]).fails(CONFIG, &["/nowhere/x"]);
}

struct Hex([u8; 32]);

impl std::fmt::LowerHex for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a profile of the deaf miner must not leave in any log: wallet and password.
const DEAF: &str = r#"{"id":"deaf","name":"Deaf","minerType":"xmrig","config":{"pools":[{"url":"pool.example:3333","user":"4Wallet.deaf","pass":"hunter2"}]}}"#;

fn text_of(folder: &Folder) -> String {
    fs::read_to_string(folder.path("audit/audit-000000000000.log")).unwrap_or_default()
}

fn against(rig: &Folder, controller: &Folder) -> super::user::Answer {
    rig.run(&["audit", "verify", "--against", controller.path("audit").to_str().unwrap()])
}

/// The lines of a log as `audit show` has them.
fn shown(folder: &Folder) -> Vec<Value> {
    folder.rows(&["audit", "show", "--lines", "1000"])
}

fn fresh(texts: &[String]) -> String {
    use sha2::{Digest as _, Sha256};
    let mut before = [0; 32];
    let mut log = String::new();
    for json in texts {
        let bytes = [&b"rigmesh-audit-1\0"[..], &before, json.as_bytes()].concat();
        before = Sha256::digest(bytes).into();
        log += &format!("{:x} {json}\n", Hex(before));
    }
    log
}

#[test]
fn a_rig_and_its_controller_agree_about_what_was_commanded() {
    let pair = Pair::new();
    let config = pair.controller.write("own.json", r#"{"threads":1,"intensity":1}"#);
    let start = ["start", "rig-1", "--type", "sha256d", "--config", config.to_str().unwrap()];
    pair.controller.run(&start).ok();
    pair.controller.run(&["status"]).ok();
    pair.controller.run(&["pause", "rig-1"]).ok();
    pair.controller.run(&["resume", "rig-1"]).ok();
    pair.controller.run(&["stop", "rig-1", "--miner", "nothing"]).fails(FAILED, &["nothing"]);
    pair.controller.run(&["ueps", "send", "rig-1", "--intent", "rehab", "--reason", "too hot"]).ok();
    let answer = against(&pair.rig, &pair.controller).ok();
    assert!(answer.out.contains("5 places lie on it"), "{answer:?}");
    pair.controller.run(&["audit", "verify"]).ok();

    // Both have every command, and the owner's own changes at the rig; nothing of what only asked.
    let words = |folder: &Folder| -> Vec<String> {
        shown(folder).iter().filter_map(|row| Some(row["what"].as_str()?.to_owned())).collect()
    };
    let sent = ["start_miner", "pause_miner", "resume_miner", "stop_miner", "ueps"];
    assert_eq!(words(&pair.rig), [&["allow"][..], &sent].concat());
    assert_eq!(words(&pair.controller), sent);
    let (rig, controller) = (shown(&pair.rig), shown(&pair.controller));
    assert_eq!(rig[2]["who"], pair.controller.key());
    assert_eq!((&rig[0]["who"], &rig[0]["args"]["key"]), (&Value::from("local"), &Value::from(pair.controller.key())));
    assert_eq!((&controller[0]["who"], &controller[0]["peer"]), (&Value::from("local"), &Value::from(pair.rig.key())));
    assert_eq!((&rig[2]["id"], &rig[2]["args"]), (&controller[0]["id"], &controller[0]["args"]));
    assert!(rig[2]["sid"].is_string() && rig.iter().all(|row| row.get("open").is_none()), "{rig:?}");

    // Cut, and written anew.
    let whole = text_of(&pair.rig);
    let write = |text: &str| fs::write(pair.rig.path("audit/audit-000000000000.log"), text).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    write(&lines[..lines.len() - 1].concat());
    pair.rig.run(&["audit", "verify"]).ok();
    against(&pair.rig, &pair.controller).fails(FAILED, &["is missing", "cut off"]);
    let innocent: Vec<String> =
        whole.lines().map(|line| line[65..].replace("\"type\":\"sha256d\"", "\"type\":\"harmless\"")).collect();
    write(&fresh(&innocent));
    pair.rig.run(&["audit", "verify"]).ok();
    against(&pair.rig, &pair.controller).fails(FAILED, &["written anew"]);
    write(&whole);
    against(&pair.rig, &pair.controller).ok();
}

#[test]
fn a_crash_after_the_line_leaves_a_command_without_an_end() {
    let xmrig = fake_xmrig();
    let pair =
        Pair::with_config(&format!(r#"{{"miners": {{"xmrig": "{}", "probe_interval_ms": 200}}}}"#, xmrig.display()));
    let profile = pair.controller.write("deaf.json", DEAF);
    pair.controller.run(&["deploy", "rig-1", "--profile", profile.to_str().unwrap()]).ok();
    pair.controller.run(&["start", "rig-1", "--type", "xmrig", "--profile", "deaf"]).ok();
    let config = pair
        .controller
        .write("more.json", r#"{"pools":[{"url":"pool.example:3333","user":"4Wallet.deaf","pass":"hunter2"}]}"#);
    let refused = ["start", "rig-1", "--type", "xmrig", "--profile", "deaf", "--config", config.to_str().unwrap()];
    pair.controller.run(&refused); // whatever comes of it: it runs already
    pair.rig.await_miner("deaf", None);

    // It ignores SIGTERM, so stopping it takes long enough for a crash in the middle.
    let stopping = pair.controller.spawn(&["stop", "rig-1", "--miner", "deaf"]);
    eventually("the line before the stop", 20, || text_of(&pair.rig).contains("stop_miner"));
    let pair = pair.restarted(super::user::Daemon::kill);
    let stopped = stopping.wait();
    assert_ne!(stopped.code, 0, "{stopped:?}");
    let table = pair.rig.run(&["audit", "show"]).ok().out;
    let line = table.lines().find(|line| line.contains("stop_miner")).unwrap();
    assert!(line.contains("no end"), "{table}");
    let open: Vec<Value> = shown(&pair.rig).into_iter().filter(|row| row["open"] == true).collect();
    assert!(open.len() == 1 && open[0]["what"] == "stop_miner", "{open:?}");
    // The controller has its end: no answer came, so no place on the rig's chain is noted.
    let last = shown(&pair.controller).pop().unwrap();
    assert!(last["ok"] == false && last.get("peer_n").is_none(), "{last}");
    against(&pair.rig, &pair.controller).ok();

    // A crash in the middle of a line: it is cut, that is said, and the log goes on.
    let pair = pair.restarted(|daemon| daemon.kill());
    let path = pair.rig.path("audit/audit-000000000000.log");
    let Pair { rig, controller, daemon } = pair;
    let address = daemon.address();
    daemon.kill();
    fs::write(&path, format!("{}abcdef half a line", text_of(&rig))).unwrap();
    assert!(rig.run(&["audit", "verify"]).ok().out.contains("not whole"));
    let daemon = rig.serve_with(&["--listen", &address]);
    controller.run(&["pause", "rig-1"]).ok();
    assert!(shown(&rig).iter().any(|row| row["what"] == "repair" && row["cut"] == 18));
    let answer = against(&rig, &controller).ok();
    assert!(!answer.out.contains("not whole"), "{answer:?}");

    for folder in [&rig, &controller] {
        let text = text_of(folder);
        assert!(text.contains("\"deaf\"") && text.contains("\"with_config\":true"), "{text}");
        for secret in ["hunter2", "4Wallet", "pool.example"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    drop(daemon);
}

#[test]
fn what_a_rig_does_not_allow_it_does_not_record() {
    let pair = Pair::new();
    pair.rig.run(&["peers", "allow", &pair.controller.key(), "--grant", "observe"]).ok();
    let before = text_of(&pair.rig);
    pair.controller.run(&["stop", "rig-1", "--miner", "x"]).fails(5, &["operate"]);
    assert_eq!(text_of(&pair.rig), before);
    // The owner's word at the rig is recorded, a revocation even when the log cannot be written.
    let rows = shown(&pair.rig);
    let allowed = &rows[rows.len() - 2];
    assert_eq!((&allowed["what"], &allowed["args"]["grants"]), (&"allow".into(), &serde_json::json!(["observe"])));
    pair.rig.run(&["peers", "revoke", &pair.controller.key()]).ok();
    let last = shown(&pair.rig);
    assert_eq!(last[last.len() - 2]["what"], "revoke");
    pair.controller.run(&["stop", "rig-1", "--miner", "x"]);
    assert_eq!(shown(&pair.rig).len(), last.len());
    assert_eq!(pair.daemon.stop(), 0);

    fs::rename(pair.rig.path("audit"), pair.rig.path("elsewhere")).unwrap();
    fs::write(pair.rig.path("audit"), "no folder").unwrap();
    let daemon = pair.rig.serve();
    let status = pair.rig.rows(&["status", "self"]).remove(0);
    assert!(status["warning"].as_str().unwrap().contains("audit log cannot be written"), "{status}");
    pair.rig.run(&["peers", "allow", &pair.controller.key(), "--grant", "controller"]).fails(FAILED, &["recorded"]);
    pair.rig.run(&["peers", "revoke", &pair.controller.key()]).ok();
    assert!(pair.rig.log().contains("not recorded"));
    assert_eq!(daemon.stop(), 0);
}
