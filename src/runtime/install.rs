//! What makes a miner that has arrived one that runs: its slot becomes the current one, running miners switch
//! to it, its profile is stored. Also the way of bundles that come in one message, as Go nodes send them.

use super::depot::{Depot, DepotLimits, Slots};
use super::files::disk::Disk;
use crate::base::{Error, Result, Timestamp};
use crate::bundle::{self, Bundle, ObjectId};
use crate::identity::{Identity, PublicKey};
use crate::message::{Deploy, DeployKind, RawPayload, VersionItem};
use crate::miners::{self, MinerManager, Profile, ProfileManager};
use std::path::PathBuf;
use std::sync::Arc;

/// What an installation needs.
pub(crate) struct Installer {
    pub(crate) slots: Arc<Slots>,
    pub(crate) limits: DepotLimits,
    pub(crate) data_dir: PathBuf,
    pub(crate) identity: Arc<Identity>,
    pub(crate) miners: Arc<dyn MinerManager>,
    pub(crate) profiles: Option<Arc<dyn ProfileManager>>,
}

impl Installer {
    /// Opens the folder of incoming data and cleans up what a crash left.
    pub(crate) fn open_depot(&self, now: Timestamp) -> Result<Depot> {
        Depot::open(&self.data_dir, self.limits.clone(), Disk::real(), self.slots.clone(), now)
    }

    /// The profile that came along, when it can be stored and run.
    pub(crate) fn profile(&self, raw: &RawPayload) -> Result<Option<Profile>> {
        if raw.is_null() {
            return Ok(None);
        }
        if self.profiles.is_none() {
            return Err(Error::Failed("profile manager not configured".to_owned()));
        }
        checked(raw.as_str().as_bytes()).map(Some)
    }

    /// The slot is written: switch to it, then store the profile.
    pub(crate) fn after_install(&self, id: &ObjectId, slot: u32, profile: &RawPayload, activate: bool) -> Result<()> {
        let profile = self.profile(profile)?;
        if activate {
            let name = self.slots.name_of(id, slot)?;
            self.switch(&name, slot)?;
        }
        if let (Some(profile), Some(profiles)) = (profile, &self.profiles) {
            profiles.save_profile(&profile)?;
        }
        Ok(())
    }

    fn switch(&self, name: &str, slot: u32) -> Result<()> {
        if self.slots.activate(name, slot)? {
            self.miners.version_switched(name);
        }
        Ok(())
    }

    /// A bundle that came in one message; gives its name back (mesh.md §4).
    pub(crate) fn deploy(&self, from: &PublicKey, deploy: Deploy) -> Result<String> {
        let password = self.identity.secret().shared_secret(from)?.smsg_password();
        let Deploy { kind, data, checksum, name } = deploy;
        let bundle = Bundle { kind, name, data: data.unwrap_or_default(), checksum };
        match bundle.kind {
            DeployKind::Profile => {
                bundle::check_profile_name(&bundle.name)?;
                let json = bundle::extract_profile_bundle(&bundle, &password)?;
                let profiles =
                    self.profiles.as_ref().ok_or_else(|| Error::Failed("profile manager not configured".to_owned()))?;
                profiles.save_profile(&checked(&json)?)?;
            }
            DeployKind::Miner | DeployKind::Full => {
                let unpacked = bundle::extract_miner_bundle(&bundle, &password)?;
                let profile = unpacked.profile.as_deref().map(checked).transpose()?;
                let slot = self.slots.install_bundle(&bundle.name, &unpacked)?;
                self.switch(&bundle.name, slot)?;
                if let (Some(profile), Some(profiles)) = (profile, &self.profiles) {
                    profiles.save_profile(&profile)?;
                }
            }
            DeployKind::Other(kind) => {
                return Err(Error::malformed("bundle type", crate::base::quote_value(&kind).into_owned()));
            }
        }
        Ok(bundle.name)
    }

    /// What is installed, for whoever asks.
    pub(crate) fn versions(&self, name: Option<&str>) -> Vec<VersionItem> {
        self.slots.versions(name)
    }

    /// Back to another version; says what was done.
    pub(crate) fn roll_back(&self, name: &str, slot: Option<u32>) -> Result<String> {
        let now = self.slots.rollback(name, slot)?;
        self.miners.version_switched(name);
        Ok(format!("{name} version {now}"))
    }
}

/// A profile from outside: well formed, and with no key its miner type does not know.
fn checked(json: &[u8]) -> Result<Profile> {
    let profile = Profile::decode(json)?;
    miners::config::check(&profile.miner_type, &profile.config)?;
    Ok(profile)
}
