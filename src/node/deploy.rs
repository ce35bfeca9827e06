//! Deployments: what to install, and the commands that bring it to rigs.

use super::audit::{Order, Outcome};
use super::controller::{Controller, Sweep};
use super::{Node, Transport, unexpected};
use crate::base::{Error, Result};
use crate::bundle;
use crate::mesh::{Answer, AuditCommand, CallId, Command, ConnectTo, FeedInfo, FeedObject, MANAGE1, PAUSE1, SLOTS1};
use crate::message::{
    DeployAck, GetVersions, Message, MessageType, MinerAck, Payload, RawPayload, Rollback, StopMiner, VersionItem,
    Versions, parse_response,
};
use crate::miners::Profile;
use crate::runtime::clock::system_rng;
use crate::runtime::install::Installer;
pub use crate::runtime::outgoing::DeployFile;
use crate::runtime::outgoing::{OwedEntry, OwedFile, Recipe, object};
use crate::runtime::threads::STACK_HANDSHAKE;
use crossbeam_channel::{RecvTimeoutError, bounded};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long a rig has to answer a query.
const QUERY: Duration = Duration::from_secs(10);
/// How long a rig has to install a bundle that came in one message, or to switch versions.
const CHANGE: Duration = Duration::from_secs(30);
/// How often progress is told while data flows.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// A command's share of the control queue's bytes.
const COMMAND_BYTES: usize = 1024;

