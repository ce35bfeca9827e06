//! The commands that speak to a node: to the daemon of the folder when one runs, otherwise to a
//! node that lives for this one command and leaves nothing running.

use crate::args::{
    Globals, Logs, PeersCommand, PeersExport, PeersGrant, PeersImport, Ping, ProfilesCommand, STDIN, Start, Status,
    Stop,
};
use crate::exit::{self, Exit};
use crate::output::Out;
use crate::{files, settings, table};
use rigmesh::base::Timestamp;
use rigmesh::control::{ControlClient, Failure, Owner, Request, Rigs, Summary, parse_profile};
use rigmesh::formats::stmf::decode_text;
use rigmesh::identity::Address;
use rigmesh::miners::PROFILE_BYTES_MAX;
use rigmesh::{FileProfileManager, Node};
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a folder that another command has, or a daemon that is just starting, is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Who carries requests out.
pub(crate) enum Backend {
    Daemon(ControlClient),
    Own(Box<Node>),
}

/// Where a node that lives for one command looks for rigs; a daemon looks where it was told to.
#[derive(Debug, Default)]
pub(crate) struct Search {
    pub(crate) dht: bool,
    pub(crate) lan: bool,
    pub(crate) bootstrap: Vec<String>,
}

impl Backend {
    pub(crate) fn open(globals: &Globals, request: &Request) -> Result<Backend, Exit> {
        Backend::open_with(globals, request, Search::default())
    }

    fn open_with(globals: &Globals, request: &Request, search: Search) -> Result<Backend, Exit> {
        let paths = settings::paths(globals)?;
        // Before the folder is made; a daemon has opened the keys already.
        settings::identity_card(&paths)?;
        let lock = match ControlClient::open_or_lock(&paths, PATIENCE).map_err(|e| Exit::at_start(&e))? {
            Owner::Daemon(client) => return Ok(Backend::Daemon(client)),
            Owner::Us(lock) => lock,
        };
        let identity = settings::identity(&paths)?;
        let mut config = settings::config(&paths, None)?;
        config.uplinks.clear();
        config.dht |= search.dht;
        config.lan = search.lan;
        config.dht_bootstrap.extend(search.bootstrap);
        let profiles = Arc::new(FileProfileManager::new(&paths.data));
        // Forgetting every time must also work when the file that remembers them is corrupt.
        let forget = matches!(request, Request::PeersResetClock { peer: None });
        let node = Node::builder()
            .paths(paths)
            .folder_lock(lock)
            .identity(identity)
            .config(config)
            .profiles(profiles)
            .forget_times(forget)
            .start();
        Ok(Backend::Own(Box::new(node.map_err(|e| Exit::at_start(&e))?)))
    }

    pub(crate) fn execute(&mut self, request: &Request, each: &mut dyn FnMut(Value)) -> Result<Summary, Failure> {
        match self {
            Backend::Daemon(client) => client.execute(request, each),
            Backend::Own(node) => node.execute(request.clone(), each).map_err(Failure::from),
        }
    }

    /// Ends what was begun. An error after the results are out is told, and changes nothing.
    pub(crate) fn close(self, out: &Out) {
        if let Backend::Own(node) = self
            && let Err(e) = node.shutdown()
        {
            out.say(&format!("rigmesh: {e}"));
        }
    }
}

/// All rows of one request, with the end of it.
pub(crate) struct Answer {
    rows: Vec<Value>,
    summary: Summary,
}

/// Runs one request; with `--json` the rows are written as they come.
pub(crate) fn ask(globals: &Globals, out: &Out, request: &Request) -> Result<Answer, Exit> {
    ask_with(globals, out, request, Search::default())
}

/// The same, with where to look for rigs.
pub(crate) fn ask_with(globals: &Globals, out: &Out, request: &Request, search: Search) -> Result<Answer, Exit> {
    let mut backend = Backend::open_with(globals, request, search)?;
    let answer = ask_over(&mut backend, out, request);
    backend.close(out);
    answer
}

fn ask_over(backend: &mut Backend, out: &Out, request: &Request) -> Result<Answer, Exit> {
    let (mut rows, mut written) = (Vec::new(), Ok(()));
    let summary = backend.execute(request, &mut |row| {
        if out.json() && written.is_ok() {
            written = out.row(&row);
        }
        rows.push(row);
    });
    written?;
    Ok(Answer { rows, summary: summary? })
}

impl Answer {
    pub(crate) fn rows(&self) -> &[Value] {
        &self.rows
    }

