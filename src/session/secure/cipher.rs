//! One direction of a session: its key, its counter, its rekeying (secure-session.md §2). Reader and writer have one each
//! and share nothing.

use crate::base::{Error, Refusal, Result};
use crate::formats::ciphers::{self, NONCE_BYTES};
use zeroize::Zeroizing;

pub use crate::formats::ciphers::TAG_BYTES;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// The nonce of Noise's ChaChaPoly: four zero bytes, then the counter, little-endian.
pub(super) fn noise_nonce(counter: u64) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    if let Some(low) = nonce.last_chunk_mut() {
        *low = counter.to_le_bytes();
    }
    nonce
}

/// A key and how often it was used. Wiped when dropped, never shown; 40 bytes, because every idle connection has two.
pub struct CipherHalf {
    key: Zeroizing<[u8; KEY_BYTES]>,
    counter: u64,
}

impl CipherHalf {
    /// A direction that begins with this key.
    pub fn new(key: &[u8; KEY_BYTES]) -> CipherHalf {
        CipherHalf { key: Zeroizing::new(*key), counter: 0 }
    }

    /// Frames sealed or opened so far.
    pub fn count(&self) -> u64 {
        self.counter
    }

    /// Seals what stands in `out` from `start` on, and puts the tag behind it.
    ///
    /// # Errors
    /// [`Error::Failed`] when the counter is used up, which 2^64 frames would take.
    pub fn seal(&mut self, out: &mut Vec<u8>, start: usize) -> Result<()> {
        let nonce = self.next()?;
        let plain = out.get_mut(start..).unwrap_or_default();
        let tag = ciphers::seal(&self.key, nonce, &[], plain)?;
        out.extend_from_slice(&tag);
        Ok(())
    }

    /// Opens a frame where it stands, with the counter that is due and no other.
    ///
    /// # Errors
    /// [`Refusal::BadProof`]: it was not sealed as the next frame of this direction. The session is over then.
    pub fn open<'a>(&mut self, frame: &'a mut [u8]) -> Result<&'a mut [u8]> {
        let nonce = self.next()?;
        ciphers::open(&self.key, nonce, &[], frame).map_err(|_| Refusal::BadProof.into())
    }

    /// Replaces the key by one from which it cannot be computed (Noise §4.2). The counter goes on.
    ///
    /// # Errors
    /// None in practice.
    pub fn rekey(&mut self) -> Result<()> {
        let mut fresh = Zeroizing::new([0; KEY_BYTES]);
        ciphers::seal(&self.key, noise_nonce(u64::MAX), &[], &mut *fresh)?;
        self.key = fresh;
        Ok(())
    }

    fn next(&mut self) -> Result<[u8; NONCE_BYTES]> {
        // The last counter is the one of rekeying.
        let spent = || Error::Failed("this session's key is used up".to_owned());
        let next = self.counter.checked_add(1).ok_or_else(spent)?;
        Ok(noise_nonce(std::mem::replace(&mut self.counter, next)))
    }
}

impl std::fmt::Debug for CipherHalf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CipherHalf({})", self.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_opens_once_in_its_place_and_nowhere_else() {
        let (mut send, mut receive) = (CipherHalf::new(&[7; 32]), CipherHalf::new(&[7; 32]));
        let mut sealed = |plain: &[u8]| {
            let mut out = [b"head", plain].concat();
            send.seal(&mut out, 4).unwrap();
            out.split_off(4)
        };
        let (first, second, third) = (sealed(b"one"), sealed(b"two"), sealed(b"three"));
        assert_eq!(first.len(), 3 + TAG_BYTES);
        assert_eq!(receive.open(&mut first.clone()).unwrap(), b"one");
        assert!(receive.open(&mut first.clone()).is_err(), "a replay");
        let mut receive = CipherHalf::new(&[7; 32]);
        assert!(receive.open(&mut second.clone()).is_err(), "out of order");
        for bit in 0..first.len() * 8 {
            let mut bent = first.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(CipherHalf::new(&[7; 32]).open(&mut bent).is_err());
        }
        let mut receive = CipherHalf::new(&[7; 32]);
        for (sealed, plain) in [(first, "one"), (second, "two"), (third, "three")] {
            assert_eq!(receive.open(&mut sealed.clone()).unwrap(), plain.as_bytes());
        }
    }

    #[test]
    fn after_a_rekey_the_old_key_opens_nothing_and_the_counter_goes_on() {
        let (mut send, mut old, mut new) =
            (CipherHalf::new(&[1; 32]), CipherHalf::new(&[1; 32]), CipherHalf::new(&[1; 32]));
        send.rekey().unwrap();
        new.rekey().unwrap();
        let mut frame = b"secret".to_vec();
        send.seal(&mut frame, 0).unwrap();
        assert!(old.open(&mut frame.clone()).is_err());
        assert_eq!(new.open(&mut frame).unwrap(), b"secret");
        assert_eq!((send.count(), new.count()), (1, 1));
    }
}
