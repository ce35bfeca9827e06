//! What can be typed after `dht`.

use argh::FromArgs;
use std::path::PathBuf;

/// Take part in the DHT, in which rigs are found without a server; publish there, and find.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "dht",
    example = "{command_name} node --bootstrap seed.example:4121\n{command_name} resolve ADDRESS --bootstrap seed.example:4121"
)]
pub(crate) struct Dht {
    #[argh(subcommand)]
    pub(crate) command: DhtCommand,
}

#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub(crate) enum DhtCommand {
    Node(DhtNode),
    Publish(DhtPublish),
    Resolve(DhtResolve),
    Topic(DhtTopic),
    Mailbox(DhtMailbox),
    Ping(DhtPing),
    FindNode(DhtFindNode),
    Stats(DhtStats),
    Bench(DhtBench),
}

/// Run a node of the DHT until a signal ends it. What it knows lies in the data folder, for the next start.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "node",
    example = "{command_name} --bootstrap seed.example:4121\n{command_name} --bind 0.0.0.0:4121 --debug-http 127.0.0.1:2634"
)]
pub(crate) struct DhtNode {
    /// HOST:PORT of a node to begin with; may be given several times (default: those of the last run)
    #[argh(option)]
    pub(crate) bootstrap: Vec<String>,
    /// IP:PORT of the UDP socket; [::] takes IPv4 as well (default: [::]:4121)
    #[argh(option, default = "String::from(\"[::]:4121\")")]
    pub(crate) bind: String,
    /// the file with the node's Ed25519 seed: 32 bytes, or their hex or base64 (default: the identity's sign.key)
    #[argh(option)]
    pub(crate) key_file: Option<PathBuf>,
    /// run under a new key, and leave nothing behind
    #[argh(switch)]
    pub(crate) ephemeral: bool,
    /// look for nobody of its own accord
    #[argh(switch)]
    pub(crate) passive: bool,
    /// IP:PORT at which pages about the node are served, best on loopback
    #[argh(option)]
    pub(crate) debug_http: Option<String>,
    /// seconds that joining may take (default: 30)
    #[argh(option, default = "30")]
    pub(crate) timeout: u64,
}

/// Publish where this key's owner is reached.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "publish", example = "{command_name} ws://192.0.2.7:9091/ws --bootstrap seed.example:4121")]
pub(crate) struct DhtPublish {
    /// places, such as ws://IP:PORT/ws; none withdraws what was published
    #[argh(positional)]
    pub(crate) places: Vec<String>,
    /// seconds the record lives (default: 3600)
    #[argh(option, default = "3600")]
    pub(crate) ttl: u32,
    /// HOST:PORT of a node to begin with; may be given several times (default: those of the last run of dht node)
    #[argh(option)]
    pub(crate) bootstrap: Vec<String>,
    /// IP:PORT of the UDP socket (default: any)
    #[argh(option, default = "String::from(\"[::]:0\")")]
    pub(crate) bind: String,
    /// the file with the Ed25519 seed that signs: 32 bytes, or their hex or base64 (default: the identity's sign.key)
    #[argh(option)]
    pub(crate) key_file: Option<PathBuf>,
    /// sign with a new key
    #[argh(switch)]
    pub(crate) ephemeral: bool,
    /// seconds each step may take (default: 30)
    #[argh(option, default = "30")]
    pub(crate) timeout: u64,
}

/// Find where an address is reached.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "resolve", example = "{command_name} ADDRESS --bootstrap seed.example:4121 --json")]
pub(crate) struct DhtResolve {
    /// an address in any of its forms, or an id of 64 hex digits
    #[argh(positional)]
    pub(crate) address: String,
    /// HOST:PORT of a node to begin with; may be given several times (default: those of the last run of dht node)
    #[argh(option)]
    pub(crate) bootstrap: Vec<String>,
    /// IP:PORT of the UDP socket (default: any)
    #[argh(option, default = "String::from(\"[::]:0\")")]
    pub(crate) bind: String,
    /// seconds each step may take (default: 30)
    #[argh(option, default = "30")]
    pub(crate) timeout: u64,
}

