//! The 1.0 handshake, both roles (mesh.md §3 and §8): two clear messages that state identities
//! and prove that the *responder* holds its key. The initiator is proven later, see
//! [`super::Dialogue`].
//!
//! Order of checks on the responder: JSON, type, payload, version, form of the key, our own key,
//! id of the key, allowlist, length of the challenge, a challenge of our own; and only then the
//! curve. Where a Go node answers with a reason we do; where it hangs up we hang up.

use super::Challenges;
use crate::base::{Error, Now, Refusal, Result, Rng};
use crate::formats::smsg::LinkKey;
use crate::identity::{
    CHALLENGE_BYTES, Identity, NodeId, NodeIdentity, PublicKey, SharedSecret, sign_challenge, verify_challenge,
};
use crate::message::{
    Handshake, HandshakeAck, Message, MessageType, PROTOCOL_VERSION, Payload, SUPPORTED_PROTOCOL_VERSIONS,
    is_protocol_version_supported,
};
use crate::wire::ueps;
use serde::Deserialize;

/// A handshake message may be this long; a longer one is closed with code 1009. The Go node
/// takes 1 MiB here.
pub const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// Which side of a connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// We dialled.
    Initiator,
    /// We accepted.
    Responder,
}

/// Whom we mean to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Whoever answers: only for learning a key that a person then confirms.
    Anyone,
    /// The holder of this key.
    Key(PublicKey),
    /// The node with this id.
    Id(NodeId),
}

impl Expect {
    fn check(self, key: &PublicKey) -> Result<()> {
        let wrong = |expected: String| Err(Error::WrongKey { expected, got: key.node_id().to_string() });
        match self {
            Expect::Key(k) if k != *key => wrong(k.node_id().to_string()),
            Expect::Id(id) if id != key.node_id() => wrong(id.to_string()),
            _ => Ok(()),
        }
    }

    fn id_text(self) -> String {
        match self {
            Expect::Anyone => String::new(),
            Expect::Key(key) => key.node_id().to_string(),
            Expect::Id(id) => id.to_string(),
        }
    }
}

/// What a completed handshake gives.
#[derive(Clone, Debug)]
pub struct Established {
    /// Our side.
    pub side: Side,
    /// What the peer says of itself; its id and key are checked against each other.
    pub identity: NodeIdentity,
    /// The peer's key.
    pub key: PublicKey,
    /// The hash of the key.
    pub id: NodeId,
    /// The key that seals frames both ways.
    pub link_key: LinkKey,
    /// The key of UEPS packets both ways.
    pub ueps_key: ueps::Key,
}

/// A dial that waits for the answer.
#[derive(Debug)]
pub struct Initiator {
    challenge: [u8; CHALLENGE_BYTES],
    expect: Expect,
}

impl Initiator {
    /// Begins: the state and the text of the first message.
    pub fn start(
        local: &Identity,
        expect: Expect,
        now: Now,
        rng: &mut Rng,
        challenges: &mut Challenges,
    ) -> (Initiator, Vec<u8>) {
        let challenge = challenges.issue(now.mono, rng);
        let payload = Payload::Handshake(Handshake {
            identity: local.info().clone(),
            challenge: challenge.to_vec(),
            version: PROTOCOL_VERSION.to_owned(),
        });
        let message = Message::new(now, rng, &local.id().to_string(), &expect.id_text(), &payload);
        let mut text = Vec::new();
        message.encode_into(&mut text);
        (Initiator { challenge, expect }, text)
    }

    /// Takes the answer. Nothing is kept of a peer that fails any check.
    pub fn handle_ack(self, local: &Identity, bytes: &[u8]) -> Result<Established> {
        let message = Message::decode(bytes)?;
        if message.kind != MessageType::HandshakeAck {
            return Err(Error::malformed("handshake ack", format!("got a message of type {}", message.kind.as_str())));
        }
        let ack: HandshakeAck = message.parse()?;
        if !ack.accepted {
            return Err(Refusal::Handshake(ack.reason).into());
        }
        let key = ack.identity.checked_key()?;
        if key == local.public_key() {
            return Err(Refusal::OwnKey.into());
        }
        self.expect.check(&key)?;
        let secret = local.secret().shared_secret(&key)?;
        if !verify_challenge(&self.challenge, &ack.challenge_response, &secret) {
            let detail = "the challenge response is absent or wrong: the peer does not hold the key it shows";
            return Err(Error::malformed("handshake ack", detail));
        }
        Ok(established(Side::Initiator, ack.identity, key, &secret))
    }
}

