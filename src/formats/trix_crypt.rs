//! Encrypted payloads of TRIX containers (trix.md §4.2–4.4): both obfuscators, the payload encryption
//! that the header records, and a data node's tar under a password.
//!
//! Left out: PGP payloads, which the original writes and then refuses to read.

use super::{sigil, trix};
use crate::base::{Error, Refusal, Result, Timestamp};
use sha2::{Digest as _, Sha256};
use trix::{Container, Header};
use zeroize::Zeroizing;

/// The most bytes that `shuffle-mask` is done to: it needs a hash and five bytes of memory for each.
pub const SHUFFLE_BYTES_MAX: usize = 64 << 20;

/// Magic of a data node in TRIX.
pub const DATA_NODE_MAGIC: &[u8; 4] = b"TRIX";

const SHUFFLE_MASK: &str = "shuffle-mask";

/// How bytes are mixed before they are encrypted. Neither way hides anything: no key enters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Obfuscator {
    /// XOR with a stream of hashes. What every format but this one uses.
    #[default]
    Xor,
    /// XOR with a mask, then a permutation. About a hundred times slower.
    ShuffleMask,
}

impl Obfuscator {
    /// By its name in headers and options: `shuffle-mask`; everything else is XOR, as in Go.
    pub fn from_name(name: &str) -> Obfuscator {
        if name == SHUFFLE_MASK { Obfuscator::ShuffleMask } else { Obfuscator::Xor }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Obfuscator::Xor => "xor",
            Obfuscator::ShuffleMask => SHUFFLE_MASK,
        }
    }

    /// Mixes `data`. `entropy` is the nonce, and may be any bytes.
    ///
    /// # Errors
    /// [`Refusal::Limit`]: more than [`SHUFFLE_BYTES_MAX`] bytes to shuffle.
    pub fn obfuscate(self, entropy: &[u8], data: &mut [u8]) -> Result<()> {
        match self {
            Obfuscator::Xor => xor(entropy, b"", data),
            Obfuscator::ShuffleMask => {
                let order = permutation(entropy, data.len())?;
                xor(entropy, b"mask", data);
                let masked = Zeroizing::new(data.to_vec());
                for (to, from) in data.iter_mut().zip(order) {
                    *to = masked.get(from).copied().unwrap_or_default();
                }
            }
        }
        Ok(())
    }

    /// Undoes [`Obfuscator::obfuscate`].
    ///
    /// # Errors
    /// As there.
    pub fn deobfuscate(self, entropy: &[u8], data: &mut [u8]) -> Result<()> {
        match self {
            Obfuscator::Xor => xor(entropy, b"", data),
            Obfuscator::ShuffleMask => {
                let order = permutation(entropy, data.len())?;
                let shuffled = Zeroizing::new(data.to_vec());
                for (from, to) in shuffled.iter().zip(order) {
                    if let Some(to) = data.get_mut(to) {
                        *to = *from;
                    }
                }
                xor(entropy, b"mask", data);
            }
        }
        Ok(())
    }
}

/// XOR with SHA-256(entropy ‖ label ‖ 0), SHA-256(entropy ‖ label ‖ 1), …
fn xor(entropy: &[u8], label: &[u8], data: &mut [u8]) {
    if let (Ok(nonce), true) = (entropy.try_into(), label.is_empty()) {
        return sigil::obfuscate(nonce, data);
    }
    let start = Sha256::new().chain_update(entropy).chain_update(label);
    for (chunk, i) in data.chunks_mut(32).zip(0u64..) {
        let stream = start.clone().chain_update(i.to_be_bytes()).finalize();
        chunk.iter_mut().zip(stream).for_each(|(d, s)| *d ^= s);
    }
}

/// Where each place's byte comes from.
fn permutation(entropy: &[u8], length: usize) -> Result<impl Iterator<Item = usize>> {
    if length > SHUFFLE_BYTES_MAX {
        let why = format!("shuffle-mask is done to at most {SHUFFLE_BYTES_MAX} bytes, not to {length}");
        return Err(Error::Rejected(Refusal::Limit(why)));
    }
    // The bound above is below 2^32.
    let mut order: Vec<u32> = (0..).take(length).collect();
    let seed = Sha256::new().chain_update(entropy).chain_update(b"permutation").finalize();
    let start = Sha256::new().chain_update(seed);
    for i in (1..length).rev() {
        let (number, below) = (i as u64, i as u64 + 1);
        let hash: [u8; 32] = start.clone().chain_update(number.to_be_bytes()).finalize().into();
        let drawn = hash.first_chunk().map_or(0, |head| u64::from_be_bytes(*head)) % below;
        order.swap(i, usize::try_from(drawn).unwrap_or(i));
    }
    Ok(order.into_iter().map(|from| usize::try_from(from).unwrap_or(usize::MAX)))
}

