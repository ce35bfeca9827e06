//! Who may come in: counts of connections before any work is done for them (mesh.md §3 and §8, secure-session.md §2
//! "Under load"). TCP has proven the source address already; what is scarce is places in the handshake. Half of them are
//! kept for addresses from which somebody proved a key lately, and those are not slowed down either, so that a flood from
//! elsewhere does not keep a farm out.

use super::turns::Turns;
use crate::base::Time;
use crate::kad::Subnet;
use crate::session::Bucket;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Bounds of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GateLimits {
    /// Connections in all: established, in handshake, dialled.
    pub(crate) connections_max: usize,
    /// Accepted connections that have not proven their key, in all.
    pub(crate) unproven_max: usize,
    /// The same, from one address. A farm behind one address is legitimate once it is proven.
    pub(crate) unproven_per_address_max: usize,
    /// Of those, connections whose handshake is not done, in all; strangers get half of the places.
    pub(crate) half_open_max: usize,
    /// The same, from one stranger's address.
    pub(crate) half_open_per_address_max: usize,
    /// The same, from strangers of one public /24 or /48.
    pub(crate) half_open_per_net_max: usize,
    /// Handshakes that a stranger's address may begin a second, and at once.
    pub(crate) handshakes_per_s: u32,
}

/// How long an address from which a key was proven is no stranger's.
const KNOWN_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// Addresses remembered for that, and counted for their handshakes.
const ADDRESSES_MAX: usize = 4096;

/// When the unproven places are full, the oldest of at least this age makes room.
const EVICT_AGE: Duration = Duration::from_secs(10);
/// Sockets above the limit that are told so by HTTP 503; more are closed at once.
const REFUSING_MAX: usize = 16;

/// The gate of one node.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: GateLimits,
    /// For the curve work of handshakes.
    pub(crate) turns: Turns,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    entries: BTreeMap<u64, Entry>,
    refusing: usize,
    /// When somebody last proved a key from there.
    known: BTreeMap<IpAddr, Time>,
    /// Handshakes of strangers.
    begun: BTreeMap<IpAddr, Bucket>,
}

#[derive(Debug)]
struct Entry {
    ip: IpAddr,
    since: Time,
    stage: Stage,
    socket: Arc<TcpStream>,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Its handshake is under way.
    HalfOpen,
    /// A 1.0 link whose key is not proven.
    Unproven,
    Proven,
}

/// What the gate says.
pub(crate) enum Entrance {
    /// Come in; the place is free again when the pass is dropped.
    Pass(Pass),
    /// Be told that there is no room (503), then go.
    Full(Pass),
    /// Go.
    Closed,
}

/// A place, given back on drop.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    place: Place,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Entry(u64),
    Refusal,
}

impl Gate {
    pub(crate) fn new(limits: GateLimits) -> Arc<Gate> {
        Arc::new(Gate { limits, turns: Turns::of_cores(), state: Mutex::default() })
    }

    /// An accepted socket.
    pub(crate) fn enter(self: &Arc<Self>, now: Time, ip: IpAddr, socket: &Arc<TcpStream>) -> Entrance {
        let mut state = self.state.lock();
        let unproven = state.entries.values().filter(|e| e.stage < Stage::Proven).count();
        let here = state.entries.values().filter(|e| e.stage < Stage::Proven && e.ip == ip).count();
        let full = state.entries.len() >= self.limits.connections_max
            || here >= self.limits.unproven_per_address_max
            || unproven >= self.limits.unproven_max
            || self.limits.is_crowded(&mut state, now, ip);
        let only_unproven_full = state.entries.len() < self.limits.connections_max && full;
        if only_unproven_full {
            let from_here = here >= self.limits.unproven_per_address_max;
            let oldest = state
                .entries
                .iter()
                .filter(|(_, e)| e.stage < Stage::Proven && (!from_here || e.ip == ip))
                .filter(|(_, e)| now.since(e.since) >= EVICT_AGE)
                .min_by_key(|(_, e)| e.since)
                .map(|(id, _)| *id);
            if let Some(entry) = oldest.and_then(|id| state.entries.remove(&id)) {
                let _ = entry.socket.shutdown(Shutdown::Both); // frees its reader, which ends by itself
                return Entrance::Pass(self.place(&mut state, now, ip, socket, Stage::HalfOpen));
            }
        }
        if !full {
            return Entrance::Pass(self.place(&mut state, now, ip, socket, Stage::HalfOpen));
        }
        if state.refusing >= REFUSING_MAX {
            return Entrance::Closed;
        }
        state.refusing += 1;
        Entrance::Full(Pass { gate: self.clone(), place: Place::Refusal })
    }

