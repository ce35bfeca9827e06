//! RigMesh: a fleet of mining or compute rigs under the control of their owners, over an
//! encrypted peer-to-peer mesh, with no cloud in between.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation))]

pub mod base;
pub mod formats;
pub mod identity;
mod mesh;
pub mod message;
pub mod miners;
mod node;
pub mod peers;
mod runtime;
pub mod session;
#[doc(hidden)]
pub mod sim;

pub use mesh::LinkInfo;
pub use node::{Config, Controller, Node, NodeBuilder, Sweep, Transport};
pub use runtime::files::identity::{IdentityFiles, NodeManager};
pub use runtime::files::lock::FolderLock;
pub use runtime::files::paths::Paths;
pub use runtime::files::registry::SharedRegistry;
pub use runtime::net::tls::TlsPair;
