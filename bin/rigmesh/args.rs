//! What can be typed: argh structs, and the options that stand anywhere on the line.

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
    Peers(Peers),
    Ping(Ping),
    Status(Status),
    Start(Start),
    Stop(Stop),
    Pause(Pause),
    Resume(Resume),
    Logs(Logs),
    Profiles(Profiles),
    Deploy(Deploy),
    Versions(Versions),
    Rollback(Rollback),
    Seal(Seal),
    Open(Open),
    Bundle(BundleArgs),
    Ueps(UepsArgs),
    Levin(Levin),
    Dht(crate::args_dht::Dht),
    Demo(Demo),
    Completions(Completions),
    Version(Version),
}

/// Make this machine's identity and print the line with which the other side lets it in.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "init", example = "{command_name} --role worker --name rig-1 --tls")]
pub(crate) struct Init {
    /// what the node does: controller, worker or dual (default: dual)
    #[argh(option, default = "String::from(\"dual\")")]
    pub(crate) role: String,
    /// what to call it (default: the host's name)
    #[argh(option)]
    pub(crate) name: Option<String>,
    /// make a certificate too, so that `serve` speaks TLS
    #[argh(switch)]
    pub(crate) tls: bool,
    /// where others reach it, for the printed line (default: HOSTNAME:9091)
    #[argh(option)]
    pub(crate) address: Option<String>,
}

/// Pause miners: their processes end until they are resumed, also across restarts.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "pause", example = "{command_name} --all\n{command_name} rig-1 --miner xmrig-1")]
pub(crate) struct Pause {
    /// the rigs: names, ids, unique beginnings of ids
    #[argh(positional)]
    pub(crate) rigs: Vec<String>,
    /// every rig
    #[argh(switch)]
    pub(crate) all: bool,
    /// this miner only (default: all of the rig's)
    #[argh(option)]
    pub(crate) miner: Option<String>,
}

/// Go on with paused miners.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "resume", example = "{command_name} --all")]
pub(crate) struct Resume {
    /// the rigs: names, ids, unique beginnings of ids
    #[argh(positional)]
    pub(crate) rigs: Vec<String>,
    /// every rig
    #[argh(switch)]
    pub(crate) all: bool,
    /// this miner only (default: all of the rig's)
    #[argh(option)]
    pub(crate) miner: Option<String>,
}

/// Bring a miner, a profile or both to rigs; what was interrupted goes on.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "deploy",
    example = "{command_name} --all --miner ./xmrig --as-version 6.22.2\n{command_name} rig-1 rig-2 --miner ./xmrig-6.22/ --main xmrig --profile pool.json --dry-run"
)]
pub(crate) struct Deploy {
    /// the rigs: names, ids, unique beginnings of ids
    #[argh(positional)]
    pub(crate) rigs: Vec<String>,
    /// every rig
    #[argh(switch)]
    pub(crate) all: bool,
    /// a file or folder of the miner (may be repeated)
    #[argh(option)]
    pub(crate) miner: Vec<PathBuf>,
    /// a profile to store on the rigs
    #[argh(option)]
    pub(crate) profile: Option<PathBuf>,
    /// what the miner is called on the rigs (default: the folder or the only file)
    #[argh(option)]
    pub(crate) name: Option<String>,
    /// what its maker calls this version (default: 0)
    #[argh(option, long = "as-version")]
    pub(crate) version: Option<String>,
    /// the path of the file that is started, when it is not clear
    #[argh(option)]
    pub(crate) main: Option<String>,
    /// install beside the running version and do not switch to it
    #[argh(switch)]
    pub(crate) no_activate: bool,
    /// say what would be done
    #[argh(switch)]
    pub(crate) dry_run: bool,
    /// show the deployments that are not done
    #[argh(switch)]
    pub(crate) pending: bool,
    /// forget what these rigs are still owed
    #[argh(switch)]
    pub(crate) cancel: bool,
}

/// Show which versions of miners are installed on rigs.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "versions", example = "{command_name} rig-1")]
pub(crate) struct Versions {
    /// the rigs: names, ids, unique beginnings of ids
    #[argh(positional)]
    pub(crate) rigs: Vec<String>,
    /// every rig
    #[argh(switch)]
    pub(crate) all: bool,
    /// of this miner only
    #[argh(option)]
    pub(crate) miner: Option<String>,
}

