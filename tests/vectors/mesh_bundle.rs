//! mesh/bundle.json: bundles of a Go node, and hostile archives.

use crate::formats_stim::worst;
use crate::support::{Outcome, Run, all, bytes, same, text, verdict};
use rigmesh::base::{Result, Rng};
use rigmesh::bundle::{
    Bundle, BundleType, MinerFile, PlainProfile, create_miner_bundle, create_profile_bundle,
    create_profile_bundle_unencrypted, extract_miner_bundle, extract_profile_bundle, read_bundle, stream_bundle,
    verify_bundle,
};
use rigmesh::extract_miner_bundle_to;
use rigmesh::formats::smsg::LinkKey;
use rigmesh::formats::tim::{DEFAULT_CONFIG, Limits, peek, seal_tar, tar};
use rigmesh::formats::{sigil, trix};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

fn rng() -> Rng {
    Rng::from_number(1)
}

/// The bundle of a case.
fn bundle(case: &Value, kind: BundleType) -> Bundle {
    let name = case["name"].as_str().unwrap_or("p").to_owned();
    Bundle { kind, name, data: bytes(case, "data"), checksum: text(case, "checksum").to_owned() }
}

/// Streaming writes the case's text, and reading it gives the bundle.
fn streamed(case: &Value, bundle: &Bundle) -> Outcome {
    let mut ours = Vec::new();
    stream_bundle(bundle, &mut ours).unwrap();
    let theirs = text(case, "stream_text");
    all([
        same("streamed", std::str::from_utf8(&ours).unwrap(), theirs),
        same("read", &read_bundle(theirs.as_bytes(), theirs.len()).unwrap(), bundle),
        same("type", bundle.kind.as_str(), text(case, "type")),
        same("verified", verify_bundle(bundle), true),
    ])
}

/// The two sealed parts are the ones of the case, and sealing them under their nonces gives the container.
fn sealed_alike(case: &Value, container: &[u8]) -> Outcome {
    let (password, sizes) = (text(case, "password"), peek(container).unwrap());
    let (header, _) = trix::split(b"STIM", container, 1 << 16).unwrap();
    let key = LinkKey::from_password(password).unwrap();
    let (config, root) = container[sizes.head..].split_at(sizes.config);
    let nonces = [config, root].map(|part| part[..24].try_into().unwrap());
    let [config, root] = [config, root].map(|part| {
        let mut part = part.to_vec();
        sigil::open_in_place(key.as_bytes(), &mut part).unwrap().to_vec()
    });
    all([
        same("header", std::str::from_utf8(header).unwrap(), text(case, "stim_header")),
        same("configuration", &config, &bytes(case, "stim_config")),
        same("tar", &root, &bytes(case, "stim_rootfs_tar")),
        same("sealed", seal_tar(password, &config, &root, nonces).unwrap() == container, true),
    ])
}

pub(crate) fn default_config(run: &mut Run<'_>) {
    let theirs = run.value().as_str().unwrap().as_bytes();
    run.case("default", || same("default", DEFAULT_CONFIG, theirs));
}

pub(crate) fn profile_encrypted(run: &mut Run<'_>) {
    run.each(|case| {
        let (bundle, password) = (bundle(case, BundleType::Profile), text(case, "password"));
        let profile = text(case, "profile").as_bytes();
        let ours = create_profile_bundle(profile, text(case, "name"), password, &mut rng()).unwrap();
        let extracted = |bundle| extract_profile_bundle(bundle, password, PlainProfile::Refused);
        all([
            sealed_alike(case, &bundle.data),
            streamed(case, &bundle),
            same("size", ours.data.len(), bundle.data.len()),
            same("ours", extracted(&ours).unwrap().as_slice(), profile),
            verdict(case["extract_error"].is_null(), extracted(&bundle), |found| {
                same("extracted", found.as_slice(), text(case, "extracted").as_bytes())
            }),
        ])
    });
}

