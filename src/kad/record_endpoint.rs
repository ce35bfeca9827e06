//! The content of an endpoint record: where its owner is reached (dht.md §7.1).

use super::Fault;
use crate::wire::cbor::{MapWriter, Reader};

/// The payload that every answer can carry twice, as nodes of version 0.1.7 send it; with more they answer nothing.
pub const ENDPOINT_BYTES_SERVED: usize = 345;

/// How a node's NAT behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NatType {
    /// Not known.
    #[default]
    Unknown = 0,
    /// Anyone reaches the mapped port.
    FullCone = 1,
    /// Addresses that were written to reach it.
    Restricted = 2,
    /// Addresses and ports that were written to reach it.
    PortRestricted = 3,
    /// Another port for every peer.
    Symmetric = 4,
}

impl NatType {
    const ALL: [NatType; 5] =
        [NatType::Unknown, NatType::FullCone, NatType::Restricted, NatType::PortRestricted, NatType::Symmetric];
}

/// Where an owner is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointPayload {
    /// Places, by convention `quic://host:port`; a rig's are `ws://…` and `wss://…`. `None` is written as null.
    pub endpoints: Option<Vec<String>>,
    /// The NAT in front of it.
    pub nat_type: NatType,
    /// A signalling server: at most 2,048 bytes; the first of `signals` if there are several.
    pub signal: String,
    /// TURN servers: at most 16 of at most 512 bytes.
    pub turns: Vec<String>,
    /// Signalling servers: at most 8 of at most 2,048 bytes.
    pub signals: Vec<String>,
}

impl EndpointPayload {
    /// The canonical CBOR.
    ///
    /// # Errors
    /// [`Fault::Payload`] for what [`EndpointPayload::decode`] would refuse.
    pub fn encode(&self) -> Result<Vec<u8>, Fault> {
        self.check()?;
        let mut map = MapWriter::new();
        map.optional_texts(1, self.endpoints.as_deref()).uint(2, self.nat_type as u8);
        if !self.signal.is_empty() {
            map.text(3, &self.signal);
        }
        for (key, list) in [(4, &self.turns), (5, &self.signals)] {
            if !list.is_empty() {
                map.optional_texts(key, Some(list));
            }
        }
        Ok(map.finish())
    }

    /// Reads a payload; null is an empty one, keys nobody knows are left out.
    ///
    /// # Errors
    /// [`Fault::Cbor`] or [`Fault::Payload`], by the limits of the fields.
    pub fn decode(bytes: &[u8]) -> Result<EndpointPayload, Fault> {
        let mut payload = EndpointPayload::default();
        Reader::whole(bytes, |r| {
            if r.take_null() {
                return Ok(());
            }
            r.map(|key, r| -> Result<bool, Fault> {
                match key {
                    1 => payload.endpoints = r.optional(texts)?,
                    2 => {
                        let number = usize::from(r.u8()?);
                        payload.nat_type = *NatType::ALL.get(number).ok_or(Fault::Payload("nat_type above 4"))?;
                    }
                    3 => payload.signal = r.optional(Reader::text)?.unwrap_or_default().to_owned(),
                    4 => payload.turns = r.optional(texts)?.unwrap_or_default(),
                    5 => payload.signals = r.optional(texts)?.unwrap_or_default(),
                    _ => return Ok(false),
                }
                Ok(true)
            })
        })?;
        payload.check()?;
        Ok(payload)
    }

    fn check(&self) -> Result<(), Fault> {
        let fits = |list: &[String], count: usize, bytes: usize| {
            list.len() <= count && list.iter().all(|text| text.len() <= bytes)
        };
        if self.signal.len() > 2048 {
            Err(Fault::Payload("a signal of more than 2048 bytes"))
        } else if !fits(&self.turns, 16, 512) {
            Err(Fault::Payload("more than 16 turns, or one of more than 512 bytes"))
        } else if !fits(&self.signals, 8, 2048) {
            Err(Fault::Payload("more than 8 signals, or one of more than 2048 bytes"))
        } else {
            Ok(())
        }
    }
}

/// A list of texts.
pub(super) fn texts(reader: &mut Reader<'_>) -> Result<Vec<String>, Fault> {
    let mut texts = Vec::new();
    reader.array(|r| {
        texts.push(r.text()?.to_owned());
        Ok::<(), Fault>(())
    })?;
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_null_and_an_empty_map_are_told_apart() {
        assert!(EndpointPayload::decode(b"").is_err());
        assert_eq!(EndpointPayload::decode(b"\xf6").unwrap(), EndpointPayload::default());
        assert_eq!(EndpointPayload::decode(b"\xa0").unwrap(), EndpointPayload::default());
        assert_eq!(EndpointPayload::default().encode().unwrap(), b"\xa2\x01\xf6\x02\x00");
        let empty = EndpointPayload { endpoints: Some(vec![]), ..EndpointPayload::default() };
        assert_eq!(EndpointPayload::decode(&empty.encode().unwrap()).unwrap(), empty);
    }

    #[test]
    fn limits_hold_when_writing_too() {
        let long = EndpointPayload { turns: vec![String::new(); 17], ..EndpointPayload::default() };
        assert!(long.encode().is_err());
        let long = EndpointPayload { signal: "x".repeat(2049), ..EndpointPayload::default() };
        assert!(long.encode().is_err());
    }
}
