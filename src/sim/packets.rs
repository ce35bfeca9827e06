//! What UEPS packets do on a scripted rig.

use super::{Actor, World};
use crate::base::{Error, Result};
use crate::identity::PublicKey;
use crate::mesh::{Answer, Command, IntentHost, Intents, ThreatInfo, register_builtin};
use crate::message::ErrorPayload;
use crate::wire::ueps::Header;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The book of a rig's packets. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Packets {
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    started: Vec<String>,
    held: Option<String>,
}

impl Packets {
    /// Profiles that were started by packets.
    pub fn started(&self) -> Vec<String> {
        self.book.lock().started.clone()
    }

    /// Why the rig's miners are paused, when they are. It is on disk, so a restart changes nothing.
    pub fn held(&self) -> Option<String> {
        self.book.lock().held.clone()
    }

    pub(super) fn hold(&self, why: Option<&str>) {
        self.book.lock().held = why.map(str::to_owned);
    }

    pub(super) fn register(&self, intents: &Intents, works: bool) {
        register_builtin(intents, Arc::new(self.clone()), works);
    }
}

impl IntentHost for Packets {
    fn hello(&self) -> Value {
        json!({ "node": "simulated" })
    }

    fn check_time(&self, _: Option<i64>) -> Result<()> {
        Ok(()) // there are no plain streams here
    }

    fn start_profile(&self, profile: &str) -> Result<String> {
        let mut book = self.book.lock();
        if let Some(why) = &book.held {
            return Err(Error::Failed(format!("all miners of this rig are paused ({why})")));
        }
        book.started.push(profile.to_owned());
        Ok(profile.to_owned())
    }

    fn pause_rig(&self, reason: &str) -> Result<String> {
        self.hold(Some(reason));
        Ok("sim-1".to_owned())
    }
}

impl World {
    /// Sends a packet over the link of two nodes, and runs until its answer.
    ///
    /// # Errors
    /// As the calls of a controller.
    pub fn packet(&mut self, from: &str, to: &str, header: Header, payload: &[u8]) -> Result<Value> {
        let call = self.begin_packet(from, to, header, payload);
        self.packet_answer(call)
    }

    /// The same without letting time pass.
    pub fn begin_packet(&mut self, from: &str, to: &str, header: Header, payload: &[u8]) -> u64 {
        let (peer, payload, timeout) = (self.id(to).to_string(), payload.to_vec(), Duration::from_secs(30));
        self.command(from, |call| Command::Ueps { call, peer, header, payload, id: None, timeout })
    }

    /// Runs until a packet that was begun is answered.
    ///
    /// # Errors
    /// As the calls of a controller.
    pub fn packet_answer(&mut self, call: u64) -> Result<Value> {
        match self.finish(call)? {
            Answer::Intent(answer) => answer.into_result(),
            Answer::Reply { message, .. } => match message.parse::<ErrorPayload>() {
                Ok(error) => Err(Error::Remote { code: error.code, message: error.message }),
                Err(e) => Err(e),
            },
            other => Err(Error::Failed(format!("unexpected {other:?}"))),
        }
    }

    /// The secret that two inhabitants share: what the keys of their link are made of.
    pub fn shared_secret(&self, a: &str, b: &str) -> [u8; 32] {
        let secret = match &self.actors[a] {
            Actor::Node(node) => node.identity.secret().shared_secret(&self.key(b)),
            Actor::Stranger(stranger) => stranger.identity.secret().shared_secret(&self.key(b)),
        };
        *secret.unwrap_or_else(|e| panic!("{e}")).as_bytes()
    }

    /// The handlers of a node's packets.
    pub fn intents(&mut self, name: &str) -> &Intents {
        &self.node_mut(name).intents
    }

    /// Who sent a node forged packets, and how they stand.
    pub fn threats(&mut self, name: &str) -> Vec<(PublicKey, ThreatInfo)> {
        let call = self.command(name, |call| Command::Threats { call });
        match self.finish(call) {
            Ok(Answer::Threats(threats)) => threats,
            _ => Vec::new(),
        }
    }
}
