//! Calls that wait for a reply: a small table owned by the dispatcher, no lock. A call to a peer
//! that is not connected waits for its link first.

use super::io::{CallId, LinkId};
use crate::base::Time;
use crate::message::Payload;
use std::collections::{BTreeMap, BTreeSet};

/// Calls under way or waiting, all peers together. Beyond it a call is answered `Busy`.
pub(crate) const CALLS_MAX: usize = 65_536;

/// A request that was sent.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) call: CallId,
    pub(crate) link: LinkId,
    pub(crate) peer: String,
    pub(crate) sent: Time,
    pub(crate) deadline: Time,
}

/// A call whose peer is not connected yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) call: CallId,
    pub(crate) peer: String,
    /// What to send then; nothing for a call that only wants the link.
    pub(crate) payload: Option<Payload>,
    pub(crate) deadline: Time,
}

/// What a deadline ended.
#[derive(Debug)]
pub(crate) struct Overdue {
    pub(crate) call: CallId,
    pub(crate) peer: String,
    /// The request had been sent: the peer, not the network, is slow.
    pub(crate) sent: bool,
}

/// The table of calls.
#[derive(Debug, Default)]
pub(crate) struct Rpc {
    pending: BTreeMap<String, Pending>,
    waiting: BTreeMap<CallId, Waiting>,
    deadlines: BTreeSet<(Time, Key)>,
    /// Ids that were drawn for requests not sent yet, because they are recorded before they are sent.
    names: BTreeMap<CallId, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Sent(String),
    Waiting(CallId),
}

impl Rpc {
    pub(crate) fn is_full(&self) -> bool {
        self.pending.len() + self.waiting.len() >= CALLS_MAX
    }

    /// The request of this call is to have this id.
    pub(crate) fn name(&mut self, call: CallId, id: Option<String>) {
        if let Some(id) = id {
            self.names.insert(call, id);
        }
    }

    /// The id that the request of this call is to have, if one was drawn.
    pub(crate) fn take_name(&mut self, call: CallId) -> Option<String> {
        self.names.remove(&call)
    }

    /// A request went out.
    pub(crate) fn sent(&mut self, request: String, pending: Pending) {
        self.deadlines.insert((pending.deadline, Key::Sent(request.clone())));
        self.pending.insert(request, pending);
    }

    /// A call waits for its link.
    pub(crate) fn wait(&mut self, waiting: Waiting) {
        self.deadlines.insert((waiting.deadline, Key::Waiting(waiting.call)));
        self.waiting.insert(waiting.call, waiting);
    }

    /// Whether a request with this id was sent over this link and waits for its answer.
    pub(crate) fn awaits(&self, link: LinkId, request: &str) -> bool {
        self.pending.get(request).is_some_and(|pending| pending.link == link)
    }

    /// The reply to a request came, over the link it was sent on.
    pub(crate) fn complete(&mut self, request: &str) -> Option<Pending> {
        let pending = self.pending.remove(request)?;
        self.deadlines.remove(&(pending.deadline, Key::Sent(request.to_owned())));
        Some(pending)
    }

    /// The calls that waited for this peer to send it something.
    pub(crate) fn take_waiting(&mut self, peer: &str) -> Vec<Waiting> {
        let ids: Vec<CallId> =
            self.waiting.values().filter(|w| w.peer == peer && w.payload.is_some()).map(|w| w.call).collect();
        ids.into_iter().filter_map(|id| self.take_one_waiting(id)).collect()
    }

    /// Whether a request that was sent over this link waits for its answer.
    pub(crate) fn has_link(&self, link: LinkId) -> bool {
        self.pending.values().any(|pending| pending.link == link)
    }

    /// The requests whose link is gone.
    pub(crate) fn take_link(&mut self, link: LinkId) -> Vec<Pending> {
        let ids: Vec<String> = self.pending.iter().filter(|(_, p)| p.link == link).map(|(id, _)| id.clone()).collect();
        ids.iter().filter_map(|id| self.complete(id)).collect()
    }

    /// Everything: the node stops.
    pub(crate) fn take_all(&mut self) -> Vec<CallId> {
        self.deadlines.clear();
        self.names.clear();
        let pending = std::mem::take(&mut self.pending).into_values().map(|p| p.call);
        let waiting = std::mem::take(&mut self.waiting).into_keys();
        pending.chain(waiting).collect()
    }

    /// The next call whose deadline has passed.
    pub(crate) fn pop_overdue(&mut self, now: Time) -> Option<Overdue> {
        if self.deadlines.first()?.0 > now {
            return None;
        }
        match self.deadlines.pop_first()?.1 {
            Key::Sent(id) => self.pending.remove(&id).map(|p| Overdue { call: p.call, peer: p.peer, sent: true }),
            Key::Waiting(id) => {
                self.names.remove(&id);
                self.waiting.remove(&id).map(|w| Overdue { call: w.call, peer: w.peer, sent: false })
            }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// A waiting call that is answered otherwise.
    pub(crate) fn take_call(&mut self, call: CallId) {
        self.take_one_waiting(call);
    }

    fn take_one_waiting(&mut self, id: CallId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        self.deadlines.remove(&(waiting.deadline, Key::Waiting(id)));
        Some(waiting)
    }
}
