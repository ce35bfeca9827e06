//! The rig's side of commands (mesh.md §4): what a peer may ask, which permission it needs, and
//! how the result of the slow work becomes a reply. The work itself is a job of the runtime.

use super::codes::code_of;
use super::io::{JobId, JobResult, LinkId, Work};
use crate::base::{Error, Now, Refusal, Result, Time, Timestamp};
use crate::formats::gojson;
use crate::message::{
    DeployAck, ErrorCode, ErrorPayload, Logs, Message, MessageType, MinerAck, MinerStatsItem, Payload, Stats,
    StopMiner, Versions,
};
use crate::miners::MinerStats;
use crate::peers::{AccessChange, Grants};
use std::collections::BTreeMap;
use std::time::Duration;

/// `get_logs` with no number, or a larger one, means this many lines.
const LINES_MAX: i64 = 10_000;
/// How long the work behind each request may take before the peer is told and the thread counts as hung.
const QUERY_MAX: Duration = Duration::from_secs(9);
/// Stopping a miner waits ten seconds for it and then kills it.
const CHANGE_MAX: Duration = Duration::from_secs(28);
/// Requests under way, all peers together.
const JOBS_MAX: usize = 256;
/// What a rig says that takes no deployments.
pub(crate) const DEPLOYS_OFF: &str = "deploys are off";
/// Room left in a frame for the envelope, the container and the seal.
const ENVELOPE_BYTES: usize = 4096;

/// What asked for work, by which it is answered.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// A message, answered by one.
    Message(Message),
    /// A packet in a frame of its own, answered by one of the same intent.
    Packet(AskedPacket),
}

/// What is kept of a packet to answer it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AskedPacket {
    pub(crate) intent: u8,
    pub(crate) hmac: [u8; 32],
}

/// A request whose work is under way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) link: LinkId,
    pub(crate) request: Request,
    deadline: Time,
}

/// The worker's table of jobs.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    next: u64,
    jobs: BTreeMap<JobId, Job>,
}

/// What a request becomes.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Start this work.
    Work(Work),
    /// Reply at once with an `error` that says this.
    Refuse(String),
    /// An unknown type: no reply.
    Ignore,
}

/// Reads a request. Whether the key has the grant is for the caller to check, at one place.
pub(crate) fn read(message: &Message, takes_deploys: bool) -> Asked {
    let payload = match message.payload() {
        Ok(payload) => payload,
        Err(e) => return Asked::Refuse(e.to_string()),
    };
    match payload {
        Payload::GetStats => Asked::Work(Work::Stats),
        Payload::StartMiner(start) if start.miner_type.is_empty() => Asked::Refuse("miner type is required".to_owned()),
        Payload::StartMiner(start) => {
            let config = match (start.config.is_null(), start.config.parse()) {
                (true, _) => None,
                (false, Ok(config)) => Some(config),
                (false, Err(e)) => return Asked::Refuse(e.to_string()),
            };
            let profile_id = Some(start.profile_id).filter(|id| !id.is_empty());
            Asked::Work(Work::Start { miner_type: start.miner_type, profile_id, config })
        }
        Payload::StopMiner(stop) => Asked::Work(Work::Stop { miner: stop.miner_name }),
        Payload::GetLogs(logs) => {
            let lines = if (1..=LINES_MAX).contains(&logs.lines) { logs.lines } else { LINES_MAX };
            let since_ms = Some(logs.since).filter(|since| *since != 0);
            Asked::Work(Work::Logs { miner: logs.miner_name, lines: usize::try_from(lines).unwrap_or(0), since_ms })
        }
        Payload::Deploy(_) | Payload::DeployOffer(_) if !takes_deploys => Asked::Refuse(DEPLOYS_OFF.to_owned()),
        Payload::Deploy(deploy) => Asked::Work(Work::Deploy(Box::new(deploy))),
        Payload::GetVersions(asked) => Asked::Work(Work::Versions { name: Some(asked.name).filter(|n| !n.is_empty()) }),
        Payload::PauseMiner(which) => Asked::Work(Work::Pause { miner: named(which), pause: true }),
        Payload::ResumeMiner(which) => Asked::Work(Work::Pause { miner: named(which), pause: false }),
        Payload::Rollback(back) => Asked::Work(Work::Rollback { name: back.name, slot: back.slot }),
        Payload::Grant(grant) => {
            let grants = grant.grants.iter().try_fold(Grants::NONE, |all, name| Ok(all.union(name.parse()?)));
            match grants {
                Ok(grants) => {
                    let change = AccessChange::Grant { grants, until: grant.until, note: grant.note };
                    Asked::Work(Work::Access { key: grant.key, change })
                }
                Err(e) => Asked::Refuse(Error::to_string(&e)),
            }
        }
        Payload::KeepKey(keep) => Asked::Work(Work::Access { key: keep.key, change: AccessChange::Keep }),
        Payload::GetAudit(asked) => Asked::Work(Work::AuditTail { lines: asked.lines }),
        Payload::Revoke(revoke) => Asked::Work(Work::Access { key: revoke.key, change: AccessChange::Revoke }),
        _ => Asked::Ignore,
    }
}

