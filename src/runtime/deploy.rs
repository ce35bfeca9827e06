//! `depot`: the one thread that does a node's disk work for deployments, one thing after the other: it reads
//! chunks for rigs that are fed, and on a rig it hashes, writes and installs what comes. It is started by the first
//! task, so a node that never deploys has no such thread.

use super::audit::AuditBook;
use super::depot::{Depot, Offer, Stored as Written};
use super::install::Installer;
use super::jobs::SaveMarks;
use super::outgoing::{ChunkCache, OwedBook};
use super::queues::{Event, InboxSender};
use super::threads::{STACK, Threads};
use crate::base::{Error, Result};
use crate::bundle::{ObjectId, ObjectManifest};
use crate::identity::PublicKey;
use crate::mesh::{
    AuditCommand, AuditSink as _, DepotEvent, DepotTask, Input, Offered, Parcel, Permit, Stored, not_recorded,
};
use crate::message::{DeployOffer, MessageType, RawPayload};
use crate::peers::{AuditBegin, AuditEntry, AuditMark, Grants, PeerRegistry};
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::RwLock;
use std::sync::Arc;

/// Tasks waiting: a rig has its windows of chunks under way, a controller one read for each rig it feeds.
const QUEUE: usize = 1024;

/// What the thread works with.
pub(crate) struct DepotHands {
    pub(crate) registry: Arc<RwLock<PeerRegistry>>,
    /// Every admitted key may deploy, whatever the permissions say.
    pub(crate) trust_all: bool,
    pub(crate) save_marks: SaveMarks,
    pub(crate) inbox: InboxSender,
    pub(crate) owed: OwedBook,
    /// What a rig installs into; a node that runs no miners takes nothing.
    pub(crate) installer: Option<Arc<Installer>>,
    pub(crate) audit: Option<Arc<AuditBook>>,
}

/// The dispatcher's handle on the thread.
pub(crate) struct DepotThread {
    /// Boxed: the queue's slots are there from the start, and a task is large.
    tasks: Sender<Box<DepotTask>>,
    /// What the thread needs, until it is started.
    waiting: Option<(Receiver<Box<DepotTask>>, DepotHands)>,
    threads: Arc<Threads>,
}

impl DepotThread {
    pub(crate) fn new(hands: DepotHands, threads: Arc<Threads>) -> DepotThread {
        let (tasks, queue) = bounded(QUEUE);
        DepotThread { tasks, waiting: Some((queue, hands)), threads }
    }

    /// Hands a task over. What cannot be taken is answered here.
    pub(crate) fn put(&mut self, task: DepotTask) -> Option<DepotEvent> {
        if let Some((queue, hands)) = self.waiting.take() {
            let spawned = self.threads.spawn("depot", STACK, move || run(&queue, hands));
            if let Err(e) = spawned {
                log::error!(target: "deploy", "{e}");
            }
        }
        let task = match self.tasks.try_send(Box::new(task)) {
            Ok(()) => return None,
            Err(e) => e.into_inner(),
        };
        match *task {
            DepotTask::Offer { pull, .. } => Some(DepotEvent::Offered { pull, result: Err(Error::Busy), mark: None }),
            DepotTask::Store { pull, index, .. } => Some(DepotEvent::Stored { pull, index, result: Err(Error::Busy) }),
            DepotTask::Install { pull, .. } => {
                Some(DepotEvent::Installed { pull, result: Err(Error::Busy), mark: None })
            }
            DepotTask::Read { feed, h, index, .. } => {
                Some(DepotEvent::Read { feed, h, index, chunk: Err(Error::Busy) })
            }
            DepotTask::Forget { .. }
            | DepotTask::ForgetOwed { .. }
            | DepotTask::LetGo { .. }
            | DepotTask::CheckKeys
            | DepotTask::Unattended { .. }
            | DepotTask::SaveOwed(_) => {
                log::warn!(target: "deploy", "the disk is behind: a deployment's notes were not kept");
                None
            }
        }
    }
}

fn run(queue: &Receiver<Box<DepotTask>>, hands: DepotHands) {
    let mut worker = Worker { hands, cache: ChunkCache::default(), depot: None };
    for task in queue {
        if let Some(event) = worker.work(*task) {
            worker.hands.inbox.send(Event::Mesh(Input::Depot(event)));
        }
    }
}

/// A list of debts that could not be written is told, and nothing else: the rigs get theirs all the same.
fn note(written: Result<()>) {
    if let Err(e) = written {
        log::error!(target: "deploy", "what rigs are owed could not be written down: {e}");
    }
}

