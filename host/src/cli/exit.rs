//! This is how a command ends: one table from what went wrong to the exit code that scripts rely
//! on.

use crate::client::{ClientError, Intent, Refusal};
use crate::network::problem::Code;
use http::StatusCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It is done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// It was asked in a way that makes no sense.
    Usage = 2,
    /// What it is about is not there.
    NotFound = 3,
    /// A condition does not hold, or something else is in the way.
    Conflict = 4,
    /// It was refused for now, and applied nowhere.
    Unavailable = 5,
    /// It may have been applied, or may become so.
    Unknown = 6,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> std::process::ExitCode {
        std::process::ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// How a command ends whose request failed.
    #[must_use]
    pub fn of(error: &ClientError, intent: Intent) -> Exit {
        match error {
            ClientError::Unreachable { .. } => Exit::Unavailable,
            ClientError::NoAnswer { .. } => unknown_or(intent, Exit::Unavailable),
            ClientError::BadAnswer { .. } => unknown_or(intent, Exit::Failed),
            ClientError::Refused(refusal) => Exit::of_refusal(refusal, intent),
        }
    }

    fn of_refusal(refusal: &Refusal, intent: Intent) -> Exit {
        match refusal.code() {
            Some(code) => Exit::of_code(code, intent),
            None => Exit::of_status(refusal.status, intent),
        }
    }

    fn of_code(code: Code, intent: Intent) -> Exit {
        match code {
            Code::BadRequest
            | Code::BadKey
            | Code::BadBucketName
            | Code::BadContext
            | Code::BadHeader
            | Code::BadSession
            | Code::KeyTooLong => Exit::Usage,
            Code::KeyNotFound
            | Code::BucketNotFound
            | Code::PlacementNotFound
            | Code::PluginNotFound => Exit::NotFound,
            Code::TooManySiblings
            | Code::VersionExists
            | Code::InUse
            | Code::NotReady
            | Code::Immutable
            | Code::MovesNeeded
            | Code::ChangeUnderWay
            | Code::IdempotencyMismatch
            | Code::PreconditionFailed
            | Code::ContextRequired => Exit::Conflict,
            Code::RequestTimeout
            | Code::Overloaded
            | Code::QuorumUnavailable
            | Code::ClockSkew
            | Code::PolicyUnavailable
            | Code::Starting
            | Code::ShuttingDown
            | Code::DiskFull => Exit::Unavailable,
            Code::OutcomeUnknown => unknown_or(intent, Exit::Unavailable),
            Code::Internal => unknown_or(intent, Exit::Failed),
            Code::Unauthenticated
            | Code::Forbidden
            | Code::NoSuchRoute
            | Code::MethodNotAllowed
            | Code::NotAcceptable
            | Code::CursorGone
            | Code::ValueTooLarge
            | Code::UnsupportedMediaType
            | Code::Rejected
            | Code::BadPlugin
            | Code::BadConfig
            | Code::UnknownReference
            | Code::HeadersTooLarge
            | Code::ConditionalNeedsStrong
            | Code::NotImplemented => Exit::Failed,
        }
    }

    /// An answer without a known code: to HEAD, of a proxy, or of a newer node.
    fn of_status(status: StatusCode, intent: Intent) -> Exit {
        match status {
            StatusCode::BAD_REQUEST | StatusCode::URI_TOO_LONG => Exit::Usage,
            StatusCode::NOT_FOUND => Exit::NotFound,
            StatusCode::CONFLICT
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::PRECONDITION_REQUIRED => Exit::Conflict,
            StatusCode::TOO_MANY_REQUESTS => Exit::Unavailable,
            StatusCode::NOT_IMPLEMENTED => Exit::Failed,
            // Whoever answers 502 or 503 without a code may have passed a write on.
            status if status.is_server_error() => unknown_or(intent, Exit::Unavailable),
            _ => Exit::Failed,
        }
    }
}

fn unknown_or(intent: Intent, otherwise: Exit) -> Exit {
    match intent {
        Intent::Write => Exit::Unknown,
        Intent::Read => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_with_the_code_that_scripts_rely_on() {
        let cases = [
            (Code::BadKey, Exit::Usage, Exit::Usage),
            (Code::KeyNotFound, Exit::NotFound, Exit::NotFound),
            (Code::BucketNotFound, Exit::NotFound, Exit::NotFound),
            (Code::PreconditionFailed, Exit::Conflict, Exit::Conflict),
            (Code::ContextRequired, Exit::Conflict, Exit::Conflict),
            (Code::TooManySiblings, Exit::Conflict, Exit::Conflict),
            (
                Code::QuorumUnavailable,
                Exit::Unavailable,
                Exit::Unavailable,
            ),
            (Code::DiskFull, Exit::Unavailable, Exit::Unavailable),
            (Code::OutcomeUnknown, Exit::Unavailable, Exit::Unknown),
            (Code::Internal, Exit::Failed, Exit::Unknown),
            (Code::Rejected, Exit::Failed, Exit::Failed),
            (Code::NotImplemented, Exit::Failed, Exit::Failed),
        ];
        for (code, read, write) in cases {
            assert_eq!(Exit::of_code(code, Intent::Read), read, "{code}");
            assert_eq!(Exit::of_code(code, Intent::Write), write, "{code}");
        }
    }

    #[test]
    fn never_calls_a_write_refused_when_a_code_is_missing() {
        let exit = |status: u16| {
            Exit::of_status(
                StatusCode::from_u16(status).expect("a status"),
                Intent::Write,
            )
        };
        for status in [500, 502, 503, 504] {
            assert_eq!(exit(status), Exit::Unknown, "{status}");
        }
        assert_eq!(exit(404), Exit::NotFound);
        assert_eq!(exit(429), Exit::Unavailable);
        assert_eq!(exit(418), Exit::Failed);
    }
}
