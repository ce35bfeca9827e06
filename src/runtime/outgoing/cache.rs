//! The last chunks that were read, so that rigs at similar places of one object share one read.

use crate::base::Result;
use crate::mesh::FeedObject;
use std::collections::VecDeque;
use std::sync::Arc;

/// Chunks kept: 4 MiB.
const CHUNKS_MAX: usize = 64;

/// The cache; the newest at the back.
#[derive(Debug, Default)]
pub(crate) struct ChunkCache {
    chunks: VecDeque<(String, u32, Arc<Vec<u8>>)>,
}

impl ChunkCache {
    /// One chunk of an object, checked against its manifest when it is read.
    pub(crate) fn chunk(&mut self, object: &FeedObject, index: u32) -> Result<Arc<Vec<u8>>> {
        if let Some(at) = self.chunks.iter().position(|(t, i, _)| *i == index && *t == object.t)
            && let Some(found) = self.chunks.remove(at)
        {
            let chunk = found.2.clone();
            self.chunks.push_back(found);
            return Ok(chunk);
        }
        let chunk = Arc::new(object.source.read(index)?);
        if self.chunks.len() >= CHUNKS_MAX {
            self.chunks.pop_front();
        }
        self.chunks.push_back((object.t.clone(), index, chunk.clone()));
        Ok(chunk)
    }

    /// Nobody is fed any more: the memory is given back.
    pub(crate) fn clear(&mut self) {
        self.chunks = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::ChunkSource;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Debug, Default)]
    struct Counted(AtomicUsize);

    impl ChunkSource for Counted {
        fn read(&self, index: u32) -> Result<Vec<u8>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(vec![u8::try_from(index % 256).unwrap(); 4])
        }

        fn recipe(&self) -> serde_json::Value {
            serde_json::Value::Null
        }
    }

    #[test]
    fn rigs_at_similar_places_share_one_read_and_no_more_than_64_chunks_are_kept() {
        let source = Arc::new(Counted::default());
        let object = FeedObject { t: "t".into(), manifest: "".into(), size: 400, chunks: 100, source: source.clone() };
        let mut cache = ChunkCache::default();
        for index in 0..100 {
            for _rig in 0..3 {
                assert_eq!(cache.chunk(&object, index).unwrap()[0], u8::try_from(index).unwrap());
            }
        }
        assert_eq!((source.0.load(Ordering::Relaxed), cache.chunks.len()), (100, CHUNKS_MAX));
    }
}
