//! Packets out of a stream that comes in pieces of any size.

use super::read::{Defect, Frame, Reading, Scan, Step};

/// A buffer larger than this is given back as soon as its packet was handed out, so that an idle stream is cheap.
const KEPT_BYTES_MAX: usize = 4096;

/// Cuts a stream into packets. Holds the bytes of one unfinished packet at most (below 70 KiB), never more than twice
/// of what has come of it, whatever the packet says about its length; a packet that lies whole in a piece is not copied.
///
/// ```
/// # use rigmesh::wire::ueps::{self, Deframer, Header, Key, Reading};
/// # let key = Key::from_bytes(b"k");
/// # let mut stream = Vec::new();
/// # for i in 0..3 { ueps::encode_to(&Header::new(i), b"payload", &key, &mut stream).unwrap(); }
/// let mut deframer = Deframer::new(Reading::Strict);
/// let mut intents = Vec::new();
/// for mut piece in stream.chunks(100) {
///     while let Some(frame) = deframer.handle_bytes(&mut piece)? {
///         intents.push(frame.verify(&key)?.header().intent);
///     }
/// }
/// deframer.handle_end()?;
/// assert_eq!(intents, [0, 1, 2]);
/// # Ok::<(), ueps::Defect>(())
/// ```
#[derive(Debug)]
pub struct Deframer {
    scan: Scan,
    held: Vec<u8>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// `held` is the beginning of a packet, or empty.
    Reading,
    /// `held` is a packet that was handed out; the next call drops it.
    Handed,
    /// The stream is out of step for good.
    Broken(Defect),
}

impl Deframer {
    /// At the beginning of a stream.
    pub fn new(reading: Reading) -> Deframer {
        Deframer { scan: Scan::new(reading), held: Vec::new(), state: State::Reading }
    }

    /// The next packet; takes from `input` what belongs to it. To be called until there is none: then `input` is empty.
    ///
    /// # Errors
    /// What is wrong with the stream; from then on the same again, for nobody knows where the next packet begins.
    /// A wrong HMAC ([`Frame::verify`]) does not break the stream.
    pub fn handle_bytes<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Frame<'a>>, Defect> {
        match self.state {
            State::Reading => {}
            State::Handed => self.release(),
            State::Broken(defect) => return Err(defect),
        }
        if self.held.is_empty() {
            match self.advance_on(input)? {
                Step::Whole(end) => {
                    let frame = self.scan.frame(input, end);
                    self.scan = Scan::new(self.scan.reading());
                    *input = input.get(end..).unwrap_or_default();
                    return Ok(Some(frame));
                }
                // All of it is of one packet.
                Step::Need(_) => self.held.extend_from_slice(std::mem::take(input)),
            }
            return Ok(None);
        }
        loop {
            let held = std::mem::take(&mut self.held);
            let step = self.advance_on(&held)?;
            self.held = held;
            match step {
                Step::Whole(end) => {
                    self.state = State::Handed;
                    return Ok(Some(self.scan.frame(&self.held, end)));
                }
                Step::Need(_) if input.is_empty() => return Ok(None),
                Step::Need(bytes) => {
                    let more = bytes.saturating_sub(self.held.len());
                    let (taken, rest) = input.split_at_checked(more).unwrap_or((input, &[]));
                    self.held.extend_from_slice(taken);
                    *input = rest;
                }
            }
        }
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// [`Defect::Truncated`] inside of a packet; what broke the stream, if something did.
    pub fn handle_end(&self) -> Result<(), Defect> {
        match self.state {
            State::Reading if self.held.is_empty() => Ok(()),
            State::Reading => Err(Defect::Truncated),
            State::Handed => Ok(()),
            State::Broken(defect) => Err(defect),
        }
    }

    /// Bytes of memory held for the stream.
    pub fn capacity(&self) -> usize {
        self.held.capacity()
    }

