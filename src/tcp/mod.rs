//! TCP: smoltcp, with one shared interface per leg and one socket set per connection.
//!
//! smoltcp finds sockets by walking its set, so a shared set costs O(connections) per packet; a set of one makes every
//! operation flat (docs/benchmarks.md). The flow table in front decides which connection a packet belongs to. Buffers are
//! taken only after a security group said yes, and whole sets are pooled: a set costs more to make than a request to serve.
//!
//! Legs: toward the VPC the device segments (TSO) and computes checksums; toward the tunnel every packet must fit the
//! tunnel's MTU and is checksummed here. smoltcp ignores received SACK and has a minimum time-out of a second. So whatever
//! is emitted toward the VPC must reach the device, and the edge holds packets back instead of dropping them; through the
//! tunnel, whose path loses packets, [`recovery`] is the sender.
//!
//! Not here: listening sockets, backlogs and SYN cookies; half-open connections are limited by the flow table.

mod connection;
mod device;
mod recovery;
mod segmentation;

use std::time::Duration;

use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

pub use connection::{Connection, State};
pub use device::{HEADROOM, PacketBuffer};
use device::{SlotDevice, capabilities};
use recovery::{ChunkPool, Context, Recovery, Tally};

use crate::time::Moment;
use crate::verdict::{Counters, Event, Reason};

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

/// All connections' shared parts.
pub struct TcpStage {
    interfaces: [Interface; CLASSES],
    devices: [SlotDevice; CLASSES],
    pool: Vec<SocketSet<'static>>,
    #[expect(clippy::vec_box, reason = "a box goes from here into a connection and back")]
    recoveries: Vec<Box<Recovery>>,
    chunks: ChunkPool,
    tally: Tally,
    buffer: usize,
    limit: usize,
    live: usize,
}

impl std::fmt::Debug for TcpStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpStage").field("live", &self.live).field("pooled", &self.pool.len()).finish_non_exhaustive()
    }
}

/// The address that an interface calls its own. None of its packets has it.
const OWN_V4: std::net::Ipv4Addr = std::net::Ipv4Addr::LOCALHOST;
const OWN_V6: std::net::Ipv6Addr = std::net::Ipv6Addr::LOCALHOST;

/// Idle sets kept for reuse.
const POOL_LIMIT: usize = 1_024;
/// A set is not kept after more bytes than this, in both directions together. What was written of its buffers stays in
/// memory with it, and the receive buffer is written round and round: a used-up set would make a connection that does
/// nothing as large as one that did.
const POOLED_AFTER: usize = 16 * 1024;

