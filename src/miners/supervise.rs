//! One child process as a machine: it says when to spawn, probe, terminate and kill, and what state
//! the miner is in. The thread that drives it (`miner/<name>`) has the process and the clock.
//!
//! ```text
//! Spawning → Alive → (exit) → BackingOff → Spawning …      five crashes in five minutes, or a program
//!               ↓ stop                                      that cannot be executed → Crashed
//!            Stopping (terminate, 10 s, kill) → Stopped
//! ```
//! Order of calls: after [`Output::Spawn`] the driver calls `handle_spawned` or `handle_exit` before anything
//! else; after [`Output::Probe`] it calls `handle_probe` once, unless the process has ended.

use super::xmrig::Summary;
use super::{MinerState, MinerStats};
use crate::base::{Result, Rng, Time};
use std::collections::VecDeque;
use std::time::Duration;

/// How soon after its start a miner is first asked for its statistics, and how often until it hashes.
const FIRST_PROBE_AFTER: Duration = Duration::from_millis(200);
const STARTING_PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a killed process may take to vanish (it may hang in the kernel) before it is given up.
const KILL_GRACE: Duration = Duration::from_secs(5);
/// The longest note.
const NOTE_CHARS_MAX: usize = 400;

/// The times of supervision. The defaults are those of miners.md.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How long a miner may take until it hashes (RandomX builds a dataset first). Default 60 s.
    pub grace: Duration,
    /// The first pause after a crash; each further one is twice as long. Default 1 s.
    pub backoff_min: Duration,
    /// The longest pause. Default 5 min.
    pub backoff_max: Duration,
    /// A run this long makes the next pause the first one again. Default 10 min.
    pub healthy_after: Duration,
    /// So many crashes within [`Policy::crash_window`] end the restarts. Default 5.
    pub crashes_max: usize,
    /// See [`Policy::crashes_max`]. Default 5 min.
    pub crash_window: Duration,
    /// How long a miner may take to end after it was told to, before it is killed. Default 10 s.
    pub stop_grace: Duration,
    /// How often a miner is asked for its statistics. Default 10 s.
    pub probe_interval: Duration,
    /// How long an answer may take. Default 5 s.
    pub probe_deadline: Duration,
    /// A share accepted within this time counts as earning. Default 10 min.
    pub earning_window: Duration,
}

impl Default for Policy {
    fn default() -> Policy {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Policy {
            grace: minutes(1),
            backoff_min: Duration::from_secs(1),
            backoff_max: minutes(5),
            healthy_after: minutes(10),
            crashes_max: 5,
            crash_window: minutes(5),
            stop_grace: Duration::from_secs(10),
            probe_interval: Duration::from_secs(10),
            probe_deadline: Duration::from_secs(5),
            earning_window: minutes(10),
        }
    }
}

/// What the driver has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Start the process.
    Spawn,
    /// Ask it for its statistics, within [`Policy::probe_deadline`].
    Probe,
    /// Tell its group to end.
    Terminate,
    /// Kill its group.
    Kill,
    /// It is over: nothing will be asked for again.
    Finished,
}

/// What a probe found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The miner's own summary.
    pub summary: Summary,
    /// CPU threads at work, when the miner told.
    pub cpu_threads: Option<u32>,
}

/// How a process ended, or why there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// In words: `exited with status 1`, `killed by signal 9`, `cannot execute /x: not found`.
    pub how: String,
    /// The program could not be executed: trying again cannot help.
    pub not_executed: bool,
    /// Its last lines.
    pub tail: String,
}

#[derive(Debug)]
enum Phase {
    Spawning,
    Alive(Run),
    BackingOff { until: Time },
    Crashed,
    Stopping { run: Run, next: Time, killed: bool },
    Stopped,
}

/// One run of the process.
#[derive(Clone, Debug)]
struct Run {
    pid: u32,
    since: Time,
    /// When to probe next; `None` while a probe is out, or when there is no API.
    probe_at: Option<Time>,
    reading: Option<(Time, Reading)>,
    failure: Option<String>,
    hashed: bool,
    last_share: Option<Time>,
}

