//! The rig's side of one transfer (chunked-deploy.md): it asks for chunks, never more than a window ahead,
//! and keeps the window as small as the line needs, so that a status answer never waits long behind data.
//!
//! Pure bookkeeping: which chunks are missing, asked for, being written. Nothing of it is on disk; after a broken link
//! the next offer begins anew from what lies there.

use super::super::io::{LinkId, PullId};
use crate::base::{Now, Time};
use crate::identity::PublicKey;
use crate::message::{Message, RawPayload};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Bytes of every chunk but the last.
pub(crate) const CHUNK_BYTES: u64 = crate::bundle::CHUNK_BYTES as u64;
/// Bounds of the window, bytes, and where it begins. On a 1.0 link a chunk travels as one message, in a secure session in
/// small parts between which others go: the window may be larger there.
const WINDOW_MIN: u64 = CHUNK_BYTES;
const WINDOW_FIRST: u64 = 2 * CHUNK_BYTES;
const WINDOW_MAX_V1: u64 = 4 * CHUNK_BYTES;
const WINDOW_MAX: u64 = 16 * CHUNK_BYTES;
/// A round trip this much above the smallest of the last minute: the window is halved.
const QUEUED: Duration = Duration::from_millis(100);
/// How often the round trip is measured while data flows, and for how long a measure counts.
const PING_EVERY: Duration = Duration::from_secs(1);
const ROUND_TRIPS_KEPT: Duration = Duration::from_secs(60);
/// Without an asked-for chunk for this long: ask again; for this long: let go.
const ASK_AGAIN: Duration = Duration::from_secs(30);
const LET_GO: Duration = Duration::from_secs(120);

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// What lies on disk is being hashed.
    Opening,
    /// Chunks are asked for and written.
    Pulling,
    /// Everything is there and is being installed.
    Installing,
}

/// What came of a chunk that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Asked for: write it.
    Wanted,
    /// Nobody asked for it.
    Unasked,
}

/// What time brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Measure the round trip.
    Ping,
    /// Ask again for what did not come.
    AskAgain,
    /// Nothing came for too long.
    LetGo,
}

/// One transfer on the rig.
#[derive(Debug)]
pub(crate) struct Pull {
    pub(crate) t: String,
    pub(crate) h: u32,
    pub(crate) link: LinkId,
    pub(crate) key: PublicKey,
    /// The offer, to be answered when what lies on disk is known.
    pub(crate) offer: Message,
    pub(crate) profile: RawPayload,
    pub(crate) activate: bool,
    pub(crate) stage: Stage,
    /// Ranges not asked for yet, first and count, in order.
    missing: VecDeque<(u32, u32)>,
    missing_chunks: u64,
    asked: BTreeMap<u32, Time>,
    writing: BTreeSet<u32>,
    /// Chunks whose first copy had a wrong hash.
    bad: BTreeSet<u32>,
    window: u64,
    window_max: u64,
    round_trips: VecDeque<(Time, Duration)>,
    ping_at: Time,
    heard: Time,
    asked_at: Time,
}

impl Pull {
    pub(crate) fn new(now: Now, t: String, h: u32, link: LinkId, key: PublicKey, offer: Message) -> Pull {
        Pull {
            t,
            h,
            link,
            key,
            offer,
            profile: RawPayload::NULL,
            activate: false,
            stage: Stage::Opening,
            missing: VecDeque::new(),
            missing_chunks: 0,
            asked: BTreeMap::new(),
            writing: BTreeSet::new(),
            bad: BTreeSet::new(),
            window: WINDOW_FIRST,
            window_max: WINDOW_MAX_V1,
            round_trips: VecDeque::new(),
            ping_at: now.mono,
            heard: now.mono,
            asked_at: now.mono,
        }
    }

    /// What kind of link the data comes over, at first and when the offer came anew.
    pub(crate) fn link_is(&mut self, secure: bool) {
        self.window_max = if secure { WINDOW_MAX } else { WINDOW_MAX_V1 };
        self.window = self.window.min(self.window_max);
    }

    /// What is missing is known.
    pub(crate) fn begin(&mut self, now: Time, missing: Vec<(u32, u32)>) {
        self.stage = Stage::Pulling;
        self.missing_chunks = missing.iter().map(|(_, count)| u64::from(*count)).sum();
        self.missing = missing.into();
        (self.heard, self.asked_at, self.ping_at) = (now, now, now);
    }

    /// The controller asks how far we are, perhaps over a new link: what was asked for may be lost.
    pub(crate) fn ask_anew(&mut self, now: Time) {
        let again: Vec<u32> = std::mem::take(&mut self.asked).into_keys().collect();
        self.missing_chunks += again.len() as u64;
        for index in again.into_iter().rev() {
            self.missing.push_front((index, 1));
        }
        (self.heard, self.asked_at) = (now, now);
        self.round_trips.clear();
    }

