//! This is how components fail: why one is refused, and what an engine's error says of a call.

use crate::plugin::compiler::CompilerError;
use crate::plugin::guest::{Guest, Overrun};
use crate::plugin::limits::{COMPONENT_BYTES_MAX, CONFIG_BYTES_MAX, Limits};
use crate::plugin::log::shortened;
use soros_core::map::problem::ConfigProblem;
use soros_core::policy::{BadAnswer, PolicyError};
use wasmtime::{PoolConcurrencyLimitError, Trap};

/// Why bytes and a config are not a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// More bytes than a component may have.
    #[error("{0} bytes are more than the {COMPONENT_BYTES_MAX} a component may have")]
    TooLarge(usize),
    /// A longer config than a policy may have.
    #[error("{0} bytes are more than the {CONFIG_BYTES_MAX} a config may have")]
    ConfigTooLarge(usize),
    /// A core module, for example, which no encoder has made a component.
    #[error(
        "not a WebAssembly component: {0}. `soros plugin build` makes one, and so does \
         `wasm-tools component new` of a module"
    )]
    NotAComponent(String),
    /// It needs what no policy has: a clock, randomness, files, a network.
    #[error(
        "it imports {}, and a policy may import nothing but `soros:policy/log@1`. Build it for \
         wasm32-unknown-unknown, not for a target with WASI; in other languages, stub WASI out",
        .0.join(", ")
    )]
    ForeignImports(Vec<String>),
    /// It speaks another version of the interface.
    #[error(
        "it speaks {found}, and this host speaks soros:policy@1. Build it with an SDK of that \
         version, or push it to nodes that speak its own"
    )]
    OtherAbi {
        /// The interface with its version.
        found: String,
    },
    /// It exports no policy.
    #[error(
        "it exports none of soros:policy/placer@1, soros:policy/resolver@1 and \
         soros:policy/validator@1 ({}). With the SDK, end the crate with \
         `soros_sdk::export_validation!(TYPE);` or the like, and build it by `soros plugin build`",
        if .0.is_empty() { "it exports nothing".to_owned() } else { .0.join(", ") }
    )]
    NoPolicy(Vec<String>),
    /// It exports more than one policy.
    #[error("it exports several policies: {}. Make a component of each", .0.join(", "))]
    SeveralPolicies(Vec<String>),
    /// It is not valid, or uses features of WebAssembly that policies may not use.
    #[error("it does not compile: {0}")]
    Invalid(String),
    /// It could not be compiled within bounds.
    #[error("{0}")]
    Compiler(#[from] CompilerError),
    /// Its functions are not those of the interface that it names.
    #[error(
        "it does not fit its interface: {0}. Build it again from sdk/wit/v1, as this host has it"
    )]
    Misfit(String),
    /// It failed while it was asked what it is, or given its config.
    #[error("it fails at once: {0}")]
    Fails(PolicyError),
    /// It does not say what it is in the words that are asked for.
    #[error("it describes itself wrongly: {0}")]
    BadAbout(String),
    /// It does not take the config.
    #[error("it does not take its config: {}", problems(.0))]
    BadConfig(Vec<ConfigProblem>),
}

fn problems(problems: &[ConfigProblem]) -> String {
    let problem = |problem: &ConfigProblem| match problem.path.as_str() {
        "" => problem.message.clone(),
        path => format!("{path}: {}", problem.message),
    };
    problems.iter().map(problem).collect::<Vec<_>>().join("; ")
}

/// How making an instance fails.
#[derive(Debug)]
pub(super) enum Fault {
    Policy(PolicyError),
    Config(Vec<ConfigProblem>),
}

impl Fault {
    /// What it means for a call. The config was taken before, so a policy that no longer takes it
    /// is not to be believed.
    pub(super) fn into_policy_error(self) -> PolicyError {
        match self {
            Fault::Policy(error) => error,
            Fault::Config(found) => {
                BadAnswer::Malformed(format!("it took its config before: {}", problems(&found)))
                    .into()
            }
        }
    }

