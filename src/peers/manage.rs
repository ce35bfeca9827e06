//! Changes of permissions from afar (secure-session.md §5), by a key that has the grant `manage`: so that a lost controller
//! key can be shut out without visiting every rig, and never beyond what the key may do itself.

use super::{Access, Grants, PeerRegistry};
use crate::base::{Refusal, Result, Timestamp};
use crate::identity::PublicKey;
use crate::message::AccessReply;

/// What is given to a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gift {
    /// What it may do, exactly.
    pub grants: Grants,
    /// Until when; for ever without.
    pub until: Option<Timestamp>,
    /// Who gives it: `cli`, `key:<id>`.
    pub by: String,
    /// For people; `None` leaves what stands there.
    pub note: Option<String>,
}

/// What a key with `manage` asks for another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessChange {
    /// It may do exactly this, until then. Who gives it is known.
    Grant {
        /// What it may do.
        grants: Grants,
        /// Until when; for ever without.
        until: Option<Timestamp>,
        /// For people; empty leaves what stands there.
        note: String,
    },
    /// It is shut out.
    Revoke,
    /// What is pending that would replace it is dropped.
    Keep,
}

impl PeerRegistry {
    /// Carries out a change that the holder of `by` asks for, at the moment `wall`.
    ///
    /// | rule | why |
    /// |---|---|
    /// | `by` has `manage` now | |
    /// | all that the key has now, `by` has too | nobody takes down somebody above |
    /// | all that is given, `by` has too | nobody gives more than is his |
    /// | it ends no later than what `by` has | nobody makes his own time longer, not even by another key |
    /// | what would replace a key is dropped by whoever has `manage` | a thief's statement must not have to wait for its owner |
    /// | a revoked key stays out | only the owner at the machine lets it in again |
    ///
    /// # Errors
    /// [`Refusal::Permission`] naming the grant that `by` lacks; [`Refusal::NotAllowed`] for a revoked key;
    /// [`crate::base::Error::Config`] when the permissions file could not be read.
    pub fn change_from_afar(
        &mut self,
        by: &PublicKey,
        key: &PublicKey,
        change: &AccessChange,
        wall: Timestamp,
    ) -> Result<()> {
        let own = self.grants(by, wall);
        own.require(Grants::MANAGE)?;
        let access = self.access_mut();
        if *change != AccessChange::Keep {
            own.require(access.given(key))?;
        }
        match change {
            AccessChange::Keep => access.keep_key(key),
            AccessChange::Revoke => access.revoke(key, wall),
            AccessChange::Grant { .. } if access.is_revoked(key) => Err(Refusal::NotAllowed.into()),
            AccessChange::Grant { grants, until, note } => {
                own.require(*grants)?;
                let until = [*until, access.until(by)].into_iter().flatten().min_by_key(|t| t.unix_nanos());
                let gift = Gift {
                    grants: *grants,
                    until,
                    by: format!("key:{}", by.node_id()),
                    note: Some(note.clone()).filter(|note| !note.is_empty()),
                };
                access.grant(key, gift, wall)
            }
        }
    }
}

impl Access {
    /// Until when the key may do what it may; `None`: for ever, or it may nothing.
    pub fn until(&self, key: &PublicKey) -> Option<Timestamp> {
        self.permission(key).and_then(|permission| permission.until)
    }

    /// How the key stands, as others are told.
    pub fn reply(&self, key: &PublicKey) -> AccessReply {
        let grants = self.given(key).names().map(str::to_owned).collect();
        AccessReply { key: *key, grants, until: self.until(key), revoked: self.is_revoked(key) }
    }

