//! Carries requests out by calling the public handles.

use super::deploy::Order;
use super::executor::{Each, Executor, Tally, parse_key};
use super::rows::{LinkView, clock_ahead_ms, own_status, peer_status, result_row, row, threat_value, with};
use super::select::SELF;
use super::{Failure, Request, Rigs, Summary, transfer};
use crate::base::{Error, Result, is_plain_name};
use crate::identity::{NodeId, PublicKey};
use crate::mesh::ThreatInfo;
use crate::mesh::{Answer, AuditCommand, Command};
use crate::message::{AccessReply, Logs, MessageType, Payload, Stats, parse_response};
use crate::miners::{self, MinerInstance, MinerManager, Profile, StartRequest};
use crate::node::{Controller, Node, Shared, Sweep, Transport, uplink};
use crate::peers::{Admission, Gift, Grants, Peer};
use crate::runtime::clock::wall;
use crate::runtime::jobs::{PAUSED, pause_or_resume};
use crate::session::Expect;
use crate::wire::ueps::Header;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The longest note on a permission.
const NOTE_BYTES_MAX: usize = 256;
/// How long a rig has to answer a query.
const QUERY: Duration = Duration::from_secs(10);
/// How long a rig has to answer a ping.
const PING: Duration = Duration::from_secs(5);
/// How long our own dispatcher has to answer.
pub(super) const LOCAL: Duration = Duration::from_secs(10);
/// No `status` waits longer for a rig than this.
const STATUS_MAX_MS: u64 = 60_000;

impl Node {
    /// Carries a command out: gives one JSON object per result, and says how many failed. What
    /// concerns single rigs never ends the command: it is a row
    /// `{"rig","id","error":{"kind","message"}}` and counts in [`Summary::failed`].
    ///
    /// # Errors
    /// When nothing could be done at all: [`Error::NotFound`] for a rig nobody knows, [`Error::Config`]
    /// for arguments that make no sense, and what saving can give.
    pub fn execute(&self, request: Request, each: &mut dyn FnMut(Value)) -> Result<Summary> {
        execute(&self.shared, request, each)
    }
}

/// Reads a profile as a person wrote it, and refuses keys and values its miner type does not know.
///
/// # Errors
/// [`Error::Config`] naming what is wrong.
pub fn parse_profile(bytes: &[u8]) -> Result<Profile> {
    Profile::decode_checked(bytes).map_err(|e| Error::Config(e.to_string()))
}