/// Why a password or a key cannot be used.
fn key_of(key: &[u8]) -> Result<&[u8; 32]> {
    key.try_into().map_err(|_| Error::Config("encryption key not configured: it must have 32 bytes".to_owned()))
}

fn is_encrypted(header: &Header) -> bool {
    header.get("encrypted") == Some(&true.into())
}

/// Encrypts a payload and notes in the header that and how it was done, with the time in UTC and whole
/// seconds. A null payload counts as empty (as null, the original could not read its own file).
/// `nonce` must be random and never used twice.
///
/// # Errors
/// [`Error::Config`]: the key has not 32 bytes. [`Error::Failed`]: the header says that the payload is
/// encrypted. [`Refusal::Limit`]: see [`SHUFFLE_BYTES_MAX`]. The header is then as it was.
pub fn encrypt_payload(
    header: &mut Header,
    payload: &[u8],
    key: &[u8],
    obfuscator: Obfuscator,
    nonce: [u8; sigil::NONCE_BYTES],
    wall: Timestamp,
) -> Result<Vec<u8>> {
    let key = key_of(key)?;
    if is_encrypted(header) {
        return Err(Error::Failed("payload is already encrypted".to_owned()));
    }
    let sealed = match obfuscator {
        Obfuscator::Xor => sigil::seal(key, &nonce, payload)?,
        Obfuscator::ShuffleMask => {
            let mut mixed = payload.to_vec();
            obfuscator.obfuscate(&nonce, &mut mixed)?;
            // The two XORs of the usual obfuscator cancel each other.
            sigil::obfuscate(&nonce, &mut mixed);
            sigil::seal(key, &nonce, &mixed)?
        }
    };
    let at = Timestamp::from_unix(wall.unix_seconds(), 0);
    header.insert("encrypted".to_owned(), true.into());
    header.insert("encrypted_at".to_owned(), at.to_string().into());
    header.insert("encryption_algorithm".to_owned(), "xchacha20-poly1305".into());
    header.insert("obfuscator".to_owned(), obfuscator.name().into());
    Ok(sealed)
}

/// Decrypts a payload whose header says that it is encrypted, and notes there that it no longer is. The
/// obfuscator is the header's; the name of the algorithm is not looked at.
///
/// # Errors
/// [`Error::Config`]: the key has not 32 bytes. [`Error::Malformed`]: `encrypted` is not `true`, or the
/// payload does not authenticate. [`Refusal::Limit`]: see [`SHUFFLE_BYTES_MAX`].
pub fn decrypt_payload(header: &mut Header, payload: &[u8], key: &[u8]) -> Result<Vec<u8>> {
    let key = key_of(key)?;
    if !is_encrypted(header) {
        return Err(Error::malformed("container", "payload is not encrypted"));
    }
    let obfuscator =
        header.get("obfuscator").and_then(|name| name.as_str()).map_or(Obfuscator::Xor, Obfuscator::from_name);
    let mut sealed = payload.to_vec();
    let nonce = payload.first_chunk::<{ sigil::NONCE_BYTES }>().copied().unwrap_or_default();
    let mut plain = sigil::open_in_place(key, &mut sealed)?.to_vec();
    if obfuscator == Obfuscator::ShuffleMask {
        sigil::obfuscate(&nonce, &mut plain);
        obfuscator.deobfuscate(&nonce, &mut plain)?;
    }
    header.insert("encrypted".to_owned(), false.into());
    Ok(plain)
}

/// A data node's tar as a TRIX container: sealed under a password, or plain without one. `nonce` must be
/// random and never used twice.
///
/// # Errors
/// [`Error::Config`]: the password is empty.
pub fn seal_tar(password: Option<&str>, tar: &[u8], nonce: [u8; sigil::NONCE_BYTES]) -> Result<Vec<u8>> {
    let Some(password) = password else { return trix::encode(DATA_NODE_MAGIC, &Header::new(), tar, None) };
    let sealed = sigil::seal(&*password_key(password)?, &nonce, tar)?;
    let header = Header::from([("encryption_algorithm".to_owned(), "chacha20poly1305".into())]);
    trix::encode(DATA_NODE_MAGIC, &header, &sealed, None)
}

