//! The named sigils that have a use here (trix.md §3): `reverse`, `hex`, `base64`, `gzip`, `json` and
//! `json-indent`, and lists of them.
//!
//! Left out: the eighteen hash sigils (nothing that a rig or its controller exchanges uses them, and they
//! cannot be undone), which are unknown names here. A container does not say which sigils made its
//! payload; both sides must know.
//!
//! As in Go a payload may be null, which is not the same as empty: `None` here.

use super::{reading::go_base64_decode, squeeze};
use crate::base::{Error, Refusal, Result, base64_encode, check_json};
use serde_json::value::RawValue;
use std::str::FromStr;

/// One of the sigils.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// The bytes in reverse order.
    Reverse,
    /// Lower-case hex; both cases are read.
    Hex,
    /// Standard base64 with padding; CR and LF are ignored when reading, and non-zero trailing bits tolerated.
    Base64,
    /// gzip.
    Gzip,
    /// JSON (nested at most [`crate::base::JSON_DEPTH_MAX`] deep) without white space, its tokens untouched.
    /// Not undone.
    Json,
    /// JSON indented by two spaces; white space behind it stays. Not undone.
    JsonIndent,
}

impl Transform {
    /// All of them.
    pub const ALL: [Transform; 6] = [
        Transform::Reverse,
        Transform::Hex,
        Transform::Base64,
        Transform::Gzip,
        Transform::Json,
        Transform::JsonIndent,
    ];

    /// Its name, as it stands in lists.
    pub fn name(self) -> &'static str {
        match self {
            Transform::Reverse => "reverse",
            Transform::Hex => "hex",
            Transform::Base64 => "base64",
            Transform::Gzip => "gzip",
            Transform::Json => "json",
            Transform::JsonIndent => "json-indent",
        }
    }

    /// In: what a writer does. At most `bytes_max` bytes come out.
    ///
    /// # Errors
    /// [`Error::Malformed`]: no JSON where it must be (null and empty are none). [`Refusal::Limit`].
    pub fn apply(self, data: Option<&[u8]>, bytes_max: usize) -> Result<Option<Vec<u8>>> {
        let text = |data: Option<&[u8]>| spaced(data.unwrap_or_default(), self == Transform::JsonIndent, bytes_max);
        match (self, data) {
            (Transform::Json | Transform::JsonIndent, data) => text(data).map(Some),
            (_, None) => Ok(None),
            (_, Some(data)) => {
                // What is known beforehand is refused before the work.
                within(
                    match self {
                        Transform::Hex => data.len().saturating_mul(2),
                        Transform::Base64 => data.len().div_ceil(3).saturating_mul(4),
                        Transform::Gzip => 0,
                        _ => data.len(),
                    },
                    bytes_max,
                )?;
                let out = match self {
                    Transform::Hex => hex::encode(data).into_bytes(),
                    Transform::Base64 => base64_encode(data).into_bytes(),
                    Transform::Gzip => squeeze::gzip(data)?,
                    _ => data.iter().rev().copied().collect(),
                };
                within(out.len(), bytes_max)?;
                Ok(Some(out))
            }
        }
    }

    /// Out: what a reader does. At most `bytes_max` bytes come out.
    ///
    /// # Errors
    /// [`Error::Malformed`]: not what [`Transform::apply`] makes. [`Refusal::Limit`].
    pub fn undo(self, data: Option<&[u8]>, bytes_max: usize) -> Result<Option<Vec<u8>>> {
        let Some(data) = data else { return Ok(None) };
        if self == Transform::Gzip {
            return squeeze::gunzip(data, bytes_max).map(Some);
        }
        let out = match self {
            Transform::Hex => hex::decode(data).map_err(|e| Error::malformed("hex", e.to_string()))?,
            Transform::Base64 => {
                let decoded = std::str::from_utf8(data).ok().and_then(go_base64_decode);
                decoded.ok_or_else(|| Error::malformed("base64", "invalid base64"))?
            }
            Transform::Reverse => data.iter().rev().copied().collect(),
            _ => data.to_vec(),
        };
        within(out.len(), bytes_max)?;
        Ok(Some(out))
    }
}

