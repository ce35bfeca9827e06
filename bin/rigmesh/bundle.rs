//! `bundle`: the files that carry profiles and miners, made and taken apart without a node.

use crate::args::{BundleCommand, BundleCreate, BundleExtract, BundleInspect, BundleVerify};
use crate::exit::{self, Exit};
use crate::files;
use crate::output::Out;
use crate::table::safe;
use rigmesh::base::Error;
use rigmesh::bundle::{
    Bundle, BundleType, MinerFile, PROFILE_BYTES_MAX, PlainProfile, Unpacked, create_full_bundle, create_miner_bundle,
    create_profile_bundle, create_profile_bundle_unencrypted, decode_bundle, extract_miner_bundle,
    extract_profile_bundle, miner_tim, stream_bundle, unpack, verify_bundle,
};
use rigmesh::formats::tim::{self, DataNode, Limits, Tim};
use rigmesh::formats::trix;
use rigmesh::miners::Profile;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The largest bundle that is read, bytes: what the archive in it may hold, and a third more for base64.
const BUNDLE_BYTES_MAX: usize = (1 << 30) / 3 * 4 + (64 << 20);

/// The largest file of a miner, bytes.
const MINER_BYTES_MAX: usize = 1 << 30;

pub(crate) fn bundle(out: &Out, command: BundleCommand) -> Result<(), Exit> {
    match command {
        BundleCommand::Create(args) => create(out, &args),
        BundleCommand::Inspect(args) => inspect(out, &args),
        BundleCommand::Verify(args) => verify(out, &args),
        BundleCommand::Extract(args) => extract(out, &args),
    }
}

/// A file of a miner as it was read.
struct Source {
    path: String,
    executable: bool,
    data: Vec<u8>,
}

fn create(out: &Out, args: &BundleCreate) -> Result<(), Exit> {
    if args.miner.is_empty() && args.profile.is_none() {
        return Err(Exit::usage("name what goes in: --profile FILE, or --miner FILE"));
    }
    if !["stim", "json", "tim"].contains(&args.form.as_str()) {
        return Err(Exit::usage(format!("unknown form {:?}: use stim, json or tim", args.form)));
    }
    let password = args.password_file.as_deref().map(files::password).transpose()?;
    let profile = args.profile.as_deref().map(|path| files::read(path, PROFILE_BYTES_MAX)).transpose()?;
    let sources = args.miner.iter().map(|text| source(text)).collect::<Result<Vec<_>, Exit>>()?;
    let miner: Vec<_> =
        sources.iter().map(|s| MinerFile { path: &s.path, executable: s.executable, data: &s.data }).collect();
    let kind = match (miner.is_empty(), &profile) {
        (true, _) => BundleType::Profile,
        (false, None) => BundleType::Miner,
        (false, Some(_)) => BundleType::Full,
    };
    let (name, main) = (args.name.as_str(), args.main.as_deref());
    if args.form == "tim" {
        let tim = match (&kind, &profile) {
            (BundleType::Profile, Some(profile)) => Tim { config: profile.into(), root: DataNode::new() },
            _ => miner_tim(kind, &miner, main, profile.as_deref(), name)?,
        };
        let tar = tim.to_tar()?;
        return written(out, args, &tar, files::all(&tar));
    }
    let bundle = match (kind, password, &profile) {
        (BundleType::Profile, None, Some(profile)) if args.form == "json" => {
            create_profile_bundle_unencrypted(profile, name)?
        }
        (_, None, _) => return Err(Exit::usage("--password-file is needed to seal it (or --as tim, which is plain)")),
        (BundleType::Profile, Some(password), Some(profile)) => {
            create_profile_bundle(profile, name, &password, &mut rigmesh::system_rng()?)?
        }
        (_, Some(password), Some(profile)) => {
            create_full_bundle(&miner, main, profile, name, &password, &mut rigmesh::system_rng()?)?
        }
        (_, Some(password), None) => {
            create_miner_bundle(&miner, main, None, name, &password, &mut rigmesh::system_rng()?)?
        }
    };
    match args.form.as_str() {
        "json" => written(out, args, &bundle.data, |file| {
            let mut file = std::io::BufWriter::new(file);
            stream_bundle(&bundle, &mut file).map_err(Exit::from)
        }),
        _ => written(out, args, &bundle.data, files::all(&bundle.data)),
    }
}

