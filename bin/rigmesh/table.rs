//! Text for people: tables, units, and nothing from a peer that could steer the terminal.

use rigmesh::control::Failure;
use serde_json::Value;
use std::fmt::Write as _;

/// How a cell is shown on a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Good,
    Bad,
    Faint,
}

/// One cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn new(text: impl AsRef<str>) -> Cell {
        Cell { text: safe(text.as_ref()), tone: Tone::Plain }
    }

    pub(crate) fn toned(text: impl AsRef<str>, tone: Tone) -> Cell {
        Cell { text: safe(text.as_ref()), tone }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell::new(text)
    }
}

/// Columns two spaces apart, no space at the end of a line.
pub(crate) fn render(headers: &[&str], rows: &[Vec<Cell>], colour: bool) -> String {
    let mut widths: Vec<usize> = headers.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = (&str, Tone)>, bold: bool| {
        let (mut shown, mut gap) = (String::new(), 0);
        for ((cell, tone), width) in cells.zip(&widths) {
            let pad = width.saturating_sub(cell.chars().count());
            let _ = write!(shown, "{:gap$}", "");
            let code = match (colour, tone, bold) {
                (false, ..) => "",
                (_, _, true) => "\x1b[1m",
                (_, Tone::Good, _) => "\x1b[32m",
                (_, Tone::Bad, _) => "\x1b[31m",
                (_, Tone::Faint, _) => "\x1b[2m",
                (_, Tone::Plain, _) => "",
            };
            let reset = if code.is_empty() { "" } else { "\x1b[0m" };
            let _ = write!(shown, "{code}{cell}{reset}");
            gap = pad + 2;
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    };
    line(&mut headers.iter().map(|h| (*h, Tone::Plain)), true);
    for row in rows {
        line(&mut row.iter().map(|c| (c.text.as_str(), c.tone)), false);
    }
    text
}

/// A text as it may reach a terminal: escape sequences are left out, control characters and those
/// that reorder text are escaped.
pub(crate) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            // A colour or cursor sequence, as miners write them: dropped whole.
            '\x1b' if chars.peek() == Some(&'[') => {
                chars.next();
                while chars.next_if(|c| matches!(c, '0'..='9' | ';' | '?' | ':')).is_some() {}
                chars.next_if(char::is_ascii_alphabetic);
            }
            '\t' => out.push(' '),
            c if c.is_control() || is_reordering(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

fn is_reordering(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A hashrate with its unit; unknown is `?`, never 0.
pub(crate) fn hashrate(hashes: Option<f64>) -> String {
    let Some(mut value) = hashes.filter(|h| h.is_finite() && *h >= 0.0) else { return "?".to_owned() };
    for unit in ["H/s", "kH/s", "MH/s", "GH/s", "TH/s"] {
        if value < 999.95 {
            return if value < 10.0 { format!("{value:.2} {unit}") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} PH/s")
}

/// A length of time as `45s`, `12m 30s`, `3h 05m`, `2d 04h`.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Milliseconds as `1.2 ms`.
pub(crate) fn millis(ms: Option<f64>) -> String {
    ms.map_or_else(String::new, |ms| format!("{ms:.1} ms"))
}

/// The text under a key; empty when there is none.
pub(crate) fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(row: &Value, key: &str) -> u64 {
    row.get(key).and_then(Value::as_u64).unwrap_or(0)
}

/// The failure a row tells of.
pub(crate) fn failure(row: &Value) -> Option<Failure> {
    row.get("error").and_then(|e| serde_json::from_value(e.clone()).ok())
}

/// The fleet: a line for each miner, and one for a rig that has none or gave no answer.
pub(crate) fn status(rows: &[Value], colour: bool) -> String {
    let headers =
        ["RIG", "LINK", "LATENCY", "MINER", "STATE", "HASHRATE", "SHARES", "REJECTED", "UPTIME", "POOL", "NOTE"];
    let mut lines = Vec::new();
    for row in rows {
        // A link that is not what it could be says so.
        let plain = row.get("secure").and_then(Value::as_bool) == Some(false);
        let link = if plain { "up (1.0)" } else { text(row, "link") };
        let failure = failure(row);
        let tone = if failure.is_some() { Tone::Bad } else { Tone::Good };
        let latency = millis(row.get("latency_ms").and_then(Value::as_f64));
        let head =
            [Cell::new(text(row, "rig")), Cell::toned(if link.is_empty() { "-" } else { link }, tone), latency.into()];
        let warning = text(row, "warning");
        let miners = row.get("miners").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for (i, miner) in miners.iter().enumerate() {
            let mut line = head.to_vec();
            let state = text(miner, "state");
            let tone = match state {
                "hashing" | "earning" => Tone::Good,
                "crashed" | "backing_off" => Tone::Bad,
                _ => Tone::Plain,
            };
            let note = [text(miner, "note"), if i == 0 { warning } else { "" }];
            let note: Vec<&str> = note.into_iter().filter(|n| !n.is_empty()).collect();
            line.extend([
                Cell::new(text(miner, "name")),
                Cell::toned(state, tone),
                hashrate(miner.get("hashrate_hs").and_then(Value::as_f64)).into(),
                number(miner, "shares").to_string().into(),
                number(miner, "rejected").to_string().into(),
                duration(number(miner, "uptime_s")).into(),
                Cell::new(text(miner, "pool")),
                Cell::new(note.join("; ")),
            ]);
            lines.push(line);
        }
        if miners.is_empty() {
            let mut line = head.to_vec();
            line.extend(std::iter::repeat_n(Cell::default(), 7));
            line.push(match &failure {
                Some(failure) => Cell::toned(&failure.message, Tone::Bad),
                None if warning.is_empty() => Cell::toned("no miners", Tone::Faint),
                None => Cell::new(warning),
            });
            lines.push(line);
        }
    }
    render(&headers, &lines, colour)
}

/// The texts of a list, with this between them.
pub(crate) fn words(row: &Value, key: &str, between: &str) -> String {
    let words = row.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    words.collect::<Vec<_>>().join(between)
}

/// The registry.
pub(crate) fn peers(rows: &[Value], colour: bool) -> String {
    let threats: Vec<Cell> = rows.iter().map(threat).collect();
    let mut headers = vec!["NAME", "ID", "ADDRESS", "ROLE", "ADMITTED", "GRANTS", "LINK", "LATENCY", "SCORE"];
    let mut lines: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| {
            let grants = words(row, "grants", ",");
            let up = row.get("connected").and_then(Value::as_bool).unwrap_or(false);
            let stage = text(row, "stage");
            let scheme = if row.get("tls").and_then(Value::as_bool).unwrap_or(false) { "wss://" } else { "" };
            let address = text(row, "address");
            vec![
                Cell::new(text(row, "name")),
                Cell::new(text(row, "id")),
                if address.is_empty() { Cell::default() } else { Cell::new(format!("{scheme}{address}")) },
                Cell::new(text(row, "role")),
                Cell::new(text(row, "admitted")),
                Cell::new(match text(row, "until").get(..10) {
                    Some(day) => format!("{grants} until {day}"),
                    None => grants,
                }),
                if up { Cell::toned("up", Tone::Good) } else { Cell::toned(stage, Tone::Faint) },
                millis(row.get("latency_ms").and_then(Value::as_f64)).into(),
                row.get("score").and_then(Value::as_f64).map_or_else(String::new, |s| format!("{s:.0}")).into(),
            ]
        })
        .collect();
    // Nearly always there is none.
    if threats.iter().any(|cell| *cell != Cell::default()) {
        headers.push("THREAT");
        lines.iter_mut().zip(threats).for_each(|(line, threat)| line.push(threat));
    }
    render(&headers, &lines, colour)
}

/// What a peer's forged packets have come to.
fn threat(row: &Value) -> Cell {
    let number = |key| row.get("threat").and_then(|threat| threat.get(key)).and_then(Value::as_u64);
    match (number("refused_for_s"), number("score")) {
        (Some(seconds), _) => Cell::toned(format!("refused for {} min", seconds.div_ceil(60)), Tone::Bad),
        (None, Some(score)) => Cell::new(score.to_string()),
        (None, None) => Cell::default(),
    }
}

/// The profiles.
pub(crate) fn profiles(rows: &[Value], colour: bool) -> String {
    let lines: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| {
            let note = failure(row).map_or_else(Cell::default, |f| Cell::toned(f.message, Tone::Bad));
            vec![text(row, "id").into(), text(row, "minerType").into(), text(row, "name").into(), note]
        })
        .collect();
    render(&["ID", "TYPE", "NAME", "NOTE"], &lines, colour)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn threats_are_a_column_only_when_there_are_some() {
        let quiet = json!({ "name": "a", "threat": null });
        assert!(!peers(std::slice::from_ref(&quiet), false).contains("THREAT"));
        let shown = peers(
            &[quiet, json!({ "threat": { "score": 300 } }), json!({ "threat": { "refused_for_s": 541 } })],
            false,
        );
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[0].ends_with("THREAT") && lines[2].ends_with("  300"), "{shown}");
        assert!(lines[3].ends_with("refused for 10 min"), "{shown}");
    }

    #[test]
    fn a_hashrate_has_a_unit_and_unknown_is_a_question_mark() {
        for (hashes, shown) in [
            (None, "?"),
            (Some(f64::NAN), "?"),
            (Some(0.0), "0.00 H/s"),
            (Some(843.37), "843.4 H/s"),
            (Some(999.97), "1.00 kH/s"),
            (Some(12_345.0), "12.3 kH/s"),
            (Some(2.5e6), "2.50 MH/s"),
            (Some(1.5e15), "1.5 PH/s"),
        ] {
            assert_eq!(hashrate(hashes), shown);
        }
    }

    #[test]
    fn nothing_in_a_text_steers_the_terminal() {
        assert_eq!(safe("\x1b[1;32mnet\x1b[0m new job\ta"), "net new job a");
        let nasty = "\x1b]0;title\x07\x1b[2Jx\r\n\u{9b}31m\u{202e}olleh\0";
        let shown = safe(nasty);
        assert!(!shown.chars().any(|c| c.is_control() || is_reordering(c)), "{shown:?}");
        let row = json!({"rig": nasty, "link": nasty, "miners": [{"name": nasty, "state": nasty, "pool": nasty, "note": nasty}]});
        let table = status(&[row], false);
        assert!(!table.chars().any(|c| c != '\n' && (c.is_control() || is_reordering(c))), "{table:?}");
        assert_eq!(table.lines().count(), 2);
    }

    #[test]
    fn the_fleet_is_a_table_with_a_reason_for_every_rig_that_gave_none() {
        let rows = [
            json!({"rig": "a", "link": "up", "latency_ms": 1.23, "warning": "its clock is 10 min behind ours", "miners": [
                {"name": "m", "state": "hashing", "hashrate_hs": 1500.0, "shares": 3, "rejected": 1, "uptime_s": 61, "pool": "p:1", "note": null},
                {"name": "n", "state": "running", "hashrate_hs": null, "shares": 0, "rejected": 0, "uptime_s": 5, "pool": "", "note": "no API"}]}),
            json!({"rig": "b", "link": "down", "error": {"kind": "unreachable", "message": "unreachable: no route"}}),
            json!({"rig": "c", "link": "up", "miners": []}),
        ];
        let table = status(&rows, false);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(
            lines[1].contains("1.50 kH/s") && lines[1].contains("1m 01s") && lines[1].ends_with("10 min behind ours")
        );
        assert!(lines[2].contains(" ? ") && lines[2].ends_with("no API"));
        assert!(lines[3].contains("down") && lines[3].ends_with("unreachable: no route"));
        assert!(lines[4].ends_with("no miners"));
        assert!(!table.contains('\x1b') && status(&rows, true).contains("\x1b[31mdown\x1b[0m"));
    }

    #[test]
    fn lengths_of_time_are_short() {
        let shown: Vec<String> = [5, 61, 3_660, 90_000].into_iter().map(duration).collect();
        assert_eq!(shown, ["5s", "1m 01s", "1h 01m", "1d 01h"]);
    }
}
