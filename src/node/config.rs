//! Every number and switch of a node, with its default. `serve` reads them from `config.json`.

use crate::base::{Error, Result, check_json, is_plain_name};
use crate::kad::RIG_PLACES_MAX;
use crate::peers::ROTATION_DELAY;
use crate::runtime::depot::DepotLimits;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Fleets that one node belongs to.
const FLEETS_MAX: usize = 8;

/// The configuration of a node. All fields are optional in the file; unknown ones are refused, so
/// that a misspelt limit is noticed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen: `host:port`, or `:port` for every interface.
    pub listen: String,
    /// The WebSocket's path.
    pub path: String,
    /// PEM file with the server's certificate; with it the node serves `wss`.
    pub tls_cert: Option<PathBuf>,
    /// PEM file with its key.
    pub tls_key: Option<PathBuf>,
    /// PEM file with the certificates that servers we dial must be signed by; the system's roots when absent.
    pub tls_ca: Option<PathBuf>,
    /// Whether secure sessions are spoken with peers that have them: RigMesh nodes.
    pub secure: bool,
    /// Whether peers that have none are refused: Go nodes, and RigMesh nodes with `secure` off.
    pub require_secure: bool,
    /// Connections that are kept up for ever: `KEY@host:port`, `KEY@wss://host:port`, or with `#FINGERPRINT` behind it.
    pub uplinks: Vec<String>,
    /// Connections in all: established, in handshake, dialled. (The API page's default is 100; a farm has more.)
    pub connections_max: usize,
    /// Accepted connections that have not proven their key, in all.
    pub unproven_max: usize,
    /// The same, from one address.
    pub unproven_per_address_max: usize,
    /// Connections whose handshake is not done, in all; addresses from which nobody has proven a key in the last seven days get
    /// half of these places.
    pub half_open_max: usize,
    /// The same, from one such address.
    pub half_open_per_address_max: usize,
    /// The same, from such addresses of one public /24 or /48.
    pub half_open_per_net_max: usize,
    /// Handshakes that one such address may begin a second.
    pub handshakes_per_s: u32,
    /// Seconds after which an unproven connection is closed.
    pub unproven_timeout_s: u64,
    /// Milliseconds that each stage of opening a connection may take: connecting, TLS and upgrade, handshake.
    pub handshake_timeout_ms: u64,
    /// Bytes of one WebSocket message, in either direction.
    pub message_bytes_max: usize,
    /// Seconds between keepalive pings.
    pub ping_interval_s: u64,
    /// Seconds that a pong may take on top of the interval before the link counts as dead.
    pub pong_timeout_s: u64,
    /// Messages accepted at once from a peer that is not known to be RigMesh.
    pub plain_burst: u32,
    /// The same, a second.
    pub plain_rate_per_s: u32,
    /// Messages accepted at once from a RigMesh peer.
    pub burst: u32,
    /// The same, a second.
    pub rate_per_s: u32,
    /// Messages waiting for one peer.
    pub queue_messages_max: usize,
    /// Bytes waiting for one peer.
    pub queue_bytes_max: usize,
    /// Peers in the registry.
    pub peers_max: usize,
    /// Lines kept per miner.
    pub log_lines_max: usize,
    /// Milliseconds that a shutdown waits for its connections to end in good order.
    pub drain_ms: u64,
    /// Park at once when there is nothing to do, instead of yielding for a few microseconds first.
    pub low_power: bool,
    /// MiB of memory that this node may take with its connections and queues; limits that would exceed it are lowered
    /// ([`Config::within_budget`]). What miners take is theirs. None: the limits as they stand here.
    pub memory_budget_mib: Option<u32>,
    /// Whether keys with the grant `deploy` may install miners here.
    pub deploys: bool,
    /// Whether commands that change something are recorded, given and taken: in the folder `audit`, line by line, each synced
    /// before the command runs.
    pub audit: bool,
    /// Seconds that the successor of a key with `operate`, `deploy` or `manage` waits until it takes that key's place; 0: none.
    pub rotation_delay_s: u64,
    /// Bytes that deployments under way may take on disk.
    pub incoming_bytes_max: u64,
    /// Days that an unfinished deployment is kept for.
    pub incoming_keep_days: u32,
    /// Bytes that installed versions may take on disk; the current one and the one before always stay.
    pub slots_bytes_max: u64,
    /// Versions kept of each miner.
    pub versions_kept: u32,
    /// Rigs that are sent a deployment's data at once.
    pub feeding_max: usize,
    /// Where UEPS packets are taken over plain TCP: `host:port`. Empty: nowhere.
    pub ueps_listen: String,
    /// The keys such packets are signed with, by name, such as `{"panel": {"file": "/etc/rigmesh/panel.key", "grant":
    /// "operate"}}`; at most 16.
    pub ueps_keys: std::collections::BTreeMap<String, UepsKey>,
    /// Whether the daemon is a node of the DHT: a rig says there where it is, a controller finds rigs there.
    pub dht: bool,
    /// Where the DHT's UDP socket is bound, `IP:PORT`; by default any free port.
    pub dht_bind: Option<SocketAddr>,
    /// Nodes of the DHT to begin with, `HOST:PORT`.
    pub dht_bootstrap: Vec<String>,
    /// Fleets this node belongs to, by a secret in `fleets/NAME.key`: its members find each other, nobody else can tell.
    pub fleets: Vec<String>,
    /// Fleets without a secret: anybody sees who belongs to them.
    pub public_fleets: Vec<String>,
    /// Whether this node says and hears on the local link who is there.
    pub lan: bool,
    /// The UDP port of the local link's group, 239.255.90.91.
    pub lan_port: u16,
    /// Whether this node listens to what neighbours tell of where rigs are.
    pub gossip: bool,
    /// Whether neighbours may tell others where this node is.
    pub share: bool,
    /// Where others reach this node, `IP:PORT`, at most four; by default the addresses of its interfaces.
    pub advertise: Vec<SocketAddr>,
    /// Whether a controller says where it is, as rigs do.
    pub advertise_controller: bool,
    /// Whether places on this machine itself are said and dialled that were found: where several nodes live on one.
    pub dial_loopback: bool,
    /// The program of each external miner type, such as `{"xmrig": "/usr/bin/xmrig"}`. Never set by a peer.
    pub miners: std::collections::BTreeMap<String, serde_json::Value>,
}

