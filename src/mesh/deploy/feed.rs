//! The controller's side of deployments (chunked-deploy.md): which rigs are owed which object, who is fed
//! now and who waits for a turn, and what each has asked for.

use super::super::io::{CallId, FeedId, FeedInfo, FeedObject, LinkId};
use crate::base::{Error, Time};
use crate::message::RawPayload;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Chunks a rig may have asked for and not been sent, in all: the largest window.
const WANTED_MAX: usize = 16;
/// How long a link may stay without an announcement before its peer counts as one that takes no chunks.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(3);
/// A rig hashes what lies on its disk before it answers an offer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(110);
/// A rig that says nothing for this long (it may be installing) is asked how far it is.
const ASK_AFTER: Duration = Duration::from_secs(180);
/// A rig that is full of transfers is asked again after this.
const BUSY_PAUSE: Duration = Duration::from_secs(5);
/// Pauses after a failure: doubling between these.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A rig that was being fed and went away is waited for this long, by a caller that waits.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is going on with one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Waits for its turn, not before this time.
    Queued { not_before: Time },
    /// Waits for a link that is dialled, or for its announcement.
    Linking { until: Time },
    /// Was offered; the request's id.
    Offered { link: LinkId, request: String, until: Time },
    /// The rig pulls or installs.
    Feeding { link: LinkId, until: Time },
    /// The rig is away: offered again when it is back.
    Parked,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) call: Option<CallId>,
    pub(crate) peer: String,
    pub(crate) object: Arc<FeedObject>,
    pub(crate) profile: RawPayload,
    pub(crate) activate: bool,
    /// Goes on without a caller, until the rig has it.
    pub(crate) keep: bool,
    pub(crate) stage: Stage,
    pub(crate) h: u32,
    /// Chunks asked for and not yet read.
    wanted: VecDeque<u32>,
    /// A chunk is being read.
    pub(crate) reading: bool,
    /// Bytes the rig said it does not have, when it answered.
    missing: Option<u64>,
    sent: u64,
    /// The rig was reached at least once: from then on it is waited for.
    met: bool,
    retry: Duration,
    /// Last moment of progress.
    progress: Time,
}

impl Feed {
    pub(crate) fn new(now: Time, call: Option<CallId>, peer: String, object: Arc<FeedObject>) -> Feed {
        Feed {
            call,
            peer,
            object,
            profile: RawPayload::NULL,
            activate: true,
            keep: false,
            stage: Stage::Queued { not_before: now },
            h: 0,
            wanted: VecDeque::new(),
            reading: false,
            missing: None,
            sent: 0,
            met: false,
            retry: RETRY_MIN,
            progress: now,
        }
    }

    fn is_active(&self) -> bool {
        matches!(self.stage, Stage::Linking { .. } | Stage::Offered { .. } | Stage::Feeding { .. })
    }

    /// The link it is fed over.
    pub(crate) fn link(&self) -> Option<LinkId> {
        match &self.stage {
            Stage::Offered { link, .. } | Stage::Feeding { link, .. } => Some(*link),
            Stage::Queued { .. } | Stage::Linking { .. } | Stage::Parked => None,
        }
    }

    fn deadline(&self) -> Option<Time> {
        match &self.stage {
            Stage::Queued { .. } | Stage::Parked => None,
            Stage::Linking { until } | Stage::Offered { until, .. } | Stage::Feeding { until, .. } => Some(*until),
        }
    }

    /// A dial was begun, or a standing link has not announced itself yet.
    pub(crate) fn link_up_by(&mut self, now: Time, dialled: bool) {
        let wait = if dialled { Duration::from_secs(20) } else { ANNOUNCED_WITHIN };
        self.stage = Stage::Linking { until: now + wait };
    }

    pub(crate) fn offered(&mut self, now: Time, link: LinkId, request: String, h: u32) {
        self.stage = Stage::Offered { link, request, until: now + ANSWERED_WITHIN };
        if !self.met {
            (self.met, self.progress) = (true, now);
        }
        self.h = h;
        self.wanted.clear();
        self.reading = false;
    }

    /// The rig will pull what is missing, or install what it has.
    pub(crate) fn accepted(&mut self, now: Time, link: LinkId, missing: u64) {
        self.stage = Stage::Feeding { link, until: now + ASK_AFTER };
        (self.missing, self.sent) = (Some(missing), 0);
        (self.progress, self.retry) = (now, RETRY_MIN);
    }

    /// The rig asked for chunks. What is out of bounds is dropped.
    pub(crate) fn want(&mut self, now: Time, want: &[(u32, u32)]) {
        self.alive(now);
        for (first, count) in want {
            for index in *first..first.saturating_add(*count) {
                if index >= self.object.chunks || self.wanted.len() >= WANTED_MAX {
                    return;
                }
                if !self.wanted.contains(&index) {
                    self.wanted.push_back(index);
                }
            }
        }
    }

    /// The next chunk to read, when none is being read.
    pub(crate) fn next_wanted(&mut self) -> Option<u32> {
        if self.reading {
            return None;
        }
        let index = self.wanted.pop_front()?;
        self.reading = true;
        Some(index)
    }

    pub(crate) fn sent(&mut self, now: Time, bytes: u64) {
        self.reading = false;
        self.sent = self.sent.saturating_add(bytes);
        self.alive(now);
    }

    fn alive(&mut self, now: Time) {
        self.progress = now;
        if let Stage::Feeding { until, .. } = &mut self.stage {
            *until = now + ASK_AFTER;
        }
    }

