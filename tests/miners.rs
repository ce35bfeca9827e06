//! Real miner processes, as a worker starts, watches and stops them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod support;

use rigmesh::base::Error;
use rigmesh::base::Timestamp;
use rigmesh::miners::supervise::Policy;
use rigmesh::miners::{MinerInstance, MinerManager, MinerState, MinerStats, Profile, ProfileManager, StartRequest};
use rigmesh::{
    DeclaredCommand, DepotLimits, FileProfileManager, MinerSettings, ProcessMinerManager, SlotFile, Slots, VersionState,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};
use support::{eventually, fake_xmrig};

/// Short times, for tests.
fn policy() -> Policy {
    Policy {
        grace: Duration::from_secs(5),
        backoff_min: Duration::from_millis(50),
        stop_grace: Duration::from_secs(5),
        probe_interval: Duration::from_millis(200),
        probe_deadline: Duration::from_millis(500),
        ..Policy::default()
    }
}

fn settings(dir: &Path) -> MinerSettings {
    let script = |text: &str| DeclaredCommand {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), text.into()],
        env: [("POOL_PASSWORD".to_owned(), "geheim".to_owned())].into(),
        cwd: None,
    };
    let commands = [
        ("talks", "echo hello; echo my $POOL_PASSWORD is known >&2; while :; do sleep 1; done"),
        ("dies", "echo cannot find the pool; exit 3"),
        ("dies-later", "echo working; sleep 0.6; exit 3"),
        ("family", "sleep 1000 & sleep 1000 & echo family $$; wait"),
        ("stubborn", "trap '' TERM; echo stubborn; while :; do sleep 0.05; done"),
        ("escapes", "setsid sleep 2 & echo gone; exec sleep 1000"),
        ("floods", "while :; do echo 0123456789 0123456789 0123456789; done"),
    ];
    MinerSettings {
        binary: env!("CARGO_BIN_EXE_rigmesh").into(),
        commands: commands.map(|(name, text)| (name.to_owned(), script(text))).into(),
        policy: policy(),
        settle: Duration::from_millis(400),
        ..MinerSettings::new(dir)
    }
}

fn xmrig_settings(dir: &Path) -> MinerSettings {
    MinerSettings { xmrig: Some(fake_xmrig()), ..settings(dir) }
}

fn manager(dir: &Path) -> ProcessMinerManager {
    ProcessMinerManager::new(settings(dir)).unwrap()
}

fn request(miner_type: &str, config: Value) -> StartRequest {
    StartRequest { miner_type: miner_type.into(), profile: None, config: Some(config) }
}

fn command(name: &str) -> StartRequest {
    request("command", json!({"command": name}))
}

fn pool(user: &str) -> StartRequest {
    request("xmrig", json!({"pools": [{"url": "pool.example:3333", "user": user, "pass": "x"}]}))
}

fn stats(miner: &Arc<dyn MinerInstance>) -> MinerStats {
    miner.stats().unwrap()
}

fn lines(miner: &Arc<dyn MinerInstance>) -> Vec<String> {
    miner.console_history(1000, None).lines
}

fn comes_to(miner: &Arc<dyn MinerInstance>, state: MinerState) {
    eventually(&format!("{state}; now {:?}; {:?}", stats(miner), lines(miner)), 15, || stats(miner).state == state);
}

/// Pids of the live processes whose command line contains `text`.
fn processes_with(text: &str) -> Vec<u32> {
    let pid = |entry: std::fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        (pid != std::process::id() && String::from_utf8_lossy(&line).contains(text)).then_some(pid)
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(pid).collect()
}

fn is_alive(pid: u32) -> bool {
    // A zombie has no command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

/// Whether not even a zombie is left of a process.
fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

fn entries(path: PathBuf) -> usize {
    std::fs::read_dir(path).map_or(0, Iterator::count)
}

static TESTS: RwLock<()> = RwLock::new(());

/// Most tests run beside each other.
fn together() -> RwLockReadGuard<'static, ()> {
    TESTS.read().unwrap_or_else(PoisonError::into_inner)
}

