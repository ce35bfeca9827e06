//! `ueps send`: packets to a running rig, over its link and over plain TCP.

use super::user::{Daemon, Folder, Pair, is_alive};
use crate::support::eventually;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

const USAGE: i32 = 2;
const CONFIG: i32 = 3;
const UNREACHABLE: i32 = 4;
const REFUSED: i32 = 5;

const PROFILE: &str = r#"{"id":"night","name":"Night","minerType":"sha256d","config":{"threads":1}}"#;

/// A rig with a plain listener, its daemon, and where that listens.
fn listening() -> (Folder, Daemon, String) {
    let rig = Folder::init("worker", "rig-1");
    rig.write("panel.key", &"11".repeat(32));
    rig.write("guest.key", &"22".repeat(32));
    let file = |name: &str| rig.path(name).to_str().unwrap().to_owned();
    let keys = json!({
        "panel": { "file": file("panel.key"), "grant": "operate" },
        "guest": { "file": file("guest.key"), "grant": "peer" },
    });
    rig.write("config.json", &json!({ "ueps_listen": "127.0.0.1:0", "ueps_keys": keys }).to_string());
    rig.write("night.json", PROFILE);
    rig.run(&["profiles", "put", &file("night.json")]).ok();
    let daemon = rig.serve();
    let address = status(&rig)["ueps"]["listener"]["address"].as_str().unwrap().to_owned();
    (rig, daemon, address)
}

fn status(rig: &Folder) -> Value {
    rig.rows(&["status", "self"]).remove(0)
}

/// `ueps send` to the plain listener, from a folder without an identity.
fn send<'a>(address: &'a str, key: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["ueps", "send", "--tcp", address, "--key-file", key], more].concat()
}

#[test]
fn a_rig_takes_work_and_rest_from_packets_over_its_link() {
    let pair = Pair::new();
    pair.rig.write("night.json", PROFILE);
    pair.rig.run(&["profiles", "put", pair.rig.path("night.json").to_str().unwrap()]).ok();
    let send = |more: &[&str]| pair.controller.run(&[&["ueps", "send", "rig-1", "--intent"], more].concat());
    let hello = pair.controller.rows(&["ueps", "send", "rig-1", "--intent", "handshake"]).remove(0);
    assert_eq!((&hello["answer"]["node"], &hello["answer"]["protocols"]), (&json!(pair.rig.id()), &json!(["1.0"])));
    assert_eq!(send(&["compute", "--profile", "night"]).ok().out, "rig-1: {\"miner\":\"night\"}\n");
    let pid = pair.rig.await_miner("night", None);
    send(&["compute", "--profile", "day"]).fails(1, &["day"]);
    send(&["compute"]).fails(USAGE, &["--profile"]);
    send(&["0x42"]).fails(1, &["unknown intent: 0x42"]);
    send(&["compute", "--profile", "night", "--threat", "50001"]).fails(1, &["threat score exceeded"]);

    assert_eq!(send(&["rehab", "--reason", "too hot"]).ok().out, "rig-1: {\"paused\":\"night\"}\n");
    assert!(!is_alive(pid));
    let row = pair.controller.rows(&["status", "rig-1"]).remove(0);
    assert_eq!((&row["paused"], &row["miners"][0]["state"]), (&json!("rehab: too hot"), &json!("paused")));
    assert!(pair.controller.run(&["status"]).ok().out.contains("rehab: too hot"));
    let pair = pair.restarted(Daemon::kill);
    assert_eq!(status(&pair.rig)["paused"], "rehab: too hot");
    let starting = ["ueps", "send", "rig-1", "--intent", "compute", "--profile", "night"];
    pair.controller.run(&starting).fails(1, &["paused", "resume"]);
    pair.controller.run(&["resume", "rig-1"]).ok();
    pair.rig.await_miner("night", None);
    assert_eq!(status(&pair.rig)["paused"], Value::Null);

    // The same packet is another message each time, and still refused.
    let twice = ["ueps", "send", "rig-1", "--intent", "handshake", "--payload", "the same"];
    pair.controller.run(&["ping", "rig-1"]).ok();
    pair.rig.run(&["peers", "allow", &pair.controller.key(), "--grant", "observe"]).ok();
    pair.controller.run(&["ueps", "send", "rig-1", "--intent", "rehab"]).fails(REFUSED, &["operate"]);
    pair.controller.run(&twice).ok();
    let counts = status(&pair.rig)["ueps"]["counts"].clone();
    assert!(counts.as_array().unwrap().iter().any(|c| c["intent"] == 1 && c["handled"] == 1), "{counts}");
}