/// A miner to deploy: hashed once, read piece by piece while rigs ask for it.
#[derive(Clone, Debug)]
pub struct Deployment {
    object: Arc<FeedObject>,
    recipe: Recipe,
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
                    return Err(Error::Config(format!(
                        "none of the files is called {name}: {next}: {}",
                        paths.join(", ")
                    )));
                }
            },
        };
        let recipe = Recipe { name: name.to_owned(), version: version.to_owned(), main, files };
        Ok(Deployment { object: Arc::new(object(recipe.clone())?), recipe, profile: None, activate: true })
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

    /// The content of its files, in memory.
    fn read_files(&self) -> Result<Vec<Vec<u8>>> {
        let read = |f: &DeployFile| {
            std::fs::read(&f.file).map_err(|e| Error::io(format!("cannot read {}", f.file.display()), &e))
        };
        self.recipe.files.iter().map(read).collect()
    }

    /// Installs it on this very machine.
    pub(super) fn install_on(&self, installer: &Installer) -> Result<u32> {
        let files = self.recipe.files.iter().zip(self.read_files()?).map(|(f, data)| bundle::UnpackedFile {
            path: f.path.clone(),
            executable: f.executable,
            data,
        });
        let miner = bundle::Unpacked { files: files.collect(), main: self.recipe.main.clone(), profile: None };
        installer.install_unpacked(
            &self.recipe.name,
            &self.recipe.version,
            &miner,
            self.profile.as_ref(),
            self.activate,
        )
    }

    /// What the audit log says of it.
    pub(super) fn command(&self) -> AuditCommand {
        let named = (self.recipe.name.as_str(), self.recipe.version.as_str(), self.object.size);
        let profile = self.profile.as_ref().map(|profile| profile.id.as_str());
        AuditCommand::named_object(&self.object.t, Some(named), profile, self.activate)
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
        &self.recipe.main
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

impl Node {
    /// What an earlier run left unfinished goes on. The files are hashed on a thread of their own.
    pub(super) fn take_up_deploys(&self) -> Result<()> {
        let Some(paths) = &self.shared.paths else { return Ok(()) };
        let entries = match OwedFile::new(paths.deploys()).load() {
            Ok(entries) if entries.is_empty() => return Ok(()),
            Ok(entries) => entries,
            Err(e) => {
                log::error!(target: "deploy", "what rigs are owed cannot be read: {e}");
                return Ok(());
            }
        };
        let control = self.shared.control.clone();
        self.threads.spawn("deploys", STACK_HANDSHAKE, move || {
            let mut made: BTreeMap<String, Arc<FeedObject>> = BTreeMap::new();
            for entry in entries {
                let OwedEntry { peer, object: t, recipe, profile, activate } = entry;
                let object = match made.get(&t) {
                    Some(object) => object.clone(),
                    None => match object(recipe) {
                        Ok(object) if object.t == t => made.entry(t).or_insert(Arc::new(object)).clone(),
                        other => {
                            let why = other.err().map_or_else(|| "file changed".to_owned(), |e| e.to_string());
                            log::warn!(target: "deploy", peer = peer.as_str(), object = t.as_str(); "forgotten: {why}");
                            let _ = control.send(Command::ForgetOwed { peer, t }, None, 0);
                            continue;
                        }
                    },
                };
                loop {
                    let (peer, object, profile) = (peer.clone(), object.clone(), profile.clone());
                    let command = Command::Deploy { call: None, peer, object, profile, activate, keep: true };
                    match control.send(command, None, COMMAND_BYTES) {
                        Err(Error::Busy) => std::thread::yield_now(),
                        Err(_) => return,
                        Ok(()) => break,
                    }
                }
            }
        })
    }
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
        // Every offer is a message with an id of its own.
        let order = |rig: &String| Order { rig: rig.clone(), command: deployment.command(), id: String::new() };
        let orders: Vec<Order> = rigs.iter().map(order).collect();
        let begun = match self.shared.record_orders(&orders) {
            Ok(begun) => begun,
            Err(e) => return rigs.iter().map(|rig| (rig.clone(), Err(e.clone()))).collect(),
        };
        // Without a log there are no numbers.
        let numbers: BTreeMap<&str, u64> = rigs.iter().map(String::as_str).zip(begun).collect();
        let record = |rig: &str, answer: &Result<Answer>| {
            let outcome = numbers.get(rig).map(|of| Outcome::new(*of, rig, answer));
            self.shared.record_outcomes(outcome.as_slice());
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
                Err(e) => {
                    record(rig, &Err(e.clone()));
                    results.insert(rig.clone(), Err(e));
                }
            }
        }
        drop(reply);
        while !calls.is_empty() {
            match answers.recv_timeout(PROGRESS_EVERY) {
                Ok((call, answer)) => {
                    let Some(rig) = calls.remove(&call) else { continue };
                    record(&rig, &answer);
                    let result = match answer {
                        Ok(Answer::Deployed { slot, already, .. }) => Ok(Deployed { slot, already }),
                        Ok(Answer::NotDeployed { why, .. }) => Err(why),
                        Ok(Answer::Plain) => self.deploy_plain(&rig, deployment),
                        Ok(other) => Err(unexpected(&other)),
                        Err(e) => Err(e),
                    };
                    results.insert(rig, result);
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Ok(infos) = self.deploys() {
                        let ours: Vec<FeedInfo> = infos
                            .into_iter()
                            .filter(|i| i.object == deployment.id() && rigs.contains(&i.peer))
                            .collect();
                        progress(&ours);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        calls.values().for_each(|rig| record(rig, &Err(Error::ShuttingDown)));
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

    /// What earlier runs of this node left owed to rigs, and no run has taken up yet: rig and object. Only a node that
    /// is [`crate::NodeBuilder::resident`] takes it up.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`] when the file cannot be read.
    pub fn owed(&self) -> Result<Vec<(String, String)>> {
        let Some(paths) = self.shared.paths.as_ref().filter(|_| !self.shared.resident) else { return Ok(Vec::new()) };
        let entries = OwedFile::new(paths.deploys()).load()?;
        Ok(entries.into_iter().map(|e| (e.peer, e.object)).collect())
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
        only(self.sweep_deploy_profile(&[rig.to_owned()], profile))
    }

    /// Stores a profile on many rigs at once.
    pub fn sweep_deploy_profile(&self, rigs: &[String], profile: &Profile) -> Sweep<()> {
        let payload = |rig: &str| {
            let json = serde_json::to_vec(profile).map_err(|e| Error::malformed("profile", e.to_string()))?;
            let password = self.password_for(rig)?;
            let sealed = bundle::create_profile_bundle(&json, &profile.id, &password, &mut system_rng()?)?;
            Ok(Payload::Deploy(sealed.into_deploy()))
        };
        let answers = self.fan_out_each(rigs, CHANGE, &payload);
        answers.into_iter().map(|(rig, answer)| (rig, answer.and_then(|(message, _)| deployed(&message)))).collect()
    }

    /// What bundles for a rig are sealed with: the secret that both share.
    fn password_for(&self, rig: &str) -> Result<Zeroizing<String>> {
        let known = self.shared.registry.peer(rig).and_then(|peer| peer.key());
        let key = match known {
            Some(key) => key,
            None => self.link(rig)?.key,
        };
        Ok(self.shared.identity.shared_secret(&key)?.smsg_password())
    }

    /// The versions of a miner that are installed on a rig, or of all its miners; newest first.
    ///
    /// # Errors
    /// As [`Controller::stats`]; [`Error::Config`] when the peer has no versions, being no RigMesh worker.
    pub fn versions(&self, rig: &str, name: Option<&str>) -> Result<Vec<VersionItem>> {
        only(self.sweep_versions(&[rig.to_owned()], name))
    }

    /// Goes back to another installed version of a miner: the one before, when none is named. Miners that run it are
    /// restarted. Returns what the rig says it did.
    ///
    /// # Errors
    /// As [`Controller::versions`]; [`Error::Failed`] with the rig's words.
    pub fn rollback(&self, rig: &str, name: &str, slot: Option<u32>) -> Result<String> {
        only(self.sweep_rollback(&[rig.to_owned()], name, slot))
    }

    /// The same of many rigs at once.
    pub fn sweep_versions(&self, rigs: &[String], name: Option<&str>) -> Sweep<Vec<VersionItem>> {
        let asked = GetVersions { name: name.unwrap_or_default().to_owned() };
        let known = self.capable(rigs, SLOTS1);
        let payload = |rig: &str| known.check(rig).map(|()| Payload::GetVersions(asked.clone()));
        let answers = self.fan_out_each(rigs, QUERY, &payload);
        let read = |(message, _): (Message, Duration)| {
            parse_response::<Versions>(Some(&message), &MessageType::Versions).map(|v| v.versions)
        };
        answers.into_iter().map(|(rig, answer)| (rig, answer.and_then(read))).collect()
    }

    /// Goes back on many rigs at once.
    pub fn sweep_rollback(&self, rigs: &[String], name: &str, slot: Option<u32>) -> Sweep<String> {
        let back = Rollback { name: name.to_owned(), slot };
        let known = self.capable(rigs, SLOTS1);
        let payload = |rig: &str| known.check(rig).map(|()| Payload::Rollback(back.clone()));
        self.fan_out_acks(rigs, &payload)
    }

    fn fan_out_acks(&self, rigs: &[String], payload: &dyn Fn(&str) -> Result<Payload>) -> Sweep<String> {
        let answers = self.fan_out_each(rigs, CHANGE, payload);
        let read = |(message, _): (Message, Duration)| {
            let ack: MinerAck = parse_response(Some(&message), &MessageType::MinerAck)?;
            if ack.success { Ok(ack.miner_name) } else { Err(Error::Failed(ack.error)) }
        };
        answers.into_iter().map(|(rig, answer)| (rig, answer.and_then(read))).collect()
    }

    fn link(&self, rig: &str) -> Result<crate::mesh::LinkInfo> {
        self.shared.connect(ConnectTo::Peer(rig.to_owned()))
    }

    /// Pauses a miner on many rigs at once, or all their miners: their processes end, and they are started again by
    /// [`Controller::sweep_resume`] and by nothing else. Names those that were.
    pub fn sweep_pause(&self, rigs: &[String], miner: Option<&str>) -> Sweep<String> {
        self.sweep_pausing(rigs, miner, Payload::PauseMiner)
    }

    /// Goes on with paused miners.
    pub fn sweep_resume(&self, rigs: &[String], miner: Option<&str>) -> Sweep<String> {
        self.sweep_pausing(rigs, miner, Payload::ResumeMiner)
    }

    fn sweep_pausing(&self, rigs: &[String], miner: Option<&str>, make: fn(StopMiner) -> Payload) -> Sweep<String> {
        let known = self.capable(rigs, PAUSE1);
        let which = StopMiner { miner_name: miner.unwrap_or_default().to_owned() };
        self.fan_out_acks(rigs, &|rig| known.check(rig).map(|()| make(which.clone())))
    }

    /// Who may be asked for what Go nodes do not know: they would not answer. One ping each first, because a peer announces
    /// itself in the pong that proves it.
    pub(super) fn capable(&self, rigs: &[String], cap: &'static str) -> Capable {
        let pings = self.sweep_ping(rigs, QUERY).into_iter().filter_map(|(rig, pong)| Some((rig, pong.err()?)));
        let transport = Transport { shared: self.shared.clone() };
        let links = transport.connections().unwrap_or_default();
        let able = links.into_iter().filter(|l| l.active && l.caps.iter().any(|c| c == cap));
        Capable { failed: pings.collect(), able: able.map(|l| l.peer.to_string()).collect(), cap }
    }

    /// To a peer without chunked deployments: one message, or an error before anything is sent.
    fn deploy_plain(&self, rig: &str, deployment: &Deployment) -> Result<Deployed> {
        let max = self.shared.config.message_bytes_max;
        check_one_message(deployment, max)?;
        let password = self.password_for(rig)?;
        let contents = deployment.read_files()?;
        let pairs = deployment.recipe.files.iter().zip(&contents);
        let files: Vec<bundle::MinerFile<'_>> =
            pairs.map(|(f, data)| bundle::MinerFile { path: &f.path, executable: f.executable, data }).collect();
        let profile = deployment.profile.as_ref().map(serde_json::to_vec).transpose();
        let profile = profile.map_err(|e| Error::malformed("profile", e.to_string()))?;
        let (main, mut rng) = (Some(deployment.main_path()), system_rng()?);
        let sealed = match profile.as_deref() {
            Some(profile) => {
                bundle::create_full_bundle(&files, main, profile, &deployment.recipe.name, &password, &mut rng)?
            }
            None => bundle::create_miner_bundle(&files, main, None, &deployment.recipe.name, &password, &mut rng)?,
        };
        bundle::check_fits(&sealed, max)?;
        let (message, _) = self.exchange(rig, Payload::Deploy(sealed.into_deploy()), CHANGE)?;
        deployed(&message)?;
        Ok(Deployed::default())
    }
}

/// Which rigs announced that they have versions, and why others could not be asked.
pub(super) struct Capable {
    failed: BTreeMap<String, Error>,
    able: BTreeSet<String>,
    cap: &'static str,
}

impl Capable {
    pub(super) fn check(&self, rig: &str) -> Result<()> {
        match (self.failed.get(rig), self.able.contains(rig)) {
            (Some(why), _) => Err(why.clone()),
            (None, true) => Ok(()),
            (None, false) => {
                let lacks = match self.cap {
                    PAUSE1 => "cannot pause",
                    MANAGE1 => "lets nobody change its permissions from afar",
                    SLOTS1 => "has no versions",
                    _ => "takes no UEPS packets over its link",
                };
                Err(Error::Config(format!("{rig} is no RigMesh node of this kind: it {lacks}")))
            }
        }
    }
}

fn only<T>(mut swept: Sweep<T>) -> Result<T> {
    swept.pop().map_or(Err(Error::ShuttingDown), |(_, result)| result)
}

/// Whether a miner can fit into one message at all, before a byte of it is read.
pub(super) fn check_one_message(deployment: &Deployment, frame_bytes_max: usize) -> Result<()> {
    let most =
        bundle::miner_bytes_max(&deployment.recipe.name, deployment.main_path(), 0, frame_bytes_max).unwrap_or(0);
    if deployment.size() <= most as u64 {
        return Ok(());
    }
    let (size, name) = (deployment.size(), &deployment.recipe.name);
    Err(Error::Config(format!(
        "{name} has {size} bytes and a Go node takes at most {most} in one message: make it smaller (strip the program, \
         leave files out), or run RigMesh on the rig, which takes it in chunks"
    )))
}

fn deployed(message: &Message) -> Result<()> {
    let ack: DeployAck = parse_response(Some(message), &MessageType::DeployAck)?;
    if ack.success { Ok(()) } else { Err(Error::Failed(ack.error)) }
}
