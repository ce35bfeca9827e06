//! Commands to rigs: each has a deadline, and a sweep gives a result or a reason for every rig, so
//! that one hung rig never stalls a fleet (mesh.md §5).

use super::audit::{Order, Outcome};
use super::{Shared, unexpected};
use crate::base::{Error, Result};
use crate::identity::PublicKey;
use crate::mesh::{Answer, AuditCommand, CallId, Command, ConnectTo, MANAGE1};
use crate::message::{
    AccessReply, AuditTail, DisconnectCode, GetAudit, GetLogs, Grant, KeepKey, Logs, Message, MessageType, MinerAck,
    Payload, Ping, RawPayload, Revoke, StartMiner, Stats, StopMiner, parse_response,
};
use crate::peers::Gift;
use crossbeam_channel::bounded;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const QUERY: Duration = Duration::from_secs(10);
const CHANGE: Duration = Duration::from_secs(30);
const PING: Duration = Duration::from_secs(5);
/// A command's share of the control queue's bytes beside its payload.
pub(super) const COMMAND_BYTES: usize = 512;

/// The controller's side of a node. Cheap to clone.
#[derive(Clone)]
pub struct Controller {
    pub(super) shared: Arc<Shared>,
}

/// What a sweep gives: for every rig asked, its answer or the reason there is none.
pub type Sweep<T> = Vec<(String, Result<T>)>;

impl Controller {
    /// A rig's statistics. Connects first when needed.
    ///
    /// # Errors
    /// [`Error::Remote`] when the rig refuses, [`Error::TimedOut`] after 10 s, and what connecting can give.
    pub fn stats(&self, rig: &str) -> Result<Stats> {
        self.call(rig, Payload::GetStats, QUERY, &MessageType::Stats)
    }

    /// Starts a miner by profile, or with a configuration of its own (checked by the rig against a whitelist).
    /// Returns the miner's name on the rig.
    ///
    /// # Errors
    /// As [`Controller::stats`], within 30 s; [`Error::Failed`] with the rig's words when the miner does not start.
    pub fn start_miner(
        &self,
        rig: &str,
        miner_type: &str,
        profile_id: Option<&str>,
        config: Option<&serde_json::Value>,
    ) -> Result<String> {
        self.ack(rig, start_payload(miner_type, profile_id, config)?)
    }

    /// Stops a miner.
    ///
    /// # Errors
    /// As [`Controller::start_miner`].
    pub fn stop_miner(&self, rig: &str, miner: &str) -> Result<String> {
        self.ack(rig, Payload::StopMiner(StopMiner { miner_name: miner.to_owned() }))
    }

    /// A miner's newest lines, oldest first; `since_ms` is a Unix time in milliseconds.
    ///
    /// # Errors
    /// As [`Controller::stats`].
    pub fn logs(&self, rig: &str, miner: &str, lines: i64, since_ms: Option<i64>) -> Result<Logs> {
        self.call(rig, logs_payload(miner, lines, since_ms), QUERY, &MessageType::Logs)
    }

    /// A round trip to a peer; updates its latency in the registry.
    ///
    /// # Errors
    /// As [`Controller::stats`], within 5 s.
    pub fn ping(&self, peer: &str) -> Result<Duration> {
        let (message, round_trip) = self.exchange(peer, self.ping_payload(), PING)?;
        crate::message::validate_response(Some(&message), &MessageType::Pong)?;
        Ok(round_trip)
    }

    /// Connects to a registered peer; returns when it is proven.
    ///
    /// # Errors
    /// As [`super::Node::connect`]; [`Error::NotFound`] when it is not registered.
    pub fn connect(&self, peer: &str) -> Result<crate::mesh::LinkInfo> {
        self.shared.connect(ConnectTo::Peer(peer.to_owned()))
    }

    /// Says goodbye and closes all links to a peer.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when there is none.
    pub fn disconnect(&self, peer: &str) -> Result<()> {
        let (peer, reason, code) =
            (peer.to_owned(), "disconnected by the controller".to_owned(), DisconnectCode::NORMAL);
        self.shared.ask(QUERY, 0, |call| Command::Disconnect { call, peer, reason, code }).map(drop)
    }

