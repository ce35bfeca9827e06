//! `beacon`: the thread that says where this rig is, to the DHT, on the local link and to neighbours, and that it goes.

use super::lan::Lan;
use super::places::{Advertised, Views, own_addresses};
use crate::base::{Error, Now, Result, Rng, Time};
use crate::kad::{Beacon, BeaconOutput, Done, Id, NatType, SignedRecord};
use crate::mesh::{Command, OwnRecord};
use crate::runtime::clock::Clock;
use crate::runtime::files::atomic;
use crate::runtime::kad::Handle;
use crate::runtime::queues::ControlSender;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often the addresses of this machine are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How often the record is said on the local link unasked.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(300);
/// However often somebody asks there.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(1);
/// A farm that is asked does not answer as one.
const ANNOUNCE_SPREAD: Duration = Duration::from_millis(300);
/// A shutdown waits so long for the DHT to take the withdrawal.
const WITHDRAW_MAX: Duration = Duration::from_secs(2);
/// How long the echo of a probe may take.
const PROBE_MAX: Duration = Duration::from_secs(3);

/// What happens to the thread.
#[derive(Debug)]
pub(crate) enum Event {
    /// The DHT has been joined.
    Joined,
    /// A peer of the DHT sees this node there.
    Observed(Id, SocketAddr),
    /// Somebody on the local link asks who is there.
    Asked,
    /// The end.
    Stop,
}

/// What the thread owns.
pub(crate) struct BeaconThread {
    pub(crate) beacon: Beacon,
    /// Where the number of the last record is kept.
    pub(crate) file: PathBuf,
    pub(crate) advertised: Advertised,
    pub(crate) share: bool,
    pub(crate) dht: Option<Handle>,
    pub(crate) lan: Option<Arc<Lan>>,
    pub(crate) control: ControlSender,
    pub(crate) events: Receiver<Event>,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    pub(crate) state: State,
}

/// What changes while it runs.
#[derive(Debug, Default)]
pub(crate) struct State {
    views: Views,
    nat_type: NatType,
    probed: bool,
    joined: bool,
    /// What is out, for a DHT that is joined later.
    latest: Vec<(Id, Arc<SignedRecord>)>,
    look_at: Time,
    announce_at: Option<Time>,
    announced: Option<Time>,
}

/// The number of the last record of this rig; 0 for none.
///
/// # Errors
/// [`Error::Io`], or [`Error::Config`] for a file that holds no number: it is not guessed at.
pub(crate) fn saved_seq(file: &std::path::Path) -> Result<u64> {
    let Some(bytes) = atomic::read(file, 64)? else { return Ok(0) };
    let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| {
        Error::Config(format!("{} holds no number; remove it, and the clock's time is used instead", file.display()))
    })
}

impl BeaconThread {
    pub(crate) fn run(mut self) {
        loop {
            let now = self.clock.now();
            if self.state.look_at <= now.mono {
                self.state.look_at = now.mono + LOOK_EVERY;
                self.look(now);
            }
            self.beacon.handle_timeout(now);
            self.carry_out();
            if self.state.announce_at.is_some_and(|at| at <= now.mono) {
                self.announce(now.mono);
            }
            let due = [Some(self.state.look_at), self.beacon.poll_timeout(), self.state.announce_at];
            let until = due.into_iter().flatten().min().unwrap_or(self.state.look_at);
            match self.events.recv_deadline(self.clock.instant(until)) {
                Ok(Event::Joined) => self.handle_joined(),
                Ok(Event::Observed(reporter, at)) => self.handle_observed(reporter, at),
                Ok(Event::Asked) => self.handle_asked(),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return self.leave(),
            }
        }
    }

    /// Where is this machine now?
    fn look(&mut self, now: Now) {
        let own = own_addresses();
        if let Some(lan) = &self.lan {
            lan.join(&super::link_addresses(&own, self.advertised.loopback));
        }
        let seen = self.state.views.nat_type(&own);
        if seen != NatType::Unknown {
            self.state.nat_type = seen;
        } else if !self.state.probed {
            self.probe();
        }
        self.beacon.handle_places(now, self.advertised.places(&own), self.state.nat_type);
    }

