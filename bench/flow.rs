//! What finding and following a flow costs, alone and as the eni's fast path.

mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vpce::eni::{EniPacket, EniSnapshot, EniStage, FlowLogSettings, Ingress, Origin};
use vpce::flow::{FlowLimits, FlowSeed, FlowTable, FlowTimeouts, TimerWheel};
use vpce::packet::{FiveTuple, PacketMeta, VirtioHeader, parse};
use vpce::time::{Moment, Now, UnixTime};
use vpce::verdict::Counters;

const SEED: FlowSeed = FlowSeed([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);

fn meta(bytes: &[u8]) -> PacketMeta {
    *parse(bytes).expect("a packet").meta()
}

/// Flow `n`: its client and port.
fn flow(n: u32) -> (u32, u16) {
    (n, 1024 + (n / 0xfc00) as u16)
}

fn finding(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow/find");
    for count in [1_000u32, 50_000] {
        let limits = FlowLimits { flows: count, half_open: count };
        let mut table: FlowTable<(), ()> = FlowTable::new(limits, FlowTimeouts::default(), SEED);
        let tuples: Vec<FiveTuple> = (0..count)
            .map(|n| {
                let (client, port) = flow(n);
                let syn = meta(&support::tcp4(client, port, true, 0));
                table.open(&syn, (), 1, Moment::default()).expect("room");
                syn.tuple()
            })
            .collect();
        // A stride with no common factor visits all flows in no order a cache could guess.
        let mut at = 0;
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("hit/{count}"), |b| {
            b.iter(|| {
                at = (at + 7919) % tuples.len();
                table.find(black_box(&tuples[at]))
            });
        });
        let stranger = meta(&support::tcp4(1, 9, true, 0)).tuple();
        group.bench_function(format!("miss/{count}"), |b| b.iter(|| table.find(black_box(&stranger))));
    }
}

fn timers(c: &mut Criterion) {
    let mut wheel = TimerWheel::with_capacity(50_000);
    let mut now = Moment::default();
    for key in 0..50_000 {
        wheel.schedule(key, now + Duration::from_millis(u64::from(key) * 7));
    }
    let mut key = 0;
    c.bench_function("flow/wheel/move_one_of_50000", |b| {
        b.iter(|| {
            key = (key + 7919) % 50_000;
            now += Duration::from_micros(1);
            wheel.schedule(key, now + Duration::from_secs(350));
        });
    });
}

fn fast_path(c: &mut Criterion) {
    let now = Now { mono: Moment::from_millis(1), unix: UnixTime::from_secs(60) };
    let counters = Counters::default();
    let mut group = c.benchmark_group("eni/ingress");
    group.throughput(Throughput::Elements(1));
    for count in [1u32, 1_000, 50_000] {
        let snapshot = Arc::new(EniSnapshot::compile(&support::topology(support::rules(10)), 1));
        let mut stage: EniStage<u32> = EniStage::new(snapshot, SEED, FlowLogSettings::default(), now);
        let mut packets: Vec<Vec<u8>> = (0..count)
            .map(|n| {
                let (client, port) = flow(n);
                let mut syn = support::tcp4(client, port, true, 0);
                let meta = meta(&syn);
                let packet = EniPacket { bytes: &mut syn, meta: &meta, header: &VirtioHeader::default() };
                let ingress = stage.ingress(Origin::Vpc, packet, now, &counters);
                assert!(matches!(ingress, Ingress::Deliver { first: true, .. }), "{ingress:?}");
                support::tcp4(client, port, false, 100)
            })
            .collect();
        let mut at = 0;
        group.bench_function(format!("parse_and_known_flow/{count}"), |b| {
            b.iter(|| {
                at = (at + 7919) % packets.len();
                let bytes = &mut packets[at];
                let meta = *parse(bytes).expect("a packet").meta();
                let packet = EniPacket { bytes, meta: &meta, header: &VirtioHeader::default() };
                stage.ingress(Origin::Vpc, packet, now, &counters)
            });
        });
    }
}

criterion_group!(benches, finding, timers, fast_path);
criterion_main!(benches);
