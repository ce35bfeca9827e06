//! SMSG files (smsg.md §3, §4): v1 and v2, sealed and opened as a whole.

use super::{LinkKey, MAGIC, Manifest, SmsgMessage, bad_inner, open_payload};
use crate::base::{Error, Refusal, Result, Rng, Timestamp, base64_encode};
use crate::formats::reading::go_base64_decode;
use crate::formats::{gojson, sigil, squeeze, trix};
use serde::Serialize;
use std::borrow::Cow;

/// The longest header of a file that is opened, bytes. Manifests are a few KiB.
pub const FILE_HEADER_BYTES_MAX: usize = 1 << 20;

const ALGORITHM: &str = "chacha20poly1305";
const VERSION: &str = "1.0";

/// How a v2 file is compressed before it is sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// zstd, what the original takes when nothing is said.
    #[default]
    Zstd,
}

/// The two forms of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON text, attachments inside as base64.
    V1,
    /// JSON and the attachments' bytes behind it, compressed as a whole.
    V2(Compression),
}

impl Default for Format {
    fn default() -> Format {
        Format::V2(Compression::default())
    }
}

/// What a file says in clear, and its form.
#[derive(Clone, Debug, Default)]
pub struct SealOptions<'a> {
    /// The form.
    pub format: Format,
    /// A hint to the password; empty: none.
    pub hint: &'a str,
    /// A description.
    pub manifest: Option<&'a Manifest>,
}

/// Header of a file, keys sorted as the original's map has them.
#[derive(Serialize)]
struct Head<'a> {
    algorithm: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<&'a Manifest>,
    version: &'a str,
}

/// Seals a message, which stays as it is. A timestamp of 0 is written as `now`.
///
/// # Errors
/// [`Error::Config`]: the password is empty. [`Error::Malformed`]: the message has neither text nor files, or
/// (v2) an attachment whose content is no base64. [`Refusal::Limit`]: too many attachments or meta texts.
/// [`Error::Failed`]: longer than the format can say.
pub fn seal(
    password: &str,
    message: &SmsgMessage,
    options: &SealOptions<'_>,
    now: Timestamp,
    rng: &mut Rng,
) -> Result<Vec<u8>> {
    seal_with_nonce(password, message, options, now, rng.array())
}

/// [`seal`] with a nonce, which must be random and never used twice.
///
/// # Errors
/// As [`seal`].
pub fn seal_with_nonce(
    password: &str,
    message: &SmsgMessage,
    options: &SealOptions<'_>,
    now: Timestamp,
    nonce: [u8; sigil::NONCE_BYTES],
) -> Result<Vec<u8>> {
    let key = LinkKey::from_password(password)?;
    message.check()?;
    let stamped = match message.timestamp {
        0 => Cow::Owned(SmsgMessage { timestamp: now.unix_seconds(), ..message.clone() }),
        _ => Cow::Borrowed(message),
    };
    let (format, compression, plain) = match options.format {
        Format::V1 => (None, None, gojson::to_string_html(&*stamped)?.into_bytes()),
        Format::V2(compression) => {
            let plain = v2_plain(&stamped)?;
            match compression {
                Compression::None => (Some("v2"), None, plain),
                Compression::Gzip => (Some("v2"), Some("gzip"), squeeze::gzip(&plain)?),
                Compression::Zstd => (Some("v2"), Some("zstd"), squeeze::zstd(&plain)),
            }
        }
    };
    let hint = Some(options.hint).filter(|hint| !hint.is_empty());
    let head = Head { algorithm: ALGORITHM, compression, format, hint, manifest: options.manifest, version: VERSION };
    let mut out = trix::start(MAGIC, &gojson::to_string_html(&head)?, plain.len() + sigil::OVERHEAD_BYTES)?;
    out.extend_from_slice(&nonce);
    let inner = out.len();
    out.extend_from_slice(&plain);
    let tag = sigil::seal_in_place(key.as_bytes(), &nonce, out.get_mut(inner..).unwrap_or_default())?;
    out.extend_from_slice(&tag);
    Ok(out)
}

