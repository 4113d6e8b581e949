//! One execution environment: a child process, its Runtime API slot, its output, its end.
//!
//! A process leads a process group of its own, which is killed as one. Both output streams are one pipe, so that the log
//! keeps their order. The memory limit is enforced by watching the resident memory of the process and its descendants
//! every [`WATCH_INTERVAL`] while it works, and killing the group when it is exceeded. `RLIMIT_AS` would be prompt, but
//! counts address space, of which Go, Node.js and the JVM reserve gigabytes that they never touch; Lambda limits memory.
//! A process that allocates fast may thus exceed its limit for some milliseconds, and exit by our hand, not by its own.
//!
//! Limits: [`OPEN_FILES`] descriptors (as in Lambda), no core dumps. A descendant that leaves the process group survives
//! a kill; one that does not survives only a SIGKILL of this program, which kills the process itself (`PR_SET_PDEATHSIG`).

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::sync::watch;
use tokio::time::Instant;

use super::launch::{Instance, Launch};
use super::log_tail::{LogTail, stream_name};
use super::runtime_api::{self, RuntimeSlot};
use super::{epoch_ms, lock};
use crate::edge::child::confine;
use crate::edge::readable::Readable;
use crate::time::UnixTime;

/// Open files of one process. Lambda's quota.
const OPEN_FILES: u64 = 1024;
/// How often the memory of a working process is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(10);
/// Output read in one go, before others get their turn.
const DRAIN_LIMIT: usize = 256 * 1024;
/// Processes whose memory is added up, so that a fork bomb cannot keep us counting.
const FAMILY_LIMIT: usize = 64;

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Exit(ExitStatus);

/// Why something that was waited for did not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    TimedOut,
    Exited(Exit),
    OutOfMemory,
}

/// A running process, or one that has ended and is still looked at.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) version: String,
    pub(super) slot: Arc<RuntimeSlot>,
    pub(super) log: Mutex<LogTail>,
    pub(super) invocations: AtomicU64,
    pub(super) started: Instant,
    function: String,
    output: Readable,
    /// Bytes; more is a reason to be killed.
    memory_limit: u64,
    /// Bytes, the most seen so far.
    memory_peak: AtomicU64,
    /// Until it has been waited for; as long as it is here, its process id is not reused.
    child: Mutex<Option<Child>>,
    exit: watch::Sender<Option<Exit>>,
}

impl Process {
    /// Starts a process. It ends with this program, or by [`Self::kill`].
    ///
    /// # Errors
    /// In words for the function's caller.
    pub(super) async fn start(
        launch: &Launch,
        function: &str,
        version: &str,
        memory_mb: u32,
    ) -> Result<Arc<Self>, String> {
        let (listener, runtime_api) = runtime_api::listen()
            .await
            .map_err(|error| format!("the Runtime API cannot listen on the loopback interface: {error}"))?;
        let log_stream = stream_name(UnixTime::from_nanos(epoch_ms().saturating_mul(1_000_000)), version);
        let mut command = launch.command(&Instance { runtime_api, version, log_stream: &log_stream }).await?;
        let program = command.get_program().display().to_string();
        confine(&mut command, OPEN_FILES);

        let cannot = |what: &str, error: std::io::Error| format!("{what}: {error}");
        let (output, write_end) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|error| cannot("cannot make a pipe", error.into()))?;
        // Only our end: a function's runtime expects its output to block.
        rustix::io::ioctl_fionbio(&output, true).map_err(|error| cannot("cannot make a pipe", error.into()))?;
        let output = Readable::new(output).map_err(|error| cannot("cannot watch a pipe", error))?;
        let second = write_end.try_clone().map_err(|error| cannot("cannot make a pipe", error))?;
        command.stdout(Stdio::from(write_end)).stderr(Stdio::from(second));

