//! What this node records of what it orders others to do (secure-session.md §7): one line before a command is sent, one
//! when its answer is there, with the place on the rig's own chain that came with it. And of what its owner changes here.

use super::Shared;
use crate::base::{Error, Result};
use crate::identity::PublicKey;
use crate::mesh::{Answer, AuditCommand, mark_in};
use crate::message::{DeployAck, ErrorPayload, Message, MessageType, MinerAck};
use crate::peers::{AuditBegin, AuditEntry, AuditMark};
use crate::runtime::clock::{system_rng, wall};

/// A command that is about to be sent to a rig.
pub(super) struct Order {
    pub(super) rig: String,
    pub(super) command: AuditCommand,
    /// The id that its message will have, so that both logs name the same; empty for what takes several messages.
    pub(super) id: String,
}

/// What became of one.
pub(super) struct Outcome {
    /// The number of the line before it was sent.
    of: u64,
    rig: String,
    result: std::result::Result<(), String>,
    mark: Option<AuditMark>,
}

impl Outcome {
    pub(super) fn new(of: u64, rig: &str, answer: &Result<Answer>) -> Outcome {
        let (result, mark) = match answer {
            Ok(Answer::Reply { message, .. }) => (said_by(message), mark_in(&message.payload)),
            Ok(Answer::Intent(answer)) => (answer.failure().map_or(Ok(()), |e| Err(e.to_owned())), answer.audit_mark()),
            Ok(Answer::Deployed { mark, .. }) => (Ok(()), *mark),
            Ok(Answer::NotDeployed { why, mark }) => (Err(why.to_string()), Some(*mark)),
            Ok(Answer::Plain) => (Err("not sent: it takes no chunked deployments".to_owned()), None),
            Ok(_) => (Ok(()), None),
            Err(e) => (Err(e.to_string()), None),
        };
        Outcome { of, rig: rig.to_owned(), result, mark }
    }
}

/// Whether a rig's reply says that it did it.
fn said_by(message: &Message) -> std::result::Result<(), String> {
    let unreadable = |e: Error| e.to_string();
    match &message.kind {
        MessageType::Error => Err(message.parse::<ErrorPayload>().map_or_else(unreadable, |error| error.message)),
        MessageType::MinerAck => match message.parse::<MinerAck>().map_err(unreadable)? {
            MinerAck { success: true, .. } => Ok(()),
            ack => Err(ack.error),
        },
        MessageType::DeployAck => match message.parse::<DeployAck>().map_err(unreadable)? {
            DeployAck { success: true, .. } => Ok(()),
            ack => Err(ack.error),
        },
        _ => Ok(()),
    }
}

impl Shared {
    /// An order with an id of its own; `None` when this node keeps no log.
    pub(super) fn order(&self, rig: &str, command: AuditCommand) -> Result<Option<Order>> {
        if self.audit.is_none() {
            return Ok(None);
        }
        Ok(Some(Order { rig: rig.to_owned(), command, id: system_rng()?.uuid() }))
    }

    /// Records orders, synced together, before any of them is sent; the numbers of their lines.
    ///
    /// # Errors
    /// [`Error::Failed`]: then none may be sent.
    pub(super) fn record_orders(&self, orders: &[Order]) -> Result<Vec<u64>> {
        let Some(audit) = self.audit.as_ref().filter(|_| !orders.is_empty()) else { return Ok(Vec::new()) };
        let keys: Vec<Option<PublicKey>> = orders.iter().map(|order| self.key_of_rig(&order.rig)).collect();
        let mut entries = Vec::with_capacity(orders.len());
        for (order, key) in orders.iter().zip(&keys) {
            let begin = AuditBegin { peer: key.as_ref(), ..local(&order.command, &order.id) };
            entries.push(AuditEntry::Begin(begin));
        }
        match audit.append_all(wall(), &entries) {
            Ok(marks) => Ok(marks.into_iter().map(|mark| mark.n).collect()),
            Err(e) => Err(not_sent(&e)),
        }
    }

    /// Records what became of them. What has happened has happened: a line that cannot be written is told in the log.
    pub(super) fn record_outcomes(&self, outcomes: &[Outcome]) {
        let Some(audit) = self.audit.as_ref().filter(|_| !outcomes.is_empty()) else { return };
        let keys: Vec<Option<PublicKey>> = outcomes.iter().map(|outcome| self.key_of_rig(&outcome.rig)).collect();
        let mut entries = Vec::with_capacity(outcomes.len());
        for (Outcome { of, result, mark, .. }, key) in outcomes.iter().zip(&keys) {
            let result = result.as_ref().copied().map_err(String::as_str);
            entries.push(AuditEntry::End { of: *of, result, peer: key.as_ref().zip(*mark) });
        }
        if let Err(e) = audit.append_all(wall(), &entries) {
            log::error!(target: "audit", "what became of commands is not recorded: {e}");
        }
    }

    /// A change that the owner of this machine makes on it, between its two lines.
    ///
    /// # Errors
    /// [`Error::Failed`] when it cannot be recorded, and was not made; what the change gives.
    pub(crate) fn record_local<T>(&self, command: &AuditCommand, change: impl FnOnce() -> Result<T>) -> Result<T> {
        match &self.audit {
            Some(audit) => audit.record(&local(command, ""), change),
            None => change(),
        }
    }

    /// The same for a change that must not fail for want of a line: taking power away. Whoever can fill the disk, or holds the
    /// log, must not be able to keep a stolen key in.
    pub(crate) fn record_if_possible<T>(
        &self,
        command: &AuditCommand,
        change: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let mut change = Some(change);
        let made = self.record_local(command, || change.take().map_or(Err(Error::Busy), |change| change()));
        match (change, made) {
            // Not called: the line before could not be written.
            (Some(change), Err(e)) => {
                log::error!(target: "audit", command = command.what.as_str(); "done, but not recorded: {e}");
                change()
            }
            (_, made) => made,
        }
    }

    /// The key of a rig: the registry's, or the one on the allowlist that hashes to its id.
    fn key_of_rig(&self, rig: &str) -> Option<PublicKey> {
        let listed = || {
            let keys = self.registry.allowed_public_keys();
            let mut keys = keys.iter().filter_map(|key| PublicKey::from_base64(key).ok());
            keys.find(|key| key.node_id().to_string() == rig)
        };
        self.registry.peer(rig).and_then(|peer| peer.key()).or_else(listed)
    }
}

fn local<'a>(command: &'a AuditCommand, id: &'a str) -> AuditBegin<'a> {
    AuditBegin { who: None, session: None, id, ts: None, what: &command.what, args: &command.args, peer: None }
}

fn not_sent(why: &Error) -> Error {
    Error::Failed(format!("nothing was sent, because it could not be recorded: {why}"))
}