pub(crate) fn profile_unencrypted(run: &mut Run<'_>) {
    run.each(|case| {
        let bundle = bundle(case, BundleType::Profile);
        let theirs = case["extract_error"].is_null();
        let ours = create_profile_bundle_unencrypted(text(case, "profile").as_bytes(), text(case, "name"));
        let made = match ours {
            Ok(ours) => same("made", &ours, &bundle),
            // What nobody can extract is not made.
            Err(_) => same("refused", theirs, false),
        };
        let refused = extract_profile_bundle(&bundle, "", PlainProfile::Refused).is_err();
        all([
            made,
            streamed(case, &bundle),
            same("refused where it must be sealed", refused, true),
            verdict(theirs, extract_profile_bundle(&bundle, "", PlainProfile::Accepted), |found| {
                same("extracted", found.as_slice(), text(case, "extracted").as_bytes())
            }),
        ])
    });
}

pub(crate) fn miner(run: &mut Run<'_>) {
    run.each(|case| {
        let (bundle, password) = (bundle(case, BundleType::Miner), text(case, "password"));
        let (binary, file_name) = (bytes(case, "binary"), text(case, "file_name"));
        let profile = Some(text(case, "profile").as_bytes()).filter(|p| !p.is_empty());
        let files = [MinerFile { path: file_name, executable: true, data: &binary }];
        let ours = create_miner_bundle(&files, None, profile, &bundle.name, password, &mut rng()).unwrap();
        let ours = extract_miner_bundle(ours, password).unwrap();
        let theirs = extract_miner_bundle(bundle.clone(), password).unwrap();
        let plain_tar = bytes(case, "createTarball");
        let entries = tar::read(&plain_tar, Limits::default(), tar::End::Marked).unwrap();
        // A made-up profile is none.
        let kept = text(case, "extract_profile").as_bytes();
        let profile_alike =
            match theirs.profile.as_deref() == Some(kept) || (theirs.profile.is_none() && kept.is_empty()) {
                true => Outcome::Same,
                false => Outcome::Other("no profile is made up".to_owned()),
            };
        worst([
            sealed_alike(case, &bundle.data),
            streamed(case, &bundle),
            same("main", theirs.main.as_str(), file_name),
            same("content", theirs.files[0].data == binary, true),
            same("executable", theirs.files[0].executable, true),
            same("profile", theirs.profile.as_deref(), profile),
            same("ours", &ours, &theirs),
            same("plain tar", (entries[0].name.as_ref(), entries[0].data), (file_name, &binary[..])),
            profile_alike,
        ])
    });
}

pub(crate) fn extract_errors(run: &mut Run<'_>) {
    run.each(|case| {
        let found =
            extract_profile_bundle(&bundle(case, BundleType::Profile), text(case, "password"), PlainProfile::Accepted);
        verdict(case["error"].is_null() && case["panic"].is_null(), found, |found| {
            same("profile", found.as_slice(), text(case, "profile").as_bytes())
        })
    });
}

pub(crate) fn read(run: &mut Run<'_>) {
    let case = run.value().clone();
    run.case("read_bundle", || {
        let text =
            |data: &str| format!("{{\"type\":\"miner\",\"name\":\"n\",\"data\":\"{data}\",\"checksum\":\"\"}}\n \n");
        let read = |data: &str| read_bundle(text(data).as_bytes(), 1000).map(|bundle| bundle.data);
        let good = rigmesh::base::base64_encode(&bytes(&case, "data"));
        all([
            verdict(case["error"].is_null(), read(&good), |data| same("data", data, bytes(&case, "data"))),
            verdict(case["bad_base64_error"].is_null(), read("!!!"), |_| Outcome::Same),
        ])
    });
}

