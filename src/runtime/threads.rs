//! Every thread has a name and an owner that joins it.

use crate::base::{Error, Result};
use parking_lot::Mutex;
use std::thread::{Builder, JoinHandle};

/// Stack of threads that live as long as a connection or a job. Only touched pages cost memory.
pub(crate) const STACK: usize = 256 * 1024;
/// Stack of short-lived threads that shake hands (TLS is deep in debug builds).
pub(crate) const STACK_HANDSHAKE: usize = 1024 * 1024;

/// The threads of one node.
#[derive(Default)]
pub(crate) struct Threads {
    running: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// Spawns a named thread. Those that ended are joined on the way.
    pub(crate) fn spawn(&self, name: &str, stack: usize, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let handle = Builder::new()
            .name(name.to_owned())
            .stack_size(stack)
            .spawn(body)
            .map_err(|e| Error::io(format!("cannot start the thread {name}"), &e))?;
        let mut running = self.running.lock();
        running.push(handle);
        // Sweeping when the count is a power of two keeps the cost per spawn constant on average.
        if running.len().is_power_of_two() {
            let ended: Vec<_> = running.extract_if(.., |h| h.is_finished()).collect();
            drop(running);
            for handle in ended {
                join(handle);
            }
        }
        Ok(())
    }

    /// Joins everything, including what is spawned meanwhile. The caller has told all of it to end.
    pub(crate) fn join_all(&self) {
        loop {
            let batch = std::mem::take(&mut *self.running.lock());
            if batch.is_empty() {
                return;
            }
            for handle in batch {
                join(handle);
            }
        }
    }
}

fn join(handle: JoinHandle<()>) {
    let name = handle.thread().name().unwrap_or("unnamed").to_owned();
    if handle.join().is_err() {
        log::error!(target: "runtime", thread = name.as_str(); "a thread panicked");
    }
}
