//! This is what is found out of a component before it is let in: check by check, up to the first
//! that fails, each with what was found.

use super::compile::{self, Compiled};
use super::error::{AdmissionError, Fault};
use super::guest::{Guest, bounded};
use super::instance::{Instance, Source};
use super::log::Journal;
use super::{ABI, Runtime, abi};
use abi::Exports;
use abi::v1::{self, SiblingWants};
use serde::{Deserialize, Serialize};
use soros_core::epoch::Epoch;
use soros_core::id::NodeId;
use soros_core::map::plugin::{PluginDigest, PluginKind, PluginName, PluginVersion, Release};
use soros_core::policy::topology::{Member, Node, Snapshot, State, Topology};
use soros_core::policy::{Change, PolicyError, Sibling};
use std::sync::Arc;
use wasmtime::Store;

/// What is checked, in this order.
const CHECKS: [&str; 8] = [
    "size",
    "component",
    "imports",
    "world",
    "compile",
    "describe",
    "name",
    "determinism",
];

/// One check, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked.
    pub check: String,
    /// Whether it passed.
    pub passed: bool,
    /// What was found.
    pub detail: String,
}

/// A component that was let in.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// What it decides.
    pub kind: PluginKind,
    /// How the map names it.
    pub release: Release,
    /// What was checked.
    pub checks: Vec<Check>,
}

impl Runtime {
    /// Looks at a component that is to be version `version` of the plugin `name`. It compiles, so
    /// it may take a minute and does not belong on a thread that serves requests.
    ///
    /// # Errors
    /// The checks that were made, the last of which failed.
    pub fn admit(
        &self,
        component: &[u8],
        name: &PluginName,
        version: &PluginVersion,
    ) -> Result<Admitted, Vec<Check>> {
        let digest = PluginDigest(*blake3::hash(component).as_bytes());
        let compiled = compile::outline(component)
            .and_then(|_| self.compile(digest, component))
            .map_err(|error| failed(check_of(&error), &error))?;
        let about = &compiled.about;
        if about.name != name.as_str() || about.version != version.as_str() {
            let reason = format!(
                "it calls itself {} {}, and was pushed as {name} {version}",
                about.name, about.version
            );
            return Err(failed("name", &reason));
        }
        let found = self.determinism(&compiled, "{}");
        let determinism = found.map_err(|reason| failed("determinism", &reason))?;
        let kind = compiled.kind;
        let mut checks = passed(CHECKS.len());
        let details = [
            (0, format!("{} bytes", component.len())),
            (3, format!("{kind:?}, by {}", compiled.interface)),
            (6, format!("{} {}", about.name, about.version)),
            (7, determinism),
        ];
        for (at, detail) in details {
            checks[at].detail = detail;
        }
        Ok(Admitted {
            kind,
            release: Release {
                digest,
                abi: ABI.to_owned(),
                size: component.len() as u64,
            },
            checks,
        })
    }

    /// Whether it answers the same question alike: asked twice, and in another instance.
    pub(super) fn determinism(
        &self,
        compiled: &Arc<Compiled>,
        config: &str,
    ) -> Result<String, String> {
        let source = Source {
            host: Arc::clone(self.host(compiled.kind)),
            compiled: Arc::clone(compiled),
            config: config.to_owned(),
            journal: Arc::new(Journal::new(compiled.about.name.clone())),
        };
        match compiled.kind {
            PluginKind::Placement => alike::<v1::Placer, _>(&source, |store, placer| {
                placer.plan(store, &snapshot(), None, 0)
            }),
            PluginKind::Resolution => alike::<v1::Resolver, _>(&source, |store, resolver| {
                let wants = SiblingWants { values: true };
                resolver.resolve(store, b"key", SIBLINGS.iter(), wants)
            }),
            PluginKind::Validation => alike::<v1::Validator, _>(&source, |store, validator| {
                validator.check(store, &CHANGES.iter().collect::<Vec<_>>())
            }),
        }
    }
}

