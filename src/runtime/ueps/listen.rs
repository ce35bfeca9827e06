//! The plain TCP listener: thread `ueps` accepts, thread `ueps/<n>` serves one connection.
//!
//! Every packet is verified before anything else is done for it. A wrong HMAC is answered by nothing and raises the
//! threat of the address it came from, and closes a connection that has brought nothing better; an address above the threshold is closed and refused for ten minutes. What is
//! verified is known by the key's name: its grants, its rate, and its window of packets seen, which all connections
//! of the key share. Answers are signed with a key of their own, so that they cannot be sent back as packets.

use super::NamedKey;
use crate::base::{Error, Refusal, Result, Time};
use crate::mesh::{
    AuditCommand, AuditSink as _, IntentAnswer, IntentContext, IntentSource, Intents, ThreatInfo, grant_for_intent,
    not_recorded,
};
use crate::message::ErrorCode;
use crate::peers::{AuditBegin, AuditEntry, Grants};
use crate::runtime::audit::AuditBook;
use crate::runtime::clock::Clock;
use crate::runtime::net::listen::Listener;
use crate::runtime::threads::{STACK, Threads};
use crate::session::Bucket;
use crate::wire::ueps::{
    Defect, Deframer, Frame, Key, Packet, REPLAYS_DEFAULT, Reading, ReplayWindow, Standing, ThreatLimits, Threats,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Connections in all, and from one address.
const CONNECTIONS_MAX: usize = 32;
const CONNECTIONS_PER_ADDRESS_MAX: usize = 8;
/// A connection must have brought a verified packet within this.
const UNPROVEN_MAX: Duration = Duration::from_secs(10);
/// One that has may be silent for this long.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// An answer must be taken within this.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// Packets of one key at once and a second. Commands are good for two minutes before and after their time: at this rate the
/// window of 4,096 packets is longer than that, so none can be repeated.
const PACKETS_BURST: u64 = 20;
const PACKETS_PER_S: u64 = 10;
/// Bytes read at once.
const READ_BYTES: usize = 4096;

/// The listener of a node.
pub(crate) struct UepsListener {
    listener: Listener,
    shared: Arc<Shared>,
}

/// What there is to say of it.
#[derive(Clone, Debug)]
pub(crate) struct UepsStatus {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    /// Addresses that sent forgeries.
    pub(crate) threats: Vec<(IpAddr, ThreatInfo)>,
}

struct Shared {
    keys: Vec<KeyState>,
    intents: Arc<Intents>,
    audit: Option<Arc<AuditBook>>,
    threats: Mutex<Threats<IpAddr>>,
    connections: Mutex<BTreeMap<u64, Connection>>,
    next: AtomicU64,
    clock: Clock,
    stopping: AtomicBool,
    threads: Arc<Threads>,
}

struct KeyState {
    name: String,
    key: Key,
    answer_key: Key,
    grants: Grants,
    seen: Mutex<ReplayWindow>,
    rate: Mutex<Bucket>,
}

struct Connection {
    ip: IpAddr,
    socket: Arc<TcpStream>,
}

impl UepsListener {
    /// Binds; [`UepsListener::start`] starts accepting.
    pub(crate) fn bind(
        address: &str,
        keys: Vec<NamedKey>,
        intents: Arc<Intents>,
        audit: Option<Arc<AuditBook>>,
        clock: Clock,
        threads: Arc<Threads>,
    ) -> Result<UepsListener> {
        let listener = Listener::bind(address)?;
        let state = |key: NamedKey| KeyState {
            name: key.name,
            answer_key: key.key.for_answers(),
            key: key.key,
            grants: key.grants,
            seen: ReplayWindow::new(REPLAYS_DEFAULT).into(),
            rate: Bucket::new(clock.mono(), PACKETS_BURST, PACKETS_PER_S).into(),
        };
        let shared = Arc::new(Shared {
            keys: keys.into_iter().map(state).collect(),
            intents,
            audit,
            threats: Threats::new(ThreatLimits::default()).into(),
            connections: Mutex::default(),
            next: AtomicU64::new(1),
            clock,
            stopping: AtomicBool::new(false),
            threads,
        });
        Ok(UepsListener { listener, shared })
    }

    pub(crate) fn start(&self) -> Result<()> {
        let (stopping, accepting) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
        let is_stopping = move || stopping.stopping.load(Ordering::Relaxed);
        let accept = move |socket, from| accept(&accepting, socket, from);
        self.listener.start_with("ueps", &self.shared.threads, is_stopping, accept)
    }

    /// Ends listener and connections; their threads are joined by whoever owns them.
    pub(crate) fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.listener.stop();
        for connection in self.shared.connections.lock().values() {
            let _ = connection.socket.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn status(&self) -> UepsStatus {
        let now = self.shared.clock.mono();
        UepsStatus {
            address: self.listener.address(),
            connections: self.shared.connections.lock().len(),
            threats: self
                .shared
                .threats
                .lock()
                .list(now)
                .map(|(ip, standing)| (*ip, ThreatInfo::of(standing, now)))
                .collect(),
        }
    }
}

/// Lets a connection in, or not.
fn accept(shared: &Arc<Shared>, socket: TcpStream, from: SocketAddr) {
    let (ip, socket) = (from.ip().to_canonical(), Arc::new(socket));
    let id = {
        let mut connections = shared.connections.lock();
        let here = connections.values().filter(|other| other.ip == ip).count();
        let refused = shared.threats.lock().is_refused(shared.clock.mono(), &ip);
        let full = connections.len() >= CONNECTIONS_MAX || here >= CONNECTIONS_PER_ADDRESS_MAX;
        if refused || full || shared.stopping.load(Ordering::Relaxed) {
            return; // closed by being dropped
        }
        let id = shared.next.fetch_add(1, Ordering::Relaxed);
        connections.insert(id, Connection { ip, socket: Arc::clone(&socket) });
        id
    };
    let serving = Arc::clone(shared);
    let spawned = shared.threads.spawn(&format!("ueps/{id}"), STACK, move || {
        // The place is given back also when a thread panics.
        let place = Place { shared: &serving, id };
        if let Err(e) = Served::new(&serving, &socket, from, ip).run() {
            log::debug!(target: "dispatcher", address:% = from; "closed: {e}");
        }
        let _ = socket.shutdown(Shutdown::Both);
        drop(place);
    });
    if let Err(e) = spawned {
        log::error!(target: "dispatcher", "{e}");
        shared.connections.lock().remove(&id);
    }
}

struct Place<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.connections.lock().remove(&self.id);
    }
}

