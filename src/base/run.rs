//! Runs of text that need no look at each byte.

/// Which bytes end a run.
pub(crate) type Ends = [bool; 256];

/// The control characters, the quote, the backslash, and these.
#[expect(clippy::indexing_slicing, reason = "no byte is beyond 255, and the compiler carries it out")]
pub(crate) const fn json_ends(more: &[u8]) -> Ends {
    let mut ends = [false; 256];
    let mut c = 0;
    while c < 0x20 {
        ends[c] = true;
        c += 1;
    }
    (ends[b'"' as usize], ends[b'\\' as usize]) = (true, true);
    let mut rest = more;
    while let [c, tail @ ..] = rest {
        ends[*c as usize] = true;
        rest = tail;
    }
    ends
}

/// How many of the first bytes do not end a run: `ends` and `end` say the same of a byte, as a table and in numbers (0 for
/// no). Most runs are short, and the table is quickest for them; from the 17th byte on 16 are looked at in one step, which
/// the compiler makes of the numbers.
pub(crate) fn run(bytes: &[u8], ends: &Ends, end: impl Fn(u8) -> u8) -> usize {
    let position = |bytes: &[u8]| bytes.iter().position(|c| ends.get(usize::from(*c)).is_some_and(|ends| *ends));
    let (head, rest) = bytes.split_at_checked(16).unwrap_or((bytes, &[]));
    if let Some(at) = position(head) {
        return at;
    }
    let plain = |chunk: &&[u8; 16]| chunk.iter().fold(0, |hit, c| hit | end(*c)) == 0;
    let skipped = rest.as_chunks::<16>().0.iter().take_while(plain).count() * 16;
    let tail = rest.get(skipped..).unwrap_or_default();
    head.len() + skipped + position(tail).unwrap_or(tail.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_at_the_first_byte_that_ends_one_wherever_it_stands() {
        const ENDS: Ends = json_ends(b"&");
        let end = |c: u8| u8::from(ENDS[usize::from(c)]);
        for len in 0..80 {
            let mut text = vec![b'a'; len];
            assert_eq!(run(&text, &ENDS, end), len);
            for at in (0..len).rev() {
                text[at] = *b"\"\\&\n\0".get(at % 5).unwrap();
                assert_eq!(run(&text, &ENDS, end), at, "of {len}");
            }
        }
    }
}