/// A test that counts the threads and descriptors of this process runs alone.
fn alone() -> RwLockWriteGuard<'static, ()> {
    TESTS.write().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn the_built_in_hasher_starts_hashes_earns_logs_and_stops() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let manager = manager(dir.path());
    let miner = manager.start_miner(&request("sha256d", json!({"threads": 2, "intensity": 10}))).unwrap();
    assert_eq!((miner.name().as_str(), miner.miner_type().as_str()), ("sha256d-1", "sha256d"));
    comes_to(&miner, MinerState::Earning);
    let now = stats(&miner);
    assert!(now.hashrate_hs.unwrap() > 0.0 && now.shares > 0 && now.note.is_none(), "{now:?}");
    assert_eq!((now.pool.as_str(), now.algorithm.as_str(), now.cpu_threads), ("builtin", "sha256d", 2));
    eventually("a line for a share", 10, || lines(&miner).iter().any(|line| line.contains("accepted (1/0)")));
    let stopping = Instant::now();
    manager.stop_miner("sha256d-1").unwrap();
    assert!(stopping.elapsed() < Duration::from_secs(2), "it ends promptly when told");
    assert_eq!(stats(&miner).state, MinerState::Stopped);
    assert!(lines(&miner).iter().any(|line| line.contains("exited with status 0")), "{:?}", lines(&miner));
    assert!(manager.list_miners().is_empty() && matches!(manager.miner("sha256d-1"), Err(Error::NotFound(_))));
    assert!(is_gone(now.pid.unwrap()));
    assert_eq!(entries(dir.path().join("run")), 0);
}

#[test]
fn xmrig_is_read_through_its_api_in_every_state() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let manager = ProcessMinerManager::new(xmrig_settings(dir.path())).unwrap();
    let hashing = manager.start_miner(&pool("4Wallet")).unwrap();
    let earning = manager.start_miner(&pool("earning")).unwrap();
    let paused = manager.start_miner(&pool("paused")).unwrap();
    let starting = manager.start_miner(&pool("starting")).unwrap();
    let silent = manager.start_miner(&pool("silent")).unwrap();
    comes_to(&hashing, MinerState::Hashing);
    let now = stats(&hashing);
    assert_eq!((now.hashrate_hs, now.shares, now.rejected, now.cpu_threads), (Some(778.02), 0, 0, 2));
    assert_eq!((now.pool.as_str(), now.algorithm.as_str()), ("benchmark:3333", "rx/0"));
    comes_to(&earning, MinerState::Earning);
    assert_eq!((stats(&earning).shares, stats(&earning).rejected), (7, 1));
    comes_to(&paused, MinerState::Paused);
    assert_eq!((stats(&starting).state, stats(&starting).hashrate_hs), (MinerState::Starting, None));
    assert_eq!(stats(&silent).hashrate_hs, None);
    // After their grace the two that do not hash are running, with a reason and without a number.
    comes_to(&starting, MinerState::Running);
    comes_to(&silent, MinerState::Running);
    assert!(stats(&starting).note.unwrap().contains("not measured"));
    assert!(stats(&silent).note.unwrap().contains("does not answer"), "{:?}", stats(&silent));
    let names: Vec<String> = manager.list_miners().iter().map(|miner| miner.name()).collect();
    assert_eq!(names, ["xmrig-1", "xmrig-2", "xmrig-3", "xmrig-4", "xmrig-5"]);
}

