//! This is how a core module becomes a component: what cargo builds for `wasm32-unknown-unknown`
//! carries its interface in a section of its own, by which the encoder wraps it. The build script
//! makes what ships with this very file.

use wit_component::ComponentEncoder;

/// The target that policies are built for: it has no WASI, so that nothing is imported.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Makes a component of a core module, or says why it is none.
pub(crate) fn encode(module: &[u8]) -> Result<Vec<u8>, String> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| format!("{error:#}"))
}
