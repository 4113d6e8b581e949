//! The opposite of segmentation: packets of one TCP flow that follow each other become one super-segment, where they lie.
//!
//! One receive from a tunnel's socket brings dozens of packets. Each costs whoever takes it next, a device's write or TCP, the
//! same whether it holds 1,400 bytes or 64,000. [`Merger`] moves the payload of a packet down behind that of the one before,
//! in the buffer that both arrived in, and mends the first one's header once at the end.
//!
//! Only what a device cuts back into the very same packets is merged, but for the IPv4 identification, which means nothing where
//! fragmentation is forbidden (RFC 6864 §4.1): in order and without a gap, equal in every other field but length and checksum,
//! of one size but for a shorter last one. PSH ends a run; SYN, FIN, RST, URG, ECN's flags, IP options and extension headers
//! are left alone.

use std::ops::Range;

use super::checksum::{fill_ipv4_header, fill_partial};
use super::five_tuple::Protocol;
use super::view::{PacketMeta, TcpFlags};
use super::virtio::VirtioHeader;

/// Most bytes of a super-segment: with an Ethernet header in front it is still one for the kernel (65,535 less 14).
pub const MERGED_LEN_MAX: usize = 65_521;

/// One packet, or several as one, in the buffer that the packets came in.
#[derive(Clone, Debug)]
pub struct Run {
    range: Range<usize>,
    meta: PacketMeta,
    /// Bytes of payload of the first packet, and so of each but the last.
    gso_size: u16,
    packets: u16,
    is_complete: bool,
}

impl Run {
    /// Where the packet lies. What was merged into it left its own place.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// The packet's meta data, all of its payload counted.
    pub const fn meta(&self) -> &PacketMeta {
        &self.meta
    }

    /// Packets that it stands for.
    pub const fn packets(&self) -> usize {
        self.packets as usize
    }

    /// Mends the header of a packet that others were merged into: lengths, IPv4 checksum, a partial TCP checksum. Returns what
    /// stands before it on the way to a device. A packet alone is as it came.
    pub fn finish(&self, buffer: &mut [u8]) -> VirtioHeader {
        let Some(packet) = buffer.get_mut(self.range()).filter(|_| self.packets > 1) else {
            return VirtioHeader::default();
        };
        let len = packet.len() as u16;
        let ip = &mut packet[..self.meta.transport_offset()];
        if self.meta.tuple_ref().is_v6() {
            ip[4..6].copy_from_slice(&(len - 40).to_be_bytes());
        } else {
            ip[2..4].copy_from_slice(&len.to_be_bytes());
            fill_ipv4_header(ip);
        }
        packet[self.meta.transport_offset() + 13] = self.meta.tcp_flags().0;
        fill_partial(packet, &self.meta);
        VirtioHeader::for_tcp(&self.meta, Some(self.gso_size))
    }

    /// Takes the packet at `next` in, if it goes on where this one ends.
    fn join(&mut self, buffer: &mut [u8], next: &Range<usize>, meta: &PacketMeta) -> bool {
        let len = self.range.len() + meta.payload_len();
        let fits = !self.is_complete
            && meta.payload_len() <= usize::from(self.gso_size)
            && meta.tcp_sequence() == self.meta.tcp_sequence().wrapping_add(self.meta.payload_len() as u32)
            && len <= MERGED_LEN_MAX
            && self.is_alike(buffer, next, meta);
        if !fits {
            return false;
        }
        let payload = next.start + meta.payload_offset()..next.start + meta.packet_len();
        buffer.copy_within(payload, self.range.end);
        self.range.end = self.range.start + len;
        self.is_complete = meta.payload_len() < usize::from(self.gso_size) || meta.tcp_flags().contains(TcpFlags::PSH);
        self.meta.extend_tcp(meta);
        self.packets += 1;
        true
    }

    /// Whether two packets have the same headers, but for what differs between the segments of one super-segment.
    fn is_alike(&self, buffer: &[u8], next: &Range<usize>, meta: &PacketMeta) -> bool {
        let (transport, payload) = (meta.transport_offset(), meta.payload_offset());
        if (transport, payload) != (self.meta.transport_offset(), self.meta.payload_offset()) {
            return false;
        }
        let (Some(one), Some(other)) =
            (buffer.get(self.range.start..self.range.start + payload), buffer.get(next.start..next.start + payload))
        else {
            return false;
        };
        let is_same = |range: Range<usize>| one[range.clone()] == other[range];
        let is_same_ip = if meta.tuple_ref().is_v6() {
            // All but the length.
            is_same(0..4) && is_same(6..40)
        } else {
            const DONT_FRAGMENT: u8 = 0x40;
            // All but length, identification and checksum.
            is_same(0..2) && one[6] == DONT_FRAGMENT && is_same(6..10) && is_same(12..20)
        };
        // Ports; acknowledgement and data offset; window; urgent pointer and options.
        let tcp = |range: Range<usize>| is_same(transport + range.start..transport + range.end);
        is_same_ip && tcp(0..4) && tcp(8..13) && tcp(14..16) && tcp(18..payload - transport)
    }
}

/// Whether a packet can be part of a super-segment at all.
fn is_mergeable(meta: &PacketMeta) -> bool {
    let header = if meta.tuple_ref().is_v6() { 40 } else { 20 };
    let flags = meta.tcp_flags().0 & !TcpFlags::PSH.0;
    meta.tuple_ref().protocol == Protocol::TCP && meta.transport_offset() == header && flags == TcpFlags::ACK.0
}

/// Merges the packets of one buffer, in the order in which they lie there.
#[derive(Debug, Default)]
pub struct Merger {
    run: Option<Run>,
}

impl Merger {
    /// Takes the packet at `packet` in `buffer`, with what [`parse`](super::parse) found. Returns the run before it, if it is no
    /// part of that. `may_merge` says that its TCP checksum was verified, and that whoever takes it next takes super-segments.
    #[inline]
    pub fn push(&mut self, buffer: &mut [u8], packet: Range<usize>, meta: &PacketMeta, may_merge: bool) -> Option<Run> {
        let may_merge = may_merge && meta.payload_len() != 0 && is_mergeable(meta);
        if let Some(run) = &mut self.run
            && may_merge
            && run.join(buffer, &packet, meta)
        {
            return None;
        }
        let is_complete = !may_merge || meta.tcp_flags().contains(TcpFlags::PSH);
        let gso_size = meta.payload_len() as u16;
        self.run.replace(Run { range: packet, meta: *meta, gso_size, packets: 1, is_complete })
    }

    /// The last run, when there are no more packets.
    #[inline]
    pub fn finish(&mut self) -> Option<Run> {
        self.run.take()
    }
}

#[cfg(test)]
mod tests;
