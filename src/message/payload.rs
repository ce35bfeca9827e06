//! The typed payloads of the fifteen message types of 1.0, with the wire's key names and rules of omission
//! (mesh.md §2). What is missing or null is read as the empty value; unknown keys are ignored, known
//! keys may come once.

use super::access::{AccessReply, Grant, KeepKey, Revoke, Rotated};
use super::audit::{AuditTail, GetAudit};
use super::deploy::{
    Chunk, ChunkGet, DeployCancel, DeployDone, DeployOffer, DeployState, GetVersions, Rollback, Versions,
};
use super::raw::base64;
use super::ueps::UepsFrame;
use super::{Gossip, MessageType, RawPayload, Stats};
use crate::base::{Error, Result, base64_decode_strict};
use crate::formats::reading::{base64_array, go_bytes, go_bytes_or_empty, null_is_default, object_only};
use crate::identity::{NodeIdentity, PublicKey, Rotation, verify_bind};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// The content of a message, by type.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// First message of a connection.
    Handshake(Handshake),
    /// Its answer.
    HandshakeAck(HandshakeAck),
    /// Keepalive and measurement.
    Ping(Ping),
    /// Its answer.
    Pong(Pong),
    /// The sender closes.
    Disconnect(Disconnect),
    /// Request for statistics; has no content.
    GetStats,
    /// Statistics.
    Stats(Stats),
    /// Start a miner.
    StartMiner(StartMiner),
    /// Stop a miner.
    StopMiner(StopMiner),
    /// Answer to start and stop.
    MinerAck(MinerAck),
    /// Request for a miner's output.
    GetLogs(GetLogs),
    /// A miner's output.
    Logs(Logs),
    /// Install a bundle.
    Deploy(Deploy),
    /// Answer to deploy.
    DeployAck(DeployAck),
    /// A request failed.
    Error(ErrorPayload),
    /// Offer of an object.
    DeployOffer(DeployOffer),
    /// Answer to an offer.
    DeployState(DeployState),
    /// The rig asks for chunks.
    ChunkGet(ChunkGet),
    /// One chunk.
    Chunk(Chunk),
    /// The rig is done with an object.
    DeployDone(DeployDone),
    /// Either side gives up.
    DeployCancel(DeployCancel),
    /// Request for the installed versions.
    GetVersions(GetVersions),
    /// The installed versions.
    Versions(Versions),
    /// Go back to another installed version.
    Rollback(Rollback),
    /// Pause a miner, or all when it names none.
    PauseMiner(StopMiner),
    /// Go on with a miner, or with all.
    ResumeMiner(StopMiner),
    /// A UEPS packet.
    Ueps(UepsFrame),
    /// The packet that answers one.
    UepsReply(UepsFrame),
    /// Where rigs are.
    Gossip(Gossip),
    /// Each side of a pairing has saved the other.
    Paired(Paired),
    /// What a key may do is changed.
    Grant(Grant),
    /// A key is shut out.
    Revoke(Revoke),
    /// How a key stands now.
    Access(AccessReply),
    /// A key is replaced.
    Rotate(Box<Rotation>),
    /// How that stands now.
    Rotated(Rotated),
    /// A key stays.
    KeepKey(KeepKey),
    /// Request for the end of the audit log.
    GetAudit(GetAudit),
    /// Lines of an audit log.
    AuditTail(AuditTail),
    /// A type that we do not know.
    Other {
        /// Its type.
        kind: MessageType,
        /// Its content, unread.
        raw: RawPayload,
    },
}

