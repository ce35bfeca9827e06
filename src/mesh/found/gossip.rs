//! What neighbours tell each other: each its own record, and a few of those whose owners agreed to that. What is told of others
//! is hearsay: it goes into the book and no further until its rig has shown itself.

use super::FoundBy;
use crate::base::{Error, Now, Result, Time};
use crate::identity::NodeId;
use crate::kad::{Sighting, SignedRecord};
use crate::mesh::Mesh;
use crate::mesh::io::LinkId;
use crate::message::{GOSSIP_OTHERS_MAX, Gossip, Message, Payload};
use crate::peers::Admission;
use crate::session::Bucket;
use std::sync::Arc;
use std::time::Duration;

/// The capability that a node announces when it listens to this.
pub(crate) const GOSSIP1: &str = "gossip1";
/// Neighbours hear of others this often.
const ROUND: Duration = Duration::from_secs(1800);
/// Messages of one link that are read at once, and a second: each costs up to nine signatures.
const BURST: u64 = 3;
const PER_S: u64 = 1;

/// The record this node has out, and whether neighbours may pass it on.
#[derive(Clone, Debug)]
pub(crate) struct OwnRecord {
    pub(crate) record: Arc<SignedRecord>,
    pub(crate) share: bool,
}

/// What a link has heard and said.
#[derive(Debug, Default)]
pub(in crate::mesh) struct LinkGossip {
    said: bool,
    rate: Option<Bucket>,
    /// The peer's own record, when it agreed that it be told to others, and its last second.
    shared: Option<(Vec<u8>, u64)>,
}

impl Mesh {
    /// This node's own record has changed, or it has none any more.
    pub(in crate::mesh) fn handle_own_record(&mut self, now: Now, own: Option<OwnRecord>) {
        self.found.own = own;
        let links: Vec<LinkId> = self.links.actives().map(|(id, _)| id).collect();
        for link in links {
            self.gossip_to(now, link, false);
        }
    }

    /// It is known by now what the peer speaks: it hears of this node and of others once.
    pub(in crate::mesh) fn gossip_begins(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.links.link_mut(id) else { return };
        if !link.gossip.said && link.speaks(GOSSIP1) {
            link.gossip.said = true;
            self.found.gossip_due.get_or_insert(now.mono + ROUND);
            self.gossip_to(now, id, true);
        }
    }

    pub(in crate::mesh) fn drive_gossip(&mut self, now: Now) {
        if self.stopping || self.found.gossip_due.is_none_or(|due| due > now.mono) {
            return;
        }
        let links: Vec<LinkId> =
            self.links.actives().filter(|(_, link)| link.speaks(GOSSIP1)).map(|(id, _)| id).collect();
        self.found.gossip_due = (!links.is_empty()).then(|| now.mono + ROUND);
        for link in links {
            self.gossip_to(now, link, true);
        }
    }

    pub(in crate::mesh) fn gossip_timeout(&self) -> Option<Time> {
        self.found.gossip_due.filter(|_| !self.stopping)
    }

    /// Only peers on a list are told anything, and only those that listen.
    fn gossip_to(&mut self, now: Now, id: LinkId, with_others: bool) {
        let Some(link) = self.links.link(id).filter(|link| link.speaks(GOSSIP1)) else { return };
        let key = link.key;
        if !self.config.dialogue.announcement.has(GOSSIP1) || self.registry.read().admission(&key) != Admission::Listed
        {
            return;
        }
        let (own, share) = match &self.found.own {
            Some(own) => (own.record.encode(), own.share),
            None => (Vec::new(), false),
        };
        let second = u64::try_from(now.wall.unix_seconds()).unwrap_or(0);
        let mut others: Vec<Vec<u8>> = Vec::new();
        if with_others {
            let neighbours = self.links.actives().filter(|(_, link)| link.key != key);
            let shared = neighbours.filter_map(|(_, link)| link.gossip.shared.as_ref());
            others = shared.filter(|(_, end)| *end > second).map(|(record, _)| record.clone()).collect();
            while others.len() > GOSSIP_OTHERS_MAX {
                let one = usize::try_from(self.rng.below(others.len() as u64)).unwrap_or(0);
                others.swap_remove(one);
            }
        }
        if !own.is_empty() || !others.is_empty() {
            self.send_request(now, id, &Payload::Gossip(Gossip { own, share, others }));
        }
    }

    /// A listed peer tells where rigs are.
    pub(in crate::mesh) fn handle_gossip(&mut self, now: Now, id: LinkId, message: &Message) {
        let Some(link) = self.links.link_mut(id) else { return };
        let listens = self.config.dialogue.announcement.has(GOSSIP1);
        let rate = link.gossip.rate.get_or_insert_with(|| Bucket::new(now.mono, BURST, PER_S));
        if !listens || rate.take(now.mono, 1).is_err() {
            return link.dialogue.count_dropped();
        }
        if let Err(e) = self.read_gossip(now, id, message) {
            log::debug!(target: "mesh", peer = message.from.as_str(); "gossip not believed: {e}");
        }
    }

    fn read_gossip(&mut self, now: Now, id: LinkId, message: &Message) -> Result<()> {
        let Payload::Gossip(gossip) = message.payload()? else { return Ok(()) };
        let Some(link) = self.links.link_mut(id) else { return Ok(()) };
        let (key, sign, teller) = (link.key, link.sign, link.key.node_id());
        link.gossip.shared = None;
        if !gossip.own.is_empty() {
            let own = Sighting::read(&gossip.own, now.wall).map_err(Error::from)?;
            if own.rig().key != key || sign != Some(*own.sign_key()) {
                return Err(Error::malformed("gossip", "its own record is another's"));
            }
            let shared = gossip.share && !own.rig().is_withdrawal();
            link.gossip.shared = shared.then(|| (gossip.own.clone(), own.record().expires_at()));
            self.hear(now, own, teller);
        }
        for other in &gossip.others {
            self.hear(now, Sighting::read(other, now.wall).map_err(Error::from)?, teller);
        }
        Ok(())
    }

    fn hear(&mut self, now: Now, sighting: Sighting, teller: NodeId) {
        let address = sighting.address();
        if let Err(e) = self.handle_sighting(now, sighting, FoundBy::Peer(teller)) {
            log::debug!(target: "mesh", peer = teller.to_string().as_str(); "of {address} nothing is taken over: {e}");
        }
    }
}
