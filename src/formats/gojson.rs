//! JSON as Go spells it (trix.md §5), so that what we write is byte-equal to what a Go node writes.
//!
//! Three spellings are in use: wire messages leave `<`, `>`, `&` raw; files and inner messages escape
//! them as `\u003c`, `\u003e`, `\u0026`; files are indented by two spaces. U+2028 and U+2029 are
//! escaped everywhere, floats take Go's form (`1`, `0.1`, `1e+21`, `1e-7`).

use crate::base::{Error, Result, Runs, run};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::io;

/// Wire spelling: compact, `<`, `>`, `&` raw.
///
/// # Errors
/// [`Error::Malformed`] when the value cannot be written as JSON (a map whose keys are not texts).
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    text(value, false, false)
}

/// File spelling on one line: compact, `<`, `>`, `&` escaped. Also the spelling of SMSG's inner message
/// and of every TRIX header.
///
/// # Errors
/// As [`to_string`].
pub fn to_string_html<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    text(value, true, false)
}

/// File spelling of node.json and peers.json: two-space indent, `<`, `>`, `&` escaped, no newline at the end.
///
/// # Errors
/// As [`to_string`].
pub fn to_string_pretty_html<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    text(value, true, true)
}

fn text<T: Serialize + ?Sized>(value: &T, html: bool, pretty: bool) -> Result<String> {
    let mut out = Vec::with_capacity(128);
    write_into(value, html, pretty, &mut out)?;
    String::from_utf8(out).map_err(|e| Error::malformed("JSON value", e.to_string()))
}

/// Appends the spelling chosen by the two switches to `out`.
///
/// # Errors
/// As [`to_string`]; what was appended before the failure stays.
pub fn write_into<T: Serialize + ?Sized>(value: &T, html: bool, pretty: bool, out: &mut Vec<u8>) -> Result<()> {
    let formatter = GoFormatter { html, pretty, depth: 0, has_value: false };
    value
        .serialize(&mut Serializer::with_formatter(out, formatter))
        .map_err(|e| Error::malformed("JSON value", e.to_string()))
}

/// Appends `text` as a JSON string with its quotes. The string form of all three spellings without
/// going through serde: for messages that are put together by hand.
pub fn push_string(out: &mut Vec<u8>, text: &str, html: bool) {
    out.push(b'"');
    push_escaped(out, text, html);
    out.push(b'"');
}

/// Appends `text` escaped, without quotes.
pub fn push_escaped(out: &mut Vec<u8>, text: &str, html: bool) {
    out.reserve(text.len());
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at_checked(plain_run(rest, html)).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let skip = match special {
            [] => return,
            [0xe2, 0x80, last @ (0xa8 | 0xa9), ..] => {
                out.extend_from_slice(if *last == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                3
            }
            [c @ 0x80..=0xff, ..] => {
                out.push(*c);
                1
            }
            [c, ..] => {
                match short_escape(*c) {
                    Some(escape) => out.extend_from_slice(escape),
                    None => out.extend_from_slice(&unicode_escape(*c)),
                }
                1
            }
        };
        rest = special.get(skip..).unwrap_or_default();
    }
}

/// How many of the first bytes need no look: up to the next quote, backslash, control character, first
/// byte of what may be U+2028, and with `html` `<`, `>`, `&`.
fn plain_run(bytes: &[u8], html: bool) -> usize {
    struct Text;
    impl Runs for Text {
        const ENDS: &[u8] = b"\"\\\xe2";
    }
    struct Html;
    impl Runs for Html {
        const ENDS: &[u8] = b"\"\\\xe2<>&";
    }
    if html { run::<Html>(bytes) } else { run::<Text>(bytes) }
}

fn short_escape(c: u8) -> Option<&'static [u8]> {
    Some(match c {
        b'"' => b"\\\"",
        b'\\' => b"\\\\",
        0x08 => b"\\b",
        0x0c => b"\\f",
        b'\n' => b"\\n",
        b'\r' => b"\\r",
        b'\t' => b"\\t",
        _ => return None,
    })
}

/// `\u00xx`, lower-case.
fn unicode_escape(c: u8) -> [u8; 6] {
    let digit = |n: u8| if n < 10 { b'0' + n } else { b'a' + n - 10 };
    [b'\\', b'u', b'0', b'0', digit(c >> 4), digit(c & 15)]
}

