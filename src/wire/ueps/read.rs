//! Reading a UEPS packet: one scan for slices and streams, which refuses at the first byte that is wrong.

use super::packet::{
    HMAC_BYTES, Header, Key, OVERHEAD_BYTES, TAG_CURRENT_LAYER, TAG_HMAC, TAG_INTENT, TAG_PAYLOAD, TAG_TARGET_LAYER,
    TAG_THREAT, TAG_VERSION,
};
use crate::base::Error;
use hmac::Mac as _;
use std::fmt;

/// The most TLVs in front of the payload, the HMAC's included.
pub const HEADER_TLVS_MAX: usize = 64;

/// The most bytes in front of the payload's TLV, the HMAC's included.
pub const HEADER_BYTES_MAX: usize = 4096;

/// The order in which the known TLVs are written.
const ORDER: [u8; 7] =
    [TAG_VERSION, TAG_CURRENT_LAYER, TAG_TARGET_LAYER, TAG_INTENT, TAG_THREAT, TAG_HMAC, TAG_PAYLOAD];

/// Which packets are taken. Neither reading repairs anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// The five header TLVs in their order, the HMAC, the payload; every length right; nothing else. A signed packet
    /// has then one reading.
    #[default]
    Strict,
    /// TLVs of unknown tags may stand among the others, which may stand in any order in front of the payload. Each
    /// of the five and the HMAC must be there once with its right length. **A signed packet can be cut in another place**:
    /// the beginning of its payload can be passed off as an unknown TLV, or an unknown TLV as the beginning of
    /// the payload. A handler must therefore not rely on where a payload of such a sender begins.
    Lenient,
}

/// Why bytes are not a packet.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// The bytes end inside of a packet.
    Truncated,
    /// Another tag stands where this one belongs (strict reading).
    UnexpectedTag {
        /// What stands there.
        tag: u8,
        /// What belongs there.
        expected: u8,
    },
    /// The payload begins and this header TLV was not there.
    MissingHeader(u8),
    /// A TLV that may stand there once stands there again.
    Repeated(u8),
    /// A known TLV has another length than it must have.
    WrongLength {
        /// Its tag.
        tag: u8,
        /// Its length, bytes.
        length: u16,
    },
    /// More than [`HEADER_TLVS_MAX`] TLVs in front of the payload.
    TooManyTlvs,
    /// More than [`HEADER_BYTES_MAX`] bytes in front of the payload.
    HeaderTooLong,
    /// There is no HMAC, or an empty one.
    MissingHmac,
    /// The HMAC is not that of these bytes under this key: forged, damaged, or for somebody else.
    HmacMismatch,
    /// The packet came before.
    Replayed,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Defect::Truncated => f.write_str("unexpected end"),
            Defect::UnexpectedTag { tag, expected } => write!(f, "tag {tag:#04x} instead of {expected:#04x}"),
            Defect::MissingHeader(tag) => write!(f, "no TLV {tag:#04x} in front of the payload"),
            Defect::Repeated(tag) => write!(f, "TLV {tag:#04x} twice"),
            Defect::WrongLength { tag, length } => write!(f, "TLV {tag:#04x} of {length} bytes"),
            Defect::TooManyTlvs => write!(f, "more than {HEADER_TLVS_MAX} TLVs in front of the payload"),
            Defect::HeaderTooLong => write!(f, "more than {HEADER_BYTES_MAX} bytes in front of the payload"),
            // The texts of the facts.
            Defect::MissingHmac => f.write_str("UEPS packet missing HMAC signature"),
            Defect::HmacMismatch => f.write_str("integrity violation: HMAC mismatch (ThreatScore +100)"),
            Defect::Replayed => f.write_str("the packet was seen before"),
        }
    }
}

impl std::error::Error for Defect {}

impl From<Defect> for Error {
    fn from(defect: Defect) -> Error {
        Error::malformed("UEPS packet", defect.to_string())
    }
}