/// Go back to another installed version of a miner.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "rollback", example = "{command_name} rig-1 xmrig --to 3")]
pub(crate) struct Rollback {
    /// the rig
    #[argh(positional)]
    pub(crate) rig: String,
    /// the miner, as `versions` names it
    #[argh(positional)]
    pub(crate) miner: String,
    /// the version's number (default: the one before)
    #[argh(option)]
    pub(crate) to: Option<u32>,
}

/// Show this node's id, key, name and role.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "id", example = "{command_name} --json")]
pub(crate) struct Id {}

/// Run the node until a signal ends it (SIGHUP reloads the allowlist and permissions).
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "serve", example = "{command_name} --listen 0.0.0.0:9091")]
pub(crate) struct Serve {
    /// where to listen: HOST:PORT, :PORT for every interface, or none
    #[argh(option)]
    pub(crate) listen: Option<String>,
    /// the configuration file (default: config.json in the data folder)
    #[argh(option)]
    pub(crate) config: Option<PathBuf>,
    /// keep a connection up for ever: KEY@HOST:PORT (may be repeated)
    #[argh(option)]
    pub(crate) uplink: Vec<String>,
    /// let unknown keys connect; they may ping and nothing else
    #[argh(switch)]
    pub(crate) open: bool,
}

/// Who is known, who may connect, who may command.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "peers", example = "{command_name} list")]
pub(crate) struct Peers {
    #[argh(subcommand)]
    pub(crate) command: PeersCommand,
}

#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub(crate) enum PeersCommand {
    List(PeersList),
    Add(PeersAdd),
    Remove(PeersRemove),
    Allow(PeersAllow),
    Revoke(PeersRevoke),
    Best(PeersBest),
    ResetClock(PeersResetClock),
    Export(PeersExport),
    Import(PeersImport),
}

/// Show every peer and every allowed key.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "list", example = "{command_name} --json")]
pub(crate) struct PeersList {}

/// Add a peer by its address and key.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "add",
    example = "{command_name} rig-1.lan:9091 --key KEY --name rig-1\n{command_name} wss://rig-1.lan:9091#FINGERPRINT --key KEY"
)]
pub(crate) struct PeersAdd {
    /// HOST:PORT, or wss://HOST:PORT with #FINGERPRINT behind it for a pinned certificate
    #[argh(positional)]
    pub(crate) address: String,
    /// its public key or node id, as `rigmesh id` shows it there
    #[argh(option)]
    pub(crate) key: Option<String>,
    /// what to call it
    #[argh(option)]
    pub(crate) name: Option<String>,
    /// what it may do here: controller, or some of observe,operate,deploy
    #[argh(option)]
    pub(crate) grant: Option<String>,
    /// dial it now and keep the key that answers; compare what is printed
    #[argh(switch)]
    pub(crate) trust_first: bool,
}

/// Remove a peer.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "remove", example = "{command_name} rig-1")]
pub(crate) struct PeersRemove {
    /// name, id or beginning of the id
    #[argh(positional)]
    pub(crate) peer: String,
}

/// Let a key in, and say what it may do.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "allow", example = "{command_name} KEY --grant controller")]
pub(crate) struct PeersAllow {
    /// the public key, as `rigmesh id` shows it there
    #[argh(positional)]
    pub(crate) key: String,
    /// controller, or some of observe,operate,deploy (default: it may only connect)
    #[argh(option)]
    pub(crate) grant: Option<String>,
    /// what to call it
    #[argh(option)]
    pub(crate) name: Option<String>,
}

/// Shut a key out, at once.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "revoke", example = "{command_name} KEY")]
pub(crate) struct PeersRevoke {
    /// the public key, or a peer's name or id
    #[argh(positional)]
    pub(crate) key: String,
}

/// Show the best peers by latency, hops, distance and score.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "best", example = "{command_name} -n 3")]
pub(crate) struct PeersBest {
    /// how many (default: 1)
    #[argh(option, short = 'n', long = "count", default = "1")]
    pub(crate) count: usize,
}

/// Forget which times were seen, after a clock once ran ahead.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "reset-clock", example = "{command_name} rig-1")]
pub(crate) struct PeersResetClock {
    /// a peer's name, id or key (default: all)
    #[argh(positional)]
    pub(crate) peer: Option<String>,
}

