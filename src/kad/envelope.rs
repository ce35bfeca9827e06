//! One datagram: a header, a body, the sender's key and its signature over both (dht.md §3).
//!
//! Reading and verifying are two steps, so that a flood is turned away between them: reading costs a microsecond,
//! verifying thirty.

use super::message::Message;
use super::{Fault, Rules};
use crate::base::Rng;
use crate::identity::{Address, SignKey};
use crate::wire::cbor::{MapWriter, Reader};

/// The longest datagram that is sent, and the longest that is read, in bytes.
pub const DATAGRAM_BYTES_MAX: usize = 1200;

const LABEL: &[u8] = b"a2al-msg\0";

/// What ties an answer to its request: random, fresh for every attempt.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxId([u8; 20]);

impl TxId {
    /// A fresh one.
    pub fn random(rng: &mut Rng) -> TxId {
        TxId(rng.array())
    }

    /// From its 20 bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> TxId {
        TxId(bytes)
    }

    /// The 20 bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

/// What stands before the body.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// 1; nobody checks it.
    pub version: u8,
    /// 0; nobody checks it.
    pub features: u16,
    /// The transaction.
    pub tx_id: TxId,
}

impl Header {
    /// The header we send.
    pub const fn new(tx_id: TxId) -> Header {
        Header { version: 1, features: 0, tx_id }
    }

    fn encode(&self, kind: u8) -> Vec<u8> {
        let mut map = MapWriter::new();
        map.uint(1, self.version).uint(2, self.features).uint(3, kind).bytes(4, &self.tx_id.0).finish()
    }
}

/// A datagram whose signature nobody has looked at yet.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    header: Header,
    message: Message,
    sender: [u8; 32],
    signature: [u8; 64],
    header_bytes: &'a [u8],
    body_bytes: &'a [u8],
}

/// A datagram that its sender has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its header.
    pub header: Header,
    /// What it says.
    pub message: Message,
    /// The sender's Ed25519 key.
    pub sender_key: [u8; 32],
    /// The sender: the address of that key.
    pub sender: Address,
}

/// A signed datagram with this message.
///
/// # Errors
/// [`Fault::TooLarge`] above [`DATAGRAM_BYTES_MAX`]; nothing may be sent then.
pub fn encode_datagram(header: &Header, message: &Message, key: &SignKey) -> Result<Vec<u8>, Fault> {
    let (header, body) = (header.encode(message.kind()), message.encode_body());
    let signature = key.sign(&signed_text(&header, &body));
    let mut map = MapWriter::with_room(DATAGRAM_BYTES_MAX);
    let datagram = map.encoded(1, &header).encoded(2, &body).bytes(3, &key.public()).bytes(4, &signature).finish();
    match datagram.len() {
        bytes @ 1201.. => Err(Fault::TooLarge { bytes, max: DATAGRAM_BYTES_MAX }),
        _ => Ok(datagram),
    }
}

/// What is signed. Room for the longest, whatever there is: many lengths are many blocks that an allocator keeps.
fn signed_text(header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(LABEL.len() + DATAGRAM_BYTES_MAX);
    [LABEL, header, body].iter().for_each(|part| text.extend_from_slice(part));
    text
}

impl<'a> Envelope<'a> {
    /// Reads a datagram; its signature is not looked at.
    ///
    /// # Errors
    /// What is wrong with the bytes, or [`Fault::UnknownType`].
    pub fn decode(bytes: &'a [u8]) -> Result<Envelope<'a>, Fault> {
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return Err(Fault::TooLarge { bytes: bytes.len(), max: DATAGRAM_BYTES_MAX });
        }
        let (mut header_bytes, mut body_bytes, mut sender, mut signature) = (None, None, None, None);
        Reader::whole(bytes, |r| {
            r.map(|key, r| -> Result<bool, Fault> {
                match key {
                    1 => header_bytes = Some(r.skip()?),
                    2 => body_bytes = Some(r.skip()?),
                    3 => sender = Some(r.array_of()?),
                    4 => signature = Some(r.array_of()?),
                    _ => return Ok(false),
                }
                Ok(true)
            })
        })?;
        let header_bytes = header_bytes.ok_or(Fault::Malformed("no header"))?;
        let body_bytes = body_bytes.ok_or(Fault::Malformed("no body"))?;
        let (mut version, mut features, mut kind, mut tx_id) = (0, 0, 0, None);
        Reader::whole(header_bytes, |r| {
            r.map(|key, r| -> Result<bool, Fault> {
                match key {
                    1 => version = r.u8()?,
                    2 => features = r.u16()?,
                    3 => kind = r.u8()?,
                    4 => tx_id = Some(r.array_of()?),
                    _ => return Ok(false),
                }
                Ok(true)
            })
        })?;
        let tx_id = TxId(tx_id.ok_or(Fault::Malformed("no transaction id"))?);
        Ok(Envelope {
            header: Header { version, features, tx_id },
            message: Message::decode_body(kind, body_bytes)?,
            sender: sender.ok_or(Fault::Malformed("no sender's key"))?,
            signature: signature.ok_or(Fault::Malformed("no signature"))?,
            header_bytes,
            body_bytes,
        })
    }

