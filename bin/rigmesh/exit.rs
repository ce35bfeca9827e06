//! How a command ends: an exit code and, when it failed, one clear line.

use rigmesh::base::Error;
use rigmesh::control::{Failure, Summary};

/// Done.
pub(crate) const OK: u8 = 0;
/// It was tried and failed.
pub(crate) const FAILED: u8 = 1;
/// The command line makes no sense.
pub(crate) const USAGE: u8 = 2;
/// Configuration, identity or folder are wrong.
pub(crate) const CONFIG: u8 = 3;
/// Nobody answered.
pub(crate) const UNREACHABLE: u8 = 4;
/// Somebody, we or they, said no.
pub(crate) const REFUSED: u8 = 5;
/// It took too long.
pub(crate) const TIMED_OUT: u8 = 6;
/// Some of several rigs failed.
pub(crate) const SOME_FAILED: u8 = 7;
/// Ended by a signal: this plus its number.
pub(crate) const SIGNAL: u8 = 128;

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) code: u8,
    /// One line; empty when everything was said already.
    pub(crate) message: String,
}

impl Exit {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Exit {
        Exit { code, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Exit {
        Exit::new(USAGE, message)
    }

    /// An error before anything was done: what the system refuses then is a matter of configuration
    /// (a folder that cannot be written, a port that is taken).
    pub(crate) fn at_start(error: &Error) -> Exit {
        let code = match error {
            Error::Io { .. } => CONFIG,
            other => code_of(&Failure::from(other)),
        };
        Exit::new(code, Failure::from(error).message)
    }
}

impl From<Error> for Exit {
    fn from(error: Error) -> Exit {
        Exit::from(Failure::from(error))
    }
}

impl From<Failure> for Exit {
    fn from(failure: Failure) -> Exit {
        Exit::new(code_of(&failure), failure.message)
    }
}

/// The exit code of a failure that is the only one.
pub(crate) fn code_of(failure: &Failure) -> u8 {
    if failure.is_refusal() {
        return REFUSED;
    }
    if failure.is_timeout() {
        return TIMED_OUT;
    }
    match failure.kind.as_str() {
        "config" | "malformed" | "passphrase" => CONFIG,
        "unreachable" => UNREACHABLE,
        _ => FAILED,
    }
}

/// The exit of a command over rigs: the only rig's own reason, or that some failed.
pub(crate) fn of_summary(summary: Summary, only: Option<&Failure>) -> Result<(), Exit> {
    match (summary.failed, summary.asked, only) {
        (0, _, _) => Ok(()),
        (1, 1, Some(failure)) => Err(Exit::new(code_of(failure), "")),
        (failed, asked, _) => Err(Exit::new(SOME_FAILED, format!("{failed} of {asked} failed"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rigmesh::base::Refusal;

    #[test]
    fn every_blame_has_its_code() {
        for (error, code) in [
            (Error::Config("x".into()), CONFIG),
            (Error::malformed("x", "y"), CONFIG),
            (Error::Passphrase("x".into()), CONFIG),
            (Error::Unreachable("x".into()), UNREACHABLE),
            (Error::Rejected(Refusal::NotAllowed), REFUSED),
            (Error::WrongKey { expected: "a".into(), got: "b".into() }, REFUSED),
            (Error::Remote { code: 1002, message: "no".into() }, REFUSED),
            (Error::Remote { code: 1005, message: "late".into() }, TIMED_OUT),
            (Error::TimedOut("x".into()), TIMED_OUT),
            (Error::NotFound("x".into()), FAILED),
            (Error::Busy, FAILED),
        ] {
            assert_eq!(Exit::from(error.clone()).code, code, "{error:?}");
        }
        let io = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert_eq!(Exit::at_start(&Error::io("x", &io)).code, CONFIG);
        assert_eq!(Exit::from(Error::io("x", &io)).code, FAILED);
    }

    #[test]
    fn one_rig_gives_its_own_reason_and_several_give_seven() {
        let failure = Failure::from(Error::Unreachable("x".into()));
        let code = |asked, failed| of_summary(Summary { asked, failed }, Some(&failure)).err().map_or(OK, |e| e.code);
        assert_eq!((code(1, 0), code(1, 1), code(3, 1), code(2, 2)), (OK, UNREACHABLE, SOME_FAILED, SOME_FAILED));
    }
}
