//! The local control socket, `<data dir>/rigmesh.sock` (0600): one JSON object a line each way.
//! A request is answered by any number of `{"row":…}` and then one `{"done":…}` or `{"error":…}`.
//!
//! This file knows lines and limits; what a request means is a closure from above.

use super::threads::{STACK, STACK_HANDSHAKE, Threads};
use crate::base::{Error, Result, check_json};
use parking_lot::Mutex;
use serde_json::{Value, json};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The longest request line, bytes.
pub(crate) const REQUEST_BYTES_MAX: usize = 1 << 20;
/// The longest answer line a client reads, bytes: 10,000 log lines fit many times.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Clients at once.
const CLIENTS_MAX: usize = 16;
/// A client that sends nothing for this long is let go.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// A client that reads nothing for this long is let go.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// No command takes longer between two lines of its answer.
const ANSWER_MAX: Duration = Duration::from_secs(90);
/// What the system allows for the path of a Unix socket (`sun_path` less its end mark), bytes.
pub(crate) const PATH_BYTES_MAX: usize = 107;

/// Carries a request out: gives rows as they come, then what `done` or `error` says.
pub(crate) type Handler = Arc<dyn Fn(Value, &mut dyn FnMut(Value)) -> std::result::Result<Value, Value> + Send + Sync>;

/// The daemon's end.
pub(crate) struct ControlServer {
    listener: Arc<UnixListener>,
    path: PathBuf,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    stopping: AtomicBool,
    next: AtomicU64,
    clients: Mutex<BTreeMap<u64, Arc<UnixStream>>>,
    threads: Threads,
}

impl ControlServer {
    /// Opens the socket and serves it. The caller holds the folder's lock, so a socket file that is
    /// there belongs to a dead daemon and is replaced.
    pub(crate) fn start(path: &Path, handler: Handler) -> Result<ControlServer> {
        let length = path.as_os_str().as_bytes().len();
        if length > PATH_BYTES_MAX {
            return Err(Error::Config(format!(
                "the control socket's path {} has {length} bytes and the system allows {PATH_BYTES_MAX}: use a shorter --data-dir",
                path.display()
            )));
        }
        let listener = Arc::new(
            bind(path).map_err(|e| Error::io(format!("cannot open the control socket {}", path.display()), &e))?,
        );
        let server = ControlServer { listener, path: path.to_owned(), state: Arc::default() };
        let (listener, state) = (server.listener.clone(), server.state.clone());
        server.state.threads.spawn("control", STACK, move || accept(&listener, &state, &handler))?;
        Ok(server)
    }

    /// Takes no new clients and no new requests; what is under way goes on.
    pub(crate) fn close(&self) {
        if !self.state.stopping.swap(true, Ordering::Relaxed) {
            let _ = fs::remove_file(&self.path);
            let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
            for client in self.state.clients.lock().values() {
                let _ = client.shutdown(Shutdown::Read);
            }
        }
    }

    /// Closes it and waits for its threads.
    pub(crate) fn join(self) {
        drop(self);
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.close();
        self.state.threads.join_all();
    }
}

/// Nobody can connect before the socket listens, and it does not listen before its mode is 0600.
fn bind(path: &Path) -> std::io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.listen(64)?;
    Ok(socket.into())
}

fn accept(listener: &UnixListener, state: &Arc<State>, handler: &Handler) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                let (stream, id) = (Arc::new(stream), state.next.fetch_add(1, Ordering::Relaxed));
                let full = {
                    let mut clients = state.clients.lock();
                    let full = clients.len() >= CLIENTS_MAX;
                    if !full {
                        clients.insert(id, stream.clone());
                    }
                    full
                };
                if full {
                    let error = json!({"error": {"kind": "busy", "message": format!("{CLIENTS_MAX} commands are under way; try again")}});
                    let _ = send(&stream, &error);
                    continue;
                }
                // Asked after it is in the table: a stop in between shuts it there, or is seen here.
                if state.stopping.load(Ordering::Relaxed) {
                    return;
                }
                let (shared, handler) = (state.clone(), handler.clone());
                let spawned = state.threads.spawn(&format!("control/{id}"), STACK_HANDSHAKE, move || {
                    let _gone = Gone { state: &shared, id };
                    serve(&stream, &shared, &handler);
                });
                if let Err(e) = spawned {
                    state.clients.lock().remove(&id);
                    log::warn!(target: "control", "{e}");
                }
            }
            Err(_) if state.stopping.load(Ordering::Relaxed) => return,
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            Err(e) => {
                log::warn!(target: "control", "cannot accept: {e}");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// Frees a client's place however its thread ends.
struct Gone<'a> {
    state: &'a State,
    id: u64,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.state.clients.lock().remove(&self.id);
    }
}

