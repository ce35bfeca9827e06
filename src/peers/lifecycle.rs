//! The life of a peer: discovered, authenticated, active, stale, then retried or evicted.

use super::{PING_SAMPLES, Samples};
use crate::base::{Now, Rng, Time};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Bounds of the life of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifecycleConfig {
    /// Round trips in a row without an answer after which a peer is stale.
    pub missed_max: u32,
    /// Pause before the first retry; each further one is twice as long, ± 20 %.
    pub retry_first: Duration,
    /// Longest pause between two retries.
    pub retry_max: Duration,
    /// Retries of a peer that may be evicted; others are retried for ever.
    pub retries_max: u32,
    /// How long a peer may stay away, or be known without ever having proven itself, before it may
    /// be evicted.
    pub evict_after: Duration,
}

impl Default for LifecycleConfig {
    fn default() -> Self {
        LifecycleConfig {
            missed_max: 3,
            retry_first: Duration::from_secs(5),
            retry_max: Duration::from_secs(300),
            retries_max: 12,
            evict_after: Duration::from_secs(24 * 3600),
        }
    }
}

/// Outputs kept for a caller that does not ask for them.
const OUTPUTS_MAX: usize = 4096;

/// Where in its life a peer is.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// Known, but not yet proven since the start of this node.
    Discovered {
        /// Since when.
        since: Time,
    },
    /// Has proven its key; no round trip measured yet.
    Authenticated {
        /// Round trips in a row without an answer.
        missed: u32,
    },
    /// Answers.
    Active {
        /// The last round trips, ms.
        samples: Samples,
        /// Round trips in a row without an answer.
        missed: u32,
    },
    /// Was there and does not answer, or its link is gone.
    Stale {
        /// Since when.
        since: Time,
        /// Retries asked for.
        retries: u32,
    },
}

impl Stage {
    /// A word for people and machines: `discovered`, `authenticated`, `active`, `stale`.
    pub fn word(&self) -> &'static str {
        match self {
            Stage::Discovered { .. } => "discovered",
            Stage::Authenticated { .. } => "authenticated",
            Stage::Active { .. } => "active",
            Stage::Stale { .. } => "stale",
        }
    }
}

/// What the life of a peer asks for or tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LifecycleOutput {
    /// The peer no longer answers.
    Stale {
        /// Which.
        id: String,
    },
    /// Dial the peer again, if there is an address. Nothing needs to be said about a failure.
    Retry {
        /// Which.
        id: String,
        /// The first is 1.
        attempt: u32,
    },
    /// The peer stayed away too long, or there is no room; its entry was removed.
    Evicted {
        /// Which.
        id: String,
    },
}

#[derive(Debug)]
struct Life {
    stage: Stage,
    deadline: Option<Time>,
}

/// The lives of all peers, by id. Knows nothing of the registry: who may be evicted is its business.
#[derive(Debug, Default)]
pub struct Lifecycle {
    config: LifecycleConfig,
    lives: BTreeMap<String, Life>,
    deadlines: BTreeSet<(Time, String)>,
    outputs: VecDeque<LifecycleOutput>,
}

impl Lifecycle {
    /// With other bounds than the default.
    pub fn new(config: LifecycleConfig) -> Lifecycle {
        Lifecycle { config, ..Lifecycle::default() }
    }

    /// Where in its life the peer is; `None` when it is not known.
    pub fn stage(&self, id: &str) -> Option<&Stage> {
        self.lives.get(id).map(|life| &life.stage)
    }

    /// A peer was heard of. Changes nothing for one that is known.
    pub fn handle_discovered(&mut self, now: Time, id: &str) {
        if !self.lives.contains_key(id) {
            self.enter(id, Stage::Discovered { since: now }, Some(now + self.config.evict_after));
        }
    }

    /// A peer has proven its key on a new link.
    pub fn handle_authenticated(&mut self, id: &str) {
        if !matches!(self.stage(id), Some(Stage::Authenticated { .. } | Stage::Active { .. })) {
            self.enter(id, Stage::Authenticated { missed: 0 }, None);
        }
    }

