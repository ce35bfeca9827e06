//! The peers of [`super::Health`] in little memory: one list of them, found by id and by place, each in one of two orders of
//! forgetting. A node of 64 knows 63 others; in maps of maps they took most of its memory.

use super::Id;
use crate::base::Time;
use std::net::SocketAddr;

/// What is remembered of one peer.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) id: Id,
    addr: Option<SocketAddr>,
    /// When it answered last.
    pub(super) answered: Option<Time>,
    /// What few peers have: failures.
    pub(super) trouble: Option<Box<Trouble>>,
    pub(super) rtt: Rtt,
    /// How often it was asked.
    pub(super) attempts: u32,
    /// When it was in direct contact last, Unix seconds; 0: never.
    pub(super) met_s: u32,
    before: u32,
    after: u32,
    /// Whether `rtt` was measured.
    pub(super) measured: bool,
    /// Whether its last answer came from `addr`.
    pub(super) answered_here: bool,
    /// Whether it is the one that is found at `addr`.
    is_owner: bool,
    /// Which order it is in: that of those that ever answered.
    is_kept: bool,
}

/// Round-trip times of a peer, in microseconds (RFC 6298).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rtt {
    pub(super) last_us: u32,
    pub(super) smoothed_us: u32,
    pub(super) variation_us: u32,
}

/// Failures of a peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trouble {
    pub(super) last: Option<Time>,
    /// In a row.
    pub(super) fails: u32,
    pub(super) next_retry: Option<Time>,
}

impl Peer {
    /// Where it is reached.
    pub(super) fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    /// Failures in a row.
    pub(super) fn fails(&self) -> u32 {
        self.trouble.as_ref().map_or(0, |trouble| trouble.fails)
    }
}

/// No peer.
const NOBODY: u32 = u32::MAX;

/// An order of forgetting: the first is forgotten first.
#[derive(Clone, Copy, Debug)]
struct Order {
    first: u32,
    last: u32,
}

/// See the head of the module.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    peers: Vec<Peer>,
    /// Places in `peers` by id.
    by_id: Vec<u32>,
    /// Places in `peers` of owners, by where they are reached.
    by_addr: Vec<u32>,
    strangers: Order,
    kept: Order,
}

