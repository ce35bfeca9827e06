//! The machine against peers that a test plays by hand: each test one rule.

use super::*;
use crate::base::{Error, Timestamp};
use crate::kad::{DATAGRAM_BYTES_MAX, EndpointPayload, Header, PutError, Stamp, TopicPayload, rec_type};

/// A node, and somebody who speaks to it.
struct Table2 {
    node: Machine,
    now: Now,
    rng: Rng,
}

fn now() -> Now {
    Now { mono: Time::from_millis(1000), wall: Timestamp::from_unix(1_800_000_000, 0) }
}

fn place(n: u8) -> SocketAddr {
    ([30, n, 0, 1], 4121).into()
}

fn start() -> Table2 {
    start_with(Policy::default())
}

fn start_with(policy: Policy) -> Table2 {
    let mut rng = Rng::from_number(3);
    let node = Machine::new(SignKey::generate(&mut rng), policy, Authority::BuiltIn, now(), rng.fork());
    Table2 { node, now: now(), rng }
}

impl Table2 {
    fn key(&mut self) -> SignKey {
        SignKey::generate(&mut self.rng)
    }

    /// What the node sends, decoded.
    fn sent(&mut self) -> Vec<(SocketAddr, Received, usize)> {
        let mut sent = Vec::new();
        while let Some(output) = self.node.poll_output() {
            if let Output::Send { to, datagram } = output {
                let received = Envelope::decode(&datagram).unwrap().verify(&super::super::Rules::default()).unwrap();
                sent.push((to, received, datagram.len()));
            }
        }
        sent
    }

    fn done(&mut self) -> Vec<(u64, Result<Done>)> {
        let mut done = Vec::new();
        while let Some(output) = self.node.poll_output() {
            if let Output::Done { order, result } = output {
                done.push((order, result));
            }
        }
        done
    }

    /// A datagram of this key's; its length.
    fn say(&mut self, key: &SignKey, from: SocketAddr, transaction: TxId, message: &Message) -> usize {
        let datagram = encode_datagram(&Header::new(transaction), message, key).unwrap();
        self.node.handle_datagram(self.now, from, &datagram);
        datagram.len()
    }

    fn ask(&mut self, key: &SignKey, from: SocketAddr, message: &Message) -> usize {
        let transaction = TxId::random(&mut self.rng);
        self.say(key, from, transaction, message)
    }

    /// Answers the node's pings to this place.
    fn pong(&mut self, key: &SignKey, at: SocketAddr, sent: &[(SocketAddr, Received, usize)]) {
        for (_, received, _) in sent.iter().filter(|(to, r, _)| *to == at && matches!(r.message, Message::Ping { .. }))
        {
            let pong = Message::Pong { address: Address::of_ed25519(&key.public()), observed: place(0) };
            self.say(key, at, received.header.tx_id, &pong);
        }
    }

    /// A peer that has answered the node.
    fn friend(&mut self, n: u8) -> (SignKey, SocketAddr) {
        let (key, at) = (self.key(), place(n));
        self.node.ping(self.now, 1000 + u64::from(n), at, Duration::from_secs(5));
        let sent = self.sent();
        self.pong(&key, at, &sent);
        self.sent();
        (key, at)
    }

    fn elapse(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.node.handle_timeout(self.now);
    }
}

fn record(key: &SignKey, seq: u64) -> SignedRecord {
    let payload = EndpointPayload { endpoints: Some(vec!["ws://192.0.2.1:1/ws".into()]), ..Default::default() };
    let stamp = Stamp { seq, timestamp: 1_799_999_995, ttl_s: 3600 };
    SignedRecord::sign(key, rec_type::ENDPOINT, payload.encode().unwrap(), stamp).unwrap()
}

fn store(record: &SignedRecord) -> Message {
    Message::Store { record: Box::new(record.clone()), key: None }
}

