//! What can be typed: argh structs, and the options that stand anywhere on the line.

mod audit;
mod bench;
mod bundle;
mod deploy;
mod dht;
mod discover;
mod fleet;
mod node;
mod pair;
mod peers;
mod seal;
mod service;
mod wire;

pub(crate) use audit::{Audit, AuditCommand, AuditShow, AuditTail, AuditVerify};
pub(crate) use bench::{Bench, BenchCommand, BenchIdle};
pub(crate) use bundle::{BundleArgs, BundleCommand, BundleCreate, BundleExtract, BundleInspect, BundleVerify};
pub(crate) use deploy::{Deploy, Rollback, Versions};
pub(crate) use dht::{
    Dht, DhtBench, DhtCommand, DhtFindNode, DhtNode, DhtPing, DhtPublish, DhtResolve, DhtStats, MailboxCommand,
    MailboxRead, MailboxSend, TopicCommand, TopicFind, TopicPublish,
};
pub(crate) use discover::Discover;
pub(crate) use fleet::{Logs, Pause, Ping, Profiles, ProfilesCommand, Resume, Start, Status, Stop};
pub(crate) use node::{Completions, Demo, Id, IdCommand, IdRotate, Init, Serve, Version};
pub(crate) use pair::{Enrol, Pair};
pub(crate) use peers::{Peers, PeersCommand, PeersExport, PeersGrant, PeersImport};
pub(crate) use seal::{Open, Seal, SealCommand, SealForm, SealMessage};
pub(crate) use service::{Service, ServiceCommand, ServiceInstall, ServiceStatus, ServiceUninstall};
pub(crate) use wire::{
    Levin, LevinCommand, LevinDecode, LevinProbe, UepsArgs, UepsBuild, UepsCommand, UepsRead, UepsSend,
};

use argh::FromArgs;
use rigmesh::base::Error;
use rigmesh::{LOG_COMPONENTS, LogFilter, LogFormat};
use std::ffi::OsString;
use std::path::PathBuf;

/// What `-` stands for where a file is named.
pub(crate) const STDIN: &str = "/dev/stdin";

/// Options of every command, wherever they stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Globals {
    /// Everything in one folder instead of the XDG places.
    pub(crate) data_dir: Option<PathBuf>,
    /// One JSON object a line instead of text.
    pub(crate) json: bool,
    /// What is logged to standard error: `--log` and `--log-level`, the later word counts.
    pub(crate) log: LogFilter,
    /// As text or as JSON.
    pub(crate) log_format: LogFormat,
}

/// Takes the global options out of the arguments and splits `--option=value` in two.
///
/// # Errors
/// One line that says what is wrong.
pub(crate) fn split_globals(args: impl Iterator<Item = OsString>) -> Result<(Globals, Vec<String>), String> {
    let (mut globals, mut rest) = (Globals::default(), Vec::new());
    let mut args = args.map(|arg| arg.into_string().map_err(|a| format!("the argument {a:?} is not UTF-8")));
    while let Some(arg) = args.next() {
        let arg = arg?;
        if arg == "--" {
            rest.push(arg);
            for arg in args {
                rest.push(arg?);
            }
            return Ok((globals, rest));
        }
        let (name, joined) = match arg.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
            _ => (arg, None),
        };
        let mut value = |joined: Option<String>| match joined {
            Some(value) => Ok(value),
            None => args.next().ok_or_else(|| format!("{name} needs a value"))?,
        };
        match name.as_str() {
            "--data-dir" => globals.data_dir = Some(PathBuf::from(value(joined)?)),
            "--log-level" => {
                let text = value(joined)?;
                let level: log::LevelFilter = text
                    .parse()
                    .map_err(|_| format!("unknown log level {text:?}: use off, error, warn, info, debug or trace"))?;
                globals.log.extend(level.into());
            }
            "--log" => {
                let filter: LogFilter = value(joined)?.parse().map_err(|e: Error| e.to_string())?;
                if let Some(name) = filter.unknown() {
                    return Err(format!("nothing logs under {name:?}: use {}", LOG_COMPONENTS.join(", ")));
                }
                globals.log.extend(filter);
            }
            "--log-format" => {
                globals.log_format = match value(joined)?.as_str() {
                    "text" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    other => return Err(format!("unknown log format {other:?}: use text or json")),
                };
            }
            "--json" if joined.is_none() => globals.json = true,
            "-h" => rest.push("--help".to_owned()),
            // The parser takes a lone dash for an option.
            "-" => rest.push(STDIN.to_owned()),
            _ => {
                rest.push(name);
                rest.extend(joined);
            }
        }
    }
    Ok((globals, rest))
}

