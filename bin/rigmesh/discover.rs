//! `discover`: rigs that were found, one's own and strangers apart.

use crate::args::{Discover, Globals};
use crate::exit::Exit;
use crate::output::Out;
use crate::remote::{self, Search};
use crate::table::{self, Cell, Tone, safe};
use rigmesh::base::Error;
use rigmesh::control::Request;
use serde_json::Value;

/// Seconds a search may take.
const TIMEOUT_MAX_S: u64 = 120;

pub(crate) fn discover(globals: &Globals, out: &Out, args: Discover) -> Result<(), Exit> {
    if !(1..=TIMEOUT_MAX_S).contains(&args.timeout) {
        return Err(Exit::usage(format!("--timeout is 1 to {TIMEOUT_MAX_S} seconds")));
    }
    if args.public && args.fleet.is_none() {
        return Err(Exit::usage("--public goes with --fleet"));
    }
    let search = Search { dht: args.fleet.is_some(), lan: args.lan, bootstrap: args.bootstrap };
    let request = Request::Discover { fleet: args.fleet, public: args.public, timeout_ms: args.timeout * 1000 };
    let answer = remote::ask_with(globals, out, &request, search)?;
    if answer.rows().is_empty() {
        return Err(Error::NotFound("nobody was found".to_owned()).into());
    }
    if !out.json() {
        out.text(&shown(answer.rows(), out.colour()))?;
    }
    answer.finish(out, false)
}

/// Own rigs, then strangers, then what did not show itself.
fn shown(rows: &[Value], colour: bool) -> String {
    let of = |state: &str| rows.iter().filter(|row| table::text(row, "state") == state).collect::<Vec<_>>();
    let (rigs, strangers, claims) = (of("rig"), of("stranger"), of("unconfirmed"));
    let mut text = String::new();
    if !rigs.is_empty() {
        let lines: Vec<Vec<Cell>> = rigs.iter().map(|row| line(row, table::text(row, "name"), Tone::Good)).collect();
        text += &table::render(&["NAME", "ID", "ADDRESS", "PLACE", "TOLD BY"], &lines, colour);
    }
    if !strangers.is_empty() {
        text += "Strangers: on none of your lists, and asked nothing but who they are. To add one: rigmesh peers add ADDRESS\n";
        let lines: Vec<Vec<Cell>> = strangers.iter().map(|row| line(row, "-", Tone::Plain)).collect();
        text += &table::render(&["NAME", "ID", "ADDRESS", "PLACE", "TOLD BY"], &lines, colour);
    }
    if !claims.is_empty() {
        text += "Not confirmed:\n";
        for row in claims {
            let why = table::failure(row).map(|failure| failure.message).unwrap_or_default();
            text += &format!("  {}  {}\n", safe(table::text(row, "address")), safe(&why));
        }
    }
    text
}

fn line(row: &Value, name: &str, tone: Tone) -> Vec<Cell> {
    let places: Vec<&str> =
        row.get("places").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let more = if places.len() > 1 { format!(" and {} more", places.len() - 1) } else { String::new() };
    let place = places.first().map(|first| format!("{first}{more}")).unwrap_or_default();
    vec![
        Cell::toned(name, tone),
        Cell::new(table::text(row, "id")),
        Cell::new(table::text(row, "address")),
        Cell::new(place),
        Cell::toned(table::text(row, "by"), Tone::Faint),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn strangers_stand_apart_and_claims_have_a_reason() {
        let row = |state: &str, name: &str| {
            json!({"address": "aAddress", "state": state, "id": "ab12", "name": name, "by": "dht",
                "places": ["ws://192.0.2.7:9091/ws", "ws://192.0.2.8:9091/ws"]})
        };
        let claim = json!({"address": "aOther", "state": "unconfirmed", "error": {"kind": "unreachable", "message": "unreachable: \u{1b}[31mnobody"}});
        let text = shown(&[row("rig", "rig-1"), row("stranger", ""), claim], false);
        assert_eq!(
            text,
            "NAME   ID    ADDRESS   PLACE                              TOLD BY\n\
             rig-1  ab12  aAddress  ws://192.0.2.7:9091/ws and 1 more  dht\n\
             Strangers: on none of your lists, and asked nothing but who they are. To add one: rigmesh peers add ADDRESS\n\
             NAME  ID    ADDRESS   PLACE                              TOLD BY\n\
             -     ab12  aAddress  ws://192.0.2.7:9091/ws and 1 more  dht\n\
             Not confirmed:\n  aOther  unreachable: nobody\n"
        );
    }
}
