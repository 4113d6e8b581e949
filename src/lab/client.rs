//! Talking to a lab from outside: what runs, and how to end it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Directories, Folders};
use crate::edge::control::{self, Answer};
use crate::edge::{Fault, OrFault};
use crate::time::UnixTime;

/// How a lab's last run went.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LastRun {
    /// Built-in name or path of the topology it began with.
    #[serde(default)]
    pub topology: Option<String>,
    /// ISO 8601.
    pub started: String,
    /// ISO 8601; `None` while it runs, and for ever if its supervisor was killed.
    pub ended: Option<String>,
    /// Why it ended.
    pub reason: Option<String>,
}

impl LastRun {
    /// Writes it down.
    ///
    /// # Errors
    /// When the state folder cannot be written to.
    pub fn write(&self, directories: &Directories) -> Result<(), Fault> {
        let text = serde_json::to_string_pretty(self).or_fault(|| "cannot phrase how the lab ended")?;
        std::fs::write(directories.last_run(), text).or_fault(|| "cannot write down how the lab ended")
    }

    /// Reads it; `None` if there was no run.
    pub fn read(directories: &Directories) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(directories.last_run()).ok()?).ok()
    }

    /// One sentence.
    pub fn sentence(&self) -> String {
        match (&self.ended, &self.reason) {
            (Some(ended), Some(reason)) => format!("its last run ended {ended}: {reason}"),
            _ => format!("its last run, started {}, was killed before it could say why", self.started),
        }
    }
}

/// The time of day, ISO 8601.
pub fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_secs(since.as_secs()).to_iso8601()
}

/// The supervisor of a running lab, as a process that can be waited for.
#[derive(Debug)]
pub struct Supervisor {
    /// Its process id.
    pub pid: i32,
    pidfd: OwnedFd,
}

impl Supervisor {
    /// Finds it; `None` when the lab does not run.
    pub fn find(directories: &Directories) -> Option<Self> {
        let stream = control::connect(&directories.control_socket()).ok()?;
        let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
        // Still the process that answers at the socket: it has not accepted the connection's end yet.
        let pidfd = pidfd_open(peer.pid, PidfdFlags::empty()).ok()?;
        Some(Self { pid: peer.pid.as_raw_pid(), pidfd })
    }

    /// Waits until it has ended, at most `seconds`. Says whether it has.
    pub fn wait(&self, seconds: i64) -> bool {
        wait_for_end(&self.pidfd, seconds)
    }

    fn kill(&self) -> io::Result<()> {
        pidfd_send_signal(&self.pidfd, Signal::KILL).map_err(Into::into)
    }
}

/// Waits until a process has ended, at most `seconds`. Says whether it has.
pub(super) fn wait_for_end(pidfd: &OwnedFd, seconds: i64) -> bool {
    let limit = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let mut watched = [PollFd::new(pidfd, PollFlags::IN)];
    matches!(rustix::io::retry_on_intr(|| poll(&mut watched, Some(&limit))), Ok(1..))
}

/// What a running lab says of itself, the supervisor's process id added.
///
/// # Errors
/// When it does not run; the fault tells how its last run ended.
pub fn status(directories: &Directories, name: &str) -> Result<Value, Fault> {
    let supervisor = Supervisor::find(directories).ok_or_else(|| not_running(directories, name))?;
    let mut status = control::ask(&directories.control_socket(), &json!({ "do": "status" }))?;
    if let Some(object) = status.as_object_mut() {
        object.insert("supervisor_pid".to_owned(), json!(supervisor.pid));
    }
    Ok(status)
}

/// The fault of a lab that does not run.
pub fn not_running(directories: &Directories, name: &str) -> Fault {
    let last = LastRun::read(directories);
    let how = last.as_ref().map_or_else(String::new, |last| format!("; {}", last.sentence()));
    let mut command = "vpce lab up".to_owned();
    if name != super::source::DEFAULT {
        let topology = last.and_then(|last| last.topology);
        command = format!("{command} {} --lab {name}", topology.as_deref().unwrap_or("TOPOLOGY"));
    }
    let fault = Fault::new(format!("the lab {name} is not running{how}")).remedy(command);
    if directories.logs().exists() { fault.at(format!("logs in {}", directories.logs().display())) } else { fault }
}

/// Ends a lab: asks first, then kills. Says whether there was one.
///
/// # Errors
/// When it cannot even be killed.
pub fn down(directories: &Directories) -> Result<bool, Fault> {
    let Some(supervisor) = Supervisor::find(directories) else {
        // What a killed supervisor could not tidy up.
        super::up::remove_stale_runtime(directories)?;
        return Ok(false);
    };
    if control::ask(&directories.control_socket(), &json!({ "do": "down" })).is_err() || !supervisor.wait(5) {
        supervisor.kill().or_fault(|| format!("cannot kill the lab's supervisor, process {}", supervisor.pid))?;
        if !supervisor.wait(5) {
            return Err(Fault::new("the lab does not end").at(format!("process {}", supervisor.pid)));
        }
        super::up::remove_stale_runtime(directories)?;
    }
    Ok(true)
}

/// The names of the labs that run.
pub fn running(folders: &Folders) -> Vec<String> {
    let runs = |directories: Directories| control::connect(&directories.control_socket()).is_ok();
    folders.names().into_iter().filter(|name| folders.of(name).is_ok_and(runs)).collect()
}

/// The lab that a command means: the named one, else the only one that runs, else the default.
///
/// # Errors
/// When several run and none is named.
pub fn choose(folders: &Folders, name: Option<&str>) -> Result<String, Fault> {
    if let Some(name) = name {
        return Ok(name.to_owned());
    }
    let mut running = running(folders);
    match running.len() {
        0 => Ok(super::source::DEFAULT.to_owned()),
        1 => Ok(running.remove(0)),
        _ => Err(Fault::new("several labs are running").remedy(format!("name one with --lab: {}", running.join(", ")))),
    }
}

/// The namespaces of a machine of a running lab.
#[derive(Debug)]
pub struct Joined {
    /// The lab's user namespace.
    pub user: OwnedFd,
    /// The lab's PID namespace.
    pub pid: OwnedFd,
    /// The machine's network namespace.
    pub network: OwnedFd,
    /// What came with them: `lab`, `region`, `own_files`.
    pub about: Value,
}

/// Asks a running lab for the namespaces of `host`.
///
/// # Errors
/// When it does not run or has no such host.
pub fn join(directories: &Directories, name: &str, host: &str) -> Result<Joined, Fault> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let stream = control::connect(&directories.control_socket()).map_err(|_| not_running(directories, name))?;
    control::send_line(&stream, &json!({ "do": "join", "host": host }))?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 4096];
    let received =
        recvmsg(stream.as_fd(), &mut [io::IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
            .or_fault(|| "the lab does not answer")?;
    let mut descriptors: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    let about = Answer::understand(&String::from_utf8_lossy(&bytes[..received.bytes]))?;
    match (descriptors.pop(), descriptors.pop(), descriptors.pop()) {
        (Some(network), Some(pid), Some(user)) => Ok(Joined { user, pid, network, about }),
        _ => Err(Fault::new("the lab sent no namespaces")),
    }
}

/// A process id as a handle that can be waited for.
pub(super) fn pidfd(pid: Pid) -> Result<OwnedFd, Fault> {
    pidfd_open(pid, PidfdFlags::empty()).or_fault(|| "cannot watch a process")
}
