//! The customer gateway: the on-premises end of the tunnel, between a TUN device and UDP sockets.
//!
//! What the kernel routes into the TUN is sealed and sent; what comes in frames goes into the TUN, and the kernel routes it
//! on. One thread, one loop of the same shape as the endpoint's: everything that is there is handled, one clock reading per
//! turn, then everything due is sent, and only a turn that found nothing waits.
//!
//! One SA pair and one UDP port per endpoint worker, all on this thread, so that the tunnel's rate in this direction is one
//! rate. The path emulated here is the way to AWS; the way back is emulated by the endpoint.
//!
//! Limits: [`BURST`] packets and [`RECEIVES_PER_TURN`] receives per socket and turn; the transmit queue's size
//! ([`crate::tunnel`]). While a socket is full the TUN is not read: its queue waits, and then drops, as a router's does.
//!
//! Counters: `PACKETS_RX`/`TX` are the TUN's, `FRAMES_*` the sockets', `FORWARDED` both directions; `CANNOT_ROUTE` is a
//! packet that does not belong into the tunnel. What the TUN refuses is `PACKET_MALFORMED`.

#![expect(clippy::disallowed_methods, reason = "the gateway's own thread owns its clock")]

mod affinity;
mod forwarder;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::Waker;

use self::forwarder::Forwarder;
use crate::config::Topology;
use crate::edge::sources::Sources;
use crate::edge::tun::{TunDevice, TunQueue};
use crate::edge::udp::{Flushed, RECEIVE_BUFFER, Receipt, TunnelSocket, flush};
use crate::edge::{Fault, OrFault};
use crate::packet::{PACKET_LEN_MAX, VIRTIO_HEADER_LEN, VirtioHeader};
use crate::time::Moment;
use crate::tunnel::keys::TunnelKeys;
use crate::tunnel::path::Link;
use crate::tunnel::{Side, TunnelEnd, mtu};
use crate::verdict::{Counters, Event, Reason};

/// Receives per socket and turn: each may hold 45 full frames.
const RECEIVES_PER_TURN: usize = 16;
/// Packets read from the device before the sockets have their turn.
const BURST: usize = 64;
/// A packet of the largest size with its header.
const PACKET_BUFFER: usize = VIRTIO_HEADER_LEN + PACKET_LEN_MAX;
/// The device's place among the sources; the sockets follow.
const DEVICE: usize = 0;

/// The customer gateway. Made in its network namespace, run on a thread of its own.
#[derive(Debug)]
pub struct CustomerGateway {
    device: TunQueue,
    sockets: Vec<TunnelSocket>,
    forwarder: Forwarder,
    counters: Arc<Counters>,
    sources: Sources,
    shutdown: Shutdown,
    packet_buffer: Box<[u8]>,
    receive_buffer: Box<[u8]>,
    /// A socket is full: nothing more is read from the TUN.
    is_blocked: bool,
    origin: Instant,
}

/// Ends a gateway's [`CustomerGateway::run`], from any thread.
#[derive(Clone, Debug)]
pub struct Shutdown {
    asked: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

impl Shutdown {
    /// Asks the gateway to return.
    ///
    /// # Errors
    /// When the kernel refuses the wake-up; the gateway then returns at the next packet.
    pub fn shut_down(&self) -> io::Result<()> {
        self.asked.store(true, Ordering::Release);
        self.waker.wake()
    }
}

/// The MTU for the gateway's TUN device: the largest packet that fits the tunnel of `topology`.
///
/// # Errors
/// When the topology names a path profile that it does not have.
pub fn device_mtu(topology: &Topology) -> Result<u16, Fault> {
    profile(topology).map(|profile| mtu::inner_mtu(profile.mtu))
}

fn profile(topology: &Topology) -> Result<&crate::config::PathProfile, Fault> {
    let name = &topology.tunnel.path;
    let found = topology.paths.iter().find(|profile| profile.name == *name);
    found.ok_or_else(|| Fault::new(format!("there is no path profile {name:?}")).at("tunnel.path"))
}

impl CustomerGateway {
    /// Opens the gateway's sockets in the network namespace of the calling thread, one per SA pair of `keys`, beside a TUN
    /// device with one queue. `seed` makes the path's loss and jitter repeatable.
    ///
    /// # Errors
    /// A socket that cannot be opened (the outside address must exist), a device with several queues, or a kernel
    /// without epoll, eventfd or timerfd.
    pub fn open(topology: &Topology, keys: &TunnelKeys, device: TunDevice, seed: u64) -> Result<Self, Fault> {
        let name = device.name().to_owned();
        let merges = device.offloads().tso4 && device.offloads().tso6;
        let [device] = <[TunQueue; 1]>::try_from(device.into_queues()).map_err(|queues| {
            Fault::new(format!("the customer gateway has one thread, but the device has {} queues", queues.len()))
                .at(format!("TUN interface {name}"))
                .remedy("open the device with one queue")
        })?;
        let tunnel = &topology.tunnel;
        let sockets = (0..keys.pairs().len()).map(|worker| {
            let port = u16::try_from(worker).ok().and_then(|worker| tunnel.port.checked_add(worker));
            let port = port.ok_or_else(|| Fault::new(format!("no UDP port for worker {worker}")).at("tunnel.port"))?;
            let (own, other) = (tunnel.customer_outside, tunnel.aws_outside);
            TunnelSocket::open(SocketAddr::from((own, port)), SocketAddr::from((other, port)))
                .map_err(|error| Fault::new(error.to_string()))
        });
        let sockets = sockets.collect::<Result<Vec<_>, Fault>>()?;

        let profile = profile(topology)?;
        let link = Arc::new(Link::new(Side::Customer.direction(profile)));
        let end = TunnelEnd::new(Side::Customer, keys.pairs(), tunnel.replay_window, profile, link, seed);

        let failed = || "cannot watch the customer gateway's sockets";
        let fds = [device.as_raw_fd()].into_iter().chain(sockets.iter().map(AsRawFd::as_raw_fd));
        let sources = Sources::new(fds).or_fault(failed)?;
        let waker = Arc::new(sources.waker().or_fault(failed)?);
        Ok(Self {
            device,
            sockets,
            forwarder: Forwarder::new(topology, end, merges),
            counters: Arc::default(),
            sources,
            shutdown: Shutdown { asked: Arc::default(), waker },
            packet_buffer: vec![0; PACKET_BUFFER].into(),
            receive_buffer: vec![0; RECEIVE_BUFFER].into(),
            is_blocked: false,
            origin: Instant::now(),
        })
    }

