//! The envelope of every message: exact bytes out, one pass in.

use super::payload::{ErrorPayload, Payload};
use super::{MessageType, RawPayload};
use crate::base::{Error, Now, Result, Rng, Timestamp, check_json};
use crate::formats::gojson::push_string;
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::fmt;
use std::io::Write as _;

/// One message. `from` and `to` are node ids as text; what they say proves nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Unique id: a UUID v4 text from honest nodes, any text from others.
    pub id: String,
    /// What it is.
    pub kind: MessageType,
    /// Sender, as stated.
    pub from: String,
    /// Receiver, as stated; empty for a broadcast.
    pub to: String,
    /// When it was made, as stated. [`Timestamp::ZERO`] when absent.
    pub ts: Timestamp,
    /// The content, unread.
    pub payload: RawPayload,
    /// Id of the request this answers.
    pub reply_to: Option<String>,
}

impl Message {
    /// A new message with a fresh id.
    pub fn new(now: Now, rng: &mut Rng, from: &str, to: &str, payload: &Payload) -> Message {
        Message {
            id: rng.uuid(),
            kind: payload.kind(),
            from: from.to_owned(),
            to: to.to_owned(),
            ts: now.wall,
            payload: payload.encode(),
            reply_to: None,
        }
    }

    /// The answer to this message: `from` and `to` swapped, `replyTo` set.
    #[must_use]
    pub fn reply(&self, now: Now, rng: &mut Rng, payload: &Payload) -> Message {
        let reply = Message::new(now, rng, &self.to, &self.from, payload);
        Message { reply_to: (!self.id.is_empty()).then(|| self.id.clone()), ..reply }
    }

    /// The answer that says it failed.
    #[must_use]
    pub fn error_reply(&self, now: Now, rng: &mut Rng, code: i64, text: &str) -> Message {
        let error = ErrorPayload { code, message: text.to_owned(), details: String::new() };
        self.reply(now, rng, &Payload::Error(error))
    }

    /// The wire text.
    pub fn encode(&self) -> String {
        let mut out = Vec::with_capacity(self.size_hint());
        self.encode_into(&mut out);
        // Everything in it came from texts.
        String::from_utf8(out).unwrap_or_default()
    }

    /// Appends the wire text to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.reserve(self.size_hint());
        out.extend_from_slice(b"{\"id\":");
        push_string(out, &self.id, false);
        out.extend_from_slice(b",\"type\":");
        push_string(out, self.kind.as_str(), false);
        out.extend_from_slice(b",\"from\":");
        push_string(out, &self.from, false);
        out.extend_from_slice(b",\"to\":");
        push_string(out, &self.to, false);
        // Writing to a Vec cannot fail.
        let _ = write!(out, ",\"ts\":\"{}\",\"payload\":", self.ts);
        out.extend_from_slice(self.payload.as_str().as_bytes());
        if let Some(reply_to) = self.reply_to.as_deref().filter(|id| !id.is_empty()) {
            out.extend_from_slice(b",\"replyTo\":");
            push_string(out, reply_to, false);
        }
        out.push(b'}');
    }

    fn size_hint(&self) -> usize {
        let texts = self.id.len() + self.kind.as_str().len() + self.from.len() + self.to.len();
        texts + self.payload.as_str().len() + self.reply_to.as_ref().map_or(0, String::len) + 128
    }

    /// Reads one message.
    ///
    /// # Errors
    /// [`Error::Malformed`] for what is not one JSON object with an `id` and a `type`, has a known key
    /// twice, or breaks the limits of [`check_json`].
    pub fn decode(bytes: &[u8]) -> Result<Message> {
        let text = check_json("message", bytes)?;
        serde_json::from_str::<Message>(text).map_err(|e| Error::malformed("message", e.to_string()))
    }

    /// The content, typed by the message's type.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it does not fit.
    pub fn payload(&self) -> Result<Payload> {
        Payload::decode(&self.kind, &self.payload)
    }

    /// The content as a type of the caller's; `null` gives the empty value.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it does not fit.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        self.payload.parse()
    }
}

