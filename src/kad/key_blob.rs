//! The encrypted form of an identity that Go nodes keep (dht.md §1.4): a 32-byte seed under a pass phrase.

use crate::base::{Error, Result, Rng};
use crate::identity::SignKey;
use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead as _, KeyInit as _};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

const MAGIC: &[u8; 7] = b"a2al-k1";

/// Bytes of an encrypted identity: magic, salt (16), nonce (24), the seed (32) with its tag (16).
pub const KEY_BLOB_BYTES: usize = MAGIC.len() + 16 + 24 + 32 + 16;

/// Encrypts an identity. Takes 64 MiB and some hundred milliseconds, as the format wants it (Argon2id, three rounds, four
/// lanes).
///
/// # Errors
/// [`Error::Failed`] when the pass phrase is longer than Argon2 takes (4 GiB).
pub fn encrypt_key_blob(key: &SignKey, passphrase: &[u8], rng: &mut Rng) -> Result<Vec<u8>> {
    let (salt, nonce) = (rng.array::<16>(), rng.array::<24>());
    let seed = key.seed();
    let sealed = cipher(passphrase, &salt)?
        .encrypt(&XNonce::from(nonce), &seed[..])
        .map_err(|_| Error::Failed("the identity could not be encrypted".to_owned()))?;
    Ok([&MAGIC[..], &salt, &nonce, &sealed].concat())
}

/// Decrypts an identity; as slow as [`encrypt_key_blob`].
///
/// # Errors
/// [`Error::Malformed`] for other bytes than such a blob, [`Error::Config`] for another pass phrase (or changed bytes).
pub fn decrypt_key_blob(blob: &[u8], passphrase: &[u8]) -> Result<SignKey> {
    let form = || Error::malformed("encrypted identity", format!("not `a2al-k1` and {KEY_BLOB_BYTES} bytes in all"));
    let rest = blob.strip_prefix(&MAGIC[..]).filter(|_| blob.len() == KEY_BLOB_BYTES).ok_or_else(form)?;
    let (salt, rest) = rest.split_first_chunk::<16>().ok_or_else(form)?;
    let (nonce, sealed) = rest.split_first_chunk::<24>().ok_or_else(form)?;
    let seed = cipher(passphrase, salt)?
        .decrypt(&XNonce::from(*nonce), sealed)
        .map(Zeroizing::new)
        .map_err(|_| Error::Config("the pass phrase does not open this identity".to_owned()))?;
    let seed: Zeroizing<[u8; 32]> = Zeroizing::new(seed.as_slice().try_into().map_err(|_| form())?);
    Ok(SignKey::from_seed(&seed))
}

fn cipher(passphrase: &[u8], salt: &[u8; 16]) -> Result<XChaCha20Poly1305> {
    let failed = |e: argon2::Error| Error::Failed(format!("no key from this pass phrase: {e}"));
    let params = Params::new(65_536, 3, 4, Some(32)).map_err(failed)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, &mut *key)
        .map_err(failed)?;
    Ok(XChaCha20Poly1305::new(&Key::from(*key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_comes_back_with_its_pass_phrase_only() {
        let key = SignKey::from_seed(&[5; 32]);
        let blob = encrypt_key_blob(&key, b"correct horse", &mut Rng::from_number(1)).unwrap();
        assert_eq!(blob.len(), KEY_BLOB_BYTES);
        assert!(blob.starts_with(b"a2al-k1"));
        assert_eq!(decrypt_key_blob(&blob, b"correct horse").unwrap().public(), key.public());
        assert!(matches!(decrypt_key_blob(&blob, b"battery staple"), Err(Error::Config(_))));
        assert!(matches!(decrypt_key_blob(&blob[1..], b"correct horse"), Err(Error::Malformed { .. })));
        assert!(matches!(decrypt_key_blob(&[&blob[..], b"x"].concat(), b""), Err(Error::Malformed { .. })));
    }
}