    /// Says why rigs gave no result, and gives the exit that follows.
    pub(crate) fn finish(&self, out: &Out, say_each: bool) -> Result<(), Exit> {
        let failures: Vec<(&str, Failure)> =
            self.rows.iter().filter_map(|row| Some((label(row), table::failure(row)?))).collect();
        if say_each || self.summary.asked == 1 {
            failures.iter().for_each(|(rig, failure)| out.say_failure(rig, failure));
        }
        exit::of_summary(self.summary, failures.first().map(|(_, f)| f))
    }

    /// Shows each good row as text, then finishes.
    pub(crate) fn show(&self, out: &Out, line: impl Fn(&Value) -> String) -> Result<(), Exit> {
        if !out.json() {
            for row in self.rows.iter().filter(|row| table::failure(row).is_none()) {
                out.text(&line(row))?;
            }
        }
        self.finish(out, true)
    }
}

pub(crate) fn label(row: &Value) -> &str {
    let rig = table::text(row, "rig");
    if rig.is_empty() { table::text(row, "id") } else { rig }
}

/// The rigs named, or all; one of the two must be said.
pub(crate) fn rigs(named: Vec<String>, all: bool) -> Result<Rigs, Exit> {
    match (named.is_empty(), all) {
        (true, false) => Err(Exit::usage("name a rig, or use --all; `rigmesh peers list` shows them")),
        (false, true) => Err(Exit::usage("name rigs or use --all, not both")),
        (true, true) => Ok(Rigs::all()),
        (false, false) => Ok(Rigs::named(named)),
    }
}

pub(crate) fn peers(globals: &Globals, out: &Out, command: PeersCommand) -> Result<(), Exit> {
    let request = match command {
        PeersCommand::List(_) => Request::Peers {},
        PeersCommand::Add(args) => {
            let found = args.address.parse::<Address>().is_ok();
            if args.key.is_none() && !args.trust_first && !args.address.contains('@') && !found {
                let next =
                    "give --key (`rigmesh id` shows it over there), or --trust-first to keep the key that answers now";
                return Err(Exit::usage(format!("adding a peer needs its key: {next}")));
            }
            if args.key.is_some() && args.trust_first {
                return Err(Exit::usage("give --key or --trust-first, not both"));
            }
            let trust_first = args.trust_first;
            let request = Request::PeersAdd {
                address: args.address,
                key: args.key,
                name: args.name,
                grant: args.grant,
                trust_first,
            };
            let search = Search { dht: found, lan: args.lan, bootstrap: args.bootstrap };
            let answer = ask_with(globals, out, &request, search)?;
            if trust_first && let Some(row) = answer.rows.first() {
                let (key, id) = (table::text(row, "key"), table::text(row, "id"));
                out.say(&format!("pinned the key {key} (id {id}); compare it with `rigmesh id` over there"));
            }
            return answer.show(out, |row| format!("added {} ({})", shown_name(row), table::text(row, "id")));
        }
        PeersCommand::Remove(args) => {
            let answer = ask(globals, out, &Request::PeersRemove { peer: args.peer })?;
            return answer.show(out, |row| format!("removed {}", shown_name(row)));
        }
        PeersCommand::Allow(args) => {
            let request = Request::PeersAllow { key: args.key, grant: args.grant, name: args.name };
            return ask(globals, out, &request)?.show(out, |row| format!("allowed {}: {}", shown_name(row), may(row)));
        }
        PeersCommand::Grant(args) => return grant(globals, out, args),
        PeersCommand::Revoke(args) => {
            let rigs = on_rigs(args.on, args.on_all)?;
            let there = rigs != Rigs::default();
            let answer = ask(globals, out, &Request::PeersRevoke { key: args.key, rigs })?;
            return answer.show(out, |row| match there {
                true => format!("revoked on {}", table::safe(label(row))),
                false => format!("revoked {}", shown_name(row)),
            });
        }
        PeersCommand::KeepKey(args) => {
            let rigs = on_rigs(args.on, args.on_all)?;
            let there = rigs != Rigs::default();
            let answer = ask(globals, out, &Request::PeersKeepKey { key: args.key, rigs })?;
            return answer.show(out, |row| match there {
                true => format!("the key stays on {}", table::safe(label(row))),
                false => format!("the key of {} stays", shown_name(row)),
            });
        }
        PeersCommand::AllowPlain(args) => {
            let answer = ask(globals, out, &Request::PeersAllowPlain { key: args.key })?;
            return answer.show(out, |row| format!("{} may speak protocol 1.0 again", shown_name(row)));
        }
        PeersCommand::Best(args) => Request::PeersBest { count: args.count },
        PeersCommand::ResetClock(args) => {
            let answer = ask(globals, out, &Request::PeersResetClock { peer: args.peer })?;
            return answer.show(out, |row| format!("forgot the times seen from {}", table::text(row, "reset")));
        }
        PeersCommand::Export(args) => return export(globals, out, &args),
        PeersCommand::Import(args) => return import(globals, out, args),
    };
    let answer = ask(globals, out, &request)?;
    if !out.json() {
        out.text(&table::peers(&answer.rows, out.colour()))?;
    }
    answer.finish(out, true)
}

