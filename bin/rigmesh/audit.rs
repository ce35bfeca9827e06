//! `audit`: the log of what this node was commanded to do, shown and checked by its files; and the end of rigs' logs, asked for.

use crate::args::{Audit, AuditCommand, AuditShow, AuditTail, AuditVerify, Globals};
use crate::exit::{self, Exit};
use crate::output::Out;
use crate::table::{self, Cell, Tone};
use crate::{remote, settings};
use rigmesh::base::Error;
use rigmesh::control::Request;
use rigmesh::peers::{AuditKind, AuditLine, AuditNote, AuditReport};
use rigmesh::{IdentityCard, IdentityFiles, Paths, check_audit, read_audit_notes};
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};

/// Most lines that are shown.
const LINES_MAX: usize = 100_000;
/// Most lines that a rig gives at once.
const TAIL_LINES_MAX: u32 = 500;

pub(crate) fn audit(globals: &Globals, out: &Out, args: &Audit) -> Result<(), Exit> {
    let paths = settings::paths(globals)?;
    match &args.command {
        AuditCommand::Show(args) => show(out, &paths, args),
        AuditCommand::Tail(args) => tail(globals, out, args),
        AuditCommand::Verify(args) => verify(out, &paths, args),
    }
}

fn show(out: &Out, paths: &Paths, args: &AuditShow) -> Result<(), Exit> {
    if !(1..=LINES_MAX).contains(&args.lines) {
        return Err(Exit::usage(format!("--lines is 1 to {LINES_MAX}")));
    }
    let mut last: VecDeque<Value> = VecDeque::new();
    let mut open: BTreeSet<u64> = BTreeSet::new();
    let see = |line: &AuditLine<'_>| {
        match &line.kind {
            AuditKind::Begin => drop(open.insert(line.mark.n)),
            AuditKind::End { of, .. } => drop(open.remove(of)),
            _ => {}
        }
        let Ok(Value::Object(mut row)) = serde_json::from_str(line.json) else { return };
        row.insert("h".to_owned(), json!(line.mark.h));
        if last.len() == args.lines {
            last.pop_front();
        }
        last.push_back(Value::Object(row));
    };
    let report = check_audit(&paths.audit(), &[], &[], see)?;
    for row in &mut last {
        if row.get("n").and_then(Value::as_u64).is_some_and(|n| open.contains(&n))
            && let Some(row) = row.as_object_mut()
        {
            row.insert("open".to_owned(), json!(true));
        }
    }
    if out.json() {
        last.iter().try_for_each(|row| out.row(row))?;
    } else if last.is_empty() {
        out.say(&nothing_in(paths));
    } else {
        let rows: Vec<Vec<Cell>> = last.iter().map(row_of).collect();
        out.text(&table::render(&["N", "TIME", "WHO", "WHAT", "DETAIL"], &rows, out.colour()))?;
    }
    if !report.is_sound() {
        out.say("rigmesh: warning: this log was changed or is damaged; see: rigmesh audit verify");
    }
    Ok(())
}

fn tail(globals: &Globals, out: &Out, args: &AuditTail) -> Result<(), Exit> {
    if !(1..=TAIL_LINES_MAX).contains(&args.lines) {
        return Err(Exit::usage(format!("--lines is 1 to {TAIL_LINES_MAX}")));
    }
    let request = Request::AuditTail { rigs: remote::rigs(args.rigs.clone(), args.all)?, lines: args.lines };
    let answer = remote::ask(globals, out, &request)?;
    let mut rows = Vec::new();
    for row in answer.rows() {
        let lines = row.get("lines").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        for line in lines {
            // Shown as the rig says it: whether the chain holds is checked there, or against what is noted here.
            let (hash, json) = line.split_once(' ').unwrap_or_default();
            let Ok(Value::Object(mut line)) = serde_json::from_str(json) else { continue };
            line.insert("h".to_owned(), json!(hash));
            line.insert("rig".to_owned(), json!(remote::label(row)));
            rows.push(Value::Object(line));
        }
    }
    if !out.json() && !rows.is_empty() {
        let shown: Vec<Vec<Cell>> =
            rows.iter().map(|row| [vec![Cell::new(table::text(row, "rig"))], row_of(row)].concat()).collect();
        out.text(&table::render(&["RIG", "N", "TIME", "WHO", "WHAT", "DETAIL"], &shown, out.colour()))?;
    }
    answer.finish(out, !out.json())
}

fn nothing_in(paths: &Paths) -> String {
    format!("there is no audit log yet in {}", paths.audit().display())
}

