//! Load on a running node, measured from here: bounded in count and time, and on this machine unless told otherwise. What it
//! gives are figures of both nodes, the way between them, and the limits that they keep.

use super::executor::{Each, Executor, Tally};
use super::rows::with;
use super::{BenchKind, Rigs, Summary};
use crate::base::{Error, Result};
use crate::mesh::{Answer, Command};
use crate::message::{MessageType, Payload, Ping, validate_response};
use crossbeam_channel::bounded;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Most measurements of one run.
const COUNT_MAX: u32 = 1_000_000;
/// The longest run, seconds.
const SECONDS_MAX: u32 = 600;
/// Requests under way at once in a throughput run.
const WINDOW: usize = 64;
/// How long one request may take.
const CALL: Duration = Duration::from_secs(5);

/// When a run ends: at the first of the two.
#[derive(Clone, Copy)]
struct Bounds {
    count: u32,
    seconds: u32,
}

impl Executor<'_> {
    pub(super) fn bench(
        &self,
        kind: BenchKind,
        rigs: &Rigs,
        count: u32,
        seconds: u32,
        anywhere: bool,
        each: Each<'_>,
    ) -> Result<Summary> {
        if !(1..=COUNT_MAX).contains(&count) || !(1..=SECONDS_MAX).contains(&seconds) {
            return Err(Error::Config(format!(
                "a run has 1 to {COUNT_MAX} measurements and 1 to {SECONDS_MAX} seconds"
            )));
        }
        let asked = self.asked(rigs)?;
        if asked.own {
            return Err(Error::Config("measure another node: this one would only measure itself".to_owned()));
        }
        if let Some(far) = asked.peers.iter().find(|peer| !anywhere && !self.is_on_loopback(peer)) {
            let far = self.shared.registry.peer(far).map_or_else(|| far.clone(), |peer| peer.label().to_owned());
            return Err(Error::Config(format!("{far} is not on this machine: load on others' nodes takes --anywhere")));
        }
        let bounds = Bounds { count, seconds };
        let mut tally = Tally::new(each);
        if kind == BenchKind::Sweep {
            tally.row(self.measure_sweeps(&asked.peers, bounds));
            return Ok(Summary { asked: 1, failed: 0 });
        }
        for peer in &asked.peers {
            let measured = match kind {
                BenchKind::Connect => self.measure_connects(peer, bounds),
                BenchKind::Rtt => self.measure_round_trips(peer, bounds),
                _ => self.measure_throughput(peer, bounds),
            };
            tally.add(&self.about(peer), measured);
        }
        Ok(tally.summary)
    }

    /// Whether a peer is dialled on this machine.
    fn is_on_loopback(&self, peer: &str) -> bool {
        let address = self.shared.registry.peer(peer).map(|peer| peer.address).unwrap_or_default();
        let host = address.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
    }

    /// From a dial to a proven link, again and again.
    fn measure_connects(&self, peer: &str, bounds: Bounds) -> Result<Value> {
        let _ = self.controller.disconnect(peer);
        let (mut times, mut secure, begun) = (Vec::new(), false, Instant::now());
        while goes_on(bounds, times.len(), begun) {
            let at = Instant::now();
            secure = self.controller.connect(peer)?.secure;
            times.push(at.elapsed());
            self.controller.disconnect(peer)?;
            // The goodbye is on its way: the next dial must not meet this link.
            while self.shared.registry.peer(peer).is_some_and(|peer| peer.connected) {
                std::thread::yield_now();
            }
        }
        Ok(self.with_limits(figures("connect", &mut times, begun.elapsed()), secure))
    }

    /// One request and its answer at a time.
    fn measure_round_trips(&self, peer: &str, bounds: Bounds) -> Result<Value> {
        let secure = self.controller.connect(peer)?.secure;
        self.controller.ping(peer)?;
        let (mut times, begun) = (Vec::new(), Instant::now());
        while goes_on(bounds, times.len(), begun) {
            let at = Instant::now();
            self.controller.ping(peer)?;
            times.push(at.elapsed());
        }
        Ok(self.with_limits(figures("rtt", &mut times, begun.elapsed()), secure))
    }

    /// Requests and their answers, many under way.
    fn measure_throughput(&self, peer: &str, bounds: Bounds) -> Result<Value> {
        let secure = self.controller.connect(peer)?.secure;
        let (reply, answers) = bounded(WINDOW);
        let (mut under_way, mut sent, mut times, begun) = (0usize, 0usize, Vec::new(), Instant::now());
        let payload = Payload::Ping(Ping { sent_at: self.shared.clock.now().wall.unix_millis(), rigmesh: None });
        loop {
            while under_way < WINDOW && goes_on(bounds, sent, begun) {
                let (peer, payload) = (peer.to_owned(), payload.clone());
                self.shared.begin(reply.clone(), 0, |call| Command::Call {
                    call,
                    peer,
                    payload,
                    id: None,
                    timeout: CALL,
                })?;
                (under_way, sent) = (under_way + 1, sent + 1);
            }
            if under_way == 0 {
                break;
            }
            let answer = answers.recv_timeout(CALL).map_err(|_| Error::TimedOut("no answer in time".to_owned()))?;
            under_way -= 1;
            match answer.1? {
                Answer::Reply { message, round_trip } => {
                    validate_response(Some(&message), &MessageType::Pong)?;
                    times.push(round_trip);
                }
                other => return Err(crate::node::unexpected(&other)),
            }
        }
        let row = figures("throughput", &mut times, begun.elapsed());
        Ok(with(self.with_limits(row, secure), "under_way", json!(WINDOW)))
    }

    /// The statistics of all rigs at once, again and again.
    fn measure_sweeps(&self, peers: &[String], bounds: Bounds) -> Value {
        let connected = peers.iter().filter(|peer| self.controller.connect(peer).is_ok()).count();
        let (mut times, mut answered, begun) = (Vec::new(), 0, Instant::now());
        while goes_on(bounds, times.len(), begun) {
            let at = Instant::now();
            answered = self.controller.sweep_stats(peers, CALL).iter().filter(|(_, stats)| stats.is_ok()).count();
            times.push(at.elapsed());
        }
        let row = figures("sweep", &mut times, begun.elapsed());
        let row = with(row, "rigs", json!(peers.len()));
        let row = with(row, "connected", json!(connected));
        with(row, "answered", json!(answered))
    }

    /// The limits that a figure was measured under: a node that paces its peers is not slow.
    fn with_limits(&self, row: Value, secure: bool) -> Value {
        let config = &self.shared.config;
        let limits = json!({
            "rate_per_s": config.rate_per_s,
            "burst": config.burst,
            "handshakes_per_s": config.handshakes_per_s,
            "count_max": COUNT_MAX,
            "seconds_max": SECONDS_MAX,
        });
        with(with(row, "secure", json!(secure)), "limits", limits)
    }
}

