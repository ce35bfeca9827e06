//! Looking into a running node: figures, and the debug pages over HTTP (dht.md §14.7).

use super::{Node, StoreRecordDebug};
use crate::base::{Error, Now, Result};
use crate::kad::{Machine, size_estimate};
use crate::runtime::kad::{Handle, PageServer};
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const HOUR_S: u64 = 3600;
/// Nodes that answered within this time count for the size of the network.
const SIZE_WITHIN: Duration = Duration::from_secs(30 * 60);

/// Figures of a node (dht-api.md, `DebugStats`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct DebugStats {
    /// Datagrams whose signature was right.
    #[serde(rename = "rx_packets_verified")]
    pub rx_packets: u64,
    /// Datagrams that the system took.
    pub tx_packets: u64,
    /// Requests that were answered.
    #[serde(rename = "rpc_completed")]
    pub rpc_ok: u64,
    /// Nodes in the table.
    pub total_peers: usize,
    /// Nodes in direct contact within an hour.
    pub reach_1h: usize,
    /// Within a day.
    pub reach_24h: usize,
    /// Within a week.
    pub reach_7d: usize,
    /// How many nodes the network has, from nodes that answered within 30 minutes.
    pub estimated_network_size: u64,
    /// 0 to 1: what the estimate rests on.
    #[serde(skip_serializing_if = "is_zero")]
    pub estimate_confidence: f64,
    /// As `reach_1h`.
    #[serde(skip_serializing_if = "is_none")]
    pub verified_peers_1h: usize,
    /// Nodes in direct contact since the start.
    pub unique_nodes_since_start: u64,
    /// Datagrams dropped because they came faster than they were read. Ours alone, and on no page.
    #[serde(skip)]
    pub dropped: u64,
    /// Datagrams that were none, or not signed. Ours alone, and on no page.
    #[serde(skip)]
    pub malformed: u64,
    /// Requests over their source's allowance. Ours alone, and on no page.
    #[serde(skip)]
    pub limited: u64,
    /// Answers to nothing that was asked. Ours alone, and on no page.
    #[serde(skip)]
    pub unasked: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde asks
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde asks
fn is_none(value: &usize) -> bool {
    *value == 0
}

/// Debug pages that are served. They end when this is dropped, or by [`DebugPages::stop`], or when the process ends; a node
/// that is closed answers 503.
pub struct DebugPages {
    server: PageServer,
}

impl std::fmt::Debug for DebugPages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DebugPages").field("at", &self.local_addr()).finish()
    }
}

impl DebugPages {
    /// Where they are served; the port is a real one.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Ends them; a second time does nothing.
    pub fn stop(&self) {
        self.server.stop();
    }
}

impl Node {
    /// The node's figures.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub fn debug_stats(&self) -> Result<DebugStats> {
        stats(self.handle())
    }

    /// Rows of all valid records held here.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub fn debug_records(&self) -> Result<Vec<StoreRecordDebug>> {
        self.handle().ask(|machine, now| machine.store().debug_records(now))
    }

    /// One of the four pages as JSON text: `/debug/identity`, `/debug/routing`, `/debug/store`, `/debug/stats`; none for
    /// another path. For a server of one's own.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub fn debug_page(&self, path: &str) -> Result<Option<String>> {
        page(self.handle(), path)
    }

    /// Serves the debug pages. They say whom this node knows and what it holds, to anybody who reaches the address: a
    /// loopback address such as [`super::DEBUG_HTTP_ADDR`] is meant.
    ///
    /// # Errors
    /// [`Error::Io`] when the address cannot be had.
    pub fn start_debug_http(&self, at: SocketAddr) -> Result<DebugPages> {
        let handle = self.handle().clone();
        Ok(DebugPages { server: PageServer::start(at, Arc::new(move |path: &str| page(&handle, path)))? })
    }
}

