//! This is the versions that run beside those in force: asked what these were asked, behind the
//! answer, with what they say compared and counted, and never used.
//!
//! What waits is bounded; what does not fit is dropped and counted. One call at a time is asked, on
//! a thread that serves nobody.

use crate::authority::ShadowStanding;
use crate::plugin::{Compared, Policy, Recorded};
use crate::telemetry::Metrics;
use soros_core::map::Map;
use soros_core::map::plugin::{self, PluginName};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::{self, Receiver, Sender};

/// How many calls may wait to be compared.
const WAITING_MAX: usize = 256;
/// How many bytes they may have together.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// How many calls that are answered otherwise are kept, the newest.
const CAPTURES_MAX: usize = 100;
/// How many bytes they may have together.
const CAPTURES_BYTES_MAX: usize = 256 << 10;

/// The shadows of a node.
pub(super) struct Shadows {
    known: Mutex<BTreeMap<PluginName, Arc<Shadow>>>,
    queue: Sender<Waiting>,
    waiting_bytes: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

/// A version that runs beside the one in force.
pub(super) struct Shadow {
    plugin: PluginName,
    config: plugin::Shadow,
    calls: AtomicU64,
    state: Mutex<State>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    standing: ShadowStanding,
    captures: VecDeque<String>,
    captured_bytes: usize,
}

/// A call that waits to be compared.
pub(super) struct Waiting {
    call: Recorded,
    bytes: usize,
    policy: Arc<Policy>,
    shadow: Arc<Shadow>,
}

/// Those that wait.
pub(super) struct Offered {
    queue: Receiver<Waiting>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// A shadow with the config of one use.
#[derive(Clone)]
pub(super) struct ShadowUse {
    shadow: Arc<Shadow>,
    policy: Arc<Policy>,
    queue: Sender<Waiting>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// No shadow, and where the calls arrive that are to be compared.
pub(super) fn shadows(metrics: Arc<Metrics>) -> (Shadows, Offered) {
    let (sender, queue) = mpsc::channel(WAITING_MAX);
    let waiting_bytes = Arc::<AtomicUsize>::default();
    let shadows = Shadows {
        known: Mutex::default(),
        queue: sender,
        waiting_bytes: Arc::clone(&waiting_bytes),
        metrics,
    };
    let offered = Offered {
        queue,
        waiting_bytes,
    };
    (shadows, offered)
}

/// Compares what waits until it is stopped.
pub(super) async fn run(mut offered: Offered) {
    while let Some(waiting) = offered.queue.recv().await {
        let bytes = waiting.bytes;
        let compared = tokio::task::spawn_blocking(move || {
            let compared = waiting.call.compare(&waiting.policy);
            waiting.shadow.note(compared);
        });
        if let Err(error) = compared.await {
            tracing::error!(%error, "a call was not compared");
        }
        offered.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Shadows {
    /// The shadow of a plugin in `map`, the one there was as long as it is the same.
    pub(super) fn of(&self, map: &Map, name: &PluginName) -> Option<Arc<Shadow>> {
        let config = map.plugin(name)?.shadow.as_ref()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shadow) = known.get(name).filter(|shadow| shadow.config == *config) {
            return Some(Arc::clone(shadow));
        }
        let shadow = Arc::new(Shadow {
            plugin: name.clone(),
            config: config.clone(),
            calls: AtomicU64::new(0),
            state: Mutex::default(),
            metrics: Arc::clone(&self.metrics),
        });
        known.insert(name.clone(), Arc::clone(&shadow));
        Some(shadow)
    }

    /// The shadow with a policy that was made of it.
    pub(super) fn used(&self, shadow: Arc<Shadow>, policy: Arc<Policy>) -> ShadowUse {
        ShadowUse {
            shadow,
            policy,
            queue: self.queue.clone(),
            waiting_bytes: Arc::clone(&self.waiting_bytes),
        }
    }

    /// From now on these do not run, and all others do.
    pub(super) fn set_problems(&self, problems: &BTreeMap<PluginName, String>) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, shadow) in &*known {
            shadow.state().standing.problem = problems.get(name).cloned();
        }
    }

    /// The shadow of a plugin, if it is the one of `map`: who looks makes none, for one that runs
    /// already would no longer be seen.
    fn find(&self, map: &Map, name: &PluginName) -> Option<Arc<Shadow>> {
        let config = map.plugin(name)?.shadow.as_ref()?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let shadow = known.get(name).filter(|shadow| shadow.config == *config);
        shadow.map(Arc::clone)
    }

