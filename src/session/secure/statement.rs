//! What each side says of itself inside the handshake, where nobody can change it (secure-session.md §1).

use super::PAYLOAD_BYTES_MAX;
use crate::base::{Error, Result, check_json};
use crate::formats::gojson;
use crate::formats::reading::base64_array;
use crate::identity::{Binds, Identity, PublicKey, Role};
use serde::{Deserialize, Serialize};

/// The largest message that anybody may announce to take, bytes.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// The smallest, bytes.
pub const MESSAGE_BYTES_MIN: usize = 64 << 10;

/// Most capabilities, and the longest one in bytes.
const CAPS_MAX: usize = 64;
/// The longest name of a node that is taken, bytes.
const NAME_BYTES_MAX: usize = 256;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// SHA-256 of the clear message that this one answers.
    #[serde(rename = "h", with = "base64_array")]
    pub(super) heard: [u8; 32],
    /// Name for people.
    pub name: String,
    /// What the node does.
    pub role: Role,
    /// In the third message of a pairing: what the sender asks to be allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub want: Vec<String>,
    /// Extensions it speaks. One counts when both sides list it.
    pub caps: Vec<String>,
    /// The largest message it takes, bytes; between [`MESSAGE_BYTES_MIN`] and [`MESSAGE_BYTES_MAX`] once read.
    pub max: usize,
    /// Its Ed25519 key, S.
    #[serde(with = "base64_array")]
    pub sign: [u8; 32],
    /// The signature by which S agrees to belong to its X25519 key.
    #[serde(with = "base64_array")]
    bind: [u8; 64],
}

impl Statement {
    /// What the node with this identity says.
    pub fn new(identity: &Identity, caps: Vec<String>, max: usize) -> Statement {
        let info = identity.info();
        Statement {
            heard: [0; 32],
            name: info.name.clone(),
            role: info.role.clone(),
            want: Vec::new(),
            caps,
            max: max.clamp(MESSAGE_BYTES_MIN, MESSAGE_BYTES_MAX),
            sign: identity.sign_key().public(),
            bind: identity.sign_key().bind_signature(&identity.public_key()),
        }
    }

    /// The same, asking to be allowed this.
    #[must_use]
    pub fn asking(&self, want: Vec<String>) -> Statement {
        Statement { want, ..self.clone() }
    }

    /// Whether the node lists this extension.
    pub fn has(&self, cap: &str) -> bool {
        self.caps.iter().any(|c| c == cap)
    }

    /// The payload: the statement with the hash of what is answered.
    ///
    /// # Errors
    /// [`Error::Config`] when it becomes longer than [`PAYLOAD_BYTES_MAX`].
    pub fn encode(&self, heard: [u8; 32]) -> Result<Vec<u8>> {
        let text = gojson::to_string_html(&Statement { heard, ..self.clone() })?;
        if text.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::Config(format!(
                "name and capabilities take {} bytes, at most {PAYLOAD_BYTES_MAX}",
                text.len()
            )));
        }
        Ok(text.into_bytes())
    }

    /// Reads the payload of the node that has proven `key`. Numbers are brought within their bounds.
    ///
    /// # Errors
    /// [`Error::Malformed`]: not such JSON, too long, or a signing key that does not belong to `key`.
    pub fn decode(bytes: &[u8], key: &PublicKey) -> Result<Statement> {
        Statement::decode_with(&Binds::default(), bytes, key)
    }

    /// [`Statement::decode`], without the curve work when the bind held of late.
    pub(super) fn decode_with(binds: &Binds, bytes: &[u8], key: &PublicKey) -> Result<Statement> {
        let wrong = |why: String| Error::malformed("session statement", why);
        if bytes.len() > PAYLOAD_BYTES_MAX {
            return Err(wrong(format!("{} bytes, at most {PAYLOAD_BYTES_MAX}", bytes.len())));
        }
        let text = check_json("session statement", bytes)?;
        let mut read: Statement = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        if [&read.caps, &read.want]
            .iter()
            .any(|words| words.len() > CAPS_MAX || words.iter().any(|w| w.len() > CAPS_MAX))
        {
            return Err(wrong("too many capabilities or wishes, or a long one".to_owned()));
        }
        if read.name.len() > NAME_BYTES_MAX {
            return Err(wrong(format!("the name has more than {NAME_BYTES_MAX} bytes")));
        }
        if !binds.verify(key, &read.sign, &read.bind) {
            return Err(wrong("the signing key does not belong to the node's key".to_owned()));
        }
        read.max = read.max.clamp(MESSAGE_BYTES_MIN, MESSAGE_BYTES_MAX);
        Ok(read)
    }
}
