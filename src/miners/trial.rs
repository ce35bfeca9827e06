//! Whether a version of a miner that was just switched to proves itself: it must hash within its grace and
//! then last, without a crash loop. Pure; what it has to remember over a restart is a small record.
//!
//! Time counts from the first start, while a miner of that version is wanted and does not say that it is
//! paused. Each launch is recorded before it happens and taken back when it ends as asked, so that a version
//! that takes the whole board down with it is seen after the reboot as one that never ended well.

use super::supervise::Policy;
use crate::base::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest reason kept.
const WHY_CHARS_MAX: usize = 300;

/// What a trial has to remember.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrialRecord {
    /// Launches that have not ended as asked.
    pub launches: u32,
    /// How long it has been at it, in milliseconds.
    pub spent_ms: u64,
    /// Whether it has hashed.
    pub hashed: bool,
}

/// How a trial stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Going,
    /// The version has proved itself.
    Passed,
    /// It has not; why, in words.
    Failed(String),
}

/// One version on trial, with all miners that run it.
#[derive(Debug)]
pub struct Trial {
    grace: Duration,
    steady: Duration,
    crashes_max: u32,
    launches: u32,
    spent: Duration,
    hashed: bool,
    /// Since when time is being counted that is not in `spent` yet.
    counting: Option<Time>,
    /// The miners that are wanted, with their process while there is one.
    miners: BTreeMap<String, Option<Run>>,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    since: Time,
    api: bool,
    paused: bool,
}

impl Trial {
    /// Goes on with a trial. Of the policy, [`Policy::grace`] is how soon it must hash, [`Policy::crash_window`]
    /// how long one run must last, [`Policy::crashes_max`] how many may end badly, less one.
    pub fn new(policy: &Policy, record: TrialRecord) -> Trial {
        Trial {
            grace: policy.grace,
            steady: policy.crash_window,
            crashes_max: u32::try_from(policy.crashes_max).unwrap_or(u32::MAX).max(1),
            launches: record.launches,
            spent: Duration::from_millis(record.spent_ms),
            hashed: record.hashed,
            counting: None,
            miners: BTreeMap::new(),
            verdict: Verdict::Going,
        }
    }

    /// A miner is about to be launched; `api`: whether it can say that it hashes. The record changes and must be on
    /// disk before the launch; when the verdict is [`Verdict::Failed`] there must be none.
    pub fn handle_launch(&mut self, now: Time, miner: &str, api: bool) {
        self.count(now);
        // Launches that this run of the program knows nothing of were cut off with the program or the board.
        let lost = self.failures();
        if lost >= self.crashes_max {
            return self.fail(&format!("{lost} starts that did not end well"));
        }
        self.launches = self.launches.saturating_add(1);
        self.miners.insert(miner.to_owned(), Some(Run { since: now, api, paused: false }));
        self.count(now);
    }

    /// What a miner says of itself.
    pub fn handle_reading(&mut self, now: Time, miner: &str, hashing: bool, paused: bool) {
        self.count(now);
        if let Some(Some(run)) = self.miners.get_mut(miner) {
            run.paused = paused;
            self.hashed |= hashing;
        }
        self.count(now);
        self.judge(now);
    }

    /// A miner ended by itself, or (`not_executed`) could not be started at all.
    pub fn handle_exit(&mut self, now: Time, miner: &str, not_executed: bool, why: &str) {
        self.count(now);
        let Some(run @ Some(_)) = self.miners.get_mut(miner) else { return };
        *run = None;
        let failures = self.failures();
        if not_executed {
            self.fail(why);
        } else if failures >= self.crashes_max {
            self.fail(&format!("{failures} crashes: {why}"));
        }
        self.judge(now);
    }

