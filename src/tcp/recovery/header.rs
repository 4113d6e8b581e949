//! The TCP header of a packet, read and changed in place.

use std::ops::Range;

use super::scoreboard::BLOCKS;
use crate::packet::checksum::{fill_ipv4_header, fill_transport};
use crate::packet::{PacketMeta, Protocol, TcpFlags, parse_meta};

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
const OPTION_WINDOW_SCALE: u8 = 3;
const OPTION_SACK_PERMITTED: u8 = 4;
const OPTION_SACK: u8 = 5;
/// Largest shift (RFC 7323 §2.3).
const WINDOW_SCALE_MAX: u8 = 14;
/// A TCP header without options, bytes.
pub(super) const TCP_HEADER: usize = 20;

/// What a SYN says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct SynOptions {
    pub(super) mss: Option<u16>,
    pub(super) window_scale: Option<u8>,
    pub(super) has_sack: bool,
}

/// A TCP segment in its packet.
pub(super) struct Header<'p> {
    bytes: &'p mut [u8],
    meta: PacketMeta,
}

impl<'p> Header<'p> {
    /// `None` if it is not TCP.
    #[inline]
    pub(super) fn parse(bytes: &'p mut [u8]) -> Option<Self> {
        let meta = parse_meta(bytes).ok()?;
        let is_tcp = meta.tuple_ref().protocol == Protocol::TCP && meta.transport_len() >= TCP_HEADER;
        is_tcp.then_some(Self { bytes, meta })
    }

    /// The segment that [`Header::meta`] described, in its packet.
    #[inline]
    pub(super) fn of(bytes: &'p mut [u8], meta: PacketMeta) -> Self {
        Self { bytes, meta }
    }

    pub(super) fn meta(&self) -> PacketMeta {
        self.meta
    }

    pub(super) fn flags(&self) -> TcpFlags {
        self.meta.tcp_flags()
    }

    pub(super) fn has(&self, flag: TcpFlags) -> bool {
        self.meta.tcp_flags().contains(flag)
    }

    pub(super) fn sequence(&self) -> u32 {
        self.meta.tcp_sequence()
    }

    pub(super) fn acknowledgement(&self) -> u32 {
        self.meta.tcp_acknowledgement()
    }

    pub(super) fn window(&self) -> u16 {
        let at = self.meta.transport_offset() + 14;
        u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.bytes[self.meta.payload_offset()..][..self.meta.payload_len()]
    }

    /// The headers of IP and TCP, without TCP's options.
    pub(super) fn fixed(&self) -> &[u8] {
        &self.bytes[..self.meta.transport_offset() + TCP_HEADER]
    }

    /// Changes acknowledgement and window; the checksum is left as it was, for a reader that does not look.
    pub(super) fn present(&mut self, acknowledgement: u32, window: u16) {
        let tcp = &mut self.bytes[self.meta.transport_offset()..];
        tcp[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
        tcp[14..16].copy_from_slice(&window.to_be_bytes());
    }

    /// Changes the sequence number, and the checksum with it.
    pub(super) fn set_sequence(&mut self, sequence: u32) {
        let at = self.meta.transport_offset() + 4;
        self.bytes[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
        fill_transport(self.bytes, &self.meta);
    }

    /// The options of a SYN.
    pub(super) fn syn_options(&self) -> SynOptions {
        let mut found = SynOptions::default();
        self.each_option(|kind, at| match (kind, &self.bytes[at]) {
            (OPTION_MSS, &[a, b]) => found.mss = Some(u16::from_be_bytes([a, b])),
            (OPTION_WINDOW_SCALE, &[shift]) => found.window_scale = Some(shift.min(WINDOW_SCALE_MAX)),
            (OPTION_SACK_PERMITTED, []) => found.has_sack = true,
            _ => {}
        });
        found
    }

    /// Makes a SYN's window scale zero. The checksum is left as it was.
    pub(super) fn present_no_scale(&mut self) {
        let mut value = None;
        self.each_option(|kind, at| {
            if kind == OPTION_WINDOW_SCALE && at.len() == 1 {
                value = Some(at.start);
            }
        });
        if let Some(at) = value {
            self.bytes[at] = 0;
        }
    }

    /// The blocks of selective acknowledgement, as they stand there.
    pub(super) fn blocks(&self) -> ([Range<u32>; BLOCKS], usize) {
        let (mut blocks, mut count) = ([const { 0..0 }; BLOCKS], 0);
        self.each_option(|kind, at| {
            if kind != OPTION_SACK {
                return;
            }
            for edges in self.bytes[at].as_chunks::<8>().0 {
                let [a, b, c, d, e, f, g, h] = *edges;
                if let Some(slot) = blocks.get_mut(count) {
                    *slot = u32::from_be_bytes([a, b, c, d])..u32::from_be_bytes([e, f, g, h]);
                    count += 1;
                }
            }
        });
        (blocks, count)
    }

    /// Calls `take` with the kind of each option and where its value stands.
    #[inline]
    fn each_option(&self, mut take: impl FnMut(u8, Range<usize>)) {
        let (mut at, end) = (self.meta.transport_offset() + TCP_HEADER, self.meta.payload_offset());
        loop {
            match self.bytes[at..end] {
                [OPTION_NOP, ..] => at += 1,
                [] | [OPTION_END, ..] => return,
                [kind, len, ..] if len >= 2 && usize::from(len) <= end - at => {
                    take(kind, at + 2..at + usize::from(len));
                    at += usize::from(len);
                }
                _ => return,
            }
        }
    }
}

/// What retransmissions and acknowledgements made here look like: the headers of the last packet that went out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Template {
    bytes: [u8; Self::MAX],
    /// Where TCP's header begins.
    tcp: usize,
}

impl Template {
    const MAX: usize = 40 + TCP_HEADER;
    /// More than this an IPv4 header without options never has: smoltcp makes none.
    const IPV4_HEADER: usize = 20;
    const DATA_OFFSET: u8 = 5 << 4;

