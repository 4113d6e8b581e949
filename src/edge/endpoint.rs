//! The endpoint process: devices, workers, and what stands beside them.
//!
//! Each worker is a thread with an engine of its own, which is made on that thread and never leaves it. The main thread
//! answers questions on the control socket, drains flow-log records once a second, and hands out new snapshots.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the edge owns threads and files")]

use std::collections::BTreeSet;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_lc_rs::rand;
use serde_json::{Value, json};

use self::enis::EniDevices;
use self::in_force::{InForce, Maker};
use super::clock::Clock;
use super::hot_loop::{Worker, WorkerHandle};
use super::plumbing::{self, EndpointDevices};
use super::tun::{TunMode, TunQueue};
use super::udp::TunnelSocket;
use super::{Fault, OrFault, control};
use crate::config::{PathProfile, Topology};
use crate::engine::{Engine, EngineSetup, Port, Snapshot};
use crate::eni::EniHealth;
use crate::observe::access_log::{AccessLines, AccessLogFile};
use crate::observe::capture::{Capture, CaptureHandle};
use crate::observe::cost::CostMeter;
use crate::observe::flow_log::FlowLogWriter;
use crate::observe::flow_log::created::{CreatedLogs, FlowLogSpec};
use crate::observe::status;
use crate::sigv4::Keyring;
use crate::tls::ServerSetup;
use crate::tunnel::Side;
use crate::tunnel::keys::TunnelKeys;
use crate::tunnel::path::Link;
use crate::verdict::Counters;

mod enis;
mod in_force;
mod zone_fault;

pub use in_force::{Reload, Reloaded};

/// How long the control thread waits for a worker.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often flow-log records are fetched.
const FLOW_LOG_EVERY: Duration = Duration::from_secs(1);

/// What an endpoint is started with.
pub struct EndpointPlan {
    /// The topology.
    pub topology: Arc<Topology>,
    /// Its built-in name, or the absolute path of its file.
    pub origin: String,
    /// Who may sign.
    pub keyring: Keyring,
    /// One pair per worker at least.
    pub keys: TunnelKeys,
    /// The path in use.
    pub path: PathProfile,
    /// Certificate and protocols.
    pub tls: ServerSetup,
    /// How the devices are opened.
    pub mode: TunMode,
    /// Worker threads; one TUN queue each.
    pub workers: usize,
    /// Spin instead of waiting.
    pub busy_poll: bool,
    /// Accept policies that AWS refuses but people paste.
    pub lenient: bool,
    /// The control socket.
    pub socket: PathBuf,
    /// Where flow-log records go.
    pub flow_log: PathBuf,
    /// Where access records go.
    pub access_log: AccessLogFile,
    /// Where packets are captured; its key log is `tls`'s.
    pub capture: Option<Capture>,
    /// Reads a topology again, for `reload`.
    pub reload: Reload,
    /// Where the on-premises side is told of endpoints that come and go: its public DNS knows their names.
    pub on_premises: PathBuf,
}

