//! `listen`: accepts sockets and hands them on. Ended by shutting the listening socket down.

use super::open::Opener;
use crate::base::{Error, Result};
use crate::runtime::threads::{STACK, Threads};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Sockets the kernel holds for us until we accept them: a farm comes back all at once.
const BACKLOG: i32 = 1024;

/// A bound listener, not yet accepting.
pub(crate) struct Listener {
    socket: Arc<TcpListener>,
    address: SocketAddr,
}

impl Listener {
    /// Binds `host:port`; `:port` means every interface, IPv6 and IPv4, or IPv4 alone on a kernel without IPv6.
    pub(crate) fn bind(address: &str) -> Result<Listener> {
        let busy = |e: &io::Error| {
            let hint = if e.kind() == ErrorKind::AddrInUse {
                "; another process listens there: choose another --listen address or stop it"
            } else {
                ""
            };
            Error::Io { what: format!("cannot listen on {address}"), kind: e.kind(), detail: format!("{e}{hint}") }
        };
        let socket = match address.strip_prefix(':') {
            Some(port) => {
                let port: u16 = port.parse().map_err(|_| {
                    Error::Config(format!("{address} is no listen address: the port must be a number up to 65535"))
                })?;
                bind_one(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)).or_else(|e| match e.kind() {
                    ErrorKind::AddrInUse | ErrorKind::PermissionDenied => Err(e),
                    _ => bind_one(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
                })
            }
            None => {
                let mut found = address
                    .to_socket_addrs()
                    .map_err(|e| Error::Config(format!("{address} is no listen address: {e}")))?;
                let first = found.next().ok_or_else(|| Error::Config(format!("{address} names no address")))?;
                bind_one(first)
            }
        };
        let socket = socket.map_err(|e| busy(&e))?;
        let address = socket.local_addr().map_err(|e| busy(&e))?;
        Ok(Listener { socket: Arc::new(socket), address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts accepting peers.
    pub(crate) fn start(&self, opener: Arc<Opener>, threads: &Threads) -> Result<()> {
        let stopping = Arc::clone(&opener);
        let is_stopping = move || stopping.stopping.load(Ordering::Relaxed);
        self.start_with("listen", threads, is_stopping, move |stream, from| opener.accept(stream, from))
    }

    /// Starts accepting on a thread of this name; each socket goes to `accept`, which must not wait.
    pub(crate) fn start_with(
        &self,
        name: &str,
        threads: &Threads,
        is_stopping: impl Fn() -> bool + Send + 'static,
        accept: impl Fn(TcpStream, SocketAddr) + Send + 'static,
    ) -> Result<()> {
        let socket = self.socket.clone();
        threads.spawn(name, STACK, move || {
            loop {
                match socket.accept() {
                    Ok((stream, from)) => accept(stream, from),
                    Err(_) if is_stopping() => return,
                    Err(e) if matches!(e.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                    Err(e) => {
                        // Out of descriptors or memory: what is open will end some day; spinning would not help it.
                        log::warn!(target: "mesh", "cannot accept: {e}");
                        std::thread::sleep(Duration::from_millis(100));
                    }
                }
            }
        })
    }

    /// Frees the blocked `accept`; what says that it is stopping must be set first.
    pub(crate) fn stop(&self) {
        let _ = SockRef::from(&*self.socket).shutdown(Shutdown::Both);
    }
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
