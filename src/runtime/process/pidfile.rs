//! Pid files: which process a miner is, so certain that it can be killed by it even after this
//! process was killed itself, and never another one that got its number.
//!
//! A process is the one of the file when boot, number and start time are the same. Members of its group that
//! outlived it are told by a mark in their environment, made for each launch.

use crate::base::{Error, Result, check_json};
use crate::runtime::files::atomic;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The environment variable that carries the mark of a launch.
pub(super) const MARK_VARIABLE: &str = "RIGMESH_LAUNCH";
const BYTES_MAX: usize = 16 * 1024;
/// How long a killed leftover may take to vanish.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// What a pid file says. Written by the launcher about itself, just before it becomes the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The process, also the number of its group.
    pub(super) pid: i32,
    /// Its start in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub(super) start_ticks: u64,
    /// The boot those ticks count from.
    pub(super) boot: String,
    /// The mark of this launch.
    pub(super) mark: String,
    /// The program, for people.
    pub(super) program: String,
    /// Why the program could not be executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl Record {
    /// The record of the calling process.
    pub(super) fn of_self(program: String) -> Result<Record> {
        let pid = rustix::process::getpid();
        let stat = stat(pid).ok_or_else(|| Error::Failed("cannot read /proc/self/stat".into()))?;
        let mark = std::env::var(MARK_VARIABLE).unwrap_or_default();
        Ok(Record {
            pid: pid.as_raw_nonzero().get(),
            start_ticks: stat.start_ticks,
            boot: boot_id(),
            mark,
            program,
            error: None,
        })
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).map_err(|e| Error::Failed(format!("cannot encode a pid file: {e}")))?;
        atomic::write(path, &bytes, 0o600)
    }

    pub(super) fn read(path: &Path) -> Result<Option<Record>> {
        let Some(bytes) = atomic::read(path, BYTES_MAX)? else { return Ok(None) };
        let text = check_json("pid file", &bytes)?;
        serde_json::from_str(text).map(Some).map_err(|e| Error::malformed("pid file", e.to_string()))
    }

    /// The processes of this launch that are alive: its leader, and members of its group with its mark.
    fn alive(&self) -> Vec<Pid> {
        if self.boot != boot_id() || self.pid <= 1 {
            return Vec::new();
        }
        let mark = format!("{MARK_VARIABLE}={}", self.mark);
        let ours = |pid: &Pid| {
            let Some(stat) = stat(*pid) else { return false };
            let leader = pid.as_raw_nonzero().get() == self.pid && stat.start_ticks == self.start_ticks;
            !stat.dead && (leader || (stat.group == self.pid && !self.mark.is_empty() && has_variable(*pid, &mark)))
        };
        processes().into_iter().filter(ours).collect()
    }
}

/// Kills what earlier runs left behind, removes their pid files and configurations, and returns the names
/// of the miners something was left of. Call it only while owning the data folder, before any start.
pub(super) fn clean_leftovers(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for path in files_in(folder) {
        let Some(file) = path.file_name().and_then(|n| n.to_str()) else { continue };
        if let Some(name) = file.strip_suffix(".pid") {
            match Record::read(&path) {
                Ok(Some(record)) if kill_all(name, &record) => found.push(name.to_owned()),
                Ok(_) => {}
                Err(e) => log::warn!(target: "miner", name, error:% = e; "ignoring a broken pid file"),
            }
        } else if !file.ends_with(".config.json") && !file.ends_with(".tmp") {
            continue;
        }
        if let Err(e) = atomic::remove(&path) {
            log::warn!(target: "miner", error:% = e; "cannot remove a file of an earlier run");
        }
    }
    found.sort();
    found
}

/// Kills the processes of a launch; whether there were any.
fn kill_all(name: &str, record: &Record) -> bool {
    let until = Instant::now() + GONE_WITHIN;
    let mut any = false;
    loop {
        let alive = record.alive();
        if alive.is_empty() {
            return any;
        }
        if Instant::now() >= until {
            log::error!(target: "miner", name, pid = record.pid; "a process of an earlier run cannot be killed");
            return any;
        }
        any = true;
        for pid in alive {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

fn processes() -> Vec<Pid> {
    let number = |path: PathBuf| Pid::from_raw(path.file_name()?.to_str()?.parse().ok()?);
    files_in(Path::new("/proc")).into_iter().filter_map(number).collect()
}

struct Stat {
    dead: bool,
    group: i32,
    start_ticks: u64,
}

fn stat(pid: Pid) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?)
}

/// The program's name stands in parentheses and may itself hold spaces and parentheses: fields count from the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let dead = matches!(fields.next()?, "Z" | "X" | "x");
    let group = fields.nth(1)?.parse().ok()?;
    let start_ticks = fields.nth(16)?.parse().ok()?;
    Some(Stat { dead, group, start_ticks })
}

fn has_variable(pid: Pid, variable: &str) -> bool {
    std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()))
        .is_ok_and(|environ| environ.split(|c| *c == 0).any(|v| v == variable.as_bytes()))
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    fn record(pid: u32, mark: &str) -> Record {
        let pid = i32::try_from(pid).unwrap();
        let start_ticks = stat(Pid::from_raw(pid).unwrap()).unwrap().start_ticks;
        Record { pid, start_ticks, boot: boot_id(), mark: mark.into(), program: "sh".into(), error: None }
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = parse_stat("7 (a) Z (b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2").unwrap();
        assert_eq!((stat.dead, stat.group, stat.start_ticks), (false, 7, 98765));
        assert!(parse_stat("7 (a) S 1").is_none() && parse_stat("").is_none());
    }

    #[test]
    fn a_leftover_is_killed_with_its_group_and_its_files_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new("/bin/sh").args(["-c", "sleep 100 & sleep 100"]).process_group(0).spawn().unwrap();
        record(child.id(), "").write(&dir.path().join("left.pid")).unwrap();
        std::fs::write(dir.path().join("left.config.json"), "{}").unwrap();
        assert_eq!(clean_leftovers(dir.path()), ["left"]);
        assert!(!child.wait().unwrap().success());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_member_that_outlived_its_leader_is_known_by_its_mark() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new("/bin/sh")
            .args(["-c", "sleep 100 & read go"])
            .env(MARK_VARIABLE, "m1")
            .stdin(std::process::Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let record = record(child.id(), "m1");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(record.alive().len(), 1);
        assert!(Record { mark: "m2".into(), ..record.clone() }.alive().is_empty());
        record.write(&dir.path().join("left.pid")).unwrap();
        assert_eq!(clean_leftovers(dir.path()), ["left"]);
        assert!(record.alive().is_empty());
    }

    #[test]
    fn another_process_with_the_same_number_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new("/bin/sleep").arg("100").process_group(0).spawn().unwrap();
        let right = record(child.id(), "m");
        for wrong in [
            Record { start_ticks: right.start_ticks + 1, ..right.clone() },
            Record { boot: "another".into(), ..right.clone() },
            Record { pid: 1, ..right.clone() },
        ] {
            wrong.write(&dir.path().join("other.pid")).unwrap();
            assert!(clean_leftovers(dir.path()).is_empty());
            assert!(child.try_wait().unwrap().is_none());
        }
        std::fs::write(dir.path().join("broken.pid"), "{").unwrap();
        assert!(clean_leftovers(dir.path()).is_empty());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
