//! Payloads of the messages that only RigMesh nodes exchange: chunked deployment (chunked-deploy.md)
//! and the versions installed on a rig. They are sent only to peers that announced them.

use super::RawPayload;
use super::raw::base64;
use crate::base::Error;
use crate::formats::reading::{go_bytes_or_empty, null_is_default, object_only};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Payload of `deploy_offer`, from the controller. Repeated, it is also the resume and the question "how far are
/// you?".
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct DeployOffer {
    /// The object's id: 64 hex digits.
    #[serde(deserialize_with = "null_is_default")]
    pub t: String,
    /// The number that stands for this offer in the other messages; the controller draws it.
    #[serde(deserialize_with = "null_is_default")]
    pub h: u32,
    /// The manifest, as the text that `t` is the hash of.
    #[serde(deserialize_with = "null_is_default")]
    pub manifest: String,
    /// A profile to store after the install; left out when there is none. May hold a wallet.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "RawPayload::is_null")]
    pub profile: RawPayload,
    /// Whether the installed version becomes the current one.
    #[serde(deserialize_with = "null_is_default")]
    pub activate: bool,
}

impl std::fmt::Debug for DeployOffer {
    /// Without the profile.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeployOffer {{ t: {:?}, h: {}, activate: {}, .. }}", self.t, self.h, self.activate)
    }
}

/// What a rig says to an offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OfferState {
    /// It will ask for what is missing.
    Need,
    /// Every file is there already: install follows.
    Have,
    /// This very object is installed already, and switched to when that was asked.
    Installed,
    /// Too many transfers run: try again later.
    Busy,
    /// No; the reason says why.
    Refused,
    /// A word we do not know, which counts as no.
    #[default]
    Unknown,
}

impl OfferState {
    const WORDS: [(OfferState, &'static str); 5] = [
        (OfferState::Need, "need"),
        (OfferState::Have, "have"),
        (OfferState::Installed, "installed"),
        (OfferState::Busy, "busy"),
        (OfferState::Refused, "refused"),
    ];
}

impl Serialize for OfferState {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let word = Self::WORDS.iter().find(|(state, _)| state == self).map_or("unknown", |(_, word)| word);
        s.serialize_str(word)
    }
}

impl<'de> Deserialize<'de> for OfferState {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<OfferState, D::Error> {
        let text = Box::<str>::deserialize(d)?;
        let known = Self::WORDS.iter().find(|(_, word)| **word == *text);
        Ok(known.map_or(OfferState::Unknown, |(state, _)| state.clone()))
    }
}

/// Payload of `deploy_state`, the rig's reply to an offer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct DeployState {
    /// The object's id.
    #[serde(deserialize_with = "null_is_default")]
    pub t: String,
    /// The offer's number.
    #[serde(deserialize_with = "null_is_default")]
    pub h: u32,
    /// What the rig will do.
    #[serde(deserialize_with = "null_is_default")]
    pub state: OfferState,
    /// Bytes it does not have yet.
    #[serde(deserialize_with = "null_is_default")]
    pub missing: u64,
    /// The version it is installed as; left out when it is not.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// Why not.
    #[serde(deserialize_with = "null_is_default")]
    pub reason: String,
}

/// Most ranges in one [`ChunkGet`].
pub(crate) const WANT_MAX: usize = 16;

/// Payload of `chunk_get`: the rig asks for chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct ChunkGet {
    /// The offer's number.
    #[serde(deserialize_with = "null_is_default")]
    pub h: u32,
    /// Ranges of chunks, first and count; at most 16.
    #[serde(deserialize_with = "ranges")]
    pub want: Vec<(u32, u32)>,
}

fn ranges<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<(u32, u32)>, D::Error> {
    let want: Option<Vec<(u32, u32)>> = Deserialize::deserialize(d)?;
    let want = want.unwrap_or_default();
    if want.len() > WANT_MAX {
        return Err(serde::de::Error::custom("more than 16 ranges"));
    }
    Ok(want)
}

