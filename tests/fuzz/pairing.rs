//! Laws of what people and files give to pairing.

use rigmesh::peers::{CodeKind, Enrolment, PAIR_ADDRESSES_MAX, PairCode, PairLink};

/// The bytes as a link, as a code, and as the file of an enrolment. What is taken is written and read back the same; no
/// error repeats what it was given at length.
pub fn any(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    link(text) | code(text) | enrolment(bytes)
}

fn link(text: &str) -> bool {
    match text.parse::<PairLink>() {
        Ok(link) => {
            assert!((1..=PAIR_ADDRESSES_MAX).contains(&link.addresses.len()));
            assert_eq!(link.encode().parse::<PairLink>().unwrap(), link);
            true
        }
        Err(e) => {
            assert!(e.to_string().len() < 400, "{e}");
            false
        }
    }
}

fn code(text: &str) -> bool {
    let read = |kind| match PairCode::read(kind, text) {
        Ok(code) => {
            assert_eq!(code.as_str().len(), CodeKind::chars(kind));
            assert_eq!(PairCode::read(kind, &code.grouped()).unwrap(), code);
            true
        }
        Err(e) => {
            assert!(e.to_string().len() < 400, "{e}");
            false
        }
    };
    read(CodeKind::Pair) | read(CodeKind::Enrol)
}

fn enrolment(bytes: &[u8]) -> bool {
    let Ok(read) = Enrolment::decode(bytes) else { return false };
    assert_eq!(Enrolment::decode(read.encode().unwrap().as_bytes()).unwrap(), read);
    true
}
