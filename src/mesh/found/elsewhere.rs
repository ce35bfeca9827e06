//! A known peer that is not where it was: its signing key is pinned, so what it published last says where it is now. The dial
//! goes on there, and when nothing is known the DHT is asked once; whoever waits for the peer goes on waiting meanwhile.

use super::filter::Reach;
use super::{FOUND_MAX, target};
use crate::base::{Error, Now, Time};
use crate::identity::Address;
use crate::mesh::Mesh;
use crate::mesh::dials::Attempt;
use crate::mesh::io::Output;
use std::collections::VecDeque;
use std::time::Duration;

/// The DHT is asked for one rig at most this often.
const SEARCH_AGAIN: Duration = Duration::from_secs(60);
/// Dials that wait for one search.
const PARKED_MAX: usize = 16;

/// One question to the DHT.
#[derive(Debug)]
pub(super) struct Search {
    asked: Time,
    /// Dials that wait for it, and why they failed so far.
    parked: Vec<(Attempt, Error)>,
}

impl Mesh {
    /// A dial failed. Goes on elsewhere, or gives the attempt back when there is nowhere left.
    pub(in crate::mesh) fn try_elsewhere(&mut self, now: Now, mut attempt: Attempt, why: &Error) -> Option<Attempt> {
        let gone =
            matches!(why, Error::Unreachable(_) | Error::TimedOut(_) | Error::Io { .. } | Error::WrongKey { .. });
        let pinned = attempt.peer.as_deref().filter(|_| gone && !self.stopping).and_then(|peer| {
            let registry = self.registry.read();
            let key = registry.expected_key(peer)?;
            Some((key, registry.sign_key_of(&key)?))
        });
        let Some((key, sign)) = pinned else { return Some(attempt) };
        if attempt.elsewhere.is_none() {
            let reach = Reach { own: &[], pinned: true, loopback: self.config.dial_loopback };
            let places = self.found.rigs.get(&sign).map(|rig| rig.sighting.rig().places.clone()).unwrap_or_default();
            let fits = places.iter().filter(|place| reach.allows(place.at.ip(), place.at.port()));
            let fresh = fits.filter(|place| place.at.to_string() != attempt.target.address);
            let fresh = fresh.filter(|place| self.found.take_place(now.mono, place.at));
            attempt.elsewhere = Some(fresh.map(|place| target(place, key)).collect::<VecDeque<_>>());
        }
        if let Some(next) = attempt.elsewhere.as_mut().and_then(VecDeque::pop_front) {
            log::info!(target: "mesh", address = next.address.as_str(); "not at {}, dialling where its record says: {why}", attempt.target.address);
            if let Some(dial) = self.dials.resume(attempt, next.clone()) {
                self.outputs.push_back(Output::Dial { dial, target: next });
            }
            return None;
        }
        if attempt.searched || !self.config.searches {
            return Some(attempt);
        }
        let search = match self.found.searches.get_mut(&sign) {
            Some(search) if !search.parked.is_empty() => search,
            Some(search) if now.mono.since(search.asked) < SEARCH_AGAIN => return Some(attempt),
            _ => {
                self.found.searches.retain(|_, s| !s.parked.is_empty() || now.mono.since(s.asked) < SEARCH_AGAIN);
                if self.found.searches.len() >= FOUND_MAX {
                    return Some(attempt);
                }
                self.outputs.push_back(Output::Search { address: Address::of_ed25519(&sign) });
                self.found.searches.insert(sign, Search { asked: now.mono, parked: Vec::new() });
                self.found.searches.get_mut(&sign)?
            }
        };
        if search.parked.len() >= PARKED_MAX {
            return Some(attempt);
        }
        search.parked.push((attempt, why.clone()));
        None
    }

    /// The DHT has said what it knows; a record that it has is in the book by now.
    pub(in crate::mesh) fn handle_searched(&mut self, now: Now, address: &Address) {
        let found = self.found.searches.iter_mut().find(|(sign, _)| Address::of_ed25519(sign) == *address);
        let parked = found.map(|(_, search)| std::mem::take(&mut search.parked)).unwrap_or_default();
        for (mut attempt, why) in parked {
            (attempt.elsewhere, attempt.searched) = (None, true);
            if let Some(attempt) = self.try_elsewhere(now, attempt, &why) {
                self.give_up(now, attempt, &why);
            }
        }
    }

    /// Whether a dial of this peer waits for the DHT.
    pub(in crate::mesh) fn is_searching(&self, peer: &str) -> bool {
        let mut parked = self.found.searches.values().flat_map(|search| &search.parked);
        parked.any(|(attempt, _)| attempt.peer.as_deref() == Some(peer))
    }
}
