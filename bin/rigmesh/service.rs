//! `service`: the node as a service of systemd, and scripts for other inits.

use crate::args::{Globals, Service as Args, ServiceCommand, ServiceInstall, ServiceStatus, ServiceUninstall};
use crate::exit::{self, Exit};
use crate::output::Out;
use crate::settings;
use crate::unit::{Service, is_ours};
use rigmesh::base::Error;
use rigmesh::{Paths, write_atomic};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What systemd calls it.
const UNIT: &str = "rigmesh.service";
const SYSTEM_FOLDER: &str = "etc/systemd/system";
const USER_FOLDER: &str = "systemd/user";
/// A unit is never larger.
const UNIT_BYTES_MAX: u64 = 1 << 20;

pub(crate) fn service(globals: &Globals, out: &Out, args: Args) -> Result<(), Exit> {
    match args.command {
        ServiceCommand::Install(args) => install(globals, out, &args),
        ServiceCommand::Uninstall(args) => uninstall(out, &args),
        ServiceCommand::Status(args) => status(out, &args),
    }
}

fn install(globals: &Globals, out: &Out, args: &ServiceInstall) -> Result<(), Exit> {
    let service = Service::new(args, globals.data_dir.as_deref())?;
    let text = match (args.init.as_str(), args.user) {
        ("systemd", false) => service.system_unit()?,
        ("systemd", true) => service.user_unit()?,
        (_, true) => return Err(Exit::usage("--user is for systemd")),
        (other, false) => {
            let text = service.script(other)?;
            if !args.print {
                let how = "and put it where the script says";
                return Err(Exit::usage(format!("for {other} print the script (--print) {how}")));
            }
            text
        }
    };
    if args.print {
        return if out.json() { out.row(&json!({ "init": args.init, "text": text })) } else { out.text(&text) };
    }
    let start = args.enable || args.now;
    if start && args.root.is_some() {
        return Err(Exit::usage("--enable and --now are for the running machine, not for --root"));
    }
    let path = unit_path(args.user, args.root.as_deref())?;
    // For this machine one can tell whether the service would find what it needs.
    if args.root.is_none() {
        let identity = identity_of(&service)?;
        if start && !identity {
            let place = folder_words(&service);
            let why = format!("there is no identity{place}; make one first: {}", init_line(&service));
            return Err(Exit::new(exit::CONFIG, why));
        }
        if !service.program().is_file() {
            return Err(Exit::new(exit::CONFIG, format!("there is no program {}", service.program().display())));
        }
        if !identity {
            out.say(&format!("still to be done: {}", init_line(&service)));
        }
    }
    let changed = write(&path, &text, args.force)?;
    let (mut enabled, mut started, mut undone) = (false, false, Vec::new());
    if args.root.is_none() {
        let mut tell = |words: &[&str]| match systemctl(args.user, words) {
            Ok(_) => true,
            Err(why) => {
                undone.push(format!("systemctl {}: {why}", words.join(" ")));
                false
            }
        };
        // Only a manager that runs has read the unit of before.
        let reloaded = (start || is_running(args.user)) && tell(&["daemon-reload"]);
        enabled = start && reloaded && tell(&["enable", UNIT]);
        // One that runs already gets the new unit by this too.
        started = args.now && enabled && tell(&["restart", UNIT]);
    }
    if out.json() {
        out.row(&json!({
            "unit": path, "changed": changed, "data_dir": service.data_dir(), "enabled": enabled, "started": started,
            "undone": undone,
        }))?;
    } else {
        let words = if changed { "wrote" } else { "unchanged:" };
        out.text(&format!("{words} {}\n", path.display()))?;
        if !args.user && args.run_as.is_none() {
            out.say("it runs as root, in the limits that the unit sets; --run-as USER runs it as another");
        }
    }
    match undone.is_empty() {
        true => Ok(()),
        false => Err(Exit::new(exit::FAILED, format!("the unit stands, but {}", undone.join("; ")))),
    }
}

