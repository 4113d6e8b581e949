//! What several runs say together, and one variant beside the others.

use super::plan::Variant;
use super::result::{Ratios, Run, Spread, Summary, VariantOutcome};
use crate::load::report::Latency;
use crate::load::window::latencies;

/// Where distributions are told.
const PER_CENT: [f64; 16] =
    [0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.9, 99.95, 99.99, 99.999, 100.0];

/// Sums up the runs of one variant. `None` of no runs.
pub(super) fn summarise(runs: &[Run], open_loop: bool) -> Option<Summary> {
    let spread = |value: fn(&Run) -> f64| Spread::of(runs.iter().map(value));
    let costs = |value: fn(&Run) -> Option<f64>| Spread::of(runs.iter().filter_map(value));
    let mut all = latencies();
    for run in runs {
        // Both have the same bounds.
        _ = all.add(run.measured.latency.histogram());
    }
    Some(Summary {
        per_second: spread(|run| run.measured.per_second)?,
        per_cpu_second: costs(|run| Some(run.cost?.per_cpu_second)),
        user_ns: costs(|run| Some(run.cost?.user_ns)),
        system_ns: costs(|run| Some(run.cost?.system_ns)),
        gigabits_per_second: spread(gigabits)?,
        gigabits_per_cpu_second: costs(|run| {
            Some(gigabits(run) * run.cost?.per_cpu_second / run.measured.per_second).filter(|g| g.is_finite())
        }),
        p50_us: spread(|run| run.measured.latency.p50_us)?,
        p99_us: spread(|run| run.measured.latency.p99_us)?,
        latency: Latency::of(&all, open_loop),
        distribution: PER_CENT.map(|per_cent| (per_cent, all.value_at_percentile(per_cent) as f64 / 1e3)).to_vec(),
        calibration_ns: Spread::of(runs.iter().flat_map(|run| run.calibration_ns).flatten()),
        of_ceiling: None,
        of_floor: None,
    })
}

fn gigabits(run: &Run) -> f64 {
    (run.measured.bytes_sent + run.measured.bytes_received) as f64 * 8.0 / run.measured.seconds / 1e9
}

/// Compares each variant with ceiling and floor.
pub(super) fn compare(variants: &mut [VariantOutcome]) {
    let find = |wanted: Variant| variants.iter().position(|variant| variant.variant == wanted.name());
    let ratios = |own: &Summary, other: &Summary| Ratios {
        per_second: own.per_second.median / other.per_second.median,
        per_cpu_second: own.per_cpu_second.zip(other.per_cpu_second).map(|(own, other)| own.median / other.median),
        p50: own.p50_us.median / other.p50_us.median,
        p99: own.p99_us.median / other.p99_us.median,
    };
    let against = |other: Option<usize>| -> Vec<Option<Ratios>> {
        let summaries = variants.iter().enumerate();
        summaries
            .map(|(own, variant)| {
                let other = other.filter(|other| *other != own)?;
                Some(ratios(&variant.summary, &variants[other].summary))
            })
            .collect()
    };
    let (ceiling, floor) = (against(find(Variant::Ceiling)), against(find(Variant::Floor)));
    for ((variant, of_ceiling), of_floor) in variants.iter_mut().zip(ceiling).zip(floor) {
        variant.summary.of_ceiling = of_ceiling;
        variant.summary.of_floor = of_floor;
    }
}
