//! Whoever is not the person with the code: guessing, spoiling, posing as the rig, replaying, coming second
//! (secure-session.md §3). Over real sockets.

use super::real::from;
use rigmesh::base::{Error, Now, Refusal, Rng, Time, Timestamp};
use rigmesh::identity::{Identity, Role};
use rigmesh::message::{HandshakeAck, Message, Paired, Payload, StartMiner};
use rigmesh::peers::{CodeKind, Grants, PairCode, PairLink, PairState};
use rigmesh::session::pairing::{Joining, open_paired, seal_paired};
use rigmesh::session::secure::Statement;
use rigmesh::session::{Challenges, Dialled, Established, Expect, Initiator, Known, LinkKeys, Security};
use rigmesh::{Config, Node};
use std::net::TcpStream;
use std::time::Duration;
use tungstenite::{Message as WsMessage, WebSocket};

const TEN_MINUTES: Duration = Duration::from_secs(600);

/// A rig that shows a code, and an owner that has never heard of it.
struct Farm {
    rig: Node,
    owner: Node,
    link: PairLink,
    at: String,
    folder: tempfile::TempDir,
}

fn farm(config: Config) -> Farm {
    let folder = tempfile::tempdir().unwrap();
    let rig = Node::builder().data_dir(folder.path().join("rig")).config(config).listen("127.0.0.1:0").start().unwrap();
    let owner = Node::builder().data_dir(folder.path().join("owner")).start().unwrap();
    let link = rig.pairing().show(Grants::CONTROLLER, TEN_MINUTES, &[]).unwrap();
    let at = rig.loopback_address().unwrap();
    Farm { rig, owner, link, at, folder }
}

impl Farm {
    /// The owner, who has the code, is not kept out by anything that was done.
    fn pairs(&self) {
        let paired = self.owner.pairing().join(&self.link, None).unwrap();
        assert_eq!((paired.peer, paired.granted.len()), (self.rig.id(), 3));
        assert!(self.owner.controller().ping(&paired.peer.to_string()).is_ok());
    }

    /// Whom the rig lets command it.
    fn commanding(&self) -> usize {
        let all = self.rig.peers().allowed_public_keys();
        all.iter().filter(|key| !self.rig.peers().grants(&key.parse().unwrap()).is_empty()).count()
    }
}

fn now() -> Now {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Now { mono: Time::ZERO, wall: Timestamp::from_unix(since.as_secs() as i64, 0) }
}

/// Somebody who does the handshake by hand.
struct Hand {
    own: Identity,
    security: Security,
    rng: Rng,
    ws: WebSocket<TcpStream>,
}

/// As far as a handshake by hand came.
enum Came {
    Refused(String),
    /// The third message is sent; these are the keys, if the code was right.
    Proved(Box<Established>, LinkKeys),
}

impl Hand {
    /// A node with the keys of `n`, at another address of this machine.
    fn new(n: u64, last: u8, at: &str) -> Hand {
        let mut rng = Rng::from_number(n);
        let own = Identity::generate("hand", Role::Controller, Timestamp::ZERO, &mut rng).unwrap();
        let statement = Box::new(Statement::new(&own, Vec::new(), 1 << 20));
        let stream = from(last, at);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (ws, _) = tungstenite::client(format!("ws://{at}/ws"), stream).unwrap();
        Hand { own, security: Security::On { statement, required: true }, rng: rng.fork(), ws }
    }

    /// The first message with this code; `change` may do something to its text.
    fn begin(&mut self, code: &PairCode, enrol: bool, change: impl Fn(String) -> String) -> Initiator {
        let want = vec!["observe".to_owned(), "operate".to_owned(), "manage".to_owned(), "fly".to_owned()];
        let joining = Joining { psk: code.psk().into(), want, enrol };
        let (security, expect) = (&self.security, Expect::Anyone);
        let started =
            Initiator::start(&self.own, expect, security, Some(&joining), now(), &mut self.rng, &mut Challenges::new());
        let (initiator, first) = started.unwrap();
        self.ws.send(WsMessage::text(change(String::from_utf8(first).unwrap()))).unwrap();
        initiator
    }

    /// Reads the answer.
    fn ack(&mut self) -> String {
        let WsMessage::Text(ack) = self.ws.read().unwrap() else { panic!("no ack") };
        ack.as_str().to_owned()
    }

    /// Reads the answer and sends the third message.
    fn prove(&mut self, initiator: Initiator) -> Came {
        let ack = self.ack();
        self.prove_by(initiator, &ack)
    }

