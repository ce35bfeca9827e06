//! The hasher's API: XMRig's `/2/summary` and `/2/backends` on loopback, behind a token, read-only. One request at a
//! time: its only client is the miner's own thread.

use super::rates::Rates;
use super::work::Work;
use super::{Config, spawn};
use crate::base::{Error, Result};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq as _;

/// What stands for a pool.
pub(super) const POOL: &str = "builtin";
const REQUEST_BYTES_MAX: usize = 8 * 1024;
const HEADERS_MAX: usize = 32;
/// How long a client may take for its request.
const PATIENCE: Duration = Duration::from_secs(2);

/// The listening thread.
pub(super) struct Server {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// What is answered from.
struct Source {
    name: String,
    token: String,
    threads: u32,
    work: Arc<Work>,
    rates: Arc<Rates>,
}

impl Server {
    pub(super) fn start(config: &Config, work: Arc<Work>, rates: Arc<Rates>) -> Result<Server> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, config.port));
        let io = |e: &std::io::Error| Error::io(format!("cannot listen on {address}"), e);
        let listener = TcpListener::bind(address).map_err(|e| io(&e))?;
        let address = listener.local_addr().map_err(|e| io(&e))?;
        let stopping = Arc::new(AtomicBool::new(false));
        let (name, token, threads) = (config.name.clone(), config.token.clone(), config.threads);
        let source = Source { name, token, threads, work, rates };
        let ended = Arc::clone(&stopping);
        let thread = spawn("hash/api", move || {
            while !ended.load(Ordering::Acquire) {
                if let Ok((socket, _)) = listener.accept() {
                    source.serve(socket);
                } else {
                    // Out of descriptors, most likely.
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        })?;
        Ok(Server { address, stopping, thread })
    }

    /// Ends the thread; a connection to itself frees it from `accept`.
    pub(super) fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
        let _ = self.thread.join();
    }
}

impl Source {
    /// One request, one answer. A client that is slow, gone or wrong costs its own connection only.
    fn serve(&self, mut socket: TcpStream) {
        let Some(request) = read_request(&mut socket) else { return };
        let (status, body) = self.answer(&request);
        let text = body.to_string();
        let length = text.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\nContent-Type: application/json\r\n\r\n{text}"
        );
        let _ = socket.set_write_timeout(Some(PATIENCE));
        let _ = socket.write_all(answer.as_bytes());
        let _ = socket.shutdown(Shutdown::Write);
    }

    /// The status line and the body. The statuses are XMRig's: none 401, wrong 403.
    fn answer(&self, request: &[u8]) -> (&'static str, Value) {
        let error = |status: &'static str, code: u16, word: &str| (status, json!({"status": code, "error": word}));
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Request::new(&mut headers);
        let Ok(httparse::Status::Complete(_)) = head.parse(request) else {
            return error("400 BAD REQUEST", 400, "BAD_REQUEST");
        };
        if head.method != Some("GET") {
            return error("405 METHOD NOT ALLOWED", 405, "METHOD_NOT_ALLOWED");
        }
        let bearer = head.headers.iter().find(|h| h.name.eq_ignore_ascii_case("authorization")).map(|h| h.value);
        match bearer.map(|value| value.strip_prefix(b"Bearer ")) {
            None => return error("401 UNAUTHORIZED", 401, "UNAUTHORIZED"),
            Some(Some(token)) if token.ct_eq(self.token.as_bytes()).into() => {}
            Some(_) => return error("403 FORBIDDEN", 403, "FORBIDDEN"),
        }
        match head.path {
            Some("/2/summary" | "/1/summary" | "/api.json") => ("200 OK", self.summary()),
            Some("/2/backends") => ("200 OK", self.backends()),
            _ => error("404 NOT FOUND", 404, "NOT_FOUND"),
        }
    }

    fn summary(&self) -> Value {
        let (uptime, shares, difficulty) = (self.rates.uptime_s(), self.work.shares(), self.work.difficulty());
        let highest = self.rates.highest();
        let highest = if highest > 0.0 { json!(highest) } else { Value::Null };
        json!({
            "id": self.name, "worker_id": self.name, "uptime": uptime, "restricted": true,
            "results": {"diff_current": difficulty, "shares_good": shares, "shares_total": shares,
                "hashes_total": self.work.hashes()},
            "algo": "sha256d",
            "connection": {"pool": POOL, "ip": null, "uptime": uptime, "tls": null, "algo": "sha256d",
                "diff": difficulty, "accepted": shares, "rejected": 0},
            "version": env!("CARGO_PKG_VERSION"), "kind": "miner", "ua": concat!("rigmesh/", env!("CARGO_PKG_VERSION")),
            "donate_level": 0, "paused": false, "algorithms": ["sha256d"],
            "hashrate": {"total": self.rates.windows(), "highest": highest},
        })
    }

    fn backends(&self) -> Value {
        let threads: Vec<Value> = (0..self.threads).map(|_| json!({"intensity": 1, "affinity": -1})).collect();
        json!([{"type": "cpu", "enabled": true, "algo": "sha256d", "hashrate": self.rates.windows(), "threads": threads}])
    }
}

/// The head of a request, or nothing when it does not come complete, small and in time.
fn read_request(socket: &mut TcpStream) -> Option<Vec<u8>> {
    let until = Instant::now() + PATIENCE;
    let (mut request, mut piece) = (Vec::new(), [0; 1024]);
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        socket.set_read_timeout(Some(left)).ok()?;
        match socket.read(&mut piece) {
            Ok(n) if n > 0 && request.len() + n <= REQUEST_BYTES_MAX => {
                request.extend_from_slice(piece.get(..n)?);
            }
            _ => return None,
        }
    }
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::miners::xmrig::{parse_backends, parse_summary};

    fn source() -> Source {
        let (work, rates) = (Arc::new(Work::new()), Arc::new(Rates::start()));
        Source { name: "a".into(), token: "TOKEN".into(), threads: 3, work, rates }
    }

    #[test]
    fn its_answers_are_read_like_xmrigs() {
        let source = source();
        source.rates.tick(Instant::now() + Duration::from_secs(1), 1000);
        let summary = parse_summary(source.summary().to_string().as_bytes()).unwrap();
        assert!(summary.hashrate_hs.unwrap() > 900.0);
        assert_eq!((summary.pool.as_str(), summary.algorithm.as_str()), ("builtin", "sha256d"));
        assert_eq!(parse_backends(source.backends().to_string().as_bytes()).unwrap(), 3);
    }

    #[test]
    fn the_statuses_are_xmrigs() {
        let source = source();
        let ask = |line: &str, more: &str| source.answer(format!("{line} HTTP/1.1\r\n{more}\r\n").as_bytes()).0;
        let auth = "Authorization: Bearer TOKEN\r\n";
        assert_eq!(ask("GET /2/summary", ""), "401 UNAUTHORIZED");
        assert_eq!(ask("GET /2/summary", "authorization: Bearer token\r\n"), "403 FORBIDDEN");
        assert_eq!(ask("GET /2/summary", "Authorization: TOKEN\r\n"), "403 FORBIDDEN");
        assert_eq!(ask("GET /2/summary", auth), "200 OK");
        assert_eq!(ask("GET /2/config", auth), "404 NOT FOUND");
        assert_eq!(ask("POST /json_rpc", auth), "405 METHOD NOT ALLOWED");
        assert_eq!(source.answer(b"\0\0\r\n\r\n").0, "400 BAD REQUEST");
    }
}
