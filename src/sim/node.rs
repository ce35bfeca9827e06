//! A node of the simulated world: identity, registry, mesh, and per connection the session's halves.

use super::audit::Audit;
use super::depot::Depot;
use super::packets::Packets;
use super::{Actor, ConnId, Event, Wire, World};
use crate::base::{Error, Now, Refusal, Result, Rng, Time, Timestamp};
use crate::identity::{Identity, PublicKey, Role};
use crate::mesh::{
    Answer, AuditSink as _, CHUNK1, DepotTask, DialId, GOSSIP1, Input, Intents, JobId, JobResult, LinkId,
    MarksSnapshot, MarksTable, Mesh, MeshConfig, Output, Permit, ROTATE1, UEPS1, Work, failure_of, not_recorded,
};
use crate::message::{Announcement, Message};
use crate::miners::{LogSlice, MinerState, MinerStats};
use crate::peers::{Admission, AuditMark, Grants, Peer, PeerAuthMode, PeerRegistry};
use crate::session::secure::{Fault, Statement};
use crate::session::{
    Asked, Challenges, Dialled, DialogueConfig, Established, HalfOpen, Inbound, InboundLimits, Initiator, Known,
    LinkKeys, Opened, Outbound, OutboundLimits, Responded, Security, halves, respond,
};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// When the world begins: after every build of this program.
const BEGIN_S: i64 = 1_800_000_000;

/// Both clocks of a node whose wall clock is `skew_s` off.
pub(super) fn wall(now: Time, skew_s: i64) -> Now {
    let true_wall = Timestamp::from_unix(BEGIN_S, 0).plus(now.since(Time::ZERO));
    let skew = Duration::from_secs(skew_s.unsigned_abs());
    Now { mono: now, wall: if skew_s < 0 { true_wall.minus(skew) } else { true_wall.plus(skew) } }
}

/// How a node is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its role; workers and duals carry out requests.
    pub role: Role,
    /// Open mode instead of the allowlist.
    pub open: bool,
    /// Whether secure sessions are offered, and whether they are asked for.
    pub secure: Secure,
}

/// How a simulated node stands to secure sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secure {
    /// The extension is off.
    Off,
    /// With whoever can.
    On,
    /// With everybody or not at all.
    Required,
}

impl Setup {
    /// A controller that admits only whom it knows.
    pub fn controller() -> Setup {
        Setup { role: Role::Controller, open: false, secure: Secure::Off }
    }

    /// A worker that admits only whom it knows.
    pub fn rig() -> Setup {
        Setup { role: Role::Worker, open: false, secure: Secure::Off }
    }

    /// The same with secure sessions.
    #[must_use]
    pub fn secure(self, secure: Secure) -> Setup {
        Setup { secure, ..self }
    }

    /// The same in open mode.
    #[must_use]
    pub fn open(self) -> Setup {
        Setup { open: true, ..self }
    }
}

/// The scripted miners of a node.
#[derive(Debug, Default)]
pub struct Rig {
    /// Every start that was carried out.
    pub started: Vec<String>,
    /// Every stop that was carried out.
    pub stopped: Vec<String>,
    /// Work begins and never ends.
    pub hung: bool,
    /// The disk is full: freshness cannot be saved.
    pub disk_full: bool,
    /// Objects that came and were installed.
    pub depot: Depot,
    /// What packets did.
    pub packets: Packets,
}

/// One side of a connection.
enum Half {
    Dialling { dial: DialId, initiator: Initiator, address: String },
    Accepting { address: String },
    Proving { half_open: Box<HalfOpen>, address: String },
    Up { inbound: Box<Inbound>, outbound: Box<Outbound> },
}

pub(super) struct SimNode {
    pub(super) identity: Arc<Identity>,
    pub(super) security: Security,
    pub(super) registry: Arc<RwLock<PeerRegistry>>,
    pub(super) mesh: Mesh,
    /// The handlers of packets.
    pub(super) intents: Intents,
    pub(super) rig: Rig,
    pub(super) audit: Audit,
    pub(super) skew_s: i64,
    /// Messages that the node handed to its embedder.
    pub(super) embedder: Vec<Message>,
    challenges: Challenges,
    rng: Rng,
    works: bool,
    disk: Option<MarksSnapshot>,
    halves: BTreeMap<ConnId, Half>,
    closing: Vec<ConnId>,
    /// When a pacer lets the next message go.
    wake: Option<Time>,
}

