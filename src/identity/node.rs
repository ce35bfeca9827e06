//! The public description of a node, its role, and a node's own identity.

use super::lately::{Binds, SharedSecrets};
use super::{NodeId, PublicKey, SecretKey, SharedSecret, SignKey};
use crate::base::{Error, Result, Rng, Timestamp, is_plain_name, quote_value};
use crate::formats::reading::{null_is_default, object_only};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest role text accepted from outside, in bytes.
pub const ROLE_BYTES_MAX: usize = 64;

/// What a node does. A peer may state any text: it is kept and shown, and permits nothing.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Role {
    /// Commands rigs.
    Controller,
    /// Runs miners.
    Worker,
    /// Both.
    Dual,
    /// What a peer called itself, up to [`ROLE_BYTES_MAX`] bytes. Empty when it said nothing.
    Other(Box<str>),
}

impl Role {
    /// The text on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Role::Controller => "controller",
            Role::Worker => "worker",
            Role::Dual => "dual",
            Role::Other(text) => text,
        }
    }

    /// Whether a node of this role answers commands about miners.
    pub fn is_worker(&self) -> bool {
        matches!(self, Role::Worker | Role::Dual)
    }

    /// Whether a node of this role commands others.
    pub fn is_controller(&self) -> bool {
        matches!(self, Role::Controller | Role::Dual)
    }

    fn from_wire(text: &str) -> Option<Role> {
        Some(match text {
            "controller" => Role::Controller,
            "worker" => Role::Worker,
            "dual" => Role::Dual,
            _ if text.len() <= ROLE_BYTES_MAX => Role::Other(text.into()),
            _ => return None,
        })
    }
}

impl Default for Role {
    fn default() -> Role {
        Role::Other("".into())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Error;

    /// The three roles a user may choose.
    fn from_str(text: &str) -> Result<Role> {
        match Role::from_wire(text) {
            Some(role @ (Role::Controller | Role::Worker | Role::Dual)) => Ok(role),
            _ => {
                let shown: String = text.chars().take(ROLE_BYTES_MAX).collect();
                let shown = quote_value(&shown).into_owned();
                Err(Error::Config(format!("unknown role {shown}: use controller, worker or dual")))
            }
        }
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Role, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Role::from_wire(&text)
            .ok_or_else(|| serde::de::Error::custom(format_args!("role longer than {ROLE_BYTES_MAX} bytes")))
    }
}

/// The public description of a node, as it stands in node.json and in the handshake: what somebody
/// *states*. Nothing in it is true before [`NodeIdentity::checked_key`] and a proof of the key.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct NodeIdentity {
    /// Node id as text.
    #[serde(default, deserialize_with = "null_is_default")]
    pub id: String,
    /// Name for people.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// X25519 public key, base64.
    #[serde(default, deserialize_with = "null_is_default")]
    pub public_key: String,
    /// When the identity was made.
    #[serde(default = "never", deserialize_with = "null_is_never")]
    pub created_at: Timestamp,
    /// What the node does.
    #[serde(default, deserialize_with = "null_is_default")]
    pub role: Role,
}

object_only!(NodeIdentity);

fn never() -> Timestamp {
    Timestamp::ZERO
}

fn null_is_never<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Timestamp, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or(Timestamp::ZERO))
}

impl Default for NodeIdentity {
    fn default() -> NodeIdentity {
        NodeIdentity {
            id: String::new(),
            name: String::new(),
            public_key: String::new(),
            created_at: Timestamp::ZERO,
            role: Role::default(),
        }
    }
}

impl NodeIdentity {
    /// The key, when it is canonical and the id is its hash (mesh.md §8).
    ///
    /// # Errors
    /// [`Error::Malformed`]: `node id does not belong to the key`, or what is wrong with the key.
    pub fn checked_key(&self) -> Result<PublicKey> {
        let key = PublicKey::from_base64(&self.public_key)?;
        if key.node_id().to_string() != self.id {
            return Err(Error::malformed("identity", "node id does not belong to the key"));
        }
        Ok(key)
    }
}

/// A node's own identity: both private keys and the public description that belongs to them.
#[derive(Debug)]
pub struct Identity {
    secret: SecretKey,
    sign: SignKey,
    info: NodeIdentity,
    key: PublicKey,
    shared: SharedSecrets,
    binds: Arc<Binds>,
}

impl Identity {
    /// A new identity. `now` becomes its `createdAt`.
    ///
    /// # Errors
    /// [`Error::Config`] when the name breaks the rule of names or the role is not one of the three.
    pub fn generate(name: &str, role: Role, now: Timestamp, rng: &mut Rng) -> Result<Identity> {
        if !is_plain_name(name) {
            let shown = quote_value(name).into_owned();
            return Err(Error::Config(format!(
                "the name {shown} cannot be used: take at most 64 of A-Z a-z 0-9 space _ -, first and last a letter or digit"
            )));
        }
        let role: Role = role.as_str().parse()?;
        let (secret, sign) = (SecretKey::generate(rng), SignKey::generate(rng));
        let key = secret.public_key();
        let info = NodeIdentity {
            id: key.node_id().to_string(),
            name: name.to_owned(),
            public_key: key.to_base64(),
            created_at: now,
            role,
        };
        Ok(Identity { secret, sign, info, key, shared: SharedSecrets::default(), binds: Arc::default() })
    }

