//! `ueps build` and `ueps read`, without a node or an identity.

use super::user::Folder;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

const USAGE: i32 = 2;
const CONFIG: i32 = 3;

/// The recorded packet of an empty payload, and its key.
const PACKET: &str = "010001090200010503000105040001200500020000060020d89adbc5696f640c743039abd3ccf61be914f82f575b72fb8bad131e2bc54e91ff0000";
const SECRET: &str = "9ec1c568288c939a4353e921705b8c8c8e4d63de64b9be9ba2b97721cbff718e";

fn at(folder: &Folder, file: &str) -> String {
    folder.path(file).to_str().unwrap().to_owned()
}

/// A folder with one key in three spellings, and another key.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("hex", &format!("{SECRET}\n"));
    fs::write(folder.path("raw"), hex::decode(SECRET).unwrap()).unwrap();
    folder.write("base64", "nsHFaCiMk5pDU+khcFuMjI5NY95kub6borl3Icv/cY4=\n");
    folder.write("other", &"00".repeat(32));
    folder
}

#[test]
fn a_packet_is_the_recorded_one_whatever_way_its_key_is_spelled() {
    let folder = folder();
    for spelling in ["hex", "raw", "base64"] {
        let (key, file) = (at(&folder, spelling), at(&folder, &format!("{spelling}.out")));
        folder.run(&["ueps", "build", "--key-file", &key, "--intent", "compute", "-o", &file]).ok();
        assert_eq!(hex::encode(fs::read(&file).unwrap()), PACKET, "{spelling}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        folder.run(&["ueps", "build", "--key-file", &key, "--intent", "32", "-o", &file]).fails(CONFIG, &["--force"]);
        let row = folder.rows(&["ueps", "read", &file, "--key-file", &key]).remove(0);
        assert_eq!((&row["intent_name"], &row["payload_bytes"]), (&json!("compute"), &json!(0)));
    }
    folder.write("short", "00ff\n");
    let short = at(&folder, "short");
    folder.run(&["ueps", "build", "--key-file", &short, "--intent", "1"]).fails(CONFIG, &["holds no key", "hex"]);
}

#[test]
fn packets_go_through_pipes_and_their_header_comes_back() {
    let folder = folder();
    let key = at(&folder, "hex");
    let build = ["ueps", "build", "--key-file", &key, "--intent", "0x77", "--threat", "50001", "--packet-version"];
    let more = ["7", "--from-layer", "1", "--to-layer", "2", "--payload-file", "-"];
    let file = at(&folder, "packet");
    folder.input(&[&build[..], &more, &["-o", &file]].concat(), "hi\u{1b}[31m\n").ok();
    let row = folder.rows(&["ueps", "read", &file, "--key-file", &key]).remove(0);
    let want = json!({
        "packet": 1, "at": 0, "version": 7, "current_layer": 1, "target_layer": 2, "intent": 0x77,
        "intent_name": Value::Null, "threat_score": 50001, "payload_bytes": 8, "payload": "aGkbWzMxbQo=",
        "repeated": false,
    });
    assert_eq!(row, want);
    let shown = folder.run(&["ueps", "read", &file, "--key-file", &key]).ok().out;
    assert!(shown.contains("0x77") && shown.contains("50001") && !shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn a_stream_is_read_up_to_what_is_wrong_with_it() {
    let folder = folder();
    let (key, other, file) = (at(&folder, "hex"), at(&folder, "other"), at(&folder, "stream"));
    let good = hex::decode(PACKET).unwrap();
    let mut bad = good.clone();
    bad[3] ^= 1;
    let read = |bytes: Vec<u8>, key: &str, more: &[&str]| {
        fs::write(&file, bytes).unwrap();
        folder.run(&[&["ueps", "read", &file, "--key-file", key, "--json"], more].concat())
    };
    let rows = read([&good[..], &good].concat(), &key, &[]).ok().rows();
    assert_eq!([&rows[0]["repeated"], &rows[1]["repeated"], &rows[1]["at"]], [&json!(false), &json!(true), &json!(59)]);
    let answer = read([&good[..], &bad].concat(), &key, &[]);
    assert_eq!(answer.rows().len(), 1);
    answer.fails(CONFIG, &["packet 2 at byte 59", "HMAC mismatch"]);
    read(good.clone(), &other, &[]).fails(CONFIG, &["HMAC mismatch"]);
    read(good[..58].to_vec(), &key, &[]).fails(CONFIG, &["packet 1", "unexpected end"]);
    read(Vec::new(), &key, &[]).fails(CONFIG, &["no packet"]);
    // The three bytes that end the original.
    for more in [&[][..], &["--lenient"]] {
        read(vec![1, 0, 0], &key, more).fails(CONFIG, &["TLV 0x01 of 0 bytes"]);
    }
    let unknown = "010001090200010503000105040001200500020000100000060020ca906c0cd7427fa904b63b415ca4898ef3697fcdc7d8e53f2e97ebaa31d8e47bff000170";
    read(hex::decode(unknown).unwrap(), &key, &[]).fails(CONFIG, &["tag 0x10"]);
    read(hex::decode(unknown).unwrap(), &key, &["--lenient"]).ok();
}

#[test]
fn what_makes_no_sense_is_one_clear_line() {
    let folder = folder();
    let (key, long) = (at(&folder, "hex"), at(&folder, "long"));
    fs::write(&long, vec![0; 65_536]).unwrap();
    let build = ["ueps", "build", "--key-file", &key, "--intent"];
    for (args, code, words) in [
        (&["dance"][..], USAGE, &["dance", "handshake, compute, rehab, custom"][..]),
        (&["256"], USAGE, &["256"]),
        (&["1", "--threat", "65536"], USAGE, &["threat"]),
        (&["1", "--payload", "a", "--payload-file", &long], USAGE, &["not both"]),
        (&["1", "--payload-file", &long], CONFIG, &["65535"]),
    ] {
        folder.run(&[&build[..], args].concat()).fails(code, words);
    }
    folder.run(&["ueps", "read", "-", "--key-file", "-"]).fails(USAGE, &["once"]);
    folder.run(&["ueps", "read", "/no/such", "--key-file", &key]).fails(CONFIG, &["/no/such"]);
}
