//! A peer that connects, proves its key and keeps quiet: for measuring what a connection costs the node that holds it. Not part of
//! a node, and without its threads: thousands fit into one process.

use super::open::ws_config;
use super::pipe::Pipe;
use super::tls;
use crate::base::{Error, Result, Rng, Time};
use crate::identity::{Identity, Role};
use crate::message::{Message, Payload, Ping, Pong};
use crate::runtime::clock::Clock;
use crate::session::handshake::HANDSHAKE_BYTES_MAX;
use crate::session::secure::Statement;
use crate::session::{
    Challenges, Expect, InboundLimits, Initiator, Known, Lane, Opened, OutboundLimits, Security, halves,
};
use rustls::{ClientConnection, Connection};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tungstenite::{Message as WsMessage, WebSocket};

/// How long a connection may take to be proven.
const STEP: Duration = Duration::from_secs(10);

/// How an [`IdlePeer`] connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdleManner {
    /// TLS below, with whatever certificate is shown.
    pub tls: bool,
    /// Protocol 1.0 instead of a secure session.
    pub plain: bool,
}

/// One idle connection; it ends when this is dropped.
pub struct IdlePeer {
    _ws: WebSocket<Pipe>,
}

impl std::fmt::Debug for IdlePeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdlePeer")
    }
}

impl IdlePeer {
    /// Connects to a node that lets unknown keys in, under a key of its own, and proves it by one ping.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or why the node refused.
    pub fn connect(at: SocketAddr, manner: IdleManner, rng: &mut Rng) -> Result<IdlePeer> {
        let peer = Identity::generate("idle", Role::Controller, Clock::start().now().wall, rng)?;
        IdlePeer::connect_as(at, manner, &peer, rng)
    }

    /// The same under a key of the caller's.
    ///
    /// # Errors
    /// As [`IdlePeer::connect`].
    pub fn connect_as(at: SocketAddr, manner: IdleManner, peer: &Identity, rng: &mut Rng) -> Result<IdlePeer> {
        let clock = Clock::start();
        let broken = |e: &dyn std::fmt::Display| Error::Unreachable(format!("{at}: {e}"));
        let socket = Arc::new(TcpStream::connect_timeout(&at, STEP).map_err(|e| broken(&e))?);
        let session = match manner.tls {
            true => {
                let config = tls::client(&tls::TlsTrust::System, None, true)?;
                let name = rustls::pki_types::ServerName::from(at.ip());
                Some(Connection::Client(ClientConnection::new(config, name).map_err(|e| broken(&e))?))
            }
            false => None,
        };
        let mut pipe = Pipe::new(socket, session, Instant::now() + STEP);
        pipe.shake().map_err(|e| broken(&e))?;
        let url = format!("{}://{at}/ws", if manner.tls { "wss" } else { "ws" });
        let (mut ws, _) = tungstenite::client::client_with_config(url, pipe, Some(ws_config(HANDSHAKE_BYTES_MAX)))
            .map_err(|e| broken(&e))?;
        let security = match manner.plain {
            true => Security::Off,
            false => Security::On { statement: Box::new(Statement::new(peer, Vec::new(), 1 << 20)), required: true },
        };
        let mut challenges = Challenges::new();
        let (initiator, first) =
            Initiator::start(peer, Expect::Anyone, &security, None, clock.now(), rng, &mut challenges)?;
        ws.send(WsMessage::text(String::from_utf8_lossy(&first).into_owned())).map_err(|e| broken(&e))?;
        let ack = ws.read().map_err(|e| broken(&e))?.into_data();
        let dialled = initiator.handle_ack(peer, &security, &ack, |_| Known::default())?;
        if let Some(proof) = dialled.proof {
            ws.send(WsMessage::binary(proof)).map_err(|e| broken(&e))?;
        }
        let now = clock.now();
        let ping = Payload::Ping(Ping { sent_at: now.wall.unix_millis(), rigmesh: None });
        let to = dialled.established.id.to_string();
        let message = Message::new(now, rng, &peer.id().to_string(), &to, &ping);
        let limits = InboundLimits::new(100, 50);
        let (mut outbound, mut inbound) =
            halves(dialled.keys, rng.fork(), OutboundLimits::default(), limits, 1 << 20, security.takes(), Time::ZERO);
        let mut send = |ws: &mut WebSocket<Pipe>, message: &Message| -> Result<()> {
            outbound.handle_send(Lane::Control, message.encode().into_bytes())?;
            let mut frame = Vec::new();
            outbound.poll_frame(Time::ZERO, now.wall.unix_seconds(), &mut frame)?;
            ws.send(WsMessage::binary(frame)).map_err(|e| broken(&e))
        };
        send(&mut ws, &message)?;
        // Its pong, and its ping, which is answered as by any peer.
        let (mut heard, mut asked) = (false, false);
        while !(heard && asked) {
            let got = ws.read().map_err(|e| broken(&e))?;
            let binary = got.is_binary();
            let Opened::Message(message, _) = inbound.handle_frame(Time::ZERO, binary, &mut got.into_data().to_vec())
            else {
                continue;
            };
            match message.payload()? {
                Payload::Pong(_) => heard = true,
                Payload::Ping(ping) => {
                    asked = true;
                    let pong = Pong { sent_at: ping.sent_at, received_at: now.wall.unix_millis(), rigmesh: None };
                    send(&mut ws, &message.reply(now, rng, &Payload::Pong(pong)))?;
                }
                _ => {}
            }
        }
        Ok(IdlePeer { _ws: ws })
    }
}
