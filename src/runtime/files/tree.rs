//! A whole tree of files, complete or absent: written into a fresh folder, made durable, then renamed into place.

use super::disk::{Disk, DiskFile, Folder};
use crate::base::{Error, Result};
use sha2::{Digest as _, Sha256};
use std::io::Read;
use std::path::Path;

/// The most components of a file's path.
const DEPTH_MAX: usize = 16;
/// Bytes copied at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Where the bytes of a file come from.
pub(crate) enum Content<'a> {
    /// From memory.
    Bytes(&'a [u8]),
    /// From a reader, to its end; the caller bounds it.
    Reader(&'a mut dyn Read),
}

/// One file of a tree. Its folders are made as needed.
pub(crate) struct TreeFile<'a> {
    /// Plain components joined by `/`: none empty, `.` or `..`.
    pub(crate) path: &'a str,
    /// Mode 0755 instead of 0644.
    pub(crate) executable: bool,
    /// Its bytes.
    pub(crate) content: Content<'a>,
    /// What they must hash to.
    pub(crate) sha256: Option<[u8; 32]>,
}

/// [`TreeWriter`] in one call, in the folder at `parent` (made when missing).
///
/// # Errors
/// [`Error::Io`], [`Error::Malformed`] (a bad path, a path twice, a wrong hash), or what the iterator gave.
pub(crate) fn write_tree<'a>(
    disk: &Disk,
    parent: &Path,
    temporary: &str,
    final_name: &str,
    files: impl IntoIterator<Item = Result<TreeFile<'a>>>,
) -> Result<()> {
    let mut tree = TreeWriter::begin(disk.folder(parent)?, temporary)?;
    for file in files {
        tree.add(file?)?;
    }
    tree.finish(final_name)
}

/// A tree in the making. Dropped unfinished it removes what it wrote, as well as it can.
pub(crate) struct TreeWriter {
    parent: Folder,
    temporary: String,
    /// The folder and those in it that were made, each with its path; parents before children.
    folders: Vec<(String, Folder)>,
    finished: bool,
}

impl TreeWriter {
    /// Makes the fresh folder `temporary` in `parent`; it must not exist.
    pub(crate) fn begin(parent: Folder, temporary: &str) -> Result<TreeWriter> {
        let root = parent.create(temporary, 0o755)?;
        Ok(TreeWriter { parent, temporary: temporary.into(), folders: vec![(String::new(), root)], finished: false })
    }

    /// Writes one file and makes it durable.
    pub(crate) fn add(&mut self, file: TreeFile<'_>) -> Result<()> {
        let written = self.create(file.path)?;
        let mut hash = Sha256::new();
        let mut offset = 0u64;
        let mut write = |piece: &[u8]| {
            hash.update(piece);
            written.write_at(offset, piece)?;
            offset = offset.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            Ok::<(), Error>(())
        };
        match file.content {
            Content::Bytes(bytes) => write(bytes)?,
            Content::Reader(reader) => {
                let mut piece = vec![0; PIECE_BYTES];
                loop {
                    match reader.read(&mut piece) {
                        Ok(0) => break,
                        Ok(n) => write(piece.get(..n).unwrap_or_default())?,
                        Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                        Err(e) => return Err(Error::io(format!("cannot read the content of {}", file.path), &e)),
                    }
                }
            }
        }
        if file.sha256.is_some_and(|want| <[u8; 32]>::from(hash.finalize()) != want) {
            return Err(Error::malformed("file content", format!("the hash of {} does not fit", file.path)));
        }
        written.set_mode(if file.executable { 0o755 } else { 0o644 })?;
        written.sync()
    }

    /// Makes the folders durable and gives the tree its name, where nothing (or an empty folder) must be.
    pub(crate) fn finish(mut self, final_name: &str) -> Result<()> {
        self.folders.iter().rev().try_for_each(|(_, folder)| folder.sync())?;
        self.parent.rename(&self.temporary, final_name)?;
        self.finished = true;
        self.parent.sync().inspect_err(|_| {
            // A name that may be gone after a power cut is not to be relied on: absent, then.
            let _ = self.parent.remove_tree(final_name);
        })
    }

    fn create(&mut self, path: &str) -> Result<DiskFile> {
        if path.split('/').count() > DEPTH_MAX {
            return Err(Error::malformed("file path", format!("more than {DEPTH_MAX} components")));
        }
        let (folder, name) = match path.rsplit_once('/') {
            Some(("", _)) => return Err(Error::malformed("file path", format!("{path:?} is absolute"))),
            Some(parts) => parts,
            None => ("", path),
        };
        let at = match self.position(folder) {
            Some(at) => at,
            None => self.create_folders(folder)?,
        };
        let Some((_, folder)) = self.folders.get(at) else { return Err(Error::malformed("file path", path)) };
        folder.create_file(name)
    }

