//! What goes into the mesh machine and what comes out of it. The runtime (real sockets) and the
//! simulator (virtual ones) speak exactly these words.

use super::audit::Origin;
use super::found::{FoundBy, FoundRig, OwnRecord};
use super::intents::{IntentAnswer, IntentContext};
use super::rotation::Told;
use crate::base::{Error, Result, Time, Timestamp};
use crate::identity::{Address, NodeId, PublicKey, Rotation};
use crate::kad::Sighting;
use crate::message::{
    AccessReply, AuditTail, Chunk, Deploy, DeployOffer, Message, Payload, RawPayload, Rotated, VersionItem,
};
use crate::miners::{LogSlice, MinerStats};
use crate::peers::{AccessChange, AuditMark, Grants};
use crate::session::pairing::Joining;
use crate::session::{Established, Expect, InboundLimits, Lane};
use crate::wire::ueps::{Header, PacketBuf, Standing};
use base64::Engine as _;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
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
    /// A record names this place: any certificate will do, because the key that must answer is known and proven inside.
    pub(crate) found: bool,
    /// This node and whoever answers become known to each other by it.
    pub(crate) pairing: Option<Arc<PairAim>>,
}

/// How a dial pairs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PairAim {
    pub(crate) joining: Joining,
    /// What whoever answers may do here; `None`: what it may do already, which is usually nothing.
    pub(crate) grants: Option<Grants>,
    /// What it is called here, instead of what it calls itself.
    pub(crate) name: Option<String>,
    /// What this node may do over there, once that was said.
    pub(crate) granted: OnceLock<Vec<String>>,
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
        /// SHA-256 of the certificate that a server showed whom we dialled.
        certificate: Option<[u8; 32]>,
        limits: Arc<InboundLimits>,
    },
    /// A frame opened.
    Message { link: LinkId, message: Message },
    /// A UEPS packet came in a frame of its own: well-formed, not verified.
    Packet { link: LinkId, packet: Vec<u8> },
    /// A chunk and its place came in frames of data.
    Data { link: LinkId, body: Vec<u8> },
    /// The peer of a secure session breaks its rules: it is told so, and that is the end.
    LinkBroken { link: LinkId, why: &'static str },
    /// The connection is gone.
    LinkDown { link: LinkId, why: Error },
    /// A dial failed.
    DialFailed { dial: DialId, why: Error },
    /// A message could not be queued: the peer's queue is full, or the message too large.
    NotSent { message: String, why: Error },
    /// A snapshot of the marks is on disk, or could not be written.
    MarksSaved { version: u64, result: Result<()> },
    /// A job ended, or could not be taken. `mark` is where the audit log says how.
    JobDone { job: JobId, result: Result<JobResult>, mark: Option<AuditMark> },
    /// The depot did something, or could not.
    Depot(DepotEvent),
    /// A successor is in its predecessor's place, or has proven itself for it.
    Succeeded,
    /// An [`Output::Search`] is over.
    Searched { address: Address, sighting: Option<Box<Sighting>> },
}