    pub(super) fn into_admission_error(self) -> AdmissionError {
        match self {
            Fault::Policy(PolicyError::BadAnswer(BadAnswer::Malformed(reason))) => {
                AdmissionError::Misfit(reason)
            }
            Fault::Policy(error) => AdmissionError::Fails(error),
            Fault::Config(problems) => AdmissionError::BadConfig(problems),
        }
    }
}

/// What an engine's error says of the policy that it interrupted.
pub(super) fn fault(error: &wasmtime::Error, guest: &Guest, limits: &Limits) -> PolicyError {
    let millis = u64::try_from(limits.deadline.as_millis()).unwrap_or(u64::MAX);
    if guest.was_refused {
        return PolicyError::OutOfMemory {
            limit: limits.memory_bytes as u64,
        };
    }
    if error.is::<Overrun>() {
        return PolicyError::Deadline { millis };
    }
    if guest.was_starved || is_of_machine(error) {
        tracing::debug!(
            error = format!("{error:#}"),
            "no room for a call of a policy"
        );
        return PolicyError::Busy;
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => PolicyError::OutOfFuel { fuel: limits.fuel },
        Some(Trap::Interrupt) => PolicyError::Deadline { millis },
        Some(trap) => PolicyError::Trapped(trapped(*trap, &guest.last_error)),
        None if is_too_much_output(error) => PolicyError::OutputTooLarge {
            limit: limits.output_bytes as u64,
        },
        None => BadAnswer::Malformed(shortened(&format!("{error:#}"))).into(),
    }
}

/// Whether the machine, or what this node set aside for policies, was not enough: no policy is to
/// blame for that, and none of them can bring such an error about.
pub(super) fn is_of_machine(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<PoolConcurrencyLimitError>()
            || cause.is::<wasmtime::OutOfMemory>()
            || cause.is::<std::io::Error>()
            || cause.is::<rustix::io::Errno>()
    })
}

fn trapped(trap: Trap, last_error: &str) -> String {
    if last_error.is_empty() {
        trap.to_string()
    } else {
        format!("{trap}; its last words were: {last_error}")
    }
}

/// The engine has no type for this error; a test sees to it that it keeps its words.
fn is_too_much_output(error: &wasmtime::Error) -> bool {
    error
        .root_cause()
        .to_string()
        .contains("fuel allocated for hostcalls has been exhausted")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::tests::guest;
    use std::io::ErrorKind;
    use wasmtime::ResourceLimiter;

    #[test]
    fn what_the_machine_lacks_is_no_fault_of_a_policy() {
        let of_mapping = wasmtime::Error::from(rustix::io::Errno::NOMEM);
        let of_protecting = wasmtime::Error::from(std::io::Error::from(ErrorKind::OutOfMemory));
        let mut store = guest();
        let limits = crate::plugin::limits::REQUEST;
        for error in [of_mapping, of_protecting] {
            let error = error.context("cannot allocate").context("in an instance");
            let found = fault(&error, store.data(), &limits);
            assert_eq!(found, PolicyError::Busy, "{error:#}");
            assert!(!found.is_fault());
        }
        // A policy that is told so in the middle ends by a trap: it is not the trap's fault either.
        let mapping = std::io::Error::from(ErrorKind::OutOfMemory);
        let ended = store.data_mut().memory_grow_failed(mapping.into());
        assert!(ended.is_err(), "the call goes on, and would trap");
        let trap = wasmtime::Error::from(Trap::UnreachableCodeReached);
        assert_eq!(fault(&trap, store.data(), &limits), PolicyError::Busy);
    }

    #[test]
    fn what_a_policy_does_is_its_own_fault() {
        let mut store = guest();
        let limits = crate::plugin::limits::REQUEST;
        let beyond = wasmtime::format_err!("Memory maximum size exceeded");
        let told = store.data_mut().memory_grow_failed(beyond);
        assert!(
            told.is_ok(),
            "it is told that there is no more, and may go on"
        );
        let trap = wasmtime::Error::from(Trap::UnreachableCodeReached);
        let nonsense = wasmtime::format_err!("invalid utf-8");
        for error in [trap, nonsense] {
            let found = fault(&error, store.data(), &limits);
            assert!(found.is_fault(), "{found}");
        }
    }
}