impl Payload {
    /// The type of the message that carries this.
    pub fn kind(&self) -> MessageType {
        match self {
            Payload::Handshake(_) => MessageType::Handshake,
            Payload::HandshakeAck(_) => MessageType::HandshakeAck,
            Payload::Ping(_) => MessageType::Ping,
            Payload::Pong(_) => MessageType::Pong,
            Payload::Disconnect(_) => MessageType::Disconnect,
            Payload::GetStats => MessageType::GetStats,
            Payload::Stats(_) => MessageType::Stats,
            Payload::StartMiner(_) => MessageType::StartMiner,
            Payload::StopMiner(_) => MessageType::StopMiner,
            Payload::MinerAck(_) => MessageType::MinerAck,
            Payload::GetLogs(_) => MessageType::GetLogs,
            Payload::Logs(_) => MessageType::Logs,
            Payload::Deploy(_) => MessageType::Deploy,
            Payload::DeployAck(_) => MessageType::DeployAck,
            Payload::Error(_) => MessageType::Error,
            Payload::DeployOffer(_) => MessageType::DeployOffer,
            Payload::DeployState(_) => MessageType::DeployState,
            Payload::ChunkGet(_) => MessageType::ChunkGet,
            Payload::Chunk(_) => MessageType::Chunk,
            Payload::DeployDone(_) => MessageType::DeployDone,
            Payload::DeployCancel(_) => MessageType::DeployCancel,
            Payload::GetVersions(_) => MessageType::GetVersions,
            Payload::Versions(_) => MessageType::Versions,
            Payload::Rollback(_) => MessageType::Rollback,
            Payload::ResumeMiner(_) => MessageType::ResumeMiner,
            Payload::PauseMiner(_) => MessageType::PauseMiner,
            Payload::Ueps(_) => MessageType::Ueps,
            Payload::UepsReply(_) => MessageType::UepsReply,
            Payload::Gossip(_) => MessageType::Gossip,
            Payload::Paired(_) => MessageType::Paired,
            Payload::Grant(_) => MessageType::Grant,
            Payload::Revoke(_) => MessageType::Revoke,
            Payload::Access(_) => MessageType::Access,
            Payload::Rotate(_) => MessageType::Rotate,
            Payload::Rotated(_) => MessageType::Rotated,
            Payload::KeepKey(_) => MessageType::KeepKey,
            Payload::GetAudit(_) => MessageType::GetAudit,
            Payload::AuditTail(_) => MessageType::AuditTail,
            Payload::Other { kind, .. } => kind.clone(),
        }
    }

    /// The JSON text, byte for byte as a Go node writes it.
    pub fn encode(&self) -> RawPayload {
        let raw = match self {
            Payload::Handshake(p) => RawPayload::from_value(p),
            Payload::HandshakeAck(p) => RawPayload::from_value(p),
            Payload::Ping(p) => RawPayload::from_value(p),
            Payload::Pong(p) => RawPayload::from_value(p),
            Payload::Disconnect(p) => RawPayload::from_value(p),
            Payload::GetStats => Ok(RawPayload::NULL),
            Payload::Stats(p) => RawPayload::from_value(p),
            Payload::StartMiner(p) => RawPayload::from_value(p),
            Payload::StopMiner(p) => RawPayload::from_value(p),
            Payload::MinerAck(p) => RawPayload::from_value(p),
            Payload::GetLogs(p) => RawPayload::from_value(p),
            Payload::Logs(p) => RawPayload::from_value(p),
            Payload::Deploy(p) => RawPayload::from_value(p),
            Payload::DeployAck(p) => RawPayload::from_value(p),
            Payload::Error(p) => RawPayload::from_value(p),
            Payload::DeployOffer(p) => RawPayload::from_value(p),
            Payload::DeployState(p) => RawPayload::from_value(p),
            Payload::ChunkGet(p) => RawPayload::from_value(p),
            Payload::Chunk(p) => RawPayload::from_value(p),
            Payload::DeployDone(p) => RawPayload::from_value(p),
            Payload::DeployCancel(p) => RawPayload::from_value(p),
            Payload::GetVersions(p) => RawPayload::from_value(p),
            Payload::Versions(p) => RawPayload::from_value(p),
            Payload::Rollback(p) => RawPayload::from_value(p),
            Payload::ResumeMiner(p) => RawPayload::from_value(p),
            Payload::PauseMiner(p) => RawPayload::from_value(p),
            Payload::Ueps(p) | Payload::UepsReply(p) => RawPayload::from_value(p),
            Payload::Gossip(p) => RawPayload::from_value(p),
            Payload::Paired(p) => RawPayload::from_value(p),
            Payload::Grant(p) => RawPayload::from_value(p),
            Payload::Revoke(p) => RawPayload::from_value(p),
            Payload::Access(p) => RawPayload::from_value(p),
            Payload::Rotate(p) => RawPayload::from_value(p),
            Payload::Rotated(p) => RawPayload::from_value(p),
            Payload::KeepKey(p) => RawPayload::from_value(p),
            Payload::GetAudit(p) => RawPayload::from_value(p),
            Payload::AuditTail(p) => RawPayload::from_value(p),
            Payload::Other { raw, .. } => Ok(raw.clone()),
        };
        // Writing fails only for maps with keys that are not texts; none of these types has any.
        raw.unwrap_or_default()
    }