impl SimNode {
    pub(super) fn new(name: &str, setup: Setup, now: Time, rng: &mut Rng) -> SimNode {
        let works = setup.role.is_worker();
        let mode = if setup.open { PeerAuthMode::Open } else { PeerAuthMode::Allowlist };
        let mut rng = rng.fork();
        let identity =
            Identity::generate(name, setup.role, wall(now, 0).wall, &mut rng).unwrap_or_else(|e| panic!("{e}"));
        let registry = Arc::new(RwLock::new(PeerRegistry::with_mode(mode)));
        let identity = Arc::new(identity);
        let mesh = mesh(&identity, &registry, works, MarksTable::default(), rng.fork(), wall(now, 0));
        let security = match setup.secure {
            Secure::Off => Security::Off,
            secure => Security::On {
                statement: Box::new(Statement::new(&identity, caps(), 1 << 20)),
                required: secure == Secure::Required,
            },
        };
        let (intents, rig) = (Intents::default(), Rig::default());
        rig.packets.register(&intents, works);
        SimNode {
            identity,
            security,
            registry,
            mesh,
            intents,
            rig,
            audit: Audit::default(),
            skew_s: 0,
            embedder: Vec::new(),
            challenges: Challenges::new(),
            rng,
            works,
            disk: None,
            halves: BTreeMap::new(),
            closing: Vec::new(),
            wake: None,
        }
    }

    /// The process starts anew with what is on its disk.
    pub(super) fn power_on(&mut self, now: Time, rng: Rng) {
        let marks = self.disk.as_ref().map(|s| MarksTable::decode(&s.text).unwrap_or_else(|e| panic!("{e}")));
        let now = wall(now, self.skew_s);
        let connected: Vec<String> = self.registry.read().connected_peers().map(|p| p.id.clone()).collect();
        for id in connected {
            self.registry.write().set_connected(now, &id, false);
        }
        self.mesh = mesh(&self.identity, &self.registry, self.works, marks.unwrap_or_default(), rng, now);
        self.disk = None; // versions begin again; the text lives on in the table
        self.challenges = Challenges::new();
        self.halves.clear();
        self.wake = None;
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.mesh.poll_timeout().into_iter().chain(self.wake).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        self.mesh.handle_timeout(wall(now, self.skew_s));
    }

    pub(super) fn handle_accepted(&mut self, conn: ConnId, address: String) {
        self.halves.insert(conn, Half::Accepting { address });
    }

    /// `false`: the session is over, and the connection must close without a word.
    pub(super) fn handle_frame(&mut self, now: Time, conn: ConnId, binary: bool, mut frame: Vec<u8>) -> bool {
        match self.halves.remove(&conn) {
            Some(Half::Up { mut inbound, outbound }) => {
                let opened = inbound.handle_frame(now, binary, &mut frame);
                self.halves.insert(conn, Half::Up { inbound, outbound });
                let input = match opened {
                    Opened::Message(message, _) => Input::Message { link: link(conn), message },
                    Opened::Packet(packet, _) => Input::Packet { link: link(conn), packet },
                    Opened::Data(body, _) => Input::Data { link: link(conn), body },
                    Opened::Over(Fault::Broken(why)) => Input::LinkBroken { link: link(conn), why },
                    Opened::Over(Fault::Forged) => return false,
                    Opened::Part | Opened::Dropped(..) => return true,
                };
                self.mesh.handle_input(wall(now, self.skew_s), input);
                true
            }
            Some(Half::Proving { half_open, address }) => match half_open.handle_proof(&frame) {
                Ok((established, keys)) if binary => {
                    self.note_session(wall(now, self.skew_s), &established);
                    self.establish(now, conn, established, keys, address, None);
                    true
                }
                _ => false,
            },
            Some(other) => {
                self.halves.insert(conn, other);
                true
            }
            None => true,
        }
    }

