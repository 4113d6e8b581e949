//! The tunnel's UDP socket: many frames per send (`UDP_SEGMENT`) and per receive (`UDP_GRO`).
//!
//! Connected, so that the kernel gives each worker's socket its own frames and drops strangers'; non-blocking. Where the
//! kernel has no segmentation offload, or a device on the way refuses it, frames are sent one by one: slower, never wrong.
//!
//! The Don't Fragment bit is clear (Site-to-Site VPN user guide): the path's MTU is the emulated one, and a frame below it must cross
//! whatever carries the lab.
//!
//! Counters: [`flush`] counts frames and bytes sent; what the outer network refuses is `TUNNEL_UNREACHABLE`, never an end.

use std::cell::Cell;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;

use libc::c_int;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::time::Moment;
use crate::tunnel::{TunnelEnd, count_sent};
use crate::verdict::{Counters, Reason};

/// What is asked for as the kernel's buffers, bytes: 64 full sends. Fewer are taken if the kernel's limit is lower.
const KERNEL_BUFFER: usize = 4 << 20;

/// A buffer of this size holds whatever one receive gives.
pub const RECEIVE_BUFFER: usize = 1 << 16;

/// The tunnel's socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot open the tunnel's socket {local} to {remote} ({step}): {source}; are both addresses right, and is the port free?"
)]
pub struct OpenError {
    local: SocketAddr,
    remote: SocketAddr,
    step: &'static str,
    source: io::Error,
}

/// What became of a send.
#[derive(Debug)]
pub enum Sent {
    /// The kernel took this many bytes: all, or so many whole frames.
    Bytes(usize),
    /// The kernel's buffer is full; nothing was sent. Wait until the socket is writable.
    Blocked,
    /// An earlier frame was answered by "port unreachable"; nothing was sent now. A further send may succeed.
    Refused,
    /// The outer network does not take it, and would not take it again.
    Lost(io::Error),
}

/// What became of a receive.
#[derive(Debug)]
pub enum Receipt {
    /// This many bytes; frames of `segment_size` bytes each but for the last ([`crate::tunnel::batch::frames`]).
    Payload {
        /// Bytes received.
        len: usize,
        /// Bytes of each frame; 0 for a single one.
        segment_size: usize,
    },
    /// Nothing there.
    Empty,
    /// An earlier frame of ours was refused; try again.
    Refused,
    /// The kernel reports something else about the path; nothing was received.
    Failed(io::Error),
}

/// A UDP socket from one end of the tunnel to the other. Belongs to one worker.
#[derive(Debug)]
pub struct TunnelSocket {
    fd: OwnedFd,
    segments: Cell<bool>,
    merges: bool,
}

