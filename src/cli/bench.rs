//! `vpce bench`: how fast the endpoint is, beside what the kernel does and what the plain TUN mode does.
//!
//! Each run has a lab of its own. The variants of a measurement are interleaved, because machines have moods, and each run
//! stands between two measurements of that mood: docs/benchmarks.md.

mod host;
mod interrupt;
mod plan;
mod plot;
mod result;
mod stage;
mod summary;
mod text;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use self::interrupt::Interrupt;
use self::plan::{Case, Measurement, Variant, Wishes};
use self::result::{Outcome, Settings, VariantOutcome};
use self::stage::{Grounds, LAB};
use self::work::Done;
use super::folder::Folder;
use super::load::{rate, time};
use super::output::{self, Failure, Output};
use crate::edge::{Fault, OrFault};
use crate::lab::source;
use crate::load::machine;
use crate::load::trust::TlsVersion;

/// Version of the JSON's form.
const SCHEMA: u32 = 1;

/// Measure throughput and latency in a lab of its own, beside the kernel's way and the plain TUN mode
#[derive(Debug, Args)]
#[command(after_help = "\
Every answer is verified; a wrong one ends the benchmark. Each run has a lab of its own, and nothing is left behind.

Variants: `ceiling` is the same work over the kernel's TCP without the endpoint, `tuned` the endpoint as it is, `floor` the \
endpoint with `--tun plain`. `per CPU second` divides by the processor time of what is under test alone.

Examples:
  vpce bench                                  invocations over 1, 64 and 256 connections
  vpce bench connect --runs 5
  vpce bench invoke --connections 64 --rate 20000 --svg latency.svg
  vpce bench all -o json > result.json

Exit codes: 0 done, 1 failure or a wrong answer, 2 wrong usage.")]
pub(super) struct Arguments {
    /// What is measured.
    #[arg(value_enum, default_value_t = Case::Invoke)]
    case: Case,
    /// Runs of each variant.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=100))]
    runs: u8,
    /// How long each run is measured: 5s, 500ms.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    duration: Duration,
    /// How long each run works before that, unmeasured.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    warm_up: Duration,
    /// Connections, instead of the case's own.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: Option<u32>,
    /// Bytes of the payload, instead of the case's own.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(18..=6_291_456))]
    payload: Option<u32>,
    /// Requests per second (open loop: latency counts from when a request was due).
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// The version of TLS.
    #[arg(long, value_enum, default_value_t)]
    tls: TlsVersion,
    /// Processors: one for the endpoint, one for load generator and on-premises side.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    cpus: Vec<usize>,
    /// Which variants are measured.
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',', default_value = "ceiling,tuned,floor")]
    variants: Vec<Variant>,
    /// Have the endpoint spin instead of waiting for packets.
    #[arg(long)]
    busy_poll: bool,
    /// One short run of each variant, with few connections: to see that it works.
    #[arg(long, conflicts_with_all = ["runs", "duration", "warm_up"])]
    quick: bool,
    /// Draw the distributions of latencies.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode, Failure> {
    if arguments.rate.is_some() && !arguments.case.has_requests() {
        let fault = Fault::new("`--rate` goes with cases that consist of invocations alone");
        return Err(Failure::usage(
            fault.remedy("leave it out, or measure one of: invoke, connect, upload, download, idle"),
        ));
    }
    let wishes = wishes(arguments);
    let [endpoint_cpu, load_cpu] = processors(&arguments.cpus).map_err(Failure::usage)?;
    let measurements = plan::measurements(arguments.case, &wishes);
    let interrupt = Interrupt::watch()?;
    let folder = Folder::new("bench")?;
    let source = source::load(LAB, false)?;
    let machine = host::describe(endpoint_cpu, load_cpu)?;
    let settings = Settings {
        runs: runs(arguments),
        duration_s: wishes.duration.as_secs_f64(),
        warm_up_s: wishes.warm_up.as_secs_f64(),
        path: "lan",
        mtu: source.topology.settings.mtu.into(),
        busy_poll: arguments.busy_poll,
    };
    let grounds = Grounds {
        source,
        folder: &folder,
        interrupt: &interrupt,
        endpoint_cpu,
        load_cpu,
        busy_poll: arguments.busy_poll,
    };
    let bench =
        Bench { arguments, wishes: &wishes, grounds: &grounds, progress: progress(arguments, measurements.len()) };
    let mut outcomes = Vec::with_capacity(measurements.len());
    if output == Output::Text {
        bench.progress.suspend(|| output::print(&text::introduction(&machine, &settings)));
    }
    for measurement in &measurements {
        let outcome = bench.measure(measurement)?;
        if output == Output::Text {
            bench.progress.suspend(|| output::print(&text::outcome(&outcome)));
        }
        outcomes.push(outcome);
    }
    bench.progress.finish_and_clear();
    if let Some(file) = &arguments.svg {
        let drawn = std::fs::write(file, plot::svg(&outcomes)).or_fault(|| "cannot write the plot");
        drawn.map_err(|fault| fault.at(file.display().to_string()))?;
    }
    // What the plot is made of; the JSON has it shorter.
    outcomes.iter_mut().flat_map(|outcome| &mut outcome.variants).for_each(|variant| {
        variant.summary.latency.recorded.clear();
    });
    if output == Output::Json {
        let whole = result::Output { schema: SCHEMA, machine, settings, measurements: outcomes };
        output::print_json(&serde_json::to_value(&whole).or_fault(|| "cannot phrase the result")?);
    }
    Ok(ExitCode::SUCCESS)
}

