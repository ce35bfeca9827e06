//! `dht`: nodes that run, and every command against them.

use super::user::{Daemon, Folder};
use serde_json::Value;

/// A node on a free port, and the JSON it said.
fn node(folder: &Folder, args: &[&str]) -> (Daemon, Value) {
    let all = [&["dht", "node", "--bind", "127.0.0.1:0", "--json"], args].concat();
    let daemon = folder.daemon(&all);
    let said = serde_json::from_str(&daemon.line).unwrap_or_else(|e| panic!("{e}: {}", daemon.line));
    (daemon, said)
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_else(|| panic!("no {key} in {row}"))
}

/// The command, beginning with one node.
fn by<'a>(words: &[&'a str], at: &'a str) -> Vec<&'a str> {
    [words, &["--bootstrap", at]].concat()
}

#[test]
fn what_one_publishes_others_find_and_a_node_that_was_killed_serves_again() {
    let (first, second) = (Folder::init("dual", "one"), Folder::new());
    let key = second.write("key", &"ab".repeat(32));
    let key = key.to_str().unwrap();
    let (one, said) = node(&first, &["--debug-http", "127.0.0.1:0"]);
    let (at, pages) = (text(&said, "listen").to_owned(), text(&said, "debug_http").to_owned());
    let pong = &second.rows(&["dht", "ping", &at])[0];
    assert_eq!((text(pong, "id"), text(pong, "address")), (text(&said, "id"), text(&said, "address")));

    let place = "ws://192.0.2.7:9091/ws";
    let published = &second.rows(&["dht", "publish", place, "--key-file", key, "--bootstrap", &at])[0];
    let owner = text(published, "address").to_owned();
    assert_eq!(published["copies"], 1);
    let shown = second.run(&["dht", "resolve", &owner, "--bootstrap", &at]).ok().out;
    assert!(shown.contains(place) && shown.contains("made "), "{shown}");

    let entry = ["dht", "topic", "publish", "rigs", "--name", "rig-1", "--tag", "gpu", "--key-file", key];
    second.run(&by(&entry, &at)).ok();
    let entries = second.rows(&by(&["dht", "topic", "find", "rigs", "--tag", "gpu"], &at));
    assert_eq!((entries.len(), text(&entries[0], "name"), text(&entries[0], "address")), (1, "rig-1", owner.as_str()));
    second.run(&by(&["dht", "topic", "find", "rigs", "--tag", "cpu"], &at)).fails(1, &["nobody"]);

    // The identity's own key writes.
    first.input(&by(&["dht", "mailbox", "send", &owner, "-"], &at), "turn the fans up").ok();
    let mails = second.rows(&by(&["dht", "mailbox", "read", "--key-file", key], &at));
    assert_eq!((mails.len(), text(&mails[0], "text")), (1, "turn the fans up"));
    assert_eq!(text(&mails[0], "from"), text(&said, "address"));

    let nodes = second.rows(&["dht", "find-node", &owner, "--at", &at]);
    assert!(nodes.iter().all(|row| row["id"] != said["id"]), "a node names others: {nodes:?}");
    let stats = &second.rows(&["dht", "stats", "--debug-http", &pages])[0];
    assert!(stats["rx_packets_verified"].as_u64().unwrap() > 10, "{stats}");

    // It ends in good order, then it is killed; each time the next one has the records from its files.
    assert_eq!(one.stop(), 0);
    second.run(&["dht", "stats", "--debug-http", &pages]).fails(4, &["no node serves"]);
    let (two, said) = node(&first, &[]);
    let again = &second.rows(&["dht", "resolve", &owner, "--bootstrap", text(&said, "listen")])[0];
    assert_eq!((&again["seq"], &again["address"]), (&published["seq"], &owner.as_str().into()));
    assert_eq!(again["endpoints"][0], place);
    node_is_alone(&first);
    two.kill();
    let (three, said) = node(&first, &[]);
    let again = &second.rows(&["dht", "resolve", &owner, "--bootstrap", text(&said, "listen")])[0];
    assert_eq!(again["seq"], published["seq"]);
    assert_eq!(three.stop(), 0);
}

/// A second node on the same folder is refused.
fn node_is_alone(folder: &Folder) {
    folder.run(&["dht", "node", "--bind", "127.0.0.1:0"]).fails(3, &["in use by process"]);
}

#[test]
fn a_node_that_reaches_nobody_runs_on_and_ends_at_once() {
    let folder = Folder::new();
    let (daemon, _) = node(&folder, &["--ephemeral", "--bootstrap", "127.0.0.1:9"]);
    assert_eq!(daemon.stop(), 0);
    assert!(!folder.path("dht").exists());
}

#[test]
fn slips_are_named() {
    let folder = Folder::new();
    folder.run(&["dht", "resolve", "nobody", "--bootstrap", "127.0.0.1:9"]).fails(2, &["neither an address nor an id"]);
    folder.run(&["dht", "resolve", &"0".repeat(64)]).fails(2, &["--bootstrap HOST:PORT"]);
    folder.run(&["dht", "ping", "127.0.0.1"]).fails(2, &["no HOST:PORT"]);
    folder.run(&["dht", "ping", "127.0.0.1:9", "--timeout", "1"]).fails(6, &["127.0.0.1:9"]);
    folder.run(&["dht", "ping", "127.0.0.1:9", "--timeout", "0"]).fails(2, &["3600"]);
    folder.run(&["dht", "publish", "ws://x", "--bootstrap", "127.0.0.1:9"]).fails(3, &["no identity"]);
    folder.run(&["dht", "publish", "ws://x", "--ephemeral", "--bootstrap", "127.0.0.1:9"]).fails(4, &["unreachable"]);
    folder.run(&["dht", "node", "--ephemeral", "--bind", "here"]).fails(2, &["--bind", "no IP:PORT"]);
    folder.run(&["dht", "bench", "--nodes", "1"]).fails(2, &["2 to 512"]);
    let bench = &folder.rows(&["dht", "bench", "--nodes", "8", "--records", "5"])[0];
    assert_eq!((&bench["nodes"], &bench["failed"]), (&8.into(), &0.into()));
    assert!(bench["resolve_p50_ms"].as_f64().unwrap() > 0.0);
}