// Issue: "return-path cap (3x the request) until then".
#[test]
fn who_has_not_shown_where_it_is_gets_three_times_what_it_sent_and_later_all() {
    let mut t = start();
    for n in 1..=16 {
        t.friend(n);
    }
    let (key, at, find) = (t.key(), place(99), Message::FindNode { target: Id::ZERO });
    let asked = t.ask(&key, at, &find);
    let sent = t.sent();
    let answer = sent.iter().find(|(_, r, _)| matches!(r.message, Message::FindNodeResp { .. })).unwrap();
    assert!(answer.2 <= 3 * asked, "{} for {asked}", answer.2);
    t.pong(&key, at, &sent);
    t.ask(&key, at, &find);
    let sent = t.sent();
    let Message::FindNodeResp { nodes, .. } = &sent[0].1.message else { panic!("{sent:?}") };
    assert!(nodes.as_ref().unwrap().len() > 10 && sent[0].2 > 3 * asked);
}

// Issue: "a source counts as verified only after its own answer".
#[test]
fn a_record_of_a_stranger_is_kept_when_the_stranger_has_answered_and_not_before() {
    let mut t = start();
    let (key, at) = (t.key(), place(1));
    t.ask(&key, at, &store(&record(&key, 1)));
    let sent = t.sent();
    assert!(sent.iter().all(|(_, r, _)| matches!(r.message, Message::Ping { .. })), "{sent:?}");
    assert!(t.node.store().is_empty() && !t.node.table().iter().any(|(_, e)| e.is_verified()));
    // Somebody else answers from there: that is not who asked.
    let other = t.key();
    t.pong(&other, at, &sent);
    assert!(t.node.store().is_empty());
    t.elapse(Duration::from_secs(10));
    t.ask(&key, at, &store(&record(&key, 1)));
    let sent = t.sent();
    t.pong(&key, at, &sent);
    assert_eq!(t.node.store().len(), 1);
    let stored =
        t.sent().into_iter().any(|(_, r, _)| r.message == Message::StoreResp { stored: true, already_had: false });
    assert!(stored);
}

#[test]
fn what_strangers_want_kept_who_never_answer_is_bounded_and_forgotten() {
    let mut t = start();
    for n in 0..200 {
        let (key, at) = (t.key(), place(n));
        for seq in 0..20 {
            t.ask(&key, at, &store(&record(&key, seq)));
        }
    }
    assert!(t.node.waiting.len() > 100 && t.node.waiting.len() <= 256 + 128, "{}", t.node.waiting.len());
    for _ in 0..4 {
        t.elapse(Duration::from_secs(16));
    }
    assert_eq!((t.node.waiting.len(), t.node.store().len()), (0, 0));
}

// Issue: "answers matched on the peer asked".
#[test]
fn an_answer_of_another_identity_or_from_another_place_is_none() {
    let mut t = start();
    let (friend, at) = t.friend(1);
    let liar = t.key();
    t.node.find_node(t.now, 1, Id::ZERO, Duration::from_secs(10));
    let sent = t.sent();
    let (_, question, _) = &sent[0];
    let lie = Message::FindNodeResp { nodes: None, observed: place(0) };
    t.say(&friend, place(2), question.header.tx_id, &lie);
    assert_eq!(t.node.counters().unasked, 1);
    t.say(&liar, at, question.header.tx_id, &lie);
    assert!(t.node.table().entry(&Id::of_address(&Address::of_ed25519(&liar.public()))).is_none());
    let [(1, Ok(Done::Nodes(nodes)))] = &t.done()[..] else { panic!("no end") };
    assert!(nodes.is_empty());
}

// Issue: "id bound to address everywhere".
#[test]
fn named_nodes_whose_id_is_not_their_addresss_are_nobody() {
    let mut t = start();
    let (friend, at) = t.friend(1);
    t.node.find_node(t.now, 1, Id::ZERO, Duration::from_secs(10));
    let question = t.sent().remove(0).1;
    let mut forged = NodeInfo::new(Address::of_ed25519(&t.key().public()), place(7));
    forged.node_id = Id::from_bytes([1; 32]);
    let private = NodeInfo::new(Address::of_ed25519(&t.key().public()), ([127, 0, 0, 1], 22).into());
    let nodes = Some(vec![forged.clone(), private.clone()]);
    t.say(&friend, at, question.header.tx_id, &Message::FindNodeResp { nodes, observed: place(0) });
    assert!(t.node.table().entry(&forged.node_id).is_none());
    assert!(t.node.table().entry(&private.node_id).is_none(), "a public peer cannot point into our machine");
}

