//! Lookups under way: the questions they send, the answers that come, and what follows when they end.

use super::calls::Patience;
use super::lookup::{Goal, Lookup, Shape};
use super::{Machine, Purpose};
use crate::base::{Now, Time};
use crate::kad::{Id, Message, NodeInfo, Proof, Received, SignedRecord, rec_type};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Lookups under way at once; further ones are refused.
const RUNS_MAX: usize = 256;
/// The longest that a lookup may take.
const RUN_MAX: Duration = Duration::from_secs(15);
/// Answers that hold the newest record after which a lookup need not go on.
const ENOUGH: usize = 3;
/// Further questions to one node, as long as each brings something new.
const PAGES_MAX: u8 = 16;

/// One lookup and what it is for.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) lookup: Lookup,
    pub(super) after: After,
    /// When it ends, whatever has come.
    pub(super) until: Time,
    /// Further pages asked of each node.
    pages: BTreeMap<Id, u8>,
    pages_under_way: usize,
}

/// What follows a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// An order is answered.
    Order(u64),
    /// A published record gets its copies.
    Copies(u64),
    /// A bucket of the table was refilled.
    Refill(u8),
    /// This node has joined; then its far buckets are filled.
    Joined(u64),
}

impl Machine {
    /// Begins a lookup. False when there are too many.
    pub(super) fn begin(&mut self, now: Now, target: Id, goal: Goal, after: After, budget: Duration) -> bool {
        if self.runs.len() >= RUNS_MAX {
            return false;
        }
        let policy = &self.policy;
        let shape = match (&goal, policy.end_at_closest) {
            // The bucket wants nodes, not the very nearest ones.
            (_, true) if matches!(after, After::Refill(_)) => Shape { paths: 1, width: 3, close: 3 },
            (_, false) => Shape { paths: 1, width: policy.good_slots + policy.unknown_slots, close: usize::MAX },
            (Goal::Records { enough: Some(_), .. }, _) => Shape { paths: policy.paths, width: 2, close: policy.k / 2 },
            _ => Shape { paths: 1, width: policy.good_slots, close: policy.k },
        };
        let nearest = self.table.nearest_healthy(&target, policy.k, self.state_of());
        let seeds = nearest.into_iter().map(|entry| entry.info.clone()).collect();
        let lookup = Lookup::new(target, goal, shape, seeds);
        let until = now.mono + budget.min(RUN_MAX);
        self.next_run += 1;
        let run = Run { lookup, after, until, pages: BTreeMap::new(), pages_under_way: 0 };
        self.runs.insert(self.next_run, Box::new(run));
        self.drive(now, self.next_run);
        true
    }

    /// What a lookup for endpoint records, or any others, wants.
    pub(super) fn records_goal(&self, rec_type: u8, all: bool) -> Goal {
        let first = if self.policy.newest_wins { ENOUGH } else { 1 };
        Goal::Records { rec_type, enough: (!all).then_some(first) }
    }

    /// Asks whoever is next, or ends the lookup.
    fn drive(&mut self, now: Now, number: u64) {
        loop {
            let Some(run) = self.runs.get_mut(&number) else { return };
            let Some(node) = run.lookup.next() else { break };
            let request = match run.lookup.goal() {
                Goal::Nodes => Message::FindNode { target: run.lookup.target() },
                Goal::Records { rec_type, .. } => {
                    Message::FindValue { target: run.lookup.target(), rec_type: *rec_type }
                }
            };
            let id = node.node_id;
            if !self.ask(now, number, &node, request, false)
                && let Some(run) = self.runs.get_mut(&number)
            {
                run.lookup.handle_failure(&id);
            }
        }
        let Some(run) = self.runs.get(&number) else { return };
        if run.lookup.is_done() && (run.pages_under_way == 0 || run.lookup.has_enough()) {
            self.end(now, number);
        }
    }

    fn ask(&mut self, now: Now, run: u64, node: &NodeInfo, request: Message, page: bool) -> bool {
        // What a node proved itself goes before what others say of it.
        let to = self.health.addr(&node.node_id).unwrap_or_else(|| node.socket_addr());
        let patience = self.patience(now, Some(&node.node_id), self.policy.query_timeout);
        self.call(now, to, Some(node.node_id), request, patience, Purpose::Lookup { run, page })
    }