fn row_of(line: &Value) -> Vec<Cell> {
    let number = |key: &str| line.get(key).and_then(Value::as_u64);
    let (what, detail) = match number("end") {
        Some(end) => {
            let ok = line.get("ok").and_then(Value::as_bool).unwrap_or(false);
            let why = if ok { Cell::toned("ok", Tone::Good) } else { Cell::toned(table::text(line, "err"), Tone::Bad) };
            (format!("end of {end}"), why)
        }
        None => {
            let detail = match (line.get("args"), number("cut"), number("at")) {
                (Some(args), ..) => args.to_string(),
                (_, Some(cut), _) => format!("{cut} bytes of a half-written line"),
                (_, _, Some(at)) => format!("found at line {at}"),
                _ => String::new(),
            };
            match line.get("open") {
                Some(_) => {
                    let detail = format!("{detail} (no end: still running, or cut by a crash)");
                    (table::text(line, "what").to_owned(), Cell::toned(detail, Tone::Bad))
                }
                None => (table::text(line, "what").to_owned(), Cell::new(detail)),
            }
        }
    };
    let n = number("n").unwrap_or_default().to_string();
    let (time, who) = (table::text(line, "t"), table::text(line, "who"));
    vec![Cell::new(n), Cell::new(time), Cell::toned(who, Tone::Faint), Cell::new(what), detail]
}

fn verify(out: &Out, paths: &Paths, args: &AuditVerify) -> Result<(), Exit> {
    let IdentityCard { info, sign_key, .. } = settings::identity_card(paths)?;
    let x = info.checked_key().map_err(|e| Exit::at_start(&e))?;
    // What was signed before the keys were replaced is this node's too.
    let mut keys = IdentityFiles::from(paths).former_keys().map_err(|e| Exit::at_start(&e))?;
    keys.extend(sign_key.map(|sign| (x, sign)));
    let mut notes: Vec<AuditNote> = Vec::new();
    for path in &args.against {
        let (found, theirs) = read_audit_notes(path).map_err(|e| Exit::at_start(&e))?;
        if let Some(why) = wrong(&theirs) {
            return Err(Exit::new(exit::FAILED, format!("the other side's log {} is bad: {why}", path.display())));
        }
        notes.extend(found.into_iter().filter(|note| note.whose.is_none_or(|whose| whose == x)));
    }
    let report = check_audit(&paths.audit(), &keys, &notes, |_| {}).map_err(|e: Error| Exit::at_start(&e))?;
    if out.json() {
        out.row(&row(&report))?;
    }
    if let Some(why) = wrong(&report) {
        return Err(Exit::new(exit::FAILED, format!("the audit log does not hold: {why}")));
    }
    if !args.against.is_empty() && notes.is_empty() {
        out.say("rigmesh: warning: the other side's log notes nothing about this one");
    }
    if out.json() {
        return Ok(());
    }
    let Some(last) = report.last else { return out.text(&nothing_in(paths)) };
    let number = |n: Option<u64>| n.map_or_else(|| "none".to_owned(), |n| n.to_string());
    let mut text = format!(
        "the audit log holds up to line {}\nchecked from line  {}\nsigned up to line  {}\n",
        last.n,
        number(report.checked_from),
        number(report.signed_to)
    );
    if !args.against.is_empty() {
        let compared = &report.compared;
        text +=
            &format!("noted elsewhere    {} places lie on it, {} are too old\n", compared.matched, compared.too_old);
    }
    if let Some(torn) = report.torn {
        text += &format!("last line          {} bytes, not whole: being written, or cut by a crash\n", torn.bytes);
    }
    out.text(&text)
}

/// The first thing that is wrong, with the line's number.
fn wrong(report: &AuditReport) -> Option<String> {
    let compared = &report.compared;
    let place = |notes: &[AuditNote]| notes.first().map(|note| (note.mark.n, note.line));
    if let Some(fault) = report.faults.first() {
        let more = report.fault_count - 1;
        let more = if more > 0 { format!("; {more} more are told by --json") } else { String::new() };
        let place = if fault.file.is_empty() { String::new() } else { format!(" ({}:{})", fault.file, fault.line) };
        return Some(format!("line {}{place}: {}{more}", fault.n, fault.why));
    }
    if let Some((n, line)) = place(&compared.different) {
        return Some(format!(
            "line {n} is not the one that the other side noted in its line {line}: it was written anew"
        ));
    }
    if let Some((n, line)) = place(&compared.missing) {
        return Some(format!(
            "line {n} is missing, which the other side noted in its line {line}: the end was cut off"
        ));
    }
    let torn = report.torn.filter(|torn| torn.ended)?;
    Some(format!("line {}, the last one, is not whole: a crash left it so, or somebody changed it", torn.n))
}

fn row(report: &AuditReport) -> Value {
    let faults: Vec<Value> = report
        .faults
        .iter()
        .map(|fault| json!({"n": fault.n, "file": fault.file, "line": fault.line, "why": fault.why}))
        .collect();
    let notes = |notes: &[AuditNote]| -> Vec<Value> {
        notes.iter().take(16).map(|note| json!({"n": note.mark.n, "h": note.mark.h, "line": note.line})).collect()
    };
    json!({
        "ok": report.is_sound(),
        "files": report.files,
        "lines": report.lines,
        "checked_from": report.checked_from,
        "signed_to": report.signed_to,
        "last": report.last,
        "torn_bytes": report.torn.map(|torn| torn.bytes),
        "faults": faults,
        "fault_count": report.fault_count,
        "noted": {
            "matched": report.compared.matched,
            "too_old": report.compared.too_old,
            "different": notes(&report.compared.different),
            "missing": notes(&report.compared.missing),
        },
    })
}
