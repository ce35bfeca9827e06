//! The audit log.

use argh::FromArgs;
use std::path::PathBuf;

/// Show or check the log of what this node was commanded to do. Only reads: the daemon may be running.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "audit",
    example = "{command_name} show --lines 50\n{command_name} verify --against controller-audit/"
)]
pub(crate) struct Audit {
    #[argh(subcommand)]
    pub(crate) command: AuditCommand,
}

#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub(crate) enum AuditCommand {
    Show(AuditShow),
    Tail(AuditTail),
    Verify(AuditVerify),
}

/// Show the last lines of the log.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "show", example = "{command_name} --lines 50")]
pub(crate) struct AuditShow {
    /// how many lines (default: 20)
    #[argh(option, default = "20")]
    pub(crate) lines: usize,
}

/// Show the last lines of rigs' logs, from afar (with the grant observe there).
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "tail", example = "{command_name} rig-1 --lines 50\n{command_name} --all --json")]
pub(crate) struct AuditTail {
    /// names or ids of rigs
    #[argh(positional)]
    pub(crate) rigs: Vec<String>,
    /// every rig
    #[argh(switch)]
    pub(crate) all: bool,
    /// how many lines of each, at most 500 (default: 20)
    #[argh(option, default = "20")]
    pub(crate) lines: u32,
}

/// Check the log's chain and signatures. Exit code 1 and the first bad line's number when it was tampered with.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "verify",
    example = "{command_name}\n{command_name} --against controller-audit/ --json",
    note = "Without the other side's log, an end that was cut off leaves no trace, and whoever has this node's keys can write another log."
)]
pub(crate) struct AuditVerify {
    /// the other side's audit log, a file or its folder: every place that it notes must lie on this log (may be repeated)
    #[argh(option)]
    pub(crate) against: Vec<PathBuf>,
}
