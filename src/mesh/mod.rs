//! Step 6: the node as one machine, owned by the dispatcher thread. This file only routes; the
//! parts are [`links`] (who is connected), [`calls`] with [`rpc`] and [`dials`] (what we ask, and the
//! connections it needs), [`requests`] with [`worker`] (what peers ask of us), [`deploy`] (transfers of miners, both sides), [`audit`] (what is recorded of commands), [`proof`] (the moment a key
//! is proven), [`renewal`] (a fresh session before one is a day old), [`rotation`] (keys that are replaced) and [`marks`] (what was accepted before).
//!
//! One message through it: the runtime opens a frame and hands in [`Input::Message`]; the link's
//! dialogue judges it; a reply completes a call, a request becomes a job, a ping an answer; what
//! is to be sent comes out as [`Output`].

mod audit;
mod calls;
mod codes;
mod deploy;
mod dials;
mod found;
mod intents;
mod io;
mod links;
mod marks;
mod proof;
mod renewal;
mod requests;
mod rotation;
mod rpc;
mod worker;

pub(crate) use audit::{AuditCommand, AuditSink, failure_of, mark_in, not_recorded};
pub(crate) use deploy::{CHUNK_BYTES, CHUNK1, MANAGE1, PAUSE1, SLOTS1};
pub use found::{FoundBy, FoundRig};
pub(crate) use found::{GOSSIP1, OwnRecord};
pub use intents::{IntentAnswer, IntentContext, IntentSource, Intents};
pub(crate) use intents::{IntentHost, UEPS1, grant_for_intent, register_builtin};
pub(crate) use io::{
    Answer, CallId, ChunkSource, Command, ConnectTo, DepotEvent, DepotTask, DialId, FeedObject, Input, JobId,
    JobResult, LinkId, MarksSnapshot, Offered, Output, Owed, PairAim, Parcel, Permit, PullId, Stored, Target, Work,
};
pub use io::{FeedInfo, LinkInfo, ThreatInfo};
pub(crate) use marks::MarksTable;
pub(crate) use rotation::{ROTATE1, meant};

use crate::base::{Error, Now, Refusal, Result, Rng, Time, Timestamp};
use crate::identity::{Identity, PublicKey};
use crate::message::{Announcement, Disconnect, DisconnectCode, ErrorCode, Message, MessageType, Payload};
use crate::peers::{Admission, PeerRegistry};
use crate::session::{Dialogue, DialogueConfig, Established, Lane, Opening, Verdict};
use crate::wire::ueps::{ReplayWindow, ThreatLimits, Threats};
use deploy::{Feeds, Pulls};
use dials::Dials;
use found::{Found, LinkGossip};
use links::{Link, Links};
use parking_lot::RwLock;
use renewal::{Renewal, Renewals};
use rotation::OwnRotation;
use rpc::Rpc;
use std::cell::OnceCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use worker::Worker;

/// Numbers and switches of the machine.
#[derive(Clone, Debug)]
pub(crate) struct MeshConfig {
    pub(crate) dialogue: Arc<DialogueConfig>,
    /// Largest sealed frame we send.
    pub(crate) frame_bytes_max: usize,
    /// Whether this node carries out requests (roles worker and dual).
    pub(crate) works: bool,
    /// Commands are accepted from every admitted key, whatever the permissions file says. Only an
    /// embedder can ask for that.
    pub(crate) trust_all: bool,
    /// Whether offers of deployments are taken.
    pub(crate) takes_deploys: bool,
    /// Rigs that are sent data at once.
    pub(crate) feeding_max: usize,
    /// Whether the DHT can be asked where a peer is.
    pub(crate) searches: bool,
    /// Whether places on this machine itself are dialled that were found.
    pub(crate) dial_loopback: bool,
}

/// Messages above this size are patient: they go behind the others.
pub(crate) const BULK_BYTES: usize = 16 * 1024;
/// Marks that changed without a command are saved at most this often.
const MARKS_EVERY: Duration = Duration::from_secs(1);
/// The longest wait between two looks at whose time has come.
const SUCCESSIONS_EVERY: Duration = Duration::from_secs(60);

