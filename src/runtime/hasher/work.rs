//! The work itself: double SHA-256 over an 80-byte header, a share when enough leading zero bits come out.

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use sha2::{Digest as _, Sha256};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a thread computes before it looks at its share of the time and at the stop signal.
const SLICE: Duration = Duration::from_millis(5);
/// Hashes between two looks at the clock.
const BATCH: u32 = 32;
/// Zero bits of the first shares, and the bounds of what the "pool" asks for afterwards.
const BITS_FIRST: u32 = 16;
const BITS_MIN: u32 = 4;
const BITS_MAX: u32 = 48;
/// The difficulty follows the speed so that a share comes about this often.
const SHARE_EVERY_S: f64 = 2.0;

/// What the threads have done together.
#[derive(Debug)]
pub(super) struct Work {
    hashes: AtomicU64,
    shares: AtomicU64,
    bits: AtomicU32,
}

impl Work {
    pub(super) fn new() -> Work {
        Work { hashes: AtomicU64::new(0), shares: AtomicU64::new(0), bits: AtomicU32::new(BITS_FIRST) }
    }

    pub(super) fn hashes(&self) -> u64 {
        self.hashes.load(Relaxed)
    }

    pub(super) fn shares(&self) -> u64 {
        self.shares.load(Relaxed)
    }

    /// Hashes a share takes on average.
    pub(super) fn difficulty(&self) -> u64 {
        1 << self.bits.load(Relaxed)
    }

    /// Follows the speed, as a pool does.
    pub(super) fn retarget(&self, rate: f64) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A float cast saturates.
        let bits = (rate * SHARE_EVERY_S).max(1.0).log2().round() as u32;
        self.bits.store(bits.clamp(BITS_MIN, BITS_MAX), Relaxed);
    }
}

/// Hashes until the other end of `stop` is gone, `intensity` percent of the time.
pub(super) fn hash(work: &Work, mut header: [u8; 80], intensity: u32, stop: &Receiver<()>) {
    let mut nonce = 0u64;
    loop {
        let start = Instant::now();
        while start.elapsed() < SLICE {
            for _ in 0..BATCH {
                nonce = nonce.wrapping_add(1);
                let [.., a, b, c, d, e, f, g, h] = &mut header;
                for (to, byte) in [a, b, c, d, e, f, g, h].into_iter().zip(nonce.to_le_bytes()) {
                    *to = byte;
                }
                if zero_bits(&header) >= work.bits.load(Relaxed) {
                    let shares = work.shares.fetch_add(1, Relaxed).wrapping_add(1);
                    super::say(&format!("cpu      accepted ({shares}/0) diff {}", work.difficulty()));
                }
            }
            work.hashes.fetch_add(BATCH.into(), Relaxed);
        }
        let pause = start.elapsed().saturating_mul(100 - intensity.min(100)) / intensity.max(1);
        let ended = if pause.is_zero() {
            stop.try_recv() == Err(TryRecvError::Disconnected)
        } else {
            stop.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected)
        };
        if ended {
            return;
        }
    }
}

/// Leading zero bits of the hash, read as Bitcoin does: its last bytes first.
fn zero_bits(header: &[u8; 80]) -> u32 {
    let hash: [u8; 32] = Sha256::digest(Sha256::digest(header)).into();
    let [.., a, b, c, d, e, f, g, h] = hash;
    u64::from_le_bytes([a, b, c, d, e, f, g, h]).leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;

    #[test]
    fn it_hashes_as_bitcoin_does() {
        // Block 0: version, no previous block, merkle root, time, bits, nonce. Its hash has 43 leading zero bits.
        let header = concat!(
            "01000000",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a",
            "29ab5f49ffff001d1dac2b7c"
        );
        assert_eq!(zero_bits(&hex::decode(header).unwrap().try_into().unwrap()), 43);
    }

    #[test]
    fn a_throttled_thread_leaves_time_to_others_and_ends_at_once() {
        let work = std::sync::Arc::new(Work::new());
        work.bits.store(BITS_MAX, Relaxed);
        let (stop, stopped) = bounded::<()>(0);
        let thread = std::thread::spawn({
            let work = std::sync::Arc::clone(&work);
            move || hash(&work, [7; 80], 1, &stopped)
        });
        std::thread::sleep(Duration::from_millis(100));
        let first = work.hashes();
        assert!(first > 0);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(work.hashes(), first, "one slice in half a second at 1 %");
        let asked = Instant::now();
        drop(stop);
        thread.join().unwrap();
        assert!(asked.elapsed() < Duration::from_millis(200));
    }

    #[test]
    fn the_difficulty_follows_the_speed() {
        let work = Work::new();
        for (rate, difficulty) in [(0.0, 1 << BITS_MIN), (512.0, 1024), (f64::INFINITY, 1 << BITS_MAX)] {
            work.retarget(rate);
            assert_eq!(work.difficulty(), difficulty, "{rate}");
        }
    }
}
