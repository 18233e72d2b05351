//! This is what a policy must keep to, whatever it decides, tried on the component itself in the
//! sandbox that nodes run it in: the laws of its kind, on questions that are made up from a seed
//! and favour ties and extremes.
//!
//! What breaks a law is made smaller, as long as it breaks it, and shown. How much all questions
//! may compute together is bounded, by fuel, so that the same component gets the same report
//! wherever it is tried.

mod placement;
mod random;
mod resolution;
mod validation;
mod value;

use super::compile::Compiled;
use super::error::{AdmissionError, Fault};
use super::instance::{Source, Usage};
use super::log::Journal;
use super::{Placer, Ready, Resolver, Runtime, Validator};
pub(super) use random::Random;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use soros_core::map::json::Json;
use soros_core::map::plugin::PluginKind;
use soros_core::policy::PolicyError;
use std::sync::Arc;

/// How much all questions of a trial may compute together: a few seconds' worth.
const FUEL_OF_TRIAL: u64 = 20_000_000_000;
/// How often a question that breaks a law is tried to be made smaller.
const STEPS_MAX: u32 = 500;
/// The law that sample calls have the answers that they are given with.
const SAMPLES: &str = "samples";

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Where the questions come from.
    pub seed: u64,
    /// How many there are.
    pub cases: u32,
}

impl Trial {
    /// What is tried of a component that is pushed.
    #[must_use]
    pub fn of_admission(kind: PluginKind) -> Trial {
        let cases = match kind {
            PluginKind::Placement => 60,
            PluginKind::Resolution | PluginKind::Validation => 300,
        };
        Trial { seed: 1, cases }
    }
}

/// What came of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What the policy decides.
    pub kind: PluginKind,
    /// The config that it was tried with.
    pub config: Json,
    /// Each law, and whether it was kept.
    pub laws: Vec<Finding>,
    /// What the calls computed.
    pub fuel: Fuel,
}

impl Report {
    /// Whether all laws were kept.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.laws.iter().all(|finding| finding.breach.is_none())
    }
}

/// Whether a law was kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The law.
    pub law: String,
    /// On how many questions it was tried.
    pub cases: u32,
    /// What breaks it.
    pub breach: Option<Counterexample>,
}

/// The smallest question found that breaks a law.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counterexample {
    /// How.
    pub reason: String,
    /// The question, as a line of samples has it.
    pub call: Value,
}

/// What calls computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fuel {
    /// How many calls there were.
    pub calls: u64,
    /// What half of them stayed within.
    pub p50: u64,
    /// What 99 of 100 stayed within.
    pub p99: u64,
    /// The most.
    pub max: u64,
    /// How much a call may use.
    pub limit: u64,
}

/// What came of asking captured calls again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// How many there were.
    pub calls: u32,
    /// Those that are answered otherwise.
    pub differences: Vec<Difference>,
}

/// A captured call that is answered otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The call, by its place among all, from 1.
    pub call: u32,
    /// The answer then.
    pub then: Value,
    /// The answer now.
    pub now: Value,
}

/// Why a policy could not be tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    /// It is no policy with this config.
    #[error(transparent)]
    Policy(#[from] AdmissionError),
    /// A sample is no call of this kind of policy.
    #[error("line {line} is no call of this kind of policy: {reason}")]
    Sample {
        /// Which.
        line: usize,
        /// Why.
        reason: String,
    },
}

/// How a law is broken.
pub(super) struct Breach(String);

/// A law: its name, and what tells whether a policy keeps it on one question.
type Law<K> = (
    &'static str,
    for<'a> fn(&mut Subject<'a, K>, &<K as Kind>::Call) -> Result<(), Breach>,
);

/// A kind of policy: its laws, and what it is asked to see whether they are kept.
pub(super) trait Kind: Sized + 'static {
    type Call: Clone + Serialize + DeserializeOwned;
    type Answer: PartialEq;
    const LAWS: &'static [Law<Self>];

    /// Makes up a question.
    fn call(&self, random: &mut Random) -> Self::Call;
    fn ask(&self, call: &Self::Call) -> Result<Self::Answer, PolicyError>;
    /// Questions that are a little simpler.
    fn smaller(call: &Self::Call) -> Vec<Self::Call>;
    /// The answer that a sample has.
    fn expected(call: &Self::Call) -> Option<Value>;
    /// An answer, as a sample has it.
    fn found(answer: Result<Self::Answer, PolicyError>) -> Option<Value>;
    fn usage(&self) -> Usage;
}

