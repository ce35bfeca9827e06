//! The dispatcher: verified packets go to the handler of their intent, unless they are too dangerous.

use super::packet::Header;
use super::read::Packet;
use crate::base::{Error, Refusal};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A packet whose own threat score is above this is refused; this score itself passes.
pub const THREAT_SCORE_THRESHOLD: u16 = 50_000;

/// What is called for a packet. `C` says who sent it: a peer with its permissions, a named key at an address.
pub type IntentHandler<C> = Arc<dyn Fn(&C, &Packet<'_>) -> Result<(), Error> + Send + Sync>;

/// Why a packet was not handled.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DispatchError {
    /// Its score, which is above [`THREAT_SCORE_THRESHOLD`].
    ThreatScoreExceeded(u16),
    /// Nobody registered for its intent.
    UnknownIntent(u8),
    /// The handler's own words.
    Handler(Error),
}

impl fmt::Display for DispatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DispatchError::ThreatScoreExceeded(score) => {
                write!(f, "threat score exceeded: {score}, {THREAT_SCORE_THRESHOLD} is the most")
            }
            DispatchError::UnknownIntent(intent) => write!(f, "unknown intent: {intent:#04x}"),
            DispatchError::Handler(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DispatchError {}

impl From<DispatchError> for Error {
    fn from(error: DispatchError) -> Error {
        match error {
            DispatchError::Handler(error) => error,
            other => Error::Rejected(Refusal::Limit(other.to_string())),
        }
    }
}

/// What became of the packets of an intent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct IntentCounts {
    /// Their handler said yes.
    pub handled: u64,
    /// Their handler failed.
    pub failed: u64,
    /// Their threat score was too high.
    pub threat_score_exceeded: u64,
    /// There was no handler.
    pub unknown_intent: u64,
}

/// Handlers by intent, one each, and what became of the packets. No lock and no thread: whoever shares it between
/// threads locks it for [`Dispatcher::route`] and [`Dispatcher::settle`] and calls the handler in between, so that a slow
/// handler holds up nobody.
pub struct Dispatcher<C> {
    handlers: BTreeMap<u8, IntentHandler<C>>,
    counts: BTreeMap<u8, IntentCounts>,
}

impl<C> Dispatcher<C> {
    /// Without handlers.
    pub fn new() -> Dispatcher<C> {
        Dispatcher { handlers: BTreeMap::new(), counts: BTreeMap::new() }
    }

    /// Registers the handler of an intent, any of the 256; the one it replaces is returned.
    pub fn register_handler(
        &mut self,
        intent: u8,
        handler: impl Fn(&C, &Packet<'_>) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Option<IntentHandler<C>> {
        self.handlers.insert(intent, Arc::new(handler))
    }

    /// Every registered handler, by intent.
    pub fn handlers(&self) -> impl ExactSizeIterator<Item = (u8, &IntentHandler<C>)> {
        self.handlers.iter().map(|(intent, handler)| (*intent, handler))
    }

    /// What became of the packets so far, by intent; at most 256 rows.
    pub fn counts(&self) -> impl ExactSizeIterator<Item = (u8, IntentCounts)> {
        self.counts.iter().map(|(intent, counts)| (*intent, *counts))
    }

    /// Hands a packet to its handler.
    ///
    /// # Errors
    /// Why it was not handled, or the handler's own error.
    pub fn dispatch(&mut self, context: &C, packet: &Packet<'_>) -> Result<(), DispatchError> {
        let handler = self.route(packet.header())?;
        let done = handler(context, packet);
        self.settle(packet.header().intent, done.is_ok());
        done.map_err(DispatchError::Handler)
    }

    /// The handler for a packet with this header, first half of [`Dispatcher::dispatch`]. What is refused is counted and logged.
    ///
    /// # Errors
    /// [`DispatchError::ThreatScoreExceeded`] before anything else, [`DispatchError::UnknownIntent`].
    pub fn route(&mut self, header: &Header) -> Result<IntentHandler<C>, DispatchError> {
        let Header { intent, threat_score, version, .. } = *header;
        let counts = self.counts.entry(intent).or_default();
        if threat_score > THREAT_SCORE_THRESHOLD {
            counts.threat_score_exceeded += 1;
            log::warn!(
                target: "dispatcher", threat_score, threshold = THREAT_SCORE_THRESHOLD, intent, version;
                "threat score exceeded"
            );
            return Err(DispatchError::ThreatScoreExceeded(threat_score));
        }
        let Some(handler) = self.handlers.get(&intent) else {
            counts.unknown_intent += 1;
            log::warn!(target: "dispatcher", intent, version; "unknown intent");
            return Err(DispatchError::UnknownIntent(intent));
        };
        Ok(Arc::clone(handler))
    }

    /// Takes note of how a handler ended, second half of [`Dispatcher::dispatch`].
    pub fn settle(&mut self, intent: u8, handled: bool) {
        let counts = self.counts.entry(intent).or_default();
        if handled { counts.handled += 1 } else { counts.failed += 1 }
    }
}

impl<C> Default for Dispatcher<C> {
    fn default() -> Dispatcher<C> {
        Dispatcher::new()
    }
}

impl<C> fmt::Debug for Dispatcher<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let intents: Vec<u8> = self.handlers.keys().copied().collect();
        f.debug_struct("Dispatcher").field("handlers", &intents).field("counts", &self.counts).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::{Key, encode_to};
    use super::super::read::{Reading, decode};
    use super::*;

