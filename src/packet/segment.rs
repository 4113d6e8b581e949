//! Software segmentation: a super-segment becomes the packets that it stands for.
//!
//! A device with offloads takes super-segments whole; a tunnel does not. [`Segmenter`] writes them one by one into the
//! caller's buffer, headers mended and checksums complete.

use thiserror::Error;

use super::checksum::{self, Sum};
use super::five_tuple::Protocol;
use super::view::{PacketMeta, TcpFlags};
use super::virtio::{GsoType, VirtioHeader};
use crate::verdict::Reason;

/// The caller's buffer does not hold the next segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a segment of {needed} bytes does not fit a buffer of {given}: give one of `Segmenter::packet_len_max` bytes")]
pub struct BufferTooSmall {
    /// Bytes of the next segment.
    pub needed: usize,
    /// Bytes of the buffer.
    pub given: usize,
}

/// Cuts one super-segment; a packet that is none comes out once, with its checksum completed.
#[derive(Clone, Copy, Debug)]
pub struct Segmenter<'a> {
    headers: &'a [u8],
    payload: &'a [u8],
    meta: PacketMeta,
    gso_size: usize,
    /// Payload bytes already written; `None` when all packets are.
    at: Option<usize>,
    ipv4_id: u16,
    tcp_sequence: u32,
    fills_checksum: bool,
    /// Bytes at the end of an uncut packet that a short UDP datagram does not cover.
    trailing_len: usize,
}

impl<'a> Segmenter<'a> {
    /// A segmenter for the packet `bytes` that came behind `header`.
    ///
    /// # Errors
    /// [`Reason::PacketMalformed`] if the header does not fit the packet.
    pub fn new(bytes: &'a [u8], meta: &PacketMeta, header: &VirtioHeader) -> Result<Self, Reason> {
        header.verify(meta)?;
        let headers = bytes.get(..meta.payload_offset()).ok_or(Reason::PacketMalformed)?;
        // One segment is the packet as it came, with whatever follows a UDP datagram that is shorter than its packet.
        let is_cut = header.gso_type != GsoType::None && meta.payload_len() > usize::from(header.gso_size);
        let end = if is_cut { meta.transport_end() } else { meta.packet_len() };
        let payload = bytes.get(meta.payload_offset()..end).ok_or(Reason::PacketMalformed)?;
        let gso_size = if is_cut { usize::from(header.gso_size) } else { payload.len() };
        let transport = &headers[meta.transport_offset()..];
        // RFC 768: a UDP checksum of zero means there is none, and the segments then have none either.
        let has_checksum = meta.tuple().protocol != Protocol::UDP || transport[6..8] != [0, 0] || header.needs_checksum;
        Ok(Self {
            headers,
            payload,
            meta: *meta,
            gso_size: gso_size.max(1),
            at: Some(0),
            ipv4_id: if meta.tuple().is_v6() { 0 } else { u16::from_be_bytes([headers[4], headers[5]]) },
            tcp_sequence: match meta.tuple().protocol {
                Protocol::TCP => u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]),
                _ => 0,
            },
            fills_checksum: has_checksum && (is_cut || header.needs_checksum),
            trailing_len: end - meta.transport_end(),
        })
    }

    /// Bytes of the largest packet to come: a buffer of this size holds each.
    pub const fn packet_len_max(&self) -> usize {
        let payload = if self.payload.len() < self.gso_size { self.payload.len() } else { self.gso_size };
        self.headers.len() + payload
    }

    /// Packets still to come.
    pub const fn remaining(&self) -> usize {
        match self.at {
            None => 0,
            Some(0) if self.payload.is_empty() => 1,
            Some(at) => (self.payload.len() - at).div_ceil(self.gso_size),
        }
    }

    /// Writes the next packet to the start of `buffer` and returns its length in bytes; `None` when there are no more.
    ///
    /// # Errors
    /// [`BufferTooSmall`]; the segment is then not lost, call again with a larger buffer.
    pub fn emit_next(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, BufferTooSmall> {
        let Some(at) = self.at else { return Ok(None) };
        let end = self.payload.len().min(at + self.gso_size);
        let needed = self.headers.len() + end - at;
        let given = buffer.len();
        let packet = buffer.get_mut(..needed).ok_or(BufferTooSmall { needed, given })?;
        let (headers, payload) = packet.split_at_mut(self.headers.len());
        headers.copy_from_slice(self.headers);
        payload.copy_from_slice(&self.payload[at..end]);
        let is_last = end == self.payload.len();
        if at != 0 || !is_last {
            self.mend_headers(headers, at, payload.len(), is_last);
        }
        if self.fills_checksum {
            self.fill_checksum(packet);
        }
        self.at = (!is_last).then_some(end);
        Ok(Some(needed))
    }

    fn mend_headers(&self, headers: &mut [u8], at: usize, payload_len: usize, is_last: bool) {
        let (ip, transport) = headers.split_at_mut(self.meta.transport_offset());
        let transport_len = (transport.len() + payload_len) as u16;
        if self.meta.tuple().is_v6() {
            // Extension headers count as payload of the IPv6 header.
            let payload = (ip.len() - 40) as u16 + transport_len;
            ip[4..6].copy_from_slice(&payload.to_be_bytes());
        } else {
            let total = ip.len() as u16 + transport_len;
            ip[2..4].copy_from_slice(&total.to_be_bytes());
            let id = self.ipv4_id.wrapping_add((at / self.gso_size) as u16);
            ip[4..6].copy_from_slice(&id.to_be_bytes());
            checksum::fill_ipv4_header(ip);
        }
        match self.meta.tuple().protocol {
            Protocol::TCP => {
                transport[4..8].copy_from_slice(&self.tcp_sequence.wrapping_add(at as u32).to_be_bytes());
                // RFC 9293 §3.8.2, RFC 3168 §6.1.2: the end is announced once, and so is the smaller window.
                if !is_last {
                    transport[13] &= !(TcpFlags::FIN.0 | TcpFlags::PSH.0);
                }
                if at != 0 {
                    transport[13] &= !TcpFlags::CWR.0;
                }
            }
            Protocol::UDP => transport[4..6].copy_from_slice(&transport_len.to_be_bytes()),
            _ => {}
        }
    }

    fn fill_checksum(&self, packet: &mut [u8]) {
        let protocol = self.meta.tuple().protocol;
        let Some(offset) = checksum::field_offset(protocol) else { return };
        let end = packet.len() - self.trailing_len;
        let segment = &mut packet[self.meta.transport_offset()..end];
        segment[offset..offset + 2].fill(0);
        let sum = match protocol {
            Protocol::ICMP => Sum::new(),
            _ => Sum::new().pseudo_header(self.meta.tuple().addresses, protocol, segment.len() as u32),
        };
        let value = checksum::as_transmitted(protocol, sum.bytes(segment).complement());
        segment[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
