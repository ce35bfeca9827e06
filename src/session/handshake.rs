//! The 1.0 handshake, both roles (mesh.md §3 and §8): two clear messages that state identities
//! and prove that the *responder* holds its key. The initiator is proven later, see
//! [`super::Dialogue`].
//!
//! Order of checks on the responder: JSON, type, payload, version, form of the key, our own key,
//! id of the key, allowlist, length of the challenge, a challenge of our own; and only then the
//! curve. Where a Go node answers with a reason we do; where it hangs up we hang up.
//!
//! Inside the same messages RigMesh nodes agree on a secure session (secure-session.md §1): [`Security`] says what this
//! node offers and asks for. Then a third message follows, which proves the initiator.

use super::Challenges;
use super::inbound::Takes;
use super::pairing::Joining;
use super::secure::{self, Bound, CHALLENGE_ENDING, CipherHalf, Psk, Session, Statement, VERSION, hash_of};
use crate::base::{Error, Now, Refusal, Result, Rng};
use crate::formats::smsg::LinkKey;
use crate::identity::{
    CHALLENGE_BYTES, Identity, NodeId, NodeIdentity, PublicKey, SharedSecret, sign_challenge, verify_challenge,
};
use crate::message::{
    Handshake, HandshakeAck, Message, MessageType, PROTOCOL_VERSION, Payload, RawPayload, SUPPORTED_PROTOCOL_VERSIONS,
    SecureAnswer, SecureOffer, is_protocol_version_supported,
};
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
    /// The holder of a known key, or of the key that it has named as its successor (secure-session.md §6).
    Successor {
        /// The known key.
        old: PublicKey,
        /// Its successor.
        new: PublicKey,
    },
}

impl Expect {
    fn check(self, key: &PublicKey) -> Result<()> {
        let wrong = |expected: String| Err(Error::WrongKey { expected, got: key.node_id().to_string() });
        match self {
            Expect::Key(k) if k != *key => wrong(k.node_id().to_string()),
            Expect::Id(id) if id != key.node_id() => wrong(id.to_string()),
            Expect::Successor { old, new } if ![old, new].contains(key) => wrong(old.node_id().to_string()),
            _ => Ok(()),
        }
    }

    fn id_text(self) -> String {
        match self {
            Expect::Anyone => String::new(),
            Expect::Key(key) => key.node_id().to_string(),
            Expect::Id(id) => id.to_string(),
            Expect::Successor { old, .. } => old.node_id().to_string(),
        }
    }

    /// The key that is asked for, of a node that has two.
    fn key(self) -> Option<PublicKey> {
        match self {
            Expect::Key(key) | Expect::Successor { new: key, .. } => Some(key),
            Expect::Anyone | Expect::Id(_) => None,
        }
    }
}

/// What this node offers its peers beyond 1.0, and asks of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// 1.0 and nothing else: offers are neither made nor noticed.
    Off,
    /// Secure sessions with whoever can.
    On {
        /// What this node says of itself in them.
        statement: Box<Statement>,
        /// Who cannot is refused.
        required: bool,
    },
}

impl Security {
    /// What this node takes in secure sessions besides messages.
    pub fn takes(&self) -> Takes {
        match self {
            Security::Off => Takes::default(),
            Security::On { statement, .. } => Takes::announced(&statement.caps),
        }
    }
}

/// What a key is known for, asked before any curve work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The key has the secure mark: it had a secure session once, and gets nothing less again.
    pub secure: bool,
    /// What its pairing is checked with, when it asks for one.
    pub psk: Option<Psk>,
}

/// What somebody who dialled asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A link between nodes that know each other.
    Link,
    /// To become known by a code that is shown here.
    Pair,
    /// To become known as one of many rigs that have the same code.
    Enrol,
}

/// What a completed handshake gives.
#[derive(Debug)]
pub struct Established {
    /// Our side.
    pub side: Side,
    /// What the peer says of itself; its id and key are checked against each other.
    pub identity: NodeIdentity,
    /// The peer's key.
    pub key: PublicKey,
    /// The hash of the key.
    pub id: NodeId,
    /// In a secure session, in which the peer is proven from the start.
    pub session: Option<SessionInfo>,
}

/// A secure session, without its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// The same on both sides, and never again.
    pub id: [u8; 32],
    /// What the peer says of itself.
    pub statement: Statement,
}

