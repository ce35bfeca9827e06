//! Every primitive through our own functions, under Wycheproof's vectors and those of its RFC.
//!
//! Where we are stricter than a vector, the rule stands in the test once, and the cases that it decides are counted.
//! Each test prints and asserts how many cases it ran, so that none is passed over in silence.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use rigmesh::base::{Result, base64_encode};
use rigmesh::formats::{ciphers, sigil};
use rigmesh::identity::{
    PublicKey, SecretKey, SharedSecret, SignKey, derive_shared_secret, sign_challenge, verify_challenge,
    verify_signature,
};
use rigmesh::wire::ueps::Key;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use wycheproof::{TestResult, aead, eddsa, hkdf, mac, xdh};

/// How many cases each rule decided.
#[derive(Default)]
struct Tally(BTreeMap<&'static str, usize>);

impl Tally {
    fn count(&mut self, rule: &'static str) {
        *self.0.entry(rule).or_default() += 1;
    }

    /// Prints them, and holds them against what is expected of all `total` cases.
    fn is(&self, primitive: &str, total: usize, expected: &[(&'static str, usize)]) {
        println!("{primitive}: {total} cases: {:?}", self.0);
        assert_eq!(self.0, expected.iter().copied().collect(), "{primitive}");
        assert_eq!(self.0.values().sum::<usize>(), total, "{primitive}: every case is decided by one rule");
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex.split_whitespace().collect::<String>()).unwrap()
}

fn array<const N: usize>(hex: &str) -> [u8; N] {
    bytes(hex).try_into().unwrap()
}

/// Our X25519 result is SHA-256 of the point's bytes.
fn hashed(point: &[u8]) -> SharedSecret {
    SharedSecret::from_bytes(Sha256::digest(point).into())
}

#[test]
fn x25519_agrees_and_refuses_keys_that_are_not_canonical_or_of_low_order() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let (mut strict, mut lax) = (Tally::default(), Tally::default());
    for case in set.test_groups.iter().flat_map(|group| &group.tests) {
        let public: [u8; 32] = case.public_key[..].try_into().unwrap();
        let secret = SecretKey::from_bytes(case.private_key[..].try_into().unwrap());
        let flag = |flag| case.flags.contains(&flag);
        let zero = case.shared_secret.iter().all(|b| *b == 0);
        assert_eq!(zero, flag(xdh::TestFlag::ZeroSharedSecret), "{case:?}");
        // The rule (mesh.md §8): only the canonical encoding of a point that is not of low order is a key.
        strict.count(match PublicKey::from_bytes(public) {
            Ok(key) => {
                assert!(!zero && !flag(xdh::TestFlag::NonCanonicalPublic), "accepted: {case:?}");
                assert_eq!(secret.shared_secret(&key).unwrap(), hashed(&case.shared_secret), "{case:?}");
                "agrees"
            }
            Err(_) if zero => "low order, refused",
            Err(_) => {
                assert!(flag(xdh::TestFlag::NonCanonicalPublic), "refused: {case:?}");
                "not canonical, refused"
            }
        });
        // The derivation that reads keys as Go does takes every encoding; an all-zero result is refused all the same.
        lax.count(match derive_shared_secret(&secret, &base64_encode(&public)) {
            Ok(shared) => {
                assert!(!zero && shared == hashed(&case.shared_secret), "{case:?}");
                "agrees"
            }
            Err(_) => {
                assert!(zero, "refused: {case:?}");
                "zero, refused"
            }
        });
    }
    let total = set.number_of_tests;
    strict.is("X25519", total, &[("agrees", 474), ("low order, refused", 31), ("not canonical, refused", 13)]);
    lax.is("X25519 as Go reads keys", total, &[("agrees", 487), ("zero, refused", 31)]);
}

#[test]
fn x25519_gives_the_results_of_rfc_7748() {
    // §5.2, both vectors (the second's key has its top bit set, which only the reading of Go ignores), and §6.1.
    for (secret, public, shared) in [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ] {
        let secret = SecretKey::from_bytes(array(secret));
        let got = derive_shared_secret(&secret, &base64_encode(&bytes(public))).unwrap();
        assert_eq!(got, hashed(&bytes(shared)));
    }
    let alice = SecretKey::from_bytes(array("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
    let bob = SecretKey::from_bytes(array("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
    assert_eq!(alice.public(), array("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
    assert_eq!(bob.public(), array("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
    let shared = hashed(&bytes("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"));
    assert_eq!(alice.shared_secret(&bob.public_key()).unwrap(), shared);
    assert_eq!(bob.shared_secret(&alice.public_key()).unwrap(), shared);
}

#[test]
fn chacha20_poly1305_agrees() {
    let mut tally = Tally::default();
    let set = aead::TestSet::load(aead::TestName::ChaCha20Poly1305).unwrap();
    run_aead(
        &set,
        &mut tally,
        |key, nonce: &[u8; 12], aad, data| ciphers::seal(key, *nonce, aad, data),
        |k, n, a, d| ciphers::open(k, *n, a, d).map(|plain| plain.to_vec()),
    );
    let rules = [("seals and opens", 256), ("does not open", 60), ("another nonce's length, not in the type", 9)];
    tally.is("ChaCha20-Poly1305", set.number_of_tests, &rules);
}

#[test]
fn xchacha20_poly1305_agrees() {
    let mut tally = Tally::default();
    let set = aead::TestSet::load(aead::TestName::XChaCha20Poly1305).unwrap();
    run_aead(&set, &mut tally, ciphers::seal_long, |k, n, a, d| ciphers::open_long(k, n, a, d).map(|p| p.to_vec()));
    let rules = [("seals and opens", 246), ("does not open", 60), ("another nonce's length, not in the type", 9)];
    tally.is("XChaCha20-Poly1305", set.number_of_tests, &rules);
}

/// Seals and opens every case with one pair of functions.
fn run_aead<const N: usize>(
    set: &aead::TestSet,
    tally: &mut Tally,
    seal: impl Fn(&[u8; 32], &[u8; N], &[u8], &mut [u8]) -> Result<[u8; 16]>,
    open: impl Fn(&[u8; 32], &[u8; N], &[u8], &mut [u8]) -> Result<Vec<u8>>,
) {
    for case in set.test_groups.iter().flat_map(|group| &group.tests) {
        let key: [u8; 32] = case.key[..].try_into().unwrap();
        // Such a call does not compile.
        let Ok(nonce) = <[u8; N]>::try_from(&case.nonce[..]) else {
            assert_eq!(case.result, TestResult::Invalid);
            tally.count("another nonce's length, not in the type");
            continue;
        };
        let mut data = case.pt.to_vec();
        let tag = seal(&key, &nonce, &case.aad, &mut data).unwrap();
        let mut sealed = [&case.ct[..], &case.tag].concat();
        let opened = open(&key, &nonce, &case.aad, &mut sealed);
        tally.count(match case.result {
            TestResult::Valid => {
                assert_eq!((&data[..], &tag[..]), (&case.ct[..], &case.tag[..]), "{case:?}");
                assert_eq!(opened.unwrap(), case.pt[..], "{case:?}");
                "seals and opens"
            }
            _ => {
                assert!(opened.is_err() && tag[..] != case.tag[..], "{case:?}");
                "does not open"
            }
        });
    }
}

/// Links and containers seal through the sigil: obfuscation, then the cipher without associated data.
#[test]
fn the_sigil_is_xchacha20_poly1305_under_its_obfuscation() {
    let mut tally = Tally::default();
    let set = aead::TestSet::load(aead::TestName::XChaCha20Poly1305).unwrap();
    for case in set.test_groups.iter().flat_map(|group| &group.tests) {
        let key: [u8; 32] = case.key[..].try_into().unwrap();
        let Ok(nonce) = <[u8; 24]>::try_from(&case.nonce[..]) else {
            tally.count("another nonce's length, not in the type");
            continue;
        };
        if !case.aad.is_empty() {
            tally.count("associated data, which the sigil has none of");
            continue;
        }
        // Obfuscated twice it is the vector's plaintext again.
        let mut plain = case.pt.to_vec();
        sigil::obfuscate(&nonce, &mut plain);
        let vector = [&nonce[..], &case.ct, &case.tag].concat();
        let opened = sigil::open_in_place(&key, &mut vector.clone()).map(|p| p.to_vec());
        tally.count(match case.result {
            TestResult::Valid => {
                assert_eq!(sigil::seal(&key, &nonce, &plain).unwrap(), vector, "{case:?}");
                assert_eq!(opened.unwrap(), plain, "{case:?}");
                "seals and opens"
            }
            _ => panic!("every vector that must fail has associated data: {case:?}"),
        });
    }
    let rules = [
        ("seals and opens", 45),
        ("associated data, which the sigil has none of", 261),
        ("another nonce's length, not in the type", 9),
    ];
    tally.is("sigil", set.number_of_tests, &rules);
}

#[test]
fn hkdf_sha256_agrees() {
    let mut tally = Tally::default();
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
    for case in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut out = vec![0; case.size];
        let done = ciphers::hkdf_sha256(&case.salt, &case.ikm, &case.info, &mut out);
        tally.count(match case.result {
            TestResult::Valid => {
                done.unwrap();
                assert_eq!(out, case.okm[..], "{case:?}");
                "agrees"
            }
            _ => {
                assert!(done.is_err(), "{case:?}");
                "more than 255 hashes, refused"
            }
        });
    }
    tally.is("HKDF-SHA256", set.number_of_tests, &[("agrees", 83), ("more than 255 hashes, refused", 3)]);
}

#[test]
fn hmac_sha256_agrees_and_a_truncated_answer_is_none() {
    let (mut packets, mut challenges) = (Tally::default(), Tally::default());
    let set = mac::TestSet::load(mac::TestName::HmacSha256).unwrap();
    for case in set.test_groups.iter().flat_map(|group| &group.tests) {
        let valid = case.result == TestResult::Valid;
        // UEPS packets: keys of any length. What is compared there is always the whole HMAC.
        let got = Key::from_bytes(&case.key).hmac(&case.msg);
        assert_eq!(got[..case.tag.len()] == case.tag[..], valid, "{case:?}");
        packets.count(if valid { "agrees" } else { "another HMAC" });
        // Challenges: the key is a shared secret of 32 bytes. The rule: only the whole HMAC answers.
        let Ok(key) = <[u8; 32]>::try_from(&case.key[..]) else {
            challenges.count("a key of another length, not in the type");
            continue;
        };
        let secret = SharedSecret::from_bytes(key);
        assert_eq!(sign_challenge(&case.msg, &secret), got);
        let whole = case.tag.len() == 32;
        assert_eq!(verify_challenge(&case.msg, &case.tag, &secret), valid && whole, "{case:?}");
        challenges.count(match (valid, whole) {
            (true, true) => "agrees",
            (true, false) => "truncated, refused",
            _ => "another HMAC, refused",
        });
    }
    packets.is("HMAC-SHA256 of packets", set.number_of_tests, &[("agrees", 66), ("another HMAC", 108)]);
    let rules = [
        ("agrees", 27),
        ("truncated, refused", 27),
        ("another HMAC, refused", 108),
        ("a key of another length, not in the type", 12),
    ];
    challenges.is("HMAC-SHA256 of challenges", set.number_of_tests, &rules);
}

#[test]
fn ed25519_agrees() {
    let mut tally = Tally::default();
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    for group in &set.test_groups {
        let public: [u8; 32] = group.key.pk[..].try_into().unwrap();
        for case in &group.tests {
            // Strict verification also refuses keys of small order; no vector has one.
            let valid = verify_signature(&public, &case.msg, &case.sig);
            assert_eq!(valid, case.result == TestResult::Valid, "{case:?}");
            tally.count(if valid { "verifies" } else { "refused" });
        }
    }
    tally.is("Ed25519", set.number_of_tests, &[("verifies", 88), ("refused", 63)]);
}

#[test]
fn ed25519_signs_as_rfc_8032_does() {
    // §7.1, tests 1 to 3.
    for (seed, public, message, signature) in [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ] {
        let key = SignKey::from_seed(&array(seed));
        assert_eq!(key.public(), array(public));
        assert_eq!(key.sign(&bytes(message)), array(signature));
        assert!(verify_signature(&array(public), &bytes(message), &bytes(signature)));
    }
}

#[test]
fn the_ciphers_give_the_example_of_rfc_8439_and_of_xchachas_draft() {
    const TEXT: &[u8] = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    let key: [u8; 32] = array("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
    let aad = bytes("50515253c0c1c2c3c4c5c6c7");
    let sealed = |tag: [u8; 16], data: Vec<u8>| [data, tag.to_vec()].concat();
    // RFC 8439 §2.8.2.
    let mut data = TEXT.to_vec();
    let tag = ciphers::seal(&key, array("070000004041424344454647"), &aad, &mut data).unwrap();
    let expected = bytes(
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b29
         05d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b
         61161ae10b594f09e26a7e902ecbd0600691",
    );
    assert_eq!(sealed(tag, data), expected);
    // draft-irtf-cfrg-xchacha-03, A.3.1.
    let mut data = TEXT.to_vec();
    let nonce = array("404142434445464748494a4b4c4d4e4f5051525354555657");
    let tag = ciphers::seal_long(&key, &nonce, &aad, &mut data).unwrap();
    let expected = bytes(
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216
         cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812f615c68b13
         b52ec0875924c1c7987947deafd8780acf49",
    );
    assert_eq!(sealed(tag, data), expected);
}

#[test]
fn hmac_sha256_gives_the_results_of_rfc_4231() {
    // §4.2 to §4.8, without §4.6, which is truncated.
    let long = b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.";
    let counted: Vec<u8> = (1..=25).collect();
    let cases: [(&[u8], &[u8], &str); 6] = [
        (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (&counted, &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        (
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (&[0xaa; 131], long, "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"),
    ];
    for (key, message, expected) in cases {
        assert_eq!(Key::from_bytes(key).hmac(message), array(expected));
    }
}

#[test]
fn hkdf_sha256_gives_the_results_of_rfc_5869() {
    let run = |from: u8, to: u8| (from..to).collect::<Vec<u8>>();
    let cases = [
        (
            run(0, 0x0d),
            vec![0x0b; 22],
            run(0xf0, 0xfa),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            run(0x60, 0xb0),
            run(0, 0x50),
            (0xb0..=0xff).collect(),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            Vec::new(),
            vec![0x0b; 22],
            Vec::new(),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ];
    for (salt, secret, info, expected) in cases {
        let expected = bytes(expected);
        let mut out = vec![0; expected.len()];
        ciphers::hkdf_sha256(&salt, &secret, &info, &mut out).unwrap();
        assert_eq!(out, expected);
    }
}
