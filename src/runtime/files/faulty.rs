//! A disk for crash tests: it fails or stops at the n-th change, and can lose what was not made durable.

use super::disk::{Change, Disk, Gate};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What happens at the n-th change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails with this kind, half of a write done; everything later works.
    Fails(ErrorKind),
    /// It and everything later fails, as if the process had been killed: half of a write is done.
    Stops,
    /// As [`Fault::Stops`], and [`FaultyDisk::cut_power`] then takes away what was not made durable.
    PowerCut,
}

/// What a power cut may undo.
enum Loose {
    /// With the content that is durable.
    Content(PathBuf, Vec<u8>),
    Made(PathBuf),
    Renamed {
        from: PathBuf,
        to: PathBuf,
        replaced: Option<(Vec<u8>, fs::Permissions)>,
    },
}

impl Loose {
    /// What lies at or below `from` is at `to` now.
    fn follow(&mut self, from: &Path, to: &Path) {
        if let Loose::Content(p, _) | Loose::Made(p) = self
            && let Ok(rest) = p.strip_prefix(from)
        {
            // Joining an empty rest would add a slash.
            *p = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
        }
    }
}

#[derive(Default)]
struct Inner {
    changes: u64,
    fault: Option<(u64, Fault)>,
    free: Option<u64>,
    loose: Vec<Loose>,
}

/// The gate that does it.
#[derive(Clone, Default)]
pub(crate) struct FaultyDisk(Arc<Mutex<Inner>>);

impl FaultyDisk {
    /// A disk that works and counts.
    pub(crate) fn new() -> FaultyDisk {
        FaultyDisk::default()
    }

    /// A disk with a fault at change `n`, counted from 0.
    pub(crate) fn with_fault(n: u64, fault: Fault) -> FaultyDisk {
        let faulty = FaultyDisk::default();
        faulty.0.lock().fault = Some((n, fault));
        faulty
    }

    /// The disk to hand in.
    pub(crate) fn disk(&self) -> Disk {
        Disk::behind(Arc::new(self.clone()))
    }

    /// Changes asked for so far.
    pub(crate) fn changes(&self) -> u64 {
        self.0.lock().changes
    }

    /// Whether the fault has happened.
    pub(crate) fn has_struck(&self) -> bool {
        let inner = self.0.lock();
        inner.fault.is_some_and(|(n, _)| inner.changes > n)
    }

    /// Pretends this much free space.
    pub(crate) fn set_free_bytes(&self, free: u64) {
        self.0.lock().free = Some(free);
    }

    /// Undoes what was not made durable, newest first: changed content becomes zeros, new names vanish, renames are
    /// taken back. (Real disks may keep any part of it; this is the worst.)
    pub(crate) fn cut_power(&self) {
        let mut loose = std::mem::take(&mut self.0.lock().loose);
        while let Some(change) = loose.pop() {
            match change {
                Loose::Content(path, durable) => {
                    if let Ok(mut bytes) = fs::read(&path) {
                        let lost = |(i, byte): (usize, &mut u8)| *byte *= u8::from(durable.get(i) == Some(byte));
                        bytes.iter_mut().enumerate().for_each(lost);
                        fs::write(&path, bytes).unwrap();
                    }
                }
                Loose::Made(path) if path.is_dir() => fs::remove_dir_all(&path).unwrap(),
                Loose::Made(path) => drop(fs::remove_file(&path)),
                Loose::Renamed { from, to, replaced } => {
                    if fs::rename(&to, &from).is_ok() {
                        if let Some((bytes, mode)) = replaced {
                            fs::write(&to, bytes).unwrap();
                            fs::set_permissions(&to, mode).unwrap();
                        }
                        loose.iter_mut().for_each(|older| older.follow(&to, &from));
                    }
                }
            }
        }
    }
}

impl Inner {
    fn note(&mut self, change: Change<'_>) {
        match change {
            Change::Folder(path) | Change::File(path) => self.loose.push(Loose::Made(path.to_owned())),
            Change::Write(path, ..) | Change::Size(path) => {
                if !self.loose.iter().any(|l| matches!(l, Loose::Content(p, _) if p == path)) {
                    self.loose.push(Loose::Content(path.to_owned(), fs::read(path).unwrap_or_default()));
                }
            }
            Change::Mode => {}
            Change::Sync(path) => self.loose.retain(|loose| match loose {
                Loose::Content(p, _) => p != path,
                Loose::Made(p) => p.parent() != Some(path),
                Loose::Renamed { to, .. } => to.parent() != Some(path),
            }),
            Change::Rename(from, to) => {
                self.loose.iter_mut().for_each(|older| older.follow(from, to));
                let replaced = fs::read(to).ok().zip(fs::metadata(to).ok().map(|meta| meta.permissions()));
                self.loose.push(Loose::Renamed { from: from.to_owned(), to: to.to_owned(), replaced });
            }
            Change::Remove(path) => {
                self.loose.retain(|l| !matches!(l, Loose::Content(p, _) | Loose::Made(p) if p.starts_with(path)));
            }
        }
    }
}

