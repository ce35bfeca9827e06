//! One error type for the whole crate, sorted by who is to blame, so that a caller knows
//! whether to correct the input, retry, or give up.

use std::borrow::Cow;
use std::fmt;

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something failed. Sorted by blame; every variant says what to do about it.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Bytes (from a peer, a file or a user) do not have the form they must have.
    /// Retrying with the same bytes cannot help.
    Malformed {
        /// The thing or field that is wrong, such as `handshake payload`.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// Policy forbids it: the bytes were fine, the answer is no.
    Rejected(Refusal),
    /// Another key than the one meant answered at an address. Nothing was sent to it.
    WrongKey {
        /// The key that was meant, as base64 or node id.
        expected: String,
        /// The key that answered.
        got: String,
    },
    /// The peer could not be reached, or the link to it was cut. Retrying later may help.
    Unreachable(String),
    /// The deadline passed first. The text says what was waited for.
    TimedOut(String),
    /// A queue is full. Retry after a pause.
    Busy,
    /// The peer answered with an `error` message (`remote error (CODE): MESSAGE`).
    Remote {
        /// The protocol's error code (1000 to 1005).
        code: i64,
        /// The peer's words.
        message: String,
    },
    /// The node is stopping; the call was not, or may not have been, carried out.
    ShuttingDown,
    /// The operating system refused a file or socket operation.
    Io {
        /// What was being done, with the path or address.
        what: String,
        /// The kind the system gave.
        kind: std::io::ErrorKind,
        /// The system's text.
        detail: String,
    },
    /// The configuration, the identity or an argument is wrong. The text names the next step.
    Config(String),
    /// The node's private keys are protected, and the pass-phrase is missing or not the right one. The text names the
    /// next step; nothing was changed.
    Passphrase(String),
    /// The thing named does not exist (a peer, a miner, a profile).
    NotFound(String),
    /// The operation was understood and tried, and failed for the reason given.
    Failed(String),
}

/// Why policy said no.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The peer refused our handshake, with its words.
    Handshake(String),
    /// The certificate shown is not one that is trusted. Nothing was sent.
    Certificate(String),
    /// A message of a secure session is not what the holder of the expected keys would have sent now: forged, changed,
    /// replayed or out of order. Which of them is not told.
    BadProof,
    /// The link would have been less than was promised, so there is none; the text says what was missing.
    Downgrade(String),
    /// The peer does not show that what was found about it is right.
    Unconfirmed(String),
    /// The key is not on the allowlist.
    NotAllowed,
    /// A pairing is not taken up; the text says why.
    Pairing(Cow<'static, str>),
    /// The key lacks the named permission.
    Permission(&'static str),
    /// The peer is our own key.
    OwnKey,
    /// A limit was reached; the text names it.
    Limit(String),
    /// The message was seen before, or is older than what was accepted last.
    Stale(String),
    /// A rate limit was exceeded; wait this many milliseconds.
    RateLimit {
        /// Milliseconds until the next message is accepted.
        retry_after_ms: u64,
    },
}

impl Refusal {
    /// A [`Refusal::Pairing`].
    pub const fn pairing(why: &'static str) -> Refusal {
        Refusal::Pairing(Cow::Borrowed(why))
    }
}

impl Error {
    /// A [`Error::Malformed`].
    pub fn malformed(what: &'static str, detail: impl Into<String>) -> Self {
        Error::Malformed { what, detail: detail.into() }
    }

    /// An [`Error::Io`] that says what was being done.
    pub fn io(what: impl Into<String>, error: &std::io::Error) -> Self {
        Error::Io { what: what.into(), kind: error.kind(), detail: error.to_string() }
    }

    /// A short stable word for machines (JSON output): the variant in snake case.
    pub fn kind(&self) -> &'static str {
        match self {
            Error::Malformed { .. } => "malformed",
            Error::Rejected(_) => "rejected",
            Error::WrongKey { .. } => "wrong_key",
            Error::Unreachable(_) => "unreachable",
            Error::TimedOut(_) => "timed_out",
            Error::Busy => "busy",
            Error::Remote { .. } => "remote",
            Error::ShuttingDown => "shutting_down",
            Error::Io { .. } => "io",
            Error::Config(_) => "config",
            Error::Passphrase(_) => "passphrase",
            Error::NotFound(_) => "not_found",
            Error::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Malformed { what, detail } => write!(f, "malformed {what}: {detail}"),
            Error::Rejected(why) => why.fmt(f),
            Error::WrongKey { expected, got } => write!(f, "wrong key: expected {expected}, got {got}"),
            Error::Unreachable(why) => write!(f, "unreachable: {why}"),
            Error::TimedOut(what) => write!(f, "timed out: {what}"),
            Error::Busy => f.write_str("busy: a queue is full, try again"),
            Error::Remote { code, message } => write!(f, "remote error ({code}): {message}"),
            Error::ShuttingDown => f.write_str("the node is shutting down"),
            Error::Io { what, detail, .. } => write!(f, "{what}: {detail}"),
            Error::Config(why) | Error::Passphrase(why) | Error::NotFound(why) | Error::Failed(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Handshake(reason) => write!(f, "handshake rejected: {reason}"),
            Refusal::Certificate(why) => write!(f, "wrong certificate: {why}"),
            Refusal::BadProof => f.write_str("bad proof: not sent now by the holder of the expected key"),
            Refusal::Downgrade(why) => write!(f, "downgrade refused: {why}"),
            Refusal::Unconfirmed(why) => write!(f, "not confirmed: {why}"),
            Refusal::NotAllowed => f.write_str("peer not authorized"),
            Refusal::Pairing(why) => f.write_str(why),
            Refusal::Permission(grant) => write!(f, "not permitted: this key lacks the grant {grant}"),
            Refusal::OwnKey => f.write_str("the peer shows this node's own key"),
            Refusal::Limit(what) => write!(f, "limit reached: {what}"),
            Refusal::Stale(why) => write!(f, "not fresh: {why}"),
            Refusal::RateLimit { retry_after_ms } => write!(f, "rate limited, retry after {retry_after_ms} ms"),
        }
    }
}

impl std::error::Error for Error {}
impl std::error::Error for Refusal {}

impl From<Refusal> for Error {
    fn from(why: Refusal) -> Self {
        Error::Rejected(why)
    }
}
