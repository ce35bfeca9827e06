//! The versions of every miner, side by side: install, switch, go back, keep the newest few.

use super::DepotLimits;
use super::record::{FileRecord, Hash, Note, POINTER, POINTER_BYTES_MAX, Pointer, RECORD, RECORD_BYTES_MAX, Record};
use crate::base::{Error, Refusal, Result, Timestamp};
use crate::bundle::{ObjectId, ObjectManifest, check_object_name};
use crate::miners::trial::TrialRecord;
use crate::runtime::files::disk::{Disk, DiskFile, Folder, Kind};
use crate::runtime::files::tree::{Content, TreeFile, TreeWriter};
use parking_lot::{Mutex, MutexGuard};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most slots of a rig.
const SLOTS_MAX: usize = 256;
/// Most files of a version.
const FILES_MAX: usize = 4096;
/// Bytes hashed at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// The slots of a data folder. One process owns the folder and has one of these; it is shared by what
/// installs, what switches and what runs the miners.
pub struct Slots {
    root: Folder,
    limits: DepotLimits,
    /// Held while something is switched or removed. Never while files are copied.
    work: Mutex<()>,
    /// A leaf, held for a moment.
    state: Mutex<BTreeMap<String, Slot>>,
}

struct Slot {
    folder: Arc<Folder>,
    versions: BTreeMap<u32, Arc<Record>>,
    /// The highest number ever given, so that none is given twice.
    highest: u32,
    pointer: Pointer,
}

/// One file to be installed.
#[derive(Clone, Copy, Debug)]
pub struct SlotFile<'a> {
    /// Plain components joined by `/`.
    pub path: &'a str,
    /// Whether it gets mode 0755 instead of 0644; the main file always does.
    pub executable: bool,
    /// Its content.
    pub bytes: &'a [u8],
}

/// How a version stands.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// Nothing is known against it.
    Ok,
    /// It is current and has not proved itself yet.
    Trial,
    /// The rig went back from it by itself.
    RolledBack {
        /// What was wrong with it.
        why: String,
    },
    /// It did not prove itself and is still current, because there is nothing to go back to.
    Failed {
        /// What was wrong with it.
        why: String,
    },
}

/// One installed version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotVersion {
    /// The slot: the miner's name.
    pub name: String,
    /// Its number in the slot; 1 is the first.
    pub number: u32,
    /// The version as its maker calls it.
    pub version: String,
    /// All files, in bytes.
    pub size: u64,
    /// What it was deployed as; `None` for what came in a bundle.
    pub object: Option<ObjectId>,
    /// When it was installed.
    pub installed: Timestamp,
    /// Whether it is the one that runs.
    pub current: bool,
    /// How it stands.
    pub state: VersionState,
}

/// What a slot runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotProgram {
    /// Which version.
    pub(crate) number: u32,
    /// The absolute path of its main file.
    pub(crate) main: PathBuf,
    /// The version as its maker calls it.
    pub(crate) label: String,
}

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slots").field("folder", &self.root.path()).finish_non_exhaustive()
    }
}

impl Slots {
    /// The slots below a data folder, which the caller owns. What a crash left half done is removed; a slot that cannot be
    /// read is logged and left alone; a pointer that cannot be understood is put aside, and the newest whole
    /// version is current, on trial.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder itself cannot be read or made.
    pub fn open(data_dir: &Path, limits: &DepotLimits) -> Result<Slots> {
        Slots::open_on(data_dir, limits, &Disk::real())
    }

