//! A private key under a pass-phrase, as it lies on a disk: Argon2id makes a key of the pass-phrase, and
//! XChaCha20-Poly1305 seals with it.
//!
//! 139 bytes, numbers big-endian: magic `rigmesh-key\0` (12), version (1), memory in KiB (4), passes (1), lanes (1),
//! public key (32), salt (16), nonce (24); then the sealed key (32) and its tag (16). Everything in front of the sealed key is
//! authenticated with it, and so is a word for the kind of key, so that no two files can be exchanged. The public
//! key stands there in clear: it is public, and who a node is can be told without the pass-phrase. A plain key has 32
//! bytes, so neither form is ever taken for the other.

use super::{SecretKey, SignKey};
use crate::base::{Error, Result, Rng};
use crate::formats::ciphers;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use std::fmt;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

/// Length of a sealed key, bytes.
pub const SEALED_KEY_BYTES: usize = HEADER_BYTES + 32 + ciphers::TAG_BYTES;

/// The longest pass-phrase, bytes.
pub const PASSPHRASE_BYTES_MAX: usize = 1024;

const MAGIC: &[u8; 12] = b"rigmesh-key\0";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 12 + 1 + 4 + 1 + 1 + 32 + 16 + 24;

/// What one guess at the pass-phrase costs: the parameters of Argon2id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyCost {
    memory_kib: u32,
    passes: u8,
    lanes: u8,
}

impl KeyCost {
    /// The most memory, KiB: 1 GiB.
    pub const MEMORY_KIB_MAX: u32 = 1 << 20;
    /// The most passes over the memory.
    pub const PASSES_MAX: u8 = 16;
    /// The most lanes.
    pub const LANES_MAX: u8 = 16;

    /// `memory_kib` KiB of memory, which is at least 8 for each of `lanes`, gone over `passes` times.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a number out of its bounds.
    pub fn new(memory_kib: u32, passes: u8, lanes: u8) -> Result<KeyCost> {
        let fits = (1..=Self::PASSES_MAX).contains(&passes)
            && (1..=Self::LANES_MAX).contains(&lanes)
            && (8 * u32::from(lanes)..=Self::MEMORY_KIB_MAX).contains(&memory_kib);
        match fits {
            true => Ok(KeyCost { memory_kib, passes, lanes }),
            false => Err(Error::malformed(
                "sealed key",
                format!("Argon2id with {memory_kib} KiB, {passes} passes and {lanes} lanes is out of bounds"),
            )),
        }
    }

    /// Memory in KiB, passes, lanes.
    pub fn numbers(&self) -> (u32, u8, u8) {
        (self.memory_kib, self.passes, self.lanes)
    }
}

/// 19 MiB, two passes, one lane: a few hundredths of a second on a computer, within the memory of a small board.
impl Default for KeyCost {
    fn default() -> KeyCost {
        KeyCost { memory_kib: 19 << 10, passes: 2, lanes: 1 }
    }
}

/// Which of a node's keys it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// The private key of the node itself.
    X25519,
    /// The seed of its signing key.
    Ed25519,
}

impl KeyKind {
    fn label(self) -> &'static [u8] {
        match self {
            KeyKind::X25519 => b"x25519",
            KeyKind::Ed25519 => b"ed25519",
        }
    }

    /// The public key that belongs to a private one.
    pub fn public_of(self, secret: &[u8; 32]) -> [u8; 32] {
        match self {
            KeyKind::X25519 => SecretKey::from_bytes(*secret).public(),
            KeyKind::Ed25519 => SignKey::from_seed(secret).public(),
        }
    }
}

/// A pass-phrase: any bytes, as they are. Wiped when dropped, compared in constant time, never shown.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// From its bytes.
    ///
    /// # Errors
    /// [`Error::Passphrase`] when it is empty or longer than [`PASSPHRASE_BYTES_MAX`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Passphrase> {
        match bytes.len() {
            1..=PASSPHRASE_BYTES_MAX => Ok(Passphrase(Zeroizing::new(bytes.to_vec()))),
            0 => Err(Error::Passphrase("the pass-phrase is empty".to_owned())),
            _ => Err(Error::Passphrase(format!("the pass-phrase is longer than {PASSPHRASE_BYTES_MAX} bytes"))),
        }
    }
}

impl PartialEq for Passphrase {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Passphrase {}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// A private key that only its pass-phrase opens.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedKey {
    cost: KeyCost,
    public: [u8; 32],
    salt: [u8; 16],
    nonce: [u8; 24],
    sealed: [u8; 48],
}

impl SealedKey {
    /// Seals a key. Takes the memory and the time that `cost` says.
    ///
    /// # Errors
    /// [`Error::Failed`] when the memory is not to be had.
    pub fn seal(
        kind: KeyKind,
        secret: &[u8; 32],
        passphrase: &Passphrase,
        cost: KeyCost,
        rng: &mut Rng,
    ) -> Result<SealedKey> {
        let public = kind.public_of(secret);
        let mut key = SealedKey { cost, public, salt: rng.array(), nonce: rng.array(), sealed: [0; 48] };
        let mut data = Zeroizing::new(*secret);
        let tag = ciphers::seal_long(&*key.derive(passphrase)?, &key.nonce, &key.bound(kind), &mut *data)?;
        for (to, from) in key.sealed.iter_mut().zip(data.iter().chain(&tag)) {
            *to = *from;
        }
        Ok(key)
    }