/// Seal the registry to a key: names, keys, addresses and pinned certificates of every peer.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "export",
    example = "{command_name} --to KEY fleet.stmf",
    note = "Without a file the sealed text is printed. A backup for yourself is sealed to your own key."
)]
pub(crate) struct PeersExport {
    /// the file to write (0600, never overwritten without --force)
    #[argh(positional)]
    pub(crate) file: Option<PathBuf>,
    /// the reader's public key, as `rigmesh id` shows it there
    #[argh(option)]
    pub(crate) to: String,
    /// the allowlist and the grants as well
    #[argh(switch)]
    pub(crate) with_access: bool,
    /// overwrite the file
    #[argh(switch)]
    pub(crate) force: bool,
}

/// Take over the peers of a registry sealed to this node; what is known here is never overwritten.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "import", example = "{command_name} fleet.stmf --from KEY")]
pub(crate) struct PeersImport {
    /// the file
    #[argh(positional)]
    pub(crate) file: PathBuf,
    /// the public key of the node that made it (default: this node's own)
    #[argh(option)]
    pub(crate) from: Option<String>,
    /// its allowlist and grants as well
    #[argh(switch)]
    pub(crate) with_access: bool,
}

/// Measure the round trip to rigs.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "ping", example = "{command_name} rig-1\n{command_name} --all")]
pub(crate) struct Ping {
    /// names, ids or beginnings of ids
    #[argh(positional)]
    pub(crate) rigs: Vec<String>,
    /// every rig
    #[argh(switch)]
    pub(crate) all: bool,
}

/// Show what the fleet does.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "status", example = "{command_name}\n{command_name} rig-1 rig-2 --watch")]
pub(crate) struct Status {
    /// names, ids or beginnings of ids (default: all)
    #[argh(positional)]
    pub(crate) rigs: Vec<String>,
    /// every rig
    #[argh(switch)]
    pub(crate) all: bool,
    /// show it again and again
    #[argh(switch)]
    pub(crate) watch: bool,
    /// seconds between two looks (default: 2)
    #[argh(option, default = "2")]
    pub(crate) every: u64,
    /// seconds a rig has to answer (default: 10)
    #[argh(option, default = "10")]
    pub(crate) timeout: u64,
}

/// Start a miner on rigs.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "start",
    example = "{command_name} rig-1\n{command_name} --all --type xmrig --profile main",
    note = "With neither --type nor --profile the built-in hasher sha256d is started."
)]
pub(crate) struct Start {
    /// names, ids or beginnings of ids; self is this node
    #[argh(positional)]
    pub(crate) rigs: Vec<String>,
    /// every rig
    #[argh(switch)]
    pub(crate) all: bool,
    /// a profile stored on the rig
    #[argh(option)]
    pub(crate) profile: Option<String>,
    /// the kind of miner: sha256d, xmrig, command
    #[argh(option, long = "type")]
    pub(crate) kind: Option<String>,
    /// a JSON file with settings of your own, laid over the profile's
    #[argh(option)]
    pub(crate) config: Option<PathBuf>,
}

/// Stop a miner on rigs.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "stop", example = "{command_name} rig-1\n{command_name} --all --miner sha256d-1")]
pub(crate) struct Stop {
    /// names, ids or beginnings of ids; self is this node
    #[argh(positional)]
    pub(crate) rigs: Vec<String>,
    /// every rig
    #[argh(switch)]
    pub(crate) all: bool,
    /// the miner's name (default: the rig's only one)
    #[argh(option)]
    pub(crate) miner: Option<String>,
    /// every miner of each rig
    #[argh(switch)]
    pub(crate) all_miners: bool,
}

/// Show what miners wrote.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "logs", example = "{command_name} rig-1 -n 20 --since 10m")]
pub(crate) struct Logs {
    /// names, ids or beginnings of ids; self is this node
    #[argh(positional)]
    pub(crate) rigs: Vec<String>,
    /// every rig
    #[argh(switch)]
    pub(crate) all: bool,
    /// the miner's name (default: every one)
    #[argh(option)]
    pub(crate) miner: Option<String>,
    /// how many lines (default: 50)
    #[argh(option, short = 'n', long = "lines", default = "50")]
    pub(crate) lines: i64,
    /// none older than: 90s, 10m, 2h, 1d, or an RFC 3339 time
    #[argh(option)]
    pub(crate) since: Option<String>,
}