    /// Everything is there.
    pub(crate) fn is_complete(&self) -> bool {
        self.stage == Stage::Pulling && self.missing.is_empty() && self.asked.is_empty() && self.writing.is_empty()
    }

    /// Chunks that are not on disk yet.
    pub(crate) fn outstanding(&self) -> u64 {
        self.missing_chunks + (self.asked.len() + self.writing.len()) as u64
    }

    /// What to ask for now: ranges that fit into the window. Nothing while more than half of it is under way.
    pub(crate) fn want(&mut self, now: Time) -> Vec<(u32, u32)> {
        let room = self.window / CHUNK_BYTES;
        let under_way = (self.asked.len() + self.writing.len()) as u64;
        if self.stage != Stage::Pulling || self.missing.is_empty() || under_way > room / 2 {
            return Vec::new();
        }
        let mut free = u32::try_from(room.saturating_sub(under_way)).unwrap_or(0);
        let mut want: Vec<(u32, u32)> = Vec::new();
        while free > 0 && want.len() < crate::message::WANT_MAX {
            let Some((first, count)) = self.missing.front_mut() else { break };
            let taken = (*count).min(free);
            want.push((*first, taken));
            (*first, *count) = (first.saturating_add(taken), *count - taken);
            free -= taken;
            if *count == 0 {
                self.missing.pop_front();
            }
        }
        for (first, count) in &want {
            self.missing_chunks = self.missing_chunks.saturating_sub(u64::from(*count));
            self.asked.extend((*first..first.saturating_add(*count)).map(|i| (i, now)));
        }
        if !want.is_empty() {
            self.asked_at = now;
        }
        want
    }

    /// A chunk arrived.
    pub(crate) fn handle_chunk(&mut self, now: Time, index: u32) -> Arrival {
        if self.asked.remove(&index).is_none() {
            return Arrival::Unasked;
        }
        self.heard = now;
        self.writing.insert(index);
        Arrival::Wanted
    }

    /// A chunk is on disk.
    pub(crate) fn handle_stored(&mut self, index: u32) {
        self.writing.remove(&index);
    }

    /// A chunk had a wrong hash. `false` when it had one before: the transfer is over.
    pub(crate) fn handle_wrong(&mut self, index: u32) -> bool {
        self.writing.remove(&index);
        if !self.bad.insert(index) {
            return false;
        }
        self.missing.push_front((index, 1));
        self.missing_chunks += 1;
        true
    }

    /// A round trip was measured on the link.
    pub(crate) fn handle_round_trip(&mut self, now: Time, round_trip: Duration) {
        if self.stage != Stage::Pulling {
            return;
        }
        while self.round_trips.front().is_some_and(|(at, _)| now.since(*at) > ROUND_TRIPS_KEPT) {
            self.round_trips.pop_front();
        }
        self.round_trips.push_back((now, round_trip));
        let smallest = self.round_trips.iter().map(|(_, rtt)| *rtt).min().unwrap_or(round_trip);
        self.window = if round_trip > smallest + QUEUED {
            (self.window / 2).max(WINDOW_MIN)
        } else {
            (self.window + CHUNK_BYTES).min(self.window_max)
        };
    }

    /// What is due; call it until it gives nothing.
    pub(crate) fn handle_timeout(&mut self, now: Time) -> Option<Due> {
        if self.stage != Stage::Pulling {
            return None;
        }
        // While the disk is slow, nothing is asked for and nothing can be late.
        if self.asked.is_empty() {
            self.heard = now;
        }
        if now.since(self.heard) >= LET_GO {
            return Some(Due::LetGo);
        }
        if !self.asked.is_empty() && now.since(self.heard.max(self.asked_at)) >= ASK_AGAIN {
            let heard = self.heard;
            self.ask_anew(now);
            self.heard = heard; // asking is no sign of life
            return Some(Due::AskAgain);
        }
        if self.ping_at <= now {
            self.ping_at = now + PING_EVERY;
            return Some(Due::Ping);
        }
        None
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        (self.stage == Stage::Pulling).then_some(self.ping_at)
    }
}

/// The transfers of a rig.
#[derive(Debug, Default)]
pub(crate) struct Pulls {
    next: u64,
    all: BTreeMap<PullId, Pull>,
}

impl Pulls {
    pub(crate) fn insert(&mut self, pull: Pull) -> PullId {
        self.next += 1;
        self.all.insert(PullId(self.next), pull);
        PullId(self.next)
    }

    pub(crate) fn pull_mut(&mut self, id: PullId) -> Option<&mut Pull> {
        self.all.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: PullId) -> Option<Pull> {
        self.all.remove(&id)
    }

    /// The transfer of an object.
    pub(crate) fn by_object(&self, t: &str) -> Option<PullId> {
        self.all.iter().find(|(_, p)| p.t == t).map(|(id, _)| *id)
    }