/// `FILE`, or `PATH=FILE` for another path in the bundle than the file's own name.
fn source(text: &str) -> Result<Source, Exit> {
    let (path, file) = match text.split_once('=') {
        Some((path, file)) if !Path::new(text).exists() => (path.to_owned(), PathBuf::from(file)),
        _ => {
            let file = PathBuf::from(text);
            let name = file.file_name().and_then(|name| name.to_str());
            (name.ok_or_else(|| Exit::usage(format!("{text:?} is no file name")))?.to_owned(), file)
        }
    };
    let data = files::read(&file, MINER_BYTES_MAX)?;
    let executable = file.metadata().is_ok_and(|info| info.permissions().mode() & 0o111 != 0);
    Ok(Source { path, executable, data })
}

/// Writes the file and says what it is. `data` is what the checksum is about.
fn written(
    out: &Out,
    args: &BundleCreate,
    data: &[u8],
    write: impl FnOnce(&mut std::fs::File) -> Result<(), Exit>,
) -> Result<(), Exit> {
    files::write_private(&args.output, args.force, write)?;
    let sha256 = hash(data);
    match out.json() {
        true => out.row(&json!({ "file": args.output, "name": args.name, "form": args.form, "bytes": data.len(), "sha256": sha256 })),
        false => out.text(&format!("{sha256}  {}", safe(&args.output.display().to_string()))),
    }
}

fn hash(data: &[u8]) -> String {
    trix::checksum("sha256", data)
}

/// A file of one of the three forms.
enum Form {
    /// The Go node's JSON.
    Json(Bundle),
    /// A bare STIM container.
    Stim(Vec<u8>),
    /// A plain TIM tar.
    Tim(Vec<u8>),
}

impl Form {
    fn read(path: &Path) -> Result<Form, Exit> {
        let bytes = files::read(path, BUNDLE_BYTES_MAX)?;
        let first = bytes.iter().find(|b| !b.is_ascii_whitespace());
        Ok(match first {
            _ if bytes.starts_with(tim::MAGIC) => Form::Stim(bytes),
            Some(b'{') => Form::Json(about(path, decode_bundle(&bytes))?),
            _ => Form::Tim(bytes),
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Form::Json(_) => "json",
            Form::Stim(_) => "stim",
            Form::Tim(_) => "tim",
        }
    }

    /// What the checksum is about.
    fn data(&self) -> &[u8] {
        match self {
            Form::Json(bundle) => &bundle.data,
            Form::Stim(data) | Form::Tim(data) => data,
        }
    }

    /// What is inside. `None`: it is sealed and there is no password.
    fn open(self, name: &str, password: Option<&str>) -> Result<Option<Inside>, Error> {
        let password = match (&self, password) {
            (_, Some(password)) => password,
            (Form::Tim(_), None) => "",
            (Form::Json(bundle), None) if bundle.is_plain() => "",
            (_, None) => return Ok(None),
        };
        let inside = match self {
            Form::Tim(bytes) => Inside::of(Tim::from_tar(&bytes, Limits::default())?, name)?,
            Form::Stim(mut bytes) => Inside::of(tim::open(password, &mut bytes, Limits::default())?, name)?,
            Form::Json(bundle) if bundle.kind == BundleType::Profile => {
                let profile = extract_profile_bundle(&bundle, password, PlainProfile::Accepted)?;
                Inside { miner: None, profile: Some(profile) }
            }
            Form::Json(bundle) => {
                let miner = extract_miner_bundle(bundle, password)?;
                Inside { profile: miner.profile.clone(), miner: Some(miner) }
            }
        };
        Ok(Some(inside))
    }
}

/// What a bundle holds.
struct Inside {
    miner: Option<Unpacked>,
    profile: Option<Vec<u8>>,
}

impl Inside {
    /// An archive does not say what it is: without files it is a profile.
    fn of(tim: Tim<'_>, name: &str) -> Result<Inside, Error> {
        if tim.root.is_empty() {
            return Ok(Inside { profile: tim.own_config().map(<[u8]>::to_vec), miner: None });
        }
        let miner = unpack(tim, name)?;
        Ok(Inside { profile: miner.profile.clone(), miner: Some(miner) })
    }

