//! The inner message of SMSG containers (smsg.md §2).

use super::bad_inner;
use crate::base::{Error, Refusal, Result, base64_encode, check_json};
use crate::formats::reading::{AtMost, TextsAtMost, go_base64_decode, go_record, take_value};
use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// The most attachments of a message that is read or sealed.
pub const ATTACHMENTS_MAX: usize = 4096;

/// The most entries of a message's `meta` that are read or sealed.
pub const META_MAX: usize = 4096;

/// A message. As in Go, what is missing or null is empty, the case of keys does not matter, unknown keys
/// are ignored, and of a repeated key the last counts. Keys are written in this order, empty ones not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SmsgMessage {
    /// Subject.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// Text. Always written.
    pub body: String,
    /// Files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// Key to answer with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_key: Option<ReplyKey>,
    /// Sender, as stated.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// Unix seconds. When 0, sealing writes now.
    #[serde(skip_serializing_if = "is_zero")]
    pub timestamp: i64,
    /// Further texts by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
}

/// A file in an [`SmsgMessage`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// File name, as stated: never a path to write to.
    pub name: String,
    /// Base64 text. In v1 it is carried as it is, in v2 as the bytes that it stands for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub content: String,
    /// Media type.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mime: String,
    /// Size in bytes, as stated: not to be believed.
    #[serde(skip_serializing_if = "is_zero")]
    pub size: i64,
}

impl Attachment {
    /// A file of these bytes. (The original's other builder, which takes ready base64 and states that
    /// text's length as the size, makes files that cannot be read; it is left out.)
    pub fn new(name: &str, mime: &str, bytes: &[u8]) -> Attachment {
        Attachment {
            name: name.to_owned(),
            content: base64_encode(bytes),
            mime: mime.to_owned(),
            size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        }
    }

    /// The bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`]: the content is no base64.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let wrong = || Error::malformed("SMSG attachment", format!("invalid base64 in attachment {:?}", self.name));
        go_base64_decode(&self.content).ok_or_else(wrong)
    }
}

/// A key for the answer to an [`SmsgMessage`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReplyKey {
    /// The key.
    pub public_key: String,
    /// Its id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key_id: String,
    /// Its algorithm.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub algorithm: String,
    /// Its fingerprint.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
}

go_record!(Attachment { "name" => name, "content" => content, "mime" => mime, "size" => size });
go_record!(ReplyKey {
    "public_key" => public_key,
    "key_id" => key_id,
    "algorithm" => algorithm,
    "fingerprint" => fingerprint,
});

pub(super) fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl SmsgMessage {
    /// A message with this text.
    pub fn new(body: &str) -> SmsgMessage {
        SmsgMessage { body: body.to_owned(), ..SmsgMessage::default() }
    }

    /// The same with one more file.
    #[must_use]
    pub fn with_attachment(mut self, name: &str, mime: &str, bytes: &[u8]) -> SmsgMessage {
        self.attachments.push(Attachment::new(name, mime, bytes));
        self
    }

    /// The first attachment of this name.
    pub fn attachment(&self, name: &str) -> Option<&Attachment> {
        self.attachments.iter().find(|a| a.name == name)
    }

    /// Whether it may be sealed: it has a text or a file, and no more of anything than readers take.
    pub(super) fn check(&self) -> Result<()> {
        if self.body.is_empty() && self.attachments.is_empty() {
            return Err(Error::malformed("SMSG message", "message cannot be empty"));
        }
        match self.attachments.len() > ATTACHMENTS_MAX || self.meta.len() > META_MAX {
            true => Err(too_many()),
            false => Ok(()),
        }
    }

    /// Reads the inner JSON. Second: why it is not one.
    pub(super) fn decode(text: &str) -> Result<SmsgMessage> {
        check_json("SMSG payload", text.as_bytes())?;
        let over = Cell::new(false);
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = Inner { over: &over }.deserialize(&mut reader).and_then(|m| reader.end().map(|()| m));
        match (over.get(), read) {
            (true, _) => Err(too_many()),
            (false, Ok(message)) => Ok(message),
            (false, Err(_)) => Err(bad_inner()),
        }
    }
}

