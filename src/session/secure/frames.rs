//! Frames of a session (secure-session.md §2): messages cut into parts, sealed in order; opened in order and put together.

use super::{CipherHalf, TAG_BYTES};
use crate::base::{Result, Time};
use crate::bundle;
use crate::message::Chunk;
use crate::wire::ueps;
use std::borrow::Cow;
use std::time::Duration;

/// The longest frame, tag included, bytes.
pub const FRAME_BYTES_MAX: usize = 65_535;
/// The shortest: kind, flags and tag.
const FRAME_BYTES_MIN: usize = HEAD_BYTES + TAG_BYTES;
/// Kind and flags.
const HEAD_BYTES: usize = 2;
/// The longest part of a message that must not wait, bytes.
const PART_BYTES_MAX: usize = FRAME_BYTES_MAX - FRAME_BYTES_MIN;
/// The longest part of a patient message: whoever is in a hurry waits for one of these at most.
const PATIENT_PART_BYTES_MAX: usize = 16_384;
/// A message that is larger than this is patient, bytes.
pub const CONTROL_BYTES_MAX: usize = 16 << 10;

/// The longest body of data, bytes: a chunk and its place. A peer that takes data takes this much, whatever it announced.
pub const DATA_BYTES_MAX: usize = Chunk::HEAD_BYTES + bundle::CHUNK_BYTES as usize;
/// The longest packet, bytes. The same holds of whoever takes packets.
pub const PACKET_BYTES_MAX: usize = ueps::OVERHEAD_BYTES + ueps::PAYLOAD_BYTES_MAX;

/// A direction's key is replaced after so many frames,
pub const REKEY_FRAMES: u64 = 1 << 20;
/// and this long after the last time, when there was a frame since.
pub const REKEY_AFTER: Duration = Duration::from_secs(120);
/// A message whose parts take longer is given up, and the session with it.
pub const UNFINISHED_MAX: Duration = Duration::from_secs(30);

/// Flag: more parts of this message follow.
const MORE: u8 = 1;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A message that must not wait.
    Control,
    /// A large, patient message.
    Large,
    /// File data that was asked for: a chunk and its place ([`Chunk::encode_frame`]).
    Data,
    /// One whole UEPS packet and nothing else.
    Ueps,
    /// Nothing: from the next frame on the sender's next key is in force.
    Rekey,
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Kind::Control => 1,
            Kind::Large => 2,
            Kind::Data => 3,
            Kind::Ueps => 4,
            Kind::Rekey => 5,
        }
    }

    /// What stands before a message of this kind that fits in one frame.
    pub(in crate::session) fn whole(self) -> Vec<u8> {
        vec![self.number(), 0]
    }

    fn from_number(number: u8) -> Option<Kind> {
        [Kind::Control, Kind::Large, Kind::Data, Kind::Ueps, Kind::Rekey].into_iter().find(|k| k.number() == number)
    }

    fn part_bytes_max(self) -> usize {
        match self {
            Kind::Control | Kind::Ueps | Kind::Rekey => PART_BYTES_MAX,
            Kind::Large | Kind::Data => PATIENT_PART_BYTES_MAX,
        }
    }
}

/// A message put together.
pub type Whole<'a> = (Kind, Cow<'a, [u8]>);

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The frame is not the next one of this direction: the connection closes at once, without an answer.
    Forged,
    /// The peer, and it is the peer, breaks the rules: it is told so ([`crate::message::DisconnectCode`] 1002).
    Broken(&'static str),
}

/// The sending direction: cuts, seals, changes the key when that is due.
#[derive(Debug)]
pub struct FrameSealer {
    half: CipherHalf,
    /// The frame at which the key in force began, and when that was.
    keyed: (u64, Time),
}

impl FrameSealer {
    /// Begins with the key of the handshake.
    pub fn new(half: CipherHalf, now: Time) -> FrameSealer {
        FrameSealer { half, keyed: (0, now) }
    }

