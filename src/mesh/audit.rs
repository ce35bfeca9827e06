//! What the audit log says of commands (secure-session.md §7): which of them change something, the two lines around
//! each, and the mark that goes back with the reply. A line names things and their hashes; never a configuration, whose
//! pools and wallets are nobody's business who reads the log.

use super::intents::grant_for_intent;
use super::io::{JobResult, Permit, Work};
use crate::base::{Result, Timestamp};
use crate::bundle::ObjectManifest;
use crate::identity::PublicKey;
use crate::message::{Deploy, Grant, KeepKey, MessageType, Payload, RawPayload, Revoke, Rollback, StopMiner};
use crate::peers::{AccessChange, AuditBegin, AuditEntry, AuditMark};
use crate::wire::ueps::{intent, intent_name};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The log: files of a running node, memory of a simulated one.
pub(crate) trait AuditSink {
    /// Appends a line; after `Ok` it is durable. May block for the disk.
    fn append(&self, t: Timestamp, entry: &AuditEntry<'_>) -> Result<AuditMark>;

    /// The line before a peer's command; its number. The command must not run when it cannot be written.
    fn begin(&self, t: Timestamp, permit: &Permit, command: &AuditCommand) -> Result<u64> {
        let Origin { id, ts, session } = &permit.origin;
        let begin = AuditBegin {
            who: Some(&permit.key),
            session: *session,
            id,
            ts: (!ts.is_zero()).then_some(*ts),
            what: &command.what,
            args: &command.args,
            peer: None,
        };
        self.append(t, &AuditEntry::Begin(begin)).map(|mark| mark.n)
    }

    /// The line after it; its place, for the reply. What has run has run: that the line cannot be written is told here, and
    /// to everybody by its absence.
    fn end(&self, t: Timestamp, of: u64, result: std::result::Result<(), &str>) -> Option<AuditMark> {
        let end = AuditEntry::End { of, result, peer: None };
        self.append(t, &end).inspect_err(|e| log::error!(target: "audit", of; "the end is not recorded: {e}")).ok()
    }
}

/// The message that asks for a command.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) id: String,
    pub(crate) ts: Timestamp,
    /// The first eight bytes of the session's id, when it came in a secure one.
    pub(crate) session: Option<[u8; 8]>,
}

/// A changing command as a line names it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AuditCommand {
    /// The kind of the message.
    pub(crate) what: String,
    /// Names and hashes.
    pub(crate) args: Value,
}

impl AuditCommand {
    /// What is not there is left out.
    pub(crate) fn new(what: &str, mut args: Value) -> AuditCommand {
        if let Some(args) = args.as_object_mut() {
            args.retain(|_, value| !value.is_null());
        }
        AuditCommand { what: what.to_owned(), args }
    }

    /// With one more name.
    #[must_use]
    pub(crate) fn with(mut self, key: &str, value: &str) -> AuditCommand {
        if let Some(args) = self.args.as_object_mut() {
            args.insert(key.to_owned(), value.into());
        }
        self
    }

    /// That a configuration came along is said, because a wallet may be in it; what it is, is not.
    pub(crate) fn start(miner_type: &str, profile: Option<&str>, with_config: bool) -> AuditCommand {
        let with_config = with_config.then_some(true);
        let args = json!({ "type": miner_type, "profile": profile, "with_config": with_config });
        AuditCommand::new(MessageType::StartMiner.as_str(), args)
    }

    /// `stop_miner`, `pause_miner`, `resume_miner`; all miners when none is named.
    pub(crate) fn miner(kind: &MessageType, miner: Option<&str>) -> AuditCommand {
        AuditCommand::new(kind.as_str(), json!({ "miner": miner }))
    }

    /// What becomes of a key: `revoke`, `keep_key`.
    pub(crate) fn of_key(kind: &MessageType, key: &PublicKey) -> AuditCommand {
        AuditCommand::new(kind.as_str(), json!({ "key": key }))
    }

    pub(crate) fn rollback(miner: &str, slot: Option<u32>) -> AuditCommand {
        AuditCommand::new(MessageType::Rollback.as_str(), json!({ "miner": miner, "slot": slot }))
    }

    /// A bundle in one message. The hash is of the bytes as they are, whatever the message says of them.
    pub(crate) fn bundle(deploy: &Deploy) -> AuditCommand {
        let data = deploy.data.as_deref().unwrap_or_default();
        let (kind, sha256) = (deploy.kind.as_str(), hex::encode(Sha256::digest(data)));
        let args = json!({ "type": kind, "name": deploy.name, "sha256": sha256, "size": data.len() });
        AuditCommand::new(MessageType::Deploy.as_str(), args)
    }

    /// A chunked deployment; its id is the hash of the manifest, which has the hashes of all its files.
    pub(crate) fn object(t: &str, manifest: Option<&ObjectManifest>, profile: &RawPayload, activate: bool) -> Self {
        let named = manifest.map(|m| (m.name(), m.version(), m.size()));
        AuditCommand::named_object(t, named, profile_id(profile).as_deref(), activate)
    }