/// What seals and opens the frames of a new link.
#[derive(Debug)]
pub enum LinkKeys {
    /// Protocol 1.0: one key for both directions and for ever.
    Plain(LinkKey),
    /// A secure session.
    Secure {
        /// Seals what we send.
        send: CipherHalf,
        /// Opens what comes.
        receive: CipherHalf,
        /// The largest message the peer takes, bytes.
        peer_max: usize,
    },
}

/// A dial that was answered.
#[derive(Debug)]
pub struct Dialled {
    /// What was established.
    pub established: Box<Established>,
    /// Its keys.
    pub keys: LinkKeys,
    /// The third message of a secure handshake, to be sent before anything else, as it is.
    pub proof: Option<Vec<u8>>,
}

/// A dial that waits for the answer.
#[derive(Debug)]
pub struct Initiator {
    challenge: [u8; CHALLENGE_BYTES],
    expect: Expect,
    offer: Option<Offer>,
}

/// The offer that was made.
#[derive(Debug)]
struct Offer {
    start: secure::Start,
    /// The hash of the text that holds it.
    sent: [u8; 32],
    /// It is a pairing, in which this is asked for.
    want: Option<Vec<String>>,
}

impl Initiator {
    /// Begins: the state and the text of the first message.
    ///
    /// # Errors
    /// [`Error::Config`] for a pairing without secure sessions; none that a peer can cause.
    pub fn start(
        local: &Identity,
        expect: Expect,
        security: &Security,
        joining: Option<&Joining>,
        now: Now,
        rng: &mut Rng,
        challenges: &mut Challenges,
    ) -> Result<(Initiator, Vec<u8>)> {
        let offers = matches!(security, Security::On { .. });
        if joining.is_some() && !offers {
            return Err(Error::Config("pairing takes secure sessions, and `secure` is off here".to_owned()));
        }
        let challenge = challenges.issue(now.mono, offers, rng);
        let offer = match offers {
            true => {
                let key = local.public_key();
                let bound = Bound { initiator: &key, challenge: &challenge, psk: joining.map(|joining| &joining.psk) };
                let (start, first) = secure::Start::new(local, &bound, rng)?;
                let enrol = joining.is_some_and(|joining| joining.enrol);
                let offer =
                    SecureOffer { v: vec![VERSION], pair: joining.is_some(), enrol, to: expect.key(), m: first };
                Some((start, RawPayload::from_value(&offer)?))
            }
            false => None,
        };
        let (start, offer) = offer.unzip();
        let payload = Payload::Handshake(Handshake {
            identity: local.info().clone(),
            challenge: challenge.to_vec(),
            version: PROTOCOL_VERSION.to_owned(),
            secure: offer,
        });
        let message = Message::new(now, rng, &local.id().to_string(), &expect.id_text(), &payload);
        let mut text = Vec::new();
        message.encode_into(&mut text);
        let want = joining.map(|joining| joining.want.clone());
        let offer = start.map(|start| Offer { start, sent: hash_of(&text), want });
        Ok((Initiator { challenge, expect, offer }, text))
    }

