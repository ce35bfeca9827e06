//! The byte stream under a WebSocket: plain TCP or TLS. While shaking hands one thread reads and
//! writes through it, with a deadline. Afterwards it is the reader's half: what the WebSocket code
//! wants to write (pongs, close replies) goes to the connection's control slot, never to the
//! socket, so that the reader cannot block on its own peer.

use super::conn::Conn;
use super::eager::Eagerness;
use super::tls::{Tls, fingerprint};
use parking_lot::Mutex;
use rustls::Connection;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Ciphertext is read in pieces of this size at first, and up to [`CIPHER_MAX`] under load.
const CIPHER_MIN: usize = 1024;
const CIPHER_MAX: usize = 16 * 1024;

/// How long, and how many reads of 4 KiB, are spent on input that nobody wants.
const DISCARD_TIME: Duration = Duration::from_millis(500);
const DISCARD_READS: usize = 1024;

/// See the module.
pub(crate) struct Pipe {
    socket: Arc<TcpStream>,
    tls: Option<Tls>,
    cipher: Vec<u8>,
    from: usize,
    to: usize,
    deadline: Option<Instant>,
    /// Only while shaking hands.
    eager: Option<Eagerness>,
    conn: Option<Arc<Conn>>,
    pending: Vec<u8>,
}

impl Pipe {
    /// For the handshake: every read and write must be done by `deadline`.
    pub(crate) fn new(socket: Arc<TcpStream>, tls: Option<Connection>, deadline: Instant) -> Pipe {
        let cipher = if tls.is_some() { vec![0; CIPHER_MIN] } else { Vec::new() };
        let tls = tls.map(|c| Arc::new(Mutex::new(c)));
        let deadline = Some(deadline);
        Pipe { socket, tls, cipher, from: 0, to: 0, deadline, eager: None, conn: None, pending: Vec::new() }
    }

    /// Waits for the other side like this.
    pub(crate) fn eagerly(self, eager: Eagerness) -> Pipe {
        Pipe { eager: Some(eager), ..self }
    }

    /// Moves the deadline of the handshake.
    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// Whether the other half masks its frames (we dialled).
    pub(crate) fn is_client(&self) -> bool {
        self.conn.as_ref().is_some_and(|conn| conn.is_client())
    }

    /// The TLS state for the writer's half.
    pub(crate) fn tls(&self) -> Option<Tls> {
        self.tls.clone()
    }

    /// SHA-256 of the certificate that the other side showed.
    pub(crate) fn certificate(&self) -> Option<[u8; 32]> {
        let tls = self.tls.as_ref()?.lock();
        tls.peer_certificates()?.first().map(|certificate| fingerprint(certificate))
    }

    /// Completes the TLS handshake.
    pub(crate) fn shake(&mut self) -> io::Result<()> {
        let Some(tls) = self.tls.clone() else { return Ok(()) };
        while tls.lock().is_handshaking() {
            self.drain(&tls)?;
            if !tls.lock().is_handshaking() {
                break;
            }
            self.feed(&tls)?;
        }
        self.drain(&tls)
    }

    /// From now on this is the reader's half of `conn`: no deadline, and writes go to its control slot.
    pub(crate) fn split(&mut self, conn: Arc<Conn>) -> io::Result<()> {
        self.deadline = None;
        self.eager = None;
        self.socket.set_read_timeout(None)?;
        self.conn = Some(conn);
        Ok(())
    }

    /// Reads and throws away what the peer still sends, for a moment and up to a few MiB, so that our last frame
    /// reaches it before the socket closes.
    pub(crate) fn discard_input(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
        self.deadline = Some(Instant::now() + DISCARD_TIME);
        let mut scratch = [0; 4096];
        for _ in 0..DISCARD_READS {
            if !matches!(self.read_socket(&mut scratch), Ok(n) if n > 0) {
                break;
            }
        }
    }

    fn wait_limit(&self) -> io::Result<()> {
        let Some(deadline) = self.deadline else { return Ok(()) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left))?;
        self.socket.set_write_timeout(Some(left))
    }

    fn read_socket(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(eager) = &self.eager {
            eager.await_input(&self.socket);
        }
        self.wait_limit()?;
        match (&*self.socket).read(buffer) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => Err(ErrorKind::TimedOut.into()),
            other => other,
        }
    }

    /// One step of ciphertext into TLS: rustls refuses input while more than 16 KiB of plaintext is undrained.
    fn feed(&mut self, tls: &Tls) -> io::Result<()> {
        if self.from == self.to {
            if self.to == self.cipher.len() && self.to < CIPHER_MAX {
                self.cipher.resize(self.to * 4, 0); // it was filled to the brim: there is load
            }
            let mut cipher = std::mem::take(&mut self.cipher);
            let read = self.read_socket(&mut cipher); // blocks here, no lock held
            self.cipher = cipher;
            (self.from, self.to) = (0, read?);
            if self.to == 0 {
                let mut tls = tls.lock();
                tls.read_tls(&mut io::empty())?; // lets rustls tell a clean end from a cut
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let mut tls = tls.lock();
        let mut rest = self.cipher.get(self.from..self.to).unwrap_or_default();
        tls.read_tls(&mut rest)?;
        self.from = self.to - rest.len();
        let processed = tls.process_new_packets().map_err(|e| io::Error::new(ErrorKind::InvalidData, e));
        let nudge = tls.wants_write();
        drop(tls);
        if nudge {
            match &self.conn {
                Some(conn) => conn.pump_tls(),
                None => {
                    if let Some(tls) = &self.tls {
                        self.drain(tls)?;
                    }
                }
            }
        }
        processed.map(drop)
    }

    /// Ciphertext out of TLS onto the socket, while shaking hands.
    fn drain(&self, tls: &Tls) -> io::Result<()> {
        let mut bytes = Vec::new();
        {
            let mut tls = tls.lock();
            while tls.wants_write() {
                tls.write_tls(&mut bytes)?;
            }
        }
        self.wait_limit()?;
        (&*self.socket).write_all(&bytes)
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = self.tls.clone() else { return self.read_socket(buffer) };
        loop {
            match tls.lock().reader().read(buffer) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            match self.feed(&tls) {
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => return tls.lock().reader().read(buffer),
                other => other?,
            }
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.conn.is_some() {
            self.pending.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        self.wait_limit()?;
        match self.tls.clone() {
            None => (&*self.socket).write(bytes),
            Some(tls) => {
                let n = tls.lock().writer().write(bytes)?;
                self.drain(&tls)?;
                Ok(n)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(conn) = &self.conn
            && !self.pending.is_empty()
        {
            conn.send_control(std::mem::take(&mut self.pending));
        }
        Ok(())
    }
}
