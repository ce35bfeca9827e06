//! A value of any kind, for the few places whose content is free (a topic's `meta`).

use super::float::{Shortest, shortest, widen};
use super::read::{CborError, Reader};
use super::write::{Major, NULL, bool_byte, push_head, push_string};
use minicbor::data::Type;
use std::cmp::Ordering;

/// Any CBOR value that the deterministic form knows.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Null, and undefined, which is read as null.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer from 0.
    Unsigned(u64),
    /// An integer below 0: the value is -1 - n.
    Negative(u64),
    /// A float.
    Float(f64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A text.
    Text(String),
    /// A list.
    Array(Vec<Value>),
    /// Pairs of keys and values, in whatever order; [`Value::encode`] puts them in theirs.
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// A whole number of either sign.
    pub fn integer(value: i64) -> Value {
        match u64::try_from(value) {
            Ok(value) => Value::Unsigned(value),
            Err(_) => Value::Negative(!value.cast_unsigned()),
        }
    }

    /// Reads one value.
    ///
    /// # Errors
    /// What the deterministic form does not have: indefinite lengths, tags, other simple values; a text that is not
    /// UTF-8; a key of a map that stands twice; nesting below [`super::DEPTH_MAX`].
    pub fn read(reader: &mut Reader<'_>) -> Result<Value, CborError> {
        let value = match reader.kind()? {
            Type::Null => reader.scalar(|d| d.null()).map(|()| Value::Null),
            Type::Undefined => reader.scalar(|d| d.undefined()).map(|()| Value::Null),
            Type::Bool => reader.bool().map(Value::Bool),
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => reader.u64().map(Value::Unsigned),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
                let number = i128::from(reader.scalar(|d| d.int())?);
                u64::try_from(-1 - number).map(Value::Negative).map_err(|_| reader.fault("no integer"))
            }
            Type::F16 => reader.half().map(|half| Value::Float(widen(half))),
            Type::F32 => reader.scalar(|d| d.f32()).map(|single| Value::Float(f64::from(single))),
            Type::F64 => reader.scalar(|d| d.f64()).map(Value::Float),
            Type::Bytes => reader.bytes().map(|bytes| Value::Bytes(bytes.to_vec())),
            Type::String => reader.text().map(|text| Value::Text(text.to_owned())),
            Type::Array => {
                let mut items = Vec::new();
                reader.array(|r| Value::read(r).map(|item| items.push(item)))?;
                Ok(Value::Array(items))
            }
            Type::Map => {
                let mut pairs: Vec<(Value, Value)> = Vec::new();
                reader.entries(|r| {
                    let key = Value::read(r)?;
                    pairs.push((key, Value::read(r)?));
                    Ok::<(), CborError>(())
                })?;
                match encode_pairs(&pairs).windows(2).any(|w| matches!(w, [(a, _), (b, _)] if a == b)) {
                    true => Err(reader.fault("a key that stands twice")),
                    false => Ok(Value::Map(pairs)),
                }
            }
            _ => Err(reader.fault("a value that is not deterministic")),
        }?;
        Ok(value)
    }

    /// The value's one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_to(&mut out);
        out
    }

    /// Appends the value's one encoding.
    pub fn encode_to(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.push(NULL),
            Value::Bool(value) => out.push(bool_byte(*value)),
            Value::Unsigned(value) => push_head(out, Major::Unsigned, *value),
            Value::Negative(value) => push_head(out, Major::Negative, *value),
            Value::Float(value) => match shortest(*value) {
                Shortest::F16(half) => push_float(out, 0xf9, &half.to_be_bytes()),
                Shortest::F32(single) => push_float(out, 0xfa, &single.to_be_bytes()),
                Shortest::F64(double) => push_float(out, 0xfb, &double.to_be_bytes()),
            },
            Value::Bytes(bytes) => push_string(out, Major::Bytes, bytes),
            Value::Text(text) => push_string(out, Major::Text, text.as_bytes()),
            Value::Array(items) => {
                push_head(out, Major::Array, items.len() as u64);
                for item in items {
                    item.encode_to(out);
                }
            }
            Value::Map(pairs) => {
                push_head(out, Major::Map, pairs.len() as u64);
                for (key, value) in encode_pairs(pairs) {
                    out.extend_from_slice(&key);
                    value.encode_to(out);
                }
            }
        }
    }
}

fn push_float(out: &mut Vec<u8>, head: u8, bytes: &[u8]) {
    out.push(head);
    out.extend_from_slice(bytes);
}

/// The pairs in the order of dht.md §2: by the length of the encoded key, then by its bytes.
fn encode_pairs(pairs: &[(Value, Value)]) -> Vec<(Vec<u8>, &Value)> {
    let mut encoded: Vec<_> = pairs.iter().map(|(key, value)| (key.encode(), value)).collect();
    encoded.sort_by(|(a, _), (b, _)| key_order(a, b));
    encoded
}

fn key_order(a: &[u8], b: &[u8]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(text: &str) -> Result<String, CborError> {
        Reader::whole(&hex::decode(text).unwrap(), Value::read).map(|value| hex::encode(value.encode()))
    }

    #[test]
    fn every_value_has_one_encoding() {
        for text in [
            "00",
            "1bffffffffffffffff",
            "20",
            "3bffffffffffffffff",
            "f4",
            "f6",
            "f93e00",
            "f97e00",
            "fa47c35000",
            "fb3ff199999999999a",
            "4101",
            "63e69c9c",
            "820102",
            "a2616101626262f5",
            "a2010220f6",
        ] {
            assert_eq!(again(text).as_deref(), Ok(text));
        }
        for (text, canonical) in [
            ("1800", "00"),
            ("fb3ff8000000000000", "f93e00"),
            ("fa7fc00001", "f97e00"),
            ("a2626262f5616101", "a2616101626262f5"),
            ("f7", "f6"),
            ("3b0000000000000000", "20"),
        ] {
            assert_eq!(again(text).as_deref(), Ok(canonical));
        }
        assert_eq!(Value::integer(-7).encode(), [0x26]);
        assert_eq!(Value::integer(i64::MIN).encode(), hex::decode("3b7fffffffffffffff").unwrap());
    }

    #[test]
    fn what_is_not_deterministic_is_refused() {
        for text in ["c100", "9fff", "a2616101616102", "a2010118 0102", "f0", "ff", "62fffe"] {
            assert!(again(&text.replace(' ', "")).is_err(), "{text}");
        }
    }
}
