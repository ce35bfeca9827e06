//! SMSG v1 as links use it (smsg.md §1–3): the form of every frame of a 1.0 link after the handshake.
//!
//! The whole container is built in one buffer: the inner JSON is written behind the header, mixed and
//! encrypted where it stands. Opening decrypts in place and unescapes the body straight into the
//! caller's buffer.

use super::{MAGIC, SmsgMessage, bad_inner, open_payload};
use crate::base::{Error, Result, base64_encode, string_run};
use crate::formats::{gojson, sigil, trix};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io::Write as _;
use zeroize::{Zeroize as _, Zeroizing};

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

#[cfg(test)]
mod tests {
    use super::super::open;
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

    fn through_link(mut frame: Vec<u8>) -> Result<String> {
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
                assert_eq!(through_link(container.to_vec()).unwrap(), text);
                let message = open("x", container, container.len()).unwrap();
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
            assert_eq!(through_link(frame(good, inner)).unwrap(), "b", "{good}");
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
            assert!(through_link(frame(bad, inner)).is_err(), "{bad}");
        }
        let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(LINK_HEADER_BYTES_MAX));
        assert!(through_link(frame(&huge, inner)).is_err());
        assert!(open("x", &frame(&huge, inner), 99).is_ok());
    }

    #[test]
    fn inner_messages_are_read_as_go_reads_them_without_attachments() {
        let inner = |text: &str| through_link(frame("{}", text));
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
        assert!(through_link([&b"SMSG\x02\0\0\0\x02{}"[..], &sealed].concat()).is_err());
    }
}
