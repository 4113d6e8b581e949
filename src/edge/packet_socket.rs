//! Packet sockets: copies of everything that crosses one network interface, in both directions (packet(7)).
//!
//! The kernel makes the copies when it hands a packet to a device or takes one from it, so that nothing on the packet's
//! own way changes. A copy that finds the socket's buffer full is lost and counted; the packet itself is not.
//!
//! A TUN device has no link header (`ARPHRD_NONE`): its packets begin with an IP header, as a veth's begin with an
//! Ethernet header. What is seen is what the kernel sees: where a device or its peer takes offloads, that is
//! super-segments, with checksums which are not computed yet. Each comes with the virtio-net header that says so.

use std::cell::Cell;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use libc::c_int;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, sockopt};

use super::udp::{last_errno, set_option};
use super::{Fault, OrFault};
use crate::packet::{VIRTIO_HEADER_LEN, VirtioHeader};
use crate::time::UnixTime;

/// What is asked for as the kernel's buffer, bytes. Every super-segment of 64 KB counts in full. Without CAP_NET_ADMIN over
/// the whole machine `net.core.rmem_max` is the limit: 4 MB on new kernels, 208 KB on old ones.
const KERNEL_BUFFER: usize = 32 << 20;

/// A buffer of this size holds whatever one receive gives, unless somebody raised the device's `gso_max_size`.
pub const RECEIVE_BUFFER: usize = (1 << 16) + 64;

/// What packets of an interface begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkLayer {
    /// An IPv4 or IPv6 header: TUN devices.
    None,
    /// An Ethernet header.
    Ethernet,
}

impl LinkLayer {
    /// Bytes before the IP header.
    pub const fn header_len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Ethernet => 14,
        }
    }
}

/// Which way a packet went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From the device into the kernel.
    FromDevice,
    /// From the kernel to the device.
    ToDevice,
}

/// A received copy; its bytes lie in the caller's buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Bytes in the buffer.
    pub len: usize,
    /// Bytes that the packet has; more than `len` if the buffer was too small.
    pub wire_len: usize,
    /// When it passed.
    pub at: UnixTime,
    /// Which way.
    pub way: Way,
    /// What is still to be done to it. `csum_start` counts from the first byte, the link header's if there is one.
    pub offload: VirtioHeader,
}

/// Packets since the socket was opened or last asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// That crossed the interface.
    pub all: u64,
    /// Of these, without a copy: the socket's buffer was full.
    pub lost: u64,
}

/// A socket that hears one interface. Reads never block.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    link_layer: LinkLayer,
    /// Whether packets come with a virtio-net header.
    described: Cell<bool>,
}

