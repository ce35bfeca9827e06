//! `deploys.json`: what rigs are owed, so that a controller that was killed goes on. It may hold a wallet (a
//! profile goes along), so it is private.

use super::source::Recipe;
use crate::base::{Error, Result, check_json};
use crate::mesh::Owed;
use crate::message::RawPayload;
use crate::runtime::files::atomic;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The largest file that is read.
const BYTES_MAX: usize = 64 << 20;

/// One line of it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwedEntry {
    /// The rig's node id.
    pub(crate) peer: String,
    /// The object's id: what is made again must be the same.
    pub(crate) object: String,
    pub(crate) recipe: Recipe,
    #[serde(default, skip_serializing_if = "RawPayload::is_null")]
    pub(crate) profile: RawPayload,
    pub(crate) activate: bool,
}

impl std::fmt::Debug for OwedEntry {
    /// Without the profile.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OwedEntry {{ peer: {:?}, object: {:?}, .. }}", self.peer, self.object)
    }
}

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct OwedFile {
    path: PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    deploys: Vec<OwedEntry>,
}

impl OwedFile {
    pub(crate) fn new(path: PathBuf) -> OwedFile {
        OwedFile { path }
    }

    /// What is owed. A broken file is reported and not touched.
    pub(crate) fn load(&self) -> Result<Vec<OwedEntry>> {
        let Some(bytes) = atomic::read(&self.path, BYTES_MAX)? else { return Ok(Vec::new()) };
        let text = check_json("deploys.json", &bytes)?;
        let content: Content = serde_json::from_str(text)
            .map_err(|e| Error::malformed("deploys.json", format!("line {} column {}", e.line(), e.column())))?;
        Ok(content.deploys)
    }

    /// Replaces it; nothing owed, no file.
    fn save(&self, entries: Vec<OwedEntry>) -> Result<()> {
        if entries.is_empty() {
            return atomic::remove(&self.path);
        }
        let content = Content { deploys: entries };
        let bytes =
            serde_json::to_vec_pretty(&content).map_err(|e| Error::Failed(format!("cannot encode a list: {e}")))?;
        atomic::write(&self.path, &bytes, 0o600)
    }
}

/// The file in the hands of the thread that writes it. What an earlier run left in it stays until this run has
/// taken it up or is told to forget it.
#[derive(Debug)]
pub(crate) struct OwedBook {
    file: OwedFile,
    /// Read at the first change.
    inherited: Option<Vec<OwedEntry>>,
    current: Vec<OwedEntry>,
}

impl OwedBook {
    pub(crate) fn new(file: OwedFile) -> OwedBook {
        OwedBook { file, inherited: None, current: Vec::new() }
    }

    /// What this run owes now.
    pub(crate) fn handle_owed(&mut self, owed: &[Owed]) -> Result<()> {
        let entry = |owed: &Owed| {
            let recipe = serde_json::from_value(owed.object.source.recipe()).ok()?;
            let (peer, object) = (owed.peer.clone(), owed.object.t.clone());
            Some(OwedEntry { peer, object, recipe, profile: owed.profile.clone(), activate: owed.activate })
        };
        self.current = owed.iter().filter_map(entry).collect();
        self.write(|_| false)
    }

    /// A rig is not owed an object any more, or anything at all.
    pub(crate) fn forget(&mut self, peer: &str, object: Option<&str>) -> Result<()> {
        self.write(|entry| entry.peer == peer && object.is_none_or(|object| entry.object == object))
    }

    fn write(&mut self, forgotten: impl Fn(&OwedEntry) -> bool) -> Result<()> {
        let mut inherited = match self.inherited.take() {
            Some(inherited) => inherited,
            None => self.file.load()?,
        };
        let current = &self.current;
        inherited.retain(|old| {
            !forgotten(old) && !current.iter().any(|new| new.peer == old.peer && new.object == old.object)
        });
        let all = inherited.iter().chain(current).cloned().collect();
        self.inherited = Some(inherited);
        self.file.save(all)
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::{DeployFile, object};
    use super::*;
    use std::sync::Arc;

    #[test]
    fn what_is_owed_is_found_again_and_nothing_owed_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("m"), "x").unwrap();
        let files = vec![DeployFile { file: dir.path().join("m"), path: "m".into(), executable: true }];
        let recipe = Recipe { name: "m".into(), version: "1".into(), main: "m".into(), files };
        let object = Arc::new(object(recipe.clone()).unwrap());
        let profile = RawPayload::from_text(r#"{"id":"a","wallet":"4W"}"#).unwrap();
        let owed = Owed { peer: "p".into(), object: object.clone(), profile: profile.clone(), activate: true };
        let file = OwedFile::new(dir.path().join("deploys.json"));
        let mut book = OwedBook::new(file.clone());
        assert!(file.load().unwrap().is_empty());
        book.handle_owed(&[owed]).unwrap();
        let found = file.load().unwrap().remove(0);
        assert_eq!((found.object, found.profile), (object.t.clone(), profile));
        assert_eq!(found.recipe, recipe);
        book.handle_owed(&[]).unwrap();
        assert!(!dir.path().join("deploys.json").exists());
        std::fs::write(dir.path().join("deploys.json"), "{").unwrap();
        assert!(file.load().is_err());
        // What cannot be read is not overwritten.
        assert!(OwedBook::new(file).handle_owed(&[]).is_err());
        assert_eq!(std::fs::read(dir.path().join("deploys.json")).unwrap(), b"{");
    }

    #[test]
    fn what_an_earlier_run_left_stays_until_it_is_taken_up_or_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("m"), "x").unwrap();
        let files = vec![DeployFile { file: dir.path().join("m"), path: "m".into(), executable: true }];
        let recipe = Recipe { name: "m".into(), version: "1".into(), main: "m".into(), files };
        let object = Arc::new(object(recipe).unwrap());
        let owed =
            |peer: &str| Owed { peer: peer.into(), object: object.clone(), profile: RawPayload::NULL, activate: true };
        let file = OwedFile::new(dir.path().join("deploys.json"));
        let peers = || file.load().unwrap().into_iter().map(|e| e.peer).collect::<Vec<_>>();
        OwedBook::new(file.clone()).handle_owed(&[owed("a"), owed("b"), owed("c")]).unwrap();
        let mut book = OwedBook::new(file.clone());
        book.handle_owed(&[owed("new")]).unwrap();
        assert_eq!(peers(), ["a", "b", "c", "new"]);
        book.handle_owed(&[owed("b"), owed("new")]).unwrap();
        book.handle_owed(&[owed("new")]).unwrap();
        assert_eq!(peers(), ["a", "c", "new"], "b was taken up and is done");
        book.forget("a", Some("another object")).unwrap();
        book.forget("c", Some(&object.t)).unwrap();
        assert_eq!(peers(), ["a", "new"]);
        book.forget("a", None).unwrap();
        book.handle_owed(&[]).unwrap();
        assert!(peers().is_empty());
    }
}
