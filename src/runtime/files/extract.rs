//! Bundles onto the disk: everything about the archive is judged in memory first, then the tree is written
//! complete or not at all.

use super::disk::{Disk, Kind};
use super::tree::{Content, TreeFile, write_tree};
use crate::base::{Error, Result};
use crate::bundle::{Bundle, Unpacked, extract_miner_bundle};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Extracts a miner's bundle into the folder `dest`, which must not exist, or be empty. The main file is executable
/// (0755); other files are 0755 or 0644 as the bundle says, with no setuid and nothing writable by others.
///
/// Returns where the main file is, and the profile that came along. After `Ok` the folder survives a power cut; after an
/// error it is as it was before.
///
/// # Errors
/// As [`extract_miner_bundle`]; [`Error::Config`] when something stands at `dest`; [`Error::Io`].
pub fn extract_miner_bundle_to(bundle: Bundle, password: &str, dest: &Path) -> Result<(PathBuf, Option<Vec<u8>>)> {
    let unpacked = extract_miner_bundle(bundle, password)?;
    let main = write_unpacked(&Disk::real(), &unpacked, dest)?;
    Ok((main, unpacked.profile))
}

/// Writes a miner that was unpacked in memory into the folder `dest`, by the rules of [`extract_miner_bundle_to`]. Returns
/// where its main file is.
///
/// # Errors
/// [`Error::Config`] when something stands at `dest`; [`Error::Io`].
pub fn write_unpacked_miner(unpacked: &Unpacked, dest: &Path) -> Result<PathBuf> {
    write_unpacked(&Disk::real(), unpacked, dest)
}

/// Writes an unpacked miner into the folder `dest`; where its main file then is.
pub(crate) fn write_unpacked(disk: &Disk, unpacked: &Unpacked, dest: &Path) -> Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let no_name = || Error::Config(format!("{} cannot be extracted to: it has no plain name", dest.display()));
    let name = dest.file_name().and_then(|name| name.to_str()).ok_or_else(no_name)?;
    let parent = match dest.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    check_free(disk, parent, name, dest)?;
    let temporary = format!(".new-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let files = unpacked.files.iter().map(|file| {
        Ok(TreeFile {
            path: &file.path,
            executable: file.executable,
            content: Content::Bytes(&file.data),
            sha256: None,
        })
    });
    write_tree(disk, parent, &temporary, name, files)?;
    Ok(dest.join(&unpacked.main))
}

/// Early and in plain words; the rename at the end sees to it that nothing is ever replaced.
fn check_free(disk: &Disk, parent: &Path, name: &str, dest: &Path) -> Result<()> {
    if !parent.is_dir() {
        return Ok(());
    }
    let parent = disk.folder(parent)?;
    let free = match parent.kind(name)? {
        None => true,
        Some(Kind::Folder) => parent.open(name)?.is_none_or(|folder| folder.entries().is_ok_and(|all| all.is_empty())),
        Some(_) => false,
    };
    if free { Ok(()) } else { Err(Error::Config(format!("{} is there already: name a new folder", dest.display()))) }
}

#[cfg(test)]
mod tests {
    use super::super::disk::{Change, Gate};
    use super::*;
    use crate::base::Rng;
    use crate::bundle::{MinerFile, create_full_bundle};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::sync::Arc;

    fn bundle() -> Bundle {
        let files = [
            MinerFile { path: "xmrig", executable: false, data: b"program" },
            MinerFile { path: "lib/a/tool", executable: true, data: b"tool" },
            MinerFile { path: "lib/data", executable: false, data: &[7; 5000] },
        ];
        create_full_bundle(&files, None, b"{\"id\":\"p\"}", "xmrig", "pw", &mut Rng::from_number(1)).unwrap()
    }

