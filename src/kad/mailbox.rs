//! Sealed messages in a recipient's mailbox (dht.md §7.3): only the recipient can read one; who wrote to whom is in
//! the clear.

use super::{Category, Fault, SignedRecord};
use crate::base::Rng;
use crate::formats::ciphers::hkdf_sha256;
use crate::identity::{Address, SignKey};
use crate::wire::cbor::{MapWriter, Reader};
use ed25519_dalek::{SigningKey, VerifyingKey};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

const SALT: &[u8] = b"a2al-mailbox\0";

/// Bytes of body that are sealed (dht.md §7.3); more might fit, but not every node would serve it.
pub const MAIL_BODY_BYTES_MAX: usize = 379;

/// What is said inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// 1 a request to connect, 2 candidates for it, 3 a text.
    pub msg_type: u8,
    /// The content; `None` is written as null.
    pub body: Option<Vec<u8>>,
}

/// A message that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Who wrote it: the record's address, which the record's signature shows if its authority was checked.
    pub sender: Address,
    /// The key the record was signed with.
    pub sender_key: [u8; 32],
    /// The record's `seq`.
    pub seq: u64,
    /// What it says.
    pub mail: Mail,
}

impl Mail {
    /// A record's payload with this message, sealed for `recipient`, whose endpoint record was signed by `recipient_key`.
    ///
    /// # Errors
    /// [`Fault::Mailbox`] for a key nothing can be sealed to, [`Fault::TooLarge`] for a body above
    /// [`MAIL_BODY_BYTES_MAX`].
    pub fn seal(
        &self,
        sender: &Address,
        recipient: &Address,
        recipient_key: &[u8; 32],
        rng: &mut Rng,
    ) -> Result<Vec<u8>, Fault> {
        let ephemeral = Zeroizing::new(rng.array());
        self.seal_with(sender, recipient, recipient_key, &ephemeral, rng.array())
    }

    /// [`Mail::seal`] with a given ephemeral key and nonce, of which each pair may be used once.
    ///
    /// # Errors
    /// As there.
    pub fn seal_with(
        &self,
        sender: &Address,
        recipient: &Address,
        recipient_key: &[u8; 32],
        ephemeral: &[u8; 32],
        nonce: [u8; 12],
    ) -> Result<Vec<u8>, Fault> {
        match self.body.as_ref().map_or(0, Vec::len) {
            0..=MAIL_BODY_BYTES_MAX => {}
            bytes => return Err(Fault::TooLarge { bytes, max: MAIL_BODY_BYTES_MAX }),
        }
        let theirs =
            VerifyingKey::from_bytes(recipient_key).map_err(|_| Fault::Mailbox("the recipient's key is none"))?;
        let ours = StaticSecret::from(*ephemeral);
        let key = mail_key(&ours, theirs.to_montgomery().to_bytes(), sender, recipient)?;
        let mut plain = MapWriter::new();
        let mut text = plain.uint(1, self.msg_type).optional_bytes(2, self.body.as_deref()).finish();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut text)
            .map_err(|_| Fault::Mailbox("too long to seal"))?;
        let mut map = MapWriter::new();
        map.bytes(1, recipient.as_bytes()).bytes(2, sender.as_bytes());
        Ok(map.bytes(3, PublicKey::from(&ours).as_bytes()).bytes(4, &text).bytes(5, &nonce).finish())
    }

    /// Opens a record from the mailbox of `recipient`, whose key this is. The record itself must be verified before.
    ///
    /// # Errors
    /// [`Fault::Mailbox`] for a record that is no mail, or not to us, or from somebody else than it says, or changed;
    /// [`Fault::Cbor`] for a payload of another form.
    pub fn open(record: &SignedRecord, recipient: &Address, key: &SignKey) -> Result<Opened, Fault> {
        if record.category() != Category::Mailbox {
            return Err(Fault::Mailbox("no mailbox record"));
        }
        let sealed = Sealed::decode(record.payload())?;
        if sealed.recipient != *recipient {
            return Err(Fault::Mailbox("to somebody else"));
        }
        if sealed.sender != record.address {
            return Err(Fault::Mailbox("the record is another sender's"));
        }
        let scalar = Zeroizing::new(SigningKey::from_bytes(&key.seed()).to_scalar_bytes());
        let key = mail_key(&StaticSecret::from(*scalar), sealed.ephemeral, &sealed.sender, recipient)?;
        let mut text = sealed.ciphertext;
        let plain = key
            .open_in_place(Nonce::assume_unique_for_key(sealed.nonce), Aad::empty(), &mut text)
            .map_err(|_| Fault::Mailbox("changed, or sealed to another key"))?;
        let (mut msg_type, mut body) = (0, None);
        Reader::whole(plain, |r| {
            r.map(|field, r| -> Result<bool, Fault> {
                match field {
                    1 => msg_type = r.u8()?,
                    2 => body = r.optional(Reader::bytes)?.map(<[u8]>::to_vec),
                    _ => return Ok(false),
                }
                Ok(true)
            })
        })?;
        let mail = Mail { msg_type, body };
        Ok(Opened { sender: record.address, sender_key: record.pubkey, seq: record.seq, mail })
    }
}