impl Peers {
    pub(super) fn new() -> Peers {
        let none = Order { first: NOBODY, last: NOBODY };
        Peers { peers: Vec::new(), by_id: Vec::new(), by_addr: Vec::new(), strangers: none, kept: none }
    }

    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, Peer> {
        self.peers.iter()
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Peer> {
        self.peers.iter_mut()
    }

    pub(super) fn get(&self, id: &Id) -> Option<&Peer> {
        self.peer(self.find(id).ok()?.1)
    }

    pub(super) fn get_mut(&mut self, id: &Id) -> Option<&mut Peer> {
        let (_, place) = self.find(id).ok()?;
        self.peer_mut(place)
    }

    /// Who is found at an address.
    pub(super) fn owner(&self, addr: &SocketAddr) -> Option<&Peer> {
        self.peer(self.find_addr(addr).ok()?.1)
    }

    /// Makes a peer known, and the last to be forgotten of its order; it enters that of those who answer, and stays there.
    pub(super) fn touch(&mut self, id: Id, answers: bool) {
        let place = match self.find(&id) {
            Ok((_, place)) => {
                self.unlink(place);
                place
            }
            Err(rank) => {
                let place = number(self.peers.len());
                let peer = Peer {
                    id,
                    addr: None,
                    answered: None,
                    trouble: None,
                    rtt: Rtt::default(),
                    attempts: 0,
                    met_s: 0,
                    before: NOBODY,
                    after: NOBODY,
                    measured: false,
                    answered_here: false,
                    is_owner: false,
                    is_kept: false,
                };
                grow(&mut self.peers);
                self.peers.push(peer);
                grow(&mut self.by_id);
                self.by_id.insert(rank, place);
                place
            }
        };
        if let Some(peer) = self.peer_mut(place) {
            peer.is_kept |= answers;
        }
        self.link_last(place);
    }

    /// The first to be forgotten, but not `spared`.
    pub(super) fn first_but(&self, spared: &Id) -> Option<Id> {
        for order in [self.strangers, self.kept] {
            let first = self.peer(order.first);
            let next = || self.peer(first?.after);
            let found = if first.is_some_and(|peer| peer.id == *spared) { next() } else { first };
            if let Some(peer) = found {
                return Some(peer.id);
            }
        }
        None
    }

    /// A peer is reached at `addr`, and is the one found there if it is its owner.
    pub(super) fn set_addr(&mut self, id: &Id, addr: SocketAddr, is_owner: bool) {
        let Ok((_, place)) = self.find(id) else { return };
        let Some(peer) = self.peer(place) else { return };
        if peer.addr != Some(addr) {
            self.disown(place);
            if let Some(peer) = self.peer_mut(place) {
                (peer.addr, peer.answered_here) = (Some(addr), false);
            }
        }
        if !is_owner {
            return;
        }
        match self.find_addr(&addr) {
            Ok((rank, other)) => {
                if let (Some(other), Some(owner)) = (self.peers.get_mut(index(other)), self.by_addr.get_mut(rank)) {
                    (other.is_owner, *owner) = (false, place);
                }
            }
            Err(rank) => {
                grow(&mut self.by_addr);
                self.by_addr.insert(rank, place);
            }
        }
        if let Some(peer) = self.peer_mut(place) {
            peer.is_owner = true;
        }
    }

    /// Forgets a peer.
    pub(super) fn remove(&mut self, id: &Id) -> Option<Peer> {
        let (rank, place) = self.find(id).ok()?;
        self.unlink(place);
        self.disown(place);
        self.by_id.remove(rank);
        // The last of the list moves to its place.
        let last = number(self.peers.len().saturating_sub(1));
        if last != place {
            let moved = self.peer(last)?;
            let (before, after, is_kept) = (moved.before, moved.after, moved.is_kept);
            let owned = moved.addr.filter(|_| moved.is_owner);
            let (rank, _) = self.find(&moved.id).ok()?;
            let rank_of_addr = owned.and_then(|addr| self.find_addr(&addr).ok());
            *self.by_id.get_mut(rank)? = place;
            if let Some((rank, _)) = rank_of_addr {
                *self.by_addr.get_mut(rank)? = place;
            }
            self.join(before, place, is_kept);
            self.join(place, after, is_kept);
        }
        (index(place) < self.peers.len()).then(|| self.peers.swap_remove(index(place)))
    }

    /// Nobody is found any more where this one was.
    fn disown(&mut self, place: u32) {
        let owned = self.peer(place).filter(|peer| peer.is_owner).and_then(|peer| peer.addr);
        let Some(addr) = owned else { return };
        if let Ok((rank, _)) = self.find_addr(&addr) {
            self.by_addr.remove(rank);
        }
        if let Some(peer) = self.peer_mut(place) {
            peer.is_owner = false;
        }
    }

    fn unlink(&mut self, place: u32) {
        let Some(peer) = self.peer(place) else { return };
        let (before, after, is_kept) = (peer.before, peer.after, peer.is_kept);
        self.join(before, after, is_kept);
    }

    fn link_last(&mut self, place: u32) {
        let Some(is_kept) = self.peer(place).map(|peer| peer.is_kept) else { return };
        self.join(self.order(is_kept).last, place, is_kept);
        self.join(place, NOBODY, is_kept);
    }

    /// Makes two follow each other in an order; [`NOBODY`] stands for its ends.
    fn join(&mut self, before: u32, after: u32, is_kept: bool) {
        match self.peer_mut(before) {
            Some(peer) => peer.after = after,
            None => self.order_mut(is_kept).first = after,
        }
        match self.peer_mut(after) {
            Some(peer) => peer.before = before,
            None => self.order_mut(is_kept).last = before,
        }
    }

    fn order(&self, is_kept: bool) -> Order {
        if is_kept { self.kept } else { self.strangers }
    }

    fn order_mut(&mut self, is_kept: bool) -> &mut Order {
        if is_kept { &mut self.kept } else { &mut self.strangers }
    }

    fn peer(&self, place: u32) -> Option<&Peer> {
        self.peers.get(index(place))
    }

    fn peer_mut(&mut self, place: u32) -> Option<&mut Peer> {
        self.peers.get_mut(index(place))
    }

    /// Rank and place of a peer, or the rank it would have.
    fn find(&self, id: &Id) -> Result<(usize, u32), usize> {
        let id_of = |place: &u32| self.peer(*place).map(|peer| &peer.id);
        let rank = self.by_id.binary_search_by(|place| id_of(place).cmp(&Some(id)))?;
        self.by_id.get(rank).map(|place| (rank, *place)).ok_or(rank)
    }

    /// The same of the owner of an address.
    fn find_addr(&self, addr: &SocketAddr) -> Result<(usize, u32), usize> {
        let addr_of = |place: &u32| self.peer(*place).and_then(|peer| peer.addr);
        let rank = self.by_addr.binary_search_by(|place| addr_of(place).cmp(&Some(*addr)))?;
        self.by_addr.get(rank).map(|place| (rank, *place)).ok_or(rank)
    }
}

fn index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(NOBODY)
}

