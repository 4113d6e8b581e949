//! System calls that have no safe wrapper, each made safe: the one file with `unsafe` that is not about a hot path.
//!
//! rustix has safe wrappers for most of what the lab needs; what is left is here: the TUN ioctls, unshare, starting a
//! process in new namespaces, work between fork and exec, inherited file descriptors, and waiting for signals.

use std::ffi::{CString, c_int};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::ioctl;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// Moves the calling thread into new namespaces of these kinds.
///
/// # Errors
/// What `unshare(2)` says; `InvalidInput` for [`UnshareFlags::FILES`], which no caller may have.
pub fn unshare(kinds: UnshareFlags) -> io::Result<()> {
    if kinds.contains(UnshareFlags::FILES) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: only unsharing the descriptor table can break the soundness of other threads, and that was just refused.
    unsafe { rustix::thread::unshare_unsafe(kinds) }.map_err(Into::into)
}

/// Takes over a file descriptor that the parent process left open for us, and marks it close-on-exec.
///
/// # Errors
/// `EBADF` when the number names no open file; `InvalidInput` for a standard stream.
pub fn inherited_fd(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: borrowed only for the two fcntl calls, which report a closed descriptor instead of misusing it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = rustix::io::fcntl_getfd(borrowed)?;
    rustix::io::fcntl_setfd(borrowed, flags | rustix::io::FdFlags::CLOEXEC)?;
    // SAFETY: the descriptor is open, and by the contract between the lab's processes it was left open for this one
    // owner; the caller asks for each number once, before it opens anything itself.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Borrows the descriptor of a `tun-tap` interface, which only offers [`AsRawFd`], for as long as the interface lives.
///
/// Not for every `AsRawFd`: a plain number is one as well, and owns nothing.
pub fn borrow_fd(interface: &tun_tap::Iface) -> BorrowedFd<'_> {
    // SAFETY: the result borrows `interface`, which owns its descriptor and keeps it open until it is dropped.
    unsafe { BorrowedFd::borrow_raw(interface.as_raw_fd()) }
}

/// What a child does between fork and exec.
#[derive(Debug, Default)]
pub struct ChildSetup {
    /// The network namespace it enters.
    pub network: Option<OwnedFd>,
    /// Descriptors that stay open across exec.
    pub keep: Vec<OwnedFd>,
    /// Killed when its parent ends.
    pub die_with_parent: bool,
    /// Mounts a /proc that shows the child's own PID namespace; left as it is where the system forbids that.
    pub mount_proc: bool,
}

/// Makes `command` do `setup` in the child, before its program starts, and start it with no signal blocked.
pub fn set_up_child(command: &mut Command, setup: ChildSetup) {
    let hook = move || {
        unblock_signals();
        if let Some(network) = &setup.network {
            rustix::thread::move_into_link_name_space(
                network.as_fd(),
                Some(rustix::thread::LinkNameSpaceType::Network),
            )?;
        }
        for fd in &setup.keep {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
        }
        if setup.die_with_parent {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        }
        if setup.mount_proc {
            // Refused where parts of /proc are hidden (in containers, say). The old one then stays: tools that list
            // processes show the wrong ones, everything else works.
            _ = mount_proc();
        }
        Ok(())
    };
    // SAFETY: the hook runs between fork and exec, where only async-signal-safe work is allowed: it makes system calls
    // with arguments prepared before, and neither allocates nor takes a lock.
    unsafe { command.pre_exec(hook) };
}

/// Mounts a fresh /proc for the caller's PID namespace over the old one. Allocates nothing.
///
/// # Errors
/// What `mount(2)` says.
pub fn mount_proc() -> rustix::io::Result<()> {
    use rustix::mount::MountFlags;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount(c"proc", c"/proc", c"proc", flags, None)
}

/// A program to start with [`start_in_namespaces`]: its path, arguments and environment are complete.
#[derive(Debug)]
pub struct Program {
    /// Absolute path.
    pub path: CString,
    /// Arguments, the program's name first.
    pub arguments: Vec<CString>,
    /// `NAME=value`.
    pub environment: Vec<CString>,
    /// What its descriptors 0, 1, 2, … are. At most [`Program::DESCRIPTOR_LIMIT`].
    pub descriptors: Vec<OwnedFd>,
}

impl Program {
    /// Most descriptors a program can be given: they are renumbered on the stack of a forked child.
    pub const DESCRIPTOR_LIMIT: usize = 8;
}

