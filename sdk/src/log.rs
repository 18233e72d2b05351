//! This is how a policy speaks to the operator: lines in the node's log, under the plugin's name.
//!
//! A call has a small share of the log; what goes beyond it is dropped and counted. Outside of a
//! component, in a plugin's own tests, the lines go to standard error.

#[cfg(target_arch = "wasm32")]
use crate::bindings::resolution::soros::policy::log::write;

pub use crate::bindings::resolution::soros::policy::log::Level;

/// Writes a line that matters only while looking for a fault.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Writes a line worth knowing.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Writes a line worth looking into.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Writes a line about a fault.
pub fn error(message: &str) {
    write(Level::Error, message);
}

#[cfg(not(target_arch = "wasm32"))]
fn write(level: Level, message: &str) {
    eprintln!("{level:?}: {message}");
}

/// Sees to it that a panic's message and source line are in the log before the call traps.
pub(crate) fn report_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| error(&panic.to_string())));
}