    pub(crate) fn open_on(data_dir: &Path, limits: &DepotLimits, disk: &Disk) -> Result<Slots> {
        // Miners are started in other folders.
        let data_dir = std::path::absolute(data_dir)
            .map_err(|e| Error::io(format!("cannot make {} absolute", data_dir.display()), &e))?;
        let root = disk.folder(&data_dir)?.open_or_create("slots")?;
        let mut slots = BTreeMap::new();
        for (name, kind) in root.entries()? {
            if kind != Kind::Folder || check_object_name(&name).is_err() || slots.len() == SLOTS_MAX {
                log::warn!(target: "deploy", name = name.as_str(); "ignoring what is no slot");
                continue;
            }
            match open_slot(&root, &name) {
                Ok(slot) => drop(slots.insert(name, slot)),
                Err(e) => log::error!(target: "deploy", slot = name.as_str(), error:% = e; "a slot cannot be read"),
            }
        }
        Ok(Slots { root, limits: limits.clone(), work: Mutex::new(()), state: slots.into() })
    }

    /// Installs the files of a bundle as the next version of a slot, without switching to it. When the
    /// newest version has the very same files, that one's number is returned and nothing is written.
    ///
    /// # Errors
    /// [`Error::Malformed`] for names and paths that are not plain; [`Error::Rejected`] for the limits; [`Error::Io`].
    pub fn install_files(
        &self,
        name: &str,
        version: &str,
        main: &str,
        files: &[SlotFile<'_>],
        now: Timestamp,
    ) -> Result<u32> {
        if version.is_empty() || version.len() > 64 || !version.bytes().all(|c| c.is_ascii_graphic()) {
            return Err(Error::malformed("version", "must be 1 to 64 printable ASCII characters"));
        }
        if files.len() > FILES_MAX {
            return Err(Refusal::Limit(format!("{FILES_MAX} files of a version")).into());
        }
        let recorded = |file: &SlotFile<'_>| FileRecord {
            path: file.path.to_owned(),
            size: u64::try_from(file.bytes.len()).unwrap_or(u64::MAX),
            exec: file.executable || file.path == main,
            sha256: Hash(Sha256::digest(file.bytes).into()),
        };
        let files_recorded: Vec<FileRecord> = files.iter().map(recorded).collect();
        if files.iter().all(|file| file.path != main) {
            return Err(Error::malformed("main file", "not one of the files"));
        }
        let size = files_recorded.iter().fold(0u64, |sum, file| sum.saturating_add(file.size));
        let (name, version, main) = (name.to_owned(), version.to_owned(), main.to_owned());
        let record = Record { object: None, name, version, main, size, installed: now, files: files_recorded };
        if let Some(n) = self.newest_with(&record) {
            return Ok(n);
        }
        if let Err((need, free)) = self.room_for(size) {
            return Err(Refusal::Limit(format!("the space for installed miners: need {need}, free {free}")).into());
        }
        self.install(record, |tree, record| {
            files.iter().zip(&record.files).try_for_each(|(file, record)| {
                let content = Content::Bytes(file.bytes);
                tree.add(TreeFile { path: file.path, executable: record.exec, content, sha256: None })
            })
        })
    }

    /// Installs an object whose bytes all lie in `data`, which is the file of that name in `folder`.
    pub(super) fn install_object(
        &self,
        manifest: &ObjectManifest,
        (folder, name, data): (&Folder, &str, &DiskFile),
        now: Timestamp,
    ) -> Result<u32> {
        self.install(Record::of_object(manifest, now), |tree, _| {
            if let [file] = manifest.files() {
                // One file needs its room only once: `data` is that file.
                if hash(data.range(0, file.size))? != file.sha256 || data.size()? != file.size {
                    return Err(Error::malformed("file content", format!("the hash of {} does not fit", file.path)));
                }
                if tree.add_link(&file.path, file.executable, data, (folder, name))? {
                    return Ok(());
                }
            }
            manifest.files().iter().try_for_each(|file| {
                tree.add(TreeFile {
                    path: &file.path,
                    executable: file.executable,
                    content: Content::Reader(&mut data.range(file.start, file.size)),
                    sha256: Some(file.sha256),
                })
            })
        })
    }

