//! What a service manager such as systemd is told: that the node serves, that it stops, and, by the dispatcher's own
//! hand, that it is alive. The protocol is that of `sd_notify(3)`: lines in a datagram to the Unix socket that
//! `NOTIFY_SOCKET` names.

use super::clock::Clock;
use crate::base::{Error, Result, Time};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// The socket's path, or `@` and a name without a place in the file system.
pub(crate) const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";
/// How long the manager waits for a sign of life, microseconds.
pub(crate) const WATCHDOG_VARIABLE: &str = "WATCHDOG_USEC";
/// For which process that holds.
pub(crate) const WATCHDOG_PID_VARIABLE: &str = "WATCHDOG_PID";
/// How many arenas the C library's allocator may lay out (`mallopt(3)`). The services of `bin/service` set it: a node has
/// hundreds of short threads, which would spread over eight arenas a core.
pub(crate) const ARENAS_VARIABLE: &str = "MALLOC_ARENA_MAX";

/// The service manager that started this process and wants to hear from it.
#[derive(Debug)]
pub struct ServiceManager {
    /// Not connected: a manager that was replaced is told all the same.
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The manager that the environment names; `None` when it names none, as in a shell.
    ///
    /// # Errors
    /// [`Error::Config`] when what it says makes no sense: then the manager would wait in vain, and end us.
    pub fn from_environment() -> Result<Option<ServiceManager>> {
        let Some(socket) = std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()) else { return Ok(None) };
        let watchdog =
            watchdog(std::env::var_os(WATCHDOG_VARIABLE), std::env::var_os(WATCHDOG_PID_VARIABLE), std::process::id())?;
        ServiceManager::at(&socket, watchdog).map(Some)
    }

    fn at(path: &OsStr, watchdog: Option<Duration>) -> Result<ServiceManager> {
        let address = address(path)?;
        let socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        let socket = socket.map_err(|e| Error::io("cannot make a socket to the service manager", &e))?;
        Ok(ServiceManager { socket, address, watchdog })
    }

    /// The node serves. `status` is a line for people, shown by `systemctl status`.
    pub fn ready(&self, status: &str) {
        // A line is an assignment: more than one of ours must not come of a name.
        let line: String = status.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.tell(&format!("READY=1\nSTATUS={line}"));
    }

    /// The node begins to stop.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    /// How often to say that one is alive: half of what the manager waits for.
    pub(crate) fn beat_interval(&self) -> Option<Duration> {
        self.watchdog.map(|wait| wait / 2)
    }

    /// Without waiting: a manager whose socket is full has other sorrows, and the dispatcher serves links.
    fn tell(&self, lines: &str) {
        if let Err(e) = self.socket.send_to_addr(lines.as_bytes(), &self.address) {
            log::warn!(target: "node", error:% = e; "the service manager cannot be told");
        }
    }
}

/// The dispatcher's signs of life: it sends them itself, so they end when it hangs.
pub(crate) struct Beat {
    manager: Arc<ServiceManager>,
    every: Duration,
    next: Time,
}

impl Beat {
    /// `None` when the manager does not watch.
    pub(crate) fn new(manager: Arc<ServiceManager>, clock: Clock) -> Option<Beat> {
        let every = manager.beat_interval()?;
        Some(Beat { manager, every, next: clock.mono() })
    }

    /// When the next one is due.
    pub(crate) fn poll_timeout(&self) -> Time {
        self.next
    }

    /// Sends one when it is due.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        if self.next <= now {
            self.manager.tell("WATCHDOG=1");
            self.next = now + self.every;
        }
    }
}

/// How long the manager waits; `None` when it does not, or not for this process.
fn watchdog(wait: Option<OsString>, of: Option<OsString>, us: u32) -> Result<Option<Duration>> {
    let Some(wait) = wait else { return Ok(None) };
    if of.is_some_and(|pid| pid.to_str() != Some(&us.to_string())) {
        return Ok(None);
    }
    match wait.to_str().and_then(|text| text.parse::<u64>().ok()) {
        Some(0) | None => Err(Error::Config(format!("{WATCHDOG_VARIABLE} is no number of microseconds: {wait:?}"))),
        Some(micros) => Ok(Some(Duration::from_micros(micros))),
    }
}

fn address(path: &OsStr) -> Result<SocketAddr> {
    let made = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(path),
        _ => Err(ErrorKind::InvalidInput.into()),
    };
    made.map_err(|_| Error::Config(format!("{SOCKET_VARIABLE} is no socket's address: {path:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(path: &OsStr, watchdog: Option<Duration>) -> ServiceManager {
        ServiceManager::at(path, watchdog).unwrap()
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let n = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    }

    #[test]
    fn lines_come_to_a_socket_with_a_path_and_to_one_without() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        manager(path.as_os_str(), None).ready("rig \n1\tserves");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=rig  1 serves");
        let name = format!("rigmesh-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        manager(OsStr::new(&format!("@{name}")), None).stopping();
        assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=stopping");
        drop(socket);
        // Nobody there: no panic, no wait.
        manager(OsStr::new(&format!("@{name}")), None).stopping();
        assert!(address(OsStr::new("relative")).is_err() && address(OsStr::new(&"/x".repeat(99))).is_err());
    }

    #[test]
    fn the_watchdog_is_for_the_process_it_names_and_beats_at_half_its_time() {
        let said = |wait: &str, of: Option<&str>| watchdog(Some(wait.into()), of.map(OsString::from), 7);
        assert_eq!(said("3000000", Some("7")).unwrap(), Some(Duration::from_secs(3)));
        assert_eq!(said("3000000", None).unwrap(), Some(Duration::from_secs(3)));
        assert_eq!(said("3000000", Some("8")).unwrap(), None);
        assert_eq!(watchdog(None, None, 7).unwrap(), None);
        assert!(said("0", None).is_err() && said("soon", None).is_err());

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let manager = Arc::new(manager(path.as_os_str(), Some(Duration::from_secs(2))));
        let mut beat = Beat::new(manager, Clock::start()).unwrap();
        let first = beat.poll_timeout();
        beat.handle_timeout(first);
        assert_eq!(heard(&socket), "WATCHDOG=1");
        assert_eq!(beat.poll_timeout(), first + Duration::from_secs(1));
        beat.handle_timeout(first + Duration::from_millis(999));
        socket.set_nonblocking(true).unwrap();
        assert!(socket.recv(&mut [0; 16]).is_err(), "not before it is due");
    }
}
