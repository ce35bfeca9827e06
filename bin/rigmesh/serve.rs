//! `serve`: the daemon. Ends on SIGTERM or SIGINT in good order with code 0; a second signal ends it
//! at once with 130 or 143. SIGHUP reads allowlist and permissions anew (profiles are read at each use).

use crate::args::{Globals, Serve};
use crate::exit::{self, Exit};
use crate::output::Out;
use crate::remote::PATIENCE;
use crate::settings;
use rigmesh::control::{ControlClient, Owner, Request};
use rigmesh::{Config, FileProfileManager, FolderLock, Node, Paths, ProcessMinerManager, ServiceManager, Slots};
use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

/// Commanding keys named in the line; the rest are counted.
const KEYS_NAMED: usize = 3;

pub(crate) fn serve(globals: &Globals, out: &Out, args: &Serve) -> Result<(), Exit> {
    let paths = settings::paths(globals)?;
    settings::identity_card(&paths)?;
    let config = configure(&paths, args)?;
    // The folder first: what runs in it belongs to the daemon that has it.
    let lock = match ControlClient::open_or_lock(&paths, PATIENCE).map_err(|e| Exit::at_start(&e))? {
        Owner::Us(lock) => lock,
        // Another daemon: the lock's own words name its process.
        Owner::Daemon(_) => FolderLock::take(&paths).map_err(|e| Exit::at_start(&e))?,
    };
    let identity = settings::identity(&paths)?;
    let signals = SignalThread::start()?;
    let manager = ServiceManager::from_environment().map_err(|e| Exit::at_start(&e))?.map(Arc::new);
    let works = identity.info().role.is_worker();
    let profiles = Arc::new(FileProfileManager::new(&paths.data));
    let mut builder = Node::builder().paths(paths.clone()).folder_lock(lock).profiles(profiles.clone()).resident();
    builder = builder.identity(identity);
    if let Some(manager) = &manager {
        builder = builder.service_manager(manager.clone());
    }
    let mut miners = None;
    if works {
        let settings = settings::miners(&paths, &config)?;
        let slots = Slots::open(&paths.data, &config.deploy_limits()).map_err(|e| Exit::at_start(&e))?;
        let slots = Arc::new(slots);
        let manager = ProcessMinerManager::with_slots(settings, slots.clone()).map_err(|e| Exit::at_start(&e))?;
        let manager = Arc::new(manager);
        builder = builder.miners(manager.clone()).slots(slots);
        miners = Some(manager);
    }
    if config.listen != "none" {
        builder = builder.listen(config.listen.clone());
    }
    if !config.ueps_listen.is_empty() {
        builder = builder.ueps_listen(config.ueps_listen.clone());
    }
    if args.open {
        builder = builder.open();
    }
    let tls = config.tls_cert.is_some();
    let node = builder.config(config).start().map_err(|e| Exit::at_start(&e))?;
    node.serve_control().map_err(|e| Exit::at_start(&e))?;
    announce(&node, out, tls, args.open)?;
    if let Some(manager) = &manager {
        let scheme = if tls { "wss" } else { "ws" };
        let listens = node.listen_address().map(|at| format!("listens on {scheme}://{at}"));
        manager.ready(listens.as_deref().unwrap_or("listens nowhere"));
    }
    if let Some(miners) = miners {
        for (name, result) in miners.restore(&*profiles) {
            match result {
                Ok(()) => log::info!(target: "miner", miner = name.as_str(); "started again"),
                Err(e) => log::error!(target: "miner", miner = name.as_str(); "not started again: {e}"),
            }
        }
    }
    while let Ok(signal) = signals.received.recv() {
        if signal != SIGHUP {
            log::info!(target: "node", "stopping; a second signal ends at once");
            break;
        }
        reload(&node);
    }
    if let Some(manager) = &manager {
        manager.stopping();
    }
    let drained = node.shutdown()?;
    log::info!(target: "node", closed = drained.closed, cut = drained.cut; "stopped");
    signals.end();
    Ok(())
}

/// File, then command line, then what `init --tls` made.
fn configure(paths: &Paths, args: &Serve) -> Result<Config, Exit> {
    let mut config = settings::config(paths, args.config.as_deref())?;
    if let Some(listen) = &args.listen {
        config.listen.clone_from(listen);
    }
    config.uplinks.extend(args.uplink.iter().cloned());
    config.dht |= args.dht;
    config.lan |= args.lan;
    config.require_secure |= args.require_secure;
    config.share |= args.share;
    config.dht_bootstrap.extend(args.bootstrap.iter().cloned());
    config.fleets.extend(args.fleet.iter().cloned());
    config.public_fleets.extend(args.public_fleet.iter().cloned());
    let at = |name: &str, text: &str| {
        text.parse::<SocketAddr>().map_err(|_| Exit::usage(format!("{name} {text:?} is no IP:PORT")))
    };
    if let Some(bind) = &args.dht_bind {
        config.dht_bind = Some(at("--dht-bind", bind)?);
    }
    if !args.advertise.is_empty() {
        config.advertise = args.advertise.iter().map(|text| at("--advertise", text)).collect::<Result<_, _>>()?;
    }
    if !config.dht && (args.dht_bind.is_some() || !args.bootstrap.is_empty()) {
        return Err(Exit::usage("--bootstrap and --dht-bind go with --dht"));
    }
    if args.memory_budget.is_some() {
        config.memory_budget_mib = args.memory_budget;
    }
    config.check()?;
    let fitted = config.within_budget();
    if fitted.connections_max < config.connections_max {
        log::info!(target: "node", connections_max = fitted.connections_max, message_bytes_max = fitted.message_bytes_max; "the memory budget lowers the limits");
    }
    config = fitted;
    if config.tls_cert.is_none() && config.tls_key.is_none() && paths.tls_cert().exists() {
        config.tls_cert = Some(paths.tls_cert());
        config.tls_key = Some(paths.tls_key());
    }
    Ok(config)
}