/// One miner's life. Times are monotonic.
#[derive(Debug)]
pub struct Supervisor {
    policy: Policy,
    api: bool,
    rng: Rng,
    phase: Phase,
    stop_grace: Option<Duration>,
    /// It is being ended only to be started anew.
    restart: bool,
    /// Crashes since the last healthy run: the exponent of the pause.
    streak: u32,
    crashes: VecDeque<Time>,
    restarts: u32,
    note: Option<String>,
    outputs: VecDeque<Output>,
}

impl Supervisor {
    /// A miner that is to run from now on: the first output is [`Output::Spawn`]. `api`: whether it has
    /// statistics to ask for.
    pub fn new(policy: Policy, api: bool, rng: Rng) -> Supervisor {
        Supervisor {
            policy,
            api,
            rng,
            phase: Phase::Spawning,
            stop_grace: None,
            restart: false,
            streak: 0,
            crashes: VecDeque::new(),
            restarts: 0,
            note: None,
            outputs: VecDeque::from([Output::Spawn]),
        }
    }

    /// The process was started.
    pub fn handle_spawned(&mut self, now: Time, pid: u32) {
        let Phase::Spawning = self.phase else { return };
        let first = FIRST_PROBE_AFTER.min(self.policy.probe_interval);
        let probe_at = self.api.then(|| now + first);
        let run = Run { pid, since: now, probe_at, reading: None, failure: None, hashed: false, last_share: None };
        self.phase = Phase::Alive(run);
        if let Some(grace) = self.stop_grace {
            self.begin_stop(now, grace);
        } else if self.restart {
            self.begin_stop(now, self.policy.stop_grace);
        }
    }

    /// The process ended, or could not be started.
    pub fn handle_exit(&mut self, now: Time, exit: &Exit) {
        let ran = match &self.phase {
            Phase::Alive(run) => now - run.since,
            Phase::Spawning => Duration::ZERO,
            Phase::Stopping { .. } if self.restart && self.stop_grace.is_none() => return self.begin_anew(),
            Phase::Stopping { .. } => return self.finish(Some(exit.how.clone())),
            Phase::BackingOff { .. } | Phase::Crashed | Phase::Stopped => return,
        };
        self.outputs.clear();
        let why = if exit.tail.is_empty() { exit.how.clone() } else { format!("{}: {}", exit.how, exit.tail) };
        if self.stop_grace.is_some() {
            return self.finish(Some(why));
        }
        if self.restart {
            return self.begin_anew();
        }
        if ran >= self.policy.healthy_after {
            self.streak = 0;
            self.crashes.clear();
        }
        self.crashes.push_back(now);
        let window = self.policy.crash_window;
        self.crashes.retain(|at| now - *at <= window);
        if exit.not_executed {
            self.phase = Phase::Crashed;
            self.set_note(&why);
        } else if self.crashes.len() >= self.policy.crashes_max.max(1) {
            self.phase = Phase::Crashed;
            let (count, seconds) = (self.crashes.len(), window.as_secs());
            self.set_note(&format!("not restarted after {count} crashes within {seconds} s: {why}"));
        } else {
            self.phase = Phase::BackingOff { until: now + self.pause() };
            self.streak = self.streak.saturating_add(1);
            self.set_note(&why);
        }
    }

    /// What a probe found, or why it found nothing.
    pub fn handle_probe(&mut self, now: Time, found: Result<Reading>) {
        let policy = &self.policy;
        let Phase::Alive(run) = &mut self.phase else { return };
        match found {
            Ok(mut reading) => {
                let before = run.reading.as_ref().map(|(_, r)| r);
                if reading.summary.shares > before.map_or(0, |r| r.summary.shares) && before.is_some() {
                    run.last_share = Some(now);
                }
                reading.cpu_threads = reading.cpu_threads.or_else(|| before.and_then(|r| r.cpu_threads));
                run.hashed |= reading.summary.hashrate_hs.is_some_and(|rate| rate > 0.0);
                run.reading = Some((now, reading));
                run.failure = None;
            }
            Err(why) => run.failure = Some(why.to_string()),
        }
        let starting = !run.hashed && now - run.since < policy.grace;
        let interval =
            if starting { policy.probe_interval.min(STARTING_PROBE_INTERVAL) } else { policy.probe_interval };
        run.probe_at = Some(now + interval);
    }

