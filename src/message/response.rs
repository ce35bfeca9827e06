//! What a controller does with an answer: is it there, of the right type, an error in disguise?

use super::{ErrorCode, ErrorPayload, Message, MessageType};
use crate::base::{Error, Result};
use serde::de::DeserializeOwned;

/// Checks that an answer came and is of the expected type.
///
/// # Errors
/// [`Error::Remote`] when the peer answered with `error` (even if that type was expected);
/// [`Error::TimedOut`] when there is no answer; [`Error::Malformed`] when it is of another type.
pub fn validate_response(response: Option<&Message>, expected: &MessageType) -> Result<()> {
    let response = response.ok_or_else(|| Error::TimedOut(format!("no {expected} came")))?;
    if response.kind == MessageType::Error {
        return Err(match response.parse::<ErrorPayload>() {
            Ok(error) => Error::Remote { code: error.code, message: error.message },
            Err(_) => Error::Remote { code: ErrorCode::UNKNOWN, message: "unable to parse error response".to_owned() },
        });
    }
    if response.kind != *expected {
        let got: String = response.kind.as_str().chars().take(64).collect();
        return Err(Error::malformed(
            "response",
            format!("unexpected response type: expected {expected}, got {}", crate::base::quote_value(&got)),
        ));
    }
    Ok(())
}

/// [`validate_response`], then the content.
///
/// # Errors
/// As [`validate_response`], and [`Error::Malformed`] when the content does not fit `T`.
pub fn parse_response<T: DeserializeOwned>(response: Option<&Message>, expected: &MessageType) -> Result<T> {
    validate_response(response, expected)?;
    response.ok_or_else(|| Error::TimedOut(format!("no {expected} came")))?.parse()
}

/// Whether the peer itself said that the request failed.
pub fn is_protocol_error(error: &Error) -> bool {
    matches!(error, Error::Remote { .. })
}

/// The peer's error code, 0 when the error is not the peer's.
pub fn protocol_error_code(error: &Error) -> i64 {
    match error {
        Error::Remote { code, .. } => *code,
        _ => 0,
    }
}