/// A double as Go's encoder spells it: shortest digits that read back the same; plain from 1e-6 up to
/// (not including) 1e21, otherwise with an exponent that has a sign when positive and no leading zero.
/// Not finite: `null`, which Go reads as "leave the default".
pub fn float_text(x: f64) -> String {
    if !x.is_finite() {
        return "null".to_owned();
    }
    let size = x.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{x:e}");
        return if size >= 1e21 { text.replace('e', "e+") } else { text };
    }
    format!("{x}")
}

struct GoFormatter {
    html: bool,
    pretty: bool,
    depth: usize,
    has_value: bool,
}

impl GoFormatter {
    fn new_line<W: ?Sized + io::Write>(&self, w: &mut W) -> io::Result<()> {
        w.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| w.write_all(b"  "))
    }

    fn open<W: ?Sized + io::Write>(&mut self, w: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.has_value = false;
        w.write_all(bracket)
    }

    fn close<W: ?Sized + io::Write>(&mut self, w: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth = self.depth.saturating_sub(1);
        if self.pretty && self.has_value {
            self.new_line(w)?;
        }
        w.write_all(bracket)
    }

    fn next<W: ?Sized + io::Write>(&self, w: &mut W, first: bool) -> io::Result<()> {
        if !first {
            w.write_all(b",")?;
        }
        if self.pretty { self.new_line(w) } else { Ok(()) }
    }
}

impl Formatter for GoFormatter {
    fn write_f64<W: ?Sized + io::Write>(&mut self, w: &mut W, value: f64) -> io::Result<()> {
        w.write_all(float_text(value).as_bytes())
    }

    fn write_f32<W: ?Sized + io::Write>(&mut self, w: &mut W, value: f32) -> io::Result<()> {
        w.write_all(float_text(f64::from(value)).as_bytes())
    }

    /// serde_json has already taken out quotes, backslashes and control characters.
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, w: &mut W, fragment: &str) -> io::Result<()> {
        let special = |c: &u8| *c == 0xe2 || (self.html && matches!(c, b'<' | b'>' | b'&'));
        if !fragment.as_bytes().iter().any(special) {
            return w.write_all(fragment.as_bytes());
        }
        let mut escaped = Vec::with_capacity(fragment.len() + 16);
        push_escaped(&mut escaped, fragment, self.html);
        w.write_all(&escaped)
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.open(w, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.close(w, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.next(w, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.open(w, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.close(w, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.next(w, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(if self.pretty { b": " } else { b":" })
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn strings_are_escaped_as_go_does() {
        let text = "\u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f}\"\\/<>&é\u{2028}\u{2029}\u{2027}😀";
        let tail = "\u{7f}\\\"\\\\/";
        let rest = "é\\u2028\\u2029\u{2027}😀";
        let wire = format!("\"\\b\\f\\n\\r\\t\\u0001\\u001f{tail}<>&{rest}\"");
        assert_eq!(to_string(text).unwrap(), wire);
        assert_eq!(to_string_html(text).unwrap(), wire.replace("<>&", "\\u003c\\u003e\\u0026"));
        for html in [false, true] {
            let mut by_hand = Vec::new();
            push_string(&mut by_hand, text, html);
            assert_eq!(String::from_utf8(by_hand).unwrap(), self::text(text, html, false).unwrap());
        }
    }

    #[test]
    fn what_ends_a_run_ends_it_near_and_far() {
        for (c, html) in (0..=255).flat_map(|c| [(c, false), (c, true)]) {
            let mut far = [b'a'; 64];
            far[40] = c;
            assert_eq!(plain_run(&far, html) == 64, plain_run(&[c], html) == 1, "{c} {html}");
        }
    }

    #[test]
    fn floats_take_gos_form() {
        for (x, want) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (1234.5, "1234.5"),
            (0.1, "0.1"),
            (1e-6, "0.000001"),
            (9.999e-7, "9.999e-7"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.5e300, "-1.5e+300"),
            (5e-324, "5e-324"),
            (f64::NAN, "null"),
        ] {
            assert_eq!(float_text(x), want);
            assert_eq!(to_string(&x).unwrap(), want);
        }
    }

    #[test]
    fn files_are_indented_by_two_spaces_with_empty_containers_closed() {
        let value = json!({"a": [1, {"b": "<"}], "c": [], "d": {}, "e": null});
        let want = "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"\\u003c\"\n    }\n  ],\n  \"c\": [],\n  \"d\": {},\n  \"e\": null\n}";
        assert_eq!(to_string_pretty_html(&value).unwrap(), want);
        assert_eq!(to_string(&value).unwrap(), r#"{"a":[1,{"b":"<"}],"c":[],"d":{},"e":null}"#);
    }
}
