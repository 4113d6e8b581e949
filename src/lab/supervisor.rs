//! The first process of a lab's PID namespace: builds the network, keeps the endpoint and the customer gateway running,
//! answers on the control socket.
//!
//! It reaps every process of the lab. When an essential process ends, or it is told to, or its owner goes away, it ends
//! the others and writes down why ([`LastRun`]). If it is killed itself, the kernel ends everything: it is their init.

mod apis;
mod processes;
mod status;

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use self::apis::ApiListeners;
use self::processes::Process;
use super::client::{LastRun, now};
use super::network::Network;
use super::{Directories, source};
use crate::config::Topology;
use crate::edge::control::{self, Answer, LINE_LIMIT, PATIENCE};
use crate::edge::namespace;
use crate::edge::readiness::Readiness;
use crate::edge::sys::{self, ChildSetup};
use crate::edge::{Fault, OrFault};

pub(super) use processes::open_log;

/// What the supervisor is told, through [`Directories::plan`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the lab.
    pub lab: String,
    /// Built-in name or path of the topology.
    pub topology: String,
    /// Path profile, if not the topology's own.
    pub path: Option<String>,
    /// Whether policies that AWS refuses but people paste are accepted.
    #[serde(default)]
    pub lenient: bool,
    /// More arguments for `vpce endpoint`.
    pub endpoint_arguments: Vec<String>,
    /// More arguments for `vpce onprem`.
    pub onprem_arguments: Vec<String>,
}

/// Control connections at the same time; more wait.
const CONNECTION_LIMIT: usize = 16;

/// Why the lab ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// `vpce lab down`.
    Asked,
    /// A signal to the supervisor.
    Signal(&'static str),
    /// The process that the lab belongs to has gone.
    OwnerGone,
    /// An essential process ended.
    Lost { process: &'static str, status: ExitStatus },
}

impl End {
    fn reason(&self) -> String {
        match self {
            Self::Asked => "it was brought down".to_owned(),
            Self::Signal(name) => format!("its supervisor was sent {name}"),
            Self::OwnerGone => "the command it belonged to ended".to_owned(),
            Self::Lost { process, status } => format!("the {process} process ended: {status}"),
        }
    }
}

/// What control connections need to know. Immutable once the lab is up.
#[derive(Debug)]
struct Lab {
    plan: Plan,
    topology: Topology,
    directories: Directories,
    network: Network,
    processes: Vec<Process>,
    started: String,
    /// Where the APIs listen on the machine outside.
    api: SocketAddr,
    end: mpsc::Sender<End>,
}

/// Runs a lab until it ends. The caller is the first process of a new PID namespace, and single-threaded.
///
/// `readiness` is told when everything is up, or why not. When the other end of `lifeline` closes, the lab ends.
///
/// # Errors
/// When the lab cannot be built or a process does not become ready; `readiness` has been told as well.
pub fn run(directories: Directories, readiness: Readiness, lifeline: Option<OwnedFd>) -> Result<(), Fault> {
    let started = now();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().or_fault(|| "cannot start the supervisor")
    };
    // The network first: netlink's calls block, and must not be made inside a runtime.
    let outcome = match build(&directories).and_then(|built| Ok((built, runtime()?))) {
        Ok((built, runtime)) => runtime.block_on(supervise(built, &directories, &started, readiness, lifeline)),
        Err(fault) => {
            // The caller hears it as well; nobody may be there to listen.
            _ = readiness.fail(&fault);
            Err(fault)
        }
    };
    let reason = match &outcome {
        Ok(end) => end.reason(),
        Err(fault) => fault.what.clone(),
    };
    tracing::info!(reason, "the lab ends");
    let topology = LastRun::read(&directories).and_then(|begun| begun.topology);
    LastRun { topology, started, ended: Some(now()), reason: Some(reason) }.write(&directories)?;
    if let Err(error) = std::fs::remove_dir_all(&directories.runtime) {
        tracing::warn!(%error, "cannot remove the runtime folder");
    }
    outcome.map(drop)
}

/// A network without processes.
struct Built {
    plan: Plan,
    topology: Topology,
    network: Network,
    /// The /proc of the machine outside: the only place that tells process ids as it sees them.
    outside_proc: Option<OwnedFd>,
    apis: ApiListeners,
}