/// Reads what [`seal_tar`] writes. Without a password the payload is taken as it is.
///
/// # Errors
/// [`Error::Config`]: the password is empty. [`Error::Malformed`]: no container, a wrong password, or a
/// sealed container and no password.
pub fn open_tar(password: Option<&str>, container: &[u8]) -> Result<Vec<u8>> {
    let key = password.map(password_key).transpose()?;
    let Container { header, payload } = trix::decode(DATA_NODE_MAGIC, container)?;
    match key {
        Some(key) => {
            let mut sealed = payload.to_vec();
            let opened = sigil::open_in_place(&key, &mut sealed).map(|plain| plain.to_vec());
            opened.map_err(|_| Error::malformed("container", "decryption failed (wrong password?)"))
        }
        None if header.contains_key("encryption_algorithm") => {
            Err(Error::malformed("container", "it is encrypted, and no password was given"))
        }
        None => Ok(payload.to_vec()),
    }
}

fn password_key(password: &str) -> Result<Zeroizing<[u8; 32]>> {
    if password.is_empty() {
        return Err(Error::Config("password is required for encryption".to_owned()));
    }
    Ok(Zeroizing::new(Sha256::digest(password).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    #[test]
    fn both_obfuscators_are_undone_at_every_length() {
        let mut rng = Rng::from_number(3);
        for length in (0..100).chain([1000, 10_001]) {
            for obfuscator in [Obfuscator::Xor, Obfuscator::ShuffleMask] {
                let (mut plain, entropy) = (vec![0; length], rng.array::<24>());
                rng.fill(&mut plain);
                let mut data = plain.clone();
                obfuscator.obfuscate(&entropy, &mut data).unwrap();
                obfuscator.deobfuscate(&entropy, &mut data).unwrap();
                assert_eq!(data, plain, "{obfuscator:?} {length}");
            }
        }
        let mut long = vec![0; SHUFFLE_BYTES_MAX + 1];
        assert!(matches!(
            Obfuscator::ShuffleMask.obfuscate(b"", &mut long).unwrap_err(),
            Error::Rejected(Refusal::Limit(_))
        ));
    }

    #[test]
    fn an_encrypted_payload_says_so_and_opens_under_its_key_only() {
        for obfuscator in [Obfuscator::Xor, Obfuscator::ShuffleMask] {
            let (mut header, key) = (Header::new(), [5; 32]);
            let wall = Timestamp::from_unix(1_800_000_000, 999);
            let sealed = encrypt_payload(&mut header, b"payload", &key, obfuscator, [1; 24], wall).unwrap();
            assert_eq!(header["encrypted_at"], "2027-01-15T08:00:00Z");
            assert!(encrypt_payload(&mut header, b"x", &key, obfuscator, [1; 24], wall).is_err());
            let before = header.clone();
            assert!(decrypt_payload(&mut header, &sealed, &[6; 32]).is_err());
            assert!(decrypt_payload(&mut header, &sealed, &key[1..]).is_err());
            assert_eq!(header, before);
            assert_eq!(decrypt_payload(&mut header, &sealed, &key).unwrap(), b"payload");
            assert!(decrypt_payload(&mut header, &sealed, &key).is_err(), "it is no longer marked");
        }
    }

    #[test]
    fn a_tar_is_kept_plain_or_under_a_password() {
        let plain = seal_tar(None, b"tar", [0; 24]).unwrap();
        assert_eq!(open_tar(None, &plain).unwrap(), b"tar");
        let sealed = seal_tar(Some("x"), b"tar", [1; 24]).unwrap();
        assert_eq!(open_tar(Some("x"), &sealed).unwrap(), b"tar");
        for (password, container) in [(Some("y"), &sealed), (None, &sealed), (Some("x"), &plain), (Some(""), &sealed)] {
            assert!(open_tar(password, container).is_err(), "{password:?}");
        }
        assert!(seal_tar(Some(""), b"tar", [0; 24]).is_err());
    }
}
