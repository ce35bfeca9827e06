//! Names and numbers of the protocol: message types, error and disconnect codes, versions.

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The protocol version this node speaks.
pub const PROTOCOL_VERSION: &str = "1.0";

/// Every version this node can speak.
pub const SUPPORTED_PROTOCOL_VERSIONS: &[&str] = &[PROTOCOL_VERSION];

/// Whether a peer's version text is one we speak.
pub fn is_protocol_version_supported(version: &str) -> bool {
    SUPPORTED_PROTOCOL_VERSIONS.contains(&version)
}

/// The type of a message. Unknown ones are kept as text and ignored by workers, as in Go.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum MessageType {
    /// First message of a connection: identity and challenge.
    Handshake,
    /// Its answer.
    HandshakeAck,
    /// Keepalive and measurement.
    Ping,
    /// Its answer.
    Pong,
    /// The sender closes this connection.
    Disconnect,
    /// Request for statistics.
    GetStats,
    /// Its answer.
    Stats,
    /// Command to start a miner.
    StartMiner,
    /// Command to stop a miner.
    StopMiner,
    /// Answer to both.
    MinerAck,
    /// Request for a miner's output.
    GetLogs,
    /// Its answer.
    Logs,
    /// Command to install a bundle.
    Deploy,
    /// Its answer.
    DeployAck,
    /// A request failed.
    Error,
    /// Offer of an object, between RigMesh nodes (chunked-deploy.md).
    DeployOffer,
    /// Its answer.
    DeployState,
    /// The rig asks for chunks.
    ChunkGet,
    /// One chunk.
    Chunk,
    /// The rig is done with an object.
    DeployDone,
    /// Either side gives up.
    DeployCancel,
    /// Request for the installed versions, between RigMesh nodes.
    GetVersions,
    /// Its answer.
    Versions,
    /// Command to go back to another installed version, between RigMesh nodes.
    Rollback,
    /// Command to pause a miner or all of them, between RigMesh nodes.
    PauseMiner,
    /// Command to go on with them.
    ResumeMiner,
    /// A UEPS packet, between RigMesh nodes (ueps.md).
    Ueps,
    /// Its answer, a packet as well.
    UepsReply,
    /// Where rigs are, between RigMesh nodes; not answered (secure-session.md §8).
    Gossip,
    /// The sender has saved the receiver, at the end of a pairing (secure-session.md §3).
    Paired,
    /// What a key may do is changed from afar (secure-session.md §5).
    Grant,
    /// A key is shut out from afar.
    Revoke,
    /// The answer to both.
    Access,
    /// A key is replaced by another one (secure-session.md §6).
    Rotate,
    /// Its answer.
    Rotated,
    /// A replacement that is pending is dropped; answered like a revocation.
    KeepKey,
    /// Request: the end of the audit log (secure-session.md §7).
    GetAudit,
    /// Its answer.
    AuditTail,
    /// Any other text.
    Other(Box<str>),
}

impl MessageType {
    /// The fifteen types of 1.0, in the order of mesh.md §2.
    pub const ALL: [MessageType; 15] = [
        MessageType::Handshake,
        MessageType::HandshakeAck,
        MessageType::Ping,
        MessageType::Pong,
        MessageType::Disconnect,
        MessageType::GetStats,
        MessageType::Stats,
        MessageType::StartMiner,
        MessageType::StopMiner,
        MessageType::MinerAck,
        MessageType::GetLogs,
        MessageType::Logs,
        MessageType::Deploy,
        MessageType::DeployAck,
        MessageType::Error,
    ];

    /// The text on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            MessageType::Handshake => "handshake",
            MessageType::HandshakeAck => "handshake_ack",
            MessageType::Ping => "ping",
            MessageType::Pong => "pong",
            MessageType::Disconnect => "disconnect",
            MessageType::GetStats => "get_stats",
            MessageType::Stats => "stats",
            MessageType::StartMiner => "start_miner",
            MessageType::StopMiner => "stop_miner",
            MessageType::MinerAck => "miner_ack",
            MessageType::GetLogs => "get_logs",
            MessageType::Logs => "logs",
            MessageType::Deploy => "deploy",
            MessageType::DeployAck => "deploy_ack",
            MessageType::Error => "error",
            MessageType::DeployOffer => "deploy_offer",
            MessageType::DeployState => "deploy_state",
            MessageType::ChunkGet => "chunk_get",
            MessageType::Chunk => "chunk",
            MessageType::DeployDone => "deploy_done",
            MessageType::DeployCancel => "deploy_cancel",
            MessageType::GetVersions => "get_versions",
            MessageType::Versions => "versions",
            MessageType::Rollback => "rollback",
            MessageType::PauseMiner => "pause_miner",
            MessageType::ResumeMiner => "resume_miner",
            MessageType::Ueps => "ueps",
            MessageType::UepsReply => "ueps_reply",
            MessageType::Gossip => "gossip",
            MessageType::Paired => "paired",
            MessageType::Grant => "grant",
            MessageType::Revoke => "revoke",
            MessageType::Access => "access",
            MessageType::Rotate => "rotate",
            MessageType::Rotated => "rotated",
            MessageType::KeepKey => "keep_key",
            MessageType::GetAudit => "get_audit",
            MessageType::AuditTail => "audit",
            MessageType::Other(text) => text,
        }
    }
}

