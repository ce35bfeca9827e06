//! dht/messages.json, dht/messages_negative.json and dht/mailbox.json: datagrams, and what is sealed in them.

use crate::dht_place::address;
use crate::dht_record::{record, record_bytes};
use crate::support::{Outcome, Run, all, array, bytes, same, text, verdict};
use rigmesh::base::Rng;
use rigmesh::identity::{Address, SignKey};
use rigmesh::kad::{
    Envelope, Fault, Header, Mail, Message, NodeInfo, Received, Rules, SignedRecord, Stamp, TxId, encode_datagram,
    encode_observed,
};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

fn read(wire: &[u8], rules: &Rules) -> Result<Received, Fault> {
    Envelope::decode(wire)?.verify(rules)
}

/// A message in the form of the files.
fn shown(message: &Message) -> Value {
    let observed = |addr: &SocketAddr| hex::encode(encode_observed(*addr));
    let ip = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => hex::encode(ip.octets()),
        IpAddr::V6(ip) => hex::encode(ip.octets()),
    };
    let node = |node: &NodeInfo| {
        let (address, node_id) = (hex::encode(node.address.as_bytes()), node.node_id.to_string());
        json!({ "address": address, "node_id": node_id, "ip": ip(&node.ip), "port": node.port })
    };
    let nodes = |nodes: &Option<Vec<NodeInfo>>| nodes.as_ref().map(|nodes| nodes.iter().map(node).collect::<Vec<_>>());
    let record = |record: &SignedRecord| {
        json!({
            "address": hex::encode(record.address.as_bytes()), "rec_type": record.rec_type,
            "payload": hex::encode(record.payload()), "seq": record.seq, "timestamp": record.timestamp,
            "ttl": record.ttl_s, "pubkey": hex::encode(record.pubkey), "signature": hex::encode(record.signature),
            "delegation": hex::encode(&record.delegation),
        })
    };
    match message {
        Message::Ping { address } => json!({ "address": hex::encode(address.as_bytes()) }),
        Message::Pong { address, observed: at } => {
            json!({ "address": hex::encode(address.as_bytes()), "observed_addr": observed(at) })
        }
        Message::FindNode { target } => json!({ "target": target }),
        Message::FindNodeResp { nodes: list, observed: at } => {
            json!({ "nodes": nodes(list), "observed_addr": observed(at) })
        }
        Message::FindValue { target, rec_type } => json!({ "target": target, "rec_type": rec_type }),
        Message::FindValueResp { nodes: list, record: best, observed: at, records } => json!({
            "nodes": nodes(list), "record": best.as_deref().map(record), "observed_addr": observed(at),
            "records": records.iter().map(record).collect::<Vec<_>>(),
        }),
        Message::Store { record: stored, key } => json!({ "record": record(stored), "key": key }),
        Message::StoreResp { stored, .. } => json!({ "stored": stored }),
        Message::NatProbeReq { token, claimed } => {
            json!({ "token": hex::encode(token), "claimed_addr": observed(claimed) })
        }
        Message::NatProbeEcho { token } => json!({ "token": hex::encode(token) }),
    }
}

pub(crate) fn messages(run: &mut Run<'_>) {
    run.each(|case| {
        let (wire, key) = (bytes(case, "wire"), SignKey::from_seed(&array(case, "seed")));
        let ours = read(&wire, &Rules::default()).unwrap();
        let header = Header {
            version: case["version"].as_u64().unwrap() as u8,
            features: case["features"].as_u64().unwrap() as u16,
            tx_id: TxId::from_bytes(array(case, "tx_id")),
        };
        let message = &ours.message;
        all([
            same("body", shown(message), case["body"].clone()),
            same("body's bytes", message.encode_body(), bytes(case, "body_cbor")),
            same("type", u64::from(message.kind()), case["msg_type"].as_u64().unwrap()),
            same("header", ours.header, header),
            same("sender", ours.sender, Address::from_bytes(array(case, "sender_address"))),
            same("sender's key", ours.sender_key, key.public()),
            same("datagram", encode_datagram(&header, message, &key).unwrap(), wire.clone()),
            same("length", wire.len() as u64, case["wire_len"].as_u64().unwrap()),
        ])
    });
}