fn page(handle: &Handle, path: &str) -> Result<Option<String>> {
    match path {
        "/debug/identity" => handle.ask(identity).and_then(|mut page| {
            page.local_addr = handle.local_addr().to_string();
            json(&page)
        }),
        "/debug/routing" => handle.ask(routing).and_then(|page| json(&page)),
        "/debug/store" => {
            let rows = handle.ask(|machine, now| machine.store().debug_records(now))?;
            // As the Go node shows a list of nothing.
            json(&(!rows.is_empty()).then_some(rows))
        }
        "/debug/stats" => json(&stats(handle)?),
        _ => Ok(None),
    }
}

fn json(page: &impl Serialize) -> Result<Option<String>> {
    let text = serde_json::to_string_pretty(page).map_err(|e| Error::Failed(e.to_string()))?;
    Ok(Some(text + "\n"))
}

#[derive(Serialize)]
struct Identity {
    address: String,
    node_id_hex: String,
    local_addr: String,
}

fn identity(machine: &mut Machine, _: Now) -> Identity {
    let (address, node_id_hex) = (machine.address().to_string(), machine.id().to_string());
    Identity { address, node_id_hex, local_addr: String::new() }
}

#[derive(Serialize)]
struct Routing {
    self_node_id_hex: String,
    peers: Option<Vec<Peer>>,
    total_peers: usize,
}

#[derive(Serialize)]
struct Peer {
    bucket: u8,
    xor_distance_to_self_hex: String,
    address_hex: String,
    node_id_hex: String,
    ip: String,
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_ago: Option<String>,
}

fn routing(machine: &mut Machine, now: Now) -> Routing {
    let own = machine.id();
    let peers: Vec<Peer> = machine
        .table()
        .iter()
        .map(|(bucket, entry)| Peer {
            bucket,
            xor_distance_to_self_hex: hex::encode(own.distance(&entry.info.node_id).as_bytes()),
            address_hex: hex::encode(entry.info.address.as_bytes()),
            node_id_hex: entry.info.node_id.to_string(),
            ip: entry.info.ip.to_string(),
            port: entry.info.port,
            verified_ago: entry.verified_ago(now.mono).map(go_duration),
        })
        .collect();
    let total_peers = peers.len();
    Routing { self_node_id_hex: own.to_string(), peers: (!peers.is_empty()).then_some(peers), total_peers }
}

/// Whole seconds as Go writes a duration: `1h2m3s`, `2m3s`, `3s`, `0s`.
fn go_duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / HOUR_S, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

fn stats(handle: &Handle) -> Result<DebugStats> {
    let (tx_packets, dropped) = (handle.sent(), handle.dropped());
    handle.ask(move |machine, now| {
        let unix = u64::try_from(now.wall.unix_seconds()).unwrap_or(0);
        let reach = |seconds: u64| machine.seen().values().filter(|at| unix.saturating_sub(**at) <= seconds).count();
        let size = size_estimate(machine.table(), now.mono, Some(SIZE_WITHIN));
        let (counters, reach_1h) = (machine.counters(), reach(HOUR_S));
        DebugStats {
            rx_packets: counters.received,
            tx_packets,
            rpc_ok: counters.answered,
            total_peers: machine.table().len(),
            reach_1h,
            reach_24h: reach(24 * HOUR_S),
            reach_7d: reach(7 * 24 * HOUR_S),
            estimated_network_size: size.nodes,
            estimate_confidence: size.confidence,
            verified_peers_1h: reach_1h,
            unique_nodes_since_start: machine.contacts(),
            dropped,
            malformed: counters.malformed,
            limited: counters.limited,
            unasked: counters.unasked,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m0s"), (3599, "59m59s"), (3600, "1h0m0s"), (90_061, "25h1m1s")]
        {
            assert_eq!(go_duration(Duration::from_millis(seconds * 1000 + 999)), text);
        }
    }

    #[test]
    fn figures_that_are_nothing_are_left_out_where_the_go_node_does() {
        let text = serde_json::to_string(&DebugStats::default()).unwrap();
        assert!(text.contains("\"rpc_completed\":0") && text.contains("\"rx_packets_verified\":0"), "{text}");
        for absent in ["estimate_confidence", "verified_peers_1h", "dropped", "limited"] {
            assert!(!text.contains(absent), "{text}");
        }
    }
}