fn goes_on(bounds: Bounds, done: usize, begun: Instant) -> bool {
    done < usize::try_from(bounds.count).unwrap_or(usize::MAX)
        && begun.elapsed() < Duration::from_secs(u64::from(bounds.seconds))
}

/// Percentiles in microseconds, by the nearest rank.
fn figures(what: &str, times: &mut [Duration], took: Duration) -> Value {
    times.sort_unstable();
    let micros = |time: &Duration| (time.as_secs_f64() * 1e7).round() / 10.0;
    let at = |percent: usize| {
        let rank = (times.len() * percent).div_ceil(100).max(1) - 1;
        times.get(rank).map(micros)
    };
    let per_s = if took.is_zero() { 0.0 } else { times.len() as f64 / took.as_secs_f64() };
    json!({
        "bench": what,
        "count": times.len(),
        "took_s": (took.as_secs_f64() * 1e3).round() / 1e3,
        "per_s": per_s.round(),
        "p50_us": at(50),
        "p90_us": at(90),
        "p99_us": at(99),
        "max_us": times.last().map(micros),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut times: Vec<Duration> = (1..=200).rev().map(Duration::from_micros).collect();
        let row = figures("rtt", &mut times, Duration::from_secs(2));
        assert_eq!((&row["p50_us"], &row["p99_us"], &row["max_us"]), (&json!(100.0), &json!(198.0), &json!(200.0)));
        assert_eq!((&row["count"], &row["per_s"]), (&json!(200), &json!(100.0)));
        let none = figures("rtt", &mut [], Duration::ZERO);
        assert_eq!((&none["count"], &none["p50_us"]), (&json!(0), &Value::Null));
    }
}
