//! The UDP socket of a DHT node: both kinds of addresses where the system has both.

use crate::base::{Error, Result};
use crate::kad::DATAGRAM_BYTES_MAX;
use crate::runtime::net::plain::reached_from_here;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6, UdpSocket};

/// What the system may hold back of what came, bytes; it may give less. Room for a burst while the reader is not running.
const RECEIVE_BYTES: usize = 1 << 20;

/// One byte more than a datagram may have shows that it has more.
pub(super) type Buffer = [u8; DATAGRAM_BYTES_MAX + 1];

/// A bound UDP socket, for one reader and any number of senders.
#[derive(Debug)]
pub(super) struct Datagrams {
    udp: UdpSocket,
    local: SocketAddr,
}

impl Datagrams {
    /// Binds. `[::]` takes IPv4 as well, and is `0.0.0.0` where the system has no IPv6.
    pub(super) fn bind(at: SocketAddr) -> Result<Datagrams> {
        let bound = match bind(at) {
            Err(e) if at.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && e.kind() != io::ErrorKind::AddrInUse => {
                log::debug!(target: "dht", "no IPv6 here: {e}");
                bind((Ipv4Addr::UNSPECIFIED, at.port()).into())
            }
            bound => bound,
        };
        let io = |e: &io::Error| Error::io(format!("cannot use the UDP address {at}"), e);
        let udp = bound.map_err(|e| io(&e))?;
        let local = udp.local_addr().map_err(|e| io(&e))?;
        Ok(Datagrams { udp, local })
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Waits for a datagram. IPv4 inside IPv6 is IPv4.
    pub(super) fn receive(&self, buffer: &mut Buffer) -> io::Result<(usize, SocketAddr)> {
        let (length, from) = self.udp.recv_from(buffer)?;
        Ok((length, SocketAddr::new(from.ip().to_canonical(), from.port())))
    }

    /// Sends without waiting; what the system does not take at once is lost, as datagrams are.
    pub(super) fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        let to = match to {
            SocketAddr::V4(v4) if self.local.is_ipv6() => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            to => to,
        };
        SockRef::from(&self.udp).send_to_with_flags(datagram, &to.into(), libc::MSG_DONTWAIT).map(drop)
    }

    /// Frees a waiting reader: an empty datagram to ourselves, and the end of reading where the system has that for UDP.
    pub(super) fn wake(&self) {
        let _ = self.send(reached_from_here(self.local), &[]);
        // Linux says "not connected", and wakes the reader all the same.
        let _ = SockRef::from(&self.udp).shutdown(Shutdown::Read);
    }
}

fn bind(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    if at.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Less than this works as well.
    let _ = socket.set_recv_buffer_size(RECEIVE_BYTES);
    socket.bind(&at.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn both_kinds_of_addresses_reach_one_socket_and_ipv4_looks_like_ipv4() {
        let here = Datagrams::bind("[::]:0".parse().unwrap()).unwrap();
        let other = Datagrams::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let at: SocketAddr = (Ipv4Addr::LOCALHOST, here.local_addr().port()).into();
        other.send(at, b"one").unwrap();
        let mut buffer = [0; DATAGRAM_BYTES_MAX + 1];
        assert_eq!(here.receive(&mut buffer).unwrap(), (3, other.local_addr()));
        here.send(other.local_addr(), b"four").unwrap();
        assert_eq!(other.receive(&mut buffer).unwrap(), (4, at));
        if here.local_addr().is_ipv6() {
            let sixth = Datagrams::bind("[::1]:0".parse().unwrap()).unwrap();
            sixth.send((Ipv6Addr::LOCALHOST, here.local_addr().port()).into(), b"six").unwrap();
            assert_eq!(here.receive(&mut buffer).unwrap(), (3, sixth.local_addr()));
        }
    }

    #[test]
    fn a_waiting_reader_is_freed() {
        for at in ["[::]:0", "127.0.0.1:0"] {
            let socket = Arc::new(Datagrams::bind(at.parse().unwrap()).unwrap());
            let reader = {
                let socket = socket.clone();
                thread::spawn(move || drop(socket.receive(&mut [0; DATAGRAM_BYTES_MAX + 1])))
            };
            thread::sleep(std::time::Duration::from_millis(20));
            socket.wake();
            reader.join().unwrap();
        }
    }
}
