//! From bytes to a packet whose bounds are proved.

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice, TcpHeaderSlice, UdpHeaderSlice};

use super::checksum;
use super::five_tuple::{Addresses, FiveTuple, Protocol};
use crate::verdict::Reason;

/// Bytes of the largest packet: an IPv6 header and 65,535 bytes behind it.
pub const PACKET_LEN_MAX: usize = 40 + 65_535;

/// Extension headers walked before the packet is given up. RFC 8200 §4.1 orders six kinds, one of them twice.
pub const IPV6_EXTENSION_LIMIT: usize = 8;

const IPV4_FRAGMENT_MASK: u16 = 0x3fff;

/// The control bits of a TCP header, byte 13 (RFC 9293 §3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// Urgent.
    pub const URG: Self = Self(0x20);
    /// ECN echo.
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced.
    pub const CWR: Self = Self(0x80);

    /// Whether all bits of `other` are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// A SYN that opens a connection: SYN without ACK, RST or FIN.
    #[inline]
    pub const fn opens(self) -> bool {
        self.0 & (Self::SYN.0 | Self::ACK.0 | Self::RST.0 | Self::FIN.0) == Self::SYN.0
    }
}

/// What [`parse`] found, detached from the bytes: valid for them as long as their headers keep their lengths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacketMeta {
    tuple: FiveTuple,
    packet_len: u32,
    tcp_sequence: u32,
    tcp_acknowledgement: u32,
    transport: u16,
    payload: u16,
    payload_len: u16,
    transport_len: u16,
    tcp_flags: TcpFlags,
    hop_limit: u8,
    icmp_type: u8,
    icmp_code: u8,
}

impl PacketMeta {
    /// The five-tuple, ports zero where there are none.
    #[inline]
    pub const fn tuple(&self) -> FiveTuple {
        self.tuple
    }

    /// The same without a copy, for the hot path: its wide loads would wait for the narrow stores of [`parse`].
    #[inline]
    pub const fn tuple_ref(&self) -> &FiveTuple {
        &self.tuple
    }

    /// Bytes of the packet, as the IP header says.
    #[inline]
    pub const fn packet_len(&self) -> usize {
        self.packet_len as usize
    }

    /// Where the header above IP starts.
    #[inline]
    pub const fn transport_offset(&self) -> usize {
        self.transport as usize
    }

    /// Where the payload starts: behind the TCP, UDP or ICMP header, or behind IP for other protocols.
    #[inline]
    pub const fn payload_offset(&self) -> usize {
        self.payload as usize
    }

    /// Bytes of payload.
    #[inline]
    pub const fn payload_len(&self) -> usize {
        self.payload_len as usize
    }

    /// Bytes of header and payload above IP; less than the IP header says where UDP's own length is less.
    #[inline]
    pub const fn transport_len(&self) -> usize {
        self.transport_len as usize
    }

    /// Where header and payload above IP end.
    #[inline]
    pub(crate) const fn transport_end(&self) -> usize {
        self.transport as usize + self.transport_len as usize
    }

    /// The TCP control bits; none for other protocols.
    #[inline]
    pub const fn tcp_flags(&self) -> TcpFlags {
        self.tcp_flags
    }

    /// The TCP sequence number; zero for other protocols.
    #[inline]
    pub const fn tcp_sequence(&self) -> u32 {
        self.tcp_sequence
    }

    /// The TCP acknowledgement number, meant only with the ACK flag; zero for other protocols.
    #[inline]
    pub const fn tcp_acknowledgement(&self) -> u32 {
        self.tcp_acknowledgement
    }

    /// Hop limit, or time to live.
    #[inline]
    pub const fn hop_limit(&self) -> u8 {
        self.hop_limit
    }

    /// ICMP or ICMPv6 type and code; `None` for other protocols.
    pub const fn icmp(&self) -> Option<(u8, u8)> {
        match (self.tuple.addresses, self.tuple.protocol) {
            (Addresses::V4 { .. }, Protocol::ICMP) | (Addresses::V6 { .. }, Protocol::ICMPV6) => {
                Some((self.icmp_type, self.icmp_code))
            }
            _ => None,
        }
    }

    /// Counts in the payload of the next segment, which was merged into this packet.
    pub(super) const fn extend_tcp(&mut self, next: &Self) {
        self.packet_len += next.payload_len as u32;
        self.payload_len += next.payload_len;
        self.transport_len += next.payload_len;
        self.tcp_flags = self.tcp_flags.union(next.tcp_flags);
    }

