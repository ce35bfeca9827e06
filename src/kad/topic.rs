//! The content of a topic record: what a publisher offers under a topic (dht.md §7.2).

use super::record_endpoint::texts;
use super::{Fault, SHARED_PAYLOAD_BYTES_MAX};
use crate::wire::cbor::{CborError, MapWriter, Reader, Value};

/// Characters (Unicode scalar values) of `brief`.
pub const BRIEF_CHARS_MAX: usize = 140;

/// An entry under a topic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicPayload {
    /// Of the form; 0 is written as 1.
    pub version: u8,
    /// The topic. It is not checked against the key the record lies at.
    pub topic: String,
    /// The publisher's name for itself.
    pub name: String,
    /// What it speaks. `None` is written as null, here and for `tags`.
    pub protocols: Option<Vec<String>>,
    /// Words to find it by.
    pub tags: Option<Vec<String>>,
    /// What it is, in at most [`BRIEF_CHARS_MAX`] characters.
    pub brief: String,
    /// Anything else, by name.
    pub meta: Vec<(String, Value)>,
}

impl TopicPayload {
    /// The canonical CBOR.
    ///
    /// # Errors
    /// [`Fault::Payload`] for an empty topic, a `brief` that is too long, or more than 512 bytes.
    pub fn encode(&self) -> Result<Vec<u8>, Fault> {
        self.check()?;
        let mut map = MapWriter::new();
        map.uint(1, self.version.max(1)).text(2, &self.topic).text(3, &self.name);
        map.optional_texts(4, self.protocols.as_deref()).optional_texts(5, self.tags.as_deref()).text(6, &self.brief);
        if !self.meta.is_empty() {
            let pairs = self.meta.iter().map(|(key, value)| (Value::Text(key.clone()), value.clone()));
            map.encoded(7, &Value::Map(pairs.collect()).encode());
        }
        let bytes = map.finish();
        match bytes.len() {
            0..=SHARED_PAYLOAD_BYTES_MAX => Ok(bytes),
            _ => Err(Fault::Payload("a topic payload of more than 512 bytes")),
        }
    }

    /// Reads a payload; keys nobody knows are left out.
    ///
    /// # Errors
    /// [`Fault::Cbor`] or [`Fault::Payload`], as for [`TopicPayload::encode`].
    pub fn decode(bytes: &[u8]) -> Result<TopicPayload, Fault> {
        if bytes.len() > SHARED_PAYLOAD_BYTES_MAX {
            return Err(Fault::Payload("a topic payload of more than 512 bytes"));
        }
        let mut payload = TopicPayload::default();
        Reader::whole(bytes, |r| {
            r.map(|key, r| -> Result<bool, Fault> {
                match key {
                    1 => payload.version = r.u8()?,
                    2 => payload.topic = r.text()?.to_owned(),
                    3 => payload.name = r.text()?.to_owned(),
                    4 => payload.protocols = r.optional(texts)?,
                    5 => payload.tags = r.optional(texts)?,
                    6 => payload.brief = r.text()?.to_owned(),
                    7 => payload.meta = r.optional(meta)?.unwrap_or_default(),
                    _ => return Ok(false),
                }
                Ok(true)
            })
        })?;
        payload.check()?;
        Ok(payload)
    }

    fn check(&self) -> Result<(), Fault> {
        if self.topic.is_empty() {
            Err(Fault::Payload("an empty topic"))
        } else if self.brief.chars().count() > BRIEF_CHARS_MAX {
            Err(Fault::Payload("a brief of more than 140 characters"))
        } else {
            Ok(())
        }
    }

    /// Whether the entry speaks one of `protocols` (any if there are none) and has every one of `tags`.
    pub fn matches(&self, protocols: &[String], tags: &[String]) -> bool {
        let (spoken, words) = (self.protocols.as_deref().unwrap_or_default(), self.tags.as_deref().unwrap_or_default());
        (protocols.is_empty() || protocols.iter().any(|protocol| spoken.contains(protocol)))
            && tags.iter().all(|tag| words.contains(tag))
    }
}

fn meta(reader: &mut Reader<'_>) -> Result<Vec<(String, Value)>, Fault> {
    let mut pairs: Vec<(String, Value)> = Vec::new();
    reader.entries(|r| {
        let key = r.text()?;
        if pairs.iter().any(|(known, _)| known == key) {
            return Err(r.fault("a key that stands twice"));
        }
        pairs.push((key.to_owned(), Value::read(r)?));
        Ok::<(), CborError>(())
    })?;
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back_with_all_it_says() {
        let entry = TopicPayload {
            version: 2,
            topic: "rigs".to_owned(),
            name: "rig 7".to_owned(),
            protocols: Some(vec!["ws".to_owned()]),
            tags: None,
            brief: "é".repeat(BRIEF_CHARS_MAX),
            meta: vec![("a".to_owned(), Value::integer(-1)), ("bb".to_owned(), Value::Array(vec![Value::Bool(true)]))],
        };
        assert_eq!(TopicPayload::decode(&entry.encode().unwrap()).unwrap(), entry);
        assert!(TopicPayload { brief: "é".repeat(BRIEF_CHARS_MAX + 1), ..entry.clone() }.encode().is_err());
        assert!(TopicPayload { topic: String::new(), ..entry.clone() }.encode().is_err());
        assert!(TopicPayload { name: "x".repeat(500), ..entry }.encode().is_err());
    }

    #[test]
    fn a_name_in_meta_stands_once() {
        let twice = hex::decode("a20261740 7a2616100616101".replace(' ', "")).unwrap();
        assert!(matches!(TopicPayload::decode(&twice), Err(Fault::Cbor(_))));
    }
}