    /// Writes a version into a fresh folder and gives it its number.
    fn install(&self, record: Record, fill: impl FnOnce(&mut TreeWriter, &Record) -> Result<()>) -> Result<u32> {
        let (folder, n) = self.next_number(&record.name)?;
        // Only one thread installs objects, so what is found of one is a leftover; a number is given once.
        let temporary = record.object.as_ref().map_or_else(|| format!(".new-{n}"), |id| format!(".new-{id}"));
        folder.remove_tree(&temporary)?;
        let mut tree = TreeWriter::begin(folder.try_clone()?, &temporary)?;
        fill(&mut tree, &record)?;
        let bytes = record.encode()?;
        tree.add(TreeFile { path: RECORD, executable: false, content: Content::Bytes(&bytes), sha256: None })?;
        tree.finish(&n.to_string())?;
        log::info!(target: "deploy", slot = record.name.as_str(), version = n, label = record.version.as_str(); "installed");
        let name = record.name.clone();
        if let Some(slot) = self.state.lock().get_mut(&name) {
            slot.versions.insert(n, Arc::new(record));
        }
        self.prune(&name, n);
        Ok(n)
    }

    /// The slot's folder, made when it is new, and the number of its next version.
    fn next_number(&self, name: &str) -> Result<(Arc<Folder>, u32)> {
        check_object_name(name)?;
        let _work = self.work.lock();
        if !self.state.lock().contains_key(name) {
            if self.state.lock().len() >= SLOTS_MAX {
                return Err(Refusal::Limit(format!("{SLOTS_MAX} miners installed on this rig")).into());
            }
            let folder = Arc::new(self.root.open_or_create(name)?);
            let slot = Slot { folder, versions: BTreeMap::new(), highest: 0, pointer: Pointer::default() };
            self.state.lock().insert(name.to_owned(), slot);
        }
        let mut state = self.state.lock();
        let slot = slot_mut(&mut state, name)?;
        slot.highest = slot.highest.saturating_add(1);
        Ok((Arc::clone(&slot.folder), slot.highest))
    }

    /// Makes a version current, durably, on trial. `false`: it was already.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such version or its main file is gone; [`Error::Io`]: then the old version
    /// stays current until the next start at least.
    pub fn activate(&self, name: &str, number: u32) -> Result<bool> {
        let _work = self.work.lock();
        let (folder, record, mut pointer) = {
            let mut state = self.state.lock();
            let slot = slot_mut(&mut state, name)?;
            let record = slot.versions.get(&number).cloned().ok_or_else(|| no_version(name, number))?;
            (Arc::clone(&slot.folder), record, slot.pointer.clone())
        };
        if open_in(&folder, number, &record.main)?.is_none() {
            let lost = format!("the main file of version {number} of {name} is gone: deploy it again");
            return Err(Error::NotFound(lost));
        }
        if pointer.current == number {
            return Ok(false);
        }
        if pointer.current != 0 {
            pointer.previous = pointer.current;
        }
        pointer.current = number;
        (pointer.trial, pointer.note) = (Some(TrialRecord::default()), None);
        pointer.failed.remove(&number);
        self.point(name, &folder, pointer)?;
        log::info!(target: "deploy", slot = name, version = number; "switched");
        drop(_work);
        self.prune(name, number);
        Ok(true)
    }

    /// Goes back: to the version given, or to the one that ran before, or to the newest older one that nothing
    /// is known against. Version 0 is the program of the rig's own configuration. No trial follows.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is nothing to go back to; [`Error::Io`].
    pub fn rollback(&self, name: &str, to: Option<u32>) -> Result<u32> {
        let _work = self.work.lock();
        let (folder, target, mut pointer) = {
            let mut state = self.state.lock();
            let slot = slot_mut(&mut state, name)?;
            let target = match to {
                Some(0) => 0,
                Some(n) if slot.versions.contains_key(&n) => n,
                Some(n) => return Err(no_version(name, n)),
                None => slot.way_back().ok_or_else(|| {
                    Error::NotFound(format!("{name} has no version to go back to from {}", slot.pointer.current))
                })?,
            };
            (Arc::clone(&slot.folder), target, slot.back_to(target))
        };
        (pointer.trial, pointer.note) = (None, None);
        pointer.failed.remove(&target);
        self.point(name, &folder, pointer)?;
        log::info!(target: "deploy", slot = name, version = target; "rolled back by command");
        Ok(target)
    }

