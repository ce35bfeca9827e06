//! The depot of a simulated rig: objects in memory instead of on a disk, with the same answers as the real one.
//! What it holds survives a power cut, as a disk would.

use crate::base::{Error, Result, Rng, Timestamp};
use crate::mesh::{
    AuditCommand, AuditSink, CHUNK_BYTES, ChunkSource, DepotEvent, DepotTask, FeedObject, MarksSnapshot, Offered, Owed,
    Parcel, PullId, Stored,
};
use crate::message::DeployOffer;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An object to deploy in a simulated world.
#[derive(Clone, Debug)]
pub struct Object {
    pub(super) feed: Arc<FeedObject>,
    bytes: Arc<Vec<u8>>,
}

/// The bytes of an object, in memory.
#[derive(Debug)]
struct Bytes(Arc<Vec<u8>>);

impl ChunkSource for Bytes {
    fn read(&self, index: u32) -> Result<Vec<u8>> {
        chunk(&self.0, index).map(<[u8]>::to_vec).ok_or_else(|| Error::Failed("file changed".to_owned()))
    }

    fn recipe(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

fn chunk(bytes: &[u8], index: u32) -> Option<&[u8]> {
    bytes.chunks(usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX)).nth(usize::try_from(index).ok()?)
}

impl Object {
    /// Random bytes, `size` of them.
    pub fn random(size: usize, rng: &mut Rng) -> Object {
        let mut bytes = vec![0; size];
        rng.fill(&mut bytes);
        let hashes = bytes.chunks(usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX)).map(Sha256::digest);
        let hashes: Vec<String> = hashes.map(hex::encode).collect();
        let chunks = u32::try_from(hashes.len()).unwrap_or(u32::MAX);
        let manifest = serde_json::json!({"size": size, "chunks": hashes}).to_string();
        let t = hex::encode(Sha256::digest(&manifest));
        let bytes = Arc::new(bytes);
        let source = Arc::new(Bytes(bytes.clone()));
        let feed = FeedObject { t, manifest: manifest.into(), size: size as u64, chunks, source };
        Object { feed: Arc::new(feed), bytes }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What lies on a simulated rig's disk.
#[derive(Debug, Default)]
pub struct Depot {
    incoming: BTreeMap<String, Incoming>,
    /// Installed objects, in order: the number of each is its place, counted from one.
    installed: Vec<(String, Vec<u8>)>,
    /// Nothing fits any more.
    pub full: bool,
    /// So many chunks that arrive are taken for damaged.
    pub damage: u32,
    /// Chunks that were written.
    pub written: usize,
    /// What the node is owed to hand out, as it was last saved: rig and object.
    pub owed: Vec<(String, String)>,
}

#[derive(Debug)]
struct Incoming {
    manifest: String,
    chunks: Vec<Option<Vec<u8>>>,
}

impl Depot {
    /// The installed objects, oldest first.
    pub fn installed(&self) -> impl Iterator<Item = &[u8]> {
        self.installed.iter().map(|(_, bytes)| bytes.as_slice())
    }

