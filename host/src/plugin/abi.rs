//! This is how the host speaks to components: one adapter for each major version of the interface
//! that was ever released. There is one.

pub(super) mod v1;

use crate::plugin::guest::Guest;
use soros_core::map::plugin::PluginKind;
use soros_core::map::problem::ConfigProblem;
use wasmtime::Store;
use wasmtime::component::{Instance, TypedFunc};

/// The package that policies are from.
const PACKAGE: &str = "soros:policy/";
/// The major version that this host speaks.
pub(super) const MAJOR: u32 = 1;
/// The interface that this host speaks, as a release names it.
pub(super) const NAME: &str = "soros:policy@1.0.0";

/// The functions of one kind of policy.
pub(super) trait Exports: Sized + Send {
    /// What the policy says of what it wants to be shown, when it takes its config.
    type Wants;

    /// Finds the functions in an instance. Their types are checked here.
    fn bind(
        instance: &Instance,
        store: &mut Store<Guest>,
        interface: &str,
    ) -> wasmtime::Result<Self>;

    /// Gives the instance its config.
    fn configure(
        &self,
        store: &mut Store<Guest>,
        config: &str,
    ) -> wasmtime::Result<Result<Self::Wants, Vec<ConfigProblem>>>;
}

/// What a component of any kind says of itself.
pub(super) fn describe(
    instance: &Instance,
    store: &mut Store<Guest>,
    interface: &str,
) -> wasmtime::Result<soros_core::policy::About> {
    let describe: TypedFunc<(), (v1::About,)> =
        v1::function(instance, store, interface, "describe")?;
    Ok(describe.call(store, ())?.0.into())
}

/// What the policy decides that exports the interface `name`, of whatever version.
pub(super) fn kind_of(name: &str) -> Option<PluginKind> {
    match name.strip_prefix(PACKAGE)?.split('@').next()? {
        "placer" => Some(PluginKind::Placement),
        "resolver" => Some(PluginKind::Resolution),
        "validator" => Some(PluginKind::Validation),
        _ => None,
    }
}

/// Whether the interface `name` is of a version that this host speaks.
pub(super) fn is_spoken(name: &str) -> bool {
    let version = name
        .split_once('@')
        .and_then(|(_, version)| version.parse().ok());
    version.is_some_and(|version: semver::Version| version.major == u64::from(MAJOR))
}

/// Whether a component may import `name`.
pub(super) fn is_import(name: &str) -> bool {
    name.starts_with(PACKAGE) && is_spoken(name)
}
