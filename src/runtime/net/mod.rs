//! Sockets: TCP, TLS and the two halves of a WebSocket.
//!
//! A connection's threads: `hs` dials or accepts, does TLS, upgrade and handshake, and ends
//! or takes the next one; `conn/<peer>` reads; `conn/<peer>/w` writes while there is a backlog. Whoever sends
//! otherwise writes itself, without blocking (see [`conn`]).

pub(crate) mod conn;
pub(crate) mod eager;
#[cfg(test)]
mod echo;
pub(crate) mod gate;
pub(crate) mod idle;
pub(crate) mod listen;
pub(crate) mod open;
pub(crate) mod pipe;
pub(crate) mod plain;
pub(crate) mod pool;
pub(crate) mod reader;
pub(crate) mod tls;
pub(crate) mod turns;