/// A packet's bytes, well-formed and not yet believed.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    header: Header,
    hmac: [u8; HMAC_BYTES],
    /// Header TLVs in front of the HMAC's and behind it.
    signed: [&'a [u8]; 2],
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The HMAC that it carries, which proves nothing until it was verified.
    pub fn stated_hmac(&self) -> &[u8; HMAC_BYTES] {
        &self.hmac
    }

    /// The packet, if it was signed with this key. Takes the same time wherever the HMAC differs.
    ///
    /// # Errors
    /// [`Defect::HmacMismatch`]. A stream of frames is still in step then; one may try another key.
    pub fn verify(&self, key: &Key) -> Result<Packet<'a>, Defect> {
        let [before, behind] = self.signed;
        let mac = key.mac([before, behind, self.payload]);
        mac.verify((&self.hmac).into()).map_err(|_| Defect::HmacMismatch)?;
        Ok(Packet { header: self.header, hmac: self.hmac, payload: self.payload })
    }
}

/// A packet whose HMAC was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    header: Header,
    hmac: [u8; HMAC_BYTES],
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Its header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its payload, at most [`super::PAYLOAD_BYTES_MAX`] bytes.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Its HMAC, by which a packet that comes again is known.
    pub fn hmac(&self) -> &[u8; 32] {
        &self.hmac
    }
}

/// A packet that keeps its payload: to be handed to another thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketBuf {
    header: Header,
    hmac: [u8; HMAC_BYTES],
    payload: Vec<u8>,
}

impl PacketBuf {
    /// It.
    pub fn packet(&self) -> Packet<'_> {
        Packet { header: self.header, hmac: self.hmac, payload: &self.payload }
    }
}

impl From<Packet<'_>> for PacketBuf {
    fn from(packet: Packet<'_>) -> PacketBuf {
        PacketBuf { header: packet.header, hmac: packet.hmac, payload: packet.payload.to_vec() }
    }
}

/// Reads the packet at the beginning of `bytes`; also returns what stands behind it.
///
/// # Errors
/// What is wrong with it; [`Defect::Truncated`] when it is not all there.
pub fn decode(bytes: &[u8], reading: Reading) -> Result<(Frame<'_>, &[u8]), Defect> {
    let mut scan = Scan::new(reading);
    match scan.advance(bytes)? {
        Step::Need(_) => Err(Defect::Truncated),
        Step::Whole(end) => Ok((scan.frame(bytes, end), bytes.get(end..).unwrap_or_default())),
    }
}

/// How far a scan came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The packet is not all there; it has at least this many bytes, which is more than were shown.
    Need(usize),
    /// The packet ends here.
    Whole(usize),
}

/// The reader's place in a packet of which more and more bytes are there.
#[derive(Debug)]
pub(super) struct Scan {
    reading: Reading,
    /// Where the next TLV begins.
    at: usize,
    /// TLVs read.
    tlvs: usize,
    /// Bit `tag` is set for each known tag that was read.
    seen: u8,
    header: Header,
    hmac: [u8; HMAC_BYTES],
    /// Where the HMAC's TLV begins.
    hmac_at: usize,
}

impl Scan {
    pub(super) fn new(reading: Reading) -> Scan {
        let (header, hmac) = (Header::new(0), [0; HMAC_BYTES]);
        Scan { reading, at: 0, tlvs: 0, seen: 0, header, hmac, hmac_at: 0 }
    }

    pub(super) fn reading(&self) -> Reading {
        self.reading
    }

