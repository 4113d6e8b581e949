//! The Internet checksum (RFC 1071), its pseudo headers (RFC 9293 §3.1, RFC 8200 §8.1) and incremental updates (RFC 1624).

use super::five_tuple::{Addresses, Protocol};
use super::view::PacketMeta;

/// What the checksum field of a TCP or UDP header holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChecksumState {
    /// The whole checksum, as on a wire.
    Complete,
    /// The pseudo header's sum alone, not inverted: whoever sends the packet finishes it (virtio `NEEDS_CSUM`).
    Partial,
}

/// A ones-complement sum in the making.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Nothing added yet.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds bytes as big-endian words; an odd last byte is padded with zero, so only the last call may be odd.
    #[inline]
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        // Words are added in the machine's order, four bytes at a time, and turned round once at the end: the sum does not
        // depend on byte order (RFC 1071 §2 B). A u64 takes 2^32 additions of a u32 without losing a carry.
        let (words, tail) = bytes.as_chunks::<4>();
        let mut sum: u64 = words.iter().map(|w| u64::from(u32::from_ne_bytes(*w))).sum();
        let mut last = [0; 4];
        last[..tail.len()].copy_from_slice(tail);
        sum += u64::from(u32::from_ne_bytes(last));
        Self(self.0 + u64::from(u16::from_be(fold(sum))))
    }

    /// Adds one word.
    #[inline]
    #[must_use]
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds the pseudo header of a TCP or UDP segment `len` bytes long.
    #[inline]
    #[must_use]
    pub fn pseudo_header(self, addresses: Addresses, protocol: Protocol, len: u32) -> Self {
        let sum = match addresses {
            Addresses::V4 { src, dst } => self.bytes(&src.octets()).bytes(&dst.octets()),
            Addresses::V6 { src, dst } => self.bytes(&src.octets()).bytes(&dst.octets()),
        };
        sum.word((len >> 16) as u16).word(len as u16).word(u16::from(protocol.0))
    }

    /// The sum, folded to a word, not inverted: what a partial checksum field holds.
    #[inline]
    pub fn folded(self) -> u16 {
        fold(self.0)
    }

    /// The checksum: the sum's complement.
    #[inline]
    pub fn complement(self) -> u16 {
        !self.folded()
    }
}

/// Each line halves what can be carried; the last takes the carry of the one before.
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// `checksum` after one word under it changed from `old` to `new` (RFC 1624 §3, equation 3).
#[inline]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Sum::new().word(!checksum).word(!old).word(new).complement()
}

/// Whether the IPv4 header `header` sums up.
#[inline]
pub fn verify_ipv4_header(header: &[u8]) -> bool {
    // Nearly all have no options: with the length known the compiler makes it five additions.
    let sum = match header.as_array::<20>() {
        Some(header) => Sum::new().bytes(header),
        None => Sum::new().bytes(header),
    };
    sum.folded() == 0xffff
}

