//! An object made of files on the controller's disk.

use crate::base::{Error, Result};
use crate::bundle::{ManifestBuilder, OBJECT_BYTES_MAX, ObjectManifest};
use crate::mesh::{ChunkSource, FeedObject};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a miner is made of: enough to make the object again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The main file's path in the object.
    pub(crate) main: String,
    pub(crate) files: Vec<DeployFile>,
}

/// One file of a miner to deploy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployFile {
    /// Where it lies here.
    pub file: PathBuf,
    /// Where it goes, relative to the miner's folder: 1 to 4 names joined by `/`.
    pub path: String,
    /// Whether it is a program. The main file is one in any case.
    pub executable: bool,
}

/// The files of an object, read where they lie.
#[derive(Debug)]
struct FileSource {
    recipe: Recipe,
    manifest: ObjectManifest,
}

/// Hashes the files and makes the object. Nothing is kept in memory but hashes.
///
/// # Errors
/// [`Error::Io`] for what cannot be read, [`Error::Config`] for what no manifest allows.
pub(crate) fn object(recipe: Recipe) -> Result<FeedObject> {
    let wrong = |e: crate::bundle::ManifestError| Error::Config(e.to_string());
    let mut builder = ManifestBuilder::new(&recipe.name, &recipe.version).map_err(wrong)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0u64;
    for file in &recipe.files {
        let mut reader = open(&file.file)?;
        builder.begin_file(&file.path, file.executable).map_err(wrong)?;
        loop {
            let n = reader.read(&mut buffer).map_err(|e| cannot_read(&file.file, &e))?;
            let Some(bytes) = buffer.get(..n).filter(|b| !b.is_empty()) else { break };
            total += n as u64;
            if total > OBJECT_BYTES_MAX {
                return Err(Error::Config(format!("the files have more than the {OBJECT_BYTES_MAX} bytes allowed")));
            }
            builder.push_bytes(bytes).map_err(wrong)?;
        }
    }
    let manifest = builder.finish(&recipe.main).map_err(wrong)?;
    Ok(FeedObject {
        t: manifest.id().to_string(),
        manifest: manifest.text().into(),
        size: manifest.size(),
        chunks: manifest.chunk_count(),
        source: Arc::new(FileSource { recipe, manifest }),
    })
}

impl ChunkSource for FileSource {
    fn read(&self, index: u32) -> Result<Vec<u8>> {
        let changed = || Error::Failed("file changed".to_owned());
        let mut chunk = Vec::new();
        for part in self.manifest.chunk_parts(index) {
            let file = self.recipe.files.get(part.file).ok_or_else(changed)?;
            let start = chunk.len();
            chunk.resize(start + usize::try_from(part.length).unwrap_or(0), 0);
            let target = chunk.get_mut(start..).unwrap_or_default();
            // Cut short since: changed. Not there or not readable: the error says so.
            open(&file.file)?.read_exact_at(target, part.offset).map_err(|e| match e.kind() {
                std::io::ErrorKind::UnexpectedEof => changed(),
                _ => cannot_read(&file.file, &e),
            })?;
        }
        if self.manifest.is_chunk(index, &chunk) { Ok(chunk) } else { Err(changed()) }
    }

    fn recipe(&self) -> serde_json::Value {
        serde_json::to_value(&self.recipe).unwrap_or_default()
    }
}

/// Opens a plain file; a pipe or a device would block for ever.
fn open(path: &Path) -> Result<File> {
    let meta = path.metadata().map_err(|e| cannot_read(path, &e))?;
    if !meta.is_file() {
        return Err(Error::Config(format!("{} is no plain file", path.display())));
    }
    File::open(path).map_err(|e| cannot_read(path, &e))
}

fn cannot_read(path: &Path, e: &std::io::Error) -> Error {
    Error::io(format!("cannot read {}", path.display()), e)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(folder: &Path, sizes: &[usize]) -> Recipe {
        let files = sizes.iter().enumerate().map(|(i, size)| {
            let file = folder.join(format!("f{i}"));
            let bytes: Vec<u8> = (0..*size).map(|n| u8::try_from((n * 7 + i) % 251).unwrap()).collect();
            std::fs::write(&file, bytes).unwrap();
            DeployFile { file, path: format!("bin/f{i}"), executable: i == 0 }
        });
        let files = files.collect();
        Recipe { name: "m".into(), version: "1".into(), main: "bin/f0".into(), files }
    }

    #[test]
    fn the_chunks_are_the_files_one_after_another() {
        let dir = tempfile::tempdir().unwrap();
        let object = object(recipe(dir.path(), &[70_000, 0, 65_536, 1])).unwrap();
        let whole: Vec<u8> = (0..4).flat_map(|i| std::fs::read(dir.path().join(format!("f{i}"))).unwrap()).collect();
        let chunks: Vec<u8> = (0..object.chunks).flat_map(|i| object.source.read(i).unwrap()).collect();
        assert_eq!((chunks, object.size), (whole, 135_537));
        assert!(object.source.read(object.chunks).is_err());
        // Made again from its recipe it is the same object.
        let again: Recipe = serde_json::from_value(object.source.recipe()).unwrap();
        assert_eq!(super::object(again).unwrap().t, object.t);
    }

    #[test]
    fn a_file_that_changed_is_noticed_at_the_chunk_that_did() {
        let dir = tempfile::tempdir().unwrap();
        let object = object(recipe(dir.path(), &[200_000])).unwrap();
        let path = dir.path().join("f0");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[70_000] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(object.source.read(0).is_ok());
        assert_eq!(object.source.read(1).unwrap_err().to_string(), "file changed");
        std::fs::write(&path, &bytes[..65_536]).unwrap();
        assert_eq!(object.source.read(2).unwrap_err().to_string(), "file changed");
        std::fs::remove_file(&path).unwrap();
        assert!(object.source.read(0).unwrap_err().to_string().contains("f0"));
    }

    #[test]
    fn what_is_no_plain_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut recipe = recipe(dir.path(), &[1]);
        recipe.files[0].file = dir.path().to_owned();
        assert!(object(recipe).unwrap_err().to_string().contains("no plain file"));
    }
}
