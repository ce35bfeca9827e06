//! What was said on one connection: who is proven, which ids we sent and saw, when to ping and
//! when to hang up. Owned by the dispatcher; the frames themselves are [`super::Inbound`]'s and
//! [`super::Outbound`]'s business. Follows mesh.md §3 (keepalive, limits) and §8 row by row.
//!
//! An unproven connection may send us anything; all it gets back is pings, and an `error` 1001 a
//! second for stale requests. It is proven by a reply to an id we sent on it, or by a frame that
//! is addressed rightly and fresh.

use super::freshness::{Freshness, Marks};
use super::limit::{Bucket, SeenIds};
use super::{Established, Side};
use crate::base::{Error, Now, Refusal, Rng, Time, Timestamp};
use crate::message::{Announcement, ErrorCode, ErrorPayload, Message, MessageType, Payload, Ping, Pong};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Numbers of a dialogue; [`DialogueConfig::new`] has mesh.md's.
#[derive(Clone, Debug, PartialEq)]
pub struct DialogueConfig {
    /// A ping this often.
    pub ping_interval: Duration,
    /// Silence of ping interval plus this closes.
    pub pong_timeout: Duration,
    /// An unproven connection is closed after this, whatever it sends.
    pub unproven_max: Duration,
    /// Messages accepted at once and per second from a peer that is not known to be RigMesh.
    pub plain_limit: (u32, u32),
    /// What we announce to RigMesh peers, and grant them: messages at once and per second.
    pub announced_limit: (u32, u32),
    /// What we say of ourselves in the first ping and in pongs.
    pub announcement: Announcement,
}

impl DialogueConfig {
    /// The numbers of mesh.md §3.
    pub fn new(announcement: Announcement) -> DialogueConfig {
        DialogueConfig {
            ping_interval: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(10),
            unproven_max: Duration::from_secs(40),
            plain_limit: (100, 50),
            announced_limit: (4000, 2000),
            announcement,
        }
    }
}

/// Pongs allow a Go node with longer intervals: 2.5 times the longest seen, at most this.
const SILENCE_MAX: Duration = Duration::from_secs(150);
/// Ids of ours that may await a reply on one connection.
const SENT_MAX: usize = 4096;
/// How long we remember an id that we sent; the longest call is shorter.
const SENT_TTL: Duration = Duration::from_secs(120);

/// An id that we sent and may be answered.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Time,
    /// It was sent with an empty `to`: the reply may then have an empty `from`.
    broadcast: bool,
    /// It was a ping of this dialogue's own.
    ping: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unproven,
    Proven,
}

/// Why a message was dropped without an answer.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// `from` is not the peer or `to` is not us: reflected, forged or astray.
    Misaddressed,
    /// Its id was seen on this connection.
    Duplicate,
    /// Over the rate limit, and over the limit of answers that say so.
    RateLimited,
    /// Unproven and stale, and over the limit of answers that say so.
    Stale,
    /// A reply to nothing we sent.
    Unasked,
    /// A second handshake, or a payload that does not parse, where no answer is due.
    Unexpected,
}

/// What to do with a message.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing; it was counted.
    Drop(Dropped),
    /// Send this answer; nothing else.
    Answer(Box<Message>),
    /// A reply to a request of ours with this id.
    Reply {
        /// The request's id.
        request: String,
        /// The reply.
        message: Message,
    },
    /// A ping of ours was answered: the round trip it measured.
    Pong {
        /// From send to receipt.
        round_trip: Duration,
    },
    /// A request to be carried out. If it changes something its freshness is in the marks, which
    /// must be saved first.
    Request(Message),
    /// The peer says goodbye.
    Disconnect {
        /// Its words.
        reason: String,
        /// Its code.
        code: i64,
    },
}

/// A message's verdict and what it made of the connection.
#[derive(Debug)]
pub struct Opening {
    /// What to do.
    pub verdict: Verdict,
    /// The connection became proven by this message.
    pub proven: bool,
    /// The marks changed and should be saved.
    pub marked: bool,
    /// The peer announced itself as RigMesh with these numbers.
    pub announced: Option<Announcement>,
}

