//! Bad input: each gives one clear line that names the cause and the next step, the right exit code,
//! and loses nothing.

use super::support::fake_xmrig;
use super::user::{Folder, Pair};
use std::fs;
use std::net::TcpListener;

const USAGE: i32 = 2;
const CONFIG: i32 = 3;
const UNREACHABLE: i32 = 4;
const REFUSED: i32 = 5;

#[test]
fn a_wrong_role_is_named_and_makes_nothing() {
    let folder = Folder::new();
    folder.run(&["init", "--role", "emperor"]).fails(USAGE, &["emperor", "use controller, worker or dual"]);
    assert!(!folder.data().exists());
}

#[test]
fn wrong_usage_is_one_line_with_the_place_to_look() {
    let folder = Folder::init("controller", "boss");
    folder.run(&["status", "--wach"]).fails(USAGE, &["--wach", "rigmesh status --help"]);
    folder.run(&["explode"]).fails(USAGE, &["explode", "rigmesh --help"]);
    folder.run(&["start"]).fails(USAGE, &["--all"]);
    folder.run(&["start", "a", "--profile", "p"]).fails(USAGE, &["--type"]);
    folder.run(&["logs", "a", "--since", "yesterday"]).fails(USAGE, &["yesterday", "10m"]);
    folder.run(&["peers", "add", "h:1"]).fails(USAGE, &["--key", "--trust-first"]);
    folder.run(&["completions", "tcsh"]).fails(USAGE, &["tcsh", "fish"]);
}

#[test]
fn without_an_identity_a_command_says_how_to_make_one_and_an_identity_is_never_replaced() {
    let folder = Folder::new();
    folder.run(&["status"]).fails(CONFIG, &["no identity", "rigmesh init"]);
    folder.run(&["serve"]).fails(CONFIG, &["no identity", "rigmesh init"]);
    folder.run(&["init", "--role", "worker"]).ok();
    let key = folder.key();
    folder.run(&["init", "--role", "worker"]).fails(CONFIG, &["identity already"]);
    assert_eq!(folder.key(), key);
}

#[test]
fn an_unknown_rig_is_told_which_ones_there_are() {
    let folder = Folder::init("controller", "boss");
    folder.run(&["ping", "rig-9"]).fails(1, &["rig-9", "peers add"]);
    folder.run(&["peers", "add", "127.0.0.1:9", "--key", &"ab".repeat(16), "--name", "rig-1"]).ok();
    folder.run(&["ping", "rig-9"]).fails(1, &["rig-9", "there are rig-1"]);
}

#[test]
fn an_ambiguous_prefix_is_told_what_it_could_be() {
    let folder = Folder::init("controller", "boss");
    for last in ["0", "1"] {
        let id = format!("aaaa{}{last}", "0".repeat(27));
        folder.run(&["peers", "add", &format!("127.0.0.1:{last}1"), "--key", &id]).ok();
    }
    folder.run(&["ping", "aaaa"]).fails(1, &["ambiguous", "use more of the id"]);
    assert_eq!(folder.rows(&["peers", "list"]).len(), 2);
}

#[test]
fn an_unreachable_address_is_told_from_a_refusal() {
    let folder = Folder::init("controller", "boss");
    // Bound and let go: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    folder.run(&["peers", "add", &address, "--key", &"ab".repeat(16), "--name", "rig-1"]).ok();
    folder.run(&["ping", "rig-1"]).fails(UNREACHABLE, &["rig-1", &address, "refused"]);
    folder.run(&["peers", "add", &address, "--trust-first"]).fails(UNREACHABLE, &[&address]);
    folder.run(&["peers", "add", "nonsense", "--trust-first"]).fails(CONFIG, &["nonsense", "host:port"]);
}

#[test]
fn a_refused_handshake_says_what_to_do_on_the_other_side() {
    let (rig, stranger) = (Folder::init("worker", "rig-1"), Folder::init("controller", "stranger"));
    let daemon = rig.serve();
    assert!(daemon.line.contains("nobody may command it yet"), "{}", daemon.line);
    stranger.run(&["peers", "add", &daemon.address(), "--key", &rig.key(), "--name", "rig-1"]).ok();
    stranger.run(&["status", "rig-1", "--json"]).fails(REFUSED, &["rejected", "peers allow"]);
    // Admitted, yet not permitted: a grant is missing.
    rig.run(&["peers", "allow", &stranger.key()]).ok();
    stranger.run(&["ping", "rig-1"]).ok();
    stranger.run(&["start", "rig-1"]).fails(REFUSED, &["operate", "--grant controller"]);
}

