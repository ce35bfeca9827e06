//! A stream of bytes, in pieces of any size, into messages; fragmented ones are put together.

use super::{HEADER_BYTES, Header, LevinError, PAYLOAD_BYTES_MAX, SIGNATURE, flag, return_code};

/// A message: what its header says, and its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// One of [`command`](super::command), or any other.
    pub command: u32,
    /// Whether the sender waits for a response.
    pub expects_response: bool,
    /// One of [`return_code`] in a response.
    pub return_code: i32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// What follows the header.
    pub payload: Vec<u8>,
}

impl Message {
    /// A request, which waits for a response.
    pub fn request(command: u32, payload: Vec<u8>) -> Message {
        Message { command, expects_response: true, return_code: 0, flags: flag::REQUEST, payload }
    }

    /// A notification, which nobody answers.
    pub fn notification(command: u32, payload: Vec<u8>) -> Message {
        Message { expects_response: false, ..Message::request(command, payload) }
    }

    /// A response.
    pub fn response(command: u32, return_code: i32, payload: Vec<u8>) -> Message {
        Message { command, expects_response: false, return_code, flags: flag::RESPONSE, payload }
    }

    /// Whether it is a response.
    pub fn is_response(&self) -> bool {
        self.flags & flag::RESPONSE != 0
    }

    /// Whether it is a response that says that the request failed: a negative return code.
    pub fn is_failure(&self) -> bool {
        self.is_response() && self.return_code < return_code::OK
    }

    /// Header and payload.
    ///
    /// # Errors
    /// [`LevinError::PayloadTooLarge`] above [`PAYLOAD_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, LevinError> {
        let size = u64::try_from(self.payload.len()).unwrap_or(u64::MAX);
        if size > PAYLOAD_BYTES_MAX {
            return Err(LevinError::PayloadTooLarge { size, max: PAYLOAD_BYTES_MAX });
        }
        let header = Header {
            expects_response: self.expects_response,
            return_code: self.return_code,
            flags: self.flags,
            ..Header::request(self.command, false, size)
        };
        Ok([&header.encode()[..], &self.payload].concat())
    }
}

impl From<(Header, Vec<u8>)> for Message {
    fn from((header, payload): (Header, Vec<u8>)) -> Message {
        let Header { expects_response, command, return_code, flags, .. } = header;
        Message { command, expects_response, return_code, flags, payload }
    }
}

/// Takes bytes as they come and gives messages. Holds one payload and one message in fragments at most, each within its
/// bound, and no byte that has not arrived.
///
/// A message without the flags of a request or response is a fragment: from one with [`flag::BEGIN`] to one with
/// [`flag::END`] the payloads make a message with a header of its own, behind which zeros may fill up the last fragment;
/// both flags at once are a dummy. Whole messages may stand between fragments.
#[derive(Debug)]
pub struct Deframer {
    payload_max: u64,
    /// What has arrived of a header.
    head: Vec<u8>,
    /// The header whose payload arrives.
    header: Option<Header>,
    payload: Vec<u8>,
    /// A message in fragments, from its own header on.
    fragments: Option<Vec<u8>>,
    failed: Option<LevinError>,
}

impl Deframer {
    /// For payloads of at most `payload_max` bytes, and never more than [`PAYLOAD_BYTES_MAX`].
    pub fn new(payload_max: u64) -> Deframer {
        let payload_max = payload_max.min(PAYLOAD_BYTES_MAX);
        Deframer { payload_max, head: Vec::new(), header: None, payload: Vec::new(), fragments: None, failed: None }
    }