/// Length of the JSON, JSON without contents, the contents' bytes.
fn v2_plain(message: &SmsgMessage) -> Result<Vec<u8>> {
    let contents: Vec<Vec<u8>> = message.attachments.iter().map(|a| a.bytes()).collect::<Result<_>>()?;
    let mut bare = SmsgMessage { attachments: Vec::new(), ..message.clone() };
    for (attachment, bytes) in message.attachments.iter().zip(&contents) {
        // The size of one without content counts as none: a reader would look for as many bytes.
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let (name, mime) = (attachment.name.clone(), attachment.mime.clone());
        bare.attachments.push(super::Attachment { name, content: String::new(), mime, size });
    }
    let json = gojson::to_string_html(&bare)?;
    let length = u32::try_from(json.len()).map_err(|_| Error::Failed("the message is too long".to_owned()))?;
    let mut out = Vec::with_capacity(4 + json.len() + contents.iter().map(Vec::len).sum::<usize>());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(json.as_bytes());
    contents.iter().for_each(|bytes| out.extend_from_slice(bytes));
    Ok(out)
}

/// Opens a v1 or v2 file whose content, decompressed, has at most `bytes_max` bytes.
///
/// # Errors
/// [`Error::Config`]: the password is empty. [`Error::Malformed`]: no container, a header above
/// [`FILE_HEADER_BYTES_MAX`], wrong password, broken content, or a v3 file. [`Refusal::Limit`]: more than
/// `bytes_max`, or too many attachments or meta texts.
pub fn open(password: &str, container: &[u8], bytes_max: usize) -> Result<SmsgMessage> {
    let key = LinkKey::from_password(password)?;
    let (header, payload) = head(container)?;
    let text = |name: &str| header.get(name).and_then(|v| v.as_str());
    if text("format") == Some("v3") {
        let why = "format v3 (rolling licence keys) is not supported: have it sealed again as v1 or v2";
        return Err(Error::malformed("SMSG container", why));
    }
    let mut sealed = payload.to_vec();
    let opened = open_payload(&key, &mut sealed)?;
    // Unknown compressions mean none, unknown formats v1 (smsg.md §4).
    let plain: Cow<'_, [u8]> = match text("compression") {
        Some("gzip") => squeeze::gunzip(opened, bytes_max)?.into(),
        Some("zstd") => squeeze::unzstd(opened, bytes_max)?.into(),
        _ if opened.len() > bytes_max => {
            return Err(Error::Rejected(Refusal::Limit(format!("the message has more than {bytes_max} bytes"))));
        }
        _ => (&*opened).into(),
    };
    match text("format") {
        Some("v2") => open_v2(&plain),
        _ => SmsgMessage::decode(std::str::from_utf8(&plain).map_err(|_| bad_inner())?),
    }
}

fn open_v2(plain: &[u8]) -> Result<SmsgMessage> {
    let wrong = |why: &str| Error::malformed("SMSG payload", why);
    let (length, rest) = plain.split_first_chunk::<4>().ok_or_else(|| wrong("payload too short"))?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    let (json, mut rest) = rest.split_at_checked(length).ok_or_else(|| wrong("invalid JSON length"))?;
    let json = std::str::from_utf8(json).map_err(|_| bad_inner())?;
    let mut message = SmsgMessage::decode(json)?;
    for attachment in message.attachments.iter_mut().filter(|a| a.size > 0) {
        let taken = usize::try_from(attachment.size).ok().and_then(|size| rest.split_at_checked(size));
        let (bytes, more) = taken.ok_or_else(|| {
            let name: String = attachment.name.chars().take(64).collect();
            wrong(&format!("attachment {name:?}: data truncated"))
        })?;
        attachment.content = base64_encode(bytes);
        rest = more;
    }
    Ok(message)
}

fn head(container: &[u8]) -> Result<(trix::Header, &[u8])> {
    let (text, payload) = trix::split(MAGIC, container, FILE_HEADER_BYTES_MAX)?;
    let header = trix::decode_header(text)?;
    trix::verify_checksum(&header, payload)?;
    Ok((header, payload))
}