/// Stand under a topic, or see who does.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "topic", example = "{command_name} find rigs --bootstrap seed.example:4121")]
pub(crate) struct DhtTopic {
    #[argh(subcommand)]
    pub(crate) command: TopicCommand,
}

#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub(crate) enum TopicCommand {
    Publish(TopicPublish),
    Find(TopicFind),
}

/// Publish an entry under a topic.
#[derive(Debug, FromArgs)]
#[argh(
    subcommand,
    name = "publish",
    example = "{command_name} rigs --name rig-1 --protocol ws --tag gpu --bootstrap seed.example:4121"
)]
pub(crate) struct TopicPublish {
    /// the topic
    #[argh(positional)]
    pub(crate) topic: String,
    /// what to be called there
    #[argh(option, default = "String::new()")]
    pub(crate) name: String,
    /// what it is, in at most 140 characters
    #[argh(option, default = "String::new()")]
    pub(crate) brief: String,
    /// a protocol it speaks; may be given several times
    #[argh(option)]
    pub(crate) protocol: Vec<String>,
    /// a word to find it by; may be given several times
    #[argh(option)]
    pub(crate) tag: Vec<String>,
    /// seconds the record lives (default: 3600)
    #[argh(option, default = "3600")]
    pub(crate) ttl: u32,
    /// HOST:PORT of a node to begin with; may be given several times (default: those of the last run of dht node)
    #[argh(option)]
    pub(crate) bootstrap: Vec<String>,
    /// IP:PORT of the UDP socket (default: any)
    #[argh(option, default = "String::from(\"[::]:0\")")]
    pub(crate) bind: String,
    /// the file with the Ed25519 seed that signs: 32 bytes, or their hex or base64 (default: the identity's sign.key)
    #[argh(option)]
    pub(crate) key_file: Option<PathBuf>,
    /// sign with a new key
    #[argh(switch)]
    pub(crate) ephemeral: bool,
    /// seconds each step may take (default: 30)
    #[argh(option, default = "30")]
    pub(crate) timeout: u64,
}

/// List the entries under a topic. Anybody can stand there.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "find", example = "{command_name} rigs --tag gpu --bootstrap seed.example:4121")]
pub(crate) struct TopicFind {
    /// the topic
    #[argh(positional)]
    pub(crate) topic: String,
    /// only who speaks one of these; may be given several times
    #[argh(option)]
    pub(crate) protocol: Vec<String>,
    /// only who has all of these words; may be given several times
    #[argh(option)]
    pub(crate) tag: Vec<String>,
    /// HOST:PORT of a node to begin with; may be given several times (default: those of the last run of dht node)
    #[argh(option)]
    pub(crate) bootstrap: Vec<String>,
    /// IP:PORT of the UDP socket (default: any)
    #[argh(option, default = "String::from(\"[::]:0\")")]
    pub(crate) bind: String,
    /// seconds each step may take (default: 30)
    #[argh(option, default = "30")]
    pub(crate) timeout: u64,
}

/// Leave short sealed messages for an address, and read one's own.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "mailbox", example = "{command_name} read --bootstrap seed.example:4121")]
pub(crate) struct DhtMailbox {
    #[argh(subcommand)]
    pub(crate) command: MailboxCommand,
}

#[derive(Debug, FromArgs)]
#[argh(subcommand)]
pub(crate) enum MailboxCommand {
    Send(MailboxSend),
    Read(MailboxRead),
}