fn uninstall(out: &Out, args: &ServiceUninstall) -> Result<(), Exit> {
    let path = unit_path(args.user, args.root.as_deref())?;
    match present(&path)? {
        None => return Err(Exit::new(exit::FAILED, format!("there is no {}", path.display()))),
        Some(text) if !is_ours(&text) && !args.force => return Err(foreign(&path, "removes")),
        Some(_) => {}
    }
    let asked = args.root.is_none() && is_running(args.user);
    if asked {
        // While the unit is there: without it systemd does not know what to end.
        systemctl(args.user, &["disable", "--now", UNIT])
            .map_err(|why| Exit::new(exit::FAILED, format!("nothing was removed: systemctl disable --now: {why}")))?;
    }
    std::fs::remove_file(&path).map_err(|e| failed("remove", &path, &e))?;
    if asked {
        systemctl(args.user, &["daemon-reload"])
            .map_err(|why| Exit::new(exit::FAILED, format!("the unit is gone, but systemctl daemon-reload: {why}")))?;
    }
    match out.json() {
        true => out.row(&json!({ "unit": path, "removed": true, "stopped": asked })),
        false => out.text(&format!("removed {}; the data folder stays\n", path.display())),
    }
}

fn status(out: &Out, args: &ServiceStatus) -> Result<(), Exit> {
    let path = unit_path(args.user, None)?;
    let text = present(&path)?;
    let keys =
        ["LoadState", "ActiveState", "SubState", "UnitFileState", "MainPID", "StatusText", "NRestarts", "Result"];
    let shown = systemctl(args.user, &["show", UNIT, "--property", &keys.join(",")]);
    let said = |key: &str| {
        let lines = shown.as_deref().unwrap_or_default().lines();
        lines.filter_map(|line| line.split_once('=')).find(|(k, _)| *k == key).map_or("", |(_, value)| value)
    };
    let number = |key: &str| said(key).parse::<u64>().ok();
    let active = said("ActiveState");
    if out.json() {
        let or_null = |key: &str| Some(said(key)).filter(|text| !text.is_empty()).map_or(Value::Null, Value::from);
        out.row(&json!({
            "unit": path, "installed": text.is_some(), "ours": text.as_deref().is_some_and(is_ours),
            "systemd": shown.is_ok(), "load": or_null("LoadState"), "active": or_null("ActiveState"),
            "sub": or_null("SubState"), "enabled": or_null("UnitFileState"), "result": or_null("Result"),
            "pid": number("MainPID").filter(|pid| *pid > 0), "restarts": number("NRestarts"),
            "status": or_null("StatusText"),
        }))?;
    } else {
        let whose = match &text {
            None => "not installed",
            Some(text) if is_ours(text) => "installed",
            Some(_) => "installed, not by rigmesh",
        };
        let mut lines = format!("unit     {} ({whose})\n", path.display());
        if shown.is_ok() {
            lines += &format!("state    {active} ({}), {}\n", said("SubState"), enabled_words(said("UnitFileState")));
            if let Some(pid) = number("MainPID").filter(|pid| *pid > 0) {
                lines += &format!("process  {pid}, started again {} times\n", number("NRestarts").unwrap_or(0));
            }
            if !said("StatusText").is_empty() {
                lines += &format!("says     {}\n", crate::table::safe(said("StatusText")));
            }
        }
        out.text(&lines)?;
    }
    match (&shown, active) {
        (Err(why), _) => Err(Exit::new(exit::UNREACHABLE, format!("systemd cannot be asked: {why}"))),
        (Ok(_), "active" | "reloading") => Ok(()),
        (Ok(_), _) => {
            Err(Exit::new(exit::FAILED, if text.is_some() { "it does not run" } else { "it is not installed" }))
        }
    }
}

fn enabled_words(state: &str) -> &str {
    match state {
        "enabled" | "enabled-runtime" => "starts with the machine",
        "" | "disabled" => "does not start with the machine",
        other => other,
    }
}

