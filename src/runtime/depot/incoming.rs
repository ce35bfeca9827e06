//! Objects on their way in. No state on disk can lie: a chunk is there exactly when its hash fits.

use super::DepotLimits;
use super::slots::Slots;
use crate::base::{Error, Result, Timestamp, check_json};
use crate::bundle::{CHUNK_BYTES, MANIFEST_BYTES_MAX, OBJECT_BYTES_MAX, ObjectId, ObjectManifest};
use crate::identity::PublicKey;
use crate::runtime::files::disk::{Disk, DiskFile, Folder, Kind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// Most objects kept that are on their way in, complete or not.
const OBJECTS_MAX: usize = 64;
/// Most transfers open at once; the protocol allows two.
const ACTIVE_MAX: usize = 8;
const MANIFEST: &str = "manifest";
const DATA: &str = "data";
const ORIGIN: &str = "from";
const ORIGIN_BYTES_MAX: usize = 4096;

/// The incoming objects of a rig. One thread owns it; every call may take as long as the disk does.
pub(crate) struct Depot {
    folder: Folder,
    slots: Arc<Slots>,
    limits: DepotLimits,
    /// What lies on disk.
    known: BTreeMap<ObjectId, Known>,
    /// What is being received.
    active: BTreeMap<ObjectId, Active>,
}

#[derive(Clone)]
struct Known {
    size: u64,
    /// More than one file: installing it needs the room once more.
    copied: bool,
    from: PublicKey,
    touched: Timestamp,
}

struct Active {
    manifest: ObjectManifest,
    folder: Folder,
    data: DiskFile,
    /// By index: whether the chunk is there.
    have: Vec<bool>,
    missing: u32,
}

/// The file beside a manifest: who offered it last, and when.
#[derive(Serialize, Deserialize)]
struct Origin {
    key: String,
    touched: Timestamp,
}

/// The answer to an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It is this version of its slot already, every file whole. It may not be the current one.
    Installed {
        /// The version's number.
        slot: u32,
    },
    /// All bytes are there: install it.
    Have,
    /// These chunks are missing.
    Need {
        /// Ranges of chunks, `(first, count)`, in order.
        missing: Vec<(u32, u32)>,
        /// Their bytes.
        missing_bytes: u64,
    },
    /// No, in the protocol's words.
    Refused(String),
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is on disk; so many are still missing.
    Kept {
        /// Chunks.
        missing: u32,
    },
    /// It is not the chunk of that index. Nothing was written.
    WrongHash,
}

impl Depot {
    /// Takes over `<data dir>/incoming`: what a crash left half made, what is installed by now and what is too old is
    /// removed.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be read or made. What cannot be removed is logged.
    pub(crate) fn open(
        data_dir: &Path,
        limits: &DepotLimits,
        disk: &Disk,
        slots: Arc<Slots>,
        now: Timestamp,
    ) -> Result<Depot> {
        let folder = disk.folder(data_dir)?.open_or_create("incoming")?;
        let mut depot =
            Depot { folder, slots, limits: limits.clone(), known: BTreeMap::new(), active: BTreeMap::new() };
        for (name, kind) in depot.folder.entries()? {
            let found = if kind == Kind::Folder { depot.read_object(&name, now) } else { Ok(None) };
            match found {
                Ok(Some((id, known))) => drop(depot.known.insert(id, known)),
                Ok(None) => {
                    if let Err(e) = depot.folder.remove_tree(&name) {
                        log::warn!(target: "deploy", error:% = e; "cannot remove what a crash left");
                    }
                }
                Err(e) => {
                    log::error!(target: "deploy", object = name.as_str(), error:% = e; "cannot read an incoming object")
                }
            }
        }
        depot.expire(now);
        Ok(depot)
    }

