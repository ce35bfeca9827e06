//! Keys that are replaced by their successors (secure-session.md §6).
//!
//! What a statement waits for stands in the permission of the old key, and so does what became of it: the permissions file
//! alone decides, and allowlist and peers follow it, also after a crash between the files.

use super::{Access, Admission, Grants, PeerRegistry, Permission};
use crate::base::{Error, Now, Refusal, Result, Timestamp, base64_encode};
use crate::identity::{PublicKey, Rotation};
use crate::message::{RotateState, Rotated};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long the successor of a key that may change something waits by default: long enough for an owner to see that
/// somebody else has named it.
pub const ROTATION_DELAY: Duration = Duration::from_hours(24);

/// The longest chain of successors that is followed.
const CHAIN_MAX: usize = 64;

/// Grants whose holder's successor waits.
fn waits(grants: Grants) -> bool {
    [Grants::OPERATE, Grants::DEPLOY, Grants::MANAGE].into_iter().any(|grant| grants.contains(grant))
}

/// What a key's permission says of the key that is to replace it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedSuccessor {
    /// Both keys' word.
    pub statement: Rotation,
    /// When it was heard first.
    pub since: Timestamp,
    /// The new key has proven itself in a session, with the signing key that the statement names.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proven: bool,
    /// The first statement that contradicts it: evidence that the old key is in two hands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contradicted: Option<Rotation>,
}

/// A key and the one that is to be, or is, in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Succession {
    /// X1.
    pub old: PublicKey,
    /// X2.
    pub new: PublicKey,
    /// When it was heard of first.
    pub since: Timestamp,
    /// Before when it is not followed; `None` when it was.
    pub due: Option<Timestamp>,
    /// The new key has proven itself.
    pub proven: bool,
    /// Two statements name two successors: none is followed.
    pub contested: bool,
}

impl Access {
    /// The statement about this key that is not yet followed; nothing for a revoked key.
    fn pending(&self, key: &PublicKey) -> Option<(&Permission, &NamedSuccessor)> {
        let permission = self.permission(key).filter(|permission| permission.revoked.is_none())?;
        Some((permission, permission.rotation.as_deref()?))
    }

    /// The known key that names `key` as its successor, while that is neither followed nor contested.
    pub fn predecessor_of(&self, key: &PublicKey) -> Option<PublicKey> {
        self.permissions()
            .filter(|(_, permission)| permission.revoked.is_none())
            .find(|(_, p)| p.rotation.as_ref().is_some_and(|r| r.statement.new == *key && r.contradicted.is_none()))
            .map(|(old, _)| *old)
    }

    /// The key that has replaced this one.
    pub fn successor_of(&self, key: &PublicKey) -> Option<PublicKey> {
        PublicKey::from_base64(self.permission(key)?.successor.as_deref()?).ok()
    }

    /// The key that is in this one's place now, which may be this one itself.
    pub fn newest_of(&self, key: &PublicKey) -> PublicKey {
        // A key that was replaced comes back by the owner's hand only, which ends its chain; still, none is followed for ever.
        std::iter::successors(Some(*key), |key| self.successor_of(key)).take(CHAIN_MAX).last().unwrap_or(*key)
    }

    /// The key that this one names as its successor, while that is neither followed nor contested.
    pub fn named_by(&self, key: &PublicKey) -> Option<PublicKey> {
        self.pending(key).filter(|(_, named)| named.contradicted.is_none()).map(|(_, named)| named.statement.new)
    }

    /// Drops what is pending for this key; the same successor, said again, is refused from now on.
    ///
    /// # Errors
    /// [`Error::NotFound`] when nothing is; [`Error::Config`] when the permissions file could not be read.
    pub fn keep_key(&mut self, key: &PublicKey) -> Result<()> {
        self.check_writable()?;
        let entry = self.permissions.get_mut(key).filter(|p| p.revoked.is_none());
        let named = entry.and_then(|p| p.rotation.take().map(|named| (p, named)));
        let (entry, named) = named.ok_or_else(|| Error::NotFound("no successor of this key is pending".to_owned()))?;
        entry.kept = Some(named.statement.new.to_base64());
        Ok(())
    }

