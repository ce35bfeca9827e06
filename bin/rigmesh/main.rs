//! The `rigmesh` binary: reads the command line, checks it, runs it, and ends with an exit code
//! that says how it went (`exit.rs`). Data goes to standard output, messages to standard error.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation))]

mod args;
mod audit;
mod bench;
mod bundle;
mod completions;
mod demo;
mod deploy;
mod dht;
mod discover;
mod exit;
mod files;
mod init;
mod levin;
mod output;
mod pair;
mod passphrase;
mod remote;
mod rotate;
mod seal;
mod serve;
mod service;
mod settings;
mod table;
mod ueps;
mod unit;

use argh::FromArgs as _;
use args::{Cli, Command, Globals};
use exit::Exit;
use output::Out;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    // Our own children: the launcher of miners and the built-in hasher.
    if let Some(code) = rigmesh::hidden::run(args.iter().cloned()) {
        return ExitCode::from(u8::try_from(code).unwrap_or(exit::FAILED));
    }
    let result = run(args);
    // Warnings that were counted and not yet told.
    log::logger().flush();
    match result {
        Ok(()) => ExitCode::from(exit::OK),
        Err(exit) => {
            if !exit.message.is_empty() {
                let _ = writeln!(std::io::stderr(), "rigmesh: {}", table::safe(&exit.message));
            }
            ExitCode::from(exit.code)
        }
    }
}

fn run(args: Vec<OsString>) -> Result<(), Exit> {
    let (globals, rest) = args::split_globals(args.into_iter()).map_err(Exit::usage)?;
    let words: Vec<&str> = match rest.as_slice() {
        [] => vec!["--help"],
        [only] if only == "--version" || only == "-V" => vec!["version"],
        rest => rest.iter().map(String::as_str).collect(),
    };
    let out = Out::new(globals.json);
    let cli = match Cli::from_args(&["rigmesh"], &words) {
        Ok(cli) => cli,
        Err(early) if early.status.is_ok() => return out.text(&early.output),
        Err(early) => return Err(usage(&early.output, &words)),
    };
    dispatch(&globals, &out, cli.command)
}

/// The parser's words in one line.
fn usage(words: &str, typed: &[&str]) -> Exit {
    let mut lines = words.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("Run "));
    let shown = lines.by_ref().take(6).collect::<Vec<_>>().join(" ");
    let command: String = typed.iter().take_while(|w| !w.starts_with('-')).take(1).map(|w| format!(" {w}")).collect();
    let known = [
        "init",
        "id",
        "serve",
        "service",
        "pair",
        "enrol",
        "peers",
        "discover",
        "ping",
        "status",
        "start",
        "stop",
        "pause",
        "resume",
        "logs",
        "audit",
        "bench",
        "profiles",
        "deploy",
        "versions",
        "rollback",
        "seal",
        "open",
        "bundle",
        "ueps",
        "levin",
        "dht",
        "demo",
        "completions",
        "version",
    ];
    let command = if known.iter().any(|k| command.trim() == *k) { command } else { String::new() };
    Exit::usage(format!("{shown}; see: rigmesh{command} --help"))
}

fn dispatch(globals: &Globals, out: &Out, command: Command) -> Result<(), Exit> {
    let daemon = matches!(command, Command::Serve(_))
        || matches!(&command, Command::Dht(args) if matches!(args.command, args::DhtCommand::Node(_)));
    let default = if daemon { log::LevelFilter::Info } else { log::LevelFilter::Error };
    rigmesh::init_log_as(globals.log.clone().or(default), globals.log_format);
    match command {
        Command::Init(args) => init::init(globals, out, &args),
        Command::Id(args) => init::id(globals, out, &args),
        Command::Serve(args) => serve::serve(globals, out, &args),
        Command::Service(args) => service::service(globals, out, args),
        Command::Demo(args) => demo::demo(out, args.seconds),
        Command::Completions(args) => out.text(&completions::script(&args.shell)?),
        Command::Version(_) => version(out),
        Command::Peers(args) => remote::peers(globals, out, args.command),
        Command::Pair(args) => pair::pair(globals, out, args),
        Command::Enrol(args) => pair::enrol(globals, out, args),
        Command::Discover(args) => discover::discover(globals, out, args),
        Command::Ping(args) => remote::ping(globals, out, args),
        Command::Status(args) => remote::status(globals, out, args),
        Command::Start(args) => remote::start(globals, out, args),
        Command::Stop(args) => remote::stop(globals, out, args),
        Command::Pause(args) => remote::pause(globals, out, args.rigs, args.all, args.miner, false),
        Command::Resume(args) => remote::pause(globals, out, args.rigs, args.all, args.miner, true),
        Command::Logs(args) => remote::logs(globals, out, args),
        Command::Audit(args) => audit::audit(globals, out, &args),
        Command::Bench(args) => bench::bench(globals, out, args),
        Command::Bundle(args) => bundle::bundle(out, args.command),
        Command::Ueps(args) => ueps::ueps(globals, out, args.command),
        Command::Levin(args) => levin::levin(out, args.command),
        Command::Dht(args) => dht::dht(globals, out, args),
        Command::Profiles(args) => remote::profiles(globals, out, args.command),
        Command::Deploy(args) => deploy::deploy(globals, out, args),
        Command::Versions(args) => deploy::versions(globals, out, args),
        Command::Rollback(args) => deploy::rollback(globals, out, args),
        Command::Seal(args) => seal::seal(out, args.command),
        Command::Open(args) => seal::open(globals, out, &args),
    }
}

fn version(out: &Out) -> Result<(), Exit> {
    let version = env!("CARGO_PKG_VERSION");
    match out.json() {
        true => out.row(&serde_json::json!({ "version": version, "protocol": rigmesh::message::PROTOCOL_VERSION })),
        false => out.text(&format!("rigmesh {version} (protocol {})\n", rigmesh::message::PROTOCOL_VERSION)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_error_is_one_line_with_the_next_step() {
        let words = ["status", "--wach"];
        let early = Cli::from_args(&["rigmesh"], &words).unwrap_err();
        let exit = usage(&early.output, &words);
        assert_eq!(exit.code, exit::USAGE);
        assert!(!exit.message.contains('\n') && exit.message.contains("--wach"), "{}", exit.message);
        assert!(exit.message.ends_with("see: rigmesh status --help"), "{}", exit.message);
    }

    #[test]
    fn every_help_text_has_an_example_and_the_exit_codes_are_in_the_first_one() {
        let help = Cli::from_args(&["rigmesh"], &["--help"]).unwrap_err().output;
        for code in ["0 done", "7 some rigs failed", "--data-dir DIR", "Examples:"] {
            assert!(help.contains(code), "{code}\n{help}");
        }
    }
}
