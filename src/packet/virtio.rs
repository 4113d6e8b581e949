//! The virtio-net header that stands before each packet of a TUN device with offloads (virtio 1.2 §5.1.6, legacy length).

use super::checksum::{self, ChecksumState, Sum};
use super::five_tuple::Protocol;
use super::view::PacketMeta;
use crate::verdict::Reason;

/// Bytes of the header: without the `num_buffers` of modern virtio, as a TUN device has it by default.
pub const VIRTIO_HEADER_LEN: usize = 10;

const FLAG_NEEDS_CSUM: u8 = 1;
const FLAG_DATA_VALID: u8 = 2;
const GSO_ECN: u8 = 0x80;

/// What a super-segment is to be cut into.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum GsoType {
    /// It is one packet.
    #[default]
    None = 0,
    /// TCP over IPv4.
    TcpV4 = 1,
    /// TCP over IPv6.
    TcpV6 = 4,
    /// UDP datagrams of one size, either family.
    UdpL4 = 5,
}

/// The header's fields.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct VirtioHeader {
    /// The transport checksum is partial: `csum_start` and `csum_offset` say where it is finished.
    pub needs_checksum: bool,
    /// The device vouches for the transport checksum.
    pub data_valid: bool,
    /// What to cut it into.
    pub gso_type: GsoType,
    /// The segments use ECN: CWR belongs to the first alone.
    pub ecn: bool,
    /// Bytes of IP and transport headers. The kernel's word is not trusted for forwarded packets.
    pub header_len: u16,
    /// Payload bytes of each segment.
    pub gso_size: u16,
    /// Where summing starts.
    pub csum_start: u16,
    /// Where, from `csum_start`, the checksum stands.
    pub csum_offset: u16,
}

impl VirtioHeader {
    /// The header of a TCP packet for a device that finishes its checksum and, if `gso_size` is given, cuts it into segments
    /// of so many payload bytes. A packet that needs no cutting is marked as one packet.
    pub fn for_tcp(meta: &PacketMeta, gso_size: Option<u16>) -> Self {
        let header_len = meta.payload_offset() as u16;
        let gso_size = gso_size.filter(|&size| size != 0 && meta.payload_len() > usize::from(size));
        let gso_type = match (gso_size, meta.tuple().is_v6()) {
            (None, _) => GsoType::None,
            (Some(_), false) => GsoType::TcpV4,
            (Some(_), true) => GsoType::TcpV6,
        };
        Self {
            needs_checksum: true,
            gso_type,
            header_len,
            gso_size: gso_size.unwrap_or(0),
            csum_start: meta.transport_offset() as u16,
            csum_offset: 16,
            ..Self::default()
        }
    }