    /// The same, of an object whose name, version and size are known otherwise.
    pub(crate) fn named_object(
        t: &str,
        named: Option<(&str, &str, u64)>,
        profile: Option<&str>,
        activate: bool,
    ) -> AuditCommand {
        let (name, version, size) = (named.map(|n| n.0), named.map(|n| n.1), named.map(|n| n.2));
        let args = json!({
            "object": t, "name": name, "version": version, "size": size, "profile": profile, "activate": activate,
        });
        AuditCommand::new(MessageType::DeployOffer.as_str(), args)
    }

    /// A packet, when its intent changes something: `compute` names a profile. What else the payload says is free text.
    pub(crate) fn packet(number: u8, payload: &[u8]) -> Option<AuditCommand> {
        grant_for_intent(number)?;
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Order {
            profile: Option<String>,
        }
        let order: Order = serde_json::from_slice(payload).unwrap_or_default();
        let profile = order.profile.filter(|_| number == intent::COMPUTE);
        let args = json!({ "intent": intent_name(number).unwrap_or_default(), "profile": profile });
        Some(AuditCommand::new(MessageType::Ueps.as_str(), args))
    }

    /// What a controller is about to send; `None` when it changes nothing.
    pub(crate) fn of_payload(payload: &Payload) -> Option<AuditCommand> {
        let kind = payload.kind();
        Some(match payload {
            Payload::StartMiner(start) => {
                let profile = Some(start.profile_id.as_str()).filter(|id| !id.is_empty());
                AuditCommand::start(&start.miner_type, profile, !start.config.is_null())
            }
            Payload::StopMiner(StopMiner { miner_name })
            | Payload::PauseMiner(StopMiner { miner_name })
            | Payload::ResumeMiner(StopMiner { miner_name }) => {
                AuditCommand::miner(&kind, Some(miner_name.as_str()).filter(|name| !name.is_empty()))
            }
            Payload::Grant(Grant { key, grants, until, .. }) => {
                AuditCommand::new(kind.as_str(), json!({ "key": key, "grants": grants, "until": until }))
            }
            Payload::Revoke(Revoke { key }) | Payload::KeepKey(KeepKey { key }) => AuditCommand::of_key(&kind, key),
            Payload::Rollback(Rollback { name, slot }) => AuditCommand::rollback(name, *slot),
            Payload::Deploy(deploy) => AuditCommand::bundle(deploy),
            Payload::DeployOffer(offer) => AuditCommand::object(&offer.t, None, &offer.profile, offer.activate),
            _ => return None,
        })
    }
}

/// The id of a profile that came along; its content is left alone.
fn profile_id(profile: &RawPayload) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    profile.parse::<Named>().ok().map(|named| named.id)
}

impl Work {
    /// What the log says of it; `None` when it changes nothing.
    pub(crate) fn audited(&self) -> Option<AuditCommand> {
        Some(match self {
            Work::Start { miner_type, profile_id, config } => {
                AuditCommand::start(miner_type, profile_id.as_deref(), config.is_some())
            }
            Work::Stop { miner } => AuditCommand::miner(&MessageType::StopMiner, Some(miner)),
            Work::Pause { miner, pause } => {
                let kind = if *pause { MessageType::PauseMiner } else { MessageType::ResumeMiner };
                AuditCommand::miner(&kind, miner.as_deref())
            }
            Work::Deploy(deploy) => AuditCommand::bundle(deploy),
            Work::Rollback { name, slot } => AuditCommand::rollback(name, *slot),
            Work::Access { key, change: AccessChange::Grant { grants, until, .. } } => {
                let args = json!({ "key": key, "grants": grants, "until": until });
                AuditCommand::new(MessageType::Grant.as_str(), args)
            }
            Work::Access { key, change: AccessChange::Keep } => AuditCommand::of_key(&MessageType::KeepKey, key),
            Work::Rotate { said, .. } => {
                AuditCommand::new(MessageType::Rotate.as_str(), json!({ "old": said.old, "new": said.new }))
            }
            Work::Access { key, change: AccessChange::Revoke } => AuditCommand::of_key(&MessageType::Revoke, key),
            Work::Intent(job) => {
                let packet = job.packet.packet();
                return AuditCommand::packet(packet.header().intent, packet.payload());
            }
            Work::Stats | Work::Logs { .. } | Work::Versions { .. } | Work::AuditTail { .. } => return None,
        })
    }
}

/// Why a job failed, if it did. A packet's answer may say no.
pub(crate) fn failure_of(result: &Result<JobResult>) -> Option<String> {
    match result {
        Ok(JobResult::Intent { answer, .. }) => answer.failure().map(str::to_owned),
        Ok(_) => None,
        Err(e) => Some(e.to_string()),
    }
}

