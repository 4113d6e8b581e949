//! Packets that only pass between VPC and tunnel, and DNS.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails loudly")]

mod world;

use std::net::SocketAddr;
use std::time::Duration;

use vpce::config::{NetworkAcl, NetworkAclEntry, PortRange, Topology, Traffic};
use vpce::engine::Port;
use vpce::packet::checksum::fill_partial;
use vpce::packet::{TcpFlags, VirtioHeader, mss_option, parse};
use world::raw::{Tcp, assert_checksums, syn, udp};
use world::{World, payload};

/// A host of the VPC and one on-premises, per family.
const PAIRS: [(&str, &str, u16); 2] =
    [("10.0.1.10:40000", "192.168.10.10:80", 1_398), ("[2001:db8:1234:1a01::a]:40000", "[fd00:0:0:10::a]:80", 1_378)];

/// The quickstart lab over a path with a VPN's MTU and nothing else of it.
fn vpn() -> World {
    World::with(|topology| {
        topology.tunnel.path = "vpn".to_owned();
        let vpn = topology.paths.iter_mut().find(|path| path.name == "vpn").unwrap();
        for direction in [&mut vpn.to_customer, &mut vpn.to_aws] {
            (direction.delay, direction.jitter) = (Duration::ZERO, Duration::ZERO);
            (direction.rate_bps, direction.rate_pps) = (None, None);
        }
    })
}

fn pair(index: usize) -> (SocketAddr, SocketAddr, u16) {
    let (a, b, mss) = PAIRS[index];
    (a.parse().unwrap(), b.parse().unwrap(), mss)
}

fn hop_limit(packet: &[u8]) -> u8 {
    if packet[0] >> 4 == 4 { packet[8] } else { packet[7] }
}

/// As a kernel hands a large segment to a device that cuts it.
fn super_segment(tcp: &Tcp<'_>, gso_size: u16) -> Vec<u8> {
    let mut packet = tcp.build();
    let meta = *parse(&packet).unwrap().meta();
    fill_partial(&mut packet, &meta);
    let mut buffer = VirtioHeader::for_tcp(&meta, Some(gso_size)).emit().to_vec();
    buffer.extend_from_slice(&packet);
    buffer
}

#[test]
fn a_super_segment_is_cut_to_the_tunnel_and_every_segment_is_sound() {
    for (index, len) in [(0, 20_000), (0, 60_000), (1, 20_000), (0, 1_000), (1, 1_378)] {
        let (from, to, mss) = pair(index);
        let mut world = vpn();
        let sent = payload(len);
        let tcp = Tcp { from, to, flags: "APF", sequence: u32::MAX - 5_000, acknowledgement: 9, payload: &sent };
        world.inject_buffer(Port::Router, super_segment(&tcp, mss));
        world.settle();
        let mut received = Vec::new();
        let segments = std::mem::take(&mut world.far.passed);
        assert_eq!(segments.len(), len.div_ceil(usize::from(mss)));
        for (n, segment) in segments.iter().enumerate() {
            assert!(segment.len() <= 1_438);
            assert_checksums(segment);
            let view = parse(segment).unwrap();
            let meta = view.meta();
            assert_eq!(meta.tcp_sequence(), tcp.sequence.wrapping_add(received.len() as u32));
            assert_eq!(meta.tcp_acknowledgement(), 9);
            let is_last = n + 1 == segments.len();
            assert_eq!(meta.tcp_flags().contains(TcpFlags::FIN.union(TcpFlags::PSH)), is_last);
            assert_eq!(hop_limit(segment), 63);
            received.extend_from_slice(&segment[meta.payload_offset()..][..meta.payload_len()]);
        }
        assert!(received == sent);
        assert_eq!(world.count("FORWARDED"), 1);
    }
}

#[test]
fn segments_too_large_for_the_tunnel_are_dropped_and_counted_not_forwarded() {
    let (from, to, _) = pair(0);
    let mut world = vpn();
    let sent = payload(20_000);
    let tcp = Tcp { from, to, flags: "A", sequence: 1, acknowledgement: 9, payload: &sent };
    world.inject_buffer(Port::Router, super_segment(&tcp, 8_960));
    world.inject(Port::Router, &udp(from, to, 64, &sent[..1_411]));
    world.settle();
    assert_eq!((world.count("TUNNEL_MTU_EXCEEDED"), world.count("FORWARDED"), world.far.passed.len()), (2, 0, 0));
    world.inject(Port::Router, &udp(from, to, 64, &sent[..1_410]));
    world.settle();
    assert_eq!((world.count("FORWARDED"), world.far.passed.len(), world.far.passed[0].len()), (1, 1, 1_438));
    assert_checksums(&world.far.passed[0]);
}

