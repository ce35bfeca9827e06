//! Files: written so that a crash leaves the old or the new content, never half of either.

pub(crate) mod atomic;
pub(crate) mod audit;
pub(crate) mod disk;
pub(crate) mod extract;
#[cfg(test)]
pub(crate) mod faulty;
pub(crate) mod identity;
pub(crate) mod lock;
pub(crate) mod marks;
pub(crate) mod paths;
pub(crate) mod profiles;
pub(crate) mod protect;
pub(crate) mod registry;
mod registry_store;
pub(crate) mod rotation;
pub(crate) mod tree;
