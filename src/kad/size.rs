//! How many nodes the network has: the Go node's estimate from counts of buckets (dht.md §10.8), and one from the
//! distances of the closest nodes, whose error is half as large (dht-weaknesses.md §5).

use super::{Id, Table};
use crate::base::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// Buckets that the estimate from counts looks at.
const SAMPLES: usize = 5;

/// An estimate from counts of buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SizeEstimate {
    /// Nodes; 0 if nothing is known.
    pub nodes: u64,
    /// 0 to 1 in steps of 0.2: how many buckets it rests on.
    pub confidence: f64,
}

/// The estimate from nodes that answered within a time (dht-api.md, `EstimatedNetworkSizeFiltered`), or ever.
pub fn size_estimate(table: &Table, now: Time, within: Option<Duration>) -> SizeEstimate {
    let mut counts = BTreeMap::<u8, u64>::new();
    for (index, entry) in table.iter() {
        if entry.verified_ago(now).is_some_and(|ago| within.is_none_or(|within| ago < within)) {
            *counts.entry(index).or_default() += 1;
        }
    }
    let mut samples: Vec<_> = counts.iter().rev().take(SAMPLES).map(|(index, count)| scaled(*index, *count)).collect();
    samples.sort_unstable();
    // At most five.
    let confidence = f64::from(u8::try_from(samples.len()).unwrap_or(u8::MAX)) / 5.0;
    SizeEstimate { nodes: samples.get(samples.len() / 2).copied().unwrap_or(0), confidence }
}

/// The estimate from nodes that ever answered; without any from the last bucket that holds somebody (dht-api.md,
/// `EstimatedNetworkSize`).
pub fn size_estimate_any(table: &Table, now: Time) -> u64 {
    let verified = size_estimate(table, now, None).nodes;
    if verified > 0 {
        return verified;
    }
    let last = table.iter().map(|(index, _)| index).max();
    last.map_or(0, |last| scaled(last, table.iter().filter(|(index, _)| *index == last).count() as u64))
}

/// The whole network, if the nodes that share exactly `index` bits with us are `count`.
fn scaled(index: u8, count: u64) -> u64 {
    count.saturating_mul(1 << (u32::from(index) + 1).min(62))
}

/// The estimate from how close to `point` the `k` closest of some nodes are (`point` itself not counted): of `n` nodes
/// spread evenly the `k`th closest lies at k/n of the whole space. With fewer than three nodes it is their number.
pub fn closest_estimate(point: &Id, nodes: impl IntoIterator<Item = Id>, k: usize) -> u64 {
    let mut parts: Vec<f64> =
        nodes.into_iter().map(|id| part_of_space(point, &id)).filter(|part| *part > 0.0).collect();
    parts.sort_unstable_by(f64::total_cmp);
    parts.truncate(k.max(3));
    let Some(furthest) = parts.last().filter(|_| parts.len() >= 3) else { return parts.len() as u64 };
    // The expected value of 1/part of the kth of n is n/(k-1).
    let estimate = f64::from(u32::try_from(parts.len() - 1).unwrap_or(u32::MAX)) / furthest;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let nodes = estimate.round() as u64; // saturates
    nodes.max(parts.len() as u64)
}

/// The distance of two ids in parts of the greatest one: 0 to 1.
fn part_of_space(a: &Id, b: &Id) -> f64 {
    let distance = a.distance(b);
    distance.as_bytes().iter().rev().fold(0.0, |part, byte| (part + f64::from(*byte)) / 256.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    #[test]
    fn the_closest_nodes_tell_how_many_there_are() {
        let mut rng = Rng::from_number(11);
        for count in [20u64, 100, 1000, 10_000] {
            let mut ratios: Vec<f64> = (0..40)
                .map(|_| {
                    let own = Id::from_bytes(rng.array());
                    let nodes: Vec<_> = (0..count).map(|_| Id::from_bytes(rng.array())).collect();
                    closest_estimate(&own, nodes, 16) as f64 / count as f64
                })
                .collect();
            ratios.sort_unstable_by(f64::total_cmp);
            assert!(ratios[20] > 0.85 && ratios[20] < 1.2, "{count}: {ratios:?}");
            assert!(ratios[2] > 0.5 && ratios[37] < 1.9, "{count}: {ratios:?}");
        }
        let own = Id::from_bytes(rng.array());
        assert_eq!(closest_estimate(&own, [], 16), 0);
        assert_eq!(closest_estimate(&own, [own, Id::from_bytes(rng.array())], 16), 1);
        let near = |last| {
            let mut bytes = *own.as_bytes();
            bytes[31] ^= last;
            Id::from_bytes(bytes)
        };
        assert_eq!(closest_estimate(&own, [near(1), near(2), near(3)], 16), u64::MAX);
    }
}