#[test]
fn a_plain_listener_takes_packets_of_the_keys_it_knows_and_each_once() {
    let (rig, daemon, address) = listening();
    let (panel, guest) = (rig.path("panel.key"), rig.path("guest.key"));
    let (panel, guest) = (panel.to_str().unwrap(), guest.to_str().unwrap());
    let user = Folder::new();
    user.run(&send(&address, panel, &["--intent", "compute", "--profile", "night"])).ok();
    let pid = rig.await_miner("night", None);
    user.run(&send(&address, guest, &["--intent", "handshake"])).ok();
    user.run(&send(&address, guest, &["--intent", "rehab"])).fails(REFUSED, &["operate"]);
    assert!(is_alive(pid));

    // A recorded packet, on a connection of its own: known by the key's window.
    let file = rig.path("rehab.bin");
    let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let build = |payload: &str| {
        let to = file.to_str().unwrap();
        let args =
            ["ueps", "build", "--key-file", panel, "--intent", "rehab", "--payload", payload, "-o", to, "--force"];
        user.run(&args).ok();
        std::fs::read(&file).unwrap()
    };
    let recorded = build(&json!({ "at": at as u64 }).to_string());
    assert!(answer_to(&address, &recorded).contains(r#""ok":true"#));
    assert!(!is_alive(pid));
    rig.run(&["resume", "self"]).ok();
    rig.await_miner("night", None);
    assert!(answer_to(&address, &recorded).contains("seen before"));
    // Without a time, or with an old one, nobody could tell how often it was sent.
    assert!(answer_to(&address, &build("{}")).contains("must carry its time"));
    assert!(answer_to(&address, &build(r#"{"at":1700000000000}"#)).contains("before the start of this node"));
    assert_eq!(status(&rig)["paused"], Value::Null);

    // What came over TCP has no key of a node: the machine's own, and the name of the pre-shared one.
    let rows = rig.rows(&["audit", "show", "--lines", "100"]);
    let begun: Vec<&Value> = rows.iter().filter(|row| row["what"] == "ueps").collect();
    assert_eq!((begun.len(), &begun[0]["who"]), (4, &json!("local")), "{rows:?}");
    assert_eq!((&begun[0]["args"]["key"], &begun[0]["args"]["profile"]), (&json!("panel"), &json!("night")));
    assert!(rows.iter().any(|row| row["what"] == "resume_miner" && row["who"] == "local"));

    // The same after a restart, when the window is gone.
    let listen = address.clone();
    daemon.kill();
    let config = std::fs::read_to_string(rig.path("config.json")).unwrap();
    rig.write("config.json", &config.replace("127.0.0.1:0", &listen));
    let daemon = rig.serve();
    assert!(answer_to(&address, &recorded).contains("before the start of this node"));
    rig.await_miner("night", None);
    assert_eq!(daemon.stop(), 0);
}

/// Sends bytes on a connection of their own and gives what comes back as text.
fn answer_to(address: &str, packet: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    let _ = socket.write_all(packet).and_then(|()| socket.shutdown(std::net::Shutdown::Write));
    let mut answer = Vec::new();
    // A connection that is refused may be reset.
    let _ = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn who_guesses_keys_hears_nothing_and_is_shut_out() {
    let (rig, _daemon, address) = listening();
    rig.write("wrong.key", &"33".repeat(32));
    let (wrong, packet) = (rig.path("wrong.key"), rig.path("forged.bin"));
    let wrong = wrong.to_str().unwrap();
    let user = Folder::new();
    let told = user.run(&send(&address, wrong, &["--intent", "rehab", "--timeout", "20"]));
    told.fails(UNREACHABLE, &["may not know this key"]);
    let listener = |rig: &Folder| status(rig)["ueps"]["listener"].clone();
    assert_eq!(listener(&rig)["threats"], json!([{ "address": "127.0.0.1", "score": 100 }]));
    let to = packet.to_str().unwrap();
    user.run(&["ueps", "build", "--key-file", wrong, "--intent", "rehab", "-o", to]).ok();
    let forged = std::fs::read(&packet).unwrap();
    // Each on a connection of its own, since the first forgery of one closes it; what decays meanwhile is made up for.
    for _ in 0..510 {
        assert_eq!(answer_to(&address, &forged), "");
    }
    eventually("the address to be refused", 30, || listener(&rig)["threats"][0]["refused_for_s"].is_u64());
    let mut late = TcpStream::connect(&address).unwrap();
    late.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert!(matches!(late.read(&mut [0; 1]), Ok(0) | Err(_)));
    let panel = rig.path("panel.key");
    let shut = user.run(&send(&address, panel.to_str().unwrap(), &["--intent", "handshake"]));
    shut.fails(UNREACHABLE, &[]);
    assert!(rig.log().contains("HMAC mismatch"), "{}", rig.log());
}

#[test]
fn wrong_orders_say_what_is_missing() {
    let folder = Folder::init("worker", "rig-1");
    folder.write("k", &"11".repeat(32));
    let key = folder.path("k");
    let key = key.to_str().unwrap();
    for (args, code, word) in [
        (&["ueps", "send", "--intent", "rehab"][..], USAGE, "name a rig"),
        (&["ueps", "send", "x", "--tcp", "h:1", "--key-file", key, "--intent", "rehab"], USAGE, "not both"),
        (&["ueps", "send", "--tcp", "h:1", "--intent", "rehab"], USAGE, "--key-file"),
        (&["ueps", "send", "x", "--key-file", key, "--intent", "rehab"], USAGE, "--tcp"),
        (&["ueps", "send", "x", "--intent", "dance"], USAGE, "dance"),
        (&["ueps", "send", "x", "--intent", "rehab", "--reason", "a", "--payload", "b"], USAGE, "not both"),
        (&["ueps", "send", "--tcp", "nowhere", "--key-file", key, "--intent", "rehab"], CONFIG, "HOST:PORT"),
        (&["ueps", "send", "--tcp", "127.0.0.1:1", "--key-file", key, "--intent", "rehab"], UNREACHABLE, "127.0.0.1:1"),
    ] {
        folder.run(args).fails(code, &[word]);
    }
    for (config, word) in [
        (r#"{"ueps_listen":"127.0.0.1:0"}"#, "ueps_keys"),
        (r#"{"ueps_listen":"127.0.0.1:0","ueps_keys":{"a":{"file":"/nowhere/k","grant":"operate"}}}"#, "/nowhere/k"),
        (r#"{"ueps_listen":"127.0.0.1:0","ueps_keys":{"a":{"file":"/k","grant":"all"}}}"#, "all"),
    ] {
        folder.write("config.json", config);
        folder.run(&["serve"]).fails(CONFIG, &[word]);
    }
}
