//! Who may connect and who may do what: the allowlist and the permissions, by whole key
//! (mesh.md §7 and §8, secure-session.md §5).

use super::{Gift, NamedSuccessor};
use crate::base::{Error, Refusal, Result, Timestamp, base64_decode_strict, base64_encode, check_json};
use crate::formats::gojson;
use crate::identity::PublicKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Whether unknown keys are let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerAuthMode {
    /// Any key that proves itself may connect; unknown ones get `ping` only.
    #[default]
    Open,
    /// Only keys on the allowlist, or of peers added by hand.
    Allowlist,
}

/// What a key is to us before it has proven anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Not known, and only known keys are let in.
    Refused,
    /// Was revoked: refused in every mode.
    Revoked,
    /// On the allowlist, or the key of a peer added by hand.
    Listed,
    /// Not known, and may do nothing; let in because the mode is open, or to prove itself as the successor that a known key
    /// has named.
    Open,
}

/// A set of grants. Being admitted is not one of them; ping and stats need none.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Grants(u8);

impl Grants {
    /// No grant.
    pub const NONE: Grants = Grants(0);
    /// Read logs, versions, the end of the audit log.
    pub const OBSERVE: Grants = Grants(1);
    /// Start, stop and pause miners, and go back to another installed version.
    pub const OPERATE: Grants = Grants(2);
    /// Deploy, and change profiles.
    pub const DEPLOY: Grants = Grants(4);
    /// Grant and revoke, never beyond the own grants.
    pub const MANAGE: Grants = Grants(8);
    /// What `controller` stands for: observe, operate, deploy.
    pub const CONTROLLER: Grants = Grants(7);

    const NAMES: [(Grants, &'static str); 4] = [
        (Grants::OBSERVE, "observe"),
        (Grants::OPERATE, "operate"),
        (Grants::DEPLOY, "deploy"),
        (Grants::MANAGE, "manage"),
    ];

    /// Whether all of `needed` are here.
    pub fn contains(self, needed: Grants) -> bool {
        self.0 & needed.0 == needed.0
    }

    /// Both together.
    #[must_use]
    pub fn union(self, other: Grants) -> Grants {
        Grants(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(self, other: Grants) -> Grants {
        Grants(self.0 & other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names, in the fixed order observe, operate, deploy, manage.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Grants::NAMES.into_iter().filter(move |(grant, _)| self.contains(*grant)).map(|(_, name)| name)
    }

    /// Ok when all of `needed` are here.
    ///
    /// # Errors
    /// [`Refusal::Permission`] with the name of the first one missing.
    pub fn require(self, needed: Grants) -> Result<()> {
        match Grants::NAMES.iter().find(|(grant, _)| needed.contains(*grant) && !self.contains(*grant)) {
            Some((_, name)) => Err(Refusal::Permission(name).into()),
            None => Ok(()),
        }
    }

    fn of_name(name: &str) -> Option<Grants> {
        match name {
            "controller" => Some(Grants::CONTROLLER),
            "peer" => Some(Grants::NONE),
            _ => Grants::NAMES.into_iter().find(|(_, known)| *known == name).map(|(grant, _)| grant),
        }
    }
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(","))
    }
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grants({self})")
    }
}

impl FromStr for Grants {
    type Err = Error;

    /// Names separated by commas: `peer` (no grant), `observe`, `operate`, `deploy`, `manage`, or
    /// `controller` for the three in the middle.
    fn from_str(text: &str) -> Result<Grants> {
        text.split(',').try_fold(Grants::NONE, |all, name| match Grants::of_name(name.trim()) {
            Some(grant) => Ok(all.union(grant)),
            None => Err(Error::Config(format!(
                "unknown grant {:?}: use peer, observe, operate, deploy, manage or controller",
                name.chars().take(64).collect::<String>()
            ))),
        })
    }
}

impl Serialize for Grants {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_seq(self.names())
    }
}

impl<'de> Deserialize<'de> for Grants {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Grants, D::Error> {
        Vec::<String>::deserialize(d)?.iter().try_fold(Grants::NONE, |all, name| {
            let grant = Grants::of_name(name);
            grant.map(|g| all.union(g)).ok_or_else(|| serde::de::Error::custom(format_args!("unknown grant {name:?}")))
        })
    }
}

