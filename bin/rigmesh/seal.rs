//! `seal` and `open`: STMF forms and SMSG messages as files. No node is asked; only opening a form needs
//! this node's private key.

use crate::args::{Globals, Open, STDIN, SealCommand, SealForm, SealMessage};
use crate::exit::{self, Exit};
use crate::files::{self, write_private};
use crate::output::Out;
use crate::settings;
use crate::table::safe;
use rigmesh::base::{Rng, Timestamp};
use rigmesh::formats::reading::go_base64_decode;
use rigmesh::formats::smsg::{self, Attachment, Compression, Format, SealOptions, SmsgMessage};
use rigmesh::formats::stmf::{self, Field, Form, FormKey};
use rigmesh::identity::PublicKey;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The largest file that is sealed, opened, or comes out of one, bytes.
const FILE_BYTES_MAX: usize = 256 << 20;
/// The longest name of a file, bytes: what file systems take.
const NAME_BYTES_MAX: usize = 255;
/// Media type of files whose content is nobody's business.
const MIME: &str = "application/octet-stream";

pub(crate) fn seal(out: &Out, command: SealCommand) -> Result<(), Exit> {
    match command {
        SealCommand::Form(args) => seal_form(out, &args),
        SealCommand::Message(args) => seal_message(out, &args),
    }
}

fn seal_form(out: &Out, args: &SealForm) -> Result<(), Exit> {
    let to = PublicKey::from_base64(&args.to)?;
    let mut form = Form { fields: Some(Vec::new()), ..Form::default() };
    for text in &args.field {
        let (name, value) = pair("--field", text)?;
        form = form.with_text(name, value);
    }
    for text in &args.file {
        let (name, path) = pair("--file", text)?;
        let path = if path == "-" { Path::new(STDIN) } else { Path::new(path) };
        form = form.with_file(name, &file_name(path)?, MIME, &files::read(path, FILE_BYTES_MAX)?);
    }
    for text in &args.meta {
        let (name, value) = pair("--meta", text)?;
        form = form.with_meta(name, value);
    }
    if form.fields().is_empty() {
        return Err(Exit::usage("an empty form says nothing: give --field NAME=VALUE or --file NAME=PATH"));
    }
    let sealed = stmf::seal(&form, to.as_bytes(), &mut rng()?)?;
    let about = json!({ "kind": "form", "fields": form.fields().len(), "to": to.node_id() });
    deliver(out, &sealed, args.output.as_deref(), args.force, about)
}

fn seal_message(out: &Out, args: &SealMessage) -> Result<(), Exit> {
    let format = match args.compress.as_str() {
        "zstd" => Format::V2(Compression::Zstd),
        "gzip" => Format::V2(Compression::Gzip),
        "none" => Format::V2(Compression::None),
        "v1" => Format::V1,
        other => return Err(Exit::usage(format!("unknown --compress {other:?}: use zstd, gzip, none or v1"))),
    };
    let from_stdin = |path: &Path| path == Path::new(STDIN);
    let inputs = args.body_file.iter().chain(&args.attach).chain([&args.password_file]);
    if inputs.filter(|path| from_stdin(path)).count() > 1 {
        return Err(Exit::usage("standard input can be read once: name a file for the rest"));
    }
    let body = match (&args.body, &args.body_file) {
        (Some(_), Some(_)) => return Err(Exit::usage("give --body or --body-file, not both")),
        (Some(body), None) => body.clone(),
        (None, Some(path)) => String::from_utf8(files::read(path, FILE_BYTES_MAX)?)
            .map_err(|_| Exit::new(exit::CONFIG, format!("{} is not UTF-8", path.display())))?,
        (None, None) if args.attach.is_empty() => {
            return Err(Exit::usage("an empty message says nothing: give --body, --body-file or --attach"));
        }
        (None, None) => String::new(),
    };
    let mut message = SmsgMessage {
        subject: args.subject.clone().unwrap_or_default(),
        from: args.from.clone().unwrap_or_default(),
        ..SmsgMessage::new(&body)
    };
    for path in &args.attach {
        message = message.with_attachment(&file_name(path)?, MIME, &files::read(path, FILE_BYTES_MAX)?);
    }
    let password = files::password(&args.password_file)?;
    let options = SealOptions { format, hint: args.hint.as_deref().unwrap_or_default(), manifest: None };
    let sealed = smsg::seal(&password, &message, &options, now(), &mut rng()?)?;
    let about = json!({ "kind": "message", "attachments": message.attachments.len() });
    deliver(out, &sealed, args.output.as_deref(), args.force, about)
}

fn set(row: &mut Value, key: &str, value: Value) {
    if let Some(row) = row.as_object_mut() {
        row.insert(key.to_owned(), value);
    }
}

