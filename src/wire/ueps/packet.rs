//! What a UEPS packet is made of, the key that signs it, and how it is written.

use crate::base::{Error, Result};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use std::fmt;
use zeroize::Zeroizing;

/// The longest payload, bytes: its length is two bytes on the wire.
pub const PAYLOAD_BYTES_MAX: usize = 65_535;

/// What a packet takes beside its payload, bytes: 21 of header, 35 of HMAC, 3 in front of the payload.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + 3 + HMAC_BYTES + 3;

pub(super) const TAG_VERSION: u8 = 0x01;
pub(super) const TAG_CURRENT_LAYER: u8 = 0x02;
pub(super) const TAG_TARGET_LAYER: u8 = 0x03;
pub(super) const TAG_INTENT: u8 = 0x04;
pub(super) const TAG_THREAT: u8 = 0x05;
pub(super) const TAG_HMAC: u8 = 0x06;
pub(super) const TAG_PAYLOAD: u8 = 0xFF;
pub(super) const HMAC_BYTES: usize = 32;

/// The header's five TLVs, as [`encode`] writes them.
const HEADER_BYTES: usize = 21;
const LINK_LABEL: &[u8] = b"rigmesh-ueps-1\0";
/// What the key of answers is derived with.
const ANSWER_LABEL: &[u8] = b"rigmesh-ueps-answer-1\0";
const HMAC_BLOCK_BYTES: usize = 64;

/// The intents that have a meaning of their own. Every other byte may be used as well.
pub mod intent {
    /// Who are you? A node answers with its id and versions.
    pub const HANDSHAKE: u8 = 0x01;
    /// A request for work.
    pub const COMPUTE: u8 = 0x20;
    /// Pause execution.
    pub const REHAB: u8 = 0x30;
    /// Whatever the embedder makes of it.
    pub const CUSTOM: u8 = 0xFF;
}

/// The named intents and their names.
pub const INTENTS: [(u8, &str); 4] = [
    (intent::HANDSHAKE, "handshake"),
    (intent::COMPUTE, "compute"),
    (intent::REHAB, "rehab"),
    (intent::CUSTOM, "custom"),
];

/// The name of an intent that has one.
pub fn intent_name(intent: u8) -> Option<&'static str> {
    INTENTS.iter().find(|(value, _)| *value == intent).map(|(_, name)| *name)
}

/// What stands in a packet in front of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version of the protocol; 9 unless said otherwise.
    pub version: u8,
    /// Layer the packet comes from; 5 unless said otherwise.
    pub current_layer: u8,
    /// Layer it is meant for; 5 unless said otherwise.
    pub target_layer: u8,
    /// What is wanted: see [`intent`].
    pub intent: u8,
    /// How dangerous the sender says it is, 0 to 65,535. Above 50,000 a dispatcher refuses it.
    pub threat_score: u16,
}

impl Header {
    /// Version 9, layers 5 and 5, no threat.
    pub const fn new(intent: u8) -> Header {
        Header { version: 9, current_layer: 5, target_layer: 5, intent, threat_score: 0 }
    }

    /// The five TLVs in the order in which they are written and signed.
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let [high, low] = self.threat_score.to_be_bytes();
        #[rustfmt::skip]
        let bytes = [
            TAG_VERSION, 0, 1, self.version,
            TAG_CURRENT_LAYER, 0, 1, self.current_layer,
            TAG_TARGET_LAYER, 0, 1, self.target_layer,
            TAG_INTENT, 0, 1, self.intent,
            TAG_THREAT, 0, 2, high, low,
        ];
        bytes
    }
}