    /// Goes on with the packet at the beginning of `bytes`, which are those of the last call and more. What is
    /// wrong is found at the same byte however often this is called.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<Step, Defect> {
        loop {
            // Every packet, in either reading, has at least this many bytes.
            let need = |end: usize| Ok(Step::Need(end.max(OVERHEAD_BYTES)));
            let rest = bytes.get(self.at..).unwrap_or_default();
            let Some(tag) = rest.first().copied() else { return need(self.at + 3) };
            self.check_tag(tag)?;
            let Some((&[_, high, low], rest)) = rest.split_first_chunk::<3>() else { return need(self.at + 3) };
            let length = u16::from_be_bytes([high, low]);
            let end = self.at + 3 + usize::from(length);
            if tag == TAG_PAYLOAD {
                return if bytes.len() < end { need(end) } else { Ok(Step::Whole(end)) };
            }
            check_length(tag, length)?;
            if end > HEADER_BYTES_MAX {
                return Err(Defect::HeaderTooLong);
            }
            let Some(value) = rest.get(..usize::from(length)) else { return need(end) };
            self.take(tag, value);
            (self.at, self.tlvs) = (end, self.tlvs + 1);
        }
    }

    /// Whether a TLV of this tag may come now.
    fn check_tag(&self, tag: u8) -> Result<(), Defect> {
        let seen = |known: u8| self.seen & (1 << known) != 0;
        if tag == TAG_PAYLOAD {
            if !seen(TAG_HMAC) {
                return Err(Defect::MissingHmac);
            }
            let missing = ORDER.iter().find(|known| **known < TAG_HMAC && !seen(**known));
            return missing.map_or(Ok(()), |known| Err(Defect::MissingHeader(*known)));
        }
        let expected = ORDER.get(self.tlvs).copied().unwrap_or(TAG_PAYLOAD);
        if self.reading == Reading::Strict && tag != expected {
            return Err(Defect::UnexpectedTag { tag, expected });
        }
        if self.tlvs >= HEADER_TLVS_MAX {
            return Err(Defect::TooManyTlvs);
        }
        if is_known(tag) && seen(tag) { Err(Defect::Repeated(tag)) } else { Ok(()) }
    }

    /// A TLV whose tag and length are right.
    fn take(&mut self, tag: u8, value: &[u8]) {
        match (tag, value) {
            (TAG_VERSION, [v]) => self.header.version = *v,
            (TAG_CURRENT_LAYER, [v]) => self.header.current_layer = *v,
            (TAG_TARGET_LAYER, [v]) => self.header.target_layer = *v,
            (TAG_INTENT, [v]) => self.header.intent = *v,
            (TAG_THREAT, [high, low]) => self.header.threat_score = u16::from_be_bytes([*high, *low]),
            (TAG_HMAC, hmac) => {
                self.hmac = hmac.try_into().unwrap_or_default();
                self.hmac_at = self.at;
            }
            // Unknown, and among the signed bytes.
            _ => return,
        }
        self.seen |= 1 << tag;
    }

    /// The packet that ends at `end` of the bytes last shown.
    pub(super) fn frame<'a>(&self, bytes: &'a [u8], end: usize) -> Frame<'a> {
        let piece = |from: usize, to: usize| bytes.get(from..to).unwrap_or_default();
        let signed = [piece(0, self.hmac_at), piece(self.hmac_at + 3 + HMAC_BYTES, self.at)];
        Frame { header: self.header, hmac: self.hmac, signed, payload: piece(self.at + 3, end) }
    }
}

fn is_known(tag: u8) -> bool {
    (TAG_VERSION..=TAG_HMAC).contains(&tag)
}

