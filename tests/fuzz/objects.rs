//! Laws of what is deployed in chunks: manifests.

use rigmesh::bundle::{OBJECT_BYTES_MAX, ObjectManifest};

/// A manifest that is read keeps its text, is read again as itself, has paths that stay in their folder, and chunks
/// that cover exactly its files.
pub fn manifest(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(manifest) = ObjectManifest::parse(text, OBJECT_BYTES_MAX) else { return false };
    assert_eq!((manifest.text(), ObjectManifest::parse(text, OBJECT_BYTES_MAX).as_ref()), (text, Ok(&manifest)));
    assert_eq!(manifest.id().to_string().parse(), Ok(manifest.id()));
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0', ':']);
    assert!(manifest.files().iter().all(|file| file.path.split('/').all(plain)));
    assert!(manifest.files().iter().any(|file| file.path == manifest.main() && file.executable));
    let count = manifest.chunk_count();
    for index in (0..count.min(20)).chain(count.saturating_sub(20)..count) {
        let (start, length) = manifest.chunk_place(index).unwrap();
        let mut at = start;
        for part in manifest.chunk_parts(index) {
            let file = &manifest.files()[part.file];
            assert_eq!(file.start + part.offset, at);
            assert!(part.length > 0 && part.offset + u64::from(part.length) <= file.size);
            at += u64::from(part.length);
        }
        assert_eq!(at, start + u64::from(length));
        assert_eq!(at == manifest.size(), index == count - 1);
    }
    assert!(manifest.chunk_place(count).is_none());
    true
}
