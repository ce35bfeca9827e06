//! The record by which a rig says where it is and which mesh key it has (secure-session.md §8). It is a claim of the
//! signing key S; that the mesh key X agrees is shown only in a session in which X is proven.

use super::{EndpointPayload, Fault, NatType, SignedRecord, Stamp, rec_type};
use crate::base::Timestamp;
use crate::identity::{PublicKey, SignKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Places in one record.
pub const RIG_PLACES_MAX: usize = 4;
/// Bytes of a place's text.
const PLACE_BYTES_MAX: usize = 64;
/// How long a rig's record lives, in seconds.
pub const RIG_TTL_S: u32 = 3600;
/// How often it is renewed.
pub const RIG_RENEW: Duration = Duration::from_secs(1800);
/// How long a withdrawal lives, in seconds.
pub const RIG_WITHDRAWN_TTL_S: u32 = 60;
/// How far behind our clock a record's timestamp is put, because some nodes refuse one that is ahead of theirs.
const BEHIND: Duration = Duration::from_secs(5);

const KEY_PREFIX: &str = "rigmesh:1:";

/// Where a rig listens: `ws://IP:port/ws`, or `wss://` with TLS. The address is literal; whether it may be dialled is the
/// finder's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RigPlace {
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Where.
    pub at: SocketAddr,
}

impl fmt::Display for RigPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/ws", if self.tls { "wss" } else { "ws" }, self.at)
    }
}

impl std::str::FromStr for RigPlace {
    type Err = Fault;

    /// Exactly the form it is shown in.
    fn from_str(text: &str) -> Result<RigPlace, Fault> {
        const FORM: Fault = Fault::Payload("a place that is not ws:// or wss://, a literal address, a port and /ws");
        let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
        let tls = match scheme {
            "ws" => false,
            "wss" => true,
            _ => return Err(FORM),
        };
        let at = rest.strip_suffix("/ws").and_then(|at| at.parse().ok()).ok_or(FORM)?;
        let place = RigPlace { tls, at };
        let scoped = matches!(at, SocketAddr::V6(at) if at.scope_id() != 0);
        match place.to_string() == text && text.len() <= PLACE_BYTES_MAX && !scoped {
            true => Ok(place),
            false => Err(FORM),
        }
    }
}

/// What a rig's record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RigRecord {
    /// Where it listens: one to four places, or none when it withdraws.
    pub places: Vec<RigPlace>,
    /// Its mesh key, X.
    pub key: PublicKey,
    /// The NAT in front of it, as probed.
    pub nat_type: NatType,
}

impl RigRecord {
    /// Whether the rig takes its record back.
    pub fn is_withdrawal(&self) -> bool {
        self.places.is_empty()
    }

    /// The record, signed by the rig's own key. `seq` must be above every earlier one, and on disk before this is sent:
    /// see [`next_rig_seq`]. Without places it is a withdrawal and lives for [`RIG_WITHDRAWN_TTL_S`].
    ///
    /// # Errors
    /// [`Fault::Payload`] for more than [`RIG_PLACES_MAX`] places or one that is too long.
    pub fn sign(&self, key: &SignKey, now: Timestamp, seq: u64) -> Result<SignedRecord, Fault> {
        let timestamp = super::record::unix_seconds(now.minus(BEHIND));
        let ttl_s = if self.is_withdrawal() { RIG_WITHDRAWN_TTL_S } else { RIG_TTL_S };
        SignedRecord::sign(key, rec_type::ENDPOINT, self.payload()?.encode()?, Stamp { seq, timestamp, ttl_s })
    }

    fn payload(&self) -> Result<EndpointPayload, Fault> {
        if self.places.len() > RIG_PLACES_MAX {
            return Err(Fault::Payload("more than 4 places"));
        }
        let mut endpoints: Vec<String> = self.places.iter().map(RigPlace::to_string).collect();
        if endpoints.iter().any(|place| place.len() > PLACE_BYTES_MAX) {
            return Err(Fault::Payload("a place of more than 64 bytes"));
        }
        endpoints.push(format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(self.key.as_bytes())));
        Ok(EndpointPayload { endpoints: Some(endpoints), nat_type: self.nat_type, ..EndpointPayload::default() })
    }

    /// Reads the content of an endpoint record, which must be verified and allowed before.
    ///
    /// # Errors
    /// [`Fault::Payload`] for a record that is no rig's: other texts than up to four places and then one key, a key that
    /// is none, a signal or turns; [`Fault::NotAllowed`] if it is not signed by the owner itself.
    pub fn read(record: &SignedRecord) -> Result<RigRecord, Fault> {
        if record.rec_type != rec_type::ENDPOINT {
            return Err(Fault::Payload("no endpoint record"));
        }
        if crate::identity::Address::of_ed25519(&record.pubkey) != record.address {
            return Err(Fault::NotAllowed("a rig signs its record itself"));
        }
        let payload = EndpointPayload::decode(record.payload())?;
        if !(payload.signal.is_empty() && payload.signals.is_empty() && payload.turns.is_empty()) {
            return Err(Fault::Payload("a rig has no signal and no turns"));
        }
        let endpoints = payload.endpoints.unwrap_or_default();
        let (key, places) = endpoints.split_last().ok_or(Fault::Payload("no mesh key"))?;
        if places.len() > RIG_PLACES_MAX {
            return Err(Fault::Payload("more than 4 places"));
        }
        let places = places.iter().map(|place| place.parse()).collect::<Result<_, _>>()?;
        Ok(RigRecord { places, key: mesh_key(key)?, nat_type: payload.nat_type })
    }
}

