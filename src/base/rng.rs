//! Randomness that is handed in: one seeded generator per node, so that a run can be repeated
//! from one number. In production the seed comes from the operating system once.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng as _, SeedableRng as _};

/// A cryptographically strong generator (ChaCha20). Same seed, same stream.
pub struct Rng(ChaCha20Rng);

impl Rng {
    /// From 32 bytes of seed. For production the runtime draws them from the operating system.
    pub fn from_seed(seed: [u8; 32]) -> Rng {
        Rng(ChaCha20Rng::from_seed(seed))
    }

    /// From a small number: for tests and simulations only.
    pub fn from_number(seed: u64) -> Rng {
        Rng(ChaCha20Rng::seed_from_u64(seed))
    }

    /// A generator of its own for another thread or part, drawn from this one.
    #[must_use]
    pub fn fork(&mut self) -> Rng {
        Rng::from_seed(self.array())
    }

    /// Fills `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }

    /// `N` random bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// A random number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound` (0 when `bound` is 0). The bias for bounds far below 2^64 is nil in practice.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.number()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A fresh UUID v4 as text, the form of message ids.
    pub fn uuid(&mut self) -> String {
        uuid::Builder::from_random_bytes(self.array()).into_uuid().to_string()
    }
}

impl std::fmt::Debug for Rng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rng")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_stream() {
        let (mut a, mut b) = (Rng::from_number(7), Rng::from_number(7));
        assert_eq!(a.uuid(), b.uuid());
        assert_eq!(a.fork().number(), b.fork().number());
        assert_ne!(a.number(), Rng::from_number(8).number());
    }

    #[test]
    fn below_stays_below() {
        let mut rng = Rng::from_number(1);
        assert!((0..1000).all(|_| rng.below(7) < 7));
        assert_eq!(rng.below(0), 0);
    }
}