/// What the sender of a command hears that was not carried out for want of a line.
pub(crate) fn not_recorded(why: &crate::base::Error) -> String {
    format!("the command was not carried out, because it could not be recorded: {why}")
}

/// The reply to a command with its place on the rig's chain, as one more key: `"audit":{"n":8,"h":"…"}`. Who does not know
/// it ignores it.
pub(crate) fn with_mark(payload: &Payload, mark: Option<AuditMark>) -> Option<Payload> {
    let (kind, raw, mark) = (payload.kind(), payload.encode(), mark?);
    let body = raw.as_str().strip_suffix('}').filter(|body| body.starts_with('{'))?;
    let comma = if body.len() > 1 { "," } else { "" };
    let text = format!("{body}{comma}\"audit\":{{\"n\":{},\"h\":\"{}\"}}}}", mark.n, mark.h);
    Some(Payload::Other { kind, raw: RawPayload::from_compact(text) })
}

/// The place on a rig's chain that its reply carries. One that cannot be read is none.
pub(crate) fn mark_in(reply: &RawPayload) -> Option<AuditMark> {
    #[derive(Deserialize)]
    struct Marked {
        audit: AuditMark,
    }
    reply.parse::<Marked>().ok().map(|marked| marked.audit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{DeployKind, ErrorPayload, MinerAck, StartMiner};
    use crate::peers::AuditHash;

    #[test]
    fn a_mark_is_one_more_key_that_leaves_the_others_as_they_are() {
        let ack = MinerAck { success: true, miner_name: "x".into(), error: String::new() };
        let mark = AuditMark { n: 8, h: AuditHash([0xab; 32]) };
        let marked = with_mark(&Payload::MinerAck(ack.clone()), Some(mark)).unwrap();
        let raw = marked.encode();
        let hex = "ab".repeat(32);
        let want = format!(r#"{{"success":true,"minerName":"x","audit":{{"n":8,"h":"{hex}"}}}}"#);
        assert_eq!(raw.as_str(), want);
        assert_eq!((marked.kind(), mark_in(&raw)), (MessageType::MinerAck, Some(mark)));
        assert_eq!(raw.parse::<MinerAck>().unwrap(), ack);
        assert_eq!(with_mark(&Payload::MinerAck(ack), None), None);
        assert_eq!(with_mark(&Payload::GetStats, Some(mark)), None, "null has no room for it");
        for bad in [r#"{"audit":{"n":8}}"#, r#"{"audit":7}"#, r#"{"audit":{"n":-1,"h":""}}"#, "{}", "null", "[]"] {
            assert_eq!(mark_in(&RawPayload::from_text(bad).unwrap()), None, "{bad}");
        }
        let error = Payload::Error(ErrorPayload { code: 1004, message: "a}".into(), details: String::new() });
        assert_eq!(mark_in(&with_mark(&error, Some(mark)).unwrap().encode()), Some(mark));
    }

    #[test]
    fn a_line_has_names_and_hashes_and_nothing_of_a_configuration() {
        let config = RawPayload::from_text(r#"{"pools":[{"url":"a:1","user":"4Wallet","pass":"hunter2"}]}"#).unwrap();
        let start = StartMiner { miner_type: "xmrig".into(), profile_id: "p".into(), config: config.clone() };
        let line = AuditCommand::of_payload(&Payload::StartMiner(start)).unwrap();
        assert_eq!(line.args, json!({"type": "xmrig", "profile": "p", "with_config": true}));
        let profile = RawPayload::from_text(r#"{"id":"p","config":{"pass":"hunter2"}}"#).unwrap();
        let object = AuditCommand::object("ab", None, &profile, true);
        assert_eq!(object.args, json!({"object": "ab", "profile": "p", "activate": true}));
        let kind = DeployKind::Profile;
        let deploy = Deploy { kind, data: Some(b"hunter2".to_vec()), checksum: "false".into(), name: "p".into() };
        let sha256 = hex::encode(Sha256::digest(b"hunter2"));
        let bundle = AuditCommand::bundle(&deploy);
        assert_eq!(bundle.args, json!({"type": "profile", "name": "p", "sha256": sha256, "size": 7}));
        let packet = AuditCommand::packet(intent::COMPUTE, br#"{"profile":"p","token":"hunter2"}"#).unwrap();
        assert_eq!(packet.args, json!({"intent": "compute", "profile": "p"}));
        let rehab = AuditCommand::packet(intent::REHAB, br#"{"profile":"p","reason":"hunter2"}"#).unwrap();
        assert_eq!(rehab.args, json!({"intent": "rehab"}));
        assert_eq!(AuditCommand::packet(intent::CUSTOM, b"{}"), None);
        for reads in [Payload::GetStats, Payload::GetLogs(Default::default()), Payload::GetVersions(Default::default())]
        {
            assert_eq!(AuditCommand::of_payload(&reads), None);
        }
    }
}