/// Why the dialogue must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// Never proven in time.
    Unproven,
    /// Silent for too long.
    Silent,
}

/// One connection's dialogue.
#[derive(Debug)]
pub struct Dialogue {
    config: Arc<DialogueConfig>,
    local_id: Arc<str>,
    peer_id: String,
    side: Side,
    state: State,
    /// In a secure session, where every frame is bound to its place: nothing is seen twice, nothing is stale, and whoever
    /// is over the limit is made to wait by the reader.
    secure: bool,
    opened: Time,
    heard: Time,
    pinged: Option<Time>,
    announced: bool,
    /// It answered a ping of ours: from then on we know whether it announces itself.
    introduced: bool,
    last_ping_heard: Option<Time>,
    longest_interval: Duration,
    sent: BTreeMap<String, Sent>,
    /// The same in the order of sending; an id answered meanwhile stays here until its turn comes.
    sent_order: VecDeque<(Time, String)>,
    seen: SeenIds,
    limit: Bucket,
    limit_answers: Bucket,
    stale_answers: Bucket,
    dropped: u64,
    clock_skew_ms: Option<i64>,
}

impl Dialogue {
    /// Begins after the handshake. The first ping is due at once.
    pub fn new(config: Arc<DialogueConfig>, local_id: Arc<str>, established: &Established, now: Time) -> Dialogue {
        let (burst, rate) = config.plain_limit;
        let secure = established.session.is_some();
        Dialogue {
            local_id,
            peer_id: established.id.to_string(),
            side: established.side,
            state: if secure { State::Proven } else { State::Unproven },
            secure,
            opened: now,
            heard: now,
            pinged: None,
            announced: secure,
            introduced: secure,
            last_ping_heard: None,
            longest_interval: Duration::ZERO,
            sent: BTreeMap::new(),
            sent_order: VecDeque::new(),
            seen: SeenIds::default(),
            limit: Bucket::new(now, u64::from(burst), u64::from(rate)),
            limit_answers: Bucket::new(now, 5, 5),
            stale_answers: Bucket::new(now, 1, 1),
            dropped: 0,
            clock_skew_ms: None,
            config,
        }
    }

    /// Whether the peer has proven that it holds its key, on this connection, now.
    pub fn is_proven(&self) -> bool {
        self.state == State::Proven
    }

    /// Whether the peer announced itself as a RigMesh node.
    pub fn is_rigmesh(&self) -> bool {
        self.announced
    }

    /// Whether this is a secure session.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether it is known what the peer is: it has answered a ping of ours, and so announced itself or not.
    pub fn is_introduced(&self) -> bool {
        self.introduced
    }

    /// Which side we are.
    pub fn side(&self) -> Side {
        self.side
    }

    /// When the last frame that counts was heard.
    pub fn heard_at(&self) -> Time {
        self.heard
    }

    /// Messages dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Data or a packet came, in a secure session, where whatever opens is the peer's.
    pub fn handle_heard(&mut self, now: Time) {
        self.heard = now;
    }

    /// A message that was judged well turned out to be of no use.
    pub fn count_dropped(&mut self) {
        self.dropped += 1;
    }

    /// By how many milliseconds the peer's clock was ahead of ours (negative: behind) at its last pong.
    pub fn clock_skew_ms(&self) -> Option<i64> {
        self.clock_skew_ms
    }

    /// Notes a request that is about to be sent here, so that its reply is known.
    pub fn handle_sent(&mut self, now: Time, id: &str, to: &str) {
        self.note_sent(now, id, to.is_empty(), false);
    }

    /// Judges a message that opened. `marks` are the key's; `own` is the wall clock to judge by (the larger of
    /// clock, build time and the newest time ever saved).
    pub fn handle_message(
        &mut self,
        now: Now,
        own: Timestamp,
        marks: &mut Marks,
        rng: &mut Rng,
        message: Message,
    ) -> Opening {
        let mut opening =
            Opening { verdict: Verdict::Drop(Dropped::Misaddressed), proven: false, marked: false, announced: None };
        let awaited = message.reply_to.as_ref().and_then(|id| self.sent.get(id)).copied();
        if !self.is_addressed(&message, awaited) {
            self.dropped += 1;
            return opening;
        }
        if self.state == State::Unproven && !self.prove(now, own, marks, rng, &message, awaited.is_some(), &mut opening)
        {
            return opening;
        }
        self.heard = now.mono;
        self.judge(now, own, marks, rng, message, awaited, &mut opening);
        if matches!(opening.verdict, Verdict::Drop(_)) {
            self.dropped += 1;
        }
        opening
    }

