//! From a configuration to a running node.

use super::enroller::Enroller;
use super::{Config, Node, Shared};
use crate::base::{Error, Result};
use crate::identity::{Identity, Role, Rotation};
use crate::kad::fleet_topic;
use crate::mesh::{
    CHUNK1, Command, GOSSIP1, Intents, MANAGE1, Mesh, MeshConfig, PAUSE1, ROTATE1, SLOTS1, UEPS1, register_builtin,
};
use crate::message::{Announcement, Message};
use crate::miners::{MinerManager, ProfileManager};
use crate::peers::PeerAuthMode;
use crate::runtime::audit::AuditBook;
use crate::runtime::clock::{Clock, system_rng};
use crate::runtime::deploy::{DepotHands, DepotThread};
use crate::runtime::depot::Slots;
use crate::runtime::dispatcher::Dispatcher;
use crate::runtime::files::disk::Disk;
use crate::runtime::files::identity::IdentityFiles;
use crate::runtime::files::lock::FolderLock;
use crate::runtime::files::marks::MarksFile;
use crate::runtime::files::paths::Paths;
use crate::runtime::files::protect::passphrase_for;
use crate::runtime::files::registry::SharedRegistry;
use crate::runtime::files::rotation::RotationPhase;
use crate::runtime::install::Installer;
use crate::runtime::intents::Host;
use crate::runtime::jobs::{Hands, Jobs, SaveMarks};
use crate::runtime::net::eager::Eager;
use crate::runtime::net::gate::{Gate, GateLimits};
use crate::runtime::net::listen::Listener;
use crate::runtime::net::open::{NetSettings, Opener, Replaced};
use crate::runtime::net::pool::HandshakePool;
use crate::runtime::net::tls::{self, TlsTrust};
use crate::runtime::outgoing::{OwedBook, OwedFile};
use crate::runtime::pairing::Pairings;
use crate::runtime::queues::queues;
use crate::runtime::rotation::Successions;
use crate::runtime::service::{Beat, ServiceManager};
use crate::runtime::threads::Threads;
use crate::runtime::ueps::{UepsListener, load_keys};
use crate::runtime::whereabouts::{Advertised, WhereSettings, Whereabouts, fleet_secret};
use crate::session::secure::Statement;
use crate::session::{Challenges, DialogueConfig, OutboundLimits, Security};
use crossbeam_channel::Sender;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

/// Configures a [`Node`]. Safe by default: only listed keys are let in, only keys with the
/// permission may command, and nothing is listened on unless asked for.
#[derive(Default)]
pub struct NodeBuilder {
    paths: Option<Paths>,
    lock: Option<FolderLock>,
    identity: Option<Identity>,
    role: Option<Role>,
    name: Option<String>,
    config: Option<Config>,
    listen: Option<String>,
    ueps_listen: Option<String>,
    open: bool,
    trust_all: bool,
    forget_times: bool,
    miners: Option<Arc<dyn MinerManager>>,
    profiles: Option<Arc<dyn ProfileManager>>,
    handler: Option<Sender<(String, Message)>>,
    resident: bool,
    slots: Option<Arc<Slots>>,
    service_manager: Option<Arc<ServiceManager>>,
}

