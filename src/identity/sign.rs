//! The Ed25519 signing key beside the X25519 key, and the signature that binds the two
//! (secure-session.md §4).

use super::PublicKey;
use crate::base::Rng;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use std::fmt;
use zeroize::Zeroizing;

const BIND_LABEL: &[u8] = b"rigmesh-bind-1\0";

/// An Ed25519 signing key. Wiped when dropped, never shown.
pub struct SignKey(SigningKey);

impl SignKey {
    /// A new key.
    pub fn generate(rng: &mut Rng) -> SignKey {
        SignKey::from_seed(&Zeroizing::new(rng.array()))
    }

    /// From the 32-byte seed, as in the file `sign.key`.
    pub fn from_seed(seed: &[u8; 32]) -> SignKey {
        SignKey(SigningKey::from_bytes(seed))
    }

    /// The 32-byte seed, as in the file `sign.key`.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key, S.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs `message`. Every use puts a label of its own in front, so that no signature fits another use.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// The signature by which this key agrees to belong to the X25519 key `x`: over
    /// `"rigmesh-bind-1\0"` ‖ X ‖ S.
    pub fn bind_signature(&self, x: &PublicKey) -> [u8; 64] {
        self.sign(&bind_text(x, &self.public()))
    }
}

impl fmt::Debug for SignKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignKey(..)")
    }
}

fn bind_text(x: &PublicKey, sign: &[u8; 32]) -> Vec<u8> {
    [BIND_LABEL, x.as_bytes(), sign].concat()
}

/// Whether `signature` is `public`'s over `message`. Strict: small-order keys and non-canonical
/// signatures are refused.
pub fn verify_signature(public: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    match (VerifyingKey::from_bytes(public), Signature::from_slice(signature)) {
        (Ok(key), Ok(signature)) => key.verify_strict(message, &signature).is_ok(),
        _ => false,
    }
}

/// Whether the signing key `sign` agrees to belong to `x`. That `x` agrees is shown only by receiving
/// this inside a session in which `x` is proven.
pub fn verify_bind(x: &PublicKey, sign: &[u8; 32], signature: &[u8]) -> bool {
    verify_signature(sign, &bind_text(x, sign), signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SecretKey;

    #[test]
    fn a_bind_fits_its_pair_of_keys_only() {
        let mut rng = Rng::from_number(1);
        let (sign, other) = (SignKey::generate(&mut rng), SignKey::generate(&mut rng));
        let (x, y) = (SecretKey::generate(&mut rng).public_key(), SecretKey::generate(&mut rng).public_key());
        let bind = sign.bind_signature(&x);
        assert!(verify_bind(&x, &sign.public(), &bind));
        assert!(!verify_bind(&y, &sign.public(), &bind));
        assert!(!verify_bind(&x, &other.public(), &bind));
        assert!(!verify_bind(&x, &sign.public(), &bind[..63]));
        assert_eq!(SignKey::from_seed(&sign.seed()).public(), sign.public());
    }

    #[test]
    fn a_small_order_key_verifies_nothing() {
        // The neutral element as key and as R with s = 0 passes a lax verifier for every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!verify_signature(&neutral, b"anything", &signature));
    }
}
