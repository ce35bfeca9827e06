//! UEPS packets at a node (ueps.md): who asks, the handlers of intents, what they answer, and how packets travel over
//! the links of peers that announced `ueps1`. What they mean for a rig is in [`builtin`].
//!
//! A packet that was verified is answered by a packet of the same intent, whose payload is an [`IntentAnswer`]. One that
//! was not verified is answered by nothing that needs a key.
//!
//! Over a 1.0 link a packet is the base64 payload of a `ueps` message, and its answer that of a `ueps_reply`; both have
//! the link's key ([`Key::for_link`](crate::wire::ueps::Key::for_link)). In a secure session each is a frame of kind 4,
//! which holds one whole strict packet and nothing else (secure-session.md §2). What that leaves open is decided here:
//!
//! * An answer is told from a request by its key: [`Key::for_answers`](crate::wire::ueps::Key::for_answers) of the
//!   link's, as on a plain stream. So an answer that comes late is no request, and a packet thrown back is no answer.
//! * It names the packet that it answers by that one's HMAC, which is the packet's id in the audit log as well. The same
//!   packet can therefore be under way only once on a link.
//! * Whatever has the right HMAC is answered, also when it is refused. What has a wrong one is a forgery, which is counted
//!   and never answered; bytes that are no packet are dropped and counted before they are looked at (by the reader).

mod answer;
mod builtin;
mod packets;

pub use answer::IntentAnswer;
pub(crate) use builtin::{IntentHost, register_builtin};
pub(crate) use packets::{REPLAYS_MAX, threat_error};

use super::codes::code_of;
use crate::base::Error;
use crate::identity::PublicKey;
use crate::message::ErrorCode;
use crate::peers::Grants;
use crate::wire::ueps::{DispatchError, Dispatcher, IntentCounts, Packet, intent};
use parking_lot::Mutex;
use serde_json::Value;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The capability of peers that take packets over a link.
pub(crate) const UEPS1: &str = crate::session::secure::UEPS1;

/// Where a packet came from; its sender has proven to hold the key.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntentSource {
    /// Over the link of this peer.
    Peer(PublicKey),
    /// Over the plain TCP listener.
    Tcp {
        /// The other end of the connection.
        address: SocketAddr,
        /// The name of the pre-shared key that signed it.
        key_name: String,
    },
}

/// Who asks, and the place for an answer: what an intent's handler is given besides the packet.
#[derive(Debug)]
pub struct IntentContext {
    source: IntentSource,
    grants: Grants,
    answer: RefCell<Value>,
}

impl IntentContext {
    /// Of a packet whose sender may do this.
    pub fn new(source: IntentSource, grants: Grants) -> IntentContext {
        IntentContext { source, grants, answer: RefCell::new(Value::Null) }
    }

    /// Where it came from.
    pub fn source(&self) -> &IntentSource {
        &self.source
    }

    /// What its sender may do here. The built-in intents are checked before their handlers are called; a handler of
    /// one's own checks what it needs, as with [`Grants::require`].
    pub fn grants(&self) -> Grants {
        self.grants
    }

    /// What goes back to the sender when the handler ends well: any JSON below 60 KB. The last call counts.
    pub fn answer(&self, body: Value) {
        self.answer.replace(body);
    }
}

/// The handlers of a node, shared by everybody who has packets for them.
#[derive(Debug, Default)]
pub struct Intents {
    dispatcher: Mutex<Dispatcher<IntentContext>>,
}

impl Intents {
    /// Registers the handler of an intent, any of the 256, in place of the one before, also of a built-in one. Handlers are
    /// called side by side, on threads that may wait up to 28 s.
    pub fn register_handler(
        &self,
        intent: u8,
        handler: impl Fn(&IntentContext, &Packet<'_>) -> Result<(), Error> + Send + Sync + 'static,
    ) {
        self.dispatcher.lock().register_handler(intent, handler);
    }

    /// The intents that have a handler, in order.
    pub fn handlers(&self) -> Vec<u8> {
        self.dispatcher.lock().handlers().map(|(intent, _)| intent).collect()
    }

    /// What became of the packets so far, by intent.
    pub fn counts(&self) -> Vec<(u8, IntentCounts)> {
        self.dispatcher.lock().counts().collect()
    }

    /// Hands a verified packet to its handler. No lock is held while that runs, and its panic is an error like others.
    pub(crate) fn carry_out(&self, context: &IntentContext, packet: &Packet<'_>) -> IntentAnswer {
        let intent = packet.header().intent;
        let routed = self.dispatcher.lock().route(packet.header());
        let handler = match routed {
            Ok(handler) => handler,
            Err(DispatchError::UnknownIntent(_)) => {
                let why = DispatchError::UnknownIntent(intent).to_string();
                return IntentAnswer::refused(packet.hmac(), ErrorCode::NOT_FOUND, why);
            }
            Err(why) => return IntentAnswer::refused(packet.hmac(), ErrorCode::OPERATION_FAILED, why.to_string()),
        };
        let run = AssertUnwindSafe(|| handler(context, packet));
        let done = catch_unwind(run).unwrap_or_else(|_| Err(Error::Failed("the handler panicked".to_owned())));
        self.dispatcher.lock().settle(intent, done.is_ok());
        match done {
            Ok(()) => IntentAnswer::done(packet, context.answer.take()),
            Err(e) => {
                log::warn!(target: "dispatcher", intent, source:? = context.source; "packet not carried out: {e}");
                IntentAnswer::refused(packet.hmac(), code_of(&e), e.to_string())
            }
        }
    }
}

/// What the sender of an intent must be allowed to do.
pub(crate) fn grant_for_intent(intent: u8) -> Option<Grants> {
    match intent {
        intent::COMPUTE | intent::REHAB => Some(Grants::OPERATE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ueps::{Header, Key, Reading, decode, encode_to};

    #[test]
    fn a_handler_that_panics_or_fails_is_an_answer_and_counts_as_failed() {
        let intents = Intents::default();
        intents.register_handler(1, |_, _| panic!("on purpose"));
        intents.register_handler(2, |_, _| Err(Error::NotFound("no such thing".into())));
        intents.register_handler(3, |context, packet| {
            context.answer(serde_json::json!({ "bytes": packet.payload().len() }));
            Ok(())
        });
        let (key, mut bytes) = (Key::from_bytes(b"k"), Vec::new());
        let mut send = |intent| {
            bytes.clear();
            encode_to(&Header::new(intent), b"abc", &key, &mut bytes).unwrap();
            let packet = decode(&bytes, Reading::Strict).unwrap().0.verify(&key).unwrap();
            let source = IntentSource::Tcp { address: ([127, 0, 0, 1], 1).into(), key_name: "k".into() };
            let answer = intents.carry_out(&IntentContext::new(source, Grants::NONE), &packet);
            assert!(answer.answers(packet.hmac()));
            answer.into_result().map_err(|e| e.to_string())
        };
        assert!(send(1).unwrap_err().contains("panicked"));
        assert!(send(2).unwrap_err().contains("no such thing"));
        assert_eq!(send(3).unwrap()["bytes"], 3);
        assert!(send(4).unwrap_err().contains("unknown intent"));
        assert_eq!(intents.handlers(), [1, 2, 3]);
        let failed: Vec<(u64, u64, u64)> =
            intents.counts().iter().map(|(_, c)| (c.handled, c.failed, c.unknown_intent)).collect();
        assert_eq!(failed, [(0, 1, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1)]);
    }
}