fn reload(node: &Node) {
    match node.peers().reload_access() {
        Ok(warnings) => {
            warnings.iter().for_each(|warning| log::warn!(target: "peers", "{warning}"));
            if let Err(e) = node.apply_access() {
                log::error!(target: "peers", "{e}");
            }
            let broken = node.profiles().map(|p| p.broken_profiles()).unwrap_or_default();
            broken.iter().for_each(|(id, e)| log::warn!(target: "miner", profile = id.as_str(); "{e}"));
            log::info!(target: "node", "read allowlist, permissions and profiles anew");
        }
        Err(e) => log::error!(target: "peers", "nothing was reloaded: {e}"),
    }
}

/// One line: who we are, where we listen, who may command us.
fn announce(node: &Node, out: &Out, tls: bool, open: bool) -> Result<(), Exit> {
    let info = node.identity().info();
    let scheme = if tls { "wss" } else { "ws" };
    let listen = node.listen_address().map(|a| format!("{scheme}://{a}"));
    let mut peers = Vec::new();
    node.execute(Request::Peers {}, &mut |row| peers.push(row))?;
    let grants = |row: &Value| row.get("grants").and_then(Value::as_array).map_or(0, Vec::len);
    let text = |row: &Value, key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let commanding: Vec<&Value> = peers.iter().filter(|row| grants(row) > 0).collect();
    if out.json() {
        let commanding: Vec<Value> = commanding
            .iter()
            .map(|row| json!({"id": row["id"], "name": row["name"], "grants": row["grants"]}))
            .collect();
        return out.row(&json!({
            "id": info.id, "name": info.name, "role": info.role.as_str(), "listen": listen, "open": open,
            "dht": node.dht_listen_address().map(|at| json!({ "address": node.dht_address().to_string(), "listen": at.to_string() })),
            "may_command": commanding,
        }));
    }
    let mut names: Vec<String> = commanding
        .iter()
        .take(KEYS_NAMED)
        .map(|row| {
            let name = text(row, "name");
            if name.is_empty() { text(row, "id").chars().take(8).collect() } else { name }
        })
        .collect();
    if commanding.len() > KEYS_NAMED {
        names.push(format!("{} more", commanding.len() - KEYS_NAMED));
    }
    let listens = listen.map_or_else(|| "listens nowhere".to_owned(), |at| format!("listens on {at}"));
    let commanded = match (info.role.is_worker(), names.is_empty()) {
        (false, _) => "takes no commands, being a controller".to_owned(),
        (true, true) => "nobody may command it yet (rigmesh pair)".to_owned(),
        (true, false) => format!("may be commanded by {}", names.join(", ")),
    };
    let found = node
        .dht_listen_address()
        .map_or_else(String::new, |at| format!("; in the DHT as {} on udp {at}", node.dht_address()));
    let strangers = if open { "; unknown keys may connect and ping" } else { "" };
    let id: String = info.id.chars().take(8).collect();
    let name = crate::table::safe(&info.name);
    out.text(&format!("{name} ({}, {id}) {listens}; {commanded}{strangers}{found}\n", info.role))
}

/// The thread `signal`: hands the first signals on, and ends the process at the second that says so.
pub(crate) struct SignalThread {
    pub(crate) received: Receiver<i32>,
    handle: Handle,
    thread: JoinHandle<()>,
}

impl SignalThread {
    pub(crate) fn start() -> Result<SignalThread, Exit> {
        let failed = |e: std::io::Error| Exit::new(exit::FAILED, format!("cannot watch signals: {e}"));
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(failed)?;
        let handle = signals.handle();
        let (sender, received) = channel();
        let body = move || {
            let mut stopping = false;
            for signal in signals.forever() {
                if signal != SIGHUP && std::mem::replace(&mut stopping, true) {
                    std::process::exit(i32::from(exit::SIGNAL) + signal);
                }
                let _ = sender.send(signal);
            }
        };
        let thread = std::thread::Builder::new().name("signal".to_owned()).spawn(body).map_err(failed)?;
        Ok(SignalThread { received, handle, thread })
    }

    pub(crate) fn end(self) {
        self.handle.close();
        let _ = self.thread.join();
    }
}
