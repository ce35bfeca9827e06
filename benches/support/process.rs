//! A serving node as a process of its own, and what the system says of it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A node that is ended with this.
pub(crate) struct Serving {
    child: Child,
    /// Where it listens.
    pub(crate) at: SocketAddr,
}

#[allow(dead_code, reason = "not every bench asks for everything")]
impl Serving {
    /// Starts it, and waits for the line in which it says where it listens.
    pub(crate) fn start(command: &mut Command) -> Serving {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let at = lines.find_map(|line| {
            let from = line.find("127.0.0.1:")?;
            let address = |c: &char| c.is_ascii_digit() || matches!(c, '.' | ':');
            line[from..].chars().take_while(address).collect::<String>().parse().ok()
        });
        // Whatever it says later is read by nobody, and must not end it.
        std::thread::spawn(move || lines.for_each(drop));
        Serving { child, at: at.unwrap() }
    }

    /// A number of `/proc/PID/status`, such as `VmRSS` in KiB.
    pub(crate) fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// How long its threads have computed so far, to 10 ms.
    pub(crate) fn computed(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = |n: usize| fields.split_whitespace().nth(n).unwrap().parse::<u64>().unwrap();
        Duration::from_millis(10 * (ticks(11) + ticks(12)))
    }

    /// Its open files and sockets.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// That binary with the data of a folder.
#[allow(dead_code, reason = "not every bench asks for everything")]
pub(crate) fn rigmesh(binary: &str, folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.arg("--data-dir").arg(folder).args(args);
    command
}

/// Has it carry out one command, which must succeed.
#[allow(dead_code, reason = "not every bench asks for everything")]
pub(crate) fn run(binary: &str, folder: &Path, args: &[&str]) -> Output {
    let output = rigmesh(binary, folder, args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    output
}

/// The public key of the node in a folder.
#[allow(dead_code, reason = "not every bench asks for everything")]
pub(crate) fn key(binary: &str, folder: &Path) -> String {
    let id: serde_json::Value = serde_json::from_slice(&run(binary, folder, &["id", "--json"]).stdout).unwrap();
    id["key"].as_str().unwrap().to_owned()
}

/// The binary under measurement: this build's, or the one that `RIGMESH_BINARY` names, such as the static one that is shipped.
pub(crate) fn binary() -> String {
    std::env::var("RIGMESH_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_rigmesh").to_owned())
}
