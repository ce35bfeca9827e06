//! The whole life of a rig: start, status, logs, stop, crash, restart, power cut.

use super::support::{eventually, fake_xmrig};
use super::user::{Folder, Pair, await_gone, is_alive, signal};
use serde_json::Value;

/// Quick probes and restarts, so that nothing is waited for longer than needed.
fn quick(xmrig: Option<&str>) -> String {
    let xmrig = xmrig.map(|path| format!(r#""xmrig": "{path}", "#)).unwrap_or_default();
    format!(r#"{{"miners": {{{xmrig}"probe_interval_ms": 200, "backoff_min_ms": 100}}}}"#)
}

/// From a started miner through everything that can happen to it.
fn live_through_it_all(pair: Pair, miner: &str) {
    let hashing = pair.await_state(&["hashing", "earning"]);
    assert!(hashing["hashrate_hs"].as_f64().unwrap() > 0.0, "{hashing}");
    let table = pair.controller.run(&["status"]).ok().out;
    assert!(table.contains("rig-1") && table.contains("H/s") && !table.contains('\x1b'), "{table}");

    let logs = pair.controller.run(&["logs", "rig-1", "-n", "2"]).ok().out;
    assert!((1..=2).contains(&logs.lines().count()), "{logs}");
    let none = pair.controller.rows(&["logs", "rig-1", "--since", "2099-01-01T00:00:00Z"]);
    assert_eq!(none[0]["lines"], Value::Array(Vec::new()));

    // A crash: the supervisor starts it again.
    let first = pair.rig.await_miner(miner, None);
    signal(first, "KILL");
    let second = pair.rig.await_miner(miner, Some(first));
    pair.await_state(&["hashing", "earning"]);

    // The daemon is killed: no orphan, and its successor runs what ran.
    let pair = pair.restarted(|daemon| {
        daemon.kill();
        await_gone(second);
    });
    let third = pair.rig.await_miner(miner, Some(second));
    pair.await_state(&["hashing", "earning"]);

    // The power fails: both at once.
    let pair = pair.restarted(|daemon| {
        signal(third, "KILL");
        daemon.kill();
    });
    let fourth = pair.rig.await_miner(miner, Some(third));
    pair.await_state(&["hashing", "earning"]);

    // A stop in good order keeps what is wanted, too.
    let pair = pair.restarted(|daemon| {
        assert_eq!(daemon.stop(), 0);
        assert!(!is_alive(fourth));
    });
    let fifth = pair.rig.await_miner(miner, Some(fourth));

    // Stopped: gone, and gone for good.
    let stopped = pair.controller.run(&["stop", "rig-1"]).ok();
    assert_eq!(stopped.out, format!("rig-1: stopped {miner}\n"));
    assert!(!is_alive(fifth));
    assert_eq!(pair.miners(), Vec::<Value>::new());
    let pair = pair.restarted(|daemon| assert_eq!(daemon.stop(), 0));
    assert_eq!(pair.miners(), Vec::<Value>::new());
    pair.controller.run(&["stop", "rig-1"]).fails(1, &["no miner"]);
    assert_eq!(pair.daemon.stop(), 0);
}

#[test]
fn the_built_in_hasher_lives_through_crash_restart_and_power_cut() {
    let pair = Pair::with_config(&quick(None));
    assert!(pair.daemon.line.contains("may be commanded by boss"), "{}", pair.daemon.line);
    let started = pair.controller.run(&["start", "rig-1"]).ok();
    assert_eq!(started.out, "rig-1: started sha256d-1\n");
    live_through_it_all(pair, "sha256d-1");
}

#[test]
fn xmrig_from_a_profile_lives_through_the_same_and_its_wallet_is_shown_nowhere() {
    const WALLET: &str = "4WalletWalletWalletWallet.earning";
    let pair = Pair::with_config(&quick(fake_xmrig().to_str()));
    let profile = format!(
        r#"{{"id":"main","name":"Main","minerType":"xmrig","config":{{"pools":[{{"url":"pool.example:3333","user":"{WALLET}","pass":"secretpass"}}]}}}}"#
    );
    let stored = pair.rig.input(&["profiles", "put", "-"], &profile).ok();
    let listed = pair.rig.run(&["profiles", "list", "--json"]).ok();
    pair.controller.run(&["start", "rig-1", "--type", "xmrig", "--profile", "main"]).ok();
    let row = pair.await_state(&["earning"]);
    assert_eq!((row["type"].as_str(), row["name"].as_str()), (Some("xmrig"), Some("main")));
    assert_eq!((row["shares"].as_u64(), row["rejected"].as_u64()), (Some(7), Some(1)));
    assert!(row["pool"].as_str().is_some_and(|pool| pool.contains(':')), "{row}");
    let logs = pair.controller.run(&["logs", "rig-1"]).ok();
    let status = pair.controller.run(&["status", "--json"]).ok();
    assert!(logs.out.contains("login as ***"), "{logs:?}");
    let shown = [stored.out, listed.out, logs.out, status.out, pair.rig.log()].concat();
    assert!(!shown.contains("4Wallet") && !shown.contains("secretpass"), "{shown}");
    live_through_it_all(pair, "main");
}

#[test]
fn a_second_signal_ends_the_daemon_at_once_and_leaves_no_miner() {
    let pair = Pair::with_config(&quick(fake_xmrig().to_str()));
    // A miner that does not listen to SIGTERM keeps the drain waiting.
    let profile =
        r#"{"id":"deaf","name":"D","minerType":"xmrig","config":{"pools":[{"url":"pool.example:1","user":"w.deaf"}]}}"#;
    pair.rig.input(&["profiles", "put", "-"], profile).ok();
    pair.controller.run(&["start", "rig-1", "--type", "xmrig", "--profile", "deaf"]).ok();
    let miner = pair.rig.await_miner("deaf", None);
    pair.daemon.signal("TERM");
    eventually("the drain to begin", 20, || pair.rig.log().contains("a second signal ends at once"));
    assert_eq!(pair.daemon.stop(), 143);
    await_gone(miner);
}

#[test]
fn a_rigs_owner_commands_it_from_the_rig_itself() {
    let rig = Folder::init("dual", "rig-1");
    rig.write("config.json", &quick(None));
    rig.run(&["start", "self"]).fails(1, &["rigmesh serve"]);
    let daemon = rig.serve();
    rig.run(&["start", "self"]).ok();
    rig.run(&["start", "rig-1", "--type", "sha256d"]).ok();
    let rows = rig.rows(&["status"]);
    assert_eq!((rows.len(), rows[0]["link"].as_str()), (1, Some("self")));
    assert_eq!(rows[0]["miners"].as_array().unwrap().len(), 2);
    rig.run(&["stop", "self"]).fails(1, &["sha256d-1", "sha256d-2", "--miner"]);
    rig.run(&["stop", "self", "--all-miners"]).ok();
    assert_eq!(rig.rows(&["status"])[0]["miners"], Value::Array(Vec::new()));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn the_demo_works_and_leaves_nothing_behind() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.data()).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_rigmesh"))
        .args(["demo", "--seconds", "2"])
        .env("TMPDIR", folder.data())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{err}\n{out}");
    for words in ["rig-1", "rig-2", "rig-3", "H/s", "stopped sha256d-1"] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert!(err.contains("every step worked"), "{err}");
    assert_eq!(std::fs::read_dir(folder.data()).unwrap().count(), 0);
}

#[test]
fn an_interrupted_demo_cleans_up() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.data()).unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_rigmesh"))
        .args(["demo", "--seconds", "600"])
        .env("TMPDIR", folder.data())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let made = |depth: &str| std::fs::read_dir(folder.data()).unwrap().flatten().any(|e| e.path().join(depth).exists());
    eventually("the demo's third miner", 30, || made("rig-3/run/sha256d-1.pid"));
    signal(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(folder.data()).unwrap().count(), 0);
}

