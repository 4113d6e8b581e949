//! What becomes of a packet that arrives, from the VPC or out of the tunnel.

use std::net::SocketAddr;

use super::client::Client;
use super::egress::{Output, Port};
use super::ready::Task;
use super::routes::Destination;
use super::{Engine, host_key};
use crate::dns::{Answer, View};
use crate::eni::{EniPacket, Ingress, Origin};
use crate::flow::FlowId;
use crate::packet::checksum::verify_transport;
use crate::packet::{
    Merger, PacketMeta, Protocol, Run, TcpFlags, VIRTIO_HEADER_LEN, VirtioHeader, emit_reset, parse_meta,
};
use crate::security_group::Subject;
use crate::tcp::Leg;
use crate::tunnel::esp::ESP_HEADROOM;
use crate::tunnel::{Received, batch};
use crate::verdict::{Event, Reason};

/// Where DNS is served.
const DNS_PORT: u16 = 53;

impl Engine {
    /// Takes a packet with its virtio-net header, as read from a device. Its bytes may be changed.
    pub fn handle_packet(&mut self, port: Port, buffer: &mut [u8], output: &mut impl Output) {
        let parsed = VirtioHeader::parse(buffer).and_then(|(header, packet)| {
            let meta = parse_meta(packet)?;
            header.verify(&meta)?;
            if header.is_unverified() && !verify_transport(packet, &meta) {
                return Err(Reason::PacketChecksum);
            }
            Ok((header, meta))
        });
        let (header, meta) = match parsed {
            Ok(parsed) => parsed,
            Err(reason) => return self.counters.deny(reason),
        };
        self.counters.count(Event::PacketsRx);
        self.counters.add(Event::BytesRx, meta.packet_len() as u64);
        let packet = &mut buffer[VIRTIO_HEADER_LEN..][..meta.packet_len()];
        let destination = self.routes.destination(meta.tuple().dst());
        match (port, destination) {
            (Port::Eni(at), Destination::Eni(eni)) if at == eni => {
                self.toward_eni(Origin::Vpc, packet, &meta, &header, output)
            }
            // The eni answers only for itself (source/destination check), and the router never for an eni.
            (Port::Eni(_), _) | (Port::Router, Destination::Eni(_)) => self.counters.deny(Reason::CannotRoute),
            (Port::Router, _) if !self.routes.may_come_from_vpc(meta.tuple().src()) => {
                self.counters.deny(Reason::CannotRoute);
            }
            (Port::Router, Destination::Resolver(view)) => self.resolve(view, Leg::Vpc, packet, &meta, output),
            (Port::Router, Destination::OnPremises) => self.forward_to_tunnel(packet, &meta, &header),
            (Port::Router, Destination::Vpc | Destination::Service | Destination::Nowhere) => {
                self.counters.deny(Reason::CannotRoute);
            }
        }
    }

    /// Takes what the tunnel's socket received: one frame, or several of `segment_size` bytes. Where devices have offloads,
    /// segments that follow each other go on as one.
    pub fn handle_frames(&mut self, payload: &mut [u8], segment_size: usize, output: &mut impl Output) {
        let mut merger = Merger::default();
        for frame in batch::places(payload.len(), segment_size) {
            let opened = self.tunnel.handle_frame(&mut payload[frame.clone()], self.now.mono, &self.counters);
            let Received::Packet { packet, .. } = opened else { continue };
            let meta = match parse_meta(packet) {
                Ok(meta) if verify_transport(&packet[..meta.packet_len()], &meta) => meta,
                Ok(_) => {
                    self.counters.deny(Reason::PacketChecksum);
                    continue;
                }
                Err(reason) => {
                    self.counters.deny(reason);
                    continue;
                }
            };
            let start = frame.start + ESP_HEADROOM;
            if let Some(run) = merger.push(payload, start..start + meta.packet_len(), &meta, self.offload) {
                self.out_of_tunnel(payload, &run, output);
            }
        }
        if let Some(run) = merger.finish() {
            self.out_of_tunnel(payload, &run, output);
        }
    }

