//! Secure sessions: what a proven peer may send, and what anybody may send before.

use rigmesh::base::{Now, Rng, Time, Timestamp};
use rigmesh::identity::{Identity, Role};
use rigmesh::session::secure::{CipherHalf, Fault, FrameOpener, Kind, Statement};

const MAX: usize = 4096;
const KEY: [u8; 32] = [5; 32];

/// Frames of a peer that has the key: two bytes of length and the plain frame, again and again. Whatever they are, a message
/// has at most what was announced, and only the peer's own mistakes end the session.
pub fn frames(bytes: &[u8]) -> bool {
    let (mut half, mut opener) = (CipherHalf::new(&KEY), FrameOpener::new(CipherHalf::new(&KEY), MAX));
    let (mut rest, mut whole) = (bytes, false);
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(tail.len());
        let (plain, tail) = tail.split_at(length);
        rest = tail;
        let mut frame = plain.to_vec();
        half.seal(&mut frame, 0).unwrap();
        match opener.handle_frame(Time::ZERO, &mut frame) {
            Ok(Some((kind, message))) => {
                assert!(message.len() <= MAX && kind != Kind::Rekey);
                whole = true;
            }
            Ok(None) => {
                // A new key on both sides.
                if plain[0] == 5 {
                    half.rekey().unwrap();
                }
            }
            Err(Fault::Forged) => {
                assert!(plain.len() < 2 || plain.len() > 65_519, "a frame of the peer did not open");
                return false;
            }
            Err(Fault::Broken(_)) => return false,
        }
    }
    // Without the key nothing opens.
    assert_eq!(
        FrameOpener::new(CipherHalf::new(&KEY), MAX).handle_frame(Time::ZERO, &mut bytes.to_vec()),
        Err(Fault::Forged)
    );
    whole
}

/// A statement that is taken has bounded parts and a signing key that agrees to belong to the node's key.
pub fn statement(bytes: &[u8]) -> bool {
    let Ok(read) = Statement::decode(bytes, &identity().public_key()) else { return false };
    assert!(read.caps.len() <= 64 && read.name.len() <= 256 && (64 << 10..=1 << 20).contains(&read.max));
    assert_eq!(read.sign, identity().sign_key().public());
    true
}

/// The node of the statements in the corpus.
pub fn identity() -> Identity {
    let now = Now { mono: Time::ZERO, wall: Timestamp::from_unix(1_800_000_000, 0) };
    Identity::generate("fuzz", Role::Worker, now.wall, &mut Rng::from_number(5)).unwrap()
}

/// A statement with an unknown key so deep.
pub fn deep_statement(inner: &str) -> Vec<u8> {
    let text =
        String::from_utf8(Statement::new(&identity(), vec!["ueps1".to_owned()], 1 << 20).encode([7; 32]).unwrap());
    text.unwrap().replacen('{', &format!("{{\"x\":{inner},"), 1).into_bytes()
}
