//! The words of the local control socket, which are also the words of the command line without a
//! daemon: one [`Request`] in, one JSON object per result row out, then a [`Summary`].
//!
//! [`crate::Node::execute`] calls nothing but the public handles, so a command does the same whether the
//! daemon carries it out or a node that lives for this one command.

mod bench;
mod deploy;
mod discover;
mod execute;
mod executor;
mod keys;
mod pairing;
mod rows;
mod select;
mod socket;
mod transfer;
mod ueps;

pub use execute::parse_profile;
pub use socket::{ControlClient, Owner};

use crate::base::{Error, Refusal, Result, Timestamp};
use crate::message::ErrorCode;
use crate::miners::Profile;
use crate::node::deploy::DeployFile;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// What a load test measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BenchKind {
    /// From a dial to a proven link.
    Connect,
    /// One request and its answer at a time.
    Rtt,
    /// Requests and their answers, many under way.
    Throughput,
    /// The statistics of all rigs at once.
    Sweep,
}

/// Which rigs a command is for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rigs {
    /// Names, ids or unique beginnings of ids. `self`, the own name or the own id mean this node.
    pub named: Vec<String>,
    /// Every registered peer that runs miners (or does not say what it does), and this node if it does.
    pub all: bool,
}

impl Rigs {
    /// These and no others.
    pub fn named<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Rigs {
        Rigs { named: names.into_iter().map(Into::into).collect(), all: false }
    }

    /// Every one.
    pub fn all() -> Rigs {
        Rigs { named: Vec::new(), all: true }
    }
}