/// Seal a message to an address that has published an endpoint record. Who writes to whom is in the clear.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "send", example = "{command_name} ADDRESS message.txt --bootstrap seed.example:4121")]
pub(crate) struct MailboxSend {
    /// the recipient's address
    #[argh(positional)]
    pub(crate) to: String,
    /// the file with the message, at most 379 bytes, or - for standard input
    #[argh(positional)]
    pub(crate) file: PathBuf,
    /// seconds the message lives (default: 86400)
    #[argh(option, default = "86_400")]
    pub(crate) ttl: u32,
    /// HOST:PORT of a node to begin with; may be given several times (default: those of the last run of dht node)
    #[argh(option)]
    pub(crate) bootstrap: Vec<String>,
    /// IP:PORT of the UDP socket (default: any)
    #[argh(option, default = "String::from(\"[::]:0\")")]
    pub(crate) bind: String,
    /// the file with the Ed25519 seed that signs: 32 bytes, or their hex or base64 (default: the identity's sign.key)
    #[argh(option)]
    pub(crate) key_file: Option<PathBuf>,
    /// write as a new key
    #[argh(switch)]
    pub(crate) ephemeral: bool,
    /// seconds each step may take (default: 30)
    #[argh(option, default = "30")]
    pub(crate) timeout: u64,
}

/// Read the messages sealed to this key.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "read", example = "{command_name} --bootstrap seed.example:4121 --json")]
pub(crate) struct MailboxRead {
    /// HOST:PORT of a node to begin with; may be given several times (default: those of the last run of dht node)
    #[argh(option)]
    pub(crate) bootstrap: Vec<String>,
    /// IP:PORT of the UDP socket (default: any)
    #[argh(option, default = "String::from(\"[::]:0\")")]
    pub(crate) bind: String,
    /// the file with the Ed25519 seed that reads: 32 bytes, or their hex or base64 (default: the identity's sign.key)
    #[argh(option)]
    pub(crate) key_file: Option<PathBuf>,
    /// seconds each step may take (default: 30)
    #[argh(option, default = "30")]
    pub(crate) timeout: u64,
}

/// Ask a node who it is.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "ping", example = "{command_name} seed.example:4121")]
pub(crate) struct DhtPing {
    /// HOST:PORT of the node
    #[argh(positional)]
    pub(crate) node: String,
    /// IP:PORT of the UDP socket (default: any)
    #[argh(option, default = "String::from(\"[::]:0\")")]
    pub(crate) bind: String,
    /// seconds to wait (default: 10)
    #[argh(option, default = "10")]
    pub(crate) timeout: u64,
}

/// Find the nodes nearest to a point of the key space.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "find-node", example = "{command_name} ADDRESS --bootstrap seed.example:4121")]
pub(crate) struct DhtFindNode {
    /// an address in any of its forms, or an id of 64 hex digits
    #[argh(positional)]
    pub(crate) target: String,
    /// ask only this HOST:PORT, and give its answer as it came
    #[argh(option)]
    pub(crate) at: Option<String>,
    /// HOST:PORT of a node to begin with; may be given several times (default: those of the last run of dht node)
    #[argh(option)]
    pub(crate) bootstrap: Vec<String>,
    /// IP:PORT of the UDP socket (default: any)
    #[argh(option, default = "String::from(\"[::]:0\")")]
    pub(crate) bind: String,
    /// seconds each step may take (default: 30)
    #[argh(option, default = "30")]
    pub(crate) timeout: u64,
}

/// Show the figures of a running node, from the pages it serves with --debug-http.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "stats", example = "{command_name}\n{command_name} --debug-http 127.0.0.1:2634 --json")]
pub(crate) struct DhtStats {
    /// IP:PORT of its pages (default: 127.0.0.1:2634)
    #[argh(option, default = "String::from(rigmesh::dht::DEBUG_HTTP_ADDR)")]
    pub(crate) debug_http: String,
    /// seconds to wait (default: 10)
    #[argh(option, default = "10")]
    pub(crate) timeout: u64,
}

/// Measure this machine: a network of nodes in one process, over loopback.
#[derive(Debug, FromArgs)]
#[argh(subcommand, name = "bench", example = "{command_name} --nodes 64 --records 200")]
pub(crate) struct DhtBench {
    /// how many nodes, 2 to 512 (default: 64)
    #[argh(option, default = "64")]
    pub(crate) nodes: usize,
    /// how many records are published and looked for, 1 to 10000 (default: 200)
    #[argh(option, default = "200")]
    pub(crate) records: usize,
    /// seconds each step may take (default: 30)
    #[argh(option, default = "30")]
    pub(crate) timeout: u64,
}