/// Asks one instance twice and another one once.
fn alike<E: Exports, A: PartialEq>(
    source: &Source,
    ask: impl Fn(&mut Store<Guest>, &E) -> wasmtime::Result<A>,
) -> Result<String, String> {
    let fresh = || match Instance::<E>::new(source) {
        Ok((instance, _)) => Ok(Some(instance)),
        Err(Fault::Config(_)) => Ok(None),
        Err(Fault::Policy(error)) => Err(error.to_string()),
    };
    let question = |instance: &mut Instance<E>| {
        let Instance { store, exports, .. } = instance;
        bounded(store, |store| ask(store, exports))
    };
    let (Some(mut one), Some(mut other)) = (fresh()?, fresh()?) else {
        return Ok("not asked: it takes no empty config".to_owned());
    };
    let first: Result<A, PolicyError> = question(&mut one);
    if first != question(&mut other) {
        return Err("two instances answer the same question differently".to_owned());
    }
    if first.is_ok() && first != question(&mut one) {
        return Err("asked again, an instance answers differently".to_owned());
    }
    Ok("asked twice in one instance and once in another, it answers alike".to_owned())
}

fn passed(count: usize) -> Vec<Check> {
    let passed = |check: &&str| Check {
        check: (*check).to_owned(),
        passed: true,
        detail: String::new(),
    };
    CHECKS.iter().take(count).map(passed).collect()
}

fn failed(check: &str, reason: &dyn std::fmt::Display) -> Vec<Check> {
    let at = CHECKS.iter().position(|other| *other == check);
    let mut checks = passed(at.unwrap_or(0));
    checks.push(Check {
        check: check.to_owned(),
        passed: false,
        detail: reason.to_string(),
    });
    checks
}

fn check_of(error: &AdmissionError) -> &'static str {
    match error {
        AdmissionError::TooLarge(_) => "size",
        AdmissionError::NotAComponent(_) => "component",
        AdmissionError::ForeignImports(_) => "imports",
        AdmissionError::OtherAbi { .. }
        | AdmissionError::NoPolicy(_)
        | AdmissionError::SeveralPolicies(_)
        | AdmissionError::Misfit(_) => "world",
        AdmissionError::Invalid(_) | AdmissionError::Compiler(_) => "compile",
        AdmissionError::Fails(_)
        | AdmissionError::BadAbout(_)
        | AdmissionError::ConfigTooLarge(_)
        | AdmissionError::BadConfig(_) => "describe",
    }
}

const CHANGES: [Change<'_>; 3] = [
    change(Some(b"new"), Some(b"old")),
    change(Some(b"{\"a\":1}"), None),
    change(None, Some(b"old")),
];

const fn change<'a>(value: Option<&'a [u8]>, current: Option<&'a [u8]>) -> Change<'a> {
    Change {
        bucket: "bucket",
        key: b"key",
        content_type: "text/plain",
        value,
        current,
        principal: "",
    }
}

const SIBLINGS: [Sibling<'_>; 3] = [
    sibling(1, Some(b"one")),
    sibling(2, None),
    sibling(2, Some(b"two")),
];

const fn sibling(time: u64, value: Option<&[u8]>) -> Sibling<'_> {
    Sibling {
        time,
        writer: 1,
        value,
        content_type: "text/plain",
        meta: Vec::new(),
    }
}

/// Three nodes in three zones.
fn snapshot() -> Snapshot {
    let member = |id| Member {
        node: Node {
            id: NodeId(id),
            zone: format!("zone-{id}"),
            rack: String::new(),
            capacity: 1 << 30,
            tags: Vec::new(),
        },
        state: State::Active,
    };
    let topology = Topology {
        epoch: Epoch(1),
        members: (1..=3).map(member).collect(),
        partitions: 16.try_into().expect("a power of two"),
        replicas: 3,
        zones_min: None,
        bytes: Vec::new(),
    };
    topology.try_into().expect("open members")
}
