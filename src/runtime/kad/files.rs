//! What a DHT node keeps on disk: whom it met (`seen_peers`), where to begin next time (`peers.cache`), and table and
//! records, so that a node that starts again serves at once.
//!
//! A file is replaced as a whole or not at all. What is slow about it happens on a thread of its own (`kad/s`), one write
//! at a time. A snapshot that cannot be read, or is another node's, is put aside and never written over.

use crate::base::{Error, Now, Result, Time};
use crate::kad::{
    Machine, PEERS_CACHE_MAX, SEEN_PEERS_MAX, SNAPSHOT_BYTES_MAX, Snapshot, decode_peers_cache, decode_seen_peers,
    encode_peers_cache, encode_seen_peers,
};
use crate::runtime::files::atomic;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// How often `seen_peers` is written (dht.md §14.3).
const SEEN_EVERY: Duration = Duration::from_secs(3600);
/// The longest `seen_peers` that is read: no entry has more than 86 bytes.
const SEEN_BYTES_MAX: usize = 8 << 20;
/// The longest `peers.cache` that is read.
const CACHE_BYTES_MAX: usize = 64 << 10;
/// All are the owner's alone.
const MODE: u32 = 0o600;

/// Where a DHT node keeps what; a file that is not named is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Nodes that were in direct contact: written every hour and at the end (dht.md §14.3).
    pub seen_peers: Option<PathBuf>,
    /// At most 64 addresses to begin with: written with the snapshot (dht.md §14.2).
    pub peers_cache: Option<PathBuf>,
    /// The routing table and the records held, in a form of our own.
    pub snapshot: Option<PathBuf>,
}

impl Files {
    /// All of them in one folder.
    pub fn in_folder(folder: &Path) -> Files {
        let file = |name| Some(folder.join(name));
        Files { seen_peers: file("seen_peers"), peers_cache: file("peers.cache"), snapshot: file("dht.snapshot") }
    }
}

/// What was written last.
#[derive(Debug, Default)]
struct Written {
    snapshot: Option<[u8; 32]>,
    cache: Option<String>,
}

/// What is to be written.
struct Batch {
    seen: Option<(PathBuf, String)>,
    cache: Option<(PathBuf, String)>,
    snapshot: Option<(PathBuf, Snapshot)>,
}

/// Keeps the files of one node.
#[derive(Debug)]
pub(super) struct Keeper {
    files: Files,
    every: Duration,
    next: Time,
    next_seen: Time,
    written: Arc<Mutex<Written>>,
    writer: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Gives the machine what an earlier run left. The addresses to begin with.
    ///
    /// # Errors
    /// A snapshot that is there and may not be read, or cannot be put aside.
    pub(super) fn open(
        files: Files,
        every: Duration,
        machine: &mut Machine,
        now: Now,
    ) -> Result<(Keeper, Vec<SocketAddr>)> {
        if let Some(path) = &files.seen_peers {
            let read =
                atomic::read(path, SEEN_BYTES_MAX).map(|bytes| bytes.map(|b| String::from_utf8_lossy(&b).into_owned()));
            match read {
                Ok(Some(text)) => machine.restore_seen(decode_seen_peers(&text, now.wall, SEEN_PEERS_MAX)),
                Ok(None) => {}
                Err(e) => log::warn!(target: "dht", "the nodes met before are forgotten: {e}"),
            }
        }
        let cached = files.peers_cache.as_deref().map(cached_peers).unwrap_or_default();
        if let Some(path) = &files.snapshot {
            restore(path, machine, now)?;
        }
        // What is not kept is never due.
        let first = |kept: bool, every| if kept { now.mono + every } else { now.mono + Duration::MAX };
        let next = first(files.snapshot.is_some() || files.peers_cache.is_some(), every);
        let next_seen = first(files.seen_peers.is_some(), SEEN_EVERY);
        Ok((Keeper { files, every, next, next_seen, written: Arc::default(), writer: None }, cached))
    }

    pub(super) fn poll_timeout(&self) -> Time {
        self.next.min(self.next_seen)
    }

    /// Writes what is due.
    pub(super) fn handle_timeout(&mut self, now: Now, machine: &Machine) {
        if now.mono < self.poll_timeout() {
            return;
        }
        if self.writer.as_ref().is_some_and(|writer| !writer.is_finished()) {
            // The disk is slow; what is there then is written then.
            self.next = self.next.max(now.mono + Duration::from_secs(1));
            self.next_seen = self.next_seen.max(now.mono + Duration::from_secs(1));
            return;
        }
        self.join();
        let (seen, rest) = (self.next_seen <= now.mono, self.next <= now.mono);
        if seen {
            self.next_seen = now.mono + SEEN_EVERY;
        }
        if rest {
            self.next = now.mono + self.every;
        }
        let batch = self.batch(now, machine, seen, rest);
        if batch.is_empty() {
            return;
        }
        let written = self.written.clone();
        match Builder::new().name("kad/s".to_owned()).spawn(move || batch.write(&written)) {
            Ok(writer) => self.writer = Some(writer),
            Err(e) => log::warn!(target: "dht", "cannot start the thread kad/s: {e}"),
        }
    }

