//! Dials: configured uplinks that are kept up for ever, and connections made because a call
//! needs one. Exponential back-off with jitter; one attempt a peer at a time.

use super::io::{CallId, DialId, Target};
use crate::base::{Rng, Time};
use crate::identity::PublicKey;
use crate::session::Expect;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// First pause between attempts of an uplink; doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest pause between attempts. A farm whose controller was away for an hour is back within this.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A link that held this long resets the back-off.
const STEADY: Duration = Duration::from_secs(30);
/// Attempts under way at once; more wait for the next tick.
const UNDER_WAY_MAX: usize = 128;

/// One configured uplink.
#[derive(Debug)]
struct Uplink {
    target: Target,
    state: UplinkState,
    failures: u32,
}

#[derive(Debug, PartialEq)]
enum UplinkState {
    Waiting { until: Time },
    Dialling { dial: DialId },
    Up { since: Time, dial: DialId },
}

/// A dial under way and who waits for it.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) target: Target,
    /// The registry id it was made for, when there is one.
    pub(crate) peer: Option<String>,
    /// `connect` calls to answer when the link is proven.
    pub(crate) waiters: Vec<CallId>,
    /// Where to go on when this fails: what the peer's newest record says, once that was looked at.
    pub(crate) elsewhere: Option<VecDeque<Target>>,
    /// The DHT was asked for it.
    pub(crate) searched: bool,
}

/// All dials.
#[derive(Debug, Default)]
pub(crate) struct Dials {
    next: u64,
    attempts: BTreeMap<DialId, Attempt>,
    uplinks: Vec<Uplink>,
}

impl Dials {
    /// Adds an uplink, due at once. An uplink to the same address is replaced.
    pub(crate) fn add_uplink(&mut self, now: Time, target: Target) {
        self.uplinks.retain(|u| u.target.address != target.address);
        self.uplinks.push(Uplink { target, state: UplinkState::Waiting { until: now }, failures: 0 });
    }

    /// Begins an attempt, or joins the one under way to the same place.
    pub(crate) fn start(&mut self, target: Target, peer: Option<String>, waiter: Option<CallId>) -> (DialId, bool) {
        if let Some((id, attempt)) = self.attempts.iter_mut().find(|(_, a)| a.target == target) {
            attempt.waiters.extend(waiter);
            attempt.peer = attempt.peer.take().or(peer);
            return (*id, false);
        }
        self.next += 1;
        let id = DialId(self.next);
        let waiters = waiter.into_iter().collect();
        self.attempts.insert(id, Attempt { target, peer, waiters, elsewhere: None, searched: false });
        (id, true)
    }

    /// Goes on with an attempt at another place, unless one is under way there, which it then joins.
    pub(crate) fn resume(&mut self, attempt: Attempt, target: Target) -> Option<DialId> {
        let Attempt { peer, waiters, elsewhere, searched, .. } = attempt;
        let (dial, fresh) = self.start(target, peer, None);
        if let Some(resumed) = self.attempts.get_mut(&dial) {
            resumed.waiters.extend(waiters);
            if fresh {
                (resumed.elsewhere, resumed.searched) = (elsewhere, searched);
            }
        }
        fresh.then_some(dial)
    }

    /// Whether an attempt for this peer is under way.
    pub(crate) fn is_dialling(&self, peer: &str) -> bool {
        self.attempts.values().any(|a| a.peer.as_deref() == Some(peer))
    }

    /// Where an attempt under way goes.
    pub(crate) fn target(&self, dial: DialId) -> Option<&Target> {
        self.attempts.get(&dial).map(|attempt| &attempt.target)
    }

    /// The attempt ended: its link is proven, or it failed.
    pub(crate) fn finish(&mut self, dial: DialId) -> Option<Attempt> {
        self.attempts.remove(&dial)
    }

    /// Nobody waits for this call any more.
    pub(crate) fn forget_waiter(&mut self, call: CallId) {
        for attempt in self.attempts.values_mut() {
            attempt.waiters.retain(|c| *c != call);
        }
    }

    /// An uplink's connection stands.
    pub(crate) fn handle_up(&mut self, now: Time, dial: DialId) {
        for uplink in &mut self.uplinks {
            if uplink.state == (UplinkState::Dialling { dial }) {
                uplink.state = UplinkState::Up { since: now, dial };
            }
        }
    }

