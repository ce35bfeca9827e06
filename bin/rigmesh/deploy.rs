//! `deploy`, `versions`, `rollback`: bring miners and profiles to rigs, see what is installed, go back.

use crate::args::{Deploy, Globals, Rollback, Versions};
use crate::exit::{self, Exit};
use crate::output::Out;
use crate::remote::{Backend, ask, label, read_file, rigs};
use crate::table;
use rigmesh::DeployFile;
use rigmesh::control::{DeployMiner, Failure, Request, parse_profile};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Files of a miner at most, as the manifest has it.
const FILES_MAX: usize = 256;
/// Folders below a given one.
const DEPTH_MAX: usize = 4;
/// Characters of a bar.
const BAR: usize = 30;

pub(crate) fn deploy(globals: &Globals, out: &Out, args: Deploy) -> Result<(), Exit> {
    if args.pending {
        return ask(globals, out, &Request::Deploys {})?.show(out, |row| {
            let (done, total) = amounts(row);
            let rig_and_state = format!("{}: {}", table::safe(label(row)), table::text(row, "state"));
            if total == 0 { rig_and_state } else { format!("{rig_and_state}, {} of {}", size(done), size(total)) }
        });
    }
    let rigs = rigs(args.rigs, args.all)?;
    if args.cancel {
        return ask(globals, out, &Request::DeployCancel { rigs })?.show(out, |row| {
            let count = row.get("cancelled").and_then(Value::as_u64).unwrap_or(0);
            format!("{}: {count} deployments forgotten", table::safe(label(row)))
        });
    }
    let profile = args.profile.as_deref().map(|path| {
        parse_profile(&read_file(path)?)
            .map_err(|e| Exit::new(exit::CONFIG, format!("{}: {e}; nothing was deployed", path.display())))
    });
    let profile = profile.transpose()?;
    if args.miner.is_empty() && profile.is_none() {
        return Err(Exit::usage("say what to deploy: --miner FILE…, --profile FILE, or both"));
    }
    if args.miner.is_empty() && (args.name.is_some() || args.main.is_some() || args.version.is_some()) {
        return Err(Exit::usage("--name, --main and --as-version go with --miner"));
    }
    let miner =
        if args.miner.is_empty() { None } else { Some(miner(&args.miner, args.name, args.version, args.main)?) };
    let request = Request::Deploy { rigs, miner, profile, activate: !args.no_activate, dry_run: args.dry_run };
    // A terminal gets bars; everything else one JSON object a line.
    let bars = std::io::stdout().is_terminal() && !out.json() && !args.dry_run;
    let lines = !bars && (!args.dry_run || out.json());
    let (mut shown, mut failures, mut written) = (Bars::default(), Vec::new(), Ok(()));
    let mut backend = Backend::open(globals, &request)?;
    let summary = backend.execute(&request, &mut |row| {
        if let Some(failure) = table::failure(&row) {
            failures.push((label(&row).to_owned(), failure));
        }
        if written.is_ok() {
            written = match (lines, bars) {
                (true, _) => out.row(&row),
                (_, true) => shown.show(&row),
                _ if table::failure(&row).is_none() => out.text(&in_words(&row)),
                _ => Ok(()),
            };
        }
    });
    backend.close(out);
    written?;
    let summary = summary.map_err(Exit::from)?;
    if !lines {
        failures.iter().for_each(|(rig, failure): &(String, Failure)| out.say_failure(rig, failure));
    }
    exit::of_summary(summary, failures.first().map(|(_, f)| f))
}

/// One line for a result.
fn in_words(row: &Value) -> String {
    let event = table::text(row, "event");
    let rig = table::safe(label(row));
    let slot = row.get("slot").and_then(Value::as_u64).map(|n| format!(" as version {n}")).unwrap_or_default();
    match event {
        "stored" | "would store" => format!("{rig}: {event} the profile {}", table::safe(table::text(row, "profile"))),
        _ => {
            let bytes = row.get("size").and_then(Value::as_u64).map(|n| format!(" ({})", size(n))).unwrap_or_default();
            format!("{rig}: {event}{slot}{bytes}")
        }
    }
}

