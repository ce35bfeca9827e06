//! SMSG v1 (smsg.md §1–3): a message sealed under a password, and the form every frame of a 1.0 link
//! has after the handshake.
//!
//! On a link the whole container is built in one buffer: the inner JSON is written behind the header,
//! mixed and encrypted where it stands. Opening decrypts in place and unescapes the body straight into
//! the caller's buffer.

use super::reading::{null_is_default, object_only};
use super::{gojson, sigil, trix};
use crate::base::{Error, Result, base64_encode, check_json, string_run};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use zeroize::{Zeroize as _, Zeroizing};

/// Magic of the container.
pub const MAGIC: &[u8; 4] = b"SMSG";

/// The longest header accepted on a link, bytes. Honest nodes send 48. It is parsed before anything
/// is authenticated, so it is kept small.
pub const LINK_HEADER_BYTES_MAX: usize = 64 << 10;

/// By how much a sealed body without escapes is longer than the body, bytes: container prefix and
/// header, nonce, tag, the inner JSON around the body with a ten-digit timestamp. Every `"` or `\` in
/// the body adds one more, every `<`, `>`, `&` and most control characters five.
pub const OVERHEAD_BYTES: usize = HEAD.len() + sigil::OVERHEAD_BYTES + br#"{"body":"","timestamp":1234567890}"#.len();

/// Prefix and header of every plain v1 container, as Go and we write it.
const HEAD: &[u8] = b"SMSG\x02\x00\x00\x00\x30{\"algorithm\":\"chacha20poly1305\",\"version\":\"1.0\"}";

const BODY: &str = "{\"body\":\"";
const TIMESTAMP: &str = ",\"timestamp\":";

/// The key of a link or a sealed message: SHA-256 of the password. 32 bytes, no more, since every
/// connection holds one. Wiped when dropped, never shown.
#[derive(Clone)]
pub struct LinkKey([u8; 32]);

impl LinkKey {
    /// From a password.
    ///
    /// # Errors
    /// [`Error::Config`] when it is empty.
    pub fn from_password(password: &str) -> Result<LinkKey> {
        if password.is_empty() {
            return Err(Error::Config("password is required".to_owned()));
        }
        Ok(LinkKey(Sha256::digest(password).into()))
    }

    /// From the secret two nodes share: the password is its standard base64 text.
    pub fn from_secret(shared: &[u8; 32]) -> LinkKey {
        let password = Zeroizing::new(base64_encode(shared));
        LinkKey(Sha256::digest(password.as_bytes()).into())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for LinkKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey(..)")
    }
}

/// Appends a plain v1 container with `body` to `out`. `timestamp_s` is Unix seconds, now (0 is left
/// out, which no Go node ever does). `nonce` must be random and never used twice.
///
/// # Errors
/// [`Error::Malformed`] when the body is empty. `out` is then as it was.
pub fn seal_v1(key: &LinkKey, nonce: [u8; 24], timestamp_s: i64, body: &str, out: &mut Vec<u8>) -> Result<()> {
    if body.is_empty() {
        return Err(Error::malformed("SMSG message", "message cannot be empty"));
    }
    let start = out.len();
    out.reserve(OVERHEAD_BYTES + body.len() + body.len() / 8);
    out.extend_from_slice(HEAD);
    out.extend_from_slice(&nonce);
    let inner = out.len();
    out.extend_from_slice(BODY.as_bytes());
    gojson::push_escaped(out, body, true);
    out.push(b'"');
    if timestamp_s != 0 {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{TIMESTAMP}{timestamp_s}");
    }
    out.push(b'}');
    match sigil::seal_in_place(&key.0, &nonce, out.get_mut(inner..).unwrap_or_default()) {
        Ok(tag) => {
            out.extend_from_slice(&tag);
            Ok(())
        }
        Err(e) => {
            out.truncate(start);
            Err(e)
        }
    }
}

/// Opens a frame of a link in place; the inner body replaces the content of `body`. The body is never
/// longer than the frame. Links accept plain v1 only (mesh.md §8).
///
/// # Errors
/// [`Error::Malformed`]: not a container, a `format` or `compression` key in the header, not sealed
/// under this key, an inner message that is not one or has attachments. `frame` is then undefined and
/// `body` empty.
pub fn open_link(key: &LinkKey, frame: &mut [u8], body: &mut Vec<u8>) -> Result<()> {
    body.clear();
    let payload = match frame.starts_with(HEAD) {
        true => HEAD.len(),
        false => link_payload(frame)?,
    };
    let plain = open_payload(key, frame.get_mut(payload..).unwrap_or_default())?;
    let plain = std::str::from_utf8(plain).map_err(|_| bad_inner())?;
    if usual_body(plain, body).is_some() {
        return Ok(());
    }
    body.clear();
    let message = SmsgMessage::decode(plain)?;
    if !message.attachments.is_empty() {
        return Err(Error::malformed("SMSG frame", "attachments are not accepted on a link"));
    }
    body.extend_from_slice(message.body.as_bytes());
    Ok(())
}