fn serve(stream: &UnixStream, state: &State, handler: &Handler) {
    let _ = stream.set_read_timeout(Some(IDLE_MAX));
    let _ = stream.set_write_timeout(Some(WRITE_MAX));
    let mut lines = BufReader::new(stream);
    while !state.stopping.load(Ordering::Relaxed) {
        let line = match read_line(&mut lines, REQUEST_BYTES_MAX) {
            Ok(Some(line)) => line,
            Ok(None) => return,
            Err(Error::Malformed { detail, .. }) => {
                let _ = send(stream, &json!({"error": {"kind": "malformed", "message": format!("request: {detail}")}}));
                return;
            }
            Err(_) => return,
        };
        let request = check_json("request", &line).and_then(|text| {
            serde_json::from_str::<Value>(text).map_err(|e| Error::malformed("request", e.to_string()))
        });
        let mut broken = false;
        let end = match request {
            Ok(request) => {
                let mut each = |row: Value| broken = broken || send(stream, &json!({"row": row})).is_err();
                match handler(request, &mut each) {
                    Ok(done) => json!({"done": done}),
                    Err(error) => json!({"error": error}),
                }
            }
            Err(e) => json!({"error": {"kind": e.kind(), "message": e.to_string()}}),
        };
        if broken || send(stream, &end).is_err() {
            return;
        }
    }
}

fn send(mut stream: &UnixStream, value: &Value) -> std::io::Result<()> {
    let mut line = value.to_string();
    line.push('\n');
    stream.write_all(line.as_bytes())
}

/// A line without its end; `None` at the end of the stream.
fn read_line<R: std::io::Read>(lines: &mut BufReader<R>, max: usize) -> Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let io = |e: std::io::Error| Error::io("control socket", &e);
    lines.by_ref().take(max as u64 + 1).read_until(b'\n', &mut line).map_err(io)?;
    if line.pop_if(|c| *c == b'\n').is_some() {
        return Ok(Some(line));
    }
    match line.len() {
        0 => Ok(None),
        n if n > max => Err(Error::malformed("line", format!("longer than {max} bytes"))),
        _ => Err(Error::malformed("line", "ends in the middle")),
    }
}

/// A command's end.
pub(crate) struct ControlConnection {
    lines: BufReader<UnixStream>,
}

impl ControlConnection {
    /// Connects to the daemon of the folder; `None` when none is there.
    pub(crate) fn open(path: &Path) -> Result<Option<ControlConnection>> {
        if path.as_os_str().as_bytes().len() > PATH_BYTES_MAX {
            return Ok(None); // no daemon can have opened it
        }
        let io = |e: &std::io::Error| Error::io(format!("cannot use the control socket {}", path.display()), e);
        match UnixStream::connect(path) {
            Ok(stream) => {
                stream.set_read_timeout(Some(ANSWER_MAX)).map_err(|e| io(&e))?;
                stream.set_write_timeout(Some(WRITE_MAX)).map_err(|e| io(&e))?;
                Ok(Some(ControlConnection { lines: BufReader::new(stream) }))
            }
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(e) => Err(io(&e)),
        }
    }