    /// To be tried again after a pause, or an error that says it is over for its caller.
    pub(crate) fn fail(&mut self, now: Time, why: &Error) -> Option<Error> {
        // Who says no, or is somebody else, is not asked again.
        let away = matches!(why, Error::Unreachable(_) | Error::TimedOut(_) | Error::Busy | Error::Io { .. });
        let give_up = !away || !self.met || now.since(self.progress) >= PATIENCE;
        self.keep &= away;
        if give_up && !self.keep {
            return Some(why.clone());
        }
        if give_up {
            self.stage = Stage::Parked;
            let text = format!("{why}; the deployment goes on when the rig is back (deploy --cancel forgets it)");
            return Some(match why {
                Error::TimedOut(_) => Error::TimedOut(text),
                _ => Error::Unreachable(text),
            });
        }
        self.stage = Stage::Queued { not_before: now + self.retry };
        self.retry = (self.retry * 2).min(RETRY_MAX);
        None
    }

    fn info(&self) -> FeedInfo {
        let total = self.object.size;
        let missing = self.missing.unwrap_or(total);
        let left = missing.saturating_sub(self.sent);
        let state = match &self.stage {
            Stage::Queued { .. } => "waiting",
            Stage::Linking { .. } => "connecting",
            Stage::Offered { .. } => "offered",
            Stage::Feeding { .. } if left == 0 => "installing",
            Stage::Feeding { .. } => "sending",
            Stage::Parked => "away",
        };
        let done = total.saturating_sub(left);
        FeedInfo { peer: self.peer.clone(), object: self.object.t.clone(), state, done, total }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Feeds {
    next: u64,
    all: BTreeMap<FeedId, Feed>,
    /// The order of turns: a busy rig goes to the end.
    line: VecDeque<FeedId>,
}

impl Feeds {
    /// Takes a feed in. One that the same rig is owed already for the same object is replaced; its caller, if
    /// any, is returned.
    pub(crate) fn insert(&mut self, feed: Feed) -> Option<CallId> {
        let same = self.all.iter().find(|(_, f)| f.peer == feed.peer && f.object.t == feed.object.t);
        let replaced = same.map(|(id, _)| *id).and_then(|id| self.remove(id)).and_then(|old| old.call);
        self.next += 1;
        let id = FeedId(self.next);
        self.all.insert(id, feed);
        self.line.push_back(id);
        replaced
    }

    pub(crate) fn remove(&mut self, id: FeedId) -> Option<Feed> {
        self.line.retain(|other| *other != id);
        self.all.remove(&id)
    }

    pub(crate) fn feed_mut(&mut self, id: FeedId) -> Option<&mut Feed> {
        self.all.get_mut(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (FeedId, &Feed)> {
        self.all.iter().map(|(id, f)| (*id, f))
    }

    /// The feed whose offer this is the reply to.
    pub(crate) fn by_request(&self, request: &str) -> Option<FeedId> {
        let is = |f: &Feed| matches!(&f.stage, Stage::Offered { request: r, .. } if r == request);
        self.all.iter().find(|(_, f)| is(f)).map(|(id, _)| *id)
    }

    /// The feed that a link calls by this number.
    pub(crate) fn by_number(&self, link: LinkId, h: u32) -> Option<FeedId> {
        self.all.iter().find(|(_, f)| f.h == h && f.link() == Some(link)).map(|(id, _)| *id)
    }

    /// Those fed over a link.
    pub(crate) fn by_link(&self, link: LinkId) -> Vec<FeedId> {
        self.all.iter().filter(|(_, f)| f.link() == Some(link)).map(|(id, _)| *id).collect()
    }

    /// Those of a rig.
    pub(crate) fn by_peer(&self, peer: &str) -> Vec<FeedId> {
        self.all.iter().filter(|(_, f)| f.peer == peer).map(|(id, _)| *id).collect()
    }

    /// Those whose turn has come: at most `feeding_max` at once, in the order of the line.
    pub(crate) fn take_turns(&self, now: Time, feeding_max: usize) -> Vec<FeedId> {
        let active = self.all.values().filter(|f| f.is_active()).count();
        let due = |id: &&FeedId| {
            self.all.get(id).is_some_and(|f| matches!(f.stage, Stage::Queued { not_before } if not_before <= now))
        };
        self.line.iter().filter(due).take(feeding_max.saturating_sub(active)).copied().collect()
    }

    /// A busy rig: to the end of the line.
    pub(crate) fn postpone(&mut self, now: Time, id: FeedId) {
        self.line.retain(|other| *other != id);
        self.line.push_back(id);
        if let Some(feed) = self.all.get_mut(&id) {
            feed.met = true;
            feed.progress = now;
            feed.stage = Stage::Queued { not_before: now + BUSY_PAUSE };
        }
    }

    /// Those whose deadline has passed.
    pub(crate) fn overdue(&self, now: Time) -> Vec<FeedId> {
        self.all.iter().filter(|(_, f)| f.deadline().is_some_and(|at| at <= now)).map(|(id, _)| *id).collect()
    }

    pub(crate) fn poll_timeout(&self, feeding_max: usize) -> Option<Time> {
        let active = self.all.values().filter(|f| f.is_active()).count();
        let turns = self.all.values().filter_map(|f| match f.stage {
            Stage::Queued { not_before } if active < feeding_max => Some(not_before),
            _ => None,
        });
        self.all.values().filter_map(Feed::deadline).chain(turns).min()
    }

    pub(crate) fn infos(&self) -> Vec<FeedInfo> {
        self.all.values().map(Feed::info).collect()
    }
}
