//! Where this node is, for others, and where others are: the DHT node of the daemon, its beacon, the local link.
//!
//! Threads: `kad` and `kad/r` (the DHT), `join` until it is joined, `beacon`, `lan`, and a short-lived `find` for each question
//! the mesh has. A command without a daemon gets a DHT node for its own time, under a key of that moment: the network never
//! learns a place of this node's that is gone a second later.

mod beacon;
mod lan;
mod places;

pub(crate) use places::{Advertised, own_addresses};

use super::clock::{Clock, system_rng};
use super::files::atomic;
use super::files::lock::FolderLock;
use super::files::paths::Paths;
use super::kad::{Driver, Files, Handle, Settings, cached_peers, unexpected};
use super::queues::{ControlSender, Event as Inbox, InboxSender};
use super::threads::{STACK, STACK_HANDSHAKE, Threads};
use crate::base::{Error, Result, key_of_file};
use crate::identity::{Address, Identity, SignKey};
use crate::kad::{Authority, Beacon, Done, Id, Policy, Sighting, TopicPayload, rec_type};
use crate::mesh::{Command, FoundBy, Input};
use beacon::{BeaconThread, Event, State, saved_seq};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use lan::{Heard, Lan, Rates};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use zeroize::Zeroizing;

/// How often a running DHT node saves what it knows.
const SAVE_EVERY: Duration = Duration::from_secs(300);
/// A node that reached nobody tries again after this.
const JOIN_AGAIN: Duration = Duration::from_secs(30);
/// How long joining may take each time.
const JOIN_MAX: Duration = Duration::from_secs(10);
/// How long a question of the mesh may take.
const FIND_MAX: Duration = Duration::from_secs(10);
/// Such questions at once; more find nothing.
const FINDING_MAX: usize = 8;
/// Addresses taken of one name.
const ADDRESSES_MAX: usize = 8;
/// Events that wait for the beacon: what does not fit was said often enough.
const EVENTS_MAX: usize = 64;

/// The longest file of a fleet's secret, bytes.
const SECRET_BYTES_MAX: usize = 4096;

/// What a node says and asks where.
#[derive(Clone, Debug, Default)]
pub(crate) struct WhereSettings {
    /// Whether there is a DHT.
    pub(crate) dht: bool,
    /// Where its UDP socket is bound.
    pub(crate) bind: Option<SocketAddr>,
    /// Nodes to begin with, `HOST:PORT`.
    pub(crate) bootstrap: Vec<String>,
    /// The port of the local link's group, when it is used.
    pub(crate) lan_port: Option<u16>,
    /// Whether neighbours may pass this node's record on.
    pub(crate) share: bool,
    /// Where this node is; nothing when it does not say.
    pub(crate) advertised: Option<Advertised>,
    /// The topics under which it stands.
    pub(crate) topics: Vec<String>,
    /// The folder of the DHT node's files.
    pub(crate) folder: PathBuf,
    /// Where the number of the last record is kept.
    pub(crate) seq_file: PathBuf,
    /// Places on this machine itself count, too.
    pub(crate) loopback: bool,
}

/// All of it.
pub(crate) struct Whereabouts {
    settings: WhereSettings,
    identity: Arc<Identity>,
    clock: Clock,
    threads: Arc<Threads>,
    control: ControlSender,
    inbox: InboxSender,
    dht: Mutex<Option<Dht>>,
    lan: Option<Arc<Lan>>,
    beacon: Mutex<Option<(Sender<Event>, JoinHandle<()>)>>,
    /// Ends `join` when it is dropped.
    joining: Mutex<Option<Sender<()>>>,
    finding: AtomicUsize,
    stopping: AtomicBool,
}

/// A running DHT node, and the lock of its folder when it has one.
struct Dht {
    driver: Driver,
    _lock: Option<FolderLock>,
}

