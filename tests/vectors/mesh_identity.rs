//! mesh/identity.json: keys, ids, shared secrets, challenges, identity files.

use crate::support::{Outcome, Run, all, array, bytes, same, text, verdict};
use rigmesh::NodeManager;
use rigmesh::formats::gojson;
use rigmesh::identity::{PublicKey, SecretKey, SharedSecret, derive_shared_secret, sign_challenge, verify_challenge};
use serde_json::Value;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

fn write_private(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// A node whose files hold what the case says.
fn node(case: &Value, json: &[u8]) -> (tempfile::TempDir, rigmesh::base::Result<NodeManager>) {
    let dir = tempfile::tempdir().unwrap();
    let (key, config) = (dir.path().join("private.key"), dir.path().join("node.json"));
    let private = bytes(case, "private_key");
    if !private.is_empty() {
        write_private(&key, &private);
    }
    std::fs::write(&config, json).unwrap();
    let node = NodeManager::from_paths(&key, &config);
    assert_eq!(std::fs::read(&config).unwrap(), json, "node.json was changed");
    assert_eq!(std::fs::read(&key).unwrap_or_default(), private, "private.key was changed");
    (dir, node)
}

pub(crate) fn identities(run: &mut Run<'_>) {
    run.each(|case| {
        let json = bytes(case, "node_json_hex");
        assert_eq!(json, text(case, "node_json_text").as_bytes());
        let secret = SecretKey::from_bytes(array(case, "private_key"));
        let key = PublicKey::from_bytes(array(case, "public_key")).unwrap();
        let (_dir, node) = node(case, &json);
        let node = node.unwrap();
        let info = node.identity().unwrap();
        all([
            same("public key", secret.public_key(), key),
            same("base64", key.to_base64().as_str(), text(case, "public_key_b64")),
            same("node id", key.node_id().to_string().as_str(), text(case, "node_id")),
            same("checked key", info.checked_key().unwrap(), key),
            same("name", info.name.as_str(), text(case, "name")),
            same("role", info.role.as_str(), text(case, "role")),
            same("node.json", gojson::to_string_pretty_html(info).unwrap().into_bytes(), json),
        ])
    });
}

pub(crate) fn shared(run: &mut Run<'_>) {
    run.each(|case| {
        let (a, b) = (SecretKey::from_bytes(array(case, "a_private")), SecretKey::from_bytes(array(case, "b_private")));
        let secret = SharedSecret::from_bytes(array(case, "shared_secret"));
        all([
            same("a", a.public_key().to_base64().as_str(), text(case, "a_public_b64")),
            same("b", b.public_key().to_base64().as_str(), text(case, "b_public_b64")),
            same("a with b", a.shared_secret(&b.public_key()).unwrap() == secret, true),
            same("b with a", derive_shared_secret(&b, text(case, "a_public_b64")).unwrap() == secret, true),
            same("password", secret.smsg_password().as_str(), text(case, "smsg_password")),
        ])
    });
}

pub(crate) fn challenge(run: &mut Run<'_>) {
    run.each(|case| {
        let secret = SharedSecret::from_bytes(array(case, "secret"));
        let (challenge, response) = (bytes(case, "challenge"), bytes(case, "response"));
        let verdict = |response: &[u8], key: &str| {
            same(key, verify_challenge(&challenge, response, &secret), case[key].as_bool().unwrap())
        };
        all([
            same("response", sign_challenge(&challenge, &secret).to_vec(), response.clone()),
            verdict(&response, "verify"),
            verdict(&bytes(case, "bad_response"), "verify_bad"),
            verdict(&response[..response.len() - 1], "verify_truncated"),
            verdict(&[], "verify_empty"),
        ])
    });
}

pub(crate) fn public_key_cases(run: &mut Run<'_>) {
    let secret = SecretKey::from_bytes(array(run.root, "public_key_cases_private"));
    run.each(|case| {
        let theirs = text(case, "public_key_b64");
        let ours = derive_shared_secret(&secret, theirs);
        // What is admitted is stricter than what can be derived: only the plain valid key.
        let admitted = PublicKey::from_base64(theirs).is_ok();
        all([
            verdict(case["error"].is_null(), ours, |s| {
                same("secret", s.as_bytes().to_vec(), bytes(case, "shared_secret"))
            }),
            same("admitted", admitted, text(case, "desc") == "valid"),
        ])
    });
}

pub(crate) fn load_cases(run: &mut Run<'_>) {
    run.each(|case| {
        let (_dir, node) = node(case, text(case, "node_json_text").as_bytes());
        let ours = node.and_then(|node| match node.identity() {
            Some(info) => Ok(info.clone()),
            None => Err(rigmesh::base::Error::NotFound("no identity".to_owned())),
        });
        verdict(case["has_identity"].as_bool().unwrap(), ours, |info| {
            same("identity", serde_json::to_value(info).unwrap(), case["identity"].clone())
        })
    });
}

pub(crate) fn no_identity_error(run: &mut Run<'_>) {
    let want = run.value().as_str().unwrap().strip_prefix("node: ").unwrap().to_owned();
    run.case("no identity", || {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeManager::from_paths(dir.path().join("k"), dir.path().join("n")).unwrap();
        let error = node.derive_shared_secret("").unwrap_err().to_string();
        if error.contains(&want) { Outcome::Same } else { Outcome::Wrong(error) }
    });
}