pub(crate) fn negative(run: &mut Run<'_>) {
    for case in run.value().as_array().unwrap() {
        for (name, rules) in [("", Rules::pinned()), ("; by default", Rules::default())] {
            run.case(&format!("{}{name}", text(case, "note")), || {
                let ours = read(&bytes(case, "wire"), &rules);
                if let ("unknown_msg_type", Err(fault)) = (text(case, "verdict"), &ours) {
                    return same("unknown type", matches!(fault, Fault::UnknownType(_)), true);
                }
                verdict(case["ok"].as_bool().unwrap(), ours, |ours| {
                    all([
                        same("body", shown(&ours.message), case["decoded_body"].clone()),
                        same("sender", ours.sender, Address::from_bytes(array(case, "sender_address"))),
                    ])
                })
            });
        }
    }
}

pub(crate) fn mail(run: &mut Run<'_>) {
    run.each(|case| {
        let (sender, recipient) =
            (SignKey::from_seed(&array(case, "sender_seed")), SignKey::from_seed(&array(case, "recipient_seed")));
        let (from, to) = (Address::of_ed25519(&sender.public()), Address::of_ed25519(&recipient.public()));
        let body = Some(bytes(case, "body")).filter(|_| case["body_is_null"] == false);
        let mail = Mail { msg_type: case["msg_type"].as_u64().unwrap() as u8, body };
        let (ephemeral, nonce) = (array(case, "ephemeral_scalar"), array(case, "nonce"));
        let payload = mail.seal_with(&from, &to, &recipient.public(), &ephemeral, nonce).unwrap();
        let theirs = &case["record"];
        let stamp = Stamp {
            seq: theirs["seq"].as_u64().unwrap(),
            timestamp: theirs["timestamp"].as_u64().unwrap(),
            ttl_s: theirs["ttl"].as_u64().unwrap() as u32,
        };
        let kind = theirs["rec_type"].as_u64().unwrap() as u8;
        let signed = SignedRecord::sign(&sender, kind, payload.clone(), stamp).unwrap();
        let opened = Mail::open(&signed, &to, &recipient).unwrap();
        all([
            same("payload", payload, bytes(case, "payload_cbor")),
            same("record", signed.encode(), bytes(theirs, "record_cbor")),
            same("mail", opened.mail, mail),
            same("sender", (opened.sender, opened.sender_key), (address(theirs), sender.public())),
        ])
    });
}

pub(crate) fn open_verdicts(run: &mut Run<'_>) {
    run.each(|case| {
        assert_eq!(SignedRecord::decode(&record_bytes(&case["record"], false)).as_ref(), Ok(&record(&case["record"])));
        let recipient = SignKey::from_seed(&array(case, "recipient_seed"));
        let ours = Mail::open(&record(&case["record"]), &Address::of_ed25519(&recipient.public()), &recipient);
        verdict(case["ok"].as_bool().unwrap(), ours, |opened| {
            all([
                same("type", u64::from(opened.mail.msg_type), case["msg_type"].as_u64().unwrap()),
                same("body", opened.mail.body.unwrap_or_default(), bytes(case, "body")),
            ])
        })
    });
}

pub(crate) fn max_size(run: &mut Run<'_>) {
    run.each(|case| {
        let key = SignKey::from_seed(&[1; 32]).public();
        let (address, length) = (Address::of_ed25519(&key), case["body_len"].as_u64().unwrap() as usize);
        let mail = Mail { msg_type: 3, body: Some(vec![0; length]) };
        let sealed = mail.seal(&address, &address, &key, &mut Rng::from_number(1));
        verdict(case["ok"].as_bool().unwrap(), sealed, |_| Outcome::Same)
    });
}
