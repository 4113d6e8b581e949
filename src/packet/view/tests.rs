use proptest::prelude::*;
use smoltcp::wire::{Ipv4Packet, Ipv6Packet, TcpPacket};

use super::super::testing::{self, CLIENT4, CLIENT6, ENI4, ENI6, PacketSpec};
use super::*;

#[test]
fn every_kind_of_packet_gives_its_tuple_and_payload() {
    for spec in testing::every_kind() {
        let bytes = spec.build();
        let view = parse(&bytes).unwrap();
        let has_ports = matches!(spec.protocol, Protocol::TCP | Protocol::UDP);
        let (src_port, dst_port) = if has_ports { (40_000, 443) } else { (0, 0) };
        let expected = if spec.v6 {
            FiveTuple::v6((CLIENT6, src_port), (ENI6, dst_port), spec.protocol)
        } else {
            FiveTuple::v4((CLIENT4, src_port), (ENI4, dst_port), spec.protocol)
        };
        assert_eq!(view.tuple(), expected);
        assert_eq!(view.payload(), spec.payload, "{spec:?}");
        assert_eq!((view.bytes(), view.packet_len(), view.hop_limit()), (&bytes[..], bytes.len(), 64));
        assert_eq!(view.icmp(), (!has_ports).then_some(if spec.v6 { (128, 0) } else { (8, 0) }));
        assert_eq!(view.transport().len(), view.transport_len());
    }
}

#[test]
fn ipv4_options_tcp_options_and_flags_are_found() {
    let flags = TcpFlags::SYN.union(TcpFlags::ACK);
    let mut bytes = PacketSpec { flags, options: vec![2, 4, 5, 180], ..PacketSpec::tcp4(b"xyz") }.build();
    bytes.splice(20..20, [7, 4, 0, 0, 1, 1, 1, 0]); // record route and padding
    bytes[0] = 0x47;
    bytes[3] += 8;
    checksum::fill_ipv4_header(&mut bytes[..28]);
    let view = parse(&bytes).unwrap();
    assert_eq!((view.transport_offset(), view.payload_offset(), view.payload()), (28, 52, &b"xyz"[..]));
    assert_eq!((view.tcp_flags(), view.tcp_sequence(), view.tcp_acknowledgement()), (flags, 1000, 0));
    assert!(!flags.opens() && TcpFlags::SYN.opens() && TcpFlags::SYN.union(TcpFlags::ECE).opens());
}

#[test]
fn trailing_bytes_are_cut_off() {
    for spec in testing::every_kind() {
        let packet = spec.build();
        let trailed = [&packet[..], &[0xff; 9]].concat();
        let view = parse(&trailed).unwrap();
        assert_eq!((view.bytes(), view.payload()), (&packet[..], &spec.payload[..]));
    }
}

#[test]
fn a_packet_cut_anywhere_is_malformed() {
    for spec in testing::every_kind() {
        let packet = spec.build();
        for len in 0..packet.len() {
            assert_eq!(parse(&packet[..len]).err(), Some(Reason::PacketMalformed), "{spec:?} cut to {len}");
        }
    }
}

