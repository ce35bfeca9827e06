//! Every decoder under broken input. Each target states a law that holds for all bytes; the corpus in
//! `tests/corpus/` is replayed, then mutated for `FUZZ_MS` milliseconds per target (default 300).
//! `FUZZ_SEED` repeats a run; the seed is printed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation, unreachable_pub)]

#[path = "fuzz/audit.rs"]
mod audit;
#[path = "fuzz/bundles.rs"]
mod bundles;
#[path = "fuzz/kad.rs"]
mod kad;
#[path = "fuzz/kad_tables.rs"]
mod kad_tables;
#[path = "fuzz/keys.rs"]
mod keys;
#[path = "fuzz/levin.rs"]
mod levin;
#[path = "fuzz/objects.rs"]
mod objects;
#[path = "fuzz/packets.rs"]
mod packets;
#[path = "fuzz/pairing.rs"]
mod pairing;
#[path = "fuzz/sessions.rs"]
mod sessions;

use rigmesh::base::{Now, Rng, Time, Timestamp, base64_encode, check_json};
use rigmesh::formats::smsg::{self, Compression, Format, LinkKey, SealOptions, SmsgMessage, open_link};
use rigmesh::formats::stmf::{self, FormKey};
use rigmesh::formats::transform::{self, Transform};
use rigmesh::formats::trix_crypt::{Obfuscator, decrypt_payload, encrypt_payload, open_tar};
use rigmesh::formats::{gojson, sigil, squeeze, trix};
use rigmesh::identity::{Identity, NodeIdentity, Role};
use rigmesh::message::{Message, Payload};
use rigmesh::miners::xmrig::{parse_backends, parse_summary};
use rigmesh::peers::{CodeKind, PairCode};
use rigmesh::session::secure::Statement;
use rigmesh::session::{Asked, Challenges, Expect, Initiator, Known, Responded, Security, respond};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One decoder.
struct Target {
    /// Its folder below `tests/corpus/`.
    name: &'static str,
    /// What must hold for all bytes. Says whether they were accepted.
    law: fn(&[u8]) -> bool,
    /// The deepest input it accepts, and one level more, which it must refuse.
    deepest: fn(levels: usize) -> Vec<u8>,
}

