//! TCP in memory, one end of it: requests and answers, bulk, and what a connection costs to have.
//!
//! The other end is the same stack; its work is not timed. 64 connections have their turn together, as packets come from a
//! device in bursts: the clock's share is below 2 ns of each.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod allocations;

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vpce::tcp::{Connection, Leg, PacketBuffer, TcpSetup, TcpStage};
use vpce::time::Moment;

const BURST: usize = 64;
const LEGS: [(&str, Leg, [&str; 2]); 2] =
    [("vpc", Leg::Vpc, ["10.0.1.10", "10.0.1.5"]), ("tunnel", Leg::Tunnel, ["192.168.10.20", "169.254.10.1"])];

fn stage(buffer: usize) -> TcpStage {
    TcpStage::new(&TcpSetup { offload: true, vpc_mtu: 8_500, tunnel_mtu: 1_438, buffer, limit: 4_096, seed: 7 })
}

/// One end of every connection.
struct End {
    stage: TcpStage,
    connections: Vec<Connection>,
    out: PacketBuffer,
}

impl End {
    fn ingress(&mut self, packets: &mut Vec<(usize, Vec<u8>)>, now: Moment, replies: &mut Vec<(usize, Vec<u8>)>) {
        for (at, mut packet) in packets.drain(..) {
            if self.stage.ingress(&mut self.connections[at], &mut packet, now, &mut self.out) {
                replies.push((at, self.out.packet().to_vec()));
            }
        }
    }

    fn egress(&mut self, now: Moment, packets: &mut Vec<(usize, Vec<u8>)>) {
        for (at, connection) in self.connections.iter_mut().enumerate() {
            while self.stage.poll_egress(connection, now, &mut self.out) {
                packets.push((at, self.out.packet().to_vec()));
            }
        }
    }

    /// Gives all that came to `take`.
    fn recv(&mut self, mut take: impl FnMut(&[u8])) -> usize {
        let mut got = 0;
        for connection in &mut self.connections {
            while let Some(n @ 1..) = connection.recv(|bytes| {
                take(bytes);
                bytes.len()
            }) {
                got += n;
            }
        }
        got
    }

    fn send(&mut self, data: &[u8]) {
        for connection in &mut self.connections {
            assert_eq!(connection.send(data), data.len(), "its buffer is empty");
        }
    }
}

struct Wire {
    client: End,
    server: End,
    leg: Leg,
    addresses: [SocketAddr; 2],
    /// Of the latest client.
    port: u16,
    now: Moment,
    up: Vec<(usize, Vec<u8>)>,
    down: Vec<(usize, Vec<u8>)>,
    /// In the server's calls.
    taken: Duration,
}

impl Wire {
    fn new(leg: Leg, [client, server]: [&str; 2], connections: usize, buffer: usize) -> Self {
        let [client, server] =
            [client, server].map(|address| SocketAddr::new(address.parse().expect("an address"), 443));
        let end = || End { stage: stage(buffer), connections: Vec::new(), out: PacketBuffer::default() };
        let mut wire = Self {
            client: end(),
            server: end(),
            leg,
            addresses: [client, server],
            port: 0,
            now: Moment::from_millis(1),
            up: Vec::new(),
            down: Vec::new(),
            taken: Duration::ZERO,
        };
        (0..connections).for_each(|_| wire.connect());
        wire.settle();
        assert!(wire.client.connections.iter().chain(&wire.server.connections).all(Connection::is_established));
        wire
    }

    fn listen(&mut self) -> Connection {
        self.server.stage.listen(self.leg, self.addresses[1]).expect("room")
    }

    fn connect(&mut self) {
        let start = Instant::now();
        let connection = self.listen();
        self.taken += start.elapsed();
        self.server.connections.push(connection);
        self.port = self.port % 30_000 + 1;
        let from = SocketAddr::new(self.addresses[0].ip(), 30_000 + self.port);
        self.client.connections.push(self.client.stage.connect(self.leg, from, self.addresses[1]).expect("room"));
    }

    fn give_back(&mut self, connection: Connection, is_pooled: bool) {
        if is_pooled {
            self.server.stage.release(connection);
        } else {
            drop(connection);
            self.server.stage.forget();
        }
    }

    /// Opens a connection for one request and its answer; returns what the server took.
    fn visit(&mut self, data: &[u8], is_pooled: bool) -> Duration {
        let before = self.now;
        self.connect();
        self.settle();
        let taken = self.taken + self.exchange(data);
        self.client.connections[0].close();
        self.server.connections[0].close();
        self.settle();
        let (start, connection) = (Instant::now(), self.server.connections.pop().expect("one"));
        self.give_back(connection, is_pooled);
        let taken = taken + start.elapsed();
        self.client.stage.release(self.client.connections.pop().expect("one"));
        (self.taken, self.now) = (Duration::ZERO, before + Duration::from_millis(1));
        taken
    }

    /// Exchanges packets until nothing moves.
    fn settle(&mut self) {
        loop {
            self.client.egress(self.now, &mut self.up);
            let start = Instant::now();
            self.server.ingress(&mut self.up, self.now, &mut self.down);
            self.server.egress(self.now, &mut self.down);
            self.taken += start.elapsed();
            if self.down.is_empty() {
                return;
            }
            self.client.ingress(&mut self.down, self.now, &mut self.up);
        }
    }

