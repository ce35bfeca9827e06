//! The thin layer under everything that installs, switches, resumes and extracts: folders held by
//! handle, each change passing one gate.
//!
//! Nothing here is opened through a link and names are single components, so what is created, renamed or removed lies
//! in the folder that was opened, even if somebody swaps a folder above it meanwhile. The gate is open in production;
//! tests put one there that fails or stops at the n-th change.

use crate::base::{Error, Result};
use rustix::fs::{AtFlags, Dir, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most entries of one folder that are looked at.
const ENTRIES_MAX: usize = 100_000;
/// How deep [`Folder::remove_tree`] goes; installed trees have at most 4 levels.
const REMOVE_DEPTH_MAX: usize = 64;
/// Where the content of a file is written before it replaces another.
const REPLACING: &str = ".replacing.tmp";
/// The mode of files that are made here.
const PRIVATE: u32 = 0o600;

/// One change of the disk, before it is made.
#[derive(Clone, Copy, Debug)]
// Production has no gate, so only tests read these.
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) enum Change<'a> {
    /// A folder is made.
    Folder(&'a Path),
    /// A file is made; it must not exist.
    File(&'a Path),
    /// Bytes are written at an offset.
    Write(&'a Path, u64, &'a [u8]),
    /// Room is reserved for it, or its end is cut.
    Size(&'a Path),
    /// The mode is set.
    Mode,
    /// A file or folder is made durable.
    Sync(&'a Path),
    /// An entry gets another name.
    Rename(&'a Path, &'a Path),
    /// A file, a link or an empty folder is removed.
    Remove(&'a Path),
}

/// Asked before each change; an error is what the change then fails with.
pub(crate) trait Gate: Send + Sync {
    /// Lets a change pass or not.
    fn pass(&self, change: Change<'_>) -> std::io::Result<()>;

    /// A free space to pretend, in bytes.
    fn free_bytes(&self) -> Option<u64> {
        None
    }
}

/// The way to the disk. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    gate: Option<Arc<dyn Gate>>,
}

impl Disk {
    /// The disk as it is.
    pub(crate) fn real() -> Disk {
        Disk::default()
    }

    /// The disk behind a gate.
    #[cfg(test)]
    pub(crate) fn behind(gate: Arc<dyn Gate>) -> Disk {
        Disk { gate: Some(gate) }
    }

    fn pass(&self, change: Change<'_>) -> std::io::Result<()> {
        self.gate.as_ref().map_or(Ok(()), |gate| gate.pass(change))
    }

    /// Replaces the file at `path` by `bytes`: a temporary file beside it, private from its first byte, with `mode` before
    /// it gets the name; fsync, rename, fsync of the folder. After `Ok` the content survives a power cut; after `Err` the
    /// old or the new content stands there whole, and no temporary file is left.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::Config(format!("{} names no file", path.display())))?;
        // A name that no other thread or process picks at the same time.
        let temporary = format!(".{name}.{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.folder(super::atomic::folder_of(path))?.replace_by(&temporary, name, bytes, mode)
    }

    /// Opens the folder at `path`, which may be or contain links: it is the owner's choice. Made, 0700, when
    /// it is missing.
    pub(crate) fn folder(&self, path: &Path) -> Result<Folder> {
        if !path.is_dir() {
            self.pass(Change::Folder(path)).map_err(|e| failed("create the folder", path, &e))?;
            super::atomic::create_folder(path)?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))
            .map_err(|e| failed("open the folder", path, &e.into()))?;
        Ok(Folder { fd, path: path.to_owned(), disk: self.clone() })
    }
}

/// What an entry of a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A link, device, socket or FIFO: never opened.
    Other,
}

/// An open folder.
pub(crate) struct Folder {
    fd: OwnedFd,
    /// Where it was when it was opened, for messages and for starting programs.
    path: PathBuf,
    disk: Disk,
}

impl Folder {
    /// Where it was when it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Another handle on a folder in it; `None` when there is none of that name.
    ///
    /// # Errors
    /// [`Error::Io`], also when the name is a link or a file.
    pub(crate) fn open(&self, name: &str) -> Result<Option<Folder>> {
        let path = self.child(name)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match retry_on_intr(|| rustix::fs::openat(&self.fd, name, flags, Mode::empty())) {
            Ok(fd) => Ok(Some(Folder { fd, path, disk: self.disk.clone() })),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(failed("open the folder", &path, &e.into())),
        }
    }

    /// Makes a folder that does not exist yet, with exactly `mode`.
    pub(crate) fn create(&self, name: &str, mode: u32) -> Result<Folder> {
        let path = self.child(name)?;
        let made =
            self.disk.pass(Change::Folder(&path)).and_then(|()| Ok(rustix::fs::mkdirat(&self.fd, name, Mode::RWXU)?));
        made.map_err(|e| failed("create the folder", &path, &e))?;
        let opened = (|| {
            let Some(folder) = self.open(name)? else {
                return Err(failed("open the folder", &path, &ErrorKind::NotFound.into()));
            };
            if mode != 0o700 {
                self.disk
                    .pass(Change::Mode)
                    .and_then(|()| Ok(rustix::fs::fchmod(&folder.fd, Mode::from_raw_mode(mode))?))
                    .map_err(|e| failed("set the mode of", &path, &e))?;
            }
            Ok(folder)
        })();
        if opened.is_err() {
            // Empty, or not ours any more: then it stays.
            let _ = self.remove(name, AtFlags::REMOVEDIR);
        }
        opened
    }

    /// The folder of that name, made durably, 0700, when it is missing.
    pub(crate) fn open_or_create(&self, name: &str) -> Result<Folder> {
        if let Some(folder) = self.open(name)? {
            return Ok(folder);
        }
        let folder = self.create(name, 0o700)?;
        self.sync()?;
        Ok(folder)
    }

    /// Makes a file that does not exist yet, for reading and writing, 0600.
    pub(crate) fn create_file(&self, name: &str) -> Result<DiskFile> {
        let path = self.child(name)?;
        self.disk.pass(Change::File(&path)).map_err(|e| failed("create", &path, &e))?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR))
            .map_err(|e| failed("create", &path, &e.into()))?;
        Ok(DiskFile { file: fd.into(), path, disk: self.disk.clone() })
    }

    /// Gives a file of another folder a second name in this one, where nothing may stand. What fails on file
    /// systems without hard links is told by [`Error::Io`] with kinds such as `PermissionDenied` or `Unsupported`.
    pub(crate) fn link_from(&self, name: &str, source: &Folder, source_name: &str) -> Result<()> {
        let (path, from) = (self.child(name)?, source.child(source_name)?);
        self.disk
            .pass(Change::File(&path))
            .and_then(|()| Ok(rustix::fs::linkat(&source.fd, source_name, &self.fd, name, AtFlags::empty())?))
            .map_err(|e| failed(&format!("link {} to", from.display()), &path, &e))
    }

    /// A second handle on the same folder.
    pub(crate) fn try_clone(&self) -> Result<Folder> {
        let fd = self.fd.try_clone().map_err(|e| failed("open the folder", &self.path, &e))?;
        Ok(Folder { fd, path: self.path.clone(), disk: self.disk.clone() })
    }

    /// Opens a regular file, for writing too when asked; `None` when there is none of that name.
    pub(crate) fn open_file(&self, name: &str, writable: bool) -> Result<Option<DiskFile>> {
        let path = self.child(name)?;
        // Not to hang on a FIFO that somebody put there.
        let more = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let flags = more | if writable { OFlags::RDWR } else { OFlags::RDONLY };
        let fd = match retry_on_intr(|| rustix::fs::openat(&self.fd, name, flags, Mode::empty())) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(failed("open", &path, &e.into())),
        };
        let file = File::from(fd);
        let regular = file.metadata().map(|meta| meta.is_file()).map_err(|e| failed("open", &path, &e))?;
        if !regular {
            let why = std::io::Error::new(ErrorKind::InvalidInput, "not a regular file");
            return Err(failed("open", &path, &why));
        }
        Ok(Some(DiskFile { file, path, disk: self.disk.clone() }))
    }

    /// The whole content of a file of at most `max` bytes; `None` when there is no file.
    pub(crate) fn read(&self, name: &str, max: usize) -> Result<Option<Vec<u8>>> {
        use std::io::Read as _;
        let Some(file) = self.open_file(name, false)? else { return Ok(None) };
        let (mut bytes, limit) = (Vec::new(), u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1));
        (&file.file).take(limit).read_to_end(&mut bytes).map_err(|e| failed("read", &file.path, &e))?;
        if bytes.len() > max {
            return Err(Error::malformed("file", format!("{} is larger than {max} bytes", file.path.display())));
        }
        Ok(Some(bytes))
    }

    /// Replaces a file, 0600: written beside it, fsync, rename, fsync of the folder. After `Ok` the content
    /// survives a power cut; after `Err` the old or the new content stands there whole.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        // One thread owns a folder, so a file of this name is what a crash left.
        self.remove_file(REPLACING)?;
        self.replace_by(REPLACING, name, bytes, PRIVATE)
    }

    fn replace_by(&self, temporary: &str, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let result = (|| {
            let file = self.create_file(temporary)?;
            file.write_at(0, bytes)?;
            if mode != PRIVATE {
                file.set_mode(mode)?;
            }
            file.sync()?;
            self.rename(temporary, name)?;
            self.sync()
        })();
        if result.is_err() {
            let _ = self.remove_file(temporary);
        }
        result
    }

    /// Gives an entry of this folder another name in it. A file replaces a file; a folder replaces nothing
    /// but an empty folder, and fails otherwise.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (old, new) = (self.child(from)?, self.child(to)?);
        self.disk
            .pass(Change::Rename(&old, &new))
            .and_then(|()| Ok(rustix::fs::renameat(&self.fd, from, &self.fd, to)?))
            .map_err(|e| failed(&format!("rename {} to", old.display()), &new, &e))
    }

    /// Removes a file or a link (never what it points to); a missing one is fine.
    pub(crate) fn remove_file(&self, name: &str) -> Result<()> {
        self.remove(name, AtFlags::empty())
    }

    /// Removes a file, a link, or a folder with all that is in it, following no link; a missing one is fine.
    pub(crate) fn remove_tree(&self, name: &str) -> Result<()> {
        self.remove_level(name, REMOVE_DEPTH_MAX)
    }

    fn remove_level(&self, name: &str, depth: usize) -> Result<()> {
        match self.kind(name)? {
            None => Ok(()),
            Some(Kind::File | Kind::Other) => self.remove_file(name),
            Some(Kind::Folder) if depth == 0 => {
                let path = self.child(name)?;
                Err(Error::Failed(format!("cannot remove {}: more than {REMOVE_DEPTH_MAX} levels", path.display())))
            }
            Some(Kind::Folder) => {
                if let Some(folder) = self.open(name)? {
                    for (name, _) in folder.entries()? {
                        folder.remove_level(&name, depth - 1)?;
                    }
                }
                self.remove(name, AtFlags::REMOVEDIR)
            }
        }
    }

    fn remove(&self, name: &str, flags: AtFlags) -> Result<()> {
        let path = self.child(name)?;
        // A change that changes nothing does not count: what is missing passes without the gate.
        if self.kind(name)?.is_none() {
            return Ok(());
        }
        self.disk.pass(Change::Remove(&path)).map_err(|e| failed("remove", &path, &e))?;
        match rustix::fs::unlinkat(&self.fd, name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(failed("remove", &path, &e.into())),
        }
    }

    /// What stands at a name; `None` when nothing does.
    pub(crate) fn kind(&self, name: &str) -> Result<Option<Kind>> {
        let path = self.child(name)?;
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(kind_of(FileType::from_raw_mode(stat.st_mode)))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(failed("look at", &path, &e.into())),
        }
    }

    /// What is in the folder, sorted by name. Names that are no UTF-8 are nobody's of ours and are left out.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Failed`] when there are more than a hundred thousand.
    pub(crate) fn entries(&self) -> Result<Vec<(String, Kind)>> {
        let io = |e: Errno| failed("read the folder", &self.path, &e.into());
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(io)? {
            let entry = entry.map_err(io)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if matches!(name, "." | "..") {
                continue;
            }
            if entries.len() == ENTRIES_MAX {
                return Err(Error::Failed(format!("more than {ENTRIES_MAX} entries in {}", self.path.display())));
            }
            // Some file systems do not tell the kind in the listing.
            let kind = match entry.file_type() {
                FileType::Unknown => self.kind(name)?.unwrap_or(Kind::Other),
                known => kind_of(known),
            };
            entries.push((name.to_owned(), kind));
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    /// Makes what was created, renamed and removed in it durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.disk
            .pass(Change::Sync(&self.path))
            .and_then(|()| Ok(retry_on_intr(|| rustix::fs::fsync(&self.fd))?))
            .map_err(|e| failed("sync", &self.path, &e))
    }

    /// Bytes that may still be written on its file system by this user.
    pub(crate) fn free_bytes(&self) -> Result<u64> {
        if let Some(free) = self.disk.gate.as_ref().and_then(|gate| gate.free_bytes()) {
            return Ok(free);
        }
        let stat = rustix::fs::fstatvfs(&self.fd).map_err(|e| failed("measure the space at", &self.path, &e.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// The path of an entry; refuses a name that is not one component.
    fn child(&self, name: &str) -> Result<PathBuf> {
        if name.is_empty() || matches!(name, "." | "..") || name.bytes().any(|c| c == b'/' || c == 0) {
            return Err(Error::malformed("file name", format!("{name:?} is not one plain component")));
        }
        Ok(self.path.join(name))
    }
}

/// An open regular file.
pub(crate) struct DiskFile {
    file: File,
    path: PathBuf,
    disk: Disk,
}

impl DiskFile {
    /// Writes all of `bytes` at `offset`.
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.disk
            .pass(Change::Write(&self.path, offset, bytes))
            .and_then(|()| self.file.write_all_at(bytes, offset))
            .map_err(|e| failed("write", &self.path, &e))
    }

    /// Fills `out` from `offset` as far as the file goes; how many bytes there were.
    pub(crate) fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            match self.file.read_at(rest, at) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(failed("read", &self.path, &e)),
            }
        }
        Ok(filled)
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> Result<u64> {
        self.file.metadata().map(|meta| meta.len()).map_err(|e| failed("look at", &self.path, &e))
    }

    /// Bytes of disk that it has already.
    pub(crate) fn allocated_bytes(&self) -> Result<u64> {
        use std::os::unix::fs::MetadataExt as _;
        let blocks = self.file.metadata().map(|meta| meta.blocks());
        blocks.map(|blocks| blocks.saturating_mul(512)).map_err(|e| failed("look at", &self.path, &e))
    }

    /// `length` bytes from `offset` as a reader; it ends early where the file does.
    pub(crate) fn range(&self, offset: u64, length: u64) -> Range<'_> {
        Range { file: &self.file, offset, left: length }
    }

    /// Makes it `size` bytes long with the room for them reserved, so that writing them cannot run out of
    /// space. File systems that cannot reserve only get the size.
    pub(crate) fn reserve(&self, size: u64) -> Result<()> {
        let reserved = self.disk.pass(Change::Size(&self.path)).and_then(|()| {
            self.file.set_len(size)?;
            if size == 0 {
                return Ok(());
            }
            match retry_on_intr(|| rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, size)) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
                Err(e) => Err(e.into()),
            }
        });
        reserved.map_err(|e| failed("reserve the space for", &self.path, &e))
    }

    /// Cuts what is behind the first `size` bytes.
    pub(crate) fn cut(&self, size: u64) -> Result<()> {
        self.disk
            .pass(Change::Size(&self.path))
            .and_then(|()| self.file.set_len(size))
            .map_err(|e| failed("cut", &self.path, &e))
    }

    /// Sets exactly this mode, whatever the umask says.
    pub(crate) fn set_mode(&self, mode: u32) -> Result<()> {
        self.disk
            .pass(Change::Mode)
            .and_then(|()| Ok(rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode))?))
            .map_err(|e| failed("set the mode of", &self.path, &e))
    }

    /// Makes content and mode durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.disk
            .pass(Change::Sync(&self.path))
            .and_then(|()| self.file.sync_all())
            .map_err(|e| failed("sync", &self.path, &e))
    }
}

