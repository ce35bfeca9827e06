//! The text forms of addresses (dht.md §1.3): hex with a case checksum, EIP-55, bech32 and Base58Check.

use super::Address;
use sha2::{Digest as _, Sha256};
use sha3::Keccak256;

type Parsed = Result<Address, &'static str>;

/// The form an address is shown in.
pub(super) fn format(address: &Address) -> String {
    match address.version() {
        Address::ETHEREUM => format!("0x{}", eip55(address.hash())),
        Address::PARALISM => bech32_encode("bc", &bech32_data(address.hash())),
        _ => native(address.as_bytes()),
    }
}

/// Reads a text without space around it. A form that claims the text has the last word on it.
pub(super) fn parse(text: &str) -> Parsed {
    let starts = |prefix: &str| text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    if text.len() == 42 && starts("0x") {
        parse_ethereum(text.get(2..).unwrap_or_default())
    } else if starts("bc1") || starts("pr1") {
        parse_bech32(text)
    } else if text.starts_with('1') && (26..=35).contains(&text.len()) {
        parse_base58(text)
    } else {
        parse_native(text)
    }
}

/// Upper-cases each letter of lower-case hex whose nibble of `digest` is 8 or more.
fn case_checksum(hex: &str, digest: &[u8]) -> String {
    let nibbles = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    hex.chars().zip(nibbles).map(|(c, nibble)| if nibble >= 8 { c.to_ascii_uppercase() } else { c }).collect()
}

fn native(bytes: &[u8; 21]) -> String {
    let text = hex::encode(bytes);
    case_checksum(&text, &Sha256::digest(&text))
}

fn eip55(hash: &[u8; 20]) -> String {
    let text = hex::encode(hash);
    case_checksum(&text, &Keccak256::digest(&text))
}

fn parse_native(text: &str) -> Parsed {
    let mut bytes = [0; 21];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| "none of the known forms")?;
    if !(0xa0..=0xaf).contains(&bytes[0]) {
        return Err("an unknown version");
    }
    if text.bytes().any(|c| c.is_ascii_uppercase()) && native(&bytes) != text {
        return Err("the case of its letters is not their checksum");
    }
    Ok(Address::from_bytes(bytes))
}

fn parse_ethereum(text: &str) -> Parsed {
    let mut hash = [0; 20];
    hex::decode_to_slice(text, &mut hash).map_err(|_| "not hex after 0x")?;
    if text.bytes().any(|c| c.is_ascii_uppercase()) && eip55(&hash) != text {
        return Err("the case of its letters is not their checksum (EIP-55)");
    }
    Ok(Address::new(Address::ETHEREUM, hash))
}

const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// The checksum's polynomial over the groups of five bits (BIP-173).
fn bech32_polymod(values: impl Iterator<Item = u8>) -> u32 {
    values.fold(1, |sum, value| {
        let top = sum >> 25;
        let next = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
        [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3]
            .iter()
            .enumerate()
            .fold(next, |next, (bit, generator)| if top >> bit & 1 == 1 { next ^ generator } else { next })
    })
}

/// The human-readable part as the checksum sees it.
fn bech32_prefix(prefix: &str) -> impl Iterator<Item = u8> {
    prefix.bytes().map(|c| c >> 5).chain([0]).chain(prefix.bytes().map(|c| c & 31))
}

/// What a Paralism address encodes: a zero, then the hash, as one run of bytes. (A genuine BIP-173 address has
/// the zero as a group of five bits of its own and is another text.)
fn bech32_data(hash: &[u8; 20]) -> Vec<u8> {
    let (mut groups, mut held, mut bits) = (Vec::with_capacity(34), 0u32, 0);
    for byte in std::iter::once(&0).chain(hash) {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            groups.push((held >> bits & 31) as u8);
        }
    }
    if bits > 0 {
        groups.push((held << (5 - bits) & 31) as u8);
    }
    groups
}

fn bech32_encode(prefix: &str, data: &[u8]) -> String {
    let sum = bech32_polymod(bech32_prefix(prefix).chain(data.iter().copied()).chain([0; 6])) ^ 1;
    let check = (0..6).rev().map(|i| (sum >> (5 * i) & 31) as u8);
    let letters = data.iter().copied().chain(check).filter_map(|group| BECH32.get(usize::from(group)).copied());
    format!("{prefix}1{}", letters.map(char::from).collect::<String>())
}

