//! Reading rules shared by everything that arrives as JSON: what Go's typed decoder accepts where serde
//! differs (null means "leave the default", byte fields in its lenient base64), and what serde would
//! accept where Go does not (an array in place of an object).

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// Go's base64: standard alphabet, padding required, CR and LF ignored anywhere, non-zero trailing
/// bits tolerated (trix.md §3). `None` when it is not that.
pub fn go_base64_decode(text: &str) -> Option<Vec<u8>> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
    );
    if !text.bytes().any(|c| matches!(c, b'\r' | b'\n')) {
        return ENGINE.decode(text).ok();
    }
    let bare: Vec<u8> = text.bytes().filter(|c| !matches!(c, b'\r' | b'\n')).collect();
    ENGINE.decode(bare).ok()
}

/// For `deserialize_with`: `null` gives the default.
///
/// # Errors
/// What the type's own reading gives.
pub fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// For `with` on an array of bytes: standard padded base64, read strictly, so that a value has one text.
pub mod base64_array {
    use crate::base::{base64_decode_strict, base64_encode};
    use serde::{Deserialize as _, Deserializer, Serializer};

    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer, const N: usize>(bytes: &[u8; N], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&base64_encode(bytes))
    }

    /// # Errors
    /// Any other spelling or length.
    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(d: D) -> Result<[u8; N], D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let bytes = base64_decode_strict("bytes", &text).map_err(serde::de::Error::custom)?;
        bytes.try_into().map_err(|_| serde::de::Error::custom("wrong length"))
    }
}

/// For `deserialize_with` on a byte field: base64 text as Go reads it, an array of numbers, or null.
///
/// # Errors
/// Anything else.
pub fn go_bytes<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<u8>>, D::Error> {
    struct Bytes;
    impl<'de> Visitor<'de> for Bytes {
        type Value = Option<Vec<u8>>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("base64 text")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            go_base64_decode(text).map(Some).ok_or_else(|| E::custom("invalid base64"))
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut bytes = Vec::new();
            while let Some(b) = seq.next_element::<u8>()? {
                bytes.push(b);
            }
            Ok(Some(bytes))
        }
    }
    d.deserialize_any(Bytes)
}

/// [`go_bytes`] where null and empty mean the same.
///
/// # Errors
/// As [`go_bytes`].
pub fn go_bytes_or_empty<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
    Ok(go_bytes(d)?.unwrap_or_default())
}

/// Implements serde's two traits for a type with `#[serde(remote = "Self")]`, so that it is read from
/// an object only: a derived reader alone would also take an array of the fields' values.
macro_rules! object_only {
    ($($type:ident),+ $(,)?) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
                $type::serialize(self, s)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
                struct Object;
                impl<'de> serde::de::Visitor<'de> for Object {
                    type Value = $type;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> std::result::Result<$type, A::Error> {
                        $type::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    }
                }
                d.deserialize_map(Object)
            }
        }
    )+};
}
pub(crate) use object_only;

/// The next value of a record into `slot`, unless it is null.
///
/// # Errors
/// What the type's own reading gives.
pub(crate) fn take_value<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    slot: &mut T,
) -> Result<(), A::Error> {
    if let Some(value) = map.next_value()? {
        *slot = value;
    }
    Ok(())
}

/// Implements `Deserialize` as Go's typed decoder does it (trix.md §5): the case of keys does not matter,
/// null leaves the default (also in place of the whole record), unknown keys are ignored, of a repeated
/// key the last counts, and nothing but an object is a record.
macro_rules! go_record {
    ($type:ident { $($key:literal => $field:ident),+ $(,)? }) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<$type, D::Error> {
                struct Record;
                impl<'de> serde::de::Visitor<'de> for Record {
                    type Value = $type;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_unit<E>(self) -> std::result::Result<$type, E> {
                        Ok($type::default())
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> std::result::Result<$type, A::Error> {
                        let mut record = $type::default();
                        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                            $(if key.eq_ignore_ascii_case($key) {
                                $crate::formats::reading::take_value(&mut map, &mut record.$field)?;
                                continue;
                            })+
                            map.next_value::<serde::de::IgnoredAny>()?;
                        }
                        Ok(record)
                    }
                }
                d.deserialize_any(Record)
            }
        }
    };
}
pub(crate) use go_record;

/// Reads an array of at most `max` elements; the reader notes in `over` when there were more. The rest
/// is skipped without being kept, so that a short text cannot fill the memory.
pub(crate) struct AtMost<'a, T> {
    pub(crate) max: usize,
    pub(crate) over: &'a Cell<bool>,
    pub(crate) of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for AtMost<'_, T> {
    type Value = Option<Vec<T>>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for AtMost<'_, T> {
    type Value = Option<Vec<T>>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < self.max {
            match seq.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(Some(items)),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            self.over.set(true);
        }
        Ok(Some(items))
    }
}

/// The same for an object from text to text.
pub(crate) struct TextsAtMost<'a> {
    pub(crate) max: usize,
    pub(crate) over: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for TextsAtMost<'_> {
    type Value = Option<BTreeMap<String, String>>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TextsAtMost<'_> {
    type Value = Option<BTreeMap<String, String>>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut texts = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            let value: Option<String> = map.next_value()?;
            if texts.len() < self.max || texts.contains_key(&key) {
                texts.insert(key, value.unwrap_or_default());
            } else {
                self.over.set(true);
            }
        }
        Ok(Some(texts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_go_does() {
        assert_eq!(go_base64_decode("YWI=").unwrap(), b"ab");
        assert_eq!(go_base64_decode("Y\r\nWJ=\n").unwrap(), b"ab");
        for bad in ["YWI", "YWI= ", "YW-_", "!!!!", "=", "YQ==YQ=="] {
            assert_eq!(go_base64_decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn byte_fields_take_text_numbers_and_null() {
        let read = |text: &str| go_bytes(&mut serde_json::Deserializer::from_str(text)).map_err(|e| e.to_string());
        assert_eq!(read("\"AAEC\""), Ok(Some(vec![0, 1, 2])));
        assert_eq!(read("[0,1,2]"), Ok(Some(vec![0, 1, 2])));
        assert_eq!(read("null"), Ok(None));
        assert!(read("[256]").is_err() && read("5").is_err() && read("\"AAE\"").is_err());
    }
}
