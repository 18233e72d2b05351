//! This is how bytes become a component that may be asked: looked at from outside first, because
//! compiling is the expensive part, then compiled and linked.

use crate::plugin::abi;
use crate::plugin::compiler::Compiler;
use crate::plugin::engine::Host;
use crate::plugin::error::{AdmissionError, Fault};
use crate::plugin::guest::{Guest, bounded, store};
use crate::plugin::limits::COMPONENT_BYTES_MAX;
use crate::plugin::log::{Journal, shortened};
use crate::store::native::NativeCode;
use soros_core::map::plugin::{PluginKind, PluginName};
use soros_core::policy::About;
use std::sync::Arc;
use wasmparser::{Encoding, Parser, Payload};
use wasmtime::component::InstancePre;

/// How many names are shown of those that a component imports or exports.
const NAMES_SHOWN: usize = 16;
/// How many characters are shown of each.
const NAME_SHOWN: usize = 100;
/// How deep components and modules may lie in each other.
const DEPTH_MAX: u32 = 100;

/// What a component is, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outline {
    /// What it decides.
    pub(super) kind: PluginKind,
    /// The interface that it exports, with its version.
    pub(super) interface: String,
}

/// A component that is ready to be made instances of.
pub(super) struct Compiled {
    pub(super) kind: PluginKind,
    pub(super) interface: String,
    pub(super) pre: InstancePre<Guest>,
    pub(super) about: About,
}

/// Looks at a component's imports and exports without compiling it.
pub(super) fn outline(bytes: &[u8]) -> Result<Outline, AdmissionError> {
    if COMPONENT_BYTES_MAX < bytes.len() {
        return Err(AdmissionError::TooLarge(bytes.len()));
    }
    let names = names(bytes)?;
    let foreign: Vec<String> = names
        .imports
        .into_iter()
        .filter(|name| !abi::is_import(name))
        .collect();
    if !foreign.is_empty() {
        return Err(AdmissionError::ForeignImports(listed(foreign)));
    }
    let policies: Vec<&String> = names
        .exports
        .iter()
        .filter(|name| abi::kind_of(name).is_some())
        .collect();
    match policies[..] {
        [] => Err(AdmissionError::NoPolicy(listed(names.exports))),
        [name] => of_export(name),
        _ => Err(AdmissionError::SeveralPolicies(listed(
            policies.into_iter().cloned().collect(),
        ))),
    }
}

/// The first of these names, as far as they are shown to people: a component may have a million,
/// and each of any length.
fn listed(mut names: Vec<String>) -> Vec<String> {
    let more = names.len().saturating_sub(NAMES_SHOWN);
    names.truncate(NAMES_SHOWN);
    for name in &mut names {
        *name = name.chars().take(NAME_SHOWN).collect();
    }
    if 0 < more {
        names.push(format!("and {more} more"));
    }
    names
}

fn of_export(name: &str) -> Result<Outline, AdmissionError> {
    let interface: String = name.chars().take(NAME_SHOWN).collect();
    match abi::kind_of(name) {
        Some(kind) if abi::is_spoken(name) => Ok(Outline { kind, interface }),
        _ => Err(AdmissionError::OtherAbi { found: interface }),
    }
}

/// The names that a component imports and exports.
#[derive(Default)]
struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
}

fn names(bytes: &[u8]) -> Result<Names, AdmissionError> {
    let not_one = |error: wasmparser::BinaryReaderError| {
        AdmissionError::NotAComponent(shortened(&error.to_string()))
    };
    let mut names = Names::default();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(not_one)? {
            Payload::Version {
                encoding: Encoding::Module,
                ..
            } if depth == 0 => {
                return Err(AdmissionError::NotAComponent("it is a core module".into()));
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth += 1;
                if DEPTH_MAX < depth {
                    let reason = format!("components lie more than {DEPTH_MAX} deep in each other");
                    return Err(AdmissionError::NotAComponent(reason));
                }
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    names
                        .imports
                        .push(import.map_err(not_one)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    names
                        .exports
                        .push(export.map_err(not_one)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

/// Compiles a component, links it, and asks it what it is, in an instance of its own.
pub(super) fn compile(
    host: &Arc<Host>,
    bytes: &[u8],
    outline: Outline,
    compiler: &Compiler,
    native: Option<&NativeCode>,
) -> Result<Compiled, AdmissionError> {
    let Outline { kind, interface } = outline;
    let component = compiler.component(host, kind, bytes, native)?;
    let pre = host.linker.instantiate_pre(&component);
    let pre = pre.map_err(|error| AdmissionError::Misfit(shortened(&format!("{error:#}"))))?;
    let mut store = store(host, &Arc::new(Journal::new(interface.clone())));
    let about = bounded(&mut store, |store| {
        let instance = pre.instantiate(&mut *store)?;
        abi::describe(&instance, store, &interface)
    });
    let about = about.map_err(|error| Fault::Policy(error).into_admission_error())?;
    check(&about)?;
    Ok(Compiled {
        kind,
        interface,
        pre,
        about,
    })
}

fn check(about: &About) -> Result<(), AdmissionError> {
    let bad = |reason: String| AdmissionError::BadAbout(shortened(&reason));
    PluginName::try_from(about.name.clone())
        .map_err(|_| bad(format!("`{}` is not a plugin's name", about.name)))?;
    semver::Version::parse(&about.version)
        .map_err(|error| bad(format!("`{}` is not a version: {error}", about.version)))?;
    serde_json::from_str::<serde_json::Value>(&about.config_schema)
        .map_err(|error| bad(format!("its config's schema is not JSON: {error}")))?;
    Ok(())
}
