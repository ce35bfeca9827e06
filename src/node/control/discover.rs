//! `discover`, and `peers add` with the address of a rig in the DHT.

use super::execute::check_name;
use super::executor::{Each, Executor};
use super::rows::with;
use super::{Failure, Summary};
use crate::base::{Error, Result};
use crate::identity::{Address, NodeId};
use crate::mesh::{Command, FoundBy};
use crate::node::{CONNECT_MAX, Discovered, Discovery, uplink};
use crate::peers::{Grants, Peer};
use crate::session::Expect;
use serde_json::{Value, json};
use std::time::Duration;

/// No `discover` takes longer.
const DISCOVER_MAX_MS: u64 = 120_000;

impl Executor<'_> {
    pub(super) fn discover(
        &self,
        fleet: Option<String>,
        public: bool,
        timeout_ms: u64,
        each: Each<'_>,
    ) -> Result<Summary> {
        let within = Duration::from_millis(timeout_ms.clamp(1, DISCOVER_MAX_MS));
        let mut found = self.shared.discover(&Discovery { fleet, public, within })?;
        // Own rigs, then strangers, then what did not show itself.
        found.sort_by_key(|rig| (!rig.is_known(), !rig.is_confirmed(), self.name_of(rig), rig.address));
        // That strangers do not show themselves is no failure: anybody may claim anything.
        let known = |rig: &&Discovered| rig.rig.as_ref().is_some_and(|rig| rig.known);
        let failed = found.iter().filter(|rig| rig.why.is_some()).filter(known).count();
        found.iter().for_each(|rig| each(self.found_row(rig)));
        Ok(Summary { asked: found.len(), failed })
    }

    fn name_of(&self, found: &Discovered) -> String {
        let id = found.rig.as_ref().map(|rig| rig.key.node_id().to_string()).unwrap_or_default();
        self.shared.registry.peer(&id).map(|peer: Peer| peer.name).unwrap_or_default()
    }

    fn found_row(&self, found: &Discovered) -> Value {
        let state = match (found.is_known(), found.is_confirmed()) {
            (true, _) => "rig",
            (_, true) => "stranger",
            _ => "unconfirmed",
        };
        let rig = found.rig.as_ref();
        // A name is what our own list says: a record has none.
        let name = if found.is_known() { self.name_of(found) } else { String::new() };
        let row = json!({
            "address": found.address.to_string(),
            "state": state,
            "id": rig.map(|rig| rig.key.node_id().to_string()),
            "name": name,
            "key": rig.map(|rig| rig.key.to_base64()),
            "places": rig.map(|rig| rig.places.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap_or_default(),
            "by": rig.map(|rig| told_by(&rig.by)),
            "confirmed": rig.and_then(|rig| rig.confirmed),
        });
        match &found.why {
            Some(why) => with(row, "error", json!(Failure::from(why.clone()))),
            None => row,
        }
    }

    /// The person names the hash of the rig's signing key, and the rig shows in the session that it is its own: nothing else
    /// needs to be compared.
    pub(super) fn peers_add_found(
        &self,
        address: &Address,
        key: Option<&str>,
        name: Option<&str>,
        grant: Option<&str>,
        each: Each<'_>,
    ) -> Result<Summary> {
        let grants: Option<Grants> = grant.map(str::parse).transpose()?;
        check_name(name)?;
        let expected = match key.map(uplink::parse_expect).transpose()? {
            Some(Expect::Key(key)) => Some(key),
            Some(_) => return Err(Error::Config("with a DHT address --key takes the whole key".to_owned())),
            None => None,
        };
        let info = self.shared.connect_found(address, expected.as_ref(), CONNECT_MAX)?;
        self.refuse_own(info.peer)?;
        if let Some(grants) = grants {
            self.allow(&info.key, grants)?;
        }
        let tls = info.certificate.map(Some);
        let place = if info.dialled { info.address.as_str() } else { "" };
        self.add_by_hand(info.peer, Some(info.key), name, place, tls)?;
        self.pin(info.peer, &info.key, address)?;
        self.shared.control.send(Command::AccessChanged, None, 0)?;
        self.row_of(info.peer, each)
    }

    /// The signing key that the session has shown.
    fn pin(&self, id: NodeId, key: &crate::identity::PublicKey, address: &Address) -> Result<()> {
        let rig = self.shared.found()?.into_iter().find(|rig| rig.address == *address && rig.key == *key);
        let shown = rig.map(|rig| (rig.sign_key, rig.seq));
        let Some((sign, seq)) = shown else { return Ok(()) };
        let mut extra = self.shared.registry.extra(&id.to_string()).unwrap_or_default();
        extra.sign_key = Some(crate::base::base64_encode(&sign));
        extra.record_seq = extra.record_seq.max(seq);
        self.shared.registry.set_extra(&id.to_string(), extra)
    }
}

fn told_by(by: &FoundBy) -> String {
    match by {
        FoundBy::Dht => "dht".to_owned(),
        FoundBy::Lan => "lan".to_owned(),
        FoundBy::Peer(id) => format!("peer {id}"),
    }
}