/// What a file says in clear: anybody's words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SmsgInfo {
    /// `1.0`.
    pub version: String,
    /// Name of the cipher.
    pub algorithm: String,
    /// `v2`; empty for v1.
    pub format: String,
    /// Name of the compression; empty for none.
    pub compression: String,
    /// Hint to the password.
    pub hint: String,
    /// Description, when there is a readable one.
    pub manifest: Option<Manifest>,
}

/// Reads what a file says in clear. Values that are no texts count as missing, so does a manifest that is none.
///
/// # Errors
/// [`Error::Malformed`]: no container, or a header above [`FILE_HEADER_BYTES_MAX`].
pub fn peek(container: &[u8]) -> Result<SmsgInfo> {
    let (header, _) = head(container)?;
    let text = |name: &str| header.get(name).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    // Numbers of a header are doubles; written as Go does they are whole again.
    let manifest = header.get("manifest").and_then(|value| gojson::to_string_html(value).ok());
    Ok(SmsgInfo {
        version: text("version"),
        algorithm: text("algorithm"),
        format: text("format"),
        compression: text("compression"),
        hint: text("hint"),
        manifest: manifest.and_then(|text| serde_json::from_str::<Option<Manifest>>(&text).ok().flatten()),
    })
}

/// Whether this is an SMSG container. Says nothing about what is sealed in it.
///
/// # Errors
/// As [`peek`].
pub fn validate(container: &[u8]) -> Result<()> {
    head(container).map(drop)
}

/// A container as text: standard padded base64.
pub fn encode_text(container: &[u8]) -> String {
    base64_encode(container)
}

/// Reads the text form; CR and LF are skipped.
///
/// # Errors
/// [`Error::Malformed`]: another alphabet, missing padding.
pub fn decode_text(text: &str) -> Result<Vec<u8>> {
    go_base64_decode(text).ok_or_else(|| Error::malformed("SMSG payload", "invalid base64"))
}

/// A text sealed as plain v1, in text form.
///
/// # Errors
/// As [`seal`].
pub fn quick_seal(password: &str, body: &str, now: Timestamp, rng: &mut Rng) -> Result<String> {
    let options = SealOptions { format: Format::V1, ..SealOptions::default() };
    Ok(encode_text(&seal(password, &SmsgMessage::new(body), &options, now, rng)?))
}