    /// What a folder in `incoming` is; `None` when it is of no use.
    fn read_object(&self, name: &str, now: Timestamp) -> Result<Option<(ObjectId, Known)>> {
        let Ok(id) = name.parse::<ObjectId>() else { return Ok(None) };
        let Some(folder) = self.folder.open(name)? else { return Ok(None) };
        let Some((manifest, from)) = read_manifest(&folder)?.zip(read_from(&folder)?) else { return Ok(None) };
        if manifest.id() != id || self.slots.installed(&manifest).is_some() {
            return Ok(None);
        }
        // A clock that was ahead once must not keep it for ever.
        let touched = if from.1.unix_nanos() > now.unix_nanos() { now } else { from.1 };
        let copied = manifest.files().len() > 1;
        Ok(Some((id, Known { size: manifest.size(), copied, from: from.0, touched })))
    }

    /// Takes an offer, or the question how far it is: checks the manifest, makes room, makes it durable, looks which chunks
    /// are there, and fetches from the slots what is in files they have. From then on it is open for
    /// [`Depot::store`] until [`Depot::let_go`], [`Depot::finish`] or [`Depot::cancel`].
    ///
    /// # Errors
    /// [`Error::Busy`] when too many are open; [`Error::Io`] when the disk fails: then try again later.
    pub(crate) fn offer(
        &mut self,
        id: &ObjectId,
        text: &str,
        from: &PublicKey,
        size_max: u64,
        now: Timestamp,
    ) -> Result<Offer> {
        let manifest = match ObjectManifest::parse(text, size_max) {
            Ok(manifest) if manifest.id() == *id => manifest,
            Ok(_) => return Ok(Offer::Refused("bad manifest: t".into())),
            Err(e) => return Ok(Offer::Refused(e.to_string())),
        };
        if let Some(slot) = self.slots.installed(&manifest) {
            self.finish(id)?;
            return Ok(Offer::Installed { slot });
        }
        if !self.active.contains_key(id) {
            if self.active.len() >= ACTIVE_MAX {
                return Err(Error::Busy);
            }
            let opened = self.make_room(&manifest)?.map_or_else(|| self.open_object(&manifest, from, now), Err);
            if opened.is_err() && !self.known.contains_key(id) {
                // What was begun of it; a resumable one stays.
                self.cancel(id);
            }
            match opened {
                Ok(active) => drop(self.active.insert(*id, active)),
                Err(Fault::NoSpace { need, free }) => {
                    return Ok(Offer::Refused(format!("no space: need {need}, free {free}")));
                }
                Err(Fault::Other(e)) => return Err(e),
            }
        } else if let Some(active) = self.active.get(id) {
            write_from(&active.folder, from, now)?;
        }
        let copied = manifest.files().len() > 1;
        self.known.insert(*id, Known { size: manifest.size(), copied, from: *from, touched: now });
        let slots = Arc::clone(&self.slots);
        let Some(active) = self.active.get_mut(id) else { return Err(Error::NotFound(id.to_string())) };
        active.copy_from(&slots)?;
        Ok(active.answer())
    }

    /// Keeps a chunk of an open object.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the object is not open; [`Error::Io`].
    pub(crate) fn store(&mut self, id: &ObjectId, index: u32, bytes: &[u8]) -> Result<Stored> {
        let active = self.active.get_mut(id).ok_or_else(|| not_open(id))?;
        active.store(index, bytes)
    }

    /// Installs a complete object as the next version of its slot, without switching to it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not open; [`Error::Failed`] when chunks are missing; [`Error::Malformed`] when a
    /// whole file does not hash to what it must: the object is let go then, and the next offer looks anew at what is there.
    pub(crate) fn install(&mut self, id: &ObjectId, now: Timestamp) -> Result<u32> {
        let active = self.active.get(id).ok_or_else(|| not_open(id))?;
        if active.missing > 0 {
            return Err(Error::Failed(format!("{} chunks of the object are missing", active.missing)));
        }
        let installed = self.slots.install_object(&active.manifest, (&active.folder, DATA, &active.data), now);
        if matches!(installed, Err(Error::Malformed { .. })) {
            self.let_go(id);
        }
        installed
    }