// Issue: "per-source token bucket before signature checks".
#[test]
fn a_flood_is_dropped_unread_and_the_others_are_served() {
    let mut t = start();
    let (loud, quiet) = (t.key(), t.key());
    let ping = |key: &SignKey| Message::Ping { address: Address::of_ed25519(&key.public()) };
    for _ in 0..2000 {
        t.ask(&loud, place(1), &ping(&loud));
    }
    let counters = t.node.counters();
    assert!(counters.limited >= 1500 && counters.received <= 500, "{counters:?}");
    t.sent();
    t.ask(&quiet, place(2), &ping(&quiet));
    assert!(t.sent().iter().any(|(to, r, _)| *to == place(2) && matches!(r.message, Message::Pong { .. })));
}

// dht-weaknesses.md §1 item 2: what does not fit one answer comes with the next.
#[test]
fn who_asks_again_sees_all_records_of_a_topic() {
    let mut t = start();
    let (friend, at) = t.friend(1);
    let topic = Id::of_topic("rigmesh/test");
    for _ in 0..40 {
        let key = t.key();
        let payload = TopicPayload { topic: "rigmesh/test".into(), name: "rig".into(), ..Default::default() };
        let stamp = Stamp { seq: 1, timestamp: 1_799_999_995, ttl_s: 3600 };
        let record = SignedRecord::sign(&key, rec_type::TOPIC, payload.encode().unwrap(), stamp).unwrap();
        t.node.store_mut().put(t.now, Some(topic), record, super::super::Source::Own).unwrap();
    }
    let mut found = std::collections::BTreeSet::new();
    for _ in 0..200 {
        t.ask(&friend, at, &Message::FindValue { target: topic, rec_type: rec_type::TOPIC });
        for (_, received, bytes) in t.sent() {
            assert!(bytes <= DATAGRAM_BYTES_MAX);
            let Message::FindValueResp { records, .. } = received.message else { continue };
            found.extend(records.into_iter().map(|record| record.pubkey));
        }
        t.now = t.now.after(Duration::from_millis(20));
    }
    assert_eq!(found.len(), 40);
}

// dht-weaknesses.md §1 item 3.
#[test]
fn a_large_endpoint_record_is_served() {
    let mut t = start();
    let (friend, at) = t.friend(1);
    let payload = EndpointPayload { endpoints: Some(vec!["x".repeat(600)]), ..Default::default() };
    let stamp = Stamp { seq: 1, timestamp: 1_799_999_995, ttl_s: 3600 };
    let record = SignedRecord::sign(&friend, rec_type::ENDPOINT, payload.encode().unwrap(), stamp).unwrap();
    t.ask(&friend, at, &store(&record));
    t.sent();
    t.ask(&friend, at, &Message::FindValue { target: record.default_key(), rec_type: rec_type::ENDPOINT });
    let served = t
        .sent()
        .into_iter()
        .any(|(_, r, _)| matches!(r.message, Message::FindValueResp { records, .. } if records == [record.clone()]));
    assert!(served);
}

// dht-weaknesses.md §1 items 6 and 7.
#[test]
fn a_refusal_is_no_copy_and_a_newer_record_goes_out_after_the_run() {
    let mut t = start();
    let (friend, at) = t.friend(1);
    let own = t.key();
    t.node.publish(t.now, Some(1), Id::ZERO, record(&own, 1)).unwrap();
    let mut stores = Vec::new();
    for _ in 0..6 {
        for (to, received, _) in t.sent() {
            assert_eq!(to, at);
            let answer = match &received.message {
                Message::FindNode { .. } => Message::FindNodeResp { nodes: None, observed: place(0) },
                Message::FindValue { .. } => {
                    Message::FindValueResp { nodes: None, record: None, observed: place(0), records: Vec::new() }
                }
                Message::Store { record: sent, .. } => {
                    stores.push(sent.seq);
                    if stores == [1] {
                        t.node.publish(t.now, None, Id::ZERO, record(&own, 2)).unwrap();
                    }
                    Message::StoreResp { stored: false, already_had: false }
                }
                _ => continue,
            };
            t.say(&friend, at, received.header.tx_id, &answer);
        }
    }
    assert_eq!(stores, [1, 2]);
    assert_eq!(t.node.copies(&record(&own, 2).default_key(), &record(&own, 2)), Some(0));
    assert_eq!(t.node.publish(t.now, None, Id::ZERO, record(&own, 1)), Err(PutError::Stale));
}

