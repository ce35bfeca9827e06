//! `ueps build` and `ueps read`: signed packets as files and through pipes; `ueps send`: to rigs, or to a plain listener.

use crate::args::{Globals, STDIN, UepsBuild, UepsCommand, UepsRead, UepsSend};
use crate::exit::{self, Exit};
use crate::files;
use crate::output::Out;
use crate::remote::{ask, label, rigs};
use crate::table::{self, Cell, safe};
use rigmesh::base::base64_encode;
use rigmesh::control::Request;
use rigmesh::wire::ueps::{self, Header, INTENTS, Key, PAYLOAD_BYTES_MAX, Reading, ReplayWindow, decode, intent_name};
use rigmesh::{send_packet, system_rng};
use serde_json::{Value, json};
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest stream of packets that is read, bytes.
const STREAM_BYTES_MAX: usize = 64 << 20;
/// How much of a payload is shown in a line, characters.
const SHOWN_CHARS_MAX: usize = 60;

pub(crate) fn ueps(globals: &Globals, out: &Out, command: UepsCommand) -> Result<(), Exit> {
    match command {
        UepsCommand::Send(args) => send(globals, out, args),
        UepsCommand::Build(args) => build(out, &args),
        UepsCommand::Read(args) => read(out, &args),
    }
}

fn key(path: &Path) -> Result<Key, Exit> {
    Ok(Key::from_bytes(&*files::key(path)?))
}