    fn out_of_tunnel(&mut self, payload: &mut [u8], run: &Run, output: &mut impl Output) {
        let header = run.finish(payload);
        let (range, meta) = (run.range(), run.meta());
        if !self.routes.may_come_from_tunnel(meta.tuple().src()) {
            return self.counters.deny(Reason::CannotRoute);
        }
        let packet = &mut payload[range.clone()];
        match self.routes.destination(meta.tuple().dst()) {
            Destination::Eni(_) => self.toward_eni(Origin::Tunnel, packet, meta, &header, output),
            Destination::Service => self.toward_host_connection(packet, meta),
            Destination::Resolver(view @ View::OnPremises) => self.resolve(view, Leg::Tunnel, packet, meta, output),
            // The resolver at VPC+2 answers inside the VPC alone (VPC User Guide, "DNS server").
            Destination::Resolver(_) => self.counters.deny(Reason::CannotRoute),
            // The ESP header before the packet leaves room for the device's.
            Destination::Vpc => {
                self.forward_to_vpc(&mut payload[range.start - VIRTIO_HEADER_LEN..range.end], meta, header, output);
            }
            Destination::OnPremises | Destination::Nowhere => self.counters.deny(Reason::CannotRoute),
        }
    }

    fn toward_eni(
        &mut self,
        origin: Origin,
        packet: &mut [u8],
        meta: &PacketMeta,
        header: &VirtioHeader,
        output: &mut impl Output,
    ) {
        let leg = match origin {
            Origin::Vpc => Leg::Vpc,
            Origin::Tunnel => Leg::Tunnel,
        };
        let judged = EniPacket { bytes: packet, meta, header };
        match self.eni.ingress(origin, judged, self.now, &self.counters) {
            Ingress::Deliver { flow, first } => self.deliver(flow, first, leg, packet, meta, output),
            Ingress::Reset(_) => self.refuse(leg, meta, output),
            Ingress::Drop(_) => {}
        }
    }

    /// Gives an allowed packet to its connection, which is made if this is a flow's first.
    fn deliver(
        &mut self,
        flow: FlowId,
        first: bool,
        leg: Leg,
        packet: &mut [u8],
        meta: &PacketMeta,
        output: &mut impl Output,
    ) {
        let slot = if first {
            self.open_client(flow, leg, meta)
        } else {
            self.eni.user_mut(flow).and_then(|owner| *owner).map(|slot| slot as usize)
        };
        let Some(client) = slot.and_then(|slot| self.clients.get_mut(slot)) else {
            // A connection that is over leaves its flow behind for a while: stragglers end here.
            if !first && meta.tcp_flags().contains(TcpFlags::FIN.union(TcpFlags::ACK)) {
                self.acknowledge_fin(flow, leg, meta, output);
            }
            return;
        };
        if meta.tcp_flags().contains(TcpFlags::RST) {
            self.counters.count(Event::TcpResetRx);
        }
        client.ready.mark();
        if self.tcp.ingress(&mut client.tcp, packet, self.now.mono, &mut self.out) {
            self.emit_for_flow(flow, leg, output);
        }
    }

    fn open_client(&mut self, flow: FlowId, leg: Leg, meta: &PacketMeta) -> Option<usize> {
        let local = meta.tuple().dst_socket();
        let Some(tcp) = self.tcp.listen(leg, local) else {
            self.counters.deny(Reason::TcpSocketLimit);
            self.close_flow(flow);
            return None;
        };
        let entry = self.clients.vacant_entry();
        let slot = entry.key();
        let ready = self.ready.handle(Task::Client(slot));
        let eni = self.routes.eni_of(local.ip()).unwrap_or(usize::MAX);
        let handler = self.serving.handler(meta.tuple().src_socket(), local, eni);
        entry.insert(Client::new(tcp, flow, leg, ready, &self.tls, handler, self.now.mono));
        if let Some(owner) = self.eni.user_mut(flow) {
            // There are no more connections than flows, whose number is a u32.
            *owner = Some(slot as u32);
        }
        Some(slot)
    }

