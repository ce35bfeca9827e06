//! What goes into the mesh machine and what comes out of it. The runtime (real sockets) and the
//! simulator (virtual ones) speak exactly these words.

use crate::base::{Error, Result, Timestamp};
use crate::identity::{NodeId, PublicKey};
use crate::message::{Message, Payload};
use crate::miners::{LogSlice, MinerStats};
use crate::peers::Grants;
use crate::session::{Established, Expect, InboundLimits, Lane};
use std::sync::Arc;
use std::time::Duration;

/// One connection, from accept or dial to its end. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId(pub(crate) u64);

/// One attempt to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DialId(pub(crate) u64);

/// One call of a handle that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallId(pub(crate) u64);

/// One piece of slow work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct JobId(pub(crate) u64);

/// How to reach a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// `host:port`.
    pub(crate) address: String,
    /// Who must answer there.
    pub(crate) expect: Expect,
    /// Dial with TLS (`wss`).
    pub(crate) tls: bool,
    /// SHA-256 of the server certificate that must be shown, when pinned.
    pub(crate) tls_pin: Option<[u8; 32]>,
}

/// What happened outside.
#[derive(Debug)]
pub(crate) enum Input {
    /// A handshake was completed.
    LinkUp {
        link: LinkId,
        established: Box<Established>,
        address: String,
        dial: Option<DialId>,
        limits: Arc<InboundLimits>,
    },
    /// A frame opened.
    Message { link: LinkId, message: Message },
    /// The connection is gone.
    LinkDown { link: LinkId, why: Error },
    /// A dial failed.
    DialFailed { dial: DialId, why: Error },
    /// A message could not be queued: the peer's queue is full, or the message too large.
    NotSent { message: String, why: Error },
    /// A snapshot of the marks is on disk, or could not be written.
    MarksSaved { version: u64, result: Result<()> },
    /// A job ended, or could not be taken.
    JobDone { job: JobId, result: Result<JobResult> },
}

/// What a handle asks for.
#[derive(Debug)]
pub(crate) enum Command {
    /// Send a request, connecting first if need be, and answer with the reply.
    Call { call: CallId, peer: String, payload: Payload, timeout: Duration },
    /// Connect and answer when the peer is proven.
    Connect { call: CallId, target: ConnectTo, timeout: Duration },
    /// Say goodbye and close all links to a peer.
    Disconnect { call: CallId, peer: String, reason: String, code: i64 },
    /// Send a ready message over the active link.
    Send { call: CallId, peer: String, message: Message },
    /// Send a payload to every connected peer except `except`; answers with a [`Answer::Count`].
    Broadcast { call: CallId, payload: Payload, except: Option<String> },
    /// The links as they stand.
    Links { call: CallId },
    /// Keep this connection up for ever.
    AddUplink { target: Target },
    /// Who may do what has changed on disk: close the links of keys that lost admission.
    AccessChanged,
    /// How far the wall clock runs behind what this node has seen.
    Clock { call: CallId },
    /// Forget floors and marks of a key, or of all.
    ResetClock { call: CallId, key: Option<PublicKey> },
    /// Refuse new calls, answer the pending ones, say goodbye to every peer.
    Shutdown,
}

/// Whom to connect to.
#[derive(Debug)]
pub(crate) enum ConnectTo {
    /// A peer of the registry.
    Peer(String),
    /// An address, with the key that must answer there.
    Address(Target),
}

/// What the mesh wants done.
#[derive(Debug)]
pub(crate) enum Output {
    /// Open a connection.
    Dial { dial: DialId, target: Target },
    /// Send over a link. `call`, when given, is answered with whether it could be queued.
    Send { link: LinkId, lane: Lane, message: Message, call: Option<CallId> },
    /// The peer announced its limits: pace by them.
    Announced { link: LinkId, burst: u32, rate_per_s: u32, message_bytes_max: usize },
    /// The connection is proven: it no longer counts as half-open.
    Proven { link: LinkId },
    /// Flush what is queued, then close.
    Close { link: LinkId, why: Error },
    /// Answer a call.
    Answer { call: CallId, result: Result<Answer> },
    /// A message that this machine has no use for: the embedder's.
    Inbound { peer: String, message: Message },
    /// Do slow work. `marks`, when given, must be on disk before the work begins.
    Job { job: JobId, permit: Permit, marks: Option<MarksSnapshot>, work: Work },
    /// A job is past its deadline: its thread counts as hung.
    JobOverdue { job: JobId },
    /// Save the marks when convenient.
    SaveMarks(MarksSnapshot),
}

/// What a job needs to be allowed to start; asked again when it does.
#[derive(Clone, Debug)]
pub(crate) struct Permit {
    pub(crate) key: PublicKey,
    pub(crate) grant: Option<Grants>,
}

/// Slow work on the rig.
#[derive(Debug)]
pub(crate) enum Work {
    Stats,
    Start { miner_type: String, profile_id: Option<String>, config: Option<serde_json::Value> },
    Stop { miner: String },
    Logs { miner: String, lines: usize, since_ms: Option<i64> },
}

/// What slow work gave.
#[derive(Debug)]
pub(crate) enum JobResult {
    Stats(Vec<MinerStats>),
    Started { name: String },
    Stopped { name: String },
    Logs(LogSlice),
}

/// The freshness table at one moment; a higher version replaces a lower one, never the reverse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MarksSnapshot {
    pub(crate) version: u64,
    pub(crate) text: String,
}

/// What a call gives.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The reply to a request, and the round trip.
    Reply { message: Message, round_trip: Duration },
    /// A proven link.
    Connected(LinkInfo),
    /// How many.
    Count(usize),
    /// Done, nothing to tell.
    Done,
    /// The links.
    Links(Vec<LinkInfo>),
    /// How far the wall clock runs behind, when that is worth a warning.
    ClockBehind(Option<Duration>),
}

/// One link as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkInfo {
    /// The peer's node id.
    pub peer: NodeId,
    /// The peer's key.
    pub key: PublicKey,
    /// The name it states.
    pub name: String,
    /// The role it states.
    pub role: String,
    /// Where it is, as `host:port`.
    pub address: String,
    /// Whether we dialled.
    pub dialled: bool,
    /// Whether it has proven its key on this link.
    pub proven: bool,
    /// Whether messages to this peer go over this link.
    pub active: bool,
    /// Whether it announced itself as a RigMesh node.
    pub rigmesh: bool,
    /// Since when.
    pub since: Timestamp,
    /// By how many milliseconds its clock was ahead of ours at its last pong.
    pub clock_skew_ms: Option<i64>,
    /// Messages and frames dropped.
    pub dropped: u64,
    /// A warning for the status, such as a copied disk.
    pub note: Option<String>,
}