fn parse_bech32(text: &str) -> Parsed {
    if text.bytes().any(|c| c.is_ascii_uppercase()) && text.bytes().any(|c| c.is_ascii_lowercase()) {
        return Err("bech32 of mixed case");
    }
    let text = text.to_ascii_lowercase();
    let (prefix, letters) = text.rsplit_once('1').filter(|_| text.len() <= 90).ok_or("no bech32")?;
    if !matches!(prefix, "bc" | "pr") {
        return Err("bech32 of another prefix");
    }
    let group = |c: u8| BECH32.iter().position(|known| *known == c).and_then(|at| u8::try_from(at).ok());
    let groups: Vec<u8> = letters.bytes().map(group).collect::<Option<_>>().ok_or("no bech32")?;
    if bech32_polymod(bech32_prefix(prefix).chain(groups.iter().copied())) != 1 {
        return Err("the checksum is wrong");
    }
    let (data, _) = groups.split_at_checked(groups.len().wrapping_sub(6)).ok_or("no bech32")?;
    let (mut bytes, mut held, mut bits) = (Vec::with_capacity(32), 0u32, 0);
    for group in data {
        held = (held << 5 | u32::from(*group)) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    if bits >= 5 || held & ((1 << bits) - 1) != 0 {
        return Err("bech32 of an incomplete byte (an address of BIP-173 is none of Paralism)");
    }
    match bytes.as_slice() {
        [0, hash @ ..] => hash.try_into().map(|hash| Address::new(Address::PARALISM, hash)).ok(),
        _ => None,
    }
    .ok_or("not a zero and 20 bytes")
}

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Base58Check of a zero byte and 20 bytes of hash: 25 bytes with the checksum.
fn parse_base58(text: &str) -> Parsed {
    let mut bytes = [0u8; 25];
    for c in text.bytes() {
        let digit = BASE58.iter().position(|known| *known == c).ok_or("no Base58")?;
        let mut carry = u32::try_from(digit).unwrap_or(0);
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
        if carry != 0 {
            return Err("Base58 of more than 25 bytes");
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    if zeros != text.bytes().take_while(|c| *c == b'1').count() {
        return Err("Base58 of another length than 25 bytes");
    }
    let (body, check) = bytes.split_at(21);
    if !Sha256::digest(Sha256::digest(body)).starts_with(check) {
        return Err("the checksum is wrong");
    }
    match body {
        [0, hash @ ..] => hash.try_into().map(|hash| Address::new(Address::PARALISM, hash)).ok(),
        _ => None,
    }
    .ok_or("Base58 of another version than 0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_texts_of_other_chains_come_out() {
        // The examples of EIP-55, and the first address of Bitcoin's chain.
        for text in ["0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"] {
            assert_eq!(format(&parse(text).unwrap()), text);
            assert!(parse(&text.to_lowercase()).is_ok());
        }
        let genesis = parse("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa").unwrap();
        assert_eq!(hex::encode(genesis.as_bytes()), "a262e907b15cbf27d5425399ebf6f0fb50ebb88f18");
        assert_eq!(parse(&format(&genesis)), Ok(genesis));
    }

    #[test]
    fn one_wrong_letter_is_seen() {
        let address = Address::new(Address::PARALISM, [7; 20]);
        for text in [format(&address), bech32_encode("pr", &bech32_data(&[7; 20]))] {
            assert_eq!(parse(&text), Ok(address));
            assert_eq!(parse(&text.to_uppercase()), Ok(address));
            for at in 3..text.len() {
                let mut wrong = text.clone().into_bytes();
                wrong[at] = if wrong[at] == b'q' { b'p' } else { b'q' };
                assert!(parse(std::str::from_utf8(&wrong).unwrap()).is_err());
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        for text in [
            "",
            "0x",
            "bc1",
            "pr1é",
            "bc1qqqqq",
            "1é11111111111111111111111111",
            "1111111111111111111111111111111111",
            "é0x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz").is_err());
    }
}
