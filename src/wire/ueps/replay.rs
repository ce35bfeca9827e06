//! Packets that came before: a bounded memory of their HMACs, for there is nothing against replay in a packet itself.

use super::read::{Defect, Packet};
use std::collections::{BTreeSet, VecDeque};

/// How many packets a window usually remembers.
pub const REPLAYS_DEFAULT: usize = 4096;

/// The last packets of one key, on a link or over all streams that use it. A packet cut in another place has the same
/// HMAC, so its second reading is known as well. What is older than the window is forgotten and would pass again: the
/// sender's payload needs a number or a time where that matters.
#[derive(Debug)]
pub struct ReplayWindow {
    seen: BTreeSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
    capacity: usize,
}

impl ReplayWindow {
    /// Remembers the last `capacity` packets (at least one), about 80 bytes for each.
    pub fn new(capacity: usize) -> ReplayWindow {
        ReplayWindow { seen: BTreeSet::new(), order: VecDeque::new(), capacity: capacity.max(1) }
    }

    /// Takes note of a packet. Only verified packets get here, so a stranger cannot push anything out of the window.
    ///
    /// # Errors
    /// [`Defect::Replayed`] when it is in the window; it does not become younger by that.
    pub fn handle_packet(&mut self, packet: &Packet<'_>) -> Result<(), Defect> {
        if !self.seen.insert(*packet.hmac()) {
            return Err(Defect::Replayed);
        }
        self.order.push_back(*packet.hmac());
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        Ok(())
    }

    /// Whether a packet is in the window. Nothing changes.
    pub fn has(&self, packet: &Packet<'_>) -> bool {
        self.seen.contains(packet.hmac())
    }

    /// Packets remembered.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none was seen yet.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

impl Default for ReplayWindow {
    fn default() -> ReplayWindow {
        ReplayWindow::new(REPLAYS_DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::{Header, Key, encode_to};
    use super::super::read::{Reading, decode};
    use super::*;

    #[test]
    fn a_packet_passes_once_while_the_window_remembers_it() {
        let (key, mut window) = (Key::from_bytes(b"k"), ReplayWindow::new(3));
        let mut pass = |number: u8| {
            let mut bytes = Vec::new();
            encode_to(&Header::new(1), &[number], &key, &mut bytes).unwrap();
            let passed = window.handle_packet(&decode(&bytes, Reading::Strict).unwrap().0.verify(&key).unwrap());
            (passed.is_ok(), window.len())
        };
        assert_eq!(
            [1, 1, 2, 3, 1, 4, 1].map(&mut pass).map(|(passed, _)| passed),
            [true, false, true, true, false, true, true]
        );
        assert_eq!(pass(9), (true, 3));
    }
}
