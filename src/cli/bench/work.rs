//! One run of one measurement: the lab, the machine's mood before and after, and the work between.

use std::process::Command;

use serde::de::DeserializeOwned;

use super::plan::{Forward, Load, Measurement, Variant, Wishes, Work};
use super::result::{Cost, Run};
use super::stage::{CLIENT, FAR_CLIENT, Grounds, LAB, Stage};
use crate::cli::output::Failure;
use crate::cli::peer::PEER;
use crate::edge::{Fault, OrFault};
use crate::load::calibration;
use crate::load::in_memory::{self, Way};
use crate::load::machine::pin_thread;
use crate::load::report::{Idle, Measured, Report};
use crate::load::trust::TlsVersion;

/// Bytes of payload of small packets that are forwarded.
const SMALL: u16 = 200;

/// What a run brought, and what is the same for all runs of a measurement.
pub(super) struct Done {
    pub(super) run: Run,
    pub(super) server: String,
    pub(super) exchange: String,
    pub(super) concurrency: usize,
    pub(super) open_loop: bool,
}

/// What was measured, without what was measured around it.
struct Found {
    measured: Measured,
    exchange: String,
    concurrency: usize,
    tls: Option<String>,
    idle: Option<Idle>,
    open_loop: bool,
}

impl Found {
    fn new(measured: Measured, exchange: String, concurrency: usize) -> Self {
        Self { measured, exchange, concurrency, tls: None, idle: None, open_loop: false }
    }
}

/// Carries a run out.
pub(super) fn carry_out(
    grounds: &Grounds<'_>,
    wishes: &Wishes,
    measurement: &Measurement,
    variant: Variant,
) -> Result<Done, Failure> {
    let mut stage = match measurement.work {
        Work::Packets(_) => Stage::in_memory(variant),
        _ => Stage::set(grounds, variant, &measurement.work)?,
    };
    if variant == Variant::Ceiling {
        stage.replace(grounds, &measurement.work)?;
    }
    let cpus = [grounds.endpoint_cpu, grounds.load_cpu];
    let before = calibration::round_trip_ns(cpus);
    let found = match &measurement.work {
        Work::Load(load) => generate(grounds, wishes, load, &stage),
        Work::Forward(way) => forward(grounds, wishes, *way, variant, &stage),
        Work::Resolve(in_flight) => resolve(grounds, wishes, *in_flight, variant, &stage),
        Work::Packets(flows) => packets(grounds, wishes, *flows, variant),
    }?;
    let after = calibration::round_trip_ns(cpus);
    let processes = || found.measured.processes.iter().filter(|process| stage.under_test.contains(&&*process.name));
    let done = Done {
        run: Run {
            calibration_ns: [before, after],
            tls: found.tls,
            tun: stage.tun.clone(),
            limited_by: found.measured.limit(),
            others: found.measured.others(),
            cost: Cost::of(processes(), found.measured.answers),
            idle: found.idle,
            measured: found.measured,
        },
        server: stage.server.clone(),
        exchange: found.exchange,
        concurrency: found.concurrency,
        open_loop: found.open_loop,
    };
    stage.strike()?;
    grounds.interrupt.check()?;
    Ok(done)
}

/// The load generator, on the lab's client.
fn generate(grounds: &Grounds<'_>, wishes: &Wishes, load: &Load, stage: &Stage) -> Result<Found, Failure> {
    let service = grounds.source.topology.service_host();
    let url = format!("https://{service}/2015-03-31/functions/{}/invocations", load.function);
    let mut command = grounds.command(&["load", &url, "--host", CLIENT, "--lab", LAB, "--recorded"]);
    let version = if wishes.tls == TlsVersion::V12 { "1.2" } else { "1.3" };
    let target = std::net::SocketAddr::new(stage.service, 443).to_string();
    command.args(["--connect", &target, "--exchange", load.exchange, "--tls", version, "--mode", load.mode.name()]);
    command.args(["--payload", &load.payload.to_string(), "--connections", &load.connections.to_string()]);
    command.args(["--idle", &load.idle.to_string(), "--region", &grounds.source.topology.region]);
    // The lab's own is taken; the option only has to be there.
    command.args(["--ca", "/dev/null"]);
    if let Some(rate) = wishes.rate {
        command.args(["--rate", &rate.to_string()]);
    }
    let report: Report = told(grounds, wishes, stage, command, "the load generator")?;
    Ok(Found {
        tls: Some(report.tls),
        idle: report.idle,
        open_loop: report.open_loop,
        ..Found::new(report.window, report.exchange, report.connections)
    })
}

