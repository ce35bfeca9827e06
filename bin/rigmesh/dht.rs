//! `dht`: a node that runs until a signal, and commands that join for a moment. Those join under a key of that moment:
//! the identity's key signs and reads, and the network never learns a place of its that is gone a second later.

use crate::args::Globals;
use crate::args::{
    Dht, DhtBench, DhtCommand, DhtFindNode, DhtNode, DhtPing, DhtPublish, DhtResolve, DhtStats, MailboxCommand,
    MailboxRead, MailboxSend, TopicCommand, TopicFind, TopicPublish,
};
use crate::exit::{self, Exit};
use crate::files;
use crate::output::Out;
use crate::serve::SignalThread;
use crate::settings;
use crate::table::{self, Cell, safe};
use rigmesh::base::{Error, Timestamp};
use rigmesh::dht::{
    Config, EndpointPayload, Files, Id, Mail, Node, NodeInfo, Query, SignedRecord, Stamp, TopicPayload, rec_type,
};
use rigmesh::identity::{Address, SignKey};
use rigmesh::kad::{Fault, MAIL_BODY_BYTES_MAX, RigRecord, next_rig_seq};
use rigmesh::{FolderLock, Paths, system_rng};
use serde_json::{Value, json};
use signal_hook::consts::SIGHUP;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The longest page of a running node that is read, bytes.
const PAGE_BYTES_MAX: u64 = 1 << 20;
/// Addresses taken of one name.
const ADDRESSES_MAX: usize = 8;
/// A node that reached nobody tries again after this.
const JOIN_AGAIN: Duration = Duration::from_secs(30);
/// How far behind our clock a record's time is put, because some nodes refuse one that is ahead of theirs.
const BEHIND_S: u64 = 5;
/// A text message (dht.md §7.3).
const MAIL_TEXT: u8 = 3;

pub(crate) fn dht(globals: &Globals, out: &Out, args: Dht) -> Result<(), Exit> {
    match args.command {
        DhtCommand::Node(args) => node(globals, out, &args),
        DhtCommand::Publish(args) => publish(globals, out, &args),
        DhtCommand::Resolve(args) => resolve(globals, out, &args),
        DhtCommand::Topic(args) => match args.command {
            TopicCommand::Publish(args) => topic_publish(globals, out, args),
            TopicCommand::Find(args) => topic_find(globals, out, &args),
        },
        DhtCommand::Mailbox(args) => match args.command {
            MailboxCommand::Send(args) => mailbox_send(globals, out, &args),
            MailboxCommand::Read(args) => mailbox_read(globals, out, &args),
        },
        DhtCommand::Ping(args) => ping(out, &args),
        DhtCommand::FindNode(args) => find_node(globals, out, &args),
        DhtCommand::Stats(args) => stats(out, &args),
        DhtCommand::Bench(args) => bench(out, &args),
    }
}

/// Where the node of the data folder keeps what it knows.
fn folder(paths: &Paths) -> PathBuf {
    paths.data.join("dht")
}

/// The key that is named, or the identity's, or a new one.
fn key(globals: &Globals, file: Option<&Path>, ephemeral: bool) -> Result<SignKey, Exit> {
    match (file, ephemeral) {
        (Some(_), true) => Err(Exit::usage("--key-file and --ephemeral exclude each other")),
        (Some(file), false) => Ok(SignKey::from_seed(&*files::key(file)?)),
        (None, true) => Ok(SignKey::generate(&mut system_rng()?)),
        (None, false) => {
            let identity = settings::identity(&settings::paths(globals)?)?;
            Ok(SignKey::from_seed(&identity.sign_key().seed()))
        }
    }
}

fn bind(text: &str) -> Result<SocketAddr, Exit> {
    text.parse().map_err(|_| Exit::usage(format!("--bind {text:?} is no IP:PORT")))
}

fn within(seconds: u64) -> Result<Duration, Exit> {
    match seconds {
        1..=3600 => Ok(Duration::from_secs(seconds)),
        _ => Err(Exit::usage("--timeout is 1 to 3600 seconds")),
    }
}

