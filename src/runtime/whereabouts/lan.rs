//! The local link: a multicast group in which rigs say where they are, for farms without any bootstrap, and without a way out.
//!
//! A datagram is `rigmesh-lan-1\0`, a byte, and for `1` (*here*) the signed record of secure-session.md §8; `2` (*who is there*)
//! has nothing behind it. IPv4, administratively scoped, never beyond the next router.

use crate::base::{Error, Result, Time, Timestamp};
use crate::kad::{SIGHTING_BYTES_MAX, Sighting};
use crate::session::Bucket;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, UdpSocket};

/// The group.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 90, 91);
const LABEL: &[u8] = b"rigmesh-lan-1\0";
const HERE: u8 = 1;
const WHO: u8 = 2;
/// Datagrams read of one neighbour at once, and a second: each may cost a signature.
const BURST: u64 = 8;
const PER_S: u64 = 2;
/// The same of all together, whatever addresses they claim: a farm that answers at once, and no more.
const BURST_ALL: u64 = 2048;
const PER_S_ALL: u64 = 200;
/// Neighbours whose rate is known.
const NEIGHBOURS_MAX: usize = 4096;
/// What the system may hold back of what came, bytes; it may give less.
const RECEIVE_BYTES: usize = 1 << 20;

/// What was heard.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A rig says where it is.
    Here(Box<Sighting>),
    /// Somebody asks who is there.
    Who,
}

/// The socket of the local link.
#[derive(Debug)]
pub(crate) struct Lan {
    udp: UdpSocket,
    port: u16,
    joined: Mutex<Vec<Ipv4Addr>>,
}

impl Lan {
    /// Listens at this port of the group; [`Lan::join`] says on which interfaces.
    pub(crate) fn open(port: u16) -> Result<Lan> {
        let open = || -> io::Result<UdpSocket> {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
            // Several nodes of one machine, each with a socket of its own, all hear everything.
            socket.set_reuse_address(true)?;
            socket.set_multicast_ttl_v4(1)?;
            socket.set_multicast_loop_v4(true)?;
            // Less than this works as well.
            let _ = socket.set_recv_buffer_size(RECEIVE_BYTES);
            socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
            Ok(socket.into())
        };
        let udp = open().map_err(|e| Error::io(format!("cannot listen on the local link, udp port {port}"), &e))?;
        Ok(Lan { udp, port, joined: Mutex::default() })
    }

    /// Listens and speaks on the interfaces with these addresses, and on no others.
    pub(crate) fn join(&self, interfaces: &[IpAddr]) {
        let now: Vec<Ipv4Addr> = interfaces
            .iter()
            .filter_map(|ip| match ip {
                IpAddr::V4(ip) => Some(*ip),
                IpAddr::V6(_) => None,
            })
            .collect();
        let mut joined = self.joined.lock();
        for ip in joined.extract_if(.., |ip| !now.contains(ip)) {
            let _ = self.udp.leave_multicast_v4(&GROUP, &ip);
        }
        for ip in now {
            if !joined.contains(&ip) {
                match self.udp.join_multicast_v4(&GROUP, &ip) {
                    Ok(()) => joined.push(ip),
                    // Two addresses of one interface: it is joined already.
                    Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
                    Err(e) => log::debug!(target: "dht", "no multicast on the interface of {ip}: {e}"),
                }
            }
        }
    }

    /// Says where this rig is.
    pub(crate) fn announce(&self, record: &[u8]) {
        self.send(&[LABEL, &[HERE], record].concat());
    }

    /// Asks who is there.
    pub(crate) fn ask(&self) {
        self.send(&[LABEL, &[WHO]].concat());
    }

    fn send(&self, datagram: &[u8]) {
        for ip in self.joined.lock().iter() {
            let to: SocketAddr = (GROUP, self.port).into();
            let socket = SockRef::from(&self.udp);
            let sent = socket
                .set_multicast_if_v4(ip)
                .and_then(|()| socket.send_to_with_flags(datagram, &to.into(), libc::MSG_DONTWAIT));
            if let Err(e) = sent {
                log::debug!(target: "dht", "nothing is said on the interface of {ip}: {e}");
            }
        }
    }

