//! Laws of Levin: streams and portable storage.

use rigmesh::wire::levin::{
    BYTES_PER_INPUT_BYTE, Deframer, HandshakeRequest, HandshakeResponse, Header, LevinError, Message, PingResponse,
    Reading, STORAGE_HEADER, Section, SupportFlags, TimedSyncRequest, TimedSyncResponse,
};

/// The longest payload of a stream here.
const PAYLOAD_MAX: u64 = 32 << 10;

/// Everything a stream gives when it comes in pieces of these sizes, in turn: messages, and how it ended.
fn deframe(bytes: &[u8], sizes: &[usize]) -> (Vec<Message>, Option<LevinError>) {
    let (mut deframer, mut messages, mut fed, mut rest) = (Deframer::new(PAYLOAD_MAX), Vec::new(), 0, bytes);
    for size in sizes.iter().cycle() {
        let (mut piece, later) = rest.split_at((*size).min(rest.len()));
        (rest, fed) = (later, fed + piece.len());
        loop {
            match deframer.handle_bytes(&mut piece) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(deframer.held_bytes() <= fed * 4 + 256, "{} bytes held of {fed}", deframer.held_bytes());
        if rest.is_empty() {
            break;
        }
    }
    (messages, None)
}

/// However a stream is cut, the same messages come out and the same error ends it; a message is written and read again
/// as itself.
pub fn stream(bytes: &[u8]) -> bool {
    let (messages, error) = deframe(bytes, &[usize::MAX]);
    let seed = usize::from(bytes.last().copied().unwrap_or(0));
    for sizes in [&[1][..], &[33], &[1 + seed % 40, 1 + seed / 3, 7]] {
        assert_eq!(deframe(bytes, sizes), (messages.clone(), error.clone()), "in pieces of {sizes:?}");
    }
    for message in &messages {
        assert_eq!(deframe(&message.encode().unwrap(), &[usize::MAX]), (vec![message.clone()], None));
        storage(&message.payload);
    }
    error.is_none() && !messages.is_empty()
}

/// A stream of one message whose payload is larger the larger the number: 32 is what fits.
pub fn sized(levels: usize) -> Vec<u8> {
    let size = levels << 10;
    [&Header::request(2001, false, size as u64).encode()[..], &vec![0; size]].concat()
}

macro_rules! come_back {
    ($bytes:ident: $($payload:ident)*) => { $(
        if let Ok(payload) = $payload::decode($bytes) {
            assert_eq!($payload::decode(&payload.encode().unwrap()), Ok(payload));
        }
    )* };
}

/// Writing what was read gives the canonical form, which is never longer and reads as itself; the tree takes a small
/// multiple of its bytes; the lenient reader reads the same, and more only where it says so.
pub fn storage(bytes: &[u8]) -> bool {
    let lenient = Section::decode_with(bytes, &Reading { lenient: true, ..Reading::default() });
    let section = match Section::decode(bytes) {
        Ok(section) => section,
        Err(error) => {
            let forgivable = matches!(error, LevinError::DuplicateName(_) | LevinError::TrailingBytes(_));
            assert!(forgivable || lenient.is_err(), "the lenient reader forgives {error}");
            return false;
        }
    };
    let canonical = section.encode().unwrap();
    assert!(canonical.len() <= bytes.len());
    assert_eq!(Section::decode(&canonical).unwrap().encode().unwrap(), canonical);
    assert_eq!(lenient.unwrap().encode().unwrap(), canonical);
    let heap = section.heap_bytes();
    assert!(heap <= bytes.len() * BYTES_PER_INPUT_BYTE, "{heap} bytes from {}", bytes.len());
    come_back!(bytes: HandshakeRequest HandshakeResponse TimedSyncRequest TimedSyncResponse PingResponse SupportFlags);
    true
}

/// Twice as many sections inside each other: 64 are the most.
pub fn nested(levels: usize) -> Vec<u8> {
    [&STORAGE_HEADER[..], &b"\x04\x01a\x0c".repeat(levels * 2 - 1), &[0]].concat()
}
