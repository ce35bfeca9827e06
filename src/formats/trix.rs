//! The TRIX container (trix.md §1, §2): magic, version, header in JSON, payload.
//!
//! The header is not authenticated by anything: nothing in it may loosen what a reader does.

use super::gojson;
use crate::base::{Error, Result, check_json};
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use std::collections::BTreeMap;

/// The one version there is.
pub const VERSION: u8 = 2;

/// The longest header a reader accepts, bytes.
pub const HEADER_BYTES_MAX: usize = 16 << 20;

/// Magic, version and header length, bytes.
pub const PREFIX_BYTES: usize = 9;

/// Header keys and values, sorted as they are written.
pub type Header = BTreeMap<String, Value>;

/// A container taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Container<'a> {
    /// The header; empty when it was `null`. Numbers are doubles, as in Go.
    pub header: Header,
    /// Everything behind the header.
    pub payload: &'a [u8],
}

fn malformed(detail: impl Into<String>) -> Error {
    Error::malformed("container", detail)
}

/// Splits a container into the bytes of its header and its payload. Nothing is allocated, and no more
/// is believed than is there.
///
/// # Errors
/// [`Error::Malformed`]: cut short, another magic or version, a header above `header_max` bytes.
pub fn split<'a>(magic: &[u8; 4], bytes: &'a [u8], header_max: usize) -> Result<(&'a [u8], &'a [u8])> {
    let cut = || malformed("unexpected end");
    let (got, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
    if got != magic {
        return Err(malformed("invalid magic number"));
    }
    let (version, rest) = rest.split_first().ok_or_else(cut)?;
    if *version != VERSION {
        return Err(malformed("invalid version"));
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > header_max {
        return Err(malformed("header size exceeds maximum allowed"));
    }
    rest.split_at_checked(length).ok_or_else(cut)
}

/// Reads a header: a JSON object or `null`; of a repeated key the last counts; invalid UTF-8 inside
/// texts becomes U+FFFD.
///
/// # Errors
/// [`Error::Malformed`] for anything else, deep nesting and lone surrogate escapes.
pub fn decode_header(text: &[u8]) -> Result<Header> {
    let text = String::from_utf8_lossy(text);
    check_json("container", text.as_bytes())?;
    let header: Option<Header> = serde_json::from_str(&text).map_err(|e| malformed(format!("header: {e}")))?;
    let mut header = header.unwrap_or_default();
    header.values_mut().for_each(make_doubles);
    Ok(header)
}

/// Go reads every number as a double. The depth is bounded by [`check_json`].
fn make_doubles(value: &mut Value) {
    match value {
        Value::Number(n) => {
            if let Some(double) = n.as_f64().and_then(serde_json::Number::from_f64) {
                *n = double;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(make_doubles),
        Value::Object(map) => map.values_mut().for_each(make_doubles),
        _ => {}
    }
}

/// Reads a container and verifies its checksum, when the header has one.
///
/// # Errors
/// As [`split`] (with [`HEADER_BYTES_MAX`]), [`decode_header`] and [`verify_checksum`].
pub fn decode<'a>(magic: &[u8; 4], bytes: &'a [u8]) -> Result<Container<'a>> {
    let (text, payload) = split(magic, bytes, HEADER_BYTES_MAX)?;
    let header = decode_header(text)?;
    verify_checksum(&header, payload)?;
    Ok(Container { header, payload })
}

/// Writes a container. With a checksum algorithm, `checksum` and `checksum_algo` are added to the
/// header as it is written, or replace what it had.
///
/// # Errors
/// [`Error::Failed`] when the header is longer than readers accept.
pub fn encode(magic: &[u8; 4], header: &Header, payload: &[u8], checksum_algo: Option<&str>) -> Result<Vec<u8>> {
    let text = match checksum_algo {
        None => gojson::to_string_html(header)?,
        Some(algo) => {
            let mut header = header.clone();
            header.insert("checksum".to_owned(), checksum(algo, payload).into());
            header.insert("checksum_algo".to_owned(), algo.into());
            gojson::to_string_html(&header)?
        }
    };
    let mut out = start(magic, &text, payload.len())?;
    out.extend_from_slice(payload);
    Ok(out)
}

/// Everything in front of the payload, with room for `payload_bytes` more: for headers whose text is made
/// elsewhere, and payloads that are sealed where they stand.
///
/// # Errors
/// [`Error::Failed`] when the header is longer than readers accept.
pub fn start(magic: &[u8; 4], header: &str, payload_bytes: usize) -> Result<Vec<u8>> {
    let length = u32::try_from(header.len()).ok().filter(|_| header.len() <= HEADER_BYTES_MAX);
    let length = length.ok_or_else(|| Error::Failed("the header is too long".to_owned()))?;
    let mut out = Vec::with_capacity(PREFIX_BYTES + header.len() + payload_bytes);
    out.extend_from_slice(magic);
    out.push(VERSION);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(header.as_bytes());
    Ok(out)
}

/// Verifies the payload when the header's `checksum` is a text. An aid against accidents only.
///
/// # Errors
/// [`Error::Malformed`] when `checksum_algo` is no text, or the checksum is another (compared as text,
/// lower-case hex).
pub fn verify_checksum(header: &Header, payload: &[u8]) -> Result<()> {
    let Some(Value::String(stated)) = header.get("checksum") else { return Ok(()) };
    let Some(Value::String(algo)) = header.get("checksum_algo") else {
        return Err(malformed("checksum algorithm not found in header"));
    };
    if checksum(algo, payload) == *stated { Ok(()) } else { Err(malformed("checksum mismatch")) }
}

/// Lower-case hex of `sha256`, `sha512`, `sha1`, `md5` or `lthn`; any other name means SHA-256.
pub fn checksum(algo: &str, payload: &[u8]) -> String {
    match algo {
        "sha512" => hex::encode(Sha512::digest(payload)),
        "sha1" => hex::encode(Sha1::digest(payload)),
        "md5" => hex::encode(md5::Md5::digest(payload)),
        "lthn" => lthn(payload),
        _ => hex::encode(Sha256::digest(payload)),
    }
}

/// The LTHN hash: SHA-256 of the bytes followed by themselves reversed, character by character, with
/// some letters exchanged. Every byte that is not part of valid UTF-8 counts as one U+FFFD.
pub fn lthn(bytes: &[u8]) -> String {
    let mut characters = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        characters.extend(chunk.valid().chars());
        characters.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    let salt: String = characters
        .iter()
        .rev()
        .map(|c| match c {
            'o' => '0',
            'l' => '1',
            'e' => '3',
            'a' => '4',
            's' => 'z',
            't' => '7',
            '0' => 'o',
            '1' => 'l',
            '3' => 'e',
            '4' => 'a',
            '7' => 't',
            other => *other,
        })
        .collect();
    hex::encode(Sha256::new().chain_update(bytes).chain_update(salt).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: &[u8; 4] = b"TEST";

    fn with_header(text: &str, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [&MAGIC[..], &[2], &length, text.as_bytes(), payload].concat()
    }

    #[test]
    fn a_container_reads_back_with_its_keys_sorted() {
        let header = Header::from([("b".to_owned(), 1.0.into()), ("a".to_owned(), "<".into())]);
        let bytes = encode(MAGIC, &header, b"payload", None).unwrap();
        assert_eq!(bytes, with_header("{\"a\":\"\\u003c\",\"b\":1}", b"payload"));
        assert_eq!(decode(MAGIC, &bytes).unwrap(), Container { header, payload: b"payload" });
    }

    #[test]
    fn checksums_are_verified_by_the_name_in_the_header() {
        for algo in ["sha256", "sha512", "sha1", "md5", "lthn", "MD5", ""] {
            let mut bytes = encode(MAGIC, &Header::new(), b"payload", Some(algo)).unwrap();
            assert!(decode(MAGIC, &bytes).is_ok(), "{algo}");
            *bytes.last_mut().unwrap() ^= 1;
            assert!(decode(MAGIC, &bytes).unwrap_err().to_string().contains("mismatch"), "{algo}");
        }
        assert_eq!(lthn(b"hello"), "ed74c318a778cd7f517d8f5c77d89f7a47cf824719ffd78d29ce5ec51d991e20");
        assert_eq!(checksum("md5", b""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(checksum("MD5", b"x"), checksum("sha256", b"x"));
        assert!(decode(MAGIC, &with_header(r#"{"checksum":5}"#, b"")).is_ok());
        assert!(decode(MAGIC, &with_header(r#"{"checksum":"00"}"#, b"")).is_err());
    }

    #[test]
    fn a_header_is_read_as_go_reads_it() {
        let header = |text: &str| decode(MAGIC, &with_header(text, b"")).map(|c| c.header);
        assert_eq!(header(" null ").unwrap(), Header::new());
        assert_eq!(header(r#"{"a":1,"a":2}"#).unwrap()["a"], 2.0);
        for bad in ["", "[]", "1", "\"x\"", "{}x", "{", &format!("{{\"a\":{}{}}}", "[".repeat(40), "]".repeat(40))] {
            assert!(header(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_length_that_lies_costs_nothing() {
        for length in [1u32, 16 << 20, (16 << 20) + 1, u32::MAX] {
            let bytes = [&MAGIC[..], &[2], &length.to_be_bytes()].concat();
            assert!(decode(MAGIC, &bytes).is_err());
        }
    }
}