    /// All versions, or those of one slot; by name, then newest first.
    pub fn versions(&self, name: Option<&str>) -> Vec<SlotVersion> {
        let state = self.state.lock();
        let wanted = state.iter().filter(|(slot, _)| name.is_none_or(|name| name == slot.as_str()));
        let rows = wanted.flat_map(|(name, slot)| {
            slot.versions.iter().rev().map(move |(n, record)| SlotVersion {
                name: name.clone(),
                number: *n,
                version: record.version.clone(),
                size: record.size,
                object: record.object.as_deref().and_then(|id| id.parse().ok()),
                installed: record.installed,
                current: slot.pointer.current == *n,
                state: slot.state_of(*n),
            })
        });
        rows.collect()
    }

    /// What a slot runs; `None` when it has no current version.
    pub(crate) fn current(&self, name: &str) -> Option<SlotProgram> {
        let state = self.state.lock();
        let slot = state.get(name)?;
        let number = slot.pointer.current;
        let record = slot.versions.get(&number)?;
        let main =
            record.main.split('/').fold(slot.folder.path().join(number.to_string()), |path, part| path.join(part));
        Some(SlotProgram { number, main, label: record.version.clone() })
    }

    /// What the rig did by itself since the last switch.
    pub(crate) fn note(&self, name: &str) -> Option<String> {
        self.state.lock().get(name)?.pointer.note.as_ref().map(Note::to_string)
    }

    /// The trial of a version; `None` when it is not on trial.
    pub(crate) fn trial(&self, name: &str, number: u32) -> Option<TrialRecord> {
        let state = self.state.lock();
        let pointer = &state.get(name)?.pointer;
        pointer.trial.filter(|_| pointer.current == number)
    }

    /// Remembers how a trial stands. Nothing happens when that version is not on trial any more.
    pub(crate) fn save_trial(&self, name: &str, number: u32, record: TrialRecord) -> Result<()> {
        self.change_trial(name, number, |pointer| pointer.trial = Some(record))
    }

    /// The version has proved itself.
    pub(crate) fn pass_trial(&self, name: &str, number: u32) -> Result<()> {
        self.change_trial(name, number, |pointer| pointer.trial = None)
    }

    /// The version has failed: what runs from now on. `None`: there is nothing to go back to. `own_program`:
    /// the rig's own configuration names a program for these miners, which counts as version 0. The miners go back even
    /// when that cannot be written down; then the next start tries the version once more.
    pub(crate) fn fail_trial(&self, name: &str, number: u32, why: &str, own_program: bool) -> Option<u32> {
        let _work = self.work.lock();
        let (folder, pointer, to) = {
            let mut state = self.state.lock();
            let slot = state.get_mut(name)?;
            if slot.pointer.current != number || slot.pointer.trial.is_none() {
                return Some(slot.pointer.current);
            }
            let to = slot.way_back().or(own_program.then_some(0));
            let mut pointer = to.map_or_else(|| slot.pointer.clone(), |to| slot.back_to(to));
            pointer.trial = None;
            pointer.failed.insert(number, why.to_owned());
            pointer.note = Some(Note { from: number, to, why: why.to_owned() });
            slot.pointer = pointer.clone();
            (Arc::clone(&slot.folder), pointer, to)
        };
        log::warn!(target: "deploy", slot = name, version = number, to:? = to, why; "a version did not prove itself");
        if let Err(e) = self.point(name, &folder, pointer) {
            log::error!(target: "deploy", slot = name, error:% = e; "cannot write down that a version was rolled back");
        }
        to
    }

