//! Who signed a text with a wallet: Ethereum's `personal_sign` (EIP-191) and Bitcoin's signed messages, as Paralism
//! has them (dht.md §8.1).

use crate::identity::Address;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, PublicKey};
use sha2::{Digest as _, Sha256};
use sha3::Keccak256;

fn recover(digest: [u8; 32], recovery: u8, compact: &[u8; 64]) -> Option<PublicKey> {
    let recovery = RecoveryId::try_from(i32::from(recovery)).ok()?;
    let signature = RecoverableSignature::from_compact(compact, recovery).ok()?;
    signature.recover_ecdsa(Message::from_digest(digest)).ok()
}

/// The address whose wallet signed: `signature` is r ‖ s ‖ v, v being 27 or 28 (or 0 or 1).
pub(super) fn ethereum_signer(message: &[u8], signature: &[u8; 65]) -> Option<Address> {
    let (compact, v) = signature.split_first_chunk::<64>()?;
    let recovery = match v {
        [v @ (0 | 1)] => *v,
        [v @ (27 | 28)] => v - 27,
        _ => return None,
    };
    let prefix = format!("\x19Ethereum Signed Message:\n{}", message.len());
    let digest = Keccak256::new().chain_update(prefix).chain_update(message).finalize();
    let [_, point @ ..] = recover(digest.into(), recovery, compact)?.serialize_uncompressed();
    Some(Address::of_ethereum(&point))
}

/// The address whose wallet signed: `signature` is a header (27 to 34), then r ‖ s. The header says which of the two
/// serialisations of the key the address is of.
pub(super) fn paralism_signer(message: &[u8], signature: &[u8; 65]) -> Option<Address> {
    let (header, compact) = signature.split_last_chunk::<64>()?;
    let [header @ 27..=34] = header else { return None };
    let mut text = Vec::with_capacity(message.len() + 40);
    for part in [b"Bitcoin Signed Message:\n", message] {
        push_length(&mut text, part.len());
        text.extend_from_slice(part);
    }
    let key = recover(Sha256::digest(Sha256::digest(text)).into(), (header - 27) & 3, compact)?;
    Some(match header - 27 {
        4.. => Address::of_paralism(&key.serialize()),
        _ => Address::of_paralism(&key.serialize_uncompressed()),
    })
}

/// A length as Bitcoin writes it.
fn push_length(out: &mut Vec<u8>, length: usize) {
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..=0xfc), _) => out.push(length),
        (_, Ok(length)) => {
            out.push(0xfd);
            out.extend_from_slice(&length.to_le_bytes());
        }
        _ => {
            // Nothing that fits a datagram comes here, and more than 32 bits could not be counted.
            out.push(0xfe);
            out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secp256k1::SecretKey;

    #[test]
    fn a_wallets_signature_leads_to_its_address_and_no_other() {
        let secret = SecretKey::from_secret_bytes([5; 32]).unwrap();
        let public = PublicKey::from_secret_key(&secret);
        let [_, point @ ..] = public.serialize_uncompressed();
        let message = b"a text of the wallet";
        let digest: [u8; 32] = Keccak256::digest([&b"\x19Ethereum Signed Message:\n20"[..], message].concat()).into();
        let signed = RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(digest), &secret);
        let (recovery, compact) = signed.serialize_compact();
        for offset in [0, 27] {
            let signature: [u8; 65] = [&compact[..], &[u8::from(recovery) + offset]].concat().try_into().unwrap();
            assert_eq!(ethereum_signer(message, &signature), Some(Address::of_ethereum(&point)));
            assert_ne!(ethereum_signer(b"another", &signature), Some(Address::of_ethereum(&point)));
        }
    }

    #[test]
    fn broken_signatures_have_no_signer() {
        // r and s are zero, or above the order of the group; or the header is out of range.
        for fill in [0, 0xff] {
            for last in [0, 27, 28, 29] {
                let mut signature = [fill; 65];
                signature[64] = last;
                assert_eq!(ethereum_signer(b"", &signature), None);
                signature.rotate_right(1);
                assert_eq!(paralism_signer(b"", &signature), None);
            }
        }
        let mut lengths = Vec::new();
        for length in [0xfc, 0xfd, 0x1_0000] {
            push_length(&mut lengths, length);
        }
        assert_eq!(hex::encode(lengths), "fcfdfd00fe00000100");
    }
}
