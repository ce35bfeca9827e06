//! The audit chain (secure-session.md §7): lines that each carry the hash of everything before them, and the signed
//! ones among them. What a file of them shows is in `audit_check.rs`.
//!
//! A line is 64 hex digits of H_n, a space, JSON, and a newline; H_n is the SHA-256 of a label, H_(n−1) and the JSON's
//! bytes as they stand, so no canonical form is needed. The chain alone proves nothing against the owner of the disk,
//! who can compute it anew: that takes the signed heads, and the places that the other side noted.

use crate::base::{Error, Result, Timestamp, base64_decode_strict, base64_encode, check_json};
use crate::identity::{PublicKey, SignKey, verify_signature};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// The longest line, bytes, with its hash and its newline. A command whose line would be longer is refused.
pub const AUDIT_LINE_BYTES_MAX: usize = 16 << 10;
/// The longest reason of a failure that is kept, bytes.
pub const AUDIT_REASON_BYTES_MAX: usize = 1024;
/// The largest file, bytes.
pub const AUDIT_FILE_BYTES_MAX: usize = 4 << 20;
/// Most files; then the oldest goes.
pub const AUDIT_FILES_MAX: usize = 16;
/// A head is due after this many lines…
pub const AUDIT_HEAD_LINES: u64 = 1000;
/// …or after this long.
pub const AUDIT_HEAD_AGE: Duration = Duration::from_hours(24);
/// The last number: a file's name has room for 12 digits.
pub const AUDIT_N_MAX: u64 = 999_999_999_999;

const LINE_LABEL: &[u8] = b"rigmesh-audit-1\0";
const HEAD_LABEL: &[u8] = b"rigmesh-audit-head-1\0";

/// The hash of a line, 64 hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditHash(pub [u8; 32]);

impl AuditHash {
    /// What stands before the first line.
    pub const ZERO: AuditHash = AuditHash([0; 32]);

    /// The hash of a line with this JSON, after a line with this hash.
    pub fn after(self, json: &[u8]) -> AuditHash {
        let hash = Sha256::new().chain_update(LINE_LABEL).chain_update(self.0).chain_update(json);
        AuditHash(hash.finalize().into())
    }

    /// Reads the one spelling: 64 lower-case hex digits.
    pub fn from_hex(text: &[u8]) -> Option<AuditHash> {
        let mut hash = [0; 32];
        let lower = !text.iter().any(u8::is_ascii_uppercase);
        (lower && hex::decode_to_slice(text, &mut hash).is_ok()).then_some(AuditHash(hash))
    }
}

impl fmt::Display for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for AuditHash {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AuditHash {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(d)?;
        AuditHash::from_hex(text.as_bytes()).ok_or_else(|| serde::de::Error::custom("not 64 lower-case hex digits"))
    }
}

/// A place on a chain, as the reply to a changing command carries it: `{"n":8,"h":64 hex}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditMark {
    /// The number of a line, from 0.
    pub n: u64,
    /// Its hash.
    pub h: AuditHash,
}

/// What stands in a line.
#[derive(Clone, Copy, Debug)]
pub enum AuditEntry<'a> {
    /// A changing command, before it runs.
    Begin(AuditBegin<'a>),
    /// How it ended.
    End {
        /// The number of the line from before it ran.
        of: u64,
        /// Why it failed, if it did; cut after [`AUDIT_REASON_BYTES_MAX`].
        result: std::result::Result<(), &'a str>,
        /// On the controller: the rig, and the place on its own chain that came with its reply.
        peer: Option<(&'a PublicKey, AuditMark)>,
    },
    /// The owner's signature under everything before.
    Head {
        /// The node's key.
        x: &'a PublicKey,
        /// Its signing key.
        sign: &'a SignKey,
    },
    /// So many bytes of a last line that a crash left half written were cut.
    Repair {
        /// How many, at least one.
        cut: u64,
    },
    /// What lies before was found tampered with, and left as it was.
    Tampered {
        /// The number of the first line that was bad.
        at: u64,
    },
}

/// A changing command.
#[derive(Clone, Copy, Debug)]
pub struct AuditBegin<'a> {
    /// Whose key asked for it; `None` is this machine's owner.
    pub who: Option<&'a PublicKey>,
    /// The first eight bytes of the session's id; `None` when there is no secure session.
    pub session: Option<[u8; 8]>,
    /// The id of the message; empty when there is none.
    pub id: &'a str,
    /// The sender's time.
    pub ts: Option<Timestamp>,
    /// The kind of the message, such as `start_miner`.
    pub what: &'a str,
    /// Names and hashes, never a configuration or a secret.
    pub args: &'a serde_json::Value,
    /// On the controller: the rig it goes to.
    pub peer: Option<&'a PublicKey>,
}

