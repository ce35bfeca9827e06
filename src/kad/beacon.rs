//! When a rig says where it is (secure-session.md §8): a new record every half hour and whenever its places change, its entries
//! under the fleets' topics with it, and a record without places when it goes. The number of each record is on disk before
//! the record goes out, so that no restart ever sends an older one.

use super::{
    Fault, Id, NatType, RIG_RENEW, RigPlace, RigRecord, SignedRecord, Stamp, TopicPayload, next_rig_seq, rec_type,
};
use crate::base::{Now, Time};
use crate::identity::{PublicKey, SignKey};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What stands in a fleet entry as its protocol.
pub const FLEET_PROTOCOL: &str = "rigmesh/1";
/// After a number could not be saved it is tried again.
const SAVE_AGAIN: Duration = Duration::from_secs(60);

/// What a beacon wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum BeaconOutput {
    /// This number must be on disk before the records come out: [`Beacon::handle_saved`].
    Save(u64),
    /// Where the rig is, or that it goes: for the DHT at its own key, for the local link, for neighbours.
    Record(Arc<SignedRecord>),
    /// The entry under a topic: for the DHT at this key.
    Topic(Id, Arc<SignedRecord>),
}

/// What is to be said once its number is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Here,
    Gone,
}

/// Says where a rig is.
#[derive(Debug)]
pub struct Beacon {
    key: SignKey,
    rig: RigRecord,
    topics: Vec<String>,
    seq: u64,
    /// The word whose number is being saved.
    saving: Option<Word>,
    /// The record that is out, unless it is a withdrawal.
    current: Option<Arc<SignedRecord>>,
    /// When to speak next.
    due: Option<Time>,
    outputs: VecDeque<BeaconOutput>,
}

impl Beacon {
    /// Of a rig with this signing key and mesh key. `saved` is the last number that is on disk, 0 for none. It is silent
    /// until it is told where the rig is.
    pub fn new(key: SignKey, mesh_key: PublicKey, topics: Vec<String>, saved: u64) -> Beacon {
        let rig = RigRecord { places: Vec::new(), key: mesh_key, nat_type: NatType::Unknown };
        let (saving, current, due) = (None, None, None);
        Beacon { key, rig, topics, seq: saved, saving, current, due, outputs: VecDeque::new() }
    }

    /// The record that is out, unless it is a withdrawal.
    pub fn current(&self) -> Option<&Arc<SignedRecord>> {
        self.current.as_ref()
    }

    /// Where the rig is now; at most [`super::RIG_PLACES_MAX`] places, nowhere withdraws. Nothing happens if that is known.
    pub fn handle_places(&mut self, now: Now, places: Vec<RigPlace>, nat_type: NatType) {
        if (&places, nat_type) == (&self.rig.places, self.rig.nat_type) {
            return;
        }
        (self.rig.places, self.rig.nat_type) = (places, nat_type);
        if self.rig.places.is_empty() { self.withdraw(now) } else { self.speak(now, Word::Here) }
    }

