//! What every command works with: the handles, the rigs it is for, the rows it gives.

use super::rows::{About, about, outcome_row};
use super::select::{Rig, select};
use super::{Rigs, Summary};
use crate::base::{Error, Result};
use crate::identity::PublicKey;
use crate::miners::ProfileManager;
use crate::node::{Controller, Shared};
use serde_json::Value;
use std::sync::Arc;

/// What a request gives back, row by row.
pub(super) type Each<'a> = &'a mut dyn FnMut(Value);

pub(super) struct Executor<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) controller: Controller,
}

/// The rigs of a command: whether this node is one, and the ids of the others.
pub(super) struct Asked {
    pub(super) own: bool,
    pub(super) peers: Vec<String>,
}

impl Executor<'_> {
    pub(super) fn asked(&self, rigs: &Rigs) -> Result<Asked> {
        let found = select(self.shared, rigs)?;
        let own = found.contains(&Rig::Own);
        let peer = |rig| match rig {
            Rig::Peer(id) => Some(id),
            Rig::Own => None,
        };
        Ok(Asked { own, peers: found.into_iter().filter_map(peer).collect() })
    }

    pub(super) fn about(&self, peer: &str) -> About {
        about(self.shared, &Rig::Peer(peer.to_owned()))
    }

    pub(super) fn own(&self) -> About {
        about(self.shared, &Rig::Own)
    }

    pub(super) fn profile_manager(&self) -> Result<&Arc<dyn ProfileManager>> {
        self.shared.profiles.as_ref().ok_or_else(|| Error::Failed("this node stores no profiles".to_owned()))
    }
}

/// Rows given so far.
pub(super) struct Tally<'a> {
    each: Each<'a>,
    pub(super) summary: Summary,
}

impl<'a> Tally<'a> {
    pub(super) fn new(each: Each<'a>) -> Tally<'a> {
        Tally { each, summary: Summary::default() }
    }

    /// A row that is no result.
    pub(super) fn row(&mut self, row: Value) {
        (self.each)(row);
    }

    pub(super) fn summary(self) -> Summary {
        self.summary
    }

    pub(super) fn add(&mut self, about: &About, outcome: Result<Value>) {
        let (row, failed) = outcome_row(about, outcome);
        self.summary.asked += 1;
        self.summary.failed += usize::from(failed);
        (self.each)(row);
    }

    pub(super) fn fail(&mut self, row: Value) {
        self.summary.asked += 1;
        self.summary.failed += 1;
        (self.each)(row);
    }
}

pub(super) fn parse_key(text: &str) -> Result<PublicKey> {
    PublicKey::from_base64(text).map_err(|e| {
        let shown: String = text.chars().take(64).collect();
        Error::Config(format!("{shown:?} is no public key ({e}); `rigmesh id` shows it over there"))
    })
}
