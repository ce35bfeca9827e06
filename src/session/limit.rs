//! Limiters and memories of ids. All take the time as an argument.

use crate::base::Time;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// The Go node's limiter, fact for fact (mesh.md §3): starts full, refills only for *whole*
/// elapsed seconds and forgets the fraction. Our pacer runs it on our own send times, so that a
/// Go receiver never drops what we send. Also the API page's `PeerRateLimiter`.
#[derive(Clone, Debug)]
pub struct PeerRateLimiter {
    tokens: u64,
    max: u64,
    refill_per_s: u64,
    last: Time,
}

impl PeerRateLimiter {
    /// `max` tokens to begin with and at most, `refill_per_s` a second.
    pub fn new(now: Time, max: u64, refill_per_s: u64) -> PeerRateLimiter {
        PeerRateLimiter { tokens: max, max, refill_per_s, last: now }
    }

    /// Takes one token; `false` when there is none.
    pub fn allow(&mut self, now: Time) -> bool {
        self.refill(now);
        let allowed = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        allowed
    }

    /// When [`PeerRateLimiter::allow`] can next say yes; `now` or earlier means at once.
    pub fn ready_at(&self, now: Time) -> Time {
        let whole = now.since(self.last).as_secs();
        if self.tokens > 0 || (whole > 0 && self.refill_per_s > 0) { now } else { self.last + Duration::from_secs(1) }
    }

    /// Tokens left.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    fn refill(&mut self, now: Time) {
        let add = now.since(self.last).as_secs().saturating_mul(self.refill_per_s);
        if add > 0 {
            self.tokens = self.tokens.saturating_add(add).min(self.max);
            self.last = now;
        }
    }
}

/// The Go limiter at the other end, as far as we can know it: when it began to count is unknown
/// within a second, and that phase decides which fractions it forgets. So every sixteenth of a
/// second is tried at once, and a message goes only when all of them would take it.
#[derive(Clone, Debug)]
pub(crate) struct AnyPhase {
    phases: Box<[PeerRateLimiter]>,
}

/// Phases tried.
const PHASES: u64 = 16;
/// Keeps phases before our own beginning representable.
const SHIFT: Duration = Duration::from_secs(1);

impl AnyPhase {
    pub(crate) fn new(now: Time, max: u64, refill_per_s: u64) -> AnyPhase {
        let begun = |k: u64| now + SHIFT.saturating_sub(Duration::from_micros(k * MICRO / PHASES));
        AnyPhase { phases: (0..PHASES).map(|k| PeerRateLimiter::new(begun(k), max, refill_per_s)).collect() }
    }

    /// Takes one token from every phase, or none at all.
    pub(crate) fn allow(&mut self, now: Time) -> bool {
        let now = now + SHIFT;
        self.phases.iter_mut().for_each(|limiter| limiter.refill(now));
        let allowed = self.phases.iter().all(|limiter| limiter.tokens > 0);
        if allowed {
            self.phases.iter_mut().for_each(|limiter| limiter.tokens -= 1);
        }
        allowed
    }

    /// How long until [`AnyPhase::allow`] may next say yes.
    pub(crate) fn ready_at(&self, now: Time) -> Time {
        let shifted = now + SHIFT;
        let wait = self.phases.iter().map(|limiter| limiter.ready_at(shifted).since(shifted)).max();
        now + wait.unwrap_or_default()
    }
}

/// A continuous token bucket. With the same numbers it is never stricter than
/// [`PeerRateLimiter`]: fractions of a second count.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Micro-tokens, so that slow refills do not round to nothing.
    level: u64,
    burst: u64,
    rate_per_s: u64,
    last: Time,
}

const MICRO: u64 = 1_000_000;

impl Bucket {
    /// `burst` tokens to begin with and at most, `rate_per_s` a second.
    pub fn new(now: Time, burst: u64, rate_per_s: u64) -> Bucket {
        Bucket { level: burst.saturating_mul(MICRO), burst, rate_per_s, last: now }
    }

    /// Takes `n` tokens, or none and says how long until they are there.
    pub fn take(&mut self, now: Time, n: u64) -> Result<(), Duration> {
        self.refill(now);
        let need = n.saturating_mul(MICRO);
        if self.level >= need {
            self.level -= need;
            return Ok(());
        }
        let missing = need - self.level;
        Err(Duration::from_micros(missing.div_ceil(self.rate_per_s.max(1))))
    }

    /// Takes `n` tokens in any case, and says how long to wait before the next are taken.
    pub fn take_late(&mut self, now: Time, n: u64) -> Duration {
        let Err(wait) = self.take(now, n) else { return Duration::ZERO };
        // What comes in while waiting is spent already.
        (self.level, self.last) = (0, now + wait);
        wait
    }

    /// Changes the numbers; what was saved up is kept up to the new burst, and a larger burst is granted at once.
    pub fn set(&mut self, now: Time, burst: u64, rate_per_s: u64) {
        self.refill(now);
        let more = burst.saturating_sub(self.burst).saturating_mul(MICRO);
        (self.burst, self.rate_per_s) = (burst, rate_per_s);
        self.level = self.level.saturating_add(more).min(burst.saturating_mul(MICRO));
    }

