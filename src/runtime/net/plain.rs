//! Plain TCP to whoever is named: for protocols that bring their own proof of who answers.

use crate::base::{Error, Result};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

/// Connects to `HOST:PORT`, trying the addresses of a name one after the other, all within `max`.
///
/// # Errors
/// [`Error::Config`] for what is no address, [`Error::Unreachable`] with the last reason.
pub(crate) fn connect(address: &str, max: Duration) -> Result<TcpStream> {
    let until = Instant::now() + max;
    let found = address.to_socket_addrs().map_err(|e| match e.kind() {
        ErrorKind::InvalidInput => Error::Config(format!("{address:?} is no HOST:PORT: {e}")),
        _ => Error::Unreachable(format!("{address}: {e}")),
    })?;
    let mut why = "the name has no address".to_owned();
    for at in found {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&at, left) {
            Ok(socket) => return Ok(socket),
            Err(e) => why = e.to_string(),
        }
    }
    Err(Error::Unreachable(format!("{address}: {why}")))
}

/// Where this machine reaches a socket of its own that is bound there: for one that is bound everywhere its loopback address,
/// of the same kind.
pub(crate) fn reached_from_here(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}