    /// Reads the content of a message of type `kind`.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the text does not fit the type.
    pub fn decode(kind: &MessageType, raw: &RawPayload) -> Result<Payload> {
        Ok(match kind {
            MessageType::Handshake => Payload::Handshake(raw.parse()?),
            MessageType::HandshakeAck => Payload::HandshakeAck(raw.parse()?),
            MessageType::Ping => Payload::Ping(raw.parse()?),
            MessageType::Pong => Payload::Pong(raw.parse()?),
            MessageType::Disconnect => Payload::Disconnect(raw.parse()?),
            MessageType::GetStats => Payload::GetStats,
            MessageType::Stats => Payload::Stats(raw.parse()?),
            MessageType::StartMiner => Payload::StartMiner(raw.parse()?),
            MessageType::StopMiner => Payload::StopMiner(raw.parse()?),
            MessageType::MinerAck => Payload::MinerAck(raw.parse()?),
            MessageType::GetLogs => Payload::GetLogs(raw.parse()?),
            MessageType::Logs => Payload::Logs(raw.parse()?),
            MessageType::Deploy => Payload::Deploy(raw.parse()?),
            MessageType::DeployAck => Payload::DeployAck(raw.parse()?),
            MessageType::Error => Payload::Error(raw.parse()?),
            MessageType::DeployOffer => Payload::DeployOffer(raw.parse()?),
            MessageType::DeployState => Payload::DeployState(raw.parse()?),
            MessageType::ChunkGet => Payload::ChunkGet(raw.parse()?),
            MessageType::Chunk => Payload::Chunk(raw.parse()?),
            MessageType::DeployDone => Payload::DeployDone(raw.parse()?),
            MessageType::DeployCancel => Payload::DeployCancel(raw.parse()?),
            MessageType::GetVersions => Payload::GetVersions(raw.parse()?),
            MessageType::Versions => Payload::Versions(raw.parse()?),
            MessageType::Rollback => Payload::Rollback(raw.parse()?),
            MessageType::ResumeMiner => Payload::ResumeMiner(raw.parse()?),
            MessageType::PauseMiner => Payload::PauseMiner(raw.parse()?),
            MessageType::Ueps => Payload::Ueps(raw.parse()?),
            MessageType::UepsReply => Payload::UepsReply(raw.parse()?),
            MessageType::Gossip => Payload::Gossip(raw.parse()?),
            MessageType::Paired => Payload::Paired(raw.parse()?),
            MessageType::Grant => Payload::Grant(raw.parse()?),
            MessageType::Revoke => Payload::Revoke(raw.parse()?),
            MessageType::Access => Payload::Access(raw.parse()?),
            MessageType::Rotate => Payload::Rotate(raw.parse()?),
            MessageType::Rotated => Payload::Rotated(raw.parse()?),
            MessageType::KeepKey => Payload::KeepKey(raw.parse()?),
            MessageType::GetAudit => Payload::GetAudit(raw.parse()?),
            MessageType::AuditTail => Payload::AuditTail(raw.parse()?),
            MessageType::Other(_) => Payload::Other { kind: kind.clone(), raw: raw.clone() },
        })
    }
}

