//! This node itself: its identity, the daemon, and what only speaks about the program.

use argh::FromArgs;
use std::path::PathBuf;

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

/// Show this node's id, key, name and role, and whether its keys are protected by a pass-phrase.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "id", example = "{command_name} --json\n{command_name} protect")]
pub(crate) struct Id {
    #[argh(subcommand)]
    pub(crate) command: Option<IdCommand>,
}

#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub(crate) enum IdCommand {
    Protect(IdProtect),
    Unprotect(IdUnprotect),
    Rotate(IdRotate),
}

/// Put this node's private keys under a pass-phrase, asked for twice or read from the file that RIGMESH_PASSPHRASE_FILE names.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "protect",
    example = "{command_name}",
    note = "Copies of the keys made before are not protected by it. A service needs RIGMESH_PASSPHRASE_FILE from then on: a file of mode 0600 whose first line is the pass-phrase."
)]
pub(crate) struct IdProtect {}

/// Take the pass-phrase away: the keys lie in their files, mode 0600, as they were before.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "unprotect", example = "{command_name}")]
pub(crate) struct IdUnprotect {}

/// Replace this node's keys by new ones: announce them first, put them in force a day later, forget the old ones when
/// everybody follows. Without an option: the next step is begun, or how far it is.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "rotate",
    example = "{command_name}\n{command_name} --finish\n{command_name} --forget",
    note = "A rig that this node may command lets a day pass before it follows (rotation_delay_s in its configuration). A rig, which commands nobody, may finish at once."
)]
pub(crate) struct IdRotate {
    /// put the announced keys in force (the node must not be running)
    #[argh(switch)]
    pub(crate) finish: bool,
    /// with --finish: before a day is over
    #[argh(switch)]
    pub(crate) now: bool,
    /// forget the old keys; who has not followed by then knows this node no more
    #[argh(switch)]
    pub(crate) forget: bool,
}

/// Run the node until a signal ends it (SIGHUP reloads the allowlist and permissions).
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "serve",
    example = "{command_name} --listen 0.0.0.0:9091\n{command_name} --dht --bootstrap seed.example:4121 --fleet north --lan"
)]
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
    /// refuse peers that have no secure sessions, such as Go nodes
    #[argh(switch)]
    pub(crate) require_secure: bool,
    /// the memory, in MiB, that the node may take with its connections and queues: limits that exceed it are lowered
    #[argh(option)]
    pub(crate) memory_budget: Option<u32>,
    /// take part in the DHT: a rig says there where it is, a controller finds rigs there
    #[argh(switch)]
    pub(crate) dht: bool,
    /// HOST:PORT of a DHT node to begin with (may be repeated)
    #[argh(option)]
    pub(crate) bootstrap: Vec<String>,
    /// the UDP address of the DHT, IP:PORT (default: any free port)
    #[argh(option)]
    pub(crate) dht_bind: Option<String>,
    /// a fleet this node belongs to; its secret lies in fleets/NAME.key (may be repeated)
    #[argh(option)]
    pub(crate) fleet: Vec<String>,
    /// a fleet without a secret, which anybody can see (may be repeated)
    #[argh(option)]
    pub(crate) public_fleet: Vec<String>,
    /// say and hear on the local link who is there
    #[argh(switch)]
    pub(crate) lan: bool,
    /// let neighbours tell others where this node is
    #[argh(switch)]
    pub(crate) share: bool,
    /// IP:PORT where others reach this node (may be repeated; default: its interfaces)
    #[argh(option)]
    pub(crate) advertise: Vec<String>,
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