        let mut child = command.spawn().map_err(|error| format!("fork/exec {program}: {}", describe(&error)))?;
        // Otherwise our copies of the pipe's write end stay open.
        drop(command);
        let pid = child.id();
        let watched = pid_of(pid)
            .ok_or(Errno::SRCH)
            .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()))
            .map_err(std::io::Error::from)
            .and_then(Readable::new);
        let pidfd = match watched {
            Ok(pidfd) => pidfd,
            Err(error) => {
                // Nobody would notice its end: better none at all.
                drop(child.kill());
                drop(child.wait());
                return Err(cannot("cannot watch a process", error));
            }
        };
        let process = Arc::new(Self {
            pid,
            version: version.to_owned(),
            slot: Arc::new(RuntimeSlot::new()),
            log: Mutex::default(),
            invocations: AtomicU64::new(0),
            started: Instant::now(),
            function: function.to_owned(),
            output,
            memory_limit: u64::from(memory_mb) * 1024 * 1024,
            memory_peak: AtomicU64::new(0),
            child: Mutex::new(Some(child)),
            exit: watch::Sender::new(None),
        });
        tracing::debug!(function, version, pid, %runtime_api, "process started");
        let server = tokio::spawn(runtime_api::serve(listener, process.slot.clone()));
        let pump = tokio::spawn(pump(process.clone()));
        tokio::spawn(reap(process.clone(), pidfd, [server.abort_handle(), pump.abort_handle()]));
        Ok(process)
    }

    /// Waits for `event`, but not beyond `deadline`, the process's end, or its memory limit. What happened first counts;
    /// of what happened at the same time, `event`.
    pub(super) async fn watch_while<T>(&self, deadline: Instant, event: impl Future<Output = T>) -> Result<T, Fault> {
        let mut event = std::pin::pin!(event);
        let mut exited = std::pin::pin!(self.exited());
        let mut look = Instant::now() + WATCH_INTERVAL;
        loop {
            tokio::select! {
                biased;
                value = &mut event => return Ok(value),
                exit = &mut exited => return Err(Fault::Exited(exit)),
                () = tokio::time::sleep_until(look.min(deadline)) => {
                    let now = Instant::now();
                    if now >= deadline {
                        return Err(Fault::TimedOut);
                    }
                    look = now + WATCH_INTERVAL;
                    if self.observe_memory() > self.memory_limit {
                        return Err(Fault::OutOfMemory);
                    }
                }
            }
        }
    }

    /// Until the process has ended.
    pub(super) async fn exited(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        loop {
            if let Some(exit) = *exit.borrow_and_update() {
                return exit;
            }
            // The sender lives in `self`, so the wait cannot fail.
            exit.changed().await.ok();
        }
    }

    pub(super) fn has_exited(&self) -> bool {
        self.exit.borrow().is_some()
    }

    /// Kills the process and its group.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Sends a signal to the process's group, if the process has not been waited for.
    pub(super) fn signal(&self, signal: Signal) {
        let child = lock(&self.child);
        if let Some(pid) = child.as_ref().and_then(|child| pid_of(child.id())) {
            // It may have ended, and then there is nothing left to do.
            rustix::process::kill_process_group(pid, signal).ok();
        }
    }

    /// Moves what the process has written into the log. What it wrote before it answered is then there.
    pub(super) fn drain_output(&self) {
        let mut buffer = [0; 16 * 1024];
        let mut budget = DRAIN_LIMIT;
        while budget > 0 {
            match rustix::io::read(&self.output, &mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(length) => {
                    self.record_output(&buffer[..length]);
                    budget = budget.saturating_sub(length);
                }
            }
        }
    }

    fn record_output(&self, output: &[u8]) {
        lock(&self.log).write(output);
        if tracing::enabled!(tracing::Level::TRACE) {
            for line in output.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                tracing::trace!(function = self.function, pid = self.pid, line = %String::from_utf8_lossy(line), "log");
            }
        }
    }

    /// The most memory seen so far, MB, begun ones as full.
    pub(super) fn memory_peak_mb(&self) -> u64 {
        if let Some(peak) = high_water_mark(self.pid) {
            self.memory_peak.fetch_max(peak, Ordering::Relaxed);
        }
        self.memory_peak.load(Ordering::Relaxed).div_ceil(1024 * 1024)
    }

    /// Bytes in use now by the process and its descendants.
    fn observe_memory(&self) -> u64 {
        let in_use = family_memory(self.pid);
        self.memory_peak.fetch_max(in_use, Ordering::Relaxed);
        in_use
    }
}

impl Drop for Process {
    /// Reached with a running process only if the async runtime ends before us.
    fn drop(&mut self) {
        self.kill();
        if let Some(mut child) = lock(&self.child).take() {
            drop(child.try_wait());
        }
    }
}

impl fmt::Display for Exit {
    /// As Lambda words it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.signal()) {
            (Some(0), _) => write!(f, "Runtime exited without providing a reason"),
            (Some(code), _) => write!(f, "Runtime exited with error: exit status {code}"),
            (None, signal) => write!(f, "Runtime exited with error: signal: {}", signal_name(signal.unwrap_or(0))),
        }
    }
}