    /// Puts the successor into the place of the key that named it. Allowlist and peers follow: see
    /// [`Access::settle_successors`] and [`PeerRegistry::settle_peers`].
    fn follow(&mut self, old: &PublicKey, wall: Timestamp) {
        let Some((permission, named)) = self.pending(old) else { return };
        let (before, named) = (permission.clone(), named.clone());
        let new = named.statement.new;
        let sign = Some(base64_encode(&named.statement.new_sign));
        let text = new.to_base64();
        let entry = Permission {
            key: text.clone(),
            secure: true,
            sign,
            since: Some(wall),
            by: "rotate".to_owned(),
            rotation: None,
            kept: None,
            ..before
        };
        let replaced = Permission {
            key: old.to_base64(),
            successor: Some(text),
            revoked: Some(wall),
            rotation: Some(Box::new(named)),
            ..Permission::default()
        };
        self.permissions.insert(new, entry);
        self.permissions.insert(*old, replaced);
    }

    /// Lets a successor in where its predecessor still stands on the allowlist.
    pub(super) fn settle_successors(&mut self) {
        let replaced: Vec<(PublicKey, PublicKey)> =
            self.permissions().filter_map(|(old, _)| Some((*old, self.successor_of(old)?))).collect();
        for (old, new) in replaced {
            let text = old.to_base64();
            if self.allowlist.contains(&text) {
                self.unlist_text(&text);
                // It may have been shut out since, or replaced in its turn.
                if self.permission(&new).is_some_and(|permission| permission.revoked.is_none()) {
                    self.allow_text(&new.to_base64());
                }
            }
        }
    }
}

impl PeerRegistry {
    /// How long the successor of a key with `operate`, `deploy` or `manage` waits; zero: not at all.
    pub fn set_rotation_delay(&mut self, delay: Duration) {
        self.rotation_delay = delay;
    }

    /// A statement came in a session whose peer has proven `via` with the signing key `sign`: what is to be answered when
    /// it changes nothing, or `None` when it does and is for [`PeerRegistry::handle_rotation`]. Verifies both signatures
    /// of what was not heard before.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`] for an old key that is not known or was revoked, or a new one that was revoked;
    /// [`Refusal::Unconfirmed`] when the old key's signing key is not the one that is pinned, the new key is known for
    /// itself, or the owner has kept the old one; what is wrong with the statement; [`Error::Config`] when the permissions
    /// file could not be read.
    pub fn judge_rotation(&self, said: &Rotation, via: &PublicKey, sign: &[u8; 32]) -> Result<Option<Rotated>> {
        if *via != said.old && *via != said.new {
            return Err(Error::malformed("rotation", "it is about other keys than the one that says it"));
        }
        let (old, new) = (said.old, said.new);
        let permission = self.access.permission(&old);
        if let Some(known) = permission.and_then(|p| p.rotation.as_deref()) {
            if known.statement.new == new && known.statement.new_sign == said.new_sign {
                return Ok(Some(self.how_it_stands(&old)));
            }
            if known.contradicted.is_some() {
                return Ok(Some(CONTESTED));
            }
        } else if self.admission(&old) != Admission::Listed || self.access.is_revoked(&new) {
            return Err(Refusal::NotAllowed.into());
        }
        self.access.check_writable()?;
        let unconfirmed = |why: &str| Err(Refusal::Unconfirmed(why.to_owned()).into());
        if permission.is_some_and(|p| p.kept.as_deref() == Some(new.to_base64().as_str())) {
            return unconfirmed("the owner keeps the old key");
        }
        said.verify()?;
        if permission.is_some_and(|p| p.rotation.is_some()) {
            return Ok(None);
        }
        match self.sign_key_of(&old) {
            Some(pinned) if pinned == said.old_sign => {}
            None if *via == old && *sign == said.old_sign => {}
            _ => return unconfirmed("the old key has another signing key"),
        }
        // Two keys that are known apart are two nodes, and one entry cannot take the place of two.
        if self.admission(&new) == Admission::Listed || self.access.predecessor_of(&new).is_some() {
            return unconfirmed("the new key is known for itself already");
        }
        Ok(None)
    }

