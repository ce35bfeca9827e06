//! What neighbours tell each other about where rigs are (secure-session.md §8), between RigMesh nodes that announced `gossip1`.

use super::raw::base64;
use crate::base::{base64_decode_strict, base64_encode};
use crate::formats::reading::{go_bytes_or_empty, object_only};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Records of others in one message.
pub const GOSSIP_OTHERS_MAX: usize = 8;

/// Payload of `gossip`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct Gossip {
    /// The sender's own signed record; empty (left out) when it has none.
    #[serde(serialize_with = "base64", deserialize_with = "go_bytes_or_empty", skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<u8>,
    /// Whether the sender agrees that its record be told to others.
    pub share: bool,
    /// Signed records of neighbours of the sender that agreed, at most [`GOSSIP_OTHERS_MAX`]; left out when there are none.
    #[serde(serialize_with = "texts", deserialize_with = "records", skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Vec<u8>>,
}

object_only!(Gossip);

fn texts<S: Serializer>(records: &[Vec<u8>], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(records.iter().map(|record| base64_encode(record)))
}

fn records<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Vec<u8>>, D::Error> {
    let texts = Vec::<String>::deserialize(d)?;
    if texts.len() > GOSSIP_OTHERS_MAX {
        return Err(serde::de::Error::custom("more records than a message may have"));
    }
    texts.iter().map(|text| base64_decode_strict("record", text).map_err(serde::de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{MessageType, Payload, RawPayload};

    #[test]
    fn gossip_is_written_and_read_and_bounded() {
        let gossip = Gossip { own: vec![1], share: true, others: vec![vec![2], vec![3]] };
        let raw = Payload::Gossip(gossip.clone()).encode();
        assert_eq!(raw.as_str(), r#"{"own":"AQ==","share":true,"others":["Ag==","Aw=="]}"#);
        assert_eq!(Payload::decode(&MessageType::Gossip, &raw).unwrap(), Payload::Gossip(gossip));
        assert_eq!(Payload::Gossip(Gossip::default()).encode().as_str(), r#"{"share":false}"#);
        let read = |text: &str| Payload::decode(&MessageType::Gossip, &RawPayload::from_text(text).unwrap());
        assert!(read(r#"{"others":["*"]}"#).is_err() && read("[]").is_err());
        let many = ["\"AQ==\""; GOSSIP_OTHERS_MAX + 1].join(",");
        assert!(read(&format!(r#"{{"others":[{many}]}}"#)).is_err());
    }
}
