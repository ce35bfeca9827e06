//! Who sends forgeries: a score for each source that decays with time, and a pause for those who pass the threshold.

use crate::base::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a wrong HMAC adds to its sender's score.
pub const THREAT_PER_MISMATCH: u32 = 100;

/// The numbers of [`Threats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreatLimits {
    /// A source whose score is above this is refused; the same number as for a packet's own score.
    pub threshold: u32,
    /// Points by which a score falls in a minute, a hundred. Not zero: that counts as one.
    pub decay_per_min: u32,
    /// How long a source is refused, ten minutes.
    pub refused_for: Duration,
    /// Sources remembered, 4,096; the least dangerous is forgotten for another.
    pub sources_max: usize,
}

impl Default for ThreatLimits {
    fn default() -> ThreatLimits {
        ThreatLimits { threshold: 50_000, decay_per_min: 100, refused_for: Duration::from_secs(600), sources_max: 4096 }
    }
}

/// How a source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may go on; its score, 0 to the threshold, rounded up.
    Admitted(u32),
    /// It passed the threshold and is refused until then. Its score is zero after that.
    RefusedUntil(Time),
}

/// Scores of sources: peers by key, plain connections by address, whatever `S` is.
#[derive(Debug)]
pub struct Threats<S> {
    limits: ThreatLimits,
    sources: BTreeMap<S, Threat>,
}

#[derive(Clone, Copy, Debug)]
enum Threat {
    /// The moment at which the score will have decayed to nothing: the one number that says it at any time.
    GoneAt(Time),
    RefusedUntil(Time),
}

impl<S: Ord + Clone> Threats<S> {
    /// Nobody is suspect.
    pub fn new(limits: ThreatLimits) -> Threats<S> {
        Threats { limits, sources: BTreeMap::new() }
    }

    /// A packet from `source` had a wrong HMAC. See [`Threats::raise`].
    pub fn handle_mismatch(&mut self, now: Time, source: &S) -> Standing {
        self.raise(now, source, THREAT_PER_MISMATCH)
    }

    /// Raises the score of `source` by `points`. When it is refused afterwards, its connection is to be closed. What a refused
    /// source does makes its pause no longer.
    pub fn raise(&mut self, now: Time, source: &S, points: u32) -> Standing {
        let refused = match self.standing(now, source) {
            Standing::RefusedUntil(_) => return self.standing(now, source),
            Standing::Admitted(_) => now + self.limits.refused_for,
        };
        let gone_at = match self.sources.get(source) {
            Some(Threat::GoneAt(at)) => (*at).max(now),
            _ => now,
        };
        let gone_at = gone_at + self.worth(points);
        let passed = gone_at.since(now) > self.worth(self.limits.threshold);
        if !self.sources.contains_key(source) && self.sources.len() >= self.limits.sources_max.max(1) {
            self.forget_one(now);
        }
        self.sources
            .insert(source.clone(), if passed { Threat::RefusedUntil(refused) } else { Threat::GoneAt(gone_at) });
        self.standing(now, source)
    }

    /// How a source stands.
    pub fn standing(&self, now: Time, source: &S) -> Standing {
        self.sources.get(source).map_or(Standing::Admitted(0), |threat| self.seen_at(now, *threat))
    }

    /// Whether a source is refused now.
    pub fn is_refused(&self, now: Time, source: &S) -> bool {
        matches!(self.standing(now, source), Standing::RefusedUntil(_))
    }

    /// Every source that is refused or whose score is not zero, in the order of `S`.
    pub fn list(&self, now: Time) -> impl Iterator<Item = (&S, Standing)> {
        let seen = self.sources.iter().map(move |(source, threat)| (source, self.seen_at(now, *threat)));
        seen.filter(|(_, standing)| *standing != Standing::Admitted(0))
    }

    /// Forgets everybody who is harmless again.
    pub fn handle_timeout(&mut self, now: Time) {
        self.sources.retain(|_, threat| threat.until() > now);
    }

