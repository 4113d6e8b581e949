//! The first process of a lab's PID namespace: builds the network, keeps the endpoint and the customer gateway running,
//! answers on the control socket.
//!
//! It reaps every process of the lab. When an essential process ends, or it is told to, or its owner goes away, it ends
//! the others and writes down why ([`LastRun`]). If it is killed itself, the kernel ends everything: it is their init.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::client::{LastRun, now};
use super::network::Network;
use super::{Directories, source};
use crate::config::{Site, Topology};
use crate::edge::control::{self, Answer, LINE_LIMIT, PATIENCE};
use crate::edge::namespace;
use crate::edge::readiness::{READY_FD, Readiness, understand};
use crate::edge::sys::{self, ChildSetup};
use crate::edge::{Fault, OrFault};

/// What the supervisor is told, through [`Directories::plan`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the lab.
    pub lab: String,
    /// Built-in name or path of the topology.
    pub topology: String,
    /// Path profile, if not the topology's own.
    pub path: Option<String>,
    /// More arguments for `vpce endpoint`.
    pub endpoint_arguments: Vec<String>,
    /// More arguments for `vpce onprem`.
    pub onprem_arguments: Vec<String>,
}

/// How long an essential process may take to become ready. Python function hosts start slowly on loaded machines.
const READY_PATIENCE: Duration = Duration::from_secs(15);

/// How long the essential processes may take to end when asked to.
const END_PATIENCE: Duration = Duration::from_secs(3);

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

/// An essential process.
#[derive(Debug)]
struct Process {
    name: &'static str,
    namespace: &'static str,
    pid: Pid,
    /// As the machine outside sees it, if /proc could tell.
    outside_pid: Option<i32>,
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
    LastRun { started, ended: Some(now()), reason: Some(reason) }.write(&directories)?;
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
}

fn build(directories: &Directories) -> Result<Built, Fault> {
    let plan = directories.plan();
    let plan: Plan = std::fs::read_to_string(&plan)
        .or_fault(|| "cannot read the lab's plan")
        .and_then(|text| serde_json::from_str(&text).or_fault(|| "the lab's plan is damaged"))
        .map_err(|fault| fault.at(plan.display().to_string()))?;
    let mut topology = source::load(&plan.topology).map_err(|error| Fault::new(error.to_string()))?.topology;
    if let Some(path) = &plan.path {
        source::use_path(&mut topology, path)?;
    }
    namespace::make_mounts_private()?;
    let outside_proc = File::open("/proc").ok().map(OwnedFd::from);
    // Refused in some containers; the old /proc then stays and shows outside process ids.
    if let Err(error) = sys::mount_proc() {
        tracing::info!(%error, "no /proc of the lab's own");
    }
    let network = Network::build(&topology)?;
    Ok(Built { plan, topology, network, outside_proc })
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
    let Built { plan, topology, network, outside_proc } = built;
    let endpoint = ("endpoint", super::ROUTER, &network.router, &plan.endpoint_arguments);
    let onprem = ("onprem", super::CUSTOMER_GATEWAY, &network.customer_gateway, &plan.onprem_arguments);
    let mut processes = Vec::new();
    let mut reports = Vec::new();
    for (name, place, namespace, arguments) in [endpoint, onprem] {
        let setup = ChildSetup { network: Some(namespace.try_clone()?.into_fd()), ..ChildSetup::default() };
        let (pid, report) = spawn(name, &plan, directories, arguments, setup)?;
        let outside_pid = outside_proc.as_ref().and_then(|proc| outside_pid(proc, pid));
        processes.push(Process { name, namespace: place, pid, outside_pid });
        reports.push((name, report));
    }
    for (name, report) in reports {
        let ready = wait_until_ready(name, report);
        tokio::select! {
            ready = ready => ready.map_err(|fault| fault.at(format!("{name} process")).remedy(format!("read {}", directories.log(name).display())))?,
            _ = ends.terminate.recv() => return Err(Fault::new("it was told to end before it was up")),
        }
    }
    let lab =
        Lab { plan, topology, directories: directories.clone(), network, processes, started: started.to_owned(), end };
    Ok((Arc::new(lab), ends))
}

