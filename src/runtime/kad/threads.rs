//! The threads that own machines (`kad`). A node has one of its own, or shares some with other nodes of the process: a
//! thread's stack, and what the allocator keeps for each thread, take more memory than all that a node knows.

use super::Turns;
use crate::base::{Error, Result};
use crate::runtime::threads::STACK;
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Builder, JoinHandle};

/// Threads for any number of nodes; cheap to clone. They end when the last clone and the last of their nodes are gone.
#[derive(Clone)]
pub struct Threads {
    lanes: Arc<Lanes>,
}

struct Lanes {
    all: Vec<Lane>,
    /// The one that gets the next node.
    next: AtomicUsize,
}

struct Lane {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

/// What a thread is told.
#[derive(Default)]
struct Queue {
    #[allow(clippy::vec_box)] // a machine has kilobytes, and a list of them that grows would leave holes as large
    joining: Mutex<Vec<Box<Turns>>>,
    over: AtomicBool,
}

impl Threads {
    /// Starts `count` threads, at least one. As many as there are cores serve any number of nodes.
    ///
    /// # Errors
    /// [`Error::Io`] when the system has no more threads.
    pub fn start(count: usize) -> Result<Threads> {
        let mut all = Vec::new();
        for _ in 0..count.max(1) {
            let queue = Arc::new(Queue::default());
            let heard = queue.clone();
            let started = Builder::new().name("kad".to_owned()).stack_size(STACK).spawn(move || drive(&heard));
            let thread = Some(started.map_err(|e| Error::io("cannot start the thread kad", &e))?);
            all.push(Lane { queue, thread });
        }
        Ok(Threads { lanes: Arc::new(Lanes { all, next: AtomicUsize::new(0) }) })
    }

    /// One of the threads owns this machine from now on, until it is told to stop.
    pub(super) fn add(&self, node: Box<Turns>) {
        let lanes = &self.lanes;
        let at = lanes.next.fetch_add(1, Ordering::Relaxed) % lanes.all.len().max(1);
        if let Some(lane) = lanes.all.get(at) {
            lane.queue.joining.lock().push(node);
            lane.wake();
        }
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Threads({})", self.lanes.all.len())
    }
}

impl Lane {
    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        for lane in &mut self.all {
            lane.queue.over.store(true, Ordering::Release);
            lane.wake();
            let Some(thread) = lane.thread.take() else { continue };
            // Dropped by a node's own callback: that thread ends by itself.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                log::error!(target: "dht", "a thread of the DHT panicked");
            }
        }
    }
}

/// A thread's life: whoever has something to do has a turn, one after the other.
fn drive(queue: &Queue) {
    #[allow(clippy::vec_box)] // as above
    let mut nodes: Vec<Box<Turns>> = Vec::new();
    loop {
        let joining = std::mem::take(&mut *queue.joining.lock());
        nodes.extend(joining.into_iter().map(Turns::taken_over));
        let mut rests = true;
        nodes.retain_mut(|node| {
            if !node.is_due() {
                return true;
            }
            rests = false;
            // What one node trips over ends that node and no other.
            catch_unwind(AssertUnwindSafe(|| node.turn())).unwrap_or_else(|_| {
                log::error!(target: "dht", "a node of the DHT panicked and has ended");
                false
            })
        });
        if nodes.is_empty() && queue.over.load(Ordering::Acquire) && queue.joining.lock().is_empty() {
            return;
        }
        if rests {
            match nodes.iter().map(|node| node.rest()).min() {
                Some(rest) => thread::park_timeout(rest),
                None => thread::park(),
            }
        }
    }
}