    /// A node that was asked has answered.
    pub(super) fn handle_step(&mut self, now: Now, number: u64, page: bool, from: SocketAddr, received: Received) {
        let asked = NodeInfo::new(received.sender, from);
        let id = asked.node_id;
        let (nodes, record, records) = match received.message {
            Message::FindNodeResp { nodes, .. } => (nodes, None, Vec::new()),
            Message::FindValueResp { nodes, record, records, .. } => (nodes, record, records),
            _ => return,
        };
        // Who answers at all may be learned from, also after the lookup.
        let nodes = self.plausible(from, nodes);
        for node in &nodes {
            self.health.bind(node.node_id, node.socket_addr(), Proof::Heard);
            self.table.handle_node(now.mono, node.clone(), Proof::Heard);
        }
        let records = match (records.is_empty(), record) {
            (true, Some(record)) => vec![*record],
            _ => records,
        };
        let Some(run) = self.runs.get(&number) else { return };
        let (target, goal) = (run.lookup.target(), run.lookup.goal().clone());
        let believed = match goal {
            Goal::Nodes => Vec::new(),
            Goal::Records { rec_type, .. } => self.believable(now, &target, rec_type, records, run.lookup.records()),
        };
        let rules = self.policy.rules;
        let Some(run) = self.runs.get_mut(&number) else { return };
        let new = believed.iter().any(|record| !run.lookup.records().contains(record));
        if page {
            run.pages_under_way = run.pages_under_way.saturating_sub(1);
            run.lookup.handle_page(believed, &rules);
        } else {
            run.lookup.handle_answer(&id, nodes, believed, &rules);
        }
        // An answer holds few records: whoever had something new may have more.
        if new && let Goal::Records { rec_type, enough: None } = goal {
            self.ask_page(now, number, &asked, Message::FindValue { target, rec_type });
        }
        self.drive(now, number);
    }

    fn ask_page(&mut self, now: Now, number: u64, node: &NodeInfo, request: Message) {
        let Some(run) = self.runs.get_mut(&number) else { return };
        let asked = run.pages.entry(node.node_id).or_default();
        if *asked >= PAGES_MAX {
            return;
        }
        *asked += 1;
        run.pages_under_way += 1;
        if !self.ask(now, number, node, request, true)
            && let Some(run) = self.runs.get_mut(&number)
        {
            run.pages_under_way = run.pages_under_way.saturating_sub(1);
        }
    }

    pub(super) fn handle_slow_step(&mut self, now: Now, number: u64, id: &Id) {
        let Some(run) = self.runs.get_mut(&number) else { return };
        run.lookup.handle_slow(id);
        self.drive(now, number);
    }

    pub(super) fn handle_failed_step(&mut self, now: Now, number: u64, page: bool, id: &Id) {
        let Some(run) = self.runs.get_mut(&number) else { return };
        if page {
            run.pages_under_way = run.pages_under_way.saturating_sub(1);
        } else {
            run.lookup.handle_failure(id);
        }
        self.drive(now, number);
    }

    /// Lookups that have taken long enough end with what they have.
    pub(super) fn expire_runs(&mut self, now: Now) {
        let late: Vec<u64> = self.runs.iter().filter(|(_, run)| run.until <= now.mono).map(|(n, _)| *n).collect();
        late.into_iter().for_each(|number| self.end(now, number));
    }

    /// Requests that are still under way stay so: they tell who is alive, and end by themselves.
    fn end(&mut self, now: Now, number: u64) {
        let Some(run) = self.runs.remove(&number) else { return };
        if self.runs.is_empty() {
            // An empty map keeps room for several values until it is dropped.
            self.runs = BTreeMap::new();
        }
        self.counters.lookups += 1;
        self.counters.hops += run.lookup.hops();
        let nodes: Vec<NodeInfo> = run.lookup.answered().take(self.policy.k).cloned().collect();
        match run.after {
            After::Order(order) => self.finish_lookup(now, order, nodes, run.lookup),
            After::Copies(set) => self.make_copies(now, set, nodes),
            After::Refill(bucket) => self.table.handle_refilled(bucket),
            After::Joined(order) => self.finish_join(now, order),
        }
    }

    /// The newest endpoint record among some.
    pub(super) fn newest_endpoint<'a>(&self, records: &'a [SignedRecord]) -> Option<&'a SignedRecord> {
        let rules = &self.policy.rules;
        records
            .iter()
            .filter(|record| record.rec_type == rec_type::ENDPOINT)
            .reduce(|best, record| if record.is_newer_than(best, rules) { record } else { best })
    }

    /// Patience for a node nobody knows, for requests of the owner's.
    pub(super) fn owner_patience(&self, now: Now, to: SocketAddr, budget: Duration) -> Patience {
        let id = self.health.id_at(&to);
        self.patience(now, id.as_ref(), budget)
    }
}