    /// Every path below a folder with what it is.
    fn tree(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            found.push(format!("{} {kind:?}", path.display()));
            if kind.is_dir() {
                found.extend(tree(&path));
            }
        }
        found.sort();
        found
    }

    fn extract(dest: &Path) -> Result<(PathBuf, Option<Vec<u8>>)> {
        extract_miner_bundle_to(bundle(), "pw", dest)
    }

    #[test]
    fn a_miner_lands_with_its_modes_and_its_profile_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("new/xmrig");
        let (main, profile) = extract(&dest).unwrap();
        assert_eq!((main.as_path(), profile.unwrap()), (dest.join("xmrig").as_path(), b"{\"id\":\"p\"}".to_vec()));
        let mode = |name: &str| fs::metadata(dest.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!([mode("xmrig"), mode("lib/a/tool"), mode("lib/data")], [0o755, 0o755, 0o644]);
        assert_eq!(fs::read(dest.join("lib/data")).unwrap(), [7; 5000]);
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 1);
        // A second time something is there; an empty folder is as good as none.
        let before = tree(dir.path());
        assert!(extract(&dest).unwrap_err().to_string().contains("there already"));
        assert_eq!(tree(dir.path()), before);
        fs::create_dir(dir.path().join("empty")).unwrap();
        extract(&dir.path().join("empty")).unwrap();
    }

    #[test]
    fn links_in_the_way_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, dest) = (dir.path().join("outside"), dir.path().join("dest"));
        fs::create_dir(&outside).unwrap();
        symlink(&outside, &dest).unwrap();
        let before = tree(dir.path());
        assert!(extract(&dest).is_err());
        fs::remove_file(&dest).unwrap();
        symlink(dir.path().join("nowhere"), &dest).unwrap();
        assert!(extract(&dest).is_err());
        fs::remove_file(&dest).unwrap();
        fs::write(&dest, "a file").unwrap();
        assert!(extract(&dest).is_err());
        fs::remove_file(&dest).unwrap();
        symlink(&outside, &dest).unwrap();
        assert_eq!(tree(dir.path()), before);
    }

    #[test]
    fn a_bad_bundle_touches_nothing_not_even_the_parent() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("new/parent/xmrig");
        assert!(extract_miner_bundle_to(bundle(), "other", &dest).is_err());
        let bad = Bundle { checksum: "0".repeat(64), ..bundle() };
        assert!(extract_miner_bundle_to(bad, "pw", &dest).is_err());
        assert!(extract(Path::new("/")).is_err() && extract(&dir.path().join("..")).is_err());
        assert!(tree(dir.path()).is_empty());
    }

    /// Does something before the n-th change; lets it pass or fails it and all that follow.
    struct At<F> {
        n: u64,
        seen: AtomicU64,
        then: F,
    }

    impl<F: Fn() -> std::io::Result<()> + Send + Sync> Gate for At<F> {
        fn pass(&self, _: Change<'_>) -> std::io::Result<()> {
            match self.seen.fetch_add(1, Ordering::Relaxed) {
                seen if seen == self.n => (self.then)(),
                _ => Ok(()),
            }
        }
    }

    fn with_gate(dest: &Path, n: u64, then: impl Fn() -> std::io::Result<()> + Send + Sync + 'static) -> (bool, bool) {
        let gate = Arc::new(At { n, seen: AtomicU64::new(0), then });
        let unpacked = extract_miner_bundle(bundle(), "pw").unwrap();
        let done = write_unpacked(&Disk::behind(gate.clone()), &unpacked, dest).is_ok();
        (done, gate.seen.load(Ordering::Relaxed) > n)
    }

    #[test]
    fn a_failure_at_any_step_leaves_nothing_behind() {
        for n in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let full = || Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
            let (done, reached) = with_gate(&dir.path().join("dest"), n, full);
            assert_eq!(done, !reached, "step {n}");
            assert_eq!(tree(dir.path()).is_empty(), !done, "step {n}: {:?}", tree(dir.path()));
            if !reached {
                assert!(n > 10, "only {n} steps");
                return;
            }
        }
    }

    #[test]
    fn a_parent_swapped_for_a_link_at_any_step_redirects_nothing() {
        for n in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let (parent, moved, outside) =
                (dir.path().join("parent"), dir.path().join("moved"), dir.path().join("outside"));
            fs::create_dir(&parent).unwrap();
            fs::create_dir(&outside).unwrap();
            let swap = {
                let (parent, moved, outside) = (parent.clone(), moved.clone(), outside.clone());
                move || fs::rename(&parent, &moved).and_then(|()| symlink(&outside, &parent))
            };
            let (done, reached) = with_gate(&parent.join("dest"), n, swap);
            assert!(done, "step {n}");
            assert!(tree(&outside).is_empty(), "step {n} wrote outside: {:?}", tree(&outside));
            let at = if reached { &moved } else { &parent };
            assert_eq!(fs::read(at.join("dest/xmrig")).unwrap(), b"program", "step {n}");
            if !reached {
                return;
            }
        }
    }
}
