use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::{PathDirection, PathProfile};
use crate::tunnel::batch;
use crate::tunnel::keys::TunnelKeys;
use crate::tunnel::path::Link;
use crate::tunnel::{Received, Side};
use crate::verdict::Event;

/// Two sockets connected to each other on the loop-back interface, at ports the kernel chose.
fn pair() -> (TunnelSocket, TunnelSocket) {
    // Ports are found by binding; a port lost to another test between the two bindings is tried again.
    for _ in 0..50 {
        let [a, b] = [free_port(), free_port()].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        if let (Ok(first), Ok(second)) = (TunnelSocket::open(a, b), TunnelSocket::open(b, a)) {
            return (first, second);
        }
    }
    panic!("no free ports");
}

fn free_port() -> u16 {
    let fd = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
    rustix::net::bind(&fd, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let bound: SocketAddr = rustix::net::getsockname(&fd).unwrap().try_into().unwrap();
    bound.port()
}

/// Waits until `socket` has something to read.
fn wait_readable(socket: &TunnelSocket) {
    let mut fds = [rustix::event::PollFd::new(socket, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec::try_from(Duration::from_secs(10)).unwrap();
    assert_eq!(rustix::event::poll(&mut fds, Some(&limit)), Ok(1), "nothing came");
}

/// Receives until `frames` frames are there; returns them and how many receives it took.
fn receive(socket: &TunnelSocket, frames: usize) -> (Vec<Vec<u8>>, usize) {
    let mut buffer = vec![0; RECEIVE_BUFFER];
    let (mut received, mut receives) = (Vec::new(), 0);
    while received.len() < frames {
        match socket.recv(&mut buffer) {
            Receipt::Payload { len, segment_size } => {
                receives += 1;
                received.extend(batch::frames(&mut buffer[..len], segment_size).map(|frame| frame.to_vec()));
            }
            Receipt::Empty => wait_readable(socket),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(socket.recv(&mut buffer), Receipt::Empty));
    (received, receives)
}

/// Ten frames of 1000 bytes and one of 300, each filled with its number, back to back.
fn run() -> (Vec<u8>, Vec<Vec<u8>>) {
    let frames: Vec<Vec<u8>> = (0..11_u8).map(|n| vec![n; if n == 10 { 300 } else { 1000 }]).collect();
    (frames.concat(), frames)
}

#[test]
fn many_frames_go_out_in_one_send_and_come_in_as_they_were() {
    let (a, b) = pair();
    let (bytes, frames) = run();
    assert!(matches!(a.send(&bytes, 1000), Sent::Bytes(n) if n == bytes.len()));
    let (received, receives) = receive(&b, frames.len());
    assert_eq!(received, frames);
    if a.segments() && b.merges() {
        assert!(receives < frames.len(), "{receives} receives for {} frames", frames.len());
    } else {
        println!("skipped: this kernel has no UDP_SEGMENT or no UDP_GRO; frames went one by one");
    }
}

#[test]
fn without_offload_the_same_frames_cross_one_by_one() {
    let (a, b) = pair();
    let (a, b) = (a.without_offload(), b.without_offload());
    let (bytes, frames) = run();
    assert!(matches!(a.send(&bytes, 1000), Sent::Bytes(n) if n == bytes.len()));
    assert_eq!(receive(&b, frames.len()), (frames.clone(), frames.len()));
    assert!(!a.segments() && !b.merges());
}

#[test]
fn a_single_frame_needs_no_segment_size() {
    let (a, b) = pair();
    for segment_size in [0, 5, 100] {
        assert!(matches!(a.send(b"hello", segment_size), Sent::Bytes(5)));
        assert_eq!(receive(&b, 1).0, [b"hello"]);
    }
}

#[test]
fn a_run_longer_than_a_udp_payload_is_lost_and_the_socket_lives_on() {
    let (a, b) = pair();
    assert!(matches!(a.send(&[7; 80_000], 40_000), Sent::Lost(_)));
    assert!(matches!(a.send(&[7; 40_000], 40_000), Sent::Bytes(40_000)));
    assert_eq!(receive(&b, 1).0, [vec![7; 40_000]]);
}

#[test]
fn a_refused_frame_is_told_and_the_socket_lives_on() {
    let (a, b) = pair();
    let address: SocketAddr = rustix::net::getsockname(&b).unwrap().try_into().unwrap();
    let peer: SocketAddr = rustix::net::getsockname(&a).unwrap().try_into().unwrap();
    drop(b);
    assert!(matches!(a.send(b"nobody", 0), Sent::Bytes(6)));
    wait_readable(&a);
    assert!(matches!(a.send(b"told", 0), Sent::Refused));
    assert!(matches!(a.send(b"again", 0), Sent::Bytes(5)));
    wait_readable(&a);
    assert!(matches!(a.recv(&mut [0; 10]), Receipt::Refused));
    let b = TunnelSocket::open(address, peer).unwrap();
    assert!(matches!(a.send(b"somebody", 0), Sent::Bytes(8)));
    assert_eq!(receive(&b, 1).0, [b"somebody"]);
}

#[test]
fn an_address_that_is_not_ours_is_told_with_both_addresses() {
    let foreign = SocketAddr::from(([192, 0, 2, 1], 4500));
    let error = TunnelSocket::open(foreign, SocketAddr::from((Ipv4Addr::LOCALHOST, 4500))).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("192.0.2.1:4500 to 127.0.0.1:4500 (bind)"), "{text}");
}

/// Both ends of a tunnel.
fn ends() -> (TunnelEnd, TunnelEnd) {
    let plain = PathDirection::default();
    let profile = PathProfile { name: "lan".into(), mtu: 1500, to_customer: plain, to_aws: plain };
    let mut next = 0_u8;
    let keys = TunnelKeys::generate(NonZeroUsize::MIN, |bytes| {
        bytes.iter_mut().for_each(|byte| {
            next = next.wrapping_mul(5).wrapping_add(113);
            *byte = next;
        });
    });
    let end = |side: Side| {
        let link = Arc::new(Link::new(side.direction(&profile)));
        TunnelEnd::new(side, keys.pairs(), 1024, &profile, link, 1)
    };
    (end(Side::Aws), end(Side::Customer))
}

#[test]
fn a_tunnel_over_real_sockets_carries_every_packet_and_counts_it() {
    let ((mut aws, mut customer), (a, b)) = (ends(), pair());
    let (tx, rx, now) = (Counters::default(), Counters::default(), Moment::from_millis(1));
    let mut packet = vec![0x5A; 1438];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&1438_u16.to_be_bytes());
    let mut expected = Vec::new();
    for n in 0..100_u8 {
        packet[100] = n;
        aws.send(0, &packet, now, &tx).unwrap();
        expected.push(packet.clone());
    }
    assert_eq!(flush(&mut aws, &[a], now, &tx), Flushed::Sent);
    let mut inner = Vec::new();
    for mut frame in receive(&b, 100).0 {
        match customer.handle_frame(&mut frame, now, &rx) {
            Received::Packet { packet, .. } => inner.push(packet.to_vec()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(inner, expected);
    assert_eq!((tx.event(Event::FramesTx), rx.event(Event::FramesRx)), (100, 100));
    assert_eq!(tx.event(Event::FrameBytesTx), rx.event(Event::FrameBytesRx));
    assert_eq!(flush(&mut aws, &[b], now, &tx), Flushed::Nothing);
}

#[test]
fn a_dead_tunnel_costs_frames_and_nothing_else() {
    let ((mut aws, _), (a, b)) = (ends(), pair());
    drop(b);
    let (counters, now) = (Counters::default(), Moment::from_millis(1));
    let mut packet = vec![0; 100];
    packet[0] = 0x45;
    packet[3] = 100;
    let sockets = [a];
    for _ in 0..3 {
        aws.send(0, &packet, now, &counters).unwrap();
        assert_eq!(flush(&mut aws, &sockets, now, &counters), Flushed::Sent);
        wait_readable(&sockets[0]);
    }
    assert_eq!(aws.queued_frames(), 0);
    assert_eq!(counters.reason(Reason::TunnelUnreachable), 2, "each send tells of the one before");
}