impl Gate for FaultyDisk {
    fn pass(&self, change: Change<'_>) -> std::io::Result<()> {
        let mut inner = self.0.lock();
        let n = inner.changes;
        inner.changes += 1;
        let error = match inner.fault {
            Some((at, Fault::Fails(kind))) if n == at => Error::from(kind),
            Some((at, Fault::Stops | Fault::PowerCut)) if n >= at => Error::other("the disk has stopped"),
            _ => {
                inner.note(change);
                return Ok(());
            }
        };
        if let (Change::Write(path, offset, bytes), Some((at, _))) = (change, inner.fault)
            && n == at
        {
            let file = fs::OpenOptions::new().write(true).open(path)?;
            file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
        }
        Err(error)
    }

    fn free_bytes(&self) -> Option<u64> {
        self.0.lock().free
    }
}

/// Every file below a folder with its mode and content, links as `-> target`: to compare trees.
pub(crate) fn snapshot(root: &Path) -> BTreeSet<(String, u32, Vec<u8>)> {
    use std::os::unix::fs::PermissionsExt as _;
    let (mut found, mut folders) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let meta = fs::symlink_metadata(&path).unwrap();
            let mode = meta.permissions().mode() & 0o7777;
            if meta.is_dir() {
                found.insert((name + "/", mode, Vec::new()));
                folders.push(path);
            } else if meta.is_file() {
                found.insert((name, mode, fs::read(&path).unwrap()));
            } else {
                found.insert((format!("{name} -> {:?}", fs::read_link(&path)), mode, Vec::new()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Error;
    use crate::runtime::files::tree::{Content, TreeFile, write_tree};

    fn write(disk: &Disk, parent: &Path) -> crate::base::Result<()> {
        let file = |path, bytes| {
            Ok::<_, Error>(TreeFile { path, executable: true, content: Content::Bytes(bytes), sha256: None })
        };
        write_tree(disk, parent, ".new-x", "tree", [file("bin/x", b"content".as_slice()), file("y", b"more")])
    }

    #[test]
    fn at_every_fault_a_tree_is_complete_or_absent() {
        let whole = tempfile::tempdir().unwrap();
        let counter = FaultyDisk::new();
        write(&counter.disk(), whole.path()).unwrap();
        let (whole, changes) = (snapshot(whole.path()), counter.changes());
        assert!(changes > 10);
        for n in 0..changes {
            for fault in [Fault::Fails(ErrorKind::StorageFull), Fault::Stops, Fault::PowerCut] {
                let dir = tempfile::tempdir().unwrap();
                let faulty = FaultyDisk::with_fault(n, fault);
                assert!(write(&faulty.disk(), dir.path()).is_err(), "{fault:?} at {n}");
                assert!(faulty.has_struck());
                if fault == Fault::PowerCut {
                    faulty.cut_power();
                }
                let left = snapshot(dir.path());
                if matches!(fault, Fault::Fails(_)) {
                    assert!(left.is_empty(), "{fault:?} at {n}: {left:?}");
                }
                let tree = left.iter().any(|(name, ..)| name.starts_with("tree"));
                assert!(!tree || left == whole, "{fault:?} at {n}: {left:?}");
            }
        }
    }

    #[test]
    fn a_replaced_file_is_the_old_or_the_new_one() {
        for n in 0..20 {
            for fault in [Fault::Fails(ErrorKind::Other), Fault::Stops, Fault::PowerCut] {
                let dir = tempfile::tempdir().unwrap();
                fs::write(dir.path().join("f"), "old").unwrap();
                let faulty = FaultyDisk::with_fault(n, fault);
                let done = faulty.disk().folder(dir.path()).and_then(|folder| folder.replace("f", b"new"));
                if fault == Fault::PowerCut {
                    faulty.cut_power();
                }
                let content = fs::read(dir.path().join("f")).unwrap();
                assert!(content == b"old" || content == b"new", "{fault:?} at {n}");
                assert!(done.is_err() || content == b"new", "{fault:?} at {n}");
            }
        }
    }
}
