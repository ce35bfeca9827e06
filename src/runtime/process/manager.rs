//! The miners of a rig: names, limits, what is to run, and a thread for each.

use super::desired::{Desired, Entry};
use super::driver::{Driver, Order, Shared};
use super::paused::Paused;
use super::pidfile;
use super::plan::{MinerSettings, Plan};
use super::versions::{Versions, Wake};
use crate::base::{Error, Refusal, Result, Rng};
use crate::miners::config::effective;
use crate::miners::console::Console;
use crate::miners::supervise::Supervisor;
use crate::miners::{
    LogSlice, MinerInstance, MinerManager, MinerState, MinerStats, ProfileManager, StartRequest, check_profile_id,
};
use crate::runtime::clock::{Clock, system_rng};
use crate::runtime::depot::Slots;
use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Stack of a miner's thread; only touched pages cost.
const STACK_BYTES: usize = 256 * 1024;
/// A reason for a pause is cut here.
const HELD_CHARS_MAX: usize = 200;
/// Orders waiting for a thread; more say nothing new.
const ORDERS_MAX: usize = 4;

/// Runs miners as child processes: types `xmrig`, `command` and `sha256d`.
///
/// What it was told to run is in `desired.json` before a start returns and gone from it before a stop does;
/// [`ProcessMinerManager::restore`] starts it again. Dropping the manager (or
/// [`MinerManager::shutdown`]) ends all children and keeps the list.
pub struct ProcessMinerManager {
    settings: Arc<MinerSettings>,
    versions: Option<Arc<Versions>>,
    clock: Clock,
    /// Who runs. Never held across a file or a wait (the thread of a crashed miner ends at once).
    inner: Mutex<Inner>,
    /// What is to run. Held while its file is written; taken before or without `inner`, never after.
    desired: Mutex<Desired>,
}

struct Inner {
    instances: BTreeMap<String, Arc<Instance>>,
    /// Told to pause; no name is in both.
    paused: BTreeMap<String, Arc<Paused>>,
    rng: Rng,
    stopping: bool,
    /// Why nothing is started.
    held: Option<String>,
}

/// A miner and the way to its thread.
pub(super) struct Instance {
    name: String,
    miner_type: String,
    /// How it was started: how it is resumed.
    request: StartRequest,
    shared: Arc<Shared>,
    orders: Sender<Order>,
    /// `None` before it was started and once somebody waits for its end.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for ProcessMinerManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessMinerManager").field("data_dir", &self.settings.data_dir).finish_non_exhaustive()
    }
}

impl ProcessMinerManager {
    /// Takes over a data folder, which the caller must own: what an earlier run left behind is killed. Starts nothing.
    /// Miners run what the settings name, and nothing that is deployed: see [`ProcessMinerManager::with_slots`].
    pub fn new(settings: MinerSettings) -> Result<ProcessMinerManager> {
        ProcessMinerManager::start(settings, None)
    }

    /// As [`ProcessMinerManager::new`], for miners that run installed versions: those of type `xmrig` the current one of
    /// the slot `xmrig`, and any program named `slot:NAME` that of its slot. A version that was just switched to
    /// must prove itself; else the slot goes back to the version before, and the miners with it.
    pub fn with_slots(settings: MinerSettings, slots: Arc<Slots>) -> Result<ProcessMinerManager> {
        ProcessMinerManager::start(settings, Some(slots))
    }

    fn start(settings: MinerSettings, slots: Option<Arc<Slots>>) -> Result<ProcessMinerManager> {
        if std::env::var_os(pidfile::MARK_VARIABLE).is_some() {
            // Else a program that ignores its arguments would start itself without end.
            let cause = "this process was itself started to launch a miner";
            let next = "let MinerSettings::binary be the rigmesh binary, or call rigmesh::hidden::run first in main";
            return Err(Error::Config(format!("{cause}: {next}")));
        }
        let settings = settings.absolute()?;
        for name in pidfile::clean_leftovers(&settings.run_folder()) {
            log::warn!(target: "miner", miner = name.as_str(); "killed a process that an earlier run left behind");
        }
        let desired = Desired::load(settings.data_dir.join("desired.json"))?;
        let (instances, paused, held) = (BTreeMap::new(), BTreeMap::new(), desired.held().cloned());
        let inner = Inner { instances, paused, rng: system_rng()?, stopping: false, held };
        let (clock, inner, desired) = (Clock::start(), inner.into(), desired.into());
        let versions = slots.map(|slots| Arc::new(Versions::new(slots, settings.policy.clone())));
        Ok(ProcessMinerManager { settings: Arc::new(settings), versions, clock, inner, desired })
    }

