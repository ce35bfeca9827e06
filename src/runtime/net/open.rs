//! `hs`: from a socket to a link. Dials or takes an accepted socket, does TLS, the
//! WebSocket upgrade and the handshake of mesh.md §3, each under a deadline, then starts the
//! reader; the thread is one of the pool's (see [`super::pool`]).

use super::conn::{Conn, Parts};
use super::eager::Eager;
use super::gate::{Entrance, Gate, Pass};
use super::pipe::Pipe;
use super::pool::HandshakePool;
use super::reader::{Reader, Wire};
use super::tls::{self, TlsTrust};
use crate::base::{Error, Refusal, Result, Rng};
use crate::identity::{Identity, PublicKey, Rotation};
use crate::mesh::{DialId, Input, LinkId, PairAim, Target, meant};
use crate::message::{Disconnect, DisconnectCode, Message, MessageType, Payload, Rotated, parse_response};
use crate::peers::Admission;
use crate::runtime::clock::Clock;
use crate::runtime::files::registry::SharedRegistry;
use crate::runtime::pairing::{Attempt, Pairings};
use crate::runtime::queues::{Event, InboxSender};
use crate::runtime::rotation::Successions;
use crate::runtime::threads::{STACK, Threads};
use crate::session::alone::{open_message, seal_message};
use crate::session::handshake::{HANDSHAKE_BYTES_MAX, addressed_to};
use crate::session::pairing::{open_paired, seal_paired};
use crate::session::secure::FRAME_BYTES_MAX;
use crate::session::{
    Asked, Challenges, Dialled, Established, InboundLimits, Initiator, Known, LinkKeys, OutboundLimits, Responded,
    Security, halves, respond,
};
use parking_lot::Mutex;
use rustls::{ClientConnection, Connection, ServerConfig, ServerConnection};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tungstenite::error::CapacityError;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::http::StatusCode;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{HandshakeError, Message as WsMessage, WebSocket};

/// The WebSocket code reads at most this much per call; it is resident for every connection.
const READ_BUFFER: usize = 1024;

/// What opening needs to know of the configuration.
pub(crate) struct NetSettings {
    /// The WebSocket's path, `/ws`.
    pub(crate) path: String,
    /// Largest WebSocket message in either direction.
    pub(crate) message_bytes_max: usize,
    /// Messages at once and per second from a peer not known to be RigMesh.
    pub(crate) plain_limit: (u32, u32),
    pub(crate) outbound: OutboundLimits,
    /// Each stage of opening (connect; TLS and upgrade; handshake) may take this long.
    pub(crate) stage_max: Duration,
    pub(crate) tls_server: Option<Arc<ServerConfig>>,
    pub(crate) trust: TlsTrust,
    /// What is offered and asked for beyond 1.0.
    pub(crate) security: Security,
}

/// What every handshake of a node shares.
pub(crate) struct Opener {
    pub(crate) settings: NetSettings,
    pub(crate) identity: Arc<Identity>,
    pub(crate) registry: SharedRegistry,
    pub(crate) pairings: Arc<Pairings>,
    pub(crate) successions: Arc<Successions>,
    pub(crate) replaced: Option<Replaced>,
    pub(crate) challenges: Mutex<Challenges>,
    pub(crate) rng: Mutex<Rng>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) eager: Arc<Eager>,
    pub(crate) pool: Arc<HandshakePool>,
    pub(crate) threads: Arc<Threads>,
    pub(crate) inbox: InboxSender,
    pub(crate) clock: Clock,
    pub(crate) next_link: AtomicU64,
    pub(crate) stopping: AtomicBool,
}

/// The keys that this node had before, kept for those who have not heard that they were replaced (secure-session.md §6).
pub(crate) struct Replaced {
    pub(crate) identity: Identity,
    pub(crate) security: Security,
    pub(crate) statement: Rotation,
}

/// Frames that are read for the answer to a statement: the other side says a few things of its own to a new link.
const ANSWER_FRAMES_MAX: usize = 32;

/// A socket on its way to become a link.
struct Opening {
    ws: WebSocket<Pipe>,
    socket: Arc<TcpStream>,
    pass: Pass,
    address: String,
    dial: Option<DialId>,
    /// Gives the masks of our frames, when we dialled.
    masks: Option<Box<Rng>>,
    /// Drawn when the socket came, so that links are in the order of accepting, however long their handshakes take.
    link: LinkId,
}

