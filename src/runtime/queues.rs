//! The two ways to the dispatcher: `control` for handles, which never blocks, and `inbox` for the
//! other threads, which does: that is the back-pressure on the sockets. What is large and patient waits in a queue of its own
//! behind `control`, so that ten megabytes for one peer stand in no other's way. Both take a byte credit
//! before the channel, because a queue bounded by count alone is not bounded by bytes.

use super::net::conn::Conn;
use crate::base::{ByteBudget, Error, Result};
use crate::mesh::{Answer, BULK_BYTES, CallId, Command, Input, JobId, JobResult};
use crate::peers::AuditMark;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

/// Length of both queues. 64 instead of 1,024 cost three quarters of the throughput.
const QUEUE: usize = 1024;
/// Length of the queue of what is large. With its sizes it is the bytes that bound it.
const QUEUE_PATIENT: usize = 256;
/// Bytes waiting in the inbox, all connections together; a reader beyond it waits, so TCP pushes back. As many may wait in the
/// control queue; beyond it a call fails with `Busy`.
const WAITING_BYTES: usize = 16 << 20;

/// What reaches the dispatcher from other threads.
pub(crate) enum Event {
    /// The machine's own words.
    Mesh(Input),
    /// A finished link and its connection.
    LinkUp(Input, Arc<Conn>),
    /// What a peer sent, and the bytes it holds of the inbox's credit.
    Message(Input, usize),
    /// A job ended.
    Job(JobId, Result<JobResult>, Option<AuditMark>),
}

/// An answer and the call it is for: one caller may wait for many.
pub(crate) type Reply = (CallId, Result<Answer>);

/// What a handle asks, and where the answer goes.
pub(crate) struct Ask {
    pub(crate) command: Command,
    pub(crate) reply: Option<(CallId, Sender<Reply>)>,
    pub(crate) bytes: usize,
}

/// Bytes that may be in a queue at once.
pub(crate) struct Credit {
    /// `None` when the dispatcher is gone: nobody waits any more.
    budget: Mutex<Option<ByteBudget>>,
    freed: Condvar,
}

impl Credit {
    fn new(max: usize) -> Arc<Credit> {
        Arc::new(Credit { budget: Mutex::new(Some(ByteBudget::new(max))), freed: Condvar::new() })
    }

    /// Waits for `n` bytes. An `n` above the whole budget is never asked for: messages are smaller.
    fn take(&self, n: usize) {
        let mut budget = self.budget.lock();
        while budget.as_mut().is_some_and(|b| !b.take(n)) {
            self.freed.wait(&mut budget);
        }
    }

    fn try_take(&self, n: usize) -> bool {
        self.budget.lock().as_mut().is_some_and(|b| b.take(n))
    }

    pub(crate) fn give(&self, n: usize) {
        if let Some(budget) = self.budget.lock().as_mut() {
            budget.give(n);
        }
        self.freed.notify_all();
    }
}

/// The way to the dispatcher for readers and other threads of the runtime. Sends block: that is
/// the back-pressure on the socket.
#[derive(Clone)]
pub(crate) struct InboxSender {
    events: Sender<Event>,
    credit: Arc<Credit>,
    bytes_max: usize,
}

impl InboxSender {
    /// `false` when the dispatcher is gone.
    pub(crate) fn send(&self, event: Event) -> bool {
        self.events.send(event).is_ok()
    }

    pub(crate) fn try_send(&self, event: Event) -> bool {
        self.events.try_send(event).is_ok()
    }

    /// What a peer sent and holds so many bytes.
    pub(crate) fn send_sized(&self, input: Input, bytes: usize) -> bool {
        let bytes = bytes.min(self.bytes_max);
        self.credit.take(bytes);
        self.events.send(Event::Message(input, bytes)).is_ok()
    }
}

/// The way to the dispatcher for handles. Never blocks.
#[derive(Clone)]
pub(crate) struct ControlSender {
    asks: Sender<Box<Ask>>,
    patient: Sender<Box<Ask>>,
    credit: Arc<Credit>,
}

impl ControlSender {
    /// `Busy` when the queue is full, `ShuttingDown` when the dispatcher is gone.
    pub(crate) fn send(&self, command: Command, reply: Option<(CallId, Sender<Reply>)>, bytes: usize) -> Result<()> {
        if !self.credit.try_take(bytes) {
            return Err(Error::Busy);
        }
        let queue = if bytes > BULK_BYTES { &self.patient } else { &self.asks };
        queue.try_send(Box::new(Ask { command, reply, bytes })).map_err(|e| {
            self.credit.give(bytes);
            if e.is_full() { Error::Busy } else { Error::ShuttingDown }
        })
    }
}

/// The dispatcher's ends.
pub(crate) struct Queues {
    /// Boxed: the queue's slots are there from the start, and a command is large.
    pub(crate) asks: Receiver<Box<Ask>>,
    /// Asks with messages above [`BULK_BYTES`], which go behind the others in their connection too.
    pub(crate) patient: Receiver<Box<Ask>>,
    pub(crate) events: Receiver<Event>,
    pub(crate) control_credit: Arc<Credit>,
    pub(crate) inbox_credit: Arc<Credit>,
}

impl Drop for Queues {
    fn drop(&mut self) {
        for credit in [&self.control_credit, &self.inbox_credit] {
            *credit.budget.lock() = None;
            credit.freed.notify_all();
        }
    }
}

/// Makes the queues, with so many bytes waiting in each.
pub(crate) fn queues(waiting_bytes: Option<usize>) -> (ControlSender, InboxSender, Queues) {
    let (asks_in, asks) = bounded(QUEUE);
    let (patient_in, patient) = bounded(QUEUE_PATIENT);
    let (events_in, events) = bounded(QUEUE);
    let bytes_max = waiting_bytes.unwrap_or(WAITING_BYTES);
    let (control_credit, inbox_credit) = (Credit::new(bytes_max), Credit::new(bytes_max));
    let control = ControlSender { asks: asks_in, patient: patient_in, credit: control_credit.clone() };
    let inbox = InboxSender { events: events_in, credit: inbox_credit.clone(), bytes_max };
    (control, inbox, Queues { asks, patient, events, control_credit, inbox_credit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_large_fills_its_own_queue_and_what_is_small_passes_by() {
        let (control, _inbox, queues) = queues(None);
        let ask = |bytes| control.send(Command::Shutdown, None, bytes);
        let large = (0..).take_while(|_| ask(BULK_BYTES + 1).is_ok()).count();
        assert_eq!((large, queues.patient.len(), queues.asks.len()), (QUEUE_PATIENT, QUEUE_PATIENT, 0));
        assert_eq!(ask(BULK_BYTES + 1), Err(Error::Busy));
        assert_eq!((ask(BULK_BYTES), queues.asks.len()), (Ok(()), 1));
        // Bytes bound both together.
        assert_eq!(ask(WAITING_BYTES), Err(Error::Busy));
    }
}