    /// Answers with RST, where a setting says so.
    fn refuse(&mut self, leg: Leg, meta: &PacketMeta, output: &mut impl Output) {
        self.out.fill_with(|room| emit_reset(meta, room).unwrap_or(0));
        if self.out.is_empty() {
            return;
        }
        self.counters.count(Event::TcpResetTx);
        match leg {
            Leg::Vpc => {
                let port = Port::Eni(self.routes.eni_of(meta.tuple().dst()).unwrap_or(usize::MAX));
                self.write_out(port, &VirtioHeader::default(), output);
            }
            Leg::Tunnel => self.seal(),
        }
    }

    fn toward_host_connection(&mut self, packet: &mut [u8], meta: &PacketMeta) {
        let tuple = meta.tuple();
        let slot = (tuple.protocol == Protocol::TCP && tuple.src_socket() == self.serving.host_address())
            .then(|| self.host_ports.slot_of(tuple.dst_socket().port()))
            .flatten();
        let Some(host) = slot.and_then(|slot| self.hosts.get_mut(slot)) else {
            return self.counters.deny(Reason::FlowUnknown);
        };
        host.ready.mark();
        let mut tcp = host.tcp.tcp.borrow_mut();
        let (was_open, unacknowledged) = (tcp.is_established(), tcp.unacknowledged());
        let answered = self.tcp.ingress(&mut tcp, packet, self.now.mono, &mut self.out);
        let is_reset = was_open && tcp.is_over() && meta.tcp_flags().contains(TcpFlags::RST);
        drop(tcp);
        if is_reset {
            host.was_reset(unacknowledged);
        }
        if answered {
            self.seal();
        }
    }

    /// Emits everything a connection to the function host has to send. Returns whether nothing is left.
    pub(super) fn emit_host(&mut self, slot: usize) -> bool {
        loop {
            let Some(host) = self.hosts.get_mut(slot) else { return true };
            if !self.tunnel.has_room(usize::from(self.tunnel.inner_mtu())) {
                self.tunnel_waiters.push(&host.ready);
                self.wheel.cancel(host_key(slot));
                return false;
            }
            let mut tcp = host.tcp.tcp.borrow_mut();
            if !self.tcp.poll_egress(&mut tcp, self.now.mono, &mut self.out) {
                if tcp.take_made_room() {
                    host.ready.mark();
                }
                return true;
            }
            drop(tcp);
            self.seal();
        }
    }

    fn resolve(&mut self, view: View, leg: Leg, packet: &[u8], meta: &PacketMeta, output: &mut impl Output) {
        let tuple = meta.tuple();
        if tuple.protocol != Protocol::UDP || tuple.dst_socket().port() != DNS_PORT {
            return self.counters.deny(Reason::ProtocolUnsupported);
        }
        // VPC+2 is in no subnet, and no ACL judges what is asked there. The inbound endpoint is in one, as any interface is.
        let subject = Subject::of(meta);
        let is_judged = view == View::OnPremises;
        if is_judged && !self.eni.lets_pass(&subject, self.now, &self.counters) {
            return;
        }
        let query = &packet[meta.payload_offset()..][..meta.payload_len()];
        let is_answered = match self.resolver.answer(view, query, tuple.src(), self.now.mono, &mut self.dns_answer) {
            Answer::Sent(event) => {
                self.counters.count(event);
                true
            }
            Answer::Refused(reason) => {
                self.counters.deny(reason);
                true
            }
            Answer::Dropped(reason) => {
                self.counters.deny(reason);
                false
            }
        };
        if is_answered && (!is_judged || self.eni.lets_pass(&subject.replies(), self.now, &self.counters)) {
            self.reply_udp(tuple.dst_socket(), tuple.src_socket(), leg, output);
        }
    }

    /// Sends `self.dns_answer` as a datagram.
    fn reply_udp(&mut self, from: SocketAddr, to: SocketAddr, leg: Leg, output: &mut impl Output) {
        if !super::egress::datagram(&mut self.out, from, to, &self.dns_answer) {
            return;
        }
        match leg {
            Leg::Vpc => self.write_out(Port::Router, &VirtioHeader::default(), output),
            Leg::Tunnel => self.seal(),
        }
    }
}
