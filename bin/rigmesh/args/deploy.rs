//! Miners and profiles on their way to rigs.

use argh::FromArgs;
use std::path::PathBuf;

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
