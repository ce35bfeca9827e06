//! What can be typed after `discover`.

use argh::FromArgs;

/// Find rigs: those of a fleet in the DHT, or whoever is on the local link. Each is asked who it is; nobody enters a list.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "discover",
    example = "{command_name} --fleet north\n{command_name} --lan",
    note = "The secret of a fleet lies in fleets/NAME.key in the data folder (32 bytes, or their hex), the same on all its nodes."
)]
pub(crate) struct Discover {
    /// the fleet to look for in the DHT
    #[argh(option)]
    pub(crate) fleet: Option<String>,
    /// the fleet has no secret: anybody can see and flood it
    #[argh(switch)]
    pub(crate) public: bool,
    /// without a daemon: ask on the local link (a daemon does if it was started so)
    #[argh(switch)]
    pub(crate) lan: bool,
    /// without a daemon: HOST:PORT of a DHT node to begin with (may be repeated)
    #[argh(option)]
    pub(crate) bootstrap: Vec<String>,
    /// seconds it may take in all (default: 15)
    #[argh(option, default = "15")]
    pub(crate) timeout: u64,
}
