//! The table of links: who is connected, over which connection messages go, and which older
//! connections of the same key are still read (mesh.md §8, "a second connection").

use super::found::LinkGossip;
use super::io::{DialId, LinkId, LinkInfo};
use super::renewal::Renewal;
use crate::base::{Error, Result, Time, Timestamp};
use crate::identity::{Address, Identity, NodeIdentity, PublicKey};
use crate::session::{Dialogue, InboundLimits, Side};
use crate::wire::ueps::{Key, ReplayWindow};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Older connections kept per proven key; beyond it the longest silent goes.
pub(crate) const OLDER_MAX: usize = 8;
/// More replacements than this within [`FLAP_WINDOW`] from different addresses: one key lives twice.
const FLAPS_MAX: usize = 3;
const FLAP_WINDOW: Duration = Duration::from_secs(60);
/// How long newcomers of such a key are refused.
const FLAP_BAN: Duration = Duration::from_secs(600);
/// What the status says then.
pub(crate) const COPIED: &str = "identity in use at two addresses (copied disk?)";

/// One connection as the mesh sees it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) key: PublicKey,
    pub(crate) peer: String,
    pub(crate) identity: NodeIdentity,
    pub(crate) address: String,
    pub(crate) dial: Option<DialId>,
    pub(crate) certificate: Option<[u8; 32]>,
    pub(crate) dialogue: Dialogue,
    pub(crate) limits: Arc<InboundLimits>,
    /// See [`Link::packet_key`].
    pub(crate) packet_key: OnceCell<Box<Key>>,
    /// Packets that came over this link.
    pub(crate) packets: ReplayWindow,
    pub(crate) since: Timestamp,
    /// The first eight bytes of its id, when it is a secure session: both sides have the same.
    pub(crate) session: Option<[u8; 8]>,
    /// When the key was proven on it.
    pub(crate) proven_at: Option<Time>,
    /// How it is renewed before it is a day old, and whether that has happened.
    pub(crate) renewal: Renewal,
    /// The extensions that the peer announced on this link.
    pub(crate) caps: Vec<String>,
    /// The signing key that the peer has shown on this link.
    pub(crate) sign: Option<[u8; 32]>,
    /// Statements about replaced keys that came over it.
    pub(crate) statements: u8,
    pub(crate) gossip: LinkGossip,
    /// We told it to close; nothing more is sent on it.
    pub(crate) closing: bool,
}

impl Link {
    /// The key of UEPS packets both ways. It takes curve work, and most links never carry a packet, so the first one makes it.
    ///
    /// # Errors
    /// None for a key that was admitted.
    pub(crate) fn packet_key(&self, own: &Identity) -> Result<&Key> {
        if let Some(key) = self.packet_key.get() {
            return Ok(key);
        }
        let key = Key::for_link(own.shared_secret(&self.key)?.as_bytes());
        Ok(self.packet_key.get_or_init(|| Box::new(key)))
    }

    /// Whether the peer announced this extension.
    pub(crate) fn speaks(&self, cap: &str) -> bool {
        self.caps.iter().any(|c| c == cap)
    }
}

/// All links of the node.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Boxed: the nodes of a tree have room for eleven, used or not.
    all: BTreeMap<LinkId, Box<Link>>,
    active: BTreeMap<PublicKey, LinkId>,
    /// The same by node id.
    active_peers: BTreeMap<String, LinkId>,
    /// The links that must be woken, by time: one entry a link.
    due: BTreeSet<(Time, LinkId)>,
    due_at: BTreeMap<LinkId, Time>,
    flaps: BTreeMap<PublicKey, Flaps>,
}

/// Replacements of one key's active link.
#[derive(Debug, Default)]
struct Flaps {
    recent: VecDeque<(Time, String)>,
    banned_until: Option<Time>,
}

/// Secure sessions of one pair dialled from both ends within this time are one too many for both.
const CROSSED: Duration = Duration::from_secs(5);