    pub(super) fn handle_down(&mut self, now: Time, conn: ConnId) {
        let now = wall(now, self.skew_s);
        let why = Error::Unreachable("the connection was cut".to_owned());
        match self.halves.remove(&conn) {
            Some(Half::Dialling { dial, .. }) => self.mesh.handle_input(now, Input::DialFailed { dial, why }),
            Some(Half::Up { .. }) => self.mesh.handle_input(now, Input::LinkDown { link: link(conn), why }),
            _ => {}
        }
    }

    fn establish(
        &mut self,
        now: Time,
        conn: ConnId,
        established: Box<Established>,
        keys: LinkKeys,
        address: String,
        dial: Option<DialId>,
    ) {
        let limits = InboundLimits::new(100, 50);
        let (outbound, inbound) = halves(
            keys,
            self.rng.fork(),
            OutboundLimits::default(),
            limits.clone(),
            1 << 20,
            self.security.takes(),
            now,
        );
        self.halves.insert(conn, Half::Up { inbound: Box::new(inbound), outbound: Box::new(outbound) });
        let input = Input::LinkUp { link: link(conn), established, address, dial, certificate: None, limits };
        self.mesh.handle_input(wall(now, self.skew_s), input);
    }

    /// What the runtime's jobs do, at once and in memory.
    fn work(
        &mut self,
        now: Time,
        permit: &Permit,
        marks: Option<MarksSnapshot>,
        work: Work,
    ) -> (Result<JobResult>, Option<AuditMark>) {
        if let Err(e) = self.admit(now, permit, marks) {
            return (Err(e), None);
        }
        let (t, by) = (wall(now, self.skew_s).wall, &permit.key);
        let Some(command) = work.audited() else { return (self.carry_out(by, t, work), None) };
        let of = match self.audit.begin(t, permit, &command) {
            Ok(of) => of,
            Err(e) => return (Ok(JobResult::NotRecorded(not_recorded(&e))), None),
        };
        let result = self.carry_out(by, t, work);
        let mark = self.audit.end(t, of, failure_of(&result).as_deref().map_or(Ok(()), Err));
        (result, mark)
    }

    fn admit(&mut self, now: Time, permit: &Permit, marks: Option<MarksSnapshot>) -> Result<()> {
        if let Some(grant) = permit.grant {
            self.registry.read().grants(&permit.key, wall(now, self.skew_s).wall).require(grant)?;
        }
        if let Some(marks) = marks {
            if self.rig.disk_full {
                return Err(Error::Failed("not carried out, because it could not be recorded".to_owned()));
            }
            self.save(marks);
        }
        Ok(())
    }

    /// A session stands: its peer gets nothing less from now on, and may be a successor that has to prove itself.
    fn note_session(&mut self, at: Now, with: &Established) {
        let Some(session) = &with.session else { return };
        let changed = {
            let mut registry = self.registry.write();
            registry.mark_secure(&with.key);
            let changed = registry.note_successor_proven(&with.key, &session.statement.sign, at.wall);
            registry.settle_peers(at);
            changed
        };
        if changed {
            self.mesh.handle_input(at, Input::Succeeded);
        }
    }

    /// Puts successors whose time has come in their predecessors' places.
    fn follow_due(&self, at: Now) {
        let mut registry = self.registry.write();
        registry.follow_due(at.wall);
        registry.settle_peers(at);
    }

