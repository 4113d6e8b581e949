use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::*;
use crate::config::{PathDirection, PathProfile, builtin};
use crate::packet::testing::PacketSpec;
use crate::packet::{GsoType, TcpFlags, VIRTIO_HEADER_LEN, mss_option, parse};
use crate::tunnel::keys::TunnelKeys;
use crate::tunnel::path::Link;
use crate::tunnel::{Side as TunnelSide, count_sent};

const NOW: Moment = Moment::from_millis(1);
const WORKERS: usize = 3;

/// The gateway of the quickstart topology, and the endpoint's workers at the other end.
struct World {
    gateway: Forwarder,
    workers: Vec<TunnelEnd>,
    counters: Counters,
}

impl World {
    fn new() -> Self {
        let topology = builtin("quickstart").unwrap().check().unwrap();
        let plain = PathDirection::default();
        let profile = PathProfile { name: "lan".into(), mtu: 1500, to_customer: plain, to_aws: plain };
        let mut next = 0_u8;
        let keys = TunnelKeys::generate(NonZeroUsize::new(WORKERS).unwrap(), |bytes| {
            for byte in bytes {
                next = next.wrapping_mul(5).wrapping_add(113);
                *byte = next;
            }
        });
        let link = Arc::new(Link::new(&plain));
        let end = |side, pairs| TunnelEnd::new(side, pairs, 1024, &profile, link.clone(), 1);
        let workers = keys.pairs().chunks(1).map(|pair| end(TunnelSide::Aws, pair)).collect();
        let gateway = Forwarder::new(&topology, end(TunnelSide::Customer, keys.pairs()), true);
        Self { gateway, workers, counters: Counters::default() }
    }

    /// What the workers receive for a packet from the TUN: worker and packet.
    fn out(&mut self, header: VirtioHeader, packet: &[u8]) -> Vec<(usize, Vec<u8>)> {
        let mut slot = [&header.emit()[..], packet].concat();
        self.gateway.handle_packet(&mut slot, NOW, &self.counters);
        let mut received = Vec::new();
        while let Some(transmit) = self.gateway.end.poll_transmit(NOW) {
            let (worker, segment_size) = (transmit.sa(), transmit.segment_size());
            let mut payload = transmit.bytes().to_vec();
            count_sent(transmit.sent(payload.len()), payload.len(), &self.counters);
            for frame in batch::frames(&mut payload, segment_size) {
                match self.workers[worker].handle_frame(frame, NOW, &Counters::default()) {
                    Received::Packet { packet, .. } => received.push((worker, packet.to_vec())),
                    other => panic!("{other:?}"),
                }
            }
        }
        received
    }

    /// What reaches the TUN for packets that `worker` sends.
    fn back(&mut self, worker: usize, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let end = &mut self.workers[worker];
        for packet in packets {
            end.send(0, packet, NOW, &Counters::default()).unwrap();
        }
        let mut delivered = Vec::new();
        while let Some(transmit) = end.poll_transmit(NOW) {
            let (mut payload, segment_size) = (transmit.bytes().to_vec(), transmit.segment_size());
            transmit.sent(usize::MAX);
            self.gateway.handle_frames(&mut payload, segment_size, NOW, &self.counters, |_, buffer| {
                delivered.push(buffer[VIRTIO_HEADER_LEN..].to_vec());
            });
        }
        delivered
    }
}

fn site4(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 10, last)
}

fn vpc4(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 1, last)
}

fn to_aws(payload: &[u8]) -> PacketSpec {
    PacketSpec { src4: site4(10), dst4: vpc4(20), ..PacketSpec::tcp4(payload) }
}

fn from_aws(payload: &[u8]) -> PacketSpec {
    PacketSpec { src4: vpc4(20), dst4: site4(10), ..PacketSpec::tcp4(payload) }
}

fn to_aws6(payload: &[u8]) -> PacketSpec {
    let site: Ipv6Addr = "fd00:0:0:10::10".parse().unwrap();
    PacketSpec { src6: site, dst6: "2001:db8:1234:1a01::5".parse().unwrap(), ..PacketSpec::tcp6(payload) }
}