/// Each row breaks one field of a good TCP packet over IPv4; the header checksum is mended unless the row is about it.
#[test]
fn each_broken_ipv4_field_has_its_reason() {
    type Break = fn(&mut Vec<u8>);
    let rows: &[(&str, Reason, Break)] = &[
        ("version 5", Reason::PacketMalformed, |p| p[0] = 0x55),
        ("header length 16", Reason::PacketMalformed, |p| p[0] = 0x44),
        ("header beyond the packet", Reason::PacketMalformed, |p| p[0] = 0x4f),
        ("total length 0", Reason::PacketMalformed, |p| p[2..4].fill(0)),
        ("total length below the header", Reason::PacketMalformed, |p| p[3] = 19),
        ("total length beyond the bytes", Reason::PacketMalformed, |p| p[3] += 1),
        ("more fragments", Reason::PacketFragment, |p| p[6] = 0x20),
        ("fragment offset", Reason::PacketFragment, |p| p[7] = 1),
        ("TCP header length 16", Reason::PacketMalformed, |p| p[32] = 0x40),
        ("TCP header beyond the packet", Reason::PacketMalformed, |p| p[32] = 0xf0),
    ];
    for (name, reason, breaks) in rows {
        let mut bytes = PacketSpec::tcp4(b"four").build();
        breaks(&mut bytes);
        checksum::fill_ipv4_header(&mut bytes[..20]);
        assert_eq!(parse(&bytes).err(), Some(*reason), "{name}");
    }
    let mut bytes = PacketSpec::tcp4(b"four").build();
    bytes[8] -= 1;
    assert_eq!(parse(&bytes).err(), Some(Reason::PacketChecksum));
    bytes[6] = 0x40; // don't fragment is no fragment
    checksum::fill_ipv4_header(&mut bytes[..20]);
    assert!(parse(&bytes).is_ok());
}

#[test]
fn a_udp_length_that_cannot_be_is_malformed() {
    for (len, ok) in [(0u16, false), (7, false), (8, true), (12, true), (13, false)] {
        let mut bytes = PacketSpec::udp4(b"four").build();
        bytes[24..26].copy_from_slice(&len.to_be_bytes());
        let parsed = parse(&bytes).map(|view| view.payload_len());
        assert_eq!(parsed, if ok { Ok(usize::from(len) - 8) } else { Err(Reason::PacketMalformed) }, "{len}");
    }
}

/// A UDP packet over IPv6 with `extensions` between, the first of type `first`.
fn with_extensions(first: u8, extensions: &[u8]) -> Vec<u8> {
    let mut bytes = PacketSpec::udp6(b"four").build();
    bytes[6] = first;
    let len = u16::from_be_bytes([bytes[4], bytes[5]]) + extensions.len() as u16;
    bytes[4..6].copy_from_slice(&len.to_be_bytes());
    bytes.splice(40..40, extensions.iter().copied());
    bytes
}