    /// What is due: a ping to send (record it with the caller's transport), or the end.
    pub fn handle_timeout(&mut self, now: Now, rng: &mut Rng) -> Result<Option<Message>, Hangup> {
        self.forget_sent(now.mono);
        if self.state == State::Unproven && now.mono >= self.unproven_deadline() {
            return Err(Hangup::Unproven);
        }
        if self.state == State::Proven && now.mono >= self.silence_deadline() {
            return Err(Hangup::Silent);
        }
        if now.mono < self.ping_due() {
            return Ok(None);
        }
        Ok(Some(self.ping(now, rng)))
    }

    /// A ping to send now, whether one is due or not: its answer is a [`Verdict::Pong`].
    pub fn ping(&mut self, now: Now, rng: &mut Rng) -> Message {
        // A secure session has said all that in its handshake.
        let rigmesh = (self.pinged.is_none() && !self.secure).then(|| self.config.announcement.clone());
        let payload = Payload::Ping(Ping { sent_at: now.wall.unix_millis(), rigmesh });
        let message = Message::new(now, rng, &self.local_id, &self.peer_id, &payload);
        self.note_sent(now.mono, &message.id, false, true);
        self.pinged = Some(now.mono);
        message
    }

    /// When [`Dialogue::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Time {
        let deadline = match self.state {
            State::Unproven => self.unproven_deadline(),
            State::Proven => self.silence_deadline(),
        };
        self.ping_due().min(deadline)
    }

    fn ping_due(&self) -> Time {
        self.pinged.map_or(self.opened, |at| at + self.config.ping_interval)
    }

    fn unproven_deadline(&self) -> Time {
        self.opened + self.config.unproven_max
    }

    fn silence_deadline(&self) -> Time {
        let stretched = (self.longest_interval * 5 / 2).min(SILENCE_MAX);
        self.heard + stretched.max(self.config.ping_interval + self.config.pong_timeout)
    }

    fn note_sent(&mut self, now: Time, id: &str, broadcast: bool, ping: bool) {
        self.forget_sent(now);
        self.sent.insert(id.to_owned(), Sent { at: now, broadcast, ping });
        self.sent_order.push_back((now, id.to_owned()));
    }

    /// Forgets ids that are too old or too many to be answered.
    fn forget_sent(&mut self, now: Time) {
        while self.sent_order.front().is_some_and(|(at, _)| now.since(*at) >= SENT_TTL)
            || self.sent_order.len() >= SENT_MAX
        {
            let Some((at, id)) = self.sent_order.pop_front() else { break };
            if self.sent.get(&id).is_some_and(|sent| sent.at == at) {
                self.sent.remove(&id);
            }
        }
    }

    /// The peer speaks for itself and to us. An empty `from` is Go's way of answering a broadcast.
    fn is_addressed(&self, message: &Message, awaited: Option<Sent>) -> bool {
        let peer_says =
            message.from == self.peer_id || (message.from.is_empty() && awaited.is_some_and(|sent| sent.broadcast));
        peer_says && (message.to == *self.local_id || message.to.is_empty())
    }

    /// Tries to prove the connection by this message; `false` when it is stale and all is said.
    #[allow(clippy::too_many_arguments)] // the one place where everything meets
    fn prove(
        &mut self,
        now: Now,
        own: Timestamp,
        marks: &mut Marks,
        rng: &mut Rng,
        message: &Message,
        awaited: bool,
        opening: &mut Opening,
    ) -> bool {
        let fresh = match (awaited, message.id.is_empty()) {
            (true, _) => Freshness::Fresh,
            // An empty id cannot be remembered, so it cannot prove.
            (false, true) => Freshness::Seen,
            (false, false) => marks.check(own, &message.id, message.ts),
        };
        if fresh != Freshness::Fresh {
            let answer = matches!(class(&message.kind), Class::Query | Class::Command)
                && self.stale_answers.take(now.mono, 1).is_ok();
            opening.verdict =
                if answer { self.refuse_stale(message, fresh, now, rng) } else { Verdict::Drop(Dropped::Stale) };
            self.dropped += u64::from(!answer);
            return false;
        }
        self.state = State::Proven;
        opening.proven = true;
        opening.marked = !awaited;
        true
    }

    #[allow(clippy::too_many_arguments)] // as above
    fn judge(
        &mut self,
        now: Now,
        own: Timestamp,
        marks: &mut Marks,
        rng: &mut Rng,
        message: Message,
        awaited: Option<Sent>,
        opening: &mut Opening,
    ) {
        let class = class(&message.kind);
        // Data is asked for: whoever did not ask drops it, and who asked limits it by asking.
        if class == Class::Data {
            opening.verdict = Verdict::Request(message);
            return;
        }
        // Replies to our own requests are counted by the request, not by the limit.
        if let (Class::Reply, Some(request)) = (class, message.reply_to.clone()) {
            self.judge_reply(now, message, awaited, request, opening);
            return;
        }
        let limited = if self.secure { Ok(()) } else { self.limit.take(now.mono, 1) };
        if !self.secure && !message.id.is_empty() && !self.seen.insert(now.mono, &message.id) {
            opening.verdict = Verdict::Drop(Dropped::Duplicate);
            return;
        }
        if let Err(wait) = limited {
            let asked = matches!(class, Class::Query | Class::Command);
            opening.verdict = if asked && self.limit_answers.take(now.mono, 1).is_ok() {
                let why =
                    Refusal::RateLimit { retry_after_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1) };
                self.answer_error(&message, now, rng, ErrorCode::OPERATION_FAILED, &why.to_string())
            } else {
                Verdict::Drop(Dropped::RateLimited)
            };
            return;
        }
        opening.verdict = match (&message.kind, class) {
            (MessageType::Ping, _) => self.answer_ping(now, rng, &message),
            (MessageType::Disconnect, _) => match message.payload() {
                Ok(Payload::Disconnect(bye)) => Verdict::Disconnect { reason: bye.reason, code: bye.code },
                _ => Verdict::Disconnect { reason: String::new(), code: 0 },
            },
            (_, Class::Query | Class::Notice | Class::Data) => Verdict::Request(message),
            (_, Class::Command) => {
                // The message that proved the connection has just been checked and marked.
                let fresh = match (opening.marked || self.secure, message.id.is_empty()) {
                    (true, _) => Freshness::Fresh,
                    (false, true) => Freshness::Seen,
                    (false, false) => marks.check(own, &message.id, message.ts),
                };
                if fresh == Freshness::Fresh {
                    opening.marked = !self.secure;
                    Verdict::Request(message)
                } else {
                    self.refuse_stale(&message, fresh, now, rng)
                }
            }
            (_, Class::Reply) => Verdict::Drop(Dropped::Unasked),
            (_, Class::Silent) => Verdict::Drop(Dropped::Unexpected),
        };
    }

    fn judge_reply(
        &mut self,
        now: Now,
        message: Message,
        awaited: Option<Sent>,
        request: String,
        opening: &mut Opening,
    ) {
        let Some(sent) = awaited else {
            opening.verdict = Verdict::Drop(Dropped::Unasked);
            return;
        };
        self.sent.remove(&request);
        if self.sent.is_empty() {
            (self.sent, self.sent_order) = Default::default(); // an idle link keeps no tables
        }
        if !sent.ping {
            opening.verdict = Verdict::Reply { request, message };
            return;
        }
        let round_trip = now.mono.since(sent.at);
        opening.verdict = Verdict::Pong { round_trip };
        let Ok(Payload::Pong(pong)) = message.payload() else { return };
        let halfway = i64::try_from(round_trip.as_millis() / 2).unwrap_or(0);
        self.clock_skew_ms = Some(pong.received_at.saturating_sub(now.wall.unix_millis()).saturating_add(halfway));
        self.introduced = true;
        if let Some(announcement) = pong.rigmesh
            && !self.announced
        {
            self.announced = true;
            let (burst, rate) = self.config.announced_limit;
            self.limit.set(now.mono, u64::from(burst), u64::from(rate));
            opening.announced = Some(announcement);
        }
    }

    fn answer_ping(&mut self, now: Now, rng: &mut Rng, message: &Message) -> Verdict {
        if let Some(before) = self.last_ping_heard.replace(now.mono) {
            self.longest_interval = self.longest_interval.max(now.mono.since(before)).min(SILENCE_MAX);
        }
        match message.parse::<Ping>() {
            Ok(ping) => {
                // Only a RigMesh node asks by announcing itself; a Go node gets the plain pong.
                let rigmesh = ping.rigmesh.filter(|_| !self.secure).map(|_| self.config.announcement.clone());
                let pong = Pong { sent_at: ping.sent_at, received_at: now.wall.unix_millis(), rigmesh };
                Verdict::Answer(Box::new(self.reply(message, now, rng, &Payload::Pong(pong))))
            }
            Err(e) => self.answer_error(message, now, rng, ErrorCode::OPERATION_FAILED, &e.to_string()),
        }
    }

    fn answer_error(&self, request: &Message, now: Now, rng: &mut Rng, code: i64, text: &str) -> Verdict {
        let payload = Payload::Error(ErrorPayload { code, message: text.to_owned(), details: String::new() });
        Verdict::Answer(Box::new(self.reply(request, now, rng, &payload)))
    }

    fn refuse_stale(&self, message: &Message, why: Freshness, now: Now, rng: &mut Rng) -> Verdict {
        let text = match why {
            _ if message.id.is_empty() => "the message has no id".to_owned(),
            Freshness::TooOld { floor } => {
                format!(
                    "not fresh: its time {} is not after {floor}; the sender's clock may have fallen back",
                    message.ts
                )
            }
            _ => "not fresh: this message was accepted before".to_owned(),
        };
        self.answer_error(message, now, rng, ErrorCode::INVALID_MESSAGE, &text)
    }

    /// A reply that always states who we are, also when the request's `to` was empty.
    pub fn reply(&self, request: &Message, now: Now, rng: &mut Rng, payload: &Payload) -> Message {
        let mut reply = request.reply(now, rng, payload);
        self.local_id.as_ref().clone_into(&mut reply.from);
        reply
    }
}

