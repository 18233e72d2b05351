//! This is the Prometheus text format, version 0.0.4: one `# HELP` and `# TYPE` a name, then its
//! samples, with what must be escaped escaped.

use super::number::{Reading, Unit};
use std::fmt::Write as _;

/// A page of metrics being written.
#[derive(Debug, Default)]
pub(super) struct Text(String);

/// What Prometheus calls the kinds of figures.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Text {
    pub(super) fn into_string(self) -> String {
        self.0
    }

    /// Begins the samples of `name`.
    pub(super) fn begin(&mut self, name: &str, kind: Kind, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// One sample.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.line(format_args!("{name}{} {value}", labels_of(labels, None)));
    }

    /// One sample of a number of microseconds, in seconds.
    pub(super) fn seconds(&mut self, name: &str, micros: i64) {
        let sign = if micros < 0 { "-" } else { "" };
        let seconds = shown(Unit::Time, micros.unsigned_abs());
        self.line(format_args!("{name} {sign}{seconds}"));
    }

    /// All samples of a histogram.
    pub(super) fn histogram(&mut self, name: &str, labels: &[(&str, &str)], reading: &Reading) {
        let bounds = reading
            .bounds
            .iter()
            .map(|&bound| shown(reading.unit, bound));
        let bounds = bounds.chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&reading.cumulative) {
            let labels = labels_of(labels, Some(&bound));
            self.line(format_args!("{name}_bucket{labels} {count}"));
        }
        let labels = labels_of(labels, None);
        let total = reading.cumulative.last().copied().unwrap_or(0);
        self.line(format_args!(
            "{name}_sum{labels} {}",
            shown(reading.unit, reading.sum)
        ));
        self.line(format_args!("{name}_count{labels} {total}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("a string takes all that is written to it");
    }
}

/// A count as it is, a number of microseconds as seconds.
fn shown(unit: Unit, value: u64) -> String {
    match unit {
        Unit::Count => value.to_string(),
        Unit::Time => {
            let seconds = format!("{}.{:06}", value / 1_000_000, value % 1_000_000);
            seconds
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned()
        }
    }
}

fn labels_of(labels: &[(&str, &str)], bound: Option<&str>) -> String {
    let bound = bound.map(|bound| ("le", bound));
    let pairs: Vec<String> = labels
        .iter()
        .copied()
        .chain(bound)
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    if pairs.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", pairs.join(","))
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::number::Histogram;
    use super::*;
    use std::time::Duration;

    #[test]
    fn escapes_what_would_break_a_line() {
        let mut text = Text::default();
        text.begin("a", Kind::Gauge, "back\\slash\nand line");
        text.sample("a", &[("b", "\"\\\n")], 7);
        let expected = concat!(
            "# HELP a back\\\\slash\\nand line\n",
            "# TYPE a gauge\n",
            "a{b=\"\\\"\\\\\\n\"} 7\n"
        );
        assert_eq!(text.into_string(), expected);
    }

    #[test]
    fn shows_times_in_seconds() {
        let cases = [
            (10, "0.00001"),
            (1_000, "0.001"),
            (1_000_000, "1"),
            (0, "0"),
            (2_500_000, "2.5"),
        ];
        for (microseconds, expected) in cases {
            assert_eq!(shown(Unit::Time, microseconds), expected);
        }
    }

    #[test]
    fn writes_a_histogram_with_its_sum_and_count() {
        let times = Histogram::of_times();
        times.observe_time(Duration::from_micros(1_500));
        let mut text = Text::default();
        text.histogram("t", &[("op", "get")], &times.read());
        let text = text.into_string();
        assert!(
            text.contains("t_bucket{op=\"get\",le=\"0.001\"} 0\n"),
            "{text}"
        );
        assert!(
            text.contains("t_bucket{op=\"get\",le=\"0.002\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("t_bucket{op=\"get\",le=\"+Inf\"} 1\n"),
            "{text}"
        );
        assert!(
            text.ends_with("t_sum{op=\"get\"} 0.0015\nt_count{op=\"get\"} 1\n"),
            "{text}"
        );
    }
}
