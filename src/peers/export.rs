//! The registry on its way from one node to another: sealed to the reader's key, proven to come from the
//! writer's, merged without overwriting anything.
//!
//! The outer form is STMF with `meta.kind` = `registry`: peers and what is known beside them as the texts of
//! their files, and only when asked for also the allowlist and the grants. STMF does not show who sealed, so
//! the form carries an HMAC under the secret that writer and reader share: only the two of them can make it.
//! What was measured (scores, latencies) and signing keys, which are pinned in sessions only, do not move.

use super::{Admission, Grants, Origin, Peer, PeerExtra, PeerRegistry, Permission, decode_peers, encode_peers};
use crate::base::{Error, Now, Refusal, Result, Rng, Timestamp, base64_decode_strict, base64_encode, check_json};
use crate::formats::gojson;
use crate::formats::stmf::{self, Field, Form, FormKey};
use crate::identity::{Identity, NodeId, PublicKey, sign_challenge, verify_challenge};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use zeroize::Zeroizing;

/// The largest sealed registry that is read, bytes.
pub const EXPORT_BYTES_MAX: usize = 32 << 20;

const LABEL: &[u8] = b"rigmesh-registry-1\0";
const KIND: &str = "registry";
const PROOF: &str = "proof";

/// A key that may connect, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedAccess {
    /// The key.
    pub key: PublicKey,
    /// Its grants; none: it may only connect.
    #[serde(default)]
    pub grants: Grants,
}

/// What an opened export holds.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistryExport {
    /// Who made it, proven.
    pub from: PublicKey,
    /// Peers, with how they are dialled and trusted.
    pub peers: Vec<(Peer, PeerExtra)>,
    /// Keys that may connect and what they may do; `None` when the writer did not say.
    pub access: Option<Vec<ExportedAccess>>,
}

/// What became of one peer or key of an export.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// Node id, or the entry's id while only an address is known.
    pub id: String,
    /// What to call it.
    pub name: String,
    /// What was done, or why nothing was.
    pub outcome: Result<MergeOutcome>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeOutcome {
    /// A peer that was not known was added.
    Added,
    /// The peer is known with the same key; nothing was changed.
    Known,
    /// The key may connect now, with the stated grants.
    Allowed,
    /// The key may connect already, whatever the export says; nothing was changed.
    AllowedBefore,
}

impl MergeOutcome {
    /// One word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            MergeOutcome::Added => "added",
            MergeOutcome::Known => "known",
            MergeOutcome::Allowed => "allowed",
            MergeOutcome::AllowedBefore => "allowed before",
        }
    }
}

/// Seals the registry to `recipient`. With `with_access` the allowlist and the grants go along, except those
/// that are revoked or end at some time.
///
/// # Errors
/// [`Error::Malformed`]: `recipient` cannot be sealed to. [`Refusal::Limit`]: more than [`EXPORT_BYTES_MAX`].
pub fn seal_registry(
    own: &Identity,
    registry: &PeerRegistry,
    recipient: &PublicKey,
    with_access: bool,
    rng: &mut Rng,
    wall: Timestamp,
) -> Result<Vec<u8>> {
    let peers: Vec<Peer> = registry
        .list_peers()
        .map(|p| Peer {
            id: p.id.clone(),
            name: p.name.clone(),
            public_key: p.public_key.clone(),
            address: p.address.clone(),
            role: p.role.clone(),
            added_at: p.added_at,
            ..Peer::default()
        })
        .collect();
    let extras: BTreeMap<&String, PeerExtra> = peers
        .iter()
        .filter_map(|p| registry.extra(&p.id).map(|extra| (&p.id, moved(extra))))
        .filter(|(_, extra)| *extra != PeerExtra::default())
        .collect();
    let mut form = Form::new()
        .with_meta("kind", KIND)
        .with_meta("made", &wall.to_string())
        .with_text("from", &own.public_key().to_base64())
        .with_text("peers", &encode_peers(peers.iter())?)
        .with_text("extras", &gojson::to_string_html(&extras)?);
    if with_access {
        form = form.with_text("access", &gojson::to_string_html(&access_of(registry))?);
    }
    let proof = sign_challenge(&proven_text(form.fields(), recipient), &own.shared_secret(recipient)?);
    let sealed = stmf::seal(&form.with_text(PROOF, &base64_encode(&proof)), recipient.as_bytes(), rng)?;
    if sealed.len() > EXPORT_BYTES_MAX { Err(too_large()) } else { Ok(sealed) }
}

/// What of a peer's companions makes sense elsewhere.
fn moved(extra: &PeerExtra) -> PeerExtra {
    PeerExtra { origin: extra.origin, tls: extra.tls, tls_pin: extra.tls_pin, ..PeerExtra::default() }
}

