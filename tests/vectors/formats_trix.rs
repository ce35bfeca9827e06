//! formats/trix.json: containers, checksums, sigils, both obfuscators, encrypted payloads, data nodes.

use crate::support::{Outcome, Run, all, array, bytes, same, text, verdict};
use rigmesh::base::{Error, Result, Timestamp};
use rigmesh::formats::transform::{self, Transform};
use rigmesh::formats::trix_crypt::{Obfuscator, decrypt_payload, encrypt_payload, open_tar, seal_tar};
use rigmesh::formats::{gojson, sigil, trix};
use serde_json::Value;

/// No case comes near it.
const MAX: usize = 1 << 20;

fn header(text: &str) -> trix::Header {
    trix::decode_header(text.as_bytes()).unwrap()
}

/// A header that is null reads as an empty one here.
fn null_is_empty(header: &str) -> String {
    if header == "null" { "{}".to_owned() } else { header.to_owned() }
}

fn written(header: &trix::Header) -> String {
    gojson::to_string_html(header).unwrap()
}

pub(crate) fn aead(run: &mut Run<'_>) {
    run.each(|case| {
        let (key, nonce): ([u8; 32], _) = (array(case, "key"), array(case, "nonce"));
        let (plain, sealed) = (bytes(case, "plaintext"), bytes(case, "sealed"));
        let obfuscator = Obfuscator::from_name(text(case, "obfuscator"));
        let (mut header, wall) = (trix::Header::new(), Timestamp::from_unix(0, 0));
        let ours = encrypt_payload(&mut header, &plain, &key, obfuscator, nonce, wall).unwrap();
        let mut mixed = plain.clone();
        obfuscator.obfuscate(&nonce, &mut mixed).unwrap();
        all([
            same("obfuscated", mixed, bytes(case, "obfuscated")),
            same("sealed", ours, sealed.clone()),
            same("opened", decrypt_payload(&mut header, &sealed, &key).unwrap(), plain),
        ])
    });
}

pub(crate) fn borg_trix(run: &mut Run<'_>) {
    let mut sealed = (Vec::new(), String::new());
    for (i, case) in run.value().as_array().unwrap().iter().enumerate() {
        let name = case["name"].as_str().map_or_else(|| format!("borg_trix[{i}]"), str::to_owned);
        if case["kind"] == "chacha" && sealed.0.is_empty() {
            sealed = (bytes(case, "encoded"), text(case, "password").to_owned());
        }
        run.case(&name, || {
            let password = case["password"].as_str();
            match text(case, "kind") {
                "negative" => {
                    let refused = match name.as_str() {
                        "FromTrixChaCha empty password" => open_tar(Some(""), &sealed.0).map(drop),
                        "FromTrixChaCha wrong password" => open_tar(Some("wrong"), &sealed.0).map(drop),
                        "ToTrixChaCha empty password" => seal_tar(Some(""), b"", [0; 24]).map(drop),
                        // A password for a plain file; no password for a sealed one.
                        "FromTrix with any password" => {
                            open_tar(Some("any"), &seal_tar(None, b"x", [0; 24]).unwrap()).map(drop)
                        }
                        "FromTrix without password on chacha container" => open_tar(None, &sealed.0).map(drop),
                        other => panic!("unknown case {other}"),
                    };
                    verdict(false, refused, |()| Outcome::Same)
                }
                _ => {
                    let encoded = bytes(case, "encoded");
                    let container = trix::decode(b"TRIX", &encoded).unwrap();
                    let nonce = container.payload.first_chunk().copied().unwrap();
                    let tar = open_tar(password, &encoded).unwrap();
                    let stated = case["tar"].as_str().map_or_else(|| tar.clone(), |hex| hex::decode(hex).unwrap());
                    all([
                        same("tar", &tar, &stated),
                        same("header", written(&container.header).as_str(), text(case, "header_json")),
                        same("written", seal_tar(password, &tar, nonce).unwrap(), encoded.clone()),
                    ])
                }
            }
        });
    }
    assert!(!sealed.1.is_empty());
}