impl NodeBuilder {
    /// Keeps everything in this folder. Without it the XDG places are used.
    #[must_use]
    pub fn data_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        let folder: PathBuf = folder.into();
        self.paths = Some(Paths::in_folder(&folder));
        self
    }

    /// Keeps everything at these places.
    #[must_use]
    pub fn paths(mut self, paths: Paths) -> Self {
        self.paths = Some(paths);
        self
    }

    /// Uses a lock of the folder that the caller took already, because it has work to do there first.
    #[must_use]
    pub fn folder_lock(mut self, lock: FolderLock) -> Self {
        self.lock = Some(lock);
        self
    }

    /// Runs under an identity that the caller has loaded already, because a protected one takes a pass-phrase
    /// ([`IdentityFiles::load_with`]). It must be the one of the folder. Without it the builder loads or makes it.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The role of an identity that is made because there is none. The default is dual.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.role = Some(role);
        self
    }

    /// The name of an identity that is made because there is none. The default is the host's.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// All numbers at once.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Listens for peers at `host:port`, or on every interface at `:port`.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// Takes UEPS packets over plain TCP at `host:port`, signed with the keys that the configuration names
    /// ([`Config::ueps_keys`]). They are not encrypted: for the machine itself, or a network that is trusted to read them.
    #[must_use]
    pub fn ueps_listen(mut self, address: impl Into<String>) -> Self {
        self.ueps_listen = Some(address.into());
        self
    }

    /// Lets unknown keys connect. They may ping and nothing else; commands still need the permission.
    #[must_use]
    pub fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// Takes commands from **every** admitted key, whatever the permissions file says. Together with
    /// [`NodeBuilder::open`] anyone who can reach the node can start and stop its miners.
    #[must_use]
    pub fn trust_every_peer(mut self) -> Self {
        self.trust_all = true;
        self
    }

    /// Starts with no memory of which commands were accepted when: the way out when that file is corrupt.
    /// Commands recorded by someone before may then be repeated to this node.
    #[must_use]
    pub fn forget_times(mut self, forget: bool) -> Self {
        self.forget_times = forget;
        self
    }

    /// Runs miners: this node carries out commands.
    #[must_use]
    pub fn miners(mut self, miners: Arc<dyn MinerManager>) -> Self {
        self.miners = Some(miners);
        self
    }

    /// Where profiles are stored.
    #[must_use]
    pub fn profiles(mut self, profiles: Arc<dyn ProfileManager>) -> Self {
        self.profiles = Some(profiles);
        self
    }

    /// Where messages go that the node itself has no use for: unknown types from admitted peers, and replies to
    /// what [`super::Transport::send`] sent. With the sender's node id. A full channel drops.
    #[must_use]
    pub fn message_handler(mut self, handler: Sender<(String, Message)>) -> Self {
        self.handler = Some(handler);
        self
    }

    /// The installed versions of miners, when the miner manager runs them: both must see the same. Without it the node
    /// opens the folder itself, and the manager is told of switches only.
    #[must_use]
    pub fn slots(mut self, slots: Arc<Slots>) -> Self {
        self.slots = Some(slots);
        self
    }

    /// This node lives on after its commands, as a daemon does: deployments to rigs that are away go on when they
    /// are back, and those that an earlier run left unfinished are taken up again.
    #[must_use]
    pub fn resident(mut self) -> Self {
        self.resident = true;
        self
    }

    /// Lets the dispatcher give its signs of life to this manager, when it watches. That the node serves and that it
    /// stops is for the program to say.
    #[must_use]
    pub fn service_manager(mut self, manager: Arc<ServiceManager>) -> Self {
        self.service_manager = Some(manager);
        self
    }

    /// Starts the node: takes the folder, loads or makes the identity, loads registry and marks, listens.
    ///
    /// # Errors
    /// [`Error::Config`] for a bad configuration, identity or folder in use; [`Error::Passphrase`] for protected keys
    /// that cannot be opened; [`Error::Io`] for what the system refuses (port in use, no permission). Nothing is left running after an error.
    pub fn start(self) -> Result<Node> {
        let config = self.config.unwrap_or_default();
        config.check()?;
        let config = config.within_budget();
        let paths = match self.paths {
            Some(paths) => paths,
            None => Paths::xdg()?,
        };
        let lock = match self.lock {
            Some(lock) => lock,
            None => FolderLock::take(&paths)?,
        };
        let files = IdentityFiles::from(&paths);
        let identity = match self.identity {
            Some(identity) => identity,
            None => files.load_or_create(self.name.as_deref(), self.role.unwrap_or(Role::Dual))?,
        };
        let identity = Arc::new(identity);
        let mode = if self.open { PeerAuthMode::Open } else { PeerAuthMode::Allowlist };
        let (registry, warnings) = SharedRegistry::load(&paths.peers, mode)?;
        for warning in warnings {
            log::warn!(target: "peers", "{warning}");
        }
        {
            let mut registry = registry.inner().write();
            registry.set_peers_max(config.peers_max);
            registry.set_rotation_delay(Duration::from_secs(config.rotation_delay_s));
        }
        let marks_file = Arc::new(MarksFile::new(paths.freshness(), Disk::real()));
        let marks = if self.forget_times { marks_file.reset()? } else { marks_file.load()? };

        let clock = Clock::start();
        let mut rng = system_rng()?;
        let audit = config.audit.then(|| Arc::new(AuditBook::new(Disk::real(), paths.audit(), identity.clone())));
        // A node that lives for one command opens it with the first change.
        if let Some(audit) = audit.as_ref().filter(|_| self.resident || self.miners.is_some()) {
            audit.open(clock.now().wall);
        }
        let threads = Arc::new(Threads::default());
        let (control, inbox, queues) = queues(config.shares().map(|shares| shares.waiting_bytes));
        let listener = self.listen.as_deref().map(Listener::bind).transpose()?;
        let dialogue = dialogue_config(&config, &identity, self.miners.is_some());
        let caps = &dialogue.announcement.caps;
        let security = security_of(&config, &identity, caps);
        let rotation = if config.secure { files.rotation()? } else { None };
        let replaced = replaced(&files, rotation.as_ref(), |identity| security_of(&config, identity, caps));
        let successions =
            Arc::new(Successions { registry: registry.clone(), audit: audit.clone(), inbox: inbox.clone() });
        let pairings = Pairings::load(Disk::real(), paths.enrolment(), registry.clone(), audit.clone(), clock)?;
        let opener = Arc::new(Opener {
            settings: net_settings(&config, security)?,
            identity: identity.clone(),
            registry: registry.clone(),
            pairings: pairings.clone(),
            successions: successions.clone(),
            replaced,
            challenges: Mutex::new(Challenges::new()),
            rng: Mutex::new(rng.fork()),
            eager: if config.low_power { Eager::new(0) } else { Eager::of_cores() },
            gate: Gate::new(GateLimits {
                connections_max: config.connections_max,
                unproven_max: config.unproven_max,
                unproven_per_address_max: config.unproven_per_address_max,
                half_open_max: config.half_open_max,
                half_open_per_address_max: config.half_open_per_address_max,
                half_open_per_net_max: config.half_open_per_net_max,
                handshakes_per_s: config.handshakes_per_s,
            }),
            pool: HandshakePool::new(threads.clone()),
            threads: threads.clone(),
            inbox: inbox.clone(),
            clock,
            next_link: AtomicU64::new(1),
            stopping: AtomicBool::new(false),
        });
        let mesh_config = MeshConfig {
            dialogue: Arc::new(dialogue),
            frame_bytes_max: config.message_bytes_max,
            works: self.miners.is_some(),
            trust_all: self.trust_all,
            takes_deploys: config.deploys,
            feeding_max: config.feeding_max,
            searches: config.dht,
            dial_loopback: config.dial_loopback,
        };
        let mesh = Mesh::new(mesh_config, identity.clone(), registry.inner().clone(), marks, rng, clock.now());
        let intents = Arc::new(Intents::default());
        let host = Host {
            identity: identity.clone(),
            miners: self.miners.clone(),
            profiles: self.profiles.clone(),
            clock,
            since_ms: clock.now().wall.unix_millis(),
        };
        register_builtin(&intents, Arc::new(host), self.miners.is_some());
        let ueps = match self.ueps_listen.as_deref() {
            Some(address) => Some(ueps_listener(address, &config, &intents, &audit, clock, &threads)?),
            None => None,
        };
        let save_marks: SaveMarks = Arc::new(move |snapshot| marks_file.save(snapshot));
        let installer = self
            .miners
            .clone()
            .map(|miners| installer(&config, &paths, &identity, miners, self.profiles.clone(), self.slots.clone()));
        let installer = installer.transpose()?;
        let hands = Hands {
            miners: self.miners.clone(),
            profiles: self.profiles.clone(),
            registry: registry.clone(),
            save_marks: save_marks.clone(),
            inbox: inbox.clone(),
            installer: installer.clone(),
            intents: intents.clone(),
            audit: audit.clone(),
            successions,
        };
        let jobs = Jobs::start_threads(hands, threads.clone())?;
        let depot_hands = DepotHands {
            registry: registry.inner().clone(),
            trust_all: self.trust_all,
            save_marks,
            inbox,
            owed: OwedBook::new(OwedFile::new(paths.deploys())),
            installer: installer.clone(),
            audit: audit.clone(),
        };
        let depot = DepotThread::new(depot_hands, threads.clone());
        let listens = listener.as_ref().map(Listener::address);
        let advertised = Advertised {
            listen: listens,
            stated: config.advertise.clone(),
            tls: config.tls_cert.is_some(),
            loopback: config.dial_loopback,
        };
        let where_settings =
            where_settings(&config, &paths, &identity, advertised.clone(), self.miners.is_some(), self.resident)?;
        let whereabouts = Whereabouts::new(
            where_settings,
            identity.clone(),
            clock,
            threads.clone(),
            control.clone(),
            opener.inbox.clone(),
        )?;
        let dispatcher = Dispatcher {
            mesh,
            whereabouts: whereabouts.clone(),
            queues,
            opener: opener.clone(),
            jobs,
            depot,
            clock,
            handler: self.handler,
            spin: !config.low_power,
            conns: BTreeMap::new(),
            calls: BTreeMap::new(),
            dirty: BTreeSet::new(),
            paced: BTreeMap::new(),
            lingering: Vec::new(),
            ending: None,
            standing: 0,
            drain: config.drain(),
            beat: self.service_manager.and_then(|manager| Beat::new(manager, clock)),
        };
        let dispatcher = std::thread::Builder::new()
            .name("dispatcher".to_owned())
            .spawn(move || dispatcher.run())
            .map_err(|e| Error::io("cannot start the dispatcher", &e))?;
        let (uplinks, enrol_link) = (config.uplinks.clone(), paths.enrol_link());
        let shared = Arc::new(Shared {
            identity,
            control,
            registry,
            config,
            clock,
            miners: self.miners,
            profiles: self.profiles,
            paths: Some(paths),
            installer,
            audit,
            intents,
            ueps,
            whereabouts,
            advertised,
            pairings,
            resident: self.resident,
            next_call: AtomicU64::new(1),
        });
        // From here on a failure drops the node, which stops what was started.
        let mut node = Node {
            shared,
            opener: opener.clone(),
            threads: threads.clone(),
            listener,
            dispatcher: Some(dispatcher),
            enroller: None,
            control_server: Mutex::default(),
            _lock: Some(lock),
        };
        if let Some((statement, _)) = rotation {
            node.shared.control.send(Command::Rotate(Box::new(statement)), None, 0)?;
        }
        for uplink in &uplinks {
            node.add_uplink(uplink)?;
        }
        node.keep_uplinks()?;
        if let Some(listener) = &node.listener {
            listener.start(opener, &threads)?;
        }
        if let Some(ueps) = &node.shared.ueps {
            ueps.start()?;
        }
        node.shared.whereabouts.start(node.shared.resident)?;
        if node.shared.resident {
            node.enroller = Enroller::start(enrol_link, node.pairing())?;
            node.take_up_deploys()?;
        }
        Ok(node)
    }
}

