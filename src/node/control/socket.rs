//! Both ends of the control socket in terms of requests.

use super::execute::execute;
use super::{Failure, Request, Summary};
use crate::base::{Error, Result};
use crate::node::Node;
use crate::runtime::control::{ControlConnection, ControlServer, Handler};
use crate::runtime::files::lock::FolderLock;
use crate::runtime::files::paths::Paths;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a folder that another command has taken for a moment is tried again.
const RETRY: Duration = Duration::from_millis(20);

impl Node {
    /// Lets commands of this user on this machine speak to the node: opens
    /// `<data dir>/rigmesh.sock` (mode 0600) until the node ends.
    ///
    /// # Errors
    /// [`Error::Config`] when the path is too long for a socket, [`Error::Io`] when it cannot be made.
    pub fn serve_control(&self) -> Result<()> {
        let paths = self.shared.paths.as_ref().ok_or_else(|| Error::Config("this node has no folder".to_owned()))?;
        let shared = Arc::downgrade(&self.shared);
        let handler: Handler = Arc::new(move |request: Value, each: &mut dyn FnMut(Value)| {
            let done = shared
                .upgrade()
                .ok_or(Error::ShuttingDown)
                .and_then(|shared| execute(&shared, Request::decode(request)?, each));
            match done {
                Ok(summary) => Ok(serde_json::to_value(summary).unwrap_or(Value::Null)),
                Err(e) => Err(serde_json::to_value(Failure::from(e)).unwrap_or_else(|_| json!({}))),
            }
        });
        *self.control_server.lock() = Some(ControlServer::start(&paths.socket(), handler)?);
        Ok(())
    }
}

/// Who has the data folder.
pub enum Owner {
    /// The daemon, which is spoken to.
    Daemon(ControlClient),
    /// We, with this lock: for [`crate::NodeBuilder::folder_lock`].
    Us(FolderLock),
}

/// A command's connection to the daemon of its folder.
pub struct ControlClient {
    connection: ControlConnection,
}

impl ControlClient {
    /// Connects to the daemon of the folder; `None` when none runs.
    ///
    /// # Errors
    /// [`Error::Io`] when there is a socket that this user may not use.
    pub fn open(paths: &Paths) -> Result<Option<ControlClient>> {
        Ok(ControlConnection::open(&paths.socket())?.map(|connection| ControlClient { connection }))
    }

    /// Connects to the daemon, or takes the folder for a node of one's own. While another process has it
    /// and no daemon answers (one that is starting or stopping, or another command), it is tried again
    /// until `patience` is over.
    ///
    /// # Errors
    /// [`Error::Config`] naming the process that keeps the folder; [`Error::Io`] when it cannot be used.
    pub fn open_or_lock(paths: &Paths, patience: Duration) -> Result<Owner> {
        let end = Instant::now() + patience;
        loop {
            if let Some(client) = ControlClient::open(paths)? {
                return Ok(Owner::Daemon(client));
            }
            match FolderLock::take(paths) {
                Ok(lock) => return Ok(Owner::Us(lock)),
                Err(Error::Config(_)) if Instant::now() < end => std::thread::sleep(RETRY),
                Err(e) => return Err(e),
            }
        }
    }

    /// Has the daemon carry out a request, as [`Node::execute`] does.
    ///
    /// # Errors
    /// The daemon's error, or what is wrong with the connection to it.
    pub fn execute(&mut self, request: &Request, each: &mut dyn FnMut(Value)) -> std::result::Result<Summary, Failure> {
        let malformed = |e: serde_json::Error| Failure::from(Error::malformed("answer of the daemon", e.to_string()));
        match self.connection.ask(&request.encode()?, each)? {
            Ok(done) => serde_json::from_value(done).map_err(malformed),
            Err(error) => Err(serde_json::from_value(error).map_err(malformed)?),
        }
    }
}
