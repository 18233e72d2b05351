//! This is how a request can fail, with what is known of its effect: applied nowhere, or unknown.

use super::call::{Answer, Intent};
use super::url::NodeUrl;
use crate::network::problem::{Code, Problem};
use http::{HeaderMap, StatusCode};
use std::time::Duration;

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No node could be reached; nothing was sent. The last one tried is named.
    #[error("{url} cannot be reached: {source}")]
    Unreachable {
        /// The node that was tried last.
        url: NodeUrl,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The request was handed to the connection, and no whole answer came. What was asked for may
    /// have happened, and may happen yet.
    #[error("{url} gave no answer: {cause}")]
    NoAnswer {
        /// The node that was asked.
        url: NodeUrl,
        /// Why no answer came.
        cause: Silence,
    },
    /// A node answered with an error.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// A node's answer is not what the API says.
    #[error("{url} answered what no Soros node would: {what}")]
    BadAnswer {
        /// The node that was asked.
        url: NodeUrl,
        /// What is wrong with the answer.
        what: BadAnswer,
    },
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum Silence {
    /// The connection broke.
    #[error("the connection broke ({0})")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The time was up.
    #[error("nothing came within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

/// What is wrong with an answer.
#[derive(Debug, thiserror::Error)]
pub enum BadAnswer {
    /// Its body is larger than any answer should be.
    #[error("a body of more than {0} bytes")]
    TooLarge(usize),
    /// Its body is not the JSON that was expected.
    #[error("a body that is not the JSON expected ({0})")]
    NotJson(#[source] serde_json::Error),
    /// A value in its body is not base64.
    #[error("a value that is not base64")]
    NotBase64,
    /// Its status is not one of those expected.
    #[error("status {0}")]
    Status(StatusCode),
}

/// A node's answer that says no.
#[derive(Debug)]
pub struct Refusal {
    /// The node that answered.
    pub url: NodeUrl,
    /// The status of the answer.
    pub status: StatusCode,
    /// What the body says, if it is a problem with a code known here.
    pub problem: Option<Problem>,
    /// The headers of the answer.
    pub headers: HeaderMap,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.problem {
            Some(problem) => write!(formatter, "{problem}"),
            None => write!(formatter, "{} answered {}", self.url, self.status),
        }
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    pub(super) fn of(answer: Answer) -> Refusal {
        let problem = Problem::parse(&answer.body);
        Refusal {
            url: answer.url,
            status: answer.status,
            problem,
            headers: answer.headers,
        }
    }

    /// The code of the answer, if it is one known here.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.problem.as_ref().map(Problem::code)
    }

    /// The value of a header of the answer, if it is there and visible ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether the node took no part of the request, and another one may do better.
    fn is_worth_another_node(&self, intent: Intent) -> bool {
        // Without a known code it may be a proxy that answers, and nobody knows what it passed on.
        let refused = matches!(
            self.code(),
            Some(
                Code::QuorumUnavailable
                    | Code::ClockSkew
                    | Code::PolicyUnavailable
                    | Code::Starting
                    | Code::ShuttingDown
                    | Code::Overloaded
                    | Code::DiskFull
            )
        );
        let failed = self.status.is_server_error() && self.status != StatusCode::NOT_IMPLEMENTED;
        refused || (intent == Intent::Read && failed)
    }
}

impl ClientError {
    /// The answer that says no, if that is what it is.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            ClientError::Refused(refusal) => Some(refusal),
            ClientError::Unreachable { .. }
            | ClientError::NoAnswer { .. }
            | ClientError::BadAnswer { .. } => None,
        }
    }

    /// The code of the refusal, if it is one with a code known here.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.refusal().and_then(Refusal::code)
    }

    /// Whether the same request may be sent to another node: a read always, a write only when it
    /// was certainly not applied.
    #[must_use]
    pub fn is_worth_another_node(&self, intent: Intent) -> bool {
        match self {
            ClientError::Unreachable { .. } => true,
            ClientError::NoAnswer { .. } | ClientError::BadAnswer { .. } => intent == Intent::Read,
            ClientError::Refused(refusal) => refusal.is_worth_another_node(intent),
        }
    }

    /// Of two failures of one request, the one that tells more: an answer tells more than silence.
    pub(super) fn or_more_telling(self, later: ClientError) -> ClientError {
        match (&self, &later) {
            (ClientError::Refused(_), ClientError::Unreachable { .. }) => self,
            _ => later,
        }
    }
}