impl TcpStage {
    /// Sets up the interfaces.
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
        Self {
            interfaces,
            devices,
            pool: Vec::new(),
            recoveries: Vec::new(),
            chunks: ChunkPool::default(),
            tally: Tally::default(),
            buffer: setup.buffer,
            limit: setup.limit,
            live: 0,
        }
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
        let Some(mut recovery) = connection.recovery.take() else { return self.give(connection, packet, now, out) };
        recovery.handle_ingress(packet, &mut self.context(now));
        if self.give(connection, packet, now, out) && !recovery.handle_egress(out, &mut self.context(now)) {
            out.clear();
        }
        if !recovery.is_idle() && connection.is_over() {
            recovery.stop(&mut self.chunks);
        }
        connection.recovery = Some(recovery);
        !out.is_empty()
    }

    /// Emits at most one packet of the connection into `out`; returns whether it did. Call until it returns false.
    pub fn poll_egress(&mut self, connection: &mut Connection, now: Moment, out: &mut PacketBuffer) -> bool {
        out.clear();
        let Some(mut recovery) = connection.recovery.take() else { return self.take_from(connection, now, out) };
        let has_packet = self.poll_recovered(connection, &mut recovery, now, out);
        connection.recovery = Some(recovery);
        has_packet
    }

    /// Emits what is to be sent again, then what smoltcp has, as far as the recovery lets it.
    fn poll_recovered(
        &mut self,
        connection: &mut Connection,
        recovery: &mut Recovery,
        now: Moment,
        out: &mut PacketBuffer,
    ) -> bool {
        if !recovery.is_idle() && connection.is_over() {
            recovery.stop(&mut self.chunks);
        }
        if recovery.poll_again(out, &mut self.context(now)) {
            return true;
        }
        let mut acknowledgement = [0; 60];
        loop {
            while self.take_from(connection, now, out) {
                if recovery.handle_egress(out, &mut self.context(now)) {
                    return true;
                }
            }
            let queued = connection.queued();
            let Some(len) = recovery.poll_window(queued, &mut acknowledgement, &mut self.context(now)) else {
                return false;
            };
            let is_answered = self.give(connection, &acknowledgement[..len], now, out);
            connection.made_room |= connection.queued() < queued;
            if is_answered && recovery.handle_egress(out, &mut self.context(now)) {
                return true;
            }
        }
    }

    /// Gives smoltcp a packet; returns whether an answer lies in `out`.
    fn give(&mut self, connection: &mut Connection, packet: &[u8], now: Moment, out: &mut PacketBuffer) -> bool {
        out.clear();
        let real_mss = connection.real_mss;
        let (interface, device) = self.interface(connection.class);
        let mut ports = device.with(Some(packet), out, real_mss);
        let result = interface.poll_ingress_single(instant(now), &mut ports, &mut connection.set);
        debug_assert!(!matches!(result, PollIngressSingleResult::None), "a packet was given");
        !out.is_empty()
    }

    /// Takes a packet from smoltcp; returns whether there was one.
    fn take_from(&mut self, connection: &mut Connection, now: Moment, out: &mut PacketBuffer) -> bool {
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
        if (at.is_none() || connection.queued() == 0) && connection.mend_stall(at.is_none()) {
            at = interface.poll_at(instant(now), &connection.set);
        }
        let micros = at.map(|at| u64::try_from(at.total_micros()).unwrap_or(0));
        let own = micros.map(|micros| Moment::from_nanos(micros.saturating_mul(1_000)));
        let recovery = connection.recovery.as_ref().and_then(|recovery| recovery.deadline());
        [own, recovery].into_iter().flatten().min()
    }

    /// Counts what the recovery did since the last call.
    pub fn count_recovery(&mut self, counters: &Counters) {
        if self.tally == Tally::default() {
            return;
        }
        let Tally { again, probes, timeouts, selective, spurious, invalid } = std::mem::take(&mut self.tally);
        counters.add(Event::TcpRetransmitted, again);
        counters.add(Event::TcpLossProbe, probes);
        counters.add(Event::TcpTimeout, timeouts);
        counters.add(Event::TcpSelectiveAck, selective);
        counters.add(Event::TcpSpurious, spurious);
        (0..invalid).for_each(|_| counters.deny(Reason::TcpAckInvalid));
    }

    /// Takes a connection back. Its socket is reused; what was buffered is lost.
    pub fn release(&mut self, mut connection: Connection) {
        connection.socket().abort();
        self.live = self.live.saturating_sub(1);
        if let Some(mut recovery) = connection.recovery.take() {
            recovery.reset(&mut self.chunks);
            if self.recoveries.len() < POOL_LIMIT {
                self.recoveries.push(recovery);
            }
        }
        if self.pool.len() < POOL_LIMIT && connection.moved <= POOLED_AFTER {
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
        let recovery = (leg == Leg::Tunnel).then(|| self.recoveries.pop().unwrap_or_default());
        Some(Connection::new(set, Class::of(leg, v6), recovery))
    }

    fn context(&mut self, now: Moment) -> Context<'_> {
        Context { now, pool: &mut self.chunks, tally: &mut self.tally }
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
    // Enis come and go: any address is the interface's own (smoltcp's AnyIP, a route to itself). Whoever hands a packet in
    // knows that its connection is here.
    let own = if v6 { IpAddress::Ipv6(OWN_V6) } else { IpAddress::Ipv4(OWN_V4) };
    interface.set_any_ip(true);
    // One address and one route: the least that smoltcp is ever compiled for.
    interface
        .update_ip_addrs(|addresses| addresses.push(IpCidr::new(own, if v6 { 128 } else { 32 })).unwrap_or_default());
    match own {
        IpAddress::Ipv4(own) => interface.routes_mut().add_default_ipv4_route(own).map(drop).unwrap_or_default(),
        IpAddress::Ipv6(own) => interface.routes_mut().add_default_ipv6_route(own).map(drop).unwrap_or_default(),
    }
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
