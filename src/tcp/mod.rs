//! TCP: smoltcp, with one shared interface per leg and one socket set per connection.
//!
//! smoltcp finds sockets by walking its set, so a shared set costs O(connections) per packet; a set of one makes every
//! operation flat (docs/benchmarks.md). The flow table in front decides which connection a packet belongs to. Buffers are
//! taken only after a security group said yes, and whole sets are pooled: a set costs more to make than a request to serve.
//!
//! Legs: toward the VPC the device segments (TSO) and computes checksums; toward the tunnel every packet must fit the
//! tunnel's MTU and is checksummed here. Whatever smoltcp emits must reach the device: it has a one second minimum RTO and
//! ignores received SACK, so the edge holds packets back instead of dropping them.
//!
//! Not here: listening sockets, backlogs and SYN cookies; half-open connections are limited by the flow table.

mod connection;
mod device;
mod segmentation;

use std::time::Duration;

use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

pub use connection::{Connection, State};
pub use device::{HEADROOM, PacketBuffer};
use device::{SlotDevice, capabilities};

use crate::time::Moment;

/// Which way a connection's packets go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Leg {
    /// Through a TUN device of the endpoint.
    Vpc,
    /// Through the ESP tunnel.
    Tunnel,
}

/// What the stage needs to know.
#[derive(Clone, Debug)]
pub struct TcpSetup {
    /// Addresses that connections may end or begin at; at most [`TcpSetup::ADDRESS_LIMIT`] of each family.
    pub addresses: Vec<std::net::IpAddr>,
    /// Whether the VPC leg's device segments and computes checksums.
    pub offload: bool,
    /// MTU of the VPC leg, bytes.
    pub vpc_mtu: usize,
    /// Inner MTU of the tunnel leg, bytes.
    pub tunnel_mtu: usize,
    /// Receive and send buffer of a connection, bytes each.
    pub buffer: usize,
    /// Connections at the same time.
    pub limit: usize,
    /// Seeds initial sequence numbers.
    pub seed: u64,
}

impl TcpSetup {
    /// smoltcp's compiled-in number of addresses per interface.
    pub const ADDRESS_LIMIT: usize = 8;
}

/// All connections' shared parts.
pub struct TcpStage {
    interfaces: [Interface; CLASSES],
    devices: [SlotDevice; CLASSES],
    pool: Vec<SocketSet<'static>>,
    buffer: usize,
    limit: usize,
    live: usize,
}

impl std::fmt::Debug for TcpStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpStage").field("live", &self.live).field("pooled", &self.pool.len()).finish_non_exhaustive()
    }
}

/// Idle sets kept for reuse.
const POOL_LIMIT: usize = 1_024;

impl TcpStage {
    /// Sets up the interfaces. Addresses over the limit are not served.
    pub fn new(setup: &TcpSetup) -> Self {
        let mut devices = [
            SlotDevice::new(capabilities::vpc_v4(setup)),
            SlotDevice::new(capabilities::vpc_v6(setup)),
            SlotDevice::new(capabilities::tunnel(setup)),
            SlotDevice::new(capabilities::tunnel(setup)),
        ];
        let [vpc4, vpc6, tunnel4, tunnel6] = &mut devices;
        let interfaces = [
            interface(setup, vpc4, false),
            interface(setup, vpc6, true),
            interface(setup, tunnel4, false),
            interface(setup, tunnel6, true),
        ];
        Self { interfaces, devices, pool: Vec::new(), buffer: setup.buffer, limit: setup.limit, live: 0 }
    }

    /// A connection that waits for the SYN to `local`; `None` at the limit.
    pub fn listen(&mut self, leg: Leg, local: std::net::SocketAddr) -> Option<Connection> {
        let mut connection = self.take(leg, local.is_ipv6())?;
        let endpoint = (IpAddress::from(local.ip()), local.port());
        // A pooled or fresh socket is closed, and the port is not zero: listening cannot fail.
        connection.socket().listen(endpoint).ok()?;
        Some(connection)
    }

    /// A connection from `local` to `remote`, whose SYN the next [`TcpStage::poll_egress`] emits; `None` at the limit.
    pub fn connect(
        &mut self,
        leg: Leg,
        local: std::net::SocketAddr,
        remote: std::net::SocketAddr,
    ) -> Option<Connection> {
        let mut connection = self.take(leg, local.is_ipv6())?;
        let (interface, _) = self.interface(connection.class);
        let local = (IpAddress::from(local.ip()), local.port());
        let remote = (IpAddress::from(remote.ip()), remote.port());
        connection.socket().connect(interface.context(), remote, local).ok()?;
        Some(connection)
    }

