//! One entry of the registry: what a Go node stores about a peer, and what RigMesh knows beside it.

use crate::base::{Error, Result, Timestamp, is_plain_name};
use crate::identity::{PublicKey, Role};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest id and address of a peer, in bytes.
pub const PEER_TEXT_MAX: usize = 256;
/// The score of a peer of which nothing is known yet.
pub const SCORE_DEFAULT: f64 = 50.0;
/// The best score.
pub const SCORE_MAXIMUM: f64 = 100.0;
/// The worst score.
pub const SCORE_MINIMUM: f64 = 0.0;
/// What an entry id starts with while only an address is known: `addr:<host:port>`.
pub const ADDRESS_ID_PREFIX: &str = "addr:";

/// A peer as `peers.json` has it (mesh.md §7), keys in the file's order.
///
/// `id` and `public_key` are texts, kept and written back as read; whether they belong together is
/// decided by the handshake.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Node id, or `addr:<host:port>` until the peer at that address has shown its key.
    #[serde(default, deserialize_with = "null_is_default")]
    pub id: String,
    /// Name for people; empty or [`is_plain_name`].
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// X25519 public key, base64; empty when not known.
    #[serde(default, deserialize_with = "null_is_default")]
    pub public_key: String,
    /// `host:port` to dial; empty when not known.
    #[serde(default, deserialize_with = "null_is_default")]
    pub address: String,
    /// What the peer says it does.
    #[serde(default, deserialize_with = "null_is_default")]
    pub role: Role,
    /// When the entry was made.
    #[serde(default = "never", deserialize_with = "null_is_never")]
    pub added_at: Timestamp,
    /// When the peer was last heard.
    #[serde(default = "never", deserialize_with = "null_is_never")]
    pub last_seen: Timestamp,
    /// Median round trip, ms; 0 or less: unknown.
    #[serde(default, deserialize_with = "null_is_default")]
    pub ping_ms: f64,
    /// Relay hops; 0 is direct, or unknown when the peer was never connected.
    #[serde(default, deserialize_with = "null_is_default")]
    pub hops: i64,
    /// Distance, km; 0 or less: unknown.
    #[serde(default, deserialize_with = "null_is_default")]
    pub geo_km: f64,
    /// Reliability, 0 to 100.
    #[serde(default, deserialize_with = "null_is_default")]
    pub score: f64,
    /// Whether a link is up. Never stored.
    #[serde(skip)]
    pub connected: bool,
}

impl Default for Peer {
    fn default() -> Peer {
        Peer {
            id: String::new(),
            name: String::new(),
            public_key: String::new(),
            address: String::new(),
            role: Role::default(),
            added_at: Timestamp::ZERO,
            last_seen: Timestamp::ZERO,
            ping_ms: 0.0,
            hops: 0,
            geo_km: 0.0,
            score: 0.0,
            connected: false,
        }
    }
}

impl Peer {
    /// The id of an entry of which only the address is known.
    pub fn address_id(address: &str) -> String {
        format!("{ADDRESS_ID_PREFIX}{address}")
    }

    /// What to call the peer: its name, else its id.
    pub fn label(&self) -> &str {
        if self.name.is_empty() { &self.id } else { &self.name }
    }

    /// The key, when the text is a canonical one (mesh.md §8).
    pub fn key(&self) -> Option<PublicKey> {
        PublicKey::from_base64(&self.public_key).ok()
    }

    /// Refuses what no entry may have.
    pub(super) fn check(&self) -> Result<()> {
        let fail = |why: String| Err(Error::Config(why));
        let shown = |text: &str| text.chars().count() <= PEER_TEXT_MAX && !text.chars().any(char::is_control);
        if self.id.is_empty() {
            return fail("peer ID is required".into());
        }
        if !shown(&self.id) || !shown(&self.address) {
            return fail(format!(
                "id and address of a peer are at most {PEER_TEXT_MAX} characters without control characters"
            ));
        }
        if !is_plain_name(&self.name) {
            return fail(format!(
                "peer name {:?} cannot be used: take at most 64 of A-Z a-z 0-9 space _ -, first and last a letter or digit",
                self.name.chars().take(64).collect::<String>()
            ));
        }
        if ![self.ping_ms, self.geo_km, self.score].iter().all(|n| n.is_finite()) {
            return fail(format!("the metrics of peer {} are no finite numbers", self.label()));
        }
        Ok(())
    }
}

