//! `audit`: the log as its files have it, made here byte by byte without the library.

use super::user::Folder;
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