/// What a handle asks for.
#[derive(Debug)]
pub(crate) enum Command {
    /// Send a request, connecting first if need be, and answer with the reply.
    /// `id`, when given, is the message's.
    Call { call: CallId, peer: String, payload: Payload, id: Option<String>, timeout: Duration },
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
    /// Send a UEPS packet over the active link, keyed for it; answered with an [`Answer::Intent`].
    Ueps { call: CallId, peer: String, header: Header, payload: Vec<u8>, id: Option<String>, timeout: Duration },
    /// Who sent forged packets; answered with [`Answer::Threats`].
    Threats { call: CallId },
    /// Keep this connection up for ever.
    AddUplink { target: Target },
    /// Have a rig get an object. Answered with [`Answer::Deployed`], or [`Answer::Plain`] when the peer takes no
    /// chunked deployments.
    Deploy {
        call: Option<CallId>,
        peer: String,
        object: Arc<FeedObject>,
        profile: RawPayload,
        activate: bool,
        /// Go on when the rig is back, with or without a caller.
        keep: bool,
    },
    /// What an earlier run owed a rig cannot be made again.
    ForgetOwed { peer: String, t: String },
    /// Forget what a rig is owed; answered with how many.
    CancelDeploys { call: CallId, peer: String },
    /// How far every rig is; answered with [`Answer::Deploys`].
    Deploys { call: CallId },
    /// Who may do what has changed on disk: close the links of keys that lost admission.
    AccessChanged,
    /// This node's keys are replaced: known peers are told, now and in every session.
    Rotate(Box<Rotation>),
    /// What they said to that.
    Rotation { call: CallId },
    /// How far the wall clock runs behind what this node has seen.
    Clock { call: CallId },
    /// Forget floors and marks of a key, or of all.
    ResetClock { call: CallId, key: Option<PublicKey> },
    /// A record of a rig was found.
    Sighted { sighting: Box<Sighting>, by: FoundBy },
    /// The rigs that were found; answered with [`Answer::Found`].
    Found { call: CallId },
    /// Connect to a rig that was found; answered with [`Answer::Connected`] when it is confirmed.
    Hunt { call: CallId, address: Address, own: Vec<IpAddr>, keep: bool, timeout: Duration },
    /// This node's own record, as neighbours are told it.
    OwnRecord(Option<OwnRecord>),
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
    /// Send what is no message over a secure session. When it cannot be queued, `request`, if given, is told of in an
    /// [`Input::NotSent`].
    SendRaw { link: LinkId, lane: Lane, body: Vec<u8>, request: Option<String> },
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
    /// Work for the depot, in order.
    Depot(DepotTask),
    /// A job is past its deadline: its thread counts as hung.
    JobOverdue { job: JobId },
    /// Save the marks when convenient.
    SaveMarks(MarksSnapshot),
    /// A successor's time has come: put it in its predecessor's place, then [`Input::Succeeded`].
    FollowSuccessors,
    /// Ask the DHT where a rig is; [`Input::Searched`] says when that is over.
    Search { address: Address },
}

/// What a job needs to be allowed to start; asked again when it does.
#[derive(Clone, Debug)]
pub(crate) struct Permit {
    pub(crate) key: PublicKey,
    pub(crate) grant: Option<Grants>,
    /// For the audit log.
    pub(crate) origin: Origin,
}

/// Slow work on the rig.
#[derive(Debug)]
pub(crate) enum Work {
    Stats,
    Start {
        miner_type: String,
        profile_id: Option<String>,
        config: Option<serde_json::Value>,
    },
    Stop {
        miner: String,
    },
    Logs {
        miner: String,
        lines: usize,
        since_ms: Option<i64>,
    },
    /// Pause or resume one miner, or all.
    Pause {
        miner: Option<String>,
        pause: bool,
    },
    /// A bundle in one message, as Go nodes send it.
    Deploy(Box<Deploy>),
    Versions {
        name: Option<String>,
    },
    Rollback {
        name: String,
        slot: Option<u32>,
    },
    /// A packet for its handler.
    Intent(Box<IntentJob>),
    /// What a key may do is changed by one that has `manage`.
    Access {
        key: PublicKey,
        change: AccessChange,
    },
    /// A peer, which has proven itself with the signing key `sign`, says that a key is replaced.
    Rotate {
        said: Box<Rotation>,
        sign: [u8; 32],
    },
    /// The end of the audit log.
    AuditTail {
        lines: u32,
    },
}

/// A verified packet and who sent it.
#[derive(Debug)]
pub(crate) struct IntentJob {
    pub(crate) context: IntentContext,
    pub(crate) packet: PacketBuf,
}

/// One object owed to one rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FeedId(pub(crate) u64);

/// How far a rig is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedInfo {
    /// The rig's node id.
    pub peer: String,
    /// The object's id.
    pub object: String,
    /// `waiting`, `connecting`, `offered`, `sending`, `installing` or `away`.
    pub state: &'static str,
    /// Bytes the rig has.
    pub done: u64,
    /// Bytes of the whole object.
    pub total: u64,
}

/// One transfer on the rig's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PullId(pub(crate) u64);

