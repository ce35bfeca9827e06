//! Which rigs a command is for.

use super::Rigs;
use crate::base::{Error, Result};
use crate::identity::Role;
use crate::node::Shared;
use crate::peers::{ID_PREFIX_MIN, Peer};

/// How a command line names the node itself.
pub(super) const SELF: &str = "self";

/// One rig a command is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rig {
    /// This node.
    Own,
    /// A peer, by its id in the registry.
    Peer(String),
}

/// The rigs meant, each once, in the order named. Whoever cannot be found ends the command before
/// anything was done.
pub(super) fn select(shared: &Shared, rigs: &Rigs) -> Result<Vec<Rig>> {
    let mut found = Vec::new();
    for selector in &rigs.named {
        let rig = find(shared, selector)?;
        if !found.contains(&rig) {
            found.push(rig);
        }
    }
    if rigs.all {
        // The command line names rigs or all of them, never both.
        found.clear();
        found.extend(shared.miners.is_some().then_some(Rig::Own));
        let registry = shared.registry.inner().read();
        let works = |peer: &&Peer| matches!(peer.role, Role::Worker | Role::Dual | Role::Other(_));
        let mut peers: Vec<&Peer> = registry.list_peers().filter(works).collect();
        peers.sort_by_key(|peer| peer.label());
        found.extend(peers.into_iter().map(|peer| Rig::Peer(peer.id.clone())));
    }
    if found.is_empty() {
        return Err(Error::NotFound(if rigs.all {
            "no rigs are registered; add one: rigmesh peers add HOST:PORT --key KEY".to_owned()
        } else {
            "name a rig, or use --all".to_owned()
        }));
    }
    Ok(found)
}

fn find(shared: &Shared, selector: &str) -> Result<Rig> {
    let own = shared.identity.info();
    if selector == SELF || selector == own.id {
        return Ok(Rig::Own);
    }
    let resolved = shared.registry.inner().read().resolve(selector);
    let long_enough = selector.chars().count() >= ID_PREFIX_MIN;
    match resolved {
        Ok(id) => Ok(Rig::Peer(id)),
        Err(_) if selector == own.name || (long_enough && own.id.starts_with(selector)) => Ok(Rig::Own),
        Err(e) => Err(e),
    }
}