    fn prove_by(&mut self, initiator: Initiator, ack: &str) -> Came {
        match initiator.handle_ack(&self.own, &self.security, ack.as_bytes(), |_| Known::default()) {
            Ok(Dialled { established, keys, proof }) => {
                self.ws.send(WsMessage::binary(proof.unwrap())).unwrap();
                Came::Proved(established, keys)
            }
            Err(why) => Came::Refused(why.to_string()),
        }
    }

    fn shake(&mut self, code: &PairCode, enrol: bool) -> Came {
        let initiator = self.begin(code, enrol, |text| text);
        self.prove(initiator)
    }

    /// The next frame; `None`: the connection was closed without a word.
    fn frame(&mut self) -> Option<Vec<u8>> {
        match self.ws.read() {
            Ok(WsMessage::Binary(frame)) => Some(frame.to_vec()),
            _ => None,
        }
    }
}

fn wrong(n: u64) -> PairCode {
    PairCode::draw(CodeKind::Pair, &mut Rng::from_number(n))
}

#[test]
fn a_wrong_code_learns_nothing_gets_nothing_and_uses_up_nothing() {
    let farm = farm(Config::default());
    let mut hand = Hand::new(1, 2, &farm.at);
    assert!(matches!(hand.shake(&wrong(1), false), Came::Proved(..)));
    assert!(hand.frame().is_none(), "closed without a word");
    assert_eq!(farm.rig.pairing().state().1, 1, "it was counted");
    assert_eq!(farm.rig.peers().allowed_public_keys().len(), 0);
    farm.pairs();
}

#[test]
fn guesses_are_few_per_address_and_two_hundred_in_all() {
    let farm = farm(Config { handshakes_per_s: 1000, ..Config::default() });
    let guess = |n: u64, last: u8| Hand::new(n, last, &farm.at).shake_out(&wrong(n)).unwrap_or_default();
    for n in 0..20 {
        assert_eq!(guess(n, 2), "", "{n}");
    }
    assert!(guess(20, 2).contains("too many attempts"));
    // From another address the owner is not kept out: that needs two hundred.
    for n in 0..179 {
        assert_eq!(guess(100 + n, 3 + (n / 20) as u8), "", "{n}");
    }
    assert_eq!(farm.rig.pairing().state().1, 199);
    assert!(matches!(farm.rig.pairing().state().0, PairState::Waiting(_)));
    assert_eq!(guess(900, 100), "");
    assert_eq!(farm.rig.pairing().state(), (PairState::Withdrawn, 200));
    let told = farm.owner.pairing().join(&farm.link, None).unwrap_err();
    assert_eq!(told, Error::Rejected(Refusal::Pairing("not pairing".into())));
    assert_eq!(farm.rig.peers().allowed_public_keys().len(), 0);
}

impl Hand {
    /// A whole attempt with a code; the reason in clear if there was one.
    fn shake_out(mut self, code: &PairCode) -> Option<String> {
        match self.shake(code, false) {
            Came::Refused(why) => Some(why),
            Came::Proved(..) => {
                assert!(self.frame().is_none());
                None
            }
        }
    }
}

#[test]
fn who_poses_as_the_rig_does_not_know_the_code_and_is_not_believed() {
    let farm = farm(Config::default());
    let fake = Node::builder().data_dir(farm.folder.path().join("fake")).listen("127.0.0.1:0").start().unwrap();
    fake.pairing().show(Grants::CONTROLLER, TEN_MINUTES, &[]).unwrap();
    // The right code, typed with an address behind which somebody else answers.
    let at = fake.loopback_address().unwrap();
    let told = farm.owner.pairing().join_at(farm.link.code.as_str(), &at, None).unwrap_err();
    assert!(matches!(told, Error::Rejected(Refusal::Pairing(_))), "{told}");
    assert!(farm.owner.peers().list_peers().is_empty() && farm.owner.peers().allowed_public_keys().is_empty());
    assert!(fake.peers().allowed_public_keys().is_empty());
    // With the link there is not even a third message.
    let lured = PairLink { addresses: vec![at], ..farm.link.clone() };
    assert!(matches!(farm.owner.pairing().join(&lured, None), Err(Error::WrongKey { .. })));
    farm.pairs();
}

#[test]
fn a_code_is_the_first_ones_and_nobody_elses() {
    let farm = farm(Config::default());
    farm.pairs();
    let told = Hand::new(1, 2, &farm.at).shake_out(&farm.link.code).unwrap();
    assert!(told.contains("code already used"), "{told}");
    assert_eq!(farm.commanding(), 1);
    // The same key may come again, as when its answer was lost on the way.
    farm.owner.controller().disconnect(&farm.rig.id().to_string()).unwrap();
    farm.pairs();
}

