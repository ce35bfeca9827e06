//! A UEPS packet on a 1.0 link (ueps.md): a message of ours, which only peers that announced `ueps1` are sent.

use super::raw::base64;
use crate::formats::reading::{go_bytes_or_empty, object_only};
use serde::{Deserialize, Serialize};

/// Payload of `ueps` and of `ueps_reply`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct UepsFrame {
    /// One whole packet, as [`crate::wire::ueps::encode`] writes it, keyed for the link.
    #[serde(serialize_with = "base64", deserialize_with = "go_bytes_or_empty")]
    pub frame: Vec<u8>,
}

object_only!(UepsFrame);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{MessageType, Payload};

    #[test]
    fn a_packet_and_its_answer_are_two_types_of_one_shape() {
        let frame = UepsFrame { frame: vec![1, 0, 1, 9] };
        for (payload, kind) in [
            (Payload::Ueps(frame.clone()), MessageType::Ueps),
            (Payload::UepsReply(frame.clone()), MessageType::UepsReply),
        ] {
            let raw = payload.encode();
            assert_eq!(raw.as_str(), r#"{"frame":"AQABCQ=="}"#);
            assert_eq!(Payload::decode(&kind, &raw).unwrap(), payload);
        }
        assert!(
            Payload::decode(
                &MessageType::Ueps,
                &crate::message::RawPayload::from_value(&serde_json::json!({"frame": "*"})).unwrap()
            )
            .is_err()
        );
    }
}