    /// The miner shall end: told first, killed after `grace` ([`Policy::stop_grace`] is the usual one).
    /// A second call can only shorten the grace.
    pub fn handle_stop(&mut self, now: Time, grace: Duration) {
        self.stop_grace = Some(grace);
        match &mut self.phase {
            Phase::Alive(_) => self.begin_stop(now, grace),
            Phase::Spawning if self.outputs.contains(&Output::Spawn) => self.finish(None),
            // The driver is about to say how the spawn went.
            Phase::Spawning => {}
            Phase::Stopping { next, killed: false, .. } => *next = (*next).min(now + grace),
            Phase::Stopping { .. } | Phase::Stopped => {}
            Phase::BackingOff { .. } | Phase::Crashed => self.finish(None),
        }
    }

    /// Its program is another one now: it is ended, with the usual grace, and started anew. That is no crash, and what
    /// crashed before does not count any more. A miner that is being stopped stays so.
    pub fn handle_restart(&mut self, now: Time) {
        match &self.phase {
            Phase::Alive(_) => {
                self.restart = true;
                self.begin_stop(now, self.policy.stop_grace);
            }
            // The driver has not looked for the program yet.
            Phase::Spawning if self.outputs.contains(&Output::Spawn) => {}
            Phase::Spawning => self.restart = true,
            Phase::BackingOff { .. } | Phase::Crashed => self.begin_anew(),
            Phase::Stopping { .. } | Phase::Stopped => {}
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        match &mut self.phase {
            Phase::Alive(run) if run.probe_at.is_some_and(|at| at <= now) => {
                run.probe_at = None;
                self.outputs.push_back(Output::Probe);
            }
            Phase::BackingOff { until } if *until <= now => {
                self.phase = Phase::Spawning;
                self.restarts = self.restarts.saturating_add(1);
                self.outputs.push_back(Output::Spawn);
            }
            Phase::Stopping { next, killed, .. } if *next <= now => {
                if *killed {
                    return self.finish(Some("did not vanish after it was killed".into()));
                }
                *killed = true;
                *next = now + KILL_GRACE;
                self.outputs.push_back(Output::Kill);
            }
            _ => {}
        }
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Supervisor::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Time> {
        match &self.phase {
            Phase::Alive(run) => run.probe_at,
            Phase::BackingOff { until } => Some(*until),
            Phase::Stopping { next, .. } => Some(*next),
            Phase::Spawning | Phase::Crashed | Phase::Stopped => None,
        }
    }

    /// How far the miner has got.
    pub fn state(&self, now: Time) -> MinerState {
        match &self.phase {
            Phase::Spawning => MinerState::Starting,
            Phase::Alive(run) => self.alive_state(now, run),
            Phase::BackingOff { until } => {
                let left = until.since(now).as_millis();
                MinerState::BackingOff { retry_in_ms: u64::try_from(left).unwrap_or(u64::MAX) }
            }
            Phase::Crashed => MinerState::Crashed,
            Phase::Stopping { .. } => MinerState::Stopping,
            Phase::Stopped => MinerState::Stopped,
        }
    }

    /// The whole picture.
    pub fn stats(&self, now: Time, name: &str, miner_type: &str) -> MinerStats {
        let mut stats = MinerStats::new(name, miner_type, self.state(now));
        stats.restarts = self.restarts;
        stats.note = self.note.clone();
        let (Phase::Alive(run) | Phase::Stopping { run, .. }) = &self.phase else { return stats };
        stats.pid = Some(run.pid);
        stats.uptime_s = (now - run.since).as_secs();
        if let Some((_, reading)) = &run.reading {
            let summary = &reading.summary;
            (stats.shares, stats.rejected) = (summary.shares, summary.rejected);
            (stats.pool, stats.algorithm) = (summary.pool.clone(), summary.algorithm.clone());
            stats.cpu_threads = reading.cpu_threads.unwrap_or(0);
        }
        let fresh = self.fresh(now, run);
        stats.hashrate_hs = fresh.and_then(|r| r.summary.hashrate_hs);
        stats.note = match (fresh, &run.failure) {
            _ if !self.api => Some("no statistics: this type has no API".into()),
            (None, Some(why)) => Some(cut(&format!("hashrate unknown, the API does not answer: {why}"))),
            (None, None) => Some("hashrate unknown: not asked yet".into()),
            (Some(r), _) if r.summary.hashrate_hs.is_none() => Some("hashrate not measured yet".into()),
            (Some(_), _) => None,
        };
        stats
    }

    fn alive_state(&self, now: Time, run: &Run) -> MinerState {
        if !self.api {
            return MinerState::Running;
        }
        match self.fresh(now, run).map(|r| &r.summary) {
            Some(s) if s.paused => MinerState::Paused,
            Some(s) if s.hashrate_hs.is_some_and(|rate| rate > 0.0) => {
                let lately = run.last_share.is_some_and(|at| now - at <= self.policy.earning_window);
                if lately || (s.connected && s.accepted > 0) { MinerState::Earning } else { MinerState::Hashing }
            }
            _ if !run.hashed && now - run.since < self.policy.grace => MinerState::Starting,
            _ => MinerState::Running,
        }
    }

    /// The last reading, unless so many probes have failed since that it says nothing about now.
    fn fresh<'a>(&self, now: Time, run: &'a Run) -> Option<&'a Reading> {
        let stale_after = self.policy.probe_interval * 2 + self.policy.probe_deadline;
        run.reading.as_ref().filter(|(at, _)| now - *at <= stale_after).map(|(_, reading)| reading)
    }

