//! Pairing (secure-session.md §3): two nodes that never met get to know each other by a secret that a person carries from
//! one to the other, and that is worth nothing a few minutes later.
//!
//! | who shows it | what | where it lives |
//! |---|---|---|
//! | a rig, `rigmesh pair` | a [`PairCode`] of 20 characters, one at a time, on its [`PairDesk`] | memory, for minutes |
//! | a controller, `rigmesh enrol` | one of 26 characters, good for many rigs, in its [`Enrolment`] | a file, for days |
//!
//! Either is shown as a [`PairLink`]. The code becomes the pre-shared key of a Noise handshake; a wrong one costs whoever
//! tries it a handshake, and nobody else anything.

mod code;
mod desk;
mod enrolment;
mod link;

pub use code::{CodeKind, PairCode};
pub use desk::{PAIR_WRONG_MAX, PairDesk, PairState};
pub use enrolment::{ENROL_DAYS_MAX, ENROL_USES_MAX, Enrolled, Enrolment};
pub use link::{PAIR_ADDRESSES_MAX, PairLink};
