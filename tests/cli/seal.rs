//! `seal` and `open`, and the registry on its way from one node to another.

use super::user::{Folder, Pair};
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;

/// Paths as they are typed.
fn at(folder: &Folder, file: &str) -> String {
    folder.path(file).to_str().unwrap().to_owned()
}

fn written(folder: &Folder, file: &str, text: &str) -> String {
    folder.write(file, text).to_str().unwrap().to_owned()
}

#[test]
fn a_form_is_opened_by_whom_it_is_for_and_by_nobody_else() {
    let (you, other) = (Folder::init("controller", "you"), Folder::init("controller", "other"));
    let data = written(&you, "log.txt", "line\n");
    let file = at(&you, "form.stmf");
    let key = you.key();
    let seal = ["seal", "form", "--to", &key, "--field", "a=1=2", "--field", "a=3", "--meta", "m=x", "--file"];
    let log = format!("log={data}");
    let sealed = [&seal[..], &[&log, "-o", &file]].concat();
    other.run(&sealed).ok();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    other.run(&sealed).fails(3, &["--force"]);
    other.run(&[&sealed[..], &["--force"]].concat()).ok();
    let row = &you.rows(&["open", &file])[0];
    assert_eq!(row["fields"][0], json!({"name": "a", "value": "1=2", "type": "text"}));
    assert_eq!((&row["meta"]["m"], &row["fields"][2]["filename"]), (&json!("x"), &json!("log.txt")));
    other.run(&["open", &file]).fails(3, &["another key"]);
    let shown = you.run(&["open", &file]).ok().out;
    assert!(shown.contains("a: 3\n") && shown.contains("log: file log.txt"), "{shown}");
    // The key may be named, as bytes or as text; its owner's folder is not needed then.
    let private = you.data().join("private.key");
    let bare = Folder::new();
    bare.run(&["open", &file]).fails(3, &["rigmesh init"]);
    bare.run(&["open", &file, "--key", private.to_str().unwrap()]).ok();
    // Without a file the text goes out, and comes in the same way.
    let text = other.run(&["seal", "form", "--to", &key, "--field", "a=b"]).ok().out;
    let copied = written(&you, "copied.txt", &text);
    assert_eq!(you.rows(&["open", &copied])[0]["fields"][0]["value"], "b");
    let peek = other.rows(&["open", &file, "--peek"]);
    assert_eq!(peek[0]["algorithm"], "x25519-chacha20poly1305");
}

#[test]
fn a_message_is_sealed_under_a_password_and_its_files_come_out_again() {
    let folder = Folder::new();
    let (password, wrong) = (written(&folder, "pw", "correct horse\n"), written(&folder, "wrong", "x"));
    let (body, attached) = (written(&folder, "body.txt", "hi <there>\n"), written(&folder, "a.bin", "\u{0}\u{1}data"));
    for compress in ["zstd", "gzip", "none", "v1"] {
        let file = at(&folder, &format!("{compress}.smsg"));
        let args = [
            "seal",
            "message",
            "--password-file",
            &password,
            "--body-file",
            &body,
            "--attach",
            &attached,
            "--subject",
            "s",
            "--hint",
            "a horse",
            "--compress",
            compress,
            "-o",
            &file,
        ];
        folder.run(&args).ok();
        let row = &folder.rows(&["open", &file, "--password-file", &password])[0];
        assert_eq!((&row["body"], &row["subject"]), (&json!("hi <there>\n"), &json!("s")), "{compress}");
        assert_eq!(row["attachments"][0], json!({"name": "a.bin", "mime": "application/octet-stream", "bytes": 6}));
        folder.run(&["open", &file, "--password-file", &wrong]).fails(3, &["wrong password?"]);
        folder.run(&["open", &file]).fails(2, &["--password-file", "a horse"]);
        assert_eq!(folder.rows(&["open", &file, "--peek"])[0]["hint"], "a horse");
        let (to, out) = (at(&folder, compress), format!("{}/a.bin", at(&folder, compress)));
        let extract = ["open", &file, "--password-file", &password, "--extract", &to];
        assert_eq!(folder.rows(&extract)[0]["extracted"], json!([out]));
        assert_eq!(std::fs::read(&out).unwrap(), b"\0\x01data");
        assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
        folder.run(&extract).fails(3, &["--force", "nothing was written"]);
        folder.run(&[&extract[..], &["--force"]].concat()).ok();
    }
}

