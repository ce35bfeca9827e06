//! Requests under way: their answers are known by transaction, by where they come from and by who signs them.

use crate::base::{Rng, Time};
use crate::kad::{Id, Message, TxId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// Requests under way at once.
pub(super) const CALLS_MAX: usize = 2048;

/// A request that was sent.
#[derive(Clone, Debug)]
pub(super) struct Call<T> {
    pub(super) to: SocketAddr,
    /// Who must answer, when that is known.
    pub(super) expect: Option<Id>,
    pub(super) request: Message,
    pub(super) purpose: T,
    /// When it was sent for the first time.
    pub(super) begun: Time,
    /// Whether it was sent once only: then the answer's time is a round trip.
    pub(super) sent: u32,
    attempts: u32,
    wait: Duration,
    timer: Time,
    until: Time,
    transactions: Vec<TxId>,
}

/// How patient a request is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until it is sent again; twice as long each time.
    pub(super) first: Duration,
    /// How often it is sent.
    pub(super) attempts: u32,
    /// When it has failed, however often it was sent.
    pub(super) until: Time,
}

/// What a timer brings.
#[derive(Debug)]
pub(super) enum Due<T> {
    /// Send the request again, under this transaction.
    Again { key: u64, to: SocketAddr, request: Message, transaction: TxId },
    /// No answer came.
    Failed(Call<T>),
}

/// All requests under way.
#[derive(Debug)]
pub(super) struct Calls<T> {
    // In boxes: a map has room for several values as soon as it has one.
    calls: BTreeMap<u64, Box<Call<T>>>,
    transactions: BTreeMap<TxId, u64>,
    timers: BTreeSet<(Time, u64)>,
    next: u64,
}

impl<T> Default for Calls<T> {
    fn default() -> Calls<T> {
        Calls { calls: BTreeMap::new(), transactions: BTreeMap::new(), timers: BTreeSet::new(), next: 0 }
    }
}

impl<T> Calls<T> {
    pub(super) fn is_full(&self) -> bool {
        self.calls.len() >= CALLS_MAX
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.calls.len()
    }

    /// Notes a request that is sent now; its transaction.
    #[allow(clippy::too_many_arguments)] // a request, spelled out
    pub(super) fn start(
        &mut self,
        now: Time,
        to: SocketAddr,
        expect: Option<Id>,
        request: Message,
        patience: Patience,
        purpose: T,
        rng: &mut Rng,
    ) -> TxId {
        self.next += 1;
        let (key, transaction) = (self.next, TxId::random(rng));
        let timer = (now + patience.first).min(patience.until);
        let call = Call {
            to,
            expect,
            request,
            purpose,
            begun: now,
            sent: 1,
            attempts: patience.attempts,
            wait: patience.first,
            timer,
            until: patience.until,
            transactions: vec![transaction],
        };
        self.calls.insert(key, Box::new(call));
        self.transactions.insert(transaction, key);
        self.timers.insert((timer, key));
        transaction
    }

    /// The request that a datagram of this transaction, type and source answers, before anybody has looked at its signature.
    pub(super) fn matching(&self, transaction: &TxId, kind: u8, from: SocketAddr) -> Option<u64> {
        let key = self.transactions.get(transaction)?;
        let call = self.calls.get(key)?;
        (call.request.answer_kind() == Some(kind) && same_place(call.to, from)).then_some(*key)
    }

    /// Takes a request out: it was answered, or nobody waits for it.
    pub(super) fn finish(&mut self, key: u64) -> Option<Call<T>> {
        let call = *self.calls.remove(&key)?;
        self.timers.remove(&(call.timer, key));
        for transaction in &call.transactions {
            self.transactions.remove(transaction);
        }
        if self.calls.is_empty() {
            // An empty map keeps room for several values until it is dropped.
            (self.calls, self.transactions, self.timers) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        }
        Some(call)
    }