/// One command. As JSON: `{"cmd":"status","rigs":{"all":true}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Every peer of the registry, and every key of the allowlist that is no peer.
    Peers {},
    /// Adds a peer by hand.
    PeersAdd {
        /// `host:port`, `wss://host:port`, with `#FINGERPRINT` behind it for a pinned certificate; or the address of a rig in
        /// the DHT, which needs no key.
        address: String,
        /// Its public key, or its node id.
        #[serde(default)]
        key: Option<String>,
        /// What to call it.
        #[serde(default)]
        name: Option<String>,
        /// What it may do here, such as `controller` or `observe,operate`.
        #[serde(default)]
        grant: Option<String>,
        /// Dial it now and keep the key that answers.
        #[serde(default)]
        trust_first: bool,
    },
    /// Looks for rigs in the DHT and on the local link, and asks each who it is.
    Discover {
        /// The fleet to look for; without one the local link, and what neighbours told.
        #[serde(default)]
        fleet: Option<String>,
        /// The fleet has no secret.
        #[serde(default)]
        public: bool,
        /// How long it may take in all, ms.
        #[serde(default = "query_ms")]
        timeout_ms: u64,
    },
    /// Removes a peer; its link is closed unless its key is on the allowlist.
    PeersRemove {
        /// Name, id or beginning of the id.
        peer: String,
    },
    /// Lets a key in, with grants.
    PeersAllow {
        /// The public key, base64.
        key: String,
        /// `peer` for none, `controller`, or some of `observe,operate,deploy,manage`.
        #[serde(default)]
        grant: Option<String>,
        /// What to call the peer of this key.
        #[serde(default)]
        name: Option<String>,
    },
    /// Gives a key exactly these grants, here or on rigs.
    PeersGrant {
        /// The public key, or a peer that has one.
        key: String,
        /// `peer` for none, `controller`, or some of `observe,operate,deploy,manage`.
        grant: String,
        /// Until when; for ever when absent.
        #[serde(default)]
        until: Option<Timestamp>,
        /// For people.
        #[serde(default)]
        note: Option<String>,
        /// On which rigs; here when none.
        #[serde(default)]
        rigs: Rigs,
    },
    /// Takes admission and grants from a key, at once and in every mode, here or on rigs.
    PeersRevoke {
        /// The public key, or a peer that has one.
        key: String,
        /// On which rigs; here when none.
        #[serde(default)]
        rigs: Rigs,
    },
    /// Accepts protocol 1.0 from a key again that had secure sessions: takes its secure mark away.
    PeersAllowPlain {
        /// The public key, or a peer that has one.
        key: String,
    },
    /// Drops whatever is pending that would replace a key, here or on rigs.
    PeersKeepKey {
        /// The public key, or a peer that has one.
        key: String,
        /// On which rigs; here when none.
        #[serde(default)]
        rigs: Rigs,
    },
    /// What this node says of its own keys being replaced, and what each known peer said to it.
    Rotation {
        /// Read the statement anew, and say it from now on.
        #[serde(default)]
        announce: bool,
    },
    /// Puts load on nodes and measures them.
    Bench {
        /// What is measured.
        kind: BenchKind,
        /// Which nodes.
        rigs: Rigs,
        /// At most so many measurements.
        count: u32,
        /// For at most so long.
        seconds: u32,
        /// Also nodes that are not on this machine.
        #[serde(default)]
        anywhere: bool,
    },
    /// The newest lines of rigs' audit logs.
    AuditTail {
        /// Which rigs.
        rigs: Rigs,
        /// How many; 0 for as many as are given at once.
        #[serde(default)]
        lines: u32,
    },
    /// Shows a new code by which a controller becomes known to this node.
    PairShow {
        /// The most that it may do: grants.
        grant: String,
        /// How long it is good.
        minutes: u32,
        /// Where this node can be dialled, when its interfaces do not say.
        #[serde(default)]
        addresses: Vec<String>,
    },
    /// How the code stands.
    PairState {},
    /// Withdraws the code.
    PairHide {},
    /// Pairs with the node that shows a code.
    PairJoin {
        /// Its link, or `CODE@HOST:PORT`.
        with: String,
        /// What to call it.
        #[serde(default)]
        name: Option<String>,
    },
    /// Begins an enrolment: a code that many rigs may use.
    Enrol {
        /// How many.
        uses: u32,
        /// For how many days.
        days: u32,
        /// What this node may do on them: grants.
        grant: String,
        /// Where this node can be dialled, when its interfaces do not say.
        #[serde(default)]
        addresses: Vec<String>,
    },
    /// How the enrolment stands, and who came.
    EnrolState {},
    /// Ends the enrolment.
    EnrolEnd {},
    /// The best peers by latency, hops, distance and score.
    PeersBest {
        /// How many.
        count: usize,
    },
    /// Forgets which times were seen from a peer (or from all): for a clock that once ran ahead.
    PeersResetClock {
        /// The peer; all when absent.
        #[serde(default)]
        peer: Option<String>,
    },
    /// The registry, sealed to a key.
    PeersExport {
        /// The reader's public key.
        to: String,
        /// The allowlist and the grants as well.
        #[serde(default)]
        with_access: bool,
    },
    /// Takes over what a sealed registry has and this one does not.
    PeersImport {
        /// Where it lies, an absolute path.
        file: PathBuf,
        /// The key it must have been made with; this node's own when absent.
        #[serde(default)]
        from: Option<String>,
        /// Its allowlist and grants as well.
        #[serde(default)]
        with_access: bool,
    },
    /// A round trip to each rig.
    Ping {
        /// Which.
        rigs: Rigs,
    },
    /// What each rig does. No rig named means all.
    Status {
        /// Which.
        rigs: Rigs,
        /// How long each rig has to answer, ms.
        #[serde(default = "query_ms")]
        timeout_ms: u64,
    },
    /// Starts a miner on each rig.
    Start {
        /// Which.
        rigs: Rigs,
        /// The kind of miner.
        miner_type: String,
        /// A profile stored on the rig.
        #[serde(default)]
        profile: Option<String>,
        /// Settings of the controller's own, laid over the profile's.
        #[serde(default)]
        config: Option<Value>,
    },
    /// Stops a miner on each rig.
    Stop {
        /// Which.
        rigs: Rigs,
        /// The miner's name there. When absent, the rig's only one is meant.
        #[serde(default)]
        miner: Option<String>,
        /// Every miner of each rig.
        #[serde(default)]
        all_miners: bool,
    },
    /// Pauses a miner of each rig, or all its miners; or goes on with them.
    Pause {
        /// Which rigs.
        rigs: Rigs,
        /// The miner's name there; all when absent.
        #[serde(default)]
        miner: Option<String>,
        /// Go on instead.
        #[serde(default)]
        resume: bool,
    },
    /// Sends a UEPS packet to each rig over its link.
    UepsSend {
        /// Which rigs.
        rigs: Rigs,
        /// Its intent, 0 to 255.
        intent: u8,
        /// Its threat score.
        #[serde(default)]
        threat_score: u16,
        /// Its payload, base64; at most 65,535 bytes.
        payload: String,
    },
    /// The newest lines of a miner.
    Logs {
        /// Which.
        rigs: Rigs,
        /// The miner's name there. When absent, the rig's only one is meant.
        #[serde(default)]
        miner: Option<String>,
        /// How many lines.
        lines: i64,
        /// None older than this Unix time in milliseconds.
        #[serde(default)]
        since_ms: Option<i64>,
    },
    /// The profiles of this node, without their secrets.
    Profiles {},
    /// Adds or replaces a profile of this node.
    ProfilePut {
        /// It.
        profile: Profile,
    },
    /// Brings a miner, a profile or both to rigs.
    Deploy {
        /// Which.
        rigs: Rigs,
        /// The miner.
        #[serde(default)]
        miner: Option<DeployMiner>,
        /// The profile.
        #[serde(default)]
        profile: Option<Profile>,
        /// Whether the new version becomes the current one.
        #[serde(default = "yes")]
        activate: bool,
        /// Only say what would be done.
        #[serde(default)]
        dry_run: bool,
    },
    /// Deployments that are not done.
    Deploys {},
    /// Forgets what rigs are still owed.
    DeployCancel {
        /// Which.
        rigs: Rigs,
    },
    /// The versions of miners installed on each rig.
    Versions {
        /// Which.
        rigs: Rigs,
        /// Of this miner only.
        #[serde(default)]
        miner: Option<String>,
    },
    /// Goes back to another installed version of a miner.
    Rollback {
        /// Which.
        rigs: Rigs,
        /// The miner.
        miner: String,
        /// The version's number; the one before when absent.
        #[serde(default)]
        slot: Option<u32>,
    },
    /// Removes a profile of this node.
    ProfileRemove {
        /// Its id.
        id: String,
    },
}