    /// The statistics of every connected peer that answered.
    pub fn all_stats(&self) -> BTreeMap<String, Stats> {
        let connected: Vec<String> = self.shared.registry.connected_peers().into_iter().map(|p| p.id).collect();
        self.sweep_stats(&connected, QUERY).into_iter().filter_map(|(rig, stats)| Some((rig, stats.ok()?))).collect()
    }

    /// Statistics of many rigs at once, in the order asked.
    pub fn sweep_stats(&self, rigs: &[String], deadline: Duration) -> Sweep<Stats> {
        self.sweep(rigs, &Payload::GetStats, deadline, &MessageType::Stats)
    }

    /// Round trips to many peers at once.
    pub fn sweep_ping(&self, peers: &[String], deadline: Duration) -> Sweep<Duration> {
        let answers = self.fan_out(peers, &self.ping_payload(), deadline);
        answers
            .into_iter()
            .map(|(peer, answer)| {
                (
                    peer,
                    answer.and_then(|(m, rtt)| {
                        crate::message::validate_response(Some(&m), &MessageType::Pong).map(|()| rtt)
                    }),
                )
            })
            .collect()
    }

    /// Starts a miner on many rigs at once.
    pub fn sweep_start(
        &self,
        rigs: &[String],
        miner_type: &str,
        profile_id: Option<&str>,
        config: Option<&serde_json::Value>,
    ) -> Result<Sweep<String>> {
        Ok(self.sweep_ack(rigs, &start_payload(miner_type, profile_id, config)?))
    }

    /// Stops a miner on many rigs at once.
    pub fn sweep_stop(&self, rigs: &[String], miner: &str) -> Sweep<String> {
        self.sweep_ack(rigs, &Payload::StopMiner(StopMiner { miner_name: miner.to_owned() }))
    }

    /// Changes what a key may do on many rigs at once. Each takes it in a secure session only, from a key with `manage`, and
    /// gives no more than this node has there.
    pub fn sweep_grant(&self, rigs: &[String], key: &PublicKey, gift: &Gift) -> Sweep<AccessReply> {
        let grants = gift.grants.names().map(str::to_owned).collect();
        let note = gift.note.clone().unwrap_or_default();
        self.sweep_access(rigs, &Payload::Grant(Grant { key: *key, grants, until: gift.until, note }))
    }

    /// Shuts a key out of many rigs at once; as [`Controller::sweep_grant`].
    pub fn sweep_revoke(&self, rigs: &[String], key: &PublicKey) -> Sweep<AccessReply> {
        self.sweep_access(rigs, &Payload::Revoke(Revoke { key: *key }))
    }

    /// Drops whatever is pending on many rigs that would replace a key; as [`Controller::sweep_grant`].
    pub fn sweep_keep_key(&self, rigs: &[String], key: &PublicKey) -> Sweep<AccessReply> {
        self.sweep_access(rigs, &Payload::KeepKey(KeepKey { key: *key }))
    }

    /// The newest lines of many rigs' audit logs, at most `lines` of each; 0 for as many as a rig gives at once.
    pub fn sweep_audit(&self, rigs: &[String], lines: u32) -> Sweep<AuditTail> {
        self.sweep(rigs, &Payload::GetAudit(GetAudit { lines }), QUERY, &MessageType::AuditTail)
    }

    fn sweep_access(&self, rigs: &[String], payload: &Payload) -> Sweep<AccessReply> {
        let known = self.capable(rigs, MANAGE1);
        let answers = self.fan_out_each(rigs, CHANGE, &|rig| known.check(rig).map(|()| payload.clone()));
        let read = |answer: Result<(Message, Duration)>| parse_response(Some(&answer?.0), &MessageType::Access);
        answers.into_iter().map(|(rig, answer)| (rig, read(answer))).collect()
    }

    /// A miner's newest lines from many rigs at once.
    pub fn sweep_logs(&self, rigs: &[String], miner: &str, lines: i64, since_ms: Option<i64>) -> Sweep<Logs> {
        self.sweep(rigs, &logs_payload(miner, lines, since_ms), QUERY, &MessageType::Logs)
    }