    /// The manifest of an open object.
    pub(crate) fn manifest(&self, id: &ObjectId) -> Option<&ObjectManifest> {
        self.active.get(id).map(|active| &active.manifest)
    }

    /// The transfer has stopped for now: the bytes stay for the next offer.
    pub(crate) fn let_go(&mut self, id: &ObjectId) {
        self.active.remove(id);
    }

    /// The object is installed and said to be so: its bytes are not needed any more.
    ///
    /// # Errors
    /// [`Error::Io`]; then the next start removes it.
    pub(crate) fn finish(&mut self, id: &ObjectId) -> Result<()> {
        self.active.remove(id);
        self.known.remove(id);
        let (name, gone) = (id.to_string(), format!(".gone-{id}"));
        // Also what an earlier call could not remove.
        let mut found = self.folder.kind(&gone)?.is_some();
        self.folder.remove_tree(&gone)?;
        if self.folder.kind(&name)?.is_some() {
            // Under another name first: an object with a manifest is there whole or not at all.
            self.folder.rename(&name, &gone)?;
            self.folder.remove_tree(&gone)?;
            found = true;
        }
        if found { self.folder.sync() } else { Ok(()) }
    }

    /// The object is not wanted any more.
    pub(crate) fn cancel(&mut self, id: &ObjectId) {
        if let Err(e) = self.finish(id) {
            log::warn!(target: "deploy", object:% = id, error:% = e; "cannot remove an incoming object");
        }
    }

    /// The keys that offered what lies here.
    pub(crate) fn keys(&self) -> Vec<PublicKey> {
        let mut keys: Vec<PublicKey> = self.known.values().map(|known| known.from).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// Removes what a revoked key offered, open or not; what that was.
    pub(crate) fn forget_key(&mut self, key: &PublicKey) -> Vec<ObjectId> {
        let ids: Vec<ObjectId> = self.known.iter().filter(|(_, known)| known.from == *key).map(|(id, _)| *id).collect();
        ids.iter().for_each(|id| self.cancel(id));
        ids
    }

    /// Removes what was last offered too long ago and is not open; what that was.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<ObjectId> {
        let old = |(id, known): &(&ObjectId, &Known)| {
            now.since(known.touched) > self.limits.keep && !self.active.contains_key(*id)
        };
        let ids: Vec<ObjectId> = self.known.iter().filter(old).map(|(id, _)| *id).collect();
        ids.iter().for_each(|id| self.cancel(id));
        ids
    }

    /// Checks the space for an object, and removes older ones where that helps. `Some`: there is not enough.
    fn make_room(&mut self, manifest: &ObjectManifest) -> Result<Option<Fault>> {
        let (id, size) = (manifest.id(), manifest.size());
        if let Err((need, free)) = self.slots.room_for(size) {
            return Ok(Some(Fault::NoSpace { need, free }));
        }
        let pinned = |other: &ObjectId| *other == id || self.active.contains_key(other);
        let spare: Vec<(ObjectId, u64)> = {
            let mut spare: Vec<_> = self.known.iter().filter(|(other, _)| !pinned(other)).collect();
            spare.sort_by_key(|(_, known)| known.touched.unix_nanos());
            spare.into_iter().map(|(id, known)| (*id, known.size)).collect()
        };
        let spare_bytes = sum(spare.iter().map(|(_, size)| *size));
        let open = || self.known.iter().filter(|(other, _)| **other != id && self.active.contains_key(*other));
        let quota = self.limits.incoming_bytes_max.saturating_sub(sum(open().map(|(_, known)| known.size)));
        if size > quota {
            return Ok(Some(Fault::NoSpace { need: size, free: quota }));
        }
        let mut free = self.folder.free_bytes()?;
        // The room of the open ones is reserved; installing them takes more.
        let promised = sum(open().filter(|(_, known)| known.copied).map(|(_, known)| known.size));
        let there = match self.folder.open(&id.to_string())?.map(|folder| folder.open_file(DATA, false)).transpose()? {
            Some(Some(data)) => data.allocated_bytes()?.min(size),
            _ => 0,
        };
        let copies = if manifest.files().len() > 1 { 2 } else { 1 };
        let need = size.saturating_mul(copies).saturating_sub(there).saturating_add(self.limits.reserve_bytes);
        let need = need.saturating_add(promised);
        if need > free.saturating_add(spare_bytes) {
            return Ok(Some(Fault::NoSpace { need, free: free.saturating_add(spare_bytes) }));
        }
        let mut held = size.saturating_add(spare_bytes);
        let mut count = self.known.len() + usize::from(!self.known.contains_key(&id));
        for (other, bytes) in spare {
            if held <= quota && count <= OBJECTS_MAX && need <= free {
                break;
            }
            self.finish(&other)?;
            (held, count) = (held.saturating_sub(bytes), count - 1);
            free = self.folder.free_bytes()?;
        }
        Ok((need > free).then_some(Fault::NoSpace { need, free }))
    }