fn access_of(registry: &PeerRegistry) -> Vec<ExportedAccess> {
    let access = registry.access();
    let permissions: BTreeMap<&PublicKey, &Permission> = access.permissions().collect();
    let lasting = |key: &PublicKey| match permissions.get(key) {
        Some(permission) if permission.until.is_none() => permission.grants,
        _ => Grants::NONE,
    };
    let listed = access.allowlist().filter_map(|text| PublicKey::from_base64(text).ok());
    listed.filter(|key| access.is_listed(key)).map(|key| ExportedAccess { key, grants: lasting(&key) }).collect()
}

/// Opens an export with the own private key and proves who made it.
///
/// # Errors
/// [`Error::Malformed`]: not sealed to this key, another kind of form, not made by the key it names, or
/// broken texts. [`Refusal::Limit`]: more than [`EXPORT_BYTES_MAX`].
pub fn open_registry(bytes: &[u8], own: &Identity) -> Result<RegistryExport> {
    if bytes.len() > EXPORT_BYTES_MAX {
        return Err(too_large());
    }
    let key = Zeroizing::new(own.secret().to_bytes());
    let form = stmf::open(bytes, &FormKey::from_bytes(**key))?;
    if form.meta.get("kind").map(String::as_str) != Some(KIND) {
        return Err(wrong("it is another kind of form"));
    }
    let from = PublicKey::from_base64(only(&form, "from")?.unwrap_or_default())?;
    let proof = base64_decode_strict("registry export", only(&form, PROOF)?.unwrap_or_default())?;
    let text = proven_text(form.fields(), &own.public_key());
    if !verify_challenge(&text, &proof, &own.shared_secret(&from)?) {
        return Err(wrong("it was changed, or not made by the key that it names"));
    }
    let mut extras: BTreeMap<String, PeerExtra> = json(only(&form, "extras")?.unwrap_or("{}"))?;
    let peers = decode_peers(only(&form, "peers")?.unwrap_or("null").as_bytes())?;
    let with_extra = |peer: Peer| {
        let extra = extras.remove(&peer.id).unwrap_or_default();
        (peer, moved(&extra))
    };
    let peers = peers.into_iter().map(with_extra).collect();
    let access = only(&form, "access")?.map(json).transpose()?;
    Ok(RegistryExport { from, peers, access })
}

fn wrong(why: impl Into<String>) -> Error {
    Error::malformed("registry export", why)
}

fn too_large() -> Error {
    Refusal::Limit(format!("a registry export has at most {EXPORT_BYTES_MAX} bytes")).into()
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(check_json("registry export", text.as_bytes())?).map_err(|e| wrong(e.to_string()))
}

/// The label, every field but the proof with its lengths, and for whom it is.
fn proven_text(fields: &[Field], reader: &PublicKey) -> Vec<u8> {
    let mut text = LABEL.to_vec();
    for field in fields.iter().filter(|f| f.name != PROOF) {
        for part in [&field.name, &field.value] {
            text.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            text.extend_from_slice(part.as_bytes());
        }
    }
    text.extend_from_slice(reader.as_bytes());
    text
}

/// The value of this name, which is there once at most.
fn only<'a>(form: &'a Form, name: &'static str) -> Result<Option<&'a str>> {
    let mut values = form.fields().iter().filter(|f| f.name == name).map(|f| f.value.as_str());
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(wrong(format!("the field {name} is there twice"))),
    }
}

impl PeerRegistry {
    /// Takes over what is not known yet; `own` is left out. A known peer's key, address and trust are never
    /// changed, nor are grants that a key has; a revoked key stays out. With `with_access` the export's
    /// allowlist and grants are taken over too. What is changed must be saved before it is acknowledged.
    pub fn merge(&mut self, now: Now, own: NodeId, export: &RegistryExport, with_access: bool) -> Vec<Merged> {
        let mut rows = Vec::new();
        let mut names: BTreeSet<String> = self.list_peers().map(|p| p.name.clone()).collect();
        for (peer, extra) in &export.peers {
            if peer.id == own.to_string() || peer.key().is_some_and(|key| key.node_id() == own) {
                continue;
            }
            let outcome = self.merge_peer(now, peer, extra, &names);
            if outcome == Ok(MergeOutcome::Added) {
                names.insert(peer.name.clone());
            }
            rows.push(Merged { id: peer.id.clone(), name: peer.name.clone(), outcome });
        }
        let access = export.access.as_deref().filter(|_| with_access).unwrap_or_default();
        for ExportedAccess { key, grants } in access.iter().filter(|a| a.key.node_id() != own) {
            let id = key.node_id().to_string();
            let name = self.peer(&id).map_or(String::new(), |p| p.name.clone());
            let outcome = match self.access().is_revoked(key) {
                true => Err(Refusal::NotAllowed.into()),
                false if self.access().is_listed(key) => Ok(MergeOutcome::AllowedBefore),
                false => self
                    .access_mut()
                    .allow(key, *grants, &format!("import:{}", export.from.node_id()), now.wall)
                    .map(|()| MergeOutcome::Allowed),
            };
            rows.push(Merged { id, name, outcome });
        }
        rows
    }

