//! How packets leave: to a device of the VPC, or sealed into the tunnel.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};

use super::Engine;
use crate::eni::{Egress, EniPacket, Origin};
use crate::packet::checksum::fill_partial;
use crate::packet::{PacketMeta, TcpFlags, VIRTIO_HEADER_LEN, VirtioHeader, parse};
use crate::tcp::{Leg, PacketBuffer};
use crate::verdict::{Counters, Event, Reason};

/// A device of the VPC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Port {
    /// The eni in this slot.
    Eni(usize),
    /// The VPC's router: the resolver, the way to the tunnel and from it.
    Router,
}

/// Takes packets for devices.
pub trait Output {
    /// Writes a packet with its virtio-net header in front. `false` if the device cannot take it now: it is then offered
    /// again, and nothing else before it.
    fn packet(&mut self, port: Port, buffer: &[u8]) -> bool;
}

/// Packets that a device could not take yet. TCP above never learns of a loss here, so there must be none: connections
/// emit nothing while any packet is held. What arrives meanwhile may still be answered, up to [`HELD_LIMIT`].
#[derive(Debug, Default)]
pub(super) struct Held(VecDeque<(Port, Vec<u8>)>);

/// Packets held at most: beyond it acknowledgements, resets, DNS answers and forwarded packets are dropped.
const HELD_LIMIT: usize = 256;
/// How soon held packets are offered again: a device does not say when it has room.
pub(super) const OFFER_EVERY: Duration = Duration::from_millis(1);

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Engine {
    /// Offers held packets again; returns whether all are gone.
    pub(super) fn release_held(&mut self, output: &mut impl Output) -> bool {
        while let Some((port, buffer)) = self.held.0.front() {
            if !output.packet(*port, buffer) {
                return false;
            }
            self.held.0.pop_front();
        }
        true
    }

    /// Emits everything a client's connection has to send. Returns whether nothing is left.
    pub(super) fn emit_client(&mut self, slot: usize, output: &mut impl Output) -> bool {
        loop {
            let Some(client) = self.clients.get_mut(slot) else { return true };
            if client.leg == Leg::Tunnel && !self.tunnel.has_room(usize::from(self.tunnel.inner_mtu())) {
                self.tunnel_waiters.push(&client.ready);
                return false;
            }
            if !self.tcp.poll_egress(&mut client.tcp, self.now.mono, &mut self.out) {
                if client.tcp.take_made_room() {
                    client.ready.mark();
                }
                return true;
            }
            let (flow, leg) = (client.flow, client.leg);
            self.emit_for_flow(flow, leg, output);
            if !self.held.is_empty() {
                if let Some(client) = self.clients.get(slot) {
                    client.ready.mark();
                }
                return false;
            }
        }
    }

    /// Sends the packet in `self.out`, which belongs to a flow of an eni.
    pub(super) fn emit_for_flow(&mut self, flow: crate::flow::FlowId, leg: Leg, output: &mut impl Output) {
        let gso_size = self.out.gso_size();
        let Ok(view) = parse(self.out.packet()) else {
            debug_assert!(false, "smoltcp emits packets");
            return;
        };
        let meta = *view.meta();
        if meta.tcp_flags().contains(TcpFlags::RST) {
            self.counters.count(Event::TcpResetTx);
        }
        let offloaded = leg == Leg::Vpc && self.offload;
        if offloaded {
            fill_partial(self.out.packet_mut(), &meta);
        }
        let header = if offloaded { VirtioHeader::for_tcp(&meta, Some(gso_size)) } else { VirtioHeader::default() };
        let packet = EniPacket { bytes: self.out.packet_mut(), meta: &meta, header: &header };
        match self.eni.egress(flow, packet, self.now, &self.counters) {
            Egress::Drop(_) => {}
            Egress::Send(Origin::Vpc) => {
                let port = Port::Eni(self.routes.eni_of(meta.tuple().src()).unwrap_or(usize::MAX));
                self.write_out(port, &header, output);
            }
            Egress::Send(Origin::Tunnel) => self.seal(),
        }
    }

    /// Writes the packet in `self.out` to a device.
    pub(super) fn write_out(&mut self, port: Port, header: &VirtioHeader, output: &mut impl Output) {
        let buffer = self.out.with_room(VIRTIO_HEADER_LEN);
        write(buffer, port, header, output, &mut self.held, &self.counters);
    }

    /// Writes a packet to a device; `buffer` has room for the device's header before it.
    pub(super) fn write(&mut self, port: Port, header: &VirtioHeader, buffer: &mut [u8], output: &mut impl Output) {
        write(buffer, port, header, output, &mut self.held, &self.counters);
    }

    /// Acknowledges a FIN that came again after its connection was over: the acknowledgement was lost. RFC 9293 §3.6.1 has
    /// a socket stay in TIME-WAIT for this; the segment itself says all that the answer needs.
    pub(super) fn acknowledge_fin(
        &mut self,
        flow: crate::flow::FlowId,
        leg: Leg,
        fin: &PacketMeta,
        output: &mut impl Output,
    ) {
        let reply = fin.tuple().reversed();
        let (from, to) = (reply.src_socket(), reply.dst_socket());
        let next = fin.tcp_sequence().wrapping_add(fin.payload_len() as u32).wrapping_add(1);
        let Some(builder) = ip(from.ip(), to.ip()) else { return };
        let builder = builder.tcp(from.port(), to.port(), fin.tcp_acknowledgement(), 0).ack(next);
        self.out.fill_with(|room| {
            let mut rest = &mut *room;
            let len = builder.size(0);
            if builder.write(&mut rest, &[]).is_ok() { len } else { 0 }
        });
        if !self.out.is_empty() {
            self.emit_for_flow(flow, leg, output);
        }
    }

    /// Seals the packet in `self.out` into the tunnel. What the path drops is counted by the tunnel.
    pub(super) fn seal(&mut self) {
        let _counted = self.tunnel.send(0, self.out.packet(), self.now.mono, &self.counters);
    }
}

/// Makes a datagram in `out`; returns whether it fits one packet and both ends are of one family.
pub(super) fn datagram(out: &mut PacketBuffer, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> bool {
    let Some(builder) = ip(from.ip(), to.ip()) else { return false };
    let builder = builder.udp(from.port(), to.port());
    out.fill_with(|room| {
        let mut rest = &mut *room;
        let len = builder.size(payload.len());
        if builder.write(&mut rest, payload).is_ok() { len } else { 0 }
    });
    !out.is_empty()
}

fn ip(from: IpAddr, to: IpAddr) -> Option<PacketBuilderStep<IpHeaders>> {
    const HOP_LIMIT: u8 = 64;
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Some(PacketBuilder::ipv4(from.octets(), to.octets(), HOP_LIMIT)),
        (IpAddr::V6(from), IpAddr::V6(to)) => Some(PacketBuilder::ipv6(from.octets(), to.octets(), HOP_LIMIT)),
        _ => None,
    }
}

fn write(
    buffer: &mut [u8],
    port: Port,
    header: &VirtioHeader,
    output: &mut impl Output,
    held: &mut Held,
    counters: &Counters,
) {
    if held.0.len() >= HELD_LIMIT {
        return counters.deny(Reason::DeviceFull);
    }
    counters.count(Event::PacketsTx);
    counters.add(Event::BytesTx, (buffer.len() - VIRTIO_HEADER_LEN) as u64);
    buffer[..VIRTIO_HEADER_LEN].copy_from_slice(&header.emit());
    if !held.is_empty() || !output.packet(port, buffer) {
        held.0.push_back((port, buffer.to_vec()));
    }
}
