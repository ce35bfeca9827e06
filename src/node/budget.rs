//! A node within a bound of memory: every limit that holds memory is lowered until what may be there at once fits. What does
//! not fit is refused as whatever exceeds a limit is: connections with HTTP 503, calls with [`Error::Busy`], messages by their
//! size.

use super::Config;
use crate::base::{Error, Result};

/// What a node takes before the first connection, the pages of the program that it uses included, bytes.
const FIXED: usize = 8 << 20;
/// What an idle connection takes, over TLS, bytes: measured, see the README.
const PER_CONNECTION: usize = 40 << 10;
/// The smallest budget, MiB: a few dozen connections.
const MIB_MIN: u32 = 12;
/// The largest that still changes something.
const MIB_MAX: u32 = 64 << 10;

/// What is left beside [`FIXED`], and how it is shared out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    /// Idle connections: half.
    connections: usize,
    /// Bytes that wait for the dispatcher, from peers; and as many from this machine's own handles: an eighth each.
    pub(crate) waiting_bytes: usize,
    /// Bytes of one message, either way; and twice that for the queue of one peer.
    message_bytes: usize,
}

impl Shares {
    fn of(mib: u32) -> Shares {
        let spare = ((mib as usize) << 20).saturating_sub(FIXED);
        Shares {
            connections: (spare / 2 / PER_CONNECTION).max(8),
            waiting_bytes: (spare / 8).max(256 << 10),
            message_bytes: (spare / 32).clamp(64 << 10, 1 << 20),
        }
    }
}

impl Config {
    /// The shares of the budget, when there is one.
    pub(crate) fn shares(&self) -> Option<Shares> {
        self.memory_budget_mib.map(Shares::of)
    }

    /// The same configuration with its limits lowered to what fits into `memory_budget_mib`; as it is without one. Nothing is
    /// raised, and doing it again changes nothing.
    #[must_use]
    pub fn within_budget(&self) -> Config {
        let Some(shares) = self.shares() else { return self.clone() };
        let message_bytes_max = self.message_bytes_max.min(shares.message_bytes);
        Config {
            connections_max: self.connections_max.min(shares.connections),
            unproven_max: self.unproven_max.min(shares.connections.div_ceil(2)),
            half_open_max: self.half_open_max.min(shares.connections.div_ceil(4)),
            message_bytes_max,
            queue_bytes_max: self.queue_bytes_max.min(2 * message_bytes_max),
            queue_messages_max: self.queue_messages_max.min(256),
            peers_max: self.peers_max.min(shares.connections * 8),
            log_lines_max: self.log_lines_max.min(200),
            feeding_max: self.feeding_max.min(2),
            ..self.clone()
        }
    }

    pub(super) fn check_budget(&self) -> Result<()> {
        match self.memory_budget_mib {
            Some(mib) if !(MIB_MIN..=MIB_MAX).contains(&mib) => Err(Error::Config(format!(
                "configuration: memory_budget_mib must be between {MIB_MIN} and {MIB_MAX}: what a node needs before its first connection is most of the least"
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(mib: u32) -> Config {
        Config { memory_budget_mib: Some(mib), ..Config::default() }
    }

    #[test]
    fn sixteen_mib_are_enough_for_a_hundred_connections_and_lower_what_holds_memory() {
        let small = with(16).within_budget();
        assert!((100..110).contains(&small.connections_max), "{}", small.connections_max);
        assert_eq!((small.message_bytes_max, small.queue_bytes_max), (256 << 10, 512 << 10));
        small.check().unwrap();
        assert_eq!(small.within_budget(), small, "again changes nothing");
        // All connections idle, and the queues to the dispatcher full.
        let most = FIXED + small.connections_max * PER_CONNECTION + 2 * small.shares().unwrap().waiting_bytes;
        assert!(most <= 16 << 20, "{most}");
    }

    #[test]
    fn nothing_is_raised_and_without_a_budget_nothing_changes() {
        assert_eq!(Config::default().within_budget(), Config::default());
        let own = Config { connections_max: 3, log_lines_max: 7, ..with(4096) };
        let fitted = own.within_budget();
        assert_eq!((fitted.connections_max, fitted.log_lines_max), (3, 7));
        for mib in [MIB_MIN, 13, 16, 64, 1024, MIB_MAX] {
            let fitted = with(mib).within_budget();
            fitted.check().unwrap_or_else(|e| panic!("{mib}: {e}"));
            assert!(fitted.message_bytes_max <= Config::default().message_bytes_max);
        }
    }

    #[test]
    fn a_budget_that_is_none_is_refused() {
        for mib in [0, MIB_MIN - 1, MIB_MAX + 1] {
            assert!(with(mib).check().is_err(), "{mib}");
        }
        let read = Config::decode(br#"{"memory_budget_mib": 16}"#).unwrap();
        assert_eq!(read.memory_budget_mib, Some(16));
    }
}
