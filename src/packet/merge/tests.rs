use proptest::prelude::*;

use super::super::testing::PacketSpec;
use super::super::{GsoType, Segmenter, parse};
use super::*;
use crate::packet::checksum::verify_transport;

/// What lies between packets: an ESP header before each, trailer and ICV behind.
const GAP: usize = 40;
const PUSH: TcpFlags = TcpFlags(TcpFlags::ACK.0 | TcpFlags::PSH.0);

/// The runs that `packets` make: what a device is given, header and packet, and how many packets each stands for.
fn merged(packets: &[Vec<u8>]) -> Vec<(VirtioHeader, Vec<u8>, usize)> {
    let mut buffer = Vec::new();
    let mut places = Vec::new();
    for packet in packets {
        buffer.extend([0xee; GAP]);
        places.push(buffer.len()..buffer.len() + packet.len());
        buffer.extend_from_slice(packet);
    }
    let (mut merger, mut runs) = (Merger::default(), Vec::new());
    let mut take = |run: Option<Run>, buffer: &mut [u8]| {
        if let Some(run) = run {
            let header = run.finish(buffer);
            runs.push((header, buffer[run.range()].to_vec(), run.packets()));
        }
    };
    for place in places {
        let meta = *parse(&buffer[place.clone()]).unwrap().meta();
        let run = merger.push(&mut buffer, place, &meta, true);
        take(run, &mut buffer);
    }
    take(merger.finish(), &mut buffer);
    runs
}

/// The packets that a device cuts a run into.
fn cut(header: &VirtioHeader, packet: &[u8]) -> Vec<Vec<u8>> {
    let meta = *parse(packet).unwrap().meta();
    let mut segments = Segmenter::new(packet, &meta, header).unwrap();
    let mut out = Vec::new();
    while segments.remaining() > 0 {
        let mut buffer = vec![0; segments.packet_len_max()];
        let len = segments.emit_next(&mut buffer).unwrap().unwrap();
        buffer.truncate(len);
        out.push(buffer);
    }
    out
}

/// Forbids fragmentation, and makes the identification what a device makes of it.
fn settled(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        packet[4..6].fill(0);
        packet[6] = 0x40;
        fill_ipv4_header(&mut packet[..20]);
    }
    packet
}

/// Segments of one flow with these payload lengths, one behind the other.
fn train(spec: &PacketSpec, lens: &[usize]) -> Vec<PacketSpec> {
    let mut at = spec.sequence;
    let mut train = Vec::new();
    for (index, &len) in lens.iter().enumerate() {
        let payload = (0..len).map(|n| (n * 7 + index) as u8).collect();
        train.push(PacketSpec { sequence: at, payload, ..spec.clone() });
        at = at.wrapping_add(len as u32);
    }
    train
}

fn built(specs: &[PacketSpec]) -> Vec<Vec<u8>> {
    specs.iter().map(|spec| settled(spec.build())).collect()
}

#[test]
fn a_train_becomes_one_packet_that_a_device_cuts_back_into_the_train() {
    for spec in [PacketSpec::tcp4(b""), PacketSpec::tcp6(b"")] {
        let mut specs = train(&PacketSpec { sequence: u32::MAX - 2_000, ..spec }, &[1_398, 1_398, 1_398, 77]);
        specs[3].flags = PUSH;
        let packets = built(&specs);
        let runs = merged(&packets);
        let [(header, packet, 4)] = &runs[..] else { panic!("one run: {runs:?}") };
        assert_eq!((header.gso_size, header.needs_checksum), (1_398, true));
        assert_eq!(cut(header, packet).into_iter().map(settled).collect::<Vec<_>>(), packets);
    }
}

#[test]
fn what_is_alone_stays_as_it_came() {
    for packet in [built(&[PacketSpec::tcp4(b"one")]).remove(0), PacketSpec::udp6(b"two").build()] {
        assert_eq!(merged(std::slice::from_ref(&packet)), [(VirtioHeader::default(), packet, 1)]);
    }
}

