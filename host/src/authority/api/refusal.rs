//! This is why a request about the map is refused, and the one table that gives each reason its
//! code.

use crate::authority::command::CommandError;
use crate::authority::dry_run::Occupied;
use crate::authority::push::PushError;
use crate::network::{BodyError, Code, Problem};
use http::Method;
use http::header::HeaderName;
use serde_json::{Value, json};
use soros_core::epoch::Epoch;
use soros_core::id::NameError;
use soros_core::key::KeyError;
use soros_core::map::change::ChangeError;
use soros_core::map::plugin::PluginNameError;
use soros_core::map::problem::ConfigProblem;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The node has no map yet.
    #[error("the node has no map yet")]
    Starting,
    /// The node stops.
    #[error("the node stops")]
    ShuttingDown,
    /// As many requests wait as may.
    #[error("as many requests wait for a newer map as this node lets wait")]
    TooManyWait,
    /// No such path.
    #[error("there is no such path")]
    NoSuchRoute,
    /// The path has no such method, only these.
    #[error("the path does not have this method")]
    Method(&'static [Method]),
    /// Known, and not built.
    #[error("{0} is not built yet")]
    NotBuilt(&'static str),
    /// A `%` without two hexadecimal digits outside a key.
    #[error("a `%` in the path or query is not followed by two hexadecimal digits")]
    Encoding,
    /// A `%` without two hexadecimal digits in a key.
    #[error("a `%` in the key is not followed by two hexadecimal digits")]
    KeyEncoding,
    /// Not a key.
    #[error(transparent)]
    Key(KeyError),
    /// Not a bucket's name.
    #[error(transparent)]
    BucketName(NameError),
    /// Not a placement's name.
    #[error(transparent)]
    PlacementName(NameError),
    /// Not a plugin's name or version.
    #[error(transparent)]
    Plugin(PluginNameError),
    /// No such plugin or version.
    #[error("there is no plugin `{0}`")]
    PluginNotFound(String),
    /// A component was not let in.
    #[error(transparent)]
    Push(#[from] PushError),
    /// Too many dry runs are under way.
    #[error(transparent)]
    Occupied(#[from] Occupied),
    /// A query parameter that the route does not have.
    #[error("there is no query parameter `{0}` here")]
    UnknownParameter(String),
    /// A query parameter that is wrong.
    #[error("the query parameter `{0}` {1}")]
    Parameter(&'static str, &'static str),
    /// A header that means nothing here, or has no such value.
    #[error("the header `{0}` is not one of this path, or does not have such a value")]
    Header(HeaderName),
    /// The body is not what it should be.
    #[error("the body is not what it should be: {0}")]
    Json(serde_json::Error),
    /// The body has something else where an object must be.
    #[error("the body has an array or a value where an object must be")]
    NotAnObject,
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// No such bucket.
    #[error("there is no bucket `{0}`")]
    BucketNotFound(soros_core::id::BucketName),
    /// No such placement.
    #[error("there is no placement `{0}`")]
    PlacementNotFound(soros_core::id::PlacementName),
    /// What is read is of another epoch than the reader wants.
    #[error("the epoch is {0} now")]
    Moved(Epoch),
    /// The authority did not carry the change out.
    #[error(transparent)]
    Command(CommandError),
    /// The answer could not be written.
    #[error("the answer could not be written: {0}")]
    Render(serde_json::Error),
}

impl Refusal {
    /// The answer.
    pub(super) fn problem(&self) -> Problem {
        match self {
            Refusal::Command(error) => of_command(error),
            Refusal::Push(error) => of_push(error),
            Refusal::Occupied(_) => {
                self.of(Code::Overloaded, "Try again soon, or at another node.")
            }
            Refusal::Plugin(_) => self.of(Code::BadRequest, "A version is as semver.org has it."),
            Refusal::PluginNotFound(_) => self.of(Code::PluginNotFound, PLUGINS),
            Refusal::Moved(now) => self
                .of(Code::PreconditionFailed, "Read it without `If-Match`.")
                .with("epoch", now.0),
            Refusal::Body(error) => (*error).into(),
            Refusal::Method(allowed) => Problem::method_not_allowed(allowed),
            Refusal::Render(error) => Problem::internal(error),
            Refusal::Starting => self.of(Code::Starting, "It finds its cluster: try again."),
            Refusal::ShuttingDown => self.of(Code::ShuttingDown, "Ask another node."),
            Refusal::TooManyWait => {
                self.of(Code::Overloaded, "Ask without `newer_than`, or later.")
            }
            Refusal::NoSuchRoute => self.of(Code::NoSuchRoute, "`/openapi.json` has them all."),
            Refusal::NotBuilt(_) => self.of(Code::NotImplemented, "Nothing was changed."),
            Refusal::KeyEncoding | Refusal::Key(KeyError::Empty) => self.of(Code::BadKey, KEY_RULE),
            Refusal::Key(KeyError::TooLong(_)) => self.of(Code::KeyTooLong, KEY_RULE),
            Refusal::BucketName(_) => self.of(Code::BadBucketName, NAME_RULE),
            Refusal::PlacementName(_) => self.of(Code::BadRequest, NAME_RULE),
            Refusal::Header(_) => self.of(Code::BadHeader, "Leave it out, or correct it."),
            Refusal::BucketNotFound(_) => self.of(Code::BucketNotFound, "`PUT` makes it."),
            Refusal::PlacementNotFound(_) => self.of(Code::PlacementNotFound, "`PUT` makes it."),
            Refusal::Encoding
            | Refusal::UnknownParameter(_)
            | Refusal::Parameter(..)
            | Refusal::NotAnObject
            | Refusal::Json(_) => {
                self.of(Code::BadRequest, "`/openapi.json` has what is taken here.")
            }
        }
    }

    fn of(&self, code: Code, then: &str) -> Problem {
        problem(code, self, then)
    }
}

const PLUGINS: &str = "`GET /v1/plugins` lists those there are.";
const CORRECT: &str = "Correct the fields that `problems` names.";
const KEY_RULE: &str = "A key has 1 to 1024 bytes, percent-encoded in the path.";
const NAME_RULE: &str = "A name has 1 to 63 of a-z, 0-9, `.`, `_` and `-`.";

/// A problem of which the detail is what went wrong and what to do then.
fn problem(code: Code, error: &dyn std::fmt::Display, then: &str) -> Problem {
    let error = error.to_string();
    let mut letters = error.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string());
    let detail = format!("{}{}. {then}", first.unwrap_or_default(), letters.as_str());
    Problem::new(code, detail.trim_end())
}

fn of_command(error: &CommandError) -> Problem {
    let of = |code, then| problem(code, error, then);
    match error {
        CommandError::Refused(error) => of_change(error),
        CommandError::NoLeader | CommandError::NotLeader { .. } => {
            let then = "Nothing was changed: try again when more nodes are up.";
            of(Code::QuorumUnavailable, then)
        }
        CommandError::Unknown => of(Code::OutcomeUnknown, "Read before you try again."),
        CommandError::BucketInUse(_) => of(
            Code::InUse,
            "Delete them first, or add `?purge=true` to lose them.",
        ),
        CommandError::BucketUnchecked(_) => {
            let then = "It is as it was: try again when more nodes are up.";
            of(Code::QuorumUnavailable, then)
        }
        CommandError::BadPolicyConfig(problems) => {
            of(Code::BadConfig, CORRECT).with("problems", listed(problems))
        }
        CommandError::NotPrepared { node, .. } => {
            let then = "Nothing was changed: try again, or see that node's log.";
            of(Code::NotReady, then).with("node", node.as_str())
        }
        CommandError::PolicyFailed(_) => of(Code::PolicyUnavailable, "Nothing was changed."),
        CommandError::IdentityInUse(_) | CommandError::OldDirectory { .. } => {
            Problem::internal(error)
        }
    }
}

fn of_push(error: &PushError) -> Problem {
    let of = |code, then| problem(code, error, then);
    match error {
        PushError::Refused(checks) => {
            let failed = checks.last();
            let detail = failed.map_or(String::new(), |check| {
                format!("The check `{}` failed: {}.", check.check, check.detail)
            });
            let checks: Vec<Value> = checks
                .iter()
                .map(|check| {
                    json!({"check": check.check, "passed": check.passed, "detail": check.detail})
                })
                .collect();
            Problem::new(Code::BadPlugin, detail).with("checks", checks)
        }
        PushError::NotHeld(nodes) => {
            let names: Vec<Value> = nodes.iter().map(|node| node.as_str().into()).collect();
            of(Code::NotReady, "Nothing was changed: try again.").with("not_ready", names)
        }
        PushError::TooFew { .. } => {
            let then = "Nothing was changed: try again when more nodes are up.";
            of(Code::QuorumUnavailable, then)
        }
        PushError::Busy => of(Code::Overloaded, "Try again soon, or at another node."),
        PushError::Storage(_) => Problem::internal(error),
        PushError::Command(error) => of_command(error),
    }
}

fn of_change(error: &ChangeError) -> Problem {
    let of = |code, then| problem(code, error, then);
    match error {
        ChangeError::NotFounded => of(Code::Starting, "Try again."),
        ChangeError::Moved { now, .. } => {
            let then = "Read again what you mean to change.";
            of(Code::PreconditionFailed, then).with("epoch", now.0)
        }
        ChangeError::BucketNotFound(_) => of(
            Code::BucketNotFound,
            "`GET /v1/buckets` lists those there are.",
        ),
        ChangeError::PlacementNotFound(_) => {
            let then = "`GET /v1/placements` lists those there are.";
            of(Code::PlacementNotFound, then)
        }
        ChangeError::UnknownPlacement(name) => {
            let then = "`GET /v1/placements` lists those there are.";
            of(Code::UnknownReference, then).with("reference", name.as_str())
        }
        ChangeError::UnknownPlugin { name, .. } => {
            let then = "`GET /v1/plugins` lists them.";
            of(Code::UnknownReference, then).with("reference", name.as_str())
        }
        ChangeError::BadConfig(problems) => {
            of(Code::BadConfig, CORRECT).with("problems", listed(problems))
        }
        ChangeError::PluginNotFound { .. } => of(Code::PluginNotFound, PLUGINS),
        ChangeError::VersionExists { .. } | ChangeError::OtherKind(_) => {
            of(Code::VersionExists, "Versions never change.")
        }
        ChangeError::ShadowRuns { .. } => of(Code::InUse, "Stop it first."),
        ChangeError::PluginInUse { .. } => of(
            Code::InUse,
            "Activate another version first, or stop using it.",
        ),
        ChangeError::PluginMoved(_) => of(Code::ChangeUnderWay, "Nothing was changed: try again."),
        ChangeError::NothingBefore(_) => of(Code::PluginNotFound, "Activate a version by name."),
        ChangeError::TooManyBuckets
        | ChangeError::TooManyPlacements
        | ChangeError::TooManyPlugins => {
            let full = json!([{"path": "", "message": error.to_string()}]);
            of(Code::BadConfig, "Delete what is not used any more.").with("problems", full)
        }
        ChangeError::PartitionsFixed(_) => of(Code::Immutable, "Make another placement."),
        ChangeError::MovesNeeded => {
            let then = "Moving data is not built yet: make another placement for new buckets.";
            of(Code::MovesNeeded, then)
        }
        ChangeError::BucketClosing(_) | ChangeError::BucketNotClosing(_) => {
            of(Code::ChangeUnderWay, "Try again when that is done.")
        }
        ChangeError::PlacementInUse(_) => of(Code::InUse, "Delete those buckets first."),
        ChangeError::BadTable(_) => of(Code::PolicyUnavailable, "Nothing was changed."),
        ChangeError::OldPrograms { .. } => of(Code::NotReady, "Nothing was changed."),
        // Only nodes that come in meet these.
        ChangeError::OldProgram { .. }
        | ChangeError::AlreadyFounded
        | ChangeError::BadFounding(_)
        | ChangeError::IdTaken { .. }
        | ChangeError::RaftIdTaken { .. }
        | ChangeError::HoldsData(_)
        | ChangeError::TooManyNodes => Problem::internal(error),
    }
}

fn listed(problems: &[ConfigProblem]) -> Value {
    let one = |problem: &ConfigProblem| json!({"path": problem.path, "message": problem.message});
    problems.iter().map(one).collect()
}