impl Opener {
    /// Takes an accepted socket; returns at once.
    pub(crate) fn accept(self: &Arc<Self>, socket: TcpStream, from: SocketAddr) {
        let socket = Arc::new(socket);
        let ip = from.ip().to_canonical();
        let (pass, full) = match self.gate.enter(self.clock.mono(), ip, &socket) {
            Entrance::Pass(pass) => (pass, false),
            Entrance::Full(pass) => (pass, true),
            Entrance::Closed => return,
        };
        let me = self.clone();
        let (from, link) = (SocketAddr::new(ip, from.port()), self.draw_link());
        let address = from.to_string();
        let _ = self.pool.run(move || {
            if let Err(e) = me.answer(socket, pass, full, from, link) {
                log::debug!(target: "mesh", address = address.as_str(); "no link: {e}");
            }
        });
    }

    /// Dials; the outcome goes to the inbox.
    pub(crate) fn dial(self: &Arc<Self>, dial: DialId, target: Target) {
        let me = self.clone();
        let failed = self.inbox.clone();
        let spawned = self.pool.run(move || {
            if let Err(why) = me.call(dial, &target) {
                me.inbox.send(Event::Mesh(Input::DialFailed { dial, why }));
            }
        });
        if let Err(why) = spawned {
            failed.try_send(Event::Mesh(Input::DialFailed { dial, why }));
        }
    }

    fn answer(&self, socket: Arc<TcpStream>, pass: Pass, full: bool, from: SocketAddr, link: LinkId) -> Result<()> {
        let _ = socket.set_nodelay(true);
        let deadline = Instant::now() + self.settings.stage_max;
        let tls = match &self.settings.tls_server {
            Some(config) => Some(Connection::Server(ServerConnection::new(config.clone()).map_err(|e| tls_error(&e))?)),
            None => None,
        };
        let plain = tls.is_none();
        let mut pipe = Pipe::new(socket.clone(), tls, deadline).eagerly(self.eager.begin());
        pipe.shake().map_err(|e| Error::Unreachable(format!("TLS: {e}")))?;
        let ws = match tungstenite::accept_hdr_with_config(
            pipe,
            UpgradeCheck { path: &self.settings.path, full },
            Some(ws_config(HANDSHAKE_BYTES_MAX)),
        ) {
            Ok(ws) => ws,
            Err(HandshakeError::Failure(e @ (tungstenite::Error::Protocol(_) | tungstenite::Error::HttpFormat(_))))
                if plain =>
            {
                let _ =
                    (&*socket).write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                return Err(Error::malformed("upgrade request", e.to_string()));
            }
            Err(e) => return Err(Error::Unreachable(format!("upgrade: {e}"))),
        };
        let mut opening = Opening { ws, socket, pass, address: from.to_string(), dial: None, masks: None, link };
        let until = Instant::now() + self.settings.stage_max;
        opening.ws.get_mut().set_deadline(until);
        let first = opening.read()?;
        let (mut attempt, mut turn) = (None, None);
        // Whoever is admitted waits for a turn, and nobody else takes one.
        let admit = |key: &PublicKey, asked: Asked| {
            let known = if asked == Asked::Link {
                let registry = self.registry.inner().read();
                if matches!(registry.admission(key), Admission::Refused | Admission::Revoked) {
                    return Err(Refusal::NotAllowed);
                }
                Known { secure: registry.access().is_secure(key), psk: None }
            } else {
                let (psk, begun) = self.pairings.begin(from.ip(), key, asked)?;
                attempt = Some(begun);
                Known { secure: false, psk: Some(psk) }
            };
            turn = Some(self.gate.turns.take(until)?);
            Ok(known)
        };
        let mut rng = self.fork_rng();
        let now = self.clock.now();
        let replaced = self.replaced.as_ref().filter(|r| addressed_to(&first) == Some(r.identity.public_key()));
        let (identity, security) =
            replaced.map_or((&*self.identity, &self.settings.security), |r| (&r.identity, &r.security));
        // A copy, so that handshakes do not wait for each other's curve work. A challenge that is
        // issued later cannot stand in a message that is here already.
        let mut challenges = self.challenges.lock().clone();
        let responded = respond(identity, security, &first, admit, now, &mut rng, &mut challenges);
        drop(turn);
        match responded {
            Responded::Accept { ack, established, keys } => {
                opening.write(ack)?;
                match replaced {
                    // Who speaks 1.0 hears of no successor.
                    Some(_) => Err(Refusal::NotAllowed.into()),
                    None => self.establish(opening, established, keys),
                }
            }
            Responded::Await { ack, half_open } => {
                opening.write(ack)?;
                let proof = opening.read_binary()?;
                let turn = self.gate.turns.take(until)?;
                let proven = half_open.handle_proof(&proof);
                drop(turn);
                let (established, mut keys) = match proven {
                    Ok(proven) => proven,
                    Err(e) => {
                        attempt.iter_mut().for_each(Attempt::note_wrong);
                        return Err(e);
                    }
                };
                match attempt {
                    Some(attempt) => self.welcome(&mut opening, &attempt, &established, &mut keys)?,
                    None => self.note_session(&established),
                }
                if let Some(replaced) = replaced {
                    return self.tell(&mut opening, replaced, &established, keys);
                }
                self.establish(opening, established, keys)
            }
            Responded::Reject { ack, reason } => {
                opening.write(ack)?;
                let _ = opening.ws.close(None);
                log::info!(target: "mesh", address = opening.address.as_str(); "refused: {reason}");
                Ok(())
            }
            Responded::Close(why) => Err(why),
        }
    }