#[test]
fn packets_of_both_families_cross_unchanged_in_both_directions() {
    let mut world = World::new();
    for spec in [to_aws(b"hello"), to_aws6(b"hello")] {
        let packet = spec.build();
        let received = world.out(VirtioHeader::default(), &packet);
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].1, packet, "the hop limit is the kernel's business");
        let reply = PacketSpec {
            src4: spec.dst4,
            dst4: spec.src4,
            src6: spec.dst6,
            dst6: spec.src6,
            src_port: spec.dst_port,
            dst_port: spec.src_port,
            ..spec
        };
        assert_eq!(world.back(received[0].0, &[reply.build()]), [reply.build()]);
    }
    assert_eq!(world.counters.event(Event::Forwarded), 4);
    assert_eq!(world.counters.event(Event::FramesTx), 2);
    assert_eq!(world.counters.event(Event::FramesRx), 2);
}

#[test]
fn only_addresses_of_the_two_sides_pass() {
    let inside = (Ipv4Addr::new(169, 254, 10, 1), Ipv4Addr::new(169, 254, 10, 2));
    let topology = builtin("quickstart").unwrap().check().unwrap();
    assert_eq!((topology.tunnel.aws_inside(), topology.tunnel.customer_inside()), inside);
    let elsewhere = Ipv4Addr::new(8, 8, 8, 8);
    for (site, vpc, passes) in [
        (site4(10), vpc4(20), true),
        (inside.1, vpc4(20), true),
        (site4(20), inside.0, true),
        (elsewhere, vpc4(20), false),
        (site4(10), elsewhere, false),
        (vpc4(20), site4(10), false),
        (inside.0, vpc4(20), false),
    ] {
        let mut world = World::new();
        let out = world.out(VirtioHeader::default(), &PacketSpec { src4: site, dst4: vpc, ..to_aws(b"x") }.build());
        let back = world.back(0, &[PacketSpec { src4: vpc, dst4: site, ..from_aws(b"x") }.build()]);
        assert_eq!((out.len(), back.len()), if passes { (1, 1) } else { (0, 0) }, "{site} and {vpc}");
        assert_eq!(world.counters.reason(Reason::CannotRoute), if passes { 0 } else { 2 });
    }
}

#[test]
fn the_mss_of_both_families_is_clamped_in_both_directions() {
    let mss_9000 = vec![2, 4, 0x23, 0x28];
    let syn = |spec: PacketSpec| PacketSpec { flags: TcpFlags::SYN, options: mss_9000.clone(), ..spec }.build();
    let clamped = |packet: &[u8]| mss_option(packet, parse(packet).unwrap().meta());
    let mut world = World::new();
    assert_eq!(clamped(&world.out(VirtioHeader::default(), &syn(to_aws(b"")))[0].1), Some(1398));
    assert_eq!(clamped(&world.out(VirtioHeader::default(), &syn(to_aws6(b"")))[0].1), Some(1378));
    assert_eq!(clamped(&world.back(0, &[syn(from_aws(b""))])[0]), Some(1398));
    assert_eq!(world.counters.event(Event::MssClamped), 3);
    // A checksum that was right is right again.
    let sent = world.out(VirtioHeader::default(), &syn(to_aws(b"")));
    assert!(etherparse_accepts(&sent[0].1));
}

/// Whether an independent parser finds the TCP checksum right.
fn etherparse_accepts(packet: &[u8]) -> bool {
    let sliced = etherparse::SlicedPacket::from_ip(packet).unwrap();
    let (Some(etherparse::NetSlice::Ipv4(ip)), Some(etherparse::TransportSlice::Tcp(tcp))) =
        (sliced.net, sliced.transport)
    else {
        panic!("not TCP over IPv4");
    };
    tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap() == tcp.checksum()
}

#[test]
fn a_super_segment_leaves_as_packets_that_fit_with_whole_checksums() {
    let payload: Vec<u8> = (0..40_000_u32).map(|n| n as u8).collect();
    let packet = to_aws(&payload).build();
    let meta = *parse(&packet).unwrap().meta();
    let header = VirtioHeader::for_tcp(&meta, Some(1398));
    assert_eq!(header.gso_type, GsoType::TcpV4);
    let mut world = World::new();
    let received = world.out(header, &packet);
    assert_eq!(received.len(), 40_000_usize.div_ceil(1398));
    let mut joined: Vec<u8> = Vec::new();
    for (worker, packet) in &received {
        assert_eq!(*worker, received[0].0, "one flow, one SA");
        assert!(packet.len() <= 1438);
        assert!(etherparse_accepts(packet));
        joined.extend(parse(packet).unwrap().payload());
    }
    assert_eq!(joined, payload);
    assert_eq!(world.counters.event(Event::PacketsRx), 1);
    assert_eq!(world.counters.event(Event::Forwarded), received.len() as u64);
}