#[test]
fn the_mss_is_clamped_to_the_tunnel_both_ways() {
    for index in [0, 1] {
        let (vpc, far, mss) = pair(index);
        for announced in [8_460, 1_460, 1_300] {
            let mut world = vpn();
            world.inject(Port::Router, &syn(vpc, far, announced));
            let now = world.now;
            world.far.send(&syn(far, vpc, announced), now);
            world.settle();
            let (port, back) = world.unclaimed.pop().unwrap();
            assert_eq!(port, Port::Router);
            for packet in [&world.far.passed[0][..], &back[10..]] {
                let meta = *parse(packet).unwrap().meta();
                assert_eq!(mss_option(packet, &meta), Some(announced.min(mss)));
                assert_checksums(packet);
                assert_eq!(hop_limit(packet), 63);
            }
            assert_eq!(world.count("MSS_CLAMPED"), if announced > mss { 2 } else { 0 });
            assert_eq!(world.count("FORWARDED"), 2);
        }
    }
}

#[test]
fn datagrams_pass_both_ways_until_their_hops_are_used_up() {
    for index in [0, 1] {
        let (vpc, far, _) = pair(index);
        let mut world = vpn();
        for (hops, passes) in [(64, true), (2, true), (1, false)] {
            world.far.passed.clear();
            world.unclaimed.clear();
            world.inject(Port::Router, &udp(vpc, far, hops, b"there"));
            let now = world.now;
            world.far.send(&udp(far, vpc, hops, b"back"), now);
            world.settle();
            assert_eq!((world.far.passed.len(), world.unclaimed.len()), (usize::from(passes), usize::from(passes)));
            if passes {
                for (packet, text) in
                    [(&world.far.passed[0][..], &b"there"[..]), (&world.unclaimed[0].1[10..], b"back")]
                {
                    assert_checksums(packet);
                    assert_eq!(hop_limit(packet), hops - 1);
                    assert!(packet.ends_with(text));
                }
            }
        }
        assert_eq!(world.count("HOP_LIMIT_EXCEEDED"), 2);
    }
}

#[test]
fn nobody_sends_in_anothers_name() {
    let mut world = vpn();
    let (vpc, far, _) = pair(0);
    let now = world.now;
    // Out of the tunnel with an address of the VPC; from the VPC with one from on-premises, and one from nowhere.
    world.far.send(&udp(vpc, "10.0.1.11:9".parse().unwrap(), 64, b"x"), now);
    world.far.send(&udp("8.8.8.8:53".parse().unwrap(), vpc, 64, b"x"), now);
    world.inject(Port::Router, &udp(far, "192.168.10.11:9".parse().unwrap(), 64, b"x"));
    world.inject(Port::Router, &udp("8.8.8.8:53".parse().unwrap(), far, 64, b"x"));
    world.inject(Port::Router, &udp("10.0.1.100:53".parse().unwrap(), far, 64, b"x"));
    // And nothing leads to the internet.
    world.inject(Port::Router, &udp(vpc, "8.8.8.8:53".parse().unwrap(), 64, b"x"));
    world.settle();
    assert_eq!((world.count("CANNOT_ROUTE"), world.far.passed.len(), world.unclaimed.len()), (6, 0, 0));
}

/// An ACL on the subnet of `10.0.1.10` and of the inbound endpoint that denies UDP to these ports, on the way in and out.
fn deny_udp(topology: &mut Topology, ingress: Option<u16>, egress: Option<u16>) {
    let entries = |port: Option<u16>| {
        ["0.0.0.0/0", "::/0"].into_iter().flat_map(move |cidr| {
            let entry =
                |number, traffic, allow| NetworkAclEntry { number, traffic, cidr: cidr.parse().unwrap(), allow };
            let deny = port.map(|port| entry(90, Traffic::Udp(PortRange { from: port, to: port }), false));
            deny.into_iter().chain([entry(100, Traffic::All, true)])
        })
    };
    let acl =
        NetworkAcl { id: "acl-1".to_owned(), ingress: entries(ingress).collect(), egress: entries(egress).collect() };
    topology.network_acls = vec![acl];
    topology.subnets[0].network_acl = Some(0);
}

