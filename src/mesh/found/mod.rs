//! Rigs that were found: in the DHT, on the local link, by what neighbours tell (secure-session.md §8). This file is the book of
//! them; [`hunt`] dials one until it is confirmed, [`elsewhere`] a known peer that is not where it was, [`filter`] says where
//! may be dialled at all, [`gossip`] is what neighbours tell each other.
//!
//! A record is a *claim* of its signing key S: that the mesh key X it names agrees is shown only in a session in which X is
//! proven and names S; from then on the rig is *confirmed*. Neither makes it *trusted*: nothing here enters a list, and nothing
//! but the handshake and pings is sent to a rig that is on none.

mod elsewhere;
mod filter;
mod gossip;
mod hunt;

pub(in crate::mesh) use gossip::LinkGossip;
pub(crate) use gossip::{GOSSIP1, OwnRecord};

use super::Mesh;
use super::io::{CallId, DialId, LinkId, Target};
use crate::base::{Error, Now, Refusal, Result, Time, Timestamp};
use crate::identity::{Address, NodeId, PublicKey};
use crate::kad::{RigPlace, Sighting};
use crate::peers::{Admission, Pinned};
use crate::session::Expect;
use elsewhere::Search;
use hunt::Hunt;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// Rigs in the book; beyond it the claim that was heard of least lately goes.
pub(crate) const FOUND_MAX: usize = 1024;
/// No address is dialled more often than this because of a record.
const PLACE_AGAIN: Duration = Duration::from_secs(60);
/// A rig that was reached nowhere is left alone so long, doubled each time up to [`REST_MAX`].
const REST: Duration = Duration::from_secs(60);
const REST_MAX: Duration = Duration::from_secs(3600);

/// Who told of a rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    /// The DHT.
    Dht,
    /// The rig itself, on the local link.
    Lan,
    /// A neighbour, by its node id; the rig itself when it is its own.
    Peer(NodeId),
}

/// A rig that was found, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRig {
    /// The address of its signing key: what it is found by.
    pub address: Address,
    /// That key, Ed25519.
    pub sign_key: [u8; 32],
    /// The mesh key that its record names.
    pub key: PublicKey,
    /// Where it says it is; nowhere when it has taken its record back.
    pub places: Vec<RigPlace>,
    /// Who told of it last.
    pub by: FoundBy,
    /// When its mesh key last showed in a session that it agrees; `None` while it is only a claim.
    pub confirmed: Option<Timestamp>,
    /// Whether its key is on this node's own lists: everything else is a stranger.
    pub known: bool,
    /// The number of its record.
    pub seq: u64,
    /// When its record ends, Unix seconds.
    pub expires_at: u64,
}

/// One rig of the book.
#[derive(Debug)]
struct Rig {
    sighting: Sighting,
    by: FoundBy,
    confirmed: Option<Timestamp>,
    heard: Time,
    /// How often in a row it was reached nowhere, and until when it is left alone.
    failures: u32,
    rest_until: Time,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Found {
    rigs: BTreeMap<[u8; 32], Rig>,
    /// Where was dialled because of a record, lately.
    dialled: BTreeMap<SocketAddr, Time>,
    hunts: BTreeMap<CallId, Hunt>,
    /// Dials that nobody needs any more: what they reach is closed.
    spare: BTreeSet<DialId>,
    searches: BTreeMap<[u8; 32], Search>,
    own: Option<OwnRecord>,
    gossip_due: Option<Time>,
}

impl Found {
    /// Whether this address may be dialled now as far as its last dial goes; it counts at once.
    fn take_place(&mut self, now: Time, at: SocketAddr) -> bool {
        if self.dialled.get(&at).is_some_and(|last| now.since(*last) < PLACE_AGAIN) {
            return false;
        }
        if self.dialled.len() >= FOUND_MAX {
            self.dialled.retain(|_, last| now.since(*last) < PLACE_AGAIN);
        }
        // Full of places of this very minute: that is more than any owner dials.
        let room = self.dialled.len() < FOUND_MAX;
        if room {
            self.dialled.insert(at, now);
        }
        room
    }