/// A pre-shared key of UEPS packets over plain TCP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UepsKey {
    /// Where it lies: 32 bytes, or their hex or base64.
    pub file: PathBuf,
    /// What its holders may do: `peer` for nothing but a handshake and custom packets, `operate`, `controller`.
    pub grant: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: ":9091".to_owned(),
            path: "/ws".to_owned(),
            tls_cert: None,
            tls_key: None,
            tls_ca: None,
            secure: true,
            require_secure: false,
            uplinks: Vec::new(),
            connections_max: 1000,
            unproven_max: 128,
            unproven_per_address_max: 16,
            half_open_max: 64,
            half_open_per_address_max: 4,
            half_open_per_net_max: 8,
            handshakes_per_s: 5,
            unproven_timeout_s: 40,
            handshake_timeout_ms: 10_000,
            message_bytes_max: 1 << 20,
            ping_interval_s: 30,
            pong_timeout_s: 10,
            plain_burst: 100,
            plain_rate_per_s: 50,
            burst: 4000,
            rate_per_s: 2000,
            queue_messages_max: 4096,
            queue_bytes_max: 16 << 20,
            peers_max: 10_000,
            log_lines_max: 1000,
            drain_ms: 3000,
            low_power: false,
            memory_budget_mib: None,
            deploys: true,
            audit: true,
            rotation_delay_s: ROTATION_DELAY.as_secs(),
            incoming_bytes_max: 2 << 30,
            incoming_keep_days: 7,
            slots_bytes_max: 2 << 30,
            versions_kept: 3,
            feeding_max: 16,
            ueps_listen: String::new(),
            ueps_keys: std::collections::BTreeMap::new(),
            dht: false,
            dht_bind: None,
            dht_bootstrap: Vec::new(),
            fleets: Vec::new(),
            public_fleets: Vec::new(),
            lan: false,
            lan_port: 9091,
            gossip: true,
            share: false,
            advertise: Vec::new(),
            advertise_controller: false,
            dial_loopback: false,
            miners: std::collections::BTreeMap::new(),
        }
    }
}