fn too_many() -> Error {
    let why = format!("a message has at most {ATTACHMENTS_MAX} attachments and {META_MAX} meta texts");
    Error::Rejected(Refusal::Limit(why))
}

impl<'de> Deserialize<'de> for SmsgMessage {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<SmsgMessage, D::Error> {
        let over = Cell::new(false);
        let message = Inner { over: &over }.deserialize(d)?;
        if over.get() { Err(D::Error::custom(too_many())) } else { Ok(message) }
    }
}

/// The reader of a message; notes in `over` when there was too much of something.
struct Inner<'a> {
    over: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Inner<'_> {
    type Value = SmsgMessage;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> std::result::Result<SmsgMessage, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inner<'_> {
    type Value = SmsgMessage;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an SMSG message")
    }
    fn visit_unit<E>(self) -> std::result::Result<SmsgMessage, E> {
        Ok(SmsgMessage::default())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<SmsgMessage, A::Error> {
        let (mut message, over) = (SmsgMessage::default(), self.over);
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match key.to_ascii_lowercase().as_str() {
                "subject" => take_value(&mut map, &mut message.subject)?,
                "body" => take_value(&mut map, &mut message.body)?,
                "attachments" => {
                    let seed = AtMost { max: ATTACHMENTS_MAX, over, of: PhantomData };
                    message.attachments = map.next_value_seed(seed)?.unwrap_or(message.attachments);
                }
                "reply_key" => message.reply_key = map.next_value()?,
                "from" => take_value(&mut map, &mut message.from)?,
                "timestamp" => take_value(&mut map, &mut message.timestamp)?,
                "meta" => {
                    let seed = TextsAtMost { max: META_MAX, over };
                    message.meta = map.next_value_seed(seed)?.unwrap_or(message.meta);
                }
                _ => drop(map.next_value::<serde::de::IgnoredAny>()?),
            }
        }
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_of_anything_is_a_limit_and_costs_little() {
        let many = |n: usize| {
            (
                format!("{{\"attachments\":[{}]}}", vec!["{}"; n].join(",")),
                format!("{{\"meta\":{{{}}}}}", (0..n).map(|i| format!("\"{i}\":\"\"")).collect::<Vec<_>>().join(",")),
            )
        };
        let (attachments, meta) = many(ATTACHMENTS_MAX);
        assert_eq!(SmsgMessage::decode(&attachments).unwrap().attachments.len(), ATTACHMENTS_MAX);
        assert_eq!(SmsgMessage::decode(&meta).unwrap().meta.len(), META_MAX);
        let (attachments, meta) = many(ATTACHMENTS_MAX + 1);
        for text in [attachments, meta] {
            assert!(matches!(SmsgMessage::decode(&text).unwrap_err(), Error::Rejected(Refusal::Limit(_))));
            assert!(serde_json::from_str::<SmsgMessage>(&text).is_err());
        }
    }

    #[test]
    fn records_are_read_as_go_reads_them() {
        let text = r#"{"Attachments":[{"NAME":"a","size":null,"x":[1]},null],"attachments":null,"reply_key":{"Key_Id":"k"},"meta":{"a":null}}"#;
        let message = SmsgMessage::decode(text).unwrap();
        assert_eq!(
            message.attachments,
            [Attachment { name: "a".into(), ..Attachment::default() }, Attachment::default()]
        );
        assert_eq!(message.reply_key.unwrap().key_id, "k");
        assert_eq!(message.meta["a"], "");
        for bad in [r#"{"attachments":{}}"#, r#"{"attachments":[[]]}"#, r#"{"meta":[]}"#, r#"{"reply_key":"x"}"#] {
            assert!(SmsgMessage::decode(bad).is_err(), "{bad}");
        }
    }
}