    /// The headers of `header`'s packet, if they are as smoltcp makes them.
    #[inline]
    pub(super) fn of(header: &Header<'_>) -> Option<Self> {
        let fixed = header.fixed();
        let mut bytes = [0; Self::MAX];
        bytes.get_mut(..fixed.len())?.copy_from_slice(fixed);
        let tcp = fixed.len() - TCP_HEADER;
        bytes[tcp + 12] = Self::DATA_OFFSET;
        Some(Self { bytes, tcp })
    }

    pub(super) fn acknowledgement(&self) -> u32 {
        let at = self.tcp + 8;
        u32::from_be_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]])
    }

    pub(super) fn window(&self) -> u16 {
        u16::from_be_bytes([self.bytes[self.tcp + 14], self.bytes[self.tcp + 15]])
    }

    /// Writes a packet with so many bytes of payload, which `fill` writes; returns its length.
    pub(super) fn emit(
        &self,
        room: &mut [u8],
        (sequence, flags): (u32, TcpFlags),
        payload_len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> usize {
        let payload = self.tcp + TCP_HEADER;
        let len = payload + payload_len;
        let Some(packet) = room.get_mut(..len) else { return 0 };
        packet[..payload].copy_from_slice(&self.bytes[..payload]);
        packet[self.tcp + 4..self.tcp + 8].copy_from_slice(&sequence.to_be_bytes());
        packet[self.tcp + 13] = flags.0;
        fill(&mut packet[payload..]);
        // No packet is longer than a u16 says: it fits a PacketBuffer.
        if self.tcp == Self::IPV4_HEADER {
            packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            fill_ipv4_header(&mut packet[..Self::IPV4_HEADER]);
        } else {
            packet[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
        }
        if let Ok(meta) = parse_meta(packet) {
            fill_transport(packet, &meta);
        }
        len
    }

    /// Writes an acknowledgement as the other side would send it: for smoltcp, which does not look at its checksum.
    pub(super) fn emit_reversed(&self, room: &mut [u8], sequence: u32, acknowledgement: u32, window: u16) -> usize {
        let (from, tcp) = (*self, self.tcp);
        let mut reversed = from;
        let (addresses, len) = if tcp == Self::IPV4_HEADER { (12, 4) } else { (8, 16) };
        reversed.bytes[addresses..addresses + len].copy_from_slice(&from.bytes[addresses + len..addresses + 2 * len]);
        reversed.bytes[addresses + len..addresses + 2 * len].copy_from_slice(&from.bytes[addresses..addresses + len]);
        reversed.bytes[tcp..tcp + 2].copy_from_slice(&from.bytes[tcp + 2..tcp + 4]);
        reversed.bytes[tcp + 2..tcp + 4].copy_from_slice(&from.bytes[tcp..tcp + 2]);
        reversed.bytes[tcp + 8..tcp + 12].copy_from_slice(&acknowledgement.to_be_bytes());
        reversed.bytes[tcp + 14..tcp + 16].copy_from_slice(&window.to_be_bytes());
        reversed.emit(room, (sequence, TcpFlags::ACK), 0, |_| {})
    }
}
