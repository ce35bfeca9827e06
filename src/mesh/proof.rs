//! What happens at the moment a link is proven: not before it does a peer enter the registry,
//! displace an older link, or receive anything but pings (mesh.md §8).

use super::io::{Answer, DialId, LinkId, Output};
use super::links::{Promotion, copied_error};
use super::{DisconnectCode, Mesh};
use crate::base::{Error, Now, Refusal};
use crate::peers::Admission;
use crate::session::secure::Statement;

impl Mesh {
    /// A secure session begins proven, and all that a 1.0 link announces later was said in its handshake.
    pub(super) fn handle_session(&mut self, now: Now, id: LinkId, statement: &Statement) {
        let Some(link) = self.links.link_mut(id) else { return };
        link.caps.clone_from(&statement.caps);
        let (burst, rate) = self.config.dialogue.announced_limit;
        link.limits.set(burst, rate);
        if !self.handle_proven(now, id) {
            return;
        }
        self.handle_bind(now, id, statement.sign);
        self.tell_rotation(now, id);
        self.feeds_link_up(now, id);
        self.settle_hunts(now, id);
        self.gossip_begins(now, id);
    }

    /// Returns `false` when the link must not go on.
    pub(super) fn handle_proven(&mut self, now: Now, id: LinkId) -> bool {
        let Some(link) = self.links.link(id) else { return false };
        let (key, peer, identity, dial) = (link.key, link.peer.clone(), link.identity.clone(), link.dial);
        let certificate = link.certificate;
        let address = dial.is_some().then(|| link.address.clone());
        if dial.is_some_and(|dial| self.take_spare(dial)) && self.links.active(&key).is_some() {
            let why = Error::Unreachable("another connection was faster".to_owned());
            self.say_goodbye(now, id, "not needed", DisconnectCode::NORMAL, &why);
            return false;
        }
        let admission = self.registry.read().admission(&key);
        // Whoever dialled us must still be admitted; whom we dialled on purpose may be a stranger,
        // who then gets nothing but pings and no entry.
        let stranger = matches!(admission, Admission::Refused | Admission::Revoked);
        if stranger && dial.is_none() {
            self.say_goodbye(now, id, "peer not authorized", DisconnectCode::GOING_AWAY, &Refusal::NotAllowed.into());
            return false;
        }
        let surplus = match self.links.promote(id, &self.identity.public_key(), now.mono) {
            Promotion::Active(surplus) => surplus,
            Promotion::Kept(kept) => {
                self.serve_waiters(now, kept, dial, &peer);
                let why = Error::Unreachable("another session of this pair is kept".to_owned());
                self.say_goodbye(now, id, "replaced", DisconnectCode::GOING_AWAY, &why);
                return false;
            }
            Promotion::Refused => {
                log::error!(target: "mesh", peer = peer.as_str(); "{}", super::links::COPIED);
                self.say_goodbye(now, id, super::links::COPIED, DisconnectCode::GOING_AWAY, &copied_error());
                return false;
            }
        };
        for old in surplus {
            self.replace(now, old, id);
        }
        if !stranger {
            let mut registry = self.registry.write();
            if let Err(e) = registry.authenticated(now, &identity, &key, address.as_deref()) {
                log::warn!(target: "peers", peer = peer.as_str(); "not registered: {e}");
            }
            registry.set_connected(now, &peer, true);
            // A place that a record named: the next dial goes there, and by the same way.
            let found = dial.and_then(|dial| self.dials.target(dial)).filter(|target| target.found);
            if let Some((target, mut extra)) = found.zip(registry.extra(&peer).cloned()) {
                (extra.tls, extra.tls_pin) = (target.tls, certificate);
                let _ = registry.set_extra(&peer, extra);
            }
        }
        log::info!(target: "mesh", peer = peer.as_str(), name = crate::base::quote_value(&identity.name).as_ref(), dialled = dial.is_some(); "link proven");
        self.outputs.push_back(Output::Proven { link: id });
        self.serve_waiters(now, id, dial, &peer);
        true
    }

    /// Answers those who waited for this link, or for what came of the dial, and sends the calls that did.
    fn serve_waiters(&mut self, now: Now, id: LinkId, dial: Option<DialId>, peer: &str) {
        let attempt = dial.and_then(|dial| {
            self.dials.handle_up(now.mono, dial);
            self.dials.finish(dial)
        });
        let mut names = vec![peer.to_owned()];
        if let Some(attempt) = attempt {
            if self.links.link(id).is_some_and(|link| link.dial == dial) {
                self.plan_renewal(now, id, &attempt.target);
            }
            let key = self.links.link(id).map(|link| link.key);
            // What was meant for one key is not said to another, though it names that one as its successor.
            let other = |p: &String| {
                let expected = self.registry.read().expected(p);
                expected.zip(key).is_some_and(|(expected, key)| expected.check(&key).is_err())
            };
            names.extend(attempt.peer.filter(|p| p != peer && !other(p)));
            for call in attempt.waiters {
                if let Some(dial) = dial.filter(|_| self.is_hunt(call)) {
                    self.handle_hunt_proven(call, dial, id); // it ends when the signing key is shown
                    continue;
                }
                self.rpc.take_call(call);
                if let Some(info) = self.links.info(id, now.mono) {
                    self.answer(call, Ok(Answer::Connected(info)));
                }
            }
        }
        for name in names {
            for waiting in self.rpc.take_waiting(&name) {
                let Some(payload) = waiting.payload else { continue };
                if let Err(e) = self.call_over(now, waiting.call, id, peer, &payload, waiting.deadline) {
                    self.answer(waiting.call, Err(e));
                }
            }
        }
    }
}
