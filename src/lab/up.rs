//! Starting a lab: folders and secrets first, then one process in new namespaces, which becomes its supervisor.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;
use serde_json::Value;

use super::source::Source;
use super::supervisor::{Plan, open_log};
use super::{Directories, client, host_files, requirements, secrets};
use crate::edge::readiness::{READY_FD, understand};
use crate::edge::sys::{self, Program};
use crate::edge::tun;
use crate::edge::{Fault, OrFault, namespace};

/// What is wanted of a lab.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Its name, if not the topology's.
    pub name: Option<String>,
    /// Path profile, if not the topology's.
    pub path: Option<String>,
    /// End a running lab of the same name first.
    pub replace: bool,
    /// Accept policies that AWS refuses but people paste.
    pub lenient: bool,
    /// More arguments for `vpce endpoint`.
    pub endpoint_arguments: Vec<String>,
    /// More arguments for `vpce onprem`.
    pub onprem_arguments: Vec<String>,
    /// Whether the lab ends with the [`Running`] that [`up`] returns.
    pub owned: bool,
}

/// Why a lab did not come up.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// One of that name runs.
    #[error("{0}")]
    Running(Fault),
    /// This machine lacks something.
    #[error("{0}")]
    Missing(Fault),
    /// The topology does not have what was asked for.
    #[error("{0}")]
    Wish(Fault),
    /// Something else.
    #[error("{0}")]
    Failed(Fault),
}

impl From<Fault> for UpError {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

/// A lab that is up.
#[derive(Debug)]
pub struct Running {
    /// Its folders.
    pub directories: Directories,
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub status: Value,
    /// Closing this ends the lab, if it is owned.
    lifeline: Option<OwnedFd>,
    supervisor: OwnedFd,
}

impl Running {
    /// Whether its supervisor still runs. It is a child of this process: its end is announced by SIGCHLD.
    pub fn is_alive(&self) -> bool {
        !client::wait_for_end(&self.supervisor, 0)
    }