/// The thread's own things.
struct Worker {
    hands: DepotHands,
    cache: ChunkCache,
    /// Opened by the first offer.
    depot: Option<Depot>,
}

impl Worker {
    fn work(&mut self, task: DepotTask) -> Option<DepotEvent> {
        match task {
            DepotTask::Offer { pull, permit, marks, offer, size_max } => {
                let saved = marks.map_or(Ok(()), |marks| {
                    (self.hands.save_marks)(&marks).map_err(|e| {
                        self.hands.inbox.send(Event::Mesh(Input::Depot(DepotEvent::MarksFailed)));
                        Error::Failed(format!("the offer was not taken, because it could not be recorded: {e}"))
                    })
                });
                let mut mark = None;
                let result = saved.and_then(|()| self.offer(&permit, &offer, size_max, &mut mark));
                Some(DepotEvent::Offered { pull, result, mark })
            }
            DepotTask::Store { pull, t, index, chunk } => {
                Some(DepotEvent::Stored { pull, index, result: self.store(&t, index, &chunk) })
            }
            DepotTask::Install { pull, permit, t, profile, activate } => {
                let mut mark = None;
                let result = self.install(&permit, &t, &profile, activate, &mut mark);
                Some(DepotEvent::Installed { pull, result, mark })
            }
            DepotTask::Forget { t } => {
                if let (Some(depot), Ok(id)) = (&mut self.depot, t.parse()) {
                    depot.cancel(&id);
                }
                None
            }
            DepotTask::LetGo { t } => {
                if let (Some(depot), Ok(id)) = (&mut self.depot, t.parse()) {
                    depot.let_go(&id);
                }
                None
            }
            DepotTask::CheckKeys => {
                self.forget_those_who_may_not();
                None
            }
            DepotTask::Read { feed, h, object, index, framed } => {
                let chunk = self.cache.chunk(&object, index).map(|data| Parcel::pack(framed, h, index, &data));
                Some(DepotEvent::Read { feed, h, index, chunk })
            }
            DepotTask::SaveOwed(owed) => {
                if owed.is_empty() {
                    self.cache.clear();
                }
                note(self.hands.owed.handle_owed(&owed));
                None
            }
            DepotTask::Unattended { rig, t, failed, mark } => {
                self.record_unattended(&rig, &t, failed.as_deref(), mark);
                None
            }
            DepotTask::ForgetOwed { peer, t } => {
                note(self.hands.owed.forget(&peer, t.as_deref()));
                None
            }
        }
    }

    /// The order itself was recorded when it was given, perhaps by an earlier process; this is how it ended.
    fn record_unattended(&self, rig: &PublicKey, t: &str, failed: Option<&str>, mark: Option<AuditMark>) {
        let Some(audit) = &self.hands.audit else { return };
        let (now, args) = (super::clock::wall(), serde_json::json!({ "object": t, "owed": true }));
        let what = MessageType::DeployOffer;
        let begin = AuditBegin {
            who: None,
            session: None,
            id: "",
            ts: None,
            what: what.as_str(),
            args: &args,
            peer: Some(rig),
        };
        let written = audit.append(now, &AuditEntry::Begin(begin)).and_then(|begun| {
            let (result, peer) = (failed.map_or(Ok(()), Err), mark.map(|mark| (rig, mark)));
            audit.append(now, &AuditEntry::End { of: begun.n, result, peer })
        });
        if let Err(e) = written {
            log::error!(target: "audit", object = t; "how a deployment ended is not recorded: {e}");
        }
    }

    /// What keys sent that may not deploy (any more) goes at once.
    fn forget_those_who_may_not(&mut self) {
        let (Some(depot), false) = (&mut self.depot, self.hands.trust_all) else { return };
        for key in depot.keys() {
            let may = self.hands.registry.read().grants(&key, super::clock::wall()).contains(Grants::DEPLOY);
            if !may {
                depot.forget_key(&key);
            }
        }
    }

    fn may(&self, permit: &Permit) -> Result<()> {
        match permit.grant {
            Some(grant) => self.hands.registry.read().grants(&permit.key, super::clock::wall()).require(grant),
            None => Ok(()),
        }
    }

    fn installer(&self) -> Result<Arc<Installer>> {
        self.hands.installer.clone().ok_or_else(|| Error::Failed("this node runs no miners".to_owned()))
    }

