//! UEPS packets to rigs, and what came of those that arrived here.

use super::Summary;
use super::executor::{Each, Executor, Tally};
use super::rows::{row, threat_value, with};
use crate::base::{Error, Result, base64_decode_strict};
use crate::node::control::Rigs;
use crate::wire::ueps::Header;
use serde_json::{Value, json};

impl Executor<'_> {
    pub(super) fn send_packet(&self, rigs: &Rigs, header: &Header, payload: &str, each: Each<'_>) -> Result<Summary> {
        let payload = base64_decode_strict("payload", payload)?;
        let asked = self.asked(rigs)?;
        let mut tally = Tally::new(each);
        if asked.own && !rigs.all {
            tally.add(&self.own(), Err(Error::Config("a packet goes to another node, not to this one".to_owned())));
        }
        for (peer, answer) in self.controller.sweep_packet(&asked.peers, header, &payload) {
            tally.add(&self.about(&peer), answer.map(|body| json!({ "answer": body })));
        }
        Ok(tally.summary())
    }

    /// The handlers of this node, what became of packets by intent, and the plain listener.
    pub(super) fn own_packets(&self) -> Value {
        let count = |(intent, counts): (u8, _)| with(row(&counts), "intent", json!(intent));
        let listener = self.shared.ueps.as_ref().map(|listener| {
            let status = listener.status();
            let threats = status.threats.iter().map(|(ip, threat)| with(threat_value(*threat), "address", json!(ip)));
            let threats: Vec<Value> = threats.collect();
            json!({ "address": status.address, "connections": status.connections, "threats": threats })
        });
        json!({
            "handlers": self.shared.intents.handlers(),
            "counts": self.shared.intents.counts().into_iter().map(count).collect::<Vec<_>>(),
            "listener": listener,
        })
    }
}
