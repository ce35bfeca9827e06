//! An iterative lookup as a machine of its own: which node is asked next, and when enough have answered.
//!
//! Candidates are kept on several paths, each of which begins with other nodes and follows only what its own answers
//! name, so that a liar at the start of one cannot steer the others. No node is asked twice. A path is done when the
//! nearest `close` of its candidates that still count have answered; nodes that are slow no longer count, but what they
//! say before the end does.

use crate::kad::{Distance, Id, NodeInfo, Rules, SignedRecord, newest};

/// Candidates remembered on a path: the nearest.
const PATH_MAX: usize = 64;
/// Nodes remembered in all.
const NODES_MAX: usize = 512;
/// Nodes for which a full list makes room at once: one answer's.
const ROOM: usize = 16;
/// Paths.
const PATHS_MAX: usize = 32;
/// Records collected.
const RECORDS_MAX: usize = 512;

/// What a lookup is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// The nearest nodes.
    Nodes,
    /// Records of a type (0: all), until so many answers hold the newest of each slot; `None`: from everybody who is near.
    Records { rec_type: u8, enough: Option<usize> },
}

/// Numbers of a lookup.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Paths.
    pub(super) paths: usize,
    /// Nodes asked at once on each path, those that are slow not counted.
    pub(super) width: usize,
    /// Nearest nodes that must have answered.
    pub(super) close: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fresh,
    /// For this path.
    Asked(usize),
    /// The same, some time ago.
    Slow(usize),
    Answered,
    Failed,
}

impl State {
    /// Whether a lookup waits for it.
    fn counts(self) -> bool {
        !matches!(self, State::Failed | State::Slow(_))
    }
}

#[derive(Debug)]
struct Candidate {
    info: NodeInfo,
    state: State,
    /// The paths it is on, a bit each.
    paths: u32,
    /// It holds the newest of all records it has.
    agrees: bool,
    /// How many nodes led here, this one included: 1 for those that were known before.
    hop: u8,
}

/// One lookup.
#[derive(Debug)]
pub(super) struct Lookup {
    target: Id,
    goal: Goal,
    shape: Shape,
    /// The nearest first.
    nodes: Vec<Candidate>,
    records: Vec<SignedRecord>,
}

impl Lookup {
    /// Begins at `seeds`, the nearest first.
    pub(super) fn new(target: Id, goal: Goal, mut shape: Shape, seeds: Vec<NodeInfo>) -> Lookup {
        let paths = shape.paths.clamp(1, PATHS_MAX);
        shape.paths = paths;
        let mut lookup = Lookup { target, goal, shape, nodes: Vec::new(), records: Vec::new() };
        for (i, seed) in seeds.into_iter().enumerate() {
            lookup.add(i % paths, seed, 1);
        }
        lookup
    }

    /// Where it goes.
    pub(super) fn target(&self) -> Id {
        self.target
    }

    /// What it is for.
    pub(super) fn goal(&self) -> &Goal {
        &self.goal
    }

    /// The next node to ask, until there is none for now.
    pub(super) fn next(&mut self) -> Option<NodeInfo> {
        if self.has_enough() {
            return None;
        }
        // The path that has fewest under way goes first, so that all go on.
        let mut order: Vec<(usize, usize)> = (0..self.shape.paths).map(|path| (self.under_way(path), path)).collect();
        order.sort_unstable();
        for (busy, path) in order {
            if busy >= self.shape.width {
                continue;
            }
            let Some(at) = self.due(path) else { continue };
            let Some(candidate) = self.nodes.get_mut(at) else { continue };
            candidate.state = State::Asked(path);
            return Some(candidate.info.clone());
        }
        None
    }

    /// A node has answered: nodes that it names, records that it holds (verified, allowed at the target, of the right type).
    pub(super) fn handle_answer(&mut self, id: &Id, nodes: Vec<NodeInfo>, records: Vec<SignedRecord>, rules: &Rules) {
        let Some(candidate) = self.candidate(id) else { return };
        let (State::Asked(path) | State::Slow(path)) = candidate.state else { return };
        candidate.state = State::Answered;
        let hop = candidate.hop.saturating_add(1);
        for node in nodes {
            self.add(path, node, hop);
        }
        if !records.is_empty()
            && self.merge(records, rules)
            && let Some(candidate) = self.candidate(id)
        {
            candidate.agrees = true;
        }
    }

