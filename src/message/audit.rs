//! The end of a rig's audit log, read from afar (secure-session.md §5 and §7).

use crate::formats::reading::object_only;
use serde::{Deserialize, Serialize};

/// Payload of `get_audit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct GetAudit {
    /// At most so many of the newest lines; 0, or more than the rig gives at once, means as many as it gives.
    #[serde(default)]
    pub lines: u32,
}

/// Payload of `audit`: lines of the log as they stand in its files, each with its hash, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct AuditTail {
    /// The lines, without their ends.
    #[serde(default)]
    pub lines: Vec<String>,
    /// There are older ones.
    #[serde(default)]
    pub more: bool,
}

object_only!(GetAudit, AuditTail);