/// An object to hand out, and where its bytes are.
#[derive(Debug)]
pub(crate) struct FeedObject {
    /// Its id, hex.
    pub(crate) t: String,
    /// The manifest as it is sent.
    pub(crate) manifest: Arc<str>,
    /// Bytes of all its files.
    pub(crate) size: u64,
    /// Chunks of it.
    pub(crate) chunks: u32,
    pub(crate) source: Arc<dyn ChunkSource>,
}

/// Where the bytes of an object are read from.
pub(crate) trait ChunkSource: Send + Sync + std::fmt::Debug {
    /// One chunk, as the manifest says it is. `file changed` when it no longer is.
    fn read(&self, index: u32) -> Result<Vec<u8>>;

    /// How the object can be made again after a restart: what the file of what is owed keeps.
    fn recipe(&self) -> serde_json::Value;
}

/// An object that a rig is owed.
#[derive(Clone, Debug)]
pub(crate) struct Owed {
    pub(crate) peer: String,
    pub(crate) object: Arc<FeedObject>,
    pub(crate) profile: RawPayload,
    pub(crate) activate: bool,
}

/// A chunk as it travels. Packing and unpacking is the depot's work.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// Over a 1.0 link: the payload of a `chunk` message.
    Payload(RawPayload),
    /// In a secure session: the body of frames of data.
    Framed(Vec<u8>),
}

impl Parcel {
    /// Packs a chunk.
    pub(crate) fn pack(framed: bool, h: u32, index: u32, data: &[u8]) -> Parcel {
        if framed {
            return Parcel::Framed(Chunk::encode_frame(h, index, data));
        }
        let mut text = format!("{{\"h\":{h},\"i\":{index},\"data\":\"");
        text.reserve(data.len() * 4 / 3 + 8);
        base64::engine::general_purpose::STANDARD.encode_string(data, &mut text);
        text.push_str("\"}");
        Parcel::Payload(RawPayload::from_compact(text))
    }

    /// The chunk in it; `None` when there is none.
    pub(crate) fn data(&self) -> Option<Cow<'_, [u8]>> {
        match self {
            Parcel::Payload(raw) => raw.parse::<Chunk>().ok().map(|chunk| Cow::Owned(chunk.data)),
            Parcel::Framed(body) => Chunk::decode_frame(body).ok().map(|(_, _, data)| Cow::Borrowed(data)),
        }
    }
}

/// Work for the depot, which does one thing after the other.
#[derive(Debug)]
pub(crate) enum DepotTask {
    /// What lies on disk of an object? The marks, if any, are saved first.
    Offer { pull: PullId, permit: Permit, marks: Option<MarksSnapshot>, offer: Box<DeployOffer>, size_max: u64 },
    /// Check a chunk and write it.
    Store { pull: PullId, t: String, index: u32, chunk: Parcel },
    /// Everything is there: install it.
    Install { pull: PullId, permit: Permit, t: String, profile: RawPayload, activate: bool },
    /// A transfer was given up: its data goes.
    Forget { t: String },
    /// A transfer has stopped for now: its data stays for the next offer.
    LetGo { t: String },
    /// Who may deploy has changed: data of keys that may no longer goes.
    CheckKeys,
    /// Read a chunk for a rig and pack it: for a frame of data, or as the payload of a message.
    Read { feed: FeedId, h: u32, object: Arc<FeedObject>, index: u32, framed: bool },
    /// Write down what rigs are owed.
    SaveOwed(Vec<Owed>),
    /// A deployment that outlived its caller is over: the audit log says how, and where the rig's own says so.
    Unattended { rig: PublicKey, t: String, failed: Option<String>, mark: Option<AuditMark> },
    /// Of what an earlier run left written down, a rig is owed this no more; or nothing at all.
    ForgetOwed { peer: String, t: Option<String> },
}