    /// The header, not verified.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The message, not verified.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The key that is said to have signed it, not verified.
    pub fn sender_key(&self) -> &[u8; 32] {
        &self.sender
    }

    /// Checks the signature, over the bytes as they came first (so that fields of later versions count), then over the
    /// canonical form of the fields that are known (which is what version 0.1.7 looks at).
    ///
    /// # Errors
    /// [`Fault::Signature`], or [`Fault::NotTheSender`] for a ping or pong that names another address.
    pub fn verify(self, rules: &Rules) -> Result<Received, Fault> {
        let received = signed_text(self.header_bytes, self.body_bytes);
        if !rules.signed(&self.sender, &received, &self.signature) {
            let canonical = signed_text(&self.header.encode(self.message.kind()), &self.message.encode_body());
            if canonical == received || !rules.signed(&self.sender, &canonical, &self.signature) {
                return Err(Fault::Signature);
            }
        }
        let sender = Address::of_ed25519(&self.sender);
        match &self.message {
            Message::Ping { address } | Message::Pong { address, .. } if *address != sender => Err(Fault::NotTheSender),
            _ => Ok(Received { header: self.header, message: self.message, sender_key: self.sender, sender }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kad::Id;

    fn key() -> SignKey {
        SignKey::from_seed(&[7; 32])
    }

    fn read(bytes: &[u8]) -> Result<Received, Fault> {
        Envelope::decode(bytes)?.verify(&Rules::default())
    }

    #[test]
    fn a_datagram_shows_who_sent_it() {
        let header = Header::new(TxId::random(&mut Rng::from_number(1)));
        let message = Message::FindNode { target: Id::of_topic("x") };
        let bytes = encode_datagram(&header, &message, &key()).unwrap();
        let sender = Address::of_ed25519(&key().public());
        assert_eq!(read(&bytes).unwrap(), Received { header, message, sender_key: key().public(), sender });
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert!(read(&wrong).is_err(), "byte {at}");
        }
    }

    #[test]
    fn fields_of_a_later_version_count_when_they_are_signed() {
        let header = Header::new(TxId([9; 20])).encode(5);
        let mut body = MapWriter::new();
        let body = body.bytes(1, &[3; 32]).bool(3, true).finish();
        let datagram = |signature: [u8; 64]| {
            let mut map = MapWriter::new();
            map.encoded(1, &header).encoded(2, &body).bytes(3, &key().public()).bytes(4, &signature).finish()
        };
        let known = Message::FindValue { target: Id::from_bytes([3; 32]), rec_type: 0 };
        let as_sent = key().sign(&[LABEL, &header, &body].concat());
        assert_eq!(read(&datagram(as_sent)).unwrap().message, known);
        let as_known = key().sign(&[LABEL, &header, &known.encode_body()].concat());
        assert_eq!(read(&datagram(as_known)).unwrap().message, known);
        assert_eq!(read(&datagram(key().sign(b""))), Err(Fault::Signature));
    }

    #[test]
    fn what_does_not_fit_is_neither_sent_nor_read() {
        let node = |i: u8| super::super::NodeInfo::new(Address::from_bytes([i; 21]), ([192, 0, 2, i], 4121).into());
        let answer = |count| Message::FindNodeResp {
            nodes: Some((0..count).map(node).collect()),
            observed: ([192, 0, 2, 1], 1).into(),
        };
        let header = Header::new(TxId([1; 20]));
        assert!(encode_datagram(&header, &answer(15), &key()).is_ok());
        assert!(matches!(encode_datagram(&header, &answer(16), &key()), Err(Fault::TooLarge { .. })));
        assert!(matches!(Envelope::decode(&[0; 1201]), Err(Fault::TooLarge { .. })));
    }
}