/// What a node with this identity offers its peers beyond 1.0.
fn security_of(config: &Config, identity: &Identity, caps: &[String]) -> Security {
    match config.secure {
        true => Security::On {
            statement: Box::new(Statement::new(identity, caps.to_vec(), config.message_bytes_max)),
            required: config.require_secure,
        },
        false => Security::Off,
    }
}

/// The keys that this node had before, for those who have not heard that they were replaced.
fn replaced(
    files: &IdentityFiles,
    rotation: Option<&(Rotation, RotationPhase)>,
    security: impl FnOnce(&Identity) -> Security,
) -> Option<Replaced> {
    let (statement, _) = rotation.filter(|(_, phase)| *phase == RotationPhase::Finished)?;
    match files.load_replaced(&mut passphrase_for) {
        Ok(old) => old.map(|identity| {
            let security = security(&identity);
            Replaced { identity, security, statement: statement.clone() }
        }),
        Err(e) => {
            log::warn!(target: "peers", "who has not heard that this node's keys were replaced cannot be told: {e}");
            None
        }
    }
}

/// What this node says of where it is, and whom it asks where others are.
fn where_settings(
    config: &Config,
    paths: &Paths,
    identity: &Identity,
    advertised: Advertised,
    works: bool,
    resident: bool,
) -> Result<WhereSettings> {
    let says = works || identity.info().role.is_worker() || config.advertise_controller;
    // Only a node that stays says anything.
    let fleets = config.fleets.iter().filter(|_| resident);
    let secret = fleets.map(|name| fleet_secret(paths, name).map(|s| fleet_topic(name, Some(&s))));
    let mut topics: Vec<String> = secret.collect::<Result<_>>()?;
    topics.extend(config.public_fleets.iter().map(|name| fleet_topic(name, None)));
    Ok(WhereSettings {
        dht: config.dht,
        bind: config.dht_bind,
        bootstrap: config.dht_bootstrap.clone(),
        lan_port: config.lan.then_some(config.lan_port),
        share: config.share,
        advertised: says.then_some(advertised),
        topics,
        folder: paths.dht(),
        seq_file: paths.record_seq(),
        loopback: config.dial_loopback,
    })
}

