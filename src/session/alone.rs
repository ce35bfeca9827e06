//! Messages of a session that is no link yet: a pairing's last step, and what a node says under keys that it has replaced.
//! They are few and small, one frame each.

use super::handshake::LinkKeys;
use super::secure::Kind;
use crate::base::{Error, Result};
use crate::message::Message;

/// Seals one message.
///
/// # Errors
/// [`Error::Failed`] for keys of protocol 1.0, which prove nothing yet.
pub(crate) fn seal_message(keys: &mut LinkKeys, message: &Message) -> Result<Vec<u8>> {
    let LinkKeys::Secure { send, .. } = keys else { return Err(no_session()) };
    let mut frame = Kind::Control.whole();
    message.encode_into(&mut frame);
    send.seal(&mut frame, 0)?;
    Ok(frame)
}

/// Opens the next frame; `None` when it holds something else than one whole message of control.
///
/// # Errors
/// [`crate::base::Refusal::BadProof`] for a frame that the other side did not seal, [`Error::Failed`] as
/// [`seal_message`], [`Error::Malformed`] for what is no message.
pub(crate) fn open_message(keys: &mut LinkKeys, frame: &mut [u8]) -> Result<Option<Message>> {
    let LinkKeys::Secure { receive, .. } = keys else { return Err(no_session()) };
    let plain = receive.open(frame)?;
    plain.strip_prefix(Kind::Control.whole().as_slice()).map(Message::decode).transpose()
}

fn no_session() -> Error {
    Error::Failed("this takes a secure session".to_owned())
}
