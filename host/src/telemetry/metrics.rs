//! This is every figure of a node, each with its name, in one list.
//!
//! To add one: a field of [`Metrics`], its first value in `default`, and its name and help in
//! `render`. Names start with `soros_`, counters end in `_total`, times in `_seconds`, sizes in
//! `_bytes`. Whoever notes something holds the node's `Arc<Metrics>`; there is no global.

use super::family::Family;
use super::number::{Counter, Gauge, Histogram, Offset};
use super::requests::Requests;
use super::text::{Kind, Text};
use std::sync::Arc;

/// The `Content-Type` of what [`Metrics::render`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The figures of one node.
#[derive(Debug)]
pub struct Metrics {
    /// Answered requests of clients, and how long each took.
    pub requests: Requests,
    /// Requests of clients that are being worked on.
    pub requests_in_flight: Gauge,
    /// Open connections of clients.
    pub connections: Gauge,
    /// The epoch of the map that is served under.
    pub epoch: Gauge,
    /// 1 while this node leads the authority, else 0.
    pub authority_leads: Gauge,
    /// Partitions of this node that have not yet merged what their peers held.
    pub partitions_behind: Gauge,
    /// Partitions with records of deleted buckets or dropped copies that are yet to be removed.
    pub partitions_unswept: Gauge,
    /// How far this node's clock is ahead of the median of its peers'.
    pub clock_offset: Offset,
    /// 1 while this node refuses writes because its clock is off, else 0.
    pub clock_skewed: Gauge,
    /// Times that two replicas had equal clocks and unequal sums.
    pub sum_alarms: Counter,
    /// Actors in the clocks of this node's partitions that are not closed.
    pub actors_open: Gauge,
    /// Actors in the clocks of this node's partitions that are closed.
    pub actors_closed: Gauge,
    /// Reads whose stale replicas were repaired.
    pub read_repairs: Counter,
    /// Reads that were also sent to another replica because the first was slow.
    pub hedged_reads: Counter,
    /// Bytes of values that were taken from other replicas to repair this node's.
    pub repair_bytes: Counter,
    /// Requests handed to a replica because this node holds none.
    pub forwarded: Counter,
    /// Nodes that answer, this one included.
    pub nodes_alive: Gauge,
    /// Messages to peers.
    pub link_sent: Traffic,
    /// Messages from peers.
    pub link_received: Traffic,
    /// Messages that wait to be sent.
    pub link_queue: Gauge,
    /// Messages that were refused because the queue to a peer was full.
    pub link_busy: Counter,
    /// Connections made to peers, first ones and later ones.
    pub link_connects: Counter,
    /// What the committer of the partitions does.
    pub commits: Arc<CommitFigures>,
    /// Operations that wait for their commit.
    pub commit_queue: Gauge,
    /// Bytes that the store takes on disk, about.
    pub store_bytes: Gauge,
    /// Bytes of the file system.
    pub disk_size: Gauge,
    /// Bytes of the file system that are free.
    pub disk_free: Gauge,
    /// 1 while this node refuses values because its disk is full, else 0.
    pub disk_full: Gauge,
    /// 1 while a table of the engine is damaged and not seen to, else 0.
    pub table_damaged: Gauge,
    /// Plugins that buckets name and this node cannot ask.
    pub plugins_unusable: Gauge,
    /// Plugins of the map that fail too often and are not asked.
    pub plugins_quarantined: Gauge,
    /// Calls of policies, by plugin, version and outcome (`ok`, `refused` by a validator, or
    /// `failed`).
    pub policy_calls: Family<Counter>,
    /// Calls of policies that failed, by plugin, version and cause.
    pub policy_failures: Family<Counter>,
    /// What calls of policies computed, by plugin and version.
    pub policy_fuel: Family<Counter>,
    /// Calls that a shadow was to be asked, by plugin, version and outcome (`same`, `differs`,
    /// `failed`, or `dropped`).
    pub shadow_calls: Family<Counter>,
    /// How long calls of policies took, by plugin and version.
    pub policy_seconds: Family<Histogram>,
}

