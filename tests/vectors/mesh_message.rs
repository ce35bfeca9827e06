//! mesh/message.json: the bytes of all messages, and what is read.

use crate::support::{Outcome, Run, all, bytes, same, text, verdict};
use rigmesh::base::{Error, Now, Rng, Time, Timestamp};
use rigmesh::message::{
    Deploy, Message, MessageType, Payload, Ping, RawPayload, is_protocol_error, protocol_error_code, validate_response,
};
use serde_json::Value;

fn raw(value: &Value) -> RawPayload {
    value.as_str().map_or(RawPayload::NULL, |text| RawPayload::from_text(text).unwrap())
}

fn reencoded(kind: &MessageType, raw: &RawPayload) -> String {
    Payload::decode(kind, raw).unwrap().encode().as_str().to_owned()
}

pub(crate) fn encode(run: &mut Run<'_>) {
    let mut kinds: Vec<&str> = run.value().as_array().unwrap().iter().map(|c| text(&c["input"], "type")).collect();
    kinds.sort_unstable();
    kinds.dedup();
    run.case("all fifteen types are there", || same("types", kinds.len(), MessageType::ALL.len()));
    run.each(|case| {
        let input = &case["input"];
        let number = |key: &str| input[key].as_i64().unwrap();
        let ts = Timestamp::from_unix(number("ts_unix_seconds"), number("ts_nanos") as u32);
        let (kind, payload) = (MessageType::from(text(input, "type")), raw(&input["payload_text"]));
        let reply_to = Some(text(input, "replyTo").to_owned()).filter(|id| !id.is_empty());
        let message = Message {
            id: text(input, "id").to_owned(),
            kind: kind.clone(),
            from: text(input, "from").to_owned(),
            to: text(input, "to").to_owned(),
            ts: ts.with_offset((number("ts_offset_seconds") / 60) as i16),
            payload: payload.clone(),
            reply_to,
        };
        let want = bytes(case, "bytes");
        assert_eq!(want, text(case, "text").as_bytes());
        // The typed payload gives the same bytes, also when it is built from the fields alone (in any
        // order); only a configuration is raw text whose spelling the fields do not keep.
        let fields = match &case["payload_struct"] {
            Value::Object(fields) if !fields.contains_key("config") => {
                reencoded(&kind, &RawPayload::from_text(&case["payload_struct"].to_string()).unwrap())
            }
            _ => payload.as_str().to_owned(),
        };
        all([
            same("encoded", message.encode().into_bytes(), want.clone()),
            // Go spells its replacement of invalid UTF-8 as an escape; no text of ours is invalid.
            same("typed payload", reencoded(&kind, &payload), payload.as_str().replace("\\ufffd", "\u{fffd}")),
            same("payload from its fields", fields.as_str(), payload.as_str()),
            same("decoded", Message::decode(&want).unwrap(), message),
        ])
    });
}

/// The input of a decode case; two are described only.
fn input(case: &Value) -> Vec<u8> {
    match case["input_is"].as_str() {
        None => bytes(case, "input"),
        Some(story) => {
            let depth: usize = text(case, "desc").strip_prefix("deep nesting ").unwrap().parse().unwrap();
            assert!(story.ends_with("payload value is that many nested arrays"), "{story}");
            format!(r#"{{"id":"a","type":"ping","payload":{}{}}}"#, "[".repeat(depth), "]".repeat(depth)).into_bytes()
        }
    }
}

pub(crate) fn decode(run: &mut Run<'_>) {
    run.each(|case| {
        let theirs = case["error"].is_null() && case["panic"].is_null();
        verdict(theirs, Message::decode(&input(case)), |message| {
            let ping = message.parse::<Ping>();
            let sent_at = ping.as_ref().map_or(0, |p| p.sent_at);
            all([
                same("written again", message.encode().into_bytes(), bytes(case, "remarshalled")),
                same("reads as ping", ping.is_ok(), case["parse_as_ping_error"].is_null()),
                same("sentAt", sent_at, case["ping_sentAt"].as_i64().unwrap()),
            ])
        })
    });
}

pub(crate) fn payload_parse(run: &mut Run<'_>) {
    run.each(|case| {
        let (theirs, payload) = (case["error"].is_null(), RawPayload::from_text(text(case, "payload")).unwrap());
        match text(case, "into") {
            "ping" => verdict(theirs, payload.parse::<Ping>(), |ping| {
                let (ours, theirs) = (ping.sent_at, case["sentAt"].as_i64().unwrap());
                if ours == theirs {
                    Outcome::Same
                } else {
                    Outcome::Other(format!("sentAt {ours} instead of {theirs}"))
                }
            }),
            "deploy" => verdict(theirs, payload.parse::<Deploy>(), |deploy| {
                all([
                    same("nil", deploy.data.is_none(), case["data_nil"].as_bool().unwrap()),
                    same("data", deploy.data.unwrap_or_default(), bytes(case, "data")),
                ])
            }),
            other => Outcome::Wrong(format!("no payload is called {other}")),
        }
    });
}

pub(crate) fn validate(run: &mut Run<'_>) {
    run.each(|case| {
        let message = |kind: &str, payload: &str| Message {
            id: "r".to_owned(),
            kind: kind.into(),
            from: String::new(),
            to: String::new(),
            ts: Timestamp::ZERO,
            payload: RawPayload::from_text(payload).unwrap(),
            reply_to: None,
        };
        // The code and words that the answer carried, from the original's text of the error.
        let told = case["error"].as_str().and_then(|e| e.strip_prefix("remote error (")?.split_once("): "));
        let error = told.map_or_else(String::new, |(code, text)| format!(r#"{{"code":{code},"message":"{text}"}}"#));
        let answer = match text(case, "desc") {
            "nil" => None,
            "right" => Some(message(text(case, "expected"), "{}")),
            "wrong type" => Some(message("stats", "{}")),
            "error" | "error expected as type" => Some(message("error", &error)),
            "error unparsable" => Some(message("error", "\"x\"")),
            "error nil payload" => Some(message("error", "null")),
            other => return Outcome::Wrong(format!("a case {other} that this test does not know")),
        };
        let result = validate_response(answer.as_ref(), &text(case, "expected").into());
        let remote = result.as_ref().err().filter(|e| is_protocol_error(e)).map(Error::to_string);
        all([
            same("accepted", result.is_ok(), case["error"].is_null()),
            same("remote error", remote.is_some(), case["is_protocol_error"].as_bool().unwrap()),
            same("words", remote.as_deref(), told.and(case["error"].as_str())),
            same("code", result.as_ref().err().map_or(0, protocol_error_code), case["code"].as_i64().unwrap()),
        ])
    });
}

pub(crate) fn reply(run: &mut Run<'_>) {
    run.case("reply", || {
        let now = Now { mono: Time::ZERO, wall: Timestamp::from_unix(1_700_000_000, 120_000_000) };
        let mut rng = Rng::from_number(1);
        let request = Message::new(now, &mut rng, "a", "b", &Payload::GetStats);
        let reply = request.reply(now, &mut rng, &Payload::GetStats);
        let uuid = uuid::Uuid::parse_str(&reply.id).unwrap();
        all([
            same("from", reply.from.as_str(), "b"),
            same("to", reply.to.as_str(), "a"),
            same("replyTo", reply.reply_to.as_ref(), Some(&request.id)),
            same("a fresh id", reply.id != request.id && uuid.get_version_num() == 4, true),
            same("ts", reply.ts.to_string().as_str(), "2023-11-14T22:13:20.12Z"),
        ])
    });
}
