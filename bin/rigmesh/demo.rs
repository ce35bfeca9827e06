//! `demo`: three rigs and a controller on this machine, over real sockets, with real miner processes
//! in temporary folders. Ends with 0 only if every step worked, and leaves nothing behind.

use crate::exit::{self, Exit};
use crate::output::Out;
use crate::table;
use rigmesh::base::Error;
use rigmesh::control::{Request, Rigs, Summary};
use rigmesh::identity::Role;
use rigmesh::miners::MinerManager;
use rigmesh::peers::Grants;
use rigmesh::{FileProfileManager, MinerSettings, Node, ProcessMinerManager};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const RIGS: usize = 3;
/// Long enough to see a hashrate at all.
const SECONDS_MIN: u64 = 2;
const SECONDS_MAX: u64 = 3600;
/// How long a rig may take to show a hashrate, however short the demo is.
const HASHRATE_MAX: Duration = Duration::from_secs(15);
/// How long a stopped miner may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(5);
const MINER: &str = "sha256d";

pub(crate) fn demo(out: &Out, seconds: u64) -> Result<(), Exit> {
    if !(SECONDS_MIN..=SECONDS_MAX).contains(&seconds) {
        return Err(Exit::usage(format!("--seconds takes {SECONDS_MIN} to {SECONDS_MAX}")));
    }
    let interrupted = Interrupted::watch()?;
    let folder = Folder::make()?;
    say(out, "1. making four identities, and starting three rigs and a controller on loopback");
    let mut fleet = Fleet::start(&folder.path)?;
    let result = fleet.play(out, Duration::from_secs(seconds), &interrupted);
    // Whatever happened: everything is ended, and what is left over is a failure too.
    let ended = fleet.end();
    drop(folder);
    match (interrupted.signal(), result, ended) {
        (Some(signal), ..) => {
            Err(Exit::new(exit::SIGNAL.saturating_add(signal), "interrupted; everything was cleaned up"))
        }
        (None, Err(e), _) | (None, Ok(()), Err(e)) => Err(e),
        (None, Ok(()), Ok(())) => {
            say(out, "every step worked; nothing is left behind");
            Ok(())
        }
    }
}

fn say(out: &Out, message: &str) {
    out.say(message);
}

/// The steps failed here.
fn failed(step: &str, why: impl std::fmt::Display) -> Exit {
    Exit::new(exit::FAILED, format!("the demo failed: {step}: {why}"))
}

struct Rig {
    node: Node,
    miners: Arc<ProcessMinerManager>,
}

struct Fleet {
    controller: Option<Node>,
    rigs: Vec<Rig>,
    /// Every miner process that was seen.
    pids: Vec<u32>,
}

impl Fleet {
    fn start(folder: &Path) -> Result<Fleet, Exit> {
        let controller =
            Node::builder().data_dir(folder.join("controller")).role(Role::Controller).name("controller").start();
        let controller = controller.map_err(|e| failed("starting the controller", e))?;
        let key = controller.identity().public_key();
        let mut fleet = Fleet { controller: Some(controller), rigs: Vec::new(), pids: Vec::new() };
        for i in 1..=RIGS {
            let name = format!("rig-{i}");
            let step = format!("starting {name}");
            let data = folder.join(&name);
            let mut settings = MinerSettings::new(&data);
            settings.policy.probe_interval = Duration::from_millis(500);
            let miners = Arc::new(ProcessMinerManager::new(settings).map_err(|e| failed(&step, e))?);
            let node = Node::builder()
                .data_dir(&data)
                .role(Role::Worker)
                .name(&name)
                .listen("127.0.0.1:0")
                .miners(miners.clone())
                .profiles(Arc::new(FileProfileManager::new(&data)))
                .start()
                .map_err(|e| failed(&step, e))?;
            node.peers().allow(&key, Grants::CONTROLLER, "demo").map_err(|e| failed(&step, e))?;
            let address = node.loopback_address().ok_or_else(|| failed(&step, "it does not listen"))?;
            let add = Request::PeersAdd {
                address,
                key: Some(node.identity().public_key().to_base64()),
                name: Some(name),
                grant: None,
                trust_first: false,
            };
            fleet.rigs.push(Rig { node, miners });
            fleet.ask(&step, add)?;
        }
        Ok(fleet)
    }

    /// Has the controller carry a request out; any failure ends the demo.
    fn ask(&self, step: &str, request: Request) -> Result<Vec<Value>, Exit> {
        let (rows, summary) = self.try_ask(step, request)?;
        match rows.iter().find_map(|row| Some((row, table::failure(row)?))) {
            Some((row, failure)) => Err(failed(step, format!("{}: {}", table::text(row, "rig"), failure.message))),
            None if summary.failed > 0 => Err(failed(step, "without a reason")),
            None => Ok(rows),
        }
    }

    fn try_ask(&self, step: &str, request: Request) -> Result<(Vec<Value>, Summary), Exit> {
        let controller = self.controller.as_ref().ok_or_else(|| failed(step, Error::ShuttingDown))?;
        let mut rows = Vec::new();
        let summary = controller.execute(request, &mut |row| rows.push(row)).map_err(|e| failed(step, e))?;
        Ok((rows, summary))
    }