#[test]
fn neither_wallet_nor_token_is_shown_anywhere() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let manager = ProcessMinerManager::new(xmrig_settings(dir.path())).unwrap();
    let miner = manager.start_miner(&pool("4WalletWalletWallet.rig-7")).unwrap();
    comes_to(&miner, MinerState::Hashing);
    let file = std::fs::read_to_string(dir.path().join("run/xmrig-1.config.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    let token = file["http"]["access-token"].as_str().unwrap();
    assert_eq!((file["http"]["host"].as_str(), file["http"]["restricted"].as_bool()), (Some("127.0.0.1"), Some(true)));
    let shown = format!("{:?} {}", lines(&miner), serde_json::to_string(&stats(&miner)).unwrap());
    assert!(!shown.contains("4Wallet") && !shown.contains(token), "{shown}");
    assert!(shown.contains("login as *** with"), "{shown}");
    manager.stop_miner("xmrig-1").unwrap();
    assert_eq!(entries(dir.path().join("run")), 0, "the file with the wallet is gone");
    let talks = manager.start_miner(&command("talks")).unwrap();
    eventually("both lines", 5, || lines(&talks).len() >= 2);
    assert!(lines(&talks).contains(&"my *** is known".to_owned()), "{:?}", lines(&talks));
}

#[test]
fn a_command_runs_without_statistics_and_says_so() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let manager = manager(dir.path());
    let miner = manager.start_miner(&command("talks")).unwrap();
    comes_to(&miner, MinerState::Running);
    let now = stats(&miner);
    assert_eq!((now.hashrate_hs, now.note.as_deref()), (None, Some("no statistics: this type has no API")));
    assert!(lines(&miner).contains(&"hello".to_owned()));
    assert!(miner.console_history(1, None).has_more);
    assert!(miner.console_history(10, Some(i64::MAX)).lines.is_empty());
}

#[test]
fn a_stop_ends_the_whole_group_and_leaves_no_zombie() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let manager = manager(dir.path());
    let miner = manager.start_miner(&command("family")).unwrap();
    let leader = stats(&miner).pid.unwrap();
    let group = || {
        let in_group = |pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let rest = stat.rsplit(')').next().unwrap_or_default().to_owned();
            rest.split_whitespace().nth(2) == Some(&leader.to_string()) && is_alive(*pid)
        };
        processes_with("").into_iter().filter(in_group).count()
    };
    eventually("the shell and its two children", 5, || group() == 3);
    manager.stop_miner(&miner.name()).unwrap();
    eventually("the group is gone", 2, || group() == 0);
    assert!(is_gone(leader));
}

#[test]
fn a_miner_that_ignores_the_request_is_killed_after_its_grace() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.policy.stop_grace = Duration::from_millis(600);
    let manager = ProcessMinerManager::new(settings).unwrap();
    let miner = manager.start_miner(&command("stubborn")).unwrap();
    eventually("its first line", 5, || lines(&miner).contains(&"stubborn".to_owned()));
    let pid = stats(&miner).pid.unwrap();
    let asked = Instant::now();
    manager.stop_miner(&miner.name()).unwrap();
    assert!((550..4000).contains(&asked.elapsed().as_millis()), "{:?}", asked.elapsed());
    assert!(is_gone(pid));
    assert!(lines(&miner).iter().any(|line| line.contains("killed by signal 9")));
}

#[test]
fn what_fled_the_group_cannot_hold_up_a_stop() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let manager = manager(dir.path());
    let miner = manager.start_miner(&command("escapes")).unwrap();
    eventually("its first line", 5, || lines(&miner).contains(&"gone".to_owned()));
    let asked = Instant::now();
    manager.stop_miner(&miner.name()).unwrap();
    assert!(asked.elapsed() < Duration::from_millis(1500), "its open pipe is not waited for");
}

#[test]
fn a_flood_of_output_is_bounded_and_delays_nothing() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let manager = manager(dir.path());
    let miner = manager.start_miner(&command("floods")).unwrap();
    eventually("many lines", 10, || miner.console_history(5000, None).lines.len() == 1000);
    let asked = Instant::now();
    manager.stop_miner(&miner.name()).unwrap();
    assert!(asked.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_miner_that_dies_at_once_is_a_clear_error_and_not_wanted_any_more() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let manager = manager(dir.path());
    let error = manager.start_miner(&command("dies")).map(|_| ()).unwrap_err();
    assert_eq!(error, Error::Failed("command-1 did not start: exited with status 3: cannot find the pool".into()));
    assert!(manager.list_miners().is_empty());
    drop(manager);
    assert!(self::manager(dir.path()).restore(&FileProfileManager::new(dir.path())).is_empty());
    let manager = ProcessMinerManager::new(xmrig_settings(dir.path())).unwrap();
    let error = manager.start_miner(&pool("dies")).map(|_| ()).unwrap_err().to_string();
    assert!(
        error.starts_with("xmrig-1 did not start: exited with status 3: ") && error.contains("no valid config"),
        "{error}"
    );
}

