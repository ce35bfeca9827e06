//! Why a manifest is refused.

use crate::base::Error;
use std::fmt;

/// The most files of an object.
pub const FILES_MAX: usize = 256;

/// Why a manifest was refused. Its text is the protocol's reason.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestError {
    /// The object is larger than may be sent on this kind of link: `too large`.
    TooLarge {
        /// What the manifest says, in bytes.
        size: u64,
        /// What is allowed, in bytes.
        max: u64,
    },
    /// A field is wrong or missing: `bad manifest: FIELD`.
    Field {
        /// The field, `files.path` for one in a list; `text` when the whole is no such JSON text.
        field: &'static str,
        /// What is wrong with it, for a log.
        detail: String,
    },
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManifestError::TooLarge { .. } => f.write_str("too large"),
            ManifestError::Field { field, .. } => write!(f, "bad manifest: {field}"),
        }
    }
}

impl std::error::Error for ManifestError {}

impl From<ManifestError> for Error {
    fn from(e: ManifestError) -> Error {
        match e {
            ManifestError::TooLarge { size, max } => {
                crate::base::Refusal::Limit(format!("an object of {size} bytes, at most {max} may be deployed")).into()
            }
            ManifestError::Field { field, detail } => Error::malformed("manifest", format!("{field}: {detail}")),
        }
    }
}

pub(super) fn bad(field: &'static str, detail: impl Into<String>) -> ManifestError {
    ManifestError::Field { field, detail: detail.into() }
}
