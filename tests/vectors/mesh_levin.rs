//! mesh/levin.json: headers, packets, varints, and portable storage, byte for byte.

use crate::support::{Outcome, Run, all, array, bytes, same, text, verdict};
use rigmesh::wire::levin::{
    Array, Deframer, HEADER_BYTES, Header, Kind, LevinError, Message, PAYLOAD_BYTES_MAX, Reading, SIGNATURE, Section,
    Value, command, decode_varint, encode_varint,
};
use serde_json::{Value as Json, json};

/// A number, as text or as itself.
fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Json) -> T {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).parse().unwrap()
}

fn header(case: &Json) -> Header {
    Header {
        payload_bytes: number(&case["payloadSize"]),
        expects_response: case["expectResponse"].as_bool().unwrap(),
        command: number(&case["command"]),
        return_code: number(&case["returnCode"]),
        flags: number(&case["flags"]),
        version: number(&case["protocolVersion"]),
    }
}

/// The words of the original for an error of ours.
fn words(error: &LevinError) -> &'static str {
    match error {
        LevinError::Signature => "bad signature",
        LevinError::PayloadTooLarge { .. } => "payload exceeds maximum size",
        LevinError::Truncated(_) => "truncated",
        LevinError::StorageSignature => "bad storage signature",
        LevinError::StorageVersion(_) => "unsupported storage version",
        LevinError::NameTooLong(_) => "entry name exceeds 255 bytes",
        LevinError::TypeMismatch { .. } => "value type mismatch",
        LevinError::UnknownType(_) => "unknown type tag",
        LevinError::TrailingBytes(_) | LevinError::DuplicateName(_) => "",
        other => panic!("{other}"),
    }
}

pub(crate) fn headers(run: &mut Run<'_>) {
    run.each(|case| {
        let wire: [u8; HEADER_BYTES] = array(case, "bytes");
        let decoded = Header::decode(&wire);
        let theirs = case["decode_error"].as_str();
        let mut stream = &wire[..];
        let framed = Deframer::new(PAYLOAD_BYTES_MAX).handle_bytes(&mut stream);
        let written = match case["header"].as_object() {
            Some(given)
                if number::<u64>(&json!(u64::from_str_radix(text(&case["header"], "signature"), 16).unwrap()))
                    == SIGNATURE =>
            {
                same("written", header(&Json::Object(given.clone())).encode(), wire)
            }
            _ => Outcome::Same,
        };
        let read = match (theirs, &decoded) {
            (None, Ok(ours)) => same("read", *ours, header(&case["decoded"])),
            (Some(theirs), Err(ours)) => all([
                same("words", theirs.contains(words(ours)), true),
                same("the deframer says the same", framed.as_ref().err(), Some(ours)),
            ]),
            (theirs, ours) => Outcome::Other(format!("{theirs:?} and {ours:?}")),
        };
        all([written, read])
    });
}

pub(crate) fn packets(run: &mut Run<'_>) {
    run.each(|case| {
        let (command, payload) = (number(&case["command"]), bytes(case, "payload"));
        let ours = match (case["response"].as_bool().unwrap(), case["expect_response"].as_bool().unwrap()) {
            (true, _) => Message::response(command, number(&case["return_code"]), payload),
            (false, true) => Message::request(command, payload),
            (false, false) => Message::notification(command, payload),
        };
        let wire = bytes(case, "bytes");
        let (mut rest, mut pieces) = (&wire[..], Deframer::new(1 << 20));
        let whole = Deframer::new(1 << 20).handle_bytes(&mut rest).unwrap();
        let byte_by_byte = wire.iter().find_map(|b| pieces.handle_bytes(&mut &[*b][..]).unwrap());
        all([
            same("written", ours.encode().unwrap(), wire.clone()),
            same("read", whole, Some(ours.clone())),
            same("read in pieces", byte_by_byte, Some(ours)),
        ])
    });
}

pub(crate) fn varints(run: &mut Run<'_>) {
    run.each(|case| {
        let (value, wire, mut ours) = (number::<u64>(&case["value"]), bytes(case, "bytes"), Vec::new());
        let read = (number::<u64>(&case["decoded"]), number::<usize>(&case["consumed"]));
        let written = encode_varint(value, &mut ours);
        let read = same("read", decode_varint(&wire), Ok(read));
        // What the original writes and cannot read back, it truncated.
        match (case["round_trips"].as_bool().unwrap(), written) {
            (true, Ok(())) => all([read, same("written", ours, wire)]),
            (false, Err(e)) => all([read, Outcome::Other(e.to_string())]),
            (_, written) => Outcome::Wrong(format!("{written:?}")),
        }
    });
}

pub(crate) fn varint_decode(run: &mut Run<'_>) {
    run.each(|case| {
        let read = (number::<u64>(&case["decoded"]), number::<usize>(&case["consumed"]));
        verdict(case["error"].is_null(), decode_varint(&bytes(case, "bytes")), |ours| same("read", ours, read))
    });
}

