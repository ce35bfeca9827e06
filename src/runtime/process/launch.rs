//! `rigmesh __launch`: the moment between `fork` and `exec`, in a process of its own, because `unsafe`
//! code in the child of a threaded process is what this crate does without.
//!
//! It asks to be killed when the thread that started it ends (so no miner outlives us), checks that this has not
//! happened already, writes the pid file, and becomes the miner. Number, start time and death signal stay.

use super::pidfile::Record;
use rustix::process::{Pid, Signal};
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

/// The hidden subcommand's name.
pub(crate) const SUBCOMMAND: &str = "__launch";
/// The exit code when the program cannot be executed; the pid file says why.
const NOT_EXECUTED: i32 = 127;

/// The arguments that launch `program`, after our own binary's path.
pub(super) fn arguments(pid_file: &std::path::Path, program: Vec<OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec![SUBCOMMAND.into(), "--pid-file".into(), pid_file.into()];
    args.extend(["--parent".into(), std::process::id().to_string().into(), "--".into()]);
    args.extend(program);
    args
}

/// Runs the subcommand: `--pid-file FILE --parent PID -- PROGRAM ARGS…`. Returns, with an exit code, only
/// when it fails.
pub(crate) fn run(args: &[OsString]) -> i32 {
    match launch(args) {
        Ok(never) => match never {},
        Err(why) => {
            eprintln!("rigmesh: {why}");
            NOT_EXECUTED
        }
    }
}

fn launch(args: &[OsString]) -> Result<std::convert::Infallible, String> {
    let [pid_flag, pid_file, parent_flag, parent, dashes, program, rest @ ..] = args else {
        return Err(format!("{SUBCOMMAND} is called by rigmesh itself"));
    };
    if pid_flag != "--pid-file" || parent_flag != "--parent" || dashes != "--" {
        return Err(format!("{SUBCOMMAND} is called by rigmesh itself"));
    }
    let parent = parent.to_str().and_then(|p| p.parse().ok()).and_then(Pid::from_raw);
    let pid_file = PathBuf::from(pid_file);
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| format!("cannot tie the miner's life to ours: {e}"))?;
    if parent.is_none() || rustix::process::getppid() != parent {
        return Err("the parent is gone".into());
    }
    let shown = program.to_string_lossy().into_owned();
    let record = Record::of_self(shown.clone()).map_err(|e| e.to_string())?;
    record.write(&pid_file).map_err(|e| e.to_string())?;
    let error = Command::new(program).args(rest).exec();
    let why = format!("cannot execute {shown}: {error}");
    Record { error: Some(why.clone()), ..record }.write(&pid_file).map_err(|e| e.to_string())?;
    Err(why)
}
