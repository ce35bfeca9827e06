//! The subcommands of the binary that only the binary itself calls, and what only its load test needs.

use super::{hasher, process::launch};
pub use crate::runtime::net::idle::{IdleManner, IdlePeer};
use std::ffi::OsString;

/// Runs a hidden subcommand and returns its exit code; `None` when `args` (without the program's own name)
/// name none. For the `main` of the binary that [`crate::MinerSettings::binary`] points to, before it does
/// anything else.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Option<i32> {
    let mut args = args.into_iter();
    let name = args.next()?;
    let subcommand = match name.to_str()? {
        launch::SUBCOMMAND => launch::run,
        hasher::SUBCOMMAND => hasher::run,
        _ => return None,
    };
    Some(subcommand(&args.collect::<Vec<_>>()))
}