/// The miner profiles of this node.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "profiles", example = "{command_name} list")]
pub(crate) struct Profiles {
    #[argh(subcommand)]
    pub(crate) command: ProfilesCommand,
}

#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub(crate) enum ProfilesCommand {
    List(ProfilesList),
    Put(ProfilesPut),
    Remove(ProfilesRemove),
}

/// Show the profiles, without wallets and passwords.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "list", example = "{command_name} --json")]
pub(crate) struct ProfilesList {}

/// Add or replace a profile from a file, or from standard input with -.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "put",
    example = "{command_name} main.json",
    note = "The file: {{\"id\":\"main\",\"name\":\"Main\",\"minerType\":\"sha256d\",\"config\":{{\"threads\":1}}}}"
)]
pub(crate) struct ProfilesPut {
    /// the file
    #[argh(positional)]
    pub(crate) file: PathBuf,
}

/// Remove a profile.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "remove", example = "{command_name} main")]
pub(crate) struct ProfilesRemove {
    /// its id
    #[argh(positional)]
    pub(crate) id: String,
}

/// Seal a form to a key, or a message under a password.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "seal", example = "{command_name} form --to KEY --field name=value -o form.stmf")]
pub(crate) struct Seal {
    #[argh(subcommand)]
    pub(crate) command: SealCommand,
}

#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub(crate) enum SealCommand {
    Form(SealForm),
    Message(SealMessage),
}

/// Seal a form (STMF) that only the owner of a key can open. It does not show who sealed it.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "form",
    example = "{command_name} --to KEY --field name=value --file log=miner.log -o form.stmf"
)]
pub(crate) struct SealForm {
    /// the reader's public key, as `rigmesh id` shows it there
    #[argh(option)]
    pub(crate) to: String,
    /// a field: NAME=VALUE (may be repeated)
    #[argh(option)]
    pub(crate) field: Vec<String>,
    /// a file: NAME=PATH (may be repeated)
    #[argh(option)]
    pub(crate) file: Vec<String>,
    /// a text about the form: NAME=VALUE (may be repeated)
    #[argh(option)]
    pub(crate) meta: Vec<String>,
    /// the file to write (0600); without it the sealed text is printed
    #[argh(option, short = 'o')]
    pub(crate) output: Option<PathBuf>,
    /// overwrite the file
    #[argh(switch)]
    pub(crate) force: bool,
}

/// Seal a message (SMSG) under a password.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "message",
    example = "{command_name} --password-file pw --body hello --attach miner.log -o note.smsg",
    note = "The password is the file's first line. It is hashed once without salt, so take a long random one: openssl rand -base64 32 > pw"
)]
pub(crate) struct SealMessage {
    /// the file with the password, or - for standard input
    #[argh(option)]
    pub(crate) password_file: PathBuf,
    /// the text
    #[argh(option)]
    pub(crate) body: Option<String>,
    /// the file with the text
    #[argh(option)]
    pub(crate) body_file: Option<PathBuf>,
    /// a file to put in (may be repeated)
    #[argh(option)]
    pub(crate) attach: Vec<PathBuf>,
    /// what it is about
    #[argh(option)]
    pub(crate) subject: Option<String>,
    /// who it is from, as you say
    #[argh(option)]
    pub(crate) from: Option<String>,
    /// a hint to the password, for everybody to read
    #[argh(option)]
    pub(crate) hint: Option<String>,
    /// zstd, gzip, none, or v1 for the oldest form (default: zstd)
    #[argh(option, default = "String::from(\"zstd\")")]
    pub(crate) compress: String,
    /// the file to write (0600); without it the sealed text is printed
    #[argh(option, short = 'o')]
    pub(crate) output: Option<PathBuf>,
    /// overwrite the file
    #[argh(switch)]
    pub(crate) force: bool,
}

