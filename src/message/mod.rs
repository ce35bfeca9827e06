//! Step 3: the messages of mesh protocol 1.0 (mesh.md §2).
//!
//! A [`Message`] is the envelope with its payload still as text; [`Payload`] is the typed content of
//! all fifteen types, and of those that only RigMesh nodes exchange (chunked-deploy.md). Bytes out are exactly the Go node's; reading is stricter than Go where mesh.md §2
//! says so (exact key names, no duplicates, no lone surrogates, bounded depth).

mod access;
mod audit;
mod deploy;
mod envelope;
mod gossip;
mod kind;
mod payload;
mod raw;
mod response;
mod stats;
mod ueps;

pub use access::{AccessReply, Grant, KeepKey, Revoke, RotateState, Rotated};
pub use audit::{AuditTail, GetAudit};
pub(crate) use deploy::WANT_MAX;
pub use deploy::{
    Chunk, ChunkGet, DeployCancel, DeployDone, DeployOffer, DeployState, GetVersions, OfferState, Rollback,
    VersionItem, Versions,
};
pub use envelope::Message;
pub use gossip::{GOSSIP_OTHERS_MAX, Gossip};
pub use kind::{
    DisconnectCode, ErrorCode, MessageType, PROTOCOL_VERSION, SUPPORTED_PROTOCOL_VERSIONS,
    is_protocol_version_supported,
};
pub use payload::{
    Announcement, Deploy, DeployAck, DeployKind, Disconnect, ErrorPayload, GetLogs, Handshake, HandshakeAck, Logs,
    MinerAck, Paired, Payload, Ping, Pong, SecureAnswer, SecureOffer, StartMiner, StopMiner,
};
pub use raw::RawPayload;
pub use response::{is_protocol_error, parse_response, protocol_error_code, validate_response};
pub use stats::{MinerStatsItem, Stats};
pub use ueps::UepsFrame;