    /// Splits what was read from a device into header and packet.
    ///
    /// # Errors
    /// [`Reason::PacketMalformed`]: too short, an unknown kind of super-segment, or one without a segment size.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Reason> {
        let (header, packet) = bytes.split_first_chunk::<VIRTIO_HEADER_LEN>().ok_or(Reason::PacketMalformed)?;
        let &[flags, gso, h0, h1, g0, g1, s0, s1, o0, o1] = header;
        let gso_type = match gso & !GSO_ECN {
            0 => GsoType::None,
            1 => GsoType::TcpV4,
            4 => GsoType::TcpV6,
            5 => GsoType::UdpL4,
            _ => return Err(Reason::PacketMalformed),
        };
        let parsed = Self {
            needs_checksum: flags & FLAG_NEEDS_CSUM != 0,
            data_valid: flags & FLAG_DATA_VALID != 0,
            gso_type,
            ecn: gso & GSO_ECN != 0,
            header_len: u16::from_le_bytes([h0, h1]),
            gso_size: u16::from_le_bytes([g0, g1]),
            csum_start: u16::from_le_bytes([s0, s1]),
            csum_offset: u16::from_le_bytes([o0, o1]),
        };
        if gso_type != GsoType::None && parsed.gso_size == 0 {
            return Err(Reason::PacketMalformed);
        }
        Ok((parsed, packet))
    }

    /// The header's bytes.
    #[inline]
    pub fn emit(&self) -> [u8; VIRTIO_HEADER_LEN] {
        let flags = (u8::from(self.needs_checksum) * FLAG_NEEDS_CSUM) | (u8::from(self.data_valid) * FLAG_DATA_VALID);
        let gso = self.gso_type as u8 | if self.ecn { GSO_ECN } else { 0 };
        let [h, g, s, o] = [self.header_len, self.gso_size, self.csum_start, self.csum_offset].map(u16::to_le_bytes);
        [flags, gso, h[0], h[1], g[0], g[1], s[0], s[1], o[0], o[1]]
    }

    /// Whether the header fits the packet behind it: the kind of super-segment its protocol, the checksum place its headers.
    ///
    /// # Errors
    /// [`Reason::PacketMalformed`] if not.
    #[inline]
    pub fn verify(&self, meta: &PacketMeta) -> Result<(), Reason> {
        let tuple = meta.tuple();
        let gso_fits = match self.gso_type {
            GsoType::None => true,
            GsoType::TcpV4 => tuple.protocol == Protocol::TCP && !tuple.is_v6(),
            GsoType::TcpV6 => tuple.protocol == Protocol::TCP && tuple.is_v6(),
            GsoType::UdpL4 => tuple.protocol == Protocol::UDP,
        };
        let checksum_fits = !self.needs_checksum
            || (usize::from(self.csum_start) == meta.transport_offset()
                && checksum::field_offset(tuple.protocol) == Some(usize::from(self.csum_offset)));
        if gso_fits && checksum_fits { Ok(()) } else { Err(Reason::PacketMalformed) }
    }

    /// What the transport checksum field holds.
    #[inline]
    pub const fn checksum_state(&self) -> ChecksumState {
        if self.needs_checksum { ChecksumState::Partial } else { ChecksumState::Complete }
    }

    /// Whether the transport checksum still has to be verified: nobody vouches for it.
    #[inline]
    pub const fn is_unverified(&self) -> bool {
        !self.needs_checksum && !self.data_valid
    }

    /// Packets this one stands for.
    pub const fn segment_count(&self, meta: &PacketMeta) -> usize {
        match self.gso_type {
            GsoType::None => 1,
            _ => {
                let count = meta.payload_len().div_ceil(self.gso_size as usize);
                if count == 0 { 1 } else { count }
            }
        }
    }

    /// Bytes of the largest packet this one stands for: what an MTU is compared with.
    #[inline]
    pub const fn packet_len_max(&self, meta: &PacketMeta) -> usize {
        match self.gso_type {
            GsoType::None => meta.packet_len(),
            _ if meta.payload_len() <= self.gso_size as usize => meta.packet_len(),
            _ => meta.payload_offset() + self.gso_size as usize,
        }
    }
}

