use std::net::SocketAddr;

use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket};

use super::*;

fn stage(offload: bool) -> TcpStage {
    TcpStage::new(&TcpSetup { offload, vpc_mtu: 8_500, tunnel_mtu: 1_438, buffer: 256 * 1024, limit: 4, seed: 7 })
}

/// Two ends and everything that passed between them.
struct Wire {
    client: TcpStage,
    server: TcpStage,
    c: Connection,
    s: Connection,
    now: Moment,
    to_client: Vec<(Vec<u8>, u16)>,
}

impl Wire {
    fn new(leg: Leg, client: &str, server: &str, offload: bool) -> Self {
        let (mut client_stage, mut server_stage) = (stage(offload), stage(offload));
        let at: SocketAddr = SocketAddr::new(server.parse().unwrap(), 443);
        let s = server_stage.listen(leg, at).unwrap();
        let c = client_stage.connect(leg, SocketAddr::new(client.parse().unwrap(), 50_000), at).unwrap();
        Self { client: client_stage, server: server_stage, c, s, now: Moment::from_millis(1), to_client: Vec::new() }
    }

    /// Exchanges packets until neither end has any.
    fn settle(&mut self) {
        let mut out = PacketBuffer::default();
        loop {
            let mut moved = false;
            while self.client.poll_egress(&mut self.c, self.now, &mut out) {
                moved = true;
                let mut packet = out.packet().to_vec();
                if self.server.ingress(&mut self.s, &mut packet, self.now, &mut out) {
                    let mut answer = out.packet().to_vec();
                    self.client.ingress(&mut self.c, &mut answer, self.now, &mut PacketBuffer::default());
                }
            }
            while self.server.poll_egress(&mut self.s, self.now, &mut out) {
                moved = true;
                self.to_client.push((out.packet().to_vec(), out.gso_size()));
                let mut packet = out.packet().to_vec();
                if self.client.ingress(&mut self.c, &mut packet, self.now, &mut out) {
                    let mut answer = out.packet().to_vec();
                    self.server.ingress(&mut self.s, &mut answer, self.now, &mut PacketBuffer::default());
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn download(&mut self, total: usize) -> usize {
        let (mut sent, mut got) = (0, 0);
        let data = vec![0x5a; 64 * 1024];
        while got < total {
            while sent < total {
                let n = self.s.send(&data[..data.len().min(total - sent)]);
                sent += n;
                if n == 0 {
                    break;
                }
            }
            self.settle();
            let before = got;
            while let Some(n @ 1..) = self.c.recv(|bytes| bytes.len()) {
                got += n;
            }
            assert!(got > before, "the transfer stalled at {got} of {total}");
        }
        got
    }
}

const LEGS: [(Leg, &str, &str, bool); 5] = [
    (Leg::Vpc, "10.0.1.10", "10.0.1.100", true),
    (Leg::Vpc, "10.0.1.10", "10.0.1.100", false),
    (Leg::Vpc, "2001:db8::a", "2001:db8::64", true),
    (Leg::Vpc, "2001:db8::a", "2001:db8::64", false),
    (Leg::Tunnel, "169.254.10.1", "192.168.10.20", false),
];

#[test]
fn every_leg_carries_bulk_data_in_packets_of_its_kind() {
    for (leg, client, server, offload) in LEGS {
        let mut wire = Wire::new(leg, client, server, offload);
        wire.settle();
        assert!(wire.c.is_established() && wire.s.is_established(), "{leg:?} {client}");
        assert_eq!(wire.download(1_000_000), 1_000_000);
        let largest = wire.to_client.iter().map(|(packet, _)| packet.len()).max().unwrap();
        match (leg, offload) {
            (Leg::Vpc, true) => assert!((60_000..=65_521).contains(&largest), "{client}: {largest}"),
            (Leg::Vpc, false) => assert_eq!(largest, 8_500, "{client}"),
            (Leg::Tunnel, _) => assert!((1_400..=1_438).contains(&largest), "{largest}"),
        }
    }
}

#[test]
fn a_super_segment_carries_the_clients_own_mss() {
    for (client, server, mss) in [("10.0.1.10", "10.0.1.100", 8_460), ("2001:db8::a", "2001:db8::64", 65_461)] {
        let mut wire = Wire::new(Leg::Vpc, client, server, true);
        wire.settle();
        wire.download(300_000);
        let (_, gso_size) = wire.to_client.iter().max_by_key(|(packet, _)| packet.len()).unwrap();
        assert_eq!(*gso_size, mss, "{client}");
    }
}

#[test]
fn without_offload_every_checksum_is_right() {
    for (leg, client, server, offload) in LEGS.into_iter().filter(|leg| !leg.3) {
        let mut wire = Wire::new(leg, client, server, offload);
        wire.settle();
        wire.download(50_000);
        for (packet, _) in &wire.to_client {
            let (source, destination, payload): (IpAddress, _, _) = if packet[0] >> 4 == 4 {
                let ip = Ipv4Packet::new_checked(&packet[..]).unwrap();
                assert!(ip.verify_checksum());
                assert_eq!(ip.next_header(), IpProtocol::Tcp);
                (ip.src_addr().into(), ip.dst_addr().into(), ip.payload())
            } else {
                let ip = Ipv6Packet::new_checked(&packet[..]).unwrap();
                (ip.src_addr().into(), ip.dst_addr().into(), ip.payload())
            };
            let tcp = TcpPacket::new_checked(payload).unwrap();
            assert!(tcp.verify_checksum(&source, &destination), "{leg:?}");
        }
    }
}

#[test]
fn connections_are_limited_and_their_sockets_used_again() {
    let mut stage = stage(true);
    let at: SocketAddr = "10.0.1.100:443".parse().unwrap();
    let mut open: Vec<_> = (0..4).map(|_| stage.listen(Leg::Vpc, at).unwrap()).collect();
    assert!(stage.listen(Leg::Vpc, at).is_none());
    stage.release(open.pop().unwrap());
    assert_eq!((stage.live(), stage.pool.len()), (3, 1));
    assert_eq!(stage.listen(Leg::Vpc, at).unwrap().state(), State::Listen);
    assert_eq!((stage.live(), stage.pool.len()), (4, 0));
}

#[test]
fn a_client_that_resets_during_the_handshake_ends_the_connection() {
    let mut wire = Wire::new(Leg::Vpc, "10.0.1.10", "10.0.1.100", true);
    let mut out = PacketBuffer::default();
    assert!(wire.client.poll_egress(&mut wire.c, wire.now, &mut out));
    wire.server.ingress(&mut wire.s, &mut out.packet().to_vec(), wire.now, &mut PacketBuffer::default());
    assert!(wire.server.poll_egress(&mut wire.s, wire.now, &mut out));
    assert_eq!(wire.s.state(), State::SynReceived);
    assert!(!wire.s.is_over());
    wire.client.ingress(&mut wire.c, &mut out.packet().to_vec(), wire.now, &mut PacketBuffer::default());
    wire.c.abort();
    assert!(wire.client.poll_egress(&mut wire.c, wire.now, &mut out));
    wire.server.ingress(&mut wire.s, &mut out.packet().to_vec(), wire.now, &mut PacketBuffer::default());
    assert!(wire.s.is_over(), "{:?}", wire.s.state());
}

#[test]
fn a_silent_peer_is_given_up_after_its_time_out() {
    let mut wire = Wire::new(Leg::Vpc, "10.0.1.10", "10.0.1.100", true);
    wire.settle();
    wire.s.set_liveness(Some(Duration::from_secs(5)), Some(Duration::from_secs(1)));
    let mut out = PacketBuffer::default();
    let mut probes = 0;
    for _ in 0..20 {
        let Some(at) = wire.server.poll_at(&mut wire.s, wire.now) else { break };
        wire.now = at.max(wire.now) + Duration::from_micros(1);
        while wire.server.poll_egress(&mut wire.s, wire.now, &mut out) {
            probes += 1;
        }
    }
    assert_eq!(wire.s.state(), State::Closed);
    assert!((4..=7).contains(&probes), "{probes}");
    assert!(wire.now <= Moment::from_millis(7_000));
}

#[test]
fn an_old_acknowledgement_that_closes_the_window_does_not_stall_the_sender_for_ever() {
    for (leg, client, server, offload) in LEGS {
        let mut wire = Wire::new(leg, client, server, offload);
        wire.settle();
        let mut out = PacketBuffer::default();
        // The client's acknowledgement of something, which the path keeps and gives out late, with a window of zero.
        wire.s.send(b"first");
        assert!(wire.server.poll_egress(&mut wire.s, wire.now, &mut out));
        let mut packet = out.packet().to_vec();
        wire.client.ingress(&mut wire.c, &mut packet, wire.now, &mut out);
        assert!(wire.client.poll_egress(&mut wire.c, wire.now, &mut out));
        let mut old = out.packet().to_vec();
        let mut closed = old.clone();
        let tcp = if closed[0] >> 4 == 4 { 20 } else { 40 };
        closed[tcp + 14..tcp + 16].fill(0);
        wire.server.ingress(&mut wire.s, &mut old, wire.now, &mut out);
        wire.s.send(b"second");
        assert!(wire.server.poll_egress(&mut wire.s, wire.now, &mut out), "and lost");
        wire.server.ingress(&mut wire.s, &mut closed, wire.now, &mut out);
        let mut received = Vec::new();
        for _ in 0..20 {
            let Some(at) = wire.server.poll_at(&mut wire.s, wire.now) else { break };
            wire.now = at.max(wire.now) + Duration::from_micros(1);
            wire.settle();
            wire.c.recv(|bytes| {
                received.extend_from_slice(bytes);
                bytes.len()
            });
        }
        assert_eq!(received, b"firstsecond", "{leg:?} {client}");
        assert_eq!(wire.server.poll_at(&mut wire.s, wire.now), None, "and then it is silent again");
        assert!(wire.now < Moment::from_millis(10_000));
    }
}

#[test]
fn a_set_whose_buffers_were_used_up_is_not_kept_for_the_next_connection() {
    for (bytes, kept) in [(POOLED_AFTER, 1), (POOLED_AFTER + 1, 0)] {
        let mut stage = stage(true);
        let mut connection = stage.listen(Leg::Vpc, "10.0.1.5:443".parse().unwrap()).unwrap();
        connection.moved = bytes;
        stage.release(connection);
        assert_eq!(stage.pool.len(), kept, "{bytes}");
    }
}