/// The picture on a terminal: a line for each rig.
#[derive(Default)]
struct Bars {
    lines: BTreeMap<String, String>,
    drawn: usize,
}

impl Bars {
    fn show(&mut self, row: &Value) -> Result<(), Exit> {
        let rig = label(row).to_owned();
        let line = match table::failure(row) {
            Some(_) => format!("{}: failed", table::safe(&rig)),
            None if table::text(row, "event") == "progress" => bar(&rig, row),
            None => in_words(row),
        };
        self.lines.insert(rig, line);
        let mut text = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
        for line in self.lines.values() {
            text.push_str("\r\x1b[K");
            text.push_str(line);
            text.push('\n');
        }
        self.drawn = self.lines.len();
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|_| Exit::new(exit::FAILED, ""))
    }
}

fn bar(rig: &str, row: &Value) -> String {
    let (done, total) = amounts(row);
    let full = usize::try_from(done.saturating_mul(BAR as u64) / total.max(1)).unwrap_or(BAR).min(BAR);
    let state = table::text(row, "state");
    let (hashes, dots) = ("#".repeat(full), ".".repeat(BAR - full));
    format!("{}: [{hashes}{dots}] {} of {} {state}", table::safe(rig), size(done), size(total))
}

fn amounts(row: &Value) -> (u64, u64) {
    let number = |key: &str| row.get(key).and_then(Value::as_u64).unwrap_or(0);
    (number("done"), number("total"))
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{}.{} KiB", bytes >> 10, ((bytes & 1_023) * 10) >> 10),
        _ => format!("{}.{} MiB", bytes >> 20, (((bytes >> 10) & 1_023) * 10) >> 10),
    }
}

/// The miner that files and folders make.
fn miner(
    given: &[PathBuf],
    name: Option<String>,
    version: Option<String>,
    main: Option<String>,
) -> Result<DeployMiner, Exit> {
    let mut files = Vec::new();
    for path in given {
        let path = std::path::absolute(path).map_err(|e| Exit::usage(format!("{}: {e}", path.display())))?;
        collect(&path, &path, 0, &mut files)?;
    }
    let main_name = main.as_deref().or(match files.as_slice() {
        [only] => Some(only.path.as_str()),
        _ => None,
    });
    // One folder: its name. Else the main file's name.
    let folder = match given {
        [only] if only.is_dir() => only.file_name().and_then(|n| n.to_str()),
        _ => None,
    };
    let guessed = folder.or(main_name.and_then(|m| m.rsplit('/').next()));
    let Some(name) = name.or(guessed.map(str::to_owned)) else {
        return Err(Exit::usage("give the miner a name: --name NAME"));
    };
    Ok(DeployMiner { name, version: version.unwrap_or_else(|| "0".to_owned()), main, files })
}

fn collect(root: &Path, path: &Path, depth: usize, files: &mut Vec<DeployFile>) -> Result<(), Exit> {
    let wrong = |e: &std::io::Error| Exit::new(exit::CONFIG, format!("cannot read {}: {e}", path.display()));
    let meta = std::fs::metadata(path).map_err(|e| wrong(&e))?;
    if meta.is_dir() {
        if depth >= DEPTH_MAX {
            return Err(Exit::new(exit::CONFIG, format!("{}: more than {DEPTH_MAX} folders deep", path.display())));
        }
        let entries =
            std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|e| wrong(&e))?;
        let mut paths: Vec<PathBuf> = entries.into_iter().map(|e| e.path()).collect();
        paths.sort();
        return paths.iter().try_for_each(|path| collect(root, path, depth + 1, files));
    }
    if files.len() >= FILES_MAX {
        return Err(Exit::new(exit::CONFIG, format!("more than {FILES_MAX} files")));
    }
    let inside = if path == root { path.file_name().map(Path::new) } else { path.strip_prefix(root).ok() };
    let inside = inside
        .and_then(Path::to_str)
        .ok_or_else(|| Exit::new(exit::CONFIG, format!("{}: the name is not UTF-8", path.display())))?;
    let executable = meta.permissions().mode() & 0o111 != 0;
    files.push(DeployFile { file: path.to_owned(), path: inside.to_owned(), executable });
    Ok(())
}

