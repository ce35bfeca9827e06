//! Every decoder under broken input. Each target states a law that holds for all bytes; the corpus in
//! `tests/corpus/` is replayed, then mutated for `FUZZ_MS` milliseconds per target (default 300).
//! `FUZZ_SEED` repeats a run; the seed is printed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use rigmesh::base::{Now, Rng, Time, Timestamp, check_json};
use rigmesh::bundle::{
    Bundle, BundleType, PlainProfile, extract_miner_bundle, extract_profile_bundle, read_bundle, stream_bundle,
};
use rigmesh::formats::smsg::{LinkKey, SmsgMessage, open_link, open_v1};
use rigmesh::formats::tim::{self, DataNode, Limits, Tim, names};
use rigmesh::formats::{gojson, sigil, trix};
use rigmesh::identity::{Identity, NodeIdentity, Role};
use rigmesh::message::{Message, Payload};
use rigmesh::miners::xmrig::{parse_backends, parse_summary};
use rigmesh::session::{Challenges, Expect, Initiator, Responded, respond};
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
    Target { name: "node_json", law: node_json, deepest: |levels| nested(levels).into_bytes() },
    Target {
        name: "xmrig_json",
        law: xmrig_json,
        deepest: |levels| format!(r#"{{"hashrate":{{}},"x":{}}}"#, nested(levels - 1)).into_bytes(),
    },
    Target { name: "tar", law: archive, deepest: |levels| one_file(&vec!["x"; levels].join("/")) },
    Target {
        name: "stim",
        law: stim,
        deepest: |levels| {
            let sealed = tim::seal_tar(BUNDLE_PASSWORD, b"{}", &[], [[1; 24], [2; 24]]).unwrap();
            let (_, payload) = trix::split(b"STIM", &sealed, 1 << 16).unwrap();
            let header = nested(levels);
            [&b"STIM\x02"[..], &(header.len() as u32).to_be_bytes(), header.as_bytes(), payload].concat()
        },
    },
    Target {
        name: "stim_parts",
        law: stim_parts,
        deepest: |levels| {
            let profile = nested(levels);
            let length = u16::try_from(profile.len()).unwrap_or(u16::MAX).to_le_bytes();
            [&length[..], profile.as_bytes(), &one_file("x")].concat()
        },
    },
    Target {
        name: "bundle_json",
        law: bundle_json,
        deepest: |levels| format!(r#"{{"x":{}}}"#, nested(levels - 1)).into_bytes(),
    },
];

/// Password of the sealed bundles in the corpus.
const BUNDLE_PASSWORD: &str = "fq7f2ZzEMmF+6qsjoQxEsNRTCV4aCKKNWKCZ8SC8T9o=";

/// An archive with one file, made by another implementation.
fn one_file(name: &str) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(1);
    header.set_mode(0o644);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, name, &b"1"[..]).unwrap();
    builder.into_inner().unwrap()
}

/// What is read is within the limits, has proper names only, and is written and read again as itself.
fn archive(bytes: &[u8]) -> bool {
    let accepted = one_archive(bytes);
    one_archive(&mended(bytes)) || accepted
}

/// The archive with right checksums, which changes rarely leave.
fn mended(archive: &[u8]) -> Vec<u8> {
    let mut mended = archive.to_vec();
    mended.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar").for_each(|block| {
        block[148..156].fill(b' ');
        let sum = format!("{:06o}\0 ", block.iter().map(|b| u32::from(*b)).sum::<u32>());
        block[148..156].copy_from_slice(sum.as_bytes());
    });
    mended
}

fn one_archive(bytes: &[u8]) -> bool {
    let small = Limits { entries_max: 4, names_bytes_max: 64, file_bytes_max: 700, total_bytes_max: 1000 };
    if let Ok(root) = DataNode::from_tar(bytes, small) {
        assert!(root.len() <= 4 && root.files().all(|(_, file)| file.data.len() <= 700));
        assert!(root.files().map(|(_, file)| file.data.len()).sum::<usize>() <= 1000);
    }
    if let Ok(tim) = Tim::from_tar(bytes, Limits::default()) {
        let written = tim.to_tar().unwrap();
        assert_eq!(Tim::from_tar(&written, Limits::default()).unwrap(), tim);
    }
    let Ok(root) = DataNode::from_tar(bytes, Limits::default()) else { return false };
    for (name, file) in root.files() {
        assert_eq!(names::normalise(name).unwrap(), name);
        assert!(file.data.len() <= bytes.len());
    }
    let mut written = Vec::new();
    root.push_tar(&mut written).unwrap();
    assert_eq!(written.len(), root.tar_bytes());
    assert_eq!(DataNode::from_tar(&written, Limits::default()).unwrap(), root);
    true
}