    /// Takes a statement in, as [`PeerRegistry::judge_rotation`] judges it. What the answer says must be saved before it is
    /// given.
    ///
    /// # Errors
    /// As there.
    pub fn handle_rotation(
        &mut self,
        said: &Rotation,
        via: &PublicKey,
        sign: &[u8; 32],
        wall: Timestamp,
    ) -> Result<Rotated> {
        if let Some(answer) = self.judge_rotation(said, via, sign)? {
            return Ok(answer);
        }
        let (old, new) = (said.old, said.new);
        let named = NamedSuccessor {
            statement: said.clone(),
            since: self.judged(wall),
            proven: *via == new && *sign == said.new_sign,
            contradicted: None,
        };
        let fresh = || Permission { key: old.to_base64(), ..Permission::default() };
        let entry = self.access.permissions.entry(old).or_insert_with(fresh);
        if let Some(known) = &mut entry.rotation {
            log::error!(target: "peers", old = old.to_base64().as_str(), first = known.statement.new.to_base64().as_str(), second = new.to_base64().as_str(); "a key names two successors: somebody else has it too; decide with peers revoke or peers keep-key");
            known.contradicted = Some(said.clone());
            return Ok(CONTESTED);
        }
        entry.rotation = Some(Box::new(named));
        log::warn!(target: "peers", old = old.to_base64().as_str(), new = new.to_base64().as_str(); "a key names its successor");
        self.follow_due(wall);
        Ok(self.how_it_stands(&old))
    }

    /// A key has proven itself in a session, with this signing key: perhaps it is the successor that one waits for. `true`
    /// when something has changed, to be saved.
    pub fn note_successor_proven(&mut self, key: &PublicKey, sign: &[u8; 32], wall: Timestamp) -> bool {
        let Some(old) = self.access.predecessor_of(key) else { return false };
        let Some(named) = self.access.permissions.get_mut(&old).and_then(|p| p.rotation.as_mut()) else { return false };
        if named.statement.new_sign != *sign {
            log::warn!(target: "peers", new = key.to_base64().as_str(); "a successor shows another signing key than was named");
            return false;
        }
        let new = !std::mem::replace(&mut named.proven, true);
        self.follow_due(wall) || new
    }

    /// Whether this key is a successor that has still something to prove, or whose time has come.
    pub fn awaits_successor(&self, key: &PublicKey, wall: Timestamp) -> bool {
        let Some(old) = self.access.predecessor_of(key) else { return false };
        self.succession(&old).is_some_and(|s| !s.proven || self.is_due(&s, wall))
    }

    /// Puts every successor that has proven itself, and whose time has come, in its predecessor's place. `true` when there
    /// was one: save the permissions, then [`PeerRegistry::settle_peers`].
    pub fn follow_due(&mut self, wall: Timestamp) -> bool {
        let ready: Vec<Succession> =
            self.successions().filter(|s| s.proven && !s.contested && self.is_due(s, wall)).collect();
        for Succession { old, new, .. } in &ready {
            log::warn!(target: "peers", old = old.to_base64().as_str(), new = new.to_base64().as_str(); "a key was replaced by its successor");
            self.access.follow(old, wall);
        }
        if !ready.is_empty() {
            self.access.settle_successors();
        }
        !ready.is_empty()
    }

    /// When the next successor that has proven itself may take its place.
    pub fn next_succession(&self) -> Option<Timestamp> {
        let waiting = self.successions().filter(|s| s.proven && !s.contested);
        waiting.filter_map(|s| s.due).min_by_key(|due| due.unix_nanos())
    }

    /// Every statement about a key that is not followed yet, by key.
    pub fn successions(&self) -> impl Iterator<Item = Succession> {
        self.access.permissions().filter_map(|(old, _)| self.succession(old)).filter(|s| s.due.is_some())
    }