/// A value as the file spells it.
fn value(case: &Json) -> Result<Value, LevinError> {
    let tag = number::<u8>(&case["t"]);
    let (kind, is_array) = Kind::from_tag(tag)?;
    let v = &case["v"];
    let list = |v: &Json| v.as_array().cloned().unwrap_or_default();
    let hex = |v: &Json| hex::decode(v.as_str().unwrap()).unwrap();
    Ok(match (kind, is_array) {
        (Kind::I64, false) => number::<i64>(v).into(),
        (Kind::I32, false) => number::<i32>(v).into(),
        (Kind::I16, false) => number::<i16>(v).into(),
        (Kind::I8, false) => number::<i8>(v).into(),
        (Kind::U64, false) => number::<u64>(v).into(),
        (Kind::U32, false) => number::<u32>(v).into(),
        (Kind::U16, false) => number::<u16>(v).into(),
        (Kind::U8, false) => number::<u8>(v).into(),
        (Kind::F64, false) => f64::from_bits(u64::from_str_radix(text(case, "bits"), 16).unwrap()).into(),
        (Kind::Bool, false) => v.as_bool().unwrap().into(),
        (Kind::String, false) => hex(v).into(),
        (Kind::Object, false) => section(v)?.into(),
        (Kind::U64, true) => Array::U64(list(v).iter().map(number).collect()).into(),
        (Kind::U32, true) => Array::U32(list(v).iter().map(number).collect()).into(),
        (Kind::U16, true) => Array::U16(list(v).iter().map(number).collect()).into(),
        (Kind::String, true) => Array::String(list(v).iter().map(hex).collect()).into(),
        (Kind::Object, true) => Array::Object(list(v).iter().map(section).collect::<Result<_, _>>()?).into(),
        // The original has no arrays of these, so the file has no values of them.
        (kind, true) => Array::empty(kind).into(),
    })
}

fn section(case: &Json) -> Result<Section, LevinError> {
    let mut section = Section::new();
    for entry in case.as_array().map(Vec::as_slice).unwrap_or_default() {
        section.set_bytes(&hex::decode(entry[0].as_str().unwrap()).unwrap(), value(&entry[1])?);
    }
    Ok(section)
}

/// Trees are compared as canonical bytes: not every double equals itself.
fn canonical(section: &Section) -> String {
    hex::encode(section.encode().unwrap())
}

pub(crate) fn storage(run: &mut Run<'_>) {
    run.each(|case| {
        let ours = section(&case["section"]).and_then(|section| section.encode());
        match (case["error"].as_str(), ours) {
            (None, Ok(ours)) => {
                let read = Section::decode(&ours).unwrap();
                all([
                    same("written", hex::encode(&ours).as_str(), text(case, "bytes")),
                    same("read", canonical(&read), canonical(&section(&case["decoded"]).unwrap())),
                ])
            }
            (Some(theirs), Err(ours)) => same("words", theirs.contains(words(&ours)), true),
            (theirs, ours) => Outcome::Other(format!("{theirs:?} and {ours:?}")),
        }
    });
}

pub(crate) fn storage_decode(run: &mut Run<'_>) {
    run.each(|case| {
        let (wire, theirs) = (bytes(case, "bytes"), case["error"].as_str());
        let crashed = !case["panic"].is_null();
        let (strict, lenient) =
            (Section::decode(&wire), Section::decode_with(&wire, &Reading { lenient: true, ..Reading::default() }));
        let decoded = (!case["decoded"].is_null()).then(|| canonical(&section(&case["decoded"]).unwrap()));
        // The lenient reader reads all that the original reads, and the same.
        let as_theirs = match (&decoded, &lenient) {
            (Some(theirs), Ok(ours)) => same("read leniently", &canonical(ours), theirs),
            (Some(_), Err(e)) => Outcome::Wrong(format!("the lenient reader refuses: {e}")),
            (None, _) => Outcome::Same,
        };
        let ours = match (theirs, &strict) {
            (Some(theirs), Err(ours)) => same("words", theirs.contains(words(ours)), true),
            _ => verdict(theirs.is_none() && !crashed, strict, |ours| same("read", Some(canonical(&ours)), decoded)),
        };
        all([as_theirs, ours])
    });
}

pub(crate) fn type_mismatch(run: &mut Run<'_>) {
    let theirs = run.value().as_str().unwrap().to_owned();
    run.case("type mismatch", || {
        let error = Section::new().with("x", 1u8).read::<u64>("x").unwrap_err();
        same("words", theirs.contains(words(&error)) && error.to_string().contains("value type mismatch"), true)
    });
}

pub(crate) fn varint_overflow(run: &mut Run<'_>) {
    run.case("varint overflow", || {
        assert_eq!(command::HANDSHAKE, 1001);
        same("refused", encode_varint(u64::MAX, &mut Vec::new()), Err(LevinError::VarintOverflow(u64::MAX)))
    });
}
