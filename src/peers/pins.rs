//! The signing key that belongs to a peer's key, once shown in a session (secure-session.md §4 and §8): for a pinned mesh key
//! only records of its signing key count, and for a pinned signing key only records that name its mesh key.

use super::PeerRegistry;
use crate::base::{base64_decode_strict, base64_encode};
use crate::identity::PublicKey;

/// What pinning found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// The peer is not registered, so nothing is kept.
    Nobody,
    /// It is kept from now on.
    New,
    /// It was kept before.
    Same,
    /// Another one stands, and goes on standing.
    Other,
}

impl PeerRegistry {
    /// A peer has shown, in a session in which it proved `key`, that `sign` is its signing key.
    pub fn pin_sign_key(&mut self, key: &PublicKey, sign: &[u8; 32]) -> Pinned {
        match (self.sign_key_of(key), self.peers.contains_key(&key.node_id().to_string())) {
            (Some(pinned), _) if pinned == *sign => Pinned::Same,
            (Some(_), _) => Pinned::Other,
            (None, false) => Pinned::Nobody,
            (None, true) => {
                let text = Some(base64_encode(sign));
                let _ = self.change(&key.node_id().to_string(), |entry| entry.extra.sign_key = text);
                Pinned::New
            }
        }
    }

    /// The signing key pinned to a peer's key.
    pub fn sign_key_of(&self, key: &PublicKey) -> Option<[u8; 32]> {
        if let Some(pinned) = self.access().sign_key_of(key) {
            return Some(pinned);
        }
        let pinned = self.peers.get(&key.node_id().to_string())?.extra.sign_key.as_deref()?;
        base64_decode_strict("sign key", pinned).ok()?.try_into().ok()
    }

    /// The key to which a signing key is pinned. Looks at every peer.
    pub fn key_of_sign(&self, sign: &[u8; 32]) -> Option<PublicKey> {
        let text = base64_encode(sign);
        let entry = self.peers.values().find(|entry| entry.extra.sign_key.as_deref() == Some(&text))?;
        entry.key
    }

    /// The highest number of a record that this peer's signing key is known to have signed; 0 for none.
    pub fn record_seq_of(&self, key: &PublicKey) -> u64 {
        self.peers.get(&key.node_id().to_string()).map_or(0, |entry| entry.extra.record_seq)
    }

    /// Remembers a higher one, if the peer is registered.
    pub fn note_record_seq(&mut self, key: &PublicKey, seq: u64) {
        if seq > self.record_seq_of(key) {
            let _ = self.change(&key.node_id().to_string(), |entry| entry.extra.record_seq = seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Now, Rng, Time, Timestamp};
    use crate::identity::SecretKey;
    use crate::peers::Peer;

    #[test]
    fn a_signing_key_is_pinned_once_to_a_registered_peer() {
        let (mut registry, mut rng) = (PeerRegistry::new(), Rng::from_number(1));
        let key = SecretKey::generate(&mut rng).public_key();
        assert_eq!(registry.pin_sign_key(&key, &[1; 32]), Pinned::Nobody);
        let peer = Peer { id: key.node_id().to_string(), public_key: key.to_base64(), ..Peer::default() };
        registry.add_peer(Now { mono: Time::ZERO, wall: Timestamp::ZERO }, peer).unwrap();
        assert_eq!((registry.sign_key_of(&key), registry.key_of_sign(&[1; 32])), (None, None));
        assert_eq!(registry.pin_sign_key(&key, &[1; 32]), Pinned::New);
        assert_eq!(registry.pin_sign_key(&key, &[1; 32]), Pinned::Same);
        assert_eq!(registry.pin_sign_key(&key, &[2; 32]), Pinned::Other);
        assert_eq!((registry.sign_key_of(&key), registry.key_of_sign(&[1; 32])), (Some([1; 32]), Some(key)));
        registry.note_record_seq(&key, 7);
        registry.note_record_seq(&key, 5);
        assert_eq!(registry.record_seq_of(&key), 7);
    }
}