pub(crate) fn versions(globals: &Globals, out: &Out, args: Versions) -> Result<(), Exit> {
    let request = Request::Versions { rigs: rigs(args.rigs, args.all)?, miner: args.miner };
    let answer = ask(globals, out, &request)?;
    answer.show(out, |row| {
        let versions = row.get("versions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if versions.is_empty() {
            return format!("{}: nothing was deployed there", table::safe(label(row)));
        }
        let lines: Vec<String> = versions.iter().map(|v| version_line(label(row), v)).collect();
        lines.join("\n")
    })
}

fn version_line(rig: &str, version: &Value) -> String {
    let slot = version.get("slot").and_then(Value::as_u64).unwrap_or(0);
    let bytes = version.get("size").and_then(Value::as_u64).unwrap_or(0);
    let current = version.get("current").and_then(Value::as_bool).unwrap_or(false);
    let (state, note) = (table::text(version, "state"), table::text(version, "note"));
    let mut words = vec![if current { "current".to_owned() } else { String::new() }];
    if state != "ok" {
        words.push(state.replace('_', " "));
    }
    words.push(note.to_owned());
    words.retain(|w| !w.is_empty());
    let line = format!(
        "{rig}: {} {slot} ({}, {}) {}",
        table::text(version, "name"),
        table::text(version, "version"),
        size(bytes),
        words.join(", ")
    );
    table::safe(line.trim_end())
}

pub(crate) fn rollback(globals: &Globals, out: &Out, args: Rollback) -> Result<(), Exit> {
    let request = Request::Rollback { rigs: rigs(vec![args.rig], false)?, miner: args.miner, slot: args.to };
    ask(globals, out, &request)?
        .show(out, |row| format!("{}: now {}", table::safe(label(row)), table::safe(table::text(row, "now"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miner_is_named_after_its_folder_or_its_only_file() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("xmrig-6");
        std::fs::create_dir_all(folder.join("lib")).unwrap();
        for name in ["xmrig", "lib/cuda.so"] {
            std::fs::write(folder.join(name), "x").unwrap();
        }
        std::fs::set_permissions(folder.join("xmrig"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let made = miner(std::slice::from_ref(&folder), None, None, Some("xmrig".into())).unwrap();
        assert_eq!(made.name, "xmrig-6");
        let paths: Vec<_> = made.files.iter().map(|f| (f.path.as_str(), f.executable)).collect();
        assert_eq!(paths, [("lib/cuda.so", false), ("xmrig", true)]);
        let made = miner(&[folder.join("xmrig")], None, Some("6.22".into()), None).unwrap();
        assert_eq!((made.name.as_str(), made.version.as_str()), ("xmrig", "6.22"));
        assert!(miner(&[folder.join("xmrig"), folder.join("lib/cuda.so")], None, None, None).is_err());
        assert!(miner(&[folder.join("nope")], None, None, None).is_err());
    }

    #[test]
    fn a_terminal_sees_a_bar_for_each_rig() {
        let row = serde_json::json!({"rig": "rig-\u{1b}1", "event": "progress", "state": "sending", "done": 512, "total": 1024});
        let line = bar(label(&row), &row);
        assert!(line.contains("[###############...............] 512 B of 1.0 KiB sending"), "{line}");
        assert!(!line.contains('\u{1b}'), "no rig's name moves the cursor");
        let whole = serde_json::json!({"rig": "r", "event": "progress", "state": "installing", "done": 9, "total": 9});
        assert!(bar("r", &whole).contains(&"#".repeat(BAR)));
        let empty = serde_json::json!({"rig": "r", "state": "sending", "done": 5, "total": 0});
        assert!(bar("r", &empty).contains("5 B of 0 B"));
    }

    #[test]
    fn sizes_are_said_for_people() {
        for (bytes, words) in [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (1_572_864, "1.5 MiB")] {
            assert_eq!(size(bytes), words);
        }
    }
}
