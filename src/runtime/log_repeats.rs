//! Warnings that come again and again: the first is written, the others are counted, and the count is written when a while
//! has passed. A pure machine; the sink gives it the time.

use crate::base::Time;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// How long after its first one a warning is counted and not written.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// Different texts that one place in the code may write within a window: peers choose parts of texts.
const TEXTS_MAX: usize = 16;
/// Places that are watched at once. Beyond it, lines are written as they come.
const PLACES_MAX: usize = 256;
/// Bytes of a counted text that are kept to be shown with the count.
const TEXT_BYTES_MAX: usize = 256;

/// A place in the code: file and line, and the component for records that have neither.
pub(super) type Place = (String, u32);

/// What was held back at one place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) level: log::Level,
    pub(super) component: String,
    /// The newest text.
    pub(super) message: String,
    pub(super) count: u64,
}

#[derive(Debug)]
struct Watched {
    since: Time,
    /// Hashes of the texts written.
    texts: Vec<u64>,
    held: Option<Counted>,
}

/// The places that warned lately.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    places: BTreeMap<Place, Watched>,
}

impl Repeats {
    /// Whether to write a line now. `text` is the whole line without its time: what differs in a value differs.
    pub(super) fn handle_record(
        &mut self,
        now: Time,
        place: Place,
        (level, component): (log::Level, &str),
        message: &str,
        text: &str,
    ) -> bool {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let hash = hasher.finish();
        if self.places.len() >= PLACES_MAX && !self.places.contains_key(&place) {
            return true;
        }
        let watched = self.places.entry(place).or_insert_with(|| Watched { since: now, texts: Vec::new(), held: None });
        if !watched.texts.contains(&hash) && watched.texts.len() < TEXTS_MAX {
            watched.texts.push(hash);
            return true;
        }
        let count = watched.held.as_ref().map_or(0, |held| held.count) + 1;
        let end = (0..=TEXT_BYTES_MAX.min(message.len())).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        let message = message.get(..end).unwrap_or_default().to_owned();
        watched.held = Some(Counted { level, component: component.to_owned(), message, count });
        false
    }

    /// What was held back at places whose window is over; with `all`, at every place.
    pub(super) fn handle_timeout(&mut self, now: Time, all: bool) -> Vec<Counted> {
        let mut over = Vec::new();
        self.places.retain(|_, watched| {
            let keep = !all && now < watched.since + WINDOW;
            if !keep {
                over.extend(watched.held.take());
            }
            keep
        });
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    fn warn(repeats: &mut Repeats, at_s: u64, line: u32, text: &str) -> bool {
        let place = ("a.rs".to_owned(), line);
        repeats.handle_record(Time::from_millis(at_s * 1000), place, (Level::Warn, "mesh"), text, text)
    }

    #[test]
    fn the_first_is_written_the_others_are_counted_and_the_count_is_told_once() {
        let mut repeats = Repeats::default();
        let written: Vec<_> = (0..50).map(|s| warn(&mut repeats, s, 1, "full")).collect();
        assert_eq!((written[0], written.iter().filter(|w| **w).count()), (true, 1));
        assert!(warn(&mut repeats, 50, 2, "full"), "another place is another warning");
        assert_eq!(repeats.handle_timeout(Time::from_millis(59_999), false), []);
        let told = repeats.handle_timeout(Time::from_millis(60_000), false);
        assert_eq!((told.len(), told[0].count, told[0].message.as_str()), (1, 49, "full"));
        assert!(warn(&mut repeats, 61, 1, "full"), "a new window begins");
    }

    #[test]
    fn texts_that_differ_are_written_up_to_a_bound() {
        let mut repeats = Repeats::default();
        let written = (0..1000).filter(|i| warn(&mut repeats, 1, 1, &format!("é{i}").repeat(200))).count();
        assert_eq!(written, TEXTS_MAX);
        let told = repeats.handle_timeout(Time::from_millis(0), true);
        assert_eq!(told[0].count, 984);
        assert!(told[0].message.len() <= TEXT_BYTES_MAX);
    }

    #[test]
    fn the_places_watched_are_bounded() {
        let mut repeats = Repeats::default();
        assert!((0..10_000).all(|line| warn(&mut repeats, 1, line, "x")));
        assert_eq!(repeats.places.len(), PLACES_MAX);
    }
}
