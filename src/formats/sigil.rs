//! The AEAD sigil (trix.md §4): XChaCha20-Poly1305 over bytes that were first mixed with a public
//! stream made from the nonce. Used by every sealed container: SMSG, STMF, STIM, encrypted TRIX.
//!
//! Everything happens in place. The cipher is `ring`'s ChaCha20-Poly1305 under the key that HChaCha20
//! derives per message ([`super::ciphers`]), which is XChaCha20-Poly1305 by definition and six times faster
//! on small messages than the portable crate.

use super::ciphers;
use crate::base::{Alone, Crew, Error, Job, Result};

/// Length of the nonce in front of every sealed value, bytes.
pub const NONCE_BYTES: usize = ciphers::LONG_NONCE_BYTES;

/// Length of the tag behind it, bytes.
pub const TAG_BYTES: usize = ciphers::TAG_BYTES;

/// By how much sealing makes a value longer, bytes.
pub const OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;

/// Data from this length on is worth more than one hand, bytes: below, starting a thread costs more.
pub const SPLIT_BYTES_MIN: usize = 256 << 10;

/// How much of the obfuscator's stream one hash gives, bytes.
const STREAM_BLOCK_BYTES: usize = 32;

/// How many hashes are prepared at once. One at a time takes twice as long: each would wait until its
/// counter has left the store buffer, and none would overlap with the next.
const BATCH: usize = 16;

/// The default obfuscator, in place: XOR with SHA-256(nonce ‖ 0), SHA-256(nonce ‖ 1), … (8 bytes each,
/// big-endian). No key enters, so it hides nothing; it is there because the format has it. Doing it
/// twice gives the data back.
pub fn obfuscate(nonce: &[u8; NONCE_BYTES], data: &mut [u8]) {
    obfuscate_from(nonce, 0, data);
}

/// [`obfuscate`] for a piece of the data that begins at 32 × `first_block` bytes.
pub fn obfuscate_from(nonce: &[u8; NONCE_BYTES], first_block: u64, piece: &mut [u8]) {
    const IV: [u32; 8] =
        [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
    // Nonce and counter are 32 bytes, so each hash is one compression of a block whose padding never
    // changes: 0x80 behind the input, its length in bits (256) at the end.
    let mut block = [0; 64];
    if let Some(head) = block.first_chunk_mut::<NONCE_BYTES>() {
        *head = *nonce;
    }
    (block[32], block[62]) = (0x80, 1);
    let mut blocks = [block; BATCH];
    let mut number = first_block;
    for group in piece.chunks_mut(BATCH * STREAM_BLOCK_BYTES) {
        for block in blocks.iter_mut().take(group.len().div_ceil(STREAM_BLOCK_BYTES)) {
            if let Some(counter) = block.get_mut(NONCE_BYTES..32) {
                counter.copy_from_slice(&number.to_be_bytes());
            }
            number = number.wrapping_add(1);
        }
        let hash = |block| {
            let mut state = IV;
            sha2::block_api::compress256(&mut state, std::slice::from_ref(block));
            state
        };
        let (whole, rest) = group.as_chunks_mut::<STREAM_BLOCK_BYTES>();
        let mut inputs = blocks.iter();
        if let Ok(whole) = <&mut [[u8; STREAM_BLOCK_BYTES]; BATCH]>::try_from(&mut *whole) {
            // All hashes first: one after the other they overlap in the core's pipeline.
            let mut states = [[0; 8]; BATCH];
            states.iter_mut().zip(&blocks).for_each(|(state, block)| *state = hash(block));
            whole.iter_mut().zip(&states).for_each(|(chunk, state)| mix(chunk, state));
        } else {
            whole.iter_mut().zip(inputs.by_ref()).for_each(|(chunk, block)| mix(chunk, &hash(block)));
        }
        if let (Some(block), false) = (inputs.next(), rest.is_empty()) {
            let stream = hash(block).map(u32::to_be_bytes);
            rest.iter_mut().zip(stream.as_flattened()).for_each(|(d, s)| *d ^= s);
        }
    }
}

/// XOR of a chunk with the hash whose words are `state`.
fn mix(chunk: &mut [u8; STREAM_BLOCK_BYTES], state: &[u32; 8]) {
    for (d, s) in chunk.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *d = (u32::from_be_bytes(*d) ^ s).to_be_bytes();
    }
}

/// [`obfuscate`] with every hand of a crew, when the data is long enough.
pub fn obfuscate_with(crew: &dyn Crew, nonce: &[u8; NONCE_BYTES], data: &mut [u8]) {
    let hands = crew.hands().max(1);
    if hands == 1 || data.len() < SPLIT_BYTES_MIN {
        return obfuscate(nonce, data);
    }
    let blocks = data.len().div_ceil(STREAM_BLOCK_BYTES).div_ceil(hands);
    let piece_of = |(piece, first): (_, u64)| -> Job<'_> { Box::new(move || obfuscate_from(nonce, first, piece)) };
    crew.run(data.chunks_mut(blocks * STREAM_BLOCK_BYTES).zip((0..).step_by(blocks)).map(piece_of).collect());
}

/// Obfuscates and encrypts `data` in place.
///
/// Returns the tag; the sealed form is nonce ‖ data ‖ tag. A nonce must never be used twice with a key.
///
/// # Errors
/// [`Error::Failed`] for more than 2^38 bytes.
pub fn seal_in_place(key: &[u8; 32], nonce: &[u8; NONCE_BYTES], data: &mut [u8]) -> Result<[u8; TAG_BYTES]> {
    seal_in_place_with(&Alone, key, nonce, data)
}