/// Payload of `handshake`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct Handshake {
    /// Who the initiator says it is.
    #[serde(deserialize_with = "null_is_default")]
    pub identity: NodeIdentity,
    /// What the responder has to sign; empty (left out) when nothing. Always 32 bytes between honest nodes.
    #[serde(serialize_with = "base64", deserialize_with = "go_bytes_or_empty", skip_serializing_if = "Vec::is_empty")]
    pub challenge: Vec<u8>,
    /// Protocol version text.
    #[serde(deserialize_with = "null_is_default")]
    pub version: String,
    /// The offer of a secure session, as it stands: [`SecureOffer`]. Go ignores it.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub secure: Option<RawPayload>,
}

/// The offer of a secure session inside a [`Handshake`] (secure-session.md §1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecureOffer {
    /// Versions the initiator speaks.
    pub v: Vec<u32>,
    /// It is a pairing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pair: bool,
    /// It is the pairing of a rig with the controller that enrols it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enrol: bool,
    /// The key that the initiator means to reach, when it knows one: a node whose keys were replaced answers with the old
    /// ones to whoever has not heard of it (secure-session.md §6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<PublicKey>,
    /// The first Noise message.
    #[serde(serialize_with = "base64", deserialize_with = "strict_bytes")]
    pub m: Vec<u8>,
}

/// Its answer inside a [`HandshakeAck`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecureAnswer {
    /// The version chosen.
    pub v: u32,
    /// It is a pairing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pair: bool,
    /// The second Noise message.
    #[serde(serialize_with = "base64", deserialize_with = "strict_bytes")]
    pub m: Vec<u8>,
}

/// Payload of `paired` (secure-session.md §3): the sender has saved the receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct Paired {
    /// What the receiver may do at the sender; left out when nothing, and by the side that dialled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub granted: Vec<String>,
}

/// Payload of `handshake_ack`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default, rename_all = "camelCase")]
pub struct HandshakeAck {
    /// Who the responder says it is.
    #[serde(deserialize_with = "null_is_default")]
    pub identity: NodeIdentity,
    /// HMAC of the challenge; empty (left out) when there was none.
    #[serde(serialize_with = "base64", deserialize_with = "go_bytes_or_empty", skip_serializing_if = "Vec::is_empty")]
    pub challenge_response: Vec<u8>,
    /// Whether the initiator is let in.
    #[serde(deserialize_with = "null_is_default")]
    pub accepted: bool,
    /// Why not; left out when empty.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The answer to the offer of a secure session, as it stands: [`SecureAnswer`].
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub secure: Option<RawPayload>,
}

/// A key that is there counts, whatever it holds.
fn present<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<RawPayload>, D::Error> {
    RawPayload::deserialize(d).map(Some)
}

fn strict_bytes<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Vec<u8>, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
    base64_decode_strict("bytes", &text).map_err(serde::de::Error::custom)
}

/// Payload of `ping`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default, rename_all = "camelCase")]
pub struct Ping {
    /// When it was sent, Unix milliseconds on the sender's clock.
    #[serde(deserialize_with = "null_is_default")]
    pub sent_at: i64,
    /// What a RigMesh node says about itself; absent from Go nodes, and when it cannot be read.
    #[serde(deserialize_with = "announcement", skip_serializing_if = "Option::is_none")]
    pub rigmesh: Option<Announcement>,
}

/// Payload of `pong`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default, rename_all = "camelCase")]
pub struct Pong {
    /// The ping's `sentAt`, given back.
    #[serde(deserialize_with = "null_is_default")]
    pub sent_at: i64,
    /// When the ping arrived, Unix milliseconds on the answerer's clock.
    #[serde(deserialize_with = "null_is_default")]
    pub received_at: i64,
    /// As in [`Ping`]. It counts only from a pong that answers our ping.
    #[serde(deserialize_with = "announcement", skip_serializing_if = "Option::is_none")]
    pub rigmesh: Option<Announcement>,
}

