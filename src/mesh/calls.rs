//! What we ask of peers: calls over a standing link or after a dial, connections, and the lives of
//! peers that are dialled again by themselves.

use super::dials::Attempt;
use super::io::{Answer, CallId, ConnectTo, DialId, LinkId, Output, Target};
use super::rpc::{Pending, Waiting};
use super::{Mesh, not_connected};
use crate::base::{Error, Now, Result, Time};
use crate::identity::PublicKey;
use crate::message::Payload;
use crate::peers::{Admission, Expected, LifecycleOutput};
use crate::session::Expect;

impl Mesh {
    pub(super) fn call(
        &mut self,
        now: Now,
        call: CallId,
        peer: String,
        payload: Payload,
        deadline: Time,
    ) -> Result<()> {
        self.may_begin()?;
        if let Some(link) = self.links.active_by_peer(&peer) {
            return self.call_over(now, call, link, &peer, &payload, deadline);
        }
        let target = self.target_of(&peer)?;
        self.rpc.wait(Waiting { call, peer: peer.clone(), payload: Some(payload), deadline });
        if !self.is_dialling(&peer) {
            self.dial(target, Some(peer), None);
        }
        Ok(())
    }

    /// Whether a dial of this peer is under way, or goes on when it is known where it is now.
    fn is_dialling(&self, peer: &str) -> bool {
        self.dials.is_dialling(peer) || self.is_searching(peer)
    }

    pub(super) fn call_over(
        &mut self,
        now: Now,
        call: CallId,
        link: LinkId,
        peer: &str,
        payload: &Payload,
        deadline: Time,
    ) -> Result<()> {
        if !matches!(payload, Payload::Ping(_)) {
            self.check_listed(link, peer)?;
        }
        let name = self.rpc.take_name(call);
        let request = self.send_named(now, link, payload, name).ok_or_else(|| not_connected(peer))?;
        self.rpc.sent(request, Pending { call, link, peer: peer.to_owned(), sent: now.mono, deadline });
        Ok(())
    }

    /// Whoever is not a peer of ours is asked nothing but pings.
    pub(super) fn check_listed(&self, link: LinkId, peer: &str) -> Result<()> {
        let key = self.links.link(link).map(|l| l.key).ok_or_else(|| not_connected(peer))?;
        if matches!(self.registry.read().admission(&key), Admission::Listed) {
            return Ok(());
        }
        Err(Error::Config(format!(
            "{peer} is not one of your peers yet; add it first: rigmesh peers add ADDRESS --key {key}"
        )))
    }

    pub(super) fn connect(&mut self, now: Now, call: CallId, to: ConnectTo, deadline: Time) -> Result<()> {
        self.may_begin()?;
        let (target, peer) = match to {
            ConnectTo::Peer(peer) => (self.target_of(&peer), Some(peer)),
            ConnectTo::Address(target) => (Ok(target), None),
        };
        let standing = match (&peer, &target) {
            (Some(peer), _) => self.links.active_by_peer(peer),
            (None, Ok(Target { expect: Expect::Key(key), .. })) => self.links.active(key),
            _ => None,
        };
        if let Some(info) = standing.and_then(|link| self.links.info(link, now.mono)) {
            self.answer(call, Ok(Answer::Connected(info)));
            return Ok(());
        }
        let target = target?;
        let shown = target.address.clone();
        // The waiting entry only keeps the deadline; the dial's waiter gets the answer.
        self.rpc.wait(Waiting { call, peer: shown, payload: None, deadline });
        self.dial(target, peer, Some(call));
        Ok(())
    }

    pub(super) fn may_begin(&self) -> Result<()> {
        match (self.stopping, self.rpc.is_full()) {
            (true, _) => Err(Error::ShuttingDown),
            (_, true) => Err(Error::Busy),
            _ => Ok(()),
        }
    }

