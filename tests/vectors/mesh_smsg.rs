//! mesh/smsg.json: sealing and opening, byte for byte.

use crate::support::{Outcome, Run, all, array, bytes, same, text, verdict};
use rigmesh::formats::sigil::{obfuscate, open_in_place, seal};
use rigmesh::formats::smsg::{LinkKey, open, open_link, seal_v1};
use sha2::{Digest as _, Sha256};

/// What a link makes of a container.
fn through_link(key: &LinkKey, mut container: Vec<u8>) -> rigmesh::base::Result<String> {
    let mut body = Vec::new();
    open_link(key, &mut container, &mut body).map(|()| String::from_utf8(body).unwrap())
}

pub(crate) fn encrypt(run: &mut Run<'_>) {
    run.each(|case| {
        let key = LinkKey::from_password(text(case, "password")).unwrap();
        let (body, nonce) = (text(case, "body"), array(case, "nonce"));
        let mut ours = Vec::new();
        seal_v1(&key, nonce, case["timestamp"].as_i64().unwrap(), body, &mut ours).unwrap();
        let header = text(case, "header_json").as_bytes();
        let sealed = seal(key.as_bytes(), &nonce, &bytes(case, "inner_json")).unwrap();
        // Long containers stand in the file as length and hash only.
        let container = case["container"].as_str().map_or_else(|| ours.clone(), |hex| hex::decode(hex).unwrap());
        all([
            same("key", key.as_bytes().to_vec(), bytes(case, "key")),
            same("key from the secret", LinkKey::from_secret(&array(case, "shared_secret")).as_bytes(), key.as_bytes()),
            same("header", &ours[9..9 + header.len()], header),
            same("inner message", &ours[9 + header.len()..], &sealed[..]),
            same("length", Some(ours.len() as u64), case["container_len"].as_u64()),
            same("hash", hex::encode(Sha256::digest(&ours)).as_str(), text(case, "container_sha256")),
            same("container", &ours, &container),
            same("opened", through_link(&key, ours.clone()).unwrap().as_str(), body),
        ])
    });
}

pub(crate) fn decrypt(run: &mut Run<'_>) {
    run.each(|case| {
        let (container, password) = (bytes(case, "container"), text(case, "password"));
        let theirs = case["error"].is_null() && case["panic"].is_null();
        let link = LinkKey::from_password(password).and_then(|key| through_link(&key, container.clone()));
        // Links take plain v1 only (mesh.md §8); on everything else both readers agree.
        let header =
            String::from_utf8_lossy(container.get(9..150.min(container.len())).unwrap_or_default()).into_owned();
        let plain = !header.contains("\"compression\"") && !header.contains("\"format\"");
        let opened = open(password, &container, 1 << 20).map(|message| message.body);
        let on_link = match (&link, plain) {
            (Ok(body), true) => same("on a link", Some(body), opened.as_ref().ok()),
            (Err(_), true) => same("refused on a link", opened.is_err(), true),
            (Ok(_), false) => Outcome::Wrong("a link accepted more than plain v1".to_owned()),
            (Err(_), false) => Outcome::Same,
        };
        all([on_link, verdict(theirs, opened, |body| same("body", body.as_str(), text(case, "body")))])
    });
}

pub(crate) fn sigil(run: &mut Run<'_>) {
    run.each(|case| {
        let (key, nonce, plain) = (array(case, "key"), array(case, "nonce"), bytes(case, "plaintext"));
        let mut mixed = plain.clone();
        obfuscate(&nonce, &mut mixed);
        let mut sealed = bytes(case, "ciphertext");
        all([
            same("mixed", mixed, bytes(case, "obfuscated")),
            same("sealed", seal(&key, &nonce, &plain).unwrap(), sealed.clone()),
            same("opened", open_in_place(&key, &mut sealed).unwrap().to_vec(), plain),
        ])
    });
}

pub(crate) fn empty_body(run: &mut Run<'_>) {
    let want = run.value().as_str().unwrap().to_owned();
    run.case("empty body", || {
        let key = LinkKey::from_password("x").unwrap();
        let error = seal_v1(&key, [0; 24], 1, "", &mut Vec::new()).unwrap_err().to_string();
        if error.contains(&want) { Outcome::Same } else { Outcome::Wrong(error) }
    });
}

pub(crate) fn empty_password(run: &mut Run<'_>) {
    let want = run.value().as_str().unwrap().to_owned();
    run.case("empty password", || same("error", LinkKey::from_password("").unwrap_err().to_string(), want));
}