    /// A round trip took that many milliseconds, or (`None`) timed out. Gives the median of the last few.
    pub fn handle_ping_result(&mut self, now: Time, id: &str, round_trip_ms: Option<f64>) -> Option<f64> {
        let old = self.lives.get(id).map(|life| life.stage.clone())?;
        match (round_trip_ms, old) {
            (Some(ms), old) => {
                let mut samples = match old {
                    Stage::Active { samples, .. } => samples,
                    _ => Samples::new(PING_SAMPLES),
                };
                samples.push(ms);
                let median = samples.median();
                self.enter(id, Stage::Active { samples, missed: 0 }, None);
                median
            }
            (None, Stage::Authenticated { missed }) => {
                self.missed(now, id, Stage::Authenticated { missed: missed + 1 }, missed + 1);
                None
            }
            (None, Stage::Active { samples, missed }) => {
                let median = samples.median();
                self.missed(now, id, Stage::Active { samples, missed: missed + 1 }, missed + 1);
                median
            }
            (None, Stage::Discovered { .. } | Stage::Stale { .. }) => None,
        }
    }

    fn missed(&mut self, now: Time, id: &str, stage: Stage, missed: u32) {
        if missed < self.config.missed_max { self.enter(id, stage, None) } else { self.stale(now, id) }
    }

    /// The last link of a peer is gone.
    pub fn handle_disconnected(&mut self, now: Time, id: &str) {
        if matches!(self.stage(id), Some(Stage::Authenticated { .. } | Stage::Active { .. })) {
            self.stale(now, id);
        }
    }

    fn stale(&mut self, now: Time, id: &str) {
        self.enter(id, Stage::Stale { since: now, retries: 0 }, Some(now + self.config.retry_first));
        self.tell(LifecycleOutput::Stale { id: id.to_owned() });
    }

    /// A peer was removed.
    pub fn forget(&mut self, id: &str) {
        if let Some(deadline) = self.lives.remove(id).and_then(|life| life.deadline) {
            self.deadlines.remove(&(deadline, id.to_owned()));
        }
    }

    /// Time has passed. `evictable` says whether an entry may be removed; the ids given back are to
    /// be removed by the caller and are forgotten here.
    pub fn handle_timeout(&mut self, now: Now, rng: &mut Rng, evictable: impl Fn(&str) -> bool) -> Vec<String> {
        let mut evicted = Vec::new();
        while let Some((deadline, id)) = self.deadlines.first().cloned().filter(|(at, _)| *at <= now.mono) {
            self.deadlines.remove(&(deadline, id.clone()));
            let Some(life) = self.lives.get_mut(&id) else { continue };
            life.deadline = None;
            match life.stage {
                Stage::Stale { since, retries } => {
                    let may_go = evictable(&id);
                    if may_go && retries >= self.config.retries_max {
                        let due = since + self.config.evict_after;
                        if due <= now.mono {
                            self.evict(&id, &mut evicted);
                        } else {
                            self.enter(&id, Stage::Stale { since, retries }, Some(due));
                        }
                        continue;
                    }
                    let attempt = retries.saturating_add(1);
                    let pause = self.pause(attempt, rng);
                    self.enter(&id, Stage::Stale { since, retries: attempt }, Some(now.mono + pause));
                    self.tell(LifecycleOutput::Retry { id, attempt });
                }
                Stage::Discovered { .. } if evictable(&id) => self.evict(&id, &mut evicted),
                _ => {}
            }
        }
        evicted
    }

    fn evict(&mut self, id: &str, evicted: &mut Vec<String>) {
        self.forget(id);
        self.note_evicted(id);
        evicted.push(id.to_owned());
    }

    /// Tells that the registry removed an entry for lack of room.
    pub(super) fn note_evicted(&mut self, id: &str) {
        self.tell(LifecycleOutput::Evicted { id: id.to_owned() });
    }

    /// The pause after retry number `attempt`.
    fn pause(&self, attempt: u32, rng: &mut Rng) -> Duration {
        let doubled = self.config.retry_first.saturating_mul(1u32.checked_shl(attempt).unwrap_or(u32::MAX));
        let pause = doubled.min(self.config.retry_max);
        // 80 to 120 per cent, so that a farm that lost its switch does not come back in one wave.
        pause.saturating_mul(u32::try_from(80 + rng.below(41)).unwrap_or(100)) / 100
    }

    fn tell(&mut self, output: LifecycleOutput) {
        if self.outputs.len() >= OUTPUTS_MAX {
            self.outputs.pop_front();
        }
        self.outputs.push_back(output);
    }

    /// What is asked for, oldest first.
    pub fn poll_output(&mut self) -> Option<LifecycleOutput> {
        self.outputs.pop_front()
    }