/// The keys of the envelope.
#[derive(Clone, Copy, PartialEq)]
enum Key {
    Id,
    Type,
    From,
    To,
    Ts,
    Payload,
    ReplyTo,
    Unknown,
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> std::result::Result<Key, D::Error> {
        d.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> std::result::Result<Key, E> {
        Ok(match key {
            "id" => Key::Id,
            "type" => Key::Type,
            "from" => Key::From,
            "to" => Key::To,
            "ts" => Key::Ts,
            "payload" => Key::Payload,
            "replyTo" => Key::ReplyTo,
            _ => Key::Unknown,
        })
    }
}

/// A time read without a copy of its text.
struct Moment(Timestamp);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Moment, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Moment;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Moment, E> {
                Timestamp::parse(text).map(Moment).map_err(|e| E::custom(format_args!("ts: {e}")))
            }
        }
        d.deserialize_str(Text)
    }
}

struct MessageVisitor;

impl<'de> Visitor<'de> for MessageVisitor {
    type Value = Message;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Message, A::Error> {
        let (mut id, mut kind, mut ts, mut payload) = (None, None, None, RawPayload::NULL);
        let (mut from, mut to, mut reply_to) = (String::new(), String::new(), None);
        let mut seen = 0u8;
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let (bit, name) = match key {
                Key::Id => (1, "id"),
                Key::Type => (2, "type"),
                Key::From => (4, "from"),
                Key::To => (8, "to"),
                Key::Ts => (16, "ts"),
                Key::Payload => (32, "payload"),
                Key::ReplyTo => (64, "replyTo"),
                Key::Unknown => (0, ""),
            };
            if seen & bit != 0 {
                return Err(A::Error::duplicate_field(name));
            }
            seen |= bit;
            match key {
                Key::Id => id = Some(map.next_value::<String>()?),
                Key::Type => kind = Some(map.next_value::<MessageType>()?),
                // Absent and null are empty, as in Go; whether that is allowed depends on the message.
                Key::From => from = map.next_value::<Option<String>>()?.unwrap_or_default(),
                Key::To => to = map.next_value::<Option<String>>()?.unwrap_or_default(),
                Key::Ts => ts = map.next_value::<Option<Moment>>()?,
                Key::Payload => payload = RawPayload::from_valid(map.next_value::<&'de RawValue>()?.get()),
                Key::ReplyTo => reply_to = map.next_value::<Option<String>>()?.filter(|id| !id.is_empty()),
                Key::Unknown => drop(map.next_value::<serde::de::IgnoredAny>()?),
            }
        }
        Ok(Message {
            id: id.ok_or_else(|| A::Error::missing_field("id"))?,
            kind: kind.ok_or_else(|| A::Error::missing_field("type"))?,
            from,
            to,
            ts: ts.map_or(Timestamp::ZERO, |m| m.0),
            payload,
            reply_to,
        })
    }
}

