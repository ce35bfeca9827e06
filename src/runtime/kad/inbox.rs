//! What waits for the machine's thread: its owner's wishes and datagrams. Unlike a channel it takes memory for what waits
//! only, and nothing when nothing does; a process may run many nodes.

use crate::base::{Error, Result};
use crate::kad::DATAGRAM_BYTES_MAX;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Wishes that wait; further callers wait for a place.
const WISHES_MAX: usize = 64;
/// Datagrams that wait.
const DATAGRAMS_MAX: usize = 2048;
/// Datagrams for which there is room at once. This list and the buffer of a datagram have more than a kilobyte each: of
/// smaller blocks glibc keeps seven of every size for each thread that ever freed them, and those take more than the node.
const ROOM: usize = 32;

/// See the head of the module. One thread takes, any number put in.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    queues: Mutex<Queues<T>>,
    /// A wish was taken, or the end has come.
    room: Condvar,
    /// Who takes.
    taker: OnceLock<Thread>,
}

#[derive(Debug)]
struct Queues<T> {
    wishes: VecDeque<T>,
    datagrams: VecDeque<(SocketAddr, Vec<u8>)>,
    closed: bool,
}

impl<T> Inbox<T> {
    pub(super) fn new() -> Inbox<T> {
        let (wishes, datagrams) = (VecDeque::new(), VecDeque::new());
        let queues = Queues { wishes, datagrams, closed: false };
        Inbox { queues: Mutex::new(queues), room: Condvar::new(), taker: OnceLock::new() }
    }

    /// This thread takes from now on.
    pub(super) fn take_over(&self) {
        let _ = self.taker.set(thread::current());
    }

    /// Whether this thread is the one that takes.
    pub(super) fn is_taker(&self) -> bool {
        self.taker.get().is_some_and(|taker| taker.id() == thread::current().id())
    }

    /// Puts a wish in; when there are too many it waits for a place.
    ///
    /// # Errors
    /// [`Error::Busy`] when none became free `within` this time, [`Error::ShuttingDown`] after the end.
    pub(super) fn wish(&self, wish: T, within: Duration) -> Result<()> {
        let until = Instant::now().checked_add(within);
        let mut queues = self.queues.lock();
        while queues.wishes.len() >= WISHES_MAX && !queues.closed {
            match until {
                None => self.room.wait(&mut queues),
                Some(until) if self.room.wait_until(&mut queues, until).timed_out() => return Err(Error::Busy),
                Some(_) => {}
            }
        }
        if queues.closed {
            return Err(Error::ShuttingDown);
        }
        queues.wishes.push_back(wish);
        drop(queues);
        self.wake();
        Ok(())
    }

    /// Puts a datagram in. False when it was dropped, because too many wait.
    pub(super) fn datagram(&self, from: SocketAddr, bytes: &[u8]) -> bool {
        let mut queues = self.queues.lock();
        if queues.datagrams.len() >= DATAGRAMS_MAX {
            return false;
        }
        if !queues.closed {
            if queues.datagrams.is_empty() {
                queues.datagrams.reserve_exact(ROOM);
            }
            let mut datagram = Vec::with_capacity(DATAGRAM_BYTES_MAX);
            datagram.extend_from_slice(bytes);
            queues.datagrams.push_back((from, datagram));
        }
        drop(queues);
        self.wake();
        true
    }

    /// No more wishes; those that are there are still to be taken.
    pub(super) fn close(&self) {
        self.queues.lock().closed = true;
        self.room.notify_all();
        self.wake();
    }

    fn wake(&self) {
        // A taker that has not begun yet looks before it waits.
        if let Some(taker) = self.taker.get() {
            taker.unpark();
        }
    }

    /// The next wish.
    pub(super) fn take_wish(&self) -> Option<T> {
        let mut queues = self.queues.lock();
        let wish = queues.wishes.pop_front()?;
        drop(queues);
        self.room.notify_one();
        Some(wish)
    }

