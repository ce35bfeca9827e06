//! The last lines a miner wrote: bounded, timed, free of control characters and of secrets.

use super::secrets::MASK;
use crate::base::Ring;

/// The longest line kept; what follows up to the line's end is dropped.
pub const LINE_BYTES_MAX: usize = 4096;

/// A stretch of a miner's output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSlice {
    /// Oldest first.
    pub lines: Vec<String>,
    /// Whether there may be older lines: as many came back as were asked for (mesh.md §4).
    pub has_more: bool,
}

/// The lines of one miner, from all its processes.
#[derive(Debug)]
pub struct Console {
    lines: Ring<(i64, String)>,
}

impl Console {
    /// Keeps at most `lines_max` lines and `bytes_max` bytes of them, the newest.
    pub fn new(lines_max: usize, bytes_max: usize) -> Console {
        Console { lines: Ring::new(lines_max, bytes_max) }
    }

    /// Adds one line, written at `unix_ms`.
    pub fn push(&mut self, unix_ms: i64, line: String) {
        let size = line.len().saturating_add(32);
        self.lines.push((unix_ms, line), size);
    }

    /// The newest `lines` lines, none written before `since_ms`.
    pub fn slice(&self, lines: usize, since_ms: Option<i64>) -> LogSlice {
        let since = since_ms.unwrap_or(i64::MIN);
        let mut found: Vec<String> = self
            .lines
            .iter()
            .rev()
            .take_while(|(at, _)| *at >= since)
            .take(lines)
            .map(|(_, line)| line.clone())
            .collect();
        found.reverse();
        LogSlice { has_more: found.len() >= lines, lines: found }
    }

    /// The newest lines as one text for a note, at most about 300 bytes.
    pub fn tail(&self) -> String {
        let mut text = String::new();
        for (_, line) in self.lines.iter().rev().filter(|(_, line)| !line.trim().is_empty()).take(3) {
            let short: String = line.trim().chars().take(100).collect();
            text = if text.is_empty() { short } else { format!("{short} | {text}") };
        }
        text
    }
}

/// Cuts one output stream into lines. Lossy UTF-8; escape sequences and control characters are removed.
#[derive(Default)]
pub struct Lines {
    partial: Vec<u8>,
    cut: bool,
    secrets: Vec<String>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lines")
    }
}

impl Lines {
    /// For one stream of one process, whose `secrets` are masked wherever they appear, longest first.
    pub fn new(secrets: Vec<String>) -> Lines {
        Lines { secrets, ..Lines::default() }
    }

    /// Takes bytes as they come; calls `line` for each line they complete.
    pub fn feed(&mut self, bytes: &[u8], mut line: impl FnMut(String)) {
        for piece in bytes.split_inclusive(|c| *c == b'\n') {
            let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = LINE_BYTES_MAX.saturating_sub(self.partial.len());
            self.cut |= text.len() > room;
            self.partial.extend_from_slice(text.get(..room).unwrap_or(text));
            if ends {
                line(self.take());
            }
        }
    }

    /// The stream has ended: the last line, when it had no end.
    pub fn finish(&mut self) -> Option<String> {
        (!self.partial.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        let mut text = clean(&String::from_utf8_lossy(&std::mem::take(&mut self.partial)));
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), MASK);
            }
        }
        if std::mem::take(&mut self.cut) {
            // A secret that was cut in two would not have been found: its length is given up.
            let longest = self.secrets.first().map_or(0, String::len);
            let mut end = text.len().saturating_sub(longest);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push('…');
        }
        text
    }
}

/// Without terminal escape sequences (`ESC [ … letter`), control characters (tabs become spaces) and
/// characters that turn the direction of a line.
fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                if chars.next_if_eq(&'[').is_some() {
                    while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
                }
            }
            '\t' => out.push(' '),
            '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &mut Lines, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        lines.feed(bytes, |line| found.push(line));
        found.extend(lines.finish());
        found
    }

    #[test]
    fn any_split_of_the_output_gives_the_same_lines() {
        let output = "one\r\n\x1b[1;32mtwo\x1b[0m\n\nthr\u{202e}ee \u{1F600}\tx".as_bytes();
        let want = ["one", "two", "", "three \u{1F600} x"];
        assert_eq!(lines(&mut Lines::default(), output), want);
        for size in 1..output.len() {
            let mut splitter = Lines::default();
            let mut found = Vec::new();
            output.chunks(size).for_each(|piece| splitter.feed(piece, |line| found.push(line)));
            found.extend(splitter.finish());
            assert_eq!(found, want, "pieces of {size}");
        }
    }

    #[test]
    fn a_secret_is_masked_even_where_a_line_is_cut() {
        let secret = "4Wallet4Wallet";
        let mut splitter = Lines::new(vec![secret.into()]);
        assert_eq!(lines(&mut splitter, b"login 4Wallet4Wallet ok"), ["login *** ok"]);
        for shift in 0..20 {
            let long = format!("{}{secret}{}", "y".repeat(LINE_BYTES_MAX - shift), "z".repeat(9000));
            let found = lines(&mut splitter, long.as_bytes());
            assert_eq!(found.len(), 1);
            assert!(found[0].len() <= LINE_BYTES_MAX + 3 && !found[0].contains("4W"), "shift {shift}");
        }
    }

    #[test]
    fn the_newest_lines_that_were_asked_for_come_back() {
        let mut console = Console::new(3, 10_000);
        (1..=5).for_each(|i| console.push(i * 10, format!("line {i}")));
        assert_eq!(
            console.slice(10, None),
            LogSlice { lines: vec!["line 3".into(), "line 4".into(), "line 5".into()], has_more: false }
        );
        assert_eq!(console.slice(2, None), LogSlice { lines: vec!["line 4".into(), "line 5".into()], has_more: true });
        assert_eq!(console.slice(10, Some(50)).lines, ["line 5"]);
        assert!(console.slice(10, Some(51)).lines.is_empty());
        assert_eq!(console.tail(), "line 3 | line 4 | line 5");
    }
}