impl FromStr for Transform {
    type Err = Error;

    /// By its exact name.
    fn from_str(name: &str) -> Result<Transform> {
        let known = Transform::ALL.into_iter().find(|t| t.name() == name);
        known.ok_or_else(|| Error::malformed("sigil", "unknown sigil name"))
    }
}

fn within(length: usize, bytes_max: usize) -> Result<()> {
    match length > bytes_max {
        true => Err(Error::Rejected(Refusal::Limit(format!("the sigil's result has more than {bytes_max} bytes")))),
        false => Ok(()),
    }
}

/// Applies a list from left to right in place. After a failure the payload is what the last sigil before
/// the failing one gave.
///
/// # Errors
/// An unknown name, or that of [`Transform::apply`].
pub fn pack(names: &[&str], payload: &mut Option<Vec<u8>>, bytes_max: usize) -> Result<()> {
    for name in names {
        *payload = name.parse::<Transform>()?.apply(payload.as_deref(), bytes_max)?;
    }
    Ok(())
}

/// Undoes a list from right to left in place: `out_names`, or `in_names` (those of [`pack`]) when there are
/// none. After a failure the payload is what the last sigil before the failing one gave.
///
/// # Errors
/// An unknown name, or that of [`Transform::undo`].
pub fn unpack(in_names: &[&str], out_names: &[&str], payload: &mut Option<Vec<u8>>, bytes_max: usize) -> Result<()> {
    let names = if out_names.is_empty() { in_names } else { out_names };
    for name in names.iter().rev() {
        *payload = name.parse::<Transform>()?.undo(payload.as_deref(), bytes_max)?;
    }
    Ok(())
}

/// [`pack`] that gives everything or nothing.
///
/// # Errors
/// As [`pack`].
pub fn transmute(names: &[&str], data: &[u8], bytes_max: usize) -> Result<Option<Vec<u8>>> {
    let mut payload = Some(data.to_vec());
    pack(names, &mut payload, bytes_max)?;
    Ok(payload)
}

