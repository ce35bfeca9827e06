//! A controller and a thousand rigs in other processes: connecting to all, sweeps of their statistics, and the same while a
//! tenth of them hangs (their process is stopped). `cargo bench --bench sweep`; SWEEP_RIGS says how many.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use rigmesh::base::Result;
use rigmesh::identity::PublicKey;
use rigmesh::miners::{MinerInstance, MinerManager, StartRequest};
use rigmesh::peers::{Grants, Peer};
use rigmesh::{Config, Node};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The variable that makes this program a process of rigs: how many, and their controller's key.
const CHILD: &str = "SWEEP_CHILD";
const PROCESSES: usize = 10;
const SWEEPS: usize = 50;

/// A rig at rest.
struct Resting;

impl MinerManager for Resting {
    fn start_miner(&self, _: &StartRequest) -> Result<Arc<dyn MinerInstance>> {
        Err(rigmesh::base::Error::Failed("at rest".to_owned()))
    }

    fn stop_miner(&self, name: &str) -> Result<()> {
        Err(rigmesh::base::Error::NotFound(name.to_owned()))
    }

    fn list_miners(&self) -> Vec<Arc<dyn MinerInstance>> {
        Vec::new()
    }

    fn miner(&self, name: &str) -> Result<Arc<dyn MinerInstance>> {
        Err(rigmesh::base::Error::NotFound(name.to_owned()))
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn config() -> Config {
    Config { low_power: true, connections_max: 3000, audit: false, ..Config::default() }
}

/// Rigs until standard input ends; a line with address and key for each.
fn rigs(said: &str) {
    let (count, key) = said.split_once(' ').unwrap();
    let (count, key): (usize, _) = (count.parse().unwrap(), PublicKey::from_base64(key).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Vec::new();
    for i in 0..count {
        let node = Node::builder()
            .data_dir(folder.path().join(i.to_string()))
            .config(config())
            .miners(Arc::new(Resting))
            .listen("127.0.0.1:0")
            .start()
            .unwrap();
        node.peers().allow(&key, Grants::CONTROLLER, "bench").unwrap();
        println!("{} {}", node.loopback_address().unwrap(), node.identity().public_key());
        nodes.push(node);
    }
    println!();
    let _ = std::io::stdin().read(&mut [0]);
}

fn main() {
    if let Ok(said) = std::env::var(CHILD) {
        return rigs(&said);
    }
    if std::env::args().any(|a| a == "--test" || a == "--list") {
        return;
    }
    let all: usize = std::env::var("SWEEP_RIGS").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let folder = tempfile::tempdir().unwrap();
    let boss = Node::builder().data_dir(folder.path()).config(Config { low_power: false, ..config() }).start().unwrap();
    let key = boss.identity().public_key();
    let mut processes = Vec::new();
    for _ in 0..PROCESSES {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.env(CHILD, format!("{} {key}", all / PROCESSES)).stdin(Stdio::piped()).stdout(Stdio::piped());
        processes.push(Killed(child.spawn().unwrap()));
    }
    let mut ids = Vec::new();
    for process in &mut processes {
        let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines().map_while(std::io::Result::ok);
        for line in lines.by_ref().take_while(|line| !line.is_empty()) {
            let (address, key) = line.split_once(' ').unwrap();
            let key = PublicKey::from_base64(key).unwrap();
            let id = key.node_id().to_string();
            let peer =
                Peer { id: id.clone(), public_key: key.to_base64(), address: address.to_owned(), ..Peer::default() };
            boss.peers().add_peer(peer).unwrap();
            ids.push(id);
        }
    }
    let controller = boss.controller();
    let begun = Instant::now();
    ids.iter().for_each(|id| drop(controller.connect(id).unwrap()));
    let took = begun.elapsed();
    println!(
        "{} rigs in {PROCESSES} processes, connected one after the other in {:.2} s",
        ids.len(),
        took.as_secs_f64()
    );

    let sweep = |deadline: Duration| {
        let at = Instant::now();
        let answered = controller.sweep_stats(&ids, deadline).iter().filter(|(_, stats)| stats.is_ok()).count();
        (at.elapsed(), answered)
    };
    let mut times: Vec<Duration> = (0..SWEEPS)
        .map(|_| sweep(Duration::from_secs(10)))
        .map(|(time, answered)| {
            assert_eq!(answered, ids.len());
            time
        })
        .collect();
    times.sort();
    println!("all answer: median {:.1} ms, longest {:.1} ms", ms(times[SWEEPS / 2]), ms(times[SWEEPS - 1]));

    let stopped = &processes[0].0;
    let pid = Pid::from_raw(i32::try_from(stopped.id()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let mut hung: Vec<(Duration, usize)> = (0..5).map(|_| sweep(Duration::from_secs(1))).collect();
    hung.sort();
    let (time, answered) = hung[2];
    println!("a tenth hangs, a deadline of 1 s: median {:.1} ms, {answered} answered", ms(time));
    kill_process(pid, Signal::CONT).unwrap();
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