/// Without the password nothing but sizes is known; what opens is sealed and opened again as itself.
fn stim(bytes: &[u8]) -> bool {
    if let Ok(sizes) = tim::peek(bytes) {
        assert_eq!(sizes.head + sizes.config + sizes.root, bytes.len());
    }
    assert!(tim::open("another password", &mut bytes.to_vec(), Limits::default()).is_err());
    let mut copy = bytes.to_vec();
    let Ok(tim) = tim::open(BUNDLE_PASSWORD, &mut copy, Limits::default()) else { return false };
    let mut again = tim::seal("x", &tim, &mut Rng::from_number(1)).unwrap();
    assert_eq!(tim::open("x", &mut again, Limits::default()).unwrap(), tim);
    true
}

/// The bytes as the configuration (its length in front) and the tree (its checksums mended) of an authentic miner's bundle: what comes out is
/// no larger than what went in, and on the disk nothing is touched but the one folder, which is whole or absent.
fn stim_parts(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return false };
    let Some((config, root)) = rest.split_at_checked(u16::from_le_bytes(*length).into()) else { return false };
    let sealed = tim::seal_tar(BUNDLE_PASSWORD, config, &mended(root), [[1; 24], [2; 24]]).unwrap();
    let bundle = Bundle::new(BundleType::Miner, "m", sealed).unwrap();
    let unpacked = extract_miner_bundle(bundle.clone(), BUNDLE_PASSWORD);
    if let Ok(unpacked) = &unpacked {
        assert!(unpacked.files.iter().map(|f| f.data.len()).sum::<usize>() <= root.len());
        assert!(unpacked.files.iter().any(|f| f.path == unpacked.main && f.executable));
        assert_ne!(unpacked.profile.as_deref(), Some(tim::DEFAULT_CONFIG));
    }
    // The disk is slow, so a sixteenth of what is tried.
    if bytes.iter().fold(0u8, |sum, b| sum.wrapping_mul(31).wrapping_add(*b)) % 16 == 0 {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("parent/dest");
        std::fs::create_dir(dir.path().join("parent")).unwrap();
        let extracted = rigmesh::extract_miner_bundle_to(bundle, BUNDLE_PASSWORD, &dest);
        assert_eq!(dest.exists(), extracted.is_ok());
        for folder in [dir.path(), &dir.path().join("parent")] {
            let entries = std::fs::read_dir(folder).unwrap().count();
            assert_eq!(entries, usize::from(extracted.is_ok() || folder == dir.path()));
        }
    }
    unpacked.is_ok()
}

/// A bundle that is read is streamed and read again as itself; taking it apart never panics.
fn bundle_json(bytes: &[u8]) -> bool {
    let Ok(bundle) = read_bundle(bytes, 1 << 20) else { return false };
    assert!(bundle.data.len() <= bytes.len());
    let mut text = Vec::new();
    stream_bundle(&bundle, &mut text).unwrap();
    assert_eq!(read_bundle(&text[..], text.len()).unwrap(), bundle);
    for plain in [PlainProfile::Refused, PlainProfile::Accepted] {
        let _ = extract_profile_bundle(&bundle, BUNDLE_PASSWORD, plain);
    }
    let _ = extract_miner_bundle(bundle, BUNDLE_PASSWORD);
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
    let (initiator, _) = Initiator::start(&local, Expect::Anyone, now, &mut rng, &mut challenges);
    assert!(initiator.handle_ack(&local, bytes).is_err(), "a fresh challenge was answered");
    match respond(&local, bytes, |_| Ok(()), now, &mut rng, &mut challenges) {
        Responded::Accept { ack, established } => {
            assert!(ack.len() < 4096 && established.key.node_id() == established.id);
            assert_ne!(established.key, local.public_key());
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
            assert_eq!(open_v1(PASSWORD, bytes).unwrap().body.as_bytes(), body);
            true
        }
        Err(_) => {
            assert!(body.is_empty());
            if let Ok(message) = open_v1(PASSWORD, bytes) {
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
    if let Ok(message) = open_v1(PASSWORD, &sealed) {
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