#[test]
fn of_two_that_come_at_once_with_the_right_code_one_is_taken() {
    let farm = farm(Config::default());
    let (mut a, mut b) = (Hand::new(1, 2, &farm.at), Hand::new(2, 3, &farm.at));
    let (first, second) = (a.begin(&farm.link.code, false, |t| t), b.begin(&farm.link.code, false, |t| t));
    // Both are half open before either proves itself.
    let (to_a, to_b) = (a.ack(), b.ack());
    assert!(matches!(a.prove_by(first, &to_a), Came::Proved(..)));
    assert!(matches!(b.prove_by(second, &to_b), Came::Proved(..)));
    let told = [a.frame().is_some(), b.frame().is_some()];
    assert_eq!(told.iter().filter(|told| **told).count(), 1, "{told:?}");
    assert_eq!(farm.commanding(), 1);
}

#[test]
fn a_revoked_key_is_refused_with_the_right_code() {
    let farm = farm(Config::default());
    farm.rig.peers().revoke(&farm.owner.identity().public_key()).unwrap();
    let told = farm.owner.pairing().join(&farm.link, None).unwrap_err();
    assert_eq!(told, Error::Rejected(Refusal::Pairing("peer not authorized".into())));
    assert!(farm.owner.peers().allowed_public_keys().is_empty());
}

#[test]
fn without_a_code_nobody_gets_any_curve_work() {
    let farm = farm(Config::default());
    farm.rig.pairing().hide();
    let mut hand = Hand::new(1, 2, &farm.at);
    hand.begin(&farm.link.code, false, |text| text);
    let WsMessage::Text(ack) = hand.ws.read().unwrap() else { panic!("no ack") };
    let ack: HandshakeAck = Message::decode(ack.as_bytes()).unwrap().parse().unwrap();
    assert_eq!((ack.accepted, ack.reason.as_str(), ack.secure), (false, "not pairing", None));
}