#[test]
fn a_nat_echo_goes_to_public_claims_of_the_asker_and_three_times_in_ten_seconds() {
    let mut t = start();
    let (friend, at) = t.friend(1);
    let claim = |ip: [u8; 4]| Message::NatProbeReq { token: [7; 8], claimed: (ip, 9).into() };
    let echoes = |t: &mut Table2, claim: Message| {
        t.ask(&friend, at, &claim);
        t.sent().into_iter().filter(|(_, r, _)| matches!(r.message, Message::NatProbeEcho { .. })).count()
    };
    assert_eq!(echoes(&mut t, claim([30, 9, 0, 1])), 0, "another's address");
    assert_eq!((0..5).map(|_| echoes(&mut t, claim([30, 1, 0, 1]))).sum::<usize>(), 3);
    t.now = t.now.after(Duration::from_secs(11));
    assert_eq!(echoes(&mut t, claim([30, 1, 0, 1])), 1);
    t.node.nat_probe(t.now, 5, at, place(44), Duration::from_secs(2));
    let Message::NatProbeReq { token, .. } = t.sent().remove(0).1.message else { panic!() };
    let (stranger, from) = (t.key(), place(3));
    t.ask(&stranger, from, &Message::NatProbeEcho { token });
    assert!(t.done().contains(&(5, Ok(Done::Echo(true)))));
    t.node.nat_probe(t.now, 6, at, place(44), Duration::from_secs(2));
    t.sent();
    t.elapse(Duration::from_secs(3));
    assert!(t.done().contains(&(6, Ok(Done::Echo(false)))));
}

#[test]
fn peers_behind_our_own_address_are_not_asked_and_a_passive_node_looks_for_nobody() {
    let mut t = start();
    t.node.set_external_ip(Some([30, 50, 0, 1].into()), 4121);
    let (friend, at) = t.friend(1);
    t.node.find_node(t.now, 1, Id::ZERO, Duration::from_secs(10));
    let question = t.sent().remove(0).1;
    let hairpin = NodeInfo::new(Address::of_ed25519(&t.key().public()), ([30, 50, 0, 1], 5000).into());
    let nodes = Some(vec![hairpin.clone()]);
    t.say(&friend, at, question.header.tx_id, &Message::FindNodeResp { nodes, observed: place(0) });
    assert!(t.sent().is_empty() && t.node.table().entry(&hairpin.node_id).is_none());
    t.node.set_passive(true);
    for _ in 0..10 {
        t.elapse(Duration::from_secs(16));
        let found = t.sent().into_iter().any(|(_, r, _)| matches!(r.message, Message::FindNode { .. }));
        assert!(!found);
    }
}

#[test]
fn seeds_that_are_all_silent_are_an_error_and_no_seeds_are_fine() {
    let mut t = start();
    t.node.join(t.now, 1, &[place(1), place(2)]);
    assert_eq!(t.sent().len(), 2);
    t.elapse(Duration::from_secs(11));
    t.elapse(Duration::from_secs(11));
    let done = t.done();
    let [(1, Err(Error::Unreachable(why)))] = &done[..] else { panic!("{done:?}") };
    assert_eq!(why, "dht: all bootstrap seeds unreachable");
    t.node.join(t.now, 2, &[]);
    assert_eq!(t.done(), [(2, Ok(Done::Joined(0)))]);
}