/// Most capabilities in an [`Announcement`], and the longest one in bytes.
const CAPS_MAX: usize = 64;

/// How RigMesh nodes know each other on a 1.0 link: an extra key of the sealed ping and pong, ignored
/// by Go (mesh.md §2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct Announcement {
    /// Version of this object, 1.
    pub v: u32,
    /// Extensions the sender speaks: at most 64 of at most 64 bytes.
    pub caps: Vec<String>,
    /// Messages a second the sender accepts for ever.
    pub rate: u64,
    /// Messages the sender accepts at once.
    pub burst: u64,
    /// Largest message the sender accepts, bytes.
    pub max: u64,
    /// The sender's Ed25519 key.
    #[serde(serialize_with = "key_text", deserialize_with = "strict", skip_serializing_if = "Option::is_none")]
    pub sign: Option<[u8; 32]>,
    /// The signature by which that key agrees to belong to the sender's X25519 key.
    #[serde(serialize_with = "key_text", deserialize_with = "strict", skip_serializing_if = "Option::is_none")]
    pub bind: Option<[u8; 64]>,
}

impl Announcement {
    /// The signing key, when `bind` shows that it agrees to belong to `x`: the key proven on this link.
    pub fn bound_sign_key(&self, x: &PublicKey) -> Option<[u8; 32]> {
        let (sign, bind) = (self.sign?, self.bind?);
        verify_bind(x, &sign, &bind).then_some(sign)
    }

    /// Whether the sender lists the capability.
    pub fn has(&self, cap: &str) -> bool {
        self.caps.iter().any(|c| c == cap)
    }
}

/// An announcement that cannot be read is no announcement: the ping itself still counts.
fn announcement<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<Announcement>, D::Error> {
    let raw = Box::<RawValue>::deserialize(d)?;
    let read = serde_json::from_str::<Announcement>(raw.get()).ok();
    Ok(read.filter(|a| a.v > 0 && a.caps.len() <= CAPS_MAX && a.caps.iter().all(|c| c.len() <= CAPS_MAX)))
}

fn key_text<S: Serializer, const N: usize>(bytes: &Option<[u8; N]>, s: S) -> std::result::Result<S::Ok, S::Error> {
    match bytes {
        Some(bytes) => base64_array::serialize(bytes, s),
        None => s.serialize_none(),
    }
}

fn strict<'de, D: Deserializer<'de>, const N: usize>(d: D) -> std::result::Result<Option<[u8; N]>, D::Error> {
    base64_array::deserialize(d).map(Some)
}

/// Payload of `disconnect`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct Disconnect {
    /// Why, for people.
    #[serde(deserialize_with = "null_is_default")]
    pub reason: String,
    /// Why, for programs: [`super::DisconnectCode`].
    #[serde(deserialize_with = "null_is_default")]
    pub code: i64,
}

/// Payload of `start_miner`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default, rename_all = "camelCase")]
pub struct StartMiner {
    /// Type of the miner; required by workers.
    #[serde(deserialize_with = "null_is_default")]
    pub miner_type: String,
    /// Which stored profile to use; left out when empty.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub profile_id: String,
    /// A configuration in place of the profile; left out when null.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "RawPayload::is_null")]
    pub config: RawPayload,
}

/// Payload of `stop_miner`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default, rename_all = "camelCase")]
pub struct StopMiner {
    /// Name of the miner on the rig.
    #[serde(deserialize_with = "null_is_default")]
    pub miner_name: String,
}

