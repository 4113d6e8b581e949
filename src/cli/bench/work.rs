//! One run of one measurement: the lab, the machine's mood before and after, and the work between.

use super::plan::{Load, Measurement, Variant, Wishes, Work};
use super::result::{Cost, Run};
use super::stage::{CLIENT, Grounds, LAB, Stage};
use crate::cli::output::Failure;
use crate::edge::OrFault;
use crate::load::calibration;
use crate::load::report::{Measured, Report};
use crate::load::trust::TlsVersion;

/// What a run brought, and what is the same for all runs of a measurement.
pub(super) struct Done {
    pub(super) run: Run,
    pub(super) server: String,
    pub(super) exchange: String,
    pub(super) connections: usize,
    pub(super) open_loop: bool,
}

/// Carries a run out.
pub(super) fn carry_out(
    grounds: &Grounds<'_>,
    wishes: &Wishes,
    measurement: &Measurement,
    variant: Variant,
) -> Result<Done, Failure> {
    let mut stage = Stage::set(grounds, variant)?;
    let Work::Load(load) = &measurement.work;
    if variant == Variant::Ceiling {
        stage.replace(grounds, "https", "the same TLS over kernel TCP, nothing else")?;
    }
    let cpus = [grounds.endpoint_cpu, grounds.load_cpu];
    let before = calibration::round_trip_ns(cpus);
    let report = generate(grounds, wishes, load, &stage)?;
    let after = calibration::round_trip_ns(cpus);
    let measured = report.window;
    let done = Done {
        run: Run {
            calibration_ns: [before, after],
            tls: Some(report.tls),
            tun: stage.tun.clone(),
            limited_by: measured.limit(),
            cost: cost(&measured, &stage.under_test),
            idle: report.idle,
            measured,
        },
        server: stage.server.clone(),
        exchange: report.exchange,
        connections: report.connections,
        open_loop: report.open_loop,
    };
    stage.strike()?;
    Ok(done)
}

fn cost(measured: &Measured, under_test: &[&str]) -> Option<Cost> {
    let processes = measured.processes.iter().filter(|process| under_test.contains(&process.name.as_str()));
    Cost::of(processes, measured.answers)
}

/// Runs the load generator on the lab's client.
fn generate(grounds: &Grounds<'_>, wishes: &Wishes, load: &Load, stage: &Stage) -> Result<Report, Failure> {
    let service = grounds.source.topology.service_host();
    let url = format!("https://{service}/2015-03-31/functions/{}/invocations", load.function);
    let mut command = grounds.command(&["load", &url, "--host", CLIENT, "--lab", LAB, "-o", "json", "--recorded"]);
    let mut option = |name: &str, value: String| {
        command.arg(name).arg(value);
    };
    option("--connect", stage.target.to_string());
    option("--exchange", load.exchange.to_owned());
    option("--payload", load.payload.to_string());
    option("--mode", load.mode.name().to_owned());
    option("--connections", load.connections.to_string());
    option("--idle", load.idle.to_string());
    option("--duration", format!("{}ns", wishes.duration.as_nanos()));
    option("--warm-up", format!("{}ns", wishes.warm_up.as_nanos()));
    option("--ca", stage.trusted.display().to_string());
    option("--tls", if wishes.tls == TlsVersion::V12 { "1.2" } else { "1.3" }.to_owned());
    option("--region", grounds.source.topology.region.clone());
    option("--cpu", grounds.load_cpu.to_string());
    for process in &stage.watched {
        option("--cpu-of", process.clone());
    }
    if let Some(rate) = wishes.rate {
        option("--rate", rate.to_string());
    }
    let printed = grounds.interrupt.output(command, "the load generator")?;
    Ok(serde_json::from_slice(&printed).or_fault(|| "the load generator's report cannot be read")?)
}