fn build(directories: &Directories) -> Result<Built, Fault> {
    let plan = directories.plan();
    let plan: Plan = std::fs::read_to_string(&plan)
        .or_fault(|| "cannot read the lab's plan")
        .and_then(|text| serde_json::from_str(&text).or_fault(|| "the lab's plan is damaged"))
        .map_err(|fault| fault.at(plan.display().to_string()))?;
    let mut topology =
        source::load(&plan.topology, plan.lenient).map_err(|error| Fault::new(error.to_string()))?.topology;
    if let Some(path) = &plan.path {
        source::use_path(&mut topology, path)?;
    }
    namespace::make_mounts_private()?;
    let outside_proc = File::open("/proc").ok().map(OwnedFd::from);
    // Refused in some containers; the old /proc then stays and shows outside process ids.
    if let Err(error) = sys::mount_proc() {
        tracing::info!(%error, "no /proc of the lab's own");
    }
    // Before the network is built this thread is still in the machine's own namespace.
    let outside = ApiListeners::outside()?;
    let network = Network::build(&topology)?;
    let apis = ApiListeners::new(outside, &network, &topology)?;
    Ok(Built { plan, topology, network, outside_proc, apis })
}

async fn supervise(
    built: Built,
    directories: &Directories,
    started: &str,
    readiness: Readiness,
    lifeline: Option<OwnedFd>,
) -> Result<End, Fault> {
    match start(built, directories, started).await {
        Ok((lab, ends)) => {
            let listener = control::listen(&directories.control_socket()).and_then(|listener| {
                listener.set_nonblocking(true).or_fault(|| "cannot listen")?;
                UnixListener::from_std(listener).or_fault(|| "cannot listen")
            })?;
            readiness.notify().or_fault(|| "nobody waits for the lab")?;
            tracing::info!(lab = lab.plan.lab, "the lab is up");
            serve(lab, listener, ends, lifeline).await
        }
        Err(fault) => {
            // The caller hears it from the return value as well; nobody may be there to listen.
            _ = readiness.fail(&fault);
            Err(fault)
        }
    }
}

