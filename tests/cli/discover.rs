//! Rigs that say where they are, and controllers that find them: over the DHT, on the local link, after they have moved.

use super::user::{Daemon, Folder};
use crate::support::eventually;
use serde_json::Value;
use std::net::UdpSocket;

/// Nodes of one machine see and say their loopback address; the group of the local link is each test's own.
fn with_loopback(folder: Folder) -> Folder {
    folder.write("config.json", r#"{"dial_loopback": true}"#);
    folder
}

fn rig(name: &str) -> Folder {
    with_loopback(Folder::init("worker", name))
}

fn controller() -> Folder {
    with_loopback(Folder::init("controller", "ctl"))
}

fn secret(folder: &Folder, fleet: &str) {
    std::fs::create_dir_all(folder.path("fleets")).unwrap();
    folder.write(&format!("fleets/{fleet}.key"), &"5e".repeat(32));
}

/// A DHT node that others begin with, and where it is.
fn seed(folder: &Folder) -> (Daemon, String) {
    let daemon = folder.daemon(&["dht", "node", "--ephemeral", "--bind", "127.0.0.1:0", "--json"]);
    let said: Value = serde_json::from_str(&daemon.line).unwrap();
    let at = said["listen"].as_str().unwrap().to_owned();
    (daemon, at)
}

const SERVE: [&str; 5] = ["--listen", "127.0.0.1:0", "--dht", "--dht-bind", "127.0.0.1:0"];

fn serve(folder: &Folder, seed: &str, more: &[&str]) -> Daemon {
    folder.serve_with(&[&SERVE[..], &["--bootstrap", seed], more].concat())
}

fn address(folder: &Folder) -> String {
    folder.rows(&["id"])[0]["dht_address"].as_str().unwrap().to_owned()
}

/// Runs a search until it gives rows like this.
fn await_rows(folder: &Folder, args: &[&str], fits: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let mut rows = Vec::new();
    let args = [args, &["--json"]].concat();
    eventually(&format!("{args:?}"), 30, || {
        rows = folder.run(&args).rows();
        fits(&rows)
    });
    rows
}

#[test]
fn a_rig_is_found_by_its_fleet_added_by_its_address_and_takes_its_record_back() {
    let (rig, ctl, third) = (rig("rig-1"), controller(), Folder::new());
    rig.run(&["peers", "allow", &ctl.key(), "--grant", "controller"]).ok();
    [&rig, &ctl].iter().for_each(|folder| secret(folder, "north"));
    let (_seed, at) = seed(&third);
    let daemon = serve(&rig, &at, &["--fleet", "north"]);
    assert!(daemon.line.contains(&format!("in the DHT as {}", address(&rig))), "{}", daemon.line);

    // The controller has never heard of it: a stranger, who enters no list.
    let find = ["discover", "--fleet", "north", "--bootstrap", &at];
    let rows = await_rows(&ctl, &find, |rows| rows.iter().any(|row| row["state"] == "stranger"));
    assert_eq!((rows.len(), &rows[0]["id"], &rows[0]["by"]), (1, &Value::from(rig.id()), &Value::from("dht")));
    assert!(ctl.rows(&["peers", "list"]).is_empty());
    let shown = ctl.run(&find).ok().out;
    assert!(shown.starts_with("Strangers: on none of your lists"), "{shown}");
    // Who has not the secret cannot tell the topic.
    third.run(&["dht", "topic", "find", "rigmesh/north", "--bootstrap", &at]).fails(1, &["no"]);

    let dht = address(&rig);
    ctl.run(&["peers", "add", &dht, "--name", "rig-1", "--bootstrap", &at]).ok();
    assert_eq!(ctl.rows(&["status", "rig-1"])[0]["rig"], "rig-1");
    let row = &ctl.rows(&find)[0];
    assert_eq!((&row["state"], &row["name"], &row["address"]), (&"rig".into(), &"rig-1".into(), &dht.clone().into()));
    ctl.run(&["peers", "add", &dht, "--bootstrap", &at]).fails(3, &["already exists"]);

    assert_eq!(daemon.stop(), 0);
    let shown = third.run(&["dht", "resolve", &dht, "--bootstrap", &at]).ok().out;
    assert!(shown.contains("withdrawn"), "{shown}");
    ctl.run(&find).fails(4, &["taken its record back"]);
}

#[test]
fn rigs_are_found_on_the_local_link_without_any_dht_over_tls_as_well() {
    let port = UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let config = format!(r#"{{"dial_loopback": true, "lan_port": {port}}}"#);
    let (plain, tls, ctl) = (Folder::init("worker", "plain"), Folder::new(), Folder::init("controller", "ctl"));
    tls.run(&["init", "--role", "worker", "--name", "tls", "--tls"]).ok();
    for folder in [&plain, &tls, &ctl] {
        folder.write("config.json", &config);
    }
    let key = ctl.key();
    [&plain, &tls].iter().for_each(|rig| drop(rig.run(&["peers", "allow", &key, "--grant", "controller"]).ok()));
    let _daemons = [&plain, &tls].map(|rig| rig.serve_with(&["--listen", "127.0.0.1:0", "--lan"]));
    let rows = await_rows(&ctl, &["discover", "--lan"], |rows| rows.len() == 2);
    let place = |row: &Value| row["places"][0].as_str().unwrap().to_owned();
    assert!(rows.iter().all(|row| row["state"] == "stranger" && row["by"] == "lan"), "{rows:?}");
    assert!(rows.iter().any(|row| place(row).starts_with("wss://127.0.0.1:")), "{rows:?}");
    // By its address, through a daemon that listens on the link; the certificate it showed is pinned.
    let daemon = ctl.serve_with(&["--listen", "none", "--lan"]);
    for (rig, name) in [(&plain, "plain"), (&tls, "tls")] {
        let added = &ctl.rows(&["peers", "add", &address(rig), "--name", name])[0];
        assert_eq!(added["tls"], name == "tls");
    }
    assert_eq!(daemon.stop(), 0);
    for name in ["plain", "tls"] {
        assert_eq!(ctl.rows(&["status", name])[0]["rig"], name);
    }
}

#[test]
fn a_rig_that_was_killed_says_a_newer_record_and_is_found_where_it_is_now() {
    let (rig, ctl, third) = (rig("rig-1"), controller(), Folder::new());
    rig.run(&["peers", "allow", &ctl.key(), "--grant", "controller"]).ok();
    let (_seed, at) = seed(&third);
    let daemon = serve(&rig, &at, &[]);
    let dht = address(&rig);
    let resolve = ["dht", "resolve", &dht, "--bootstrap", &at];
    let before = await_rows(&third, &resolve, |rows| rows.len() == 1).remove(0);
    let commander = serve(&ctl, &at, &[]);
    // The controller's own node of the DHT has just begun to join.
    eventually("the rig to be found", 30, || ctl.run(&["peers", "add", &dht, "--name", "rig-1"]).code == 0);
    ctl.run(&["status", "rig-1"]).ok();
    daemon.kill();
    let saved: u64 = std::fs::read_to_string(rig.path("record.seq")).unwrap().parse().unwrap();
    assert_eq!(before["seq"], saved);

    // It comes back on another port: whoever knows it finds it by its signing key.
    let _daemon = serve(&rig, &at, &[]);
    let after = await_rows(&third, &resolve, |rows| rows.first().is_some_and(|row| row["seq"] != before["seq"]));
    assert!(after[0]["seq"].as_u64() > before["seq"].as_u64());
    assert_ne!(after[0]["endpoints"], before["endpoints"]);
    // The daemon notices that its link is gone, and dials in vain first.
    eventually("the rig to answer at its new place", 30, || ctl.run(&["status", "rig-1"]).code == 0);
    let row = ctl.rows(&["peers", "list"]).into_iter().find(|row| row["name"] == "rig-1").unwrap();
    assert!(after[0]["endpoints"][0].as_str().unwrap().contains(row["address"].as_str().unwrap()), "{row}");
    assert_eq!(commander.stop(), 0);
}

#[test]
fn what_cannot_be_searched_or_said_is_told_in_one_line() {
    let (rig, ctl) = (rig("rig-1"), controller());
    let none = address(&rig);
    ctl.run(&["discover"]).fails(3, &["nowhere to look", "--fleet"]);
    ctl.run(&["discover", "--fleet", "north", "--bootstrap", "127.0.0.1:9"])
        .fails(3, &["no secret", "fleets/north.key"]);
    ctl.run(&["discover", "--fleet", "../north"]).fails(3, &["no plain name"]);
    ctl.run(&["discover", "--public"]).fails(2, &["--fleet"]);
    ctl.run(&["discover", "--fleet", "north", "--public"]).fails(3, &["--bootstrap"]);
    ctl.run(&["peers", "add", &none]).fails(3, &["--bootstrap"]);
    rig.run(&["serve", "--bootstrap", "127.0.0.1:9"]).fails(2, &["--dht"]);
    rig.run(&["serve", "--dht", "--advertise", "rig.example"]).fails(2, &["IP:PORT"]);
    rig.run(&["serve", "--dht", "--fleet", "north"]).fails(3, &["no secret", "openssl rand"]);
    rig.write("record.seq", "seven");
    rig.run(&["serve", "--listen", "127.0.0.1:0", "--lan"]).fails(3, &["record.seq", "no number"]);
}