    /// Writes everything, for the last time.
    pub(super) fn finish(&mut self, now: Now, machine: &Machine) {
        self.join();
        self.batch(now, machine, true, true).write(&self.written);
    }

    fn join(&mut self) {
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            log::error!(target: "dht", "the thread kad/s panicked");
        }
    }

    fn batch(&self, now: Now, machine: &Machine, seen: bool, rest: bool) -> Batch {
        let path = |path: &Option<PathBuf>, due: bool| path.clone().filter(|_| due);
        // Who knows nobody now still knows whom it knew.
        let cache = path(&self.files.peers_cache, rest).and_then(|path| {
            let peers = machine.bootstrap_candidates(PEERS_CACHE_MAX);
            encode_peers_cache(&peers).ok().filter(|_| !peers.is_empty()).map(|text| (path, text))
        });
        Batch {
            seen: path(&self.files.seen_peers, seen).map(|path| (path, encode_seen_peers(&machine.seen(), now.wall))),
            cache,
            snapshot: path(&self.files.snapshot, rest)
                .map(|path| (path, Snapshot::take(now, machine.table(), machine.store()))),
        }
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.seen.is_none() && self.cache.is_none() && self.snapshot.is_none()
    }

    fn write(self, written: &Mutex<Written>) {
        let mut written = written.lock();
        let warn = |e: Error| log::warn!(target: "dht", "not saved: {e}");
        if let Some((path, text)) = self.seen {
            let _ = atomic::write(&path, text.as_bytes(), MODE).map_err(warn);
        }
        if let Some((path, text)) = self.cache
            && written.cache.as_ref() != Some(&text)
        {
            written.cache = atomic::write(&path, text.as_bytes(), MODE).map_err(warn).ok().map(|()| text);
        }
        if let Some((path, snapshot)) = self.snapshot {
            let bytes = snapshot.encode();
            let hash = Some(Sha256::digest(&bytes).into());
            if written.snapshot != hash {
                written.snapshot = atomic::write(&path, &bytes, MODE).map_err(warn).ok().and(hash);
            }
        }
    }
}

/// The addresses in `peers.cache`; none when there is no such file, or one that is none.
pub(crate) fn cached_peers(path: &Path) -> Vec<SocketAddr> {
    match atomic::read(path, CACHE_BYTES_MAX).and_then(|bytes| bytes.map_or(Ok(Vec::new()), |b| decode_peers_cache(&b)))
    {
        Ok(peers) => peers,
        Err(e) => {
            log::warn!(target: "dht", "{} is not used: {e}", path.display());
            Vec::new()
        }
    }
}

fn restore(path: &Path, machine: &mut Machine, now: Now) -> Result<()> {
    let read = match atomic::read(path, SNAPSHOT_BYTES_MAX) {
        Ok(None) => return Ok(()),
        Ok(Some(bytes)) => Snapshot::decode(&bytes).map_err(|e| e.to_string()),
        Err(e @ Error::Malformed { .. }) => Err(e.to_string()),
        Err(e) => return Err(e),
    };
    let why = match read {
        Ok(snapshot) if snapshot.own == machine.id() => {
            let (nodes, records) = machine.restore(now, snapshot);
            log::info!(target: "dht", nodes, records; "what the last run knew is back");
            return Ok(());
        }
        Ok(_) => "it is another node's".to_owned(),
        Err(why) => why,
    };
    let aside = aside(path, now);
    std::fs::rename(path, &aside).map_err(|e| Error::io(format!("cannot put aside {}", path.display()), &e))?;
    log::warn!(target: "dht", "{} is not used and now named {}: {why}", path.display(), aside.display());
    Ok(())
}