    /// Starts what was running when the last run ended, however it ended. Each miner with its result; one that cannot be
    /// started stays on the list.
    pub fn restore(&self, profiles: &dyn ProfileManager) -> Vec<(String, Result<()>)> {
        let (entries, held) = {
            let desired = self.desired.lock();
            (desired.entries().to_vec(), desired.held().is_some())
        };
        let request = |entry: &Entry| {
            let profile = entry.profile_id.as_deref().map(|id| profiles.profile(id)).transpose()?;
            Ok(StartRequest { miner_type: entry.miner_type.clone(), profile, config: entry.config.clone() })
        };
        let start = |entry: &Entry| {
            check_profile_id(&entry.name)?;
            if entry.paused || held {
                let paused = Paused::new(&entry.name, &entry.miner_type, request(entry), None);
                self.inner.lock().paused.insert(entry.name.clone(), paused);
                return Ok(());
            }
            let (instance, driver) = self.enter(&request(entry)?, Some(&entry.name), None)?;
            self.run(&instance, driver)
        };
        entries.iter().map(|entry| (entry.name.clone(), start(entry))).collect()
    }

    /// Checks a request and takes a name and a place for its miner.
    fn enter(
        &self,
        request: &StartRequest,
        name: Option<&str>,
        settled: Option<Sender<Result<()>>>,
    ) -> Result<(Arc<Instance>, Driver)> {
        let miner_type = request.miner_type.as_str();
        if let Some(profile) = request.profile.as_ref().filter(|profile| profile.miner_type != miner_type) {
            let is_for = profile.miner_type.as_str();
            return Err(Error::Failed(format!(
                "the profile {} is for {is_for} miners, not for {miner_type:?}",
                profile.id
            )));
        }
        let config = effective(miner_type, request.profile.as_ref().map(|p| &p.config), request.config.as_ref())?;
        let plan = Plan::new(&self.settings, self.versions.as_deref(), miner_type, config)?;
        let slot = self.versions.as_ref().zip(plan.program().and_then(|program| program.slot()));
        let slot = slot.map(|(versions, slot)| (Arc::clone(versions), slot.to_owned()));
        let mut inner = self.inner.lock();
        inner.check_open()?;
        let name = match name.or(request.profile.as_ref().map(|profile| profile.id.as_str())) {
            Some(name) => name.to_owned(),
            None => free_name(&inner, miner_type),
        };
        check_profile_id(&name)?;
        if inner.paused.contains_key(&name) {
            return Err(Error::Failed(format!("{name} is paused: resume it, or stop it first")));
        }
        if let Some(old) = inner.instances.get(&name) {
            if old.state() != MinerState::Crashed || !old.end(Duration::ZERO) {
                return Err(Error::Failed(format!("already running: {name}")));
            }
            inner.instances.remove(&name);
        }
        if inner.instances.len() + inner.paused.len() >= self.settings.miners_max {
            return Err(Refusal::Limit(format!("{} miners on this rig", self.settings.miners_max)).into());
        }
        let supervisor = Supervisor::new(self.settings.policy.clone(), plan.has_api(), inner.rng.fork());
        let console = Console::new(self.settings.log_lines_max, self.settings.log_bytes_max);
        let shared = Arc::new(Shared::new(self.clock, supervisor, console, slot)?);
        let (orders, receiver) = bounded(ORDERS_MAX);
        let rng = inner.rng.fork();
        if let Some((versions, slot)) = &shared.slot {
            let miner: Arc<dyn Wake> = shared.clone();
            versions.enlist(slot, Arc::downgrade(&miner));
        }
        let driver = Driver::new(&name, Arc::clone(&self.settings), plan, rng, Arc::clone(&shared), receiver, settled);
        let instance = Arc::new(Instance {
            name: name.clone(),
            miner_type: miner_type.to_owned(),
            request: request.clone(),
            shared,
            orders,
            thread: Mutex::new(None),
        });
        inner.instances.insert(name, Arc::clone(&instance));
        Ok((instance, driver))
    }

