//! formats/smsg.json: files of both forms, sealed byte for byte and opened again.

use crate::support::{Outcome, Run, all, array, bytes, same, text, verdict};
use rigmesh::base::Timestamp;
use rigmesh::formats::smsg::{
    Attachment, Compression, Format, LinkKey, Manifest, SealOptions, SmsgMessage, decode_text, encode_text, open, peek,
    quick_open, seal_with_nonce, validate,
};
use rigmesh::formats::{sigil, squeeze, trix};
use serde_json::{Value, json};

/// No case comes near it.
const MAX: usize = 1 << 20;

fn message(value: &Value) -> SmsgMessage {
    serde_json::from_value(value.clone()).unwrap()
}

fn sealed(case: &Value, format: Format) -> Vec<u8> {
    let manifest: Option<Manifest> = serde_json::from_value(case["manifest"].clone()).unwrap();
    let hint = case["hint"].as_str().unwrap_or_default();
    let options = SealOptions { format, hint, manifest: manifest.as_ref() };
    let now = Timestamp::from_unix(0, 0);
    seal_with_nonce(text(case, "password"), &message(&case["message"]), &options, now, array(case, "nonce")).unwrap()
}

/// What is sealed in a container.
fn plain(case: &Value, container: &[u8]) -> Vec<u8> {
    let key = LinkKey::from_password(text(case, "password")).unwrap();
    let mut payload = trix::decode(b"SMSG", container).unwrap().payload.to_vec();
    sigil::open_in_place(key.as_bytes(), &mut payload).unwrap().to_vec()
}

fn head(container: &[u8]) -> &str {
    let (header, _) = trix::split(b"SMSG", container, trix::HEADER_BYTES_MAX).unwrap();
    std::str::from_utf8(header).unwrap()
}

pub(crate) fn derive_key(run: &mut Run<'_>) {
    run.each(|case| {
        let key = LinkKey::from_password(text(case, "password")).unwrap();
        same("key", key.as_bytes().to_vec(), bytes(case, "key"))
    });
}

pub(crate) fn v1(run: &mut Run<'_>) {
    run.each(|case| {
        let (container, ours) = (bytes(case, "container"), sealed(case, Format::V1));
        let opened = open(text(case, "password"), &container, MAX).unwrap();
        let info = peek(&container).unwrap();
        let manifest = info.manifest.map_or(Value::Null, |m| serde_json::to_value(m).unwrap());
        // Numbers of the file's JSON, read as the type reads them.
        let stated: Option<Manifest> = serde_json::from_value(case["info"]["manifest"].clone()).unwrap();
        let base64 = match case["container_base64"].as_str() {
            Some(stated) => all([
                same("base64", encode_text(&container).as_str(), stated),
                same("from base64", decode_text(stated).unwrap(), container.clone()),
                same("quick", quick_open(text(case, "password"), stated, MAX).unwrap(), opened.body.clone()),
            ]),
            None => Outcome::Same,
        };
        all([
            base64,
            same("header", head(&ours), text(case, "header_json")),
            same("inner message", String::from_utf8(plain(case, &ours)).unwrap().as_str(), text(case, "inner_json")),
            same("container", &ours, &container),
            same("opened", opened, message(&case["decrypted"])),
            same("version", &json!(info.version), &case["info"]["version"]),
            same("algorithm", &json!(info.algorithm), &case["info"]["algorithm"]),
            same("hint", info.hint.as_str(), case["info"]["hint"].as_str().unwrap_or_default()),
            same("manifest", manifest, stated.map_or(Value::Null, |m| serde_json::to_value(m).unwrap())),
        ])
    });
}

