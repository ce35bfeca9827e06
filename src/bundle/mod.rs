//! Step 4: bundles, which carry a profile, a miner or both to a rig, sealed (mesh.md §4, §8).
//!
//! A bundle is a STIM container ([`crate::formats::tim`]), its SHA-256 and a name; a profile may also travel as plain
//! JSON where the receiver allows it. What is made here a Go node extracts, and the other way round, with two
//! differences that show nowhere on the wire: a file that may be executed says so in the inner tar, which Go
//! ignores and forgets, and a bundle without a profile has an empty configuration instead of a made-up one, so
//! that nobody stores it.

mod create;
mod extract;
mod fit;
mod manifest;
mod manifest_build;
mod manifest_error;
mod manifest_read;
mod text;

pub use create::{
    MinerFile, create_full_bundle, create_miner_bundle, create_profile_bundle, create_profile_bundle_unencrypted,
    miner_tim,
};
pub use extract::{
    PlainProfile, Unpacked, UnpackedFile, extract_miner_bundle, extract_miner_bundle_with, extract_profile_bundle,
    unpack,
};
pub use fit::{FRAME_BYTES_GO, check_fits, deploy_frame_bytes, miner_bundle_bytes, miner_bytes_max};
pub use manifest::{
    CHUNK_BYTES, ChunkPart, MANIFEST_BYTES_MAX, OBJECT_BYTES_MAX, OBJECT_BYTES_MAX_V1, ObjectFile, ObjectId,
    ObjectManifest, check_object_name,
};
pub use manifest_build::ManifestBuilder;
pub use manifest_error::ManifestError;
pub use text::{decode_bundle, read_bundle, stream_bundle};

/// What a bundle holds: the API page's `BundleType`.
pub use crate::message::DeployKind as BundleType;

use crate::base::{Error, Result, check_json};
use crate::message::Deploy;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// The largest profile in a bundle, bytes: what the profile store takes.
pub const PROFILE_BYTES_MAX: usize = 64 << 10;

/// The most files of a miner, and the most folders they lie in: as many as an object may have.
pub use manifest_error::FILES_MAX;

/// The most components of a file's path in a bundle.
pub const COMPONENTS_MAX: usize = 16;

/// The file in a bundle of several files that names the main one (a [`BundleManifest`]), when neither their number nor
/// the bundle's name does. It is not one of the miner's files.
pub const MANIFEST_NAME: &str = "bundle-manifest.json";

/// The longest manifest, bytes.
const BUNDLE_MANIFEST_BYTES_MAX: usize = 64 << 10;

/// Something to deploy.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    /// What it holds.
    pub kind: BundleType,
    /// Its logical name, by the rule of [`check_name`] when it was made here.
    pub name: String,
    /// A STIM container, or for a profile plain JSON.
    pub data: Vec<u8>,
    /// SHA-256 of `data`, lower-case hex.
    pub checksum: String,
}

impl Bundle {
    /// With the checksum that belongs to `data`.
    ///
    /// # Errors
    /// As [`check_name`].
    pub fn new(kind: BundleType, name: &str, data: Vec<u8>) -> Result<Bundle> {
        check_name(&kind, name)?;
        let checksum = checksum(&data);
        Ok(Bundle { kind, name: name.to_owned(), data, checksum })
    }

    /// The `deploy` message that carries it.
    pub fn into_deploy(self) -> Deploy {
        Deploy { kind: self.kind, data: Some(self.data), checksum: self.checksum, name: self.name }
    }

    /// Whether it is plain JSON, as the Go node tells: by its first byte.
    pub fn is_plain(&self) -> bool {
        matches!(self.data.first(), Some(b'{' | b'['))
    }
}

impl From<Deploy> for Bundle {
    fn from(deploy: Deploy) -> Bundle {
        let Deploy { kind, data, checksum, name } = deploy;
        Bundle { kind, name, data: data.unwrap_or_default(), checksum }
    }
}

impl fmt::Debug for Bundle {
    /// Without the data, which may be a profile with a wallet.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bundle({} {:?}, {} bytes)", self.kind.as_str(), self.name, self.data.len())
    }
}

/// What a bundle logically holds. `main` is ours; a Go node ignores it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BundleManifest {
    /// What the bundle holds.
    #[serde(rename = "type")]
    pub kind: BundleType,
    /// The bundle's name.
    pub name: String,
    /// Version of the miner, free text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Type of the miner.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub miner_type: String,
    /// Ids of the profiles inside.
    #[serde(rename = "profileIds", skip_serializing_if = "Vec::is_empty")]
    pub profile_ids: Vec<String>,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// Which file is run.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub main: String,
}