    /// Starts the thread of a miner that has its place.
    fn run(&self, instance: &Arc<Instance>, driver: Driver) -> Result<()> {
        let thread = std::thread::Builder::new()
            .name(format!("miner/{}", instance.name))
            .stack_size(STACK_BYTES)
            .spawn(move || driver.run());
        match thread {
            Ok(thread) => {
                *instance.thread.lock() = Some(thread);
                let open = self.inner.lock().check_open();
                if open.is_err() {
                    // A shutdown or a pause of the rig that came meanwhile did not see the thread.
                    instance.end(Duration::ZERO);
                    self.leave(instance);
                }
                open
            }
            Err(e) => {
                self.leave(instance);
                Err(Error::io("cannot start a thread for the miner", &e))
            }
        }
    }

    fn leave(&self, instance: &Arc<Instance>) {
        let mut inner = self.inner.lock();
        if inner.instances.get(&instance.name).is_some_and(|other| Arc::ptr_eq(other, instance)) {
            inner.instances.remove(&instance.name);
        }
    }

    fn find(&self, name: &str) -> Result<Arc<Instance>> {
        let found = self.inner.lock().instances.get(name).cloned();
        found.ok_or_else(|| Error::NotFound(format!("no miner named {name:?} is running on this rig")))
    }
}

impl MinerManager for ProcessMinerManager {
    /// Returns once the miner answered, or has not failed within [`MinerSettings::settle`]. A miner that dies before
    /// that is an error with its last lines, and is not started again.
    fn start_miner(&self, request: &StartRequest) -> Result<Arc<dyn MinerInstance>> {
        let (settled, outcome) = bounded(1);
        let (instance, driver) = self.enter(request, None, Some(settled))?;
        let entry = Entry {
            name: instance.name.clone(),
            miner_type: instance.miner_type.clone(),
            profile_id: request.profile.as_ref().map(|profile| profile.id.clone()),
            config: request.config.clone(),
            paused: false,
        };
        if let Err(e) = self.desired.lock().add(entry) {
            self.leave(&instance);
            return Err(e);
        }
        let started = self.run(&instance, driver).and_then(|()| {
            // A time-out is the usual good end of a miner without an API.
            outcome.recv_timeout(self.settings.settle).unwrap_or(Ok(()))
        });
        let Err(e) = started else { return Ok(instance) };
        if let Err(e) = self.desired.lock().remove(&instance.name) {
            log::error!(target: "miner", miner = instance.name.as_str(), error:% = e; "a miner that failed to start stays on the list of those to run");
        }
        instance.end(Duration::ZERO);
        self.leave(&instance);
        Err(if e == Error::ShuttingDown { e } else { Error::Failed(format!("{} did not start: {e}", instance.name)) })
    }

    fn pause_miner(&self, name: &str) -> Result<()> {
        if self.inner.lock().paused.contains_key(name) {
            return Ok(());
        }
        let instance = self.find(name)?;
        self.desired.lock().pause(name, true)?;
        if !instance.end(self.settings.policy.stop_grace) {
            self.desired.lock().pause(name, false)?;
            return Err(Error::Failed(format!("{name} is being started or stopped already")));
        }
        let paused = Paused::new(name, &instance.miner_type, Ok(instance.request.clone()), Some(instance.clone()));
        let mut inner = self.inner.lock();
        inner.instances.retain(|_, other| !Arc::ptr_eq(other, &instance));
        inner.paused.insert(name.to_owned(), paused);
        Ok(())
    }

    fn resume_miner(&self, name: &str) -> Result<()> {
        let Some(paused) = self.inner.lock().paused.get(name).cloned() else { return self.find(name).map(drop) };
        let request = paused.request()?;
        self.desired.lock().pause(name, false)?;
        self.inner.lock().paused.remove(name);
        let started = self.enter(&request, Some(name), None).and_then(|(instance, driver)| self.run(&instance, driver));
        if let Err(e) = started {
            self.inner.lock().paused.insert(name.to_owned(), paused);
            self.desired.lock().pause(name, true)?;
            return Err(e);
        }
        Ok(())
    }

    fn hold(&self, why: Option<&str>) -> Result<()> {
        let why = why.map(|why| why.chars().take(HELD_CHARS_MAX).collect::<String>());
        // One lock over both, so that what is in memory is what is on disk.
        let mut desired = self.desired.lock();
        desired.hold(why.as_deref())?;
        self.inner.lock().held = why;
        Ok(())
    }