/// What a key may do, as the permissions file has it. A revoked entry stays, so that the key stays out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Permission {
    /// The key's text.
    pub(super) key: String,
    /// What it may do.
    #[serde(skip_serializing_if = "Grants::is_hidden")]
    pub grants: Grants,
    /// The key's secure mark: it is only ever spoken to in secure sessions.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub secure: bool,
    /// The Ed25519 key pinned to it, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign: Option<String>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Until when; for ever when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who gave it: `cli`, `pair`, `rotate`, `key:<id>`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// The key that replaced it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
    /// When it was revoked or replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// The statement that names a successor: what it waits for, and what it was followed for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Box<NamedSuccessor>>,
    /// The successor that the owner, or a key with `manage`, has refused for this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

impl Grants {
    fn is_hidden(&self) -> bool {
        self.is_empty()
    }
}

/// Everything about one key, to put back when saving failed.
#[derive(Clone, Debug)]
pub struct KeyAccess {
    key: PublicKey,
    listed: bool,
    permission: Option<Permission>,
}

/// Allowlist and permissions. Entries that are no canonical key admit nobody and permit nothing;
/// their texts are written back as read.
#[derive(Clone, Debug, Default)]
pub struct Access {
    pub(super) allowlist: BTreeSet<String>,
    listed: BTreeSet<PublicKey>,
    pub(super) permissions: BTreeMap<PublicKey, Permission>,
    /// Entries of the permissions file whose key is not canonical.
    strays: Vec<Permission>,
    /// Why the permissions file could not be read, if so: then nobody has any, and it is not written.
    broken: Option<String>,
}

impl Access {
    /// Reads the texts of both files; `None` is a missing file. Second: warnings for people.
    /// An unreadable permissions file is not an error: see [`Access::broken`].
    ///
    /// # Errors
    /// [`Error::Malformed`]: the allowlist is not a JSON array of texts.
    pub fn load(allowlist: Option<&[u8]>, permissions: Option<&[u8]>) -> Result<(Access, Vec<String>)> {
        let (mut access, mut warnings) = (Access::default(), Vec::new());
        if let Some(bytes) = allowlist {
            let text = check_json("allowlist", bytes)?;
            let entries: Option<Vec<String>> =
                serde_json::from_str(text).map_err(|e| Error::malformed("allowlist", e.to_string()))?;
            for entry in entries.unwrap_or_default() {
                if !access.allow_text(&entry) {
                    warnings.push(format!("allowlist: {entry:?} is no canonical key and admits nobody"));
                }
            }
        }
        if let Some(bytes) = permissions {
            match read_permissions(bytes) {
                Ok(entries) => access.take_permissions(entries, &mut warnings),
                Err(why) => access.broken = Some(why.to_string()),
            }
            access.settle_successors();
            if let Some(why) = &access.broken {
                warnings.push(format!("permissions: nobody has any permission, and the file is not written: {why}"));
            }
        }
        Ok((access, warnings))
    }

    fn take_permissions(&mut self, entries: Vec<Permission>, warnings: &mut Vec<String>) {
        for entry in entries {
            let Ok(key) = PublicKey::from_base64(&entry.key) else {
                warnings.push(format!("permissions: {:?} is no canonical key and may do nothing", entry.key));
                self.strays.push(entry);
                continue;
            };
            if self.permissions.insert(key, entry).is_some() {
                // Which of the two was meant is a guess, and one of them may be the revocation.
                *self = Access {
                    allowlist: std::mem::take(&mut self.allowlist),
                    listed: std::mem::take(&mut self.listed),
                    broken: Some(format!("the key {key} stands there twice")),
                    ..Access::default()
                };
                return;
            }
        }
    }

    /// Why the permissions file could not be read. While this is `Some` nobody has any permission
    /// and nothing can be granted.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// The text of the allowlist file: a sorted array, as a Go node writes it.
    ///
    /// # Errors
    /// None in practice; see [`gojson`].
    pub fn allowlist_text(&self) -> Result<String> {
        gojson::to_string_pretty_html(&self.allowlist)
    }

