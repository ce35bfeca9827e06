//! The rig's side of a pairing: the one live code, who tries it, who used it. In memory only.

use super::PairCode;
use crate::base::{Refusal, Time};
use crate::identity::PublicKey;
use crate::peers::Grants;
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;
use zeroize::Zeroizing;

/// After so many wrong codes the right one is withdrawn.
pub const PAIR_WRONG_MAX: u32 = 200;
/// Attempts that one address may begin in [`WINDOW`].
const ATTEMPTS_MAX: usize = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// Attempts remembered in all, over that time.
const REMEMBERED_MAX: usize = 4096;

/// How a code stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairState {
    /// There is none.
    None,
    /// It waits for somebody, this long yet.
    Waiting(Duration),
    /// This key has used it.
    Used(PublicKey),
    /// Its time is over.
    Expired,
    /// It was tried wrongly too often.
    Withdrawn,
}

#[derive(Debug)]
struct Live {
    code: PairCode,
    grants: Grants,
    until: Time,
    wrong: u32,
    used_by: Option<PublicKey>,
}

/// Where codes are shown and asked for. Attempts are counted for enrolments as well.
#[derive(Debug, Default)]
pub struct PairDesk {
    live: Option<Live>,
    /// The newest attempts, oldest first.
    begun: VecDeque<(Time, IpAddr)>,
    under_way: BTreeSet<IpAddr>,
}

impl PairDesk {
    /// Shows a code until then; what was shown before is worth nothing any more. Whoever uses it gets at most `grants`.
    pub fn open(&mut self, code: PairCode, grants: Grants, until: Time) {
        self.live = Some(Live { code, grants, until, wrong: 0, used_by: None });
    }

    /// Shows none any more.
    pub fn close(&mut self) {
        self.live = None;
    }

    /// How the code stands.
    pub fn state(&self, now: Time) -> PairState {
        match &self.live {
            None => PairState::None,
            Some(Live { used_by: Some(key), .. }) => PairState::Used(*key),
            Some(live) if live.wrong >= PAIR_WRONG_MAX => PairState::Withdrawn,
            Some(live) if live.until <= now => PairState::Expired,
            Some(live) => PairState::Waiting(live.until.since(now)),
        }
    }

    /// How often it was tried wrongly.
    pub fn wrong(&self) -> u32 {
        self.live.as_ref().map_or(0, |live| live.wrong)
    }

    /// Somebody at this address begins an attempt; it ends with [`PairDesk::end`].
    ///
    /// # Errors
    /// [`Refusal::Pairing`]: one is under way from there, or there were too many.
    pub fn begin(&mut self, now: Time, from: IpAddr) -> Result<(), Refusal> {
        while self.begun.front().is_some_and(|(at, _)| now.since(*at) >= WINDOW) {
            self.begun.pop_front();
        }
        let here = self.begun.iter().filter(|(_, ip)| *ip == from).count();
        if here >= ATTEMPTS_MAX || self.begun.len() >= REMEMBERED_MAX {
            return Err(Refusal::pairing("too many attempts, try again in a minute"));
        }
        if !self.under_way.insert(from) {
            return Err(Refusal::pairing("another attempt from this address is under way"));
        }
        self.begun.push_back((now, from));
        Ok(())
    }

    /// The attempt is over; `wrong`: the code was not the one shown.
    pub fn end(&mut self, from: IpAddr, wrong: bool) {
        self.under_way.remove(&from);
        if wrong && let Some(live) = &mut self.live {
            live.wrong = live.wrong.saturating_add(1);
        }
    }

    /// The key that this one's handshake is checked with.
    ///
    /// # Errors
    /// [`Refusal::Pairing`]: no code is live, or it was used by another.
    pub fn psk(&self, now: Time, key: &PublicKey) -> Result<Zeroizing<[u8; 32]>, Refusal> {
        self.live(now, key).map(|live| live.code.psk())
    }

    /// A key has proven itself and that it knows the code, which is used now: by this key, which may come again until the
    /// time is over, and by nobody else. Gives what may be granted.
    ///
    /// # Errors
    /// As [`PairDesk::psk`].
    pub fn claim(&mut self, now: Time, key: &PublicKey) -> Result<Grants, Refusal> {
        self.live(now, key)?;
        let live = self.live.as_mut().ok_or(NOT_PAIRING)?;
        live.used_by = Some(*key);
        Ok(live.grants)
    }

