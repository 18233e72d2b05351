//! This is how a node tells the authority that policies fail at it, or refuse too much while they
//! are on probation: gathered for a moment, and never in the way of a request. What is too much to
//! be kept says no more than what is kept.

use crate::authority::Authority;
use crate::authority::command::{Command, REFUSED};
use crate::plugin::limits::{FAULTS_MAX, FAULTS_TIME};
use soros_core::epoch::Epoch;
use soros_core::map::plugin::{Blame, PluginName};
use soros_core::policy::PolicyError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{self, Receiver, Sender};

/// How many faults may wait to be told.
const WAITING_MAX: usize = 64;
/// How long faults are gathered before they are told together.
const GATHERING: Duration = Duration::from_millis(50);

/// A call that failed by the policy's own fault, or many that it refused.
struct Fault {
    plugin: PluginName,
    since: Epoch,
    cause: &'static str,
    detail: String,
    /// As how many faults it counts.
    count: u32,
    at: Instant,
}

/// Where faults are handed in.
#[derive(Clone)]
pub(super) struct Reports(Sender<Fault>);

/// Those that were handed in.
pub(super) struct Reported(Receiver<Fault>);

#[cfg(test)]
impl Reported {
    /// Why those that wait were handed in.
    pub(super) fn causes(&mut self) -> Vec<&'static str> {
        std::iter::from_fn(|| self.0.try_recv().ok())
            .map(|fault| fault.cause)
            .collect()
    }
}

/// A place to hand in, and where it arrives.
pub(super) fn reports() -> (Reports, Reported) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Reports(sender), Reported(receiver))
}

impl Reports {
    /// The version of `plugin` that is in force since `since` failed.
    pub(super) fn failed(&self, plugin: &PluginName, since: Epoch, error: &PolicyError) {
        if !error.is_fault() {
            return;
        }
        self.tell(Fault {
            plugin: plugin.clone(),
            since,
            cause: error.cause(),
            detail: shortened(error.to_string()),
            count: 1,
            at: Instant::now(),
        });
    }

    /// The version of `plugin` that is on probation since `since` refused, or gave up on, so many
    /// of the calls that it was asked.
    pub(super) fn refused(&self, plugin: &PluginName, since: Epoch, (refused, of): (u32, u32)) {
        self.tell(Fault {
            plugin: plugin.clone(),
            since,
            cause: REFUSED,
            detail: format!("it refused or gave up on {refused} of {of} calls"),
            count: FAULTS_MAX,
            at: Instant::now(),
        });
    }

    fn tell(&self, fault: Fault) {
        // Of more than can wait enough are told.
        let _ = self.0.try_send(fault);
    }
}

/// What people read of a reason.
fn shortened(mut text: String) -> String {
    const BYTES_MAX: usize = 512;
    text.truncate(text.floor_char_boundary(BYTES_MAX));
    text
}

/// Tells the authority of faults until it is stopped.
pub(super) async fn run(authority: Arc<Authority>, Reported(mut faults): Reported) {
    let node = authority.identity().name.clone();
    while let Some(first) = faults.recv().await {
        tokio::time::sleep(GATHERING).await;
        let mut found: BTreeMap<(PluginName, Epoch, &str), (u32, Fault)> = BTreeMap::new();
        let mut next = Some(first);
        while let Some(fault) = next {
            let kind = (fault.plugin.clone(), fault.since, fault.cause);
            // What waited for a leader too long does not count with what comes now.
            if FAULTS_TIME < fault.at.elapsed() {
                next = faults.try_recv().ok();
                continue;
            }
            let so_far = found.get(&kind).map_or(0, |(count, _)| *count);
            found.insert(kind, (so_far.saturating_add(fault.count), fault));
            next = faults.try_recv().ok();
        }
        for ((name, since, _), (count, fault)) in found {
            let blame = Blame {
                node: node.clone(),
                cause: fault.cause.to_owned(),
                detail: fault.detail,
            };
            let plugin = name.to_string();
            let command = Command::Report {
                name,
                since,
                count,
                blame,
            };
            if let Err(error) = authority.propose(command, None).await {
                tracing::warn!(%error, plugin, count, "that a plugin failed could not be told");
            }
        }
    }
}