/// To a file, or as text to standard output.
fn deliver(out: &Out, sealed: &[u8], to: Option<&Path>, force: bool, mut about: Value) -> Result<(), Exit> {
    set(&mut about, "bytes", json!(sealed.len()));
    match to {
        Some(path) => {
            write_private(path, force, files::all(sealed))?;
            set(&mut about, "file", json!(path));
        }
        None => set(&mut about, "sealed", json!(smsg::encode_text(sealed))),
    }
    match (out.json(), to) {
        (true, _) => out.row(&about),
        (false, Some(path)) => out.text(&format!("sealed {} bytes to {}", sealed.len(), path.display())),
        (false, None) => out.text(&smsg::encode_text(sealed)),
    }
}

pub(crate) fn open(globals: &Globals, out: &Out, args: &Open) -> Result<(), Exit> {
    // Text is a third longer than the bytes it stands for.
    let mut bytes = files::read(&args.file, FILE_BYTES_MAX / 3 * 4 + 4)?;
    if !is_container(&bytes) {
        let decoded = std::str::from_utf8(&bytes).ok().and_then(go_base64_decode);
        bytes = decoded.filter(|bytes| is_container(bytes)).ok_or_else(|| {
            let why = "is neither a sealed form (STMF) nor a sealed message (SMSG); bundles: rigmesh bundle inspect";
            Exit::new(exit::CONFIG, format!("{} {why}", args.file.display()))
        })?;
    }
    let form = bytes.starts_with(stmf::MAGIC);
    if args.peek {
        return peek(out, &bytes, form);
    }
    let opened = if form { Opened::of_form(&open_form(globals, args, &bytes)?) } else { open_message(args, &bytes)? };
    opened.show(out, args)
}

fn is_container(bytes: &[u8]) -> bool {
    bytes.starts_with(stmf::MAGIC) || bytes.starts_with(smsg::MAGIC)
}

fn peek(out: &Out, bytes: &[u8], form: bool) -> Result<(), Exit> {
    let row = if form {
        let info = stmf::peek(bytes)?;
        json!({ "kind": "form", "version": info.version, "algorithm": info.algorithm, "ephemeral_pk": info.ephemeral_pk })
    } else {
        let info = smsg::peek(bytes)?;
        json!({
            "kind": "message",
            "version": info.version,
            "algorithm": info.algorithm,
            "format": info.format,
            "compression": info.compression,
            "hint": info.hint,
            "manifest": info.manifest,
        })
    };
    if out.json() {
        return out.row(&row);
    }
    let said = |(key, value): (&String, &Value)| match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(format!("{key}: {}\n", safe(text))),
        other => Some(format!("{key}: {}\n", safe(&other.to_string()))),
    };
    out.text(&row.as_object().into_iter().flatten().filter_map(said).collect::<String>())
}

fn open_form(globals: &Globals, args: &Open, bytes: &[u8]) -> Result<Form, Exit> {
    if args.password_file.is_some() {
        return Err(Exit::usage("a form is opened with a key (--key), not with a password"));
    }
    let key = match &args.key {
        Some(path) => {
            let raw = files::read(path, 64)?;
            let text = std::str::from_utf8(&raw).ok().map(str::trim);
            let key = FormKey::from_slice(&raw).or_else(|e| text.map_or(Err(e), FormKey::from_base64));
            key.map_err(|_| {
                let why = "holds no private key: 32 bytes, or their base64";
                Exit::new(exit::CONFIG, format!("{} {why}", path.display()))
            })?
        }
        None => {
            let identity = settings::identity(&settings::paths(globals)?)?;
            FormKey::from_bytes(*identity.secret().to_bytes())
        }
    };
    Ok(stmf::open(bytes, &key)?)
}

fn open_message(args: &Open, bytes: &[u8]) -> Result<Opened, Exit> {
    let Some(path) = &args.password_file else {
        let hint = smsg::peek(bytes)?.hint;
        let hint = if hint.is_empty() { String::new() } else { format!(" (its hint: {hint:?})") };
        return Err(Exit::usage(format!("a message is opened with --password-file FILE{hint}")));
    };
    let message = smsg::open(&files::password(path)?, bytes, FILE_BYTES_MAX)?;
    Opened::of_message(&message)
}

/// What came out: a description, the same for people, and files.
struct Opened {
    row: Value,
    text: String,
    files: Vec<(String, Vec<u8>)>,
}

impl Opened {
    fn of_form(form: &Form) -> Opened {
        let mut text = String::new();
        for Field { name, value, kind, filename, .. } in form.fields() {
            text += &match kind.as_str() {
                "file" => format!("{}: file {} ({} bytes)\n", safe(name), safe(filename), value.len() / 4 * 3),
                _ => format!("{}: {}\n", safe(name), safe(value)),
            };
        }
        form.meta.iter().for_each(|(name, value)| text += &format!("meta {}: {}\n", safe(name), safe(value)));
        let of_file = |f: &Field| match go_base64_decode(&f.value) {
            Some(bytes) if f.kind == "file" => Some((f.filename.clone(), bytes)),
            _ => None,
        };
        let files = form.fields().iter().filter_map(of_file).collect();
        Opened { row: json!({ "kind": "form", "fields": form.fields(), "meta": form.meta }), text, files }
    }