    /// A miner is not wanted any more; if it ran, it ended as asked.
    pub fn handle_end(&mut self, now: Time, miner: &str) {
        self.count(now);
        if let Some(Some(_)) = self.miners.remove(miner) {
            self.launches = self.launches.saturating_sub(1);
        }
        self.count(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        self.count(now);
        self.judge(now);
    }

    /// When to call [`Trial::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.verdict != Verdict::Going {
            return None;
        }
        let grace =
            self.counting.filter(|_| self.needs_hash()).map(|from| from + self.grace.saturating_sub(self.spent));
        let steady = self.runs().filter(|run| self.counts(run)).map(|run| run.since + self.steady);
        steady.chain(grace).min()
    }

    /// How it stands.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// What is to be remembered.
    pub fn record(&self) -> TrialRecord {
        let spent_ms = u64::try_from(self.spent.as_millis()).unwrap_or(u64::MAX);
        TrialRecord { launches: self.launches, spent_ms, hashed: self.hashed }
    }

    fn runs(&self) -> impl Iterator<Item = &Run> {
        self.miners.values().flatten()
    }

    /// Whether a run that lasts proves something.
    fn counts(&self, run: &Run) -> bool {
        self.hashed || !run.api
    }

    fn needs_hash(&self) -> bool {
        !self.hashed && self.runs().any(|run| run.api)
    }

    fn failures(&self) -> u32 {
        self.launches.saturating_sub(u32::try_from(self.runs().count()).unwrap_or(u32::MAX))
    }

    /// Moves the time since the last call into `spent`, and says whether it goes on being counted.
    fn count(&mut self, now: Time) {
        if let Some(from) = self.counting.take() {
            self.spent = self.spent.saturating_add(now.since(from));
        }
        let resting = self.runs().next().is_some() && self.runs().all(|run| run.paused);
        self.counting = (!self.miners.is_empty() && !resting).then_some(now);
    }

    fn judge(&mut self, now: Time) {
        if self.verdict != Verdict::Going {
            return;
        }
        if self.runs().any(|run| self.counts(run) && now.since(run.since) >= self.steady) {
            self.verdict = Verdict::Passed;
        } else if self.spent >= self.grace && self.needs_hash() {
            self.fail(&format!("no hashrate within {} s", self.grace.as_secs_f32()));
        }
    }

    fn fail(&mut self, why: &str) {
        if self.verdict == Verdict::Going {
            self.verdict = Verdict::Failed(why.chars().take(WHY_CHARS_MAX).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1000;

    fn trial() -> Trial {
        Trial::new(&Policy::default(), TrialRecord::default())
    }

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn failed(trial: &Trial) -> &str {
        let Verdict::Failed(why) = trial.verdict() else { panic!("{trial:?}") };
        why
    }

    #[test]
    fn a_version_that_hashes_in_time_and_lasts_passes() {
        let mut t = trial();
        assert_eq!(t.poll_timeout(), None, "nothing runs yet");
        t.handle_launch(at(0), "a", true);
        assert_eq!(t.poll_timeout(), Some(at(60 * S)));
        t.handle_reading(at(30 * S), "a", true, false);
        assert_eq!(t.poll_timeout(), Some(at(300 * S)));
        t.handle_timeout(at(299 * S));
        assert_eq!(*t.verdict(), Verdict::Going);
        t.handle_timeout(at(300 * S));
        assert_eq!((t.verdict(), t.poll_timeout()), (&Verdict::Passed, None));
    }

    #[test]
    fn a_version_that_does_not_hash_fails_at_the_end_of_its_grace() {
        let mut t = trial();
        t.handle_launch(at(0), "a", true);
        t.handle_reading(at(59 * S), "a", false, false);
        assert_eq!(*t.verdict(), Verdict::Going);
        t.handle_timeout(t.poll_timeout().unwrap());
        assert_eq!(failed(&t), "no hashrate within 60 s");
        // A hash that comes too late changes nothing.
        t.handle_reading(at(61 * S), "a", true, false);
        t.handle_timeout(at(900 * S));
        failed(&t);
    }

    #[test]
    fn the_grace_counts_from_the_first_start_over_crashes() {
        let mut t = trial();
        for i in 0..3 {
            t.handle_launch(at(i * 20 * S), "a", true);
            t.handle_exit(at(i * 20 * S + 15 * S), "a", false, "exited with status 1");
        }
        t.handle_launch(at(60 * S), "a", true);
        t.handle_timeout(at(60 * S));
        assert_eq!(failed(&t), "no hashrate within 60 s");
    }

    #[test]
    fn a_crash_loop_fails_even_after_hashing() {
        let mut t = trial();
        for i in 0..5 {
            assert_eq!(*t.verdict(), Verdict::Going);
            t.handle_launch(at(i * 70 * S), "a", true);
            t.handle_reading(at(i * 70 * S + 10 * S), "a", true, false);
            t.handle_exit(at(i * 70 * S + 60 * S), "a", false, "killed by signal 11");
        }
        assert_eq!(failed(&t), "5 crashes: killed by signal 11");
    }

    #[test]
    fn a_program_that_cannot_be_executed_fails_at_once() {
        let mut t = trial();
        t.handle_launch(at(0), "a", true);
        t.handle_exit(at(1), "a", true, "cannot execute");
        assert_eq!(failed(&t), "cannot execute");
    }

    #[test]
    fn a_type_without_an_api_must_only_last() {
        let mut t = trial();
        t.handle_launch(at(0), "a", false);
        t.handle_timeout(at(200 * S));
        assert_eq!((t.verdict(), t.poll_timeout()), (&Verdict::Going, Some(at(300 * S))));
        t.handle_timeout(at(300 * S));
        assert_eq!(*t.verdict(), Verdict::Passed);
    }

    #[test]
    fn a_restart_of_the_program_goes_on_with_the_trial() {
        let mut t = trial();
        t.handle_launch(at(0), "a", true);
        t.handle_reading(at(40 * S), "a", false, false);
        t.handle_end(at(40 * S), "a");
        assert_eq!(t.record(), TrialRecord { launches: 0, spent_ms: 40 * S, hashed: false });
        let mut t = Trial::new(&Policy::default(), t.record());
        t.handle_launch(at(1000 * S), "a", true);
        assert_eq!(t.poll_timeout(), Some(at(1020 * S)));
        t.handle_timeout(at(1020 * S));
        failed(&t);
    }

    #[test]
    fn a_version_that_takes_the_board_down_fails_after_five_boots() {
        let mut record = TrialRecord::default();
        for _ in 0..5 {
            let mut t = Trial::new(&Policy::default(), record);
            t.handle_launch(at(0), "a", true);
            assert_eq!(*t.verdict(), Verdict::Going);
            record = t.record();
        }
        let mut t = Trial::new(&Policy::default(), record);
        t.handle_launch(at(0), "a", true);
        assert_eq!(failed(&t), "5 starts that did not end well");
    }

    #[test]
    fn many_miners_of_one_version_are_judged_together_and_their_stops_are_no_crashes() {
        let mut t = trial();
        for i in 0..20 {
            t.handle_launch(at(i), &format!("m{i}"), true);
        }
        t.handle_exit(at(S), "m0", false, "x");
        t.handle_reading(at(2 * S), "m1", true, false);
        for i in 2..20 {
            t.handle_end(at(3 * S), &format!("m{i}"));
        }
        t.handle_timeout(at(100 * S));
        assert_eq!((t.verdict(), t.record().launches), (&Verdict::Going, 2));
        // What was taken back does not end once more.
        t.handle_launch(at(101 * S), "m2", true);
        t.handle_end(at(101 * S), "m2");
        t.handle_exit(at(101 * S), "m2", true, "no room for its configuration");
        assert_eq!((t.verdict(), t.record().launches), (&Verdict::Going, 2));
        t.handle_timeout(at(301 * S));
        assert_eq!(*t.verdict(), Verdict::Passed);
    }

    #[test]
    fn time_in_which_the_miner_is_paused_or_not_wanted_does_not_count() {
        let mut t = trial();
        t.handle_launch(at(0), "a", true);
        t.handle_reading(at(10 * S), "a", false, true);
        assert_eq!(t.poll_timeout(), None);
        t.handle_reading(at(500 * S), "a", false, false);
        assert_eq!((t.verdict(), t.poll_timeout()), (&Verdict::Going, Some(at(550 * S))));
        t.handle_end(at(510 * S), "a");
        assert_eq!((t.record().spent_ms, t.poll_timeout()), (20 * S, None));
        t.handle_launch(at(5000 * S), "a", true);
        assert_eq!(t.poll_timeout(), Some(at(5040 * S)));
    }
}
