//! A rig's record as somebody found it: verified, and still only a claim (secure-session.md §8).

use super::{Fault, Id, RigRecord, Rules, SignedRecord};
use crate::base::Timestamp;
use crate::identity::Address;

/// The longest record that is read as a sighting, bytes; a rig's own is far below it.
pub const SIGHTING_BYTES_MAX: usize = 1024;

/// A rig's record, signed by its signing key S and of this time. That its mesh key agrees is shown only by dialling.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    record: SignedRecord,
    rig: RigRecord,
}

impl Sighting {
    /// Reads and verifies the bytes of a record.
    ///
    /// # Errors
    /// What is wrong with them, as for [`SignedRecord::decode`] and [`Sighting::of`].
    pub fn read(bytes: &[u8], now: Timestamp) -> Result<Sighting, Fault> {
        if bytes.len() > SIGHTING_BYTES_MAX {
            return Err(Fault::Payload("too long for a rig's record"));
        }
        Sighting::of(SignedRecord::decode(bytes)?, now)
    }

    /// Verifies a record: its signature and time, that the rig signed it itself, that it says what a rig's record says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(record: SignedRecord, now: Timestamp) -> Result<Sighting, Fault> {
        let rules = Rules::default();
        let rig = RigRecord::read(&record)?;
        record.verify(now, &rules)?;
        record.check_authority(&record.default_key(), now, &rules)?;
        Ok(Sighting { record, rig })
    }

    /// The record.
    pub fn record(&self) -> &SignedRecord {
        &self.record
    }

    /// What it says.
    pub fn rig(&self) -> &RigRecord {
        &self.rig
    }

    /// S, who says so.
    pub fn sign_key(&self) -> &[u8; 32] {
        &self.record.pubkey
    }

    /// The address of S.
    pub fn address(&self) -> Address {
        self.record.address
    }

    /// Where the record lies in the DHT.
    pub fn key(&self) -> Id {
        self.record.default_key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{SecretKey, SignKey};
    use crate::kad::{NatType, Stamp};

    fn rig() -> RigRecord {
        let places = vec!["ws://192.0.2.7:9091/ws".parse().unwrap()];
        RigRecord { places, key: SecretKey::from_bytes([7; 32]).public_key(), nat_type: NatType::Unknown }
    }

    #[test]
    fn a_sighting_is_what_a_rig_signed_itself_lately() {
        let (key, now) = (SignKey::from_seed(&[1; 32]), Timestamp::from_unix(1_800_000_000, 0));
        let bytes = rig().sign(&key, now, 9).unwrap().encode();
        let seen = Sighting::read(&bytes, now).unwrap();
        assert_eq!((seen.rig(), *seen.sign_key(), seen.record().seq), (&rig(), key.public(), 9));
        assert_eq!(seen.key(), Id::of_address(&seen.address()));
        let later = |s| Sighting::read(&bytes, now.plus(std::time::Duration::from_secs(s)));
        assert!(later(3500).is_ok());
        assert_eq!(later(3600), Err(Fault::Expired));
        let mut forged = bytes.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert!(Sighting::read(&forged, now).is_err());
        assert!(Sighting::read(&[0; SIGHTING_BYTES_MAX + 1], now).is_err());
        let stamp = Stamp { seq: 1, timestamp: 1_800_000_000, ttl_s: 60 };
        let payload = SignedRecord::decode(&bytes).unwrap().payload().to_vec();
        let other = SignedRecord::sign(&key, 0x0f, payload, stamp).unwrap();
        assert!(Sighting::of(other, now).is_err(), "another kind of record");
    }
}