/// Where the payload of a frame with an unusual header begins.
fn link_payload(frame: &[u8]) -> Result<usize> {
    let (text, payload) = trix::split(MAGIC, frame, LINK_HEADER_BYTES_MAX)?;
    let header = trix::decode_header(text)?;
    trix::verify_checksum(&header, payload)?;
    match header.contains_key("format") || header.contains_key("compression") {
        true => Err(Error::malformed("SMSG frame", "links accept plain v1 only")),
        false => Ok(frame.len() - payload.len()),
    }
}

fn open_payload<'a>(key: &LinkKey, sealed: &'a mut [u8]) -> Result<&'a [u8]> {
    match sigil::open_in_place(&key.0, sealed) {
        Ok(plain) => Ok(plain),
        Err(_) => Err(Error::malformed("SMSG container", "decryption failed (wrong password?)")),
    }
}

fn bad_inner() -> Error {
    Error::malformed("SMSG payload", "invalid message format")
}

/// The inner message exactly as [`seal_v1`] writes it: its body is unescaped into `out`. `None` for any
/// other spelling, which the general reader then judges.
fn usual_body(plain: &str, out: &mut Vec<u8>) -> Option<()> {
    let rest = unescape_into(plain.strip_prefix(BODY)?, out)?.strip_suffix('}')?;
    if rest.is_empty() {
        return Some(());
    }
    let number = rest.strip_prefix(TIMESTAMP)?;
    let digits = number.strip_prefix('-').unwrap_or(number);
    let plain_number = number == "0" || (!digits.starts_with('0') && digits.bytes().all(|c| c.is_ascii_digit()));
    (plain_number && number.parse::<i64>().is_ok()).then_some(())
}

/// Appends the value of a JSON string whose opening quote is already gone. Returns what follows the
/// closing quote; `None` when it is no valid string.
fn unescape_into<'a>(text: &'a str, out: &mut Vec<u8>) -> Option<&'a str> {
    out.reserve(text.len());
    let mut rest = text;
    loop {
        let (plain, special) = rest.split_at_checked(string_run(rest.as_bytes()))?;
        out.extend_from_slice(plain.as_bytes());
        match special.as_bytes() {
            [b'"', ..] => return special.get(1..),
            [b'\\', b'u', ..] => {
                let (c, tail) = unicode_escape(special.get(2..)?)?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = tail;
            }
            [b'\\', c, ..] => {
                out.push(match c {
                    b'"' | b'\\' | b'/' => *c,
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    _ => return None,
                });
                rest = special.get(2..)?;
            }
            _ => return None,
        }
    }
}

/// The character of a `\u` escape whose `\u` is already gone, surrogates in pairs.
fn unicode_escape(text: &str) -> Option<(char, &str)> {
    let unit = |text: &str| {
        let digits = text.get(..4).filter(|d| d.bytes().all(|c| c.is_ascii_hexdigit()))?;
        u32::from_str_radix(digits, 16).ok()
    };
    let (first, tail) = (unit(text)?, text.get(4..)?);
    if let Some(c) = char::from_u32(first) {
        return Some((c, tail));
    }
    let tail = tail.strip_prefix("\\u")?;
    let second = unit(tail).filter(|u| (0xDC00..0xE000).contains(u) && first < 0xDC00)?;
    Some((char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00))?, tail.get(4..)?))
}

/// The inner message of a v1 container. As in Go, what is missing or null is empty, the case of keys
/// does not matter, unknown keys are ignored, and of a repeated key the last counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SmsgMessage {
    /// Subject.
    pub subject: String,
    /// Text.
    pub body: String,
    /// Files.
    pub attachments: Vec<Attachment>,
    /// Key to answer with.
    pub reply_key: Option<ReplyKey>,
    /// Sender, as stated.
    pub from: String,
    /// Unix seconds.
    pub timestamp: i64,
    /// Further texts by name.
    pub meta: BTreeMap<String, String>,
}

/// A file in an [`SmsgMessage`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct Attachment {
    /// File name, as stated: never a path to write to.
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    /// Base64 text, not validated here.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub content: String,
    /// Media type.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub mime: String,
    /// Size, as stated: not to be believed.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub size: i64,
}