#[test]
fn a_wrong_key_at_the_address_gets_nothing() {
    let rig = Folder::init("worker", "rig-1");
    let (other, boss) = (Folder::init("worker", "other"), Folder::init("controller", "boss"));
    rig.run(&["peers", "allow", &boss.key(), "--grant", "controller"]).ok();
    let daemon = rig.serve();
    boss.run(&["peers", "add", &daemon.address(), "--key", &other.key(), "--name", "rig-1"]).ok();
    boss.run(&["start", "rig-1"]).fails(REFUSED, &["wrong key", "nothing was sent"]);
    boss.run(&["peers", "add", &daemon.address(), "--key", "nonsense"]).fails(CONFIG, &["nonsense", "public key"]);
}

#[test]
fn a_wrong_certificate_gets_nothing_and_the_right_one_works() {
    let (rig, boss) = (Folder::new(), Folder::init("controller", "boss"));
    let made = rig.rows(&["init", "--role", "worker", "--name", "rig-1", "--tls", "--address", "127.0.0.1"]);
    let fingerprint = made[0]["tls_fingerprint"].as_str().unwrap();
    rig.run(&["peers", "allow", &boss.key(), "--grant", "controller"]).ok();
    let daemon = rig.serve();
    assert!(daemon.line.contains("wss://"), "{}", daemon.line);
    let add = |pin: &str| {
        let address = format!("wss://{}{pin}", daemon.address());
        boss.run(&["peers", "add", &address, "--key", &rig.key(), "--name", "rig-1"]).ok();
    };
    for wrong in [format!("#{}", "ab".repeat(32)), String::new()] {
        add(&wrong);
        boss.run(&["ping", "rig-1"]).fails(REFUSED, &["wrong certificate", "fingerprint"]);
        boss.run(&["peers", "remove", "rig-1"]).ok();
    }
    add(&format!("#{fingerprint}"));
    boss.run(&["ping", "rig-1"]).ok();
}