    fn call(&self, dial: DialId, target: &Target) -> Result<()> {
        let refused = match self.call_as(&self.identity, &self.settings.security, dial, target) {
            Err(e @ Error::Rejected(Refusal::Handshake(_))) if target.pairing.is_none() => e,
            Ok((opening, Dialled { established, keys, .. })) => return self.establish(opening, established, keys),
            Err(e) => return Err(e),
        };
        // It may know our old key, and not have heard of this one.
        let Some(replaced) = &self.replaced else { return Err(refused) };
        let known = self.call_as(&replaced.identity, &replaced.security, dial, target);
        let Ok((mut opening, Dialled { established, keys, .. })) = known else { return Err(refused) };
        self.tell(&mut opening, replaced, &established, keys)?;
        drop(opening);
        let (opening, Dialled { established, keys, .. }) =
            self.call_as(&self.identity, &self.settings.security, dial, target)?;
        self.establish(opening, established, keys)
    }

    /// From an address to a session with whoever is meant.
    fn call_as(
        &self,
        identity: &Identity,
        security: &Security,
        dial: DialId,
        target: &Target,
    ) -> Result<(Opening, Dialled)> {
        let (socket, pass) = self.connect(&target.address)?;
        let link = self.draw_link();
        let tls = if target.tls { Some(Connection::Client(self.tls_client(target)?)) } else { None };
        let deadline = Instant::now() + self.settings.stage_max;
        let mut pipe = Pipe::new(socket.clone(), tls, deadline).eagerly(self.eager.begin());
        let place = format!("{}{}", target.address, if target.tls { " (TLS)" } else { "" });
        pipe.shake().map_err(|e| shake_error(&place, &e))?;
        // Made before the upgrade: the other side is only now taking the connection.
        let aim = target.pairing.as_deref();
        let (initiator, first) = self.first_words(identity, security, target, aim)?;
        let url = format!("{}://{}{}", if target.tls { "wss" } else { "ws" }, target.address, self.settings.path);
        let ws = match tungstenite::client::client_with_config(url, pipe, Some(ws_config(HANDSHAKE_BYTES_MAX))) {
            Ok((ws, _)) => ws,
            Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                return Err(Refusal::Handshake(format!("{place} answered HTTP {}", answer.status())).into());
            }
            Err(e) => return Err(Error::Unreachable(format!("{place}: no WebSocket there: {e}"))),
        };
        let masks = Some(Box::new(self.fork_rng()));
        let mut opening = Opening { ws, socket, pass, address: target.address.clone(), dial: Some(dial), masks, link };
        let until = Instant::now() + self.settings.stage_max;
        opening.ws.get_mut().set_deadline(until);
        opening.write(first)?;
        let ack =
            opening.read().map_err(|e| Error::Unreachable(format!("{place}: the handshake was not answered: {e}")))?;
        let known = |key: &PublicKey| {
            let secure = self.registry.inner().read().access().is_secure(key);
            Known { secure, ..Known::default() }
        };
        let turn = self.gate.turns.take(until)?;
        let mut dialled = initiator.handle_ack(identity, security, &ack, known)?;
        drop(turn);
        match (aim, dialled.proof.take()) {
            (Some(aim), Some(proof)) => {
                opening.write_binary(proof)?;
                self.join(&mut opening, target, aim, &dialled.established, &mut dialled.keys)?;
            }
            (_, Some(proof)) => {
                self.note_session(&dialled.established);
                opening.write_binary(proof)?;
            }
            (_, None) => {}
        }
        Ok((opening, dialled))
    }

    /// The first message of a handshake with whoever is meant.
    fn first_words(
        &self,
        identity: &Identity,
        security: &Security,
        target: &Target,
        aim: Option<&PairAim>,
    ) -> Result<(Initiator, Vec<u8>)> {
        let joining = aim.map(|aim| &aim.joining);
        let (now, mut rng) = (self.clock.now(), self.fork_rng());
        let expect = meant(self.registry.inner().read().access(), target.expect);
        let _turn = self.gate.turns.take(Instant::now() + self.settings.stage_max)?;
        Initiator::start(identity, expect, security, joining, now, &mut rng, &mut self.challenges.lock())
    }

    /// Says to a peer that knows our old key which one is in its place, and hears what it says to that.
    fn tell(
        &self,
        opening: &mut Opening,
        replaced: &Replaced,
        established: &Established,
        mut keys: LinkKeys,
    ) -> Result<()> {
        let (now, mut rng) = (self.clock.now(), self.fork_rng());
        let (own, peer) = (replaced.identity.id().to_string(), established.id.to_string());
        let said = Payload::Rotate(Box::new(replaced.statement.clone()));
        let question = Message::new(now, &mut rng, &own, &peer, &said);
        opening.write_binary(seal_message(&mut keys, &question)?)?;
        let mut answer = None;
        for _ in 0..ANSWER_FRAMES_MAX {
            let message = open_message(&mut keys, &mut opening.read_binary()?)?;
            answer = message.filter(|message| message.reply_to.as_ref() == Some(&question.id));
            if answer.is_some() {
                break;
            }
        }
        let told: Rotated = parse_response(answer.as_ref(), &MessageType::Rotated)?;
        log::info!(target: "peers", peer = peer.as_str(); "told of our new key: {:?}", told.state);
        let bye = Disconnect {
            reason: "this key was replaced by a new key; try again".to_owned(),
            code: DisconnectCode::NORMAL,
        };
        let bye = Message::new(now, &mut rng, &own, &peer, &Payload::Disconnect(bye));
        opening.write_binary(seal_message(&mut keys, &bye)?)?;
        // What it says meanwhile is read away: a socket closed over it would take the goodbye with it.
        opening.ws.get_mut().discard_input();
        Ok(())
    }

    /// Somebody showed the code: it is saved and told so, then it has saved us.
    fn welcome(
        &self,
        opening: &mut Opening,
        attempt: &Attempt,
        established: &Established,
        keys: &mut LinkKeys,
    ) -> Result<()> {
        let granted = attempt.accept(established)?;
        let names = granted.names().map(str::to_owned).collect();
        let (own, mut rng) = (self.identity.id(), self.fork_rng());
        opening.write_binary(seal_paired(keys, self.clock.now(), &mut rng, own, established.id, names)?)?;
        open_paired(keys, &mut opening.read_binary()?)?;
        log::info!(target: "peers", peer = established.id.to_string().as_str(), grants = granted.to_string().as_str(); "paired");
        Ok(())
    }

    /// The other side knows now that we know its code, and says that it has saved us: then we save it and say so.
    fn join(
        &self,
        opening: &mut Opening,
        target: &Target,
        aim: &PairAim,
        established: &Established,
        keys: &mut LinkKeys,
    ) -> Result<()> {
        // Somebody who does not know the code learns nothing about it, not even why there is no answer.
        let silence = |e: Error| match e {
            Error::Unreachable(_) => {
                Refusal::pairing("the code was not accepted; it is good once, and for minutes").into()
            }
            other => other,
        };
        let paired = open_paired(keys, &mut opening.read_binary().map_err(silence)?)?;
        let certificate = opening.ws.get_ref().certificate();
        self.pairings.save_dialled(aim, target, certificate, established)?;
        let _ = aim.granted.set(paired.granted);
        let (own, mut rng) = (self.identity.id(), self.fork_rng());
        opening.write_binary(seal_paired(keys, self.clock.now(), &mut rng, own, established.id, Vec::new())?)
    }

    /// A session stands: from now on its peer gets nothing less, also after a restart, and has proven itself to whoever
    /// waits for that.
    fn note_session(&self, with: &Established) {
        let key = &with.key;
        if let Some(session) = &with.session {
            self.successions.note_proven(key, &session.statement.sign);
        }
        if let Err(e) = self.registry.mark_secure(key) {
            log::error!(target: "peers", peer = key.node_id().to_string().as_str(); "the secure mark could not be saved and holds until this node ends: {e}");
        }
    }

    fn draw_link(&self) -> LinkId {
        LinkId(self.next_link.fetch_add(1, Ordering::Relaxed))
    }

    fn fork_rng(&self) -> Rng {
        self.rng.lock().fork()
    }

    fn connect(&self, address: &str) -> Result<(Arc<TcpStream>, Pass)> {
        let unreachable = |e: &dyn std::fmt::Display| Error::Unreachable(format!("cannot connect to {address}: {e}"));
        let found: Vec<SocketAddr> = address.to_socket_addrs().map_err(|e| unreachable(&e))?.collect();
        let mut last = unreachable(&"the name has no address");
        for at in found {
            if self.stopping.load(Ordering::Relaxed) {
                return Err(Error::ShuttingDown);
            }
            // The gate knows the socket before it connects, so that a stop can end the wait.
            let socket =
                Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP)).map_err(|e| unreachable(&e))?;
            let socket: Arc<TcpStream> = Arc::new(socket.into());
            let pass = self.gate.leave(self.clock.mono(), at.ip(), &socket);
            match SockRef::from(&*socket).connect_timeout(&at.into(), self.settings.stage_max) {
                Ok(()) => {
                    let _ = socket.set_nodelay(true);
                    return Ok((socket, pass));
                }
                Err(e) => last = unreachable(&e),
            }
        }
        Err(last)
    }

    fn tls_client(&self, target: &Target) -> Result<ClientConnection> {
        let config = tls::client(&self.settings.trust, target.tls_pin, target.found)?;
        let host = target.address.rsplit_once(':').map_or(target.address.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = rustls::pki_types::ServerName::try_from(host)
            .map_err(|e| Error::Config(format!("{} is no name for TLS: {e}", target.address)))?;
        ClientConnection::new(config, name).map_err(|e| tls_error(&e))
    }

    /// The handshake is done: the link is announced to the dispatcher first, then read from.
    fn establish(&self, opening: Opening, established: Box<Established>, keys: LinkKeys) -> Result<()> {
        let certificate = opening.dial.and_then(|_| opening.ws.get_ref().certificate());
        let Opening { mut ws, socket, pass, address, dial, masks, link } = opening;
        pass.establish();
        let now = self.clock.mono();
        let max = self.settings.message_bytes_max;
        let (burst, rate) = self.settings.plain_limit;
        let limits = InboundLimits::new(burst, rate);
        let takes = self.settings.security.takes();
        let (outbound, inbound) =
            halves(keys, self.fork_rng(), self.settings.outbound, limits.clone(), max, takes, now);
        let parts = Parts {
            socket,
            tls: ws.get_ref().tls(),
            clock: self.clock,
            threads: self.threads.clone(),
            pass,
            outbound,
            masks,
        };
        let conn = Conn::new(link, parts);
        ws.get_mut().split(conn.clone()).map_err(|e| Error::io("cannot use the socket", &e))?;
        // The frames of a secure session are cut smaller than messages are.
        let frame_max = if established.session.is_some() { FRAME_BYTES_MAX } else { max };
        ws.set_config(|c| (c.max_message_size, c.max_frame_size) = (Some(frame_max), Some(frame_max)));
        let name = format!("conn/{}", established.id);
        let up = Input::LinkUp { link, established, address, dial, certificate, limits };
        if !self.inbox.send(Event::LinkUp(up, conn.clone())) {
            conn.shut();
            return Err(Error::ShuttingDown);
        }
        let wire = Wire { ws, conn: conn.clone() };
        // Boxed: by value it would lie on the thread's stack several times over, and cost every connection a page.
        let mut reader = Box::new(Reader { wire, inbound, inbox: self.inbox.clone(), clock: self.clock });
        if let Err(why) = self.threads.spawn(&name, STACK, move || reader.run()) {
            conn.shut();
            self.inbox.send(Event::Mesh(Input::LinkDown { link, why }));
        }
        Ok(())
    }
}