/// Everything below a folder: path, kind, mode, hash of the content; links are not followed.
fn tree(folder: &Path, below: &str, found: &mut Vec<(String, bool, u32, String)>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap()).collect();
    entries.sort_by_key(|e| e.file_name());
    for entry in entries {
        let path = format!("{below}{}", entry.file_name().to_str().unwrap());
        let info = entry.path().symlink_metadata().unwrap();
        assert!(info.is_dir() || info.is_file(), "{path} is neither a folder nor a file");
        let hash = if info.is_file() {
            hex::encode(Sha256::digest(std::fs::read(entry.path()).unwrap()))
        } else {
            String::new()
        };
        found.push((path.clone(), info.is_dir(), info.permissions().mode() & 0o7777, hash));
        if info.is_dir() {
            tree(&entry.path(), &format!("{path}/"), found);
        }
    }
}

fn tree_of(folder: &Path) -> Vec<(String, bool, u32, String)> {
    let mut found = Vec::new();
    tree(folder, "", &mut found);
    found
}

/// Extracts into `dest` of a fresh folder that also has something precious in it: after a refusal that folder is as
/// it was, after a success there is `dest` more. Returns the files below `dest`.
fn extracted(bundle: Bundle, password: &str) -> Result<Vec<(String, String)>> {
    let dir = tempfile::tempdir().unwrap();
    let parent = dir.path().join("parent");
    std::fs::create_dir_all(parent.join("precious")).unwrap();
    for file in ["escape", "bad", "precious/bad", "x"] {
        std::fs::write(parent.join(file), "precious").unwrap();
    }
    let before = tree_of(dir.path());
    let result = extract_miner_bundle_to(bundle, password, &parent.join("dest"));
    let after = tree_of(dir.path());
    let (inside, outside): (Vec<_>, Vec<_>) =
        after.into_iter().partition(|(path, ..)| path == "parent/dest" || path.starts_with("parent/dest/"));
    assert_eq!(outside, before, "something outside changed");
    let (main, _) = result.inspect_err(|_| assert!(inside.is_empty(), "left behind: {inside:?}"))?;
    for (path, is_folder, mode, _) in &inside {
        let runs = *is_folder || parent.parent().unwrap().join(path) == main;
        assert!(*mode == 0o755 || (!runs && *mode == 0o644), "{path} has mode {mode:o}");
    }
    let files = inside.into_iter().filter(|(_, is_folder, ..)| !is_folder);
    Ok(files.map(|(path, _, _, hash)| (path.trim_start_matches("parent/").to_owned(), hash)).collect())
}

/// The files the original left in its `dest`.
fn their_files(result: &Value) -> Vec<(String, String)> {
    let entries = result["tree_of_parent"].as_array().unwrap().iter();
    let files =
        entries.filter(|e| e["type"] == "file").map(|e| (text(e, "path").to_owned(), text(e, "sha256").to_owned()));
    files.collect()
}

pub(crate) fn hostile(run: &mut Run<'_>) {
    run.each(|case| {
        let password = text(case, "password");
        let sealed_tar = seal_tar(password, b"", &bytes(case, "tar"), [[1; 24], [2; 24]]).unwrap();
        let ways = [
            (&case["ExtractMinerBundle"], bytes(case, "bundle_data")),
            // What never gets into a Go node's bundles may be in another's.
            (&case["extractTarball_directly"], sealed_tar),
        ];
        worst(ways.into_iter().map(|(theirs, data)| {
            let files = their_files(theirs);
            // The case says nothing of the bundle's name; this one makes the main file known where there is one.
            let first =
                files.iter().filter_map(|(path, _)| path.strip_prefix("dest/")).find(|path| !path.contains('/'));
            let name = first.filter(|name| !name.starts_with('.') && !name.contains('\\')).unwrap_or("hostile");
            let bundle = Bundle::new(BundleType::Miner, name, data).unwrap();
            verdict(theirs["error"].is_null() && theirs["panic"].is_null(), extracted(bundle, password), |ours| {
                same("files", ours, files)
            })
        }))
    });
}