/// One miner, or all when none is named.
fn named(which: StopMiner) -> Option<String> {
    Some(which.miner_name).filter(|name| !name.is_empty())
}

/// The permission a request needs, named before anything else about it is looked at.
pub(crate) fn grant_needed(message: &Message) -> Option<Grants> {
    match message.kind {
        MessageType::StartMiner
        | MessageType::StopMiner
        | MessageType::PauseMiner
        | MessageType::ResumeMiner
        | MessageType::Rollback => Some(Grants::OPERATE),
        MessageType::Deploy | MessageType::DeployOffer => Some(Grants::DEPLOY),
        MessageType::GetLogs | MessageType::GetVersions | MessageType::GetAudit => Some(Grants::OBSERVE),
        MessageType::Grant | MessageType::Revoke | MessageType::KeepKey => Some(Grants::MANAGE),
        _ => None,
    }
}

impl Worker {
    /// Takes a request in. `Busy` when too many are under way.
    pub(crate) fn begin(&mut self, now: Time, link: LinkId, request: Request) -> Result<JobId> {
        if self.jobs.len() >= JOBS_MAX {
            return Err(Error::Busy);
        }
        self.next += 1;
        let id = JobId(self.next);
        let changes = match &request {
            Request::Message(message) => {
                message.kind == MessageType::Ueps || grant_needed(message).is_some_and(|g| g != Grants::OBSERVE)
            }
            Request::Packet(_) => true,
        };
        let max = if changes { CHANGE_MAX } else { QUERY_MAX };
        self.jobs.insert(id, Job { link, request, deadline: now + max });
        Ok(id)
    }

    /// The work ended.
    pub(crate) fn finish(&mut self, job: JobId) -> Option<Job> {
        self.jobs.remove(&job)
    }

    /// The next job past its deadline.
    pub(crate) fn pop_overdue(&mut self, now: Time) -> Option<(JobId, Job)> {
        let id = self.jobs.iter().find(|(_, job)| job.deadline <= now).map(|(id, _)| *id)?;
        self.jobs.remove(&id).map(|job| (id, job))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.jobs.values().map(|job| job.deadline).min()
    }

    /// Whether work is under way that came over this link.
    pub(crate) fn has_link(&self, link: LinkId) -> bool {
        self.jobs.values().any(|job| job.link == link)
    }

    /// Jobs of a link that is gone: their results go nowhere.
    pub(crate) fn forget_link(&mut self, link: LinkId) {
        self.jobs.retain(|_, job| job.link != link);
    }
}

/// Who replies.
pub(crate) struct Me<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) started: Timestamp,
    pub(crate) frame_bytes_max: usize,
}

