//! `pair` and `enrol`: codes, links and their picture in the terminal (secure-session.md §3).

use crate::args::{Enrol, Globals, Pair};
use crate::exit::{self, Exit};
use crate::output::Out;
use crate::remote::{self, Backend};
use crate::serve::SignalThread;
use crate::table::{self, safe};
use qrcodegen::{QrCode, QrCodeEcc};
use rigmesh::control::Request;
use serde_json::Value;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// What a code or an enrolment is for, unless something else is said.
const GRANT: &str = "observe,operate,deploy";
const MINUTES: u32 = 10;
const USES: u32 = 50;
const DAYS: u32 = 7;
/// How often the rig is asked whether somebody came.
const LOOK: Duration = Duration::from_millis(500);
/// Light modules around the picture.
const QUIET: i32 = 2;

pub(crate) fn pair(globals: &Globals, out: &Out, args: Pair) -> Result<(), Exit> {
    let shows = args.grant.is_some() || args.minutes.is_some() || !args.address.is_empty() || args.no_wait;
    match args.with {
        Some(_) if shows || args.cancel => {
            Err(Exit::usage("with a link or a code, only --name goes: the rig says what is granted"))
        }
        Some(with) => join(globals, out, with, args.name),
        None if args.name.is_some() => Err(Exit::usage("--name goes with the link or code of a rig")),
        None if args.cancel && shows => Err(Exit::usage("--cancel goes alone")),
        None if args.cancel => ask_daemon(globals, out, &Request::PairHide {}, |_| "the code is withdrawn".to_owned()),
        None => show(globals, out, args),
    }
}

fn join(globals: &Globals, out: &Out, with: String, name: Option<String>) -> Result<(), Exit> {
    let answer = remote::ask(globals, out, &Request::PairJoin { with, name })?;
    answer.show(out, |row| {
        let granted = table::words(row, "granted", ", ");
        let may =
            if granted.is_empty() { "may ask for its statistics only".to_owned() } else { format!("may {granted}") };
        format!("paired with {} ({}): this controller {may}", safe(table::text(row, "name")), table::text(row, "peer"))
    })
}

fn show(globals: &Globals, out: &Out, args: Pair) -> Result<(), Exit> {
    let signals = SignalThread::start()?;
    let request = Request::PairShow {
        grant: args.grant.unwrap_or_else(|| GRANT.to_owned()),
        minutes: args.minutes.unwrap_or(MINUTES),
        addresses: args.address,
    };
    let mut backend = daemon(globals, &request)?;
    let row = one(&mut backend, &request)?;
    if out.json() {
        out.row(&row)?;
    } else {
        out.text(&shown(&row))?;
    }
    if args.no_wait {
        return Ok(());
    }
    loop {
        match signals.received.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => {
                // Whoever walks away leaves no open door.
                one(&mut backend, &Request::PairHide {})?;
                return Err(Exit::new(exit::FAILED, "the code is withdrawn"));
            }
        }
        let state = one(&mut backend, &Request::PairState {})?;
        let word = table::text(&state, "state");
        if word == "waiting" {
            continue;
        }
        if out.json() {
            out.row(&state)?;
        }
        return match word {
            "used" if out.json() => Ok(()),
            "used" => {
                let (name, grants) = (safe(table::text(&state, "name")), table::words(&state, "grants", ", "));
                let may = if grants.is_empty() { "ask for statistics only".to_owned() } else { grants };
                out.text(&format!("paired with {name} ({}), which may {may}", table::text(&state, "peer")))
            }
            "expired" => Err(Exit::new(exit::FAILED, "nobody came: the code's time is over")),
            "withdrawn" => {
                Err(Exit::new(exit::FAILED, "the code was tried wrongly too often and is withdrawn: somebody guesses"))
            }
            _ => Err(Exit::new(exit::FAILED, "the code was withdrawn")),
        };
    }
}

/// The code, what to do with it, and the link as a picture.
fn shown(row: &Value) -> String {
    let (code, link) = (table::text(row, "code"), table::text(row, "link"));
    let minutes = row.get("minutes").and_then(Value::as_u64).unwrap_or_default();
    let place = row.get("addresses").and_then(|all| all.get(0)).and_then(Value::as_str).unwrap_or_default();
    format!(
        "{}\nOn the controller, within {minutes} minutes:\n\n    rigmesh pair {code}@{place}\n\nor with the link, which also says who must answer:\n\n    rigmesh pair '{link}'\n\nWhoever uses it may {}. Ctrl-C withdraws it.\n",
        picture(link).unwrap_or_default(),
        table::words(row, "grants", ", "),
    )
}

