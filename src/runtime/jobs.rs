//! `jobs/<n>`: slow work off the dispatcher: starting and stopping miners, reading their state,
//! saving marks; commands between their two lines of the audit log. Two threads; a hung one is replaced, up to eight.

use super::audit::{AUDIT_EVERY, AuditBook};
use super::files::registry::SharedRegistry;
use super::install::Installer;
use super::queues::{Event, InboxSender};
use super::rotation::Successions;
use super::threads::{STACK, Threads};
use crate::base::{Error, Result};
use crate::mesh::{
    AuditSink as _, Input, Intents, JobId, JobResult, MarksSnapshot, Permit, Work, failure_of, not_recorded,
};
use crate::miners::{MinerManager, ProfileManager, StartRequest};
use crate::peers::AuditMark;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

/// Work waiting for a thread.
const QUEUE: usize = 64;
const THREADS_MIN: usize = 2;
const THREADS_MAX: usize = 8;

/// Saves the freshness table somewhere durable; higher versions replace lower ones.
pub(crate) type SaveMarks = Arc<dyn Fn(&MarksSnapshot) -> Result<()> + Send + Sync>;

/// What the work works on.
pub(crate) struct Hands {
    pub(crate) miners: Option<Arc<dyn MinerManager>>,
    pub(crate) profiles: Option<Arc<dyn ProfileManager>>,
    pub(crate) registry: SharedRegistry,
    pub(crate) save_marks: SaveMarks,
    pub(crate) inbox: InboxSender,
    pub(crate) installer: Option<Arc<Installer>>,
    pub(crate) intents: Arc<Intents>,
    pub(crate) audit: Option<Arc<AuditBook>>,
    pub(crate) successions: Arc<Successions>,
}

enum Task {
    Work { job: JobId, permit: Permit, marks: Option<MarksSnapshot>, work: Work },
    Save(MarksSnapshot),
    Follow,
}

/// The dispatcher's handle on its workers.
pub(crate) struct Jobs {
    tasks: Sender<Task>,
    queue: Receiver<Task>,
    hands: Arc<Hands>,
    threads: Arc<Threads>,
    spawned: usize,
    running: Arc<Mutex<BTreeSet<JobId>>>,
}

impl Jobs {
    pub(crate) fn start_threads(hands: Hands, threads: Arc<Threads>) -> Result<Jobs> {
        let (tasks, queue) = bounded(QUEUE);
        let mut jobs = Jobs { tasks, queue, hands: Arc::new(hands), threads, spawned: 0, running: Arc::default() };
        for _ in 0..THREADS_MIN {
            jobs.spawn()?;
        }
        Ok(jobs)
    }

    /// `Busy` when the queue is full. The marks are saved before the work begins; work whose marks
    /// cannot be saved is not done.
    pub(crate) fn start(&self, job: JobId, permit: Permit, marks: Option<MarksSnapshot>, work: Work) -> Result<()> {
        self.put(Task::Work { job, permit, marks, work })
    }

    /// Saves a snapshot; the outcome goes to the inbox. `Busy` when the queue is full.
    pub(crate) fn save_marks(&self, snapshot: MarksSnapshot) -> Result<()> {
        self.put(Task::Save(snapshot))
    }

    /// Puts successors whose time has come in their predecessors' places. `Busy` when the queue is full.
    pub(crate) fn follow_successors(&self) -> Result<()> {
        self.put(Task::Follow)
    }

    /// A job is past its deadline. If its thread still works on it, that thread counts as hung and another takes its place.
    pub(crate) fn overdue(&mut self, job: JobId) {
        if self.running.lock().contains(&job) && self.spawned < THREADS_MAX {
            log::warn!(target: "runtime", job = job.0; "a job is past its deadline; starting another thread");
            let _ = self.spawn();
        }
    }

    /// A job's result arrived.
    pub(crate) fn finished(&self, job: JobId) {
        self.running.lock().remove(&job);
    }

    fn put(&self, task: Task) -> Result<()> {
        self.tasks.try_send(task).map_err(|e| if e.is_full() { Error::Busy } else { Error::ShuttingDown })
    }

    fn spawn(&mut self) -> Result<()> {
        let (queue, hands, running) = (self.queue.clone(), self.hands.clone(), self.running.clone());
        self.threads.spawn(&format!("jobs/{}", self.spawned), STACK, move || {
            let mut look_after = Instant::now() + AUDIT_EVERY;
            loop {
                let task = queue.recv_deadline(look_after);
                if Instant::now() >= look_after {
                    look_after = Instant::now() + AUDIT_EVERY;
                    if let Some(audit) = &hands.audit {
                        audit.handle_timeout(super::clock::wall());
                    }
                }
                let task = match task {
                    Ok(task) => task,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => break,
                };
                match task {
                    Task::Save(marks) => {
                        let result = (hands.save_marks)(&marks);
                        if let Err(e) = &result {
                            log::error!(target: "runtime", "freshness not saved: {e}");
                        }
                        hands.inbox.send(Event::Mesh(Input::MarksSaved { version: marks.version, result }));
                    }
                    Task::Follow => hands.successions.follow_due(),
                    Task::Work { job, permit, marks, work } => {
                        running.lock().insert(job);
                        let (result, mark) = hands.work(&permit, marks.as_ref(), work);
                        hands.inbox.send(Event::Job(job, result, mark));
                    }
                }
            }
        })?;
        self.spawned += 1;
        Ok(())
    }
}

