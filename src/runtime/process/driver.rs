//! The thread of one miner: it owns the child, sleeps in one `poll` call until output, an answer, an end, an
//! order or a deadline comes, and does what the supervisor says.

use super::child::Running;
use super::http::Call;
use super::plan::{MinerSettings, Plan, config_file};
use super::versions::{Program, Runner, Versions, Wake};
use crate::base::{Error, Result, Rng, Time};
use crate::miners::MinerState;
use crate::miners::console::Console;
use crate::miners::supervise::{Exit, Output, Reading, Supervisor};
use crate::miners::xmrig::{Summary, parse_backends, parse_summary};
use crate::runtime::clock::{Clock, wall};
use crate::runtime::files::atomic;
use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::Signal;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often a child is looked after on kernels that cannot announce its end (before 5.3).
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What others see of a miner. Both locks are leaves, held for a moment.
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) supervisor: Mutex<Supervisor>,
    pub(super) console: Mutex<Console>,
    /// The slot its program comes from, and what is known of its versions.
    pub(super) slot: Option<(Arc<Versions>, String)>,
    /// Wakes the thread; orders lie in its channel.
    waker: OwnedFd,
}

/// An order to a miner's thread.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// End it: told first, killed after the grace.
    Stop { grace: Duration },
}

impl Shared {
    pub(super) fn new(
        clock: Clock,
        supervisor: Supervisor,
        console: Console,
        slot: Option<(Arc<Versions>, String)>,
    ) -> Result<Shared> {
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| Error::Failed(format!("cannot make an event descriptor: {e}")))?;
        Ok(Shared { clock, supervisor: supervisor.into(), console: console.into(), slot, waker })
    }
}

impl Wake for Shared {
    /// Makes the thread look at its orders.
    fn wake(&self) {
        // Fails only when the counter is full, that is, when it is awake already.
        let _ = rustix::io::write(&self.waker, &1u64.to_ne_bytes());
    }
}

/// One probe under way: the summary, then the backends.
struct Probe {
    call: Call,
    summary: Option<Summary>,
    deadline: Time,
}

/// The thread's own things.
pub(super) struct Driver {
    pub(super) name: String,
    pub(super) settings: Arc<MinerSettings>,
    pub(super) plan: Plan,
    pub(super) rng: Rng,
    pub(super) shared: Arc<Shared>,
    pub(super) orders: Receiver<Order>,
    /// Told once: how the first run began.
    pub(super) settled: Option<Sender<Result<()>>>,
    child: Option<Running>,
    /// The version of its slot that was launched last; `None` before, and for what runs from no slot.
    version: Option<u32>,
    api: Option<(u16, String)>,
    probe: Option<Probe>,
    shown: &'static str,
}

/// What woke the thread.
#[derive(Default)]
struct Ready {
    output: bool,
    ended: bool,
    probe: bool,
}

impl Driver {
    pub(super) fn new(
        name: &str,
        settings: Arc<MinerSettings>,
        plan: Plan,
        rng: Rng,
        shared: Arc<Shared>,
        orders: Receiver<Order>,
        settled: Option<Sender<Result<()>>>,
    ) -> Driver {
        Driver {
            name: name.to_owned(),
            settings,
            plan,
            rng,
            shared,
            orders,
            settled,
            child: None,
            version: None,
            api: None,
            probe: None,
            shown: "",
        }
    }

    /// Runs until the supervisor is finished.
    pub(super) fn run(mut self) {
        self.take_orders();
        while !self.act() {
            self.show();
            let ready = self.wait();
            self.take_orders();
            if let Some(child) = self.child.as_mut().filter(|_| ready.output) {
                child.read(&self.shared.console);
            }
            if ready.probe {
                self.advance_probe();
            }
            if ready.ended && self.child.as_ref().is_some_and(Running::has_ended) {
                self.ended();
            }
            self.shared.supervisor.lock().handle_timeout(self.now());
            self.tell(|versions, now, runner| versions.timeout(now, runner));
            self.follow_version();
        }
        self.tell(|versions, now, runner| versions.end(now, runner));
        self.probe = None;
        self.child = None;
        self.show();
        if let Err(e) = atomic::remove(&config_file(&self.settings, &self.name)) {
            log::warn!(target: "miner", miner = self.name.as_str(), error:% = e; "cannot remove a miner's config file");
        }
    }

    fn now(&self) -> Time {
        self.shared.clock.mono()
    }

    fn take_orders(&self) {
        while let Ok(Order::Stop { grace }) = self.orders.try_recv() {
            self.shared.supervisor.lock().handle_stop(self.now(), grace);
        }
    }

    /// Carries out what the supervisor wants; whether it is finished.
    fn act(&mut self) -> bool {
        loop {
            let output = self.shared.supervisor.lock().poll_output();
            match (output, &self.child) {
                (None, _) => return false,
                (Some(Output::Finished), _) => return true,
                (Some(Output::Spawn), _) => self.spawn(),
                (Some(Output::Probe), _) => self.start_probe("/2/summary", None),
                (Some(Output::Terminate), Some(child)) => child.signal(Signal::TERM),
                (Some(Output::Kill), Some(child)) => child.signal(Signal::KILL),
                (Some(Output::Terminate | Output::Kill), None) => {}
            }
        }
    }