/// A name beside `path` that nothing has.
fn aside(path: &Path, now: Now) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let names = (0u32..1000).map(|n| path.with_file_name(format!("{name}.broken-{}-{n}", now.wall.unix_seconds())));
    let free = names.into_iter().find(|name| !name.exists());
    free.unwrap_or_else(|| path.with_file_name(format!("{name}.broken")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Rng, Timestamp};
    use crate::identity::{Address, SignKey};
    use crate::kad::{Authority, NodeInfo, Policy, SignedRecord, Source, Stamp};
    use std::os::unix::fs::PermissionsExt as _;

    fn now(seconds: i64) -> Now {
        let mono = Time::from_millis(u64::try_from(seconds).unwrap() * 1000);
        Now { mono, wall: Timestamp::from_unix(1_750_000_000 + seconds, 0) }
    }

    fn machine(seed: u8) -> Machine {
        let key = SignKey::from_seed(&[seed; 32]);
        Machine::new(key, Policy::default(), Authority::BuiltIn, now(0), Rng::from_number(seed.into()))
    }

    fn filled() -> Machine {
        let mut machine = machine(1);
        let peer =
            NodeInfo::new(Address::of_ed25519(&SignKey::from_seed(&[9; 32]).public()), ([127, 0, 0, 1], 9).into());
        machine.add_contact(now(0), peer);
        let stamp = Stamp { seq: 1, timestamp: 1_750_000_000, ttl_s: 3600 };
        let record = SignedRecord::sign(&SignKey::from_seed(&[3; 32]), 2, vec![1], stamp).unwrap();
        machine.store_mut().put(now(0), None, record, Source::Own).unwrap();
        machine
    }

    #[test]
    fn what_is_saved_comes_back_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::in_folder(&dir.path().join("dht"));
        let mut machine_one = filled();
        let (mut keeper, cached) =
            Keeper::open(files.clone(), Duration::from_secs(300), &mut machine_one, now(0)).unwrap();
        assert!(cached.is_empty());
        assert_eq!(keeper.poll_timeout(), Time::from_millis(300_000));
        keeper.handle_timeout(now(299), &machine_one);
        assert!(keeper.writer.is_none());
        keeper.handle_timeout(now(300), &machine_one);
        keeper.join();
        // No shutdown: what the timer wrote is enough.
        let mut again = machine(1);
        let (_, cached) = Keeper::open(files.clone(), Duration::from_secs(300), &mut again, now(301)).unwrap();
        assert_eq!((again.table().len(), again.store().len()), (1, 1));
        assert_eq!(cached, ["127.0.0.1:9".parse().unwrap()]);
        keeper.finish(now(302), &machine_one);
        for path in [files.seen_peers, files.peers_cache, files.snapshot].into_iter().flatten() {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
        }
    }

    #[test]
    fn what_is_not_kept_is_never_due() {
        let never = Duration::from_secs(1 << 40);
        for files in [Files::default(), Files { peers_cache: Some("/nowhere/peers.cache".into()), ..Files::default() }]
        {
            let (mut machine, is_kept) = (machine(1), files.peers_cache.is_some());
            let (mut keeper, _) = Keeper::open(files, Duration::from_secs(300), &mut machine, now(0)).unwrap();
            assert_eq!(keeper.poll_timeout() > Time::ZERO + never, !is_kept);
            keeper.handle_timeout(now(300), &machine);
            // It knows nobody: there is nothing to write, and no thread for it.
            assert!(keeper.writer.is_none());
        }
    }

    #[test]
    fn a_broken_snapshot_and_anothers_are_put_aside_and_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dht.snapshot");
        let files = Files { snapshot: Some(path.clone()), ..Files::default() };
        let open =
            |machine: &mut Machine| Keeper::open(files.clone(), Duration::from_secs(300), machine, now(0)).unwrap();
        std::fs::write(&path, b"not a snapshot").unwrap();
        let mut filled = filled();
        open(&mut filled).0.finish(now(1), &filled);
        // Another node's.
        let mut other = machine(2);
        open(&mut other).0.finish(now(1), &other);
        assert!(other.store().is_empty());
        let aside: Vec<Vec<u8>> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|p| *p != path)
            .map(|p| std::fs::read(p).unwrap())
            .collect();
        assert_eq!(aside.len(), 2);
        assert!(aside.iter().any(|bytes| bytes == b"not a snapshot"));
        assert!(aside.iter().any(|bytes| Snapshot::decode(bytes).is_ok_and(|s| s.own == filled.id())));
    }

    #[test]
    fn a_node_that_lost_everybody_keeps_the_addresses_it_had() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.cache");
        std::fs::write(&path, r#"{"peers": ["192.0.2.1:4121"]}"#).unwrap();
        let files = Files { peers_cache: Some(path.clone()), ..Files::default() };
        let mut lonely = machine(1);
        let (mut keeper, cached) = Keeper::open(files, Duration::from_secs(300), &mut lonely, now(0)).unwrap();
        assert_eq!(cached, ["192.0.2.1:4121".parse().unwrap()]);
        keeper.finish(now(1), &lonely);
        assert_eq!(cached_peers(&path), cached);
        std::fs::write(&path, "x").unwrap();
        assert!(cached_peers(&path).is_empty());
    }
}
