//! Peers as they show up: what key is expected, merging with what was known, and names for people.

use super::registry::Entry;
use super::{ADDRESS_ID_PREFIX, Origin, PEER_TEXT_MAX, Peer, PeerExtra, PeerRegistry, SCORE_DEFAULT};
use crate::base::{Error, Now, Refusal, Result, is_plain_name};
use crate::identity::{NodeId, NodeIdentity, PublicKey};

/// Shortest beginning of an id that names a peer, in characters.
pub const ID_PREFIX_MIN: usize = 4;
/// How many names a message to people lists.
const NAMES_LISTED: usize = 8;

/// Who must answer when a registered peer is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This key and no other.
    Key(PublicKey),
    /// A key whose hash is this id.
    Id(NodeId),
    /// Whoever answers first; that key is then kept (`--trust-first`).
    First,
    /// Unknown: the key is learned and shown, and no command is sent before `peers add`.
    Any,
}

impl Expected {
    /// Whether this key may answer.
    ///
    /// # Errors
    /// [`Error::WrongKey`].
    pub fn check(&self, key: &PublicKey) -> Result<()> {
        let expected = match self {
            Expected::Key(expected) if expected != key => expected.to_base64(),
            Expected::Id(expected) if *expected != key.node_id() => expected.to_string(),
            _ => return Ok(()),
        };
        Err(Error::WrongKey { expected, got: key.to_base64() })
    }
}

impl PeerRegistry {
    /// Who must answer when the peer of this id is dialled; `None` when it is not registered.
    pub fn expected(&self, id: &str) -> Option<Expected> {
        let entry = self.peers.get(id)?;
        Some(match (entry.key, id.parse()) {
            (Some(key), _) => Expected::Key(key),
            (None, Ok(node_id)) => Expected::Id(node_id),
            (None, Err(_)) if entry.extra.trust_first => Expected::First,
            (None, Err(_)) => Expected::Any,
        })
    }

    /// The key registered for this id.
    pub fn expected_key(&self, id: &str) -> Option<PublicKey> {
        self.peers.get(id)?.key
    }

    /// A peer has proven that `key` is its own; `address` is the one we dialled, if we dialled.
    /// Registers it or brings its entry up to date: name, role and dialled address follow the peer, an
    /// invalid name is stored as empty (and leaves a name given by hand as it is). Entries of the
    /// same key or of the dialled address are merged into this one. What is made here admits nobody:
    /// only an address added by hand with `--trust-first` passes that on.
    ///
    /// # Errors
    /// The registry is untouched after each: [`Error::Malformed`] when the identity states another key
    /// or id; [`Error::WrongKey`] when the id or the dialled address is registered with another key;
    /// [`Error::Rejected`] when the key was revoked or the registry is full.
    pub fn authenticated(
        &mut self,
        now: Now,
        identity: &NodeIdentity,
        key: &PublicKey,
        address: Option<&str>,
    ) -> Result<NodeId> {
        if identity.checked_key()? != *key {
            return Err(Error::malformed("identity", "the stated key is not the proven one"));
        }
        if self.access.is_revoked(key) {
            return Err(Refusal::NotAllowed.into());
        }
        let (node_id, address_id) = (key.node_id(), address.map(Peer::address_id));
        let id = node_id.to_string();
        for known in [Some(&id), address_id.as_ref()].into_iter().flatten() {
            self.expected(known).map_or(Ok(()), |expected| expected.check(key))?;
        }
        let mut others: Vec<String> = self.ids_of(key).cloned().collect();
        others.extend(address_id.filter(|a| self.peers.contains_key(a)));
        others.retain(|other| *other != id);
        if others.is_empty() && !self.peers.contains_key(&id) {
            self.make_room(&id)?;
        }
        let others: Vec<Entry> = others.iter().filter_map(|other| self.forget(other)).collect();
        let mut entry = self.take(&id).unwrap_or_else(|| first_entry(now, others.first()));
        others.iter().for_each(|other| merge(&mut entry.extra, other, key));
        if !entry.extra.named
            && let Some(named) = others.iter().find(|other| other.extra.named)
        {
            (entry.peer.name, entry.extra.named) = (named.peer.name.clone(), true);
        }
        let name = if is_plain_name(&identity.name) { identity.name.as_str() } else { "" };
        let peer = &mut entry.peer;
        if !entry.extra.named && (!name.is_empty() || entry.extra.origin != Origin::Hand) {
            peer.name = name.to_owned();
        }
        if let Some(address) = address.filter(|a| a.len() <= PEER_TEXT_MAX && !a.chars().any(char::is_control)) {
            peer.address = address.to_owned();
        }
        (peer.id, peer.public_key, peer.role) = (id.clone(), key.to_base64(), identity.role.clone());
        peer.last_seen = now.wall;
        (entry.extra.hops_known, entry.extra.trust_first, entry.key) = (true, false, Some(*key));
        self.put(entry);
        self.lifecycle.handle_discovered(now.mono, &id);
        self.lifecycle.handle_authenticated(&id);
        Ok(node_id)
    }

