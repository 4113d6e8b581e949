//! Running a program on a machine of a lab: in its network, with its resolver, and set up as an AWS client.
//!
//! The program runs as a child in the lab's user and PID namespaces, so it ends with the lab; it keeps the caller's
//! terminal, working folder and files. What it sees in /etc/resolv.conf, hosts and nsswitch.conf is the machine's own.
//! Its certificate bundle is the lab's authority alone: nothing else can be reached from a lab, so nothing else is to be
//! trusted there.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use rustix::mount::{MountFlags, mount, mount_bind};
use rustix::process::{Pid, WaitOptions};
use rustix::thread::UnshareFlags;

use super::secrets::AccessKey;
use super::{Directories, client, host_files};
use crate::edge::sys::{self, ChildSetup, SignalWait};
use crate::edge::{Fault, OrFault, namespace};

/// What to run, where, as whom.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// The lab's name, for messages.
    pub lab: &'a str,
    /// The machine.
    pub host: &'a str,
    /// The identity whose keys the program gets.
    pub identity: &'a AccessKey,
    /// The program and its arguments.
    pub command: &'a [OsString],
    /// An interactive shell: its prompt says where it is.
    pub shell: bool,
}

/// Why a program did not run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// There is no such program, or it cannot be executed. Shells answer 127 and 126.
    #[error("{fault}")]
    Program {
        /// What is wrong with it.
        fault: Fault,
        /// The exit code a shell would give.
        code: u8,
    },
    /// The lab has no such machine.
    #[error("{0}")]
    Host(Fault),
    /// The lab is not there, or this machine refuses.
    #[error("{0}")]
    Lab(#[from] Fault),
}

/// Runs a program to its end and returns the exit code a shell would give: its own, or 128 and its signal.
///
/// Changes the calling process for good (user namespace, mounts, signal mask); it must be single-threaded.
///
/// # Errors
/// [`ExecError`].
pub fn exec(directories: &Directories, job: &Job<'_>) -> Result<u8, ExecError> {
    let joined = client::join(directories, job.lab, job.host).map_err(ExecError::Host)?;
    namespace::enter_user(&joined.user)?;
    if !namespace::is_own("pid", &joined.pid) {
        namespace::enter_pid(&joined.pid)?;
    }
    namespace::unshare_mounts()?;
    // A name of its own makes prompts and logs readable. Nothing depends on it.
    if sys::unshare(UnshareFlags::NEWUTS).is_ok() {
        _ = rustix::system::sethostname(job.host.as_bytes());
    }
    if joined.about["own_files"] == true {
        mount_host_files(&directories.host_files(job.host))?;
    }
    let mut command = command(directories, job, joined.about["region"].as_str().unwrap_or_default());
    let setup =
        ChildSetup { network: Some(joined.network), die_with_parent: true, mount_proc: true, ..ChildSetup::default() };
    sys::set_up_child(&mut command, setup);
    // Kept back before the child exists, so that none is lost between; the child starts with none blocked.
    let signals = SignalWait::block(&FORWARDED.iter().chain(&[libc::SIGCHLD]).copied().collect::<Vec<_>>())
        .or_fault(|| "cannot watch signals")?;
    let child = command.spawn().map_err(|error| program_error(job, &error))?;
    let status = wait_and_forward(Pid::from_child(&child), &signals)?;
    Ok(shell_code(status))
}

/// Signals that are passed on when a process sends them. Those from a terminal reach the program by themselves.
const FORWARDED: [libc::c_int; 7] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH];

fn wait_and_forward(child: Pid, signals: &SignalWait) -> Result<ExitStatus, Fault> {
    loop {
        let ended = rustix::process::waitpid(Some(child), WaitOptions::NOHANG).or_fault(|| "cannot wait")?;
        if let Some((_, status)) = ended {
            return Ok(ExitStatus::from_raw(status.as_raw()));
        }
        let arrived = signals.next().or_fault(|| "cannot wait for signals")?;
        if arrived.signal != libc::SIGCHLD && arrived.by_process {
            // It may have ended meanwhile; the next turn sees that.
            _ = sys::send_signal(child, arrived.signal);
        }
    }
}

fn shell_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

fn program_error(job: &Job<'_>, error: &io::Error) -> ExecError {
    let program = job.command[0].to_string_lossy();
    let (code, fault) = match error.kind() {
        io::ErrorKind::NotFound => (127, Fault::new(format!("{program}: no such program"))),
        io::ErrorKind::PermissionDenied => (126, Fault::new(format!("{program}: not executable"))),
        _ => (126, Fault::new(format!("{program}: {error}"))),
    };
    let fault = fault
        .at(format!("host {} of the lab {}", job.host, job.lab))
        .remedy("labs use this machine's programs: install it, or give its full path");
    ExecError::Program { fault, code }
}

/// Mounts the machine's files over those in /etc, and hides the socket of a name-service cache that would answer from
/// outside.
fn mount_host_files(folder: &Path) -> Result<(), Fault> {
    for name in host_files::NAMES {
        let target = Path::new("/etc").join(name);
        if target.exists() {
            mount_bind(folder.join(name), &target)
                .or_fault(|| format!("cannot put the host's own file over {}", target.display()))?;
        } else if name == "resolv.conf" {
            return Err(Fault::new("there is no /etc/resolv.conf that the host's own could be put over")
                .remedy("sudo touch /etc/resolv.conf (or mend the symbolic link there)"));
        }
    }
    let cache = Path::new("/var/run/nscd");
    if cache.is_dir() {
        mount(c"tmpfs", cache, c"tmpfs", MountFlags::empty(), None)
            .or_fault(|| "cannot hide the name-service cache in /var/run/nscd")?;
    }
    Ok(())
}

/// Variables that would make a client leave the lab or sign as somebody else.
fn is_removed(name: &str) -> bool {
    let proxy = ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy"];
    name.starts_with("AWS_") || proxy.contains(&name.to_ascii_lowercase().as_str())
}

fn command(directories: &Directories, job: &Job<'_>, region: &str) -> Command {
    let mut command = Command::new(&job.command[0]);
    command.args(&job.command[1..]);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_removed) {
            command.env_remove(name);
        }
    }
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        command.env(name, region);
    }
    command.env("AWS_ACCESS_KEY_ID", &job.identity.access_key_id);
    command.env("AWS_SECRET_ACCESS_KEY", &job.identity.secret_access_key);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    // A profile or an endpoint URL in the user's own files would lead out of the lab.
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    for name in ["AWS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
        command.env(name, directories.ca_certificate());
    }
    command.env("VPCE_LAB", job.lab).env("VPCE_HOST", job.host).env("VPCE_IDENTITY", &job.identity.name);
    if job.shell {
        let place = format!("{}@{}", job.host, job.lab);
        // Debian's and Ubuntu's bash prompts show the first; plain shells take the second.
        command.env("debian_chroot", &place).env("PS1", format!("({place}) \\w \\$ "));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_lead_out_of_the_lab_are_removed_and_others_kept() {
        for name in ["AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_LAMBDA", "https_proxy", "NO_PROXY"] {
            assert!(is_removed(name), "{name}");
        }
        for name in ["PATH", "HOME", "AWSOME", "PROXY"] {
            assert!(!is_removed(name), "{name}");
        }
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(shell_code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(shell_code(ExitStatus::from_raw(libc::SIGKILL)), 137);
    }
}