    /// Ends the lab and waits until it has.
    ///
    /// # Errors
    /// See [`client::down`].
    pub fn down(mut self) -> Result<(), Fault> {
        drop(self.lifeline.take());
        client::down(&self.directories).map(drop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.lifeline.take().is_some() {
            // An owned lab that was not brought down: wait for its graceful end, so that a second one finds room.
            client::wait_for_end(&self.supervisor, 5);
        }
    }
}

/// Brings a lab up and returns when everything in it is ready.
///
/// # Errors
/// [`UpError`]; nothing is left behind then.
pub fn up(source: &Source, folders: &super::Folders, wishes: &Wishes) -> Result<Running, UpError> {
    up_with_progress(source, folders, wishes, &mut |_| {})
}

/// As [`up`]; while the lab starts, `progress` is told every tenth of a second for how long it has been starting.
///
/// # Errors
/// As for [`up`].
pub fn up_with_progress(
    source: &Source,
    folders: &super::Folders,
    wishes: &Wishes,
    progress: &mut dyn FnMut(Duration),
) -> Result<Running, UpError> {
    let mut topology = source.topology.clone();
    if let Some(path) = &wishes.path {
        super::source::use_path(&mut topology, path).map_err(UpError::Wish)?;
    }
    let name = wishes.name.clone().unwrap_or_else(|| topology.name.clone());
    let directories = folders.of(&name).map_err(UpError::Wish)?;
    // Said at once, not after half of the work: a device file is quickly tried.
    drop(tun::open_device_file().map_err(UpError::Missing)?);
    directories.create()?;
    let lock = acquire(&directories, &name, wishes.replace)?;
    clear(&directories.runtime)?;
    let plan = Plan {
        lab: name.clone(),
        topology: source.origin.clone(),
        path: wishes.path.clone(),
        lenient: wishes.lenient,
        endpoint_arguments: wishes.endpoint_arguments.clone(),
        onprem_arguments: wishes.onprem_arguments.clone(),
    };
    let plan = serde_json::to_string_pretty(&plan).or_fault(|| "cannot phrase the lab's plan")?;
    std::fs::write(directories.plan(), plan).or_fault(|| "cannot write the lab's plan")?;
    secrets::create(&directories, &topology)?;
    host_files::write(&directories, &topology)?;
    let topology = Some(source.origin.clone());
    client::LastRun { topology, started: client::now(), ended: None, reason: None }.write(&directories)?;
    start(&directories, name, lock, wishes.owned, progress)
}

/// How long another lab of the same name may be about to run or about to be gone.
const BETWEEN: Duration = Duration::from_secs(5);

/// Locks the runtime folder, unless a lab runs there that is not to be replaced. One that was just killed is waited for:
/// its lock is held until the kernel has ended its last process.
fn acquire(directories: &Directories, name: &str, replace: bool) -> Result<File, UpError> {
    const STEP: Duration = Duration::from_millis(10);
    let mut waited = Duration::ZERO;
    while waited < BETWEEN {
        if let Some(lock) = try_lock(directories)? {
            return Ok(lock);
        }
        let is_running = client::Supervisor::find(directories).is_some();
        if is_running && !replace {
            let fault = Fault::new(format!("the lab {name} is already running"))
                .remedy("`vpce lab up --replace` starts it afresh, `vpce lab down` ends it");
            return Err(UpError::Running(fault));
        }
        if is_running {
            client::down(directories)?;
            directories.create()?;
        }
        std::thread::sleep(STEP);
        waited += STEP;
    }
    Err(Fault::new(format!("the lab {name} is being started by somebody else")).remedy("try again").into())
}

/// Locks the runtime folder; `None` when a supervisor holds it. The kernel unlocks it when that ends, however it ends.
fn try_lock(directories: &Directories) -> Result<Option<File>, Fault> {
    let path = directories.lock();
    loop {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .or_fault(|| "cannot lock the runtime folder")
            .map_err(|fault| fault.at(path.display().to_string()))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(Fault::new(format!("cannot lock the runtime folder: {errno}"))),
        }
        // A supervisor that ends removes the folder: a lock on a file that is gone would protect nothing.
        let same = |a: rustix::fs::Stat, b: rustix::fs::Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        if let (Ok(held), Ok(there)) = (rustix::fs::fstat(&file), rustix::fs::stat(&path))
            && same(held, there)
        {
            return Ok(Some(file));
        }
        super::directories::create_private(&directories.runtime)?;
    }
}

/// Removes everything from a runtime folder except its lock.
fn clear(runtime: &Path) -> Result<(), Fault> {
    let remove = || {
        for entry in std::fs::read_dir(runtime)? {
            let entry = entry?;
            if entry.file_name() == "lock" {
                continue;
            }
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        io::Result::Ok(())
    };
    remove().or_fault(|| "cannot clear the runtime folder").map_err(|fault| fault.at(runtime.display().to_string()))
}

/// Removes the runtime folder of a lab whose supervisor was killed; does nothing while one lives.
pub(super) fn remove_stale_runtime(directories: &Directories) -> Result<(), Fault> {
    if !directories.runtime.exists() {
        return Ok(());
    }
    if let Some(_lock) = try_lock(directories)? {
        std::fs::remove_dir_all(&directories.runtime)
            .or_fault(|| "cannot remove the runtime folder")
            .map_err(|fault| fault.at(directories.runtime.display().to_string()))?;
    }
    Ok(())
}

/// The supervisor's descriptors beyond the standard ones: where it reports, its lock (which it only has to keep open),
/// and, in an owned lab, the end of the lifeline.
const READY: i32 = 3;
/// Number of the lifeline's reading end in the supervisor of an owned lab.
pub const LIFELINE: i32 = READY + 2;

fn start(
    directories: &Directories,
    name: String,
    lock: File,
    owned: bool,
    progress: &mut dyn FnMut(Duration),
) -> Result<Running, UpError> {
    use rustix::pipe::{PipeFlags, pipe_with};
    let pipe = || pipe_with(PipeFlags::CLOEXEC).or_fault(|| "cannot make a pipe");
    let (report, writing_end) = pipe()?;
    let log = open_log(directories, "supervisor")?;
    let null = File::open("/dev/null").or_fault(|| "cannot open /dev/null")?;
    let second_log = log.try_clone().or_fault(|| "cannot share a log")?;
    let mut descriptors: Vec<OwnedFd> = vec![null.into(), log.into(), second_log.into(), writing_end, lock.into()];
    let lifeline = if owned {
        let (reading_end, lifeline) = pipe()?;
        descriptors.push(reading_end);
        Some(lifeline)
    } else {
        None
    };
    let program = supervisor_program(directories, descriptors, owned)?;
    let gated = sys::start_in_namespaces(&program).map_err(|error| {
        let fault = Fault::new(format!("cannot make the lab's namespaces: {error}"));
        UpError::Missing(requirements::user_namespace_remedy(fault))
    })?;
    let supervisor = client::pidfd(gated.pid())?;
    // From here on a failure ends the child by itself: dropping its gate or its pipes is enough.
    namespace::write_id_maps(gated.pid())
        .map_err(|fault| UpError::Missing(requirements::user_namespace_remedy(fault)))?;
    gated.open().or_fault(|| "cannot start the lab's supervisor")?;
    // Ours of the pipe would keep the report open for ever.
    drop(program);
    let line = hear(report, progress).or_fault(|| "cannot hear from the lab's supervisor")?;
    let ready = understand(&line).unwrap_or_else(|| {
        Err(Fault::new("the lab's supervisor ended without a word")
            .at(directories.log("supervisor").display().to_string()))
    });
    match ready.and_then(|()| client::status(directories, &name)) {
        Ok(status) => Ok(Running { directories: directories.clone(), name, status, lifeline, supervisor }),
        Err(fault) => {
            client::wait_for_end(&supervisor, 5);
            Err(requirements::explain(fault))
        }
    }
}

/// Waits for the supervisor's line.
fn hear(report: OwnedFd, progress: &mut dyn FnMut(Duration)) -> io::Result<String> {
    const STEP: Duration = Duration::from_millis(100);
    let step = Timespec { tv_sec: 0, tv_nsec: STEP.subsec_nanos().into() };
    let mut waited = Duration::ZERO;
    while rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&report, PollFlags::IN)], Some(&step)))? == 0 {
        waited += STEP;
        progress(waited);
    }
    let mut line = String::new();
    io::BufRead::read_line(&mut io::BufReader::new(File::from(report)), &mut line)?;
    Ok(line)
}

