//! The writer's half of a connection, shared by whoever sends. Messages wait in the session's
//! [`Outbound`]; sealing, framing and one non-blocking write happen under one lock, so the order
//! of sealing is the order of the wire. What the socket does not take starts a writer thread,
//! which retires when it has had nothing to do for a while.
//!
//! Lock order: `out`, then TLS. No lock is held across a blocking socket call.

use super::gate::Pass;
use super::tls::Tls;
use crate::base::{Error, Result, Rng};
use crate::mesh::LinkId;
use crate::runtime::clock::Clock;
use crate::runtime::threads::{STACK, Threads};
use crate::session::{Lane, Outbound};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::io::{ErrorKind, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};

/// Sealed bytes made ready for the socket in one go.
const WIRE_CHUNK: usize = 64 * 1024;
/// A writer with nothing to do for this long retires.
const WRITER_IDLE: Duration = Duration::from_millis(200);
/// A peer that takes nothing for this long is gone (mesh.md §3).
pub(crate) const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// Most frames fit into this; an idle connection keeps no buffer at all.
const WIRE_FIRST: usize = 512;
/// While data flows the system keeps no more than this unsent, so that what is urgent waits behind little
/// (chunked-deploy.md, *Staying prompt*).
const UNSENT_MAX: u32 = 32 * 1024;
/// Header of most frames: two bytes, two of the length, and four of the mask when we dialled. What needs another is moved.
const HEADER: usize = 4;
const MASK: usize = 4;

/// One connection's writer's half.
pub(crate) struct Conn {
    pub(crate) id: LinkId,
    socket: Arc<TcpStream>,
    tls: Option<Tls>,
    /// We dialled: our frames are masked.
    client: bool,
    clock: Clock,
    threads: Arc<Threads>,
    pass: Pass,
    out: Mutex<Out>,
    work: Condvar,
}

/// What a connection is made of.
pub(crate) struct Parts {
    pub(crate) socket: Arc<TcpStream>,
    pub(crate) tls: Option<Tls>,
    pub(crate) clock: Clock,
    pub(crate) threads: Arc<Threads>,
    pub(crate) pass: Pass,
    pub(crate) outbound: Outbound,
    /// Gives the masks of our frames; only who dialled masks (RFC 6455).
    pub(crate) masks: Option<Box<Rng>>,
}

struct Out {
    outbound: Outbound,
    masks: Option<Box<Rng>>,
    /// Bytes for the socket, whole frames but for what the socket already took of the first.
    wire: Vec<u8>,
    /// The newest pong or close reply of the reader. Latest wins: a flood of pings costs one slot.
    control: Option<Vec<u8>>,
    /// [`UNSENT_MAX`] is in force.
    lean: bool,
    writer: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Flush, then say goodbye at the WebSocket's level.
    Closing,
    /// Nothing more is written.
    Closed,
}

impl Conn {
    pub(crate) fn new(id: LinkId, parts: Parts) -> Arc<Conn> {
        let Parts { socket, tls, clock, threads, pass, outbound, masks } = parts;
        let _ = socket.set_write_timeout(Some(WRITE_DEADLINE));
        let client = masks.is_some();
        let out =
            Out { outbound, masks, wire: Vec::new(), control: None, lean: false, writer: false, state: State::Open };
        Arc::new(Conn { id, socket, tls, client, clock, threads, pass, out: Mutex::new(out), work: Condvar::new() })
    }

    /// Whether we dialled.
    pub(crate) fn is_client(&self) -> bool {
        self.client
    }

    /// Queues a plain message. It goes out at the next [`Conn::flush`].
    pub(crate) fn send(&self, lane: Lane, body: Vec<u8>) -> Result<()> {
        let mut out = self.out.lock();
        if lane == Lane::Data && !std::mem::replace(&mut out.lean, true) {
            self.keep_lean();
        }
        match out.state {
            State::Open => out.outbound.handle_send(lane, body),
            State::Closing | State::Closed => Err(Error::Unreachable("the connection is closing".to_owned())),
        }
    }

    fn keep_lean(&self) {
        let socket = socket2::SockRef::from(&*self.socket);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let set = socket.set_tcp_notsent_lowat(UNSENT_MAX);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let set = socket.set_send_buffer_size(2 * 32 * 1024);
        if let Err(e) = set {
            log::debug!(target: "mesh", link = self.id.0; "the socket's buffer stays as it is: {e}");
        }
    }

    /// Sends what may go now, without blocking. Tells when to flush again because the pacer held something back.
    pub(crate) fn flush(self: &Arc<Self>) -> Option<crate::base::Time> {
        let mut out = self.out.lock();
        self.push_or_wake(&mut out);
        out.outbound.poll_timeout(self.clock.mono())
    }