fn mesh_key(text: &str) -> Result<PublicKey, Fault> {
    let bytes = text.strip_prefix(KEY_PREFIX).and_then(|key| URL_SAFE_NO_PAD.decode(key).ok());
    let bytes: [u8; 32] = bytes.and_then(|key| key.try_into().ok()).ok_or(Fault::Payload("no mesh key"))?;
    PublicKey::from_bytes(bytes).map_err(|_| Fault::Payload("a mesh key that is not canonical"))
}

/// The `seq` for the next record after the one that was saved last: above it, and not below the time in milliseconds, so
/// that a rig whose files are lost is still believed.
pub fn next_rig_seq(saved: u64, now: Timestamp) -> u64 {
    saved.saturating_add(1).max(u64::try_from(now.unix_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kad::{ENDPOINT_BYTES_SERVED, Rules};

    fn rig(places: &[&str]) -> RigRecord {
        let key = crate::identity::SecretKey::from_bytes([7; 32]).public_key();
        RigRecord { places: places.iter().map(|p| p.parse().unwrap()).collect(), key, nat_type: NatType::FullCone }
    }

    #[test]
    fn a_rigs_record_says_where_it_is_and_fits_every_answer() {
        let (key, now) = (SignKey::from_seed(&[1; 32]), Timestamp::from_unix(1_750_000_000, 0));
        let long = "wss://[2001:db8:1111:2222:3333:4444:5555:6666]:65535/ws";
        let said = rig(&["ws://192.0.2.7:9091/ws", long, long, long]);
        let record = said.sign(&key, now, 9).unwrap();
        assert!(record.payload().len() <= ENDPOINT_BYTES_SERVED, "{}", record.payload().len());
        assert_eq!((record.timestamp, record.ttl_s, record.seq), (1_749_999_995, RIG_TTL_S, 9));
        assert_eq!(record.verify(now, &Rules::pinned()), Ok(()));
        assert_eq!(RigRecord::read(&record).unwrap(), said);
        let gone = RigRecord { places: vec![], ..said };
        let record = gone.sign(&key, now, 10).unwrap();
        assert!(RigRecord::read(&record).unwrap().is_withdrawal());
        assert_eq!(record.ttl_s, RIG_WITHDRAWN_TTL_S);
    }

    #[test]
    fn a_place_has_one_spelling() {
        for text in ["ws://192.0.2.7:9091/ws", "wss://[2001:db8::1]:1/ws"] {
            assert_eq!(text.parse::<RigPlace>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "ws://rig-07.lan:9091/ws",
            "http://192.0.2.7:9091/ws",
            "ws://192.0.2.7:09091/ws",
            "ws://192.0.2.7:9091/",
            "ws://192.0.2.7/ws",
            "ws://[fe80::1%3]:9091/ws",
            "ws://[2001:DB8::1]:1/ws",
            "WS://192.0.2.7:9091/ws",
        ] {
            assert!(text.parse::<RigPlace>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_rigs_record_is_not_read_as_one() {
        let (key, stamp) = (SignKey::from_seed(&[1; 32]), Stamp { seq: 1, timestamp: 1, ttl_s: 60 });
        let x = "rigmesh:1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let good = rig(&["ws://192.0.2.7:9091/ws"]).payload().unwrap();
        let own = good.endpoints.clone().unwrap();
        let with = |endpoints: Vec<String>| EndpointPayload { endpoints: Some(endpoints), ..good.clone() };
        for bad in [
            with(vec![]),
            with(vec![own[0].clone()]),
            with(vec![own[1].clone(), own[0].clone()]),
            with(vec![own[1].clone(), own[1].clone()]),
            with(vec![own[0].clone(), x.to_owned()]),
            with(vec![own[0].clone(), format!("{}=", own[1])]),
            with([&vec![own[0].clone(); 5][..], &own[1..]].concat()),
            EndpointPayload { signal: "x".to_owned(), ..good.clone() },
            EndpointPayload { endpoints: None, ..good.clone() },
        ] {
            let record = SignedRecord::sign(&key, rec_type::ENDPOINT, bad.encode().unwrap(), stamp).unwrap();
            assert!(RigRecord::read(&record).is_err(), "{bad:?}");
        }
        assert!(
            RigRecord { places: vec!["ws://192.0.2.7:9091/ws".parse().unwrap(); 5], ..rig(&[]) }.payload().is_err()
        );
    }

    #[test]
    fn a_seq_never_falls_even_when_files_or_clocks_do() {
        let now = Timestamp::from_unix_millis(1_000);
        assert_eq!(next_rig_seq(0, now), 1_000);
        assert_eq!(next_rig_seq(5_000, now), 5_001);
        assert_eq!(next_rig_seq(u64::MAX, now), u64::MAX);
    }
}