pub(crate) fn chains(run: &mut Run<'_>) {
    for case in run.value().as_array().unwrap() {
        let names: Vec<&str> = case["in_sigils"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
        run.case(&names.join(" "), || {
            let payload = bytes(case, "payload");
            let mut packed = Some(payload.clone());
            let outcome = transform::pack(&names, &mut packed, MAX);
            let theirs = case["pack_error"].is_null();
            let free = transform::transmute(&names, &payload, MAX);
            if !theirs {
                let left = same("what is left", packed.unwrap(), bytes(case, "packed"));
                return all([
                    left,
                    verdict(false, outcome, |()| Outcome::Same),
                    verdict(false, free, |_| Outcome::Same),
                ]);
            }
            verdict(theirs, outcome, |()| {
                // What a compressor writes is its own choice; what comes out of it is not.
                let exact = !names.contains(&"gzip");
                let (mut ours, mut recorded) = (packed.clone(), Some(bytes(case, "packed")));
                transform::unpack(&names, &[], &mut ours, MAX).unwrap();
                transform::unpack(&names, &[], &mut recorded, MAX).unwrap();
                all([
                    same("packed", !exact || packed.as_deref() == Some(&bytes(case, "packed")[..]), true),
                    same("transmuted", free.unwrap(), packed),
                    same("unpacked", ours.unwrap(), bytes(case, "unpacked")),
                    same("theirs unpacked", recorded.unwrap(), bytes(case, "unpacked")),
                ])
            })
        });
    }
}

pub(crate) fn checksums(run: &mut Run<'_>) {
    run.each(|case| {
        let input = bytes(case, "input");
        let names = ["lthn", "md5", "sha1", "sha256", "sha512", "unknown_algo"];
        all(names.map(|name| same(name, trix::checksum(name, &input).as_str(), text(case, name))))
    });
}

pub(crate) fn containers(run: &mut Run<'_>) {
    run.each(|case| {
        let (magic, payload, encoded) = (array(case, "magic"), bytes(case, "payload"), bytes(case, "encoded"));
        let algo = Some(text(case, "checksum_algo")).filter(|algo| !algo.is_empty());
        let ours = match text(case, "header_in") {
            // A header is an empty object rather than nothing, unless its text is given.
            "null" => [trix::start(&magic, "null", 0).unwrap(), payload.clone()].concat(),
            text => trix::encode(&magic, &header(text), &payload, algo).unwrap(),
        };
        let decoded = trix::decode(&magic, &encoded).unwrap();
        let stated = text(case, "header_json").as_bytes();
        all([
            same("encoded", ours, encoded.clone()),
            same("header as written", &encoded[9..9 + stated.len()], stated),
            same("header", written(&decoded.header), null_is_empty(text(case, "decoded_header"))),
            same("payload", decoded.payload, &bytes(case, "decoded_payload")[..]),
        ])
    });
}

pub(crate) fn encrypted_containers(run: &mut Run<'_>) {
    run.each(|case| {
        let (key, encoded) = (bytes(case, "key"), bytes(case, "encoded"));
        let container = trix::decode(b"ENCR", &encoded).unwrap();
        let mut theirs = container.header.clone();
        let plain = decrypt_payload(&mut theirs, container.payload, &key).unwrap();
        // The same in the other direction, at the recorded time and with the recorded nonce.
        let mut ours = trix::Header::from([("content_type".to_owned(), container.header["content_type"].clone())]);
        let wall = Timestamp::parse(container.header["encrypted_at"].as_str().unwrap()).unwrap();
        let obfuscator = Obfuscator::from_name(text(case, "obfuscator_requested"));
        let nonce = container.payload.first_chunk().copied().unwrap();
        let payload = bytes(case, "payload");
        let sealed = encrypt_payload(&mut ours, &payload, &key, obfuscator, nonce, wall).unwrap();
        all([
            same("decrypted", plain, bytes(case, "decrypted")),
            same("header after", written(&theirs).as_str(), text(case, "header_after_decrypt")),
            same("header", written(&ours).as_str(), text(case, "header_json")),
            same("container", trix::encode(b"ENCR", &ours, &sealed, None).unwrap(), encoded.clone()),
        ])
    });
}

/// Where the original takes any number of bytes, the types here take the right one.
fn exactly<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| Error::Config(format!("not {N} bytes")))
}

