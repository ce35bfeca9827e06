//! dht/responder.json: whole exchanges with a node, byte for byte.

use crate::dht_place::{address, id};
use crate::dht_record::record;
use crate::support::{Run, array, bytes, same};
use rigmesh::base::{Now, Rng, Time, Timestamp};
use rigmesh::identity::SignKey;
use rigmesh::kad::{Authority, Machine, NodeInfo, Output, Policy, Source};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where everybody is in the original's memory.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn machine(case: &Value, now: Now) -> Machine {
    let key = SignKey::from_seed(&array(case, "node_seed"));
    let mut machine = Machine::new(key, Policy::reference(), Authority::Anyone, now, Rng::from_number(1));
    for contact in case["contacts_verified"].as_array().into_iter().flatten() {
        let ip = Ipv4Addr::from(array::<4>(contact, "ip"));
        let port = u16::try_from(contact["port"].as_u64().unwrap()).unwrap();
        let (address, node_id) = (address(contact), id(contact, "node_id"));
        machine.add_contact(now, NodeInfo { address, node_id, ip: ip.into(), port });
    }
    for stored in case["stored_records_in_order"].as_array().into_iter().flatten() {
        machine.store_mut().put(now, Some(id(case, "store_key")), record(stored), Source::Own).unwrap();
    }
    while machine.poll_output().is_some() {}
    machine
}

pub(crate) fn exchanges(run: &mut Run<'_>) {
    let now = Now { mono: Time::from_millis(1000), wall: Timestamp::from_unix(1_760_000_000, 0) };
    for (i, case) in run.value().as_array().unwrap().iter().enumerate() {
        let mut machine = machine(case, now);
        for (j, exchange) in case["exchanges_in_order"].as_array().unwrap().iter().enumerate() {
            machine.handle_datagram(now, NOWHERE, &bytes(exchange, "request"));
            let mut sent = Vec::new();
            while let Some(output) = machine.poll_output() {
                if let Output::Send { datagram, .. } = output {
                    sent.push(hex::encode(datagram));
                }
            }
            let expected = vec![exchange["response"].as_str().unwrap().to_owned()];
            run.case(&format!("cases[{i}] exchange {j}"), || same("response", sent, expected));
        }
    }
}
