//! Step 8: the handles an embedding program holds. All of them speak to the dispatcher over
//! channels; dropping the [`Node`] stops everything it started.

mod audit;
mod budget;
mod builder;
mod config;
pub mod control;
mod controller;
pub(crate) mod deploy;
pub mod dht;
mod discover;
mod enroller;
mod intents;
mod pairing;
mod transport;
pub(crate) mod uplink;

pub use builder::NodeBuilder;
pub use config::{Config, UepsKey};
pub use controller::{Controller, Sweep};
pub use deploy::{DeployFile, Deployed, Deployment};
pub use discover::{Discovered, Discovery};
pub use pairing::{PairedWith, Pairing};
pub use transport::Transport;

use crate::base::{Error, Result};
use crate::identity::{Identity, NodeId, PublicKey};
use crate::mesh::{Answer, CallId, Command, ConnectTo, Intents, LinkInfo, Target};
use crate::miners::{MinerManager, ProfileManager};
use crate::runtime::audit::AuditBook;
use crate::runtime::clock::Clock;
use crate::runtime::control::ControlServer;
use crate::runtime::dispatcher::Drained;
use crate::runtime::files::lock::FolderLock;
use crate::runtime::files::paths::Paths;
use crate::runtime::files::registry::SharedRegistry;
use crate::runtime::install::Installer;
use crate::runtime::net::listen::Listener;
use crate::runtime::net::open::{Opener, loopback_of};
use crate::runtime::pairing::Pairings;
use crate::runtime::queues::{ControlSender, Reply};
use crate::runtime::threads::Threads;
use crate::runtime::ueps::UepsListener;
use crate::runtime::whereabouts::{Advertised, Whereabouts};
use crate::session::Expect;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use enroller::Enroller;

/// A connection must be proven within this.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(15);
/// A caller yields this long for its answer before it parks: a wake-up costs more than the work.
const CALLER_SPIN: Duration = Duration::from_micros(100);
/// The dispatcher keeps every deadline; this is for the answer to reach the caller.
const GRACE: Duration = Duration::from_secs(2);

/// What all handles of a node share.
pub(crate) struct Shared {
    pub(crate) identity: Arc<Identity>,
    pub(crate) control: ControlSender,
    pub(crate) registry: SharedRegistry,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) miners: Option<Arc<dyn MinerManager>>,
    pub(crate) profiles: Option<Arc<dyn ProfileManager>>,
    pub(crate) paths: Option<Paths>,
    /// What deployments are installed by; a node without miners has none.
    pub(crate) installer: Option<Arc<Installer>>,
    /// What is recorded of commands, given and taken.
    pub(crate) audit: Option<Arc<AuditBook>>,
    /// The handlers of UEPS packets.
    pub(crate) intents: Arc<Intents>,
    /// What takes such packets over plain TCP.
    pub(crate) ueps: Option<UepsListener>,
    /// Where this node is, for others, and where others are.
    pub(crate) whereabouts: Arc<Whereabouts>,
    /// Where it says it is, when it is asked to pair.
    pub(crate) advertised: Advertised,
    /// The codes by which others become known.
    pub(crate) pairings: Arc<Pairings>,
    /// The node lives on after its commands: what rigs are owed goes on by itself.
    pub(crate) resident: bool,
    next_call: AtomicU64,
}

/// A running node. Every thread it starts is named, owned by it, and joined by
/// [`Node::shutdown`] or when it is dropped.
pub struct Node {
    pub(crate) shared: Arc<Shared>,
    opener: Arc<Opener>,
    threads: Arc<Threads>,
    listener: Option<Listener>,
    dispatcher: Option<JoinHandle<Drained>>,
    /// The rig that is not enrolled yet.
    enroller: Option<Enroller>,
    /// The control socket, when it is served.
    control_server: parking_lot::Mutex<Option<ControlServer>>,
    _lock: Option<FolderLock>,
}

impl Node {
    /// A node to configure and start.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// This node's id: the hash of its key.
    pub fn id(&self) -> NodeId {
        self.shared.identity.id()
    }

