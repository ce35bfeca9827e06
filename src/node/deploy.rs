//! Deployments: what to install, and the commands that bring it to rigs.

use super::controller::{Controller, Sweep};
use super::{CONNECT_MAX, unexpected};
use crate::base::{Error, Result};
use crate::bundle;
use crate::identity::PublicKey;
use crate::mesh::{Answer, CallId, Command, ConnectTo, FeedInfo, FeedObject};
use crate::message::{
    Deploy, DeployAck, DeployKind, GetVersions, MessageType, Payload, RawPayload, Rollback, VersionItem, Versions,
    parse_response,
};
use crate::miners::Profile;
use crate::runtime::clock::system_rng;
use crate::runtime::outgoing::{Recipe, RecipeFile, object};
use crossbeam_channel::{RecvTimeoutError, bounded};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a rig has to answer a query.
const QUERY: Duration = Duration::from_secs(10);
/// How long a rig has to install a bundle that came in one message, or to switch versions.
const CHANGE: Duration = Duration::from_secs(30);
/// How often progress is told while data flows.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// A command's share of the control queue's bytes.
const COMMAND_BYTES: usize = 1024;

/// One file of a miner to deploy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployFile {
    /// Where it lies here.
    pub file: PathBuf,
    /// Where it goes, relative to the miner's folder: 1 to 4 names joined by `/`.
    pub path: String,
    /// Whether it is a program. The main file is one in any case.
    pub executable: bool,
}

/// A miner to deploy: hashed once, read piece by piece while rigs ask for it.
#[derive(Clone, Debug)]
pub struct Deployment {
    object: Arc<FeedObject>,
    name: String,
    main: String,
    files: Vec<DeployFile>,
    profile: Option<Profile>,
    activate: bool,
}

impl Deployment {
    /// A miner called `name`, of a version called `version` by its maker. The main file is the only one, or the one
    /// that is named; it is started by the rig.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read; [`Error::Config`] for names, sizes or counts that are not
    /// allowed (at most 256 files and 512 MiB), or when it is not clear which file is the main one.
    pub fn miner(name: &str, version: &str, main: Option<&str>, files: Vec<DeployFile>) -> Result<Deployment> {
        let named = |path: &str| path.rsplit('/').next() == Some(name);
        let main = match (main, files.as_slice()) {
            (Some(main), _) => main.to_owned(),
            (None, [only]) => only.path.clone(),
            (None, many) => match many.iter().find(|f| named(&f.path)) {
                Some(file) => file.path.clone(),
                None => {
                    let paths: Vec<&str> = many.iter().map(|f| f.path.as_str()).collect();
                    let next = "name the one that is started (--main)";
                    return Err(Error::Config(format!("none of the files is called {name}: {next}: {}", paths.join(", "))));
                }
            },
        };
        let recipe = Recipe {
            name: name.to_owned(),
            version: version.to_owned(),
            main: main.clone(),
            files: files
                .iter()
                .map(|f| RecipeFile { file: f.file.clone(), path: f.path.clone(), executable: f.executable })
                .collect(),
        };
        let object = Arc::new(object(recipe)?);
        Ok(Deployment { object, name: name.to_owned(), main, files, profile: None, activate: true })
    }

    /// Stores this profile on the rig after the install.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Deployment {
        self.profile = Some(profile);
        self
    }

    /// Whether running miners switch to the new version. The default is yes.
    #[must_use]
    pub fn activate(mut self, activate: bool) -> Deployment {
        self.activate = activate;
        self
    }

    /// The object's id: the same for every rig.
    pub fn id(&self) -> &str {
        &self.object.t
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.object.size
    }

    /// The main file's path.
    pub fn main_path(&self) -> &str {
        &self.main
    }
}

/// What became of a deployment on a rig.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deployed {
    /// The version's number on the rig; `None` from a Go node, which has no versions.
    pub slot: Option<u32>,
    /// The rig had it installed before; nothing was sent.
    pub already: bool,
}

