//! The 21-byte address of a key in the DHT (dht.md §1): a version byte, then 20 bytes of the public key's hash.

use super::address_text;
use crate::base::{Error, Result, serde_as_text};
use ripemd::Ripemd160;
use sha2::{Digest as _, Sha256};
use sha3::Keccak256;
use std::fmt;
use std::str::FromStr;

/// An address. Nodes have Ed25519 ones; Ethereum and Paralism addresses are owners whose records a node's key signs by
/// their leave (a delegation). Any 21 bytes are an address on the wire; only versions a0 to af have a text that is read.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Address([u8; 21]);

impl Address {
    /// Version byte of an Ed25519 key's address.
    pub const ED25519: u8 = 0xa0;
    /// Version byte of a Paralism (Bitcoin-style secp256k1) address.
    pub const PARALISM: u8 = 0xa2;
    /// Version byte of an Ethereum address.
    pub const ETHEREUM: u8 = 0xa3;

    /// From its 21 bytes.
    pub const fn from_bytes(bytes: [u8; 21]) -> Address {
        Address(bytes)
    }

    /// The 21 bytes.
    pub const fn as_bytes(&self) -> &[u8; 21] {
        &self.0
    }

    /// The first byte: which kind of key it is.
    pub const fn version(&self) -> u8 {
        self.0[0]
    }

    /// The 20 bytes after the version.
    pub fn hash(&self) -> &[u8; 20] {
        let [_, hash @ ..] = &self.0;
        hash
    }

    pub(super) fn new(version: u8, hash: [u8; 20]) -> Address {
        let mut bytes = [version; 21];
        let [_, rest @ ..] = &mut bytes;
        *rest = hash;
        Address(bytes)
    }

    /// Of an Ed25519 public key: the start of its SHA-256.
    pub fn of_ed25519(public: &[u8; 32]) -> Address {
        let digest: [u8; 32] = Sha256::digest(public).into();
        let [hash @ .., _, _, _, _, _, _, _, _, _, _, _, _] = digest;
        Address::new(Address::ED25519, hash)
    }

    /// Of a secp256k1 public key (X ‖ Y, 64 bytes) on Ethereum: the end of its Keccak-256.
    pub fn of_ethereum(point: &[u8; 64]) -> Address {
        let digest: [u8; 32] = Keccak256::digest(point).into();
        let [_, _, _, _, _, _, _, _, _, _, _, _, hash @ ..] = digest;
        Address::new(Address::ETHEREUM, hash)
    }

    /// Of a secp256k1 public key on Paralism, serialised in 33 bytes (the usual) or 65: RIPEMD-160 of SHA-256.
    pub fn of_paralism(serialised: &[u8]) -> Address {
        Address::new(Address::PARALISM, Ripemd160::digest(Sha256::digest(serialised)).into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&address_text::format(self))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = Error;

    /// Reads every text form of dht.md §1.3: native hex and `0x…` with their case checksums or all lower-case, Paralism
    /// as `bc1…`, `pr1…` or Base58. White space around it is left out.
    fn from_str(text: &str) -> Result<Address> {
        address_text::parse(text.trim()).map_err(|why| Error::malformed("address", why))
    }
}

serde_as_text!(Address);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_canonical_text_of_each_kind() {
        for version in 0xa0..=0xaf {
            let address = Address::new(version, [0x5e; 20]);
            let text = address.to_string();
            assert_eq!(text.parse::<Address>().unwrap(), address);
            assert_eq!(serde_json::to_string(&address).unwrap(), format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Address>(&format!("{text:?}")).unwrap(), address);
            let start = match version {
                Address::ETHEREUM => "0x5",
                Address::PARALISM => "bc1q",
                _ => "5e",
            };
            assert!(text.starts_with(start) || text.to_lowercase().starts_with(&format!("{version:x}5e")), "{text}");
        }
    }

    #[test]
    fn a_version_outside_the_range_has_no_text_that_is_read() {
        assert!(Address::new(0xb0, [0; 20]).to_string().parse::<Address>().is_err());
        assert!(Address::new(0x9f, [0; 20]).to_string().parse::<Address>().is_err());
    }
}
