//! Who may do what, changed from afar (secure-session.md §5): `grant` and `revoke` between RigMesh nodes, in secure sessions
//! only, and their answer.

use crate::base::Timestamp;
use crate::formats::reading::object_only;
use crate::identity::PublicKey;
use serde::{Deserialize, Serialize};

/// Payload of `grant`: from now on this key may do exactly this at the receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Grant {
    /// Whose key.
    pub key: PublicKey,
    /// Names of grants; none: it may connect.
    pub grants: Vec<String>,
    /// Until when; for ever when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Payload of `revoke`: this key is shut out of the receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Revoke {
    /// Whose key.
    pub key: PublicKey,
}

/// Payload of `access`, which answers both: how the key stands now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct AccessReply {
    /// Whose key.
    pub key: PublicKey,
    /// What it may do.
    #[serde(default)]
    pub grants: Vec<String>,
    /// Until when; for ever when left out. Not later than the time of whoever gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// It is shut out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
}

object_only!(Grant, Revoke, AccessReply);