    fn position(&self, path: &str) -> Option<usize> {
        self.folders.iter().position(|(other, _)| other == path)
    }

    /// Makes the folders of a path that are not there yet; the place of the last one.
    fn create_folders(&mut self, path: &str) -> Result<usize> {
        let mut at = 0;
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        for end in ends {
            let prefix = path.get(..end).unwrap_or_default();
            at = match self.position(prefix) {
                Some(known) => known,
                None => {
                    let name = prefix.rsplit('/').next().unwrap_or_default();
                    let Some((_, parent)) = self.folders.get(at) else {
                        return Err(Error::malformed("file path", path));
                    };
                    let folder = parent.create(name, 0o755)?;
                    self.folders.push((prefix.to_owned(), folder));
                    self.folders.len() - 1
                }
            };
        }
        Ok(at)
    }
}

impl Drop for TreeWriter {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Err(e) = self.parent.remove_tree(&self.temporary) {
            log::warn!(target: "files", error:% = e; "cannot remove an unfinished folder");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn file<'a>(path: &'a str, bytes: &'a [u8]) -> Result<TreeFile<'a>> {
        Ok(TreeFile { path, executable: path.starts_with("bin"), content: Content::Bytes(bytes), sha256: None })
    }

    fn write(parent: &Path, files: Vec<Result<TreeFile<'_>>>) -> Result<()> {
        write_tree(&Disk::real(), parent, ".new-x", "tree", files)
    }

    fn count(path: &Path) -> usize {
        std::fs::read_dir(path).unwrap().count()
    }

    #[test]
    fn a_tree_has_its_files_with_exact_modes_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = std::io::repeat(7).take(200_000);
        let long = TreeFile {
            path: "share/a/long",
            executable: false,
            content: Content::Reader(&mut reader),
            sha256: Some(Sha256::digest(vec![7; 200_000]).into()),
        };
        write(dir.path(), vec![file("bin/x", b"#!"), file("bin/y", b""), Ok(long), file("top", b"t")]).unwrap();
        let mode = |path: &str| dir.path().join(path).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(
            [mode("tree"), mode("tree/bin"), mode("tree/bin/x"), mode("tree/top")],
            [0o755, 0o755, 0o755, 0o644]
        );
        assert_eq!(std::fs::read(dir.path().join("tree/share/a/long")).unwrap(), vec![7; 200_000]);
        assert_eq!((count(dir.path()), count(&dir.path().join("tree"))), (1, 3));
    }

    #[test]
    fn a_tree_that_fails_is_absent_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let wrong = || TreeFile { path: "b", executable: false, content: Content::Bytes(b"b"), sha256: Some([0; 32]) };
        let bad: Vec<Vec<Result<TreeFile<'_>>>> = vec![
            vec![file("a", b"1"), Ok(wrong())],
            vec![file("a", b"1"), Err(Error::Busy)],
            vec![file("a", b"1"), file("a", b"2")],
            vec![file("a", b"1"), file("a/b", b"2")],
            vec![file("a/b", b"1"), file("a", b"2")],
            vec![file("a", b"1"), file("../b", b"2")],
            vec![file("a", b"1"), file("/b", b"2")],
            vec![file("a", b"1"), file("x//b", b"2")],
            vec![file("a", b"1"), file("b/", b"2")],
            vec![file("a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q", b"1")],
            vec![file("", b"1")],
        ];
        for (i, files) in bad.into_iter().enumerate() {
            assert!(write(dir.path(), files).is_err(), "case {i}");
            assert_eq!(count(dir.path()), 0, "case {i}");
        }
    }

    #[test]
    fn nothing_that_stands_at_the_name_is_replaced_but_an_empty_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (name, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, &name).unwrap();
        assert!(write(dir.path(), vec![file("a", b"1")]).is_err());
        std::fs::remove_file(&name).unwrap();
        std::fs::create_dir(&name).unwrap();
        std::fs::write(name.join("precious"), "p").unwrap();
        assert!(write(dir.path(), vec![file("a", b"1")]).is_err());
        assert_eq!((count(dir.path()), count(&outside), count(&name)), (2, 0, 1));
        std::fs::remove_file(name.join("precious")).unwrap();
        write(dir.path(), vec![file("a", b"1")]).unwrap();
        assert_eq!(std::fs::read(name.join("a")).unwrap(), b"1");
        // A folder of somebody else at the temporary name stays as well.
        std::fs::create_dir(dir.path().join(".new-x")).unwrap();
        assert!(write_tree(&Disk::real(), dir.path(), ".new-x", "other", vec![file("a", b"1")]).is_err());
        assert!(dir.path().join(".new-x").exists());
    }
}
