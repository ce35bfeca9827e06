//! The Noise handshake (secure-session.md §1): the library's state machine over our own curve, cipher and hash, so that no
//! second generation of them comes into the tree and a shared secret of zero is an error.

use super::cipher::{CipherHalf, KEY_BYTES, TAG_BYTES, noise_nonce};
use crate::base::{Error, Refusal, Result, Rng};
use crate::formats::ciphers;
use crate::identity::{Identity, PublicKey, SecretKey};
use sha2::{Digest as _, Sha256};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use std::cell::RefCell;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

const XX: &str = "Noise_XX_25519_ChaChaPoly_SHA256";
const XX_PSK: &str = "Noise_XXpsk3_25519_ChaChaPoly_SHA256";

/// What a handshake message has around its payload at most: two keys and two tags.
const AROUND_BYTES: usize = 96;

/// Which of the two patterns, and what it is bound to.
pub(super) struct Setup<'a> {
    /// Who we are.
    pub(super) local: &'a Identity,
    /// Hashed in first, on both sides.
    pub(super) prologue: &'a [u8],
    /// The pre-shared key of a pairing.
    pub(super) psk: Option<&'a [u8; KEY_BYTES]>,
    /// Whether we write the first message.
    pub(super) initiator: bool,
}

/// A handshake under way.
#[derive(Debug)]
pub(super) struct Noise {
    state: Box<snow::HandshakeState>,
    initiator: bool,
}

/// What a completed handshake gives.
#[derive(Debug)]
pub(super) struct Split {
    /// The handshake hash: the session's id.
    pub(super) hash: [u8; 32],
    /// Seals what we send.
    pub(super) send: CipherHalf,
    /// Opens what comes.
    pub(super) receive: CipherHalf,
}

impl Noise {
    pub(super) fn new(setup: &Setup<'_>, rng: &mut Rng) -> Result<Noise> {
        let name = if setup.psk.is_some() { XX_PSK } else { XX };
        let own = setup.local.secret().to_bytes();
        let built = (|| {
            let known = (own.clone(), *setup.local.public_key().as_bytes());
            let resolver = Box::new(Resolver { rng: RefCell::new(rng.fork()), known });
            let builder = snow::Builder::with_resolver(name.parse()?, resolver);
            let mut builder = builder.local_private_key(&*own)?.prologue(setup.prologue)?;
            if let Some(psk) = setup.psk {
                builder = builder.psk(3, psk)?;
            }
            if setup.initiator { builder.build_initiator() } else { builder.build_responder() }
        })();
        let state = Box::new(built.map_err(|e: snow::Error| Error::Failed(format!("noise: {e}")))?);
        Ok(Noise { state, initiator: setup.initiator })
    }

    /// The next message, with this payload.
    pub(super) fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>> {
        let mut message = vec![0; payload.len() + AROUND_BYTES];
        let length = self.state.write_message(payload, &mut message).map_err(bad_proof)?;
        message.truncate(length);
        Ok(message)
    }

    /// The payload of the other side's next message.
    pub(super) fn read(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let mut payload = Zeroizing::new(vec![0; message.len().min(super::PAYLOAD_BYTES_MAX + AROUND_BYTES)]);
        let length = self.state.read_message(message, &mut payload).map_err(bad_proof)?;
        payload.truncate(length);
        Ok(payload)
    }

    /// The static key that the other side has shown to hold.
    pub(super) fn remote(&self) -> Result<PublicKey> {
        let key = self.state.get_remote_static().and_then(|key| <[u8; 32]>::try_from(key).ok());
        PublicKey::from_bytes(key.ok_or(Error::Rejected(Refusal::BadProof))?)
    }

    /// The keys of both directions, after the last message.
    pub(super) fn split(mut self) -> Result<Split> {
        if !self.state.is_handshake_finished() {
            return Err(Refusal::BadProof.into());
        }
        let hash = self.state.get_handshake_hash().try_into().map_err(|_| Refusal::BadProof)?;
        let (mut first, mut second) = self.state.dangerously_get_raw_split();
        let (ours, theirs) = if self.initiator { (&first, &second) } else { (&second, &first) };
        let split = Split { hash, send: CipherHalf::new(ours), receive: CipherHalf::new(theirs) };
        first.zeroize();
        second.zeroize();
        Ok(split)
    }
}

/// Nothing that a peer sent is told apart here: whatever fails, it has not proven itself.
fn bad_proof(_: snow::Error) -> Error {
    Refusal::BadProof.into()
}