struct Bench<'a> {
    arguments: &'a Arguments,
    wishes: &'a Wishes,
    grounds: &'a Grounds<'a>,
    progress: ProgressBar,
}

impl Bench<'_> {
    /// All runs of one measurement, its variants in turn.
    fn measure(&self, measurement: &Measurement) -> Result<Outcome, Failure> {
        let variants = self.arguments.variants.iter().copied().filter(|variant| measurement.has(*variant));
        let variants: Vec<Variant> = variants.collect();
        let mut done: Vec<Vec<Done>> = variants.iter().map(|_| Vec::new()).collect();
        for number in 1..=runs(self.arguments) {
            for (variant, done) in variants.iter().zip(&mut done) {
                self.grounds.interrupt.check()?;
                let (name, of) = (&measurement.name, runs(self.arguments));
                self.progress.set_message(format!("{name} {}, run {number} of {of}", variant.name()));
                done.push(work::carry_out(self.grounds, self.wishes, measurement, *variant)?);
                self.progress.inc(1);
            }
        }
        if variants.is_empty() {
            let fault = Fault::new(format!("{} has none of the variants asked for", measurement.name));
            return Err(Failure::usage(fault.remedy("add `tuned` to `--variants`")));
        }
        let first = done.first().and_then(|runs| runs.first()).ok_or_else(|| Fault::new("no variant was asked for"))?;
        let (exchange, concurrency, open_loop) = (first.exchange.clone(), first.concurrency, first.open_loop);
        let variants = variants.iter().zip(done).filter_map(|(variant, done)| {
            let server = done.first()?.server.clone();
            let runs: Vec<_> = done.into_iter().map(|done| done.run).collect();
            let summary = summary::summarise(&runs, open_loop)?;
            // What a distribution of several runs is made of is no longer needed.
            let runs = runs.into_iter().map(without_details).collect();
            Some(VariantOutcome { variant: variant.name(), server, summary, runs })
        });
        let mut variants: Vec<_> = variants.collect();
        summary::compare(&mut variants);
        let case = measurement.case.to_possible_value();
        Ok(Outcome {
            name: measurement.name.clone(),
            case: case.map_or_else(String::new, |value| value.get_name().to_owned()),
            operation: measurement.operation,
            exchange,
            concurrency,
            concurrency_of: measurement.work.concurrency_of(),
            open_loop,
            variants,
        })
    }
}

fn without_details(mut run: result::Run) -> result::Run {
    run.measured.latency.recorded.clear();
    if let Some(idle) = &mut run.idle {
        idle.before.latency.recorded.clear();
    }
    run
}

fn wishes(arguments: &Arguments) -> Wishes {
    let quick = arguments.quick;
    Wishes {
        connections: arguments.connections,
        payload: arguments.payload.and_then(|payload| usize::try_from(payload).ok()),
        rate: arguments.rate,
        tls: arguments.tls,
        duration: if quick { Duration::from_millis(400) } else { arguments.duration },
        warm_up: if quick { Duration::from_millis(100) } else { arguments.warm_up },
        quick,
    }
}

fn runs(arguments: &Arguments) -> usize {
    if arguments.quick { 1 } else { arguments.runs.into() }
}

/// The endpoint's processor and the load generator's: those asked for, else the first two.
fn processors(wanted: &[usize]) -> Result<[usize; 2], Fault> {
    let allowed = machine::allowed();
    let remedy = || format!("use two of: {}", allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    match wanted {
        [] => match allowed[..] {
            [first, second, ..] => Ok([first, second]),
            // Everything on one: it works, and says what limits it.
            [only] => Ok([only, only]),
            [] => Err(Fault::new("the kernel does not say which processors may be used")),
        },
        [first, second] => match [first, second].into_iter().find(|cpu| !allowed.contains(cpu)) {
            None => Ok([*first, *second]),
            Some(cpu) => Err(Fault::new(format!("processor {cpu} may not be used")).remedy(remedy())),
        },
        _ => Err(Fault::new(format!("`--cpus` takes two processors, not {}", wanted.len())).remedy(remedy())),
    }
}

fn progress(arguments: &Arguments, measurements: usize) -> ProgressBar {
    // indicatif draws only where stderr is a terminal.
    let bar = ProgressBar::new((measurements * runs(arguments) * arguments.variants.len()) as u64);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:24} {pos}/{len} {msg} ({eta} left)") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
