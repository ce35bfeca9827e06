//! Who is known, who may connect, who may command.

use argh::FromArgs;
use std::path::PathBuf;

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
    Grant(PeersGrant),
    Revoke(PeersRevoke),
    KeepKey(PeersKeepKey),
    AllowPlain(PeersAllowPlain),
    Best(PeersBest),
    ResetClock(PeersResetClock),
    Export(PeersExport),
    Import(PeersImport),
}

/// Show every peer and every allowed key.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "list", example = "{command_name} --json")]
pub(crate) struct PeersList {}

/// Add a peer by its address and key, or by its address in the DHT.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "add",
    example = "{command_name} rig-1.lan:9091 --key KEY --name rig-1\n{command_name} wss://rig-1.lan:9091#FINGERPRINT --key KEY\n{command_name} DHT-ADDRESS --name rig-1"
)]
pub(crate) struct PeersAdd {
    /// HOST:PORT, or wss://HOST:PORT with #FINGERPRINT behind it for a pinned certificate; or a DHT address
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
    /// with a DHT address and without a daemon: HOST:PORT of a DHT node to begin with (may be repeated)
    #[argh(option)]
    pub(crate) bootstrap: Vec<String>,
    /// with a DHT address and without a daemon: ask on the local link as well
    #[argh(switch)]
    pub(crate) lan: bool,
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

/// Say what a key may do, here or (with the grant manage there) on rigs.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "grant",
    example = "{command_name} KEY observe --days 30 --note 'the new hand'\n{command_name} KEY controller --on rig-1"
)]
pub(crate) struct PeersGrant {
    /// the public key, or a peer's name or id
    #[argh(positional)]
    pub(crate) key: String,
    /// peer (nothing but to connect), controller, or some of observe,operate,deploy,manage
    #[argh(positional)]
    pub(crate) grant: String,
    /// for so many days
    #[argh(option)]
    pub(crate) days: Option<u32>,
    /// until this time, such as 2027-01-31T18:00:00Z
    #[argh(option)]
    pub(crate) until: Option<String>,
    /// what you want to remember of it
    #[argh(option)]
    pub(crate) note: Option<String>,
    /// on this rig instead of here (may be repeated)
    #[argh(option)]
    pub(crate) on: Vec<String>,
    /// on every rig instead of here
    #[argh(switch)]
    pub(crate) on_all: bool,
}

/// Shut a key out, at once, here or (with the grant manage there) on rigs.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "revoke", example = "{command_name} KEY\n{command_name} KEY --on-all")]
pub(crate) struct PeersRevoke {
    /// the public key, or a peer's name or id
    #[argh(positional)]
    pub(crate) key: String,
    /// on this rig instead of here (may be repeated)
    #[argh(option)]
    pub(crate) on: Vec<String>,
    /// on every rig instead of here
    #[argh(switch)]
    pub(crate) on_all: bool,
}

/// Keep a key that is about to be replaced: whatever names a successor for it is dropped, here or (with the grant manage
/// there) on rigs.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "keep-key",
    example = "{command_name} rig-1\n{command_name} KEY --on-all",
    note = "`rigmesh status` says when a key names a successor. Was the key stolen, revoke it: both hands have it."
)]
pub(crate) struct PeersKeepKey {
    /// the public key, or a peer's name or id
    #[argh(positional)]
    pub(crate) key: String,
    /// on this rig instead of here (may be repeated)
    #[argh(option)]
    pub(crate) on: Vec<String>,
    /// on every rig instead of here
    #[argh(switch)]
    pub(crate) on_all: bool,
}

/// Accept protocol 1.0 again from a key that had secure sessions, after the node behind it went back to it.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "allow-plain", example = "{command_name} rig-1")]
pub(crate) struct PeersAllowPlain {
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
