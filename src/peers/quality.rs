//! How good a connection is and how far a peer can be trusted, as numbers from 0 to 1 (selection.md §4, §5).

use serde::{Deserialize, Serialize};

/// What is known about the way to a peer. Shares are 0 to 1 nominally; nothing is clamped on the way in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QualityMetrics {
    /// Share of attempts that connect.
    pub connectivity_score: f64,
    /// How alike both directions are.
    pub symmetry_score: f64,
    /// How likely a relay is needed.
    pub relay_probability: f64,
    /// Share of direct connections that succeed.
    pub direct_success_rate: f64,
    /// Mean round trip, ms.
    pub avg_rtt_ms: f64,
    /// Its variation, ms.
    pub jitter_ms: f64,
    /// Share of packets lost.
    pub packet_loss_rate: f64,
    /// Mbit/s.
    pub bandwidth_mbps: f64,
    /// The kind of address translation in front of the peer, see [`nat_score`].
    pub nat_type: String,
}

/// How much each term of [`quality_score`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QualityWeights {
    /// Weight of the round trip.
    pub latency: f64,
    /// Weight of its variation.
    pub jitter: f64,
    /// Weight of loss.
    pub packet_loss: f64,
    /// Weight of bandwidth.
    pub bandwidth: f64,
    /// Weight of connectivity.
    pub connectivity: f64,
    /// Weight of symmetry.
    pub symmetry: f64,
    /// Weight of direct success.
    pub direct_success: f64,
    /// Weight of not needing a relay.
    pub relay_penalty: f64,
    /// Weight of the kind of address translation.
    pub nat_type: f64,
}

impl Default for QualityWeights {
    fn default() -> Self {
        QualityWeights {
            latency: 3.0,
            jitter: 1.5,
            packet_loss: 2.0,
            bandwidth: 1.0,
            connectivity: 2.0,
            symmetry: 1.0,
            direct_success: 2.0,
            relay_penalty: 1.5,
            nat_type: 1.0,
        }
    }
}

impl QualityWeights {
    /// The sum of all weights (15 by default).
    pub fn total(&self) -> f64 {
        self.latency
            + self.jitter
            + self.packet_loss
            + self.bandwidth
            + self.connectivity
            + self.symmetry
            + self.direct_success
            + self.relay_penalty
            + self.nat_type
    }
}

/// How open a kind of address translation is: 1 for `open` down to 0.05 for `relay_required`;
/// 0.4 for anything unknown. The texts are exact.
pub fn nat_score(nat_type: &str) -> f64 {
    match nat_type {
        "open" => 1.0,
        "full_cone" => 0.9,
        "restricted_cone" => 0.7,
        "port_restricted" => 0.5,
        "symmetric" => 0.3,
        "symmetric_udp" => 0.25,
        "cgnat" => 0.2,
        "firewalled" => 0.1,
        "relay_required" => 0.05,
        _ => 0.4,
    }
}

/// The weighted mean of all terms, clamped to 0..1 as a whole (a single term is not). NaN when
/// the weights sum to 0.
pub fn quality_score(metrics: &QualityMetrics, weights: &QualityWeights) -> f64 {
    let sum = (1.0 - (metrics.avg_rtt_ms / 1000.0).min(1.0)) * weights.latency
        + (1.0 - (metrics.jitter_ms / 100.0).min(1.0)) * weights.jitter
        + (1.0 - metrics.packet_loss_rate) * weights.packet_loss
        + (metrics.bandwidth_mbps / 100.0).min(1.0) * weights.bandwidth
        + metrics.connectivity_score * weights.connectivity
        + metrics.symmetry_score * weights.symmetry
        + metrics.direct_success_rate * weights.direct_success
        + (1.0 - metrics.relay_probability) * weights.relay_penalty
        + nat_score(&metrics.nat_type) * weights.nat_type;
    (sum / weights.total()).clamp(0.0, 1.0)
}

/// What is known about a peer's conduct.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrustMetrics {
    /// Transactions that went well.
    pub successful_transactions: u64,
    /// Transactions that failed.
    pub failed_transactions: u64,
    /// How long the peer is known, seconds. Counts only while there are no transactions.
    pub age_seconds: f64,
    /// Others that vouch for it.
    pub vouch_count: u64,
    /// Others that warn of it.
    pub flag_count: u64,
    /// Work it has shown.
    pub proof_of_work: f64,
    /// Hours since the last success (negative: in the future), if there was one.
    #[serde(skip)]
    pub hours_since_last_success: Option<f64>,
}

/// The trust in a peer. Without transactions `0.5 + min(age / 30 days, 0.2)`, not clamped; else
/// the share of successes, damped while they are few, with bonuses and penalties, in 0..1. So a
/// stranger (0.5 to 0.7) outranks a peer with fewer than ten perfect transactions.
pub fn trust_score(metrics: &TrustMetrics) -> f64 {
    // Counts far beyond 2^53 lose their last digits, which changes nothing here.
    let count = |n: u64| n as f64;
    let n = count(metrics.successful_transactions) + count(metrics.failed_transactions);
    if n == 0.0 {
        return 0.5 + (metrics.age_seconds / 2_592_000.0).min(0.2);
    }
    let share = count(metrics.successful_transactions) / n;
    let confidence = 1.0 - 1.0 / (1.0 + n / 10.0);
    let vouches = (0.02 * count(metrics.vouch_count)).min(0.15);
    let flags = (0.05 * count(metrics.flag_count)).min(0.3);
    let recency = metrics.hours_since_last_success.map_or(0.0, |hours| 0.1 * (-hours / 168.0).exp());
    let work = (0.1 * metrics.proof_of_work).min(0.1);
    (share * confidence + vouches - flags + recency + work).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_of_which_nothing_is_known_scores_0_56() {
        let score = quality_score(&QualityMetrics::default(), &QualityWeights::default());
        assert!((score - 0.56).abs() < 1e-12);
    }

    #[test]
    fn weights_without_a_sum_give_nan_and_no_panic() {
        let none = QualityWeights {
            latency: 0.0,
            jitter: 0.0,
            packet_loss: 0.0,
            bandwidth: 0.0,
            connectivity: 0.0,
            symmetry: 0.0,
            direct_success: 0.0,
            relay_penalty: 0.0,
            nat_type: 0.0,
        };
        assert!(quality_score(&QualityMetrics::default(), &none).is_nan());
    }

    #[test]
    fn a_stranger_reaches_0_7_after_six_days() {
        let age = |days: f64| trust_score(&TrustMetrics { age_seconds: days * 86_400.0, ..TrustMetrics::default() });
        assert_eq!((age(0.0), age(6.0), age(30.0)), (0.5, 0.7, 0.7));
    }
}
