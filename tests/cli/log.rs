//! What the daemon logs: levels by component, JSON lines, and never a secret.

use super::support::{eventually, fake_xmrig};
use super::user::Folder;
use serde_json::Value;

/// A rig that logs everything as JSON lives through a start and a stop of a miner with a wallet and a password.
#[test]
fn everything_logged_as_json_is_whole_objects_and_holds_no_secret() {
    const PROFILE: &str = r#"{"id":"main","name":"Main","minerType":"xmrig","config":{"pools":[{"url":"pool.example:3333","user":"4WalletWalletWallet.earning","pass":"secretpass"}]}}"#;
    let (rig, controller) = (Folder::init("worker", "rig-1"), Folder::init("controller", "boss"));
    let xmrig = fake_xmrig();
    rig.write("config.json", &format!(r#"{{"miners":{{"xmrig":"{}","probe_interval_ms":200}}}}"#, xmrig.display()));
    rig.run(&["peers", "allow", &controller.key(), "--grant", "controller"]).ok();
    rig.input(&["profiles", "put", "-"], PROFILE).ok();
    let daemon = rig.serve_with(&["--listen", "127.0.0.1:0", "--log", "trace", "--log-format", "json"]);
    controller.run(&["peers", "add", &daemon.address(), "--key", &rig.key(), "--name", "rig-1"]).ok();
    controller.run(&["start", "rig-1", "--type", "xmrig", "--profile", "main"]).ok();
    eventually("the miner to be told of", 20, || rig.log().contains("started"));
    controller.run(&["stop", "rig-1"]).ok();
    assert_eq!(daemon.stop(), 0);

    let log = rig.log();
    let rows: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    assert!(rows.iter().all(|row| row["time"].is_string() && row["level"].is_string() && row["message"].is_string()));
    let proven = rows.iter().find(|row| row["message"] == "link proven").unwrap();
    assert_eq!((proven["component"].as_str(), proven["level"].as_str()), (Some("mesh"), Some("info")));
    assert_eq!(proven["fields"]["dialled"], false);

    let key = std::fs::read(rig.path("private.key")).unwrap();
    let spellings = [hex::encode(&key), rigmesh::base::base64_encode(&key)];
    assert!(!key.is_empty() && spellings.iter().all(|text| !log.contains(text.as_str())));
    assert!(!log.contains("4Wallet") && !log.contains("secretpass"), "{log}");
}

#[test]
fn a_component_has_its_own_level() {
    let rig = Folder::init("worker", "rig-1");
    let daemon = rig.serve_with(&["--listen", "127.0.0.1:0", "--log", "off,node=info"]);
    assert_eq!(daemon.stop(), 0);
    let log = rig.log();
    assert!(log.contains("[INFO] [node] stopped") && log.lines().all(|line| line.contains("[node]")), "{log}");
    rig.run(&["id", "--log", "nodes=info"]).fails(2, &["nodes", "node"]);
    rig.run(&["id", "--log-format", "xml"]).fails(2, &["xml", "text or json"]);
}
