//! The far side of the tunnel: a gateway's end of it, and a function host that answers each payload with itself.

use std::net::SocketAddr;
use std::sync::Arc;

use vpce::config::{PathProfile, Topology};
use vpce::engine::Port;
use vpce::packet::parse;
use vpce::tcp::{Connection, Leg, PacketBuffer, TcpSetup, TcpStage};
use vpce::time::{Moment, Now};
use vpce::tunnel::keys::TunnelKeys;
use vpce::tunnel::path::Link;
use vpce::tunnel::{Received, Side, TunnelEnd, batch};
use vpce::verdict::Counters;

/// How the host treats invocations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behaviour {
    /// Answers.
    Echo,
    /// Takes connections and says nothing.
    Silent,
    /// Refuses connections.
    Refuse,
    /// The tunnel is cut.
    Dead,
}

pub struct FarSide {
    pub behaviour: Behaviour,
    /// Invocations answered.
    pub answered: usize,
    /// Packets of the engine that belonged to no client.
    pub unclaimed: Vec<(Port, Vec<u8>)>,
    /// Inner packets that were for no connection of the host: forwarded ones.
    pub forwarded: Vec<Vec<u8>>,
    tunnel: TunnelEnd,
    counters: Counters,
    stage: TcpStage,
    host: SocketAddr,
    connections: Vec<(SocketAddr, Connection, Vec<u8>)>,
    out: PacketBuffer,
}

impl FarSide {
    pub fn new(topology: &Topology, keys: &TunnelKeys, path: &PathProfile) -> Self {
        let link = Arc::new(Link::new(Side::Customer.direction(path)));
        let window = topology.tunnel.replay_window;
        let tunnel = TunnelEnd::new(Side::Customer, keys.pairs(), window, path, link, 3);
        let host = topology.on_premises.function_host;
        let stage = TcpStage::new(&TcpSetup {
            addresses: vec![host.ip()],
            offload: false,
            vpc_mtu: 1_500,
            tunnel_mtu: usize::from(tunnel.inner_mtu()),
            buffer: 256 * 1024,
            limit: 1_024,
            seed: 5,
        });
        Self {
            behaviour: Behaviour::Echo,
            answered: 0,
            unclaimed: Vec::new(),
            forwarded: Vec::new(),
            tunnel,
            counters: Counters::default(),
            stage,
            host,
            connections: Vec::new(),
            out: PacketBuffer::default(),
        }
    }

    /// Takes what the engine's end of the tunnel has to send. Returns whether there was anything.
    pub fn take_frames(&mut self, from: &mut TunnelEnd, now: Now) -> bool {
        let mut moved = false;
        while let Some(transmit) = from.poll_transmit(now.mono) {
            moved = true;
            let mut bytes = transmit.bytes().to_vec();
            let (segment, len) = (transmit.segment_size(), bytes.len());
            transmit.sent(len);
            if self.behaviour == Behaviour::Dead {
                continue;
            }
            for frame in batch::frames(&mut bytes, segment) {
                if let Received::Packet { packet, .. } = self.tunnel.handle_frame(frame, now.mono, &self.counters) {
                    let mut packet = packet.to_vec();
                    self.receive(&mut packet, now);
                }
            }
        }
        moved
    }

    /// Sends an inner packet toward the VPC.
    pub fn send(&mut self, packet: &[u8], now: Now) {
        self.tunnel.send(0, packet, now.mono, &self.counters).unwrap();
    }

    /// Serves, and returns payloads for the engine's socket.
    pub fn poll(&mut self, now: Now) -> Vec<(Vec<u8>, usize)> {
        for index in 0..self.connections.len() {
            self.serve(index);
            let (_, connection, _) = &mut self.connections[index];
            while self.stage.poll_egress(connection, now.mono, &mut self.out) {
                let _lost = self.tunnel.send(0, self.out.packet(), now.mono, &self.counters);
            }
        }
        let mut payloads = Vec::new();
        while let Some(transmit) = self.tunnel.poll_transmit(now.mono) {
            let (bytes, segment) = (transmit.bytes().to_vec(), transmit.segment_size());
            transmit.sent(bytes.len());
            if self.behaviour != Behaviour::Dead {
                payloads.push((bytes, segment));
            }
        }
        payloads
    }

    pub fn deadline(&mut self, now: Moment) -> Option<Moment> {
        let stage = &mut self.stage;
        let connections = self.connections.iter().filter_map(|(_, connection, _)| stage.poll_at(connection, now));
        connections.chain(self.tunnel.next_deadline()).min()
    }

    fn receive(&mut self, packet: &mut [u8], now: Now) {
        let meta = *parse(packet).unwrap().meta();
        let (from, to) = (meta.tuple().src_socket(), meta.tuple().dst_socket());
        if to != self.host {
            self.forwarded.push(packet.to_vec());
            return;
        }
        if self.behaviour == Behaviour::Refuse {
            let mut reset = [0; 60];
            if let Some(len) = vpce::packet::emit_reset(&meta, &mut reset) {
                self.send(&reset[..len], now);
            }
            return;
        }
        if meta.tcp_flags().opens() && !self.connections.iter().any(|(known, ..)| *known == from) {
            let connection = self.stage.listen(Leg::Tunnel, self.host).unwrap();
            self.connections.push((from, connection, Vec::new()));
        }
        let Some((_, connection, _)) = self.connections.iter_mut().find(|(known, ..)| *known == from) else { return };
        if self.stage.ingress(connection, packet, now.mono, &mut self.out) {
            let _lost = self.tunnel.send(0, self.out.packet(), now.mono, &self.counters);
        }
    }

    fn serve(&mut self, index: usize) {
        let (_, connection, request) = &mut self.connections[index];
        while connection.can_recv() {
            connection.recv(|bytes| {
                request.extend_from_slice(bytes);
                bytes.len()
            });
        }
        if self.behaviour == Behaviour::Silent {
            return;
        }
        while let Some(end) = request.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8(request[..end].to_vec()).unwrap().to_lowercase();
            let len = head
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
            let Some(body) = request.get(end + 4..end + 4 + len) else { return };
            let answer = [format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n").as_bytes(), body].concat();
            assert_eq!(connection.send(&answer), answer.len(), "the host's buffer holds the answer");
            request.drain(..end + 4 + len);
            self.answered += 1;
        }
    }
}
