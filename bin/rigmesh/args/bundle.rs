//! Bundles as files.

use argh::FromArgs;
use std::path::PathBuf;

/// Files that carry a profile or a miner to a rig, as the Go tools read and write them.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "bundle", example = "{command_name} inspect xmrig.stim")]
pub(crate) struct BundleArgs {
    #[argh(subcommand)]
    pub(crate) command: BundleCommand,
}

#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub(crate) enum BundleCommand {
    Create(BundleCreate),
    Inspect(BundleInspect),
    Verify(BundleVerify),
    Extract(BundleExtract),
}

/// Make a bundle of a profile, of a miner's files, or of both.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "create",
    example = "{command_name} --miner xmrig --profile main.json --name xmrig --password-file pw -o xmrig.stim\n{command_name} --profile main.json --name main --as json -o main.json.bundle"
)]
pub(crate) struct BundleCreate {
    /// a profile's JSON file
    #[argh(option)]
    pub(crate) profile: Option<PathBuf>,
    /// a miner's file, or PATH=FILE for another path in the bundle (may be repeated)
    #[argh(option)]
    pub(crate) miner: Vec<String>,
    /// which path is run, when it is neither the only one nor named like the bundle
    #[argh(option)]
    pub(crate) main: Option<String>,
    /// what to call it
    #[argh(option)]
    pub(crate) name: String,
    /// a file whose first line is the password
    #[argh(option)]
    pub(crate) password_file: Option<PathBuf>,
    /// stim (sealed), json (sealed, with name and checksum) or tim (a plain archive); default: stim
    #[argh(option, long = "as", default = "String::from(\"stim\")")]
    pub(crate) form: String,
    /// the file to write
    #[argh(option, short = 'o')]
    pub(crate) output: PathBuf,
    /// replace it when it is there
    #[argh(switch)]
    pub(crate) force: bool,
}

/// Show what a bundle is and holds, without secrets.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "inspect", example = "{command_name} xmrig.stim --password-file pw")]
pub(crate) struct BundleInspect {
    /// the file
    #[argh(positional)]
    pub(crate) file: PathBuf,
    /// a file whose first line is the password, to look inside
    #[argh(option)]
    pub(crate) password_file: Option<PathBuf>,
}

/// Check a bundle's checksum, and with the password all that is in it.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "verify", example = "{command_name} xmrig.stim --checksum HEX")]
pub(crate) struct BundleVerify {
    /// the file
    #[argh(positional)]
    pub(crate) file: PathBuf,
    /// the SHA-256 it must have, 64 lower-case hex digits
    #[argh(option)]
    pub(crate) checksum: Option<String>,
    /// a file whose first line is the password
    #[argh(option)]
    pub(crate) password_file: Option<PathBuf>,
}

/// Take a bundle apart: a miner into a new folder, a profile into a file.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "extract", example = "{command_name} xmrig.stim --password-file pw --to xmrig")]
pub(crate) struct BundleExtract {
    /// the file
    #[argh(positional)]
    pub(crate) file: PathBuf,
    /// a file whose first line is the password
    #[argh(option)]
    pub(crate) password_file: Option<PathBuf>,
    /// the folder to make; it must not exist, or be empty
    #[argh(option)]
    pub(crate) to: Option<PathBuf>,
    /// the file the profile goes to (default: profile.json in the folder, when there is nothing else)
    #[argh(option)]
    pub(crate) profile_to: Option<PathBuf>,
    /// what the bundle is called, where it does not say so (default: the file's name)
    #[argh(option)]
    pub(crate) name: Option<String>,
    /// replace the profile's file when it is there
    #[argh(switch)]
    pub(crate) force: bool,
}