    /// Sends a request and hands each row on. The inner result is the daemon's `done` or `error`.
    pub(crate) fn ask(
        &mut self,
        request: &Value,
        each: &mut dyn FnMut(Value),
    ) -> Result<std::result::Result<Value, Value>> {
        let lost = || Error::Failed("the daemon ended before it answered; is it stopping? look at its log".to_owned());
        send(self.lines.get_ref(), request).map_err(|_| lost())?;
        loop {
            let line = match read_line(&mut self.lines, ANSWER_BYTES_MAX) {
                Ok(Some(line)) => line,
                Err(Error::Io { kind: ErrorKind::WouldBlock | ErrorKind::TimedOut, .. }) => {
                    return Err(Error::TimedOut("no answer from the daemon".to_owned()));
                }
                _ => return Err(lost()),
            };
            let mut answer: Value =
                serde_json::from_slice(&line).map_err(|e| Error::malformed("answer of the daemon", e.to_string()))?;
            match answer.as_object_mut() {
                Some(map) => match (map.remove("row"), map.remove("done"), map.remove("error")) {
                    (Some(row), _, _) => each(row),
                    (_, Some(done), _) => return Ok(Ok(done)),
                    (_, _, Some(error)) => return Ok(Err(error)),
                    _ => return Err(Error::malformed("answer of the daemon", "neither row, done nor error")),
                },
                None => return Err(Error::malformed("answer of the daemon", "not an object")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> Handler {
        Arc::new(|request, each| {
            if request == json!("fail") {
                return Err(json!({"kind": "failed", "message": "as asked"}));
            }
            each(request.clone());
            each(json!(2));
            Ok(json!({"asked": 1, "failed": 0}))
        })
    }

    #[test]
    fn rows_come_before_the_end_and_a_client_may_ask_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        assert!(ControlConnection::open(&path).unwrap().is_none());
        let server = ControlServer::start(&path, echo()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut client = ControlConnection::open(&path).unwrap().unwrap();
        for request in [json!({"a": 1}), json!("b\n")] {
            let mut rows = Vec::new();
            let end = client.ask(&request, &mut |row| rows.push(row)).unwrap();
            assert_eq!(rows, [request, json!(2)]);
            assert_eq!(end, Ok(json!({"asked": 1, "failed": 0})));
        }
        assert_eq!(client.ask(&json!("fail"), &mut |_| ()).unwrap().unwrap_err()["message"], "as asked");
        drop(server); // joins, though a client is still there
        assert!(client.ask(&json!(1), &mut |_| ()).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn a_dead_daemons_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists() && ControlConnection::open(&path).unwrap().is_none());
        let _server = ControlServer::start(&path, echo()).unwrap();
        assert!(ControlConnection::open(&path).unwrap().is_some());
    }

    #[test]
    fn garbage_long_lines_and_too_many_clients_are_answered_and_do_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _server = ControlServer::start(&path, echo()).unwrap();
        let answer = |bytes: &[u8]| {
            let stream = UnixStream::connect(&path).unwrap();
            let _ = (&stream).write_all(bytes);
            let mut text = String::new();
            BufReader::new(&stream).read_line(&mut text).unwrap();
            text
        };
        assert!(answer(b"{\n").contains("malformed"));
        assert!(answer(format!("{}\n", "[".repeat(100)).as_bytes()).contains("nested deeper"));
        assert!(answer(&vec![b' '; REQUEST_BYTES_MAX + 1]).contains("longer than"));
        let clients: Vec<_> = (0..CLIENTS_MAX).map(|_| ControlConnection::open(&path).unwrap().unwrap()).collect();
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while !answer(b"1\n").contains("busy") {
            assert!(std::time::Instant::now() < deadline, "the bound never held");
        }
        drop(clients);
        while answer(b"1\n").contains("busy") {
            assert!(std::time::Instant::now() < deadline, "places were not freed");
        }
    }

    #[test]
    fn a_path_the_system_cannot_take_is_an_error_that_says_so() {
        let path = Path::new("/tmp").join("x".repeat(120));
        let Err(error) = ControlServer::start(&path, echo()) else { panic!("was taken") };
        assert!(error.to_string().contains("shorter --data-dir"), "{error}");
        assert!(ControlConnection::open(&path).unwrap().is_none());
    }
}