    /// Waits for the next datagram that can be read; `None` at the end.
    pub(crate) fn hear(&self, rates: &mut Rates, clock: impl Fn() -> (Time, Timestamp)) -> Option<Heard> {
        let mut buffer = [0; LABEL.len() + 1 + SIGHTING_BYTES_MAX + 1];
        loop {
            let (length, from) = match self.udp.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return None,
            };
            if length == 0 {
                return None; // the socket was shut
            }
            let (mono, wall) = clock();
            if let Some(rest) = buffer.get(..length).and_then(|datagram| datagram.strip_prefix(LABEL))
                && rates.take(mono, from.ip())
                && let Some(heard) = read(rest, wall)
            {
                return Some(heard);
            }
        }
    }

    /// Ends [`Lan::hear`].
    pub(crate) fn shut(&self) {
        // Linux says "not connected", and wakes the reader all the same.
        let _ = SockRef::from(&self.udp).shutdown(Shutdown::Both);
    }
}

fn read(rest: &[u8], now: Timestamp) -> Option<Heard> {
    match rest.split_first()? {
        (&HERE, record) => match Sighting::read(record, now) {
            Ok(sighting) => Some(Heard::Here(Box::new(sighting))),
            Err(e) => {
                log::debug!(target: "dht", "a record on the local link is not believed: {e}");
                None
            }
        },
        (&WHO, []) => Some(Heard::Who),
        _ => None,
    }
}

/// How much each neighbour may say, and all together.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    neighbours: BTreeMap<IpAddr, Bucket>,
    all: Option<Bucket>,
}

impl Rates {
    fn take(&mut self, now: Time, ip: IpAddr) -> bool {
        // So many are not neighbours but one that makes addresses up, and all together are limited.
        if self.neighbours.len() >= NEIGHBOURS_MAX {
            self.neighbours.clear();
        }
        let one = self.neighbours.entry(ip).or_insert_with(|| Bucket::new(now, BURST, PER_S));
        let all = self.all.get_or_insert_with(|| Bucket::new(now, BURST_ALL, PER_S_ALL));
        one.take(now, 1).is_ok() && all.take(now, 1).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{SecretKey, SignKey};
    use crate::kad::{NatType, RigRecord};
    use std::time::Duration;

    const NOW: i64 = 1_800_000_000;

    fn record() -> Vec<u8> {
        let key = SecretKey::from_bytes([7; 32]).public_key();
        let rig =
            RigRecord { places: vec!["ws://192.0.2.7:9091/ws".parse().unwrap()], key, nat_type: NatType::Unknown };
        rig.sign(&SignKey::from_seed(&[1; 32]), Timestamp::from_unix(NOW, 0), 5).unwrap().encode()
    }

    #[test]
    fn what_is_said_on_one_link_is_heard_on_it() {
        // A port that is free for both: reuse lets them share it.
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (one, two) = (Lan::open(port).unwrap(), Lan::open(port).unwrap());
        for lan in [&one, &two] {
            lan.join(&[Ipv4Addr::LOCALHOST.into()]);
        }
        one.ask();
        one.send(b"something else");
        one.announce(&[1, 2, 3]);
        one.announce(&record());
        let (mut rates, clock) = (Rates::default(), || (Time::ZERO, Timestamp::from_unix(NOW, 0)));
        assert!(matches!(two.hear(&mut rates, clock), Some(Heard::Who)));
        let Some(Heard::Here(rig)) = two.hear(&mut rates, clock) else { panic!("no record") };
        assert_eq!(rig.record().seq, 5);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| two.hear(&mut Rates::default(), clock).is_none());
            two.shut();
            assert!(waiting.join().unwrap());
        });
    }

    #[test]
    fn a_neighbour_that_talks_too_much_is_not_listened_to() {
        let (mut rates, ip) = (Rates::default(), IpAddr::from([192, 0, 2, 1]));
        let heard = (0..100).filter(|_| rates.take(Time::ZERO, ip)).count();
        assert_eq!(heard, BURST as usize);
        assert!(rates.take(Time::ZERO, [192, 0, 2, 2].into()), "others are");
        let later = Time::ZERO + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| rates.take(later, ip)).count(), PER_S as usize);
        let many = (0..9000u32).filter(|n| rates.take(Time::ZERO, Ipv4Addr::from(0x0a00_0000 + n).into())).count();
        assert_eq!(many, BURST_ALL as usize - PER_S as usize);
    }
}