    /// The transfer that a link calls by this number.
    pub(crate) fn by_number(&self, link: LinkId, h: u32) -> Option<PullId> {
        self.all.iter().find(|(_, p)| p.link == link && p.h == h).map(|(id, _)| *id)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PullId, &Pull)> {
        self.all.iter().map(|(id, p)| (*id, p))
    }

    pub(crate) fn ids(&self) -> Vec<PullId> {
        self.all.keys().copied().collect()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.all.values().filter_map(Pull::poll_timeout).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Rng, Timestamp};
    use crate::identity::{Identity, Role};
    use crate::message::Payload;

    fn now(ms: u64) -> Now {
        Now { mono: Time::from_millis(ms), wall: Timestamp::from_unix(1_800_000_000, 0) }
    }

    fn pull(chunks: u32) -> Pull {
        let mut rng = Rng::from_number(1);
        let identity = Identity::generate("x", Role::Worker, now(0).wall, &mut rng).unwrap();
        let offer = Message::new(now(0), &mut rng, "a", "b", &Payload::GetStats);
        let mut pull = Pull::new(now(0), "t".into(), 1, LinkId(1), identity.public_key(), offer);
        pull.begin(now(0).mono, vec![(0, chunks)]);
        pull
    }

    #[test]
    fn never_more_than_the_window_is_under_way_and_everything_comes_once() {
        let mut pull = pull(100);
        let mut got = BTreeSet::new();
        let mut now_ms = 0;
        while !pull.is_complete() {
            now_ms += 10;
            let at = now(now_ms).mono;
            for (first, count) in pull.want(at) {
                for i in first..first + count {
                    assert!(got.insert(i), "{i} was asked for twice");
                }
            }
            assert!((pull.asked.len() + pull.writing.len()) as u64 * CHUNK_BYTES <= pull.window);
            let next = *pull.asked.keys().next().unwrap();
            assert_eq!(pull.handle_chunk(at, next), Arrival::Wanted);
            assert_eq!(pull.handle_chunk(at, next), Arrival::Unasked, "a second copy");
            pull.handle_stored(next);
            pull.handle_round_trip(at, Duration::from_millis(5));
        }
        assert_eq!((got.len(), pull.outstanding()), (100, 0));
    }

    #[test]
    fn the_window_shrinks_when_the_line_fills_and_grows_when_it_is_free() {
        let mut pull = pull(1000);
        for second in 1..10 {
            pull.handle_round_trip(now(second * 1000).mono, Duration::from_millis(20));
        }
        assert_eq!(pull.window, WINDOW_MAX_V1);
        pull.link_is(true);
        for second in 10..30 {
            pull.handle_round_trip(now(second * 100).mono, Duration::from_millis(20));
        }
        assert_eq!(pull.window, WINDOW_MAX);
        pull.link_is(false);
        assert_eq!(pull.window, WINDOW_MAX_V1, "the next link is another one");
        pull.handle_round_trip(now(10_000).mono, Duration::from_millis(130));
        assert_eq!(pull.window, WINDOW_MAX_V1 / 2);
        pull.handle_round_trip(now(11_000).mono, Duration::from_millis(500));
        pull.handle_round_trip(now(12_000).mono, Duration::from_millis(500));
        assert_eq!(pull.window, WINDOW_MIN);
        // A minute later the line is simply slow: the small figures no longer count.
        for second in 75..80 {
            pull.handle_round_trip(now(second * 1000).mono, Duration::from_millis(500));
        }
        assert!(pull.window > WINDOW_MIN);
    }

    #[test]
    fn a_wrong_chunk_is_asked_for_once_more_and_then_never() {
        let mut pull = pull(4);
        let at = now(1).mono;
        assert_eq!(pull.want(at), [(0, 2)]);
        pull.handle_chunk(at, 0);
        assert!(pull.handle_wrong(0));
        assert_eq!(pull.want(at), [(0, 1)]);
        pull.handle_chunk(at, 0);
        assert!(!pull.handle_wrong(0));
    }

    #[test]
    fn silence_is_answered_by_asking_again_and_then_by_letting_go() {
        let mut pull = pull(8);
        assert_eq!(pull.want(now(0).mono), [(0, 2)]);
        let mut asked_again = 0;
        let mut at = now(0).mono;
        loop {
            at = at + Duration::from_millis(500);
            match pull.handle_timeout(at) {
                Some(Due::AskAgain) => {
                    assert_eq!(pull.want(at), [(0, 1), (1, 1)]);
                    asked_again += 1;
                }
                Some(Due::LetGo) => break,
                Some(Due::Ping) | None => {}
            }
        }
        assert_eq!(asked_again, 3);
        assert_eq!(at, Time::ZERO + LET_GO);
    }
}
