//! What is to run, on disk: written before a start is acknowledged, cleared before a stop is, so that a
//! rig does after a power cut what it did before it.

use crate::base::{Error, Result, check_json};
use crate::runtime::files::atomic;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

const BYTES_MAX: usize = 4 * 1024 * 1024;

/// One miner that is to run.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) miner_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) profile_id: Option<String>,
    /// The controller's settings, which may hold a wallet: the file is 0600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) config: Option<Value>,
    /// Wanted, and told to pause.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) paused: bool,
}

#[derive(Default, Serialize, Deserialize)]
struct File {
    miners: Vec<Entry>,
    /// Why all of them rest, when they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<String>,
}

/// The file and what it says.
pub(super) struct Desired {
    path: PathBuf,
    entries: Vec<Entry>,
    held: Option<String>,
}

impl Desired {
    /// Reads the file. One that cannot be understood is put aside, not overwritten, and the rig starts with nothing to run.
    pub(super) fn load(path: PathBuf) -> Result<Desired> {
        let file = match read(&path) {
            Ok(file) => file,
            Err(e @ Error::Malformed { .. }) => {
                let aside = path.with_extension("json.broken");
                std::fs::rename(&path, &aside)
                    .map_err(|e| Error::io(format!("cannot put aside {}", path.display()), &e))?;
                let aside = aside.display().to_string();
                log::error!(target: "miner", error:% = e, kept = aside.as_str(); "the list of miners to run is broken: start them again by hand");
                File::default()
            }
            Err(e) => return Err(e),
        };
        Ok(Desired { path, entries: file.miners, held: file.held })
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn held(&self) -> Option<&String> {
        self.held.as_ref()
    }

    /// Notes that the whole rig rests, or no longer. On an error nothing has changed.
    pub(super) fn hold(&mut self, why: Option<&str>) -> Result<()> {
        if self.held.as_deref() == why {
            return Ok(());
        }
        self.save(self.entries.clone(), why.map(str::to_owned))
    }

    /// Adds or replaces an entry. On an error nothing has changed.
    pub(super) fn add(&mut self, entry: Entry) -> Result<()> {
        let mut entries = self.entries.clone();
        entries.retain(|other| other.name != entry.name);
        entries.push(entry);
        self.replace(entries)
    }

    /// Notes that a miner is paused, or no longer. On an error nothing has changed.
    pub(super) fn pause(&mut self, name: &str, paused: bool) -> Result<()> {
        let mut entries = self.entries.clone();
        entries.iter_mut().filter(|entry| entry.name == name).for_each(|entry| entry.paused = paused);
        if entries == self.entries {
            return Ok(());
        }
        self.replace(entries)
    }

    /// Removes an entry. On an error it is still in the file.
    pub(super) fn remove(&mut self, name: &str) -> Result<()> {
        if self.entries.iter().all(|entry| entry.name != name) {
            return Ok(());
        }
        let mut entries = self.entries.clone();
        entries.retain(|entry| entry.name != name);
        self.replace(entries)
    }

    fn replace(&mut self, miners: Vec<Entry>) -> Result<()> {
        self.save(miners, self.held.clone())
    }

    fn save(&mut self, miners: Vec<Entry>, held: Option<String>) -> Result<()> {
        let file = File { miners, held };
        let bytes =
            serde_json::to_vec_pretty(&file).map_err(|e| Error::Failed(format!("cannot encode a list: {e}")))?;
        atomic::write(&self.path, &bytes, 0o600)?;
        (self.entries, self.held) = (file.miners, file.held);
        Ok(())
    }
}

fn read(path: &std::path::Path) -> Result<File> {
    let Some(bytes) = atomic::read(path, BYTES_MAX)? else { return Ok(File::default()) };
    let text = check_json("desired.json", &bytes)?;
    let file: File = serde_json::from_str(text)
        .map_err(|e| Error::malformed("desired.json", format!("line {} column {}", e.line(), e.column())))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.into(),
            miner_type: "sha256d".into(),
            profile_id: Some(name.into()),
            config: None,
            paused: false,
        }
    }

    #[test]
    fn what_is_to_run_survives_and_what_was_stopped_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("desired.json");
        let mut desired = Desired::load(path.clone()).unwrap();
        desired.add(entry("a")).unwrap();
        desired.add(entry("b")).unwrap();
        desired.add(Entry { config: Some(serde_json::json!({"threads": 1})), ..entry("a") }).unwrap();
        desired.remove("b").unwrap();
        desired.remove("never").unwrap();
        let again = Desired::load(path).unwrap();
        assert!(again.entries() == desired.entries());
        assert_eq!(again.entries().len(), 1);
    }

    #[test]
    fn a_broken_list_is_put_aside_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("desired.json");
        std::fs::write(&path, "{\"miners\":[{").unwrap();
        assert!(Desired::load(path.clone()).unwrap().entries().is_empty());
        assert!(!path.exists());
        assert_eq!(std::fs::read(dir.path().join("desired.json.broken")).unwrap(), b"{\"miners\":[{");
    }
}