/// The node.
pub(crate) struct Mesh {
    config: MeshConfig,
    identity: Arc<Identity>,
    id: Arc<str>,
    started: Timestamp,
    registry: Arc<RwLock<PeerRegistry>>,
    rng: Rng,
    links: Links,
    dials: Dials,
    renewals: Renewals,
    rotation: OwnRotation,
    succession_due: Option<Time>,
    rpc: Rpc,
    worker: Worker,
    feeds: Feeds,
    pulls: Pulls,
    found: Found,
    /// Keys that sent forged packets.
    threats: Threats<PublicKey>,
    owed_due: Option<Time>,
    marks: MarksTable,
    marks_due: Option<Time>,
    /// Messages for the embedder that wait until their marks are on disk, with the snapshot that has them.
    held: VecDeque<(u64, Message)>,
    /// The snapshot on its way to disk for them.
    saving: Option<u64>,
    outputs: VecDeque<Output>,
    stopping: bool,
}

impl Mesh {
    pub(crate) fn new(
        config: MeshConfig,
        identity: Arc<Identity>,
        registry: Arc<RwLock<PeerRegistry>>,
        marks: MarksTable,
        rng: Rng,
        now: Now,
    ) -> Mesh {
        registry.write().set_time_floor(marks.saved());
        Mesh {
            config,
            id: identity.id().to_string().into(),
            identity,
            started: now.wall,
            registry,
            rng,
            links: Links::default(),
            dials: Dials::default(),
            renewals: Renewals::default(),
            rotation: OwnRotation::default(),
            succession_due: Some(now.mono),
            rpc: Rpc::default(),
            worker: Worker::default(),
            feeds: Feeds::default(),
            pulls: Pulls::default(),
            found: Found::default(),
            threats: Threats::new(ThreatLimits::default()),
            owed_due: None,
            marks,
            marks_due: None,
            held: VecDeque::new(),
            saving: None,
            outputs: VecDeque::new(),
            stopping: false,
        }
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Mesh::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let lives = self.registry.read().poll_timeout().filter(|_| !self.stopping);
        let parts = [
            self.links.poll_timeout(),
            self.rpc.poll_timeout(),
            self.worker.poll_timeout(),
            self.dials.poll_timeout(),
            self.renewals.poll_timeout(),
            self.feeds.poll_timeout(self.config.feeding_max).filter(|_| !self.stopping),
            self.pulls.poll_timeout(),
            self.threats.poll_timeout(),
            self.gossip_timeout(),
            self.succession_timeout(),
            self.owed_due,
            self.marks_due,
            lives,
        ];
        parts.into_iter().flatten().min()
    }

    pub(crate) fn handle_input(&mut self, now: Now, input: Input) {
        match input {
            Input::LinkUp { link, established, address, dial, certificate, limits } => {
                let threat = self.threats.is_refused(now.mono, &established.key);
                if self.stopping || threat || self.links.is_banned(&established.key, now.mono) {
                    let why = match (self.stopping, threat) {
                        (true, _) => Error::ShuttingDown,
                        (_, true) => intents::threat_error(),
                        _ => links::copied_error(),
                    };
                    self.outputs.push_back(Output::Close { link, why: why.clone() });
                    self.fail_dial(now, dial, &why);
                    return;
                }
                let dialogue = Dialogue::new(self.config.dialogue.clone(), self.id.clone(), &established, now.mono);
                let Established { identity, key, id, session, .. } = *established;
                let session_id = session.as_ref().and_then(|session| session.id.first_chunk().copied());
                let (peer, since) = (id.to_string(), now.wall);
                self.links.insert(
                    link,
                    Link {
                        key,
                        peer,
                        identity,
                        address,
                        dial,
                        certificate,
                        dialogue,
                        limits,
                        packet_key: OnceCell::new(),
                        packets: ReplayWindow::new(intents::REPLAYS_MAX),
                        since,
                        proven_at: None,
                        renewal: Renewal::default(),
                        session: session_id,
                        caps: Vec::new(),
                        sign: None,
                        statements: 0,
                        gossip: LinkGossip::default(),
                        closing: false,
                    },
                );
                if let Some(session) = session {
                    self.handle_session(now, link, &session.statement);
                }
                self.drive_link(now, link); // the first ping is due
            }
            Input::Message { link, message } => self.handle_message(now, link, message),
            Input::Packet { link, packet } => self.handle_framed_packet(now, link, &packet),
            Input::Data { link, body } => self.handle_data(now, link, body),
            Input::LinkBroken { link, why } => {
                log::warn!(target: "mesh", link = link.0; "a secure session is over: {why}");
                let error = Error::malformed("frame", why);
                self.say_goodbye(now, link, why, DisconnectCode::PROTOCOL_ERROR, &error);
            }
            Input::LinkDown { link, why } => self.handle_link_down(now, link, &why),
            Input::DialFailed { dial, why } => self.fail_dial(now, Some(dial), &why),
            Input::MarksSaved { version, result } => self.release(now, version, &result),
            Input::NotSent { message, why } => {
                self.handle_offer_not_sent(now, &message, &why);
                if let Some(pending) = self.rpc.complete(&message) {
                    self.answer(pending.call, Err(why));
                }
            }
            Input::JobDone { job, result, mark } => self.handle_job_done(now, job, result, mark),
            Input::Succeeded => self.handle_access_changed(now),
            Input::Depot(event) => self.handle_depot(now, event),
            Input::Searched { address, sighting } => {
                if let Some(sighting) = sighting {
                    self.handle_command(now, Command::Sighted { sighting, by: FoundBy::Dht });
                }
                self.handle_searched(now, &address);
            }
        }
    }

