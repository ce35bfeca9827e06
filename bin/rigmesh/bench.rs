//! `bench`: load on a running node, and what it measures.

use crate::args::{Bench, BenchCommand, BenchIdle, Globals};
use crate::exit::{self, Exit};
use crate::output::Out;
use crate::remote;
use crate::table;
use rigmesh::control::{BenchKind, Request, Rigs};
use rigmesh::hidden::{IdleManner, IdlePeer};
use rigmesh::system_rng;
use serde_json::{Value, json};
use std::net::ToSocketAddrs as _;
use std::time::{Duration, Instant};

const CONNECTIONS_MAX: usize = 5000;
/// A node closes what is silent for 40 seconds.
const IDLE_SECONDS_MAX: u64 = 30;

pub(crate) fn bench(globals: &Globals, out: &Out, args: Bench) -> Result<(), Exit> {
    let (kind, rigs, count, seconds, anywhere) = match args.command {
        BenchCommand::Connect(a) => (BenchKind::Connect, Rigs::named([a.rig]), a.count, a.seconds, a.anywhere),
        BenchCommand::Rtt(a) => (BenchKind::Rtt, Rigs::named([a.rig]), a.count, a.seconds, a.anywhere),
        BenchCommand::Throughput(a) => (BenchKind::Throughput, Rigs::named([a.rig]), a.count, a.seconds, a.anywhere),
        BenchCommand::Sweep(a) => (BenchKind::Sweep, remote::rigs(a.rigs, a.all)?, a.count, a.seconds, a.anywhere),
        BenchCommand::Idle(args) => return idle(out, &args),
    };
    let answer = remote::ask(globals, out, &Request::Bench { kind, rigs, count, seconds, anywhere })?;
    answer.show(out, line)
}

fn line(row: &Value) -> String {
    let number = |key: &str| row.get(key).and_then(Value::as_f64).unwrap_or_default();
    let rigs = row.get("rigs").and_then(Value::as_u64);
    let of = rigs.map_or_else(String::new, |rigs| format!(" of {rigs} rigs ({} answered)", number("answered")));
    format!(
        "{}{of}: {} in {:.2} s ({} a second), p50 {} \u{b5}s, p90 {}, p99 {}, longest {}",
        table::text(row, "bench"),
        number("count"),
        number("took_s"),
        number("per_s"),
        number("p50_us"),
        number("p90_us"),
        number("p99_us"),
        number("max_us")
    )
}

fn idle(out: &Out, args: &BenchIdle) -> Result<(), Exit> {
    if !(1..=CONNECTIONS_MAX).contains(&args.connections) || !(1..=IDLE_SECONDS_MAX).contains(&args.seconds) {
        let why = format!("--connections is 1 to {CONNECTIONS_MAX}, --seconds 1 to {IDLE_SECONDS_MAX}");
        return Err(Exit::usage(why));
    }
    let at = args.address.to_socket_addrs().ok().and_then(|mut found| found.next());
    let at = at.ok_or_else(|| Exit::usage(format!("{:?} is no HOST:PORT that can be found", args.address)))?;
    if !at.ip().to_canonical().is_loopback() && !args.anywhere {
        return Err(Exit::usage(format!("{at} is not on this machine: load on others' nodes takes --anywhere")));
    }
    let before = args.pid.map(resident_kib).transpose()?;
    let mut rng = system_rng().map_err(|e| Exit::at_start(&e))?;
    let manner = IdleManner { tls: args.tls, plain: args.plain };
    let (mut held, mut refused, begun) = (Vec::new(), None, Instant::now());
    for _ in 0..args.connections {
        match IdlePeer::connect(at, manner, &mut rng) {
            Ok(connection) => held.push(connection),
            // What it takes is what is measured.
            Err(e) => {
                refused = Some(e.to_string());
                break;
            }
        }
    }
    let took = begun.elapsed();
    std::thread::sleep(Duration::from_secs(args.seconds));
    let after = args.pid.map(resident_kib).transpose()?;
    let each = before
        .zip(after)
        .filter(|_| !held.is_empty())
        .map(|(before, after)| (after.saturating_sub(before) as f64 / held.len() as f64 * 10.0).round() / 10.0);
    let row = json!({
        "bench": "idle",
        "connections": held.len(),
        "asked": args.connections,
        "refused": refused,
        "secure": !args.plain,
        "tls": args.tls,
        "connect_s": took.as_secs_f64(),
        "held_s": args.seconds,
        "resident_kib": after,
        "resident_before_kib": before,
        "kib_each": each,
        "limits": { "connections_max": CONNECTIONS_MAX, "seconds_max": IDLE_SECONDS_MAX },
    });
    if out.json() {
        out.row(&row)?;
    } else {
        let memory = each.zip(after).map_or_else(String::new, |(each, after)| {
            format!(", {each} KiB each of its memory, which is {:.1} MiB", after as f64 / 1024.0)
        });
        out.text(&format!("idle: {} connections held for {} s{memory}", held.len(), args.seconds))?;
    }
    match row.get("refused").and_then(Value::as_str) {
        Some(why) => {
            Err(Exit::new(exit::FAILED, format!("the node took {} of {}: {why}", held.len(), args.connections)))
        }
        None => Ok(()),
    }
}

fn resident_kib(pid: u32) -> Result<u64, Exit> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let found = status.ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("VmRSS:"))?.to_owned();
        line.split_whitespace().nth(1)?.parse().ok()
    });
    found.ok_or_else(|| Exit::new(exit::FAILED, format!("the memory of process {pid} cannot be read")))
}