    /// A socket that we dialled: counted, never refused.
    pub(crate) fn leave(self: &Arc<Self>, now: Time, ip: IpAddr, socket: &Arc<TcpStream>) -> Pass {
        let mut state = self.state.lock();
        self.place(&mut state, now, ip, socket, Stage::Proven)
    }

    /// Ends every connection and handshake under way.
    pub(crate) fn shut_all(&self) {
        for entry in self.state.lock().entries.values() {
            let _ = entry.socket.shutdown(Shutdown::Both);
        }
    }

    fn place(
        self: &Arc<Self>,
        state: &mut State,
        since: Time,
        ip: IpAddr,
        socket: &Arc<TcpStream>,
        stage: Stage,
    ) -> Pass {
        state.next += 1;
        let id = state.next;
        state.entries.insert(id, Entry { ip, since, stage, socket: socket.clone() });
        Pass { gate: self.clone(), place: Place::Entry(id) }
    }
}

impl Pass {
    /// The handshake is done.
    pub(crate) fn establish(&self) {
        if let Place::Entry(id) = self.place
            && let Some(entry) = self.gate.state.lock().entries.get_mut(&id)
        {
            entry.stage = entry.stage.max(Stage::Unproven);
        }
    }

    /// The connection's key is proven: it no longer counts as half-open, and its address is no stranger's.
    pub(crate) fn prove(&self, now: Time) {
        let Place::Entry(id) = self.place else { return };
        let mut state = self.gate.state.lock();
        let Some(entry) = state.entries.get_mut(&id) else { return };
        entry.stage = Stage::Proven;
        let ip = entry.ip;
        state.known.insert(ip, now);
        if state.known.len() > ADDRESSES_MAX
            && let Some(oldest) = state.known.iter().min_by_key(|(_, at)| **at).map(|(ip, _)| *ip)
        {
            state.known.remove(&oldest);
        }
    }
}

impl GateLimits {
    /// Bounds that no test comes to by accident.
    #[cfg(test)]
    pub(super) const WIDE: GateLimits = GateLimits {
        connections_max: 100,
        unproven_max: 100,
        unproven_per_address_max: 16,
        half_open_max: 100,
        half_open_per_address_max: 100,
        half_open_per_net_max: 100,
        handshakes_per_s: 100,
    };