/// Open a sealed form or message, and show what is in it.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "open",
    example = "{command_name} form.stmf\n{command_name} note.smsg --password-file pw --extract files"
)]
pub(crate) struct Open {
    /// the file, or - for standard input; as bytes or as text
    #[argh(positional)]
    pub(crate) file: PathBuf,
    /// the file with a message's password, or - for standard input
    #[argh(option)]
    pub(crate) password_file: Option<PathBuf>,
    /// the file with a form's private key, 32 bytes or their base64 (default: this node's own)
    #[argh(option)]
    pub(crate) key: Option<PathBuf>,
    /// write the files that are in it to this folder
    #[argh(option)]
    pub(crate) extract: Option<PathBuf>,
    /// overwrite files there
    #[argh(switch)]
    pub(crate) force: bool,
    /// show only what it says in clear, which anybody can change
    #[argh(switch)]
    pub(crate) peek: bool,
}

/// Files that carry a profile or a miner to a rig, as the Go tools read and write them.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "bundle", example = "{command_name} inspect xmrig.stim")]
pub(crate) struct BundleArgs {
    #[argh(subcommand)]
    pub(crate) command: BundleCommand,
}

#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub(crate) enum BundleCommand {
    Create(BundleCreate),
    Inspect(BundleInspect),
    Verify(BundleVerify),
    Extract(BundleExtract),
}

/// Make a bundle of a profile, of a miner's files, or of both.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "create",
    example = "{command_name} --miner xmrig --profile main.json --name xmrig --password-file pw -o xmrig.stim\n{command_name} --profile main.json --name main --as json -o main.json.bundle"
)]
pub(crate) struct BundleCreate {
    /// a profile's JSON file
    #[argh(option)]
    pub(crate) profile: Option<PathBuf>,
    /// a miner's file, or PATH=FILE for another path in the bundle (may be repeated)
    #[argh(option)]
    pub(crate) miner: Vec<String>,
    /// which path is run, when it is neither the only one nor named like the bundle
    #[argh(option)]
    pub(crate) main: Option<String>,
    /// what to call it
    #[argh(option)]
    pub(crate) name: String,
    /// a file whose first line is the password
    #[argh(option)]
    pub(crate) password_file: Option<PathBuf>,
    /// stim (sealed), json (sealed, with name and checksum) or tim (a plain archive); default: stim
    #[argh(option, long = "as", default = "String::from(\"stim\")")]
    pub(crate) form: String,
    /// the file to write
    #[argh(option, short = 'o')]
    pub(crate) output: PathBuf,
    /// replace it when it is there
    #[argh(switch)]
    pub(crate) force: bool,
}

/// Show what a bundle is and holds, without secrets.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "inspect", example = "{command_name} xmrig.stim --password-file pw")]
pub(crate) struct BundleInspect {
    /// the file
    #[argh(positional)]
    pub(crate) file: PathBuf,
    /// a file whose first line is the password, to look inside
    #[argh(option)]
    pub(crate) password_file: Option<PathBuf>,
}

/// Check a bundle's checksum, and with the password all that is in it.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "verify", example = "{command_name} xmrig.stim --checksum HEX")]
pub(crate) struct BundleVerify {
    /// the file
    #[argh(positional)]
    pub(crate) file: PathBuf,
    /// the SHA-256 it must have, 64 lower-case hex digits
    #[argh(option)]
    pub(crate) checksum: Option<String>,
    /// a file whose first line is the password
    #[argh(option)]
    pub(crate) password_file: Option<PathBuf>,
}

/// Take a bundle apart: a miner into a new folder, a profile into a file.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "extract", example = "{command_name} xmrig.stim --password-file pw --to xmrig")]
pub(crate) struct BundleExtract {
    /// the file
    #[argh(positional)]
    pub(crate) file: PathBuf,
    /// a file whose first line is the password
    #[argh(option)]
    pub(crate) password_file: Option<PathBuf>,
    /// the folder to make; it must not exist, or be empty
    #[argh(option)]
    pub(crate) to: Option<PathBuf>,
    /// the file the profile goes to (default: profile.json in the folder, when there is nothing else)
    #[argh(option)]
    pub(crate) profile_to: Option<PathBuf>,
    /// what the bundle is called, where it does not say so (default: the file's name)
    #[argh(option)]
    pub(crate) name: Option<String>,
    /// replace the profile's file when it is there
    #[argh(switch)]
    pub(crate) force: bool,
}

