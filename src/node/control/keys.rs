//! Keys that are replaced, this node's own and others', as requests.

use super::execute::LOCAL;
use super::executor::{Each, Executor, Tally};
use super::rows::with;
use super::{Rigs, Summary};
use crate::base::{Error, Result};
use crate::mesh::{Answer, AuditCommand, Command};
use crate::message::{AuditTail, MessageType};
use crate::peers::{Admission, Succession};
use crate::runtime::files::identity::IdentityFiles;
use serde_json::json;
use std::collections::BTreeMap;

impl Executor<'_> {
    /// What this node says of its own keys, and what every known peer said to it. `announce`: the statement is read anew
    /// and said from now on.
    pub(super) fn rotation(&self, announce: bool, each: Each<'_>) -> Result<Summary> {
        let shared = self.shared;
        if announce {
            let paths = shared.paths.as_ref().ok_or_else(|| Error::Failed("this node has no folder".to_owned()))?;
            if !shared.config.secure {
                return Err(Error::Config("keys are replaced in secure sessions, and `secure` is off here".to_owned()));
            }
            let (statement, _) = IdentityFiles::from(paths)
                .rotation()?
                .ok_or_else(|| Error::Config("no new keys are announced".to_owned()))?;
            shared.control.send(Command::Rotate(Box::new(statement)), None, 0)?;
        }
        let Answer::Rotation(Some((statement, told))) = shared.ask(LOCAL, 0, |call| Command::Rotation { call })? else {
            return Ok(Summary::default());
        };
        let told: BTreeMap<_, _> = told.into_iter().collect();
        let known = shared.registry.list_peers().into_iter().filter_map(|peer| peer.key().map(|key| (peer, key)));
        let known: Vec<_> = known.filter(|(_, key)| shared.registry.admission(key) == Admission::Listed).collect();
        let mut summary = Summary { asked: known.len(), failed: 0 };
        for (peer, key) in known {
            let (state, due, why) = match told.get(&key) {
                Some(Ok(rotated)) => (json!(rotated.state), rotated.due, None),
                Some(Err(why)) => (json!("refused"), None, Some(why)),
                None => (json!("not_told"), None, None),
            };
            summary.failed += usize::from(why.is_some());
            let row = json!({ "rig": peer.label(), "id": peer.id, "state": state, "due": due, "new": statement.new });
            each(with(row, "why", json!(why)));
        }
        Ok(summary)
    }

    /// Whatever would replace this key is dropped, here or on rigs.
    pub(super) fn peers_keep_key(&self, selector: &str, rigs: &Rigs, each: Each<'_>) -> Result<Summary> {
        let key = self.any_key(selector)?;
        if *rigs != Rigs::default() {
            return self.on_rigs(rigs, each, |peers| self.controller.sweep_keep_key(peers, &key));
        }
        let command = AuditCommand::of_key(&MessageType::KeepKey, &key);
        self.shared.record_if_possible(&command, || self.shared.registry.keep_key(&key))?;
        self.shared.control.send(Command::AccessChanged, None, 0)?;
        self.row_of_key(&key, each)
    }

    /// The end of rigs' audit logs.
    pub(super) fn audit_tail(&self, rigs: &Rigs, lines: u32, each: Each<'_>) -> Result<Summary> {
        let asked = self.asked(rigs)?;
        let mut tally = Tally::new(each);
        let row = |tail: AuditTail| json!({ "lines": tail.lines, "has_more": tail.more });
        if asked.own {
            let own = self.shared.audit.as_ref().map_or_else(|| Ok(AuditTail::default()), |audit| audit.tail(lines));
            tally.add(&self.own(), own.map(row));
        }
        for (peer, tail) in self.controller.sweep_audit(&asked.peers, lines) {
            tally.add(&self.about(&peer), tail.map(row));
        }
        Ok(tally.summary)
    }

    /// What the owner should know of keys that name successors here.
    pub(super) fn succession_notes(&self) -> Vec<String> {
        self.shared.registry.successions().iter().map(|s| self.succession_note(s)).collect()
    }

    fn succession_note(&self, succession: &Succession) -> String {
        let old = succession.old.node_id();
        let name =
            self.shared.registry.peer(&old.to_string()).map_or_else(|| old.to_string(), |p| p.label().to_owned());
        let name = crate::base::quote_value(&name).into_owned();
        if succession.contested {
            return format!(
                "{name} names two successors: somebody else has its key too; rigmesh peers revoke {old}, or peers keep-key {old}"
            );
        }
        let waits = if succession.proven { "" } else { ", once that has proven itself" };
        let due = succession.due.map(|due| due.to_string()).unwrap_or_default();
        format!(
            "{name} gets a new key at {due}{waits}; if its owner does not know of that: rigmesh peers keep-key {old}"
        )
    }
}