    /// The text of the permissions file, sorted by key; `None` when the file must not be written.
    ///
    /// # Errors
    /// None in practice; see [`gojson`].
    pub fn permissions_text(&self) -> Result<Option<String>> {
        if self.broken.is_some() {
            return Ok(None);
        }
        let mut entries: Vec<&Permission> = self.permissions.values().chain(&self.strays).collect();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        gojson::to_string_pretty_html(&entries).map(Some)
    }

    /// Puts a text on the allowlist. `false` when it is no canonical key and so admits nobody.
    pub fn allow_text(&mut self, text: &str) -> bool {
        self.allowlist.insert(text.to_owned());
        match PublicKey::from_base64(text) {
            Ok(key) => {
                self.listed.insert(key);
                true
            }
            Err(_) => false,
        }
    }

    /// Takes a text off the allowlist.
    pub fn unlist_text(&mut self, text: &str) {
        self.allowlist.remove(text);
        if let Ok(key) = PublicKey::from_base64(text) {
            self.listed.remove(&key);
        }
    }

    /// Whether the key stands on the allowlist (and was not revoked).
    pub fn is_listed(&self, key: &PublicKey) -> bool {
        self.listed.contains(key) && !self.is_revoked(key)
    }

    /// Whether the key was revoked or replaced.
    pub fn is_revoked(&self, key: &PublicKey) -> bool {
        self.permissions.get(key).is_some_and(|p| p.revoked.is_some())
    }

    /// The texts of the allowlist, sorted.
    pub fn allowlist(&self) -> impl Iterator<Item = &str> {
        self.allowlist.iter().map(String::as_str)
    }

    /// Every key with a permission entry, revoked ones included, by key.
    pub fn permissions(&self) -> impl Iterator<Item = (&PublicKey, &Permission)> {
        self.permissions.iter()
    }

    /// What stands of a key.
    pub fn permission(&self, key: &PublicKey) -> Option<&Permission> {
        self.permissions.get(key)
    }

    /// What the key may do at the moment `wall`: nothing when it is revoked, its time is over, or
    /// the file could not be read.
    pub fn grants(&self, key: &PublicKey, wall: Timestamp) -> Grants {
        match self.permissions.get(key) {
            Some(p) if p.revoked.is_none() && p.until.is_none_or(|t| wall.unix_nanos() < t.unix_nanos()) => p.grants,
            _ => Grants::NONE,
        }
    }

    /// Lets the key in and gives it exactly these grants; a revocation of it is lifted.
    ///
    /// # Errors
    /// [`Error::Config`] when the permissions file could not be read: it would have to be written.
    pub fn allow(&mut self, key: &PublicKey, grants: Grants, by: &str, wall: Timestamp) -> Result<()> {
        self.grant(key, Gift { grants, by: by.to_owned(), ..Gift::default() }, wall)
    }

    /// Lets the key in and gives it exactly this; a revocation of it is lifted.
    ///
    /// # Errors
    /// As [`Access::allow`].
    pub fn grant(&mut self, key: &PublicKey, gift: Gift, wall: Timestamp) -> Result<()> {
        // An allowlist entry alone needs no permissions file.
        if !gift.grants.is_empty() || self.permissions.contains_key(key) {
            self.check_writable()?;
            let old = self.permissions.get(key).filter(|p| p.revoked.is_none()).cloned().unwrap_or_default();
            let entry = Permission {
                key: key.to_base64(),
                grants: gift.grants,
                since: Some(wall),
                until: gift.until,
                by: gift.by,
                note: gift.note.unwrap_or_else(|| old.note.clone()),
                successor: None,
                revoked: None,
                ..old
            };
            self.permissions.insert(*key, entry);
        }
        self.allow_text(&key.to_base64());
        Ok(())
    }

    /// Whether the key has the secure mark: it had a secure session, and gets nothing less again.
    pub fn is_secure(&self, key: &PublicKey) -> bool {
        self.permissions.get(key).is_some_and(|p| p.secure)
    }

    /// Gives the key the secure mark. `false` when there was nothing to do: it has it, is revoked, or the file cannot be
    /// written.
    pub fn mark_secure(&mut self, key: &PublicKey) -> bool {
        if self.is_secure(key) || self.is_revoked(key) || self.broken.is_some() {
            return false;
        }
        let entry = self
            .permissions
            .entry(*key)
            .or_insert_with(|| Permission { key: key.to_base64(), ..Permission::default() });
        entry.secure = true;
        true
    }

