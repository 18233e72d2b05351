//! This is every way in which a key-value request is refused, and the one table that gives each its
//! code.

use super::headers::{HeaderError, Operation, SOROS_CONTEXT};
use super::path::PathError;
use super::render::SOROS_ACHIEVED;
use crate::network::{BodyError, Code, Problem};
use http::{HeaderValue, Method};
use soros_core::id::BucketName;
use soros_core::key::KeyError;
use soros_core::limits::{CONTENT_TYPE_BYTES_MAX, KEY_BYTES_MAX, META_BYTES_MAX};
use soros_core::operation::{OperationError, Rejection};
use soros_core::policy;
use soros_core::token::TokenError;

/// Why a key-value request was not done, or is not known to be.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The path is none of this API.
    #[error("there is no such path")]
    NoSuchRoute,
    /// The route has other methods.
    #[error("the route has other methods")]
    Method(&'static [Method]),
    /// The path or query is malformed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A header is not taken.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The route or what its bucket promises is not built.
    #[error("{0}: not built yet; nothing was changed")]
    NotBuilt(&'static str),
    /// The node serves no keys yet.
    #[error("the node is starting: ask another one, or this one again soon")]
    Starting,
    /// The node serves no keys any more.
    #[error("the node is shutting down: ask another one")]
    ShuttingDown,
    /// There is no such bucket.
    #[error("there is no bucket `{0}`: `PUT /v1/buckets/{0}` makes it")]
    BucketNotFound(BucketName),
    /// The bucket is being deleted; it may yet stay, should it turn out to have keys.
    #[error("the bucket `{0}` is being deleted and takes no writes; nothing was stored")]
    BucketClosing(BucketName),
    /// The token is none of this key.
    #[error(transparent)]
    Context(#[from] TokenError),
    /// The value could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The node could not do it.
    #[error("{error}")]
    Operation {
        /// What it was to do.
        asked: Operation,
        /// Why it could not.
        error: OperationError,
        /// How many replicas the key has.
        replicas: usize,
        /// The context that the answer has all the same.
        context: Option<HeaderValue>,
    },
}

impl Refusal {
    /// The problem that the client is told.
    #[must_use]
    pub fn problem(self) -> Problem {
        let told = sentence(&self);
        match self {
            Refusal::NoSuchRoute => Problem::new(Code::NoSuchRoute, told),
            Refusal::Method(allowed) => Problem::method_not_allowed(allowed),
            Refusal::Path(error) => of_path(&error),
            Refusal::Header(error) => of_header(&error),
            Refusal::NotBuilt(_) => Problem::new(Code::NotImplemented, told),
            Refusal::Starting => Problem::new(Code::Starting, told),
            Refusal::ShuttingDown => Problem::new(Code::ShuttingDown, told),
            Refusal::BucketNotFound(name) => {
                Problem::new(Code::BucketNotFound, told).with("bucket", name.as_str())
            }
            Refusal::BucketClosing(name) => {
                Problem::new(Code::ChangeUnderWay, told).with("bucket", name.as_str())
            }
            Refusal::Context(_) => Problem::new(Code::BadContext, told),
            Refusal::Body(error) => Problem::from(error),
            Refusal::Operation {
                asked,
                error,
                replicas,
                context,
            } => {
                let mut problem = of_operation(&error, asked);
                if let Some(achieved) = achieved(&error, asked, replicas) {
                    problem = problem.header(SOROS_ACHIEVED, achieved);
                }
                match context {
                    Some(context) => problem.header(SOROS_CONTEXT, context),
                    None => problem,
                }
            }
        }
    }
}

fn of_path(error: &PathError) -> Problem {
    let code = match error {
        PathError::Encoding | PathError::Parameter { .. } => Code::BadRequest,
        PathError::KeyEncoding | PathError::Key(KeyError::Empty) => Code::BadKey,
        PathError::Key(KeyError::TooLong(_)) => Code::KeyTooLong,
        PathError::BucketName(_) => Code::BadBucketName,
    };
    let problem = Problem::new(code, sentence(error));
    match error {
        PathError::Key(KeyError::TooLong(_)) => problem.with("limit", KEY_BYTES_MAX),
        _ => problem,
    }
}

fn of_header(error: &HeaderError) -> Problem {
    let told = sentence(error);
    match error {
        HeaderError::Unknown(_)
        | HeaderError::Repeated(_)
        | HeaderError::Misplaced(_)
        | HeaderError::NotText(_)
        | HeaderError::Value { .. }
        | HeaderError::BlindWithContext
        | HeaderError::Partial => Problem::new(Code::BadHeader, told),
        HeaderError::Token => Problem::new(Code::BadContext, told),
        HeaderError::MetaTooLarge(_) => {
            Problem::new(Code::HeadersTooLarge, told).with("limit", META_BYTES_MAX)
        }
        HeaderError::TooLong(_) => {
            Problem::new(Code::HeadersTooLarge, told).with("limit", CONTENT_TYPE_BYTES_MAX)
        }
        HeaderError::NotBuilt(_) => Problem::new(Code::NotImplemented, told),
        HeaderError::Conditional(_) => Problem::new(Code::ConditionalNeedsStrong, told),
    }
}

/// A read changes nothing, so of a read nothing is unknown: it failed.
fn of_operation(error: &OperationError, asked: Operation) -> Problem {
    let told = sentence(error);
    let unavailable = || Problem::new(Code::QuorumUnavailable, told.clone());
    match (error, asked) {
        (OperationError::ContextRequired { .. }, _) => Problem::new(Code::ContextRequired, told),
        (OperationError::TooManySiblings { .. }, _) => Problem::new(Code::TooManySiblings, told),
        (OperationError::QuorumUnavailable { reached, needed }, _)
        | (OperationError::OutcomeUnknown { reached, needed }, Operation::Read) => {
            let detail = format!(
                "{reached} of the {needed} replicas needed can answer: try again when more nodes \
                 are up, or ask for `Soros-Consistency: one`."
            );
            figures(
                Problem::new(Code::QuorumUnavailable, detail),
                *reached,
                *needed,
            )
        }
        (OperationError::OutcomeUnknown { reached, needed }, _) => {
            figures(Problem::new(Code::OutcomeUnknown, told), *reached, *needed)
        }
        (OperationError::ClockSkew { skew }, _) => {
            Problem::new(Code::ClockSkew, told).with("offset_ms", skew.0 / 1_000)
        }
        (OperationError::DiskFull, _) => Problem::new(Code::DiskFull, told),
        (OperationError::Rejected(rejection), _) => rejected(rejection, told),
        (OperationError::PolicyUnavailable { plugin, reason }, _) => {
            Problem::new(Code::PolicyUnavailable, told)
                .with("plugin", plugin.as_str())
                .with("reason", reason.as_str())
        }
        (OperationError::Overloaded, _) => Problem::new(Code::Overloaded, told),
        // The node itself is ready: no replica that could be asked was.
        (OperationError::NotServed | OperationError::NotReady, _) => unavailable(),
        (OperationError::Storage, Operation::Read) => Problem::internal(error),
        (OperationError::Storage, _) => Problem::new(Code::OutcomeUnknown, told),
    }
}

fn rejected(rejection: &Rejection, told: String) -> Problem {
    let policy::Refusal { code, pointer, .. } = &rejection.refusal;
    let problem = Problem::new(Code::Rejected, told)
        .with("plugin", rejection.plugin.as_str())
        .with("version", rejection.version.as_str())
        .with("reason", code.as_str());
    match pointer {
        Some(pointer) => problem.with("pointer", pointer.as_str()),
        None => problem,
    }
}

/// How far an operation came that too few replicas answered to.
fn achieved(error: &OperationError, asked: Operation, replicas: usize) -> Option<HeaderValue> {
    let reached = match (error, asked) {
        (OperationError::OutcomeUnknown { reached, .. }, _)
        | (OperationError::QuorumUnavailable { reached, .. }, Operation::Read) => *reached,
        // A write that was not begun is nowhere, however many could have taken it.
        (OperationError::QuorumUnavailable { .. }, Operation::Put | Operation::Delete) => 0,
        _ => return None,
    };
    let kind = match asked {
        Operation::Read => 'r',
        Operation::Put | Operation::Delete => 'w',
    };
    HeaderValue::try_from(format!("{kind}={reached}/{replicas}")).ok()
}

fn figures(problem: Problem, reached: u8, needed: u8) -> Problem {
    problem.with("reached", reached).with("needed", needed)
}

/// What an error says, as a sentence.
fn sentence(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first
        .into_iter()
        .chain(letters)
        .chain(".".chars())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use soros_core::dot_set::DotSet;
    use soros_core::skew::Skew;

    #[track_caller]
    fn check(error: OperationError, asked: Operation, status: u16, code: &str) {
        let response = Refusal::Operation {
            asked,
            error,
            replicas: 3,
            context: None,
        }
        .problem();
        assert_eq!(response.code().as_str(), code);
        assert_eq!(
            response.code().status(),
            StatusCode::from_u16(status).expect("a status")
        );
    }

    #[test]
    fn tells_failed_from_unknown() {
        let (reached, needed) = (1, 2);
        for asked in [Operation::Put, Operation::Delete] {
            let unknown = OperationError::OutcomeUnknown { reached, needed };
            check(unknown, asked, 504, "outcome-unknown");
            check(OperationError::Storage, asked, 504, "outcome-unknown");
        }
        for asked in [Operation::Read, Operation::Put, Operation::Delete] {
            let refused = OperationError::QuorumUnavailable { reached, needed };
            check(refused, asked, 503, "quorum-unavailable");
            check(OperationError::NotServed, asked, 503, "quorum-unavailable");
            check(OperationError::NotReady, asked, 503, "quorum-unavailable");
            check(OperationError::Overloaded, asked, 429, "overloaded");
        }
        let unknown = OperationError::OutcomeUnknown { reached, needed };
        check(unknown, Operation::Read, 503, "quorum-unavailable");
        check(OperationError::Storage, Operation::Read, 500, "internal");
    }

    #[test]
    fn says_how_far_it_came() {
        let achieved = |error, asked| {
            let value = achieved(&error, asked, 3)?;
            Some(value.to_str().expect("text").to_owned())
        };
        let (reached, needed) = (1, 2);
        let unknown = OperationError::OutcomeUnknown { reached, needed };
        assert_eq!(achieved(unknown, Operation::Put).as_deref(), Some("w=1/3"));
        let few = || OperationError::QuorumUnavailable { reached, needed };
        assert_eq!(achieved(few(), Operation::Delete).as_deref(), Some("w=0/3"));
        assert_eq!(achieved(few(), Operation::Read).as_deref(), Some("r=1/3"));
        assert_eq!(achieved(OperationError::DiskFull, Operation::Put), None);
    }

    #[test]
    fn gives_each_refused_write_its_code() {
        let context = DotSet::default;
        let required = OperationError::ContextRequired { context: context() };
        check(required, Operation::Put, 428, "context-required");
        let many = OperationError::TooManySiblings { context: context() };
        check(many, Operation::Put, 409, "too-many-siblings");
        let skewed = OperationError::ClockSkew {
            skew: Skew(3_600_000_000),
        };
        check(skewed, Operation::Put, 503, "clock-skew");
        check(OperationError::DiskFull, Operation::Put, 507, "disk-full");
        let unavailable = OperationError::PolicyUnavailable {
            plugin: "immutable".parse().expect("a name"),
            reason: "it is not here".to_owned(),
        };
        check(unavailable, Operation::Delete, 503, "policy-unavailable");
    }

    #[test]
    fn says_who_refuses_a_write_and_why() {
        let rejection = Rejection {
            plugin: "json-schema".parse().expect("a name"),
            version: "1.2.3".parse().expect("a version"),
            refusal: policy::Refusal {
                code: "type".to_owned(),
                message: "a number is needed".to_owned(),
                pointer: Some("/age".to_owned()),
            },
        };
        let error = OperationError::Rejected(Box::new(rejection));
        let problem = of_operation(&error, Operation::Put);
        assert_eq!(problem.code(), Code::Rejected);
        assert_eq!(problem.detail(), "A number is needed.");
        for (field, value) in [
            ("plugin", "json-schema"),
            ("version", "1.2.3"),
            ("reason", "type"),
            ("pointer", "/age"),
        ] {
            assert_eq!(problem.field(field), Some(&value.into()));
        }
    }

    #[test]
    fn says_how_many_replicas_answered_and_how_many_must() {
        let error = OperationError::OutcomeUnknown {
            reached: 1,
            needed: 2,
        };
        let problem = of_operation(&error, Operation::Put);
        assert_eq!(problem.field("reached"), Some(&1.into()));
        assert_eq!(problem.field("needed"), Some(&2.into()));
    }

    #[test]
    fn says_how_far_a_clock_is_off_and_what_to_do() {
        let skew = Skew(-3_600_000_000);
        let problem = of_operation(&OperationError::ClockSkew { skew }, Operation::Delete);
        assert_eq!(
            problem.detail(),
            "The coordinator's clock is 3600.000 s behind the median of its peers'; nothing was \
             stored. Set its machine's clock right and it follows, or write at another node."
        );
        assert_eq!(problem.field("offset_ms"), Some(&(-3_600_000).into()));
    }

    #[test]
    fn speaks_in_sentences() {
        assert_eq!(
            Refusal::Starting.problem().detail(),
            "The node is starting: ask another one, or this one again soon."
        );
    }
}
