//! The routing table (dht.md §10): 256 buckets by common bits with this node's id, in each at most
//! [`Policy::k`] nodes and a few candidates. Who is in it, who leaves, and whom to ask before.
//!
//! Nothing is asked in here: [`Table::poll_probe`] names a node, the caller sends it a PING in its own time and tells
//! [`Table::handle_probe`] what came of it.

mod bucket;
mod entry;
mod evict;
mod nearest;
mod upkeep;

pub use entry::{Entry, Proof};

use super::{Id, NodeInfo, Policy, Subnet};
use crate::base::Time;
use bucket::Bucket;
use entry::Moment;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What became of a node that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is new in the table.
    Inserted,
    /// It was there already.
    Known,
    /// Its bucket is full; it may come in if another leaves.
    Waiting,
    /// It does not come in.
    Refused(&'static str),
}

/// Entries for which a full list of a bucket makes room at once.
const ROOM: usize = 4;

/// See the head of the module.
#[derive(Clone, Debug)]
pub struct Table {
    own: Id,
    policy: Arc<Policy>,
    /// Only those that hold something, or did.
    // In boxes: a map has room for several values as soon as it has one.
    buckets: BTreeMap<u8, Box<Bucket>>,
    probes: VecDeque<Id>,
    last_answer: Option<Moment>,
}

impl Table {
    /// An empty table of the node `own`.
    pub fn new(own: Id, policy: Arc<Policy>) -> Table {
        Table { own, policy, buckets: BTreeMap::new(), probes: VecDeque::new(), last_answer: None }
    }

    /// This node's id.
    pub fn own(&self) -> Id {
        self.own
    }

    /// How many nodes are in it, candidates not counted: at most 256 times [`Policy::k`].
    pub fn len(&self) -> usize {
        self.buckets.values().map(|bucket| bucket.main.len()).sum()
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.buckets.values().all(|bucket| bucket.main.is_empty())
    }

