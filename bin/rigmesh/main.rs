//! The `rigmesh` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = rigmesh::hidden::run(std::env::args_os().skip(1)) {
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    ExitCode::SUCCESS
}