/// JSON with its white space taken out, or laid anew: the tokens stay as they are written.
fn spaced(data: &[u8], indent: bool, bytes_max: usize) -> Result<Vec<u8>> {
    const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];
    let text = check_json("json", data)?;
    serde_json::from_str::<&RawValue>(text).map_err(|e| Error::malformed("json", e.to_string()))?;
    let (mut out, mut depth, mut in_string, mut escaped) = (Vec::with_capacity(data.len()), 0usize, false, false);
    let mut last = b' ';
    let line = |out: &mut Vec<u8>, depth: usize| {
        if indent {
            out.push(b'\n');
            out.extend(std::iter::repeat_n(b' ', 2 * depth));
        }
    };
    for c in text.trim_start_matches(BLANK).trim_end_matches(BLANK).bytes() {
        // At most a line break and an indentation at a time; depth is bounded by check_json.
        within(out.len(), bytes_max)?;
        if in_string {
            (in_string, escaped) = (escaped || c != b'"', !escaped && c == b'\\');
            out.push(c);
            continue;
        }
        if matches!(c, b' ' | b'\t' | b'\r' | b'\n') {
            continue;
        }
        let closes = matches!(c, b'}' | b']');
        if closes {
            depth = depth.saturating_sub(1);
        }
        // Behind an opening bracket a line begins, unless the container is empty.
        if matches!(last, b'{' | b'[') != closes {
            line(&mut out, depth);
        }
        out.push(c);
        match c {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b',' => line(&mut out, depth),
            b':' if indent => out.push(b' '),
            _ => {}
        }
        last = c;
    }
    if indent {
        let behind = text.len() - text.trim_end_matches(BLANK).len();
        out.extend_from_slice(data.get(data.len() - behind..).unwrap_or_default());
    }
    within(out.len(), bytes_max)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1 << 20;

    fn json(text: &str, sigil: Transform) -> Result<String> {
        Ok(String::from_utf8(sigil.apply(Some(text.as_bytes()), MAX)?.unwrap()).unwrap())
    }

    #[test]
    fn json_keeps_its_tokens_and_loses_or_gets_white_space() {
        let text = " { \"a\\\"b\" : [ 1.50 , { } , [ ] , {\"x\": null} ] , \"é<\\u0041\":\" \" }\n\t";
        assert_eq!(json(text, Transform::Json).unwrap(), r#"{"a\"b":[1.50,{},[],{"x":null}],"é<\u0041":" "}"#);
        let want = "{\n  \"a\\\"b\": [\n    1.50,\n    {},\n    [],\n    {\n      \"x\": null\n    }\n  ],\n  \"é<\\u0041\": \" \"\n}\n\t";
        assert_eq!(json(text, Transform::JsonIndent).unwrap(), want);
        for bad in ["", " ", "{", "{}x", "nope", "1 2", "[1,]", &"[".repeat(40)] {
            assert!(json(bad, Transform::Json).is_err() && json(bad, Transform::JsonIndent).is_err(), "{bad}");
        }
        assert!(Transform::Json.apply(None, MAX).is_err());
    }

    #[test]
    fn null_stays_null_and_empty_stays_empty() {
        for sigil in [Transform::Reverse, Transform::Hex, Transform::Base64, Transform::Gzip] {
            assert_eq!(sigil.apply(None, MAX).unwrap(), None);
            assert_eq!(sigil.undo(None, MAX).unwrap(), None);
            let empty = sigil.apply(Some(b""), MAX).unwrap().unwrap();
            assert_eq!(empty.is_empty(), sigil != Transform::Gzip);
            assert_eq!(sigil.undo(Some(&empty), MAX).unwrap().unwrap(), b"");
        }
        assert!(Transform::Gzip.undo(Some(b""), MAX).is_err());
        assert_eq!(Transform::Json.undo(Some(b"not looked at"), MAX).unwrap().unwrap(), b"not looked at");
    }

    #[test]
    fn a_list_is_undone_from_right_to_left() {
        let names = ["gzip", "base64", "reverse", "hex"];
        let mut payload = Some(b"payload".to_vec());
        pack(&names, &mut payload, MAX).unwrap();
        assert_eq!(payload, transmute(&names, b"payload", MAX).unwrap());
        unpack(&names, &[], &mut payload, MAX).unwrap();
        assert_eq!(payload.as_deref(), Some(&b"payload"[..]));
        // An explicit list for the way out is read from right to left as well.
        let mut payload = Some(b"36".to_vec());
        unpack(&names, &["reverse", "hex"], &mut payload, MAX).unwrap();
        assert_eq!(payload.as_deref(), Some(&b"6"[..]));
    }

    #[test]
    fn the_first_failure_leaves_what_came_before_it() {
        let mut payload = Some(b"ab".to_vec());
        for unknown in ["sha256", "Hex", "", "chacha"] {
            assert!(pack(&["hex", unknown, "hex"], &mut payload.clone(), MAX).is_err(), "{unknown}");
            assert!(transmute(&["hex", unknown], b"ab", MAX).is_err());
        }
        assert!(pack(&["hex", "json", "unknown"], &mut payload, MAX).is_err());
        assert_eq!(payload.as_deref(), Some(&b"6162"[..]));
    }

    #[test]
    fn nothing_longer_than_the_bound_comes_out() {
        let data = b"[1,2,3,4,5,6,7,8,9,10,11,12]";
        for sigil in Transform::ALL {
            let whole = sigil.apply(Some(data), MAX).unwrap().unwrap();
            for max in 0..whole.len() {
                assert!(sigil.apply(Some(data), max).is_err(), "{sigil:?} {max}");
            }
            let back = sigil.undo(Some(&whole), MAX).unwrap().unwrap();
            for max in 0..back.len() {
                assert!(sigil.undo(Some(&whole), max).is_err(), "{sigil:?} {max}");
            }
        }
    }
}