/// What a key may do, in words.
fn may(row: &Value) -> String {
    let grants = table::words(row, "grants", ", ");
    let until = row.get("until").and_then(Value::as_str).map_or_else(String::new, |until| format!(" until {until}"));
    if grants.is_empty() { format!("it may connect{until}") } else { format!("it may {grants}{until}") }
}

/// The rigs on which something is changed; none: here.
fn on_rigs(named: Vec<String>, all: bool) -> Result<Rigs, Exit> {
    if named.is_empty() && !all { Ok(Rigs::default()) } else { rigs(named, all) }
}

fn grant(globals: &Globals, out: &Out, args: PeersGrant) -> Result<(), Exit> {
    let until = match (args.until, args.days) {
        (Some(_), Some(_)) => return Err(Exit::usage("give --until or --days, not both")),
        (Some(text), None) => Some(
            Timestamp::parse(&text)
                .map_err(|_| Exit::usage(format!("--until {text:?} is no time; write it as 2027-01-31T18:00:00Z")))?,
        ),
        (None, Some(days)) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let seconds = now.as_secs().saturating_add(u64::from(days) * 24 * 3600);
            Some(Timestamp::from_unix(i64::try_from(seconds).unwrap_or(i64::MAX), 0))
        }
        (None, None) => None,
    };
    let rigs = on_rigs(args.on, args.on_all)?;
    let there = rigs != Rigs::default();
    let request = Request::PeersGrant { key: args.key, grant: args.grant, until, note: args.note, rigs };
    ask(globals, out, &request)?.show(out, |row| match there {
        true => format!("{}: {}", table::safe(label(row)), may(row)),
        false => format!("{}: {}", shown_name(row), may(row)),
    })
}

fn export(globals: &Globals, out: &Out, args: &PeersExport) -> Result<(), Exit> {
    let request = Request::PeersExport { to: args.to.clone(), with_access: args.with_access };
    let mut backend = Backend::open(globals, &request)?;
    // The row holds the sealed registry: with a file it goes there, and not to the terminal.
    let answer = ask_over(&mut backend, &Out::new(out.json() && args.file.is_none()), &request);
    backend.close(out);
    let answer = answer?;
    let row = answer.rows.first().cloned().unwrap_or_default();
    let count = |key: &str| row.get(key).and_then(Value::as_u64);
    let access = match count("access") {
        Some(n) => format!("with the allowlist and grants of {}", count_of(n, "key")),
        None => "without allowlist and grants".to_owned(),
    };
    let peers = count("peers").unwrap_or_default();
    let sealed = format!("sealed {}, {access}", count_of(peers, "peer"));
    match &args.file {
        None if out.json() => {}
        None => out.text(table::text(&row, "sealed"))?,
        Some(file) => {
            let bytes = decode_text(table::text(&row, "sealed"))?;
            files::write_private(file, args.force, files::all(&bytes))?;
            match out.json() {
                true => {
                    out.row(&json!({ "file": file, "to": row.get("to"), "peers": peers, "access": count("access") }))?
                }
                false => out.text(&format!("{sealed}, to {}", file.display()))?,
            }
        }
    }
    if args.file.is_none() {
        out.say(&sealed);
    }
    answer.finish(out, true)
}

fn count_of(n: u64, what: &str) -> String {
    if n == 1 { format!("one {what}") } else { format!("{n} {what}s") }
}

fn import(globals: &Globals, out: &Out, args: PeersImport) -> Result<(), Exit> {
    let absolute = std::path::absolute(&args.file)
        .map_err(|e| Exit::new(exit::CONFIG, format!("cannot use {}: {e}", args.file.display())))?;
    let request = Request::PeersImport { file: absolute, from: args.from, with_access: args.with_access };
    let answer = ask(globals, out, &request)?;
    if let Some(about) = answer.rows.first() {
        let access = about.get("access").and_then(Value::as_u64);
        let told = match (access, args.with_access) {
            (Some(_), true) => {
                let allowed = answer.rows.iter().filter(|row| table::text(row, "outcome") == "allowed").count();
                format!("the allowlist and grants of {} were taken over", count_of(allowed as u64, "key"))
            }
            (Some(n), false) => {
                format!(
                    "the allowlist and grants of {} were left out; --with-access takes them over",
                    count_of(n, "key")
                )
            }
            (None, true) => "the file has no allowlist and no grants".to_owned(),
            (None, false) => String::new(),
        };
        if !told.is_empty() {
            out.say(&told);
        }
    }
    let rows = answer.rows.iter().skip(1);
    if !out.json() {
        for row in rows.filter(|row| table::failure(row).is_none()) {
            out.text(&format!("{} {}", table::text(row, "outcome"), table::safe(label(row))))?;
        }
    }
    answer.finish(out, true)
}

