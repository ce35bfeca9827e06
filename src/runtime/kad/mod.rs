//! The driver of the DHT's machine: one UDP socket, its reader (`kad/r`) and the thread that owns the machine (`kad`), which
//! several nodes of a process may share.
//!
//! The reader does nothing but hand on what comes; what does not fit the queue is dropped and counted. The machine's thread
//! takes what its owner wants first, then a burst of datagrams, then what is due; it never waits for the network, for a
//! disk or for a caller.

mod files;
mod http;
mod inbox;
mod socket;
mod threads;

pub use threads::Threads;

pub use files::Files;
pub(crate) use files::cached_peers;
pub(crate) use http::PageServer;

use super::clock::{self, Clock};
use super::threads::STACK;
use crate::base::{Error, Now, Result, Time};
use crate::identity::SignKey;
use crate::kad::{Authority, DATAGRAM_BYTES_MAX, Done, Id, Machine, Output, Policy};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use files::Keeper;
use inbox::Inbox;
use parking_lot::Mutex;
use socket::Datagrams;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Builder, JoinHandle};
use std::time::Duration;

/// Datagrams taken in one turn.
const BURST: usize = 64;
/// A question to the machine is answered as soon as its thread runs; this is for a machine that is busy beyond measure.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The machine keeps every deadline; this is for the answer to reach the caller.
const GRACE: Duration = Duration::from_millis(500);
/// After an error of the socket the reader rests this long, so that one that lasts costs nothing.
const REST: Duration = Duration::from_millis(10);

/// Told where peers see this node.
pub(crate) type OnObserved = Box<dyn FnMut(Id, SocketAddr) + Send>;

/// What a node is made of.
pub(crate) struct Settings {
    pub(crate) bind: SocketAddr,
    pub(crate) key: SignKey,
    pub(crate) policy: Policy,
    pub(crate) authority: Authority,
    pub(crate) files: Files,
    pub(crate) save_every: Duration,
    pub(crate) passive: bool,
    pub(crate) on_observed: Option<OnObserved>,
    /// Threads that it shares with other nodes; its own when absent.
    pub(crate) threads: Option<Threads>,
}

type Work = Box<dyn FnOnce(&mut Machine, Now) + Send>;
type Start = Box<dyn FnOnce(&mut Machine, Now, u64) -> Result<()> + Send>;

enum Command {
    /// Something at once.
    Work(Work),
    /// An order of which something comes later.
    Order { start: Start, reply: Sender<Result<Done>> },
}

/// What handles and threads share.
struct Shared {
    inbox: Inbox<Command>,
    local: SocketAddr,
    cached: Vec<SocketAddr>,
    stop: AtomicBool,
    sent: AtomicU64,
    dropped: AtomicU64,
}

/// Speaks to a running node. Cheap to clone; does not keep it running.
#[derive(Clone)]
pub(crate) struct Handle {
    shared: Arc<Shared>,
}

/// A running node. Stops when it is dropped.
pub(crate) struct Driver {
    handle: Handle,
    socket: Arc<Datagrams>,
    running: Mutex<Option<Running>>,
}

/// What a node has until it is stopped.
struct Running {
    reader: JoinHandle<()>,
    /// Closed when the machine is gone and its files are written.
    ended: Receiver<()>,
    threads: Threads,
}