/// The fields of a payload.
struct Sealed {
    recipient: Address,
    sender: Address,
    ephemeral: [u8; 32],
    ciphertext: Vec<u8>,
    nonce: [u8; 12],
}

impl Sealed {
    fn decode(bytes: &[u8]) -> Result<Sealed, Fault> {
        let (mut recipient, mut sender, mut ephemeral, mut ciphertext, mut nonce) = (None, None, None, None, None);
        Reader::whole(bytes, |r| {
            r.map(|key, r| -> Result<bool, Fault> {
                match key {
                    1 => recipient = Some(r.array_of()?),
                    2 => sender = Some(r.array_of()?),
                    3 => ephemeral = Some(r.array_of()?),
                    4 => ciphertext = Some(r.bytes()?.to_vec()),
                    5 => nonce = Some(r.array_of()?),
                    _ => return Ok(false),
                }
                Ok(true)
            })
        })?;
        let missing = Fault::Mailbox("a field is missing");
        Ok(Sealed {
            recipient: Address::from_bytes(recipient.ok_or(missing)?),
            sender: Address::from_bytes(sender.ok_or(missing)?),
            ephemeral: ephemeral.ok_or(missing)?,
            ciphertext: ciphertext.ok_or(missing)?,
            nonce: nonce.ok_or(missing)?,
        })
    }
}

/// The key of one message, the same for both sides.
fn mail_key(
    ours: &StaticSecret,
    theirs: [u8; 32],
    sender: &Address,
    recipient: &Address,
) -> Result<LessSafeKey, Fault> {
    let shared = ours.diffie_hellman(&PublicKey::from(theirs));
    if !shared.was_contributory() {
        return Err(Fault::Mailbox("a key of small order"));
    }
    let info = [sender.as_bytes().as_slice(), recipient.as_bytes()].concat();
    let mut key = Zeroizing::new([0; 32]);
    hkdf_sha256(SALT, shared.as_bytes(), &info, &mut *key).map_err(|_| Fault::Mailbox("no key"))?;
    UnboundKey::new(&AES_256_GCM, &*key).map(LessSafeKey::new).map_err(|_| Fault::Mailbox("no key"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kad::{SHARED_PAYLOAD_BYTES_MAX, Stamp, rec_type};

    #[test]
    fn only_the_recipient_reads_a_message() {
        let (alice, bob) = (SignKey::from_seed(&[1; 32]), SignKey::from_seed(&[2; 32]));
        let (from, to) = (Address::of_ed25519(&alice.public()), Address::of_ed25519(&bob.public()));
        let mut rng = Rng::from_number(4);
        let mail = Mail { msg_type: 3, body: Some(b"turn the fans up".to_vec()) };
        let payload = mail.seal(&from, &to, &bob.public(), &mut rng).unwrap();
        let stamp = Stamp { seq: 7, timestamp: 1, ttl_s: 3600 };
        let record = SignedRecord::sign(&alice, rec_type::MAILBOX, payload, stamp).unwrap();
        let opened = Mail::open(&record, &to, &bob).unwrap();
        assert_eq!(opened, Opened { sender: from, sender_key: alice.public(), seq: 7, mail: mail.clone() });
        assert!(Mail::open(&record, &to, &alice).is_err());
        assert!(Mail::open(&record, &from, &bob).is_err());
        assert_ne!(mail.seal(&from, &to, &bob.public(), &mut rng).unwrap(), record.payload());
    }

    #[test]
    fn the_longest_body_fits_and_a_longer_one_is_refused() {
        let key = SignKey::from_seed(&[2; 32]).public();
        let address = Address::of_ed25519(&key);
        let seal = |length| {
            let mail = Mail { msg_type: 3, body: Some(vec![0; length]) };
            mail.seal(&address, &address, &key, &mut Rng::from_number(1))
        };
        assert!(seal(MAIL_BODY_BYTES_MAX).unwrap().len() <= SHARED_PAYLOAD_BYTES_MAX);
        assert!(seal(MAIL_BODY_BYTES_MAX + 1).is_err());
    }
}