/// Command a fleet of mining rigs over an encrypted peer-to-peer mesh, with no cloud in between.
#[derive(Debug, FromArgs)]
#[argh(
    note = "Options of every command: --data-dir DIR (everything in one folder), --json (one object a line), --log-level LEVEL, --log COMPONENT=LEVEL,LEVEL, --log-format text|json.",
    example = "A rig and its controller:\n  rig$ {command_name} init --role worker --name rig-1\n  rig$ {command_name} peers allow KEY --grant controller\n  rig$ {command_name} serve\n  you$ {command_name} peers add rig-1.lan:9091 --key KEY --name rig-1\n  you$ {command_name} start rig-1",
    error_code(0, "done"),
    error_code(1, "failed"),
    error_code(2, "wrong usage"),
    error_code(3, "configuration or identity"),
    error_code(4, "unreachable"),
    error_code(5, "refused"),
    error_code(6, "timed out"),
    error_code(7, "some rigs failed")
)]
pub(crate) struct Cli {
    #[argh(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub(crate) enum Command {
    Init(Init),
    Id(Id),
    Serve(Serve),
    Service(Service),
    Pair(Pair),
    Enrol(Enrol),
    Peers(Peers),
    Discover(Discover),
    Ping(Ping),
    Status(Status),
    Start(Start),
    Stop(Stop),
    Pause(Pause),
    Resume(Resume),
    Logs(Logs),
    Audit(Audit),
    Bench(Bench),
    Profiles(Profiles),
    Deploy(Deploy),
    Versions(Versions),
    Rollback(Rollback),
    Seal(Seal),
    Open(Open),
    Bundle(BundleArgs),
    Ueps(UepsArgs),
    Levin(Levin),
    Dht(Dht),
    Demo(Demo),
    Completions(Completions),
    Version(Version),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(args: &[&str]) -> Result<(Globals, Vec<String>), String> {
        split_globals(args.iter().map(OsString::from))
    }

    #[test]
    fn global_options_stand_anywhere() {
        let (globals, rest) = split(&["status", "--data-dir", "/x", "rig", "--json", "--timeout=3"]).unwrap();
        assert_eq!(globals, Globals { data_dir: Some("/x".into()), json: true, ..Globals::default() });
        assert_eq!(rest, ["status", "rig", "--timeout", "3"]);
        let (globals, rest) = split(&["peers", "allow", "--", "--json"]).unwrap();
        assert_eq!((globals.json, rest.len()), (false, 4));
        assert!(split(&["id", "--data-dir"]).is_err());
        assert!(split(&["id", "--log-level=loud"]).unwrap_err().contains("use off, error"));
    }

    #[test]
    fn levels_by_component_and_the_format_are_read_and_slips_named() {
        let (globals, rest) =
            split(&["serve", "--log-level", "warn", "--log=mesh=debug", "--log-format", "json"]).unwrap();
        assert_eq!((globals.log, globals.log_format), ("warn,mesh=debug".parse().unwrap(), LogFormat::Json));
        assert_eq!(rest, ["serve"]);
        for (wrong, words) in
            [("--log=mehs=debug", "mesh"), ("--log=mesh=loud", "use off"), ("--log-format=xml", "json")]
        {
            assert!(split(&["id", wrong]).unwrap_err().contains(words), "{wrong}");
        }
    }

    #[test]
    fn a_key_keeps_its_equals_signs() {
        let (_, rest) = split(&["peers", "add", "h:1", "--key=AAAA="]).unwrap();
        assert_eq!(rest, ["peers", "add", "h:1", "--key", "AAAA="]);
        let (_, rest) = split(&["peers", "allow", "AAAA="]).unwrap();
        assert_eq!(rest, ["peers", "allow", "AAAA="]);
    }
}