    /// Runs what makes a deployment one, between its two lines of the audit log. They stand around the installation and
    /// the switch, which is what changes the rig: chunks that arrive only lie in `incoming`, where nothing runs them, may
    /// take days and many links, and mostly come from the same offer said again. A line for each would fill the log.
    fn recorded<T>(
        audit: Option<&AuditBook>,
        permit: &Permit,
        command: &AuditCommand,
        mark: &mut Option<AuditMark>,
        change: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let Some(audit) = audit else { return change() };
        let of = audit.begin(super::clock::wall(), permit, command).map_err(|e| {
            log::error!(target: "audit", peer:% = permit.key.node_id(), command = command.what.as_str(); "{}", not_recorded(&e));
            Error::Failed(not_recorded(&e))
        })?;
        let result = change();
        let why = result.as_ref().err().map(Error::to_string);
        *mark = audit.end(super::clock::wall(), of, why.as_deref().map_or(Ok(()), Err));
        result
    }

    /// `mark` is where the audit log says how it ended, when something was changed at once.
    fn offer(
        &mut self,
        permit: &Permit,
        offer: &DeployOffer,
        size_max: u64,
        mark: &mut Option<AuditMark>,
    ) -> Result<Offered> {
        self.may(permit)?;
        let installer = self.installer()?;
        let id = ObjectId::of(&offer.manifest);
        if id.to_string() != offer.t {
            return Ok(Offered::Refused("bad manifest: t".to_owned()));
        }
        // A profile that will not do is said now, not after an hour of data.
        if let Err(e) = installer.profile(&offer.profile) {
            return Ok(Offered::Refused(format!("bad profile: {e}")));
        }
        let now = super::clock::wall();
        if self.depot.is_none() {
            self.depot = Some(installer.open_depot(now)?);
            self.forget_those_who_may_not();
        }
        let gone = || Error::Failed("the folder of incoming data is not open".to_owned());
        let depot = self.depot.as_mut().ok_or_else(gone)?;
        depot.expire(now);
        Ok(match depot.offer(&id, &offer.manifest, &permit.key, size_max, now)? {
            Offer::Installed { slot } => {
                let manifest = ObjectManifest::parse(&offer.manifest, size_max);
                let manifest = manifest.map_err(|e| Error::malformed("manifest", e.to_string()))?;
                let command = AuditCommand::object(&offer.t, Some(&manifest), &offer.profile, offer.activate);
                Worker::recorded(self.hands.audit.as_deref(), permit, &command, mark, || {
                    installer.after_install(manifest.name(), slot, &offer.profile, offer.activate)
                })?;
                Offered::Installed { slot }
            }
            Offer::Have => Offered::Have,
            Offer::Need { missing, missing_bytes } => Offered::Need { missing, bytes: missing_bytes },
            Offer::Refused(reason) => Offered::Refused(reason),
        })
    }

    fn store(&mut self, t: &str, index: u32, chunk: &Parcel) -> Result<Stored> {
        let gone = || Error::NotFound("no such transfer".to_owned());
        let (depot, id) = (self.depot.as_mut().ok_or_else(gone)?, t.parse::<ObjectId>().map_err(|_| gone())?);
        // One that cannot be read is a wrong chunk: it is asked for once more.
        let Some(data) = chunk.data() else { return Ok(Stored::Wrong) };
        Ok(match depot.store(&id, index, &data)? {
            Written::Kept { .. } => Stored::Kept,
            Written::WrongHash => Stored::Wrong,
        })
    }

    fn install(
        &mut self,
        permit: &Permit,
        t: &str,
        profile: &RawPayload,
        activate: bool,
        mark: &mut Option<AuditMark>,
    ) -> Result<u32> {
        self.may(permit)?;
        let gone = || Error::NotFound("no such transfer".to_owned());
        let installer = self.installer()?;
        let (depot, id) = (self.depot.as_mut().ok_or_else(gone)?, t.parse::<ObjectId>().map_err(|_| gone())?);
        let manifest = depot.manifest(&id).ok_or_else(gone)?;
        let (name, command) = (manifest.name().to_owned(), AuditCommand::object(t, Some(manifest), profile, activate));
        let slot = Worker::recorded(self.hands.audit.as_deref(), permit, &command, mark, || {
            let slot = depot.install(&id, super::clock::wall())?;
            installer.after_install(&name, slot, profile, activate)?;
            Ok(slot)
        })?;
        if let Err(e) = depot.finish(&id) {
            log::warn!(target: "deploy", object = t; "what was installed still lies in incoming: {e}");
        }
        Ok(slot)
    }
}