/// A key for the answer to an [`SmsgMessage`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct ReplyKey {
    /// The key.
    #[serde(deserialize_with = "null_is_default")]
    pub public_key: String,
    /// Its id.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub key_id: String,
    /// Its algorithm.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub algorithm: String,
    /// Its fingerprint.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
}

object_only!(Attachment, ReplyKey);

fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl SmsgMessage {
    /// Reads the inner JSON.
    fn decode(text: &str) -> Result<SmsgMessage> {
        check_json("SMSG payload", text.as_bytes())?;
        serde_json::from_str(text).map_err(|_| bad_inner())
    }
}

impl<'de> Deserialize<'de> for SmsgMessage {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<SmsgMessage, D::Error> {
        struct Inner;
        impl<'de> Visitor<'de> for Inner {
            type Value = SmsgMessage;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an SMSG message")
            }
            fn visit_unit<E>(self) -> std::result::Result<SmsgMessage, E> {
                Ok(SmsgMessage::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<SmsgMessage, A::Error> {
                /// The next value into `slot`, unless it is null.
                fn take<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
                    map: &mut A,
                    slot: &mut T,
                ) -> std::result::Result<(), A::Error> {
                    if let Some(value) = map.next_value()? {
                        *slot = value;
                    }
                    Ok(())
                }
                let mut message = SmsgMessage::default();
                while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    match key.to_ascii_lowercase().as_str() {
                        "subject" => take(&mut map, &mut message.subject)?,
                        "body" => take(&mut map, &mut message.body)?,
                        "attachments" => take(&mut map, &mut message.attachments)?,
                        "reply_key" => message.reply_key = map.next_value()?,
                        "from" => take(&mut map, &mut message.from)?,
                        "timestamp" => take(&mut map, &mut message.timestamp)?,
                        "meta" => take(&mut map, &mut message.meta)?,
                        _ => drop(map.next_value::<serde::de::IgnoredAny>()?),
                    }
                }
                Ok(message)
            }
        }
        d.deserialize_any(Inner)
    }
}