    /// Where it listens, when it does.
    pub fn listen_address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(Listener::address)
    }

    /// An address on this machine under which the node can be dialled, when it listens.
    pub fn loopback_address(&self) -> Option<String> {
        self.listen_address().map(|a| loopback_of(a).to_string())
    }

    /// Connects to `address` (`host:port`, `wss://host:port`, `…#FINGERPRINT`, or the address of a rig in the DHT) and
    /// returns the peer's id when it has proven to hold `expected`.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::WrongKey`], [`Error::Rejected`] with the peer's reason, [`Error::TimedOut`]; for an
    /// address in the DHT as [`Node::connect_found`].
    pub fn connect(&self, address: &str, expected: &PublicKey) -> Result<NodeId> {
        if let Ok(address) = address.parse() {
            return self.shared.connect_found(&address, Some(expected), CONNECT_MAX).map(|info| info.peer);
        }
        let mut target = uplink::parse_target(address)?;
        target.expect = Expect::Key(*expected);
        let info = self.shared.connect(ConnectTo::Address(target))?;
        Ok(info.peer)
    }

    /// Commands to rigs.
    pub fn controller(&self) -> Controller {
        Controller { shared: self.shared.clone() }
    }

    /// Becoming known to nodes by a code, and letting them become known.
    pub fn pairing(&self) -> Pairing {
        Pairing { shared: self.shared.clone() }
    }

    /// Connections and raw messages.
    pub fn transport(&self) -> Transport {
        Transport { shared: self.shared.clone() }
    }

    /// The registry of peers: who is known, who may connect, who may command.
    pub fn peers(&self) -> &SharedRegistry {
        &self.shared.registry
    }

    /// The handlers of UEPS packets that come over links and over the plain listener: `handshake`, and on a rig `compute` and
    /// `rehab`, are there from the start; all others are the embedder's to register.
    pub fn intents(&self) -> &Arc<Intents> {
        &self.shared.intents
    }

    /// Where UEPS packets are taken over plain TCP, when they are.
    pub fn ueps_address(&self) -> Option<SocketAddr> {
        self.shared.ueps.as_ref().map(|ueps| ueps.status().address)
    }

    /// The miners of this node, when it runs any.
    pub fn miners(&self) -> Option<&Arc<dyn MinerManager>> {
        self.shared.miners.as_ref()
    }

    /// The profiles of this node, when it has any.
    pub fn profiles(&self) -> Option<&Arc<dyn ProfileManager>> {
        self.shared.profiles.as_ref()
    }

    /// Keeps a connection up for ever: `KEY@host:port`. Rigs behind NAT reach their controller so.
    ///
    /// # Errors
    /// [`Error::Config`] when the text is no uplink or names no key.
    pub fn add_uplink(&self, uplink: &str) -> Result<()> {
        let target = uplink::parse_target(uplink)?;
        if target.expect == Expect::Anyone {
            return Err(Error::Config(format!("the uplink {uplink:?} names no key: write KEY@host:port")));
        }
        self.shared.control.send(Command::AddUplink { target }, None, 0)
    }

    /// Keeps a connection to every peer to which one is always kept.
    fn keep_uplinks(&self) -> Result<()> {
        let registry = &self.shared.registry;
        let peers = registry.list_peers().into_iter().filter_map(|peer| registry.extra(&peer.id).zip(Some(peer)));
        for (extra, peer) in peers.filter(|(extra, peer)| extra.uplink && !peer.address.is_empty()) {
            let Some(key) = peer.key() else { continue };
            let (expect, address) = (Expect::Key(key), peer.address);
            let target =
                Target { address, expect, tls: extra.tls, tls_pin: extra.tls_pin, found: false, pairing: None };
            self.shared.control.send(Command::AddUplink { target }, None, 0)?;
        }
        Ok(())
    }

    /// Allowlist or permissions were changed: links of keys that lost admission are closed at once.
    pub fn apply_access(&self) -> Result<()> {
        self.shared.control.send(Command::AccessChanged, None, 0)
    }

    /// Stops in good order: refuses new calls, answers the pending ones with
    /// [`Error::ShuttingDown`], says goodbye to every peer, waits for the queues until the
    /// configured deadline, joins every thread and flushes every file. Says what ended well and
    /// what was cut.
    pub fn shutdown(mut self) -> Result<Drained> {
        self.stop()
    }

    fn stop(&mut self) -> Result<Drained> {
        let Some(dispatcher) = self.dispatcher.take() else { return Ok(Drained::default()) };
        self.opener.stopping.store(true, Ordering::Relaxed);
        // Closed first: no new commands. Joined once the dispatcher has answered those under way.
        let control = self.control_server.lock().take();
        if let Some(control) = &control {
            control.close();
        }
        // Whoever finds this node's record shall not dial in vain.
        self.shared.whereabouts.leave();
        if let Some(listener) = self.listener.take() {
            listener.stop();
        }
        self.shared.whereabouts.stop();
        if let Some(ueps) = &self.shared.ueps {
            ueps.stop();
        }
        while matches!(self.shared.control.send(Command::Shutdown, None, 0), Err(Error::Busy)) {
            std::thread::yield_now();
        }
        // Its call was answered just now.
        drop(self.enroller.take());
        let drained = dispatcher.join().map_err(|_| Error::Failed("the dispatcher panicked".to_owned()));
        if let Some(control) = control {
            control.join();
        }
        self.opener.gate.shut_all();
        self.opener.pool.stop();
        self.threads.join_all();
        if let Some(miners) = &self.shared.miners {
            miners.shutdown(self.shared.config.drain());
        }
        self.shared.registry.close()?;
        drained
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(e) = self.stop() {
            log::error!(target: "node", "stopping: {e}");
        }
    }
}