    /// The link of one dial was renewed by another's: an uplink stands by the newer one.
    pub(crate) fn handle_renewed(&mut self, old: DialId, new: DialId) {
        for uplink in &mut self.uplinks {
            match &mut uplink.state {
                UplinkState::Up { dial, .. } if *dial == old => *dial = new,
                _ => {}
            }
        }
    }

    /// A dial failed, or the link it made is gone: its uplink waits, longer each time, unless it had held.
    pub(crate) fn handle_down(&mut self, now: Time, dial: DialId, rng: &mut Rng) {
        for uplink in &mut self.uplinks {
            match uplink.state {
                UplinkState::Dialling { dial: d } if d == dial => {}
                UplinkState::Up { since, dial: d } if d == dial => {
                    if now.since(since) >= STEADY {
                        uplink.failures = 0;
                    }
                }
                _ => continue,
            }
            let pause = backoff(uplink.failures, rng);
            uplink.failures = uplink.failures.saturating_add(1);
            uplink.state = UplinkState::Waiting { until: now + pause };
        }
    }

    /// Uplinks to dial now. One whose key is connected already (it dialled us) is looked at again later.
    pub(crate) fn poll_uplinks(&mut self, now: Time, connected: impl Fn(&PublicKey) -> bool) -> Vec<(DialId, Target)> {
        let mut started = Vec::new();
        for i in 0..self.uplinks.len() {
            let Some(uplink) = self.uplinks.get(i) else { break };
            let UplinkState::Waiting { until } = uplink.state else { continue };
            if until > now {
                continue;
            }
            let target = uplink.target.clone();
            let stands = matches!(target.expect, Expect::Key(key) if connected(&key));
            if stands || self.attempts.len() >= UNDER_WAY_MAX {
                if let Some(uplink) = self.uplinks.get_mut(i) {
                    uplink.state = UplinkState::Waiting { until: now + STEADY };
                }
                continue;
            }
            let (dial, fresh) = self.start(target.clone(), None, None);
            if let Some(uplink) = self.uplinks.get_mut(i) {
                uplink.state = UplinkState::Dialling { dial };
            }
            if fresh {
                started.push((dial, target));
            }
        }
        started
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.uplinks
            .iter()
            .filter_map(|u| match u.state {
                UplinkState::Waiting { until } => Some(until),
                _ => None,
            })
            .min()
    }
}

/// 1, 2, 4 … 60 seconds, each between three quarters and five quarters of it, so that a farm does not dial in step.
fn backoff(failures: u32, rng: &mut Rng) -> Duration {
    let base = BACKOFF_MIN.saturating_mul(1 << failures.min(6)).min(BACKOFF_MAX);
    base * 3 / 4 + Duration::from_micros(rng.below(u64::try_from(base.as_micros() / 2).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str) -> Target {
        Target {
            address: address.to_owned(),
            expect: Expect::Anyone,
            tls: false,
            tls_pin: None,
            found: false,
            pairing: None,
        }
    }

    #[test]
    fn an_uplink_is_dialled_again_for_ever_at_growing_distances() {
        let (mut dials, mut rng) = (Dials::default(), Rng::from_number(5));
        let mut now = Time::ZERO;
        dials.add_uplink(now, target("a:1"));
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let [(dial, _)] = dials.poll_uplinks(now, |_| false).try_into().unwrap();
            dials.finish(dial);
            dials.handle_down(now, dial, &mut rng);
            let next = dials.poll_timeout().unwrap();
            pauses.push(next.since(now).as_millis());
            now = next;
        }
        assert!(pauses[0] <= 1250 && pauses[9] >= 45_000 && pauses[9] <= 75_000, "{pauses:?}");
    }

    #[test]
    fn a_steady_link_resets_the_back_off_and_a_second_attempt_joins_the_first() {
        let (mut dials, mut rng) = (Dials::default(), Rng::from_number(5));
        let now = Time::ZERO;
        dials.add_uplink(now, target("a:1"));
        let [(dial, _)] = dials.poll_uplinks(now, |_| false).try_into().unwrap();
        assert_eq!(dials.start(target("a:1"), None, Some(CallId(1))), (dial, false));
        assert_eq!(dials.finish(dial).unwrap().waiters, [CallId(1)]);
        dials.handle_up(now, dial);
        let later = now + Duration::from_secs(300);
        dials.handle_down(later, dial, &mut rng);
        assert!(dials.poll_timeout().unwrap().since(later) <= Duration::from_millis(1250));
    }
}
