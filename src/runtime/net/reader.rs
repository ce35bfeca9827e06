//! `conn/<peer>`: reads, opens and decodes until the connection ends. The only thread of an idle
//! connection; its stack stays shallow because the handshake ran elsewhere.

use super::conn::Conn;
use super::pipe::Pipe;
use crate::base::{Error, Refusal, Result};
use crate::mesh::Input;
use crate::runtime::clock::Clock;
use crate::runtime::queues::{Event, InboxSender};
use crate::session::secure::Fault;
use crate::session::{Inbound, Opened};
use std::sync::Arc;
use tungstenite::error::CapacityError;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message as WsMessage, WebSocket};

/// What a reader thread owns.
pub(crate) struct Reader {
    pub(crate) wire: Wire,
    pub(crate) inbound: Inbound,
    pub(crate) inbox: InboxSender,
    pub(crate) clock: Clock,
}

/// The reading side of a WebSocket: frames of data come out, everything else is seen to.
pub(crate) struct Wire {
    pub(crate) ws: WebSocket<Pipe>,
    pub(crate) conn: Arc<Conn>,
}

/// Tells the dispatcher that the link is gone, however the reader ended, also by a panic.
struct Ended {
    conn: Arc<Conn>,
    inbox: InboxSender,
    why: Option<Error>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.conn.shut();
        let why = self.why.take().unwrap_or_else(|| Error::Failed("the reader of this connection panicked".to_owned()));
        self.inbox.send(Event::Mesh(Input::LinkDown { link: self.conn.id, why }));
    }
}

impl Reader {
    pub(crate) fn run(&mut self) {
        let mut ended = Ended { conn: self.wire.conn.clone(), inbox: self.inbox.clone(), why: None };
        let why = self.read();
        ended.why = Some(why);
    }

    /// Reads until the end, and says why it was the end.
    fn read(&mut self) -> Error {
        let link = self.wire.conn.id;
        loop {
            let (binary, mut frame) = match self.wire.next() {
                Ok(frame) => frame,
                Err(why) => return why,
            };
            let size = frame.len();
            let (input, size, wait) = match self.inbound.handle_frame(self.clock.mono(), binary, &mut frame) {
                Opened::Message(message, wait) => {
                    // Of a message in parts this was only the last.
                    let size = size.max(message.payload.as_str().len());
                    (Some(Input::Message { link, message }), size, wait)
                }
                Opened::Packet(packet, wait) => {
                    let size = packet.len();
                    (Some(Input::Packet { link, packet }), size, wait)
                }
                Opened::Data(body, wait) => {
                    let size = body.len();
                    (Some(Input::Data { link, body }), size, wait)
                }
                Opened::Part => continue,
                Opened::Dropped(why, wait) => {
                    log::debug!(target: "mesh", link = link.0; "frame dropped: {why}");
                    (None, 0, wait)
                }
                Opened::Over(Fault::Forged) => return Refusal::BadProof.into(),
                Opened::Over(Fault::Broken(why)) => {
                    self.inbox.send(Event::Mesh(Input::LinkBroken { link, why }));
                    return self.wire.ignore_rest();
                }
            };
            if input.is_some_and(|input| !self.inbox.send_sized(input, size)) {
                return Error::ShuttingDown;
            }
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
        }
    }
}

impl Wire {
    /// The next message, and whether it is binary; `Err` is why there is none any more.
    pub(crate) fn next(&mut self) -> Result<(bool, Vec<u8>)> {
        loop {
            match self.ws.read() {
                Ok(WsMessage::Binary(bytes)) => return Ok((true, Vec::from(bytes))),
                Ok(WsMessage::Text(text)) => return Ok((false, text.as_bytes().to_vec())),
                Ok(WsMessage::Ping(_)) => {
                    let _ = self.ws.flush(); // the pong goes now, not at the next read
                }
                Ok(WsMessage::Close(_)) => {
                    // In the server role the reply is written but not flushed.
                    let _ = self.ws.flush();
                    let _ = std::io::Write::flush(self.ws.get_mut());
                    return Err(Error::Unreachable("closed by the peer".to_owned()));
                }
                Ok(_) => {}
                Err(e) => return Err(self.last_words(&e)),
            }
        }
    }

    /// Nothing more is taken; the connection closes when our goodbye has gone.
    fn ignore_rest(&mut self) -> Error {
        while self.ws.read().is_ok() {}
        Error::Unreachable("the session was broken off".to_owned())
    }

    /// An oversize or broken message is answered by a close frame that says so.
    fn last_words(&mut self, error: &tungstenite::Error) -> Error {
        let code = match error {
            tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(CloseCode::Size),
            tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => None,
            tungstenite::Error::Protocol(_) => Some(CloseCode::Protocol),
            tungstenite::Error::Utf8(_) => Some(CloseCode::Invalid),
            _ => None,
        };
        if let Some(code) = code {
            let mut bye = Frame::close(Some(CloseFrame { code, reason: "".into() }));
            if self.ws.get_ref().is_client() {
                bye.header_mut().mask = Some([0; 4]);
            }
            let mut bytes = Vec::new();
            if bye.format(&mut bytes).is_ok() {
                self.conn.send_control(bytes);
            }
            // Closing with unread input would reset the connection and lose those last words.
            self.ws.get_mut().discard_input();
        }
        match error {
            tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)
            | tungstenite::Error::ConnectionClosed => Error::Unreachable("the connection was cut".to_owned()),
            other => Error::Unreachable(other.to_string()),
        }
    }
}