impl Controller {
    /// Brings a miner to rigs. Between RigMesh nodes it is sent in chunks, resumed after anything, and installed as
    /// a version beside the others; a Go node gets one message, when it fits. `keep`: rigs that are away get it when
    /// they are back, also after a restart of this node. `progress` is told how far every rig is, a few times a second.
    ///
    /// # Errors
    /// None for the whole; for every rig the reason it has it not: [`Error::Remote`] with the rig's words,
    /// [`Error::Unreachable`], [`Error::Config`] when it does not fit into a message for a Go node.
    pub fn deploy(
        &self,
        rigs: &[String],
        deployment: &Deployment,
        keep: bool,
        progress: &mut dyn FnMut(&[FeedInfo]),
    ) -> Sweep<Deployed> {
        let (reply, answers) = bounded(rigs.len().max(1));
        let mut calls: BTreeMap<CallId, String> = BTreeMap::new();
        let mut results: BTreeMap<String, Result<Deployed>> = BTreeMap::new();
        let profile = match deployment.profile.as_ref().map(RawPayload::from_value).transpose() {
            Ok(profile) => profile.unwrap_or(RawPayload::NULL),
            Err(e) => return rigs.iter().map(|rig| (rig.clone(), Err(e.clone()))).collect(),
        };
        for rig in rigs {
            let begun = loop {
                let command = |call| Command::Deploy {
                    call: Some(call),
                    peer: rig.clone(),
                    object: deployment.object.clone(),
                    profile: profile.clone(),
                    activate: deployment.activate,
                    keep,
                };
                match self.shared.begin(reply.clone(), COMMAND_BYTES, command) {
                    // The queue is shorter than the fleet: the dispatcher is at it.
                    Err(Error::Busy) => std::thread::yield_now(),
                    other => break other,
                }
            };
            match begun {
                Ok(call) => drop(calls.insert(call, rig.clone())),
                Err(e) => drop(results.insert(rig.clone(), Err(e))),
            }
        }
        drop(reply);
        while !calls.is_empty() {
            match answers.recv_timeout(PROGRESS_EVERY) {
                Ok((call, answer)) => {
                    let Some(rig) = calls.remove(&call) else { continue };
                    let result = match answer {
                        Ok(Answer::Deployed { slot, already }) => Ok(Deployed { slot, already }),
                        Ok(Answer::Plain) => self.deploy_plain(&rig, deployment),
                        Ok(other) => Err(unexpected(&other)),
                        Err(e) => Err(e),
                    };
                    results.insert(rig, result);
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Ok(infos) = self.deploys() {
                        let ours: Vec<FeedInfo> =
                            infos.into_iter().filter(|i| i.object == deployment.id() && rigs.contains(&i.peer)).collect();
                        progress(&ours);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let missing = || Err(Error::ShuttingDown);
        rigs.iter().map(|rig| (rig.clone(), results.remove(rig).unwrap_or_else(missing))).collect()
    }

    /// How far every deployment of this node is, also those that nobody waits for.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub fn deploys(&self) -> Result<Vec<FeedInfo>> {
        match self.shared.ask(QUERY, 0, |call| Command::Deploys { call })? {
            Answer::Deploys(infos) => Ok(infos),
            other => Err(unexpected(&other)),
        }
    }

    /// Forgets what a rig is still owed; how many deployments that were. What the rig has already stays there.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub fn cancel_deploys(&self, rig: &str) -> Result<usize> {
        let peer = rig.to_owned();
        match self.shared.ask(QUERY, 0, |call| Command::CancelDeploys { call, peer })? {
            Answer::Count(count) => Ok(count),
            other => Err(unexpected(&other)),
        }
    }

    /// Stores a profile on a rig, sealed with the key of the connection. Go nodes take it too.
    ///
    /// # Errors
    /// As [`Controller::stats`]; [`Error::Failed`] with the rig's words.
    pub fn deploy_profile(&self, rig: &str, profile: &Profile) -> Result<()> {
        let key = self.key_of(rig)?;
        let json = serde_json::to_vec(profile).map_err(|e| Error::malformed("profile", e.to_string()))?;
        let password = self.shared.identity.secret().shared_secret(&key)?.smsg_password();
        let sealed = bundle::create_profile_bundle(&json, &profile.id, &password, &mut system_rng()?)?;
        self.deploy_bundle(rig, sealed)
    }

    /// The versions of a miner that are installed on a rig, or of all its miners; newest first.
    ///
    /// # Errors
    /// As [`Controller::stats`]; [`Error::Config`] when the peer is no RigMesh node.
    pub fn versions(&self, rig: &str, name: Option<&str>) -> Result<Vec<VersionItem>> {
        self.must_be_rigmesh(rig)?;
        let asked = GetVersions { name: name.unwrap_or_default().to_owned() };
        let (message, _) = self.exchange(rig, Payload::GetVersions(asked), QUERY)?;
        parse_response::<Versions>(Some(&message), &MessageType::Versions).map(|v| v.versions)
    }

    /// Goes back to another installed version of a miner: the one before, when none is named. Miners that run it are
    /// restarted. Returns what the rig says it did.
    ///
    /// # Errors
    /// As [`Controller::versions`]; [`Error::Failed`] with the rig's words.
    pub fn rollback(&self, rig: &str, name: &str, slot: Option<u32>) -> Result<String> {
        self.must_be_rigmesh(rig)?;
        self.ack(rig, Payload::Rollback(Rollback { name: name.to_owned(), slot }))
    }

    fn key_of(&self, rig: &str) -> Result<PublicKey> {
        Ok(self.link(rig)?.key)
    }

    fn link(&self, rig: &str) -> Result<crate::mesh::LinkInfo> {
        self.shared.connect(ConnectTo::Peer(rig.to_owned()))
    }

    /// Whether a peer announced itself takes a round trip more than its proof.
    fn must_be_rigmesh(&self, rig: &str) -> Result<()> {
        if !self.link(rig)?.rigmesh {
            self.ping(rig)?;
            if !self.link(rig)?.rigmesh {
                return Err(Error::Config(format!("{rig} is no RigMesh node: it has no versions")));
            }
        }
        Ok(())
    }

    /// To a peer without chunked deployments: one message, or an error before anything is sent.
    fn deploy_plain(&self, rig: &str, deployment: &Deployment) -> Result<Deployed> {
        let max = self.shared.config.message_bytes_max;
        bundle::check_plain_deploy(deployment.size(), max)?;
        let key = self.key_of(rig)?;
        let password = self.shared.identity.secret().shared_secret(&key)?.smsg_password();
        let mut files = Vec::new();
        for file in &deployment.files {
            let data = std::fs::read(&file.file)
                .map_err(|e| Error::io(format!("cannot read {}", file.file.display()), &e))?;
            files.push(bundle::BundleFile { path: file.path.clone(), data });
        }
        let profile = deployment.profile.as_ref().map(serde_json::to_vec).transpose();
        let profile = profile.map_err(|e| Error::malformed("profile", e.to_string()))?;
        let sealed =
            bundle::create_miner_bundle(&files, profile.as_deref(), &deployment.name, &password, &mut system_rng()?)?;
        self.deploy_bundle(rig, sealed)?;
        Ok(Deployed::default())
    }

    fn deploy_bundle(&self, rig: &str, bundle: bundle::Bundle) -> Result<()> {
        let payload = Deploy { kind: bundle.kind, data: Some(bundle.data), checksum: bundle.checksum, name: bundle.name };
        let (message, _) = self.exchange(rig, Payload::Deploy(payload), CHANGE)?;
        let ack: DeployAck = parse_response(Some(&message), &MessageType::DeployAck)?;
        if ack.success { Ok(()) } else { Err(Error::Failed(ack.error)) }
    }
}