/// What the depot did.
#[derive(Debug)]
pub(crate) enum DepotEvent {
    Offered {
        pull: PullId,
        result: Result<Offered>,
        /// Where the audit log says how it ended, when it was installed already and may have been switched to.
        mark: Option<AuditMark>,
    },
    Stored {
        pull: PullId,
        index: u32,
        result: Result<Stored>,
    },
    Installed {
        pull: PullId,
        result: Result<u32>,
        mark: Option<AuditMark>,
    },
    Read {
        feed: FeedId,
        h: u32,
        index: u32,
        chunk: Result<Parcel>,
    },
    /// Marks that belonged to an offer could not be saved.
    MarksFailed,
}

/// What lies on disk of an object that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It is installed; switched to when that was asked.
    Installed { slot: u32 },
    /// All of it.
    Have,
    /// All but these chunks: first and count.
    Need { missing: Vec<(u32, u32)>, bytes: u64 },
    /// It is not taken, for this reason.
    Refused(String),
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Kept,
    /// It is not what the manifest says.
    Wrong,
}

/// What slow work gave.
#[derive(Debug)]
pub(crate) enum JobResult {
    Stats {
        miners: Vec<MinerStats>,
        /// Why all of them are paused, when they are.
        held: Option<String>,
    },
    Started {
        name: String,
    },
    Stopped {
        name: String,
    },
    Logs(LogSlice),
    /// A bundle was installed; its name given back.
    Deployed {
        name: String,
    },
    Versions(Vec<VersionItem>),
    /// How a key stands now.
    Access(AccessReply),
    /// How a replacement stands now.
    Rotated(Rotated),
    /// Lines of the audit log.
    AuditTail(AuditTail),
    /// It was not carried out, because the audit log could not take its line; what the sender hears.
    NotRecorded(String),
    /// A packet's handler has spoken, or there was none.
    Intent {
        intent: u8,
        answer: IntentAnswer,
    },
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
    /// What this node says of its own keys, and what its peers said to that.
    Rotation(Option<(Rotation, Vec<(PublicKey, Told)>)>),
    /// How far the wall clock runs behind, when that is worth a warning.
    ClockBehind(Option<Duration>),
    /// The rig has the object; `already`: it had it before. `mark` is the place on its audit chain.
    Deployed { slot: Option<u32>, already: bool, mark: Option<AuditMark> },
    /// The rig tried, and says why it failed and where its audit chain says so.
    NotDeployed { why: Error, mark: AuditMark },
    /// The peer takes no chunked deployments: it is no RigMesh node, or one without them.
    Plain,
    /// How far every rig is.
    Deploys(Vec<FeedInfo>),
    /// What a packet gave.
    Intent(IntentAnswer),
    /// The rigs that were found.
    Found(Vec<FoundRig>),
    /// Keys that sent forged packets, and how they stand.
    Threats(Vec<(PublicKey, ThreatInfo)>),
}

/// How a sender of forged packets stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreatInfo {
    /// It may go on; its score.
    Score(u32),
    /// It is refused for so long yet.
    RefusedFor(Duration),
}

impl ThreatInfo {
    /// How a standing looks now.
    pub(crate) fn of(standing: Standing, now: Time) -> ThreatInfo {
        match standing {
            Standing::Admitted(score) => ThreatInfo::Score(score),
            Standing::RefusedUntil(until) => ThreatInfo::RefusedFor(until.since(now)),
        }
    }
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
    /// SHA-256 of the certificate it showed, when we dialled it with TLS.
    pub certificate: Option<[u8; 32]>,
    /// Whether it has proven its key on this link.
    pub proven: bool,
    /// Whether messages to this peer go over this link.
    pub active: bool,
    /// Whether it announced itself as a RigMesh node.
    pub rigmesh: bool,
    /// Whether it is a secure session.
    pub secure: bool,
    /// The extensions it announced, such as `chunk1`.
    pub caps: Vec<String>,
    /// Its address in the DHT: that of the signing key it has shown on this link.
    pub dht_address: Option<Address>,
    /// Since when.
    pub since: Timestamp,
    /// By how many milliseconds its clock was ahead of ours at its last pong.
    pub clock_skew_ms: Option<i64>,
    /// Messages and frames dropped.
    pub dropped: u64,
    /// A warning for the status, such as a copied disk.
    pub note: Option<String>,
}
