//! This is how a measured load is shown: a table for people, numbers for programs.

use super::super::console::{Console, Output};
use super::super::{Failure, table};
use super::tally::Tally;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// A target and what came of the requests to it.
pub(super) struct Measured {
    pub(super) name: &'static str,
    pub(super) tally: Tally,
}

/// The quantiles that are shown.
const QUANTILES: [(&str, f64); 3] = [("p50", 0.50), ("p99", 0.99), ("p99.9", 0.999)];

/// Shows what was measured: the cluster first, and the baseline if there is one.
pub(super) fn show(console: &mut Console, measured: &[Measured]) -> Result<(), Failure> {
    if console.output == Output::Json {
        return Ok(console.json(&as_json(measured))?);
    }
    for line in lines(measured) {
        console.line(&line)?;
    }
    Ok(())
}

fn lines(measured: &[Measured]) -> Vec<String> {
    let titles = [
        "TARGET", "REQUESTS", "COUNT", "OP/S", "P50 MS", "P99 MS", "P99.9 MS", "ERRORS",
    ];
    let mut rows = Vec::new();
    for Measured { name, tally } in measured {
        let errors = tally.error_count().to_string();
        rows.push(row(
            name,
            "all",
            &tally.all(),
            &format!("{:.0}", tally.rate),
            &errors,
        ));
        for (kind, times) in [("reads", &tally.reads), ("writes", &tally.writes)] {
            if !times.is_empty() {
                rows.push(row("", kind, times, "", ""));
            }
        }
    }
    let mut lines = table::lines(&titles, &rows);
    lines.extend(measured.iter().flat_map(remarks));
    if let [cluster, baseline] = measured {
        lines.push(String::new());
        lines.push(ratio_line(&cluster.tally, &baseline.tally));
    }
    lines
}

fn row(name: &str, kind: &str, times: &Histogram<u64>, rate: &str, errors: &str) -> Vec<String> {
    let quantiles = QUANTILES
        .iter()
        .map(|&(_, quantile)| milliseconds(times, quantile));
    let start = [name, kind, &times.len().to_string(), rate].map(str::to_owned);
    start
        .into_iter()
        .chain(quantiles)
        .chain([errors.to_owned()])
        .collect()
}

fn remarks(measured: &Measured) -> Vec<String> {
    let Measured { name, tally } = measured;
    let mut remarks: Vec<String> = tally
        .errors
        .iter()
        .map(|(error, count)| format!("{name}: {count} × {error}"))
        .collect();
    if 0 < tally.misses {
        remarks.push(format!("{name}: {} reads found no value", tally.misses));
    }
    remarks
}

/// What the cluster is against the baseline, whatever this machine can do.
fn ratio_line(cluster: &Tally, baseline: &Tally) -> String {
    let ratio = |name: &str, ratio: Option<f64>| match ratio {
        Some(ratio) => format!("{name} {ratio:.2}"),
        None => format!("{name} -"),
    };
    let (cluster_times, baseline_times) = (cluster.all(), baseline.all());
    let times = QUANTILES
        .iter()
        .map(|&(name, quantile)| ratio(name, ratio_at(&cluster_times, &baseline_times, quantile)));
    let rate = ratio("op/s", divide(cluster.rate, baseline.rate));
    let all: Vec<String> = std::iter::once(rate).chain(times).collect();
    format!("soros / baseline: {}", all.join(", "))
}

fn milliseconds(times: &Histogram<u64>, quantile: f64) -> String {
    if times.is_empty() {
        return "-".to_owned();
    }
    let microseconds = times.value_at_quantile(quantile);
    format!("{}.{:03}", microseconds / 1_000, microseconds % 1_000)
}

fn ratio_at(cluster: &Histogram<u64>, baseline: &Histogram<u64>, quantile: f64) -> Option<f64> {
    let at = |times: &Histogram<u64>| {
        let value = times.value_at_quantile(quantile);
        f64::from(u32::try_from(value).unwrap_or(u32::MAX))
    };
    divide(at(cluster), at(baseline))
}

fn divide(number: f64, by: f64) -> Option<f64> {
    (0.0 < by).then(|| number / by)
}

fn as_json(measured: &[Measured]) -> Value {
    let targets: Vec<Value> = measured.iter().map(target_json).collect();
    let ratios = match measured {
        [cluster, baseline] => ratios_json(&cluster.tally, &baseline.tally),
        _ => Value::Null,
    };
    json!({"targets": targets, "ratios": ratios})
}

fn target_json(Measured { name, tally }: &Measured) -> Value {
    json!({
        "name": name,
        "ops_per_second": tally.rate,
        "all": times_json(&tally.all()),
        "reads": times_json(&tally.reads),
        "writes": times_json(&tally.writes),
        "misses": tally.misses,
        "errors": tally.errors,
    })
}

fn times_json(times: &Histogram<u64>) -> Value {
    if times.is_empty() {
        return json!({"count": 0});
    }
    json!({
        "count": times.len(),
        "p50_us": times.value_at_quantile(0.50),
        "p99_us": times.value_at_quantile(0.99),
        "p99_9_us": times.value_at_quantile(0.999),
        "max_us": times.max(),
    })
}

fn ratios_json(cluster: &Tally, baseline: &Tally) -> Value {
    let (cluster_times, baseline_times) = (cluster.all(), baseline.all());
    let at = |quantile: f64| ratio_at(&cluster_times, &baseline_times, quantile);
    json!({
        "ops_per_second": divide(cluster.rate, baseline.rate),
        "p50": at(0.50),
        "p99": at(0.99),
        "p99_9": at(0.999),
    })
}

#[cfg(test)]
mod tests {
    use super::super::mix::Kind;
    use super::*;
    use std::time::Duration;

    fn tally(count: u32, time: Duration) -> Tally {
        let mut tally = Tally::new();
        for _ in 0..count {
            tally.succeeded(Kind::Write, time);
        }
        tally.client_made(count, Duration::from_secs(1));
        tally
    }

    #[test]
    fn shows_both_targets_and_how_they_compare() {
        let cluster = Measured {
            name: "soros",
            tally: tally(100, Duration::from_millis(2)),
        };
        let baseline = Measured {
            name: "baseline",
            tally: tally(400, Duration::from_micros(500)),
        };
        let expected = [
            "TARGET    REQUESTS  COUNT  OP/S  P50 MS  P99 MS  P99.9 MS  ERRORS",
            "soros     all       100    100   2.000   2.000   2.000     0",
            "          writes    100          2.000   2.000   2.000",
            "baseline  all       400    400   0.500   0.500   0.500     0",
            "          writes    400          0.500   0.500   0.500",
            "",
            "soros / baseline: op/s 0.25, p50 4.00, p99 4.00, p99.9 4.00",
        ];
        assert_eq!(lines(&[cluster, baseline]), expected);
    }

    #[test]
    fn says_what_failed() {
        let mut tally = Tally::new();
        tally.errors.insert("outcome-unknown".to_owned(), 3);
        tally.misses = 2;
        let lines = lines(&[Measured {
            name: "soros",
            tally,
        }]);
        assert_eq!(
            lines[1],
            "soros   all       0      0     -       -       -         3"
        );
        assert_eq!(
            lines[2..],
            [
                "soros: 3 × outcome-unknown",
                "soros: 2 reads found no value"
            ]
        );
    }
}