impl std::fmt::Debug for EndpointPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointPlan").field("mode", &self.mode).field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// Starts the endpoint in the network namespace of the calling thread, and returns once it answers. Its threads live as
/// long as the process; a capture as long as its handle.
///
/// # Errors
/// When a policy is faulty, or a device, socket or thread cannot be made.
pub fn start(mut plan: EndpointPlan) -> Result<(Handle, Option<CaptureHandle>), Fault> {
    let clock = Clock::start();
    let maker = Maker { keyring: plan.keyring.clone(), lenient: plan.lenient, clock };
    let snapshot = maker.make(1, &plan.topology)?;
    let devices = plumbing::open_endpoint(&plan.topology, plan.mode, plan.workers)?;
    let offloads = devices.vpc.offloads();
    let facts = status::EndpointFacts { mode: plan.mode, offloads, workers: plan.workers, path: plan.path.clone() };
    let capture = match plan.capture.take() {
        Some(capture) => Some(capture.start(&plumbing::endpoint_interfaces(&plan.topology)?)?),
        None => None,
    };
    let handles = start_workers(&plan, &snapshot, devices, clock)?;
    let interval = plan.topology.settings.flow_log_interval;
    let flow_log = FlowLogWriter::new(open_log(&plan.flow_log)?, plan.workers, interval);
    let created = CreatedLogs::new(&plan.flow_log.with_file_name("flow-logs"));

    let EndpointPlan { socket, reload, origin, access_log, on_premises, .. } = plan;
    let questioned = handles.clone();
    let captured = capture.as_ref().map(CaptureHandle::counter);
    let devices =
        EniDevices::new(facts.mode, facts.workers, capture.as_ref().map(CaptureHandle::tap), &snapshot.topology);
    let mut cost = CostMeter::default();
    cost.follow(&snapshot.topology, clock.now().unix);
    let in_force = InForce {
        cost,
        snapshot,
        health: EniHealth::default(),
        origin,
        maker,
        reload,
        devices,
        on_premises,
        is_told: true,
        lost_zones: BTreeSet::new(),
        flow_logs: Vec::new(),
        failed_flow_logs: BTreeSet::new(),
        reloads: 0,
        is_ahead: false,
    };
    let handle = Handle { in_force: Arc::new(Mutex::new(in_force)), workers: handles };
    let (shared, logged) = (handle.clone(), handle.clone());
    control::serve(&socket, move |request| {
        let mut in_force = shared.lock();
        match request["do"].as_str() {
            Some("status") => {
                let InForce { snapshot, health, cost, maker, .. } = &*in_force;
                let cost = (cost, maker.clock.now().unix);
                let mut answer =
                    status::endpoint(&facts, snapshot, health, &questioned, access_log.lost(), cost, PATIENCE);
                answer["topology"] = json!(in_force.origin);
                answer["lenient"] = json!(in_force.maker.lenient);
                answer["capture"] = status::capture(captured.as_ref());
                Ok(answer)
            }
            Some("reload") => in_force.reload(request, &questioned),
            Some("fault") => in_force.fault(request, &questioned),
            Some("flow") => Ok(json!({ "rule": rule_of(&questioned, request) })),
            _ => Err(Fault::new("the endpoint does not know this request")
                .remedy("ask for `status`, `flow`, `reload` or `fault`")),
        }
    })?;
    std::thread::Builder::new()
        .name("flow-log".to_owned())
        .spawn(move || {
            if let Err(fault) = write_flow_logs(&logged, flow_log, created) {
                tracing::error!(%fault, "flow logging stopped");
            }
        })
        .or_fault(|| "cannot start the flow log")?;
    Ok((handle, capture))
}

/// Reaches a running endpoint from other threads of its process.
#[derive(Clone)]
pub struct Handle {
    in_force: Arc<Mutex<InForce>>,
    workers: Vec<WorkerHandle>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

impl Handle {
    /// Puts a topology in force on all workers and returns when it is.
    ///
    /// # Errors
    /// When a policy, a device or a worker refuses; what was in force stays so.
    pub fn put(&self, topology: Topology) -> Result<(), Fault> {
        // Devices are made by netlink, whose calls block and must not be made inside a runtime: the caller may be in one.
        std::thread::scope(|scope| {
            let put = scope.spawn(|| self.lock().put(topology, &self.workers));
            // A panic in there is one in the middle of a change.
            put.join().unwrap_or_else(|_| std::process::abort())
        })
    }

    /// Those of them that cannot be written, by their ids.
    pub fn failed_flow_logs(&self) -> BTreeSet<String> {
        self.lock().failed_flow_logs.clone()
    }

    /// Notes that the API made something that no file has: a reload would lose it.
    pub fn mark_ahead(&self) {
        self.lock().is_ahead = true;
    }

    /// The topology in force, and how many reloads there have been: each makes a file's word law again.
    pub fn in_force(&self) -> (Arc<Topology>, u64) {
        let in_force = self.lock();
        (Arc::clone(&in_force.snapshot.topology), in_force.reloads)
    }

    /// Has these flow logs written from now on, beside the lab's own.
    pub fn set_flow_logs(&self, logs: Vec<FlowLogSpec>) {
        self.lock().flow_logs = logs;
    }

    /// A panic in the middle of a change leaves nobody to say what is in force.
    fn lock(&self) -> MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(|_| std::process::abort())
    }
}

fn start_workers(
    plan: &EndpointPlan,
    snapshot: &Arc<Snapshot>,
    devices: EndpointDevices,
    clock: Clock,
) -> Result<Vec<WorkerHandle>, Fault> {
    let link = Arc::new(Link::new(Side::Aws.direction(&plan.path)));
    let offloads = devices.vpc.offloads();
    let offload = offloads.tso4 && offloads.tso6;
    let queues = distribute(devices, plan.workers);
    let mut handles = Vec::with_capacity(plan.workers);
    for (worker, queues) in queues.into_iter().enumerate() {
        let pair = plan.keys.pairs().get(worker).cloned().ok_or_else(|| {
            Fault::new(format!("{} workers asked for, but the tunnel has keys for {worker}", plan.workers))
                .remedy("use fewer workers")
        })?;
        // The configuration leaves room for as many workers as there can be.
        let port = plan.topology.tunnel.port.saturating_add(u16::try_from(worker).unwrap_or(u16::MAX));
        let local = SocketAddr::new(plan.topology.tunnel.aws_outside.into(), port);
        let remote = SocketAddr::new(plan.topology.tunnel.customer_outside.into(), port);
        let socket = TunnelSocket::open(local, remote)
            .or_fault(|| format!("cannot open the tunnel's socket at {local}"))
            .map_err(|fault| fault.remedy("give this namespace the tunnel's outside address"))?;
        let mut seed = [0; 32];
        rand::fill(&mut seed).map_err(|_| Fault::new("the system has no randomness"))?;
        let setup = Setup {
            snapshot: Arc::clone(snapshot),
            worker,
            workers: plan.workers,
            tls: plan.tls.clone(),
            sa: pair,
            path: plan.path.clone(),
            link: Arc::clone(&link),
            log: plan.access_log.worker(),
            seed,
            offload,
        };
        handles.push(start_worker(setup, queues, socket, clock, plan.busy_poll)?);
    }
    Ok(handles)
}

