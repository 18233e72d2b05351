//! This is the count of answered requests, by operation and status, without a lock or a look-up.

use super::number::{Counter, Histogram};
use super::text::Text;
use std::time::Duration;

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The value of a key.
    Get,
    /// All of that but the value.
    Head,
    /// To store a value.
    Put,
    /// To delete a key.
    Delete,
    /// The keys of a bucket.
    List,
    /// Several operations at once.
    Batch,
    /// The changes of a bucket.
    Watch,
    /// Buckets and their configuration.
    Bucket,
    /// Placements and their configuration.
    Placement,
    /// Plugins.
    Plugin,
    /// The cluster, its map, its settings, where a key lives.
    Cluster,
    /// Health, metrics, the dashboard, and what there is not.
    Other,
}

/// All operations with their label values, in the order of the enum.
const OPERATIONS: [&str; 12] = [
    "get",
    "head",
    "put",
    "delete",
    "list",
    "batch",
    "watch",
    "bucket",
    "placement",
    "plugin",
    "cluster",
    "other",
];
/// All statuses that are answered; another one is counted as `other`.
const STATUSES: [u16; 32] = [
    200, 201, 204, 300, 304, 307, 400, 401, 403, 404, 405, 406, 408, 409, 410, 412, 413, 414, 415,
    422, 428, 429, 431, 499, 500, 501, 502, 503, 504, 505, 507, 508,
];

/// Counts and times of answered requests.
#[derive(Debug)]
pub struct Requests {
    answered: [[Counter; STATUSES.len() + 1]; OPERATIONS.len()],
    seconds: [Histogram; OPERATIONS.len()],
}

impl Default for Requests {
    fn default() -> Requests {
        Requests {
            answered: std::array::from_fn(|_| std::array::from_fn(|_| Counter::default())),
            seconds: std::array::from_fn(|_| Histogram::of_times()),
        }
    }
}

impl Requests {
    /// Notes that a request was answered with `status` after `time`.
    pub fn answered(&self, operation: Operation, status: u16, time: Duration) {
        let operation = operation as usize;
        let status = STATUSES.binary_search(&status).unwrap_or(STATUSES.len());
        self.answered[operation][status].increment();
        self.seconds[operation].observe_time(time);
    }

    pub(super) fn render_counts(&self, text: &mut Text, name: &str) {
        for (operation, counters) in OPERATIONS.iter().zip(&self.answered) {
            let seen = counters
                .iter()
                .enumerate()
                .filter(|(_, counter)| counter.get() != 0);
            for (at, counter) in seen {
                let status = STATUSES
                    .get(at)
                    .map_or_else(|| "other".to_owned(), u16::to_string);
                text.sample(
                    name,
                    &[("op", operation), ("status", &status)],
                    counter.get(),
                );
            }
        }
    }

    pub(super) fn render_seconds(&self, text: &mut Text, name: &str) {
        for (operation, seconds) in OPERATIONS.iter().zip(&self.seconds) {
            let reading = seconds.read();
            if reading.cumulative.last().is_some_and(|&total| total != 0) {
                text.histogram(name, &[("op", operation)], &reading);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_its_tables_in_order() {
        assert!(STATUSES.is_sorted());
        assert_eq!(Operation::Other as usize, OPERATIONS.len() - 1);
        assert_eq!(OPERATIONS[Operation::Put as usize], "put");
    }
}