impl Shared {
    pub(crate) fn installer(&self) -> Result<&Arc<Installer>> {
        self.installer.as_ref().ok_or_else(|| Error::Failed("this node runs no miners".to_owned()))
    }

    /// Sends a command and waits for its answer. `timeout` is the deadline the command itself carries.
    pub(crate) fn ask(
        &self,
        timeout: Duration,
        bytes: usize,
        command: impl FnOnce(CallId) -> Command,
    ) -> Result<Answer> {
        let (reply, answers) = bounded(1);
        self.begin(reply, bytes, command)?;
        self.wait(&answers, timeout)
    }

    /// Sends a command whose answer goes to `reply`.
    pub(crate) fn begin(
        &self,
        reply: Sender<Reply>,
        bytes: usize,
        command: impl FnOnce(CallId) -> Command,
    ) -> Result<CallId> {
        let call = CallId(self.next_call.fetch_add(1, Ordering::Relaxed));
        self.control.send(command(call), Some((call, reply)), bytes)?;
        Ok(call)
    }

    pub(crate) fn connect(&self, target: ConnectTo) -> Result<LinkInfo> {
        match self.ask(CONNECT_MAX, 0, |call| Command::Connect { call, target, timeout: CONNECT_MAX })? {
            Answer::Connected(info) => Ok(info),
            other => Err(unexpected(&other)),
        }
    }

    fn wait(&self, answers: &Receiver<Reply>, timeout: Duration) -> Result<Answer> {
        if !self.config.low_power {
            let end = Instant::now() + CALLER_SPIN;
            while answers.is_empty() && Instant::now() < end {
                std::thread::yield_now();
            }
        }
        match answers.recv_timeout(timeout + GRACE) {
            Ok((_, result)) => result,
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {
                Err(Error::TimedOut("no answer from the dispatcher".to_owned()))
            }
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => Err(Error::ShuttingDown),
        }
    }
}

/// An answer of another kind than the command asks for: a fault of ours, not of the caller.
pub(crate) fn unexpected(answer: &Answer) -> Error {
    Error::Failed(format!("unexpected answer: {answer:?}"))
}
