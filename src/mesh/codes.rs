//! Errors as a peer hears them.

use crate::base::{Error, Refusal};
use crate::message::ErrorCode;

/// The code of the `error` for work that failed.
pub(crate) fn code_of(e: &Error) -> i64 {
    match e {
        Error::Rejected(Refusal::Permission(_)) => ErrorCode::UNAUTHORIZED,
        Error::NotFound(_) => ErrorCode::NOT_FOUND,
        Error::TimedOut(_) => ErrorCode::TIMEOUT,
        _ => ErrorCode::OPERATION_FAILED,
    }
}