pub(crate) fn negative(run: &mut Run<'_>) {
    run.each(|case| {
        let (input, result) = (&case["input"], &case["result"]);
        let theirs = result["ok"] == true;
        let magic = input["magic"].as_str().unwrap_or("TRIX").as_bytes();
        match text(case, "op") {
            "decode" => {
                let data = bytes(input, "data");
                let ours = exactly(magic).and_then(|magic| {
                    trix::decode(&magic, &data).map(|c| (written(&c.header), hex::encode(c.payload)))
                });
                verdict(theirs, ours, |(header, payload)| {
                    let stated = null_is_empty(text(result, "header"));
                    all([same("header", header, stated), same("payload", payload.as_str(), text(result, "payload"))])
                })
            }
            "encode" => {
                let algo = input["checksum_algo"].as_str();
                let ours = exactly(magic).and_then(|magic| trix::encode(&magic, &trix::Header::new(), b"x", algo));
                // A missing header is an empty one, where the original panics (trix.md §1).
                verdict(!result["panic"].is_null(), ours, |_| Outcome::Same)
            }
            "aead_open" => {
                let mut data = bytes(input, "data");
                let ours =
                    exactly(&bytes(input, "key")).and_then(|key| sigil::open_in_place(&key, &mut data).map(drop));
                verdict(theirs, ours, |()| Outcome::Same)
            }
            "decrypt_payload" => {
                let mut header = header(text(input, "header_json"));
                let ours = decrypt_payload(&mut header, &bytes(input, "payload"), &bytes(input, "key"));
                verdict(theirs, ours, |plain| same("payload", plain, bytes(result, "payload")))
            }
            "encrypt_payload" => {
                let mut header = trix::Header::new();
                let mut encrypt = || {
                    let wall = Timestamp::from_unix(1, 0);
                    encrypt_payload(&mut header, b"x", &[1; 32], Obfuscator::Xor, [1; 24], wall)
                };
                encrypt().unwrap();
                verdict(theirs, encrypt(), |_| Outcome::Same)
            }
            other => Outcome::Wrong(format!("unknown operation {other}")),
        }
    });
}

pub(crate) fn obfuscators(run: &mut Run<'_>) {
    run.each(|case| {
        let (entropy, data) = (bytes(case, "entropy"), bytes(case, "data"));
        all([(Obfuscator::Xor, "xor"), (Obfuscator::ShuffleMask, "shuffle_mask")].map(|(obfuscator, list)| {
            let mut ours = data.clone();
            obfuscator.obfuscate(&entropy, &mut ours).unwrap();
            let mut back = bytes(case, list);
            obfuscator.deobfuscate(&entropy, &mut back).unwrap();
            all([same(list, ours, bytes(case, list)), same("undone", back, data.clone())])
        }))
    });
}

pub(crate) fn sigils(run: &mut Run<'_>) {
    for case in run.value().as_array().unwrap() {
        let name = text(case, "sigil");
        run.case(name, || {
            let theirs = case["error"].is_null();
            let known = name.parse::<Transform>();
            let Ok(sigil) = known else { return verdict(theirs, known, |_| Outcome::Same) };
            let data = bytes(case, "data");
            if text(case, "dir") == "out" {
                let ours = sigil.undo(Some(&data), MAX);
                return verdict(theirs, ours, |out| same("out", out.unwrap(), bytes(case, "result")));
            }
            verdict(theirs, sigil.apply(Some(&data), MAX), |out| {
                let (out, stated) = (out.unwrap(), bytes(case, "result"));
                let undone = |data: &[u8]| sigil.undo(Some(data), MAX).unwrap().unwrap();
                let back = |of: &[u8]| match &case["out_of_result"] {
                    Value::String(hex) => same("undone", undone(of), hex::decode(hex).unwrap()),
                    _ => Outcome::Same,
                };
                // What a compressor writes is its own choice.
                let exact = case["compare"] == "exact";
                all([same("in", !exact || out == stated, true), back(&out), back(&stated)])
            })
        });
    }
}
