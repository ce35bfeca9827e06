//! A user at a shell: runs commands in folders of its own and reads what comes back.

use crate::support::eventually;
use serde_json::Value;
use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

pub const BINARY: &str = env!("CARGO_BIN_EXE_rigmesh");
/// No command of these tests may take longer.
const COMMAND_MAX: Duration = Duration::from_secs(40);

/// What a command gave back.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Answer {
    /// The rows of a command with `--json`.
    pub fn rows(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"))).collect()
    }

    /// It worked.
    pub fn ok(self) -> Answer {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// It failed with this code and one line on standard error that has these words in it.
    pub fn fails(self, code: i32, words: &[&str]) -> Answer {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "one clear line: {self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in it: {self:?}");
        }
        self
    }
}

/// A node's folder, and the commands of its owner.
pub struct Folder {
    dir: tempfile::TempDir,
    /// What `RIGMESH_PASSPHRASE_FILE` says to its commands.
    passphrase_file: RefCell<Option<PathBuf>>,
    /// What else its commands find in their environment.
    environment: RefCell<Vec<(String, OsString)>>,
}

impl Folder {
    /// An empty one.
    pub fn new() -> Folder {
        // Short, for the socket's path.
        let dir = tempfile::Builder::new().prefix("rm").tempdir().unwrap();
        Folder { dir, passphrase_file: RefCell::default(), environment: RefCell::default() }
    }

    /// One with an identity.
    pub fn init(role: &str, name: &str) -> Folder {
        let folder = Folder::new();
        folder.run(&["init", "--role", role, "--name", name]).ok();
        folder
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.data().join(file)
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn write(&self, file: &str, text: &str) -> PathBuf {
        std::fs::create_dir_all(self.data()).unwrap();
        std::fs::write(self.path(file), text).unwrap();
        self.path(file)
    }

    /// From here on the environment names this file for the pass-phrase, or none.
    pub fn name_passphrase_file(&self, path: Option<&Path>) {
        *self.passphrase_file.borrow_mut() = path.map(Path::to_owned);
    }

    /// From here on its commands find this in their environment.
    pub fn set_environment(&self, name: &str, value: impl Into<OsString>) {
        self.environment.borrow_mut().push((name.to_owned(), value.into()));
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.envs(self.environment.borrow().iter().cloned()).args(args).arg("--data-dir").arg(self.data());
        match &*self.passphrase_file.borrow() {
            Some(path) => command.env("RIGMESH_PASSPHRASE_FILE", path),
            None => command.env_remove("RIGMESH_PASSPHRASE_FILE"),
        };
        command
    }

    /// Runs a command in this folder.
    pub fn run(&self, args: &[&str]) -> Answer {
        self.input(args, "")
    }

    /// Runs a command line as it was printed, without its first word.
    pub fn run_line(&self, line: &str) -> Answer {
        let words = line.strip_prefix("rigmesh ").unwrap_or_else(|| panic!("{line:?} is no command line"));
        self.run(&words.split(' ').map(|w| w.trim_matches('\'')).collect::<Vec<_>>())
    }

    /// The same with `--json`; it must work.
    pub fn rows(&self, args: &[&str]) -> Vec<Value> {
        let mut args = args.to_vec();
        args.push("--json");
        self.run(&args).ok().rows()
    }

    pub fn input(&self, args: &[&str], input: &str) -> Answer {
        let mut child =
            self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        gather(&mut child, args)
    }

    pub fn key(&self) -> String {
        self.rows(&["id"])[0]["key"].as_str().unwrap().to_owned()
    }

    pub fn id(&self) -> String {
        self.rows(&["id"])[0]["id"].as_str().unwrap().to_owned()
    }

    /// Begins a command and does not wait for it.
    pub fn spawn(&self, args: &[&str]) -> Running {
        let mut command = self.command(args);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Running { child }
    }

    /// Starts the daemon on a free port, and returns when it says what it listens on.
    pub fn serve(&self) -> Daemon {
        self.serve_with(&["--listen", "127.0.0.1:0"])
    }

    pub fn serve_with(&self, args: &[&str]) -> Daemon {
        self.daemon(&[&["serve"], args].concat())
    }

    /// Starts a command that runs until it is stopped, and returns when it has said its first line.
    pub fn daemon(&self, args: &[&str]) -> Daemon {
        let log = std::fs::OpenOptions::new().append(true).create(true).open(self.dir.path().join("log")).unwrap();
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "no daemon: {}", self.log());
        Daemon { child, line: line.trim_end().to_owned(), lines }
    }

