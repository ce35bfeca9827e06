//! The ciphers and the key derivation that everything sealed here stands on: ChaCha20-Poly1305 (RFC 8439),
//! XChaCha20-Poly1305 (HChaCha20 in front of it) and HKDF-SHA256 (RFC 5869).
//!
//! All of it is `ring`'s, in place. `tests/wycheproof.rs` holds these functions against Wycheproof's vectors.

use crate::base::{Error, Result};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::{Zeroize as _, Zeroizing};

/// Length of the tag, bytes.
pub const TAG_BYTES: usize = 16;

/// Length of the nonce of ChaCha20-Poly1305, bytes: too short to be drawn at random, so it is counted.
pub const NONCE_BYTES: usize = 12;

/// Length of the nonce of XChaCha20-Poly1305, bytes: long enough to be drawn at random.
pub const LONG_NONCE_BYTES: usize = 24;

/// ChaCha20-Poly1305: encrypts `data` in place and returns the tag, which also covers `aad`. A nonce must never be
/// used twice with a key.
///
/// # Errors
/// [`Error::Failed`] for more than 2^38 bytes; `data` is then as it was.
pub fn seal(key: &[u8; 32], nonce: [u8; NONCE_BYTES], aad: &[u8], data: &mut [u8]) -> Result<[u8; TAG_BYTES]> {
    let too_long = || Error::Failed("too long to seal".to_owned());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = cipher(key)?.seal_in_place_separate_tag(nonce, Aad::from(aad), data).map_err(|_| too_long())?;
    tag.as_ref().try_into().map_err(|_| too_long())
}

/// Opens what [`seal`] made, ciphertext ‖ tag, in place. Returns the plaintext, which lies inside `sealed`.
///
/// # Errors
/// [`Error::Malformed`] when it does not authenticate; the content of `sealed` is then undefined.
pub fn open<'a>(key: &[u8; 32], nonce: [u8; NONCE_BYTES], aad: &[u8], sealed: &'a mut [u8]) -> Result<&'a mut [u8]> {
    let nonce = Nonce::assume_unique_for_key(nonce);
    let bad = |_| Error::malformed("sealed value", "decryption failed");
    cipher(key)?.open_in_place(nonce, Aad::from(aad), sealed).map_err(bad)
}

/// [`seal`] as XChaCha20-Poly1305.
///
/// # Errors
/// As there.
pub fn seal_long(
    key: &[u8; 32],
    nonce: &[u8; LONG_NONCE_BYTES],
    aad: &[u8],
    data: &mut [u8],
) -> Result<[u8; TAG_BYTES]> {
    let (subkey, short) = shorten(key, nonce);
    seal(&subkey, short, aad, data)
}

/// [`open`] as XChaCha20-Poly1305.
///
/// # Errors
/// As there.
pub fn open_long<'a>(
    key: &[u8; 32],
    nonce: &[u8; LONG_NONCE_BYTES],
    aad: &[u8],
    sealed: &'a mut [u8],
) -> Result<&'a mut [u8]> {
    let (subkey, short) = shorten(key, nonce);
    open(&subkey, short, aad, sealed)
}

/// HKDF-SHA256, extract and expand, into the whole of `out`.
///
/// # Errors
/// [`Error::Failed`] for more than 8,160 bytes (255 hashes) of output.
pub fn hkdf_sha256(salt: &[u8], secret: &[u8], info: &[u8], out: &mut [u8]) -> Result<()> {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let extracted = Salt::new(HKDF_SHA256, salt).extract(secret);
    let filled = extracted.expand(&[info], Length(out.len())).and_then(|expanded| expanded.fill(out));
    filled.map_err(|_| Error::Failed("HKDF-SHA256 gives at most 8160 bytes".to_owned()))
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey> {
    let unbound = UnboundKey::new(&CHACHA20_POLY1305, key);
    unbound.map(LessSafeKey::new).map_err(|_| Error::Failed("the cipher refuses the key".to_owned()))
}

/// HChaCha20 turns key and the first 16 nonce bytes into the key of this one message; the last 8 are its
/// ChaCha20 nonce, behind four zeros.
fn shorten(key: &[u8; 32], nonce: &[u8; LONG_NONCE_BYTES]) -> (Zeroizing<[u8; 32]>, [u8; NONCE_BYTES]) {
    let (mut head, mut short) = ([0; 16], [0; NONCE_BYTES]);
    for (to, from) in head.iter_mut().chain(short.iter_mut().skip(4)).zip(nonce) {
        *to = *from;
    }
    let long = Zeroizing::new(*key);
    let mut derived = chacha20::hchacha::<chacha20::R20>((&*long).into(), &head.into());
    let subkey = Zeroizing::new(derived.into());
    derived.as_mut_slice().zeroize();
    (subkey, short)
}
