//! UEPS packets to rigs, over their links.

use super::controller::COMMAND_BYTES;
use super::{Controller, Sweep, unexpected};
use crate::base::{Error, Result};
use crate::identity::PublicKey;
use crate::mesh::{Answer, AuditCommand, Command, ThreatInfo, UEPS1};
use crate::message::{MessageType, validate_response};
use crate::wire::ueps::Header;
use serde_json::Value;
use std::time::Duration;

/// What a handler may take.
const PACKET: Duration = Duration::from_secs(30);
/// How long our own dispatcher has to answer.
const LOCAL: Duration = Duration::from_secs(10);

impl Controller {
    /// Sends a packet to a RigMesh node over its link, keyed for that link, and gives what the handler there said. A node
    /// that is no RigMesh node is sent nothing. The same packet twice is refused as repeated: put a number or a time
    /// into the payload.
    ///
    /// # Errors
    /// [`Error::Config`] when the node takes no packets, [`Error::Remote`] with its words when it refuses, and what
    /// connecting can give.
    pub fn send_packet(&self, rig: &str, header: &Header, payload: &[u8]) -> Result<Value> {
        self.sweep_packet(&[rig.to_owned()], header, payload)
            .pop()
            .map_or(Err(Error::ShuttingDown), |(_, result)| result)
    }

    /// The same to many nodes at once.
    pub fn sweep_packet(&self, rigs: &[String], header: &Header, payload: &[u8]) -> Sweep<Value> {
        let known = self.capable(rigs, UEPS1);
        let change = |(): &()| AuditCommand::packet(header.intent, payload);
        let command = |call, peer, (), id| {
            let payload = payload.to_vec();
            Command::Ueps { call, peer, header: *header, payload, id, timeout: PACKET }
        };
        let bytes = COMMAND_BYTES + payload.len();
        let answers = self.fan_out_commands(rigs, PACKET, bytes, &|rig| known.check(rig), &change, &command);
        let read = |answer| match answer {
            Answer::Intent(answer) => answer.into_result(),
            // A refusal before the handler.
            Answer::Reply { message, .. } => {
                validate_response(Some(&message), &MessageType::UepsReply).and(Err(unexpected(&Answer::Done)))
            }
            other => Err(unexpected(&other)),
        };
        answers.into_iter().map(|(rig, answer)| (rig, answer.and_then(read))).collect()
    }

    /// Keys that sent forged packets over their links, and how they stand.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::ShuttingDown`].
    pub fn threats(&self) -> Result<Vec<(PublicKey, ThreatInfo)>> {
        match self.shared.ask(LOCAL, 0, |call| Command::Threats { call })? {
            Answer::Threats(threats) => Ok(threats),
            other => Err(unexpected(&other)),
        }
    }
}