    fn carry_out(&mut self, by: &PublicKey, at: Timestamp, work: Work) -> Result<JobResult> {
        match work {
            Work::Stats => {
                let miners = vec![MinerStats::new("sim-1", "sim", MinerState::Running)];
                Ok(JobResult::Stats { miners, held: self.rig.packets.held() })
            }
            Work::Intent(job) => {
                let packet = job.packet.packet();
                let answer = self.intents.carry_out(&job.context, &packet);
                Ok(JobResult::Intent { intent: packet.header().intent, answer })
            }
            Work::Start { miner_type, .. } => {
                self.rig.started.push(miner_type.clone());
                Ok(JobResult::Started { name: format!("{miner_type}-{}", self.rig.started.len()) })
            }
            Work::Deploy(deploy) => Ok(JobResult::Deployed { name: deploy.name }),
            Work::Pause { miner, pause } => {
                self.rig.packets.hold(pause.then_some("paused by command"));
                Ok(JobResult::Started { name: miner.unwrap_or_default() })
            }
            Work::Access { key, change } => {
                let mut registry = self.registry.write();
                registry.change_from_afar(by, &key, &change, at)?;
                Ok(JobResult::Access(registry.access().reply(&key)))
            }
            Work::Rotate { said, sign } => {
                let told = self.registry.write().handle_rotation(&said, by, &sign, at)?;
                Ok(JobResult::Rotated(told))
            }
            Work::AuditTail { .. } => Ok(JobResult::AuditTail(crate::message::AuditTail::default())),
            Work::Versions { .. } => Ok(JobResult::Versions(Vec::new())),
            Work::Rollback { name, .. } => Err(Error::NotFound(format!("no versions of {name}"))),
            Work::Stop { miner } => {
                self.rig.stopped.push(miner.clone());
                Ok(JobResult::Stopped { name: miner })
            }
            Work::Logs { miner, lines, .. } => Ok(JobResult::Logs(LogSlice {
                lines: (0..lines.min(3)).map(|i| format!("{miner} line {i}")).collect(),
                has_more: false,
            })),
        }
    }

    /// What the runtime's depot does, at once and in memory.
    fn depot(&mut self, now: Time, task: DepotTask) {
        let now = wall(now, self.skew_s);
        let permit = match &task {
            DepotTask::Offer { permit, .. } | DepotTask::Install { permit, .. } => Some(permit),
            _ => None,
        };
        let registry = self.registry.read();
        let mut permitted = permit.map_or(Ok(()), |p| match p.grant {
            Some(grant) => registry.grants(&p.key, now.wall).require(grant),
            None => Ok(()),
        });
        if matches!(task, DepotTask::CheckKeys) {
            let keys: Vec<_> = registry.list_peers().filter_map(Peer::key).collect();
            let may = keys.iter().any(|key| registry.grants(key, now.wall).contains(Grants::DEPLOY));
            permitted = may.then_some(()).ok_or(Error::Rejected(Refusal::NotAllowed));
        }
        drop(registry);
        let mut saved = None;
        let mut save = |marks: MarksSnapshot| {
            saved = Some(marks);
            Ok(())
        };
        let event = self.rig.depot.work(task, permitted, (&self.audit, now.wall), &mut save);
        if let Some(marks) = saved {
            self.save(marks);
        }
        if let Some(event) = event {
            self.mesh.handle_input(now, Input::Depot(event));
        }
    }

    fn save(&mut self, marks: MarksSnapshot) {
        if self.disk.as_ref().is_none_or(|old| old.version < marks.version) {
            self.disk = Some(marks);
        }
    }
}

fn mesh(
    identity: &Arc<Identity>,
    registry: &Arc<RwLock<PeerRegistry>>,
    works: bool,
    marks: MarksTable,
    rng: Rng,
    now: Now,
) -> Mesh {
    let caps = caps();
    let sign = Some(identity.sign_key().public());
    let bind = Some(identity.sign_key().bind_signature(&identity.public_key()));
    let announcement = Announcement { v: 1, caps, rate: 2000, burst: 4000, max: 1 << 20, sign, bind };
    let dialogue = DialogueConfig::new(announcement);
    let config = MeshConfig {
        dialogue: Arc::new(dialogue),
        frame_bytes_max: 1 << 20,
        works,
        trust_all: false,
        takes_deploys: true,
        feeding_max: 16,
        searches: true,
        dial_loopback: false,
    };
    Mesh::new(config, identity.clone(), registry.clone(), marks, rng, now)
}

fn caps() -> Vec<String> {
    [CHUNK1, UEPS1, GOSSIP1, ROTATE1].map(str::to_owned).to_vec()
}

fn link(conn: ConnId) -> LinkId {
    LinkId(conn.0 as u64)
}