    /// Whether there is no place in the handshake for somebody from this address. Strangers' attempts are counted by this.
    fn is_crowded(&self, state: &mut State, now: Time, ip: IpAddr) -> bool {
        let half_open = |fits: &dyn Fn(IpAddr) -> bool| {
            state.entries.values().filter(|e| e.stage == Stage::HalfOpen && fits(e.ip)).count()
        };
        let all = half_open(&|_| true);
        if state.known.get(&ip).is_some_and(|at| now.since(*at) < KNOWN_FOR) {
            return all >= self.half_open_max;
        }
        let net = Subnet::shared(ip);
        if all >= self.half_open_max.div_ceil(2)
            || half_open(&|other| other == ip) >= self.half_open_per_address_max
            || net.is_some() && half_open(&|other| Subnet::shared(other) == net) >= self.half_open_per_net_max
        {
            return true;
        }
        let rate = u64::from(self.handshakes_per_s);
        if state.begun.len() >= ADDRESSES_MAX {
            // Who has not come for a second has all its handshakes again.
            state.begun.retain(|_, bucket| bucket.take(now, rate).is_err());
        }
        state.begun.len() >= ADDRESSES_MAX
            || state.begun.entry(ip).or_insert_with(|| Bucket::new(now, rate, rate)).take(now, 1).is_err()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        match self.place {
            Place::Entry(id) => drop(state.entries.remove(&id)),
            Place::Refusal => state.refusing = state.refusing.saturating_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A gate, and what comes to it: each call is another socket.
    fn gate(limits: GateLimits) -> (Arc<Gate>, impl Fn() -> Arc<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (Gate::new(limits), move || Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap()))
    }

    #[test]
    fn half_open_places_are_limited_and_the_oldest_makes_room() {
        let (gate, socket) =
            gate(GateLimits { connections_max: 5, unproven_max: 3, unproven_per_address_max: 2, ..GateLimits::WIDE });
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let at = Time::from_millis;
        let Entrance::Pass(first) = gate.enter(at(0), a, &socket()) else { panic!() };
        let Entrance::Pass(_second) = gate.enter(at(1), a, &socket()) else { panic!() };
        assert!(matches!(gate.enter(at(2), a, &socket()), Entrance::Full(_)), "two from one address");
        first.prove(at(2));
        let Entrance::Pass(_third) = gate.enter(at(3), a, &socket()) else { panic!("a proven one does not count") };
        let Entrance::Pass(_fourth) = gate.enter(at(4), b, &socket()) else { panic!() };
        assert!(matches!(gate.enter(at(5), b, &socket()), Entrance::Full(_)), "three half-open in all");
        let Entrance::Pass(_fifth) = gate.enter(at(10_001), b, &socket()) else { panic!("the oldest makes room") };
        drop(first);
        assert_eq!(gate.state.lock().entries.len(), 3);
    }

    #[test]
    fn strangers_get_half_of_the_places_and_few_from_one_neighbourhood() {
        let (gate, socket) = gate(GateLimits {
            half_open_max: 12,
            half_open_per_address_max: 2,
            half_open_per_net_max: 3,
            handshakes_per_s: 5,
            ..GateLimits::WIDE
        });
        let now = Time::from_millis(1000);
        let mut places = Vec::new();
        let mut enter = |ip: [u8; 4], now: Time| match gate.enter(now, ip.into(), &socket()) {
            Entrance::Pass(pass) => {
                places.push(pass);
                true
            }
            _ => false,
        };
        assert!(enter([8, 8, 8, 1], now) && enter([8, 8, 8, 1], now));
        assert!(!enter([8, 8, 8, 1], now), "two from one address");
        assert!(enter([8, 8, 8, 2], now));
        assert!(!enter([8, 8, 8, 3], now), "three from one neighbourhood");
        // Neighbours in a private range are one's own rigs.
        assert!(enter([10, 0, 0, 1], now) && enter([10, 0, 0, 2], now) && enter([10, 0, 0, 3], now));
        assert!(!enter([9, 9, 9, 9], now), "half of the places are not for strangers");
        let farm = &places[3];
        farm.establish();
        farm.prove(now);
        let mut enter = |now: Time| match gate.enter(now, [10, 0, 0, 1].into(), &socket()) {
            Entrance::Pass(pass) => {
                places.push(pass);
                true
            }
            _ => false,
        };
        assert!((0..7).all(|_| enter(now)), "who proved a key from there has the others");
        assert!(!enter(now), "twelve in all");
        drop(places);
        let enter = |now: Time| match gate.enter(now, [10, 0, 0, 1].into(), &socket()) {
            Entrance::Pass(pass) => Some(pass),
            _ => None,
        };
        let held: Vec<_> = (0..3).filter_map(|_| enter(now + KNOWN_FOR)).collect();
        assert_eq!(held.len(), 2, "a stranger again in time");
    }

    #[test]
    fn a_stranger_begins_few_handshakes_a_second() {
        let (gate, socket) = gate(GateLimits { handshakes_per_s: 5, ..GateLimits::WIDE });
        let enter = |ms| matches!(gate.enter(Time::from_millis(ms), [8, 8, 8, 8].into(), &socket()), Entrance::Pass(_));
        assert_eq!((0..20).filter(|_| enter(0)).count(), 5, "each ended before the next began");
        assert!(!enter(199) && enter(201) && !enter(202));
        assert!(matches!(gate.enter(Time::from_millis(202), [8, 8, 4, 4].into(), &socket()), Entrance::Pass(_)));
    }
}
