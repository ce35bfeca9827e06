//! The result rows: one stable JSON object each. A key, once there, keeps its name and meaning.

use super::Failure;
use super::select::Rig;
use crate::base::{Error, Result};
use crate::mesh::ThreatInfo;
use crate::message::{Message, MinerStatsItem, Stats};
use crate::miners::MinerStats;
use crate::node::Shared;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Clocks that differ by less are not worth a word: the protocol tolerates minutes.
const SKEW_SHOWN_MS: i64 = 30_000;

/// Who a row is about.
#[derive(Clone, Debug, Serialize)]
pub(super) struct About {
    pub(super) rig: String,
    pub(super) id: String,
}

pub(super) fn about(shared: &Shared, rig: &Rig) -> About {
    match rig {
        Rig::Own => {
            let own = shared.identity.info();
            let rig = if own.name.is_empty() { own.id.clone() } else { own.name.clone() };
            About { rig, id: own.id.clone() }
        }
        Rig::Peer(id) => {
            let registry = shared.registry.inner().read();
            let rig = registry.peer(id).map_or_else(|| id.clone(), |p| p.label().to_owned());
            About { rig, id: id.clone() }
        }
    }
}

/// A row from anything that is an object.
pub(super) fn row(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// `{"rig","id", …}`.
pub(super) fn result_row(about: &About, mut more: Value) -> Value {
    let mut row = row(about);
    if let (Some(row), Some(more)) = (row.as_object_mut(), more.as_object_mut()) {
        row.append(more);
    }
    row
}

/// `{"rig","id","error":{"kind","message"}}`.
pub(super) fn error_row(about: &About, error: &Error) -> Value {
    result_row(about, json!({ "error": Failure::from(error) }))
}

/// The row of an outcome, and whether it was a failure.
pub(super) fn outcome_row(about: &About, outcome: Result<Value>) -> (Value, bool) {
    match outcome {
        Ok(more) => (result_row(about, more), false),
        Err(e) => (error_row(about, &e), true),
    }
}

/// What `status` says of a peer that answered.
pub(super) fn peer_status(link: LinkView, stats: &Stats, clock_ahead_ms: i64) -> Value {
    let miners: Vec<Value> = stats.miners().iter().map(wire_miner).collect();
    let mut notes: Vec<String> = link.note.into_iter().collect();
    notes.extend(stats.held.as_deref().map(held_note));
    notes.extend(clock_warning(clock_ahead_ms));
    json!({
        "link": "up",
        "role": link.role,
        "secure": link.secure,
        "latency_ms": link.latency_ms,
        "uptime_s": stats.uptime,
        "miners": miners,
        "paused": stats.held,
        "warning": joined(&notes),
    })
}

/// What `status` says of this node.
pub(super) fn own_status(
    role: &str,
    uptime: Duration,
    miners: &[MinerStats],
    held: Option<String>,
    clock_behind: Option<Duration>,
    more: Vec<String>,
) -> Value {
    let miners: Vec<Value> = miners.iter().map(own_miner).collect();
    let mut notes: Vec<String> = held.as_deref().map(held_note).into_iter().collect();
    notes.extend(clock_behind.map(|d| {
        format!("this clock is {} behind what was seen; set it, or run: rigmesh peers reset-clock", words(d.as_secs()))
    }));
    notes.extend(more);
    json!({
        "link": "self",
        "role": role,
        "latency_ms": null,
        "uptime_s": uptime.as_secs(),
        "miners": miners,
        "paused": held,
        "warning": joined(&notes),
    })
}

/// The row with one more key.
pub(super) fn with(mut row: Value, key: &str, value: Value) -> Value {
    if let Some(row) = row.as_object_mut() {
        row.insert(key.to_owned(), value);
    }
    row
}

/// How a sender of forged packets stands.
pub(super) fn threat_value(threat: ThreatInfo) -> Value {
    match threat {
        ThreatInfo::Score(score) => json!({ "score": score }),
        ThreatInfo::RefusedFor(time) => json!({ "refused_for_s": time.as_secs() }),
    }
}

fn held_note(why: &str) -> String {
    format!("all its miners are paused ({}): resume the rig to go on", crate::base::quote_value(why))
}

/// What the registry and the table of links know of a peer.
#[derive(Default)]
pub(super) struct LinkView {
    pub(super) role: String,
    pub(super) latency_ms: Option<f64>,
    pub(super) note: Option<String>,
    /// Whether what was said came over a secure session.
    pub(super) secure: bool,
}

fn wire_miner(miner: &MinerStatsItem) -> Value {
    json!({
        "name": miner.name,
        "type": miner.kind,
        "state": miner.state,
        "hashrate_hs": miner.hashrate_known.then_some(miner.hashrate),
        "shares": miner.shares,
        "rejected": miner.rejected,
        "uptime_s": miner.uptime,
        "pool": miner.pool,
        "algorithm": miner.algorithm,
        "cpu_threads": miner.cpu_threads,
        "note": miner.note,
    })
}

fn own_miner(miner: &MinerStats) -> Value {
    json!({
        "name": miner.name,
        "type": miner.miner_type,
        "state": miner.state,
        "hashrate_hs": miner.hashrate_hs,
        "shares": miner.shares,
        "rejected": miner.rejected,
        "uptime_s": miner.uptime_s,
        "pool": miner.pool,
        "algorithm": miner.algorithm,
        "cpu_threads": miner.cpu_threads,
        "note": miner.note,
    })
}

/// How far the peer's clock is ahead of ours, from the time it wrote into its answer. The answer was
/// made half a round trip ago.
pub(super) fn clock_ahead_ms(answer: &Message, round_trip: Duration, now_ms: i64) -> i64 {
    if answer.ts.is_zero() {
        return 0;
    }
    let half = i64::try_from(round_trip.as_millis() / 2).unwrap_or(0);
    answer.ts.unix_millis().saturating_add(half).saturating_sub(now_ms)
}

fn clock_warning(ahead_ms: i64) -> Option<String> {
    let off = words(ahead_ms.unsigned_abs() / 1000);
    match ahead_ms {
        n if n > SKEW_SHOWN_MS => Some(format!("its clock is {off} ahead of ours")),
        n if n < -SKEW_SHOWN_MS => Some(format!("its clock is {off} behind ours")),
        _ => None,
    }
}

fn joined(notes: &[String]) -> Option<String> {
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// A length of time in words: `45 s`, `12 min`, `3 h`, `2 days`.
fn words(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Now, Rng, Time, Timestamp};
    use crate::message::Payload;

    #[test]
    fn an_unknown_hashrate_is_null_and_never_zero() {
        let mut miner = MinerStatsItem { hashrate_known: false, ..MinerStatsItem::default() };
        assert_eq!(wire_miner(&miner)["hashrate_hs"], Value::Null);
        miner.hashrate_known = true;
        assert_eq!(wire_miner(&miner)["hashrate_hs"], 0.0);
    }

    #[test]
    fn a_clock_is_compared_at_the_middle_of_the_round_trip() {
        let now = Now { mono: Time::ZERO, wall: Timestamp::from_unix(1_700_000_000, 0) };
        let answer = Message::new(now, &mut Rng::from_number(1), "a", "b", &Payload::GetStats);
        let ours = now.wall.unix_millis();
        assert_eq!(clock_ahead_ms(&answer, Duration::from_millis(200), ours + 100), 0);
        assert_eq!(clock_warning(clock_ahead_ms(&answer, Duration::ZERO, ours + 20_000)), None);
        let late = clock_warning(clock_ahead_ms(&answer, Duration::ZERO, ours + 600_000));
        assert_eq!(late.as_deref(), Some("its clock is 10 min behind ours"));
        assert_eq!(clock_warning(3_600_000 * 3).as_deref(), Some("its clock is 3 h ahead of ours"));
    }

    #[test]
    fn a_failed_rig_is_a_row_with_a_reason() {
        let about = About { rig: "a".to_owned(), id: "1".to_owned() };
        let (row, failed) = outcome_row(&about, Err(Error::Busy));
        assert!(failed);
        assert_eq!(row["error"]["kind"], "busy");
        assert_eq!(row["rig"], "a");
    }
}