    fn merge_peer(
        &mut self,
        now: Now,
        peer: &Peer,
        extra: &PeerExtra,
        names: &BTreeSet<String>,
    ) -> Result<MergeOutcome> {
        let key = peer.key();
        if !peer.public_key.is_empty() && key.is_none_or(|key| key.node_id().to_string() != peer.id) {
            return Err(Error::Config("its id does not belong to its key".to_owned()));
        }
        if key.is_some_and(|key| self.admission(&key) == Admission::Revoked) {
            return Err(Refusal::NotAllowed.into());
        }
        if let Some(known) = self.peer(&peer.id) {
            return match known.public_key == peer.public_key || peer.public_key.is_empty() {
                true => Ok(MergeOutcome::Known),
                false => Err(Error::Config(format!(
                    "it is known here with another key; to take the export's, remove it first: rigmesh peers remove {}",
                    peer.id
                ))),
            };
        }
        if !peer.name.is_empty() && names.contains(&peer.name) {
            return Err(Error::Config(format!("another peer is called {:?} here", peer.name)));
        }
        match extra.origin {
            Origin::Hand => self.add_peer(now, peer.clone())?,
            Origin::Kept | Origin::Found => self.add_found(now, peer.clone())?,
        }
        self.set_extra(&peer.id, extra.clone())?;
        Ok(MergeOutcome::Added)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Time;
    use crate::identity::{Role, SecretKey};
    use crate::peers::PeerAuthMode;

    const NOW: Now = Now { mono: Time::ZERO, wall: Timestamp::ZERO };

    fn identity(n: u64) -> Identity {
        Identity::generate("n", Role::Controller, NOW.wall, &mut Rng::from_number(n)).unwrap()
    }

    fn key(n: u64) -> PublicKey {
        SecretKey::generate(&mut Rng::from_number(n)).public_key()
    }

    fn peer(n: u64, name: &str) -> Peer {
        let (id, public_key) = (key(n).node_id().to_string(), key(n).to_base64());
        Peer { id, public_key, name: name.into(), address: format!("h{n}:1"), score: 77.0, ..Peer::default() }
    }

    /// Two rigs, one of them with TLS; a controller with grants; one key that may connect; a revoked one.
    fn full() -> PeerRegistry {
        let mut registry = PeerRegistry::with_mode(PeerAuthMode::Allowlist);
        registry.add_peer(NOW, peer(1, "rig-1")).unwrap();
        registry.add_peer(NOW, peer(2, "rig-2")).unwrap();
        let pin = PeerExtra { origin: Origin::Hand, tls: true, tls_pin: Some([7; 32]), ..PeerExtra::default() };
        let pinned = PeerExtra { sign_key: Some("x".into()), ..pin };
        registry.set_extra(&key(2).node_id().to_string(), pinned).unwrap();
        registry.access_mut().allow(&key(3), Grants::CONTROLLER, "cli", NOW.wall).unwrap();
        registry.access_mut().allow(&key(4), Grants::NONE, "cli", NOW.wall).unwrap();
        registry.access_mut().revoke(&key(5), NOW.wall).unwrap();
        registry
    }

    fn sealed(with_access: bool) -> Vec<u8> {
        let (from, to) = (identity(20), identity(21).public_key());
        seal_registry(&from, &full(), &to, with_access, &mut Rng::from_number(1), NOW.wall).unwrap()
    }

    fn merged(
        registry: &mut PeerRegistry,
        with_access: bool,
    ) -> Vec<(String, std::result::Result<&'static str, String>)> {
        let (to, export) = (identity(21), open_registry(&sealed(true), &identity(21)).unwrap());
        let rows = registry.merge(NOW, to.id(), &export, with_access);
        rows.into_iter().map(|r| (r.name, r.outcome.map(MergeOutcome::as_str).map_err(|e| e.to_string()))).collect()
    }

    #[test]
    fn peers_move_with_their_pins_and_access_only_when_asked() {
        let export = open_registry(&sealed(false), &identity(21)).unwrap();
        assert_eq!((export.from, export.access), (identity(20).public_key(), None));
        assert_eq!(export.peers.len(), 2);
        let (rig, extra) = export.peers.iter().find(|(p, _)| p.name == "rig-2").unwrap();
        assert_eq!((rig.score, extra.tls_pin, &extra.sign_key), (0.0, Some([7; 32]), &None));
        let access = open_registry(&sealed(true), &identity(21)).unwrap().access.unwrap();
        let of = |n| access.iter().find(|a| a.key == key(n)).map(|a| a.grants);
        assert_eq!((of(3), of(4), of(5)), (Some(Grants::CONTROLLER), Some(Grants::NONE), None));
    }

    #[test]
    fn only_the_reader_opens_and_only_the_writer_is_believed() {
        let bytes = sealed(true);
        assert!(open_registry(&bytes, &identity(22)).is_err());
        let key = FormKey::from_bytes(*identity(21).secret().to_bytes());
        let mut form = stmf::open(&bytes, &key).unwrap();
        let reseal = |form: &Form| stmf::seal(form, &key.public(), &mut Rng::from_number(3)).unwrap();
        assert!(open_registry(&reseal(&form), &identity(21)).is_ok());
        let untouched = form.clone();
        for (name, value) in [("from", identity(22).public_key().to_base64()), ("peers", "null".to_owned())] {
            form = untouched.clone();
            form.fields.as_mut().unwrap().iter_mut().find(|f| f.name == name).unwrap().value = value;
            assert!(open_registry(&reseal(&form), &identity(21)).is_err(), "{name}");
        }
        for name in ["from", "access", PROOF] {
            form = untouched.clone();
            form.fields.as_mut().unwrap().retain(|f| f.name != name);
            assert!(open_registry(&reseal(&form), &identity(21)).is_err(), "without {name}");
        }
        form = untouched.clone().with_meta("kind", "pointer");
        assert!(open_registry(&reseal(&form), &identity(21)).is_err());
    }

    #[test]
    fn what_is_unknown_is_added_once_and_measured_anew() {
        let mut registry = PeerRegistry::with_mode(PeerAuthMode::Allowlist);
        let added = |name: &str| (name.to_owned(), Ok("added"));
        let mut rows = merged(&mut registry, false);
        rows.sort();
        assert_eq!(rows, [added("rig-1"), added("rig-2")]);
        assert_eq!(registry.admission(&key(1)), Admission::Listed, "added by hand there, and so here");
        assert_eq!(registry.admission(&key(4)), Admission::Refused);
        assert_eq!(registry.peer(&key(1).node_id().to_string()).unwrap().score, super::super::SCORE_DEFAULT);
        assert!(registry.extra(&key(2).node_id().to_string()).unwrap().tls);
        assert!(merged(&mut registry, false).iter().all(|(_, outcome)| *outcome == Ok("known")));
        let words: Vec<_> = merged(&mut registry, true).into_iter().map(|(_, o)| o.unwrap()).collect();
        assert_eq!(words, ["known", "known", "allowed", "allowed"]);
        assert_eq!(registry.grants(&key(3), NOW.wall), Grants::CONTROLLER);
        let words: Vec<_> = merged(&mut registry, true).into_iter().map(|(_, o)| o.unwrap()).collect();
        assert_eq!(words, ["known", "known", "allowed before", "allowed before"]);
    }

    #[test]
    fn nothing_that_is_known_is_overwritten_and_a_revoked_key_stays_out() {
        let mut registry = PeerRegistry::with_mode(PeerAuthMode::Allowlist);
        let other = Peer { public_key: key(9).to_base64(), ..peer(1, "mine") };
        registry.add_peer(NOW, other.clone()).unwrap();
        registry.add_peer(NOW, peer(8, "rig-2")).unwrap();
        registry.access_mut().revoke(&key(3), NOW.wall).unwrap();
        registry.access_mut().allow(&key(4), Grants::OBSERVE, "cli", NOW.wall).unwrap();
        let rows = merged(&mut registry, true);
        let row = |name: &str| rows.iter().find(|(n, _)| n == name).unwrap().1.clone();
        assert!(row("rig-1").unwrap_err().contains("another key"));
        assert!(row("rig-2").unwrap_err().contains("is called"));
        assert_eq!(registry.peer(&other.id).unwrap().public_key, other.public_key);
        assert_eq!(registry.admission(&key(3)), Admission::Revoked);
        assert_eq!(registry.grants(&key(4), NOW.wall), Grants::OBSERVE);
    }

    #[test]
    fn a_peer_whose_id_is_not_its_keys_is_refused() {
        let mut registry = PeerRegistry::new();
        let lying = Peer { public_key: key(9).to_base64(), ..peer(1, "rig-1") };
        let export = RegistryExport { from: key(1), peers: vec![(lying, PeerExtra::default())], access: None };
        let rows = registry.merge(NOW, identity(21).id(), &export, false);
        assert!(rows[0].outcome.is_err() && registry.count() == 0);
        // The own entry of a moved registry is nothing to report.
        let own = identity(21);
        let me = Peer { id: own.id().to_string(), public_key: own.public_key().to_base64(), ..Peer::default() };
        let export = RegistryExport { peers: vec![(me, PeerExtra::default())], ..export };
        assert!(registry.merge(NOW, own.id(), &export, true).is_empty());
    }
}