/// The addresses of HOST:PORT.
fn addresses(text: &str) -> Result<Vec<SocketAddr>, Exit> {
    let found = text.to_socket_addrs().map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidInput => Exit::usage(format!("{text:?} is no HOST:PORT")),
        _ => Exit::new(exit::UNREACHABLE, format!("{text}: {e}")),
    })?;
    let found: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
    if found.is_empty() { Err(Exit::new(exit::UNREACHABLE, format!("{text} has no address"))) } else { Ok(found) }
}

/// Those that have an address; why none has.
fn seeds(names: &[String]) -> Result<Vec<SocketAddr>, Exit> {
    let (mut found, mut failed) = (Vec::new(), None);
    for name in names {
        match addresses(name) {
            Ok(addresses) => found.extend(addresses),
            Err(e) if e.code == exit::USAGE => return Err(e),
            Err(e) => failed = Some(e),
        }
    }
    match failed {
        Some(e) if found.is_empty() => Err(e),
        _ => Ok(found),
    }
}

/// An address in any form, or an id.
fn point(text: &str) -> Result<Id, Exit> {
    let of_address = || text.parse::<Address>().map(|address| Id::of_address(&address));
    let id = if text.len() == 64 { text.parse::<Id>().ok() } else { of_address().ok() };
    id.ok_or_else(|| Exit::usage(format!("{text:?} is neither an address nor an id of 64 hex digits")))
}

fn bad(fault: Fault) -> Exit {
    Exit::usage(fault.to_string())
}

/// A node for the time of one command.
fn join(globals: &Globals, names: &[String], at: &str, within: Duration) -> Result<Node, Exit> {
    let mut from = seeds(names)?;
    if names.is_empty() {
        from = Node::read_peers_cache(&folder(&settings::paths(globals)?).join("peers.cache"));
    }
    if from.is_empty() {
        return Err(Exit::usage("name a node of the DHT to begin with: --bootstrap HOST:PORT"));
    }
    let node = short_lived(at)?;
    node.bootstrap_addrs(&from, within)?;
    Ok(node)
}

fn short_lived(at: &str) -> Result<Node, Exit> {
    let key = SignKey::generate(&mut system_rng()?);
    Node::start(Config { bind: bind(at)?, ..Config::new(key) }).map_err(|e| Exit::at_start(&e))
}

fn node(globals: &Globals, out: &Out, args: &DhtNode) -> Result<(), Exit> {
    let (within, names) = (within(args.timeout)?, seeds(&args.bootstrap));
    let pages = args
        .debug_http
        .as_deref()
        .map(|at| at.parse::<SocketAddr>().map_err(|_| Exit::usage(format!("--debug-http {at:?} is no IP:PORT"))));
    let pages = pages.transpose()?;
    let key = key(globals, args.key_file.as_deref(), args.ephemeral)?;
    let signals = SignalThread::start()?;
    let mut config = Config { bind: bind(&args.bind)?, passive: args.passive, ..Config::new(key) };
    let mut lock = None;
    if !args.ephemeral {
        let folder = folder(&settings::paths(globals)?);
        lock = Some(FolderLock::take(&Paths::in_folder(&folder)).map_err(|e| Exit::at_start(&e))?);
        config.files = Files::in_folder(&folder);
    }
    let node = Node::start(config).map_err(|e| Exit::at_start(&e))?;
    let pages = pages.map(|at| node.start_debug_http(at)).transpose().map_err(|e| Exit::at_start(&e))?;
    let debug = pages.as_ref().map(|pages| pages.local_addr().to_string());
    let (address, id, at) = (node.address().to_string(), node.id().to_string(), node.local_addr());
    match out.json() {
        true => {
            let row = json!({ "address": address, "id": id, "listen": at.to_string(), "port": at.port(), "debug_http": debug });
            out.row(&row)?;
        }
        false => {
            let debug = debug.map(|at| format!("; pages at http://{at}/debug/stats")).unwrap_or_default();
            out.text(&format!("{address} (id {id}) listens on udp {at}{debug}\n"))?;
        }
    }
    let mut from = names.unwrap_or_else(|e| {
        log::warn!(target: "dht", "{}", e.message);
        Vec::new()
    });
    from.extend(node.cached_peers());
    wait(&node, &signals, &from, within);
    drop(pages);
    drop(lock);
    signals.end();
    Ok(())
}

