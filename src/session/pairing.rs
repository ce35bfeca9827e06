//! The end of a pairing (secure-session.md §3): after the handshake each side saves the other, says so in the first frame
//! of its direction, and only then is the session a link like any other.

use super::alone::{open_message, seal_message};
use super::handshake::LinkKeys;
use super::secure::Psk;
use crate::base::{Now, Refusal, Result, Rng};
use crate::identity::NodeId;
use crate::message::{Disconnect, ErrorPayload, Message, MessageType, Paired, Payload};

/// What a node that dials pairs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joining {
    /// Made from the code.
    pub psk: Psk,
    /// What it asks to be allowed over there: names of grants.
    pub want: Vec<String>,
    /// It is a rig that a controller enrols.
    pub enrol: bool,
}

/// The first frame of our direction: we have saved the other side, and it may do this here.
///
/// # Errors
/// [`crate::base::Error::Failed`] for keys of protocol 1.0, in which nobody pairs.
pub fn seal_paired(
    keys: &mut LinkKeys,
    now: Now,
    rng: &mut Rng,
    own: NodeId,
    peer: NodeId,
    granted: Vec<String>,
) -> Result<Vec<u8>> {
    let paired = Payload::Paired(Paired { granted });
    seal_message(keys, &Message::new(now, rng, &own.to_string(), &peer.to_string(), &paired))
}

/// Takes the first frame of the other side: it has saved us.
///
/// # Errors
/// [`Refusal::BadProof`] for a frame that it did not seal or that is something else, [`Refusal::Handshake`] with its words when
/// it could not.
pub fn open_paired(keys: &mut LinkKeys, frame: &mut [u8]) -> Result<Paired> {
    let message = open_message(keys, frame)?.ok_or(Refusal::BadProof)?;
    match message.kind {
        MessageType::Paired => message.parse(),
        MessageType::Error => Err(Refusal::Handshake(message.parse::<ErrorPayload>()?.message).into()),
        MessageType::Disconnect => Err(Refusal::Handshake(message.parse::<Disconnect>()?.reason).into()),
        _ => Err(Refusal::BadProof.into()),
    }
}