    /// Saves a key that was paired with: let in, with the secure mark, its signing key pinned. `grants`: what it may do from
    /// now on; `None` leaves that as it is.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`] for a revoked key, [`Refusal::Unconfirmed`] when another signing key is pinned to it,
    /// [`Error::Config`] when the permissions file could not be read.
    pub fn pair(&mut self, key: &PublicKey, grants: Option<Grants>, sign: &[u8; 32], wall: Timestamp) -> Result<()> {
        self.check_writable()?;
        if self.is_revoked(key) {
            return Err(Refusal::NotAllowed.into());
        }
        let sign = base64_encode(sign);
        let entry = self.permissions.entry(*key).or_default();
        if entry.sign.as_ref().is_some_and(|pinned| *pinned != sign) {
            return Err(Refusal::Unconfirmed("it shows another signing key than before".to_owned()).into());
        }
        if let Some(grants) = grants {
            (entry.grants, entry.until) = (grants, None);
        }
        (entry.key, entry.sign, entry.secure) = (key.to_base64(), Some(sign), true);
        (entry.since, entry.by) = (Some(wall), "pair".to_owned());
        self.allow_text(&key.to_base64());
        Ok(())
    }

    /// The signing key that was pinned to a key when it was paired with.
    pub fn sign_key_of(&self, key: &PublicKey) -> Option<[u8; 32]> {
        let pinned = self.permissions.get(key)?.sign.as_deref()?;
        base64_decode_strict("sign key", pinned).ok()?.try_into().ok()
    }

    /// Takes the secure mark away: the owner accepts protocol 1.0 from this key again.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it has none, [`Error::Config`] when the permissions file could not be read.
    pub fn allow_plain(&mut self, key: &PublicKey) -> Result<()> {
        self.check_writable()?;
        match self.permissions.get_mut(key).filter(|p| p.secure) {
            Some(permission) => {
                permission.secure = false;
                Ok(())
            }
            None => Err(Error::NotFound("this key has no secure mark".to_owned())),
        }
    }

    /// Shuts the key out: off the allowlist, no grants, and its entry stays as revoked.
    ///
    /// # Errors
    /// [`Error::Config`] when the permissions file could not be read, so that the revocation will
    /// not survive a restart; it holds until then, and the key is off the allowlist all the same.
    pub fn revoke(&mut self, key: &PublicKey, wall: Timestamp) -> Result<()> {
        let text = key.to_base64();
        self.unlist_text(&text);
        let successor = self.permissions.get(key).and_then(|p| p.successor.clone());
        let entry = Permission { key: text, successor, revoked: Some(wall), ..Permission::default() };
        self.permissions.insert(*key, entry);
        self.check_writable()
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        match &self.broken {
            None => Ok(()),
            Some(why) => {
                Err(Error::Config(format!("the permissions file cannot be read, correct or remove it first: {why}")))
            }
        }
    }

    /// What to hand to [`Access::restore`] when a change could not be saved.
    pub fn snapshot(&self, key: &PublicKey) -> KeyAccess {
        let listed = self.listed.contains(key);
        KeyAccess { key: *key, listed, permission: self.permissions.get(key).cloned() }
    }

    /// Puts the state of one key back.
    pub fn restore(&mut self, before: KeyAccess) {
        let text = before.key.to_base64();
        if before.listed {
            self.allow_text(&text);
        } else {
            self.unlist_text(&text);
        }
        match before.permission {
            Some(permission) => self.permissions.insert(before.key, permission),
            None => self.permissions.remove(&before.key),
        };
    }
}

