//! The handshake against itself, against the library's own transport, and against whoever stands between.

use super::*;
use crate::base::Timestamp;
use crate::identity::{Role, SecretKey};
use crate::session::secure::{FrameOpener, FrameSealer, Kind};

const STEP1: &[u8] = br#"{"type":"handshake"}"#;
const STEP2: &[u8] = br#"{"type":"handshake_ack"}"#;

struct Two {
    rig: Identity,
    owner: Identity,
    challenge: [u8; 32],
    psks: [Option<Psk>; 2],
    rng: Rng,
}

fn two(seed: u64) -> Two {
    let mut rng = Rng::from_number(seed);
    let mut made = |name, role| Identity::generate(name, role, Timestamp::ZERO, &mut rng).unwrap();
    let (rig, owner) = (made("rig", Role::Worker), made("owner", Role::Controller));
    let challenge = rng.array();
    Two { rig, owner, challenge, psks: [None, None], rng }
}

fn own(identity: &Identity) -> Statement {
    Statement::new(identity, vec!["chunk1".to_owned(), "ueps1".to_owned()], 1 << 20)
}

impl Two {
    fn start(&mut self) -> (Start, Vec<u8>) {
        let key = self.owner.public_key();
        let bound = Bound { initiator: &key, challenge: &self.challenge, psk: self.psks[0].as_ref() };
        Start::new(&self.owner, &bound, &mut self.rng).unwrap()
    }

    fn answer(&mut self, first: &[u8], heard: &[u8]) -> Result<(Answer, Vec<u8>)> {
        let key = self.owner.public_key();
        let bound = Bound { initiator: &key, challenge: &self.challenge, psk: self.psks[1].as_ref() };
        Answer::new(&self.rig, &bound, first, heard, &own(&self.rig), &mut self.rng)
    }

    fn sessions(&mut self) -> (Session, Session) {
        let (start, first) = self.start();
        let (answer, second) = self.answer(&first, STEP1).unwrap();
        let (ours, third) =
            start.finish(&second, &hash_of(STEP1), STEP2, &self.rig.public_key(), &own(&self.owner)).unwrap();
        (ours, answer.finish(&third, &hash_of(STEP2)).unwrap())
    }
}

#[test]
fn both_end_with_one_session_and_what_the_other_says() {
    let mut two = two(1);
    let (start, first) = two.start();
    assert_eq!(first.len(), 32);
    let (answer, second) = two.answer(&first, STEP1).unwrap();
    let (ours, third) = start.finish(&second, &hash_of(STEP1), STEP2, &two.rig.public_key(), &own(&two.owner)).unwrap();
    let payload = own(&two.rig).encode([0; 32]).unwrap().len();
    assert_eq!(second.len(), 96 + payload);
    let theirs = answer.finish(&third, &hash_of(STEP2)).unwrap();
    assert_eq!(ours.id, theirs.id);
    assert_eq!((ours.key, theirs.key), (two.rig.public_key(), two.owner.public_key()));
    assert_eq!((ours.peer.name.as_str(), &ours.peer.role), ("rig", &Role::Worker));
    assert_eq!((theirs.peer.name.as_str(), theirs.peer.sign), ("owner", two.owner.sign_key().public()));
    assert!(ours.peer.has("chunk1") && !ours.peer.has("chunk"));
    for (mut from, mut to) in [(ours.send, theirs.receive), (theirs.send, ours.receive)] {
        let mut frame = b"hello".to_vec();
        from.seal(&mut frame, 0).unwrap();
        assert_eq!(to.open(&mut frame).unwrap(), b"hello");
    }
}

#[test]
fn no_two_sessions_are_alike() {
    let mut two = two(2);
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let (ours, _) = two.sessions();
        assert!(ids.insert(ours.id));
    }
}

