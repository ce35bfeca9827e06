//! Archives and their sealed form (tim-stim.md): the flat file tree ([`DataNode`]), its tar, TIM (a
//! configuration with a tree) and STIM (a TIM under a password).
//!
//! Everything that is read from outside passes one rule for names ([`names`]) and [`Limits`]; an archive with
//! one bad entry is refused as a whole, nothing is skipped in silence. What the original also does with these
//! formats stays out: running containers (it means believing a configuration that names mounts and
//! capabilities) and its cache of sealed archives.

mod archive;
mod datanode;
pub mod names;
mod stim;
pub mod tar;

pub use archive::{DEFAULT_CONFIG, Tim};
pub use datanode::{DataNode, Entry, File};
pub use stim::{MAGIC, SealedSizes, open, peek, seal, seal_tar, sealed_bytes};
pub use tar::Limits;
