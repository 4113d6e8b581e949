use proptest::prelude::*;
use smoltcp::wire::{Ipv4Packet, TcpPacket};

use super::super::testing::{self, PacketSpec};
use super::super::{checksum, parse};
use super::*;

fn segments(bytes: &[u8], header: &VirtioHeader) -> Vec<Vec<u8>> {
    let meta = *parse(bytes).unwrap().meta();
    let mut segmenter = Segmenter::new(bytes, &meta, header).unwrap();
    assert_eq!(segmenter.remaining(), header.segment_count(&meta));
    let mut buffer = vec![0xaa; segmenter.packet_len_max()];
    let mut out = Vec::new();
    while let Some(len) = segmenter.emit_next(&mut buffer).unwrap() {
        out.push(buffer[..len].to_vec());
    }
    assert_eq!(segmenter.remaining(), 0);
    out
}

#[test]
fn a_tcp_super_segment_becomes_the_packets_it_stands_for() {
    let payload: Vec<u8> = (0..3000u32).map(|n| n as u8).collect();
    let flags = TcpFlags::ACK.union(TcpFlags::PSH).union(TcpFlags::FIN).union(TcpFlags::CWR);
    let spec = PacketSpec {
        flags,
        sequence: u32::MAX - 1000,
        options: vec![1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8],
        ..PacketSpec::tcp4(&payload)
    };
    let mut bytes = spec.build();
    bytes[4..6].copy_from_slice(&[0xff, 0xff]);
    checksum::fill_ipv4_header(&mut bytes[..20]);
    let meta = *parse(&bytes).unwrap().meta();
    let out = segments(&bytes, &testing::gso(&meta, 1400));
    let lens: Vec<usize> = out.iter().map(Vec::len).collect();
    assert_eq!(lens, [1452, 1452, 252]);
    let heads: Vec<_> = out
        .iter()
        .map(|packet| {
            let ip = Ipv4Packet::new_checked(&packet[..]).unwrap();
            let tcp = TcpPacket::new_checked(ip.payload()).unwrap();
            (ip.ident(), tcp.seq_number().0 as u32, tcp.cwr(), tcp.psh(), tcp.fin(), tcp.ack())
        })
        .collect();
    assert_eq!(
        heads,
        [
            (0xffff, u32::MAX - 1000, true, false, false, true),
            (0, 399, false, false, false, true),
            (1, 1799, false, true, true, true),
        ]
    );
}

#[test]
fn a_udp_super_segment_becomes_datagrams_of_one_size() {
    for spec in [PacketSpec::udp4(&[7; 2500]), PacketSpec::udp6(&[7; 2500])] {
        let bytes = spec.build();
        let meta = *parse(&bytes).unwrap().meta();
        let out = segments(&bytes, &testing::gso(&meta, 1000));
        let lens: Vec<usize> = out.iter().map(|p| parse(p).unwrap().payload_len()).collect();
        assert_eq!(lens, [1000, 1000, 500]);
        assert!(out.iter().all(|p| checksum::verify_transport(p, parse(p).unwrap().meta())));
    }
}

#[test]
fn datagrams_without_a_checksum_stay_without() {
    let mut bytes = PacketSpec::udp4(&[7; 30]).build();
    bytes[26..28].fill(0);
    let meta = *parse(&bytes).unwrap().meta();
    let header = VirtioHeader { needs_checksum: false, ..testing::gso(&meta, 10) };
    assert!(segments(&bytes, &header).iter().all(|p| p[26..28] == [0, 0]));
}

#[test]
fn one_packet_comes_out_once_with_its_checksum_complete() {
    for spec in testing::every_kind() {
        let complete = spec.build();
        let meta = *parse(&complete).unwrap().meta();
        assert_eq!(segments(&complete, &VirtioHeader::default()), std::slice::from_ref(&complete), "{spec:?}");
        if matches!(spec.protocol, Protocol::TCP | Protocol::UDP) {
            let mut bytes = complete.clone();
            checksum::fill_partial(&mut bytes, &meta);
            assert_eq!(segments(&bytes, &testing::partial(&meta)), [complete], "{spec:?}");
        }
    }
}