    /// Opens the folder of an object, or makes it: who and what first, then the room.
    fn open_object(
        &self,
        manifest: &ObjectManifest,
        from: &PublicKey,
        now: Timestamp,
    ) -> std::result::Result<Active, Fault> {
        let name = manifest.id().to_string();
        let folder = self.folder.open_or_create(&name)?;
        write_from(&folder, from, now)?;
        if folder.read(MANIFEST, MANIFEST_BYTES_MAX)?.as_deref() != Some(manifest.text().as_bytes()) {
            folder.replace(MANIFEST, manifest.text().as_bytes())?;
        }
        let size = manifest.size();
        let found = folder.open_file(DATA, true)?;
        // A file of another length is not one that was reserved in full.
        let (data, fresh) = match found {
            Some(data) if data.size()? == size => (data, false),
            Some(_) | None => {
                folder.remove_file(DATA)?;
                (folder.create_file(DATA)?, true)
            }
        };
        if let Err(e) = if fresh { data.reserve(size).and_then(|()| folder.sync()) } else { Ok(()) } {
            // Half a reservation would only take the room from others.
            let _ = folder.remove_file(DATA);
            return Err(match e {
                Error::Io { kind: ErrorKind::StorageFull | ErrorKind::QuotaExceeded, .. } => {
                    Fault::NoSpace { need: size, free: self.folder.free_bytes().unwrap_or(0) }
                }
                e => e.into(),
            });
        }
        let count = manifest.chunk_count();
        let have = vec![false; usize::try_from(count).unwrap_or(0)];
        let mut active = Active { manifest: manifest.clone(), folder, data, have, missing: count };
        if !fresh {
            active.look()?;
        }
        Ok(active)
    }
}

enum Fault {
    NoSpace { need: u64, free: u64 },
    Other(Error),
}

impl From<Error> for Fault {
    fn from(e: Error) -> Fault {
        Fault::Other(e)
    }
}

