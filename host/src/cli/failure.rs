//! This is why a command failed, in words, with what to do next: every failure has both.

use super::console::{Console, Label, Output};
use super::exit::Exit;
use super::node::NodeFailure;
use super::plugin::BuildError;
use crate::client::{ClientError, HeaderTextError, Intent, UrlError};
use crate::config::ConfigErrors;
use crate::network::problem::Code;
use crate::plugin::laws::TrialError;
use crate::telemetry::LogError;
use serde_json::{Value, json};
use soros_core::id::NameError;
use soros_core::key::KeyError;
use soros_core::map::plugin::PluginNameError;
use std::io;
use std::path::PathBuf;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A request failed.
    #[error("{0}")]
    Request(#[source] ClientError, Intent),
    /// A key without a value.
    #[error("the key has no value")]
    NoValue,
    /// A key with several values.
    #[error("the key has {0} siblings; they are on standard output, as JSON")]
    Siblings(usize),
    /// A key that is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A bucket's or placement's name that is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A plugin's name or version that is none.
    #[error(transparent)]
    Plugin(#[from] PluginNameError),
    /// A file that is no plugin's component.
    #[error("the file is no plugin: {0}")]
    BadComponent(String),
    /// A crate that makes no component.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A plugin that cannot be tried.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// A plugin that breaks laws.
    #[error("the plugin breaks {0}")]
    LawsBroken(String),
    /// A plugin that answers calls otherwise than they were answered.
    #[error("{differences} of {calls} calls are answered otherwise")]
    AnswersDiffer {
        /// How many calls there were.
        calls: u32,
        /// How many answers differ.
        differences: usize,
    },
    /// A URL that is none.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A text that no header may have.
    #[error(transparent)]
    Header(#[from] HeaderTextError),
    /// Arguments that do not fit together.
    #[error("{0}")]
    Usage(&'static str),
    /// A configuration that is none.
    #[error("{0} is not a configuration: {1}")]
    NotConfiguration(String, #[source] serde_json::Error),
    /// A node's configuration with faults.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// A file that cannot be read or written.
    #[error("{path}: {1}", path = .0.display())]
    File(PathBuf, #[source] io::Error),
    /// A value that is larger than any bucket allows.
    #[error("the value has more than {0} bytes, which no bucket allows")]
    TooLarge(usize),
    /// A standard stream that is broken.
    #[error("a standard stream is broken: {0}")]
    Stream(#[from] io::Error),
    /// The log could not be set up.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A port that something else listens on.
    #[error("port {0} is taken")]
    PortTaken(u16),
    /// A node that could not start or go on.
    #[error(transparent)]
    Node(#[from] NodeFailure),
    /// A node of several that ended.
    #[error("{name} ended{}", because(failure.as_ref()))]
    NodeEnded {
        /// The node.
        name: String,
        /// Why, if it told.
        #[source]
        failure: Option<NodeFailure>,
    },
    /// Nodes that would not end.
    #[error("the nodes did not drain in time and were ended at once")]
    NotDrained,
    /// A part of this program that panicked.
    #[error("{0} panicked")]
    Panicked(&'static str),
    /// A load that no request of came through.
    #[error("no request succeeded; {0}")]
    NothingServed(String),
}

impl Failure {
    /// A failed request that changes nothing.
    pub(super) fn read(error: ClientError) -> Failure {
        Failure::Request(error, Intent::Read)
    }

    /// A failed request that changes something.
    pub(super) fn write(error: ClientError) -> Failure {
        Failure::Request(error, Intent::Write)
    }

    /// How the command ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Failure::Request(error, intent) => Exit::of(error, *intent),
            Failure::NoValue => Exit::NotFound,
            Failure::Siblings(_) => Exit::Conflict,
            Failure::Key(_)
            | Failure::Name(_)
            | Failure::Plugin(_)
            | Failure::Url(_)
            | Failure::Header(_)
            | Failure::Usage(_)
            | Failure::NotConfiguration(..)
            | Failure::Config(_)
            | Failure::Node(NodeFailure::Usage(_))
            | Failure::NodeEnded {
                failure: Some(NodeFailure::Usage(_)),
                ..
            }
            | Failure::Log(_) => Exit::Usage,
            // Who reads only the first lines of an answer has got what they wanted.
            Failure::Stream(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Failure::File(..)
            | Failure::BadComponent(_)
            | Failure::Build(_)
            | Failure::Trial(_)
            | Failure::LawsBroken(_)
            | Failure::AnswersDiffer { .. }
            | Failure::TooLarge(_)
            | Failure::Stream(_)
            | Failure::PortTaken(_)
            | Failure::Node(NodeFailure::Failed(_))
            | Failure::NodeEnded { .. }
            | Failure::NotDrained
            | Failure::Panicked(_) => Exit::Failed,
            Failure::NothingServed(_) => Exit::Unavailable,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn next(&self) -> &'static str {
        match self {
            Failure::Request(error, intent) => next_after(error, *intent),
            Failure::NoValue => "`soros kv put BUCKET KEY` stores one.",
            Failure::Siblings(_) => {
                "Make one value of them and write it with `--context`, using the context given; \
                 or give the bucket a resolver."
            }
            Failure::Key(_) => "Give a key of 1 to 1024 bytes.",
            Failure::Name(_) => "`soros bucket ls` and `soros placement ls` show the names in use.",
            Failure::Plugin(_) => "`soros plugin ls` shows the names and versions in use.",
            Failure::BadComponent(_) => "Mend what is named and build the plugin again.",
            Failure::Build(error) => error.next(),
            Failure::Trial(TrialError::Policy(_)) => "`--config JSON` gives the plugin its config.",
            Failure::Trial(TrialError::Sample { .. }) => {
                "Mend that line, or name another file; docs/plugins.md shows what calls look like."
            }
            Failure::LawsBroken(_) => {
                "Mend the policy; each question above is the smallest found that breaks the law."
            }
            Failure::AnswersDiffer { .. } => "Decide of each call above which answer is right.",
            Failure::Url(_) => "Name a node with --url or SOROS_URL, as in http://127.0.0.1:7070.",
            Failure::Header(_) => "Give it as an earlier answer has it (`-v` shows the headers).",
            Failure::Usage(_) => "`--help` shows how the command is used.",
            Failure::NotConfiguration(..) => {
                "Give a JSON object with the fields that `show --output json` prints."
            }
            Failure::Config(_) => "Nothing was started; correct all of the above and try again.",
            Failure::File(..) => "Check that the path is right and that you may use it.",
            Failure::TooLarge(_) => "Split the value over several keys.",
            Failure::Stream(_) => "Check what the command's input and output are connected to.",
            Failure::PortTaken(_) => {
                "Stop what listens there, choose another --port, or let --port 0 find free ones."
            }
            Failure::NotDrained => "The next start recovers what they had acknowledged.",
            Failure::Node(_) | Failure::NodeEnded { .. } => {
                "Mend what is named; the lines above, or --log debug, say more."
            }
            Failure::Panicked(_) => "This is a fault of Soros: report it with the lines above.",
            Failure::Log(_) => "`--log info` and RUST_LOG=info are filters.",
            Failure::NothingServed(_) => "`soros cluster status` shows which nodes serve.",
        }
    }

    /// Tells the console about it.
    pub(super) fn report(&self, console: &mut Console) -> io::Result<()> {
        if self.exit() == Exit::Done {
            return Ok(());
        }
        if console.verbose {
            self.report_headers(console)?;
        }
        match console.output {
            Output::Table => {
                console.labelled(Label::Error, &self.to_string())?;
                console.labelled(Label::Next, self.next())
            }
            Output::Json => console.message(&self.to_json().to_string()),
        }
    }

    fn report_headers(&self, console: &mut Console) -> io::Result<()> {
        match self {
            Failure::Request(ClientError::Refused(refusal), _) => {
                super::headers::show(console, &refusal.headers)
            }
            _ => Ok(()),
        }
    }

    fn to_json(&self) -> Value {
        let code = match self {
            Failure::Request(error, _) => error.code().map(Code::as_str),
            Failure::NoValue => Some(Code::KeyNotFound.as_str()),
            _ => None,
        };
        let exit = self.exit() as u8;
        json!({"error": self.to_string(), "code": code, "exit": exit, "next": self.next()})
    }
}

/// Arguments that make no sense, for programs.
pub(super) fn usage_json(text: &str) -> Value {
    let exit = Exit::Usage as u8;
    let next = Failure::Usage("").next();
    json!({"error": text, "code": null, "exit": exit, "next": next})
}

fn because(failure: Option<&NodeFailure>) -> String {
    failure
        .map(|failure| format!(": {failure}"))
        .unwrap_or_default()
}

fn next_after(error: &ClientError, intent: Intent) -> &'static str {
    match error {
        ClientError::Unreachable { .. } => {
            "Nothing was sent. Is a node running there? `soros dev` starts a cluster; --url and \
             SOROS_URL name another node."
        }
        ClientError::NoAnswer { .. } | ClientError::BadAnswer { .. } => match intent {
            Intent::Write => UNKNOWN,
            Intent::Read => "Try again, or name other nodes with --url.",
        },
        ClientError::Refused(refusal) => match refusal.code() {
            Some(code) => next_after_code(code, intent),
            None => "Check that --url names a Soros node and no proxy in between changes answers.",
        },
    }
}

const UNKNOWN: &str = "It may have been applied, or may become so: read before you write again.";

fn next_after_code(code: Code, intent: Intent) -> &'static str {
    match code {
        Code::BadRequest | Code::BadHeader | Code::MethodNotAllowed => {
            "Correct the arguments; if they are right, client and node differ in version."
        }
        Code::BadKey => "Give a key of 1 to 1024 bytes.",
        Code::KeyTooLong => "Shorten the key to at most 1024 bytes.",
        Code::BadBucketName => "A bucket's name has 1 to 63 of a-z, 0-9, '.', '_' and '-'.",
        Code::BadContext | Code::BadSession => {
            "Read the key again (`soros kv get -v`) and send the token of that answer."
        }
        Code::Unauthenticated | Code::Forbidden => "Ask the operator for a token that allows this.",
        Code::KeyNotFound => "`soros kv put BUCKET KEY` stores a value.",
        Code::BucketNotFound => "`soros bucket ls` lists them; `soros bucket set NAME` makes one.",
        Code::PlacementNotFound => {
            "`soros placement ls` lists them; `soros placement set NAME` makes one."
        }
        Code::PluginNotFound => "Check the plugin's name and version.",
        Code::NoSuchRoute => "Client and node differ in version: use the client of the node.",
        Code::NotAcceptable | Code::UnsupportedMediaType => "Ask for another form.",
        Code::RequestTimeout => "Nothing was applied. Send it again over a faster connection.",
        Code::TooManySiblings => {
            "Read the key (`soros kv get -v`), merge, and write with `--context`."
        }
        Code::VersionExists => "Raise the plugin's version.",
        Code::InUse => "Remove what uses it first; `soros bucket rm --purge` takes the keys too.",
        Code::NotReady => "Nothing was changed. Mend the node that is named, then try again.",
        Code::Immutable => "Make a new one with the value you want.",
        Code::MovesNeeded => "This moves data, so it is planned and applied as a plan.",
        Code::ChangeUnderWay => "Wait until the change under way is done, then try again.",
        Code::IdempotencyMismatch => "Use a new idempotency key for a new request.",
        Code::CursorGone => "Begin again without a cursor.",
        Code::PreconditionFailed => "It was changed meanwhile: read it again and decide anew.",
        Code::ContextRequired => {
            "Read the key (`soros kv get -v`) and write with `--context`, or add `--blind` for a \
             sibling."
        }
        Code::ValueTooLarge => "Split the value, or raise the bucket's max_value_bytes.",
        Code::Rejected => "A rule of the bucket forbids this value: change what the reason names.",
        Code::BadPlugin => "Mend the checks that failed and build the plugin again.",
        Code::BadConfig => "Correct the fields that are named.",
        Code::UnknownReference => "Make what it names first, or correct the name.",
        Code::HeadersTooLarge => "Send less metadata.",
        Code::Overloaded => "Nothing was applied. Wait a second and try again.",
        Code::Internal => match intent {
            Intent::Write => UNKNOWN,
            Intent::Read => "Look for the id in the node's log; another --url may serve.",
        },
        Code::ConditionalNeedsStrong | Code::NotImplemented => {
            "Nothing was changed. This cluster's version cannot do it; do without it."
        }
        Code::QuorumUnavailable => {
            "Nothing was applied. `soros cluster status` shows which nodes are down."
        }
        Code::ClockSkew => "Nothing was stored. Set the node's clock right, or use another node.",
        Code::PolicyUnavailable => "Nothing was applied. Roll the failing plugin back.",
        Code::Starting | Code::ShuttingDown => "Nothing was applied. Try again, or another --url.",
        Code::OutcomeUnknown => match intent {
            Intent::Write => UNKNOWN,
            Intent::Read => "Try again.",
        },
        Code::DiskFull => "Nothing was stored. Delete keys, or give the node more disk.",
    }
}
