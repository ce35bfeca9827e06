//! Small rules for texts that come from outside: names, base64, values in log lines.

use super::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Standard padded base64.
pub fn base64_encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Standard padded base64, read strictly: decoding and encoding again must give the same text,
/// so that every value has exactly one spelling (mesh.md §8).
pub fn base64_decode_strict(what: &'static str, text: &str) -> Result<Vec<u8>> {
    let bytes = STANDARD.decode(text).map_err(|e| Error::malformed(what, format!("not standard base64: {e}")))?;
    if STANDARD.encode(&bytes) != text {
        return Err(Error::malformed(what, "not the one canonical base64 spelling"));
    }
    Ok(bytes)
}

/// The protocol's rule for the names of peers (mesh.md §7): empty, or 1 to 64 of
/// `[A-Za-z0-9 _-]`, starting and ending with a letter or digit.
pub fn is_plain_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let end = |c: Option<&u8>| c.is_none_or(u8::is_ascii_alphanumeric);
    bytes.len() <= 64
        && bytes.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b' ' | b'_' | b'-'))
        && end(bytes.first())
        && end(bytes.last())
}

/// Makes a name that passes [`is_plain_name`] out of any text (a host name, say): what is not
/// allowed becomes `-`, the ends are trimmed, 64 characters are kept. May be empty.
pub fn sanitise_name(text: &str) -> String {
    let plain: String = text
        .chars()
        .take(64)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '-') { c } else { '-' })
        .collect();
    plain.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// A value as it stands in a log line (logging.md): quoted and escaped when it is empty or has a
/// space, `=`, quote, backslash, `|` or any character that could forge or break a line.
pub fn quote_value(value: &str) -> std::borrow::Cow<'_, str> {
    let plain = !value.is_empty()
        && value
            .chars()
            .all(|c| c.is_alphanumeric() || (c.is_ascii_punctuation() && !matches!(c, '=' | '"' | '\'' | '\\' | '|')));
    if plain { value.into() } else { format!("{value:?}").into() }
}

/// A key as people keep it in a file: 32 bytes, or their hex or base64 with white space around it.
///
/// # Errors
/// [`Error::Malformed`] when it is none of them.
pub fn key_of_file(file: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
    let exactly = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).ok().map(Zeroizing::new);
    let text = std::str::from_utf8(file).map(str::trim).unwrap_or_default();
    let decoded = match text.len() {
        64 => hex::decode(text).ok(),
        _ => base64_decode_strict("key", text).ok(),
    };
    let decoded = decoded.map(Zeroizing::new);
    let none = || Error::malformed("key", "not 32 bytes, nor their hex or base64");
    exactly(file).or_else(|| exactly(decoded.as_deref()?)).ok_or_else(none)
}

/// Text form for serde: `Display` out, `FromStr` in.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_or_their_hex_or_base64() {
        let bytes = [7; 32];
        let base64 = base64_encode(&bytes);
        for good in [bytes.to_vec(), hex::encode(bytes).into_bytes(), format!("  {base64}\n").into_bytes()] {
            assert!(key_of_file(&good).is_ok(), "{good:?}");
        }
        for bad in [&b""[..], &[7; 31], &[7; 33], b"00", &[b'z'; 64], b"AAAA"] {
            assert!(key_of_file(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn base64_has_one_spelling() {
        assert_eq!(base64_decode_strict("x", "YWI=").unwrap(), b"ab");
        for text in ["YWJ=", "YWI", "YW\nI=", "YWI= ", "YW-_"] {
            assert!(base64_decode_strict("x", text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn any_host_name_becomes_a_plain_name() {
        assert_eq!(sanitise_name("rig.7/é_"), "rig-7");
        assert_eq!(sanitise_name("---"), "");
        assert!(is_plain_name(&sanitise_name(&"x.".repeat(100))));
    }

    #[test]
    fn a_value_cannot_forge_a_line() {
        assert_eq!(quote_value("10.0.0.1:9091"), "10.0.0.1:9091");
        assert_eq!(quote_value("a b"), "\"a b\"");
        assert_eq!(quote_value("x\n2026/01/01 [ERROR]"), "\"x\\n2026/01/01 [ERROR]\"");
        assert_eq!(quote_value(""), "\"\"");
        assert!(!quote_value("\u{202e}evil").contains('\u{202e}'));
    }
}