    fn held(&self) -> Option<String> {
        self.inner.lock().held.clone()
    }

    fn stop_miner(&self, name: &str) -> Result<()> {
        if self.inner.lock().paused.contains_key(name) {
            self.desired.lock().remove(name)?;
            self.inner.lock().paused.remove(name);
            return Ok(());
        }
        let instance = self.find(name)?;
        let cleared = self.desired.lock().remove(name);
        if !instance.end(self.settings.policy.stop_grace) {
            return Err(Error::Failed(format!("{name} is being started or stopped already")));
        }
        self.leave(&instance);
        cleared.map_err(|e| Error::Failed(format!("{name} was stopped, but will run again after a restart: {e}")))
    }

    fn list_miners(&self) -> Vec<Arc<dyn MinerInstance>> {
        let inner = self.inner.lock();
        let running = inner.instances.iter().map(|(name, i)| (name, i.clone() as Arc<dyn MinerInstance>));
        let paused = inner.paused.iter().map(|(name, p)| (name, p.clone() as Arc<dyn MinerInstance>));
        running.chain(paused).collect::<BTreeMap<_, _>>().into_values().collect()
    }

    fn miner(&self, name: &str) -> Result<Arc<dyn MinerInstance>> {
        let paused = self.inner.lock().paused.get(name).cloned();
        if let Some(paused) = paused {
            return Ok(paused);
        }
        Ok(self.find(name)?)
    }

    fn version_switched(&self, slot: &str) {
        if let Some(versions) = &self.versions {
            versions.switched(slot);
        }
    }

    fn shutdown(&self, deadline: Duration) {
        let instances: Vec<_> = {
            let mut inner = self.inner.lock();
            inner.stopping = true;
            inner.instances.values().cloned().collect()
        };
        let grace = deadline.min(self.settings.policy.stop_grace);
        instances.iter().for_each(|instance| instance.order_stop(grace));
        for instance in instances {
            instance.end(grace);
            self.leave(&instance);
        }
    }
}

impl Inner {
    /// Whether anything may be started.
    fn check_open(&self) -> Result<()> {
        match &self.held {
            _ if self.stopping => Err(Error::ShuttingDown),
            Some(why) => Err(Error::Failed(format!("all miners of this rig are paused ({why}): resume the rig first"))),
            None => Ok(()),
        }
    }
}

impl Drop for ProcessMinerManager {
    fn drop(&mut self) {
        self.shutdown(self.settings.policy.stop_grace);
    }
}

impl Instance {
    fn state(&self) -> MinerState {
        self.shared.supervisor.lock().state(self.shared.clock.mono())
    }

    fn order_stop(&self, grace: Duration) {
        // Full or closed: it is ending already.
        let _ = self.orders.try_send(Order::Stop { grace });
        self.shared.wake();
    }

    /// Ends the miner and waits until it is gone; false, at once, when it has no thread yet or somebody else waits.
    fn end(&self, grace: Duration) -> bool {
        let Some(thread) = self.thread.lock().take() else { return false };
        self.order_stop(grace);
        if thread.join().is_err() {
            log::error!(target: "miner", miner = self.name.as_str(); "the thread of this miner had failed");
        }
        true
    }
}

impl MinerInstance for Instance {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn miner_type(&self) -> String {
        self.miner_type.clone()
    }

    fn stats(&self) -> Result<MinerStats> {
        let mut stats = self.shared.supervisor.lock().stats(self.shared.clock.mono(), &self.name, &self.miner_type);
        let rolled_back = self.shared.slot.as_ref().and_then(|(versions, slot)| versions.note(slot));
        stats.note = match (rolled_back, stats.note) {
            (Some(rolled_back), Some(note)) => Some(format!("{rolled_back}; {note}")),
            (rolled_back, note) => rolled_back.or(note),
        };
        Ok(stats)
    }

    fn console_history(&self, lines: usize, since_ms: Option<i64>) -> LogSlice {
        self.shared.console.lock().slice(lines, since_ms)
    }
}

/// The first of `TYPE-1`, `TYPE-2`, … that nobody has.
fn free_name(inner: &Inner, miner_type: &str) -> String {
    let taken = |name: &String| inner.instances.contains_key(name) || inner.paused.contains_key(name);
    (1..).map(|n: u64| format!("{miner_type}-{n}")).find(|name| !taken(name)).unwrap_or_default()
}
