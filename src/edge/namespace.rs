//! Namespaces, held by file descriptors only: nothing in the file system names them, so nothing can be left behind.

#![expect(clippy::disallowed_types, reason = "namespaces are files of the edge")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::{Fault, OrFault, sys};

/// A network namespace. It lives as long as this, a process in it, or an interface held open in it.
#[derive(Debug)]
pub struct NetworkNamespace(OwnedFd);

impl NetworkNamespace {
    /// The one the calling thread is in.
    ///
    /// # Errors
    /// When /proc is not there.
    pub fn current() -> Result<Self, Fault> {
        open_own("net").map(Self)
    }

    /// Makes a new one. The calling thread is in it afterwards.
    ///
    /// # Errors
    /// Without CAP_SYS_ADMIN, or over the limit `user.max_net_namespaces`.
    pub fn create() -> Result<Self, Fault> {
        sys::unshare(UnshareFlags::NEWNET)
            .or_fault(|| "cannot make a network namespace")
            .map_err(|fault| fault.remedy("run `vpce doctor`; see /proc/sys/user/max_net_namespaces"))?;
        Self::current()
    }

    /// Moves the calling thread into it.
    ///
    /// # Errors
    /// Without CAP_SYS_ADMIN in the user namespace that owns it.
    pub fn enter(&self) -> Result<(), Fault> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
            .or_fault(|| "cannot enter a network namespace")
    }

    /// Another handle to the same namespace.
    ///
    /// # Errors
    /// When no more files can be opened.
    pub fn try_clone(&self) -> Result<Self, Fault> {
        self.0.try_clone().map(Self).or_fault(|| "cannot duplicate a namespace handle")
    }

    /// Its descriptor.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }
}

impl AsFd for NetworkNamespace {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for NetworkNamespace {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// A handle to one of the calling thread's namespaces: `user`, `pid`, `net`, `mnt`.
///
/// # Errors
/// When /proc is not there.
pub fn open_own(kind: &str) -> Result<OwnedFd, Fault> {
    let path = format!("/proc/thread-self/ns/{kind}");
    File::open(&path).map(Into::into).or_fault(|| format!("cannot open {path}"))
}

/// Whether the calling thread is in the namespace of this kind that `fd` stands for.
pub fn is_own(kind: &str, fd: impl AsFd) -> bool {
    let Ok(own) = open_own(kind) else { return false };
    let identity = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
    match (rustix::fs::fstat(own), rustix::fs::fstat(fd)) {
        (Ok(a), Ok(b)) => identity(a) == identity(b),
        _ => false,
    }
}

/// Moves the calling process into a user namespace, unless it is in it already. Only with a single thread.
///
/// # Errors
/// When the namespace is another user's.
pub fn enter_user(user: impl AsFd) -> Result<(), Fault> {
    if is_own("user", &user) {
        return Ok(());
    }
    move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))
        .or_fault(|| "cannot enter the lab's user namespace")
        .map_err(|fault| fault.remedy("run it as the user who started the lab"))
}

/// Makes the processes that the caller starts from now on live in a PID namespace.
///
/// # Errors
/// When the namespace is not ours or ended.
pub fn enter_pid(pid: impl AsFd) -> Result<(), Fault> {
    move_into_link_name_space(pid.as_fd(), Some(LinkNameSpaceType::ProcessID))
        .or_fault(|| "cannot enter the lab's PID namespace")
}

/// Gives the caller mounts of its own: what it mounts is seen by it and its children alone.
///
/// # Errors
/// Without CAP_SYS_ADMIN.
pub fn unshare_mounts() -> Result<(), Fault> {
    sys::unshare(UnshareFlags::NEWNS).or_fault(|| "cannot make a mount namespace")?;
    make_mounts_private()
}

/// Stops mounts of this namespace from reaching others.
///
/// # Errors
/// Without CAP_SYS_ADMIN over the mount namespace.
pub fn make_mounts_private() -> Result<(), Fault> {
    use rustix::mount::{MountPropagationFlags, mount_change};
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .or_fault(|| "cannot make mounts private")
}

/// Writes the id maps of the user namespace that `pid` was started in: the caller becomes root in it.
///
/// A caller with CAP_SETUID (root) maps every id it has to itself, so that files of other users stay usable; anyone else
/// maps its own ids to 0, the only thing the kernel allows.
///
/// # Errors
/// When the kernel or a security module refuses.
pub fn write_id_maps(pid: rustix::process::Pid) -> Result<(), Fault> {
    let pid = pid.as_raw_pid();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if uid == 0 && write_map(pid, "uid", &identity_map("uid")).is_ok() {
        return write_map(pid, "gid", &identity_map("gid")).or_fault(|| "cannot map group ids");
    }
    // Without CAP_SETGID the kernel wants setgroups(2) switched off first: user_namespaces(7).
    std::fs::write(format!("/proc/{pid}/setgroups"), "deny").or_fault(|| "cannot switch off setgroups")?;
    write_map(pid, "uid", &format!("0 {uid} 1\n"))
        .and_then(|()| write_map(pid, "gid", &format!("0 {gid} 1\n")))
        .or_fault(|| "cannot map user ids")
}

fn write_map(pid: i32, kind: &str, map: &str) -> io::Result<()> {
    std::fs::write(format!("/proc/{pid}/{kind}_map"), map)
}

/// The caller's own id map with every range mapped to itself.
fn identity_map(kind: &str) -> String {
    let own = std::fs::read_to_string(format!("/proc/self/{kind}_map")).unwrap_or_default();
    own.lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (inside, _, count) = (fields.next()?, fields.next()?, fields.next()?);
            Some(format!("{inside} {inside} {count}\n"))
        })
        .collect()
}
