//! Waiting for the other side's next word in a handshake. A thread that sleeps is woken late, up to 50 µs on another core,
//! and a handshake waits five times: so while there are few of them, their threads yield for a moment before they sleep.
//! When a farm comes back all at once the cores have better things to do, and everybody sleeps.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::cell::Cell;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long it yields: about as long as the other side's curve work takes.
const YIELD_MAX: Duration = Duration::from_micros(150);
/// How often, in one handshake.
const WAITS_MAX: u8 = 8;

/// The handshakes of a node that are under way.
#[derive(Debug)]
pub(crate) struct Eager {
    under_way: AtomicUsize,
    few: usize,
}

/// One of them, until this is dropped.
#[derive(Debug)]
pub(crate) struct Eagerness {
    all: Arc<Eager>,
    /// Who sends byte after byte is not waited for like this for ever.
    waits: Cell<u8>,
}

impl Eager {
    /// So many are few: none on a machine that should save power.
    pub(crate) fn new(few: usize) -> Arc<Eager> {
        Arc::new(Eager { under_way: AtomicUsize::new(0), few })
    }

    /// As many as there are cores.
    pub(crate) fn of_cores() -> Arc<Eager> {
        Eager::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// A handshake begins.
    pub(crate) fn begin(self: &Arc<Self>) -> Eagerness {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Eagerness { all: self.clone(), waits: Cell::new(WAITS_MAX) }
    }
}

impl Eagerness {
    /// Yields until there is something to read, for a moment at most.
    pub(super) fn await_input(&self, socket: &TcpStream) {
        let Some(left) = self.waits.get().checked_sub(1) else { return };
        self.waits.set(left);
        let begun = Instant::now();
        while self.all.under_way.load(Ordering::Relaxed) <= self.all.few && !is_readable(socket) {
            if begun.elapsed() >= YIELD_MAX {
                return;
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Eagerness {
    fn drop(&mut self) {
        self.all.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a read would return at once, be it with an error.
fn is_readable(socket: &TcpStream) -> bool {
    poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::net::TcpListener;

    #[test]
    fn a_handshake_waits_for_a_moment_a_few_times_and_not_at_all_among_many() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        let eager = Eager::new(1);
        let (first, second) = (eager.begin(), eager.begin());
        first.await_input(&far); // two are many here
        drop(second);
        while first.waits.get() > 1 {
            first.await_input(&far); // in vain
        }
        near.write_all(b"x").unwrap();
        while !is_readable(&far) {
            std::thread::yield_now();
        }
        first.await_input(&far);
        first.await_input(&far);
        assert_eq!(first.waits.get(), 0);
        drop((first, near));
        assert_eq!(eager.under_way.load(Ordering::Relaxed), 0);
        assert!(is_readable(&far));
    }
}
