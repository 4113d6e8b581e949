//! Packets that only pass: the VPC's router between its hosts and the tunnel.
//!
//! The ACL of the host's subnet judges them, each by itself: there is no state. Then what an AWS virtual private gateway does
//! with them: hop limit, MSS clamped to the tunnel (it neither fragments nor sends
//! fragmentation-needed), super-segments cut to the tunnel's MTU before they are sealed.

use super::Engine;
use super::egress::{Output, Port};
use crate::packet::checksum::ChecksumState;
use crate::packet::{
    GsoType, PacketMeta, Segmenter, VIRTIO_HEADER_LEN, VirtioHeader, clamp_mss, complete_checksum, decrement_hop_limit,
};
use crate::security_group::Subject;
use crate::tunnel::mtu::{mss_ipv4, mss_ipv6};
use crate::verdict::{Event, Reason};

impl Engine {
    /// Sends a packet of a VPC host into the tunnel.
    pub(super) fn forward_to_tunnel(&mut self, packet: &mut [u8], meta: &PacketMeta, header: &VirtioHeader) {
        if !self.eni.lets_pass(&Subject::of(meta), self.now, &self.counters) {
            return;
        }
        let mut meta = *meta;
        if let Err(reason) = self.pass(packet, &mut meta, header.checksum_state()) {
            return self.counters.deny(reason);
        }
        let forwarded = match header.gso_type {
            GsoType::None => self.seal_whole(packet, header),
            _ => self.seal_segments(packet, &meta, header),
        };
        match forwarded {
            Ok(Sealed(true)) => self.counters.count(Event::Forwarded),
            Ok(Sealed(false)) => {}
            Err(reason) => self.counters.deny(reason),
        }
    }

    /// Hands a packet that came out of the tunnel to a VPC host. `buffer` has room for the device's header before the packet.
    pub(super) fn forward_to_vpc(
        &mut self,
        buffer: &mut [u8],
        meta: &PacketMeta,
        header: VirtioHeader,
        output: &mut impl Output,
    ) {
        if !self.eni.lets_pass(&Subject::of(meta), self.now, &self.counters) {
            return;
        }
        let mut meta = *meta;
        if let Err(reason) = self.pass(&mut buffer[VIRTIO_HEADER_LEN..], &mut meta, header.checksum_state()) {
            return self.counters.deny(reason);
        }
        self.counters.add(Event::Forwarded, header.segment_count(&meta) as u64);
        self.write(Port::Router, &header, buffer, output);
    }

    fn pass(&mut self, packet: &mut [u8], meta: &mut PacketMeta, state: ChecksumState) -> Result<(), Reason> {
        decrement_hop_limit(packet, meta)?;
        let mtu = self.tunnel.inner_mtu();
        let mss = if meta.tuple().is_v6() { mss_ipv6(mtu) } else { mss_ipv4(mtu) };
        if clamp_mss(packet, meta, state, mss) {
            self.counters.count(Event::MssClamped);
        }
        Ok(())
    }

    fn seal_whole(&mut self, packet: &mut [u8], header: &VirtioHeader) -> Result<Sealed, Reason> {
        complete_checksum(&mut header.clone(), packet)?;
        Ok(Sealed(self.tunnel.send(0, packet, self.now.mono, &self.counters).is_ok()))
    }

    fn seal_segments(&mut self, packet: &[u8], meta: &PacketMeta, header: &VirtioHeader) -> Result<Sealed, Reason> {
        let mut segments = Segmenter::new(packet, meta, header)?;
        let largest = segments.packet_len_max();
        if largest > usize::from(self.tunnel.inner_mtu()) {
            return Err(Reason::TunnelMtuExceeded);
        }
        let mut all = true;
        while segments.remaining() > 0 {
            let mut grant = self.tunnel.grant(largest).ok_or(Reason::TunnelQueueFull)?;
            match segments.emit_next(&mut grant) {
                Ok(Some(len)) => grant.truncate(len),
                _ => break,
            }
            all &= grant.send(0, self.now.mono, &self.counters).is_ok();
        }
        Ok(Sealed(all))
    }
}

/// Whether everything was sealed; what was not, the tunnel has counted.
struct Sealed(bool);
