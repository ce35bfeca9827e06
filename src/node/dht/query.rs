//! Finding things: questions to one node after the other, ever nearer to the key.

use super::{DEFAULT_ALPHA, DEFAULT_STAGGER, Node, unexpected};
use crate::base::Result;
use crate::kad::{Done, Endpoint, Id, Machine, NodeInfo, SignedRecord};
use crate::runtime::kad::Handle;
use std::fmt;
use std::time::Duration;

/// Looks for things through a [`Node`]. Does not keep it running. No lookup takes longer than 15 s, whatever its deadline.
#[derive(Clone)]
pub struct Query {
    /// Kept for programs that look at it; how many are asked at once is in [`super::Policy`].
    pub alpha: usize,
    /// Kept for programs that look at it.
    pub stagger: Duration,
    handle: Handle,
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").finish_non_exhaustive()
    }
}

impl Query {
    /// Looks through this node.
    pub fn new(node: &Node) -> Query {
        Query { alpha: DEFAULT_ALPHA, stagger: DEFAULT_STAGGER, handle: node.handle().clone() }
    }

    fn order(
        &self,
        within: Duration,
        start: impl FnOnce(&mut Machine, crate::base::Now, u64) + Send + 'static,
    ) -> Result<Done> {
        self.handle.order(within, move |machine, now, order| {
            start(machine, now, order);
            Ok(())
        })
    }

    /// The nodes nearest to a point, at most 16, the nearest first: all of them have answered.
    ///
    /// # Errors
    /// [`crate::base::Error::Busy`] when too many lookups are under way, [`crate::base::Error::ShuttingDown`].
    pub fn find_node(&self, target: Id, within: Duration) -> Result<Vec<NodeInfo>> {
        match self.order(within, move |machine, now, order| machine.find_node(now, order, target, within))? {
            Done::Nodes(nodes) => Ok(nodes),
            _ => Err(unexpected()),
        }
    }

    /// Records at a key (type 0 for all), verified and allowed there: those the node holds itself at once, else the first
    /// that are found.
    ///
    /// # Errors
    /// [`crate::base::Error::NotFound`] with [`super::NO_MATCHING_RECORDS`], also when the time is over.
    pub fn find_records(&self, key: Id, rec_type: u8, within: Duration) -> Result<Vec<SignedRecord>> {
        records(self.order(within, move |machine, now, order| machine.find_records(now, order, key, rec_type, within))?)
    }

    /// All records at a key (type 0 for all) that any of the nodes near it have, page by page, and those the node holds
    /// itself; of several versions the newest.
    ///
    /// # Errors
    /// [`crate::base::Error::NotFound`] with [`super::NO_MATCHING_RECORDS`], also when the time is over.
    pub fn aggregate_records(&self, key: Id, rec_type: u8, within: Duration) -> Result<Vec<SignedRecord>> {
        records(
            self.order(within, move |machine, now, order| {
                machine.aggregate_records(now, order, key, rec_type, within)
            })?,
        )
    }

    /// Where an address is reached: the newest endpoint record at its id.
    ///
    /// # Errors
    /// [`crate::base::Error::NotFound`] with [`super::NO_ENDPOINT`].
    pub fn resolve(&self, key: Id, within: Duration) -> Result<Endpoint> {
        match self.order(within, move |machine, now, order| machine.resolve(now, order, key, within))? {
            Done::Endpoint(endpoint) => Ok(*endpoint),
            _ => Err(unexpected()),
        }
    }
}

fn records(done: Done) -> Result<Vec<SignedRecord>> {
    match done {
        Done::Records(records) => Ok(records),
        _ => Err(unexpected()),
    }
}
