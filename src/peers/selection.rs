//! Which peer is best: the point nearest to the ideal one (selection.md §1, §9).

use super::points::{Index, Metric};
use super::{Peer, PeerExtra, measure::median};

/// How much a millisecond, a hop, a kilometre and a lost point of score weigh.
const WEIGHTS: [f64; 4] = [1.0, 0.7, 0.2, 1.2];

/// The peers as points `[ping·1.0, hops·0.7, km·0.2, (100 − score)·1.2]`, raw values as in the Go
/// node; the ideal peer is the origin.
#[derive(Debug)]
pub(super) struct Selection {
    ids: Vec<String>,
    coords: Vec<[f64; 4]>,
    index: Index<[f64; 4]>,
}

impl Selection {
    /// Over peers in the order of their ids, which is also the order among equals. An unknown axis
    /// takes the median of the peers that have it, 0 when none has: who reports nothing never looks ideal.
    pub(super) fn build<'a>(peers: impl Iterator<Item = (&'a Peer, &'a PeerExtra)>) -> Selection {
        let (mut ids, mut axes) = (Vec::new(), Vec::new());
        for (peer, extra) in peers {
            ids.push(peer.id.clone());
            // A hop count beyond 2^53 is no measurement; what it loses as a float does not matter.
            let hops = (peer.hops > 0 || (peer.hops == 0 && extra.hops_known)).then_some(peer.hops as f64);
            let known = |value: f64| (value > 0.0).then_some(value);
            axes.push([known(peer.ping_ms), hops, known(peer.geo_km), Some(100.0 - peer.score)]);
        }
        let typical: [f64; 4] = std::array::from_fn(|axis| {
            median(&mut axes.iter().filter_map(|a| a.get(axis).copied().flatten()).collect::<Vec<_>>()).unwrap_or(0.0)
        });
        let coords: Vec<[f64; 4]> = axes
            .iter()
            .map(|values| {
                let mut coords = WEIGHTS;
                for ((coord, value), typical) in coords.iter_mut().zip(values).zip(typical) {
                    *coord *= value.unwrap_or(typical);
                }
                coords
            })
            .collect();
        let index = Index::build(WEIGHTS.len(), coords.iter());
        Selection { ids, coords, index }
    }

    /// The ids of the `n` best peers, best first.
    pub(super) fn best(&self, n: usize) -> impl Iterator<Item = &String> {
        let coords = |i: usize| self.coords.get(i).map_or(&[][..], |c| c);
        let found = if n == 0 { Vec::new() } else { self.index.nearest(coords, Metric::Euclidean, &[0.0; 4], n) };
        found.into_iter().filter_map(|(i, _)| self.ids.get(i))
    }
}