impl Opening {
    /// The next message, text or binary alike.
    fn read(&mut self) -> Result<Vec<u8>> {
        self.next().map(|(_, bytes)| bytes)
    }

    /// The next message, which must be binary.
    fn read_binary(&mut self) -> Result<Vec<u8>> {
        match self.next()? {
            (true, bytes) => Ok(bytes),
            (false, _) => Err(Refusal::BadProof.into()),
        }
    }

    /// The next message, and whether it is binary.
    fn next(&mut self) -> Result<(bool, Vec<u8>)> {
        loop {
            match self.ws.read() {
                Ok(WsMessage::Text(text)) => return Ok((false, text.as_bytes().to_vec())),
                Ok(WsMessage::Binary(bytes)) => return Ok((true, bytes.to_vec())),
                Ok(WsMessage::Ping(_) | WsMessage::Pong(_) | WsMessage::Frame(_)) => {}
                Ok(WsMessage::Close(_)) => return Err(Error::Unreachable("closed by the peer".to_owned())),
                Err(tungstenite::Error::Capacity(CapacityError::MessageTooLong { size, max_size })) => {
                    let _ = self.ws.close(Some(CloseFrame { code: CloseCode::Size, reason: "".into() }));
                    self.ws.get_mut().discard_input();
                    return Err(Error::malformed("handshake", format!("{size} bytes, at most {max_size} are taken")));
                }
                Err(e) => return Err(Error::Unreachable(e.to_string())),
            }
        }
    }

