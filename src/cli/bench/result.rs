//! What a benchmark says, as data: `docs/bench.schema.json` describes its JSON.

use serde::Serialize;

use crate::load::machine::ProcessUse;
use crate::load::report::{Idle, Latency, Measured};

/// The whole output.
#[derive(Debug, Serialize)]
pub(super) struct Output {
    /// Version of this form; it grows when something is taken away or changes its meaning.
    pub(super) schema: u32,
    pub(super) machine: Machine,
    pub(super) settings: Settings,
    pub(super) measurements: Vec<Outcome>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) version: &'static str,
    /// The commit it was built from, if the build was told (`VPCE_COMMIT`).
    pub(super) commit: Option<&'static str>,
    /// SHA-256 of the program file: the build, whatever it was told.
    pub(super) program_sha256: String,
    /// Whether the build is optimised.
    pub(super) optimised: bool,
    pub(super) kernel: String,
    pub(super) processor: String,
    pub(super) processors: usize,
    /// How the kernel's TCP, which the load comes from, controls congestion.
    pub(super) congestion_control: String,
    /// What the endpoint runs on, and the ceiling's server.
    pub(super) endpoint_cpu: usize,
    /// What load generator and on-premises side run on.
    pub(super) load_cpu: usize,
    pub(super) started: String,
}

/// How it was measured.
#[derive(Debug, Serialize)]
pub(super) struct Settings {
    pub(super) runs: usize,
    pub(super) duration_s: f64,
    pub(super) warm_up_s: f64,
    pub(super) path: &'static str,
    pub(super) mtu: u32,
    pub(super) busy_poll: bool,
}

/// One measurement in all its variants.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) case: String,
    /// What one operation is.
    pub(super) operation: &'static str,
    /// What is sent and comes back.
    pub(super) exchange: String,
    /// How much goes on at the same time.
    pub(super) concurrency: usize,
    /// Of what: `connections`, `packets in flight`, `threads`.
    pub(super) concurrency_of: &'static str,
    pub(super) open_loop: bool,
    pub(super) variants: Vec<VariantOutcome>,
}

/// The runs of one variant, and what they say together.
#[derive(Debug, Serialize)]
pub(super) struct VariantOutcome {
    pub(super) variant: &'static str,
    /// What stood in place of the endpoint.
    pub(super) server: String,
    pub(super) summary: Summary,
    pub(super) runs: Vec<Run>,
}

/// One run.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    /// Round trip of a cache line before and after, nanoseconds.
    pub(super) calibration_ns: [Option<f64>; 2],
    pub(super) tls: Option<String>,
    /// How the endpoint's devices were open: mode and offloads.
    pub(super) tun: serde_json::Value,
    #[serde(flatten)]
    pub(super) measured: Measured,
    pub(super) limited_by: Option<String>,
    /// Processors' worth of time that was nobody's of the benchmark.
    pub(super) others: f64,
    #[serde(flatten)]
    pub(super) cost: Option<Cost>,
    pub(super) idle: Option<Idle>,
}

/// What an operation cost the processes under test.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Cost {
    /// Operations per second of processor time.
    pub(super) per_cpu_second: f64,
    /// In their own code, nanoseconds for each operation.
    pub(super) user_ns: f64,
    /// In the kernel on their behalf.
    pub(super) system_ns: f64,
}

impl Cost {
    /// What `operations` cost these processes. `None` if they used no time that the kernel counted.
    pub(super) fn of<'a>(processes: impl Iterator<Item = &'a ProcessUse>, operations: u64) -> Option<Self> {
        let (user, system) =
            processes.fold((0.0, 0.0), |(user, system), p| (user + p.cpu.user_s, system + p.cpu.system_s));
        if user + system <= 0.0 || operations == 0 {
            return None;
        }
        let operations = operations as f64;
        Some(Self {
            per_cpu_second: operations / (user + system),
            user_ns: user * 1e9 / operations,
            system_ns: system * 1e9 / operations,
        })
    }
}

/// Several runs together.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) per_second: Spread,
    pub(super) per_cpu_second: Option<Spread>,
    pub(super) user_ns: Option<Spread>,
    pub(super) system_ns: Option<Spread>,
    /// Payload in both directions.
    pub(super) gigabits_per_second: Spread,
    pub(super) gigabits_per_cpu_second: Option<Spread>,
    pub(super) p50_us: Spread,
    pub(super) p99_us: Spread,
    /// All runs' latencies together.
    pub(super) latency: Latency,
    /// The same in more detail: per cent of all operations, and microseconds within which they were done.
    pub(super) distribution: Vec<(f64, f64)>,
    pub(super) calibration_ns: Option<Spread>,
    /// Medians by the ceiling's.
    pub(super) of_ceiling: Option<Ratios>,
    /// Medians by the floor's.
    pub(super) of_floor: Option<Ratios>,
}

/// Medians of one variant divided by another's.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Ratios {
    pub(super) per_second: f64,
    pub(super) per_cpu_second: Option<f64>,
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// The middle of several values, and how far they lie apart.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Self { median, least, most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_middle_two() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied()).map(|s| (s.median, s.least, s.most));
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((2.0, 1.0, 3.0)));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Some((2.5, 1.0, 4.0)));
        assert_eq!(spread(&[]), None);
    }
}