    /// Opens the key. Takes the memory and the time that its cost says.
    ///
    /// # Errors
    /// [`Error::Passphrase`] when the pass-phrase is another one, the key of another kind, or a byte was changed;
    /// [`Error::Failed`] when the memory is not to be had.
    pub fn open(&self, kind: KeyKind, passphrase: &Passphrase) -> Result<Zeroizing<[u8; 32]>> {
        let key = self.derive(passphrase)?;
        let wrong = || Error::Passphrase("the pass-phrase does not open the key".to_owned());
        let mut data = Zeroizing::new(self.sealed);
        let plain = ciphers::open_long(&key, &self.nonce, &self.bound(kind), &mut *data).map_err(|_| wrong())?;
        let secret = Zeroizing::new(<[u8; 32]>::try_from(&*plain).map_err(|_| wrong())?);
        match kind.public_of(&secret) == self.public {
            true => Ok(secret),
            false => Err(Error::malformed("sealed key", "the public key in it belongs to another private key")),
        }
    }

    /// What opening it costs.
    pub fn cost(&self) -> KeyCost {
        self.cost
    }

    /// The public key that it says is its own. Opening shows whether that is so.
    pub fn stated_public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Whether a file begins as a sealed key does. A plain key of 32 bytes never counts as one.
    pub fn is_begun(file: &[u8]) -> bool {
        file.starts_with(MAGIC) && file.len() != 32
    }

    /// Reads a file. Takes no memory: that is for [`SealedKey::open`], within the bounds that are checked here.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another form, version or length, or a cost out of bounds.
    pub fn decode(file: &[u8]) -> Result<SealedKey> {
        let bad = |why: &str| Error::malformed("sealed key", why);
        let length = || bad("not 139 bytes");
        let rest = file.strip_prefix(MAGIC).ok_or_else(|| bad("it does not begin as one"))?;
        let (&[version], rest) = rest.split_first_chunk().ok_or_else(length)?;
        if version != VERSION {
            return Err(bad(&format!("of version {version}, and only {VERSION} is known")));
        }
        let (memory, rest) = rest.split_first_chunk().ok_or_else(length)?;
        let (&[passes, lanes], rest) = rest.split_first_chunk().ok_or_else(length)?;
        let (public, rest) = rest.split_first_chunk().ok_or_else(length)?;
        let (salt, rest) = rest.split_first_chunk().ok_or_else(length)?;
        let (nonce, rest) = rest.split_first_chunk().ok_or_else(length)?;
        let sealed = rest.try_into().map_err(|_| length())?;
        let cost = KeyCost::new(u32::from_be_bytes(*memory), passes, lanes)?;
        Ok(SealedKey { cost, public: *public, salt: *salt, nonce: *nonce, sealed })
    }

    /// The file.
    pub fn encode(&self) -> Vec<u8> {
        [&self.header()[..], &self.sealed].concat()
    }

    fn header(&self) -> Vec<u8> {
        let KeyCost { memory_kib, passes, lanes } = self.cost;
        let memory = memory_kib.to_be_bytes();
        [&MAGIC[..], &[VERSION], &memory, &[passes, lanes], &self.public, &self.salt, &self.nonce].concat()
    }

    /// What is authenticated beside the key itself.
    fn bound(&self, kind: KeyKind) -> Vec<u8> {
        [&self.header()[..], kind.label()].concat()
    }

