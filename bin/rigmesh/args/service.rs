//! The node as a service of the machine.

use argh::FromArgs;
use std::path::PathBuf;

/// Run this node as a service of the machine: under systemd, or by a script for OpenRC or BusyBox.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "service", example = "{command_name} install --now -- --listen :9091\n{command_name} status")]
pub(crate) struct Service {
    #[argh(subcommand)]
    pub(crate) command: ServiceCommand,
}

#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub(crate) enum ServiceCommand {
    Install(ServiceInstall),
    Uninstall(ServiceUninstall),
    Status(ServiceStatus),
}

/// Write the unit of systemd that runs `serve` with the options after `--`.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "install",
    example = "{command_name} --now -- --listen :9091 --dht\n{command_name} --user --print\n{command_name} --init openrc --print > /etc/init.d/rigmesh",
    note = "The data folder is the one of --data-dir, or /var/lib/rigmesh; with --user the usual one of the user. A unit that this command did not write is never replaced without --force."
)]
pub(crate) struct ServiceInstall {
    /// for the user who types this, not for the machine
    #[argh(switch)]
    pub(crate) user: bool,
    /// the user the machine's service runs as (default: root, as huge pages and MSR of XMRig want it)
    #[argh(option)]
    pub(crate) run_as: Option<String>,
    /// the program to run (default: this one)
    #[argh(option)]
    pub(crate) program: Option<PathBuf>,
    /// write into the system image at this folder; systemctl is not called
    #[argh(option)]
    pub(crate) root: Option<PathBuf>,
    /// systemd, or with --print: openrc or busybox
    #[argh(option, default = "String::from(\"systemd\")")]
    pub(crate) init: String,
    /// show what would be written, and write nothing
    #[argh(switch)]
    pub(crate) print: bool,
    /// replace a unit that something else wrote
    #[argh(switch)]
    pub(crate) force: bool,
    /// let it start with the machine
    #[argh(switch)]
    pub(crate) enable: bool,
    /// let it start with the machine, and start it now
    #[argh(switch)]
    pub(crate) now: bool,
    /// options of `serve`, after `--`
    #[argh(positional)]
    pub(crate) serve: Vec<String>,
}

/// Stop the service and take its unit away. The data folder stays.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "uninstall", example = "{command_name}")]
pub(crate) struct ServiceUninstall {
    /// the service of the user who types this
    #[argh(switch)]
    pub(crate) user: bool,
    /// from the system image at this folder; systemctl is not called
    #[argh(option)]
    pub(crate) root: Option<PathBuf>,
    /// remove a unit that something else wrote
    #[argh(switch)]
    pub(crate) force: bool,
}

/// Show what systemd says of the service: 0 when it runs, 1 when not, 4 when there is no systemd to ask.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "status", example = "{command_name} --json")]
pub(crate) struct ServiceStatus {
    /// the service of the user who types this
    #[argh(switch)]
    pub(crate) user: bool,
}
