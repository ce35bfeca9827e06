//! A manifest made from a stream of files.

use super::manifest::{
    CHUNK_BYTES, NAME_RULE, OBJECT_BYTES_MAX, ObjectManifest, VERSION_RULE, is_component, is_path, is_version,
};
use super::manifest_error::{FILES_MAX, ManifestError, bad};
use super::manifest_read::{Raw, RawFile};
use crate::base::base64_encode;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Makes a manifest from files fed as a stream, so that nothing of them is held: `begin_file`, any number of
/// `push_bytes`, the next file, `finish`. The same files in the same order give the same text and so the
/// same id: sort them.
pub struct ManifestBuilder {
    raw: Raw,
    files: Vec<RawFile>,
    file: Option<(u64, Sha256)>,
    size: u64,
    chunk: Sha256,
    chunk_filled: usize,
    chunks: Vec<u8>,
}

impl fmt::Debug for ManifestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManifestBuilder({} files, {} bytes)", self.files.len(), self.size)
    }
}

impl ManifestBuilder {
    /// A builder for an object of that name and version; see [`ObjectManifest::name`] and
    /// [`ObjectManifest::version`] for what they may be.
    ///
    /// # Errors
    /// [`ManifestError::Field`].
    pub fn new(name: &str, version: &str) -> Result<ManifestBuilder, ManifestError> {
        if !is_component(name) {
            return Err(bad("name", NAME_RULE));
        }
        if !is_version(version) {
            return Err(bad("version", VERSION_RULE));
        }
        let raw = Raw {
            v: Some(1),
            object_type: Some("miner".into()),
            name: Some(name.into()),
            version: Some(version.into()),
            chunk: Some(CHUNK_BYTES.into()),
            ..Raw::default()
        };
        let (chunk, chunks) = (Sha256::new(), Vec::new());
        Ok(ManifestBuilder { raw, files: Vec::new(), file: None, size: 0, chunk, chunk_filled: 0, chunks })
    }

    /// Begins the next file.
    ///
    /// # Errors
    /// [`ManifestError::Field`] for a bad path or too many files; clashes are found by [`ManifestBuilder::finish`].
    pub fn begin_file(&mut self, path: &str, executable: bool) -> Result<(), ManifestError> {
        self.end_file();
        if !is_path(path) {
            return Err(bad("files.path", format!("{path:?} is not 1 to 4 plain components")));
        }
        if self.files.len() == FILES_MAX {
            return Err(bad("files", format!("more than {FILES_MAX}")));
        }
        let exec = executable.then_some(true);
        self.files.push(RawFile { path: Some(path.into()), size: None, exec, sha256: None });
        self.file = Some((0, Sha256::new()));
        Ok(())
    }

    /// The next bytes of the file that was begun.
    ///
    /// # Errors
    /// [`ManifestError::TooLarge`]; [`ManifestError::Field`] when no file was begun.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> Result<(), ManifestError> {
        let Some((length, hash)) = &mut self.file else { return Err(bad("files", "bytes without a file")) };
        let size = self.size.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if size > OBJECT_BYTES_MAX {
            return Err(ManifestError::TooLarge { size, max: OBJECT_BYTES_MAX });
        }
        hash.update(bytes);
        *length += size - self.size;
        self.size = size;
        let (mut rest, whole) = (bytes, usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX));
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(rest.len().min(whole - self.chunk_filled));
            self.chunk.update(piece);
            self.chunk_filled += piece.len();
            rest = tail;
            if self.chunk_filled == whole {
                self.end_chunk();
            }
        }
        Ok(())
    }

    /// The manifest of all that was fed; `main` is the path of the file that is run.
    ///
    /// # Errors
    /// As [`ObjectManifest::parse`].
    pub fn finish(mut self, main: &str) -> Result<ObjectManifest, ManifestError> {
        self.end_file();
        if self.chunk_filled > 0 {
            self.end_chunk();
        }
        let (size, chunks) = (Some(self.size), Some(base64_encode(&self.chunks)));
        let raw = Raw { main: Some(main.into()), size, files: Some(self.files), chunks, ..self.raw };
        let text = serde_json::to_string(&raw).map_err(|e| bad("text", e.to_string()))?;
        ObjectManifest::parse(&text, OBJECT_BYTES_MAX)
    }

    fn end_file(&mut self) {
        if let (Some((length, hash)), Some(file)) = (self.file.take(), self.files.last_mut()) {
            file.size = Some(length);
            file.sha256 = Some(hex::encode(hash.finalize()));
        }
    }

    fn end_chunk(&mut self) {
        self.chunks.extend(self.chunk.finalize_reset());
        self.chunk_filled = 0;
    }
}
