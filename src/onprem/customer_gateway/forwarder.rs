//! The customer gateway without its devices: a packet from the TUN becomes frames, a frame becomes a packet for the TUN.
//!
//! What it does to a packet in either direction: parse it, check that it belongs into the tunnel, clamp the MSS of SYNs,
//! and cut a super-segment into packets that fit, or make one of them where the device takes it. What it leaves to the kernel around it: routing, fragmentation-needed
//! for packets over the TUN's MTU, and the hop limit. The gateway is one router: its kernel lowers the hop limit of what
//! it forwards between the on-premises network and the TUN, so lowering it here again would count one router twice
//! (RFC 4301 §5.1.2.1 note 2: once, before encapsulation).

use std::net::IpAddr;
use std::num::NonZeroUsize;

use ipnet::{Ipv4Net, Ipv6Net};

use super::affinity::FlowAffinity;
use crate::config::Topology;
use crate::packet::checksum::{ChecksumState, verify_transport};
use crate::packet::{
    FiveTuple, Merger, PacketMeta, Run, Segmenter, VIRTIO_HEADER_LEN, VirtioHeader, clamp_mss, parse_meta,
};
use crate::time::Moment;
use crate::tunnel::esp::ESP_HEADROOM;
use crate::tunnel::{Received, TunnelEnd, batch, mtu};
use crate::verdict::{Counters, Event, Reason};

/// The addresses on one side of the tunnel.
#[derive(Debug)]
struct Side {
    v4: Ipv4Net,
    v6: Option<Ipv6Net>,
    inside: IpAddr,
}

impl Side {
    fn contains(&self, address: IpAddr) -> bool {
        address == self.inside
            || match address {
                IpAddr::V4(address) => self.v4.contains(&address),
                IpAddr::V6(address) => self.v6.is_some_and(|net| net.contains(&address)),
            }
    }
}

/// The way between the TUN and the tunnel.
#[derive(Debug)]
pub(super) struct Forwarder {
    pub(super) end: TunnelEnd,
    affinity: FlowAffinity,
    aws: Side,
    on_premises: Side,
    mss_ipv4: u16,
    mss_ipv6: u16,
    /// The device takes super-segments.
    merges: bool,
}

impl Forwarder {
    pub(super) fn new(topology: &Topology, end: TunnelEnd, merges: bool) -> Self {
        let tunnel = &topology.tunnel;
        let (vpc, site) = (&topology.vpc, &topology.on_premises);
        let inner_mtu = end.inner_mtu();
        Self {
            affinity: FlowAffinity::new(NonZeroUsize::new(end.sas()).unwrap_or(NonZeroUsize::MIN)),
            end,
            aws: Side { v4: vpc.cidr, v6: vpc.cidr6, inside: tunnel.aws_inside().into() },
            on_premises: Side { v4: site.cidr, v6: site.cidr6, inside: tunnel.customer_inside().into() },
            mss_ipv4: mtu::mss_ipv4(inner_mtu),
            mss_ipv6: mtu::mss_ipv6(inner_mtu),
            merges,
        }
    }

    /// Seals a packet that the kernel routed into the TUN, virtio-net header first. Everything is counted.
    #[inline]
    pub(super) fn handle_packet(&mut self, slot: &mut [u8], now: Moment, counters: &Counters) {
        if let Err(reason) = self.encapsulate(slot, now, counters) {
            counters.deny(reason);
        }
    }

