//! X25519 keys, the node id, and the secret two nodes share.

use crate::base::{Error, Result, Rng, base64_decode_strict, base64_encode, serde_as_text};
use crate::formats::reading::go_base64_decode;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

/// An X25519 public key in its one canonical encoding: top bit clear, below 2^255−19, not of low
/// order (mesh.md §8). Only such a key is ever admitted, pinned, permitted or stored.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct PublicKey([u8; 32]);

/// The canonical encodings of low order: 0, 1, p−1 and the two points of order 8. With them X25519
/// gives zero whatever the private key is.
const LOW_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ],
];

impl PublicKey {
    /// From the 32 bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`] when they are not the canonical encoding of a usable key.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<PublicKey> {
        let [first, middle @ .., last] = &bytes;
        let fault = if last & 0x80 != 0 {
            "the top bit is set"
        } else if *last == 0x7f && *first >= 0xed && middle.iter().all(|b| *b == 0xff) {
            "not below 2^255-19"
        } else if LOW_ORDER.contains(&bytes) {
            "a point of low order"
        } else {
            return Ok(PublicKey(bytes));
        };
        Err(Error::malformed("public key", format!("not canonical: {fault}")))
    }

    /// From standard padded base64, read strictly, so that a key has one text.
    ///
    /// # Errors
    /// [`Error::Malformed`] for any other spelling, length or encoding.
    pub fn from_base64(text: &str) -> Result<PublicKey> {
        let bytes = base64_decode_strict("public key", text)?;
        PublicKey::from_bytes(exactly_32("public key", &bytes)?)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Standard padded base64: 44 characters.
    pub fn to_base64(&self) -> String {
        base64_encode(&self.0)
    }

    /// The id of the node that has this key.
    pub fn node_id(&self) -> NodeId {
        NodeId::of_bytes(&self.0)
    }
}

fn exactly_32(what: &'static str, bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| Error::malformed(what, format!("{} bytes instead of 32", bytes.len())))
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = Error;
    fn from_str(text: &str) -> Result<PublicKey> {
        PublicKey::from_base64(text)
    }
}

/// A node id: the first 16 bytes of SHA-256 of the public key, shown as 32 lower-case hex digits.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct NodeId([u8; 16]);

