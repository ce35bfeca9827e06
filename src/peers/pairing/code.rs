//! The code that a person reads, types or scans: Crockford base32, without the letters that look like others.

use crate::base::{Error, Result, Rng};
use sha2::{Digest as _, Sha256};
use std::fmt;
use zeroize::Zeroizing;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LABEL: &[u8] = b"rigmesh-pair-1\0";
/// Characters between two hyphens.
const GROUP: usize = 5;
/// A text that is longer than this is no code, bytes.
const TEXT_BYTES_MAX: usize = 128;

/// What a code is for, which decides its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKind {
    /// One pairing, within minutes: 20 characters, 100 bits.
    Pair,
    /// Many rigs, within days: 26 characters, 130 bits.
    Enrol,
}

impl CodeKind {
    /// How many characters.
    pub fn chars(self) -> usize {
        match self {
            CodeKind::Pair => 20,
            CodeKind::Enrol => 26,
        }
    }
}

/// A code. Wiped when dropped, and shown only when asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct PairCode(Zeroizing<String>);

impl PairCode {
    /// A new one.
    pub fn draw(kind: CodeKind, rng: &mut Rng) -> PairCode {
        let bytes = Zeroizing::new(rng.array::<32>());
        // 32 letters divide a byte's values evenly.
        let chars = bytes.iter().take(kind.chars()).filter_map(|b| ALPHABET.get(usize::from(b % 32)));
        PairCode(Zeroizing::new(chars.map(|c| char::from(*c)).collect()))
    }

    /// Reads what a person typed: small letters count as large ones, I and L as 1, O as 0; hyphens and spaces are skipped.
    ///
    /// # Errors
    /// [`Error::Config`] naming the character that is wrong, or how many there are.
    pub fn read(kind: CodeKind, text: &str) -> Result<PairCode> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::Config(format!("that is no code: it has more than {TEXT_BYTES_MAX} bytes")));
        }
        let mut code = Zeroizing::new(String::with_capacity(kind.chars()));
        for (i, typed) in text.chars().enumerate().filter(|(_, c)| !matches!(c, '-' | ' ')) {
            let meant = match typed.to_ascii_uppercase() {
                'I' | 'L' => '1',
                'O' => '0',
                other => other,
            };
            if !ALPHABET.iter().any(|c| char::from(*c) == meant) {
                let why = if meant == 'U' { "the letter U is in no code" } else { "only digits and letters are" };
                return Err(Error::Config(format!("character {} of the code, {typed:?}, is wrong: {why}", i + 1)));
            }
            code.push(meant);
        }
        let (have, want) = (code.len(), kind.chars());
        if have != want {
            return Err(Error::Config(format!("the code has {have} characters and should have {want}")));
        }
        Ok(PairCode(code))
    }

    /// The characters, without hyphens.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The characters in groups of five, as a person reads them.
    pub fn grouped(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.0.len() + self.0.len() / GROUP));
        for (i, c) in self.0.chars().enumerate() {
            if i > 0 && i % GROUP == 0 {
                text.push('-');
            }
            text.push(c);
        }
        text
    }

    /// The pre-shared key of the handshake.
    pub fn psk(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(Sha256::new().chain_update(LABEL).chain_update(self.0.as_bytes()).finalize().into())
    }
}

impl fmt::Debug for PairCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairCode")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_however_a_person_types_it() {
        let code = PairCode::read(CodeKind::Pair, "0123456789ABCDEFGHJK").unwrap();
        assert_eq!(&*code.grouped(), "01234-56789-ABCDE-FGHJK");
        for typed in
            ["01234-56789-ABCDE-FGHJK", "  o1234 56789 abcde fghjk ", "OI234-56789-abcdE-FGHJK", "0l23456789ABCDEFGHJK"]
        {
            assert_eq!(PairCode::read(CodeKind::Pair, typed).unwrap(), code, "{typed}");
        }
    }

    #[test]
    fn a_wrong_character_is_named_before_anything_is_sent() {
        let told = |text| PairCode::read(CodeKind::Pair, text).unwrap_err().to_string();
        assert!(told("01234-5678U-ABCDE-FGHJK").contains("character 11 of the code, 'U'"));
        assert!(told("01234-5678!-ABCDE-FGHJK").contains("'!'"));
        assert!(told("01234").contains("5 characters and should have 20"));
        assert!(told("01234-56789-ABCDE-FGHJK-MNPQR").contains("25"));
        assert!(told(&"0".repeat(1000)).contains("no code"));
    }

    #[test]
    fn codes_are_drawn_from_the_whole_alphabet_and_differ() {
        let mut rng = Rng::from_number(7);
        let drawn: Vec<PairCode> = (0..200).map(|_| PairCode::draw(CodeKind::Enrol, &mut rng)).collect();
        let all: std::collections::BTreeSet<char> = drawn.iter().flat_map(|code| code.as_str().chars()).collect();
        assert_eq!(all.len(), 32);
        assert!(drawn.iter().all(|code| PairCode::read(CodeKind::Enrol, &code.grouped()).as_ref() == Ok(code)));
        assert_ne!(drawn[0], drawn[1]);
        assert!(!format!("{:?}", drawn[0]).contains(drawn[0].as_str()));
    }

    #[test]
    fn the_key_is_the_labelled_hash_of_the_characters() {
        let code = PairCode::read(CodeKind::Pair, "01234-56789-ABCDE-FGHJK").unwrap();
        let expected: [u8; 32] = Sha256::digest(b"rigmesh-pair-1\x000123456789ABCDEFGHJK").into();
        assert_eq!(*code.psk(), expected);
    }
}
