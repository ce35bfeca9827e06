//! Every thread has a name and an owner that joins it.

use crate::base::{Error, Result};
use parking_lot::Mutex;
use std::thread::{Builder, JoinHandle};

/// Stack of threads that live as long as a connection or a job. Only touched pages cost memory.
pub(crate) const STACK: usize = 256 * 1024;
/// Stack of short-lived threads that shake hands (TLS is deep in debug builds). More than four
/// times [`STACK`], or glibc would hand its used, resident pages on to a long-lived reader.
pub(crate) const STACK_HANDSHAKE: usize = 2 * 1024 * 1024;

/// The threads of one node.
#[derive(Default)]
pub(crate) struct Threads {
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    handles: Vec<JoinHandle<()>>,
    since_sweep: usize,
}

/// Ended threads are joined at every so many starts: a look at a thousand of them costs microseconds.
const SWEEP_EVERY: usize = 8;

impl Threads {
    /// Spawns a named thread. Those that ended are joined on the way.
    pub(crate) fn spawn(&self, name: &str, stack: usize, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let handle = Builder::new()
            .name(name.to_owned())
            .stack_size(stack)
            .spawn(body)
            .map_err(|e| Error::io(format!("cannot start the thread {name}"), &e))?;
        let mut running = self.running.lock();
        running.handles.push(handle);
        running.since_sweep += 1;
        // An ended thread keeps its stack resident until it is joined.
        if running.since_sweep >= SWEEP_EVERY {
            running.since_sweep = 0;
            let ended: Vec<_> = running.handles.extract_if(.., |h| h.is_finished()).collect();
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
            let batch = std::mem::take(&mut self.running.lock().handles);
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
