//! The controller's side of an enrolment: a code that many rigs may use for days, and the list of those that came.

use super::desk::NOT_PAIRING;
use super::{CodeKind, PairCode};
use crate::base::{Error, Refusal, Result, Rng, Timestamp, check_json};
use crate::formats::gojson;
use crate::formats::reading::base64_array;
use crate::identity::PublicKey;
use crate::peers::Grants;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use zeroize::Zeroizing;

/// Most rigs that one enrolment is good for.
pub const ENROL_USES_MAX: u32 = 10_000;
/// The longest one, days.
pub const ENROL_DAYS_MAX: u32 = 365;

/// A rig that came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// Its key.
    pub key: PublicKey,
    /// What it calls itself.
    pub name: String,
    /// When it came.
    pub at: Timestamp,
}

/// What the file `enrol.json` holds. Not the code: only the key that is made from it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    #[serde(with = "base64_array")]
    psk: [u8; 32],
    /// What the controller may do on the rigs that come, as the link says.
    pub grants: Grants,
    /// How many may come yet.
    pub uses: u32,
    /// Until when.
    pub until: Timestamp,
    /// Who came, oldest first.
    pub rigs: Vec<Enrolled>,
}

impl Enrolment {
    /// A new one, and its code, which is nowhere else. Numbers are brought within [`ENROL_USES_MAX`] and [`ENROL_DAYS_MAX`].
    pub fn new(wall: Timestamp, uses: u32, days: u32, grants: Grants, rng: &mut Rng) -> (Enrolment, PairCode) {
        let code = PairCode::draw(CodeKind::Enrol, rng);
        let span = Duration::from_secs(u64::from(days.clamp(1, ENROL_DAYS_MAX)) * 24 * 3600);
        let (uses, until) = (uses.clamp(1, ENROL_USES_MAX), wall.plus(span));
        (Enrolment { psk: *code.psk(), grants, uses, until, rigs: Vec::new() }, code)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Enrolment> {
        let text = check_json("enrolment", bytes)?;
        serde_json::from_str(text).map_err(|e| Error::malformed("enrolment", e.to_string()))
    }

    /// The text of the file.
    ///
    /// # Errors
    /// None in practice.
    pub fn encode(&self) -> Result<Zeroizing<String>> {
        gojson::to_string_pretty_html(self).map(Zeroizing::new)
    }

    /// Whether this key came already.
    pub fn has(&self, key: &PublicKey) -> bool {
        self.rigs.iter().any(|rig| rig.key == *key)
    }

    /// The key that this one's handshake is checked with.
    ///
    /// # Errors
    /// [`Refusal::Pairing`]: its time is over, or nobody more may come. A rig that came may come again in that time.
    pub fn psk(&self, wall: Timestamp, key: &PublicKey) -> std::result::Result<Zeroizing<[u8; 32]>, Refusal> {
        if self.until.unix_nanos() <= wall.unix_nanos() {
            Err(NOT_PAIRING)
        } else if self.uses == 0 && !self.has(key) {
            Err(Refusal::pairing("code already used"))
        } else {
            Ok(Zeroizing::new(self.psk))
        }
    }

    /// A rig has proven itself and that it knows the code: one use less, unless it came before. What is then in here must be
    /// on disk before the rig is told.
    ///
    /// # Errors
    /// As [`Enrolment::psk`].
    pub fn claim(&mut self, wall: Timestamp, key: &PublicKey, name: &str) -> std::result::Result<(), Refusal> {
        self.psk(wall, key)?;
        if !self.has(key) {
            self.uses = self.uses.saturating_sub(1);
            self.rigs.push(Enrolled { key: *key, name: name.to_owned(), at: wall });
        }
        Ok(())
    }
}

impl fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Enrolment({} uses until {})", self.uses, self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SecretKey;

    fn key(n: u64) -> PublicKey {
        SecretKey::generate(&mut Rng::from_number(n)).public_key()
    }

    fn at(s: i64) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + s, 0)
    }

    #[test]
    fn every_rig_takes_one_use_however_often_it_comes() {
        let (mut enrolment, code) = Enrolment::new(at(0), 2, 7, Grants::CONTROLLER, &mut Rng::from_number(1));
        assert_eq!(*enrolment.psk(at(1), &key(1)).unwrap(), *code.psk());
        for n in [1, 1, 2, 1] {
            enrolment.claim(at(1), &key(n), "rig").unwrap();
        }
        assert_eq!((enrolment.uses, enrolment.rigs.len()), (0, 2));
        assert_eq!(enrolment.claim(at(2), &key(3), "late"), Err(Refusal::pairing("code already used")));
        assert!(enrolment.claim(at(2), &key(1), "rig").is_ok(), "who came may come again");
        assert_eq!(enrolment.claim(at(7 * 24 * 3600), &key(1), "rig"), Err(NOT_PAIRING));
    }

    #[test]
    fn the_file_holds_everything_but_the_code() {
        let (mut enrolment, code) = Enrolment::new(at(0), 2, 7, Grants::CONTROLLER, &mut Rng::from_number(1));
        enrolment.claim(at(1), &key(1), "rig-1").unwrap();
        let text = enrolment.encode().unwrap();
        assert!(!text.contains(code.as_str()) && text.contains("rig-1"));
        assert_eq!(Enrolment::decode(text.as_bytes()).unwrap(), enrolment);
        assert!(Enrolment::decode(b"{}").is_err() && Enrolment::decode(b"[").is_err());
        assert!(!format!("{enrolment:?}").contains(&hex::encode(*code.psk())));
    }
}