    fn live(&self, now: Time, key: &PublicKey) -> Result<&Live, Refusal> {
        let live = self.live.as_ref().filter(|live| live.until > now && live.wrong < PAIR_WRONG_MAX);
        let live = live.ok_or(NOT_PAIRING)?;
        match live.used_by {
            Some(by) if by != *key => Err(Refusal::pairing("code already used")),
            _ => Ok(live),
        }
    }
}

/// What is said without a live code.
pub(super) const NOT_PAIRING: Refusal = Refusal::pairing("not pairing");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use crate::identity::SecretKey;
    use crate::peers::CodeKind;

    fn key(n: u64) -> PublicKey {
        SecretKey::generate(&mut Rng::from_number(n)).public_key()
    }

    fn at(s: u64) -> Time {
        Time::from_millis(s * 1000)
    }

    fn code(n: u64) -> PairCode {
        PairCode::draw(CodeKind::Pair, &mut Rng::from_number(n))
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_code_is_one_keys_until_its_time_is_over() {
        let mut desk = PairDesk::default();
        assert_eq!(desk.psk(at(0), &key(1)).unwrap_err(), NOT_PAIRING);
        desk.open(code(1), Grants::CONTROLLER, at(600));
        assert_eq!(desk.state(at(1)), PairState::Waiting(Duration::from_secs(599)));
        assert_eq!(*desk.psk(at(1), &key(1)).unwrap(), *code(1).psk());
        assert_eq!(desk.claim(at(2), &key(1)), Ok(Grants::CONTROLLER));
        assert_eq!(desk.claim(at(3), &key(2)), Err(Refusal::pairing("code already used")));
        assert!(desk.psk(at(3), &key(2)).is_err());
        assert_eq!(desk.claim(at(599), &key(1)), Ok(Grants::CONTROLLER), "the same key may come again");
        assert_eq!(desk.state(at(599)), PairState::Used(key(1)));
        assert_eq!(desk.claim(at(600), &key(1)), Err(NOT_PAIRING));
    }

    #[test]
    fn a_new_code_replaces_the_old_one() {
        let mut desk = PairDesk::default();
        desk.open(code(1), Grants::OBSERVE, at(600));
        desk.claim(at(1), &key(1)).unwrap();
        desk.open(code(2), Grants::OBSERVE, at(600));
        assert_eq!(*desk.psk(at(2), &key(2)).unwrap(), *code(2).psk());
        desk.close();
        assert_eq!((desk.state(at(2)), desk.psk(at(2), &key(2)).is_err()), (PairState::None, true));
    }

    #[test]
    fn wrong_codes_do_not_use_up_the_right_one_until_there_were_two_hundred() {
        let mut desk = PairDesk::default();
        desk.open(code(1), Grants::OBSERVE, at(100_000));
        for i in 0..u64::from(PAIR_WRONG_MAX) {
            assert!(desk.psk(at(i * 4), &key(1)).is_ok(), "{i}");
            desk.begin(at(i * 4), HERE).unwrap();
            desk.end(HERE, true);
        }
        assert_eq!((desk.state(at(1000)), desk.wrong()), (PairState::Withdrawn, PAIR_WRONG_MAX));
        assert_eq!(desk.psk(at(1000), &key(1)).unwrap_err(), NOT_PAIRING);
    }

    #[test]
    fn an_address_tries_one_at_a_time_and_twenty_a_minute() {
        let mut desk = PairDesk::default();
        desk.begin(at(0), HERE).unwrap();
        assert!(desk.begin(at(0), HERE).is_err(), "one at a time");
        assert!(desk.begin(at(0), [10, 0, 0, 1].into()).is_ok(), "others are not held up");
        desk.end(HERE, false);
        for _ in 1..20 {
            desk.begin(at(1), HERE).unwrap();
            desk.end(HERE, false);
        }
        assert!(desk.begin(at(59), HERE).is_err());
        assert!(desk.begin(at(60), HERE).is_ok());
    }
}