    fn change_trial(&self, name: &str, number: u32, change: impl FnOnce(&mut Pointer)) -> Result<()> {
        let _work = self.work.lock();
        let (folder, pointer) = {
            let mut state = self.state.lock();
            let slot = slot_mut(&mut state, name)?;
            if slot.pointer.current != number || slot.pointer.trial.is_none() {
                return Ok(());
            }
            change(&mut slot.pointer);
            (Arc::clone(&slot.folder), slot.pointer.clone())
        };
        self.point(name, &folder, pointer)
    }

    /// Writes the pointer, then believes it. Called with `work` held.
    fn point(&self, name: &str, folder: &Folder, pointer: Pointer) -> Result<()> {
        folder.replace(POINTER, &pointer.encode()?)?;
        if let Some(slot) = self.state.lock().get_mut(name) {
            slot.pointer = pointer;
        }
        Ok(())
    }

    /// The number of the version with this object, if all its files are there and hash to what they must.
    pub(super) fn installed(&self, manifest: &ObjectManifest) -> Option<u32> {
        let id = manifest.id().to_string();
        let (folder, found) = {
            let state = self.state.lock();
            let slot = state.get(manifest.name())?;
            let of_id = slot.versions.iter().rev().filter(|(_, record)| record.object.as_deref() == Some(&id));
            (Arc::clone(&slot.folder), of_id.map(|(n, record)| (*n, Arc::clone(record))).collect::<Vec<_>>())
        };
        found.into_iter().find(|(n, record)| is_whole(&folder, *n, record)).map(|(n, _)| n)
    }

    /// Where each content lies that the slots have: by hash and size.
    pub(super) fn contents(&self) -> Contents {
        let mut contents = BTreeMap::new();
        for slot in self.state.lock().values() {
            for (n, record) in &slot.versions {
                for file in &record.files {
                    let place = (Arc::clone(&slot.folder), *n, file.path.clone());
                    contents.insert((file.sha256, file.size), place);
                }
            }
        }
        Contents(contents)
    }

    /// Whether so many bytes can be installed beside what is never removed; else what is needed and what is left.
    pub(super) fn room_for(&self, size: u64) -> std::result::Result<(), (u64, u64)> {
        let state = self.state.lock();
        let kept = state.values().flat_map(|slot| {
            let numbers = [slot.pointer.current, slot.pointer.previous];
            numbers.into_iter().filter_map(|n| slot.versions.get(&n)).map(|record| record.size)
        });
        let free = self.limits.slots_bytes_max.saturating_sub(kept.fold(0, u64::saturating_add));
        if size <= free { Ok(()) } else { Err((size, free)) }
    }

    /// The newest version's number when it has the same files.
    fn newest_with(&self, record: &Record) -> Option<u32> {
        let (folder, n, newest) = {
            let state = self.state.lock();
            let slot = state.get(&record.name)?;
            let (n, newest) = slot.versions.last_key_value()?;
            (Arc::clone(&slot.folder), *n, Arc::clone(newest))
        };
        let same = newest.files == record.files && newest.main == record.main && newest.version == record.version;
        (same && is_whole(&folder, n, &newest)).then_some(n)
    }

    /// Removes what is beyond the limits, but never `fresh`, a current version or the one before it. What cannot be
    /// removed is logged and stays for the next time.
    fn prune(&self, name: &str, fresh: u32) {
        let _work = self.work.lock();
        let mut last = None;
        while let Some((slot, n, folder)) = self.surplus(name, fresh) {
            if last.replace((slot.clone(), n)) == Some((slot.clone(), n)) {
                return;
            }
            // Under another name first: a version is there whole or not at all.
            let (number, old) = (n.to_string(), format!(".old-{n}"));
            let removed = folder.remove_tree(&old).and_then(|()| folder.rename(&number, &old));
            if let Err(e) = removed {
                log::warn!(target: "deploy", slot = slot.as_str(), version = n, error:% = e; "cannot remove an old version");
                continue;
            }
            if let Some(slot) = self.state.lock().get_mut(&slot) {
                slot.versions.remove(&n);
                slot.pointer.failed.remove(&n);
            }
            if let Err(e) = folder.remove_tree(&old) {
                log::warn!(target: "deploy", slot = slot.as_str(), version = n, error:% = e; "cannot remove an old version");
            }
        }
    }

