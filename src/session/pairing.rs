//! The end of a pairing (secure-session.md §3): after the handshake each side saves the other, says so in the first frame
//! of its direction, and only then is the session a link like any other.

use super::handshake::LinkKeys;
use super::secure::{Kind, Psk};
use crate::base::{Error, Now, Refusal, Result, Rng};
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
/// [`Error::Failed`] for keys of protocol 1.0, in which nobody pairs.
pub fn seal_paired(
    keys: &mut LinkKeys,
    now: Now,
    rng: &mut Rng,
    own: NodeId,
    peer: NodeId,
    granted: Vec<String>,
) -> Result<Vec<u8>> {
    let LinkKeys::Secure { send, .. } = keys else { return Err(no_session()) };
    let paired = Payload::Paired(Paired { granted });
    let mut frame = Kind::Control.whole();
    Message::new(now, rng, &own.to_string(), &peer.to_string(), &paired).encode_into(&mut frame);
    send.seal(&mut frame, 0)?;
    Ok(frame)
}

/// Takes the first frame of the other side: it has saved us.
///
/// # Errors
/// [`Refusal::BadProof`] for a frame that it did not seal or that is something else, [`Refusal::Handshake`] with its words when
/// it could not.
pub fn open_paired(keys: &mut LinkKeys, frame: &mut [u8]) -> Result<Paired> {
    let LinkKeys::Secure { receive, .. } = keys else { return Err(no_session()) };
    let plain = receive.open(frame)?;
    let body = plain.strip_prefix(Kind::Control.whole().as_slice()).ok_or(Refusal::BadProof)?;
    let message = Message::decode(body)?;
    match message.kind {
        MessageType::Paired => message.parse(),
        MessageType::Error => Err(Refusal::Handshake(message.parse::<ErrorPayload>()?.message).into()),
        MessageType::Disconnect => Err(Refusal::Handshake(message.parse::<Disconnect>()?.reason).into()),
        _ => Err(Refusal::BadProof.into()),
    }
}

fn no_session() -> Error {
    Error::Failed("pairing takes a secure session".to_owned())
}