#[test]
fn a_data_folder_may_be_relative_and_a_wrapper_may_stand_before_the_programs() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let here = std::env::current_dir().unwrap();
    let up = "../".repeat(here.components().count() - 1);
    let relative = PathBuf::from(up).join(dir.path().strip_prefix("/").unwrap());
    let mut settings = xmrig_settings(&relative);
    settings.wrapper = vec!["/usr/bin/env".into()];
    let manager = ProcessMinerManager::new(settings).unwrap();
    for request in [pool("w"), request("sha256d", json!({"intensity": 1}))] {
        let miner = manager.start_miner(&request).unwrap();
        eventually("a hashrate", 10, || stats(&miner).hashrate_hs.is_some());
    }
    assert_eq!(entries(dir.path().join("run")), 4);
}

#[test]
fn a_crash_is_followed_by_a_restart_and_a_crash_loop_by_its_end() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let manager = manager(dir.path());
    let miner = manager.start_miner(&command("dies-later")).unwrap();
    eventually("a second run", 10, || stats(&miner).restarts == 1 && stats(&miner).state == MinerState::Running);
    assert!(lines(&miner).contains(&"rigmesh: exited with status 3".to_owned()));
    comes_to(&miner, MinerState::Crashed);
    let now = stats(&miner);
    assert_eq!((now.restarts, now.pid), (4, None));
    assert!(now.note.unwrap().starts_with("not restarted after 5 crashes within 300 s: exited with status 3"));
    assert_eq!(manager.list_miners().len(), 1, "it is still shown, with its reason");
    assert!(manager.stop_miner(&miner.name()).is_ok());
}

#[test]
fn a_killed_miner_is_running_again() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let manager = manager(dir.path());
    let miner = manager.start_miner(&request("sha256d", json!({"intensity": 1}))).unwrap();
    let pid = stats(&miner).pid.unwrap();
    let killed = Command::new("/bin/kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    eventually("another process", 10, || stats(&miner).pid.is_some_and(|other| other != pid));
    eventually("its API on another port, with another token", 10, || stats(&miner).hashrate_hs.is_some());
}

#[test]
fn what_may_not_be_started_is_refused_with_the_cause() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.miners_max = 1;
    settings
        .commands
        .insert("gone".into(), DeclaredCommand { program: "/no/such".into(), ..DeclaredCommand::default() });
    let manager = ProcessMinerManager::new(settings).unwrap();
    let refused = |request: &StartRequest| manager.start_miner(request).map(|_| ()).unwrap_err().to_string();
    assert!(refused(&request("t-rex", json!({}))).contains("use one of command, sha256d, xmrig"));
    assert!(refused(&pool("w")).contains("set the path of xmrig"));
    assert!(refused(&command("rm -rf /")).contains("declared command"));
    assert!(refused(&command("undeclared")).contains("no command \"undeclared\" is declared"));
    assert!(refused(&command("gone")).contains("/no/such is missing"));
    assert!(refused(&request("command", json!({"command": "talks", "args": ["x"]}))).contains("unknown key \"args\""));
    assert!(refused(&request("sha256d", json!({"http": 1}))).contains("unknown key \"http\""));
    assert!(
        refused(&StartRequest { miner_type: "sha256d".into(), profile: None, config: None })
            .contains("needs a profile")
    );
    let profile = Profile { id: "p".into(), name: String::new(), miner_type: "sha256d".into(), config: json!({}) };
    let other = StartRequest { miner_type: "xmrig".into(), profile: Some(profile.clone()), config: None };
    assert!(refused(&other).contains("is for sha256d miners"));
    let right =
        StartRequest { miner_type: "sha256d".into(), profile: Some(profile), config: Some(json!({"intensity": 1})) };
    assert_eq!(manager.start_miner(&right).unwrap().name(), "p");
    assert!(refused(&right).contains("already running: p"));
    assert!(refused(&command("talks")).contains("limit reached: 1 miners"));
    assert!(matches!(manager.stop_miner("q"), Err(Error::NotFound(_))));
    manager.shutdown(Duration::from_secs(1));
    assert!(refused(&right).contains("shutting down"));
}

