//! This is what a policy is: the three kinds, what each may see, what it may answer, and how it
//! may fail.
//!
//! The types mirror `sdk/wit/v1/policy.wit`. The host runs policies as sandboxed components behind
//! these traits; [`builtin`] has the defaults in plain Rust, which simulations use and against
//! which the shipped components are tested. A policy is never trusted: who calls one checks its
//! answer, and a failure is an answer of its own ([`PolicyError`]), never a loss of data.

pub mod builtin;
pub mod figures;
pub mod topology;

use crate::limits::CONTENT_TYPE_BYTES_MAX;
use crate::map::table::{Table, TableError};
use crate::policy::topology::Snapshot;
use serde::Serialize;

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct About {
    /// Its canonical name, such as `lww`.
    pub name: String,
    /// Its version, by semantic versioning.
    pub version: String,
    /// The JSON Schema of its config.
    pub config_schema: String,
}

/// One of the concurrent versions of a key, as a resolution policy sees it.
///
/// The order of siblings is that of their fields: by time, then by writer, then a tombstone before
/// any value, then by what was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sibling<'a> {
    /// When it was written, by the hybrid logical clock.
    pub time: u64,
    /// The node that took the write.
    pub writer: u64,
    /// The value, or none for a tombstone.
    pub value: Option<&'a [u8]>,
    /// The value's type.
    pub content_type: &'a str,
    /// The writer's own headers, names in lower case.
    pub meta: Vec<(&'a str, &'a str)>,
}

/// A value that a resolution policy made of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Its type.
    pub content_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What siblings become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// The sibling at this place among those given.
    Keep(usize),
    /// A value made of them.
    Value(Merged),
    /// No value.
    Tombstone,
    /// All of them: the reader decides.
    KeepAll,
}

/// One write, as a validation policy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// The bucket's name.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a [u8],
    /// The new value's type.
    pub content_type: &'a str,
    /// The new value, or none for a delete.
    pub value: Option<&'a [u8]>,
    /// What a quorum read would answer, if the policy asked for it; none when that is no value or
    /// several.
    pub current: Option<&'a [u8]>,
    /// Who writes; empty when nobody is authenticated.
    pub principal: &'a str,
}

/// Why a validation policy refuses a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason, stable and in kebab-case.
    pub code: String,
    /// The reason, for people.
    pub message: String,
    /// Where in the value, as a JSON pointer.
    pub pointer: Option<String>,
}

/// What becomes of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is stored.
    Accept,
    /// It is stored with these bytes for its value.
    AcceptAs(Vec<u8>),
    /// It is not stored.
    Refuse(Refusal),
}

/// Which writes a validation policy is asked about, and what it is shown of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Keys with one of these prefixes; all keys when there are none.
    pub prefixes: Vec<Vec<u8>>,
    /// Whether it is shown the current value, which costs a quorum read.
    pub current: bool,
    /// Whether it is asked about deletes.
    pub deletes: bool,
    /// The largest value it is shown, in bytes. A larger one is refused in its name.
    pub value_bytes_max: u32,
}

impl Wants {
    /// Whether the policy is asked about a write under `key`, of a value or a delete.
    #[must_use]
    pub fn has(&self, key: &[u8], value: Option<&[u8]>) -> bool {
        let named = |prefix: &Vec<u8>| key.starts_with(prefix);
        let is_named = self.prefixes.is_empty() || self.prefixes.iter().any(named);
        is_named && (self.deletes || value.is_some())
    }
}

/// Decides which nodes hold which partitions.
pub trait Placement: Send + Sync {
    /// A table for `now` with few moves from `before`; the same arguments give the same table.
    ///
    /// # Errors
    /// [`PolicyError`]; the table in force stays.
    fn plan(&self, now: &Snapshot, before: Option<&Table>, seed: u64)
    -> Result<Table, PolicyError>;
}