pub(crate) fn execute(shared: &Arc<Shared>, request: Request, each: Each<'_>) -> Result<Summary> {
    let me = Executor { shared, controller: Controller { shared: shared.clone() } };
    match request {
        Request::Peers {} => me.peers(each),
        Request::PeersAdd { address, key, name, grant, trust_first } => {
            me.peers_add(&address, key.as_deref(), name.as_deref(), grant.as_deref(), trust_first, each)
        }
        Request::Discover { fleet, public, timeout_ms } => me.discover(fleet, public, timeout_ms, each),
        Request::PeersRemove { peer } => {
            let id = shared.registry.resolve(&peer)?;
            let removed = shared.registry.remove_peer(&id)?;
            shared.control.send(Command::AccessChanged, None, 0)?;
            each(me.peer_row(&removed));
            Ok(one())
        }
        Request::PeersAllow { key, grant, name } => me.peers_allow(&key, grant.as_deref(), name.as_deref(), each),
        Request::PeersGrant { key, grant, until, note, rigs } => {
            let gift = Gift { grants: grant.parse()?, until, by: "cli".to_owned(), note };
            me.peers_grant(&key, gift, &rigs, each)
        }
        Request::PeersRevoke { key, rigs } => me.peers_revoke(&key, &rigs, each),
        Request::PeersAllowPlain { key } => me.peers_allow_plain(&key, each),
        Request::PeersKeepKey { key, rigs } => me.peers_keep_key(&key, &rigs, each),
        Request::Rotation { announce } => me.rotation(announce, each),
        Request::Bench { kind, rigs, count, seconds, anywhere } => {
            me.bench(kind, &rigs, count, seconds, anywhere, each)
        }
        Request::AuditTail { rigs, lines } => me.audit_tail(&rigs, lines, each),
        Request::PairShow { grant, minutes, addresses } => me.pair_show(&grant, minutes, &addresses, each),
        Request::PairState {} => me.pair_state(each),
        Request::PairHide {} => me.pair_hide(each),
        Request::PairJoin { with, name } => me.pair_join(&with, name.as_deref(), each),
        Request::Enrol { uses, days, grant, addresses } => me.enrol(uses, days, &grant, &addresses, each),
        Request::EnrolState {} => me.enrol_state(each),
        Request::EnrolEnd {} => me.enrol_end(each),
        Request::PeersBest { count } => {
            let best = shared.registry.select_nearest_peers(count.min(1000));
            best.iter().for_each(|peer| each(me.peer_row(peer)));
            Ok(Summary { asked: best.len(), failed: 0 })
        }
        Request::PeersResetClock { peer } => me.reset_clock(peer.as_deref(), each),
        Request::PeersExport { to, with_access } => transfer::export(shared, &to, with_access, each),
        Request::PeersImport { file, from, with_access } => {
            transfer::import(shared, &file, from.as_deref(), with_access, each)
        }
        Request::Ping { rigs } => me.ping(&rigs, each),
        Request::Status { rigs, timeout_ms } => me.status(&rigs, timeout_ms, each),
        Request::Start { rigs, miner_type, profile, config } => {
            me.start(&rigs, &miner_type, profile.as_deref(), config.as_ref(), each)
        }
        Request::Stop { rigs, miner, all_miners } => me.stop(&rigs, miner.as_deref(), all_miners, each),
        Request::Pause { rigs, miner, resume } => me.pause(&rigs, miner.as_deref(), resume, each),
        Request::UepsSend { rigs, intent, threat_score, payload } => {
            me.send_packet(&rigs, &Header { threat_score, ..Header::new(intent) }, &payload, each)
        }
        Request::Logs { rigs, miner, lines, since_ms } => me.logs(&rigs, miner.as_deref(), lines, since_ms, each),
        Request::Profiles {} => me.profiles(each),
        Request::ProfilePut { profile } => {
            miners::config::check(&profile.miner_type, &profile.config).map_err(|e| Error::Config(e.to_string()))?;
            me.profile_manager()?.save_profile(&profile)?;
            each(row(&profile.redacted()));
            Ok(one())
        }
        Request::Deploy { rigs, miner, profile, activate, dry_run } => {
            me.deploy(&rigs, Order { miner, profile, activate, dry_run }, each)
        }
        Request::Deploys {} => me.deploys(each),
        Request::DeployCancel { rigs } => me.deploy_cancel(&rigs, each),
        Request::Versions { rigs, miner } => me.versions(&rigs, miner.as_deref(), each),
        Request::Rollback { rigs, miner, slot } => me.rollback(&rigs, &miner, slot, each),
        Request::ProfileRemove { id } => {
            me.profile_manager()?.remove_profile(&id)?;
            each(json!({ "id": id }));
            Ok(one())
        }
    }
}

fn one() -> Summary {
    Summary { asked: 1, failed: 0 }
}

