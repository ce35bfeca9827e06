//! The binary protocols: UEPS packets, and CryptoNote nodes.

use argh::FromArgs;
use std::path::PathBuf;

/// Signed packets with an intent: to rigs, as files and through pipes.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "ueps", example = "{command_name} read packets --key-file key")]
pub(crate) struct UepsArgs {
    #[argh(subcommand)]
    pub(crate) command: UepsCommand,
}

#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub(crate) enum UepsCommand {
    Build(UepsBuild),
    Read(UepsRead),
    Send(UepsSend),
}

/// Make a packet and sign it.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "build",
    example = "{command_name} --key-file key --intent compute --payload-file job -o packet\n{command_name} --key-file key --intent 0x77 --payload hello | nc rig 9092"
)]
pub(crate) struct UepsBuild {
    /// the file with the key both sides know: 32 bytes, or their hex or base64
    #[argh(option)]
    pub(crate) key_file: PathBuf,
    /// handshake, compute, rehab, custom, or a number from 0 to 255
    #[argh(option)]
    pub(crate) intent: String,
    /// the threat score, 0 to 65535; receivers refuse more than 50000 (default: 0)
    #[argh(option, default = "0")]
    pub(crate) threat: u16,
    /// the packet's version (default: 9)
    #[argh(option, default = "9")]
    pub(crate) packet_version: u8,
    /// the layer it comes from (default: 5)
    #[argh(option, default = "5")]
    pub(crate) from_layer: u8,
    /// the layer it is meant for (default: 5)
    #[argh(option, default = "5")]
    pub(crate) to_layer: u8,
    /// the payload as text
    #[argh(option)]
    pub(crate) payload: Option<String>,
    /// the file with the payload, or - for standard input
    #[argh(option)]
    pub(crate) payload_file: Option<PathBuf>,
    /// the file to write (0600); without it the bytes go to standard output
    #[argh(option, short = 'o')]
    pub(crate) output: Option<PathBuf>,
    /// overwrite the file
    #[argh(switch)]
    pub(crate) force: bool,
}

/// Check the packets of a stream and show what is in them.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "read", example = "{command_name} packets --key-file key --json")]
pub(crate) struct UepsRead {
    /// the file, or - for standard input
    #[argh(positional)]
    pub(crate) file: PathBuf,
    /// the file with the key both sides know: 32 bytes, or their hex or base64
    #[argh(option)]
    pub(crate) key_file: PathBuf,
    /// take unknown TLVs in the header; the payload's beginning is then not proven
    #[argh(switch)]
    pub(crate) lenient: bool,
}

/// Send a packet to rigs over their links, or to a plain TCP listener with its pre-shared key. Without a payload it is made
/// of a number, the time, and the options. The same packet twice is refused.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "send",
    example = "{command_name} --all --intent compute --profile night\n{command_name} rig-1 --intent rehab --reason \"too hot\"\n{command_name} --tcp 127.0.0.1:9095 --key-file panel.key --intent handshake"
)]
pub(crate) struct UepsSend {
    /// names, ids or beginnings of ids
    #[argh(positional)]
    pub(crate) rigs: Vec<String>,
    /// every rig
    #[argh(switch)]
    pub(crate) all: bool,
    /// a plain listener instead of rigs: HOST:PORT
    #[argh(option)]
    pub(crate) tcp: Option<String>,
    /// with --tcp: the file with the key both sides know
    #[argh(option)]
    pub(crate) key_file: Option<PathBuf>,
    /// handshake, compute, rehab, custom, or a number from 0 to 255
    #[argh(option)]
    pub(crate) intent: String,
    /// for compute: the profile to start, which the rig has
    #[argh(option)]
    pub(crate) profile: Option<String>,
    /// for rehab: why, as its status will say
    #[argh(option)]
    pub(crate) reason: Option<String>,
    /// the threat score, 0 to 65535; receivers refuse more than 50000 (default: 0)
    #[argh(option, default = "0")]
    pub(crate) threat: u16,
    /// the payload as text
    #[argh(option)]
    pub(crate) payload: Option<String>,
    /// the file with the payload, or - for standard input
    #[argh(option)]
    pub(crate) payload_file: Option<PathBuf>,
    /// with --tcp: how long to wait for the answer, seconds (default: 30)
    #[argh(option, default = "30")]
    pub(crate) timeout: u64,
}

/// Look at CryptoNote nodes (monerod and its kin), and at what they send.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "levin", example = "{command_name} probe node.lan:18080")]
pub(crate) struct Levin {
    #[argh(subcommand)]
    pub(crate) command: LevinCommand,
}

#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub(crate) enum LevinCommand {
    Probe(LevinProbe),
    Decode(LevinDecode),
}

/// Ask a CryptoNote node who it is, what it has of the chain and whom it knows.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "probe",
    example = "{command_name} node.lan:18080\n{command_name} node.lan:28080 --network testnet --json"
)]
pub(crate) struct LevinProbe {
    /// HOST:PORT of its P2P port
    #[argh(positional)]
    pub(crate) address: String,
    /// mainnet, testnet, stagenet, or 32 hex digits (default: mainnet)
    #[argh(option, default = "String::from(\"mainnet\")")]
    pub(crate) network: String,
    /// seconds each answer may take (default: 10)
    #[argh(option, default = "10")]
    pub(crate) timeout: u64,
}

/// Show what is in a recorded stream of Levin messages, or in one portable storage.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "decode", example = "{command_name} handshake.bin\n{command_name} - --json < stream")]
pub(crate) struct LevinDecode {
    /// the file, or - for standard input
    #[argh(positional)]
    pub(crate) file: PathBuf,
}
