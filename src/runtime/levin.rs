//! A connection to a CryptoNote node: one socket, blocking, every step within a deadline.

use crate::base::{Error, Result, Rng};
use crate::runtime::net::plain::connect;
use crate::wire::levin::{
    Deframer, HandshakeResponse, LevinError, LocalNode, Message, NetworkId, PAYLOAD_BYTES_MAX, PingResponse, Section,
    TimedSyncResponse, command,
};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Bytes read from the socket at once.
const READ_BYTES: usize = 16 * 1024;
/// A deadline that is over still gives the socket this long, because it takes none that is zero.
const SHORTEST: Duration = Duration::from_millis(1);

/// How long things may take, and how large they may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevinSettings {
    /// Until a connection stands. Default: 10 s.
    pub connect_max: Duration,
    /// Until a whole message has arrived. Default: 120 s.
    pub read_max: Duration,
    /// Until a whole message is handed to the system. Default: 30 s.
    pub write_max: Duration,
    /// The longest payload, bytes; never more than [`PAYLOAD_BYTES_MAX`]. Default: that.
    pub payload_bytes_max: u64,
}

impl Default for LevinSettings {
    fn default() -> LevinSettings {
        LevinSettings {
            connect_max: Duration::from_secs(10),
            read_max: Duration::from_secs(120),
            write_max: Duration::from_secs(30),
            payload_bytes_max: PAYLOAD_BYTES_MAX,
        }
    }
}

/// A connection. What it holds is one message at most, and what one read brought behind it. An error leaves it unusable.
#[derive(Debug)]
pub struct LevinConnection {
    socket: TcpStream,
    deframer: Deframer,
    /// Read, and not yet taken by the deframer: from `taken` on.
    buffer: Vec<u8>,
    taken: usize,
    settings: LevinSettings,
}

impl LevinConnection {
    /// Dials `HOST:PORT`.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Config`] for what is no address.
    pub fn connect(address: &str, settings: LevinSettings) -> Result<LevinConnection> {
        LevinConnection::from_socket(connect(address, settings.connect_max)?, settings)
    }

