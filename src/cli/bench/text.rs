//! Results for people: one table per measurement, medians with their spread.

use super::result::{Machine, Outcome, Ratios, Run, Settings, Spread, Summary, VariantOutcome};
use crate::cli::output::table;
use crate::load::report::OTHERS;

/// What stands above all tables.
pub(super) fn introduction(machine: &Machine, settings: &Settings) -> String {
    let commit = machine.commit.map_or_else(String::new, |commit| format!(", commit {commit}"));
    let optimised = if machine.optimised { "" } else { "\nA build without optimisation: these numbers mean nothing." };
    format!(
        "vpce {}{commit}, build {}\n{}, {} processors, Linux {}, TCP {}; endpoint on processor {}, load and on-premises on {}\n\
         {} runs of {:.1} s behind {:.1} s of warm-up, variants interleaved; path {}, MTU {}{}{optimised}\n",
        machine.version,
        &machine.program_sha256[..12],
        machine.processor,
        machine.processors,
        machine.kernel,
        machine.congestion_control,
        machine.endpoint_cpu,
        machine.load_cpu,
        settings.runs,
        settings.duration_s,
        settings.warm_up_s,
        settings.path,
        settings.mtu,
        if settings.busy_poll { ", busy polling" } else { "" },
    )
}

/// The table's columns. `user` and `system` are of what is measured, `on-prem` and `load` the processor time of those two:
/// all for each operation.
const COLUMNS: [&str; 12] = [
    "",
    "per second",
    "per CPU second",
    "user",
    "system",
    "on-prem",
    "load",
    "payload",
    "p50",
    "p99",
    "cache line",
    "limited by",
];

/// One measurement.
pub(super) fn outcome(outcome: &Outcome) -> String {
    let head = format!("\n{}: {}, per {}", outcome.name, outcome.exchange, outcome.operation);
    let kind = if outcome.open_loop {
        "latency is response time (open loop)"
    } else {
        "latency is service time (closed loop)"
    };
    let mut rows = vec![COLUMNS.map(str::to_owned).to_vec()];
    rows.extend(outcome.variants.iter().map(row));
    for variant in &outcome.variants {
        let against = [("ceiling", variant.summary.of_ceiling), ("floor", variant.summary.of_floor)];
        for (name, ratios) in against.into_iter().filter(|_| variant.variant == "tuned") {
            rows.extend(ratios.map(|ratios| ratio_row(name, &ratios)));
        }
    }
    let remarks: String = outcome
        .variants
        .iter()
        .flat_map(|variant| [idle(variant), lost(variant), not_resumed(variant), others(variant)])
        .flatten()
        .collect();
    let count = format!("{}: {}", outcome.concurrency_of, outcome.concurrency);
    format!("{head}; {count}, {kind}\n{}{remarks}", table(2, &rows))
}

fn row(variant: &VariantOutcome) -> Vec<String> {
    let Summary { per_second, per_cpu_second, user_ns, system_ns, gigabits_per_second, p50_us, p99_us, .. } =
        &variant.summary;
    let dash = || "–".to_owned();
    let ns = |spread: &Option<Spread>| spread.map_or_else(dash, |spread| time(spread.median / 1e3));
    let mut limits: Vec<&str> = variant.runs.iter().filter_map(|run| run.limited_by.as_deref()).collect();
    limits.dedup();
    vec![
        variant.variant.to_owned(),
        count(per_second),
        per_cpu_second.as_ref().map_or_else(dash, count),
        ns(user_ns),
        ns(system_ns),
        each(variant, |run| Some(run.measured.process("onprem")?.cpu.total_s())),
        each(variant, |run| Some(run.measured.load_generator.total_s()).filter(|seconds| *seconds > 0.0)),
        format!("{:.2} Gbit/s", gigabits_per_second.median),
        time(p50_us.median),
        time(p99_us.median),
        variant.summary.calibration_ns.map_or_else(dash, |ns| format!("{:.0}–{:.0} ns", ns.least, ns.most)),
        if limits.is_empty() { dash() } else { limits.join(", ") },
    ]
}

