//! Hashrates over XMRig's three windows: 10 s, 60 s, 15 min.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const WINDOWS_S: [u64; 3] = [10, 60, 900];
/// One sample a second for the longest window.
const SAMPLES_MAX: usize = 901;

/// Samples of a hash counter.
#[derive(Debug)]
pub(super) struct Rates {
    start: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    samples: VecDeque<(Instant, u64)>,
    highest: f64,
}

impl Rates {
    pub(super) fn start() -> Rates {
        Rates::start_at(Instant::now())
    }

    fn start_at(start: Instant) -> Rates {
        Rates { start, inner: Mutex::new(Inner { samples: VecDeque::from([(start, 0)]), highest: 0.0 }) }
    }

    /// Takes a sample of the counter.
    pub(super) fn tick(&self, now: Instant, hashes: u64) {
        let mut inner = self.inner.lock();
        inner.samples.push_back((now, hashes));
        if inner.samples.len() > SAMPLES_MAX {
            inner.samples.pop_front();
        }
        let recent = inner.rate(WINDOWS_S[0]).unwrap_or(0.0);
        inner.highest = inner.highest.max(recent);
    }

    pub(super) fn uptime_s(&self) -> u64 {
        self.start.elapsed().as_secs()
    }

    /// The three windows. The long ones are unknown until they have filled, as with XMRig; the short one counts
    /// from the first second, so that a demonstration need not wait for it.
    pub(super) fn windows(&self) -> [Option<f64>; 3] {
        let inner = self.inner.lock();
        let filled = |window: u64| inner.age() >= Duration::from_secs(window);
        WINDOWS_S.map(|window| (window == WINDOWS_S[0] || filled(window)).then(|| inner.rate(window)).flatten())
    }

    /// Over the shortest window; 0 before the first sample.
    pub(super) fn recent(&self) -> f64 {
        self.inner.lock().rate(WINDOWS_S[0]).unwrap_or(0.0)
    }

    pub(super) fn highest(&self) -> f64 {
        self.inner.lock().highest
    }

    /// The windows as a miner prints them.
    pub(super) fn shown(&self) -> String {
        self.windows().map(|rate| rate.map_or("n/a".into(), |rate| format!("{rate:.1}"))).join(" ")
    }
}

impl Inner {
    fn age(&self) -> Duration {
        match (self.samples.front(), self.samples.back()) {
            (Some((first, _)), Some((last, _))) => *last - *first,
            _ => Duration::ZERO,
        }
    }

    /// Mean over the last `window` seconds, or over what there is of them.
    fn rate(&self, window: u64) -> Option<f64> {
        let (last, to) = self.samples.back()?;
        let (first, from) = self.samples.iter().find(|(at, _)| *last - *at <= Duration::from_secs(window))?;
        let seconds = (*last - *first).as_secs_f64();
        #[allow(clippy::cast_precision_loss)]
        let hashes = to.saturating_sub(*from) as f64;
        (seconds > 0.0).then(|| hashes / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_windows_are_unknown_until_they_have_filled() {
        let start = Instant::now();
        let rates = Rates::start_at(start);
        assert_eq!((rates.windows(), rates.shown().as_str()), ([None; 3], "n/a n/a n/a"));
        for second in 1..=59 {
            rates.tick(start + Duration::from_secs(second), second * 100);
            assert_eq!(rates.windows(), [Some(100.0), None, None]);
        }
        for second in 60..=899 {
            rates.tick(start + Duration::from_secs(second), 5900 + (second - 59) * 50);
        }
        assert_eq!(rates.windows(), [Some(50.0), Some(50.0), None]);
        for second in 900..2000 {
            rates.tick(start + Duration::from_secs(second), 5900 + (second - 59) * 50);
        }
        assert_eq!((rates.windows(), rates.highest()), ([Some(50.0); 3], 100.0));
    }
}