impl Active {
    /// Hashes what lies in the data.
    fn look(&mut self) -> Result<()> {
        let mut chunk = chunk_buffer();
        for index in 0..self.manifest.chunk_count() {
            let Some((start, length)) = self.manifest.chunk_place(index) else { continue };
            let piece = chunk.get_mut(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
            if self.data.read_at(start, piece)? == piece.len() && self.manifest.is_chunk(index, piece) {
                self.mark(index);
            }
        }
        Ok(())
    }

    /// Fills in the missing chunks whose bytes lie in files that the slots have.
    fn copy_from(&mut self, slots: &Slots) -> Result<()> {
        if self.missing == 0 {
            return Ok(());
        }
        let (contents, mut chunk) = (slots.contents(), chunk_buffer());
        // Chunks go through the files in order, so the last one opened is mostly the one needed.
        let mut opened: Option<(usize, Option<DiskFile>)> = None;
        for index in 0..self.manifest.chunk_count() {
            if self.has(index) {
                continue;
            }
            let mut filled = 0;
            for part in self.manifest.chunk_parts(index) {
                if opened.as_ref().is_none_or(|(file, _)| *file != part.file) {
                    let file = self.manifest.files().get(part.file);
                    opened = Some((part.file, file.and_then(|file| contents.open(&file.sha256, file.size))));
                }
                let Some((_, Some(file))) = &opened else { break };
                let end = filled + usize::try_from(part.length).unwrap_or(0);
                let Some(piece) = chunk.get_mut(filled..end) else { break };
                if file.read_at(part.offset, piece)? != piece.len() {
                    break;
                }
                filled = end;
            }
            // What was read short, or is not what it was, does not hash to the chunk.
            let bytes = chunk.get(..filled).unwrap_or_default();
            self.store(index, bytes)?;
        }
        Ok(())
    }

    fn store(&mut self, index: u32, bytes: &[u8]) -> Result<Stored> {
        let Some((start, _)) = self.manifest.chunk_place(index).filter(|_| self.manifest.is_chunk(index, bytes)) else {
            return Ok(Stored::WrongHash);
        };
        if !self.has(index) {
            self.data.write_at(start, bytes)?;
            self.mark(index);
        }
        Ok(Stored::Kept { missing: self.missing })
    }

    fn has(&self, index: u32) -> bool {
        usize::try_from(index).ok().and_then(|i| self.have.get(i)).copied().unwrap_or(false)
    }

    fn mark(&mut self, index: u32) {
        let Some(have) = usize::try_from(index).ok().and_then(|i| self.have.get_mut(i)) else { return };
        if !std::mem::replace(have, true) {
            self.missing = self.missing.saturating_sub(1);
        }
    }

    fn answer(&self) -> Offer {
        if self.missing == 0 {
            return Offer::Have;
        }
        let (mut missing, mut missing_bytes) = (Vec::<(u32, u32)>::new(), 0u64);
        for index in (0..self.manifest.chunk_count()).filter(|index| !self.has(*index)) {
            let length = self.manifest.chunk_place(index).map_or(0, |(_, length)| length);
            missing_bytes = missing_bytes.saturating_add(u64::from(length));
            match missing.last_mut() {
                Some((first, count)) if first.saturating_add(*count) == index => *count += 1,
                _ => missing.push((index, 1)),
            }
        }
        Offer::Need { missing, missing_bytes }
    }
}

fn chunk_buffer() -> Vec<u8> {
    vec![0; usize::try_from(CHUNK_BYTES).unwrap_or(0)]
}

fn sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

fn not_open(id: &ObjectId) -> Error {
    Error::NotFound(format!("no transfer of the object {id} is open"))
}

fn write_from(folder: &Folder, key: &PublicKey, now: Timestamp) -> Result<()> {
    let from = Origin { key: key.to_base64(), touched: now };
    let bytes =
        serde_json::to_vec(&from).map_err(|e| Error::Failed(format!("cannot encode an offer's origin: {e}")))?;
    folder.replace(ORIGIN, &bytes)
}

/// `None` when there is none or it is broken.
fn read_from(folder: &Folder) -> Result<Option<(PublicKey, Timestamp)>> {
    let read = |bytes: Vec<u8>| {
        let from: Origin = serde_json::from_str(check_json(ORIGIN, &bytes).ok()?).ok()?;
        Some((PublicKey::from_base64(&from.key).ok()?, from.touched))
    };
    Ok(readable(folder.read(ORIGIN, ORIGIN_BYTES_MAX))?.and_then(read))
}

/// `None` when there is none or it is broken.
fn read_manifest(folder: &Folder) -> Result<Option<ObjectManifest>> {
    let bytes = readable(folder.read(MANIFEST, MANIFEST_BYTES_MAX))?;
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(text.and_then(|text| ObjectManifest::parse(&text, OBJECT_BYTES_MAX).ok()))
}

/// A file that is too large is as good as none.
fn readable(read: Result<Option<Vec<u8>>>) -> Result<Option<Vec<u8>>> {
    match read {
        Err(Error::Malformed { .. }) => Ok(None),
        other => other,
    }
}