    /// Does what stands between this node and the others keep its port open for those it wrote to?
    fn probe(&mut self) {
        let (Some(dht), Some(claimed)) = (&self.dht, self.state.views.agreed()) else { return };
        let Ok(peers) = dht.ask(|machine, _| machine.bootstrap_candidates(1)) else { return };
        let Some(peer) = peers.first().copied() else { return };
        self.state.probed = true;
        let echo = dht.order(PROBE_MAX, move |machine, now, order| {
            machine.nat_probe(now, order, peer, claimed, PROBE_MAX);
            Ok(())
        });
        if matches!(echo, Ok(Done::Echo(true))) {
            self.state.nat_type = NatType::PortRestricted;
        }
    }

    fn handle_observed(&mut self, reporter: Id, at: SocketAddr) {
        self.state.views.note(*reporter.as_bytes(), at);
    }

    fn handle_asked(&mut self) {
        let now = self.clock.mono();
        let spread = Duration::from_micros(self.rng.below(u64::try_from(ANNOUNCE_SPREAD.as_micros()).unwrap_or(0)));
        let soonest = self.state.announced.map_or(now, |last| (last + ANNOUNCE_PAUSE).max(now)) + spread;
        let at = self.state.announce_at.map_or(soonest, |at| at.min(soonest));
        self.state.announce_at = Some(at);
    }

    fn announce(&mut self, now: Time) {
        self.state.announced = Some(now);
        self.state.announce_at = Some(now + ANNOUNCE_EVERY);
        if let (Some(lan), Some(record)) = (&self.lan, self.beacon.current()) {
            lan.announce(&record.encode());
        }
    }

    fn handle_joined(&mut self) {
        self.state.joined = true;
        for (key, record) in self.state.latest.clone() {
            self.publish(key, &record);
        }
    }

    fn publish(&self, key: Id, record: &Arc<SignedRecord>) {
        let Some(dht) = self.dht.as_ref().filter(|_| self.state.joined) else { return };
        let record = (**record).clone();
        let published = dht.ask(move |machine, now| machine.publish(now, None, key, record));
        match published {
            Ok(Ok(())) => {}
            Ok(Err(why)) => log::warn!(target: "dht", "not published: {why}"),
            Err(why) => log::debug!(target: "dht", "not published: {why}"),
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.beacon.poll_output() {
            match output {
                BeaconOutput::Save(seq) => self.save(seq),
                BeaconOutput::Record(record) => {
                    self.state.latest.clear();
                    self.put(Id::ZERO, &record);
                    let share = self.share;
                    let own = self.beacon.current().map(|_| OwnRecord { record: record.clone(), share });
                    if let Err(e) = self.control.send(Command::OwnRecord(own), None, 0) {
                        log::debug!(target: "dht", "neighbours are not told: {e}");
                    }
                    match (self.beacon.current(), &self.lan) {
                        (Some(_), _) => self.announce(self.clock.mono()),
                        (None, Some(lan)) => lan.announce(&record.encode()),
                        (None, None) => {}
                    }
                }
                BeaconOutput::Topic(key, record) => self.put(key, &record),
            }
        }
    }

    fn put(&mut self, key: Id, record: &Arc<SignedRecord>) {
        self.state.latest.push((key, record.clone()));
        self.publish(key, record);
    }

    fn save(&mut self, seq: u64) {
        let saved = atomic::write(&self.file, seq.to_string().as_bytes(), 0o600);
        if let Err(e) = &saved {
            log::error!(target: "dht", "this rig does not say where it is, because the number of its record cannot be saved: {e}");
        }
        self.beacon.handle_saved(self.clock.now(), saved.is_ok());
    }

    /// Takes the record back, and waits a moment for the DHT to know it.
    fn leave(mut self) {
        let joined = std::mem::take(&mut self.state.joined);
        self.beacon.withdraw(self.clock.now());
        self.carry_out();
        let Some(dht) = self.dht.filter(|_| joined) else { return };
        let mut replies = Vec::new();
        for (key, record) in self.state.latest {
            let record = (*record).clone();
            let begun = dht.begin(WITHDRAW_MAX, move |machine, now, order| {
                machine.publish(now, Some(order), key, record).map_err(|e| Error::Failed(e.to_string()))
            });
            replies.extend(begun);
        }
        let end = self.clock.instant(self.clock.mono() + WITHDRAW_MAX);
        for reply in replies {
            match reply.recv_deadline(end) {
                Ok(Ok(_)) => {}
                Ok(Err(e)) => log::debug!(target: "dht", "not withdrawn: {e}"),
                Err(_) => {
                    return log::info!(target: "dht", "the DHT takes long to withdraw this rig's record, which ends by itself");
                }
            }
        }
    }
}
