//! The essential processes: starting them, hearing that they are ready, and ending them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, WaitOptions};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::signal::unix::Signal;
use tokio::time::timeout;

use super::{End, Plan};
use crate::edge::control::LINE_LIMIT;
use crate::edge::readiness::{READY_FD, understand};
use crate::edge::sys::{self, ChildSetup};
use crate::edge::{Fault, OrFault};
use crate::lab::Directories;

/// How long an essential process may take to become ready. Python function hosts start slowly on loaded machines.
const READY_PATIENCE: Duration = Duration::from_secs(15);

/// How long the essential processes may take to end when asked to.
const END_PATIENCE: Duration = Duration::from_secs(3);

/// An essential process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) name: &'static str,
    pub(super) namespace: &'static str,
    pub(super) pid: Pid,
    /// As the machine outside sees it, if /proc could tell.
    pub(super) outside_pid: Option<i32>,
}

/// Starts one; the second of what it returns tells when it is ready.
pub(super) fn spawn(
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
    if plan.lenient {
        command.arg("--lenient");
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
pub(in crate::lab) fn open_log(directories: &Directories, name: &str) -> Result<File, Fault> {
    let path = directories.log(name);
    File::create(&path).or_fault(|| "cannot write a log").map_err(|fault| {
        fault.at(path.display().to_string()).remedy("move away what is there, or set VPCE_STATE to another folder")
    })
}

pub(super) async fn wait_until_ready(name: &str, report: OwnedFd) -> Result<(), Fault> {
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
pub(super) fn outside_pid(outside_proc: &OwnedFd, pid: Pid) -> Option<i32> {
    use rustix::fs::{Mode, OFlags};
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
    // proc(5): fdinfo of a pidfd shows the id in the PID namespace of that /proc.
    let path = format!("self/fdinfo/{}", pidfd.as_raw_fd());
    let info = rustix::fs::openat(outside_proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let text = io::read_to_string(File::from(info)).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
}

/// Reaps every process of the lab that has ended, and says whether an essential one was among them.
pub(super) fn reap(processes: &[Process]) -> Option<End> {
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
pub(super) async fn end_processes(processes: &[Process], child: &mut Signal, end: &End) {
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
