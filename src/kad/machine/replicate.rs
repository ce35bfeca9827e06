//! Copies of what this node publishes (dht.md §13): made on the nodes nearest to the key, renewed with every new record,
//! looked after until the record's time is over.
//!
//! A node that does not keep a record may have it already, or a newer one; the answer does not say. It is asked for what it
//! has, and counts as a copy only if it has it.

use super::lookup::Goal;
use super::run::After;
use super::{Machine, Purpose};
use crate::base::{Now, Time};
use crate::kad::{self, Category, Id, Message, NodeInfo, Policy, PutError, SignedRecord};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Records that are looked after.
const SETS_MAX: usize = 4096;
/// Copies of one record that are being made at once.
const AT_ONCE: usize = 4;
/// After a run that made too few copies the next one comes after this; twice as long each time.
const RETRY: Duration = Duration::from_secs(30);
const RETRY_DOUBLINGS: u32 = 4;

/// All published records.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    sets: BTreeMap<u64, Set>,
    names: BTreeMap<Id, u64>,
    /// When idle sets run again, and which.
    due: BTreeSet<(Time, u64)>,
    next: u64,
}

/// One record and its copies.
#[derive(Debug)]
struct Set {
    name: Id,
    key: Id,
    record: SignedRecord,
    /// Orders that wait for the copies of the run that comes or goes on.
    orders: Vec<u64>,
    state: State,
    /// A newer record came while a run was going on.
    again: bool,
    copies: BTreeMap<Id, Copy>,
    retry_at: Option<Time>,
    short: u32,
}

#[derive(Debug)]
enum State {
    Idle,
    /// The nodes near the key are looked for.
    Looking,
    /// Copies are made.
    Storing {
        next: VecDeque<NodeInfo>,
        under_way: BTreeSet<Id>,
    },
}

#[derive(Clone, Debug)]
struct Copy {
    at: SocketAddr,
    next_probe: Time,
    pause: Duration,
    fails: u32,
    /// It is silent: it does not count, and goes if it still is then.
    silent_until: Option<Time>,
    /// The record it has is the newest.
    renewed: bool,
}

impl Replicas {
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// When a set runs again.
    fn retry(&mut self, number: u64, at: Option<Time>) {
        let Some(set) = self.sets.get_mut(&number) else { return };
        if let Some(before) = std::mem::replace(&mut set.retry_at, at) {
            self.due.remove(&(before, number));
        }
        self.due.extend(at.map(|at| (at, number)));
    }

    fn remove(&mut self, number: u64) -> Option<Set> {
        self.retry(number, None);
        let set = self.sets.remove(&number)?;
        self.names.remove(&set.name);
        Some(set)
    }

    /// A copy's holder answered, or did not.
    pub(super) fn handle_alive(&mut self, now: Time, number: u64, id: &Id, alive: bool, policy: &Policy) {
        let Some(set) = self.sets.get_mut(&number) else { return };
        let Some(copy) = set.copies.get_mut(id) else { return };
        if alive {
            copy.pause = (copy.pause * 2).min(policy.replica_probe_max);
            (copy.fails, copy.silent_until, copy.next_probe) = (0, None, now + copy.pause);
            return;
        }
        copy.fails += 1;
        copy.next_probe = now + policy.replica_probe_first;
        match copy.silent_until {
            Some(until) if until <= now => drop(set.copies.remove(id)),
            None if copy.fails >= policy.bad_after => {
                copy.silent_until = Some(now + policy.replica_grace);
                // A run that goes on counts its copies at its end.
                if matches!(set.state, State::Idle) && set.retry_at.is_none() {
                    self.retry(number, Some(now));
                }
            }
            _ => {}
        }
    }
}

impl Set {
    /// Copies that count.
    fn alive(&self) -> usize {
        self.copies.values().filter(|copy| copy.silent_until.is_none()).count()
    }

    /// Copies of the newest record.
    fn renewed(&self) -> usize {
        self.copies.values().filter(|copy| copy.renewed && copy.silent_until.is_none()).count()
    }
}

impl Machine {
    /// Keeps a record here, and makes copies of it on the nodes near `key` (the zero key stands for its own). On `Ok` the
    /// record is kept; the order ends with [`super::Done::Published`] when the copies are made.
    ///
    /// # Errors
    /// Why it is not kept; [`PutError::Full`] when too many records are looked after.
    pub fn publish(&mut self, now: Now, order: Option<u64>, key: Id, record: SignedRecord) -> Result<(), PutError> {
        let key = if key == Id::ZERO { record.default_key() } else { key };
        let name = name_of(&key, &record);
        if !self.replicas.names.contains_key(&name) && self.replicas.sets.len() >= SETS_MAX {
            return Err(PutError::Full("too many records are published here"));
        }
        self.store.put(now, Some(key), record.clone(), kad::Source::Own)?;
        let number = *self.replicas.names.entry(name).or_insert_with(|| {
            self.replicas.next += 1;
            self.replicas.next
        });
        let set = self.replicas.sets.entry(number).or_insert_with(|| Set {
            name,
            key,
            record: record.clone(),
            orders: Vec::new(),
            state: State::Idle,
            again: false,
            copies: BTreeMap::new(),
            retry_at: None,
            short: 0,
        });
        set.orders.extend(order);
        set.record = record;
        set.copies.values_mut().for_each(|copy| copy.renewed = false);
        match set.state {
            State::Idle => self.start_copies(now, number),
            _ => set.again = true,
        }
        Ok(())
    }

