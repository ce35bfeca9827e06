//! The small files of a DHT node as texts (dht.md §14.2, §14.3): the nodes it has met, and where to start next time.

use super::Id;
use crate::base::{Error, Result, Timestamp, check_json};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// How long a node that was met is remembered: seven days, in seconds.
pub const SEEN_S_MAX: u64 = 7 * 86_400;

/// How many nodes that were met are remembered.
pub const SEEN_PEERS_MAX: usize = 16_384;

/// How many addresses are kept for the next start.
pub const PEERS_CACHE_MAX: usize = 64;

/// Reads `seen_peers`: lines of an id in hex, a space, and the Unix second in which the node was met last. Empty lines,
/// comments (`#`), lines of any other form and entries older than [`SEEN_S_MAX`] are left out; of more than `max` entries
/// the newest are kept.
pub fn decode_seen_peers(text: &str, now: Timestamp, max: usize) -> BTreeMap<Id, u64> {
    let oldest = super::record::unix_seconds(now).saturating_sub(SEEN_S_MAX);
    let mut seen = BTreeMap::<Id, u64>::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let mut words = line.split_ascii_whitespace();
        let (Some(id), Some(at), None) = (words.next(), words.next(), words.next()) else { continue };
        let (Ok(id), Ok(at)) = (id.parse::<Id>(), at.parse::<u64>()) else { continue };
        if at >= oldest {
            let last = seen.entry(id).or_insert(at);
            *last = at.max(*last);
        }
    }
    if seen.len() > max {
        let mut times: Vec<_> = seen.iter().map(|(id, at)| (*at, *id)).collect();
        times.sort_unstable();
        for (_, id) in times.iter().take(seen.len() - max) {
            seen.remove(id);
        }
    }
    seen
}

/// Writes `seen_peers`, without entries older than [`SEEN_S_MAX`].
pub fn encode_seen_peers(seen: &BTreeMap<Id, u64>, now: Timestamp) -> String {
    let oldest = super::record::unix_seconds(now).saturating_sub(SEEN_S_MAX);
    seen.iter().filter(|(_, at)| **at >= oldest).map(|(id, at)| format!("{id} {at}\n")).collect()
}

#[derive(serde::Serialize, serde::Deserialize)]
struct PeersCache {
    peers: Vec<String>,
}

/// Reads `peers.cache`: `{"peers": ["ip:port", …]}`. Entries that are no address are left out, as is what is beyond
/// [`PEERS_CACHE_MAX`].
///
/// # Errors
/// [`Error::Malformed`] for text that is no such object.
pub fn decode_peers_cache(bytes: &[u8]) -> Result<Vec<SocketAddr>> {
    let text = check_json("peers.cache", bytes)?;
    let cache: PeersCache = serde_json::from_str(text).map_err(|e| Error::malformed("peers.cache", e.to_string()))?;
    Ok(cache.peers.iter().filter_map(|peer| peer.parse().ok()).take(PEERS_CACHE_MAX).collect())
}

/// Writes `peers.cache`, indented by two spaces; at most [`PEERS_CACHE_MAX`] addresses.
///
/// # Errors
/// None that can happen: the object is text all through.
pub fn encode_peers_cache(peers: &[SocketAddr]) -> Result<String> {
    let cache = PeersCache { peers: peers.iter().take(PEERS_CACHE_MAX).map(SocketAddr::to_string).collect() };
    serde_json::to_string_pretty(&cache).map_err(|e| Error::malformed("peers.cache", e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_when_there_are_too_many() {
        let now = Timestamp::from_unix(1_750_000_000, 0);
        let line = |i: u64| format!("{} {}\n", Id::of_topic(&i.to_string()), 1_749_999_000 + i);
        let text: String = (0..10).map(line).collect();
        let seen = decode_seen_peers(&text, now, 3);
        assert_eq!(seen.values().copied().max(), Some(1_749_999_009));
        assert_eq!((seen.len(), seen.values().copied().min()), (3, Some(1_749_999_007)));
        assert_eq!(decode_seen_peers(&encode_seen_peers(&seen, now), now, 9), seen);
        let later = Timestamp::from_unix(1_750_000_000 + 8 * 86_400, 0);
        assert!(encode_seen_peers(&seen, later).is_empty() && decode_seen_peers(&text, later, 9).is_empty());
    }

    #[test]
    fn the_cache_of_addresses_is_small() {
        let peers: Vec<SocketAddr> = (0..100).map(|i| ([192, 0, 2, i], 4121).into()).collect();
        let text = encode_peers_cache(&peers).unwrap();
        assert_eq!(decode_peers_cache(text.as_bytes()).unwrap(), peers[..PEERS_CACHE_MAX]);
        assert_eq!(decode_peers_cache(br#"{"peers": ["x", "[::1]:9"]}"#).unwrap(), ["[::1]:9".parse().unwrap()]);
        assert!(decode_peers_cache(b"[]").is_err() && decode_peers_cache(b"").is_err());
    }
}