static TARGETS: &[Target] = &[
    Target {
        name: "message",
        law: message,
        // The envelope itself is one level.
        deepest: |levels| format!(r#"{{"id":"a","type":"start_miner","payload":{}}}"#, nested(levels - 1)).into_bytes(),
    },
    Target {
        name: "smsg_frame",
        law: smsg_frame,
        deepest: |levels| frame(nested(levels).as_bytes(), b"{\"body\":\"b\"}"),
    },
    Target { name: "smsg_inner", law: smsg_inner, deepest: |levels| nested(levels).into_bytes() },
    Target { name: "trix", law: trix_container, deepest: |levels| frame(nested(levels).as_bytes(), b"") },
    Target {
        name: "handshake",
        law: handshake,
        // The envelope and the payload are a level each; a refusal with a reason counts as read.
        deepest: |levels| {
            let inner = nested(levels - 2);
            format!(r#"{{"id":"a","type":"handshake","payload":{{"version":"9","x":{inner}}}}}"#).into_bytes()
        },
    },
    Target { name: "session_frames", law: sessions::frames, deepest: session_parts },
    Target {
        name: "session_statement",
        law: sessions::statement,
        deepest: |levels| sessions::deep_statement(&nested(levels - 1)),
    },
    Target {
        name: "pairing",
        law: pairing::any,
        deepest: |levels| {
            let inner = nested(levels - 1);
            let psk = base64_encode(&[7; 32]);
            let text = format!(
                r#"{{"psk":"{psk}","grants":[],"uses":1,"until":"2027-01-15T08:00:00Z","rigs":[],"x":{inner}}}"#
            );
            text.into_bytes()
        },
    },
    Target {
        name: "audit",
        law: audit::log,
        deepest: |levels| format!(r#"{{"n":0,"x":{}}}"#, nested(levels - 1)).into_bytes(),
    },
    // Of fixed length: what grows is the number of lanes, of which 16 are the most.
    Target { name: "sealed_key", law: keys::sealed, deepest: keys::with_lanes },
    Target { name: "node_json", law: node_json, deepest: |levels| nested(levels).into_bytes() },
    Target {
        name: "xmrig_json",
        law: xmrig_json,
        deepest: |levels| format!(r#"{{"hashrate":{{}},"x":{}}}"#, nested(levels - 1)).into_bytes(),
    },
    Target { name: "transform", law: transform_lists, deepest: |levels| [b"j", nested(levels).as_bytes()].concat() },
    Target { name: "trix_crypt", law: encrypted_container, deepest: |levels| encrypted(&nested_flag(levels)) },
    Target {
        name: "smsg_file",
        law: smsg_file,
        // Form and compression stand in the first byte; the JSON's own object is one level.
        deepest: |levels| [b"0", format!(r#"{{"body":"b","x":{}}}"#, nested(levels - 1)).as_bytes()].concat(),
    },
    Target {
        name: "smsg_container",
        law: smsg_container,
        deepest: |levels| frame(nested(levels).as_bytes(), b"{\"body\":\"b\"}"),
    },
    Target {
        name: "squeeze",
        law: squeezed,
        deepest: |levels| [b"z", &squeeze::zstd(&vec![0; levels_or_too_much(levels)])[..]].concat(),
    },
    Target {
        name: "stmf",
        law: stmf_form,
        deepest: |levels| format!(r#"{{"fields":[],"x":{}}}"#, nested(levels - 1)).into_bytes(),
    },
    Target { name: "tar", law: bundles::archive, deepest: |levels| bundles::one_file(&vec!["x"; levels].join("/")) },
    Target {
        name: "stim",
        law: bundles::stim,
        deepest: |levels| {
            let sealed =
                rigmesh::formats::tim::seal_tar(bundles::BUNDLE_PASSWORD, b"{}", &[], [[1; 24], [2; 24]]).unwrap();
            let (_, payload) = trix::split(b"STIM", &sealed, 1 << 16).unwrap();
            let header = nested(levels);
            [&b"STIM\x02"[..], &(header.len() as u32).to_be_bytes(), header.as_bytes(), payload].concat()
        },
    },
    Target {
        name: "stim_parts",
        law: bundles::stim_parts,
        deepest: |levels| {
            let profile = nested(levels);
            let length = u16::try_from(profile.len()).unwrap_or(u16::MAX).to_le_bytes();
            [&length[..], profile.as_bytes(), &bundles::one_file("x")].concat()
        },
    },
    Target {
        name: "bundle_json",
        law: bundles::bundle_json,
        deepest: |levels| format!(r#"{{"x":{}}}"#, nested(levels - 1)).into_bytes(),
    },
    Target {
        name: "manifest",
        law: objects::manifest,
        deepest: |levels| {
            let text = String::from_utf8(corpus("manifest").swap_remove(0)).unwrap();
            format!(r#"{{"x":{},{}"#, nested(levels - 1), text.strip_prefix('{').unwrap()).into_bytes()
        },
    },
    // 58 unknown TLVs fit beside the six known ones.
    Target { name: "ueps", law: packets::packet, deepest: |levels| packets::with_unknown_tlvs(levels + 26) },
    Target { name: "ueps_stream", law: packets::stream, deepest: |levels| packets::with_unknown_tlvs(levels + 26) },
    Target {
        name: "ueps_answer",
        law: packets::answer,
        deepest: |levels| format!(r#"{{"re":"","ok":true,"body":{}}}"#, nested(levels - 1)).into_bytes(),
    },
    Target { name: "levin_stream", law: levin::stream, deepest: levin::sized },
    Target { name: "levin_storage", law: levin::storage, deepest: levin::nested },
    Target { name: "cbor", law: kad::cbor, deepest: kad::deep_cbor },
    Target { name: "kad_datagram", law: kad::datagram, deepest: kad::deep_datagram },
    Target { name: "kad_record", law: kad::record, deepest: kad::deep_record },
    Target { name: "kad_payload", law: kad::payload, deepest: kad::deep_payload },
    Target { name: "kad_text", law: kad::text, deepest: kad::deep_text },
    Target { name: "kad_snapshot", law: kad_tables::snapshot, deepest: kad_tables::deep_snapshot },
];

/// A list of sigils, one letter each in front of a `|`, done to what follows: nothing above the bound comes
/// out, undoing gives the data back, and undoing anything at all never panics.
fn transform_lists(bytes: &[u8]) -> bool {
    const MAX: usize = 4096;
    let (letters, data) = match bytes.iter().take(9).position(|c| *c == b'|') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => bytes.split_at(bytes.len().min(1)),
    };
    let sigil = |c: &u8| match c {
        b'j' => "json",
        b'i' => "json-indent",
        c => Transform::ALL[usize::from(*c) % 4].name(),
    };
    let names: Vec<&str> = letters.iter().map(sigil).collect();
    let mut packed = Some(data.to_vec());
    let accepted = data.len() <= MAX && transform::pack(&names, &mut packed, MAX).is_ok();
    if accepted {
        assert!(packed.as_ref().unwrap().len() <= MAX);
        let once_more = transform::transmute(&names, data, MAX).unwrap();
        assert_eq!(once_more, packed);
        // JSON is not undone: white space is gone for good.
        if !names.iter().any(|name| name.starts_with("json")) {
            transform::unpack(&names, &[], &mut packed, MAX).unwrap();
            assert_eq!(packed.as_deref(), Some(data));
        }
    }
    let mut undone = Some(data.to_vec());
    if transform::unpack(&names, &[], &mut undone, MAX).is_ok() && !names.is_empty() && names != ["json"] {
        assert!(undone.unwrap().len() <= MAX.max(data.len()));
    }
    accepted
}

/// gzip and zstd: nothing above the bound comes out, and what comes out can be squeezed and comes back.
fn squeezed(bytes: &[u8]) -> bool {
    const MAX: usize = 1 << 16;
    let (kind, data) = bytes.split_at(bytes.len().min(1));
    let read = if kind == b"g" { squeeze::gunzip } else { squeeze::unzstd };
    let Ok(out) = read(data, MAX) else { return false };
    assert!(out.len() <= MAX);
    assert!(out.is_empty() || read(data, out.len() - 1).is_err(), "the bound is exact");
    assert_eq!(squeeze::gunzip(&squeeze::gzip(&out).unwrap(), out.len()).unwrap(), out);
    assert_eq!(squeeze::unzstd(&squeeze::zstd(&out), out.len()).unwrap(), out);
    true
}

/// Where other targets nest deeper, this one grows: 32 is what fits.
fn levels_or_too_much(levels: usize) -> usize {
    if levels > 32 { (1 << 16) + 1 } else { levels * 2048 }
}

/// A header that says it is encrypted, with something nested in it.
fn nested_flag(levels: usize) -> String {
    format!(r#"{{"encrypted":true,"obfuscator":"shuffle-mask","x":{}}}"#, nested(levels - 1))
}

/// A TRIX container with any header and a payload under the key of all ones.
fn encrypted(header: &str) -> Vec<u8> {
    let mut scratch = trix::Header::new();
    let wall = Timestamp::from_unix(1, 0);
    let sealed = encrypt_payload(&mut scratch, b"pay", &[1; 32], Obfuscator::ShuffleMask, [7; 24], wall).unwrap();
    [trix::start(b"TRIX", header, 0).unwrap(), sealed].concat()
}

/// An encrypted payload opens or not, and when it does it can be encrypted again.
fn encrypted_container(bytes: &[u8]) -> bool {
    let Ok(trix::Container { mut header, payload }) = trix::decode(b"TRIX", bytes) else { return false };
    for password in [None, Some("x")] {
        if let Ok(tar) = open_tar(password, bytes) {
            assert!(tar.len() <= payload.len());
        }
    }
    let Ok(plain) = decrypt_payload(&mut header, payload, &[1; 32]) else { return false };
    assert_eq!(plain.len() + 40, payload.len());
    let wall = Timestamp::from_unix(1, 0);
    let again = encrypt_payload(&mut header, &plain, &[1; 32], Obfuscator::Xor, [2; 24], wall).unwrap();
    assert_eq!(decrypt_payload(&mut header, &again, &[1; 32]).unwrap(), plain);
    true
}

/// The most that may come out of a fuzzed file: small, so that the bound is met.
const INFLATED_MAX: usize = 1 << 16;

/// A message that was opened keeps to the bound, is sealed in every form, and comes back.
fn reseals(message: &SmsgMessage) {
    let held: usize = message.attachments.iter().map(|a| a.content.len()).sum::<usize>() + message.body.len();
    assert!(held <= INFLATED_MAX * 2, "{held} bytes came out");
    let mut expected = message.clone();
    if expected.timestamp == 0 {
        expected.timestamp = 5;
    }
    for format in
        [Format::V1, Format::V2(Compression::None), Format::V2(Compression::Gzip), Format::V2(Compression::Zstd)]
    {
        let options = SealOptions { format, ..SealOptions::default() };
        let now = Timestamp::from_unix(5, 0);
        let Ok(sealed) = smsg::seal_with_nonce(PASSWORD, message, &options, now, [3; 24]) else { continue };
        let opened = smsg::open(PASSWORD, &sealed, INFLATED_MAX * 8).unwrap();
        if format != Format::V1 {
            // v2 states the true sizes and spells base64 in one way.
            for (attachment, stated) in opened.attachments.iter().zip(&mut expected.attachments) {
                assert_eq!(attachment.bytes().unwrap(), stated.bytes().unwrap());
                (stated.size, stated.content) = (attachment.size, attachment.content.clone());
            }
        }
        assert_eq!(opened, expected);
        smsg::peek(&sealed).unwrap();
    }
}

/// The bytes as the sealed content of an authentic file, whose form and compression the first byte says.
fn smsg_file(bytes: &[u8]) -> bool {
    let (kind, plain) = bytes.split_at(bytes.len().min(1));
    let header = match kind.first().unwrap_or(&b'0') % 6 {
        0 => r#"{"version":"1.0"}"#,
        1 => r#"{"format":"v2"}"#,
        2 => r#"{"format":"v2","compression":"gzip"}"#,
        3 => r#"{"format":"v2","compression":"zstd"}"#,
        4 => r#"{"compression":"zstd"}"#,
        _ => r#"{"format":"v3"}"#,
    };
    match smsg::open(PASSWORD, &frame(header.as_bytes(), plain), INFLATED_MAX) {
        Ok(message) => {
            assert!(!header.contains("v3"));
            reseals(&message);
            true
        }
        Err(_) => false,
    }
}

/// The bytes as a whole file.
fn smsg_container(bytes: &[u8]) -> bool {
    let peeked = smsg::peek(bytes);
    assert_eq!(peeked.is_ok(), smsg::validate(bytes).is_ok());
    if let Ok(info) = peeked {
        assert!(info.hint.len() <= bytes.len() * 3);
    }
    smsg::open(PASSWORD, bytes, INFLATED_MAX).inspect(reseals).is_ok()
}

/// The bytes as the sealed content of an authentic form, and as a whole container.
fn stmf_form(bytes: &[u8]) -> bool {
    let key = FormKey::from_bytes([9; 32]);
    if stmf::open(bytes, &key).is_ok() {
        stmf::peek(bytes).unwrap();
    }
    let _ = stmf::validate(bytes);
    let ephemeral = FormKey::from_bytes([8; 32]);
    let sealing = ephemeral.sealing_key(&key.public()).unwrap();
    let header = format!(r#"{{"ephemeral_pk":"{}"}}"#, base64_encode(&ephemeral.public()));
    let sealed = sigil::seal(&sealing, &[7; 24], bytes).unwrap();
    let container = [trix::start(b"STMF", &header, 0).unwrap(), sealed].concat();
    let Ok(form) = stmf::open(&container, &key) else { return false };
    let again = stmf::seal_with(&form, &key.public(), &ephemeral, [6; 24]).unwrap();
    assert_eq!(stmf::open(&again, &key).unwrap(), form);
    assert!(again.len() <= bytes.len() * 24 + 512);
    assert!(form.to_map().len() <= form.fields().len());
    true
}

/// Whatever a miner answers: a hashrate is a number that makes sense or unknown, counts add up without
/// overflow, texts stay short and carry no password.
fn xmrig_json(bytes: &[u8]) -> bool {
    if let Ok(threads) = parse_backends(bytes) {
        assert!(u64::from(threads) <= bytes.len() as u64);
    }
    let Ok(summary) = parse_summary(bytes) else { return false };
    assert!(summary.hashrate_hs.is_none_or(|h| h.is_finite() && h >= 0.0));
    assert!(summary.shares.checked_add(summary.rejected).is_some());
    assert!(summary.pool.len() + summary.algorithm.len() <= 2048 && !summary.pool.contains('@'));
    true
}

/// Either role takes any bytes; an ack is bounded whatever was offered; nobody passes for a key without
/// its secret.
fn handshake(bytes: &[u8]) -> bool {
    let now = Now { mono: Time::ZERO, wall: Timestamp::from_unix(1_800_000_000, 0) };
    let (mut rng, mut challenges) = (Rng::from_number(5), Challenges::new());
    let local = Identity::generate("fuzz", Role::Worker, now.wall, &mut rng).unwrap();
    let statement = Box::new(Statement::new(&local, Vec::new(), 1 << 20));
    let secure = Security::On { statement, required: false };
    for security in [&Security::Off, &secure] {
        let (initiator, _) =
            Initiator::start(&local, Expect::Anyone, security, None, now, &mut rng, &mut challenges).unwrap();
        let answered = initiator.handle_ack(&local, security, bytes, |_| Known::default());
        assert!(answered.is_err(), "a fresh challenge was answered");
    }
    // Whoever asks to pair finds a code that it cannot know.
    let admit = |_: &_, asked: Asked| {
        let psk = (asked != Asked::Link).then(|| PairCode::draw(CodeKind::Pair, &mut Rng::from_number(9)).psk().into());
        Ok(Known { psk, ..Known::default() })
    };
    match respond(&local, &secure, bytes, admit, now, &mut rng, &mut challenges) {
        Responded::Accept { ack, established, .. } => {
            assert!(ack.len() < 4096 && established.key.node_id() == established.id);
            assert_ne!(established.key, local.public_key());
            true
        }
        Responded::Await { ack, half_open } => {
            assert!(ack.len() < 4096);
            assert!(half_open.handle_proof(bytes).is_err(), "somebody proved a key with a text");
            true
        }
        // The reply's `to` repeats at most what was sent, escaped.
        Responded::Reject { ack, .. } => {
            assert!(ack.len() < 4096 + 6 * bytes.len());
            true
        }
        Responded::Close(_) => false,
    }
}

/// A message in so many parts, 32 of which fill it.
fn session_parts(levels: usize) -> Vec<u8> {
    let part = |more: u8| [&130u16.to_le_bytes()[..], &[1, more], &[7; 128]].concat();
    [part(1).repeat(levels - 1), part(0)].concat()
}

/// The most bytes that may come out of a file: more than any input has, so that plain ones pass.
const FILE_MAX: usize = 1 << 20;

/// Password of the recorded frames in the corpus.
const PASSWORD: &str = "tVpUTRXn/ZVqACgFaBPDLoTxyw0HZugKLsCv+gT+xdE=";

/// Objects in objects, `levels` of them.
fn nested(levels: usize) -> String {
    format!("{}1{}", "{\"x\":".repeat(levels), "}".repeat(levels))
}

/// An SMSG container with any header and any inner text.
fn frame(header: &[u8], inner: &[u8]) -> Vec<u8> {
    let key = LinkKey::from_password(PASSWORD).unwrap();
    let sealed = sigil::seal(key.as_bytes(), &[7; 24], inner).unwrap();
    [&b"SMSG\x02"[..], &(header.len() as u32).to_be_bytes(), header, &sealed].concat()
}

/// A message that is read is written and read again as itself; the same for its payload; and no text
/// grows more than its escapes explain.
fn message(bytes: &[u8]) -> bool {
    let Ok(message) = Message::decode(bytes) else { return false };
    let text = message.encode();
    assert_eq!(Message::decode(text.as_bytes()).unwrap(), message);
    assert!(text.len() <= bytes.len() * 6 + 256, "{} bytes from {}", text.len(), bytes.len());
    let Ok(payload) = message.payload() else { return true };
    let raw = payload.encode();
    assert!(raw.as_str().len() <= bytes.len() * 40 + 512, "{} bytes from {}", raw.as_str().len(), bytes.len());
    assert_eq!(Payload::decode(&message.kind, &raw).unwrap(), payload);
    if let Payload::Handshake(handshake) = &payload {
        let _ = handshake.identity.checked_key();
    }
    true
}

/// A frame opens on a link or not; when it does, the body is text, no longer than the frame, and the
/// general reader finds the same one. What the general reader refuses, the link refuses.
fn smsg_frame(bytes: &[u8]) -> bool {
    let key = LinkKey::from_password(PASSWORD).unwrap();
    let (mut copy, mut body) = (bytes.to_vec(), b"left over".to_vec());
    match open_link(&key, &mut copy, &mut body) {
        Ok(()) => {
            assert!(body.len() <= bytes.len());
            assert_eq!(smsg::open(PASSWORD, bytes, FILE_MAX).unwrap().body.as_bytes(), body);
            true
        }
        Err(_) => {
            assert!(body.is_empty());
            if let Ok(message) = smsg::open(PASSWORD, bytes, FILE_MAX) {
                let (header, _) = trix::split(b"SMSG", bytes, trix::HEADER_BYTES_MAX).unwrap();
                let header = trix::decode_header(header).unwrap();
                let more = header.contains_key("format") || header.contains_key("compression");
                assert!(more || !message.attachments.is_empty(), "the link refuses a plain v1 message");
            }
            false
        }
    }
}

/// The bytes as inner message of an authentic frame: the quick reader and the general one agree.
fn smsg_inner(bytes: &[u8]) -> bool {
    let sealed = frame(b"{\"algorithm\":\"chacha20poly1305\",\"version\":\"1.0\"}", bytes);
    let accepted = smsg_frame(&sealed);
    if let Ok(message) = smsg::open(PASSWORD, &sealed, FILE_MAX) {
        let general: SmsgMessage = serde_json::from_slice(bytes).unwrap();
        assert_eq!(message, general);
    }
    accepted
}

/// A container that is read is written and read again as itself.
fn trix_container(bytes: &[u8]) -> bool {
    let mut accepted = false;
    for magic in [b"SMSG", b"TRIX"] {
        // The law does not care for the magic: give every input the one that is expected.
        let mut bytes = bytes.to_vec();
        bytes.iter_mut().zip(magic).for_each(|(b, m)| *b = *m);
        let Ok(container) = trix::decode(magic, &bytes) else { continue };
        let again = trix::encode(magic, &container.header, container.payload, None).unwrap();
        assert_eq!(trix::decode(magic, &again).unwrap(), container);
        assert!(again.len() <= bytes.len() * 24 + 64, "{} bytes from {}", again.len(), bytes.len());
        accepted = true;
    }
    accepted
}

/// An identity that is read is written and read again as itself, and its key is checked without a panic.
fn node_json(bytes: &[u8]) -> bool {
    let Ok(text) = check_json("node.json", bytes) else { return false };
    let Ok(info) = serde_json::from_str::<NodeIdentity>(text) else { return false };
    let written = gojson::to_string_pretty_html(&info).unwrap();
    assert_eq!(serde_json::from_str::<NodeIdentity>(&written).unwrap(), info);
    if let Ok(key) = info.checked_key() {
        assert_eq!(key.to_base64(), info.public_key);
    }
    true
}

/// The files of a target's corpus.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{name} has no corpus");
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Pieces that decoders look at.
const TOKENS: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud83d",
    b"\\ude00",
    b"\\u003c",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"true",
    b"1e400",
    b"1e21",
    b"-0",
    b"0.1",
    b"9223372036854775808",
    b"-9223372036854775808",
    b"\xff",
    b"\xe2\x80\xa8",
    b" ",
    b"\n",
    b"\0",
    b"\"id\":",
    b"\"type\":",
    b"\"payload\":",
    b"\"body\":",
    b"\"attachments\":",
    b"\"format\":\"v2\"",
    b"\"checksum\":\"00\"",
    b"\"checksum_algo\":",
    b"\"publicKey\":",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"=",
    b"./",
    b"../",
    b"//",
    b"\\",
    b"9 path=x\n",
    b"10 size=9\n",
    b"22 GNU.sparse.major=1\n",
    b"00000000001\0",
    b"77777777777\0",
    b"\x80\0\0\0",
    b"ustar\x0000",
    b"ustar  \0",
    b"\"data\":\"AAEC\"",
    b"\x04\x00\x01\x30",
    b"\x05\x00\x02\xff\xff",
    b"\x06\x00\x20",
    b"\x10\x00\x00",
    b"\xff\x00\x00",
    b"\x01\x21\x01\x01\x01\x01\x01\x01",
    b"\x01\x11\x01\x01\x01\x01\x02\x01\x01",
    b"\x02\x28\x6b\xee",
    b"\xf6",
    b"\xa0",
    b"\x80",
    b"\xbf\x01\x02\xff",
    b"\xc1",
    b"\x58\x20",
    b"\xf9\x7e\x00",
    b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"rigmesh-key\0\x01",
];

fn range(rng: &mut Rng, length: usize) -> (usize, usize) {
    let from = rng.below(length as u64 + 1) as usize;
    let most = (length - from).min(1 + rng.below(64) as usize);
    (from, from + rng.below(most as u64 + 1) as usize)
}

/// One to four small changes.
fn mutate(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[rng.below(seeds.len() as u64) as usize].clone();
    for _ in 0..=rng.below(4) {
        let (from, to) = range(rng, bytes.len());
        match rng.below(8) {
            0 if from < bytes.len() => bytes[from] ^= 1 << rng.below(8),
            1 if from < bytes.len() => bytes[from] = rng.number() as u8,
            2 => drop(bytes.drain(from..to)),
            3 => {
                let copy = bytes[from..to].to_vec();
                let (at, _) = range(rng, bytes.len());
                drop(bytes.splice(at..at, copy));
            }
            4 | 5 => {
                let token = TOKENS[rng.below(TOKENS.len() as u64) as usize];
                drop(bytes.splice(from..if rng.below(2) == 0 { from } else { to }, token.iter().copied()));
            }
            6 => {
                let other = &seeds[rng.below(seeds.len() as u64) as usize];
                let (a, b) = range(rng, other.len());
                drop(bytes.splice(from..to, other[a..b].iter().copied()));
            }
            _ => bytes.truncate(to.max(1)),
        }
        bytes.truncate(1 << 16);
    }
    bytes
}

fn obey(target: &Target, bytes: &[u8], story: &str) {
    let kept = catch_unwind(AssertUnwindSafe(|| (target.law)(bytes)));
    assert!(kept.is_ok(), "{} breaks its law, {story}; input in hex: {}", target.name, hex::encode(bytes));
}

#[test]
fn every_decoder_keeps_its_law_on_the_corpus() {
    for target in TARGETS {
        for (i, bytes) in corpus(target.name).iter().enumerate() {
            obey(target, bytes, &format!("file {i}"));
            for cut in 0..bytes.len().min(300) {
                obey(target, &bytes[..cut], &format!("file {i} cut at {cut}"));
            }
        }
        obey(target, b"", "empty");
    }
}

#[test]
fn every_decoder_keeps_its_law_under_mutation() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let time = Duration::from_millis(number("FUZZ_MS").unwrap_or(300));
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("FUZZ_SEED").unwrap_or(clock);
    for target in TARGETS {
        let (seeds, mut rng, start, mut runs) = (corpus(target.name), Rng::from_number(seed), Instant::now(), 0u64);
        while start.elapsed() < time {
            let bytes = mutate(&mut rng, &seeds);
            obey(target, &bytes, &format!("FUZZ_SEED={seed}, input {runs}"));
            runs += 1;
        }
        println!("{}: {runs} inputs, FUZZ_SEED={seed}", target.name);
    }
}

#[test]
fn the_deepest_input_fits_the_stack_of_a_connections_thread() {
    for target in TARGETS {
        // 256 KiB, as connection and job threads have; this is a debug build when it matters most.
        let run = move || {
            for levels in [31, 32, 33, 200, 20_000] {
                let accepted = (target.law)(&(target.deepest)(levels));
                assert_eq!(accepted, levels <= 32, "{} with {levels} levels", target.name);
            }
        };
        std::thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap().join().unwrap();
    }
}
