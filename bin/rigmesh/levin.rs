//! `levin`: asks CryptoNote nodes who they are, and shows what they send. Needs no identity and no daemon.

use crate::args::{LevinCommand, LevinDecode, LevinProbe};
use crate::exit::{self, Exit};
use crate::files;
use crate::output::Out;
use crate::table::safe;
use rigmesh::base::Error;
use rigmesh::wire::levin::{
    Array, Deframer, HandshakeResponse, Message, NetworkId, PAYLOAD_BYTES_MAX, STORAGE_HEADER, Section, Value, command,
};
use rigmesh::{LevinSettings, levin_probe};
use serde_json::{Value as Json, json};
use std::fmt::Write as _;
use std::time::Duration;

/// The largest file that is decoded, bytes.
const FILE_BYTES_MAX: usize = 256 << 20;
/// The longest payload a node may send to a probe, bytes: it may tell of a block while it is asked.
const PROBE_PAYLOAD_MAX: u64 = 16 << 20;
/// Bytes of a string that text shows.
const STRING_SHOWN: usize = 64;
/// Elements of an array that text shows.
const ELEMENTS_SHOWN: usize = 16;

pub(crate) fn levin(out: &Out, command: LevinCommand) -> Result<(), Exit> {
    match command {
        LevinCommand::Probe(args) => probe(out, &args),
        LevinCommand::Decode(args) => decode(out, &args),
    }
}

fn probe(out: &Out, args: &LevinProbe) -> Result<(), Exit> {
    let network: NetworkId = args.network.parse().map_err(|e: Error| Exit::usage(e.to_string()))?;
    if !(1..=3600).contains(&args.timeout) {
        return Err(Exit::usage("--timeout is 1 to 3600 seconds"));
    }
    let within = Duration::from_secs(args.timeout);
    let settings = LevinSettings {
        connect_max: within,
        read_max: within,
        write_max: within,
        payload_bytes_max: PROBE_PAYLOAD_MAX,
    };
    let probe = levin_probe(&args.address, network, settings, &mut rigmesh::system_rng()?).map_err(|e| match e {
        // What a peer sends is not our configuration.
        Error::Malformed { .. } => Exit::new(exit::FAILED, format!("{}: {e}", args.address)),
        Error::TimedOut(_) => Exit::new(exit::TIMED_OUT, format!("{}: {e}", args.address)),
        Error::Remote { .. } => Exit::new(exit::REFUSED, format!("{}: {e}", args.address)),
        Error::Config(why) => Exit::usage(why),
        other => Exit::from(other),
    })?;
    let HandshakeResponse { node, peers, .. } = &probe.handshake;
    // The timed sync is the newer word.
    let sync = &probe.sync.sync;
    if node.network_id != network {
        out.say("rigmesh: the node is of another network than the one it was asked for");
    }
    let round_trip_ms = (probe.round_trip.as_secs_f64() * 1e6).round() / 1e3;
    if out.json() {
        let peers: Vec<_> = peers
            .iter()
            .map(|peer| json!({ "address": peer.address.to_string(), "id": format!("{:016x}", peer.id), "last_seen": peer.last_seen, "rpc_port": peer.rpc_port, "pruning_seed": peer.pruning_seed }))
            .collect();
        return out.row(&json!({
            "address": args.address,
            "network_id": node.network_id.to_string(),
            "network": node.network_id.name(),
            "peer_id": format!("{:016x}", node.peer_id),
            "port": node.my_port,
            "rpc_port": node.rpc_port,
            "support_flags": node.support_flags,
            "height": sync.current_height,
            "top_hash": hex::encode(sync.top_id),
            "top_version": sync.top_version,
            "difficulty": sync.difficulty().to_string(),
            "pruning_seed": sync.pruning_seed,
            "round_trip_ms": round_trip_ms,
            "peers": peers,
        }));
    }
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<14} {}", safe(value));
    };
    line("network", &format!("{} ({})", node.network_id.name().unwrap_or("unknown"), node.network_id));
    line("node", &format!("{:016x}", node.peer_id));
    line("height", &sync.current_height.to_string());
    line("top hash", &hex::encode(sync.top_id));
    line("top version", &sync.top_version.to_string());
    line("difficulty", &sync.difficulty().to_string());
    line("support flags", &node.support_flags.to_string());
    line("round trip", &format!("{round_trip_ms} ms"));
    line("peers", &peers.len().to_string());
    for peer in peers {
        let _ = writeln!(text, "  {:<40} {:016x}", safe(&peer.address.to_string()), peer.id);
    }
    out.text(&text)
}