impl Whereabouts {
    /// Opens what cannot wait; [`Whereabouts::start`] starts the rest.
    pub(crate) fn new(
        settings: WhereSettings,
        identity: Arc<Identity>,
        clock: Clock,
        threads: Arc<Threads>,
        control: ControlSender,
        inbox: InboxSender,
    ) -> Result<Arc<Whereabouts>> {
        let lan = settings.lan_port.map(Lan::open).transpose()?.map(Arc::new);
        Ok(Arc::new(Whereabouts {
            settings,
            identity,
            clock,
            threads,
            control,
            inbox,
            dht: Mutex::default(),
            lan,
            beacon: Mutex::default(),
            joining: Mutex::default(),
            finding: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        }))
    }

    /// Starts what the settings ask for. What of it runs after an error, [`Whereabouts::stop`] ends. The DHT node of a
    /// command (not `resident`) is started when it is needed.
    pub(crate) fn start(self: &Arc<Self>, resident: bool) -> Result<()> {
        let (events, events_in) = bounded(EVENTS_MAX);
        if let Some(lan) = &self.lan {
            lan.join(&link_addresses(&own_addresses(), self.settings.loopback));
            let (me, lan) = (self.clone(), lan.clone());
            let asked = events.clone();
            self.threads.spawn("lan", STACK, move || me.listen(&lan, &asked))?;
        }
        if self.settings.dht && resident {
            self.start_dht(&events)?;
        }
        let said = self.settings.dht || self.lan.is_some() || self.settings.share;
        if let Some(advertised) = self.settings.advertised.clone().filter(|_| said && resident) {
            let seq = saved_seq(&self.settings.seq_file)?;
            let key = SignKey::from_seed(&self.identity.sign_key().seed());
            let thread = BeaconThread {
                beacon: Beacon::new(key, self.identity.public_key(), self.settings.topics.clone(), seq),
                file: self.settings.seq_file.clone(),
                advertised,
                share: self.settings.share,
                dht: self.dht.lock().as_ref().map(|dht| dht.driver.handle().clone()),
                lan: self.lan.clone(),
                control: self.control.clone(),
                events: events_in,
                clock: self.clock,
                rng: system_rng()?,
                state: State::default(),
            };
            let started = Builder::new().name("beacon".to_owned()).stack_size(STACK).spawn(move || thread.run());
            let started = started.map_err(|e| Error::io("cannot start the thread beacon", &e))?;
            *self.beacon.lock() = Some((events.clone(), started));
        }
        if let Some(lan) = &self.lan {
            lan.ask();
        }
        Ok(())
    }

    fn start_dht(self: &Arc<Self>, events: &Sender<Event>) -> Result<()> {
        let lock = FolderLock::take(&Paths::in_folder(&self.settings.folder))?;
        let observed = events.clone();
        let key = SignKey::from_seed(&self.identity.sign_key().seed());
        let settings = Settings {
            files: Files::in_folder(&self.settings.folder),
            on_observed: Some(Box::new(move |reporter, at| drop(observed.try_send(Event::Observed(reporter, at))))),
            ..self.dht_settings(key)
        };
        let driver = Driver::start(settings)?;
        let handle = driver.handle().clone();
        log::info!(target: "dht", address = Address::of_ed25519(&self.identity.sign_key().public()).to_string().as_str(); "the DHT node listens on udp {}", handle.local_addr());
        *self.dht.lock() = Some(Dht { driver, _lock: Some(lock) });
        let (stop, stopped) = bounded::<()>(0);
        *self.joining.lock() = Some(stop);
        let (bootstrap, joined) = (self.settings.bootstrap.clone(), events.clone());
        // Names are looked up on it, which is deep.
        self.threads.spawn("join", STACK_HANDSHAKE, move || join(&handle, &bootstrap, &stopped, &joined))
    }

    fn dht_settings(&self, key: SignKey) -> Settings {
        let any = (std::net::Ipv6Addr::UNSPECIFIED, 0).into();
        Settings {
            bind: self.settings.bind.unwrap_or(any),
            key,
            policy: Policy::default(),
            authority: Authority::BuiltIn,
            files: Files::default(),
            save_every: SAVE_EVERY,
            passive: false,
            on_observed: None,
            threads: None,
        }
    }

