//! Child processes that cannot outlive this program.
//!
//! What has to happen between `fork` and `exec` can only be asked for through `pre_exec`, which is unsafe.

#![expect(unsafe_code, reason = "`pre_exec` is the only way to prepare a child between fork and exec")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, clear_ambient_capability_set, remove_capability_from_bounding_set};

/// Makes `command`'s process the leader of its own process group, kill it when the thread that spawned it ends, leave no
/// core dumps, hold at most `open_files` descriptors (or fewer, if we may not hold that many ourselves), and have no
/// capability but those that let root read its own and others' files.
///
/// The last matters because in a lab everybody is root: with capabilities a child could enter the namespaces of other
/// machines, change its own network, or trace the processes that hold the keys (ptrace(2) wants a superset of theirs).
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
        drop_capabilities();
        Ok(())
    };
    // SAFETY: the closure runs in the forked child before `exec`, where only async-signal-safe calls are sound. It makes
    // system calls alone and allocates nothing: `io::Error` from an errno or an `ErrorKind` is a plain value.
    unsafe { command.pre_exec(prepare) };
}

/// Takes every capability but two out of what the next program may have. Async-signal-safe.
///
/// Who has no CAP_SETPCAP may not, and has none to give away: an ordinary user's program starts without any.
fn drop_capabilities() {
    let kept = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    let numbered = |number: u32| CapabilitySet::from_bits_retain(1 << number);
    // CAP_SETPCAP itself goes last: without it none can be dropped. Whatever the kernel knows, it has at most 64.
    let others = (0..u64::BITS).map(numbered).filter(|one| !(kept | CapabilitySet::SETPCAP).contains(*one));
    for capability in others.chain([CapabilitySet::SETPCAP]) {
        // Unknown to this kernel, or not ours to drop.
        _ = remove_capability_from_bounding_set(capability);
    }
    _ = clear_ambient_capability_set();
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

    #[test]
    fn a_confined_child_of_root_may_read_files_and_nothing_else() {
        let mut command = Command::new("/bin/cat");
        command.arg("/proc/self/status");
        confine(&mut command, 77);
        let status = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
        let effective = u64::from_str_radix(effective, 16).unwrap();
        let allowed = (CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH).bits();
        // Nobody but root had any to begin with.
        assert_eq!(effective & !allowed, 0, "{status}");
    }
}
