//! `vpce endpoint`: the AWS side alone, in the current network namespace.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::output::Failure;
use super::{SideArguments, Termination};
use crate::edge::clock::Clock;
use crate::edge::endpoint::{self, EndpointPlan, Reload, Reloaded};
use crate::edge::readiness::Readiness;
use crate::edge::{Fault, OrFault};
use crate::lab::source::Source;
use crate::lab::{changes, secrets, source};
use crate::observe::access_log::AccessLogFile;
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
    /// Write what crosses the endpoint's interfaces, and the secrets of its TLS sessions, to this pcapng file.
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let readiness = Readiness::take()?;
    let termination = Termination::watch()?;
    let started = plan(arguments).and_then(|plan| {
        let access_log = plan.access_log.clone();
        Ok((endpoint::start(plan).map_err(Failure::from)?, access_log))
    });
    let (capture, access_log) = match started {
        Ok(started) => started,
        Err(failure) => return Err(failure.tell(readiness)),
    };
    readiness.notify().map_err(|error| Fault::new(format!("the lab has gone: {error}")))?;
    termination.wait()?;
    drop(capture);
    access_log.flush().or_fault(|| "the access log's last lines cannot be written")?;
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
    let capture = arguments.capture.as_deref().map(Capture::create).transpose();
    let capture = capture.map_err(|fault| fault.remedy("name a file in a folder that you may write to"))?;
    let key_log = capture.as_ref().map(Capture::key_log);
    let tls = ServerSetup::new(&ca, &topology.region, now, key_log).or_fault(|| "TLS cannot be set up")?;
    let log = directories.access_log();
    let access_log = AccessLogFile::start(&log)
        .or_fault(|| "cannot open the access log")
        .map_err(|fault| fault.at(log.display().to_string()).remedy("move away what is there"))?;
    Ok(EndpointPlan {
        keyring: secrets::keyring(&directories, &topology)?,
        keys: secrets::load_tunnel_keys(&directories)?.for_workers(side.workers()),
        path,
        tls,
        mode: side.devices.tun,
        workers: side.workers().get(),
        busy_poll: arguments.busy_poll,
        lenient: side.policies.lenient,
        socket: directories.endpoint_socket(),
        flow_log: directories.flow_log(),
        access_log,
        capture,
        reload: reloader(side.path.clone(), side.policies.lenient),
        origin: source.origin,
        topology,
    })
}

/// Reads a topology for `reload`: the one that the request names, else again the one in force. What a running endpoint
/// cannot change must not differ.
fn reloader(path: Option<String>, lenient: bool) -> Reload {
    Box::new(move |request, origin, running| {
        let word = request["topology"].as_str().unwrap_or(origin);
        let Source { origin, mut topology } =
            source::load(word, lenient).map_err(|error| Fault::new(error.to_string()).at(word))?;
        if let Some(path) = &path {
            source::use_path(&mut topology, path)?;
        }
        let fixed = changes::fixed(running, &topology);
        if !fixed.is_empty() {
            let what = format!("this cannot change while the lab runs\n    {}", fixed.join("\n    "));
            let remedy = if topology.name == running.name {
                format!("vpce lab up --replace {word}")
            } else {
                // Identifiers that are made up follow from the name.
                format!(
                    "call it `name = \"{}\"` if that is what differs, or: vpce lab up --replace {word}",
                    running.name
                )
            };
            return Err(Fault::new(what).at(word).remedy(remedy));
        }
        let changes =
            serde_json::to_value(changes::live(running, &topology)).or_fault(|| "cannot phrase the changes")?;
        Ok(Reloaded { topology, origin, changes })
    })
}