/// How an entry came into the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// By hand or by pairing: admits its key, is never evicted.
    Hand,
    /// From a file that does not say (a Go node's), or an address added by hand whose key nobody
    /// vouched for: never evicted, admits nobody.
    #[default]
    Kept,
    /// The peer made it itself, or it was found: evicted when the registry is full or the peer stays away.
    Found,
}

/// What RigMesh knows beside the Go node's file; stored in `<peers path>.rigmesh.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PeerExtra {
    /// How the entry came to be.
    pub origin: Origin,
    /// Dial with TLS (`wss`).
    #[serde(skip_serializing_if = "is_default")]
    pub tls: bool,
    /// SHA-256 of the certificate to accept, and no other.
    #[serde(skip_serializing_if = "is_default", with = "hex_pin")]
    pub tls_pin: Option<[u8; 32]>,
    /// The peer's Ed25519 key, base64, once bound to its key in a session (secure-session.md §4).
    #[serde(skip_serializing_if = "is_default")]
    pub sign_key: Option<String>,
    /// The owner gave it its name, which is not replaced by what it calls itself.
    #[serde(skip_serializing_if = "is_default")]
    pub named: bool,
    /// This node keeps a connection to it, whoever wants something of whom: a rig to the controller that enrolled it.
    #[serde(skip_serializing_if = "is_default")]
    pub uplink: bool,
    /// The highest number of a record of that key (secure-session.md §8): lower ones are old ones said again.
    #[serde(skip_serializing_if = "is_default")]
    pub record_seq: u64,
    /// The key that answers first at the address is the one to keep (`peers add --trust-first`).
    #[serde(skip_serializing_if = "is_default")]
    pub trust_first: bool,
    /// The peer was connected once, or its hops were stated: 0 hops means direct, not unknown.
    #[serde(skip_serializing_if = "is_default")]
    pub hops_known: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

fn never() -> Timestamp {
    Timestamp::ZERO
}

fn null_is_never<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Timestamp, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or(Timestamp::ZERO))
}

/// A certificate fingerprint as 64 hex digits.
mod hex_pin {
    use super::*;

    pub(super) fn serialize<S: Serializer>(pin: &Option<[u8; 32]>, s: S) -> std::result::Result<S::Ok, S::Error> {
        pin.map(hex::encode).serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<[u8; 32]>, D::Error> {
        let Some(text) = Option::<String>::deserialize(d)? else { return Ok(None) };
        let mut pin = [0; 32];
        hex::decode_to_slice(text, &mut pin).map_err(serde::de::Error::custom)?;
        Ok(Some(pin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_go_file_leaves_out_or_has_as_null_is_empty() {
        let peer: Peer = serde_json::from_str(r#"{"id":"a","name":null,"score":7,"connected":true,"x":1}"#).unwrap();
        assert_eq!(peer, Peer { id: "a".into(), score: 7.0, ..Peer::default() });
    }

    #[test]
    fn a_pin_is_written_as_hex() {
        let extra = PeerExtra { tls: true, tls_pin: Some([0xab; 32]), ..PeerExtra::default() };
        let text = serde_json::to_string(&extra).unwrap();
        assert_eq!(text, format!(r#"{{"origin":"kept","tls":true,"tlsPin":"{}"}}"#, "ab".repeat(32)));
        assert_eq!(serde_json::from_str::<PeerExtra>(&text).unwrap(), extra);
        assert!(serde_json::from_str::<PeerExtra>(r#"{"tlsPin":"abc"}"#).is_err());
        assert_eq!(serde_json::from_str::<PeerExtra>("{}").unwrap(), PeerExtra::default());
    }
}