    /// What was given to the key, whether its time is over or not; nothing for a revoked one.
    pub(super) fn given(&self, key: &PublicKey) -> Grants {
        self.permission(key).filter(|permission| permission.revoked.is_none()).map_or(Grants::NONE, |p| p.grants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Error, Rng};
    use crate::identity::SecretKey;

    fn key(n: u64) -> PublicKey {
        SecretKey::generate(&mut Rng::from_number(n)).public_key()
    }

    fn at(s: i64) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + s, 0)
    }

    /// A manager that may observe and operate until 1,000, a boss that may everything, an observer.
    fn registry() -> PeerRegistry {
        let mut registry = PeerRegistry::new();
        let mut gift = |n, grants: &str, until| {
            let gift = Gift { grants: grants.parse().unwrap(), until, by: "cli".to_owned(), note: None };
            registry.access_mut().grant(&key(n), gift, at(0)).unwrap();
        };
        gift(1, "observe,operate,manage", Some(at(1000)));
        gift(2, "controller,manage", None);
        gift(3, "observe", None);
        registry
    }

    fn give(grants: &str, until: Option<Timestamp>) -> AccessChange {
        AccessChange::Grant { grants: grants.parse().unwrap(), until, note: "spare".to_owned() }
    }

    #[test]
    fn a_manager_gives_what_it_has_and_no_longer_than_it_has_it() {
        let mut registry = registry();
        for (asked, got) in [(None, 1000), (Some(at(500)), 500), (Some(at(5000)), 1000)] {
            registry.change_from_afar(&key(1), &key(9), &give("observe,operate", asked), at(1)).unwrap();
            assert_eq!(registry.access().until(&key(9)), Some(at(got)));
        }
        let entry = registry.access().permission(&key(9)).unwrap();
        assert_eq!((entry.by.as_str(), entry.note.as_str()), (format!("key:{}", key(1).node_id()).as_str(), "spare"));
        let told = registry.change_from_afar(&key(1), &key(9), &give("deploy", None), at(1)).unwrap_err();
        assert_eq!(told, Error::Rejected(Refusal::Permission("deploy")));
        // Neither its own time nor its own grants grow by its own hand.
        registry.change_from_afar(&key(1), &key(1), &give("manage", None), at(1)).unwrap();
        assert_eq!(registry.access().until(&key(1)), Some(at(1000)));
    }

    #[test]
    fn nobody_takes_down_somebody_above_and_everybody_his_equals() {
        let mut registry = registry();
        let told = registry.change_from_afar(&key(1), &key(2), &AccessChange::Revoke, at(1)).unwrap_err();
        assert_eq!(told, Error::Rejected(Refusal::Permission("deploy")));
        assert!(registry.change_from_afar(&key(1), &key(2), &give("observe", None), at(1)).is_err());
        registry.change_from_afar(&key(2), &key(1), &AccessChange::Revoke, at(1)).unwrap();
        assert!(registry.access().is_revoked(&key(1)));
        // Out is out, for whoever asks from afar.
        let told = registry.change_from_afar(&key(2), &key(1), &give("observe", None), at(2)).unwrap_err();
        assert_eq!(told, Error::Rejected(Refusal::NotAllowed));
        let told = registry.change_from_afar(&key(1), &key(3), &AccessChange::Revoke, at(2)).unwrap_err();
        assert_eq!(told, Error::Rejected(Refusal::Permission("manage")), "the revoked one may nothing");
    }

    #[test]
    fn without_manage_or_after_its_time_nothing_is_changed() {
        let mut registry = registry();
        for (by, now) in [(key(3), at(1)), (key(8), at(1)), (key(1), at(1000))] {
            let told = registry.change_from_afar(&by, &key(9), &give("peer", None), now).unwrap_err();
            assert_eq!(told, Error::Rejected(Refusal::Permission("manage")));
        }
        assert!(registry.access().permission(&key(9)).is_none());
    }

    #[test]
    fn a_clock_that_fell_back_makes_no_ones_time_longer() {
        let mut registry = registry();
        registry.set_time_floor(Some(at(1000)));
        assert!(registry.grants(&key(1), at(5)).is_empty(), "judged by the newest time that was saved");
        assert!(!registry.grants(&key(2), at(5)).is_empty());
        registry.set_time_floor(None);
        assert!(!registry.grants(&key(1), at(5)).is_empty());
    }
}