#[test]
fn what_ran_before_a_power_cut_runs_after_it_and_what_was_stopped_does_not() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let profiles = FileProfileManager::new(dir.path());
    let profile = Profile {
        id: "main".into(),
        name: "Main".into(),
        miner_type: "sha256d".into(),
        config: json!({"intensity": 1}),
    };
    profiles.save_profile(&profile).unwrap();
    let first = manager(dir.path());
    assert!(first.restore(&profiles).is_empty());
    first.start_miner(&StartRequest { miner_type: "sha256d".into(), profile: Some(profile), config: None }).unwrap();
    first.start_miner(&request("sha256d", json!({"threads": 2, "intensity": 1}))).unwrap();
    first.start_miner(&command("talks")).unwrap();
    first.stop_miner("command-1").unwrap();
    drop(first);
    assert_eq!(entries(dir.path().join("run")), 0, "nothing is left running");
    let second = manager(dir.path());
    let restored = second.restore(&profiles);
    assert!(restored.iter().all(|(_, result)| result.is_ok()), "{restored:?}");
    let names: Vec<String> = second.list_miners().iter().map(|miner| miner.name()).collect();
    assert_eq!(names, ["main", "sha256d-1"]);
    comes_to(&second.miner("sha256d-1").unwrap(), MinerState::Earning);
    assert_eq!(stats(&second.miner("sha256d-1").unwrap()).cpu_threads, 2, "with the controller's settings");
    // A miner that cannot be restored stays wanted, and hides no other.
    drop(second);
    profiles.remove_profile("main").unwrap();
    let third = manager(dir.path());
    let restored = third.restore(&profiles);
    assert!(restored.iter().any(|(name, result)| name == "main" && matches!(result, Err(Error::NotFound(_)))));
    assert_eq!(third.list_miners().len(), 1);
    assert_eq!(third.restore(&profiles).len(), 2);
}

/// A script that says which version it is and becomes the stand-in, with `4Wallet` in its configuration replaced.
fn version(n: u32, user: &str) -> String {
    let fake = fake_xmrig();
    format!(
        "#!/bin/sh\necho this is version {n}\nf=${{1#--config=}}\nsed s/4Wallet/{user}/ \"$f\" >\"$f.{n}\"\nexec {} --config=\"$f.{n}\"\n",
        fake.display()
    )
}

const DIES: &str = "#!/bin/sh\necho broken build\nexit 3\n";

fn slots(dir: &Path) -> Arc<Slots> {
    Arc::new(Slots::open(dir, &DepotLimits::default()).unwrap())
}

/// Installs a script as the next version of a slot and switches to it, as a deploy does.
fn deploy(slots: &Slots, manager: Option<&ProcessMinerManager>, slot: &str, script: &str) -> u32 {
    let files = [SlotFile { path: "bin/main", executable: false, bytes: script.as_bytes() }];
    let at = Timestamp::from_unix(1_800_000_000, 0);
    let n = slots.install_files(slot, "1.0", "bin/main", &files, at).unwrap();
    slots.activate(slot, n).unwrap();
    if let Some(manager) = manager {
        manager.version_switched(slot);
    }
    n
}

fn current(slots: &Slots) -> u32 {
    slots.versions(None).iter().find(|row| row.current).map_or(0, |row| row.number)
}

fn says(miner: &Arc<dyn MinerInstance>, line: &str) -> bool {
    lines(miner).iter().any(|one| one == line)
}

fn note(miner: &Arc<dyn MinerInstance>) -> String {
    stats(miner).note.unwrap_or_default()
}