    /// What was said of this key's successor.
    pub fn succession(&self, old: &PublicKey) -> Option<Succession> {
        let permission = self.access.permission(old)?;
        let named = permission.rotation.as_deref()?;
        let delay = if waits(permission.grants) { self.rotation_delay } else { Duration::ZERO };
        Some(Succession {
            old: *old,
            new: named.statement.new,
            since: named.since,
            due: permission.revoked.is_none().then(|| named.since.plus(delay)),
            proven: named.proven,
            contested: named.contradicted.is_some(),
        })
    }

    /// Gives peers the key that has replaced theirs.
    pub fn settle_peers(&mut self, now: Now) {
        let moved: Vec<(PublicKey, PublicKey)> = self
            .access
            .permissions()
            .filter(|(old, _)| self.ids_of(old).next().is_some())
            .filter_map(|(old, _)| Some((*old, self.access.successor_of(old)?)))
            .collect();
        for (old, new) in moved {
            let (ids, id) = (self.ids_of(&old).cloned().collect::<Vec<_>>(), new.node_id().to_string());
            for former in ids {
                self.lifecycle.forget(&former);
                let Some(mut entry) = self.take(&former) else { continue };
                // The successor may have shown itself already: how it is connected is known of that entry.
                if let Some(shown) = self.take(&id) {
                    (entry.peer.connected, entry.peer.last_seen) = (shown.peer.connected, shown.peer.last_seen);
                } else {
                    entry.peer.connected = false;
                }
                entry.peer.id.clone_from(&id);
                (entry.peer.public_key, entry.key) = (new.to_base64(), Some(new));
                // The permission has the new one; records are numbered anew.
                (entry.extra.sign_key, entry.extra.record_seq) = (None, 0);
                self.put(entry);
                self.lifecycle.handle_discovered(now.mono, &id);
            }
        }
    }

    fn is_due(&self, succession: &Succession, wall: Timestamp) -> bool {
        succession.due.is_some_and(|due| due.unix_nanos() <= self.judged(wall).unix_nanos())
    }

    fn how_it_stands(&self, old: &PublicKey) -> Rotated {
        match self.succession(old) {
            Some(s) if s.contested => CONTESTED,
            Some(Succession { due: Some(due), .. }) => Rotated { state: RotateState::Pending, due: Some(due) },
            _ => Rotated { state: RotateState::Followed, due: None },
        }
    }
}