    fn kind(&self) -> &'static str {
        match (&self.miner, &self.profile) {
            (None, _) => "profile",
            (Some(_), None) => "miner",
            (Some(_), Some(_)) => "full",
        }
    }
}

/// An error with the file's name in front.
fn about<T>(path: &Path, result: Result<T, Error>) -> Result<T, Exit> {
    result.map_err(|e| {
        let exit = Exit::from(e);
        Exit::new(exit.code, format!("{}: {}", path.display(), exit.message))
    })
}

/// The bundle's name: its own, else the one given, else the file's without its ending.
fn name_of(form: &Form, given: Option<&str>, path: &Path) -> String {
    match (form, given) {
        (Form::Json(bundle), _) => bundle.name.clone(),
        (_, Some(name)) => name.to_owned(),
        (_, None) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

fn inspect(out: &Out, args: &BundleInspect) -> Result<(), Exit> {
    let password = args.password_file.as_deref().map(files::password).transpose()?;
    let form = Form::read(&args.file)?;
    let name = name_of(&form, None, &args.file);
    let mut row = json!({ "form": form.name(), "name": name, "bytes": form.data().len(), "sha256": hash(form.data()) });
    let mut note = |key: &str, value: Value| drop(row.as_object_mut().map(|row| row.insert(key.to_owned(), value)));
    if let Form::Json(bundle) = &form {
        note("type", bundle.kind.as_str().into());
        note("checksum", bundle.checksum.clone().into());
        note("checksum_ok", verify_bundle(bundle).into());
    }
    let sealed = form.data().starts_with(tim::MAGIC);
    note("sealed", sealed.into());
    if sealed {
        let sizes = about(&args.file, tim::peek(form.data()))?;
        note("config_sealed_bytes", sizes.config.into());
        note("root_sealed_bytes", sizes.root.into());
    }
    if let Some(inside) = about(&args.file, form.open(&name, password.as_deref().map(String::as_str)))? {
        note("holds", inside.kind().into());
        if let Some(miner) = &inside.miner {
            let file = |f: &rigmesh::bundle::UnpackedFile| json!({ "path": f.path, "bytes": f.data.len(), "executable": f.executable, "sha256": hash(&f.data) });
            note("main", miner.main.clone().into());
            note("files", miner.files.iter().map(file).collect());
        }
        note("profile", inside.profile.as_deref().map_or(Value::Null, shown));
    }
    if out.json() { out.row(&row) } else { out.text(&described(&row)) }
}

/// A profile without its secrets; of one in an unknown form nothing but its size.
fn shown(profile: &[u8]) -> Value {
    let known = Profile::decode(profile).ok().and_then(|p| serde_json::to_value(p.redacted()).ok());
    known.unwrap_or_else(|| json!({ "bytes": profile.len() }))
}

fn described(row: &Value) -> String {
    let mut text = String::new();
    for (key, value) in row.as_object().into_iter().flatten() {
        let shown = match (key.as_str(), value) {
            ("files", Value::Array(files)) => {
                let line = |f: &Value| {
                    let run = if f["executable"] == true { "*" } else { " " };
                    format!(
                        "\n  {run} {:>12}  {}",
                        f["bytes"].to_string(),
                        safe(f["path"].as_str().unwrap_or_default())
                    )
                };
                files.iter().map(line).collect()
            }
            (_, Value::String(value)) => safe(value),
            (_, other) => safe(&other.to_string()),
        };
        let _ = writeln!(text, "{key:<20}{shown}");
    }
    text
}

fn verify(out: &Out, args: &BundleVerify) -> Result<(), Exit> {
    let password = args.password_file.as_deref().map(files::password).transpose()?;
    let form = Form::read(&args.file)?;
    let (name, sha256) = (name_of(&form, None, &args.file), hash(form.data()));
    let failed = |why: String| Exit::new(exit::FAILED, format!("{}: {why}", args.file.display()));
    if let Form::Json(bundle) = &form
        && !verify_bundle(bundle)
    {
        return Err(failed(format!("the checksum is {sha256} and not {:?}, as it says", bundle.checksum)));
    }
    if let Some(want) = &args.checksum
        && *want != sha256
    {
        return Err(failed(format!("the checksum is {sha256} and not {want:?}")));
    }
    if form.data().starts_with(tim::MAGIC) {
        about(&args.file, tim::peek(form.data()))?;
    }
    let opened = about(&args.file, form.open(&name, password.as_deref().map(String::as_str)))?.is_some();
    match out.json() {
        true => out.row(&json!({ "file": args.file, "sha256": sha256, "ok": true, "opened": opened })),
        false => {
            out.text(&format!("{sha256}  {}", safe(&args.file.display().to_string())))?;
            if !opened {
                out.say("it is sealed: with --password-file what is in it is looked at as well");
            }
            Ok(())
        }
    }
}

fn extract(out: &Out, args: &BundleExtract) -> Result<(), Exit> {
    let password = args.password_file.as_deref().map(files::password).transpose()?;
    let form = Form::read(&args.file)?;
    let name = name_of(&form, args.name.as_deref(), &args.file);
    let Some(inside) = about(&args.file, form.open(&name, password.as_deref().map(String::as_str)))? else {
        return Err(Exit::usage("it is sealed: --password-file is needed"));
    };
    let Inside { miner, profile } = inside;
    let (mut main, mut profile_file) = (None, args.profile_to.clone());
    match (&miner, &args.to) {
        (Some(miner), Some(to)) => main = Some(rigmesh::write_unpacked_miner(miner, to)?),
        (Some(_), None) => return Err(Exit::usage("--to DIR is needed for the miner's files")),
        (None, to) if profile_file.is_none() => {
            let Some(to) = to else { return Err(Exit::usage("name where it goes: --to DIR, or --profile-to FILE")) };
            if profile.is_some() {
                std::fs::DirBuilder::new()
                    .mode(0o700)
                    .create(to)
                    .or_else(|e| {
                        let empty = std::fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_none());
                        if empty { Ok(()) } else { Err(e) }
                    })
                    .map_err(|e| Exit::new(exit::FAILED, format!("cannot create {}: {e}", to.display())))?;
                profile_file = Some(to.join("profile.json"));
            }
        }
        (None, _) => {}
    }
    match (&profile, &profile_file) {
        (Some(profile), Some(file)) => files::write_private(file, args.force, files::all(profile))?,
        (Some(_), None) => out.say("there is a profile in it too; --profile-to FILE writes it"),
        (None, _) if miner.is_none() => {
            return Err(Exit::new(exit::CONFIG, format!("{}: there is nothing in it", args.file.display())));
        }
        (None, _) => profile_file = None,
    }
    if out.json() {
        return out.row(&json!({ "main": main, "profile": profile_file }));
    }
    let lines = main.iter().chain(&profile_file).map(|path| safe(&path.display().to_string()));
    out.text(&lines.collect::<Vec<_>>().join("\n"))
}
