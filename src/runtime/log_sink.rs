//! The default log sink (logging.md): one line per record on standard error,
//! `2006/01/02 15:04:05 [LEVEL] [component] message | key=value`, in local time; or one JSON object.
//!
//! A value whose key names a secret is not written, whatever it is. Warnings and errors that repeat are written once a minute,
//! with their count.

use super::log_filter::LogFilter;
use super::log_repeats::{Counted, Repeats, WINDOW};
use crate::base::{Time, quote_value};
use log::kv::{self, Key, Value, VisitSource, VisitValue};
use log::{Level, Log, Metadata, Record};
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::OnceLock;
use std::time::Instant;

/// What a log line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `2006/01/02 15:04:05 [LEVEL] [component] message | key=value`, in local time.
    #[default]
    Text,
    /// One JSON object: `time` (RFC 3339), `level`, `component`, `message`, and `fields` when there are some.
    Json,
}

struct Sink {
    filter: LogFilter,
    format: LogFormat,
    start: Instant,
    repeats: Mutex<Repeats>,
}

static SINK: OnceLock<Sink> = OnceLock::new();

/// Sends the records of the `log` facade to standard error, as text. Once per process; a program that has a logger of its own does
/// not call it. Takes a level, or levels by component.
pub fn init_log(filter: impl Into<LogFilter>) {
    init_log_as(filter.into(), LogFormat::Text);
}

/// The same in another format.
pub fn init_log_as(filter: LogFilter, format: LogFormat) {
    let max = filter.max();
    let sink = SINK.get_or_init(|| Sink { filter, format, start: Instant::now(), repeats: Mutex::default() });
    if log::set_logger(sink).is_ok() {
        log::set_max_level(max);
    }
}

impl Sink {
    fn now(&self) -> Time {
        Time::from_millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn write(&self, line: &Line) {
        let now = jiff::Zoned::now();
        let mut text = match self.format {
            LogFormat::Text => line.text(&now.strftime("%Y/%m/%d %H:%M:%S").to_string()),
            LogFormat::Json => line.json(&now.strftime("%Y-%m-%dT%H:%M:%S.%3f%:z").to_string()),
        };
        text.push('\n');
        // One write a line, so that lines of two threads never mix. Nobody to tell if it fails.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    fn write_counts(&self, counts: Vec<Counted>) {
        counts.into_iter().for_each(|counted| self.write(&Line::of_count(counted)));
    }
}

impl Log for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.filter.level(metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = Line::of(record);
        let (counts, write) = {
            let now = self.now();
            let mut repeats = self.repeats.lock();
            let counts = repeats.handle_timeout(now, false);
            let write = record.level() > Level::Warn || {
                let place = (record.file().unwrap_or(record.target()).to_owned(), record.line().unwrap_or(0));
                repeats.handle_record(now, place, (line.level, &line.component), &line.message, &line.text(""))
            };
            (counts, write)
        };
        self.write_counts(counts);
        if write {
            self.write(&line);
        }
    }

    /// Writes the counts of what was held back.
    fn flush(&self) {
        let counts = self.repeats.lock().handle_timeout(self.now(), true);
        self.write_counts(counts);
    }
}

/// A record, as both formats need it.
struct Line {
    level: Level,
    component: String,
    message: String,
    fields: Vec<(String, serde_json::Value)>,
}

impl Line {
    fn of(record: &Record<'_>) -> Line {
        let mut fields = Fields(Vec::new());
        let _ = record.key_values().visit(&mut fields);
        let (component, message) = (record.target().to_owned(), record.args().to_string());
        Line { level: record.level(), component, message, fields: fields.0 }
    }

    fn of_count(counted: Counted) -> Line {
        let Counted { level, component, message, count } = counted;
        let fields = vec![("repeated".to_owned(), count.into()), ("within_s".to_owned(), WINDOW.as_secs().into())];
        Line { level, component, message, fields }
    }

