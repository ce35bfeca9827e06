//! The threads that shake hands. To start a thread and to end it costs as much as a fifth of a handshake, so one that is
//! done waits a moment for the next.

use crate::base::Result;
use crate::runtime::threads::{STACK_HANDSHAKE, Threads};
use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// How long a thread waits: as long as its stack stays resident for nothing.
const WAIT: Duration = Duration::from_millis(500);

type Job = Box<dyn FnOnce() + Send>;

/// As many threads as there are handshakes, of which a few wait for the next one.
pub(crate) struct HandshakePool {
    threads: Arc<Threads>,
    wait: Duration,
    idle: Mutex<Idle>,
}

struct Idle {
    /// One for each thread that waits; nothing is the word to end. Whoever takes one out of here sends at once.
    hands: Vec<Sender<Option<Job>>>,
    /// So many may wait; none once the node stops.
    most: usize,
}

impl HandshakePool {
    /// As many threads wait as there are cores: more handshakes do not compute at once.
    pub(crate) fn new(threads: Arc<Threads>) -> Arc<HandshakePool> {
        HandshakePool::with(threads, WAIT, std::thread::available_parallelism().map_or(1, usize::from))
    }

    fn with(threads: Arc<Threads>, wait: Duration, most: usize) -> Arc<HandshakePool> {
        Arc::new(HandshakePool { threads, wait, idle: Mutex::new(Idle { hands: Vec::new(), most }) })
    }

    /// Has it done by a thread that waits, or by a new one; returns at once.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn run(self: &Arc<Self>, job: impl FnOnce() + Send + 'static) -> Result<()> {
        let job: Job = Box::new(job);
        let idle = self.idle.lock().hands.pop();
        let left = match idle {
            None => Some(job),
            // It comes back only from a thread that is gone, which none of those that wait is.
            Some(hand) => hand.send(Some(job)).err().and_then(|back| back.into_inner()),
        };
        let Some(job) = left else { return Ok(()) };
        let me = self.clone();
        self.threads.spawn("hs", STACK_HANDSHAKE, move || me.work(job))
    }

    fn work(&self, mut job: Job) {
        let (hand, jobs) = bounded(1);
        loop {
            job();
            {
                let mut idle = self.idle.lock();
                if idle.hands.len() >= idle.most {
                    return;
                }
                idle.hands.push(hand.clone());
            }
            let next = jobs.recv_timeout(self.wait).ok().or_else(|| {
                let mut idle = self.idle.lock();
                if let Some(at) = idle.hands.iter().position(|other| other.same_channel(&hand)) {
                    idle.hands.swap_remove(at);
                    return None;
                }
                // Somebody has just taken it out.
                drop(idle);
                jobs.recv().ok()
            });
            match next.flatten() {
                Some(next) => job = next,
                None => return,
            }
        }
    }

    /// Nobody waits any longer: the node stops.
    pub(crate) fn stop(&self) {
        let hands = {
            let mut idle = self.idle.lock();
            idle.most = 0;
            std::mem::take(&mut idle.hands)
        };
        for hand in hands {
            let _ = hand.send(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;
    use std::thread::ThreadId;

    const LONG: Duration = Duration::from_secs(600);

    fn done_by(pool: &Arc<HandshakePool>) -> ThreadId {
        let (tell, told) = unbounded();
        pool.run(move || tell.send(std::thread::current().id()).unwrap()).unwrap();
        told.recv().unwrap()
    }

    fn await_idle(pool: &HandshakePool, count: usize) {
        while pool.idle.lock().hands.len() != count {
            std::thread::yield_now();
        }
    }

    #[test]
    fn who_is_done_takes_the_next_and_nobody_waits_once_the_node_stops() {
        let threads = Arc::new(Threads::default());
        let pool = HandshakePool::with(threads.clone(), LONG, 1);
        let first = done_by(&pool);
        await_idle(&pool, 1);
        assert_eq!(done_by(&pool), first);
        // While it works, another one does; of the two only one waits afterwards.
        await_idle(&pool, 1);
        let (hold, held) = unbounded::<()>();
        pool.run(move || assert!(held.recv().is_err())).unwrap();
        assert_ne!(done_by(&pool), first);
        await_idle(&pool, 1);
        drop(hold);
        pool.stop();
        threads.join_all();
        let late = done_by(&pool);
        threads.join_all();
        assert_ne!(late, first);
    }

    #[test]
    fn nothing_is_lost_when_threads_end_as_they_are_taken() {
        let threads = Arc::new(Threads::default());
        let pool = HandshakePool::with(threads.clone(), Duration::ZERO, 2);
        let (tell, told) = unbounded();
        for n in 0..2000 {
            let tell = tell.clone();
            pool.run(move || tell.send(n).unwrap()).unwrap();
        }
        let mut heard: Vec<i32> = told.iter().take(2000).collect();
        heard.sort_unstable();
        assert!(heard.iter().copied().eq(0..2000));
        threads.join_all();
    }

    #[test]
    fn a_panic_ends_one_thread_and_no_other() {
        let threads = Arc::new(Threads::default());
        let pool = HandshakePool::with(threads.clone(), LONG, 1);
        pool.run(|| panic!("meant")).unwrap();
        threads.join_all();
        done_by(&pool);
        pool.stop();
        threads.join_all();
    }
}