#[test]
fn bad_input_ends_seal_and_open_with_one_line_and_writes_nothing() {
    let folder = Folder::new();
    let (password, empty) = (written(&folder, "pw", "x\n"), written(&folder, "empty", ""));
    let out = at(&folder, "out");
    let message = |more: &[&str]| {
        let args = [&["seal", "message", "-o", &out, "--password-file"], more].concat();
        folder.run(&args)
    };
    message(&[&password]).fails(2, &["--body"]);
    message(&[&password, "--body", "a", "--body-file", &password]).fails(2, &["not both"]);
    message(&[&password, "--body", "a", "--compress", "lz4"]).fails(2, &["zstd, gzip"]);
    message(&[&empty, "--body", "a"]).fails(3, &["empty"]);
    message(&["-", "--body-file", "-"]).fails(2, &["standard input"]);
    message(&["/nonexistent", "--body", "a"]).fails(3, &["/nonexistent"]);
    folder.run(&["seal", "message", "--password", "x", "--body", "a"]).fails(2, &["--password"]);
    let key = "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    folder.run(&["seal", "form", "--to", "nonsense", "--field", "a=b"]).fails(3, &["public key"]);
    folder.run(&["seal", "form", "--to", key]).fails(2, &["--field"]);
    folder.run(&["seal", "form", "--to", key, "--field", "=b"]).fails(2, &["NAME=VALUE"]);
    folder.run(&["open", &password]).fails(3, &["neither"]);
    folder.run(&["open", "/nonexistent"]).fails(3, &["/nonexistent"]);
    assert!(!std::path::Path::new(&out).exists());
}

#[test]
fn a_registry_moves_to_a_new_controller_without_its_grants_unless_asked() {
    let (old, new) = (Folder::init("controller", "old"), Folder::init("controller", "new"));
    let rigs = [Folder::init("worker", "rig-1"), Folder::init("worker", "rig-2")];
    let pin = format!("wss://h2:9091#{}", "ab".repeat(32));
    old.run(&["peers", "add", "h1:9091", "--key", &rigs[0].key(), "--name", "rig-1"]).ok();
    old.run(&["peers", "add", &pin, "--key", &rigs[1].key(), "--name", "rig-2", "--grant", "observe"]).ok();
    let (plain, full) = (at(&old, "plain.stmf"), at(&old, "full.stmf"));
    let told = old.run(&["peers", "export", "--to", &new.key(), &plain]).ok().out;
    assert!(told.contains("2 peers") && told.contains("without allowlist and grants"), "{told}");
    let told = old.run(&["peers", "export", "--to", &new.key(), "--with-access", &full]).ok().out;
    assert!(told.contains("with the allowlist and grants of one key"), "{told}");
    old.run(&["peers", "export", "--to", &new.key(), &plain]).fails(3, &["--force"]);
    // Whose it is must be said, and must be true.
    new.run(&["peers", "import", &plain]).fails(3, &["--from", &old.key()]);
    new.run(&["peers", "import", &plain, "--from", &rigs[0].key()]).fails(5, &["wrong key"]);
    old.run(&["peers", "import", &plain, "--from", &old.key()]).fails(3, &["another key"]);
    assert_eq!(new.rows(&["peers", "list"]).len(), 0);
    let rows = new.rows(&["peers", "import", &plain, "--from", &old.key()]);
    assert_eq!((rows.len(), &rows[0]["access"], &rows[1]["outcome"]), (3, &json!(null), &json!("added")));
    let peers = new.rows(&["peers", "list"]);
    let rig = |name: &str| peers.iter().find(|p| p["name"] == name).unwrap().clone();
    assert_eq!((&rig("rig-1")["address"], &rig("rig-1")["key"]), (&json!("h1:9091"), &json!(rigs[0].key())));
    assert_eq!((&rig("rig-2")["tls"], &rig("rig-2")["grants"]), (&json!(true), &json!([])));
    // The grants come along only when both sides say so.
    let told = new.run(&["peers", "import", &full, "--from", &old.key()]).ok();
    assert!(told.err.contains("left out") && told.out.contains("known rig-1"), "{told:?}");
    assert_eq!(new.rows(&["peers", "list"]).iter().find(|p| p["name"] == "rig-2").unwrap()["grants"], json!([]));
    let told = new.run(&["peers", "import", &full, "--from", &old.key(), "--with-access"]).ok();
    assert!(told.err.contains("one key were taken over") && told.out.contains("allowed rig-2"), "{told:?}");
    assert_eq!(
        new.rows(&["peers", "list"]).iter().find(|p| p["name"] == "rig-2").unwrap()["grants"],
        json!(["observe"])
    );
}

#[test]
fn a_conflict_is_a_row_with_an_error_and_a_daemon_does_the_same() {
    let pair = Pair::new();
    let boss = pair.controller.serve_with(&["--listen", "none"]);
    let text = pair.controller.run(&["peers", "export", "--to", &pair.controller.key()]).ok();
    assert!(text.err.contains("one peer"), "{text:?}");
    let backup = written(&pair.controller, "backup.txt", &text.out);
    pair.controller.run(&["peers", "remove", "rig-1"]).ok();
    // Another rig has taken the name meanwhile.
    let other = Folder::init("worker", "x");
    pair.controller.run(&["peers", "add", "h:1", "--key", &other.key(), "--name", "rig-1"]).ok();
    pair.controller.run(&["peers", "import", &backup]).fails(3, &["is called"]);
    pair.controller.run(&["peers", "remove", "rig-1"]).ok();
    pair.controller.run(&["peers", "import", &backup]).ok();
    pair.controller.run(&["ping", "rig-1"]).ok();
    assert_eq!(boss.stop(), 0);
}
