//! The registry's files as texts: peers.json in a Go node's form, and what stands beside it (mesh.md §7).

use super::registry::{Entry, clamp_score};
use super::{Access, Peer, PeerAuthMode, PeerExtra, PeerRegistry};
use crate::base::{Error, Now, Result, Time, Timestamp, check_json, is_plain_name};
use crate::formats::gojson;
use std::collections::BTreeMap;

/// The bytes of the four files; `None` is a missing one.
#[derive(Clone, Copy, Debug, Default)]
pub struct RegistryTexts<'a> {
    /// `peers.json`.
    pub peers: Option<&'a [u8]>,
    /// `<peers path>.rigmesh.json`.
    pub extras: Option<&'a [u8]>,
    /// `<peers path>.allowlist.json`.
    pub allowlist: Option<&'a [u8]>,
    /// `<peers path>.permissions.json`.
    pub permissions: Option<&'a [u8]>,
}

/// What is to be written when peers have changed: the first, then the second. (A crash between
/// the two leaves a peer that admits nobody, never one that admits too much.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryFiles {
    /// Text of `peers.json`.
    pub peers: String,
    /// Text of `<peers path>.rigmesh.json`.
    pub extras: String,
}

/// The text of `peers.json` for peers in the given order; `null` when there are none, as in Go.
///
/// # Errors
/// None in practice; see [`gojson`].
pub fn encode_peers<'a>(peers: impl Iterator<Item = &'a Peer>) -> Result<String> {
    let peers: Vec<&Peer> = peers.collect();
    gojson::to_string_pretty_html(&Some(peers).filter(|p| !p.is_empty()))
}

/// Reads the text of `peers.json`: an array, or `null`.
///
/// # Errors
/// [`Error::Malformed`] with what is wrong where.
pub fn decode_peers(bytes: &[u8]) -> Result<Vec<Peer>> {
    let text = check_json("peers", bytes)?;
    let peers: Option<Vec<Peer>> = serde_json::from_str(text).map_err(|e| Error::malformed("peers", e.to_string()))?;
    Ok(peers.unwrap_or_default())
}

impl PeerRegistry {
    /// Reads the files' texts. Dirty afterwards when they do not fit together and are best saved at
    /// once. Second: warnings for people, about entries that admit nobody and the like.
    ///
    /// # Errors
    /// [`Error::Malformed`], with `peers`, `extras` or `allowlist` as the thing that is wrong. Then
    /// no file must be written. (An unreadable permissions file is a warning: see [`Access::load`].)
    pub fn load(mode: PeerAuthMode, texts: RegistryTexts<'_>) -> Result<(PeerRegistry, Vec<String>)> {
        let mut registry = PeerRegistry::with_mode(mode);
        let (access, mut warnings) = Access::load(texts.allowlist, texts.permissions)?;
        registry.access = access;
        let mut extras: BTreeMap<String, PeerExtra> = match texts.extras {
            Some(bytes) => serde_json::from_str(check_json("extras", bytes)?)
                .map_err(|e| Error::malformed("extras", e.to_string()))?,
            None => BTreeMap::new(),
        };
        for mut peer in texts.peers.map_or(Ok(Vec::new()), decode_peers)? {
            if peer.id.is_empty() {
                warnings.push(format!("peers: an entry without an id ({:?}) was left out", peer.name));
                continue;
            }
            if registry.peers.contains_key(&peer.id) {
                warnings.push(format!("peers: {:?} stands there twice, the first one counts", peer.id));
                continue;
            }
            if !is_plain_name(&peer.name) {
                warnings.push(format!("peers: the name {:?} of {:?} cannot be used", peer.name, peer.id));
                peer.name.clear();
            }
            if !peer.public_key.is_empty() && peer.key().is_none() {
                warnings.push(format!("peers: the key of {:?} is not canonical and admits nobody", peer.id));
            }
            peer.score = clamp_score(peer.score);
            let extra = extras.remove(&peer.id).unwrap_or_default();
            registry.lifecycle.handle_discovered(Time::ZERO, &peer.id);
            registry.put(Entry { key: peer.key(), peer, extra });
        }
        // A crash left word of peers that are gone: it must not count when one of them comes back.
        registry.dirty = !extras.is_empty();
        registry.settle_peers(Now { mono: Time::ZERO, wall: Timestamp::ZERO });
        Ok((registry, warnings))
    }