/// Computes the checksum of the IPv4 header `header` and writes it; `header` holds at least 20 bytes or is left alone.
pub fn fill_ipv4_header(header: &mut [u8]) {
    if header.len() < 20 {
        return;
    }
    header[10..12].fill(0);
    let checksum = Sum::new().bytes(header).complement();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// Whether the TCP, UDP or ICMP checksum of the packet is right. Other protocols have none that is known here: true.
///
/// UDP over IPv4 may go without one (RFC 768), over IPv6 it may not (RFC 8200 §8.1).
pub fn verify_transport(bytes: &[u8], meta: &PacketMeta) -> bool {
    let Some((offset, sum)) = field_and_pseudo_sum(meta) else { return true };
    let Some(segment) = bytes.get(meta.transport_offset()..meta.transport_end()) else { return false };
    if meta.tuple().protocol == Protocol::UDP && segment[offset..offset + 2] == [0, 0] {
        return !meta.tuple().is_v6();
    }
    sum.bytes(segment).folded() == 0xffff
}

/// Computes the TCP, UDP or ICMP checksum and writes it. Other protocols are left alone.
pub fn fill_transport(bytes: &mut [u8], meta: &PacketMeta) {
    let Some((offset, sum)) = field_and_pseudo_sum(meta) else { return };
    let Some(segment) = bytes.get_mut(meta.transport_offset()..meta.transport_end()) else { return };
    segment[offset..offset + 2].fill(0);
    let checksum = as_transmitted(meta.tuple().protocol, sum.bytes(segment).complement());
    segment[offset..offset + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// Writes the pseudo header's sum into the TCP or UDP checksum field, for a device that finishes it (virtio `NEEDS_CSUM`).
/// Other protocols are left alone.
pub fn fill_partial(bytes: &mut [u8], meta: &PacketMeta) {
    if !matches!(meta.tuple().protocol, Protocol::TCP | Protocol::UDP) {
        return;
    }
    let Some((offset, sum)) = field_and_pseudo_sum(meta) else { return };
    let at = meta.transport_offset() + offset;
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&sum.folded().to_be_bytes());
    }
}

/// A UDP checksum of zero means "none" and is sent as its other form (RFC 768).
pub(crate) const fn as_transmitted(protocol: Protocol, checksum: u16) -> u16 {
    if checksum == 0 && protocol.0 == Protocol::UDP.0 { 0xffff } else { checksum }
}

/// Where in the transport header the checksum stands, for protocols that have one known here.
pub(crate) const fn field_offset(protocol: Protocol) -> Option<usize> {
    match protocol {
        Protocol::TCP => Some(16),
        Protocol::UDP => Some(6),
        Protocol::ICMP | Protocol::ICMPV6 => Some(2),
        _ => None,
    }
}

fn field_and_pseudo_sum(meta: &PacketMeta) -> Option<(usize, Sum)> {
    let tuple = meta.tuple();
    let offset = match (tuple.protocol, tuple.is_v6()) {
        // ICMP inside IPv6 and ICMPv6 inside IPv4 are protocols like any other.
        (Protocol::ICMP, true) | (Protocol::ICMPV6, false) => return None,
        (protocol, _) => field_offset(protocol)?,
    };
    // ICMP for IPv4 has no pseudo header (RFC 792).
    let sum = match tuple.protocol {
        Protocol::ICMP => Sum::new(),
        protocol => Sum::new().pseudo_header(tuple.addresses, protocol, meta.transport_len() as u32),
    };
    Some((offset, sum))
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::testing::{self, PacketSpec};
    use super::*;
    use proptest::prelude::*;

    /// Word by word, as RFC 1071 §1 says it.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum: u32 = 0;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071_sums_up() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::new().bytes(&bytes).folded(), 0xddf2);
    }

    #[test]
    fn a_damaged_packet_fails_verification_and_a_filled_one_passes() {
        for spec in testing::every_kind() {
            let mut bytes = spec.build();
            let meta = *parse(&bytes).unwrap().meta();
            assert!(verify_transport(&bytes, &meta), "{spec:?}");
            let last = bytes.len() - 1;
            bytes[last] ^= 0x40;
            assert!(!verify_transport(&bytes, &meta), "{spec:?}");
            fill_transport(&mut bytes, &meta);
            assert!(verify_transport(&bytes, &meta), "{spec:?}");
        }
    }

    #[test]
    fn udp_may_go_without_a_checksum_over_ipv4_but_not_over_ipv6() {
        for (spec, allowed) in [(PacketSpec::udp4(b"hello"), true), (PacketSpec::udp6(b"hello"), false)] {
            let mut bytes = spec.build();
            let meta = *parse(&bytes).unwrap().meta();
            let at = meta.transport_offset() + 6;
            bytes[at..at + 2].fill(0);
            assert_eq!(verify_transport(&bytes, &meta), allowed);
        }
    }

    proptest! {
        #[test]
        fn the_fast_sum_equals_the_naive_one(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(Sum::new().bytes(&bytes).folded() % 0xffff, naive(&bytes) % 0xffff);
        }

        #[test]
        fn an_incremental_update_equals_summing_again(mut bytes in prop::collection::vec(any::<u8>(), 20..60), at in 0usize..9, new: u16) {
            let before = Sum::new().bytes(&bytes).complement();
            let old = u16::from_be_bytes([bytes[at * 2], bytes[at * 2 + 1]]);
            bytes[at * 2..at * 2 + 2].copy_from_slice(&new.to_be_bytes());
            let again = Sum::new().bytes(&bytes).complement();
            // Both zeros of ones-complement arithmetic are the same number.
            prop_assert_eq!(update(before, old, new) % 0xffff, again % 0xffff);
        }

        #[test]
        fn transport_checksums_equal_etherparses(payload in prop::collection::vec(any::<u8>(), 0..200), src: [u8; 4], dst: [u8; 4], src6: [u8; 16], dst6: [u8; 16]) {
            let tcp = etherparse::TcpHeader::new(40_000, 443, 7, 8);
            let four = Addresses::V4 { src: src.into(), dst: dst.into() };
            let six = Addresses::V6 { src: src6.into(), dst: dst6.into() };
            let mut segment = tcp.to_bytes().to_vec();
            segment.extend_from_slice(&payload);
            let ours = |addresses| {
                Sum::new().pseudo_header(addresses, Protocol::TCP, segment.len() as u32).bytes(&segment).complement()
            };
            prop_assert_eq!(ours(four), tcp.calc_checksum_ipv4_raw(src, dst, &payload).unwrap());
            prop_assert_eq!(ours(six), tcp.calc_checksum_ipv6_raw(src6, dst6, &payload).unwrap());
        }
    }
}