/// The JSON as it is written: its fields in this order.
#[derive(Serialize)]
struct Text<'a> {
    n: u64,
    t: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    err: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<&'a serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_n: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_h: Option<AuditHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sig: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
}

impl Text<'_> {
    fn empty(n: u64, t: Timestamp) -> Self {
        Text {
            n,
            t,
            end: None,
            ok: None,
            err: None,
            who: None,
            sid: None,
            id: None,
            ts: None,
            what: None,
            args: None,
            peer: None,
            peer_n: None,
            peer_h: None,
            sig: None,
            cut: None,
            at: None,
        }
    }
}

/// The end of a chain: makes its next line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditChain {
    n: u64,
    before: AuditHash,
}

impl Default for AuditChain {
    fn default() -> Self {
        AuditChain { n: 0, before: AuditHash::ZERO }
    }
}

impl AuditChain {
    /// A chain whose next line has the number `n` and follows a line with the hash `before`.
    pub fn resume(n: u64, before: AuditHash) -> AuditChain {
        AuditChain { n, before }
    }

    /// The number of the next line.
    pub fn next_n(&self) -> u64 {
        self.n
    }

    /// The hash before it.
    pub fn before(&self) -> AuditHash {
        self.before
    }

    /// The bytes of the next line, and its place. The chain goes on with [`AuditChain::follow`], once they are on disk.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the line would be longer than [`AUDIT_LINE_BYTES_MAX`]; [`Error::Failed`] after line
    /// [`AUDIT_N_MAX`].
    pub fn encode(&self, t: Timestamp, entry: &AuditEntry<'_>) -> Result<(Vec<u8>, AuditMark)> {
        if self.n > AUDIT_N_MAX {
            return Err(Error::Failed("the audit log has no numbers left".to_owned()));
        }
        let empty = Text::empty(self.n, t);
        let text = match *entry {
            AuditEntry::Begin(begin) => Text {
                who: Some(begin.who.map_or_else(|| "local".to_owned(), PublicKey::to_base64)),
                sid: begin.session.map(hex::encode),
                id: Some(begin.id).filter(|id| !id.is_empty()),
                ts: begin.ts,
                what: Some(begin.what),
                args: Some(begin.args),
                peer: begin.peer.map(PublicKey::to_base64),
                ..empty
            },
            AuditEntry::End { of, result, peer } => Text {
                end: Some(of),
                ok: Some(result.is_ok()),
                err: result.err().map(cut_reason),
                peer: peer.map(|(key, _)| key.to_base64()),
                peer_n: peer.map(|(_, mark)| mark.n),
                peer_h: peer.map(|(_, mark)| mark.h),
                ..empty
            },
            AuditEntry::Head { x, sign } => {
                let sig = base64_encode(&sign.sign(&head_text(x, self.n, self.before)));
                Text { what: Some("head"), sig: Some(sig), ..empty }
            }
            AuditEntry::Repair { cut } => Text { what: Some("repair"), cut: Some(cut), ..empty },
            AuditEntry::Tampered { at } => Text { what: Some("tampered"), at: Some(at), ..empty },
        };
        let json = serde_json::to_vec(&text).map_err(|e| Error::malformed("audit line", e.to_string()))?;
        let h = self.before.after(&json);
        let line = [h.to_string().as_bytes(), b" ", &json, b"\n"].concat();
        if line.len() > AUDIT_LINE_BYTES_MAX {
            return Err(Error::malformed("audit line", format!("longer than {AUDIT_LINE_BYTES_MAX} bytes")));
        }
        Ok((line, AuditMark { n: self.n, h }))
    }