    /// Tells the trial of the version that was launched something.
    fn tell(&self, what: impl FnOnce(&Versions, Time, Runner<'_>)) {
        if let (Some(versions), Some(runner)) = (self.versions(), self.runner()) {
            what(versions, self.now(), runner);
        }
    }

    fn versions(&self) -> Option<&Versions> {
        self.shared.slot.as_ref().map(|(versions, _)| &**versions)
    }

    fn runner(&self) -> Option<Runner<'_>> {
        let Program::Slot { name, own } = self.plan.program()? else { return None };
        Some(Runner { slot: name, number: self.version?, miner: &self.name, own: own.is_some() })
    }

    /// Starts the miner anew when another version of its slot is current than the one it was launched with.
    fn follow_version(&mut self) {
        let (Some(versions), Some(runner)) = (self.versions(), self.runner()) else { return };
        let current = versions.number(runner.slot);
        if current != runner.number {
            let (from, to, slot) = (runner.number, current, runner.slot);
            log::info!(target: "miner", miner = self.name.as_str(), slot, from, to; "another version is current");
            versions.end(self.now(), runner);
            self.version = None;
            self.shared.supervisor.lock().handle_restart(self.now());
        }
    }

    /// The program to launch. A version on trial that may not be launched any more makes room for another.
    fn choose_program(&mut self) -> Result<PathBuf> {
        let Some(program) = self.plan.program() else { return Ok(PathBuf::new()) };
        let Some(slot) = program.slot() else { return Ok(program.resolve(None)?.0) };
        let versions = self.shared.slot.as_ref().map(|(versions, _)| Arc::clone(versions));
        let versions = versions.as_deref();
        loop {
            // Noted even when there is none, so that the first one to come is noticed.
            self.version = Some(versions.map_or(0, |versions| versions.number(slot)));
            let (path, number) = program.resolve(versions)?;
            self.version = Some(number);
            let (Some(versions), Some(runner)) = (versions, self.runner()) else { return Ok(path) };
            // Ends: a version that may not be launched is current no more.
            if versions.launch(self.shared.clock.mono(), runner, self.plan.has_api()) {
                return Ok(path);
            }
        }
    }

    fn spawn(&mut self) {
        let prepared = self
            .choose_program()
            .and_then(|program| self.plan.prepare(&self.settings, &self.name, &program, &mut self.rng));
        let started = prepared.and_then(|launch| {
            let child = Running::spawn(&self.settings, &self.name, &launch, &mut self.rng)?;
            Ok((child, launch.api))
        });
        match started {
            Ok((child, api)) => {
                log::info!(target: "miner", miner = self.name.as_str(), pid = child.pid(); "started");
                self.shared.supervisor.lock().handle_spawned(self.now(), child.pid());
                (self.child, self.api) = (Some(child), api);
            }
            Err(e) => {
                let missing = matches!(
                    &e,
                    Error::NotFound(_) | Error::Io { kind: ErrorKind::NotFound | ErrorKind::PermissionDenied, .. }
                );
                // Our side of the launch failed (a full disk, say): nothing that speaks against a version.
                self.tell(|versions, now, runner| versions.end(now, runner));
                self.report_exit(&Exit { how: e.to_string(), not_executed: missing, tail: String::new() });
            }
        }
    }

    fn ended(&mut self) {
        self.probe = None;
        if let Some(child) = self.child.take() {
            let exit = child.finish(&self.shared.console);
            self.report_exit(&exit);
        }
    }

    fn report_exit(&mut self, exit: &Exit) {
        let line = format!("rigmesh: {}", exit.how);
        self.shared.console.lock().push(wall().unix_millis(), line);
        let why = if exit.tail.is_empty() { exit.how.clone() } else { format!("{}: {}", exit.how, exit.tail) };
        if self.shared.supervisor.lock().state(self.now()) == MinerState::Stopping {
            self.tell(|versions, now, runner| versions.end(now, runner));
        } else {
            self.tell(|versions, now, runner| versions.exit(now, runner, exit.not_executed, &why));
        }
        self.shared.supervisor.lock().handle_exit(self.now(), exit);
        log::info!(target: "miner", miner = self.name.as_str(), how = exit.how.as_str(); "ended");
        let goes_on = self.versions().zip(self.runner()).is_some_and(|(v, r)| v.number(r.slot) != r.number);
        if !goes_on {
            self.settle(Err(Error::Failed(why)));
        }
    }

    fn settle(&mut self, how: Result<()>) {
        if let Some(settled) = self.settled.take() {
            // Nobody waits any more: fine.
            let _ = settled.try_send(how);
        }
    }

