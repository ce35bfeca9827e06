//! Records of rigs in the simulated world: who lives where, what the DHT has, what is put into a node's book.

use super::node::wall;
use super::{Answer, Command, Input, World};
use crate::base::{Result, Timestamp};
use crate::identity::{Address, PublicKey, SignKey};
use crate::kad::{NatType, RigRecord, Sighting};
use crate::mesh::{FoundBy, FoundRig, LinkInfo, OwnRecord};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

impl World {
    /// An inhabitant is reached at this IP address, and nobody else.
    pub fn settle_at(&mut self, name: &str, ip: &str) {
        self.places.insert(ip.to_owned(), name.to_owned());
    }

    /// Nobody lives at this IP address any more.
    pub fn leave(&mut self, ip: &str) {
        self.places.remove(ip);
    }

    /// The signing key of a node.
    pub fn sign_key(&self, name: &str) -> SignKey {
        SignKey::from_seed(&self.node_ref(name).identity.sign_key().seed())
    }

    /// The address of a node in the DHT.
    pub fn dht_address(&self, name: &str) -> Address {
        Address::of_ed25519(&self.sign_key(name).public())
    }

    /// A record that says that `key` is at these places (`ws://IP:port/ws`, separated by spaces), signed by `by`.
    ///
    /// # Panics
    /// For a place that is none: a fault of the script.
    pub fn sighting(&self, by: &SignKey, key: PublicKey, places: &str, seq: u64) -> Sighting {
        let places = places.split_whitespace().map(|place| place.parse().unwrap_or_else(|e| panic!("{place}: {e}")));
        let rig = RigRecord { places: places.collect(), key, nat_type: NatType::Unknown };
        let now = wall(self.now(), 0).wall;
        let record = rig.sign(by, now, seq).unwrap_or_else(|e| panic!("{e}"));
        Sighting::of(record, now).unwrap_or_else(|e| panic!("{e}"))
    }

    /// What a node publishes about itself.
    pub fn own_sighting(&self, name: &str, places: &str, seq: u64) -> Sighting {
        self.sighting(&self.sign_key(name), self.key(name), places, seq)
    }

    /// Puts a record into the DHT.
    pub fn publish(&mut self, sighting: &Sighting) {
        self.dht.insert(sighting.address(), sighting.clone());
    }

    /// A node hears of a record on its local link.
    pub fn sight(&mut self, at: &str, sighting: &Sighting) {
        let sighting = Box::new(sighting.clone());
        self.command(at, |_| Command::Sighted { sighting, by: FoundBy::Lan });
    }

    /// A node has this record out, and whether neighbours may pass it on.
    pub fn own_record(&mut self, at: &str, sighting: &Sighting, share: bool) {
        let own = OwnRecord { record: Arc::new(sighting.record().clone()), share };
        self.command(at, |_| Command::OwnRecord(Some(own)));
    }

    /// The rigs that a node has found.
    pub fn found(&mut self, at: &str) -> Vec<FoundRig> {
        let call = self.command(at, |call| Command::Found { call });
        match self.finish(call) {
            Ok(Answer::Found(rigs)) => rigs,
            _ => Vec::new(),
        }
    }

    /// A node dials a rig that it has found, from a machine with these addresses.
    pub fn hunt(&mut self, at: &str, address: Address, own: &[&str], keep: bool) -> Result<LinkInfo> {
        let own: Vec<IpAddr> = own.iter().filter_map(|ip| ip.parse().ok()).collect();
        let timeout = Duration::from_secs(30);
        let call = self.command(at, |call| Command::Hunt { call, address, own, keep, timeout });
        self.connected(call)
    }

    /// Who asked the DHT for what so far.
    pub fn searches(&self) -> &[(String, Address)] {
        &self.searches
    }

    /// The wall clock of the world.
    pub fn true_wall(&self) -> Timestamp {
        wall(self.now(), 0).wall
    }

    /// A node asks the DHT: it has the answer at once.
    pub(super) fn search(&mut self, name: &str, address: Address) {
        self.searches.push((name.to_owned(), address));
        let now = self.now();
        let sighting = self.dht.get(&address).cloned().map(Box::new);
        let node = self.node_mut(name);
        let at = wall(now, node.skew_s);
        node.mesh.handle_input(at, Input::Searched { address, sighting });
    }
}