/// A process that waits at its gate: its namespaces exist, its program has not started.
#[derive(Debug)]
pub struct Gated {
    pid: Pid,
    gate: OwnedFd,
}

impl Gated {
    /// Its process id, as the caller sees it.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets it start its program.
    ///
    /// # Errors
    /// The error of exec, or of a process that has gone before.
    pub fn open(self) -> io::Result<Pid> {
        rustix::io::retry_on_intr(|| rustix::io::write(&self.gate, &[1]))?;
        let mut errno = [0u8; 4];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.gate, &mut errno))? {
            // Closed by exec: it runs.
            0 => Ok(self.pid),
            _ => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno))),
        }
    }
}

/// Starts `program` as the first process of new namespaces: user, PID and mount. It is a session of its own.
///
/// The process waits until [`Gated::open`], so that the caller can write its id maps first: without them its program
/// would start without capabilities. If the caller goes away instead, so does the process.
///
/// # Errors
/// What `clone(2)` says: `EPERM` and `ENOSPC` mean that user namespaces are switched off.
pub fn start_in_namespaces(program: &Program) -> io::Result<Gated> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    if program.descriptors.len() > Program::DESCRIPTOR_LIMIT {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let (gate, childs_end) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let pointers = |strings: &[CString]| {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<*const libc::c_char>>()
    };
    let (arguments, environment) = (pointers(&program.arguments), pointers(&program.environment));
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::SIGCHLD;
    // SAFETY: without CLONE_VM and with a null stack this is fork: the child has its own copy of all memory. What is
    // passed after the flags is zero, so that the order in which an architecture takes it does not matter.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0, 0, 0, 0) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => run_gated(program, &childs_end, arguments.as_ptr(), environment.as_ptr()),
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
            Ok(Gated { pid, gate })
        }
    }
}

/// The child of [`start_in_namespaces`]. Other threads of the parent may have held locks when it was made: no allocation,
/// nothing but system calls.
fn run_gated(
    program: &Program,
    gate: &OwnedFd,
    arguments: *const *const libc::c_char,
    environment: *const *const libc::c_char,
) -> ! {
    let fail = |errno: c_int| -> ! {
        // Nobody can be told if even this fails.
        _ = rustix::io::write(gate, &errno.to_ne_bytes());
        // SAFETY: ends the process without running anything of the parent's copy.
        unsafe { libc::_exit(127) }
    };
    let mut go = [0u8; 1];
    match rustix::io::retry_on_intr(|| rustix::io::read(gate, &mut go)) {
        Ok(1) => {}
        // SAFETY: as above.
        _ => unsafe { libc::_exit(127) },
    }
    // First out of the way of the target numbers, then onto them: dup2 clears close-on-exec.
    let mut moved = [-1; Program::DESCRIPTOR_LIMIT];
    for (slot, fd) in moved.iter_mut().zip(&program.descriptors) {
        // SAFETY: duplicates an open descriptor to a free number from 64 up.
        *slot = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 64) };
        if *slot < 0 {
            fail(rustix::io::Errno::MFILE.raw_os_error());
        }
    }
    // The gate must not lie on a target number either.
    // SAFETY: duplicates an open descriptor.
    let gate_fd = unsafe { libc::fcntl(gate.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 64) };
    for (target, fd) in (0..).zip(&moved[..program.descriptors.len()]) {
        // SAFETY: both numbers are this process's own; what lay on the target belongs to the parent's copy.
        if unsafe { libc::dup2(*fd, target) } < 0 {
            fail(rustix::io::Errno::BADF.raw_os_error());
        }
    }
    _ = rustix::process::setsid();
    unblock_signals();
    // SAFETY: path, arguments and environment are NUL-terminated strings and null-terminated lists that the caller
    // keeps alive; exec replaces this process or returns.
    unsafe { libc::execve(program.path.as_ptr(), arguments, environment) };
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
    // SAFETY: writes four bytes of this stack frame to the gate's copy and ends the process.
    unsafe {
        libc::write(gate_fd, errno.to_ne_bytes().as_ptr().cast(), 4);
        libc::_exit(127)
    }
}

/// A signal that arrived at a [`SignalWait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its number.
    pub signal: c_int,
    /// Sent by a process, not by the kernel (a terminal sends its signals to the whole foreground group by itself).
    pub by_process: bool,
}

