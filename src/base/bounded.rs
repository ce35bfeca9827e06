//! Collections that cannot grow without bound.

use std::collections::VecDeque;

/// The last `capacity` items, and no more bytes than `bytes_max` as told by the caller.
#[derive(Debug)]
pub struct Ring<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    capacity: usize,
    bytes_max: usize,
}

impl<T> Ring<T> {
    /// An empty ring. Both bounds hold at once; an item larger than `bytes_max` stands alone.
    pub fn new(capacity: usize, bytes_max: usize) -> Ring<T> {
        Ring { items: VecDeque::new(), bytes: 0, capacity: capacity.max(1), bytes_max }
    }

    /// Adds an item of `size` bytes; the oldest leave until both bounds hold.
    pub fn push(&mut self, item: T, size: usize) {
        self.items.push_back((item, size));
        self.bytes += size;
        while self.items.len() > self.capacity || (self.bytes > self.bytes_max && self.items.len() > 1) {
            if let Some((_, size)) = self.items.pop_front() {
                self.bytes -= size;
            }
        }
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.items.iter().map(|(item, _)| item)
    }

    /// How many items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes held, as told.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A number of bytes that may be taken and must be given back.
#[derive(Debug)]
pub struct ByteBudget {
    used: usize,
    max: usize,
}

impl ByteBudget {
    /// A budget of `max` bytes.
    pub fn new(max: usize) -> ByteBudget {
        ByteBudget { used: 0, max }
    }

    /// Takes `n` bytes if they are there.
    pub fn take(&mut self, n: usize) -> bool {
        match self.used.checked_add(n) {
            Some(used) if used <= self.max => {
                self.used = used;
                true
            }
            _ => false,
        }
    }

    /// Gives `n` bytes back.
    pub fn give(&mut self, n: usize) {
        self.used = self.used.saturating_sub(n);
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_the_newest_within_both_bounds() {
        let mut ring = Ring::new(3, 10);
        for i in 0..5 {
            ring.push(i, 4);
        }
        assert_eq!(ring.iter().copied().collect::<Vec<_>>(), [3, 4]);
        ring.push(9, 100);
        assert_eq!(ring.iter().copied().collect::<Vec<_>>(), [9]);
    }

    #[test]
    fn a_budget_refuses_what_does_not_fit() {
        let mut budget = ByteBudget::new(10);
        assert!(budget.take(6) && !budget.take(5) && budget.take(4));
        budget.give(10);
        assert_eq!(budget.used(), 0);
    }
}
