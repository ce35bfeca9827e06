//! What rigs do: ping, status, miners, their output and profiles.

use argh::FromArgs;
use std::path::PathBuf;

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
