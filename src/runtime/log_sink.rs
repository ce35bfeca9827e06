//! The default log sink (logging.md): one line per record on standard error,
//! `2006/01/02 15:04:05 [LEVEL] [component] message | key=value`, in local time.

use crate::base::quote_value;
use log::kv::{self, Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};
use std::fmt::Write as _;
use std::io::Write as _;

struct Sink;

static SINK: Sink = Sink;

/// Sends the records of the `log` facade to standard error. Once per process; a program that has a
/// logger of its own does not call it.
pub fn init_log(level: LevelFilter) {
    if log::set_logger(&SINK).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries below us name their targets by module path; ours are plain components.
        !metadata.target().contains("::") || metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut line = format_record(&jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S").to_string(), record);
            line.push('\n');
            // One write a line, so that lines of two threads never mix. Nobody to tell if it fails.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// The line of a record, without its end.
fn format_record(time: &str, record: &Record<'_>) -> String {
    let mut line = format!("{time} [{}] ", record.level());
    if !record.target().is_empty() {
        let _ = write!(line, "[{}] ", record.target());
    }
    push_safe(&mut line, &record.args().to_string());
    let mut pairs = Pairs { line, first: true };
    let _ = record.key_values().visit(&mut pairs);
    pairs.line
}

/// Nothing in a message can begin a new line or steer a terminal.
fn push_safe(line: &mut String, text: &str) {
    for c in text.chars() {
        if is_unsafe(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}

/// Control characters, and the ones that reorder what is shown.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

struct Pairs {
    line: String,
    first: bool,
}

impl<'kvs> VisitSource<'kvs> for Pairs {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        self.line.push_str(if std::mem::take(&mut self.first) { " | " } else { " " });
        let _ = write!(self.line, "{key}={}", quote_value(&value.to_string()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    #[test]
    fn a_line_has_time_level_component_message_and_pairs() {
        let pairs = [("address", "10.0.0.1:9091"), ("name", "a b")];
        let record = Record::builder()
            .args(format_args!("link up"))
            .level(Level::Info)
            .target("mesh")
            .key_values(&pairs)
            .build();
        assert_eq!(
            format_record("2026/01/02 03:04:05", &record),
            r#"2026/01/02 03:04:05 [INFO] [mesh] link up | address=10.0.0.1:9091 name="a b""#
        );
        let bare = Record::builder().args(format_args!("x")).level(Level::Warn).build();
        assert_eq!(format_record("t", &bare), "t [WARN] x");
    }

    #[test]
    fn no_text_can_forge_a_line_or_steer_the_terminal() {
        let pairs = [("name", "x\n2026/01/02 03:04:05 [ERROR] [node] gone")];
        let record = Record::builder()
            .args(format_args!("said \x1b[2Jhello\n\u{202e}olleh"))
            .level(Level::Info)
            .key_values(&pairs)
            .build();
        let line = format_record("t", &record);
        assert!(!line.chars().any(is_unsafe), "{line:?}");
    }
}
