//! Freshness for protocol 1.0, where one static key per pair lets old frames decrypt for ever
//! (mesh.md §8). Per key a floor and a set of seen ids: a command is accepted at most once, ever,
//! in bounded memory, also across restarts and on rigs without a clock battery.

use super::limit::digest;
use crate::base::Timestamp;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

/// Ids remembered per key; at this number the one with the smallest time goes and the floor rises to it.
pub const IDS_MAX: usize = 1024;
/// The floor follows the newest accepted time at this distance.
const WINDOW: Duration = Duration::from_secs(5 * 60);
/// A sender's clock counts at most this far ahead of our own.
const AHEAD_MAX: Duration = Duration::from_secs(10 * 60);

/// What a check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Never seen and new enough; it has been added. Save the marks before acting on it.
    Fresh,
    /// This very id was accepted before.
    Seen,
    /// Older than the floor: a replay, or a sender whose clock fell back.
    TooOld {
        /// What the sender's time would have to exceed.
        floor: Timestamp,
    },
}

/// One key's memory. Pure data: the mesh keeps one per proven key and the runtime saves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Nanoseconds since 1970; a time must be greater.
    floor: i128,
    /// The newest time accepted (clamped to own clock + 10 minutes).
    mark: i128,
    /// Time and digest of each seen id, in order. Most keys have a handful: a thousand idle links
    /// should not pay for a tree each.
    ids: VecDeque<(i128, [u8; 16])>,
}

impl Default for Marks {
    fn default() -> Self {
        Marks { floor: i128::MIN, mark: i128::MIN, ids: VecDeque::new() }
    }
}

impl Marks {
    /// Accepts a message once. `own` is the larger of our clock, the build time and the newest
    /// time ever saved (see [`Marks::newest`]); an empty id must be refused by the caller.
    pub fn check(&mut self, own: Timestamp, id: &str, ts: Timestamp) -> Freshness {
        let (ts, own) = (ts.unix_nanos(), own.unix_nanos());
        let key = digest(id);
        if self.ids.iter().any(|(_, seen)| *seen == key) {
            return Freshness::Seen;
        }
        if ts <= self.floor {
            return Freshness::TooOld { floor: from_nanos(self.floor) };
        }
        let at = self.ids.partition_point(|entry| *entry < (ts, key));
        self.ids.insert(at, (ts, key));
        self.mark = self.mark.max(ts.min(own + nanos(AHEAD_MAX)));
        self.floor = self.floor.max(self.mark.saturating_sub(nanos(WINDOW)));
        while self.ids.len() > IDS_MAX {
            if let Some((smallest, _)) = self.ids.pop_front() {
                self.floor = self.floor.max(smallest);
            }
        }
        while self.ids.front().is_some_and(|(ts, _)| *ts <= self.floor) {
            self.ids.pop_front();
        }
        Freshness::Fresh
    }

    /// The newest time accepted, if any: a lower bound for "now" on a rig whose clock fell back.
    pub fn newest(&self) -> Option<Timestamp> {
        (self.mark > i128::MIN).then(|| from_nanos(self.mark))
    }

    /// Whether nothing was ever accepted.
    pub fn is_empty(&self) -> bool {
        self.mark == i128::MIN && self.ids.is_empty()
    }

    /// Ids remembered now.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Appends the JSON for the file: floor, mark and ids as numbers and hex. Written straight into the
    /// text, because a tree of a whole fleet's marks would be larger than everything else in memory.
    pub fn encode_into(&self, out: &mut String) {
        let _ = write!(out, r#"{{"floor":"{}","mark":"{}","ids":{{"#, self.floor, self.mark);
        for (i, (ts, id)) in self.ids.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let _ = write!(out, r#"{comma}"{:032x}":"{ts}""#, u128::from_be_bytes(*id));
        }
        out.push_str("}}");
    }

    /// The inverse of [`Marks::encode_into`]; `None` when anything is off.
    pub fn decode(value: &serde_json::Value) -> Option<Marks> {
        let number = |v: &serde_json::Value| v.as_str()?.parse::<i128>().ok();
        let mut ids = Vec::new();
        for (id, ts) in value.get("ids")?.as_object()?.iter().take(IDS_MAX) {
            let mut key = [0; 16];
            hex::decode_to_slice(id, &mut key).ok()?;
            ids.push((number(ts)?, key));
        }
        ids.sort_unstable();
        Some(Marks { floor: number(value.get("floor")?)?, mark: number(value.get("mark")?)?, ids: ids.into() })
    }
}

fn nanos(d: Duration) -> i128 {
    i128::try_from(d.as_nanos()).unwrap_or(i128::MAX)
}

fn from_nanos(n: i128) -> Timestamp {
    let clamp = |n: i128| i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX });
    Timestamp::from_unix(clamp(n.div_euclid(1_000_000_000)), u32::try_from(n.rem_euclid(1_000_000_000)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    fn reread(marks: &Marks) -> Marks {
        let mut text = String::new();
        marks.encode_into(&mut text);
        Marks::decode(&serde_json::from_str(&text).unwrap()).unwrap()
    }

    fn at(s: i64) -> Timestamp {
        Timestamp::from_unix(s, 0)
    }

    #[test]
    fn a_command_is_accepted_once_and_never_again() {
        let mut marks = Marks::default();
        assert_eq!(marks.check(at(1000), "a", at(1000)), Freshness::Fresh);
        assert_eq!(marks.check(at(1001), "a", at(1000)), Freshness::Seen);
        assert_eq!(marks.check(at(1001), "b", at(900)), Freshness::Fresh, "within five minutes of the mark");
        assert_eq!(marks.check(at(1001), "c", at(700)), Freshness::TooOld { floor: at(700) });
        let saved = reread(&marks);
        assert_eq!(saved, marks, "and a restart forgets nothing");
    }

    #[test]
    fn a_clock_that_jumped_ahead_heals_within_ten_minutes() {
        let mut marks = Marks::default();
        assert_eq!(marks.check(at(1000), "far", at(9_000_000)), Freshness::Fresh);
        assert_eq!(marks.newest(), Some(at(1600)));
        assert_eq!(marks.check(at(1000), "near", at(1000)), Freshness::TooOld { floor: at(1300) });
        assert_eq!(marks.check(at(1301), "later", at(1301)), Freshness::Fresh);
        assert_eq!(marks.check(at(1301), "far", at(9_000_000)), Freshness::Seen);
    }

    #[test]
    fn any_order_of_any_messages_accepts_each_once_in_bounded_memory() {
        let seed = 3;
        let mut rng = Rng::from_number(seed);
        let (mut marks, mut accepted) = (Marks::default(), std::collections::BTreeSet::new());
        for step in 0..20_000i64 {
            let own = at(1000 + step / 10);
            let id = rng.below(4000).to_string();
            let ts = at(i64::try_from(rng.below(5000)).unwrap());
            if marks.check(own, &id, ts) == Freshness::Fresh {
                assert!(accepted.insert((id, ts.unix_nanos())), "seed {seed} step {step}: accepted twice");
            }
            assert!(marks.len() <= IDS_MAX);
            if step % 997 == 0 {
                marks = reread(&marks);
            }
        }
        assert!(accepted.len() > 100);
    }
}