    pub(super) const fn set_hop_limit(&mut self, hop_limit: u8) {
        self.hop_limit = hop_limit;
    }
}

/// A packet whose headers were checked. There is no other way to one than [`parse`].
#[derive(Clone, Copy, Debug)]
pub struct PacketView<'a> {
    bytes: &'a [u8],
    meta: PacketMeta,
}

impl<'a> PacketView<'a> {
    /// The packet, without what trailed behind it.
    #[inline]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What was found, detached from the borrow.
    #[inline]
    pub const fn meta(&self) -> &PacketMeta {
        &self.meta
    }

    /// The payload above TCP, UDP or ICMP.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        // The bounds were checked by `parse`; an empty slice stands for what cannot be.
        self.bytes.get(self.meta.payload_offset()..).and_then(|b| b.get(..self.meta.payload_len())).unwrap_or_default()
    }

    /// The header above IP and all behind it.
    #[inline]
    pub fn transport(&self) -> &'a [u8] {
        self.bytes.get(self.meta.transport_offset()..self.meta.transport_end()).unwrap_or_default()
    }
}

impl std::ops::Deref for PacketView<'_> {
    type Target = PacketMeta;

    #[inline]
    fn deref(&self) -> &PacketMeta {
        &self.meta
    }
}

/// Checks the bytes of one IP packet, in one pass.
///
/// Trailing bytes are cut off. The IPv4 header checksum is verified, that of TCP, UDP and ICMP is not: a device with
/// offloads vouches for it or leaves it partial (see [`checksum::verify_transport`]).
///
/// Always in line: what it returns is a hundred bytes, and copying them with wide loads waits for the narrow stores that made
/// them, which cost a third of the whole.
///
/// # Errors
/// [`Reason::PacketMalformed`], [`Reason::PacketChecksum`] (IPv4 header), [`Reason::PacketFragment`].
#[inline(always)]
pub fn parse(bytes: &[u8]) -> Result<PacketView<'_>, Reason> {
    let meta = parse_meta(bytes)?;
    Ok(PacketView { bytes: bytes.get(..meta.packet_len()).unwrap_or_default(), meta })
}

/// What [`parse`] finds, for whoever is about to change the bytes.
///
/// # Errors
/// As [`parse`].
#[inline(always)]
pub fn parse_meta(bytes: &[u8]) -> Result<PacketMeta, Reason> {
    // Both versions meet before anything is put together: otherwise it is put together twice, and copied.
    let network = match bytes.first().map(|b| b >> 4) {
        Some(4) => parse_ipv4(bytes)?,
        Some(6) => parse_ipv6(bytes)?,
        _ => return Err(Reason::PacketMalformed),
    };
    parse_transport(network)
}

/// What the IP header said.
struct Network<'a> {
    packet: &'a [u8],
    /// Where the header above IP starts.
    transport: usize,
    addresses: Addresses,
    protocol: Protocol,
    hop_limit: u8,
}

#[inline(always)]
fn parse_ipv4(bytes: &[u8]) -> Result<Network<'_>, Reason> {
    let header = Ipv4HeaderSlice::from_slice(bytes).map_err(|_| Reason::PacketMalformed)?;
    let header_len = header.slice().len();
    // A total length of zero ("more than 65,535, ask the device") is no packet of ours.
    let packet = bytes.get(..usize::from(header.total_len())).ok_or(Reason::PacketMalformed)?;
    if packet.len() < header_len {
        return Err(Reason::PacketMalformed);
    }
    if !checksum::verify_ipv4_header(header.slice()) {
        return Err(Reason::PacketChecksum);
    }
    // More fragments, or an offset: everything but don't-fragment and the reserved bit.
    if u16::from_be_bytes([packet[6], packet[7]]) & IPV4_FRAGMENT_MASK != 0 {
        return Err(Reason::PacketFragment);
    }
    let addresses = Addresses::V4 { src: header.source().into(), dst: header.destination().into() };
    Ok(Network {
        packet,
        transport: header_len,
        addresses,
        protocol: Protocol(header.protocol().0),
        hop_limit: header.ttl(),
    })
}

