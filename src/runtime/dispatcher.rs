//! `dispatcher`: the one thread that owns the mesh machine. It serves `control` before `inbox`, and what is large last,
//! takes bursts in one turn, sends without blocking and flushes each connection once at the end of
//! the turn. A turn is bounded by bytes, so that filling one peer's queue never stalls the others.

use super::clock::Clock;
use super::deploy::DepotThread;
use super::jobs::Jobs;
use super::net::conn::Conn;
use super::net::open::Opener;
use super::queues::{Ask, Event, Queues, Reply};
use super::service::Beat;
use super::whereabouts::Whereabouts;
use crate::base::{Error, Time};
use crate::mesh::{Answer, CallId, Command, Input, LinkId, Mesh, Output};
use crate::message::Message;
use crate::session::Lane;
use crossbeam_channel::{Sender, TryRecvError, select_biased};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A turn ends after this many bytes or messages.
const TURN_BYTES: usize = 256 * 1024;
const TURN_EVENTS: usize = 512;
/// The dispatcher yields this long before it parks: a wake-up costs more than the work.
const SPIN: Duration = Duration::from_micros(60);
/// How long a closed connection may take to drain before it is cut.
const LINGER: Duration = Duration::from_secs(2);

/// What the dispatcher thread owns.
pub(crate) struct Dispatcher {
    pub(crate) mesh: Mesh,
    pub(crate) queues: Queues,
    pub(crate) opener: Arc<Opener>,
    pub(crate) jobs: Jobs,
    pub(crate) depot: DepotThread,
    pub(crate) whereabouts: Arc<Whereabouts>,
    pub(crate) clock: Clock,
    /// Where messages go that the node itself has no use for.
    pub(crate) handler: Option<Sender<(String, Message)>>,
    /// Yield before parking; off on low-power nodes.
    pub(crate) spin: bool,
    pub(crate) conns: BTreeMap<LinkId, Arc<Conn>>,
    pub(crate) calls: BTreeMap<CallId, Sender<Reply>>,
    pub(crate) dirty: BTreeSet<LinkId>,
    pub(crate) paced: BTreeMap<LinkId, Time>,
    pub(crate) lingering: Vec<(Time, Arc<Conn>)>,
    /// Set by `Command::Shutdown`: end when every connection is gone, or at this time.
    pub(crate) ending: Option<Time>,
    /// Connections there were when the shutdown began.
    pub(crate) standing: usize,
    /// How long the shutdown may take.
    pub(crate) drain: Duration,
    /// Signs of life for a service manager that watches.
    pub(crate) beat: Option<Beat>,
}

/// What a shutdown achieved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections that ended in good order.
    pub closed: usize,
    /// Connections that had to be cut at the deadline.
    pub cut: usize,
}

impl Dispatcher {
    /// The thread's life.
    pub(crate) fn run(mut self) -> Drained {
        let mut spin_until = Instant::now();
        loop {
            let worked = self.turn();
            self.serve_timers();
            self.flush_dirty();
            if self.ending.is_some_and(|ends| self.conns.is_empty() || self.clock.mono() >= ends) {
                let cut = self.conns.len();
                return Drained { closed: self.standing.saturating_sub(cut), cut };
            }
            if worked {
                spin_until = Instant::now() + SPIN;
                continue;
            }
            if self.spin && Instant::now() < spin_until {
                std::thread::yield_now();
                continue;
            }
            self.park();
        }
    }