    /// A node has let its usual time pass: others are asked meanwhile.
    pub(super) fn handle_slow(&mut self, id: &Id) {
        if let Some(candidate) = self.candidate(id)
            && let State::Asked(path) = candidate.state
        {
            candidate.state = State::Slow(path);
        }
    }

    /// A node will not answer any more.
    pub(super) fn handle_failure(&mut self, id: &Id) {
        if let Some(candidate) = self.candidate(id) {
            candidate.state = State::Failed;
        }
    }

    /// Whether no answer can matter any more.
    pub(super) fn is_done(&self) -> bool {
        self.has_enough() || (0..self.shape.paths).all(|path| self.is_path_done(path))
    }

    /// The nearest nodes that have answered, nearest first.
    pub(super) fn answered(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.iter().filter(|c| c.state == State::Answered).map(|c| &c.info)
    }

    /// How many nodes led to the nearest one that has answered, that one included.
    pub(super) fn hops(&self) -> u64 {
        self.nodes.iter().find(|c| c.state == State::Answered).map_or(0, |c| c.hop.into())
    }

    /// The records collected: the newest of each slot.
    pub(super) fn take(self) -> Vec<SignedRecord> {
        self.records
    }

    /// The records so far.
    pub(super) fn records(&self) -> &[SignedRecord] {
        &self.records
    }

    /// A further page of a node that has answered before.
    pub(super) fn handle_page(&mut self, records: Vec<SignedRecord>, rules: &Rules) {
        if !records.is_empty() {
            self.merge(records, rules);
        }
    }

    /// Where a node is among the candidates, or would be.
    fn place(&self, at: &Distance) -> Result<usize, usize> {
        self.nodes.binary_search_by(|other| self.target.distance(&other.info.node_id).cmp(at))
    }

    fn candidate(&mut self, id: &Id) -> Option<&mut Candidate> {
        let place = self.place(&self.target.distance(id)).ok()?;
        self.nodes.get_mut(place)
    }

    fn add(&mut self, path: usize, info: NodeInfo, hop: u8) {
        let bit = 1 << path.min(PATHS_MAX - 1);
        match self.place(&self.target.distance(&info.node_id)) {
            Ok(place) => {
                if let Some(candidate) = self.nodes.get_mut(place) {
                    candidate.paths |= bit;
                }
            }
            Err(_) if self.nodes.len() >= NODES_MAX => return,
            Err(place) => {
                if self.nodes.len() == self.nodes.capacity() {
                    self.nodes.reserve_exact(ROOM);
                }
                self.nodes.insert(place, Candidate { info, state: State::Fresh, paths: bit, agrees: false, hop });
            }
        }
        if let Some(surplus) = self.nodes.iter_mut().filter(|c| c.paths & bit != 0).nth(PATH_MAX) {
            // The furthest: before there were no more than the most.
            surplus.paths &= !bit;
        }
    }

    /// Keeps the newest of each slot. Says whether all that was given is among it.
    fn merge(&mut self, records: Vec<SignedRecord>, rules: &Rules) -> bool {
        let before = self.records.clone();
        self.records.extend(records.iter().cloned());
        let kept = newest(&self.records, rules);
        let mut i = 0;
        self.records.retain(|_| {
            i += 1;
            kept.binary_search(&(i - 1)).is_ok()
        });
        self.records.truncate(RECORDS_MAX);
        // Whoever held something older than what is known now has not agreed to it.
        if before.iter().any(|old| !self.records.contains(old)) {
            self.nodes.iter_mut().for_each(|candidate| candidate.agrees = false);
        }
        records.iter().all(|record| self.records.contains(record))
    }

    /// Whether the newest record is agreed on, and the nearest node of all was heard: what was published last is there,
    /// while those further away may still hold what was published when they were the nearest.
    pub(super) fn has_enough(&self) -> bool {
        let mut states = self.nodes.iter().map(|candidate| candidate.state);
        matches!(self.goal, Goal::Records { enough: Some(enough), .. } if self.agreed() >= enough)
            && states.find(|state| state.counts()).is_none_or(|nearest| nearest == State::Answered)
    }

    /// Answers that held the newest of all they had.
    fn agreed(&self) -> usize {
        self.nodes.iter().filter(|candidate| candidate.agrees).count()
    }

    fn under_way(&self, path: usize) -> usize {
        self.nodes.iter().filter(|candidate| candidate.state == State::Asked(path)).count()
    }

    /// The candidates of a path, the nearest first.
    fn on_path(&self, path: usize) -> impl Iterator<Item = (usize, State)> {
        let bit = 1 << path.min(PATHS_MAX - 1);
        let nodes = self.nodes.iter().enumerate().filter(move |(_, candidate)| candidate.paths & bit != 0);
        nodes.map(|(place, candidate)| (place, candidate.state))
    }