/// The answer to whoever names one of two successors.
const CONTESTED: Rotated = Rotated { state: RotateState::Contested, due: None };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Rng, Time};
    use crate::identity::{Identity, Role};
    use crate::peers::{AccessChange, Origin, Peer, PeerAuthMode, PeerExtra, RegistryTexts};

    const HOUR: i64 = 3600;

    fn node(n: u64) -> Identity {
        Identity::generate("node", Role::Dual, Timestamp::ZERO, &mut Rng::from_number(n)).unwrap()
    }

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + hours * HOUR, 0)
    }

    fn now(hours: i64) -> Now {
        Now { mono: Time::ZERO, wall: at(hours) }
    }

    /// A rig that knows node 1, paired with, with these grants.
    fn knows(grants: Grants) -> (PeerRegistry, Identity, Identity) {
        let mut registry = PeerRegistry::with_mode(PeerAuthMode::Allowlist);
        let (old, new) = (node(1), node(2));
        registry.access_mut().pair(&old.public_key(), Some(grants), &old.sign_key().public(), at(0)).unwrap();
        (registry, old, new)
    }

    fn says(registry: &mut PeerRegistry, said: &Rotation, by: &Identity, hours: i64) -> Result<Rotated> {
        registry.handle_rotation(said, &by.public_key(), &by.sign_key().public(), at(hours))
    }

    fn proves(registry: &mut PeerRegistry, node: &Identity, hours: i64) -> bool {
        let changed = registry.note_successor_proven(&node.public_key(), &node.sign_key().public(), at(hours));
        registry.settle_peers(now(hours));
        changed
    }

    #[test]
    fn a_successor_waits_a_day_proves_itself_and_has_what_its_predecessor_had() {
        let (mut registry, old, new) = knows(Grants::CONTROLLER);
        let said = Rotation::new(&old, &new, 1);
        let told = says(&mut registry, &said, &old, 0).unwrap();
        assert_eq!(told, Rotated { state: RotateState::Pending, due: Some(at(24)) });
        assert_eq!(registry.admission(&new.public_key()), Admission::Open, "it may come to prove itself");
        assert!(registry.grants(&new.public_key(), at(1)).is_empty());
        assert!(proves(&mut registry, &new, 1) && !proves(&mut registry, &new, 2), "once");
        assert_eq!(registry.grants(&old.public_key(), at(23)), Grants::CONTROLLER, "the old key works meanwhile");
        assert!(!registry.follow_due(at(23)));
        assert_eq!(registry.next_succession(), Some(at(24)));
        assert!(registry.follow_due(at(24)));
        assert_eq!(registry.admission(&old.public_key()), Admission::Revoked);
        assert_eq!(registry.admission(&new.public_key()), Admission::Listed);
        assert_eq!(registry.grants(&new.public_key(), at(24)), Grants::CONTROLLER);
        assert!(registry.access().is_secure(&new.public_key()));
        assert_eq!(registry.sign_key_of(&new.public_key()), Some(new.sign_key().public()));
        assert_eq!(registry.access().permission(&new.public_key()).unwrap().by, "rotate");
        assert_eq!(says(&mut registry, &said, &new, 25).unwrap(), Rotated { state: RotateState::Followed, due: None });
        assert_eq!(registry.access().newest_of(&old.public_key()), new.public_key());
        // And that one is replaced in its turn.
        let third = node(3);
        says(&mut registry, &Rotation::new(&new, &third, 2), &new, 26).unwrap();
        proves(&mut registry, &third, 27);
        assert!(registry.follow_due(at(50)));
        assert_eq!(registry.access().newest_of(&old.public_key()), third.public_key());
    }

    #[test]
    fn without_proof_nobody_follows_however_long_it_takes() {
        let (mut registry, old, new) = knows(Grants::CONTROLLER);
        says(&mut registry, &Rotation::new(&old, &new, 1), &old, 0).unwrap();
        assert!(!registry.follow_due(at(1000)));
        assert_eq!(registry.next_succession(), None);
        let other = node(3).sign_key().public();
        assert!(!registry.note_successor_proven(&new.public_key(), &other, at(1000)), "another signing key");
        assert!(proves(&mut registry, &new, 1000));
        assert_eq!(registry.admission(&new.public_key()), Admission::Listed);
    }

    #[test]
    fn who_may_change_nothing_is_followed_at_once_and_so_is_everybody_where_the_owner_says_so() {
        let (mut registry, old, new) = knows(Grants::OBSERVE);
        let told = says(&mut registry, &Rotation::new(&old, &new, 1), &old, 0).unwrap();
        assert_eq!(told, Rotated { state: RotateState::Pending, due: Some(at(0)) });
        assert!(proves(&mut registry, &new, 0));
        assert_eq!(registry.admission(&new.public_key()), Admission::Listed);

        let (mut registry, old, new) = knows(Grants::CONTROLLER);
        registry.set_rotation_delay(Duration::ZERO);
        // Said by the new key itself, which has thereby proven itself.
        registry.set_auth_mode(PeerAuthMode::Open);
        assert_eq!(says(&mut registry, &Rotation::new(&old, &new, 1), &new, 0).unwrap().state, RotateState::Followed);
    }

    #[test]
    fn grants_that_grow_meanwhile_make_a_successor_wait() {
        let (mut registry, old, new) = knows(Grants::NONE);
        says(&mut registry, &Rotation::new(&old, &new, 1), &old, 0).unwrap();
        registry.access_mut().allow(&old.public_key(), Grants::OPERATE, "cli", at(0)).unwrap();
        proves(&mut registry, &new, 1);
        assert!(registry.grants(&new.public_key(), at(1)).is_empty());
        assert!(registry.follow_due(at(24)));
        assert_eq!(registry.grants(&new.public_key(), at(24)), Grants::OPERATE);
    }

    #[test]
    fn two_successors_are_none_and_both_statements_are_kept() {
        let (mut registry, old, new) = knows(Grants::CONTROLLER);
        let (first, second) = (Rotation::new(&old, &new, 1), Rotation::new(&old, &node(3), 2));
        says(&mut registry, &first, &old, 0).unwrap();
        assert_eq!(says(&mut registry, &second, &old, 1).unwrap().state, RotateState::Contested);
        assert_eq!(says(&mut registry, &first, &old, 1).unwrap().state, RotateState::Contested);
        assert_eq!(registry.admission(&new.public_key()), Admission::Refused, "not even to prove itself");
        proves(&mut registry, &new, 2);
        assert!(!registry.follow_due(at(100)));
        assert_eq!(registry.grants(&old.public_key(), at(100)), Grants::CONTROLLER);
        let kept = registry.access().permission(&old.public_key()).unwrap().rotation.clone().unwrap();
        assert_eq!((kept.statement, kept.contradicted), (first.clone(), Some(second.clone())));
        // The owner decides, and it begins anew.
        registry.access_mut().keep_key(&old.public_key()).unwrap();
        assert!(registry.access_mut().keep_key(&old.public_key()).is_err());
        let told = says(&mut registry, &first, &old, 101).unwrap_err();
        assert!(told.to_string().contains("owner keeps"), "{told}");
        let (new, first) = (node(4), Rotation::new(&old, &node(4), 3));
        says(&mut registry, &first, &old, 101).unwrap();
        proves(&mut registry, &new, 101);
        assert!(registry.follow_due(at(125)));
        // Also afterwards: it changes nothing, and is kept.
        assert_eq!(says(&mut registry, &second, &node(3), 126).unwrap().state, RotateState::Contested);
        assert_eq!(registry.grants(&new.public_key(), at(126)), Grants::CONTROLLER);
        let kept = registry.access().permission(&old.public_key()).unwrap().rotation.clone().unwrap();
        assert_eq!(kept.contradicted, Some(second));
    }

    #[test]
    fn only_a_known_key_with_its_pinned_signing_key_names_a_successor_that_nobody_knows() {
        let (mut registry, old, new) = knows(Grants::OPERATE);
        let said = Rotation::new(&old, &new, 1);
        let told = says(&mut registry, &said, &node(9), 0).unwrap_err();
        assert!(told.to_string().contains("other keys"), "{told}");
        assert!(says(&mut registry, &Rotation::new(&node(8), &new, 1), &node(8), 0).is_err(), "a stranger's");
        // Somebody who has X1 alone, with a signing key of his own.
        let thief = node(7);
        let info = old.info().clone();
        let secret = crate::identity::SecretKey::from_bytes(*old.secret().to_bytes());
        let sign = crate::identity::SignKey::from_seed(&thief.sign_key().seed());
        let half = Identity::from_parts(secret, sign, info).unwrap();
        let told = says(&mut registry, &Rotation::new(&half, &thief, 1), &half, 0).unwrap_err();
        assert!(matches!(told, Error::Rejected(Refusal::Unconfirmed(_))), "{told}");
        // A key that is known for itself does not become another one; a revoked one comes to nothing.
        registry.access_mut().allow(&node(4).public_key(), Grants::OBSERVE, "cli", at(0)).unwrap();
        assert!(says(&mut registry, &Rotation::new(&old, &node(4), 1), &old, 0).is_err());
        registry.access_mut().revoke(&node(5).public_key(), at(0)).unwrap();
        assert!(says(&mut registry, &Rotation::new(&old, &node(5), 1), &old, 0).is_err());
        registry.access_mut().revoke(&old.public_key(), at(0)).unwrap();
        let told = says(&mut registry, &said, &old, 0).unwrap_err();
        assert_eq!(told, Error::Rejected(Refusal::NotAllowed), "rotation revives nobody");
    }

    #[test]
    fn a_revocation_ends_what_is_pending() {
        let (mut registry, old, new) = knows(Grants::OPERATE);
        says(&mut registry, &Rotation::new(&old, &new, 1), &old, 0).unwrap();
        proves(&mut registry, &new, 0);
        registry.access_mut().revoke(&old.public_key(), at(1)).unwrap();
        assert_eq!(registry.admission(&new.public_key()), Admission::Refused);
        assert!(!registry.follow_due(at(100)) && registry.next_succession().is_none());
    }

    #[test]
    fn a_key_with_manage_keeps_a_key_and_nobody_else_does() {
        let (mut registry, old, new) = knows(Grants::OPERATE);
        says(&mut registry, &Rotation::new(&old, &new, 1), &old, 0).unwrap();
        let boss = node(6).public_key();
        assert!(registry.change_from_afar(&boss, &old.public_key(), &AccessChange::Keep, at(1)).is_err());
        registry.access_mut().allow(&boss, Grants::MANAGE, "cli", at(1)).unwrap();
        registry.change_from_afar(&boss, &old.public_key(), &AccessChange::Keep, at(1)).unwrap();
        assert_eq!(registry.admission(&new.public_key()), Admission::Refused);
    }

    #[test]
    fn the_peer_keeps_its_name_and_place_under_its_new_key() {
        let (mut registry, old, new) = knows(Grants::NONE);
        let (id, key) = (old.id().to_string(), old.public_key());
        let peer = Peer {
            id: id.clone(),
            name: "rig 7".into(),
            public_key: key.to_base64(),
            address: "rig:1".into(),
            ..Peer::default()
        };
        registry.add_peer(now(0), peer).unwrap();
        let extra = PeerExtra { origin: Origin::Hand, tls: true, named: true, ..PeerExtra::default() };
        registry.set_extra(&id, extra).unwrap();
        says(&mut registry, &Rotation::new(&old, &new, 1), &old, 0).unwrap();
        proves(&mut registry, &new, 0);
        let id = new.id().to_string();
        let (peer, extra) = (registry.peer(&id).unwrap(), registry.extra(&id).unwrap());
        assert_eq!((peer.name.as_str(), peer.address.as_str(), extra.tls), ("rig 7", "rig:1", true));
        assert_eq!((registry.count(), registry.admission(&new.public_key())), (1, Admission::Listed));
    }

    #[test]
    fn the_permissions_file_alone_decides_and_the_others_follow_it() {
        // As a crash leaves it that comes right after the permissions were written.
        let (mut registry, old, new) = knows(Grants::OPERATE);
        registry.set_rotation_delay(Duration::ZERO);
        let peer = Peer { id: old.id().to_string(), public_key: old.public_key().to_base64(), ..Peer::default() };
        registry.add_peer(now(0), peer).unwrap();
        let (allowlist, peers) = (registry.access().allowlist_text().unwrap(), registry.take_dirty().unwrap().unwrap());
        says(&mut registry, &Rotation::new(&old, &new, 1), &old, 0).unwrap();
        registry.note_successor_proven(&new.public_key(), &new.sign_key().public(), at(0));
        let permissions = registry.access().permissions_text().unwrap().unwrap();
        let texts = RegistryTexts {
            peers: Some(peers.peers.as_bytes()),
            extras: Some(peers.extras.as_bytes()),
            allowlist: Some(allowlist.as_bytes()),
            permissions: Some(permissions.as_bytes()),
        };
        let (loaded, warnings) = PeerRegistry::load(PeerAuthMode::Allowlist, texts).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(loaded.admission(&new.public_key()), Admission::Listed);
        assert_eq!(loaded.grants(&new.public_key(), at(1)), Grants::OPERATE);
        assert_eq!(loaded.admission(&old.public_key()), Admission::Revoked);
        assert!(loaded.peer(&new.id().to_string()).is_some() && loaded.count() == 1 && loaded.is_dirty());
        assert_eq!(loaded.access().permissions_text().unwrap().unwrap(), permissions, "it is read as it was written");
    }
}
