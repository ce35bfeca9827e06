//! One packet over TCP, and its answer.

use crate::base::{Error, Result};
use crate::mesh::IntentAnswer;
use crate::runtime::net::plain::connect;
use crate::wire::ueps::{Deframer, Header, Key, Reading, decode, encode_to};
use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

/// Sends a packet to a node's plain listener and waits for the answer to it, all within `timeout`.
///
/// # Errors
/// [`Error::Unreachable`], also when the other side closes without an answer, as it does when the key is wrong;
/// [`Error::TimedOut`]; [`Error::Malformed`] for a payload that is too long, or an answer that is none.
pub fn send_packet(
    address: &str,
    key: &Key,
    header: &Header,
    payload: &[u8],
    timeout: Duration,
) -> Result<IntentAnswer> {
    let mut packet = Vec::new();
    encode_to(header, payload, key, &mut packet)?;
    let until = Instant::now() + timeout;
    let mut socket = connect(address, timeout)?;
    let cut = |e: std::io::Error| Error::Unreachable(format!("{address}: {e}"));
    socket.set_write_timeout(Some(left(until, address)?)).map_err(cut)?;
    socket.write_all(&packet).map_err(cut)?;
    let asked = decode(&packet, Reading::Strict)?.0.verify(key)?;
    let answer_key = key.for_answers();
    let (mut deframer, mut buffer) = (Deframer::new(Reading::Strict), [0; 4096]);
    loop {
        socket.set_read_timeout(Some(left(until, address)?)).map_err(cut)?;
        let count = match socket.read(&mut buffer) {
            Ok(0) => {
                return Err(Error::Unreachable(format!(
                    "{address} closed without an answer: it may not know this key, or refuse this machine for a while"
                )));
            }
            Ok(count) => count,
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(e) => return Err(cut(e)),
        };
        let mut input = buffer.get(..count).unwrap_or_default();
        while let Some(frame) = deframer.handle_bytes(&mut input)? {
            let answer = IntentAnswer::decode(frame.verify(&answer_key)?.payload())?;
            if answer.answers(asked.hmac()) {
                return Ok(answer);
            }
        }
    }
}

fn left(until: Instant, address: &str) -> Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Error::TimedOut(format!("no answer from {address}"))) } else { Ok(left) }
}