impl Config {
    /// Reads and checks a configuration file's text.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key and what is allowed.
    pub fn decode(bytes: &[u8]) -> Result<Config> {
        let text = check_json("configuration", bytes).map_err(|e| Error::Config(e.to_string()))?;
        let config: Config = serde_json::from_str(text).map_err(|e| Error::Config(format!("configuration: {e}")))?;
        config.check()?;
        Ok(config)
    }

    /// Whether the numbers make sense together.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn check(&self) -> Result<()> {
        let wrong = |key: &str, what: &str| Err(Error::Config(format!("configuration: {key} {what}")));
        let at_least_one = [
            ("connections_max", self.connections_max as u64),
            ("unproven_max", self.unproven_max as u64),
            ("unproven_per_address_max", self.unproven_per_address_max as u64),
            ("half_open_max", self.half_open_max as u64),
            ("half_open_per_address_max", self.half_open_per_address_max as u64),
            ("half_open_per_net_max", self.half_open_per_net_max as u64),
            ("handshakes_per_s", self.handshakes_per_s.into()),
            ("unproven_timeout_s", self.unproven_timeout_s),
            ("handshake_timeout_ms", self.handshake_timeout_ms),
            ("ping_interval_s", self.ping_interval_s),
            ("pong_timeout_s", self.pong_timeout_s),
            ("plain_burst", self.plain_burst.into()),
            ("plain_rate_per_s", self.plain_rate_per_s.into()),
            ("burst", self.burst.into()),
            ("rate_per_s", self.rate_per_s.into()),
            ("queue_messages_max", self.queue_messages_max as u64),
            ("peers_max", self.peers_max as u64),
            ("log_lines_max", self.log_lines_max as u64),
            ("incoming_keep_days", self.incoming_keep_days.into()),
            ("versions_kept", self.versions_kept.into()),
            ("feeding_max", self.feeding_max as u64),
        ];
        if let Some((key, _)) = at_least_one.iter().find(|(_, n)| *n == 0) {
            return wrong(key, "must be at least 1");
        }
        if !(64 << 10..=64 << 20).contains(&self.message_bytes_max) {
            return wrong("message_bytes_max", "must be between 65536 and 67108864");
        }
        self.check_budget()?;
        if self.queue_bytes_max < self.message_bytes_max {
            return wrong("queue_bytes_max", "must be at least message_bytes_max");
        }
        if self.require_secure && !self.secure {
            return wrong("require_secure", "cannot be without secure");
        }
        if !self.path.starts_with('/') {
            return wrong("path", "must begin with /");
        }
        if !self.ueps_listen.is_empty() && self.ueps_keys.is_empty() {
            return wrong("ueps_listen", "needs ueps_keys");
        }
        if let Some(name) = self.fleets.iter().chain(&self.public_fleets).find(|name| !is_plain_name(name)) {
            return wrong("fleets", &format!("has {name:?}, which is no plain name"));
        }
        if self.fleets.len() + self.public_fleets.len() > FLEETS_MAX {
            return wrong("fleets", "are at most 8");
        }
        if self.advertise.len() > RIG_PLACES_MAX || self.advertise.iter().any(|at| at.port() == 0) {
            return wrong("advertise", "takes at most 4 places, each with a port");
        }
        if self.lan_port == 0 {
            return wrong("lan_port", "must be at least 1");
        }
        if (self.dht || self.lan || self.share) && self.path != "/ws" {
            return wrong("path", "must be /ws where this node says where it is");
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return wrong("tls_cert and tls_key", "go together");
        }
        Ok(())
    }

    /// How much of deployments is kept on disk: for [`crate::Slots::open`].
    pub fn deploy_limits(&self) -> DepotLimits {
        DepotLimits {
            incoming_bytes_max: self.incoming_bytes_max,
            keep: Duration::from_secs(u64::from(self.incoming_keep_days) * 86_400),
            slots_bytes_max: self.slots_bytes_max,
            versions_kept: self.versions_kept as usize,
            ..DepotLimits::default()
        }
    }

    pub(crate) fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
}
