//! Laws of UEPS packets. Mutation breaks every HMAC, so the inputs are signed again first, by a walk over TLVs that
//! shares nothing with the reader.

use hmac::{Hmac, KeyInit as _, Mac as _};
use rigmesh::IntentAnswer;
use rigmesh::base::Rng;
use rigmesh::wire::ueps::{self, Defect, Deframer, Header, Key, Packet, Reading, decode};
use sha2::Sha256;

const KEY: &[u8] = b"the fuzzer's key";

/// Puts the right HMAC into every packet of a stream that has room for one.
fn sign(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let (mut at, mut hmac_at, mut signed) = (0, None, Vec::new());
    while let Some([tag, high, low]) = out.get(at..at + 3) {
        let (tag, end) = (*tag, at + 3 + usize::from(u16::from_be_bytes([*high, *low])));
        let Some(tlv) = out.get(at..end) else { break };
        match tag {
            6 => hmac_at = Some(at + 3).filter(|_| tlv.len() == 35),
            0xFF => {
                signed.extend_from_slice(&tlv[3..]);
                let mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap().chain_update(&signed).finalize().into_bytes();
                if let Some(hmac_at) = hmac_at.take() {
                    out[hmac_at..hmac_at + 32].copy_from_slice(&mac);
                }
                signed.clear();
            }
            _ => signed.extend_from_slice(tlv),
        }
        at = end;
    }
    out
}

/// A packet with that many TLVs nobody knows, between the threat score and the HMAC.
pub fn with_unknown_tlvs(count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ueps::encode_to(&Header::new(0x20), b"payload", &Key::from_bytes(KEY), &mut bytes).unwrap();
    bytes.splice(21..21, [0x10, 0, 0].repeat(count));
    sign(&bytes)
}

fn read(bytes: &[u8], reading: Reading) -> Result<(Packet<'_>, usize), Defect> {
    let (frame, rest) = decode(bytes, reading)?;
    Ok((frame.verify(&Key::from_bytes(KEY))?, bytes.len() - rest.len()))
}

/// What the strict reader takes is spelled in the one way there is; what the lenient one takes, the strict one takes
/// after it was written anew; unsigned bytes are never taken.
pub fn packet(bytes: &[u8]) -> bool {
    assert!(read(bytes, Reading::Lenient).is_err() || sign(bytes) == bytes, "accepted without the key");
    let bytes = sign(bytes);
    let (strict, lenient) = (read(&bytes, Reading::Strict), read(&bytes, Reading::Lenient));
    let Ok((packet, length)) = lenient else {
        assert!(strict.is_err(), "stricter when lenient");
        return false;
    };
    let mut canonical = Vec::new();
    ueps::encode_to(packet.header(), packet.payload(), &Key::from_bytes(KEY), &mut canonical).unwrap();
    let (again, whole) = read(&canonical, Reading::Strict).unwrap();
    assert_eq!((again.header(), again.payload(), whole), (packet.header(), packet.payload(), canonical.len()));
    assert!(canonical.len() <= length && length <= bytes.len());
    match strict {
        Ok(strict) => assert_eq!((strict, &canonical[..]), ((packet, length), &bytes[..length])),
        Err(_) => assert_ne!(canonical, bytes[..length]),
    }
    true
}

/// Any cut of a stream gives the same packets and the same end, and no more memory than a small multiple of what came.
pub fn stream(bytes: &[u8]) -> bool {
    let bytes = sign(bytes);
    let mut accepted = false;
    for reading in [Reading::Strict, Reading::Lenient] {
        let whole = cut(&bytes, reading, || usize::MAX);
        let mut rng = Rng::from_number(bytes.len() as u64);
        assert_eq!(cut(&bytes, reading, || 1), whole);
        assert_eq!(cut(&bytes, reading, || 1 + rng.below(100) as usize), whole);
        accepted |= whole.0.iter().any(Result::is_ok);
    }
    accepted
}

type Read = Result<(Header, Vec<u8>), Defect>;

fn cut(bytes: &[u8], reading: Reading, mut size: impl FnMut() -> usize) -> (Vec<Read>, Result<(), Defect>) {
    let (key, mut deframer, mut packets) = (Key::from_bytes(KEY), Deframer::new(reading), Vec::new());
    let (mut rest, mut given) = (bytes, 0);
    while !rest.is_empty() {
        let (mut piece, later) = rest.split_at(size().min(rest.len()));
        (rest, given) = (later, given + piece.len());
        loop {
            match deframer.handle_bytes(&mut piece) {
                Ok(Some(frame)) => packets.push(frame.verify(&key).map(|p| (*p.header(), p.payload().to_vec()))),
                Ok(None) => break assert!(piece.is_empty()),
                Err(defect) => return (packets, Err(defect)),
            }
        }
        assert!(deframer.capacity() <= 2 * given + 64, "{} bytes held of {given}", deframer.capacity());
    }
    (packets, deframer.handle_end())
}

/// An answer is done or it is not, whatever else it says.
pub fn answer(bytes: &[u8]) -> bool {
    let Ok(answer) = IntentAnswer::decode(bytes) else { return false };
    let again = serde_json::to_vec(&answer).unwrap();
    assert_eq!(IntentAnswer::decode(&again).unwrap(), answer);
    let ok = serde_json::from_slice::<serde_json::Value>(&again).unwrap()["ok"] == true;
    assert_eq!(answer.into_result().is_ok(), ok);
    true
}