    fn advance_on(&mut self, bytes: &[u8]) -> Result<Step, Defect> {
        self.scan.advance(bytes).inspect_err(|defect| {
            self.state = State::Broken(*defect);
            self.held = Vec::new();
        })
    }

    /// Begins the packet behind the one that was handed out.
    fn release(&mut self) {
        self.held.clear();
        if self.held.capacity() > KEPT_BYTES_MAX {
            self.held = Vec::new();
        }
        (self.scan, self.state) = (Scan::new(self.scan.reading()), State::Reading);
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::{Header, Key, encode_to};
    use super::*;
    use crate::base::Rng;

    /// Intents and payload lengths of a stream cut by `piece`, and how it ended.
    fn read(stream: &[u8], mut piece: impl FnMut() -> usize) -> (Vec<(u8, usize)>, Result<(), Defect>) {
        let (key, mut deframer) = (Key::from_bytes(b"k"), Deframer::new(Reading::Strict));
        let (mut packets, mut rest) = (Vec::new(), stream);
        while !rest.is_empty() {
            let (mut now, later) = rest.split_at(piece().min(rest.len()));
            rest = later;
            loop {
                match deframer.handle_bytes(&mut now) {
                    Ok(Some(frame)) => {
                        let packet = frame.verify(&key).unwrap();
                        packets.push((packet.header().intent, packet.payload().len()));
                    }
                    Ok(None) => break assert!(now.is_empty()),
                    Err(defect) => {
                        assert!(matches!(deframer.handle_bytes(&mut now), Err(again) if again == defect));
                        assert_eq!(deframer.capacity(), 0);
                        return (packets, Err(defect));
                    }
                }
                assert!(deframer.capacity() <= 2 * stream.len().min(70_000) + 64);
            }
        }
        (packets, deframer.handle_end())
    }

    #[test]
    fn every_cut_of_a_stream_gives_the_same_packets() {
        let (key, mut stream) = (Key::from_bytes(b"k"), Vec::new());
        for (intent, length) in [(1, 0), (2, 1), (3, 300), (4, 65_535), (5, 7)] {
            encode_to(&Header::new(intent), &vec![intent; length], &key, &mut stream).unwrap();
        }
        let whole = read(&stream, || usize::MAX);
        assert_eq!(whole, (vec![(1, 0), (2, 1), (3, 300), (4, 65_535), (5, 7)], Ok(())));
        for size in [1, 2, 3, 58, 59, 60, 61, 1000] {
            assert_eq!(read(&stream, || size), whole, "{size}");
        }
        for seed in 0..50 {
            let mut rng = Rng::from_number(seed);
            let most = 1 << rng.below(18);
            assert_eq!(read(&stream, || 1 + rng.below(most) as usize), whole, "seed {seed}");
        }
        let (packets, end) = read(&stream[..stream.len() - 1], || 50);
        assert_eq!((packets.len(), end), (4, Err(Defect::Truncated)));
        let broken = [&stream[..], &[1, 0, 1, 9, 9]].concat();
        for size in [1, 7, usize::MAX] {
            let (packets, end) = read(&broken, || size);
            assert_eq!((packets.len(), end), (5, Err(Defect::UnexpectedTag { tag: 9, expected: 2 })));
        }
    }

    #[test]
    fn an_announced_length_costs_nothing_until_its_bytes_come() {
        let (key, mut stream) = (Key::from_bytes(b"k"), Vec::new());
        encode_to(&Header::new(1), &[0; 65_535], &key, &mut stream).unwrap();
        let mut deframer = Deframer::new(Reading::Strict);
        assert!(deframer.handle_bytes(&mut &stream[..60]).unwrap().is_none());
        assert!(deframer.capacity() < 200);
        assert!(deframer.handle_bytes(&mut &stream[60..]).unwrap().is_some());
        assert!(deframer.handle_bytes(&mut &b""[..]).unwrap().is_none());
        assert_eq!(deframer.capacity(), 0);
    }
}