    /// The line at this place is on disk.
    pub fn follow(&mut self, mark: AuditMark) {
        (self.n, self.before) = (mark.n.saturating_add(1), mark.h);
    }
}

fn cut_reason(reason: &str) -> &str {
    reason.get(..reason.floor_char_boundary(AUDIT_REASON_BYTES_MAX)).unwrap_or_default()
}

/// What a head signs.
fn head_text(x: &PublicKey, n: u64, before: AuditHash) -> Vec<u8> {
    [HEAD_LABEL, x.as_bytes(), &n.to_be_bytes(), &before.0].concat()
}

/// What kind of line was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditKind {
    /// A changing command that is about to run.
    Begin,
    /// How one ended.
    End {
        /// The number of the line that began it.
        of: u64,
        /// The place on another node's chain that it notes, and whose.
        peer: Option<(Option<PublicKey>, AuditMark)>,
    },
    /// A signature under everything before; verified where a key is known.
    Head([u8; 64]),
    /// A last line was cut.
    Repair,
    /// Tampering was found.
    Tampered,
    /// Something of a later version.
    Other,
}

/// A line as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine<'a> {
    /// Its place, as it states it: whether `h` is right only what is before it can tell.
    pub mark: AuditMark,
    /// When it was written, by the writer's clock.
    pub t: Option<Timestamp>,
    /// What it is.
    pub kind: AuditKind,
    /// Its JSON, the bytes that are hashed.
    pub json: &'a str,
}

/// What is read of the JSON. More may stand there.
#[derive(Deserialize)]
struct ReadText<'a> {
    n: u64,
    t: Option<Timestamp>,
    end: Option<u64>,
    #[serde(borrow)]
    who: Option<Cow<'a, str>>,
    #[serde(borrow)]
    what: Option<Cow<'a, str>>,
    #[serde(borrow)]
    peer: Option<Cow<'a, str>>,
    peer_n: Option<u64>,
    peer_h: Option<AuditHash>,
    #[serde(borrow)]
    sig: Option<Cow<'a, str>>,
}