    /// One version that is beyond the limits.
    fn surplus(&self, name: &str, fresh: u32) -> Option<(String, u32, Arc<Folder>)> {
        let state = self.state.lock();
        let spare = |(name_of, slot): (&String, &Slot), n: u32| {
            n != slot.pointer.current && n != slot.pointer.previous && !(name_of == name && n == fresh)
        };
        if let Some(entry @ (_, slot)) = state.get_key_value(name) {
            let older = slot.versions.len().saturating_sub(self.limits.versions_kept.max(1));
            if let Some(n) = slot.versions.keys().take(older).copied().find(|n| spare(entry, *n)) {
                return Some((name.to_owned(), n, Arc::clone(&slot.folder)));
            }
        }
        let sizes = state.values().flat_map(|slot| slot.versions.values()).map(|record| record.size);
        if sizes.fold(0, u64::saturating_add) <= self.limits.slots_bytes_max {
            return None;
        }
        let all = state.iter().flat_map(|entry| entry.1.versions.iter().map(move |(n, record)| (entry, *n, record)));
        let (entry, n, _) = all.filter(|(entry, n, _)| spare(*entry, *n)).min_by_key(|(entry, n, record)| {
            (!entry.1.pointer.failed.contains_key(n), record.installed.unix_nanos())
        })?;
        Some((entry.0.clone(), n, Arc::clone(&entry.1.folder)))
    }
}

/// See [`Slots::contents`].
pub(super) struct Contents(BTreeMap<(Hash, u64), (Arc<Folder>, u32, String)>);

impl Contents {
    /// Opens a file that had this content when it was installed.
    pub(super) fn open(&self, sha256: &[u8; 32], size: u64) -> Option<DiskFile> {
        let (folder, n, path) = self.0.get(&(Hash(*sha256), size))?;
        open_in(folder, *n, path).ok().flatten()
    }
}

impl Slot {
    fn state_of(&self, n: u32) -> VersionState {
        match self.pointer.failed.get(&n) {
            Some(why) if n == self.pointer.current => VersionState::Failed { why: why.clone() },
            Some(why) => VersionState::RolledBack { why: why.clone() },
            None if n == self.pointer.current && self.pointer.trial.is_some() => VersionState::Trial,
            None => VersionState::Ok,
        }
    }

    /// The version to go back to from the current one.
    fn way_back(&self) -> Option<u32> {
        let (current, previous) = (self.pointer.current, self.pointer.previous);
        let sound = |n: &u32| *n != current && self.versions.contains_key(n) && !self.pointer.failed.contains_key(n);
        Some(previous).filter(sound).or_else(|| self.older_sound(current))
    }

    fn older_sound(&self, than: u32) -> Option<u32> {
        self.versions.range(..than).rev().map(|(n, _)| *n).find(|n| !self.pointer.failed.contains_key(n))
    }

    /// The pointer after going back: the version before that one is what is gone back to next.
    fn back_to(&self, target: u32) -> Pointer {
        let previous = self.older_sound(target).unwrap_or(0);
        Pointer { current: target, previous, ..self.pointer.clone() }
    }
}

fn slot_mut<'a>(state: &'a mut MutexGuard<'_, BTreeMap<String, Slot>>, name: &str) -> Result<&'a mut Slot> {
    state.get_mut(name).ok_or_else(|| Error::NotFound(format!("no miner {name:?} is installed on this rig")))
}

fn no_version(name: &str, number: u32) -> Error {
    Error::NotFound(format!("{name} has no version {number}"))
}