fn conn(link: LinkId) -> ConnId {
    ConnId(usize::try_from(link.0).unwrap_or(usize::MAX))
}

impl World {
    /// Messages that a node handed to its embedder.
    pub fn embedder(&self, name: &str) -> &[Message] {
        &self.node_ref(name).embedder
    }

    /// Carries out what a node's mesh wants, and sends what its links have queued.
    pub(super) fn pump(&mut self, name: &str) {
        let now = self.now;
        loop {
            let node = self.node_mut(name);
            let Some(output) = node.mesh.poll_output() else { break };
            match output {
                Output::Dial { dial, target } => self.dial_out(name, dial, &target.address, target.expect),
                Output::Send { link, lane, message, call } => {
                    let at = wall(now, node.skew_s);
                    let Some(Half::Up { outbound, .. }) = node.halves.get_mut(&conn(link)) else { continue };
                    let queued = outbound.handle_send(lane, message.encode().into_bytes());
                    if let Some(call) = call {
                        self.answers.insert(call.0, queued.map(|()| Answer::Done));
                    } else if let Err(why) = queued {
                        node.mesh.handle_input(at, Input::NotSent { message: message.id, why });
                    }
                }
                Output::SendRaw { link, lane, body, request } => {
                    let at = wall(now, node.skew_s);
                    let Some(Half::Up { outbound, .. }) = node.halves.get_mut(&conn(link)) else { continue };
                    if let (Err(why), Some(message)) = (outbound.handle_send(lane, body), request) {
                        node.mesh.handle_input(at, Input::NotSent { message, why });
                    }
                }
                Output::Announced { link, burst, rate_per_s, message_bytes_max } => {
                    if let Some(Half::Up { outbound, .. }) = node.halves.get_mut(&conn(link)) {
                        outbound.handle_announced(now, burst, rate_per_s, message_bytes_max);
                    }
                }
                Output::Close { link, .. } => node.closing.push(conn(link)),
                Output::Answer { call, result } => drop(self.answers.insert(call.0, result)),
                Output::Inbound { message, .. } => node.embedder.push(message),
                Output::Job { job, permit, marks, work } => self.job(name, job, &permit, marks, work),
                Output::SaveMarks(snapshot) => {
                    let saved = Input::MarksSaved { version: snapshot.version, result: Ok(()) };
                    node.save(snapshot);
                    node.mesh.handle_input(wall(now, node.skew_s), saved);
                }
                Output::FollowSuccessors => {
                    let at = wall(now, node.skew_s);
                    node.follow_due(at);
                    node.mesh.handle_input(at, Input::Succeeded);
                }
                Output::Depot(task) => node.depot(now, task),
                Output::Search { address } => self.search(name, address),
                Output::JobOverdue { .. } | Output::Proven { .. } => {}
            }
        }
        self.flush(name);
        for conn in std::mem::take(&mut self.node_mut(name).closing) {
            self.close_conn_late(conn);
        }
    }

    fn job(&mut self, name: &str, job: JobId, permit: &Permit, marks: Option<MarksSnapshot>, work: Work) {
        let now = self.now;
        let node = self.node_mut(name);
        if !node.rig.hung {
            let (result, mark) = node.work(now, permit, marks, work);
            let at = wall(now, node.skew_s);
            node.mesh.handle_input(at, Input::JobDone { job, result, mark });
        }
    }

    /// Closes after what was sent has arrived.
    fn close_conn_late(&mut self, conn: ConnId) {
        for name in self.conns[conn.0].names.clone() {
            self.schedule(Event::Down { conn, to: name });
        }
    }

    fn flush(&mut self, name: &str) {
        let now = self.now;
        let conns: Vec<ConnId> = self.node_mut(name).halves.keys().copied().collect();
        for conn in conns {
            loop {
                let node = self.node_mut(name);
                let seconds = wall(now, node.skew_s).wall.unix_seconds();
                let Some(Half::Up { outbound, .. }) = node.halves.get_mut(&conn) else { break };
                let mut frame = Vec::new();
                match outbound.poll_frame(now, seconds, &mut frame) {
                    Ok(true) => self.transmit(conn, name, Wire::Frame(frame)),
                    Ok(false) => break,
                    Err(_) => {}
                }
            }
        }
        let waits = |half: &Half| match half {
            Half::Up { outbound, .. } => outbound.poll_timeout(now),
            _ => None,
        };
        let node = self.node_mut(name);
        node.wake = node.halves.values().filter_map(waits).min();
    }