/// One connection, on its thread.
struct Served<'a> {
    shared: &'a Shared,
    socket: &'a TcpStream,
    from: SocketAddr,
    ip: IpAddr,
    /// The key of its first verified packet: it stays with that one.
    key: Option<&'a KeyState>,
    until: Instant,
}

impl<'a> Served<'a> {
    fn new(shared: &'a Shared, socket: &'a TcpStream, from: SocketAddr, ip: IpAddr) -> Served<'a> {
        Served { shared, socket, from, ip, key: None, until: Instant::now() + UNPROVEN_MAX }
    }

    fn run(&mut self) -> Result<()> {
        let io = |e: std::io::Error| Error::Unreachable(e.to_string());
        self.socket.set_nodelay(true).map_err(io)?;
        self.socket.set_write_timeout(Some(WRITE_MAX)).map_err(io)?;
        let (mut deframer, mut buffer) = (Deframer::new(Reading::Strict), [0; READ_BYTES]);
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::TimedOut("no packet came".to_owned()));
            }
            self.socket.set_read_timeout(Some(left)).map_err(io)?;
            let count = match (&mut &*self.socket).read(&mut buffer) {
                Ok(0) => return Ok(deframer.handle_end()?),
                Ok(count) => count,
                Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    continue;
                }
                Err(e) => return Err(io(e)),
            };
            let mut input = buffer.get(..count).unwrap_or_default();
            while let Some(frame) = deframer.handle_bytes(&mut input)? {
                self.handle_frame(&frame)?;
            }
        }
    }

    fn handle_frame(&mut self, frame: &Frame<'_>) -> Result<()> {
        let Some((key, packet)) = self.verify(frame) else { return self.handle_forgery() };
        (self.key, self.until) = (Some(key), Instant::now() + IDLE_MAX);
        let answer = match self.admit(key, &packet) {
            Ok(context) => self.carry_out(key, &context, &packet),
            Err((code, why)) => {
                let intent = packet.header().intent;
                log::warn!(target: "dispatcher", address:% = self.from, key = key.name.as_str(), intent; "packet refused: {why}");
                IntentAnswer::refused(packet.hmac(), code, why)
            }
        };
        let bytes = answer.encode(packet.header().intent, &key.answer_key)?;
        (&mut &*self.socket).write_all(&bytes).map_err(|e| Error::Unreachable(e.to_string()))
    }

    /// Hands a packet to its handler; one that changes something between its two lines of the audit log. Its sender is no
    /// node and has no key of one: the lines name the machine itself, the pre-shared key and the address.
    fn carry_out(&self, key: &KeyState, context: &IntentContext, packet: &Packet<'_>) -> IntentAnswer {
        let command = AuditCommand::packet(packet.header().intent, packet.payload());
        let Some((audit, command)) = self.shared.audit.as_ref().zip(command) else {
            return self.shared.intents.carry_out(context, packet);
        };
        let command = command.with("key", &key.name).with("from", &self.from.to_string());
        let (id, what, args) = (hex::encode(packet.hmac()), command.what.as_str(), &command.args);
        let begin = AuditBegin { who: None, session: None, id: &id, ts: None, what, args, peer: None };
        let of = match audit.append(self.shared.clock.now().wall, &AuditEntry::Begin(begin)) {
            Ok(mark) => mark.n,
            Err(e) => {
                log::error!(target: "audit", key = key.name.as_str(); "{}", not_recorded(&e));
                return IntentAnswer::refused(packet.hmac(), ErrorCode::OPERATION_FAILED, not_recorded(&e));
            }
        };
        let mut answer = self.shared.intents.carry_out(context, packet);
        let mark = audit.end(self.shared.clock.now().wall, of, answer.failure().map_or(Ok(()), Err));
        answer.mark(mark);
        answer
    }

    /// The key that signed it: the connection's, or at first any.
    fn verify<'f>(&self, frame: &Frame<'f>) -> Option<(&'a KeyState, Packet<'f>)> {
        let keys = match self.key {
            Some(key) => std::slice::from_ref(key),
            None => &self.shared.keys,
        };
        keys.iter().find_map(|key| Some((key, frame.verify(&key.key).ok()?)))
    }

    fn handle_forgery(&self) -> Result<()> {
        let now: Time = self.shared.clock.mono();
        log::warn!(target: "dispatcher", address:% = self.ip; "integrity violation: HMAC mismatch (ThreatScore +100)");
        match self.shared.threats.lock().handle_mismatch(now, &self.ip) {
            Standing::Admitted(_) if self.key.is_some() => Ok(()),
            // Nobody is told that a key is wrong, but nobody who has the wrong one need wait either.
            Standing::Admitted(_) => Err(Error::malformed("UEPS packet", "signed with none of the keys")),
            Standing::RefusedUntil(_) => {
                log::warn!(target: "dispatcher", address:% = self.ip; "threat score exceeded: refused for ten minutes");
                Err(Refusal::Limit("threat score exceeded".to_owned()).into())
            }
        }
    }

    /// Whether a verified packet goes to its handler; if not, the code and the words of the answer.
    fn admit(&self, key: &KeyState, packet: &Packet<'_>) -> std::result::Result<IntentContext, (i64, String)> {
        let replayed = |defect: Defect| (ErrorCode::INVALID_MESSAGE, Error::from(defect).to_string());
        // What comes again costs its sender nothing of its rate, and what is over the rate pushes nothing out of the window.
        if key.seen.lock().has(packet) {
            return Err(replayed(Defect::Replayed));
        }
        if let Err(wait) = key.rate.lock().take(self.shared.clock.mono(), 1) {
            let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            let why = Refusal::RateLimit { retry_after_ms };
            return Err((ErrorCode::OPERATION_FAILED, why.to_string()));
        }
        key.seen.lock().handle_packet(packet).map_err(replayed)?;
        if let Some(needed) = grant_for_intent(packet.header().intent) {
            key.grants.require(needed).map_err(|e| (ErrorCode::UNAUTHORIZED, e.to_string()))?;
        }
        let source = IntentSource::Tcp { address: self.from, key_name: key.name.clone() };
        Ok(IntentContext::new(source, key.grants))
    }
}