    /// The next request whose time has come.
    pub(super) fn pop_due(&mut self, now: Time, rng: &mut Rng) -> Option<Due<T>> {
        let (at, key) = self.timers.first().copied().filter(|(at, _)| *at <= now)?;
        let call = self.calls.get_mut(&key)?;
        if at >= call.until || call.sent >= call.attempts {
            return self.finish(key).map(Due::Failed);
        }
        let transaction = TxId::random(rng);
        call.transactions.push(transaction);
        call.sent += 1;
        call.wait *= 2;
        self.timers.remove(&(at, key));
        call.timer = (now + call.wait).min(call.until);
        self.timers.insert((call.timer, key));
        self.transactions.insert(transaction, key);
        Some(Due::Again { key, to: call.to, request: call.request.clone(), transaction })
    }

    pub(super) fn purpose(&self, key: u64) -> Option<&T> {
        self.calls.get(&key).map(|call| &call.purpose)
    }

    /// Who must answer a request.
    pub(super) fn expected(&self, key: u64) -> Option<Id> {
        self.calls.get(&key)?.expect
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Requests that are for something, such as a lookup that has ended.
    pub(super) fn keys_where(&self, is: impl Fn(&T) -> bool) -> Vec<u64> {
        self.calls.iter().filter(|(_, call)| is(&call.purpose)).map(|(key, _)| *key).collect()
    }
}

/// IPv4 inside IPv6 is IPv4.
fn same_place(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([10, 0, 0, 1], port).into()
    }

    fn start(calls: &mut Calls<&'static str>, now: Time, patience: Patience, rng: &mut Rng) -> TxId {
        calls.start(now, at(1), None, Message::FindNode { target: Id::ZERO }, patience, "x", rng)
    }

    #[test]
    fn an_answer_must_come_from_where_the_question_went_and_be_of_its_kind() {
        let (mut calls, mut rng) = (Calls::default(), Rng::from_number(1));
        let patience = Patience { first: Duration::from_secs(1), attempts: 1, until: Time::from_millis(5000) };
        let tx = start(&mut calls, Time::ZERO, patience, &mut rng);
        assert_eq!(calls.matching(&tx, 4, at(2)), None);
        assert_eq!(calls.matching(&tx, 2, at(1)), None);
        assert_eq!(calls.matching(&TxId::from_bytes([0; 20]), 4, at(1)), None);
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:1".parse().unwrap();
        let key = calls.matching(&tx, 4, mapped).unwrap();
        assert_eq!(calls.finish(key).unwrap().purpose, "x");
        assert_eq!((calls.matching(&tx, 4, at(1)), calls.poll_timeout(), calls.len()), (None, None, 0));
    }

    #[test]
    fn a_request_is_sent_again_with_growing_patience_and_every_attempt_may_be_answered() {
        let (mut calls, mut rng) = (Calls::default(), Rng::from_number(1));
        let patience = Patience { first: Duration::from_millis(100), attempts: 3, until: Time::from_millis(2000) };
        let first = start(&mut calls, Time::ZERO, patience, &mut rng);
        assert_eq!(calls.poll_timeout(), Some(Time::from_millis(100)));
        assert!(calls.pop_due(Time::from_millis(99), &mut rng).is_none());
        let Some(Due::Again { transaction, .. }) = calls.pop_due(Time::from_millis(100), &mut rng) else { panic!() };
        assert_ne!(transaction, first);
        assert!(calls.matching(&first, 4, at(1)).is_some() && calls.matching(&transaction, 4, at(1)).is_some());
        assert_eq!(calls.poll_timeout(), Some(Time::from_millis(300)));
        assert!(matches!(calls.pop_due(Time::from_millis(300), &mut rng), Some(Due::Again { .. })));
        assert!(matches!(calls.pop_due(Time::from_millis(700), &mut rng), Some(Due::Failed(call)) if call.sent == 3));
        assert_eq!((calls.matching(&first, 4, at(1)), calls.poll_timeout()), (None, None));
    }

    #[test]
    fn the_end_of_patience_comes_before_the_last_attempt() {
        let (mut calls, mut rng) = (Calls::default(), Rng::from_number(1));
        let patience = Patience { first: Duration::from_secs(5), attempts: 3, until: Time::from_millis(2000) };
        start(&mut calls, Time::ZERO, patience, &mut rng);
        assert_eq!(calls.poll_timeout(), Some(Time::from_millis(2000)));
        assert!(matches!(calls.pop_due(Time::from_millis(2000), &mut rng), Some(Due::Failed(_))));
    }
}
