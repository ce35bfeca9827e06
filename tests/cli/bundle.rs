//! `bundle`: made, looked at, checked, taken apart; without a node, a daemon or an identity.

use super::user::Folder;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const USAGE: i32 = 2;
const CONFIG: i32 = 3;
const PROFILE: &str = r#"{"id":"main","name":"Main","minerType":"xmrig","config":{"pools":[{"url":"pool.example:3333","user":"4WalletOfMine"}]}}"#;

/// A folder with a password file, a profile and a miner of two files.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("pw", "hunter2 is no password\n");
    folder.write("wrong", "another\n");
    folder.write("main.json", PROFILE);
    let xmrig = folder.write("xmrig", "program");
    fs::set_permissions(xmrig, fs::Permissions::from_mode(0o700)).unwrap();
    folder.write("notes", "text");
    folder
}

fn at(folder: &Folder, file: &str) -> String {
    folder.path(file).to_str().unwrap().to_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// `bundle create` with everything in it, in this form.
fn create(folder: &Folder, form: &str, output: &str) -> Value {
    let [profile, xmrig, pw, output] = ["main.json", "xmrig", "pw", output].map(|f| at(folder, f));
    let notes = format!("share/notes={}", at(folder, "notes"));
    let mut args = vec!["bundle", "create", "--miner", &xmrig, "--miner", &notes, "--profile", &profile];
    args.extend(["--name", "xmrig", "--as", form, "-o", &output]);
    if form != "tim" {
        args.extend(["--password-file", &pw]);
    }
    folder.rows(&args).remove(0)
}

#[test]
fn a_bundle_of_every_form_is_made_seen_checked_and_taken_apart() {
    for form in ["stim", "json", "tim"] {
        let folder = folder();
        let made = create(&folder, form, "xmrig.out");
        let (file, pw) = (at(&folder, "xmrig.out"), at(&folder, "pw"));
        assert_eq!(mode(Path::new(&file)), 0o600);

        let seen = folder.run(&["bundle", "inspect", &file, "--password-file", &pw, "--json"]).ok();
        assert!(!seen.out.contains("4WalletOfMine") && !seen.out.contains("hunter2"), "{seen:?}");
        let row = &seen.rows()[0];
        assert_eq!((row["form"].as_str(), row["holds"].as_str()), (Some(form), Some("full")));
        assert_eq!((row["main"].as_str(), row["files"][1]["path"].as_str()), (Some("xmrig"), Some("xmrig")));
        assert_eq!((&row["profile"]["id"], &row["sha256"]), (&Value::from("main"), &made["sha256"]));

        let sum = made["sha256"].as_str().unwrap();
        folder.run(&["bundle", "verify", &file, "--checksum", sum, "--password-file", &pw]).ok();
        folder.run(&["bundle", "verify", &file, "--checksum", &"0".repeat(64)]).fails(1, &["checksum", sum]);

        let (to, profile) = (at(&folder, "out"), at(&folder, "profile.out"));
        let args = [
            "bundle",
            "extract",
            &file,
            "--password-file",
            &pw,
            "--to",
            &to,
            "--profile-to",
            &profile,
            "--name",
            "xmrig",
        ];
        let taken = folder.rows(&args).remove(0);
        assert_eq!(taken["main"].as_str().unwrap(), format!("{to}/xmrig"));
        assert_eq!(fs::read(format!("{to}/xmrig")).unwrap(), b"program");
        assert_eq!(fs::read(format!("{to}/share/notes")).unwrap(), b"text");
        assert_eq!(fs::read_to_string(&profile).unwrap(), PROFILE);
        let modes = [format!("{to}/xmrig"), format!("{to}/share/notes"), profile.clone()].map(|f| mode(Path::new(&f)));
        assert_eq!(modes, [0o755, 0o644, 0o600], "{form}");
        // Nothing is extracted over anything.
        folder.run(&args).fails(CONFIG, &["there already"]);
    }
}

#[test]
fn without_the_password_only_the_outside_is_shown() {
    let folder = folder();
    create(&folder, "json", "b");
    let (file, wrong) = (at(&folder, "b"), at(&folder, "wrong"));
    let row = folder.rows(&["bundle", "inspect", &file]).remove(0);
    assert_eq!(
        (&row["sealed"], &row["checksum_ok"], &row["files"]),
        (&Value::from(true), &Value::from(true), &Value::Null)
    );
    assert!(folder.run(&["bundle", "inspect", &file]).ok().out.contains("config_sealed_bytes"));
    folder.run(&["bundle", "verify", &file]).ok();
    let to = at(&folder, "out");
    folder.run(&["bundle", "extract", &file, "--to", &to]).fails(USAGE, &["--password-file"]);
    folder
        .run(&["bundle", "extract", &file, "--to", &to, "--password-file", &wrong])
        .fails(CONFIG, &["wrong password"]);
    assert!(!Path::new(&to).exists());
}

#[test]
fn a_profile_alone_travels_sealed_or_plain() {
    let folder = folder();
    let [profile, pw, plain, sealed] = ["main.json", "pw", "plain", "sealed"].map(|f| at(&folder, f));
    let create = ["bundle", "create", "--profile", &profile, "--name", "Main profile"];
    folder.run(&[&create[..], &["--as", "json", "-o", &plain]].concat()).ok();
    folder.run(&[&create[..], &["--password-file", &pw, "-o", &sealed]].concat()).ok();
    folder.run(&[&create[..], &["-o", &at(&folder, "no")]].concat()).fails(USAGE, &["--password-file"]);
    let text = fs::read_to_string(&plain).unwrap();
    assert!(text.starts_with(r#"{"type":"profile","name":"Main profile","data":"eyJpZCI6"#), "{text}");
    for (file, to) in [(&plain, "a"), (&sealed, "b")] {
        let to = at(&folder, to);
        folder.run(&["bundle", "extract", file, "--password-file", &pw, "--to", &to]).ok();
        let written = Path::new(&to).join("profile.json");
        assert_eq!((fs::read_to_string(&written).unwrap().as_str(), mode(&written)), (PROFILE, 0o600));
        folder.run(&["bundle", "extract", file, "--password-file", &pw, "--to", &to]).fails(1, &["exists"]);
    }
}

#[test]
fn nothing_is_replaced_without_force_and_nothing_half_is_left() {
    let folder = folder();
    let [xmrig, notes, pw, out] = ["xmrig", "notes", "pw", "out"].map(|f| at(&folder, f));
    let create = ["bundle", "create", "--miner", &xmrig, "--name", "xmrig", "--password-file", &pw, "-o", &out];
    folder.run(&create).ok();
    let first = fs::read(&out).unwrap();
    folder.run(&create).fails(CONFIG, &["there already", "--force"]);
    assert_eq!(fs::read(&out).unwrap(), first);
    folder.run(&[&create[..], &["--force"]].concat()).ok();
    assert_ne!(fs::read(&out).unwrap(), first);
    let entries = fs::read_dir(folder.data()).unwrap().count();
    for (args, code, words) in [
        (vec!["--miner", &xmrig, "--miner", &notes, "--name", "m"], CONFIG, &["2 files", "notes, xmrig"][..]),
        (vec!["--miner", &xmrig, "--name", "../m"], CONFIG, &["bundle name"]),
        (vec!["--miner", "/no/such/file", "--name", "m"], CONFIG, &["/no/such/file"]),
        (vec!["--profile", &notes, "--name", "m"], CONFIG, &["profile", "no JSON"]),
        (vec!["--name", "m"], USAGE, &["--profile"]),
        (vec!["--miner", &xmrig, "--name", "m", "--as", "zip"], USAGE, &["zip", "stim, json or tim"]),
    ] {
        let new = at(&folder, "new");
        let whole = [&["bundle", "create", "--password-file", &pw, "-o", &new][..], &args].concat();
        folder.run(&whole).fails(code, words);
    }
    let main = ["bundle", "create", "--miner", &xmrig, "--miner", &notes, "--name", "m", "--main", "xmrig"];
    folder.run(&[&main[..], &["--password-file", &pw, "-o", &at(&folder, "m")]].concat()).ok();
    assert_eq!(fs::read_dir(folder.data()).unwrap().count(), entries + 1);
}

#[test]
fn what_is_no_bundle_is_one_clear_line() {
    let folder = folder();
    create(&folder, "json", "good");
    let text = fs::read_to_string(folder.path("good")).unwrap();
    for (bad, words) in [
        ("junk".to_owned(), ["malformed archive", "unexpected end"]),
        (String::new(), ["malformed archive", "unexpected end"]),
        ("{\"type\":5}".to_owned(), ["malformed bundle", "form"]),
        (text.replace("\"name\":\"xmrig\"", "\"name\":\"xmrig\",\"name\":\"b\""), ["malformed bundle", "form"]),
        (text.replace("\"checksum\":\"", "\"checksum\":\"0"), ["checksum", "as it says"]),
        ("STIM\u{2}".to_owned(), ["malformed container", "unexpected end"]),
    ] {
        folder.write("bad", &bad);
        let answer = folder.run(&["bundle", "verify", &at(&folder, "bad")]);
        assert!([1, CONFIG].contains(&answer.code), "{answer:?}");
        let code = answer.code;
        answer.fails(code, &words);
    }
}