/// A policy under trial.
pub(super) struct Subject<'a, K> {
    make: &'a dyn Fn() -> Result<K, Fault>,
    /// One that is asked again and again.
    kept: K,
    fuel: Vec<u64>,
    fuel_left: u64,
    /// Whether it has the config in which nothing is said.
    is_plain: bool,
}

impl<K: Kind> Subject<'_, K> {
    /// Asks an instance that has not been asked before.
    fn fresh<A>(
        &mut self,
        ask: impl FnOnce(&K) -> Result<A, PolicyError>,
    ) -> Result<A, PolicyError> {
        let policy = (self.make)().map_err(Fault::into_policy_error)?;
        let answer = ask(&policy);
        self.count(policy.usage().fuel_total);
        answer
    }

    /// Asks the one that is asked again and again.
    fn kept<A>(
        &mut self,
        ask: impl FnOnce(&K) -> Result<A, PolicyError>,
    ) -> Result<A, PolicyError> {
        let before = self.kept.usage().fuel_total;
        let answer = ask(&self.kept);
        self.count(self.kept.usage().fuel_total - before);
        answer
    }

    fn count(&mut self, fuel: u64) {
        if 0 < fuel {
            self.fuel.push(fuel);
        }
        self.fuel_left = self.fuel_left.saturating_sub(fuel);
    }

    fn profile(&mut self, limit: u64) -> Fuel {
        self.fuel.sort_unstable();
        let part = |of_100: usize| {
            let at = (self.fuel.len() * of_100).div_ceil(100).saturating_sub(1);
            self.fuel.get(at).copied().unwrap_or(0)
        };
        Fuel {
            calls: self.fuel.len() as u64,
            p50: part(50),
            p99: part(99),
            max: part(100),
            limit,
        }
    }
}

/// Twice fresh and once again, the same question has the same answer.
fn determinism<K: Kind>(subject: &mut Subject<'_, K>, call: &K::Call) -> Result<(), Breach> {
    let first = subject.fresh(|policy| policy.ask(call));
    let breach = |words: &str| Err(Breach(words.to_owned()));
    if first != subject.fresh(|policy| policy.ask(call)) {
        return breach("two instances answer the same question differently");
    }
    if first != subject.kept(|policy| policy.ask(call)) {
        return breach("an instance that was asked before answers differently");
    }
    if first != subject.kept(|policy| policy.ask(call)) {
        return breach("asked again, an instance answers differently");
    }
    Ok(())
}

/// Whether it is no fault of the policy's: it may say that it has no answer.
fn is_excused(error: &PolicyError) -> bool {
    matches!(error, PolicyError::GaveUp(_) | PolicyError::Busy)
}

impl Runtime {
    /// Tries a component with a config: the laws of its kind, and samples, one a line.
    ///
    /// # Errors
    /// [`TrialError`] when there is nothing to try.
    pub fn try_laws(
        &self,
        ready: &Ready,
        config: &Json,
        trial: Trial,
        samples: &str,
    ) -> Result<Report, TrialError> {
        let config = &self.policy(ready, config).map(|_| config.clone())?;
        let Ready { compiled, .. } = ready;
        let source = || self.source(compiled, config);
        match compiled.kind {
            PluginKind::Placement => tried(&|| Placer::new(source()), config, trial, samples),
            PluginKind::Resolution => tried(&|| Resolver::new(source()), config, trial, samples),
            PluginKind::Validation => tried(&|| Validator::new(source()), config, trial, samples),
        }
        .map(|(laws, mut fuel)| {
            fuel.limit = self.host(compiled.kind).limits.fuel;
            let (kind, config) = (compiled.kind, config.clone());
            Report {
                kind,
                config,
                laws,
                fuel,
            }
        })
    }

    /// Asks captured calls, one a line, again.
    ///
    /// # Errors
    /// [`TrialError`] when there is nothing to ask.
    pub fn replay(
        &self,
        ready: &Ready,
        config: &Json,
        captured: &str,
    ) -> Result<Replay, TrialError> {
        self.policy(ready, config)?;
        let source = self.source(&ready.compiled, config);
        let refused = Fault::into_admission_error;
        match ready.compiled.kind {
            PluginKind::Placement => replayed(&Placer::new(source).map_err(refused)?, captured),
            PluginKind::Resolution => replayed(&Resolver::new(source).map_err(refused)?, captured),
            PluginKind::Validation => replayed(&Validator::new(source).map_err(refused)?, captured),
        }
    }