/// Makes room for one more. A list that doubles would keep up to half of its room empty; the first step is so large because
/// glibc keeps the blocks below a kilobyte that a growing list leaves behind, for every thread.
fn grow<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 8).max(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use std::collections::BTreeMap;

    /// What the maps said that were here before.
    #[derive(Default)]
    struct Model {
        peers: BTreeMap<Id, (Option<SocketAddr>, bool, u64)>,
        owners: BTreeMap<SocketAddr, Id>,
        ticks: u64,
    }

    impl Model {
        fn touch(&mut self, id: Id, answers: bool) {
            self.ticks += 1;
            let peer = self.peers.entry(id).or_default();
            (peer.1, peer.2) = (peer.1 || answers, self.ticks);
        }

        fn set_addr(&mut self, id: Id, addr: SocketAddr, is_owner: bool) {
            let Some(peer) = self.peers.get_mut(&id) else { return };
            if let Some(before) = peer.0.replace(addr).filter(|before| *before != addr)
                && self.owners.get(&before) == Some(&id)
            {
                self.owners.remove(&before);
            }
            if is_owner {
                self.owners.insert(addr, id);
            }
        }

        fn remove(&mut self, id: &Id) {
            let Some(peer) = self.peers.remove(id) else { return };
            if let Some(addr) = peer.0.filter(|addr| self.owners.get(addr) == Some(id)) {
                self.owners.remove(&addr);
            }
        }

        fn first_but(&self, spared: &Id) -> Option<Id> {
            let others = self.peers.iter().filter(|(id, _)| *id != spared);
            others.min_by_key(|(_, peer)| (peer.1, peer.2)).map(|(id, _)| *id)
        }
    }

    #[test]
    fn sixty_three_peers_take_less_than_nine_kilobytes() {
        let (mut rng, mut peers) = (Rng::from_number(3), Peers::new());
        for port in 0..63 {
            let id = Id::from_bytes(rng.array());
            peers.touch(id, true);
            peers.set_addr(&id, SocketAddr::from(([10, 0, 0, 1], port)), true);
        }
        let indexes = (peers.by_id.capacity() + peers.by_addr.capacity()) * size_of::<u32>();
        let bytes = peers.peers.capacity() * size_of::<Peer>() + indexes;
        assert!(bytes <= 9 << 10, "{bytes}");
    }

    #[test]
    fn the_list_says_what_maps_say() {
        let seed = 41;
        println!("seed {seed}");
        let mut rng = Rng::from_number(seed);
        let ids: Vec<Id> = (0..40).map(|_| Id::from_bytes(rng.array())).collect();
        let mut pick = |below: u64| usize::try_from(rng.below(below)).unwrap();
        let (mut peers, mut model) = (Peers::new(), Model::default());
        for step in 0..20_000 {
            let id = ids[pick(40)];
            let addr = SocketAddr::from(([10, 0, 0, 1], u16::try_from(pick(25)).unwrap()));
            match pick(8) {
                0..3 => {
                    let answers = pick(3) == 0;
                    peers.touch(id, answers);
                    model.touch(id, answers);
                }
                3..6 => {
                    let is_owner = pick(2) == 0;
                    peers.set_addr(&id, addr, is_owner);
                    model.set_addr(id, addr, is_owner);
                }
                6 => {
                    assert_eq!(peers.remove(&id).map(|peer| peer.id), model.peers.get(&id).map(|_| id));
                    model.remove(&id);
                }
                _ => {
                    let first = peers.first_but(&id);
                    assert_eq!(first, model.first_but(&id), "step {step}");
                    if let Some(first) = first {
                        peers.remove(&first);
                        model.remove(&first);
                    }
                }
            }
            assert_eq!((peers.len(), peers.by_addr.len()), (model.peers.len(), model.owners.len()), "step {step}");
            let known = model.peers.get(&id).map(|peer| peer.0);
            assert_eq!(peers.get(&id).map(|peer| peer.addr), known, "step {step}");
            assert_eq!(peers.owner(&addr).map(|peer| &peer.id), model.owners.get(&addr), "step {step}");
        }
        while let Some(id) = peers.iter().next().map(|peer| peer.id) {
            peers.remove(&id);
        }
        assert!(peers.by_id.is_empty() && peers.by_addr.is_empty());
        assert_eq!((peers.kept.first, peers.kept.last, peers.strangers.first), (NOBODY, NOBODY, NOBODY));
    }
}