fn read_permissions(bytes: &[u8]) -> Result<Vec<Permission>> {
    let text = check_json("permissions", bytes)?;
    serde_json::from_str(text).map_err(|e| Error::malformed("permissions", e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use crate::identity::SecretKey;

    fn key(n: u64) -> PublicKey {
        SecretKey::generate(&mut Rng::from_number(n)).public_key()
    }

    const WALL: Timestamp = Timestamp::ZERO;

    fn reloaded(access: &Access) -> Access {
        let permissions = access.permissions_text().unwrap().unwrap();
        let (again, warnings) =
            Access::load(Some(access.allowlist_text().unwrap().as_bytes()), Some(permissions.as_bytes())).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        again
    }

    #[test]
    fn grants_are_read_written_and_asked_for_by_name() {
        let grants: Grants = "peer, controller".parse().unwrap();
        assert_eq!((grants, grants.to_string().as_str()), (Grants::CONTROLLER, "observe,operate,deploy"));
        assert!("operat".parse::<Grants>().is_err());
        assert!(grants.require(Grants::OPERATE).is_ok());
        let missing = grants.require(Grants::MANAGE.union(Grants::DEPLOY)).unwrap_err();
        assert_eq!(missing, Error::Rejected(Refusal::Permission("manage")));
    }

    #[test]
    fn a_permission_lasts_until_its_time_is_over_or_it_is_revoked() {
        let (mut access, key) = (Access::default(), key(1));
        access.allow(&key, Grants::CONTROLLER, "cli", WALL).unwrap();
        let mut access = reloaded(&access);
        assert_eq!(access.grants(&key, WALL), Grants::CONTROLLER);
        access.permissions.get_mut(&key).unwrap().until = Some(Timestamp::from_unix(100, 0));
        let mut access = reloaded(&access);
        assert_eq!(access.grants(&key, Timestamp::from_unix(99, 0)), Grants::CONTROLLER);
        assert_eq!(access.grants(&key, Timestamp::from_unix(100, 0)), Grants::NONE);
        access.revoke(&key, WALL).unwrap();
        let mut access = reloaded(&access);
        assert!(access.is_revoked(&key) && !access.is_listed(&key));
        access.allow(&key, Grants::NONE, "cli", WALL).unwrap();
        let access = reloaded(&access);
        assert!(!access.is_revoked(&key) && access.is_listed(&key));
        assert_eq!(access.grants(&key, WALL), Grants::NONE);
    }

    #[test]
    fn an_unreadable_permissions_file_permits_nobody_and_is_not_written() {
        let (mut access, key) = (Access::default(), key(1));
        access.allow(&key, Grants::CONTROLLER, "cli", WALL).unwrap();
        let list = access.allowlist_text().unwrap();
        let good = access.permissions_text().unwrap().unwrap();
        let entry = good.trim_matches(['[', ']', '\n']);
        let twice = format!("[{entry},{entry}]");
        for bad in ["", "{}", "[", r#"[{"key":1}]"#, &good.replace("operate", "operat"), &twice] {
            let (mut access, warnings) = Access::load(Some(list.as_bytes()), Some(bad.as_bytes())).unwrap();
            assert_eq!(warnings.len(), 1, "{bad}");
            assert!(access.is_listed(&key));
            assert_eq!(access.grants(&key, WALL), Grants::NONE);
            assert_eq!(access.permissions_text().unwrap(), None);
            assert!(access.allow(&key, Grants::OPERATE, "cli", WALL).is_err());
            assert!(access.revoke(&key, WALL).is_err());
            assert!(!access.is_listed(&key), "a revocation takes effect as far as it can");
        }
    }

    #[test]
    fn other_spellings_of_a_key_admit_nobody_and_survive_rewriting() {
        let key = key(3);
        let alias = format!("{key}\n");
        let list = serde_json::to_string(&[&alias]).unwrap();
        let permissions = serde_json::to_string(&serde_json::json!([{"key": alias, "grants": ["operate"]}])).unwrap();
        let (access, warnings) = Access::load(Some(list.as_bytes()), Some(permissions.as_bytes())).unwrap();
        assert_eq!(warnings.len(), 2);
        assert!(!access.is_listed(&key) && access.grants(&key, WALL).is_empty());
        assert_eq!(serde_json::from_str::<Vec<String>>(&access.allowlist_text().unwrap()).unwrap(), [alias.as_str()]);
        assert!(access.permissions_text().unwrap().unwrap().contains("\\n\""));
    }

    #[test]
    fn a_change_that_was_not_saved_can_be_taken_back() {
        let (mut access, key) = (Access::default(), key(1));
        access.allow(&key, Grants::OBSERVE, "cli", WALL).unwrap();
        let before = access.snapshot(&key);
        access.revoke(&key, WALL).unwrap();
        access.restore(before);
        assert!(access.is_listed(&key));
        assert_eq!(access.grants(&key, WALL), Grants::OBSERVE);
    }
}
