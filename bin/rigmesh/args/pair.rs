//! Becoming known to a node by a code, and letting nodes become known.

use argh::FromArgs;

/// Pair a rig with its controller: without an argument this rig shows a code, with one this controller uses it.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "pair",
    example = "rig$ {command_name}\nyou$ {command_name} 'rigmesh://pair/1?c=…'\nyou$ {command_name} K7QF2-9XM4R-A0B1C-D2E3F@rig-1.lan:9091"
)]
pub(crate) struct Pair {
    /// the link, or CODE@HOST:PORT (CODE@wss://HOST:PORT with TLS), as the rig shows it
    #[argh(positional)]
    pub(crate) with: Option<String>,
    /// on the rig: the most that whoever uses the code may do (default: observe,operate,deploy)
    #[argh(option)]
    pub(crate) grant: Option<String>,
    /// on the rig: how long the code is good (default 10)
    #[argh(option)]
    pub(crate) minutes: Option<u32>,
    /// on the rig: HOST:PORT where it can be dialled, when its interfaces do not say (may be repeated)
    #[argh(option)]
    pub(crate) address: Vec<String>,
    /// on the rig: show the code and end, instead of waiting until it is used
    #[argh(switch)]
    pub(crate) no_wait: bool,
    /// on the rig: withdraw the code
    #[argh(switch)]
    pub(crate) cancel: bool,
    /// on the controller: what to call the rig, instead of what it calls itself
    #[argh(option)]
    pub(crate) name: Option<String>,
}

/// Let many rigs become known to this controller by one link, for images of rigs: put it as `enrol.link` into each data folder.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "enrol", example = "{command_name} --uses 50 --days 7 > enrol.link\n{command_name} --show")]
pub(crate) struct Enrol {
    /// how many rigs may come (default 50)
    #[argh(option)]
    pub(crate) uses: Option<u32>,
    /// for how many days (default 7)
    #[argh(option)]
    pub(crate) days: Option<u32>,
    /// what this controller may do on them (default: observe,operate,deploy)
    #[argh(option)]
    pub(crate) grant: Option<String>,
    /// HOST:PORT where the rigs can dial this controller, when its interfaces do not say (may be repeated)
    #[argh(option)]
    pub(crate) address: Vec<String>,
    /// show how it stands and who came
    #[argh(switch)]
    pub(crate) show: bool,
    /// end it: the link is worth nothing any more
    #[argh(switch)]
    pub(crate) end: bool,
}