impl BundleManifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`Error::Malformed`]: too long, no JSON object of this form.
    pub fn decode(bytes: &[u8]) -> Result<BundleManifest> {
        if bytes.len() > BUNDLE_MANIFEST_BYTES_MAX {
            return Err(Error::malformed("bundle manifest", format!("larger than {BUNDLE_MANIFEST_BYTES_MAX} bytes")));
        }
        let text = check_json("bundle manifest", bytes)?;
        if !text.trim_start().starts_with('{') {
            return Err(Error::malformed("bundle manifest", "no object"));
        }
        serde_json::from_str(text).map_err(|e| Error::malformed("bundle manifest", e.to_string()))
    }
}

/// The rule for names. A miner's becomes a folder: 1 to 64 of `[A-Za-z0-9._-]`, not starting with a dot. A profile's is
/// never a path: any text of at most 128 bytes without control characters (Go controllers send free text).
///
/// # Errors
/// [`Error::Malformed`] for another name, and for a bundle of an unknown type.
pub fn check_name(kind: &BundleType, name: &str) -> Result<()> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    match kind {
        BundleType::Profile if name.len() <= 128 && !name.chars().any(char::is_control) => Ok(()),
        BundleType::Profile => {
            Err(Error::malformed("bundle name", "a profile's has at most 128 bytes and no control characters"))
        }
        BundleType::Miner | BundleType::Full => {
            match (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain) {
                true => Ok(()),
                false => Err(Error::malformed(
                    "bundle name",
                    "a miner's is 1 to 64 letters, digits, dots, underscores or dashes, not starting with a dot",
                )),
            }
        }
        BundleType::Other(_) => Err(Error::malformed("bundle type", "use profile, miner or full")),
    }
}

/// Whether the checksum is the one of the data: SHA-256 in lower-case hex, as the Go node compares it.
pub fn verify_bundle(bundle: &Bundle) -> bool {
    checksum(&bundle.data) == bundle.checksum
}

fn verified(bundle: &Bundle) -> Result<()> {
    if verify_bundle(bundle) { Ok(()) } else { Err(malformed("checksum mismatch: it may be corrupted")) }
}

fn checksum(data: &[u8]) -> String {
    hex::encode(Sha256::digest(data))
}

fn malformed(detail: impl Into<String>) -> Error {
    Error::malformed("bundle", detail)
}

/// A profile is one JSON value. What is in it the profile store judges.
fn check_profile(bytes: &[u8]) -> Result<()> {
    if bytes.len() > PROFILE_BYTES_MAX {
        return Err(Error::malformed("profile", format!("larger than {PROFILE_BYTES_MAX} bytes")));
    }
    let text = check_json("profile", bytes)?;
    // The parser's own words would quote what is in it.
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map(|_| ())
        .map_err(|e| Error::malformed("profile", format!("no JSON (line {}, column {})", e.line(), e.column())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_what_the_bundle_is() {
        for name in ["xmrig", "xmrig-6.22_2", &"x".repeat(64)] {
            check_name(&BundleType::Miner, name).unwrap();
        }
        for name in ["", ".", "..", ".hidden", "a/b", "../x", "a b", "é", &"x".repeat(65)] {
            assert!(check_name(&BundleType::Full, name).is_err(), "{name:?}");
        }
        for name in ["", "../../etc", "Main <pool> é", &"x".repeat(128)] {
            check_name(&BundleType::Profile, name).unwrap();
        }
        for name in ["a\nb", "\u{7f}", &"x".repeat(129)] {
            assert!(check_name(&BundleType::Profile, name).is_err(), "{name:?}");
        }
        assert!(check_name(&BundleType::default(), "x").is_err());
    }

    #[test]
    fn a_bundle_shows_no_data_and_becomes_a_message_and_back() {
        let bundle = Bundle::new(BundleType::Profile, "p", b"{\"pass\":\"secret\"}".to_vec()).unwrap();
        assert!(!format!("{bundle:?}").contains("secret"));
        assert!(verify_bundle(&bundle) && bundle.is_plain());
        assert_eq!(Bundle::from(bundle.clone().into_deploy()), bundle);
    }

    #[test]
    fn a_manifest_reads_back_and_its_keys_are_gos() {
        let manifest = BundleManifest { kind: BundleType::Miner, main: "bin/x".to_owned(), ..Default::default() };
        let text = serde_json::to_string(&manifest).unwrap();
        assert_eq!(text, r#"{"type":"miner","name":"","createdAt":"","main":"bin/x"}"#);
        assert_eq!(BundleManifest::decode(text.as_bytes()).unwrap(), manifest);
        for bad in ["[]", "", "{\"main\":5}", "{\"main\":\"a\",\"main\":\"b\"}"] {
            assert!(BundleManifest::decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
