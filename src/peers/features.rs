//! The standard feature vector of a peer: eight axes, each the better the smaller (selection.md §6).

use super::AxisRange;
use serde::{Deserialize, Serialize};

/// What the eight axes are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StandardFeatures {
    /// Round trip, ms.
    pub latency_ms: f64,
    /// Hops.
    pub hop_count: f64,
    /// Great-circle distance, km.
    pub geo_distance_km: f64,
    /// Trust, 0 to 1.
    pub trust_score: f64,
    /// Mbit/s. Above 100 its axis turns negative; it is not capped.
    pub bandwidth_mbps: f64,
    /// Share of packets lost.
    pub packet_loss_rate: f64,
    /// Share of attempts that connect, in percent.
    pub connectivity_pct: f64,
    /// Openness of the address translation, 0 to 1.
    pub nat_score: f64,
}

/// Names of the axes, in order.
pub const FEATURE_LABELS: [&str; 8] = [
    "latency_ms",
    "hop_count",
    "geo_distance_km",
    "trust_score_inv",
    "bandwidth_inv",
    "packet_loss_rate",
    "connectivity_inv",
    "nat_score_inv",
];

/// Nominal ranges of the axes, in order.
pub const FEATURE_RANGES: [AxisRange; 8] = [
    AxisRange::new(0.0, 1000.0),
    AxisRange::new(0.0, 20.0),
    AxisRange::new(0.0, 20_000.0),
    AxisRange::new(0.0, 1.0),
    AxisRange::new(0.0, 100.0),
    AxisRange::new(0.0, 1.0),
    AxisRange::new(0.0, 100.0),
    AxisRange::new(0.0, 1.0),
];

impl StandardFeatures {
    /// The eight coordinates in the order of [`FEATURE_LABELS`].
    pub fn to_array(&self) -> [f64; 8] {
        [
            self.latency_ms,
            self.hop_count,
            self.geo_distance_km,
            1.0 - self.trust_score,
            100.0 - self.bandwidth_mbps,
            self.packet_loss_rate,
            100.0 - self.connectivity_pct,
            1.0 - self.nat_score,
        ]
    }
}

/// Scales each value by its range (see [`AxisRange::scale01`]); values beyond the ranges stay as they are.
pub fn normalize_features(values: &[f64], ranges: &[AxisRange]) -> Vec<f64> {
    values.iter().enumerate().map(|(i, value)| ranges.get(i).map_or(*value, |range| range.scale01(*value))).collect()
}

/// Multiplies each value by its weight; missing weights are 1.
pub fn weight_features(values: &[f64], weights: &[f64]) -> Vec<f64> {
    values.iter().enumerate().map(|(i, value)| value * weights.get(i).copied().unwrap_or(1.0)).collect()
}