    fn write_binary(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.put(Data::Binary, bytes)
    }

    /// `text` is one of our own messages.
    fn write(&mut self, text: Vec<u8>) -> Result<()> {
        self.put(Data::Text, text)
    }

    /// Past the WebSocket code, which would keep the buffer of its largest message as long as the connection lives.
    fn put(&mut self, opcode: Data, bytes: Vec<u8>) -> Result<()> {
        let mut frame = Frame::message(bytes, OpCode::Data(opcode), true);
        frame.header_mut().mask = self.masks.as_mut().map(|rng| rng.array());
        let mut wire = Vec::with_capacity(frame.len());
        let formatted = frame.format(&mut wire);
        let written = formatted.map(|()| self.ws.get_mut().write_all(&wire));
        written.map_err(|e| Error::Unreachable(e.to_string()))?.map_err(|e| Error::Unreachable(e.to_string()))
    }
}

/// Path (404), room (503), Origin (403), in this order (mesh.md §3).
pub(super) struct UpgradeCheck<'a> {
    pub(super) path: &'a str,
    pub(super) full: bool,
}

impl tungstenite::handshake::server::Callback for UpgradeCheck<'_> {
    fn on_request(self, request: &Request, response: Response) -> std::result::Result<Response, ErrorResponse> {
        let origin = request.headers().get("origin");
        let (status, text) = if request.uri().path() != self.path {
            (StatusCode::NOT_FOUND, "not found")
        } else if self.full {
            (StatusCode::SERVICE_UNAVAILABLE, "Too many connections")
        } else if origin.is_some_and(|origin| !origin.to_str().is_ok_and(is_local_origin)) {
            (StatusCode::FORBIDDEN, "origin not allowed")
        } else {
            return Ok(response);
        };
        let mut refusal = ErrorResponse::new(Some(text.to_owned()));
        *refusal.status_mut() = status;
        Err(refusal)
    }
}