    fn start_probe(&mut self, path: &str, summary: Option<Summary>) {
        let Some((port, token)) = &self.api else { return };
        let deadline = match &self.probe {
            Some(probe) => probe.deadline,
            None => self.now() + self.settings.policy.probe_deadline,
        };
        match Call::start(*port, path, token) {
            Ok(call) => self.probe = Some(Probe { call, summary, deadline }),
            Err(e) => self.end_probe(summary, Err(e)),
        }
    }

    fn advance_probe(&mut self) {
        let Some(probe) = &mut self.probe else { return };
        let Some(answer) = probe.call.advance() else { return };
        match probe.summary.take() {
            None => match answer.and_then(|body| parse_summary(&body)) {
                Ok(summary) => self.start_probe("/2/backends", Some(summary)),
                Err(e) => self.end_probe(None, Err(e)),
            },
            Some(summary) => self.end_probe(Some(summary), answer.and_then(|body| parse_backends(&body))),
        }
    }

    /// A summary without backends is a result; backends without a summary are not.
    fn end_probe(&mut self, summary: Option<Summary>, threads: Result<u32>) {
        self.probe = None;
        let found = match (summary, threads) {
            (Some(summary), threads) => Ok(Reading { summary, cpu_threads: threads.ok() }),
            (None, Err(e)) => Err(e),
            (None, Ok(_)) => Err(Error::malformed("miner summary", "missing")),
        };
        if let Ok(Reading { summary, .. }) = &found {
            let (hashing, paused) = (summary.hashrate_hs.is_some_and(|rate| rate > 0.0), summary.paused);
            self.tell(|versions, now, runner| versions.reading(now, runner, hashing, paused));
            self.settle(Ok(()));
        }
        self.shared.supervisor.lock().handle_probe(self.now(), found);
    }

    /// Sleeps until something happens.
    fn wait(&mut self) -> Ready {
        let now = self.now();
        if self.probe.as_ref().is_some_and(|probe| probe.deadline <= now) {
            let summary = self.probe.take().and_then(|probe| probe.summary);
            let limit = self.settings.policy.probe_deadline;
            self.end_probe(summary, Err(Error::TimedOut(format!("no answer within {limit:?}"))));
            return Ready::default();
        }
        let child = self.child.as_ref();
        let blind = child.is_some_and(|child| child.pidfd().is_none());
        let next = [
            self.shared.supervisor.lock().poll_timeout(),
            self.versions().zip(self.runner()).and_then(|(versions, runner)| versions.poll_timeout(runner)),
            self.probe.as_ref().map(|probe| probe.deadline),
            blind.then(|| now + LOOK_EVERY),
        ];
        let timeout = next.into_iter().flatten().min().map(|at| round_up(at - now));
        let mut fds = vec![PollFd::new(&self.shared.waker, PollFlags::IN)];
        let pipes = child.map(|child| child.pipes().collect::<Vec<_>>()).unwrap_or_default();
        fds.extend(pipes.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        let pidfd = child.and_then(Running::pidfd);
        fds.extend(pidfd.iter().map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
        let socket = self.probe.as_ref().map(|probe| probe.call.socket());
        let wants_write = self.probe.as_ref().is_some_and(|probe| probe.call.wants_write());
        let flags = if wants_write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        fds.extend(socket.iter().map(|socket| PollFd::new(socket, flags)));
        if let Err(e) = poll(&mut fds, timeout.as_ref())
            && e != rustix::io::Errno::INTR
        {
            // No memory in the kernel: look at everything, a little later.
            std::thread::sleep(LOOK_EVERY);
            return Ready { output: true, ended: true, probe: self.probe.is_some() };
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        if ready.next().unwrap_or(false) {
            let _ = rustix::io::read(&self.shared.waker, &mut [0; 8]);
        }
        let output = ready.by_ref().take(pipes.len()).fold(false, |any, one| any | one);
        let ended = if pidfd.is_some() { ready.next().unwrap_or(false) } else { blind };
        Ready { output, ended, probe: ready.next().unwrap_or(false) }
    }

    /// Logs a change of state.
    fn show(&mut self) {
        let stats = self.shared.supervisor.lock().stats(self.now(), &self.name, "");
        let word = stats.state.word();
        if word != self.shown {
            self.shown = word;
            let note = stats.note.unwrap_or_default();
            log::info!(target: "miner", miner = self.name.as_str(), state = word, note = note.as_str(); "state changed");
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if std::thread::panicking() {
            log::error!(target: "miner", miner = self.name.as_str(); "the thread of this miner failed; the miner is killed");
            let how = "the thread of this miner failed".to_owned();
            let exit = Exit { how, not_executed: true, tail: String::new() };
            self.shared.supervisor.lock().handle_exit(self.now(), &exit);
        }
    }
}

/// Rounded up to a whole millisecond, so that a timer is not looked at just before it is due.
fn round_up(d: Duration) -> Timespec {
    let d = d + Duration::from_micros(999);
    Timespec {
        tv_sec: i64::try_from(d.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(d.subsec_millis()) * 1_000_000,
    }
}
