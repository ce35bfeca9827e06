//! The controller's side of deployments on disk: the files that are handed out, the chunks kept in memory
//! while several rigs want them, and the list of what rigs are owed.

mod cache;
mod owed;
mod source;

pub(crate) use cache::ChunkCache;
pub(crate) use owed::{OwedBook, OwedEntry, OwedFile};
pub use source::DeployFile;
pub(crate) use source::{Recipe, object};