impl<'de> Deserialize<'de> for Message {
    /// From JSON text in memory only (the payload is borrowed from it). [`Message::decode`] also checks
    /// the limits.
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Message, D::Error> {
        d.deserialize_map(MessageVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Announcement, ErrorCode, MinerStatsItem, Ping, Stats};
    use super::*;
    use crate::base::Time;
    use crate::identity::{SecretKey, SignKey};

    fn now() -> Now {
        Now { mono: Time::ZERO, wall: Timestamp::from_unix(1_775_923_046, 120_000_000) }
    }

    #[test]
    fn a_reply_swaps_the_ends_and_names_its_request() {
        let mut rng = Rng::from_number(1);
        let request = Message::new(now(), &mut rng, "a", "b", &Payload::GetStats);
        assert!(request.payload.is_null());
        let reply = request.error_reply(now(), &mut rng, ErrorCode::NOT_FOUND, "no <x>");
        assert_eq!((reply.from.as_str(), reply.to.as_str()), ("b", "a"));
        assert_eq!(reply.reply_to.as_ref(), Some(&request.id));
        assert_eq!(reply.payload.as_str(), r#"{"code":1003,"message":"no <x>"}"#);
        assert_eq!(Message::decode(reply.encode().as_bytes()).unwrap(), reply);
    }

    #[test]
    fn no_payload_type_takes_an_array_for_an_object() {
        for kind in MessageType::ALL.into_iter().filter(|k| *k != MessageType::GetStats) {
            let raw = RawPayload::from_text("[]").unwrap();
            assert!(Payload::decode(&kind, &raw).is_err(), "{kind}");
            let empty = Payload::decode(&kind, &RawPayload::NULL).unwrap();
            assert_eq!(Payload::decode(&kind, &empty.encode()).unwrap(), empty, "{kind}");
        }
    }

    #[test]
    fn a_malformed_announcement_is_none_and_the_ping_still_counts() {
        let mut rng = Rng::from_number(2);
        let (secret, sign) = (SecretKey::generate(&mut rng), SignKey::generate(&mut rng));
        let x = secret.public_key();
        let announcement = Announcement {
            v: 1,
            caps: vec!["chunk1".into()],
            rate: 2000,
            burst: 4000,
            max: 1 << 20,
            sign: Some(sign.public()),
            bind: Some(sign.bind_signature(&x)),
        };
        let ping = Ping { sent_at: 5, rigmesh: Some(announcement.clone()) };
        let raw = Payload::Ping(ping.clone()).encode();
        assert!(raw.as_str().starts_with(
            r#"{"sentAt":5,"rigmesh":{"v":1,"caps":["chunk1"],"rate":2000,"burst":4000,"max":1048576,"sign":""#
        ));
        assert_eq!(raw.parse::<Ping>().unwrap(), ping);
        assert_eq!(announcement.bound_sign_key(&x), Some(sign.public()));
        assert_eq!(announcement.bound_sign_key(&SecretKey::generate(&mut rng).public_key()), None);
        for bad in ["5", "null", "[]", "{}", r#"{"v":1,"sign":"AA=="}"#, r#"{"v":1,"caps":7}"#, r#"{"v":1,"v":1}"#] {
            let raw = RawPayload::from_text(&format!(r#"{{"sentAt":5,"rigmesh":{bad}}}"#)).unwrap();
            assert_eq!(raw.parse::<Ping>().unwrap(), Ping { sent_at: 5, rigmesh: None }, "{bad}");
        }
    }

    #[test]
    fn an_unknown_hashrate_is_marked_and_a_known_one_is_plain() {
        let item = MinerStatsItem { name: "m".into(), ..MinerStatsItem::default() };
        let plain = RawPayload::from_value(&item).unwrap();
        let go = r#"{"name":"m","type":"","hashrate":0,"shares":0,"rejected":0,"uptime":0,"pool":"","algorithm":""}"#;
        assert_eq!(plain.as_str(), go);
        let unknown = MinerStatsItem { hashrate_known: false, state: Some("running".into()), ..item };
        let stats = Stats { miners: Some(vec![unknown.clone()]), ..Stats::default() };
        let raw = Payload::Stats(stats.clone()).encode();
        assert!(raw.as_str().contains(r#""state":"running","hashrateKnown":false}"#), "{}", raw.as_str());
        assert_eq!(raw.parse::<Stats>().unwrap(), stats);
    }

    #[test]
    fn a_known_key_comes_once_in_payloads_too() {
        for bad in [
            r#"{"id":"a","type":"ping","replyTo":"x","replyTo":"y"}"#,
            r#"{"id":"a","type":"ping","payload":1,"payload":1}"#,
            r#"{"id":"a","type":null}"#,
            r#"{"type":"ping"}"#,
        ] {
            assert!(Message::decode(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(RawPayload::from_text(r#"{"sentAt":1,"sentAt":1}"#).unwrap().parse::<Ping>().is_err());
        let message = Message::decode(br#"{"id":"","type":"x","to":null,"replyTo":null,"zz":1,"zz":2}"#).unwrap();
        assert_eq!(
            message.encode(),
            r#"{"id":"","type":"x","from":"","to":"","ts":"0001-01-01T00:00:00Z","payload":null}"#
        );
    }
}