/// A part of a file, read from its beginning to its end.
pub(crate) struct Range<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl std::io::Read for Range<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        let n = self.file.read_at(out.get_mut(..most).unwrap_or_default(), self.offset)?;
        let read = u64::try_from(n).unwrap_or(0);
        (self.offset, self.left) = (self.offset.saturating_add(read), self.left.saturating_sub(read));
        Ok(n)
    }
}

fn kind_of(file_type: FileType) -> Kind {
    match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        _ => Kind::Other,
    }
}

fn failed(what: &str, path: &Path, e: &std::io::Error) -> Error {
    Error::io(format!("cannot {what} {}", path.display()), e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn names_are_single_components() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Disk::real().folder(dir.path()).unwrap();
        for name in ["", ".", "..", "a/b", "/etc", "a\0b"] {
            assert!(folder.create_file(name).is_err(), "{name:?}");
            assert!(folder.create(name, 0o700).is_err() && folder.remove_tree(name).is_err(), "{name:?}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_is_never_opened_and_its_target_never_removed() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("file"), "precious").unwrap();
        let folder = Disk::real().folder(dir.path()).unwrap();
        symlink(outside.path(), dir.path().join("folder")).unwrap();
        symlink(outside.path().join("file"), dir.path().join("file")).unwrap();
        symlink(outside.path().join("new"), dir.path().join("dangling")).unwrap();
        assert!(folder.open("folder").is_err() && folder.open_or_create("folder").is_err());
        assert!(folder.open_file("file", true).is_err() && folder.read("file", 100).is_err());
        assert!(folder.create_file("dangling").is_err() && folder.create("dangling", 0o755).is_err());
        folder.replace("file", b"new").unwrap();
        for name in ["folder", "file", "dangling"] {
            folder.remove_tree(name).unwrap();
        }
        assert!(folder.entries().unwrap().is_empty());
        assert_eq!(std::fs::read(outside.path().join("file")).unwrap(), b"precious");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_swapped_above_redirects_nothing() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let top = Disk::real().folder(&dir.path().join("top")).unwrap();
        let held = top.create("held", 0o755).unwrap();
        std::fs::rename(dir.path().join("top/held"), dir.path().join("top/moved")).unwrap();
        symlink(outside.path(), dir.path().join("top/held")).unwrap();
        held.replace("file", b"x").unwrap();
        assert_eq!(std::fs::read(dir.path().join("top/moved/file")).unwrap(), b"x");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn modes_are_exact_and_room_is_reserved() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Disk::real().folder(dir.path()).unwrap();
        let sub = folder.create("sub", 0o755).unwrap();
        let file = sub.create_file("file").unwrap();
        file.reserve(100_000).unwrap();
        file.write_at(99_998, b"ab").unwrap();
        file.set_mode(0o755).unwrap();
        file.sync().unwrap();
        let mode = |path: &str| std::fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("sub"), mode("sub/file"), file.size().unwrap()), (0o755, 0o755, 100_000));
        let mut tail = [9; 4];
        assert_eq!((file.read_at(99_997, &mut tail).unwrap(), tail), (3, [0, b'a', b'b', 9]));
        assert!(folder.free_bytes().unwrap() > 0);
    }

    #[test]
    fn a_folder_never_replaces_one_with_content() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Disk::real().folder(dir.path()).unwrap();
        folder.create("new", 0o755).unwrap();
        folder.create("old", 0o755).unwrap().create_file("x").unwrap();
        symlink("/", dir.path().join("link")).unwrap();
        assert!(folder.rename("new", "old").is_err() && folder.rename("new", "link").is_err());
        assert_eq!(std::fs::read_dir(dir.path().join("old")).unwrap().count(), 1);
        folder.rename("new", "fresh").unwrap();
        let names: Vec<_> = folder.entries().unwrap();
        let want = [("fresh", Kind::Folder), ("link", Kind::Other), ("old", Kind::Folder)];
        assert_eq!(names, want.map(|(name, kind)| (name.to_owned(), kind)));
    }

    #[test]
    fn a_fifo_does_not_hang_a_reader() {
        let dir = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("mkfifo").arg(dir.path().join("pipe")).status().unwrap();
        assert!(made.success());
        let folder = Disk::real().folder(dir.path()).unwrap();
        assert!(folder.read("pipe", 10).unwrap_err().to_string().contains("not a regular file"));
    }
}