/// Everything that can end the lab.
struct Ends {
    asked: mpsc::Receiver<End>,
    child: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// Starts the essential processes and waits until both are ready.
async fn start(built: Built, directories: &Directories, started: &str) -> Result<(Arc<Lab>, Ends), Fault> {
    let watch = |kind| signal(kind).or_fault(|| "cannot watch signals");
    let (end, asked) = mpsc::channel(CONNECTION_LIMIT);
    let mut ends = Ends {
        asked,
        child: watch(SignalKind::child())?,
        terminate: watch(SignalKind::terminate())?,
        interrupt: watch(SignalKind::interrupt())?,
    };
    let Built { plan, topology, network, outside_proc, apis } = built;
    let api = apis.address();
    let endpoint_arguments = [plan.endpoint_arguments.clone(), apis.to_arguments()].concat();
    let endpoint = ("endpoint", super::ROUTER, &network.router, &endpoint_arguments, apis.into_descriptors());
    let onprem = ("onprem", super::CUSTOMER_GATEWAY, &network.customer_gateway, &plan.onprem_arguments, Vec::new());
    let mut processes = Vec::new();
    let mut reports = Vec::new();
    for (name, place, namespace, arguments, keep) in [endpoint, onprem] {
        let setup = ChildSetup { network: Some(namespace.try_clone()?.into_fd()), keep, ..ChildSetup::default() };
        let (pid, report) = processes::spawn(name, &plan, directories, arguments, setup)?;
        let outside_pid = outside_proc.as_ref().and_then(|proc| processes::outside_pid(proc, pid));
        processes.push(Process { name, namespace: place, pid, outside_pid });
        reports.push((name, report));
    }
    for (name, report) in reports {
        let ready = processes::wait_until_ready(name, report);
        tokio::select! {
            ready = ready => ready.map_err(|fault| fault.at(format!("{name} process")).remedy(format!("read {}", directories.log(name).display())))?,
            _ = ends.terminate.recv() => return Err(Fault::new("it was told to end before it was up")),
        }
    }
    let lab = Lab {
        plan,
        topology,
        directories: directories.clone(),
        network,
        processes,
        started: started.to_owned(),
        api,
        end,
    };
    Ok((Arc::new(lab), ends))
}

/// Answers until something ends the lab, then ends its processes.
async fn serve(lab: Arc<Lab>, listener: UnixListener, mut ends: Ends, lifeline: Option<OwnedFd>) -> Result<End, Fault> {
    let limit = Arc::new(tokio::sync::Semaphore::new(CONNECTION_LIMIT));
    let owner_gone = async {
        match lifeline {
            Some(fd) => closed(fd).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(owner_gone);
    let end = loop {
        tokio::select! {
            _ = ends.child.recv() => if let Some(lost) = processes::reap(&lab.processes) { break lost },
            _ = ends.terminate.recv() => break End::Signal("SIGTERM"),
            _ = ends.interrupt.recv() => break End::Signal("SIGINT"),
            Some(end) = ends.asked.recv() => break end,
            () = &mut owner_gone => break End::OwnerGone,
            Ok((stream, _)) = listener.accept() => {
                if let Ok(permit) = Arc::clone(&limit).try_acquire_owned() {
                    let lab = Arc::clone(&lab);
                    tokio::spawn(async move {
                        if let Err(error) = answer(&lab, stream).await {
                            tracing::debug!(%error, "a control connection ended early");
                        }
                        drop(permit);
                    });
                }
            }
        }
    };
    processes::end_processes(&lab.processes, &mut ends.child, &end).await;
    Ok(end)
}

/// Returns when the other end of a pipe has closed.
async fn closed(fd: OwnedFd) {
    let Ok(()) = rustix::io::ioctl_fionbio(&fd, true) else { return };
    let Ok(mut receiver) = pipe::Receiver::from_owned_fd(fd) else { return };
    let mut byte = [0];
    while matches!(receiver.read(&mut byte).await, Ok(1..)) {}
}

/// One request, one answer.
async fn answer(lab: &Lab, mut stream: UnixStream) -> io::Result<()> {
    let mut line = String::new();
    {
        let (reading, _) = stream.split();
        timeout(PATIENCE, BufReader::new(reading).take(LINE_LIMIT).read_line(&mut line)).await??;
    }
    let request: Value = serde_json::from_str(&line).unwrap_or_default();
    match request["do"].as_str() {
        Some("status") => {
            let status = status::status(lab).await;
            stream.write_all(Answer::Ok(status).to_line().as_bytes()).await
        }
        Some("join") => match join(lab, request["host"].as_str().unwrap_or_default()) {
            Ok((value, descriptors)) => send_with_descriptors(&stream, &Answer::Ok(value), &descriptors).await,
            Err(fault) => stream.write_all(Answer::Error(fault).to_line().as_bytes()).await,
        },
        Some("down") => {
            stream.write_all(Answer::Ok(Value::Null).to_line().as_bytes()).await?;
            lab.end.send(End::Asked).await.map_err(io::Error::other)
        }
        _ => {
            let fault = Fault::new("no such request").remedy("ask for `status`, `join` or `down`");
            stream.write_all(Answer::Error(fault).to_line().as_bytes()).await
        }
    }
}

/// The namespaces of a machine, in the order user, PID, network.
fn join(lab: &Lab, host: &str) -> Result<(Value, [OwnedFd; 3]), Fault> {
    let found = lab.network.find(&lab.topology, host).ok_or_else(|| {
        let known: Vec<&str> = lab.topology.hosts.iter().map(|host| host.name.as_str()).collect();
        Fault::new(format!("no host {host:?} in the lab {}", lab.plan.lab)).remedy(format!(
            "use one of: {} (or the routers: {}, {})",
            known.join(", "),
            super::ROUTER,
            super::CUSTOMER_GATEWAY
        ))
    })?;
    let descriptors = [namespace::open_own("user")?, namespace::open_own("pid")?, found.try_clone()?.into_fd()];
    let is_host = lab.topology.hosts.iter().any(|known| known.name == host);
    Ok((json!({ "lab": lab.plan.lab, "region": lab.topology.region, "own_files": is_host }), descriptors))
}

async fn send_with_descriptors(stream: &UnixStream, answer: &Answer, descriptors: &[OwnedFd]) -> io::Result<()> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let line = answer.to_line();
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    stream
        .async_io(tokio::io::Interest::WRITABLE, || {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&borrowed));
            let slices = [io::IoSlice::new(line.as_bytes())];
            sendmsg(stream, &slices, &mut control, SendFlags::NOSIGNAL).map(drop).map_err(io::Error::from)
        })
        .await
}
