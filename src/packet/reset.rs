//! The RST that answers a segment for which there is no connection.

use super::checksum;
use super::five_tuple::{Addresses, Protocol};
use super::view::{PacketMeta, TcpFlags};

/// Bytes of the largest RST: an IPv6 and a TCP header.
pub const RESET_LEN_MAX: usize = 60;

const HOP_LIMIT: u8 = 64;
const TCP_HEADER_LEN: usize = 20;

/// Writes the RST that answers the TCP packet `packet` to the start of `buffer` and returns its length in bytes.
///
/// `None` where no RST may be sent: `packet` is not TCP or a RST itself, or `buffer` is smaller than [`RESET_LEN_MAX`].
/// Numbers as RFC 9293 §3.10.7.1 has them. The checksums are complete.
pub fn emit_reset(packet: &PacketMeta, buffer: &mut [u8]) -> Option<usize> {
    let (tuple, flags) = (packet.tuple().reversed(), packet.tcp_flags());
    if tuple.protocol != Protocol::TCP || flags.contains(TcpFlags::RST) || buffer.len() < RESET_LEN_MAX {
        return None;
    }
    let ip_len = match tuple.addresses {
        Addresses::V4 { src, dst } => {
            let total = (20 + TCP_HEADER_LEN) as u16;
            buffer[..12].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, HOP_LIMIT, Protocol::TCP.0, 0, 0]);
            buffer[2..4].copy_from_slice(&total.to_be_bytes());
            buffer[12..16].copy_from_slice(&src.octets());
            buffer[16..20].copy_from_slice(&dst.octets());
            checksum::fill_ipv4_header(&mut buffer[..20]);
            20
        }
        Addresses::V6 { src, dst } => {
            buffer[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, TCP_HEADER_LEN as u8, Protocol::TCP.0, HOP_LIMIT]);
            buffer[8..24].copy_from_slice(&src.octets());
            buffer[24..40].copy_from_slice(&dst.octets());
            40
        }
    };
    let (sequence, acknowledgement, flags) = if flags.contains(TcpFlags::ACK) {
        (packet.tcp_acknowledgement(), 0, TcpFlags::RST)
    } else {
        let controls = u32::from(flags.contains(TcpFlags::SYN)) + u32::from(flags.contains(TcpFlags::FIN));
        let end = packet.tcp_sequence().wrapping_add(packet.payload_len() as u32).wrapping_add(controls);
        (0, end, TcpFlags::RST.union(TcpFlags::ACK))
    };
    let segment = &mut buffer[ip_len..ip_len + TCP_HEADER_LEN];
    segment[..2].copy_from_slice(&tuple.src_port.to_be_bytes());
    segment[2..4].copy_from_slice(&tuple.dst_port.to_be_bytes());
    segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    segment[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
    // Five words of header; no window, no urgent data.
    segment[12..].copy_from_slice(&[0x50, flags.0, 0, 0, 0, 0, 0, 0]);
    let sum = checksum::Sum::new().pseudo_header(tuple.addresses, Protocol::TCP, TCP_HEADER_LEN as u32).bytes(segment);
    segment[16..18].copy_from_slice(&sum.complement().to_be_bytes());
    Some(ip_len + TCP_HEADER_LEN)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::testing::PacketSpec;
    use super::*;

    #[test]
    fn a_reset_answers_with_the_numbers_of_rfc_9293() {
        for spec in [PacketSpec::tcp4(b"four"), PacketSpec::tcp6(b"four")] {
            for (flags, expected) in [
                (TcpFlags::SYN, (0, 1005, 0x14)),
                (TcpFlags::ACK, (77, 0, 0x04)),
                (TcpFlags::FIN, (0, 1005, 0x14)),
                (TcpFlags::PSH, (0, 1004, 0x14)),
            ] {
                let bytes = PacketSpec { flags, acknowledgement: 77, ..spec.clone() }.build();
                let packet = *parse(&bytes).unwrap().meta();
                let mut buffer = [0xaa; RESET_LEN_MAX];
                let len = emit_reset(&packet, &mut buffer).unwrap();
                let reset = parse(&buffer[..len]).unwrap();
                assert_eq!(reset.tuple(), packet.tuple().reversed());
                assert_eq!((reset.tcp_sequence(), reset.tcp_acknowledgement(), reset.tcp_flags().0), expected);
                assert!(checksum::verify_transport(&buffer[..len], reset.meta()));
            }
        }
    }

    #[test]
    fn nothing_but_tcp_is_reset_and_a_reset_never_is() {
        let mut buffer = [0; RESET_LEN_MAX];
        let rst = PacketSpec { flags: TcpFlags::RST, ..PacketSpec::tcp4(b"") };
        for spec in [rst, PacketSpec::udp4(b""), PacketSpec::ping6(b"")] {
            assert_eq!(emit_reset(parse(&spec.build()).unwrap().meta(), &mut buffer), None);
        }
        let syn = PacketSpec::tcp4(b"").with_flags(TcpFlags::SYN).build();
        assert_eq!(emit_reset(parse(&syn).unwrap().meta(), &mut buffer[1..]), None);
    }
}