/// A miner to deploy, as files of the machine that carries the command out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployMiner {
    /// What it is called on the rigs.
    pub name: String,
    /// What its maker calls this version.
    pub version: String,
    /// The path of the file that is started; may be absent when it is clear.
    #[serde(default)]
    pub main: Option<String>,
    /// Its files, with absolute paths.
    pub files: Vec<DeployFile>,
}

fn yes() -> bool {
    true
}

fn query_ms() -> u64 {
    10_000
}

/// How a command ended: of so many asked, so many failed. Each failure was a row with an `error`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Rigs, or things, that the command was for.
    pub asked: usize,
    /// Of these, how many gave a reason instead of a result.
    pub failed: usize,
}

/// An [`Error`] as it crosses the control socket and stands in result rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// [`Error::kind`].
    pub kind: String,
    /// The text for people.
    pub message: String,
    /// The protocol's code, when the peer gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
}

impl Failure {
    /// Whether somebody said no: policy, a missing grant, a refused handshake, a wrong key.
    pub fn is_refusal(&self) -> bool {
        matches!(self.kind.as_str(), "rejected" | "wrong_key") || self.code == Some(ErrorCode::UNAUTHORIZED)
    }

    /// Whether it took too long.
    pub fn is_timeout(&self) -> bool {
        self.kind == "timed_out" || self.code == Some(ErrorCode::TIMEOUT)
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Failure {
        let code = match error {
            Error::Remote { code, .. } => Some(*code),
            _ => None,
        };
        let hint = match error {
            Error::Rejected(Refusal::Handshake(_)) => {
                "; let this node in on the other side: rigmesh peers allow KEY (`rigmesh id` shows the key)"
            }
            Error::Remote { code: ErrorCode::UNAUTHORIZED, .. } => {
                "; on the rig: rigmesh peers allow KEY --grant controller"
            }
            Error::WrongKey { .. } => "; nothing was sent: check the address, or the key with `rigmesh id` over there",
            _ => "",
        };
        Failure { kind: error.kind().to_owned(), message: format!("{error}{hint}"), code }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::from(&error)
    }
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming what is wrong.
    pub fn decode(value: Value) -> Result<Request> {
        serde_json::from_value(value).map_err(|e| Error::malformed("request", e.to_string()))
    }

    /// The request as JSON.
    ///
    /// # Errors
    /// None in practice.
    pub fn encode(&self) -> Result<Value> {
        serde_json::to_value(self).map_err(|e| Error::malformed("request", e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_has_one_flat_spelling_and_nothing_unknown_in_it() {
        let start = Request::Start {
            rigs: Rigs::named(["rig-1"]),
            miner_type: "sha256d".to_owned(),
            profile: None,
            config: Some(json!({"threads": 1})),
        };
        let value = start.encode().unwrap();
        assert_eq!(value["cmd"], "start");
        assert_eq!(Request::decode(value.clone()).unwrap(), start);
        assert_eq!(Request::decode(json!({"cmd": "peers"})).unwrap(), Request::Peers {});
        for wrong in [
            json!({"cmd": "explode"}),
            json!({"cmd": "peers", "x": 1}),
            json!({"cmd": "ping", "rigs": {"every": true}}),
            json!(1),
            json!({}),
        ] {
            assert!(Request::decode(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_failure_keeps_kind_and_code_and_names_the_next_step() {
        let failure = Failure::from(Error::Remote { code: 1002, message: "no".to_owned() });
        assert!(failure.is_refusal() && failure.message.contains("peers allow"), "{failure:?}");
        let failure = Failure::from(Error::TimedOut("no reply from x".to_owned()));
        assert!(failure.is_timeout() && !failure.is_refusal());
        let text = serde_json::to_string(&failure).unwrap();
        assert_eq!(text, r#"{"kind":"timed_out","message":"timed out: no reply from x"}"#);
    }
}
