//! `vpce endpoint`: the AWS side alone, in the current network namespace.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::output::Failure;
use super::{SideArguments, Termination};
use crate::config::{API_SERVICES, Topology};
use crate::control::Store;
use crate::control::ec2::{AsOf, Options};
use crate::control::plane::{Plane, PlanePlan};
use crate::control::server::{self, Listeners};
use crate::edge::clock::Clock;
use crate::edge::endpoint::{self, EndpointPlan, Handle, Reload, Reloaded};
use crate::edge::readiness::Readiness;
use crate::edge::{Fault, OrFault};
use crate::lab::source::Source;
use crate::lab::{Directories, changes, secrets, source};
use crate::observe::access_log::AccessLogFile;
use crate::observe::capture::Capture;
use crate::sigv4::Keyring;
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
    /// Descriptors of the sockets that EC2's API listens on, outside of the lab and inside. Without them there is none.
    #[arg(long, value_name = "FD", num_args = 2, hide = true)]
    api_sockets: Vec<RawFd>,
    /// Begin with what was created and changed through the API in the last run.
    #[arg(long)]
    keep: bool,
    /// Offer the service where it was offered in that month.
    #[arg(long, value_name = "YYYY-MM", value_parser = crate::cli::month)]
    as_of: Option<AsOf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let readiness = Readiness::take()?;
    let termination = Termination::watch()?;
    let listeners = arguments.listeners()?;
    let started = plan(arguments).and_then(|(plan, directories)| {
        let (access_log, topology, keyring) =
            (plan.access_log.clone(), Arc::clone(&plan.topology), plan.keyring.clone());
        let (handle, capture) = endpoint::start(plan).map_err(Failure::from)?;
        if let Some(listeners) = listeners {
            start_apis(arguments, listeners, handle, keyring, &topology, &directories)?;
        }
        Ok((capture, access_log))
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

impl Arguments {
    /// The sockets that the supervisor left open for this process. To be called before anything else is opened.
    fn listeners(&self) -> Result<Option<Listeners>, Fault> {
        match self.api_sockets[..] {
            [outside, inside] => Listeners::inherited(outside, inside).map(Some),
            _ => Ok(None),
        }
    }
}

fn start_apis(
    arguments: &Arguments,
    listeners: Listeners,
    endpoint: Handle,
    keyring: Keyring,
    topology: &Topology,
    directories: &Directories,
) -> Result<(), Failure> {
    let file = directories.control_state();
    if !arguments.keep {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let fault = Fault::new(format!("cannot begin with a clean state: {error}"));
                return Err(fault.at(file.display().to_string()).into());
            }
            _ => {}
        }
    }
    let now = Clock::start().now().unix;
    let ca = secrets::certificate_authority(directories, now)?;
    let names = API_SERVICES.iter().map(|service| topology.api_host(service)).collect();
    let tls = server::tls(&ca, names, now)?;
    let options = Options { lenient: arguments.side.policies.lenient, as_of: arguments.as_of, ..Options::default() };
    let store = Store::open(&file)?;
    let plan = PlanePlan { endpoint, keyring, store, options };
    server::start(listeners, tls, move || Plane::start(plan))?;
    Ok(())
}

fn plan(arguments: &Arguments) -> Result<(EndpointPlan, Directories), Failure> {
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
    let plan = EndpointPlan {
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
        on_premises: directories.onprem_socket(),
        reload: reloader(side.path.clone(), side.policies.lenient),
        origin: source.origin,
        topology,
    };
    Ok((plan, directories))
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
