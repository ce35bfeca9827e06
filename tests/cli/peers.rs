//! Who is known, who may connect, who may command; daemons on both sides; what `--json` looks like.

use super::support::eventually;
use super::user::{Folder, Pair};
use serde_json::Value;

fn keys(row: &Value) -> Vec<&str> {
    row.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_line_that_init_prints_lets_a_node_in() {
    let (rig, boss) = (Folder::new(), Folder::new());
    let boss_line = boss.run(&["init", "--role", "controller", "--name", "big boss"]).ok().out;
    assert_eq!(boss_line.lines().count(), 1);
    rig.run(&["init", "--role", "worker", "--name", "rig-1"]).ok();
    let allow = boss_line.trim().replace("'big boss'", "boss");
    rig.run_line(&allow).ok();
    let peers = rig.rows(&["peers", "list"]);
    assert_eq!(peers[0]["grants"], serde_json::json!(["observe", "operate", "deploy"]));
    let daemon = rig.serve();
    // The other direction, with the address that is really listened on.
    let again = Folder::new();
    let line = again.run(&["init", "--role", "dual", "--name", "d", "--address", &daemon.address()]).ok().out;
    let lines: Vec<&str> = line.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[1].starts_with(&format!("rigmesh peers add {} --key ", daemon.address())), "{line}");
    boss.run_line(lines[1]).ok();
    assert_eq!(boss.rows(&["peers", "list"])[0]["name"], "d");
}

#[test]
fn a_running_daemon_answers_commands_and_no_link_is_replaced() {
    let pair = Pair::new();
    let boss = pair.controller.serve_with(&["--listen", "none"]);
    assert!(boss.line.contains("listens nowhere"), "{}", boss.line);
    for _ in 0..3 {
        let rows = pair.controller.rows(&["status"]);
        assert_eq!((rows.len(), rows[0]["link"].as_str()), (1, Some("up")));
    }
    let links = pair.rig.log().matches("link proven").count();
    assert_eq!(links, 1, "{}", pair.rig.log());
    assert_eq!(boss.stop(), 0);
}

#[test]
fn a_rig_behind_nat_dials_its_controller() {
    let (rig, boss) = (Folder::init("worker", "rig-1"), Folder::init("controller", "boss"));
    boss.run(&["peers", "allow", &rig.key(), "--name", "rig-1"]).ok();
    rig.run(&["peers", "allow", &boss.key(), "--grant", "controller"]).ok();
    let up = boss.serve();
    let uplink = format!("{}@{}", boss.key(), up.address());
    let _down = rig.serve_with(&["--listen", "none", "--uplink", &uplink]);
    eventually("the uplink", 20, || boss.rows(&["peers", "list"])[0]["connected"] == true);
    boss.run(&["start", "rig-1"]).ok();
    // The controller comes back, and so does the rig.
    up.kill();
    let (_, address) = uplink.split_once('@').unwrap();
    let _up = boss.serve_with(&["--listen", address]);
    eventually("the uplink again", 30, || boss.rows(&["peers", "list"])[0]["connected"] == true);
    boss.run(&["stop", "rig-1"]).ok();
}

#[test]
fn a_key_is_kept_at_first_sight_when_asked_and_shown() {
    let (rig, boss) = (Folder::init("worker", "rig-1"), Folder::init("controller", "boss"));
    rig.run(&["peers", "allow", &boss.key()]).ok();
    let daemon = rig.serve();
    let answer = boss.run(&["peers", "add", &daemon.address(), "--trust-first", "--name", "rig-1"]).ok();
    assert!(answer.err.contains(&format!("pinned the key {}", rig.key())), "{answer:?}");
    boss.run(&["ping", "rig-1"]).ok();
    boss.run(&["ping", &rig.id()[..6]]).ok();
}

#[test]
fn a_revoked_key_is_out_at_once_and_after_kill_nine() {
    let pair = Pair::new();
    let boss = pair.controller.key();
    pair.controller.run(&["ping", "rig-1"]).ok();
    pair.rig.run(&["peers", "revoke", &boss]).ok();
    pair.controller.run(&["ping", "rig-1"]).fails(5, &["peers allow"]);
    let pair = pair.restarted(|daemon| daemon.kill());
    pair.controller.run(&["ping", "rig-1"]).fails(5, &["peers allow"]);
    // Acknowledged is stored: the daemon is killed right after.
    pair.rig.run(&["peers", "allow", &boss, "--grant", "observe"]).ok();
    let pair = pair.restarted(|daemon| daemon.kill());
    pair.controller.run(&["ping", "rig-1"]).ok();
    pair.controller.run(&["start", "rig-1"]).fails(5, &["operate"]);
}

#[test]
fn sighup_reloads_who_may_connect() {
    let (rig, boss) = (Folder::init("worker", "rig-1"), Folder::init("controller", "boss"));
    let daemon = rig.serve();
    boss.run(&["peers", "add", &daemon.address(), "--key", &rig.key(), "--name", "rig-1"]).ok();
    boss.run(&["ping", "rig-1"]).fails(5, &["peers allow"]);
    rig.write("peers.json.allowlist.json", &format!("[\"{}\"]", boss.key()));
    daemon.signal("HUP");
    eventually("the key to be let in", 20, || boss.run(&["ping", "rig-1"]).code == 0);
    // What cannot be read changes nothing.
    rig.write("peers.json.allowlist.json", "[");
    daemon.signal("HUP");
    eventually("the refusal to reload", 20, || rig.log().contains("nothing was reloaded"));
    boss.run(&["ping", "rig-1"]).ok();
}