    pub(super) fn source(&self, compiled: &Arc<Compiled>, config: &Json) -> Source {
        Source {
            host: Arc::clone(self.host(compiled.kind)),
            compiled: Arc::clone(compiled),
            config: config.canonical(),
            journal: Arc::new(Journal::new(compiled.about.name.clone())),
        }
    }
}

pub(super) fn tried<K: Kind>(
    make: &dyn Fn() -> Result<K, Fault>,
    config: &Json,
    trial: Trial,
    samples: &str,
) -> Result<(Vec<Finding>, Fuel), TrialError> {
    let samples = calls::<K>(samples)?;
    let mut subject = Subject {
        make,
        kept: make().map_err(Fault::into_admission_error)?,
        fuel: Vec::new(),
        fuel_left: FUEL_OF_TRIAL,
        is_plain: *config == Json::empty(),
    };
    let mut laws = Vec::new();
    if samples.iter().any(|call| K::expected(call).is_some()) {
        laws.push(sampled(&mut subject, &samples));
    }
    laws.extend(judged(&mut subject, trial, &samples));
    Ok((laws, subject.profile(0)))
}

/// The calls on the lines that are not empty.
fn calls<K: Kind>(samples: &str) -> Result<Vec<K::Call>, TrialError> {
    let lines = (1..).zip(samples.lines());
    let lines = lines.filter(|(_, text)| !text.trim().is_empty());
    lines
        .map(|(line, text)| {
            serde_json::from_str(text).map_err(|error| TrialError::Sample {
                line,
                reason: error.to_string(),
            })
        })
        .collect()
}

/// Whether samples have the answers that they come with.
fn sampled<K: Kind>(subject: &mut Subject<'_, K>, samples: &[K::Call]) -> Finding {
    let mut finding = Finding {
        law: SAMPLES.to_owned(),
        cases: 0,
        breach: None,
    };
    for call in samples {
        let Some(expected) = K::expected(call) else {
            continue;
        };
        finding.cases += 1;
        let found = K::found(subject.kept(|policy| policy.ask(call)));
        if finding.breach.is_none() && found.as_ref() != Some(&expected) {
            let found = found.unwrap_or_default();
            finding.breach = Some(Counterexample {
                reason: format!("the answer is {found}, not {expected}"),
                call: serde_json::to_value(call).unwrap_or_default(),
            });
        }
    }
    finding
}

fn replayed<K: Kind>(policy: &K, captured: &str) -> Result<Replay, TrialError> {
    let mut replay = Replay::default();
    for call in calls::<K>(captured)? {
        replay.calls += 1;
        let now = K::found(policy.ask(&call)).unwrap_or_default();
        if let Some(then) = K::expected(&call).filter(|then| *then != now) {
            let call = replay.calls;
            replay.differences.push(Difference { call, then, now });
        }
    }
    Ok(replay)
}

/// Every law on every question, until it is broken.
fn judged<K: Kind>(
    subject: &mut Subject<'_, K>,
    trial: Trial,
    samples: &[K::Call],
) -> Vec<Finding> {
    let finding = |(law, _): &Law<K>| Finding {
        law: (*law).to_owned(),
        cases: 0,
        breach: None,
    };
    let mut findings: Vec<Finding> = K::LAWS.iter().map(finding).collect();
    let mut random = Random::new(trial.seed);
    for case in 0..trial.cases as usize + samples.len() {
        if subject.fuel_left == 0 {
            break;
        }
        let call = match samples.get(case) {
            Some(call) => call.clone(),
            None => subject.kept.call(&mut random),
        };
        for (finding, law) in findings.iter_mut().zip(K::LAWS) {
            if finding.breach.is_some() {
                continue;
            }
            finding.cases += 1;
            if let Err(breach) = law.1(subject, &call) {
                finding.breach = Some(smallest(subject, law, call.clone(), breach));
            }
        }
    }
    findings
}

/// The simplest question found that breaks the law, too.
fn smallest<K: Kind>(
    subject: &mut Subject<'_, K>,
    law: &Law<K>,
    mut call: K::Call,
    mut breach: Breach,
) -> Counterexample {
    let mut steps = 0;
    'simpler: loop {
        for less in K::smaller(&call) {
            steps += 1;
            if STEPS_MAX < steps || subject.fuel_left == 0 {
                break 'simpler;
            }
            if let Err(found) = law.1(subject, &less) {
                (call, breach) = (less, found);
                continue 'simpler;
            }
        }
        break;
    }
    Counterexample {
        reason: breach.0,
        call: serde_json::to_value(&call).unwrap_or_default(),
    }
}