impl PacketSocket {
    /// Opens one for the interface `name` in the calling thread's network namespace. It hears from now on.
    ///
    /// # Errors
    /// Without CAP_NET_RAW over the namespace, without such an interface, or for one that is neither Ethernet nor IP.
    pub fn open(name: &str) -> Result<Self, Fault> {
        let open = || {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            // Protocol 0 hears nothing: bound to its interface first, the socket never sees another one's packets.
            let fd = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
            let index = netdevice::name_to_index(&fd, name)?;
            // Beyond the machine's limit where we may, up to it where we may not; the size is a wish either way.
            if sockopt::set_socket_recv_buffer_size_force(&fd, KERNEL_BUFFER).is_err() {
                sockopt::set_socket_recv_buffer_size(&fd, KERNEL_BUFFER)?;
            }
            set_option(&fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
            set_option(&fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
            bind(&fd, index)?;
            io::Result::Ok(fd)
        };
        let place = || format!("interface {name}");
        let fd = open().map_err(|error| open_fault(&error).at(place()))?;
        let kind = hardware_type(&fd).or_fault(|| "cannot ask for the kind of an interface")?;
        let link_layer = match kind {
            libc::ARPHRD_NONE => LinkLayer::None,
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => LinkLayer::Ethernet,
            other => return Err(Fault::new(format!("cannot capture link layer type {other}")).at(place())),
        };
        Ok(Self { fd, link_layer, described: Cell::new(true) })
    }

    /// What its packets begin with.
    pub fn link_layer(&self) -> LinkLayer {
        self.link_layer
    }

    /// Receives the next copy into `buffer`; `None` when there is none. Give it [`RECEIVE_BUFFER`] bytes.
    ///
    /// # Errors
    /// `ENETDOWN`, once, when the interface goes down or away; `EINVAL`, once, when a packet was lost because the kernel
    /// cannot describe its offloads (UDP super-segments before Linux 6.2); else what `recvmsg(2)` says.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        let mut description = [0; VIRTIO_HEADER_LEN];
        let header_len = if self.described.get() { VIRTIO_HEADER_LEN } else { 0 };
        let mut control = Control([0; CONTROL_LEN]);
        let mut slices = [
            libc::iovec { iov_base: description.as_mut_ptr().cast(), iov_len: header_len },
            libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() },
        ];
        // SAFETY: zeros are valid for both: integers, and pointers that may be null.
        let (mut address, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
        message.msg_name = (&raw mut address).cast();
        message.msg_namelen = ADDRESS_LEN;
        message.msg_iov = slices.as_mut_ptr();
        message.msg_iovlen = slices.len() as _;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL_LEN as _;
        let wire_len = loop {
            // SAFETY: `message` points to `address`, to `slices`, which point to `description` and `buffer`, and to
            // `control`; all outlive the call, are ours to write, and are as long as declared.
            let received = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, libc::MSG_TRUNC) };
            match usize::try_from(received) {
                Ok(len) => break len.saturating_sub(header_len),
                Err(_) => match last_errno() {
                    Errno::INTR => {}
                    Errno::AGAIN => return Ok(None),
                    Errno::INVAL if self.described.replace(false) => {
                        set_option(&self.fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 0)?;
                        return Err(Errno::INVAL.into());
                    }
                    errno => return Err(errno.into()),
                },
            }
        };
        let way = if address.sll_pkttype == libc::PACKET_OUTGOING { Way::ToDevice } else { Way::FromDevice };
        let at = timestamp(&message).ok_or(io::ErrorKind::InvalidData)?;
        let offload = VirtioHeader::parse(&description).map(|(header, _)| header).unwrap_or_default();
        Ok(Some(Received { len: wire_len.min(buffer.len()), wire_len, at, way, offload }))
    }

    /// How many packets crossed the interface and how many copies were lost since this was last asked.
    ///
    /// # Errors
    /// What `getsockopt(2)` says.
    pub fn take_seen(&self) -> io::Result<Seen> {
        let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut len = size_of_val(&stats) as libc::socklen_t;
        // SAFETY: PACKET_STATISTICS writes at most `len` bytes, the size of `stats`.
        let outcome = unsafe {
            let value = (&raw mut stats).cast();
            libc::getsockopt(self.fd.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, value, &raw mut len)
        };
        match outcome {
            // The kernel's count of packets includes the dropped ones.
            0 => Ok(Seen { all: stats.tp_packets.into(), lost: stats.tp_drops.into() }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn open_fault(error: &io::Error) -> Fault {
    let fault = Fault::new(format!("cannot capture packets: {error}"));
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM | Errno::ACCESS) => fault.remedy(
            "run it inside a lab (`vpce lab up --capture FILE`), or with CAP_NET_RAW in this network namespace",
        ),
        Some(Errno::AFNOSUPPORT) => fault.remedy("sudo modprobe af_packet"),
        _ => fault,
    }
}

/// All protocols, in network byte order; only this hears what is sent as well.
const ALL_PROTOCOLS: u16 = (libc::ETH_P_ALL as u16).to_be();
const ADDRESS_LEN: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

fn bind(fd: &OwnedFd, index: u32) -> io::Result<()> {
    // SAFETY: an address of zeros is valid: all its fields are integers.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::sa_family_t;
    address.sll_protocol = ALL_PROTOCOLS;
    address.sll_ifindex = c_int::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the call reads ADDRESS_LEN bytes, the size of `address`.
    match unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), ADDRESS_LEN) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The `ARPHRD_*` number of the interface that `fd` is bound to.
fn hardware_type(fd: &OwnedFd) -> io::Result<u16> {
    // SAFETY: as in `bind`.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    let mut len = ADDRESS_LEN;
    // SAFETY: the call writes at most `len` bytes, the size of `address`.
    match unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut len) } {
        0 => Ok(address.sll_hatype),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The time that came with a message.
fn timestamp(message: &libc::msghdr) -> Option<UnixTime> {
    // SAFETY: the kernel wrote msg_controllen bytes of whole control messages; the macros walk within them and end with
    // null. SCM_TIMESTAMPNS carries a timespec, which CMSG_LEN says is there.
    let time = unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        loop {
            if header.is_null() {
                return None;
            }
            let is_time = (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_TIMESTAMPNS;
            if is_time && (*header).cmsg_len as usize >= libc::CMSG_LEN(TIME_LEN) as usize {
                break ptr::read_unaligned(libc::CMSG_DATA(header).cast::<libc::timespec>());
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    };
    let secs = u64::try_from(time.tv_sec).ok()?;
    Some(UnixTime::from_nanos(secs.checked_mul(1_000_000_000)?.checked_add(u64::try_from(time.tv_nsec).ok()?)?))
}

const TIME_LEN: u32 = size_of::<libc::timespec>() as u32;
/// Room for the time and for one control message that nobody asked for.
const CONTROL_LEN: usize = 64;

/// Control data, aligned for `cmsghdr`.
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

// SAFETY: CMSG_SPACE computes, it touches no memory.
const _: () = assert!(unsafe { libc::CMSG_SPACE(TIME_LEN) } as usize <= CONTROL_LEN);
const _: () = assert!(align_of::<Control>() >= align_of::<libc::cmsghdr>());