#[test]
fn peers_are_listed_chosen_and_removed() {
    let pair = Pair::new();
    let boss = &pair.controller;
    boss.run(&["ping", "rig-1"]).ok();
    let best = boss.rows(&["peers", "best"]);
    assert_eq!((best.len(), best[0]["name"].as_str()), (1, Some("rig-1")));
    boss.run(&["peers", "reset-clock"]).ok();
    boss.run(&["peers", "reset-clock", "rig-1"]).ok();
    let again = ["peers", "add", "127.0.0.1:9", "--key", &pair.rig.key()];
    boss.run(&again).fails(3, &["already exists", "peers remove"]);
    let own = boss.key();
    boss.run(&["peers", "allow", &own]).fails(3, &["own key"]);
    boss.run(&["peers", "remove", "rig-1"]).ok();
    assert_eq!(boss.rows(&["peers", "list"]).len(), 0);
    boss.run(&again).ok();
}

#[test]
fn json_rows_keep_their_shape() {
    let pair = Pair::new();
    let boss = &pair.controller;
    assert_eq!(keys(&boss.rows(&["version"])[0]), ["protocol", "version"]);
    let id = ["data_dir", "dht_address", "id", "key", "keys", "name", "role", "running", "tls_fingerprint"];
    assert_eq!(keys(&boss.rows(&["id"])[0]), id);
    let peer = [
        "address",
        "admitted",
        "connected",
        "grants",
        "id",
        "key",
        "last_seen",
        "latency_ms",
        "name",
        "role",
        "score",
        "secure",
        "stage",
        "threat",
        "tls",
        "until",
    ];
    assert_eq!(keys(&boss.rows(&["peers", "list"])[0]), peer);
    assert_eq!(keys(&boss.rows(&["ping", "rig-1"])[0]), ["id", "rig", "round_trip_ms"]);
    assert_eq!(keys(&boss.rows(&["start", "rig-1"])[0]), ["id", "miner", "rig"]);
    let status = boss.rows(&["status"]);
    assert_eq!(
        keys(&status[0]),
        ["id", "latency_ms", "link", "miners", "paused", "rig", "role", "secure", "uptime_s", "warning"]
    );
    let miner = [
        "algorithm",
        "cpu_threads",
        "hashrate_hs",
        "name",
        "note",
        "pool",
        "rejected",
        "shares",
        "state",
        "type",
        "uptime_s",
    ];
    assert_eq!(keys(&status[0]["miners"][0]), miner);
    assert_eq!(keys(&boss.rows(&["logs", "rig-1"])[0]), ["has_more", "id", "lines", "miner", "rig"]);
    assert_eq!(keys(&boss.rows(&["stop", "rig-1"])[0]), ["id", "miner", "rig"]);
    let failed = boss.run(&["stop", "rig-1", "--json"]).rows();
    assert_eq!(keys(&failed[0]), ["error", "id", "rig"]);
    assert_eq!(keys(&failed[0]["error"]), ["kind", "message"]);
}

#[test]
fn help_and_completions_are_printed_for_every_command() {
    let folder = Folder::new();
    let help = folder.run(&["--help"]).ok().out;
    for command in ["init", "serve", "peers", "status", "demo", "completions"] {
        assert!(help.contains(command), "{command}: {help}");
        let own = folder.run(&[command, "--help"]).ok().out;
        assert!(own.contains("Examples:"), "{command}: {own}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(folder.run(&["completions", shell]).ok().out.contains("reset-clock"));
    }
    assert!(!folder.data().exists());
}

#[test]
fn a_rig_killed_in_the_middle_of_traffic_is_reached_again_when_it_is_back() {
    let pair = Pair::new();
    let boss = pair.controller.serve_with(&["--listen", "none"]);
    pair.controller.run(&["ping", "rig-1"]).ok();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let pair = std::thread::scope(|scope| {
        let (controller, stopped) = (pair.controller.data(), &stop);
        let traffic = scope.spawn(move || {
            let mut asked = 0;
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                // Some of these fail while the rig is away; none may hang or hurt the daemon.
                let data_dir = controller.to_str().unwrap().to_owned();
                let _ = std::process::Command::new(env!("CARGO_BIN_EXE_rigmesh"))
                    .args(["--data-dir", &data_dir, "ping", "rig-1"])
                    .output()
                    .unwrap();
                asked += 1;
            }
            asked
        });
        let pair = pair.restarted(|daemon| daemon.kill());
        eventually("the rig to answer again", 30, || pair.controller.run(&["ping", "rig-1"]).code == 0);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(traffic.join().unwrap() > 0);
        pair
    });
    assert_eq!(boss.stop(), 0);
    assert_eq!(pair.daemon.stop(), 0);
}

#[test]
fn reset_clock_heals_a_corrupt_freshness_file_and_says_so_before() {
    let folder = Folder::init("worker", "rig-1");
    std::fs::write(folder.data().join("freshness.json"), "{").unwrap();
    folder.run(&["serve", "--listen", "none"]).fails(3, &["freshness", "reset-clock"]);
    folder.run(&["peers", "reset-clock"]).ok();
    assert_eq!(folder.serve_with(&["--listen", "none"]).stop(), 0);
}