    fn forget(&mut self, id: &str) -> Option<Entry> {
        self.lifecycle.forget(id);
        self.take(id)
    }

    /// The id of the peer somebody means: by whole id, by name, by a beginning of the id of at least
    /// [`ID_PREFIX_MIN`] characters, or by the address while nothing else is known. When several fit
    /// and exactly one of them is on the allowlist or was added by hand, that one is meant: strangers
    /// choose their own names.
    ///
    /// # Errors
    /// [`Error::NotFound`], naming what exists or what could be meant.
    pub fn resolve(&self, selector: &str) -> Result<String> {
        for id in [selector.to_owned(), Peer::address_id(selector)] {
            if self.peers.contains_key(&id) {
                return Ok(id);
            }
        }
        let long_enough = selector.chars().count() >= ID_PREFIX_MIN;
        let fits = |p: &Peer| (!p.name.is_empty() && p.name == selector) || (long_enough && p.id.starts_with(selector));
        let found: Vec<&Peer> = self.list_peers().filter(|p| fits(p)).collect();
        let trusted: Vec<&Peer> =
            found.iter().copied().filter(|p| p.key().is_some_and(|key| self.is_trusted(&key))).collect();
        match (found.as_slice(), trusted.as_slice()) {
            ([one], _) | (_, [one]) => Ok(one.id.clone()),
            ([], _) if self.peers.is_empty() => {
                Err(Error::NotFound(format!("no peer {selector:?}: the registry is empty, add one with `peers add`")))
            }
            ([], _) => Err(Error::NotFound(format!("no peer {selector:?}: there are {}", listed(self.list_peers())))),
            (several, _) => Err(Error::NotFound(format!(
                "{selector:?} is ambiguous: it could be {}; use more of the id",
                listed(several.iter().copied())
            ))),
        }
    }
}

/// The entry of a peer that was not registered under its id: what was known of it elsewhere, else a fresh one.
fn first_entry(now: Now, known: Option<&Entry>) -> Entry {
    match known {
        Some(known) => {
            let extra = PeerExtra { origin: Origin::Found, ..PeerExtra::default() };
            Entry { peer: known.peer.clone(), extra, key: None }
        }
        None => Entry {
            peer: Peer { added_at: now.wall, score: SCORE_DEFAULT, ..Peer::default() },
            extra: PeerExtra { origin: Origin::Found, ..PeerExtra::default() },
            key: None,
        },
    }
}

/// Takes over what `other` knew about the peer that has now shown `key`.
fn merge(extra: &mut PeerExtra, other: &Entry, key: &PublicKey) {
    // By hand vouches for a key only where it named this key, or said to trust the first one.
    let origin = match other.extra.origin {
        Origin::Hand if other.key != Some(*key) && !other.extra.trust_first => Origin::Kept,
        origin => origin,
    };
    extra.origin = match (extra.origin, origin) {
        (Origin::Hand, _) | (_, Origin::Hand) => Origin::Hand,
        (Origin::Kept, _) | (_, Origin::Kept) => Origin::Kept,
        _ => Origin::Found,
    };
    if other.peer.id.starts_with(ADDRESS_ID_PREFIX) {
        // How to dial belongs to the address, and it is the one just dialled.
        extra.tls = other.extra.tls;
        extra.tls_pin = other.extra.tls_pin.or(extra.tls_pin);
    }
    extra.sign_key = extra.sign_key.take().or_else(|| other.extra.sign_key.clone());
    extra.uplink |= other.extra.uplink;
}