fn spawn(
    name: &'static str,
    plan: &Plan,
    directories: &Directories,
    arguments: &[String],
    mut setup: ChildSetup,
) -> Result<(Pid, OwnedFd), Fault> {
    use rustix::pipe::{PipeFlags, pipe_with};
    let (report, writing_end) = pipe_with(PipeFlags::CLOEXEC).or_fault(|| "cannot make a pipe")?;
    let log = open_log(directories, name)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("vpce").arg(name).arg(&plan.topology);
    command.arg("--state-dir").arg(&directories.state).arg("--runtime-dir").arg(&directories.runtime);
    if let Some(path) = &plan.path {
        command.arg("--path").arg(path);
    }
    command.args(arguments).env(READY_FD, writing_end.as_raw_fd().to_string());
    command.stdin(Stdio::null()).stdout(log.try_clone().or_fault(|| "cannot share a log")?).stderr(log);
    setup.keep.push(writing_end);
    sys::set_up_child(&mut command, setup);
    let child = command.spawn().or_fault(|| format!("cannot start the {name} process"))?;
    // Reaped with all others: the handle is not needed, and does not wait when dropped.
    Ok((Pid::from_child(&child), report))
}

/// Opens a process's log, emptied: it tells about this run.
pub(super) fn open_log(directories: &Directories, name: &str) -> Result<File, Fault> {
    let path = directories.log(name);
    File::create(&path).or_fault(|| "cannot write a log").map_err(|fault| fault.at(path.display().to_string()))
}

async fn wait_until_ready(name: &str, report: OwnedFd) -> Result<(), Fault> {
    let said = async {
        rustix::io::ioctl_fionbio(&report, true)?;
        let mut line = String::new();
        BufReader::new(pipe::Receiver::from_owned_fd(report)?).take(LINE_LIMIT).read_line(&mut line).await?;
        io::Result::Ok(line)
    };
    let line = timeout(READY_PATIENCE, said)
        .await
        .map_err(|_| Fault::new(format!("the {name} process was not ready within {READY_PATIENCE:?}")))?
        .or_fault(|| "cannot hear whether a process is ready")?;
    understand(&line).unwrap_or_else(|| Err(Fault::new(format!("the {name} process ended before it was ready"))))
}

/// The process id that the machine outside knows a child by.
fn outside_pid(outside_proc: &OwnedFd, pid: Pid) -> Option<i32> {
    use rustix::fs::{Mode, OFlags};
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
    // proc(5): fdinfo of a pidfd shows the id in the PID namespace of that /proc.
    let path = format!("self/fdinfo/{}", pidfd.as_raw_fd());
    let info = rustix::fs::openat(outside_proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let text = io::read_to_string(File::from(info)).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
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
            _ = ends.child.recv() => if let Some(lost) = reap(&lab.processes) { break lost },
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
    end_processes(&lab.processes, &mut ends.child, &end).await;
    Ok(end)
}

/// Returns when the other end of a pipe has closed.
async fn closed(fd: OwnedFd) {
    let Ok(()) = rustix::io::ioctl_fionbio(&fd, true) else { return };
    let Ok(mut receiver) = pipe::Receiver::from_owned_fd(fd) else { return };
    let mut byte = [0];
    while matches!(receiver.read(&mut byte).await, Ok(1..)) {}
}

/// Reaps every process of the lab that has ended, and says whether an essential one was among them.
fn reap(processes: &[Process]) -> Option<End> {
    let mut lost = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if let Some(process) = processes.iter().find(|process| process.pid == pid) {
            let status = ExitStatus::from_raw(status.as_raw());
            tracing::error!(process = process.name, %status, "an essential process ended");
            lost.get_or_insert(End::Lost { process: process.name, status });
        }
    }
    lost
}

