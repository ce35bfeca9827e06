//! Who may do what, changed from afar (secure-session.md §5): `grant` and `revoke` between RigMesh nodes, in secure sessions
//! only, and their answer; and keys that are replaced (§6): `rotate`, its answer `rotated`, and `keep_key`.

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

/// Payload of `keep_key`: whatever statement is pending that would replace this key at the receiver, it is dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct KeepKey {
    /// The key that is to stay.
    pub key: PublicKey,
}

/// How a replacement stands at the node that was told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotateState {
    /// It follows when the time is over and the new key has proven itself.
    Pending,
    /// Statements contradict each other: the owner decides.
    Contested,
    /// The new key is in the old one's place.
    Followed,
}

/// Payload of `rotated`, which answers `rotate` (whose payload is the [`Rotation`](crate::identity::Rotation)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Rotated {
    /// How it stands.
    pub state: RotateState,
    /// Before when it does not follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
}

object_only!(Grant, Revoke, AccessReply, KeepKey, Rotated);