#[test]
fn segments_that_follow_each_other_reach_the_device_as_one() {
    let payload: Vec<u8> = (0..40_000_u32).map(|n| n as u8).collect();
    let segments: Vec<_> = payload
        .chunks(1398)
        .enumerate()
        .map(|(at, piece)| PacketSpec { sequence: 1000 + at as u32 * 1398, ..from_aws(piece) }.build())
        .collect();
    let count = segments.len() as u64;
    let mut world = World::new();
    let delivered = world.back(0, &segments);
    assert_eq!(delivered.len(), 1);
    assert_eq!(parse(&delivered[0]).unwrap().payload(), payload);
    assert_eq!([Event::Forwarded, Event::FramesRx].map(|event| world.counters.event(event)), [count; 2]);

    // A device without offloads gets them one by one.
    world.gateway.merges = false;
    assert_eq!(world.back(0, &segments), segments);
}

#[test]
fn a_segment_with_a_wrong_checksum_keeps_it() {
    let segment = |at: u32| PacketSpec { sequence: 1000 + at * 100, ..from_aws(&[7; 100]) }.build();
    let mut segments = [0, 1, 2, 3].map(segment).to_vec();
    segments[2][60] ^= 1;
    let mut world = World::new();
    let delivered = world.back(0, &segments);
    assert_eq!(delivered.iter().map(Vec::len).collect::<Vec<_>>(), [240, 140, 140]);
    assert_eq!(delivered[1], segments[2]);
    assert!(!etherparse_accepts(&delivered[1]));
}

#[test]
fn packets_and_segments_that_do_not_fit_are_refused() {
    let mut world = World::new();
    let fits = to_aws(&[7; 1398]).build();
    let too_large = to_aws(&[7; 1399]).build();
    assert_eq!(world.out(VirtioHeader::default(), &fits).len(), 1);
    assert_eq!(world.out(VirtioHeader::default(), &too_large).len(), 0);
    let packet = to_aws(&[7; 4000]).build();
    let header = VirtioHeader::for_tcp(parse(&packet).unwrap().meta(), Some(1399));
    assert_eq!(world.out(header, &packet).len(), 0);
    assert_eq!(world.counters.reason(Reason::TunnelMtuExceeded), 2);
}

#[test]
fn replies_return_to_the_worker_that_brought_the_flow() {
    let mut world = World::new();
    for worker in [2, 0, 1] {
        world.back(worker, &[PacketSpec { src_port: 443, dst_port: 40_000, ..from_aws(b"x") }.build()]);
        let reply = PacketSpec { src_port: 40_000, dst_port: 443, ..to_aws(b"y") }.build();
        assert_eq!(world.out(VirtioHeader::default(), &reply)[0].0, worker);
    }
}

#[test]
fn garbage_from_the_device_is_counted_and_nothing_is_sent() {
    let mut world = World::new();
    for slot in [vec![], vec![0; 5], vec![0; VIRTIO_HEADER_LEN], vec![0xFF; 60], vec![0x45; 80]] {
        world.gateway.handle_packet(&mut slot.clone(), NOW, &world.counters);
    }
    assert_eq!(world.counters.reason(Reason::PacketMalformed), 5);
    assert!(world.gateway.end.poll_transmit(NOW).is_none());
}

#[test]
fn a_full_transmit_queue_refuses_what_is_left_of_a_super_segment() {
    let packet = to_aws(&[7; 40_000]).build();
    let header = VirtioHeader::for_tcp(parse(&packet).unwrap().meta(), Some(1398));
    let slot = [&header.emit()[..], &packet].concat();
    let mut world = World::new();
    let mut offered = 0;
    while world.counters.reason(Reason::TunnelQueueFull) == 0 {
        world.gateway.handle_packet(&mut slot.clone(), NOW, &world.counters);
        offered += 40_000_u64.div_ceil(1398);
    }
    let sent = world.counters.event(Event::Forwarded);
    assert_eq!(sent + world.counters.reason(Reason::TunnelQueueFull), offered);
    assert_eq!(sent, world.gateway.end.queued_frames() as u64);
}
