//! `rigmesh __hash --config=FILE`: the built-in CPU hasher, a child process like any other miner. It computes
//! double SHA-256 of made-up headers and earns nothing: it is there so that everything around a miner can be
//! tried without downloading one. Its API has XMRig's form ([`api`]), its output looks like a miner's.

mod api;
mod rates;
mod work;

use crate::base::{Error, Result, Rng, check_json};
use crate::runtime::clock::system_rng;
use crate::runtime::files::atomic;
use crossbeam_channel::{RecvTimeoutError, bounded};
use rates::Rates;
use serde::Deserialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use work::Work;

/// The hidden subcommand's name.
pub(crate) const SUBCOMMAND: &str = "__hash";
const CONFIG_BYTES_MAX: usize = 64 * 1024;
/// How often the rate is measured, and printed.
const TICK: Duration = Duration::from_secs(1);
const SPEED_EVERY_TICKS: u32 = 5;

/// What the miner's thread wrote for this launch.
#[derive(Deserialize)]
struct Config {
    name: String,
    port: u16,
    token: String,
    threads: u32,
    /// Share of each thread's time, in percent.
    intensity: u32,
}

/// Runs until SIGTERM or SIGINT. The exit code.
pub(crate) fn run(args: &[OsString]) -> i32 {
    match try_run(args) {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("rigmesh: the built-in hasher: {e}");
            1
        }
    }
}

fn try_run(args: &[OsString]) -> Result<()> {
    let config = read_config(&config_path(args)?)?;
    let io = |what: &str, e: &std::io::Error| Error::io(what, e);
    // First of all, so that no signal is missed.
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(|e| io("cannot wait for signals", &e))?;
    let mut rng = system_rng()?;
    let work = Arc::new(Work::new());
    let rates = Arc::new(Rates::start());
    let server = api::Server::start(&config, Arc::clone(&work), Arc::clone(&rates))?;
    say(&format!("net      use pool {} (built in, pays nothing)", api::POOL));
    say(&format!("cpu      use {} threads at {} % (sha256d)", config.threads, config.intensity));
    let (stop, stopped) = bounded::<()>(0);
    let mut threads = Vec::new();
    for index in 0..config.threads {
        let (work, stopped, seed, intensity) = (Arc::clone(&work), stopped.clone(), header(&mut rng), config.intensity);
        threads.push(spawn(&format!("hash/{index}"), move || work::hash(&work, seed, intensity, &stopped))?);
    }
    let (told, signal) = bounded(1);
    let waiter = spawn("hash/signal", move || {
        let _ = signals.forever().next().map(|signal| told.send(signal));
    })?;
    for tick in 1u32.. {
        match signal.recv_timeout(TICK) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(_) | Err(RecvTimeoutError::Disconnected) => break,
        }
        rates.tick(Instant::now(), work.hashes());
        work.retarget(rates.recent());
        if tick % SPEED_EVERY_TICKS == 0 {
            say(&format!("miner    speed 10s/60s/15m {} H/s max {:.1} H/s", rates.shown(), rates.highest()));
        }
    }
    say("signal   told to end, exiting");
    drop(stop);
    server.stop();
    threads.push(waiter);
    for thread in threads {
        if thread.join().is_err() {
            return Err(Error::Failed("a thread of the hasher failed".into()));
        }
    }
    Ok(())
}

fn config_path(args: &[OsString]) -> Result<PathBuf> {
    let usage = || Error::Config(format!("{SUBCOMMAND} is called by rigmesh itself, with --config=FILE"));
    match args {
        [flag, path] if flag == "--config" => Ok(path.into()),
        [flag] => flag.to_str().and_then(|f| f.strip_prefix("--config=")).map(PathBuf::from).ok_or_else(usage),
        _ => Err(usage()),
    }
}

fn read_config(path: &Path) -> Result<Config> {
    let bytes = atomic::read(path, CONFIG_BYTES_MAX)?
        .ok_or_else(|| Error::Config(format!("there is no config file {}", path.display())))?;
    let text = check_json("hasher config", &bytes)?;
    // Without the parser's words, which may repeat the token.
    let config: Config = serde_json::from_str(text)
        .map_err(|e| Error::malformed("hasher config", format!("line {} column {}", e.line(), e.column())))?;
    if !(1..=256).contains(&config.threads) || !(1..=100).contains(&config.intensity) {
        return Err(Error::malformed("hasher config", "threads must be 1 to 256, intensity 1 to 100"));
    }
    Ok(config)
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(256 * 1024)
        .spawn(body)
        .map_err(|e| Error::io("cannot start a thread", &e))
}

/// A header to start from, so that no two threads or runs do the same work.
fn header(rng: &mut Rng) -> [u8; 80] {
    rng.array()
}

/// One line of output, with the time in front as miners do it. Nobody reading is no reason to fail.
fn say(line: &str) {
    let now = crate::runtime::clock::wall().to_string();
    let now = now.get(..19).unwrap_or(&now);
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "[{now}] {line}");
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_config_is_refused_without_repeating_its_token() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.json");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_config(&path)
        };
        let good = r#"{"name":"a","port":1,"token":"SECRET","threads":1,"intensity":50}"#;
        assert_eq!(read(good).unwrap().threads, 1);
        for bad in [
            good.replace(":1,\"in", ":0,\"in"),
            good.replace("50", "101"),
            good.replace("\"port\":1", "\"port\":\"SECRET\""),
        ] {
            assert!(!read(&bad).err().unwrap().to_string().contains("SECRET"), "{bad}");
        }
        assert!(config_path(&["--config".into()]).is_err() && config_path(&[]).is_err());
    }
}