#[test]
fn our_halves_and_the_librarys_transport_say_the_same_also_after_rekeys() {
    let seed = 4;
    println!("seed {seed}");
    let mut rng = Rng::from_number(seed);
    let mut identity = || Identity::generate("a", Role::Dual, Timestamp::ZERO, &mut rng).unwrap();
    let identities = [identity(), identity()];
    let made = |initiator: bool, rng: &mut Rng| {
        let local = &identities[usize::from(initiator)];
        Noise::new(&Setup { local, prologue: b"p", psk: None, initiator }, rng).unwrap()
    };
    // The same handshake twice, from the same random numbers: one for us, one for the library.
    let shake = |rng: &mut Rng| {
        let (mut a, mut b) = (made(true, rng), made(false, rng));
        let first = a.write(b"").unwrap();
        b.read(&first).unwrap();
        let second = b.write(b"two").unwrap();
        a.read(&second).unwrap();
        let third = a.write(b"three").unwrap();
        b.read(&third).unwrap();
        (a, b)
    };
    let (ours, _) = shake(&mut Rng::from_number(9));
    let (_, theirs) = shake(&mut Rng::from_number(9));
    let mut ours = ours.split().unwrap();
    let mut theirs = theirs.into_library();
    let mut buffer = vec![0; 70_000];
    for round in 0..50 {
        let mut message = vec![0; rng.below(2000) as usize];
        rng.fill(&mut message);
        let mut frame = message.clone();
        ours.send.seal(&mut frame, 0).unwrap();
        let length = theirs.read_message(&frame, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], message);
        let length = theirs.write_message(&message, &mut buffer).unwrap();
        assert_eq!(ours.receive.open(&mut buffer[..length]).unwrap(), message);
        if round % 7 == 6 {
            ours.send.rekey().unwrap();
            ours.receive.rekey().unwrap();
            theirs.rekey_incoming();
            theirs.rekey_outgoing();
        }
    }
}

#[test]
fn frames_travel_over_a_session() {
    let (ours, theirs) = two(5).sessions();
    let mut sealer = FrameSealer::new(ours.send, crate::base::Time::ZERO);
    let mut opener = FrameOpener::new(theirs.receive, theirs.peer.max);
    let mut frame = Vec::new();
    sealer.seal(crate::base::Time::ZERO, Kind::Control, b"{}", 0, &mut frame).unwrap();
    let whole = opener.handle_frame(crate::base::Time::ZERO, &mut frame).unwrap().unwrap();
    assert_eq!(whole, (Kind::Control, b"{}".as_slice().into()));
}

#[test]
fn a_changed_bit_anywhere_in_any_message_ends_it() {
    let mut two = two(6);
    let rig = two.rig.public_key();
    let (_, first) = two.start();
    for bit in 0..first.len() * 8 {
        let mut bent = first.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        let (start, true_first) = two.start();
        // N1 is a bare key: a change of it shows when N2 does not open, or when it is no key.
        let Ok((_, second)) = two.answer(&bent, STEP1) else { continue };
        assert_ne!(true_first, bent);
        assert!(start.finish(&second, &hash_of(STEP1), STEP2, &rig, &own(&two.owner)).is_err());
    }
    let length = {
        let (_, first) = two.start();
        two.answer(&first, STEP1).unwrap().1.len()
    };
    for byte in 0..length {
        let (start, first) = two.start();
        let (_, mut second) = two.answer(&first, STEP1).unwrap();
        second[byte] ^= 0x10;
        assert!(start.finish(&second, &hash_of(STEP1), STEP2, &rig, &own(&two.owner)).is_err(), "byte {byte}");
    }
    for byte in 0..64 {
        let (start, first) = two.start();
        let (answer, second) = two.answer(&first, STEP1).unwrap();
        let (_, mut third) = start.finish(&second, &hash_of(STEP1), STEP2, &rig, &own(&two.owner)).unwrap();
        let at = byte * third.len() / 64;
        third[at] ^= 1;
        assert_eq!(answer.finish(&third, &hash_of(STEP2)).unwrap_err(), Refusal::BadProof.into());
    }
}

#[test]
fn clear_texts_that_were_changed_on_the_way_are_noticed_by_whoever_hears_of_them() {
    let mut two = two(7);
    let rig = two.rig.public_key();
    let (start, first) = two.start();
    let (_, second) = two.answer(&first, b"something else").unwrap();
    let told = start.finish(&second, &hash_of(STEP1), STEP2, &rig, &own(&two.owner)).unwrap_err();
    assert_eq!(told, Refusal::BadProof.into());
    let (start, first) = two.start();
    let (answer, second) = two.answer(&first, STEP1).unwrap();
    let (_, third) = start.finish(&second, &hash_of(STEP1), b"another ack", &rig, &own(&two.owner)).unwrap();
    assert_eq!(answer.finish(&third, &hash_of(STEP2)).unwrap_err(), Refusal::BadProof.into());
}