    /// Whether peers have changed since [`PeerRegistry::take_dirty`].
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// To be called when what was taken could not be saved.
    pub fn mark_dirty(&mut self) {
        self.touch();
    }

    /// The texts to save if peers have changed, and forgets that they have.
    ///
    /// # Errors
    /// None in practice; see [`gojson`].
    pub fn take_dirty(&mut self) -> Result<Option<RegistryFiles>> {
        if !self.dirty {
            return Ok(None);
        }
        let extras: BTreeMap<&String, &PeerExtra> =
            self.peers.iter().filter(|(_, e)| e.extra != PeerExtra::default()).map(|(id, e)| (id, &e.extra)).collect();
        let files =
            RegistryFiles { peers: encode_peers(self.list_peers())?, extras: gojson::to_string_pretty_html(&extras)? };
        self.dirty = false;
        Ok(Some(files))
    }

    /// Replaces allowlist and permissions by what was read anew.
    pub fn set_access(&mut self, access: Access) {
        self.access = access;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { mono: Time::ZERO, wall: Timestamp::ZERO };

    #[test]
    fn what_is_saved_is_loaded_again() {
        let mut registry = PeerRegistry::new();
        assert_eq!(registry.take_dirty().unwrap(), None);
        for id in ["b", "a"] {
            registry.add_peer(NOW, Peer { id: id.into(), ping_ms: 1.5, ..Peer::default() }).unwrap();
        }
        let files = registry.take_dirty().unwrap().unwrap();
        assert!(!registry.is_dirty());
        assert!(files.extras.starts_with("{\n  \"a\": {\n    \"origin\": \"hand\"\n  },"), "{}", files.extras);
        let texts = RegistryTexts {
            peers: Some(files.peers.as_bytes()),
            extras: Some(files.extras.as_bytes()),
            ..RegistryTexts::default()
        };
        let (mut again, warnings) = PeerRegistry::load(PeerAuthMode::Open, texts).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert!(again.list_peers().eq(registry.list_peers()) && !again.is_dirty());
        again.mark_dirty();
        assert_eq!(again.take_dirty().unwrap(), Some(files));
    }

    #[test]
    fn word_of_a_peer_that_is_gone_does_not_outlive_the_load() {
        let texts = RegistryTexts { extras: Some(br#"{"x":{"origin":"hand"}}"#), ..RegistryTexts::default() };
        let (mut registry, _) = PeerRegistry::load(PeerAuthMode::Open, texts).unwrap();
        assert_eq!(registry.take_dirty().unwrap().unwrap().extras, "{}");
    }

    #[test]
    fn odd_entries_are_kept_with_a_warning_and_broken_files_are_refused() {
        let peers =
            br#"[{"id":"a","name":"a.b","publicKey":"x","score":250},{"id":"","name":"q"},{"id":"a"},{"id":"b"}]"#;
        let texts = RegistryTexts { peers: Some(peers), ..RegistryTexts::default() };
        let (registry, warnings) = PeerRegistry::load(PeerAuthMode::Open, texts).unwrap();
        assert_eq!((registry.count(), warnings.len()), (2, 4), "{warnings:?}");
        let peer = registry.peer("a").unwrap();
        assert_eq!((peer.name.as_str(), peer.public_key.as_str(), peer.score), ("", "x", 100.0));
        for bad in [&b""[..], b"{", b"{}", b"[1]", b"[{\"id\":1}]", b"[{\"pingMs\":1e999}]", &[b'['; 100]] {
            let texts = RegistryTexts { peers: Some(bad), ..RegistryTexts::default() };
            assert!(PeerRegistry::load(PeerAuthMode::Open, texts).is_err(), "{bad:?}");
            let texts = RegistryTexts { extras: Some(bad), ..RegistryTexts::default() };
            assert!(bad == b"{}" || PeerRegistry::load(PeerAuthMode::Open, texts).is_err(), "{bad:?}");
        }
    }
}