/// The text of a file in text form.
///
/// # Errors
/// As [`decode_text`] and [`open`].
pub fn quick_open(password: &str, text: &str, bytes_max: usize) -> Result<String> {
    Ok(open(password, &decode_text(text)?, bytes_max)?.body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [Format; 4] =
        [Format::V1, Format::V2(Compression::None), Format::V2(Compression::Gzip), Format::V2(Compression::Zstd)];
    const NOW: i64 = 1_800_000_000;

    fn sealed(message: &SmsgMessage, format: Format) -> Vec<u8> {
        let manifest = Manifest::new("t <1>");
        let options = SealOptions { format, hint: "the cat", manifest: Some(&manifest) };
        seal("x", message, &options, Timestamp::from_unix(NOW, 5), &mut Rng::from_number(1)).unwrap()
    }

    /// A file with any header and any plain payload.
    fn file(header: &str, plain: &[u8]) -> Vec<u8> {
        let key = LinkKey::from_password("x").unwrap();
        let mut out = trix::start(MAGIC, header, 0).unwrap();
        out.extend_from_slice(&sigil::seal(key.as_bytes(), &[9; 24], plain).unwrap());
        out
    }

    #[test]
    fn every_form_gives_the_message_back_and_leaves_the_callers_alone() {
        let noise: Vec<u8> = (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let message = SmsgMessage::new("b <>&").with_attachment("a.bin", "", &noise).with_attachment("e", "m", b"");
        let before = message.clone();
        for format in FORMATS {
            let file = sealed(&message, format);
            let opened = open("x", &file, 200_000).unwrap();
            assert_eq!(opened, SmsgMessage { timestamp: NOW, ..message.clone() }, "{format:?}");
            assert_eq!(opened.attachment("a.bin").unwrap().bytes().unwrap(), noise);
            assert_eq!(message, before);
            let info = peek(&file).unwrap();
            assert_eq!((info.hint.as_str(), info.manifest.unwrap().title.as_str()), ("the cat", "t <1>"));
            assert!(open("y", &file, 200_000).unwrap_err().to_string().contains("wrong password?"));
            assert!(matches!(open("x", &file, 99_999).unwrap_err(), Error::Rejected(Refusal::Limit(_))));
            assert_eq!(open("x", &decode_text(&encode_text(&file)).unwrap(), 200_000).unwrap(), opened);
        }
    }

    #[test]
    fn only_what_can_be_opened_again_is_sealed() {
        let (options, now) = (SealOptions::default(), Timestamp::from_unix(1, 0));
        let mut rng = Rng::from_number(1);
        let mut seal = |password: &str, m: &SmsgMessage| seal(password, m, &options, now, &mut rng);
        assert!(matches!(seal("", &SmsgMessage::new("")), Err(Error::Config(_))));
        assert!(seal("x", &SmsgMessage::new("")).is_err());
        let mut message = SmsgMessage::default();
        message.attachments.push(super::super::Attachment { content: "@@".into(), ..Default::default() });
        assert!(seal("x", &message).is_err());
        // A stated size without content would send readers looking for bytes that are not there.
        message.attachments[0] = super::super::Attachment { size: 9, ..Default::default() };
        assert_eq!(open("x", &seal("x", &message).unwrap(), 999).unwrap().attachments[0].size, 0);
    }

    #[test]
    fn a_lying_v2_payload_is_refused_and_never_panics() {
        let v2 = |plain: &[u8]| open("x", &file(r#"{"format":"v2"}"#, plain), 9999);
        let json = |json: &str, rest: &[u8]| {
            v2(&[&u32::try_from(json.len()).unwrap().to_be_bytes()[..], json.as_bytes(), rest].concat())
        };
        assert!(v2(b"\0\0\0").is_err() && v2(b"\0\0\0\x02{").is_err() && v2(b"\xff\xff\xff\xff{}").is_err());
        let sized = |size: i64| format!(r#"{{"body":"b","attachments":[{{"name":"a","size":{size}}}]}}"#);
        assert_eq!(json(&sized(2), b"hi!").unwrap().attachments[0].content, "aGk=");
        assert_eq!(json(&sized(-9), b"hi").unwrap().attachments[0].content, "");
        for size in [3, i64::MAX] {
            assert!(json(&sized(size), b"hi").unwrap_err().to_string().contains("truncated"));
        }
        assert!(json("{}x", b"").is_err() && json("\u{1}", b"").is_err());
    }

    #[test]
    fn v3_is_called_by_its_name_and_unknown_words_mean_none() {
        let error = open("x", &file(r#"{"format":"v3"}"#, b"{}"), 99).unwrap_err().to_string();
        assert!(error.contains("v3") && error.contains("not supported"), "{error}");
        let odd = file(r#"{"format":"v9","compression":"lz4","hint":5,"manifest":[1]}"#, br#"{"body":"b"}"#);
        assert_eq!(open("x", &odd, 99).unwrap().body, "b");
        let info = peek(&odd).unwrap();
        assert_eq!((info.format.as_str(), info.hint.as_str(), info.manifest), ("v9", "", None));
        assert!(validate(&odd).is_ok() && validate(&odd[1..]).is_err());
    }

    #[test]
    fn the_quick_way_is_plain_v1_in_base64() {
        let text = quick_seal("x", "hi", Timestamp::from_unix(1, 0), &mut Rng::from_number(1)).unwrap();
        assert!(text.starts_with("U01TRwIAAAAw"), "{text}");
        assert_eq!(quick_open("x", &format!("{text}\r\n"), 99).unwrap(), "hi");
        assert!(quick_open("x", text.trim_end_matches('='), 99).is_err() || !text.ends_with('='));
        assert!(decode_text("_-_-").is_err());
    }
}