    /// Gives a packet to its connection. Returns whether an immediate answer (RST, challenge ACK) lies in `out`.
    ///
    /// The packet's checksums must have been verified; it may be a super-segment of any size. A SYN's MSS option may be
    /// changed (see [`segmentation`]).
    pub fn ingress(
        &mut self,
        connection: &mut Connection,
        packet: &mut [u8],
        now: Moment,
        out: &mut PacketBuffer,
    ) -> bool {
        // Only the SYN that opens the connection counts, not one that a stranger sends later.
        if connection.class == Class::Vpc6 && !connection.is_established() {
            segmentation::present_large_mss(&mut connection.real_mss, packet, self.devices[Class::Vpc6 as usize].mtu());
        }
        out.clear();
        let real_mss = connection.real_mss;
        let (interface, device) = self.interface(connection.class);
        let mut ports = device.with(Some(packet), out, real_mss);
        let result = interface.poll_ingress_single(instant(now), &mut ports, &mut connection.set);
        debug_assert!(!matches!(result, PollIngressSingleResult::None), "a packet was given");
        !out.is_empty()
    }

    /// Emits at most one packet of the connection into `out`; returns whether it did. Call until it returns false.
    pub fn poll_egress(&mut self, connection: &mut Connection, now: Moment, out: &mut PacketBuffer) -> bool {
        out.clear();
        let real_mss = connection.real_mss;
        let (interface, device) = self.interface(connection.class);
        let mut ports = device.with(None, out, real_mss);
        let result = interface.poll_egress(instant(now), &mut ports, &mut connection.set);
        // A state change without a packet (a time-out, say) is reported as a change, too.
        let _: PollResult = result;
        !out.is_empty()
    }

    /// When the connection next needs [`TcpStage::poll_egress`] without any packet: retransmissions, probes, time-outs.
    pub fn poll_at(&mut self, connection: &mut Connection, now: Moment) -> Option<Moment> {
        let (interface, _) = self.interface(connection.class);
        let mut at = interface.poll_at(instant(now), &connection.set);
        if at.is_none() || connection.unacknowledged() == 0 {
            connection.mend_stall(at.is_none());
            at = interface.poll_at(instant(now), &connection.set);
        }
        let at = at?;
        let micros = u64::try_from(at.total_micros()).unwrap_or(0);
        Some(Moment::from_nanos(micros.saturating_mul(1_000)))
    }

    /// Takes a connection back. Its socket is reused; what was buffered is lost.
    pub fn release(&mut self, mut connection: Connection) {
        connection.socket().abort();
        self.live = self.live.saturating_sub(1);
        if self.pool.len() < POOL_LIMIT {
            self.pool.push(connection.set);
        }
    }

    /// Counts off a connection whose socket somebody else still holds; it is not used again.
    pub fn forget(&mut self) {
        self.live = self.live.saturating_sub(1);
    }

    /// Connections in use.
    pub fn live(&self) -> usize {
        self.live
    }

    fn take(&mut self, leg: Leg, v6: bool) -> Option<Connection> {
        if self.live >= self.limit {
            return None;
        }
        self.live += 1;
        let set = self.pool.pop().unwrap_or_else(|| new_set(self.buffer));
        Some(Connection::new(set, Class::of(leg, v6)))
    }

    fn interface(&mut self, class: Class) -> (&mut Interface, &mut SlotDevice) {
        let index = class as usize;
        (&mut self.interfaces[index], &mut self.devices[index])
    }
}

/// The interface that serves a connection: smoltcp fixes the capabilities when an interface is made, and its number of
/// addresses is small, so each family has its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    Vpc4 = 0,
    Vpc6 = 1,
    Tunnel4 = 2,
    Tunnel6 = 3,
}

const CLASSES: usize = 4;

impl Class {
    fn of(leg: Leg, v6: bool) -> Self {
        match (leg, v6) {
            (Leg::Tunnel, false) => Self::Tunnel4,
            (Leg::Tunnel, true) => Self::Tunnel6,
            (Leg::Vpc, false) => Self::Vpc4,
            (Leg::Vpc, true) => Self::Vpc6,
        }
    }
}

fn new_set(buffer: usize) -> SocketSet<'static> {
    let mut socket = Socket::new(SocketBuffer::new(vec![0; buffer]), SocketBuffer::new(vec![0; buffer]));
    // Answers leave in the same turn, so an ACK need not wait for one; and nothing here is worth coalescing.
    socket.set_ack_delay(None);
    socket.set_nagle_enabled(false);
    socket.set_congestion_control(smoltcp::socket::tcp::CongestionControl::None);
    let mut set = SocketSet::new(Vec::with_capacity(1));
    set.add(socket);
    set
}

fn interface(setup: &TcpSetup, device: &mut SlotDevice, v6: bool) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = setup.seed;
    let mut nowhere = PacketBuffer::default();
    let mut interface = Interface::new(config, &mut device.with(None, &mut nowhere, 0), instant(Moment::default()));
    interface.update_ip_addrs(|addresses| {
        for &address in setup.addresses.iter().filter(|address| address.is_ipv6() == v6).take(TcpSetup::ADDRESS_LIMIT) {
            let prefix = if address.is_ipv4() { 32 } else { 128 };
            // The limit above is the vector's capacity.
            addresses.push(IpCidr::new(address.into(), prefix)).unwrap_or_default();
        }
    });
    interface
}

fn instant(now: Moment) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

fn smoltcp_duration(duration: Duration) -> smoltcp::time::Duration {
    smoltcp::time::Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
