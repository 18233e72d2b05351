//! This is what ships with the binary: the default policies, as components that the build script
//! made of `plugins/`.

use soros_core::map::plugin::{PluginDigest, PluginKind};

/// A plugin that ships.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Its canonical name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What it decides.
    pub kind: PluginKind,
    /// The digest of its bytes.
    pub digest: PluginDigest,
    /// Its component.
    pub bytes: &'static [u8],
}

/// All plugins that ship.
#[must_use]
pub fn shipped() -> &'static [Shipped] {
    &include!(concat!(env!("OUT_DIR"), "/shipped.rs"))
}