impl Hands {
    /// The second look at the permission, the marks, the line before, the work, the line after. A read has no lines.
    fn work(
        &self,
        permit: &Permit,
        marks: Option<&MarksSnapshot>,
        work: Work,
    ) -> (Result<JobResult>, Option<AuditMark>) {
        if let Err(e) = self.admit(permit, marks) {
            return (Err(e), None);
        }
        let Some((audit, command)) = self.audit.as_ref().zip(work.audited()) else {
            return (self.carry_out(permit, work), None);
        };
        let of = match audit.begin(super::clock::wall(), permit, &command) {
            Ok(of) => of,
            Err(e) => {
                log::error!(target: "audit", peer:% = permit.key.node_id(), command = command.what.as_str(); "{}", not_recorded(&e));
                return (Ok(JobResult::NotRecorded(not_recorded(&e))), None);
            }
        };
        let result = self.carry_out(permit, work);
        let mark = audit.end(super::clock::wall(), of, failure_of(&result).as_deref().map_or(Ok(()), Err));
        (result, mark)
    }

    fn admit(&self, permit: &Permit, marks: Option<&MarksSnapshot>) -> Result<()> {
        // Asked again: the key may have been revoked while the job waited.
        if let Some(grant) = permit.grant {
            self.registry.grants(&permit.key).require(grant)?;
        }
        if let Some(marks) = marks {
            (self.save_marks)(marks).map_err(|e| {
                Error::Failed(format!("the command was not carried out, because it could not be recorded: {e}"))
            })?;
        }
        Ok(())
    }

    fn carry_out(&self, permit: &Permit, work: Work) -> Result<JobResult> {
        let miners = || self.miners.as_ref().ok_or_else(|| Error::Failed("miner manager not configured".to_owned()));
        match work {
            Work::Stats => {
                let miners = miners()?;
                let stats = miners.list_miners().iter().filter_map(|m| m.stats().ok()).collect();
                Ok(JobResult::Stats { miners: stats, held: miners.held() })
            }
            Work::Intent(job) => {
                let packet = job.packet.packet();
                let answer = self.intents.carry_out(&job.context, &packet);
                Ok(JobResult::Intent { intent: packet.header().intent, answer })
            }
            Work::Start { miner_type, profile_id, config } => {
                let profile = match (&config, &profile_id) {
                    (None, Some(id)) => Some(self.profile(id)?),
                    // A config of its own is enough; a profile that exists lies under it.
                    (Some(_), id) => id.as_ref().and_then(|id| self.profile(id).ok()),
                    (None, None) => return Err(Error::Failed("no config given and no profile named".to_owned())),
                };
                let miner = miners()?.start_miner(&StartRequest { miner_type, profile, config })?;
                Ok(JobResult::Started { name: miner.name() })
            }
            Work::Stop { miner } => {
                miners()?.stop_miner(&miner)?;
                Ok(JobResult::Stopped { name: miner })
            }
            Work::Deploy(deploy) => Ok(JobResult::Deployed { name: self.installer()?.deploy(&permit.key, *deploy)? }),
            Work::Pause { miner, pause } => {
                Ok(JobResult::Started { name: pause_or_resume(miners()?.as_ref(), miner, pause.then_some(PAUSED))? })
            }
            Work::Access { key, change } => {
                self.registry.change_from_afar(&permit.key, &key, &change).map(JobResult::Access)
            }
            Work::Rotate { said, sign } => {
                self.registry.handle_rotation(&said, &permit.key, &sign).map(JobResult::Rotated)
            }
            Work::AuditTail { lines } => {
                let audit =
                    self.audit.as_ref().ok_or_else(|| Error::Failed("this node keeps no audit log".to_owned()))?;
                audit.tail(lines).map(JobResult::AuditTail)
            }
            Work::Versions { name } => Ok(JobResult::Versions(self.installer()?.versions(name.as_deref()))),
            Work::Rollback { name, slot } => Ok(JobResult::Started { name: self.installer()?.roll_back(&name, slot)? }),
            Work::Logs { miner, lines, since_ms } => {
                Ok(JobResult::Logs(miners()?.miner(&miner)?.console_history(lines, since_ms)))
            }
        }
    }

    fn installer(&self) -> Result<&Arc<Installer>> {
        self.installer.as_ref().ok_or_else(|| Error::Failed("this node runs no miners".to_owned()))
    }

    fn profile(&self, id: &str) -> Result<crate::miners::Profile> {
        self.profiles.as_ref().ok_or_else(|| Error::Failed("profile manager not configured".to_owned()))?.profile(id)
    }
}

/// Why a rig rests that was told to by its owner.
pub(crate) const PAUSED: &str = "paused by command";

/// Pauses (for a reason) or resumes one miner or the whole rig, its miners side by side, since each may take its time; the
/// names of those that were. When some failed, the first reason.
pub(crate) fn pause_or_resume(miners: &dyn MinerManager, miner: Option<String>, why: Option<&str>) -> Result<String> {
    if miner.is_none() {
        miners.hold(why)?;
    }
    let pause = why.is_some();
    let names = miner.map_or_else(|| miners.list_miners().iter().map(|m| m.name()).collect(), |name| vec![name]);
    let act = |name: &str| if pause { miners.pause_miner(name) } else { miners.resume_miner(name) };
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let running: Vec<_> = names.iter().map(|name| scope.spawn(|| act(name))).collect();
        let ended = |thread: std::thread::ScopedJoinHandle<'_, Result<()>>| {
            thread.join().unwrap_or_else(|_| Err(Error::Failed("the miner manager panicked".to_owned())))
        };
        running.into_iter().map(ended).collect()
    });
    results.into_iter().collect::<Result<()>>()?;
    Ok(names.join(", "))
}
