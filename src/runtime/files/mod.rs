//! Files: written so that a crash leaves the old or the new content, never half of either.

pub(crate) mod atomic;
pub(crate) mod profiles;