    fn make_room(&mut self) {
        if self.rigs.len() < FOUND_MAX {
            return;
        }
        let oldest =
            self.rigs.iter().min_by_key(|(_, rig)| (rig.confirmed.is_some(), rig.heard)).map(|(sign, _)| *sign);
        oldest.map(|sign| self.rigs.remove(&sign));
    }
}

/// How a rig's place is dialled. Whoever answers must hold the key, so the certificate does not matter: it could only
/// hide who speaks to whom.
fn target(place: &RigPlace, key: PublicKey) -> Target {
    Target {
        address: place.at.to_string(),
        expect: Expect::Key(key),
        tls: place.tls,
        tls_pin: None,
        found: true,
        pairing: None,
    }
}

impl Mesh {
    /// Takes a record into the book.
    ///
    /// # Errors
    /// [`Error::Rejected`] for an older record than is known; [`Error::WrongKey`] when it contradicts what was shown in a
    /// session.
    pub(super) fn handle_sighting(&mut self, now: Now, sighting: Sighting, by: FoundBy) -> Result<()> {
        let (sign, key, seq) = (*sighting.sign_key(), sighting.rig().key, sighting.record().seq);
        if key == self.identity.public_key() || self.config.dialogue.announcement.sign == Some(sign) {
            return Ok(()); // ourselves
        }
        let (pinned_sign, pinned_key, mut seq_known) = {
            let registry = self.registry.read();
            (registry.sign_key_of(&key), registry.key_of_sign(&sign), registry.record_seq_of(&key))
        };
        let confirmed_key = self.found.rigs.get(&sign).filter(|r| r.confirmed.is_some()).map(|r| r.sighting.rig().key);
        if let Some(pinned) = pinned_sign.filter(|pinned| *pinned != sign) {
            return Err(wrong_key(&Address::of_ed25519(&pinned), &Address::of_ed25519(&sign)));
        }
        if let Some(pinned) = pinned_key.or(confirmed_key).filter(|pinned| *pinned != key) {
            return Err(wrong_key(&pinned, &key));
        }
        seq_known = seq_known.max(self.found.rigs.get(&sign).map_or(0, |rig| rig.sighting.record().seq));
        if seq < seq_known {
            return Err(Refusal::Stale(format!("record {seq}, {seq_known} is known")).into());
        }
        if pinned_sign.is_some() {
            self.registry.write().note_record_seq(&key, seq);
        }
        if let Some(rig) = self.found.rigs.get_mut(&sign) {
            if seq > rig.sighting.record().seq {
                // What it says now deserves a try of its own.
                (rig.sighting, rig.failures, rig.rest_until) = (sighting, 0, now.mono);
            }
            (rig.by, rig.heard) = (by, now.mono);
            return Ok(());
        }
        self.found.make_room();
        let rig = Rig { sighting, by, confirmed: None, heard: now.mono, failures: 0, rest_until: now.mono };
        self.found.rigs.insert(sign, rig);
        self.confirm_by_links(now, sign, key);
        Ok(())
    }

    /// A rig that is connected already may have shown its signing key.
    fn confirm_by_links(&mut self, now: Now, sign: [u8; 32], key: PublicKey) {
        let shown = self.links.iter().any(|(_, link)| link.key == key && link.sign == Some(sign));
        if shown && let Some(rig) = self.found.rigs.get_mut(&sign) {
            rig.confirmed = Some(now.wall);
        }
    }

    /// A peer has shown, in the session in which it proved its key, which signing key is its own.
    pub(super) fn handle_bind(&mut self, now: Now, id: LinkId, sign: [u8; 32]) {
        let Some(link) = self.links.link_mut(id) else { return };
        link.sign = Some(sign);
        let (key, peer) = (link.key, link.peer.clone());
        let pinned = self.registry.write().pin_sign_key(&key, &sign);
        if pinned == Pinned::Other {
            log::warn!(target: "peers", peer = peer.as_str(); "shows another signing key than the one pinned; the pinned one stands");
            return;
        }
        // Records that name this key under another signing key, or another key under this one, have been lying.
        self.found.rigs.retain(|s, rig| (*s == sign) == (rig.sighting.rig().key == key));
        if let Some(rig) = self.found.rigs.get_mut(&sign) {
            (rig.confirmed, rig.failures, rig.rest_until) = (Some(now.wall), 0, now.mono);
            if pinned != Pinned::Nobody {
                let seq = rig.sighting.record().seq;
                self.registry.write().note_record_seq(&key, seq);
            }
        }
    }

    /// The book as it stands; what has ended is left out.
    pub(super) fn found_rigs(&mut self, now: Now) -> Vec<FoundRig> {
        let second = u64::try_from(now.wall.unix_seconds()).unwrap_or(0);
        self.found.rigs.retain(|_, rig| rig.sighting.record().expires_at() >= second);
        let registry = self.registry.read();
        let row = |rig: &Rig| FoundRig {
            address: rig.sighting.address(),
            sign_key: *rig.sighting.sign_key(),
            key: rig.sighting.rig().key,
            places: rig.sighting.rig().places.clone(),
            by: rig.by,
            confirmed: rig.confirmed,
            known: registry.admission(&rig.sighting.rig().key) == Admission::Listed,
            seq: rig.sighting.record().seq,
            expires_at: rig.sighting.record().expires_at(),
        };
        self.found.rigs.values().map(row).collect()
    }
}

fn wrong_key(expected: &dyn std::fmt::Display, got: &dyn std::fmt::Display) -> Error {
    Error::WrongKey { expected: expected.to_string(), got: got.to_string() }
}