/// How a type of message is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Changes nothing: no freshness needed.
    Query,
    /// Changes something, or may (unknown types): accepted at most once, ever.
    Command,
    /// Answers something we sent.
    Reply,
    /// Belongs to a transfer under way, which knows it by a number drawn at random, or tells of signed records that have a
    /// time of their own: no freshness needed.
    Notice,
    /// What a transfer asked for.
    Data,
    /// Neither asks nor answers.
    Silent,
}

fn class(kind: &MessageType) -> Class {
    match kind {
        MessageType::Ping
        | MessageType::GetStats
        | MessageType::GetLogs
        | MessageType::GetVersions
        | MessageType::GetAudit => Class::Query,
        MessageType::ChunkGet | MessageType::DeployDone | MessageType::DeployCancel | MessageType::Gossip => {
            Class::Notice
        }
        MessageType::Chunk => Class::Data,
        MessageType::Pong
        | MessageType::Stats
        | MessageType::MinerAck
        | MessageType::Logs
        | MessageType::DeployAck
        | MessageType::DeployState
        | MessageType::Versions
        | MessageType::UepsReply
        | MessageType::Access
        | MessageType::Rotated
        | MessageType::AuditTail
        | MessageType::Error => Class::Reply,
        MessageType::StartMiner
        | MessageType::StopMiner
        | MessageType::Deploy
        | MessageType::DeployOffer
        | MessageType::Rollback
        | MessageType::PauseMiner
        | MessageType::ResumeMiner
        | MessageType::Ueps
        | MessageType::Grant
        | MessageType::Revoke
        | MessageType::Rotate
        | MessageType::KeepKey
        | MessageType::Other(_) => Class::Command,
        MessageType::Handshake | MessageType::HandshakeAck | MessageType::Disconnect | MessageType::Paired => {
            Class::Silent
        }
    }
}