impl NodeId {
    /// From its 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> NodeId {
        NodeId(bytes)
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The id that belongs to 32 key bytes, canonical or not.
    fn of_bytes(key: &[u8; 32]) -> NodeId {
        let digest: [u8; 32] = Sha256::digest(key).into();
        let (head, _) = digest.split_at(16);
        NodeId(head.try_into().unwrap_or_default())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeId {
    type Err = Error;

    /// Exactly 32 lower-case hex digits: an id has one text.
    fn from_str(text: &str) -> Result<NodeId> {
        let mut bytes = [0; 16];
        if text.bytes().any(|c| c.is_ascii_uppercase()) || hex::decode_to_slice(text, &mut bytes).is_err() {
            return Err(Error::malformed("node id", "not 32 lower-case hex digits"));
        }
        Ok(NodeId(bytes))
    }
}

serde_as_text!(PublicKey);
serde_as_text!(NodeId);

/// An X25519 private key: 32 raw bytes, kept as they are and clamped only inside the multiplication.
/// Wiped when dropped, never shown.
pub struct SecretKey(x25519_dalek::StaticSecret);

impl SecretKey {
    /// A new key.
    pub fn generate(rng: &mut Rng) -> SecretKey {
        let bytes = Zeroizing::new(rng.array::<32>());
        SecretKey::from_bytes(*bytes)
    }

    /// From the raw bytes, as in the file `private.key`. Any 32 bytes are a key.
    pub fn from_bytes(mut bytes: [u8; 32]) -> SecretKey {
        let key = SecretKey(x25519_dalek::StaticSecret::from(bytes));
        bytes.zeroize();
        key
    }

    /// The raw bytes, as in the file `private.key`.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key's 32 bytes. About 20 µs of curve work.
    pub fn public(&self) -> [u8; 32] {
        x25519_dalek::PublicKey::from(&self.0).to_bytes()
    }

    /// The public key. What a multiplication gives is canonical, and a clamped scalar is never a
    /// multiple of the base point's order, so it is of full order too.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.public())
    }

    /// The secret shared with the owner of `peer`: SHA-256 of the X25519 result. About 50 µs of curve work.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the result is zero (never for a key that [`PublicKey`] accepted).
    pub fn shared_secret(&self, peer: &PublicKey) -> Result<SharedSecret> {
        self.derive(peer.0)
    }

    /// The bare X25519 result, as Noise wants it. About 50 µs of curve work.
    ///
    /// # Errors
    /// As [`SecretKey::shared_secret`].
    pub fn agree(&self, peer: &PublicKey) -> Result<Zeroizing<[u8; 32]>> {
        self.multiply(peer.0)
    }

    fn derive(&self, peer: [u8; 32]) -> Result<SharedSecret> {
        Ok(SharedSecret(Sha256::digest(*self.multiply(peer)?).into()))
    }

    fn multiply(&self, peer: [u8; 32]) -> Result<Zeroizing<[u8; 32]>> {
        let point = self.0.diffie_hellman(&x25519_dalek::PublicKey::from(peer));
        if !point.was_contributory() {
            return Err(Error::malformed("public key", "a point of low order"));
        }
        Ok(Zeroizing::new(point.to_bytes()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// The bare derivation with the Go node's behaviour: base64 with CR and LF ignored and any trailing
/// bits, the key's top bit ignored, values at or above 2^255−19 reduced. For nothing but
/// compatibility: who is admitted is decided on a [`PublicKey`].
///
/// # Errors
/// [`Error::Malformed`] when the text is not base64 of 32 bytes, or the result is zero (low order).
pub fn derive_shared_secret(secret: &SecretKey, public_base64: &str) -> Result<SharedSecret> {
    let bytes = go_base64_decode(public_base64).ok_or_else(|| Error::malformed("public key", "invalid base64"))?;
    secret.derive(exactly_32("public key", &bytes)?)
}

/// What two nodes share, the same for both and for every connection of the pair. Wiped when dropped,
/// compared in constant time, never shown.
#[derive(Clone)]
pub struct SharedSecret([u8; 32]);

impl SharedSecret {
    /// From the 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> SharedSecret {
        SharedSecret(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The SMSG password of a link: the secret as standard padded base64 (smsg.md §1).
    pub fn smsg_password(&self) -> Zeroizing<String> {
        Zeroizing::new(base64_encode(&self.0))
    }
}

impl Drop for SharedSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PartialEq for SharedSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SharedSecret {}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_derive_the_same_secret() {
        let mut rng = Rng::from_number(1);
        let (a, b) = (SecretKey::generate(&mut rng), SecretKey::generate(&mut rng));
        let ours = a.shared_secret(&b.public_key()).unwrap();
        assert_eq!(ours, b.shared_secret(&a.public_key()).unwrap());
        assert_eq!(ours, derive_shared_secret(&a, &b.public_key().to_base64()).unwrap());
        assert_eq!(format!("{ours:?}{a:?}"), "SharedSecret(..)SecretKey(..)");
        assert_eq!(ours.smsg_password().len(), 44);
    }

    #[test]
    fn only_canonical_keys_of_full_order_are_keys() {
        let good = SecretKey::from_bytes([7; 32]).public();
        assert!(PublicKey::from_bytes(good).is_ok());
        let mut high = good;
        high[31] |= 0x80;
        assert!(PublicKey::from_bytes(high).is_err());
        for low in 0xed..=0xffu8 {
            let mut above = [0xff; 32];
            (above[0], above[31]) = (low, 0x7f);
            assert!(PublicKey::from_bytes(above).is_err(), "{low:x}");
        }
        let secret = SecretKey::from_bytes([9; 32]);
        for point in LOW_ORDER {
            assert!(PublicKey::from_bytes(point).is_err());
            assert!(secret.derive(point).is_err(), "the table holds only points that give zero");
        }
        let mut below = [0xff; 32];
        (below[0], below[31]) = (0xeb, 0x7f);
        assert!(PublicKey::from_bytes(below).is_ok());
    }

    #[test]
    fn a_key_and_an_id_have_one_text() {
        let key = SecretKey::from_bytes([7; 32]).public_key();
        assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
        assert!(PublicKey::from_base64(&format!("{key}\n")).is_err());
        let id = key.node_id();
        assert_eq!(id.to_string().parse::<NodeId>().unwrap(), id);
        assert!(id.to_string().to_uppercase().parse::<NodeId>().is_err());
        assert!("abc".parse::<NodeId>().is_err());
        let json = serde_json::to_string(&(key, id)).unwrap();
        assert_eq!(serde_json::from_str::<(PublicKey, NodeId)>(&json).unwrap(), (key, id));
    }
}