/// What travels to a worker's thread; the rest of its engine is made there.
struct Setup {
    snapshot: Arc<Snapshot>,
    worker: usize,
    workers: usize,
    tls: ServerSetup,
    sa: crate::tunnel::keys::SaPair,
    path: PathProfile,
    link: Arc<Link>,
    log: AccessLines,
    seed: [u8; 32],
    offload: bool,
}

fn start_worker(
    setup: Setup,
    queues: Vec<(Port, TunQueue)>,
    socket: TunnelSocket,
    clock: Clock,
    busy_poll: bool,
) -> Result<WorkerHandle, Fault> {
    let (tx, rx) = crossbeam::channel::bounded(1);
    std::thread::Builder::new()
        .name(format!("worker-{}", setup.worker))
        .spawn(move || {
            let Setup { snapshot, worker, workers, tls, sa, path, link, log, seed, offload } = setup;
            let engine = Engine::new(EngineSetup {
                snapshot,
                worker,
                workers,
                tls,
                sa,
                path,
                link,
                counters: Arc::new(Counters::default()),
                log: Rc::new(log),
                seed,
                offload,
                now: clock.now(),
            });
            match Worker::new(engine, queues, socket, clock, busy_poll) {
                Ok((worker, handle)) => {
                    if tx.send(Ok(handle)).is_ok()
                        && let Err(error) = worker.run()
                    {
                        // Without its worker the endpoint is dead; the lab notices the process, not a thread.
                        tracing::error!(%error, "a worker stopped");
                        std::process::abort();
                    }
                }
                Err(error) => drop(tx.send(Err(error))),
            }
        })
        .or_fault(|| "cannot start a worker")?;
    rx.recv().or_fault(|| "a worker ended before it began")?.or_fault(|| "a worker cannot wait for its devices")
}

/// Each worker's queue of every device.
fn distribute(devices: EndpointDevices, workers: usize) -> Vec<Vec<(Port, TunQueue)>> {
    let mut queues: Vec<Vec<(Port, TunQueue)>> = (0..workers).map(|_| Vec::new()).collect();
    let enis = devices.enis.into_iter().map(|(slot, device)| (Port::Eni(usize::from(slot)), device));
    for (port, device) in enis.chain([(Port::Router, devices.vpc)]) {
        for (worker, queue) in queues.iter_mut().zip(device.into_queues()) {
            worker.push((port, queue));
        }
    }
    queues
}

/// The rule that let a connection in, from whichever worker has it.
fn rule_of(handles: &[WorkerHandle], request: &Value) -> Option<String> {
    let address = |key: &str| request[key].as_str()?.parse::<SocketAddr>().ok();
    let (client, endpoint) = (address("client")?, address("endpoint")?);
    handles.iter().find_map(|handle| handle.ask(PATIENCE, move |engine, _| engine.rule_of(client, endpoint)).flatten())
}

fn open_log(path: &Path) -> Result<File, Fault> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .or_fault(|| "cannot open the flow log")
        .map_err(|fault| fault.at(path.display().to_string()).remedy("move away what is there"))
}

/// Writes flow-log records as they are complete. Returns only when the lab's own log cannot be written.
fn write_flow_logs(handle: &Handle, mut log: FlowLogWriter<File>, mut created: CreatedLogs) -> Result<(), Fault> {
    loop {
        std::thread::sleep(FLOW_LOG_EVERY);
        let (topology, specs) = {
            let mut in_force = handle.lock();
            in_force.tell_on_premises();
            (Arc::clone(&in_force.snapshot.topology), in_force.flow_logs.clone())
        };
        created.set(&specs);
        for worker in &handle.workers {
            let mut records = worker.ask(PATIENCE, |engine, _| engine.take_flow_records()).unwrap_or_default();
            log.retain_news(&mut records);
            log.write(&records).or_fault(|| "cannot write the flow log")?;
            created.write(&records, &topology);
        }
        handle.lock().failed_flow_logs = created.failed();
    }
}