#[test]
fn ipv6_extension_headers_are_walked_within_bounds() {
    const MALFORMED: Result<usize, Reason> = Err(Reason::PacketMalformed);
    let seven_more = [[60, 0, 0, 0, 0, 0, 0, 0]; 7].concat();
    let last = [17, 0, 0, 0, 0, 0, 0, 0];
    type Row = (&'static str, u8, Vec<u8>, Result<usize, Reason>);
    let rows: &[Row] = &[
        ("hop-by-hop", 0, last.to_vec(), Ok(48)),
        ("two of them", 0, [&[60, 0, 0, 0, 0, 0, 0, 0], &last[..]].concat(), Ok(56)),
        ("a long one", 60, [&[17, 1][..], &[0; 14]].concat(), Ok(56)),
        ("authentication", 51, [&[17, 1][..], &[0; 10]].concat(), Ok(52)),
        ("routing, done", 43, last.to_vec(), Ok(48)),
        ("routing, not done", 43, vec![17, 0, 0, 1, 0, 0, 0, 0], MALFORMED),
        ("fragment", 44, last.to_vec(), Err(Reason::PacketFragment)),
        ("beyond the packet", 0, vec![17, 200, 0, 0, 0, 0, 0, 0], MALFORMED),
        ("eight", 60, [&seven_more[..], &last].concat(), Ok(104)),
        ("nine", 60, [&seven_more[..], &[60, 0, 0, 0, 0, 0, 0, 0], &last].concat(), MALFORMED),
    ];
    for (name, first, extensions, expected) in rows {
        let bytes = with_extensions(*first, extensions);
        assert_eq!(parse(&bytes).map(|view| view.transport_offset()), *expected, "{name}");
        if expected.is_ok() {
            let view = parse(&bytes).unwrap();
            assert_eq!((view.payload(), view.tuple().dst_port), (&b"four"[..], 443), "{name}");
            assert!(checksum::verify_transport(&bytes, view.meta()), "{name}");
        }
    }
}

#[test]
fn the_largest_packets_of_both_families_are_taken() {
    let four = PacketSpec::tcp4(&vec![1; 65_535 - 40]).build();
    assert_eq!(parse(&four).unwrap().payload_len(), 65_495);
    let six = PacketSpec::tcp6(&vec![1; 65_535 - 20]).build();
    assert_eq!((six.len(), parse(&six).unwrap().packet_len()), (PACKET_LEN_MAX, PACKET_LEN_MAX));
}

#[test]
fn icmp_of_the_other_family_is_a_protocol_like_any_other() {
    let bytes = PacketSpec { protocol: Protocol(47), ..PacketSpec::tcp4(b"gre") }.build();
    let view = parse(&bytes).unwrap();
    assert_eq!((view.tuple().protocol, view.icmp(), view.payload()), (Protocol(47), None, &b"gre"[..]));
    let mut bytes = PacketSpec::ping6(b"").build();
    bytes[6] = 1;
    assert_eq!(parse(&bytes).unwrap().icmp(), None);
}

/// Bytes that are often nearly a packet: random, or a good packet with random damage.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let damaged = (0usize..6, prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), any::<bool>())
        .prop_map(|(kind, damages, mends)| {
            let mut bytes = testing::every_kind()[kind].build();
            for (at, value) in damages {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if mends {
                let header_len = usize::from(bytes[0] & 15) * 4;
                let len = header_len.min(bytes.len());
                checksum::fill_ipv4_header(&mut bytes[..len]);
            }
            bytes
        });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..200), damaged]
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_what_is_taken_lies_within_them(bytes in hostile()) {
        if let Ok(view) = parse(&bytes) {
            prop_assert!(view.packet_len() <= bytes.len() && view.bytes().len() == view.packet_len());
            prop_assert!(view.transport_offset() <= view.payload_offset());
            prop_assert_eq!(view.payload().len(), view.payload_len());
            prop_assert_eq!(view.transport().len(), view.transport_len());
            prop_assert!(view.payload_offset() + view.payload_len() <= view.packet_len());
            let mut copy = bytes.clone();
            checksum::fill_transport(&mut copy, view.meta());
            prop_assert!(checksum::verify_transport(&copy, view.meta()));
        }
    }

    #[test]
    fn what_is_taken_reads_as_smoltcp_reads_it(bytes in hostile()) {
        let Ok(view) = parse(&bytes) else { return Ok(()) };
        let tuple = view.tuple();
        let transport = if tuple.is_v6() {
            let ip = Ipv6Packet::new_checked(&bytes[..]).unwrap();
            prop_assert_eq!((tuple.src(), tuple.dst(), view.hop_limit()), (ip.src_addr().into(), ip.dst_addr().into(), ip.hop_limit()));
            &bytes[view.transport_offset()..ip.total_len()]
        } else {
            let ip = Ipv4Packet::new_checked(&bytes[..]).unwrap();
            prop_assert_eq!((tuple.src(), tuple.dst(), view.hop_limit()), (ip.src_addr().into(), ip.dst_addr().into(), ip.hop_limit()));
            prop_assert!(ip.verify_checksum() && !ip.more_frags() && ip.frag_offset() == 0);
            prop_assert_eq!(usize::from(ip.header_len()), view.transport_offset());
            &bytes[view.transport_offset()..usize::from(ip.total_len())]
        };
        if tuple.protocol == Protocol::TCP {
            let tcp = TcpPacket::new_checked(transport).unwrap();
            prop_assert_eq!((tuple.src_port, tuple.dst_port), (tcp.src_port(), tcp.dst_port()));
            prop_assert_eq!(tcp.payload(), view.payload());
            prop_assert_eq!(view.tcp_flags().opens(), tcp.syn() && !tcp.ack() && !tcp.rst() && !tcp.fin());
        }
    }
}