    fn encapsulate(&mut self, slot: &mut [u8], now: Moment, counters: &Counters) -> Result<(), Reason> {
        let (header, bytes) = VirtioHeader::parse(slot)?;
        counters.count(Event::PacketsRx);
        counters.add(Event::BytesRx, bytes.len() as u64);
        let meta = parse_meta(bytes)?;
        header.verify(&meta)?;
        if !(self.on_premises.contains(meta.tuple().src()) && self.aws.contains(meta.tuple().dst())) {
            return Err(Reason::CannotRoute);
        }
        if header.packet_len_max(&meta) > usize::from(self.end.inner_mtu()) {
            return Err(Reason::TunnelMtuExceeded);
        }
        let start = slot.len() - bytes.len();
        let bytes = &mut slot[start..];
        self.clamp(bytes, &meta, header.checksum_state(), counters);

        let sa = self.affinity.choose(&meta.tuple());
        let mut segments = Segmenter::new(bytes, &meta, &header)?;
        while segments.remaining() > 0 {
            let Some(mut grant) = self.end.grant(segments.packet_len_max()) else {
                // What is left of a super-segment has no room either.
                for _ in 1..segments.remaining() {
                    counters.deny(Reason::TunnelQueueFull);
                }
                return Err(Reason::TunnelQueueFull);
            };
            // Always a packet: one remains, and the grant has the room that the segmenter asked for.
            let Ok(Some(len)) = segments.emit_next(&mut grant) else { return Err(Reason::PacketMalformed) };
            grant.truncate(len);
            // A denial concerns this packet alone, and is counted there.
            if grant.send(sa, now, counters).is_ok() {
                counters.count(Event::Forwarded);
            }
        }
        Ok(())
    }

    /// Opens the frames of one received payload and hands their packets to `deliver`, with room for a device's header before
    /// each. Where the device has offloads, segments that follow each other become one. Everything is counted.
    #[inline]
    pub(super) fn handle_frames(
        &mut self,
        payload: &mut [u8],
        segment_size: usize,
        now: Moment,
        counters: &Counters,
        mut deliver: impl FnMut(&VirtioHeader, &mut [u8]),
    ) {
        let mut merger = Merger::default();
        let mut pass = |run: Option<Run>, payload: &mut [u8]| {
            if let Some(run) = run {
                let (header, range) = (run.finish(payload), run.range());
                counters.add(Event::Forwarded, run.packets() as u64);
                deliver(&header, &mut payload[range.start - VIRTIO_HEADER_LEN..range.end]);
            }
        };
        for frame in batch::places(payload.len(), segment_size) {
            let opened = self.end.handle_frame(&mut payload[frame.clone()], now, counters);
            let Received::Packet { packet, sa } = opened else { continue };
            match self.decapsulate(packet, sa, counters) {
                Ok((meta, may_merge)) => {
                    let start = frame.start + ESP_HEADROOM;
                    let before = merger.push(payload, start..start + meta.packet_len(), &meta, may_merge);
                    pass(before, payload);
                }
                Err(reason) => counters.deny(reason),
            }
        }
        pass(merger.finish(), payload);
    }

    /// Checks and changes a packet out of a frame. Also says whether it may become part of a larger one: a wrong checksum is the
    /// receiver's to find, and must not become a right one here.
    #[inline]
    fn decapsulate(&mut self, packet: &mut [u8], sa: usize, counters: &Counters) -> Result<(PacketMeta, bool), Reason> {
        let meta = parse_meta(packet)?;
        let tuple: FiveTuple = meta.tuple();
        if !(self.aws.contains(tuple.src()) && self.on_premises.contains(tuple.dst())) {
            return Err(Reason::CannotRoute);
        }
        self.affinity.learn(&tuple, sa);
        self.clamp(packet, &meta, ChecksumState::Complete, counters);
        let may_merge = self.merges && meta.payload_len() > 0 && verify_transport(packet, &meta);
        Ok((meta, may_merge))
    }

    #[inline]
    fn clamp(&self, packet: &mut [u8], meta: &PacketMeta, checksum: ChecksumState, counters: &Counters) {
        let mss = if meta.tuple().is_v6() { self.mss_ipv6 } else { self.mss_ipv4 };
        if clamp_mss(packet, meta, checksum, mss) {
            counters.count(Event::MssClamped);
        }
    }
}

#[cfg(test)]
mod tests;
