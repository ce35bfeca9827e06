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
#[derive(Clone, Serialize, Deserialize)]
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
    pub(crate) fn save(&self, owed: &[Owed]) -> Result<()> {
        if owed.is_empty() {
            return atomic::remove(&self.path);
        }
        let entry = |owed: &Owed| {
            let recipe = serde_json::from_value(owed.object.source.recipe()).ok()?;
            let (peer, object) = (owed.peer.clone(), owed.object.t.clone());
            Some(OwedEntry { peer, object, recipe, profile: owed.profile.clone(), activate: owed.activate })
        };
        let content = Content { deploys: owed.iter().filter_map(entry).collect() };
        let bytes =
            serde_json::to_vec_pretty(&content).map_err(|e| Error::Failed(format!("cannot encode a list: {e}")))?;
        atomic::write(&self.path, &bytes, 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::{RecipeFile, object};
    use super::*;
    use std::sync::Arc;

    #[test]
    fn what_is_owed_is_found_again_and_nothing_owed_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("m"), "x").unwrap();
        let files = vec![RecipeFile { file: dir.path().join("m"), path: "m".into(), executable: true }];
        let recipe = Recipe { name: "m".into(), version: "1".into(), main: "m".into(), files };
        let object = Arc::new(object(recipe.clone()).unwrap());
        let profile = RawPayload::from_text(r#"{"id":"a","wallet":"4W"}"#).unwrap();
        let owed = Owed { peer: "p".into(), object: object.clone(), profile: profile.clone(), activate: true };
        let file = OwedFile::new(dir.path().join("deploys.json"));
        assert!(file.load().unwrap().is_empty());
        file.save(&[owed]).unwrap();
        let found = file.load().unwrap().remove(0);
        assert_eq!((found.object, found.profile), (object.t.clone(), profile));
        assert_eq!(found.recipe, recipe);
        file.save(&[]).unwrap();
        assert!(!dir.path().join("deploys.json").exists());
        std::fs::write(dir.path().join("deploys.json"), "{").unwrap();
        assert!(file.load().is_err());
    }
}
