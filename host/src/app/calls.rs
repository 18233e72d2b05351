//! This is how the calls of one version of a plugin went at this node, since it started.

use super::reports::Reports;
use crate::authority::Counts;
use crate::plugin::limits::{FAULTS_TIME, TRIAL_CALLS_MIN};
use crate::telemetry::{Counter, Histogram, Metrics};
use soros_core::epoch::Epoch;
use soros_core::map::plugin::{PluginName, PluginVersion};
use soros_core::policy::PolicyError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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

/// What is watched of the calls of the version in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watched {
    /// The epoch from which it is in force.
    pub(super) since: Epoch,
    /// Whether it may be refusing too much: it is on probation, and the version before, asked often
    /// enough here, refused less.
    pub(super) refusals: bool,
}

/// How many calls a version on probation was asked of late, and how many it refused or gave up on.
struct Trial {
    since: Epoch,
    begun: Instant,
    asked: u32,
    refused: u32,
    /// Whether it was reported just before: once is enough for so long.
    is_told: bool,
}

impl Trial {
    fn from(since: Epoch) -> Trial {
        let (begun, asked, refused) = (Instant::now(), 0, 0);
        Trial {
            since,
            begun,
            asked,
            refused,
            is_told: false,
        }
    }
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
    trial: Mutex<Trial>,
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
            trial: Mutex::new(Trial::from(Epoch::NONE)),
        }
    }

    /// Notes a call; of a version that is in force something is `watched`.
    pub(super) fn note(
        &self,
        ending: Ending<'_>,
        time: Duration,
        fuel: u64,
        watched: Option<Watched>,
    ) {
        if let Some(Watched {
            since,
            refusals: true,
        }) = watched
        {
            self.try_it(since, ending);
        }
        self.seconds.observe_time(time);
        self.fuel.add(fuel);
        match ending {
            Ending::Answered => self.answered.increment(),
            Ending::Refused => self.refused.increment(),
            Ending::Failed(error) => {
                self.failed.increment();
                self.failures_by(error.cause()).increment();
                if let Some(watched) = watched {
                    self.reports.failed(&self.plugin, watched.since, error);
                }
            }
        }
    }

    /// Notes a call of a version on probation, and reports it once it refuses too much.
    fn try_it(&self, since: Epoch, ending: Ending<'_>) {
        let mut trial = self.trial.lock().unwrap_or_else(PoisonError::into_inner);
        if trial.since != since || FAULTS_TIME < trial.begun.elapsed() {
            *trial = Trial::from(since);
        }
        let is_refused = match ending {
            Ending::Refused | Ending::Failed(PolicyError::GaveUp(_)) => true,
            Ending::Answered | Ending::Failed(_) => false,
        };
        trial.asked += 1;
        trial.refused += u32::from(is_refused);
        let Trial { asked, refused, .. } = *trial;
        if !trial.is_told && TRIAL_CALLS_MIN <= asked && asked - refused <= asked / 10 {
            *trial = Trial::from(since);
            trial.is_told = true;
            self.reports.refused(&self.plugin, since, (refused, asked));
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
            let watched = Watched {
                since: Epoch(3),
                refusals: false,
            };
            calls.note(Ending::Failed(&error), time, 30, Some(watched));
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

    #[test]
    fn a_version_on_probation_that_refuses_most_is_reported() {
        let told = |endings: &[Ending<'_>], refusals| {
            let (reports, mut reported) = super::super::reports::reports();
            let (plugin, version) = ("own".parse().unwrap(), "1.0.0".parse().unwrap());
            let calls = Calls::new(plugin, version, Arc::default(), reports);
            let since = Epoch(3);
            let watched = Some(Watched { since, refusals });
            for ending in endings {
                calls.note(*ending, Duration::ZERO, 1, watched);
            }
            reported.causes()
        };
        let gave_up = PolicyError::GaveUp("no".to_owned());
        let most = TRIAL_CALLS_MIN as usize * 9 / 10;
        let mut endings = vec![Ending::Answered; TRIAL_CALLS_MIN as usize - most];
        endings.resize(TRIAL_CALLS_MIN as usize - 2, Ending::Refused);
        endings.push(Ending::Failed(&gave_up));
        assert!(told(&endings, true).is_empty(), "too few to tell");
        endings.push(Ending::Refused);
        assert_eq!(told(&endings, true), ["refused"]);
        assert_eq!(
            told(&endings.repeat(3), true),
            ["refused"],
            "once in a while"
        );
        assert!(told(&endings, false).is_empty(), "it is not on probation");
        endings[most] = Ending::Answered;
        assert!(told(&endings, true).is_empty(), "it takes enough");
    }
}
