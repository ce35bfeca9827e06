//! What a rig tells about its miners.

use crate::formats::reading::{null_is_default, object_only};
use serde::{Deserialize, Serialize};

/// Payload of `stats`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default, rename_all = "camelCase")]
pub struct Stats {
    /// Id of the node that answers.
    #[serde(deserialize_with = "null_is_default")]
    pub node_id: String,
    /// Its name.
    #[serde(deserialize_with = "null_is_default")]
    pub node_name: String,
    /// Its miners. `None` is Go's nil, written `null`, and means none.
    pub miners: Option<Vec<MinerStatsItem>>,
    /// Seconds since the node started.
    #[serde(deserialize_with = "null_is_default")]
    pub uptime: i64,
    /// Why all miners of the rig are paused, when they are. RigMesh's: a Go node ignores it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}

impl Stats {
    /// The miners, none when the list is null.
    pub fn miners(&self) -> &[MinerStatsItem] {
        self.miners.as_deref().unwrap_or_default()
    }
}

/// One miner in [`Stats`]. The last three keys are RigMesh's: a Go node ignores them, and they are left
/// out when they have nothing to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default, rename_all = "camelCase")]
pub struct MinerStatsItem {
    /// Name of the miner on its rig.
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    /// Type, such as `xmrig`.
    #[serde(rename = "type", deserialize_with = "null_is_default")]
    pub kind: String,
    /// Hashes per second. Finite; not finite is written as `null` and read as 0.
    #[serde(deserialize_with = "null_is_default")]
    pub hashrate: f64,
    /// Shares accepted.
    #[serde(deserialize_with = "null_is_default")]
    pub shares: i64,
    /// Shares rejected.
    #[serde(deserialize_with = "null_is_default")]
    pub rejected: i64,
    /// Seconds since the miner started.
    #[serde(deserialize_with = "null_is_default")]
    pub uptime: i64,
    /// Pool address.
    #[serde(deserialize_with = "null_is_default")]
    pub pool: String,
    /// Algorithm, such as `rx/0`.
    #[serde(deserialize_with = "null_is_default")]
    pub algorithm: String,
    /// Threads used; 0 is left out.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub cpu_threads: i64,
    /// State, such as `running`, `hashing`, `earning`, `stopped`, `crashed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Whether `hashrate` was measured. Written only when it was not, so that an unknown hashrate is
    /// never a plain 0.
    #[serde(deserialize_with = "null_is_true", skip_serializing_if = "is_true")]
    pub hashrate_known: bool,
    /// What a person should know about this miner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Default for MinerStatsItem {
    fn default() -> MinerStatsItem {
        MinerStatsItem {
            name: String::new(),
            kind: String::new(),
            hashrate: 0.0,
            shares: 0,
            rejected: 0,
            uptime: 0,
            pool: String::new(),
            algorithm: String::new(),
            cpu_threads: 0,
            state: None,
            hashrate_known: true,
            note: None,
        }
    }
}

object_only!(Stats, MinerStatsItem);

fn is_zero(n: &i64) -> bool {
    *n == 0
}

fn is_true(yes: &bool) -> bool {
    *yes
}

fn null_is_true<'de, D: serde::Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or(true))
}
