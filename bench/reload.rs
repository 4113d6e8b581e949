//! New rules while 100,000 connections live: how long the loop stands still for them. The target is a millisecond at most.
//!
//! Putting a snapshot in force is one call between two turns. What it leaves for later, judging each flow again when its next
//! packet comes, is looked at as well: the longest turn until every flow has had a packet, beside that of the same turns
//! under old rules. Turns are measured in processor time, so that a machine with other work on it does not lengthen them.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench reads the clock and tells what it found")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on fails loudly")]

mod allocations;
#[path = "../tests/world/mod.rs"]
mod world;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use vpce::config::{Peer, PortRange, SecurityGroupRule, Topology, Traffic};
use vpce::engine::{Port, Snapshot};
use vpce::load::machine::thread_time;
use vpce::packet::parse;
use world::raw::{Tcp, syn};
use world::{Packets, World};

/// Packets in a turn: what the hot loop reads at once.
const BURST: usize = 64;
/// Clients of one address.
const PORTS: usize = 50_000;

/// An engine with established connections, and a packet of each that changes nothing.
struct Bench {
    world: World,
    packets: Vec<Vec<u8>>,
    output: Packets,
    epoch: u64,
}

impl Bench {
    fn new(connections: usize) -> Self {
        let mut world = World::with(|topology| {
            let settings = &mut topology.settings;
            // Small buffers, as 100,000 connections of this bench send nothing.
            (settings.flow_limit, settings.half_open_limit, settings.tcp_buffer) = (131_072, 131_072, 4_096);
        });
        let mut output = Packets::default();
        let packets = (0..connections).map(|n| establish(&mut world, &mut output, n)).collect();
        assert_eq!(world.engine.flows(), [connections, 0]);
        Self { world, packets, output, epoch: 1 }
    }

    /// Rules that no flow was judged by, as control would make them.
    fn next_snapshot(&mut self, rules: usize) -> Arc<Snapshot> {
        self.epoch += 1;
        let mut topology = Topology::clone(&self.world.topology);
        let ingress = &mut topology.security_groups[0].ingress;
        ingress.extend((0..rules).map(|n| SecurityGroupRule {
            id: format!("sgr-{n}"),
            traffic: Traffic::Tcp(PortRange { from: 1_024 + n as u16, to: 1_024 + n as u16 }),
            peer: Peer::Cidr(format!("10.1.{}.{}/32", n / 250, n % 250).parse().unwrap()),
            description: None,
        }));
        let keyring = self.world.keyring.clone();
        Arc::new(Snapshot::new(self.epoch, Arc::new(topology), keyring, false, world::START, |_| None).unwrap())
    }

    /// Processor time of each turn in which the packets come, of each flow in its turn.
    fn turns(&mut self) -> Vec<Duration> {
        let mut buffers = Vec::new();
        let (world, output) = (&mut self.world, &mut self.output);
        let turn = |packets: &[Vec<u8>]| {
            buffers.clear();
            // The engine may change the bytes.
            buffers.extend(packets.iter().cloned());
            let start = thread_time();
            world.engine.begin_turn(world.now);
            for buffer in &mut buffers {
                world.engine.handle_packet(Port::Eni(0), buffer, output);
            }
            world.engine.poll(output);
            thread_time() - start
        };
        let turns = self.packets.chunks(BURST).map(turn).collect();
        assert!(self.output.packets.is_empty());
        turns
    }
}

/// Shakes hands for connection number `n`, and returns an acknowledgement of it.
fn establish(world: &mut World, output: &mut Packets, n: usize) -> Vec<u8> {
    let address = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 10 + (n / PORTS) as u8));
    let (from, to) = (SocketAddr::new(address, 1_024 + (n % PORTS) as u16), world.eni(address));
    let mut give = |packet: Vec<u8>, output: &mut Packets| {
        let mut buffer = [&[0; 10][..], &packet].concat();
        world.engine.begin_turn(world.now);
        world.engine.handle_packet(Port::Eni(0), &mut buffer, output);
        world.engine.poll(output);
    };
    give(syn(from, to, 8_460), output);
    let (_, answer) = output.packets.pop().expect("a SYN-ACK");
    let acknowledgement = parse(&answer[10..]).unwrap().tcp_sequence().wrapping_add(1);
    let packet = Tcp { from, to, flags: "A", sequence: 2, acknowledgement, payload: b"" }.build();
    give(packet.clone(), output);
    [&[0; 10][..], &packet].concat()
}

fn reload(c: &mut Criterion) {
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let connections = if is_measured { 100_000 } else { 100 };
    let mut bench = Bench::new(connections);
    for rules in [10, 1_000] {
        let name = format!("reload/in_force/{connections}_flows_{rules}_rules");
        let mut group = c.benchmark_group("reload");
        group.sample_size(20).measurement_time(Duration::from_secs(2));
        group.bench_function(format!("in_force/{connections}_flows_{rules}_rules"), |b| {
            b.iter_custom(|times| {
                let one = |_| {
                    let snapshot = bench.next_snapshot(rules);
                    let start = Instant::now();
                    bench.world.engine.update(&snapshot);
                    start.elapsed()
                };
                (0..times).map(one).sum()
            });
        });
        group.finish();
        let snapshot = bench.next_snapshot(rules);
        allocations::report(&name, || (), |()| bench.world.engine.update(&snapshot));
        let rounds = if is_measured { 5 } else { 1 };
        // What one round's turn took longer than the same turn of another round, the machine added.
        let least = |rounds: Vec<Vec<Duration>>| {
            let of_turn = |turn: usize| rounds.iter().map(|round| round[turn]).min().unwrap();
            let mut turns: Vec<_> = (0..rounds[0].len()).map(of_turn).collect();
            turns.sort();
            (turns[turns.len() / 2], turns[turns.len() - 1])
        };
        let (mut before, mut after, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            before.push(bench.turns());
            let snapshot = bench.next_snapshot(rules);
            let start = thread_time();
            bench.world.engine.update(&snapshot);
            calls.push(thread_time() - start);
            after.push(bench.turns());
        }
        let longest_call = calls.iter().max().unwrap();
        let ((usual, usual_worst), (median, worst)) = (least(before), least(after));
        println!(
            "{name}: longest call {longest_call:?}; turns of {BURST} packets, all flows judged again: median {median:?}, longest \
             {worst:?}; under rules that they know: median {usual:?}, longest {usual_worst:?}"
        );
    }
}

criterion_group!(benches, reload);
criterion_main!(benches);