    /// The peer announced its limits.
    pub(crate) fn handle_announced(&self, burst: u32, rate_per_s: u32, message_bytes_max: usize) {
        self.out.lock().outbound.handle_announced(self.clock.mono(), burst, rate_per_s, message_bytes_max);
    }

    /// The key is proven: the connection no longer counts as half-open.
    pub(crate) fn prove(&self) {
        self.pass.prove(self.clock.mono());
    }

    /// A pong or close reply of the reader's.
    pub(crate) fn send_control(self: &Arc<Self>, frame: Vec<u8>) {
        let mut out = self.out.lock();
        out.control = Some(frame);
        self.push_or_wake(&mut out);
    }

    /// A frame of data that is not sealed.
    #[cfg(test)]
    pub(crate) fn send_unsealed(self: &Arc<Self>, opcode: Data, body: &[u8]) {
        let mut out = self.out.lock();
        let mut frame = [&[0; HEADER][..], body].concat();
        head(&mut frame, 0, HEADER, opcode, None);
        self.put(&mut out, &frame);
        self.push_or_wake(&mut out);
    }

    /// TLS has something to say of its own accord (key update, alert).
    pub(crate) fn pump_tls(self: &Arc<Self>) {
        self.push_or_wake(&mut self.out.lock());
    }

    /// Flush what is queued on the control lane, close the WebSocket, end the writing direction.
    pub(crate) fn close(self: &Arc<Self>) {
        let mut out = self.out.lock();
        if out.state == State::Open {
            out.state = State::Closing;
            out.outbound.handle_close();
            self.push_or_wake(&mut out);
        }
    }

    /// Ends both directions now; a blocked reader or writer is freed.
    pub(crate) fn shut(&self) {
        let mut out = self.out.lock();
        self.end(&mut out);
    }

    fn push_or_wake(self: &Arc<Self>, out: &mut Out) {
        if out.writer {
            self.work.notify_one();
        } else {
            self.push(out);
        }
    }

    /// Seals and writes until there is nothing left, or the socket is full and a writer takes over.
    fn push(self: &Arc<Self>, out: &mut Out) {
        while out.state != State::Closed {
            self.fill(out);
            if out.wire.is_empty() {
                if out.state == State::Closing {
                    self.finish(out);
                }
                break;
            }
            match socket2::SockRef::from(&*self.socket)
                .send_with_flags(&out.wire, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
            {
                Ok(n) if n == out.wire.len() => out.wire = Vec::new(),
                Ok(n) => drop(out.wire.drain(..n)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return self.start_writer(out),
                Err(_) => return self.end(out),
            }
        }
    }

    /// Makes the next bytes for the socket: the reader's control frame first, then sealed messages.
    fn fill(&self, out: &mut Out) {
        if let Some(frame) = out.control.take() {
            self.put(out, &frame);
        }
        let (now, wall) = (self.clock.mono(), crate::runtime::clock::wall().unix_seconds());
        let room = HEADER + if self.client { MASK } else { 0 };
        while out.wire.len() < WIRE_CHUNK && !out.outbound.is_empty() {
            let mut frame = Vec::new();
            let plain = self.tls.is_none();
            // Without TLS the frame is built where it will be sent from.
            let target = if plain { &mut out.wire } else { &mut frame };
            if target.capacity() == 0 {
                target.reserve(WIRE_FIRST);
            }
            let start = target.len();
            target.resize(start + room, 0);
            let sealed = out.outbound.poll_frame(now, wall, target);
            if !matches!(sealed, Ok(true)) {
                target.truncate(start);
                match sealed {
                    Err(e) => {
                        log::warn!(target: "mesh", link = self.id.0; "a message was not sent: {e}");
                        continue;
                    }
                    Ok(_) => break,
                }
            }
            let mask = out.masks.as_mut().map(|rng| rng.array());
            head(target, start, room, Data::Binary, mask);
            if !plain {
                self.put(out, &frame);
            }
        }
        if self.tls.is_some() {
            self.put(out, &[]);
        }
        if out.wire.is_empty() {
            out.wire = Vec::new(); // nothing may go yet: a buffer would only wait
        }
    }

    /// Appends bytes to the wire, through TLS if there is one.
    fn put(&self, out: &mut Out, bytes: &[u8]) {
        let Some(tls) = &self.tls else { return out.wire.extend_from_slice(bytes) };
        let (mut tls, mut rest) = (tls.lock(), bytes);
        loop {
            while tls.wants_write() {
                if tls.write_tls(&mut out.wire).is_err() {
                    return;
                }
            }
            if rest.is_empty() {
                return;
            }
            match tls.writer().write(rest) {
                Ok(n) if n > 0 => rest = rest.get(n..).unwrap_or_default(),
                _ => return,
            }
        }
    }

    /// The last words at the WebSocket's and TLS's level; then no more is written.
    fn finish(&self, out: &mut Out) {
        let bye = Frame::close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }));
        let mut bytes = Vec::new();
        let mut bye = bye;
        bye.header_mut().mask = out.masks.as_mut().map(|rng| rng.array());
        if bye.format(&mut bytes).is_ok() {
            self.put(out, &bytes);
        }
        if let Some(tls) = &self.tls {
            tls.lock().send_close_notify();
        }
        self.put(out, &[]);
        let _ =
            socket2::SockRef::from(&*self.socket).send_with_flags(&out.wire, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        out.wire = Vec::new();
        out.state = State::Closed;
        let _ = self.socket.shutdown(Shutdown::Write);
        self.work.notify_one();
    }

