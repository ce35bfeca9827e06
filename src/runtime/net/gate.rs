//! Who may come in: counts of connections before any work is done for them (mesh.md §3, §8).

use crate::base::Time;
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
}

/// When the unproven places are full, the oldest of at least this age makes room.
const EVICT_AGE: Duration = Duration::from_secs(10);
/// Sockets above the limit that are told so by HTTP 503; more are closed at once.
const REFUSING_MAX: usize = 16;

/// The gate of one node.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: GateLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    entries: BTreeMap<u64, Entry>,
    refusing: usize,
}

#[derive(Debug)]
struct Entry {
    ip: IpAddr,
    since: Time,
    proven: bool,
    socket: Arc<TcpStream>,
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
        Arc::new(Gate { limits, state: Mutex::default() })
    }

    /// An accepted socket.
    pub(crate) fn enter(self: &Arc<Self>, now: Time, ip: IpAddr, socket: &Arc<TcpStream>) -> Entrance {
        let mut state = self.state.lock();
        let unproven = state.entries.values().filter(|e| !e.proven).count();
        let here = state.entries.values().filter(|e| !e.proven && e.ip == ip).count();
        let full = state.entries.len() >= self.limits.connections_max
            || here >= self.limits.unproven_per_address_max
            || unproven >= self.limits.unproven_max;
        let only_unproven_full = state.entries.len() < self.limits.connections_max && full;
        if only_unproven_full {
            let from_here = here >= self.limits.unproven_per_address_max;
            let oldest = state
                .entries
                .iter()
                .filter(|(_, e)| !e.proven && (!from_here || e.ip == ip) && now.since(e.since) >= EVICT_AGE)
                .min_by_key(|(_, e)| e.since)
                .map(|(id, _)| *id);
            if let Some(entry) = oldest.and_then(|id| state.entries.remove(&id)) {
                let _ = entry.socket.shutdown(Shutdown::Both); // frees its reader, which ends by itself
                return Entrance::Pass(self.place(&mut state, now, ip, socket, false));
            }
        }
        if !full {
            return Entrance::Pass(self.place(&mut state, now, ip, socket, false));
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
        self.place(&mut state, now, ip, socket, true)
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
        proven: bool,
    ) -> Pass {
        state.next += 1;
        let id = state.next;
        state.entries.insert(id, Entry { ip, since, proven, socket: socket.clone() });
        Pass { gate: self.clone(), place: Place::Entry(id) }
    }
}

impl Pass {
    /// The connection's key is proven: it no longer counts as half-open.
    pub(crate) fn prove(&self) {
        if let Place::Entry(id) = self.place
            && let Some(entry) = self.gate.state.lock().entries.get_mut(&id)
        {
            entry.proven = true;
        }
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

    #[test]
    fn half_open_places_are_limited_and_the_oldest_makes_room() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = || Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let gate = Gate::new(GateLimits { connections_max: 5, unproven_max: 3, unproven_per_address_max: 2 });
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let at = Time::from_millis;
        let Entrance::Pass(first) = gate.enter(at(0), a, &socket()) else { panic!() };
        let Entrance::Pass(_second) = gate.enter(at(1), a, &socket()) else { panic!() };
        assert!(matches!(gate.enter(at(2), a, &socket()), Entrance::Full(_)), "two from one address");
        first.prove();
        let Entrance::Pass(_third) = gate.enter(at(3), a, &socket()) else { panic!("a proven one does not count") };
        let Entrance::Pass(_fourth) = gate.enter(at(4), b, &socket()) else { panic!() };
        assert!(matches!(gate.enter(at(5), b, &socket()), Entrance::Full(_)), "three half-open in all");
        let Entrance::Pass(_fifth) = gate.enter(at(10_001), b, &socket()) else { panic!("the oldest makes room") };
        drop(first);
        assert_eq!(gate.state.lock().entries.len(), 3);
    }
}