/// Payload of `chunk`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct Chunk {
    /// The offer's number.
    #[serde(deserialize_with = "null_is_default")]
    pub h: u32,
    /// Which chunk.
    #[serde(deserialize_with = "null_is_default")]
    pub i: u32,
    /// Its bytes.
    #[serde(serialize_with = "base64", deserialize_with = "go_bytes_or_empty")]
    pub data: Vec<u8>,
}

impl Chunk {
    /// Bytes in front of a chunk in a frame of data.
    pub const HEAD_BYTES: usize = 8;

    /// The body of a frame of data, as secure sessions carry chunks (chunked-deploy.md): `h` and `index` as four bytes each,
    /// big-endian, then the chunk.
    pub fn encode_frame(h: u32, index: u32, data: &[u8]) -> Vec<u8> {
        let mut body = Vec::with_capacity(Chunk::HEAD_BYTES + data.len());
        body.extend_from_slice(&h.to_be_bytes());
        body.extend_from_slice(&index.to_be_bytes());
        body.extend_from_slice(data);
        body
    }

    /// The offer's number, which chunk it is, and its bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`] when not even those two numbers and one byte are there.
    pub fn decode_frame(body: &[u8]) -> crate::base::Result<(u32, u32, &[u8])> {
        let halves = body.split_first_chunk::<4>().and_then(|(h, rest)| Some((h, rest.split_first_chunk::<4>()?)));
        match halves {
            Some((h, (index, data))) if !data.is_empty() => {
                Ok((u32::from_be_bytes(*h), u32::from_be_bytes(*index), data))
            }
            _ => Err(Error::malformed("chunk", format!("{} bytes", body.len()))),
        }
    }
}

impl std::fmt::Debug for Chunk {
    /// Without the bytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chunk {{ h: {}, i: {}, {} bytes }}", self.h, self.i, self.data.len())
    }
}

/// Payload of `deploy_done`: the rig installed the object, or failed to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct DeployDone {
    /// The object's id.
    #[serde(deserialize_with = "null_is_default")]
    pub t: String,
    /// The offer's number.
    #[serde(deserialize_with = "null_is_default")]
    pub h: u32,
    /// Whether it worked.
    #[serde(deserialize_with = "null_is_default")]
    pub ok: bool,
    /// The version it is installed as.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// The error's code: [`super::ErrorCode`].
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// Why it did not work.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// Payload of `deploy_cancel`, from either side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct DeployCancel {
    /// The offer's number.
    #[serde(deserialize_with = "null_is_default")]
    pub h: u32,
    /// Why.
    #[serde(deserialize_with = "null_is_default")]
    pub reason: String,
}

/// Payload of `get_versions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct GetVersions {
    /// Of which miner; of all when empty.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// One installed version of a miner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct VersionItem {
    /// The miner's name.
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    /// Its number on this rig, counted up.
    #[serde(deserialize_with = "null_is_default")]
    pub slot: u32,
    /// What its maker calls it.
    #[serde(deserialize_with = "null_is_default")]
    pub version: String,
    /// Bytes of its files.
    #[serde(deserialize_with = "null_is_default")]
    pub size: u64,
    /// The id of the object it came as; empty when it came otherwise.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub t: String,
    /// Whether miners run this one.
    #[serde(deserialize_with = "null_is_default")]
    pub current: bool,
    /// `ok`, `trial`, or `rolled_back`.
    #[serde(deserialize_with = "null_is_default")]
    pub state: String,
    /// Why it was rolled back.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Payload of `versions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct Versions {
    /// All of them, by name, newest first.
    #[serde(deserialize_with = "null_is_default")]
    pub versions: Vec<VersionItem>,
}

/// Payload of `rollback`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct Rollback {
    /// Of which miner.
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    /// To which version; to the one before when left out.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
}

object_only!(
    DeployOffer,
    DeployState,
    ChunkGet,
    Chunk,
    DeployDone,
    DeployCancel,
    GetVersions,
    VersionItem,
    Versions,
    Rollback,
);