    /// Appends the next frame of `message`, of which `done` bytes have gone, to `out`, and gives how many have gone then.
    /// The message has gone as a whole when that is its length. A key whose time is over is replaced first: the frame is
    /// then that replacement, and `done` comes back as it was.
    ///
    /// # Errors
    /// The session's key is used up, after 2^64 frames.
    pub fn seal(&mut self, now: Time, kind: Kind, message: &[u8], done: usize, out: &mut Vec<u8>) -> Result<usize> {
        let start = out.len();
        if self.is_rekey_due(now) {
            out.extend_from_slice(&[Kind::Rekey.number(), 0]);
            self.half.seal(out, start)?;
            self.half.rekey()?;
            self.keyed = (self.half.count(), now);
            return Ok(done);
        }
        let rest = message.get(done..).unwrap_or_default();
        let part = rest.get(..kind.part_bytes_max()).unwrap_or(rest);
        let flags = if part.len() < rest.len() { MORE } else { 0 };
        out.reserve(HEAD_BYTES + part.len() + TAG_BYTES);
        out.extend_from_slice(&[kind.number(), flags]);
        out.extend_from_slice(part);
        self.half.seal(out, start)?;
        Ok(done + part.len())
    }

    fn is_rekey_due(&self, now: Time) -> bool {
        let (frame, at) = self.keyed;
        let used = self.half.count() - frame;
        used >= REKEY_FRAMES || used > 0 && now.since(at) >= REKEY_AFTER
    }
}

/// The receiving direction: opens, follows changes of the key, puts messages together.
#[derive(Debug)]
pub struct FrameOpener {
    half: CipherHalf,
    /// The frame at which the key in force began.
    keyed: u64,
    message_bytes_max: usize,
    /// Messages of which parts are missing, by kind.
    unfinished: Vec<Unfinished>,
}

#[derive(Debug)]
struct Unfinished {
    kind: Kind,
    since: Time,
    bytes: Vec<u8>,
}

impl FrameOpener {
    /// Begins with the key of the handshake; messages have at most what we announced.
    pub fn new(half: CipherHalf, message_bytes_max: usize) -> FrameOpener {
        FrameOpener { half, keyed: 0, message_bytes_max, unfinished: Vec::new() }
    }

    /// Opens the next frame, where it stands. Gives a message when it is the last part of one.
    ///
    /// # Errors
    /// The session is over, see [`Fault`].
    pub fn handle_frame<'a>(
        &mut self,
        now: Time,
        frame: &'a mut [u8],
    ) -> std::result::Result<Option<Whole<'a>>, Fault> {
        if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&frame.len()) {
            return Err(Fault::Forged);
        }
        let plain: &'a [u8] = self.half.open(frame).map_err(|_| Fault::Forged)?;
        let [number, flags, body @ ..] = plain else { return Err(Fault::Forged) };
        let kind = Kind::from_number(*number).ok_or(Fault::Broken("a frame of an unknown kind"))?;
        let more = match flags {
            0 => false,
            &MORE => true,
            _ => return Err(Fault::Broken("a frame with unknown flags")),
        };
        if kind == Kind::Rekey {
            if more || !body.is_empty() {
                return Err(Fault::Broken("a rekey frame that holds something"));
            }
            self.half.rekey().map_err(|_| Fault::Forged)?;
            self.keyed = self.half.count();
            return Ok(None);
        }
        // One more than the sender may: its rekey frame was opened before it is counted here.
        if self.half.count() - self.keyed > REKEY_FRAMES {
            return Err(Fault::Broken("a key used for too long"));
        }
        if self.unfinished.iter().any(|one| now.since(one.since) >= UNFINISHED_MAX) {
            return Err(Fault::Broken("a message that is never finished"));
        }
        self.put_together(now, kind, more, body)
    }

    fn put_together<'a>(
        &mut self,
        now: Time,
        kind: Kind,
        more: bool,
        body: &'a [u8],
    ) -> std::result::Result<Option<Whole<'a>>, Fault> {
        let max = match kind {
            Kind::Data => DATA_BYTES_MAX,
            Kind::Ueps => PACKET_BYTES_MAX,
            Kind::Control | Kind::Large | Kind::Rekey => self.message_bytes_max,
        };
        let fits = |have: usize| have + body.len() <= max;
        let at = self.unfinished.iter().position(|one| one.kind == kind);
        let Some(one) = at.and_then(|at| self.unfinished.get_mut(at)) else {
            return match (fits(0), more) {
                (false, _) => Err(TOO_LARGE),
                (true, false) => Ok(Some((kind, Cow::Borrowed(body)))),
                (true, true) => {
                    self.unfinished.push(Unfinished { kind, since: now, bytes: body.to_vec() });
                    Ok(None)
                }
            };
        };
        if !fits(one.bytes.len()) {
            return Err(TOO_LARGE);
        }
        one.bytes.extend_from_slice(body);
        let whole = at.filter(|_| !more).map(|at| self.unfinished.swap_remove(at).bytes);
        if self.unfinished.is_empty() {
            self.unfinished = Vec::new(); // an idle link keeps nothing
        }
        Ok(whole.map(|bytes| (kind, Cow::Owned(bytes))))
    }
}

