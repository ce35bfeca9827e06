//! The real clocks and the real randomness: the one place where they are read.

use crate::base::{Error, Now, Result, Rng, Time, Timestamp};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Both clocks of a running node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        Now { mono: self.mono(), wall: wall() }
    }

    pub(crate) fn mono(&self) -> Time {
        Time::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The instant at which [`Clock::mono`] will show `at`: for waits with a deadline.
    pub(crate) fn instant(&self, at: Time) -> Instant {
        self.start + at.since(Time::ZERO)
    }
}

/// The wall clock, UTC. A clock before 1970 reads as 1970.
pub(crate) fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}

/// A generator seeded by the operating system.
///
/// # Errors
/// [`Error::Failed`] when the system gives no randomness.
pub fn system_rng() -> Result<Rng> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| Error::Failed(format!("the system gives no randomness: {e}")))?;
    Ok(Rng::from_seed(seed))
}