    /// When [`Beacon::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due.filter(|_| self.saving.is_none())
    }

    /// Renews the record in time.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.poll_timeout().is_some_and(|due| due <= now.mono) {
            self.speak(now, if self.rig.places.is_empty() { Word::Gone } else { Word::Here });
        }
    }

    /// The rig goes: whoever finds its record is told so for a minute, instead of being sent where nobody is.
    pub fn withdraw(&mut self, now: Now) {
        self.rig.places.clear();
        if self.current.is_some() || self.saving.is_some() {
            self.speak(now, Word::Gone);
        }
    }

    fn speak(&mut self, now: Now, word: Word) {
        // A number that is being saved serves for the newer word as well.
        if self.saving.replace(word).is_none() {
            self.seq = next_rig_seq(self.seq, now.wall);
            self.outputs.push_back(BeaconOutput::Save(self.seq));
        }
    }

    /// The number is on disk, or could not be written; then nothing goes out, and it is tried again later.
    pub fn handle_saved(&mut self, now: Now, saved: bool) {
        let Some(word) = self.saving.take() else { return };
        if !saved {
            self.due = Some(now.mono + SAVE_AGAIN);
            return;
        }
        self.due = (word == Word::Here).then(|| now.mono + RIG_RENEW);
        match self.records(now) {
            Ok((record, topics)) => {
                self.current = (word == Word::Here).then(|| record.clone());
                self.outputs.push_back(BeaconOutput::Record(record));
                self.outputs.extend(topics);
            }
            Err(fault) => log::error!(target: "dht", "this rig cannot say where it is: {fault}"),
        }
    }

    fn records(&self, now: Now) -> Result<(Arc<SignedRecord>, Vec<BeaconOutput>), Fault> {
        let record = Arc::new(self.rig.sign(&self.key, now.wall, self.seq)?);
        let stamp = Stamp { seq: self.seq, timestamp: record.timestamp, ttl_s: record.ttl_s };
        let entry = |topic: &String| {
            let entry = TopicPayload {
                version: 1,
                topic: topic.clone(),
                protocols: Some(vec![FLEET_PROTOCOL.to_owned()]),
                ..TopicPayload::default()
            };
            let record = SignedRecord::sign(&self.key, rec_type::TOPIC, entry.encode()?, stamp)?;
            Ok(BeaconOutput::Topic(Id::of_topic(topic), Arc::new(record)))
        };
        let topics = self.topics.iter().map(entry).collect::<Result<_, Fault>>()?;
        Ok((record, topics))
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<BeaconOutput> {
        self.outputs.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;
    use crate::identity::SecretKey;
    use crate::kad::{RIG_TTL_S, RIG_WITHDRAWN_TTL_S, Rules, Sighting};

    fn at(s: u64) -> Now {
        let d = Duration::from_secs(s);
        Now { mono: Time::ZERO + d, wall: Timestamp::from_unix(1_800_000_000, 0).plus(d) }
    }

    fn beacon(saved: u64) -> Beacon {
        let key = SecretKey::from_bytes([7; 32]).public_key();
        Beacon::new(SignKey::from_seed(&[1; 32]), key, vec!["rigmesh/north".to_owned()], saved)
    }

    fn places(text: &str) -> Vec<RigPlace> {
        text.split_whitespace().map(|place| place.parse().unwrap()).collect()
    }

    /// Saves what is to be saved; the records that come out then.
    fn saved(beacon: &mut Beacon, now: Now) -> (Arc<SignedRecord>, Arc<SignedRecord>) {
        let Some(BeaconOutput::Save(seq)) = beacon.poll_output() else { panic!("nothing to save") };
        assert_eq!(beacon.poll_output(), None, "nothing goes out before the number is saved");
        beacon.handle_saved(now, true);
        let Some(BeaconOutput::Record(record)) = beacon.poll_output() else { panic!("no record") };
        let Some(BeaconOutput::Topic(key, topic)) = beacon.poll_output() else { panic!("no topic") };
        assert_eq!((record.seq, topic.seq, key), (seq, seq, Id::of_topic("rigmesh/north")));
        assert_eq!(beacon.poll_output(), None);
        topic.verify(now.wall, &Rules::default()).unwrap();
        topic.check_authority(&key, now.wall, &Rules::default()).unwrap();
        (record, topic)
    }

    #[test]
    fn a_rig_says_where_it_is_every_half_hour_and_that_it_goes() {
        let mut beacon = beacon(0);
        beacon.handle_timeout(at(0));
        beacon.withdraw(at(0));
        assert_eq!((beacon.poll_output(), beacon.poll_timeout()), (None, None), "it knows no place yet");
        let here = places("ws://192.0.2.7:9091/ws");
        beacon.handle_places(at(0), here.clone(), NatType::Unknown);
        let (first, topic) = saved(&mut beacon, at(0));
        assert_eq!((first.ttl_s, topic.ttl_s, first.timestamp), (RIG_TTL_S, RIG_TTL_S, 1_799_999_995));
        assert_eq!(first.seq, 1_800_000_000_000, "not below the time in milliseconds");
        assert_eq!(Sighting::of((*first).clone(), at(0).wall).unwrap().rig().places, here);
        assert_eq!(beacon.current(), Some(&first));
        beacon.handle_places(at(1), here, NatType::Unknown);
        assert_eq!(beacon.poll_output(), None, "nothing new");
        assert_eq!(beacon.poll_timeout(), Some(at(1800).mono));
        beacon.handle_timeout(at(1800));
        let (second, _) = saved(&mut beacon, at(1800));
        assert!(second.is_newer_than(&first, &Rules::default()));
        beacon.withdraw(at(2000));
        let (last, topic) = saved(&mut beacon, at(2000));
        assert!(Sighting::of((*last).clone(), at(2000).wall).unwrap().rig().is_withdrawal());
        assert_eq!((last.ttl_s, topic.ttl_s), (RIG_WITHDRAWN_TTL_S, RIG_WITHDRAWN_TTL_S));
        assert!(last.is_newer_than(&second, &Rules::default()));
        assert_eq!((beacon.current(), beacon.poll_timeout()), (None, None));
    }

    #[test]
    fn new_places_are_said_at_once_and_the_newest_word_counts() {
        let mut beacon = beacon(0);
        beacon.handle_places(at(0), places("ws://192.0.2.7:9091/ws"), NatType::Unknown);
        beacon.handle_places(at(0), places("wss://192.0.2.8:9091/ws"), NatType::FullCone);
        let (record, _) = saved(&mut beacon, at(0));
        let seen = Sighting::of((*record).clone(), at(0).wall).unwrap();
        assert_eq!((seen.rig().places[0].tls, seen.rig().nat_type), (true, NatType::FullCone));
        beacon.handle_places(at(60), Vec::new(), NatType::Unknown);
        let (record, _) = saved(&mut beacon, at(60));
        assert!(Sighting::of((*record).clone(), at(60).wall).unwrap().rig().is_withdrawal());
    }

    #[test]
    fn no_record_goes_out_whose_number_is_not_saved_and_none_is_used_twice() {
        let mut beacon = beacon(1_900_000_000_000);
        beacon.handle_places(at(0), places("ws://192.0.2.7:9091/ws"), NatType::Unknown);
        assert_eq!(beacon.poll_output(), Some(BeaconOutput::Save(1_900_000_000_001)), "above what was saved");
        beacon.handle_saved(at(0), false);
        assert_eq!((beacon.poll_output(), beacon.current()), (None, None));
        assert_eq!(beacon.poll_timeout(), Some(at(60).mono));
        beacon.handle_timeout(at(60));
        assert_eq!(beacon.poll_output(), Some(BeaconOutput::Save(1_900_000_000_002)));
        beacon.handle_saved(at(60), true);
        assert!(matches!(beacon.poll_output(), Some(BeaconOutput::Record(record)) if record.seq == 1_900_000_000_002));
    }
}
