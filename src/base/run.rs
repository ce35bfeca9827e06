//! Runs of text that need no look at each byte.

/// What ends a run in texts of one kind.
pub(crate) trait Runs {
    /// These bytes, and control characters.
    const ENDS: &[u8];
    /// The same as a table for all bytes, of the compiler's making.
    const TABLE: [bool; 256] = table(Self::ENDS);
}

/// Control characters end a run too.
const CONTROLS: u8 = 0x20;

#[expect(clippy::indexing_slicing, reason = "no byte is beyond 255, and the compiler carries it out")]
const fn table(ends: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut c = 0;
    while c < CONTROLS {
        table[c as usize] = true;
        c += 1;
    }
    let mut rest = ends;
    while let [c, tail @ ..] = rest {
        table[*c as usize] = true;
        rest = tail;
    }
    table
}

/// How many of the first bytes do not end a run. Most runs are short, and the table is quickest for them; from the 17th byte
/// on 16 are looked at in one step.
pub(crate) fn run<R: Runs>(bytes: &[u8]) -> usize {
    let position = |bytes: &[u8]| bytes.iter().position(|c| R::TABLE.get(usize::from(*c)).is_some_and(|ends| *ends));
    let (head, rest) = bytes.split_at_checked(16).unwrap_or((bytes, &[]));
    if let Some(at) = position(head) {
        return at;
    }
    // Each end for itself: the compiler compares sixteen bytes with it in one step.
    let any = |chunk: &[u8; 16], ends: fn(u8, u8) -> bool, end: u8| {
        chunk.iter().fold(0, |hit, c| hit | u8::from(ends(*c, end)))
    };
    let plain = |chunk: &&[u8; 16]| {
        let controls = any(chunk, |c, end| c < end, CONTROLS);
        R::ENDS.iter().fold(controls, |hit, end| hit | any(chunk, |c, end| c == end, *end)) == 0
    };
    let skipped = rest.as_chunks::<16>().0.iter().take_while(plain).count() * 16;
    let tail = rest.get(skipped..).unwrap_or_default();
    head.len() + skipped + position(tail).unwrap_or(tail.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_at_the_first_byte_that_ends_one_wherever_it_stands() {
        struct Text;
        impl Runs for Text {
            const ENDS: &[u8] = b"\"\\&";
        }
        for len in 0..80 {
            let mut text = vec![b'a'; len];
            assert_eq!(run::<Text>(&text), len);
            for at in (0..len).rev() {
                text[at] = *b"\"\\&\n\0".get(at % 5).unwrap();
                assert_eq!(run::<Text>(&text), at, "of {len}");
            }
        }
    }
}
