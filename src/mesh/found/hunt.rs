//! Dialling a rig of the book until its mesh key has shown that the record is right: at most two of its places at once, each
//! place at most once a minute, whoever was reached nowhere less and less often.

use super::filter::Reach;
use super::{REST, REST_MAX, target};
use crate::base::{Error, Now, Refusal, Result};
use crate::identity::{Address, PublicKey};
use crate::mesh::Mesh;
use crate::mesh::io::{Answer, CallId, DialId, LinkId, Output, Target};
use crate::mesh::rpc::Waiting;
use crate::message::DisconnectCode;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

/// Places of one record that are dialled at once.
const AT_ONCE: usize = 2;
/// Hunts under way; more are answered `Busy`.
const HUNTS_MAX: usize = 256;

/// One rig that is being dialled.
#[derive(Debug)]
pub(super) struct Hunt {
    sign: [u8; 32],
    key: PublicKey,
    left: VecDeque<Target>,
    running: Vec<DialId>,
    /// Its key is proven here; which signing key is its own has not been shown yet.
    link: Option<LinkId>,
    /// Another key answered at one of the places.
    wrong: bool,
    /// Keep the connection.
    keep: bool,
}

impl Mesh {
    /// Connects to the rig whose signing key has this address. `own` are the addresses of this machine. Without `keep` a
    /// connection that is made for this is closed once it has shown what it should.
    pub(in crate::mesh) fn hunt(
        &mut self,
        now: Now,
        call: CallId,
        address: &Address,
        own: &[IpAddr],
        keep: bool,
        timeout: Duration,
    ) -> Result<()> {
        self.may_begin()?;
        let rig = self.found.rigs.iter().find(|(_, rig)| rig.sighting.address() == *address);
        let (sign, rig) = rig.ok_or_else(|| Error::NotFound(format!("nothing is known of {address}")))?;
        let (sign, key, rest_until) = (*sign, rig.sighting.rig().key, rig.rest_until);
        let (places, shown) = (rig.sighting.rig().places.clone(), address.to_string());
        let standing = self.links.active(&key);
        let hunt =
            Hunt { sign, key, left: VecDeque::new(), running: Vec::new(), link: standing, wrong: false, keep: true };
        if let Some(link) = standing {
            self.rpc.wait(Waiting { call, peer: shown, payload: None, deadline: now.mono + timeout });
            self.found.hunts.insert(call, hunt);
            self.settle_hunts(now, link);
            return Ok(());
        }
        if places.is_empty() {
            return Err(Error::Unreachable(format!("{address} has taken its record back")));
        }
        if self.found.hunts.len() >= HUNTS_MAX {
            return Err(Error::Busy);
        }
        if rest_until > now.mono {
            let wait = rest_until.since(now.mono).as_secs().max(1);
            return Err(Refusal::Limit(format!("{address} was not reached just now; next try in {wait} s")).into());
        }
        let pinned = self.registry.read().sign_key_of(&key) == Some(sign);
        let reach = Reach { own, pinned, loopback: self.config.dial_loopback };
        let allowed: Vec<_> = places.iter().filter(|place| reach.allows(place.at.ip(), place.at.port())).collect();
        if allowed.is_empty() {
            let why = format!("{address} names no place that may be dialled from here");
            return Err(Error::Unreachable(why));
        }
        let fresh = allowed.into_iter().filter(|place| self.found.take_place(now.mono, place.at));
        let left: VecDeque<Target> = fresh.map(|place| target(place, key)).collect();
        if left.is_empty() {
            return Err(Refusal::Limit(format!("the places of {address} were dialled within this minute")).into());
        }
        self.rpc.wait(Waiting { call, peer: shown, payload: None, deadline: now.mono + timeout });
        self.found.hunts.insert(call, Hunt { left, keep, ..hunt });
        self.advance_hunt(call);
        Ok(())
    }

    fn advance_hunt(&mut self, call: CallId) {
        let Some(hunt) = self.found.hunts.get_mut(&call) else { return };
        while hunt.running.len() < AT_ONCE
            && let Some(target) = hunt.left.pop_front()
        {
            let (dial, fresh) = self.dials.start(target.clone(), None, Some(call));
            hunt.running.push(dial);
            if fresh {
                self.outputs.push_back(Output::Dial { dial, target });
            }
        }
    }

    /// Whether this call is a hunt: then its dials are no end of it.
    pub(in crate::mesh) fn is_hunt(&self, call: CallId) -> bool {
        self.found.hunts.contains_key(&call)
    }