fn parse_ipv6(bytes: &[u8]) -> Result<Network<'_>, Reason> {
    let header = Ipv6HeaderSlice::from_slice(bytes).map_err(|_| Reason::PacketMalformed)?;
    let len = header.slice().len() + usize::from(header.payload_length());
    let packet = bytes.get(..len).ok_or(Reason::PacketMalformed)?;
    let addresses = Addresses::V6 { src: header.source().into(), dst: header.destination().into() };
    let (protocol, transport) = skip_extensions(packet, header.next_header().0, header.slice().len())?;
    Ok(Network { packet, transport, addresses, protocol, hop_limit: header.hop_limit() })
}

/// Walks the extension headers (RFC 8200 §4); returns the protocol above them and where it starts.
fn skip_extensions(packet: &[u8], first: u8, mut offset: usize) -> Result<(Protocol, usize), Reason> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const DESTINATION_OPTIONS: u8 = 60;

    let mut next = first;
    for _ in 0..=IPV6_EXTENSION_LIMIT {
        let len = match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                let &[_, units, ..] = packet.get(offset..).unwrap_or_default() else {
                    return Err(Reason::PacketMalformed);
                };
                (usize::from(units) + 1) * 8
            }
            // RFC 4302 §2.2: in units of four bytes, minus two.
            AUTHENTICATION => {
                let &[_, units, ..] = packet.get(offset..).unwrap_or_default() else {
                    return Err(Reason::PacketMalformed);
                };
                (usize::from(units) + 2) * 4
            }
            // Even one that carries a whole packet (RFC 6946): nobody needs to send it.
            FRAGMENT => return Err(Reason::PacketFragment),
            protocol => return Ok((Protocol(protocol), offset)),
        };
        let extension = packet.get(offset..offset + len).ok_or(Reason::PacketMalformed)?;
        // Hops still to be visited would make the destination address a lie (RFC 5095 §3, and the source/destination check).
        if next == ROUTING && extension.get(3).is_none_or(|&segments_left| segments_left != 0) {
            return Err(Reason::PacketMalformed);
        }
        next = extension[0];
        offset += len;
    }
    Err(Reason::PacketMalformed)
}

#[inline(always)]
fn parse_transport(network: Network<'_>) -> Result<PacketMeta, Reason> {
    let Network { packet, transport, addresses, protocol, hop_limit } = network;
    let segment = packet.get(transport..).ok_or(Reason::PacketMalformed)?;
    let (mut ports, mut numbers, mut tcp_flags, mut icmp) = ((0, 0), (0, 0), TcpFlags::default(), (0, 0));
    let mut transport_len = segment.len();
    let header_len = match protocol {
        Protocol::TCP => {
            let tcp = TcpHeaderSlice::from_slice(segment).map_err(|_| Reason::PacketMalformed)?;
            ports = (tcp.source_port(), tcp.destination_port());
            numbers = (tcp.sequence_number(), tcp.acknowledgment_number());
            tcp_flags = TcpFlags(tcp.slice()[13]);
            tcp.slice().len()
        }
        Protocol::UDP => {
            let udp = UdpHeaderSlice::from_slice(segment).map_err(|_| Reason::PacketMalformed)?;
            ports = (udp.source_port(), udp.destination_port());
            transport_len = usize::from(udp.length());
            if transport_len < udp.slice().len() || transport_len > segment.len() {
                return Err(Reason::PacketMalformed);
            }
            udp.slice().len()
        }
        Protocol::ICMP | Protocol::ICMPV6
            if (protocol == Protocol::ICMPV6) == matches!(addresses, Addresses::V6 { .. }) =>
        {
            let &[icmp_type, icmp_code, _, _, _, _, _, _, ..] = segment else { return Err(Reason::PacketMalformed) };
            icmp = (icmp_type, icmp_code);
            8
        }
        _ => 0,
    };
    Ok(PacketMeta {
        tuple: FiveTuple { addresses, src_port: ports.0, dst_port: ports.1, protocol },
        packet_len: packet.len() as u32,
        tcp_sequence: numbers.0,
        tcp_acknowledgement: numbers.1,
        // Headers end within the packet's 65,575 bytes; those of IPv6 that start above 65,535 hold no header at all.
        transport: u16::try_from(transport).map_err(|_| Reason::PacketMalformed)?,
        payload: u16::try_from(transport + header_len).map_err(|_| Reason::PacketMalformed)?,
        payload_len: u16::try_from(transport_len - header_len).map_err(|_| Reason::PacketMalformed)?,
        transport_len: u16::try_from(transport_len).map_err(|_| Reason::PacketMalformed)?,
        tcp_flags,
        hop_limit,
        icmp_type: icmp.0,
        icmp_code: icmp.1,
    })
}

#[cfg(test)]
mod tests;