/// Joins, again and again while nobody answers, until a signal says that it is over.
fn wait(node: &Node, signals: &SignalThread, from: &[SocketAddr], within: Duration) {
    let (stop, stopped) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            loop {
                match node.bootstrap_addrs(from, within) {
                    Ok(peers) => return log::info!(target: "dht", peers; "joined"),
                    Err(Error::ShuttingDown) => return,
                    Err(e) => log::warn!(target: "dht", "not joined, trying again: {e}"),
                }
                if stopped.recv_timeout(JOIN_AGAIN) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        while signals.received.recv().is_ok_and(|signal| signal == SIGHUP) {}
        log::info!(target: "dht", "stopping; a second signal ends at once");
        drop(stop);
        node.close();
    });
}

/// Publishes a record, and says how many nodes have it.
fn publish_record(out: &Out, node: &Node, key: Id, record: SignedRecord, within: Duration) -> Result<(), Exit> {
    let (address, seq) = (record.address.to_string(), record.seq);
    let at = if key == Id::ZERO { record.default_key() } else { key };
    let copies = node.publish_and_wait(key, record, within)?;
    if copies == 0 {
        return Err(Exit::new(exit::UNREACHABLE, "no node keeps the record"));
    }
    match out.json() {
        true => out.row(&json!({ "address": address, "key": at.to_string(), "seq": seq, "copies": copies })),
        false => out.text(&format!("{address}: {copies} nodes keep it\n")),
    }
}

/// Above every earlier one of a key that goes by the time.
fn stamp(ttl_s: u32) -> Stamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = Timestamp::from_unix_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
    Stamp { seq: next_rig_seq(0, wall), timestamp: now.as_secs().saturating_sub(BEHIND_S), ttl_s }
}

fn publish(globals: &Globals, out: &Out, args: &DhtPublish) -> Result<(), Exit> {
    let within = within(args.timeout)?;
    let key = key(globals, args.key_file.as_deref(), args.ephemeral)?;
    let payload = EndpointPayload { endpoints: Some(args.places.clone()), ..EndpointPayload::default() };
    let payload = payload.encode().map_err(bad)?;
    let node = join(globals, &args.bootstrap, &args.bind, within)?;
    let record = SignedRecord::sign(&key, rec_type::ENDPOINT, payload, stamp(args.ttl)).map_err(bad)?;
    publish_record(out, &node, Id::ZERO, record, within)
}

fn resolve(globals: &Globals, out: &Out, args: &DhtResolve) -> Result<(), Exit> {
    let (within, key) = (within(args.timeout)?, point(&args.address)?);
    let node = join(globals, &args.bootstrap, &args.bind, within)?;
    let begun = Instant::now();
    let found = Query::new(&node).resolve(key, within)?;
    let took = begun.elapsed();
    let rig = RigRecord::read(&found.record).ok();
    // Of a rig's record the last text is its key.
    let places = match &rig {
        Some(rig) => rig.places.iter().map(ToString::to_string).collect(),
        None => found.payload.endpoints.clone().unwrap_or_default(),
    };
    if out.json() {
        return out.row(&json!({
            "address": found.address.to_string(),
            "endpoints": places,
            "nat_type": found.payload.nat_type as u8,
            "signal": found.payload.signal,
            "signals": found.payload.signals,
            "turns": found.payload.turns,
            "timestamp": found.timestamp,
            "seq": found.seq,
            "ttl": found.ttl_s,
            "rig_key": rig.as_ref().map(|rig| rig.key.to_string()),
            "ms": millis(took),
        }));
    }
    let mut text = String::new();
    let _ = writeln!(text, "{}", found.address);
    for place in &places {
        let _ = writeln!(text, "  {}", safe(place));
    }
    if places.is_empty() {
        text.push_str("  withdrawn, or reached nowhere\n");
    }
    if let Some(rig) = rig {
        let _ = writeln!(text, "  claims the mesh key {}", rig.key);
    }
    let age = node.unix_time().saturating_sub(found.timestamp);
    let left = found.record.expires_at().saturating_sub(node.unix_time());
    let _ = writeln!(text, "  made {} ago, good for {}", table::duration(age), table::duration(left));
    out.text(&text)
}

