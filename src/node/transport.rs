//! Connections and raw messages: the API page's Transport.

use super::{Shared, unexpected};
use crate::base::Result;
use crate::mesh::{Answer, Command, ConnectTo, LinkInfo};
use crate::message::{Message, Payload};
use std::sync::Arc;
use std::time::Duration;

const ANSWER: Duration = Duration::from_secs(10);

/// A node's connections. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    pub(super) shared: Arc<Shared>,
}

impl Transport {
    /// Dials whoever answers at `address`, to learn its key: nothing but pings is sent to a peer met so.
    ///
    /// # Errors
    /// As [`super::Node::connect`].
    pub fn connect_unknown(&self, address: &str) -> Result<LinkInfo> {
        self.shared.connect(ConnectTo::Address(super::uplink::parse_target(address)?))
    }

    /// Sends a message of your own over a peer's active link. `from` and `to` are filled in. What it asks for is recorded by
    /// the rig, and not here: for that take [`super::Controller::exchange`].
    ///
    /// # Errors
    /// [`crate::base::Error::Unreachable`] when it is not connected, [`crate::base::Error::Busy`] when a queue is full.
    pub fn send(&self, peer: &str, message: Message) -> Result<()> {
        let bytes = message.payload.as_str().len() + 256;
        let peer = peer.to_owned();
        self.shared.ask(ANSWER, bytes, |call| Command::Send { call, peer, message }).map(drop)
    }

    /// As [`Transport::send`], without waiting to hear whether there was a link: for streams of messages.
    ///
    /// # Errors
    /// [`crate::base::Error::Busy`] when the queue is full: wait a little and try again.
    pub fn post(&self, peer: &str, message: Message) -> Result<()> {
        let bytes = message.payload.as_str().len() + 256;
        let call = crate::mesh::CallId(u64::MAX);
        self.shared.control.send(Command::Send { call, peer: peer.to_owned(), message }, None, bytes)
    }

    /// Sends a payload to every connected peer except `except`. One queue per peer: a stuck one costs only its own.
    /// Returns to how many it went.
    ///
    /// # Errors
    /// [`crate::base::Error::Busy`] when the queue is full.
    pub fn broadcast(&self, payload: Payload, except: Option<&str>) -> Result<usize> {
        let except = except.map(str::to_owned);
        match self.shared.ask(ANSWER, 1024, |call| Command::Broadcast { call, payload, except })? {
            Answer::Count(n) => Ok(n),
            other => Err(unexpected(&other)),
        }
    }

    /// All links as they stand, older and unproven ones included.
    ///
    /// # Errors
    /// [`crate::base::Error::ShuttingDown`].
    pub fn connections(&self) -> Result<Vec<LinkInfo>> {
        match self.shared.ask(ANSWER, 0, |call| Command::Links { call })? {
            Answer::Links(links) => Ok(links),
            other => Err(unexpected(&other)),
        }
    }

    /// The active link to a peer.
    ///
    /// # Errors
    /// As [`Transport::connections`].
    pub fn connection(&self, peer: &str) -> Result<Option<LinkInfo>> {
        Ok(self.connections()?.into_iter().find(|l| l.active && l.peer.to_string() == peer))
    }

    /// To how many peers there is a proven link.
    ///
    /// # Errors
    /// As [`Transport::connections`].
    pub fn connected_count(&self) -> Result<usize> {
        Ok(self.connections()?.iter().filter(|l| l.active).count())
    }
}