#[test]
fn the_acl_of_the_hosts_subnet_judges_what_passes_each_way_by_itself() {
    for index in [0, 1] {
        let (vpc, far, _) = pair(index);
        let other = SocketAddr::new(far.ip(), 81);
        for (ingress, egress, passed, back) in [
            (None, None, 2, 1),
            (None, Some(far.port()), 1, 1),
            (Some(vpc.port()), None, 2, 0),
            (Some(9), Some(9), 2, 1),
        ] {
            let mut world = vpn();
            world.update(2, |topology| deny_udp(topology, ingress, egress));
            world.inject(Port::Router, &udp(vpc, far, 64, b"there"));
            world.inject(Port::Router, &udp(vpc, other, 64, b"elsewhere"));
            let now = world.now;
            world.far.send(&udp(far, vpc, 64, b"back"), now);
            world.settle();
            assert_eq!((world.far.passed.len(), world.unclaimed.len()), (passed, back), "{vpc} {ingress:?} {egress:?}");
            let denied = (3 - passed - back) as u64;
            assert_eq!((world.count("SUBNET_ACL_RESTRICTION"), world.count("FORWARDED")), (denied, 3 - denied));
            let denials = world.engine.denials();
            assert_eq!(denials.len() as u64, denied, "{denials:?}");
            let direction = if egress.is_some() { "egress" } else { "ingress" };
            let text = format!("acl-1 {direction} entry 90 denies it at subnet-abababab");
            assert!(denials.iter().all(|denial| denial.text == text && denial.eni.is_none()), "{denials:?}");
        }
    }
}

#[test]
fn an_acl_judges_what_is_asked_of_the_inbound_endpoint_but_never_of_the_vpcs_own_resolver() {
    let (resolver, inbound) = ("10.0.0.2:53".parse().unwrap(), "10.0.1.53:53".parse().unwrap());
    let (vpc, far) = ("10.0.1.10:5353".parse().unwrap(), "192.168.10.2:5353".parse().unwrap());
    for (ingress, egress) in [(Some(53), Some(53)), (Some(5_353), Some(5_353))] {
        let mut world = vpn();
        world.update(2, |topology| deny_udp(topology, ingress, egress));
        world.inject(Port::Router, &udp(vpc, resolver, 64, &query()));
        world.inject(Port::Router, &udp(vpc, inbound, 64, &query()));
        let now = world.now;
        world.far.send(&udp(far, inbound, 64, &query()), now);
        world.settle();
        assert_eq!(world.unclaimed.len(), 2, "at VPC+2, and from the same subnet");
        assert_eq!((world.count("SUBNET_ACL_RESTRICTION"), world.far.passed.len()), (1, 0));
        // Denied on its way in, or its answer on the way out.
        assert_eq!(world.count("DNS_ANSWERED"), if ingress == Some(53) { 2 } else { 3 });
    }
}

fn query() -> Vec<u8> {
    let mut query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    for label in world::NAME.split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(b"\x00\x00\x01\x00\x01");
    query
}

#[test]
fn the_resolver_answers_the_vpc_and_its_inbound_endpoint_those_on_premises() {
    let mut world = vpn();
    let (resolver, inbound) = ("10.0.0.2:53".parse().unwrap(), "10.0.1.53:53".parse().unwrap());
    let (vpc, far) = ("10.0.1.10:5353".parse().unwrap(), "192.168.10.2:5353".parse().unwrap());
    world.inject(Port::Router, &udp(vpc, resolver, 64, &query()));
    let now = world.now;
    world.far.send(&udp(far, inbound, 64, &query()), now);
    world.settle();
    let (port, buffer) = world.unclaimed.pop().unwrap();
    assert_eq!(port, Port::Router);
    for (answer, from, to) in [(&buffer[10..], resolver, vpc), (&world.far.passed[0][..], inbound, far)] {
        assert_checksums(answer);
        let meta = *parse(answer).unwrap().meta();
        assert_eq!((meta.tuple().src_socket(), meta.tuple().dst_socket()), (from, to));
        let dns = &answer[meta.payload_offset()..];
        assert_eq!((&dns[..2], dns[3] & 0x0f), (&b"\x12\x34"[..], 0), "its id, no error");
        assert!(dns.ends_with(&[10, 0, 1, 100]), "the eni");
    }
    assert_eq!(world.count("DNS_ANSWERED"), 2);
}

#[test]
fn the_vpcs_own_resolver_does_not_answer_through_the_tunnel() {
    let mut world = vpn();
    let now = world.now;
    let packet = udp("192.168.10.2:5353".parse().unwrap(), "10.0.0.2:53".parse().unwrap(), 64, &query());
    world.far.send(&packet, now);
    world.run_for(Duration::from_secs(1));
    assert_eq!((world.count("CANNOT_ROUTE"), world.count("DNS_ANSWERED"), world.far.passed.len()), (1, 0, 0));
}
