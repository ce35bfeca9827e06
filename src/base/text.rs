//! Small rules for texts that come from outside: names, base64, values in log lines.

use super::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

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

#[cfg(test)]
mod tests {
    use super::*;

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
