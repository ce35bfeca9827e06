//! mesh/dedup.json and mesh/ratelimit.json: ids with a time to live, and Go's token bucket.

use crate::support::{Run, all, same, text};
use rigmesh::base::Time;
use rigmesh::session::{MessageDeduplicator, PeerRateLimiter};
use std::time::Duration;

pub(crate) fn dedup(run: &mut Run<'_>) {
    run.each(|case| {
        let mut ids = MessageDeduplicator::new(Duration::from_millis(case["ttl_ms"].as_u64().unwrap()));
        all(case["steps"].as_array().unwrap().iter().enumerate().map(|(i, step)| {
            let (now, id) = (Time::from_millis(step["at_ms"].as_u64().unwrap()), text(step, "id"));
            match text(step, "op") {
                "is" => {
                    return same(&format!("step {i}"), Some(ids.is_duplicate(now, id)), step["duplicate"].as_bool());
                }
                "mark" => ids.mark(now, id),
                "cleanup" => ids.cleanup(now),
                other => panic!("unknown step {other}"),
            }
            crate::support::Outcome::Same
        }))
    });
}

pub(crate) fn rate(run: &mut Run<'_>) {
    run.each(|case| {
        let number = |key: &str| case[key].as_u64().unwrap();
        let mut now = Time::ZERO;
        let mut limiter = PeerRateLimiter::new(now, number("burst"), number("refill_per_s"));
        all(case["steps"].as_array().unwrap().iter().enumerate().map(|(i, step)| {
            now = now + Duration::from_millis(step["advance_ms"].as_u64().unwrap());
            let allowed = (0..step["calls"].as_u64().unwrap()).filter(|_| limiter.allow(now)).count() as u64;
            let ours = (Some(allowed), Some(limiter.tokens()));
            same(&format!("step {i}"), ours, (step["allowed"].as_u64(), step["tokens_left"].as_u64()))
        }))
    });
}