#[test]
fn a_paused_rig_stays_paused_until_it_is_resumed_whatever_happens_to_it() {
    let pair = Pair::with_config(&quick(None));
    pair.controller.run(&["start", "rig-1"]).ok();
    pair.controller.run(&["start", "rig-1"]).ok();
    let (one, two) = (pair.rig.await_miner("sha256d-1", None), pair.rig.await_miner("sha256d-2", None));
    let only = pair.controller.run(&["pause", "rig-1", "--miner", "sha256d-2"]).ok();
    assert_eq!(only.out, "rig-1: paused sha256d-2\n");
    assert!(is_alive(one) && !is_alive(two));
    let all = pair.controller.run(&["pause", "--all"]).ok();
    assert_eq!(all.out, "rig-1: paused sha256d-1, sha256d-2\n");
    assert!(!is_alive(one));
    let states = |pair: &Pair| pair.miners().iter().map(|m| m["state"].clone()).collect::<Vec<_>>();
    assert_eq!(states(&pair), ["paused", "paused"]);
    assert!(pair.controller.run(&["status"]).ok().out.contains("paused by command"));
    assert!(
        !pair.controller.rows(&["logs", "rig-1", "--miner", "sha256d-1"])[0]["lines"].as_array().unwrap().is_empty()
    );

    // Neither a power cut nor a stop in good order changes it.
    let pair = pair.restarted(|daemon| daemon.kill());
    assert_eq!(states(&pair), ["paused", "paused"]);
    let pair = pair.restarted(|daemon| assert_eq!(daemon.stop(), 0));
    assert_eq!(states(&pair), ["paused", "paused"]);
    assert_eq!(pair.rig.miner_pid("sha256d-1"), None);
    // A rig that rests starts nothing, also none of its miners alone; a paused one can be stopped.
    pair.controller.run(&["start", "rig-1"]).fails(1, &["all miners of this rig are paused", "resume"]);
    pair.controller.run(&["resume", "rig-1", "--miner", "sha256d-1"]).fails(1, &["resume the rig first"]);
    assert_eq!(states(&pair), ["paused", "paused"]);
    pair.controller.run(&["stop", "rig-1", "--miner", "sha256d-2"]).ok();
    pair.controller.run(&["resume", "rig-1"]).ok();
    pair.rig.await_miner("sha256d-1", None);
    // A new miner takes the free name.
    assert_eq!(pair.controller.run(&["start", "rig-1"]).ok().out, "rig-1: started sha256d-2\n");
    eventually("both to hash", 30, || states(&pair).iter().all(|s| s == "hashing" || s == "earning"));
    assert_eq!(states(&pair).len(), 2);
    // Resuming what runs, and pausing at the rig itself.
    pair.controller.run(&["resume", "rig-1"]).ok();
    pair.rig.run(&["pause", "self"]).ok();
    assert_eq!(states(&pair), ["paused", "paused"]);
    pair.controller.run(&["pause", "rig-1", "--miner", "nobody"]).fails(1, &["nobody"]);
    // Without the grant nothing happens.
    pair.rig.run(&["peers", "allow", &pair.controller.key(), "--grant", "observe"]).ok();
    pair.controller.run(&["resume", "rig-1"]).fails(5, &["operate"]);
    assert_eq!(states(&pair), ["paused", "paused"]);
}