#[test]
fn a_pairing_does_not_become_an_ordinary_session_on_the_way_nor_the_reverse() {
    let farm = farm(Config::default());
    for (from, to) in
        [(r#""pair":true,"#, ""), (r#""pair":true"#, r#""pair":true,"enrol":true"#), (r#""v":[1]"#, r#""v":[2]"#)]
    {
        let mut hand = Hand::new(1, 2, &farm.at);
        let initiator = hand.begin(&farm.link.code, false, |text| {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            changed
        });
        assert!(matches!(hand.prove(initiator), Came::Refused(_)), "{from} to {to}");
    }
    // And who is paired already cannot be brought to pair again by adding the word.
    farm.pairs();
    assert_eq!(farm.commanding(), 1);
}

#[test]
fn what_was_recorded_of_a_pairing_pairs_nobody_later() {
    let farm = farm(Config::default());
    let mut hand = Hand::new(1, 2, &farm.at);
    let joining = Joining { psk: farm.link.code.psk().into(), want: Vec::new(), enrol: false };
    let started = Initiator::start(
        &hand.own,
        Expect::Anyone,
        &hand.security,
        Some(&joining),
        now(),
        &mut hand.rng,
        &mut Challenges::new(),
    );
    let (initiator, first) = started.unwrap();
    let first = String::from_utf8(first).unwrap();
    hand.ws.send(WsMessage::text(first.clone())).unwrap();
    let WsMessage::Text(ack) = hand.ws.read().unwrap() else { panic!("no ack") };
    let dialled = initiator.handle_ack(&hand.own, &hand.security, ack.as_bytes(), |_| Known::default()).unwrap();
    let third = dialled.proof.unwrap();
    hand.ws.send(WsMessage::binary(third.clone())).unwrap();
    assert!(hand.frame().is_some());
    // The rig's owner withdraws that key, and shows another code.
    farm.rig.peers().revoke(&hand.own.public_key()).unwrap();
    farm.rig.peers().allow(&hand.own.public_key(), Grants::NONE, "test").unwrap();
    farm.rig.pairing().show(Grants::CONTROLLER, TEN_MINUTES, &[]).unwrap();
    let mut replay = Hand::new(9, 3, &farm.at);
    replay.ws.send(WsMessage::text(first)).unwrap();
    assert!(matches!(replay.ws.read(), Ok(WsMessage::Text(_))));
    replay.ws.send(WsMessage::binary(third)).unwrap();
    assert!(replay.frame().is_none());
    assert_eq!(farm.commanding(), 0);
}

#[test]
fn before_both_have_saved_each_other_nothing_else_is_taken() {
    let farm = farm(Config::default());
    let mut hand = Hand::new(1, 2, &farm.at);
    let Came::Proved(established, mut keys) = hand.shake(&farm.link.code, false) else { panic!() };
    let mut told = hand.frame().unwrap();
    let paired: Paired = open_paired(&mut keys, &mut told).unwrap();
    assert_eq!(paired.granted, ["observe", "operate"], "what it asked for and was offered, no more");
    // Instead of the last message, a command.
    let LinkKeys::Secure { send, .. } = &mut keys else { panic!() };
    let start = Payload::StartMiner(StartMiner { miner_type: "hasher".to_owned(), ..StartMiner::default() });
    let message = Message::new(now(), &mut hand.rng, &hand.own.id().to_string(), &established.id.to_string(), &start);
    let mut frame = [&[1, 0], message.encode().as_bytes()].concat();
    send.seal(&mut frame, 0).unwrap();
    hand.ws.send(WsMessage::binary(frame)).unwrap();
    assert!(hand.frame().is_none(), "it was answered");
    assert!(farm.rig.transport().connections().unwrap().is_empty());
    // It had the code, so it is saved, and may finish another time.
    let mut again = Hand::new(1, 2, &farm.at);
    let Came::Proved(established, mut keys) = again.shake(&farm.link.code, false) else { panic!() };
    open_paired(&mut keys, &mut again.frame().unwrap()).unwrap();
    let (own, peer) = (again.own.id(), established.id);
    let last = seal_paired(&mut keys, now(), &mut again.rng, own, peer, Vec::new()).unwrap();
    again.ws.send(WsMessage::binary(last)).unwrap();
    assert!(again.frame().is_some(), "the link stands, and the rig speaks first");
    assert_eq!(farm.rig.transport().connections().unwrap().len(), 1);
}

#[test]
fn who_does_not_go_on_holds_up_nobody_else() {
    let farm = farm(Config { handshake_timeout_ms: 1500, ..Config::default() });
    let mut slow = Hand::new(1, 2, &farm.at);
    slow.begin(&farm.link.code, false, |text| text);
    assert!(matches!(slow.ws.read(), Ok(WsMessage::Text(_))));
    let told = Hand::new(2, 2, &farm.at).shake_out(&wrong(2)).unwrap();
    assert!(told.contains("under way"), "one at a time from an address: {told}");
    farm.pairs();
    assert!(slow.frame().is_none(), "gone at its deadline");
    assert_eq!(farm.rig.pairing().state().1, 0, "silence is no guess");
}

#[test]
fn the_code_of_an_enrolment_pairs_nobody_and_the_other_way_round() {
    let farm = farm(Config::default());
    let enrol = farm.rig.pairing().enrol(2, 1, Grants::OBSERVE, &[]).unwrap();
    for (n, code, as_enrol) in [(1, &enrol.code, false), (2, &farm.link.code, true)] {
        let mut hand = Hand::new(n, 1 + n as u8, &farm.at);
        assert!(matches!(hand.shake(code, as_enrol), Came::Proved(..)));
        assert!(hand.frame().is_none());
    }
    assert_eq!(farm.rig.pairing().enrolment().unwrap().uses, 2);
    // A rig that comes right is saved, and may do nothing here, whatever it asks for.
    let mut hand = Hand::new(3, 9, &farm.at);
    let Came::Proved(_, mut keys) = hand.shake(&enrol.code, true) else { panic!() };
    let paired = open_paired(&mut keys, &mut hand.frame().unwrap()).unwrap();
    assert!(paired.granted.is_empty());
    assert_eq!((farm.rig.pairing().enrolment().unwrap().uses, farm.commanding()), (1, 0));
}

#[test]
fn a_paired_key_that_shows_another_signing_key_is_refused() {
    let farm = farm(Config::default());
    assert!(Hand::new(1, 2, &farm.at).shake_in(&farm.link.code));
    // The same X25519 key with another Ed25519 key, as of somebody who read only one of the two files.
    let mut other = Hand::new(1, 2, &farm.at);
    let secret = rigmesh::identity::SecretKey::from_bytes(*other.own.secret().to_bytes());
    let sign = rigmesh::identity::SignKey::from_seed(&[7; 32]);
    other.own = Identity::from_parts(secret, sign, other.own.info().clone()).unwrap();
    other.security =
        Security::On { statement: Box::new(Statement::new(&other.own, Vec::new(), 1 << 20)), required: true };
    assert!(!other.shake_in(&farm.link.code));
}

impl Hand {
    /// Whether it was saved with this code.
    fn shake_in(mut self, code: &PairCode) -> bool {
        matches!(self.shake(code, false), Came::Proved(..)) && self.frame().is_some()
    }
}
