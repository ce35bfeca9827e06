//! A bundle as JSON text, as the Go node streams it.

use super::{Bundle, BundleType, malformed};
use crate::base::{Error, Refusal, Result, base64_encode, check_json};
use crate::formats::gojson;
use crate::formats::reading::{go_bytes_or_empty, null_is_default};
use serde::Deserialize;
use std::io::{Read, Write};

/// How many bytes are turned into base64 at a time: a multiple of 3, so that the pieces fit together.
const PIECE_BYTES: usize = 48 << 10;

/// Writes `{"type":…,"name":…,"data":base64,"checksum":…}` and a new line, byte for byte as Go does, a piece at a time.
///
/// # Errors
/// [`Error::Io`].
pub fn stream_bundle(bundle: &Bundle, to: &mut impl Write) -> Result<()> {
    let mut head = b"{\"type\":".to_vec();
    gojson::push_string(&mut head, bundle.kind.as_str(), true);
    head.extend_from_slice(b",\"name\":");
    gojson::push_string(&mut head, &bundle.name, true);
    head.extend_from_slice(b",\"data\":\"");
    let mut tail = b"\",\"checksum\":".to_vec();
    gojson::push_string(&mut tail, &bundle.checksum, true);
    tail.extend_from_slice(b"}\n");
    let mut write = || {
        to.write_all(&head)?;
        for piece in bundle.data.chunks(PIECE_BYTES) {
            to.write_all(base64_encode(piece).as_bytes())?;
        }
        to.write_all(&tail)?;
        to.flush()
    };
    write().map_err(|e| Error::io("cannot write the bundle", &e))
}

/// Reads that text to its end; at most `bytes_max` of it.
///
/// # Errors
/// [`Error::Io`]; [`Refusal::Limit`] for a longer text; as [`decode_bundle`].
pub fn read_bundle(from: impl Read, bytes_max: usize) -> Result<Bundle> {
    let mut bytes = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    from.take(most).read_to_end(&mut bytes).map_err(|e| Error::io("cannot read the bundle", &e))?;
    if bytes.len() > bytes_max {
        return Err(Refusal::Limit(format!("bundle: a text of more than {bytes_max} bytes")).into());
    }
    decode_bundle(&bytes)
}

/// Reads that text. Whether the checksum fits is [`super::verify_bundle`]'s to say.
///
/// # Errors
/// [`Error::Malformed`] for anything but one object of this form (names exact, none twice; unknown ones are ignored).
pub fn decode_bundle(bytes: &[u8]) -> Result<Bundle> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Text {
        #[serde(rename = "type", deserialize_with = "null_is_default")]
        kind: BundleType,
        #[serde(deserialize_with = "null_is_default")]
        name: String,
        #[serde(deserialize_with = "go_bytes_or_empty")]
        data: Vec<u8>,
        #[serde(deserialize_with = "null_is_default")]
        checksum: String,
    }
    let text = check_json("bundle", bytes)?;
    if !text.trim_start().starts_with('{') {
        return Err(malformed("no JSON object"));
    }
    // The parser's own words could quote a plain profile.
    let text: Text = serde_json::from_str(text)
        .map_err(|e| malformed(format!("not the form of a bundle (line {}, column {})", e.line(), e.column())))?;
    Ok(Bundle { kind: text.kind, name: text.name, data: text.data, checksum: text.checksum })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Bundle> {
        read_bundle(text.as_bytes(), 1000)
    }

    #[test]
    fn a_streamed_bundle_is_gos_text_and_reads_back() {
        let bundle = Bundle::new(BundleType::Profile, "a<b", vec![7; 100_001]).unwrap();
        let mut text = Vec::new();
        stream_bundle(&bundle, &mut text).unwrap();
        assert!(text.starts_with(b"{\"type\":\"profile\",\"name\":\"a\\u003cb\",\"data\":\"BwcH"));
        assert!(text.ends_with(b"\"}\n"));
        assert_eq!(read_bundle(&text[..], text.len()).unwrap(), bundle);
        assert_eq!(read_bundle(&text[..], text.len() - 1).unwrap_err().kind(), "rejected");
    }

    #[test]
    fn only_one_object_of_the_form_is_read() {
        let good = read(r#" {"x":[{}],"type":"miner","name":null,"data":"AAEC","checksum":""} "#).unwrap();
        assert_eq!((good.kind, good.data), (BundleType::Miner, vec![0, 1, 2]));
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(40), "]".repeat(40));
        for bad in [
            "",
            "[]",
            "[\"miner\",\"\",\"\",\"\"]",
            "{}x",
            "{\"data\":\"!\"}",
            "{\"name\":\"a\",\"name\":\"b\"}",
            &deep,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
