//! This is how the calls of one version of a plugin went at this node, since it started.

use super::reports::Reports;
use crate::authority::Counts;
use crate::telemetry::{Counter, Histogram, Metrics};
use soros_core::epoch::Epoch;
use soros_core::map::plugin::{PluginName, PluginVersion};
use soros_core::policy::PolicyError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How a call ended.
#[derive(Clone, Copy)]
pub(super) enum Ending<'a> {
    /// With an answer.
    Answered,
    /// With a validator's refusal.
    Refused,
    /// With a failure.
    Failed(&'a PolicyError),
}

/// The calls of a version.
pub(super) struct Calls {
    plugin: PluginName,
    version: PluginVersion,
    answered: Arc<Counter>,
    refused: Arc<Counter>,
    failed: Arc<Counter>,
    causes: Mutex<BTreeMap<&'static str, Arc<Counter>>>,
    fuel: Arc<Counter>,
    seconds: Arc<Histogram>,
    metrics: Arc<Metrics>,
    reports: Reports,
}

impl Calls {
    /// Those of a version, which show in `metrics`; its faults are handed in to `reports`.
    pub(super) fn new(
        plugin: PluginName,
        version: PluginVersion,
        metrics: Arc<Metrics>,
        reports: Reports,
    ) -> Calls {
        let (named, at) = (plugin.as_str(), version.as_str());
        let calls = |outcome| metrics.policy_calls.with(&[named, at, outcome]);
        Calls {
            answered: calls("ok"),
            refused: calls("refused"),
            failed: calls("failed"),
            causes: Mutex::default(),
            fuel: metrics.policy_fuel.with(&[named, at]),
            seconds: metrics.policy_seconds.with(&[named, at]),
            plugin,
            version,
            metrics,
            reports,
        }
    }

    /// Notes a call. `since` is the epoch from which the version is in force, if it is.
    pub(super) fn note(&self, ending: Ending<'_>, time: Duration, fuel: u64, since: Option<Epoch>) {
        self.seconds.observe_time(time);
        self.fuel.add(fuel);
        match ending {
            Ending::Answered => self.answered.increment(),
            Ending::Refused => self.refused.increment(),
            Ending::Failed(error) => {
                self.failed.increment();
                self.failures_by(error.cause()).increment();
                if let Some(since) = since {
                    self.reports.failed(&self.plugin, since, error);
                }
            }
        }
    }

    fn failures_by(&self, cause: &'static str) -> Arc<Counter> {
        let labels = [self.plugin.as_str(), self.version.as_str(), cause];
        let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = causes.entry(cause);
        Arc::clone(counter.or_insert_with(|| self.metrics.policy_failures.with(&labels)))
    }

    /// What they come to.
    pub(super) fn counts(&self) -> Counts {
        let time = self.seconds.summary();
        let (refused, failed) = (self.refused.get(), self.failed.get());
        let causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = causes.iter();
        Counts {
            calls: self.answered.get() + refused + failed,
            refused,
            failures: failures
                .map(|(cause, count)| ((*cause).to_owned(), count.get()))
                .collect(),
            fuel: self.fuel.get(),
            mean_us: time.mean,
            p99_us: time.p99,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_calls_ended_and_why_they_failed() {
        let metrics = Arc::<Metrics>::default();
        let (plugin, version) = ("own".parse().unwrap(), "1.0.0".parse().unwrap());
        let calls = Calls::new(
            plugin,
            version,
            Arc::clone(&metrics),
            super::super::reports::reports().0,
        );
        let time = Duration::from_micros(40);
        calls.note(Ending::Answered, time, 10, None);
        calls.note(Ending::Refused, time, 20, None);
        for error in [
            PolicyError::Busy,
            PolicyError::OutOfFuel { fuel: 3 },
            PolicyError::OutOfFuel { fuel: 3 },
        ] {
            calls.note(Ending::Failed(&error), time, 30, Some(Epoch(3)));
        }
        let causes = [("busy", 1), ("out-of-fuel", 2)];
        let counts = Counts {
            calls: 5,
            refused: 1,
            failures: causes
                .map(|(cause, count)| (cause.to_owned(), count))
                .into(),
            fuel: 120,
            mean_us: 40,
            p99_us: 50,
        };
        assert_eq!(calls.counts(), counts);
        let labels = "plugin=\"own\",version=\"1.0.0\",cause=\"out-of-fuel\"";
        let line = format!("soros_policy_failures_total{{{labels}}} 2");
        assert!(metrics.render().contains(&line));
    }
}