    /// Takes what is there: control first, then a bounded burst of the inbox, then what is large.
    fn turn(&mut self) -> bool {
        let (mut bytes, mut events) = (0, 0);
        while bytes < TURN_BYTES && events < TURN_EVENTS {
            match self.queues.asks.try_recv() {
                Ok(ask) => bytes += self.take_ask(*ask),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
            events += 1;
        }
        while bytes < TURN_BYTES && events < TURN_EVENTS {
            match self.queues.events.try_recv() {
                Ok(event) => bytes += self.take_event(event),
                Err(_) => break,
            }
            events += 1;
        }
        // One at least, however busy the others are.
        let mut first = true;
        while first || bytes < TURN_BYTES && events < TURN_EVENTS {
            let Ok(ask) = self.queues.patient.try_recv() else { break };
            bytes += self.take_ask(*ask);
            (first, events) = (false, events + 1);
        }
        events > 0
    }

    fn park(&mut self) {
        let next = [
            self.mesh.poll_timeout(),
            self.paced.values().min().copied(),
            self.lingering.iter().map(|(at, _)| *at).min(),
            self.ending,
            self.beat.as_ref().map(Beat::poll_timeout),
        ];
        let timer = match next.into_iter().flatten().min() {
            Some(at) => crossbeam_channel::at(self.clock.instant(at)),
            None => crossbeam_channel::never(),
        };
        select_biased! {
            recv(self.queues.asks) -> ask => if let Ok(ask) = ask { self.take_ask(*ask); } else { self.shut_down() },
            recv(self.queues.events) -> event => if let Ok(event) = event { self.take_event(event); },
            recv(self.queues.patient) -> ask => if let Ok(ask) = ask { self.take_ask(*ask); },
            recv(timer) -> _ => {}
        }
    }

    fn take_ask(&mut self, ask: Ask) -> usize {
        self.queues.control_credit.give(ask.bytes);
        if let Some((call, reply)) = ask.reply {
            self.calls.insert(call, reply);
        }
        if matches!(ask.command, Command::Shutdown) {
            self.shut_down();
        } else {
            self.mesh.handle_command(self.clock.now(), ask.command);
            self.carry_out();
        }
        ask.bytes
    }

    fn shut_down(&mut self) {
        if self.ending.is_none() {
            self.ending = Some(self.clock.mono() + self.drain);
            self.standing = self.conns.len();
            self.mesh.handle_command(self.clock.now(), Command::Shutdown);
            self.carry_out();
        }
    }

    fn take_event(&mut self, event: Event) -> usize {
        let (input, bytes) = match event {
            Event::Mesh(input) => (input, 0),
            Event::Message(input, bytes) => {
                self.queues.inbox_credit.give(bytes);
                (input, bytes)
            }
            Event::LinkUp(input, conn) => {
                self.conns.insert(conn.id, conn);
                (input, 0)
            }
            Event::Job(job, result, mark) => {
                self.jobs.finished(job);
                (Input::JobDone { job, result, mark }, 0)
            }
        };
        if let Input::LinkDown { link, .. } = &input {
            self.conns.remove(link);
            self.paced.remove(link);
            self.lingering.retain(|(_, conn)| conn.id != *link);
        }
        self.mesh.handle_input(self.clock.now(), input);
        self.carry_out();
        bytes
    }

    fn serve_timers(&mut self) {
        let now = self.clock.now();
        if self.mesh.poll_timeout().is_some_and(|at| at <= now.mono) {
            self.mesh.handle_timeout(now);
            self.carry_out();
        }
        if let Some(beat) = &mut self.beat {
            beat.handle_timeout(now.mono);
        }
        let due: Vec<LinkId> = self.paced.iter().filter(|(_, at)| **at <= now.mono).map(|(link, _)| *link).collect();
        self.dirty.extend(due);
        self.lingering.retain(|(at, conn)| {
            if *at <= now.mono {
                conn.shut();
            }
            *at > now.mono
        });
    }

    fn flush_dirty(&mut self) {
        while let Some(link) = self.dirty.pop_first() {
            self.paced.remove(&link);
            if let Some(conn) = self.conns.get(&link)
                && let Some(at) = conn.flush()
            {
                self.paced.insert(link, at);
            }
        }
    }

    /// Queues a message on its connection. Whoever waits for it hears at once when that cannot be.
    fn send(&mut self, link: LinkId, lane: Lane, message: Message, call: Option<CallId>) {
        let mut body = Vec::with_capacity(512);
        message.encode_into(&mut body);
        let gone = || Err(Error::Unreachable("the connection is gone".to_owned()));
        let sent = self.conns.get(&link).map_or_else(gone, |conn| conn.send(lane, body));
        match &sent {
            Ok(()) => drop(self.dirty.insert(link)),
            Err(why) => {
                log::debug!(target: "mesh", link = link.0, kind = message.kind.as_str(); "not sent: {why}");
                self.mesh.handle_input(self.clock.now(), Input::NotSent { message: message.id, why: why.clone() });
            }
        }
        if let Some(reply) = call.and_then(|call| Some((call, self.calls.remove(&call)?))) {
            let _ = reply.1.try_send((reply.0, sent.map(|()| Answer::Done)));
        }
    }

    /// The same for what is no message. What is not sent is told when a request's answer is waited for.
    fn send_raw(&mut self, link: LinkId, lane: Lane, body: Vec<u8>, request: Option<String>) {
        let gone = || Err(Error::Unreachable("the connection is gone".to_owned()));
        match (self.conns.get(&link).map_or_else(gone, |conn| conn.send(lane, body)), request) {
            (Ok(()), _) => drop(self.dirty.insert(link)),
            (Err(why), Some(message)) => {
                self.mesh.handle_input(self.clock.now(), Input::NotSent { message, why });
            }
            (Err(why), None) => log::debug!(target: "mesh", link = link.0; "not sent: {why}"),
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.mesh.poll_output() {
            match output {
                Output::Dial { dial, target } => self.opener.dial(dial, target),
                Output::Send { link, lane, message, call } => self.send(link, lane, message, call),
                Output::SendRaw { link, lane, body, request } => self.send_raw(link, lane, body, request),
                Output::Announced { link, burst, rate_per_s, message_bytes_max } => {
                    if let Some(conn) = self.conns.get(&link) {
                        conn.handle_announced(burst, rate_per_s, message_bytes_max);
                    }
                }
                Output::Proven { link } => {
                    if let Some(conn) = self.conns.get(&link) {
                        conn.prove();
                    }
                }
                Output::Close { link, why } => {
                    if let Some(conn) = self.conns.get(&link) {
                        log::debug!(target: "mesh", link = link.0; "closing: {why}");
                        conn.close();
                        self.lingering.push((self.clock.mono() + LINGER, conn.clone()));
                    }
                }
                Output::Answer { call, result } => {
                    if let Some(reply) = self.calls.remove(&call) {
                        let _ = reply.try_send((call, result)); // a caller that gave up has dropped its end
                    }
                }
                Output::Job { job, permit, marks, work } => {
                    if let Err(e) = self.jobs.start(job, permit, marks, work) {
                        let refused = Input::JobDone { job, result: Err(e), mark: None };
                        self.mesh.handle_input(self.clock.now(), refused);
                    }
                }
                Output::Inbound { peer, message } => {
                    if let Some(handler) = &self.handler
                        && handler.try_send((peer, message)).is_err()
                    {
                        log::warn!(target: "mesh", "the message handler is full or gone: a message was dropped");
                    }
                }
                Output::Depot(task) => {
                    if let Some(event) = self.depot.put(task) {
                        self.mesh.handle_input(self.clock.now(), Input::Depot(event));
                    }
                }
                Output::Search { address } => self.whereabouts.search(address),
                Output::JobOverdue { job } => self.jobs.overdue(job),
                Output::FollowSuccessors => {
                    if let Err(e) = self.jobs.follow_successors() {
                        log::warn!(target: "peers", "a successor waits a little longer: {e}");
                    }
                }
                Output::SaveMarks(snapshot) => {
                    let version = snapshot.version;
                    if let Err(e) = self.jobs.save_marks(snapshot) {
                        let saved = Input::MarksSaved { version, result: Err(e) };
                        self.mesh.handle_input(self.clock.now(), saved);
                    }
                }
            }
        }
    }
}