impl<'a> AuditLine<'a> {
    /// Reads a line, without its newline.
    ///
    /// # Errors
    /// [`Error::Malformed`]: too long, no hash before a space, no JSON object, a number too high, a place on another
    /// chain of which half is missing, a head without a signature.
    pub fn decode(line: &'a [u8]) -> Result<AuditLine<'a>> {
        let wrong = |why: &str| Error::malformed("audit line", why);
        if line.len() >= AUDIT_LINE_BYTES_MAX {
            return Err(wrong("too long"));
        }
        let (hash, rest) = line.split_at_checked(64).ok_or_else(|| wrong("too short"))?;
        let h = AuditHash::from_hex(hash).ok_or_else(|| wrong("no hash at its beginning"))?;
        // Serde would take a list for the object.
        let json = rest.strip_prefix(b" ").filter(|json| json.starts_with(b"{")).ok_or_else(|| wrong("no object"))?;
        let json = check_json("audit line", json)?;
        let text: ReadText<'_> = serde_json::from_str(json).map_err(|e| wrong(&e.to_string()))?;
        if text.n > AUDIT_N_MAX {
            return Err(wrong("its number is too high"));
        }
        let whose = || text.peer.as_deref().map(PublicKey::from_base64).transpose();
        let kind = match (text.end, &text.who, text.what.as_deref()) {
            (Some(of), ..) => {
                let peer = match (text.peer_n, text.peer_h) {
                    (Some(n), Some(h)) => Some((whose()?, AuditMark { n, h })),
                    (None, None) => None,
                    _ => return Err(wrong("half a place on the other side's chain")),
                };
                AuditKind::End { of, peer }
            }
            (None, Some(_), _) => AuditKind::Begin,
            (None, None, Some("head")) => {
                let sig = base64_decode_strict("audit head", text.sig.as_deref().unwrap_or_default())?;
                AuditKind::Head(sig.try_into().map_err(|_| wrong("a head without a signature of 64 bytes"))?)
            }
            (None, None, Some("repair")) => AuditKind::Repair,
            (None, None, Some("tampered")) => AuditKind::Tampered,
            _ => AuditKind::Other,
        };
        Ok(AuditLine { mark: AuditMark { n: text.n, h }, t: text.t, kind, json })
    }

    /// Whether it follows a line with the hash `before`.
    pub fn follows(&self, before: AuditHash) -> bool {
        before.after(self.json.as_bytes()) == self.mark.h
    }

    /// Whether it is a head that one of the keys (X, S) signed over `before`.
    pub fn is_signed_by(&self, keys: &[(PublicKey, [u8; 32])], before: AuditHash) -> bool {
        let AuditKind::Head(sig) = &self.kind else { return false };
        keys.iter().any(|(x, sign)| verify_signature(sign, &head_text(x, self.mark.n, before), sig))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SecretKey;
    use serde_json::json;

    /// Computed by another program, in another language, with other libraries.
    const KNOWN: &str = include_str!("../../tests/corpus/audit/chain.log");
    const HASHES: [&str; 6] = [
        "86dd84452b12d913418ca53dc7568bcc3f81936798f6ff2ac7415b10c43b5fed",
        "575156f0f6adb80a03adeb52a47dcf104d56b9bc97ca59586a8e534935953b7d",
        "86772dfb04129505cc1418586ca98118fc5c67c5e9471950f3db31f33da209f6",
        "8d375907444edf61297539d942ea4040f7790eceabf83a3bb926ba6af1982e88",
        "6d3a143f863c1ea403c13f5802de2772581abedf23816b50bcf85bff8b8f4a35",
        "552ec57bc949f77f57fb261c1272bc3aecf66e72db9350e485eb5d2fed7a9e3d",
    ];

    fn time() -> Timestamp {
        Timestamp::parse("2026-11-21T12:00:00Z").unwrap()
    }

    #[test]
    fn a_chain_has_the_bytes_that_another_program_computed() {
        let (x, sign) = (SecretKey::from_bytes([1; 32]).public_key(), SignKey::from_seed(&[2; 32]));
        let (args, none) = (json!({"miner": "xmrig", "profile": "é"}), json!({}));
        let begin = AuditBegin {
            who: Some(&x),
            session: Some([1, 2, 3, 4, 5, 6, 7, 8]),
            id: "m-1",
            ts: Some(Timestamp::parse("2026-11-21T11:59:59.5Z").unwrap()),
            what: "start_miner",
            args: &args,
            peer: None,
        };
        let ours = AuditBegin {
            who: None,
            session: None,
            id: "m-2",
            ts: None,
            what: "stop_miner",
            args: &none,
            peer: Some(&x),
        };
        let mark = AuditMark { n: 7, h: AuditHash([0xab; 32]) };
        let entries = [
            AuditEntry::Begin(begin),
            AuditEntry::End { of: 0, result: Err("no \"xmrig\""), peer: None },
            AuditEntry::Head { x: &x, sign: &sign },
            AuditEntry::Repair { cut: 17 },
            AuditEntry::Begin(ours),
            AuditEntry::End { of: 4, result: Ok(()), peer: Some((&x, mark)) },
        ];
        let (mut chain, mut text) = (AuditChain::default(), String::new());
        for (i, entry) in entries.iter().enumerate() {
            let (line, at) = chain.encode(time(), entry).unwrap();
            assert_eq!((at.n, at.h.to_string().as_str()), (i as u64, HASHES[i]));
            let before = chain.before();
            chain.follow(at);
            let read = AuditLine::decode(line.strip_suffix(b"\n").unwrap()).unwrap();
            assert!(read.mark == at && read.t == Some(time()) && read.follows(before));
            assert_eq!(read.is_signed_by(&[(x, sign.public())], before), i == 2);
            match (i, &read.kind) {
                (0 | 4, AuditKind::Begin) | (2, AuditKind::Head(_)) | (3, AuditKind::Repair) => {}
                (1, AuditKind::End { of: 0, peer: None }) => {}
                (5, AuditKind::End { of: 4, peer }) => assert_eq!(*peer, Some((Some(x), mark))),
                other => panic!("{other:?}"),
            }
            text.push_str(std::str::from_utf8(&line).unwrap());
        }
        assert_eq!(text, KNOWN);
    }

    #[test]
    fn a_head_is_signed_for_its_place_and_its_node_only() {
        let (x, sign) = (SecretKey::from_bytes([1; 32]).public_key(), SignKey::from_seed(&[2; 32]));
        let line = AuditLine::decode(KNOWN.lines().nth(2).unwrap().as_bytes()).unwrap();
        let before = AuditHash::from_hex(HASHES[1].as_bytes()).unwrap();
        assert!(line.is_signed_by(&[(x, [0; 32]), (x, sign.public())], before));
        assert!(!line.is_signed_by(&[(x, sign.public())], AuditHash::ZERO));
        let other = SecretKey::from_bytes([3; 32]).public_key();
        assert!(!line.is_signed_by(&[(other, sign.public())], before));
        let moved = AuditLine { mark: AuditMark { n: 3, h: line.mark.h }, ..line };
        assert!(!moved.is_signed_by(&[(x, sign.public())], before));
    }

    #[test]
    fn lines_are_bounded_and_a_reason_is_cut() {
        let chain = AuditChain::default();
        let reason = "é".repeat(10_000);
        let (line, _) = chain.encode(time(), &AuditEntry::End { of: 0, result: Err(&reason), peer: None }).unwrap();
        assert!(line.len() < 2 * AUDIT_REASON_BYTES_MAX);
        let args = json!({ "miner": "x".repeat(AUDIT_LINE_BYTES_MAX) });
        let begin =
            AuditBegin { who: None, session: None, id: "", ts: None, what: "start_miner", args: &args, peer: None };
        assert!(matches!(chain.encode(time(), &AuditEntry::Begin(begin)), Err(Error::Malformed { .. })));
        let full = AuditChain::resume(AUDIT_N_MAX + 1, AuditHash::ZERO);
        assert!(full.encode(time(), &AuditEntry::Repair { cut: 1 }).is_err());
    }

    #[test]
    fn what_is_no_line_is_refused() {
        let hash = "ab".repeat(32);
        let long = format!("{hash} {{\"n\":1,\"x\":\"{}\"}}", "x".repeat(AUDIT_LINE_BYTES_MAX));
        assert!(AuditLine::decode(format!("{hash} {{\"n\":1}}").as_bytes()).is_ok());
        for bad in [
            String::new(),
            hash.clone(),
            format!("{hash} [1]"),
            format!("{hash} {{}}"),
            format!("{hash}  {{\"n\":1}}"),
            format!("{} {{\"n\":1}}", "AB".repeat(32)),
            format!("{hash} {{\"n\":1,\"n\":1}}"),
            format!("{hash} {{\"n\":1000000000000}}"),
            format!("{hash} {{\"n\":1,\"end\":0,\"peer_n\":3}}"),
            format!("{hash} {{\"n\":1,\"what\":\"head\"}}"),
            long,
        ] {
            assert!(AuditLine::decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