/// The first few peers as `name (id), …`.
fn listed<'a>(peers: impl Iterator<Item = &'a Peer>) -> String {
    let (mut text, mut count) = (String::new(), 0usize);
    for peer in peers {
        count += 1;
        if count <= NAMES_LISTED {
            let gap = if count == 1 { "" } else { ", " };
            let id = peer.id.escape_debug();
            text += &if peer.name.is_empty() { format!("{gap}{id}") } else { format!("{gap}{} ({id})", peer.name) };
        }
    }
    match count.saturating_sub(NAMES_LISTED) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Rng, Time, Timestamp};
    use crate::identity::{Identity, Role};
    use crate::peers::{Admission, Grants, PeerAuthMode};

    const NOW: Now = Now { mono: Time::ZERO, wall: Timestamp::ZERO };

    fn at(seconds: i64) -> Now {
        Now { wall: Timestamp::from_unix(seconds, 0), ..NOW }
    }

    fn node(n: u64) -> Identity {
        Identity::generate(&format!("node-{n}"), Role::Worker, Timestamp::ZERO, &mut Rng::from_number(n)).unwrap()
    }

    fn hand(registry: &mut PeerRegistry, id: &str, key: &str, address: &str) {
        let peer = Peer { id: id.into(), public_key: key.into(), address: address.into(), ..Peer::default() };
        registry.add_peer(NOW, peer).unwrap();
    }

    fn shows_up(registry: &mut PeerRegistry, node: &Identity, address: Option<&str>) -> Result<String> {
        registry.authenticated(at(9), node.info(), &node.public_key(), address).map(|id| id.to_string())
    }

    #[test]
    fn who_makes_itself_is_registered_and_admits_nobody() {
        let mut registry = PeerRegistry::new();
        let (node, key) = (node(1), node(1).public_key());
        assert_eq!(registry.admission(&key), Admission::Open);
        let id = shows_up(&mut registry, &node, None).unwrap();
        let peer = registry.peer(&id).unwrap();
        assert_eq!((peer.name.as_str(), &peer.role, peer.score), ("node-1", &Role::Worker, 50.0));
        assert_eq!(registry.admission(&key), Admission::Open);
        registry.set_auth_mode(PeerAuthMode::Allowlist);
        assert_eq!(registry.admission(&key), Admission::Refused);
        assert!(!registry.is_peer_allowed(&id, &key.to_base64()), "a registered id does not admit");
        registry.access_mut().allow(&key, Grants::OPERATE, "cli", NOW.wall).unwrap();
        assert_eq!(registry.admission(&key), Admission::Listed);
        registry.revoke_public_key(NOW, &key.to_base64()).unwrap();
        registry.set_auth_mode(PeerAuthMode::Open);
        assert_eq!(registry.admission(&key), Admission::Revoked);
        assert!(shows_up(&mut registry, &node, None).is_err());
    }

    #[test]
    fn a_learned_peer_is_taken_over_by_hand_and_keeps_its_key() {
        let mut registry = PeerRegistry::with_mode(PeerAuthMode::Allowlist);
        let node = node(1);
        let id = shows_up(&mut registry, &node, Some("rig:9091")).unwrap();
        hand(&mut registry, &id, "", "");
        assert_eq!(registry.expected(&id), Some(Expected::Key(node.public_key())));
        assert_eq!(registry.peer(&id).unwrap().address, "rig:9091");
        assert_eq!(registry.admission(&node.public_key()), Admission::Listed);
    }

    #[test]
    fn an_address_is_merged_into_the_peer_that_answers_there() {
        for trust_first in [false, true] {
            let mut registry = PeerRegistry::with_mode(PeerAuthMode::Allowlist);
            let address_id = Peer::address_id("rig:9091");
            hand(&mut registry, &address_id, "", "rig:9091");
            let extra = PeerExtra { origin: Origin::Hand, tls: true, trust_first, ..PeerExtra::default() };
            registry.set_extra(&address_id, extra).unwrap();
            registry.record_success(NOW, &address_id);
            assert_eq!(registry.resolve("rig:9091").unwrap(), address_id);
            let want = if trust_first { Expected::First } else { Expected::Any };
            assert_eq!(registry.expected(&address_id), Some(want));
            let id = shows_up(&mut registry, &node(1), Some("rig:9091")).unwrap();
            assert_eq!(registry.count(), 1);
            let (peer, extra) = (registry.peer(&id).unwrap(), registry.extra(&id).unwrap());
            assert_eq!((peer.score, peer.address.as_str(), extra.tls), (51.0, "rig:9091", true));
            let want = if trust_first { Admission::Listed } else { Admission::Refused };
            assert_eq!(registry.admission(&node(1).public_key()), want);
            assert_ne!(extra.origin, Origin::Found, "what somebody typed in is never evicted");
            assert_eq!(registry.stage(&id).unwrap().word(), "authenticated");
            assert!(registry.stage(&address_id).is_none());
        }
    }

    #[test]
    fn another_key_than_the_registered_one_changes_nothing() {
        let mut registry = PeerRegistry::new();
        let (expected, other) = (node(1), node(2));
        hand(&mut registry, &Peer::address_id("rig:1"), &expected.public_key().to_base64(), "rig:1");
        let error = shows_up(&mut registry, &other, Some("rig:1")).unwrap_err();
        assert!(matches!(error, Error::WrongKey { .. }), "{error}");
        assert_eq!(registry.count(), 1);
        // The id of the other, registered with our key (a file that was tampered with).
        hand(&mut registry, &other.id().to_string(), &expected.public_key().to_base64(), "");
        assert!(shows_up(&mut registry, &other, None).is_err());
        let mut stated = other.info().clone();
        stated.id = expected.id().to_string();
        assert!(registry.authenticated(NOW, &stated, &other.public_key(), None).is_err());
        assert_eq!(registry.count(), 2);
    }

    #[test]
    fn entries_of_one_key_under_other_ids_become_one() {
        let mut registry = PeerRegistry::with_mode(PeerAuthMode::Allowlist);
        let node = node(1);
        hand(&mut registry, "rig seven", &node.public_key().to_base64(), "rig:7");
        assert_eq!(registry.admission(&node.public_key()), Admission::Listed);
        let id = shows_up(&mut registry, &node, None).unwrap();
        assert_eq!(registry.count(), 1);
        assert_eq!(registry.peer(&id).unwrap().address, "rig:7");
        assert_eq!(registry.admission(&node.public_key()), Admission::Listed);
    }

    #[test]
    fn names_follow_the_peer_but_a_bad_one_does_not_erase_what_the_owner_typed() {
        let mut registry = PeerRegistry::new();
        let node = node(1);
        let id = shows_up(&mut registry, &node, None).unwrap();
        let mut bad = node.info().clone();
        bad.name = "host.local".into();
        registry.authenticated(NOW, &bad, &node.public_key(), None).unwrap();
        assert_eq!(registry.peer(&id).unwrap().label(), id);
        registry.add_peer(NOW, Peer { id: id.clone(), name: "rig 7".into(), ..Peer::default() }).unwrap();
        registry.authenticated(NOW, &bad, &node.public_key(), None).unwrap();
        assert_eq!(registry.peer(&id).unwrap().label(), "rig 7");
        shows_up(&mut registry, &node, None).unwrap();
        assert_eq!(registry.peer(&id).unwrap().label(), "node-1");
    }

    #[test]
    fn a_full_registry_drops_the_self_made_peer_that_was_unseen_longest() {
        let mut registry = PeerRegistry::new();
        registry.set_peers_max(3);
        hand(&mut registry, "by hand", "", "");
        for (n, seen) in [(1, 20), (2, 10)] {
            registry.authenticated(at(seen), node(n).info(), &node(n).public_key(), None).unwrap();
        }
        registry.authenticated(at(30), node(3).info(), &node(3).public_key(), None).unwrap();
        assert!(registry.peer(&node(2).id().to_string()).is_none() && registry.peer("by hand").is_some());
        assert_eq!(registry.count(), 3);
        registry.set_connected(at(1), &node(1).id().to_string(), true);
        registry.access_mut().allow(&node(3).public_key(), Grants::NONE, "cli", NOW.wall).unwrap();
        let error = registry.authenticated(at(40), node(4).info(), &node(4).public_key(), None).unwrap_err();
        assert!(matches!(error, Error::Rejected(Refusal::Limit(_))), "{error}");
        assert_eq!(registry.count(), 3);
    }

    #[test]
    fn a_peer_is_named_by_id_name_or_unique_beginning() {
        let mut registry = PeerRegistry::new();
        assert!(registry.resolve("x").unwrap_err().to_string().contains("empty"));
        for (id, name) in [("abcd1", "rig-1"), ("abcd2", "rig-2"), ("ffff0", "twin"), ("ffff1", "twin"), ("ffff", "")] {
            let peer = Peer { id: id.into(), name: name.into(), ..Peer::default() };
            registry.add_found(NOW, peer).unwrap();
        }
        assert_eq!(registry.resolve("rig-2").unwrap(), "abcd2");
        assert_eq!(registry.resolve("abcd1").unwrap(), "abcd1");
        assert_eq!(registry.resolve("ffff").unwrap(), "ffff", "a whole id is no beginning");
        for (selector, words) in [("abcd", "abcd1"), ("twin", "ffff1"), ("abc", "there are"), ("", "there are")] {
            let error = registry.resolve(selector).unwrap_err();
            assert!(matches!(error, Error::NotFound(_)) && error.to_string().contains(words), "{error}");
        }
        // A stranger that calls itself like a rig does not take its place.
        registry
            .add_peer(
                NOW,
                Peer { public_key: node(1).public_key().to_base64(), ..registry.peer("ffff0").unwrap().clone() },
            )
            .unwrap();
        assert_eq!(registry.resolve("twin").unwrap(), "ffff0");
    }
}