#[test]
fn an_installed_version_is_run_and_a_switch_restarts_its_miners_without_a_crash() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let slots = slots(dir.path());
    let manager = ProcessMinerManager::with_slots(xmrig_settings(dir.path()), Arc::clone(&slots)).unwrap();
    let (one, two) = (manager.start_miner(&pool("4Wallet")).unwrap(), manager.start_miner(&pool("4Wallet")).unwrap());
    let other = manager.start_miner(&request("sha256d", json!({"intensity": 1}))).unwrap();
    comes_to(&one, MinerState::Hashing);
    assert!(!lines(&one).iter().any(|line| line.contains("version")), "the rig's own program");
    let untouched = stats(&other).pid;
    for n in 1..=2 {
        assert_eq!(deploy(&slots, Some(&manager), "xmrig", &version(n, "4Wallet")), n);
        for miner in [&one, &two] {
            eventually("the new version hashes", 10, || {
                says(miner, &format!("this is version {n}")) && stats(miner).state == MinerState::Hashing
            });
            assert_eq!((stats(miner).restarts, note(miner)), (0, String::new()));
        }
    }
    assert_eq!(slots.rollback("xmrig", None), Ok(1));
    manager.version_switched("xmrig");
    let started = |n: u32| lines(&one).iter().filter(|line| **line == format!("this is version {n}")).count();
    eventually("version 1 again", 10, || started(1) == 2 && stats(&one).state == MinerState::Hashing);
    manager.version_switched("xmrig");
    manager.version_switched("nonsense");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((started(1), stats(&other).pid), (2, untouched), "what did not change goes on");
}

#[test]
fn a_version_that_crash_loops_is_rolled_back_by_the_rig() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let slots = slots(dir.path());
    let manager = ProcessMinerManager::with_slots(settings(dir.path()), Arc::clone(&slots)).unwrap();
    deploy(&slots, None, "xmrig", &version(1, "4Wallet"));
    let miner = manager.start_miner(&pool("4Wallet")).unwrap();
    comes_to(&miner, MinerState::Hashing);
    deploy(&slots, Some(&manager), "xmrig", DIES);
    eventually("the rig goes back", 20, || current(&slots) == 1);
    comes_to(&miner, MinerState::Hashing);
    let why = "5 crashes: exited with status 3: broken build";
    assert!(note(&miner).starts_with(&format!("version 2 rolled back to 1: {why}")), "{}", note(&miner));
    let state = slots.versions(None).swap_remove(0).state;
    assert!(matches!(&state, VersionState::RolledBack { why: said } if said.starts_with(why)), "{state:?}");
    // Until the next switch.
    deploy(&slots, Some(&manager), "xmrig", &version(3, "earning"));
    comes_to(&miner, MinerState::Earning);
    assert_eq!(note(&miner), "");
    // A miner that was in a crash loop is brought back by a deploy.
    let alone = manager.start_miner(&command("dies-later")).unwrap();
    manager.stop_miner(&alone.name()).unwrap();
}

#[test]
fn a_version_that_does_not_hash_within_its_grace_is_rolled_back_over_a_restart_of_the_daemon() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let short = |dir: &Path| {
        let policy = Policy { grace: Duration::from_millis(2500), ..policy() };
        MinerSettings { policy, ..settings(dir) }
    };
    let first_slots = slots(dir.path());
    deploy(&first_slots, None, "xmrig", &version(1, "4Wallet"));
    deploy(&first_slots, None, "xmrig", &version(2, "starting"));
    let manager = ProcessMinerManager::with_slots(short(dir.path()), Arc::clone(&first_slots)).unwrap();
    let miner = manager.start_miner(&pool("4Wallet")).unwrap();
    eventually("version 2 runs", 10, || says(&miner, "this is version 2"));
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(current(&first_slots), 2);
    drop((miner, manager, first_slots));
    // The trial goes on: what was spent of the grace is spent.
    let slots = slots(dir.path());
    assert_eq!(slots.versions(None)[0].state, VersionState::Trial);
    let manager = ProcessMinerManager::with_slots(short(dir.path()), Arc::clone(&slots)).unwrap();
    let began = Instant::now();
    assert!(manager.restore(&FileProfileManager::new(dir.path())).iter().all(|(_, started)| started.is_ok()));
    let miner = manager.miner("xmrig-1").unwrap();
    eventually("the rig goes back", 10, || current(&slots) == 1);
    assert!(began.elapsed() < Duration::from_millis(2300), "{:?}", began.elapsed());
    comes_to(&miner, MinerState::Hashing);
    assert!(says(&miner, "this is version 1"));
    assert_eq!(note(&miner), "version 2 rolled back to 1: no hashrate within 2.5 s");
    assert_eq!(stats(&miner).restarts, 0);
}