    /// Looks after a publisher's records no longer; the copies stay where they are.
    pub fn forget_publisher(&mut self, publisher: &Id) {
        let of = |set: &Set| set.record.default_key() == *publisher;
        let numbers: Vec<u64> = self.replicas.sets.iter().filter(|(_, set)| of(set)).map(|(n, _)| *n).collect();
        numbers.into_iter().for_each(|number| self.drop_set(number));
    }

    /// Copies of a published record that count, if this node looks after it.
    pub fn copies(&self, key: &Id, record: &SignedRecord) -> Option<usize> {
        let number = self.replicas.names.get(&name_of(key, record))?;
        self.replicas.sets.get(number).map(Set::alive)
    }

    fn drop_set(&mut self, number: u64) {
        let Some(set) = self.replicas.remove(number) else { return };
        let copies = set.alive();
        set.orders.into_iter().for_each(|order| self.done(order, Ok(super::Done::Published(copies))));
    }

    fn start_copies(&mut self, now: Now, number: u64) {
        self.replicas.retry(number, None);
        let Some(set) = self.replicas.sets.get_mut(&number) else { return };
        (set.state, set.again) = (State::Looking, false);
        let key = set.key;
        if self.passive {
            let nearest = self.table.nearest_healthy(&key, self.policy.k, self.state_of());
            let nodes = nearest.into_iter().map(|entry| entry.info.clone()).collect();
            return self.make_copies(now, number, nodes);
        }
        if !self.begin(now, key, Goal::Nodes, After::Copies(number), self.policy.refill_budget)
            && let Some(set) = self.replicas.sets.get_mut(&number)
        {
            set.state = State::Idle;
            self.replicas.retry(number, Some(now.mono + RETRY));
        }
    }

    /// The nodes near the key are known: those that hold a copy are renewed, then the nearest others.
    pub(super) fn make_copies(&mut self, now: Now, number: u64, nodes: Vec<NodeInfo>) {
        let Some(set) = self.replicas.sets.get_mut(&number) else { return };
        let near = nodes.len().min(self.policy.replicas_max);
        let (renewed, others): (Vec<NodeInfo>, Vec<NodeInfo>) =
            nodes.into_iter().take(near).partition(|node| set.copies.contains_key(&node.node_id));
        let next = renewed.into_iter().chain(others).collect();
        set.state = State::Storing { next, under_way: BTreeSet::new() };
        self.drive_copies(now, number);
    }

    fn drive_copies(&mut self, now: Now, number: u64) {
        loop {
            let wanted = self.policy.replicas;
            let Some(set) = self.replicas.sets.get_mut(&number) else { return };
            let renewed = set.renewed();
            let State::Storing { next, under_way } = &mut set.state else { return };
            if under_way.len() >= AT_ONCE || renewed + under_way.len() >= wanted {
                break;
            }
            let Some(node) = next.pop_front() else { break };
            under_way.insert(node.node_id);
            let store = Message::Store { record: Box::new(set.record.clone()), key: Some(set.key) };
            let to = self.health.addr(&node.node_id).unwrap_or_else(|| node.socket_addr());
            let patience = self.patience(now, Some(&node.node_id), self.policy.store_timeout);
            if !self.call(now, to, Some(node.node_id), store, patience, Purpose::Copy(number)) {
                self.copy_over(number, &node.node_id);
            }
        }
        self.end_copies(now, number);
    }

    /// Ends a run that has nothing left to do.
    fn end_copies(&mut self, now: Now, number: u64) {
        let wanted = self.policy.replicas;
        let Some(set) = self.replicas.sets.get_mut(&number) else { return };
        let renewed = set.renewed();
        match &set.state {
            State::Storing { next, under_way } if under_way.is_empty() && (next.is_empty() || renewed >= wanted) => {}
            _ => return,
        }
        set.state = State::Idle;
        if set.again {
            return self.start_copies(now, number);
        }
        set.short = if renewed >= wanted { 0 } else { set.short.saturating_add(1) };
        let retry_at = (set.short > 0).then(|| now.mono + RETRY * (1 << (set.short - 1).min(RETRY_DOUBLINGS)));
        let orders = std::mem::take(&mut set.orders);
        self.replicas.retry(number, retry_at);
        orders.into_iter().for_each(|order| self.done(order, Ok(super::Done::Published(renewed))));
    }