    /// A dial of a hunt failed: the next place, or the end.
    pub(in crate::mesh) fn handle_hunt_failed(&mut self, now: Now, call: CallId, dial: DialId, why: &Error) {
        let Some(hunt) = self.found.hunts.get_mut(&call) else { return };
        hunt.running.retain(|running| *running != dial);
        hunt.wrong |= matches!(why, Error::WrongKey { .. });
        if hunt.link.is_some() {
            return;
        }
        self.advance_hunt(call);
        if let Some(hunt) = self.found.hunts.get(&call).filter(|hunt| hunt.running.is_empty()) {
            // No place has its key, and one has another's: the record is wrong.
            self.end_hunt(now, call, Err(why.clone()), hunt.wrong);
        }
    }

    /// A dial of a hunt reached the key that the record names.
    pub(in crate::mesh) fn handle_hunt_proven(&mut self, call: CallId, dial: DialId, link: LinkId) {
        let Some(hunt) = self.found.hunts.get_mut(&call) else { return };
        hunt.link = Some(link);
        hunt.left.clear();
        hunt.running.retain(|running| *running != dial);
        let spare = std::mem::take(&mut hunt.running);
        self.dials.forget_waiter(call);
        self.found.spare.extend(spare);
    }

    /// Whether what this dial reached is needed no more.
    pub(in crate::mesh) fn take_spare(&mut self, dial: DialId) -> bool {
        self.found.spare.remove(&dial)
    }

    /// What a link shows by now ends the hunts that wait for it.
    pub(in crate::mesh) fn settle_hunts(&mut self, now: Now, id: LinkId) {
        let waiting: Vec<CallId> =
            self.found.hunts.iter().filter(|(_, hunt)| hunt.link == Some(id)).map(|(call, _)| *call).collect();
        for call in waiting {
            let Some(hunt) = self.found.hunts.get(&call) else { continue };
            let Some(link) = self.links.link(id) else { continue };
            let unclear = || Refusal::Unconfirmed(format!("{} does not say which signing key is its own", hunt.key));
            let result = match link.sign {
                Some(sign) if sign == hunt.sign => match self.links.info(id, now.mono) {
                    Some(info) => Ok(Answer::Connected(info)),
                    None => continue,
                },
                Some(sign) => Err(super::wrong_key(&Address::of_ed25519(&hunt.sign), &Address::of_ed25519(&sign))),
                None if link.dialogue.is_introduced() => Err(unclear().into()),
                None => continue,
            };
            let discard = matches!(result, Err(Error::WrongKey { .. }));
            let close = !hunt.keep || result.is_err() && link.dial.is_some();
            self.end_hunt(now, call, result, discard);
            if close {
                let why = Error::Unreachable("it was only asked who it is".to_owned());
                self.say_goodbye(now, id, "thank you", DisconnectCode::NORMAL, &why);
            }
        }
    }

    /// A link is gone that a hunt waited for.
    pub(in crate::mesh) fn handle_hunt_link_down(&mut self, now: Now, id: LinkId, why: &Error) {
        let waiting: Vec<CallId> =
            self.found.hunts.iter().filter(|(_, hunt)| hunt.link == Some(id)).map(|(call, _)| *call).collect();
        for call in waiting {
            self.end_hunt(now, call, Err(why.clone()), false);
        }
    }

    /// A call's time is over.
    pub(in crate::mesh) fn handle_hunt_overdue(&mut self, now: Now, call: CallId) {
        if let Some(hunt) = self.found.hunts.remove(&call) {
            self.found.spare.extend(hunt.running);
            self.rest(now, &hunt.sign);
        }
    }

    fn end_hunt(&mut self, now: Now, call: CallId, result: Result<Answer>, discard: bool) {
        let Some(hunt) = self.found.hunts.remove(&call) else { return };
        self.rpc.take_call(call);
        if discard {
            self.found.rigs.remove(&hunt.sign);
        } else if result.is_err() {
            self.rest(now, &hunt.sign);
        }
        self.answer(call, result);
    }

    fn rest(&mut self, now: Now, sign: &[u8; 32]) {
        if let Some(rig) = self.found.rigs.get_mut(sign) {
            let pause = REST.saturating_mul(1 << rig.failures.min(6)).min(REST_MAX);
            rig.rest_until = now.mono + pause;
            rig.failures = rig.failures.saturating_add(1);
        }
    }
}
