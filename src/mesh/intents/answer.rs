//! The answer to a packet: JSON in the payload of a packet of the same intent.

use crate::base::{Error, Result, check_json};
use crate::message::ErrorCode;
use crate::peers::AuditMark;
use crate::wire::ueps::{Header, Key, Packet, encode_to};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What became of a packet, as its sender hears it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntentAnswer {
    /// The HMAC of the packet that this answers, hex.
    re: String,
    ok: bool,
    /// One of [`ErrorCode`], when it was not carried out.
    #[serde(default, skip_serializing_if = "is_zero")]
    code: i64,
    /// Why it was not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    error: String,
    /// What the handler said.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    body: Value,
    /// Where the rig's audit log says how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    audit: Option<AuditMark>,
}

impl IntentAnswer {
    /// It was carried out.
    pub(crate) fn done(packet: &Packet<'_>, body: Value) -> IntentAnswer {
        IntentAnswer { re: hex::encode(packet.hmac()), ok: true, code: 0, error: String::new(), body, audit: None }
    }

    /// The packet with this HMAC was not.
    pub(crate) fn refused(hmac: &[u8; 32], code: i64, error: String) -> IntentAnswer {
        IntentAnswer { re: hex::encode(hmac), ok: false, code, error, body: Value::Null, audit: None }
    }

    /// Reads the payload of a verified packet.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode(payload: &[u8]) -> Result<IntentAnswer> {
        let text = check_json("UEPS answer", payload)?;
        serde_json::from_str(text).map_err(|e| Error::malformed("UEPS answer", e.to_string()))
    }

    /// The HMAC of the packet that it answers, hex.
    pub(crate) fn of(&self) -> &str {
        &self.re
    }

    /// Whether it answers the packet with this HMAC. Whoever hears answers where packets come as well must ask.
    pub fn answers(&self, hmac: &[u8; 32]) -> bool {
        self.re == hex::encode(hmac)
    }

    /// The audit log's line about it.
    pub(crate) fn mark(&mut self, mark: Option<AuditMark>) {
        self.audit = mark;
    }

    /// The place on the rig's audit chain where it says how this ended; `None` from one that keeps none.
    pub fn audit_mark(&self) -> Option<AuditMark> {
        self.audit
    }

    /// Why it was not carried out, if it was not.
    pub fn failure(&self) -> Option<&str> {
        (!self.ok).then_some(self.error.as_str())
    }

    /// What the handler said; null when it said nothing.
    ///
    /// # Errors
    /// [`Error::Remote`] with the other side's code and words.
    pub fn into_result(self) -> Result<Value> {
        if self.ok { Ok(self.body) } else { Err(Error::Remote { code: self.code, message: self.error }) }
    }

    /// The packet that carries it. An answer that is too long is replaced by one that says so.
    ///
    /// # Errors
    /// None in practice.
    pub(crate) fn encode(&self, intent: u8, key: &Key) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let payload = |answer: &IntentAnswer| {
            serde_json::to_vec(answer).map_err(|e| Error::malformed("UEPS answer", e.to_string()))
        };
        let header = Header::new(intent);
        if encode_to(&header, &payload(self)?, key, &mut bytes).is_err() {
            let (code, error) = (ErrorCode::OPERATION_FAILED, "done, but the answer is too long for a packet");
            let (re, audit) = (self.re.clone(), self.audit);
            let short = IntentAnswer { code, error: error.to_owned(), ok: false, body: Value::Null, re, audit };
            encode_to(&header, &payload(&short)?, key, &mut bytes)?;
        }
        Ok(bytes)
    }
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}