fn check_length(tag: u8, length: u16) -> Result<(), Defect> {
    match (tag, length) {
        (TAG_VERSION | TAG_CURRENT_LAYER | TAG_TARGET_LAYER | TAG_INTENT, 1) | (TAG_THREAT, 2) | (TAG_HMAC, 32) => {
            Ok(())
        }
        (TAG_HMAC, 0) => Err(Defect::MissingHmac),
        (tag, length) if is_known(tag) => Err(Defect::WrongLength { tag, length }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::{encode_to, intent};
    use super::*;

    fn key() -> Key {
        Key::from_bytes(b"key")
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_to(&Header { threat_score: 777, ..Header::new(intent::REHAB) }, payload, &key(), &mut out).unwrap();
        out
    }

    /// TLVs in front of the payload, signed.
    fn signed(before: &[u8], behind: &[u8], payload: &[u8]) -> Vec<u8> {
        let hmac = key().mac([before, behind, payload]).finalize().into_bytes();
        let length = (payload.len() as u16).to_be_bytes();
        [before, &[6, 0, 32], &hmac, behind, &[0xFF], &length, payload].concat()
    }

    const FIVE: [u8; 21] = [1, 0, 1, 9, 2, 0, 1, 5, 3, 0, 1, 5, 4, 0, 1, 0x20, 5, 0, 2, 1, 2];

    fn verdict(bytes: &[u8], reading: Reading) -> Result<Packet<'_>, Defect> {
        decode(bytes, reading)?.0.verify(&key())
    }

    #[test]
    fn what_was_written_is_read_and_the_rest_is_left() {
        let bytes = [&frame(b"payload")[..], b"rest"].concat();
        for reading in [Reading::Strict, Reading::Lenient] {
            let (frame, rest) = decode(&bytes, reading).unwrap();
            let packet = frame.verify(&key()).unwrap();
            assert_eq!((packet.payload(), rest), (&b"payload"[..], &b"rest"[..]));
            assert_eq!((packet.header().intent, packet.header().threat_score), (intent::REHAB, 777));
            assert_eq!(frame.verify(&Key::from_bytes(b"no")), Err(Defect::HmacMismatch));
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let bytes = frame(b"payload");
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            for reading in [Reading::Strict, Reading::Lenient] {
                assert!(verdict(&bytes, reading).is_err(), "bit {bit}, {reading:?}");
            }
        }
    }

    #[test]
    fn a_lenient_reader_takes_what_a_later_version_may_add_and_a_strict_one_does_not() {
        let mixed = [&[5, 0, 2, 1, 2, 0x10, 0, 0][..], &FIVE[..16]].concat();
        for bytes in [
            signed(&[&FIVE[..], &[0x10, 0, 2, 7, 7]].concat(), b"", b"p"),
            signed(&FIVE, &[0x77, 0, 1, 7], b"p"),
            signed(b"", &FIVE, b"p"),
            signed(&mixed, b"", b"p"),
        ] {
            let packet = verdict(&bytes, Reading::Lenient).unwrap();
            let header = Header { threat_score: 0x0102, ..Header::new(0x20) };
            assert_eq!((*packet.header(), packet.payload()), (header, &b"p"[..]));
            assert!(matches!(verdict(&bytes, Reading::Strict), Err(Defect::UnexpectedTag { .. })));
        }
    }

    #[test]
    fn both_readers_refuse_what_is_missing_doubled_or_of_another_length() {
        let without = |tag: usize| [&FIVE[..tag * 4], &FIVE[tag * 4 + 4..]].concat();
        for tag in 0..4 {
            let lenient = verdict(&signed(&without(tag), b"", b"p"), Reading::Lenient).err();
            assert_eq!(lenient, Some(Defect::MissingHeader(tag as u8 + 1)));
        }
        for (extra, defect) in [
            (&[4, 0, 1, 1][..], Defect::Repeated(4)),
            (&[5, 0, 2, 0, 0], Defect::Repeated(5)),
            (&[1, 0, 0], Defect::Repeated(1)),
        ] {
            let bytes = signed(&[&FIVE[..], extra].concat(), b"", b"p");
            assert_eq!(verdict(&bytes, Reading::Lenient).err(), Some(defect));
            assert!(verdict(&bytes, Reading::Strict).is_err());
        }
        for (start, tag, length) in [(&[1u8, 0, 0][..], 1, 0), (&[1, 0, 2], 1, 2), (&[1, 0xFF, 0xFF], 1, 0xFFFF)] {
            for reading in [Reading::Strict, Reading::Lenient] {
                assert_eq!(verdict(start, reading).err(), Some(Defect::WrongLength { tag, length }));
            }
        }
        let twice = [&frame(b"")[..56], &frame(b"")[21..]].concat();
        assert_eq!(verdict(&twice, Reading::Lenient).err(), Some(Defect::Repeated(6)));
    }

    #[test]
    fn a_header_is_bounded_before_its_bytes_are_there() {
        let many = [0x10, 0, 0].repeat(58);
        assert!(verdict(&signed(&FIVE, &many, b""), Reading::Lenient).is_ok());
        let more = [0x10, 0, 0].repeat(59);
        assert_eq!(verdict(&signed(&FIVE, &more, b""), Reading::Lenient).err(), Some(Defect::TooManyTlvs));
        // Up to the payload's TLV: 21 + 35 + 3 + 4037 bytes.
        let fits = [&[0x10][..], &4037u16.to_be_bytes(), &[0; 4037]].concat();
        assert!(verdict(&signed(&FIVE, &fits, b""), Reading::Lenient).is_ok());
        let length = 4038u16.to_be_bytes();
        let start = [&frame(b"")[..56], &[0x10], &length].concat();
        assert_eq!(verdict(&start, Reading::Lenient).err(), Some(Defect::HeaderTooLong));
    }
}