    /// The gateway's counters, for whoever shows them.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// What ends [`Self::run`].
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Forwards until [`Shutdown::shut_down`].
    ///
    /// # Errors
    /// When the kernel no longer lets it wait. Whatever packets, frames and networks do is counted, never an error.
    pub fn run(&mut self) -> Result<(), Fault> {
        while !self.shutdown.asked.load(Ordering::Acquire) {
            let limit = self.turn();
            limit
                .and_then(|limit| self.sources.wait(limit))
                .or_fault(|| "the customer gateway cannot wait for packets")?;
        }
        Ok(())
    }

    /// Handles what is there and sends what is due. Returns how long nothing has to be done if nothing arrives.
    fn turn(&mut self) -> io::Result<Option<Duration>> {
        let now = self.now();
        for index in 0..self.sockets.len() {
            if self.sources.is_readable(DEVICE + 1 + index) {
                self.receive_frames(index, now);
            }
        }
        if !self.is_blocked && self.sources.is_readable(DEVICE) {
            self.receive_packets(now);
        }
        let flushed = flush(&mut self.forwarder.end, &self.sockets, now, &self.counters);
        self.is_blocked = flushed == Flushed::Blocked;
        for index in 0..self.sockets.len() {
            self.sources.await_room(DEVICE + 1 + index, self.is_blocked)?;
        }
        if self.is_blocked {
            // A full socket tells when it has room; what is due meanwhile waits for it, and so does the device.
            let has_frames = (0..self.sockets.len()).any(|index| self.sources.is_readable(DEVICE + 1 + index));
            return Ok(has_frames.then_some(Duration::ZERO));
        }
        if self.sources.any_readable() {
            return Ok(Some(Duration::ZERO));
        }
        let deadline = self.forwarder.end.next_deadline();
        Ok(deadline.map(|deadline| deadline.since(self.now())))
    }

    /// Tunnel → TUN.
    fn receive_frames(&mut self, index: usize, now: Moment) {
        let Self { device, sockets, forwarder, counters, receive_buffer, .. } = self;
        let counters: &Counters = counters;
        for _ in 0..RECEIVES_PER_TURN {
            match sockets[index].recv(receive_buffer) {
                Receipt::Payload { len, segment_size } => {
                    let payload = &mut receive_buffer[..len];
                    forwarder.handle_frames(payload, segment_size, now, counters, |header, buffer| {
                        deliver(device, header, buffer, counters);
                    });
                }
                Receipt::Refused => counters.deny(Reason::TunnelUnreachable),
                Receipt::Empty => return self.sources.drained(DEVICE + 1 + index),
                Receipt::Failed(_) => return counters.deny(Reason::TunnelUnreachable),
            }
        }
    }

    /// TUN → tunnel.
    fn receive_packets(&mut self, now: Moment) {
        for _ in 0..BURST {
            match self.device.recv(&mut self.packet_buffer) {
                Ok(len) => self.forwarder.handle_packet(&mut self.packet_buffer[..len], now, &self.counters),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nothing there; or the interface is down, and comes up with an event.
                Err(_) => return self.sources.drained(DEVICE),
            }
        }
    }

    fn now(&self) -> Moment {
        Moment::default() + self.origin.elapsed()
    }
}

/// Writes a packet into the TUN; `buffer` has room for the device's header before it.
#[inline]
fn deliver(device: &TunQueue, header: &VirtioHeader, buffer: &mut [u8], counters: &Counters) {
    buffer[..VIRTIO_HEADER_LEN].copy_from_slice(&header.emit());
    match device.send(buffer) {
        Ok(len) => {
            counters.count(Event::PacketsTx);
            counters.add(Event::BytesTx, (len - VIRTIO_HEADER_LEN) as u64);
        }
        Err(error) => counters.deny(match error.raw_os_error() {
            Some(libc::EINVAL) => Reason::PacketMalformed,
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Reason::TunnelQueueFull,
            // The interface is down or gone.
            _ => Reason::CannotRoute,
        }),
    }
}
