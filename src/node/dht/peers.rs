//! Calls about single peers.

use super::{Node, unexpected};
use crate::base::Result;
use crate::kad::{
    Done, Id, NodeInfo, PeerHealthState, PeerIdentity, SignedRecord, SizeEstimate, rec_type, size_estimate,
    size_estimate_any,
};
use crate::runtime::clock;
use std::net::SocketAddr;
use std::time::Duration;

/// A peer that is known by other means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapSeed {
    /// Where it is reached.
    pub addr: SocketAddr,
    /// Who it is.
    pub info: NodeInfo,
}

/// A peer's answer to a PING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// Who answered, and where it sees this node.
    pub peer: PeerIdentity,
    /// How long it took, attempts that were not answered included.
    pub round_trip: Duration,
}

impl Node {
    /// Takes a peer into the table as one that has answered (dht-api.md, `AddContact`).
    ///
    /// # Errors
    /// [`crate::base::Error::ShuttingDown`].
    pub fn add_contact(&self, addr: SocketAddr, info: NodeInfo) -> Result<()> {
        self.handle().ask(move |machine, now| {
            let id = info.node_id;
            machine.add_contact(now, info);
            machine.bind_peer_addr(id, addr);
        })
    }

    /// Where a peer is reached, without the table.
    ///
    /// # Errors
    /// [`crate::base::Error::ShuttingDown`].
    pub fn bind_peer_addr(&self, id: Id, addr: SocketAddr) -> Result<()> {
        self.handle().ask(move |machine, _| machine.bind_peer_addr(id, addr))
    }

    /// Asks who is there; who answers enters the table.
    ///
    /// # Errors
    /// [`crate::base::Error::TimedOut`] when nobody answers.
    pub fn ping(&self, addr: SocketAddr, within: Duration) -> Result<Pong> {
        match self.handle().order(within, move |machine, now, order| {
            machine.ping(now, order, addr, within);
            Ok(())
        })? {
            Done::Pong { peer, round_trip } => Ok(Pong { peer, round_trip }),
            _ => Err(unexpected()),
        }
    }

    /// Asks one peer for the nodes it knows near `target`, given as it sends them.
    ///
    /// # Errors
    /// [`crate::base::Error::TimedOut`].
    pub fn find_node(&self, addr: SocketAddr, target: Id, within: Duration) -> Result<Vec<NodeInfo>> {
        match self.handle().order(within, move |machine, now, order| {
            machine.find_node_at(now, order, addr, target, within);
            Ok(())
        })? {
            Done::Nodes(nodes) => Ok(nodes),
            _ => Err(unexpected()),
        }
    }

    /// Asks one peer for records at `key` (type 0 for all) and nodes near it. Nothing in the answer is verified.
    ///
    /// # Errors
    /// [`crate::base::Error::TimedOut`].
    pub fn find_value_with_nodes(
        &self,
        addr: SocketAddr,
        key: Id,
        rec_type: u8,
        within: Duration,
    ) -> Result<(Vec<SignedRecord>, Vec<NodeInfo>)> {
        match self.handle().order(within, move |machine, now, order| {
            machine.find_value_at(now, order, addr, key, rec_type, within);
            Ok(())
        })? {
            Done::Values { records, nodes } => Ok((records, nodes)),
            _ => Err(unexpected()),
        }
    }

    /// The newest verified endpoint record in one peer's answer.
    ///
    /// # Errors
    /// [`crate::base::Error::TimedOut`].
    pub fn find_value(&self, addr: SocketAddr, key: Id, within: Duration) -> Result<Option<SignedRecord>> {
        let (records, _) = self.find_value_with_nodes(addr, key, rec_type::ENDPOINT, within)?;
        let (rules, now) = (&self.rules, clock::wall());
        let good = |record: &SignedRecord| record.rec_type == rec_type::ENDPOINT && record.verify(now, rules).is_ok();
        let newer =
            |best: SignedRecord, other: SignedRecord| if other.is_newer_than(&best, rules) { other } else { best };
        Ok(records.into_iter().filter(good).reduce(newer))
    }

    /// Asks one peer to keep a record; the zero key stands for the record's own. Whether it says that it did: false also
    /// when it has that one, or a newer, already.
    ///
    /// # Errors
    /// [`crate::base::Error::TimedOut`].
    pub fn store_at(&self, addr: SocketAddr, key: Id, record: SignedRecord, within: Duration) -> Result<bool> {
        match self.handle().order(within, move |machine, now, order| {
            machine.store_at(now, order, addr, key, record, within);
            Ok(())
        })? {
            Done::Stored(stored) => Ok(stored),
            _ => Err(unexpected()),
        }
    }