fn shown_name(row: &Value) -> String {
    let name = table::text(row, "name");
    table::safe(if name.is_empty() { table::text(row, "id") } else { name })
}

pub(crate) fn ping(globals: &Globals, out: &Out, args: Ping) -> Result<(), Exit> {
    let request = Request::Ping { rigs: rigs(args.rigs, args.all)? };
    ask(globals, out, &request)?.show(out, |row| {
        let ms = table::millis(row.get("round_trip_ms").and_then(Value::as_f64));
        format!("{}: {ms}", table::safe(label(row)))
    })
}

pub(crate) fn status(globals: &Globals, out: &Out, args: Status) -> Result<(), Exit> {
    // The daemon lets a connection go that asks nothing for a minute.
    if !(1..=60).contains(&args.timeout) || !(1..=50).contains(&args.every) {
        return Err(Exit::usage("--timeout takes 1 to 60 seconds, --every 1 to 50"));
    }
    let all = args.all || args.rigs.is_empty();
    let request = Request::Status { rigs: rigs(args.rigs, all)?, timeout_ms: args.timeout.saturating_mul(1000) };
    if !args.watch {
        let answer = ask(globals, out, &request)?;
        if !out.json() {
            out.text(&table::status(&answer.rows, out.colour()))?;
        }
        return answer.finish(out, false);
    }
    // Until a signal ends it: a node of our own ends with the process, a daemon notices that we are gone.
    let mut backend = Backend::open(globals, &request)?;
    loop {
        let answer = ask_over(&mut backend, out, &request)?;
        if !out.json() {
            out.clear()?;
            out.text(&table::status(&answer.rows, out.colour()))?;
        }
        std::thread::sleep(Duration::from_secs(args.every));
    }
}

pub(crate) fn start(globals: &Globals, out: &Out, args: Start) -> Result<(), Exit> {
    let rigs = rigs(args.rigs, args.all)?;
    let config = args.config.as_deref().map(read_json).transpose()?;
    let (miner_type, config) = match (args.kind, &args.profile, config) {
        (Some(kind), None, None) if kind == "sha256d" => (kind, Some(Value::Object(Default::default()))),
        (Some(kind), None, None) => {
            return Err(Exit::usage(format!("starting {kind} needs a --profile of the rig or a --config of yours")));
        }
        (Some(kind), _, config) => (kind, config),
        (None, None, config) => {
            ("sha256d".to_owned(), Some(config.unwrap_or_else(|| Value::Object(Default::default()))))
        }
        (None, Some(_), _) => {
            return Err(Exit::usage("name the profile's miner type too: --type sha256d, xmrig or command"));
        }
    };
    let request = Request::Start { rigs, miner_type, profile: args.profile, config };
    ask(globals, out, &request)?
        .show(out, |row| format!("{}: started {}", table::safe(label(row)), table::safe(table::text(row, "miner"))))
}

pub(crate) fn stop(globals: &Globals, out: &Out, args: Stop) -> Result<(), Exit> {
    if args.miner.is_some() && args.all_miners {
        return Err(Exit::usage("give --miner or --all-miners, not both"));
    }
    let request = Request::Stop { rigs: rigs(args.rigs, args.all)?, miner: args.miner, all_miners: args.all_miners };
    ask(globals, out, &request)?
        .show(out, |row| format!("{}: stopped {}", table::safe(label(row)), table::safe(table::text(row, "miner"))))
}

pub(crate) fn pause(
    globals: &Globals,
    out: &Out,
    named: Vec<String>,
    all: bool,
    miner: Option<String>,
    resume: bool,
) -> Result<(), Exit> {
    let request = Request::Pause { rigs: rigs(named, all)?, miner, resume };
    let done = if resume { "resumed" } else { "paused" };
    ask(globals, out, &request)?.show(out, |row| {
        let miners = table::text(row, "miners");
        let miners = if miners.is_empty() { "the rig, where no miner was started" } else { miners };
        format!("{}: {done} {}", table::safe(label(row)), table::safe(miners))
    })
}