/// A key of packets, made ready once so that a packet costs only its own bytes. Erased when dropped, never shown.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// Any bytes, of any length: what HMAC-SHA256 takes. For pre-shared keys; 32 random bytes are right.
    pub fn from_bytes(bytes: &[u8]) -> Key {
        let mut block = Zeroizing::new([0; HMAC_BLOCK_BYTES]);
        let hashed: Zeroizing<[u8; 32]>;
        let short = if bytes.len() > HMAC_BLOCK_BYTES {
            hashed = Zeroizing::new(Sha256::digest(bytes).into());
            &*hashed
        } else {
            bytes
        };
        for (to, from) in block.iter_mut().zip(short) {
            *to = *from;
        }
        Key(Hmac::new((&*block).into()))
    }

    /// The key of packets between two RigMesh nodes: SHA-256(`rigmesh-ueps-1\0` ‖ shared secret).
    pub fn for_link(shared_secret: &[u8; 32]) -> Key {
        let derived: [u8; 32] = Sha256::new().chain_update(LINK_LABEL).chain_update(shared_secret).finalize().into();
        Key::from_bytes(&*Zeroizing::new(derived))
    }

    /// The bare shared secret of a mesh link as key, as a Go embedder uses it. **Anyone can then forge packets**: the
    /// mesh handshake answers HMAC(shared secret, challenge) to every stranger who asks, and a packet's signed bytes
    /// make a fine challenge. Only for a peer that can do nothing else, and never for an intent that changes anything.
    pub fn forgeable_from_shared_secret(shared_secret: &[u8; 32]) -> Key {
        Key::from_bytes(shared_secret)
    }

    /// The key of answers on a plain stream: HMAC(this key, `rigmesh-ueps-answer-1\0`). A packet cannot be sent back to
    /// who sent it and pass as a packet of the other side.
    pub fn for_answers(&self) -> Key {
        Key::from_bytes(&*Zeroizing::new(self.hmac(ANSWER_LABEL)))
    }

    /// HMAC-SHA256 of any bytes under this key: the function that signs packets.
    pub fn hmac(&self, bytes: &[u8]) -> [u8; HMAC_BYTES] {
        self.mac([bytes, &[], &[]]).finalize().into_bytes().into()
    }

    /// HMAC over the pieces, one after the other, not yet finished.
    pub(super) fn mac(&self, pieces: [&[u8]; 3]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for piece in pieces {
            mac.update(piece);
        }
        mac
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The length of a packet with a payload of that many bytes.
///
/// # Errors
/// [`Error::Malformed`] above [`PAYLOAD_BYTES_MAX`].
pub fn encoded_len(payload_bytes: usize) -> Result<usize> {
    payload_length(payload_bytes).map(|length| OVERHEAD_BYTES + usize::from(length))
}

/// Writes a packet to the beginning of `out` and returns its length. Allocates nothing.
///
/// # Errors
/// [`Error::Malformed`] for a payload above [`PAYLOAD_BYTES_MAX`], [`Error::Failed`] when `out` is shorter than
/// [`encoded_len`]; nothing is written then.
pub fn encode(header: &Header, payload: &[u8], key: &Key, out: &mut [u8]) -> Result<usize> {
    let length = payload_length(payload.len())?;
    let whole = OVERHEAD_BYTES + payload.len();
    if let Some(out) = out.get_mut(..whole)
        && let Some((head, rest)) = out.split_first_chunk_mut::<OVERHEAD_BYTES>()
    {
        *head = front(header, payload, length, key);
        rest.copy_from_slice(payload);
        return Ok(whole);
    }
    Err(Error::Failed(format!("a buffer of {} bytes for a packet of {whole}", out.len())))
}

/// Appends a packet to `out`, which grows when it must.
///
/// # Errors
/// [`Error::Malformed`] for a payload above [`PAYLOAD_BYTES_MAX`]; nothing is written then.
pub fn encode_to(header: &Header, payload: &[u8], key: &Key, out: &mut Vec<u8>) -> Result<()> {
    let length = payload_length(payload.len())?;
    out.reserve(OVERHEAD_BYTES + payload.len());
    out.extend_from_slice(&front(header, payload, length, key));
    out.extend_from_slice(payload);
    Ok(())
}

fn payload_length(bytes: usize) -> Result<u16> {
    u16::try_from(bytes).map_err(|_| {
        Error::malformed("UEPS packet", format!("a payload of {bytes} bytes, {PAYLOAD_BYTES_MAX} is the most"))
    })
}

/// Everything in front of the payload's bytes.
fn front(header: &Header, payload: &[u8], length: u16, key: &Key) -> [u8; OVERHEAD_BYTES] {
    let header = header.to_bytes();
    let mac: [u8; HMAC_BYTES] = key.mac([&header, payload, b""]).finalize().into_bytes().into();
    let [high, low] = length.to_be_bytes();
    let pieces = header.into_iter().chain([TAG_HMAC, 0, 32]).chain(mac).chain([TAG_PAYLOAD, high, low]);
    let mut front = [0; OVERHEAD_BYTES];
    for (to, from) in front.iter_mut().zip(pieces) {
        *to = from;
    }
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_written_whole_or_not_at_all() {
        let (header, key) = (Header::new(intent::COMPUTE), Key::from_bytes(b"k"));
        let mut out = [0xEE; 100];
        for room in 0..OVERHEAD_BYTES + 5 {
            assert!(encode(&header, b"hello", &key, &mut out[..room]).is_err());
            assert_eq!(out, [0xEE; 100], "{room}");
        }
        assert_eq!(encode(&header, b"hello", &key, &mut out).unwrap(), encoded_len(5).unwrap());
        assert_eq!((&out[59..64], out[64]), (&b"hello"[..], 0xEE));
        let mut vec = b"kept".to_vec();
        encode_to(&header, b"hello", &key, &mut vec).unwrap();
        assert_eq!((&vec[..4], &vec[4..]), (&b"kept"[..], &out[..64]));
        let long = vec![0; PAYLOAD_BYTES_MAX + 1];
        assert!(encode_to(&header, &long, &key, &mut vec).is_err() && vec.len() == 68);
        assert!(encoded_len(PAYLOAD_BYTES_MAX).is_ok() && encoded_len(usize::MAX).is_err());
    }

    #[test]
    fn a_packet_forged_with_the_handshake_as_oracle_passes_under_the_bare_secret_only() {
        use super::super::read::{Reading, decode};
        use crate::identity::{SharedSecret, sign_challenge};
        // With a payload of eleven bytes the signed bytes are as long as a challenge must be.
        let (secret, payload) = ([7; 32], b"eleven byte");
        let signed = [&Header::new(intent::REHAB).to_bytes()[..], payload].concat();
        let answer = sign_challenge(&signed, &SharedSecret::from_bytes(secret));
        let mut forged = Vec::new();
        encode_to(&Header::new(intent::REHAB), payload, &Key::from_bytes(b"anything"), &mut forged).unwrap();
        forged[HEADER_BYTES + 3..HEADER_BYTES + 3 + HMAC_BYTES].copy_from_slice(&answer);
        let frame = decode(&forged, Reading::Strict).unwrap().0;
        assert!(signed.len() == 32 && frame.verify(&Key::forgeable_from_shared_secret(&secret)).is_ok());
        assert!(frame.verify(&Key::for_link(&secret)).is_err());
    }

    #[test]
    fn a_links_key_is_neither_the_secret_nor_what_the_handshake_answers() {
        let secret = [7; 32];
        let sign = |key: &Key| front(&Header::new(1), b"", 0, key);
        // What a stranger learns by offering the label as a challenge.
        let answered = Key::from_bytes(&secret).mac([LINK_LABEL, b"", b""]).finalize().into_bytes();
        let keys = [Key::for_link(&secret), Key::from_bytes(&secret), Key::from_bytes(&answered)];
        assert!(sign(&keys[0]) != sign(&keys[1]) && sign(&keys[0]) != sign(&keys[2]));
        assert_eq!(sign(&keys[1]), sign(&Key::forgeable_from_shared_secret(&secret)));
        let by_hand: [u8; 32] = Sha256::digest([&b"rigmesh-ueps-1\0"[..], &secret].concat()).into();
        assert_eq!(sign(&keys[0]), sign(&Key::from_bytes(&by_hand)));
        assert_eq!(format!("{:?}", keys[0]), "Key(..)");
    }
}
