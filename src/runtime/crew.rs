//! A crew of threads for one piece of work: they live as long as the call.

use crate::base::{Crew, Job};
use parking_lot::Mutex;
use std::thread::{Builder, scope};

/// The most threads of a [`Cores`].
const HANDS_MAX: usize = 8;

/// The cores of this machine: splits work over the calling thread and helpers named `crew/<n>`, which
/// have ended when the call returns. Without threads to be had, the caller does everything itself.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    hands: usize,
}

impl Cores {
    /// So many at once, the calling thread included; 1 to 8.
    pub fn new(hands: usize) -> Cores {
        Cores { hands: hands.clamp(1, HANDS_MAX) }
    }

    /// Two, or one on a machine with one core: the others are the miners'.
    pub fn two() -> Cores {
        Cores::new(std::thread::available_parallelism().map_or(1, usize::from).min(2))
    }
}

impl Crew for Cores {
    fn hands(&self) -> usize {
        self.hands
    }

    fn run(&self, jobs: Vec<Job<'_>>) {
        let helpers = jobs.len().min(self.hands).saturating_sub(1);
        // Taken one by one, so that a helper that could not be started costs time and nothing else.
        let queue = Mutex::new(jobs.into_iter());
        let work = || {
            loop {
                let Some(job) = queue.lock().next() else { return };
                job();
            }
        };
        scope(|scope| {
            for n in 1..=helpers {
                if let Err(e) = Builder::new().name(format!("crew/{n}")).spawn_scoped(scope, work) {
                    log::warn!(target: "runtime", "cannot start the thread crew/{n}: {e}");
                    break;
                }
            }
            work();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_job_runs_once_whatever_their_number() {
        for (hands, count) in [(0, 3), (1, 0), (2, 1), (2, 2), (2, 40), (99, 3)] {
            let done: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            let jobs: Vec<Job<'_>> =
                done.iter().map(|d| Box::new(|| d.store(1, Ordering::Relaxed)) as Job<'_>).collect();
            Cores::new(hands).run(jobs);
            assert!(done.iter().all(|d| d.load(Ordering::Relaxed) == 1), "{hands} hands, {count} jobs");
        }
    }
}