impl Executor<'_> {
    // --- peers ---

    fn peers(&self, each: Each<'_>) -> Result<Summary> {
        let peers = self.shared.registry.list_peers();
        let mut asked = peers.len();
        let threats: BTreeMap<String, ThreatInfo> =
            self.controller.threats()?.into_iter().map(|(key, threat)| (key.to_base64(), threat)).collect();
        let line = |peer: &Peer| {
            let threat = threats.get(&peer.public_key).copied();
            with(self.peer_row(peer), "threat", threat.map_or(Value::Null, threat_value))
        };
        peers.iter().for_each(|peer| each(line(peer)));
        for text in self.shared.registry.allowed_public_keys() {
            let id = PublicKey::from_base64(&text).map(|key| key.node_id().to_string()).unwrap_or_default();
            if !peers.iter().any(|p| p.public_key == text) {
                let peer = Peer { id, public_key: text, ..Peer::default() };
                each(line(&peer));
                asked += 1;
            }
        }
        Ok(Summary { asked, failed: 0 })
    }

    fn peer_row(&self, peer: &Peer) -> Value {
        let registry = &self.shared.registry;
        let (admission, grants) = match peer.key() {
            Some(key) => (registry.admission(&key), registry.grants(&key)),
            None => (Admission::Refused, Grants::NONE),
        };
        let admission = match admission {
            Admission::Listed => "allowed",
            Admission::Open => "open",
            Admission::Revoked => "revoked",
            Admission::Refused => "no",
        };
        let extra = registry.extra(&peer.id).unwrap_or_default();
        json!({
            "id": peer.id,
            "name": peer.name,
            "key": peer.public_key,
            "address": peer.address,
            "tls": extra.tls,
            "role": peer.role.as_str(),
            "admitted": admission,
            "grants": grants.names().collect::<Vec<_>>(),
            "until": peer.key().and_then(|key| registry.inner().read().access().until(&key)),
            "secure": peer.key().is_some_and(|key| registry.inner().read().access().is_secure(&key)),
            "connected": peer.connected,
            "stage": registry.stage(&peer.id),
            "score": peer.score,
            "latency_ms": (peer.ping_ms > 0.0).then_some(peer.ping_ms),
            "last_seen": (!peer.last_seen.is_zero()).then_some(peer.last_seen),
        })
    }

    fn peers_add(
        &self,
        address: &str,
        key: Option<&str>,
        name: Option<&str>,
        grant: Option<&str>,
        trust_first: bool,
        each: Each<'_>,
    ) -> Result<Summary> {
        if let Ok(address) = address.parse() {
            return self.peers_add_found(&address, key, name, grant, each);
        }
        let mut target = uplink::parse_target(address)?;
        if let Some(key) = key {
            target.expect = uplink::parse_expect(key)?;
        }
        let grants: Option<Grants> = grant.map(str::parse).transpose()?;
        check_name(name)?;
        let (id, key) = match (&target.expect, trust_first) {
            (Expect::Key(key) | Expect::Successor { new: key, .. }, _) => (key.node_id(), Some(*key)),
            (Expect::Id(id), _) => (*id, None),
            (Expect::Anyone, true) => {
                let transport = Transport { shared: self.shared.clone() };
                let found = transport.connect_unknown(address)?;
                (found.peer, Some(found.key))
            }
            (Expect::Anyone, false) => {
                return Err(Error::Config(
                    "adding a peer needs its --key (`rigmesh id` shows it over there), or --trust-first to keep the key that answers now"
                        .to_owned(),
                ));
            }
        };
        self.refuse_own(id)?;
        match (grants, key) {
            (Some(grants), Some(key)) => self.allow(&key, grants)?,
            (Some(_), None) => {
                return Err(Error::Config(
                    "a grant goes by the whole key: name it with --key, not the node id".to_owned(),
                ));
            }
            (None, _) => {}
        }
        self.add_by_hand(id, key, name, &target.address, target.tls.then_some(target.tls_pin))?;
        self.shared.control.send(Command::AccessChanged, None, 0)?;
        self.row_of(id, each)
    }

    pub(super) fn add_by_hand(
        &self,
        id: NodeId,
        key: Option<PublicKey>,
        name: Option<&str>,
        address: &str,
        tls: Option<Option<[u8; 32]>>,
    ) -> Result<()> {
        let peer = Peer {
            id: id.to_string(),
            name: name.unwrap_or_default().to_owned(),
            public_key: key.map(|k| k.to_base64()).unwrap_or_default(),
            address: address.to_owned(),
            ..Peer::default()
        };
        let added = self.shared.registry.add_peer_with(peer, |extra| {
            extra.named = name.is_some();
            if let Some(pin) = tls {
                (extra.tls, extra.tls_pin) = (true, pin);
            }
        });
        added.map_err(|e| match e {
            Error::Config(why) if why.ends_with("already exists") => {
                Error::Config(format!("{why}; to change it, remove it first: rigmesh peers remove {id}"))
            }
            other => other,
        })
    }

    fn peers_allow(&self, key: &str, grant: Option<&str>, name: Option<&str>, each: Each<'_>) -> Result<Summary> {
        let key = parse_key(key)?;
        let grants: Grants = grant.map_or(Ok(Grants::NONE), str::parse)?;
        check_name(name)?;
        self.refuse_own(key.node_id())?;
        self.allow(&key, grants)?;
        if name.is_some() && self.shared.registry.peer(&key.node_id().to_string()).is_none() {
            self.add_by_hand(key.node_id(), Some(key), name, "", None)?;
        }
        self.shared.control.send(Command::AccessChanged, None, 0)?;
        self.row_of_key(&key, each)
    }

    /// Who may do what is changed by this machine's owner, which is recorded as commands are.
    pub(super) fn allow(&self, key: &PublicKey, grants: Grants) -> Result<()> {
        self.give(key, Gift { grants, by: "cli".to_owned(), ..Gift::default() })
    }

    fn give(&self, key: &PublicKey, gift: Gift) -> Result<()> {
        let args = json!({ "key": key.to_base64(), "grants": gift.grants, "until": gift.until });
        let command = AuditCommand::new("allow", args);
        self.shared.record_local(&command, || self.shared.registry.grant(key, gift))
    }

    fn peers_grant(&self, selector: &str, gift: Gift, rigs: &Rigs, each: Each<'_>) -> Result<Summary> {
        let key = self.any_key(selector)?;
        if gift.until.is_some_and(|until| until.unix_nanos() <= wall().unix_nanos()) {
            return Err(Error::Config("that time is over already".to_owned()));
        }
        if gift.note.as_ref().is_some_and(|note| note.len() > NOTE_BYTES_MAX || note.chars().any(char::is_control)) {
            return Err(Error::Config(format!("a note has at most {NOTE_BYTES_MAX} bytes and no control characters")));
        }
        if *rigs != Rigs::default() {
            return self.on_rigs(rigs, each, |peers| self.controller.sweep_grant(peers, &key, &gift));
        }
        self.refuse_own(key.node_id())?;
        self.give(&key, gift)?;
        self.shared.control.send(Command::AccessChanged, None, 0)?;
        self.row_of_key(&key, each)
    }

    /// A change of permissions on rigs. This node's own are changed without naming rigs.
    pub(super) fn on_rigs(
        &self,
        rigs: &Rigs,
        each: Each<'_>,
        sweep: impl FnOnce(&[String]) -> Sweep<AccessReply>,
    ) -> Result<Summary> {
        let asked = self.asked(rigs)?;
        let mut tally = Tally::new(each);
        for (peer, reply) in sweep(&asked.peers) {
            tally.add(&self.about(&peer), reply.map(|reply| json!(reply)));
        }
        Ok(tally.summary)
    }

    fn peers_revoke(&self, selector: &str, rigs: &Rigs, each: Each<'_>) -> Result<Summary> {
        let key = self.any_key(selector)?;
        if *rigs != Rigs::default() {
            return self.on_rigs(rigs, each, |peers| self.controller.sweep_revoke(peers, &key));
        }
        let command = AuditCommand::of_key(&MessageType::Revoke, &key);
        self.shared.record_if_possible(&command, || self.shared.registry.revoke(&key))?;
        self.shared.control.send(Command::AccessChanged, None, 0)?;
        self.row_of_key(&key, each)
    }

    fn peers_allow_plain(&self, selector: &str, each: Each<'_>) -> Result<Summary> {
        let key = self.any_key(selector)?;
        self.shared.registry.allow_plain(&key)?;
        self.row_of_key(&key, each)
    }

    /// The row of a key, whether it is a peer's or nobody's yet.
    pub(super) fn row_of_key(&self, key: &PublicKey, each: Each<'_>) -> Result<Summary> {
        let peer = self.shared.registry.peer(&key.node_id().to_string());
        let stranger = || Peer { id: key.node_id().to_string(), public_key: key.to_base64(), ..Peer::default() };
        each(self.peer_row(&peer.unwrap_or_else(stranger)));
        Ok(one())
    }

    fn reset_clock(&self, selector: Option<&str>, each: Each<'_>) -> Result<Summary> {
        let key = selector.map(|s| self.any_key(s)).transpose()?;
        self.shared.ask(LOCAL, 0, |call| Command::ResetClock { call, key })?;
        each(json!({ "reset": key.map_or_else(|| "all".to_owned(), |k| k.node_id().to_string()) }));
        Ok(one())
    }

    /// A key, or that of a registered peer.
    pub(super) fn any_key(&self, selector: &str) -> Result<PublicKey> {
        PublicKey::from_base64(selector).or_else(|_| self.key_of(selector))
    }

    /// The key of a registered peer.
    fn key_of(&self, selector: &str) -> Result<PublicKey> {
        let id = self.shared.registry.resolve(selector)?;
        self.shared
            .registry
            .peer(&id)
            .and_then(|p| p.key())
            .ok_or_else(|| Error::Config(format!("the key of {selector:?} is not known yet; name the key itself")))
    }

    pub(super) fn refuse_own(&self, id: NodeId) -> Result<()> {
        if id == self.shared.identity.id() {
            return Err(Error::Config(
                "that is this node's own key; the other side's is shown by `rigmesh id` over there".to_owned(),
            ));
        }
        Ok(())
    }

    pub(super) fn row_of(&self, id: NodeId, each: Each<'_>) -> Result<Summary> {
        let peer = self.shared.registry.peer(&id.to_string());
        each(self.peer_row(&peer.ok_or_else(|| Error::NotFound(format!("no peer {id}")))?));
        Ok(one())
    }

    // --- rigs ---

    fn miners(&self) -> Result<&Arc<dyn MinerManager>> {
        self.shared.miners.as_ref().ok_or_else(|| {
            Error::Failed(
                if self.shared.identity.info().role.is_worker() {
                    "the miners of this node run under its daemon, which is not running: start `rigmesh serve`"
                } else {
                    "this node is a controller and runs no miners"
                }
                .to_owned(),
            )
        })
    }

    fn ping(&self, rigs: &Rigs, each: Each<'_>) -> Result<Summary> {
        let asked = self.asked(&Rigs { all: false, ..rigs.clone() });
        let asked = if rigs.all { self.asked(rigs)? } else { asked? };
        let mut tally = Tally::new(each);
        if asked.own && !rigs.all {
            tally.add(&self.own(), Err(Error::Config(format!("{SELF} is this node; ping another one"))));
        }
        for (peer, answer) in self.controller.sweep_ping(&asked.peers, PING) {
            tally.add(&self.about(&peer), answer.map(|d| json!({ "round_trip_ms": millis(d) })));
        }
        Ok(tally.summary)
    }

    fn status(&self, rigs: &Rigs, timeout_ms: u64, each: Each<'_>) -> Result<Summary> {
        let asked = self.asked(rigs)?;
        let mut tally = Tally::new(each);
        if asked.own {
            tally.add(&self.own(), self.own_status());
        }
        let deadline = Duration::from_millis(timeout_ms.clamp(100, STATUS_MAX_MS));
        let answers = self.controller.fan_out(&asked.peers, &Payload::GetStats, deadline);
        let transport = Transport { shared: self.shared.clone() };
        let links: BTreeMap<String, _> =
            transport.connections()?.into_iter().filter(|l| l.active).map(|l| (l.peer.to_string(), l)).collect();
        let now_ms = self.shared.clock.now().wall.unix_millis();
        for (peer, answer) in answers {
            let about = self.about(&peer);
            let outcome = answer.and_then(|(message, round_trip)| {
                let stats: Stats = parse_response(Some(&message), &MessageType::Stats)?;
                let link = links.get(&message.from);
                let latency_ms = self.shared.registry.peer(&message.from).map(|p| p.ping_ms).filter(|ms| *ms > 0.0);
                let view = LinkView {
                    role: link.map(|l| l.role.clone()).unwrap_or_default(),
                    latency_ms: latency_ms.or(Some(millis(round_trip))),
                    note: link.and_then(|l| l.note.clone()),
                    secure: link.is_some_and(|l| l.secure),
                };
                let ahead = link.and_then(|l| l.clock_skew_ms);
                Ok(peer_status(view, &stats, ahead.unwrap_or_else(|| clock_ahead_ms(&message, round_trip, now_ms))))
            });
            match outcome {
                Ok(more) => tally.add(&about, Ok(more)),
                Err(e) => {
                    let link = if links.contains_key(&peer) { "up" } else { "down" };
                    tally.fail(result_row(&about, json!({ "link": link, "error": Failure::from(&e) })));
                }
            }
        }
        Ok(tally.summary)
    }

    fn own_status(&self) -> Result<Value> {
        let info = self.shared.identity.info();
        let stats: Vec<_> = match &self.shared.miners {
            Some(miners) => miners.list_miners().iter().filter_map(|m| m.stats().ok()).collect(),
            // A controller that asks for itself is told what it is; a worker, that its daemon is not there.
            None if !info.role.is_worker() => Vec::new(),
            None => return Err(self.miners().err().unwrap_or(Error::ShuttingDown)),
        };
        let behind = match self.shared.ask(LOCAL, 0, |call| Command::Clock { call })? {
            Answer::ClockBehind(behind) => behind,
            _ => None,
        };
        let audit = self.shared.audit.as_ref().and_then(|audit| {
            audit.open(self.shared.clock.now().wall);
            audit.trouble()
        });
        let uptime = self.shared.clock.mono().since(crate::base::Time::ZERO);
        let held = self.shared.miners.as_ref().and_then(|miners| miners.held());
        let mut notes = self.succession_notes();
        notes.extend(audit);
        let status = own_status(info.role.as_str(), uptime, &stats, held, behind, notes);
        Ok(with(status, "ueps", self.own_packets()))
    }

    fn start(
        &self,
        rigs: &Rigs,
        miner_type: &str,
        profile: Option<&str>,
        config: Option<&Value>,
        each: Each<'_>,
    ) -> Result<Summary> {
        let asked = self.asked(rigs)?;
        let mut tally = Tally::new(each);
        if asked.own {
            tally.add(&self.own(), self.start_own(miner_type, profile, config).map(|name| json!({ "miner": name })));
        }
        for (peer, name) in self.controller.sweep_start(&asked.peers, miner_type, profile, config)? {
            tally.add(&self.about(&peer), name.map(|name| json!({ "miner": name })));
        }
        Ok(tally.summary)
    }

    fn start_own(&self, miner_type: &str, profile: Option<&str>, config: Option<&Value>) -> Result<String> {
        let miners = self.miners()?;
        let profile = profile.map(|id| self.profile_manager()?.profile(id)).transpose()?;
        let request = StartRequest { miner_type: miner_type.to_owned(), profile, config: config.cloned() };
        let command =
            AuditCommand::start(miner_type, request.profile.as_ref().map(|p| p.id.as_str()), config.is_some());
        self.shared.record_local(&command, || Ok(miners.start_miner(&request)?.name()))
    }

    fn stop(&self, rigs: &Rigs, miner: Option<&str>, all_miners: bool, each: Each<'_>) -> Result<Summary> {
        let asked = self.asked(rigs)?;
        let mut tally = Tally::new(each);
        if asked.own {
            match self.own_names(miner, all_miners) {
                Ok(names) => {
                    for name in names {
                        let command = AuditCommand::miner(&MessageType::StopMiner, Some(&name));
                        let stop = |m: &Arc<dyn MinerManager>| {
                            self.shared.record_if_possible(&command, || m.stop_miner(&name))
                        };
                        let stopped = self.miners().and_then(stop);
                        tally.add(&self.own(), stopped.map(|()| json!({ "miner": name })));
                    }
                }
                Err(e) => tally.add(&self.own(), Err(e)),
            }
        }
        for (name, peers) in self.names_on(asked.peers, miner, all_miners, &mut tally) {
            for (peer, stopped) in self.controller.sweep_stop(&peers, &name) {
                tally.add(&self.about(&peer), stopped.map(|_| json!({ "miner": name })));
            }
        }
        Ok(tally.summary)
    }

    fn pause(&self, rigs: &Rigs, miner: Option<&str>, resume: bool, each: Each<'_>) -> Result<Summary> {
        let asked = self.asked(rigs)?;
        let mut tally = Tally::new(each);
        let row = |names: String| json!({ "miners": names });
        if asked.own {
            let kind = if resume { MessageType::ResumeMiner } else { MessageType::PauseMiner };
            let command = AuditCommand::miner(&kind, miner);
            let done = self.miners().and_then(|m| {
                let act = || pause_or_resume(m.as_ref(), miner.map(str::to_owned), (!resume).then_some(PAUSED));
                match resume {
                    true => self.shared.record_local(&command, act),
                    false => self.shared.record_if_possible(&command, act),
                }
            });
            tally.add(&self.own(), done.map(row));
        }
        let swept = if resume {
            self.controller.sweep_resume(&asked.peers, miner)
        } else {
            self.controller.sweep_pause(&asked.peers, miner)
        };
        for (peer, names) in swept {
            tally.add(&self.about(&peer), names.map(row));
        }
        Ok(tally.summary)
    }

    fn logs(
        &self,
        rigs: &Rigs,
        miner: Option<&str>,
        lines: i64,
        since_ms: Option<i64>,
        each: Each<'_>,
    ) -> Result<Summary> {
        let asked = self.asked(rigs)?;
        let mut tally = Tally::new(each);
        if asked.own {
            match self.own_names(miner, true) {
                Ok(names) => {
                    for name in names {
                        tally.add(&self.own(), self.own_logs(&name, lines, since_ms));
                    }
                }
                Err(e) => tally.add(&self.own(), Err(e)),
            }
        }
        for (name, peers) in self.names_on(asked.peers, miner, true, &mut tally) {
            for (peer, logs) in self.controller.sweep_logs(&peers, &name, lines, since_ms) {
                let row = logs.map(|Logs { lines, has_more, .. }| {
                    json!({ "miner": name, "lines": lines.unwrap_or_default(), "has_more": has_more })
                });
                tally.add(&self.about(&peer), row);
            }
        }
        Ok(tally.summary)
    }

    fn own_logs(&self, name: &str, lines: i64, since_ms: Option<i64>) -> Result<Value> {
        let slice = self.miners()?.miner(name)?.console_history(usize::try_from(lines).unwrap_or(0), since_ms);
        Ok(json!({ "miner": name, "lines": slice.lines, "has_more": slice.has_more }))
    }

    /// The miners of this node that are meant.
    fn own_names(&self, miner: Option<&str>, every: bool) -> Result<Vec<String>> {
        let names: Vec<String> = self.miners()?.list_miners().iter().map(|m| MinerInstance::name(&**m)).collect();
        meant(miner, every, names)
    }

    /// Which miner is meant on which rigs. Where none is named the rig is asked what it runs.
    fn names_on(
        &self,
        peers: Vec<String>,
        miner: Option<&str>,
        every: bool,
        tally: &mut Tally<'_>,
    ) -> BTreeMap<String, Vec<String>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        if let Some(name) = miner {
            if !peers.is_empty() {
                found.insert(name.to_owned(), peers);
            }
            return found;
        }
        for (peer, stats) in self.controller.sweep_stats(&peers, QUERY) {
            let names = stats.and_then(|s| meant(None, every, s.miners().iter().map(|m| m.name.clone()).collect()));
            match names {
                Ok(names) => names.into_iter().for_each(|name| found.entry(name).or_default().push(peer.clone())),
                Err(e) => tally.add(&self.about(&peer), Err(e)),
            }
        }
        found
    }

    // --- profiles ---

    fn profiles(&self, each: Each<'_>) -> Result<Summary> {
        let manager = self.profile_manager()?;
        let (profiles, broken) = (manager.list_profiles()?, manager.broken_profiles());
        profiles.iter().for_each(|p| each(row(&p.redacted())));
        for (id, error) in &broken {
            each(json!({ "id": id, "error": Failure::from(error) }));
        }
        Ok(Summary { asked: profiles.len() + broken.len(), failed: broken.len() })
    }
}