    fn copy_over(&mut self, number: u64, id: &Id) {
        if let Some(Set { state: State::Storing { under_way, .. }, .. }) = self.replicas.sets.get_mut(&number) {
            under_way.remove(id);
        }
    }

    /// A node has answered a STORE.
    pub(super) fn handle_copied(&mut self, now: Now, number: u64, id: Id, from: SocketAddr, message: &Message) {
        let Message::StoreResp { stored, already_had } = message else { return };
        if *stored || *already_had {
            self.note_copy(now, number, id, from);
        } else if let Some(set) = self.replicas.sets.get(&number) {
            let question = Message::FindValue { target: set.key, rec_type: set.record.rec_type };
            let patience = self.patience(now, Some(&id), self.policy.store_timeout);
            if self.call(now, from, Some(id), question, patience, Purpose::Confirm(number)) {
                return;
            }
        }
        self.copy_over(number, &id);
        self.drive_copies(now, number);
    }

    /// A node that kept nothing has said what it has.
    pub(super) fn handle_confirmed(&mut self, now: Now, number: u64, id: Id, message: &Message) {
        let Some(set) = self.replicas.sets.get(&number) else { return };
        if let Message::FindValueResp { records, record, .. } = message {
            let mut all = records.iter().chain(record.as_deref());
            let rules = &self.policy.rules;
            let same = |other: &SignedRecord| {
                other.slot() == set.record.slot()
                    && !set.record.is_newer_than(other, rules)
                    && (*other == set.record || other.verify(now.wall, rules).is_ok())
            };
            if all.any(same)
                && let Some(at) = self.health.addr(&id)
            {
                self.note_copy(now, number, id, at);
            }
        }
        self.copy_over(number, &id);
        self.drive_copies(now, number);
    }

    fn note_copy(&mut self, now: Now, number: u64, id: Id, at: SocketAddr) {
        let (first, max) = (self.policy.replica_probe_first, self.policy.replicas_max);
        let Some(set) = self.replicas.sets.get_mut(&number) else { return };
        let fresh =
            Copy { at, next_probe: now.mono + first, pause: first, fails: 0, silent_until: None, renewed: true };
        let copy = set.copies.entry(id).or_insert_with(|| fresh.clone());
        (copy.at, copy.renewed, copy.fails, copy.silent_until) = (at, true, 0, None);
        if set.copies.len() > max {
            // The farthest is forgotten; it keeps what it has.
            let key = set.key;
            let farthest = set.copies.keys().copied().max_by_key(|other| key.distance(other));
            farthest.and_then(|farthest| set.copies.remove(&farthest));
        }
    }

    pub(super) fn handle_copy_failed(&mut self, now: Now, number: u64, id: &Id) {
        self.copy_over(number, id);
        self.drive_copies(now, number);
    }

    /// Runs that are due, and records whose time is over.
    pub(super) fn drive_replicas(&mut self, now: Now) {
        let due = self.replicas.due.iter().take_while(|(at, _)| *at <= now.mono);
        let due: Vec<u64> = due.map(|(_, number)| *number).collect();
        for number in due {
            self.replicas.retry(number, None);
            let over = self.replicas.sets.get(&number).is_some_and(|set| is_over(now, &set.record));
            if over { self.drop_set(number) } else { self.start_copies(now, number) }
        }
    }

    /// Asks holders of copies whether they are alive.
    pub(super) fn probe_replicas(&mut self, now: Now) {
        let over: Vec<u64> =
            self.replicas.sets.iter().filter(|(_, set)| is_over(now, &set.record)).map(|(n, _)| *n).collect();
        over.into_iter().for_each(|number| self.drop_set(number));
        let mut due = Vec::new();
        for (number, set) in &mut self.replicas.sets {
            for (id, copy) in set.copies.iter_mut().filter(|(_, copy)| copy.next_probe <= now.mono) {
                copy.next_probe = now.mono + copy.pause;
                due.push((*number, *id, copy.at));
            }
        }
        for (number, id, at) in due {
            let patience = self.patience(now, Some(&id), self.policy.store_timeout);
            let ping = Message::Ping { address: self.address };
            self.call(now, at, Some(id), ping, patience, Purpose::Replica(number));
        }
    }
}

fn is_over(now: Now, record: &SignedRecord) -> bool {
    record.expires_at() < kad::record::unix_seconds(now.wall)
}

/// What later records of the same owner and kind share: the key, the publisher, the type; for mail the text as well.
fn name_of(key: &Id, record: &SignedRecord) -> Id {
    let mut hash = Sha256::new().chain_update(key.as_bytes()).chain_update([record.rec_type]);
    hash.update(record.address.as_bytes());
    if record.category() == Category::Mailbox {
        hash.update(record.payload());
    }
    Id::from_bytes(hash.finalize().into())
}