pub(crate) fn v2(run: &mut Run<'_>) {
    run.each(|case| {
        let (container, payload) = (bytes(case, "container"), bytes(case, "v2_payload"));
        let squeezed = bytes(case, "decrypted_bytes");
        let unsqueezed = |bytes: &[u8]| match text(case, "compression") {
            "gzip" => squeeze::gunzip(bytes, MAX).unwrap(),
            "zstd" => squeeze::unzstd(bytes, MAX).unwrap(),
            _ => bytes.to_vec(),
        };
        let theirs = all([
            same("opened", open(text(case, "password"), &container, MAX).unwrap(), message(&case["decrypted"])),
            same("sealed bytes", plain(case, &container), squeezed.clone()),
            same("payload", unsqueezed(&squeezed), payload.clone()),
            same("info", peek(&container).unwrap().compression.as_str(), text(case, "compression")),
        ]);
        let compression = match text(case, "compression") {
            "gzip" => Compression::Gzip,
            "zstd" => Compression::Zstd,
            "" => Compression::None,
            // An unknown name is read as none and never written.
            _ => return theirs,
        };
        let ours = sealed(case, Format::V2(compression));
        // What a compressor writes is its own choice.
        let exact = compression != Compression::None || ours == container;
        all([
            theirs,
            same("header", head(&ours), text(case, "header_json")),
            same("our payload", unsqueezed(&plain(case, &ours)), payload),
            same("container", exact, true),
        ])
    });
}

pub(crate) fn negative(run: &mut Run<'_>) {
    run.each(|case| {
        let (input, result) = (&case["input"], &case["result"]);
        let theirs = result["ok"] == true;
        let options = |format| SealOptions { format, ..SealOptions::default() };
        let seal = |password: &str, message: &SmsgMessage, format| {
            let now = Timestamp::from_unix(1, 0);
            verdict(theirs, seal_with_nonce(password, message, &options(format), now, [1; 24]), |_| Outcome::Same)
        };
        match (text(case, "op"), text(case, "name")) {
            ("decrypt", _) => {
                let ours = open(text(input, "password"), &bytes(input, "container"), MAX);
                verdict(theirs, ours, |ours| same("message", ours, message(&result["message"])))
            }
            ("decrypt_base64", _) => {
                let ours = decode_text(text(input, "text")).and_then(|c| open(text(input, "password"), &c, MAX));
                verdict(theirs, ours, |_| Outcome::Same)
            }
            ("encrypt", "encrypt empty body no attachments") => seal("x", &SmsgMessage::default(), Format::V1),
            ("encrypt", "encrypt empty password") => seal("", &SmsgMessage::new("x"), Format::V1),
            ("encrypt_v2", "v2 attachment content not base64") => {
                let attachment = Attachment { name: "a".into(), content: "@@".into(), ..Attachment::default() };
                let message = SmsgMessage { attachments: vec![attachment], ..SmsgMessage::default() };
                seal("x", &message, Format::default())
            }
            // The third form is recognised and refused, whatever is in it.
            ("decrypt_v3", _) => {
                let container = bytes(input, "container");
                let ours = open("any password", &container, MAX);
                let named = match &ours {
                    Err(e) if e.to_string().contains("v3") => Outcome::Same,
                    // Some cases are about containers that do not say that they are v3.
                    Err(_) if peek(&container).map_or(true, |info| info.format != "v3") => Outcome::Same,
                    other => Outcome::Wrong(format!("{other:?}")),
                };
                all([named, verdict(theirs, ours, |_| Outcome::Same)])
            }
            // Writing it, and looking at its header alone, is not offered.
            ("encrypt_v3", _) => verdict(theirs, Err::<(), _>("not offered"), |()| Outcome::Same),
            ("v3_header_from_prefix", _) => {
                let whole = input["data"].as_str().and_then(|hex| hex::decode(hex).ok()).map(|data| validate(&data));
                assert!(whole.is_some());
                verdict(theirs, Err::<(), _>("not offered"), |()| Outcome::Same)
            }
            (op, name) => Outcome::Wrong(format!("unknown operation {op}, {name}")),
        }
    });
}
