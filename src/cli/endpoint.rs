//! `vpce endpoint`: the AWS side alone, in the current network namespace.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::output::Failure;
use super::{SideArguments, Termination};
use crate::config::Topology;
use crate::edge::clock::Clock;
use crate::edge::endpoint::{self, EndpointPlan, Reload};
use crate::edge::readiness::Readiness;
use crate::edge::{Fault, OrFault};
use crate::lab::{secrets, source};
use crate::observe::access_log;
use crate::observe::capture::Capture;
use crate::tls::ServerSetup;

/// Run the endpoint alone, in the current network namespace
#[derive(Debug, Args)]
#[command(
    after_help = "A lab starts this by itself; it is for people who build their own network.\n\nExample:\n  vpce endpoint my-lab.toml"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    side: SideArguments,
    /// Spin instead of waiting for packets: lower latency, a whole core per worker.
    #[arg(long)]
    busy_poll: bool,
    /// Accept policies that AWS refuses but people paste: a bare ARN as principal.
    #[arg(long)]
    lenient: bool,
    /// Write what crosses the endpoint's interfaces, and the secrets of its TLS sessions, to this pcapng file.
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let readiness = Readiness::take()?;
    let termination = Termination::watch()?;
    let started = plan(arguments).and_then(|plan| endpoint::start(plan).map_err(Failure::from));
    let capture = match started {
        Ok(capture) => capture,
        Err(failure) => return Err(failure.tell(readiness)),
    };
    readiness.notify().map_err(|error| Fault::new(format!("the lab has gone: {error}")))?;
    termination.wait()?;
    drop(capture);
    Ok(ExitCode::SUCCESS)
}

fn plan(arguments: &Arguments) -> Result<EndpointPlan, Failure> {
    let side = &arguments.side;
    let (source, directories) = side.prepare()?;
    let topology = Arc::new(source.topology);
    let path = topology.paths.iter().find(|path| path.name == topology.tunnel.path).cloned();
    let path = path.ok_or_else(|| Fault::new(format!("no path profile {:?}", topology.tunnel.path)))?;
    let now = Clock::start().now().unix;
    let ca = secrets::certificate_authority(&directories, now)?;
    let capture = arguments.capture.as_deref().map(Capture::create).transpose()?;
    let key_log = capture.as_ref().map(Capture::key_log);
    let tls = ServerSetup::new(&ca, &topology.region, now, key_log).or_fault(|| "TLS cannot be set up")?;
    let log = directories.logs().join("access.jsonl");
    let access_log = access_log::start(&log)
        .or_fault(|| "cannot open the access log")
        .map_err(|fault| fault.at(log.display().to_string()))?;
    Ok(EndpointPlan {
        keyring: secrets::keyring(&directories, &topology)?,
        keys: secrets::load_tunnel_keys(&directories)?.for_workers(side.workers()),
        path,
        tls,
        mode: side.tun,
        workers: side.workers().get(),
        busy_poll: arguments.busy_poll,
        lenient: arguments.lenient,
        socket: directories.endpoint_socket(),
        flow_log: directories.logs().join("flow.log"),
        access_log,
        capture,
        reload: reloader(&topology),
        topology,
    })
}

/// Reads a topology for `reload`. What a running endpoint cannot change must not differ.
fn reloader(running: &Arc<Topology>) -> Reload {
    let running = Arc::clone(running);
    Box::new(move |request| {
        let word = request["topology"].as_str().ok_or_else(|| Fault::new("`reload` needs a `topology`"))?;
        let topology = source::load(word).map_err(|error| Fault::new(error.to_string()))?.topology;
        let enis =
            |topology: &Topology| -> Vec<_> { topology.endpoint.enis.iter().map(|eni| (eni.ipv4, eni.ipv6)).collect() };
        if enis(&topology) != enis(&running) || topology.region != running.region {
            return Err(Fault::new("addresses of enis and the region cannot change while the lab runs")
                .remedy("vpce lab up --replace"));
        }
        Ok(topology)
    })
}