/// Where packets come in over plain TCP.
fn ueps_listener(
    address: &str,
    config: &Config,
    intents: &Arc<Intents>,
    audit: &Option<Arc<AuditBook>>,
    clock: Clock,
    threads: &Arc<Threads>,
) -> Result<UepsListener> {
    let keys = load_keys(config.ueps_keys.iter().map(|(name, key)| (name, &key.file, key.grant.as_str())))?;
    if keys.is_empty() {
        return Err(Error::Config("taking UEPS packets over TCP needs a key: name one in ueps_keys".to_owned()));
    }
    UepsListener::bind(address, keys, intents.clone(), audit.clone(), clock, threads.clone())
}

/// What deployments are installed by.
fn installer(
    config: &Config,
    paths: &Paths,
    identity: &Arc<Identity>,
    miners: Arc<dyn MinerManager>,
    profiles: Option<Arc<dyn ProfileManager>>,
    slots: Option<Arc<Slots>>,
) -> Result<Arc<Installer>> {
    let limits = config.deploy_limits();
    let slots = match slots {
        Some(slots) => slots,
        None => Arc::new(Slots::open(&paths.data, &limits)?),
    };
    let (identity, data_dir) = (identity.clone(), paths.data.clone());
    Ok(Arc::new(Installer { slots, limits, data_dir, identity, miners, profiles }))
}