/// What a committer does.
#[derive(Debug)]
pub struct CommitFigures {
    /// How many operations each commit made durable.
    pub operations: Histogram,
    /// How long each commit took.
    pub seconds: Histogram,
    /// Commits that the disk or the engine refused.
    pub failures: Counter,
}

impl Default for CommitFigures {
    fn default() -> CommitFigures {
        CommitFigures {
            operations: Histogram::of_counts(),
            seconds: Histogram::of_times(),
            failures: Counter::default(),
        }
    }
}

/// Messages that went one way.
#[derive(Debug, Default)]
pub struct Traffic {
    messages: Counter,
    bytes: Counter,
}

impl Traffic {
    /// Counts a message of so many bytes.
    pub fn note(&self, bytes: usize) {
        self.messages.increment();
        self.bytes.add(bytes as u64);
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            requests: Requests::default(),
            requests_in_flight: Gauge::default(),
            connections: Gauge::default(),
            epoch: Gauge::default(),
            authority_leads: Gauge::default(),
            partitions_behind: Gauge::default(),
            partitions_unswept: Gauge::default(),
            clock_offset: Offset::default(),
            clock_skewed: Gauge::default(),
            sum_alarms: Counter::default(),
            actors_open: Gauge::default(),
            actors_closed: Gauge::default(),
            read_repairs: Counter::default(),
            hedged_reads: Counter::default(),
            repair_bytes: Counter::default(),
            forwarded: Counter::default(),
            nodes_alive: Gauge::default(),
            link_sent: Traffic::default(),
            link_received: Traffic::default(),
            link_queue: Gauge::default(),
            link_busy: Counter::default(),
            link_connects: Counter::default(),
            commits: Arc::default(),
            commit_queue: Gauge::default(),
            store_bytes: Gauge::default(),
            disk_size: Gauge::default(),
            disk_free: Gauge::default(),
            disk_full: Gauge::default(),
            table_damaged: Gauge::default(),
            plugins_unusable: Gauge::default(),
            plugins_quarantined: Gauge::default(),
            policy_calls: Family::new(&["plugin", "version", "outcome"], Counter::default),
            policy_failures: Family::new(&["plugin", "version", "cause"], Counter::default),
            policy_fuel: Family::new(&["plugin", "version"], Counter::default),
            shadow_calls: Family::new(&["plugin", "version", "outcome"], Counter::default),
            policy_seconds: Family::new(&["plugin", "version"], Histogram::of_times),
        }
    }
}

