//! The three messages of the handshake (secure-session.md §1): N1 in the clear 1.0 `handshake`, N2 in its `handshake_ack`,
//! N3 alone. Whoever takes a step hands in the clear text that carried it, because each side's encrypted statement says
//! what it heard.

use super::noise::{Noise, Setup, Split};
use super::{CipherHalf, KEY_BYTES, Statement};
use crate::base::{Error, Refusal, Result, Rng};
use crate::identity::{Binds, CHALLENGE_BYTES, Identity, PublicKey};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use zeroize::Zeroizing;

/// SHA-256 of a clear handshake message, as it went over the wire.
pub fn hash_of(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// The pre-shared key of a pairing, made from its code. Wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Psk(Zeroizing<[u8; KEY_BYTES]>);

impl From<Zeroizing<[u8; KEY_BYTES]>> for Psk {
    fn from(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Psk {
        Psk(bytes)
    }
}

impl std::fmt::Debug for Psk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Psk")
    }
}

const PROLOGUE: &[u8] = b"rigmesh-secure-1\0";
const PAIR_PROLOGUE: &[u8] = b"rigmesh-pair-1\0";

/// What a handshake is bound to besides the keys.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// X of the node that dialled, from step 1.
    pub initiator: &'a PublicKey,
    /// The challenge of step 1.
    pub challenge: &'a [u8; CHALLENGE_BYTES],
    /// The pre-shared key of a pairing; none for a session of known nodes.
    pub psk: Option<&'a Psk>,
}

/// A proven session.
#[derive(Debug)]
pub struct Session {
    /// The handshake hash: both sides have the same, no other session ever has.
    pub id: [u8; 32],
    /// The peer's X25519 key, proven in this session.
    pub key: PublicKey,
    /// What the peer says of itself.
    pub peer: Statement,
    /// Seals what we send.
    pub send: CipherHalf,
    /// Opens what comes.
    pub receive: CipherHalf,
}

/// Who dialled, waiting for N2.
#[derive(Debug)]
pub struct Start {
    noise: Noise,
    binds: Arc<Binds>,
}

impl Start {
    /// Begins: the state and N1.
    ///
    /// # Errors
    /// None that a peer can cause.
    pub fn new(local: &Identity, bound: &Bound<'_>, rng: &mut Rng) -> Result<(Start, Vec<u8>)> {
        let mut noise = noise(local, bound, true, rng)?;
        let first = noise.write(&[])?;
        Ok((Start { noise, binds: local.binds().clone() }, first))
    }

    /// Takes N2, which came in `ack`, and gives N3. `expect` is the key that the ack states: it must be the one that is
    /// proven. `sent` is [`hash_of`] the text of step 1 as it was sent.
    ///
    /// # Errors
    /// [`Error::WrongKey`], [`Refusal::BadProof`], or what is wrong with the peer's statement.
    pub fn finish(
        mut self,
        second: &[u8],
        sent: &[u8; 32],
        ack: &[u8],
        expect: &PublicKey,
        own: &Statement,
    ) -> Result<(Session, Vec<u8>)> {
        let payload = self.noise.read(second)?;
        let key = self.noise.remote()?;
        let peer = judged(&payload, &key, expect, sent, &self.binds)?;
        let third = self.noise.write(&own.encode(hash_of(ack))?)?;
        Ok((session(self.noise.split()?, key, peer), third))
    }
}

/// Who was dialled, waiting for N3: nothing but that may be taken, and nothing at all sent.
#[derive(Debug)]
pub struct Answer {
    noise: Noise,
    binds: Arc<Binds>,
    claimed: PublicKey,
}

impl Answer {
    /// Takes N1, which came in `heard`, and gives N2 for the ack.
    ///
    /// # Errors
    /// [`Refusal::BadProof`].
    pub fn new(
        local: &Identity,
        bound: &Bound<'_>,
        first: &[u8],
        heard: &[u8],
        own: &Statement,
        rng: &mut Rng,
    ) -> Result<(Answer, Vec<u8>)> {
        let mut noise = noise(local, bound, false, rng)?;
        if !noise.read(first)?.is_empty() {
            return Err(Refusal::BadProof.into());
        }
        let second = noise.write(&own.encode(hash_of(heard))?)?;
        Ok((Answer { noise, binds: local.binds().clone(), claimed: *bound.initiator }, second))
    }

    /// Takes N3; `ack` is [`hash_of`] the text of step 2 as it was sent. Now the peer is proven.
    ///
    /// # Errors
    /// [`Error::WrongKey`], [`Refusal::BadProof`], or what is wrong with the peer's statement.
    pub fn finish(mut self, third: &[u8], ack: &[u8; 32]) -> Result<Session> {
        let payload = self.noise.read(third)?;
        let key = self.noise.remote()?;
        let peer = judged(&payload, &key, &self.claimed, ack, &self.binds)?;
        Ok(session(self.noise.split()?, key, peer))
    }
}

fn noise(local: &Identity, bound: &Bound<'_>, initiator: bool, rng: &mut Rng) -> Result<Noise> {
    let label = if bound.psk.is_some() { PAIR_PROLOGUE } else { PROLOGUE };
    let prologue = [label, bound.initiator.as_bytes(), bound.challenge].concat();
    Noise::new(&Setup { local, prologue: &prologue, psk: bound.psk.map(|psk| &*psk.0), initiator }, rng)
}

/// What the proven holder of `key` says, when it is the node that was meant and heard what we said.
fn judged(payload: &[u8], key: &PublicKey, expect: &PublicKey, said: &[u8; 32], binds: &Binds) -> Result<Statement> {
    if key != expect {
        return Err(Error::WrongKey { expected: expect.node_id().to_string(), got: key.node_id().to_string() });
    }
    let peer = Statement::decode_with(binds, payload, key)?;
    if peer.heard != *said {
        // Somebody between us changed the clear messages.
        return Err(Refusal::BadProof.into());
    }
    Ok(peer)
}

fn session(split: Split, key: PublicKey, peer: Statement) -> Session {
    Session { id: split.hash, key, peer, send: split.send, receive: split.receive }
}

#[cfg(test)]
mod tests;