fn net_settings(config: &Config, security: Security) -> Result<NetSettings> {
    let tls_server = match (&config.tls_cert, &config.tls_key) {
        (Some(cert), Some(key)) => Some(tls::server(cert, key)?),
        _ => None,
    };
    let trust = config.tls_ca.as_deref().map_or(TlsTrust::System, |path: &Path| TlsTrust::CaFile(path.to_owned()));
    Ok(NetSettings {
        path: config.path.clone(),
        message_bytes_max: config.message_bytes_max,
        plain_limit: (config.plain_burst, config.plain_rate_per_s),
        outbound: OutboundLimits {
            messages_max: config.queue_messages_max,
            bytes_max: config.queue_bytes_max,
            frame_bytes_max: config.message_bytes_max,
        },
        stage_max: Duration::from_millis(config.handshake_timeout_ms),
        tls_server,
        trust,
        security,
    })
}

fn dialogue_config(config: &Config, identity: &Identity, works: bool) -> DialogueConfig {
    let chunks = (works && config.deploys).then(|| CHUNK1.to_owned());
    let gossip = config.gossip.then(|| GOSSIP1.to_owned());
    let slots = works.then(|| [SLOTS1.to_owned(), PAUSE1.to_owned(), MANAGE1.to_owned()]);
    DialogueConfig {
        ping_interval: Duration::from_secs(config.ping_interval_s),
        pong_timeout: Duration::from_secs(config.pong_timeout_s),
        unproven_max: Duration::from_secs(config.unproven_timeout_s),
        plain_limit: (config.plain_burst, config.plain_rate_per_s),
        announced_limit: (config.burst, config.rate_per_s),
        announcement: Announcement {
            v: 1,
            caps: chunks
                .into_iter()
                .chain(slots.into_iter().flatten())
                .chain(gossip)
                .chain([UEPS1.to_owned(), ROTATE1.to_owned()])
                .collect(),
            rate: config.rate_per_s.into(),
            burst: config.burst.into(),
            max: config.message_bytes_max as u64,
            sign: Some(identity.sign_key().public()),
            bind: Some(identity.sign_key().bind_signature(&identity.public_key())),
        },
    }
}