/// The miners meant among those that are there: the named one, all, or the only one.
fn meant(miner: Option<&str>, every: bool, names: Vec<String>) -> Result<Vec<String>> {
    match (miner, names.as_slice()) {
        (Some(name), _) => Ok(vec![name.to_owned()]),
        (None, []) => Err(Error::NotFound("no miner was started there".to_owned())),
        (None, [_]) => Ok(names),
        (None, _) if every => Ok(names),
        (None, several) => {
            let shown: Vec<_> = several.iter().map(|name| crate::base::quote_value(name)).collect();
            Err(Error::NotFound(format!(
                "several miners are there ({}): name one with --miner, or use --all-miners",
                shown.join(", ")
            )))
        }
    }
}

pub(super) fn check_name(name: Option<&str>) -> Result<()> {
    match name {
        Some(name) if !is_plain_name(name) || name.is_empty() => Err(Error::Config(format!(
            "the name {} cannot be used: take at most 64 of A-Z a-z 0-9 space _ -, first and last a letter or digit",
            crate::base::quote_value(name)
        ))),
        _ => Ok(()),
    }
}

fn millis(d: Duration) -> f64 {
    (d.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_miner_needs_no_name_and_of_several_one_must_be_named() {
        let names = |n: usize| (0..n).map(|i| format!("m{i}")).collect::<Vec<_>>();
        assert_eq!(meant(Some("x"), false, names(0)).unwrap(), ["x"]);
        assert_eq!(meant(None, false, names(1)).unwrap(), ["m0"]);
        assert_eq!(meant(None, true, names(2)).unwrap(), ["m0", "m1"]);
        assert!(meant(None, false, names(2)).unwrap_err().to_string().contains("m0, m1"));
        assert!(matches!(meant(None, true, names(0)), Err(Error::NotFound(_))));
    }

    #[test]
    fn a_profile_is_checked_before_it_is_stored() {
        let good = br#"{"id":"a","name":"n","minerType":"sha256d","config":{"threads":1}}"#;
        assert_eq!(parse_profile(good).unwrap().id, "a");
        for (bad, word) in [
            (&br#"{"id":"a","name":"n","minerType":"cow","config":{}}"#[..], "cow"),
            (br#"{"id":"a","name":"n","minerType":"sha256d","config":{"shell":"x"}}"#, "shell"),
            (b"{", "profile"),
        ] {
            let error = parse_profile(bad).unwrap_err();
            assert!(matches!(error, Error::Config(_)) && error.to_string().contains(word), "{error}");
        }
    }
}