    /// Sends any payload and gives the raw reply with its round trip. Like every command that changes something, it is
    /// recorded in this node's audit log before it is sent.
    ///
    /// # Errors
    /// As [`Controller::stats`]; an `error` reply is returned as the message it is. [`Error::Failed`] when it cannot be
    /// recorded: then it was not sent.
    pub fn exchange(&self, peer: &str, payload: Payload, timeout: Duration) -> Result<(Message, Duration)> {
        let order = match AuditCommand::of_payload(&payload) {
            Some(command) => self.shared.order(peer, command)?,
            None => None,
        };
        let begun = self.shared.record_orders(order.as_slice())?;
        let (id, rig) = (order.map(|order| order.id), peer.to_owned());
        let call = |call| Command::Call { call, peer: rig, payload, id, timeout };
        let answer = self.shared.ask(timeout, COMMAND_BYTES, call);
        let outcomes: Vec<Outcome> = begun.iter().map(|of| Outcome::new(*of, peer, &answer)).collect();
        self.shared.record_outcomes(&outcomes);
        match answer? {
            Answer::Reply { message, round_trip } => Ok((message, round_trip)),
            other => Err(unexpected(&other)),
        }
    }

    fn ping_payload(&self) -> Payload {
        Payload::Ping(Ping { sent_at: self.shared.clock.now().wall.unix_millis(), rigmesh: None })
    }

    fn call<T: DeserializeOwned>(
        &self,
        rig: &str,
        payload: Payload,
        timeout: Duration,
        expected: &MessageType,
    ) -> Result<T> {
        let (message, _) = self.exchange(rig, payload, timeout)?;
        parse_response(Some(&message), expected)
    }

    pub(super) fn ack(&self, rig: &str, payload: Payload) -> Result<String> {
        let ack: MinerAck = self.call(rig, payload, CHANGE, &MessageType::MinerAck)?;
        accepted(ack)
    }

    pub(super) fn sweep_ack(&self, rigs: &[String], payload: &Payload) -> Sweep<String> {
        let acks: Sweep<MinerAck> = self.sweep(rigs, payload, CHANGE, &MessageType::MinerAck);
        acks.into_iter().map(|(rig, ack)| (rig, ack.and_then(accepted))).collect()
    }

    fn sweep<T: DeserializeOwned>(
        &self,
        rigs: &[String],
        payload: &Payload,
        deadline: Duration,
        expected: &MessageType,
    ) -> Sweep<T> {
        let answers = self.fan_out(rigs, payload, deadline);
        answers
            .into_iter()
            .map(|(rig, answer)| (rig, answer.and_then(|(m, _)| parse_response(Some(&m), expected))))
            .collect()
    }

    /// All calls are under way at once; each has the whole deadline.
    pub(super) fn fan_out(&self, rigs: &[String], payload: &Payload, deadline: Duration) -> Sweep<(Message, Duration)> {
        self.fan_out_each(rigs, deadline, &|_| Ok(payload.clone()))
    }

    /// The same with a payload for each rig.
    pub(super) fn fan_out_each(
        &self,
        rigs: &[String],
        deadline: Duration,
        payload: &dyn Fn(&str) -> Result<Payload>,
    ) -> Sweep<(Message, Duration)> {
        let command =
            |call, peer: String, payload: Payload, id| Command::Call { call, peer, payload, id, timeout: deadline };
        let replied = |answer| match answer {
            Answer::Reply { message, round_trip } => Ok((message, round_trip)),
            other => Err(unexpected(&other)),
        };
        let answers =
            self.fan_out_commands(rigs, deadline, COMMAND_BYTES, payload, &AuditCommand::of_payload, &command);
        answers.into_iter().map(|(rig, answer)| (rig, answer.and_then(replied))).collect()
    }