pub(crate) fn logs(globals: &Globals, out: &Out, args: Logs) -> Result<(), Exit> {
    if !(1..=10_000).contains(&args.lines) {
        return Err(Exit::usage("-n takes 1 to 10000"));
    }
    let since_ms = args.since.as_deref().map(|text| since(text, now_ms())).transpose()?;
    let request = Request::Logs { rigs: rigs(args.rigs, args.all)?, miner: args.miner, lines: args.lines, since_ms };
    let answer = ask(globals, out, &request)?;
    let many = answer.rows.len() > 1;
    answer.show(out, |row| {
        let head = if many { format!("{} {}: ", label(row), table::text(row, "miner")) } else { String::new() };
        let lines = row.get("lines").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let text: Vec<String> = lines.map(|line| table::safe(&format!("{head}{line}"))).collect();
        text.join("\n")
    })
}

pub(crate) fn profiles(globals: &Globals, out: &Out, command: ProfilesCommand) -> Result<(), Exit> {
    match command {
        ProfilesCommand::List(_) => {
            let answer = ask(globals, out, &Request::Profiles {})?;
            if !out.json() {
                out.text(&table::profiles(&answer.rows, out.colour()))?;
            }
            answer.finish(out, true)
        }
        ProfilesCommand::Put(args) => {
            let bytes = read_file(&args.file)?;
            let profile = parse_profile(&bytes)
                .map_err(|e| Exit::new(exit::CONFIG, format!("{}: {e}; nothing was stored", args.file.display())))?;
            ask(globals, out, &Request::ProfilePut { profile })?
                .show(out, |row| format!("stored {}", table::text(row, "id")))
        }
        ProfilesCommand::Remove(args) => ask(globals, out, &Request::ProfileRemove { id: args.id })?
            .show(out, |row| format!("removed {}", table::text(row, "id"))),
    }
}

/// A whole small file, or standard input.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Exit> {
    let wrong = |e: &std::io::Error| Exit::new(exit::CONFIG, format!("cannot read {}: {e}", path.display()));
    let mut bytes = Vec::new();
    // One byte more than is allowed shows that it is too much.
    let max = PROFILE_BYTES_MAX as u64 + 1;
    let read = if path == Path::new(STDIN) {
        std::io::stdin().lock().take(max).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).map_err(|e| wrong(&e))?.take(max).read_to_end(&mut bytes)
    };
    read.map(|_| bytes).map_err(|e| wrong(&e))
}

fn read_json(path: &Path) -> Result<Value, Exit> {
    let bytes = read_file(path)?;
    let wrong = |why: String| Exit::new(exit::CONFIG, format!("{}: {why}", path.display()));
    if bytes.len() > PROFILE_BYTES_MAX {
        return Err(wrong(format!("larger than {PROFILE_BYTES_MAX} bytes")));
    }
    let text = rigmesh::base::check_json("config", &bytes).map_err(|e| wrong(e.to_string()))?;
    // Where it is wrong, and not what stands there: that may be a wallet.
    serde_json::from_str(text).map_err(|e| wrong(format!("no JSON (line {}, column {})", e.line(), e.column())))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// `90s`, `10m`, `2h`, `1d` ago, or an RFC 3339 time, as Unix milliseconds.
fn since(text: &str, now_ms: i64) -> Result<i64, Exit> {
    if let Ok(time) = Timestamp::parse(text) {
        return Ok(time.unix_millis());
    }
    let wrong = || Exit::usage(format!("--since {text:?} is no time: use 90s, 10m, 2h, 1d or 2026-01-31T12:00:00Z"));
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u32 = text.strip_suffix(unit).and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
    Ok(now_ms.saturating_sub(i64::from(count) * seconds * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_an_age_or_a_time() {
        assert_eq!(since("90s", 100_000).unwrap(), 10_000);
        assert_eq!(since("1d", 86_400_000).unwrap(), 0);
        assert_eq!(since("1970-01-01T00:00:01Z", 0).unwrap(), 1000);
        for wrong in ["", "m", "10", "-5m", "10y", "yesterday", "é"] {
            assert_eq!(since(wrong, 0).unwrap_err().code, exit::USAGE, "{wrong}");
        }
    }

    #[test]
    fn rigs_are_named_or_all_of_them() {
        assert!(rigs(vec![], false).is_err() && rigs(vec!["a".into()], true).is_err());
        assert_eq!(rigs(vec![], true).unwrap(), Rigs::all());
        assert_eq!(rigs(vec!["a".into()], false).unwrap(), Rigs::named(["a"]));
    }
}