    fn begin_stop(&mut self, now: Time, grace: Duration) {
        if let Phase::Alive(run) = &self.phase {
            self.phase = Phase::Stopping { run: run.clone(), next: now + grace, killed: false };
            self.outputs.clear();
            self.outputs.push_back(Output::Terminate);
        }
    }

    fn begin_anew(&mut self) {
        (self.restart, self.streak, self.note) = (false, 0, None);
        self.crashes.clear();
        self.phase = Phase::Spawning;
        self.outputs.clear();
        self.outputs.push_back(Output::Spawn);
    }

    fn finish(&mut self, note: Option<String>) {
        self.phase = Phase::Stopped;
        self.note = note.as_deref().map(cut);
        self.outputs.clear();
        self.outputs.push_back(Output::Finished);
    }

    /// Doubling from the shortest to the longest pause, less up to a quarter, so that the rigs of a farm
    /// whose pool went away do not all come back in the same second.
    fn pause(&mut self) -> Duration {
        let factor = 1u32.checked_shl(self.streak).unwrap_or(u32::MAX);
        let full = self.policy.backoff_min.saturating_mul(factor).min(self.policy.backoff_max);
        let micros = u64::try_from(full.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(micros - self.rng.below(micros / 4))
    }

    fn set_note(&mut self, note: &str) {
        self.note = Some(cut(note));
    }
}

fn cut(note: &str) -> String {
    note.chars().take(NOTE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Error;

    /// A supervisor under a virtual clock.
    struct Rig {
        s: Supervisor,
        now: Time,
    }

    fn rig(api: bool) -> Rig {
        let mut rig = Rig { s: Supervisor::new(Policy::default(), api, Rng::from_number(7)), now: Time::ZERO };
        rig.expect(&[Output::Spawn]);
        rig.s.handle_spawned(rig.now, 42);
        rig
    }

    impl Rig {
        fn expect(&mut self, want: &[Output]) {
            let got: Vec<_> = std::iter::from_fn(|| self.s.poll_output()).collect();
            assert_eq!(got, want, "at {:?}", self.now);
        }
        fn elapse(&mut self, seconds: u64) {
            self.now = self.now + Duration::from_secs(seconds);
            self.s.handle_timeout(self.now);
        }
        /// Goes to the next moment the machine asks for.
        fn next(&mut self) -> Duration {
            let at = self.s.poll_timeout().expect("a timeout");
            let passed = at - self.now;
            self.now = self.now.max(at);
            self.s.handle_timeout(self.now);
            passed
        }
        fn exit(&mut self) {
            let exit = Exit { how: "exited with status 1".into(), not_executed: false, tail: "no pool".into() };
            self.s.handle_exit(self.now, &exit);
        }
        fn probe(&mut self, rate: Option<f64>, shares: u64) {
            self.expect(&[Output::Probe]);
            let summary = Summary { hashrate_hs: rate, shares, ..Summary::default() };
            self.s.handle_probe(self.now, Ok(Reading { summary, cpu_threads: Some(2) }));
        }
        fn state(&self) -> String {
            self.s.state(self.now).to_string()
        }
        fn stats(&self) -> MinerStats {
            self.s.stats(self.now, "main", "xmrig")
        }
    }

    #[test]
    fn a_miner_starts_runs_hashes_and_earns() {
        let mut rig = rig(true);
        assert_eq!(rig.state(), "starting");
        rig.next();
        rig.probe(None, 0);
        assert_eq!((rig.state().as_str(), rig.stats().hashrate_hs), ("starting", None));
        assert_eq!(rig.next(), STARTING_PROBE_INTERVAL);
        rig.probe(Some(700.0), 0);
        assert_eq!((rig.state().as_str(), rig.stats().cpu_threads), ("hashing", 2));
        assert_eq!(rig.next(), Duration::from_secs(10));
        rig.probe(Some(700.0), 1);
        assert_eq!((rig.state().as_str(), rig.stats().shares, rig.stats().pid), ("earning", 1, Some(42)));
    }

    #[test]
    fn earning_ends_when_no_share_comes_any_more() {
        let mut rig = rig(true);
        rig.next();
        rig.probe(Some(1.0), 0);
        rig.next();
        rig.probe(Some(1.0), 1);
        for _ in 0..61 {
            assert_eq!(rig.state(), "earning");
            rig.next();
            rig.probe(Some(1.0), 1);
        }
        assert_eq!(rig.state(), "hashing");
    }

    #[test]
    fn a_connected_pool_that_took_shares_means_earning() {
        let mut rig = rig(true);
        rig.next();
        rig.expect(&[Output::Probe]);
        let summary = Summary { hashrate_hs: Some(1.0), connected: true, accepted: 3, ..Summary::default() };
        rig.s.handle_probe(rig.now, Ok(Reading { summary: summary.clone(), cpu_threads: None }));
        assert_eq!(rig.state(), "earning");
        rig.next();
        rig.expect(&[Output::Probe]);
        rig.s.handle_probe(rig.now, Ok(Reading { summary: Summary { paused: true, ..summary }, cpu_threads: None }));
        assert_eq!(rig.state(), "paused");
    }

    #[test]
    fn a_miner_that_does_not_hash_is_running_only_after_its_grace() {
        let mut rig = rig(true);
        while rig.now < Time::from_millis(61_000) {
            assert_eq!(rig.state() == "starting", rig.now < Time::from_millis(60_000), "at {:?}", rig.now);
            rig.next();
            rig.probe(None, 0);
        }
        assert_eq!(rig.state(), "running");
        assert_eq!(rig.stats().note.unwrap(), "hashrate not measured yet");
    }

    #[test]
    fn a_silent_api_makes_the_hashrate_unknown_not_zero() {
        let mut rig = rig(true);
        rig.next();
        rig.probe(Some(700.0), 4);
        for _ in 0..3 {
            assert_eq!(rig.stats().hashrate_hs, Some(700.0));
            rig.next();
            rig.expect(&[Output::Probe]);
            rig.s.handle_probe(rig.now, Err(Error::TimedOut("no answer within 5 s".into())));
        }
        let stats = rig.stats();
        assert_eq!((stats.state, stats.hashrate_hs, stats.shares), (MinerState::Running, None, 4));
        assert!(stats.note.unwrap().contains("no answer within 5 s"));
    }

    #[test]
    fn a_hashrate_of_zero_after_hashing_is_running_and_zero() {
        let mut rig = rig(true);
        rig.next();
        rig.probe(Some(700.0), 0);
        rig.next();
        rig.probe(Some(0.0), 0);
        assert_eq!((rig.state().as_str(), rig.stats().hashrate_hs), ("running", Some(0.0)));
    }

    #[test]
    fn pauses_double_up_to_five_minutes_and_start_over_after_a_healthy_run() {
        let mut rig = rig(false);
        let mut full = 1.0f64;
        for _ in 0..14 {
            // Each run is long enough to stay below five crashes in five minutes, too short to be healthy.
            rig.elapse(200);
            rig.exit();
            let pause = rig.next().as_secs_f64();
            assert!(pause <= full && pause >= full * 0.75, "{pause} of {full}");
            rig.expect(&[Output::Spawn]);
            rig.s.handle_spawned(rig.now, 43);
            full = (full * 2.0).min(300.0);
        }
        assert_eq!(rig.stats().restarts, 14);
        rig.elapse(600);
        rig.exit();
        assert!(rig.next() <= Duration::from_secs(1));
    }

    #[test]
    fn five_crashes_in_five_minutes_end_the_restarts_and_say_why() {
        let mut rig = rig(true);
        for _ in 0..4 {
            rig.exit();
            assert_eq!(rig.state(), "backing_off");
            rig.next();
            rig.expect(&[Output::Spawn]);
            rig.s.handle_spawned(rig.now, 43);
        }
        rig.exit();
        assert_eq!((rig.state().as_str(), rig.s.poll_timeout()), ("crashed", None));
        assert_eq!(
            rig.stats().note.unwrap(),
            "not restarted after 5 crashes within 300 s: exited with status 1: no pool"
        );
        rig.s.handle_stop(rig.now, Duration::from_secs(10));
        rig.expect(&[Output::Finished]);
        assert_eq!(rig.state(), "stopped");
    }

    #[test]
    fn a_program_that_cannot_be_executed_is_not_tried_again() {
        let mut s = Supervisor::new(Policy::default(), true, Rng::from_number(1));
        assert_eq!(s.poll_output(), Some(Output::Spawn));
        let exit = Exit { how: "cannot execute /x: not found".into(), not_executed: true, tail: String::new() };
        s.handle_exit(Time::ZERO, &exit);
        assert_eq!(s.state(Time::ZERO), MinerState::Crashed);
        assert_eq!(s.stats(Time::ZERO, "a", "b").note.unwrap(), exit.how);
    }

    #[test]
    fn a_stop_terminates_then_kills_then_gives_up() {
        let mut rig = rig(true);
        rig.s.handle_stop(rig.now, Duration::from_secs(10));
        rig.expect(&[Output::Terminate]);
        assert_eq!((rig.state().as_str(), rig.next()), ("stopping", Duration::from_secs(10)));
        rig.expect(&[Output::Kill]);
        assert_eq!(rig.next(), KILL_GRACE);
        rig.expect(&[Output::Finished]);
        assert_eq!(rig.stats().note.unwrap(), "did not vanish after it was killed");
    }

    #[test]
    fn a_miner_that_obeys_is_not_killed() {
        let mut rig = rig(true);
        rig.s.handle_stop(rig.now, Duration::from_secs(10));
        rig.expect(&[Output::Terminate]);
        rig.elapse(1);
        rig.exit();
        rig.expect(&[Output::Finished]);
        assert_eq!((rig.state().as_str(), rig.s.poll_timeout()), ("stopped", None));
    }

    #[test]
    fn a_second_stop_can_only_shorten_the_wait() {
        let mut rig = rig(true);
        rig.s.handle_stop(rig.now, Duration::from_secs(10));
        rig.s.handle_stop(rig.now, Duration::from_secs(60));
        assert_eq!(rig.s.poll_timeout(), Some(Time::from_millis(10_000)));
        rig.s.handle_stop(rig.now, Duration::from_secs(1));
        assert_eq!(rig.s.poll_timeout(), Some(Time::from_millis(1_000)));
    }

    #[test]
    fn a_stop_finds_every_phase() {
        // Before the spawn was taken: nothing is spawned.
        let mut s = Supervisor::new(Policy::default(), true, Rng::from_number(1));
        s.handle_stop(Time::ZERO, Duration::ZERO);
        assert_eq!((s.poll_output(), s.poll_output()), (Some(Output::Finished), None));
        // While it is being spawned: ended as soon as it is there.
        let mut s = Supervisor::new(Policy::default(), true, Rng::from_number(1));
        assert_eq!(s.poll_output(), Some(Output::Spawn));
        s.handle_stop(Time::ZERO, Duration::ZERO);
        s.handle_spawned(Time::ZERO, 1);
        assert_eq!((s.poll_output(), s.poll_output()), (Some(Output::Terminate), None));
        // In a pause: no further start.
        let mut rig = rig(true);
        rig.exit();
        rig.s.handle_stop(rig.now, Duration::ZERO);
        rig.expect(&[Output::Finished]);
        rig.elapse(1000);
        rig.expect(&[]);
    }

    #[test]
    fn a_restart_with_another_program_is_no_crash() {
        let mut rig = rig(true);
        rig.s.handle_restart(rig.now);
        rig.expect(&[Output::Terminate]);
        assert_eq!(rig.next(), Duration::from_secs(10));
        rig.expect(&[Output::Kill]);
        rig.exit();
        rig.expect(&[Output::Spawn]);
        rig.s.handle_spawned(rig.now, 43);
        assert_eq!((rig.state().as_str(), rig.stats().restarts, rig.stats().pid), ("starting", 0, Some(43)));
        // Out of a pause, and out of a crash loop, with a clean slate.
        for crashes in [1, 5, 5] {
            for i in 0..crashes {
                rig.exit();
                if i < 4 && crashes == 5 {
                    rig.next();
                    rig.expect(&[Output::Spawn]);
                    rig.s.handle_spawned(rig.now, 44);
                }
            }
            assert_eq!(rig.state(), if crashes == 5 { "crashed" } else { "backing_off" });
            rig.s.handle_restart(rig.now);
            rig.expect(&[Output::Spawn]);
            rig.s.handle_spawned(rig.now, 45);
            assert_eq!(rig.stats().note.unwrap(), "hashrate unknown: not asked yet");
        }
    }

    #[test]
    fn a_stop_overrules_a_restart() {
        let mut rig = rig(true);
        rig.s.handle_restart(rig.now);
        rig.s.handle_stop(rig.now, Duration::from_secs(1));
        rig.expect(&[Output::Terminate]);
        assert_eq!(rig.s.poll_timeout(), Some(Time::from_millis(1000)));
        rig.exit();
        rig.expect(&[Output::Finished]);
        rig.s.handle_restart(rig.now);
        rig.expect(&[]);
        // While it is being spawned: ended as soon as it is there, then started anew.
        let mut s = Supervisor::new(Policy::default(), true, Rng::from_number(1));
        s.handle_restart(Time::ZERO);
        assert_eq!((s.poll_output(), s.poll_output()), (Some(Output::Spawn), None));
        s.handle_restart(Time::ZERO);
        s.handle_spawned(Time::ZERO, 1);
        assert_eq!((s.poll_output(), s.poll_output()), (Some(Output::Terminate), None));
    }

    #[test]
    fn a_late_probe_of_a_dead_process_changes_nothing() {
        let mut rig = rig(true);
        rig.exit();
        rig.s.handle_probe(rig.now, Ok(Reading::default()));
        assert_eq!(rig.state(), "backing_off");
    }

    #[test]
    fn any_order_of_events_ends_in_a_stop() {
        for seed in 0..300 {
            let mut rng = Rng::from_number(seed);
            let mut rig = Rig { s: Supervisor::new(Policy::default(), true, Rng::from_number(seed)), now: Time::ZERO };
            let mut alive = false;
            for _ in 0..200 {
                match rng.below(5) {
                    0 => rig.elapse(rng.below(400)),
                    1 if alive => {
                        rig.exit();
                        alive = false;
                    }
                    2 => rig.s.handle_probe(rig.now, Err(Error::Busy)),
                    3 if rng.below(4) == 0 => rig.s.handle_restart(rig.now),
                    _ => {
                        if rig.s.poll_timeout().is_some() {
                            rig.next();
                        }
                    }
                }
                while let Some(output) = rig.s.poll_output() {
                    if output == Output::Spawn {
                        assert!(!alive, "seed {seed}: two processes at once");
                        rig.s.handle_spawned(rig.now, 1);
                        alive = true;
                    }
                    if output == Output::Kill {
                        rig.exit();
                        alive = false;
                    }
                }
                assert_eq!(alive, rig.s.state(rig.now).is_alive(), "seed {seed}");
            }
            rig.s.handle_stop(rig.now, Duration::from_secs(10));
            for _ in 0..4 {
                if rig.s.poll_timeout().is_some() {
                    rig.next();
                }
            }
            assert_eq!(rig.state(), "stopped", "seed {seed}");
        }
    }
}