    /// The nodes with the number of their bucket; in a bucket the least recently heard of first.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &Entry)> {
        self.buckets.iter().flat_map(|(index, bucket)| bucket.main.iter().map(move |entry| (*index, entry)))
    }

    /// The candidates with the number of their bucket, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = (u8, &Entry)> {
        self.buckets.iter().flat_map(|(index, bucket)| bucket.pending.iter().map(move |entry| (*index, entry)))
    }

    /// A node of the table.
    pub fn entry(&self, id: &Id) -> Option<&Entry> {
        let bucket = self.buckets.get(&self.index(id)?)?;
        bucket.main.get(bucket.place(id)?)
    }

    fn index(&self, id: &Id) -> Option<u8> {
        self.own.bucket_of(id).and_then(|index| u8::try_from(index).ok())
    }

    /// A node of which we heard, in whatever way. What was only heard never changes what a node proved itself.
    pub fn handle_node(&mut self, now: Time, info: NodeInfo, proof: Proof) -> Added {
        let Some(index) = self.index(&info.node_id) else { return Added::Refused("this node's own id") };
        if self.policy.check_ids {
            if !info.is_bound() {
                return Added::Refused("the id is not the address's");
            }
            if info.port == 0 || info.ip.is_unspecified() || info.ip.is_multicast() {
                return Added::Refused("cannot be reached there");
            }
        }
        if proof == Proof::Answered {
            self.last_answer = Some(Moment::of(now));
        }
        let proven = proof == Proof::Answered || proof == Proof::Asked && self.policy.trust_sources;
        let bucket = self.buckets.entry(index).or_default();
        if let Some(place) = bucket.place(&info.node_id) {
            return self.handle_known(now, index, place, info, proven);
        }
        let entry = Entry::new(info, now, proven);
        if bucket.main.len() < self.policy.k {
            return match self.make_way(index, &entry) {
                true => {
                    self.insert(index, entry);
                    Added::Inserted
                }
                false => Added::Refused("too many of its neighbourhood"),
            };
        }
        match (proven, self.policy.strangers_evict) {
            (false, _) => self.wait(index, entry),
            (true, true) => self.ask_oldest(now, index, entry),
            (true, false) => self.displace(now, index, entry),
        }
    }

    fn handle_known(&mut self, now: Time, index: u8, place: usize, info: NodeInfo, proven: bool) -> Added {
        let loose = self.policy.strangers_evict;
        let Some(bucket) = self.buckets.get_mut(&index) else { return Added::Known };
        if !proven && !loose {
            return Added::Known;
        }
        let mut entry = bucket.main.remove(place);
        let moved = proven && info.port != 0 && (entry.info.ip, entry.info.port) != (info.ip, info.port);
        if moved {
            let stays = Subnet::shared(entry.info.ip) == Subnet::shared(info.ip);
            (entry.info.ip, entry.info.port) = (info.ip, info.port);
            if !stays && !self.make_way(index, &entry) {
                return Added::Refused("moved to where too many are");
            }
        }
        if proven {
            entry.verified = entry.verified.max(Some(Moment::of(now)));
            entry.misses = 0;
        }
        self.insert(index, entry);
        Added::Known
    }

    /// Puts an entry in, as the one heard of last.
    fn insert(&mut self, index: u8, entry: Entry) {
        let bucket = self.buckets.entry(index).or_default();
        if !self.policy.strangers_evict
            && let Some(place) = bucket.waiting(&entry.info.node_id)
        {
            bucket.pending.remove(place);
        }
        if bucket.main.len() == bucket.main.capacity() {
            bucket.main.reserve_exact(ROOM);
        }
        bucket.main.push(entry);
    }

    /// Whether an entry fits the limits by neighbourhood. For one that answered, others of its neighbourhood that never
    /// did make way.
    fn make_way(&mut self, index: u8, entry: &Entry) -> bool {
        let (Some(limits), Some(subnet)) = (self.policy.subnets, Subnet::shared(entry.info.ip)) else { return true };
        loop {
            let (mut near, mut all, mut victim) = (0, 0, None);
            for (at, other) in self.iter().filter(|(_, other)| Subnet::shared(other.info.ip) == Some(subnet)) {
                all += 1;
                near += usize::from(at == index);
                if !other.is_verified() && victim.is_none_or(|(before, _)| before != index) {
                    victim = Some((at, other.info.node_id));
                }
            }
            if near < limits.per_bucket && all < limits.per_table {
                return true;
            }
            match victim {
                Some((at, id)) if entry.is_verified() && (at == index || near < limits.per_bucket) => self.remove(&id),
                _ => return false,
            };
        }
    }

    /// A node answered a request: it counts as verified now, wherever it is reached.
    pub fn handle_answer(&mut self, now: Time, id: &Id) {
        self.last_answer = Some(Moment::of(now));
        let reorder = !self.policy.strangers_evict;
        let Some(bucket) = self.index(id).and_then(|index| self.buckets.get_mut(&index)) else { return };
        let place = bucket.place(id);
        let waiting = bucket.waiting(id).filter(|_| reorder);
        let entry = match (place, waiting) {
            (Some(place), _) => bucket.main.get_mut(place),
            (None, Some(place)) => bucket.pending.get_mut(place),
            (None, None) => None,
        };
        let Some(entry) = entry else { return };
        entry.verified = entry.verified.max(Some(Moment::of(now)));
        entry.misses = 0;
        if let Some(place) = place.filter(|_| reorder)
            && let Some(tail) = bucket.main.get_mut(place..)
        {
            tail.rotate_left(1);
        }
    }

    /// A candidate that answered takes a place, if there is one. Says whether it did.
    pub fn promote(&mut self, now: Time, id: &Id) -> bool {
        let (Some(index), k) = (self.index(id), self.policy.k) else { return false };
        let Some(bucket) = self.buckets.get_mut(&index) else { return false };
        let Some(mut entry) =
            bucket.waiting(id).filter(|_| bucket.main.len() < k).and_then(|at| bucket.pending.remove(at))
        else {
            return false;
        };
        entry.verified = Some(Moment::of(now));
        entry.misses = 0;
        let fits = self.make_way(index, &entry);
        if fits {
            self.insert(index, entry);
        }
        fits
    }

    /// Gives free places to candidates that answered, the latest first.
    fn fill(&mut self, index: u8) {
        if self.policy.strangers_evict {
            return;
        }
        loop {
            let Some(bucket) = self.buckets.get_mut(&index).filter(|bucket| bucket.main.len() < self.policy.k) else {
                return;
            };
            let best = bucket.pending.iter().enumerate().filter(|(_, entry)| entry.is_verified());
            let Some(place) = best.max_by_key(|(_, entry)| entry.verified).map(|(place, _)| place) else { return };
            let Some(entry) = bucket.pending.remove(place) else { return };
            if self.make_way(index, &entry) {
                self.insert(index, entry);
            }
        }
    }

    /// Takes a node out; candidates stay. Says whether it was there.
    pub fn remove(&mut self, id: &Id) -> bool {
        let Some(bucket) = self.index(id).and_then(|index| self.buckets.get_mut(&index)) else { return false };
        match bucket.place(id) {
            Some(place) => {
                bucket.main.remove(place);
                true
            }
            None => false,
        }
    }

    /// A node that an earlier run knew, which answered `ago`: as it was then, if there is room.
    pub fn restore(&mut self, now: Time, info: NodeInfo, ago: Option<Duration>) -> Added {
        let Some(index) = self.index(&info.node_id) else { return Added::Refused("this node's own id") };
        if !info.is_bound() || info.port == 0 || self.entry(&info.node_id).is_some() {
            return Added::Refused("not as it was left");
        }
        let mut entry = Entry::new(info, now, false);
        entry.verified = ago.map(|ago| Moment::before(now, ago));
        entry.added = Moment::before(now, self.policy.hearsay_life);
        let full = self.buckets.get(&index).is_some_and(|bucket| bucket.main.len() >= self.policy.k);
        if full || !self.make_way(index, &entry) {
            return Added::Refused("no room");
        }
        self.insert(index, entry);
        Added::Inserted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use crate::identity::Address;
    use crate::kad::PeerHealthState;
    use std::collections::BTreeSet;
    use std::net::{IpAddr, SocketAddr};

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn node(rng: &mut Rng, at: impl Into<SocketAddr>) -> NodeInfo {
        NodeInfo::new(Address::from_bytes(rng.array()), at.into())
    }

    /// A node of bucket `index`, on a private network.
    fn node_of(table: &Table, index: u8, rng: &mut Rng) -> NodeInfo {
        loop {
            let node = node(rng, ([10, 0, 0, 1], 4121));
            if table.index(&node.node_id) == Some(index) {
                return node;
            }
        }
    }

    fn table(policy: Policy) -> (Table, Rng) {
        let mut rng = Rng::from_number(21);
        (Table::new(Id::from_bytes(rng.array()), Arc::new(policy)), rng)
    }

    fn full(policy: Policy) -> (Table, Rng, Vec<NodeInfo>) {
        let (mut table, mut rng) = table(policy);
        let nodes: Vec<_> = (0..16).map(|_| node_of(&table, 0, &mut rng)).collect();
        for (i, node) in nodes.iter().enumerate() {
            assert_eq!(table.handle_node(at(i as u64), node.clone(), Proof::Answered), Added::Inserted);
        }
        (table, rng, nodes)
    }

    fn holds(table: &Table, node: &NodeInfo) -> bool {
        table.entry(&node.node_id).is_some()
    }

    #[test]
    fn a_node_is_verified_by_its_own_answer_only() {
        let (mut table, mut rng) = table(Policy::default());
        let node = node_of(&table, 0, &mut rng);
        let named = |table: &Table| table.answer(at(9), &node.node_id, |_| PeerHealthState::Unknown).len();
        for proof in [Proof::Heard, Proof::Asked] {
            table.handle_node(at(1), node.clone(), proof);
            assert!(!table.entry(&node.node_id).unwrap().is_verified());
            assert_eq!(named(&table), 0);
        }
        table.handle_node(at(2), node.clone(), Proof::Answered);
        assert_eq!(table.entry(&node.node_id).unwrap().verified_ago(at(9)), Some(Duration::from_secs(7)));
        assert_eq!(named(&table), 1);
        assert!(table.answer(at(9), &node.node_id, |_| PeerHealthState::Bad).is_empty());
        let elsewhere = NodeInfo { ip: [10, 9, 9, 9].into(), ..node.clone() };
        table.handle_node(at(3), elsewhere.clone(), Proof::Heard);
        assert_eq!(table.entry(&node.node_id).unwrap().info, node);
        table.handle_node(at(3), elsewhere.clone(), Proof::Answered);
        assert_eq!(table.entry(&node.node_id).unwrap().info, elsewhere);
    }

    #[test]
    fn an_id_that_is_not_the_addresses_and_a_place_nobody_is_at_are_refused() {
        let (mut table, mut rng) = table(Policy::default());
        let good = node_of(&table, 0, &mut rng);
        for bad in [
            NodeInfo { node_id: Id::from_bytes([7; 32]), ..good.clone() },
            NodeInfo { port: 0, ..good.clone() },
            NodeInfo { ip: [0, 0, 0, 0].into(), ..good },
        ] {
            assert!(matches!(table.handle_node(at(1), bad, Proof::Answered), Added::Refused(_)));
        }
        let own = Table::new(Id::of_address(&Address::from_bytes([1; 21])), Arc::new(Policy::default()));
        let own_info = NodeInfo::new(Address::from_bytes([1; 21]), ([10, 0, 0, 1], 1).into());
        assert!(matches!(own.clone().handle_node(at(1), own_info, Proof::Answered), Added::Refused(_)));
    }

    #[test]
    fn a_stranger_takes_no_place_of_one_who_answers() {
        let (mut table, mut rng, nodes) = full(Policy::default());
        let newcomer = node_of(&table, 0, &mut rng);
        assert_eq!(table.handle_node(at(60), newcomer.clone(), Proof::Answered), Added::Waiting);
        assert_eq!(table.poll_probe(), None, "all have answered lately");
        // A quarter of an hour later the oldest is asked, and answers; then the next one, which does not, twice.
        let later = 15 * 60 + 2;
        for node in &nodes[2..] {
            table.handle_answer(at(later), &node.node_id);
        }
        let newcomer = node_of(&table, 0, &mut rng);
        assert_eq!(table.handle_node(at(later), newcomer.clone(), Proof::Answered), Added::Waiting);
        assert_eq!(table.poll_probe(), Some(nodes[0].node_id));
        assert_eq!(table.handle_node(at(later), newcomer.clone(), Proof::Answered), Added::Waiting);
        assert_eq!(table.poll_probe(), None, "one at a time");
        table.handle_probe(at(later), &nodes[0].node_id, true);
        for _ in 0..2 {
            assert!(holds(&table, &nodes[1]) && !holds(&table, &newcomer));
            assert_eq!(table.poll_probe(), Some(nodes[1].node_id));
            table.handle_probe(at(later), &nodes[1].node_id, false);
        }
        assert!(!holds(&table, &nodes[1]) && holds(&table, &newcomer) && holds(&table, &nodes[0]));
        assert_eq!((table.len(), table.poll_probe()), (16, None));
    }

    #[test]
    fn a_question_nobody_answers_for_is_forgotten() {
        let (mut table, mut rng, nodes) = full(Policy::default());
        let ask = |table: &mut Table, rng: &mut Rng, seconds| {
            let newcomer = node_of(table, 0, rng);
            table.handle_node(at(seconds), newcomer, Proof::Answered);
            table.poll_probe()
        };
        assert_eq!(ask(&mut table, &mut rng, 2000), Some(nodes[0].node_id));
        assert_eq!(ask(&mut table, &mut rng, 2029), None);
        assert_eq!(ask(&mut table, &mut rng, 2030), Some(nodes[0].node_id));
    }

    #[test]
    fn who_answered_takes_the_place_of_one_only_heard_of() {
        let (mut table, mut rng) = table(Policy::default());
        let heard: Vec<_> = (0..17).map(|_| node_of(&table, 0, &mut rng)).collect();
        for node in &heard[..16] {
            table.handle_node(at(1), node.clone(), Proof::Heard);
        }
        assert_eq!(table.handle_node(at(1), heard[16].clone(), Proof::Heard), Added::Waiting);
        let newcomer = node_of(&table, 0, &mut rng);
        assert_eq!(table.handle_node(at(2), newcomer.clone(), Proof::Answered), Added::Inserted);
        assert!(holds(&table, &newcomer) && !holds(&table, &heard[0]));
        assert_eq!((table.len(), table.pending().count()), (16, 2));
        assert_eq!(table.pending_to_probe(at(2), 5), [heard[16].node_id, heard[0].node_id]);
        table.handle_probe(at(3), &heard[0].node_id, false);
        table.remove(&newcomer.node_id);
        table.handle_probe(at(3), &heard[16].node_id, true);
        assert!(holds(&table, &heard[16]) && table.pending().count() == 0);
        assert!(table.stale_to_probe(at(50), 10).is_empty());
        assert_eq!(table.stale_to_probe(at(62), 10).len(), 10);
        table.pending_to_probe(at(9999), 5);
    }

    #[test]
    fn a_node_without_a_line_keeps_its_peers() {
        let (mut table, _, nodes) = full(Policy::default());
        let stale = table.stale_to_probe(at(5000), 10);
        assert_eq!(stale, nodes[..10].iter().map(|node| node.node_id).collect::<Vec<_>>());
        for _ in 0..5 {
            for node in &nodes {
                table.handle_probe(at(5000), &node.node_id, false);
            }
        }
        assert_eq!(table.len(), 16);
        table.handle_answer(at(5001), &nodes[3].node_id);
        for node in &nodes[4..] {
            table.handle_probe(at(5002), &node.node_id, false);
        }
        assert_eq!(table.len(), 4);
    }

    #[test]
    fn few_of_one_neighbourhood_are_kept_and_named_and_a_farm_is_not_counted() {
        let (mut table, mut rng) = table(Policy::default());
        for i in 0..400u32 {
            let ip = IpAddr::from([8, 8, 8, (i % 250) as u8]);
            let node = node(&mut rng, (ip, 4121));
            table.handle_node(at(1), node, if i % 3 == 0 { Proof::Heard } else { Proof::Answered });
        }
        assert_eq!(table.len(), 8);
        assert!(table.iter().all(|(index, _)| table.iter().filter(|(other, _)| *other == index).count() <= 2));
        let named = table.answer(at(2), &Id::ZERO, |_| PeerHealthState::Good);
        assert_eq!(named.len(), 2);
        let mut farm = 0;
        for i in 0..200u8 {
            let node = node(&mut rng, ([192, 168, 1, i], 4121));
            farm += usize::from(table.handle_node(at(1), node, Proof::Answered) == Added::Inserted);
        }
        assert!(farm > 40);
        assert_eq!(table.answer(at(2), &Id::ZERO, |_| PeerHealthState::Good).len(), 16);
        // One that answered displaces one that was heard of, of the same neighbourhood.
        let (mut table, mut rng) = self::table(Policy::default());
        let mut of = |index, last| NodeInfo { ip: [8, 8, 4, last].into(), ..node_of(&table, index, &mut rng) };
        let (first, second, third, far) = (of(0, 1), of(0, 2), of(0, 3), of(1, 4));
        for node in [&first, &second] {
            assert_eq!(table.handle_node(at(1), node.clone(), Proof::Heard), Added::Inserted);
        }
        assert!(matches!(table.handle_node(at(1), third.clone(), Proof::Heard), Added::Refused(_)));
        assert_eq!(table.handle_node(at(1), third.clone(), Proof::Answered), Added::Inserted);
        assert_eq!((table.len(), holds(&table, &third)), (2, true));
        assert_eq!(table.handle_node(at(1), far, Proof::Heard), Added::Inserted);
    }

    #[test]
    fn buckets_are_refilled_with_growing_pauses() {
        let (mut table, mut rng) = table(Policy::default());
        assert!(table.refills(at(1), 2).is_empty());
        let near = node_of(&table, 3, &mut rng);
        table.handle_node(at(1), near, Proof::Answered);
        assert_eq!(table.refills(at(1), 2), [3, 2]);
        assert_eq!(table.refills(at(1), 2), [1, 0], "those that had no turn, and gaps");
        assert!(table.refills(at(20), 9).is_empty());
        table.handle_refilled(3);
        table.handle_refilled(2);
        assert_eq!(table.refills(at(40), 9), [1, 0]);
        let found = node_of(&table, 2, &mut rng);
        assert_eq!(table.refills(at(121), 2), [3, 2]);
        table.handle_node(at(122), found, Proof::Answered);
        table.handle_refilled(2);
        table.handle_refilled(3);
        assert_eq!(table.refills(at(153), 9), [2, 1, 0]);
        assert_eq!(table.refills(at(10_000), 9), [3, 2, 1, 0]);
    }

    #[test]
    fn a_restored_node_is_as_old_as_it_was() {
        let (mut table, mut rng) = table(Policy::default());
        let nodes: Vec<_> = (0..3).map(|_| node_of(&table, 0, &mut rng)).collect();
        let ages = [Some(Duration::from_secs(600)), Some(Duration::from_secs(7200)), None];
        for (node, ago) in nodes.iter().zip(ages) {
            assert_eq!(table.restore(at(1), node.clone(), ago), Added::Inserted);
            assert_eq!(table.entry(&node.node_id).unwrap().verified_ago(at(1)), ago);
        }
        assert_eq!(table.answer(at(1), &nodes[1].node_id, |_| PeerHealthState::Unknown), nodes[..2]);
        assert_eq!(table.stale_to_probe(at(2), 9), [nodes[2].node_id, nodes[1].node_id]);
    }

    #[test]
    fn whatever_happens_the_table_keeps_its_bounds() {
        let seed = std::env::var("FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(77);
        println!("seed {seed}");
        for policy in [Policy::default(), Policy::reference()] {
            let (mut rng, strict) = (Rng::from_number(seed), policy.check_ids);
            let mut table = Table::new(Id::from_bytes(rng.array()), Arc::new(policy));
            let nodes: Vec<_> = (0..300)
                .map(|i| node(&mut rng, ([8, 8, (i % 40) as u8, i as u8], if i % 50 == 0 { 0 } else { 4121 })))
                .collect();
            let mut now = at(0);
            for _ in 0..20_000 {
                now = now + Duration::from_secs(rng.below(60));
                let node = &nodes[rng.below(300) as usize];
                match rng.below(8) {
                    0 | 1 => drop(table.handle_node(now, node.clone(), Proof::Answered)),
                    2 => drop(table.handle_node(now, node.clone(), Proof::Asked)),
                    3 => drop(table.handle_node(now, node.clone(), Proof::Heard)),
                    4 => table.handle_probe(now, &node.node_id, rng.below(2) == 0),
                    5 => drop(table.remove(&node.node_id)),
                    6 => {
                        let moved = NodeInfo { ip: [8, 8, rng.below(40) as u8, 1].into(), ..node.clone() };
                        table.handle_node(now, moved, Proof::Answered);
                    }
                    _ => {
                        for index in table.refills(now, 2) {
                            table.handle_refilled(index);
                        }
                        let asked = [table.pending_to_probe(now, 5), table.stale_to_probe(now, 10)].concat();
                        for id in asked.into_iter().chain(std::iter::from_fn(|| table.poll_probe()).collect::<Vec<_>>())
                        {
                            table.handle_probe(now, &id, rng.below(2) == 0);
                        }
                    }
                }
                check(&table, strict);
            }
            assert!(!table.is_empty());
        }
    }

    fn check(table: &Table, strict: bool) {
        let mut subnets = BTreeMap::<Subnet, usize>::new();
        let mut ids = BTreeSet::new();
        for (index, bucket) in &table.buckets {
            assert!(bucket.main.len() <= 16 && bucket.pending.len() <= 5);
            let mut near = BTreeMap::<Subnet, usize>::new();
            for entry in &bucket.main {
                assert_eq!(table.index(&entry.info.node_id), Some(*index));
                assert!(ids.insert(entry.info.node_id), "twice in the table");
                let subnet = Subnet::of(entry.info.ip);
                *near.entry(subnet).or_default() += 1;
                *subnets.entry(subnet).or_default() += 1;
            }
            for entry in &bucket.pending {
                assert!(!strict || ids.insert(entry.info.node_id), "in the table and waiting, or waiting twice");
            }
            assert!(!strict || near.values().all(|count| *count <= 2));
        }
        assert!(!strict || subnets.values().all(|count| *count <= 8));
        assert!(table.probes.len() <= table.buckets.len());
    }
}
