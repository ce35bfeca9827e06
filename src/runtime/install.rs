//! What makes a miner that has arrived one that runs: its slot becomes the current one, running miners switch
//! to it, its profile is stored. Also the way of bundles that come in one message, as Go nodes send them.

use super::depot::{Depot, DepotLimits, SlotFile, SlotVersion, Slots, VersionState};
use super::files::disk::Disk;
use crate::base::{Error, Result, Timestamp};
use crate::bundle::{self, Bundle, PlainProfile, Unpacked};
use crate::identity::{Identity, PublicKey};
use crate::message::{Deploy, DeployKind, RawPayload, VersionItem};
use crate::miners::{MinerManager, Profile, ProfileManager};
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
        Depot::open(&self.data_dir, &self.limits, &Disk::real(), self.slots.clone(), now)
    }

    /// The profile that came along, when it can be stored and run.
    pub(crate) fn profile(&self, raw: &RawPayload) -> Result<Option<Profile>> {
        if raw.is_null() {
            return Ok(None);
        }
        if self.profiles.is_none() {
            return Err(Error::Failed("profile manager not configured".to_owned()));
        }
        Profile::decode_checked(raw.as_str().as_bytes()).map(Some)
    }

    /// The slot is written: switch to it, then store the profile.
    pub(crate) fn after_install(&self, name: &str, slot: u32, profile: &RawPayload, activate: bool) -> Result<()> {
        self.finish(name, slot, self.profile(profile)?.as_ref(), activate)
    }

    fn finish(&self, name: &str, slot: u32, profile: Option<&Profile>, activate: bool) -> Result<()> {
        if activate {
            self.switch(name, slot)?;
        }
        match (profile, &self.profiles) {
            (Some(profile), Some(profiles)) => profiles.save_profile(profile),
            _ => Ok(()),
        }
    }

    fn switch(&self, name: &str, slot: u32) -> Result<()> {
        if self.slots.activate(name, slot)? {
            self.miners.version_switched(name);
        }
        Ok(())
    }

    /// A bundle that came in one message; gives its name back (mesh.md §4).
    pub(crate) fn deploy(&self, from: &PublicKey, deploy: Deploy) -> Result<String> {
        let password = self.identity.shared_secret(from)?.smsg_password();
        bundle::check_name(&deploy.kind, &deploy.name)?;
        let bundle = Bundle::from(deploy);
        let name = bundle.name.clone();
        match bundle.kind {
            DeployKind::Profile => {
                // The channel is sealed, and its other end may deploy: plain JSON is as good.
                let json = bundle::extract_profile_bundle(&bundle, &password, PlainProfile::Accepted)?;
                let profiles =
                    self.profiles.as_ref().ok_or_else(|| Error::Failed("profile manager not configured".to_owned()))?;
                profiles.save_profile(&Profile::decode_checked(&json)?)?;
            }
            DeployKind::Miner | DeployKind::Full => {
                let unpacked = bundle::extract_miner_bundle(bundle, &password)?;
                let profile = unpacked.profile.as_deref().map(Profile::decode_checked).transpose()?;
                self.install_unpacked(&name, "bundle", &unpacked, profile.as_ref(), true)?;
            }
            DeployKind::Other(kind) => {
                return Err(Error::malformed("bundle type", crate::base::quote_value(&kind).into_owned()));
            }
        }
        Ok(name)
    }

    /// A miner whose files are in memory: from a bundle, or of this very machine.
    pub(crate) fn install_unpacked(
        &self,
        name: &str,
        version: &str,
        miner: &Unpacked,
        profile: Option<&Profile>,
        activate: bool,
    ) -> Result<u32> {
        let files = miner.files.iter();
        let files: Vec<SlotFile<'_>> =
            files.map(|f| SlotFile { path: &f.path, executable: f.executable, bytes: &f.data }).collect();
        let slot = self.slots.install_files(name, version, &miner.main, &files, super::clock::wall())?;
        self.finish(name, slot, profile, activate)?;
        Ok(slot)
    }

    /// What is installed, for whoever asks.
    pub(crate) fn versions(&self, name: Option<&str>) -> Vec<VersionItem> {
        let item = |v: SlotVersion| {
            let (state, note) = match v.state {
                VersionState::Ok => ("ok", String::new()),
                VersionState::Trial => ("trial", String::new()),
                VersionState::RolledBack { why } => ("rolled_back", why),
                VersionState::Failed { why } => ("failed", why),
            };
            let t = v.object.map(|id| id.to_string()).unwrap_or_default();
            let SlotVersion { name, number, version, size, current, .. } = v;
            VersionItem { name, slot: number, version, size, t, current, state: state.to_owned(), note }
        };
        self.slots.versions(name).into_iter().map(item).collect()
    }

    /// Back to another version; says what was done.
    pub(crate) fn roll_back(&self, name: &str, slot: Option<u32>) -> Result<String> {
        let now = self.slots.rollback(name, slot)?;
        self.miners.version_switched(name);
        Ok(format!("{name} version {now}"))
    }
}
