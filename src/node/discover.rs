//! Finding rigs: by the address of their signing key, by the topic of their fleet, on the local link. What is found enters no
//! list by itself; a stranger is asked who it is, and nothing else.

use super::{Node, Shared, unexpected};
use crate::base::{Error, Result, is_plain_name};
use crate::identity::{Address, NodeId, PublicKey};
use crate::kad::fleet_topic;
use crate::mesh::{Answer, Command, FoundBy, FoundRig, LinkInfo};
use crate::runtime::whereabouts::{fleet_secret, own_addresses};
use crossbeam_channel::{bounded, unbounded};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Whoever is on the local link has answered within this.
const LINK_ANSWERS: Duration = Duration::from_millis(1500);
/// Records of a fleet that are looked up at once.
const LOOKUPS: usize = 8;
/// A confirmation that is younger than this is not asked for again.
const CONFIRMED_LATELY: Duration = Duration::from_secs(60);
/// How long our own dispatcher has to answer.
const LOCAL: Duration = Duration::from_secs(10);

/// Where to look for rigs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// The fleet to look for in the DHT; without one only the local link, and what neighbours told.
    pub fleet: Option<String>,
    /// The fleet has no secret: its topic is its name.
    pub public: bool,
    /// How long it may take in all.
    pub within: Duration,
}

/// A rig that was looked for.
#[derive(Clone, Debug)]
pub struct Discovered {
    /// What is known of it. A fleet may name a rig of which nothing more is found: then only its address is.
    pub address: Address,
    /// What its record says.
    pub rig: Option<FoundRig>,
    /// Why it is not confirmed, if it is not.
    pub why: Option<Error>,
}

impl Discovered {
    /// Whether it answered, and showed that its record is right.
    pub fn is_confirmed(&self) -> bool {
        self.why.is_none() && self.rig.as_ref().is_some_and(|rig| rig.confirmed.is_some())
    }

    /// Whether it is confirmed, and its key is on this node's own lists.
    pub fn is_known(&self) -> bool {
        self.is_confirmed() && self.rig.as_ref().is_some_and(|rig| rig.known)
    }
}

impl Node {
    /// Where this node is in the DHT: the address of its signing key.
    pub fn dht_address(&self) -> Address {
        Address::of_ed25519(&self.shared.identity.sign_key().public())
    }

    /// Where the UDP socket of its DHT node is bound, when one runs.
    pub fn dht_listen_address(&self) -> Option<std::net::SocketAddr> {
        self.shared.whereabouts.dht_addr()
    }

    /// Rigs whose records were found in the DHT, on the local link, or told by neighbours; claims and confirmed ones.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub fn found(&self) -> Result<Vec<FoundRig>> {
        self.shared.found()
    }

    /// Finds the rig with this address and connects to it: returns when it has proven the mesh key that its record names, and
    /// shown that the signing key of this address is its own.
    ///
    /// # Errors
    /// [`Error::NotFound`] when nobody knows where it is; [`Error::WrongKey`], [`Error::Unreachable`],
    /// [`Error::Rejected`] as for [`Node::connect`], and while it is left alone because it was tried just now.
    pub fn connect_found(&self, address: &Address) -> Result<NodeId> {
        self.shared.connect_found(address, None, super::CONNECT_MAX).map(|info| info.peer)
    }

    /// Looks for rigs, and asks each that is found who it is.
    ///
    /// # Errors
    /// [`Error::Config`] when there is nowhere to look; [`Error::NotFound`] when nobody stands under the fleet's topic.
    pub fn discover(&self, discovery: &Discovery) -> Result<Vec<Discovered>> {
        self.shared.discover(discovery)
    }
}