/// Go's names, for Lambda's supervisor is written in Go.
fn signal_name(signal: i32) -> std::borrow::Cow<'static, str> {
    let name = match Signal::from_named_raw(signal) {
        Some(Signal::HUP) => "hangup",
        Some(Signal::INT) => "interrupt",
        Some(Signal::QUIT) => "quit",
        Some(Signal::ILL) => "illegal instruction",
        Some(Signal::TRAP) => "trace/breakpoint trap",
        Some(Signal::ABORT) => "aborted",
        Some(Signal::BUS) => "bus error",
        Some(Signal::FPE) => "floating point exception",
        Some(Signal::KILL) => "killed",
        Some(Signal::USR1) => "user defined signal 1",
        Some(Signal::SEGV) => "segmentation fault",
        Some(Signal::USR2) => "user defined signal 2",
        Some(Signal::PIPE) => "broken pipe",
        Some(Signal::ALARM) => "alarm clock",
        Some(Signal::TERM) => "terminated",
        _ => return format!("signal {signal}").into(),
    };
    name.into()
}

fn describe(error: &std::io::Error) -> String {
    // Go's words for the two that a function's author causes; ours otherwise.
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ACCESS) => "permission denied".into(),
        Some(Errno::NOENT) => "no such file or directory".into(),
        _ => error.to_string(),
    }
}

fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Reads the process's output until nobody can write to it any more.
async fn pump(process: Arc<Process>) {
    let mut buffer = vec![0; 16 * 1024];
    // Another reader (`drain_output`) may have been faster: then this one finds nothing, and waits again.
    while let Ok(length) = process.output.read_with(|fd| Ok(rustix::io::read(fd, &mut buffer[..])?)).await {
        if length == 0 {
            return;
        }
        process.record_output(&buffer[..length]);
    }
}

/// Waits for the process's end, ends what is left of its group, and tells everyone.
async fn reap(process: Arc<Process>, pidfd: Readable, servants: [tokio::task::AbortHandle; 2]) {
    // A pidfd is readable once the process has ended (pidfd_open(2)). If the wait fails, the runtime is shutting down.
    if pidfd.ready().await.is_err() {
        process.kill();
    }
    // Not waited for yet, so the group's id is still the process's own.
    process.kill();
    process.drain_output();
    let child = lock(&process.child).take();
    let status = child.and_then(|mut child| child.wait().ok()).unwrap_or_else(|| ExitStatus::from_raw(0));
    tracing::debug!(function = process.function, pid = process.pid, %status, "process ended");
    process.exit.send_replace(Some(Exit(status)));
    for servant in servants {
        servant.abort();
    }
}

/// `VmHWM` of proc_pid_status(5), in bytes; none if the process has ended.
fn high_water_mark(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Resident memory of a process and its descendants, bytes.
fn family_memory(pid: u32) -> u64 {
    let page = rustix::param::page_size() as u64;
    let mut family = vec![pid];
    let mut sum = 0;
    let mut next = 0;
    while let Some(&member) = family.get(next) {
        next += 1;
        // proc_pid_statm(5): the second number is the resident pages.
        if let Ok(statm) = std::fs::read_to_string(format!("/proc/{member}/statm")) {
            sum += statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * page;
        }
        // Children of the main thread: those of other threads are rare, and not worth a look at every thread.
        if let Ok(children) = std::fs::read_to_string(format!("/proc/{member}/task/{member}/children")) {
            let room = FAMILY_LIMIT.saturating_sub(family.len());
            family.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()).take(room));
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    // Texts recorded from Lambda (`docs/fidelity.md#function-errors`), signals by Go's names.
    #[test]
    fn an_exit_is_worded_as_lambda_words_it() {
        for (raw, words) in [
            (0, "Runtime exited without providing a reason"),
            (127 << 8, "Runtime exited with error: exit status 127"),
            (9, "Runtime exited with error: signal: killed"),
            (11, "Runtime exited with error: signal: segmentation fault"),
        ] {
            assert_eq!(Exit(ExitStatus::from_raw(raw)).to_string(), words);
        }
    }

    #[test]
    fn our_own_memory_can_be_read() {
        let us = std::process::id();
        let (now, peak) = (family_memory(us), high_water_mark(us).unwrap());
        assert!(now > 100_000 && peak > 100_000, "{now} {peak}");
        assert_eq!(family_memory(u32::MAX), 0);
        assert_eq!(high_water_mark(u32::MAX), None);
    }
}
