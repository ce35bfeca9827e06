//! Load tests.

use argh::FromArgs;

/// Put load on a running node of this machine and measure it.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "bench",
    example = "{command_name} rtt rig-1 --count 10000\n{command_name} sweep --all --json\n{command_name} idle 127.0.0.1:9091 --connections 500 --pid 4711"
)]
pub(crate) struct Bench {
    #[argh(subcommand)]
    pub(crate) command: BenchCommand,
}

#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub(crate) enum BenchCommand {
    Connect(BenchConnect),
    Rtt(BenchRtt),
    Throughput(BenchThroughput),
    Sweep(BenchSweep),
    Idle(BenchIdle),
}

/// Connect and disconnect again and again: from a dial to a proven link.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "connect", example = "{command_name} rig-1 --count 1000")]
pub(crate) struct BenchConnect {
    /// name or id of the node
    #[argh(positional)]
    pub(crate) rig: String,
    /// at most so many (default: 500)
    #[argh(option, default = "500")]
    pub(crate) count: u32,
    /// for at most so many seconds (default: 10)
    #[argh(option, default = "10")]
    pub(crate) seconds: u32,
    /// also when it is not on this machine
    #[argh(switch)]
    pub(crate) anywhere: bool,
}

/// One request and its answer at a time.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "rtt", example = "{command_name} rig-1 --count 10000")]
pub(crate) struct BenchRtt {
    /// name or id of the node
    #[argh(positional)]
    pub(crate) rig: String,
    /// at most so many (default: 3000: a node takes 4000 at once, then 2000 a second)
    #[argh(option, default = "3000")]
    pub(crate) count: u32,
    /// for at most so many seconds (default: 10)
    #[argh(option, default = "10")]
    pub(crate) seconds: u32,
    /// also when it is not on this machine
    #[argh(switch)]
    pub(crate) anywhere: bool,
}

/// Requests and their answers, 64 under way: a node takes as many a second as its configuration says.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "throughput", example = "{command_name} rig-1 --seconds 5")]
pub(crate) struct BenchThroughput {
    /// name or id of the node
    #[argh(positional)]
    pub(crate) rig: String,
    /// at most so many (default: 1000000)
    #[argh(option, default = "1_000_000")]
    pub(crate) count: u32,
    /// for at most so many seconds (default: 5)
    #[argh(option, default = "5")]
    pub(crate) seconds: u32,
    /// also when it is not on this machine
    #[argh(switch)]
    pub(crate) anywhere: bool,
}

/// The statistics of all rigs at once, again and again.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "sweep", example = "{command_name} --all --count 20")]
pub(crate) struct BenchSweep {
    /// names or ids of rigs
    #[argh(positional)]
    pub(crate) rigs: Vec<String>,
    /// every rig
    #[argh(switch)]
    pub(crate) all: bool,
    /// at most so many sweeps (default: 20)
    #[argh(option, default = "20")]
    pub(crate) count: u32,
    /// for at most so many seconds (default: 30)
    #[argh(option, default = "30")]
    pub(crate) seconds: u32,
    /// also when some are not on this machine
    #[argh(switch)]
    pub(crate) anywhere: bool,
}

/// Hold idle connections to a node that lets unknown keys in (serve --open), each under a key of its own.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "idle",
    example = "{command_name} 127.0.0.1:9091 --connections 500 --pid 4711",
    note = "The node's configuration bounds what it takes: connections_max, unproven_max, unproven_per_address_max."
)]
pub(crate) struct BenchIdle {
    /// where the node listens, HOST:PORT
    #[argh(positional)]
    pub(crate) address: String,
    /// how many (default: 100, at most 5000)
    #[argh(option, default = "100")]
    pub(crate) connections: usize,
    /// how long they are held, seconds (default: 5, at most 30: nobody answers their pings)
    #[argh(option, default = "5")]
    pub(crate) seconds: u64,
    /// speak protocol 1.0 instead of secure sessions
    #[argh(switch)]
    pub(crate) plain: bool,
    /// over TLS, whatever certificate is shown
    #[argh(switch)]
    pub(crate) tls: bool,
    /// the node's process, whose memory is looked at before and while they are held
    #[argh(option)]
    pub(crate) pid: Option<u32>,
    /// also when it is not on this machine
    #[argh(switch)]
    pub(crate) anywhere: bool,
}