    /// The text of the line, without its end.
    fn text(&self, time: &str) -> String {
        let mut line = format!("{time} [{}] ", self.level);
        if !self.component.is_empty() {
            let _ = write!(line, "[{}] ", self.component);
        }
        push_safe(&mut line, &self.message);
        for (i, (key, value)) in self.fields.iter().enumerate() {
            line.push_str(if i == 0 { " | " } else { " " });
            let plain = match value {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let _ = write!(line, "{key}={}", quote_value(&plain));
        }
        line
    }

    /// The object, without the end of its line.
    fn json(&self, time: &str) -> String {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let mut object = format!("{{\"time\":{},\"level\":{}", text(time), text(&self.level.as_str().to_lowercase()));
        if !self.component.is_empty() {
            let _ = write!(object, ",\"component\":{}", text(&self.component));
        }
        let _ = write!(object, ",\"message\":{}", text(&self.message));
        for (i, (key, value)) in self.fields.iter().enumerate() {
            let _ = write!(object, "{}{}:{value}", if i == 0 { ",\"fields\":{" } else { "," }, text(key));
        }
        object.push_str(if self.fields.is_empty() { "}" } else { "}}" });
        let mut line = String::with_capacity(object.len());
        // What JSON leaves as it is may still steer a terminal; such characters stand inside strings only.
        for c in object.chars() {
            match is_unsafe(c) {
                true => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                    let _ = write!(line, "\\u{unit:04x}");
                }),
                false => line.push(c),
            }
        }
        line
    }
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

/// Keys whose values are never written. Nothing here logs such a value; an embedder's slip must not either.
fn names_a_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "passwd", "secret", "token", "private", "wallet"].iter().any(|word| key.contains(word))
}

/// Takes key-value pairs, in their order.
struct Fields(Vec<(String, serde_json::Value)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let mut typed = Typed(serde_json::Value::Null);
        match names_a_secret(key.as_str()) {
            true => typed.0 = "(not shown)".into(),
            false => value.visit(&mut typed)?,
        }
        self.0.push((key.as_str().to_owned(), typed.0));
        Ok(())
    }
}

/// Keeps numbers numbers.
struct Typed(serde_json::Value);

impl<'v> VisitValue<'v> for Typed {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), kv::Error> {
        self.0 = value.to_string().into();
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format_record(time: &str, record: &Record<'_>) -> String {
        Line::of(record).text(time)
    }

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
        let json = Line::of(&record).json("t");
        assert!(!json.chars().any(is_unsafe), "{json:?}");
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["message"], "said \x1b[2Jhello\n\u{202e}olleh");
        assert_eq!(read["fields"]["name"], pairs[0].1);
    }

    #[test]
    fn a_json_line_has_the_same_fields_and_numbers_stay_numbers() {
        let pairs: [(&str, Value<'_>); 4] =
            [("link", 7u64.into()), ("dialled", true.into()), ("name", "a b".into()), ("n", (-2i64).into())];
        let record = Record::builder()
            .args(format_args!("link up"))
            .level(Level::Info)
            .target("mesh")
            .key_values(&pairs)
            .build();
        assert_eq!(
            Line::of(&record).json("2026-01-02T03:04:05.678+00:00"),
            r#"{"time":"2026-01-02T03:04:05.678+00:00","level":"info","component":"mesh","message":"link up","fields":{"link":7,"dialled":true,"name":"a b","n":-2}}"#
        );
        assert_eq!(format_record("t", &record), r#"t [INFO] [mesh] link up | link=7 dialled=true name="a b" n=-2"#);
    }

    #[test]
    fn the_value_of_a_key_that_names_a_secret_is_not_written() {
        let pairs = [("poolPassword", "hunter2"), ("access_token", "hunter2"), ("name", "rig")];
        let record = Record::builder().args(format_args!("x")).level(Level::Info).key_values(&pairs).build();
        for line in [format_record("t", &record), Line::of(&record).json("t")] {
            assert!(!line.contains("hunter2") && line.contains("rig") && line.contains("not shown"), "{line}");
        }
    }

    #[test]
    fn what_was_held_back_is_told_with_its_count() {
        let counted = Counted { level: Level::Warn, component: "mesh".into(), message: "full".into(), count: 12 };
        assert_eq!(Line::of_count(counted).text("t"), "t [WARN] [mesh] full | repeated=12 within_s=60");
    }
}