    fn dial_out(&mut self, name: &str, dial: DialId, address: &str, expect: crate::session::Expect) {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).to_owned();
        let host = self.places.get(&host).cloned().unwrap_or(host);
        let severed = self.severed.contains(&(name.to_owned(), host.clone()));
        if severed || !self.actors.contains_key(&host) {
            let why = Error::Unreachable(format!("nobody at {address}"));
            return self.schedule(Event::DialFailed { node: name.to_owned(), dial, why });
        }
        let conn = self.open_conn(name, &host);
        let now = self.now;
        let node = self.node_mut(name);
        let at = wall(now, node.skew_s);
        let (rng, challenges) = (&mut node.rng, &mut node.challenges);
        let started = Initiator::start(&node.identity, expect, &node.security, None, at, rng, challenges);
        let (initiator, text) = started.unwrap_or_else(|e| panic!("{e}"));
        node.halves.insert(conn, Half::Dialling { dial, initiator, address: address.to_owned() });
        self.transmit(conn, name, Wire::Text(text));
    }

    /// A handshake text reaches a node.
    pub(super) fn shake(&mut self, conn: ConnId, name: &str, text: &[u8]) {
        let now = self.now;
        let Some(Actor::Node(node)) = self.actors.get_mut(name) else { return };
        let at = wall(now, node.skew_s);
        match node.halves.remove(&conn) {
            Some(Half::Dialling { dial, initiator, address }) => {
                let registry = node.registry.clone();
                let known = |key: &_| Known { secure: registry.read().access().is_secure(key), ..Known::default() };
                match initiator.handle_ack(&node.identity, &node.security, text, known) {
                    Ok(Dialled { established, keys, proof }) => {
                        if proof.is_some() {
                            node.note_session(at, &established);
                        }
                        node.establish(now, conn, established, keys, address, Some(dial));
                        if let Some(proof) = proof {
                            self.transmit(conn, name, Wire::Frame(proof));
                        }
                    }
                    Err(why) => {
                        node.mesh.handle_input(at, Input::DialFailed { dial, why });
                        self.close_conn(conn, name);
                    }
                }
            }
            Some(Half::Accepting { address }) => {
                let registry = node.registry.clone();
                let admit = |key: &_, asked: Asked| match registry.read().admission(key) {
                    // No codes are shown in the simulated world.
                    _ if asked != Asked::Link => Err(Refusal::pairing("not pairing")),
                    Admission::Listed | Admission::Open => {
                        Ok(Known { secure: registry.read().access().is_secure(key), ..Known::default() })
                    }
                    Admission::Refused | Admission::Revoked => Err(Refusal::NotAllowed),
                };
                let (rng, challenges) = (&mut node.rng, &mut node.challenges);
                match respond(&node.identity, &node.security, text, admit, at, rng, challenges) {
                    Responded::Accept { ack, established, keys } => {
                        node.establish(now, conn, established, keys, address, None);
                        self.transmit(conn, name, Wire::Text(ack));
                    }
                    Responded::Await { ack, half_open } => {
                        node.halves.insert(conn, Half::Proving { half_open, address });
                        self.transmit(conn, name, Wire::Text(ack));
                    }
                    Responded::Reject { ack, .. } => {
                        self.transmit(conn, name, Wire::Text(ack));
                        self.close_conn_late(conn);
                    }
                    Responded::Close(_) => self.close_conn(conn, name),
                }
            }
            // Inside the session a text is a frame that does not open.
            Some(up) => {
                node.halves.insert(conn, up);
                if !node.handle_frame(now, conn, false, text.to_vec()) {
                    self.close_conn(conn, name);
                }
            }
            None => {}
        }
        self.pump(name);
    }
}