    /// Each client sends a request, each server answers it; returns what the servers took.
    fn exchange(&mut self, data: &[u8]) -> Duration {
        self.now += Duration::from_micros(100);
        self.taken = Duration::ZERO;
        self.client.send(data);
        self.client.egress(self.now, &mut self.up);
        let start = Instant::now();
        self.server.ingress(&mut self.up, self.now, &mut self.down);
        self.server.recv(|bytes| {
            black_box(bytes);
        });
        self.server.send(data);
        self.server.egress(self.now, &mut self.down);
        self.taken += start.elapsed();
        self.client.ingress(&mut self.down, self.now, &mut self.up);
        assert_eq!(self.client.recv(|_| {}), data.len() * self.client.connections.len());
        self.settle();
        self.taken
    }

    /// The server sends and the client takes it, acknowledgements and all; or the other way round.
    fn bulk(&mut self, data: &[u8], is_upload: bool) -> Duration {
        self.now += Duration::from_millis(1);
        self.taken = Duration::ZERO;
        let mut left = data.len();
        if is_upload {
            self.client.send(data);
        } else {
            let start = Instant::now();
            self.server.send(data);
            self.taken += start.elapsed();
        }
        while left > 0 {
            self.settle();
            let start = Instant::now();
            let got = self.server.recv(|bytes| {
                black_box(bytes);
            });
            self.taken += if is_upload { start.elapsed() } else { Duration::ZERO };
            left -= got + self.client.recv(|_| {});
            // The window opens again.
            self.now += Duration::from_millis(1);
        }
        self.settle();
        self.taken
    }
}

fn exchanges(c: &mut Criterion) {
    for (name, leg, addresses) in LEGS {
        let mut wire = Wire::new(leg, addresses, BURST, 256 << 10);
        let data = vec![0x5a; 200];
        // The first ones make buffers grow.
        (0..100).for_each(|_| _ = wire.exchange(&data));
        let mut group = c.benchmark_group("tcp");
        group.throughput(Throughput::Elements(BURST as u64));
        group.bench_function(format!("request_and_answer/{name}/200_bytes_64_connections"), |b| {
            b.iter_custom(|times| (0..times).map(|_| wire.exchange(&data)).sum());
        });
        group.finish();
    }
}

fn bulk(c: &mut Criterion) {
    const LEN: usize = 128 << 10;
    for (name, leg, addresses) in LEGS {
        let data = vec![0x5a; LEN];
        let mut group = c.benchmark_group("tcp");
        group.throughput(Throughput::Bytes(LEN as u64));
        for (way, is_upload) in [("receive", true), ("send", false)] {
            let mut wire = Wire::new(leg, addresses, 1, 256 << 10);
            (0..100).for_each(|_| _ = wire.bulk(&data, is_upload));
            group.bench_function(format!("{way}/{name}/128KiB"), |b| {
                b.iter_custom(|times| (0..times).map(|_| wire.bulk(&data, is_upload)).sum());
            });
            let report = format!("tcp/{way}/{name}/128KiB, both ends and packets handed over included");
            allocations::report(&report, || (), |()| wire.bulk(&data, is_upload));
        }
        group.finish();
    }
}

/// A connection that is opened, carries one request and its answer, and is given back: into the pool, or to the allocator.
fn visits(c: &mut Criterion) {
    let (_, leg, addresses) = LEGS[0];
    let data = vec![0x5a; 2_048];
    let mut group = c.benchmark_group("tcp/visit");
    group.throughput(Throughput::Elements(1));
    for buffer in [16 << 10, 64 << 10, 256 << 10] {
        for (name, is_pooled) in [("pooled", true), ("made_anew", false)] {
            let mut wire = Wire::new(leg, addresses, 0, buffer);
            // Others are open meanwhile: an allocator could hand out one piece of memory for ever otherwise.
            let others: Vec<_> = (0..BURST).map(|_| wire.listen()).collect();
            (0..BURST).for_each(|_| _ = wire.visit(&data, is_pooled));
            group.bench_function(format!("{name}/{}KiB", buffer >> 10), |b| {
                b.iter_custom(|times| (0..times).map(|_| wire.visit(&data, is_pooled)).sum());
            });
            drop(others);
        }
    }
    group.finish();
}

/// What is allocated for a connection, beyond what is kept for all.
fn allocated(_: &mut Criterion) {
    for is_pooled in [true, false] {
        let mut wire = Wire::new(Leg::Vpc, LEGS[0].2, 0, 64 << 10);
        let name = if is_pooled { "pooled" } else { "made_anew" };
        allocations::report(
            &format!("tcp/connection/{name}/64KiB"),
            || (),
            |()| {
                let connection = wire.listen();
                wire.give_back(connection, is_pooled);
            },
        );
    }
    for (name, leg, addresses) in LEGS {
        let mut wire = Wire::new(leg, addresses, 1, 256 << 10);
        let data = vec![0x5a; 200];
        let report = format!("tcp/request_and_answer/{name}/200_bytes, packets handed over included");
        allocations::report(&report, || (), |()| wire.exchange(&data));
    }
}

criterion_group!(benches, exchanges, bulk, visits, allocated);
criterion_main!(benches);
