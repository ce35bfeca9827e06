//! A small HTTP server for pages that are only read: GET, one answer a connection, everything bounded.
//!
//! Four threads (`kad/http/<n>`) take connections, so four slow clients delay a fifth, for seconds, and nothing else. Every
//! thread ends with the server, and whoever is connected then is cut off.

use crate::base::{Error, Result};
use crate::runtime::net::plain::reached_from_here;
use crate::runtime::threads::STACK;
use parking_lot::Mutex;
use socket2::SockRef;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Builder, JoinHandle};
use std::time::{Duration, Instant};

const THREADS: usize = 4;
/// The longest head of a request, bytes.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// Header fields of a request.
const FIELDS_MAX: usize = 64;
/// Until the head is there.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// Until the answer is written.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// Pause after an error of the listener, such as too many open files.
const REST: Duration = Duration::from_millis(50);

const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// What stands at a path: a JSON text, or none; an error when it cannot be had now.
pub(crate) type Page = Arc<dyn Fn(&str) -> Result<Option<String>> + Send + Sync>;

/// A running server. Stops when it is dropped.
pub(crate) struct PageServer {
    local: SocketAddr,
    common: Arc<Common>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Common {
    listener: TcpListener,
    page: Page,
    stop: AtomicBool,
    open: Mutex<BTreeMap<usize, TcpStream>>,
}

impl PageServer {
    /// Listens.
    ///
    /// # Errors
    /// [`Error::Io`] when the address cannot be had.
    pub(crate) fn start(at: SocketAddr, page: Page) -> Result<PageServer> {
        let io = |e: &std::io::Error| Error::io(format!("cannot listen on {at}"), e);
        let listener = TcpListener::bind(at).map_err(|e| io(&e))?;
        let local = listener.local_addr().map_err(|e| io(&e))?;
        let common = Arc::new(Common { listener, page, stop: AtomicBool::new(false), open: Mutex::default() });
        let server = PageServer { local, common, threads: Mutex::default() };
        for n in 0..THREADS {
            let (name, common) = (format!("kad/http/{n}"), server.common.clone());
            let started = Builder::new().name(name.clone()).stack_size(STACK).spawn(move || serve(n, &common));
            let started = started.map_err(|e| Error::io(format!("cannot start the thread {name}"), &e))?;
            server.threads.lock().push(started);
        }
        Ok(server)
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Ends it; a second time does nothing.
    pub(crate) fn stop(&self) {
        let threads = std::mem::take(&mut *self.threads.lock());
        if threads.is_empty() {
            return;
        }
        self.common.stop.store(true, Ordering::Release);
        // Linux frees the threads by this, others by the connections.
        let _ = SockRef::from(&self.common.listener).shutdown(Shutdown::Both);
        self.common.open.lock().values().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        let at = reached_from_here(self.local);
        for thread in threads {
            if !thread.is_finished() {
                let _ = TcpStream::connect_timeout(&at, Duration::from_millis(200));
            }
            if thread.join().is_err() {
                log::error!(target: "dht", "a thread of the debug pages panicked");
            }
        }
    }
}

impl Drop for PageServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(n: usize, common: &Common) {
    while !common.stop.load(Ordering::Acquire) {
        match common.listener.accept() {
            Ok((stream, _)) => {
                let Ok(copy) = stream.try_clone() else { continue };
                common.open.lock().insert(n, copy);
                // Looked at after the stream is known: either it is cut off, or this sees the end.
                if !common.stop.load(Ordering::Acquire)
                    && let Err(e) = answer(stream, &common.page)
                {
                    log::debug!(target: "dht", "debug pages: {e}");
                }
                common.open.lock().remove(&n);
            }
            Err(_) if common.stop.load(Ordering::Acquire) => return,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => {
                log::debug!(target: "dht", "debug pages: {e}");
                thread::sleep(REST);
            }
        }
    }
}

fn answer(mut stream: TcpStream, page: &Page) -> std::io::Result<()> {
    let (status, kind, text) = match request(&mut stream)? {
        Request::Get(path) => match page(&path) {
            Ok(Some(text)) => ("200 OK", JSON, text),
            Ok(None) => ("404 Not Found", TEXT, "404 page not found\n".to_owned()),
            Err(e) => ("503 Service Unavailable", TEXT, format!("{e}\n")),
        },
        Request::Other(path) => match page(&path) {
            Ok(None) => ("404 Not Found", TEXT, "404 page not found\n".to_owned()),
            _ => ("405 Method Not Allowed", TEXT, "method not allowed\n".to_owned()),
        },
        Request::TooLong => ("431 Request Header Fields Too Large", TEXT, "too long\n".to_owned()),
        Request::None => ("400 Bad Request", TEXT, "bad request\n".to_owned()),
    };
    let allow = if status.starts_with("405") { "Allow: GET\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nX-Content-Type-Options: nosniff\r\n{allow}Connection: close\r\n\r\n",
        text.len()
    );
    let until = Instant::now() + WRITE_MAX;
    for part in [head.as_bytes(), text.as_bytes()] {
        let mut rest = part;
        while !rest.is_empty() {
            stream.set_write_timeout(Some(left(until)?))?;
            match stream.write(rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
    stream.shutdown(Shutdown::Write)
}

enum Request {
    Get(String),
    Other(String),
    TooLong,
    None,
}

fn request(stream: &mut TcpStream) -> std::io::Result<Request> {
    let until = Instant::now() + HEAD_MAX;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        stream.set_read_timeout(Some(left(until)?))?;
        let got = match stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => buffer.get(..n).unwrap_or_default(),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        head.extend_from_slice(got);
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut read = httparse::Request::new(&mut fields);
        match read.parse(&head) {
            Ok(httparse::Status::Complete(_)) => {
                let target = read.path.unwrap_or_default();
                let path = target.split(['?', '#']).next().unwrap_or_default().to_owned();
                let get = read.method == Some("GET");
                return Ok(if get { Request::Get(path) } else { Request::Other(path) });
            }
            Ok(httparse::Status::Partial) if head.len() > HEAD_BYTES_MAX => return Ok(Request::TooLong),
            Ok(httparse::Status::Partial) => {}
            Err(httparse::Error::TooManyHeaders) => return Ok(Request::TooLong),
            Err(_) => return Ok(Request::None),
        }
    }
}

fn left(until: Instant) -> std::io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> PageServer {
        let page: Page = Arc::new(|path: &str| match path {
            "/a" => Ok(Some("{}".to_owned())),
            "/busy" => Err(Error::Busy),
            _ => Ok(None),
        });
        PageServer::start("127.0.0.1:0".parse().unwrap(), page).unwrap()
    }

    fn ask(server: &PageServer, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn pages_are_read_and_everything_else_is_refused() {
        let server = server();
        let ok = ask(&server, b"GET /a?x=1 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(ok.starts_with("HTTP/1.1 200 OK\r\n") && ok.ends_with("\r\n\r\n{}"), "{ok}");
        assert!(ok.contains("\r\nContent-Type: application/json; charset=utf-8\r\n"), "{ok}");
        for (request, status) in [
            (&b"POST /a HTTP/1.1\r\n\r\n"[..], "405"),
            (b"HEAD /a HTTP/1.1\r\n\r\n", "405"),
            (b"GET /b HTTP/1.1\r\n\r\n", "404"),
            (b"PUT /b HTTP/1.1\r\n\r\n", "404"),
            (b"GET /busy HTTP/1.1\r\n\r\n", "503"),
            (b"\x16\x03\x01\r\n\r\n", "400"),
        ] {
            let answer = ask(&server, request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
        assert!(ask(&server, b"POST /a HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nmethod not allowed\n"));
        let long = [b"GET /a HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 2 * HEAD_BYTES_MAX]].concat();
        let answer = ask(&server, &long);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[test]
    fn it_stops_at_once_whoever_is_connected() {
        let server = server();
        let silent: Vec<TcpStream> =
            (0..THREADS + 1).map(|_| TcpStream::connect(server.local_addr()).unwrap()).collect();
        thread::sleep(Duration::from_millis(50));
        let begun = Instant::now();
        server.stop();
        server.stop();
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        drop(silent);
        assert!(TcpStream::connect(server.local_addr()).is_err());
    }
}
