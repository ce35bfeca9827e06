//! Miners that run from slots: which version a launch takes, and whether a version on trial proves itself.

use crate::base::{Error, Result, Time};
use crate::miners::supervise::Policy;
use crate::miners::trial::{Trial, Verdict};
use crate::runtime::depot::{SlotProgram, Slots};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

/// The program of a miner, looked up anew at each launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// Always this one.
    Fixed(PathBuf),
    /// The current version of a slot, or else the rig's own program.
    Slot { name: String, own: Option<PathBuf> },
}

impl Program {
    /// The slot it comes from.
    pub(super) fn slot(&self) -> Option<&str> {
        match self {
            Program::Fixed(_) => None,
            Program::Slot { name, .. } => Some(name),
        }
    }

    /// Its path, and the number of the version; 0 when it is not one of a slot's.
    pub(super) fn resolve(&self, versions: Option<&Versions>) -> Result<(PathBuf, u32)> {
        match self {
            Program::Fixed(path) => Ok((path.clone(), 0)),
            Program::Slot { name, own } => match (versions.and_then(|v| v.current(name)), own) {
                (Some(program), _) => Ok((program.main, program.number)),
                (None, Some(own)) => Ok((own.clone(), 0)),
                (None, None) => {
                    Err(Error::NotFound(format!("no version of {name} is installed on this rig: deploy one")))
                }
            },
        }
    }
}

/// One miner that runs from a slot.
#[derive(Clone, Copy)]
pub(super) struct Runner<'a> {
    pub(super) slot: &'a str,
    /// The version it was launched with.
    pub(super) number: u32,
    pub(super) miner: &'a str,
    /// Whether the rig has a program of its own to go back to.
    pub(super) own: bool,
}

/// What can be made to look at its slot: a miner's thread.
pub(super) trait Wake: Send + Sync {
    /// Returns at once.
    fn wake(&self);
}

/// The slots, the trials under way, and the miners to be woken when a version changes.
pub(super) struct Versions {
    slots: Arc<Slots>,
    policy: Policy,
    /// By slot, with the number of the version on trial. Held while a trial's record is written, by miners' threads
    /// and by whoever switches; taken before the slots' own locks.
    trials: Mutex<BTreeMap<String, (u32, Trial)>>,
    /// A leaf.
    miners: Mutex<Vec<(String, Weak<dyn Wake>)>>,
}

impl Versions {
    pub(super) fn new(slots: Arc<Slots>, policy: Policy) -> Versions {
        Versions { slots, policy, trials: Mutex::default(), miners: Mutex::default() }
    }

    /// What a slot runs now.
    pub(super) fn current(&self, slot: &str) -> Option<SlotProgram> {
        self.slots.current(slot)
    }

    /// The number of the version that a slot runs now; 0 for none.
    pub(super) fn number(&self, slot: &str) -> u32 {
        self.slots.current(slot).map_or(0, |program| program.number)
    }

    /// What the rig did by itself since the last switch.
    pub(super) fn note(&self, slot: &str) -> Option<String> {
        self.slots.note(slot)
    }

    /// A miner is to be woken when its slot changes.
    pub(super) fn enlist(&self, slot: &str, miner: Weak<dyn Wake>) {
        let mut miners = self.miners.lock();
        miners.retain(|(_, miner)| miner.strong_count() > 0);
        miners.push((slot.to_owned(), miner));
    }

    /// Another version may be current: its miners look.
    pub(super) fn switched(&self, slot: &str) {
        let current = self.number(slot);
        self.trials.lock().retain(|name, (number, _)| name != slot || *number == current);
        self.wake(slot);
    }

    /// A launch is about to happen. `false`: the version has failed and must not be launched, another is current.
    pub(super) fn launch(&self, now: Time, runner: Runner<'_>, api: bool) -> bool {
        self.with_trial(now, runner, |trial| trial.handle_launch(now, runner.miner, api));
        self.number(runner.slot) == runner.number
    }

    /// What the miner said of itself.
    pub(super) fn reading(&self, now: Time, runner: Runner<'_>, hashing: bool, paused: bool) {
        self.with_trial(now, runner, |trial| trial.handle_reading(now, runner.miner, hashing, paused));
    }

    /// It ended by itself or could not be started.
    pub(super) fn exit(&self, now: Time, runner: Runner<'_>, not_executed: bool, why: &str) {
        self.with_trial(now, runner, |trial| trial.handle_exit(now, runner.miner, not_executed, why));
    }

    /// It is not wanted any more, with this version.
    pub(super) fn end(&self, now: Time, runner: Runner<'_>) {
        self.with_trial(now, runner, |trial| trial.handle_end(now, runner.miner));
    }

    /// Time has passed.
    pub(super) fn timeout(&self, now: Time, runner: Runner<'_>) {
        self.with_trial(now, runner, |trial| trial.handle_timeout(now));
    }

    /// When to call [`Versions::timeout`].
    pub(super) fn poll_timeout(&self, runner: Runner<'_>) -> Option<Time> {
        let trials = self.trials.lock();
        let (number, trial) = trials.get(runner.slot)?;
        trial.poll_timeout().filter(|_| *number == runner.number)
    }

    /// Tells a version's trial something, if it is on trial, and does what follows from it.
    fn with_trial(&self, now: Time, runner: Runner<'_>, tell: impl FnOnce(&mut Trial)) {
        let Runner { slot, number, own, .. } = runner;
        if number == 0 {
            return;
        }
        let mut trials = self.trials.lock();
        let on_disk = self.slots.trial(slot, number);
        let Some(record) = on_disk else {
            trials.retain(|name, (other, _)| name != slot || *other != number);
            return;
        };
        let entry = trials.entry(slot.to_owned()).or_insert_with(|| (number, Trial::new(&self.policy, record)));
        if entry.0 != number {
            *entry = (number, Trial::new(&self.policy, record));
        }
        let trial = &mut entry.1;
        tell(trial);
        trial.handle_timeout(now);
        let (verdict, changed) = (trial.verdict().clone(), trial.record());
        let saved = match &verdict {
            // The time spent is written with the rest; by itself it is not worth a write.
            Verdict::Going if (changed.launches, changed.hashed) == (record.launches, record.hashed) => Ok(()),
            Verdict::Going => self.slots.save_trial(slot, number, changed),
            Verdict::Passed => {
                log::info!(target: "miner", slot, version = number; "the new version has proved itself");
                self.slots.pass_trial(slot, number)
            }
            Verdict::Failed(why) => {
                self.slots.fail_trial(slot, number, why, own);
                Ok(())
            }
        };
        if let Err(e) = saved {
            // A miner that runs is worth more than a record of its trial.
            log::warn!(target: "miner", slot, version = number, error:% = e; "cannot write down how a trial stands");
        }
        if verdict != Verdict::Going {
            trials.remove(slot);
            drop(trials);
            self.wake(slot);
        }
    }

    fn wake(&self, slot: &str) {
        let miners = self.miners.lock();
        miners.iter().filter(|(name, _)| name == slot).filter_map(|(_, miner)| miner.upgrade()).for_each(|m| m.wake());
    }
}