    /// Takes the answer. Nothing is kept of a peer that fails any check. `known` is asked what is known of the key that the
    /// peer shows.
    ///
    /// # Errors
    /// What was wrong; [`Refusal::Downgrade`] when the peer would have been content with less than it must be.
    pub fn handle_ack(
        self,
        local: &Identity,
        security: &Security,
        bytes: &[u8],
        known: impl FnOnce(&PublicKey) -> Known,
    ) -> Result<Dialled> {
        let message = Message::decode(bytes)?;
        if message.kind != MessageType::HandshakeAck {
            return Err(Error::malformed("handshake ack", format!("got a message of type {}", message.kind.as_str())));
        }
        let ack: HandshakeAck = message.parse()?;
        if !ack.accepted {
            // Anybody could have written that: nothing is concluded from it, and nothing less is tried.
            let pairs = self.offer.is_some_and(|offer| offer.want.is_some());
            let why = if pairs { Refusal::Pairing(ack.reason.into()) } else { Refusal::Handshake(ack.reason) };
            return Err(why.into());
        }
        let key = ack.identity.checked_key()?;
        if key == local.public_key() {
            return Err(Refusal::OwnKey.into());
        }
        self.expect.check(&key)?;
        let pairs = self.offer.as_ref().is_some_and(|offer| offer.want.is_some());
        if let (Some(offer), Security::On { statement, .. }, Some(answer)) = (self.offer, security, &ack.secure) {
            let answer: SecureAnswer = answer.parse()?;
            if answer.v != VERSION || answer.pair != pairs {
                return Err(Error::malformed("handshake ack", "it answers another offer than was made"));
            }
            let own = statement.asking(offer.want.unwrap_or_default());
            let (session, proof) = offer.start.finish(&answer.m, &offer.sent, bytes, &key, &own)?;
            let (established, keys) = proven(Side::Initiator, session);
            return Ok(Dialled { established, keys, proof: Some(proof) });
        }
        let required = matches!(security, Security::On { required: true, .. });
        if pairs || required || known(&key).secure {
            let why = if pairs {
                "pairing takes a secure session"
            } else if required {
                "this node requires secure sessions"
            } else {
                "this peer had a secure session before"
            };
            return Err(Refusal::Downgrade(format!("the peer answers with protocol 1.0 only, and {why}")).into());
        }
        let secret = local.shared_secret(&key)?;
        if !verify_challenge(&self.challenge, &ack.challenge_response, &secret) {
            let detail = "the challenge response is absent or wrong: the peer does not hold the key it shows";
            return Err(Error::malformed("handshake ack", detail));
        }
        let (established, keys) = plain(Side::Initiator, ack.identity, key, &secret);
        Ok(Dialled { established, keys, proof: None })
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
        /// Its keys.
        keys: LinkKeys,
    },
    /// Send the ack, then wait for one binary message, and send nothing before it is taken.
    Await {
        /// The text to send.
        ack: Vec<u8>,
        /// Takes that message.
        half_open: Box<HalfOpen>,
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

/// A secure session whose initiator has still to prove itself.
#[derive(Debug)]
pub struct HalfOpen {
    answer: secure::Answer,
    ack: [u8; 32],
    asked: Asked,
}

impl HalfOpen {
    /// What the session is for.
    pub fn asked(&self) -> Asked {
        self.asked
    }

    /// Takes the third message. Whatever goes wrong, the connection closes without a word.
    ///
    /// # Errors
    /// [`Refusal::BadProof`], [`Error::WrongKey`], or what is wrong with the peer's statement.
    pub fn handle_proof(self, bytes: &[u8]) -> Result<(Box<Established>, LinkKeys)> {
        let session = self.answer.finish(bytes, &self.ack)?;
        Ok(proven(Side::Responder, session))
    }
}

/// The key that the sender of a first message means to reach, when it says so.
pub fn addressed_to(first: &[u8]) -> Option<PublicKey> {
    let offer: Handshake = Message::decode(first).ok()?.parse().ok()?;
    offer.secure?.parse::<SecureOffer>().ok()?.to
}

/// The part of a first message that is judged before its identity is.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Version {
    version: String,
}

/// Answers a first message. `admit` says whether a key may have what it asks for and what is known of it; it is asked
/// before any curve work is done.
pub fn respond(
    local: &Identity,
    security: &Security,
    bytes: &[u8],
    admit: impl FnOnce(&PublicKey, Asked) -> std::result::Result<Known, Refusal>,
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
    let ack = |rng: &mut Rng, to: &str, said: HandshakeAck| {
        let payload = Payload::HandshakeAck(HandshakeAck { identity: local.info().clone(), ..said });
        let mut text = Vec::new();
        Message::new(now, rng, &local.id().to_string(), to, &payload).encode_into(&mut text);
        text
    };
    let mut reject = |to: &str, reason: String| {
        let said = HandshakeAck { reason: reason.clone(), ..HandshakeAck::default() };
        Responded::Reject { ack: ack(rng, to, said), reason }
    };

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
    let asked = asked(security, &offer);
    let known = match admit(&key, asked) {
        Ok(known) => known,
        Err(why) => return reject(&offer.identity.id, why.to_string()),
    };
    let challenge = offer.challenge.as_slice();
    if !challenge.is_empty() {
        if challenge.len() != CHALLENGE_BYTES {
            return reject(&offer.identity.id, format!("the challenge must have {CHALLENGE_BYTES} bytes"));
        }
        if challenges.is_ours(now.mono, challenge) {
            return Responded::Close(Error::malformed("handshake", "the challenge is one of our own, reflected"));
        }
    }
    let first = match agree(security, &offer, &known) {
        Ok(first) => first,
        Err(reason) => return reject(&offer.identity.id, reason.to_owned()),
    };
    let accepted = HandshakeAck { accepted: true, ..HandshakeAck::default() };
    if let Some(SecureStep { first, challenge, statement }) = first {
        let (pair, psk) = (asked != Asked::Link, known.psk.as_ref());
        if pair != psk.is_some() {
            return reject(&offer.identity.id, Refusal::pairing("not pairing").to_string());
        }
        let bound = Bound { initiator: &key, challenge: &challenge, psk };
        let answered =
            secure::Answer::new(local, &bound, &first, bytes, statement, rng).and_then(|(answer, second)| {
                RawPayload::from_value(&SecureAnswer { v: VERSION, pair, m: second }).map(|second| (answer, second))
            });
        return match answered {
            Ok((answer, second)) => {
                let ack = ack(rng, &offer.identity.id, HandshakeAck { secure: Some(second), ..accepted });
                let half_open = Box::new(HalfOpen { answer, ack: hash_of(&ack), asked });
                Responded::Await { ack, half_open }
            }
            Err(e) => Responded::Close(e),
        };
    }
    let secret = match local.shared_secret(&key) {
        Ok(secret) => secret,
        Err(e) => return Responded::Close(e),
    };
    // The Go node always sends a challenge; without one there is nothing to sign.
    let response = if challenge.is_empty() { Vec::new() } else { sign_challenge(challenge, &secret).to_vec() };
    let ack = ack(rng, &offer.identity.id, HandshakeAck { challenge_response: response, ..accepted });
    let (established, keys) = plain(Side::Responder, offer.identity, key, &secret);
    Responded::Accept { ack, established, keys }
}

/// What the first step of a secure handshake is answered with.
struct SecureStep<'a> {
    first: Vec<u8>,
    challenge: [u8; CHALLENGE_BYTES],
    statement: &'a Statement,
}