fn topic_publish(globals: &Globals, out: &Out, args: TopicPublish) -> Result<(), Exit> {
    let within = within(args.timeout)?;
    let key = key(globals, args.key_file.as_deref(), args.ephemeral)?;
    let at = Id::of_topic(&args.topic);
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let entry = TopicPayload {
        version: 1,
        topic: args.topic,
        name: args.name,
        protocols: some(args.protocol),
        tags: some(args.tag),
        brief: args.brief,
        meta: Vec::new(),
    };
    let payload = entry.encode().map_err(bad)?;
    let node = join(globals, &args.bootstrap, &args.bind, within)?;
    let record = SignedRecord::sign(&key, rec_type::TOPIC, payload, stamp(args.ttl)).map_err(bad)?;
    publish_record(out, &node, at, record, within)
}

fn topic_find(globals: &Globals, out: &Out, args: &TopicFind) -> Result<(), Exit> {
    let within = within(args.timeout)?;
    let node = join(globals, &args.bootstrap, &args.bind, within)?;
    let found = Query::new(&node).aggregate_records(Id::of_topic(&args.topic), rec_type::TOPIC, within)?;
    let entries = found.iter().filter_map(|record| Some((record, TopicPayload::decode(record.payload()).ok()?)));
    let mut entries: Vec<(&SignedRecord, TopicPayload)> =
        entries.filter(|(_, entry)| entry.topic == args.topic && entry.matches(&args.protocol, &args.tag)).collect();
    entries.sort_by(|(a, x), (b, y)| (&x.name, a.address.as_bytes()).cmp(&(&y.name, b.address.as_bytes())));
    if entries.is_empty() {
        return Err(Error::NotFound("nobody stands under this topic".to_owned()).into());
    }
    if out.json() {
        for (record, entry) in entries {
            out.row(&json!({
                "address": record.address.to_string(),
                "name": entry.name,
                "brief": entry.brief,
                "protocols": entry.protocols.unwrap_or_default(),
                "tags": entry.tags.unwrap_or_default(),
                "seq": record.seq,
                "timestamp": record.timestamp,
                "ttl": record.ttl_s,
            }))?;
        }
        return Ok(());
    }
    let list = |texts: &Option<Vec<String>>| texts.as_deref().unwrap_or_default().join(" ");
    let rows: Vec<Vec<Cell>> = entries
        .iter()
        .map(|(record, entry)| {
            let cells =
                [&entry.name, &record.address.to_string(), &list(&entry.protocols), &list(&entry.tags), &entry.brief];
            cells.map(Cell::new).into()
        })
        .collect();
    out.text(&table::render(&["NAME", "ADDRESS", "PROTOCOLS", "TAGS", "BRIEF"], &rows, out.colour()))
}

fn mailbox_send(globals: &Globals, out: &Out, args: &MailboxSend) -> Result<(), Exit> {
    let within = within(args.timeout)?;
    let to: Address = args.to.parse().map_err(|e: Error| Exit::usage(e.to_string()))?;
    let body = files::read(&args.file, MAIL_BODY_BYTES_MAX)?;
    let key = key(globals, args.key_file.as_deref(), args.ephemeral)?;
    let from = Address::of_ed25519(&key.public());
    let node = join(globals, &args.bootstrap, &args.bind, within)?;
    let at = Id::of_address(&to);
    let recipient = Query::new(&node).resolve(at, within)?;
    let mail = Mail { msg_type: MAIL_TEXT, body: Some(body) };
    let payload = mail.seal(&from, &to, &recipient.record.pubkey, &mut system_rng()?).map_err(bad)?;
    let record = SignedRecord::sign(&key, rec_type::MAILBOX, payload, stamp(args.ttl)).map_err(bad)?;
    publish_record(out, &node, at, record, within)
}

