//! The on-premises process: the customer gateway on a thread of its own, function host and DNS forwarder on another.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::customer_gateway::CustomerGateway;
use super::dns_forwarder::{self, PublicView};
use super::{FunctionHost, HostSettings};
use crate::config::Topology;
use crate::edge::tun::TunDevice;
use crate::edge::{Fault, OrFault, control};
use crate::eni::EniHealth;
use crate::observe::status;
use crate::tunnel::keys::TunnelKeys;
use crate::verdict::Counters;

/// What the on-premises side is started with.
#[derive(Debug)]
pub struct SitePlan {
    /// The topology.
    pub topology: Arc<Topology>,
    /// The tunnel's keys: one pair per worker of the endpoint.
    pub keys: TunnelKeys,
    /// The gateway's device.
    pub device: TunDevice,
    /// Where functions' code is laid out.
    pub work_dir: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
}

/// Starts everything and returns once all of it can be reached. The threads live as long as the process.
///
/// # Errors
/// When a socket, device or thread cannot be made.
pub fn start(plan: SitePlan) -> Result<(), Fault> {
    let SitePlan { topology, keys, device, work_dir, socket } = plan;
    let (mode, offloads) = (device.mode(), device.offloads());
    let mut seed = [0; 8];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| Fault::new("the system has no randomness"))?;
    let mut gateway = CustomerGateway::open(&topology, &keys, device, u64::from_le_bytes(seed))?;
    let gateway_counters = gateway.counters();
    spawn("gateway", move || {
        if let Err(fault) = gateway.run() {
            // The lab notices the process, not a thread.
            tracing::error!(%fault, "the customer gateway stopped");
            std::process::abort();
        }
    })?;
    let dns_counters = Arc::new(Counters::default());
    let (health, known) = watch::channel(EniHealth::default());
    let (in_force, followed) = watch::channel(Arc::clone(&topology));
    let known = PublicView { topology: followed, health: known };
    let host = start_services(Arc::clone(&topology), work_dir, known, Arc::clone(&dns_counters))?;
    control::serve(&socket, move |request| match request["do"].as_str() {
        Some("status") => Ok(json!({
            "tun": { "mode": mode, "offloads": offloads },
            "counters": status::counters([gateway_counters.as_ref(), dns_counters.as_ref()].into_iter()),
            "function_host": host.as_ref().map_or(Value::Null, FunctionHost::status),
        })),
        Some("health") => {
            health.send_replace(told(&in_force.borrow(), request)?);
            Ok(json!({}))
        }
        Some("endpoints") => {
            let endpoints = Vec::deserialize(&request["endpoints"]).or_fault(|| "an `endpoints` request lists them")?;
            in_force.send_modify(|topology| Arc::make_mut(topology).endpoints = endpoints);
            Ok(json!({}))
        }
        _ => Err(Fault::new("the on-premises side does not know this request")
            .remedy("ask for `status`, `health` or `endpoints`")),
    })
}

/// What a `health` request says: `down` lists the enis that are, by their ids.
fn told(topology: &Topology, request: &Value) -> Result<EniHealth, Fault> {
    let down =
        request["down"].as_array().ok_or_else(|| Fault::new("a `health` request lists the enis that are `down`"))?;
    let mut health = EniHealth::default();
    for (_, eni) in topology.enis() {
        health.set(usize::from(eni.slot), !down.iter().any(|id| *id == eni.id));
    }
    Ok(health)
}

/// Starts function host and DNS forwarder on one runtime. `None` if the function host is somebody else's.
fn start_services(
    topology: Arc<Topology>,
    work_dir: PathBuf,
    known: PublicView,
    counters: Arc<Counters>,
) -> Result<Option<FunctionHost>, Fault> {
    let (tx, rx) = channel();
    // Functions' processes die with the thread that starts them: this one lives as long as the program.
    spawn("services", move || serve(&topology, work_dir, known, counters, &tx))?;
    rx.recv().or_fault(|| "the function host ended before it began")?
}

fn serve(
    topology: &Arc<Topology>,
    work_dir: PathBuf,
    known: PublicView,
    counters: Arc<Counters>,
    ready: &Sender<Result<Option<FunctionHost>, Fault>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime.or_fault(|| "cannot start a runtime") {
        Ok(runtime) => runtime,
        Err(fault) => return drop(ready.send(Err(fault))),
    };
    runtime.block_on(async {
        let host = match listen(topology, work_dir).await {
            Ok(host) => host,
            Err(fault) => return drop(ready.send(Err(fault))),
        };
        let forwarder = dns_forwarder::run_counted(Arc::clone(topology), known, counters, std::future::pending());
        let (status, served) =
            host.map_or((None, None), |(host, listener)| (Some(host.clone()), Some((host, listener))));
        drop(ready.send(Ok(status)));
        let functions = async {
            match served {
                Some((host, listener)) => host.serve(listener, std::future::pending()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = functions => {}
            result = forwarder => {
                if let Err(error) = result {
                    tracing::error!(%error, "the DNS forwarder stopped");
                    std::process::abort();
                }
            }
        }
    });
}

async fn listen(topology: &Topology, work_dir: PathBuf) -> Result<Option<(FunctionHost, TcpListener)>, Fault> {
    if topology.on_premises.external_function_host {
        return Ok(None);
    }
    let address = topology.on_premises.function_host;
    let host =
        FunctionHost::new(HostSettings::of(topology), &work_dir).or_fault(|| "cannot set up the function host")?;
    let listener = TcpListener::bind(address)
        .await
        .or_fault(|| format!("the function host cannot listen on {address}"))
        .map_err(|fault| fault.remedy("give this namespace that address"))?;
    Ok(Some((host, listener)))
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Fault> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop).or_fault(|| format!("cannot start {name}"))
}