impl TunnelSocket {
    /// Opens a socket at `local`, connected to `remote`, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`OpenError`]: an address that is not this machine's, a port that is taken, no way to `remote`.
    pub fn open(local: SocketAddr, remote: SocketAddr) -> Result<Self, OpenError> {
        let failed = |step| move |errno: Errno| OpenError { local, remote, step, source: errno.into() };
        let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(family, SocketType::DGRAM, flags, None).map_err(failed("make a socket"))?;
        // Beyond the machine's limit where we may, up to it where we may not; the size is a wish either way.
        if sockopt::set_socket_recv_buffer_size_force(&fd, KERNEL_BUFFER).is_err() {
            _ = sockopt::set_socket_recv_buffer_size(&fd, KERNEL_BUFFER);
        }
        if sockopt::set_socket_send_buffer_size_force(&fd, KERNEL_BUFFER).is_err() {
            _ = sockopt::set_socket_send_buffer_size(&fd, KERNEL_BUFFER);
        }
        if local.is_ipv4() {
            // Without it frames carry DF and large ones are refused; not worth failing for.
            _ = set_option(&fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT);
        }
        rustix::net::bind(&fd, &local).map_err(failed("bind"))?;
        rustix::net::connect(&fd, &remote).map_err(failed("connect"))?;
        // Socket-wide size 0 is the default; that it can be set tells that sends may ask for another.
        let segments = set_option(&fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
        let merges = set_option(&fd, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
        Ok(Self { fd, segments: Cell::new(segments), merges })
    }

    /// Whether several frames go out in one send.
    pub fn segments(&self) -> bool {
        self.segments.get()
    }

    /// Whether several frames come in with one receive.
    pub const fn merges(&self) -> bool {
        self.merges
    }

    /// Sends frames one by one from now on, as where the kernel has no offload.
    pub fn without_offload(mut self) -> Self {
        self.segments.set(false);
        if set_option(&self.fd, libc::SOL_UDP, libc::UDP_GRO, 0).is_ok() {
            self.merges = false;
        }
        self
    }

    /// Sends `frames`: datagrams of `segment_size` bytes each but for the last, which may be shorter.
    #[inline]
    pub fn send(&self, frames: &[u8], segment_size: usize) -> Sent {
        if self.segments.get() && segment_size != 0 && segment_size < frames.len() {
            match self.send_message(frames, u16::try_from(segment_size).ok()) {
                Ok(bytes) => return Sent::Bytes(bytes),
                // EIO: the device cannot checksum for us; the others: it cannot segment. That will not change.
                Err(Errno::IO | Errno::OPNOTSUPP | Errno::NOPROTOOPT) => self.segments.set(false),
                // EINVAL: frames larger than the device's MTU. One by one the kernel fragments them.
                Err(Errno::INVAL) => {}
                Err(errno) => return refused(errno),
            }
        }
        self.send_one_by_one(frames, segment_size)
    }

    #[cold]
    fn send_one_by_one(&self, frames: &[u8], segment_size: usize) -> Sent {
        let size = if segment_size == 0 { frames.len() } else { segment_size };
        let mut sent = 0;
        for frame in frames.chunks(size.max(1)) {
            match self.send_message(frame, None) {
                Ok(bytes) => sent += bytes,
                Err(errno) if sent == 0 => return refused(errno),
                Err(_) => break,
            }
        }
        Sent::Bytes(sent)
    }

    /// Receives what one `recvmsg` gives into `buffer`, which should hold [`RECEIVE_BUFFER`] bytes; more is cut off and
    /// fails its integrity check.
    #[inline]
    pub fn recv(&self, buffer: &mut [u8]) -> Receipt {
        loop {
            return match self.receive_message(buffer) {
                Ok((len, segment_size)) => Receipt::Payload { len, segment_size },
                Err(Errno::AGAIN) => Receipt::Empty,
                Err(Errno::INTR) => continue,
                Err(Errno::CONNREFUSED) => Receipt::Refused,
                Err(errno) => Receipt::Failed(errno.into()),
            };
        }
    }

    fn send_message(&self, payload: &[u8], segment_size: Option<u16>) -> Result<usize, Errno> {
        let mut control = Control::default();
        let mut slice = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
        // SAFETY: a msghdr of zeros is valid: no name, no slices, no control data.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut slice;
        message.msg_iovlen = 1;
        if let Some(size) = segment_size {
            message.msg_control = control.0.as_mut_ptr().cast();
            // SAFETY: CMSG_SPACE and CMSG_LEN compute, they touch no memory.
            let (space, len) = unsafe { (libc::CMSG_SPACE(U16_LEN), libc::CMSG_LEN(U16_LEN)) };
            message.msg_controllen = space as _;
            // SAFETY: msg_control points to CONTROL_LEN bytes, aligned for cmsghdr, of which msg_controllen are declared;
            // so CMSG_FIRSTHDR gives a header inside them, and CMSG_DATA two bytes behind it.
            unsafe {
                let header = libc::CMSG_FIRSTHDR(&raw const message);
                (*header).cmsg_level = libc::SOL_UDP;
                (*header).cmsg_type = libc::UDP_SEGMENT;
                (*header).cmsg_len = len as _;
                ptr::write_unaligned(libc::CMSG_DATA(header).cast(), size);
            }
        }
        loop {
            // SAFETY: message points to `slice`, which points to `payload`, and to `control`; all outlive the call, and
            // sendmsg only reads them.
            let sent = unsafe { libc::sendmsg(self.fd.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
            match usize::try_from(sent) {
                Ok(bytes) => return Ok(bytes),
                Err(_) => match last_errno() {
                    Errno::INTR => {}
                    errno => return Err(errno),
                },
            }
        }
    }

    /// Bytes received, and the segment size that came with them or 0.
    fn receive_message(&self, buffer: &mut [u8]) -> Result<(usize, usize), Errno> {
        let mut control = Control::default();
        let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: a msghdr of zeros is valid: no name, no slices, no control data.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut slice;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL_LEN as _;
        // SAFETY: message points to `slice`, which points to `buffer`, and to `control`; all outlive the call, are ours to
        // write, and are as long as declared.
        let received = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, 0) };
        let Ok(len) = usize::try_from(received) else { return Err(last_errno()) };
        let mut segment_size = 0;
        // SAFETY: the kernel wrote msg_controllen bytes of whole control messages into `control`; the macros walk within
        // them and end with null. UDP_GRO carries a c_int, which CMSG_LEN says is there.
        unsafe {
            let mut header = libc::CMSG_FIRSTHDR(&raw const message);
            while !header.is_null() {
                let is_gro = (*header).cmsg_level == libc::SOL_UDP && (*header).cmsg_type == libc::UDP_GRO;
                if is_gro && (*header).cmsg_len as usize >= libc::CMSG_LEN(INT_LEN) as usize {
                    let size = ptr::read_unaligned(libc::CMSG_DATA(header).cast::<c_int>());
                    segment_size = usize::try_from(size).unwrap_or(0);
                }
                header = libc::CMSG_NXTHDR(&raw const message, header);
            }
        }
        Ok((len, segment_size))
    }
}

impl AsFd for TunnelSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for TunnelSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// What [`flush`] left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flushed {
    /// Nothing was due.
    Nothing,
    /// Everything that was due is sent.
    Sent,
    /// A socket is full: flush again when it is writable.
    Blocked,
}

/// Sends everything of `end` that is due at `now`; SA pair `n` through `sockets[n]`. Counts what was sent and what was
/// refused.
#[inline]
pub fn flush(end: &mut TunnelEnd, sockets: &[TunnelSocket], now: Moment, counters: &Counters) -> Flushed {
    let mut outcome = Flushed::Nothing;
    while let Some(transmit) = end.poll_transmit(now) {
        outcome = Flushed::Sent;
        let run = transmit.bytes();
        let sent = sockets.get(transmit.sa()).map(|socket| match socket.send(run, transmit.segment_size()) {
            // Tells about an earlier frame, and only once: the second try is this send's own.
            Sent::Refused => {
                counters.deny(Reason::TunnelUnreachable);
                socket.send(run, transmit.segment_size())
            }
            other => other,
        });
        let len = run.len();
        match sent {
            Some(Sent::Bytes(bytes)) => count_sent(transmit.sent(bytes), bytes, counters),
            Some(Sent::Blocked) => return Flushed::Blocked,
            Some(Sent::Refused | Sent::Lost(_)) | None => {
                for _ in 0..transmit.sent(len) {
                    counters.deny(Reason::TunnelUnreachable);
                }
            }
        }
    }
    outcome
}

fn refused(errno: Errno) -> Sent {
    match errno {
        Errno::AGAIN => Sent::Blocked,
        Errno::CONNREFUSED => Sent::Refused,
        errno => Sent::Lost(errno.into()),
    }
}

pub(super) fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

pub(super) fn set_option(fd: &OwnedFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the option's value is a c_int on this stack, as long as declared; the call only reads it.
    let outcome = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), INT_LEN) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

const U16_LEN: u32 = size_of::<u16>() as u32;
const INT_LEN: u32 = size_of::<c_int>() as u32;
/// Room for one control message and one more that nobody asked for.
const CONTROL_LEN: usize = 64;

/// Control data, aligned for `cmsghdr`.
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

impl Default for Control {
    fn default() -> Self {
        Self([0; CONTROL_LEN])
    }
}

// SAFETY: CMSG_SPACE computes, it touches no memory.
const _: () = assert!(unsafe { libc::CMSG_SPACE(INT_LEN) } as usize <= CONTROL_LEN);
const _: () = assert!(align_of::<Control>() >= align_of::<libc::cmsghdr>());

#[cfg(test)]
mod tests;