    /// The next datagram.
    pub(super) fn take_datagram(&self) -> Option<(SocketAddr, Vec<u8>)> {
        let mut queues = self.queues.lock();
        let datagram = queues.datagrams.pop_front()?;
        if queues.datagrams.is_empty() {
            queues.datagrams = VecDeque::new();
        }
        Some(datagram)
    }

    /// Whether the end has come and everything that was wished for was taken.
    pub(super) fn is_over(&self) -> bool {
        let queues = self.queues.lock();
        queues.closed && queues.wishes.is_empty()
    }

    /// Whether there is something to take, or the end has come. Whoever puts something in afterwards wakes the thread that
    /// takes.
    pub(super) fn is_ready(&self) -> bool {
        let queues = self.queues.lock();
        !queues.wishes.is_empty() || !queues.datagrams.is_empty() || queues.closed
    }

    /// Nobody will take any more: what is left is dropped, so that whoever waits for an answer hears of it.
    pub(super) fn abandon(&self) {
        self.close();
        let mut queues = self.queues.lock();
        let (wishes, datagrams) = (std::mem::take(&mut queues.wishes), std::mem::take(&mut queues.datagrams));
        drop(queues);
        drop((wishes, datagrams));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn from() -> SocketAddr {
        ([127, 0, 0, 1], 1).into()
    }

    #[test]
    fn what_was_put_in_comes_out_in_order_and_both_queues_are_bounded() {
        let inbox = Inbox::new();
        for i in 0..WISHES_MAX {
            inbox.wish(i, Duration::ZERO).unwrap();
        }
        assert_eq!(inbox.wish(64, Duration::from_millis(1)), Err(Error::Busy));
        assert_eq!(inbox.take_wish(), Some(0));
        inbox.wish(64, Duration::ZERO).unwrap();
        let accepted = (0..3000u32).filter(|i| inbox.datagram(from(), &i.to_be_bytes())).count();
        assert_eq!(accepted, DATAGRAMS_MAX);
        for i in 0..DATAGRAMS_MAX {
            let (_, datagram) = inbox.take_datagram().unwrap();
            assert_eq!(datagram, u32::try_from(i).unwrap().to_be_bytes());
        }
        assert!(inbox.take_datagram().is_none() && inbox.queues.lock().datagrams.capacity() == 0);
        inbox.close();
        assert_eq!(inbox.wish(65, Duration::MAX), Err(Error::ShuttingDown));
        assert!(!inbox.is_over());
        assert_eq!(std::iter::from_fn(|| inbox.take_wish()).last(), Some(64));
        assert!(inbox.is_over());
    }

    #[test]
    fn whoever_waits_is_woken() {
        let inbox = Arc::new(Inbox::new());
        let taker = {
            let inbox = inbox.clone();
            thread::spawn(move || {
                inbox.take_over();
                let mut taken = 0;
                while !inbox.is_over() {
                    if !inbox.is_ready() {
                        thread::park();
                    }
                    taken += std::iter::from_fn(|| inbox.take_wish()).count();
                    taken += std::iter::from_fn(|| inbox.take_datagram()).count();
                }
                taken
            })
        };
        for i in 0..1000 {
            // Sixty-four wait at once, the others for a place.
            inbox.wish(i, Duration::MAX).unwrap();
        }
        inbox.datagram(from(), &[1]);
        while !inbox.queues.lock().datagrams.is_empty() {
            thread::yield_now();
        }
        inbox.close();
        assert_eq!(taker.join().unwrap(), 1001);
    }

    #[test]
    fn what_nobody_takes_is_dropped() {
        let inbox = Inbox::new();
        let token = Arc::new(());
        inbox.wish(token.clone(), Duration::ZERO).unwrap();
        inbox.abandon();
        assert_eq!(Arc::strong_count(&token), 1);
        assert_eq!(inbox.wish(token, Duration::ZERO), Err(Error::ShuttingDown));
    }
}