#[test]
fn a_buffer_too_small_loses_nothing() {
    let bytes = PacketSpec::tcp4(&[1; 100]).build();
    let meta = *parse(&bytes).unwrap().meta();
    let mut segmenter = Segmenter::new(&bytes, &meta, &testing::gso(&meta, 60)).unwrap();
    assert_eq!(segmenter.emit_next(&mut [0; 99]), Err(BufferTooSmall { needed: 100, given: 99 }));
    assert_eq!(segmenter.emit_next(&mut [0; 100]), Ok(Some(100)));
    assert_eq!(segmenter.emit_next(&mut [0; 100]), Ok(Some(80)));
    assert_eq!(segmenter.emit_next(&mut [0; 100]), Ok(None));
}

#[test]
fn a_header_of_another_packet_is_refused() {
    let bytes = PacketSpec::tcp6(&[1; 100]).build();
    let meta = *parse(&bytes).unwrap().meta();
    let header = VirtioHeader { gso_type: GsoType::TcpV4, ..testing::gso(&meta, 60) };
    assert_eq!(Segmenter::new(&bytes, &meta, &header).err(), Some(Reason::PacketMalformed));
}

proptest! {
    #[test]
    fn payloads_in_order_are_the_whole_payload_and_every_checksum_is_right(kind in 0usize..4, payload in prop::collection::vec(any::<u8>(), 0..4000), gso_size in 1u16..2000, sequence: u32) {
        let bytes = PacketSpec { payload: payload.clone(), sequence, ..testing::every_kind()[kind].clone() }.build();
        let meta = *parse(&bytes).unwrap().meta();
        let mut joined = Vec::new();
        for packet in segments(&bytes, &testing::gso(&meta, gso_size)) {
            let view = parse(&packet).unwrap();
            prop_assert!(view.payload_len() <= usize::from(gso_size) && view.packet_len() == packet.len());
            prop_assert!(checksum::verify_transport(&packet, view.meta()));
            prop_assert_eq!(view.tuple(), meta.tuple());
            if meta.tuple().protocol == Protocol::TCP {
                let t = view.transport_offset();
                let seq = u32::from_be_bytes([packet[t + 4], packet[t + 5], packet[t + 6], packet[t + 7]]);
                prop_assert_eq!(seq, sequence.wrapping_add(joined.len() as u32));
            }
            joined.extend_from_slice(view.payload());
        }
        prop_assert_eq!(joined, payload);
    }

    #[test]
    fn no_header_and_no_bytes_make_it_panic(header: [u8; 10], damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), kind in 0usize..6, gso_type in 0u8..6) {
        let mut bytes = testing::every_kind()[kind].build();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        checksum::fill_ipv4_header(&mut bytes[..20]);
        let mut header = header;
        header[1] = gso_type;
        let (Ok(view), Ok((mut header, _))) = (parse(&bytes), VirtioHeader::parse(&header)) else { return Ok(()) };
        header.csum_start = view.transport_offset() as u16;
        header.csum_offset = if kind < 2 { 16 } else { 6 };
        if let Ok(mut segmenter) = Segmenter::new(&bytes, view.meta(), &header) {
            let mut buffer = vec![0; segmenter.packet_len_max()];
            let mut count = segmenter.remaining();
            while segmenter.emit_next(&mut buffer).unwrap().is_some() {
                count -= 1;
            }
            prop_assert_eq!(count, 0);
        }
    }
}

/// Found by the fuzz target `packet`: it was cut behind the datagram, but kept the length of the whole packet.
#[test]
fn a_super_segment_of_one_datagram_that_is_shorter_than_its_packet_comes_out_as_it_came() {
    let mut bytes = PacketSpec::udp4(&[7; 120]).build();
    // The datagram ends 20 bytes before its packet.
    bytes[24..26].copy_from_slice(&108_u16.to_be_bytes());
    let header = VirtioHeader { gso_type: GsoType::UdpL4, gso_size: 100, ..VirtioHeader::default() };
    assert_eq!(segments(&bytes, &header), [bytes]);
}