#[test]
fn a_version_that_hashes_and_lasts_has_proved_itself() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let slots = slots(dir.path());
    let policy = Policy { crash_window: Duration::from_secs(1), ..policy() };
    let settings = MinerSettings { policy, ..settings(dir.path()) };
    let manager = ProcessMinerManager::with_slots(settings, Arc::clone(&slots)).unwrap();
    deploy(&slots, None, "xmrig", &version(1, "4Wallet"));
    let miner = manager.start_miner(&pool("4Wallet")).unwrap();
    assert_eq!(slots.versions(None)[0].state, VersionState::Trial);
    eventually("its trial is over", 10, || slots.versions(None)[0].state == VersionState::Ok);
    assert_eq!((current(&slots), note(&miner)), (1, String::new()));
}

#[test]
fn a_version_that_cannot_be_executed_gives_way_to_the_one_before_or_the_rigs_own_program() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let slots = slots(dir.path());
    let manager = ProcessMinerManager::with_slots(xmrig_settings(dir.path()), Arc::clone(&slots)).unwrap();
    deploy(&slots, None, "xmrig", "#!/no/such/interpreter\n");
    let miner = manager.start_miner(&pool("4Wallet")).unwrap();
    comes_to(&miner, MinerState::Hashing);
    assert!(
        note(&miner).starts_with("version 1 rolled back to the rig's own program: cannot execute"),
        "{}",
        note(&miner)
    );
    deploy(&slots, Some(&manager), "xmrig", &version(2, "4Wallet"));
    eventually("version 2 runs", 10, || says(&miner, "this is version 2"));
    deploy(&slots, Some(&manager), "xmrig", "#!/no/such/interpreter/either\n");
    eventually("the rig goes back", 10, || current(&slots) == 2);
    comes_to(&miner, MinerState::Hashing);
    assert!(note(&miner).starts_with("version 3 rolled back to 2: cannot execute"), "{}", note(&miner));
}

#[test]
fn without_an_earlier_version_a_broken_one_stays_crashed_and_a_deploy_brings_the_miner_back() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let slots = slots(dir.path());
    let mut settings = settings(dir.path());
    let named = DeclaredCommand { program: "slot:tool".into(), ..DeclaredCommand::default() };
    settings.commands.insert("tool".into(), named);
    settings.settle = Duration::from_millis(50);
    let manager = ProcessMinerManager::with_slots(settings, Arc::clone(&slots)).unwrap();
    let refused = |request: &StartRequest| manager.start_miner(request).map(|_| ()).unwrap_err().to_string();
    assert!(refused(&command("tool")).contains("no version of tool is installed on this rig: deploy one"));
    assert!(refused(&pool("w")).contains("or deploy one"));
    deploy(&slots, None, "tool", "#!/bin/sh\nsleep 0.2\necho broken build\nexit 3\n");
    let miner = manager.start_miner(&command("tool")).unwrap();
    comes_to(&miner, MinerState::Crashed);
    let failed =
        "version 1 failed and there is no earlier one to go back to: 5 crashes: exited with status 3: broken build";
    assert!(note(&miner).starts_with(failed), "{}", note(&miner));
    assert!(note(&miner).contains("; not restarted after 5 crashes within 300 s"), "{}", note(&miner));
    assert_eq!((current(&slots), stats(&miner).restarts), (1, 4));
    deploy(&slots, Some(&manager), "tool", "#!/bin/sh\necho better now\nwhile :; do sleep 1; done\n");
    comes_to(&miner, MinerState::Running);
    eventually("its line", 5, || says(&miner, "better now"));
    assert_eq!(note(&miner), "no statistics: this type has no API");
}