impl Driver {
    /// Binds the socket, reads the files and starts both threads.
    pub(crate) fn start(settings: Settings) -> Result<Driver> {
        let Settings { bind, key, policy, authority, files, save_every, passive, on_observed, threads } = settings;
        let threads = threads.map_or_else(|| Threads::start(1), Ok)?;
        let (clock, rng) = (Clock::start(), clock::system_rng()?);
        let socket = Arc::new(Datagrams::bind(bind)?);
        let mut machine = Machine::new(key, policy, authority, clock.now(), rng);
        machine.set_passive(passive);
        machine.set_external_ip(None, socket.local_addr().port());
        let (keeper, cached) = Keeper::open(files, save_every, &mut machine, clock.now())?;
        let shared = Arc::new(Shared {
            inbox: Inbox::new(),
            local: socket.local_addr(),
            cached,
            stop: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        let (ended_by, ended) = bounded(0);
        // In a box, because what lies on the stack of a thread stays resident twice: there, and where it came from.
        let turns = Box::new(Turns {
            machine,
            clock,
            socket: socket.clone(),
            shared: shared.clone(),
            replies: BTreeMap::new(),
            next_order: 0,
            on_observed,
            keeper,
            until: Time::ZERO,
            _ended: ended_by,
        });
        let handle = Handle { shared: shared.clone() };
        let reads = socket.clone();
        let reader = Builder::new().name("kad/r".to_owned()).stack_size(STACK).spawn(move || read(&reads, &shared));
        let reader = reader.map_err(|e| Error::io("cannot start the thread kad/r", &e))?;
        threads.add(turns);
        Ok(Driver { handle, socket, running: Mutex::new(Some(Running { reader, ended, threads })) })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends the node, after the files were written for the last time, and its threads. Calls that wait get
    /// [`Error::ShuttingDown`].
    pub(crate) fn stop(&self) {
        let Some(Running { reader, ended, threads }) = self.running.lock().take() else { return };
        let shared = &self.handle.shared;
        shared.stop.store(true, Ordering::Release);
        shared.inbox.close();
        self.socket.wake();
        if reader.join().is_err() {
            log::error!(target: "dht", "the reader of a node of the DHT panicked");
        }
        // Stopped by its own callback: it ends when that returns.
        if !shared.inbox.is_taker() {
            let _ = ended.recv();
        }
        drop(threads);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Handle {
    /// Where the socket is bound.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.shared.local
    }

    /// What `peers.cache` said at the start.
    pub(crate) fn cached_peers(&self) -> &[SocketAddr] {
        &self.shared.cached
    }

    /// Datagrams the system took.
    pub(crate) fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Datagrams that came faster than the machine took them.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Something the machine does or says at once.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Machine, Now) -> T + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = bounded(1);
        let work = move |machine: &mut Machine, now| drop(reply.send(work(machine, now)));
        self.command(Command::Work(Box::new(work)), ANSWER_MAX)?;
        answer.recv_timeout(ANSWER_MAX).map_err(ended)
    }

    /// Something that takes the network's time: what comes of it, or [`Error::TimedOut`] after `within`.
    pub(crate) fn order(
        &self,
        within: Duration,
        start: impl FnOnce(&mut Machine, Now, u64) -> Result<()> + Send + 'static,
    ) -> Result<Done> {
        self.begin(within, start)?.recv_timeout(within.saturating_add(GRACE)).map_err(ended)?
    }

    /// The same without waiting for what comes of it.
    pub(crate) fn begin(
        &self,
        within: Duration,
        start: impl FnOnce(&mut Machine, Now, u64) -> Result<()> + Send + 'static,
    ) -> Result<Receiver<Result<Done>>> {
        let (reply, answer) = bounded(1);
        self.command(Command::Order { start: Box::new(start), reply }, within)?;
        Ok(answer)
    }

    fn command(&self, command: Command, within: Duration) -> Result<()> {
        if self.shared.inbox.is_taker() {
            return Err(Error::Failed("a node of the DHT cannot be called from its own thread".to_owned()));
        }
        self.shared.inbox.wish(command, within)
    }
}

/// An order gave something that it cannot give.
pub(crate) fn unexpected() -> Error {
    Error::Failed("dht: an answer of another kind".to_owned())
}

fn ended(error: RecvTimeoutError) -> Error {
    match error {
        RecvTimeoutError::Timeout => Error::TimedOut("no answer from the DHT".to_owned()),
        RecvTimeoutError::Disconnected => Error::ShuttingDown,
    }
}

/// The reader: as little as can be.
fn read(socket: &Datagrams, shared: &Shared) {
    let mut buffer = [0; DATAGRAM_BYTES_MAX + 1];
    loop {
        let received = socket.receive(&mut buffer);
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        match received {
            Ok((length, from)) => {
                let datagram = buffer.get(..length).unwrap_or_default();
                if !shared.inbox.datagram(from, datagram) {
                    shared.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => {
                log::debug!(target: "dht", "reading datagrams: {e}");
                thread::sleep(REST);
            }
        }
    }
}

/// The thread that owns the machine.
struct Turns {
    machine: Machine,
    clock: Clock,
    socket: Arc<Datagrams>,
    shared: Arc<Shared>,
    replies: BTreeMap<u64, Sender<Result<Done>>>,
    next_order: u64,
    on_observed: Option<OnObserved>,
    keeper: Keeper,
    /// When there is something to do, if nothing comes before.
    until: Time,
    /// Tells by its end that this has ended.
    _ended: Sender<()>,
}

impl Turns {
    /// This thread is the node's from now on.
    fn taken_over(self: Box<Self>) -> Box<Turns> {
        self.shared.inbox.take_over();
        self
    }

    /// Whether a turn is due.
    fn is_due(&self) -> bool {
        self.shared.inbox.is_ready() || self.until <= self.clock.mono()
    }

    /// How long nothing is due unless something comes.
    fn rest(&self) -> Duration {
        if self.shared.inbox.is_ready() { Duration::ZERO } else { self.until.since(self.clock.mono()) }
    }

    /// Everything that can be done now, datagrams up to a bound. False at the end.
    fn turn(&mut self) -> bool {
        while let Some(command) = self.shared.inbox.take_wish() {
            let now = self.clock.now();
            match command {
                Command::Work(work) => work(&mut self.machine, now),
                Command::Order { start, reply } => self.begin(now, start, reply),
            }
            self.flush();
        }
        if self.shared.inbox.is_over() {
            self.machine.abort(&Error::ShuttingDown);
            self.flush();
            self.keeper.finish(self.clock.now(), &self.machine);
            return false;
        }
        for _ in 0..BURST {
            let Some((from, datagram)) = self.shared.inbox.take_datagram() else { break };
            self.machine.handle_datagram(self.clock.now(), from, &datagram);
            // Whoever asked first is not kept waiting by whoever asks now.
            self.flush();
        }
        let now = self.clock.now();
        if self.machine.poll_timeout().is_some_and(|at| at <= now.mono) {
            self.machine.handle_timeout(now);
        }
        self.keeper.handle_timeout(now, &self.machine);
        self.flush();
        let keeper = self.keeper.poll_timeout();
        self.until = self.machine.poll_timeout().map_or(keeper, |at| at.min(keeper));
        true
    }

    fn begin(&mut self, now: Now, start: Start, reply: Sender<Result<Done>>) {
        self.next_order += 1;
        match start(&mut self.machine, now, self.next_order) {
            Ok(()) => drop(self.replies.insert(self.next_order, reply)),
            Err(e) => drop(reply.send(Err(e))),
        }
    }

    fn flush(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send { to, datagram } => match self.socket.send(to, &datagram) {
                    Ok(()) => drop(self.shared.sent.fetch_add(1, Ordering::Relaxed)),
                    Err(e) => log::debug!(target: "dht", "not sent to {to}: {e}"),
                },
                Output::Done { order, result } => {
                    // Nobody may wait any more.
                    if let Some(reply) = self.replies.remove(&order) {
                        let _ = reply.send(result);
                    }
                    if self.replies.is_empty() {
                        // An empty map keeps room for several values until it is dropped.
                        self.replies = BTreeMap::new();
                    }
                }
                Output::Observed { reporter, at } => {
                    if let Some(told) = &mut self.on_observed {
                        told(reporter, at);
                    }
                }
            }
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        // Also when the thread panics: whoever waits for an answer hears that there will be none.
        self.shared.inbox.abandon();
    }
}