fn mailbox_read(globals: &Globals, out: &Out, args: &MailboxRead) -> Result<(), Exit> {
    let within = within(args.timeout)?;
    let key = key(globals, args.key_file.as_deref(), false)?;
    let own = Address::of_ed25519(&key.public());
    let node = join(globals, &args.bootstrap, &args.bind, within)?;
    let found = match Query::new(&node).aggregate_records(Id::of_address(&own), rec_type::MAILBOX, within) {
        Err(Error::NotFound(_)) => Vec::new(),
        found => found?,
    };
    let mut mails: Vec<_> =
        found.iter().filter_map(|record| Some((record.timestamp, Mail::open(record, &own, &key).ok()?))).collect();
    mails.sort_by_key(|(at, mail)| (*at, mail.seq));
    let unread = found.len() - mails.len();
    if unread > 0 {
        out.say(&format!("rigmesh: {unread} messages are not for this key, or damaged"));
    }
    for (timestamp, mail) in mails {
        let body = mail.mail.body.unwrap_or_default();
        let text = std::str::from_utf8(&body).ok();
        match out.json() {
            true => out.row(&json!({
                "from": mail.sender.to_string(),
                "type": mail.mail.msg_type,
                "timestamp": timestamp,
                "seq": mail.seq,
                "text": text,
                "hex": text.is_none().then(|| hex::encode(&body)),
            }))?,
            false => {
                let shown = text.map_or_else(|| hex::encode(&body), safe);
                out.text(&format!("{}: {shown}\n", mail.sender))?;
            }
        }
    }
    Ok(())
}

fn ping(out: &Out, args: &DhtPing) -> Result<(), Exit> {
    let within = within(args.timeout)?;
    let node = short_lived(&args.bind)?;
    let mut failed = None;
    for at in addresses(&args.node)? {
        match node.ping(at, within) {
            Ok(pong) => {
                let (address, id) = (pong.peer.address.to_string(), pong.peer.node_id.to_string());
                let (seen, ms) = (pong.peer.observed.to_string(), millis(pong.round_trip));
                return match out.json() {
                    true => out.row(
                        &json!({ "at": at.to_string(), "address": address, "id": id, "observed": seen, "ms": ms }),
                    ),
                    false => out.text(&format!("{address} (id {id}) at {at}: {ms} ms; it sees us at {seen}\n")),
                };
            }
            Err(e) => failed = Some(e),
        }
    }
    Err(failed.map_or_else(|| Exit::new(exit::UNREACHABLE, "no address"), Exit::from))
}

fn find_node(globals: &Globals, out: &Out, args: &DhtFindNode) -> Result<(), Exit> {
    let (within, target) = (within(args.timeout)?, point(&args.target)?);
    let nodes = match &args.at {
        Some(at) => {
            let at = addresses(at)?;
            let first = at.first().copied().ok_or_else(|| Exit::new(exit::UNREACHABLE, "no address"))?;
            short_lived(&args.bind)?.find_node(first, target, within)?
        }
        None => Query::new(&join(globals, &args.bootstrap, &args.bind, within)?).find_node(target, within)?,
    };
    let row = |node: &NodeInfo| (node.node_id.to_string(), node.address.to_string(), node.socket_addr().to_string());
    if out.json() {
        return nodes.iter().try_for_each(|node| {
            let (id, address, at) = row(node);
            out.row(
                &json!({ "id": id, "address": address, "at": at, "common_bits": target.common_bits(&node.node_id) }),
            )
        });
    }
    let rows: Vec<Vec<Cell>> = nodes
        .iter()
        .map(|node| {
            let (id, address, at) = row(node);
            [id, address, at].map(Cell::new).into()
        })
        .collect();
    out.text(&table::render(&["ID", "ADDRESS", "AT"], &rows, out.colour()))
}