/// A page that a browser loaded from this very machine; the host's spelling counts.
fn is_local_origin(origin: &str) -> bool {
    let Some((_, authority)) = origin.split_once("://") else { return false };
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map_or("", |(host, _)| host),
        None => authority.split([':', '/']).next().unwrap_or_default(),
    };
    matches!(host, "localhost" | "127.0.0.1" | "::1")
}

pub(super) fn ws_config(max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(1 << 20)
        .max_message_size(Some(max))
        .max_frame_size(Some(max))
}

/// A certificate that is not trusted is a refusal of ours, and no fault of the line.
fn shake_error(place: &str, e: &std::io::Error) -> Error {
    match e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::General(_)) => {
            let next = "compare the fingerprint with `rigmesh id` over there, or name its CA file in the configuration";
            Refusal::Certificate(format!("{place}: {e}; {next}")).into()
        }
        _ => Error::Unreachable(format!("{place}: TLS handshake failed: {e}")),
    }
}

fn tls_error(e: &rustls::Error) -> Error {
    Error::Unreachable(format!("TLS: {e}"))
}

/// The address to reach a listener on this machine by.
pub(crate) fn loopback_of(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()) } else { address }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_machine_may_open_a_websocket() {
        for origin in ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:8080", "https://localhost"] {
            assert!(is_local_origin(origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "file://",
            "http://evil.example",
            "https://localhost.evil.example",
            "http://LOCALHOST",
            "localhost",
        ] {
            assert!(!is_local_origin(origin), "{origin}");
        }
    }
}
