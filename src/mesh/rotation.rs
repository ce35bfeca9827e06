//! Keys that are replaced (secure-session.md §6), both sides: this node says in every session with a known peer that it has
//! changed its keys or will, and hears the same of others. Whom a dial must reach follows what was heard.

use super::codes::code_of;
use super::io::{LinkId, Output, Work};
use super::{Mesh, SUCCESSIONS_EVERY};
use crate::base::{Now, Time};
use crate::identity::{PublicKey, Rotation};
use crate::message::{ErrorCode, Message, Payload, Rotated};
use crate::peers::{Access, Admission};
use crate::session::Expect;
use std::collections::BTreeMap;

/// The extension by which a node follows keys to their successors.
pub(crate) const ROTATE1: &str = "rotate1";

/// Statements that one link may bring: each costs two signatures to verify.
const STATEMENTS_MAX: u8 = 8;
const NO_SESSION: &str = "keys are replaced in secure sessions only";

/// What this node says of its own keys, and what its peers said to that since it started.
#[derive(Debug, Default)]
pub(super) struct OwnRotation {
    statement: Option<Box<Rotation>>,
    asked: BTreeMap<String, PublicKey>,
    told: BTreeMap<PublicKey, Told>,
}

/// What a peer said to it.
pub(crate) type Told = Result<Rotated, String>;

/// Who must answer a dial to the holder of a key, by what is known of its successors.
pub(crate) fn meant(access: &Access, expect: Expect) -> Expect {
    let Expect::Key(key) = expect else { return expect };
    let old = access.newest_of(&key);
    access.named_by(&old).map_or(Expect::Key(old), |new| Expect::Successor { old, new })
}

impl Mesh {
    /// From now on every known peer is told.
    pub(super) fn announce_rotation(&mut self, now: Now, statement: Rotation) {
        self.rotation = OwnRotation { statement: Some(Box::new(statement)), ..OwnRotation::default() };
        let links: Vec<LinkId> = self.links.actives().map(|(id, _)| id).collect();
        for link in links {
            self.tell_rotation(now, link);
        }
    }

    /// What is said, and what was answered.
    pub(super) fn own_rotation(&self) -> Option<(Rotation, Vec<(PublicKey, Told)>)> {
        let statement = self.rotation.statement.as_deref()?.clone();
        Some((statement, self.rotation.told.iter().map(|(key, told)| (*key, told.clone())).collect()))
    }

    /// A session stands: its peer hears of our keys, when it is one of ours and can.
    pub(super) fn tell_rotation(&mut self, now: Now, id: LinkId) {
        let Some(statement) = self.rotation.statement.clone() else { return };
        let Some(link) = self.links.link(id) else { return };
        let key = link.key;
        let able = link.dialogue.is_secure() && link.caps.iter().any(|cap| cap == ROTATE1);
        if !able || self.registry.read().admission(&key) != Admission::Listed {
            return;
        }
        if let Some(request) = self.send_request(now, id, &Payload::Rotate(statement)) {
            self.rotation.asked.retain(|_, asked| *asked != key);
            self.rotation.asked.insert(request, key);
        }
    }

    /// `true`: it was an answer to what we said of our keys.
    pub(super) fn handle_rotated(&mut self, request: &str, message: &Message) -> bool {
        let Some(key) = self.rotation.asked.remove(request) else { return false };
        let told = match message.payload() {
            Ok(Payload::Rotated(rotated)) => Ok(rotated),
            Ok(Payload::Error(refused)) => Err(refused.message),
            _ => Err(format!("it answered with {}", crate::base::quote_value(message.kind.as_str()))),
        };
        let peer = key.node_id();
        match &told {
            Ok(rotated) => log::info!(target: "peers", peer:%; "told of our new key: {:?}", rotated.state),
            Err(why) => log::warn!(target: "peers", peer:%; "does not follow our new key: {why}"),
        }
        self.rotation.told.insert(key, told);
        true
    }

    /// A peer says that its keys are replaced. Who says it need not be on any list: it may be the new key. What changes
    /// nothing is answered here, and leaves no line in the audit log.
    pub(super) fn handle_rotate(&mut self, now: Now, id: LinkId, message: Message) {
        let link = self.links.link_mut(id).filter(|link| link.dialogue.is_secure());
        let Some((key, Some(sign), heard)) = link.map(|link| (link.key, link.sign, &mut link.statements)) else {
            return self.refuse(now, id, &message, ErrorCode::UNAUTHORIZED, NO_SESSION);
        };
        *heard = heard.saturating_add(1);
        if *heard > STATEMENTS_MAX {
            return self.refuse(now, id, &message, ErrorCode::UNAUTHORIZED, "too many statements");
        }
        let judged = message.parse().and_then(|said: Rotation| {
            let known = self.registry.read().judge_rotation(&said, &key, &sign)?;
            Ok((said, known))
        });
        match judged {
            Ok((_, Some(known))) => self.reply(now, id, &message, &Payload::Rotated(known)),
            Ok((said, None)) => {
                self.begin_job(now, id, message, None, None, Work::Rotate { said: Box::new(said), sign });
            }
            Err(e) => self.refuse(now, id, &message, code_of(&e), &e.to_string()),
        }
    }

    /// Who may what has changed, or a successor has proven itself: the next one whose time comes is waited for.
    pub(super) fn plan_successions(&mut self, now: Now) {
        self.succession_due = self.registry.read().next_succession().map(|due| {
            let wait = due.since(self.marks.own(now.wall));
            // Clocks are put forward: it is looked at now and then.
            now.mono + wait.min(SUCCESSIONS_EVERY)
        });
    }

    pub(super) fn drive_successions(&mut self, now: Now) {
        if self.succession_due.is_none_or(|due| due > now.mono) {
            return;
        }
        let ready = self.registry.read().next_succession().is_some_and(|due| due.unix_nanos() <= now.wall.unix_nanos());
        if ready {
            self.outputs.push_back(Output::FollowSuccessors);
            // Asked again in a while, should it fail.
            self.succession_due = Some(now.mono + SUCCESSIONS_EVERY);
        } else {
            self.plan_successions(now);
        }
    }

    pub(super) fn succession_timeout(&self) -> Option<Time> {
        self.succession_due.filter(|_| !self.stopping)
    }
}