/// The reply to a request whose work ended so.
pub(crate) fn reply_payload(me: &Me<'_>, now: Now, request: &Message, result: Result<JobResult>) -> Payload {
    let acks = grant_needed(request) == Some(Grants::OPERATE);
    match result {
        Ok(JobResult::Stats { miners, held }) => Payload::Stats(stats(me, now, &miners, held)),
        Ok(JobResult::Started { name } | JobResult::Stopped { name }) => {
            Payload::MinerAck(MinerAck { success: true, miner_name: name, error: String::new() })
        }
        Ok(JobResult::Logs(slice)) => {
            let (lines, cut) = newest_that_fit(slice.lines, me.frame_bytes_max.saturating_sub(ENVELOPE_BYTES));
            let name = match request.payload() {
                Ok(Payload::GetLogs(asked)) => asked.miner_name,
                _ => String::new(),
            };
            Payload::Logs(Logs { miner_name: name, lines: Some(lines), has_more: slice.has_more || cut })
        }
        Ok(JobResult::Deployed { name }) => Payload::DeployAck(DeployAck { success: true, name, error: String::new() }),
        Ok(JobResult::Access(reply)) => Payload::Access(reply),
        Ok(JobResult::Rotated(rotated)) => Payload::Rotated(rotated),
        Ok(JobResult::AuditTail(tail)) => Payload::AuditTail(tail),
        Ok(JobResult::Versions(versions)) => Payload::Versions(Versions { versions }),
        Ok(JobResult::NotRecorded(why)) => error(ErrorCode::OPERATION_FAILED, &why),
        // Packets are answered with packets, before this.
        Ok(JobResult::Intent { .. }) => error(ErrorCode::UNKNOWN, "no answer"),
        Err(e @ Error::Rejected(Refusal::Permission(_))) => error(code_of(&e), &e.to_string()),
        Err(e) if acks => {
            Payload::MinerAck(MinerAck { success: false, miner_name: String::new(), error: e.to_string() })
        }
        Err(e) => error(code_of(&e), &e.to_string()),
    }
}

/// An `error` payload.
pub(crate) fn error(code: i64, text: &str) -> Payload {
    Payload::Error(ErrorPayload { code, message: text.to_owned(), details: String::new() })
}

fn stats(me: &Me<'_>, now: Now, miners: &[MinerStats], held: Option<String>) -> Stats {
    let mut room = me.frame_bytes_max.saturating_sub(ENVELOPE_BYTES);
    let mut items = Vec::new();
    for miner in miners {
        let item = item(miner);
        let size = sealed_size(&gojson::to_string(&item).unwrap_or_default());
        let Some(left) = room.checked_sub(size) else { break };
        room = left;
        items.push(item);
    }
    Stats {
        node_id: me.id.to_owned(),
        node_name: me.name.to_owned(),
        miners: Some(items),
        uptime: i64::try_from(now.wall.since(me.started).as_secs()).unwrap_or(i64::MAX),
        held,
    }
}

fn item(miner: &MinerStats) -> MinerStatsItem {
    let int = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    MinerStatsItem {
        name: miner.name.clone(),
        kind: miner.miner_type.clone(),
        hashrate: miner.hashrate_hs.unwrap_or(0.0),
        shares: int(miner.shares),
        rejected: int(miner.rejected),
        uptime: int(miner.uptime_s),
        pool: miner.pool.clone(),
        algorithm: miner.algorithm.clone(),
        cpu_threads: i64::from(miner.cpu_threads),
        state: Some(miner.state.to_string()),
        hashrate_known: miner.hashrate_hs.is_some(),
        note: miner.note.clone(),
    }
}

/// The newest lines whose sealed form fits, and whether any were left out.
fn newest_that_fit(lines: Vec<String>, mut room: usize) -> (Vec<String>, bool) {
    let mut from = lines.len();
    for line in lines.iter().rev() {
        let Some(left) = room.checked_sub(sealed_size(&gojson::to_string(line).unwrap_or_default()) + 1) else { break };
        room = left;
        from -= 1;
    }
    let cut = from > 0;
    (lines.into_iter().skip(from).collect(), cut)
}

/// How many bytes a piece of message JSON takes inside the sealed inner JSON, where it is escaped once more.
fn sealed_size(json: &str) -> usize {
    gojson::to_string_html(json).map_or(usize::MAX / 2, |text| text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_that_fit_are_kept() {
        let lines: Vec<String> = (0..100).map(|i| format!("line {i} \"<&>\"")).collect();
        let (kept, cut) = newest_that_fit(lines.clone(), 1000);
        assert!(cut && kept.last() == lines.last() && kept.len() > 5 && kept.len() < 30);
        assert_eq!(newest_that_fit(lines.clone(), 1 << 20), (lines, false));
    }
}
