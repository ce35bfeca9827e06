//! A fresh connection before a session is a day old (secure-session.md §2). Changing keys protects what was said; only a new
//! handshake shuts out somebody who has read a key out of memory. The node that dialled the session dials again; the newer
//! session wins on both sides; the older one *leaves*: nothing new is sent over it, what is under way on it is answered
//! there, and then the node that dialled it says goodbye. The other side waits for that, for a while: what it has not seen
//! yet may still be on its way to it.

use super::Mesh;
use super::io::{LinkId, Output, Target};
use crate::base::{Error, Now, Rng, Time};
use crate::message::DisconnectCode;
use crate::session::{Expect, Side};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// No session gets older than this, as long as the peer can be reached.
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Up to so much earlier, so that a farm does not dial in step; and never later than a moment before.
const SPREAD: Duration = Duration::from_secs(24 * 360);
const EARLY: Duration = Duration::from_secs(600);
/// A renewal that did not come about is tried again after this.
const AGAIN: Duration = Duration::from_secs(600);
/// A session of this age that is replaced by one that the same side dialled is renewed: its peer is well. A younger one was
/// lost, as far as its peer knows.
const RENEWED_AGE: Duration = Duration::from_secs(20 * 3600);
/// How long an older session stays at least, for what is on its way; and at most, which is longer than any work takes.
const LEAVING_MIN: Duration = Duration::from_secs(2);
const LEAVING_MAX: Duration = Duration::from_secs(35);
/// How often it is looked whether it may go.
const LEAVING_LOOK: Duration = Duration::from_millis(500);

/// How a link stands to its renewal.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// Where we dialled it; nothing when we accepted it.
    target: Option<Box<Target>>,
    /// Since when it leaves.
    leaving: Option<Time>,
}

/// When links are looked at: one entry each at most.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    due: BTreeSet<(Time, LinkId)>,
    at: BTreeMap<LinkId, Time>,
}

impl Renewals {
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    fn set(&mut self, link: LinkId, at: Time) {
        self.forget(link);
        self.due.insert((at, link));
        self.at.insert(link, at);
    }

    /// The link is gone.
    pub(super) fn forget(&mut self, link: LinkId) {
        if let Some(at) = self.at.remove(&link) {
            self.due.remove(&(at, link));
        }
    }

    fn pop_due(&mut self, now: Time) -> Option<LinkId> {
        let (at, link) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.forget(link);
        Some(link)
    }
}

/// The age at which a session is renewed.
fn age(rng: &mut Rng) -> Duration {
    let spread = u64::try_from((SPREAD - EARLY).as_millis()).unwrap_or(0);
    AGE_MAX - EARLY - Duration::from_millis(rng.below(spread))
}

impl Mesh {
    /// We dialled this session: it will be renewed, there and with the same key.
    pub(super) fn plan_renewal(&mut self, now: Now, id: LinkId, target: &Target) {
        let Some(link) = self.links.link_mut(id).filter(|link| link.dialogue.is_secure()) else { return };
        let target = Target { expect: Expect::Key(link.key), pairing: None, ..target.clone() };
        link.renewal.target = Some(Box::new(target));
        let age = age(&mut self.rng);
        self.renewals.set(id, now.mono + age);
    }

    /// What is to become of a link that another one has replaced.
    pub(super) fn replace(&mut self, now: Now, old: LinkId, new: LinkId) {
        if !self.is_renewed(now.mono, old, new) {
            let why = Error::Unreachable("replaced by newer connections".to_owned());
            return self.say_goodbye(now, old, "replaced", DisconnectCode::GOING_AWAY, &why);
        }
        let dialled = self.links.link(old).and_then(|link| link.dial).zip(self.links.link(new).and_then(|l| l.dial));
        if let Some((old, new)) = dialled {
            self.dials.handle_renewed(old, new);
        }
        if let Some(link) = self.links.link_mut(old) {
            link.renewal.leaving.get_or_insert(now.mono);
            self.renewals.set(old, now.mono + LEAVING_MIN);
        }
        self.feeds_move(now, old, new);
    }

    fn is_renewed(&self, now: Time, old: LinkId, new: LinkId) -> bool {
        let (Some(old), Some(new)) = (self.links.link(old), self.links.link(new)) else { return false };
        let same_side = old.dialogue.side() == new.dialogue.side();
        let aged = old.proven_at.is_some_and(|at| now.since(at) >= RENEWED_AGE);
        old.dialogue.is_secure() && new.dialogue.is_secure() && same_side && aged
    }

    /// Dials what is old, and lets go what has left.
    pub(super) fn drive_renewals(&mut self, now: Now) {
        while let Some(id) = self.renewals.pop_due(now.mono) {
            let active = self.links.is_active(id);
            let Some(link) = self.links.link_mut(id).filter(|link| !link.closing) else { continue };
            let Some(since) = link.renewal.leaving else {
                let target = link.renewal.target.as_deref().cloned().filter(|_| active && !self.stopping);
                let Some(target) = target else { continue };
                self.renewals.set(id, now.mono + AGAIN);
                let (dial, fresh) = self.dials.start(target.clone(), None, None);
                if fresh {
                    self.outputs.push_back(Output::Dial { dial, target });
                }
                continue;
            };
            if active {
                // The newer one broke: this one is needed after all, and tries anew.
                link.renewal.leaving = None;
                self.renewals.set(id, now.mono + AGAIN);
            } else if self.may_leave(now.mono, id, since) {
                let why = Error::Unreachable("replaced by a fresh session".to_owned());
                self.say_goodbye(now, id, "replaced", DisconnectCode::GOING_AWAY, &why);
            } else {
                self.renewals.set(id, now.mono + LEAVING_LOOK);
            }
        }
    }

    fn may_leave(&self, now: Time, id: LinkId, since: Time) -> bool {
        let ours = self.links.link(id).is_some_and(|link| link.dialogue.side() == Side::Initiator);
        let idle = ours && !self.rpc.has_link(id) && !self.worker.has_link(id);
        idle || now.since(since) >= LEAVING_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_renewed_at_different_ages_below_a_day() {
        let seed = 7;
        println!("seed {seed}");
        let mut rng = Rng::from_number(seed);
        let ages: Vec<u64> = (0..1000).map(|_| age(&mut rng).as_secs()).collect();
        assert!(ages.iter().all(|age| (24 * 3240..24 * 3600 - 599).contains(age)));
        let (least, most) = (ages.iter().min().unwrap(), ages.iter().max().unwrap());
        assert!(most - least > 7000, "{least} to {most}");
    }

    #[test]
    fn a_link_is_looked_at_once_at_a_time_and_not_when_it_is_gone() {
        let mut renewals = Renewals::default();
        let at = Time::from_millis;
        renewals.set(LinkId(1), at(10));
        renewals.set(LinkId(2), at(20));
        renewals.set(LinkId(1), at(30));
        assert_eq!((renewals.poll_timeout(), renewals.pop_due(at(19))), (Some(at(20)), None));
        assert_eq!(renewals.pop_due(at(25)), Some(LinkId(2)));
        renewals.forget(LinkId(1));
        assert_eq!((renewals.poll_timeout(), renewals.pop_due(at(99))), (None, None));
    }
}
