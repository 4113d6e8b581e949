//! The far side of the tunnel: a gateway's end of it, and a function host that answers each payload with itself.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use vpce::config::{PathProfile, Topology};
use vpce::packet::parse;
use vpce::tcp::{Connection, Leg, PacketBuffer, TcpSetup, TcpStage};
use vpce::time::{Moment, Now};
use vpce::tunnel::keys::TunnelKeys;
use vpce::tunnel::path::Link;
use vpce::tunnel::{Received, Side, TunnelEnd, batch};
use vpce::verdict::{Counters, Event};

/// How the host treats invocations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behaviour {
    /// Answers with the payload.
    Echo,
    /// Answers that the function failed.
    Fail,
    /// Answers with a stream of two pieces, this long apart.
    Pause(Duration),
    /// Answers with a stream of so many pieces, each this long after the one before.
    Drip(usize, Duration),
    /// Answers, and closes the connection this long after.
    CloseAfter(Duration),
    /// Sends half an answer and a RST.
    BreakOff,
    /// Takes connections and says nothing.
    Silent,
    /// Refuses connections.
    Refuse,
    /// The tunnel is cut.
    Dead,
    /// Does this after each request, one thing after another.
    Script(&'static [Act]),
    /// Answers with `early` as soon as a head is there, and reads nothing more.
    Eager,
}

/// What a host does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Sends these bytes.
    Send(&'static [u8]),
    /// Does nothing for this long.
    Wait(Duration),
    /// Closes its side.
    Close,
    /// Closes the socket as a process that ends does: what comes later is refused with a RST.
    Leave,
    /// Sends RST.
    Abort,
}

pub struct FarSide {
    pub behaviour: Behaviour,
    /// Time between a request and its answer.
    pub delay: Duration,
    /// Invocations answered.
    pub answered: usize,
    /// Invocations whose request arrived.
    pub invoked: usize,
    /// Connections taken.
    pub accepted: usize,
    /// Inner packets that were for no connection of the host: forwarded ones.
    pub forwarded: Vec<Vec<u8>>,
    /// Those of them that were for no client either.
    pub passed: Vec<Vec<u8>>,
    tunnel: TunnelEnd,
    counters: Counters,
    stage: TcpStage,
    host: SocketAddr,
    connections: Vec<HostSide>,
    out: PacketBuffer,
}

struct HostSide {
    peer: SocketAddr,
    tcp: Connection,
    request: Vec<u8>,
    /// What is to be sent, and when.
    due: VecDeque<(Moment, Step)>,
    sending: Vec<u8>,
    sent: usize,
    /// Nobody reads it any more.
    is_deaf: bool,
    /// Nobody holds it any more.
    has_left: bool,
}

enum Step {
    Send(Vec<u8>),
    Close,
    Leave,
    Abort,
}

impl FarSide {
    pub fn new(topology: &Topology, keys: &TunnelKeys, path: &PathProfile) -> Self {
        let link = Arc::new(Link::new(Side::Customer.direction(path)));
        let window = topology.tunnel.replay_window;
        let tunnel = TunnelEnd::new(Side::Customer, keys.pairs(), window, path, link, 3);
        let host = topology.on_premises.function_host;
        let stage = TcpStage::new(&TcpSetup {
            offload: false,
            vpc_mtu: 1_500,
            tunnel_mtu: usize::from(tunnel.inner_mtu()),
            buffer: 64 * 1024,
            limit: 4_096,
            seed: 5,
        });
        Self {
            behaviour: Behaviour::Echo,
            delay: Duration::ZERO,
            answered: 0,
            invoked: 0,
            accepted: 0,
            forwarded: Vec::new(),
            passed: Vec::new(),
            tunnel,
            counters: Counters::default(),
            stage,
            host,
            connections: Vec::new(),
            out: PacketBuffer::default(),
        }
    }

    /// Frames that arrived from the endpoint.
    pub fn frames(&self) -> u64 {
        self.counters.event(Event::FramesRx)
    }

    /// Bytes that the host has yet to send.
    pub fn unsent(&self) -> usize {
        self.connections.iter().map(|connection| connection.sending.len() - connection.sent).sum()
    }

