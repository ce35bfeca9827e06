//! formats/stim.json: the data node, TIM and STIM.

use crate::support::{Outcome, Run, all, array, bytes, same, text, verdict};
use rigmesh::base::Rng;
use rigmesh::formats::smsg::LinkKey;
use rigmesh::formats::tim::{DEFAULT_CONFIG, DataNode, Limits, Tim, open, peek, seal, seal_tar};
use rigmesh::formats::{sigil, trix};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Names to hex, as the file has them.
fn hex_files(root: &DataNode<'_>) -> Value {
    root.files()
        .map(|(name, file)| (name.to_owned(), hex::encode(&file.data).into()))
        .collect::<BTreeMap<_, Value>>()
        .into_iter()
        .collect()
}

fn tree(files: &Value) -> DataNode<'static> {
    let mut root = DataNode::new();
    for (name, hex) in files.as_object().unwrap() {
        root.add(name, hex::decode(hex.as_str().unwrap()).unwrap()).unwrap();
    }
    root
}

/// Wrong beats differing, differing beats the same.
pub(crate) fn worst(outcomes: impl IntoIterator<Item = Outcome>) -> Outcome {
    let rank = |o: &Outcome| match o {
        Outcome::Same => 0,
        Outcome::Other(_) => 1,
        Outcome::Wrong(_) => 2,
    };
    outcomes.into_iter().max_by_key(rank).unwrap_or(Outcome::Same)
}

pub(crate) fn datanode(run: &mut Run<'_>) {
    run.each(|case| {
        let mut root = DataNode::new();
        let names = case["add_in_order"].as_array().unwrap().iter().map(|n| n.as_str().unwrap());
        for (i, name) in names.enumerate() {
            if let Err(e) = root.add(name, vec![i as u8]) {
                return Outcome::Other(e.to_string());
            }
        }
        let list: Vec<_> =
            root.list(".").unwrap().into_iter().map(|e| if e.is_folder { e.name + "/" } else { e.name }).collect();
        let walk: Vec<_> =
            root.walk(0, |_| true).into_iter().map(|e| if e.is_folder { e.name + " (dir)" } else { e.name }).collect();
        all([
            same("stored", hex_files(&root), case["stored"].clone()),
            same("root", json!(list), case["readdir_root"].clone()),
            same("walk", json!(walk), case["walk"].clone()),
        ])
    });
}

pub(crate) fn from_tar(run: &mut Run<'_>) {
    run.each(|case| {
        let tar = bytes(case, "tar");
        let (their_tim, their_node) = (&case["tim_from_tar"], &case["datanode_from_tar"]);
        let tim = Tim::from_tar(&tar, Limits::default());
        let node = DataNode::from_tar(&tar, Limits::default());
        worst([
            verdict(their_tim["ok"] == true, tim, |tim| {
                all([
                    same("config", hex::encode(&tim.config).as_str(), text(their_tim, "config")),
                    same("files", hex_files(&tim.root), their_tim["files"].clone()),
                ])
            }),
            verdict(their_node["ok"] == true, node, |root| {
                let (ours, theirs) = (hex_files(&root), &their_node["files"]);
                let bare = |(name, hex): (&String, &Value)| (name.trim_start_matches("./").to_owned(), hex.clone());
                let normalised: Value = theirs.as_object().unwrap().iter().map(bare).collect();
                match ours == normalised && ours != *theirs {
                    true => Outcome::Other("`./` is kept there".to_owned()),
                    false => same("files", ours, theirs.clone()),
                }
            }),
        ])
    });
}

pub(crate) fn tim_to_tar(run: &mut Run<'_>) {
    run.each(|case| {
        let tim = Tim { config: bytes(case, "config").into(), root: tree(&case["files"]) };
        let tar = bytes(case, "tar");
        all([
            same("tar", tim.to_tar().unwrap() == tar, true),
            same("read again", &Tim::from_tar(&tar, Limits::default()).unwrap(), &tim),
        ])
    });
}

pub(crate) fn stim(run: &mut Run<'_>) {
    run.each(|case| {
        let (password, container) = (text(case, "password"), bytes(case, "container"));
        let config = bytes(case, "config");
        let sizes = peek(&container).unwrap();
        let (header, _) = trix::split(b"STIM", &container, 1 << 16).unwrap();
        let key = LinkKey::from_password(password).unwrap();
        let mut root = container[container.len() - sizes.root..].to_vec();
        let tar = sigil::open_in_place(key.as_bytes(), &mut root).unwrap().to_vec();
        let nonces = [array(case, "config_nonce"), array(case, "rootfs_nonce")];
        let mut copy = container.clone();
        let tim = open(password, &mut copy, Limits::default()).unwrap();
        let ours = Tim { config: config.clone().into(), root: tree(&case["files"]) };
        let mut again = seal(password, &ours, &mut Rng::from_number(1)).unwrap();
        let default = text(case, "config_kind") == "default";
        all([
            same("key", hex::encode(key.as_bytes()).as_str(), text(case, "key")),
            same("header", std::str::from_utf8(header).unwrap(), text(case, "header_json")),
            same("sealed configuration", Some(sizes.config as u64), case["config_sealed_size"].as_u64()),
            same("size of the tar", Some(tar.len() as u64), case["rootfs_tar_size"].as_u64()),
            same("default", !default || config == DEFAULT_CONFIG, true),
            same("restored", hex_files(&tim.root), case["restored_files"].clone()),
            same("restored configuration", hex::encode(&tim.config).as_str(), text(case, "restored_config")),
            same("sealed again", seal_tar(password, &config, &tar, nonces).unwrap(), container),
            // Order and times of the inner tar are the original's chance; the size is not.
            same("sealed by us", again.len(), copy.len()),
            same("and opened", open(password, &mut again, Limits::default()).unwrap(), ours),
        ])
    });
}

pub(crate) fn negative(run: &mut Run<'_>) {
    run.each(|case| {
        let result = &case["result"];
        let theirs = result["ok"] == true;
        if text(case, "op") == "from_sigil" {
            let mut container = bytes(&case["input"], "container");
            return verdict(theirs, open(text(&case["input"], "password"), &mut container, Limits::default()), |tim| {
                all([
                    same("config", hex::encode(&tim.config).as_str(), text(result, "config")),
                    same("files", hex_files(&tim.root), result["files"].clone()),
                ])
            });
        }
        match text(case, "name") {
            "to_sigil empty password" => {
                verdict(theirs, seal("", &Tim::default(), &mut Rng::from_number(1)), |_| Outcome::Same)
            }
            // A configuration and a tree are values, which are never null; the cache stays out.
            "to_sigil nil config" | "to_tar nil config" | "from_datanode nil" | "cache with empty password" => {
                Outcome::Other("cannot be written".to_owned())
            }
            other => Outcome::Wrong(format!("unknown case {other}")),
        }
    });
}
