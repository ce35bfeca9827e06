//! The DHT as a program holds it: a [`Node`] with its socket and threads, a [`Query`] to find things with.
//!
//! A node that exists runs; [`Node::close`], or dropping it, ends it and writes its files. Calls block until there is an
//! answer or their time is over, may come from any number of threads, and give [`Error::ShuttingDown`] once the node is
//! closed. What can be answered without the network is answered at once.
//!
//! ```
//! use rigmesh::dht::{Config, EndpointPayload, Id, Node, Query, SignedRecord, Stamp, rec_type};
//! use rigmesh::identity::SignKey;
//! use std::time::Duration;
//!
//! let here = "127.0.0.1:0".parse()?;
//! let node = |seed| Node::start(Config { bind: here, ..Config::new(SignKey::from_seed(&[seed; 32])) });
//! let (one, two) = (node(1)?, node(2)?);
//! two.bootstrap_addrs(&[one.local_addr()], Duration::from_secs(10))?;
//!
//! // The one says where a rig is, the other finds it.
//! let rig = SignKey::from_seed(&[3; 32]);
//! let place = EndpointPayload { endpoints: Some(vec!["ws://192.0.2.7:9091/ws".into()]), ..Default::default() };
//! let stamp = Stamp { seq: 1, timestamp: one.unix_time() - 5, ttl_s: 3600 };
//! let record = SignedRecord::sign(&rig, rec_type::ENDPOINT, place.encode()?, stamp)?;
//! let key = record.default_key();
//! one.publish_and_wait(Id::ZERO, record, Duration::from_secs(10))?;
//! let found = Query::new(&two).resolve(key, Duration::from_secs(10))?;
//! assert_eq!(found.payload, place);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![doc = include_str!("../../api_dht.md")]

mod debug;
mod peers;
mod query;
mod records;

pub use crate::kad::{
    Authority, Delegation, Endpoint, EndpointPayload, Id, Mail, NO_ENDPOINT, NO_MATCHING_RECORDS, NodeInfo,
    PeerHealthState, PeerIdentity, Policy, STALE_RECORD, SignedRecord, SizeEstimate, Stamp, Store, StoreRecordDebug,
    TopicPayload, encode_observed, rec_type,
};
pub use crate::runtime::kad::{Files, Threads};
pub use debug::{DebugPages, DebugStats};
pub use peers::{BootstrapSeed, Pong};
pub use query::Query;

use crate::base::{Error, Refusal, Result};
use crate::identity::{Address, SignKey};
use crate::kad::{PutError, Rules};
use crate::runtime::clock;
use crate::runtime::kad::{Driver, Handle, Settings, cached_peers, unexpected};
use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// The Go package's number of parallel questions. Ours is in [`Policy`].
pub const DEFAULT_ALPHA: usize = 5;
/// The Go package's pause between questions. Ours is in [`Policy`].
pub const DEFAULT_STAGGER: Duration = Duration::from_millis(200);
/// Where the debug pages may listen.
pub const DEBUG_HTTP_ADDR: &str = "127.0.0.1:2634";
/// Keys that a store holds unless it is told otherwise.
pub const DEFAULT_MAX_TOTAL_KEYS: usize = 100_000;

/// How often table, records and addresses are written when they have changed.
const SAVE_EVERY: Duration = Duration::from_secs(300);

/// Is told where a peer sees this node (dht-api.md, `OnObservedAddr`): who, and the address.
pub type OnObserved = Box<dyn FnMut(Id, SocketAddr) + Send>;

/// What a node is made of.
pub struct Config {
    /// The UDP address. Default: `[::]:0`, which takes IPv4 as well, and is `0.0.0.0` on a system without IPv6.
    pub bind: SocketAddr,
    /// Who the node is.
    pub key: SignKey,
    /// Constants and switches.
    pub policy: Policy,
    /// Who may keep what where. Default: what every deployed node asks for.
    pub authority: Authority,
    /// Keys held; 0 for the policy's number, which is [`DEFAULT_MAX_TOTAL_KEYS`].
    pub keys_max: usize,
    /// What is kept on disk. Default: nothing.
    pub files: Files,
    /// How often table and records are saved, if they changed. Default: 5 minutes.
    pub save_every: Duration,
    /// A passive node looks for nobody of its own accord. Default: no.
    pub passive: bool,
    /// Told where peers see this node, on the node's own thread: it must return at once, and can call nothing of the node.
    pub on_observed: Option<OnObserved>,
    /// Threads that it shares with other nodes of this process, which saves half of the memory of a node where there are
    /// many. Default: one of its own.
    pub threads: Option<Threads>,
}