    fn of_message(message: &SmsgMessage) -> Result<Opened, Exit> {
        let (mut text, mut files) = (String::new(), Vec::new());
        for (name, value) in [("subject", &message.subject), ("from", &message.from)] {
            if !value.is_empty() {
                text += &format!("{name}: {}\n", safe(value));
            }
        }
        let time = Timestamp::from_unix(message.timestamp, 0);
        text += &format!("time: {time}\n");
        let mut list = Vec::new();
        for Attachment { name, content, mime, .. } in &message.attachments {
            let bytes = go_base64_decode(content)
                .ok_or_else(|| Exit::new(exit::CONFIG, format!("the attachment {:?} is no base64", short(name))))?;
            text += &format!("attachment: {} ({} bytes)\n", safe(name), bytes.len());
            list.push(json!({ "name": name, "mime": mime, "bytes": bytes.len() }));
            files.push((name.clone(), bytes));
        }
        if !message.body.is_empty() {
            let lines: Vec<String> = message.body.lines().map(safe).collect();
            text += &format!("\n{}\n", lines.join("\n"));
        }
        let row = json!({
            "kind": "message",
            "subject": message.subject,
            "from": message.from,
            "timestamp": message.timestamp,
            "body": message.body,
            "attachments": list,
            "reply_key": message.reply_key,
            "meta": message.meta,
        });
        Ok(Opened { row, text, files })
    }

    fn show(mut self, out: &Out, args: &Open) -> Result<(), Exit> {
        if let Some(folder) = &args.extract {
            let written = extract(folder, &self.files, args.force)?;
            self.text += &written.iter().map(|path| format!("wrote {path}\n")).collect::<String>();
            set(&mut self.row, "extracted", json!(written));
        }
        if out.json() { out.row(&self.row) } else { out.text(&self.text) }
    }
}

/// Writes the files; all names are judged before the first one is written.
fn extract(folder: &Path, files: &[(String, Vec<u8>)], force: bool) -> Result<Vec<String>, Exit> {
    let mut seen = BTreeSet::new();
    for (name, _) in files {
        if !is_plain_file_name(name) || !seen.insert(name.to_lowercase()) {
            let why = format!("a file is called {:?}, which is no plain name or stands there twice", short(name));
            return Err(Exit::new(exit::REFUSED, format!("{why}; nothing was written")));
        }
        let path = folder.join(name);
        if !force && path.symlink_metadata().is_ok() {
            let why = format!("{} exists; --force overwrites it; nothing was written", path.display());
            return Err(Exit::new(exit::CONFIG, why));
        }
    }
    std::fs::create_dir_all(folder)
        .map_err(|e| Exit::new(exit::FAILED, format!("cannot create the folder {}: {e}", folder.display())))?;
    let write = |(name, bytes): &(String, Vec<u8>)| {
        let path = folder.join(name);
        write_private(&path, force, files::all(bytes)).map(|()| path.display().to_string())
    };
    files.iter().map(write).collect()
}

/// One component, and none that means something else: names from a sealed file are never paths.
fn is_plain_file_name(name: &str) -> bool {
    let drive = matches!(name.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !drive
        && name != "."
        && name != ".."
        && !name.chars().any(|c| matches!(c, '/' | '\\') || c.is_control())
}

fn short(name: &str) -> String {
    name.chars().take(64).collect()
}

/// The last component of a path, as the name that goes into the sealed file.
fn file_name(path: &Path) -> Result<String, Exit> {
    let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    name.ok_or_else(|| Exit::usage(format!("{} has no name that can be sealed", path.display())))
}

fn pair<'a>(option: &str, text: &'a str) -> Result<(&'a str, &'a str), Exit> {
    let found = text.split_once('=').filter(|(name, _)| !name.is_empty());
    found.ok_or_else(|| Exit::usage(format!("{option} wants NAME=VALUE, not {:?}", short(text))))
}

fn rng() -> Result<Rng, Exit> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| Exit::new(exit::FAILED, format!("the system gives no randomness: {e}")))?;
    Ok(Rng::from_seed(seed))
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_a_sealed_file_are_never_paths() {
        for good in ["a", "a b.txt", ".profile", "é", "a:b"] {
            assert_eq!(is_plain_file_name(good), good != "a:b", "{good}");
        }
        for bad in ["", ".", "..", "/a", "a/b", "../a", "a\\b", "C:x", "a\0b", "a\nb", &"x".repeat(256)] {
            assert!(!is_plain_file_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn nothing_is_written_when_one_name_is_bad() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("out");
        let file = |name: &str| (name.to_owned(), b"x".to_vec());
        for names in [["good", "../evil"], ["a", "A"], ["a", "/etc/x"]] {
            assert_eq!(extract(&folder, &names.map(file), true).unwrap_err().code, exit::REFUSED);
        }
        assert!(!folder.exists());
        assert_eq!(extract(&folder, &[file("a")], false).unwrap().len(), 1);
        assert!(extract(&folder, &[file("b"), file("a")], false).unwrap_err().message.contains("nothing was written"));
        assert!(!folder.join("b").exists());
    }
}