struct Resolver {
    rng: RefCell<Rng>,
    known: KeyPair,
}

/// A private key and the public key that belongs to it.
type KeyPair = (Zeroizing<[u8; KEY_BYTES]>, [u8; KEY_BYTES]);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Randomness(self.rng.borrow_mut().fork())))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(Curve::new(self.known.clone())) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::new(Hashing::default()) as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly).then(|| Box::new(Sealing::default()) as Box<dyn Cipher>)
    }
}

struct Randomness(Rng);

impl Random for Randomness {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> std::result::Result<(), snow::Error> {
        self.0.fill(dest);
        Ok(())
    }
}

/// X25519 that takes canonical keys only and refuses a result of zero.
struct Curve {
    secret: Zeroizing<[u8; KEY_BYTES]>,
    public: [u8; KEY_BYTES],
    /// Our static key, whose public half is not worked out again at every handshake.
    known: KeyPair,
}

impl Curve {
    fn new(known: KeyPair) -> Curve {
        Curve { secret: Zeroizing::default(), public: [0; KEY_BYTES], known }
    }
}

impl Dh for Curve {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_BYTES
    }

    fn priv_len(&self) -> usize {
        KEY_BYTES
    }

    fn set(&mut self, secret: &[u8]) {
        if let Ok(secret) = secret.try_into() {
            self.secret = Zeroizing::new(secret);
            let (known, public) = &self.known;
            let is_known = bool::from(known.ct_eq(&secret));
            self.public = if is_known { *public } else { SecretKey::from_bytes(secret).public() };
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> std::result::Result<(), snow::Error> {
        let mut secret = Zeroizing::new([0; KEY_BYTES]);
        rng.try_fill_bytes(&mut *secret)?;
        self.set(&*secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.secret
    }

    fn dh(&self, peer: &[u8], out: &mut [u8]) -> std::result::Result<(), snow::Error> {
        // The library hands in a buffer with room for longer keys.
        let peer = peer.first_chunk().ok_or(snow::Error::Dh)?;
        let peer = PublicKey::from_bytes(*peer).map_err(|_| snow::Error::Dh)?;
        let shared = SecretKey::from_bytes(*self.secret).agree(&peer).map_err(|_| snow::Error::Dh)?;
        out.first_chunk_mut().ok_or(snow::Error::Dh).map(|out| *out = *shared)
    }
}

#[derive(Default)]
struct Hashing(Sha256);

impl Hash for Hashing {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let hash = self.0.finalize_reset();
        if let Some(out) = out.get_mut(..hash.len()) {
            out.copy_from_slice(&hash);
        }
    }
}

/// ChaCha20-Poly1305 as the library wants it, for the handshake alone; afterwards [`CipherHalf`] takes over.
#[derive(Default)]
struct Sealing {
    key: Zeroizing<[u8; KEY_BYTES]>,
}

impl Sealing {
    fn seal(&self, nonce: u64, authtext: &[u8], plain: &[u8], out: &mut [u8]) -> Option<usize> {
        let (sealed, rest) = out.split_at_mut_checked(plain.len())?;
        sealed.copy_from_slice(plain);
        let tag = ciphers::seal(&self.key, noise_nonce(nonce), authtext, sealed).ok()?;
        *rest.first_chunk_mut()? = tag;
        Some(plain.len() + TAG_BYTES)
    }

    fn open(&self, nonce: u64, authtext: &[u8], sealed: &[u8], out: &mut [u8]) -> Option<usize> {
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let plain = ciphers::open(&self.key, noise_nonce(nonce), authtext, &mut bytes).ok()?;
        out.get_mut(..plain.len())?.copy_from_slice(plain);
        Some(plain.len())
    }
}

impl Cipher for Sealing {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; KEY_BYTES]) {
        *self.key = *key;
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        // The library sizes the buffer, and a handshake message is far below the cipher's limit: it cannot fail. If it did,
        // an empty message is what the other side refuses.
        self.seal(nonce, authtext, plaintext, out).unwrap_or(0)
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> std::result::Result<usize, snow::Error> {
        self.open(nonce, authtext, ciphertext, out).ok_or(snow::Error::Decrypt)
    }
}

#[cfg(test)]
impl Noise {
    /// The library's own transport, to compare with.
    pub(super) fn into_library(self) -> snow::TransportState {
        self.state.into_transport_mode().unwrap()
    }
}