/// Payload of `miner_ack`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default, rename_all = "camelCase")]
pub struct MinerAck {
    /// Whether it worked.
    #[serde(deserialize_with = "null_is_default")]
    pub success: bool,
    /// Name of the miner; left out when empty.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub miner_name: String,
    /// Why it did not work; left out when empty.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// Payload of `get_logs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default, rename_all = "camelCase")]
pub struct GetLogs {
    /// Name of the miner.
    #[serde(deserialize_with = "null_is_default")]
    pub miner_name: String,
    /// How many lines at most.
    #[serde(deserialize_with = "null_is_default")]
    pub lines: i64,
    /// Only lines after this moment, Unix milliseconds; 0 (left out) for all.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub since: i64,
}

/// Payload of `logs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default, rename_all = "camelCase")]
pub struct Logs {
    /// Name of the miner.
    #[serde(deserialize_with = "null_is_default")]
    pub miner_name: String,
    /// The lines, oldest first. `None` is Go's nil, written `null`, and means none.
    pub lines: Option<Vec<String>>,
    /// Whether there are more than these.
    #[serde(deserialize_with = "null_is_default")]
    pub has_more: bool,
}

/// What a bundle holds. Other texts are kept, so that a worker can name them in its refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeployKind {
    /// A profile: JSON.
    Profile,
    /// A miner's files.
    Miner,
    /// Both.
    Full,
    /// Any other text.
    Other(Box<str>),
}

impl DeployKind {
    /// The text on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            DeployKind::Profile => "profile",
            DeployKind::Miner => "miner",
            DeployKind::Full => "full",
            DeployKind::Other(text) => text,
        }
    }
}

impl Default for DeployKind {
    fn default() -> DeployKind {
        DeployKind::Other("".into())
    }
}

impl Serialize for DeployKind {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for DeployKind {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<DeployKind, D::Error> {
        Ok(match Box::<str>::deserialize(d)? {
            text if &*text == "profile" => DeployKind::Profile,
            text if &*text == "miner" => DeployKind::Miner,
            text if &*text == "full" => DeployKind::Full,
            text => DeployKind::Other(text),
        })
    }
}

/// Payload of `deploy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct Deploy {
    /// What the bundle holds.
    #[serde(rename = "type", deserialize_with = "null_is_default")]
    pub kind: DeployKind,
    /// The bundle. `None` is Go's nil, written `null`.
    #[serde(serialize_with = "base64_or_null", deserialize_with = "go_bytes")]
    pub data: Option<Vec<u8>>,
    /// SHA-256 of `data`, hex.
    #[serde(deserialize_with = "null_is_default")]
    pub checksum: String,
    /// Logical name.
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
}

/// Payload of `deploy_ack`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct DeployAck {
    /// Whether it worked.
    #[serde(deserialize_with = "null_is_default")]
    pub success: bool,
    /// The name given back; left out when empty.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Why it did not work; left out when empty.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// Payload of `error`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct ErrorPayload {
    /// Which error: [`super::ErrorCode`].
    #[serde(deserialize_with = "null_is_default")]
    pub code: i64,
    /// What happened, for people.
    #[serde(deserialize_with = "null_is_default")]
    pub message: String,
    /// More of it; left out when empty.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub details: String,
}

object_only!(
    Handshake,
    HandshakeAck,
    Ping,
    Pong,
    Announcement,
    Disconnect,
    StartMiner,
    StopMiner,
    MinerAck,
    GetLogs,
    Logs,
    Deploy,
    DeployAck,
    ErrorPayload,
    Paired,
);

impl From<&Error> for ErrorPayload {
    /// The answer a worker gives when a handler failed.
    fn from(error: &Error) -> ErrorPayload {
        ErrorPayload { code: super::ErrorCode::OPERATION_FAILED, message: error.to_string(), details: String::new() }
    }
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

fn base64_or_null<S: Serializer>(bytes: &Option<Vec<u8>>, s: S) -> std::result::Result<S::Ok, S::Error> {
    match bytes {
        Some(bytes) => base64(bytes, s),
        None => s.serialize_none(),
    }
}
