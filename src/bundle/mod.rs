//! Step 4: what is deployed.

mod manifest;
mod manifest_build;
mod manifest_read;

pub use manifest::{
    CHUNK_BYTES, ChunkPart, FILES_MAX, MANIFEST_BYTES_MAX, ManifestError, OBJECT_BYTES_MAX, OBJECT_BYTES_MAX_V1,
    ObjectFile, ObjectId, ObjectManifest, check_object_name,
};
pub use manifest_build::ManifestBuilder;