    /// When [`Lifecycle::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn enter(&mut self, id: &str, stage: Stage, deadline: Option<Time>) {
        self.forget(id);
        if let Some(at) = deadline {
            self.deadlines.insert((at, id.to_owned()));
        }
        self.lives.insert(id.to_owned(), Life { stage, deadline });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;

    fn at(seconds: u64) -> Now {
        Now { mono: Time::from_millis(seconds * 1000), wall: Timestamp::from_unix(1_700_000_000, 0) }
    }

    #[test]
    fn a_peer_goes_from_discovered_over_active_to_stale_and_back() {
        let (mut life, mut rng) = (Lifecycle::default(), Rng::from_number(1));
        let word = |life: &Lifecycle| life.stage("a").map(Stage::word);
        life.handle_discovered(at(0).mono, "a");
        assert_eq!(word(&life), Some("discovered"));
        life.handle_authenticated("a");
        assert_eq!(word(&life), Some("authenticated"));
        for (ms, median) in [(10.0, 10.0), (30.0, 20.0), (900.0, 30.0)] {
            assert_eq!(life.handle_ping_result(at(1).mono, "a", Some(ms)), Some(median));
        }
        life.handle_authenticated("a");
        assert_eq!(word(&life), Some("active"), "a second link of an active peer measures on");
        for _ in 0..2 {
            assert_eq!(life.handle_ping_result(at(2).mono, "a", None), Some(30.0));
        }
        assert_eq!(word(&life), Some("active"));
        life.handle_ping_result(at(3).mono, "a", None);
        assert_eq!(word(&life), Some("stale"));
        assert_eq!(life.poll_output(), Some(LifecycleOutput::Stale { id: "a".into() }));
        assert_eq!(life.poll_timeout(), Some(at(8).mono));
        assert!(life.handle_timeout(at(8), &mut rng, |_| true).is_empty());
        assert_eq!(life.poll_output(), Some(LifecycleOutput::Retry { id: "a".into(), attempt: 1 }));
        life.handle_authenticated("a");
        assert_eq!((word(&life), life.poll_timeout()), (Some("authenticated"), None));
        life.handle_disconnected(at(9).mono, "a");
        assert_eq!(word(&life), Some("stale"));
    }

    /// Runs until nothing is due before `end`; gives the retries and whether "a" was evicted when.
    fn run(evictable: bool, seed: u64, end: Time) -> (u32, Option<Time>) {
        println!("seed {seed}");
        let (mut life, mut rng) = (Lifecycle::default(), Rng::from_number(seed));
        life.handle_authenticated("a");
        life.handle_disconnected(at(0).mono, "a");
        let (mut retries, mut last) = (0, Time::ZERO);
        while let Some(due) = life.poll_timeout().filter(|due| *due < end) {
            assert!(due - last <= Duration::from_secs(360) || retries == 12, "{due:?} {last:?}");
            last = due;
            let evicted = life.handle_timeout(Now { mono: due, ..at(0) }, &mut rng, |_| evictable);
            while let Some(output) = life.poll_output() {
                if let LifecycleOutput::Retry { attempt, .. } = output {
                    retries = attempt;
                }
            }
            if !evicted.is_empty() {
                assert!(life.stage("a").is_none());
                return (retries, Some(due));
            }
        }
        (retries, None)
    }

    #[test]
    fn what_made_itself_is_retried_and_then_evicted() {
        assert_eq!(run(true, 7, at(48 * 3600).mono), (12, Some(at(24 * 3600).mono)));
    }

    #[test]
    fn what_was_added_by_hand_is_retried_for_ever() {
        let (retries, evicted) = run(false, 8, at(48 * 3600).mono);
        assert!(retries > 400 && evicted.is_none(), "{retries}");
    }

    #[test]
    fn a_peer_that_never_proved_itself_goes_after_a_day() {
        let (mut life, mut rng) = (Lifecycle::default(), Rng::from_number(1));
        life.handle_discovered(at(0).mono, "a");
        life.handle_discovered(at(0).mono, "b");
        assert_eq!(life.handle_timeout(at(24 * 3600), &mut rng, |id| id == "a"), ["a"]);
        assert_eq!(life.stage("b").map(Stage::word), Some("discovered"));
        assert_eq!(life.poll_timeout(), None);
    }
}