    fn play(&mut self, out: &Out, shown: Duration, interrupted: &Interrupted) -> Result<(), Exit> {
        say(out, "2. starting a miner on each rig");
        let start = Request::Start {
            rigs: Rigs::all(),
            miner_type: MINER.to_owned(),
            profile: None,
            config: Some(json!({"threads": 1, "intensity": 20})),
        };
        let started = self.ask("starting the miners", start)?;
        self.note_pids();
        say(out, "3. watching the fleet");
        self.watch(out, shown, interrupted)?;
        if interrupted.signal().is_some() {
            return Ok(());
        }
        say(out, "4. reading the logs");
        let logs =
            self.ask("reading the logs", Request::Logs { rigs: Rigs::all(), miner: None, lines: 3, since_ms: None })?;
        for row in &logs {
            let lines: Vec<&str> =
                row.get("lines").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
            if lines.is_empty() {
                return Err(failed("reading the logs", format!("{} has none", table::text(row, "rig"))));
            }
            for line in lines {
                show(out, row, || format!("{}: {}", table::text(row, "rig"), table::safe(line)))?;
            }
        }
        say(out, "5. stopping the miners");
        self.note_pids();
        let stopped =
            self.ask("stopping the miners", Request::Stop { rigs: Rigs::all(), miner: None, all_miners: true })?;
        for row in &stopped {
            show(out, row, || format!("{}: stopped {}", table::text(row, "rig"), table::text(row, "miner")))?;
        }
        match (started.len(), logs.len(), stopped.len()) {
            (RIGS, RIGS, RIGS) => Ok(()),
            counts => Err(failed("counting the answers", format!("{counts:?} instead of {RIGS} each"))),
        }
    }

    /// Shows the fleet each second. Every rig must have shown a hashrate in the end.
    fn watch(&mut self, out: &Out, shown: Duration, interrupted: &Interrupted) -> Result<(), Exit> {
        let begin = Instant::now();
        let mut hashing = [false; RIGS];
        loop {
            let request = Request::Status { rigs: Rigs::all(), timeout_ms: 5000 };
            let rows = self.ask("asking for the status", request)?;
            for (seen, row) in hashing.iter_mut().zip(&rows) {
                let rates = row.get("miners").and_then(Value::as_array).into_iter().flatten();
                *seen |= rates.filter_map(|m| m.get("hashrate_hs")?.as_f64()).any(|rate| rate > 0.0);
            }
            if out.json() {
                rows.iter().try_for_each(|row| out.row(row))?;
            } else {
                out.clear()?;
                out.text(&table::status(&rows, out.colour()))?;
            }
            self.note_pids();
            let all = hashing.iter().all(|seen| *seen);
            if interrupted.signal().is_some() || (all && begin.elapsed() >= shown) {
                return Ok(());
            }
            if begin.elapsed() >= shown.max(HASHRATE_MAX) {
                return Err(failed("watching the fleet", "not every rig showed a hashrate"));
            }
            interrupted.sleep(
                Duration::from_secs(1).min(shown.saturating_sub(begin.elapsed()).max(Duration::from_millis(200))),
            );
        }
    }

    fn note_pids(&mut self) {
        for rig in &self.rigs {
            let pids = rig.miners.list_miners().into_iter().filter_map(|m| m.stats().ok()?.pid);
            for pid in pids {
                if !self.pids.contains(&pid) {
                    self.pids.push(pid);
                }
            }
        }
    }

    /// Ends all nodes, the controller first, and waits until no miner is left.
    fn end(&mut self) -> Result<(), Exit> {
        let mut result = Ok(());
        if let Some(controller) = self.controller.take()
            && let Err(e) = controller.shutdown()
        {
            result = Err(failed("stopping the controller", e));
        }
        for rig in self.rigs.drain(..) {
            if let Err(e) = rig.node.shutdown() {
                result = Err(failed("stopping a rig", e));
            }
        }
        let end = Instant::now() + GONE_MAX;
        while self.pids.iter().any(|pid| is_our_child(*pid)) {
            if Instant::now() >= end {
                return Err(failed("ending the miners", "a miner process is still there"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if result.is_ok() && self.pids.len() < RIGS {
            return Err(failed("counting the miners", format!("{} processes were seen", self.pids.len())));
        }
        result
    }
}

/// Whether there is a process of this number, and it is a child of ours.
fn is_our_child(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // pid (name) state parent …; the name may hold anything.
    let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
    parent == Some(std::process::id())
}

/// A row as JSON or as text.
fn show(out: &Out, row: &Value, text: impl Fn() -> String) -> Result<(), Exit> {
    if out.json() { out.row(row) } else { out.text(&text()) }
}

/// A temporary folder, private, removed at the end.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn make() -> Result<Folder, Exit> {
        let path = std::env::temp_dir().join(format!("rigmesh-demo-{}", std::process::id()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|e| {
            Exit::new(exit::CONFIG, format!("cannot make the folder {}: {e}; set TMPDIR", path.display()))
        })?;
        Ok(Folder { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// SIGINT and SIGTERM end the demo at the next second, cleaned up.
struct Interrupted {
    int: Arc<AtomicBool>,
    term: Arc<AtomicBool>,
}

impl Interrupted {
    fn watch() -> Result<Interrupted, Exit> {
        let watched = Interrupted { int: Arc::default(), term: Arc::default() };
        for (signal, flag) in [(SIGINT, &watched.int), (SIGTERM, &watched.term)] {
            signal_hook::flag::register(signal, flag.clone())
                .map_err(|e| Exit::new(exit::FAILED, format!("cannot watch signals: {e}")))?;
        }
        Ok(watched)
    }

    fn signal(&self) -> Option<u8> {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if is(&self.int) { Some(2) } else { is(&self.term).then_some(15) }
    }

    /// Sleeps in small pieces, to notice a signal soon.
    fn sleep(&self, time: Duration) {
        let end = Instant::now() + time;
        while self.signal().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50).min(time));
        }
    }
}