/// Asks the essential processes to end, and waits for them a while. What is left ends with this process.
async fn end_processes(processes: &[Process], child: &mut Signal, end: &End) {
    let mut left: BTreeMap<i32, &'static str> =
        processes.iter().map(|process| (process.pid.as_raw_pid(), process.name)).collect();
    if let End::Lost { process: lost, .. } = end {
        left.retain(|_, name| name != lost);
    }
    for pid in left.keys().filter_map(|pid| Pid::from_raw(*pid)) {
        _ = sys::send_signal(pid, libc::SIGTERM);
    }
    let all_gone = async {
        while !left.is_empty() {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, _))) => drop(left.remove(&pid.as_raw_pid())),
                Ok(None) => drop(child.recv().await),
                Err(_) => break,
            }
        }
    };
    if timeout(END_PATIENCE, all_gone).await.is_err() {
        tracing::warn!("processes that did not end in time are killed");
    }
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
            let status = status(lab).await;
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

/// What runs: the lab's own view, and what its processes say of themselves.
async fn status(lab: &Lab) -> Value {
    let (endpoint, onprem) =
        tokio::join!(ask_process(lab.directories.endpoint_socket()), ask_process(lab.directories.onprem_socket()));
    let answers = [("endpoint", endpoint), ("onprem", onprem)];
    let joined = |key: &str| -> Vec<Value> {
        let lists = answers.iter().filter_map(|(name, answer)| {
            let list = answer.as_ref().ok()?.get(key)?.as_array()?.clone();
            Some(list.into_iter().map(move |mut entry| {
                if let Some(object) = entry.as_object_mut() {
                    object.insert("process".to_owned(), json!(name));
                }
                entry
            }))
        });
        lists.flatten().collect()
    };
    let topology = &lab.topology;
    let hosts: Vec<Value> = topology.hosts.iter().map(|host| json!({
        "name": host.name,
        "site": match host.site { Site::Subnet(subnet) => topology.subnets[subnet].id.as_str(), Site::OnPremises => "on-premises" },
        "ipv4": host.ipv4,
        "ipv6": host.ipv6,
    })).collect();
    let enis: Vec<Value> = topology
        .endpoint
        .enis
        .iter()
        .map(|eni| {
            json!({
                "id": eni.id, "subnet": topology.subnets[eni.subnet].id, "ipv4": eni.ipv4, "ipv6": eni.ipv6,
            })
        })
        .collect();
    let processes: Vec<Value> = lab
        .processes
        .iter()
        .zip(&answers)
        .map(|(process, (_, answer))| {
            json!({
                "name": process.name,
                "namespace": process.namespace,
                "pid": process.outside_pid,
                "answers": answer.is_ok(),
                "status": answer.as_ref().map_or_else(|fault| json!({ "error": fault }), Value::clone),
            })
        })
        .collect();
    let identities = super::secrets::Credentials::load(&lab.directories).map(|c| c.identities).unwrap_or_default();
    json!({
        "lab": lab.plan.lab,
        "running": true,
        "started": lab.started,
        "topology": lab.plan.topology,
        "region": topology.region,
        "account": topology.account,
        "vpc": { "id": topology.vpc.id, "ipv4": topology.vpc.cidr, "ipv6": topology.vpc.cidr6, "resolver": topology.vpc.resolver() },
        "endpoint": { "id": topology.endpoint.id, "enis": enis },
        "on_premises": { "ipv4": topology.on_premises.cidr, "ipv6": topology.on_premises.cidr6, "function_host": topology.on_premises.function_host },
        "path": topology.tunnel.path,
        "hosts": hosts,
        "identities": identities,
        "processes": processes,
        "enforcement": joined("enforcement"),
        "counters": joined("counters"),
        "state_folder": lab.directories.state,
        "runtime_folder": lab.directories.runtime,
    })
}

/// Asks one process for its state. On a thread-less runtime a blocking question would stop the lab's answers, so this one
/// is asked asynchronously.
async fn ask_process(path: std::path::PathBuf) -> Result<Value, Fault> {
    let conversation = async {
        let stream = control::connect(&path)?;
        stream.set_nonblocking(true)?;
        let mut stream = UnixStream::from_std(stream)?;
        stream.write_all(b"{\"do\":\"status\"}\n").await?;
        let mut line = String::new();
        BufReader::new(stream.take(LINE_LIMIT)).read_line(&mut line).await?;
        io::Result::Ok(line)
    };
    let line = timeout(PATIENCE, conversation)
        .await
        .map_err(|_| Fault::new("no answer in time"))?
        .or_fault(|| "nobody answers")?;
    Answer::understand(&line)
}
