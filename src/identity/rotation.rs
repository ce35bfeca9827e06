//! The statement by which a node's keys are replaced by new ones (secure-session.md §6): signed by both, so that neither a
//! thief of the old key can name somebody who did not agree, nor a stranger make himself a successor.

use super::sign::verify_signature;
use super::{Identity, PublicKey};
use crate::base::{Error, Result};
use crate::formats::reading::{base64_array, object_only};
use serde::{Deserialize, Serialize};

const LABEL: &[u8] = b"rigmesh-rotate-1\0";

/// "X1 with S1 becomes X2 with S2". Payload of the message `rotate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Rotation {
    /// X1, the key that is replaced.
    pub old: PublicKey,
    /// S1.
    #[serde(with = "base64_array")]
    pub old_sign: [u8; 32],
    /// X2, its successor.
    pub new: PublicKey,
    /// S2.
    #[serde(with = "base64_array")]
    pub new_sign: [u8; 32],
    /// When it was signed, Unix seconds. For people; nothing is judged by it.
    pub issued: u64,
    #[serde(with = "base64_array")]
    sig_old: [u8; 64],
    #[serde(with = "base64_array")]
    sig_new: [u8; 64],
}

object_only!(Rotation);

impl Rotation {
    /// The statement that `new` replaces `old`, signed by both.
    pub fn new(old: &Identity, new: &Identity, issued: u64) -> Rotation {
        let unsigned = Rotation {
            old: old.public_key(),
            old_sign: old.sign_key().public(),
            new: new.public_key(),
            new_sign: new.sign_key().public(),
            issued,
            sig_old: [0; 64],
            sig_new: [0; 64],
        };
        let text = unsigned.text();
        Rotation { sig_old: old.sign_key().sign(&text), sig_new: new.sign_key().sign(&text), ..unsigned }
    }

    /// Whether both agree. That S1 belongs to X1 and S2 to X2 is shown elsewhere: by what is pinned, and in a session.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn verify(&self) -> Result<()> {
        let text = self.text();
        let why = if self.old == self.new {
            "a key cannot replace itself"
        } else if !verify_signature(&self.old_sign, &text, &self.sig_old) {
            "the old key's signature is wrong"
        } else if !verify_signature(&self.new_sign, &text, &self.sig_new) {
            "the new key's signature is wrong"
        } else {
            return Ok(());
        };
        Err(Error::malformed("rotation", why))
    }

    fn text(&self) -> Vec<u8> {
        [LABEL, self.old.as_bytes(), &self.old_sign, self.new.as_bytes(), &self.new_sign, &self.issued.to_be_bytes()]
            .concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Rng, Timestamp};
    use crate::identity::Role;

    fn node(n: u64) -> Identity {
        Identity::generate("node", Role::Dual, Timestamp::ZERO, &mut Rng::from_number(n)).unwrap()
    }

    #[test]
    fn a_statement_holds_as_it_was_signed_and_no_other_way() {
        let (old, new, other) = (node(1), node(2), node(3));
        let said = Rotation::new(&old, &new, 1_800_000_000);
        said.verify().unwrap();
        let read: Rotation = serde_json::from_str(&serde_json::to_string(&said).unwrap()).unwrap();
        assert_eq!(read, said);
        let key = other.public_key();
        let sign = other.sign_key().public();
        let changed = [
            Rotation { old: key, ..said.clone() },
            Rotation { new: key, ..said.clone() },
            Rotation { old_sign: sign, ..said.clone() },
            Rotation { new_sign: sign, ..said.clone() },
            Rotation { issued: 1_800_000_001, ..said.clone() },
            Rotation { sig_old: said.sig_new, ..said.clone() },
            Rotation { sig_new: said.sig_old, ..said.clone() },
            // Turned round.
            Rotation { old: said.new, new: said.old, old_sign: said.new_sign, new_sign: said.old_sign, ..said.clone() },
            Rotation::new(&old, &old, 1),
        ];
        for (n, bad) in changed.iter().enumerate() {
            assert!(bad.verify().is_err(), "{n}");
        }
    }

    #[test]
    fn the_signed_text_is_label_keys_and_time() {
        let (old, new) = (node(1), node(2));
        let said = Rotation::new(&old, &new, 0x0102_0304);
        let text = [
            b"rigmesh-rotate-1\0".as_slice(),
            old.public_key().as_bytes(),
            &old.sign_key().public(),
            new.public_key().as_bytes(),
            &new.sign_key().public(),
            &[0, 0, 0, 0, 1, 2, 3, 4],
        ]
        .concat();
        assert_eq!(said.sig_old, old.sign_key().sign(&text));
        assert_eq!(said.sig_new, new.sign_key().sign(&text));
    }
}
