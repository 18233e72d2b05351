//! This is what is found out of a component before it is let in: check by check, up to the first
//! that fails, each with what was found.

use super::compile;
use super::error::AdmissionError;
use super::laws::{Counterexample, Finding, Report, Trial, TrialError};
use super::log::shortened;
use super::{ABI, Ready, Runtime};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use soros_core::map::json::Json;
use soros_core::map::plugin::{PluginDigest, PluginKind, PluginName, PluginVersion, Release};

/// What is checked, in this order.
const CHECKS: [&str; 10] = [
    "size",
    "component",
    "imports",
    "world",
    "compile",
    "describe",
    "name",
    "determinism",
    "laws",
    "fuel",
];

/// How deep a config is made up.
const DEPTH_MAX: u32 = 8;

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
        let size = component.len();
        let ready = Ready { digest, compiled };
        let [determinism, laws, fuel] = details(&self.reports(&ready)?);
        let Ready { compiled, .. } = ready;
        let (kind, about) = (compiled.kind, &compiled.about);
        let mut checks = passed(CHECKS.len());
        let details = [
            (0, format!("{size} bytes")),
            (3, format!("{kind:?}, by {}", compiled.interface)),
            (6, format!("{} {}", about.name, about.version)),
            (7, determinism),
            (8, laws),
            (9, fuel),
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

    /// The laws, tried with every config that the component is known to take: the empty one, and
    /// those that its schema names; if there is none, with one that is made up by the schema.
    fn reports(&self, ready: &Ready) -> Result<Vec<Report>, Vec<Check>> {
        let trial = Trial::of_admission(ready.compiled.kind);
        let tried = |config: &Json| match self.try_laws(ready, config, trial, "") {
            Ok(report) => Ok(Some(report)),
            Err(TrialError::Policy(AdmissionError::BadConfig(_))) => Ok(None),
            Err(error) => Err(failed("laws", &error)),
        };
        let mut reports: Vec<Report> = tried(&Json::empty())?.into_iter().collect();
        let schema = serde_json::from_str(&ready.about().config_schema).unwrap_or_default();
        for config in named_by(&schema) {
            let report = tried(&config)?.ok_or_else(|| {
                let text = shortened(&config.canonical());
                failed(
                    "laws",
                    &format!("it does not take {text}, which its schema names"),
                )
            });
            reports.push(report?);
        }
        if let Some(config) = made_up(&schema, 0).filter(|_| reports.is_empty()) {
            reports.extend(tried(&json(&config))?);
        }
        for report in &reports {
            find_breach(report)?;
        }
        Ok(reports)
    }
}

fn json(value: &Value) -> Json {
    Json::deserialize(value).unwrap_or(Json::Null)
}

/// The configs that a schema gives as examples, or as what holds when nothing is said.
fn named_by(schema: &Value) -> Vec<Json> {
    let examples = schema["examples"].as_array().into_iter().flatten();
    let mut named: Vec<Json> = examples.chain(schema.get("default")).map(json).collect();
    named.dedup();
    named.retain(|config| *config != Json::empty());
    named
}

/// The plainest value that a schema may mean. Whether it is taken is seen when it is tried.
pub(super) fn made_up(schema: &Value, depth: u32) -> Option<Value> {
    if DEPTH_MAX < depth {
        return None;
    }
    let first = |name: &str| schema[name].as_array().and_then(|values| values.first());
    let named = [schema.get("default"), schema.get("const")];
    let mut named = named.into_iter().chain([first("examples"), first("enum")]);
    if let Some(value) = named.find_map(|value| value) {
        return Some(value.clone());
    }
    let either = ["oneOf", "anyOf", "allOf"].into_iter().find_map(first);
    let kind = schema["type"]
        .as_str()
        .or_else(|| schema["type"][0].as_str());
    match kind {
        Some("string") => Some("".into()),
        Some("integer" | "number") => Some(schema.get("minimum").map_or(0.into(), Value::clone)),
        Some("boolean") => Some(false.into()),
        Some("array") => Some(Value::Array(Vec::new())),
        Some("object") => {
            let required = schema["required"].as_array().into_iter().flatten();
            let field = |key: &str| {
                let value = made_up(&schema["properties"][key], depth + 1)?;
                Some((key.to_owned(), value))
            };
            let fields = required.filter_map(Value::as_str).map(field);
            fields.collect::<Option<_>>().map(Value::Object)
        }
        _ => made_up(either?, depth + 1),
    }
}

/// The check that a broken law makes fail.
fn find_breach(report: &Report) -> Result<(), Vec<Check>> {
    for Finding { law, breach, .. } in &report.laws {
        let Some(Counterexample { reason, call }) = breach else {
            continue;
        };
        let config = report.config.canonical();
        let (check, law) = match law.as_str() {
            "determinism" => ("determinism", String::new()),
            law => ("laws", format!("{law}: ")),
        };
        let reason = shortened(&format!(
            "{law}{reason}. With the config {config}, asked {call}"
        ));
        return Err(failed(check, &reason));
    }
    Ok(())
}

/// What was found of determinism, of the other laws, and of fuel.
fn details(reports: &[Report]) -> [String; 3] {
    let Some(first) = reports.first() else {
        let reason = "not tried: it takes no empty config, and its schema has no examples. Give it \
                      some, or try it by `soros plugin test --config JSON`";
        return [reason; 3].map(str::to_owned);
    };
    let cases: u32 = reports
        .iter()
        .filter_map(|report| report.laws.iter().map(|finding| finding.cases).max())
        .sum();
    let others = first.laws.iter().map(|finding| finding.law.as_str());
    let others: Vec<&str> = others.filter(|law| *law != "determinism").collect();
    let worst = |figure: fn(&Report) -> u64| reports.iter().map(figure).max().unwrap_or(0);
    [
        format!("{cases} questions, each asked of two instances and again"),
        format!("{} hold on {cases} questions", others.join(", ")),
        format!(
            "p50 {}, p99 {}, at most {} of {}",
            worst(|report| report.fuel.p50),
            worst(|report| report.fuel.p99),
            worst(|report| report.fuel.max),
            first.fuel.limit
        ),
    ]
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