/// Signals that are kept back until they are asked for. Blocks them in the calling thread for the rest of its life.
#[derive(Debug)]
pub struct SignalWait {
    set: libc::sigset_t,
}

impl SignalWait {
    /// Keeps back `signals`.
    ///
    /// # Errors
    /// For a number that is no signal.
    pub fn block(signals: &[c_int]) -> io::Result<Self> {
        // SAFETY: an all-zero sigset_t is a valid place for sigemptyset to write.
        let mut set = unsafe { mem::zeroed::<libc::sigset_t>() };
        // SAFETY: `set` is a sigset_t of this frame.
        unsafe { libc::sigemptyset(&raw mut set) };
        for &signal in signals {
            // SAFETY: as above; a bad number is reported.
            if unsafe { libc::sigaddset(&raw mut set, signal) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: `set` is initialised; the old mask is not asked for.
        match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
            0 => Ok(Self { set }),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Waits for the next of them.
    ///
    /// # Errors
    /// What `sigwaitinfo(2)` says, `EINTR` aside.
    pub fn next(&self) -> io::Result<Arrived> {
        loop {
            // SAFETY: an all-zero siginfo_t is a valid place for the kernel to write.
            let mut info = unsafe { mem::zeroed::<libc::siginfo_t>() };
            // SAFETY: both point to initialised values that live through the call.
            let signal = unsafe { libc::sigwaitinfo(&raw const self.set, &raw mut info) };
            if signal > 0 {
                return Ok(Arrived { signal, by_process: info.si_code <= 0 });
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

/// Blocks no signal any more: for a child, whose program must not inherit what its parent waits for. Async-signal-safe.
pub fn unblock_signals() {
    // SAFETY: an all-zero sigset_t is a valid place for sigemptyset to write, and it lives in this frame.
    unsafe {
        let mut none = mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Sends `signal` to a process.
///
/// # Errors
/// What `kill(2)` says.
pub fn send_signal(pid: Pid, signal: c_int) -> io::Result<()> {
    // SAFETY: kill takes two integers and touches no memory of ours.
    match unsafe { libc::kill(pid.as_raw_pid(), signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `struct ifreq` as the TUN driver uses it: a name and flags, padded to the kernel's size.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    padding: [u8; 22],
}

const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<libc::ifreq>());

const TUNSETIFF: ioctl::Opcode = ioctl::opcode::write::<c_int>(b'T', 202);
const TUNSETOFFLOAD: ioctl::Opcode = ioctl::opcode::write::<libc::c_uint>(b'T', 208);
const TUNGETFEATURES: ioctl::Opcode = ioctl::opcode::read::<libc::c_uint>(b'T', 207);

/// Attaches an open `/dev/net/tun` to the interface `name`, making it if it does not exist.
///
/// # Errors
/// `InvalidInput` for a name that is empty or too long; else what the driver says (`EPERM`, `EBUSY`, `EINVAL`).
pub fn tun_attach(fd: BorrowedFd<'_>, name: &str, flags: libc::c_short) -> io::Result<()> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut request = InterfaceRequest { name: [0; libc::IFNAMSIZ], flags, padding: [0; 22] };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, whose size the request has; the driver's flags lie where
    // `ifr_flags` does.
    unsafe { ioctl::ioctl(fd, ioctl::Updater::<TUNSETIFF, InterfaceRequest>::new(&mut request)) }?;
    Ok(())
}

/// Says which offloads the reader of a TUN device takes over: `TUN_F_*` bits.
///
/// # Errors
/// `EINVAL` for bits the driver does not know, or a combination it refuses.
pub fn tun_set_offload(fd: BorrowedFd<'_>, bits: libc::c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument as an integer.
    unsafe { ioctl::ioctl(fd, ioctl::IntegerSetter::<TUNSETOFFLOAD>::new_usize(bits as usize)) }?;
    Ok(())
}

/// The `IFF_*` flags that this kernel's TUN driver knows.
///
/// # Errors
/// What the driver says.
pub fn tun_features(fd: BorrowedFd<'_>) -> io::Result<libc::c_uint> {
    // SAFETY: TUNGETFEATURES writes one unsigned int.
    unsafe { ioctl::ioctl(fd, ioctl::Getter::<TUNGETFEATURES, libc::c_uint>::new()) }.map_err(Into::into)
}