impl Metrics {
    /// All figures, in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = Page(Text::default());
        self.render_requests(&mut page);
        self.render_cluster(&mut page);
        self.render_links(&mut page);
        self.render_store(&mut page);
        self.render_policies(&mut page);
        page.0.into_string()
    }

    fn render_requests(&self, page: &mut Page) {
        let name = "soros_requests_total";
        page.0
            .begin(name, Kind::Counter, "Answered requests of clients.");
        self.requests.render_counts(&mut page.0, name);
        let name = "soros_request_seconds";
        page.0
            .begin(name, Kind::Histogram, "How long requests of clients took.");
        self.requests.render_seconds(&mut page.0, name);
        let help = "Requests of clients that are being worked on.";
        page.gauge("soros_requests_in_flight", help, &self.requests_in_flight);
        page.gauge(
            "soros_connections",
            "Open connections of clients.",
            &self.connections,
        );
        let help = "Requests handed to a replica because this node holds none.";
        page.counter("soros_forwarded_total", help, &self.forwarded);
    }

    fn render_cluster(&self, page: &mut Page) {
        page.gauge(
            "soros_epoch",
            "The epoch of the map that is served under.",
            &self.epoch,
        );
        let help = "1 while this node leads the authority, else 0.";
        page.gauge("soros_authority_leads", help, &self.authority_leads);
        page.gauge(
            "soros_nodes_alive",
            "Nodes that answer, this one included.",
            &self.nodes_alive,
        );
        let help = "Partitions that have not yet merged what their peers held.";
        page.gauge("soros_partitions_behind", help, &self.partitions_behind);
        let help = "Partitions with records of deleted buckets that are yet to be removed.";
        page.gauge("soros_partitions_unswept", help, &self.partitions_unswept);
        let help = "How far this node's clock is ahead of the median of its peers'.";
        page.offset("soros_clock_offset_seconds", help, &self.clock_offset);
        let help = "1 while this node refuses writes because its clock is off, else 0.";
        page.gauge("soros_clock_skewed", help, &self.clock_skewed);
        let help = "Times that two replicas had equal clocks and unequal sums.";
        page.counter("soros_sum_alarms_total", help, &self.sum_alarms);
        let help = "Lives of replicas in the clocks that may yet write, or are yet to be closed.";
        page.gauge("soros_actors_open", help, &self.actors_open);
        let help = "Lives of replicas in the clocks that have ended and are closed.";
        page.gauge("soros_actors_closed", help, &self.actors_closed);
        let help = "Reads whose stale replicas were repaired.";
        page.counter("soros_read_repairs_total", help, &self.read_repairs);
        let help = "Reads also sent to another replica because the first was slow.";
        page.counter("soros_hedged_reads_total", help, &self.hedged_reads);
        let help = "Bytes of values that were taken from other replicas to repair this node's.";
        page.counter("soros_repair_bytes_total", help, &self.repair_bytes);
    }

    fn render_links(&self, page: &mut Page) {
        let ways = [("sent", &self.link_sent), ("received", &self.link_received)];
        let name = "soros_link_messages_total";
        page.0
            .begin(name, Kind::Counter, "Messages to and from peers.");
        for (way, traffic) in ways {
            page.0
                .sample(name, &[("direction", way)], traffic.messages.get());
        }
        let name = "soros_link_bytes_total";
        page.0
            .begin(name, Kind::Counter, "Bytes of messages to and from peers.");
        for (way, traffic) in ways {
            page.0
                .sample(name, &[("direction", way)], traffic.bytes.get());
        }
        page.gauge(
            "soros_link_queue",
            "Messages that wait to be sent to peers.",
            &self.link_queue,
        );
        let help = "Messages refused because the queue to a peer was full.";
        page.counter("soros_link_busy_total", help, &self.link_busy);
        let help = "Connections made to peers, first and later ones.";
        page.counter("soros_link_connects_total", help, &self.link_connects);
    }

    fn render_store(&self, page: &mut Page) {
        let help = "How many operations each commit made durable.";
        page.histogram("soros_commit_operations", help, &self.commits.operations);
        page.histogram(
            "soros_commit_seconds",
            "How long commits took.",
            &self.commits.seconds,
        );
        let help = "Operations that wait for their commit.";
        page.gauge("soros_commit_queue", help, &self.commit_queue);
        let help = "Commits that the disk or the engine refused.";
        page.counter("soros_commit_failures_total", help, &self.commits.failures);
        page.gauge(
            "soros_store_bytes",
            "Bytes that the store takes, about.",
            &self.store_bytes,
        );
        let help = "Bytes of the file system that the store is on.";
        page.gauge("soros_disk_size_bytes", help, &self.disk_size);
        let help = "Bytes of that file system that are free.";
        page.gauge("soros_disk_free_bytes", help, &self.disk_free);
        let help = "1 while this node refuses values because its disk is full, else 0.";
        page.gauge("soros_disk_full", help, &self.disk_full);
        let help = "1 while a table of the engine is damaged and what can be read is not saved.";
        page.gauge("soros_table_damaged", help, &self.table_damaged);
    }

    fn render_policies(&self, page: &mut Page) {
        let help = "Plugins that buckets name and this node cannot ask.";
        page.gauge("soros_plugins_unusable", help, &self.plugins_unusable);
        let help = "Plugins of the map that fail too often and are not asked.";
        page.gauge("soros_plugins_quarantined", help, &self.plugins_quarantined);
        let help = "Calls of policies, by how they ended.";
        page.counters("soros_policy_calls_total", help, &self.policy_calls);
        let help = "Calls of policies that failed, by why.";
        page.counters("soros_policy_failures_total", help, &self.policy_failures);
        let help = "What calls of policies computed, in units of fuel.";
        page.counters("soros_policy_fuel_total", help, &self.policy_fuel);
        let help = "Calls that shadows were to be asked, by what came of it.";
        page.counters("soros_shadow_calls_total", help, &self.shadow_calls);
        let help = "How long calls of policies took.";
        page.histograms("soros_policy_seconds", help, &self.policy_seconds);
    }
}

