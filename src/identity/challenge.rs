//! Challenge and response of the 1.0 handshake: HMAC-SHA256 under the shared secret.

use super::SharedSecret;
use crate::base::Rng;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Length of a challenge, in bytes. Only this length is ever sent or signed on a link (mesh.md §8);
/// the functions here take any, as the Go node does.
pub const CHALLENGE_BYTES: usize = 32;

/// A new random challenge.
pub fn generate_challenge(rng: &mut Rng) -> [u8; CHALLENGE_BYTES] {
    rng.array()
}

/// The response to a challenge: HMAC-SHA256(secret, challenge).
pub fn sign_challenge(challenge: &[u8], secret: &SharedSecret) -> [u8; 32] {
    hmac_sha256(secret.as_bytes(), &[challenge])
}

/// HMAC-SHA256 under a key of 32 bytes of the parts, one behind the other.
pub(crate) fn hmac_sha256(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC fills a key shorter than its block with zeros, so this is the key itself.
    let mut block = Zeroizing::new([0; 64]);
    for (b, k) in block.iter_mut().zip(key) {
        *b = *k;
    }
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Whether `response` is the right one. Takes the same time for every wrong response of 32 bytes.
pub fn verify_challenge(challenge: &[u8], response: &[u8], secret: &SharedSecret) -> bool {
    sign_challenge(challenge, secret).ct_eq(response).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_fits_its_challenge_and_secret_only() {
        let secret = SharedSecret::from_bytes([1; 32]);
        let challenge = generate_challenge(&mut Rng::from_number(1));
        let response = sign_challenge(&challenge, &secret);
        assert!(verify_challenge(&challenge, &response, &secret));
        assert!(!verify_challenge(&challenge, &response[..31], &secret));
        assert!(!verify_challenge(&challenge, b"", &secret));
        assert!(!verify_challenge(&[0; 32], &response, &secret));
        assert!(!verify_challenge(&challenge, &response, &SharedSecret::from_bytes([2; 32])));
    }
}