impl From<&str> for MessageType {
    fn from(text: &str) -> MessageType {
        match text {
            "handshake" => MessageType::Handshake,
            "handshake_ack" => MessageType::HandshakeAck,
            "ping" => MessageType::Ping,
            "pong" => MessageType::Pong,
            "disconnect" => MessageType::Disconnect,
            "get_stats" => MessageType::GetStats,
            "stats" => MessageType::Stats,
            "start_miner" => MessageType::StartMiner,
            "stop_miner" => MessageType::StopMiner,
            "miner_ack" => MessageType::MinerAck,
            "get_logs" => MessageType::GetLogs,
            "logs" => MessageType::Logs,
            "deploy" => MessageType::Deploy,
            "deploy_ack" => MessageType::DeployAck,
            "error" => MessageType::Error,
            "deploy_offer" => MessageType::DeployOffer,
            "deploy_state" => MessageType::DeployState,
            "chunk_get" => MessageType::ChunkGet,
            "chunk" => MessageType::Chunk,
            "deploy_done" => MessageType::DeployDone,
            "deploy_cancel" => MessageType::DeployCancel,
            "get_versions" => MessageType::GetVersions,
            "versions" => MessageType::Versions,
            "rollback" => MessageType::Rollback,
            "pause_miner" => MessageType::PauseMiner,
            "resume_miner" => MessageType::ResumeMiner,
            "ueps" => MessageType::Ueps,
            "ueps_reply" => MessageType::UepsReply,
            "gossip" => MessageType::Gossip,
            "paired" => MessageType::Paired,
            "grant" => MessageType::Grant,
            "revoke" => MessageType::Revoke,
            "access" => MessageType::Access,
            "rotate" => MessageType::Rotate,
            "rotated" => MessageType::Rotated,
            "keep_key" => MessageType::KeepKey,
            "get_audit" => MessageType::GetAudit,
            "audit" => MessageType::AuditTail,
            other => MessageType::Other(other.into()),
        }
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for MessageType {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MessageType {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<MessageType, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = MessageType;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a message type")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<MessageType, E> {
                Ok(text.into())
            }
        }
        d.deserialize_str(Text).map_err(D::Error::custom)
    }
}

/// Codes of `error` messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ErrorCode;

impl ErrorCode {
    /// Nothing better fits.
    pub const UNKNOWN: i64 = 1000;
    /// The message itself is wrong, or not fresh.
    pub const INVALID_MESSAGE: i64 = 1001;
    /// The key lacks a permission.
    pub const UNAUTHORIZED: i64 = 1002;
    /// The thing named does not exist.
    pub const NOT_FOUND: i64 = 1003;
    /// It was tried and failed. (A Go worker answers every failure with this one.)
    pub const OPERATION_FAILED: i64 = 1004;
    /// It took too long.
    pub const TIMEOUT: i64 = 1005;
}

/// Codes of `disconnect` messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DisconnectCode;

impl DisconnectCode {
    /// Nothing is wrong.
    pub const NORMAL: i64 = 1000;
    /// This connection is not needed any more, or replaced.
    pub const GOING_AWAY: i64 = 1001;
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: i64 = 1002;
    /// The peer was silent for too long.
    pub const TIMEOUT: i64 = 1003;
    /// The node stops.
    pub const SHUTDOWN: i64 = 1004;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_back_from_its_text() {
        for kind in MessageType::ALL {
            assert_eq!(MessageType::from(kind.as_str()), kind);
            assert!(!matches!(MessageType::from(kind.as_str()), MessageType::Other(_)));
        }
        assert_eq!(MessageType::from("frobnicate").as_str(), "frobnicate");
        assert!(is_protocol_version_supported("1.0") && !is_protocol_version_supported("1.1"));
    }
}
