//! Successors taking their predecessors' places (secure-session.md §6): on disk and in the audit log before anybody is
//! served by it. Handshake threads come here when a key has proven itself, the dispatcher's workers when a time is over.

use super::audit::AuditBook;
use super::clock::wall;
use super::files::registry::SharedRegistry;
use super::queues::{Event, InboxSender};
use crate::base::Result;
use crate::identity::PublicKey;
use crate::mesh::Input;
use crate::peers::AuditBegin;
use serde_json::json;
use std::sync::Arc;

/// Who waits for whom is in the registry; this is what acts on it.
pub(crate) struct Successions {
    pub(crate) registry: SharedRegistry,
    pub(crate) audit: Option<Arc<AuditBook>>,
    pub(crate) inbox: InboxSender,
}

impl Successions {
    /// A key has proven itself in a session, with this signing key.
    pub(crate) fn note_proven(&self, key: &PublicKey, sign: &[u8; 32]) {
        // Hardly any key is a successor.
        if self.registry.inner().read().awaits_successor(key, wall()) {
            self.told(self.recorded(Some(key), || self.registry.note_successor_proven(key, sign)));
        }
    }

    /// Time has passed.
    pub(crate) fn follow_due(&self) {
        self.told(self.recorded(None, || self.registry.follow_due()));
    }

    fn recorded(&self, key: Option<&PublicKey>, change: impl FnOnce() -> Result<bool>) -> Result<bool> {
        let args = json!({ "successor": key });
        let begin = AuditBegin { who: key, session: None, id: "", ts: None, what: "follow", args: &args, peer: None };
        match &self.audit {
            Some(audit) => audit.record(&begin, change),
            None => change(),
        }
    }

    fn told(&self, done: Result<bool>) {
        match done {
            Ok(true) => {
                self.inbox.send(Event::Mesh(Input::Succeeded));
            }
            Ok(false) => {}
            Err(e) => log::error!(target: "peers", "a successor cannot take its predecessor's place yet: {e}"),
        }
    }
}
