//! Profiles as files: `<data dir>/profiles/<id>.json`, 0600, replaced atomically.

use crate::base::{Error, Refusal, Result};
use crate::miners::config::{MINER_TYPES, check};
use crate::miners::{PROFILE_BYTES_MAX, Profile, ProfileManager, check_profile_id};
use crate::runtime::files::atomic;
use std::io::ErrorKind;
use std::path::PathBuf;

/// Most profiles kept.
const PROFILES_MAX: usize = 1024;

/// The profiles of a data folder. Files are read when asked for, so what a person edits is seen at once; a
/// file placed by hand passes the same checks as one from a controller. Configurations of miner types that
/// are not built in (an embedder's) are kept as they are.
#[derive(Debug)]
pub struct FileProfileManager {
    folder: PathBuf,
}

impl FileProfileManager {
    /// The profiles below `data_dir`. The folder is made with the first profile.
    pub fn new(data_dir: impl Into<PathBuf>) -> FileProfileManager {
        FileProfileManager { folder: data_dir.into().join("profiles") }
    }

    fn path(&self, id: &str) -> Result<PathBuf> {
        check_profile_id(id)?;
        Ok(self.folder.join(format!("{id}.json")))
    }

    fn ids(&self) -> Result<Vec<String>> {
        let io = |e: &std::io::Error| Error::io(format!("cannot read the folder {}", self.folder.display()), e);
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(io(&e)),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.map_err(|e| io(&e))?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            ids.extend(id.filter(|id| check_profile_id(id).is_ok()).map(str::to_owned));
        }
        ids.sort();
        ids.truncate(PROFILES_MAX);
        Ok(ids)
    }
}

impl ProfileManager for FileProfileManager {
    fn profile(&self, id: &str) -> Result<Profile> {
        let path = self.path(id)?;
        let Some(bytes) = atomic::read(&path, PROFILE_BYTES_MAX)? else {
            return Err(Error::NotFound(format!("no profile {id:?} on this rig")));
        };
        let judged = Profile::decode(&bytes).and_then(|profile| {
            if profile.id != id {
                return Err(Error::malformed("profile id", "differs from the name of its file"));
            }
            check_known(&profile)?;
            Ok(profile)
        });
        judged.map_err(|e| match e {
            Error::Malformed { what, detail } => Error::malformed(what, format!("{detail} (in {})", path.display())),
            other => other,
        })
    }

    fn save_profile(&self, profile: &Profile) -> Result<()> {
        let (path, bytes) = (self.path(&profile.id)?, profile.encode()?);
        check_known(profile)?;
        let ids = self.ids()?;
        if ids.len() >= PROFILES_MAX && !ids.contains(&profile.id) {
            return Err(Refusal::Limit(format!("{PROFILES_MAX} profiles on this rig")).into());
        }
        atomic::write(&path, &bytes, 0o600)
    }

    fn list_profiles(&self) -> Result<Vec<Profile>> {
        Ok(self.ids()?.iter().filter_map(|id| self.profile(id).ok()).collect())
    }

    fn remove_profile(&self, id: &str) -> Result<()> {
        let path = self.path(id)?;
        if !path.exists() {
            return Err(Error::NotFound(format!("no profile {id:?} on this rig")));
        }
        atomic::remove(&path)
    }

    fn broken_profiles(&self) -> Vec<(String, Error)> {
        let ids = self.ids().unwrap_or_default();
        ids.into_iter().filter_map(|id| self.profile(&id).err().map(|e| (id, e))).collect()
    }
}

fn check_known(profile: &Profile) -> Result<()> {
    if MINER_TYPES.contains(&profile.miner_type.as_str()) {
        check(&profile.miner_type, &profile.config)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt as _;

    fn profile(id: &str) -> Profile {
        let config = json!({"pools": [{"url": "p:1", "user": "4Wallet"}]});
        Profile { id: id.into(), name: "any text".into(), miner_type: "xmrig".into(), config }
    }

    #[test]
    fn profiles_are_saved_listed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileProfileManager::new(dir.path());
        assert!(store.list_profiles().unwrap().is_empty());
        for id in ["b", "a"] {
            store.save_profile(&profile(id)).unwrap();
        }
        assert_eq!(store.list_profiles().unwrap(), [profile("a"), profile("b")]);
        let mode = dir.path().join("profiles/a.json").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        store.remove_profile("a").unwrap();
        assert!(matches!(store.remove_profile("a"), Err(Error::NotFound(_))));
        assert!(matches!(store.profile("a"), Err(Error::NotFound(_))));
        assert_eq!(FileProfileManager::new(dir.path()).profile("b").unwrap(), profile("b"));
    }

    #[test]
    fn a_broken_profile_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileProfileManager::new(dir.path());
        store.save_profile(&profile("good")).unwrap();
        let place =
            |id: &str, text: &str| std::fs::write(dir.path().join(format!("profiles/{id}.json")), text).unwrap();
        place("cut", "{\"id\":");
        place("other", &String::from_utf8(profile("good").encode().unwrap()).unwrap());
        place("http", r#"{"id":"http","name":"","minerType":"xmrig","config":{"http":{"host":"0.0.0.0"}}}"#);
        assert_eq!(store.list_profiles().unwrap(), [profile("good")]);
        let broken = store.broken_profiles();
        assert_eq!(broken.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["cut", "http", "other"]);
        assert!(broken[1].1.to_string().contains("\"http\"") && broken[1].1.to_string().contains("http.json"));
        assert!(matches!(store.profile("cut"), Err(Error::Malformed { .. })));
    }

    #[test]
    fn a_profile_from_outside_reaches_no_other_file_and_no_forbidden_key() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileProfileManager::new(dir.path());
        for id in ["../evil", "a/b", ".hidden", ""] {
            assert!(store.save_profile(&profile(id)).is_err() && store.profile(id).is_err());
        }
        let mut bad = profile("bad");
        bad.config["log-file"] = json!("/tmp/x");
        assert!(store.save_profile(&bad).is_err());
        let theirs = Profile { miner_type: "t-rex".into(), config: json!({"anything": 1}), ..profile("theirs") };
        store.save_profile(&theirs).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