/// Between a host of the VPC and one on-premises.
fn forward(
    grounds: &Grounds<'_>,
    wishes: &Wishes,
    way: Forward,
    variant: Variant,
    stage: &Stage,
) -> Result<Found, Failure> {
    let (kind, in_flight) = match way {
        Forward::Bulk => ("bulk", 1),
        Forward::Datagrams(in_flight) => ("datagrams", in_flight),
    };
    let mut command = grounds.command(&["traffic", kind, "--lab", LAB, "--from", CLIENT, "--to", FAR_CLIENT]);
    command.args(["--in-flight", &in_flight.to_string(), "--payload", &SMALL.to_string()]);
    if variant != Variant::Ceiling {
        let hosts = &grounds.source.topology.hosts;
        let address = |name: &str| hosts.iter().find(|host| host.name == name).map(|host| host.ipv4.to_string());
        let addresses = [CLIENT, FAR_CLIENT].into_iter().filter_map(address);
        command.arg("--addresses").args(addresses);
    }
    let measured = told(grounds, wishes, stage, command, "the traffic")?;
    let exchange = match way {
        Forward::Bulk => "one TCP connection".to_owned(),
        Forward::Datagrams(_) => format!("datagrams of {SMALL} bytes"),
    };
    Ok(Found::new(measured, exchange, in_flight.into()))
}

/// Questions to the resolver.
fn resolve(
    grounds: &Grounds<'_>,
    wishes: &Wishes,
    in_flight: u16,
    variant: Variant,
    stage: &Stage,
) -> Result<Found, Failure> {
    let topology = &grounds.source.topology;
    let resolver = if variant == Variant::Ceiling { PEER } else { topology.vpc.resolver() };
    let mut command = grounds.command(&["traffic", "resolve", "--lab", LAB, "--from", CLIENT]);
    command.args(["--in-flight", &in_flight.to_string(), "--resolver", &format!("{resolver}:53")]);
    command.args(["--question", &topology.service_host(), &grounds.eni()?.to_string()]);
    let measured = told(grounds, wishes, stage, command, "the questions")?;
    Ok(Found::new(measured, format!("A {}", topology.service_host()), in_flight.into()))
}

/// Runs one of our own programs and reads its report.
fn told<T: DeserializeOwned>(
    grounds: &Grounds<'_>,
    wishes: &Wishes,
    stage: &Stage,
    mut command: Command,
    what: &str,
) -> Result<T, Failure> {
    let nanos = |time: std::time::Duration| format!("{}ns", time.as_nanos());
    command.args(["--duration", &nanos(wishes.duration), "--warm-up", &nanos(wishes.warm_up)]);
    command.args(["--cpu", &grounds.load_cpu.to_string(), "--output", "json"]);
    for process in &stage.watched {
        command.args(["--cpu-of", process]);
    }
    let printed = grounds.interrupt.output(command, what)?;
    Ok(serde_json::from_slice(&printed).or_fault(|| format!("the report of {what} cannot be read"))?)
}

/// In this process, on a thread of its own.
fn packets(grounds: &Grounds<'_>, wishes: &Wishes, flows: u32, variant: Variant) -> Result<Found, Failure> {
    let way = if variant == Variant::Ceiling { Way::Parse } else { Way::Verdict };
    let times = [wishes.warm_up, wishes.duration];
    let measured = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            pin_thread(&[grounds.endpoint_cpu])?;
            in_memory::run(&grounds.source.topology, flows, way, times, || grounds.interrupt.is_asked())
        });
        thread.join().unwrap_or_else(|_| Err(Fault::new("the thread that measured ended early")))
    })?;
    Ok(Found::new(measured, format!("packets of {flows} known flows"), 1))
}
