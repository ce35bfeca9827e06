//! Step 0: what every other room builds on, and what depends on nothing of ours.
//!
//! Time that is handed in ([`Now`]), randomness that is handed in ([`Rng`]), typed errors by
//! blame ([`Error`]), bounded collections and the limits of outside input. No socket, file,
//! thread or clock is touched here.

mod bounded;
mod crew;
mod error;
mod json;
mod rng;
mod run;
mod text;
mod time;

pub use bounded::{ByteBudget, Ring};
pub use crew::{Alone, Crew, Job};
pub use error::{Error, Refusal, Result};
pub(crate) use json::string_run;
pub use json::{JSON_DEPTH_MAX, check_json};
pub use rng::Rng;
pub(crate) use run::{Runs, run};
pub(crate) use text::serde_as_text;
pub use text::{base64_decode_strict, base64_encode, is_plain_name, key_of_file, quote_value, sanitise_name};
pub use time::{Now, Time, Timestamp, TimestampError};
