//! formats/stmf.json: keys, sealed forms, what is refused.

use crate::support::{Outcome, Run, all, array, bytes, same, text, verdict};
use rigmesh::base::Rng;
use rigmesh::formats::stmf::{
    Form, FormKey, decode_text, encode_text, open, open_text, peek, public_from_base64, public_from_slice, seal,
    validate,
};
use rigmesh::formats::{gojson, sigil, trix};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

fn form(value: &Value) -> Form {
    serde_json::from_value(value.clone()).unwrap()
}

pub(crate) fn ecdh(run: &mut Run<'_>) {
    run.each(|case| {
        let key = FormKey::from_slice(&bytes(case, "private_a")).unwrap();
        all([
            same("key", key.sealing_key(&array(case, "public_b")).unwrap().to_vec(), bytes(case, "key")),
            same("hash of the shared point", Sha256::digest(bytes(case, "shared")).to_vec(), bytes(case, "key")),
        ])
    });
}

pub(crate) fn keypairs(run: &mut Run<'_>) {
    run.each(|case| {
        let key = FormKey::from_base64(text(case, "private_base64")).unwrap();
        all([
            same("private", key.to_bytes().to_vec(), bytes(case, "private")),
            same("private returned", key.to_bytes().to_vec(), bytes(case, "private_returned")),
            same("private text", key.to_base64().as_str(), text(case, "private_base64")),
            same("public", key.public().to_vec(), bytes(case, "public")),
            same("public text", public_from_base64(text(case, "public_base64")).unwrap(), key.public()),
        ])
    });
}

pub(crate) fn encrypt(run: &mut Run<'_>) {
    run.each(|case| {
        let (container, key) = (bytes(case, "container"), FormKey::from_slice(&bytes(case, "private")).unwrap());
        let opened = open(&container, &key).unwrap();
        let theirs = trix::decode(b"STMF", &container).unwrap();
        // The fresh private key is not recorded: header and payload are compared apart.
        let sealing = key.sealing_key(&array(case, "ephemeral_public")).unwrap();
        let written = gojson::to_string_html(&form(&case["form"])).unwrap();
        let payload = sigil::seal(&sealing, &array(case, "nonce"), written.as_bytes()).unwrap();
        let header = trix::split(b"STMF", &container, 1 << 20).unwrap().0;
        let ours = seal(&opened, &key.public(), &mut Rng::from_number(7)).unwrap();
        let ephemeral = peek(&ours).unwrap().ephemeral_pk;
        let our_header = trix::split(b"STMF", &ours, 1 << 20).unwrap().0;
        let our_header =
            String::from_utf8_lossy(our_header).replace(&ephemeral, &peek(&container).unwrap().ephemeral_pk);
        let all_dup: Vec<&str> = opened.values("dup").collect();
        let stated = case["get_all_dup"].as_array().into_iter().flatten();
        let stated: Vec<&str> = stated.map(|t| t.as_str().unwrap()).collect();
        let base64 = match case["container_base64"].as_str() {
            Some(stated) => all([
                same("base64", encode_text(&container).as_str(), stated),
                same("from base64", open_text(stated, &key).unwrap(), opened.clone()),
            ]),
            None => Outcome::Same,
        };
        all([
            base64,
            same("key", sealing.to_vec(), bytes(case, "key")),
            same("form", written.as_str(), text(case, "plaintext_json")),
            same("payload", &payload[..], theirs.payload),
            same("header", std::str::from_utf8(header).unwrap(), text(case, "header_json")),
            same("our header", our_header.as_str(), text(case, "header_json")),
            same("opened", &opened, &form(&case["decrypted"])),
            same("opened again", &open(&ours, &key).unwrap(), &opened),
            same("length", ours.len(), container.len()),
            same("first", opened.value("dup"), text(case, "get_dup")),
            same("all", all_dup, stated),
            same("map", json!(opened.to_map()), case["to_map"].clone()),
            validate(&container).map_or_else(|e| Outcome::Wrong(e.to_string()), |()| Outcome::Same),
        ])
    });
}

pub(crate) fn negative(run: &mut Run<'_>) {
    run.each(|case| {
        let (input, result) = (&case["input"], &case["result"]);
        let theirs = result["ok"] == true;
        let key = || FormKey::from_slice(&bytes(input, "private"));
        match text(case, "op") {
            "decrypt" => {
                let ours = key().and_then(|key| open(&bytes(input, "container"), &key));
                verdict(theirs, ours, |ours| same("form", ours, form(&result["form"])))
            }
            "decrypt_base64" => {
                let ours = decode_text(text(input, "text")).and_then(|c| open(&c, &key()?));
                verdict(theirs, ours, |_| Outcome::Same)
            }
            "validate" => verdict(theirs, validate(&bytes(input, "container")), |()| Outcome::Same),
            "encrypt" => {
                let public = public_from_slice(&bytes(input, "public"));
                let ours = public.and_then(|public| seal(&Form::new(), &public, &mut Rng::from_number(1)));
                verdict(theirs, ours, |_| Outcome::Same)
            }
            "load_public_base64" => verdict(theirs, public_from_base64(text(input, "text")), |_| Outcome::Same),
            "load_keypair_base64" => verdict(theirs, FormKey::from_base64(text(input, "text")), |_| Outcome::Same),
            "load_private" => verdict(theirs, key(), |_| Outcome::Same),
            other => Outcome::Wrong(format!("unknown operation {other}")),
        }
    });
}