/// What a first message asks for. Where secure sessions are off, offers are not noticed.
fn asked(security: &Security, offer: &Handshake) -> Asked {
    let offered = offer.secure.as_ref().filter(|_| *security != Security::Off);
    match offered.and_then(|offered| offered.parse().ok()) {
        Some(SecureOffer { pair: true, enrol: false, .. }) => Asked::Pair,
        Some(SecureOffer { pair: true, enrol: true, .. }) => Asked::Enrol,
        _ => Asked::Link,
    }
}

/// Whether it becomes a secure session, 1.0 (`None`), or nothing for the reason given (secure-session.md §1).
fn agree<'a>(
    security: &'a Security,
    offer: &Handshake,
    known: &Known,
) -> std::result::Result<Option<SecureStep<'a>>, &'static str> {
    let Security::On { statement, required } = security else { return Ok(None) };
    let Some(offered) = &offer.secure else {
        return if offer.challenge.ends_with(&CHALLENGE_ENDING) {
            Err("secure offer was removed")
        } else if *required || known.secure {
            Err("secure session required")
        } else {
            Ok(None)
        };
    };
    let challenge =
        offer.challenge.as_slice().try_into().ok().filter(|c: &[u8; CHALLENGE_BYTES]| c.ends_with(&CHALLENGE_ENDING));
    match (offered.parse::<SecureOffer>(), challenge) {
        (Ok(offered), _) if !offered.v.contains(&VERSION) => Err("no common secure version, supported: [1]"),
        (Ok(offered), Some(challenge)) => Ok(Some(SecureStep { first: offered.m, challenge, statement })),
        _ => Err("bad secure offer"),
    }
}

fn plain(side: Side, identity: NodeIdentity, key: PublicKey, secret: &SharedSecret) -> (Box<Established>, LinkKeys) {
    let keys = LinkKeys::Plain(LinkKey::from_secret(secret.as_bytes()));
    (Box::new(Established { side, identity, key, id: key.node_id(), session: None }), keys)
}

/// Of what was said in clear nothing is used.
fn proven(side: Side, session: Session) -> (Box<Established>, LinkKeys) {
    let Session { id, key, peer, send, receive } = session;
    let identity = NodeIdentity {
        id: key.node_id().to_string(),
        name: peer.name.clone(),
        public_key: key.to_base64(),
        role: peer.role.clone(),
        ..NodeIdentity::default()
    };
    let keys = LinkKeys::Secure { send, receive, peer_max: peer.max };
    let session = Some(SessionInfo { id, statement: peer });
    (Box::new(Established { side, identity, key, id: key.node_id(), session }), keys)
}
