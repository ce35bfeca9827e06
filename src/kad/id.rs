//! Points of the key space: node ids and keys of records, 256 bits, and the distance between them (dht.md §1.2).

use crate::base::{Error, Result, Rng, serde_as_text};
use crate::identity::Address;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// A node id or the key of a record: 32 bytes, shown as 64 lower-case hex digits. (What a mesh node is called,
/// [`crate::identity::NodeId`], is something else.)
#[derive(Copy, Clone, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Id([u8; 32]);

/// The XOR of two ids; ordered as a number, the greatest bits first.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Distance([u8; 32]);

impl Id {
    /// All zeros: "no key" in the places that allow it.
    pub const ZERO: Id = Id([0; 32]);

    /// From its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Id {
        Id(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The node id of an address, which is also the key of its own records and of its mailbox: SHA-256.
    pub fn of_address(address: &Address) -> Id {
        Id(Sha256::digest(address.as_bytes()).into())
    }

    /// The key of a topic: SHA-256 of `topic:` and the text, taken as it is.
    pub fn of_topic(topic: &str) -> Id {
        Id(Sha256::new().chain_update(b"topic:").chain_update(topic).finalize().into())
    }

    /// How far `other` is.
    pub fn distance(&self, other: &Id) -> Distance {
        let mut bytes = self.0;
        bytes.iter_mut().zip(other.0).for_each(|(a, b)| *a ^= b);
        Distance(bytes)
    }

    /// How many bits at the start are the same: 0 to 256.
    pub fn common_bits(&self, other: &Id) -> usize {
        self.distance(other).leading_zeros()
    }

    /// The bucket that `other` belongs to in this node's table, 0 to 255; none for itself.
    pub fn bucket_of(&self, other: &Id) -> Option<usize> {
        Some(self.common_bits(other)).filter(|bits| *bits < 256)
    }

    /// A random id that belongs into bucket `index` of this node's table: the first `index` bits are the same, the next
    /// is not. Of bucket 255 there is one id only. An `index` above 255 counts as 255.
    pub fn random_in_bucket(&self, index: usize, rng: &mut Rng) -> Id {
        let (mut bytes, index) = (rng.array::<32>(), index.min(255));
        for (i, (byte, own)) in bytes.iter_mut().zip(self.0).enumerate() {
            let same = index.saturating_sub(i * 8).min(8);
            let kept = u8::MAX.checked_shl(8 - u32::try_from(same).unwrap_or(8)).unwrap_or(0);
            *byte = own & kept | *byte & !kept;
            if i == index / 8 {
                let flipped = 0x80 >> (index % 8);
                *byte = *byte & !flipped | !own & flipped;
            }
        }
        Id(bytes)
    }
}

impl Distance {
    /// The 32 bytes, the greatest first.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Zero bits at the start: 0 to 256.
    pub fn leading_zeros(&self) -> usize {
        let zeros = self.0.iter().take_while(|byte| **byte == 0).count();
        zeros * 8 + self.0.get(zeros).map_or(0, |byte| byte.leading_zeros() as usize)
    }
}

impl From<Address> for Id {
    fn from(address: Address) -> Id {
        Id::of_address(&address)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 64];
        hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = Error;

    /// Exactly 64 hex digits of either case.
    fn from_str(text: &str) -> Result<Id> {
        let mut bytes = [0; 32];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => Ok(Id(bytes)),
            Err(_) => Err(Error::malformed("DHT id", "not 64 hex digits")),
        }
    }
}

serde_as_text!(Id);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_falls_into_the_bucket_that_was_asked_for() {
        let mut rng = Rng::from_number(3);
        for _ in 0..20 {
            let own = Id(rng.array());
            for index in 0..256 {
                assert_eq!(own.bucket_of(&own.random_in_bucket(index, &mut rng)), Some(index));
            }
            assert_ne!(own.random_in_bucket(0, &mut rng), own.random_in_bucket(0, &mut rng));
            assert_eq!(own.bucket_of(&own.random_in_bucket(900, &mut rng)), Some(255));
            assert_eq!(own.bucket_of(&own), None);
        }
    }

    #[test]
    fn an_id_has_a_text() {
        let id = Id::of_topic("rigs");
        assert_eq!(id.to_string().parse::<Id>().unwrap(), id);
        assert!("00".parse::<Id>().is_err());
        assert_eq!(serde_json::from_str::<Id>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    }
}
