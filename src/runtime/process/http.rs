//! One request to a miner's API: loopback only, a deadline, a bounded answer, no blocking read or write.

use crate::base::{Error, Result};
use crate::miners::xmrig::ANSWER_BYTES_MAX;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// Loopback connects or refuses at once, unless the miner's backlog is full.
const CONNECT_WITHIN: Duration = Duration::from_millis(200);

/// A `GET` under way.
pub(super) struct Call {
    socket: TcpStream,
    request: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
}

impl Call {
    /// Asks `127.0.0.1:port` for `path`.
    pub(super) fn start(port: u16, path: &str, token: &str) -> Result<Call> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let io = |e: &std::io::Error| Error::Unreachable(format!("its API on port {port}: {e}"));
        let socket = TcpStream::connect_timeout(&address, CONNECT_WITHIN).map_err(|e| io(&e))?;
        socket.set_nonblocking(true).map_err(|e| io(&e))?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
        );
        Ok(Call { socket, request: request.into_bytes(), sent: 0, answer: Vec::new() })
    }

    /// What to wait for.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether there is still something to send.
    pub(super) fn wants_write(&self) -> bool {
        self.sent < self.request.len()
    }

    /// Goes on as far as it can without blocking: the body when it is complete.
    pub(super) fn advance(&mut self) -> Option<Result<Vec<u8>>> {
        match self.try_advance() {
            Ok(body) => body.map(Ok),
            Err(e) => Some(Err(e)),
        }
    }

    fn try_advance(&mut self) -> Result<Option<Vec<u8>>> {
        let lost = |e: std::io::Error| Error::Unreachable(format!("its API: {e}"));
        while let Some(rest) = self.request.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.socket.write(rest) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(lost(e)),
            }
        }
        let mut piece = [0; 8192];
        loop {
            match self.socket.read(&mut piece) {
                Ok(0) => return body(&self.answer, true),
                Ok(n) => {
                    self.answer.extend_from_slice(piece.get(..n).unwrap_or_default());
                    if let Some(body) = body(&self.answer, false)? {
                        return Ok(Some(body));
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(lost(e)),
            }
        }
    }
}

/// The body of an answer with status 200, once it is complete: by its length, or at the end of the stream.
fn body(answer: &[u8], ended: bool) -> Result<Option<Vec<u8>>> {
    let bad = |why: &str| Error::malformed("miner answer", why);
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let start = match head.parse(answer) {
        Ok(httparse::Status::Complete(start)) => start,
        Ok(httparse::Status::Partial) if ended => return Err(bad("cut short")),
        Ok(httparse::Status::Partial) if answer.len() > HEAD_BYTES_MAX => return Err(bad("its head is too large")),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(bad("not HTTP")),
    };
    match head.code {
        Some(200) => {}
        Some(401 | 403) => return Err(Error::Failed("its API refuses our token: another program has its port".into())),
        code => return Err(Error::Failed(format!("its API answers with status {}", code.unwrap_or(0)))),
    }
    let header = |name: &str| head.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    if header("transfer-encoding").is_some() {
        return Err(bad("has a transfer encoding"));
    }
    let length = match header("content-length").map(std::str::from_utf8) {
        None => None,
        Some(text) => match text.ok().and_then(|t| t.trim().parse::<usize>().ok()) {
            Some(length) => Some(length),
            None => return Err(bad("its length is no number")),
        },
    };
    let so_far = answer.get(start..).unwrap_or_default();
    if so_far.len().max(length.unwrap_or(0)) > ANSWER_BYTES_MAX {
        return Err(bad("too large"));
    }
    match length {
        Some(length) => match so_far.get(..length) {
            Some(body) => Ok(Some(body.to_vec())),
            None if ended => Err(bad("cut short")),
            None => Ok(None),
        },
        None => Ok(ended.then(|| so_far.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nConnection: close\r\n";

    #[test]
    fn any_split_of_an_answer_gives_the_same_body() {
        let answer = format!("{HEAD}Content-Length: 7\r\n\r\n{{\"a\":1}}");
        for end in 0..answer.len() {
            assert_eq!(body(&answer.as_bytes()[..end], false).unwrap(), None, "{end}");
        }
        assert_eq!(body(answer.as_bytes(), false).unwrap().unwrap(), b"{\"a\":1}");
        let endless = format!("{HEAD}\r\n{{}}");
        assert_eq!(body(endless.as_bytes(), false).unwrap(), None);
        assert_eq!(body(endless.as_bytes(), true).unwrap().unwrap(), b"{}");
    }

    #[test]
    fn an_answer_that_is_wrong_or_too_large_is_refused() {
        let refused = |answer: &str| body(answer.as_bytes(), true).unwrap_err().to_string();
        assert!(refused("SSH-2.0\r\n").contains("not HTTP"));
        assert!(refused("").contains("cut short"));
        assert!(refused(&format!("{HEAD}Content-Length: 9\r\n\r\n{{}}")).contains("cut short"));
        assert!(refused(&format!("{HEAD}Content-Length: -1\r\n\r\n")).contains("no number"));
        assert!(refused(&format!("{HEAD}Content-Length: 99999999\r\n\r\n")).contains("too large"));
        assert!(refused(&format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n")).contains("transfer encoding"));
        assert!(refused("HTTP/1.1 401 UNAUTHORIZED\r\n\r\n").contains("refuses our token"));
        assert!(refused("HTTP/1.1 404 NOT FOUND\r\n\r\n").contains("status 404"));
        let long = format!("{HEAD}X: {}", "y".repeat(HEAD_BYTES_MAX));
        assert!(body(long.as_bytes(), false).unwrap_err().to_string().contains("too large"));
        let flood = format!("{HEAD}\r\n{}", "z".repeat(ANSWER_BYTES_MAX + 1));
        assert!(body(flood.as_bytes(), false).unwrap_err().to_string().contains("too large"));
    }
}