/// Opens a v1 container.
///
/// # Errors
/// [`Error::Config`] for an empty password, else [`Error::Malformed`]: not a container, wrong password,
/// no v1 message inside, or (`unsupported`) the later formats: v2, compression.
pub fn open_v1(password: &str, container: &[u8]) -> Result<SmsgMessage> {
    let key = LinkKey::from_password(password)?;
    let trix::Container { header, payload } = trix::decode(MAGIC, container)?;
    let text = |name: &str| header.get(name).and_then(|v| v.as_str());
    // Unknown compressions mean none, unknown formats v1 (smsg.md §4).
    if let Some(format @ "v2") = text("format") {
        return Err(Error::malformed("SMSG container", format!("unsupported: format {format} is a later one than v1")));
    }
    if let Some(compression @ ("gzip" | "zstd")) = text("compression") {
        let detail = format!("unsupported: compression {compression} belongs to a later format than v1");
        return Err(Error::malformed("SMSG container", detail));
    }
    let mut sealed = payload.to_vec();
    let plain = std::str::from_utf8(open_payload(&key, &mut sealed)?).map_err(|_| bad_inner())?;
    SmsgMessage::decode(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> LinkKey {
        LinkKey::from_password("x").unwrap()
    }

    /// A frame with any header and any inner text.
    fn frame(header: &str, inner: &str) -> Vec<u8> {
        let sealed = sigil::seal(key().as_bytes(), &[9; 24], inner.as_bytes()).unwrap();
        let length = u32::try_from(header.len()).unwrap().to_be_bytes();
        [&MAGIC[..], &[2], &length, header.as_bytes(), &sealed].concat()
    }

    fn open(mut frame: Vec<u8>) -> Result<String> {
        let mut body = b"left over".to_vec();
        let before = frame.len();
        open_link(&key(), &mut frame, &mut body).inspect_err(|_| assert!(body.is_empty()))?;
        assert!(body.len() <= before);
        Ok(String::from_utf8(body).unwrap())
    }

    #[test]
    fn any_body_comes_back_and_the_container_is_appended() {
        for text in ["{}", "\"\\\u{8}\u{c}\n\r\t\u{1}<>&/é\u{2028}\u{2029}😀\u{7f}", " "] {
            for timestamp in [0, 1, -1, 1_795_227_036, i64::MIN, i64::MAX] {
                let mut out = b"before".to_vec();
                seal_v1(&key(), [7; 24], timestamp, text, &mut out).unwrap();
                let container = out.strip_prefix(b"before").unwrap();
                assert_eq!(open(container.to_vec()).unwrap(), text);
                let message = open_v1("x", container).unwrap();
                assert_eq!((message.body.as_str(), message.timestamp), (text, timestamp));
            }
        }
        let mut out = Vec::new();
        assert!(seal_v1(&key(), [7; 24], 1, "", &mut out).is_err() && out.is_empty());
        seal_v1(&key(), [7; 24], 1_234_567_890, "abc", &mut out).unwrap();
        assert_eq!(out.len(), OVERHEAD_BYTES + 3);
    }

    #[test]
    fn the_quick_reader_and_the_general_one_agree() {
        let bodies = [
            "",
            "a",
            "\\u0041\\ud83d\\ude00\\/\\b",
            "\\ud83d",
            "\\ude00",
            "\\ud83dx",
            "\\ud83d\\u0041",
            "\\x",
            "\\u00g0",
            "\\u+123",
            "\u{1}",
            "\\",
            "é\\u00e9",
            "\\uD83D\\uDE00",
            "\\ud83d\\ud83d",
        ];
        let tails = [
            "",
            ",\"timestamp\":1",
            ",\"timestamp\":01",
            ",\"timestamp\":1.0",
            ",\"timestamp\":-0",
            ",\"timestamp\":-",
            ",\"timestamp\":9223372036854775808",
            ",\"body\":\"z\"",
            ",\"timestamp\":",
            ",",
            "}",
        ];
        for body in bodies {
            for tail in tails {
                let inner = format!("{{\"body\":\"{body}\"{tail}}}");
                let (mut quick, general) = (Vec::new(), SmsgMessage::decode(&inner));
                if usual_body(&inner, &mut quick).is_some() {
                    assert_eq!(general.expect(&inner).body.as_bytes(), quick, "{inner}");
                } else if let Ok(message) = general {
                    let odd = tail.contains("body");
                    assert!(odd, "read by the general reader only: {inner} {message:?}");
                }
            }
        }
    }

    #[test]
    fn links_accept_plain_v1_only_and_other_header_keys_are_ignored() {
        let inner = r#"{"body":"b"}"#;
        for good in
            ["null", "{}", r#"{"algorithm":"aes","x":[1]}"#, r#" {"version":1,"version":"2"} "#, r#"{"Format":"v2"}"#]
        {
            assert_eq!(open(frame(good, inner)).unwrap(), "b", "{good}");
        }
        for bad in [
            r#"{"format":"v1"}"#,
            r#"{"format":null}"#,
            r#"{"compression":""}"#,
            r#"{"compression":"gzip"}"#,
            "[]",
            "",
            r#"{"checksum":"00","checksum_algo":"sha256"}"#,
            r#"{"checksum":"00"}"#,
        ] {
            assert!(open(frame(bad, inner)).is_err(), "{bad}");
        }
        let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(LINK_HEADER_BYTES_MAX));
        assert!(open(frame(&huge, inner)).is_err());
        assert!(open_v1("x", &frame(&huge, inner)).is_ok());
    }

    #[test]
    fn inner_messages_are_read_as_go_reads_them_without_attachments() {
        let inner = |text: &str| open(frame("{}", text));
        assert_eq!(inner("null").unwrap(), "");
        assert_eq!(
            inner(r#" {"timestamp":1,"subject":"s","meta":{"a":"b"},"zz":[{}],"body":"a","body":"b"} "#).unwrap(),
            "b"
        );
        assert_eq!(inner(r#"{"BODY":"b","body":null,"attachments":[]}"#).unwrap(), "b");
        for bad in
            ["", "[]", "5", r#"{"body":5}"#, r#"{"body":"b"}x"#, r#"{"Attachments":[{}]}"#, r#"{"timestamp":1.5}"#]
        {
            assert!(inner(bad).is_err(), "{bad}");
        }
        let sealed = sigil::seal(key().as_bytes(), &[9; 24], b"{\"body\":\"\xff\"}").unwrap();
        assert!(open([&b"SMSG\x02\0\0\0\x02{}"[..], &sealed].concat()).is_err());
    }

    #[test]
    fn later_formats_are_called_unsupported() {
        for header in [r#"{"format":"v2"}"#, r#"{"compression":"zstd"}"#] {
            let error = open_v1("x", &frame(header, "{}")).unwrap_err().to_string();
            assert!(error.contains("unsupported"), "{error}");
        }
        assert_eq!(open_v1("x", &frame(r#"{"compression":"bogus"}"#, r#"{"body":"b"}"#)).unwrap().body, "b");
    }
}