    /// Asks a peer to send an echo to `claimed`, where this node believes to be reached. Whether it came within the time.
    ///
    /// # Errors
    /// [`crate::base::Error::ShuttingDown`].
    pub fn send_nat_probe(&self, addr: SocketAddr, claimed: SocketAddr, within: Duration) -> Result<bool> {
        match self.handle().order(within, move |machine, now, order| {
            machine.nat_probe(now, order, addr, claimed, within);
            Ok(())
        })? {
            Done::Echo(came) => Ok(came),
            _ => Err(unexpected()),
        }
    }

    /// What to expect of a peer.
    ///
    /// # Errors
    /// [`crate::base::Error::ShuttingDown`].
    pub fn peer_health(&self, id: Id) -> Result<PeerHealthState> {
        self.handle().ask(move |machine, _| machine.health().state(&id))
    }

    /// Whether the pause after a peer's failures is over.
    ///
    /// # Errors
    /// [`crate::base::Error::ShuttingDown`].
    pub fn peer_allows_contact(&self, id: Id) -> Result<bool> {
        self.handle().ask(move |machine, now| machine.health().allows_contact(now.mono, &id))
    }

    /// The round-trip time of the peer at an address, as measured last.
    ///
    /// # Errors
    /// [`crate::base::Error::ShuttingDown`].
    pub fn peer_rtt(&self, addr: SocketAddr) -> Result<Option<Duration>> {
        self.handle().ask(move |machine, _| {
            let health = machine.health();
            health.id_at(&addr).and_then(|id| health.rtt(&id))
        })
    }

    /// At most `max` addresses to begin with next time: of peers that answered, then of unknown ones, then of bad ones.
    ///
    /// # Errors
    /// [`crate::base::Error::ShuttingDown`].
    pub fn bootstrap_candidates(&self, max: usize) -> Result<Vec<SocketAddr>> {
        self.handle().ask(move |machine, _| machine.bootstrap_candidates(max))
    }

    /// Joins by peers that are known: [`Node::add_contact`] for each, then looks for nodes near this one. The number of
    /// peers in the table then. Without seeds nothing is done.
    ///
    /// # Errors
    /// [`crate::base::Error::TimedOut`]; the search goes on then.
    pub fn bootstrap(&self, seeds: &[BootstrapSeed], within: Duration) -> Result<usize> {
        for seed in seeds {
            self.add_contact(seed.addr, seed.info.clone())?;
        }
        let none = seeds.is_empty();
        self.joined(within, move |machine, now, order| match none {
            true => machine.join(now, order, &[]),
            false => machine.look_for_neighbours(now, order),
        })
    }

    /// Joins by addresses: all are asked who they are, then nodes near this one are looked for. The number of peers in the
    /// table then. Without addresses nothing is done.
    ///
    /// # Errors
    /// [`crate::base::Error::Unreachable`] when none of them answers, [`crate::base::Error::TimedOut`]; the search goes on
    /// then.
    pub fn bootstrap_addrs(&self, seeds: &[SocketAddr], within: Duration) -> Result<usize> {
        let seeds = seeds.to_vec();
        self.joined(within, move |machine, now, order| machine.join(now, order, &seeds))
    }

    fn joined(
        &self,
        within: Duration,
        join: impl FnOnce(&mut crate::kad::Machine, crate::base::Now, u64) + Send + 'static,
    ) -> Result<usize> {
        match self.handle().order(within, move |machine, now, order| {
            join(machine, now, order);
            Ok(())
        })? {
            Done::Joined(peers) => Ok(peers),
            _ => Err(unexpected()),
        }
    }

    /// How many nodes the network has, from nodes that ever answered; 0 when nothing is known.
    ///
    /// # Errors
    /// [`crate::base::Error::ShuttingDown`].
    pub fn estimated_network_size(&self) -> Result<u64> {
        self.handle().ask(|machine, now| size_estimate_any(machine.table(), now.mono))
    }

    /// How many nodes the network has, from nodes that answered within a time.
    ///
    /// # Errors
    /// [`crate::base::Error::ShuttingDown`].
    pub fn estimated_network_size_within(&self, time: Duration) -> Result<SizeEstimate> {
        self.handle().ask(move |machine, now| size_estimate(machine.table(), now.mono, Some(time)))
    }
}