/// [`seal_in_place`] with a crew that helps with the obfuscation.
///
/// # Errors
/// As [`seal_in_place`].
pub fn seal_in_place_with(
    crew: &dyn Crew,
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    data: &mut [u8],
) -> Result<[u8; TAG_BYTES]> {
    obfuscate_with(crew, nonce, data);
    ciphers::seal_long(key, nonce, b"", data)
}

/// Opens a sealed value (nonce ‖ ciphertext ‖ tag) in place.
///
/// Returns the plaintext, which lies inside `sealed`.
///
/// # Errors
/// [`Error::Malformed`] when it is shorter than 40 bytes or does not authenticate; the content of
/// `sealed` is then undefined.
pub fn open_in_place<'a>(key: &[u8; 32], sealed: &'a mut [u8]) -> Result<&'a mut [u8]> {
    open_in_place_with(&Alone, key, sealed)
}

/// [`open_in_place`] with a crew that helps with the obfuscation.
///
/// # Errors
/// As [`open_in_place`].
pub fn open_in_place_with<'a>(crew: &dyn Crew, key: &[u8; 32], sealed: &'a mut [u8]) -> Result<&'a mut [u8]> {
    let short = || Error::malformed("sealed value", "ciphertext too short");
    let (nonce, rest) = sealed.split_first_chunk_mut::<NONCE_BYTES>().ok_or_else(short)?;
    if rest.len() < TAG_BYTES {
        return Err(short());
    }
    let plain = ciphers::open_long(key, nonce, b"", rest)?;
    obfuscate_with(crew, nonce, plain);
    Ok(plain)
}

/// A sealed copy of `plain`: nonce ‖ ciphertext ‖ tag.
///
/// # Errors
/// As [`seal_in_place`].
pub fn seal(key: &[u8; 32], nonce: &[u8; NONCE_BYTES], plain: &[u8]) -> Result<Vec<u8>> {
    seal_with(&Alone, key, nonce, plain)
}

/// [`seal`] with a crew that helps with the obfuscation.
///
/// # Errors
/// As [`seal`].
pub fn seal_with(crew: &dyn Crew, key: &[u8; 32], nonce: &[u8; NONCE_BYTES], plain: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(plain.len() + OVERHEAD_BYTES);
    out.extend_from_slice(nonce);
    out.extend_from_slice(plain);
    let tag = seal_in_place_with(crew, key, nonce, out.get_mut(NONCE_BYTES..).unwrap_or_default())?;
    out.extend_from_slice(&tag);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use chacha20poly1305::aead::{Aead as _, KeyInit as _};
    use sha2::{Digest as _, Sha256};

    /// The same by the book: one plain hash a block, the portable crate's cipher.
    fn sealed_by_the_book(key: &[u8; 32], nonce: &[u8; 24], plain: &[u8]) -> Vec<u8> {
        let mut mixed = plain.to_vec();
        for (i, chunk) in mixed.chunks_mut(32).enumerate() {
            let stream = Sha256::new().chain_update(nonce).chain_update((i as u64).to_be_bytes()).finalize();
            chunk.iter_mut().zip(stream).for_each(|(c, s)| *c ^= s);
        }
        let sealed = chacha20poly1305::XChaCha20Poly1305::new(key.into()).encrypt(nonce.into(), &*mixed).unwrap();
        [&nonce[..], &sealed].concat()
    }

    #[test]
    fn sealing_equals_the_book_at_every_length_and_opens_again() {
        let mut rng = Rng::from_number(1);
        for length in (0..200).chain([1000, 4096, 65_537]) {
            let (key, nonce) = (rng.array(), rng.array());
            let mut plain = vec![0; length];
            rng.fill(&mut plain);
            let mut sealed = seal(&key, &nonce, &plain).unwrap();
            assert_eq!(sealed, sealed_by_the_book(&key, &nonce, &plain), "{length} bytes");
            assert_eq!(open_in_place(&key, &mut sealed).unwrap(), plain);
        }
    }

    /// A crew that takes the pieces in the wrong order.
    struct Backwards(usize);

    impl Crew for Backwards {
        fn hands(&self) -> usize {
            self.0
        }

        fn run(&self, jobs: Vec<Job<'_>>) {
            assert!(jobs.len() <= self.0);
            jobs.into_iter().rev().for_each(|job| job());
        }
    }

    #[test]
    fn many_hands_give_the_same_bytes_as_one() {
        let mut rng = Rng::from_number(2);
        for length in [0, 1, SPLIT_BYTES_MIN - 1, SPLIT_BYTES_MIN, SPLIT_BYTES_MIN + 33, 3 * SPLIT_BYTES_MIN + 7] {
            let (key, nonce) = (rng.array(), rng.array());
            let mut plain = vec![0; length];
            rng.fill(&mut plain);
            let sealed = seal(&key, &nonce, &plain).unwrap();
            for hands in [1, 2, 3, 7] {
                let mut split = seal_with(&Backwards(hands), &key, &nonce, &plain).unwrap();
                assert!(split == sealed, "{length} bytes, {hands} hands");
                assert!(open_in_place_with(&Backwards(hands), &key, &mut split).unwrap() == plain);
            }
        }
    }

    #[test]
    fn what_was_changed_or_cut_does_not_open() {
        let sealed = seal(&[1; 32], &[2; 24], b"hello").unwrap();
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(open_in_place(&[1; 32], &mut bad).is_err(), "byte {at}");
            assert!(open_in_place(&[1; 32], &mut sealed[..at].to_vec()).is_err(), "cut at {at}");
        }
        assert!(open_in_place(&[3; 32], &mut sealed.clone()).is_err());
    }
}