    /// Dispatches a packet from `who`.
    fn send(to: &mut Dispatcher<&'static str>, who: &'static str, header: Header) -> Result<(), DispatchError> {
        let (key, mut bytes) = (Key::from_bytes(b"k"), Vec::new());
        encode_to(&header, b"work", &key, &mut bytes).unwrap();
        to.dispatch(&who, &decode(&bytes, Reading::Strict).unwrap().0.verify(&key).unwrap())
    }

    #[test]
    fn a_handler_learns_who_asks_and_its_own_result_is_the_answer() {
        let mut dispatcher = Dispatcher::new();
        assert!(dispatcher.register_handler(0x20, |_, _| Err(Error::Busy)).is_none());
        let replaced = dispatcher.register_handler(0x20, |who: &&str, packet| match (*who, packet.payload()) {
            ("peer", b"work") => Ok(()),
            _ => Err(Error::NotFound("who?".into())),
        });
        assert!(replaced.is_some());
        assert_eq!(send(&mut dispatcher, "peer", Header::new(0x20)), Ok(()));
        let refused = send(&mut dispatcher, "other", Header::new(0x20)).unwrap_err();
        assert_eq!(Error::from(refused), Error::NotFound("who?".into()));
        assert_eq!(dispatcher.handlers().map(|(intent, _)| intent).collect::<Vec<_>>(), [0x20]);
    }

    #[test]
    fn fifty_thousand_pass_and_one_more_does_not_whatever_the_intent() {
        let mut dispatcher = Dispatcher::new();
        dispatcher.register_handler(0x20, |_, _| Ok(()));
        let mut score = |intent, threat_score| {
            send(&mut dispatcher, "peer", Header { threat_score, ..Header::new(intent) }).map_err(|e| e.to_string())
        };
        assert_eq!(score(0x20, 50_000), Ok(()));
        for (intent, threat) in [(0x20, 50_001), (0x21, 65_535)] {
            assert!(score(intent, threat).unwrap_err().starts_with("threat score exceeded"));
        }
        assert_eq!(score(0x21, 50_000).unwrap_err(), "unknown intent: 0x21");
    }

    #[test]
    fn every_byte_may_be_an_intent_and_what_became_of_it_is_counted() {
        let mut dispatcher = Dispatcher::new();
        for intent in 0..=255 {
            let _ = send(&mut dispatcher, "peer", Header::new(intent));
            dispatcher.register_handler(intent, move |_, _| if intent == 7 { Err(Error::Busy) } else { Ok(()) });
            let _ = send(&mut dispatcher, "peer", Header::new(intent));
            let _ = send(&mut dispatcher, "peer", Header { threat_score: u16::MAX, ..Header::new(intent) });
        }
        assert_eq!((dispatcher.handlers().len(), dispatcher.counts().len()), (256, 256));
        for (intent, counts) in dispatcher.counts() {
            let (handled, failed) = if intent == 7 { (0, 1) } else { (1, 0) };
            assert_eq!(counts, IntentCounts { handled, failed, threat_score_exceeded: 1, unknown_intent: 1 });
        }
    }
}