#[test]
fn another_key_another_challenge_or_another_code_is_no_session() {
    let mut two = two(8);
    let stranger = SecretKey::generate(&mut two.rng).public_key();
    let (start, first) = two.start();
    let (_, second) = two.answer(&first, STEP1).unwrap();
    let wrong = start.finish(&second, &hash_of(STEP1), STEP2, &stranger, &own(&two.owner)).unwrap_err();
    assert!(matches!(wrong, Error::WrongKey { .. }));
    let (start, first) = two.start();
    let challenge = std::mem::replace(&mut two.challenge, [1; 32]);
    let (_, second) = two.answer(&first, STEP1).unwrap();
    assert!(start.finish(&second, &hash_of(STEP1), STEP2, &two.rig.public_key(), &own(&two.owner)).is_err());
    two.challenge = challenge;
    // With a code: the same one on both sides, or nothing.
    for (psks, good) in
        [([Some([1; 32]); 2], true), ([Some([1; 32]), Some([2; 32])], false), ([None, Some([1; 32])], false)]
    {
        two.psks = psks.map(|psk| psk.map(|bytes| Zeroizing::new(bytes).into()));
        let (start, first) = two.start();
        assert_eq!(first.len(), if psks[0].is_some() { 48 } else { 32 });
        let done = two.answer(&first, STEP1).and_then(|(answer, second)| {
            let (_, third) = start.finish(&second, &hash_of(STEP1), STEP2, &two.rig.public_key(), &own(&two.owner))?;
            answer.finish(&third, &hash_of(STEP2))
        });
        assert_eq!(done.is_ok(), good);
    }
}

#[test]
fn keys_of_low_order_and_other_spellings_of_keys_are_refused() {
    let mut two = two(9);
    let mut p_plus_9 = [0xff; 32];
    (p_plus_9[0], p_plus_9[31]) = (0xf6, 0x7f);
    let mut top_bit = two.start().1;
    top_bit[31] |= 0x80;
    for bad in [vec![0; 32], [&[1][..], &[0; 31]].concat(), p_plus_9.to_vec(), top_bit] {
        assert_eq!(two.answer(&bad, STEP1).unwrap_err(), Refusal::BadProof.into());
    }
    assert!(two.answer(&[9; 31], STEP1).is_err() && two.answer(&[9; 33], STEP1).is_err());
}

#[test]
fn a_statement_is_read_strictly_and_its_numbers_are_bounded() {
    let two = two(10);
    let key = two.rig.public_key();
    let good = String::from_utf8(own(&two.rig).encode([7; 32]).unwrap()).unwrap();
    let read = Statement::decode(good.as_bytes(), &key).unwrap();
    assert_eq!(read.name, "rig");
    assert!(Statement::decode(good.as_bytes(), &two.owner.public_key()).is_err(), "a bind of another key");
    let max = |text: &str| Statement::decode(text.as_bytes(), &key).unwrap().max;
    assert_eq!(max(&good.replace("1048576", "1")), 64 << 10);
    assert_eq!(max(&good.replace("1048576", "99999999")), 1 << 20);
    assert!(Statement::decode(good.replace("{\"h\"", "{\"future\":1,\"h\"").as_bytes(), &key).is_ok());
    for (from, to) in [("1048576", "-1"), ("\"h\":\"", "\"h\":\"A"), ("\"name\"", "\"nome\""), ("[\"chunk1\"", "[1")] {
        assert!(good.contains(from));
        assert!(Statement::decode(good.replace(from, to).as_bytes(), &key).is_err(), "{to}");
    }
    assert!(Statement::decode(&[b' '; 4097], &key).is_err());
    let long = Statement::new(&two.rig, vec!["x".repeat(60); 100], 0);
    assert!(long.encode([0; 32]).is_err());
}