    pub(crate) fn handle_command(&mut self, now: Now, command: Command) {
        match command {
            Command::Call { call, peer, payload, id, timeout } => {
                self.rpc.name(call, id);
                if let Err(e) = self.call(now, call, peer, payload, now.mono + timeout) {
                    self.rpc.take_name(call);
                    self.answer(call, Err(e));
                }
            }
            Command::Connect { call, target, timeout } => {
                if let Err(e) = self.connect(now, call, target, now.mono + timeout) {
                    self.answer(call, Err(e));
                }
            }
            Command::Disconnect { call, peer, reason, code } => {
                let links: Vec<LinkId> =
                    self.links.iter().filter(|(_, l)| l.peer == peer && !l.closing).map(|(id, _)| id).collect();
                let result = if links.is_empty() { Err(not_connected(&peer)) } else { Ok(Answer::Done) };
                for link in links {
                    self.say_goodbye(now, link, &reason, code, &Error::Unreachable(reason.clone()));
                }
                self.answer(call, result);
            }
            Command::Send { call, peer, message } => {
                if let Err(e) = self.send_ready(now, call, &peer, message) {
                    self.answer(call, Err(e));
                }
            }
            Command::Broadcast { call, payload, except } => {
                let links: Vec<LinkId> =
                    self.links.actives().filter(|(_, l)| Some(&l.peer) != except.as_ref()).map(|(id, _)| id).collect();
                for link in &links {
                    self.send_request(now, *link, &payload);
                }
                self.answer(call, Ok(Answer::Count(links.len())));
            }
            Command::Links { call } => {
                let ids: Vec<LinkId> = self.links.iter().map(|(id, _)| id).collect();
                let infos = ids.into_iter().filter_map(|id| self.links.info(id, now.mono)).collect();
                self.answer(call, Ok(Answer::Links(infos)));
            }
            Command::AddUplink { target } => {
                self.dials.add_uplink(now.mono, target);
                self.drive_dials(now);
            }
            Command::Deploy { call, peer, object, profile, activate, keep } => {
                self.deploy(now, call, peer, object, profile, activate, keep);
            }
            Command::CancelDeploys { call, peer } => {
                let count = self.cancel_feeds(now, &peer);
                self.answer(call, Ok(Answer::Count(count)));
            }
            Command::ForgetOwed { peer, t } => {
                self.outputs.push_back(Output::Depot(DepotTask::ForgetOwed { peer, t: Some(t) }));
            }
            Command::Deploys { call } => {
                let infos = self.feeds.infos();
                self.answer(call, Ok(Answer::Deploys(infos)));
            }
            Command::Ueps { call, peer, header, payload, id, timeout } => {
                self.rpc.name(call, id);
                if let Err(e) = self.send_packet(now, call, &peer, &header, &payload, now.mono + timeout) {
                    self.rpc.take_name(call);
                    self.answer(call, Err(e));
                }
            }
            Command::Threats { call } => {
                let threats = self.threat_infos(now.mono);
                self.answer(call, Ok(Answer::Threats(threats)));
            }
            Command::Sighted { sighting, by } => {
                let address = sighting.address();
                if let Err(e) = self.handle_sighting(now, *sighting, by) {
                    log::debug!(target: "dht", "of {address} nothing is taken over: {e}");
                }
            }
            Command::Found { call } => {
                let rigs = self.found_rigs(now);
                self.answer(call, Ok(Answer::Found(rigs)));
            }
            Command::Hunt { call, address, own, keep, timeout } => {
                if let Err(e) = self.hunt(now, call, &address, &own, keep, timeout) {
                    self.answer(call, Err(e));
                }
            }
            Command::OwnRecord(own) => self.handle_own_record(now, own),
            Command::Rotate(statement) => self.announce_rotation(now, *statement),
            Command::Rotation { call } => {
                let own = self.own_rotation();
                self.answer(call, Ok(Answer::Rotation(own)));
            }
            Command::AccessChanged => self.handle_access_changed(now),
            Command::Clock { call } => {
                let behind = self.clock_behind(now.wall);
                self.answer(call, Ok(Answer::ClockBehind(behind)));
            }
            Command::ResetClock { call, key } => {
                self.marks.reset(key.as_ref());
                self.save_marks(now);
                self.answer(call, Ok(Answer::Done));
            }
            Command::Shutdown => self.handle_shutdown(now),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        self.threats.handle_timeout(now.mono);
        while let Some(link) = self.links.pop_due(now.mono) {
            self.drive_link(now, link);
        }
        while let Some(late) = self.rpc.pop_overdue(now.mono) {
            self.dials.forget_waiter(late.call);
            self.handle_hunt_overdue(now, late.call);
            let what = if late.sent { "no reply from" } else { "no link to" };
            self.answer(late.call, Err(Error::TimedOut(format!("{what} {}", late.peer))));
            self.registry.write().record_timeout(&late.peer);
        }
        while let Some((job, late)) = self.worker.pop_overdue(now.mono) {
            self.outputs.push_back(Output::JobOverdue { job });
            self.refuse_asked(now, late.link, &late.request, ErrorCode::TIMEOUT, "the rig took too long");
        }
        if self.marks_due.is_some_and(|at| at <= now.mono) {
            self.save_marks(now);
        }
        self.drive_gossip(now);
        self.drive_lives(now);
        self.drive_dials(now);
        self.drive_renewals(now);
        self.drive_successions(now);
        self.drive_pulls(now);
        self.drive_feeds(now);
    }

    /// How far the wall clock runs behind what this node has seen, when that is worth a warning.
    pub(crate) fn clock_behind(&self, wall: Timestamp) -> Option<Duration> {
        self.marks.clock_behind(wall)
    }

    fn handle_message(&mut self, now: Now, id: LinkId, message: Message) {
        let own = self.marks.own(now.wall);
        let Some(link) = self.links.link_mut(id).filter(|l| !l.closing) else { return };
        let registry = &self.registry;
        let marks = self.marks.entry(&link.key, |key| matches!(registry.read().admission(key), Admission::Listed));
        let Opening { verdict, proven, marked, announced } =
            link.dialogue.handle_message(now, own, marks, &mut self.rng, message);
        if marked {
            self.marks.touch();
            self.marks_due.get_or_insert(now.mono + MARKS_EVERY);
        }
        self.links.refresh_timer(id);
        let known = matches!(verdict, Verdict::Pong { .. });
        if let Some(peer) = announced {
            self.handle_announced(now, id, &peer);
        }
        if proven && !self.handle_proven(now, id) {
            return;
        }
        if proven || known {
            self.feeds_link_up(now, id);
            self.settle_hunts(now, id);
        }
        if known {
            self.gossip_begins(now, id);
        }
        self.carry_out(now, id, verdict);
    }

    fn carry_out(&mut self, now: Now, id: LinkId, verdict: Verdict) {
        match verdict {
            Verdict::Drop(_) => {}
            Verdict::Answer(message) => {
                self.outputs.push_back(Output::Send { link: id, lane: Lane::Control, message: *message, call: None })
            }
            Verdict::Pong { round_trip } => {
                if let Some(link) = self.links.link(id) {
                    self.note_round_trip(now, &link.peer, round_trip);
                }
                self.pulls_round_trip(now, id, round_trip);
            }
            Verdict::Reply { request, message } => self.complete(now, &request, message),
            Verdict::Disconnect { reason, code } => {
                let why = Error::Unreachable(format!(
                    "the peer said goodbye: {} ({code})",
                    crate::base::quote_value(&reason)
                ));
                self.fail_calls(id, &why);
                self.close(now, id, why);
            }
            Verdict::Request(message) => self.handle_request(now, id, message),
        }
    }

    fn complete(&mut self, now: Now, request: &str, message: Message) {
        if self.handle_offer_reply(now, request, &message) || self.handle_rotated(request, &message) {
            return;
        }
        let Some(pending) = self.rpc.complete(request) else {
            // Sent by the embedder itself: its answer is the embedder's too.
            let peer = message.from.clone();
            return self.outputs.push_back(Output::Inbound { peer, message });
        };
        let round_trip = now.mono.since(pending.sent);
        if message.kind == MessageType::Pong {
            self.note_round_trip(now, &pending.peer, round_trip);
        } else {
            self.registry.write().record_success(now, &pending.peer);
        }
        if message.kind == MessageType::UepsReply {
            let answer = self.read_packet_reply(pending.link, &message);
            return self.answer(pending.call, answer.map(Answer::Intent));
        }
        self.answer(pending.call, Ok(Answer::Reply { message, round_trip }));
    }

    /// A round trip on the authenticated link: latency and score of the peer, if it is registered.
    fn note_round_trip(&self, now: Now, peer: &str, round_trip: Duration) {
        let _ = self.registry.write().handle_ping_result(now, peer, Some(round_trip.as_secs_f64() * 1000.0));
    }

    /// The peer is a RigMesh node: pace by its limits, grant it ours, and pin its signing key
    /// (secure-session.md §4).
    fn handle_announced(&mut self, now: Now, id: LinkId, peer: &Announcement) {
        let Some(link) = self.links.link_mut(id) else { return };
        link.caps.clone_from(&peer.caps);
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let message_bytes_max = usize::try_from(peer.max).unwrap_or(usize::MAX);
        self.outputs.push_back(Output::Announced {
            link: id,
            burst: number(peer.burst),
            rate_per_s: number(peer.rate),
            message_bytes_max,
        });
        let (burst, rate) = self.config.dialogue.announced_limit;
        link.limits.set(burst, rate);
        if let Some(sign) = peer.bound_sign_key(&link.key) {
            self.handle_bind(now, id, sign);
        }
    }

    fn handle_link_down(&mut self, now: Now, id: LinkId, why: &Error) {
        let Some((link, alone)) = self.links.remove(id) else { return };
        self.renewals.forget(id);
        self.worker.forget_link(id);
        self.pulls_link_down(id);
        self.feeds_link_down(now, id, why);
        self.handle_hunt_link_down(now, id, why);
        self.fail_calls(id, why);
        if alone {
            self.registry.write().set_connected(now, &link.peer, false);
            log::info!(target: "mesh", peer = link.peer.as_str(), address = link.address.as_str(); "link closed: {why}");
        }
        self.fail_dial(now, link.dial, why);
    }

    /// Whoever waits for an answer over this link hears why there will be none.
    fn fail_calls(&mut self, id: LinkId, why: &Error) {
        for pending in self.rpc.take_link(id) {
            let why = if self.stopping { Error::ShuttingDown } else { why.clone() };
            self.answer(pending.call, Err(why));
            self.registry.write().record_failure(&pending.peer);
        }
    }

    fn handle_access_changed(&mut self, now: Now) {
        let lost: Vec<LinkId> = {
            let registry = self.registry.read();
            self.links
                .iter()
                .filter(|(_, l)| matches!(registry.admission(&l.key), Admission::Refused | Admission::Revoked))
                .map(|(id, _)| id)
                .collect()
        };
        for link in lost {
            self.worker.forget_link(link);
            self.say_goodbye(now, link, "revoked", DisconnectCode::GOING_AWAY, &Refusal::NotAllowed.into());
        }
        self.pulls_access_changed(now);
        self.plan_successions(now);
    }

    fn handle_shutdown(&mut self, now: Now) {
        self.stopping = true;
        self.feeds_shutdown();
        for call in self.rpc.take_all() {
            self.answer(call, Err(Error::ShuttingDown));
        }
        let links: Vec<LinkId> = self.links.iter().map(|(id, _)| id).collect();
        for link in links {
            self.say_goodbye(now, link, "server shutdown", DisconnectCode::SHUTDOWN, &Error::ShuttingDown);
        }
        if self.marks.is_dirty() {
            self.save_marks(now);
        }
    }

    /// Keepalive and deadlines of one link.
    fn drive_link(&mut self, now: Now, id: LinkId) {
        let active = self.links.is_active(id);
        let Some(link) = self.links.link_mut(id) else { return };
        match link.dialogue.handle_timeout(now, &mut self.rng) {
            // An older connection of a key is read and answered, but we do not keep it alive.
            Ok(Some(ping)) if !link.closing && (active || !link.dialogue.is_proven()) => {
                self.outputs.push_back(Output::Send { link: id, lane: Lane::Control, message: ping, call: None });
            }
            Ok(_) => {}
            Err(hangup) => return self.say_goodbye(now, id, "timeout", DisconnectCode::TIMEOUT, &hangup.into()),
        }
        self.links.refresh_timer(id);
    }

    /// A ready message of the embedder's: addressed by us, remembered, sent.
    fn send_ready(&mut self, now: Now, call: CallId, peer: &str, mut message: Message) -> Result<()> {
        let link = self.links.active_by_peer(peer).ok_or_else(|| not_connected(peer))?;
        self.id.as_ref().clone_into(&mut message.from);
        peer.clone_into(&mut message.to);
        if let Some(link) = self.links.link_mut(link) {
            link.dialogue.handle_sent(now.mono, &message.id, &message.to);
        }
        let lane = lane_of(&message);
        self.outputs.push_back(Output::Send { link, lane, message, call: Some(call) });
        Ok(())
    }

    /// Builds a request to the link's peer, always with its id in `to`, and sends it.
    fn send_request(&mut self, now: Now, id: LinkId, payload: &Payload) -> Option<String> {
        self.send_named(now, id, payload, None)
    }

    /// The same with an id that was drawn already.
    fn send_named(&mut self, now: Now, id: LinkId, payload: &Payload, name: Option<String>) -> Option<String> {
        let link = self.links.link_mut(id).filter(|l| !l.closing)?;
        let mut message = Message::new(now, &mut self.rng, &self.id, &link.peer, payload);
        message.id = name.unwrap_or(message.id);
        link.dialogue.handle_sent(now.mono, &message.id, &message.to);
        let request = message.id.clone();
        let lane = lane_of(&message);
        self.outputs.push_back(Output::Send { link: id, lane, message, call: None });
        Some(request)
    }

    fn reply(&mut self, now: Now, id: LinkId, request: &Message, payload: &Payload) {
        let Some(link) = self.links.link(id).filter(|l| !l.closing) else { return };
        let message = link.dialogue.reply(request, now, &mut self.rng, payload);
        let lane = lane_of(&message);
        self.outputs.push_back(Output::Send { link: id, lane, message, call: None });
    }

    /// An `error` reply.
    fn refuse(&mut self, now: Now, id: LinkId, request: &Message, code: i64, text: &str) {
        self.reply(now, id, request, &worker::error(code, text));
    }

    /// Has the marks as they stand saved; gives the snapshot's version.
    fn save_marks(&mut self, now: Now) -> u64 {
        let snapshot = self.snapshot_marks(now);
        let version = snapshot.version;
        self.outputs.push_back(Output::SaveMarks(snapshot));
        version
    }

    /// The marks as they stand, for whoever sees to their saving.
    fn snapshot_marks(&mut self, now: Now) -> MarksSnapshot {
        self.marks_due = None;
        let snapshot = self.marks.snapshot(now.wall);
        self.registry.write().set_time_floor(self.marks.saved());
        snapshot
    }

    fn say_goodbye(&mut self, now: Now, id: LinkId, reason: &str, code: i64, why: &Error) {
        let payload = Payload::Disconnect(Disconnect { reason: reason.to_owned(), code });
        // An unproven peer is told nothing but pings.
        if self.links.link(id).is_some_and(|l| l.dialogue.is_proven()) {
            self.send_request(now, id, &payload);
        }
        self.close(now, id, why.clone());
    }

    fn close(&mut self, now: Now, id: LinkId, why: Error) {
        let Some(peer) = self.links.link(id).filter(|l| !l.closing).map(|l| l.peer.clone()) else { return };
        if self.links.retire(id) {
            self.registry.write().set_connected(now, &peer, false);
        }
        self.outputs.push_back(Output::Close { link: id, why });
    }

    fn answer(&mut self, call: CallId, result: Result<Answer>) {
        self.outputs.push_back(Output::Answer { call, result });
    }
}

fn lane_of(message: &Message) -> Lane {
    if message.payload.as_str().len() > BULK_BYTES { Lane::Bulk } else { Lane::Control }
}

fn not_connected(peer: &str) -> Error {
    Error::Unreachable(format!("{peer} is not connected"))
}
