//! Which log lines are written: a level for everything, and others for single components.

use crate::base::{Error, Result};
use log::LevelFilter;
use std::str::FromStr;

/// The components of this crate, as they stand in log lines.
pub const LOG_COMPONENTS: &[&str] = &[
    "audit",
    "control",
    "deploy",
    "dht",
    "dispatcher",
    "files",
    "mesh",
    "miner",
    "node",
    "peers",
    "runtime",
    "worker",
];

/// Libraries below us that log, by their crates' names. Without a word about them only their warnings are written.
const LIBRARIES: &[&str] = &["rustls", "tungstenite"];

/// Levels by component, as `mesh=debug,info` says them: debug for the mesh, info for everything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// For what is not named; `None` leaves it to the program.
    everything: Option<LevelFilter>,
    components: Vec<(String, LevelFilter)>,
}

impl LogFilter {
    /// What it says, and what `other` says behind it: the later word counts.
    pub fn extend(&mut self, other: LogFilter) {
        self.everything = other.everything.or(self.everything);
        self.components.extend(other.components);
    }

    /// The level of what is not named, if nothing was said about it.
    #[must_use]
    pub fn or(mut self, level: LevelFilter) -> LogFilter {
        self.everything = self.everything.or(Some(level));
        self
    }

    /// A named component that nothing here logs under, which is most likely a slip.
    pub fn unknown(&self) -> Option<&str> {
        let known = |name: &str| LOG_COMPONENTS.contains(&name) || LIBRARIES.contains(&name);
        self.components.iter().map(|(name, _)| name.as_str()).find(|name| !known(name))
    }

    /// The most that any component may write.
    pub(super) fn max(&self) -> LevelFilter {
        self.components.iter().map(|(_, level)| *level).chain([self.rest()]).max().unwrap_or(LevelFilter::Info)
    }

    fn rest(&self) -> LevelFilter {
        self.everything.unwrap_or(LevelFilter::Info)
    }

    /// The level of a record's target.
    pub(super) fn level(&self, target: &str) -> LevelFilter {
        // Libraries name their targets by module path; ours are plain components.
        let (component, is_library) = match target.split_once("::") {
            Some((name, _)) => (name, true),
            None => (target, false),
        };
        let named = self.components.iter().rev().find(|(name, _)| name == component).map(|(_, level)| *level);
        match (named, is_library) {
            (Some(level), _) => level,
            (None, true) => self.rest().min(LevelFilter::Warn),
            (None, false) => self.rest(),
        }
    }
}

impl From<LevelFilter> for LogFilter {
    fn from(level: LevelFilter) -> LogFilter {
        LogFilter { everything: Some(level), components: Vec::new() }
    }
}

impl FromStr for LogFilter {
    type Err = Error;

    /// Reads `LEVEL`, `COMPONENT=LEVEL`, or several of them with commas between.
    fn from_str(text: &str) -> Result<LogFilter> {
        let mut filter = LogFilter::default();
        for part in text.split(',') {
            let (name, word) = match part.split_once('=') {
                Some((name, word)) => (Some(name), word),
                None => (None, part),
            };
            let level = word.parse().map_err(|_| {
                Error::Config(format!("unknown log level {word:?}: use off, error, warn, info, debug or trace"))
            })?;
            match name {
                None => filter.everything = Some(level),
                Some("") => return Err(Error::Config(format!("{part:?} names no component: use mesh=debug,info"))),
                Some(name) => filter.components.push((name.to_owned(), level)),
            }
        }
        Ok(filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn a_component_has_its_own_level_and_the_rest_another() {
        let filter: LogFilter = "mesh=debug,info,rustls=trace".parse().unwrap();
        assert_eq!(filter.level("mesh"), LevelFilter::Debug);
        assert_eq!(filter.level("peers"), LevelFilter::Info);
        assert_eq!(filter.level("rustls::conn"), LevelFilter::Trace);
        assert_eq!(filter.level("other::part"), LevelFilter::Warn);
        assert_eq!(filter.max(), LevelFilter::Trace);
        assert_eq!((filter.unknown(), "mehs=debug".parse::<LogFilter>().unwrap().unknown()), (None, Some("mehs")));
    }

    #[test]
    fn the_later_word_counts_and_a_default_fills_what_was_not_said() {
        let mut filter: LogFilter = "mesh=debug,mesh=error".parse().unwrap();
        assert_eq!(filter.level("mesh"), LevelFilter::Error);
        assert_eq!(filter.clone().or(LevelFilter::Off).level("peers"), LevelFilter::Off);
        filter.extend("warn".parse().unwrap());
        assert_eq!((filter.or(LevelFilter::Off).level("peers")), LevelFilter::Warn);
    }

    #[test]
    fn what_is_no_filter_is_told_what_one_looks_like() {
        for (text, words) in
            [("loud", "use off, error"), ("mesh=loud", "loud"), ("=info", "mesh=debug"), ("", "use off")]
        {
            let error = text.parse::<LogFilter>().unwrap_err().to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }

    fn targets(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                targets(&path, found);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                let macros = text.split("log::").skip(1).filter_map(|rest| rest.split_once("!(target: \""));
                let own = macros.filter(|(level, _)| level.len() <= 5);
                found.extend(own.filter_map(|(_, rest)| Some(rest.split_once('"')?.0.to_owned())));
            }
        }
    }

    #[test]
    fn the_list_of_components_is_what_the_source_logs_under() {
        let mut found = BTreeSet::new();
        for folder in ["src", "bin"] {
            targets(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
        }
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), LOG_COMPONENTS);
    }
}