    /// Where the DHT node is bound, when one runs.
    pub(crate) fn dht_addr(&self) -> Option<SocketAddr> {
        self.dht.lock().as_ref().map(|dht| dht.driver.handle().local_addr())
    }

    /// The running DHT node; for a command one that has just joined.
    fn dht(&self) -> Result<Handle> {
        let mut dht = self.dht.lock();
        if let Some(dht) = &*dht {
            return Ok(dht.driver.handle().clone());
        }
        if !self.settings.dht {
            let next =
                "set \"dht\": true and \"dht_bootstrap\" in config.json, or give --dht and --bootstrap to `serve`";
            return Err(Error::Config(format!("this node has no DHT: {next}")));
        }
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Error::ShuttingDown);
        }
        let key = SignKey::generate(&mut system_rng()?);
        let any = (std::net::Ipv6Addr::UNSPECIFIED, 0).into();
        let driver = Driver::start(Settings { bind: any, passive: true, ..self.dht_settings(key) })?;
        let handle = driver.handle().clone();
        let mut seeds = addresses(&self.settings.bootstrap);
        seeds.extend(cached_peers(&self.settings.folder.join("peers.cache")));
        join_once(&handle, &seeds)?;
        *dht = Some(Dht { driver, _lock: None });
        Ok(handle)
    }

    /// The newest record of the rig whose signing key has this address.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, or one of something else than a rig.
    pub(crate) fn resolve(&self, address: &Address, within: Duration) -> Result<Sighting> {
        let key = Id::of_address(address);
        let found = self.dht()?.order(within, move |machine, now, order| {
            machine.resolve(now, order, key, within);
            Ok(())
        })?;
        let Done::Endpoint(endpoint) = found else { return Err(unexpected()) };
        let sighting = Sighting::of(endpoint.record, self.clock.now().wall);
        sighting.map_err(|why| Error::NotFound(format!("{address} is in the DHT, but is no rig's: {why}")))
    }

    /// The addresses that stand under a topic.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there are none.
    pub(crate) fn fleet(&self, topic: &str, within: Duration) -> Result<Vec<Address>> {
        let (key, topic) = (Id::of_topic(topic), topic.to_owned());
        let found = self.dht()?.order(within, move |machine, now, order| {
            machine.aggregate_records(now, order, key, rec_type::TOPIC, within);
            Ok(())
        })?;
        let Done::Records(records) = found else { return Err(unexpected()) };
        let of_topic = records.iter().filter(|r| TopicPayload::decode(r.payload()).is_ok_and(|e| e.topic == topic));
        Ok(of_topic.map(|record| record.address).collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// Asks on the local link who is there; whether there is one.
    pub(crate) fn ask_lan(&self) -> bool {
        self.lan.as_ref().map(|lan| lan.ask()).is_some()
    }

    /// The mesh asks where a rig is. It is answered in any case.
    pub(crate) fn search(self: &Arc<Self>, address: Address) {
        let mut answer = Answer { inbox: self.inbox.clone(), address, sighting: None };
        if self.finding.fetch_add(1, Ordering::Relaxed) < FINDING_MAX {
            let me = self.clone();
            let find = move || {
                match me.resolve(&address, FIND_MAX) {
                    Ok(sighting) => answer.sighting = Some(Box::new(sighting)),
                    Err(e) => log::info!(target: "dht", "where {address} is, the DHT does not say: {e}"),
                }
                me.finding.fetch_sub(1, Ordering::Relaxed);
                drop(answer);
            };
            if let Err(e) = self.threads.spawn("find", STACK_HANDSHAKE, find) {
                self.finding.fetch_sub(1, Ordering::Relaxed);
                log::error!(target: "dht", "{e}");
            }
        } else {
            self.finding.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// `lan`: hands on what is heard on the local link.
    fn listen(&self, lan: &Lan, asked: &Sender<Event>) {
        let mut rates = Rates::default();
        let clock = || (self.clock.mono(), self.clock.now().wall);
        while let Some(heard) = lan.hear(&mut rates, clock) {
            if self.stopping.load(Ordering::Relaxed) {
                return;
            }
            match heard {
                // What is lost now is said again.
                Heard::Here(sighting) => {
                    let _ = self.control.send(Command::Sighted { sighting, by: FoundBy::Lan }, None, 0);
                }
                Heard::Who => drop(asked.try_send(Event::Asked)),
            }
        }
    }

    /// Takes this node's record back, then ends everything; its threads are joined by the node.
    pub(crate) fn leave(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some((events, thread)) = self.beacon.lock().take() {
            let _ = events.send(Event::Stop);
            if thread.join().is_err() {
                log::error!(target: "dht", "the beacon panicked");
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.leave();
        drop(self.joining.lock().take());
        if let Some(lan) = &self.lan {
            lan.shut();
        }
        if let Some(dht) = &*self.dht.lock() {
            dht.driver.stop();
        }
    }
}

/// The answer to a question of the mesh, which is given even if the thread that looks for it fails.
struct Answer {
    inbox: InboxSender,
    address: Address,
    sighting: Option<Box<Sighting>>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.inbox.send(Inbox::Mesh(Input::Searched { address: self.address, sighting: self.sighting.take() }));
    }
}

/// The secret of a fleet.
///
/// # Errors
/// [`Error::Config`] when it has none here, saying what to do.
pub(crate) fn fleet_secret(paths: &Paths, name: &str) -> Result<Zeroizing<[u8; 32]>> {
    let path = paths.fleet_secret(name);
    let shown = path.display();
    let none = || {
        let next =
            format!("make it once with `openssl rand -hex 32 > {shown}` and give every node of the fleet a copy");
        Error::Config(format!("the fleet {name} has no secret here: {next}; or name it as a public fleet"))
    };
    let bytes = atomic::read(&path, SECRET_BYTES_MAX)?.map(Zeroizing::new).ok_or_else(none)?;
    key_of_file(&bytes).map_err(|e| Error::Config(format!("{shown} holds no secret: {e}")))
}

/// The addresses by which the local link is reached.
fn link_addresses(own: &[IpAddr], loopback: bool) -> Vec<IpAddr> {
    own.iter().copied().filter(|ip| loopback || !ip.is_loopback()).collect()
}

/// The addresses of `HOST:PORT`; a name that has none is said and left out.
fn addresses(names: &[String]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for name in names {
        match name.to_socket_addrs() {
            Ok(addresses) => found.extend(addresses.take(ADDRESSES_MAX)),
            Err(e) => log::warn!(target: "dht", "{name}: {e}"),
        }
    }
    found
}

fn join_once(handle: &Handle, seeds: &[SocketAddr]) -> Result<usize> {
    if seeds.is_empty() {
        return Err(Error::Config("nobody to begin with: name a node of the DHT, --bootstrap HOST:PORT".to_owned()));
    }
    let seeds = seeds.to_vec();
    match handle.order(JOIN_MAX, move |machine, now, order| {
        machine.join(now, order, &seeds);
        Ok(())
    })? {
        Done::Joined(peers) => Ok(peers),
        _ => Err(unexpected()),
    }
}

/// `join`: again and again while nobody answers.
fn join(handle: &Handle, bootstrap: &[String], stopped: &Receiver<()>, joined: &Sender<Event>) {
    loop {
        let mut seeds = addresses(bootstrap);
        seeds.extend(handle.cached_peers());
        if seeds.is_empty() && bootstrap.is_empty() {
            log::warn!(target: "dht", "the DHT begins with this node: no other is named (--bootstrap HOST:PORT)");
            let _ = joined.send(Event::Joined);
            return;
        }
        match join_once(handle, &seeds) {
            Ok(peers) => {
                log::info!(target: "dht", peers; "joined the DHT");
                let _ = joined.send(Event::Joined);
                return;
            }
            Err(Error::ShuttingDown) => return,
            Err(e) => log::warn!(target: "dht", "the DHT is not joined, trying again: {e}"),
        }
        if stopped.recv_timeout(JOIN_AGAIN) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}
