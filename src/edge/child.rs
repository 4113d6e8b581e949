//! Child processes that cannot outlive this program.
//!
//! What has to happen between `fork` and `exec` can only be asked for through `pre_exec`, which is unsafe.

#![expect(unsafe_code, reason = "`pre_exec` is the only way to prepare a child between fork and exec")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, Signal};

/// Makes `command`'s process the leader of its own process group, kill it when the thread that spawned it ends, leave no
/// core dumps, and hold at most `open_files` descriptors (or fewer, if we may not hold that many ourselves).
///
/// The thread matters: Linux ties the signal to the spawning thread, not to the whole program (prctl(2),
/// `PR_SET_PDEATHSIG`). Spawn from one that lives as long as the child should. Only the process itself is killed, not
/// those it started in turn.
pub fn confine(command: &mut Command, open_files: u64) {
    let us = rustix::process::getpid();
    let allowed = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let files = Some(open_files.min(allowed));
    command.process_group(0);
    let prepare = move || -> io::Result<()> {
        // Whoever waits for signals has them blocked, and a program inherits that: a function could not be asked to end.
        super::sys::unblock_signals();
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // If we died before the line above, nobody will send the signal.
        if rustix::process::getppid() != Some(us) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
        rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files })?;
        Ok(())
    };
    // SAFETY: the closure runs in the forked child before `exec`, where only async-signal-safe calls are sound. It makes
    // five system calls and allocates nothing: `io::Error` from an errno or an `ErrorKind` is a plain value.
    unsafe { command.pre_exec(prepare) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confined_child_leads_its_group_and_has_the_limits() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "ulimit -n; ulimit -c; cut -d' ' -f5 /proc/self/stat; echo $$"]);
        confine(&mut command, 77);
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..2], ["77", "0"]);
        assert_eq!(lines[2], lines[3], "the process group is the process id");
    }
}
