//! UEPS packets over plain TCP, for what speaks no mesh: signed with pre-shared keys, not encrypted. Off unless configured.
//!
//! [`listen`] takes them in, [`send_packet`] sends one and waits for its answer.

mod keys;
mod listen;
mod send;

pub(crate) use keys::{NamedKey, load_keys};
pub(crate) use listen::UepsListener;
pub use send::send_packet;
