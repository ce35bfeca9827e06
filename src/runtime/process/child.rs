//! One running child: its group, its output, its end.

use super::launch;
use super::pidfile::{MARK_VARIABLE, Record};
use super::plan::{CHILD_RUNNER_VARIABLE, Launch, MinerSettings};
use crate::base::{Error, Result, Rng};
use crate::miners::console::{Console, Lines};
use crate::miners::supervise::Exit;
use crate::runtime::clock::wall;
use crate::runtime::files::atomic;
use crate::runtime::files::protect::PASSPHRASE_FILE_VARIABLE;
use crate::runtime::service::{ARENAS_VARIABLE, SOCKET_VARIABLE, WATCHDOG_PID_VARIABLE, WATCHDOG_VARIABLE};
use parking_lot::Mutex;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes taken from one stream in one turn, so that a flood of output delays nothing else.
const TURN_BYTES: usize = 64 * 1024;
/// Bytes still taken after the end.
const LAST_BYTES: usize = 1024 * 1024;
/// How long the last resort waits for a killed child.
const REAP_WITHIN: Duration = Duration::from_secs(1);

/// A child in a process group of its own. Dropping it kills the group and reaps it.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    pid: Pid,
    /// Becomes readable when the child ends; `None` on kernels before 5.3.
    pidfd: Option<OwnedFd>,
    out: Stream<ChildStdout>,
    err: Stream<ChildStderr>,
    pid_file: PathBuf,
    reaped: bool,
}

/// One output stream and its line in the making; `pipe` is `None` after its end.
#[derive(Debug)]
struct Stream<T> {
    pipe: Option<T>,
    lines: Lines,
}

impl Running {
    /// Starts `launch` through our own binary. The calling thread must outlive the child: the kernel kills
    /// the child when it ends.
    pub(super) fn spawn(settings: &MinerSettings, name: &str, launch: &Launch, rng: &mut Rng) -> Result<Running> {
        let pid_file = settings.run_folder().join(format!("{name}.pid"));
        atomic::create_folder(&settings.run_folder())?;
        let mut line: Vec<OsString> = settings.wrapper.iter().map(OsString::from).collect();
        line.push(settings.binary.clone().into());
        line.extend(launch::arguments(&pid_file, launch.program.clone()));
        let mut line = line.into_iter();
        let mut child = Command::new(line.next().unwrap_or_default())
            .args(line)
            .env_remove(PASSPHRASE_FILE_VARIABLE)
            .env_remove(CHILD_RUNNER_VARIABLE)
            // A miner that spoke to the service manager would speak for us.
            .env_remove(SOCKET_VARIABLE)
            .env_remove(WATCHDOG_VARIABLE)
            .env_remove(WATCHDOG_PID_VARIABLE)
            // It fits a node; what fits a miner is for its profile to say.
            .env_remove(ARENAS_VARIABLE)
            .envs(&launch.env)
            .env(MARK_VARIABLE, hex::encode(rng.array::<16>()))
            .current_dir(&launch.cwd)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|e| {
                Error::io(format!("cannot start {} in {}", settings.binary.display(), launch.cwd.display()), &e)
            })?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        for fd in [out.as_ref().map(AsFd::as_fd), err.as_ref().map(AsFd::as_fd)].into_iter().flatten() {
            // Never fails for a pipe; a blocking read would only delay this miner's own thread.
            let _ = rustix::io::ioctl_fionbio(fd, true);
        }
        let pid = Pid::from_child(&child);
        let lines = || Lines::new(launch.secrets.clone());
        Ok(Running {
            child,
            pid,
            pidfd: rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok(),
            out: Stream { pipe: out, lines: lines() },
            err: Stream { pipe: err, lines: lines() },
            pid_file,
            reaped: false,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// The output streams that have not ended.
    pub(super) fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let out = self.out.pipe.as_ref().map(AsFd::as_fd);
        out.into_iter().chain(self.err.pipe.as_ref().map(AsFd::as_fd))
    }

    /// Whether the child has ended. It is not reaped yet: its number, and so its group's, stays taken.
    pub(super) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error: somebody else reaps the children of this process. It is gone all the same.
        rustix::process::waitid(WaitId::Pid(self.pid), options).map_or(true, |status| status.is_some())
    }

    /// Signals the whole group.
    pub(super) fn signal(&self, signal: Signal) {
        if !self.reaped {
            let _ = rustix::process::kill_process_group(self.pid, signal);
        }
    }

    /// Takes what was written.
    pub(super) fn read(&mut self, console: &Mutex<Console>) {
        self.out.read(console, TURN_BYTES);
        self.err.read(console, TURN_BYTES);
    }

    /// After the end: kills what is left of the group, takes the last output, reaps the child, removes its pid file.
    pub(super) fn finish(mut self, console: &Mutex<Console>) -> Exit {
        self.signal(Signal::KILL);
        let status = self.child.wait();
        self.reaped = true;
        self.out.finish(console);
        self.err.finish(console);
        let not_executed = Record::read(&self.pid_file).ok().flatten().and_then(|record| record.error);
        let how = match (&not_executed, status) {
            (Some(why), _) => why.clone(),
            (None, Err(_)) => "ended".into(),
            (None, Ok(status)) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exited with status {code}"),
                (None, Some(signal)) => format!("killed by signal {signal}"),
                (None, None) => "ended".into(),
            },
        };
        let tail = if not_executed.is_some() { String::new() } else { console.lock().tail() };
        Exit { how, not_executed: not_executed.is_some(), tail }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(Signal::KILL);
            let until = Instant::now() + REAP_WITHIN;
            while matches!(self.child.try_wait(), Ok(None)) {
                if Instant::now() >= until {
                    // The pid file stays: the next start finds it.
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if let Err(e) = atomic::remove(&self.pid_file) {
            log::warn!(target: "miner", error:% = e; "cannot remove a pid file");
        }
    }
}

impl<T: Read> Stream<T> {
    /// Takes at most about `bytes_max` bytes without blocking.
    fn read(&mut self, console: &Mutex<Console>, bytes_max: usize) {
        let Some(pipe) = &mut self.pipe else { return };
        let (mut piece, mut taken) = ([0; 8192], 0);
        let ended = loop {
            match pipe.read(&mut piece) {
                Ok(0) => break true,
                Ok(n) => {
                    let at = wall().unix_millis();
                    let mut console = console.lock();
                    self.lines.feed(piece.get(..n).unwrap_or_default(), |line| console.push(at, line));
                    taken += n;
                    if taken >= bytes_max {
                        break false;
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => break e.kind() != ErrorKind::WouldBlock,
            }
        };
        if ended {
            self.pipe = None;
        }
    }

    fn finish(&mut self, console: &Mutex<Console>) {
        self.read(console, LAST_BYTES);
        self.pipe = None;
        if let Some(line) = self.lines.finish() {
            console.lock().push(wall().unix_millis(), line);
        }
    }
}