fn supervisor_program(directories: &Directories, descriptors: Vec<OwnedFd>, owned: bool) -> Result<Program, Fault> {
    let string = |text: OsString| CString::new(text.into_vec()).or_fault(|| "an argument contains a zero byte");
    let mut arguments = vec!["vpce".into(), "lab".into(), "supervise".into()];
    arguments.push(directories.state.clone().into_os_string());
    arguments.push(directories.runtime.clone().into_os_string());
    if owned {
        arguments.push("--owned".into());
    }
    let ready = OsString::from(format!("{READY_FD}={READY}"));
    let environment = std::env::vars_os().filter(|(name, _)| name != READY_FD).map(|(name, value)| {
        let mut pair = name;
        pair.push("=");
        pair.push(value);
        pair
    });
    Ok(Program {
        path: c"/proc/self/exe".to_owned(),
        arguments: arguments.into_iter().map(string).collect::<Result<_, _>>()?,
        environment: environment.chain([ready]).map(string).collect::<Result<_, _>>()?,
        descriptors,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_held_by_one_and_survives_the_removal_of_its_folder() {
        let base = tempfile::tempdir().expect("folder");
        let directories = Directories { state: base.path().join("s"), runtime: base.path().join("r") };
        directories.create().expect("created");
        let first = try_lock(&directories).expect("tried").expect("free");
        assert!(try_lock(&directories).expect("tried").is_none());
        std::fs::remove_dir_all(&directories.runtime).expect("removed");
        drop(first);
        directories.create().expect("created again");
        assert!(try_lock(&directories).expect("tried").is_some());
    }
}