    fn end(&self, out: &mut Out) {
        out.state = State::Closed;
        out.wire = Vec::new();
        let _ = self.socket.shutdown(Shutdown::Both);
        self.work.notify_one();
    }

    fn start_writer(self: &Arc<Self>, out: &mut Out) {
        out.writer = true;
        let me = self.clone();
        if self.threads.spawn(&format!("conn/{}/w", self.id.0), STACK, move || me.writer()).is_err() {
            out.writer = false;
            self.end(out);
        }
    }

    /// The writer's life: it blocks in the socket so that nobody else has to.
    fn writer(self: Arc<Self>) {
        let mut out = self.out.lock();
        loop {
            if out.state == State::Closed {
                break;
            }
            self.fill(&mut out);
            if out.wire.is_empty() {
                if out.state == State::Closing {
                    self.finish(&mut out);
                    break;
                }
                let idle = self.work.wait_for(&mut out, WRITER_IDLE).timed_out();
                if idle && out.outbound.is_empty() && out.control.is_none() && out.state == State::Open {
                    break;
                }
                continue;
            }
            let mut chunk = std::mem::take(&mut out.wire);
            let written = MutexGuard::unlocked(&mut out, || (&*self.socket).write_all(&chunk));
            match written {
                Ok(()) if out.wire.is_empty() => {
                    chunk.clear();
                    out.wire = chunk; // its capacity serves the next round
                }
                Ok(()) => {}
                Err(_) => self.end(&mut out),
            }
        }
        out.wire = Vec::new();
        out.writer = false;
    }
}

/// Writes the frame's header in front of the payload that stands `room` bytes after `start`, and masks it.
fn head(wire: &mut Vec<u8>, start: usize, room: usize, data: Data, mask: Option<[u8; 4]>) {
    let length = wire.len() - start - room;
    let header = FrameHeader { opcode: OpCode::Data(data), mask, ..FrameHeader::default() };
    if let (Some(key), Some(payload)) = (mask, wire.get_mut(start + room..)) {
        apply_mask(payload, key);
    }
    // The header goes right in front of the payload; room that is not used is cut out, room that lacks is made.
    let mut bytes = [0; HEADER + 6 + MASK];
    let size = header.len(length as u64).min(bytes.len());
    let _ = header.format(length as u64, &mut bytes.as_mut_slice());
    let bytes = bytes.get(..size).unwrap_or_default();
    match wire.get_mut(start..start + room).filter(|room| room.len() == size) {
        Some(room) => room.copy_from_slice(bytes),
        None => drop(wire.splice(start..start + room, bytes.iter().copied())),
    }
}

/// RFC 6455 masking, eight bytes at a time.
fn apply_mask(data: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = data.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, k) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= k;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::protocol::frame::FrameSocket;

    #[test]
    fn frames_of_every_length_are_read_as_they_were_written() {
        for mask in [None, Some([1, 2, 3, 4])] {
            let room = HEADER + if mask.is_some() { MASK } else { 0 };
            let (mut wire, lengths) = (b"before".to_vec(), [0, 1, 125, 126, 1000, 65_535, 65_536, 100_000]);
            for length in lengths {
                let start = wire.len();
                wire.resize(start + room, 0);
                wire.extend((0..length).map(|i| (i % 251) as u8));
                head(&mut wire, start, room, Data::Binary, mask);
            }
            let mut socket = FrameSocket::new(std::io::Cursor::new(wire.split_off(6)));
            assert_eq!(wire, b"before");
            for length in lengths {
                let frame = socket.read(None).unwrap().unwrap();
                assert_eq!(frame.header().mask, mask);
                let mut payload = frame.into_payload().to_vec();
                if let Some(key) = mask {
                    apply_mask(&mut payload, key);
                }
                assert!(payload.iter().enumerate().all(|(i, b)| *b == (i % 251) as u8) && payload.len() == length);
            }
        }
    }
}