    fn derive(&self, passphrase: &Passphrase) -> Result<Zeroizing<[u8; 32]>> {
        let failed = |e: argon2::Error| Error::Failed(format!("no key from this pass-phrase: {e}"));
        let KeyCost { memory_kib, passes, lanes } = self.cost;
        let params = Params::new(memory_kib, passes.into(), lanes.into(), Some(32)).map_err(failed)?;
        let mut memory = Vec::new();
        let blocks = params.block_count();
        memory
            .try_reserve_exact(blocks)
            .map_err(|_| Error::Failed(format!("the pass-phrase takes {} MiB of memory", memory_kib >> 10)))?;
        memory.resize(blocks, Block::new());
        let mut key = Zeroizing::new([0; 32]);
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let done = argon.hash_password_into_with_memory(&passphrase.0, &self.salt, &mut *key, &mut memory[..]);
        memory.zeroize();
        done.map_err(failed)?;
        Ok(key)
    }
}

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: KeyCost = KeyCost { memory_kib: 16, passes: 1, lanes: 2 };

    fn phrase(text: &str) -> Passphrase {
        Passphrase::from_bytes(text.as_bytes()).unwrap()
    }

    fn sealed(kind: KeyKind, cost: KeyCost) -> SealedKey {
        SealedKey::seal(kind, &[7; 32], &phrase("correct horse"), cost, &mut Rng::from_number(1)).unwrap()
    }

    #[test]
    fn a_key_comes_back_under_its_pass_phrase_and_kind_only() {
        for kind in [KeyKind::X25519, KeyKind::Ed25519] {
            let key = sealed(kind, KeyCost::default());
            let file = key.encode();
            assert_eq!((file.len(), SealedKey::is_begun(&file)), (SEALED_KEY_BYTES, true));
            let read = SealedKey::decode(&file).unwrap();
            assert_eq!((&read, read.cost()), (&key, KeyCost::default()));
            assert_eq!(*read.stated_public(), kind.public_of(&[7; 32]));
            assert_eq!(*read.open(kind, &phrase("correct horse")).unwrap(), [7; 32]);
            assert!(matches!(read.open(kind, &phrase("correct horse ")), Err(Error::Passphrase(_))));
            let other = if kind == KeyKind::X25519 { KeyKind::Ed25519 } else { KeyKind::X25519 };
            assert!(matches!(read.open(other, &phrase("correct horse")), Err(Error::Passphrase(_))));
        }
        assert_eq!(format!("{:?}{:?}", phrase("x"), sealed(KeyKind::X25519, CHEAP)), "Passphrase(..)SealedKey(..)");
    }

    #[test]
    fn no_byte_of_a_file_can_be_changed_or_taken_away() {
        let kind = KeyKind::Ed25519;
        let file = sealed(kind, CHEAP).encode();
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut changed = file.clone();
                changed[at] ^= 1 << bit;
                let opened = SealedKey::decode(&changed).and_then(|key| {
                    // What the changed parameters would take is not the point here.
                    assert!(key.cost().memory_kib <= KeyCost::MEMORY_KIB_MAX);
                    if key.cost().memory_kib > 1 << 14 {
                        Err(Error::Busy)
                    } else {
                        key.open(kind, &phrase("correct horse"))
                    }
                });
                assert!(opened.is_err(), "byte {at}, bit {bit}");
            }
            assert!(SealedKey::decode(&file[..at]).is_err(), "{at} bytes");
        }
        assert!(SealedKey::decode(&[&file[..], b"x"].concat()).is_err());
        assert!(!SealedKey::is_begun(&file[..32]), "a plain key may be any 32 bytes");
    }

    #[test]
    fn parameters_out_of_bounds_are_refused_before_any_memory_is_taken() {
        let at = MAGIC.len() + 1;
        let file = sealed(KeyKind::X25519, CHEAP).encode();
        let with = |memory: u32, passes: u8, lanes: u8| {
            let mut changed = file.clone();
            changed[at..at + 4].copy_from_slice(&memory.to_be_bytes());
            (changed[at + 4], changed[at + 5]) = (passes, lanes);
            SealedKey::decode(&changed)
        };
        assert!(with(1 << 20, 16, 16).is_ok() && with(8, 1, 1).is_ok() && with(128, 1, 16).is_ok());
        for (memory, passes, lanes) in [
            ((1 << 20) + 1, 1, 1),
            (u32::MAX, 1, 1),
            (0, 1, 1),
            (7, 1, 1),
            (127, 1, 16),
            (1024, 0, 1),
            (1024, 17, 1),
            (1024, 255, 1),
            (1024, 1, 0),
            (1024, 1, 17),
        ] {
            let error = with(memory, passes, lanes).unwrap_err().to_string();
            assert!(error.contains("out of bounds"), "{memory} {passes} {lanes}: {error}");
            assert!(KeyCost::new(memory, passes, lanes).is_err());
        }
        let (memory, passes, lanes) = KeyCost::default().numbers();
        assert_eq!(KeyCost::new(memory, passes, lanes).unwrap(), KeyCost::default());
    }

    #[test]
    fn a_file_once_written_stays_readable() {
        // Made with OpenSSL's Argon2id and ChaCha20-Poly1305; salt 00 to 0f, nonce 64 to 7b.
        let file = hex::decode(KNOWN).unwrap();
        let key = SealedKey::decode(&file).unwrap();
        assert_eq!(key.cost(), KeyCost::default());
        assert_eq!(*key.open(KeyKind::X25519, &phrase("correct horse")).unwrap(), [7; 32]);
        assert_eq!(key.encode(), file);
    }

    const KNOWN: &str = concat!(
        "7269676d6573682d6b6579000100004c00020113be4feaeaf204c7fd3358fc9c00721881d174278128227ec674f37f7fe97b",
        "6d000102030405060708090a0b0c0d0e0f6465666768696a6b6c6d6e6f707172737475767778797a7bc7b86cfd9311f5f205",
        "1f26186573f331fccb4f142442cd7354f4ca6a5bdd2c675e477c47570f3f716d6ff8a3a798cf93",
    );

    #[test]
    fn a_pass_phrase_has_one_to_1024_bytes() {
        assert!(Passphrase::from_bytes(b"").is_err() && Passphrase::from_bytes(&[b'x'; 1025]).is_err());
        assert!(Passphrase::from_bytes(&[0xff; 1024]).is_ok());
        assert!(phrase("a") == phrase("a") && phrase("a") != phrase("b") && phrase("a") != phrase("ab"));
    }
}