fn stats(out: &Out, args: &DhtStats) -> Result<(), Exit> {
    let within = within(args.timeout)?;
    let at: SocketAddr = args
        .debug_http
        .parse()
        .map_err(|_| Exit::usage(format!("--debug-http {:?} is no IP:PORT", args.debug_http)))?;
    let failed = |e: std::io::Error| Exit::new(exit::UNREACHABLE, format!("no node serves its pages at {at}: {e}"));
    let mut stream = TcpStream::connect_timeout(&at, within).map_err(failed)?;
    stream.set_read_timeout(Some(within)).and_then(|()| stream.set_write_timeout(Some(within))).map_err(failed)?;
    write!(stream, "GET /debug/stats HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(PAGE_BYTES_MAX).read_to_end(&mut answer).map_err(failed)?;
    let text = String::from_utf8_lossy(&answer);
    let body = text.strip_prefix("HTTP/1.1 200 ").and_then(|rest| rest.split_once("\r\n\r\n")).map(|(_, body)| body);
    let page = body.and_then(|body| serde_json::from_str::<serde_json::Map<String, Value>>(body).ok());
    let page =
        page.ok_or_else(|| Exit::new(exit::FAILED, format!("what {at} serves are not the figures of a node")))?;
    if out.json() {
        return out.row(&Value::Object(page));
    }
    let mut text = String::new();
    for (name, value) in &page {
        let _ = writeln!(text, "{:<26} {}", safe(&name.replace('_', " ")), safe(&value.to_string()));
    }
    out.text(&text)
}

fn bench(out: &Out, args: &DhtBench) -> Result<(), Exit> {
    let within = within(args.timeout)?;
    if !(2..=512).contains(&args.nodes) || !(1..=10_000).contains(&args.records) {
        return Err(Exit::usage("--nodes is 2 to 512, --records 1 to 10000"));
    }
    let begun = Instant::now();
    let mut nodes: Vec<Node> = Vec::new();
    for _ in 0..args.nodes {
        let node = short_lived("127.0.0.1:0")?;
        if let Some(first) = nodes.first() {
            node.bootstrap_addrs(&[first.local_addr()], within)?;
        }
        nodes.push(node);
    }
    let joined = begun.elapsed();
    let (mut puts, mut gets, mut failed) = (Vec::new(), Vec::new(), 0usize);
    let mut rng = system_rng()?;
    let any = |n: usize| nodes.get(n % nodes.len().max(1)).ok_or_else(|| Exit::new(exit::FAILED, "no node"));
    for n in 0..args.records {
        let (key, node) = (SignKey::generate(&mut rng), any(n)?);
        let place =
            EndpointPayload { endpoints: Some(vec!["ws://192.0.2.7:9091/ws".to_owned()]), ..Default::default() };
        let payload = place.encode().map_err(bad)?;
        let record = SignedRecord::sign(&key, rec_type::ENDPOINT, payload, stamp(3600)).map_err(bad)?;
        let id = record.default_key();
        let begun = Instant::now();
        node.publish_and_wait(Id::ZERO, record, within)?;
        puts.push(begun.elapsed());
        let finder = any(n.wrapping_mul(7).wrapping_add(args.nodes / 2))?;
        let begun = Instant::now();
        match Query::new(finder).resolve(id, within) {
            Ok(_) => gets.push(begun.elapsed()),
            Err(_) => failed += 1,
        }
    }
    puts.sort_unstable();
    gets.sort_unstable();
    let part = |times: &[Duration], percent: usize| {
        let at = times.len().saturating_sub(1) * percent / 100;
        times.get(at).copied().map(millis)
    };
    let row = json!({
        "nodes": args.nodes,
        "records": args.records,
        "joined_ms": millis(joined),
        "put_p50_ms": part(&puts, 50), "put_p90_ms": part(&puts, 90), "put_p99_ms": part(&puts, 99),
        "resolve_p50_ms": part(&gets, 50), "resolve_p90_ms": part(&gets, 90), "resolve_p99_ms": part(&gets, 99),
        "failed": failed,
    });
    if out.json() {
        return out.row(&row);
    }
    let mut text = String::new();
    for (name, value) in row.as_object().into_iter().flatten() {
        let _ = writeln!(text, "{:<15} {value}", name.replace('_', " "));
    }
    out.text(&text)
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_points_and_places_are_read_and_slips_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let public = SignKey::from_seed(&[7; 32]).public();
        for bytes in [
            vec![7; 32],
            format!(" {}\n", "07".repeat(32)).into(),
            b"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=".to_vec(),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(key(&Globals::default(), Some(&path), false).unwrap().public(), public);
        }
        std::fs::write(&path, "x").unwrap();
        assert_eq!(key(&Globals::default(), Some(&path), false).unwrap_err().code, exit::CONFIG);
        let address = Address::of_ed25519(&public);
        let id = Id::of_address(&address);
        assert_eq!((point(&address.to_string()).unwrap(), point(&id.to_string()).unwrap()), (id, id));
        assert_eq!(point("nobody").unwrap_err().code, exit::USAGE);
        assert_eq!(addresses("127.0.0.1:9").unwrap(), ["127.0.0.1:9".parse().unwrap()]);
        assert_eq!(addresses("127.0.0.1").unwrap_err().code, exit::USAGE);
        assert_eq!((within(0).is_err(), within(3600).is_ok(), bind("x").is_err()), (true, true, true));
        let both = key(&Globals::default(), Some(&path), true);
        assert_eq!(both.unwrap_err().code, exit::USAGE);
    }
}