/// A name, or a number from 0 to 255, in hex behind `0x`.
fn intent(text: &str) -> Result<u8, Exit> {
    let named = INTENTS.iter().find(|(_, name)| *name == text).map(|(value, _)| *value);
    let number = || match text.strip_prefix("0x") {
        Some(digits) => u8::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    named.or_else(number).ok_or_else(|| {
        let names = INTENTS.map(|(_, name)| name).join(", ");
        Exit::usage(format!("unknown --intent {text:?}: use {names}, or a number from 0 to 255"))
    })
}

fn once(key: &Path, other: Option<&Path>) -> Result<(), Exit> {
    let stdin = Path::new(STDIN);
    match key == stdin && other == Some(stdin) {
        true => Err(Exit::usage("standard input can be read once: name a file for the rest")),
        false => Ok(()),
    }
}

/// What was given as payload, if anything was.
fn payload(text: Option<&str>, file: Option<&Path>) -> Result<Option<Vec<u8>>, Exit> {
    match (text, file) {
        (Some(_), Some(_)) => Err(Exit::usage("give --payload or --payload-file, not both")),
        (Some(text), None) => Ok(Some(text.as_bytes().to_vec())),
        (None, Some(path)) => Ok(Some(files::read(path, PAYLOAD_BYTES_MAX)?)),
        (None, None) => Ok(None),
    }
}

fn build(out: &Out, args: &UepsBuild) -> Result<(), Exit> {
    once(&args.key_file, args.payload_file.as_deref())?;
    let header = Header {
        version: args.packet_version,
        current_layer: args.from_layer,
        target_layer: args.to_layer,
        intent: intent(&args.intent)?,
        threat_score: args.threat,
    };
    let payload = payload(args.payload.as_deref(), args.payload_file.as_deref())?.unwrap_or_default();
    let mut packet = Vec::new();
    ueps::encode_to(&header, &payload, &key(&args.key_file)?, &mut packet)?;
    if let Some(path) = &args.output {
        files::write_private(path, args.force, files::all(&packet))?;
        return match out.json() {
            true => out.row(&json!({ "bytes": packet.len(), "file": path })),
            false => out.text(&format!("wrote {} bytes to {}", packet.len(), safe(&path.display().to_string()))),
        };
    }
    if out.json() {
        return out.row(&json!({ "bytes": packet.len(), "packet": base64_encode(&packet) }));
    }
    let mut stdout = std::io::stdout().lock();
    if stdout.is_terminal() {
        return Err(Exit::usage("a packet is bytes and not for a terminal: name a file with --output, or use --json"));
    }
    let written = stdout.write_all(&packet).and_then(|()| stdout.flush());
    written.map_err(|e| Exit::new(exit::FAILED, format!("cannot write to standard output: {e}")))
}

fn send(globals: &Globals, out: &Out, args: UepsSend) -> Result<(), Exit> {
    let header = Header { threat_score: args.threat, ..Header::new(intent(&args.intent)?) };
    let given = payload(args.payload.as_deref(), args.payload_file.as_deref())?;
    if header.intent == ueps::intent::COMPUTE && args.profile.is_none() && given.is_none() {
        return Err(Exit::usage("compute starts a profile: name it with --profile"));
    }
    let payload = match given {
        Some(_) if args.profile.is_some() || args.reason.is_some() => {
            return Err(Exit::usage("--profile and --reason make a payload: give them or a payload, not both"));
        }
        Some(payload) => payload,
        None => order(args.profile.as_deref(), args.reason.as_deref())?,
    };
    let Some(address) = &args.tcp else {
        if args.key_file.is_some() {
            return Err(Exit::usage("--key-file goes with --tcp: links have keys of their own"));
        }
        let request = Request::UepsSend {
            rigs: rigs(args.rigs, args.all)?,
            intent: header.intent,
            threat_score: header.threat_score,
            payload: base64_encode(&payload),
        };
        return ask(globals, out, &request)?
            .show(out, |row| format!("{}: {}", safe(label(row)), answer_text(row.get("answer"))));
    };
    if !args.rigs.is_empty() || args.all {
        return Err(Exit::usage("name rigs or --tcp, not both"));
    }
    if !(1..=600).contains(&args.timeout) {
        return Err(Exit::usage("--timeout takes 1 to 600 seconds"));
    }
    let key_file = args.key_file.as_deref().ok_or_else(|| Exit::usage("--tcp needs the --key-file"))?;
    let answer = send_packet(address, &key(key_file)?, &header, &payload, Duration::from_secs(args.timeout))?;
    let body = answer.into_result()?;
    match out.json() {
        true => out.row(&json!({ "address": address, "answer": body })),
        false => out.text(&format!("{}: {}", safe(address), answer_text(Some(&body)))),
    }
}

/// The payload of a command of ours: never the same twice, and with its time.
fn order(profile: Option<&str>, reason: Option<&str>) -> Result<Vec<u8>, Exit> {
    let number = hex::encode(system_rng()?.array::<16>());
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut order = json!({ "id": number, "at": u64::try_from(since.as_millis()).unwrap_or(u64::MAX) });
    for (key, value) in [("profile", profile), ("reason", reason)] {
        if let (Some(value), Some(order)) = (value, order.as_object_mut()) {
            order.insert(key.to_owned(), value.into());
        }
    }
    Ok(order.to_string().into_bytes())
}

fn answer_text(body: Option<&Value>) -> String {
    match body {
        None | Some(Value::Null) => "done".to_owned(),
        Some(body) => safe(&body.to_string()),
    }
}

fn read(out: &Out, args: &UepsRead) -> Result<(), Exit> {
    once(&args.key_file, Some(&args.file))?;
    let (key, bytes) = (key(&args.key_file)?, files::read(&args.file, STREAM_BYTES_MAX)?);
    let reading = if args.lenient { Reading::Lenient } else { Reading::Strict };
    let (mut rest, mut rows, mut window) = (&bytes[..], Vec::new(), ReplayWindow::default());
    let mut end = match rest {
        [] => Err(Exit::new(exit::CONFIG, format!("{}: there is no packet in it", args.file.display()))),
        _ => Ok(()),
    };
    for number in 1.. {
        if rest.is_empty() {
            break;
        }
        let at = bytes.len() - rest.len();
        let read = decode(rest, reading).and_then(|(frame, behind)| Ok((frame.verify(&key)?, behind)));
        let (packet, behind) = match read {
            Ok(read) => read,
            Err(defect) => {
                let about = format!("{}: packet {number} at byte {at}: {defect}", args.file.display());
                end = Err(Exit::new(exit::CONFIG, about));
                break;
            }
        };
        rest = behind;
        let (header, repeated) = (packet.header(), window.handle_packet(&packet).is_err());
        if out.json() {
            out.row(&json!({
                "packet": number,
                "at": at,
                "version": header.version,
                "current_layer": header.current_layer,
                "target_layer": header.target_layer,
                "intent": header.intent,
                "intent_name": intent_name(header.intent),
                "threat_score": header.threat_score,
                "payload_bytes": packet.payload().len(),
                "payload": base64_encode(packet.payload()),
                "repeated": repeated,
            }))?;
            continue;
        }
        let intent = intent_name(header.intent).map_or_else(|| format!("{:#04x}", header.intent), str::to_owned);
        let layers = format!("{} to {}", header.current_layer, header.target_layer);
        let texts = [
            number.to_string(),
            intent,
            header.threat_score.to_string(),
            header.version.to_string(),
            layers,
            packet.payload().len().to_string(),
            if repeated { "yes".to_owned() } else { "no".to_owned() },
            shown(packet.payload()),
        ];
        rows.push(texts.map(Cell::new).into());
    }
    if !rows.is_empty() {
        let headers = ["PACKET", "INTENT", "THREAT", "VERSION", "LAYERS", "BYTES", "REPEATED", "PAYLOAD"];
        out.text(&table::render(&headers, &rows, out.colour()))?;
    }
    end
}

/// The beginning of a payload, when it is text.
fn shown(payload: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(payload) else { return "(bytes)".to_owned() };
    let more = if text.chars().nth(SHOWN_CHARS_MAX).is_some() { "…" } else { "" };
    format!("{}{more}", safe(&text.chars().take(SHOWN_CHARS_MAX).collect::<String>()))
}