/// Finishes the partial checksum of one packet (not a super-segment) that goes where no device will do it, and says so in
/// `header`. Does nothing if the checksum is complete.
///
/// # Errors
/// [`Reason::PacketMalformed`] if the checksum's place lies outside the packet.
pub fn complete_checksum(header: &mut VirtioHeader, bytes: &mut [u8]) -> Result<(), Reason> {
    if !header.needs_checksum {
        return Ok(());
    }
    let summed = bytes.get_mut(usize::from(header.csum_start)..).ok_or(Reason::PacketMalformed)?;
    let at = usize::from(header.csum_offset);
    let mut checksum =
        summed.get(at..at + 2).map(|_| Sum::new().bytes(summed).complement()).ok_or(Reason::PacketMalformed)?;
    // For UDP zero would mean "none"; for TCP both zeros of ones-complement arithmetic verify alike.
    if checksum == 0 {
        checksum = 0xffff;
    }
    summed[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    header.needs_checksum = false;
    (header.csum_start, header.csum_offset) = (0, 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::testing::{self, PacketSpec};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_field_survives_emit_and_parse() {
        let header = VirtioHeader {
            needs_checksum: true,
            data_valid: false,
            gso_type: GsoType::TcpV6,
            ecn: true,
            header_len: 0x1234,
            gso_size: 1440,
            csum_start: 40,
            csum_offset: 16,
        };
        assert_eq!(header.emit(), [1, 0x84, 0x34, 0x12, 0xa0, 0x05, 40, 0, 16, 0]);
        assert_eq!(VirtioHeader::parse(&header.emit()), Ok((header, &[][..])));
    }

    #[test]
    fn a_header_that_cannot_be_meant_is_malformed() {
        for bytes in [
            &[0; 9][..],                        // too short
            &[0, 3, 0, 0, 1, 0, 0, 0, 0, 0],    // UFO: not ours
            &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0],    // a super-segment without a segment size
            &[0, 0x7f, 0, 0, 1, 0, 0, 0, 0, 0], // unknown
        ] {
            assert_eq!(VirtioHeader::parse(bytes), Err(Reason::PacketMalformed), "{bytes:?}");
        }
    }

    #[test]
    fn a_header_must_fit_the_packet_behind_it() {
        let bytes = PacketSpec::tcp4(b"x").build();
        let meta = *parse(&bytes).unwrap().meta();
        let good = VirtioHeader::for_tcp(&meta, None);
        assert_eq!(good.verify(&meta), Ok(()));
        for bad in [
            VirtioHeader { gso_type: GsoType::TcpV6, gso_size: 1, ..good },
            VirtioHeader { gso_type: GsoType::UdpL4, gso_size: 1, ..good },
            VirtioHeader { csum_start: 21, ..good },
            VirtioHeader { csum_offset: 6, ..good },
        ] {
            assert_eq!(bad.verify(&meta), Err(Reason::PacketMalformed), "{bad:?}");
        }
    }

    #[test]
    fn a_partial_checksum_is_finished_to_the_complete_one() {
        for spec in
            [PacketSpec::tcp4(b"abc"), PacketSpec::tcp6(b"abc"), PacketSpec::udp4(b"abc"), PacketSpec::udp6(b"")]
        {
            let complete = spec.build();
            let meta = *parse(&complete).unwrap().meta();
            let mut bytes = complete.clone();
            checksum::fill_partial(&mut bytes, &meta);
            let mut header = testing::partial(&meta);
            assert_eq!(header.checksum_state(), ChecksumState::Partial);
            complete_checksum(&mut header, &mut bytes).unwrap();
            assert_eq!((bytes, header.needs_checksum), (complete, false), "{spec:?}");
        }
    }

    #[test]
    fn an_mtu_is_compared_with_the_segments_of_a_super_segment() {
        let bytes = PacketSpec::tcp4(&[0; 5000]).build();
        let meta = *parse(&bytes).unwrap().meta();
        let gso = VirtioHeader::for_tcp(&meta, Some(1460));
        assert_eq!((gso.packet_len_max(&meta), gso.segment_count(&meta)), (1500, 4));
        assert_eq!(VirtioHeader::default().packet_len_max(&meta), 5040);
        assert_eq!(VirtioHeader::for_tcp(&meta, Some(5000)).gso_type, GsoType::None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Ok((mut header, packet)) = VirtioHeader::parse(&bytes) {
                let mut packet = packet.to_vec();
                if let Ok(view) = parse(&packet) {
                    let verified = header.verify(view.meta());
                    let sizes = (header.segment_count(view.meta()), header.packet_len_max(view.meta()));
                    prop_assert!(sizes.0 >= 1 && (verified.is_err() || sizes.1 >= 20));
                }
                let complete = complete_checksum(&mut header, &mut packet).is_ok();
                prop_assert_eq!(complete, !header.needs_checksum);
            }
        }
    }
}
