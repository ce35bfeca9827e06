//! Turns at the curve (secure-session.md §2, "Under load"): as many handshakes compute at the same time as there are cores,
//! the others wait for theirs. So a flood of handshakes takes its share of the cores and not the share of everything else:
//! the readers of open sessions and the dispatcher do not compete with hundreds of threads.

use crate::base::Refusal;
use parking_lot::{Condvar, Mutex};
use std::time::Instant;

/// So many turns at once.
#[derive(Debug)]
pub(crate) struct Turns {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A turn, which is over when this is dropped. Held for computing only, never across a socket.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a Turns);

impl Turns {
    /// At least one.
    pub(crate) fn new(at_once: usize) -> Turns {
        Turns { free: Mutex::new(at_once.max(1)), freed: Condvar::new() }
    }

    /// As many as there are cores.
    pub(crate) fn of_cores() -> Turns {
        Turns::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// Waits for a turn, until the handshake's deadline at most.
    ///
    /// # Errors
    /// [`Refusal::Limit`]: the deadline came first.
    pub(crate) fn take(&self, until: Instant) -> Result<Turn<'_>, Refusal> {
        let mut free = self.free.lock();
        while *free == 0 {
            if self.freed.wait_until(&mut free, until).timed_out() && *free == 0 {
                return Err(Refusal::Limit("too many handshakes at once".to_owned()));
            }
        }
        *free -= 1;
        Ok(Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn no_more_compute_at_once_than_there_are_turns_and_everybody_gets_one() {
        let (turns, now, most, done) = (Turns::new(3), AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| {
                    let turn = turns.take(Instant::now() + Duration::from_secs(30)).unwrap();
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(2));
                    now.fetch_sub(1, Ordering::SeqCst);
                    drop(turn);
                    done.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!((done.into_inner(), *turns.free.lock()), (40, 3));
        assert!(most.into_inner() <= 3);
    }

    #[test]
    fn who_waits_in_vain_gives_up_at_its_deadline() {
        let turns = Turns::new(0);
        let held = turns.take(Instant::now()).unwrap();
        let begun = Instant::now();
        assert!(turns.take(begun + Duration::from_millis(30)).is_err());
        assert!(begun.elapsed() >= Duration::from_millis(30));
        drop(held);
        assert!(turns.take(Instant::now()).is_ok());
    }
}
