//! TUN devices: where packets enter and leave the program.
//!
//! Two modes with one shape. In both, every buffer starts with the virtio-net header ([`HEADER_LEN`] bytes), so that the
//! hot loop has a single form:
//!
//! - **offload**: several queues; the kernel hands over and takes super-segments of up to 64 KB whose checksum is partial
//!   (`IFF_VNET_HDR`, `TUNSETOFFLOAD`). The header is the kernel's.
//! - **plain**: the `tun-tap` crate: one queue, one packet of at most the MTU per call, complete checksums. The header is
//!   written as zeros on receive and skipped on send: whoever sends must have segmented and summed itself.
//!
//! Reads and writes never block. A TUN device that is read too slowly drops at its transmit queue: give it a long one
//! ([`super::netlink::Netlink::configure_tun`]).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::str::FromStr;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;

use super::{Fault, sys};

pub use crate::packet::VIRTIO_HEADER_LEN as HEADER_LEN;

/// Where every TUN device comes from.
pub const TUN_PATH: &str = "/dev/net/tun";

/// How a device is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TunMode {
    /// virtio-net header, checksum and segmentation offload, several queues.
    #[default]
    Offload,
    /// One packet per call through the `tun-tap` crate, no offloads, one queue.
    Plain,
}

impl std::fmt::Display for TunMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Offload => "offload",
            Self::Plain => "plain",
        })
    }
}

impl FromStr for TunMode {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        match text {
            "offload" => Ok(Self::Offload),
            "plain" => Ok(Self::Plain),
            _ => Err(Fault::new(format!("no TUN mode {text:?}")).remedy("use `offload` or `plain`")),
        }
    }
}

/// What the kernel leaves to us when it hands over a packet, and takes over from us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Offloads {
    /// Partial checksums, in both directions.
    pub checksum: bool,
    /// TCP super-segments over IPv4.
    pub tso4: bool,
    /// TCP super-segments over IPv6.
    pub tso6: bool,
    /// UDP super-segments over either.
    pub uso: bool,
}

/// Sets of offload bits from the best down; the first that the driver takes is used. USO is missing before Linux 6.2.
const OFFLOADS: [(libc::c_uint, Offloads); 4] = [
    (
        libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_USO4 | libc::TUN_F_USO6,
        Offloads { checksum: true, tso4: true, tso6: true, uso: true },
    ),
    (
        libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6,
        Offloads { checksum: true, tso4: true, tso6: true, uso: false },
    ),
    (libc::TUN_F_CSUM, Offloads { checksum: true, tso4: false, tso6: false, uso: false }),
    (0, Offloads { checksum: false, tso4: false, tso6: false, uso: false }),
];

/// An open TUN device with its queues. The interface exists until the last queue is dropped.
#[derive(Debug)]
pub struct TunDevice {
    name: String,
    mode: TunMode,
    offloads: Offloads,
    queues: Vec<TunQueue>,
}

impl TunDevice {
    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it was opened.
    pub fn mode(&self) -> TunMode {
        self.mode
    }

    /// What is active.
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// Its queues: one per worker.
    pub fn queues(&self) -> &[TunQueue] {
        &self.queues
    }

    /// Its queues, to be moved to their workers.
    pub fn into_queues(self) -> Vec<TunQueue> {
        self.queues
    }
}

/// Opens the TUN interface `name` in the caller's network namespace, with `queues` queues (plain mode has one).
///
/// # Errors
/// [`TUN_PATH`] missing or closed to us, no capability in this namespace, a name that is taken or too long.
pub fn open(name: &str, mode: TunMode, queues: usize) -> Result<TunDevice, Fault> {
    let place = || format!("TUN interface {name}");
    match mode {
        TunMode::Offload => open_offload(name, queues.max(1)),
        TunMode::Plain if queues > 1 => {
            Err(Fault::new(format!("{queues} queues asked for, but the plain TUN mode has one"))
                .remedy("use one worker with `--tun plain`"))
        }
        TunMode::Plain => open_plain(name),
    }
    .map_err(|fault| fault.at(place()))
}

/// Opens the device file, with a remedy for each way it can fail.
///
/// # Errors
/// It is missing, or closed to us.
pub fn open_device_file() -> Result<OwnedFd, Fault> {
    rustix::fs::open(TUN_PATH, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
        .map_err(|errno| device_file_fault(errno.into()))
}

fn device_file_fault(error: io::Error) -> Fault {
    let remedy = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
            "sudo modprobe tun; in a container, start it with --device /dev/net/tun"
        }
        Some(Errno::ACCESS | Errno::PERM) => "sudo chmod 666 /dev/net/tun",
        _ => "run `vpce doctor`",
    };
    Fault::new(format!("cannot open {TUN_PATH}: {error}")).at(TUN_PATH).remedy(remedy)
}

