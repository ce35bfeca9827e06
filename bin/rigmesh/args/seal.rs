//! Sealed forms and messages.

use argh::FromArgs;
use std::path::PathBuf;

/// Seal a form to a key, or a message under a password.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "seal", example = "{command_name} form --to KEY --field name=value -o form.stmf")]
pub(crate) struct Seal {
    #[argh(subcommand)]
    pub(crate) command: SealCommand,
}

#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub(crate) enum SealCommand {
    Form(SealForm),
    Message(SealMessage),
}

/// Seal a form (STMF) that only the owner of a key can open. It does not show who sealed it.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "form",
    example = "{command_name} --to KEY --field name=value --file log=miner.log -o form.stmf"
)]
pub(crate) struct SealForm {
    /// the reader's public key, as `rigmesh id` shows it there
    #[argh(option)]
    pub(crate) to: String,
    /// a field: NAME=VALUE (may be repeated)
    #[argh(option)]
    pub(crate) field: Vec<String>,
    /// a file: NAME=PATH (may be repeated)
    #[argh(option)]
    pub(crate) file: Vec<String>,
    /// a text about the form: NAME=VALUE (may be repeated)
    #[argh(option)]
    pub(crate) meta: Vec<String>,
    /// the file to write (0600); without it the sealed text is printed
    #[argh(option, short = 'o')]
    pub(crate) output: Option<PathBuf>,
    /// overwrite the file
    #[argh(switch)]
    pub(crate) force: bool,
}

/// Seal a message (SMSG) under a password.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "message",
    example = "{command_name} --password-file pw --body hello --attach miner.log -o note.smsg",
    note = "The password is the file's first line. It is hashed once without salt, so take a long random one: openssl rand -base64 32 > pw"
)]
pub(crate) struct SealMessage {
    /// the file with the password, or - for standard input
    #[argh(option)]
    pub(crate) password_file: PathBuf,
    /// the text
    #[argh(option)]
    pub(crate) body: Option<String>,
    /// the file with the text
    #[argh(option)]
    pub(crate) body_file: Option<PathBuf>,
    /// a file to put in (may be repeated)
    #[argh(option)]
    pub(crate) attach: Vec<PathBuf>,
    /// what it is about
    #[argh(option)]
    pub(crate) subject: Option<String>,
    /// who it is from, as you say
    #[argh(option)]
    pub(crate) from: Option<String>,
    /// a hint to the password, for everybody to read
    #[argh(option)]
    pub(crate) hint: Option<String>,
    /// zstd, gzip, none, or v1 for the oldest form (default: zstd)
    #[argh(option, default = "String::from(\"zstd\")")]
    pub(crate) compress: String,
    /// the file to write (0600); without it the sealed text is printed
    #[argh(option, short = 'o')]
    pub(crate) output: Option<PathBuf>,
    /// overwrite the file
    #[argh(switch)]
    pub(crate) force: bool,
}

/// Open a sealed form or message, and show what is in it.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "open",
    example = "{command_name} form.stmf\n{command_name} note.smsg --password-file pw --extract files"
)]
pub(crate) struct Open {
    /// the file, or - for standard input; as bytes or as text
    #[argh(positional)]
    pub(crate) file: PathBuf,
    /// the file with a message's password, or - for standard input
    #[argh(option)]
    pub(crate) password_file: Option<PathBuf>,
    /// the file with a form's private key, 32 bytes or their base64 (default: this node's own)
    #[argh(option)]
    pub(crate) key: Option<PathBuf>,
    /// write the files that are in it to this folder
    #[argh(option)]
    pub(crate) extract: Option<PathBuf>,
    /// overwrite files there
    #[argh(switch)]
    pub(crate) force: bool,
    /// show only what it says in clear, which anybody can change
    #[argh(switch)]
    pub(crate) peek: bool,
}
