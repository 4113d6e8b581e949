//! The whole engine in memory: from a packet with a TLS record to the packet with the answer's, the tunnel sealed and opened.
//!
//! `engine/...` is the time inside the engine alone, read from the clock around each call into it; the client's TLS and the
//! far side's tunnel and TCP are left out. `world/...` is everything, for comparison. Each clock reading is part of what is
//! measured: an invocation over one connection has about a dozen.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "../tests/world/mod.rs"]
mod world;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vpce::engine::Port;
use world::{World, invoke, payload};

const APP: &str = "10.0.1.10";

fn nanos() -> usize {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as usize
}

/// One invocation of 128 bytes over each of `connections`, all under way together.
fn invocations(c: &mut Criterion, connections: u16) {
    let mut world = World::quickstart();
    let sent = payload(128);
    let clients: Vec<_> = (0..connections).map(|n| world.connected(APP, 40_000 + n)).collect();
    let round = |world: &mut World| {
        for &client in &clients {
            world.request(client, invoke(&sent));
        }
        world.settle();
        for &client in &clients {
            let reply = world.clients[client].reply().expect("an answer");
            assert!(reply.status == 200 && reply.body == sent);
        }
        world.records.borrow_mut().clear();
        world.advance(Duration::from_micros(20));
    };
    let mut group = c.benchmark_group(format!("invocations/{connections}_connections"));
    group.throughput(Throughput::Elements(u64::from(connections)));
    group.bench_function("engine", |b| {
        b.iter_custom(|rounds| {
            world.measure(nanos);
            (0..rounds).for_each(|_| round(&mut world));
            Duration::from_nanos(world.measured() as u64)
        });
    });
    group.bench_function("world", |b| b.iter(|| round(&mut world)));
    group.finish();
}

/// TCP and TLS 1.3 handshake, with a certificate, and the connection's end.
fn handshakes(c: &mut Criterion) {
    let mut world = World::quickstart();
    let mut port = 1_024_u16;
    let mut round = |world: &mut World| {
        port = if port == 65_000 { 1_024 } else { port + 1 };
        let client = world.connect_from(APP, port);
        world.settle();
        assert!(!world.clients[client].tls.is_handshaking());
        world.clients[client].close();
        world.settle();
        world.forget_clients();
        world.advance(Duration::from_millis(1));
    };
    let mut group = c.benchmark_group("handshake");
    group.throughput(Throughput::Elements(1));
    group.bench_function("engine", |b| {
        b.iter_custom(|rounds| {
            world.measure(nanos);
            (0..rounds).for_each(|_| round(&mut world));
            Duration::from_nanos(world.measured() as u64)
        });
    });
    group.bench_function("world", |b| b.iter(|| round(&mut world)));
    group.finish();
}

/// Packets of known flows that bring nothing new, in bursts of 64: one connection's, and each of another's.
fn acknowledgements(c: &mut Criterion) {
    const BURST: usize = 64;
    let mut group = c.benchmark_group("acknowledgement");
    group.throughput(Throughput::Elements(BURST as u64));
    for flows in [1, BURST] {
        let mut world = World::quickstart();
        let mut packets = Vec::new();
        for n in 0..flows {
            let client = world.connected(APP, 40_000 + n as u16);
            assert_eq!(world.call(client, invoke(b"1")).status, 200);
            packets.push(world.clients[client].acknowledgement());
        }
        let mut buffer = packets[0].clone();
        let mut output = world::Packets::default();
        let now = world.now;
        group.bench_function(format!("{flows}_flows"), |b| {
            b.iter(|| {
                world.engine.begin_turn(now);
                for n in 0..BURST {
                    // As a read from the device would: the engine may change the bytes.
                    buffer.copy_from_slice(&packets[n % flows]);
                    world.engine.handle_packet(Port::Eni(0), &mut buffer, &mut output);
                }
                world.engine.poll(&mut output)
            });
        });
        assert!(output.packets.is_empty());
    }
    group.finish();
}

fn engine(c: &mut Criterion) {
    invocations(c, 1);
    invocations(c, 64);
    handshakes(c);
    acknowledgements(c);
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4)).sample_size(20);
    targets = engine
}
criterion_main!(benches);