    /// What the daemons of this folder logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The process of a miner, by its pid file.
    pub fn miner_pid(&self, miner: &str) -> Option<u32> {
        let text = std::fs::read(self.path(&format!("run/{miner}.pid"))).ok()?;
        let pid = serde_json::from_slice::<Value>(&text).ok()?["pid"].as_u64()? as u32;
        is_alive(pid).then_some(pid)
    }

    /// Waits for a miner's process other than `old`.
    pub fn await_miner(&self, miner: &str, old: Option<u32>) -> u32 {
        let mut found = None;
        eventually(&format!("{miner} to run"), 20, || {
            found = self.miner_pid(miner).filter(|pid| Some(*pid) != old);
            found.is_some()
        });
        found.unwrap()
    }
}

/// A command under way.
pub struct Running {
    child: Child,
}

impl Running {
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    pub fn wait(mut self) -> Answer {
        gather(&mut self.child, &["a command that was spawned"])
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a command gives until it ends.
fn gather(child: &mut Child, args: &[&str]) -> Answer {
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let read = std::thread::spawn(move || {
        let mut text = String::new();
        err.read_to_string(&mut text).unwrap();
        text
    });
    let begin = Instant::now();
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    let code = child.wait().unwrap().code().unwrap_or(-1);
    assert!(begin.elapsed() < COMMAND_MAX, "{args:?} took {:?}", begin.elapsed());
    Answer { code, out: text, err: read.join().unwrap() }
}

/// A running `serve`; ended when dropped.
pub struct Daemon {
    child: Child,
    /// What it said it does.
    pub line: String,
    lines: BufReader<ChildStdout>,
}

impl Daemon {
    /// Where it listens, as in its line.
    pub fn address(&self) -> String {
        let (_, rest) = self.line.split_once("://").unwrap_or_else(|| panic!("no address in {:?}", self.line));
        rest.split(';').next().unwrap().to_owned()
    }

    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// SIGTERM, and the exit code that follows.
    pub fn stop(mut self) -> i32 {
        self.signal("TERM");
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        let mut more = String::new();
        self.lines.read_to_string(&mut more).unwrap();
        assert!(more.is_empty(), "one line and no more, but: {more:?}");
        code
    }

    /// Waits until it ends by itself; the exit code, and what else it said.
    pub fn finish(mut self) -> (i32, String) {
        let mut more = String::new();
        self.lines.read_to_string(&mut more).unwrap();
        (self.child.wait().unwrap().code().unwrap_or(-1), more)
    }

    /// As if the power failed.
    pub fn kill(mut self) {
        self.signal("KILL");
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal to a process of ours.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(status.success(), "kill -{name} {pid}");
}

/// Whether the process is there and no zombie.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

pub fn await_gone(pid: u32) {
    eventually(&format!("process {pid} to be gone"), 20, || !is_alive(pid));
}

/// A rig with its daemon and a controller that may command it and knows it as `rig-1`.
pub struct Pair {
    pub rig: Folder,
    pub controller: Folder,
    pub daemon: Daemon,
}

impl Pair {
    pub fn new() -> Pair {
        Pair::with_config("{}")
    }

    pub fn with_config(config: &str) -> Pair {
        let (rig, controller) = (Folder::init("worker", "rig-1"), Folder::init("controller", "boss"));
        rig.write("config.json", config);
        rig.run(&["peers", "allow", &controller.key(), "--grant", "controller", "--name", "boss"]).ok();
        let daemon = rig.serve();
        controller.run(&["peers", "add", &daemon.address(), "--key", &rig.key(), "--name", "rig-1"]).ok();
        Pair { rig, controller, daemon }
    }

    /// Restarts the daemon after `end` has ended it; the controller learns the new port.
    pub fn restarted(self, end: impl FnOnce(Daemon)) -> Pair {
        let Pair { rig, controller, daemon } = self;
        let address = daemon.address();
        end(daemon);
        let daemon = rig.serve_with(&["--listen", &address]);
        Pair { rig, controller, daemon }
    }

    /// The rig's miners as the controller sees them.
    pub fn miners(&self) -> Vec<Value> {
        self.controller.rows(&["status", "rig-1"])[0]["miners"].as_array().unwrap().clone()
    }

    /// Waits until the controller sees the only miner in one of these states, and gives its row.
    pub fn await_state(&self, states: &[&str]) -> Value {
        let mut found = Value::Null;
        eventually(&format!("the miner to be one of {states:?}"), 30, || {
            found = self.miners().first().cloned().unwrap_or_default();
            states.iter().any(|state| found["state"] == *state)
        });
        found
    }
}