#[cfg(test)]
mod tests {
    use super::super::{MessageType, Payload};
    use super::*;

    #[test]
    fn a_chunk_in_a_frame_is_two_numbers_and_its_bytes() {
        let body = Chunk::encode_frame(0x0102_0304, 7, b"abc");
        assert_eq!(body, [1, 2, 3, 4, 0, 0, 0, 7, b'a', b'b', b'c']);
        assert_eq!(Chunk::decode_frame(&body).unwrap(), (0x0102_0304, 7, &b"abc"[..]));
        for length in 0..=Chunk::HEAD_BYTES {
            assert!(Chunk::decode_frame(&body[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn every_payload_is_read_as_it_was_written() {
        let offer = DeployOffer {
            t: "ab".repeat(32),
            h: u32::MAX,
            manifest: r#"{"v":1}"#.to_owned(),
            profile: RawPayload::from_value(&serde_json::json!({"id": "a"})).unwrap(),
            activate: true,
        };
        let payloads = [
            Payload::DeployOffer(offer.clone()),
            Payload::DeployOffer(DeployOffer { profile: RawPayload::NULL, ..offer }),
            Payload::DeployState(DeployState { state: OfferState::Have, slot: Some(3), ..DeployState::default() }),
            Payload::ChunkGet(ChunkGet { h: 1, want: vec![(0, 2), (7, 1)] }),
            Payload::Chunk(Chunk { h: 1, i: 2, data: vec![0, 255, 3] }),
            Payload::DeployDone(DeployDone { ok: false, code: Some(1004), error: "x".into(), ..DeployDone::default() }),
            Payload::DeployCancel(DeployCancel { h: 1, reason: "file changed".into() }),
            Payload::GetVersions(GetVersions::default()),
            Payload::Versions(Versions { versions: vec![VersionItem { slot: 7, ..VersionItem::default() }] }),
            Payload::Rollback(Rollback { name: "xmrig".into(), slot: None }),
        ];
        for payload in payloads {
            let kind = payload.kind();
            assert_eq!(MessageType::from(kind.as_str()), kind);
            assert_eq!(Payload::decode(&kind, &payload.encode()).unwrap(), payload);
        }
    }

    #[test]
    fn an_offer_is_written_as_the_specification_says() {
        let get = Payload::ChunkGet(ChunkGet { h: 4_294_967_295, want: vec![(0, 4)] });
        assert_eq!(get.encode().as_str(), r#"{"h":4294967295,"want":[[0,4]]}"#);
        let chunk = Payload::Chunk(Chunk { h: 1, i: 2, data: b"abc".to_vec() });
        assert_eq!(chunk.encode().as_str(), r#"{"h":1,"i":2,"data":"YWJj"}"#);
        let cancel = Payload::DeployCancel(DeployCancel { h: 1, reason: "r".into() });
        assert_eq!(cancel.encode().as_str(), r#"{"h":1,"reason":"r"}"#);
    }

    #[test]
    fn too_many_ranges_and_wild_numbers_are_refused() {
        let decode = |kind: MessageType, text: &str| {
            let raw: RawPayload = serde_json::from_str(text).unwrap();
            Payload::decode(&kind, &raw)
        };
        let many = format!(r#"{{"h":1,"want":[{}]}}"#, vec!["[0,1]"; 17].join(","));
        assert!(decode(MessageType::ChunkGet, &many).is_err());
        for bad in [r#"{"h":-1}"#, r#"{"h":4294967296}"#, r#"{"h":1,"h":1}"#, r#"{"h":1,"want":[[1]]}"#, "[]"] {
            assert!(decode(MessageType::ChunkGet, bad).is_err(), "{bad}");
        }
        let state = decode(MessageType::DeployState, r#"{"state":"maybe"}"#).unwrap();
        assert!(matches!(state, Payload::DeployState(s) if s.state == OfferState::Unknown));
    }
}
