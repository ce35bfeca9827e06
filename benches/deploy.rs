//! A deployment from process to process over loopback: how fast, and how much memory both daemons need
//! while it runs. A whole-process measurement: both nodes are the real binary.
//!
//! `cargo bench --bench deploy`
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use rigmesh::base::Rng;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 3;
const MEGABYTES: usize = 200;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    if std::env::args().any(|a| a == "--test" || a == "--list") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (rig, owner) = (folder.path().join("r"), folder.path().join("o"));
    for (data, role, name) in [(&rig, "worker", "rig"), (&owner, "controller", "owner")] {
        run(data, &["init", "--role", role, "--name", name]);
    }
    run(&rig, &["peers", "allow", &key(&owner), "--grant", "controller"]);
    let (serving, address) = serve(&rig, "127.0.0.1:0");
    run(&owner, &["peers", "add", &address, "--key", &key(&rig), "--name", "rig"]);
    let (feeding, _) = serve(&owner, "127.0.0.1:0");
    run(&owner, &["ping", "rig"]);
    std::thread::sleep(Duration::from_secs(1));
    let pids = [("rig", serving.0.id()), ("controller", feeding.0.id())];
    let idle = pids.map(|(_, pid)| kib(pid, "VmRSS"));
    let mut rng = Rng::from_number(1);
    for n in 0..RUNS {
        let mut bytes = vec![0; MEGABYTES << 20];
        rng.fill(&mut bytes);
        let miner = folder.path().join(format!("miner{n}"));
        std::fs::write(&miner, &bytes).unwrap();
        drop(bytes);
        let begin = Instant::now();
        run(&owner, &["deploy", "rig", "--miner", miner.to_str().unwrap(), "--name", "miner", "--no-activate"]);
        let took = begin.elapsed().as_secs_f64();
        println!(
            "{MEGABYTES} MiB in {took:.2} s: {:.0} MiB/s, hashing and installing included",
            MEGABYTES as f64 / took
        );
        std::fs::remove_file(miner).unwrap();
    }
    for ((name, pid), idle) in pids.into_iter().zip(idle) {
        let most = kib(pid, "VmHWM");
        println!("{name}: idle {:.1} MiB, at most {:.1} MiB more", mib(idle), mib(most - idle));
    }
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn rigmesh(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rigmesh"));
    command.arg("--data-dir").arg(data).args(args);
    command
}

fn run(data: &Path, args: &[&str]) -> String {
    let output = rigmesh(data, args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn key(data: &Path) -> String {
    let id: serde_json::Value = serde_json::from_str(&run(data, &["id", "--json"])).unwrap();
    id["key"].as_str().unwrap().to_owned()
}

fn serve(data: &Path, listen: &str) -> (Killed, String) {
    let mut child = rigmesh(data, &["serve", "--listen", listen, "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = said["listen"].as_str().unwrap().trim_start_matches("ws://").to_owned();
    (Killed(child), address)
}

fn kib(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
