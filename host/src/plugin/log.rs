//! This is the one thing that a component may import: lines for the operator, of which each call
//! and each policy has a bounded share.

use crate::plugin::guest::Guest;
use crate::plugin::limits::{LOG_LINES_A_SECOND, TEXT_BYTES_MAX};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use wasmtime::component::{ComponentType, Lift, Linker, WasmStr};
use wasmtime::{Engine, StoreContextMut};

/// The interface, at the version that this host has.
const INTERFACE: &str = "soros:policy/log@1.0.0";

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "the engine makes them of what a component passes")]
enum Level {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

/// The linker that gives components their log and nothing else.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    linker.instance(INTERFACE)?.func_wrap("write", write)?;
    Ok(linker)
}

fn write(
    mut store: StoreContextMut<'_, Guest>,
    (level, message): (Level, WasmStr),
) -> wasmtime::Result<()> {
    let mut line = {
        let message = message.to_str(&store)?;
        shortened(&message)
    };
    let guest = store.data_mut();
    if level == Level::Error {
        guest.last_error.clone_from(&line);
    }
    if guest.take_log_share(line.len()) {
        let policy = guest.journal.policy.as_str();
        line = line.replace(char::is_control, " ");
        match level {
            Level::Debug => tracing::debug!(policy, "{line}"),
            Level::Info => tracing::info!(policy, "{line}"),
            Level::Warn => tracing::warn!(policy, "{line}"),
            Level::Error => tracing::error!(policy, "{line}"),
        }
    }
    Ok(())
}

/// As much of `text` as is shown to people.
pub(super) fn shortened(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    text[..end].to_owned()
}

/// What all instances of a policy write to: its name, and its lines of the second under way.
#[derive(Debug)]
pub(super) struct Journal {
    policy: String,
    second: Mutex<Option<(Instant, u32)>>,
}

impl Journal {
    pub(super) fn new(policy: String) -> Journal {
        Journal {
            policy,
            second: Mutex::new(None),
        }
    }

    /// Whether there is room for one more line. The line after the last that has room says so.
    pub(super) fn take_line(&self) -> bool {
        let Ok(mut second) = self.second.lock() else {
            return false;
        };
        let now = Instant::now();
        let fresh = |(begun, _): &(Instant, u32)| now - *begun < Duration::from_secs(1);
        let (begun, lines) = second.filter(fresh).unwrap_or((now, 0));
        *second = Some((begun, lines.saturating_add(1)));
        if lines == LOG_LINES_A_SECOND {
            tracing::warn!(
                policy = self.policy,
                "too many lines: the rest of this second is lost"
            );
        }
        lines < LOG_LINES_A_SECOND
    }
}