/// Processor time of something for each operation.
fn each(variant: &VariantOutcome, seconds: impl Fn(&Run) -> Option<f64>) -> String {
    let each = variant.runs.iter().filter_map(|run| Some(seconds(run)? * 1e6 / run.measured.answers as f64));
    Spread::of(each).map_or_else(|| "–".to_owned(), |spread| time(spread.median))
}

fn ratio_row(name: &str, ratios: &Ratios) -> Vec<String> {
    let dash = || "–".to_owned();
    let ratio = |ratio: f64| format!("× {ratio:.2}");
    let cells = [
        format!("of {name}"),
        ratio(ratios.per_second),
        ratios.per_cpu_second.map_or_else(dash, ratio),
        dash(),
        dash(),
        dash(),
        dash(),
        dash(),
        ratio(ratios.p50),
        ratio(ratios.p99),
    ];
    cells.to_vec()
}

/// What idle connections cost.
fn idle(variant: &VariantOutcome) -> Option<String> {
    let held: Vec<_> = variant.runs.iter().filter_map(|run| Some((run, run.idle.as_ref()?))).collect();
    let connections = held.first()?.1.connections;
    let kept = Spread::of(held.iter().map(|(run, idle)| run.measured.per_second / idle.before.per_second))?;
    let memory = Spread::of(held.iter().filter_map(|(_, idle)| Some(idle.rss_per_connection.first()?.1)))?;
    Some(format!(
        "  {}: with {connections} idle connections the others keep {:.1} % of their rate; {:.1} KiB resident for each\n",
        variant.variant,
        kept.median * 100.0,
        memory.median / 1024.0
    ))
}

/// What was never answered.
fn lost(variant: &VariantOutcome) -> Option<String> {
    let lost: u64 = variant.runs.iter().map(|run| run.measured.unanswered).sum();
    (lost > 0).then(|| format!("  {}: {lost} were not answered\n", variant.variant))
}

/// Handshakes that were full where sessions were to be resumed.
fn not_resumed(variant: &VariantOutcome) -> Option<String> {
    let sum = |count: fn(&Run) -> u64| variant.runs.iter().map(count).sum::<u64>();
    let (full, resumed) = (sum(|run| run.measured.handshakes), sum(|run| run.measured.resumptions));
    let name = variant.variant;
    (full > 0 && resumed > 0).then(|| format!("  {name}: {full} handshakes were full, {resumed} resumed\n"))
}

/// What other programs had of the machine.
fn others(variant: &VariantOutcome) -> Option<String> {
    let others = Spread::of(variant.runs.iter().map(|run| run.others))?;
    let text = || {
        let (name, most) = (variant.variant, others.most);
        format!(
            "  {name}: other programs used up to {most:.1} processors; measure on a machine that has nothing else to do\n"
        )
    };
    (others.most > OTHERS).then(text)
}

/// A count with its spread: `12.3k ±2 %`.
fn count(spread: &Spread) -> String {
    let half = if spread.median > 0.0 { (spread.most - spread.least) / 2.0 / spread.median * 100.0 } else { 0.0 };
    let middle = match spread.median {
        value if value >= 1e6 => format!("{:.2}M", value / 1e6),
        value if value >= 1e4 => format!("{:.1}k", value / 1e3),
        value if value >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    };
    format!("{middle} ±{half:.0} %")
}

/// A time of so many microseconds.
fn time(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{:.2} s", us / 1e6),
        us if us >= 1e4 => format!("{:.1} ms", us / 1e3),
        us if us >= 1e3 => format!("{:.2} ms", us / 1e3),
        us if us >= 1.0 => format!("{us:.1} µs"),
        us => format!("{:.0} ns", us * 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_three_digits_or_so() {
        let spread = |median, least, most| Spread { median, least, most };
        assert_eq!(count(&spread(123_456.0, 120_000.0, 130_000.0)), "123.5k ±4 %");
        assert_eq!(count(&spread(0.0, 0.0, 0.0)), "0.0 ±0 %");
        assert_eq!([0.045, 1.5, 1234.0, 12_345.0, 2e6].map(time), ["45 ns", "1.5 µs", "1.23 ms", "12.3 ms", "2.00 s"]);
    }
}