    /// The same for any command: `content` says what goes to a rig, or why nothing does; `change`, what the audit log says of
    /// it, if it changes something; `bytes` is a command's share of the control queue. All that change something are recorded
    /// before the first is sent, and once more when all are answered, each time with one sync.
    pub(super) fn fan_out_commands<T: Clone>(
        &self,
        rigs: &[String],
        deadline: Duration,
        bytes: usize,
        content: &dyn Fn(&str) -> Result<T>,
        change: &dyn Fn(&T) -> Option<AuditCommand>,
        command: &dyn Fn(CallId, String, T, Option<String>) -> Command,
    ) -> Sweep<Answer> {
        let (reply, answers) = bounded(rigs.len().max(1));
        let mut calls: BTreeMap<CallId, usize> = BTreeMap::new();
        let mut results: Vec<Option<Result<Answer>>> = rigs.iter().map(|_| None).collect();
        let mut keep = |calls: &BTreeMap<CallId, usize>, (call, answer): (CallId, Result<Answer>)| {
            if let Some(slot) = calls.get(&call).and_then(|i| results.get_mut(*i)) {
                *slot = Some(answer);
            }
        };
        let mut failed = Vec::new();
        let (mut contents, mut orders, mut ordered) = (Vec::with_capacity(rigs.len()), Vec::new(), Vec::new());
        for (i, rig) in rigs.iter().enumerate() {
            let made = content(rig).and_then(|content| {
                let order = change(&content).map(|command| self.shared.order(rig, command)).transpose()?.flatten();
                Ok((content, order))
            });
            match made {
                Ok((content, order)) => {
                    contents.push((i, rig, content, order.as_ref().map(|order| order.id.clone())));
                    ordered.extend(order.as_ref().map(|_| i));
                    orders.extend(order);
                }
                Err(e) => failed.push((i, e)),
            }
        }
        let begun = match self.shared.record_orders(&orders) {
            Ok(begun) => begun,
            Err(e) => {
                contents.retain(|(.., id)| id.is_none());
                failed.extend(ordered.iter().map(|i| (*i, e.clone())));
                Vec::new()
            }
        };
        let end = Instant::now() + deadline;
        for (i, rig, content, id) in contents {
            loop {
                let made = |call| command(call, rig.clone(), content.clone(), id.clone());
                match self.shared.begin(reply.clone(), bytes, made) {
                    Ok(call) => drop(calls.insert(call, i)),
                    // The queue is shorter than the fleet: the dispatcher is at it.
                    Err(Error::Busy) if Instant::now() < end => {
                        std::thread::yield_now();
                        continue;
                    }
                    Err(e) => failed.push((i, e)),
                }
                break;
            }
        }
        drop(reply);
        // The dispatcher answers every call by its own deadline; the channel ends when all are answered.
        while let Ok(answer) = answers.recv_timeout(end.saturating_duration_since(Instant::now()) + super::GRACE) {
            keep(&calls, answer);
        }
        for (i, e) in failed {
            if let Some(slot) = results.get_mut(i) {
                *slot = Some(Err(e));
            }
        }
        let missing = || Err(Error::TimedOut("no answer in time".to_owned()));
        let results: Vec<Result<Answer>> = results.into_iter().map(|r| r.unwrap_or_else(missing)).collect();
        let outcome =
            |((of, i), order): ((&u64, &usize), &Order)| Some(Outcome::new(*of, &order.rig, results.get(*i)?));
        let outcomes: Vec<Outcome> = begun.iter().zip(&ordered).zip(&orders).filter_map(outcome).collect();
        self.shared.record_outcomes(&outcomes);
        rigs.iter().cloned().zip(results).collect()
    }
}

fn start_payload(miner_type: &str, profile_id: Option<&str>, config: Option<&serde_json::Value>) -> Result<Payload> {
    let config = config.map_or(Ok(RawPayload::NULL), RawPayload::from_value)?;
    Ok(Payload::StartMiner(StartMiner {
        miner_type: miner_type.to_owned(),
        profile_id: profile_id.unwrap_or_default().to_owned(),
        config,
    }))
}

fn logs_payload(miner: &str, lines: i64, since_ms: Option<i64>) -> Payload {
    Payload::GetLogs(GetLogs { miner_name: miner.to_owned(), lines, since: since_ms.unwrap_or(0) })
}

fn accepted(ack: MinerAck) -> Result<String> {
    if ack.success { Ok(ack.miner_name) } else { Err(Error::Failed(ack.error)) }
}