/// A page of metrics, one whole figure at a time.
struct Page(Text);

impl Page {
    fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.0.begin(name, Kind::Counter, help);
        self.0.sample(name, &[], counter.get());
    }

    fn gauge(&mut self, name: &str, help: &str, gauge: &Gauge) {
        self.0.begin(name, Kind::Gauge, help);
        self.0.sample(name, &[], gauge.get());
    }

    fn offset(&mut self, name: &str, help: &str, offset: &Offset) {
        self.0.begin(name, Kind::Gauge, help);
        self.0.seconds(name, offset.get());
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.0.begin(name, Kind::Histogram, help);
        self.0.histogram(name, &[], &histogram.read());
    }

    fn counters(&mut self, name: &str, help: &str, family: &Family<Counter>) {
        self.0.begin(name, Kind::Counter, help);
        family.for_each(|labels, counter| self.0.sample(name, labels, counter.get()));
    }

    fn histograms(&mut self, name: &str, help: &str, family: &Family<Histogram>) {
        self.0.begin(name, Kind::Histogram, help);
        family.for_each(|labels, histogram| self.0.histogram(name, labels, &histogram.read()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::requests::Operation;
    use super::*;
    use std::collections::BTreeSet;
    use std::time::Duration;

    #[test]
    fn shows_what_was_noted() {
        let metrics = Metrics::default();
        metrics
            .requests
            .answered(Operation::Put, 201, Duration::from_micros(700));
        metrics
            .requests
            .answered(Operation::Get, 418, Duration::from_secs(9));
        metrics.epoch.set(12);
        metrics.clock_offset.set(-3_600_000_250);
        let calls = metrics.policy_calls.with(&["lww", "1.0.0", "ok"]);
        calls.add(3);
        let page = metrics.render();
        for line in [
            "soros_requests_total{op=\"put\",status=\"201\"} 1",
            "soros_requests_total{op=\"get\",status=\"other\"} 1",
            "soros_request_seconds_bucket{op=\"put\",le=\"0.001\"} 1",
            "soros_request_seconds_count{op=\"get\"} 1",
            "soros_epoch 12",
            "soros_clock_offset_seconds -3600.00025",
            "soros_policy_calls_total{plugin=\"lww\",version=\"1.0.0\",outcome=\"ok\"} 3",
            "soros_commit_operations_count 0",
        ] {
            assert!(
                page.lines().any(|found| found == line),
                "`{line}` is not in\n{page}"
            );
        }
    }

    #[test]
    fn names_every_figure_once_and_by_the_rules() {
        let page = Metrics::default().render();
        let mut names = BTreeSet::new();
        for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').expect("a name and a kind");
            assert!(names.insert(name), "{name} is there twice");
            assert!(name.starts_with("soros_"), "{name}");
            assert_eq!(
                name.ends_with("_total"),
                kind == "counter",
                "{name} is a {kind}"
            );
        }
        assert_eq!(names.len(), page.matches("# HELP ").count());
    }
}