    /// Where a registered peer is and who must answer there.
    fn target_of(&self, peer: &str) -> Result<Target> {
        let registry = self.registry.read();
        let entry = registry.peer(peer).ok_or_else(|| Error::NotFound(format!("no peer {peer} in the registry")))?;
        if entry.address.is_empty() {
            return Err(Error::Unreachable(format!("{peer} has no address and is not connected")));
        }
        let expect = match registry.expected(peer) {
            Some(Expected::Key(key)) => Expect::Key(key),
            Some(Expected::Id(id)) => Expect::Id(id),
            Some(Expected::First | Expected::Any) | None => Expect::Anyone,
        };
        let (tls, tls_pin) = registry.extra(peer).map_or((false, None), |extra| (extra.tls, extra.tls_pin));
        Ok(Target { address: entry.address.clone(), expect, tls, tls_pin, found: false, pairing: None })
    }

    /// Dials a registered peer, unless that is under way.
    pub(super) fn dial_peer(&mut self, peer: &str) -> Result<()> {
        if !self.is_dialling(peer) {
            let target = self.target_of(peer)?;
            self.dial(target, Some(peer.to_owned()), None);
        }
        Ok(())
    }

    fn dial(&mut self, target: Target, peer: Option<String>, waiter: Option<CallId>) {
        let (dial, fresh) = self.dials.start(target.clone(), peer, waiter);
        if fresh {
            self.outputs.push_back(Output::Dial { dial, target });
        }
    }

    pub(super) fn drive_dials(&mut self, now: Now) {
        if self.stopping {
            return;
        }
        let (links, registry) = (&self.links, &self.registry);
        let connected = |key: &PublicKey| links.active(&registry.read().access().newest_of(key)).is_some();
        for (dial, target) in self.dials.poll_uplinks(now.mono, connected) {
            self.outputs.push_back(Output::Dial { dial, target });
        }
    }

    /// The lives of the peers: stale ones are dialled again, and evicted when they stay away.
    pub(super) fn drive_lives(&mut self, now: Now) {
        let mut retries = Vec::new();
        {
            let mut registry = self.registry.write();
            registry.handle_timeout(now, &mut self.rng);
            while let Some(output) = registry.poll_output() {
                match output {
                    LifecycleOutput::Retry { id, .. } => retries.push(id),
                    LifecycleOutput::Stale { id } => log::info!(target: "peers", peer = id.as_str(); "peer is stale"),
                    LifecycleOutput::Evicted { id } => log::info!(target: "peers", peer = id.as_str(); "peer evicted"),
                }
            }
        }
        for peer in retries {
            if !self.stopping
                && let Ok(target) = self.target_of(&peer)
                && self.links.active_by_peer(&peer).is_none()
                && !self.is_dialling(&peer)
            {
                self.dial(target, Some(peer), None);
            }
        }
    }

    /// A dial failed, or ended before its link was proven: everyone who waited is told.
    pub(super) fn fail_dial(&mut self, now: Now, dial: Option<DialId>, why: &Error) {
        let Some(dial) = dial else { return };
        self.dials.handle_down(now.mono, dial, &mut self.rng);
        self.take_spare(dial);
        let Some(mut attempt) = self.dials.finish(dial) else { return };
        for hunt in attempt.waiters.extract_if(.., |call| self.is_hunt(*call)).collect::<Vec<_>>() {
            self.handle_hunt_failed(now, hunt, dial, why);
        }
        if let Some(attempt) = self.try_elsewhere(now, attempt, why) {
            self.give_up(now, attempt, why);
        }
    }

    /// Nobody answers anywhere.
    pub(super) fn give_up(&mut self, now: Now, attempt: Attempt, why: &Error) {
        log::info!(target: "mesh", address = attempt.target.address.as_str(); "cannot connect: {why}");
        for call in attempt.waiters {
            self.rpc.take_call(call);
            self.answer(call, Err(why.clone()));
        }
        if let Some(peer) = attempt.peer {
            for waiting in self.rpc.take_waiting(&peer) {
                self.answer(waiting.call, Err(why.clone()));
            }
            self.registry.write().record_failure(&peer);
            self.feeds_unreachable(now, &peer, why);
        }
    }
}