/// Where the unit belongs.
fn unit_path(user: bool, root: Option<&Path>) -> Result<PathBuf, Exit> {
    if !user {
        return Ok(root.unwrap_or(Path::new("/")).join(SYSTEM_FOLDER).join(UNIT));
    }
    if root.is_some() {
        return Err(Exit::usage("--root is for the machine's service, not for --user"));
    }
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
    let folder = folder.ok_or_else(|| Exit::new(exit::CONFIG, "neither XDG_CONFIG_HOME nor HOME names a folder"))?;
    Ok(folder.join(USER_FOLDER).join(UNIT))
}

/// What stands there; `None` when nothing does.
fn present(path: &Path) -> Result<Option<Vec<u8>>, Exit> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        // A link to nowhere is something, and not ours.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(path.is_symlink().then(Vec::new)),
        Err(e) => return Err(failed("read", path, &e)),
    };
    let mut text = Vec::new();
    file.take(UNIT_BYTES_MAX).read_to_end(&mut text).map_err(|e| failed("read", path, &e))?;
    Ok(Some(text))
}

/// Writes the unit as a whole; whether it was another before.
fn write(path: &Path, text: &str, force: bool) -> Result<bool, Exit> {
    match present(path)? {
        Some(there) if there == text.as_bytes() => return Ok(false),
        Some(there) if !is_ours(&there) && !force => return Err(foreign(path, "replaces")),
        _ => {}
    }
    let folder = path.parent().unwrap_or(path);
    // Open to readers, as the units beside it: no secret stands in it.
    std::fs::create_dir_all(folder).map_err(|e| failed("create the folder", folder, &e))?;
    write_atomic(path, text.as_bytes(), 0o644).map_err(|e| Exit::at_start(&e)).map_err(|exit| match exit.message {
        why if why.contains("ermission denied") => Exit::new(exit.code, format!("{why}; become root, or use --user")),
        why => Exit::new(exit.code, why),
    })?;
    Ok(true)
}

fn foreign(path: &Path, does: &str) -> Exit {
    let why = format!("{} was not written by rigmesh; --force {does} it", path.display());
    Exit::new(exit::CONFIG, why)
}

fn failed(what: &str, path: &Path, e: &std::io::Error) -> Exit {
    let next = if e.kind() == ErrorKind::PermissionDenied { "; become root, or use --user" } else { "" };
    Exit::new(exit::CONFIG, format!("cannot {what} {}: {e}{next}", path.display()))
}

/// Whether the service will find an identity. What cannot be read is said now.
fn identity_of(service: &Service) -> Result<bool, Exit> {
    let paths = match service.data_dir() {
        Some(folder) => Paths::in_folder(folder),
        None => Paths::xdg().map_err(|e| Exit::at_start(&e))?,
    };
    if !paths.private_key.exists() {
        return Ok(false);
    }
    settings::identity_card(&paths).map(|_| true)
}

fn folder_words(service: &Service) -> String {
    service.data_dir().map_or_else(String::new, |folder| format!(" in {}", folder.display()))
}

fn init_line(service: &Service) -> String {
    let folder = service.data_dir().map_or_else(String::new, |folder| format!(" --data-dir {}", folder.display()));
    format!("rigmesh init --role worker{folder}")
}

/// Whether there is a systemd to tell of changes, as there is none in a container or while an image is made.
fn is_running(user: bool) -> bool {
    systemctl(user, &["show", "--property", "Version"]).is_ok()
}

/// What systemctl said, or one line with the reason why not.
fn systemctl(user: bool, words: &[&str]) -> Result<String, String> {
    let mut command = Command::new("systemctl");
    command.args(user.then_some("--user")).args(["--no-pager", "--no-ask-password"]).args(words);
    let output = command.output().map_err(|e| match e.kind() {
        ErrorKind::NotFound => "there is no systemctl here".to_owned(),
        _ => Error::io("cannot run systemctl", &e).to_string(),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    let line = why.lines().map(str::trim).find(|line| !line.is_empty());
    Err(line.map_or_else(|| format!("it ended with {}", output.status), str::to_owned))
}