fn open_slot(root: &Folder, name: &str) -> Result<Slot> {
    let Some(folder) = root.open(name)? else { return Err(Error::NotFound(name.to_owned())) };
    let (mut versions, mut highest) = (BTreeMap::new(), 0);
    for (entry, kind) in folder.entries()? {
        if entry.starts_with('.') {
            folder.remove_tree(&entry)?;
            continue;
        }
        let Some(n) = entry.parse::<u32>().ok().filter(|n| *n > 0 && n.to_string() == entry) else { continue };
        highest = highest.max(n);
        let record = (kind == Kind::Folder).then(|| read_record(&folder, &entry, name));
        match record {
            Some(Ok(record)) => drop(versions.insert(n, Arc::new(record))),
            Some(Err(e)) => {
                log::error!(target: "deploy", slot = name, version = n, error:% = e; "ignoring a version that is not whole");
            }
            None => {}
        }
    }
    let (mut pointer, mut changed) = match read_pointer(&folder) {
        Ok(pointer) => (pointer, false),
        Err(e @ Error::Malformed { .. }) => {
            log::error!(target: "deploy", slot = name, error:% = e; "the pointer to the current version is broken and put aside");
            folder.rename(POINTER, "current.broken")?;
            let newest = versions.keys().next_back().copied().unwrap_or(0);
            let previous = versions.keys().rev().nth(1).copied().unwrap_or(0);
            let trial = (newest != 0).then(TrialRecord::default);
            (Pointer { current: newest, previous, trial, ..Pointer::default() }, true)
        }
        Err(e) => return Err(e),
    };
    highest = highest.max(pointer.highest());
    let lost = pointer.current;
    let mut slot = Slot { folder: Arc::new(folder), versions, highest, pointer: Pointer::default() };
    if lost != 0 && !slot.versions.contains_key(&lost) {
        slot.pointer = pointer.clone();
        let to = slot.way_back();
        log::error!(target: "deploy", slot = name, version = lost, to:? = to; "the current version is not whole");
        pointer = slot.back_to(to.unwrap_or(0));
        pointer.trial = None;
        pointer.note = Some(Note { from: lost, to, why: "its files are missing or broken".into() });
        changed = true;
    }
    if changed {
        slot.folder.replace(POINTER, &pointer.encode()?)?;
    }
    slot.pointer = pointer;
    Ok(slot)
}

fn read_record(folder: &Folder, number: &str, name: &str) -> Result<Record> {
    let missing = || Error::malformed("slot record", "missing");
    let version = folder.open(number)?.ok_or_else(missing)?;
    let bytes = version.read(RECORD, RECORD_BYTES_MAX)?.ok_or_else(missing)?;
    Record::decode(&bytes, name)
}

fn read_pointer(folder: &Folder) -> Result<Pointer> {
    match folder.read(POINTER, POINTER_BYTES_MAX)? {
        Some(bytes) => Pointer::decode(&bytes),
        None => Ok(Pointer::default()),
    }
}

/// Opens a file of a version, following no link; `None` when it is not there.
fn open_in(slot: &Folder, number: u32, path: &str) -> Result<Option<DiskFile>> {
    let Some(mut folder) = slot.open(&number.to_string())? else { return Ok(None) };
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    for part in folders.split('/').filter(|part| !part.is_empty()) {
        match folder.open(part)? {
            Some(inner) => folder = inner,
            None => return Ok(None),
        }
    }
    folder.open_file(name, false)
}

/// Whether all files of a version are there and hash to what they must.
fn is_whole(slot: &Folder, number: u32, record: &Record) -> bool {
    record.files.iter().all(|file| {
        let Ok(Some(found)) = open_in(slot, number, &file.path) else { return false };
        found.size() == Ok(file.size) && hash(found.range(0, file.size)).is_ok_and(|hash| hash == file.sha256.0)
    })
}

fn hash(mut reader: impl std::io::Read) -> Result<[u8; 32]> {
    let (mut hash, mut piece) = (Sha256::new(), vec![0; PIECE_BYTES]);
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return Ok(hash.finalize().into()),
            Ok(n) => hash.update(piece.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io("cannot read an installed file", &e)),
        }
    }
}