    /// Does a task. `permitted` is the outcome of the look at the permissions; installations are recorded.
    pub(super) fn work(
        &mut self,
        task: DepotTask,
        permitted: Result<()>,
        audit: (&dyn AuditSink, Timestamp),
        save: &mut dyn FnMut(MarksSnapshot) -> Result<()>,
    ) -> Option<DepotEvent> {
        match task {
            DepotTask::Offer { pull, marks, offer, .. } => {
                let saved = permitted.and_then(|()| marks.map_or(Ok(()), save));
                let result = saved.map(|()| self.offer(&offer));
                Some(DepotEvent::Offered { pull, result, mark: None })
            }
            DepotTask::Store { pull, t, index, chunk } => Some(self.store(pull, &t, index, &chunk)),
            DepotTask::Install { pull, permit, t, profile, activate } => {
                let (audit, now) = audit;
                let command = AuditCommand::object(&t, None, &profile, activate);
                let begun = permitted.and_then(|()| audit.begin(now, &permit, &command));
                let result = begun.clone().and_then(|_| self.install(&t));
                let why = result.as_ref().err().map(Error::to_string);
                let mark = begun.ok().and_then(|of| audit.end(now, of, why.as_deref().map_or(Ok(()), Err)));
                Some(DepotEvent::Installed { pull, result, mark })
            }
            DepotTask::Forget { t } => {
                self.incoming.remove(&t);
                None
            }
            DepotTask::LetGo { .. } | DepotTask::ForgetOwed { .. } | DepotTask::Unattended { .. } => None,
            DepotTask::CheckKeys => {
                // These worlds have one controller a rig: either it may deploy or nobody may.
                if permitted.is_err() {
                    self.incoming.clear();
                }
                None
            }
            DepotTask::Read { feed, h, object, index, framed } => {
                let chunk = object.source.read(index).map(|data| Parcel::pack(framed, h, index, &data));
                Some(DepotEvent::Read { feed, h, index, chunk })
            }
            DepotTask::SaveOwed(owed) => {
                self.owed = owed.into_iter().map(|Owed { peer, object, .. }| (peer, object.t.clone())).collect();
                None
            }
        }
    }

    fn offer(&mut self, offer: &DeployOffer) -> Offered {
        if let Some(at) = self.installed.iter().position(|(t, _)| *t == offer.t) {
            return Offered::Installed { slot: number(at) };
        }
        if self.full {
            return Offered::Refused("no space: need 1, free 0".to_owned());
        }
        let count = hashes(&offer.manifest).len();
        let incoming = self
            .incoming
            .entry(offer.t.clone())
            .or_insert_with(|| Incoming { manifest: offer.manifest.clone(), chunks: vec![None; count] });
        let missing: Vec<(u32, u32)> =
            (0u32..).zip(&incoming.chunks).filter(|(_, chunk)| chunk.is_none()).map(|(index, _)| (index, 1)).collect();
        match missing.len() as u64 {
            0 => Offered::Have,
            n => Offered::Need { missing, bytes: n * CHUNK_BYTES },
        }
    }

    fn store(&mut self, pull: PullId, t: &str, index: u32, chunk: &Parcel) -> DepotEvent {
        let result = (|| {
            let data = chunk.data().ok_or_else(|| Error::malformed("chunk", "unreadable"))?.into_owned();
            let gone = || Error::NotFound("no such object".to_owned());
            let incoming = self.incoming.get_mut(t).ok_or_else(gone)?;
            let at = usize::try_from(index).unwrap_or(usize::MAX);
            let fits = hashes(&incoming.manifest).get(at).is_some_and(|h| *h == hex::encode(Sha256::digest(&data)));
            if !fits || self.damage > 0 {
                self.damage = self.damage.saturating_sub(1);
                return Ok(Stored::Wrong);
            }
            self.written += 1;
            *incoming.chunks.get_mut(at).ok_or_else(gone)? = Some(data);
            Ok(Stored::Kept)
        })();
        DepotEvent::Stored { pull, index, result }
    }

    fn install(&mut self, t: &str) -> Result<u32> {
        let incoming = self.incoming.remove(t).ok_or_else(|| Error::NotFound("no such object".to_owned()))?;
        let whole: Option<Vec<Vec<u8>>> = incoming.chunks.into_iter().collect();
        let bytes = whole.ok_or_else(|| Error::Failed("a chunk is missing".to_owned()))?.concat();
        self.installed.push((t.to_owned(), bytes));
        Ok(number(self.installed.len() - 1))
    }
}

fn hashes(manifest: &str) -> Vec<String> {
    let manifest: serde_json::Value = serde_json::from_str(manifest).unwrap_or_default();
    serde_json::from_value(manifest["chunks"].clone()).unwrap_or_default()
}

fn number(at: usize) -> u32 {
    u32::try_from(at + 1).unwrap_or(u32::MAX)
}
