//! JSON kept as text until somebody asks for its type.

use crate::base::{Error, Result, base64_encode, check_json, string_run};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Any JSON value as compact text; `null` when there is none. What was read is kept token by token:
/// order of keys, escapes and spelling of numbers, without the white space between tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawPayload(Option<Box<str>>);

impl RawPayload {
    /// No payload.
    pub const NULL: RawPayload = RawPayload(None);

    /// From JSON text.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is not one JSON value, is nested too deeply, or has lone surrogates.
    pub fn from_text(text: &str) -> Result<RawPayload> {
        check_json("JSON", text.as_bytes())?;
        let raw: &RawValue = serde_json::from_str(text).map_err(|e| Error::malformed("JSON", e.to_string()))?;
        Ok(RawPayload::from_valid(raw.get()))
    }

    /// From any value, spelled as a Go node spells it.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the value cannot be JSON.
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Result<RawPayload> {
        let text = crate::formats::gojson::to_string(value)?;
        Ok(if text == "null" { RawPayload::NULL } else { RawPayload(Some(text.into())) })
    }

    /// From text that a JSON parser has accepted; white space between tokens is taken out.
    pub(crate) fn from_valid(text: &str) -> RawPayload {
        let text = text.trim_matches([' ', '\t', '\n', '\r']);
        if text == "null" { RawPayload::NULL } else { RawPayload(Some(compact(text))) }
    }

    /// From text that we wrote ourselves, without white space between tokens.
    pub(crate) fn from_compact(text: String) -> RawPayload {
        RawPayload(Some(text.into()))
    }

    /// The text, `null` when there is none.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or("null")
    }

    /// Whether there is no payload.
    pub fn is_null(&self) -> bool {
        self.0.is_none()
    }

    /// The value as a type of the caller's. `null` is read as an empty object where the type does not
    /// take null itself (Go: "nothing to decode").
    ///
    /// # Errors
    /// [`Error::Malformed`] when the text does not fit the type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        let result = match &self.0 {
            Some(text) => serde_json::from_str(text),
            None => serde_json::from_str("null").or_else(|_| serde_json::from_str("{}")),
        };
        result.map_err(|e| Error::malformed("payload", e.to_string()))
    }
}

/// Valid JSON without the white space between its tokens.
fn compact(text: &str) -> Box<str> {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        // Outside of strings: up to the next white space or string.
        let end = rest.bytes().position(|c| c <= b' ' || c == b'"').unwrap_or(rest.len());
        let (tokens, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
        kept.push_str(tokens);
        let Some(string) = tail.strip_prefix('"') else {
            match tail.get(1..) {
                Some(tail) => rest = tail,
                None => return kept.into(),
            }
            continue;
        };
        // The string with both its quotes.
        let mut length = 0;
        loop {
            length += string_run(string.as_bytes().get(length..).unwrap_or_default());
            match string.as_bytes().get(length) {
                Some(b'\\') => length += 2,
                _ => break,
            }
        }
        let (string, tail) = tail.split_at_checked(length + 2).unwrap_or((tail, ""));
        kept.push_str(string);
        rest = tail;
    }
}

impl Serialize for RawPayload {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.as_str()).map_err(serde::ser::Error::custom)?;
        raw.serialize(s)
    }
}

impl<'de> Deserialize<'de> for RawPayload {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<RawPayload, D::Error> {
        Ok(RawPayload::from_valid(Box::<RawValue>::deserialize(d)?.get()))
    }
}

/// For `serialize_with` on a byte field: standard base64 with padding.
pub(super) fn base64<S: Serializer>(bytes: &[u8], s: S) -> std::result::Result<S::Ok, S::Error> {
    s.serialize_str(&base64_encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_and_tokens_stay() {
        let raw = RawPayload::from_text(" { \"a b\" : [ 1.0 , \"\\\" \\u003c\" ] ,\n\"c\":1e3 } ").unwrap();
        assert_eq!(raw.as_str(), "{\"a b\":[1.0,\"\\\" \\u003c\"],\"c\":1e3}");
        assert_eq!(serde_json::to_string(&raw).unwrap(), raw.as_str());
        for (text, want) in
            [("\"\\\\\" ", "\"\\\\\""), (" \" \"", "\" \""), ("[\n\"é \\\\\\\"\" , \"\"\t]", "[\"é \\\\\\\"\",\"\"]")]
        {
            assert_eq!(RawPayload::from_text(text).unwrap().as_str(), want);
        }
        assert_eq!(serde_json::from_str::<RawPayload>("[ 1 ]").unwrap().as_str(), "[1]");
    }

    #[test]
    fn null_and_nothing_are_the_same() {
        assert!(RawPayload::from_text(" null ").unwrap().is_null());
        assert!(RawPayload::from_value(&()).unwrap().is_null());
        assert_eq!(RawPayload::NULL.as_str(), "null");
        assert_eq!(RawPayload::NULL.parse::<Option<u8>>().unwrap(), None);
        assert!(RawPayload::from_text("{").is_err() && RawPayload::from_text(&"[".repeat(50)).is_err());
    }
}