const TOO_LARGE: Fault = Fault::Broken("a message larger than is taken");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    const MAX: usize = 1 << 20;

    fn pair() -> (FrameSealer, FrameOpener) {
        let half = || CipherHalf::new(&[5; 32]);
        (FrameSealer::new(half(), Time::ZERO), FrameOpener::new(half(), MAX))
    }

    /// A frame with anything in it.
    fn raw(half: &mut CipherHalf, plain: &[u8]) -> Vec<u8> {
        let mut frame = plain.to_vec();
        half.seal(&mut frame, 0).unwrap();
        frame
    }

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn whatever_is_cut_comes_out_whole_also_when_kinds_interleave() {
        let seed = 3;
        println!("seed {seed}");
        let mut rng = Rng::from_number(seed);
        let (mut sealer, mut opener) = pair();
        let kinds = [Kind::Control, Kind::Large, Kind::Data, Kind::Ueps];
        let mut waiting: Vec<(Kind, Vec<u8>, usize)> = Vec::new();
        let (mut sent, mut came) = (Vec::new(), Vec::new());
        for _ in 0..400 {
            let kind = kinds[rng.below(4) as usize];
            if !waiting.iter().any(|(k, ..)| *k == kind) {
                let lengths = [0, 1, 100, 16_384, 16_385, 65_517, 65_518, 200_000];
                let any = matches!(kind, Kind::Control | Kind::Large);
                let length = lengths[rng.below(if any { 8 } else { 7 }) as usize];
                waiting.push((kind, (0..length).map(|i| (i % 251) as u8).collect(), 0));
            }
            let i = rng.below(waiting.len() as u64) as usize;
            let (kind, message, done) = &mut waiting[i];
            let mut frame = Vec::new();
            *done = sealer.seal(at(0), *kind, message, *done, &mut frame).unwrap();
            assert!(frame.len() <= FRAME_BYTES_MAX);
            if *done == message.len() {
                let (kind, message, _) = waiting.remove(i);
                sent.push((kind, message));
            }
            if let Some((kind, message)) = opener.handle_frame(at(0), &mut frame).unwrap() {
                came.push((kind, message.into_owned()));
            }
        }
        assert_eq!(sent, came);
        assert!(sent.len() > 50);
    }

    #[test]
    fn the_key_is_replaced_after_two_minutes_with_a_frame_and_never_without() {
        let (mut sealer, mut opener) = pair();
        let mut next = |seconds| {
            let mut frame = Vec::new();
            let done = sealer.seal(at(seconds), Kind::Control, b"x", 0, &mut frame).unwrap();
            opener.handle_frame(at(seconds), &mut frame).unwrap();
            done == 1
        };
        assert!(next(500), "no frame had passed");
        assert!(!next(501), "one had");
        assert!(next(501) && next(620));
        assert!(!next(621));
        assert!(next(621));
    }

    #[test]
    fn more_frames_under_one_key_than_agreed_end_the_session() {
        let (mut sealer, mut opener) = pair();
        sealer.keyed = (0, at(0));
        let mut rekeys = 0;
        for _ in 0..=REKEY_FRAMES {
            let mut frame = Vec::new();
            rekeys += u64::from(sealer.seal(at(0), Kind::Control, b"x", 0, &mut frame).unwrap() == 0);
            opener.handle_frame(at(0), &mut frame).unwrap();
        }
        assert_eq!(rekeys, 1);
        // A sender that forgets it.
        let (mut half, mut opener) = (CipherHalf::new(&[5; 32]), FrameOpener::new(CipherHalf::new(&[5; 32]), MAX));
        for _ in 0..REKEY_FRAMES {
            opener.handle_frame(at(0), &mut raw(&mut half, &[1, 0])).unwrap();
        }
        let mut one_more = raw(&mut half, &[1, 0]);
        assert_eq!(opener.handle_frame(at(0), &mut one_more), Err(Fault::Broken("a key used for too long")));
    }

    #[test]
    fn what_breaks_the_rules_is_told_apart_from_what_is_forged() {
        let first = |plain: &[u8]| {
            let mut opener = FrameOpener::new(CipherHalf::new(&[5; 32]), 100);
            let mut frame = raw(&mut CipherHalf::new(&[5; 32]), plain);
            opener.handle_frame(at(0), &mut frame).map(|whole| whole.map(|(kind, body)| (kind, body.into_owned())))
        };
        assert_eq!(first(&[4, 0, 9]), Ok(Some((Kind::Ueps, vec![9]))));
        assert_eq!(first(&[5, 0]), Ok(None));
        for broken in [&[0, 0][..], &[6, 0], &[255, 0], &[1, 2], &[1, 0x80], &[5, 0, 1], &[5, 1], &[1, 0, 0].repeat(40)]
        {
            assert!(matches!(first(broken), Err(Fault::Broken(_))), "{broken:?}");
        }
        assert_eq!(first(&[]), Err(Fault::Forged), "no kind");
        assert_eq!(first(&[1]), Err(Fault::Forged), "no flags");
        let mut opener = FrameOpener::new(CipherHalf::new(&[5; 32]), 100);
        for length in [0, 17, 18, 65_535, 65_536] {
            assert_eq!(opener.handle_frame(at(0), &mut vec![0; length]), Err(Fault::Forged));
        }
    }

    #[test]
    fn data_and_packets_have_bounds_of_their_own_whatever_was_announced() {
        for (kind, max) in [(3, DATA_BYTES_MAX), (4, PACKET_BYTES_MAX)] {
            let mut half = CipherHalf::new(&[5; 32]);
            let mut opener = FrameOpener::new(CipherHalf::new(&[5; 32]), 100);
            let part = |more: u8, length: usize| [&[kind, more][..], &vec![7; length]].concat();
            assert_eq!(opener.handle_frame(at(0), &mut raw(&mut half, &part(MORE, 60_000))), Ok(None));
            let mut last = raw(&mut half, &part(0, max - 60_000));
            let (_, body) = opener.handle_frame(at(0), &mut last).unwrap().unwrap();
            assert_eq!(body.len(), max);
            assert_eq!(opener.handle_frame(at(0), &mut raw(&mut half, &part(MORE, 60_000))), Ok(None));
            let mut one_more = raw(&mut half, &part(0, max - 59_999));
            assert_eq!(opener.handle_frame(at(0), &mut one_more), Err(TOO_LARGE));
        }
    }

    #[test]
    fn a_message_may_not_grow_too_large_or_take_for_ever() {
        let mut half = CipherHalf::new(&[5; 32]);
        let mut opener = FrameOpener::new(CipherHalf::new(&[5; 32]), 100);
        let part = [&[1, MORE][..], &[7; 60]].concat();
        assert_eq!(opener.handle_frame(at(0), &mut raw(&mut half, &part)), Ok(None));
        assert_eq!(opener.handle_frame(at(0), &mut raw(&mut half, &part)), Err(TOO_LARGE));
        let mut half = CipherHalf::new(&[5; 32]);
        let mut opener = FrameOpener::new(CipherHalf::new(&[5; 32]), 100);
        assert_eq!(opener.handle_frame(at(0), &mut raw(&mut half, &part)), Ok(None));
        assert!(opener.handle_frame(at(29), &mut raw(&mut half, &[4, 0, 1])).is_ok());
        let mut next = raw(&mut half, &[4, 0, 1]);
        let late = opener.handle_frame(at(30), &mut next);
        assert_eq!(late, Err(Fault::Broken("a message that is never finished")));
    }
}