impl Config {
    /// The defaults, with this key.
    pub fn new(key: SignKey) -> Config {
        Config {
            bind: (Ipv6Addr::UNSPECIFIED, 0).into(),
            key,
            policy: Policy::default(),
            authority: Authority::BuiltIn,
            keys_max: 0,
            files: Files::default(),
            save_every: SAVE_EVERY,
            passive: false,
            on_observed: None,
            threads: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Config");
        shown.field("bind", &self.bind).field("key", &self.key).field("files", &self.files);
        shown.field("keys_max", &self.keys_max).field("passive", &self.passive).finish_non_exhaustive()
    }
}

/// A running node of the DHT.
pub struct Node {
    driver: Driver,
    address: Address,
    id: Id,
    rules: Rules,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("address", &self.address).field("at", &self.local_addr()).finish_non_exhaustive()
    }
}

impl Node {
    /// Binds the socket, takes over what an earlier run left in the files, and runs.
    ///
    /// # Errors
    /// [`Error::Io`] when the address is taken, or a snapshot is there and cannot be read; one that is damaged or another
    /// node's is put aside with a warning instead.
    pub fn start(config: Config) -> Result<Node> {
        let Config { bind, key, mut policy, authority, keys_max, files, save_every, passive, on_observed, threads } =
            config;
        if keys_max > 0 {
            policy.keys_max = keys_max;
        }
        let address = Address::of_ed25519(&key.public());
        let (id, rules) = (Id::of_address(&address), policy.rules);
        let save_every = save_every.max(Duration::from_secs(1));
        let settings = Settings { bind, key, policy, authority, files, save_every, passive, on_observed, threads };
        Ok(Node { driver: Driver::start(settings)?, address, id, rules })
    }

    /// [`Node::start`] and [`Node::bootstrap_addrs`].
    ///
    /// # Errors
    /// As there; the node is closed then.
    pub fn start_with_bootstrap(config: Config, seeds: &[SocketAddr], within: Duration) -> Result<Node> {
        let node = Node::start(config)?;
        node.bootstrap_addrs(seeds, within)?;
        Ok(node)
    }

    /// Ends the node: calls that wait get [`Error::ShuttingDown`], the files are written, the threads end. A second time
    /// does nothing.
    pub fn close(&self) {
        self.driver.stop();
    }

    /// This node's address.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Its id: the key of its own records.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Where it is bound; the port is a real one.
    pub fn local_addr(&self) -> SocketAddr {
        self.handle().local_addr()
    }

    /// The time as records count it: Unix seconds.
    pub fn unix_time(&self) -> u64 {
        u64::try_from(clock::wall().unix_seconds()).unwrap_or(0)
    }

    /// The addresses to begin with that an earlier run left, the best first.
    pub fn cached_peers(&self) -> &[SocketAddr] {
        self.handle().cached_peers()
    }

    /// The addresses in a file `peers.cache`; none if there is no such file or it is damaged.
    pub fn read_peers_cache(path: &Path) -> Vec<SocketAddr> {
        cached_peers(path)
    }

    /// Sets the public IP address of this node (dht-api.md, `SetSelfExtIP`): peers behind the same one are not asked there.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub fn set_external_ip(&self, ip: Option<std::net::IpAddr>) -> Result<()> {
        let port = self.local_addr().port();
        self.handle().ask(move |machine, _| machine.set_external_ip(ip, port))
    }

    /// That address, if it was set.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub fn external_ip(&self) -> Result<Option<std::net::IpAddr>> {
        self.handle().ask(|machine, _| machine.external_ip())
    }

    /// Whether this node looks for others of its own accord (dht.md §14.4).
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub fn set_passive(&self, passive: bool) -> Result<()> {
        self.handle().ask(move |machine, _| machine.set_passive(passive))
    }

    /// Keys that may be held, from the next new one on.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub fn set_keys_max(&self, keys_max: usize) -> Result<()> {
        self.handle().ask(move |machine, _| machine.store_mut().set_keys_max(keys_max))
    }

    fn handle(&self) -> &Handle {
        self.driver.handle()
    }
}

/// Why a record was not kept, as the crate's error.
fn put_error(error: PutError) -> Error {
    match error {
        PutError::Stale => Refusal::Stale(STALE_RECORD.to_owned()).into(),
        PutError::Full(why) => Refusal::Limit(why.to_owned()).into(),
        PutError::Record(fault) | PutError::NotAllowed(fault) => fault.into(),
        PutError::SovereignKey => Error::malformed("DHT record", error.to_string()),
    }
}