fn attach_fault(error: io::Error) -> Fault {
    let remedy = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM) => "run it inside a lab (`vpce lab up`), or with CAP_NET_ADMIN in this network namespace",
        Some(Errno::BUSY) => "another process still has this interface: end it first, or use another name",
        _ => "run `vpce doctor`",
    };
    Fault::new(format!("cannot make a TUN interface: {error}")).remedy(remedy)
}

fn open_offload(name: &str, queues: usize) -> Result<TunDevice, Fault> {
    let multi = if queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | multi;
    let flags = flags as libc::c_short;
    let mut opened = Vec::with_capacity(queues);
    for _ in 0..queues {
        let fd = open_device_file()?;
        sys::tun_attach(fd.as_fd(), name, flags).map_err(attach_fault)?;
        opened.push(fd);
    }
    // Device-wide, so once is enough; some set is always taken, the last one being empty.
    let first = opened[0].as_fd();
    let offloads = OFFLOADS
        .iter()
        .find(|(bits, _)| sys::tun_set_offload(first, *bits).is_ok())
        .map_or_else(Offloads::default, |(_, offloads)| *offloads);
    let queues = opened.into_iter().map(|fd| TunQueue(Queue::Offload(fd))).collect();
    Ok(TunDevice { name: name.to_owned(), mode: TunMode::Offload, offloads, queues })
}

fn open_plain(name: &str) -> Result<TunDevice, Fault> {
    // Opened once only to tell a missing device file from a refused interface; the crate reports both alike.
    drop(open_device_file()?);
    if name.len() >= libc::IFNAMSIZ {
        return Err(attach_fault(io::ErrorKind::InvalidInput.into()));
    }
    let interface = tun_tap::Iface::without_packet_info(name, tun_tap::Mode::Tun).map_err(attach_fault)?;
    interface.set_non_blocking().map_err(attach_fault)?;
    rustix::io::fcntl_setfd(sys::borrow_fd(&interface), rustix::io::FdFlags::CLOEXEC)
        .map_err(|errno| attach_fault(errno.into()))?;
    let queues = vec![TunQueue(Queue::Plain(interface))];
    Ok(TunDevice { name: name.to_owned(), mode: TunMode::Plain, offloads: Offloads::default(), queues })
}

/// One queue of a device. Belongs to one worker.
#[derive(Debug)]
pub struct TunQueue(Queue);

#[derive(Debug)]
enum Queue {
    Offload(OwnedFd),
    Plain(tun_tap::Iface),
}

impl TunQueue {
    /// Receives one packet, header first, and returns the length of both. `WouldBlock` when there is none.
    ///
    /// A packet longer than the buffer is cut off: give it [`HEADER_LEN`] + 65,535 bytes.
    ///
    /// # Errors
    /// What `read(2)` says; `InvalidInput` for a buffer shorter than the header.
    #[inline]
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Queue::Offload(fd) => rustix::io::read(fd, buffer).map_err(Into::into),
            Queue::Plain(interface) => {
                let (header, packet) = buffer.split_at_mut_checked(HEADER_LEN).ok_or(io::ErrorKind::InvalidInput)?;
                let received = interface.recv(packet)?;
                header.fill(0);
                Ok(HEADER_LEN + received)
            }
        }
    }

    /// Sends one packet, header first, and returns the length of both. `WouldBlock` when the kernel is busy.
    ///
    /// # Errors
    /// What `write(2)` says (`EINVAL` for a header that does not fit its packet); `InvalidInput` for a buffer shorter
    /// than the header.
    #[inline]
    pub fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Queue::Offload(fd) => rustix::io::write(fd, buffer).map_err(Into::into),
            Queue::Plain(interface) => {
                let packet = buffer.get(HEADER_LEN..).ok_or(io::ErrorKind::InvalidInput)?;
                Ok(HEADER_LEN + interface.send(packet)?)
            }
        }
    }
}

impl AsRawFd for TunQueue {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsFd for TunQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Queue::Offload(fd) => fd.as_fd(),
            Queue::Plain(interface) => sys::borrow_fd(interface),
        }
    }
}