#[test]
fn only_the_rest_of_the_same_train_is_merged() {
    type Change = fn(&mut PacketSpec);
    let changes: [(&str, Change); 12] = [
        ("a gap", |spec| spec.sequence += 1),
        ("a repetition", |spec| spec.sequence -= 100),
        ("another acknowledgement", |spec| spec.acknowledgement += 1),
        ("another port", |spec| spec.src_port += 1),
        ("another address", |spec| spec.src4 = [10, 0, 1, 11].into()),
        ("another hop limit", |spec| spec.hop_limit -= 1),
        ("options", |spec| spec.options = vec![1, 1, 1, 1]),
        ("FIN", |spec| spec.flags = TcpFlags::ACK.union(TcpFlags::FIN)),
        ("SYN", |spec| spec.flags = TcpFlags::ACK.union(TcpFlags::SYN)),
        ("CWR", |spec| spec.flags = TcpFlags::ACK.union(TcpFlags::CWR)),
        ("no payload", |spec| spec.payload.clear()),
        ("a longer segment", |spec| spec.payload.push(0)),
    ];
    for (what, change) in changes {
        let mut specs = train(&PacketSpec::tcp4(b""), &[100, 100]);
        change(&mut specs[1]);
        assert_eq!(merged(&built(&specs)).len(), 2, "{what}");
    }
    assert_eq!(merged(&built(&train(&PacketSpec::tcp4(b""), &[100, 100]))).len(), 1);
    // The end of a run.
    assert_eq!(
        merged(&built(&train(&PacketSpec::tcp4(b""), &[100, 99, 99]))).len(),
        2,
        "a shorter segment is the last"
    );
    let mut specs = train(&PacketSpec::tcp4(b""), &[100, 100, 100]);
    specs[1].flags = PUSH;
    assert_eq!(merged(&built(&specs)).len(), 2, "PSH is the last");
    // What may be fragmented needs its identification.
    let specs = train(&PacketSpec::tcp4(b""), &[100, 100]);
    let mut packets = built(&specs);
    for packet in &mut packets {
        packet[6] = 0;
        fill_ipv4_header(&mut packet[..20]);
    }
    assert_eq!(merged(&packets).len(), 2);
}

#[test]
fn a_run_is_never_longer_than_the_kernel_takes_as_one() {
    let packets = built(&train(&PacketSpec::tcp4(b""), &[1_398; 100]));
    let runs = merged(&packets);
    assert_eq!(runs.len(), 3);
    assert!(runs.iter().all(|(header, packet, count)| {
        packet.len() <= MERGED_LEN_MAX && header.segment_count(parse(packet).unwrap().meta()) == *count
    }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_comes_a_device_makes_the_same_packets_of_it(
        steps in prop::collection::vec((0_u8..2, any::<bool>(), 0_usize..5, 0_u8..12, any::<bool>()), 1..60)
    ) {
        let mut at = [[1_000_u32, 5_000], [u32::MAX - 50, 9_000]];
        let mut packets = Vec::new();
        for (flow, v6, len, oddity, push) in steps {
            let spec = if v6 { PacketSpec::tcp6(b"") } else { PacketSpec::tcp4(b"") };
            let next = &mut at[usize::from(v6)][usize::from(flow)];
            let len = [0, 1, 30, 60, 60][len];
            let mut spec = PacketSpec { sequence: *next, src_port: 40_000 + u16::from(flow), ..spec };
            spec.payload = (0..len).map(|n| n as u8 ^ oddity).collect();
            match oddity {
                0 => spec.sequence = spec.sequence.wrapping_add(1),
                1 => spec.acknowledgement = 7,
                2 => spec.flags = TcpFlags::ACK.union(TcpFlags::FIN),
                3 => spec.options = vec![1, 1, 1, 1],
                _ if push => spec.flags = PUSH,
                _ => {}
            }
            *next = spec.sequence.wrapping_add(len as u32);
            packets.push(settled(spec.build()));
        }
        let mut again = Vec::new();
        for (header, packet, count) in merged(&packets) {
            let cut = cut(&header, &packet);
            prop_assert_eq!(cut.len(), count);
            prop_assert!(count == 1 || header.gso_type != GsoType::None);
            for packet in cut {
                let meta = *parse(&packet).unwrap().meta();
                prop_assert!(verify_transport(&packet, &meta));
                again.push(settled(packet));
            }
        }
        prop_assert_eq!(again, packets);
    }
}