    /// When [`Threats::handle_timeout`] has something to forget.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.sources.values().map(|threat| threat.until()).min()
    }

    fn seen_at(&self, now: Time, threat: Threat) -> Standing {
        match threat {
            Threat::RefusedUntil(until) if until > now => Standing::RefusedUntil(until),
            Threat::RefusedUntil(_) => Standing::Admitted(0),
            Threat::GoneAt(at) => {
                let points = at.since(now).as_micros().div_ceil(self.worth(1).as_micros().max(1));
                Standing::Admitted(u32::try_from(points).unwrap_or(u32::MAX))
            }
        }
    }

    /// How long that many points take to decay.
    fn worth(&self, points: u32) -> Duration {
        let micros = u64::from(points) * 60_000_000 / u64::from(self.limits.decay_per_min.max(1));
        Duration::from_micros(micros)
    }

    /// Makes room: who is harmless soonest goes, but nobody who is refused while there is anybody else.
    fn forget_one(&mut self, now: Time) {
        self.handle_timeout(now);
        if self.sources.len() < self.limits.sources_max.max(1) {
            return;
        }
        let rank = |threat: &Threat| (matches!(threat, Threat::RefusedUntil(_)), threat.until());
        let least = self.sources.iter().min_by_key(|(_, threat)| rank(threat)).map(|(source, _)| source.clone());
        if let Some(source) = least {
            self.sources.remove(&source);
        }
    }
}

impl Threat {
    /// When it is as if nothing had been.
    fn until(self) -> Time {
        match self {
            Threat::GoneAt(at) | Threat::RefusedUntil(at) => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn a_wrong_hmac_is_a_hundred_points_that_are_gone_in_a_minute() {
        let mut threats = Threats::new(ThreatLimits::default());
        assert_eq!(threats.handle_mismatch(at(10), &"a"), Standing::Admitted(100));
        assert_eq!(threats.handle_mismatch(at(40), &"a"), Standing::Admitted(150));
        assert_eq!(threats.standing(at(70), &"a"), Standing::Admitted(100));
        assert_eq!(threats.list(at(70)).collect::<Vec<_>>(), [(&"a", Standing::Admitted(100))]);
        assert_eq!((threats.standing(at(130), &"a"), threats.standing(at(40), &"b")), {
            (Standing::Admitted(0), Standing::Admitted(0))
        });
        assert_eq!(threats.poll_timeout(), Some(at(130)));
        threats.handle_timeout(at(129));
        assert_eq!(threats.poll_timeout(), Some(at(130)));
        threats.handle_timeout(at(130));
        assert_eq!(threats.poll_timeout(), None);
    }

    #[test]
    fn who_passes_the_threshold_is_refused_for_ten_minutes_and_begins_anew() {
        let mut threats = Threats::new(ThreatLimits::default());
        for n in 1..=500 {
            assert_eq!(threats.handle_mismatch(at(1), &7), Standing::Admitted(n * 100));
        }
        let until = Standing::RefusedUntil(at(601));
        assert_eq!(threats.raise(at(1), &7, 1), until);
        // More of the same changes nothing.
        assert_eq!(threats.handle_mismatch(at(300), &7), until);
        assert!(threats.is_refused(at(600), &7) && !threats.is_refused(at(601), &7) && !threats.is_refused(at(1), &8));
        assert_eq!(threats.handle_mismatch(at(601), &7), Standing::Admitted(100));
    }

    #[test]
    fn a_flood_of_sources_does_not_free_a_refused_one() {
        let limits = ThreatLimits { threshold: 250, sources_max: 4, ..ThreatLimits::default() };
        let mut threats = Threats::new(limits);
        for _ in 0..3 {
            threats.handle_mismatch(at(0), &0);
        }
        for source in 1..1000 {
            threats.handle_mismatch(at(1), &source);
        }
        assert_eq!(threats.list(at(1)).count(), 4);
        assert!(threats.is_refused(at(1), &0));
        let tiny = ThreatLimits { sources_max: 0, decay_per_min: 0, ..limits };
        assert_eq!(Threats::new(tiny).raise(at(0), &1, u32::MAX), Standing::RefusedUntil(at(600)));
    }
}