impl Shared {
    pub(crate) fn found(&self) -> Result<Vec<FoundRig>> {
        match self.ask(LOCAL, 0, |call| Command::Found { call })? {
            Answer::Found(rigs) => Ok(rigs),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks the DHT, and the local link where there is one; whoever told of the rig before may know as well.
    fn look_up(&self, address: &Address, within: Duration) -> Result<()> {
        let asked = self.whereabouts.ask_lan();
        let resolved = self.whereabouts.resolve(address, within).map(|sighting| {
            let command = Command::Sighted { sighting: Box::new(sighting), by: FoundBy::Dht };
            self.control.send(command, None, 0)
        });
        let Err(why) = resolved.and_then(|sent| sent) else { return Ok(()) };
        let known = || Ok::<_, Error>(self.found()?.iter().any(|rig| rig.address == *address));
        let end = Instant::now() + LINK_ANSWERS;
        while asked && Instant::now() < end && !known()? {
            std::thread::sleep(Duration::from_millis(20)); // answers come to the dispatcher, not to us
        }
        if known()? { Ok(()) } else { Err(why) }
    }

    /// With `expected` a record that names another mesh key is refused before anything is dialled.
    pub(crate) fn connect_found(
        &self,
        address: &Address,
        expected: Option<&PublicKey>,
        within: Duration,
    ) -> Result<LinkInfo> {
        let end = Instant::now() + within;
        self.look_up(address, within)?;
        let named = self.found()?.into_iter().find(|rig| rig.address == *address).map(|rig| rig.key);
        if let Some((expected, got)) = expected.zip(named).filter(|(expected, got)| *expected != got) {
            return Err(Error::WrongKey { expected: expected.to_base64(), got: got.to_base64() });
        }
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
        let (own, address) = (own_addresses(), *address);
        match self.ask(left, 0, |call| Command::Hunt { call, address, own, keep: true, timeout: left })? {
            Answer::Connected(info) => Ok(info),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) fn discover(&self, discovery: &Discovery) -> Result<Vec<Discovered>> {
        let end = Instant::now() + discovery.within;
        let on_link = self.whereabouts.ask_lan();
        let mut found: BTreeMap<Address, Option<Error>> = match &discovery.fleet {
            Some(name) => self.fleet(name, discovery.public, end)?,
            None if on_link || self.config.gossip && self.resident => BTreeMap::new(),
            None => {
                let next = "name a --fleet, or set \"lan\": true in config.json (`serve --lan`)";
                return Err(Error::Config(format!("there is nowhere to look: {next}")));
            }
        };
        if discovery.fleet.is_none() {
            if on_link {
                std::thread::sleep(LINK_ANSWERS.min(discovery.within));
            }
            found.extend(self.found()?.iter().map(|rig| (rig.address, None)));
        }
        found.remove(&Address::of_ed25519(&self.identity.sign_key().public()));
        self.confirm(&mut found, end)?;
        let rigs: BTreeMap<Address, FoundRig> = self.found()?.into_iter().map(|rig| (rig.address, rig)).collect();
        let rows = found.into_iter().map(|(address, why)| {
            let rig = rigs.get(&address).cloned();
            let why = why.or_else(|| rig.is_none().then(|| Error::NotFound(format!("no record of {address}"))));
            Discovered { address, rig, why }
        });
        Ok(rows.collect())
    }

    /// Who stands under a fleet's topic, and what the DHT says of each; why it says nothing.
    fn fleet(&self, name: &str, public: bool, end: Instant) -> Result<BTreeMap<Address, Option<Error>>> {
        if !is_plain_name(name) {
            return Err(Error::Config(format!("the fleet's name {name:?} is no plain name")));
        }
        let left = || end.saturating_duration_since(Instant::now());
        let topic = match (public, &self.paths) {
            (true, _) | (_, None) => fleet_topic(name, None),
            (false, Some(paths)) => fleet_topic(name, Some(&*fleet_secret(paths, name)?)),
        };
        let members = self.whereabouts.fleet(&topic, left())?;
        let (found, next) = (unbounded(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..LOOKUPS.min(members.len()) {
                scope.spawn(|| {
                    while let Some(member) = members.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let sighted = self.whereabouts.resolve(member, left()).and_then(|sighting| {
                            let command = Command::Sighted { sighting: Box::new(sighting), by: FoundBy::Dht };
                            self.control.send(command, None, 0)
                        });
                        let _ = found.0.send((*member, sighted.err()));
                    }
                });
            }
        });
        Ok(found.1.try_iter().collect())
    }

    /// Asks every rig that has a record who it is; notes why one is not confirmed.
    fn confirm(&self, found: &mut BTreeMap<Address, Option<Error>>, end: Instant) -> Result<()> {
        let (wall, own) = (self.clock.now().wall, own_addresses());
        let lately = |rig: &FoundRig| rig.confirmed.is_some_and(|at| wall.since(at) < CONFIRMED_LATELY);
        let sure: Vec<Address> = self.found()?.iter().filter(|rig| lately(rig)).map(|rig| rig.address).collect();
        let mut asked = BTreeMap::new();
        let (reply, replies) = bounded(found.len());
        for (address, why) in found.iter_mut().filter(|(address, why)| why.is_none() && !sure.contains(address)) {
            let timeout = end.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
            let (own, address) = (own.clone(), *address);
            let hunt = |call| Command::Hunt { call, address, own, keep: false, timeout };
            match self.begin(reply.clone(), 0, hunt) {
                Ok(call) => drop(asked.insert(call, address)),
                Err(e) => *why = Some(e),
            }
        }
        drop(reply);
        let last = end + super::GRACE + Duration::from_secs(1);
        while !asked.is_empty() {
            let Ok((call, result)) = replies.recv_deadline(last) else { break };
            if let Some(address) = asked.remove(&call) {
                found.insert(address, result.err());
            }
        }
        for address in asked.into_values() {
            found.insert(address, Some(Error::TimedOut(format!("no answer from {address}"))));
        }
        Ok(())
    }
}