    fn refill(&mut self, now: Time) {
        let elapsed = now.as_micros().saturating_sub(self.last.as_micros());
        self.last = self.last.max(now);
        self.level =
            self.level.saturating_add(elapsed.saturating_mul(self.rate_per_s)).min(self.burst.saturating_mul(MICRO));
    }
}

/// The API page's `MessageDeduplicator`: ids with a time to live, kept by the embedder. `is_duplicate` never
/// marks; a hit does not refresh; an id expires strictly after the time to live; with a time to live of zero
/// `is_duplicate` never forgets, but `cleanup` drops everything. Unlike the Go node's it is bounded: the oldest
/// id goes first.
#[derive(Debug)]
pub struct MessageDeduplicator {
    ttl: Duration,
    max: usize,
    ids: BTreeMap<String, Time>,
    order: VecDeque<(Time, String)>,
}

impl MessageDeduplicator {
    /// Remembers ids for `ttl`, at most 65,536 of them.
    pub fn new(ttl: Duration) -> MessageDeduplicator {
        MessageDeduplicator { ttl, max: 65_536, ids: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Whether `id` was marked and has not expired.
    pub fn is_duplicate(&self, now: Time, id: &str) -> bool {
        self.ids.get(id).is_some_and(|at| self.ttl.is_zero() || now.since(*at) <= self.ttl)
    }

    /// Remembers `id` from `now` on.
    pub fn mark(&mut self, now: Time, id: &str) {
        self.ids.insert(id.to_owned(), now);
        self.order.push_back((now, id.to_owned()));
        while self.order.len() > self.max {
            self.drop_oldest();
        }
    }

    /// Forgets what has expired.
    pub fn cleanup(&mut self, now: Time) {
        while self.order.front().is_some_and(|(at, _)| self.ttl.is_zero() || now.since(*at) > self.ttl) {
            self.drop_oldest();
        }
    }

    /// How many ids are remembered.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn drop_oldest(&mut self) {
        if let Some((at, id)) = self.order.pop_front()
            && self.ids.get(&id) == Some(&at)
        {
            self.ids.remove(&id);
        }
    }
}

/// A short digest of an id: 16 bytes whatever the length a peer chose.
pub(crate) fn digest(id: &str) -> [u8; 16] {
    let full: [u8; 32] = Sha256::digest(id.as_bytes()).into();
    let mut short = [0; 16];
    short.copy_from_slice(full.split_at(16).0);
    short
}

/// The ids one connection has shown us lately: bounded by count and age, so that no peer can
/// push out another's.
#[derive(Debug, Default)]
pub struct SeenIds {
    order: VecDeque<(Time, [u8; 16])>,
    set: BTreeSet<[u8; 16]>,
}

/// How long an id is remembered on a connection (mesh.md §3).
const SEEN_TTL: Duration = Duration::from_secs(300);
/// Ids remembered on a connection.
const SEEN_MAX: usize = 1024;

impl SeenIds {
    /// Remembers `id`; `false` when it was there already.
    pub fn insert(&mut self, now: Time, id: &str) -> bool {
        while self.order.front().is_some_and(|(at, _)| now.since(*at) > SEEN_TTL) || self.order.len() >= SEEN_MAX {
            if let Some((_, old)) = self.order.pop_front() {
                self.set.remove(&old);
            }
        }
        let short = digest(id);
        let new = self.set.insert(short);
        if new {
            self.order.push_back((now, short));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn gos_limiter_forgets_the_fraction_of_a_second() {
        let mut limiter = PeerRateLimiter::new(at(0), 100, 50);
        assert_eq!((0..120).filter(|_| limiter.allow(at(0))).count(), 100);
        assert!(!limiter.allow(at(999)));
        assert_eq!(limiter.ready_at(at(999)), at(1000));
        assert_eq!((0..120).filter(|_| limiter.allow(at(1900))).count(), 50);
        assert!(!limiter.allow(at(2000)), "the 900 ms are lost");
    }

    #[test]
    fn the_continuous_bucket_is_never_stricter_than_gos() {
        let seed = 11;
        let mut rng = Rng::from_number(seed);
        let (mut go, mut ours, mut now) = (PeerRateLimiter::new(at(0), 10, 5), Bucket::new(at(0), 10, 5), 0);
        for _ in 0..10_000 {
            now += rng.below(400);
            if go.allow(at(now)) {
                assert!(ours.take(at(now), 1).is_ok(), "seed {seed} at {now} ms");
            }
        }
    }

    #[test]
    fn a_bucket_says_how_long_to_wait() {
        let mut bucket = Bucket::new(at(0), 1, 2);
        assert_eq!(bucket.take(at(0), 1), Ok(()));
        assert_eq!(bucket.take(at(0), 1), Err(Duration::from_millis(500)));
        assert_eq!(bucket.take(at(500), 1), Ok(()));
    }

    #[test]
    fn seen_ids_are_bounded_by_count_and_age() {
        let mut seen = SeenIds::default();
        assert!(seen.insert(at(0), "a") && !seen.insert(at(300_000), "a"));
        assert!(seen.insert(at(300_001), "a"), "expired after five minutes");
        for i in 0..5000 {
            seen.insert(at(300_001), &i.to_string());
        }
        assert!(seen.order.len() <= SEEN_MAX && seen.set.len() == seen.order.len());
    }
}