#[test]
fn a_port_in_use_is_named() {
    let folder = Folder::init("worker", "rig-1");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    folder.run(&["serve", "--listen", &address]).fails(CONFIG, &[&address, "another process", "--listen"]);
    folder.run(&["serve", "--listen", "nowhere"]).fails(CONFIG, &["nowhere"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = Folder::init("worker", "rig-1");
    let file = folder.write("file", "");
    let inside = file.join("data");
    let binary = env!("CARGO_BIN_EXE_rigmesh");
    let run =
        |args: &[&str]| std::process::Command::new(binary).args(args).arg("--data-dir").arg(&inside).output().unwrap();
    let output = run(&["init", "--role", "worker"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(CONFIG), "{said}");
    assert!(said.lines().count() == 1 && said.contains("cannot create the folder") && said.contains("data"), "{said}");
}

#[test]
fn a_folder_in_use_names_its_owner_and_commands_go_through_the_owner() {
    let folder = Folder::init("worker", "rig-1");
    let _daemon = folder.serve();
    folder.run(&["serve", "--listen", "127.0.0.1:0"]).fails(CONFIG, &["in use by process", "--data-dir"]);
    folder.run(&["status", "self"]).ok();
}

#[test]
fn a_corrupt_key_is_left_as_it_is() {
    let folder = Folder::init("worker", "rig-1");
    let path = folder.path("private.key");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..31]).unwrap();
    for args in [&["id"][..], &["status"], &["serve"], &["init", "--role", "worker"]] {
        folder.run(args).fails(CONFIG, &["private.key", "31 bytes instead of 32", "backup"]);
    }
    assert_eq!(fs::read(&path).unwrap(), &whole[..31]);
    fs::write(&path, &whole).unwrap();
    folder.run(&["id"]).ok();
}

#[test]
fn a_corrupt_registry_or_configuration_is_left_as_it_is() {
    let folder = Folder::init("controller", "boss");
    for (file, text, words) in [
        ("peers.json", "[{", ["peers.json", "corrupt"]),
        ("config.json", r#"{"connections_maximum": 3}"#, ["config.json", "connections_maximum"]),
        ("config.json", r#"{"ping_interval_s": 0}"#, ["ping_interval_s", "at least 1"]),
    ] {
        let path = folder.write(file, text);
        folder.run(&["peers", "list"]).fails(CONFIG, &words);
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_malformed_profile_is_refused_and_the_stored_one_stays() {
    let folder = Folder::init("worker", "rig-1");
    let good = r#"{"id":"main","name":"Main","minerType":"sha256d","config":{"threads":1}}"#;
    folder.input(&["profiles", "put", "-"], good).ok();
    let stored = folder.rows(&["profiles", "list"]);
    for (bad, words) in [
        ("{", &["profile", "nothing was stored"][..]),
        (r#"{"id":"main","name":"x","minerType":"cow","config":{}}"#, &["cow", "sha256d"]),
        (r#"{"id":"main","name":"x","minerType":"sha256d","config":{"shell":"sh"}}"#, &["shell"]),
        (r#"{"id":"../main","name":"x","minerType":"sha256d","config":{}}"#, &["profile id"]),
    ] {
        folder.input(&["profiles", "put", "-"], bad).fails(CONFIG, words);
    }
    folder.run(&["profiles", "put", "/no/such/file"]).fails(CONFIG, &["/no/such/file"]);
    folder.run(&["profiles", "remove", "nope"]).fails(1, &["nope"]);
    assert_eq!(folder.rows(&["profiles", "list"]), stored);
}

#[test]
fn a_miner_that_cannot_start_gives_the_rigs_reason_and_is_not_wanted_any_more() {
    let dies = fake_xmrig();
    let pair = Pair::with_config(&format!(r#"{{"miners": {{"xmrig": "{}"}}}}"#, dies.display()));
    let boss = &pair.controller;
    let config = boss.write("own.json", "{}");
    let config = config.to_str().unwrap();
    boss.run(&["start", "rig-1", "--type", "cow", "--config", config]).fails(1, &["cow", "sha256d"]);
    boss.run(&["start", "rig-1", "--type", "xmrig", "--config", config]).fails(1, &["pools"]);
    boss.run(&["start", "rig-1", "--type", "sha256d", "--profile", "nope"]).fails(1, &["nope"]);
    boss.write("own.json", r#"{"pools":[{"url":"pool.example:3333","user":"dies"}]}"#);
    boss.run(&["start", "rig-1", "--type", "xmrig", "--config", config]).fails(1, &["rig-1", "status 3"]);
    boss.write("own.json", r#"{"command":"undeclared"}"#);
    boss.run(&["start", "rig-1", "--type", "command", "--config", config]).fails(1, &["undeclared"]);
    assert_eq!(pair.miners(), Vec::<serde_json::Value>::new());
    // Nothing of it comes back, and the rig is as good as before.
    let pair = pair.restarted(|daemon| assert_eq!(daemon.stop(), 0));
    assert_eq!(pair.miners(), Vec::<serde_json::Value>::new());
    pair.controller.run(&["start", "rig-1"]).ok();
}

#[test]
fn a_missing_binary_is_named() {
    for (config, words) in [
        ("{}".to_owned(), ["no xmrig program", "configuration"]),
        (r#"{"miners": {"xmrig": "/no/such/xmrig"}}"#.to_owned(), ["/no/such/xmrig", "rig-1"]),
    ] {
        let pair = Pair::with_config(&config);
        let own = pair.controller.write("own.json", r#"{"pools":[{"url":"pool.example:3333","user":"w"}]}"#);
        let args = ["start", "rig-1", "--type", "xmrig", "--config", own.to_str().unwrap()];
        pair.controller.run(&args).fails(1, &words);
    }
}

#[test]
fn some_rigs_failed_is_an_exit_code_of_its_own() {
    let pair = Pair::new();
    pair.controller.run(&["peers", "add", "127.0.0.1:9", "--key", &"ab".repeat(16), "--name", "rig-2"]).ok();
    let answer = pair.controller.run(&["ping", "--all", "--json"]);
    assert_eq!(answer.code, 7, "{answer:?}");
    assert!(answer.err.contains("1 of 2 failed"), "{answer:?}");
    let rows = answer.rows();
    let of = |rig: &str| rows.iter().find(|row| row["rig"] == rig).unwrap_or_else(|| panic!("{rows:?}"));
    assert!(of("rig-1")["round_trip_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(of("rig-2")["error"]["kind"], "unreachable");
}