impl From<Hangup> for Error {
    fn from(why: Hangup) -> Self {
        Error::Unreachable(match why {
            Hangup::Unproven => "the peer never proved its key".to_owned(),
            Hangup::Silent => "the peer fell silent".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Identity, Role};
    use crate::message::Stats;

    struct Talk {
        us: Identity,
        peer: Identity,
        dialogue: Dialogue,
        marks: Marks,
        rng: Rng,
        now: Now,
    }

    fn talk() -> Talk {
        let mut rng = Rng::from_number(4);
        let now = Now { mono: Time::from_millis(5), wall: Timestamp::from_unix(1_800_000_000, 0) };
        let mut made = |name| Identity::generate(name, Role::Dual, now.wall, &mut rng).unwrap();
        let (us, peer) = (made("us"), made("peer"));
        let established = Established {
            side: Side::Responder,
            identity: peer.info().clone(),
            key: peer.public_key(),
            id: peer.id(),
            session: None,
        };
        let announcement =
            Announcement { v: 1, caps: Vec::new(), rate: 9, burst: 9, max: 1 << 20, sign: None, bind: None };
        let dialogue = Dialogue::new(
            Arc::new(DialogueConfig::new(announcement)),
            us.id().to_string().into(),
            &established,
            now.mono,
        );
        Talk { us, peer, dialogue, marks: Marks::default(), rng, now }
    }

    impl Talk {
        fn hears(&mut self, message: Message) -> Opening {
            self.dialogue.handle_message(self.now, self.now.wall, &mut self.marks, &mut self.rng, message)
        }

        fn peer_says(&mut self, payload: &Payload) -> Message {
            Message::new(self.now, &mut self.rng, &self.peer.id().to_string(), &self.us.id().to_string(), payload)
        }
    }

    #[test]
    fn a_reply_to_a_broadcast_may_have_an_empty_from_and_nothing_else_may() {
        let mut talk = talk();
        let stats = Payload::Stats(Stats::default());
        for (to, accepted) in [(String::new(), true), (talk.peer.id().to_string(), false)] {
            let request = Message::new(talk.now, &mut talk.rng, &talk.us.id().to_string(), &to, &Payload::GetStats);
            talk.dialogue.handle_sent(talk.now.mono, &request.id, &to);
            let mut reply = request.reply(talk.now, &mut talk.rng, &stats);
            reply.from.clear();
            let opening = talk.hears(reply);
            assert_eq!(matches!(opening.verdict, Verdict::Reply { .. }), accepted, "to {to:?}: {:?}", opening.verdict);
        }
        let mut unasked = talk.peer_says(&Payload::GetStats);
        unasked.from.clear();
        assert!(matches!(talk.hears(unasked).verdict, Verdict::Drop(Dropped::Misaddressed)));
    }

    #[test]
    fn an_answer_states_who_we_are_also_when_nobody_was_addressed() {
        let mut talk = talk();
        let mut ping = talk.peer_says(&Payload::Ping(Ping { sent_at: 1, rigmesh: None }));
        ping.to.clear();
        let Verdict::Answer(pong) = talk.hears(ping).verdict else { panic!("no answer") };
        assert_eq!((pong.from, pong.to), (talk.us.id().to_string(), talk.peer.id().to_string()));
    }

    #[test]
    fn only_a_pong_that_answers_our_ping_announces() {
        let mut talk = talk();
        let ping = talk.dialogue.handle_timeout(talk.now, &mut talk.rng).unwrap().expect("the first ping is due");
        let announcement =
            Announcement { v: 1, caps: Vec::new(), rate: 7, burst: 8, max: 1 << 20, sign: None, bind: None };
        let pong = Payload::Pong(Pong { sent_at: 1, received_at: 2, rigmesh: Some(announcement) });
        let unasked = talk.peer_says(&pong);
        assert!(talk.hears(unasked).announced.is_none());
        let asked = ping.reply(talk.now, &mut talk.rng, &pong);
        assert_eq!(talk.hears(asked).announced.map(|a| (a.burst, a.rate)), Some((8, 7)));
        assert!(talk.dialogue.is_rigmesh());
    }
}