    /// Takes bytes from the front of `input`, up to the end of the next message, and gives that message; `None` when
    /// `input` is used up before.
    ///
    /// # Errors
    /// What is wrong. The stream cannot be read on: every later call gives the same error.
    pub fn handle_bytes(&mut self, input: &mut &[u8]) -> Result<Option<Message>, LevinError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.take(input).inspect_err(|error| {
            *self = Deframer { failed: Some(error.clone()), ..Deframer::new(self.payload_max) };
        })
    }

    /// Whether nothing of a message has arrived: here a stream may end.
    pub fn is_between_messages(&self) -> bool {
        self.head.is_empty() && self.header.is_none() && self.fragments.is_none()
    }

    /// Bytes held.
    pub fn held_bytes(&self) -> usize {
        self.head.capacity() + self.payload.capacity() + self.fragments.as_ref().map_or(0, Vec::capacity)
    }

    fn take(&mut self, input: &mut &[u8]) -> Result<Option<Message>, LevinError> {
        loop {
            let header = match self.header {
                Some(header) => header,
                None => match self.take_header(input)? {
                    Some(header) => *self.header.insert(header),
                    None => return Ok(None),
                },
            };
            let size = usize::try_from(header.payload_bytes).unwrap_or(usize::MAX);
            let (now, later) = input.split_at(size.saturating_sub(self.payload.len()).min(input.len()));
            self.payload.extend_from_slice(now);
            *input = later;
            if self.payload.len() < size {
                return Ok(None);
            }
            self.header = None;
            let whole = (header, std::mem::take(&mut self.payload));
            if header.flags & (flag::REQUEST | flag::RESPONSE) != 0 {
                return Ok(Some(whole.into()));
            }
            if let Some(message) = self.take_fragment(header, whole.1)? {
                return Ok(Some(message));
            }
        }
    }

    fn take_header(&mut self, input: &mut &[u8]) -> Result<Option<Header>, LevinError> {
        let (now, later) = input.split_at(HEADER_BYTES.saturating_sub(self.head.len()).min(input.len()));
        self.head.extend_from_slice(now);
        *input = later;
        // What speaks another protocol is told so with its first bytes, not after it has sent 33.
        let seen = self.head.len().min(8);
        if self.head.get(..seen) != SIGNATURE.to_le_bytes().get(..seen) {
            return Err(LevinError::Signature);
        }
        let Some(bytes) = self.head.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = Header::decode(bytes)?;
        self.check_size(header.payload_bytes)?;
        self.head.clear();
        Ok(Some(header))
    }

    fn check_size(&self, size: u64) -> Result<(), LevinError> {
        match size > self.payload_max {
            true => Err(LevinError::PayloadTooLarge { size, max: self.payload_max }),
            false => Ok(()),
        }
    }

    fn take_fragment(&mut self, header: Header, payload: Vec<u8>) -> Result<Option<Message>, LevinError> {
        let (begin, end) = (header.flags & flag::BEGIN != 0, header.flags & flag::END != 0);
        match (begin, &mut self.fragments) {
            (true, _) if end => return Ok(None),
            // A new beginning drops what was never ended.
            (true, fragments) => *fragments = Some(payload),
            (false, Some(fragments)) => {
                let size = u64::try_from(fragments.len().saturating_add(payload.len())).unwrap_or(u64::MAX);
                // Room for the message's own header; the fill of the last fragment counts as payload.
                let max = self.payload_max.saturating_add(HEADER_BYTES as u64);
                if size > max {
                    return Err(LevinError::PayloadTooLarge { size, max });
                }
                fragments.extend_from_slice(&payload);
            }
            (false, None) => return Err(LevinError::Fragment("a part without a beginning")),
        }
        if !end {
            return Ok(None);
        }
        let mut whole = self.fragments.take().unwrap_or_default();
        let Some(bytes) = whole.first_chunk::<HEADER_BYTES>() else {
            return Err(LevinError::Fragment("too short for a header"));
        };
        let header = Header::decode(bytes)?;
        self.check_size(header.payload_bytes)?;
        if header.flags & (flag::REQUEST | flag::RESPONSE) == 0 {
            return Err(LevinError::Fragment("a fragment in fragments"));
        }
        whole.drain(..HEADER_BYTES);
        let size = usize::try_from(header.payload_bytes).unwrap_or(usize::MAX);
        match whole.get(size..) {
            None => return Err(LevinError::Fragment("shorter than its header says")),
            Some(fill) if fill.iter().any(|b| *b != 0) => {
                return Err(LevinError::Fragment("longer than its header says"));
            }
            Some(_) => whole.truncate(size),
        }
        Ok(Some((header, whole).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::levin::command;

    fn all(deframer: &mut Deframer, mut bytes: &[u8]) -> Result<Vec<Message>, LevinError> {
        let mut messages = Vec::new();
        while let Some(message) = deframer.handle_bytes(&mut bytes)? {
            messages.push(message);
        }
        Ok(messages)
    }

    fn fragment(flags: u32, payload: &[u8]) -> Vec<u8> {
        let header = Header { flags, ..Header::request(0, false, payload.len() as u64) };
        [&header.encode()[..], payload].concat()
    }

    #[test]
    fn fragments_make_one_message_with_whole_ones_and_dummies_between() {
        let ping = Message::request(command::PING, vec![]);
        let block = Message::notification(command::NEW_BLOCK, (0..200).collect());
        let inner = block.encode().unwrap();
        let (a, b) = inner.split_at(70);
        let (b, c) = b.split_at(100);
        let stream = [
            fragment(flag::BEGIN | flag::END, &[7; 50]),
            fragment(flag::BEGIN, b"never ended"),
            fragment(flag::BEGIN, a),
            ping.encode().unwrap(),
            fragment(0, b),
            fragment(flag::BEGIN | flag::END, &[]),
            fragment(flag::END, &[c, &[0; 40]].concat()),
            ping.encode().unwrap(),
        ]
        .concat();
        let want = vec![ping.clone(), block, ping];
        for size in [1, 2, 7, 33, 34, 100, stream.len()] {
            let mut deframer = Deframer::new(1000);
            let got: Vec<_> = stream.chunks(size).flat_map(|piece| all(&mut deframer, piece).unwrap()).collect();
            assert_eq!(got, want, "in pieces of {size}");
            assert!(deframer.is_between_messages());
        }
    }

    #[test]
    fn fragments_that_make_no_message_are_refused() {
        let ping = Message::request(command::PING, vec![1, 2]).encode().unwrap();
        let nested = fragment(flag::END, &ping);
        for (stream, why) in [
            (fragment(0, &ping), "a part without a beginning"),
            (fragment(flag::END, &ping), "a part without a beginning"),
            ([fragment(flag::BEGIN, &ping[..20]), fragment(flag::END, b"")].concat(), "too short for a header"),
            ([fragment(flag::BEGIN, &ping[..34]), fragment(flag::END, b"")].concat(), "shorter than its header says"),
            ([fragment(flag::BEGIN, &ping), fragment(flag::END, b"\0x")].concat(), "longer than its header says"),
            ([fragment(flag::BEGIN, &nested), fragment(flag::END, b"")].concat(), "a fragment in fragments"),
        ] {
            assert_eq!(all(&mut Deframer::new(1000), &stream), Err(LevinError::Fragment(why)));
        }
        let endless = [fragment(flag::BEGIN, &[0; 90]), fragment(0, &[0; 90])].concat();
        assert!(matches!(all(&mut Deframer::new(100), &endless), Err(LevinError::PayloadTooLarge { size: 180, .. })));
    }

    #[test]
    fn nothing_is_allocated_for_bytes_that_were_only_promised() {
        let mut deframer = Deframer::new(PAYLOAD_BYTES_MAX);
        let header = Header::request(command::NEW_BLOCK, false, PAYLOAD_BYTES_MAX).encode();
        assert_eq!(all(&mut deframer, &[&header[..], &[1; 10]].concat()), Ok(vec![]));
        assert!(deframer.held_bytes() < 200, "{}", deframer.held_bytes());
        let mut small = Deframer::new(PAYLOAD_BYTES_MAX - 1);
        let error = all(&mut small, &header).unwrap_err();
        assert!(matches!(error, LevinError::PayloadTooLarge { .. }));
        assert_eq!(all(&mut small, b""), Err(error), "a broken stream stays broken");
    }

    #[test]
    fn another_protocol_is_known_by_its_first_byte() {
        assert_eq!(all(&mut Deframer::new(9), b"SSH-2.0"), Err(LevinError::Signature));
        assert_eq!(all(&mut Deframer::new(9), b"\x01\x21"), Ok(vec![]));
    }
}