/// Not a test by itself: the process that [`a_kill_of_the_daemon_takes_its_miners_along`] kills.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os("RIGMESH_TEST_VICTIM") else { return };
    let manager = manager(Path::new(&dir));
    let miner = manager.start_miner(&request("sha256d", json!({"intensity": 1}))).unwrap();
    let family = manager.start_miner(&command("family")).unwrap();
    let pids = [stats(&miner).pid.unwrap(), stats(&family).pid.unwrap()];
    std::fs::write(Path::new(&dir).join("ready"), serde_json::to_string(&pids).unwrap()).unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_kill_of_the_daemon_takes_its_miners_along() {
    let _running = together();
    let dir = tempfile::tempdir().unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env("RIGMESH_TEST_VICTIM", dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let ready = dir.path().join("ready");
    let pids = || -> Option<Vec<u32>> { serde_json::from_slice(&std::fs::read(&ready).ok()?).ok() };
    eventually("two miners", 20, || pids().is_some());
    assert!(pids().unwrap().iter().all(|pid| is_alive(*pid)));
    victim.kill().unwrap();
    victim.wait().unwrap();
    eventually("both miners die with it", 5, || pids().unwrap().iter().all(|pid| !is_alive(*pid)));
    // The two sleepers of the family lost their leader but not their life: the next start finds them.
    let family: Value = serde_json::from_slice(&std::fs::read(dir.path().join("run/command-1.pid")).unwrap()).unwrap();
    let mark = format!("RIGMESH_LAUNCH={}", family["mark"].as_str().unwrap());
    let marked = || {
        let has = |pid: &u32| {
            std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|e| String::from_utf8_lossy(&e).contains(&mark))
        };
        processes_with("sleep").into_iter().filter(has).count()
    };
    assert_eq!(marked(), 2);
    let next = manager(dir.path());
    assert_eq!((marked(), entries(dir.path().join("run"))), (0, 0));
    let restored = next.restore(&FileProfileManager::new(dir.path()));
    assert_eq!(restored.len(), 2, "and what ran is wanted again");
    assert!(restored.iter().all(|(_, result)| result.is_ok()), "{restored:?}");
}

#[test]
fn no_thread_and_no_descriptor_is_left_after_many_miners() {
    let _running = alone();
    let dir = tempfile::tempdir().unwrap();
    let count = |what: &str| entries(PathBuf::from(format!("/proc/self/{what}")));
    let manager = manager(dir.path());
    let round = || {
        for name in ["talks", "dies", "dies-later"] {
            let _ = manager.start_miner(&command(name));
        }
        let hasher = manager.start_miner(&request("sha256d", json!({"intensity": 1}))).unwrap();
        eventually("an answer", 10, || !stats(&hasher).pool.is_empty());
        for miner in manager.list_miners() {
            manager.stop_miner(&miner.name()).unwrap();
        }
    };
    round();
    let descriptors = count("fd");
    let threads = count("task");
    (0..4).for_each(|_| round());
    // libtest may be starting a thread for a test that then waits for this one.
    assert!(count("fd") <= descriptors, "{} descriptors, then {}", descriptors, count("fd"));
    assert!(count("task") <= threads + 1, "{} threads, then {}", threads, count("task"));
    let own = std::process::id().to_string();
    let children = std::fs::read_to_string(format!("/proc/self/task/{own}/children")).unwrap_or_default();
    assert_eq!(children, "", "no child, not even a zombie");
}

#[test]
fn the_deepest_accepted_input_fits_the_stack_of_a_connection() {
    let body = || {
        let deep = format!("{}1{}", "[".repeat(30), "]".repeat(30));
        let profile = format!(r#"{{"id":"a","name":"","minerType":"xmrig","config":{{"pools":{deep}}}}}"#);
        let profile = Profile::decode(profile.as_bytes()).unwrap();
        assert!(!profile.redacted().encode().unwrap().is_empty());
        assert!(rigmesh::miners::config::effective("xmrig", Some(&profile.config), Some(&profile.config)).is_err());
        let summary = format!(r#"{{"hashrate":{{"total":{deep}}}}}"#);
        assert_eq!(rigmesh::miners::xmrig::parse_summary(summary.as_bytes()).unwrap().hashrate_hs, None);
        assert_eq!(rigmesh::miners::xmrig::parse_backends(deep.as_bytes()).unwrap(), 0);
    };
    std::thread::Builder::new().stack_size(256 * 1024).spawn(body).unwrap().join().unwrap();
}

#[test]
fn the_hidden_subcommands_refuse_to_be_called_by_hand() {
    for args in [
        &["__launch"][..],
        &["__launch", "--pid-file", "x", "--parent", "1", "--", "true"],
        &["__hash"],
        &["__hash", "--config=/no/such"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_rigmesh")).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.starts_with("rigmesh: ") && said.lines().count() == 1,
            "{args:?}: {said}"
        );
    }
    assert!(!Path::new("x").exists());
}
