//! mesh/ueps.json: packets written, streams read (both readings), packets dispatched.

use crate::support::{Outcome, Run, all, bytes, same, text, verdict};
use rigmesh::base::Error;
use rigmesh::wire::ueps::{self, Defect, Deframer, DispatchError, Dispatcher, Header, Key, Reading, decode};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Hex, or so many times the same bytes.
fn payload(case: &Value) -> Vec<u8> {
    let payload = &case["payload"];
    match payload["n"].as_u64() {
        Some(n) => bytes(payload, "repeat").repeat(n as usize),
        None => bytes(case, "payload"),
    }
}

fn header(value: &Value) -> Header {
    let byte = |key: &str| value[key].as_u64().unwrap() as u8;
    Header {
        version: byte("version"),
        current_layer: byte("currentLayer"),
        target_layer: byte("targetLayer"),
        intent: byte("intentId"),
        threat_score: value["threatScore"].as_u64().unwrap() as u16,
    }
}

pub(crate) fn build(run: &mut Run<'_>) {
    run.each(|case| {
        let (header, payload, key) = (header(&case["header"]), payload(case), Key::from_bytes(&bytes(case, "secret")));
        let mut out = vec![0; ueps::encoded_len(payload.len()).unwrap()];
        let length = ueps::encode(&header, &payload, &key, &mut out).unwrap();
        let mut appended = Vec::new();
        ueps::encode_to(&header, &payload, &key, &mut appended).unwrap();
        let packet = decode(&out, Reading::Strict).unwrap().0.verify(&key).unwrap();
        let theirs = match case["frame"].as_str() {
            Some(_) => same("frame", out.clone(), bytes(case, "frame")),
            None => all([
                same("prefix", out[..bytes(case, "frame_prefix").len()].to_vec(), bytes(case, "frame_prefix")),
                same("length", out.len() as u64, case["frame_len"].as_u64().unwrap()),
                same("hash", hex::encode(Sha256::digest(&out)).as_str(), text(case, "frame_sha256")),
            ]),
        };
        all([
            theirs,
            same("length written", length, out.len()),
            same("appended", appended.as_slice(), out.as_slice()),
            same("header read", *packet.header(), header),
            same("payload read", packet.payload(), payload.as_slice()),
        ])
    });
}

pub(crate) fn build_errors(run: &mut Run<'_>) {
    run.each(|case| {
        let mut out = Vec::new();
        let written = ueps::encode_to(&Header::new(0x20), &payload(case), &Key::from_bytes(b""), &mut out);
        assert!(out.is_empty() && ueps::encoded_len(payload(case).len()).is_err());
        verdict(case["error"].is_null(), written, |()| Outcome::Same)
    });
}

/// A packet that was read.
type Read = (Header, Vec<u8>);

/// The packets of a stream, and why there are no more. Cutting it anywhere changes nothing.
fn packets(stream: &[u8], key: &Key, reading: Reading) -> Vec<Result<Read, Defect>> {
    let read = |size: usize| {
        let (mut deframer, mut read) = (Deframer::new(reading), Vec::new());
        for mut piece in stream.chunks(size) {
            loop {
                let packet = deframer.handle_bytes(&mut piece).and_then(|f| f.map(|f| f.verify(key)).transpose());
                match packet {
                    Ok(Some(packet)) => read.push(Ok((*packet.header(), packet.payload().to_vec()))),
                    Ok(None) => break,
                    Err(defect) => {
                        read.push(Err(defect));
                        return read;
                    }
                }
            }
        }
        // The original says EOF at a clean end as well.
        read.push(Err(deframer.handle_end().err().unwrap_or(Defect::Truncated)));
        read
    };
    let whole = read(stream.len().max(1));
    for size in [1, 2, 3, 58, 59, 60] {
        assert_eq!(read(size), whole, "cut every {size} bytes");
    }
    whole
}

/// Our reading of a stream beside the original's.
fn compare(case: &Value, reading: Reading) -> Outcome {
    let ours = packets(&bytes(case, "stream"), &Key::from_bytes(&bytes(case, "secret")), reading);
    let results = case["results"].as_array().unwrap().iter();
    all(results.zip(ours).map(|(theirs, ours)| {
        // A crash of the original is no acceptance.
        let (error, accepted) = (theirs["error"].as_str(), theirs["error"].is_null() && theirs["panic"].is_null());
        if let (Some(error), Err(ours)) = (error, &ours)
            && error.contains("missing HMAC")
            && !error.ends_with(&ours.to_string())
        {
            return Outcome::Wrong(format!("{ours} instead of {error}"));
        }
        verdict(accepted, ours, |(read, payload)| {
            all([same("header", read, header(&theirs["header"])), same("payload", payload, bytes(theirs, "payload"))])
        })
    }))
}

pub(crate) fn read(run: &mut Run<'_>) {
    for case in run.value().as_array().unwrap() {
        let name = text(case, "desc");
        run.case(name, || compare(case, Reading::Strict));
        run.case(&format!("{name}; leniently"), || compare(case, Reading::Lenient));
    }
}

pub(crate) fn dispatch(run: &mut Run<'_>) {
    let registered: Vec<u8> =
        run.root["dispatch_registered"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u8).collect();
    run.each(|case| {
        // Without a packet there is nothing to call: the type says it.
        let Some(intent) = case["intent"].as_u64() else { return same("error", case["error"].is_string(), true) };
        let mut dispatcher = Dispatcher::new();
        for intent in &registered {
            let fails = *intent == 0x30;
            let handle = move |(): &(), _: &ueps::Packet<'_>| match fails {
                true => Err(Error::Failed("handler says no".to_owned())),
                false => Ok(()),
            };
            dispatcher.register_handler(*intent, handle);
        }
        let threat_score = case["threat"].as_u64().unwrap() as u16;
        let (key, mut bytes) = (Key::from_bytes(b"key"), Vec::new());
        ueps::encode_to(&Header { threat_score, ..Header::new(intent as u8) }, b"", &key, &mut bytes).unwrap();
        let packet = decode(&bytes, Reading::Strict).unwrap().0.verify(&key).unwrap();
        let ours = dispatcher.dispatch(&(), &packet);
        let theirs = case["error"].as_str();
        match (theirs, &ours) {
            (None, Ok(())) => Outcome::Same,
            (Some(text), Err(DispatchError::ThreatScoreExceeded(_))) if text.contains("threat score exceeds") => {
                Outcome::Same
            }
            (Some(text), Err(DispatchError::UnknownIntent(_))) if text.contains("unknown intent") => Outcome::Same,
            (Some(text), Err(DispatchError::Handler(error))) => same("error", error.to_string().as_str(), text),
            _ => Outcome::Wrong(format!("{ours:?} instead of {theirs:?}")),
        }
    });
}