/// What the responder does with a first message.
#[derive(Debug)]
pub enum Responded {
    /// Send the ack; the connection stands (its initiator still unproven).
    Accept {
        /// The text to send.
        ack: Vec<u8>,
        /// What was established.
        established: Box<Established>,
    },
    /// Send the ack (accepted = false), then close.
    Reject {
        /// The text to send.
        ack: Vec<u8>,
        /// The reason stated in it.
        reason: String,
    },
    /// Close without a word.
    Close(Error),
}

/// The part of a first message that is judged before its identity is.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Version {
    version: String,
}

/// Answers a first message. `admit` says whether a key may connect; it is asked before any curve
/// work is done.
pub fn respond(
    local: &Identity,
    bytes: &[u8],
    admit: impl FnOnce(&PublicKey) -> std::result::Result<(), Refusal>,
    now: Now,
    rng: &mut Rng,
    challenges: &mut Challenges,
) -> Responded {
    let message = match Message::decode(bytes) {
        Ok(message) if message.kind == MessageType::Handshake => message,
        Ok(message) => {
            return Responded::Close(Error::malformed(
                "handshake",
                format!("the first message has type {}", message.kind.as_str()),
            ));
        }
        Err(e) => return Responded::Close(e),
    };
    let mut ack = |to: &str, accepted: bool, reason: String, response: Vec<u8>| {
        let payload = Payload::HandshakeAck(HandshakeAck {
            identity: local.info().clone(),
            challenge_response: response,
            accepted,
            reason,
        });
        let mut text = Vec::new();
        Message::new(now, rng, &local.id().to_string(), to, &payload).encode_into(&mut text);
        text
    };
    let mut reject =
        |to: &str, reason: String| Responded::Reject { ack: ack(to, false, reason.clone(), Vec::new()), reason };

    let version = match message.parse::<Option<Version>>() {
        Ok(v) => v.unwrap_or_default().version,
        Err(e) => return Responded::Close(e),
    };
    if !is_protocol_version_supported(&version) {
        let supported = SUPPORTED_PROTOCOL_VERSIONS.join(" ");
        let shown: String = version.chars().take(64).collect();
        return reject(&message.from, format!("incompatible protocol version {shown}, supported: [{supported}]"));
    }
    let offer: Handshake = match message.parse() {
        Ok(offer) => offer,
        Err(e) => return Responded::Close(e),
    };
    let key = match PublicKey::from_base64(&offer.identity.public_key) {
        Ok(key) => key,
        Err(e) => return Responded::Close(e),
    };
    if key == local.public_key() {
        return reject(&offer.identity.id, "the initiator shows the responder's own key".to_owned());
    }
    if offer.identity.checked_key().is_err() {
        return reject(&offer.identity.id, "node id does not belong to the key".to_owned());
    }
    if let Err(why) = admit(&key) {
        return reject(&offer.identity.id, why.to_string());
    }
    let challenge = offer.challenge.as_slice();
    if !challenge.is_empty() {
        if challenge.len() != CHALLENGE_BYTES {
            return reject(&offer.identity.id, format!("the challenge must have {CHALLENGE_BYTES} bytes"));
        }
        if challenges.is_ours(now.mono, challenge) {
            return Responded::Close(Error::malformed("handshake", "the challenge is one of our own, reflected"));
        }
    }
    let secret = match local.secret().shared_secret(&key) {
        Ok(secret) => secret,
        Err(e) => return Responded::Close(e),
    };
    // The Go node always sends a challenge; without one there is nothing to sign.
    let response = if challenge.is_empty() { Vec::new() } else { sign_challenge(challenge, &secret).to_vec() };
    let ack = ack(&offer.identity.id, true, String::new(), response);
    Responded::Accept { ack, established: Box::new(established(Side::Responder, offer.identity, key, &secret)) }
}

fn established(side: Side, identity: NodeIdentity, key: PublicKey, secret: &SharedSecret) -> Established {
    let (link_key, ueps_key) = (LinkKey::from_secret(secret.as_bytes()), ueps::Key::for_link(secret.as_bytes()));
    Established { side, identity, key, id: key.node_id(), link_key, ueps_key }
}