    /// How the shadow of a plugin stands here.
    pub(super) fn standing(&self, map: &Map, name: &PluginName) -> Option<ShadowStanding> {
        let shadow = self.find(map, name)?;
        let state = shadow.state();
        Some(ShadowStanding {
            captures: state.captures.len() as u64,
            ..state.standing.clone()
        })
    }

    /// The calls that the shadow of a plugin answers otherwise.
    pub(super) fn captures(&self, map: &Map, name: &PluginName) -> Vec<String> {
        let shadow = self.find(map, name);
        shadow.map_or_else(Vec::new, |shadow| {
            shadow.state().captures.iter().cloned().collect()
        })
    }

    /// Forgets those that `map` does not have.
    pub(super) fn tidy(&self, map: &Map) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|name, shadow| {
            let plugin = map.plugin(name);
            plugin.is_some_and(|plugin| plugin.shadow.as_ref() == Some(&shadow.config))
        });
    }
}

impl Shadow {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the next call is of the sample: spread evenly over all of them.
    fn takes_next(&self) -> bool {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        is_sampled(number, self.config.sample.part())
    }

    fn note(&self, compared: Compared) {
        let mut state = self.state();
        let outcome = match compared {
            Compared::Same => "same",
            Compared::Differs(line) => {
                state.standing.differed += 1;
                state.keep(line);
                "differs"
            }
            Compared::Failed(error) => {
                let cause = error.cause().to_owned();
                *state.standing.failures.entry(cause).or_default() += 1;
                "failed"
            }
        };
        state.standing.compared += 1;
        drop(state);
        self.count(outcome);
    }

    fn drop_one(&self) {
        self.state().standing.dropped += 1;
        self.count("dropped");
    }

    fn count(&self, outcome: &str) {
        let (plugin, version) = (self.plugin.as_str(), self.config.version.as_str());
        let counter = self.metrics.shadow_calls.with(&[plugin, version, outcome]);
        counter.increment();
    }
}

impl State {
    /// Keeps a line of a capture, and lets go of the oldest.
    fn keep(&mut self, line: String) {
        if CAPTURES_BYTES_MAX < line.len() {
            return;
        }
        self.captured_bytes += line.len();
        self.captures.push_back(line);
        while CAPTURES_MAX < self.captures.len() || CAPTURES_BYTES_MAX < self.captured_bytes {
            let oldest = self.captures.pop_front();
            self.captured_bytes -= oldest.map_or(0, |line| line.len());
        }
    }
}

impl ShadowUse {
    /// Has the shadow asked the same, later, if the call is of the sample and there is room for its
    /// `bytes`. Only then it is recorded.
    pub(super) fn offer(&self, bytes: usize, record: impl FnOnce() -> Recorded) {
        if !self.shadow.takes_next() {
            return;
        }
        let Ok(place) = self.queue.try_reserve() else {
            return self.shadow.drop_one();
        };
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if WAITING_BYTES_MAX < before + bytes {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return self.shadow.drop_one();
        }
        place.send(Waiting {
            call: record(),
            bytes,
            policy: Arc::clone(&self.policy),
            shadow: Arc::clone(&self.shadow),
        });
    }
}

/// Whether the call of this number is of a sample of this part.
#[expect(
    clippy::cast_precision_loss,
    reason = "no sample is so exact after 2^53 calls"
)]
fn is_sampled(number: u64, part: f64) -> bool {
    let before = (number as f64 * part).floor();
    let after = ((number + 1) as f64 * part).floor();
    before < after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_spread_evenly() {
        let taken = |part| (0..1000).filter(|number| is_sampled(*number, part)).count();
        assert_eq!((taken(0.0), taken(0.25), taken(1.0)), (0, 250, 1000));
        let places: Vec<u64> = (0..10).filter(|number| is_sampled(*number, 0.5)).collect();
        assert_eq!(places, [1, 3, 5, 7, 9]);
    }

    #[test]
    fn the_newest_captures_are_kept() {
        let mut state = State::default();
        (0..=CAPTURES_MAX).for_each(|number| state.keep(number.to_string()));
        assert_eq!(state.captures.len(), CAPTURES_MAX);
        assert_eq!(state.captures[0], "1");
        state.keep("x".repeat(CAPTURES_BYTES_MAX + 1));
        assert_eq!(
            state.captures.len(),
            CAPTURES_MAX,
            "what is too large is not kept"
        );
        state.keep("x".repeat(CAPTURES_BYTES_MAX));
        assert_eq!(state.captures.len(), 1);
    }
}
