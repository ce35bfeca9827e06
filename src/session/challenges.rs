//! The challenges we have out. One of ours that comes back to be signed is a reflection: whoever
//! sends it wants us to prove our own key to ourselves. It is never signed (mesh.md §8).

use super::secure::CHALLENGE_ENDING;
use crate::base::{Rng, Time};
use crate::identity::CHALLENGE_BYTES;
use std::collections::VecDeque;
use std::time::Duration;

/// How long a challenge is remembered: as long as the upgrade and the handshake behind it may take.
const CHALLENGE_TTL: Duration = Duration::from_secs(20);
/// More dials than this within that time forget the oldest challenge first.
const CHALLENGES_MAX: usize = 4096;

/// The node's outstanding challenges, shared by all its handshakes.
#[derive(Clone, Debug, Default)]
pub struct Challenges {
    out: VecDeque<(Time, [u8; CHALLENGE_BYTES])>,
}

impl Challenges {
    /// A table with nothing out.
    pub fn new() -> Challenges {
        Challenges::default()
    }

    /// A fresh challenge, remembered for twenty seconds. One that comes with an offer of a secure session says so at its end.
    pub fn issue(&mut self, now: Time, offers: bool, rng: &mut Rng) -> [u8; CHALLENGE_BYTES] {
        let mut challenge = crate::identity::generate_challenge(rng);
        if let (true, Some(end)) = (offers, challenge.last_chunk_mut()) {
            *end = CHALLENGE_ENDING;
        }
        self.expire(now);
        if self.out.len() >= CHALLENGES_MAX {
            self.out.pop_front();
        }
        self.out.push_back((now, challenge));
        challenge
    }

    /// Whether `challenge` is one that we have out.
    pub fn is_ours(&mut self, now: Time, challenge: &[u8]) -> bool {
        self.expire(now);
        self.out.iter().any(|(_, ours)| ours == challenge)
    }

    fn expire(&mut self, now: Time) {
        while self.out.front().is_some_and(|(at, _)| now.since(*at) > CHALLENGE_TTL) {
            self.out.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_remembered_for_twenty_seconds() {
        let (mut table, mut rng) = (Challenges::new(), Rng::from_number(1));
        let ours = table.issue(Time::from_millis(0), false, &mut rng);
        assert!(table.is_ours(Time::from_millis(20_000), &ours));
        assert!(!table.is_ours(Time::from_millis(20_000), &[7; 32]));
        assert!(!table.is_ours(Time::from_millis(20_001), &ours));
    }
}