    /// The nearest of them that count.
    fn near(&self, path: usize) -> impl Iterator<Item = (usize, State)> {
        self.on_path(path).filter(|(_, state)| state.counts()).take(self.shape.close)
    }

    fn due(&self, path: usize) -> Option<usize> {
        self.near(path).find(|(_, state)| *state == State::Fresh).map(|(place, _)| place)
    }

    fn is_path_done(&self, path: usize) -> bool {
        let mut near = self.near(path).peekable();
        // Nobody left but slow ones: they are what there is to wait for, unless somebody has said what was asked.
        if near.peek().is_none() && self.agreed() == 0 {
            return !self.on_path(path).any(|(_, state)| matches!(state, State::Slow(_)));
        }
        near.all(|(_, state)| state == State::Answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use crate::identity::{Address, SignKey};
    use crate::kad::{Stamp, rec_type};
    use std::collections::BTreeSet;

    const SHAPE: Shape = Shape { paths: 3, width: 2, close: 8 };

    /// A network of `n` nodes in which everybody knows the nearest 16 of anything, and some nodes are dead.
    struct World {
        nodes: Vec<NodeInfo>,
        rng: Rng,
    }

    impl World {
        fn new(n: usize) -> World {
            let mut rng = Rng::from_number(7);
            let node = |i: usize, rng: &mut Rng| {
                let mut address = [0xa0; 21];
                rng.fill(&mut address[1..]);
                let port = 1000 + u16::try_from(i).unwrap_or(0);
                NodeInfo::new(Address::from_bytes(address), ([10, 0, 0, 1], port).into())
            };
            World { nodes: (0..n).map(|i| node(i, &mut rng)).collect(), rng }
        }

        fn nearest(&self, target: &Id, n: usize) -> Vec<NodeInfo> {
            let mut nodes = self.nodes.clone();
            nodes.sort_by_key(|node| target.distance(&node.node_id));
            nodes.truncate(n);
            nodes
        }
    }

    /// A record of somebody who has published so often.
    fn record(seq: u64) -> SignedRecord {
        let stamp = Stamp { seq, timestamp: 1_750_000_000, ttl_s: 60 };
        SignedRecord::sign(&SignKey::from_seed(&[1; 32]), rec_type::ENDPOINT, vec![0xa0], stamp).unwrap()
    }

    #[test]
    fn the_nearest_nodes_are_found_from_any_start_and_nobody_is_asked_twice() {
        let mut world = World::new(400);
        for _ in 0..20 {
            let target = Id::from_bytes(world.rng.array());
            let seeds: Vec<NodeInfo> = (0..5).map(|_| world.nodes[world.rng.below(400) as usize].clone()).collect();
            let mut lookup = Lookup::new(target, Goal::Nodes, SHAPE, seeds);
            let mut asked = BTreeSet::new();
            while !lookup.is_done() {
                let node = lookup.next().expect("somebody to ask");
                assert!(asked.insert(node.node_id));
                // Each knows 16 nodes near a point that is nearer to the target than itself, but not the whole world.
                let view: Vec<NodeInfo> = world
                    .nearest(&target, 60)
                    .into_iter()
                    .filter(|n| n.node_id.common_bits(&node.node_id) >= 1 || world.rng.below(3) == 0)
                    .take(16)
                    .collect();
                lookup.handle_answer(&node.node_id, view, Vec::new(), &Rules::default());
            }
            let found: Vec<Id> = lookup.answered().take(4).map(|n| n.node_id).collect();
            let best: Vec<Id> = world.nearest(&target, 4).iter().map(|n| n.node_id).collect();
            assert_eq!(found, best);
            assert!(asked.len() < 60, "{}", asked.len());
        }
    }

    #[test]
    fn the_dead_and_the_slow_hold_up_nothing() {
        let world = World::new(100);
        let target = Id::from_bytes([3; 32]);
        let all = world.nearest(&target, 100);
        let mut lookup = Lookup::new(target, Goal::Nodes, SHAPE, all[..30].to_vec());
        let mut waiting = Vec::new();
        while let Some(node) = lookup.next() {
            match node.port % 3 {
                0 => lookup.handle_failure(&node.node_id),
                1 => {
                    lookup.handle_slow(&node.node_id);
                    waiting.push(node);
                }
                _ => lookup.handle_answer(&node.node_id, Vec::new(), Vec::new(), &Rules::default()),
            }
        }
        assert!(lookup.is_done() && !waiting.is_empty());
        // A slow answer still counts while the lookup is there.
        let late = &waiting[0];
        lookup.handle_answer(&late.node_id, Vec::new(), Vec::new(), &Rules::default());
        assert!(lookup.answered().any(|node| node == late));
    }

    #[test]
    fn only_slow_nodes_are_waited_for_and_none_at_all_is_an_end() {
        let world = World::new(2);
        let mut lookup = Lookup::new(Id::ZERO, Goal::Nodes, SHAPE, world.nodes.clone());
        let (a, b) = (lookup.next().unwrap().node_id, lookup.next().unwrap().node_id);
        lookup.handle_slow(&a);
        lookup.handle_slow(&b);
        assert!(!lookup.is_done() && lookup.next().is_none());
        lookup.handle_failure(&a);
        lookup.handle_answer(&b, Vec::new(), Vec::new(), &Rules::default());
        assert!(lookup.is_done());
        assert!(Lookup::new(Id::ZERO, Goal::Nodes, SHAPE, Vec::new()).is_done());
    }

    #[test]
    fn a_record_that_is_there_is_not_held_back_for_the_slow() {
        let world = World::new(6);
        let record = record(1);
        let goal = Goal::Records { rec_type: rec_type::ENDPOINT, enough: Some(3) };
        let mut lookup = Lookup::new(record.default_key(), goal, SHAPE, world.nodes);
        let asked: Vec<Id> = std::iter::from_fn(|| lookup.next()).map(|node| node.node_id).collect();
        lookup.handle_answer(&asked[0], Vec::new(), vec![record.clone()], &Rules::default());
        assert!(!lookup.is_done());
        asked.iter().skip(1).for_each(|id| lookup.handle_slow(id));
        assert!(lookup.is_done());
        assert_eq!(lookup.take(), [record]);
    }

    #[test]
    fn the_newest_record_wins_and_old_answers_do_not_count_for_it() {
        let (world, target) = (World::new(40), record(1).default_key());
        let goal = Goal::Records { rec_type: rec_type::ENDPOINT, enough: Some(2) };
        let mut lookup = Lookup::new(target, goal, SHAPE, world.nearest(&target, 40));
        for (i, seq) in [1, 2, 1, 2].into_iter().enumerate() {
            assert!(!lookup.is_done(), "after {i}");
            let node = lookup.next().unwrap();
            lookup.handle_answer(&node.node_id, Vec::new(), vec![record(seq)], &Rules::default());
        }
        // The third said something older: only the second and the fourth agree.
        assert!(lookup.is_done() && lookup.next().is_none());
        assert_eq!(lookup.take(), [record(2)]);
    }

    #[test]
    fn those_who_agree_are_not_believed_before_the_nearest_was_heard() {
        let (world, target) = (World::new(40), record(1).default_key());
        let mut seeds = world.nearest(&target, 40);
        let nearest = seeds.remove(0);
        let goal = Goal::Records { rec_type: rec_type::ENDPOINT, enough: Some(2) };
        let mut lookup = Lookup::new(target, goal, SHAPE, seeds);
        for node in [lookup.next().unwrap(), lookup.next().unwrap()] {
            lookup.handle_answer(&node.node_id, vec![nearest.clone()], vec![record(1)], &Rules::default());
        }
        assert!(!lookup.is_done(), "two agree on what was published long ago");
        assert_eq!(lookup.next().unwrap(), nearest);
        lookup.handle_answer(&nearest.node_id, Vec::new(), vec![record(2)], &Rules::default());
        assert!(!lookup.is_done());
        let node = lookup.next().unwrap();
        lookup.handle_answer(&node.node_id, Vec::new(), vec![record(2)], &Rules::default());
        assert!(lookup.is_done());
        assert_eq!(lookup.take(), [record(2)]);
    }

    #[test]
    fn a_liar_that_names_a_thousand_nodes_is_remembered_for_a_few() {
        let world = World::new(3);
        let mut lookup = Lookup::new(Id::ZERO, Goal::Nodes, SHAPE, world.nodes);
        let crowd = World::new(2000).nodes;
        let liar = lookup.next().unwrap();
        lookup.handle_answer(&liar.node_id, crowd, Vec::new(), &Rules::default());
        assert!(lookup.nodes.len() <= NODES_MAX && (0..3).all(|path| lookup.on_path(path).count() <= PATH_MAX));
    }
}