/// Decides what concurrent versions of a key become.
pub trait Resolution: Send + Sync {
    /// What `siblings` become: a function of their set, whatever their order or repetition.
    /// [`Resolved::Keep`] names a place in the slice given.
    ///
    /// # Errors
    /// [`PolicyError`]; the siblings are the answer, and all of them are kept.
    fn resolve(&self, key: &[u8], siblings: &[Sibling<'_>]) -> Result<Resolved, PolicyError>;
}

/// Decides which writes are allowed.
pub trait Validation: Send + Sync {
    /// Which writes it is to be asked about.
    fn wants(&self) -> &Wants;

    /// One verdict for each of `changes`, in their order, each independent of the others.
    ///
    /// # Errors
    /// [`PolicyError`]; the bucket says whether the writes are refused or pass.
    fn check(&self, changes: &[Change<'_>]) -> Result<Vec<Verdict>, PolicyError>;
}

/// How a policy failed to answer. The policy is at fault in all but [`PolicyError::Busy`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It computed for longer than it may.
    #[error("the policy used up its fuel of {fuel}")]
    OutOfFuel {
        /// What one call may use.
        fuel: u64,
    },
    /// It held its thread for longer than it may.
    #[error("the policy held its thread for more than {millis} ms")]
    Deadline {
        /// How long one call may take.
        millis: u64,
    },
    /// It asked for more memory than it may have.
    #[error("the policy needed more than its {limit} bytes of memory")]
    OutOfMemory {
        /// How much it may have.
        limit: u64,
    },
    /// It stopped in the middle: a panic, an illegal access, a stack overflow.
    #[error("the policy trapped: {0}")]
    Trapped(String),
    /// What it was to be shown is more than one call may carry.
    #[error("{bytes} bytes are more than the {limit} that one call may show the policy")]
    InputTooLarge {
        /// How much there was.
        bytes: u64,
        /// How much there may be.
        limit: u64,
    },
    /// It answered more than one call may carry.
    #[error("the policy answered more than {limit} bytes")]
    OutputTooLarge {
        /// How much it may answer.
        limit: u64,
    },
    /// Its answer makes no sense.
    #[error("the policy's answer is not valid: {0}")]
    BadAnswer(#[from] BadAnswer),
    /// It said that it cannot answer, and why.
    #[error("the policy gave up: {0}")]
    GaveUp(String),
    /// As many calls are under way as this node has room for, or its machine has no more memory.
    #[error("no room for another call of the policy")]
    Busy,
}

impl PolicyError {
    /// How it failed, in a word that stays the same: for figures and reports.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        match self {
            PolicyError::OutOfFuel { .. } => "out-of-fuel",
            PolicyError::Deadline { .. } => "deadline",
            PolicyError::OutOfMemory { .. } => "out-of-memory",
            PolicyError::Trapped(_) => "trapped",
            PolicyError::InputTooLarge { .. } => "input-too-large",
            PolicyError::OutputTooLarge { .. } => "output-too-large",
            PolicyError::BadAnswer(_) => "bad-answer",
            PolicyError::GaveUp(_) => "gave-up",
            PolicyError::Busy => "busy",
        }
    }

    /// Whether the policy did what no policy may. One that gives up may, and nobody asks it about
    /// what is too large or when there is no room.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        match self {
            PolicyError::OutOfFuel { .. }
            | PolicyError::Deadline { .. }
            | PolicyError::OutOfMemory { .. }
            | PolicyError::Trapped(_)
            | PolicyError::OutputTooLarge { .. }
            | PolicyError::BadAnswer(_) => true,
            PolicyError::InputTooLarge { .. } | PolicyError::GaveUp(_) | PolicyError::Busy => false,
        }
    }
}

/// What is wrong with a policy's answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// The answer is not of the form that the interface has.
    #[error("{0}")]
    Malformed(String),
    /// A sibling that there is not.
    #[error("it keeps sibling {index} of {siblings}")]
    NoSuchSibling {
        /// The one named.
        index: u32,
        /// How many there were.
        siblings: usize,
    },
    /// A merged value of a type that no header can carry.
    #[error("its content type is not 1 to {CONTENT_TYPE_BYTES_MAX} visible ASCII characters")]
    ContentType,
    /// More or fewer verdicts than changes.
    #[error("it gave {verdicts} verdicts on {changes} changes")]
    VerdictCount {
        /// How many there were.
        verdicts: usize,
        /// How many there should have been.
        changes: usize,
    },
    /// A value in the place of a delete.
    #[error("it accepted a delete as a value")]
    DeleteAsValue,
    /// A table that breaks the rules of every table.
    #[error("its table may not be: {0}")]
    Table(#[from] TableError),
}