/// Signed packets with an intent, as files and through pipes.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "ueps", example = "{command_name} read packets --key-file key")]
pub(crate) struct UepsArgs {
    #[argh(subcommand)]
    pub(crate) command: UepsCommand,
}

#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub(crate) enum UepsCommand {
    Build(UepsBuild),
    Read(UepsRead),
}

/// Make a packet and sign it.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "build",
    example = "{command_name} --key-file key --intent compute --payload-file job -o packet\n{command_name} --key-file key --intent 0x77 --payload hello | nc rig 9092"
)]
pub(crate) struct UepsBuild {
    /// the file with the key both sides know: 32 bytes, or their hex or base64
    #[argh(option)]
    pub(crate) key_file: PathBuf,
    /// handshake, compute, rehab, custom, or a number from 0 to 255
    #[argh(option)]
    pub(crate) intent: String,
    /// the threat score, 0 to 65535; receivers refuse more than 50000 (default: 0)
    #[argh(option, default = "0")]
    pub(crate) threat: u16,
    /// the packet's version (default: 9)
    #[argh(option, default = "9")]
    pub(crate) packet_version: u8,
    /// the layer it comes from (default: 5)
    #[argh(option, default = "5")]
    pub(crate) from_layer: u8,
    /// the layer it is meant for (default: 5)
    #[argh(option, default = "5")]
    pub(crate) to_layer: u8,
    /// the payload as text
    #[argh(option)]
    pub(crate) payload: Option<String>,
    /// the file with the payload, or - for standard input
    #[argh(option)]
    pub(crate) payload_file: Option<PathBuf>,
    /// the file to write (0600); without it the bytes go to standard output
    #[argh(option, short = 'o')]
    pub(crate) output: Option<PathBuf>,
    /// overwrite the file
    #[argh(switch)]
    pub(crate) force: bool,
}

/// Check the packets of a stream and show what is in them.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "read", example = "{command_name} packets --key-file key --json")]
pub(crate) struct UepsRead {
    /// the file, or - for standard input
    #[argh(positional)]
    pub(crate) file: PathBuf,
    /// the file with the key both sides know: 32 bytes, or their hex or base64
    #[argh(option)]
    pub(crate) key_file: PathBuf,
    /// take unknown TLVs in the header; the payload's beginning is then not proven
    #[argh(switch)]
    pub(crate) lenient: bool,
}

/// Look at CryptoNote nodes (monerod and its kin), and at what they send.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "levin", example = "{command_name} probe node.lan:18080")]
pub(crate) struct Levin {
    #[argh(subcommand)]
    pub(crate) command: LevinCommand,
}

#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub(crate) enum LevinCommand {
    Probe(LevinProbe),
    Decode(LevinDecode),
}

/// Ask a CryptoNote node who it is, what it has of the chain and whom it knows.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "probe",
    example = "{command_name} node.lan:18080\n{command_name} node.lan:28080 --network testnet --json"
)]
pub(crate) struct LevinProbe {
    /// HOST:PORT of its P2P port
    #[argh(positional)]
    pub(crate) address: String,
    /// mainnet, testnet, stagenet, or 32 hex digits (default: mainnet)
    #[argh(option, default = "String::from(\"mainnet\")")]
    pub(crate) network: String,
    /// seconds each answer may take (default: 10)
    #[argh(option, default = "10")]
    pub(crate) timeout: u64,
}

/// Show what is in a recorded stream of Levin messages, or in one portable storage.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "decode", example = "{command_name} handshake.bin\n{command_name} - --json < stream")]
pub(crate) struct LevinDecode {
    /// the file, or - for standard input
    #[argh(positional)]
    pub(crate) file: PathBuf,
}

/// Try everything on this machine: three rigs and a controller with real miners, for some seconds.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "demo", example = "{command_name} --seconds 10")]
pub(crate) struct Demo {
    /// how long the fleet is shown (default: 6)
    #[argh(option, default = "6")]
    pub(crate) seconds: u64,
}

/// Print a completion script for a shell.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "completions",
    example = "{command_name} bash > ~/.local/share/bash-completion/completions/rigmesh"
)]
pub(crate) struct Completions {
    /// bash, zsh or fish
    #[argh(positional)]
    pub(crate) shell: String,
}

/// Print the version.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "version", example = "{command_name}")]
pub(crate) struct Version {}

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