    /// Connections of the host that are not over.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Ends every connection without a word, as a host that is switched off and on again.
    pub fn restart(&mut self) {
        for connection in self.connections.drain(..) {
            self.stage.release(connection.tcp);
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

    /// Seals an inner packet, whatever it is, and returns the frame.
    pub fn seal(&mut self, packet: &[u8], now: Now) -> Option<Vec<u8>> {
        let mut grant = self.tunnel.grant(packet.len())?;
        grant.copy_from_slice(packet);
        grant.send(0, now.mono, &self.counters).ok()?;
        let transmit = self.tunnel.poll_transmit(now.mono)?;
        let (bytes, segment) = (transmit.bytes().to_vec(), transmit.segment_size());
        transmit.sent(bytes.len());
        assert!(bytes.len() <= segment, "one frame");
        Some(bytes)
    }

    /// Serves, and returns payloads for the engine's socket.
    pub fn poll(&mut self, now: Now) -> Vec<(Vec<u8>, usize)> {
        let mut payloads = Vec::new();
        for index in 0..self.connections.len() {
            self.serve(index, now.mono);
            let tcp = &mut self.connections[index].tcp;
            while self.stage.poll_egress(tcp, now.mono, &mut self.out) {
                let _lost = self.tunnel.send(0, self.out.packet(), now.mono, &self.counters);
            }
            // Each connection's frames leave before the next has its turn: the queue is never full.
            self.transmit(now, &mut payloads);
        }
        self.transmit(now, &mut payloads);
        let stage = &mut self.stage;
        for ended in self.connections.extract_if(.., |connection| connection.tcp.is_over()) {
            stage.release(ended.tcp);
        }
        payloads
    }

    fn transmit(&mut self, now: Now, payloads: &mut Vec<(Vec<u8>, usize)>) {
        while let Some(transmit) = self.tunnel.poll_transmit(now.mono) {
            let (bytes, segment) = (transmit.bytes().to_vec(), transmit.segment_size());
            transmit.sent(bytes.len());
            if self.behaviour != Behaviour::Dead {
                payloads.push((bytes, segment));
            }
        }
    }

    pub fn deadline(&mut self, now: Moment) -> Option<Moment> {
        let stage = &mut self.stage;
        let connections = self.connections.iter_mut().flat_map(|connection| {
            let due = connection.due.front().map(|(at, _)| *at).filter(|_| connection.sending.is_empty());
            [stage.poll_at(&mut connection.tcp, now), due]
        });
        connections.flatten().chain(self.tunnel.next_deadline()).min()
    }

    fn receive(&mut self, packet: &mut [u8], now: Now) {
        let meta = *parse(packet).unwrap().meta();
        let (from, to) = (meta.tuple().src_socket(), meta.tuple().dst_socket());
        if to != self.host {
            self.forwarded.push(packet.to_vec());
            return;
        }
        let known = self.connections.iter().position(|connection| connection.peer == from);
        let has_left = known.is_some_and(|index| self.connections[index].has_left) && meta.payload_len() > 0;
        let is_unknown = known.is_none() && !meta.tcp_flags().opens();
        let refused = self.behaviour == Behaviour::Refuse || is_unknown || has_left;
        let index = match known {
            _ if refused => {
                let mut reset = [0; 60];
                if let Some(len) = vpce::packet::emit_reset(&meta, &mut reset) {
                    self.send(&reset[..len], now);
                }
                return;
            }
            Some(index) => index,
            None => {
                let tcp = self.stage.listen(Leg::Tunnel, self.host).unwrap();
                self.accepted += 1;
                let (request, due, sending) = (Vec::new(), VecDeque::new(), Vec::new());
                self.connections.push(HostSide {
                    peer: from,
                    tcp,
                    request,
                    due,
                    sending,
                    sent: 0,
                    is_deaf: false,
                    has_left: false,
                });
                self.connections.len() - 1
            }
        };
        if self.stage.ingress(&mut self.connections[index].tcp, packet, now.mono, &mut self.out) {
            let _lost = self.tunnel.send(0, self.out.packet(), now.mono, &self.counters);
        }
    }

    fn serve(&mut self, index: usize, now: Moment) {
        let connection = &mut self.connections[index];
        while connection.tcp.can_recv() && !connection.is_deaf {
            let request = &mut connection.request;
            connection.tcp.recv(|bytes| {
                request.extend_from_slice(bytes);
                bytes.len()
            });
        }
        if self.behaviour == Behaviour::Eager && connection.request.windows(4).any(|end| end == b"\r\n\r\n") {
            connection.request.clear();
            connection.is_deaf = true;
            self.invoked += 1;
            connection.due.extend(answer(Behaviour::Echo, b"early".to_vec(), now));
        }
        while let Some(payload) = next_request(&mut connection.request) {
            self.invoked += 1;
            self.answered += usize::from(self.behaviour != Behaviour::Silent);
            connection.due.extend(answer(self.behaviour, payload, now + self.delay));
        }
        loop {
            if connection.sent < connection.sending.len() {
                let sent = connection.tcp.send(&connection.sending[connection.sent..]);
                connection.sent += sent;
                if sent == 0 {
                    break;
                }
            } else {
                (connection.sending, connection.sent) = (Vec::new(), 0);
                match connection.due.pop_front_if(|(at, _)| *at <= now) {
                    Some((_, Step::Send(bytes))) => connection.sending = bytes,
                    Some((_, Step::Close)) => connection.tcp.close(),
                    Some((_, Step::Leave)) => {
                        connection.has_left = true;
                        connection.tcp.close();
                    }
                    Some((_, Step::Abort)) => connection.tcp.abort(),
                    None => break,
                }
            }
        }
        let may_recv = connection.tcp.may_recv() || !connection.tcp.is_established();
        if !may_recv && connection.due.is_empty() && self.behaviour != Behaviour::Silent {
            connection.tcp.close();
        }
    }
}

/// Takes a whole request's body.
fn next_request(request: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = request.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(request[..end].to_vec()).unwrap().to_lowercase();
    let len = head
        .split("content-length: ")
        .nth(1)
        .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
    let body = request.get(end..end + len)?.to_vec();
    request.drain(..end + len);
    Some(body)
}

fn answer(behaviour: Behaviour, payload: Vec<u8>, at: Moment) -> Vec<(Moment, Step)> {
    let whole = |extra: &str| {
        let head = format!("HTTP/1.1 200 OK\r\n{extra}content-length: {}\r\n\r\n", payload.len());
        [head.as_bytes(), &payload].concat()
    };
    match behaviour {
        Behaviour::Silent | Behaviour::Dead | Behaviour::Refuse | Behaviour::Eager => Vec::new(),
        Behaviour::Script(acts) => {
            let mut at = at;
            let steps = acts.iter().filter_map(|act| {
                let step = match *act {
                    Act::Send(bytes) => Step::Send(bytes.to_vec()),
                    Act::Close => Step::Close,
                    Act::Leave => Step::Leave,
                    Act::Abort => Step::Abort,
                    Act::Wait(time) => {
                        at += time;
                        return None;
                    }
                };
                Some((at, step))
            });
            steps.collect()
        }
        Behaviour::Echo => vec![(at, Step::Send(whole("")))],
        Behaviour::Fail => vec![(at, Step::Send(whole("x-amz-function-error: Unhandled\r\n")))],
        Behaviour::Pause(pause) => {
            let first = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n".to_vec();
            let second = b"6\r\nsecond\r\n0\r\n\r\n".to_vec();
            vec![(at, Step::Send(first)), (at + pause, Step::Send(second))]
        }
        Behaviour::Drip(times, pause) => {
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
            let pieces = (1..=times as u32).map(|n| (at + n * pause, Step::Send(b"4\r\ndrip\r\n".to_vec())));
            let end = (at + times as u32 * pause, Step::Send(b"0\r\n\r\n".to_vec()));
            std::iter::once((at, Step::Send(head))).chain(pieces).chain(std::iter::once(end)).collect()
        }
        Behaviour::CloseAfter(pause) => vec![(at, Step::Send(whole(""))), (at + pause, Step::Close)],
        Behaviour::BreakOff => {
            let whole = whole("");
            let half = whole[..whole.len() - payload.len() / 2].to_vec();
            vec![(at, Step::Send(half)), (at + Duration::from_millis(5), Step::Abort)]
        }
    }
}