    /// Puts together what was stored. Name and role are taken as they are (a Go node writes any name).
    ///
    /// # Errors
    /// [`Error::Malformed`] when id or key of `info` do not belong to `secret`.
    pub fn from_parts(secret: SecretKey, sign: SignKey, info: NodeIdentity) -> Result<Identity> {
        let key = secret.public_key();
        if info.checked_key()? != key {
            return Err(Error::malformed("identity", "publicKey does not belong to the private key"));
        }
        Ok(Identity { secret, sign, info, key, shared: SharedSecrets::default(), binds: Arc::default() })
    }

    /// The node id.
    pub fn id(&self) -> NodeId {
        self.key.node_id()
    }

    /// The X25519 public key.
    pub fn public_key(&self) -> PublicKey {
        self.key
    }

    /// The public description.
    pub fn info(&self) -> &NodeIdentity {
        &self.info
    }

    /// The X25519 private key.
    pub fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// The secret shared with the owner of `peer`, as [`SecretKey::shared_secret`] makes it; those of late are kept.
    ///
    /// # Errors
    /// As there.
    pub fn shared_secret(&self, peer: &PublicKey) -> Result<SharedSecret> {
        self.shared.get(&self.secret, peer)
    }

    /// The binds of peers that held of late.
    pub(crate) fn binds(&self) -> &Arc<Binds> {
        &self.binds
    }

    /// The signing key.
    pub fn sign_key(&self) -> &SignKey {
        &self.sign
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::gojson;

    fn identity() -> Identity {
        let now = Timestamp::parse("2026-03-31T15:39:28.5+01:00").unwrap();
        Identity::generate("rig-7", Role::Worker, now, &mut Rng::from_number(1)).unwrap()
    }

    #[test]
    fn node_json_has_gos_order_and_reads_back() {
        let own = identity();
        let text = gojson::to_string_html(own.info()).unwrap();
        let want = format!(
            r#"{{"id":"{}","name":"rig-7","publicKey":"{}","createdAt":"2026-03-31T15:39:28.5+01:00","role":"worker"}}"#,
            own.id(),
            own.public_key()
        );
        assert_eq!(text, want);
        assert_eq!(&serde_json::from_str::<NodeIdentity>(&text).unwrap(), own.info());
        assert_eq!(own.info().checked_key().unwrap(), own.public_key());
    }

    #[test]
    fn what_is_missing_or_null_in_an_identity_is_empty_as_in_go() {
        let empty: NodeIdentity = serde_json::from_str("{}").unwrap();
        assert_eq!(empty, NodeIdentity::default());
        let nulls = r#"{"id":null,"name":null,"publicKey":null,"createdAt":null,"role":null}"#;
        assert_eq!(serde_json::from_str::<NodeIdentity>(nulls).unwrap(), empty);
        assert!(empty.checked_key().is_err());
        assert!(serde_json::from_str::<NodeIdentity>("[]").is_err());
    }

    #[test]
    fn an_id_that_is_not_the_hash_of_its_key_is_refused() {
        let own = identity();
        for id in ["", "deadbeef", &own.info().id.to_uppercase()] {
            let stated = NodeIdentity { id: id.to_owned(), ..own.info().clone() };
            let error = stated.checked_key().unwrap_err().to_string();
            assert!(error.contains("node id does not belong to the key"), "{error}");
        }
        let (other, mut rng) = (identity(), Rng::from_number(2));
        let foreign = Identity::from_parts(SecretKey::generate(&mut rng), SignKey::generate(&mut rng), other.info);
        assert!(foreign.unwrap_err().to_string().contains("does not belong to the private key"));
    }

    #[test]
    fn users_choose_one_of_three_roles_and_peers_state_any_short_text() {
        assert_eq!("dual".parse::<Role>().unwrap(), Role::Dual);
        let error = "emperor".parse::<Role>().unwrap_err().to_string();
        assert_eq!(error, "unknown role emperor: use controller, worker or dual");
        assert_eq!(serde_json::from_str::<Role>("\"emperor\"").unwrap(), Role::Other("emperor".into()));
        let long = format!("\"{}\"", "x".repeat(ROLE_BYTES_MAX + 1));
        assert!(serde_json::from_str::<Role>(&long).is_err());
    }

    #[test]
    fn a_new_identity_has_a_plain_name_and_a_known_role() {
        let mut rng = Rng::from_number(3);
        let now = Timestamp::ZERO;
        assert!(matches!(Identity::generate("a.b", Role::Dual, now, &mut rng), Err(Error::Config(_))));
        assert!(matches!(Identity::generate("a", Role::default(), now, &mut rng), Err(Error::Config(_))));
    }
}
