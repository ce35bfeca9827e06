//! Where versions of the network judge records differently: one set of switches.

use ed25519_dalek::{Signature, VerifyingKey};

/// How strictly times, orders and keys are judged. [`Rules::default`] is what this node does; [`Rules::pinned`] gives
/// the verdicts of the network's version 0.1.7, bit for bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Seconds that a record's timestamp may be ahead of our clock.
    pub ahead_s: u64,
    /// Seconds that a delegation holds beyond its end.
    pub grace_s: u64,
    /// Whether the record with the newer delegation is the newer one, whatever its `seq`.
    pub delegation_first: bool,
    /// Whether keys of small order may sign. Anyone can make their signatures.
    pub weak_keys: bool,
}

impl Default for Rules {
    /// The later network's rules of time and order (dht.md §15), and no weak keys.
    fn default() -> Rules {
        Rules { ahead_s: 60, grace_s: 60, delegation_first: true, weak_keys: false }
    }
}

impl Rules {
    /// The rules of version 0.1.7: no tolerance, `seq` alone, any key.
    pub const fn pinned() -> Rules {
        Rules { ahead_s: 0, grace_s: 0, delegation_first: false, weak_keys: true }
    }

    /// Whether `signature` is `public`'s over `message`, without the cofactor and with `s` in range, as every node
    /// of the network decides it.
    pub fn signed(&self, public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(public) else { return false };
        (self.weak_keys || !key.is_weak())
            && ed25519_dalek::Verifier::verify(&key, message, &Signature::from_bytes(signature)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_small_order_signs_only_under_the_pinned_rules() {
        let (mut neutral, mut signature) = ([0; 32], [0; 64]);
        (neutral[0], signature[0]) = (1, 1);
        assert!(Rules::pinned().signed(&neutral, b"anything", &signature));
        assert!(!Rules::default().signed(&neutral, b"anything", &signature));
    }
}
