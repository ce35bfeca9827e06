//! Keys under a pass-phrase: `id protect`, a service that reads it from a file, `id unprotect`.

use super::user::{Folder, Pair};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

const CONFIG: i32 = 3;
const KEYS: [&str; 2] = ["private.key", "sign.key"];
const VARIABLE: &str = "RIGMESH_PASSPHRASE_FILE";

/// A file with a pass-phrase, readable by its owner only.
fn passphrase(folder: &Folder, name: &str, text: &str) -> PathBuf {
    let path = folder.write(name, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn keys(folder: &Folder) -> Vec<Vec<u8>> {
    KEYS.iter().map(|name| fs::read(folder.path(name)).unwrap()).collect()
}

#[test]
fn a_protected_rig_serves_with_its_pass_phrase_and_with_no_other_and_comes_back_as_it_was() {
    let Pair { rig, controller, daemon } = Pair::new();
    let (plain, before) = (keys(&rig), rig.rows(&["id"]).swap_remove(0));
    assert_eq!(before["keys"], "plain");
    let [right, wrong] = [("right", "correct horse\nnot this"), ("wrong", "correct cow\n")]
        .map(|(name, text)| passphrase(&rig, name, text));

    // The daemon keeps its folder.
    rig.name_passphrase_file(Some(&right));
    rig.run(&["id", "protect"]).fails(CONFIG, &["in use by process"]);
    let address = daemon.address();
    assert_eq!(daemon.stop(), 0);
    assert_eq!(keys(&rig), plain);

    rig.run(&["id", "unprotect"]).fails(CONFIG, &["not protected"]);
    let answer = rig.run(&["id", "protect"]).ok();
    assert!(answer.err.contains(VARIABLE) && !answer.err.contains("horse"), "{answer:?}");
    let sealed = keys(&rig);
    for (name, bytes) in KEYS.iter().zip(&sealed) {
        assert!(bytes.starts_with(b"rigmesh-key\0"), "{name}");
        assert_eq!(fs::metadata(rig.path(name)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    rig.run(&["id", "protect"]).fails(CONFIG, &["protected already", "rigmesh id unprotect"]);

    // Who the node is needs no pass-phrase; whatever needs the keys says what is missing.
    rig.name_passphrase_file(None);
    let after = rig.rows(&["id"]).swap_remove(0);
    assert_eq!(after["keys"], "protected");
    assert!(rig.run(&["id"]).ok().out.contains("keys  protected"));
    for field in ["id", "key", "name", "role", "dht_address"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    rig.run(&["init", "--role", "worker"]).fails(CONFIG, &["identity already"]);
    for args in [&["serve", "--listen", "127.0.0.1:0"][..], &["peers", "list"], &["id", "unprotect"]] {
        rig.run(args).fails(CONFIG, &["private.key", "protected by a pass-phrase", VARIABLE, "0600"]);
    }
    rig.name_passphrase_file(Some(&wrong));
    for args in [&["serve", "--listen", "127.0.0.1:0"][..], &["peers", "list"], &["id", "unprotect"]] {
        rig.run(args).fails(CONFIG, &["private.key", "pass-phrase does not open"]);
    }
    assert_eq!(keys(&rig), sealed, "nothing was written");

    // The service knows it, and its commands need not.
    rig.name_passphrase_file(Some(&right));
    let daemon = rig.serve_with(&["--listen", &address]);
    rig.name_passphrase_file(None);
    controller.run(&["ping", "rig-1"]).ok();
    rig.run(&["status", "self"]).ok();
    rig.name_passphrase_file(Some(&right));
    rig.run(&["id", "unprotect"]).fails(CONFIG, &["in use by process"]);
    assert_eq!(daemon.stop(), 0);
    assert!(!rig.log().contains("horse"));

    rig.run(&["id", "unprotect"]).ok();
    assert_eq!((keys(&rig), &rig.rows(&["id"])[0]["keys"]), (plain, &before["keys"]));
    rig.name_passphrase_file(None);
    assert_eq!(rig.serve().stop(), 0);
}

#[test]
fn a_pass_phrase_comes_from_a_private_file_or_a_terminal_and_from_nowhere_else() {
    let folder = Folder::init("controller", "boss");
    let plain = keys(&folder);
    folder.input(&["id", "protect"], "correct horse\ncorrect horse\n").fails(CONFIG, &["terminal", VARIABLE]);
    let path = folder.path("pass");
    folder.name_passphrase_file(Some(&path));
    folder.run(&["id", "protect"]).fails(CONFIG, &["pass", "is missing"]);
    folder.write("pass", "correct horse");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    folder.run(&["id", "protect"]).fails(CONFIG, &["open to other users", "chmod 600"]);
    passphrase(&folder, "pass", "\n");
    folder.run(&["id", "protect"]).fails(CONFIG, &["empty"]);
    assert_eq!(keys(&folder), plain);
    // Damage is told from a wrong pass-phrase as far as it can be, and nothing is overwritten.
    passphrase(&folder, "pass", "correct horse");
    folder.run(&["id", "protect"]).ok();
    let sealed = keys(&folder);
    fs::write(folder.path("sign.key"), &sealed[1][..100]).unwrap();
    folder.run(&["id"]).fails(CONFIG, &["sign.key", "corrupt", "backup"]);
    fs::write(folder.path("sign.key"), &sealed[0]).unwrap();
    folder.run(&["peers", "list"]).fails(CONFIG, &["sign.key", "does not open"]);
    fs::write(folder.path("sign.key"), &sealed[1]).unwrap();
    // A stop between the two files: one is plain already. Protecting again completes it.
    fs::write(folder.path("private.key"), &plain[0]).unwrap();
    assert_eq!(folder.rows(&["id"])[0]["keys"], "half");
    folder.run(&["peers", "list"]).ok();
    assert_eq!(folder.rows(&["id", "protect"])[0]["keys"], "protected");
    assert_eq!(folder.rows(&["id", "unprotect"])[0]["keys"], "plain");
    assert_eq!(keys(&folder), plain);
}