fn decode(out: &Out, args: &LevinDecode) -> Result<(), Exit> {
    let bytes = files::read(&args.file, FILE_BYTES_MAX)?;
    if bytes.starts_with(STORAGE_HEADER.get(..8).unwrap_or_default()) {
        let section = Section::decode(&bytes).map_err(|e| Exit::from(Error::from(e)))?;
        return match out.json() {
            true => out.row(&json!({ "storage": section_json(&section) })),
            false => out.text(&tree(&section, 0)),
        };
    }
    let (mut deframer, mut rest) = (Deframer::new(PAYLOAD_BYTES_MAX), &bytes[..]);
    let mut count = 0usize;
    while let Some(message) = deframer.handle_bytes(&mut rest).map_err(|e| after(count, &Error::from(e).to_string()))? {
        count += 1;
        show(out, &message)?;
    }
    match deframer.is_between_messages() {
        true if count > 0 => Ok(()),
        true => Err(Exit::new(exit::CONFIG, format!("{} is empty", args.file.display()))),
        false => Err(after(count, "the bytes end inside a message")),
    }
}

/// The error behind so many good messages.
fn after(count: usize, why: &str) -> Exit {
    Exit::new(exit::CONFIG, format!("{why} (after {count} whole messages)"))
}

fn show(out: &Out, message: &Message) -> Result<(), Exit> {
    let kind = match (message.is_response(), message.expects_response) {
        (true, _) => "response",
        (false, true) => "request",
        (false, false) => "notification",
    };
    let name = command::name(message.command);
    let storage = (!message.payload.is_empty()).then(|| Section::decode(&message.payload));
    if out.json() {
        let (section, error) = match &storage {
            None => (Json::Null, Json::Null),
            Some(Ok(section)) => (section_json(section), Json::Null),
            Some(Err(e)) => (Json::Null, e.to_string().into()),
        };
        // What cannot be read is given as it came.
        let payload = if error.is_null() { Json::Null } else { hex::encode(&message.payload).into() };
        let row = json!({
            "command": message.command,
            "name": name,
            "kind": kind,
            "return_code": message.return_code,
            "bytes": message.payload.len(),
            "storage": section,
            "error": error,
            "payload": payload,
        });
        return out.row(&row);
    }
    let mut text = format!("{kind} {} ({name}), {} bytes", message.command, message.payload.len());
    if message.is_response() {
        let _ = write!(text, ", return code {}", message.return_code);
    }
    text.push('\n');
    match storage {
        None => {}
        Some(Ok(section)) => text.push_str(&tree(&section, 1)),
        Some(Err(e)) => {
            let _ = writeln!(text, "  no portable storage: {}\n  {}", safe(&e.to_string()), string(&message.payload));
        }
    }
    out.text(&text)
}

/// A section as a list, because names need not be text.
fn section_json(section: &Section) -> Json {
    let entry = |(name, value): (&[u8], &Value)| json!({ "name": String::from_utf8_lossy(name), "type": value.type_name(), "value": value_json(value) });
    section.iter().map(entry).collect()
}

/// Bytes as text when they are printable ASCII, else as hex.
fn string_json(bytes: &[u8]) -> Json {
    match is_text(bytes) {
        true => String::from_utf8_lossy(bytes).into(),
        false => json!({ "hex": hex::encode(bytes) }),
    }
}

fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| (0x20..0x7F).contains(b))
}

/// JSON has no number for what is not finite.
fn double_json(n: f64) -> Json {
    if n.is_finite() { n.into() } else { n.to_string().into() }
}

fn value_json(value: &Value) -> Json {
    match value {
        Value::I64(n) => (*n).into(),
        Value::I32(n) => (*n).into(),
        Value::I16(n) => (*n).into(),
        Value::I8(n) => (*n).into(),
        Value::U64(n) => (*n).into(),
        Value::U32(n) => (*n).into(),
        Value::U16(n) => (*n).into(),
        Value::U8(n) => (*n).into(),
        Value::F64(n) => double_json(*n),
        Value::Bool(yes) => (*yes).into(),
        Value::String(bytes) => string_json(bytes),
        Value::Object(section) => section_json(section),
        Value::Array(array) => match array {
            Array::I64(items) => json!(items),
            Array::I32(items) => json!(items),
            Array::I16(items) => json!(items),
            Array::I8(items) => json!(items),
            Array::U64(items) => json!(items),
            Array::U32(items) => json!(items),
            Array::U16(items) => json!(items),
            Array::U8(items) => json!(items),
            Array::F64(items) => items.iter().map(|n| double_json(*n)).collect(),
            Array::Bool(items) => json!(items),
            Array::String(items) => items.iter().map(|bytes| string_json(bytes)).collect(),
            Array::Object(items) => items.iter().map(section_json).collect(),
        },
    }
}

/// The beginning of a string.
fn string(bytes: &[u8]) -> String {
    let shown = bytes.get(..STRING_SHOWN).unwrap_or(bytes);
    let more = if bytes.len() > STRING_SHOWN { format!("… ({} bytes)", bytes.len()) } else { String::new() };
    match is_text(shown) {
        true => format!("\"{}\"{more}", String::from_utf8_lossy(shown)),
        false => format!("{}{more}", hex::encode(shown)),
    }
}

/// A section, an entry a line.
fn tree(section: &Section, depth: usize) -> String {
    let mut text = String::new();
    let indent = "  ".repeat(depth);
    for (name, value) in section.iter() {
        let _ = write!(text, "{indent}{}: {}", safe(&String::from_utf8_lossy(name)), value.type_name());
        match value {
            Value::Object(inner) => {
                text.push('\n');
                text.push_str(&tree(inner, depth + 1));
            }
            Value::Array(Array::Object(items)) => {
                let _ = writeln!(text, " ({})", items.len());
                for item in items.iter().take(ELEMENTS_SHOWN) {
                    let _ = writeln!(text, "{indent}  -");
                    text.push_str(&tree(item, depth + 2));
                }
                if items.len() > ELEMENTS_SHOWN {
                    let _ = writeln!(text, "{indent}  … {} more; --json shows all", items.len() - ELEMENTS_SHOWN);
                }
            }
            Value::Array(Array::String(items)) => {
                let shown: Vec<_> = items.iter().take(ELEMENTS_SHOWN).map(|bytes| string(bytes)).collect();
                let more = if items.len() > ELEMENTS_SHOWN { ", …" } else { "" };
                let _ = writeln!(text, " ({}) = {}{more}", items.len(), shown.join(", "));
            }
            Value::Array(array) => {
                let all = value_json(value);
                let shown: Vec<_> =
                    all.as_array().into_iter().flatten().take(ELEMENTS_SHOWN).map(Json::to_string).collect();
                let more = if array.len() > ELEMENTS_SHOWN { ", …" } else { "" };
                let _ = writeln!(text, " ({}) = {}{more}", array.len(), shown.join(", "));
            }
            Value::String(bytes) => {
                let _ = writeln!(text, " = {}", string(bytes));
            }
            scalar => {
                let _ = writeln!(text, " = {}", value_json(scalar));
            }
        }
    }
    text
}
