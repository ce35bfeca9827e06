//! What every JSON text from outside passes before any parser that recurses or allocates.

use super::{Error, Result, Runs, run};

/// How deep arrays and objects may be nested in anything from a peer or a file. 120 levels
/// overflow a 64 KiB stack in serde; connection threads have 256 KiB.
pub const JSON_DEPTH_MAX: usize = 32;

/// Refuses text that is not UTF-8, is nested deeper than [`JSON_DEPTH_MAX`], or has a lone
/// surrogate escape in a string. Does not recurse and does not allocate. It is no parser:
/// whatever else is wrong is left to the parser that follows.
pub fn check_json<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a str> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| Error::malformed(what, format!("invalid UTF-8 at byte {}", e.valid_up_to())))?;
    let (mut depth, mut in_string) = (0usize, false);
    let mut rest = bytes;
    loop {
        if in_string {
            rest = rest.get(string_run(rest)..).unwrap_or_default();
        }
        let [c, tail @ ..] = rest else { break };
        rest = tail;
        match (*c, in_string) {
            (b'"', _) => in_string = !in_string,
            (b'\\', true) => rest = check_escape(what, tail)?,
            (b'{' | b'[', false) => {
                depth += 1;
                if depth > JSON_DEPTH_MAX {
                    return Err(Error::malformed(what, format!("nested deeper than {JSON_DEPTH_MAX}")));
                }
            }
            (b'}' | b']', false) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(text)
}

/// How many of the first bytes stand for themselves inside a JSON string: up to the next quote,
/// backslash or control character.
pub(crate) fn string_run(bytes: &[u8]) -> usize {
    struct Text;
    impl Runs for Text {
        const ENDS: &[u8] = b"\"\\";
    }
    run::<Text>(bytes)
}

/// Skips what follows a backslash; a `\u` surrogate must come as a pair.
fn check_escape<'a>(what: &'static str, rest: &'a [u8]) -> Result<&'a [u8]> {
    let lone = || Error::malformed(what, "lone surrogate escape");
    let Some((unit, tail)) = unicode_escape(rest) else {
        return Ok(rest.get(1..).unwrap_or_default());
    };
    match unit {
        0xD800..=0xDBFF => {
            let after = tail.strip_prefix(b"\\").ok_or_else(lone)?;
            match unicode_escape(after) {
                Some((0xDC00..=0xDFFF, tail)) => Ok(tail),
                _ => Err(lone()),
            }
        }
        0xDC00..=0xDFFF => Err(lone()),
        _ => Ok(tail),
    }
}

/// `uXXXX` at the start of `rest`.
fn unicode_escape(rest: &[u8]) -> Option<(u32, &[u8])> {
    let [b'u', a, b, c, d, tail @ ..] = rest else { return None };
    let digit = |c: u8| char::from(c).to_digit(16);
    Some((digit(*a)? << 12 | digit(*b)? << 8 | digit(*c)? << 4 | digit(*d)?, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_run_ends_it_near_and_far() {
        for c in 0..=255 {
            let mut far = [b'a'; 64];
            far[40] = c;
            assert_eq!(string_run(&far) == 64, string_run(&[c]) == 1, "{c}");
        }
    }

    #[test]
    fn depth_counts_only_outside_strings() {
        assert!(check_json("x", "[".repeat(32).as_bytes()).is_ok());
        assert!(check_json("x", "[".repeat(33).as_bytes()).is_err());
        assert!(check_json("x", format!("\"{}\\\"{}\"", "[".repeat(40), "{".repeat(40)).as_bytes()).is_ok());
    }

    #[test]
    fn a_run_of_plain_bytes_ends_where_it_must() {
        for length in 0..70 {
            let plain = vec![b'x'; length];
            assert_eq!(string_run(&plain), length);
            for (at, c) in (0..length).flat_map(|at| [b'"', b'\\', 0, 0x1f].map(|c| (at, c))) {
                let mut text = plain.clone();
                text[at] = c;
                assert_eq!(string_run(&text), at);
            }
        }
        assert_eq!(string_run("é\u{7f} /'".as_bytes()), 6);
    }

    #[test]
    fn surrogates_come_in_pairs() {
        assert!(check_json("x", br#""\ud83d\ude00""#).is_ok());
        assert!(check_json("x", br#""\\ud83d""#).is_ok());
        for bad in [&br#""\ud83d""#[..], br#""\ud83dx""#, br#""\ude00""#, br#""\ud83d\u0041""#] {
            assert!(check_json("x", bad).is_err());
        }
        assert!(check_json("x", b"\"\xff\"").is_err());
    }
}