    /// Of a socket that was dialled or accepted.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses to set it up.
    pub fn from_socket(socket: TcpStream, settings: LevinSettings) -> Result<LevinConnection> {
        let io = |e: std::io::Error| Error::io("setting up a socket", &e);
        socket.set_nonblocking(false).map_err(io)?;
        socket.set_nodelay(true).map_err(io)?;
        let deframer = Deframer::new(settings.payload_bytes_max);
        Ok(LevinConnection { socket, deframer, buffer: Vec::new(), taken: 0, settings })
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Unreachable`], [`Error::Malformed`] when its payload is too long.
    pub fn send(&mut self, message: &Message) -> Result<()> {
        let bytes = message.encode()?;
        let until = Instant::now() + self.settings.write_max;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let late = || Error::TimedOut("the peer takes nothing".to_owned());
            let left = left(until).ok_or_else(late)?;
            self.socket.set_write_timeout(Some(left)).map_err(|e| Error::io("setting up a socket", &e))?;
            match self.socket.write(rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(e) if is_pause(&e) => {}
                Err(e) => return Err(Error::Unreachable(format!("the connection was cut: {e}"))),
            }
        }
        Ok(())
    }

    /// Waits for the next whole message.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when it is not whole within `read_max`, however many bytes come; [`Error::Unreachable`] when the peer
    /// closes; [`Error::Malformed`] when it sends something else than Levin, or more than is allowed.
    pub fn receive(&mut self) -> Result<Message> {
        self.receive_until(Instant::now() + self.settings.read_max)
    }

    fn receive_until(&mut self, until: Instant) -> Result<Message> {
        loop {
            let mut rest = self.buffer.get(self.taken..).unwrap_or_default();
            let message = self.deframer.handle_bytes(&mut rest)?;
            self.taken = self.buffer.len() - rest.len();
            if let Some(message) = message {
                return Ok(message);
            }
            self.read(until)?;
        }
    }

    /// Reads once; everything read before has been taken.
    fn read(&mut self, until: Instant) -> Result<()> {
        self.buffer.resize(READ_BYTES, 0);
        self.taken = 0;
        let got = loop {
            let Some(left) = left(until) else {
                break Err(Error::TimedOut("the peer sent no whole message".to_owned()));
            };
            if let Err(e) = self.socket.set_read_timeout(Some(left)) {
                break Err(Error::io("setting up a socket", &e));
            }
            match self.socket.read(&mut self.buffer) {
                Ok(0) if self.deframer.is_between_messages() => {
                    break Err(Error::Unreachable("the peer closed the connection".to_owned()));
                }
                Ok(0) => break Err(Error::Unreachable("the peer closed the connection inside a message".to_owned())),
                Ok(n) => break Ok(n),
                Err(e) if is_pause(&e) => {}
                Err(e) => break Err(Error::Unreachable(format!("the connection was cut: {e}"))),
            }
        };
        self.buffer.truncate(*got.as_ref().unwrap_or(&0));
        got.map(drop)
    }

    /// Sends a request and waits for its response, and answers, as `local`, what the peer asks meanwhile.
    ///
    /// # Errors
    /// As [`LevinConnection::send`] and [`LevinConnection::receive`], within `read_max` for all of it; [`Error::Remote`] for a
    /// response that says that the request failed.
    pub fn call(&mut self, request: &Message, local: &LocalNode) -> Result<Message> {
        let until = Instant::now() + self.settings.read_max;
        self.send(request)?;
        loop {
            let message = self.receive_until(until)?;
            if !message.is_response() {
                self.answer(&message, local)?;
            } else if message.command == request.command {
                return match message.is_failure() {
                    true => Err(Error::Remote {
                        code: message.return_code.into(),
                        message: format!("the {} failed there", command::name(message.command)),
                    }),
                    false => Ok(message),
                };
            }
        }
    }

    /// Waits for the next message and answers it, as `local`, when it asks for something: what a listener does again and
    /// again.
    ///
    /// # Errors
    /// As [`LevinConnection::send`] and [`LevinConnection::receive`].
    pub fn serve(&mut self, local: &LocalNode) -> Result<Message> {
        let message = self.receive()?;
        self.answer(&message, local)?;
        Ok(message)
    }

    fn answer(&mut self, request: &Message, local: &LocalNode) -> Result<()> {
        match local.answer(request)? {
            Some(response) => self.send(&response),
            None => Ok(()),
        }
    }
}

/// Time until then; `None` when there is none.
fn left(until: Instant) -> Option<Duration> {
    let left = until.checked_duration_since(Instant::now())?;
    (!left.is_zero()).then(|| left.max(SHORTEST))
}

/// Whether the socket may be asked again: the time-outs that it was given end in the loops that ask.
fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// What a CryptoNote node said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevinProbe {
    /// Who it is, what it has, whom it knows.
    pub handshake: HandshakeResponse,
    /// What it has a moment later.
    pub sync: TimedSyncResponse,
    /// What it said to the ping.
    pub ping: PingResponse,
    /// How long the ping took.
    pub round_trip: Duration,
}

/// Asks a CryptoNote node who it is: handshake, timed sync and ping, over a connection that is closed then. We say that we
/// cannot be dialled and have nothing.
///
/// # Errors
/// As [`LevinConnection::connect`] and [`LevinConnection::call`]. A node of another network closes the connection at the
/// handshake, and the error says so.
pub fn levin_probe(address: &str, network: NetworkId, settings: LevinSettings, rng: &mut Rng) -> Result<LevinProbe> {
    let local = LocalNode::observer(network, rng);
    let mut connection = LevinConnection::connect(address, settings)?;
    let response = connection.call(&local.handshake()?, &local).map_err(|e| match e {
        Error::Unreachable(why) => {
            let name = network.name().map_or_else(|| network.to_string(), str::to_owned);
            Error::Unreachable(format!("{why} at the handshake; perhaps it is not of the network {name}"))
        }
        other => other,
    })?;
    let handshake = HandshakeResponse::decode(&response.payload)?;
    let response = connection.call(&local.timed_sync()?, &local)?;
    let sync = TimedSyncResponse::decode(&response.payload)?;
    let request = Message::request(command::PING, Section::new().encode()?);
    let start = Instant::now();
    let response = connection.call(&request, &local)?;
    let round_trip = start.elapsed();
    let ping = PingResponse::decode(&response.payload)?;
    if ping.status != "OK" {
        return Err(LevinError::Value { name: "status", why: "of the ping is not OK" }.into());
    }
    Ok(LevinProbe { handshake, sync, ping, round_trip })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    fn quick() -> LevinSettings {
        let (connect_max, read_max, write_max) =
            (Duration::from_secs(5), Duration::from_millis(300), Duration::from_millis(300));
        LevinSettings { connect_max, read_max, write_max, payload_bytes_max: 1 << 16 }
    }

    /// Probes a peer that is this closure.
    fn probe(peer: impl FnOnce(TcpStream) + Send + 'static) -> Result<LevinProbe> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = thread::spawn(move || peer(listener.accept().unwrap().0));
        let result = levin_probe(&address, NetworkId::TESTNET, quick(), &mut Rng::from_number(1));
        peer.join().unwrap();
        result
    }

    fn local() -> LocalNode {
        let mut local = LocalNode::observer(NetworkId::TESTNET, &mut Rng::from_number(2));
        local.sync.current_height = 77;
        local
    }

    #[test]
    fn two_of_ours_understand_each_other_and_a_request_meanwhile_is_answered() {
        let probe = probe(|socket| {
            let mut connection = LevinConnection::from_socket(socket, quick()).unwrap();
            let asked = connection.receive().unwrap();
            // As monerod does: asks back before it answers, and tells what nobody asked for.
            let flags = Message::request(command::SUPPORT_FLAGS, Section::new().encode().unwrap());
            connection.send(&Message::notification(command::REQUEST_CHAIN, vec![1])).unwrap();
            let answer = connection.call(&flags, &local()).unwrap();
            assert_eq!(answer.command, command::SUPPORT_FLAGS);
            connection.send(&local().answer(&asked).unwrap().unwrap()).unwrap();
            while connection.serve(&local()).is_ok() {}
        });
        let probe = probe.unwrap();
        assert_eq!((probe.handshake.sync.current_height, probe.sync.sync.current_height), (77, 77));
        assert_eq!(probe.ping.peer_id, local().node.peer_id);
    }

    #[test]
    fn a_peer_that_drips_is_cut_off_at_the_deadline_of_the_whole_message() {
        let start = Instant::now();
        let error = probe(|mut socket| {
            let bytes = Message::response(command::HANDSHAKE, 1, vec![0; 4000]).encode().unwrap();
            for byte in bytes {
                if socket.write_all(&[byte]).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        assert!(matches!(error, Err(Error::TimedOut(_))), "{error:?}");
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_peer_that_takes_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut connection = LevinConnection::connect(&address, quick()).unwrap();
        let _silent = listener.accept().unwrap();
        let error = connection.send(&Message::notification(command::NEW_BLOCK, vec![0; 50 << 20])).unwrap_err();
        assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
    }
}