/// What a newly proven link changes.
#[derive(Debug, PartialEq)]
pub(crate) enum Promotion {
    /// It is the peer's active link now; these older ones must go.
    Active(Vec<LinkId>),
    /// It must go: this other one is the pair's. Both ends dialled at once and keep the same, or it was accepted before
    /// that one and its handshake took longer.
    Kept(LinkId),
    /// It must go: the key lives at two addresses.
    Refused,
}

impl Links {
    pub(crate) fn insert(&mut self, id: LinkId, link: Link) {
        self.all.insert(id, Box::new(link));
        self.refresh_timer(id);
    }

    pub(crate) fn link(&self, id: LinkId) -> Option<&Link> {
        self.all.get(&id).map(|link| &**link)
    }

    pub(crate) fn link_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.all.get_mut(&id).map(|link| &mut **link)
    }

    /// Takes a link out. `Some((link, true))`: it was the peer's active link and no other took its place.
    pub(crate) fn remove(&mut self, id: LinkId) -> Option<(Link, bool)> {
        let alone = self.retire(id);
        let link = self.all.remove(&id)?;
        if let Some(at) = self.due_at.remove(&id) {
            self.due.remove(&(at, id));
        }
        Some((*link, alone))
    }

    /// A link is closing: no more is sent over it. If it was the peer's active one, the proven one heard last takes
    /// over; `true` when there is none.
    pub(crate) fn retire(&mut self, id: LinkId) -> bool {
        let Some(link) = self.all.get_mut(&id) else { return false };
        link.closing = true;
        let (key, peer) = (link.key, link.peer.clone());
        if self.active.get(&key) != Some(&id) {
            return false;
        }
        let others = self.all.iter().filter(|(_, l)| l.key == key && l.dialogue.is_proven() && !l.closing);
        match others.max_by_key(|(_, l)| l.dialogue.heard_at()).map(|(id, _)| *id) {
            Some(heir) => {
                self.active.insert(key, heir);
                self.active_peers.insert(peer, heir);
                false
            }
            None => {
                self.active.remove(&key);
                self.active_peers.remove(&peer);
                true
            }
        }
    }

    /// The link over which messages to this key go.
    pub(crate) fn active(&self, key: &PublicKey) -> Option<LinkId> {
        self.active.get(key).copied()
    }

    /// The active link of the peer with this id.
    pub(crate) fn active_by_peer(&self, peer: &str) -> Option<LinkId> {
        self.active_peers.get(peer).copied()
    }

    /// All active links.
    pub(crate) fn actives(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.active.values().filter_map(|id| self.all.get(id).map(|l| (*id, &**l)))
    }

    /// All links.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.all.iter().map(|(id, l)| (*id, &**l))
    }

    pub(crate) fn is_active(&self, id: LinkId) -> bool {
        self.all.get(&id).is_some_and(|l| self.active.get(&l.key) == Some(&id))
    }

    /// A link was proven: it becomes the active one. An older 1.0 link goes on being read; a secure session is the only
    /// link of its pair (secure-session.md §2). `own` is our own key.
    pub(crate) fn promote(&mut self, id: LinkId, own: &PublicKey, now: Time) -> Promotion {
        let Some(link) = self.all.get_mut(&id) else { return Promotion::Active(Vec::new()) };
        link.proven_at = Some(now);
        let (key, peer, secure, side) = (link.key, link.peer.clone(), link.dialogue.is_secure(), link.dialogue.side());
        let host = host_of(&link.address).to_owned();
        let replaced = self.active.get(&key).copied().filter(|old| *old != id);
        if let Some(old) = replaced {
            let other = self.all.get(&old).filter(|other| secure && other.dialogue.is_secure());
            let opposite = other.filter(|other| other.dialogue.side() != side);
            let crossed = opposite.and_then(|other| other.proven_at).is_some_and(|at| now.since(at) <= CROSSED);
            // Both keep the one that the smaller key dialled.
            let theirs = crossed && (side == Side::Initiator) != (own < &key);
            let late = side == Side::Responder && opposite.is_none() && other.is_some() && old > id;
            if theirs || late {
                return Promotion::Kept(old);
            }
            if crossed {
                self.activate(id, key, peer);
                return Promotion::Active(vec![old]);
            }
            let old_host = self.all.get(&old).map_or("", |l| host_of(&l.address)).to_owned();
            if self.flaps.entry(key).or_default().replaced(now, &old_host, host) {
                return Promotion::Refused;
            }
        }
        self.activate(id, key, peer);
        let mut older: Vec<(Time, LinkId)> = self
            .all
            .iter()
            .filter(|(other, l)| **other != id && l.key == key && l.dialogue.is_proven())
            .map(|(other, l)| (l.dialogue.heard_at(), *other))
            .collect();
        older.sort();
        let surplus = if secure { older.len() } else { older.len().saturating_sub(OLDER_MAX) };
        Promotion::Active(older.into_iter().take(surplus).map(|(_, id)| id).collect())
    }

    fn activate(&mut self, id: LinkId, key: PublicKey, peer: String) {
        self.active.insert(key, id);
        self.active_peers.insert(peer, id);
    }

    /// Whether newcomers of this key are refused now.
    pub(crate) fn is_banned(&self, key: &PublicKey, now: Time) -> bool {
        self.flaps.get(key).and_then(|f| f.banned_until).is_some_and(|until| now < until)
    }

    /// Puts the link's next timer in order after its dialogue changed.
    pub(crate) fn refresh_timer(&mut self, id: LinkId) {
        let at = self.all.get(&id).map(|l| l.dialogue.poll_timeout());
        if let Some(old) = self.due_at.get(&id).copied() {
            if Some(old) == at {
                return;
            }
            self.due.remove(&(old, id));
            self.due_at.remove(&id);
        }
        if let Some(at) = at {
            self.due.insert((at, id));
            self.due_at.insert(id, at);
        }
    }

    /// The next link whose time has come.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<LinkId> {
        let (at, id) = self.due.first().copied()?;
        if at > now {
            return None;
        }
        self.due.remove(&(at, id));
        self.due_at.remove(&id);
        Some(id)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(crate) fn info(&self, id: LinkId, now: Time) -> Option<LinkInfo> {
        let link = self.all.get(&id)?;
        Some(LinkInfo {
            peer: link.key.node_id(),
            key: link.key,
            name: link.identity.name.clone(),
            role: link.identity.role.to_string(),
            address: link.address.clone(),
            certificate: link.certificate,
            dialled: link.dialogue.side() == Side::Initiator,
            proven: link.dialogue.is_proven(),
            active: self.is_active(id),
            rigmesh: link.dialogue.is_rigmesh(),
            secure: link.dialogue.is_secure(),
            caps: link.caps.clone(),
            dht_address: link.sign.map(|sign| Address::of_ed25519(&sign)),
            since: link.since,
            clock_skew_ms: link.dialogue.clock_skew_ms(),
            dropped: link.dialogue.dropped() + link.limits.dropped(),
            note: self.is_banned(&link.key, now).then(|| COPIED.to_owned()),
        })
    }
}

impl Flaps {
    /// Notes that the active link moved from one host to another; `true` when that happened too often.
    fn replaced(&mut self, now: Time, old_host: &str, host: String) -> bool {
        if self.banned_until.is_some_and(|until| now < until) {
            return true;
        }
        if old_host == host {
            return false;
        }
        self.recent.push_back((now, host));
        while self.recent.front().is_some_and(|(at, _)| now.since(*at) > FLAP_WINDOW) {
            self.recent.pop_front();
        }
        if self.recent.len() > FLAPS_MAX {
            self.recent.clear();
            self.banned_until = Some(now + FLAP_BAN);
            return true;
        }
        false
    }
}

/// The host of `host:port`.
fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// What a link of a refused newcomer is told.
pub(crate) fn copied_error() -> Error {
    Error::Failed(COPIED.to_owned())
}