/// A QR code of half blocks: dark on light, whatever the terminal's colours are. `None` for a link that is too long.
fn picture(text: &str) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    let size = code.size();
    let mut lines = String::new();
    let mut y = -QUIET;
    while y < size + QUIET {
        // Black on white, so that dark stays dark.
        lines.push_str("\x1b[30;107m");
        for x in -QUIET..size + QUIET {
            lines.push(match (code.get_module(x, y), code.get_module(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        lines.push_str("\x1b[0m\n");
        y += 2;
    }
    Some(lines)
}

pub(crate) fn enrol(globals: &Globals, out: &Out, args: Enrol) -> Result<(), Exit> {
    let begins = args.uses.is_some() || args.days.is_some() || args.grant.is_some() || !args.address.is_empty();
    if args.show && args.end || begins && (args.show || args.end) {
        return Err(Exit::usage("--show and --end go alone"));
    }
    if args.end {
        return ask_daemon(globals, out, &Request::EnrolEnd {}, |_| {
            "the enrolment is over; rigs that came stay known".to_owned()
        });
    }
    if args.show {
        return ask_daemon(globals, out, &Request::EnrolState {}, standing);
    }
    let request = Request::Enrol {
        uses: args.uses.unwrap_or(USES),
        days: args.days.unwrap_or(DAYS),
        grant: args.grant.unwrap_or_else(|| GRANT.to_owned()),
        addresses: args.address,
    };
    // The link alone on standard output, so that it can go into the file.
    ask_daemon(globals, out, &request, |row| {
        out.say(&format!(
            "{}\nput this link into each rig's data folder as enrol.link, readable by its user only; it is shown once:",
            standing(row)
        ));
        table::text(row, "link").to_owned()
    })
}

fn standing(row: &Value) -> String {
    let rigs = row.get("rigs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut text = match table::text(row, "state") {
        "none" => return "there is no enrolment; begin one: rigmesh enrol --uses 50 --days 7".to_owned(),
        "open" => {
            let uses = row.get("uses").and_then(Value::as_u64).unwrap_or_default();
            format!("{uses} rigs may come until {}", table::text(row, "until"))
        }
        "used" => "all rigs that may come have come".to_owned(),
        _ => format!("its time was over at {}", table::text(row, "until")),
    };
    for rig in rigs {
        text +=
            &format!("\n  {}  {}  {}", table::text(rig, "at"), table::text(rig, "id"), safe(table::text(rig, "name")));
    }
    text
}

/// The daemon of the folder: a code that is shown by a node that ends at once helps nobody.
fn daemon(globals: &Globals, request: &Request) -> Result<Backend, Exit> {
    match Backend::open(globals, request)? {
        daemon @ Backend::Daemon(_) => Ok(daemon),
        Backend::Own(node) => {
            drop(node);
            Err(Exit::new(exit::FAILED, "no daemon runs here, and somebody must answer: start `rigmesh serve`"))
        }
    }
}

fn one(backend: &mut Backend, request: &Request) -> Result<Value, Exit> {
    let mut row = Value::Null;
    backend.execute(request, &mut |given| row = given)?;
    Ok(row)
}

fn ask_daemon(globals: &Globals, out: &Out, request: &Request, line: impl Fn(&Value) -> String) -> Result<(), Exit> {
    let row = one(&mut daemon(globals, request)?, request)?;
    if out.json() { out.row(&row) } else { out.text(&line(&row)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_becomes_a_square_picture_with_light_around_it() {
        let picture = picture("rigmesh://pair/1?c=0123456789ABCDEFGHJK&id=00").unwrap();
        let rows: Vec<&str> =
            picture.lines().map(|l| l.trim_start_matches("\x1b[30;107m").trim_end_matches("\x1b[0m")).collect();
        let width = rows[0].chars().count();
        assert!(rows.iter().all(|row| row.chars().count() == width) && width.div_ceil(2) == rows.len());
        assert!(rows[0].chars().all(|c| c == ' '), "nothing dark in the quiet zone");
        assert!(rows[1].contains('█'));
    }
}
